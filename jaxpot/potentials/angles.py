"""What potentials of pairs and angles share: functions that end smoothly at a distance, and sums over the angles of an atom."""

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import atoms_at_once
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum, safe_norm

Array = jax.Array

_SMALLEST = 700.0  # e^−700 is the smallest number of float64 whose derivatives near the cutoff are numbers too


def ending(width: Array, depth: Array) -> Array:
    """exp(−width/depth) at a depth [...] within the cutoff, and 0 with all derivatives from the cutoff on; NaN stays NaN."""
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


def angles_at_once(n_neighbors: int) -> int:
    """How many atoms with [K, K] entries each are evaluated at once: as many as the cache likes on CPU, and half a GB elsewhere."""
    return max(1, min(atoms_at_once(2**18 // n_neighbors**2 + 1), 2**26 // n_neighbors**2))
