"""Energies that see charges: of atoms whose surroundings carry them, and of charges among each other; and the potentials made of both."""

import abc
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.carried import carried_channel
from jaxpot.graph import Environment, Graph, environments
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.longrange.charges import ChargeModel
from jaxpot.longrange.interactions import GaussianCoulomb, Interaction
from jaxpot.longrange.sums import PairSum
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.passes import condense
from jaxpot.potentials.base import LocalPotential, Potential, energies_of_stack
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array

_EXCESS = 1e-6  # e; the charges of a structure may miss zero by round-off


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
class Carried(ChargeEnergy):
    """The energies of a local potential in surroundings that carry charges.

    Args:
      potential: such as an AtomicPotential of a descriptor that looks at charges (`OwnCharge`, `CarriedFunctions`, `CarriedDensity`).

    Example:
      >>> Carried(ChargedAtoms(("H",), coefficients=[[7.2, 6.4]])).species
      ('H',)
    """

    potential: LocalPotential

    @property
    def species(self) -> tuple[str, ...]:
        return self.potential.species

    @property
    def reach(self) -> Array:
        return self.potential.reach

    def energies(self, graph: Graph, carried: Array) -> Array:
        return energies_of_stack(condense(self.potential), environments(graph, self.reach, self.species, carried))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.potential.causes(graph)


@pytree
class PairsOfCharges(ChargeEnergy):
    r"""The electrostatic energy of charges, and theirs in the structure's outer field.

    .. math:: \epsilon_i = \tfrac12 q_i \Phi_i - q_i\, E \cdot R_i

    Args:
      species: chemical symbols.
      sum: how the pairs are summed.
      interaction: between two charges.
      background: whether a net charge is allowed in a periodic structure, static, as of `Electrostatics`.

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
        species_tuple(self.species, "PairsOfCharges")

    @property
    def reach(self) -> Array:
        return self.sum.reach

    def energies(self, graph: Graph, carried: Array) -> Array:
        q = carried_channel("PairsOfCharges", carried, 0)
        outer = einsum("nx,x->n", graph.positions, graph.field)
        energies = 0.5 * q * self.sum.potential(self.interaction, graph, q) - q * outer
        return poison(energies, self._unbalanced(graph) | (jnp.any(graph.pbc) & jnp.any(graph.field != 0)))

    def _unbalanced(self, graph: Graph) -> Array:
        return jnp.any(graph.pbc) & (jnp.abs(graph.charge) > _EXCESS) & (not self.background)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = [*self.sum.causes(graph)]
        if bool(self._unbalanced(graph)):
            found.append(
                f"a periodic structure with a net charge of {float(graph.charge):.6g} e has an energy only by a rule for what neutralises it; "
                "write PairsOfCharges(..., background=True) for that of its sum"
            )
        if np.any(np.asarray(graph.pbc)) and np.any(np.asarray(graph.field)):
            found.append("in a periodic structure the energy in an outer field is not defined; leave out the field")
        return tuple(found)


@pytree
class ChargedPotential(Potential):
    """A potential whose atomic energies see the charges of a model; the charges are made once for all terms.

    Args:
      charges: where the charges come from.
      terms: energies at these charges.

    Raises:
      ValueError: for no terms, or terms that know other elements than the charge model.

    Example:
      >>> from jaxpot import CosineCutoff, MLP, AtomicPotential, IsolatedAtoms
      >>> from jaxpot.descriptors import ACSF, G2, Joined, OwnCharge
      >>> from jaxpot.longrange import Direct, QEq
      >>> species = ("Na", "Cl")
      >>> qeq = QEq(species, IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), hardness=[9.2, 18.7], sigma=[1.4, 1.0], sum=Direct())
      >>> descriptor = Joined((ACSF(species, (G2.centered(CosineCutoff(5.0), 4),)), OwnCharge(species)))
      >>> atoms = Carried(AtomicPotential(descriptor, MLP((8,))))
      >>> ChargedPotential(qeq, (PairsOfCharges(species, qeq.sum, qeq.interaction), atoms)).species
      ('Na', 'Cl')

    References:
      Ko, Finkler, Goedecker, Behler, "A fourth-generation high-dimensional neural network potential with accurate electrostatics including
      non-local charge transfer", Nat. Commun. 12, 398 (2021).
    """

    charges: ChargeModel
    terms: tuple[ChargeEnergy, ...]

    def __post_init__(self):
        check_terms("ChargedPotential", self.terms, self.charges.species)

    @property
    def species(self) -> tuple[str, ...]:
        return self.charges.species

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.charges.reach, reach_of(self.terms))

    def energies(self, graph: Graph) -> Array:
        return total(self.terms, graph, self.charges.charges(graph)[:, None])

    def more(self, graph: Graph) -> Properties:
        return self.charges.more(graph)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.charges.causes(graph), *(cause for term in self.terms for cause in term.causes(graph)))


def check_terms(owner: str, terms: tuple[ChargeEnergy, ...], species: tuple[str, ...]) -> None:
    """Raises unless there are terms, and all know these elements."""
    if not isinstance(terms, tuple | list) or not terms:
        raise ValueError(f"{owner}: expected a tuple of energies at charges, such as (Carried(potential),), got {terms!r}")
    for term in terms:
        if not isinstance(term, ChargeEnergy):
            raise TypeError(f"{owner}: expected energies at charges, got {type(term).__name__}; write Carried(potential)")
        if set(term.species) != set(species):
            raise ValueError(f"{owner}: {type(term).__name__} knows {', '.join(term.species)}, expected {', '.join(species)}")


def reach_of(terms: tuple[ChargeEnergy, ...]) -> Array:
    """The largest of all terms, []."""
    return functools.reduce(jnp.maximum, [jnp.asarray(term.reach) for term in terms])


def total(terms: tuple[ChargeEnergy, ...], graph: Graph, carried: Array) -> Array:
    """Atomic energies [N] of all terms; 0 for padding atoms."""
    energies = functools.reduce(jnp.add, [term.energies(graph, carried) for term in terms])
    return jnp.where(graph.numbers > 0, energies, 0)


@pytree
class ChargedAtoms(LocalPotential):
    r"""The energy of isolated atoms by their charge, to be evaluated by `Carried`.

    .. math:: \epsilon_i = \sum_{d=1}^D c_{z_i d}\, q_i^d

    Of D = 2 the first coefficient is an electronegativity and the second half a hardness.

    Args:
      species: chemical symbols.
      coefficients: c of every element, shape [S, D], in eV/e^d.
      channel: which of the numbers that atoms carry, static; the charge is the first.

    Example:
      >>> ChargedAtoms(("H", "O"), coefficients=[[4.5, 6.4], [8.7, 6.8]]).species
      ('H', 'O')
    """

    species: tuple[str, ...] = static()
    coefficients: Leaf = leaf(shape="[S, D]")
    channel: int = static(default=0, most=100)

    def __post_init__(self):
        species_tuple(self.species, "ChargedAtoms")

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def of(self, envs: Environment) -> Array:
        q = carried_channel("ChargedAtoms", jnp.asarray(envs.center_carried), self.channel)
        coefficients = jnp.asarray(self.coefficients, q.dtype)[envs.center]
        value = jnp.zeros_like(q)
        for d in reversed(range(coefficients.shape[1])):
            value = q * (coefficients[:, d] + value)
        return value


@pytree
class Screening(LocalPotential):
    r"""Takes away the electrostatics of near pairs and of Gaussians with themselves, which atomic energies then hold; for `Carried`.

    .. math:: \epsilon_i = -\tfrac12 q_i \Big[\phi_{ii}(0)\, q_i + \sum_j f_c(r_{ij})\, \phi_{ij}(r_{ij})\, q_j\Big]

    Args:
      interaction: between two charges, as in the sum over all.
      cutoff: f_c, where pairs are taken away; their electrostatics begin behind.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.longrange import GaussianCoulomb
      >>> Screening(GaussianCoulomb(("H", "O"), sigma=[0.3, 0.6]), CosineCutoff(4.2, width=2.5)).species
      ('H', 'O')

    References:
      Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021), Supplementary Information.
    """

    interaction: GaussianCoulomb
    cutoff: Cutoff

    @property
    def species(self) -> tuple[str, ...]:
        return self.interaction.species

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def of(self, envs: Environment) -> Array:
        q = carried_channel("Screening", jnp.asarray(envs.center_carried), 0)
        others = carried_channel("Screening", jnp.asarray(envs.carried), 0)
        r = jnp.where(envs.mask, safe_norm(envs.vectors), 1)
        table = self.interaction.sources(jnp.asarray(np.array([ATOMIC_NUMBERS[symbol] for symbol in self.species])))
        own, of_others = table[envs.center], table[envs.species]
        near = self.cutoff(r) * self.interaction.bare(r, own[:, None, :], of_others)
        potential = self.interaction.itself(own) * q + jnp.sum(jnp.where(envs.mask, near * others, 0), axis=1)
        return -0.5 * q * potential
