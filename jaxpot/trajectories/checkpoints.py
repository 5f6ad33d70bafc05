"""Trajectories that remember the square root of what they pass, for gradients by everything they began with."""

import math
from collections.abc import Callable
from typing import Any

import jax

from jaxpot.md.system import State, System
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential

Array = jax.Array


def rollout(
    system: System,
    state: State,
    potential: Potential,
    *,
    steps: int,
    observe: Callable[[State], Any] | None = None,
    interval: int = 1,
) -> tuple[State, Any]:
    """A trajectory and what it shows on its way, to be differentiated by the potential, the system and the state of the start.

    The derivative is exact. A reverse pass keeps 2 to 3 √steps states and computes every force three times. Where gradients grow with
    the length, as in all that is chaotic, no choice of the way helps: see `reweighted` for means.

    Args:
      system: what moves; its masses, the numbers of its ensemble, its charge and field are leaves.
      state: of the start, such as `system.init(key, potential)`.
      potential: any potential; what follows from its leaves alone is made once.
      steps: how many, static.
      observe: state -> any arrays; None shows nothing.
      interval: steps between two observations, static; it divides `steps`.

    Returns:
      The last state, and observations after every interval, stacked along a first axis of steps / interval; None without `observe`.
      All are NaN from where the neighbour list no longer holds (`State.overflow`): give it room, with a larger skin or
      `System.reallocated`, and begin anew.

    Raises:
      ValueError: for an interval that does not divide the steps.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> from jaxpot.md import NVE, System
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> system = System(from_atoms(bulk("Ar", cubic=True), argon.reach), NVE(temperature=60.0, timestep=2.0))
      >>> def temperature(potential):
      ...     state, _ = rollout(system, system.init(jax.random.key(0), potential), potential, steps=20)
      ...     return system.observe(state, potential).temperature
      >>> jax.grad(temperature)(argon).sigma.shape
      ()
    """
    count = intervals(steps, interval, "rollout")
    potential = prepare(potential)

    def advance(state: State, _: None) -> tuple[State, Any]:
        state, _ = checkpointed_scan(lambda state, _: (system.step(state, potential), None), state, interval)
        return state, None if observe is None else observe(state)

    return checkpointed_scan(advance, state, count)


def intervals(steps: int, interval: int, name: str) -> int:
    """How many intervals there are.

    Raises:
      ValueError: for numbers that do not fit.
    """
    for word, value in (("steps", steps), ("interval", interval)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {word} must be a positive integer, got {value!r}")
    if steps % interval:
        raise ValueError(f"{name}: {steps} steps are not a multiple of the interval {interval}; write steps={steps - steps % interval or interval}")
    return steps // interval


def checkpointed_scan(function: Callable[[Any, None], tuple[Any, Any]], carry: Any, length: int) -> tuple[Any, Any]:
    """`jax.lax.scan` without inputs, whose reverse pass keeps 2 to 3 √length carries and one step at a time."""
    step = jax.checkpoint(function)
    inner = math.isqrt(length)
    whole = next(n for n in range(inner, 0, -1) if length % n == 0)
    if whole + length // whole <= 3 * math.sqrt(length):  # blocks of one length are compiled once
        inner = whole
    outer, rest = divmod(length, inner)

    @jax.checkpoint
    def block(carry, _):
        return jax.lax.scan(step, carry, None, length=inner)

    carry, found = jax.lax.scan(block, carry, None, length=outer)
    found = jax.tree_util.tree_map(lambda x: x.reshape(-1, *x.shape[2:]), found)
    if not rest:
        return carry, found
    carry, last = jax.checkpoint(lambda carry: jax.lax.scan(step, carry, None, length=rest))(carry)
    return carry, jax.tree_util.tree_map(lambda *x: jax.numpy.concatenate(x), found, last)
