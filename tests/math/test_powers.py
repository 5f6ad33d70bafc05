"""Powers with real exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import quick_jit

from jaxpot.math.powers import power


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7, 2.0, 3.0, 16.0])
def test_value_and_derivatives(exponent):
    def derivatives(f):
        first, mixed = jax.grad(f), jax.grad(jax.grad(f), 1)
        orders = (f, first, jax.grad(f, 1), jax.grad(first), mixed, jax.grad(jax.grad(first)), jax.grad(jax.grad(f, 1), 1))
        return quick_jit(jax.vmap(lambda b, e: jnp.stack([g(b, e) for g in orders]), (0, None)))

    base = np.linspace(0.05, 1.4, 12)
    np.testing.assert_allclose(derivatives(power)(base, exponent), derivatives(lambda b, e: b**e)(base, exponent), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("exponent", "slope", "curvature"), [(1.0, 1, 0), (2.0, 0, 2), (3.0, 0, 0), (2.5, 0, 0)])
def test_at_zero(exponent, slope, curvature):
    """The limits, also where `exponent - 1` or `exponent - 2` is zero; all that is infinite there is finite here."""
    for dtype in (jnp.float32, jnp.float64):
        zero, e = jnp.zeros((), dtype), jnp.asarray(exponent, dtype)
        orders = (power, jax.grad(power), jax.grad(jax.grad(power)), jax.grad(power, 1), jax.grad(jax.grad(jax.grad(power))))
        value, first, second, by_exponent, third = quick_jit(lambda b, e: [f(b, e) for f in orders])(zero, e)  # noqa: B023
        assert value == by_exponent == 0 and value.dtype == dtype
        assert abs(first - slope) < 1e-15 and abs(second - curvature) < 1e-6 and np.isfinite(third)


def test_infinite_slopes_are_finite():
    assert np.isfinite(jax.grad(power)(0.0, 0.5)) and np.isfinite(jax.grad(jax.grad(power))(0.0, 1.5))
