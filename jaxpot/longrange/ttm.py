"""The electrostatics of the water model TTM4-F: smeared charges and induced dipoles on flexible molecules."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.graph import Graph, by_element, unusable
from jaxpot.leaves import Leaf
from jaxpot.longrange.born import nearest
from jaxpot.longrange.charges import ChargeModel, misses_total, observed, why_total
from jaxpot.longrange.energies import PairsOfCharges
from jaxpot.longrange.fields import field_of_charges, field_of_dipoles
from jaxpot.longrange.induction import induced, roots_of, why_not_induced
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.solvers import Dense, Solver
from jaxpot.longrange.sums import PairSum
from jaxpot.longrange.thole import Thole
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.potentials.base import Potential, energies_and_more
from jaxpot.properties import Properties
from jaxpot.trees import positive, pytree

Array = jax.Array

_WATER = ("O", "H")
_ORDER = (8, 1, 1)
_BONDS, _PAIRS = ((0, 1), (0, 2)), ((0, 1), (0, 2), (1, 2))
_LONGEST = 1.5  # Å; a longer bond is of no molecule, or of atoms in another order
_POWER = 4
_EXCESS = 1e-6  # e


@pytree
class TTM4F(Potential):
    r"""The electrostatics of TTM4-F, which is that of MB-pol as well: charges of every monomer, induced dipoles, Thole's damping with m = 4.

    .. math:: E = \sum_{i < j}{}' q_i q_j\, \phi_c(r_{ij}) - q_i\, E_0 \cdot r_i
       + \min_\mu \Big[\tfrac12 \sum_{ij} \mu_i \big(k\, \alpha_i^{-1} \delta_{ij} - T_{ij}\big) \mu_j - \sum_i \mu_i \cdot (E^q_i + E_0)\Big]

    The oxygen's charge stands at M, :math:`r_M = (1 - \gamma)\, r_O + \tfrac{\gamma}{2} (r_{H_1} + r_{H_2})`; the dipoles are on the nuclei.
    Charges act on charges and dipoles of other molecules only, dipoles on all. From charges of the nuclei, which have a dipole of the monomer,
    those of the sites follow so that this dipole stays as it is.

    In TTM4-F these charges are functions of a molecule's geometry, the dipole surface of Partridge and Schwenke, whose coefficients are not part of
    the package: any charge model may stand in its place, such as `FixedCharges` or `LocalCharges` with the charge of every molecule 0 by
    `Fragments`.

    Atoms are in the order O, H, H of one molecule after the other; of others, of a bond longer than 1.5 Å, and of molecules with a net charge the
    energy is NaN, and `diagnose` says so. It predicts the charges of the nuclei and the dipole with the induced one.

    Args:
      charges: of the nuclei, zero in sum for every molecule.
      sum: how the pairs are summed; its neighbour lists reach 3 Å γ farther than the sum's own.
      gamma: γ, where M is.
      polarizability: α of O and H, shape [2], in Å³.
      damping_charges: a of charges with charges and dipoles.
      damping_dipoles: a of dipoles with dipoles, save those of an oxygen and its own hydrogens.
      damping_bonded: a of these.
      solver: `Dense()`, or `ConjugateGradients()` for many molecules.

    Raises:
      ValueError: for a charge model that does not know O and H, or knows others.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Direct, FixedCharges
      >>> model = TTM4F(FixedCharges(("O", "H"), values=[-0.6552, 0.3276]), Direct())
      >>> water = Atoms("OH2", positions=[[0, 0, 0], [0.7693, 0, 0.5935], [-0.7693, 0, 0.5935]])
      >>> graph = from_atoms(water, cutoff=1.0)
      >>> charges, shift = model.sites(graph, model.charges.charges(graph))
      >>> charges.round(4).tolist(), round(float(shift[0, 2]), 4)  # of M and both hydrogens, and how far M is from the oxygen
      ([-1.1429, 0.5714, 0.5714], 0.2533)

    References:
      Burnham, Anick, Mankoo, Reiter, "The vibrational proton potential in bulk liquid water and ice", J. Chem. Phys. 128, 154519 (2008).
      Partridge, Schwenke, "The determination of an accurate isotope dependent potential energy surface for water from extensive ab initio
      calculations and experimental data", J. Chem. Phys. 106, 4618 (1997).
    """

    charges: ChargeModel
    sum: PairSum
    gamma: Leaf = positive(default=0.426706882)
    polarizability: Leaf = positive(default=(1.310, 0.294), shape="[A]")
    damping_charges: Leaf = positive(default=0.4)
    damping_dipoles: Leaf = positive(default=0.055)
    damping_bonded: Leaf = positive(default=0.626)
    solver: Solver = dataclasses.field(default_factory=Dense)

    def __post_init__(self):
        if set(self.charges.species) != set(_WATER):
            raise ValueError(f"TTM4F: charges are of {', '.join(self.charges.species)}, expected those of O and H")
        if np.shape(self.polarizability) != (2,):
            raise ValueError(f"TTM4F: polarizability must be two numbers, of O and H, got shape {np.shape(self.polarizability)}")

    @property
    def species(self) -> tuple[str, ...]:
        return _WATER

    @property
    def reach(self) -> Array:
        own = jnp.asarray(self.sum.reach)
        # both ends of a pair may be displaced
        return jnp.maximum(self.charges.reach, jnp.where(own > 0, own + 2 * _LONGEST * self.gamma, 0))

    def energies(self, graph: Graph) -> Array:
        return energies_and_more(self, graph)[0]

    def more(self, graph: Graph) -> Properties:
        return energies_and_more(self, graph)[1]

    def sites(self, graph: Graph, q: Array) -> tuple[Array, Array]:
        """The charges [N] of the sites of charges [N] of the nuclei, and how far they stand from the nuclei, [N, 3] in Å."""
        first = _members(graph)
        bonds = [_bond(graph, pair) for pair in _BONDS]
        gamma = jnp.asarray(self.gamma).astype(q.dtype)
        shift = jnp.zeros_like(graph.positions).at[first].set(0.5 * gamma * (bonds[0] + bonds[1]))
        share = 0.5 * gamma / (1 - gamma) * (q[first + 1] + q[first + 2])
        sites = q.at[first].set(q[first] / (1 - gamma)).at[first + 1].add(share).at[first + 2].add(share)
        return jnp.where(graph.numbers > 0, sites, 0), shift

    def apart(self, graph: Graph) -> Callable[[Array, Array, Array], Array]:
        """The potential of charges of other molecules, as `PairSum.between` has it."""
        damped = self._damping(self.damping_charges)
        return _replaced(functools.partial(self.sum.between, damped, graph), graph, _PAIRS, damped, None)

    def between_dipoles(self, graph: Graph) -> Callable[[Array, Array, Array], Array]:
        """The potential by which all dipoles act on each other, as `PairSum.between` has it."""
        damped, bonded = self._damping(self.damping_dipoles), self._damping(self.damping_bonded)
        return _replaced(functools.partial(self.sum.between, damped, graph), graph, _BONDS, damped, bonded)

    def roots(self, graph: Graph) -> Array:
        """√(α/k) of every atom, [N]; 0 for padding atoms."""
        return roots_of(by_element(self.polarizability, _WATER, graph.numbers))

    def _damping(self, a: Array) -> Thole:
        return Thole(_WATER, self.polarizability, a, _POWER)

    def lost(self, graph: Graph, q: Array) -> Array:
        """Whether there is no energy of charges [N] of the nuclei, []."""
        first = _members(graph)
        net = jnp.any(jnp.abs(q[first] + q[first + 1] + q[first + 2]) > _EXCESS)
        lost = _unordered(graph) | _broken(graph) | net | misses_total(graph, q) | unusable(graph, self.reach, _WATER)
        return lost | self._pairs.lost(graph)

    @property
    def _pairs(self) -> PairsOfCharges:
        return PairsOfCharges(_WATER, self.sum, self._damping(self.damping_charges))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if bool(_unordered(graph)):
            return ("TTM4F is of water alone, with atoms in the order O, H, H of one molecule after the other; put them in this order",)
        if bool(_broken(graph)):
            longest = max(float(jnp.max(jnp.where(graph.numbers[_members(graph)] > 0, _length(graph, pair), 0))) for pair in _BONDS)
            return (f"a bond of a water molecule is {longest:.4g} Å long, expected at most {_LONGEST} Å; its atoms must be O, H, H one after the other",)
        found, q, first = (*self.charges.causes(graph), *self._pairs.causes(graph)), self.charges.charges(graph), _members(graph)
        net = np.asarray(q[first] + q[first + 1] + q[first + 2])
        if np.any(np.abs(net) > _EXCESS):
            worst = int(np.argmax(np.abs(net)))
            return (*found, f"the charges of water molecule {worst} sum to {net[worst]:.6g} e, expected 0")
        if found := (*found, *why_total(self.charges, graph)):
            return found
        sites, shift = self.sites(graph, q)
        field = field_of_charges(self.apart(graph), sites, shift) + graph.field[None, :]
        return why_not_induced(self.solver, _response, (self, graph), self.roots(graph), field)


def _response(parameters: tuple[TTM4F, Graph], dipoles: Array) -> Array:
    model, graph = parameters
    return field_of_dipoles(model.between_dipoles(graph), dipoles)


@energies_and_more.register
def _with_dipoles(model: TTM4F, graph: Graph) -> tuple[Array, Properties]:
    q = model.charges.charges(graph)
    sites, shift = model.sites(graph, q)
    apart = model.apart(graph)
    field = field_of_charges(apart, sites, shift) + graph.field[None, :]
    dipoles = induced(model.solver, _response, (model, graph), model.roots(graph), field)
    outer = einsum("nx,x->n", graph.positions + shift, graph.field)
    energies = 0.5 * sites * apart(sites, shift, shift) - sites * outer - 0.5 * jnp.sum(dipoles * field, axis=1)
    more = observed(graph, q)
    return poison(energies, model.lost(graph, q)), more.replace(dipole=more.dipole + jnp.sum(dipoles, axis=0))


def _members(graph: Graph) -> np.ndarray:
    """The first atom of every molecule."""
    return 3 * np.arange(len(graph.numbers) // 3)


def _bond(graph: Graph, pair: tuple[int, int]) -> Array:
    """From one atom of every molecule to another, to its nearest image, [N // 3, 3]."""
    first = _members(graph)
    return nearest(graph, graph.positions[first + pair[1]] - graph.positions[first + pair[0]])


def _length(graph: Graph, pair: tuple[int, int]) -> Array:
    return safe_norm(_bond(graph, pair))


def _unordered(graph: Graph) -> Array:
    """Whether atoms are not in the order O, H, H, []; padding atoms follow."""
    n = len(graph.numbers)
    order = jnp.where(jnp.arange(n) < n // 3 * 3, jnp.asarray(np.resize(_ORDER, n)), 0)
    first = graph.numbers[_members(graph)]
    whole = jnp.concatenate([jnp.repeat(first, 3), jnp.zeros(n % 3, graph.numbers.dtype)]) > 0
    return jnp.any(graph.numbers != jnp.where(whole, order, 0))


def _broken(graph: Graph) -> Array:
    """Whether an oxygen is far from its hydrogens, []."""
    real = graph.numbers[_members(graph)] > 0
    return jnp.any(jnp.stack([real & ~(_length(graph, pair) <= _LONGEST) for pair in _BONDS]))


def _replaced(
    between: Callable[[Array, Array, Array], Array], graph: Graph, pairs: tuple[tuple[int, int], ...], counted: Interaction, wanted: Interaction | None
) -> Callable[[Array, Array, Array], Array]:
    """The potential in which these pairs of every molecule interact otherwise than counted, or not at all."""
    first = _members(graph)
    places = np.concatenate([[first + a, first + b] for a, b in (*pairs, *(pair[::-1] for pair in pairs))], axis=1)
    here, there = places
    real = (graph.numbers[here] > 0) & (graph.numbers[there] > 0)
    bonds = nearest(graph, graph.positions[there] - graph.positions[here])

    def potential(q: Array, at: Array, of: Array) -> Array:
        r = safe_norm(jnp.where(real[:, None], bonds + of[there] - at[here], 1.0))

        def pair_values(interaction: Interaction) -> Array:
            own = interaction.sources(graph.numbers).astype(q.dtype)
            return interaction.bare(r, own[here], own[there])

        change = -pair_values(counted) if wanted is None else pair_values(wanted) - pair_values(counted)
        return between(q, at, of).at[here].add(jnp.where(real, change * q[there], 0))

    return potential
