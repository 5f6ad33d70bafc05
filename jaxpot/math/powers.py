"""Powers whose derivatives are finite where the base is zero: all whole ones up to some, and those with real exponents."""

import jax
import jax.numpy as jnp

Array = jax.Array


def powers(x: Array, n: int) -> Array:
    """1, x, … x^(n−1), shape [..., n], by doubling: the graph stays a handful of operations."""
    powers = jnp.stack([jnp.ones_like(x), x], axis=-1)
    while powers.shape[-1] < n:
        count = min(powers.shape[-1] - 1, n - powers.shape[-1])
        powers = jnp.concatenate([powers, powers[..., -1:] * powers[..., 1 : count + 1]], axis=-1)
    return powers[..., :n]


def power(base: Array, exponent: Array) -> Array:
    r"""b^e of a base ≥ 0 and an exponent > 0, differentiable by both.

    At b = 0 derivatives by b are those of the limit (one for e = 1, its second zero), and where these are infinite, for e < 1, they
    are finite: times a slope of b that is zero there, as it is where an angle ends, they vanish. `jnp.power` costs ten times as much.

    Args:
      base: b.
      exponent: e, of a shape that broadcasts with the base.

    Example:
      >>> [round(float(jax.grad(power)(0.0, e)), 12) for e in (1.0, 2.0)]
      [1.0, 0.0]
    """
    return _power(base, jnp.asarray(exponent, jnp.result_type(base)))


@jax.custom_jvp
def _power(base: Array, exponent: Array) -> Array:
    return base * _raised(base, exponent - 1)


@_power.defjvp
def _power_slope(primals, tangents):
    (base, exponent), (by_base, by_exponent) = primals, tangents
    less = _raised(base, exponent - 1)
    value = base * less
    return value, exponent * less * by_base + value * _logarithm(base) * by_exponent


@jax.custom_jvp
def _raised(base: Array, exponent: Array) -> Array:
    """b^e for exponents of any sign, finite at b = 0."""
    return jnp.exp(exponent * _logarithm(base))


@_raised.defjvp
def _raised_slope(primals, tangents):
    (base, exponent), (by_base, by_exponent) = primals, tangents
    value = _raised(base, exponent)
    return value, exponent * _raised(base, exponent - 1) * by_base + value * _logarithm(base) * by_exponent


def _logarithm(base: Array) -> Array:
    return jnp.log(jnp.maximum(base, jnp.sqrt(jnp.finfo(jnp.result_type(base)).tiny)))  # so that b⁻² is finite
