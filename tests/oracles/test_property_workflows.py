"""Crystals of published potentials: lattice, elasticity, vacancies, surfaces, phonons and a trajectory as LAMMPS and ASE have them."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import quick_jit

import jaxpot as jp
from jaxpot import md, observables
from jaxpot.units import FEMTOSECOND

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
pytestmark = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
FILES = SHARED / "potentials" / "lammps_empirical"
READERS = {"sw_si": lambda: jp.io.read_stillinger_weber(FILES / "Si.sw"), "eam_cu_u3": lambda: jp.io.read_eam(FILES / "Cu_u3.eam")}
CRYSTALS = {"sw_si": bulk("Si", "diamond", a=5.5), "eam_cu_u3": bulk("Cu", "fcc", a=3.65)}
MODELS = ["sw_si", pytest.param("eam_cu_u3", marks=pytest.mark.slow)]
constants = quick_jit(observables.elastic_constants, static_argnames="relaxed")


def expected(name):
    return json.loads((SHARED / "oracles" / "property_workflows.json").read_text())["results"][name]


@pytest.fixture(scope="module", params=MODELS)
def crystal(request):
    """The oracle's numbers, the potential, its crystal in the primitive cell, and the lattice constant."""
    potential = READERS[request.param]()
    found = observables.relax(potential, CRYSTALS[request.param], cell=True, tolerance=1e-7)
    return expected(request.param), potential, found, (4 * found.atoms.get_volume()) ** (1 / 3)


def cubic(found, a):
    """The conventional cell."""
    return bulk(found.atoms.symbols[0], "diamond" if len(found.atoms) == 2 else "fcc", a=a, cubic=True)


def test_lattice(crystal):
    oracle, _, found, a = crystal
    assert abs(a - oracle["lattice_constant_A"]) < 1e-7
    assert abs(found.energy / len(found.atoms) + oracle["cohesive_energy_eV_per_atom"]) < 1e-6
    assert found.stress < 1e-4


def test_elastic_constants(crystal):
    oracle, potential, found, _ = crystal
    for relaxed, name in ((False, "clamped"), (True, "relaxed")):
        C = constants(potential, found.graph, relaxed=relaxed)
        np.testing.assert_allclose(observables.cubic_constants(C), oracle[f"{name}_C11_C12_C44_GPa"], rtol=0, atol=1e-3)
    assert abs(float(observables.moduli(C).bulk_voigt) - oracle["bulk_modulus_GPa"]) < 1e-3


@pytest.mark.slow
def test_equation_of_state(crystal):
    oracle, potential, found, _ = crystal
    fit = observables.equation_of_state(potential, found.atoms, strain=0.004)
    assert abs(fit.bulk_modulus - oracle["bulk_modulus_GPa"]) < 0.02  # a fit of finite strains
    assert abs(fit.volume - found.atoms.get_volume() / len(found.atoms)) < 1e-4


def test_surfaces(crystal):
    oracle, potential, found, a = crystal
    for miller, energy in oracle["unrelaxed_surface_energy_eV_per_A2"].items():
        got = observables.surface_energy(potential, cubic(found, a), tuple(map(int, miller)))
        assert abs(got.energy - energy) < 1e-6, miller


def test_phonons(crystal):
    oracle, potential, found, a = crystal
    symbol = str(found.atoms.symbols[0])
    primitive = bulk(symbol, "diamond" if len(found.atoms) == 2 else "fcc", a=a)
    repeats = int(oracle["phonon_supercell"][0])
    phonons = observables.phonons(potential, primitive, (repeats,) * 3)
    points = {"Gamma": [0, 0, 0], "X": [0.5, 0.5, 0], "L": [0.5, 0.5, 0.5]}
    for (name, frequencies), got in zip(oracle["phonon_frequencies_THz"].items(), phonons.frequencies(list(points.values())), strict=True):
        np.testing.assert_allclose(got, frequencies, rtol=0, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_vacancy(crystal):
    oracle, potential, found, a = crystal
    repeats = int(oracle["vacancy_supercell"][0])
    cell = cubic(found, a) * repeats
    unrelaxed = observables.vacancy_energy(potential, cell, relaxed=False)
    relaxed = observables.vacancy_energy(potential, cell, tolerance=1e-4)
    assert abs(unrelaxed.energy - oracle["vacancy_unrelaxed_eV"]) < 1e-6
    assert abs(relaxed.energy - oracle["vacancy_relaxed_fixed_cell_eV"]) < 1e-4


def test_trajectory():
    oracle = json.loads((SHARED / "oracles" / "property_workflows.json").read_text())["nve"]
    potential = READERS[oracle["model"]]()
    atoms = Atoms(oracle["symbols"], positions=oracle["positions"], cell=oracle["cell"], pbc=True)
    velocities = np.array(oracle["velocities_A_per_ps"]) / (1000 * FEMTOSECOND)
    momenta = velocities * oracle["mass"]
    system = md.System(
        jp.from_atoms(atoms, float(potential.reach)), md.NVE(300.0, timestep=1.0), masses=np.full(len(atoms), oracle["mass"]), momenta=momenta
    )
    state = system.init(jax.random.key(0), potential)
    done = 0
    for frame in oracle["frames"]:
        for _ in range(frame["step"] - done):
            state = system.step(state, potential)
        done = frame["step"]
        shown = system.observe(state, potential)
        kinetic = 0.5 * np.sum(np.asarray(shown.momenta) ** 2) / oracle["mass"]
        assert abs(float(shown.energy) - frame["potential_eV"]) < 1e-6
        assert abs(kinetic - frame["kinetic_eV"]) < 1e-6
        got = np.asarray(shown.momenta) / oracle["mass"] * 1000 * FEMTOSECOND
        np.testing.assert_allclose(got, frame["velocities_A_per_ps"], rtol=0, atol=1e-5)
        apart = (np.asarray(shown.positions) - frame["positions_A"]) / np.diag(oracle["cell"])
        np.testing.assert_allclose(apart, np.round(apart), rtol=0, atol=1e-7)
