"""Potentials from measured means: states of the potential of the moment, and a step of Gauss and Newton as far as enough of these states count.

With x what is moved (unconstrained, as `jaxpot.trees.free` has it), O(x) the means, J their derivative by reweighting and s the widths of the prior

    step = argmin |(O + J step − goal)/σ|² + |(x + step − origin)/s|²

is shortened until the share of states that count for x + step is large enough; there the potential is simulated anew. A step asks for one
derivative, and its functions are compiled once for all turns. Every turn is stored, so that a search that was killed goes on.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxpot as jp
from jaxpot import trajectories

_SHORTER = 0.7


class Search:
    """Where a search is.

    Args:
      potential: where it begins.
      widths: path of every leaf that moves -> how far it may be from where it began (of positive ones the logarithm), a number or an array.
      means: (potential, sample) -> [O], to be differentiated by the potential.
      goal, sigma: what was measured, and how closely it is asked for, shape [O].
      least: share of the states that must count after a step.
      path: where turns are stored; None stores nothing. A search that is stored there already goes on.
      together: how many of the last turns count for a step, their means brought to its x by the mean of their slopes: where steps are small, the noise
        of each turn is what leads astray.
      slopes: (x -> potential, x, sample) -> the derivative of the means by x, [O, L]; None pushes every leaf through `means`.
    """

    def __init__(
        self,
        potential: jp.Potential,
        widths: dict[str, Any],
        means: Callable,
        goal: np.ndarray,
        sigma: np.ndarray,
        *,
        least: float,
        path: Path | None,
        slopes: Callable | None = None,
        together: int = 1,
    ):
        free, build = jp.trees.free(potential, *widths)
        self.origin, unravel = ravel_pytree(free)
        self.width = ravel_pytree({name: jnp.broadcast_to(jnp.asarray(widths[name], float), np.shape(value)) for name, value in free.items()})[0]
        self.goal, self.sigma, self.least, self.path = np.asarray(goal), np.broadcast_to(sigma, np.shape(goal)), least, path
        self.together = together
        self.build = jax.jit(lambda x: build(unravel(x)))
        self.turns: list[dict] = json.loads(path.read_text()) if path is not None and path.exists() else []
        self._means = jax.jit(lambda x, sample: means(self.build(x), sample))
        self._slopes = jax.jit(jax.jacfwd(self._means) if slopes is None else lambda x, sample: slopes(self.build, x, sample))
        self._share = jax.jit(lambda x, s: trajectories.reweighted(s, lambda graph: jnp.zeros(()), self.build(x), least=0.0).effective)

    @property
    def x(self) -> jax.Array:
        """Where the next turn samples."""
        return jnp.asarray(self.turns[-1]["next"]) if self.turns else self.origin

    @property
    def found(self) -> jax.Array:
        """Mean of where the last turns that count together have sampled: at the end they scatter about it by their noise."""
        return jnp.mean(jnp.asarray([turn["x"] for turn in self.turns[-self.together :]]), axis=0)

    def turn(self, sampled: Callable[[jp.Potential, int], Any], told: Callable[[jp.Potential], dict] = lambda potential: {}) -> dict:
        """One turn: states, a step; what has been measured is `means`, at the leaves `x`, with what else is told of the potential.

        Args:
          sampled: (potential, number of the turn) -> what `means` wants of it; a Sample, or a tuple that begins with one.
          told: potential -> numbers to store beside the means.
        """
        began, x, potential = time.monotonic(), self.x, self.build(self.x)
        sample = sampled(potential, len(self.turns))
        states = sample if isinstance(sample, trajectories.Sample) else sample[0]
        own, J = np.asarray(self._means(x, sample)), np.asarray(self._slopes(x, sample))
        recent = self.turns[len(self.turns) - min(self.together - 1, len(self.turns)) :]
        mean_J = np.mean([J, *(turn["slopes"] for turn in recent if "slopes" in turn)], axis=0)
        mean = np.mean([own, *(np.array(turn["means"]) + mean_J @ (np.asarray(x) - turn["x"]) for turn in recent)], axis=0)
        rows = np.concatenate([mean_J / self.sigma[:, None], np.diag(1 / self.width)])
        step = np.linalg.lstsq(rows, np.concatenate([(self.goal - mean) / self.sigma, (self.origin - x) / self.width]), rcond=None)[0]
        part = 1.0
        while not float(self._share(x + part * step, states)) >= self.least:
            part *= _SHORTER
        found = {"x": x.tolist(), "means": own.tolist(), "part": part, "next": (x + part * step).tolist(), "seconds": time.monotonic() - began}
        for turn in self.turns[: len(self.turns) - max(self.together - 2, 0)]:
            turn.pop("slopes", None)  # of no use to later turns
        self.turns.append(found | ({"slopes": J.tolist()} if self.together > 1 else {}) | told(potential))
        if self.path is not None:
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(json.dumps(self.turns) + "\n")
        return self.turns[-1]
