"""Correlations in time by fast Fourier transforms, and means with errors from blocks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Estimate(NamedTuple):
    """A mean over a trajectory, and how far it can be trusted.

    Args:
      mean: of the blocks.
      error: standard error of this mean, from how the blocks differ.

    Example:
      >>> estimate = block_average(np.array([1.0, 3.0, 2.0, 2.0]), blocks=2)
      >>> float(estimate.mean), float(estimate.error)
      (2.0, 0.0)
    """

    mean: Array
    error: Array


def block_average(values: jax.typing.ArrayLike, *, blocks: int) -> Estimate:
    """The mean over a trajectory, with an error from blocks of it, which does not look at how steps are correlated.

    The error is right where a block is much longer than correlations last; more blocks then change nothing. Of few blocks it is itself
    uncertain by one part in √(2 blocks).

    Args:
      values: shape [T, ...]; the first T mod blocks of them are left out.
      blocks: how many, at least 2.

    Returns:
      Mean and error, of the shape of one value, in its unit.

    Raises:
      ValueError: for fewer values than blocks.

    Example:
      >>> mean, error = block_average(jnp.array([1.0, 2.0, 3.0, 4.0]), blocks=2)
      >>> float(mean), float(error)
      (2.5, 1.0)
    """
    return of_blocks(jnp.mean(in_blocks(jnp.asarray(values), blocks, "block_average"), axis=1))


def in_blocks(values: Array, blocks: int, name: str, least: int = 1) -> Array:
    """The end of a trajectory [T, ...] as equal blocks [blocks, T // blocks, ...].

    Raises:
      ValueError: where a block would have fewer entries than `least`.
    """
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 2:
        raise ValueError(f"{name}: blocks must be an integer of at least 2, got {blocks!r}")
    each = len(values) // blocks
    if each < least:
        raise ValueError(f"{name}: {len(values)} steps in {blocks} blocks are {each} each; expected at least {least}, so write fewer blocks")
    return values[len(values) - blocks * each :].reshape(blocks, each, *values.shape[1:])


def of_blocks(found: Array) -> Estimate:
    """Mean and standard error of what was found in blocks [blocks, ...]."""
    return Estimate(jnp.mean(found, axis=0), jnp.std(found, axis=0, ddof=1) / jnp.sqrt(len(found)))


def correlation(one: jax.typing.ArrayLike, other: jax.typing.ArrayLike | None = None, *, length: int | None = None) -> Array:
    r"""The correlation in time of series, or of each with itself, over all pairs of steps that a trajectory has.

    .. math:: C(t) = \frac{1}{T - t} \sum_{s=0}^{T-t-1} a(s)\, b(s + t)

    Means are not subtracted.

    Args:
      one: a, shape [T, ...].
      other: b, of the same shape; None is a.
      length: L, how many lags; None is all T. The last ones are of few pairs.

    Returns:
      C, shape [L, ...], in the product of both units.

    Example:
      >>> np.round(np.asarray(correlation(jnp.array([1.0, -1.0, 1.0, -1.0]))), 9).tolist()
      [1.0, -1.0, 1.0, -1.0]
    """
    one = jnp.asarray(one)
    other = one if other is None else jnp.asarray(other)
    steps = len(one)
    length = steps if length is None else length
    if one.shape != other.shape or isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= steps:
        raise ValueError(f"correlation: expected two series [T, ...] and a length of 1 to T, got {one.shape}, {other.shape} and {length!r}")
    size = 1 << (steps + length - 2).bit_length()  # what is added up beyond the end of a series is zero
    a, b = (jnp.fft.rfft(x, size, axis=0) for x in (one, other))
    sums = jnp.fft.irfft(jnp.conj(a) * b, size, axis=0)[:length]
    return sums / (steps - jnp.arange(length)).astype(one.dtype).reshape(-1, *(1,) * (one.ndim - 1))


def running_integral(values: Array, interval: float | Array) -> Array:
    """The integral from the first step to each, by trapezoids, of values [T, ...] an interval apart."""
    steps = 0.5 * (values[1:] + values[:-1]) * interval
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(steps, axis=0)])
