"""Kernel matrices between many molecules in blocks, equal to those of `StructureGP` (tests/experiments/test_learning_curves.py).

A `Set` holds the features of molecules, of each as a whole or of its atoms element by element. Products of features are one matrix product,
|a − b|² = a² + b² − 2ab; only sums of absolute differences are made entry by entry. Several hyper-parameters share the products.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxpot.math.kernels import power

ROWS, COLUMNS = 128, 1024  # molecules in a block
_PAD = 512  # numbers of atoms are filled up to multiples of it, so that few shapes are compiled


@dataclasses.dataclass(frozen=True)
class Set:
    """Molecules by their features.

    Args:
      features: of each element [atoms, F], atoms in the order of molecules; of whole molecules one array [molecules, F].
      starts: for each element where the atoms of each molecule begin, [molecules + 1].
    """

    features: tuple[np.ndarray, ...]
    starts: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.starts[0]) - 1

    def take(self, molecules: Sequence[int]) -> "Set":
        """These molecules, in this order."""
        features, starts = [], []
        for x, start in zip(self.features, self.starts, strict=True):
            counts = start[1:] - start[:-1]
            rows = np.concatenate([np.arange(start[i], start[i + 1]) for i in molecules]) if len(molecules) else np.zeros(0, int)
            features.append(np.asarray(x[rows], float))
            starts.append(np.concatenate([[0], np.cumsum(counts[np.asarray(molecules, int)])]))
        return Set(tuple(features), tuple(starts))


@functools.partial(jax.jit, static_argnums=0)
def _gaussian(n: int, x, y, scales):
    square = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2 * jnp.matmul(x, y.T, precision="highest")
    return [jnp.exp(-jnp.maximum(square, 0) / (2 * scales[i] ** 2)) for i in range(n)]


@functools.partial(jax.jit, static_argnums=0)
def _laplacian(n: int, x, y, scales):
    distance = jax.lax.map(lambda row: jnp.sum(jnp.abs(row[None, :] - y), axis=1), x)
    return [jnp.exp(-distance / scales[i]) for i in range(n)]


@functools.partial(jax.jit, static_argnums=0)
def _polynomial(n: int, x, y, scales):
    dot = jnp.matmul(x, y.T, precision="highest")
    return [power(dot, scales[i]) for i in range(n)]


KERNELS = {"gaussian": _gaussian, "laplacian": _laplacian, "polynomial": _polynomial}


def _padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, -len(x) % _PAD), (0, 0)))


def _block(kernel: str, a: Set, b: Set, rows: slice, columns: slice, scales: np.ndarray) -> np.ndarray:
    """[scales, rows, columns]."""
    total = np.zeros((len(scales), rows.stop - rows.start, columns.stop - columns.start))
    for x, start, y, other in zip(a.features, a.starts, b.features, b.starts, strict=True):
        at, to = start[rows.start : rows.stop + 1], other[columns.start : columns.stop + 1]
        n, m = at[-1] - at[0], to[-1] - to[0]
        if not n or not m:
            continue
        found = KERNELS[kernel](len(scales), _padded(x[at[0] : at[-1]]), _padded(y[to[0] : to[-1]]), scales)
        for k, values in enumerate(found):
            # sums over the atoms of each molecule, as differences are not: large sums would take the digits of small ones
            total[k] += _summed(_summed(np.asarray(values)[:n, :m], at - at[0], 0), to - to[0], 1)
    return total


def _summed(values: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    some = starts[1:] > starts[:-1]
    if len(starts) - 1 == values.shape[axis] and np.all(some):
        return values
    shape = list(values.shape)
    shape[axis] = len(some)
    out = np.zeros(shape)
    index = [slice(None)] * 2
    index[axis] = some
    out[tuple(index)] = np.add.reduceat(values, starts[:-1][some], axis=axis)
    return out


def kernel_matrices(kernel: str, a: Set, b: Set | None, scales: Sequence[float], *, path: Path | None = None, label: str = "") -> np.ndarray:
    """Kernels between molecules, Σ over pairs of atoms of one element where features are of atoms.

    Args:
      kernel: "gaussian", exp(−|x − y|²/2s²); "laplacian", exp(−|x − y|₁/s); or "polynomial", (x · y)^s.
      a: M molecules.
      b: N molecules; None is a itself, of which half is computed.
      scales: values of s.
      path: where finished rows are kept (.npy), so that an interrupted computation goes on; None keeps nothing.
      label: of the progress bar.

    Returns:
      Shape [scales, M, N]; a memory map where `path` is given.
    """
    scales, n = np.asarray(scales, float), len(a if b is None else b)
    shape, out, done = (len(scales), len(a), n), None, 0
    progress = None if path is None else path.with_suffix(".done")
    if path is not None and path.exists() and progress.exists():
        out, done = np.load(path, mmap_mode="r+"), int(progress.read_text())
        if out.shape != shape:
            raise ValueError(f"{path} holds kernels of shape {out.shape}, expected {shape}; remove it")
    elif path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = np.lib.format.open_memmap(path, "w+", float, shape)
    else:
        out = np.zeros(shape)
    for i in tqdm(range(0, len(a), ROWS), desc=label, initial=0):
        rows = slice(i, min(i + ROWS, len(a)))
        if rows.stop <= done:
            continue
        for j in range(0, n if b is not None else rows.stop, COLUMNS):
            columns = slice(j, min(j + COLUMNS, n if b is not None else rows.stop))
            found = _block(kernel, a, a if b is None else b, rows, columns, scales)
            out[:, rows, columns] = found
            if b is None:
                out[:, columns, rows] = np.swapaxes(found, 1, 2)
        if path is not None:
            out.flush()
            progress.write_text(str(rows.stop))
    return out
