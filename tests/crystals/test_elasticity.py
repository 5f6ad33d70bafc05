"""Elastic constants: closed forms of springs, moduli, derivatives by leaves, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from catalog import quick_jit
from springs_of import ALPHA, CUBIC, MORSE, PRIMITIVE, R0, STIFFNESS

import jaxpot as jp
from jaxpot.empirical import StillingerWeber
from jaxpot.observables import cubic_constants, elastic_constants, minimum, moduli, relax
from jaxpot.units import GPA

SILICON = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
A_SILICON = 5.430949778405228  # does not depend on λ
constants = quick_jit(elastic_constants)


def test_springs():
    """C11 = √2 k/r and C12 = C44 = C11/2, in the primitive cell and in the cubic one, in which forces cancel by symmetry."""
    expected = np.sqrt(2) * STIFFNESS / R0 / GPA * np.array([1, 0.5, 0.5])
    for atoms in (PRIMITIVE, CUBIC):
        C = constants(MORSE, jp.from_atoms(atoms, 3.0, max_atoms=4, max_neighbors=12))
        np.testing.assert_allclose(cubic_constants(C), expected, rtol=1e-9)
        np.testing.assert_allclose(C, C.T, rtol=0, atol=1e-9)


def test_no_minimum_gives_nan():
    rattled = CUBIC.copy()
    rattled.rattle(0.01, seed=0)
    slab = CUBIC.copy()
    slab.pbc = (True, True, False)
    for atoms in (rattled, slab):
        assert np.all(np.isnan(constants(MORSE, jp.from_atoms(atoms, 3.0, max_neighbors=12))))


def test_moduli():
    """An isotropic solid, in which both bounds agree; and cubic constants by hand."""
    lam, mu = 40.0, 30.0
    C = np.zeros((6, 6))
    C[:3, :3] = lam
    C += np.diag([2 * mu] * 3 + [mu] * 3)
    found = moduli(jnp.asarray(C))
    np.testing.assert_allclose(found, [lam + 2 * mu / 3] * 2 + [mu] * 2, rtol=1e-12)
    np.testing.assert_allclose([found.young, found.poisson], [mu * (3 * lam + 2 * mu) / (lam + mu), lam / (2 * (lam + mu))], rtol=1e-12)
    np.testing.assert_allclose(cubic_constants(C), [lam + 2 * mu, lam, mu], rtol=1e-12)


def fourth_order(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_relaxed_shear_follows_the_angles():
    """C44 of silicon with relaxed ions by λ, on which the lattice does not depend."""
    graph = jp.from_atoms(bulk("Si", "diamond", a=A_SILICON), 4.0)
    value_and_grad = quick_jit(jax.value_and_grad(lambda lam: elastic_constants(SILICON.replace(lam=lam), graph)[3, 3]))
    value, slope = value_and_grad(21.0)
    assert abs(value - 56.4493) < 0.01
    assert abs(slope - fourth_order(lambda h: value_and_grad(21.0 + h)[0], 1e-2)) < 1e-6 * abs(slope)


@pytest.mark.slow
def test_relaxed_shear_follows_every_leaf():
    """C44 at the lattice constant of the moment, against differences of both."""
    found = relax(SILICON, bulk("Si", "diamond", a=A_SILICON), cell=True)
    params, build = jp.free(SILICON, "*")

    def shear(params):
        potential = build(params)
        return elastic_constants(potential, minimum(potential, found.graph, cell=True))[3, 3]

    value, slopes = quick_jit(jax.value_and_grad(shear))(params)
    of = quick_jit(shear)
    for name, slope in slopes.items():
        numeric = fourth_order(lambda h, name=name: of({**params, name: params[name] + h}), 1e-4)
        assert abs(slope - numeric) < 1e-6 * max(abs(value), abs(numeric)), name


def test_stiffness_of_a_lattice_follows_that_of_its_bonds():
    """Atoms of a Bravais lattice do not move beside the strain: all that asks them to is rounding errors, which must not become NaN."""
    graph = jp.from_atoms(PRIMITIVE.repeat((2, 2, 2)), 3.0)
    of = lambda alpha: elastic_constants(MORSE.replace(alpha=alpha), graph)[0, :2]  # noqa: E731
    found, slope = quick_jit(lambda alpha: (of(alpha), jax.jacrev(of)(alpha)))(ALPHA)
    np.testing.assert_allclose(slope, 2 * found / ALPHA, rtol=1e-10)
