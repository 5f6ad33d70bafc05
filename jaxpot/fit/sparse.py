"""Selection of sparse points: leverage (CUR) and farthest points (FPS). Neither is differentiable; gradients flow through the
chosen environments, which `SparseGP` keeps."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.fit.rows import explain
from jaxpot.graph import Environment, environments

Array = jax.Array


def select_environments(
    descriptor: LocalDescriptor,
    data: Dataset,
    m: int | Mapping[str, int],
    *,
    key: Array,
    method: str = "cur",
) -> Environment:
    r"""Chooses M atomic environments of a data set as sparse points.

    "cur" draws without replacement with probability proportional to the leverage scores of the feature matrix X = U S Vᵀ,
    "fps" starts at a random environment and adds the one farthest from all chosen in the features' Euclidean distance.

    .. math:: \pi_i = \frac1k \sum_{a \le k} U_{ia}^2

    Centre species are treated apart, since kernels between them are zero. Equal environments are never chosen twice.

    Args:
      descriptor: a local descriptor.
      data: where the environments come from.
      m: their number, shared among centre species in proportion to their distinct environments; or a number per symbol.
      key: JAX random key.
      method: "cur" or "fps".

    Returns:
      A stack of M environments, sorted by frame and atom.

    Raises:
      ValueError: for an unknown method, or more points than there are distinct environments (the message names their number).

    References:
      Mahoney, Drineas, "CUR matrix decompositions for improved data analysis", PNAS 106, 697 (2009).
    """
    choosers = {"cur": _leverage, "fps": _farthest}
    if method not in choosers:
        raise ValueError(f'method must be "cur" or "fps", got {method!r}')
    features, centers, origin = _all_features(descriptor, data)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    distinct = {s: _distinct(np.flatnonzero(centers == s), features) for s in range(len(descriptor.species))}
    counts = _shares(m, {descriptor.species[s]: len(ids) for s, ids in distinct.items()})
    chosen = [ids[choosers[method](features[ids], counts[descriptor.species[s]], rng)] for s, ids in distinct.items() if len(ids)]
    chosen = np.concatenate(chosen)
    order = np.lexsort((origin[chosen, 1], origin[chosen, 0]))
    return _gather(descriptor, data, origin[chosen[order]])


def count_distinct(descriptor: LocalDescriptor, data: Dataset) -> int:
    """How many atomic environments of a data set differ, centre species apart: the most that `select_environments` can choose."""
    features, centers, _ = _all_features(descriptor, data)
    return sum(len(_distinct(np.flatnonzero(centers == s), features)) for s in range(len(descriptor.species)))


@jax.jit
def _features(descriptor, graph):
    stack = environments(graph, descriptor.reach, descriptor.species)
    return jax.lax.map(descriptor.at().environment, stack, batch_size=128), stack.center


def _all_features(descriptor: LocalDescriptor, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, F], centre species [n] and (frame, atom) [n, 2] of every atom of a data set."""
    features, centers, origin = [], [], []
    for frame, structure in data.structures():
        n = data.n_atoms[frame]
        x, center = (np.asarray(a)[:n] for a in _features(descriptor, structure.graphs))
        if not np.all(np.isfinite(x)):
            raise ValueError(explain(descriptor, structure, frame))
        features.append(x)
        centers.append(center)
        origin.append(np.stack([np.full(n, frame), np.arange(n)], axis=1))
    return np.concatenate(features), np.concatenate(centers), np.concatenate(origin)


def _distinct(ids: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The first of each set of environments whose features agree to nine digits."""
    if not len(ids):
        return ids
    x = features[ids]
    _, first = np.unique(np.round(x / max(np.abs(x).max(), 1e-300), 9), axis=0, return_index=True)
    return ids[np.sort(first)]


def _shares(m: int | Mapping[str, int], available: dict[str, int]) -> dict[str, int]:
    if isinstance(m, Mapping):
        unknown = sorted(set(m) - set(available))
        if unknown:
            raise ValueError(f"m names {unknown}; the descriptor knows {sorted(available)}")
        shares = {s: int(m.get(s, 0)) for s in available}
    else:
        total = sum(available.values())
        if not 1 <= m <= total:
            raise ValueError(f"m = {m} sparse points asked for, but the data hold {total} distinct environments; write m={total} or fewer")
        exact = {s: m * n / total for s, n in available.items()}
        shares = {s: int(x) for s, x in exact.items()}
        for s in sorted(exact, key=lambda s: shares[s] - exact[s])[: m - sum(shares.values())]:
            shares[s] += 1
    for s, count in shares.items():
        if not 0 <= count <= available[s]:
            raise ValueError(f"{count} sparse points asked for {s}, but the data hold {available[s]} distinct environments of it")
    return shares


def _leverage(x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    values, vectors = np.linalg.eigh(x.T @ x)
    keep = values > 1e-12 * values[-1]
    u = (x @ vectors[:, keep]) / np.sqrt(values[keep])
    rank = max(1, min(m, u.shape[1]) // 2)
    score = np.sum(u[:, -rank:] ** 2, axis=1) / rank
    # the m largest of log score + Gumbel noise are a draw without replacement with these weights
    return np.argsort(-(np.log(np.maximum(score, 1e-300)) + rng.gumbel(size=len(x))))[:m]


def _farthest(x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    if m == 0:
        return np.zeros(0, int)
    chosen = [int(rng.integers(len(x)))]
    distance = np.full(len(x), np.inf)
    for _ in range(m - 1):
        distance = np.minimum(distance, np.sum((x - x[chosen[-1]]) ** 2, axis=1))
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen)


def _gather(descriptor: LocalDescriptor, data: Dataset, origin: np.ndarray) -> Environment:
    """The environments of (frame, atom) pairs, padded to one number of slots."""
    parts = []
    slots = max(batch.graphs.neighbors.shape[-1] for batch in data.batches)
    for frame, structure in data.structures():
        atoms = origin[origin[:, 0] == frame, 1]
        if not len(atoms):
            continue
        stack = environments(structure.graphs, descriptor.reach, descriptor.species)
        picked = jax.tree_util.tree_map(lambda x, atoms=atoms: np.asarray(x)[atoms], stack)
        fill = ((0, 0), (0, slots - picked.mask.shape[1]))
        far = float(np.abs(picked.vectors).max()) * 2
        picked = picked.replace(
            vectors=np.pad(picked.vectors, (*fill, (0, 0)), constant_values=far),
            species=np.pad(picked.species, fill),
            index=np.pad(picked.index, fill),
            mask=np.pad(picked.mask, fill),
        )
        parts.append((frame, picked))
    parts = [picked for _, picked in sorted(parts, key=lambda item: item[0])]
    merged = jax.tree_util.tree_map(lambda *x: np.concatenate(x), *parts)
    used = int(merged.mask.sum(axis=1).max()) if merged.mask.size else 1
    return jax.tree_util.tree_map(jnp.asarray, _compact(merged, max(used, 1)))


def _compact(stack: Environment, slots: int) -> Environment:
    """Neighbours first, then as few empty slots as possible."""
    order = np.argsort(~stack.mask, axis=1, kind="stable")[:, :slots]
    pick = lambda x: np.take_along_axis(x, order, axis=1)  # noqa: E731
    return stack.replace(
        vectors=np.take_along_axis(stack.vectors, order[:, :, None], axis=1),
        species=pick(stack.species), index=pick(stack.index), mask=pick(stack.mask),
    )  # fmt: skip
