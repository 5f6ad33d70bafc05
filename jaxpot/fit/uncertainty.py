"""How far to trust a prediction: posterior variances and covariances of energies and forces, and samples of the posterior."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.design import design, linear_terms, require_linear
from jaxpot.graph import Graph, only
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import LinearModel, Potential, Sum, evaluate, terms_of
from jaxpot.properties import Properties
from jaxpot.pytree import set_fields

Array = jax.Array


def variance(model: Potential, graph: Graph) -> Array:
    r"""Predictive variance of the energy of a structure, for a model fitted with `covariance=True`.

    .. math:: \sum_t \left[k_{**} - k_*^T K_{MM}^{-1} k_*\right]_t + \left|\sum_t C_t^T k_{*t}\right|^2

    The first part, what the sparse points do not span, is that of SparseGP terms; a Linear head has the second only. Noise of the data
    enters through the posterior, that of a new observation is not added.

    Args:
      model: a fitted linear model, or a Sum of such and fixed terms.
      graph: one structure.

    Returns:
      Shape [], in eV²; differentiable.

    Raises:
      ValueError: if the model was fitted without its covariance.
      TypeError: for terms whose variance is not known.
    """
    left, missing = _energy_row(_terms(model), graph)
    return missing + jnp.sum(left**2)


def covariance(model: Potential, graph: Graph) -> Array:
    r"""Predictive covariance of the energy and all forces of a structure, for a model fitted with `covariance=True`.

    The prior covariance of two forces is the mixed second derivative of the kernel between a structure and itself, one
    forward derivative of a gradient for each of the 3N components: for small structures. `posterior_samples` is the cheap way.

    Args:
      model: a fitted linear model, or a Sum of such and fixed terms.
      graph: one structure.

    Returns:
      Shape [1 + 3N, 1 + 3N]: the energy, then the forces of atom 0, 1, … (x, y, z each); eV², eV²/Å and eV²/Å². Its diagonal are the
      variances.

    Raises:
      ValueError: if the model was fitted without its covariance.
      TypeError: for terms whose variance is not known.
    """
    terms, n = _terms(model), graph.numbers.shape[0]
    total, left = jnp.zeros((1 + 3 * n, 1 + 3 * n)), 0.0
    for term in terms:
        own = only(graph, term.species)
        rows = design(term, own)
        rows = jnp.concatenate([rows.energy[None], rows.forces.reshape(3 * n, -1)])
        left = left + einsum("nm,mp->np", rows, term.head.covariance)
        if isinstance(term.head, SparseGP):
            total = total + _prior_covariance(term, own) - term.head.explained(rows)
    return total + einsum("ip,jp->ij", left, left)


def _prior_covariance(term: AtomicPotential, graph: Graph) -> Array:
    """Of (energy, forces) with themselves, [1 + 3N, 1 + 3N]."""
    ready, zero = condense(term), jnp.zeros_like(graph.positions)

    def between(one, other):
        return ready.head.prior_covariance(*(ready.weighted(graph.replace(positions=r)) for r in (one, other)))

    def row(other):
        value, slope = jax.value_and_grad(between)(graph.positions, other)
        return jnp.concatenate([value[None], -slope.reshape(-1)])

    def column(index):
        direction = zero.reshape(-1).at[index].set(1.0).reshape(zero.shape)
        return -jax.jvp(row, (graph.positions,), (direction,))[1]

    return jnp.concatenate([row(graph.positions)[None], jax.lax.map(column, jnp.arange(zero.size))])


def posterior_samples(model: Potential, n: int, *, key: Array) -> Array:
    """Draws coefficients from the posterior, for a model fitted with `covariance=True`.

    Args:
      model: a fitted linear model, or a Sum of such and fixed terms.
      n: how many.
      key: JAX random key.

    Returns:
      Shape [n, P], P counting the coefficients of all linear terms in order.

    Raises:
      ValueError: if the model was fitted without its covariance.
    """
    terms = _terms(model)
    mean = jnp.concatenate([term.head.coefficients for term in terms])
    root = jnp.concatenate([term.head.covariance for term in terms])
    return mean[None, :] + einsum("sp,mp->sm", jax.random.normal(key, (n, root.shape[1]), root.dtype), root)


def evaluate_samples(model: Potential, coefficients: Array, graph: Graph) -> Properties:
    """Energy, forces and virial for several sets of coefficients; the descriptor is computed once.

    The spread over `posterior_samples` is a cheap estimate of the predictive deviation, with a relative error of 1/√(2n) for n samples. It
    leaves out what the sparse points do not span (`variance` has it): it is too small far from all data.

    Args:
      model: a fitted linear model, or a Sum of such and fixed terms.
      coefficients: shape [n, P].
      graph: one structure.

    Returns:
      Properties with a leading axis n.
    """
    linear = linear_terms(model)
    sizes = np.cumsum([terms_of(model)[i].n_coefficients for i in linear])

    def one(w):
        pieces = iter(jnp.split(w, sizes[:-1]))
        new = tuple(
            set_fields(term, head=set_fields(term.head, coefficients=next(pieces))) if i in linear else term for i, term in enumerate(terms_of(model))
        )
        return evaluate(Sum(new) if isinstance(model, Sum) else new[0], graph)

    return jax.vmap(one)(coefficients)


def _terms(model: Potential) -> tuple[AtomicPotential, ...]:
    """The linear terms, ready; each with its covariance."""
    terms = require_linear(model)
    for term in terms:
        if not isinstance(term, AtomicPotential):
            raise TypeError(f"the variance of {type(term).__name__} in a Sum is not known; only that of AtomicPotential is")
        if term.head.covariance is None:
            raise ValueError("the model was fitted without its covariance; write jaxpot.fit.linear(model, data, covariance=True)")
    return tuple(map(condense, terms))


def calibration(errors: np.ndarray, deviations: np.ndarray, *, level: float = 0.9) -> float:
    """The factor on predicted deviations with which a share `level` of these errors lies inside the Gaussian interval of that level.

    Args:
      errors: prediction minus truth, any shape.
      deviations: predicted standard deviations, the same shape.
      level: between 0 and 1.

    Returns:
      The factor. Choose it on data that are not those whose coverage is then reported.

    Raises:
      ValueError: for a level outside (0, 1), shapes that differ, or deviations that are not positive.

    Example:
      >>> calibration(np.array([2.0, -2.0, 2.0]), np.ones(3), level=0.6827).__round__(2)
      2.0
    """
    from scipy.stats import norm

    if not 0 < level < 1:
        raise ValueError(f"calibration: level must be between 0 and 1, got {level}")
    return float(np.quantile(_ratio(errors, deviations), level) / norm.ppf(0.5 + level / 2))


def _ratio(errors: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    errors, deviations = np.asarray(errors), np.asarray(deviations)
    if errors.shape != deviations.shape or not errors.size:
        raise ValueError(f"expected errors and deviations of one shape, not empty, got {errors.shape} and {deviations.shape}")
    if not (np.all(np.isfinite(errors)) and np.all(deviations > 0)):
        raise ValueError("errors must be finite and deviations positive; leave out components that symmetry makes zero, whose deviation is round-off")
    return np.abs(errors / deviations).reshape(-1)


def coverage(errors: np.ndarray, deviations: np.ndarray, levels: Sequence[float] = (0.5, 0.68, 0.9, 0.95, 0.99)) -> dict[float, float]:
    """Which share of errors lies inside the Gaussian intervals of these levels: equal to the level if the deviations are right.

    Args:
      errors: prediction minus truth, any shape.
      deviations: predicted standard deviations, the same shape.
      levels: nominal levels.

    Returns:
      The share for each level.

    Raises:
      ValueError: for shapes that differ, or deviations that are not positive.

    Example:
      >>> coverage(np.array([-0.5, 0.2, 3.0, 1.0]), np.ones(4), levels=(0.68,))
      {0.68: 0.5}
    """
    from scipy.stats import norm

    ratio = _ratio(errors, deviations)
    return {level: float(np.mean(ratio <= norm.ppf(0.5 + level / 2))) for level in levels}


def most_uncertain(model: Potential, data: Dataset, m: int) -> tuple[int, ...]:
    """Which structures of a pool to label next: one after the other the one with the largest predictive deviation of the energy per atom,
    each time as if those chosen were already known.

    Args:
      model: a linear model fitted with `covariance=True`.
      data: the pool; labels are not looked at, noise levels of energies say how well a new label would be known.
      m: how many.

    Returns:
      Frame numbers, the most informative first.

    Raises:
      ValueError: if m is larger than the pool, or a pool structure has no noise level of the energy.
    """
    terms = _terms(model)
    step = jax.jit(_energy_row)
    rows, missing, noise, atoms = [], [], [], []
    frames = []
    for frame, structure in data.structures():
        left, rest = step(terms, structure.graphs)
        rows.append(np.asarray(left))
        missing.append(float(rest))
        noise.append(np.inf if structure.sigma.energy is None else float(structure.sigma.energy))
        atoms.append(data.n_atoms[frame])
        frames.append(frame)
    if not 1 <= m <= len(frames):
        raise ValueError(f"most_uncertain: m = {m}; the pool has {len(frames)} structures")
    if not np.all(np.isfinite(noise)):
        raise ValueError("most_uncertain: a structure has no noise level of its energy; write Dataset.from_atoms(..., sigma=noise_levels(0.001))")
    left, missing, noise, atoms = np.array(rows), np.array(missing), np.array(noise), np.array(atoms)
    chosen: list[int] = []
    for _ in range(m):
        spread = np.sqrt(np.maximum(missing + np.sum(left**2, axis=1), 0)) / atoms
        spread[chosen] = -1
        best = int(np.argmax(spread))
        chosen.append(best)
        # a label of it: the posterior loses the direction that it measures
        direction = left[best] / np.sqrt(np.sum(left[best] ** 2) + missing[best] + noise[best] ** 2)
        shrink = 1 - np.sqrt(max(1 - direction @ direction, 0.0))
        along = left @ direction / max(direction @ direction, 1e-300)
        left = left - shrink * along[:, None] * direction[None, :]
    return tuple(frames[i] for i in chosen)


def _energy_row(terms: tuple[LinearModel, ...], graph: Graph) -> tuple[Array, Array]:
    """Cᵀk* of the energy [P], and the variance that the sparse points do not span []."""
    missing, left = jnp.zeros(()), 0.0
    for term in terms:
        own = only(graph, term.species)
        k = term.basis(own)
        left = left + einsum("mp,m->p", term.head.covariance, k)
        if isinstance(term.head, SparseGP):
            missing = missing + term.head.unspanned(term.weighted(own), k)
    return left, missing
