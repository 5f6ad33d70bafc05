"""Quasi-random clusters of few points, by their distances."""

import numpy as np

from jaxpot.math.polynomials import pairs

_MOST = 2**22  # drawn before giving up
_BATCH = 2**12


def quasi_random_simplices(shortest: np.ndarray, longest: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    r"""Distances within clusters of N points in space, evenly spread over those that exist.

    A Sobol sequence fills the box of the distances of every point from the first three; where three spheres of these radii meet there is
    such a cluster. Most boxes hold distances of no cluster (those that break a triangle inequality, say): these are left out, and so are
    clusters with another distance out of range.

    Args:
      shortest: of every pair in the order of `pairs`, shape [E], in Å.
      longest: likewise.
      n: how many.
      seed: of the scrambling.

    Returns:
      Shape [n, E], in Å.

    Raises:
      ValueError: for ranges that hold no clusters.

    Example:
      >>> quasi_random_simplices(np.full(3, 1.0), np.full(3, 2.0), 100).shape
      (100, 3)
    """
    from scipy.stats import qmc

    edges = pairs(round((1 + (1 + 8 * len(shortest)) ** 0.5) / 2))
    n_points = int(edges.max()) + 1
    drawn = [e for e, (a, _) in enumerate(edges) if a < 3]  # of the pairs (a, b)
    low, high = np.asarray(shortest, float), np.asarray(longest, float)
    sobol = qmc.Sobol(len(drawn) + max(0, n_points - 4), seed=seed)
    found, n_found, n_drawn = [], 0, 0
    while n_found < n:
        if n_drawn >= _MOST or not np.all(low < high):
            raise ValueError(f"{n_found} of {n_drawn} clusters exist with distances from {low} to {high} Å; widen the range")
        u = sobol.random(_BATCH)
        n_drawn += _BATCH
        distance = {tuple(edges[e]): low[e] + (high[e] - low[e]) * u[:, i] for i, e in enumerate(drawn)}
        side = np.where(u[:, len(drawn) :] < 0.5, -1.0, 1.0)
        positions, exists = _placed(distance, side, n_points)
        r = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=-1).T
        r = r[exists & np.all((r >= low - 1e-9) & (r <= high + 1e-9), axis=1)]
        found.append(r)
        n_found += len(r)
    return np.concatenate(found)[:n]


def _placed(distance: dict[tuple[int, int], np.ndarray], side: np.ndarray, n_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, draws, 3] with these distances from the first three, and whether there are such points; the second lies on the x axis,
    the third in the plane of x and y, the fourth above it, all others on the given side of it."""
    positions = np.zeros((n_points, len(distance[0, 1]), 3))
    exists = np.ones(positions.shape[1], bool)
    positions[1, :, 0] = base = distance[0, 1]
    for b in range(2, n_points):
        square = distance[0, b] ** 2
        x = (base**2 + square - distance[1, b] ** 2) / (2 * base)
        rest = square - x**2
        if b == 2:
            y = np.sqrt(np.maximum(rest, 0))
            exists &= rest > 0
            positions[b, :, 0], positions[b, :, 1] = x, y
            corner, height = x, np.where(rest > 0, y, 1)
            continue
        y = (square - distance[2, b] ** 2 + corner**2 + height**2 - 2 * x * corner) / (2 * height)
        rest = rest - y**2
        exists &= rest > 0
        positions[b] = np.stack([x, y, np.sqrt(np.maximum(rest, 0)) * (side[:, b - 4] if b > 3 else 1)], axis=-1)
    return positions, exists
