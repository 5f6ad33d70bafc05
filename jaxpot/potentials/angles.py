"""What potentials of pairs and angles share: tables of the elements, functions that end smoothly at a distance, and sums over the angles of an atom."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import block_size
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.potentials.base import LocalPotential

Array = jax.Array

_SMALLEST = 700.0  # e^−700 is the smallest number of float64 whose derivatives near the cutoff are numbers too


class AngularPotential(LocalPotential):
    """Interface: the energy of an atom from its pairs and angles, and tables of the elements. A new one names its tables and writes `atom`.

    Attributes:
      pair_tables: names of parameters that are tables [S, S], or one number for all.
      triplet_tables: likewise [S, S, S].
    """

    pair_tables: tuple[str, ...] = ()
    triplet_tables: tuple[str, ...] = ()

    @abc.abstractmethod
    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        """The energy of one atom, shape [], in eV."""

    def tables(self) -> dict[str, Array]:
        """All of them in their full shape."""
        names = [(name, 2) for name in self.pair_tables] + [(name, 3) for name in self.triplet_tables]
        return {name: jnp.broadcast_to(jnp.asarray(getattr(self, name)), (len(self.species),) * rank) for name, rank in names}

    def of(self, envs: Environment) -> Array:
        tables = self.tables()
        return jax.vmap(lambda env: self.atom(tables, env))(envs)


@block_size.register
def _of_angles(potential: AngularPotential, n_neighbors: int) -> int:
    """Atoms have [K, K] entries each."""
    return 2**18 // n_neighbors**2 + 1


def ending(width: Array, depth: Array) -> Array:
    """exp(−width/depth) at a depth [...] within the cutoff, and 0 with all derivatives from the cutoff on."""
    nothing = (depth <= width / _SMALLEST) | (depth <= 0)
    return jnp.where(nothing, 0, jnp.exp(-width / jnp.where(nothing, 1, depth)))


def distances_and_units(env: Environment) -> tuple[Array, Array]:
    """Distances [K] of the neighbours of an atom, and unit vectors [K, 3] to them."""
    r = safe_norm(env.vectors)
    return r, env.vectors / jnp.where(r == 0, 1, r)[:, None]


def over_angles(weight: Array, of_angle: Array) -> Array:
    """½ Σ_{j ≠ k} w_j w_k f_jk of weights [K] and a function [K, K] of the angles: every angle once, with the mean of f_jk and f_kj."""
    others = ~jnp.eye(weight.shape[0], dtype=bool)
    return 0.5 * einsum("j,jk,k->", weight, jnp.where(others, of_angle, 0), weight)


def of_angles(table: Array, env: Environment) -> Array:
    """The entries [K, K] of a table [S, S, S] for the angles of an atom; of one element the number that stands for all of them."""
    return table.reshape(()) if table.size == 1 else table[env.center][env.species[:, None], env.species[None, :]]
