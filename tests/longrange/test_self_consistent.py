"""Charges that minimise an energy: implicit derivatives, charge equilibration as the quadratic case, spins, starts, and what has no minimum."""

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import MOLECULE, SPECIES, quick_jit

import jaxpot
from jaxpot import IsolatedAtoms
from jaxpot.longrange import Carried, ChargedAtoms, Direct, GaussianCoulomb, PairsOfCharges, QEq, SelfConsistent

GRAPH = jaxpot.from_atoms(MOLECULE, catalog.LIST, charge=1.0, max_atoms=6)
REAL = np.arange(6) < 5
STEP = np.random.default_rng(3).normal(size=(6, 3)) * REAL[:, None]


def pairs():
    return PairsOfCharges(SPECIES, Direct(), GaussianCoulomb(SPECIES, sigma=[0.7, 0.9]))


def quadratic(hardness=(9.0, 7.0)):
    return Carried(ChargedAtoms(SPECIES, coefficients=np.stack([[1.5, -0.7], 0.5 * np.array(hardness)], axis=1)))


charges = quick_jit(lambda model, graph: model.charges(graph))
minimum = quick_jit(lambda model, graph, start: model.minimum(graph, start))


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_quadratic_energy_is_charge_equilibration():
    qeq = QEq(SPECIES, IsolatedAtoms({"C": 1.5, "Si": -0.7}), hardness=[9.0, 7.0], sigma=[0.7, 0.9], sum=Direct())
    model = SelfConsistent((pairs(), quadratic()))
    np.testing.assert_allclose(charges(model, GRAPH), charges(qeq, GRAPH), rtol=0, atol=1e-12)
    found = minimum(model, GRAPH, None)
    assert int(found.steps) == 1 and abs(float(np.sum(found.carried)) - 1) < 1e-14


def test_implicit_derivatives_of_charges():
    """In both modes, by positions and by a leaf, against finite differences."""
    model = catalog.molecular("self-consistent")
    weights = np.random.default_rng(1).normal(size=6) * REAL
    path = "terms.1.potential.coefficients"
    leaf = np.asarray(dict((p, v) for p, v, _ in jaxpot.trees.walk(model))[path])
    turn = np.random.default_rng(2).normal(size=leaf.shape)

    def moved(positions, value):
        return jaxpot.trees.with_leaves(model, {path: value}).charges(GRAPH.replace(positions=positions))

    at, step = (GRAPH.positions, jnp.asarray(leaf)), (jnp.asarray(STEP), jnp.asarray(turn))
    compiled = quick_jit(moved)
    for axis in range(2):
        along = tuple(s * (i == axis) for i, s in enumerate(step))
        numeric = central(lambda h, along=along: np.asarray(compiled(*(x + h * s for x, s in zip(at, along, strict=True)))), 1e-3)
        forwards = quick_jit(lambda *s: jax.jvp(moved, at, s)[1])(*along)
        scale = np.max(np.abs(numeric))
        assert scale > 1e-3 and np.max(np.abs(forwards - numeric)) < 1e-7 * scale
    reverse = quick_jit(jax.grad(lambda *x: jnp.sum(weights * moved(*x)), argnums=(0, 1)))(*at)
    whole = quick_jit(lambda *s: jax.jvp(moved, at, s)[1])(*step)
    assert abs(sum(float(np.sum(r * s)) for r, s in zip(reverse, step, strict=True)) - float(np.sum(weights * whole))) < 1e-10


@pytest.mark.slow
def test_forces_are_those_at_fixed_charges():
    """At a minimum the energy does not change with the charges."""
    model = catalog.molecular("self-consistent")
    q = minimum(model, GRAPH, None).carried

    def at_fixed(positions):
        return sum(jnp.sum(term.energies(GRAPH.replace(positions=positions), q)[:5]) for term in model.terms)

    forces = quick_jit(jaxpot.evaluate)(model, GRAPH).forces
    np.testing.assert_allclose(forces, -quick_jit(jax.grad(at_fixed))(GRAPH.positions), rtol=0, atol=1e-9)


def test_start_near_the_end():
    model = catalog.molecular("self-consistent")
    far = minimum(model, GRAPH, None)
    near = minimum(model, GRAPH, far.carried + 1e-4 * STEP[:, :1])
    assert int(near.steps) < int(far.steps) and bool(near.found)
    np.testing.assert_allclose(near.carried, far.carried, rtol=0, atol=1e-10)


def test_spin():
    """A moment beside the charge, by a stiffness of both and a coupling of their squares: the total is that given."""
    spin = Carried(ChargedAtoms(SPECIES, coefficients=[[0.0, 1.5], [0.3, 2.5]], channel=1))
    model = SelfConsistent((pairs(), quadratic(), spin), moments=[2.0])
    found = minimum(model, GRAPH, None)
    assert bool(found.found) and found.carried.shape == (6, 2)
    q, m = np.asarray(found.carried)[:5].T
    np.testing.assert_allclose([q.sum(), m.sum()], [1.0, 2.0], atol=1e-13)
    np.testing.assert_allclose(q, charges(SelfConsistent((pairs(), quadratic())), GRAPH)[:5], atol=1e-9)
    stiffness = np.where(MOLECULE.numbers == 6, 3.0, 5.0)
    slope = np.where(MOLECULE.numbers == 6, 0.0, 0.3) + stiffness * m
    np.testing.assert_allclose(slope, slope[0], atol=1e-9)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [([[1.5, -30.0], [-0.7, -30.0]], "the charges of SelfConsistent"), ([[1.5, 4.0, -8.0], [-0.7, 4.0, -8.0]], "did not come to a minimum")],
    ids=["saddle", "falls without end"],
)
def test_without_a_minimum(coefficients, message):
    model = SelfConsistent((pairs(), Carried(ChargedAtoms(SPECIES, coefficients=coefficients))), most=30)
    result = quick_jit(jaxpot.evaluate)(model, GRAPH)
    assert np.isnan(result.energy) and np.all(np.isnan(result.forces[:5])) and np.all(np.isnan(result.charges[:5]))
    assert any(message in cause for cause in jaxpot.diagnose(model, GRAPH)), jaxpot.diagnose(model, GRAPH)


def test_bad_input():
    with pytest.raises(ValueError, match="expected a tuple of energies at charges"):
        SelfConsistent(())
    with pytest.raises(TypeError, match="write Carried\\(potential\\)"):
        SelfConsistent((pairs(), IsolatedAtoms({"C": 1.0, "Si": 1.0})))
    with pytest.raises(ValueError, match="ChargedAtoms: atoms carry 0 numbers, expected at least 1"):
        jaxpot.evaluate(ChargedAtoms(SPECIES, coefficients=[[1.0], [1.0]]), GRAPH)
