"""Laws to which a class of one's own is held: invariance, silence at the cutoff, and derivatives against finite differences.

Each function returns nothing or raises an AssertionError of one line: the law, by how much it is broken, and where.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.descriptors.base import Descriptor
from jaxpot.graph import Graph, from_atoms, rotate, strain
from jaxpot.math.linalg import einsum
from jaxpot.math.wigner import random_rotation, wigner_d
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.trees import free, walk

__all__ = ["check_derivatives", "check_invariance"]

_STEP = 1e-3  # Å, strain, or relative; central differences of fourth order leave 1e-12
_PER_ATOM = ("features", "forces")
_BEYOND = 1.05  # of the reach, for which neighbour lists are made: leaves such as a radius move


def check_invariance(model: Descriptor | Potential, atoms: Any, *, tolerance: float = 1e-9, seed: int = 0) -> None:
    """Translation, rotation, order of the atoms, padding, and an atom that crosses the cutoff.

    Args:
      model: a Descriptor, whose features [N, F] are invariant or [N, F, 2λ+1] turn with the Wigner-D matrix of λ, or a Potential.
      atoms: `ase.Atoms`, better without symmetry, of elements that the model knows.
      tolerance: of the largest of the values that are compared; at the cutoff 1e5 times that, for a shift of 2e-6 Å.
      seed: of the random translation, rotation and order.

    Raises:
      AssertionError: for a law that does not hold.

    Example:
      >>> import ase.build
      >>> from jaxpot import GTO, SOAP, CosineCutoff, Density
      >>> check_invariance(SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(2), l_max=1, sigma=0.5)), ase.build.bulk("Si"))
    """
    require_x64("check_invariance")
    _require_kind(model)
    cutoff, n, random = _BEYOND * float(model.reach) or 1.0, len(atoms), np.random.default_rng(seed)
    n_slots = from_atoms(atoms, cutoff).neighbors.shape[1]

    def values(atoms: Any, change: Callable[[Graph], Graph] = lambda graph: graph, more: int = 0) -> dict[str, np.ndarray]:
        graph = from_atoms(atoms, cutoff, max_atoms=max(n, 2) + more, max_neighbors=n_slots + 1 + more)  # of one shape: compiled once
        found = _values(model, change(graph))
        return {name: np.asarray(value)[:n] if name in _PER_ATOM else np.asarray(value) for name, value in found.items()}

    first = values(atoms)
    sizes = {name: max(np.max(np.abs(value), initial=0), 1e-12) for name, value in first.items()}

    def same(law: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray] = first, tolerance: float = tolerance) -> None:
        for name, value in found.items():
            worst = np.max(np.abs(value - expected[name]), initial=0) / sizes[name]
            assert worst <= tolerance, f"{type(model).__name__}: {law} changes the {name} by {worst:.2g} of the largest, expected at most {tolerance:.2g}"

    moved = atoms.copy()
    moved.translate(random.uniform(-3, 3, 3))
    same("translation", values(moved))
    rotation = random_rotation(jax.random.key(seed))
    turned = {name: _turned(value, np.asarray(rotation), name) for name, value in first.items()}
    same("rotation", values(atoms, lambda graph: rotate(graph, rotation)), turned)
    order = random.permutation(n)
    same("the order of the atoms", values(atoms[order]), {name: value[order] if name in _PER_ATOM else value for name, value in first.items()})
    same("padding", values(atoms, more=2))
    if float(model.reach):
        symbols, places = [atoms.symbols[0], atoms.symbols[-1]], float(model.reach) + np.array([-1e-6, 1e-6])
        inside, outside = (values(type(atoms)(symbols, [[0.0, 0.0, 0.0], [0.0, 0.0, place]])) for place in places)
        same("an atom that crosses the cutoff", inside, outside, 1e5 * tolerance)


def check_derivatives(model: Descriptor | Potential, atoms: Any, *, tolerance: float = 1e-6, seed: int = 0) -> None:
    """Derivatives by positions, strain and every leaf, along one random direction each; forces and virial of a Potential.

    Args:
      model: a Descriptor, of which a random weighted sum of all features is taken, or a Potential.
      atoms: `ase.Atoms`, without symmetry: at a point of symmetry many wrong derivatives are zero too.
      tolerance: of the derivative, or of the value where that is larger.
      seed: of the directions.

    Raises:
      AssertionError: for a derivative that differs from finite differences.

    Example:
      >>> import ase
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.potentials.pair import LennardJones
      >>> check_derivatives(LennardJones(("Ar",), 0.01, 3.4, cutoff=CosineCutoff(5.0)), ase.Atoms("Ar2", [[0, 0, 0], [3.0, 1.0, 0]]))
    """
    require_x64("check_derivatives")
    _require_kind(model)
    graph, random = from_atoms(atoms, _BEYOND * float(model.reach) or 1.0), np.random.default_rng(seed)
    params, build = free(model, "*") if any(np.issubdtype(np.asarray(leaf).dtype, np.floating) for _, leaf, _ in walk(model)) else ({}, lambda _: model)
    tilt = random.normal(size=(3, 3))
    steps = {"positions": random.normal(size=graph.positions.shape), "strain": 0.5 * (tilt + tilt.T)}
    steps |= {f"leaf {path}": random.normal(size=value.shape) * np.maximum(np.abs(value), 1.0) for path, value in params.items()}
    real = graph.numbers > 0
    shape = jax.eval_shape(model, graph).shape  # of an energy, or of features
    weights = jnp.where(real.reshape(-1, *(1,) * (len(shape) - 1)), random.normal(size=shape), 0) if shape else 1.0

    def value(along: Mapping[str, jax.Array]) -> jax.Array:
        changed = build({path: x + along[f"leaf {path}"] * steps[f"leaf {path}"] for path, x in params.items()})
        moved = strain(graph.replace(positions=graph.positions + along["positions"] * steps["positions"]), along["strain"] * steps["strain"])
        return jnp.sum(weights * changed(moved))

    still = dict.fromkeys(steps, 0.0)
    both = jax.jit(jax.value_and_grad(value))
    size, slopes = both(still)
    numeric, found = _differences(lambda along: both(along)[0], still), {name: float(slope) for name, slope in slopes.items()}
    if not shape:
        predicted = _values(model, graph)
        found |= {name: -float(np.vdot(predicted[name], steps[by])) for name, by in (("forces", "positions"), ("virial", "strain"))}
        numeric |= {"forces": numeric["positions"], "virial": numeric["strain"]}
    for name, slope in found.items():
        error = abs(slope - numeric[name])
        assert error <= tolerance * max(abs(numeric[name]), abs(float(size)), 1e-12), (
            f"{type(model).__name__}: along a random direction the derivative by {name} is {slope:.8g}, by finite differences {numeric[name]:.8g}"
        )


def _require_kind(model: Any) -> None:
    if not isinstance(model, Descriptor | Potential):
        name = type(model).__name__
        raise TypeError(f"expected a Descriptor or a Potential, got {name}; write class {name}(jaxpot.LocalDescriptor) or another of these interfaces")


@jax.jit
def _values(model: Any, graph: Graph) -> dict[str, jax.Array]:
    """What the laws are of."""
    if isinstance(model, Descriptor):
        return {"features": model(graph)}
    found = evaluate(model, graph)
    return {"energy": found.energy, "forces": found.forces, "virial": found.virial}


def _turned(value: np.ndarray, rotation: np.ndarray, name: str) -> np.ndarray:
    """Values after a rotation of the structure."""
    if name == "forces":
        return value @ rotation.T
    if name == "virial":
        return rotation @ value @ rotation.T
    if value.ndim == 3:
        lam = value.shape[-1] // 2
        return np.asarray(einsum("mn,ifn->ifm", wigner_d(rotation, lam)[lam], value))
    return value


def _differences(value: Callable[[dict[str, Any]], jax.Array], still: dict[str, float]) -> dict[str, float]:
    """Central differences of fourth order, one coordinate at a time."""

    def odd(name: str, step: float) -> float:
        return (float(value(still | {name: step})) - float(value(still | {name: -step}))) / (2 * step)

    return {name: (4 * odd(name, _STEP) - odd(name, 2 * _STEP)) / 3 for name in still}
