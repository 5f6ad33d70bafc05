"""One potential for labels and for measured properties: a sum of terms, minimised."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.fit.evidence import evidence_of, normal_equations
from jaxpot.fit.rows import check_labels, count, first, only_labels, predictable, predicted
from jaxpot.fit.search import Search
from jaxpot.fit.solver import fingerprint
from jaxpot.fit.validation import most_probable, squared_errors
from jaxpot.potentials.base import Model
from jaxpot.trees import free, walk

Array = jax.Array

_RESERVED = ("labels", "evidence", "value", "restart", "step")  # names that a history has already


class Measured(NamedTuple):
    """An observable: function of the model, what was measured, and its standard deviation of the same shape."""

    function: Callable[[Any], Array]
    target: np.ndarray
    sigma: np.ndarray


class Term(NamedTuple):
    """What a term has come to.

    Args:
      chi_square: squared errors in units of their uncertainties; of the evidence None.
      n: how many numbers are compared; chi_square is about as large where errors are as large as their uncertainties say.
      value: of an observable; of the evidence its logarithm, in nats; of labels None.
      target, sigma: of an observable, else None.
    """

    chi_square: float | None
    n: int
    value: np.ndarray | None = None
    target: np.ndarray | None = None
    sigma: np.ndarray | None = None


class Optimum(NamedTuple):
    """What `objective` found.

    Args:
      model: the best one; with the coefficients of largest posterior probability where the evidence is a term.
      value: of the objective, in nats per datum.
      converged: whether the optimiser says so.
      message: why it stopped.
      terms: by name, "labels" and "evidence" among them.
      history: one entry per evaluation, a mapping with "value", "step", chi_square of every term (of the evidence its logarithm), and every
        leaf that moves, in its own unit.
    """

    model: Any
    value: float
    converged: bool
    message: str
    terms: dict[str, Term]
    history: tuple[dict[str, Any], ...]

    def table(self) -> str:
        """The terms for people, a line each."""
        width = max(4, *map(len, self.terms))
        lines = [f"{'term':<{width}}  {'chi²':>10}  {'n':>7}  value"]
        for name, (chi_square, n, value, target, sigma) in self.terms.items():
            shown = "" if value is None else f"{value:.6g}" if np.ndim(value) == 0 else f"{np.size(value)} numbers"
            if target is not None and np.ndim(target) == 0:
                shown += f", measured {target:.6g} ± {sigma:.2g}"
            lines.append(f"{name:<{width}}  {'–' if chi_square is None else f'{chi_square:.4g}':>10}  {n:>7}  {shown}".rstrip())
        return "\n".join(lines)


def objective(
    model: Model,
    *patterns: str,
    labels: Dataset | None = None,
    evidence: Dataset | None = None,
    observables: Mapping[str, tuple[Callable[[Any], Array], jax.typing.ArrayLike, jax.typing.ArrayLike]] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    steps: int = 50,
    tolerance: float = 1e-5,
    optimizer: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Optimum:
    r"""Moves leaves of a potential to where labels and measured properties together are most probable.

    .. math:: L = \frac1n \left[\tfrac12 \sum_l \left(\frac{y_l - \hat y_l}{\sigma_l}\right)^2
       + \tfrac12 \sum_k \left(\frac{O_k - \hat O_k}{\sigma_k}\right)^2 - \log p\right]

    with labels l, observables k, the log evidence log p of a linear model, and n numbers in all. What weighs one term against another is its
    uncertainties alone; `labels.scale_noise(forces=3.0)` makes labels weigh less. With `evidence` the coefficients of a linear model are
    integrated out there, and labels and observables see the most probable ones, so the moved leaves are hyper-parameters.

    Without an optimizer it is SciPy's L-BFGS-B, which turns back where a term is NaN and so stays where everything has a value, such as where
    enough states of a sample count for `trajectories.reweighted`.

    Args:
      model: any potential; with `evidence` a linear one, or a Sum with linear terms.
      patterns: paths of the leaves to move, as in `free`, for example `"*.sigma"`, `"head.coefficients"`.
      labels: labelled structures with noise levels; those of what the model does not predict are left out.
      evidence: labelled structures whose log evidence counts; others than in `labels`, or they count twice.
      observables: by name (function, target, sigma): a function model -> array that JAX can differentiate, what was measured, and its
        standard deviation, of the same shape or one number for all.
      bounds: pattern -> (lowest, highest), in the leaf's unit.
      steps: most iterations of L-BFGS-B, or the steps of the optax optimizer.
      tolerance: L-BFGS-B has converged when no component of the gradient (nats per datum) is larger.
      optimizer: an optax optimizer, for example `optax.adam(0.03)`; None is L-BFGS-B.
      checkpoint: a file that keeps every evaluation; called again after a kill the search goes on from there, as if it had not been killed.
        Observables of another code that begin with the same values are not told apart. Removed at the end.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Optimum. Where a term, or the gradient, becomes NaN on the way no step is made there: L-BFGS-B turns back, a search with optax ends;
      it has not converged then or says where it turned, and the model is the best that was seen.

    Raises:
      RuntimeError: without float64.
      ValueError: if there is no term, a pattern matches nothing, an observable has another shape than its target, numbers that are not finite
        or no uncertainty, the data lack what the model predicts, the checkpoint belongs to another search, or a term is NaN at the start.
      TypeError: for an observable that is no such triple, or with `evidence` if no term of the model is linear.

    Example:
      >>> import jaxpot as jp
      >>> argon = jp.empirical.LennardJones(("Ar",), epsilon=0.02, sigma=3.6, cutoff=jp.cutoffs.PolynomialCutoff(8.0, width=2.0))
      >>> def well(potential):
      ...     return potential.pair(jnp.array([3.357, 3.768]), 0, 0)
      >>> found = objective(argon, "epsilon", "sigma", observables={"energies of the pair": (well, [0.0, -0.0123], 1e-4)})
      >>> found.converged, round(float(found.model.epsilon), 4), round(float(found.model.sigma), 3)
      (True, 0.0123, 3.357)
    """
    require_x64("fit.objective")
    measured = {name: _measured(name, term) for name, term in (observables or {}).items()}
    if labels is None and evidence is None and not measured:
        raise ValueError('fit.objective: there is nothing to fit to; write labels=data, or observables={"lattice constant": (function, 5.26, 0.01)}')
    params, build = free(model, *patterns, bounds=bounds)
    if labels is not None:
        labels = predictable(model, labels, "fit.objective: the data set")
    if evidence is not None:
        check_labels(model, evidence)
        evidence = only_labels(evidence, predicted(model, first(evidence), design))
    seen = jax.eval_shape(lambda model: terms_of(model, None, evidence, {})[1], model)
    for name, term in measured.items():
        if (shape := jax.eval_shape(term.function, seen).shape) != term.target.shape:
            raise ValueError(f"fit.objective: {name!r} has shape {shape} and its target {term.target.shape}; they must be the same")
    numbers = _numbers(model, labels, evidence, measured)
    batches = _batches(labels), _batches(evidence)

    def of(params: Mapping[str, Array], batches: tuple) -> tuple[dict[str, Array], Model]:
        own = (data if data is None else data.replace(batches=part) for data, part in zip((labels, evidence), batches, strict=True))
        return terms_of(build(params), *own, measured)

    def per_datum(params: Mapping[str, Array], batches: tuple) -> tuple[Array, dict[str, Array]]:
        told, _ = of(params, batches)
        squares = sum(value for name, value in told.items() if name != "evidence")
        return (told.get("evidence", 0) - 0.5 * squares) / sum(numbers.values()), told

    @jax.jit
    def shown(params: Mapping[str, Array], batches: tuple) -> tuple[dict[str, Array], dict[str, Array], Model]:
        told, seen = of(params, batches)
        return told, {name: term.function(seen) for name, term in measured.items()}, seen

    def described(params: Mapping[str, Array]) -> dict[str, Any]:
        return {path: np.asarray(value) for path, value, _ in walk(build(params)) if path in params}

    def mark(own: list[str]) -> str:
        _, values, _ = shown(params, batches)
        start = {name: [f"{x:.5g}" for x in np.ravel(value)] for name, value in values.items()}
        terms = {name: (term.target.tolist(), term.sigma.tolist(), start[name]) for name, term in measured.items()}
        return fingerprint(model, (labels, evidence), f"objective {own} {sorted((bounds or {}).items())} {terms}")

    search = Search(
        "objective", params, per_datum, lambda restart, step: batches, described,
        steps=steps, tolerance=tolerance, optimizer=optimizer, progress=progress,
    )  # fmt: skip
    search.keep(checkpoint, mark)
    search.run()
    best = search.params_of(search.best.x)
    told, values, seen = shown(best, batches)
    history = tuple({"value": -one.value} | search.described(one) for one in search.history)
    found = build(best) if evidence is None else seen
    return Optimum(found, -search.best.value, search.best.converged, search.best.message, _terms(numbers, measured, told, values), history)


def terms_of(model: Model, labels: Dataset | None, evidence: Dataset | None, measured: Mapping[str, Measured]) -> tuple[dict[str, Array], Model]:
    """Chi² of labels and observables and the log evidence, each [], by name; and the model that labels and observables see."""
    told = {}
    if evidence is not None:
        root, sums = normal_equations(model, evidence)
        told["evidence"] = evidence_of(sums)
        model = most_probable(model, root, sums)
    if labels is not None:
        told["labels"] = squared_errors(model, labels)[0]
    for name, (function, target, sigma) in measured.items():
        told[name] = jnp.sum(((function(model) - target) / sigma) ** 2)
    return told, model


def _measured(name: str, term: Any) -> Measured:
    """An observable as it was given, checked."""
    if not (isinstance(term, tuple | list) and len(term) == 3 and callable(term[0])):
        raise TypeError(f"fit.objective: the observable {name!r} must be (function, target, sigma), got {term!r:.100}")
    if name in _RESERVED:
        raise ValueError(f"fit.objective: an observable cannot be called {name!r}, which the history has already; choose another name")
    target, sigma = (np.asarray(x, float) for x in term[1:])
    if not np.all(np.isfinite(target)) or not (np.all(np.isfinite(sigma)) and np.all(sigma > 0)) or sigma.shape not in ((), target.shape):
        raise ValueError(
            f"fit.objective: {name!r} needs a finite target and a positive standard deviation of its shape {target.shape} or one for all, "
            f"got the target {term[1]!r:.60} and sigma {term[2]!r:.60}"
        )
    return Measured(term[0], target, np.broadcast_to(sigma, target.shape))


def _batches(data: Dataset | None) -> tuple:
    return () if data is None else data.batches


def _numbers(model: Model, labels: Dataset | None, evidence: Dataset | None, measured: Mapping[str, Measured]) -> dict[str, int]:
    """How many numbers every term compares."""
    given = {"evidence": evidence, "labels": labels}
    of_data = {name: int(sum(count(batch.sigma, model) for batch in data.batches)) for name, data in given.items() if data is not None}
    return of_data | {name: term.target.size for name, term in measured.items()}


def _terms(numbers: dict[str, int], measured: Mapping[str, Measured], told: Mapping[str, Array], values: Mapping[str, Array]) -> dict[str, Term]:
    """What the terms have come to."""
    terms = {}
    for name, n in numbers.items():
        if name == "evidence":
            terms[name] = Term(None, n, np.asarray(told[name]))
        elif name == "labels":
            terms[name] = Term(float(told[name]), n)
        else:
            terms[name] = Term(float(told[name]), n, np.asarray(values[name]), measured[name].target, measured[name].sigma)
    return terms
