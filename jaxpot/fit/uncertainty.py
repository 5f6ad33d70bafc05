"""How far to trust a prediction: samples of the posterior, calibration of its deviations, and which structure to label next."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.solver import with_coefficients
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.passes import condense
from jaxpot.potentials.base import evaluate
from jaxpot.properties import Properties

Array = jax.Array


def evaluate_samples(posterior: Posterior, coefficients: Array, graph: Graph) -> Properties:
    """Energy, forces and virial for several sets of coefficients; the descriptor is computed once.

    The spread over `posterior.samples` is a cheap estimate of the predictive deviation, with a relative error of 1/√(2n) for n samples. It
    leaves out what the sparse points do not span (`posterior.variance` has it): it is too small far from all data.

    Args:
      posterior: of a linear model, or a Sum of such and fixed terms.
      coefficients: shape [n, P].
      graph: one structure.

    Returns:
      Properties with a leading axis n.
    """
    return jax.vmap(lambda w: evaluate(with_coefficients(posterior.model, w), graph))(coefficients)


def force_deviations(posterior: Posterior, graph: Graph) -> Array:
    r"""How uncertain the coefficients leave the force on every atom, from its rows of the design matrix, without drawing.

    .. math:: \sqrt{\mathrm{tr}\, \mathrm{Cov}\, F_i} = |A_i C|

    As `evaluate_samples` it leaves out what sparse points do not span, which `posterior.covariance` has; of heads that are not kernels it is all
    there is. It does not depend on the axes.

    Args:
      posterior: of a linear model, or a Sum of such and fixed terms.
      graph: one structure.

    Returns:
      Shape [N], in eV/Å; differentiable, 0 of padding atoms and where symmetry makes the force zero.
    """
    rows = design(condense(posterior.model), graph).forces
    left = einsum("nip,pq->niq", rows, jnp.asarray(posterior.factor, rows.dtype))
    return safe_norm(left.reshape(left.shape[0], -1))


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


def most_uncertain(posterior: Posterior, data: Dataset, m: int) -> tuple[int, ...]:
    """Which structures of a pool to label next: one after the other the one with the largest predictive deviation of the energy per atom,
    each time as if those chosen were already known.

    Args:
      posterior: of a linear model.
      data: the pool; labels are not looked at, noise levels of energies say how well a new label would be known.
      m: how many.

    Returns:
      Frame numbers, the most informative first.

    Raises:
      ValueError: if m is larger than the pool, or a pool structure has no noise level of the energy.
    """
    step = jax.jit(Posterior.energy_row)
    rows, missing, noise, atoms = [], [], [], []
    frames = []
    for frame, structure in data.structures():
        left, rest = step(posterior, structure.graphs)
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
