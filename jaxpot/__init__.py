"""jaxpot: differentiable interatomic potentials in JAX."""

from jaxpot import fit
from jaxpot.data import Batch, Dataset, noise_levels
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.descriptors.clusters import ClusterDescriptor, CompactTriangles, Instances, ThreeBody, Triangles, TwoBody
from jaxpot.descriptors.constant import Constant
from jaxpot.descriptors.density import Density, power_spectrum
from jaxpot.descriptors.global_soap import GlobalSOAP, StructureDescriptor
from jaxpot.descriptors.mtp import MTP
from jaxpot.descriptors.pip import ClusterPIP, StarPIP
from jaxpot.descriptors.products import PerOrder, TotalDegree
from jaxpot.descriptors.soap import SOAP, LambdaSOAP
from jaxpot.graph import Environment, Graph, environments, from_atoms, from_edges, pad, rotate, stack, strain, to_atoms
from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.linear import Embedding, Linear, Quadratic, SharedLinear
from jaxpot.heads.mlp import MLP
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.heads.tensor import LambdaGP, LambdaKernel
from jaxpot.io.save import load, save
from jaxpot.math.activations import SiLU, Softplus, Tanh
from jaxpot.math.cutoffs import CosineCutoff, ForceShifted, PolynomialCutoff, PowerCutoff, Shifted, Step, TanhCutoff, TwoSided, Willatt
from jaxpot.math.kernels import Matern, PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.math.matching import Average, BestMatch, Matching, REMatch
from jaxpot.math.polynomials import exchanges
from jaxpot.math.radial import GTO, Bessel, EquispacedGaussians, SolidGTO
from jaxpot.math.radial_polynomials import Agnesi, Chebyshev
from jaxpot.math.splines import CubicSpline
from jaxpot.math.transforms import DistanceTransform, IdentityTransform, InverseTransform, MorseTransform, PowerTransform
from jaxpot.math.wigner import random_rotation, wigner_d
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import (
    IsolatedAtoms,
    LinearModel,
    Potential,
    Properties,
    Sum,
    diagnose,
    evaluate,
    freeze,
)
from jaxpot.potentials.bonded import Angles, Bonds, Dihedrals
from jaxpot.potentials.committee import Committee
from jaxpot.potentials.eam import EAM
from jaxpot.potentials.pair import ZBL, Buckingham, CutCoulomb, LennardJones, Morse, PairSpline
from jaxpot.potentials.pip import PIP
from jaxpot.potentials.stillinger_weber import StillingerWeber
from jaxpot.potentials.structure_gp import StructureGP
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor
from jaxpot.potentials.tersoff import ModifiedTersoff, Tersoff
from jaxpot.pytree import cast, free, positive, pytree, static


def __getattr__(name: str):
    """The adaptors load ASE's calculators and jax-md on first use, so that `import jaxpot` loads only jax and numpy."""
    import importlib

    if name == "Calculator":
        return importlib.import_module("jaxpot.calculator").Calculator
    if name == "md":
        return importlib.import_module("jaxpot.md")
    raise AttributeError(f"module 'jaxpot' has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "ACE", "EAM", "GTO", "MLP", "MTP", "PIP", "SOAP", "ZBL", "Agnesi", "Angles", "AtomicPotential", "Average", "Batch",
    "Bessel", "BestMatch", "Bispectrum", "Bonds", "Buckingham", "Calculator", "Chebyshev", "ClusterDescriptor",
    "ClusterPIP", "Committee", "CompactTriangles", "Constant", "CosineCutoff", "CubicSpline", "CutCoulomb", "Dataset",
    "Density", "Descriptor", "Dihedrals", "Dipole", "DistanceTransform", "Embedding", "Environment",
    "EquispacedGaussians", "ForceShifted", "GlobalSOAP", "Graph", "Head", "IdentityTransform", "Instances",
    "InverseTransform", "IsolatedAtoms", "LambdaGP", "LambdaKernel", "LambdaSOAP", "LennardJones", "Linear",
    "LinearHead", "LinearModel", "LocalDescriptor", "Matching", "Matern", "ModifiedTersoff", "Morse", "MorseTransform",
    "PairSpline", "PerOrder", "Polarizability", "PolynomialCutoff", "PolynomialKernel", "Potential", "PowerCutoff",
    "PowerTransform", "Properties", "Quadratic", "REMatch", "SharedLinear", "Shifted", "SiLU", "Softplus", "SolidGTO",
    "SparseGP", "SquaredExponential", "StarPIP", "Step", "StillingerWeber", "StructureDescriptor", "StructureGP", "Sum",
    "Symmetrised", "Tanh", "TanhCutoff", "Tensor", "Tersoff", "ThreeBody", "TotalDegree", "Triangles", "TwoBody",
    "TwoSided", "Willatt", "cast", "diagnose", "environments", "evaluate", "exchanges", "fit", "free", "freeze",
    "from_atoms", "from_edges", "load", "md", "noise_levels", "pad", "positive", "power_spectrum", "pytree",
    "random_rotation", "rotate", "save", "stack", "static", "strain", "to_atoms", "wigner_d",
]  # fmt: skip
