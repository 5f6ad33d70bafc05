"""Committees: several models of the same thing, whose mean is the prediction and whose disagreement says how far to trust it."""

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.potentials.base import Potential, Sum, evaluate, predicts_more
from jaxpot.properties import Properties, added
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class Committee(Potential):
    r"""The mean of several potentials.

    .. math:: \epsilon_i = \frac1n \sum_m \epsilon_i^{(m)}

    Args:
      members: potentials of the same elements, for example of `jaxpot.fit.bootstrap`.

    Raises:
      TypeError: for members that are no potentials.
      ValueError: for fewer than two members, or members of different elements.

    Example:
      >>> from jaxpot import IsolatedAtoms
      >>> Committee((IsolatedAtoms({"Si": -1.0}), IsolatedAtoms({"Si": -2.0}))).species
      ('Si',)
    """

    members: tuple[Potential, ...]

    def __post_init__(self):
        for member in self.members:
            if not isinstance(member, Potential):
                raise TypeError(f"Committee: expected potentials, got {type(member).__name__}")
        if len(self.members) < 2:
            raise ValueError(f"Committee: expected at least two members, got {len(self.members)}")
        if len({frozenset(member.species) for member in self.members}) > 1:
            raise ValueError(f"Committee: its members know different elements, {[member.species for member in self.members]}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.members[0].species

    @property
    def reach(self) -> Array:
        return Sum(self.members).reach

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cause for member in self.members for cause in member.causes(graph)))

    def energies(self, graph: Graph) -> Array:
        return sum(member.energies(graph) for member in self.members) / len(self.members)

    def more(self, graph: Graph) -> Properties:
        return jax.tree_util.tree_map(lambda x: x / len(self.members), added(member.more(graph) for member in self.members))

    def spread(self, graph: Graph) -> Properties:
        """Standard deviations of the members' energy, forces and virial (n − 1 in the denominator); calibrate them before use."""
        found = [evaluate(member, graph) for member in self.members]
        return jax.tree_util.tree_map(lambda *values: jnp.std(jnp.stack(values), axis=0, ddof=1), *found)


@predicts_more.register
def _of_any_member(committee: Committee) -> bool:
    return any(map(predicts_more, committee.members))
