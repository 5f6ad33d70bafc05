"""The search for the parameters of highest probability, by L-BFGS-B or an optimizer of optax; it goes on after a kill."""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.fit.descent import like, plain, signature

Array = jax.Array

_UNTIL = "under way"
_SPREAD = 0.3  # standard deviation of restarts, of unconstrained parameters


class Seen(NamedTuple):
    """One evaluation: when, the value, numbers told beside it, and the unconstrained parameters."""

    restart: int
    step: int
    value: float
    told: tuple[float, ...]
    x: np.ndarray


class Best(NamedTuple):
    """The highest value so far, its unconstrained parameters, and how the search that found it ended."""

    value: float
    x: np.ndarray
    converged: bool
    message: str


class Search:
    """Where a search is, the best so far, and all that was seen.

    Args:
      name: of what is raised, for messages.
      params: unconstrained parameters of the start.
      function: (params, argument) -> the value to be raised, in nats per datum, and named numbers [] that are told beside it.
      argument: (restart, step) -> the function's argument; with L-BFGS-B always the same.
      described: params -> what stands for them in messages and histories.
      steps: most iterations of L-BFGS-B, or the steps of the optax optimizer.
      tolerance: L-BFGS-B has converged when no component of the gradient is larger.
      optimizer: of optax; None is L-BFGS-B.
      sampled: whether arguments are random subsets, so that single values do not tell which parameters are best.
      seed: of restarts.
      progress: as of `maximise_evidence`.
    """

    def __init__(
        self, name: str, params: Mapping[str, Array], function: Callable, argument: Callable, described: Callable, *, steps: int, tolerance: float,
        optimizer: Any, sampled: bool = False, seed: int = 0, progress: bool | None = None,
    ):  # fmt: skip
        self.names, self.shapes = list(params), [np.shape(v) for v in params.values()]
        self.start = np.concatenate([np.ravel(v) for v in params.values()]).astype(float)
        self.name, self.argument, self.describe, self.sampled, self.seed = name, argument, described, sampled, seed
        self.steps, self.tolerance, self.optimizer, self.progress = steps, tolerance, optimizer, progress
        self.checkpoint: Path | None = None
        self.restart, self.step, self.x, self.moments = 0, 0, self.start, None
        self.best = Best(-np.inf, self.start, False, "not started")
        self.told: tuple[str, ...] = ()
        self.history: list[Seen] = []
        self.slopes: list[np.ndarray] = []  # of all evaluations of L-BFGS-B in this restart, so that it can be led along them again
        self._value = jax.jit(jax.value_and_grad(lambda x, argument: function(self.params_of(x), argument), has_aux=True))

    def params_of(self, x: np.ndarray | Array) -> dict[str, Array]:
        pieces = jnp.split(jnp.asarray(x), np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1])
        return {name: piece.reshape(shape) for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)}

    def described(self, seen: Seen) -> dict[str, Any]:
        """An entry of the history, but for its value."""
        return {"restart": seen.restart, "step": seen.step} | dict(zip(self.told, seen.told, strict=True)) | self.describe(self.params_of(seen.x))

    def run(self, restarts: int = 0) -> None:
        """All starts that are left."""
        from tqdm import tqdm

        disable = None if self.progress is None else not self.progress
        while self.restart <= restarts:
            with tqdm(total=self.steps, initial=self.step, desc=f"{self.name}, start {self.restart}", unit="step", disable=disable) as bar:
                (self._lbfgs if self.optimizer is None else self._optax)(bar)
            self.restart, self.step, self.moments, self.slopes = self.restart + 1, 0, None, []
            self.x = self.start + _SPREAD * np.random.default_rng([self.seed, self.restart]).normal(size=self.start.shape)
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _evaluated(self, x: np.ndarray, bar: Any) -> tuple[float, np.ndarray, str]:
        """Value and gradient, and what is wrong with them if they are not finite."""
        (value, told), slope = self._value(jnp.asarray(x), self.argument(self.restart, self.step))
        self.told = tuple(told)
        seen = Seen(self.restart, self.step, float(value), tuple(map(float, told.values())), np.array(x))
        wrong = "" if np.isfinite(value) and np.all(np.isfinite(slope)) else self._why(seen)
        if wrong and not any(np.isfinite(s.value) for s in self.history if s.restart == self.restart):
            raise ValueError(f"{wrong}; jaxpot.diagnose(model, graph) says why")
        self.history.append(seen)
        bar.set_postfix_str(f"{seen.value:.5f} nats per datum")
        return seen.value, np.asarray(slope, float), wrong

    def _why(self, seen: Seen) -> str:
        bad = [name for name, value in zip(self.told, seen.told, strict=True) if not np.isfinite(value)]
        what = f"the {', '.join(bad) or self.name} is NaN" if bad or not np.isfinite(seen.value) else f"the gradient of the {self.name} is NaN"
        return f"{what} at {self.describe(self.params_of(seen.x))}"

    def _raised(self, value: float, x: np.ndarray) -> None:
        if value > self.best.value:
            self.best = Best(value, np.array(x), False, _UNTIL)

    def _ended(self, message: str) -> None:
        """Says of the best why its search stopped, if it is of this start."""
        if self.best.message == _UNTIL:
            self.best = self.best._replace(message=message)

    def _lbfgs(self, bar: Any) -> None:
        from scipy.optimize import minimize

        before = list(zip([s for s in self.history if s.restart == self.restart], self.slopes, strict=True))[::-1]
        self.step, bar.n = 0, 0
        lowest, turned = np.inf, ""

        def function(x):
            nonlocal lowest, turned
            if before and np.array_equal(before[-1][0].x, x):
                seen, slope = before.pop()
                value, wrong = seen.value, "" if np.isfinite(seen.value) and np.all(np.isfinite(slope)) else self._why(seen)
            else:
                before.clear()
                value, slope, wrong = self._evaluated(x, bar)
                self.slopes.append(slope)
                self.store()
            if wrong:
                turned = f"; turned back where {wrong}"
                return 1 - lowest, np.zeros_like(x)  # less than all that was seen
            lowest = min(lowest, value)
            self._raised(value, x)
            return -value, -slope

        def after(_):
            self.step += 1
            bar.update()

        options = {"maxiter": self.steps, "gtol": self.tolerance, "ftol": 1e-12}
        found = minimize(function, self.x, jac=True, method="L-BFGS-B", callback=after, options=options)
        if -found.fun >= self.best.value:
            self.best = Best(-float(found.fun), found.x, bool(found.status == 0), _UNTIL)
        self._ended(str(found.message) + turned)

    def _optax(self, bar: Any) -> None:
        import optax

        self.moments = self.moments if self.moments is not None else self.optimizer.init(jnp.asarray(self.x))
        message = f"{self.steps} steps" + " with minibatches" * self.sampled
        while self.step < self.steps:
            value, slope, wrong = self._evaluated(self.x, bar)
            if wrong:
                message = f"stopped before step {self.step + 1}: {wrong}; take smaller steps, or bounds"
                break
            if not self.sampled:
                self._raised(value, self.x)
            change, self.moments = self.optimizer.update(-jnp.asarray(slope), self.moments, jnp.asarray(self.x))
            self.x = np.asarray(optax.apply_updates(jnp.asarray(self.x), change))
            self.step += 1
            bar.update()
            self.store()
        if self.sampled:
            values = [s.value for s in self.history if s.restart == self.restart and np.isfinite(s.value)]
            self._raised(float(np.mean(values[-max(1, len(values) // 5) :])), self.x)
        self._ended(message)

    def keep(self, checkpoint: str | os.PathLike | None, mark: Callable[[list[str]], str]) -> None:
        """Keeps the search in this file from now on, and goes on from it if it is there.

        Args:
          checkpoint: the file; None keeps nothing.
          mark: of what belongs to the search, beside its parameters and its optimizer, to what tells it from others.

        Raises:
          ValueError: for a file that is not one of this search.
        """
        if checkpoint is None:
            return
        start = {"x": jnp.asarray(self.start)}
        own = [str(self.names), str(self.steps), *([] if self.optimizer is None else signature(self.optimizer, start))]
        self.checkpoint, self.mark = Path(checkpoint), mark(own)
        if not self.checkpoint.exists():
            return
        try:
            with np.load(self.checkpoint, allow_pickle=False) as file:
                state = dict(file)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{self.checkpoint} is not a readable checkpoint ({error}); remove it to start anew") from None
        if str(state.get("fingerprint", "")) != self.mark:
            raise ValueError(f"{self.checkpoint} belongs to another search (other model, data or settings); delete it or name another file")
        self.restart, self.step = (int(i) for i in state["place"])
        self.x, self.told, self.slopes = state["x"], tuple(map(str, state["told"])), list(state["slopes"])
        self.best = Best(float(state["best_value"]), state["best"], bool(state["converged"]), str(state["message"]))
        self.history = [Seen(int(a), int(b), c, tuple(told), x) for (a, b, c, *told), x in zip(state["seen"].tolist(), state["where"], strict=True)]
        if self.optimizer is not None:
            leaves, structure = jax.tree_util.tree_flatten(self.optimizer.init(jnp.asarray(self.x)))
            self.moments = jax.tree_util.tree_unflatten(structure, [like(leaf, state[f"moment{i}"]) for i, leaf in enumerate(leaves)])

    def store(self) -> None:
        if self.checkpoint is None:
            return
        moments = {f"moment{i}": plain(leaf) for i, leaf in enumerate(jax.tree_util.tree_leaves(self.moments))}
        arrays = {
            "fingerprint": self.mark, "x": self.x, "place": [self.restart, self.step], "told": np.array(self.told, str), "slopes": self.slopes,
            "best_value": self.best.value, "best": self.best.x, "converged": self.best.converged, "message": self.best.message,
            "seen": [[*s[:3], *s.told] for s in self.history], "where": [s.x for s in self.history],
        }  # fmt: skip
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_name(self.checkpoint.name + ".partial")
        with open(partial, "wb") as file:
            np.savez(file, **{name: np.array(value) for name, value in arrays.items()}, **moments)
        os.replace(partial, self.checkpoint)
