"""Features of a whole structure: the power spectrum of the global density."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.density import power_spectrum
from jaxpot.descriptors.expansion import LocalExpansion
from jaxpot.graph import Graph, environments
from jaxpot.interface import Interface
from jaxpot.math.linalg import unit
from jaxpot.trees import pytree, static

Array = jax.Array


class StructureDescriptor(Interface):
    """Interface: a Graph in, one feature vector of the structure out. To a `StructureGP` such a structure has one atom.

    It is not a `Descriptor`, whose rows belong to atoms: no head can turn it into atomic energies.

    Attributes:
      species: the elements it knows, static.
      n_features: F, static.
      reach: the largest distance it looks at, shape [], in Å.
    """

    species: tuple[str, ...]
    n_features: int
    reach: Array

    @abc.abstractmethod
    def features(self, graph: Graph) -> Array:
        """Features of the structure, shape [F]; 0 for one without atoms, NaN where the model must not be trusted."""

    def labels(self) -> tuple[Any, ...]:
        """The name of every feature, in order: its number, unless the class knows better."""
        return tuple(range(self.n_features))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why the features of a structure with sound neighbour lists and elements are NaN, in words."""
        return ()


@pytree
class GlobalSOAP(StructureDescriptor):
    r"""The power spectrum of the global density, the sum of the densities around all atoms.

    .. math:: \bar c_{qlm} = \sum_i c^{(i)}_{qlm}, \qquad
       \bar p_{qq'l} = \sqrt{\frac{8\pi^2}{2l+1}} \sum_m \bar c_{qlm}\, \bar c_{q'lm}

    Each density is relative to its own centre, so the sum does not change when the structure is moved. It is not an average of
    local spectra: it holds cross terms between the densities of different atoms, even of atoms that are far apart, and so depends
    on how distant parts are turned against each other. It is quadratic in size: n translated copies of a structure, or an
    n-fold supercell, have n² times its spectrum, and the same normalised one. A single atom has that of `SOAP`.

    The cutoff must enclose what the structure is to be described by. For a molecule "no cutoff" is `Step(radius)` with a radius
    that is larger than any distance in any structure; for a crystal a cutoff larger than the cell is as good, and allowed.

    Args:
      expansion: of the neighbour density around every atom.
      normalize: divide by |p̄|.

    Example:
      >>> from jaxpot import Density, from_atoms
      >>> from jaxpot.cutoffs import Step
      >>> from jaxpot.radial import SolidGTO
      >>> from ase.build import molecule
      >>> water = molecule("H2O")
      >>> descriptor = GlobalSOAP(Density(("H", "O"), Step(4.0), SolidGTO(n_max=2), l_max=1, sigma=0.5))
      >>> descriptor.features(from_atoms(water, float(descriptor.reach))).shape
      (20,)

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016), for the other ways to describe whole structures (see `StructureGP`).
    """

    expansion: LocalExpansion
    normalize: bool = static(default=True)

    def __post_init__(self):
        if not isinstance(self.expansion, LocalExpansion):
            raise TypeError(f"GlobalSOAP: expected a density such as Density(...), got {type(self.expansion).__name__}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.expansion.species

    @property
    def reach(self) -> Array:
        return self.expansion.reach

    @property
    def n_features(self) -> int:
        q = self.expansion.n_channels
        return (self.expansion.l_max + 1) * q * (q + 1) // 2

    def labels(self) -> tuple[tuple[int, int, int], ...]:
        """(q, q', l) of every feature, where q = channel · n_max + n."""
        pairs = zip(*np.triu_indices(self.expansion.n_channels), strict=True)
        return tuple((int(a), int(b), l) for a, b in pairs for l in range(self.expansion.l_max + 1))

    def features(self, graph: Graph) -> Array:
        coefficients = jax.vmap(self.expansion.of)(environments(graph, self.reach, self.species))
        total = jnp.sum(jnp.where((graph.numbers > 0)[:, None, None], coefficients, 0), axis=0)
        p = power_spectrum(total, self.expansion.l_max)
        return unit(p) if self.normalize else p
