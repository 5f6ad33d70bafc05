"""Minibatches of structures, drawn anew in every pass from buckets of one padded shape."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpot.data import Batch, Dataset, empty_like
from jaxpot.fit.rows import explain
from jaxpot.fit.stored import store
from jaxpot.potentials.base import Potential

Array = jax.Array

_BLOCK = 32  # structures differentiated together where all data make one step


class Bucket(NamedTuple):
    """Structures of one padded shape, followed by an empty one.

    Args:
      frames: which frame each structure is.
      batch: the structures, on the device.
      stored: what is stored of them, term by term.
    """

    frames: np.ndarray
    batch: Batch
    stored: tuple


def buckets_of(model: Potential, kinds: tuple[type | None, ...], data: Dataset, mesh: Mesh | None, done: Callable[[int], None]) -> list[Bucket]:
    """The structures of a data set by padded shape.

    Args:
      model: the potential.
      kinds: what to store of its terms, from `kinds_of_storage`.
      data: labelled structures.
      mesh: devices that hold them all; each takes a share of every minibatch.
      done: is told how many structures were prepared.

    Raises:
      ValueError: for a structure of which something stored is not finite, with `diagnose`'s reason.
    """
    members: dict[tuple[int, ...], list[tuple[Batch, np.ndarray]]] = {}
    for batch, ids in zip(data.batches, data.index, strict=True):
        frames = np.asarray(ids)
        members.setdefault(np.shape(batch.graphs.neighbors)[1:], []).append((_taken(batch, np.flatnonzero(frames >= 0)), frames[frames >= 0]))
    buckets = []
    for parts in members.values():
        frames = np.concatenate([ids for _, ids in parts])
        empty = empty_like(_taken(parts[0][0], slice(1)))
        batch = jax.tree_util.tree_map(lambda *x: jnp.asarray(np.concatenate(x)), *(part for part, _ in parts), empty)
        stored = None
        for i in range(len(frames) + 1):  # one after the other: one compilation for all data of this shape
            structure = jax.tree_util.tree_map(lambda x, i=i: x[i], batch)
            own = store(model, kinds, structure.graphs)
            if i < len(frames):
                if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree_util.tree_leaves(own)):
                    raise ValueError(explain(model, structure, int(frames[i])))
                done(1)
            if stored is None:
                stored = jax.tree_util.tree_map(lambda x, n=len(frames) + 1: jnp.zeros((n, *x.shape), x.dtype), own)
            stored = _filled(stored, own, i)
        buckets.append(Bucket(frames, *everywhere((batch, stored), mesh)))
    return buckets


def everywhere(tree, mesh: Mesh | None):
    """Arrays that all processes hold, on all devices of a mesh."""

    def placed(x):
        if jnp.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):  # optimizers that add noise have some
            return jax.random.wrap_key_data(placed(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, NamedSharding(mesh, P()), lambda index: x[index])

    return tree if mesh is None else jax.tree_util.tree_map(placed, tree)


def on_host(data: Dataset) -> Dataset:
    """The data in this process, also where the devices of several processes share them."""
    if data.mesh is None:
        return data

    def whole(x):
        return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))

    return data.replace(batches=jax.tree_util.tree_map(whole, data.batches), mesh=None)


def _taken(batch: Batch, positions) -> Batch:
    return jax.tree_util.tree_map(lambda x: np.asarray(x)[positions], batch)


@partial(jax.jit, donate_argnums=0)
def _filled(tree, own, i: int):
    """In place, so that nothing large is in memory twice."""
    return jax.tree_util.tree_map(lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, i, 0), tree, own)


Minibatch = tuple[tuple[tuple[Batch, tuple], np.ndarray], ...]  # of some buckets: (batch, stored), and positions [blocks, block] in it


def everything(buckets: list[Bucket], share: int) -> Minibatch:
    """All structures, in blocks of a multiple of `share`."""
    return tuple(((b.batch, b.stored), _blocks(np.arange(len(b.frames)), _BLOCK, share)) for b in buckets)


def steps_per_epoch(data: Dataset, batch: int | None) -> int:
    """How many steps of `fit.train` make one pass over the data; minibatches hold structures of one padded shape."""
    sizes: dict[tuple[int, ...], int] = {}
    for one, ids in zip(data.batches, data.index, strict=True):
        shape = np.shape(one.graphs.neighbors)[1:]
        sizes[shape] = sizes.get(shape, 0) + sum(i >= 0 for i in ids)
    return 1 if batch is None else sum(_even(size, batch)[0] for size in sizes.values())


def one_pass(buckets: list[Bucket], most: int | None, seed: list[int], number: int, share: int) -> list[Minibatch]:
    """The minibatches of a pass, of at most this many structures, in an order that depends on the seed and the number of the pass only."""
    if most is None:
        return [everything(buckets, share)]
    rng = np.random.default_rng([*seed, number])
    minibatches = [(((b.batch, b.stored), ids[None]),) for b in buckets for ids in _blocks(rng.permutation(len(b.frames)), most, share)]
    return [minibatches[i] for i in rng.permutation(len(minibatches))]


def _blocks(positions: np.ndarray, most: int, share: int) -> np.ndarray:
    """Positions in even blocks of a multiple of `share`, filled up with the empty structure, which follows the others."""
    (n_blocks, block), empty = _even(len(positions), most), len(positions)
    blocks = np.concatenate([positions, np.full(n_blocks * block - empty, empty)]).reshape(n_blocks, block)
    return np.pad(blocks, ((0, 0), (0, -block % share)), constant_values=empty).astype(np.int32)


def _even(n: int, most: int) -> tuple[int, int]:
    """Number and size of even blocks of at most this many."""
    n_blocks = -(-n // most)
    return n_blocks, -(-n // n_blocks)
