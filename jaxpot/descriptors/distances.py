"""The inverse distances between all atoms of one molecule, whose atoms are told apart by their place."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.molecules import MolecularDescriptor, inverse_distances
from jaxpot.graph import Graph
from jaxpot.trees import pytree, static
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array


@pytree
class InverseDistances(MolecularDescriptor):
    r"""Inverse distances of one molecule, in the order (1, 0), (2, 0), (2, 1), (3, 0), …: the descriptor of sGDML.

    .. math:: x_{ij} = 1 / r_{ij}, \qquad j < i

    Atoms are told apart by their place, so a descriptor belongs to one molecule with its atoms in one order; padding may follow them. There is
    no cutoff, and neighbour lists are not used. Another order, other atoms or a periodic cell give NaN.

    Args:
      atoms: the chemical symbol of every atom, N of them.

    Raises:
      ValueError: for fewer than two atoms or unknown symbols.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import molecule
      >>> InverseDistances(("O", "H", "H")).features(from_atoms(molecule("H2O"), cutoff=1.0)).round(3).tolist()
      [1.032, 1.032, 0.655]

    References:
      Chmiela, Tkatchenko, Sauceda, Poltavsky, Schütt, Müller, "Machine learning of accurate energy-conserving molecular force fields",
      Sci. Adv. 3, e1603015 (2017).
    """

    atoms: tuple[str, ...] = static()

    def __post_init__(self):
        if isinstance(self.atoms, str) or not isinstance(self.atoms, tuple) or len(self.atoms) < 2:
            raise ValueError(f'InverseDistances: expected a tuple of at least two symbols such as ("O", "H", "H"), got {self.atoms!r}')
        species_tuple(self.species, "InverseDistances")

    @property
    def species(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.atoms))

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers [N]."""
        return np.array([ATOMIC_NUMBERS[symbol] for symbol in self.atoms])

    @property
    def n_features(self) -> int:
        return len(self.atoms) * (len(self.atoms) - 1) // 2

    def labels(self) -> tuple[tuple[int, int], ...]:
        """(i, j) of every feature."""
        return tuple((int(i), int(j)) for i, j in zip(*np.tril_indices(len(self.atoms), -1), strict=True))

    def lost(self, graph: Graph) -> Array:
        n, size = len(self.atoms), graph.numbers.shape[0]
        expected = np.zeros(max(n, size), int)
        expected[:n] = self.numbers
        found = jnp.pad(graph.numbers, (0, max(n - size, 0)))
        return jnp.any(graph.pbc) | (jnp.any(found > 0) & jnp.any(found != jnp.asarray(expected, found.dtype)))

    def features(self, graph: Graph) -> Array:
        n, size = len(self.atoms), graph.numbers.shape[0]
        if size < n:
            graph = graph.replace(numbers=jnp.pad(graph.numbers, (0, n - size)), positions=jnp.pad(graph.positions, ((0, n - size), (0, 0))))
        rows, columns = np.tril_indices(n, -1)
        return poison(inverse_distances(graph)[rows, columns], self.lost(graph))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        numbers = np.asarray(graph.numbers)
        there, n = np.trim_zeros(numbers, "b"), len(self.atoms)
        found = list(super().causes(graph))
        if len(there) != n:
            found.append(f"InverseDistances is of a molecule of {n} atoms, the structure has {np.count_nonzero(numbers)}")
        elif np.any(there != self.numbers):
            i = int(np.argmax(there != self.numbers))
            found.append(f"InverseDistances is of the atoms {''.join(self.atoms)} in this order, and atom {i} is another element")
        return tuple(found)


def place_permutations(permutations: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """What permutations of N atoms do to the inverse distances, shape [P, D]: features[index] are those of the permuted molecule."""
    n = len(permutations[0])
    place = np.zeros((n, n), int)
    rows, columns = np.tril_indices(n, -1)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return np.array([place[np.array(p)[rows], np.array(p)[columns]] for p in permutations])
