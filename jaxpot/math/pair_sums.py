r"""Sums of products of pairs of rows, whose derivatives of every order are again such sums.

A sum of gathered products is quick; what automatic differentiation makes of it, a scatter, is ten times slower on CPU. The operation is
bilinear, and its transpose is written down as a gather over another table: hence a primitive of its own.
"""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir

Array = jax.Array

_GROWTH = 1.4  # sums of nearly equally many terms are filled up with zeros to one length, which bounds the number of loops to compile


def _lengths(counts: np.ndarray) -> np.ndarray:
    """Up to how many terms every sum is filled: exactly its own where there are few different counts."""
    different = np.unique(counts[counts > 0])
    if len(different) <= 8:
        return counts
    kept = [different[-1]]
    for count in different[::-1]:
        if count * _GROWTH < kept[-1]:
            kept.append(count)
    kept = np.array(kept[::-1])
    return np.where(counts > 0, kept[np.searchsorted(kept, counts)], 0)


class PairTable:
    """Which products enter which sum, as structure: tables are equal if they are the same object.

    Args:
      shape: how many rows come out, and how many the left and the right factor have.
      out: which sum each product enters, shape [P].
      left: row of its left factor, shape [P].
      right: row of its right factor, shape [P].
      weight: its factor, shape [P].
    """

    def __init__(self, shape: tuple[int, int, int], out: np.ndarray, left: np.ndarray, right: np.ndarray, weight: np.ndarray):
        self.shape, self._products = shape, (np.asarray(out), np.asarray(left), np.asarray(right), np.asarray(weight, float))
        counts = np.bincount(self._products[0], minlength=shape[0])
        lengths = _lengths(counts)
        by_length = np.argsort(lengths, kind="stable")
        self._places = np.argsort(by_length, kind="stable")
        self._groups, self._n_empty = [], int(np.sum(lengths == 0))
        by_row = np.argsort(self._products[0], kind="stable")
        first = np.concatenate([[0], np.cumsum(counts)])
        for length, n in sorted(Counter(lengths[lengths > 0].tolist()).items()):
            rows = by_length[np.searchsorted(lengths[by_length], length) :][:n]
            slots = first[rows][:, None] + np.arange(length)
            real = np.arange(length) < counts[rows][:, None]
            where = by_row[np.where(real, slots, first[rows][:, None])]
            l, r, w = (x[where] for x in self._products[1:])
            self._groups.append((l.astype(np.int32), r.astype(np.int32), np.where(real, w, 0.0)))

    @functools.cached_property
    def by_left(self) -> "PairTable":
        """The transpose with respect to the left factor: (cotangent, right) -> cotangent of left."""
        out, left, right, weight = self._products
        return PairTable((self.shape[1], self.shape[0], self.shape[2]), left, out, right, weight)

    @functools.cached_property
    def by_right(self) -> "PairTable":
        """The transpose with respect to the right factor: (cotangent, left) -> cotangent of right."""
        out, left, right, weight = self._products
        return PairTable((self.shape[2], self.shape[0], self.shape[1]), right, out, left, weight)

    @functools.cached_property
    def polar(self) -> "PairTable":
        """The table of the derivative of the sums of a vector with itself: (its step, the vector) -> step of the sums."""
        out, left, right, weight = self._products
        same = left == right
        both = [np.concatenate([a, b[~same]]) for a, b in ((out, out), (left, right), (right, left), (np.where(same, 2, 1) * weight, weight))]
        return PairTable(self.shape, *both)

    def __repr__(self) -> str:
        return f"PairTable({self.shape}, {len(self._products[0])} products)"

    def evaluate(self, x: Array, y: Array) -> Array:
        parts = [jnp.zeros((self._n_empty, x.shape[1]), x.dtype)] if self._n_empty else []
        for left, right, weight in self._groups:
            parts.append(jnp.sum(x[left] * y[right] * jnp.asarray(weight, x.dtype)[:, :, None], axis=1))
        # without the barriers XLA fuses the loops into one another and asks for every entry to which of them it belongs
        rows = jax.lax.optimization_barrier(jnp.concatenate(jax.lax.optimization_barrier(parts)))
        return rows if np.array_equal(self._places, np.arange(len(self._places))) else jax.lax.optimization_barrier(rows[self._places])


def pair_sum(table: PairTable, x: Array, y: Array) -> Array:
    r"""Sums of products of pairs of rows.

    .. math:: z_{on} = \sum_{p \in o} w_p\, x_{l_p n}\, y_{r_p n}

    Args:
      table: which products enter which sum.
      x: left factors, shape [L, n].
      y: right factors, shape [R, n].

    Returns:
      Shape [O, n].

    Raises:
      ValueError: for factors of other shapes than the table's.

    Example:
      >>> table = PairTable((1, 2, 2), [0, 0], [0, 1], [0, 1], [1.0, 2.0])
      >>> pair_sum(table, jnp.ones((2, 3)), jnp.ones((2, 3))).tolist()
      [[3.0, 3.0, 3.0]]
    """
    if x.ndim != 2 or x.shape[0] != table.shape[1] or y.shape != (table.shape[2], x.shape[1]):
        raise ValueError(f"pair_sum: expected factors [{table.shape[1]}, n] and [{table.shape[2]}, n], got {x.shape} and {y.shape}")
    return _primitive().bind(x, y, table=table)


def square_sum(table: PairTable, x: Array) -> Array:
    """`pair_sum(table, x, x)`, whose derivative is one sum and not two."""

    @jax.custom_jvp
    def sums(x):
        return pair_sum(table, x, x)

    @sums.defjvp
    def slope(primals, tangents):
        return sums(*primals), pair_sum(table.polar, *tangents, *primals)

    return sums(x)


def _batched(args, dims, *, table):
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)

    def flat(x, d):
        x = jnp.broadcast_to(x[:, None], (x.shape[0], size, x.shape[1])) if d is None else jnp.moveaxis(x, d, 1)
        return x.reshape(x.shape[0], -1)

    out = pair_sum(table, *(flat(x, d) for x, d in zip(args, dims, strict=True)))
    return out.reshape(out.shape[0], size, -1), 1


@functools.cache
def _primitive():
    from jax.extend.core import Primitive  # on first use: it brings Pallas along, and with it options of JAX's configuration

    primitive = Primitive("pair_sum")
    primitive.def_impl(lambda x, y, *, table: jax.jit(table.evaluate)(x, y))
    primitive.def_abstract_eval(lambda x, y, *, table: x.update(shape=(table.shape[0], x.shape[1])))
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x, y, *, table: table.evaluate(x, y), multiple_results=False))
    ad.defbilinear(
        primitive,
        lambda cotangent, x, y, *, table: pair_sum(table.by_left, cotangent, y),
        lambda cotangent, x, y, *, table: pair_sum(table.by_right, cotangent, x),
    )
    batching.primitive_batchers[primitive] = _batched
    return primitive
