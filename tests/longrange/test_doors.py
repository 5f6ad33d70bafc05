"""Long range through every door: configuration, fit, files, ASE, jax-md, parts of a structure."""

import json

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import quick_jit

import jaxpot as jp
from jaxpot import longrange, md, sharding
from jaxpot.cli import main
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones

SPECIES = ("Na", "Cl")
evaluate = quick_jit(jp.evaluate)


@pytest.fixture(scope="module")
def frames():
    made = []
    for seed in range(6):
        atoms = bulk("NaCl", "rocksalt", a=5.5 + 0.05 * seed, cubic=True)
        atoms.rattle(0.1, seed=seed)
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def truth(frames):
    """A repulsion and charges."""
    sum_ = longrange.sum_for(frames, accuracy=1e-5)
    charges = longrange.FixedCharges(SPECIES, values=[0.8, -0.8])
    return LennardJones(SPECIES, 0.01, 2.6, PolynomialCutoff(4.5, width=1.0)) + longrange.Electrostatics(charges, sum_)


def test_calculator(frames, truth):
    atoms = frames[0].copy()
    atoms.calc = jp.Calculator(truth)
    np.testing.assert_array_equal(atoms.get_charges(), np.where(atoms.numbers == 11, 0.8, -0.8))
    found = evaluate(truth, jp.from_atoms(atoms, float(truth.reach)))
    np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -np.asarray(found.virial) / atoms.get_volume(), atol=1e-12)
    # far parts are smooth: the numerical stress is that of the strain derivative
    np.testing.assert_allclose(atoms.calc.calculate_numerical_stress(atoms), atoms.get_stress(), atol=1e-7)


def test_parts_of_a_structure(frames, truth):
    mesh, graph = sharding.make_mesh(2), jp.from_atoms(frames[0], float(truth.reach))
    with pytest.raises(ValueError, match="Electrostatics depend"):
        sharding.evaluate(truth, sharding.partition(graph, mesh), mesh)
    found, whole = sharding.evaluate(truth, sharding.partition(graph, mesh, whole=True), mesh), evaluate(truth, graph)
    for name, value in whole.given.items():
        np.testing.assert_allclose(found.given[name], value, rtol=1e-11, atol=1e-11, err_msg=name)


def test_files(truth, tmp_path):
    assert jp.load(jp.save(tmp_path / "salt.npz", truth)) == truth


ENSEMBLES = [
    pytest.param(md.NVE(timestep=1.0), id="nve"),
    pytest.param(md.NPT(temperature=300.0, pressure=0.0, timestep=1.0), id="npt", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_dynamics_conserve_energy(frames, truth, ensemble):
    system = md.System(jp.from_atoms(frames[0], float(truth.reach) + 0.5), ensemble)
    state = system.init(jax.random.key(0), truth)
    step = jax.jit(lambda state: jax.lax.fori_loop(0, 20, lambda _, state: system.step(state, truth), state))
    observed = [system.observe(state, truth)]
    for _ in range(3):
        state = step(state)
        observed.append(system.observe(state, truth))
    conserved = np.array([float(one.conserved) for one in observed])
    assert np.all(np.isfinite(conserved)) and np.ptp(conserved) < 2e-3
    assert np.ptp([float(one.energy) for one in observed]) > 50 * np.ptp(conserved)


CONFIG = """
[data]
train = "salt.xyz"
index = "0:5"
test_index = "5:"
keys = {energy = "salt_energy", forces = "salt_forces"}
[noise]
energy = 0.0001
forces = 0.001
[[model.terms]]
class = "AtomicPotential"
head = {class = "Linear", scale = 100.0}
[model.terms.descriptor]
class = "ACE"
selection = {class = "TotalDegree", degrees = [8]}
[model.terms.descriptor.expansion]
class = "Density"
species = ["Na", "Cl"]
cutoff = {class = "PowerCutoff", radius = 4.5}
radial = {class = "Agnesi", n_max = 8, nearest = 2.7}
l_max = 0
center_weight = 0.0
sigma = "none"
[[model.terms]]
class = "Electrostatics"
charges = {class = "FixedCharges", species = ["Na", "Cl"], values = [0.8, -0.8]}
[model.terms.sum]
class = "Ewald"
cutoff = {class = "PolynomialCutoff", radius = 6.0, width = 0.5}
width = 1.2
grid = [5, 5, 5]
k_cutoff = 4.0
"""


def test_command_line(frames, truth, tmp_path, monkeypatch, capsys):
    """A short-range model fitted beside fixed charges, evaluated, and run."""
    monkeypatch.chdir(tmp_path)
    for atoms in frames:
        found = evaluate(truth, jp.from_atoms(atoms, float(truth.reach), max_neighbors=250))
        atoms.info["salt_energy"], atoms.arrays["salt_forces"] = float(found.energy), np.asarray(found.forces)
    ase.io.write("salt.xyz", frames, format="extxyz")
    (tmp_path / "salt.toml").write_text(CONFIG)
    assert main(["fit", "salt.toml", "--output", "out"]) == 0, capsys.readouterr().err
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert errors["test"]["all"]["forces"]["rmse"] < 0.02
    model = jp.load("out/model.npz")
    assert type(model.terms[1]) is longrange.Electrostatics
    assert main(["evaluate", "out/model.npz", "salt.xyz", "--predictions", "p.xyz"]) == 0, capsys.readouterr().err
    assert ase.io.read("p.xyz").arrays["jaxpot_charges"].shape == (8,)


@jp.pytree
class OfTheWhole(jp.Potential):
    """A spring for every atom, as stiff as the total charge says, in the outer field."""

    stiffness: jax.Array
    species = ("Na", "Cl")
    reach = jnp.asarray(3.0)

    def energies(self, graph):
        return self.stiffness * graph.charge * jnp.sum(graph.positions**2, axis=1) - graph.positions @ graph.field


def test_total_charge_and_field_reach_every_door(tmp_path):
    """Models that know the total from the structure alone would otherwise predict, silently, for another molecule."""
    ion, model = Atoms("Na2Cl", positions=[[0, 0, 0], [2.6, 0.2, 0], [-1.2, 2.2, 0.4]]), OfTheWhole(1.0)
    outer = {"charge": 1.0, "field": (0.1, 0.0, -0.05)}
    graph = jp.from_atoms(ion, 3.0, **outer)
    whole = evaluate(model, graph)
    ion.calc = jp.Calculator(model, **outer)
    np.testing.assert_allclose(ion.get_potential_energy(), whole.energy, rtol=1e-12)
    system = md.System(graph, md.NVE(timestep=0.5))
    state = system.init(jax.random.key(0), model)
    found = system.observe(state, model)
    np.testing.assert_allclose([found.energy, *found.forces.ravel()], [whole.energy, *whole.forces.ravel()], atol=1e-11)
    assert float(system.graph(state).charge) == 1.0
    md.run(model, ion, tmp_path / "ion.xyz", ensemble=md.NVE(timestep=0.5), steps=10, **outer)
    first = ase.io.read(tmp_path / "ion.xyz", 0)
    np.testing.assert_allclose(first.get_potential_energy(), whole.energy, atol=1e-6)
    with pytest.raises(ValueError, match="charge was 1.0 and is now None"):
        md.run(model, ion, tmp_path / "ion.xyz", ensemble=md.NVE(timestep=0.5), steps=20, restart=True)


def test_evaluation_of_ions_on_the_command_line(tmp_path, capsys):
    ion = Atoms("Na2Cl", positions=[[0, 0, 0], [2.6, 0.2, 0], [-1.2, 2.2, 0.4]], info={"ion_charge": 1.0})
    model = longrange.Electrostatics(longrange.FixedCharges(SPECIES, values=[1.0, -1.0]), longrange.Direct())
    ion.info["ion_energy"] = float(model(jp.from_atoms(ion, 1.0, charge=1.0)))
    jp.save(tmp_path / "model.npz", model)
    ase.io.write(tmp_path / "ion.xyz", ion)
    command = ["evaluate", str(tmp_path / "model.npz"), str(tmp_path / "ion.xyz"), "--output", str(tmp_path / "errors.json"), "--keys"]
    assert main([*command, "energy=ion_energy,charge=ion_charge"]) == 0
    assert json.loads((tmp_path / "errors.json").read_text())["all"]["energy"]["rmse"] < 1e-7
    assert main([*command, "energy=ion_energy"]) != 0 and "total charge of 0 e" in capsys.readouterr().err
