"""Charges that minimise an energy of any form: that of atoms whose surroundings carry them, and of the charges among each other."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.longrange.carried import check_terms, reach_of, total
from jaxpot.longrange.charges import ChargeModel, observed
from jaxpot.longrange.energies import ChargeEnergy
from jaxpot.longrange.fragments import WholeStructure
from jaxpot.longrange.solvers import matrix_of
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Potential, energies_and_more
from jaxpot.properties import Properties
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_ROUND_OFF = 1000  # times the machine's; the least eigenvalue over the largest, by how much an energy may rise, and the least gradient
_SHORTEST = 2.0**-30  # of a step


class Minimum(NamedTuple):
    """What a search has found.

    Args:
      carried: what atoms carry at its end, [N, C].
      gradient: the largest entry of the projected gradient, [], in eV/e.
      curvature: the smallest eigenvalue of the projected second derivative over the largest magnitude of one, [].
      steps: of Newton's method, [].
      found: whether it is a minimum to within the tolerance, [].
    """

    carried: Array
    gradient: Array
    curvature: Array
    steps: Array
    found: Array


@pytree
class SelfConsistent(Potential, ChargeModel):
    r"""The charges of lowest energy, and that energy.

    .. math:: E(R) = \min_q \sum_i \epsilon_i(R, q), \qquad \sum_i q_i = Q

    The minimum is found by Newton's method with the whole second derivative, of whose eigenvalues the magnitude counts, in steps along which
    the energy falls. Charges, energy, and forces are differentiable to any order: at the minimum :math:`dE/dR = \partial E/\partial R`, and
    how charges follow is the implicit derivative, by the second derivative of the energy on all changes that sum to zero. Where there are
    several minima, it is the one below the start, at which charges are even. Where there is none, all is NaN and `diagnose` says why.

    Atoms carry more than a charge where `moments` are given, such as a spin population: with populations of both spins p↑ and p↓ of an atom
    with Z valence electrons its charge is Z − p↑ − p↓ and its moment p↑ − p↓, and a structure with n unpaired electrons has `moments=[n]`.

    Args:
      terms: energies at given charges, which know the same elements.
      moments: totals of what atoms carry beside their charge, shape [C − 1]; None is nothing.
      tolerance: largest entry of the projected gradient at the minimum, in eV/e.
      most: steps after which the search has failed, static.

    Raises:
      ValueError: for no terms, or terms that know different elements.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Carried, ChargedAtoms, Direct, GaussianCoulomb, PairsOfCharges
      >>> species = ("Na", "Cl")
      >>> pairs = PairsOfCharges(species, Direct(), GaussianCoulomb(species, sigma=[1.4, 1.0]))
      >>> atoms = Carried(ChargedAtoms(species, coefficients=[[2.8, 4.6], [8.6, 9.35]]))
      >>> molecule = from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), cutoff=1.0)
      >>> [round(float(q), 6) for q in SelfConsistent((pairs, atoms)).charges(molecule)]
      [0.182484, -0.182484]

    References:
      Xie, Persson, Small, "Incorporating electronic information into machine learning potential energy surfaces via approaching the
      ground-state electronic energy as a function of atom-based electronic populations", J. Chem. Theory Comput. 16, 4256 (2020).
    """

    terms: tuple[ChargeEnergy, ...]
    moments: OptionalLeaf = leaf(default=None, shape="[M]")
    tolerance: Leaf = positive(default=1e-10)
    most: int = static(default=100, most=100_000)

    def __post_init__(self):
        check_terms("SelfConsistent", self.terms, self.terms[0].species if self.terms and hasattr(self.terms[0], "species") else ())

    @property
    def species(self) -> tuple[str, ...]:
        return self.terms[0].species

    @property
    def reach(self) -> Array:
        return reach_of(self.terms)

    def energies(self, graph: Graph) -> Array:
        return energies_and_more(self, graph)[0]

    def charges(self, graph: Graph) -> Array:
        return self.carried(graph)[:, 0]

    def more(self, graph: Graph) -> Properties:
        return energies_and_more(self, graph)[1]

    def properties(self, graph: Graph) -> Properties:
        return Potential.properties(self, graph)

    def carried(self, graph: Graph, start: Array | None = None) -> Array:
        """What atoms carry at the minimum, charges first, [N, C]; from a start near it the search is short."""
        start = self._even(graph) if start is None else start

        def solve(_, x):
            found = self.minimum(graph, x)
            return jnp.where(found.found, found.carried, jnp.nan)

        def solved(linear, b):
            return jax.lax.custom_linear_solve(linear, b, _dense, symmetric=True)

        return jax.lax.custom_root(functools.partial(self._residual, graph), jax.lax.stop_gradient(start), solve, solved)

    def minimum(self, graph: Graph, start: Array | None = None) -> Minimum:
        """How the search ends, from a start [N, C], with its status; not to be differentiated."""
        model, graph = jax.lax.stop_gradient((self, graph))
        start = model._even(graph) if start is None else jax.lax.stop_gradient(start)
        even = model._even(graph)
        return model._search(graph, even + model._without_sums(graph, start - even))

    def _even(self, graph: Graph) -> Array:
        """The totals, shared by all atoms alike, [N, C]."""
        real = (graph.numbers > 0).astype(graph.positions.dtype)
        totals = jnp.asarray(graph.charge, real.dtype)[None]
        totals = totals if self.moments is None else jnp.concatenate([totals, jnp.asarray(self.moments, real.dtype)])
        return real[:, None] * totals[None, :] / jnp.maximum(jnp.sum(real), 1)

    def _without_sums(self, graph: Graph, x: Array) -> Array:
        """The nearest numbers [N, C] whose sums over the atoms are zero; 0 for padding atoms."""
        return jax.vmap(WholeStructure().groups(graph).without_sums, 1, 1)(x)

    def _energy(self, graph: Graph, x: Array) -> Array:
        return jnp.sum(total(self.terms, graph, x))

    def _gradient(self, graph: Graph, x: Array) -> Array:
        return self._without_sums(graph, jax.grad(self._energy, argnums=1)(graph, x))

    def _residual(self, graph: Graph, x: Array) -> Array:
        """What is zero at the minimum alone: the projected gradient, and how far totals are missed."""
        x = x - self._even(graph)
        inner = self._without_sums(graph, x)
        return self._gradient(graph, self._even(graph) + inner) + (x - inner)

    def _search(self, graph: Graph, x: Array) -> Minimum:
        shape, round_off = x.shape, _ROUND_OFF * float(jnp.finfo(x.dtype).eps)

        def measured(x):
            """Energy, the gradient on all that sums to zero and what totals are missed by, and the largest entry of the whole gradient."""
            inner = self._without_sums(graph, x)
            energy, gradient = jax.value_and_grad(self._energy, argnums=1)(graph, even + inner)
            return energy, self._without_sums(graph, gradient) + (x - inner), jnp.max(jnp.abs(gradient))

        def newton(state):
            x, *_, n, _, _ = state
            (energy, gradient, whole), push = jax.linearize(measured, x)
            matrix = matrix_of(lambda b: push(b.reshape(shape))[1].reshape(-1), x.reshape(-1))
            values, vectors = jnp.linalg.eigh(0.5 * (matrix + matrix.T))
            magnitudes = jnp.maximum(jnp.abs(values), 1e-8 * jnp.max(jnp.abs(values)))
            step = -einsum("ij,j,kj,k->i", vectors, 1 / magnitudes, vectors, gradient.reshape(-1)).reshape(shape)
            slope, slack = jnp.sum(step * gradient), round_off * jnp.maximum(jnp.abs(energy), 1)
            size = jnp.max(jnp.abs(gradient))
            arrived = size <= jnp.maximum(self.tolerance, round_off * whole).astype(x.dtype)

            def too_high(tried):
                length, there = tried
                return ~(there <= energy + 1e-4 * length * slope + slack) & (length > _SHORTEST) & ~arrived

            def halved(tried):
                length = 0.5 * tried[0]
                return length, self._energy(graph, even + x + length * step)

            length, _ = jax.lax.while_loop(too_high, halved, (jnp.full((), 2.0, x.dtype), jnp.full((), jnp.inf, x.dtype)))
            x = jnp.where(arrived, x, x + length * step)
            return x, size, values[0] / jnp.max(jnp.abs(values)), n + ~arrived, arrived, ~arrived & (length <= _SHORTEST)

        def unfinished(state):
            *_, n, arrived, stuck = state
            return ~(arrived | stuck) & (n <= self.most)

        even, far = self._even(graph), jnp.full((), jnp.inf, x.dtype)
        state = x - even, far, far, jnp.zeros((), int), jnp.zeros((), bool), jnp.zeros((), bool)
        x, size, curvature, n, arrived, _ = jax.lax.while_loop(unfinished, newton, state)
        return Minimum(even + x, size, curvature, n, arrived & (curvature > round_off))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        found = tuple(cause for term in self.terms for cause in term.causes(graph))
        if found:
            return found
        end = self.minimum(graph)
        if bool(end.found) or not bool(jnp.isfinite(self._energy(graph, self._even(graph)))):
            return ()
        if not float(end.curvature) <= 0 or not float(end.gradient) <= 1e3 * float(self.tolerance):
            return (
                f"the charges of SelfConsistent did not come to a minimum: after {int(end.steps)} steps the gradient is {float(end.gradient):.3g} eV/e, "
                f"expected at most {float(self.tolerance):.3g}; the energy may fall without end: give atoms a hardness, by Carried(ChargedAtoms(...))",
            )
        return (
            f"the charges of SelfConsistent end where the energy has no minimum: the smallest eigenvalue of its second derivative is "
            f"{float(end.curvature):.3g} times the largest, it must be positive; give atoms a larger hardness, by Carried(ChargedAtoms(...))",
        )


@energies_and_more.register
def _at_the_minimum(model: SelfConsistent, graph: Graph) -> tuple[Array, Properties]:
    carried = model.carried(graph)
    return total(model.terms, graph, carried), observed(graph, carried[:, 0])


def _dense(operator, b: Array) -> Array:
    """The solution of a symmetric system of any shape."""
    matrix = matrix_of(lambda x: operator(x.reshape(b.shape)).reshape(-1), b.reshape(-1))
    return jnp.linalg.solve(0.5 * (matrix + matrix.T), b.reshape(-1)).reshape(b.shape)
