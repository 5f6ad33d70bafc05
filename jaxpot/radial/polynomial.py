"""Radial bases that are polynomials of a distance or of a transformed distance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import Radial, chebyshev, check_n_max, only_sharp, smeared
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class Chebyshev(Radial):
    r"""Chebyshev polynomials of the reduced distance, the same for every l; the cutoff function is the envelope.

    .. math:: g_n(r) = T_n(2 r/r_c - 1)\, r_c^{-3/2}, \qquad g_n = 0 \text{ beyond } r_c \text{ in a smeared density}

    Args:
      n_max: number of functions.

    Example:
      >>> Chebyshev(3)(jnp.array([0.0, 2.0, 4.0]), 4.0).tolist()
      [[0.125, -0.125, 0.125], [0.125, 0.0, -0.125], [0.125, 0.125, 0.125]]
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius):
        return chebyshev(2 * r / radius - 1, self.n_max) / radius**1.5


def legendre(x: Array, n: int) -> Array:
    """√(k + ½) P_k at x for k < n, orthonormal on [−1, 1], shape [..., n]; from Chebyshev polynomials, whose recursion keeps the graph small."""
    return einsum("...t,tn->...n", chebyshev(x, n), jnp.asarray(_legendre_from_chebyshev(n), x.dtype))


@functools.cache
def _legendre_from_chebyshev(n: int) -> np.ndarray:
    polynomial = np.polynomial
    columns = [np.sqrt(k + 0.5) * polynomial.chebyshev.poly2cheb(polynomial.legendre.leg2poly(row)) for k, row in enumerate(np.eye(n))]
    return np.stack([np.pad(c, (0, n - len(c))) for c in columns], axis=1)


@pytree
class Agnesi(Radial):
    r"""Orthonormal polynomials of a transformed distance that resolves the first shell best (ACE), the same for every l.

    .. math:: g_n(r) = \sqrt{n + \tfrac12}\; P_n(x), \qquad x = 2\, \frac{y(r) - y(r_c)}{1 - y(r_c)} - 1, \qquad
       y = \Bigl(1 + \frac{a s^q}{1 + s^{q-p}}\Bigr)^{-1}, \quad s = r/r_0

    With a = (p(4q − 2) − 2q)/(p + p² + q + q²) the slope of y is largest at r₀. Near r = 0, y ≈ 1 − a s^q; far away y ≈ 1/(a s^p). The
    cutoff function is the envelope. Only for a sharp density.

    Args:
      n_max: number of functions; g_n is of degree n in x.
      nearest: r₀, in Å, about the distance of nearest neighbours.
      p: decay at large distance, ≥ 1.
      q: order at small distance, ≥ p and > 1.

    Example:
      >>> np.asarray(Agnesi(3, nearest=2.35)(jnp.array([2.35, 5.0]), 5.0)).round(4).tolist()
      [[0.7071, 0.3058, -0.6427], [0.7071, -1.2247, 1.5811]]

    References:
      Witt et al., "ACEpotentials.jl: a Julia implementation of the atomic cluster expansion", J. Chem. Phys. 159, 164101 (2023).
    """

    n_max: int = static()
    nearest: Leaf = positive()
    p: int = static(default=2)
    q: int = static(default=4)

    def __post_init__(self):
        check_n_max(self)
        if not (isinstance(self.p, int) and isinstance(self.q, int) and 1 <= self.p <= self.q and self.q > 1):
            raise ValueError(f"Agnesi: expected whole numbers 1 <= p <= q with q > 1, got p = {self.p!r}, q = {self.q!r}")

    def _transform(self, r: Array) -> Array:
        p, q = self.p, self.q
        s = r / jnp.asarray(self.nearest, r.dtype)
        a = (p * (4 * q - 2) - 2 * q) / (p + p**2 + q + q**2)
        return 1 / (1 + a * s**q / (1 + s ** (q - p)))

    def __call__(self, r, radius):
        end = self._transform(jnp.asarray(radius, r.dtype))
        x = 2 * (self._transform(r) - end) / (1 - end) - 1
        return legendre(x, self.n_max)


smeared.register(Agnesi, only_sharp)
