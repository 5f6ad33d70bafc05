"""Permutations of like atoms: groups, and those that a molecule passes through in a set of structures."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

_LARGEST = 1000  # elements of a recovered group; more are a sign of structures that do not belong to one molecule


def is_group(permutations: Sequence[Sequence[int]]) -> bool:
    """Whether permutations of one set of indices, each a sequence, are closed under composition (and so hold the identity and inverses).

    Example:
      >>> is_group([(0, 1, 2), (0, 2, 1)]), is_group([(1, 2, 0)])
      (True, False)
    """
    group = {tuple(p) for p in permutations}
    if not group or any(sorted(p) != list(range(len(p))) for p in group) or len({len(p) for p in group}) > 1:
        return False
    return {tuple(p[i] for i in q) for p in group for q in group} == group


def recover_permutations(frames: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """The group of permutations of like atoms that a molecule passes through in these structures, for `GradientDomain`.

    Two structures of one molecule that differ by a rotated methyl group have distance matrices that agree only after some atoms were
    renamed. For every pair of structures the renaming is the assignment of eigenvectors of both distance matrices, kept where it brings the
    matrices closer. The pairs that agree best connect all structures (a minimum spanning tree), so that every structure is renamed
    towards one and the same; what these renamings and their products are is the group.

    Args:
      frames: `ase.Atoms` of one molecule, atoms in one order, without periodicity. A hundred are enough; the cost grows as the square.

    Returns:
      Permutations of the atoms, the identity first.

    Raises:
      ValueError: for no structures, structures of other atoms or periodic ones, or a group of more than 1000 elements.

    Example:
      >>> from ase.build import molecule
      >>> water, other = molecule("H2O"), molecule("H2O")
      >>> water.positions[1] *= 1.1
      >>> other.positions[2] *= 1.1
      >>> recover_permutations([water, other])
      ((0, 1, 2), (0, 2, 1))

    References:
      Chmiela, Sauceda, Müller, Tkatchenko, "Towards exact molecular dynamics simulations with machine-learned force fields",
      Nat. Commun. 9, 3887 (2018).
    """
    frames = list(frames)
    if not frames:
        raise ValueError("recover_permutations: no structures; expected at least one")
    numbers = np.asarray(frames[0].numbers)
    for i, atoms in enumerate(frames):
        if not np.array_equal(atoms.numbers, numbers):
            raise ValueError(f"recover_permutations: structure {i} has the atoms {atoms.symbols}, the first one {frames[0].symbols}; expected one molecule")
        if np.any(atoms.pbc):
            raise ValueError(f"recover_permutations: structure {i} is periodic; set atoms.pbc = False for a molecule that lies whole in its cell")
    distances = np.array([np.linalg.norm(a.positions[:, None] - a.positions[None], axis=-1) for a in frames])
    renamings = _synchronised(distances, numbers)
    return _closure(renamings, len(numbers))


def _match(one: np.ndarray, other: np.ndarray, one_vectors: np.ndarray, other_vectors: np.ndarray, differ: np.ndarray) -> tuple[float, np.ndarray]:
    """The renaming p that makes one[p][:, p] most like the other, and their distance; the identity where nothing is better."""
    from scipy.optimize import linear_sum_assignment

    best, cost = np.arange(len(one)), float(np.linalg.norm(one - other))
    _, found = linear_sum_assignment(differ * len(one) - other_vectors @ one_vectors.T)
    new = float(np.linalg.norm(one[np.ix_(found, found)] - other))
    return (new, found) if new < cost * (1 - 1e-9) else (cost, best)


def _synchronised(distances: np.ndarray, numbers: np.ndarray) -> set[tuple[int, ...]]:
    """The renaming of every structure towards the first, along the tree of best matches."""
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    m, n = distances.shape[:2]
    vectors = np.abs(np.linalg.eigh(distances)[1])
    differ = 2.0 * (numbers[:, None] != numbers[None, :])
    costs, matches = np.zeros((m, m)), {}
    for i, j in itertools.combinations(range(m), 2):
        costs[i, j], matches[i, j] = _match(distances[i], distances[j], vectors[i], vectors[j], differ)
    tree = minimum_spanning_tree(np.triu(1 + costs, 1))  # to SciPy a zero is no edge
    order, parents = breadth_first_order(tree, 0, directed=False)
    towards = {0: np.arange(n)}
    for i in order[1:]:
        parent = parents[i]
        step = matches[i, parent] if i < parent else np.argsort(matches[parent, i])
        towards[i] = step[towards[parent]]  # structure i renamed by this looks like the first
    return {tuple(int(x) for x in p) for p in towards.values()}


def _closure(generators: set[tuple[int, ...]], n: int) -> tuple[tuple[int, ...], ...]:
    identity = tuple(range(n))
    group, new = {identity}, {identity}
    while new:
        new = {tuple(p[i] for i in q) for p in generators for q in new} - group
        group |= new
        if len(group) > _LARGEST:
            raise ValueError(
                f"recover_permutations: more than {_LARGEST} permutations; are the structures of one molecule, whose bonds do not change? "
                "Name the permutations yourself, GradientDomain(..., permutations=((0, 1, 2), (0, 2, 1)))"
            )
    return (identity, *sorted(group - {identity}))
