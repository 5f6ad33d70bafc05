"""Kernels between feature vectors: classes with differentiable leaves. Sums of kernels are sums of potentials."""

import abc
import functools

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.math.permutations import is_group
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_INTEGERS = 9  # exponents 0 … 8 are products, ten times faster than pow and exact for negative bases


class Kernel(Interface):
    """Interface: how alike two feature vectors are.

    Example:
      >>> @pytree
      ... class AllAlike(Kernel):
      ...     def __call__(self, x, y):
      ...         return jnp.ones((*x.shape[:-1], len(y)), x.dtype)
      >>> AllAlike().diagonal(jnp.ones((3, 2))).tolist()
      [1.0, 1.0, 1.0]
    """

    @abc.abstractmethod
    def __call__(self, x: Array, y: Array) -> Array:
        """[..., F], [M, F] -> [..., M]."""

    def diagonal(self, x: Array) -> Array:
        """[..., F] -> k(x, x) [...]."""
        rows = x.reshape(-1, x.shape[-1])
        return jax.vmap(lambda row: self(row, row[None])[0])(rows).reshape(x.shape[:-1])


@jax.custom_jvp
def power(base: Array, exponent: Array) -> Array:
    """base ** exponent for a scalar exponent, with fast integers and finite derivatives at base 0.

    The derivative with respect to the exponent is base^e log(base) for positive base and 0 at base 0; a negative base has no
    real power other than an integer one, and gives NaN.
    """
    exponent = jnp.asarray(exponent, base.dtype)
    whole = jnp.round(exponent)
    index = jnp.where((exponent == whole) & (whole >= 0) & (whole < _INTEGERS), whole, _INTEGERS).astype(jnp.int32)

    def product(n: int, b: Array) -> Array:
        if n == 0:
            return jnp.ones_like(b)
        half = product(n // 2, b) if n > 1 else b
        return half if n == 1 else (half * half * b if n % 2 else half * half)

    branches = [functools.partial(product, n) for n in range(_INTEGERS)] + [lambda b: jnp.where(b == 0, 0, jnp.where(b == 0, 1, b) ** exponent)]
    return jax.lax.switch(index, branches, base)


@power.defjvp
def _power_jvp(primals, tangents):
    (base, exponent), (dbase, dexponent) = primals, tangents
    value = power(base, exponent)
    slope = exponent * power(base, exponent - 1)
    is_zero = base == 0
    by_exponent = jnp.where(is_zero, 0, value * jnp.log(jnp.where(is_zero, 1, base)))
    return value, slope * dbase + by_exponent * dexponent


@pytree
class PolynomialKernel(Kernel):
    r"""The SOAP kernel: a power of the dot product.

    .. math:: k(x, y) = (x \cdot y + \sigma_0^2)^\zeta

    On normalised power spectra this is the lecture's :math:`K = |p \cdot p'|^\zeta`, since :math:`p \cdot p' \ge 0`.

    Args:
      zeta: exponent; only whole numbers make a positive definite kernel. With others the covariance of many sparse points has negative
        eigenvalues and needs a large jitter, so round zeta after a search along its gradient.
      offset: σ₀, QUIP's `covariance_sigma0`; in the unit of x.

    Example:
      >>> float(PolynomialKernel(zeta=2.0)(jnp.ones(2), jnp.ones((1, 2)))[0])
      4.0
    """

    zeta: Leaf = positive(high=1e3)
    offset: Leaf = leaf(default=0.0)

    def _base(self, dot: Array) -> Array:
        return power(dot + jnp.asarray(self.offset**2, dot.dtype), jnp.asarray(self.zeta, dot.dtype))

    def __call__(self, x: Array, y: Array) -> Array:
        return self._base(einsum("...f,mf->...m", x, y))

    def diagonal(self, x: Array) -> Array:
        return self._base(jnp.sum(x * x, axis=-1))


def _scaled_square(x: Array, y: Array, length: Array) -> Array:
    """Σ_f ((x_f − y_f)/θ_f)², shape [..., M]; by differences, since |x|² − 2x·y + |y|² loses the digits that matter."""
    difference = x[..., None, :] - y.reshape((1,) * (x.ndim - 1) + y.shape)
    length = jnp.broadcast_to(jnp.asarray(length, x.dtype), x.shape[-1:])
    return jnp.sum((difference / length.reshape((1,) * (difference.ndim - 1) + length.shape)) ** 2, axis=-1)


class Stationary(Kernel):
    """Interface: kernels of the distance alone, k(x, y) = h(Σ_f (x_f − y_f)²/θ_f²).

    Attributes:
      length: θ, shape [] or [F], in the unit of x.
    """

    length: Array

    @abc.abstractmethod
    def of_square(self, square: Array) -> Array:
        """h of the square [...] -> [...], with h(0) = 1."""

    def slopes(self, square: Array) -> tuple[Array, Array]:
        """h' and h'', elementwise."""

        def slope(u):
            return jax.jvp(self.of_square, (u,), (jnp.ones_like(u),))[1]

        return jax.jvp(slope, (square,), (jnp.ones_like(square),))

    def __call__(self, x: Array, y: Array) -> Array:
        return self.of_square(_scaled_square(x, y, self.length))

    def diagonal(self, x: Array) -> Array:
        return jnp.ones(x.shape[:-1], x.dtype)


@pytree
class SquaredExponential(Stationary):
    r"""Gaussian kernel with one length scale per feature or one for all (QUIP's `ard_se`).

    .. math:: k(x, y) = \exp\left(-\tfrac12 \sum_f (x_f - y_f)^2/\theta_f^2\right)

    Args:
      length: θ, shape [] or [F], in the unit of x.

    Example:
      >>> SquaredExponential(0.5)(jnp.zeros(2), jnp.array([[0.0, 0.0], [0.3, 0.4]])).round(4).tolist()
      [1.0, 0.6065]
    """

    length: Leaf = positive(shape="[] or [F]")

    def of_square(self, square: Array) -> Array:
        return jnp.exp(-0.5 * square)


@pytree
class Matern(Stationary):
    r"""Matérn kernel of smoothness ν = 3/2 or 5/2, with s = √(2ν) |x − y|/θ.

    .. math:: k_{3/2} = (1 + s)\, e^{-s}, \qquad k_{5/2} = (1 + s + s^2/3)\, e^{-s}

    Args:
      length: θ, shape [] or [F], in the unit of x.
      nu: 1.5 (once differentiable samples) or 2.5 (twice); 0.5 is refused because its derivative jumps at x = y, so it has no
        forces.

    Example:
      >>> Matern(0.5, nu=1.5)(jnp.zeros(2), jnp.array([[0.0, 0.0], [0.3, 0.4]])).round(4).tolist()
      [1.0, 0.4834]
    """

    length: Leaf = positive(shape="[] or [F]")
    nu: float = static(default=2.5)

    def __post_init__(self):
        if self.nu not in (1.5, 2.5):
            raise ValueError(f"Matern: nu must be 1.5 or 2.5, got {self.nu}")

    def of_square(self, square: Array) -> Array:
        return _half_integer(round(self.nu - 0.5), 2 * self.nu * square)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _half_integer(p: int, square: Array) -> Array:
    """e^(−s), (1 + s) e^(−s) and (1 + s + s²/3) e^(−s) for p = 0, 1, 2, of s². Each is the derivative of the next, up to a factor:
    written out, since the terms of differentiated products cancel for small s, at each derivative by two more powers of it."""
    s = _safe_root(square)
    return (1, 1 + s, 1 + s + square / 3)[p] * jnp.exp(-s)


@_half_integer.defjvp
def _half_integer_jvp(p, primals, tangents):
    (square,), (change,) = primals, tangents
    if p > 0:
        slope = -_half_integer(p - 1, square) / (2 * (2 * p - 1))
    else:
        s = _safe_root(square)
        slope = jnp.where(s == 0, 0, -0.5 * jnp.exp(-s) / jnp.where(s == 0, 1, s))
    return _half_integer(p, square), slope * change


def _safe_root(square: Array) -> Array:
    is_zero = square == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))


@pytree
class Laplacian(Kernel):
    r"""Laplacian kernel, of the sum of absolute differences.

    .. math:: k(x, y) = \exp\left(-\sum_f |x_f - y_f|/\theta_f\right)

    It is for energies: where a feature of x equals that of y the energy has a kink, with derivative 0 there and a force that jumps nearby.

    Args:
      length: θ, shape [] or [F], in the unit of x.

    Example:
      >>> round(float(Laplacian(2.0)(jnp.array([1.0, 0.0]), jnp.array([[0.0, 1.0]]))[0]), 6)
      0.367879
    """

    length: Leaf = positive(shape="[] or [F]")

    def __call__(self, x: Array, y: Array) -> Array:
        difference = x[..., None, :] - y.reshape((1,) * (x.ndim - 1) + y.shape)
        length = jnp.broadcast_to(jnp.asarray(self.length, x.dtype), x.shape[-1:])
        difference = difference / length.reshape((1,) * (difference.ndim - 1) + length.shape)
        size = difference * jax.lax.stop_gradient(jnp.sign(difference))  # jnp.abs has the derivative 1 at 0
        return jnp.exp(-jnp.sum(size, axis=-1))

    def diagonal(self, x: Array) -> Array:
        return jnp.ones(x.shape[:-1], x.dtype)


@pytree
class Symmetrised(Kernel):
    r"""A kernel that is the same for every order of equal coordinates, by a sum over permutations P, normalised.

    .. math:: \bar k(x, y) = \frac{k_P(x, y)}{\sqrt{k_P(x, x)\, k_P(y, y)}}, \qquad k_P(x, y) = \sum_P k(x, P y)

    Args:
      kernel: k, itself indifferent to one permutation of both arguments: of unequal lengths only those that it does not exchange.
      permutations: a group of permutations of the features, as `Triangles.permutations` is.

    Raises:
      ValueError: if the permutations are not a group.

    Example:
      >>> kernel = Symmetrised(SquaredExponential(1.0), ((0, 1), (1, 0)))
      >>> round(float(kernel(jnp.array([1.0, 2.0]), jnp.array([[2.0, 1.0]]))[0]), 12)
      1.0

    References:
      Bartók, Csányi, "Gaussian approximation potentials: a brief tutorial introduction", Int. J. Quantum Chem. 115, 1051 (2015).
    """

    kernel: Kernel
    permutations: tuple[tuple[int, ...], ...] = static()

    def __post_init__(self):
        if not is_group(self.permutations):
            raise ValueError(f"Symmetrised: {self.permutations} is not a group of permutations of the features; write ((0, 1), (1, 0)) to exchange two")

    def _images(self, y: Array) -> Array:
        """[..., F] -> [..., P, F]."""
        return jnp.stack([jnp.stack([y[..., i] for i in p], axis=-1) for p in self.permutations], axis=-2)

    def _own(self, x: Array) -> Array:
        """k_P(x, x), shape [...]."""
        rows = x.reshape(-1, x.shape[-1])
        return jnp.sum(jax.vmap(self.kernel)(rows, self._images(rows)), axis=-1).reshape(x.shape[:-1])

    def __call__(self, x: Array, y: Array) -> Array:
        images = self._images(y)
        k = jnp.sum(self.kernel(x, images.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], *images.shape[:-1]), axis=-1)
        norm = jnp.sqrt(self._own(x))[..., None] * jnp.sqrt(self._own(y)).reshape((1,) * (x.ndim - 1) + (-1,))
        return k / norm

    def diagonal(self, x: Array) -> Array:
        return jnp.ones(x.shape[:-1], x.dtype)
