"""Hyper-parameters by gradient: the log evidence maximised through the descriptor."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.fit.evidence import log_evidence
from jaxpot.fit.rows import check_labels, count, first, only_labels, predicted
from jaxpot.fit.solver import fingerprint
from jaxpot.potentials.base import Model
from jaxpot.trees import free, walk

Array = jax.Array

_NOISE = "noise."  # parameters of this prefix are logarithms of factors on the noise levels
_SPREAD = 0.3  # standard deviation of restarts, of unconstrained parameters


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
    data: Dataset,
    *patterns: str,
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
      data: labels with noise levels.
      patterns: paths of the leaves to move, as in `free`, for example `"*.sigma"`, `"*.cutoff.radius"`; none with `noise` alone.
      bounds: pattern -> (lowest, highest), in the leaf's unit; a cutoff needs one, the radius of the neighbour lists.
      noise: properties whose noise levels get a common factor, for example ("energy", "forces").
      steps: most iterations of L-BFGS-B, or the steps of the optax optimizer.
      tolerance: L-BFGS-B has converged when no component of the gradient (nats per label) is larger.
      optimizer: an optax optimizer, for example `optax.adam(0.03)`; None is L-BFGS-B.
      batch: structures per step; None takes all. Needs an optimizer.
      restarts: further starts from parameters moved at random (normal, 0.3 in the unconstrained parameters); the best is kept.
      key: JAX random key; needed for restarts and minibatches.
      checkpoint: a file that keeps where the search is; called again after a kill it goes on from there. L-BFGS-B then forgets its
        curvature, optax nothing. Removed at the end.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Maximum.

    Raises:
      RuntimeError: without float64.
      ValueError: if nothing is to move, a pattern matches nothing, `batch` comes without an optimizer, a key is missing, the data have
        no labels of a property in `noise`, the checkpoint belongs to another search, or the evidence is NaN at the start.
      TypeError: if no term is linear.
    """
    require_x64("fit.maximise_evidence")
    check_labels(model, data)
    own = only_labels(data, predicted(model, first(data), design))
    params, build = _freed(model, own, patterns, bounds, noise)
    if batch is not None and optimizer is None:
        raise ValueError("maximise_evidence: minibatches need an optax optimizer; write optimizer=optax.adam(0.03)")
    if batch is not None and not 1 <= batch <= len(data):
        raise ValueError(f"maximise_evidence: batch = {batch}; expected 1 to {len(data)} structures")
    if key is None and (restarts or batch is not None):
        raise ValueError("maximise_evidence: restarts and minibatches are random; write key=jax.random.key(0)")
    rng = None if key is None else np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    path = None if checkpoint is None else Path(checkpoint)
    mark = "" if path is None else fingerprint(model, data, f"{sorted(params)} {bounds} {steps} {batch} {restarts} {optimizer is None} {key}")
    search = _Search(params, build, own, steps, tolerance, optimizer, batch, rng, path, mark, progress)
    search.restore()
    for restart in range(search.restart, restarts + 1):
        search.run(restart)
    if search.checkpoint is not None:
        search.checkpoint.unlink(missing_ok=True)
    best_model, scale = build(search.params_of(search.best[1]))
    history = tuple(search.described(entry) for entry in search.history)
    return Maximum(best_model, data.scale_noise(**scale), float(search.best[0]), search.best[2], search.best[3], history)


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


class _Search:
    """The state of a search: where it is, the best so far, and all that was seen."""

    def __init__(self, params, build, data, steps, tolerance, optimizer, batch, rng, checkpoint, mark, progress):
        self.names, self.shapes = list(params), [np.shape(v) for v in params.values()]
        self.start = np.concatenate([np.ravel(v) for v in params.values()]).astype(float)
        self.build, self.data, self.steps, self.tolerance, self.optimizer = build, data, steps, tolerance, optimizer
        self.share = None if batch is None else batch / len(data)
        self.rng, self.checkpoint, self.mark, self.progress = rng, checkpoint, mark, progress
        self.seed = None if rng is None else rng.integers(2**31)
        self.restart, self.step, self.x, self.moments = 0, 0, None, None
        self.best: tuple[float, np.ndarray, bool, str] = (-np.inf, self.start, False, "not started")
        self.history: list[tuple[int, int, float, np.ndarray]] = []
        self._objective = jax.jit(jax.value_and_grad(self._of))

    def params_of(self, x) -> dict[str, Array]:
        pieces = jnp.split(jnp.asarray(x), np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1])
        return {name: piece.reshape(shape) for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)}

    def _of(self, x, batches):
        model, factors = self.build(self.params_of(x))
        data = self.data.replace(batches=batches).scale_noise(**factors)
        return -log_evidence(model, data) / sum(count(b.sigma, model) for b in batches)

    def described(self, entry) -> dict[str, Any]:
        restart, step, evidence, x = entry
        model, factors = self.build(self.params_of(x))
        values = {path: np.asarray(value) for path, value, _ in walk(model) if path in self.names}
        return {"restart": restart, "step": step, "evidence": evidence} | values | {_NOISE + k: np.asarray(v) for k, v in factors.items()}

    def value_and_gradient(self, x, batches) -> tuple[float, np.ndarray]:
        value, gradient = self._objective(jnp.asarray(x), batches)
        return float(value), np.asarray(gradient, float)

    def run(self, restart: int) -> None:
        from tqdm import tqdm

        if self.x is None:
            noise = np.zeros_like(self.start) if restart == 0 else np.random.default_rng([self.seed, restart]).normal(size=self.start.shape)
            self.x, self.step, self.moments = self.start + _SPREAD * noise, 0, None
        self.restart = restart
        disable = None if self.progress is None else not self.progress
        with tqdm(total=self.steps, initial=self.step, desc=f"evidence, start {restart}", unit="step", disable=disable) as bar:
            (self._lbfgs if self.optimizer is None else self._optax)(bar)
        self.x, self.restart = None, restart + 1

    def _seen(self, x, evidence: float, bar) -> None:
        self.history.append((self.restart, self.step, evidence, np.array(x)))
        bar.set_postfix_str(f"{evidence:.5f} nats per label")

    def _lbfgs(self, bar) -> None:
        from scipy.optimize import minimize

        batches = self.data.batches
        worst = None

        def objective(x):
            nonlocal worst
            value, gradient = self.value_and_gradient(x, batches)
            if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
                if worst is None:
                    raise ValueError(f"the log evidence is NaN at {self.described((0, 0, value, x))}; jaxpot.diagnose(model, graph) says why")
                return worst + 1e3, np.zeros_like(x)  # the line search turns back
            worst = value if worst is None else max(worst, value)
            self._seen(x, -value, bar)
            if -value > self.best[0]:
                self.best = (-value, np.array(x), False, "stopped")
            return value, gradient

        def after(x):
            self.step += 1
            self.x = np.array(x)
            bar.update()
            self.store()

        left = max(1, self.steps - self.step)
        found = minimize(objective, self.x, jac=True, method="L-BFGS-B", callback=after, options={"maxiter": left, "gtol": self.tolerance, "ftol": 1e-12})
        if -found.fun >= self.best[0]:
            self.best = (-float(found.fun), found.x, bool(found.status == 0), str(found.message))

    def _optax(self, bar) -> None:
        import optax

        self.moments = self.moments if self.moments is not None else self.optimizer.init(jnp.asarray(self.x))
        recent: list[float] = []
        while self.step < self.steps:
            value, gradient = self.value_and_gradient(self.x, self._minibatch())
            if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
                where = self.described((0, 0, value, self.x))
                raise ValueError(f"the log evidence is NaN at step {self.step}, at {where}; take smaller steps, or bounds")
            self._seen(self.x, -value, bar)
            if self.share is None and -value > self.best[0]:
                self.best = (-value, np.array(self.x), False, f"{self.steps} steps")
            recent.append(-value)
            change, self.moments = self.optimizer.update(jnp.asarray(gradient), self.moments, jnp.asarray(self.x))
            self.x = np.asarray(optax.apply_updates(jnp.asarray(self.x), change))
            self.step += 1
            bar.update()
            self.store()
        if self.share is not None:
            last = float(np.mean(recent[-max(1, len(recent) // 5) :])) if recent else -np.inf
            if last > self.best[0]:
                self.best = (last, np.array(self.x), False, f"{self.steps} steps with minibatches")

    def _minibatch(self):
        """The same number of structures from every bucket at every step, so that shapes do not change."""
        if self.share is None:
            return self.data.batches
        rng = np.random.default_rng([self.seed, self.restart, self.step])
        chosen = []
        for batch, ids in zip(self.data.batches, self.data.index, strict=True):
            real = np.flatnonzero(np.asarray(ids) >= 0)
            take = rng.choice(real, max(1, round(self.share * len(real))), replace=False)
            chosen.append(jax.tree_util.tree_map(lambda leaf, take=take: leaf[np.sort(take)], batch))
        return tuple(chosen)

    def store(self) -> None:
        if self.checkpoint is None:
            return
        moments = {f"moment{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree_util.tree_leaves(self.moments))}
        history = {"seen": np.array([h[:3] for h in self.history], float), "where": np.array([h[3] for h in self.history])}
        best = {"best": self.best[1], "best_value": np.array(self.best[0])}
        partial = self.checkpoint.with_name(self.checkpoint.name + ".partial")
        with open(partial, "wb") as file:
            np.savez(
                file, fingerprint=np.array(self.mark), x=self.x, place=np.array([self.restart, self.step]), **moments, **history, **best,
            )  # fmt: skip
        os.replace(partial, self.checkpoint)

    def restore(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        with np.load(self.checkpoint, allow_pickle=False) as file:
            state = dict(file)
        if str(state["fingerprint"]) != self.mark:
            raise ValueError(f"{self.checkpoint} belongs to another search (other model, data or settings); delete it or name another file")
        self.restart, self.step = (int(i) for i in state["place"])
        self.x, self.best = state["x"], (float(state["best_value"]), state["best"], False, "stopped")
        self.history = [(int(a), int(b), float(c), w) for (a, b, c), w in zip(state["seen"], state["where"], strict=True)]
        leaves = [state[f"moment{i}"] for i in range(sum(name.startswith("moment") for name in state))]
        if self.optimizer is not None:
            structure = jax.tree_util.tree_structure(self.optimizer.init(jnp.asarray(self.x)))
            self.moments = jax.tree_util.tree_unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
