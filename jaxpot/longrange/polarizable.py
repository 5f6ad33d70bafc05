"""Polarizable atoms: dipoles that the field of charges, of each other and an outer one induce."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, poison
from jaxpot.graph import Graph, by_element
from jaxpot.leaves import Leaf
from jaxpot.longrange.born import observed as beside_energies
from jaxpot.longrange.charges import ChargeModel, misses_total, observed, why_total
from jaxpot.longrange.energies import PairsOfCharges
from jaxpot.longrange.fields import field_of_charges, field_of_dipoles
from jaxpot.longrange.induction import induced, roots_of, why_not_induced
from jaxpot.longrange.interactions import Coulomb, Interaction, require_elements
from jaxpot.longrange.solvers import Dense, Solver
from jaxpot.longrange.sums import PairSum
from jaxpot.passes import prepare
from jaxpot.potentials.base import Model, Potential, energies_and_more
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import COULOMB

Array = jax.Array


@pytree
class Polarizable(Potential):
    r"""Charges and the point dipoles that they induce, which minimise the energy.

    .. math:: E = \sum_i \tfrac12 q_i \Phi_i - q_i\, E_0 \cdot R_i
       + \min_\mu \Big[\tfrac12 \sum_{ij} \mu_i \big(k\, \alpha_i^{-1} \delta_{ij} - T_{ij}\big) \mu_j - \sum_i \mu_i \cdot (E^q_i + E_0)\Big],
       \qquad k = \frac{e^2}{4\pi\varepsilon_0}

    The field :math:`E^q` of the charges is minus the gradient of their damped potential, and T the second derivative of that of dipoles, so what
    is damped is damped alike in energies of charges and of dipoles. Where dipoles amplify each other without end ("polarization catastrophe")
    there is no minimum, and the energy is NaN; `diagnose` says the smallest eigenvalue. Use a damping then, such as `Thole`.

    It holds the energy of the charges, as `Electrostatics` has it, and predicts the charges and the dipole of charges and induced dipoles
    together. `polarizability(model, graph)` is the response to the outer field :math:`E_0`, which a periodic structure must not have.

    Args:
      charges: where the charges come from.
      polarizability: α of every element, shape [S], in Å³, in the order of `charges.species`; 0 for atoms without a dipole.
      sum: how the pairs are summed; the dipoles of crystals that conduct outside ("tin foil") by `sum_for(frames)`.
      interaction: between charges, and of charges with dipoles; `Coulomb()` unless said.
      dipoles: between dipoles, likewise.
      solver: `Dense()`, or `ConjugateGradients()` for thousands of atoms.
      background: whether a net charge is allowed in a periodic structure, static; as in `Electrostatics`.

    Raises:
      ValueError: for a negative polarizability, elements that an interaction does not know, or an interaction that is not of 1/r far away.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Direct, FixedCharges
      >>> pair = Polarizable(FixedCharges(("Na", "Ar"), values=[1.0, 0.0]), polarizability=[0.0, 1.64], sum=Direct())
      >>> graph = from_atoms(Atoms("NaAr", positions=[[0, 0, 0], [4, 0, 0]]), cutoff=1.0, charge=1.0)
      >>> round(float(pair(graph)), 6), round(-0.5 * 14.399645 * 1.64 / 4**4, 6)
      (-0.046124, -0.046124)

    References:
      Applequist, Carl, Fung, "Atom dipole interaction model for molecular polarizability", J. Am. Chem. Soc. 94, 2952 (1972).
      Thole, "Molecular polarizabilities calculated with a modified dipole interaction", Chem. Phys. 59, 341 (1981).
    """

    charges: ChargeModel
    polarizability: Leaf = leaf(shape="[S]")
    sum: PairSum
    interaction: Interaction = dataclasses.field(default_factory=Coulomb)
    dipoles: Interaction = dataclasses.field(default_factory=Coulomb)
    solver: Solver = dataclasses.field(default_factory=Dense)
    background: bool = static(default=False)

    def __post_init__(self):
        if is_concrete(self.polarizability) and (np.any(np.asarray(self.polarizability) < 0) or len(self.polarizability) != len(self.species)):
            raise ValueError(f"Polarizable: polarizability must be 0 or more for each of {self.species}, got {np.asarray(self.polarizability).tolist()}")
        for interaction in (self.interaction, self.dipoles):
            require_elements("Polarizable", self.species, interaction)
            if interaction.strength() is None:
                raise ValueError(f"Polarizable: {type(interaction).__name__} is not of 1/r far away; write Coulomb() or Thole(...)")

    @property
    def species(self) -> tuple[str, ...]:
        return self.charges.species

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.charges.reach, self.sum.reach)

    @property
    def pairs(self) -> PairsOfCharges:
        """The energy of the charges."""
        return PairsOfCharges(self.species, self.sum, self.interaction, self.background)

    def field(self, graph: Graph, q: Array) -> Array:
        """Of charges [N], and the outer one, at every atom, [N, 3], in V/Å."""
        between = functools.partial(self.sum.between, self.interaction, graph)
        return field_of_charges(between, q, jnp.zeros_like(graph.positions)) + graph.field[None, :]

    def induced(self, graph: Graph, field: Array) -> Array:
        """The dipoles [N, 3] in e·Å that a field [N, 3] induces, each other's fields included."""
        return induced(self.solver, _response, (self, graph), self.roots(graph), field)

    def roots(self, graph: Graph) -> Array:
        """√(α/k) of every atom, [N]; 0 for padding atoms."""
        return roots_of(by_element(self.polarizability, self.species, graph.numbers))

    def energies(self, graph: Graph) -> Array:
        return energies_and_more(self, graph)[0]

    def more(self, graph: Graph) -> Properties:
        return energies_and_more(self, graph)[1]

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = (*self.charges.causes(graph), *why_total(self.charges, graph), *self.pairs.causes(graph))
        if found:
            return found
        field = self.field(graph, self.charges.charges(graph))
        return why_not_induced(self.solver, _response, (self, graph), self.roots(graph), field)


def _response(parameters: tuple[Polarizable, Graph], dipoles: Array) -> Array:
    model, graph = parameters
    return field_of_dipoles(functools.partial(model.sum.between, model.dipoles, graph), dipoles)


@energies_and_more.register
def _with_dipoles(model: Polarizable, graph: Graph) -> tuple[Array, Properties]:
    q = model.charges.charges(graph)
    field = model.field(graph, q)
    dipoles = model.induced(graph, field)
    energies = model.pairs.energies(graph, q[:, None]) - 0.5 * jnp.sum(dipoles * field, axis=1)
    more = observed(graph, q)
    return poison(energies, misses_total(graph, q)), more.replace(dipole=more.dipole + jnp.sum(dipoles, axis=0))


def polarizability(model: Model, graph: Graph) -> Array:
    r"""The polarizability: how the dipole answers to an outer field, by induced dipoles and by charges that flow.

    .. math:: \alpha_{ab} = k\, \frac{\partial \mu_a}{\partial E_b}, \qquad k = \frac{e^2}{4\pi\varepsilon_0}

    Args:
      model: a potential or charge model that predicts a dipole, such as `Polarizable` or `QEq`.
      graph: one structure, not periodic.

    Returns:
      Shape [3, 3], in Å³.

    Raises:
      TypeError: for a model that predicts no dipole.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Direct, FixedCharges
      >>> argon = Polarizable(FixedCharges(("Ar",), values=[0.0]), polarizability=[1.64], sum=Direct())
      >>> pair = polarizability(argon, from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [4, 0, 0]]), cutoff=1.0))
      >>> jnp.diagonal(pair).round(6).tolist(), [round(2 / (1 / 1.64 + n / 4**3), 6) for n in (-2, 1, 1)]
      ([3.457181, 3.19805, 3.19805], [3.457181, 3.19805, 3.19805])
    """
    own, graph = promoted_pair(model, graph)
    own = prepare(own)

    def dipole(field):
        found = beside_energies(own, graph.replace(field=field))
        if found.dipole is None:
            raise TypeError(f"polarizability: {type(model).__name__} predicts no dipole")
        return found.dipole

    return COULOMB * jax.jacfwd(dipole)(jnp.asarray(graph.field))
