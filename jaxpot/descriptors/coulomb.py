"""Molecules by the Coulomb repulsion of their nuclei: Coulomb matrices, their spectra, and bags of bonds."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.atom_matrices import Eigenvalues, SortedRows, own_repulsion
from jaxpot.descriptors.molecules import MolecularDescriptor, inverse_distances
from jaxpot.graph import Graph
from jaxpot.trees import pytree, static
from jaxpot.units import SYMBOLS, species_table

Array = jax.Array


def coulomb_matrix(graph: Graph) -> Array:
    """½ Z^2.4 on the diagonal, Z_i Z_j/r_ij elsewhere, shape [N, N], in 1/Å off the diagonal; rows and columns of padding are 0."""
    x = inverse_distances(graph)
    z = graph.numbers.astype(x.dtype)
    return z[:, None] * z[None, :] * x + jnp.diag(own_repulsion(graph.numbers, x.dtype))


@pytree
class CoulombMatrix(SortedRows, MolecularDescriptor):
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
        self._check()

    def matrix(self, graph: Graph) -> Array:
        return coulomb_matrix(graph)


@pytree
class CoulombSpectrum(Eigenvalues, MolecularDescriptor):
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
        self._check()

    def matrix(self, graph: Graph) -> Array:
        return coulomb_matrix(graph)


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
        own = own_repulsion(graph.numbers, x.dtype)
        parts = [_bag(jnp.where(index == s, own, 0), size) for s, size in enumerate(self.counts)]
        parts += [_bag(jnp.where((first == a) & (second == b), pairs, 0), size) for a, b, size in self._bags()]
        return poison(jnp.concatenate(parts), self.lost(graph))


def _bag(entries: Array, size: int) -> Array:
    """The largest entries in falling order, filled up with zeros."""
    return jnp.pad(-jnp.sort(-entries), (0, max(0, size - len(entries))))[:size]
