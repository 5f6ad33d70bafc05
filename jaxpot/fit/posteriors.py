"""What a fit has learned of its uncertainty: the posterior of the coefficients, and variances and covariances of predictions."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import require_linear
from jaxpot.fit.lacking import warn_of_constants
from jaxpot.fit.rows import check_labels
from jaxpot.fit.solver import accumulate, forget, with_coefficients
from jaxpot.graph import Graph, only
from jaxpot.heads.references import references_of
from jaxpot.leaves import Leaf, Tree
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense, freeze
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.base import Model
from jaxpot.potentials.combinations import with_seen
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.potentials.linear import LinearModel
from jaxpot.potentials.tensors import TensorModel
from jaxpot.precision import promoted_pair
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class Posterior(Tree):
    r"""A fitted linear model with the posterior of its coefficients; made by `fit.posterior` and `fit.last_layer`, saved and loaded like a model.

    .. math:: w \sim N(\hat w, C C^T)

    Args:
      model: the fitted model, with the coefficients ŵ.
      factor: C, shape [P, P'], of the coefficients of all linear terms in order.
      roots: for each linear term the lower Cholesky factor of K_MM + jitter, shape [M, M], in eV; None for those whose functions span their
        prior, which are all but the Gaussian processes.

    Raises:
      TypeError: for a model that is not linear, or one whose posterior is not known.
      ValueError: if factor, roots and model do not fit each other.
    """

    model: Model
    factor: Leaf
    roots: tuple

    def __post_init__(self):
        terms = require_known(self.model)
        size = sum(term.n_coefficients for term in terms)
        if np.ndim(self.factor) != 2 or np.shape(self.factor)[0] != size:
            raise ValueError(f"Posterior: expected a factor [{size}, P'], got {np.shape(self.factor)}")
        expected = tuple((term.n_coefficients,) * 2 if is_kernel(term) else None for term in terms)
        if tuple(None if root is None else np.shape(root) for root in self.roots) != expected:
            raise ValueError(f"Posterior: expected roots of shapes {expected}, got {tuple(np.shape(root) for root in self.roots)}")

    @property
    def coefficients(self) -> Array:
        """ŵ of all linear terms in order, shape [P]."""
        return jnp.concatenate([_coefficients(term) for term in require_linear(self.model)])

    def variance(self, graph: Graph, weights: Array | None = None) -> Array:
        r"""Predictive variance of the energy of a structure, or of a weighted sum of its atomic energies.

        .. math:: \sum_t \left[k_{**} - k_*^T K_{MM}^{-1} k_*\right]_t + \left|\sum_t C_t^T k_{*t}\right|^2

        The first part, what the sparse points do not span, is that of Gaussian processes; other terms have the second only. Noise of the data
        enters through the posterior, that of a new observation is not added.

        Args:
          graph: one structure.
          weights: how often each atom counts, shape [N]; None is the energy of the structure, one-hot that of one atom.

        Returns:
          Shape [], in eV²; differentiable.

        Raises:
          TypeError: for weights where a term has no energies of single atoms, and for heads whose prior covariance is not known.
        """
        left, missing = self.energy_row(graph, weights)
        return missing + jnp.sum(left**2)

    def energy_row(self, graph: Graph, weights: Array | None = None) -> tuple[Array, Array]:
        """The two parts of `variance`: Cᵀk* [P'], and the variance that no coefficients explain []."""
        self, graph = promoted_pair(self, graph)
        missing, left = jnp.zeros(()), 0.0
        more = () if weights is None else (weights,)
        for term, factor, root in self._terms():
            if more and not isinstance(term, DescribedPotential):
                raise TypeError(f"{type(term).__name__} has no energies of single atoms; leave the weights out")
            own = only(graph, term.species)
            k = term.energy_row(own, *more)
            left = left + einsum("mp,m->p", factor, k)
            if root is not None:
                missing = missing + term.prior_covariance(own, own, *more) - _explained(root, k[None])[0, 0]
        return left, missing

    def covariance(self, graph: Graph) -> Array:
        """Predictive covariance of the energy and all forces of a structure.

        The prior covariance of two forces is the mixed second derivative of the kernel between a structure and itself, one
        forward derivative of a gradient for each of the 3N components: for small structures. `samples` are the cheap way.

        Args:
          graph: one structure.

        Returns:
          Shape [1 + 3N, 1 + 3N]: the energy, then the forces of atom 0, 1, … (x, y, z each); eV², eV²/Å and eV²/Å². Its diagonal are the
          variances.

        Raises:
          TypeError: for heads whose prior covariance is not known.
        """
        self, graph = promoted_pair(self, graph)
        n = graph.numbers.shape[0]
        total, left = jnp.zeros((1 + 3 * n, 1 + 3 * n)), 0.0
        for term, factor, root in self._terms():
            own = only(graph, term.species)
            rows = term.basis(own)
            rows = jnp.concatenate([rows.energy[None], rows.forces.reshape(3 * n, -1)])
            left = left + einsum("nm,mp->np", rows, factor)
            if root is not None:
                total = total + _prior_covariance(term, own) - _explained(root, rows)
        return total + einsum("ip,jp->ij", left, left)

    def samples(self, key: Array, n: int) -> Array:
        """Draws coefficients, for `fit.evaluate_samples`.

        Args:
          key: JAX random key.
          n: how many.

        Returns:
          Shape [n, P], P counting the coefficients of all linear terms in order.
        """
        deviations = jax.random.normal(key, (n, self.factor.shape[1]), self.factor.dtype)
        return self.coefficients[None, :] + einsum("sp,mp->sm", deviations, self.factor)

    def _terms(self) -> Iterator[tuple[LinearModel, Array, Array | None]]:
        """The linear terms, condensed; each with its rows of C, and its root."""
        start = 0
        for term, root in zip(require_linear(self.model), self.roots, strict=True):
            stop = start + term.n_coefficients
            yield condense(term), self.factor[start:stop], root
            start = stop


def posterior(
    model: Model,
    data: Dataset | Iterable[Any],
    *,
    sigma: Any = None,
    keys: Mapping[str, str] | None = None,
    method: str = "qr",
    checkpoint: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Posterior:
    r"""Fits a linear model as `fit.linear` does, in the same pass over the data, and keeps the posterior of its coefficients.

    .. math:: \mathrm{Cov}\, w = \left(A^T \Sigma^{-1} A + \Lambda\right)^{-1} = C C^T

    Args:
      model: a linear potential, or a Sum; fixed terms are subtracted from the data first.
      data: labels and their noise levels; or frames, with `sigma`.
      sigma, keys: with frames, as of `Dataset.from_atoms`.
      method: "qr" or "cholesky", as for `fit.linear`.
      checkpoint: likewise.
      progress: likewise.

    Returns:
      The Posterior; `posterior.model` is the fitted model.

    Raises:
      RuntimeError, TypeError, ValueError: as `fit.linear`; and for models of tensors and GradientDomain, whose posterior is not known.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import AtomicPotential, Linear, Properties, from_atoms
      >>> from jaxpot.descriptors import Constant
      >>> atoms = Atoms("H", info={"energy": -1.0})
      >>> found = posterior(AtomicPotential(Constant(("H",)), Linear(scale=1e3)), [atoms] * 4, sigma=Properties(energy=0.2))
      >>> float(found.variance(from_atoms(atoms, 1.0))).__round__(6)                        # 0.2² / 4
      0.01
    """
    require_x64("fit.posterior")
    if method not in ("qr", "cholesky"):
        raise ValueError(f'fit.posterior: method must be "qr" or "cholesky", got {method!r}; "lsqr" and "kernel" know no posterior')
    terms = require_known(model)
    data = Dataset.of(model, data, sigma=sigma, keys=keys, name="fit.posterior", labelled=True)
    check_labels(model, data)
    warn_of_constants(model, data)
    solver = accumulate(model, data, method, checkpoint, progress)
    fitted = with_seen(freeze(with_coefficients(model, jnp.asarray(solver.solve()))), (batch.graphs for batch in data.batches))
    out = of_solution(fitted, terms, solver.root, solver.factor())
    forget(checkpoint)
    return out


def of_solution(fitted: Model, terms: tuple[LinearModel, ...], root: np.ndarray, factor: np.ndarray) -> Posterior:
    """The posterior of a fitted model, whose linear terms these are, with the root of the prior and C."""
    edges = np.cumsum([0, *(term.n_coefficients for term in terms)])
    roots = (jnp.asarray(root[a:b, a:b]) if is_kernel(term) else None for term, a, b in zip(terms, edges, edges[1:], strict=False))
    return Posterior(fitted, jnp.asarray(factor), tuple(roots))


def require_known(model: Model) -> tuple[LinearModel, ...]:
    """The linear terms of a model whose posterior is known.

    Raises:
      TypeError: if there is none, or for models of tensors and GradientDomain.
    """
    terms = require_linear(model)
    for term in terms:
        if isinstance(term, TensorModel | GradientDomain):
            raise TypeError(f"the posterior of {type(term).__name__} is not known; write jaxpot.fit.linear(model, data), which fits it without")
    return terms


def is_kernel(term: LinearModel) -> bool:
    """Whether the functions of a term are kernels, which do not span its prior."""
    return references_of(getattr(term, "head", term)) is not None


def _coefficients(term: LinearModel) -> Array:
    return jnp.asarray(getattr(term, "head", term).coefficients)


def _explained(root: Array, k: Array) -> Array:
    """k* K_MM⁻¹ k*ᵀ [n, n] for rows k* [n, M]: how much of the prior covariance the sparse points span."""
    white = jax.scipy.linalg.solve_triangular(root, k.T, lower=True)
    return einsum("mi,mj->ij", white, white)


def _prior_covariance(term: LinearModel, graph: Graph) -> Array:
    """Of (energy, forces) with themselves, [1 + 3N, 1 + 3N]."""
    zero = jnp.zeros_like(graph.positions)

    def between(one, other):
        return term.prior_covariance(*(graph.replace(positions=r) for r in (one, other)))

    def row(other):
        value, slope = jax.value_and_grad(between)(graph.positions, other)
        return jnp.concatenate([value[None], -slope.reshape(-1)])

    def column(index):
        direction = zero.reshape(-1).at[index].set(1.0).reshape(zero.shape)
        return -jax.jvp(row, (graph.positions,), (direction,))[1]

    return jnp.concatenate([row(graph.positions)[None], jax.lax.map(column, jnp.arange(zero.size))])
