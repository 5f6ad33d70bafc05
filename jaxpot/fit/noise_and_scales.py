"""Noise levels and scales of priors of a linear fit at the maximum of its evidence, from one pass over the data."""

import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import linear_terms
from jaxpot.fit.lacking import warn_of_constants
from jaxpot.fit.posteriors import Posterior, of_solution, require_known
from jaxpot.fit.rows import check_labels
from jaxpot.fit.solver import accumulate, forget, reflected, with_coefficients
from jaxpot.heads.linear import Linear
from jaxpot.passes import freeze
from jaxpot.potentials.base import Model, terms_of, with_terms
from jaxpot.potentials.combinations import with_seen

_CHANGE = 1e-3  # of the logarithm of a level, with which the search ends
_NOTHING = 1e-6  # coefficients of a term; where labels determine less they have no need of it, and its scale stays where it has come to
_EXACT = 1e-14  # of the square of labels, which their residual has from round-off alone


class Levels(NamedTuple):
    """What `fit.levels` finds.

    Args:
      posterior: the fitted model, whose heads have the scales that were found, with the posterior of its coefficients.
      noise: kind of label -> the factor on its noise levels, for `Dataset.scale_noise`.
      scales: for every linear term the factor on the scale of its head; 1 of heads that are not `Linear`, whose prior stays.
      evidence: logarithm of the marginal likelihood, in nats.
      converged: whether no level was still changing.
    """

    posterior: Posterior
    noise: dict[str, float]
    scales: tuple[float, ...]
    evidence: float
    converged: bool


def levels(
    model: Model, data: Dataset | Iterable[Any], *, sigma: Any = None, keys: Mapping[str, str] | None = None, common: bool = False,
    rounds: int = 100, checkpoint: str | os.PathLike | None = None, progress: bool | None = None,
) -> Levels:  # fmt: skip
    r"""Fits a linear model with the noise level of every kind of label, and the scale of every `Linear` head, that make the data most probable.

    .. math:: f_k^2 = \frac{|y_k - A_k \hat w|^2_{\Sigma_k}}{n_k - \gamma_k}, \qquad a_t^2 = \frac{|\hat w_t|^2_{\Lambda_t}}{\gamma_t}

    with γ the number of coefficients that labels of kind k, or all for term t, determine; the two are repeated until they hold. It is
    `maximise_evidence` of these levels alone, for the cost of one fit by "cholesky" and of a factorisation a round: the sums over the
    data of every kind are made once. Errors of what the basis cannot represent count as noise, so deviations of predictions become as large
    as errors are. The scale of a term for which the labels have no use ends near zero.

    Args:
      model: a linear potential, or a Sum; fixed terms are subtracted from the data first.
      data: labels and noise levels, of which the ratios within a kind count; or frames, with `sigma`.
      sigma, keys: with frames, as of `Dataset.from_atoms`.
      common: one factor for all kinds of labels, so that the ratios of noise levels are those given. Errors of energies and forces that a basis
        makes are no independent noise, and where there are far more forces the evidence gives energies up for little; deviations of energies
        are then too small.
      rounds: at most so many.
      checkpoint: a file in which the sums are kept while they are made, as of `fit.linear`.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      Levels; `levels.posterior.model` is the fitted model.

    Raises:
      RuntimeError, TypeError, ValueError: as `fit.posterior`; a kind of label that is fitted exactly has no noise level, a ValueError as well.

    References:
      MacKay, "Bayesian interpolation", Neural Comput. 4, 415 (1992).

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import AtomicPotential, Properties
      >>> from jaxpot.descriptors import Constant
      >>> frames = [Atoms("H", info={"energy": e}) for e in (-1.1, -0.9, -1.1, -0.9)]
      >>> found = levels(AtomicPotential(Constant(("H",)), Linear()), frames, sigma=Properties(energy=1.0))
      >>> {name: round(factor, 3) for name, factor in found.noise.items()}
      {'energy': 0.115}
    """
    from scipy.linalg import solve_triangular

    require_x64("fit.levels")
    if not (isinstance(rounds, int) and rounds > 0):
        raise ValueError(f"fit.levels: rounds must be a positive whole number, got {rounds!r}")
    terms = require_known(model)
    data = Dataset.of(model, data, sigma=sigma, keys=keys, name="fit.levels", labelled=True)
    check_labels(model, data)
    warn_of_constants(model, data)
    solver = accumulate(model, data, "levels", checkpoint, progress)
    edges = np.cumsum([0, *(term.n_coefficients for term in terms)])
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    found = _climb(solver.kinds, solver.sums(), solver.axis, parts, [isinstance(getattr(term, "head", None), Linear) for term in terms], common, rounds)
    chosen = list(terms_of(model))
    for i, factor in zip(linear_terms(model), found.scales, strict=True):
        chosen[i] = chosen[i] if factor == 1 else chosen[i].replace(head=chosen[i].head.replace(scale=factor * chosen[i].head.scale))
    coefficients = solve_triangular(solver.root.T, found.mean)
    inverse = solve_triangular(np.linalg.cholesky(found.curvature), np.eye(edges[-1]), lower=True).T
    factor = solve_triangular(solver.root.T, reflected(inverse, solver.axis))
    fitted = freeze(with_coefficients(with_terms(model, chosen), jnp.asarray(coefficients)))
    fitted = with_seen(fitted, (batch.graphs for batch in data.batches))
    forget(checkpoint)
    noise = dict(zip(solver.kinds, found.noise.tolist(), strict=True))
    return Levels(of_solution(fitted, terms, solver.root, factor), noise, tuple(found.scales.tolist()), found.evidence, found.converged)


class _State(NamedTuple):
    """Where the climb is: factors, and the Gaussian of the coefficients in the prior's coordinates, its curvature in reflected ones."""

    noise: np.ndarray
    scales: np.ndarray
    mean: np.ndarray
    curvature: np.ndarray
    evidence: float
    converged: bool


def _climb(
    kinds: tuple[str, ...], sums: tuple[np.ndarray, ...], axis: np.ndarray, parts: list[slice], free: list[bool], common: bool, rounds: int
) -> _State:  # fmt: skip
    """Repeats MacKay's two rules, from the levels as they are given."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    grams, projected, squares, counts, log_sigma = sums
    sizes = np.array([part.stop - part.start for part in parts])
    noise, scales, converged = np.ones(len(kinds)), np.ones(len(parts)), False
    for left in reversed(range(rounds)):
        prior = np.repeat(scales**-2.0, sizes)
        curvature, right = np.tensordot(noise**-2, grams, 1) + reflected(reflected(np.diag(prior), axis).T, axis), noise**-2 @ projected
        try:
            factor = cho_factor(curvature)
        except LinAlgError as error:
            raise ValueError(
                f"fit.levels: float64 cannot hold what labels and prior say of {len(prior)} coefficients together (factors of scales {scales}, of noise "
                f"{noise}); write fewer functions, larger noise levels, or fit.linear"
            ) from error
        turned = cho_solve(factor, right)
        logs = np.sum(np.log(prior)) - 2 * np.sum(np.log(np.diagonal(factor[0]))) - np.sum(log_sigma + counts * np.log(2 * np.pi * noise**2))
        evidence, mean = 0.5 * float(logs - noise**-2 @ squares + turned @ right), reflected(turned, axis)
        if converged or not left:
            break
        inverse = cho_solve(factor, np.eye(len(mean)))
        rest = squares - 2 * projected @ turned + (grams @ turned) @ turned
        undetermined = counts - np.sum(inverse * grams, axis=(1, 2)) * noise**-2
        sizes_of = squares
        if common:
            rest, undetermined, sizes_of = (np.full(len(kinds), np.sum(x)) for x in (rest, undetermined, squares))
        exact = (rest <= _EXACT * sizes_of) | (undetermined <= 0)
        if np.any(exact):
            kind = ", ".join(kinds) if common else kinds[np.argmax(exact)]
            raise ValueError(f"fit.levels: the labels of {kind} are fitted exactly, so they do not say how noisy they are; give more of them")
        across = inverse @ axis
        variances = np.diagonal(inverse) - 4 * axis * across + 4 * axis**2 * (axis @ across)  # of the coefficients: the diagonal of the inverse, reflected
        determined = sizes - np.array([np.sum(variances[part]) for part in parts]) * scales**-2
        sized = np.sqrt(np.array([mean[part] @ mean[part] for part in parts]) / np.maximum(determined, _NOTHING))
        moved, found = np.sqrt(rest / undetermined), np.where(np.array(free) & (determined > _NOTHING), sized, scales)
        converged = bool(np.max(np.abs(np.log(np.concatenate([moved / noise, found / scales])))) < _CHANGE)
        noise, scales = moved, found
    return _State(noise, scales, mean, curvature, evidence, converged)
