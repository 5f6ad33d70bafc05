"""Real spherical and solid harmonics, polynomials in x, y, z.

No angle, no division by sin θ and no power of r appears, so derivatives of every order are finite everywhere, the poles and the
origin included. The recursion runs over normalised functions: factorials never appear, and l = 20 costs no digits.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_degree(l_max: Any) -> int:
    """l_max as an int.

    Raises:
      ValueError: if it is not an integer ≥ 0.
    """
    if isinstance(l_max, bool) or not isinstance(l_max, (int, np.integer)) or l_max < 0:
        raise ValueError(f"l_max must be an integer ≥ 0, got {l_max!r}")
    return int(l_max)


@functools.cache
def _recursion_tables(l_max: int) -> tuple[list[list[float]], list[list[float]], list[float]]:
    """The factors a[l][m], b[l][m] (used where l ≥ m + 1 and l ≥ m + 2) and the start d[m] = Q_mm."""
    l, m = np.arange(l_max + 1.0)[:, None], np.arange(l_max + 1.0)[None, :]
    below = np.where(l > m, l * l - m * m, 1)
    a = np.sqrt(np.where(l > m, 4 * l * l - 1, 0) / below)
    b = np.sqrt(np.where(l > m + 1, (2 * l + 1) * ((l - 1) ** 2 - m * m) / np.where(l > m + 1, 2 * l - 3, 1), 0) / below)
    k = np.arange(1.0, l_max + 1)
    d = np.sqrt(np.cumprod(np.concatenate([[1 / (4 * np.pi)], (2 * k + 1) / (2 * k) * np.where(k == 1, 2, 1)])))
    return a.tolist(), b.tolist(), d.tolist()


def harmonic_polynomials(xp: Any, x: jax.Array, y: jax.Array, z: jax.Array, square: jax.Array, l_max: int) -> list[jax.Array]:
    """r^l Y_lm, with r² given: the square of the vector, or 1 where it is a unit vector. xp is jax.numpy, or numpy for tables."""
    a, b, d = _recursion_tables(l_max)
    out = [x] * (l_max + 1) ** 2
    one = xp.ones_like(x)
    c, s = one, xp.zeros_like(x)
    for m in range(l_max + 1):
        if m == 1:
            c, s = x, y
        elif m > 1:
            c, s = x * c - y * s, x * s + y * c
        previous = q = d[m] * one
        for l in range(m, l_max + 1):
            if l > m:
                step = z * (a[l][m] * q)
                previous, q = q, step if l == m + 1 else step - square * (b[l][m] * previous)
            out[l * l + l + m] = q * c if m else q
            if m:
                out[l * l + l - m] = q * s
    return out


def _components(vectors: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return vectors[..., 0], vectors[..., 1], vectors[..., 2]


def _as_vectors(vectors: jax.Array, owner: str) -> jax.Array:
    if np.ndim(vectors) == 0 or np.shape(vectors)[-1] != 3:
        raise ValueError(f"{owner}: the last axis of vectors must be x, y, z, got shape {list(np.shape(vectors))}")
    return jnp.asarray(vectors, jnp.result_type(vectors, 1.0))


def solid_harmonics(vectors: jax.Array, l_max: int) -> jax.Array:
    r"""Real regular solid harmonics :math:`r^l Y_{lm}(\hat r)`, homogeneous polynomials of degree l.

    .. math:: r^l Y_{lm} = Q_{l|m|}(z, r^2)\, \begin{cases} \mathrm{Re}\,(x + iy)^{m} & m \ge 0 \\
              \mathrm{Im}\,(x + iy)^{|m|} & m < 0 \end{cases}

    .. math:: Q_{lm} = \sqrt{\frac{4l^2 - 1}{l^2 - m^2}}\, z\, Q_{l-1,m}
              - \sqrt{\frac{(2l+1)\,((l-1)^2 - m^2)}{(2l-3)\,(l^2 - m^2)}}\; r^2 Q_{l-2,m}

    The starts Q_mm carry the normalisation: orthonormal on the unit sphere, without Condon–Shortley sign, so that
    l = 1 is √(3/4π) (y, z, x).

    Args:
      vectors: shape [..., 3], in any unit of length.
      l_max: highest degree, included.

    Returns:
      Shape [..., (l_max + 1)²], flat index l² + l + m, in that unit to the power l; the dtype of `vectors`.

    Raises:
      ValueError: if the last axis is not 3, or l_max is not an integer ≥ 0.

    Example:
      >>> y, z, x = solid_harmonics(jnp.array([1.0, 2.0, 3.0]), l_max=1)[1:] / np.sqrt(3 / (4 * np.pi))
      >>> f"{x:.4f} {y:.4f} {z:.4f}"
      '1.0000 2.0000 3.0000'

    References:
      Bigi, Fraux, Browning, Ceriotti, "Fast evaluation of spherical harmonics with sphericart",
      J. Chem. Phys. 159, 064802 (2023).
    """
    l_max = check_degree(l_max)
    vectors = _as_vectors(vectors, "solid_harmonics")
    return jnp.stack(harmonic_polynomials(jnp, *_components(vectors), jnp.sum(vectors * vectors, axis=-1), l_max), axis=-1)


def spherical_harmonics(vectors: jax.Array, l_max: int) -> jax.Array:
    r"""Real spherical harmonics of the direction of each vector.

    .. math:: Y_{lm}(\hat r) = \sqrt{\frac{2l+1}{4\pi}\frac{(l-|m|)!}{(l+|m|)!}}\; P_l^{|m|}(\cos\theta)
              \begin{cases} \sqrt 2 \cos m\phi & m > 0 \\ 1 & m = 0 \\ \sqrt 2 \sin |m|\phi & m < 0 \end{cases}

    with P without Condon–Shortley sign. A vector of length 0 has no direction: it gives Y_00, zeros for l > 0, and gradient 0.

    Args:
      vectors: shape [..., 3], in any unit of length.
      l_max: highest degree, included.

    Returns:
      Shape [..., (l_max + 1)²], flat index l² + l + m, no unit; the dtype of `vectors`.

    Raises:
      ValueError: if the last axis is not 3, or l_max is not an integer ≥ 0.

    Example:
      >>> harmonics = spherical_harmonics(jnp.array([0.0, 0.0, 2.0]), l_max=2)
      >>> [round(float(v), 4) for v in harmonics]
      [0.2821, 0.0, 0.4886, 0.0, 0.0, 0.0, 0.6308, 0.0, 0.0]

    References:
      Bigi, Fraux, Browning, Ceriotti, "Fast evaluation of spherical harmonics with sphericart",
      J. Chem. Phys. 159, 064802 (2023).
    """
    l_max = check_degree(l_max)
    vectors = _as_vectors(vectors, "spherical_harmonics")
    square = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    is_zero = square == 0
    units = jnp.where(is_zero, 0, vectors / jnp.sqrt(jnp.where(is_zero, 1, square)))
    one = jnp.where(is_zero[..., 0], jnp.zeros_like(units[..., 0]), 1)
    return _stacked(harmonic_polynomials(jnp, *_components(units), one, l_max))


def _stacked(columns: list[jax.Array]) -> jax.Array:
    """Functions of shape [...] as one array [..., n], evaluated once: without a barrier XLA fuses the recursion into whatever uses it."""
    if jax.default_backend() == "cpu":
        return jax.lax.optimization_barrier(jnp.stack(columns, axis=-1))
    # an accelerator computes every element in a thread of its own: along the first axis neighbouring threads are at the same function
    return jnp.moveaxis(jax.lax.optimization_barrier(jnp.stack(columns)), 0, -1)


def by_degree(coefficients: jax.Array, l_max: int) -> list[jax.Array]:
    """The parts of degree 0 … l_max of an array whose last axis is (l_max + 1)²."""
    return jax.lax.split(coefficients, tuple(2 * l + 1 for l in range(l_max + 1)), axis=coefficients.ndim - 1)
