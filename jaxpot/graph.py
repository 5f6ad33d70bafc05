"""Geometry in: atoms and neighbour lists as dense padded arrays, and the one gate through which every model sees them.

The layout is dense [N, K] on purpose: contractions over neighbours are batched matrix products, many-body terms are a
vmap over slots, and nothing scatters going forward. `environments` is the reader of `Graph.neighbors`; what
makes a list unusable (overflow, a cutoff larger than the list's, an unknown element) becomes NaN there. Sums of charges, of hundreds of
neighbours, read the lists as well (`longrange.near`) and become NaN by the same `unusable`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import check_jax, poison, require_finite
from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.math.linalg import einsum
from jaxpot.neighbors import RESOLUTION, neighbor_pairs, require_resolution
from jaxpot.trees import pytree
from jaxpot.units import species_table

Array = jax.Array

CLOSEST_PAIR = 1e-4  # Å; two atoms nearer than this are one atom written twice
_PARKING = 1.001  # empty slots lie at this multiple of the cutoff, where every cutoff function is exactly zero
_SLACK = 1e-6  # relative; a cutoff that equals the list's up to round-off is covered


@pytree
class Graph(Tree):
    """One structure with its neighbour lists; a batch is a stacked Graph with a leading axis B.

    Args:
      numbers: atomic numbers, shape [N]; 0 marks a padding atom.
      positions: shape [N, 3], in Å.
      cell: rows are lattice vectors, shape [3, 3], in Å.
      pbc: periodic directions, shape [3].
      neighbors: index of each neighbour, shape [N, K]; N marks an empty slot. A part of a structure (`sharding.partition`) has fewer rows
        than atoms: the others are ghosts, which are seen but have no energy here.
      shifts: lattice translation of each neighbour, integers, shape [N, K, 3].
      cutoff: radius within which the lists are complete, shape [], in Å.
      overflow: whether some neighbour did not fit, shape [].
      charge: total charge, shape [], in e; None is zero.
      field: outer electric field, shape [3], in V/Å; None is zero.

    Example:
      >>> from ase.build import bulk
      >>> graph = from_atoms(bulk("Si", cubic=True), cutoff=3.0)
      >>> graph.positions.shape, graph.neighbors.shape
      ((8, 3), (8, 4))
    """

    numbers: Leaf
    positions: Leaf
    cell: Leaf
    pbc: Leaf
    neighbors: Leaf
    shifts: Leaf
    cutoff: Leaf
    overflow: Leaf
    charge: OptionalLeaf = None
    field: OptionalLeaf = None

    def __post_init__(self):
        _default(self, self.positions, charge=np.shape(self.cutoff), field=(*np.shape(self.cutoff), 3))

    @property
    def centers(self) -> Array:
        """Atomic numbers of those atoms that have a row of neighbours and an energy, the first; in a part of a structure ghosts follow them."""
        return self.numbers[: self.neighbors.shape[0]]


@pytree
class Environment(Tree):
    """The surroundings of one atom; a stack has a leading axis N (or M).

    Args:
      vectors: neighbour minus centre, shape [K, 3], in Å; empty slots lie outside every cutoff.
      species: index of each neighbour into the model's species tuple, shape [K].
      center: likewise of the central atom, shape [].
      index: which atom each neighbour is, shape [K].
      mask: whether the slot holds a neighbour, shape [K].
      carried: what neighbours carry, such as charges, shape [K, C]; None is nothing, C = 0.
      center_carried: likewise the central atom, shape [C].

    Example:
      >>> from ase.build import bulk
      >>> graph = from_atoms(bulk("Si", cubic=True), cutoff=3.0)
      >>> stack = environments(graph, 3.0, ("Si",))
      >>> stack.vectors.shape == (*graph.neighbors.shape, 3)
      True
    """

    vectors: Leaf
    species: Leaf
    center: Leaf
    index: Leaf
    mask: Leaf
    carried: OptionalLeaf = None
    center_carried: OptionalLeaf = None

    def __post_init__(self):
        _default(self, self.vectors, carried=(*np.shape(self.mask), 0), center_carried=(*np.shape(self.center), 0))


def _default(of: Any, like: Array, **shapes: tuple[int, ...]) -> None:
    """Zeros of these shapes, of the type of `like`, for those fields of an object that were not given."""
    for name, shape in shapes.items():
        if getattr(of, name) is None:
            object.__setattr__(of, name, np.zeros(shape, jnp.result_type(like)))


def from_atoms(
    atoms: Any,
    cutoff: float | Array,
    *,
    max_atoms: int | None = None,
    max_neighbors: int | None = None,
    charge: float = 0.0,
    field: Sequence[float] = (0.0, 0.0, 0.0),
) -> Graph:
    """A structure with its neighbour lists, searched on the host.

    Args:
      atoms: `ase.Atoms`, any cell: triclinic, left-handed, smaller than the cutoff, partly periodic, none.
      cutoff: radius of the lists, in Å.
      max_atoms: N, padded with atoms of number 0; None takes the number of atoms.
      max_neighbors: K; None takes the largest number of neighbours.
      charge: total charge, in e; what `atoms` say of charges does not count.
      field: outer electric field, shape [3], in V/Å.

    Returns:
      The Graph, in JAX's default floating type.

    Raises:
      TypeError: for what is no `ase.Atoms`.
      ValueError: for no atoms, positions, cell, charge or field that are not finite, a periodic direction without a lattice vector, two
        atoms at one place, a cutoff that is not positive, too few slots (the message names the number needed), coordinates so large
        that JAX's default floating type does not resolve distances between neighbours, or more pairs than fit into memory.

    Example:
      >>> from ase.build import bulk
      >>> from_atoms(bulk("Si"), cutoff=3.0).neighbors.shape
      (2, 4)
    """
    check_jax()
    if not hasattr(atoms, "get_chemical_symbols"):
        raise TypeError(f"from_atoms takes one ase.Atoms, got {type(atoms).__name__}; of several write [jaxpot.from_atoms(a, cutoff) for a in frames]")
    n = len(atoms)
    if n == 0:
        raise ValueError("atoms is empty; expected at least one atom")
    if not cutoff > 0 or not np.isfinite(cutoff):
        raise ValueError(f"cutoff must be a positive number of Å, got {cutoff}")
    require_finite(atoms.positions, "positions")
    cell = require_finite(atoms.cell.array, "cell")
    charge, field = (_outer(value, shape, name) for name, value, shape in (("charge", charge, ()), ("field", field, (3,))))
    pbc = np.asarray(atoms.pbc, dtype=bool)
    if np.any(atoms.numbers <= 0):
        raise ValueError(f"atom {int(np.argmin(atoms.numbers))} has atomic number {int(atoms.numbers.min())}; expected 1 to 118")
    for axis in np.flatnonzero(pbc):
        if not np.linalg.norm(cell[axis]) > 0:
            raise ValueError(f"direction {axis} is periodic but its lattice vector is {cell[axis]}; set atoms.pbc or atoms.cell")
    periodic = cell[pbc]
    if len(periodic) and np.linalg.matrix_rank(periodic / np.linalg.norm(periodic, axis=1)[:, None]) < len(periodic):
        raise ValueError(f"the periodic lattice vectors are linearly dependent: {periodic.tolist()}; set atoms.cell")

    centers, neighbors, shifts, distances = neighbor_pairs(atoms, cutoff)
    if len(distances) and distances.min() < CLOSEST_PAIR:
        k = int(np.argmin(distances))
        raise ValueError(
            f"atoms {int(centers[k])} and {int(neighbors[k])} are at the same place (distance {distances[k]:.3g} Å); "
            "remove duplicates, for example with ase.geometry.get_duplicate_atoms(atoms, delete=True)"
        )
    _check_resolution(np.asarray(atoms.positions), cell, centers, shifts)
    needed = int(np.bincount(centers).max()) if len(centers) else 0
    if max_neighbors is not None and needed > max_neighbors:
        raise ValueError(f"neighbour list overflow ({needed} neighbours, {max_neighbors} slots); rebuild with max_neighbors={needed}")
    if max_atoms is not None and n > max_atoms:
        raise ValueError(f"{n} atoms, but max_atoms={max_atoms}; rebuild with max_atoms={n}")

    graph = _dense(
        np, atoms.numbers.astype(np.int32), np.array(atoms.positions, float), np.array(cell), np.array(pbc), centers, neighbors, shifts, cutoff,
        max(needed if max_neighbors is None else max_neighbors, 1), charge, field,
    )  # fmt: skip
    # arrays on the device may share memory with those given, which is why the atoms' own were copied
    return jax.device_put(graph if max_atoms in (None, n) else pad(graph, max_atoms=max_atoms))


def _outer(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A total charge or an outer field as an array."""
    kind = "a finite number of e, for example charge=1.0" if shape == () else "three finite numbers of V/Å, for example field=(0, 0, 0.1)"
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        array = np.full(shape, np.nan)
    if array.shape != shape or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} is {value!r}; expected {kind}")
    return array


def _check_resolution(positions: np.ndarray, cell: np.ndarray, centers: np.ndarray, shifts: np.ndarray) -> None:
    """Raises where JAX's default floating type rounds a vector between neighbours too far; atoms without neighbours may lie anywhere."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    if not len(centers) or (np.abs(positions).max() + np.max(np.abs(shifts).max(axis=0) @ np.abs(cell))) * float(np.finfo(dtype).eps) < RESOLUTION:
        return
    paired = np.unique(centers)
    require_resolution(positions[paired], dtype, numbers=paired)
    translated = np.flatnonzero(np.any(shifts != 0, axis=1))
    require_resolution(np.abs(shifts[translated]) @ np.abs(cell), dtype, "an image of a neighbour of atom", centers[translated])


def from_edges(
    numbers: jax.typing.ArrayLike,
    positions: jax.typing.ArrayLike,
    cell: jax.typing.ArrayLike,
    pbc: jax.typing.ArrayLike,
    centers: jax.typing.ArrayLike,
    neighbors: jax.typing.ArrayLike,
    shifts: jax.typing.ArrayLike,
    cutoff: float | Array,
    *,
    max_neighbors: int,
    charge: Array | None = None,
    field: Array | None = None,
) -> Graph:
    """A structure from a list of ordered pairs in any order; integer work only, so it also runs under jit.

    Args:
      numbers: shape [N].
      positions: shape [N, 3], in Å.
      cell: shape [3, 3], in Å.
      pbc: shape [3].
      centers: shape [E]; index N marks an unused entry of a padded list.
      neighbors: shape [E], likewise.
      shifts: integers, shape [E, 3].
      cutoff: radius within which the list is complete, in Å.
      max_neighbors: K; a row with more sets `overflow`, and every energy becomes NaN.
      charge: total charge, shape [], in e; None is zero.
      field: outer electric field, shape [3], in V/Å; None is zero.

    Returns:
      The Graph. Both directions of a pair must be in the list.

    Example:
      >>> graph = from_edges(jnp.array([14, 14]), jnp.eye(2, 3), jnp.zeros((3, 3)), jnp.zeros(3, bool), jnp.array([1, 0]),
      ...                    jnp.array([0, 1]), jnp.zeros((2, 3), int), 3.0, max_neighbors=1)
      >>> graph.neighbors.tolist()
      [[1], [0]]
    """
    if centers.shape != neighbors.shape or shifts.shape != (*centers.shape, 3):
        raise ValueError(
            f"expected centers [E], neighbors [E] and shifts [E, 3], got {centers.shape}, {neighbors.shape} and {shifts.shape}"
        )
    return _dense(jnp, *(jnp.asarray(a) for a in (numbers, positions, cell, pbc, centers, neighbors, shifts)), cutoff, max_neighbors, charge, field)


def _dense(xp, numbers, positions, cell, pbc, centers, neighbors, shifts, cutoff, max_neighbors, charge, field) -> Graph:
    """The rows of a pair list, gathered by centre; xp is numpy on the host and jax.numpy under jit."""
    n, n_edges = numbers.shape[0], centers.shape[0]
    centers = xp.where((centers >= n) | (neighbors >= n), n, centers)
    if xp is np and n < 2**16:  # numpy sorts integers of 16 bits by their digits
        centers = centers.astype(np.uint16)
    order = xp.argsort(centers, stable=True) if xp is jnp else np.argsort(centers, kind="stable")
    starts = xp.searchsorted(xp.take(centers, order), xp.arange(n + 1).astype(centers.dtype))
    counts, slots = xp.diff(starts), xp.arange(max_neighbors)[None]
    # entry E of a list of E pairs is an empty slot
    place = xp.where(slots < counts[:, None], starts[:-1, None] + slots, n_edges)
    edge = xp.take(xp.append(order, n_edges), place, mode="clip")
    return Graph(
        numbers=numbers,
        positions=positions,
        cell=cell,
        pbc=pbc,
        neighbors=xp.take(xp.append(neighbors.astype(np.int32), np.int32(n)), edge, mode="clip"),
        shifts=xp.take(xp.concatenate([shifts.astype(np.int32), xp.zeros((1, 3), np.int32)]), edge, axis=0, mode="clip"),
        cutoff=xp.asarray(cutoff, positions.dtype),
        overflow=xp.any(counts > max_neighbors),
        charge=None if charge is None else xp.asarray(charge, positions.dtype),
        field=None if field is None else xp.asarray(field, positions.dtype),
    )


def pad(graph: Graph, *, max_atoms: int | None = None, max_neighbors: int | None = None) -> Graph:
    """The same structure with more atom and neighbour slots (host arrays); results do not depend on padding.

    Raises:
      ValueError: if the Graph is larger than asked for.
    """
    n, k = graph.neighbors.shape
    max_atoms, max_neighbors = max_atoms or n, max_neighbors or k
    if max_atoms < n or max_neighbors < k:
        raise ValueError(f"cannot pad {n} atoms with {k} slots to {max_atoms} atoms with {max_neighbors} slots")
    atoms, slots = (0, max_atoms - n), (0, max_neighbors - k)
    return graph.replace(
        numbers=np.pad(graph.numbers, atoms),
        positions=np.pad(graph.positions, (atoms, (0, 0))),
        neighbors=np.pad(np.where(np.asarray(graph.neighbors) == n, max_atoms, graph.neighbors), (atoms, slots), constant_values=max_atoms),
        shifts=np.pad(graph.shifts, (atoms, slots, (0, 0))),
    )


def stack(graphs: Sequence[Graph]) -> Graph:
    """A batch [B, ...] of structures, padded to the largest number of atoms and of slots.

    Raises:
      ValueError: for an empty sequence.
    """
    if not graphs:
        raise ValueError("no graphs to stack; expected at least one")
    n = max(g.neighbors.shape[0] for g in graphs)
    k = max(g.neighbors.shape[1] for g in graphs)
    padded = [pad(g, max_atoms=n, max_neighbors=k) for g in graphs]
    return jax.tree_util.tree_map(lambda *leaves: jnp.asarray(np.stack(leaves)), *padded)


def unstacked(graphs: Sequence[Graph] | Graph) -> Sequence[Graph]:
    """The structures of a batch, one by one; of a sequence of them itself.

    Raises:
      ValueError: for one structure.
    """
    if not isinstance(graphs, Graph):
        return graphs
    if np.ndim(graphs.numbers) != 2:
        raise ValueError("with_points: got one structure; write with_points([graph]), or stack several")
    return [jax.tree_util.tree_map(lambda x, i=i: np.asarray(x)[i], graphs) for i in range(len(graphs.numbers))]


def environments(graph: Graph, cutoff: float | Array, species: tuple[str, ...], carried: Array | None = None) -> Environment:
    """The surroundings of every atom: the gate between geometry and models.

    Empty slots are parked at 1.001 × max(graph.cutoff, cutoff), where every cutoff function is zero, so smooth descriptors
    need no masks. All vectors are NaN if the list overflowed, if `cutoff` exceeds the list's, if an element is not in
    `species`, or if a position is not finite; `diagnose` says which. Padding atoms have species 0 and no neighbours, and never poison.

    Args:
      graph: one structure.
      cutoff: the largest radius the model looks at, in Å.
      species: chemical symbols; indices in the result refer to this tuple.
      carried: what every atom carries, such as its charge, shape [N, C]; zero in empty slots. None is nothing.

    Returns:
      A stack of environments, shape [N, ...].
    """
    n = graph.numbers.shape[0]
    numbers = jnp.concatenate([graph.numbers, jnp.zeros(1, graph.numbers.dtype)])  # index N, the empty slot, is a padding atom
    index = jnp.asarray(species_table(species))[numbers]
    index = jnp.maximum(index, 0)

    mask = (numbers[graph.neighbors] > 0) & (graph.centers > 0)[:, None]
    positions, cell = graph.positions, graph.cell
    vectors = positions[jnp.minimum(graph.neighbors, n - 1)] - positions[: len(mask), None, :]
    vectors = vectors + _translations(graph.shifts, cell)
    # where a slot is parked changes nothing, and without a gradient to it none is sent through all vectors
    parked = _PARKING * jax.lax.stop_gradient(jnp.maximum(graph.cutoff, cutoff)).astype(vectors.dtype)
    vectors = jnp.where(mask[:, :, None], vectors, parked / np.sqrt(3.0).astype(vectors.dtype))
    return Environment(
        vectors=poison(vectors, unusable(graph, cutoff, species)),
        species=index[graph.neighbors],
        center=index[: len(mask)],
        index=jnp.minimum(graph.neighbors, n - 1),
        mask=mask,
        carried=None if carried is None else jnp.where(mask[:, :, None], carried[jnp.minimum(graph.neighbors, n - 1)], 0),
        center_carried=None if carried is None else jnp.where((graph.centers > 0)[:, None], carried[: len(mask)], 0),
    )


def by_element(values: Array, species: tuple[str, ...], numbers: Array, *, padding: float = 0.0) -> Array:
    """What the element of every atom has, [S] -> [N]; NaN for elements that are not among the species, and a number for padding atoms.

    Example:
      >>> by_element(jnp.array([1.0, -1.0]), ("Na", "Cl"), jnp.array([17, 8, 0])).tolist()
      [-1.0, nan, 0.0]
    """
    index = jnp.asarray(species_table(species))[numbers]
    found = jnp.where(index < 0, jnp.nan, jnp.asarray(values)[jnp.maximum(index, 0)])
    return jnp.where(numbers > 0, found, padding)


def unusable(graph: Graph, cutoff: float | Array, species: tuple[str, ...]) -> Array:
    """Whether `environments` is NaN, shape []: energies take it from here, since looking for it in all vectors needs room for these."""
    unknown = jnp.any((graph.numbers > 0) & (jnp.asarray(species_table(species))[graph.numbers] < 0))
    lost = jnp.any(~jnp.isfinite(graph.positions) & (graph.numbers > 0)[:, None])  # also of an atom without neighbours
    return graph.overflow | (cutoff > graph.cutoff * (1 + _SLACK)) | unknown | lost


@jax.custom_jvp
def _translations(shifts: Array, cell: Array) -> Array:
    """Translations by whole numbers [N, K, 3] of lattice vectors. Written out they become part of the loop that makes the vectors, and as a
    product of matrices their derivative has a transpose of a kind that XLA's CPU has fast code for, three times faster together."""
    if jax.default_backend() != "cpu":
        return einsum("nks,sx->nkx", shifts.astype(cell.dtype), cell)
    shifts = shifts.astype(cell.dtype)
    return sum(shifts[:, :, s, None] * cell[s][None, None, :] for s in range(3))


@_translations.defjvp
def _translations_jvp(primals, tangents):
    (shifts, cell), (_, step) = primals, tangents
    flat = jax.lax.optimization_barrier(shifts.astype(cell.dtype).reshape(-1, 3).T)
    return _translations(shifts, cell), einsum("se,sx->ex", flat, step).reshape(shifts.shape)


def only(graph: Graph, species: tuple[str, ...]) -> Graph:
    """The same structure in which atoms of other elements are padding, for a term that knows only some species."""
    known = jnp.asarray(species_table(species))[graph.numbers] >= 0
    return graph.replace(numbers=jnp.where(known, graph.numbers, 0))


def strain(graph: Graph, epsilon: jax.typing.ArrayLike) -> Graph:
    """Positions and cell under r → (1 + ε) r; charge and field stay.

    Args:
      graph: one structure.
      epsilon: strain, shape [3, 3].
    """
    deformation = jnp.eye(3, dtype=graph.positions.dtype) + epsilon
    return _transformed(graph, deformation)


def rotate(graph: Graph, rotation: jax.typing.ArrayLike) -> Graph:
    """Positions, cell and field under r → Q r, for Q of shape [3, 3]."""
    return _transformed(graph, rotation).replace(field=einsum("ab,b->a", rotation, graph.field))


def _transformed(graph: Graph, matrix: Array) -> Graph:
    return graph.replace(
        positions=einsum("ab,nb->na", matrix, graph.positions),
        cell=einsum("ab,sb->sa", matrix, graph.cell),
    )


def to_atoms(graph: Graph) -> Any:
    """`ase.Atoms` of a Graph on the host, without its padding; a charge or field is in `info`, by these names."""
    from ase import Atoms

    real = np.asarray(graph.numbers) > 0
    outer = {"charge": np.asarray(graph.charge, float).item(), "field": np.asarray(graph.field, float)}
    return Atoms(
        numbers=np.asarray(graph.numbers)[real],
        positions=np.asarray(graph.positions, float)[real],
        cell=np.asarray(graph.cell, float),
        pbc=np.asarray(graph.pbc),
        info={name: value for name, value in outer.items() if np.any(value)},
    )
