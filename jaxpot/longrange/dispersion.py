"""Dispersion of geometric C6 coefficients, damped at short distances and summed over all pairs or a whole lattice."""

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph, by_element
from jaxpot.leaves import Leaf
from jaxpot.longrange.interactions import Interaction, InversePower, require_elements
from jaxpot.longrange.sums import PairSum
from jaxpot.potentials.base import Potential
from jaxpot.trees import positive, pytree, static

Array = jax.Array

_SIXTH = InversePower(6)
_TERMS = 24  # of the series below 2, to round-off


def exponential_remainder(n: int, x: Array) -> Array:
    r"""What e^{-x} times the rest of the exponential series leaves, [...], for x ≥ 0.

    .. math:: \frac{1}{x^{n+1}} \left(1 - e^{-x} \sum_{k=0}^{n} \frac{x^k}{k!}\right)

    Example:
      >>> round(float(exponential_remainder(6, jnp.asarray(0.0)) * math.factorial(7)), 12)
      1.0
    """
    small, large = jnp.minimum(x, 2), jnp.maximum(x, 2)
    # the difference cancels for small x, where the rest of the series is summed itself
    series = jnp.zeros_like(x)
    for k in range(n + _TERMS, n, -1):
        series = series * small + 1 / math.factorial(k)
    finite = jnp.zeros_like(x)
    for k in range(n, -1, -1):
        finite = finite * large + 1 / math.factorial(k)
    return jnp.where(x < 2, jnp.exp(-small) * series, (1 - jnp.exp(-large) * finite) / large ** (n + 1))


class DampedSixthPower(Interaction):
    r"""Interface: :math:`f(r)/r^6` with a damping f that ends the divergence. A new one writes `bare`, finite at r = 0.

    The far part is that of 1/r⁶; what damping changes is in the near part, so a near cutoff must lie where damping has ended.
    """

    species: tuple[str, ...]

    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        twice = 2 * width**2
        return self.bare(r, own, other) - exponential_remainder(2, r**2 / twice) / twice**3

    def far(self, k2: Array, width: Array) -> Array:
        return _SIXTH.far(k2, width)

    def origin(self, width: Array) -> Array:
        return _SIXTH.origin(width)

    def background(self, width: Array) -> Array:
        return _SIXTH.background(width)

    @abc.abstractmethod
    def parameters(self) -> Array:
        """The damping parameter of every element, [S]."""

    def sources(self, numbers: Array) -> Array:
        return by_element(self.parameters(), self.species, numbers, padding=1.0)[:, None]


@pytree
class TangToennies(DampedSixthPower):
    r"""Tang and Toennies' damping by an incomplete exponential series.

    .. math:: \phi(r) = \frac{1}{r^6} \left(1 - e^{-br} \sum_{k=0}^{6} \frac{(br)^k}{k!}\right), \qquad b_{ij} = \sqrt{b_i b_j}

    At small distances it is :math:`b^7 r / 7!`.

    Args:
      species: chemical symbols.
      b: inverse range of the repulsion of every element, shape [S], in 1/Å.

    Example:
      >>> damped = TangToennies(("Ar",), b=[3.0])
      >>> own = damped.sources(jnp.array([18]))
      >>> round(float(damped.bare(jnp.asarray([4.0]), own, own)[0] * 4.0**6), 6)
      0.954178

    References:
      Tang, Toennies, "An improved simple model for the van der Waals potential based on universal damping functions for the dispersion
      coefficients", J. Chem. Phys. 80, 3726 (1984).
    """

    species: tuple[str, ...] = static()
    b: Leaf = positive(shape="[S]")

    def __post_init__(self):
        species_tuple(self.species, "TangToennies")

    def parameters(self) -> Array:
        return jnp.asarray(self.b)

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        b = jnp.sqrt(own[..., 0] * other[..., 0])
        return b**7 * r * exponential_remainder(6, b * r)


@pytree
class RationalDamping(DampedSixthPower):
    r"""Becke and Johnson's rational damping.

    .. math:: \phi(r) = \frac{1}{r^6 + R_{ij}^6}, \qquad R_{ij} = \tfrac12 (R_i + R_j)

    It ends as :math:`-R^6/r^{12}`, which a near cutoff of an Ewald sum truncates.

    Args:
      species: chemical symbols.
      radius: R of every element, shape [S], in Å.

    Example:
      >>> damped = RationalDamping(("Ar",), radius=[2.0])
      >>> own = damped.sources(jnp.array([18]))
      >>> float(damped.bare(jnp.asarray([2.0]), own, own)[0])
      0.0078125

    References:
      Johnson, Becke, "A post-Hartree-Fock model of intermolecular interactions", J. Chem. Phys. 123, 024101 (2005).
    """

    species: tuple[str, ...] = static()
    radius: Leaf = positive(shape="[S]")

    def __post_init__(self):
        species_tuple(self.species, "RationalDamping")

    def parameters(self) -> Array:
        return jnp.asarray(self.radius)

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        return 1 / (r**6 + (0.5 * (own[..., 0] + other[..., 0])) ** 6)


@pytree
class Dispersion(Potential):
    r"""Dispersion with geometric coefficients, which make lattice sums separable.

    .. math:: \epsilon_i = -\tfrac12 \sqrt{C_{6,i}} \sum_{j, n}{}' \sqrt{C_{6,j}}\, \phi(|R_j + n - R_i|)

    Args:
      species: chemical symbols.
      c6: C6 of every element, shape [S], in eV Å⁶.
      sum: how the pairs are summed: `Direct` for molecules, `Ewald` for crystals.
      interaction: :math:`\phi`; `InversePower(6)` unless said, which is not damped; else `TangToennies` or `RationalDamping`.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Direct
      >>> pair = from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [2, 0, 0]]), cutoff=1.0)
      >>> float(Dispersion(("Ar",), c6=[64.0], sum=Direct())(pair))
      -1.0
    """

    species: tuple[str, ...] = static()
    c6: Leaf = positive(shape="[S]")
    sum: PairSum
    interaction: Interaction = dataclasses.field(default_factory=lambda: InversePower(6))

    def __post_init__(self):
        species_tuple(self.species, "Dispersion")
        require_elements("Dispersion", self.species, self.interaction)

    @property
    def reach(self) -> Array:
        return self.sum.reach

    def energies(self, graph: Graph) -> Array:
        q = self._sources(graph)
        return -0.5 * q * self.sum.potential(self.interaction, graph, q)

    def _sources(self, graph: Graph) -> Array:
        return by_element(jnp.sqrt(self.c6), self.species, graph.numbers)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.sum.causes(graph, self.interaction, self._sources(graph))
