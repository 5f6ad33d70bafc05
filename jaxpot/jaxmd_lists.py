"""jax-md's neighbour lists, made where jax-md can be trusted with them, and the Graph of any of its lists.

jax-md moves R and finds neighbours; from both, at every call, a Graph is made: positions in real space, the caller's own cell,
integer shifts. Nothing but indices is taken from a list, because jax-md keeps boxes and thresholds there in float32. Shifts are
found from the positions of the moment (or corrected to them, for a multi-image list), so an atom that the integrator has just
wrapped to the other side of the box is still where its neighbours expect it.

The lists made here are searched by jax-md in fractional coordinates wrapped into the cell, with an upper triangular box of the
same shape. Its cell lists are right for these only: positions outside the box fall into wrong cells, other boxes get wrong
cell sizes, and neither is reported.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import custom_partition, dataclasses, partition, space

from jaxpot.checks import check_jax, is_concrete, poison
from jaxpot.graph import Graph, from_edges, strain
from jaxpot.math.linalg import einsum
from jaxpot.neighbors import RESOLUTION, expected_pairs, require_memory

Array = jax.Array

_CANDIDATE = 40  # bytes of memory for each atom, other atom and image that jax-md's multi-image list looks at
_FAR = 2**30  # lattice vectors; integers of 32 bits hold no longer translations
_EMPTY = 100  # cells per atom, above a million, from which jax-md's cell lists are not worth their memory
EDGE = 1e-6  # relative; positions may lie this far outside the cell by round-off


def neighbor_list_graph(
    box: Array | float | None,
    numbers: Array,
    *,
    cutoff: float,
    skin: float = 0.5,
    fractional_coordinates: bool = False,
    max_neighbors: int | None = None,
    multi_image: bool = False,
) -> tuple[partition.NeighborListFns, Callable[..., Graph]]:
    """Neighbour functions for jax-md, and the Graph of a list of the moment.

    `graph_fn(R, neighbor, *, box=None, perturbation=None)` makes the Graph; its positions are NaN where the list cannot be trusted.

    Args:
      box: lattice vectors as columns, shape [3, 3], or side lengths, shape [3] or [], in Å; None is free space.
      numbers: atomic numbers, shape [N].
      cutoff: radius of the interaction, in Å.
      skin: lists are searched to cutoff + skin and kept until an atom has moved skin/2, in Å.
      fractional_coordinates: whether R is in units of the lattice vectors.
      max_neighbors: slots K per atom for jax-md's sparse formats; None takes 5/4 of the mean row of the list's capacity and 4.
      multi_image: list every periodic image, for boxes too small for the minimum image.

    Returns:
      neighbor_fn with `allocate(R, extra_capacity)` and `update(R, neighbors)`, and graph_fn.

    Raises:
      ValueError: for a box too small for the minimum image, wrong shapes, more images than fit into memory.
    """
    check_jax()
    if not skin >= 0:
        raise ValueError(f"skin must be a number of Å >= 0, got {skin}")
    numbers = atomic_numbers(numbers)
    if box is None and (multi_image or fractional_coordinates):
        raise ValueError("free space (box=None) has neither periodic images nor fractional coordinates; give a box")
    start = None if box is None else matrix_of(box)

    neighbor_fn = _neighbor_functions(start, cutoff, skin, fractional_coordinates, multi_image, len(numbers))
    numbers = jnp.asarray(numbers, jnp.int32)

    def graph_fn(R: Array, neighbor: Any, *, box: Array | None = None, perturbation: Array | None = None) -> Graph:
        R = jnp.asarray(R)
        if R.shape != (*numbers.shape, 3):
            raise ValueError(f"expected R of shape {(*numbers.shape, 3)} for {numbers.shape[0]} atomic numbers, got {R.shape}")
        if start is None:
            graph = _free_graph(numbers, R, neighbor, cutoff, max_neighbors)
        else:
            matrix = (start if box is None else matrix_of(box)).astype(R.dtype)
            graph = _periodic_graph(numbers, R, matrix, neighbor, cutoff, skin, fractional_coordinates, max_neighbors)
        # the gate makes energies NaN, but not their derivatives, which are all that an integrator sees
        graph = lost_where(graph, graph.overflow | _lost(graph))
        if perturbation is not None:
            identity = jnp.eye(3, dtype=R.dtype)
            deformation = jnp.asarray(perturbation, R.dtype)
            graph = strain(graph, (deformation if deformation.ndim == 2 else deformation * identity) - identity)
        return graph

    return neighbor_fn, graph_fn


def lost_where(graph: Graph, bad: Array) -> Graph:
    """The Graph with NaN for positions where `bad`, shape [], is true."""
    return graph.replace(positions=poison(graph.positions, bad))


def atomic_numbers(numbers: Array) -> np.ndarray:
    """The numbers on the host; raises unless they are integers of shape [N]."""
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"expected atomic numbers, integers of shape [N], got {numbers.dtype}{list(numbers.shape)}")
    return numbers


def matrix_of(box: Array | float) -> Array:
    """A box as a matrix of columns, shape [3, 3], in Å."""
    box = jnp.asarray(box)
    box = box.astype(jnp.result_type(box, float)) if not jnp.issubdtype(box.dtype, jnp.floating) else box
    if box.size == 1:
        return box.reshape(()) * jnp.eye(3, dtype=box.dtype)
    if box.shape == (3,):
        return jnp.diag(box)
    if box.shape == (3, 3):
        return box
    raise ValueError(f"box must have shape [], [3] or [3, 3] with lattice vectors as columns, got {list(box.shape)}")


def _widths(matrix: Array) -> Array:
    """Distances between opposite faces of a box, shape [3], in Å."""
    return 1 / jnp.linalg.norm(jnp.linalg.inv(matrix), axis=1)


def _is_narrow(matrix: Array, cutoff: float, skin: float) -> Array:
    """Whether a box is too narrow for the minimum image, shape []."""
    return jnp.min(_widths(matrix)) <= 2 * (cutoff + skin) * (1 - EDGE)


def _triangular(matrix: Array) -> Array:
    """The rotated upper triangular box with the same lengths and angles, the only form jax-md's cell lists understand."""
    upper = jnp.linalg.qr(matrix, mode="r")
    return upper * jnp.where(jnp.diag(upper) < 0, -1, 1).astype(upper.dtype)[:, None]


@jax.custom_jvp
def to_real(matrix: Array, fractional: Array) -> Array:
    """Fractional positions [N, 3] in Å, in a box of columns [3, 3]; derivatives by fractional positions are those in Å, as everywhere in jax-md."""
    return einsum("xs,ns->nx", matrix, fractional)


@to_real.defjvp
def to_real_jvp(primals, tangents):
    """As in `jax_md.space.transform`, but in full precision: tangents of fractional positions live in real space already."""
    matrix, fractional = primals
    return to_real(matrix, fractional), tangents[1] + einsum("xs,ns->nx", tangents[0], fractional)


@jax.custom_jvp
def moved(matrix: Array, fractional: Array, step: Array) -> Array:
    """Fractional positions [N, 3] in the cell, moved by steps [N, 3] in Å in a box of columns [3, 3].

    Unlike that of `jax_md.space.periodic_general` its derivative by the box is right, and in real space as well.
    """
    return jnp.mod(fractional + _to_fractional(matrix, step), 1.0)


@moved.defjvp
def _moved_jvp(primals, tangents):
    matrix, fractional, step = primals
    # a step stays what it is in Å, and so does not follow the box as fractional positions do
    follows = einsum("xs,ns->nx", tangents[0], _to_fractional(matrix, step))
    return moved(matrix, fractional, step), tangents[1] + tangents[2] - follows


def _to_fractional(matrix: Array, real: Array) -> Array:
    return einsum("sx,nx->ns", jnp.linalg.inv(matrix), real)


def _check_minimum_image(matrix: Array, cutoff: float, skin: float) -> None:
    widths = np.asarray(_widths(matrix))
    if not widths.min() > 2 * (cutoff + skin):
        raise ValueError(
            f"the box is {widths.min():.4g} Å wide (across lattice vector {int(widths.argmin())}); the minimum image needs more than "
            f"2 (cutoff + skin) = {2 * (cutoff + skin):.4g} Å. Write neighbor_list_energy(..., multi_image=True), which lists every "
            "periodic image, or repeat the structure"
        )


def _neighbor_functions(
    matrix: Array | None, cutoff: float, skin: float, fractional_coordinates: bool, multi_image: bool, n_atoms: int
) -> partition.NeighborListFns:
    """jax-md's own functions around positions that its cell lists can be trusted with (see above)."""
    if matrix is None:
        with jax.numpy_rank_promotion("allow"):
            return partition.neighbor_list(space.free()[0], 1.0, cutoff, dr_threshold=skin, disable_cell_list=True)
    if not is_concrete(matrix) or not np.all(np.isfinite(matrix)) or abs(np.linalg.det(np.asarray(matrix, float))) < 1e-12:
        raise ValueError(f"expected a box with a finite volume, known when lists are allocated, got {matrix}")

    def inside(R: Array, matrix: Array) -> Array:
        R = jax.lax.stop_gradient(jnp.asarray(R))
        fractional = R if fractional_coordinates else _to_fractional(matrix.astype(R.dtype), R)
        return fractional - jnp.floor(fractional)

    widths = np.asarray(_widths(matrix), float)
    if multi_image:
        n_images = float(np.prod(2 * np.ceil((cutoff + skin) / widths) + 1))
        cell = np.asarray(matrix, float).T
        require_memory(_CANDIDATE * n_images * n_atoms**2, expected_pairs(n_atoms, cell, cutoff + skin), cell, cutoff + skin)
        search = custom_partition.neighbor_list_multi_image(
            None, matrix, cutoff, dr_threshold=skin, fractional_coordinates=True, format=partition.Dense
        )
        first, keep, anew = search.allocate, search.update, search.update
        shape_of = lambda box, R: box.astype(matrix.dtype)  # noqa: E731
    else:
        _check_minimum_image(matrix, cutoff, skin)
        upper = _triangular(matrix)
        metric = space.periodic_general(upper)[0]
        empty = float(np.prod(widths / (cutoff + skin))) > max(10**6, _EMPTY * n_atoms)
        search = functools.partial(partition.neighbor_list, metric, upper, disable_cell_list=empty, fractional_coordinates=True)
        kept = search(cutoff, dr_threshold=skin)
        # jax-md measures how far atoms have moved, not how the box has: with a box given, the list is searched at every update
        always = search(cutoff + skin)
        first, keep, anew = kept.allocate, kept.update, always.update
        shape_of = lambda box, R: _triangular(box.astype(R.dtype))  # noqa: E731

    def allocate(R: Array, extra_capacity: int = 0, *, box: Array | None = None) -> Any:
        if box is not None:  # the lists of this box know it, also when they are updated without
            own = _neighbor_functions(matrix_of(box), cutoff, skin, fractional_coordinates, multi_image, n_atoms)
            return own.allocate(R, extra_capacity)
        with jax.numpy_rank_promotion("allow"):
            found = first(inside(R, matrix), extra_capacity)
        if not multi_image and found.cell_size is not None:  # jax-md leaves an array here, and structure must be comparable
            found = dataclasses.replace(found, cell_size=float(found.cell_size))
        return dataclasses.replace(found, update_fn=update)

    def update(R: Array, neighbors: Any, *, box: Array | None = None) -> Any:
        current = matrix if box is None else jax.lax.stop_gradient(matrix_of(box))
        R = inside(R, current)
        neighbors = dataclasses.replace(neighbors, update_fn=keep)
        with jax.numpy_rank_promotion("allow"):
            found = keep(R, neighbors) if box is None else anew(R, neighbors, box=shape_of(current, R))
        if not multi_image:  # cells, or a box, that have become too small lose neighbours, and jax-md's loops look at one flag only
            small = (found.cell_size_too_small != 0) | (False if box is None else _is_narrow(current, cutoff, skin))
            error = found.error.update(partition.PEC.NEIGHBOR_LIST_OVERFLOW, small)
            found = dataclasses.replace(found, error=error)
        return dataclasses.replace(found, update_fn=update)

    update.wraps = True
    return partition.NeighborListFns(allocate, lambda R, neighbors, **kwargs: neighbors.update_fn(R, neighbors, **kwargs))


def _flags(neighbor: Any) -> Array:
    """Whether jax-md says that a list is incomplete, shape []."""
    bad = jnp.asarray(neighbor.did_buffer_overflow) != 0
    return bad if hasattr(neighbor, "shifts") else bad | (jnp.asarray(neighbor.cell_size_too_small) != 0)


def _lost(graph: Graph) -> Array:
    """Whether an atom is nowhere, or where positions no longer resolve its distances from neighbours, shape []."""
    farthest = jnp.max(jnp.abs(jax.lax.stop_gradient(graph.positions)), axis=1)
    paired = jnp.any(graph.neighbors < len(farthest), axis=1)
    return jnp.any(~jnp.isfinite(farthest) | (paired & (farthest * float(jnp.finfo(farthest.dtype).eps) > RESOLUTION)))


def _free_graph(numbers: Array, R: Array, neighbor: Any, cutoff: float, max_neighbors: int | None) -> Graph:
    if hasattr(neighbor, "shifts"):
        raise ValueError("a multi-image list belongs to a box, but neighbor_list_energy was given box=None")
    zero, pbc = jnp.zeros((3, 3), R.dtype), jnp.zeros(3, bool)
    graph = _assemble(numbers, R, zero, pbc, neighbor, lambda i, j: jnp.zeros((*j.shape, 3), jnp.int32), cutoff, max_neighbors)
    return graph.replace(overflow=graph.overflow | _flags(neighbor))


def _periodic_graph(
    numbers: Array,
    R: Array,
    matrix: Array,
    neighbor: Any,
    cutoff: float,
    skin: float,
    fractional_coordinates: bool,
    max_neighbors: int | None,
) -> Graph:
    positions = to_real(matrix, R) if fractional_coordinates else R
    now = jax.lax.stop_gradient(R if fractional_coordinates else _to_fractional(jax.lax.stop_gradient(matrix), R))
    reference = jax.lax.stop_gradient(neighbor.reference_position).astype(R.dtype)
    in_cell = fractional_coordinates or hasattr(neighbor.update_fn, "wraps")
    bad = _flags(neighbor) | ~(jnp.max(jnp.abs(now)) < _FAR)

    if hasattr(neighbor, "shifts"):
        if not in_cell:
            reference = _to_fractional(jax.lax.stop_gradient(neighbor.reference_box).astype(R.dtype), reference)
        pbc = jnp.any(neighbor.search_shifts != 0, axis=0)
        # atoms further apart than the box need more images than jax-md searches
        bad |= jnp.any(pbc & (jnp.max(reference, axis=0) - jnp.min(reference, axis=0) > 1 + EDGE))
        wraps = jnp.where(pbc, jnp.round(now - reference), 0).astype(jnp.int32)

        def shifts(i, j):
            return neighbor.shifts.astype(jnp.int32) - wraps[j] + wraps[i]
    else:
        pbc = jnp.ones(3, bool)
        bad |= _is_narrow(jax.lax.stop_gradient(matrix), cutoff, skin)
        if neighbor.cell_list_fn is not None and not hasattr(neighbor.update_fn, "wraps"):
            # jax-md puts atoms below the lower faces into wrong cells
            cells = reference if in_cell else _to_fractional(jax.lax.stop_gradient(matrix), reference)
            bad |= jnp.any(cells < -EDGE)

        def shifts(i, j):
            return -jnp.round(now[j] - now[i]).astype(jnp.int32)

    graph = _assemble(numbers, positions, matrix.T, pbc, neighbor, shifts, cutoff, max_neighbors)
    return graph.replace(overflow=graph.overflow | bad)


def _assemble(
    numbers: Array,
    positions: Array,
    cell: Array,
    pbc: Array,
    neighbor: Any,
    shifts: Callable[[Array, Array], Array],
    cutoff: float,
    max_neighbors: int | None,
) -> Graph:
    """The Graph of a list of any format; shifts(i, j) gives those of its pairs, in the list's own order."""
    n = numbers.shape[0]
    if neighbor.format is partition.Dense:
        own = jnp.arange(n, dtype=jnp.int32)[:, None]
        idx = neighbor.idx.astype(jnp.int32)
        if not hasattr(neighbor, "shifts"):
            idx = jnp.where(idx == own, n, idx)
        lattice = shifts(own, jnp.minimum(idx, n - 1))
        if idx.shape[1] == 0:
            idx, lattice = jnp.full((n, 1), n, jnp.int32), jnp.zeros((n, 1, 3), jnp.int32)
        return Graph(
            numbers=numbers,
            positions=positions,
            cell=cell,
            pbc=pbc,
            neighbors=idx,
            shifts=lattice,
            cutoff=jnp.asarray(cutoff, positions.dtype),
            overflow=jnp.asarray(False),
        )
    i, j = neighbor.idx[0], neighbor.idx[1]
    lattice = shifts(jnp.minimum(i, n - 1), jnp.minimum(j, n - 1))
    if neighbor.format is partition.OrderedSparse:
        i, j, lattice = jnp.concatenate([i, j]), jnp.concatenate([j, i]), jnp.concatenate([lattice, -lattice])
    if not hasattr(neighbor, "shifts"):
        i = jnp.where(i == j, n, i)
    if max_neighbors is None:
        max_neighbors = math.ceil(1.25 * i.shape[0] / n) + 4
        max_neighbors = max_neighbors if hasattr(neighbor, "shifts") else max(1, min(max_neighbors, n - 1))
    return from_edges(numbers, positions, cell, pbc, i, j, lattice, cutoff, max_neighbors=max_neighbors)
