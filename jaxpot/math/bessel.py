"""Spherical Bessel functions: modified ones, scaled by exp(−x), for the overlap of Gaussians; and ordinary ones, for plane waves."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.linalg import einsum
from jaxpot.math.powers import powers

Array = jax.Array


@functools.cache
def _plan(l_max: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Where the closed form becomes stable, the power series below it and the closed form above it.

    The closed form cancels like exp(l²/x) and the switch keeps that under 1e2; all terms of the series are positive.
    """
    switch = max(4.0, (l_max + 1) ** 2 / 4.6)
    # i_l = x^l Σ_k (x²/2)^k / (k! (2l+1)!! (2l+3) … (2l+2k+1)), in powers of (x/switch)² so that no coefficient over- or underflows
    columns = []
    for l in range(l_max + 1):
        terms, k = [1 / np.prod(np.arange(2 * l + 1, 0, -2, dtype=float))], 0
        while terms[-1] > 1e-18 * sum(terms):
            k += 1
            terms.append(terms[-1] * (switch**2 / 2) / (k * (2 * l + 2 * k + 1)))
        columns.append(terms)
    n = max(map(len, columns))
    series = np.array([c + [0.0] * (n - len(c)) for c in columns])
    # e^-x i_l = Σ_k (l+k)!/(k! (l−k)!) [(−1)^k − (−1)^l e^-2x] (2x)^-(k+1), in powers of switch/x
    closed = np.zeros((l_max + 1, l_max + 1))
    for l in range(l_max + 1):
        for k in range(l + 1):
            closed[l, k] = math.factorial(l + k) / (math.factorial(k) * math.factorial(l - k)) / (2 * switch) ** (k + 1)
    return switch, series, closed


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def scaled_spherical_bessel(x: Array, l_max: int) -> Array:
    r"""exp(−x) i_l(x) for l = 0 … l_max.

    .. math:: e^{-x} i_l(x), \qquad i_0 = \sinh x / x, \qquad i_{l+1} = i_{l-1} - \frac{2l+1}{x}\, i_l

    Power series for small x, closed form for large; derivatives of every order are exact, at x = 0 too.

    Args:
      x: non-negative, shape [...].
      l_max: highest order, included.

    Returns:
      Shape [..., l_max + 1].

    Example:
      >>> scaled_spherical_bessel(jnp.array(0.0), 2).tolist()
      [1.0, 0.0, 0.0]
    """
    x = jnp.asarray(x)
    switch, series, closed = (jnp.asarray(t, x.dtype) for t in _plan(l_max))
    sign = jnp.asarray((-1.0) ** np.arange(l_max + 1), x.dtype)

    small = jnp.minimum(x, switch)
    low = einsum("...k,lk->...l", powers((small / switch) ** 2, series.shape[1]), series)
    low = low * powers(small, l_max + 1) * jnp.exp(-small)[..., None]

    large = jnp.maximum(x, switch)
    inverse = powers(switch / large, l_max + 1) * (switch / large)[..., None]
    lead = (1,) * x.ndim
    growing = einsum("...k,lk->...l", inverse * sign.reshape(*lead, -1), closed)
    decaying = einsum("...k,lk->...l", inverse, closed)
    high = growing - sign.reshape(*lead, -1) * jnp.exp(-2 * large)[..., None] * decaying
    return jnp.where((x < switch)[..., None], low, high)


@scaled_spherical_bessel.defjvp
def _scaled_spherical_bessel_jvp(l_max, primals, tangents):
    (x,), (dx,) = primals, tangents
    x = jnp.asarray(x)
    values = scaled_spherical_bessel(x, l_max + 1)
    slope = _slopes(values, 1) - values[..., : l_max + 1]
    return values[..., : l_max + 1], slope * dx[..., None]


def _slopes(values: Array, sign: int) -> Array:
    """(l f_{l−1} ± (l+1) f_{l+1}) / (2l+1) of f_l for l = 0 … l_max + 1, [..., l_max + 1]: derivatives of i_l with plus, of j_l with minus."""
    l = np.arange(values.shape[-1] - 1)
    lower = jnp.concatenate([jnp.zeros_like(values[..., :1]), values[..., :-2]], axis=-1)
    lead = (1,) * (values.ndim - 1)
    down = jnp.asarray(l / (2 * l + 1), values.dtype).reshape(*lead, -1)
    up = jnp.asarray(sign * (l + 1) / (2 * l + 1), values.dtype).reshape(*lead, -1)
    return down * lower + up * values[..., 1:]


@functools.cache
def _wave_plan(l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the recursion upwards becomes stable for every order, and the power series below.

    The recursion loses what y_l gains, so it serves from where |y_l| ~ (2l−1)!!/x^(l+1) has come down to 1; the series has lost few digits there.
    """
    switch = np.array([max(1.0, float(np.prod(np.arange(2 * l - 1, 0, -2, dtype=float))) ** (1 / (l + 1))) for l in range(l_max + 1)])
    columns = []
    for l in range(l_max + 1):
        terms, k = [1 / np.prod(np.arange(2 * l + 1, 0, -2, dtype=float))], 0
        while abs(terms[-1]) > 1e-18 * abs(terms[0]):
            k += 1
            terms.append(-terms[-1] * (switch[l] ** 2 / 2) / (k * (2 * l + 2 * k + 1)))
        columns.append(terms)
    n = max(map(len, columns))
    return switch, np.array([c + [0.0] * (n - len(c)) for c in columns])


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def spherical_bessel(x: Array, l_max: int) -> Array:
    r"""j_l(x) for l = 0 … l_max.

    .. math:: j_0 = \sin x / x, \qquad j_{l+1} = \frac{2l+1}{x}\, j_l - j_{l-1}

    The recursion for large x, power series for small; derivatives of every order are exact, at x = 0 too.

    Args:
      x: non-negative, shape [...].
      l_max: highest order, included.

    Returns:
      Shape [..., l_max + 1].

    Example:
      >>> spherical_bessel(jnp.array(0.0), 2).tolist()
      [1.0, 0.0, 0.0]
    """
    x = jnp.asarray(x)
    switch, series = (jnp.asarray(t, x.dtype) for t in _wave_plan(l_max))
    switch = switch.reshape((1,) * x.ndim + (-1,))
    small = jnp.minimum(x[..., None], switch)
    low = einsum("...lk,lk->...l", powers((small / switch) ** 2, series.shape[1]), series)
    low = low * jnp.stack([small[..., l] ** l for l in range(l_max + 1)], axis=-1)

    large = jnp.maximum(x, 1.0)
    high = [jnp.sin(large) / large]
    high.append((high[0] - jnp.cos(large)) / large)
    for l in range(1, l_max):
        high.append((2 * l + 1) / large * high[l] - high[l - 1])
    return jnp.where(x[..., None] < switch, low, jnp.stack(high[: l_max + 1], axis=-1))


@spherical_bessel.defjvp
def _spherical_bessel_jvp(l_max, primals, tangents):
    (x,), (dx,) = primals, tangents
    x = jnp.asarray(x)
    values = spherical_bessel(x, l_max + 1)
    return values[..., : l_max + 1], _slopes(values, -1) * dx[..., None]
