"""The ASE calculator against ASE's own finite differences, fresh lists, and wrong input."""

import copy

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

import jaxpot as jp
from jaxpot import calculator
from jaxpot.calculator import Calculator
from jaxpot.fit.spread import deviations_of
from jaxpot.precision import _switch
from jaxpot.trees import set_fields

spread = jax.jit(deviations_of)


def soap_model(cutoff=3.5):
    density = jp.Density(("Si",), jp.CosineCutoff(cutoff, width=1.0), jp.GTO(n_max=2), l_max=2, sigma=0.6)
    model = jp.AtomicPotential(jp.SOAP(density), jp.Linear())
    return model.with_coefficients(np.random.default_rng(1).normal(size=model.n_coefficients))


@pytest.fixture(scope="module")
def model():
    return soap_model() + jp.IsolatedAtoms({"Si": -3.0})


@pytest.fixture(scope="module")
def pair():
    """Quick to compile."""
    lj = jp.empirical.LennardJones(("Si",), epsilon=0.3, sigma=2.1, cutoff=jp.cutoffs.PolynomialCutoff(3.5, width=1.0))
    return lj + jp.IsolatedAtoms({"Si": -3.0})


def rattled(seed=0):
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1.0, 0.0, 0.1], [0.05, 1.02, 0.0], [0.0, -0.1, 0.97]]), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_results(model):
    atoms = rattled()
    atoms.calc = Calculator(model)
    energies = atoms.get_potential_energies()
    assert energies.shape == (8,) and np.isclose(energies.sum(), atoms.get_potential_energy(), rtol=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    properties = jax.jit(jp.evaluate)(model, jp.from_atoms(atoms, 3.5))
    np.testing.assert_allclose(atoms.get_potential_energy(), properties.energy, rtol=1e-14)
    np.testing.assert_allclose(atoms.get_forces(), properties.forces, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -properties.virial / atoms.get_volume(), atol=1e-14)


def test_finite_differences(model):
    atoms = rattled(seed=1)
    atoms.calc = Calculator(model)
    chosen = [0, 5]
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=chosen)
    np.testing.assert_allclose(atoms.get_forces()[chosen], numerical, atol=2e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_skin(model):
    """Atoms wander by more than the skin; forces are those of a fresh list, and few lists are made."""
    atoms = rattled(seed=2)
    kept = Calculator(model, skin=0.6)
    atoms.calc = kept
    always = Calculator(model, skin=0.0)
    velocities = np.random.default_rng(3).normal(size=atoms.positions.shape)
    lists = []
    for step in range(20):
        atoms.positions += 0.04 * velocities
        if step == 10:
            atoms.wrap()
        fresh = atoms.copy()
        fresh.calc = always
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-10)
        np.testing.assert_allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-10)
        lists.append(kept._listed)
    assert 3 <= len({id(x) for x in lists}) <= 12


def test_changes_of_cell_and_species(pair):
    both = pair + jp.IsolatedAtoms({"O": -1.0})
    atoms, always = rattled(seed=4), Calculator(both, skin=0.0)
    atoms.calc = Calculator(both)
    atoms.get_forces()
    for change in (
        lambda: atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=False),
        lambda: atoms.set_pbc((True, True, False)),
        lambda: atoms.set_atomic_numbers([8] + [14] * 7),
    ):
        change()
        fresh = atoms.copy()
        fresh.calc = always
        always.reset()
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-12)
        np.testing.assert_allclose(atoms.get_potential_energies(), fresh.get_potential_energies(), atol=1e-12)
    assert not np.allclose(atoms.get_potential_energies()[0], atoms.get_potential_energies()[1])


def test_few_compilations(model):
    atoms = rattled(seed=5)
    atoms.calc = Calculator(model)
    before = calculator._compute._cache_size()
    for seed in range(12):
        atoms.rattle(0.15, seed=seed)
        atoms.get_forces()
    assert calculator._compute._cache_size() - before <= 2


def test_one_compilation_of_all_sizes(pair):
    """Results are those without padding, and what does not fit says what to write."""
    structures = [rattled(seed=7), rattled(seed=7)[:7], bulk("Si")]
    own = [Calculator(pair) for _ in structures]
    for atoms, one in zip(structures, own, strict=True):
        one.calculate(atoms)
    padded, before = Calculator(pair, max_atoms=9), calculator._compute._cache_size()
    for atoms, one in zip(structures, own, strict=True):
        padded.calculate(atoms)
        for name, value in one.results.items():
            np.testing.assert_allclose(padded.results[name], value, atol=1e-12)
    assert calculator._compute._cache_size() == before + 1
    with pytest.raises(ValueError, match="rebuild with max_atoms=16"):
        padded.get_potential_energy(bulk("Si", cubic=True) * (2, 1, 1))


def test_stress_only_where_there_is_a_volume(pair):
    molecule = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    molecule.calc = Calculator(pair)
    assert molecule.get_forces().shape == (2, 3)
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()
    molecule.cell, molecule.pbc = 10 * np.eye(3), (True, False, False)
    assert molecule.get_stress().shape == (6,)


def test_potential_without_neighbours():
    atoms = bulk("Si")
    atoms.calc = Calculator(jp.IsolatedAtoms({"Si": -2.0}), skin=0.0)
    assert atoms.get_potential_energy() == -4.0
    np.testing.assert_array_equal(atoms.get_forces(), 0)
    np.testing.assert_array_equal(atoms.get_stress(), 0)


def test_copies(model):
    atoms = rattled(seed=6)
    atoms.calc = Calculator(model)
    forces = atoms.get_forces()
    np.testing.assert_array_equal(copy.deepcopy(atoms.calc).get_forces(atoms), forces)


def test_messages(pair):
    oxide = Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]])
    oxide.calc = Calculator(pair)
    with pytest.raises(RuntimeError, match="not finite: the model knows Si, but the structure contains O"):
        oxide.get_potential_energy()
    broken = set_fields(pair.terms[0], epsilon=np.asarray(np.inf))
    atoms = rattled()
    atoms.calc = Calculator(broken)
    with pytest.raises(RuntimeError, match=r"epsilon is not finite"):
        atoms.get_potential_energy()
    atoms.calc = Calculator(pair)
    atoms.positions[0] = np.nan
    with pytest.raises(ValueError, match=r"positions\[0, 0\] is nan"):
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match="skin"):
        Calculator(pair, skin=-0.1)
    with pytest.raises(TypeError, match="expected a potential or the posterior of one, got str"):
        Calculator("si.npz")


@pytest.fixture(scope="module")
def posterior():
    """Of few frames of two elements' energies alone, so that much is left open."""
    data = []
    for seed in range(3):
        data.append(rattled(seed))
        data[-1].info["energy"] = -24.0 + 0.1 * seed
    return jp.fit.posterior(soap_model(cutoff=3.0) + jp.IsolatedAtoms({"Si": -3.0}), data, sigma=jp.Properties(energy=0.01))


def test_deviations(posterior, monkeypatch, tmp_path):
    """They are those of `fit.deviations`, and computed where one is asked for alone."""
    atoms = rattled(seed=9)
    atoms.calc = Calculator(posterior, max_atoms=10)
    calls = []
    monkeypatch.setattr(calculator, "_spread", lambda *arguments: calls.append(1) or spread(*arguments))
    plain = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert not calls and not any("deviation" in name for name in atoms.calc.results)
    (expected,) = jp.fit.deviations(posterior, [atoms], progress=False)
    found = {name: atoms.calc.get_property(f"{name}_deviation", atoms) for name in ("energy", "forces", "stress")}
    assert len(calls) == 1 and found["forces"].shape == (8, 3) and found["stress"].shape == (6,)
    np.testing.assert_allclose(found["energy"], expected.energy, rtol=1e-9)
    np.testing.assert_allclose(found["forces"], expected.forces, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["stress"], (expected.virial / atoms.get_volume())[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)], rtol=1e-6, atol=1e-12)
    for before, after in zip(plain, (atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()), strict=True):
        np.testing.assert_array_equal(before, after)
    ase.io.write(tmp_path / "a.xyz", atoms)  # which knows what to leave out
    assert ase.io.read(tmp_path / "a.xyz").get_potential_energy() == pytest.approx(plain[0])
    atoms.rattle(0.1, seed=3)
    assert atoms.calc.get_property("energy_deviation", atoms) != found["energy"] and atoms.get_potential_energy() != plain[0]


def test_deviations_where_there_are_none(posterior, pair):
    atoms = rattled(seed=9)
    atoms.calc = Calculator(pair)
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property("energy_deviation", atoms)
    molecule = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    molecule.calc = Calculator(posterior)
    assert molecule.calc.get_property("energy_deviation", molecule) > 0
    with pytest.raises(PropertyNotImplementedError):
        molecule.calc.get_property("stress_deviation", molecule)


def test_deviations_in_32_bit_mode(posterior):
    atoms = rattled(seed=9)
    exact = Calculator(posterior).get_property("energy_deviation", atoms)
    with _switch()(False):
        found = Calculator(posterior).get_property("energy_deviation", atoms)
    np.testing.assert_allclose(found, exact, rtol=1e-9)
