"""The neighbour search on the host: atoms may be anywhere, cells may have any shape.

A k-d tree of the atoms is asked for the periodic images near them. Cell lists divide all space between the outermost atoms into
bins, so one atom that has evaporated fills the memory, or ends the process in compiled code that no exception leaves; a tree divides atoms.
"""

import math
import os
from typing import Any

import numpy as np

RESOLUTION = 1e-4  # Å; coordinates that are rounded to more than this say nothing about distances
_BYTES = 300  # of memory for a pair or an image at the peak, measured
_SKEWED = 2.0  # product of the lattice vectors' lengths over their volume from which their lattice is given shorter ones


def neighbor_pairs(atoms: Any, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs within a cutoff.

    Args:
      atoms: `ase.Atoms`; any cell, partly periodic or none, atoms may lie outside it and far from each other.
      cutoff: in Å.

    Returns:
      centers [E], neighbors [E] and shifts [E, 3], such that r = R_neighbor − R_center + shift·cell and |r| < cutoff; and |r| [E].

    Raises:
      ValueError: for coordinates so large that float64 does not resolve 10⁻⁴ Å there, or more pairs than fit into memory.
    """
    from scipy.spatial import cKDTree

    positions, cell, pbc = np.asarray(atoms.positions, float), np.asarray(atoms.cell.array, float), np.asarray(atoms.pbc, bool)
    require_resolution(positions, float, atoms="atom")
    require_resolution(cell[pbc], float, atoms="the end of periodic lattice vector")
    whole, short = _shortest(cell[pbc])
    inside, wraps, owner, steps = _images(positions, short, cutoff)
    images = inside[owner] + steps @ short
    tree, tree_of_images = cKDTree(inside), cKDTree(images)
    if _at_most(inside, images, cutoff) * _BYTES > memory():
        pairs = float(tree.count_neighbors(tree_of_images, cutoff))
        require_memory(_BYTES * pairs, pairs, short, cutoff)
    found = tree.sparse_distance_matrix(tree_of_images, cutoff, output_type="ndarray")
    itself = np.where(np.any(steps != 0, axis=1), -1, owner)  # the image that is the atom
    centers, image, distances = (np.ascontiguousarray(found[field]) for field in "ijv")
    keep = (distances < cutoff) & (centers != itself[image])
    centers, image, distances = centers[keep], image[keep], distances[keep]
    by_atom, by_image = np.zeros((len(positions), 3), np.int64), np.zeros((len(owner), 3), np.int64)
    by_atom[:, pbc] = wraps @ whole
    by_image[:, pbc] = (steps - wraps[owner]) @ whole
    shifts = np.take(by_image, image, axis=0)
    shifts += np.take(by_atom, centers, axis=0)
    if len(shifts) and np.abs(shifts).max() > np.iinfo(np.int32).max:
        atom = int(centers[np.argmax(np.abs(shifts).max(axis=1))])
        raise ValueError(
            f"an image of a neighbour of atom {atom} lies {np.abs(shifts).max():.3g} lattice vectors away, expected less than 2³¹; write atoms.wrap(), "
            "or, where the cell is skewed, atoms.set_cell(ase.geometry.minkowski_reduce(atoms.cell, atoms.pbc)[0])"
        )
    return centers, owner[image], shifts, distances


def require_resolution(coordinates: np.ndarray, dtype: Any, atoms: str = "atom", numbers: np.ndarray | None = None) -> None:
    """Raises where coordinates are so large that a floating type does not resolve what a distance needs.

    Args:
      coordinates: in Å, shape [n, 3].
      dtype: the floating type.
      atoms: what has these coordinates, for the message.
      numbers: their numbers, shape [n]; None counts from 0.

    Raises:
      ValueError: naming the farthest.
    """
    if not len(coordinates):
        return
    farthest = np.max(np.abs(coordinates), axis=1)
    at = int(np.argmax(farthest))
    spacing = float(farthest[at]) * float(np.finfo(dtype).eps)
    if spacing > RESOLUTION:
        raise ValueError(
            f"{atoms} {at if numbers is None else int(numbers[at])} lies {farthest[at]:.3g} Å from the origin, where {np.dtype(dtype).name} "
            f"resolves {spacing:.2g} Å; expected {RESOLUTION:g} Å or better. Write atoms.wrap(), or atoms.positions -= atoms.positions[0], "
            "or leave out atoms that have flown away"
        )


def _shortest(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers W and vectors W·vectors, [p, 3], that span the same lattice, short where those given are skewed."""
    p = len(vectors)
    whole = np.eye(p, dtype=np.int64)
    if p < 2 or np.prod(np.linalg.norm(vectors, axis=1)) < _SKEWED * _volume(vectors):
        return whole, vectors
    from ase.geometry.minkowski_reduction import minkowski_reduce

    cell = np.zeros((3, 3))
    cell[:p] = vectors
    _, operation = minkowski_reduce(cell, pbc=np.arange(3) < p)
    whole = np.asarray(operation, np.int64)[:p, :p]
    return whole, whole @ vectors


def _volume(vectors: np.ndarray) -> float:
    """Of the cell that p vectors span, in Å^p."""
    return float(np.prod(np.abs(np.diag(np.linalg.qr(vectors.T, mode="r")))))


def _images(positions: np.ndarray, vectors: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Atoms inside the cell [N, 3], how they were wrapped [N, p], and the images near them: whose [M], and moved by which [M, p]."""
    p, n = len(vectors), len(positions)
    if not p:
        return positions, np.zeros((n, 0), np.int64), np.arange(n), np.zeros((n, 0), np.int64)
    across = _across(vectors)
    wraps = np.floor(positions @ across)
    inside = positions - wraps @ vectors
    fractional = inside @ across
    margin = (cutoff * (1 + 1e-6) + 10 * RESOLUTION) * np.linalg.norm(across, axis=0)
    first = np.ceil(fractional.min(axis=0) - margin - fractional)
    counts = np.floor(fractional.max(axis=0) + margin - fractional) - first + 1
    if (total := float(np.sum(np.prod(counts, axis=1)))) > 10**6:
        require_memory(_BYTES * total, expected_pairs(n, vectors, cutoff), vectors, cutoff)
    owner, steps = np.arange(n), np.zeros((n, 0), np.int64)
    for axis in range(p):
        times = counts[owner, axis].astype(np.int64)
        own = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        owner, steps = np.repeat(owner, times), np.repeat(steps, times, axis=0)
        steps = np.concatenate([steps, (first[owner, axis].astype(np.int64) + own)[:, None]], axis=1)
    return inside, wraps.astype(np.int64), owner, steps


def _across(vectors: np.ndarray) -> np.ndarray:
    """The reciprocal vectors, columns of [3, p]: positions @ them are in units of the lattice vectors."""
    lengths = np.linalg.norm(vectors, axis=1)  # which may be very different
    return np.linalg.pinv(vectors / lengths[:, None]) / lengths


def expected_pairs(n: int, vectors: np.ndarray, cutoff: float) -> float:
    """Of n atoms spread evenly over a cell of p vectors [p, 3]; if p < 3, as if they all lay in its plane or on its line."""
    p = len(vectors)
    return n**2 * math.pi ** (p / 2) / math.gamma(p / 2 + 1) * cutoff**p / _volume(vectors)


def _at_most(atoms: np.ndarray, images: np.ndarray, cutoff: float) -> float:
    """A bound on the number of pairs: all of neighbouring cubes as wide as the cutoff."""
    if (most := float(len(atoms)) * len(images)) < 10**7:
        return most
    squares = 1.0
    for x in (atoms, images):  # numbers of cubes may wrap around: cubes that are taken for one only raise the bound
        cubes = np.floor(x / cutoff).astype(np.int64) @ np.array([1, 2**21, 2**42])
        squares *= float(np.sum(np.square(np.unique(cubes, return_counts=True)[1], dtype=float)))
    return 27 * math.sqrt(squares)


def memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**34


def require_memory(n_bytes: float, pairs: float, vectors: np.ndarray, cutoff: float) -> None:
    """Raises if a search needs more memory than this machine has.

    Args:
      n_bytes: what the search needs.
      pairs: how many pairs it is about to find.
      vectors: the periodic lattice vectors, shape [p, 3], in Å.
      cutoff: in Å.

    Raises:
      ValueError: with these numbers.
    """
    if n_bytes > memory():
        widths = ", ".join(f"{x:.3g}" for x in 1 / np.linalg.norm(_across(vectors), axis=0)) if len(vectors) else ""
        hint = f"the cell is {widths} Å wide across its periodic directions" if widths else "the atoms are that close to each other"
        raise ValueError(
            f"about {pairs:.2g} pairs of atoms lie within {cutoff:g} Å; to list them takes {n_bytes / 1e9:.2g} GB where this machine has "
            f"{memory() / 1e9:.2g} GB; {hint}: give positions and cell in Å, or a smaller cutoff"
        )
