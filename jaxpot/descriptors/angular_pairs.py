"""Pairs of neighbours of one atom, each once and without gathers: what sums over angles at the centre are made of (ACSF, AEV)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum, safe_norm

Array = jax.Array

_PAIRS_AT_ONCE = 8192


class Neighbors(NamedTuple):
    """Distances and directions of the neighbours of one atom.

    Args:
      r: distances, shape [K], in Å.
      directions: unit vectors, shape [3, K].
      vectors: shape [3, K], in Å.
      elements: one-hot, shape [K, S].
      carried: what they carry, shape [K, C]; None is nothing.
    """

    r: Array
    directions: Array
    vectors: Array
    elements: Array
    carried: Array | None = None

    @classmethod
    def of(cls, env: Environment, n_species: int) -> "Neighbors":
        vectors = env.vectors.T
        r = safe_norm(vectors, axis=0)
        is_zero = r == 0
        elements = jax.nn.one_hot(env.species, n_species, dtype=r.dtype)
        return cls(r, vectors / jnp.where(is_zero, 1, r)[None], vectors, elements, jnp.asarray(env.carried, r.dtype))


class Pairs(NamedTuple):
    """Geometry of all pairs (j, k) of neighbours, T of them.

    Args:
      first: r_j, shape [T], in Å.
      second: r_k, likewise.
      opposite: r_jk, likewise.
      aligned: (1 + cos θ)/2 of the angle at the centre, likewise; exactly ≥ 0.
      opposed: (1 − cos θ)/2, likewise.
      weight: how often a pair counts; one, or a half for those that stand here twice.
    """

    first: Array
    second: Array
    opposite: Array
    aligned: Array
    opposed: Array
    weight: Array

    @classmethod
    def of(cls, neighbors: Neighbors) -> "Pairs":
        a, b = one_of(neighbors.directions), other_of(neighbors.directions)
        between = other_of(neighbors.vectors) - one_of(neighbors.vectors)
        return cls(
            first=one_of(neighbors.r),
            second=other_of(neighbors.r),
            opposite=safe_norm(between, axis=0),
            aligned=0.25 * jnp.sum((a + b) ** 2, axis=0),
            opposed=0.25 * jnp.sum((a - b) ** 2, axis=0),
            weight=jnp.asarray(_weights(neighbors.r.shape[0]), neighbors.r.dtype),
        )


def block(n_neighbors: int) -> int:
    """How many atoms have so many pairs together that their functions fit the cache of a core."""
    return max(1, _PAIRS_AT_ONCE // max(1, n_neighbors * (n_neighbors // 2)))


@functools.cache
def _weights(n: int) -> np.ndarray:
    weights = np.ones((n // 2, n))
    if n and n % 2 == 0:
        weights[-1] = 0.5  # half way around the circle a pair is met from both sides
    return weights.reshape(-1)


def one_of(x: Array) -> Array:
    """Of every pair what the first neighbour has, from [..., K] to [..., T]."""
    n = x.shape[-1]
    return jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], n // 2, n)).reshape(*x.shape[:-1], -1)


def other_of(x: Array) -> Array:
    """Likewise of the second, which is the first, second, … K/2-th after the first neighbour, on a circle."""
    n = x.shape[-1]
    return x[..., (np.arange(n) + np.arange(1, n // 2 + 1)[:, None]).reshape(-1) % n]


def pair_channels(channels: Array) -> Array:
    """From channels of neighbours [Q, K] to those of pairs, [Q (Q + 1)/2, T], (q, q') with q ≤ q' in rows of the upper triangle."""
    a, b, n = one_of(channels), other_of(channels), channels.shape[0]
    return jnp.stack([a[p] * b[q] if p == q else a[p] * b[q] + a[q] * b[p] for p in range(n) for q in range(p, n)])


def contracted(channels: Array, radial: Array, angular: Array) -> Array:
    """Σ over pairs of channels [P, T], functions of lengths [R, T] and of angles [A, T]: [P, R, A], as one matrix product."""
    by_channel = channels[:, None] * radial[None]
    return einsum("rt,at->ra", by_channel.reshape(len(channels) * len(radial), -1), angular).reshape(*by_channel.shape[:2], -1)
