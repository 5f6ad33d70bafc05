r"""Radial bases, sharp or smeared by a Gaussian, and their Chebyshev tables.

.. math:: g_{nl}(r) \qquad\text{or, smeared,}\qquad
   4\pi \int_0^\infty s^2 g_{nl}(s)\, e^{-(s^2 + r^2)/2\sigma^2}\, i_l(s r/\sigma^2)\, ds

Each is a smooth function of one distance, which Chebyshev polynomials on [0, reach] interpolate to round-off. So a density
evaluates polynomials of the distance and one matrix product, whatever the basis; closed forms and Gauss–Legendre integrals are
needed at the Chebyshev nodes only, once per call, and derivatives with respect to sigma and the radius pass through the table
alone. The number of nodes is structure; `nodes_needed` says how many the leaves ask for.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.bessel import scaled_spherical_bessel
from jaxpot.math.linalg import einsum
from jaxpot.pytree import positive, pytree, static

Array = jax.Array

_QUADRATURE = 72  # Gauss–Legendre nodes over ±_WINDOW sigma: a Gaussian times the basis is integrated to round-off
_MOST = 100  # functions; more would be a slip of the pen
_WINDOW = 8.5  # sigmas; exp(−8.5²/2) = 2e-16


class RadialBasis:
    """Interface: `n_max` functions, n = 0 … n_max − 1, for every degree l. A new basis writes `sharp`.

    In every method radius is the cutoff's, in Å; sigma, in Å, is the width of the density's Gaussians.
    """

    n_max: int
    elementary = False  # whether the sharp functions are a few products and sums, not worth a table
    holds_center = False  # whether the sharp functions can stand for a smeared density, which has a value at its own centre

    def sharp(self, r: Array, l_max: int, radius: Array) -> Array:
        """g_nl(r), shape [Q, l_max + 1, n_max] for r of shape [Q]; [Q, 1, n_max] if it does not depend on l."""
        raise NotImplementedError(f"{type(self).__name__} must define sharp(r, l_max, radius)")

    def upper(self, radius: Array) -> Array | None:
        """Where the functions end, in Å; None if they do not."""
        return None

    def finest(self, radius: Array) -> Array | None:
        """The finest length over which the sharp functions change, in Å; None for polynomials of degree below n_max."""
        raise NotImplementedError(f"{type(self).__name__} must define finest(radius)")

    def oscillations(self, l_max: int) -> float:
        """Nodes beyond those of a slowly varying basis."""
        return 0.0

    def smeared(self, r: Array, l_max: int, radius: Array, sigma: Array) -> Array:
        """The smeared integral, shape [Q, l_max + 1, n_max]; by quadrature unless a basis knows a closed form."""
        x, w = gauss_legendre(_QUADRATURE)
        r = r[:, None]
        low, high = jnp.maximum(r - _WINDOW * sigma, 0), r + _WINDOW * sigma
        upper = self.upper(radius)
        if upper is not None:  # clipping is differentiated where the basis is cut, and negligible where the Gaussian is
            low, high = jnp.minimum(low, upper), jnp.minimum(high, upper)
        s = low + (high - low) * jnp.asarray(x, r.dtype)[None, :]
        weight = (high - low) * jnp.asarray(w, r.dtype)[None, :] * s**2 * jnp.exp(-((s - r) ** 2) / (2 * sigma**2))
        bessel = scaled_spherical_bessel(s * r / sigma**2, l_max)
        g = self.sharp(s.reshape(-1), l_max, radius).reshape(*s.shape, -1, self.n_max)
        g = jnp.broadcast_to(g, (*s.shape, l_max + 1, self.n_max))
        return 4 * jnp.pi * einsum("qs,qsl,qsln->qln", weight, bessel, g)

    def nodes_needed(self, l_max: int, *, radius: Array, sigma: Array | None, reach: Array) -> Array | float:
        """Chebyshev nodes that resolve the functions to 1e-13 of the largest value."""
        width = self.finest(radius) if sigma is None else sigma
        if width is None:
            return float(self.n_max)
        # measured for n_max <= 16, l_max <= 8 and reach/width from 3 to 60: the features near r = 0 have this width, and
        # Chebyshev nodes lie quadratically denser there, hence the root
        return 14.5 * jnp.sqrt(reach / width) - 4.0 + self.oscillations(l_max)


def tabulate(basis: RadialBasis, l_max: int, *, radius: Array, sigma: Array | None, reach: Array, nodes: int) -> Array:
    """Chebyshev coefficients of a basis on [0, reach], shape [nodes, l_max + 1, n_max].

    Args:
      basis: a radial basis.
      l_max: highest degree, included.
      radius: the cutoff's radius, in Å.
      sigma: width of the Gaussians, in Å; None is the sharp basis.
      reach: beyond which nobody asks, in Å.
      nodes: number of polynomials.
    """

    def function(r):
        values = basis.sharp(r, l_max, radius) if sigma is None else basis.smeared(r, l_max, radius, sigma)
        return jnp.broadcast_to(values, (nodes, l_max + 1, basis.n_max))

    return interpolated(function, reach, nodes)


def interpolated(function: Callable[[Array], Array], reach: Array, nodes: int) -> Array:
    """Chebyshev coefficients on [0, reach] of a function r [nodes] -> [nodes, ...], in the same shape."""
    nodes_01, to_coefficients = _chebyshev_nodes(nodes)
    reach = jnp.asarray(reach)
    values = function(jnp.asarray(nodes_01, reach.dtype) * reach)
    return einsum("tq,q...->t...", jnp.asarray(to_coefficients, reach.dtype), values)


def from_table(table: Array, r: Array, reach: Array) -> Array:
    """The functions at distances r [K], shape [K, l_max + 1, n_max]; beyond reach, where every weight is zero, the end value."""
    x = jnp.clip(2 * r / reach - 1, -1, 1)
    return _series(table.reshape(table.shape[0], -1), x).reshape(*r.shape, *table.shape[1:])


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
def _chebyshev_nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
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


@functools.cache
def _gto_tables(n_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths, norms and S^(−1/2) of the type-1 GTO of basis radius 1."""
    from scipy.special import gamma

    n = np.arange(n_max)
    width = np.maximum(np.sqrt(n), 1) / n_max
    norm = np.sqrt(2 / (width ** (2 * n + 3) * gamma(n + 1.5)))
    b = 1 / (2 * width[:, None] ** 2) + 1 / (2 * width[None, :] ** 2)
    half = (3 + n[:, None] + n[None, :]) / 2
    return width, norm, inverse_root(0.5 * np.outer(norm, norm) * b**-half * gamma(half))


@pytree
class GTO(RadialBasis):
    r"""Gaussian-type orbitals of librascal and featomic ("type 1"), the same for every l, Löwdin-orthonormalised on [0, ∞).

    .. math:: R_n = N_n\, r^n e^{-r^2/2 s_n^2}, \qquad s_n = r_b \max(\sqrt n, 1)/n_{max}, \qquad g = S^{-1/2} R

    Args:
      n_max: number of functions (featomic's `max_radial` + 1).
      radius: r_b, in Å; None takes the cutoff's radius.

    References:
      Musil et al., "Efficient implementation of atom-density representations", J. Chem. Phys. 154, 114109 (2021).
    """

    n_max: int = static()
    radius: Array | None = positive(None, low=1e-3, high=1e4)

    def __post_init__(self):
        check_n_max(self)
        _gto_tables(self.n_max)

    def _scale(self, radius: Array) -> Array:
        return radius if self.radius is None else self.radius

    def sharp(self, r, l_max, radius):
        width, norm, mixing = (jnp.asarray(t, r.dtype) for t in _gto_tables(self.n_max))
        scale = self._scale(radius)
        x = r[:, None] / scale
        n = jnp.arange(self.n_max)
        power = jnp.where(n[None, :] == 0, 1, jnp.where(x == 0, 0, jnp.where(x == 0, 1, x) ** n[None, :]))
        primitives = norm[None, :] * power * jnp.exp(-(x**2) / (2 * width[None, :] ** 2)) / scale**1.5
        return einsum("qk,kn->qn", primitives, mixing)[:, None, :]

    def finest(self, radius):
        return jnp.asarray(self._scale(radius)) * (0.5 / self.n_max)


@pytree
class SolidGTO(RadialBasis):
    r"""Gaussian-type orbitals of DScribe ("type 2"), with the solid factor r^l; their smeared integral is elementary.

    .. math:: g_{nl} = \sum_k \beta_{lkn} r^l e^{-\alpha_{kl} r^2}, \qquad
       \alpha_{kl} = -\ln(10^{-3} / a_k^l) / a_k^2, \qquad a = \mathrm{linspace}(1\,\text{Å}, r_c, n_{max}), \qquad \beta = S^{-1/2}

    Args:
      n_max: number of functions.
      radius: r_c of the formula, in Å, > 1; None takes the cutoff's radius.

    References:
      Himanen et al., "DScribe: Library of descriptors for machine learning in materials science", Comput. Phys. Commun. 247,
      106949 (2020).
    """

    n_max: int = static()
    radius: Array | None = positive(None, low=1e-3, high=1e4)

    def __post_init__(self):
        check_n_max(self)

    def _exponents(self, l_max: int, radius: Array) -> Array:
        """α_kl, shape [l_max + 1, n_max], in Å⁻²."""
        scale = jnp.asarray(radius if self.radius is None else self.radius)
        a = 1 + (scale - 1) * jnp.asarray(np.linspace(0, 1, self.n_max) if self.n_max > 1 else np.zeros(1), scale.dtype)
        l = jnp.arange(l_max + 1, dtype=scale.dtype)[:, None]
        return (np.log(1e3) + l * jnp.log(a)[None, :]) / (a**2)[None, :]

    def sharp(self, r, l_max, radius):
        alpha = self._exponents(l_max, radius)
        return self._combined(r, alpha, alpha, jnp.ones_like(alpha))

    def smeared(self, r, l_max, radius, sigma):
        a, alpha = 1 / (2 * sigma**2), self._exponents(l_max, radius)
        l = jnp.arange(l_max + 1, dtype=alpha.dtype)[:, None]
        factor = (jnp.pi / (a + alpha)) ** 1.5 * (a / (a + alpha)) ** l
        return self._combined(r, alpha, a * alpha / (a + alpha), factor)

    def _combined(self, r: Array, alpha: Array, exponent: Array, factor: Array) -> Array:
        """Σ_k β_lkn factor_lk r^l exp(−exponent_lk r²), β = S^(−1/2)."""
        from jax.scipy.special import gamma

        degrees = jnp.arange(alpha.shape[0], dtype=alpha.dtype)
        overlap = 0.5 * gamma(degrees + 1.5)[:, None, None] * (alpha[:, :, None] + alpha[:, None, :]) ** -(degrees + 1.5)[:, None, None]
        values, vectors = jnp.linalg.eigh(overlap)
        beta = einsum("lab,lb,lcb->lac", vectors, values**-0.5, vectors)
        x = r[:, None]
        power = jnp.where(degrees[None, :] == 0, 1, jnp.where(x == 0, 0, jnp.where(x == 0, 1, x) ** degrees[None, :]))
        gaussians = factor[None] * jnp.exp(-exponent[None] * (r**2)[:, None, None])
        return einsum("ql,qlk,lkn->qln", power, gaussians, beta)

    def finest(self, radius):
        return jnp.asarray(1 / np.sqrt(2 * np.log(1e3)))  # of the first primitive, whose range is 1 Å


@pytree
class EquispacedGaussians(RadialBasis):
    r"""The radial basis of quippy's `soap`: Gaussians of the density's own width on a uniform grid, orthonormalised by Cholesky.

    .. math:: \phi_k = e^{-a (r - r_k)^2}, \quad a = 1/2\sigma^2, \quad
       r_k = k\,\bigl(r_c + \sigma\sqrt{20 \ln 10}\bigr)/n_{max}, \quad
       c_{nlm} = \sum_k e^{-a(r_k^2 + r^2)} i_l(2 a r_k r)\, (C^{-1} L)_{kn}\, Y_{lm}, \quad C_{jk} = \phi_j(r_k), \quad S = L L^T

    There is no factor 4π, as in quippy. The basis exists only for a smeared density.

    Args:
      n_max: number of functions.

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def _grid(self, radius: Array, sigma: Array | None) -> Array:
        if sigma is None:
            raise ValueError("EquispacedGaussians takes its width from the density: give Density a sigma, or use GTO for a sharp density")
        radius = jnp.asarray(radius)
        return (radius + sigma * np.sqrt(20 * np.log(10.0))) * jnp.asarray(np.arange(self.n_max) / self.n_max, radius.dtype)

    def sharp(self, r, l_max, radius):
        return self._grid(radius, None)

    def finest(self, radius):
        return self._grid(radius, None)

    def smeared(self, r, l_max, radius, sigma):
        grid = self._grid(radius, sigma)
        a = 1 / (2 * sigma**2)
        gaussians = jnp.exp(-a * (grid[None, :] - r[:, None]) ** 2)
        bessel = scaled_spherical_bessel(2 * a * grid[None, :] * r[:, None], l_max)
        return einsum("qk,qkl,kn->qln", gaussians, bessel, self._mixing(grid, a))

    def _mixing(self, r: Array, a: Array) -> Array:
        """C⁻¹ L, shape [n_max, n_max]."""
        total, difference = r[:, None] + r[None, :], r[:, None] - r[None, :]
        squares = (r**2)[:, None] + (r**2)[None, :]
        overlap = (
            jnp.exp(-a * squares) * jnp.sqrt(2.0) * a**1.5 * total
            + a * jnp.sqrt(jnp.pi) * jnp.exp(-a * difference**2 / 2) * (1 + a * total**2) * (1 + jax.scipy.special.erf(jnp.sqrt(a / 2) * total))
        ) / jnp.sqrt(128 * a**5)
        return jnp.linalg.solve(jnp.exp(-a * difference**2), jnp.linalg.cholesky(overlap))


@functools.cache
def _bessel_zeros(n_max: int, l_max: int) -> np.ndarray:
    """The first n_max positive zeros z_nl of j_l, shape [n_max, l_max + 1]; zeros of j_l and j_(l+1) interlace."""
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    zeros = np.pi * np.arange(1, n_max + l_max + 1)
    out = [zeros[:n_max]]
    for l in range(1, l_max + 1):
        zeros = np.array([brentq(lambda x, l=l: spherical_jn(l, x), a, b, xtol=1e-14, rtol=8.9e-16) for a, b in zip(zeros, zeros[1:])])  # noqa: B905, RUF007
        out.append(zeros[:n_max])
    return np.stack(out, axis=1)


@functools.cache
def _bessel_table(n_max: int, l_max: int) -> np.ndarray:
    """Chebyshev coefficients [l_max + 1, T, n_max] of √2 j_l(z_nl x)/|j_(l+1)(z_nl)| on x in [0, 1], to round-off."""
    from scipy.special import spherical_jn

    z = _bessel_zeros(n_max, l_max)
    x, to_coefficients = _chebyshev_nodes(int(z.max() / 2) + 28)
    l = np.arange(l_max + 1)[None, None, :]
    values = np.sqrt(2) * spherical_jn(l, z[None] * x[:, None, None]) / np.abs(spherical_jn(l[0] + 1, z))[None]
    return np.einsum("tq,qnl->ltn", to_coefficients, values)


@pytree
class Bessel(RadialBasis):
    r"""Laplacian eigenstates in the ball: spherical Bessel functions that vanish at the radius, orthonormal on [0, r_c].

    .. math:: R_{nl}(r) = \sqrt{2/r_c^3}\; j_l(z_{nl}\, r/r_c) / |j_{l+1}(z_{nl})|, \qquad -\nabla^2 R Y = (z_{nl}/r_c)^2 R Y

    The l = 0 functions are DimeNet's √(2/r_c) sin(nπr/r_c)/r.

    Args:
      n_max: number of functions for each l.

    References:
      Bigi, Huguenin-Dumittan, Ceriotti, Manolopoulos, "A smooth basis for atomistic machine learning", J. Chem. Phys. 157, 234101
      (2022).
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def sharp(self, r, l_max, radius):
        table = jnp.asarray(_bessel_table(self.n_max, l_max), r.dtype)
        return einsum("qt,ltn->qln", chebyshev(2 * r / radius - 1, table.shape[1]), table) / radius**1.5

    def upper(self, radius):
        return radius

    def finest(self, radius):
        return radius

    def oscillations(self, l_max):
        return np.pi / 2 * (self.n_max + l_max / 2) + 14.0


def check_n_max(basis: RadialBasis) -> None:
    """Raises ValueError unless n_max is a positive integer, not absurdly large."""
    if not 1 <= basis.n_max <= _MOST:
        raise ValueError(f"{type(basis).__name__}: n_max must be a positive integer, at most {_MOST}, got {basis.n_max!r}")
