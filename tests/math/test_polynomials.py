"""Invariant polynomials: as many as there are, independent, invariant; the distances and clusters they are of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpot import CosineCutoff
from jaxpot.cutoffs import TwoSided
from jaxpot.math.polynomials import edge_permutations, exchanges, invariants, pairs
from jaxpot.math.simplices import quasi_random_simplices
from jaxpot.radial import IdentityTransform, InverseTransform, MorseTransform, PowerTransform

WATERS = ((0, 2, 1, 3, 4, 5), (0, 1, 2, 3, 5, 4), (3, 4, 5, 0, 1, 2))  # O H H O H H, whose molecules may be exchanged


def molien(group, degree):
    """Numbers of invariants by degree: the mean over the group of 1 / Π (1 − t^length) over its cycles."""
    total = np.zeros(degree + 1)
    for permutation in group:
        series, seen = np.eye(1, degree + 1)[0], set()
        for start in range(len(permutation)):
            length, place = 0, start
            while place not in seen:
                seen.add(place)
                place, length = permutation[place], length + 1
            if length:
                for d in range(length, degree + 1):
                    series[d] += series[d - length]
        total += series
    return np.round(total / len(group)).astype(int).tolist()


def counts(basis):
    return np.bincount(basis.exponents.sum(axis=1)).tolist()


@pytest.mark.parametrize(("atoms", "degree"), [("AA", 8), ("AB", 8), ("AAA", 12), ("AAB", 8), ("ABC", 6), ("AABB", 7), ("AAAB", 7), ("AABC", 6), ("AAAAB", 5)])
def test_numbers_are_those_of_molien(atoms, degree):
    symmetry = exchanges(atoms)
    basis, group = invariants(len(atoms), symmetry, degree), edge_permutations(len(atoms), symmetry)
    assert len(group) == (math.prod(math.factorial(atoms.count(a)) for a in set(atoms)) if len(atoms) > 2 else 1)
    assert counts(basis) == molien(group, degree)


def test_four_equal_atoms():
    assert counts(invariants(4, exchanges("AAAA"), 12)) == [1, 1, 3, 6, 11, 18, 32, 48, 75, 111, 160, 224, 313]


def test_five_equal_atoms():
    """Primary invariants of degrees 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, and 720 secondary ones."""
    secondary = [1, 0, 0, 2, 5, 8, 15, 23, 33, 46, 61, 72, 83, 86, 79, 72, 54, 36, 22, 13, 6, 2, 1]
    series = np.array(secondary)
    for d in (1, 2, 2, 3, 3, 4, 4, 5, 5, 6):
        for k in range(d, len(series)):
            series[k] += series[k - d]
    assert sum(secondary) == 720
    assert counts(invariants(5, exchanges("AAAAA"), 6)) == series[:7].tolist()


def test_molecules_that_are_exchanged():
    group = edge_permutations(6, WATERS)
    assert len(group) == 8
    assert counts(invariants(6, WATERS, 4)) == molien(group, 4)


@pytest.mark.parametrize(("symmetry", "n", "degree"), [(exchanges("AAA"), 3, 9), (exchanges("AAB"), 3, 7), (exchanges("AAAA"), 4, 7), (exchanges("AABB"), 4, 5), (WATERS, 6, 3)])
def test_invariant_and_complete(symmetry, n, degree):
    """On random points the rank is the count, so the functions are independent; and they are invariant, so they span all."""
    basis = invariants(n, symmetry, degree)
    x = np.random.default_rng(0).uniform(-1, 1, (len(pairs(n)), 2 * len(basis.exponents)))
    evaluate = jax.jit(lambda x: basis(x, jnp.ones_like(x[0])))
    values = np.asarray(evaluate(x))
    for permutation in edge_permutations(n, symmetry)[1:]:
        np.testing.assert_allclose(evaluate(x[permutation]), values, rtol=0, atol=1e-14)
    singular = np.linalg.svd(values / np.linalg.norm(values, axis=1, keepdims=True), compute_uv=False)
    assert singular[-1] > 1e-12 * singular[0]


def test_functions_by_hand():
    x = np.random.default_rng(1).uniform(0.5, 1.5, (3, 4))
    basis = invariants(3, exchanges("AAB"), 2)  # the second and third distance may be exchanged
    found = dict(zip(map(tuple, basis.exponents.tolist()), np.asarray(basis(jnp.asarray(x), jnp.full(4, 2.0))), strict=True))
    a, b, c = x
    mean, other = (b + c) / 2, a
    expected = {(0, 0, 0): 1, (1, 0, 0): other, (0, 1, 0): mean, (2, 0, 0): other**2, (1, 1, 0): other * mean, (0, 2, 0): mean**2, (0, 1, 1): b * c}
    assert found.keys() == expected.keys()
    for exponents, value in expected.items():
        np.testing.assert_allclose(found[exponents], 2 * value * np.ones(4), rtol=1e-14)


def test_few_multiplications():
    """One for every function; the generators and their monomials are few."""
    basis = invariants(4, exchanges("AAAA"), 10)
    n_generators = sum(len(rows) for rows in basis.orbits)
    assert sum(len(left) for left, _ in basis.products) == len(basis.exponents) - 1 - n_generators
    assert n_generators < 0.05 * len(basis.exponents)
    assert sum(len(left) for left, _ in basis.monomials) < len(basis.exponents)
    assert len(basis.products) == 4  # levels: 10 factors are halved that often


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, (), 2), "two points"),
        ((3, (), -1), "integer ≥ 0"),
        ((3, (), 2.0), "integer ≥ 0"),
        ((3, ((0, 1),), 2), r"permutations of 3 points such as \(0, 1, 2\), got \(0, 1\)"),
        ((3, ((0, 1, 1),), 2), "permutations of 3 points"),
        ((15, (), 6), "monomials of degree 6; lower the degree"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        invariants(*arguments)


@pytest.mark.parametrize("n_points", [2, 3, 4, 5])
def test_clusters_exist(n_points):
    """Some points have these distances: the matrix of scalar products is positive, of rank three at most."""
    edges = pairs(n_points)
    low, high = np.full(len(edges), 1.0), np.full(len(edges), 2.5)
    r = quasi_random_simplices(low, high, 500)
    assert r.shape == (500, len(edges)) and np.all((r > 1 - 1e-8) & (r < 2.5 + 1e-8))
    square = np.zeros((500, n_points, n_points))
    square[:, edges[:, 0], edges[:, 1]] = square[:, edges[:, 1], edges[:, 0]] = r**2
    gram = 0.5 * (square[:, :1] + square[:, :, :1] - square)
    eigenvalues = np.linalg.eigvalsh(gram)[:, ::-1]
    assert np.min(eigenvalues) > -1e-12
    assert np.max(np.abs(eigenvalues[:, 3:]), initial=0) < 1e-12
    # evenly spread: without those that do not exist the mean would be 1.75, and large ones are in more triangles
    assert np.all(np.abs(np.mean(r, axis=0) - (1.75 if n_points == 2 else 1.8)) < 0.12)
    np.testing.assert_array_equal(r, quasi_random_simplices(low, high, 500))


def test_no_clusters():
    with pytest.raises(ValueError, match="widen the range"):
        quasi_random_simplices(np.array([1.0, 1.0, 5.0]), np.array([1.5, 1.5, 6.0]), 10)
    with pytest.raises(ValueError, match="0 of 0 clusters"):
        quasi_random_simplices(np.array([2.0]), np.array([1.5]), 10)


def test_transforms():
    r = jnp.array([0.8, 1.5, 4.0])
    cases = (
        (MorseTransform(1.5, decay=2.0), lambda r: np.exp(-2 * (r / 1.5 - 1))),
        (PowerTransform(1.5, power=3.0), lambda r: (1.5 / r) ** 3),
        (InverseTransform(), lambda r: 1 / r),
        (IdentityTransform(), lambda r: r),
    )
    for transform, expected in cases:
        np.testing.assert_allclose(transform(r), expected(np.asarray(r)), rtol=1e-14)
    with pytest.raises(ValueError, match="length must be > 0"):
        MorseTransform(-1.0, 2.0)


def test_two_sided_cutoff():
    outer, inner = CosineCutoff(4.0, width=1.0), CosineCutoff(1.5, width=0.4)
    cutoff, r = TwoSided(outer, inner), jnp.linspace(0.5, 4.5, 200)
    np.testing.assert_allclose(cutoff(r), outer(r) * (1 - inner(r)), rtol=1e-14)
    assert cutoff.radius == 4.0
    assert not np.any(cutoff(r)[(r < 1.1) | (r >= 4.0)]) and np.all(cutoff(r)[(r > 1.5) & (r < 3.0)] == 1)
    slope = jax.jit(jax.vmap(jax.grad(cutoff)))(jnp.array([1.1, 1.5, 4.0]))
    assert np.max(np.abs(slope)) < 1e-12
