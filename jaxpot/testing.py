"""Laws to which a class of one's own is held: `check` knows those of its interface.

Each function returns nothing or raises an AssertionError of one line: the law, by how much it is broken, and where.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.expansion import Expansion, is_local
from jaxpot.graph import Graph, from_atoms, rotate, strain
from jaxpot.heads.base import Head
from jaxpot.laws import check_cutoff, check_head, check_kernel, check_radial, check_tree, leaf_steps, leaves, require_same, require_slopes, slopes
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.kernels import Kernel
from jaxpot.math.linalg import einsum
from jaxpot.math.wigner import random_rotation, wigner_d
from jaxpot.potentials.base import LocalPotential, Potential, evaluate
from jaxpot.radial.base import RadialBasis

__all__ = ["check", "check_derivatives", "check_invariance"]

_KINDS = "a descriptor, a head, a cutoff function, radial functions, a kernel or a potential"
_PER_ATOM = ("features", "forces")
_FEATURES = 5  # of heads and kernels that do not say
_BEYOND = 1.05  # of the reach, for which neighbour lists are made: leaves such as a radius move


def check(thing: Any, example: Any = None, *, tolerance: float = 1e-6, seed: int = 0) -> None:
    """Holds an object of one's own to every law of its interface.

    - All: flattened, saved and loaded it is the same, compiled it computes the same; derivatives by its arguments and by every leaf are those
      of finite differences.
    - Descriptors and potentials: `check_invariance` and `check_derivatives`.
    - Heads: one energy for each atom, of its own features alone; of linear ones basis and prior.
    - Cutoff functions: zero from the radius on, where value and slope do not jump; each distance alone; single precision.
    - Radial functions: finite from 0 to the radius, none a sum of the others; each distance alone; single precision.
    - Kernels: symmetric, positive semidefinite, with finite derivatives where vectors are equal; single precision.

    Args:
      thing: a Descriptor, Head, Cutoff, RadialBasis, Kernel or Potential; a head with its coefficients.
      example: what it is tried on: of a descriptor or potential `ase.Atoms`, of a head features [N, F] and species [N], of a kernel vectors
        [N, F]. None makes some at random, for heads that do not say their n_features and for kernels with F = 5.
      tolerance: of derivatives.
      seed: of what is random.

    Raises:
      AssertionError: for the first law that does not hold, with figures.
      TypeError: for what has no laws.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> check(CosineCutoff(5.0))
    """
    require_x64("check")
    random = np.random.default_rng(seed)
    if isinstance(thing, Descriptor | Potential):
        atoms = _atoms(thing, random) if example is None else example
        check_invariance(thing, atoms, seed=seed)
        check_derivatives(thing, atoms, tolerance=tolerance, seed=seed)
        graph = from_atoms(atoms, _BEYOND * float(thing.reach) or 1.0)
        check_tree(thing, lambda own: jnp.concatenate([jnp.ravel(value) for value in _predicted(own, graph).values()]))
    elif isinstance(thing, Head):
        n_species, n_features = getattr(thing, "n_species", None) or 1, getattr(thing, "n_features", None) or _FEATURES
        features, species = (random.uniform(0.2, 1, (6, n_features)), np.arange(6) % n_species) if example is None else example
        check_head(thing, np.asarray(features), np.asarray(species), seed, tolerance)
    elif isinstance(thing, Kernel):
        check_kernel(thing, random.uniform(0.2, 1, (6, _FEATURES)) if example is None else np.asarray(example), seed, tolerance)
    elif isinstance(thing, Cutoff):
        check_cutoff(thing, seed, tolerance)
    elif isinstance(thing, RadialBasis):
        check_radial(thing, seed, tolerance)
    else:
        write = f"; write check(jaxpot.SOAP({type(thing).__name__}(...)))" if isinstance(thing, Expansion) else ""
        raise TypeError(f"check: expected {_KINDS}, got {type(thing).__name__}{write}")


def _atoms(model: Descriptor | Potential, random: np.random.Generator) -> Any:
    """Atoms of all elements at random, no nearer than those of a molecule; of what is local in a crystal."""
    from ase import Atoms
    from ase.data import atomic_numbers, covalent_radii

    symbols, reach = (model.species * 4)[: max(4, 2 * len(model.species))], float(model.reach)
    distance = 1.8 * max(covalent_radii[atomic_numbers[symbol]] for symbol in symbols)
    distance = min(distance, 0.6 * reach) if reach else distance
    cell = 1.3 * distance * len(symbols) ** (1 / 3) * (np.eye(3) + 0.05 * random.normal(size=(3, 3)))
    periodic = isinstance(model, LocalPotential) or (isinstance(model, Descriptor) and is_local(model))
    atoms = Atoms(cell=cell, pbc=periodic)
    while len(atoms) < len(symbols):
        more = atoms + Atoms(symbols[len(atoms)], [random.uniform(size=3) @ cell])
        if not len(atoms) or np.min(more.get_distances(-1, range(len(atoms)), mic=periodic)) > distance:
            atoms = more
    return atoms


def check_invariance(model: Descriptor | Potential, atoms: Any, *, tolerance: float = 1e-9, seed: int = 0) -> None:
    """Translation, rotation (of a potential reflection), order of the atoms, padding, longer lists, and an atom that crosses the cutoff.

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

    def values(atoms: Any, change: Callable[[Graph], Graph] = lambda graph: graph, more: int = 0, longer: float = 1.0) -> dict[str, np.ndarray]:
        slots = n_slots + 1 + more if longer == 1.0 else None
        graph = from_atoms(atoms, longer * cutoff, max_atoms=max(n, 2) + more, max_neighbors=slots)  # of one shape: compiled once
        found = _values(model, change(graph))
        return {name: np.asarray(value)[:n] if name in _PER_ATOM else np.asarray(value) for name, value in found.items()}

    first = values(atoms)

    def same(law: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray] = first, tolerance: float = tolerance) -> None:
        for name, value in found.items():
            size = max(np.max(np.abs(first[name]), initial=0), 1e-12)
            require_same(model, law, value, expected[name], tolerance, name, size)

    moved = atoms.copy()
    moved.translate(random.uniform(-3, 3, 3))
    same("translation", values(moved))
    rotation = random_rotation(jax.random.key(seed))
    for law, matrix in (("rotation", rotation), ("reflection", -rotation))[: 2 if isinstance(model, Potential) else 1]:
        turned = {name: _turned(value, np.asarray(matrix), name) for name, value in first.items()}
        same(law, values(atoms, lambda graph, matrix=matrix: rotate(graph, matrix)), turned)
    order = random.permutation(n)
    same("the order of the atoms", values(atoms[order]), {name: value[order] if name in _PER_ATOM else value for name, value in first.items()})
    same("padding", values(atoms, more=2))
    same("a longer list of neighbours", values(atoms, longer=1.3))
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
    params, build = leaves(model)
    tilt = random.normal(size=(3, 3))
    steps = {"positions": random.normal(size=graph.positions.shape), "strain": 0.5 * (tilt + tilt.T)} | leaf_steps(params, random)
    real = graph.numbers > 0
    shape = jax.eval_shape(model, graph).shape  # of an energy, or of features
    weights = jnp.where(real.reshape(-1, *(1,) * (len(shape) - 1)), random.normal(size=shape), 0) if shape else 1.0

    def value(along: Mapping[str, jax.Array]) -> jax.Array:
        changed = build({path: x + along[f"leaf {path}"] * steps[f"leaf {path}"] for path, x in params.items()})
        moved = strain(graph.replace(positions=graph.positions + along["positions"] * steps["positions"]), along["strain"] * steps["strain"])
        return jnp.sum(weights * changed(moved))

    size, found, numeric = slopes(value, list(steps))
    if not shape:
        predicted = _values(model, graph)
        found |= {name: -float(np.vdot(predicted[name], steps[by])) for name, by in (("forces", "positions"), ("virial", "strain"))}
        numeric |= {"forces": numeric["positions"], "virial": numeric["strain"]}
    require_slopes(model, size, found, numeric, tolerance)


def _require_kind(model: Any) -> None:
    if not isinstance(model, Descriptor | Potential):
        name = type(model).__name__
        raise TypeError(f"expected a Descriptor or a Potential, got {name}; write class {name}(jaxpot.LocalDescriptor) or another of these interfaces")


def _predicted(model: Any, graph: Graph) -> dict[str, jax.Array]:
    """What the laws are of."""
    if isinstance(model, Descriptor):
        return {"features": model(graph)}
    found = evaluate(model, graph)
    return {"energy": found.energy, "forces": found.forces, "virial": found.virial}


_values = jax.jit(_predicted)


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
