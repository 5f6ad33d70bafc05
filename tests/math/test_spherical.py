import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpot.math.spherical import solid_harmonics, spherical_harmonics

ORACLE = Path(__file__).parents[1] / "oracles" / "math_angular.npz"
FUNCTIONS = {"Y": spherical_harmonics, "solid": solid_harmonics}
SPECIAL = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])


@pytest.fixture(scope="module")
def oracle():
    return np.load(ORACLE)


def degrees(l_max):
    return np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)


def directions(seed, n):
    x = np.random.default_rng(seed).normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1)[:, None]


def test_values_equal_the_oracle(oracle):
    points = oracle["points"]
    assert np.max(np.abs(spherical_harmonics(points, 10) - oracle["Y"])) < 1e-12
    scale = np.linalg.norm(points, axis=1)[:, None] ** degrees(10)[None, :]
    assert np.max(np.abs(solid_harmonics(points, 10) - oracle["solid"]) / scale) < 1e-12


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_equal_the_oracle(oracle, name):
    points = oracle["points"]
    assert np.sum(np.hypot(points[:, 0], points[:, 1]) < 2e-5) >= 4, "the oracle should hold points at the poles"
    expected, f = oracle[f"d{name}"], functools.partial(FUNCTIONS[name], l_max=10)
    got = np.asarray(jax.vmap(jax.jacfwd(f))(points)).transpose(0, 2, 1)
    assert np.all(np.max(np.abs(got - expected), axis=(1, 2)) < 1e-10 * np.max(np.abs(expected), axis=(1, 2)))
    weights = np.random.default_rng(10).normal(size=121)
    reverse = jax.jit(jax.grad(lambda v: jnp.sum(jnp.matmul(f(v), weights))))(points)
    assert np.all(np.abs(reverse - expected @ weights) < 1e-10 * np.max(np.abs(expected), axis=(1, 2))[:, None])


def test_first_degrees_in_closed_form():
    x, y, z = v = np.array([0.3, -1.2, 0.7])
    got = solid_harmonics(v, 2)
    r2, pi = v @ v, np.pi
    expected = [
        np.sqrt(1 / 4 / pi),
        *(np.sqrt(3 / 4 / pi) * np.array([y, z, x])),
        *(np.sqrt(15 / pi) / 2 * np.array([x * y, y * z, (3 * z * z - r2) / np.sqrt(12), x * z, (x * x - y * y) / 2])),
    ]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)


def test_addition_theorem():
    a, b = directions(0, 300), directions(1, 300)
    product = np.asarray(spherical_harmonics(a, 20) * spherical_harmonics(b, 20))
    legendre = np.polynomial.legendre.legval(np.sum(a * b, axis=1), np.eye(21))
    for l in range(21):
        got = product[:, l * l : (l + 1) ** 2].sum(axis=1)
        np.testing.assert_allclose(got, (2 * l + 1) / (4 * np.pi) * legendre[l], rtol=0, atol=1e-13 * (2 * l + 1))


def test_orthonormal_by_quadrature():
    cosines, weights = np.polynomial.legendre.leggauss(21)
    phi = 2 * np.pi * np.arange(41) / 41
    sines = np.sqrt(1 - cosines**2)[:, None]
    points = np.stack([sines * np.cos(phi)[None], sines * np.sin(phi)[None], np.repeat(cosines[:, None], 41, axis=1)], axis=-1)
    y = np.asarray(spherical_harmonics(points.reshape(-1, 3), 20))
    overlap = y.T @ (np.repeat(weights, 41) * (2 * np.pi / 41) * y.T).T
    assert np.max(np.abs(overlap - np.eye(441))) < 1e-12


def test_solid_harmonics_are_harmonic():
    l_max, points = 8, directions(2, 8)
    f = functools.partial(solid_harmonics, l_max=l_max)

    def second(v, direction):
        return jax.jvp(lambda v: jax.jvp(f, (v,), (direction,))[1], (v,), (direction,))[1]

    terms = jax.jit(jax.vmap(jax.vmap(second, in_axes=(0, None)), in_axes=(None, 0)))(points, np.eye(3))
    assert np.max(np.abs(terms)) > 10
    assert np.max(np.abs(terms.sum(axis=0))) < 1e-13 * np.max(np.abs(terms))


def test_solid_is_power_times_spherical():
    v = np.random.default_rng(3).normal(size=(50, 3))
    power = np.linalg.norm(v, axis=1)[:, None] ** degrees(20)[None, :]
    got = np.asarray(solid_harmonics(v, 20)) / power
    np.testing.assert_allclose(got, spherical_harmonics(v, 20), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_at_special_points(name):
    def f(v):
        return FUNCTIONS[name](v, 6)

    value, gradient, hessian = jax.jit(f), jax.jit(jax.jacrev(f)), jax.jit(jax.jacfwd(jax.jacrev(f)))
    for v in SPECIAL:
        assert np.all(np.isfinite(gradient(v))) and np.all(np.isfinite(hessian(v)))
        if name == "Y" and not np.any(v):
            np.testing.assert_array_equal(value(v), np.eye(49)[0] / np.sqrt(4 * np.pi))
            assert not np.any(gradient(v)) and not np.any(hessian(v))
            continue
        for axis in range(3):
            h = 1e-5
            up, down = v + h * np.eye(3)[axis], v - h * np.eye(3)[axis]
            np.testing.assert_allclose(gradient(v)[:, axis], (value(up) - value(down)) / (2 * h), rtol=0, atol=1e-7)
            np.testing.assert_allclose(hessian(v)[:, :, axis], (gradient(up) - gradient(down)) / (2 * h), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_third_derivative_is_finite(name):
    third = jax.jit(jax.jacfwd(jax.jacfwd(jax.jacfwd(lambda v: FUNCTIONS[name](v, 3)))))
    for v in SPECIAL:
        assert np.all(np.isfinite(third(v)))
    assert np.any(third(SPECIAL[1]))


def test_derivative_at_high_degree():
    v, direction = directions(5, 2)
    h, f = 1e-5, functools.partial(spherical_harmonics, l_max=20)
    _, tangent = jax.jvp(f, (v,), (direction,))
    up, down = f(np.stack([v + h * direction, v - h * direction]))
    np.testing.assert_allclose(tangent, (up - down) / (2 * h), rtol=0, atol=1e-5)


def test_direction_only():
    v = directions(6, 20)
    np.testing.assert_allclose(spherical_harmonics(1e-9 * v, 8), spherical_harmonics(1e6 * v, 8), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batch_vmap_and_jit_agree(name):
    f = functools.partial(FUNCTIONS[name], l_max=3)
    v = np.random.default_rng(7).normal(size=(2, 4, 3))
    v[0, 0] = 0
    eager = f(v)
    assert eager.shape == (2, 4, 16)
    np.testing.assert_allclose(f(v[1, 2]), eager[1, 2], rtol=1e-14, atol=1e-14)
    for other in (jax.jit(jax.vmap(jax.vmap(f)))(v), jax.jit(f)(v)):
        np.testing.assert_allclose(other, eager, rtol=1e-13, atol=1e-13)
    w = np.random.default_rng(8).normal(size=eager.shape)
    gradient = jax.grad(lambda v: jnp.sum(f(v) * w))
    np.testing.assert_allclose(jax.jit(gradient)(v), gradient(v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtype_follows_the_input(name):
    f = functools.partial(FUNCTIONS[name], l_max=8)
    v = directions(9, 300)
    low = f(jnp.asarray(v, jnp.float32))
    assert low.dtype == jnp.float32 and f(v).dtype == jnp.float64
    np.testing.assert_allclose(low, f(v), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(f(np.array([1, 2, -1])), f(np.array([1.0, 2.0, -1.0])))


@pytest.mark.parametrize("f", FUNCTIONS.values())
@pytest.mark.parametrize(
    ("vectors", "l_max", "message"),
    [
        (np.ones(4), 2, "last axis"),
        (np.ones((3, 2)), 2, "last axis"),
        (1.0, 2, "last axis"),
        (np.ones(3), -1, "integer"),
        (np.ones(3), 2.0, "integer"),
        (np.ones(3), True, "integer"),
    ],
)
def test_bad_input(f, vectors, l_max, message):
    with pytest.raises(ValueError, match=message):
        f(vectors, l_max)
