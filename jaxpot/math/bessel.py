"""Modified spherical Bessel functions of the first kind, scaled by exp(−x), for the overlap of Gaussians."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


@functools.cache
def _plan(l_max: int) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Where upward recursion becomes stable, and Horner coefficients of the power series below that, for l_max and l_max + 1.

    Upward recursion multiplies round-off by about exp(l²/x); the switch keeps that under 1e2.
    """
    switch = max(4.0, (l_max + 1) ** 2 / 4.6)
    series = []
    for l in (l_max, l_max + 1):
        # i_l = x^l Σ_k (x²/2)^k / (k! (2l+1)!! (2l+3) … (2l+2k+1)), in powers of (x/switch)² so that no coefficient over- or underflows
        terms, k = [1 / np.prod(np.arange(2 * l + 1, 0, -2, dtype=float))], 0
        while terms[-1] > 1e-18 * sum(terms):
            k += 1
            terms.append(terms[-1] * (switch**2 / 2) / (k * (2 * l + 2 * k + 1)))
        series.append(np.array(terms))
    return switch, tuple(series)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def scaled_spherical_bessel(x: Array, l_max: int) -> Array:
    r"""exp(−x) i_l(x) for l = 0 … l_max.

    .. math:: e^{-x} i_l(x), \qquad i_0 = \sinh x / x, \qquad i_{l+1} = i_{l-1} - \frac{2l+1}{x}\, i_l

    Power series and downward recursion for small x, upward recursion for large; derivatives of every order are exact, at
    x = 0 too.

    Args:
      x: non-negative, shape [...].
      l_max: highest order, included.

    Returns:
      Shape [..., l_max + 1].

    Example:
      >>> scaled_spherical_bessel(jnp.array(0.0), 2).tolist()
      [1.0, 0.0, 0.0]
    """
    switch, series = _plan(l_max)

    small = jnp.minimum(x, switch)
    y = (small / switch) ** 2
    above, current = (functools.reduce(lambda s, c: s * y + c, reversed(terms), jnp.zeros_like(y)) for terms in (series[1], series[0]))
    down = [current]  # h_l = i_l / x^l
    for l in range(l_max, 0, -1):
        above, current = current, small * small * above + (2 * l + 1) * current
        down.append(current)
    power, low = jnp.exp(-small), []
    for l in range(l_max + 1):
        low.append(down[l_max - l] * power)
        power = power * small

    large = jnp.maximum(x, switch)
    inverse, decay = 1 / large, jnp.exp(-2 * large)
    high = [0.5 * (1 - decay) * inverse]
    if l_max > 0:
        high.append((0.5 * (1 + decay) - high[0]) * inverse)
    for l in range(1, l_max):
        high.append(high[l - 1] - (2 * l + 1) * inverse * high[l])
    return jnp.stack([jnp.where(x < switch, a, b) for a, b in zip(low, high, strict=True)], axis=-1)


@scaled_spherical_bessel.defjvp
def _scaled_spherical_bessel_jvp(l_max, primals, tangents):
    (x,), (dx,) = primals, tangents
    x = jnp.asarray(x)
    values = scaled_spherical_bessel(x, l_max + 1)  # d i_l/dx = (l i_{l−1} + (l+1) i_{l+1}) / (2l+1)
    l = np.arange(l_max + 1)
    lower = jnp.concatenate([jnp.zeros_like(values[..., :1]), values[..., :l_max]], axis=-1)
    down = jnp.broadcast_to(jnp.asarray(l / (2 * l + 1), x.dtype), lower.shape)
    up = jnp.broadcast_to(jnp.asarray((l + 1) / (2 * l + 1), x.dtype), lower.shape)
    slope = down * lower + up * values[..., 1:] - values[..., : l_max + 1]
    return values[..., : l_max + 1], slope * dx[..., None]
