"""Trajectories that are run backwards for their gradient, which so needs the memory of one step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxpot.md.ensembles import NVE, NVT
from jaxpot.md.system import State, System
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.trajectories.checkpoints import intervals
from jaxpot.trees import set_fields

Array = jax.Array


def rollout_reversible(
    system: System,
    state: State,
    potential: Potential,
    *,
    steps: int,
    observe: Callable[[State], Any] | None = None,
    interval: int = 1,
) -> tuple[State, Any]:
    """As `rollout`, with a reverse pass that steps back through the trajectory instead of remembering it.

    Velocity Verlet and Nosé–Hoover chains are symmetric in time: a step of −Δt undoes one of Δt up to round-off. So memory does not grow
    with the number of steps; every force is computed four times. Round-off grows as distances between trajectories do, and reaches
    10⁻⁹ Å after some thousand steps in float64; in float32 use `rollout`.

    Args:
      system: what moves, in `NVE` or `NVT`.
      state: of the start.
      potential: any potential.
      steps: how many, static.
      observe: state -> any arrays; None shows nothing.
      interval: steps between two observations, static; it divides `steps`.

    Returns:
      As `rollout`.

    Raises:
      TypeError: for an ensemble that cannot run backwards.
      ValueError: for an interval that does not divide the steps.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> from jaxpot.md import System
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> system = System(from_atoms(bulk("Ar", cubic=True), argon.reach), NVE(temperature=60.0, timestep=2.0))
      >>> start = system.init(jax.random.key(0), argon)
      >>> end, _ = rollout_reversible(system, start, argon, steps=10)
      >>> again, _ = rollout_reversible(backwards(system), end, argon, steps=10)
      >>> bool(abs(again.motion.momentum - start.motion.momentum).max() < 1e-12)
      True
    """
    count = intervals(steps, interval, "rollout_reversible")
    if not isinstance(system.ensemble, NVE | NVT):
        name = type(system.ensemble).__name__
        raise TypeError(f"rollout_reversible: a trajectory in {name} cannot be run backwards; write rollout(system, state, potential, steps={steps})")
    given, structure = jax.tree_util.tree_flatten((system, prepare(potential)))
    closed, hoisted = (None, ()) if observe is None else jax.closure_convert(observe, state)

    def step(given: list, state: State, backward: bool = False) -> State:
        system, potential = jax.tree_util.tree_unflatten(structure, given)
        return (backwards(system) if backward else system).step(state, potential)

    def forward(given: list, state: State, hoisted: tuple) -> tuple[State, Any]:
        def advance(state, _):
            state = jax.lax.fori_loop(0, interval, lambda _, state: step(given, state), state)
            return state, None if closed is None else closed(state, *hoisted)

        return jax.lax.scan(advance, state, None, length=count)

    @jax.custom_vjp
    def trajectory(given, state, hoisted):
        return forward(given, state, hoisted)

    def keep_the_end(given, state, hoisted):
        end, found = forward(given, state, hoisted)
        return (end, found), (given, end, hoisted)

    def back(kept, slopes):
        given, end, hoisted = kept
        by_end, by_found = map(_numbers, slopes)

        def step_back(_, carry):
            after, by_after, by_given = carry
            before = step(given, after, backward=True)
            more, by_before = _pulled(step, (given, before), by_after)
            return before, by_before, _added(by_given, more)

        def interval_back(carry, by_observed):
            after, by_after, by_given, by_hoisted = carry
            if closed is not None:
                more, by_closed = _pulled(lambda state, hoisted: closed(state, *hoisted), (after, hoisted), by_observed)
                by_after, by_hoisted = _added(by_after, more), _added(by_hoisted, by_closed)
            return (*jax.lax.fori_loop(0, interval, step_back, (after, by_after, by_given)), by_hoisted), None

        start = (end, by_end, *(list(map(jnp.zeros_like, _numbers(tree))) for tree in (given, hoisted)))
        (_, *by), _ = jax.lax.scan(interval_back, start, by_found, length=count, reverse=True)
        by_state, by_given, by_hoisted = by
        return _in_place(given, by_given), _in_place(end, by_state), _in_place(hoisted, by_hoisted)

    trajectory.defvjp(keep_the_end, back)
    return trajectory(given, state, hoisted)


def backwards(system: System) -> System:
    """The same system with time reversed: its steps undo those of the system."""
    return set_fields(system, ensemble=set_fields(system.ensemble, timestep=-jnp.asarray(system.ensemble.timestep)))


def _is_number(leaf: Any) -> bool:
    """Whether it has derivatives; what counts, lists or draws has none."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _numbers(tree: Any) -> list[Array]:
    return [leaf for leaf in jax.tree_util.tree_leaves(tree) if _is_number(leaf)]


def _in_place(tree: Any, numbers: list[Array]) -> Any:
    """Derivatives by the numbers of a tree in their places; None, which is zero, in all others."""
    leaves, structure = jax.tree_util.tree_flatten(tree)
    numbers = iter(numbers)
    return jax.tree_util.tree_unflatten(structure, [next(numbers) if _is_number(leaf) else None for leaf in leaves])


def _pulled(function: Callable, trees: tuple, slopes: list[Array]) -> tuple[list[Array], ...]:
    """Derivatives by the numbers of the arguments, given those by the numbers of the result."""

    def of_numbers(*numbers):
        whole = []
        for tree, own in zip(trees, numbers, strict=True):
            leaves, structure = jax.tree_util.tree_flatten(tree)
            own = iter(own)
            whole.append(jax.tree_util.tree_unflatten(structure, [next(own) if _is_number(leaf) else leaf for leaf in leaves]))
        return _numbers(function(*whole))

    return jax.vjp(of_numbers, *map(_numbers, trees))[1](slopes)


def _added(one: list[Array], other: list[Array]) -> list[Array]:
    return [x + y for x, y in zip(one, other, strict=True)]
