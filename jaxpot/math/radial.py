r"""Radial bases, sharp or smeared by a Gaussian, in one form: primitives of the distance, then a mixing matrix.

.. math:: g_{nl}(r) = \sum_t P_t(r)\, M_{ltn}
   \qquad\text{or, smeared,}\qquad
   4\pi \int_0^\infty s^2 g_{nl}(s)\, e^{-(s^2 + r^2)/2\sigma^2}\, i_l(s r/\sigma^2)\, ds = \sum_t P_t(r)\, M_{ltn}

The split is what makes densities fast: primitives are contracted with the harmonics of the neighbours first, the mixing is
done once per atom, and derivatives with respect to sigma and the radius pass through M alone.

Where the smeared integral has no closed form it is a smooth function of r that Chebyshev polynomials on [0, reach]
interpolate to round-off: P_t = T_t, and M is made from Gauss–Legendre integrals at the Chebyshev nodes. The number of
nodes is structure; `nodes_needed` says how many the leaves ask for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.bessel import scaled_spherical_bessel
from jaxpot.math.linalg import einsum
from jaxpot.pytree import positive, pytree, static

Array = jax.Array


class RadialBasis:
    """Interface: `n_max` functions, n = 0 … n_max − 1, for every degree l.

    `primitives` returns [..., T] (the same for every l) or [..., l_max + 1, T]; `mixing` returns [l_max + 1, T, n_max].
    Both take radius (the cutoff's, Å), sigma (Å, or None for the sharp basis), reach (Å, beyond which nobody asks) and
    nodes (how many Chebyshev nodes tabulate, where a table is used).
    """

    n_max: int

    def primitives(self, r: Array, l_max: int, *, radius: Array, sigma: Array | None, reach: Array, nodes: int) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define primitives")

    def mixing(self, l_max: int, *, radius: Array, sigma: Array | None, reach: Array, nodes: int) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define mixing")

    def nodes_needed(self, l_max: int, *, radius: Array, sigma: Array | None, reach: Array) -> Array | float:
        """Chebyshev nodes that resolve the functions to round-off; 0 where no table is used."""
        return 0.0


def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [n] on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def chebyshev(x: Array, n: int) -> Array:
    """T_0 … T_{n−1} at x, shape [..., n], by the recursion T_{2k} = 2 T_k² − 1, T_{2k+1} = 2 T_k T_{k+1} − x.

    Doubling halves the depth of the graph and, unlike cos(k arccos x), has finite derivatives at |x| = 1.
    """
    values = [jnp.ones_like(x), x]
    for k in range(2, n):
        half = k // 2
        values.append(2 * values[half] * values[half] - 1 if k % 2 == 0 else 2 * values[half] * values[half + 1] - x)
    return jnp.stack(values[:n], axis=-1)


@functools.cache
def _chebyshev_nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [0, 1] and the matrix from values there to Chebyshev coefficients on that interval."""
    angle = np.pi * (np.arange(n) + 0.5) / n
    to_coefficients = 2 / n * np.cos(np.arange(n)[:, None] * angle[None, :])
    to_coefficients[0] /= 2
    return (np.cos(angle) + 1) / 2, to_coefficients


def _unit_interval(r: Array, reach: Array) -> Array:
    """r in [0, reach] mapped to [−1, 1]; beyond, where every weight is zero, the end point."""
    return jnp.clip(2 * r / reach - 1, -1, 1)


_QUADRATURE = 72  # Gauss–Legendre nodes over ±_WINDOW sigma: a Gaussian times the basis is integrated to round-off
_WINDOW = 8.5  # sigmas; exp(−8.5²/2) = 2e-16


def _smeared_table(values, l_max: int, *, upper: Array | None, sigma: Array, reach: Array, nodes: int) -> Array:
    """Chebyshev coefficients [l_max + 1, nodes, n_max] of the smeared functions.

    Args:
      values: s [...] -> g_nl(s), shape [..., n_max] or [..., l_max + 1, n_max].
      upper: where the basis ends, in Å; None if it does not.
    """
    nodes_01, to_coefficients = _chebyshev_nodes(nodes)
    x, w = gauss_legendre(_QUADRATURE)
    sigma = jnp.asarray(sigma)
    r = (jnp.asarray(nodes_01, sigma.dtype) * reach)[:, None]
    low = jnp.maximum(r - _WINDOW * sigma, 0)
    high = r + _WINDOW * sigma
    if upper is not None:  # clipping is differentiated where the basis is cut, and negligible where the Gaussian is
        low, high = jnp.minimum(low, upper), jnp.minimum(high, upper)
    s = low + (high - low) * jnp.asarray(x, sigma.dtype)[None, :]
    weight = (high - low) * jnp.asarray(w, sigma.dtype)[None, :] * s**2 * jnp.exp(-((s - r) ** 2) / (2 * sigma**2))
    bessel = scaled_spherical_bessel(s * r / sigma**2, l_max)
    g = values(s)
    integral = einsum("qs,qsl,qsn->qln" if g.ndim == 3 else "qs,qsl,qsln->qln", weight, bessel, g)
    return 4 * jnp.pi * einsum("tq,qln->ltn", jnp.asarray(to_coefficients, sigma.dtype), integral)


class _Tabulated(RadialBasis):
    """A basis with closed-form sharp primitives whose smeared form is tabulated."""

    def _sharp(self, r: Array, l_max: int, radius: Array) -> Array:
        raise NotImplementedError

    def _sharp_mixing(self, l_max: int, radius: Array) -> Array:
        raise NotImplementedError

    def _upper(self, radius: Array) -> Array | None:
        return radius

    def primitives(self, r, l_max, *, radius, sigma, reach, nodes):
        if sigma is None:
            return self._sharp(r, l_max, radius)
        return chebyshev(_unit_interval(r, reach), nodes)

    def mixing(self, l_max, *, radius, sigma, reach, nodes):
        mixing = self._sharp_mixing(l_max, radius)
        if sigma is None:
            return mixing
        same = mixing[0] if mixing.shape[0] == 1 else None

        def values(s):
            sharp = self._sharp(s, l_max, radius)
            return einsum("qst,tn->qsn", sharp, same) if same is not None else einsum("qst,ltn->qsln", sharp, mixing)

        return _smeared_table(values, l_max, upper=self._upper(radius), sigma=sigma, reach=reach, nodes=nodes)

    def nodes_needed(self, l_max, *, radius, sigma, reach):
        # measured for n_max <= 16, l_max <= 8 and reach/sigma from 3 to 60: the features near r = 0 have width sigma, and
        # Chebyshev nodes lie quadratically denser there, hence the root; error 1e-13 of the largest value
        return 0.0 if sigma is None else 14.5 * jnp.sqrt(reach / sigma) - 4.0 + self._oscillations(l_max)

    def _oscillations(self, l_max: int) -> float:
        """Nodes beyond those of a slowly varying basis."""
        return 0.0


def _inverse_root(overlap: np.ndarray) -> np.ndarray:
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
    return width, norm, _inverse_root(0.5 * np.outer(norm, norm) * b**-half * gamma(half))


@pytree
class GTO(_Tabulated):
    r"""Gaussian-type orbitals of librascal and featomic ("type 1"), the same for every l, Löwdin-orthonormalised on [0, ∞).

    .. math:: R_n = N_n\, r^n e^{-r^2/2 s_n^2}, \qquad s_n = r_b \max(\sqrt n, 1)/n_{max}, \qquad g = S^{-1/2} R

    Args:
      n_max: number of functions (featomic's `max_radial` + 1).
      radius: r_b, in Å; None takes the cutoff's radius.

    References:
      Musil et al., "Efficient implementation of atom-density representations", J. Chem. Phys. 154, 114109 (2021).
    """

    n_max: int = static()
    radius: Array | None = positive(None)

    def __post_init__(self):
        check_n_max(self)
        _gto_tables(self.n_max)

    def _scale(self, radius):
        return radius if self.radius is None else self.radius

    def _sharp(self, r, l_max, radius):
        width, norm, _ = (jnp.asarray(t, r.dtype) for t in _gto_tables(self.n_max))
        scale = self._scale(radius)
        x = r / scale
        powers = [jnp.ones_like(x)]
        for _ in range(self.n_max - 1):
            powers.append(powers[-1] * x)
        gaussians = [norm[n] * powers[n] * jnp.exp(-(x**2) / (2 * width[n] ** 2)) for n in range(self.n_max)]
        return jnp.stack(gaussians, axis=-1) / scale**1.5

    def _sharp_mixing(self, l_max, radius):
        return jnp.asarray(_gto_tables(self.n_max)[2])[None]

    def _upper(self, radius):
        return None


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
    radius: Array | None = positive(None)

    def __post_init__(self):
        check_n_max(self)

    def _exponents(self, l_max: int, radius: Array) -> Array:
        """α_kl, shape [l_max + 1, n_max], in Å⁻²."""
        scale = jnp.asarray(radius if self.radius is None else self.radius)
        a = 1 + (scale - 1) * jnp.asarray(np.linspace(0, 1, self.n_max) if self.n_max > 1 else np.zeros(1), scale.dtype)
        l = jnp.arange(l_max + 1, dtype=scale.dtype)[:, None]
        return (np.log(1e3) + l * jnp.log(a)[None, :]) / (a**2)[None, :]

    def primitives(self, r, l_max, *, radius, sigma, reach, nodes):
        alpha = self._exponents(l_max, radius).astype(r.dtype)
        l = jnp.arange(l_max + 1, dtype=r.dtype)[:, None]
        powers = [jnp.ones_like(r)]
        for _ in range(l_max):
            powers.append(powers[-1] * r)
        power = jnp.stack(powers, axis=-1)[..., None]
        square = (r**2)[..., None, None]
        if sigma is None:
            exponent, factor = alpha, jnp.ones_like(alpha)
        else:
            a = 1 / (2 * sigma**2)
            exponent = a * alpha / (a + alpha)
            factor = (jnp.pi / (a + alpha)) ** 1.5 * (a / (a + alpha)) ** l
        lead = (1,) * r.ndim
        return factor.reshape(lead + factor.shape) * power * jnp.exp(-exponent.reshape(lead + exponent.shape) * square)

    def mixing(self, l_max, *, radius, sigma, reach, nodes):
        from jax.scipy.special import gamma

        alpha = self._exponents(l_max, radius)
        half = (jnp.arange(l_max + 1, dtype=alpha.dtype) + 1.5)[:, None, None]
        overlap = 0.5 * gamma(half) * (alpha[:, :, None] + alpha[:, None, :]) ** -half
        values, vectors = jnp.linalg.eigh(overlap)
        return einsum("lab,lb,lcb->lac", vectors, values**-0.5, vectors)


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

    def primitives(self, r, l_max, *, radius, sigma, reach, nodes):
        grid = self._grid(radius, sigma).astype(r.dtype).reshape((1,) * r.ndim + (self.n_max,))
        a = 1 / (2 * sigma**2)
        r = r[..., None]
        values = jnp.exp(-a * (grid - r) ** 2)[..., None] * scaled_spherical_bessel(2 * a * grid * r, l_max)
        return jnp.swapaxes(values, -1, -2)

    def mixing(self, l_max, *, radius, sigma, reach, nodes):
        r = self._grid(radius, sigma)
        a = 1 / (2 * sigma**2)
        total, difference = r[:, None] + r[None, :], r[:, None] - r[None, :]
        squares = (r**2)[:, None] + (r**2)[None, :]
        overlap = (
            jnp.exp(-a * squares) * jnp.sqrt(2.0) * a**1.5 * total
            + a * jnp.sqrt(jnp.pi) * jnp.exp(-a * difference**2 / 2) * (1 + a * total**2) * (1 + jax.scipy.special.erf(jnp.sqrt(a / 2) * total))
        ) / jnp.sqrt(128 * a**5)
        return jnp.linalg.solve(jnp.exp(-a * difference**2), jnp.linalg.cholesky(overlap))[None]


@pytree
class Chebyshev(_Tabulated):
    r"""Chebyshev polynomials of the reduced distance, the same for every l; the cutoff function is the envelope.

    .. math:: g_n(r) = T_n(2 r/r_c - 1)\, r_c^{-3/2}, \qquad g_n = 0 \text{ beyond } r_c \text{ in a smeared density}

    Args:
      n_max: number of functions.
      radius: r_c of the formula, in Å; None takes the cutoff's radius.
    """

    n_max: int = static()
    radius: Array | None = positive(None)

    def __post_init__(self):
        check_n_max(self)

    def _upper(self, radius):
        return radius if self.radius is None else self.radius

    def _sharp(self, r, l_max, radius):
        upper = self._upper(radius)
        return chebyshev(_unit_interval(r, upper), self.n_max) / upper**1.5

    def _sharp_mixing(self, l_max, radius):
        return jnp.eye(self.n_max, dtype=jnp.result_type(radius))[None]

    def _oscillations(self, l_max):
        return float(self.n_max)


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
class Bessel(_Tabulated):
    r"""Laplacian eigenstates in the ball: spherical Bessel functions that vanish at the radius, orthonormal on [0, r_c].

    .. math:: R_{nl}(r) = \sqrt{2/r_c^3}\; j_l(z_{nl}\, r/r_c) / |j_{l+1}(z_{nl})|, \qquad -\nabla^2 R Y = (z_{nl}/r_c)^2 R Y

    The l = 0 functions are DimeNet's √(2/r_c) sin(nπr/r_c)/r.

    Args:
      n_max: number of functions for each l.
      radius: r_c of the formula, in Å; None takes the cutoff's radius.

    References:
      Bigi, Huguenin-Dumittan, Ceriotti, Manolopoulos, "A smooth basis for atomistic machine learning", J. Chem. Phys. 157, 234101
      (2022).
    """

    n_max: int = static()
    radius: Array | None = positive(None)

    def __post_init__(self):
        check_n_max(self)

    def _upper(self, radius):
        return radius if self.radius is None else self.radius

    def _sharp(self, r, l_max, radius):
        return chebyshev(_unit_interval(r, self._upper(radius)), _bessel_table(self.n_max, l_max).shape[1])

    def _sharp_mixing(self, l_max, radius):
        return jnp.asarray(_bessel_table(self.n_max, l_max)) / jnp.asarray(self._upper(radius)) ** 1.5

    def _oscillations(self, l_max):
        return np.pi / 2 * (self.n_max + l_max / 2)


def check_n_max(basis: RadialBasis) -> None:
    """Raises ValueError unless n_max is a positive integer."""
    if not (isinstance(basis.n_max, int) and basis.n_max >= 1):
        raise ValueError(f"{type(basis).__name__}: n_max must be a positive integer, got {basis.n_max!r}")
