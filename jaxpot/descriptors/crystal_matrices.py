"""Crystals by the repulsion of their nuclei: sine matrices, Ewald sum matrices, and the spectra of both."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.atom_matrices import AtomMatrix, Eigenvalues, SortedRows, own_repulsion
from jaxpot.descriptors.crystals import (
    Counts,
    CrystalDescriptor,
    counts_for,
    inverse_lengths,
    is_converged,
    lattice_potential,
    real_pairs,
    reduced_differences,
)
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.trees import pytree, static
from jaxpot.units import SYMBOLS

Array = jax.Array


def sine_matrix(graph: Graph) -> Array:
    """½ Z^2.4 on the diagonal, Z_i Z_j over the length of the sine-squared vector elsewhere, shape [N, N], in 1/Å off the diagonal."""
    waved = jnp.sin(jnp.pi * reduced_differences(graph)) ** 2
    x = inverse_lengths(einsum("ijs,sx->ijx", waved, graph.cell), real_pairs(graph) & ~jnp.eye(len(graph.numbers), dtype=bool))
    z = graph.numbers.astype(x.dtype)
    return z[:, None] * z[None, :] * x + jnp.diag(own_repulsion(graph.numbers, x.dtype))


@pytree
class SineMatrix(SortedRows, CrystalDescriptor):
    r"""The sine matrix of a crystal, its rows in the order of their norms: a Coulomb matrix whose distances repeat with the cell.

    .. math:: M_{ii} = \tfrac12 Z_i^{2.4}, \qquad
       M_{ij} = Z_i Z_j \Big/ \Big| \sum_k \mathbf a_k \sin^2\!\big(\pi (s_{ik} - s_{jk})\big) \Big|

    with the lattice vectors a and positions s in units of them. It depends on the choice of the cell: one crystal has different matrices in
    different cells. Rows and columns are sorted by falling norm of the rows, and the upper triangle is the feature vector; missing atoms are
    zeros. Where two norms of unlike atoms are equal the features jump, so there is no derivative. A slab is described with
    `atoms.pbc = True`, and its vacuum is part of the cell.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.

    Raises:
      ValueError: for unknown species or a size that is no number.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import bulk
      >>> salt = from_atoms(bulk("NaCl", "rocksalt", a=5.64), cutoff=1.0)
      >>> SineMatrix(("Na", "Cl"), n_atoms=3).features(salt).round(2).tolist()
      [448.79, 19.14, 0.0, 157.87, 0.0, 0.0]

    References:
      Faber, Lindmaa, von Lilienfeld, Armiento, "Crystal structure representations for machine learning models of formation energies",
      Int. J. Quantum Chem. 115, 1094 (2015).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static()

    def __post_init__(self):
        self._check()

    def matrix(self, graph: Graph) -> Array:
        return sine_matrix(graph)


@pytree
class SineSpectrum(Eigenvalues, CrystalDescriptor):
    r"""The eigenvalues of the sine matrix (see `SineMatrix`), by falling absolute value.

    Few numbers, and different crystals may share them. Where eigenvalues meet, or change order, there is no derivative.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.

    Raises:
      ValueError: for unknown species or a size that is no number.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import bulk
      >>> salt = from_atoms(bulk("NaCl", "rocksalt", a=5.64), cutoff=1.0)
      >>> SineSpectrum(("Na", "Cl"), n_atoms=3).features(salt).round(2).tolist()
      [450.05, 156.62, 0.0]

    References:
      Faber, Lindmaa, von Lilienfeld, Armiento, Int. J. Quantum Chem. 115, 1094 (2015).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static()

    def __post_init__(self):
        self._check()

    def matrix(self, graph: Graph) -> Array:
        return sine_matrix(graph)


class _EwaldSums(AtomMatrix, CrystalDescriptor):
    """What the Ewald sum matrix and its spectrum share: the ranges of the two sums."""

    images: Counts
    waves: Counts

    @classmethod
    def of(cls, frames: Sequence[Any]) -> Any:
        """With the elements, the size and the ranges that these `ase.Atoms` need, and cells that are a little deformed."""
        numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
        if not numbers:
            raise ValueError(f"{cls.__name__}.of: expected at least one crystal, got no atoms")
        for i, atoms in enumerate(frames):
            if not atoms.pbc.all():
                raise ValueError(f"{cls.__name__}.of: frame {i} has pbc {atoms.pbc.tolist()}; set atoms.pbc = True if its cell repeats in all directions")
        images, waves = counts_for([atoms.cell.array for atoms in frames])
        return cls(tuple(SYMBOLS[z] for z in numbers), max(map(len, frames)), images, waves)

    def _check(self) -> None:
        super()._check()
        for name, least in (("images", 0), ("waves", 1)):
            given = getattr(self, name)
            if not isinstance(given, tuple) or len(given) != 3 or not all(type(n) is int and n >= least for n in given):
                raise ValueError(f"{type(self).__name__}: {name} must be a tuple of three whole numbers from {least} on, got {given!r}")

    def matrix(self, graph: Graph) -> Array:
        """½ Z² ψ_ii on the diagonal, Z_i Z_j ψ_ij elsewhere, shape [N, N], in 1/Å."""
        potential = lattice_potential(graph, self.images, self.waves)
        z = graph.numbers.astype(potential.dtype)
        both = z[:, None] * z[None, :]
        return jnp.where(both > 0, both * potential, 0) * (1 - 0.5 * jnp.eye(len(z), dtype=z.dtype))

    def lost(self, graph: Graph) -> Array:
        return super().lost(graph) | ~is_converged(graph, self.images, self.waves)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = super().causes(graph)
        if np.all(np.asarray(graph.pbc)) and not is_converged(graph, self.images, self.waves):
            images, waves = counts_for([np.asarray(graph.cell, float)])
            given = f"images={self.images} and waves={self.waves} are too few for this cell"
            found += (f"{given}; write {type(self).__name__}.of(frames), or images={images} and waves={waves}",)
        return found


@pytree
class EwaldSumMatrix(SortedRows, _EwaldSums):
    r"""The Ewald sum matrix of a crystal, its rows in the order of their norms: the interaction of the lattices of every two nuclei.

    .. math:: M_{ii} = \tfrac12 Z_i^2\, \psi(0), \qquad M_{ij} = Z_i Z_j\, \psi(\mathbf r_i - \mathbf r_j), \qquad
       \psi(\mathbf r) = \sum_{\mathbf L} \frac{\operatorname{erfc} \eta |\mathbf r + \mathbf L|}{|\mathbf r + \mathbf L|}
       + \frac{4\pi}{V} \sum_{\mathbf G \ne 0} \frac{e^{-G^2/4\eta^2}}{G^2} \cos \mathbf G \cdot \mathbf r - \frac{\pi}{V \eta^2}

    where ψ(0) is without L = 0 and less 2η/√π. The diagonal and the elements above it add up to the energy of all nuclei in a uniform
    background. No element depends on the screening η, which follows the cell, as in DScribe (off the diagonal the reference adds self-energies,
    which depend on it). Otherwise as `SineMatrix`.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.
      images: lattice vectors L on either side of 0, in every direction; `EwaldSumMatrix.of(frames)` finds what long, flat or skewed cells need.
      waves: likewise of reciprocal lattice vectors G. With too few of them for a cell its features are NaN, and `diagnose` says so.

    Raises:
      ValueError: for unknown species, a size that is no number, or counts that are not three.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import bulk
      >>> salt = bulk("NaCl", "rocksalt", a=5.64)
      >>> EwaldSumMatrix.of([salt]).features(from_atoms(salt, cutoff=1.0)).round(2).tolist()
      [-117.47, -36.13, -49.18]

    References:
      Faber, Lindmaa, von Lilienfeld, Armiento, "Crystal structure representations for machine learning models of formation energies",
      Int. J. Quantum Chem. 115, 1094 (2015).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static()
    images: Counts = static(default=(2, 2, 2))
    waves: Counts = static(default=(4, 4, 4))

    def __post_init__(self):
        self._check()


@pytree
class EwaldSumSpectrum(Eigenvalues, _EwaldSums):
    r"""The eigenvalues of the Ewald sum matrix (see `EwaldSumMatrix`), by falling absolute value.

    Where eigenvalues meet, or change order, there is no derivative.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.
      images: lattice vectors on either side of 0, in every direction; `EwaldSumSpectrum.of(frames)` finds what cells need.
      waves: likewise of reciprocal lattice vectors.

    Raises:
      ValueError: for unknown species, a size that is no number, or counts that are not three.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import bulk
      >>> salt = bulk("NaCl", "rocksalt", a=5.64)
      >>> EwaldSumSpectrum.of([salt]).features(from_atoms(salt, cutoff=1.0)).round(2).tolist()
      [-133.04, -33.61]

    References:
      Faber, Lindmaa, von Lilienfeld, Armiento, Int. J. Quantum Chem. 115, 1094 (2015).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static()
    images: Counts = static(default=(2, 2, 2))
    waves: Counts = static(default=(4, 4, 4))

    def __post_init__(self):
        self._check()
