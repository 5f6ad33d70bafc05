from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpot.math.spherical import spherical_harmonics
from jaxpot.math.wigner import random_rotation, rotate_coefficients, wigner_d

ORACLE = Path(__file__).parents[1] / "oracles" / "math_angular.npz"
L_MAX = 20

all_blocks = jax.jit(jax.vmap(lambda r: wigner_d(r, L_MAX)))


def rotations(seed, n, improper=False):
    return np.asarray(jax.vmap(lambda k: random_rotation(k, improper=improper))(jax.random.split(jax.random.key(seed), n)))


def blocks(matrices):
    return [np.asarray(d) for d in all_blocks(matrices)]


def test_equals_the_oracle():
    oracle = np.load(ORACLE)
    got = np.concatenate([d.reshape(len(d), -1) for d in blocks(oracle["rotations"])[:11]], axis=1)
    assert np.max(np.abs(got - oracle["wigner_D"])) < 1e-12


def test_degree_one_is_the_permuted_rotation():
    r = rotations(0, 1)[0]
    np.testing.assert_array_equal(wigner_d(r, 1)[1], r[np.ix_([1, 2, 0], [1, 2, 0])])


def test_group():
    a, b = rotations(1, 6, improper=True), rotations(2, 6, improper=True)
    for da, db, dab in zip(blocks(a), blocks(b), blocks(a @ b), strict=True):
        assert np.max(np.abs(da @ db - dab)) < 1e-12
        assert np.max(np.abs(da @ np.swapaxes(da, 1, 2) - np.eye(da.shape[1])[None])) < 1e-12
    for d in blocks(np.tile(np.eye(3), (6, 1, 1))):
        np.testing.assert_allclose(d[0], np.eye(d.shape[1]), rtol=0, atol=1e-13)


def test_rotates_the_harmonics():
    r = rotations(3, 6, improper=True)
    assert 0 < np.sum(np.linalg.det(r) < 0) < 6
    v = np.random.default_rng(0).normal(size=(6, 3))
    y, rotated = (np.asarray(spherical_harmonics(x, L_MAX)) for x in (v, np.einsum("kij,kj->ki", r, v)))
    for l, d in enumerate(blocks(r)):
        part = slice(l * l, (l + 1) ** 2)
        assert np.max(np.abs(np.einsum("kmn,kn->km", d, y[:, part]) - rotated[:, part])) < 1e-12


def test_improper_is_parity_times_proper():
    r = rotations(4, 6)
    for l, (d, inverted) in enumerate(zip(blocks(r), blocks(-r), strict=True)):
        np.testing.assert_allclose(inverted, (-1) ** l * d, rtol=0, atol=1e-14)


f_six = jax.jit(lambda r: wigner_d(r, 6))
gradient_six = jax.jit(jax.jacfwd(f_six))


@pytest.mark.parametrize(
    "r", [np.eye(3), np.diag([-1.0, 1.0, -1.0]), rotations(5, 1)[0]], ids=["identity", "half turn", "random"]
)
def test_gradient(r):
    h, f = 1e-5, f_six
    gradients = gradient_six(r)
    for l, (d, gradient) in enumerate(zip(f(r), gradients, strict=True)):
        homogeneous = np.einsum("mnij,ij->mn", gradient, r)
        np.testing.assert_allclose(homogeneous, l * d, rtol=0, atol=1e-12)
    for i in range(3):
        for j in range(3):
            step = h * np.outer(np.eye(3)[i], np.eye(3)[j])
            for gradient, up, down in zip(gradients, f(r + step), f(r - step), strict=True):
                np.testing.assert_allclose(gradient[:, :, i, j], (up - down) / (2 * h), rtol=0, atol=1e-6)


def test_reverse_equals_forward():
    r = rotations(6, 1)[0]
    w = [np.random.default_rng(l).normal(size=(2 * l + 1, 2 * l + 1)) for l in range(6)]

    def f(r):
        return sum(jnp.sum(d * x) for d, x in zip(wigner_d(r, 5), w, strict=True))

    np.testing.assert_allclose(jax.jit(jax.grad(f))(r), jax.jit(jax.jacfwd(f))(r), rtol=1e-12, atol=1e-12)


def test_jit_and_vmap_equal_eager():
    r = rotations(7, 1)
    for d, other in zip(wigner_d(r[0], 6), blocks(np.tile(r, (6, 1, 1)))[:7], strict=True):
        np.testing.assert_allclose(d, other[0], rtol=0, atol=1e-14)


def test_rotate_coefficients():
    l_max, r = 5, rotations(8, 1, improper=True)[0]
    v = np.random.default_rng(1).normal(size=(7, 4, 3))
    c = spherical_harmonics(v, l_max)
    np.testing.assert_allclose(rotate_coefficients(c, r, l_max), spherical_harmonics(v @ r.T, l_max), rtol=0, atol=1e-13)
    np.testing.assert_allclose(rotate_coefficients(rotate_coefficients(c, r, l_max), r.T, l_max), c, rtol=0, atol=1e-13)
    one = jax.jit(rotate_coefficients, static_argnums=2)(c[0, 0], r, l_max)
    np.testing.assert_allclose(one, rotate_coefficients(c, r, l_max)[0, 0], rtol=0, atol=1e-14)


def test_random_rotation_is_uniform():
    n = 4000
    proper, both = rotations(9, n), rotations(10, n, improper=True)
    for r in (proper, both):
        assert np.max(np.abs(r @ np.swapaxes(r, 1, 2) - np.eye(3)[None])) < 1e-14
    np.testing.assert_allclose(np.linalg.det(proper), 1, rtol=0, atol=1e-14)
    assert abs(np.mean(np.linalg.det(both))) < 5 / np.sqrt(n)
    for r in (proper, both):  # by orthogonality of the D, every entry with l > 0 has mean 0 and variance 1 / (2l + 1)
        for d in jax.jit(jax.vmap(lambda r: wigner_d(r, 3)))(r)[1:]:
            size = d.shape[1]
            assert np.max(np.abs(np.mean(d, axis=0))) < 5 / np.sqrt(n * size)
            assert np.max(np.abs(np.mean(d * d, axis=0) - 1 / size)) < 5 / np.sqrt(n)


def test_dtype_follows_the_input():
    r = rotations(11, 1)[0]
    low = wigner_d(jnp.asarray(r, jnp.float32), 4)
    for d, exact in zip(low, wigner_d(r, 4), strict=True):
        assert d.dtype == jnp.float32 and exact.dtype == jnp.float64
        np.testing.assert_allclose(d, exact, rtol=0, atol=1e-5)
    assert rotate_coefficients(jnp.ones(4, jnp.float32), jnp.asarray(r, jnp.float32), 1).dtype == jnp.float32
    np.testing.assert_array_equal(wigner_d(np.eye(3, dtype=int), 2)[2], wigner_d(np.eye(3), 2)[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wigner_d(np.eye(2), 2), r"\[3, 3\]"),
        (lambda: wigner_d(np.ones((5, 3, 3)), 2), "vmap"),
        (lambda: wigner_d(np.eye(3), -1), "integer"),
        (lambda: wigner_d(np.eye(3), 1.5), "integer"),
        (lambda: rotate_coefficients(np.ones(5), np.eye(3), 1), r"= 4 entries"),
        (lambda: rotate_coefficients(np.ones(4), np.eye(4), 1), r"\[3, 3\]"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
