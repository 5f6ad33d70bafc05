"""Repulsion of cores, and many-body potentials that are switched off where it takes over."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors.blocks import atoms_per_block
from jaxpot.graph import Environment, Graph
from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.math.cutoffs import cosine_ramp, smoothstep
from jaxpot.potentials.base import LocalPotential
from jaxpot.potentials.pair import of_pair, over_pairs, pairs, screened_repulsion
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class CoreRepulsion(LocalPotential):
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

    Example:
      >>> import ase
      >>> core = CoreRepulsion(("Si",), prefactor=[[100.0]], exponent=[[1.0]], radius=[[4.0]])
      >>> round(float(core(ase.Atoms("Si2", [[0, 0, 0], [1.0, 0, 0]]))), 3)
      62.801
    """

    species: tuple[str, ...] = static()
    prefactor: Leaf = leaf(shape="[] or [S, S]")
    exponent: Leaf = leaf(shape="[] or [S, S]")
    radius: Leaf = positive(shape="[] or [S, S]")
    inner: OptionalLeaf = positive(default=None, shape="[] or [S, S]")
    inner_width: OptionalLeaf = positive(default=None, shape="[] or [S, S]")

    def __post_init__(self):
        species_tuple(self.species, "CoreRepulsion")
        if (self.inner is None) != (self.inner_width is None):
            raise ValueError("CoreRepulsion: an inner cutoff needs both inner and inner_width, in Å")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def of(self, envs: Environment) -> Array:
        r, first, second = pairs(envs)
        of = lambda value: of_pair(jnp.asarray(value, r.dtype), first, second)  # noqa: E731
        value = of(self.prefactor) * jnp.exp(-of(self.exponent) * r**2) / r * cosine_ramp(r, of(self.radius))
        if self.inner is not None:
            value = value * (1 - smoothstep((r - of(self.inner)) / of(self.inner_width) + 1))
        return over_pairs(value, envs)


@pytree
class ScreenedCore(LocalPotential):
    r"""The repulsion of `ZBL` with a radius for every pair of elements, times one more polynomial that ends it (pacemaker's "zbl").

    Args:
      species: chemical symbols.
      radius: where it ends, in Å, shape [] or [S, S].
      width: over which it ends, in Å, likewise.
      scale: factor, likewise.

    Raises:
      ValueError: for tables of a wrong shape.

    Example:
      >>> import ase
      >>> core = ScreenedCore(("Si",), radius=1.8, width=0.4)
      >>> [round(float(core(ase.Atoms("Si2", [[0, 0, 0], [r, 0, 0]]))), 3) for r in (1.0, 1.5, 2.0)]
      [44.237, 2.651, 0.0]
    """

    species: tuple[str, ...] = static()
    radius: Leaf = positive(shape="[] or [S, S]")
    width: Leaf = positive(shape="[] or [S, S]")
    scale: Leaf = leaf(default=1.0, shape="[] or [S, S]")

    def __post_init__(self):
        species_tuple(self.species, "ScreenedCore")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def of(self, envs: Environment) -> Array:
        r, first, second = pairs(envs)
        table = lambda value: jnp.broadcast_to(jnp.asarray(value, r.dtype), (len(self.species),) * 2)  # noqa: E731
        radius, width = table(self.radius), table(self.width)
        value = screened_repulsion(r, first, second, self.species, radius - width, radius)
        ending = 1 - smoothstep((r - radius[first, second]) / width[first, second] + 1)
        return 0.5 * over_pairs(value * ending * table(self.scale)[first, second], envs)


class Switch(Tree, abc.ABC):
    """Interface: which shares of the energies of a potential and of a core repulsion every atom has.

    Attributes:
      of_elements: whether its numbers are those of a centre, 1, or of pairs, 2, where they are not the same for all.
      reach: how far it looks, shape [], in Å.
    """

    of_elements: int
    reach: Array

    @abc.abstractmethod
    def shares(self, envs: Environment, core: Array) -> tuple[Array, Array]:
        """Shares [n] of the potential and of the core, from the surroundings of n atoms and the core's energies [n], in eV."""


@pytree
class ByCoreEnergy(Switch):
    r"""The potential ends as the energy of the core grows, :math:`f = 1 - s((c - c_{max} + w)/w)`; the core counts fully.

    Args:
      cutoff: c_max, in eV, shape [] or [S] for every centre's element. pacemaker: rho_core_cutoff.
      width: w, in eV, likewise. pacemaker: drho_core_cutoff.

    Example:
      >>> float(ByCoreEnergy(cutoff=5.0, width=2.0).cutoff)  # eV
      5.0
    """

    cutoff: Leaf = positive(shape="[] or [S]")
    width: Leaf = positive(shape="[] or [S]")
    of_elements = 1

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def shares(self, envs, core):
        tables = (jnp.asarray(x, core.dtype) for x in (self.cutoff, self.width))
        cutoff, width = (x[envs.center] if x.ndim else x for x in tables)
        return 1 - smoothstep((core - cutoff) / width + 1), jnp.ones_like(core)


@pytree
class ByDistance(Switch):
    r"""The potential gives way to the core as the nearest neighbour approaches, :math:`f = s(d/w)` of the one and 1 − f of the other.

    d is the smallest of r − r_in + w, with r_in and w of its pair. pacemaker does so for the core repulsion "zbl".

    Args:
      radius: r_in, in Å, shape [] or [S, S].
      width: w, in Å, likewise.

    Example:
      >>> switch = ByDistance(radius=1.8, width=0.4)  # for Switched(potential, core, switch)
      >>> float(switch.reach)
      1.8
    """

    radius: Leaf = positive(shape="[] or [S, S]")
    width: Leaf = positive(shape="[] or [S, S]")
    of_elements = 2

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def shares(self, envs, core):
        r, first, second = pairs(envs)
        radius, width = (of_pair(jnp.asarray(x, r.dtype), first, second) for x in (self.radius, self.width))
        excess = jnp.where(envs.mask, r - radius + width, jnp.inf)
        nearest = jnp.argmin(excess, axis=1)[:, None]
        d, w = (jnp.take_along_axis(jnp.broadcast_to(x, r.shape), nearest, axis=1)[:, 0] for x in (jnp.where(envs.mask, excess, 1), width))
        some = jnp.any(envs.mask, axis=1)
        share = jnp.where(some, smoothstep(jnp.where(some, d / w, 1)), 1)
        return share, 1 - share


@pytree
class Switched(LocalPotential):
    r"""A potential and a repulsion of cores, :math:`\epsilon_i = f_i\, e_i + g_i\, c_i`.

    Args:
      potential: e, local.
      core: c, local, such as `CoreRepulsion` or `ScreenedCore`.
      switch: f and g, `ByCoreEnergy` or `ByDistance`.

    Raises:
      TypeError: for what is none of this.
      ValueError: if both know different elements.

    Example:
      >>> from jaxpot.empirical import Morse
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> far = Morse(("Si",), depth=2.0, alpha=1.5, minimum=2.35, cutoff=PolynomialCutoff(5.0))
      >>> near = ScreenedCore(("Si",), radius=1.8, width=0.4)
      >>> float(Switched(far, near, ByDistance(radius=1.8, width=0.4)).reach)
      5.0

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    potential: LocalPotential
    core: LocalPotential
    switch: Switch

    def __post_init__(self):
        if not isinstance(self.potential, LocalPotential) or not isinstance(self.core, LocalPotential):
            raise TypeError(
                f"Switched: expected two potentials, got {type(self.potential).__name__} and {type(self.core).__name__}; energies of both must follow from "
                "each atom's own neighbours: write Switched(potential, core, switch) + term for any other"
            )
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
        return jnp.maximum(jnp.maximum(jnp.asarray(self.potential.reach), self.core.reach), self.switch.reach)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.potential.causes(graph), *self.core.causes(graph))

    def of(self, envs: Environment) -> Array:
        place = jnp.array([self.core.species.index(s) for s in self.species])  # the core may know the same elements in another order
        core = self.core.of(envs.replace(species=place[envs.species], center=place[envs.center]))
        share, of_core = self.switch.shares(envs, core)
        return share * self.potential.of(envs) + of_core * core


@atoms_per_block.register
def _of_both(switched: Switched, n_neighbors: int) -> int:
    return min(atoms_per_block(part, n_neighbors) for part in (switched.potential, switched.core))
