"""Selection of sparse points: leverage (CUR), farthest points (FPS), k-means and a grid. None is differentiable; gradients flow
through the chosen environments or instances, which `SparseGP` keeps."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.descriptors.base import Descriptor, LocalDescriptor, features_of_stack
from jaxpot.descriptors.clusters import ClusterDescriptor, Instances
from jaxpot.fit.rows import explain
from jaxpot.graph import Environment, Graph, environments, only
from jaxpot.passes import condense, prepare
from jaxpot.potentials.base import Model

Array = jax.Array


def select_environments(
    descriptor: Descriptor,
    data: Dataset | Iterable[Any],
    m: int | Mapping[Any, int],
    *,
    key: Array,
    method: str | None = None,
    charges: Model | None = None,
) -> Environment | Instances:
    r"""Chooses M atomic environments of a data set, or M instances of clusters, as sparse points.

    "cur" draws without replacement with probability proportional to the leverage scores of the feature matrix X = U S Vᵀ,
    "fps" starts at a random environment and adds the one farthest from all chosen in the features' Euclidean distance, "kmeans" takes
    the environment nearest to each centre of a k-means clustering, and "grid" one from each filled cell of the coarsest
    grid with M of them, the fullest cells first.

    .. math:: \pi_i = \frac1k \sum_{a \le k} U_{ia}^2

    Centre species (kinds of clusters) are treated apart, since kernels between them are zero. Equal environments are never chosen
    twice. Coordinates of clusters are divided by their standard deviations first.

    Args:
      descriptor: a local descriptor or a cluster descriptor.
      data: where the environments come from; a Dataset, or frames.
      m: their number, shared among centre species (or kinds) in proportion to their distinct environments; or a number for each.
      key: JAX random key.
      method: "cur" or "fps", "kmeans", and for clusters "grid"; None is "cur", for clusters "grid".
      charges: a charge model, whose charges the atoms carry; for descriptors that look at them, such as `ChargePowers`.

    Returns:
      A stack of M environments, sorted by frame and atom, or M instances.

    Raises:
      ValueError: for an unknown method, one that does not suit the descriptor, or more points than there are distinct environments
        (the message names their number).

    References:
      Mahoney, Drineas, "CUR matrix decompositions for improved data analysis", PNAS 106, 697 (2009).
    """
    clusters = isinstance(descriptor, ClusterDescriptor)
    choosers = {"fps": _farthest, "kmeans": _kmeans} | ({"grid": _grid} if clusters else {"cur": _leverage})
    method = method or ("grid" if clusters else "cur")
    if method not in choosers:
        raise ValueError(f"method for {type(descriptor).__name__} must be one of {', '.join(sorted(choosers))}, got {method!r}")
    if clusters and charges is not None:
        raise ValueError(f"select_environments: instances of {type(descriptor).__name__} carry nothing; leave out charges")
    features, kinds, origin = _candidates(descriptor, data := Dataset.of(descriptor, data, name="fit.select_environments"), charges)
    names = descriptor.kinds if clusters else descriptor.species
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    distinct = {name: _distinct(np.flatnonzero(kinds == k), features) for k, name in enumerate(names)}
    counts = _shares(m, {name: len(ids) for name, ids in distinct.items()})
    chosen = []
    for name, ids in distinct.items():
        if counts[name]:
            x = features[ids]
            chosen.append(ids[choosers[method](x / np.maximum(x.std(axis=0), 1e-12) if clusters else x, counts[name], rng)])
    chosen = np.concatenate(chosen)
    if clusters:
        return Instances(jnp.asarray(features[chosen]), jnp.asarray(kinds[chosen]))
    order = np.lexsort((origin[chosen, 1], origin[chosen, 0]))
    return _gather(descriptor, data, origin[chosen[order]], charges)


def count_distinct(descriptor: LocalDescriptor | ClusterDescriptor, data: Dataset) -> int:
    """How many atomic environments (or instances) of a data set differ, centre species (or kinds) apart: the most that
    `select_environments` can choose.
    """
    features, kinds, _ = _candidates(descriptor, data, None)
    return sum(len(_distinct(np.flatnonzero(kinds == k), features)) for k in np.unique(kinds))


def _stack(descriptor: LocalDescriptor, graph: Graph, charges: Model | None) -> Environment:
    """All environments of a structure, with the charges of a model."""
    carried = None if charges is None else charges.properties(graph).charges[:, None]
    return environments(graph, descriptor.reach, descriptor.species, carried)


@jax.jit
def _features(descriptor, graph, charges):
    stack = _stack(descriptor, graph, charges)
    return features_of_stack(prepare(descriptor), stack), stack.center


@functools.singledispatch
def _candidates(descriptor: LocalDescriptor, data: Dataset, charges: Model | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, F], centre species [n] and (frame, atom) [n, 2] of every atom of a data set."""
    features, centers, origin = [], [], []
    for frame, structure in data.structures():
        n = data.n_atoms[frame]
        x, center = (np.asarray(a)[:n] for a in _features(descriptor, structure.graphs, charges))
        if not np.all(np.isfinite(x)):
            raise ValueError(explain(descriptor, structure, frame))
        features.append(x)
        centers.append(center)
        origin.append(np.stack([np.full(n, frame), np.arange(n)], axis=1))
    return np.concatenate(features), np.concatenate(centers), np.concatenate(origin)


@jax.jit
def _instances(descriptor, graph):
    stack = environments(graph, descriptor.reach, descriptor.species)
    found, weight = jax.lax.map(condense(descriptor).instances, stack, batch_size=128)
    return found.coordinates, found.kind, jnp.where((graph.numbers > 0)[:, None], weight, 0)


@_candidates.register
def _all_instances(descriptor: ClusterDescriptor, data: Dataset, charges: None) -> tuple[np.ndarray, np.ndarray, None]:
    """Coordinates [n, F] and kinds [n] of every instance of a data set that has a weight."""
    coordinates, kinds = [], []
    for frame, structure in data.structures():
        x, kind, weight = (np.asarray(a) for a in _instances(descriptor, only(structure.graphs, descriptor.species)))
        if not np.all(np.isfinite(weight)):
            raise ValueError(explain(descriptor, structure, frame))
        coordinates.append(x[weight > 0])
        kinds.append(kind[weight > 0])
    return np.concatenate(coordinates), np.concatenate(kinds), None


def _distinct(ids: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The first of each set of environments whose features agree to nine digits."""
    if not len(ids):
        return ids
    x = features[ids]
    _, first = np.unique(np.round(x / max(np.abs(x).max(), 1e-300), 9), axis=0, return_index=True)
    return ids[np.sort(first)]


def _shares(m: int | Mapping[Any, int], available: dict[Any, int]) -> dict[Any, int]:
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


def _farthest(x: np.ndarray, m: int, rng: np.random.Generator, chosen: np.ndarray | None = None) -> np.ndarray:
    chosen = [int(rng.integers(len(x)))] if chosen is None else [int(i) for i in chosen]
    distance = np.full(len(x), np.inf)
    for i in chosen:
        distance = np.minimum(distance, np.sum((x - x[i]) ** 2, axis=1))
    while len(chosen) < m:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.sum((x - x[chosen[-1]]) ** 2, axis=1))
    return np.array(chosen)


def _kmeans(x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.cluster.vq import kmeans2
    from scipy.spatial import KDTree

    centers, _ = kmeans2(x, x[_farthest(x, m, rng)], minit="matrix")
    chosen = np.unique(KDTree(x).query(centers)[1])
    # two centres may have one nearest point: what is missing are the points farthest from all chosen
    return _farthest(x, m, rng, chosen)


def _grid(x: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    low, span = x.min(axis=0), np.maximum(np.ptp(x, axis=0), 1e-12)
    for bins in range(max(1, int(m ** (1 / x.shape[1]))), 100 * m + 2):
        cell = np.minimum((x - low) / span * bins, bins - 1e-9)
        middle = np.sum((cell - np.floor(cell) - 0.5) ** 2, axis=1)
        order = np.argsort(middle, kind="stable")
        _, first, count = np.unique(np.floor(cell[order]).astype(int), axis=0, return_index=True, return_counts=True)
        if len(first) >= m:
            return order[first[np.argsort(-count, kind="stable")[:m]]]
    return _farthest(x, m, rng)


def _gather(descriptor: LocalDescriptor, data: Dataset, origin: np.ndarray, charges: Model | None) -> Environment:
    """The environments of (frame, atom) pairs, padded to one number of slots."""
    parts = []
    slots = max(batch.graphs.neighbors.shape[-1] for batch in data.batches)
    for frame, structure in data.structures():
        atoms = origin[origin[:, 0] == frame, 1]
        if not len(atoms):
            continue
        stack = _stack(descriptor, structure.graphs, charges)
        picked = jax.tree_util.tree_map(lambda x, atoms=atoms: np.asarray(x)[atoms], stack)
        fill = ((0, 0), (0, slots - picked.mask.shape[1]))
        far = float(np.abs(picked.vectors).max()) * 2
        picked = picked.replace(
            vectors=np.pad(picked.vectors, (*fill, (0, 0)), constant_values=far),
            species=np.pad(picked.species, fill),
            index=np.pad(picked.index, fill),
            mask=np.pad(picked.mask, fill),
            carried=np.pad(picked.carried, (*fill, (0, 0))),
        )
        parts.append((frame, picked))
    parts = [picked for _, picked in sorted(parts, key=lambda item: item[0])]
    merged = jax.tree_util.tree_map(lambda *x: np.concatenate(x), *parts)
    used = int(merged.mask.sum(axis=1).max()) if merged.mask.size else 1
    return jax.tree_util.tree_map(jnp.asarray, _compact(merged, max(used, 1)))


def _compact(stack: Environment, slots: int) -> Environment:
    """Neighbours first, then as few empty slots as possible."""
    order = np.argsort(~stack.mask, axis=1, kind="stable")[:, :slots]
    pick = lambda x: np.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=1)  # noqa: E731
    return stack.replace(**{name: pick(getattr(stack, name)) for name in ("vectors", "species", "index", "mask", "carried")})
