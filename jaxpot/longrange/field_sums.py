"""How the fields of all atoms are summed around every atom: over pairs of a molecule, or over plane waves of a periodic structure."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Graph, from_atoms
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.longrange.ewald import sum_blocks
from jaxpot.longrange.truncation import WaveBox, completed_cell, extent, integers, unlike, wave_vectors
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.trees import positive, pytree, static

Array = jax.Array

_NO_LIST = 1e-3  # Å, of structures whose neighbours do not matter
_PAIRS = 2**12  # of atoms at once
_PHASES = 2**18  # atoms times waves at once


class Field(Interface):
    """Interface: what a source adds to the coefficients around another place, in real space and in reciprocal space.

    Attributes:
      l_max: highest degree, included, static.
      n_max: number of radial functions, static.
    """

    l_max: int
    n_max: int

    @abc.abstractmethod
    def of_sources(self, vectors: Array, weights: Array) -> Array:
        """Coefficients [Q, L] of sources at vectors [K, 3] from a centre with weights [K, D]."""

    @abc.abstractmethod
    def transform(self, m: list[np.ndarray], inverse: Array, pbc: tuple[bool, ...], length: Array | None) -> Array:
        """The Fourier transform of the field of a source over a box of integers, [a, b, c]."""

    @abc.abstractmethod
    def waves(self, k: Array) -> Array:
        """The radial functions of plane waves at wave numbers [K] 1/Å, [K, l_max + 1, n_max]."""


class FieldSum(Interface):
    """Interface: the field of all atoms, of their images and of the centre itself, expanded around every atom."""

    @abc.abstractmethod
    def total(self, field: Field, graph: Graph, weights: Array) -> Array:
        """Coefficients [N, Q, L] of sources with weights [N, D], zero for padding atoms; rows of these mean nothing."""

    @abc.abstractmethod
    def lost(self, graph: Graph, sigma: Array, end: Array) -> Array:
        """Whether the sum is not of such structures, []: of sources smeared by sigma, and looked at up to a distance from every atom, in Å."""

    @abc.abstractmethod
    def causes(self, graph: Graph, sigma: Array, end: Array) -> tuple[str, ...]:
        """Why, in words."""

    @property
    def is_real(self) -> bool:
        """Whether it asks for the field in real space."""
        return False


@pytree
class AllPairs(FieldSum):
    """All pairs of a free molecule, one after the other, in real space. Of a periodic structure the coefficients are NaN.

    Example:
      >>> AllPairs().is_real
      True
    """

    @property
    def is_real(self) -> bool:
        return True

    def total(self, field: Field, graph: Graph, weights: Array) -> Array:
        def of_atoms(positions):
            vectors = jnp.where((graph.numbers > 0)[None, :, None], graph.positions[None, :, :] - positions[:, None, :], 0)
            return jax.vmap(field.of_sources, (0, None))(vectors, weights)

        block = atoms_at_once(max(1, _PAIRS // len(weights)))
        return map_blocks(jax.checkpoint(of_atoms), graph.positions, block)

    def lost(self, graph: Graph, sigma: Array, end: Array) -> Array:
        return jnp.any(graph.pbc)

    def causes(self, graph: Graph, sigma: Array, end: Array) -> tuple[str, ...]:
        periodic = np.any(np.asarray(graph.pbc))
        text = "AllPairs sums the pairs of free molecules, and the structure is periodic; write jaxpot.longrange.field_sum_for(frames, sigma=...)"
        return (text,) if periodic else ()


@pytree
class Waves(FieldSum, WaveBox):
    r"""Plane waves, for crystals, and for slabs, wires and molecules where the potential is that of 1/r.

    .. math:: c_{nlm} = \frac{4\pi}{V}\, \mathrm{Re}\; i^l \sum_k \hat v(k)\, Y_{lm}(\hat k)\, \int r^2 g_{nl}(r)\, j_l(kr)\, dr\;
        e^{i k R_i} \sum_j W_j\, e^{-i k R_j}

    The wave vectors are :math:`k = 2\pi\, m A^{-1}` of a fixed box of integers m, so the coefficients are smooth in positions and cell. Along
    directions without periodicity the cell vectors do not matter, as in `Ewald`.

    Args:
      grid: largest \|m\| along each of the three reciprocal directions.
      k_cutoff: what the box of wave vectors must contain, in 1/Å: of a cell that has outgrown it the coefficients are NaN.
      pbc: the periodic directions of the structures; of a structure with others the coefficients are NaN.
      length: of the cell along the other directions, in Å; None for crystals.

    Raises:
      ValueError: for a grid that is not three positive integers, or a length given of a crystal or not of another structure.

    Example:
      >>> Waves(grid=(5, 5, 5), k_cutoff=6.0).pbc
      (True, True, True)
    """

    grid: tuple[int, int, int] = static(most=10_000)
    k_cutoff: Leaf = positive()
    pbc: tuple[bool, bool, bool] = static(default=(True, True, True))
    length: OptionalLeaf = positive(default=None)

    def __post_init__(self):
        self.check_box("field_sum_for(frames, sigma=...)")

    def total(self, field: Field, graph: Graph, weights: Array) -> Array:
        cell = completed_cell(graph.cell, self.pbc, self.length)
        inverse, m = jnp.linalg.inv(cell), integers(self.grid)
        # half of all wave vectors stand for both ±k
        kernel = field.transform(m, inverse, self.pbc, self.length) * np.where(m[0] > 0, 2, 1)[:, None, None]
        kernel = (kernel * (4 * np.pi) / jnp.abs(jnp.linalg.det(cell))).reshape(-1)
        vectors = wave_vectors(m, inverse).reshape(-1, 3)
        multiples = jnp.asarray(np.stack(np.meshgrid(*m, indexing="ij"), axis=-1).reshape(-1, 3), cell.dtype)
        fractions = einsum("nx,xs->ns", graph.positions, inverse)
        degrees = np.arange(field.l_max + 1)

        def of_waves(multiples, vectors, kernel):
            phase = 2 * np.pi * einsum("ns,ks->nk", fractions, multiples)
            cosine, sine = jnp.cos(phase), jnp.sin(phase)
            cosines, sines = einsum("nk,nd->dk", cosine, weights), einsum("nk,nd->dk", sine, weights)
            radial, harmonics = field.waves(safe_norm(vectors)) * kernel[:, None, None], spherical_harmonics(vectors, field.l_max)
            # exp(ikR) times the conjugate of the structure factor; i^l makes its real part of it for even l, and its imaginary part for odd
            real = cosine[:, None, :] * cosines[None] + sine[:, None, :] * sines[None]
            imaginary = sine[:, None, :] * cosines[None] - cosine[:, None, :] * sines[None]
            parts = []
            for l in degrees:
                part, sign = (imaginary, (-1) ** ((l + 1) // 2)) if l % 2 else (real, (-1) ** (l // 2))
                waves = sign * radial[:, l, :, None] * harmonics[:, None, l * l : (l + 1) ** 2]
                parts.append(einsum("adk,knm->adnm", part, waves))
            return jnp.concatenate(parts, axis=-1)

        found = sum_blocks(of_waves, (multiples, vectors, kernel), max(64, _PHASES // len(weights)))
        return found.reshape(len(weights), -1, len(degrees) ** 2)

    def _room(self, sigma: Array, end: Array) -> Array:
        return jnp.zeros(()) if self.length is None else 0.5 * self.length - end - (self.k_cutoff * sigma + 2) * sigma

    def lost(self, graph: Graph, sigma: Array, end: Array) -> Array:
        return self.outgrown(graph) | self.too_long(graph, self._room(sigma, end)) | unlike(graph, self.pbc)

    def causes(self, graph: Graph, sigma: Array, end: Array) -> tuple[str, ...]:
        return self.why_lost(graph, self._room(sigma, end), "write jaxpot.longrange.field_sum_for(frames, sigma=...)")


def field_sum_for(frames: Any, *, sigma: float, end: float = 0.0, accuracy: float = 1e-6, growth: float = 0.1) -> FieldSum:
    """The sum of fields for structures like these.

    Args:
      frames: `ase.Atoms` or several, of one periodicity.
      sigma: how far sources are smeared, in Å.
      end: how far from every atom the field is looked at, in Å, which matters for slabs and wires: `LODE.end`.
      accuracy: by how much the waves that are left out have decayed.
      growth: how much longer cells and structures may become, and sigma smaller; beyond, results are NaN.

    Returns:
      `AllPairs` for molecules, else `Waves`.

    Raises:
      ValueError: for no frames, frames of different periodicity, or a sigma, accuracy or growth that is not positive.

    Example:
      >>> import ase.build
      >>> field_sum_for(ase.build.bulk("NaCl", "rocksalt", a=5.64), sigma=1.0).grid
      (3, 3, 3)
    """
    frames = [frames] if hasattr(frames, "positions") else list(frames)
    if not frames:
        raise ValueError("field_sum_for: no frames; expected ase.Atoms, or a list of them")
    for name, value in (("sigma", sigma), ("accuracy", accuracy), ("growth", growth)):
        if not (np.ndim(value) == 0 and np.isfinite(value) and value > 0):
            raise ValueError(f"field_sum_for: {name} must be a positive number, got {value!r}")
    kinds = sorted({tuple(atoms.pbc.tolist()) for atoms in frames})
    if len(kinds) > 1:
        raise ValueError(f"field_sum_for: frames have pbc {' and '.join(map(str, kinds))}; choose a sum for each")
    pbc = kinds[0]
    if not any(pbc):
        return AllPairs()
    k_cutoff = float(np.sqrt(2 * np.log(1 / min(accuracy, 0.1)))) / sigma
    length = None
    if not all(pbc):
        longest = max(float(extent(from_atoms(atoms, _NO_LIST), pbc)) for atoms in frames)
        length = 2 * (1 + growth) * (longest + end + (k_cutoff * sigma + 2) * sigma)
    cells = [np.asarray(completed_cell(jnp.asarray(atoms.cell.array), pbc, jnp.asarray(length or 1.0))) for atoms in frames]
    lengths = np.linalg.norm(cells, axis=2).max(axis=0) * np.where(pbc, 1 + growth, 1)
    grid = tuple(int(m) for m in np.maximum(np.ceil(k_cutoff * lengths / (2 * np.pi)) - 1, 1))
    return Waves(grid=grid, k_cutoff=k_cutoff, pbc=pbc, length=length)
