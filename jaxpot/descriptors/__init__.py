"""Descriptors: pure functions from a structure, or from one atom's surroundings, to features."""

from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.acsf import ACSF
from jaxpot.descriptors.aev import AEV
from jaxpot.descriptors.alike_elements import element_channels
from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.carried import CarriedDensity, CarriedFunctions, ChargePowers, OwnCharge
from jaxpot.descriptors.clusters import ClusterDescriptor, CompactTriangles, Instances, ThreeBody, Triangles, TwoBody
from jaxpot.descriptors.compact_functions import CompactNarrow, CompactRadial, CompactWide
from jaxpot.descriptors.compressed_soap import CompressedSOAP, sensitivity
from jaxpot.descriptors.constant import Constant
from jaxpot.descriptors.coulomb import BagOfBonds, CoulombMatrix, CoulombSpectrum
from jaxpot.descriptors.crystal_matrices import EwaldSumMatrix, EwaldSumSpectrum, SineMatrix, SineSpectrum
from jaxpot.descriptors.crystals import CrystalDescriptor
from jaxpot.descriptors.deep_pot import DeepPotSE
from jaxpot.descriptors.density import Density, NeighborDensity, power_spectrum
from jaxpot.descriptors.distances import InverseDistances
from jaxpot.descriptors.expansion import Expansion, GraphExpansion, Invariants, LocalExpansion
from jaxpot.descriptors.fchl import FCHL19
from jaxpot.descriptors.global_soap import GlobalSOAP, StructureDescriptor
from jaxpot.descriptors.joined import Joined
from jaxpot.descriptors.joined_expansions import JoinedExpansions
from jaxpot.descriptors.local_mbtr import LocalMBTR
from jaxpot.descriptors.mbtr import MBTR, AngleFunction, AngleInDegrees, CosineOfAngle, Histogram
from jaxpot.descriptors.molecules import MolecularDescriptor
from jaxpot.descriptors.mtp import MTP
from jaxpot.descriptors.multi_scale import MultiScale
from jaxpot.descriptors.normalised import PerAtom, UnitLength
from jaxpot.descriptors.pip import ClusterPIP, StarPIP
from jaxpot.descriptors.products import Listed, PerOrder, Selection, TotalDegree
from jaxpot.descriptors.purified_ace import PurifiedACE
from jaxpot.descriptors.slatm import SLATM, LocalSLATM
from jaxpot.descriptors.soap import SOAP, LambdaSOAP
from jaxpot.descriptors.symmetry_functions import G2, G3, G4, G5
from jaxpot.descriptors.turbo import TurboDensity
from jaxpot.descriptors.valle_oganov import ValleOganov
from jaxpot.math.compact import AsymmetricCore, BumpCore, PolynomialCore

__all__ = [
    "ACE", "ACSF", "AEV", "FCHL19", "G2", "G3", "G4", "G5", "MBTR", "MTP", "SLATM", "SOAP", "AngleFunction", "AngleInDegrees", "AsymmetricCore",
    "BagOfBonds", "Bispectrum", "BondDensity", "BumpCore", "CarriedDensity", "CarriedFunctions", "ChargePowers", "ClusterDescriptor", "ClusterPIP",
    "CompactNarrow", "CompactRadial", "CompactTriangles", "CompactWide", "CompressedSOAP", "Constant", "CosineOfAngle", "CoulombMatrix",
    "CoulombSpectrum", "CrystalDescriptor", "DeepPotSE", "Density", "Descriptor", "EwaldSumMatrix", "EwaldSumSpectrum", "Expansion", "GlobalSOAP",
    "GraphExpansion", "Histogram", "Instances", "Invariants", "InverseDistances", "Joined", "JoinedExpansions", "LambdaSOAP", "Listed",
    "LocalDescriptor", "LocalExpansion", "LocalMBTR", "LocalSLATM", "MolecularDescriptor", "MultiScale", "NeighborDensity", "OwnCharge", "PerAtom",
    "PerOrder", "PolynomialCore", "PurifiedACE", "Selection", "SineMatrix", "SineSpectrum", "StarPIP", "StructureDescriptor", "ThreeBody",
    "TotalDegree", "Triangles", "TurboDensity", "TwoBody", "UnitLength", "ValleOganov", "element_channels", "power_spectrum", "sensitivity",
]  # fmt: skip
