"""Blocks of atoms: how many are evaluated at once, and functions of a stack over its blocks."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxpot.cores import cores, shared_out


@functools.singledispatch
def block_size(part: Any, n_neighbors: int) -> int:
    """How many atoms are evaluated at once on CPU: blocks that fit the cache are up to three times faster. Classes that hold more per atom
    register a smaller number."""
    return 128


def atoms_at_once(on_cpu: int = 128) -> int:
    """The default block: on CPU atoms that fit the cache; on an accelerator as many such blocks as fill it, which bounds memory as well."""
    return on_cpu if jax.default_backend() == "cpu" else 512 * on_cpu


@functools.singledispatch
def atoms_per_block(part: Any, n_neighbors: int) -> int:
    """The block in use; classes that let users say it register that."""
    return atoms_at_once(block_size(part, n_neighbors))


def even_blocks(n: int, block: int, share: int = 1) -> tuple[int, int]:
    """Number and size of even blocks of at most this many, of which the last one is padded by less than their number; a multiple of `share`."""
    n_blocks = -(-n // (block * share)) * share
    return n_blocks, -(-n // n_blocks)


def map_blocks(function: Callable, stack: Any, block: int) -> Any:
    """A function of a stack of atoms over even blocks of at most this many; the last one repeats the last entry to fill up.

    Where `use_cores` has been called, every core evaluates its share of the blocks.
    """
    n = jax.tree_util.tree_leaves(stack)[0].shape[0]
    if n <= block:
        return function(stack)
    share = cores()
    n_blocks, block = even_blocks(n, block, share)
    fill = n_blocks * block - n

    def split(x):
        x = jnp.concatenate([x, jnp.repeat(x[-1:], fill, axis=0)]) if fill else x
        return x.reshape(n_blocks, block, *x.shape[1:])

    blocks = jax.tree_util.tree_map(split, stack)
    every = functools.partial(jax.lax.map, function)
    out = shared_out(every, blocks, share) if share > 1 else every(blocks)
    return jax.tree_util.tree_map(lambda x: x.reshape(n_blocks * block, *x.shape[2:])[:n], out)
