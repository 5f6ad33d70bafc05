r"""Radial bases: what one writes, sharp or smeared by a Gaussian, and their Chebyshev tables.

.. math:: g_{nl}(r) \qquad\text{or, smeared,}\qquad
   4\pi \int_0^\infty s^2 g_{nl}(s)\, e^{-(s^2 + r^2)/2\sigma^2}\, i_l(s r/\sigma^2)\, ds

A basis writes g. The integral is by quadrature, or by a closed form that is registered beside its class. Smeared functions are so smooth
that Chebyshev polynomials on [0, reach] interpolate them to round-off. So a density evaluates polynomials of the distance and one matrix
product, whatever the basis; integrals are needed at the Chebyshev nodes only, once per call, and derivatives with respect to sigma and the
radius pass through the table alone. The number of nodes is structure; `nodes_needed` says how many the widths ask for.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.interface import Interface
from jaxpot.math.bessel import scaled_spherical_bessel
from jaxpot.math.linalg import einsum

Array = jax.Array

_QUADRATURE = 72  # Gauss–Legendre nodes over ±_WINDOW sigma: a Gaussian times the basis is integrated to round-off
_MOST = 100  # functions; more would be a slip of the pen
_WINDOW = 8.5  # sigmas; exp(−8.5²/2) = 2e-16
_TAIL = 4e7  # in units of eps: how much of a table its last rows may be


class RadialBasis(Interface):
    """Interface: the functions of the distance in which a density is expanded. Write a `Radial`, or, if they depend on l, a `RadialByDegree`.

    Attributes:
      n_max: number of functions, n = 0 … n_max − 1, for every degree l.
    """

    n_max: int

    def end(self, radius: Array) -> Array | float:
        """Where the functions end in a smeared density, in Å: the cutoff's radius, unless a basis says otherwise."""
        return radius


class Radial(RadialBasis):
    """Interface: functions that are the same for every degree.

    Example:
      >>> from jaxpot import CosineCutoff, Density
      >>> from jaxpot.trees import pytree, static
      >>> @pytree
      ... class SineWaves(Radial):
      ...     n_max: int = static()
      ...     def __call__(self, r, radius):
      ...         return jnp.stack([jnp.sinc((n + 1) * r / radius) for n in range(self.n_max)], axis=-1)
      >>> Density(("Si",), CosineCutoff(5.0), SineWaves(n_max=4), l_max=3, sigma=0.5).n_channels
      4
    """

    @abc.abstractmethod
    def __call__(self, r: Array, radius: Array) -> Array:
        """[...] Å -> g_n(r) [..., n_max]; radius is the cutoff's, [] Å."""


class RadialByDegree(RadialBasis):
    """Interface: functions that depend on the degree."""

    @abc.abstractmethod
    def __call__(self, r: Array, radius: Array, l_max: int) -> Array:
        """[...] Å -> g_nl(r) [..., l_max + 1, n_max]; radius is the cutoff's, [] Å."""


@functools.singledispatch
def sharp(basis: RadialBasis, r: Array, l_max: int, radius: Array) -> Array:
    """g_nl(r), shape [..., l_max + 1, n_max] for r of shape [...]; [..., 1, n_max] if it does not depend on l.

    Args:
      basis: a radial basis.
      r: distances, in Å.
      l_max: highest degree, included.
      radius: the cutoff's radius, in Å.
    """
    raise ValueError(f"{type(basis).__name__} takes its width from the density: give Density a sigma, or use GTO for a sharp density")


@sharp.register
def _(basis: Radial, r, l_max, radius):
    return basis(r, radius)[..., None, :]


@sharp.register
def _(basis: RadialByDegree, r, l_max, radius):
    return basis(r, radius, l_max)


@functools.singledispatch
def smeared(basis: RadialBasis, r: Array, l_max: int, radius: Array, sigma: Array) -> Array:
    """The smeared integral at r [Q], shape [Q, l_max + 1, n_max]: by quadrature, unless a closed form is registered for the class.

    Args:
      basis: a radial basis.
      r: distances, in Å.
      l_max: highest degree, included.
      radius: the cutoff's radius, in Å.
      sigma: width of the density's Gaussians, in Å.
    """
    x, w = gauss_legendre(_QUADRATURE)
    r = r[:, None]
    # clipping is differentiated where the basis is cut, and negligible where the Gaussian is
    end = jnp.asarray(basis.end(radius), r.dtype)
    low, high = jnp.minimum(jnp.maximum(r - _WINDOW * sigma, 0), end), jnp.minimum(r + _WINDOW * sigma, end)
    s = low + (high - low) * jnp.asarray(x, r.dtype)[None, :]
    weight = (high - low) * jnp.asarray(w, r.dtype)[None, :] * s**2 * jnp.exp(-((s - r) ** 2) / (2 * sigma**2))
    bessel = scaled_spherical_bessel(s * r / sigma**2, l_max)
    g = jnp.broadcast_to(sharp(basis, s, l_max, radius), (*s.shape, l_max + 1, basis.n_max))
    return 4 * jnp.pi * einsum("qs,qsl,qsln->qln", weight, bessel, g)


def only_sharp(basis: RadialBasis, *_: Any) -> Array:
    """What is registered as the smeared form of a basis that has none."""
    raise ValueError(f"{type(basis).__name__} is for a sharp density: write Density(..., sigma=None, center_weight=0.0), or use GTO")


@functools.singledispatch
def nodes_needed(basis: RadialBasis, ratio: Array) -> Array:
    """Chebyshev nodes that resolve smeared functions to 1e-13 of the largest value; ratio: of reach and sigma.

    Measured for reach/sigma from 3 to 60: features near r = 0 have this width, and Chebyshev nodes lie quadratically denser there, hence
    the root. It is the same for every basis whose functions are wider than the Gaussians.
    """
    return 14.5 * jnp.sqrt(ratio) - 4.0


def check_form(basis: RadialBasis, is_sharp: bool) -> None:
    """Raises ValueError unless a basis has functions for a sharp, or for a smeared density."""
    if not isinstance(basis, RadialBasis):
        return  # which its field refuses
    if is_sharp and sharp.dispatch(type(basis)) is sharp.dispatch(object):
        sharp(basis, None, 0, None)
    if not is_sharp and smeared.dispatch(type(basis)) is only_sharp:
        only_sharp(basis)


def tabulate(basis: RadialBasis, l_max: int, *, radius: jax.typing.ArrayLike, sigma: Array | None, reach: jax.typing.ArrayLike, nodes: int) -> Array:
    """Chebyshev coefficients of a basis on [0, reach], shape [nodes, l_max + 1, n_max], or [nodes, 1, n_max] of sharp functions for all degrees.

    Args:
      basis: a radial basis.
      l_max: highest degree, included.
      radius: the cutoff's radius, in Å.
      sigma: width of the Gaussians, in Å; None is the sharp basis.
      reach: beyond which nobody asks, in Å.
      nodes: number of polynomials.
    """
    return interpolated(lambda r: sharp(basis, r, l_max, radius) if sigma is None else smeared(basis, r, l_max, radius, sigma), reach, nodes)


def tail(table: Array) -> Array:
    """The last eighth of a table as a part of its largest entry, shape []: about the error of the interpolation."""
    return jnp.max(jnp.abs(table[-(-len(table) * 7 // 8) :])) / jnp.max(jnp.abs(table))


def is_rough(table: Array) -> Array:
    """Whether the functions of a table are far from what it can render, shape []: they are no smooth functions, or vary faster than Gaussians."""
    return tail(table) > _TAIL * jnp.finfo(table.dtype).eps


def interpolated(function: Callable[[Array], Array], reach: Array, nodes: int) -> Array:
    """Chebyshev coefficients on [0, reach] of a function r [nodes] -> [nodes, ...], in the same shape."""
    nodes_01, to_coefficients = chebyshev_nodes(nodes)
    reach = jnp.asarray(reach)
    values = function(jnp.asarray(nodes_01, reach.dtype) * reach)
    return einsum("tq,q...->t...", jnp.asarray(to_coefficients, reach.dtype), values)


def from_table(table: Array, r: Array, reach: Array) -> Array:
    """The functions at distances r [...], shape [..., l_max + 1, n_max]; beyond reach, where every weight is zero, the end value."""
    x = jnp.clip(2 * r / reach - 1, -1, 1)
    return _series(table.reshape(table.shape[0], -1), x.reshape(-1)).reshape(*r.shape, *table.shape[1:])


@functools.cache
def _derivative_matrix(n: int) -> np.ndarray:
    """D, such that the derivative of a Chebyshev series with coefficients c [n] has the coefficients D c."""
    return np.pad(np.polynomial.chebyshev.chebder(np.eye(n)), ((0, 1), (0, 0))) if n > 1 else np.zeros((1, 1))


@jax.custom_jvp
def _series(table: Array, x: Array) -> Array:
    """Σ_t T_t(x_k) c_tq, shape [K, Q]; its derivative is a series of the same form, so no derivative of T is ever taken."""
    return einsum("kt,tq->kq", chebyshev(x, table.shape[0]), table)


@_series.defjvp
def _series_jvp(primals, tangents):
    (table, x), (dtable, dx) = primals, tangents
    slope = _series(einsum("st,tq->sq", jnp.asarray(_derivative_matrix(table.shape[0]), table.dtype), table), x)
    return _series(table, x), slope * dx[:, None] + einsum("kt,tq->kq", chebyshev(x, table.shape[0]), dtable)


def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [n] on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def chebyshev(x: Array, n: int) -> Array:
    """T_0 … T_{n−1} at x, shape [..., n], by T_{j+k} = 2 T_j T_k − T_{j−k}.

    Doubling keeps the graph to a handful of operations and, unlike cos(k arccos x), has finite derivatives at |x| = 1.
    """
    values = jnp.stack([jnp.ones_like(x), x], axis=-1)
    while values.shape[-1] < n:
        last = values.shape[-1] - 1
        count = min(last, n - last - 1)
        new = 2 * values[..., last:] * values[..., 1 : count + 1] - jnp.flip(values[..., last - count : last], axis=-1)
        values = jnp.concatenate([values, new], axis=-1)
    return values[..., :n]


@functools.cache
def chebyshev_nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [0, 1] and the matrix from values there to Chebyshev coefficients on that interval."""
    angle = np.pi * (np.arange(n) + 0.5) / n
    to_coefficients = 2 / n * np.cos(np.arange(n)[:, None] * angle[None, :])
    to_coefficients[0] /= 2
    return (np.cos(angle) + 1) / 2, to_coefficients


def inverse_root(overlap: np.ndarray) -> np.ndarray:
    """S^(−1/2) of a symmetric positive matrix (Löwdin)."""
    values, vectors = np.linalg.eigh(overlap)
    if values[0] < 1e-13 * values[-1]:
        raise ValueError(f"the radial functions are linearly dependent to round-off (condition {values[-1] / values[0]:.1e}); use a smaller n_max")
    return (vectors / np.sqrt(values)) @ vectors.T


def check_n_max(basis: RadialBasis) -> None:
    """Raises ValueError unless n_max is a positive integer, not absurdly large."""
    if not 1 <= basis.n_max <= _MOST:
        raise ValueError(f"{type(basis).__name__}: n_max must be a positive integer, at most {_MOST}, got {basis.n_max!r}")
