"""Structures as they come: whatever takes a Graph takes `ase.Atoms`, and a list of them, as well; and why a result is NaN.

A model knows how far it looks, so the lists of neighbours are made for it. What is called so runs on the host, compiled once for every number of
atoms and of neighbours; under `jit` and `vmap`, and where structures share their lists, a Graph is given.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, from_atoms, pad, to_atoms
from jaxpot.neighbors import neighbor_pairs
from jaxpot.passes import prepare
from jaxpot.precision import cast, errors_at_points, in_float64, in_own_precision, too_small
from jaxpot.trees import fields, is_pytree, walk
from jaxpot.units import SYMBOLS

_SLOTS = 8  # lists are padded to a multiple, since every length is one more compilation


def is_atoms(value: Any) -> bool:
    """Whether this is an `ase.Atoms`, told without ASE."""
    return hasattr(value, "get_chemical_symbols") and hasattr(value, "positions")


def graph_of(model: Any, structure: Any) -> Graph:
    """A Graph as it is, or that of `ase.Atoms` for a model.

    Args:
      model: what has a `reach`.
      structure: a Graph or `ase.Atoms`.

    Raises:
      TypeError: for anything else.
    """
    if isinstance(structure, Graph):
        return structure
    if not is_atoms(structure):
        raise TypeError(f"{type(model).__name__} takes a Graph, ase.Atoms or a list of them, got {type(structure).__name__}; write ase.io.read(path)")
    graph = from_atoms(structure, float(model.reach) or 1.0)
    return pad(graph, max_neighbors=_SLOTS * -(-graph.neighbors.shape[1] // _SLOTS))


def takes_atoms(function: Callable[[Any, Graph], Any]) -> Callable[[Any, Any], Any]:
    """A function of a model and a Graph that takes `ase.Atoms` or a list of them as well, of which it returns a list.

    For atoms it returns NumPy arrays, and computes in the precision of the model's numbers, whatever the global setting. Their total charge and outer field
    are zero; of charged structures give a Graph, `from_atoms(atoms, cutoff, charge=1.0)`.

    Raises:
      ValueError: where the result for `ase.Atoms` is not finite, with what `diagnose` finds.
    """
    compiled = jax.jit(function)

    @functools.wraps(function)
    def opened(model: Any, structure: Any) -> Any:
        if isinstance(structure, Graph):
            return function(model, structure)
        if isinstance(structure, list | tuple):
            return [opened(model, one) for one in structure]
        with in_own_precision(model) as own:
            graph = graph_of(own, structure)
            found = jax.tree_util.tree_map(np.asarray, compiled(own, graph))
            if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree_util.tree_leaves(found)):
                raise ValueError("; ".join(diagnose(own, graph)) or f"{type(model).__name__} gives NaN for these atoms")
        return found

    return opened


class Float32Error(NamedTuple):
    """What a potential in float32 deviates by from itself in float64.

    Args:
      energy: the largest deviation of an energy, in eV per atom.
      forces: the largest deviation of a component of a force, in eV/Å; None at the points of Gaussian processes, which have none.
    """

    energy: float
    forces: float | None


def float32_error(potential: Any, structures: Any = None, *, insist: bool = False) -> Float32Error:
    """What float32 costs a potential: on structures, or what it knows of itself.

    Args:
      potential: any potential; what is measured is `cast(potential, "float32")` against float64, both computed here, whatever the global setting.
      structures: a Graph or `ase.Atoms`, or a list of them. None asks for the figure of the model's Gaussian processes at their own sparse points,
        which needs no structures and is what `cast` decides by.
      insist: as of `cast`, to see what a process loses that is refused.

    Returns:
      The largest deviations.

    Raises:
      TypeError: for what is no potential, and for a model that `cast` refuses.
      ValueError: without structures, for models without such processes; for a structure for which the potential gives NaN, with the reason.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(8.5, width=2.0))
      >>> float32_error(argon, bulk("Ar", cubic=True)).energy < 1e-6
      True
    """
    if not hasattr(potential, "energies"):
        raise TypeError(f"float32_error: expected a potential, got {type(potential).__name__}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cast, with the figure that is asked for
        single = cast(potential, "float32", insist=insist)
    if structures is None:
        errors = [] if insist else errors_at_points(potential)
        if not errors:
            what = f"{type(potential).__name__} has no Gaussian process whose points would tell what float32 costs"
            raise ValueError(f"float32_error: {what}; write jaxpot.float32_error(model, atoms), which measures it on structures")
        return Float32Error(max(errors), None)
    several = structures if isinstance(structures, list | tuple) else [structures]
    if not several:
        raise ValueError("float32_error: no structures; expected ase.Atoms, or a list of them")
    found = [in_float64(functools.partial(_deviation, structure=one), (potential, single)) for one in several]
    return Float32Error(*(float(np.max(values)) for values in zip(*found, strict=True)))


@jax.jit
def _energy_and_forces(potential: Any, graph: Graph) -> tuple[Any, Any]:
    found = prepare(potential).properties(graph)
    return found.energy, found.forces


def _deviation(models: tuple[Any, Any], structure: Any) -> tuple[Any, Any]:
    """Of the energy per atom, and the largest of a component of a force; in float64 mode."""
    double, graph = cast((models[0], graph_of(models[0], structure)), "float64")
    right, found = _energy_and_forces(double, graph), _energy_and_forces(models[1], cast(graph, "float32"))
    energy, forces = (np.max(np.abs(np.asarray(x, float) - np.asarray(y, float)), initial=0.0) for x, y in zip(right, found, strict=True))
    if not (np.isfinite(energy) and np.isfinite(forces)):
        causes = (*diagnose(double, graph), *diagnose(models[1], cast(graph, "float32")))
        raise ValueError("; ".join(dict.fromkeys(causes)) or f"{type(double).__name__} gives NaN for these atoms")
    return energy / np.sum(np.asarray(graph.centers) > 0), forces


def diagnose(model: Any, graph: Graph) -> tuple[str, ...]:
    """Says in words why a result is NaN; runs on the host, on one structure.

    Args:
      model: a potential, a model of tensors, or a descriptor.
      graph: one structure, not a batch.

    Returns:
      One sentence per cause found; empty if there is none.
    """
    if np.ndim(graph.numbers) != 1:
        raise ValueError(f"diagnose takes one structure, got a batch of shape {np.shape(graph.numbers)}; index it with jax.tree.map(lambda x: x[i], graph)")
    causes = []
    numbers = np.asarray(graph.numbers)
    real = numbers > 0
    bad = [i for i in np.flatnonzero(real) if not np.all(np.isfinite(np.asarray(graph.positions)[i]))]
    if bad:
        causes.append(f"positions of {len(bad)} atoms are not finite, first atom {bad[0]}")
    if not np.all(np.isfinite(np.asarray(graph.cell))):
        causes.append("the cell is not finite")
    if bool(graph.overflow):
        slots = graph.neighbors.shape[1]
        if causes:
            causes.append(f"neighbour list overflow (more than {slots} neighbours)")
        else:
            centers, *_ = neighbor_pairs(to_atoms(graph), float(graph.cutoff))
            needed = int(np.bincount(centers).max())
            causes.append(f"neighbour list overflow ({needed} neighbours, {slots} slots); rebuild with max_neighbors={needed}")
    reach = float(model.reach)
    if reach > float(graph.cutoff) * (1 + 1e-6):
        causes.append(f"the model looks {reach:.6g} Å far, the neighbour list {float(graph.cutoff):.6g} Å; rebuild with cutoff={reach:.6g}")
    unknown = sorted({SYMBOLS[n] for n in numbers[real]} - set(model.species))
    if unknown:
        causes.append(f"the model knows {', '.join(model.species)}, but the structure contains {', '.join(unknown)}")
    causes += [f"{path} is not finite" for path, leaf, _ in walk(model) if not np.all(np.isfinite(np.asarray(leaf, float)))]
    return (*causes, *too_small(model, jnp.result_type(graph.positions)), *_own_causes(model), *model.causes(graph))


def _own_causes(value: Any) -> list[str]:
    """What parts of a model report of themselves, through a method `unresolved()`."""
    if isinstance(value, (tuple, list)):
        return [cause for child in value for cause in _own_causes(child)]
    if not is_pytree(value):
        return []
    found = []
    unresolved = getattr(value, "unresolved", None)
    if unresolved is not None and bool(unresolved()):
        found.append(f"{type(value).__name__}: its tables are too coarse for its leaves; construct it anew at the smallest sigma of the search")
    return found + [cause for _, child, _ in fields(value) for cause in _own_causes(child)]
