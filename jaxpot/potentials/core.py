"""Repulsion of cores, and many-body potentials that are switched off where it takes over."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph
from jaxpot.math.cutoffs import cosine_ramp, smoothstep
from jaxpot.potentials.base import Potential
from jaxpot.potentials.pair import of_pair, pairs, screened_repulsion
from jaxpot.pytree import leaf, positive, pytree, static

Array = jax.Array


@pytree
class CoreRepulsion(Potential):
    r"""The core repulsion of pacemaker.

    .. math:: \epsilon_i = \sum_j A_{z_i z_j} \frac{e^{-B r^2}}{r}\, \tfrac12 \left(1 + \cos \pi r/r_c\right)
       \left[1 - s\!\left(\frac{r - r_{in} + w}{w}\right)\right]

    with s of `InnerCutoff`, which switches off what this switches on; without r_in, the bracket is 1. All numbers may be tables [S, S], the
    centre's element first.

    Args:
      species: chemical symbols.
      prefactor: A, in eV·Å. pacemaker: prehc.
      exponent: B, in Å⁻². pacemaker: lambdahc.
      radius: r_c, in Å.
      inner: r_in, in Å; None is none.
      inner_width: w, in Å.

    Raises:
      ValueError: for tables of a wrong shape, or half an inner cutoff.
    """

    species: tuple[str, ...] = static()
    prefactor: Array = leaf(shape="[] or [S, S]")
    exponent: Array = leaf(shape="[] or [S, S]")
    radius: Array = positive(shape="[] or [S, S]")
    inner: Array | None = positive(None, shape="[] or [S, S]")
    inner_width: Array | None = positive(None, shape="[] or [S, S]")

    def __post_init__(self):
        species_tuple(self.species, "CoreRepulsion")
        if (self.inner is None) != (self.inner_width is None):
            raise ValueError("CoreRepulsion: an inner cutoff needs both inner and inner_width, in Å")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def energies(self, graph: Graph) -> Array:
        r, first, second, mask = pairs(graph, self.reach, self.species)
        of = lambda value: of_pair(jnp.asarray(value, r.dtype), first, second)  # noqa: E731
        value = of(self.prefactor) * jnp.exp(-of(self.exponent) * r**2) / r * cosine_ramp(r, of(self.radius))
        if self.inner is not None:
            value = value * (1 - smoothstep((r - of(self.inner)) / of(self.inner_width) + 1))
        return jnp.sum(jnp.where(mask, value, 0), axis=1)


@pytree
class ScreenedCore(Potential):
    r"""The repulsion of `ZBL` with a radius for every pair of elements, times one more polynomial that ends it (pacemaker's "zbl").

    Args:
      species: chemical symbols.
      radius: where it ends, in Å, shape [] or [S, S].
      width: over which it ends, in Å, likewise.
      scale: factor, likewise.

    Raises:
      ValueError: for tables of a wrong shape.
    """

    species: tuple[str, ...] = static()
    radius: Array = positive(shape="[] or [S, S]")
    width: Array = positive(shape="[] or [S, S]")
    scale: Array = leaf(1.0, shape="[] or [S, S]")

    def __post_init__(self):
        species_tuple(self.species, "ScreenedCore")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def energies(self, graph: Graph) -> Array:
        r, first, second, mask = pairs(graph, self.reach, self.species)
        table = lambda value: jnp.broadcast_to(jnp.asarray(value, r.dtype), (len(self.species),) * 2)  # noqa: E731
        radius, width = table(self.radius), table(self.width)
        value = screened_repulsion(r, first, second, self.species, radius - width, radius)
        ending = 1 - smoothstep((r - radius[first, second]) / width[first, second] + 1)
        return 0.5 * jnp.sum(jnp.where(mask, value * ending * table(self.scale)[first, second], 0), axis=1)


class Switch:
    """Interface: which shares of the energies of a potential and of a core repulsion every atom has.

    Attributes:
      of_elements: whether its numbers are those of a centre, 1, or of pairs, 2, where they are not the same for all.
    """

    of_elements: int

    def shares(self, graph: Graph, core: Array, species: tuple[str, ...]) -> tuple[Array, Array]:
        """Shares [N] of the potential and of the core, from the core's energies [N], in eV."""
        raise NotImplementedError(f"{type(self).__name__} must define shares(graph, core, species)")


@pytree
class ByCoreEnergy(Switch):
    r"""The potential ends as the energy of the core grows, :math:`f = 1 - s((c - c_{max} + w)/w)`; the core counts fully.

    Args:
      cutoff: c_max, in eV, shape [] or [S] for every centre's element. pacemaker: rho_core_cutoff.
      width: w, in eV, likewise. pacemaker: drho_core_cutoff.
    """

    cutoff: Array = positive(shape="[] or [S]")
    width: Array = positive(shape="[] or [S]")
    of_elements = 1

    def shares(self, graph, core, species):
        cutoff, width = (_of_center(x, graph, species, core.dtype) for x in (self.cutoff, self.width))
        return 1 - smoothstep((core - cutoff) / width + 1), jnp.ones_like(core)


@pytree
class ByDistance(Switch):
    r"""The potential gives way to the core as the nearest neighbour approaches, :math:`f = s(d/w)` of the one and 1 − f of the other.

    d is the smallest of r − r_in + w, with r_in and w of its pair. pacemaker does so for the core repulsion "zbl".

    Args:
      radius: r_in, in Å, shape [] or [S, S].
      width: w, in Å, likewise.
    """

    radius: Array = positive(shape="[] or [S, S]")
    width: Array = positive(shape="[] or [S, S]")
    of_elements = 2

    def shares(self, graph, core, species):
        reach = jnp.max(jnp.asarray(self.radius))
        r, first, second, mask = pairs(graph, reach, species)
        radius, width = (of_pair(jnp.asarray(x, r.dtype), first, second) for x in (self.radius, self.width))
        excess = jnp.where(mask, r - radius + width, jnp.inf)
        nearest = jnp.argmin(excess, axis=1)[:, None]
        d, w = (jnp.take_along_axis(jnp.broadcast_to(x, r.shape), nearest, axis=1)[:, 0] for x in (jnp.where(mask, excess, 1), width))
        some = jnp.any(mask, axis=1)
        share = jnp.where(some, smoothstep(jnp.where(some, d / w, 1)), 1)
        return share, 1 - share


def _of_center(value: Array, graph: Graph, species: tuple[str, ...], dtype) -> Array:
    value = jnp.asarray(value, dtype)
    if value.ndim == 0:
        return value
    return value[pairs(graph, 0.0, species)[1][:, 0]]


@pytree
class Switched(Potential):
    r"""A potential and a repulsion of cores, :math:`\epsilon_i = f_i\, e_i + g_i\, c_i`.

    Args:
      potential: e.
      core: c, such as `CoreRepulsion` or `ScreenedCore`.
      switch: f and g, `ByCoreEnergy` or `ByDistance`.

    Raises:
      TypeError: for what is none of this.
      ValueError: if both know different elements.

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    potential: Potential
    core: Potential
    switch: Switch

    def __post_init__(self):
        if not isinstance(self.potential, Potential) or not isinstance(self.core, Potential):
            raise TypeError(f"Switched: expected two potentials, got {type(self.potential).__name__} and {type(self.core).__name__}")
        if not isinstance(self.switch, Switch):
            raise TypeError(f"Switched: expected a switch such as ByCoreEnergy(1000.0, 100.0), got {type(self.switch).__name__}")
        if set(self.core.species) != set(self.potential.species):
            raise ValueError(f"Switched: the potential knows {self.potential.species}, the core {self.core.species}")
        shape = (len(self.species),) * self.switch.of_elements
        for value in jax.tree_util.tree_leaves(self.switch):
            if np.shape(value) not in ((), shape):
                raise ValueError(f"Switched: numbers of {type(self.switch).__name__} must have shape [] or {list(shape)}, got {np.shape(value)}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.potential.species

    @property
    def reach(self) -> Array:
        return jnp.maximum(jnp.asarray(self.potential.reach), self.core.reach)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.potential.causes(graph), *self.core.causes(graph))

    def _repelled(self, graph: Graph) -> tuple[Array, Array]:
        """The share of the potential, and what the core adds, [N] each."""
        core = self.core.energies(graph)
        share, of_core = self.switch.shares(graph, core, self.species)
        return share, of_core * core

    def energies(self, graph: Graph) -> Array:
        share, added = self._repelled(graph)
        return share * self.potential.energies(graph) + added
