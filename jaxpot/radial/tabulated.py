"""Radial functions as tables for molecular dynamics: few primitives, piecewise polynomial, mixed after the sum over neighbours.

All radial functions g_nl of a density span a space of few dimensions: fifteen to thirty functions P_t render the hundred of a usual
SOAP. A neighbour then costs one row of a small table and one polynomial, the sum over neighbours runs over P_t(r) Y_lm, and the radial
channels are mixed once per atom.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import RadialByDegree, only_sharp, smeared
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_SIZES = (32, 64, 128, 256, 512)  # intervals tried; a table that leaves the fast caches costs more than it saves


@pytree
class Tabulated(RadialByDegree):
    r"""Radial functions from a table, made by `jaxpot.tabulate`.

    .. math:: g_{nl}(r) = \sum_t P_t(r)\, M_{ltn}

    with P_t a polynomial on each of I equal intervals of [0, reach], as smooth between them as Hermite interpolation makes it: its
    value and its first two (degree 5) or three (degree 7) derivatives are continuous.

    Args:
      n_max: number of functions for each l.
      reach: where the table ends, in Å.
      table: coefficients of the powers of the place in an interval, from 0 to 1, shape [I, degree + 1, T].
      mixing: M, shape [l_max + 1, T, n_max], or [1, T, n_max] where all degrees share their functions.
      error: largest deviation from the functions it was made from, relative to the largest value of all.
    """

    n_max: int = static()
    reach: Leaf = positive()
    table: Leaf = leaf(shape="[I, D, T]")
    mixing: Leaf = leaf(shape="[L, T, N]")
    error: float = static(default=0.0)

    def primitives(self, r: Array) -> Array:
        """P_t at distances r [K], shape [K, T]; beyond the table the value at its end."""
        table = jnp.asarray(self.table, r.dtype)
        x = jnp.clip(r / jnp.asarray(self.reach, r.dtype), 0, 1) * table.shape[0]
        return _piecewise(table, x)

    def __call__(self, r, radius, l_max):
        return einsum("kt,ltn->kln", self.primitives(r), jnp.asarray(self.mixing, r.dtype))


smeared.register(Tabulated, only_sharp)


def tabulated(coefficients: np.ndarray, reach: float, accuracy: float) -> Tabulated:
    """A table of functions given as Chebyshev series on [0, reach].

    Args:
      coefficients: shape [nodes, l_max + 1, n_max], or [nodes, 1, n_max].
      reach: in Å.
      accuracy: largest deviation allowed, relative to the largest value of all functions.

    Raises:
      ValueError: if no table of moderate size is as accurate.
    """
    series = np.polynomial.chebyshev
    nodes, n_l, n_max = coefficients.shape
    flat = coefficients.reshape(nodes, -1)
    x = np.cos(np.pi * (np.arange(4 * nodes) + 0.5) / (4 * nodes))
    values = series.chebval(x, flat).T
    _, size, directions = np.linalg.svd(values, full_matrices=False)
    n_primitives = max(1, int(np.sum(size > 0.1 * accuracy * size[0])))
    mixing = directions[:n_primitives]
    primitives = flat @ mixing.T
    n_derivatives = 3 if accuracy > 1e-10 else 4  # those matched at the ends of an interval, the value among them
    error = np.inf
    for intervals in _SIZES:
        table = _hermite(primitives, intervals, n_derivatives)
        place = np.linspace(0, 1, 9)
        x = 2 * (np.arange(intervals)[:, None] + place).reshape(-1) / intervals - 1
        powers = np.vander(place, table.shape[1], increasing=True)
        exact = series.chebval(x, flat).T
        found = np.einsum("pd,idt->ipt", powers, table).reshape(-1, n_primitives) @ mixing
        error = np.max(np.abs(found - exact)) / np.max(np.abs(exact))
        if error <= accuracy:
            mixing = np.moveaxis(mixing.reshape(n_primitives, n_l, n_max), 1, 0)
            return Tabulated(n_max, reach, table, mixing, float(f"{error:.1e}"))
    raise ValueError(f"tabulate: {_SIZES[-1]} intervals render the radial functions to {error:.1e} only, {accuracy:.1e} was asked for")


def _hermite(coefficients: np.ndarray, intervals: int, n_derivatives: int) -> np.ndarray:
    """Local polynomials [intervals, 2 n_derivatives, T] that match Chebyshev series [nodes, T] on [0, 1] and their derivatives at all ends."""
    series = np.polynomial.chebyshev
    ends = 2 * np.arange(intervals + 1) / intervals - 1
    matched, derivative = [], coefficients
    for _ in range(n_derivatives):
        matched.append(series.chebval(ends, derivative).T)
        derivative = series.chebder(derivative) * (2 / intervals) if len(derivative) > 1 else np.zeros_like(derivative)
    matched = np.stack(matched)  # by the place in an interval, [derivative, end, T]
    right_hand_side = np.concatenate([matched[:, :-1], matched[:, 1:]])
    return np.einsum("dc,cit->idt", _two_point(n_derivatives), right_hand_side)


@functools.cache
def _two_point(n: int) -> np.ndarray:
    """Coefficients of the polynomial of degree 2n − 1 with given derivatives 0 … n − 1 at 0 and then at 1, as a matrix [2n, 2n]."""
    falling = np.array([[np.prod(power - np.arange(order)) for power in range(2 * n)] for order in range(n)], float)
    at_zero = falling * np.eye(n, 2 * n)
    return np.linalg.inv(np.concatenate([at_zero, falling]))


def _with_slope(table: Array, x: Array) -> tuple[Array, Array]:
    """Value and slope by x at x [K] in units of intervals, each [K, T]."""
    interval = jnp.clip(jax.lax.stop_gradient(x).astype(jnp.int32), 0, table.shape[0] - 1)
    rows, place = table[interval], (x - interval.astype(x.dtype))[:, None]
    value, slope = rows[:, -1], jnp.zeros_like(rows[:, -1])
    for power in range(table.shape[1] - 2, -1, -1):
        slope = slope * place + value
        value = value * place + rows[:, power]
    return value, slope


@jax.custom_jvp
def _piecewise(table: Array, x: Array) -> Array:
    """Value at x [K], shape [K, T]. Its derivative is made in the same pass, or every step of the recursion would be kept for it."""
    return _with_slope(table, x)[0]


@_piecewise.defjvp
def _piecewise_jvp(primals, tangents):
    (table, x), (dtable, dx) = primals, tangents
    value, slope = _with_slope(table, x)
    return value, slope * dx[:, None] + _piecewise(dtable, x)
