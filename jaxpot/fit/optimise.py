"""Hyper-parameters by gradient: the log evidence maximised through the descriptor."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.fit.evidence import log_evidence
from jaxpot.fit.rows import check_labels, count, first, only_labels, predicted
from jaxpot.fit.search import Search
from jaxpot.fit.solver import fingerprint
from jaxpot.potentials.base import Model
from jaxpot.trees import free, walk

Array = jax.Array

_NOISE = "noise."  # parameters of this prefix are logarithms of factors on the noise levels


class Maximum(NamedTuple):
    """What `maximise_evidence` found.

    Args:
      model: with the best hyper-parameters, not fitted; write `fit.linear(maximum.model, maximum.data)`.
      data: with the best noise levels.
      evidence: log evidence per label, in nats; of the last minibatches where there are any.
      converged: whether the optimiser says so; never True with minibatches.
      message: why it stopped.
      history: one entry per evaluation, a mapping with "evidence" and every parameter in its own unit, "restart" and "step".
    """

    model: Any
    data: Dataset
    evidence: float
    converged: bool
    message: str
    history: tuple[dict[str, Any], ...]


def maximise_evidence(
    model: Model,
    data: Dataset | Iterable[Any],
    *patterns: str,
    sigma: Any = None,
    keys: Mapping[str, str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    noise: tuple[str, ...] = (),
    steps: int = 50,
    tolerance: float = 1e-5,
    optimizer: Any = None,
    batch: int | None = None,
    restarts: int = 0,
    key: Array | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Maximum:
    r"""Moves hyper-parameters and noise levels uphill in `log_evidence`; sparse points kept as environments follow them.

    Without an optimizer, SciPy's L-BFGS-B on all data: few evaluations, and it knows when it has converged. With one from optax, that many
    steps of it; `batch` structures at random for each step then make the objective the evidence of a random subset, per label.

    Args:
      model: a linear model or a Sum with linear terms.
      data: labels with noise levels; or frames, with `sigma`.
      patterns: paths of the leaves to move, as in `free`, for example `"*.sigma"`, `"*.cutoff.radius"`; none with `noise` alone.
      sigma, keys: with frames, as of `Dataset.from_atoms`; their neighbour lists reach as far as the model, so a cutoff that is to grow needs a Dataset.
      bounds: pattern -> (lowest, highest), in the leaf's unit; a cutoff needs one, the radius of the neighbour lists.
      noise: properties whose noise levels get a common factor, for example ("energy", "forces").
      steps: most iterations of L-BFGS-B, or the steps of the optax optimizer.
      tolerance: L-BFGS-B has converged when no component of the gradient (nats per label) is larger.
      optimizer: an optax optimizer, for example `optax.adam(0.03)`; None is L-BFGS-B.
      batch: structures per step; None takes all. Needs an optimizer.
      restarts: further starts from parameters moved at random (normal, 0.3 in the unconstrained parameters); the best is kept.
      key: JAX random key; needed for restarts and minibatches.
      checkpoint: a file that keeps every evaluation; called again after a kill the search goes on from there, as if it had not been killed.
        Removed at the end.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Maximum.

    Raises:
      RuntimeError: without float64.
      ValueError: if nothing is to move, a pattern matches nothing, `batch` comes without an optimizer, a key is missing, the data have
        no labels of a property in `noise`, the checkpoint belongs to another search, or the evidence is NaN at the start. NaN later makes
        L-BFGS-B turn back, and ends a search with optax before that step; the message says where.
      TypeError: if no term is linear.
    """
    require_x64("fit.maximise_evidence")
    data = Dataset.of(model, data, sigma=sigma, keys=keys, name="fit.maximise_evidence", labelled=True)
    check_labels(model, data)
    own = only_labels(data, predicted(model, first(data), design))
    params, build = _freed(model, own, patterns, bounds, noise)
    if batch is not None and optimizer is None:
        raise ValueError("maximise_evidence: minibatches need an optax optimizer; write optimizer=optax.adam(0.03)")
    if batch is not None and not 1 <= batch <= len(data):
        raise ValueError(f"maximise_evidence: batch = {batch}; expected 1 to {len(data)} structures")
    if key is None and (restarts or batch is not None):
        raise ValueError("maximise_evidence: restarts and minibatches are random; write key=jax.random.key(0)")
    seed = 0 if key is None else int(np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32)).integers(2**31))

    def per_label(params: Mapping[str, Array], batches: tuple) -> tuple[Array, dict]:
        moved, factors = build(params)
        evidence = log_evidence(moved, own.replace(batches=batches).scale_noise(**factors))
        return evidence / sum(count(b.sigma, moved) for b in batches), {}

    def described(params: Mapping[str, Array]) -> dict[str, Any]:
        moved, factors = build(params)
        leaves = {path: np.asarray(value) for path, value, _ in walk(moved) if path in params}
        return leaves | {_NOISE + name: np.asarray(factor) for name, factor in factors.items()}

    def batches_of(restart: int, step: int) -> tuple:
        return own.batches if batch is None else _minibatch(own, batch / len(own), [seed, restart, step])

    search = Search(
        "log evidence", params, per_label, batches_of, described,
        steps=steps, tolerance=tolerance, optimizer=optimizer, sampled=batch is not None, seed=seed, progress=progress,
    )  # fmt: skip
    search.keep(checkpoint, lambda mark: fingerprint(model, data, f"evidence {mark} {bounds} {noise} {batch} {restarts} {seed}"))
    search.run(restarts)
    found, scale = build(search.params_of(search.best.x))
    history = tuple({"evidence": seen.value} | search.described(seen) for seen in search.history)
    return Maximum(found, data.scale_noise(**scale), search.best.value, search.best.converged, search.best.message, history)


def _freed(model: Model, data: Dataset, patterns: tuple[str, ...], bounds: Mapping | None, noise: tuple[str, ...]) -> tuple[dict[str, Array], Callable]:
    """Unconstrained parameters, and what makes (model, noise factors) of them."""
    if not patterns and not noise:
        raise ValueError('maximise_evidence: nothing to move; give a pattern such as "*.sigma", or noise=("energy", "forces")')
    params, build = free(model, *patterns, bounds=bounds) if patterns else ({}, lambda params: model)
    for name in noise:
        levels = [getattr(b.sigma, name, None) for b in data.batches]
        if not any(level is not None and np.any(np.isfinite(level)) for level in levels):
            raise ValueError(f"maximise_evidence: the data have no labels of {name}, whose noise level should move")

    def both(all_params):
        of_noise = {name: jnp.exp(all_params[_NOISE + name]) for name in noise}
        return build({k: v for k, v in all_params.items() if not k.startswith(_NOISE)}), of_noise

    return dict(params) | {_NOISE + name: jnp.zeros(()) for name in noise}, both


def _minibatch(data: Dataset, share: float, seed: list[int]) -> tuple:
    """The same number of structures from every bucket at every step, so that shapes do not change."""
    rng, chosen = np.random.default_rng(seed), []
    for batch, ids in zip(data.batches, data.index, strict=True):
        real = np.flatnonzero(np.asarray(ids) >= 0)
        take = rng.choice(real, max(1, round(share * len(real))), replace=False)
        chosen.append(jax.tree_util.tree_map(lambda leaf, take=take: leaf[np.sort(take)], batch))
    return tuple(chosen)
