"""Charge equilibration: charges that minimise an energy of electronegativity, hardness and Coulomb's interaction."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph, by_element
from jaxpot.leaves import Leaf
from jaxpot.longrange.charges import ChargeModel, observed
from jaxpot.longrange.fragments import Totals, WholeStructure
from jaxpot.longrange.interactions import GaussianCoulomb
from jaxpot.longrange.solvers import Dense, Solver
from jaxpot.longrange.sums import PairSum
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense
from jaxpot.potentials.base import Potential
from jaxpot.potentials.linear import LinearModel, constant_of, is_linear
from jaxpot.properties import Properties
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class QEq(ChargeModel, LinearModel):
    r"""Charge equilibration with Gaussian charges.

    .. math:: E(q) = \sum_i \left(\chi_i - E \cdot R_i\right) q_i + \tfrac12 J_i q_i^2 + \tfrac12 q_i \Phi_i(q), \qquad
       \frac{\partial E}{\partial q_i} = -\lambda, \qquad \sum_i q_i = Q

    Φ holds a charge's interaction with itself. The charges are the only minimum where the second derivative is positive on all changes of
    charge that sum to zero; otherwise they are NaN, and `diagnose` says the smallest eigenvalue. In an outer field E the structure must not be
    periodic. `Electrostatics(qeq, qeq.sum, qeq.interaction)` is the electrostatic part of the energy, which networks of the fourth generation
    take, and `ChargeEquilibration(qeq)` the whole minimum.

    Charge flows at any distance: molecules that are far apart keep charges on them which they should not have, as electronegativities of
    molecules differ and nothing but the hardness holds charge back. Give the charges of fragments with `totals=Fragments(...)`, or
    electronegativities that feel only what overlaps, `OverlapWeighted`.

    With an electronegativity that is linear in coefficients, such as `AtomicPotential(descriptor, Linear())`, so are the charges: `fit.linear`,
    `fit.posterior` and `fit.log_evidence` fit them to labels of charges, of dipoles, or of both, and `fit.maximise_evidence` finds hardness
    and widths.

    Args:
      species: chemical symbols.
      electronegativity: χ, in eV/e: the atomic energies of a potential, such as `IsolatedAtoms({"H": 4.5, "O": 8.7})`, an `AtomicPotential`
        of any descriptor and head, or a sum of both.
      hardness: J of every element, shape [S], in eV/e².
      sigma: standard deviation of the charge density of every element, shape [S], in Å.
      sum: how the pairs are summed; of periodic structures `sum_for(frames, interaction=GaussianCoulomb(species, sigma))`, since what is wide
        needs a far near cutoff.
      totals: which charges are given in sum; that of the whole structure, unless said.
      solver: `Dense()`, or `ConjugateGradients()` for thousands of atoms.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> from jaxpot.longrange import Direct
      >>> qeq = QEq(("Na", "Cl"), IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), hardness=[9.2, 18.7], sigma=[1.4, 1.0], sum=Direct())
      >>> sodium, chlorine = qeq.charges(from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), cutoff=1.0))
      >>> round(float(sodium), 6), round(float(chlorine), 6)
      (0.182484, -0.182484)

    References:
      Rappé, Goddard, "Charge equilibration for molecular dynamics simulations", J. Phys. Chem. 95, 3358 (1991).
      Ghasemi, Hofstetter, Saha, Goedecker, "Interatomic potentials for ionic systems with density functional accuracy based on charge
      densities obtained by a neural network", Phys. Rev. B 92, 045131 (2015).
    """

    species: tuple[str, ...] = static()
    electronegativity: Potential
    hardness: Leaf = positive(shape="[S]")
    sigma: Leaf = positive(shape="[S]")
    sum: PairSum
    totals: Totals = dataclasses.field(default_factory=WholeStructure)
    solver: Solver = dataclasses.field(default_factory=Dense)

    def __post_init__(self):
        species_tuple(self.species, "QEq")

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.electronegativity.reach, self.sum.reach)

    @property
    def interaction(self) -> GaussianCoulomb:
        """Between two charges."""
        return GaussianCoulomb(self.species, self.sigma)

    def pull(self, graph: Graph) -> Array:
        """What draws charge away from every atom, χ − E · R, [N], in eV/e; 0 for padding atoms."""
        real = graph.numbers > 0
        outer = einsum("nx,x->n", jnp.where(real[:, None], graph.positions, 0), graph.field)
        outer = jnp.where(self._undefined(graph), jnp.nan, outer)
        return jnp.where(real, self.electronegativity.energies(graph) - outer, 0)

    def response(self, graph: Graph, q: Array) -> Array:
        """What charges [N] do to the potential at every atom, J q + Φ(q), [N], in eV/e; linear in q."""
        hardness = by_element(self.hardness, self.species, graph.numbers)
        return hardness * jnp.where(graph.numbers > 0, q, 0) + self.sum.potential(self.interaction, graph, q)

    def charges(self, graph: Graph) -> Array:
        groups = self.totals.groups(graph)
        real = (graph.numbers > 0).astype(graph.positions.dtype)
        even = groups.shared(groups.totals.astype(real.dtype), real)
        return even + groups.without_sums(self.solver.solve(self._projected, (self, graph), self._unbalance(graph, even)))

    @property
    def n_coefficients(self) -> int:
        return self.electronegativity.n_coefficients

    def basis(self, graph: Graph) -> Properties:
        """Derivatives by the coefficients of charges, shape [N, P], and of the dipole, [3, P]."""
        groups = self.totals.groups(graph)
        rows = condense(self.electronegativity).basis(graph).energies
        solve = functools.partial(self.solver.solve, self._projected, (self, graph))
        respond = jax.vmap(lambda pull: groups.without_sums(solve(-groups.without_sums(pull))), 1, 1)
        # what a coefficient pulls, or what pulls at one atom, is one right-hand side: as few as there are
        n, p = rows.shape
        rows = respond(rows) if p <= n else einsum("nm,mp->np", respond(jnp.eye(n, dtype=rows.dtype)), rows)
        return jax.vmap(functools.partial(observed, graph), 1, -1)(rows)

    def precision(self) -> Array:
        return self.electronegativity.precision()

    def with_coefficients(self, w: Array) -> "QEq":
        return self.replace(electronegativity=self.electronegativity.with_coefficients(w))

    def _unbalance(self, graph: Graph, q: Array) -> Array:
        """What these charges lack to a minimum."""
        return -self.totals.groups(graph).without_sums(self.pull(graph) + self.response(graph, q))

    @staticmethod
    def _projected(parameters: tuple["QEq", Graph], q: Array) -> Array:
        """The second derivative on charges without a sum, and a positive number on all others: that has no bordering zeros."""
        qeq, graph = parameters
        groups = qeq.totals.groups(graph)
        inner = groups.without_sums(q)
        scale = jnp.max(qeq.hardness + qeq.interaction.itself(jnp.asarray(qeq.sigma)[:, None])).astype(q.dtype)
        return groups.without_sums(qeq.response(graph, inner)) + scale * (q - inner)

    def _undefined(self, graph: Graph) -> Array:
        return jnp.any(graph.pbc) & jnp.any(graph.field != 0)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = [*self.electronegativity.causes(graph), *self.sum.causes(graph), *self.totals.causes(graph)]
        if np.any(np.asarray(graph.pbc)) and np.any(np.asarray(graph.field)):
            found.append("in a periodic structure electronegativities in an outer field are not defined; leave out the field")
        if not found and not bool(jnp.all(jnp.isfinite(self.charges(graph)))):
            even = jnp.zeros(graph.numbers.shape, graph.positions.dtype)
            found += [
                f"the hardness matrix of {type(self).__name__} has no minimum of the energy: {cause}; give larger hardness"
                for cause in self.solver.causes(self._projected, (self, graph), self._unbalance(graph, even))
            ]
        return tuple(found)


@is_linear.register
def _linear_electronegativity(model: QEq) -> bool:
    return is_linear(model.electronegativity)


@constant_of.register
def _of_what_is_given(model: QEq) -> QEq:
    """Charges of the total and of electronegativities without coefficients."""
    return model.with_coefficients(jnp.zeros(model.n_coefficients))
