"""Permutation-invariant polynomials of whole molecules and of fragments, named by the places of their atoms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.graph import Graph
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.linalg import safe_norm
from jaxpot.math.polynomials import Invariants, edge_permutations, invariants, pairs
from jaxpot.math.transforms import DistanceTransform
from jaxpot.potentials.bonded import BondedPotential
from jaxpot.potentials.linear import LinearModel
from jaxpot.potentials.rows import generic_rows
from jaxpot.properties import Properties
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class PIP(BondedPotential, LinearModel):
    r"""A polynomial of all distances in a molecule that does not change when like atoms are exchanged (Braams and Bowman).

    .. math:: E = \sum_{\text{rows}} \sum_f w_f\, P_f(x_{12}, x_{13}, \dots), \qquad x = x(r)

    P_f are all invariant polynomials up to a total degree. As for `Bonds` each row of `atoms` names the atoms of one molecule or fragment by
    their places in the structure; equal molecules are rows of one PIP, with the same coefficients. Terms for the monomers and for the pairs
    of monomers of a cluster add up to a many-body expansion, and `fit.linear` fits them together.

    The energy goes to no limit as a fragment leaves, unless `fragments` says which atoms part: then only polynomials are kept of which every
    monomial has a distance between the two, so that the energy vanishes with the variables of these distances (`MorseTransform`,
    `PowerTransform`).

    Args:
      species: the elements of the structure.
      atoms: rows of indices, shape [n, a], atoms in the same order in each.
      transform: the variables, functions of the distances.
      degree: highest total degree of the polynomials.
      symmetry: permutations of the atoms of a row that generate the group; `exchanges("OHH")` makes those of like atoms.
      fragments: two groups of the atoms of a row, by their places in it; () is none.
      scale: prior standard deviation of every coefficient, in eV per unit of the polynomial.
      coefficients: w, shape [P]; None until fitted.

    Raises:
      TypeError: for what is no transform.
      ValueError: for rows as of `Bonds`, what is no permutation of a row, and fragments that are not all atoms of a row in two groups, or
        that an exchange tears apart.

    Example:
      >>> from jaxpot.molecules import exchanges
      >>> from jaxpot.radial import MorseTransform
      >>> PIP(("H", "O"), [[0, 1, 2]], MorseTransform(1.0, decay=1.0), degree=4, symmetry=exchanges("OHH")).n_coefficients
      22
      >>> within, between = exchanges("OHHXYY"), ((3, 4, 5, 0, 1, 2),)              # two water molecules
      >>> dimer = PIP(("H", "O"), [[0, 1, 2, 3, 4, 5]], MorseTransform(1.0, 1.0), degree=3, symmetry=within + between)
      >>> dimer.n_coefficients, dimer.replace(fragments=((0, 1, 2), (3, 4, 5))).n_coefficients
      (158, 134)

    References:
      Braams, Bowman, "Permutationally invariant potential energy surfaces in high dimensionality", Int. Rev. Phys. Chem. 28, 577 (2009).
    """

    species: tuple[str, ...] = static()
    atoms: Leaf
    transform: DistanceTransform
    degree: int = static(most=50)
    symmetry: tuple[tuple[int, ...], ...] = static(default=())
    fragments: tuple[tuple[int, ...], ...] = static(default=())
    scale: Leaf = positive(default=1.0)
    coefficients: OptionalLeaf = None

    def __post_init__(self):
        if not isinstance(self.transform, DistanceTransform):
            raise TypeError(f"PIP: expected a transform such as MorseTransform(1.0, decay=2.0), got {type(self.transform).__name__}")
        if np.ndim(self.atoms) != 2 or np.shape(self.atoms)[1] < 2:
            raise ValueError(f"PIP: atoms must have shape [n, a] with a ≥ 2, got {list(np.shape(self.atoms))}")
        size = np.shape(self.atoms)[1]
        self._check(size)
        group = edge_permutations(size, self.symmetry)
        if self.fragments:
            if len(self.fragments) != 2 or not all(self.fragments) or sorted(sum(self.fragments, ())) != list(range(size)):
                raise ValueError(f"PIP: fragments must be two groups of the places 0 to {size - 1}, each place once, got {self.fragments}")
            between = self._between
            if np.any(between[group] != between[None]):
                raise ValueError(f"PIP: the symmetry exchanges atoms of the fragments {self.fragments} other than with their whole fragment")
        if not self.n_coefficients:
            raise ValueError(f"PIP: no polynomial of degree {self.degree} has a distance between the fragments; expected degree ≥ 1")
        if self.coefficients is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"PIP: {self.n_coefficients} polynomials, but coefficients has shape {np.shape(self.coefficients)}")

    @property
    def _invariants(self) -> Invariants:
        return invariants(np.shape(self.atoms)[1], self.symmetry, self.degree)

    @property
    def _between(self) -> np.ndarray:
        """Which distances are between the fragments, shape [E]."""
        is_first = np.isin(pairs(np.shape(self.atoms)[1]), self.fragments[0])
        return is_first[:, 0] != is_first[:, 1]

    @property
    def _kept(self) -> np.ndarray:
        """Which of the invariants are functions of this model, shape [P]."""
        exponents = self._invariants.exponents
        # exchanges keep the number of factors from within and from between, so the leading monomial speaks for all
        return np.flatnonzero(np.any(exponents[:, self._between] > 0, axis=1)) if self.fragments else np.arange(len(exponents))

    @property
    def n_coefficients(self) -> int:
        return len(self._kept)

    def labels(self) -> tuple[tuple[int, ...], ...]:
        """The exponents of the leading monomial of every function; distances are in the order of `jaxpot.math.polynomials.pairs`."""
        return tuple(map(tuple, self._invariants.exponents[self._kept].tolist()))

    def _variables(self, steps: Array) -> Array:
        """x of every row, shape [E, n], from the vectors to each atom of a row from the one before, shape [n, a − 1, 3]."""
        points = jnp.concatenate([jnp.zeros_like(steps[:, :1]), jnp.cumsum(steps, axis=1)], axis=1)
        first, second = pairs(points.shape[1]).T
        return self.transform(safe_norm(points[:, second] - points[:, first])).T

    def rows(self, steps: Array) -> Array:
        if self.coefficients is None:
            raise ValueError("PIP has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
        w, x = jnp.asarray(self.coefficients, steps.dtype), self._variables(steps)
        if self.fragments:
            w = jnp.zeros(len(self._invariants.exponents), w.dtype).at[self._kept].set(w)
        return self._invariants.dot(x, w[None])[0]

    def basis(self, graph: Graph) -> Properties:
        return generic_rows(self.energy_row, graph)

    def energy_row(self, graph: Graph) -> Array:
        """Derivatives of the energy by the coefficients, shape [P]."""
        steps, lost = self.located(graph)
        x = self._variables(steps)
        values = self._invariants(x, jnp.ones_like(x[0]))
        return poison(jnp.sum(values[self._kept] if self.fragments else values, axis=1), lost)

    def precision(self) -> Array:
        return jnp.eye(self.n_coefficients) / self.scale**2

    def with_coefficients(self, w: Array) -> "PIP":
        return self.replace(coefficients=w)
