"""Energies of charges: interfaces, that of all pairs, and the potentials made of them."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.carried import carried_channel
from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.longrange.charges import ChargeModel, misses_total, observed, why_total
from jaxpot.longrange.interactions import Coulomb, Interaction, require_elements
from jaxpot.longrange.sums import PairSum
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Potential, energies_and_more
from jaxpot.properties import Properties
from jaxpot.trees import pytree, static

Array = jax.Array

_EXCESS = 1e-6  # e; round-off of a total charge


class ChargeEnergy(Interface):
    """Interface: atomic energies as a function of positions and charges. A new one writes `energies`.

    Attributes:
      species: the elements it knows, static.
      reach: what the neighbour lists must cover, shape [], in Å.
    """

    species: tuple[str, ...]
    reach: Array

    @abc.abstractmethod
    def energies(self, graph: Graph, carried: Array) -> Array:
        """Atomic energies [N] in eV of atoms that carry [N, C], their charge first; entries of padding atoms mean nothing."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why it gives NaN for a structure with sound neighbour lists and elements, in words."""
        return ()


@pytree
class PairsOfCharges(ChargeEnergy):
    r"""The electrostatic energy of charges, and theirs in the structure's outer field.

    .. math:: \epsilon_i = \tfrac12 q_i \Phi_i - q_i\, E \cdot R_i

    Args:
      species: chemical symbols.
      sum: how the pairs are summed.
      interaction: between two charges.
      background: whether a net charge is allowed in a periodic structure, static. It is then neutralised as the sum says (of a crystal by
        a uniform background, whose energy depends on the volume); otherwise its energy is NaN.

    Raises:
      ValueError: for elements that the interaction does not know.

    Example:
      >>> from jaxpot.longrange import Coulomb, Direct
      >>> PairsOfCharges(("Na", "Cl"), Direct(), Coulomb()).species
      ('Na', 'Cl')
    """

    species: tuple[str, ...] = static()
    sum: PairSum
    interaction: Interaction
    background: bool = static(default=False)

    def __post_init__(self):
        require_elements("PairsOfCharges", species_tuple(self.species, "PairsOfCharges"), self.interaction)

    @property
    def reach(self) -> Array:
        return self.sum.reach

    def energies(self, graph: Graph, carried: Array) -> Array:
        q = carried_channel("PairsOfCharges", carried, 0)
        outer = einsum("nx,x->n", graph.positions, graph.field)
        energies = 0.5 * q * self.sum.potential(self.interaction, graph, q) - q * outer
        return poison(energies, self.lost(graph))

    def lost(self, graph: Graph) -> Array:
        """Whether charges have no energy in this structure, []."""
        return self._unbalanced(graph) | (jnp.any(graph.pbc) & jnp.any(graph.field != 0))

    def _unbalanced(self, graph: Graph) -> Array:
        return jnp.any(graph.pbc) & (jnp.abs(graph.charge) > _EXCESS) & (not self.background)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        # charges sum to the structure's
        found = [*self.sum.causes(graph, self.interaction, jnp.reshape(graph.charge, (1,)))]
        if bool(self._unbalanced(graph)):
            found.append(
                f"a periodic structure with a net charge of {float(graph.charge):.6g} e has an energy only by a rule for what neutralises it; "
                "write background=True for that of its sum"
            )
        if np.any(np.asarray(graph.pbc)) and np.any(np.asarray(graph.field)):
            found.append("in a periodic structure the energy in an outer field is not defined; leave out the field")
        return tuple(found)


class ChargePotential(Potential):
    """Interface: a potential of the charges of a model, which are made once for energies and all else. A new one writes `at`.

    Forces and virial hold how charges follow the positions. It predicts the charges and their dipole as well.

    Attributes:
      charges: where the charges come from.
    """

    charges: ChargeModel

    @abc.abstractmethod
    def at(self, graph: Graph, q: Array) -> Array:
        """Atomic energies [N] in eV of atoms with these charges [N]; entries of padding atoms mean nothing."""

    @property
    def species(self) -> tuple[str, ...]:
        return self.charges.species

    def energies(self, graph: Graph) -> Array:
        return energies_and_more(self, graph)[0]

    def more(self, graph: Graph) -> Properties:
        return self.charges.properties(graph)


@energies_and_more.register
def _at_charges(potential: ChargePotential, graph: Graph) -> tuple[Array, Properties]:
    q = potential.charges.charges(graph)
    return poison(potential.at(graph, q), misses_total(graph, q)), observed(graph, q)


@pytree
class Electrostatics(ChargePotential):
    r"""The electrostatic energy of the charges of a model, and that of these charges in the structure's outer field.

    .. math:: \epsilon_i = \tfrac12 q_i \Phi_i - q_i\, E \cdot R_i

    Forces and virial hold how charges follow the positions. It predicts the charges and their dipole as well.

    Args:
      charges: where the charges come from.
      sum: how the pairs are summed.
      interaction: between two charges; `Coulomb()` unless said, of points.
      background: whether a net charge is allowed in a periodic structure, static. It is then neutralised as the sum says (of a crystal by
        a uniform background, whose energy depends on the volume); otherwise its energy is NaN.

    Raises:
      ValueError: for elements that the interaction does not know.

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

    def __post_init__(self):
        require_elements("Electrostatics", self.species, self.interaction)

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.charges.reach, self.sum.reach)

    @property
    def pairs(self) -> PairsOfCharges:
        """Its energy, of any charges."""
        return PairsOfCharges(self.species, self.sum, self.interaction, self.background)

    def at(self, graph: Graph, q: Array) -> Array:
        return self.pairs.energies(graph, q[:, None])

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.charges.causes(graph), *why_total(self.charges, graph), *self.pairs.causes(graph))
