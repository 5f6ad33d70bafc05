"""Molecules by the Coulomb repulsion of their nuclei: Coulomb matrices, their spectra, and bags of bonds."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.molecules import MolecularDescriptor, inverse_distances
from jaxpot.graph import Graph
from jaxpot.math.linalg import safe_norm
from jaxpot.pytree import pytree, static
from jaxpot.units import SYMBOLS, species_table

Array = jax.Array


def coulomb_matrix(graph: Graph) -> Array:
    """½ Z^2.4 on the diagonal, Z_i Z_j/r_ij elsewhere, shape [N, N], in 1/Å off the diagonal; rows and columns of padding are 0."""
    x = inverse_distances(graph)
    z = graph.numbers.astype(x.dtype)
    return z[:, None] * z[None, :] * x + jnp.diag(jnp.asarray(_own(), x.dtype)[graph.numbers])


def _own() -> np.ndarray:
    """½ Z^2.4 by atomic number."""
    return 0.5 * np.arange(len(SYMBOLS)) ** 2.4


def _check_size(owner: str, n_atoms: Any) -> None:
    if isinstance(n_atoms, bool) or not isinstance(n_atoms, int) or n_atoms < 1:
        raise ValueError(f"{owner}: n_atoms must be the largest number of atoms, a whole number from 1 on, got {n_atoms!r}")


def _resized(matrix: Array, n: int) -> Array:
    """The leading [n, n] block, with zeros where there is none."""
    more = max(0, n - matrix.shape[0])
    return jnp.pad(matrix, ((0, more), (0, more)))[:n, :n]


class _Sized(MolecularDescriptor):
    """Of molecules of at most `n_atoms` atoms."""

    n_atoms: int

    def lost(self, graph: Graph) -> Array:
        return super().lost(graph) | (jnp.sum(graph.numbers > 0) > self.n_atoms)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found, n = super().causes(graph), int(np.sum(np.asarray(graph.numbers) > 0))
        if n > self.n_atoms:
            found += (f"the molecule has {n} atoms, and {type(self).__name__} has n_atoms={self.n_atoms}",)
        return found


@pytree
class CoulombMatrix(_Sized):
    r"""The Coulomb matrix, its rows in the order of their norms.

    .. math:: M_{ii} = \tfrac12 Z_i^{2.4}, \qquad M_{ij} = Z_i Z_j / r_{ij}

    Rows and columns are sorted by falling norm of the rows, and the upper triangle is the feature vector; missing atoms are zeros. Where
    two norms of unlike atoms are equal the features jump, so there is no derivative.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.

    Raises:
      ValueError: for unknown species or a size that is no number.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import molecule
      >>> CoulombMatrix(("H", "O"), n_atoms=4).features(from_atoms(molecule("H2O"), cutoff=1.0)).round(2).tolist()
      [73.52, 8.26, 8.26, 0.0, 0.5, 0.66, 0.0, 0.5, 0.0, 0.0]

    References:
      Rupp, Tkatchenko, Müller, von Lilienfeld, "Fast and accurate modeling of molecular atomization energies with machine learning",
      Phys. Rev. Lett. 108, 058301 (2012).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static(most=10_000)

    def __post_init__(self):
        species_tuple(self.species, "CoulombMatrix")
        _check_size("CoulombMatrix", self.n_atoms)

    @property
    def n_features(self) -> int:
        return self.n_atoms * (self.n_atoms + 1) // 2

    def labels(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of every feature, in the sorted matrix."""
        return tuple((int(i), int(j)) for i, j in zip(*np.triu_indices(self.n_atoms), strict=True))

    def features(self, graph: Graph) -> Array:
        matrix = coulomb_matrix(graph)
        order = jnp.argsort(-safe_norm(jax.lax.stop_gradient(matrix)), stable=True)
        rows, columns = np.triu_indices(self.n_atoms)
        return poison(_resized(matrix[order][:, order], self.n_atoms)[rows, columns], self.lost(graph))


@pytree
class CoulombSpectrum(_Sized):
    r"""The eigenvalues of the Coulomb matrix (see `CoulombMatrix`), by falling absolute value.

    Few numbers, and different molecules may share them. Where eigenvalues meet, or change order, there is no derivative.

    Args:
      species: chemical symbols.
      n_atoms: the largest number of atoms.

    Raises:
      ValueError: for unknown species or a size that is no number.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import molecule
      >>> CoulombSpectrum(("H", "O"), n_atoms=3).features(from_atoms(molecule("H2O"), cutoff=1.0)).round(2).tolist()
      [75.36, -0.68, -0.16]

    References:
      Rupp, Tkatchenko, Müller, von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012).
    """

    species: tuple[str, ...] = static()
    n_atoms: int = static(most=10_000)

    def __post_init__(self):
        species_tuple(self.species, "CoulombSpectrum")
        _check_size("CoulombSpectrum", self.n_atoms)

    @property
    def n_features(self) -> int:
        return self.n_atoms

    def labels(self) -> tuple[int, ...]:
        """The rank of every eigenvalue."""
        return tuple(range(self.n_atoms))

    def features(self, graph: Graph) -> Array:
        lost = self.lost(graph)
        matrix = coulomb_matrix(graph)
        n = matrix.shape[0]
        # padding has eigenvalues of its own, all different and beyond the others, so that their derivatives stay numbers
        bound = 1 + jnp.sum(jnp.abs(jax.lax.stop_gradient(matrix)))
        real = graph.numbers > 0
        own = jnp.where(real, 0, -bound * (1 + jnp.arange(n, dtype=matrix.dtype)))
        values = jnp.linalg.eigvalsh(matrix + jnp.diag(own))
        values = jnp.where(jnp.arange(n) < jnp.sum(~real), 0, values)
        values = values[jnp.argsort(-jnp.abs(values), stable=True)]
        return poison(jnp.pad(values, (0, max(0, self.n_atoms - n)))[: self.n_atoms], lost)


@pytree
class BagOfBonds(MolecularDescriptor):
    r"""Bags of bonds: the entries of the Coulomb matrix by elements, each bag sorted.

    .. math:: \tfrac12 Z_i^{2.4} \text{ of every atom,} \qquad Z_i Z_j / r_{ij} \text{ of every pair}

    One bag for each element and each pair of elements, its entries in falling order and filled up with zeros. Where two entries of a bag
    are equal the features have a kink.

    Args:
      species: chemical symbols.
      counts: the largest number of atoms of each element in a molecule; `BagOfBonds.of(frames)` finds them.

    Raises:
      ValueError: for unknown species, or counts that are not one whole number each.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import molecule
      >>> bags = BagOfBonds(("H", "O"), counts=(2, 1))
      >>> bags.features(from_atoms(molecule("H2O"), cutoff=1.0)).round(2).tolist()
      [0.5, 0.5, 73.52, 0.66, 8.26, 8.26]

    References:
      Hansen, Biegler, Ramakrishnan, Pronobis, von Lilienfeld, Müller, Tkatchenko, "Machine learning predictions of molecular properties:
      accurate many-body potentials and nonlocality in chemical space", J. Phys. Chem. Lett. 6, 2326 (2015).
    """

    species: tuple[str, ...] = static()
    counts: tuple[int, ...] = static(most=10_000)

    def __post_init__(self):
        species_tuple(self.species, "BagOfBonds")
        counts = self.counts
        if not isinstance(counts, tuple) or len(counts) != len(self.species) or not all(isinstance(c, int) and c >= 1 for c in counts):
            raise ValueError(f"BagOfBonds: counts must be a tuple of {len(self.species)} whole numbers from 1 on, got {counts!r}")

    @classmethod
    def of(cls, frames: Sequence[Any]) -> "BagOfBonds":
        """With the elements, and bags as large as these `ase.Atoms` need."""
        numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
        return cls(tuple(SYMBOLS[z] for z in numbers), tuple(max(int(np.sum(a.numbers == z)) for a in frames) for z in numbers))

    def _bags(self) -> tuple[tuple[int, int, int], ...]:
        """(first element, second element, size) of every bag of pairs."""
        n = range(len(self.species))
        sizes = ((a, b, self.counts[a] * (self.counts[a] - 1) // 2 if a == b else self.counts[a] * self.counts[b]) for a in n for b in n if a <= b)
        return tuple(bag for bag in sizes if bag[2])

    @property
    def n_features(self) -> int:
        return sum(self.counts) + sum(size for *_, size in self._bags())

    def labels(self) -> tuple[tuple, ...]:
        """(element, rank) or (element, element, rank) of every feature."""
        own = tuple((s, k) for s, c in zip(self.species, self.counts, strict=True) for k in range(c))
        return own + tuple((self.species[a], self.species[b], k) for a, b, size in self._bags() for k in range(size))

    def lost(self, graph: Graph) -> Array:
        index = jnp.asarray(species_table(self.species))[graph.numbers]
        found = jnp.sum((index[:, None] == jnp.arange(len(self.counts))[None, :]) & (graph.numbers > 0)[:, None], axis=0)
        return super().lost(graph) | jnp.any(found > jnp.asarray(self.counts))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = super().causes(graph)
        numbers = np.asarray(graph.numbers)
        for symbol, most in zip(self.species, self.counts, strict=True):
            n = int(np.sum(numbers == SYMBOLS.index(symbol)))
            if n > most:
                found += (f"the molecule has {n} atoms of {symbol}, and the bags hold {most}; write BagOfBonds.of(frames)",)
        return found

    def features(self, graph: Graph) -> Array:
        x, index = inverse_distances(graph), jnp.asarray(species_table(self.species))[graph.numbers]
        index = jnp.where(graph.numbers > 0, index, -1)
        rows, columns = np.tril_indices(len(graph.numbers), -1)
        z = graph.numbers.astype(x.dtype)
        pairs = z[rows] * z[columns] * x[rows, columns]
        first, second = jnp.minimum(index[rows], index[columns]), jnp.maximum(index[rows], index[columns])
        own = jnp.asarray(_own(), x.dtype)[graph.numbers]
        parts = [_bag(jnp.where(index == s, own, 0), size) for s, size in enumerate(self.counts)]
        parts += [_bag(jnp.where((first == a) & (second == b), pairs, 0), size) for a, b, size in self._bags()]
        return poison(jnp.concatenate(parts), self.lost(graph))


def _bag(entries: Array, size: int) -> Array:
    """The largest entries in falling order, filled up with zeros."""
    return jnp.pad(-jnp.sort(-entries), (0, max(0, size - len(entries))))[:size]
