"""Structures as they come: whatever takes a Graph takes `ase.Atoms`, and a list of them, as well; and why a result is NaN.

A model knows how far it looks, so the lists of neighbours are made for it. What is called so runs on the host, compiled once for every number of
atoms and of neighbours; under `jit` and `vmap`, and where structures share their lists, a Graph is given.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, from_atoms, pad, to_atoms
from jaxpot.neighbors import neighbor_pairs
from jaxpot.precision import in_own_precision, too_small
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
