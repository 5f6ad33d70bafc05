"""The energy that charge equilibration minimises, as a potential."""

import jax

from jaxpot.checks import poison
from jaxpot.graph import Graph
from jaxpot.longrange.energies import ChargePotential, Electrostatics
from jaxpot.longrange.qeq import QEq
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class ChargeEquilibration(ChargePotential):
    r"""The whole energy of equilibrated charges: that of electronegativity and hardness beside their electrostatics.

    .. math:: \epsilon_i = q_i \left(\chi_i - E \cdot R_i + \tfrac12 J_i q_i + \tfrac12 \Phi_i\right)

    Args:
      charges: how charges are equilibrated.
      background: whether a net charge is allowed in a periodic structure, static, as of `Electrostatics`.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> from jaxpot.longrange import Direct, QEq
      >>> qeq = QEq(("Na", "Cl"), IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), hardness=[9.2, 18.7], sigma=[1.4, 1.0], sum=Direct())
      >>> round(float(ChargeEquilibration(qeq)(from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), cutoff=1.0))), 6)
      -0.529203
    """

    charges: QEq
    background: bool = static(default=False)

    @property
    def reach(self) -> Array:
        return self.charges.reach

    @property
    def electrostatics(self) -> Electrostatics:
        """The part that charges have among themselves and in an outer field."""
        return Electrostatics(self.charges, self.charges.sum, self.charges.interaction, self.background)

    def at(self, graph: Graph, q: Array) -> Array:
        energies = q * (self.charges.pull(graph) + 0.5 * self.charges.response(graph, q))
        return poison(energies, self.electrostatics.pairs.lost(graph))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.electrostatics.causes(graph)
