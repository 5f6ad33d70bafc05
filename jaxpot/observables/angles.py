"""Angles between neighbours of an atom."""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.observables.pairs import covered, surroundings

Array = jax.Array


def angle_distribution(
    graph: Graph, species: tuple[str, ...], angles: jax.typing.ArrayLike, *, radius: float | Array, width: float | Array, broadening: float | Array
) -> Array:
    r"""How angles at every element between neighbours of every two elements are distributed, smooth in all positions.

    .. math:: P_{abc}(\theta) \propto \sum_{i \in a} \sum_{j \in b,\, k \in c}' f(r_{ij})\, f(r_{ik})\, G(\theta - \theta_{jik}),
       \qquad \int_0^\pi P_{abc}\, d\theta = 1

    f falls from 1 to 0 about the radius as in `coordination`. The Gaussian G is reflected at 0 and π, so nothing is lost there, and
    straight angles have derivatives as all others.

    Args:
      graph: one structure, periodic or not; its lists reach 5 widths beyond the radius, and should reach not much farther, since all pairs of
        neighbours are looked at.
      species: chemical symbols; atoms of other elements do not count.
      angles: θ, shape [A], in radian.
      radius: up to which an atom is a neighbour, in Å.
      width: over which it ceases to be one, in Å.
      broadening: standard deviation of G, in radian.

    Returns:
      P, shape [S, S, S, A], in 1/radian; the element of the centre comes first. NaN where there are no such angles, and where the lists do
      not cover the radius.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> angles = jnp.linspace(0, jnp.pi, 181)
      >>> P = angle_distribution(from_atoms(bulk("Si"), cutoff=3.2), ("Si",), angles, radius=2.9, width=0.05, broadening=0.05)
      >>> int(jnp.argmax(P[0, 0, 0]))  # degrees; tetrahedral
      109
    """
    angles = jnp.asarray(angles, graph.positions.dtype)
    envs, own, theirs = surroundings(graph, species)
    within = norm.cdf(-(safe_norm(envs.vectors) - radius) / width)
    counted = theirs * within[:, :, None]

    @jax.checkpoint
    def of_atoms(stack):
        vectors, counted = stack
        apart = ~jnp.eye(vectors.shape[1], dtype=bool)[None]
        theta = _angles(vectors)

        @jax.checkpoint
        def at(angle):
            return einsum("njb,nkc,njk->nbc", counted, counted, jnp.where(apart, _reflected(angle, theta, broadening), 0))

        found = jnp.moveaxis(jax.lax.map(at, angles), 0, -1)
        return found, einsum("njb,nkc,njk->nbc", counted, counted, apart.astype(theta.dtype) * jnp.ones_like(theta))

    found, pairs = map_blocks(of_atoms, (envs.vectors, counted), atoms_at_once())
    found, pairs = einsum("na,nbcx->abcx", own, found), einsum("na,nbc->abc", own, pairs)
    is_there = (pairs > 0) & covered(graph, radius, width)
    return jnp.where(is_there[..., None], found / jnp.where(is_there, pairs, 1)[..., None], jnp.nan)


def _angles(vectors: Array) -> Array:
    """Angles [n, K, K] between vectors [n, K, 3]; derivatives at 0 and π, where there are none, are 0."""
    one, other = vectors[:, :, None, :], vectors[:, None, :, :]
    across, along = safe_norm(jnp.cross(*jnp.broadcast_arrays(one, other))), jnp.sum(one * other, axis=-1)
    straight = across == 0
    return jnp.where(straight, jnp.where(along < 0, jnp.pi, 0), jnp.arctan2(jnp.where(straight, 1, across), along))


def _reflected(angle: Array, theta: Array, broadening: Array) -> Array:
    """A Gaussian at θ and its mirror images beyond 0 and π."""
    return sum(norm.pdf(angle, place, broadening) for place in (theta, -theta, 2 * jnp.pi - theta))
