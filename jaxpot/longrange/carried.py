"""Atomic energies that see charges, their own or those that neighbours carry, and the potentials made of them."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.descriptors.carried import carried_channel
from jaxpot.graph import Environment, Graph
from jaxpot.leaves import Leaf
from jaxpot.longrange.charges import ChargeModel, why_total
from jaxpot.longrange.energies import ChargeEnergy, ChargePotential
from jaxpot.longrange.interactions import GaussianCoulomb
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.passes import condense
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.base import LocalPotential, energies_carrying, strained
from jaxpot.potentials.linear import LinearModel, constant_of, is_linear, lacking
from jaxpot.potentials.rows import energy_row, rows_of
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array


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
        return energies_carrying(condense(self.potential), graph, carried)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.potential.causes(graph)


@is_linear.register
def _linear_energies(term: Carried) -> bool:
    return isinstance(term.potential, DescribedPotential) and is_linear(term.potential)


@pytree
class ChargedPotential(ChargePotential, LinearModel):
    """A potential whose atomic energies see the charges of a model; the charges are made once for all terms.

    Where a term carries a potential of a linear head, such as `Carried(AtomicPotential(descriptor, Linear()))`, it is a linear model in its
    coefficients, which `fit.linear` fits to energies, forces and virials at the charges as they are: `fit.linear` of the charge model comes first.

    Args:
      charges: where the charges come from.
      terms: energies at these charges.

    Raises:
      ValueError: for no terms, or terms that know other elements than the charge model.

    Example:
      >>> from jaxpot import CosineCutoff, MLP, AtomicPotential, IsolatedAtoms
      >>> from jaxpot.descriptors import ACSF, G2, Joined, OwnCharge
      >>> from jaxpot.longrange import Direct, PairsOfCharges, QEq
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
    def reach(self) -> Array:
        return jnp.maximum(self.charges.reach, reach_of(self.terms))

    def at(self, graph: Graph, q: Array) -> Array:
        return total(self.terms, graph, q[:, None])

    @property
    def _linear(self) -> tuple[Carried, ...]:
        return tuple(filter(is_linear, self.terms))

    @property
    def n_coefficients(self) -> int:
        return sum(term.potential.n_coefficients for term in self._linear)

    def basis(self, graph: Graph) -> Properties:
        ready = [condense(term.potential) for term in self._linear]

        def charges(positions, epsilon):
            q = self.charges.charges(strained(graph, positions, epsilon))
            return q, q

        unstrained = jnp.zeros((3, 3), graph.positions.dtype)
        (by_position, by_strain), q = jax.jacfwd(charges, argnums=(0, 1), has_aux=True)(graph.positions, unstrained)
        rows = jax.tree_util.tree_map(lambda *x: jnp.concatenate(x, axis=-1), *(rows_of(potential, graph, q[:, None]) for potential in ready))
        by_charge = jax.jacfwd(lambda q: jnp.concatenate([energy_row(potential, graph, q[:, None]) for potential in ready]))(q)
        # beside what positions do at these charges there is how charges follow the positions
        forces, virial = einsum("pn,nix->ixp", by_charge, by_position), einsum("pn,nxy->xyp", by_charge, by_strain)
        return rows.replace(forces=rows.forces - forces, virial=rows.virial - virial)

    def precision(self) -> Array:
        return jax.scipy.linalg.block_diag(*(term.potential.precision() for term in self._linear))

    def with_coefficients(self, w: Array) -> "ChargedPotential":
        terms, start = [], 0
        for term in self.terms:
            if is_linear(term):
                own = slice(start, start + term.potential.n_coefficients)
                term, start = term.replace(potential=term.potential.with_coefficients(w[own])), own.stop
            terms.append(term)
        return self.replace(terms=tuple(terms))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.charges.causes(graph), *why_total(self.charges, graph), *(cause for term in self.terms for cause in term.causes(graph)))


@is_linear.register
def _linear_term(potential: ChargedPotential) -> bool:
    return any(map(is_linear, potential.terms))


@lacking.register
def _of_carried(potential: ChargedPotential) -> str:
    return next(filter(None, (lacking(term.potential) for term in potential.terms if is_linear(term))), "")


@constant_of.register
def _of_other_terms(potential: ChargedPotential) -> ChargedPotential | None:
    others = tuple(term for term in potential.terms if not is_linear(term))
    return potential.replace(terms=others) if others else None


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
        table = self.interaction.sources(jnp.asarray([ATOMIC_NUMBERS[symbol] for symbol in self.species]))
        own, of_others = table[envs.center], table[envs.species]
        near = self.cutoff(r) * self.interaction.bare(r, own[:, None, :], of_others)
        potential = self.interaction.itself(own) * q + jnp.sum(jnp.where(envs.mask, near * others, 0), axis=1)
        return -0.5 * q * potential
