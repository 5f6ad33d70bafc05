"""Induced dipoles: closed forms, damping, lattices, sums that agree, and what has no minimum."""

import functools

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import MOLECULE, SPECIES, quick_jit

import jaxpot
from jaxpot import GTO, SOAP, Density, Linear, from_atoms
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.longrange import (
    ConjugateGradients,
    Coulomb,
    Dense,
    Direct,
    Electrostatics,
    Ewald,
    FixedCharges,
    GaussianCoulomb,
    InversePower,
    LocalCharges,
    ParticleMesh,
    Polarizable,
    QEq,
    Thole,
    polarizability,
)
from jaxpot.longrange.fields import field_of_charges, field_of_dipoles
from jaxpot.longrange.split import smeared
from jaxpot.units import COULOMB

evaluate = quick_jit(jaxpot.evaluate)
energy = quick_jit(lambda model, graph: model(graph))
response = quick_jit(polarizability)
induced = quick_jit(lambda model, graph, field: model.induced(graph, field))
ARGON = Polarizable(FixedCharges(("Ar", "He"), values=[0.0, 0.0]), polarizability=[1.64, 0.2], sum=Direct())
NEUTRAL = FixedCharges(("Na", "Cl"), values=[1.0, -1.0])


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def salt(sum, solver=None):
    damping = Thole(("Na", "Cl"), polarizability=[0.3, 2.9], a=0.6), Thole(("Na", "Cl"), polarizability=[0.3, 2.9], a=0.2, power=4)
    return Polarizable(NEUTRAL, [0.3, 2.9], sum, *damping, solver=Dense() if solver is None else solver)


def crystal(width=0.8, **more):
    return Ewald(PolynomialCutoff(6.5, width=1.0), width=width, grid=(9, 9, 9), k_cutoff=6.9, **more)


def test_two_atoms():
    """Silberstein's polarizabilities of a pair, along and across."""
    r, (a, b) = 3.1, ARGON.polarizability
    found = response(ARGON, from_atoms(Atoms("ArHe", positions=[[0, 0, 0], [0, 0, r]]), 1.0, max_atoms=3))
    along = (a + b + 4 * a * b / r**3) / (1 - 4 * a * b / r**6)
    across = (a + b - 2 * a * b / r**3) / (1 - a * b / r**6)
    np.testing.assert_allclose(found, np.diag([across, across, along]), rtol=0, atol=1e-13)


def test_an_atom_in_a_field():
    field = np.array([0.3, -0.1, 0.2])
    found = evaluate(ARGON, from_atoms(Atoms("Ar", positions=[[1, 2, 3]]), 1.0, max_atoms=2, field=field))
    assert abs(float(found.energy) + 0.5 * 1.64 / COULOMB * np.sum(field**2)) < 1e-15
    np.testing.assert_allclose(found.dipole, 1.64 / COULOMB * field, atol=1e-16)


def test_energy_in_a_field_is_that_of_the_dipole():
    """Minus the dipole is the derivative of the energy by the outer field, and minus the polarizability the second one."""
    model, graph = catalog.molecular("polarizable"), from_atoms(MOLECULE, catalog.LIST, max_atoms=6, field=(0.2, -0.3, 0.1))
    of = lambda field: model(graph.replace(field=field))  # noqa: E731
    np.testing.assert_allclose(-quick_jit(jax.grad(of))(graph.field), evaluate(model, graph).dipole, atol=1e-13)
    np.testing.assert_allclose(-COULOMB * quick_jit(jax.hessian(of))(graph.field), response(model, graph), atol=1e-11)


def test_polarizability_of_charges_that_flow():
    """Two Gaussian charges: α = k r² / (J₁ + J₂ + 2 J₁₂'s), along the axis only."""
    species, r = ("Na", "Cl"), 2.4
    qeq = QEq(species, jaxpot.IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), hardness=[9.2, 18.7], sigma=[1.4, 1.0], sum=Direct())
    found = response(qeq, from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [r, 0, 0]]), 1.0))
    table = jnp.array([[1.4], [1.0]])
    hardness = np.sum(np.array([9.2, 18.7]) + qeq.interaction.itself(table)) - 2 * qeq.interaction.bare(jnp.asarray(r), *table)
    np.testing.assert_allclose(found, np.diag([COULOMB * r**2 / hardness, 0, 0]), atol=1e-12)
    with pytest.raises(TypeError, match="IsolatedAtoms predicts no dipole"):
        polarizability(jaxpot.IsolatedAtoms({"Na": 1.0, "Cl": 1.0}), from_atoms(Atoms("NaCl", positions=np.eye(2, 3)), 1.0))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_damping(m):
    """The potential is the integral of the damped field, ∫ᵣ^∞ (1 − exp(−a x^m)) / r² dr; its derivatives by all that it depends on follow it."""
    damped = Thole(("He", "Ar"), polarizability=[0.2, 1.64], a=0.4, power=m)
    own, other = damped.sources(jnp.array([2])), damped.sources(jnp.array([18]))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    t = 0.5 * (nodes + 1)

    def integral(r, alpha=1.64, a=0.4):  # by t = r / r'
        z = a * (r / t / (0.2 * alpha) ** (1 / 6)) ** m
        return COULOMB / r * np.sum(0.5 * weights * -np.expm1(-z))

    for r in (0.2, 0.7, 1.1, 2.9):
        assert abs(float(damped.bare(jnp.array([r]), own, other)[0]) / integral(r) - 1) < 1e-11
        by_r, by_model = jax.grad(lambda r, damped: damped.bare(r, own, damped.sources(jnp.array([18])))[0], argnums=(0, 1))(r, damped)
        h = 1e-4
        for slope, numeric in (
            (by_r, integral(r + h) - integral(r - h)),
            (by_model.polarizability[1], integral(r, 1.64 + h) - integral(r, 1.64 - h)),
        ):
            assert abs(float(slope) - numeric / (2 * h)) < 3e-7 * max(abs(float(slope)), 1)
    apart = jnp.array([1e-3])
    assert np.all(np.isfinite(damped.bare(apart, own, other))) and abs(float(damped.bare(jnp.array([40.0]), own, other)[0]) * 40 / COULOMB - 1) < 1e-14


def test_smeared_charge_at_its_place():
    """The function and its derivatives on both sides of the seam between series and closed form, and at 0."""
    width = 0.7
    x = np.array([0.0, 1e-8, 0.2499999, 0.2500001, 3.0]) * 2 * width**2
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t = 0.5 * (nodes + 1)
    for order, f in enumerate((smeared, jax.grad(smeared), jax.grad(jax.grad(smeared)))):
        values = quick_jit(jax.vmap(f, (0, None)))(x, width)
        for found, square in zip(values, x, strict=True):  # erf(d/√2s)/d = √(2/π)/s ∫₀¹ exp(−t² d²/2s²) dt
            exact = np.sqrt(2 / np.pi) / width * np.sum(0.5 * weights * np.exp(-(t**2) * square / (2 * width**2)) * (-(t**2) / (2 * width**2)) ** order)
            assert abs(float(found) / exact - 1) < 1e-12


def test_catastrophe():
    """A pair nearer than (4 α²)^(1/6), by whichever solver; the damping keeps it finite."""
    near = from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [1.4, 0, 0]]), 1.0, field=(0.1, 0.2, 0))
    for solver in (Dense(), ConjugateGradients()):
        model = ARGON.replace(solver=solver)
        found = evaluate(model, near)
        assert np.isnan(found.energy) and np.all(np.isnan(found.forces)) and np.all(np.isnan(found.dipole))
        (cause,) = jaxpot.diagnose(model, near)
        assert "amplify each other without end" in cause and f"smallest eigenvalue is {1 - 2 * 1.64 / 1.4**3:.3g}" in cause
    damped = ARGON.replace(dipoles=Thole(("Ar", "He"), polarizability=ARGON.polarizability))
    assert np.isfinite(evaluate(damped, near).energy) and jaxpot.diagnose(damped, near) == ()


@pytest.mark.parametrize("outside", [0.0, 1.0], ids=["conductor", "vacuum"])
def test_cubic_lattice(outside):
    """Clausius and Mossotti: in a conductor the field at an atom is the outer one and Lorentz's 4π/3 of the polarisation, in vacuum none is added."""
    a = 3.3
    graph = from_atoms(Atoms("Ar", positions=[[0.3, 0.1, 0.2]], cell=a * np.eye(3), pbc=True), 6.5)
    model, field = ARGON.replace(sum=crystal(depolarisation=outside)), np.array([[0.3, -0.1, 0.2]])
    lorentz = (1 - outside) * 4 * np.pi / 3 / a**3
    np.testing.assert_allclose(induced(model, graph, field), 1.64 / COULOMB * field / (1 - 1.64 * lorentz), rtol=0, atol=2e-9)


LATTICE = np.array([[5.0, 0.3, 0], [-0.2, 5.3, 0.1], [0.4, 0, 5.6]])
CRYSTAL = Atoms("NaClNaCl", positions=[[0, 0, 0], [2.5, 0.4, 0.2], [2.4, 2.5, 2.7], [-0.1, 0.2, 2.8]], cell=LATTICE, pbc=True)


def test_lattice_of_dipoles_is_the_limit_of_charges():
    """The field of dipoles by differences of potentials of unit charges that are moved, with all images."""
    graph, h = from_atoms(CRYSTAL, 6.5), 1e-2
    dipoles = np.random.default_rng(2).normal(size=(4, 3))
    found = quick_jit(lambda p: field_of_dipoles(functools.partial(crystal().between, Coulomb(), graph), p))(dipoles)
    potential = quick_jit(lambda at, of: crystal().between(Coulomb(), graph, jnp.ones(4), at, of))
    for axis in range(3):
        step = np.zeros((4, 3)) + np.eye(3)[axis]
        of_dipoles = lambda d: central(lambda e: np.asarray(potential(d * step, e * dipoles)), h)  # noqa: B023, E731
        np.testing.assert_allclose(-central(of_dipoles, h), found[:, axis], rtol=0, atol=3e-6)


def test_field_of_charges_is_the_force_over_the_charge():
    graph, q = from_atoms(CRYSTAL, 6.5), np.array([1.0, -1.0, 1.0, -1.0])
    field = quick_jit(lambda q: field_of_charges(functools.partial(crystal().between, Coulomb(), graph), q, jnp.zeros((4, 3))))(q)
    np.testing.assert_allclose(q[:, None] * field, evaluate(Electrostatics(NEUTRAL, crystal()), graph).forces, atol=1e-11)


@pytest.mark.slow
def test_sums_agree():
    """Whatever the splitting, of a molecule by pairs, and of a crystal by a mesh within its accuracy."""
    graph = from_atoms(CRYSTAL, 6.5)
    one, two = evaluate(salt(crystal(0.8)), graph), evaluate(salt(crystal(0.74), ConjugateGradients(1e-14)), graph)
    assert abs(float(one.energy - two.energy)) < 1e-7 and np.max(np.abs(one.forces - two.forces)) < 1e-6
    mesh = evaluate(salt(ParticleMesh(PolynomialCutoff(6.5, width=1.0), width=0.8, grid=(32, 32, 32), spacing=0.2)), graph)
    assert abs(float(one.energy - mesh.energy)) < 1e-5 and np.max(np.abs(one.forces - mesh.forces)) < 1e-4
    free = CRYSTAL.copy()
    free.pbc = False
    graph = from_atoms(free, 6.5)
    box = Ewald(PolynomialCutoff(6.5, width=1.0), width=0.8, grid=(26, 26, 26), k_cutoff=6.9, pbc=(False,) * 3, length=24.0)
    pairs, ewald = evaluate(salt(Direct()), graph), evaluate(salt(box), graph)
    assert abs(float(pairs.energy - ewald.energy)) < 1e-6 and np.max(np.abs(pairs.forces - ewald.forces)) < 1e-5


def test_what_is_refused():
    with pytest.raises(ValueError, match="polarizability must be 0 or more for each of"):
        Polarizable(NEUTRAL, [-1.0, 2.0], Direct())
    with pytest.raises(ValueError, match="InversePower is not of 1/r far away; write Coulomb"):
        Polarizable(NEUTRAL, [1.0, 2.0], Direct(), dipoles=InversePower(6))
    with pytest.raises(ValueError, match="Thole knows Na and not Cl"):
        Polarizable(NEUTRAL, [1.0, 2.0], Direct(), dipoles=Thole(("Na",), polarizability=[1.0]))
    with pytest.raises(ValueError, match="power must be an integer from 2, got 1"):
        Thole(("Na",), polarizability=[1.0], power=1)
    with pytest.raises(TypeError, match="InversePower is not of 1/r far away"):
        crystal().between(InversePower(6), from_atoms(CRYSTAL, 6.5), jnp.ones(4), jnp.zeros((4, 3)), jnp.zeros((4, 3)))


def test_net_charge_and_outer_field_of_a_crystal():
    for more, cause in ((dict(field=(0.1, 0, 0)), "outer field is not defined"), (dict(charge=1.0), "total charge of 1 e")):
        graph = from_atoms(CRYSTAL, 6.5, **more)
        assert np.isnan(energy(salt(crystal()), graph))
        assert any(cause in found for found in jaxpot.diagnose(salt(crystal()), graph))


def test_elements_without_dipoles():
    """Zero is a polarizability with finite derivatives, and Gaussian charges are a damping as well."""
    gaussian = GaussianCoulomb(SPECIES, sigma=[0.5, 0.6])
    model = Polarizable(FixedCharges(SPECIES, values=[0.9, -0.6]), [0.0, 2.0], Direct(), gaussian, gaussian)
    graph = from_atoms(MOLECULE, catalog.LIST, charge=float(np.sum(np.where(MOLECULE.numbers == 6, 0.9, -0.6))))
    slopes = quick_jit(jax.grad(lambda model: model(graph)))(model)
    assert all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(slopes))
    assert float(evaluate(model, graph).energy) < float(evaluate(Electrostatics(model.charges, Direct(), gaussian), graph).energy)


def test_derivatives_of_charges_of_surroundings():
    """Dipoles of predicted charges: the energy is the least that dipoles can make it, and its derivatives by positions, polarizabilities and the
    coefficients of the charges are those of differences."""
    charges = LocalCharges(SOAP(Density(SPECIES, PolynomialCutoff(3.0, width=1.0), GTO(2), 1, sigma=0.5)), Linear())
    rng = np.random.default_rng(0)
    charges, damped = charges.with_coefficients(0.4 * rng.normal(size=charges.n_coefficients)), Thole(SPECIES, polarizability=[0.5, 0.9])
    model = Polarizable(charges, [0.5, 0.9], Direct(), damped, damped)
    graph = from_atoms(MOLECULE, catalog.LIST, charge=1.0, max_atoms=6)
    weights = model.charges.local.head.coefficients

    def of(positions, alpha, coefficients):
        own = model.replace(charges=model.charges.with_coefficients(coefficients), polarizability=alpha)
        return own(graph.replace(positions=positions))

    value = quick_jit(of)

    places = tuple(jnp.asarray(x) for x in (graph.positions, model.polarizability, weights))
    slopes = quick_jit(jax.grad(of, argnums=(0, 1, 2)))(*places)
    for k, (place, slope) in enumerate(zip(places, slopes, strict=True)):
        step = rng.normal(size=place.shape) * (np.asarray(graph.numbers) > 0)[:, None] if k == 0 else rng.normal(size=place.shape)
        along = lambda h: float(value(*places[:k], place + h * step, *places[k + 1 :]))  # noqa: B023, E731
        assert abs(central(along, 2e-4) - float(np.sum(slope * step))) < 1e-7 * max(1, abs(float(np.sum(slope * step))))
    found = evaluate(model, graph)
    field = model.field(graph, found.charges)
    dipoles = np.asarray(induced(model, graph, field))

    def energy_of(dipoles):
        between = field_of_dipoles(functools.partial(model.sum.between, model.dipoles, graph), dipoles)
        alpha = np.where(np.asarray(graph.numbers) == 6, 0.5, 0.9)[:, None]
        return float(jnp.sum(0.5 * COULOMB / alpha * dipoles**2 - 0.5 * dipoles * between - dipoles * field))

    least, plain = energy_of(dipoles), Electrostatics(model.charges, Direct(), model.interaction)
    assert abs(float(found.energy) - float(energy(plain, graph)) - least) < 1e-10
    real = (np.asarray(graph.numbers) > 0)[:, None]
    assert all(energy_of(dipoles + 0.01 * real * rng.normal(size=dipoles.shape)) > least for _ in range(3))
