"""What the truncation of a sum costs: rms errors of forces, for charges at random places."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.truncation import completed_cell, far_kernel, integers, wave_vectors
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum

Array = jax.Array

_PANELS, _ORDER = 16, 16  # Gauss-Legendre, up to twice the cutoff
_OTHERS = 8  # how many others every atom is paired with, where sources differ


def near_error(interaction: Interaction, cutoff: Cutoff, width: Array, own: Array, other: Array) -> Array:
    r"""∫ |d/dr (1 − f_c) φ_near|² d³r, [], of two unit sources that carry [C]: what the end of the near part does to a pair."""
    x, weights = np.polynomial.legendre.leggauss(_ORDER)
    edges = np.linspace(0, 2, _PANELS + 1)
    x = (0.5 * (edges[:-1] + edges[1:])[:, None] + np.diff(edges)[:, None] / 2 * x).reshape(-1)
    weights = (np.diff(edges)[:, None] / 2 * weights).reshape(-1)
    radius = jnp.asarray(cutoff.radius)
    r = radius * x

    def left_out(r):
        return (1 - cutoff(r)) * interaction.near(r, jnp.asarray(width), own, other)

    return radius * jnp.sum(jnp.asarray(weights) * 4 * np.pi * r**2 * jax.vmap(jax.grad(left_out))(r) ** 2)


def near_errors(interaction: Interaction, cutoff: Cutoff, width: Array, numbers: Array, q: Array) -> Array:
    """The mean of `near_error` over pairs of atoms, weighted by their squared charges, []."""
    own = interaction.sources(numbers)
    if own.shape[1] == 0:
        return near_error(interaction, cutoff, width, own[0], own[0])
    total = weight = jnp.zeros((), q.dtype)
    for shift in range(1, min(_OTHERS, len(q) - 1) + 1):
        pairs = (q * jnp.roll(q, shift)) ** 2
        of_pairs = jax.vmap(lambda a, b: near_error(interaction, cutoff, width, a, b))(own, jnp.roll(own, shift, axis=0))
        total, weight = total + jnp.sum(pairs * of_pairs), weight + jnp.sum(pairs)
    return total / jnp.where(weight > 0, weight, 1)


def box_error(interaction: Interaction, width: Array, grid: tuple[int, ...], cell: Array, pbc: tuple[bool, ...], length: Array | None) -> Array:
    r"""V⁻¹ Σ k² φ̂_far² over the wave vectors outside a box, []: what their absence does to a pair of unit sources. It looks at twice the box."""
    cell = completed_cell(cell, pbc, length)
    m = integers(tuple(2 * size + 1 for size in grid))
    outside = ~np.all(np.stack(np.meshgrid(*(np.abs(of_axis) <= size for of_axis, size in zip(m, grid, strict=True)), indexing="ij")), axis=0)
    inverse = jnp.linalg.inv(cell)
    kernel = far_kernel(interaction, jnp.asarray(width), m, inverse, pbc, length)
    found = jnp.sum(wave_vectors(m, inverse) ** 2, axis=-1) * kernel**2 * np.where(m[0] > 0, 2, 1)[:, None, None]
    return jnp.sum(jnp.where(outside, found, 0)) / jnp.abs(jnp.linalg.det(cell))


def expected(graph: Graph, pbc: tuple[bool, ...], q: Array, of_pair: Array) -> Array:
    r"""The rms error of a force, [] in eV/Å, of errors of pairs that add up at random.

    .. math:: \sqrt{\tfrac1N \sum_{i \neq j} q_i^2 q_j^2\, \tfrac{1}{V} \int |\Delta f|^2 d^3 r}
    """
    squares = q**2
    pairs = jnp.sum(squares) ** 2 - jnp.sum(squares**2)
    return jnp.sqrt(pairs / jnp.sum(graph.numbers > 0) / occupied_volume(graph, pbc) * of_pair)


def occupied_volume(graph: Graph, pbc: tuple[bool, ...]) -> Array:
    """The volume of the cell, [], which along directions without periodicity is as long as a uniform distribution of the same spread."""
    cell = completed_cell(graph.cell, pbc, jnp.ones((), graph.cell.dtype))
    real = graph.numbers > 0
    across = einsum("nx,xs->ns", graph.positions, jnp.linalg.inv(cell))[:, np.flatnonzero(~np.array(pbc))]
    n = jnp.sum(real)
    mean = jnp.sum(jnp.where(real[:, None], across, 0), axis=0) / n
    variance = jnp.sum(jnp.where(real[:, None], (across - mean[None, :]) ** 2, 0), axis=0) / n
    # atoms in a plane or on a line are not nearer than some Å for that
    lengths = jnp.sqrt(12 * variance + 1.0)
    return jnp.abs(jnp.linalg.det(cell)) * jnp.prod(lengths)
