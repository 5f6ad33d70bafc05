"""jaxpot: differentiable interatomic potentials in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxpot import cutoffs, descriptors, empirical, fit, heads, io, kernels, longrange, molecules, potentials, radial, tensors
from jaxpot import fused as _fused  # noqa: F401 - its rules are registered
from jaxpot.cores import use_cores
from jaxpot.data import Dataset
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.descriptors.density import Density
from jaxpot.descriptors.expansion import Expansion, Invariants, LocalExpansion
from jaxpot.descriptors.products import TotalDegree
from jaxpot.descriptors.soap import SOAP, LambdaSOAP
from jaxpot.graph import Environment, Graph, environments, from_atoms, rotate, stack, strain
from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.linear import Linear
from jaxpot.heads.mlp import MLP
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.save import load, save
from jaxpot.math.cutoffs import CosineCutoff
from jaxpot.math.kernels import PolynomialKernel
from jaxpot.math.wigner import random_rotation
from jaxpot.noise import noise_levels
from jaxpot.passes import freeze, prepare, tabulate
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, LocalPotential, Potential, Sum, evaluate
from jaxpot.potentials.linear import LinearModel
from jaxpot.potentials.tensors import Polarizability
from jaxpot.precision import cast
from jaxpot.properties import Properties
from jaxpot.radial.gto import GTO
from jaxpot.structures import diagnose
from jaxpot.trees import free, leaf, positive, pytree, static

if TYPE_CHECKING:
    from jaxpot import active, md, observables, sharding, testing, trajectories
    from jaxpot.calculator import Calculator

__version__ = "0.2.0"

_LAZY = {
    "Calculator": "jaxpot.calculator", "active": "jaxpot.active", "md": "jaxpot.md", "observables": "jaxpot.observables", "sharding": "jaxpot.sharding",
    "testing": "jaxpot.testing", "trajectories": "jaxpot.trajectories",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """What loads ASE's calculators, jax-md or the tests' tools is loaded on first use, so that `import jaxpot` loads only jax and numpy."""
    if name not in _LAZY:
        raise AttributeError(f"module 'jaxpot' has no attribute {name!r}{_HOME.get(name, '')}")
    module = importlib.import_module(_LAZY[name])
    return module if module.__name__ == f"jaxpot.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ACE", "GTO", "MLP", "SOAP", "AtomicPotential", "Calculator", "CosineCutoff", "Dataset", "Density", "Descriptor", "Environment", "Expansion",
    "Graph", "Head", "Invariants", "IsolatedAtoms", "LambdaSOAP", "Linear", "LinearHead", "LinearModel", "LocalDescriptor", "LocalExpansion",
    "LocalPotential", "Polarizability", "PolynomialKernel", "Potential", "Properties", "SparseGP", "Sum", "TotalDegree", "active", "cast", "cutoffs",
    "descriptors", "diagnose", "empirical", "environments", "evaluate", "fit", "free", "freeze", "from_atoms", "heads", "io", "kernels", "leaf",
    "load", "longrange", "md", "molecules", "noise_levels", "observables", "positive", "potentials", "prepare", "pytree", "radial", "random_rotation",
    "rotate", "save", "sharding", "stack", "static", "strain", "tabulate", "tensors", "testing",
    "trajectories", "use_cores",
]  # fmt: skip

_SPACES = ("cutoffs", "descriptors", "empirical", "fit", "heads", "io", "kernels", "longrange", "molecules", "potentials", "radial", "tensors")
_HOME = {name: f"; write jaxpot.{space}.{name}" for space in _SPACES for name in globals()[space].__all__ if name not in __all__}
