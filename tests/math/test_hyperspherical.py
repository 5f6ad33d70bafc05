"""Integrals over the 3-sphere against the definition of the bispectrum: Wigner matrices and Clebsch–Gordan coefficients."""

from math import factorial, sqrt

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from jaxpot.math.coupling import wigner_3j
from jaxpot.math.hyperspherical import bispectrum, gegenbauer, grids, quadrature, slope_entries, triples, weighted_bispectrum
from jaxpot.math.spherical import harmonic_polynomials


def points(n, seed=0):
    q = np.random.default_rng(seed).normal(size=(n, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def functions(q, two_j):
    """Z_Jlm at points [n, 4] for every J, [n, (J + 1)²]."""
    radial = gegenbauer(np, q[:, 0], two_j)
    solid = harmonic_polynomials(np, *q.T[1:], np.sum(q[:, 1:] ** 2, axis=1), two_j)
    return [np.stack([radial[l][j - l] * solid[i] for l in range(j + 1) for i in range(l * l, (l + 1) ** 2)], axis=1) for j in range(two_j + 1)]


def wigner(q, two_j):
    """U^J of one point: (ā p − b̄ q)^(J − m') (b p + a q)^m' in powers of q."""
    a, b = q[0] - 1j * q[3], q[2] - 1j * q[1]
    out = np.zeros((two_j + 1, two_j + 1), complex)
    for row in range(two_j + 1):
        powers = (Polynomial([np.conj(a), -np.conj(b)]) ** (two_j - row) * Polynomial([b, a]) ** row).coef
        for column, value in enumerate(powers):
            size = factorial(column) * factorial(two_j - column) / (factorial(row) * factorial(two_j - row))
            out[row, column] = value * sqrt(size)
    return out


def clebsch_gordan(a, b, c):
    """[a + 1, b + 1, c + 1] of doubled degrees."""
    out = np.zeros((a + 1, b + 1, c + 1))
    for i, j in np.ndindex(a + 1, b + 1):
        m1, m2 = i - a / 2, j - b / 2
        k = round(m1 + m2 + c / 2)
        if 0 <= k <= c:
            out[i, j, k] = wigner_3j(a / 2, b / 2, c / 2, m1, m2, -m1 - m2) * sqrt(c + 1) * (-1) ** round((a - b) / 2 + m1 + m2)
    return out


def test_definition():
    """Two channels, so that the order of labels counts as well."""
    two_j, q, w = 3, points(10), np.random.default_rng(1).normal(size=(10, 2))
    z = functions(q, two_j)
    coefficients = [np.einsum("km,kd->dm", z[j], w)[None] for j in range(two_j + 1)]
    found = bispectrum(coefficients)
    u = [np.einsum("kd,kab->dab", w, np.array([wigner(x, j) for x in q])) for j in range(two_j + 1)]
    for t, (a, b, c) in enumerate(triples(two_j)):
        cg = clebsch_gordan(a, b, c)
        expected = np.einsum("abc,def,xad,ybe,zcf->xyz", cg, cg, u[a], u[b], np.conj(u[c]), optimize=True)
        np.testing.assert_allclose(expected.imag, 0, atol=1e-11)
        np.testing.assert_allclose(found[0, :, :, :, t], expected.real, rtol=0, atol=1e-11 * np.max(np.abs(expected)))
    weights = np.random.default_rng(2).normal(size=(1, *found.shape[1:]))
    np.testing.assert_allclose(weighted_bispectrum(coefficients, weights), [np.sum(weights * found)], rtol=1e-12)


def test_addition_theorem():
    x, y = points(6), points(6, seed=1)
    angle = np.arccos(np.sum(x * y, axis=1))
    for j, (one, other) in enumerate(zip(functions(x, 8), functions(y, 8), strict=True)):
        np.testing.assert_allclose(np.sum(one * other, axis=1), np.sin((j + 1) * angle) / np.sin(angle), atol=1e-12)


@pytest.mark.parametrize(("degree", "n_points"), [(0, 1), (2, 4), (4, 18), (8, 60), (10, 60), (12, 196), (18, 360), (20, 720), (22, 720), (24, 1183), (26, 1372)])
def test_quadrature_is_exact(degree, n_points):
    """For all products of two functions whose degrees sum up to the rule's, by the addition theorem from single ones."""
    q, w = quadrature(degree)
    assert len(w) == n_points and abs(np.sum(w) - 1) < 1e-14
    z = functions(q, degree)
    for j in range(0, degree + 1, 2):
        np.testing.assert_allclose(w @ z[j], (j == 0) * np.eye(1, (j + 1) ** 2)[0], atol=2e-13)


@pytest.mark.parametrize(("two_j", "count"), [(0, 1), (1, 2), (2, 5), (3, 8), (4, 14), (6, 30), (8, 55)])
def test_counts(two_j, count):
    assert len(triples(two_j)) == count
    assert sorted(row for grid in grids(two_j) for row in grid.rows) == list(range(count))
    assert sum(map(len, slope_entries(two_j))) == 3 * count
