r"""The radial functions of soap_turbo on [0, 1]: polynomials that vanish at 1 with two derivatives, and the same with a Gaussian at 0.

.. math:: \phi_a(x) = \sqrt{2a + 5}\,(1 - x)^{a + 2}, \qquad g = S^{-1/2} \phi, \qquad S_{ab} = \int_0^1 \phi_a \phi_b\, dx

The φ are so alike that S^(−1/2) loses all digits beyond ten of them. So everything is integrated over orthonormal polynomials J that a
three-term recursion makes, and g is an orthogonal matrix times J: C with C φ = J and C S Cᵀ = 1 is S^(−1/2) up to a rotation, which its
polar decomposition gives, with the root of the condition number only.
"""

import abc
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.interface import Interface
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import gauss_legendre
from jaxpot.trees import pytree, static

Array = jax.Array

_QUADRATURE = 72  # Gauss–Legendre nodes over ±_WINDOW widths of a Gaussian
_WINDOW = 8.5  # widths; exp(−8.5²/2) = 2e-16
_FAR = 100.0  # further than any Gaussian reaches


class PowerBasis(Interface):
    """Interface: n_max orthonormal functions g_n(x) of a species, x = r / r_c; they are mixed from orthonormal polynomials and perhaps
    more. Widths and distances are in units of the cutoff radius.

    Attributes:
      n_max: number of functions.
      n_polynomials: number of polynomials of which they are mixed.
    """

    n_max: int
    n_polynomials: int

    @abc.abstractmethod
    def more(self, x: Array, width: Array, own: Array) -> Array:
        """Overlaps of Gaussians at x [Q] of these widths [Q] with what is no polynomial, [Q, more]; own: the width at x = 0."""

    @abc.abstractmethod
    def mixing(self, own: Array) -> Array:
        """What the polynomials, and what there is more, contribute to every function, [n_polynomials + more, n_max]."""

    def central(self, found: Array, own: Array) -> Array:
        """Overlaps [n_max] of the centre's own Gaussian, given those of a neighbour at x = 0."""
        return found


def overlaps(n: int, x: Array, width: Array, start: Array, end: Array) -> Array:
    r"""Overlaps of Gaussians with n orthonormal polynomials, :math:`\int_a^b J_k(t)\, e^{-(t - x)^2 / 2 w^2} dt`.

    Args:
      n: number of polynomials.
      x: where the Gaussians are, shape [Q].
      width: w, shape [Q].
      start: a, shape [].
      end: b, shape [].

    Returns:
      Shape [Q, n].
    """
    t, weight = (jnp.asarray(a, x.dtype)[None, :] for a in gauss_legendre(_QUADRATURE))
    x, width = x[:, None], width[:, None]
    # clipping is differentiated where the functions are cut, and negligible where the Gaussian is
    low, high = jnp.clip(x - _WINDOW * width, start, end), jnp.clip(x + _WINDOW * width, start, end)
    at = low + (high - low) * t
    return einsum("qt,qtk->qk", (high - low) * weight * jnp.exp(-0.5 * ((at - x) / width) ** 2), polynomials(n, at))


def filtered_overlaps(n: int, x: Array, width: Array, soft: Array, rate: Array, *, at_the_end: bool) -> Array:
    r"""Overlaps beyond a distance s, from which on a filter damps the Gaussians.

    .. math:: \int_s^1 J_k(t)\, e^{-(t - x)^2 / 2 w^2}\, e^{-\nu^2 (t - s)^2 / 2}\, dt

    Args:
      n: number of polynomials.
      x: where the Gaussians are, shape [Q].
      width: w, shape [Q].
      soft: s, shape [].
      rate: ν, shape [].
      at_the_end: whether the recursion of soap_turbo, in the power of 1 − t, would start with its boundary term at t = 1. soap_turbo forgets it.

    Returns:
      Shape [Q, n].
    """
    # the product of two Gaussians is one
    narrow = width / jnp.sqrt(1 + (rate * width) ** 2)
    place = soft + (x - soft) * (narrow / width) ** 2
    height = jnp.exp(-0.5 * ((x - soft) * rate * narrow / width) ** 2)
    values = overlaps(n, place, narrow, soft, 1.0)
    if not at_the_end:
        share = jax.scipy.special.erfc((1 - place) / (math.sqrt(2) * narrow)) / 2
        values = values + overlaps(n, place, narrow, 1.0, _FAR) - share[:, None] * overlaps(n, place, narrow, -_FAR, _FAR)
    return height[:, None] * values


def polynomials(n: int, x: Array) -> Array:
    """J_0 … J_(n−1) at x, shape [..., n]: (1 − x)³ times Jacobi polynomials, orthonormal on [0, 1]."""
    t = 2 * x - 1
    values = [jnp.ones_like(x), 4 * t + 3]
    for k in range(2, n):
        last, before = (2 * k + 5) * ((2 * k + 6) * (2 * k + 4) * t + 36), 2 * (k + 5) * (k - 1) * (2 * k + 6)
        values.append((last * values[-1] - before * values[-2]) / (2 * k * (k + 6) * (2 * k + 4)))
    return jnp.stack([math.sqrt(2 * k + 7) * value * (1 - x) ** 3 for k, value in enumerate(values[:n])], axis=-1)


@functools.cache
def _from_powers(n: int) -> np.ndarray:
    """C with J = C φ, shape [n, n]."""
    table = np.zeros((n, n))
    for k in range(n):
        for m in range(k + 1):
            whole = math.comb(k + 6, k - m) * math.comb(k + 6 + m, m) * (-1) ** m  # exact
            table[k, m] = whole * math.sqrt((2 * k + 7) / (2 * m + 7))
    return table


def _polar(matrix):
    """The orthogonal factor of a square matrix; NumPy or JAX."""
    xp = np if isinstance(matrix, np.ndarray) else jnp
    u, _, v = xp.linalg.svd(matrix)
    return u @ v


@pytree
class Poly3(PowerBasis):
    r"""Polynomials, soap_turbo's `basis=poly3`.

    .. math:: g = S^{-1/2} \phi, \qquad \phi_a(x) = \sqrt{2a + 5}\,(1 - x)^{a + 2}, \quad a = 1 \dots n_{max}

    Args:
      n_max: number of functions.

    Example:
      >>> from jaxpot.descriptors import TurboDensity
      >>> TurboDensity(("C", "H"), 4.0, Poly3(4), l_max=3, sigma=0.5, sigma_angular=0.4).n_channels
      8

    References:
      Caro, "Optimizing many-body atomic descriptors for enhanced computational performance of machine learning based interatomic
      potentials", Phys. Rev. B 100, 024112 (2019).
    """

    n_max: int = static()

    def __post_init__(self):
        _check(self, 1)

    @property
    def n_polynomials(self) -> int:
        return self.n_max

    def more(self, x, width, own):
        return jnp.zeros((x.shape[0], 0), x.dtype)

    def mixing(self, own):
        return jnp.asarray(_polar(_from_powers(self.n_max)), own.dtype)


@pytree
class Poly3Gauss(PowerBasis):
    r"""Polynomials and a Gaussian at the centre as wide as the density's there, soap_turbo's `basis=poly3gauss`.

    .. math:: g = S^{-1/2} (\phi_1 \dots \phi_{n_{max} - 1}, G), \qquad G(x) = \left(2/w\sqrt\pi\right)^{1/2} e^{-x^2/2w^2}

    The overlaps of G with others are over [0, ∞), those of polynomials over [0, 1].

    Args:
      n_max: number of functions, at least 2.

    Example:
      >>> from jaxpot.descriptors import TurboDensity
      >>> TurboDensity(("C", "H"), 4.0, Poly3Gauss(4), l_max=3, sigma=0.5, sigma_angular=0.4).n_channels
      8

    References:
      Caro, "Optimizing many-body atomic descriptors for enhanced computational performance of machine learning based interatomic
      potentials", Phys. Rev. B 100, 024112 (2019).
    """

    n_max: int = static()

    def __post_init__(self):
        _check(self, 2)

    @property
    def n_polynomials(self) -> int:
        return self.n_max - 1

    def more(self, x, width, own):
        square = width**2 + own**2
        inside = 1 + jax.scipy.special.erf(x * own / (width * jnp.sqrt(2 * square)))
        return (_height(own) * math.sqrt(math.pi / 2) * width * own / jnp.sqrt(square) * jnp.exp(-(x**2) / (2 * square)) * inside)[:, None]

    def _with_polynomials(self, own: Array) -> Array:
        """∫ J_k G, shape [n_max − 1]."""
        return _height(own) * overlaps(self.n_polynomials, jnp.zeros((1,), own.dtype), own[None], 0.0, 1.0)[0]

    def _made_orthogonal(self, own: Array) -> Array:
        """L⁻¹ of the Gram matrix L Lᵀ of (J, G), shape [n_max, n_max]."""
        v = self._with_polynomials(own)
        rest = jnp.sqrt(1 - jnp.sum(v**2))
        last = jnp.concatenate([-v, jnp.ones((1,), own.dtype)]) / rest
        return jnp.concatenate([jnp.eye(self.n_max, dtype=own.dtype)[:-1], last[None]])

    def mixing(self, own):
        inverse, from_powers = self._made_orthogonal(own), np.eye(self.n_max)
        from_powers[:-1, :-1] = _from_powers(self.n_polynomials)
        if jnp.finfo(own.dtype).eps * np.max(np.abs(from_powers)) > 1e-4:
            raise ValueError(f"Poly3Gauss with n_max = {self.n_max} needs float64: {own.dtype} has too few digits for it; use Poly3, or n_max up to 5")
        rotation = _polar(einsum("ij,jk->ik", inverse, jnp.asarray(from_powers, own.dtype)))
        return einsum("kj,kn->jn", inverse, rotation)

    def central(self, found, own):
        both = jnp.concatenate([self._with_polynomials(own), jnp.ones((1,), own.dtype)])
        return einsum("j,jn->n", both, self.mixing(own)) / _height(own)


def _height(width: Array) -> Array:
    """G at 0."""
    return jnp.sqrt(2 / (width * math.sqrt(math.pi)))


def _check(basis: PowerBasis, least: int) -> None:
    if not (isinstance(basis.n_max, int) and least <= basis.n_max <= 10):
        raise ValueError(f"{type(basis).__name__}: n_max must be a whole number from {least} to 10 (beyond, double precision is lost), got {basis.n_max!r}")
