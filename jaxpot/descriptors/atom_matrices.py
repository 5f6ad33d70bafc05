"""Structures by a matrix with a row for every atom, made independent of their order: rows sorted by their norms, or eigenvalues."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.graph import Graph
from jaxpot.math.linalg import safe_norm
from jaxpot.units import SYMBOLS

Array = jax.Array


def own_repulsion(numbers: Array, dtype: Any) -> Array:
    """½ Z^2.4 of every atom, the diagonal of Coulomb and sine matrices."""
    return jnp.asarray(0.5 * np.arange(len(SYMBOLS)) ** 2.4, dtype)[numbers]


class AtomMatrix(StructureDescriptor):
    """Interface: features of structures of at most `n_atoms` atoms from a symmetric matrix; a class says which structures it refuses.

    Attributes:
      n_atoms: the largest number of atoms, static.
    """

    n_atoms: int

    @abc.abstractmethod
    def matrix(self, graph: Graph) -> Array:
        """The matrix, shape [N, N]; rows and columns of padding are 0."""

    def _check(self) -> None:
        owner, n = type(self).__name__, self.n_atoms
        species_tuple(self.species, owner)
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"{owner}: n_atoms must be the largest number of atoms, a whole number from 1 on, got {n!r}")

    def lost(self, graph: Graph) -> Array:
        return super().lost(graph) | (jnp.sum(graph.numbers > 0) > self.n_atoms)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found, n = super().causes(graph), int(np.sum(np.asarray(graph.numbers) > 0))
        if n > self.n_atoms:
            kind = "structure" if np.any(np.asarray(graph.pbc)) else "molecule"
            found += (f"the {kind} has {n} atoms, and {type(self).__name__} has n_atoms={self.n_atoms}",)
        return found


class SortedRows(AtomMatrix):
    """The upper triangle of the matrix, rows and columns in the order of falling norms of the rows; missing atoms are zeros."""

    @property
    def n_features(self) -> int:
        return self.n_atoms * (self.n_atoms + 1) // 2

    def labels(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of every feature, in the sorted matrix."""
        return tuple((int(i), int(j)) for i, j in zip(*np.triu_indices(self.n_atoms), strict=True))

    def features(self, graph: Graph) -> Array:
        matrix = self.matrix(graph)
        order = jnp.argsort(-safe_norm(jax.lax.stop_gradient(matrix)), stable=True)
        rows, columns = np.triu_indices(self.n_atoms)
        more = max(0, self.n_atoms - len(matrix))
        padded = jnp.pad(matrix[order][:, order], ((0, more), (0, more)))
        return poison(padded[rows, columns], self.lost(graph))


class Eigenvalues(AtomMatrix):
    """The eigenvalues of the matrix, by falling absolute value; missing atoms are zeros."""

    @property
    def n_features(self) -> int:
        return self.n_atoms

    def labels(self) -> tuple[int, ...]:
        """The rank of every eigenvalue."""
        return tuple(range(self.n_atoms))

    def features(self, graph: Graph) -> Array:
        matrix = self.matrix(graph)
        n = matrix.shape[0]
        # padding has eigenvalues of its own, all different and beyond the others, so that their derivatives stay numbers
        bound = 1 + jnp.sum(jnp.abs(jax.lax.stop_gradient(matrix)))
        real = graph.numbers > 0
        own = jnp.where(real, 0, -bound * (1 + jnp.arange(n, dtype=matrix.dtype)))
        values = jnp.linalg.eigvalsh(matrix + jnp.diag(own))
        values = jnp.where(jnp.arange(n) < jnp.sum(~real), 0, values)
        values = values[jnp.argsort(-jnp.abs(values), stable=True)]
        return poison(jnp.pad(values, (0, max(0, self.n_atoms - n)))[: self.n_atoms], self.lost(graph))
