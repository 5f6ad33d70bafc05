"""Triangles of an atom and two neighbours with all sides and angles, for molecular representations (FCHL19, MBTR, SLATM); see also angular_pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, Tree
from jaxpot.math.linalg import safe_norm
from jaxpot.trees import pytree

Array = jax.Array

_STRAIGHT = 100  # in units of eps: smaller sines are those of atoms on a line


@pytree
class Triples(Tree):
    """Triangles of the centre and two neighbours, j before k.

    Args:
      sides: lengths r_ij, r_ik, r_jk, shape [3, T], in Å; 1 for a pair with an empty slot.
      cosines: of the angles at i, j and k, shape [3, T].
      sine: of the angle at i, shape [T]; its derivative is 0 where the three atoms lie on a line.
      elements: which unordered pair of elements j and k are, as one-hot rows [T, S (S + 1)/2], zero for a pair with an empty slot.
    """

    sides: Leaf
    cosines: Leaf
    sine: Leaf
    elements: Leaf


def triples(env: Environment, n_species: int) -> Triples:
    """All triangles of an atom with K neighbour slots, T = K (K − 1)/2."""
    j, k = np.triu_indices(env.mask.shape[0], 1)
    there = env.mask[j] & env.mask[k]
    # what is missing becomes a triangle with sides 1, whose angles are numbers
    stand_in = jnp.asarray([[1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]], env.vectors.dtype)
    u, v = (jnp.where(there[:, None], env.vectors[x], stand_in[a]) for a, x in enumerate((j, k)))
    w = v - u
    sides = safe_norm(jnp.stack([u, v, w]))
    a, b, c = sides
    dots = jnp.stack([jnp.sum(u * v, axis=1) / (a * b), -jnp.sum(u * w, axis=1) / (a * c), jnp.sum(v * w, axis=1) / (b * c)])
    elements = jax.nn.one_hot(jnp.asarray(pair_table(n_species))[env.species[j], env.species[k]], n_species * (n_species + 1) // 2, dtype=u.dtype)
    # the norm of what is round-off has derivatives of order 1, in directions that mean nothing: crystals are full of atoms on a line
    area = jnp.cross(u, v) / (a * b)[:, None]
    area = jnp.where(jnp.sum(area * area, axis=1) > (_STRAIGHT * jnp.finfo(u.dtype).eps) ** 2, area.T, 0).T
    return Triples(sides, dots, safe_norm(area), jnp.where(there[:, None], elements, 0))


@functools.cache
def pair_table(n: int) -> np.ndarray:
    """Number of the unordered pair of two elements, shape [S, S], in the order (0, 0), (0, 1), …, (1, 1), …"""
    table = np.zeros((n, n), np.int32)
    rows, columns = np.triu_indices(n)
    table[rows, columns] = table[columns, rows] = np.arange(len(rows))
    return table


def symmetric_pairs(by_pair: Array) -> Array:
    """From what centres of element a find at neighbours of element b, [S, S, n], to what unordered pairs have, [S (S + 1)/2, n]."""
    rows, columns = np.triu_indices(by_pair.shape[0])
    both = by_pair + jnp.swapaxes(by_pair, 0, 1)
    return both[rows, columns] * jnp.asarray(np.where(rows == columns, 0.5, 1.0), by_pair.dtype)[:, None]
