"""Rings of bonds: those in which no two atoms are joined by a shorter way than along the ring."""

import collections
import itertools

import numpy as np
from ase import Atoms

from jaxpot.graph import neighbor_pairs

Node = tuple[int, int, int, int]  # an atom and the translations of its image


def bonds(atoms: Atoms, length: float) -> list[list[Node]]:
    """Of every atom the atoms, or images, nearer than a length in Å."""
    centers, neighbors, shifts, _ = neighbor_pairs(atoms, length)
    found: list[list[Node]] = [[] for _ in atoms]
    for center, neighbor, shift in zip(centers.tolist(), neighbors.tolist(), np.asarray(shifts).astype(int).tolist(), strict=True):
        found[center].append((neighbor, *shift))
    return found


def ring_counts(atoms: Atoms, length: float, largest: int) -> np.ndarray:
    """How many shortest-path rings of every size there are for each atom of the cell.

    Between any two members of such a ring no way along bonds is shorter than that along the ring. It is enough that this holds for members
    opposite to each other. Bonds lead from image to image, so that cells may be as small as one likes, and what closes only across the cell
    is no ring.

    Args:
      atoms: periodic or not.
      length: of bonds, at most, in Å.
      largest: size of rings that are looked for.

    Returns:
      Rings divided by atoms, shape [largest + 1]; the index is the size.

    Example:
      >>> from ase.build import bulk
      >>> ring_counts(bulk("C", "diamond", a=3.567), 1.85, 7).tolist()
      [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]

    References:
      Franzblau, "Computation of ring statistics for network models of solids", Phys. Rev. B 44, 4925 (1991).
    """
    table, depth = bonds(atoms, length), largest // 2
    near = [_distances(root, table, depth) for root in range(len(atoms))]

    def apart(one: Node, other: Node) -> int:
        between = (other[0], *(b - a for a, b in zip(one[1:], other[1:], strict=True)))
        return near[one[0]].get(between, depth + 1)

    counts = np.zeros(largest + 1)
    for root in range(len(atoms)):
        start: Node = (root, 0, 0, 0)
        ways = _ways(start, near[root], table)
        for node, steps in near[root].items():
            if steps == 0:
                continue
            # even rings end at the node, odd ones at a bond between two nodes that are equally far
            ends = [(a, b[:-1]) for a, b in itertools.combinations(ways[node], 2)]
            if 2 * steps + 1 <= largest:
                ends += [(a, b) for other in _next(node, table) if other > node and near[root].get(other) == steps for a in ways[node] for b in ways[other]]
            for a, b in ends:
                ring = (start, *a, *reversed(b))
                if len(set(ring)) == len(ring) and len(ring) >= 3 and _is_shortest(ring, apart):
                    counts[len(ring)] += 1
    return counts / np.maximum(np.arange(largest + 1), 1) / len(atoms)  # every ring was found from each of its members


def _next(node: Node, table: list[list[Node]]) -> list[Node]:
    return [(atom, *(a + b for a, b in zip(node[1:], shift, strict=True))) for atom, *shift in table[node[0]]]


def _distances(root: int, table: list[list[Node]], depth: int) -> dict[Node, int]:
    """Bonds from an atom to all that are at most so many away, the nearest first."""
    start: Node = (root, 0, 0, 0)
    found, queue = {start: 0}, collections.deque([start])
    while queue:
        node = queue.popleft()
        if found[node] < depth:
            for other in _next(node, table):
                if other not in found:
                    found[other] = found[node] + 1
                    queue.append(other)
    return found


def _ways(start: Node, near: dict[Node, int], table: list[list[Node]]) -> dict[Node, list[tuple[Node, ...]]]:
    """All shortest ways from an atom to those near it, without itself."""
    ways: dict[Node, list[tuple[Node, ...]]] = {start: [()]}
    for node, steps in near.items():
        if node != start:
            ways[node] = [(*way, node) for before in _next(node, table) if near.get(before) == steps - 1 for way in ways[before]]
    return ways


def _is_shortest(ring: tuple[Node, ...], apart) -> bool:
    size = len(ring)
    half = size // 2
    return all(apart(ring[i], ring[(i + half) % size]) == half for i in range(half if size % 2 == 0 else size))
