"""What descriptors of whole crystals see of a structure: the potential that a lattice of charges has at every atom."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.units import species_table

Array = jax.Array

Counts = tuple[int, int, int]

_CONVERGED = 28.0  # what both sums leave out is below erfc(√28) = 7e-14


class CrystalDescriptor(StructureDescriptor):
    """Interface: features of structures that are periodic in three directions; those of others are NaN.

    Attributes:
      species: the elements it knows, static.
    """

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def lost(self, graph: Graph) -> Array:
        """Whether the structure is none that this descriptor describes, shape []."""
        known = jnp.asarray(species_table(self.species))[graph.numbers] >= 0
        return ~jnp.all(graph.pbc) | jnp.any((graph.numbers > 0) & ~known)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if not np.all(np.asarray(graph.pbc)):
            name, pbc = type(self).__name__, np.asarray(graph.pbc).tolist()
            return (f"{name} is of crystals, and the structure has pbc {pbc}; set atoms.pbc = True if its cell repeats in all directions",)
        return ()


def reduced_differences(graph: Graph) -> Array:
    """s_i − s_j in units of the lattice vectors, each component in [−½, ½], shape [N, N, 3]."""
    fractional = einsum("nx,xs->ns", graph.positions, jnp.linalg.inv(_cell(graph)))
    difference = fractional[:, None, :] - fractional[None, :, :]
    return difference - jax.lax.stop_gradient(jnp.round(difference))


def real_pairs(graph: Graph) -> Array:
    """Whether neither atom is padding, shape [N, N]."""
    real = graph.numbers > 0
    return real[:, None] & real[None, :]


def inverse_lengths(vectors: Array, apart: Array) -> Array:
    """1/|v| of vectors [..., 3] where `apart`, else 0; no gradient passes through the root of one that does not count."""
    return jnp.where(apart, 1 / jnp.sqrt(jnp.where(apart, jnp.sum(vectors * vectors, axis=-1), 1)), 0)


def _cell(graph: Graph) -> Array:
    """The cell, or a stand-in where there is none: what is not periodic is NaN anyway."""
    empty = jnp.abs(jnp.linalg.det(graph.cell)) == 0
    return jnp.where(empty, jnp.eye(3, dtype=graph.cell.dtype), graph.cell)


def _ranges(cell: Array, images: Counts, waves: Counts) -> tuple[Array, Array]:
    """The distance, in Å, and the wave number over 2π, in 1/Å, from which on terms are left out."""
    heights, lengths = 1 / jnp.linalg.norm(jnp.linalg.inv(cell), axis=0), jnp.linalg.norm(cell, axis=1)
    return jnp.min((jnp.asarray(images, cell.dtype) + 0.5) * heights), jnp.min((jnp.asarray(waves, cell.dtype) + 1) / lengths)


def is_converged(graph: Graph, images: Counts, waves: Counts) -> Array:
    """Whether the sums of `lattice_potential` are exact to round-off for the cell, shape []."""
    near, far = _ranges(_cell(graph), images, waves)
    return jnp.pi * near * far >= _CONVERGED


def counts_for(cells: Sequence[np.ndarray], room: float = 1.3) -> tuple[Counts, Counts]:
    """The smallest `images` and `waves` with which the sums converge for all of these cells, and for some that are deformed."""
    found = []
    for cell in cells:
        heights, lengths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0), np.linalg.norm(cell, axis=1)
        choices = []
        for distance in np.linspace(0.6, 3.0, 25) * abs(np.linalg.det(cell)) ** (1 / 3):
            images = np.maximum(np.ceil(distance / heights - 0.5), 0)
            needed = room * _CONVERGED / (math.pi * np.min((images + 0.5) * heights))
            waves = np.maximum(np.ceil(needed * lengths - 1), 1)
            choices.append((np.prod(2 * images + 1) + np.prod(2 * waves + 1), tuple(images), tuple(waves)))
        found.append(min(choices)[1:])
    images, waves = (tuple(int(n) for n in np.max([f[i] for f in found], axis=0)) for i in (0, 1))
    return images, waves


def lattice_potential(graph: Graph, images: Counts, waves: Counts) -> Array:
    r"""The potential at every atom of the lattice of every other atom, unit charges in a uniform background that makes them neutral.

    .. math:: \psi_{ij} = \sum_{\mathbf L} \frac{\operatorname{erfc} \eta r_{ij\mathbf L}}{r_{ij\mathbf L}}
       + \frac{4\pi}{V} \sum_{\mathbf G \ne 0} \frac{e^{-G^2/4\eta^2}}{G^2} \cos \mathbf G \cdot (\mathbf r_i - \mathbf r_j) - \frac{\pi}{V \eta^2}

    For i = j without L = 0, and less 2η/√π. It does not depend on η, which is chosen such that what both sums leave out is equal.

    Args:
      graph: a structure, periodic in three directions.
      images: how many lattice vectors the first sum goes in either direction, for every direction.
      waves: likewise of the second sum.

    Returns:
      Shape [N, N], in 1/Å; what padding has means nothing.
    """
    dtype, n, cell = graph.positions.dtype, len(graph.numbers), _cell(graph)
    near, far = _ranges(jax.lax.stop_gradient(cell), images, waves)
    eta = jnp.sqrt(jnp.pi * far / near)
    inverse, volume = jnp.linalg.inv(cell), jnp.abs(jnp.linalg.det(cell))

    lattice = np.array(list(itertools.product(*(range(-k, k + 1) for k in images))))
    vectors = einsum("ijms,sx->ijmx", reduced_differences(graph)[:, :, None, :] + jnp.asarray(lattice, dtype)[None, None], cell)
    itself = jnp.eye(n, dtype=bool)[:, :, None] & jnp.asarray(np.all(lattice == 0, axis=1))[None, None, :]
    inverse_r = inverse_lengths(vectors, ~itself & real_pairs(graph)[:, :, None])
    apart = inverse_r > 0
    near_part = jnp.sum(jnp.where(apart, jax.scipy.special.erfc(eta / jnp.where(apart, inverse_r, 1)) * inverse_r, 0), axis=-1)

    half = np.array([m for m in itertools.product(*(range(-k, k + 1) for k in waves)) if m > (0, 0, 0)])
    square = (2 * jnp.pi) ** 2 * jnp.sum(einsum("ms,xs->mx", jnp.asarray(half, dtype), inverse) ** 2, axis=-1)
    phase = 2 * jnp.pi * einsum("ns,ms->nm", einsum("nx,xs->ns", graph.positions, inverse), jnp.asarray(half, dtype))
    weight = 8 * jnp.pi / volume * jnp.exp(-square / (4 * eta**2)) / square
    far_part = sum(einsum("im,jm,m->ij", wave, wave, weight) for wave in (jnp.cos(phase), jnp.sin(phase)))

    own = 2 * eta / np.sqrt(np.pi).astype(dtype)
    return near_part + far_part - jnp.pi / (volume * eta**2) - own * jnp.eye(n, dtype=dtype)
