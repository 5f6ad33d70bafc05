"""Potentials of long range: terms like all others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.graph import Graph
from jaxpot.longrange.charges import ChargeModel
from jaxpot.longrange.interactions import Coulomb, Interaction
from jaxpot.longrange.sums import PairSum
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Potential
from jaxpot.properties import Properties
from jaxpot.trees import pytree, static

Array = jax.Array

_EXCESS = 1e-6  # e; the charges of a structure may miss its total by round-off


@pytree
class Electrostatics(Potential):
    r"""The electrostatic energy of the charges of a model, and that of these charges in the structure's outer field.

    .. math:: \epsilon_i = \tfrac12 q_i \Phi_i - q_i\, E \cdot R_i

    Forces and virial hold how charges follow the positions. It predicts the charges and their dipole as well.

    Args:
      charges: where the charges come from.
      sum: how the pairs are summed.
      interaction: between two charges; `Coulomb()` unless said, of points.
      background: whether a net charge is allowed in a periodic structure, static. It is then neutralised as the sum says (of a crystal by
        a uniform background, whose energy depends on the volume); otherwise its energy is NaN.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Direct, FixedCharges
      >>> salt = Electrostatics(FixedCharges(("Na", "Cl"), values=[1.0, -1.0]), Direct())
      >>> round(float(salt(from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.36, 0, 0]]), cutoff=1.0))), 6)
      -6.101544
    """

    charges: ChargeModel
    sum: PairSum
    interaction: Interaction = dataclasses.field(default_factory=Coulomb)
    background: bool = static(default=False)

    @property
    def species(self) -> tuple[str, ...]:
        return self.charges.species

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.charges.reach, self.sum.reach)

    def energies(self, graph: Graph) -> Array:
        q = self.charges.charges(graph)
        outer = einsum("nx,x->n", graph.positions, graph.field)
        energies = 0.5 * q * self.sum.potential(self.interaction, graph, q) - q * outer
        return poison(energies, self.lost(graph, q))

    def more(self, graph: Graph) -> Properties:
        return self.charges.more(graph)

    def lost(self, graph: Graph, q: Array) -> Array:
        """Whether charges [N] have no energy in this structure, []."""
        return self._excess(graph, q) | self._unbalanced(graph, q) | (jnp.any(graph.pbc) & jnp.any(graph.field != 0))

    def _excess(self, graph: Graph, q: Array) -> Array:
        return jnp.abs(jnp.sum(q) - graph.charge) > _EXCESS * jnp.maximum(1, jnp.sum(jnp.abs(q)))

    def _unbalanced(self, graph: Graph, q: Array) -> Array:
        net = jnp.abs(jnp.sum(q)) > _EXCESS * jnp.maximum(1, jnp.sum(jnp.abs(q)))
        return jnp.any(graph.pbc) & net & (not self.background)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = [*self.charges.causes(graph), *self.sum.causes(graph)]
        q = self.charges.charges(graph)
        if bool(self._excess(graph, q)):
            found.append(
                f"the charges of {type(self.charges).__name__} sum to {float(jnp.sum(q)):.6g} e, the structure has a total charge of "
                f"{float(graph.charge):.6g} e; write jaxpot.from_atoms(atoms, cutoff, charge={float(jnp.sum(q)):.6g})"
            )
        if bool(self._unbalanced(graph, q)):
            found.append(
                f"a periodic structure with a net charge of {float(jnp.sum(q)):.6g} e has an energy only by a rule for what neutralises it; "
                "write Electrostatics(..., background=True) for that of its sum"
            )
        if np.any(np.asarray(graph.pbc)) and np.any(np.asarray(graph.field)):
            found.append("in a periodic structure the energy in an outer field is not defined; leave out the field")
        return tuple(found)
