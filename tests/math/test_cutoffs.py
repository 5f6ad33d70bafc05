"""Cutoff functions by their formulas, with their derivatives, on both sides of either end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import quick_jit

from jaxpot import CosineCutoff, cast
from jaxpot.cutoffs import BumpCutoff, GammaCutoff, InversePowerDecay, LogisticDecay, PolynomialCutoff, PowerCutoff, Step, TanhCutoff, Willatt

R, INNER = 5.0, 2.0


def poly(*terms):
    return lambda x: 1 + sum(c * x**p for p, c in terms)


FORMULAS = {  # on x from 0, at the inner radius, to 1
    "cosine": (CosineCutoff(R, width=R - INNER), lambda x: 0.5 * (1 + jnp.cos(jnp.pi * x)), 1),
    "poly1": (PolynomialCutoff(R, R - INNER, smoothness=1), poly((2, -3), (3, 2)), 1),
    "poly2": (PolynomialCutoff(R, R - INNER, smoothness=2), poly((3, -10), (4, 15), (5, -6)), 2),
    "poly3": (PolynomialCutoff(R, R - INNER, smoothness=3), poly((4, -35), (5, 84), (6, -70), (7, 20)), 3),
    "poly4": (PolynomialCutoff(R, R - INNER, smoothness=4), poly((5, -126), (6, 420), (7, -540), (8, 315), (9, -70)), 4),
    "bump": (BumpCutoff(R, width=R - INNER), lambda x: jnp.exp(1 - 1 / (1 - x**2)), 9),
    "tanh": (TanhCutoff(R, normalize=False), lambda x: jnp.tanh(1 - (INNER + x * (R - INNER)) / R) ** 3, 2),
    "tanh, normalised": (TanhCutoff(R), lambda x: (jnp.tanh(1 - (INNER + x * (R - INNER)) / R) / jnp.tanh(1.0)) ** 3, 2),
    "gamma": (GammaCutoff(R, 3.5), lambda x: 1 + 3.5 * ((INNER + x * (R - INNER)) / R) ** 4.5 - 4.5 * ((INNER + x * (R - INNER)) / R) ** 3.5, 1),
    "power": (PowerCutoff(R, 3), lambda x: (1 - ((INNER + x * (R - INNER)) / R) ** 2) ** 3, 2),
}


def derivatives(function, n=3):
    """r [K] -> the function and its first n − 1 derivatives, [n, K]."""
    orders = [function]
    for _ in range(n - 1):
        orders.append(jax.grad(orders[-1]))
    return quick_jit(jax.vmap(lambda r: jnp.stack([f(r) for f in orders]), out_axes=1))


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_and_derivatives(name):
    """Values and two derivatives inside; zero with all its derivatives outside."""
    cutoff, formula, _ = FORMULAS[name]
    inside, beyond = np.linspace(INNER + 0.01, R - 0.01, 41), np.array([R, R + 1e-6, 1.001 * R, 7.0])
    got, expected = derivatives(cutoff), derivatives(lambda r: formula((r - INNER) / (R - INNER)))
    np.testing.assert_allclose(got(inside), expected(inside), rtol=1e-11, atol=1e-12)
    assert np.all(got(beyond) == 0)


@pytest.mark.parametrize("name", FORMULAS)
def test_smooth_at_the_ends(name):
    """As many derivatives vanish towards the radius as promised, and the inner radius is not seen; NaN stays NaN."""
    cutoff, _, smoothness = FORMULAS[name]
    near, at_inner = 1e-3, 1 if name == "bump" else smoothness
    last, below, above = derivatives(cutoff, 4)(np.array([R - near, INNER - 1e-6, INNER + 1e-6])).T
    for order in range(min(smoothness, 3) + 1):
        assert abs(last[order]) < 200 * near ** max(1, min(smoothness, 3) + 1 - order)
        if hasattr(cutoff, "width") and order <= at_inner:
            assert abs(above[order] - below[order]) < 1e-4
    assert np.isnan(cutoff(jnp.nan)) and cast(cutoff, jnp.float32)(jnp.float32(3.0)).dtype == jnp.float32
    assert np.all(np.diff(cutoff(jnp.linspace(0.0, R, 200))) <= 1e-15)


def test_width():
    with pytest.raises(ValueError, match="BumpCutoff: width .* exceeds the radius"):
        BumpCutoff(3.0, width=4.0)


@pytest.mark.parametrize("decay", [InversePowerDecay, LogisticDecay, Willatt])
def test_decays(decay):
    """Times a cutoff, and with its smeared one; zero beyond."""
    formula = {InversePowerDecay: lambda r: (1.5 / r) ** 3, LogisticDecay: lambda r: 1.4 / (0.4 + np.exp(r / 1.5)), Willatt: lambda r: 3 / (3 + (r / 1.5) ** 3)}[decay]
    leaves = {"rate": 3.0 if decay is Willatt else 0.4, "scale": 1.5, "exponent": 3.0, "power": 3.0}
    cutoff = CosineCutoff(R, width=2.0)
    made = decay(cutoff, **{name: value for name, value in leaves.items() if name in {f.name for f in dataclasses.fields(decay)}})
    r = np.linspace(0.3, 6.0, 30)
    np.testing.assert_allclose(made(r), formula(r) * cutoff(r), rtol=1e-13)
    assert np.all(derivatives(made)(np.array([R, 6.0])) == 0) and float(made.radius) == R
    assert cast(made, jnp.float32)(jnp.float32(3.0)).dtype == jnp.float32
    smeared = made.replace(cutoff=Step(3.0)).smeared(0.5)
    assert float(smeared.radius) > 3.5 and abs(smeared(jnp.asarray(3.5)) - formula(3.5)) < 1e-13


def test_decays_refuse():
    with pytest.raises(ValueError, match="rate must not be negative, got -1"):
        LogisticDecay(CosineCutoff(R), rate=-1.0, scale=1.0)
    with pytest.raises(ValueError, match="scale must not be 0"):
        LogisticDecay(CosineCutoff(R), rate=1.0, scale=0.0)
