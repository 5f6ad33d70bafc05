"""jaxpot: differentiable interatomic potentials in JAX."""

from jaxpot import fit
from jaxpot import fused as _fused  # noqa: F401 - its rules are registered
from jaxpot.data import Batch, Dataset
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.acsf import ACSF
from jaxpot.descriptors.aev import AEV
from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.clusters import ClusterDescriptor, CompactTriangles, Instances, ThreeBody, Triangles, TwoBody
from jaxpot.descriptors.compact_functions import CompactNarrow, CompactRadial, CompactWide
from jaxpot.descriptors.compressed_soap import CompressedSOAP, sensitivity
from jaxpot.descriptors.constant import Constant
from jaxpot.descriptors.coulomb import BagOfBonds, CoulombMatrix, CoulombSpectrum
from jaxpot.descriptors.crystal_matrices import EwaldSumMatrix, EwaldSumSpectrum, SineMatrix, SineSpectrum
from jaxpot.descriptors.deep_pot import DeepPotSE
from jaxpot.descriptors.density import Density, NeighborDensity, power_spectrum
from jaxpot.descriptors.distances import InverseDistances
from jaxpot.descriptors.expansion import Expansion, GraphExpansion, Invariants, LocalExpansion
from jaxpot.descriptors.fchl import FCHL19
from jaxpot.descriptors.global_soap import GlobalSOAP, StructureDescriptor
from jaxpot.descriptors.local_mbtr import LocalMBTR
from jaxpot.descriptors.mbtr import MBTR, AngleFunction, AngleInDegrees, CosineOfAngle, Histogram
from jaxpot.descriptors.mtp import MTP
from jaxpot.descriptors.normalised import PerAtom, UnitLength
from jaxpot.descriptors.pip import ClusterPIP, StarPIP
from jaxpot.descriptors.products import Listed, PerOrder, TotalDegree
from jaxpot.descriptors.purified_ace import PurifiedACE
from jaxpot.descriptors.slatm import SLATM, LocalSLATM
from jaxpot.descriptors.soap import SOAP, LambdaSOAP
from jaxpot.descriptors.symmetry_functions import G2, G3, G4, G5
from jaxpot.descriptors.turbo import TurboDensity
from jaxpot.descriptors.valle_oganov import ValleOganov
from jaxpot.graph import Environment, Graph, environments, from_atoms, from_edges, pad, rotate, stack, strain, to_atoms
from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.hidden import HiddenLayer
from jaxpot.heads.linear import Embedding, Linear, Quadratic, SharedLinear, ShiftedPower, SmoothedPower
from jaxpot.heads.mlp import MLP
from jaxpot.heads.references import References
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.heads.tensor import LambdaGP, LambdaKernel
from jaxpot.io.save import load, save
from jaxpot.math.activations import SiLU, Softplus, Tanh
from jaxpot.math.compact import AsymmetricCore, BumpCore, PolynomialCore
from jaxpot.math.cutoffs import BumpCutoff, CosineCutoff, Cutoff, GammaCutoff, PolynomialCutoff, PowerCutoff, Step, TanhCutoff, TwoSided
from jaxpot.math.decays import InversePowerDecay, LogisticDecay, Willatt
from jaxpot.math.endings import ForceShifted, Shifted
from jaxpot.math.kernels import Kernel, Laplacian, Matern, PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.math.matching import Average, BestMatch, Matching, REMatch
from jaxpot.math.permutations import recover_permutations
from jaxpot.math.polynomials import exchanges
from jaxpot.math.splines import CubicSpline
from jaxpot.math.transforms import DistanceTransform, IdentityTransform, InverseTransform, MorseTransform, PowerTransform
from jaxpot.math.wigner import random_rotation, wigner_d
from jaxpot.noise import noise_levels
from jaxpot.passes import freeze, prepare, tabulate
from jaxpot.potentials.atomic import AtomicPotential, GraphPotential
from jaxpot.potentials.base import (
    IsolatedAtoms,
    LinearModel,
    LocalPotential,
    Potential,
    Sum,
    diagnose,
    evaluate,
)
from jaxpot.potentials.bonded import Angles, Bonds, Dihedrals
from jaxpot.potentials.committee import Committee
from jaxpot.potentials.core import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.potentials.eam import EAM
from jaxpot.potentials.edip import EDIP
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.potentials.pair import ZBL, Buckingham, CutCoulomb, LennardJones, Morse, PairSpline
from jaxpot.potentials.pip import PIP
from jaxpot.potentials.stillinger_weber import StillingerWeber
from jaxpot.potentials.stillinger_weber_mod import ModifiedStillingerWeber
from jaxpot.potentials.structure_gp import StructureGP
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor
from jaxpot.potentials.tersoff import ModifiedTersoff, Tersoff
from jaxpot.potentials.tersoff_zbl import TersoffZBL
from jaxpot.potentials.vashishta import Vashishta
from jaxpot.precision import cast
from jaxpot.properties import Properties
from jaxpot.pytree import free, positive, pytree, static
from jaxpot.radial.base import Radial
from jaxpot.radial.bessel import Bessel
from jaxpot.radial.equispaced import EquispacedGaussians
from jaxpot.radial.gto import GTO, SolidGTO
from jaxpot.radial.pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, RadialTable, SBessel
from jaxpot.radial.polynomial import Agnesi, Chebyshev
from jaxpot.radial.shifted import Monomials, ShiftedMonomials
from jaxpot.radial.turbo import Poly3, Poly3Gauss


def __getattr__(name: str):
    """The adaptors load ASE's calculators, Flax and jax-md on first use, so that `import jaxpot` loads only jax and numpy."""
    import importlib

    if name == "Calculator":
        return importlib.import_module("jaxpot.calculator").Calculator
    if name in ("LinenHead", "NNXHead"):
        return getattr(importlib.import_module("jaxpot.heads.flax"), name)
    if name in ("md", "sharding", "testing"):
        return importlib.import_module(f"jaxpot.{name}")
    raise AttributeError(f"module 'jaxpot' has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "ACE",
    "ACSF",
    "AEV",
    "EAM",
    "EDIP",
    "FCHL19",
    "G2",
    "G3",
    "G4",
    "G5",
    "GTO",
    "MBTR",
    "MLP",
    "MTP",
    "PIP",
    "SLATM",
    "SOAP",
    "ZBL",
    "Agnesi",
    "AngleFunction",
    "AngleInDegrees",
    "Angles",
    "AsymmetricCore",
    "AtomicPotential",
    "Average",
    "BagOfBonds",
    "Batch",
    "Bessel",
    "BestMatch",
    "Bispectrum",
    "BondDensity",
    "Bonds",
    "Buckingham",
    "BumpCore",
    "BumpCutoff",
    "ByCoreEnergy",
    "ByDistance",
    "Calculator",
    "ChebExpCos",
    "ChebLinear",
    "ChebPow",
    "Chebyshev",
    "ClusterDescriptor",
    "ClusterPIP",
    "Committee",
    "CompactNarrow",
    "CompactRadial",
    "CompactTriangles",
    "CompactWide",
    "CompressedSOAP",
    "Constant",
    "CoreRepulsion",
    "CosineCutoff",
    "CosineOfAngle",
    "CoulombMatrix",
    "CoulombSpectrum",
    "CubicSpline",
    "CutCoulomb",
    "Cutoff",
    "Dataset",
    "DeepPotSE",
    "Density",
    "Descriptor",
    "Dihedrals",
    "Dipole",
    "DistanceTransform",
    "Embedding",
    "Environment",
    "EquispacedGaussians",
    "EwaldSumMatrix",
    "EwaldSumSpectrum",
    "Expansion",
    "ForceShifted",
    "GammaCutoff",
    "GlobalSOAP",
    "GradientDomain",
    "Graph",
    "GraphExpansion",
    "GraphPotential",
    "Head",
    "HiddenLayer",
    "Histogram",
    "IdentityTransform",
    "InnerCutoff",
    "Instances",
    "Invariants",
    "InverseDistances",
    "InversePowerDecay",
    "InverseTransform",
    "IsolatedAtoms",
    "Kernel",
    "LambdaGP",
    "LambdaKernel",
    "LambdaSOAP",
    "Laplacian",
    "LennardJones",
    "Linear",
    "LinearHead",
    "LinearModel",
    "LinenHead",
    "Listed",
    "LocalDescriptor",
    "LocalExpansion",
    "LocalMBTR",
    "LocalPotential",
    "LocalSLATM",
    "LogisticDecay",
    "Matching",
    "Matern",
    "ModifiedStillingerWeber",
    "ModifiedTersoff",
    "Monomials",
    "Morse",
    "MorseTransform",
    "NNXHead",
    "NeighborDensity",
    "PairSpline",
    "PerAtom",
    "PerOrder",
    "Polarizability",
    "Poly3",
    "Poly3Gauss",
    "PolynomialCore",
    "PolynomialCutoff",
    "PolynomialKernel",
    "Potential",
    "PowerCutoff",
    "PowerTransform",
    "Properties",
    "PurifiedACE",
    "Quadratic",
    "REMatch",
    "Radial",
    "RadialTable",
    "References",
    "SBessel",
    "ScreenedCore",
    "SharedLinear",
    "Shifted",
    "ShiftedMonomials",
    "ShiftedPower",
    "SiLU",
    "SineMatrix",
    "SineSpectrum",
    "SmoothedPower",
    "Softplus",
    "SolidGTO",
    "SparseGP",
    "SquaredExponential",
    "StarPIP",
    "Step",
    "StillingerWeber",
    "StructureDescriptor",
    "StructureGP",
    "Sum",
    "Switched",
    "Symmetrised",
    "Tanh",
    "TanhCutoff",
    "Tensor",
    "Tersoff",
    "TersoffZBL",
    "ThreeBody",
    "TotalDegree",
    "Triangles",
    "TurboDensity",
    "TwoBody",
    "TwoSided",
    "UnitLength",
    "ValleOganov",
    "Vashishta",
    "Willatt",
    "cast",
    "diagnose",
    "environments",
    "evaluate",
    "exchanges",
    "fit",
    "free",
    "freeze",
    "from_atoms",
    "from_edges",
    "load",
    "md",
    "noise_levels",
    "pad",
    "positive",
    "power_spectrum",
    "prepare",
    "pytree",
    "random_rotation",
    "recover_permutations",
    "rotate",
    "save",
    "sensitivity",
    "sharding",
    "stack",
    "static",
    "strain",
    "tabulate",
    "testing",
    "to_atoms",
    "wigner_d",
]  # fmt: skip
