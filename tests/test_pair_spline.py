"""Cubic splines against SciPy's, and pair splines against a sum by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit
from scipy.interpolate import CubicSpline as Reference

import jaxpot
from jaxpot.empirical import CubicSpline, PairSpline

X, Y = np.array([1.0, 1.3, 1.9, 2.0, 2.6]), np.array([4.0, -1.0, 2.0, 0.5, 0.1])


@pytest.mark.parametrize(("first", "last"), [(None, None), (-2.0, None), (None, 0.3), (1.0, 2.0)])
def test_spline(first, last):
    reference = Reference(X, Y, bc_type=[(2, 0.0) if slope is None else (1, slope) for slope in (first, last)])
    spline, r = CubicSpline(X, Y, first, last), np.linspace(1.0, 2.6, 50)
    values, slopes = quick_jit(jax.vmap(jax.value_and_grad(lambda r: spline(r))))(r)
    np.testing.assert_allclose(values, reference(r), atol=1e-13)
    np.testing.assert_allclose(slopes, reference(r, 1), atol=1e-12)
    np.testing.assert_allclose(spline(0.4), reference(1.0) - 0.6 * reference(1.0, 1), atol=1e-13)


def test_two_knots_are_a_line():
    assert float(CubicSpline([1.0, 3.0], [2.0, 0.0])(1.5)) == 1.5


def test_pairs():
    unlike, like = CubicSpline(X, Y, -3.0, 0.0), CubicSpline(X[:4], Y[:4])
    potential = PairSpline(("C", "H", "O"), (("C", "H"), ("H", "H")), (unlike, like))
    atoms = Atoms("HCHO", positions=[[0, 0, 0], [1.5, 0, 0], [0, 1.95, 0], [0, 0, 1.4]])
    expected = [0.5 * float(unlike(1.5) + like(1.95)), 0.5 * float(unlike(1.5) + unlike(np.hypot(1.5, 1.95))), 0, 0]
    expected[2] = expected[0] + expected[1] - float(unlike(1.5))
    np.testing.assert_allclose(quick_jit(potential.energies)(jaxpot.from_atoms(atoms, 2.6)), expected, atol=1e-13)
    np.testing.assert_array_equal(potential.reach, 2.6)
    pair = quick_jit(lambda r: potential(jaxpot.from_atoms(Atoms("CH", positions=[[0, 0, 0], [1, 0, 0]]), 3.0).replace(positions=r * jnp.eye(3)[:2])))
    assert pair(2.6 / np.sqrt(2) + 1e-9) == 0  # the value at the last knot is 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CubicSpline(X, Y[:3]), r"y must have shape \[5\]"),
        (lambda: CubicSpline([1.0], [1.0]), "at least two"),
        (lambda: CubicSpline(X[::-1], Y), "must ascend"),
        (lambda: PairSpline(("H",), (("H", "H"),), ()), "0 splines"),
        (lambda: PairSpline(("H",), (("H", "C"),), (CubicSpline(X, Y),)), "different pairs of"),
        (lambda: PairSpline(("H", "C"), (("H", "C"), ("C", "H")), (CubicSpline(X, Y),) * 2), "different pairs of"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
