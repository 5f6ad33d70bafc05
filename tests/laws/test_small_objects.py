"""Laws of functions of one number: derivatives by it and by every leaf, types, files, and what happens at their ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import assert_below, quick_jit, relative
from scipy.special import spherical_in
from small_objects import ALL, CUTOFFS, ENDING, L_MAX, REACH, SMEARED, points, sharp, smeared

from jaxpot import cast, free, load, save

# these work in float64 whatever they are given; Density casts the table it makes of them
WIDER = {"radial, sharp: solid gto", "radial, smeared: solid gto", "radial, smeared: equispaced"}


@functools.partial(quick_jit, static_argnums=0)
def values(call, model, x):
    return call(model, x)


@functools.partial(quick_jit, static_argnums=0)
def derivatives(call, model, weights, x):
    """Value, first and second derivative [n, …], and the gradient of a weighted sum of the values by every leaf."""
    f = lambda x: call(model, x)  # noqa: E731
    slope = lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
    params, build = free(model, "*") if jax.tree_util.tree_leaves(model) else ({}, None)
    by_leaf = jax.grad(lambda p: jnp.sum(weights * call(build(p), x)))(params) if params else {}
    return f(x), *jax.jvp(slope, (x,), (jnp.ones_like(x),)), by_leaf


def central(function, h):
    """df/dx at 0 to fourth order in h."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


@pytest.mark.parametrize("name", ALL)
def test_derivatives(name):
    (model, call), x, rng = ALL[name], points(name), np.random.default_rng(3)
    weights = rng.normal(size=jax.eval_shape(lambda m: call(m, jnp.asarray(x)), model).shape)
    value, slope, curvature, by_leaf = derivatives(call, model, weights, x)
    assert np.max(np.abs(value)) > 1e-3
    at = lambda h: derivatives(call, model, weights, x + h)  # noqa: E731
    for got, numeric in ((slope, central(lambda h: np.asarray(at(h)[0]), 5e-4)), (curvature, central(lambda h: np.asarray(at(h)[1]), 5e-4))):
        assert np.max(np.abs(got - numeric)) < 1e-8 * max(np.max(np.abs(numeric)), 1)
    errors = {}
    for path, own in (free(model, "*")[0] if by_leaf else {}).items():
        direction, (params, build) = rng.normal(size=np.shape(own)), free(model, "*")
        numeric = central(lambda h: np.sum(weights * values(call, build(params | {path: own + h * direction}), x)), 5e-4)  # noqa: B023
        errors[path] = abs(np.sum(by_leaf[path] * direction) - numeric) / max(abs(numeric), 1)
    assert_below(errors, 1e-8)


@pytest.mark.parametrize("name", ALL)
def test_types_and_files(name, tmp_path):
    """float32 stays and is close; as a file, and without jit, it is the same function; NaN stays NaN."""
    (model, call), x = ALL[name], points(name)
    exact, single = values(call, model, x), values(call, cast(model, jnp.float32), x.astype(np.float32))
    assert single.dtype == (jnp.float64 if name in WIDER else jnp.float32) and relative(single, exact) < 3e-5
    part = model[0] if isinstance(model, tuple) else model
    loaded = load(save(tmp_path / "part", part))
    assert loaded == part and type(loaded) is type(part)
    again = (loaded, *model[1:]) if isinstance(model, tuple) else loaded
    assert np.array_equal(values(call, again, x), exact)
    if not isinstance(model, tuple):
        assert relative(call(model, jnp.asarray(x)), exact) < 1e-12
    assert np.all(np.any(np.isnan(values(call, model, np.full(3, np.nan))).reshape(3, -1), axis=1))


@pytest.mark.parametrize("name", [*(f"cutoff: {name}" for name in CUTOFFS), *(f"radial, sharp: {name}" for name in ENDING)])
def test_nothing_beyond_the_end(name):
    """Zero with two derivatives from the radius on, and continuous there, but for what is made to jump."""
    model, call = ALL[name]
    for x in derivatives(call, model, 0.0, np.array([REACH + 1e-9, REACH * 1.0001, 5.0]))[:3]:
        assert np.all(np.asarray(x) == 0)
    assert (np.max(np.abs(values(call, model, np.array([REACH - 1e-7])))) < 1e-6) == (name not in ("cutoff: step", "radial, sharp: cheb-linear"))


@pytest.mark.parametrize("name", SMEARED)
def test_smeared_is_the_integral_of_sharp(name):
    """By quadrature on many points, without the windows and closed forms of the library."""
    model, _ = ALL[f"radial, smeared: {name}"]
    r, sigma, upper = np.array([0.3, 1.7, 2.9]), float(model[1]["sigma"]), float(model[0].end(REACH))
    x, w = np.polynomial.legendre.leggauss(400)
    end = min(upper, 9.0)
    s, w = end * (x + 1) / 2, end * w / 2
    g = np.broadcast_to(values(sharp, model, s), (len(s), L_MAX + 1, model[0].n_max))
    argument = s[:, None, None] * r[:, None] / sigma**2
    bessel = spherical_in(np.arange(L_MAX + 1), argument) * np.exp(-(s[:, None, None] ** 2 + r[:, None] ** 2) / (2 * sigma**2))
    assert relative(values(smeared, model, r), 4 * np.pi * np.einsum("s,srl,sln->rln", w * s**2, bessel, g)) < 1e-11
