"""Total charges: of a whole structure, or of every one of its fragments."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import leaf, pytree, static

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Groups:
    """Atoms that have a total charge together.

    Args:
      index: which group every atom is of, shape [N]; F for padding atoms.
      totals: charge of every group, shape [F], in e.
    """

    index: Array
    totals: Array

    def sums(self, x: Array) -> Array:
        """Sums over the atoms of every group, [N] -> [F]."""
        return jax.ops.segment_sum(x, self.index, len(self.totals))

    def to_atoms(self, values: Array) -> Array:
        """What every atom's group has, [F] -> [N]; 0 for padding atoms."""
        return jnp.concatenate([values, jnp.zeros(1, values.dtype)])[self.index]

    def shared(self, values: Array, weights: Array) -> Array:
        """Numbers of the groups [F], divided among their atoms in proportion to weights [N]."""
        sums = self.sums(weights)
        # a group without atoms has nothing to share, and padding atoms have no weight
        return weights * self.to_atoms(values / jnp.where(sums == 0, 1, sums))

    def without_sums(self, x: Array) -> Array:
        """The nearest numbers [N] whose sum over every group is zero; 0 for padding atoms."""
        real = self.index < len(self.totals)
        x = jnp.where(real, x, 0)
        return x - self.shared(self.sums(x), real.astype(x.dtype))


class Totals(Interface):
    """Interface: which charges are given in sum."""

    @abc.abstractmethod
    def groups(self, graph: Graph) -> Groups:
        """Which atoms have which charge together; NaN where that cannot be."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why there are no such charges, in words."""
        return ()


@pytree
class WholeStructure(Totals):
    """The charge of the whole structure, `graph.charge`.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot import from_atoms
      >>> WholeStructure().groups(from_atoms(molecule("H2O"), 2.0, charge=1.0)).totals.tolist()
      [1.0]
    """

    def groups(self, graph: Graph) -> Groups:
        return Groups(jnp.where(graph.numbers > 0, 0, 1), jnp.asarray(graph.charge)[None])


@pytree
class Fragments(Totals):
    """A charge for every fragment, between which no charge flows, for structures of the same atoms in the same order.

    Args:
      members: indices of the atoms of every fragment, two fragments or more; together every atom once.
      charges: of every fragment but the last, shape [F - 1], in e. The last one has what is left of the structure's charge.

    Raises:
      ValueError: for members that are not all atoms once, or another number of charges.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> atoms = Atoms("NaCl", positions=[[0, 0, 0], [5, 0, 0]])
      >>> Fragments(((0,), (1,)), charges=[0.0]).groups(from_atoms(atoms, 1.0, charge=1.0)).totals.tolist()
      [0.0, 1.0]
    """

    members: tuple[tuple[int, ...], ...] = static()
    charges: Leaf = leaf(shape="[F]")

    def __post_init__(self):
        found = sorted(atom for members in self.members for atom in members)
        if len(self.members) < 2 or found != list(range(len(found))) or not all(self.members):
            raise ValueError(
                "Fragments: members must be of two fragments or more and hold every atom 0, 1, … once, such as ((0, 1, 2), (3, 4, 5)), "
                f"got {self.members!r}"
            )
        if np.shape(self.charges) != (len(self.members) - 1,):
            raise ValueError(
                f"Fragments: expected a charge for each of {len(self.members)} fragments but the last, which has what is left of the structure's, "
                f"got shape {np.shape(self.charges)}"
            )

    @property
    def n_atoms(self) -> int:
        """How many atoms a structure has."""
        return sum(map(len, self.members))

    def groups(self, graph: Graph) -> Groups:
        index = np.full(max(len(graph.numbers), self.n_atoms), len(self.members))
        for fragment, members in enumerate(self.members):
            index[list(members)] = fragment
        given = jnp.asarray(self.charges, graph.positions.dtype)
        totals = jnp.concatenate([given, (graph.charge - jnp.sum(given))[None]])
        return Groups(jnp.asarray(index[: len(graph.numbers)]), jnp.where(self._other_atoms(graph), jnp.nan, totals))

    def _other_atoms(self, graph: Graph) -> Array:
        expected = np.arange(len(graph.numbers)) < self.n_atoms
        return jnp.any((graph.numbers > 0) != expected) | (len(graph.numbers) < self.n_atoms)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if not bool(self._other_atoms(graph)):
            return ()
        return (f"Fragments are of {self.n_atoms} atoms, the structure has {int(np.sum(np.asarray(graph.numbers) > 0))}; give the members of these",)
