"""Observables are data: what a field of Properties says of itself is all that labels, noise, fits, reports and files need."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import jax
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from catalog import QUICK, quick_jit
from charged import Charged

import jaxpot as jp
from jaxpot import sharding
from jaxpot.cli import main
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.fit import rows
from jaxpot.properties import OBSERVABLES

ROOT = Path(__file__).resolve().parent.parent / "jaxpot"
TRUTH, START = Charged(strength=2.0, pull=0.7), Charged(strength=1.0, pull=0.1)
evaluate = quick_jit(jp.evaluate)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jax, "jit", quick_jit)


@pytest.fixture(scope="module")
def frames():
    """Clusters with energies, charges and dipoles of the truth as labels; one lacks charges, another its dipole."""
    made = []
    for seed, n in enumerate((3, 4, 4, 3)):
        atoms = Atoms(f"Ar{n}", positions=np.random.default_rng(seed).uniform(0, 3, (n, 3)), info={"config_type": "small" if n == 3 else "large"})
        found = evaluate(TRUTH, jp.from_atoms(atoms, 4.0, max_atoms=4, max_neighbors=3))
        atoms.info |= {"energy": float(found.energy), "dipole": np.asarray(found.dipole)}
        atoms.arrays |= {"charges": np.asarray(found.charges)[:n], "energies": np.asarray(found.energies)[:n]}
        made.append(atoms)
    del made[1].arrays["charges"], made[2].info["dipole"]
    return made


LEVELS = {"energy": 0.01, "charges": 0.002, "dipole": 0.005}


@pytest.fixture(scope="module")
def data(frames):
    return jp.Dataset.from_atoms(frames, 4.0, sigma=jp.noise_levels(**LEVELS))


# --- labels and noise ------------------------------------------------------------------------------------------------------


def test_what_is_read(data, frames):
    """Charges and dipoles with their noise; rows of padding atoms and labels that a frame lacks have none; what no frame has is None."""
    for frame, one in data.structures():
        n, targets, sigma = len(frames[frame]), one.targets, one.sigma
        assert rows.held(sigma) == rows.held(targets) == ("energy", "charges", "dipole") and targets.charges.shape == (4,)
        if frame != 1:
            np.testing.assert_array_equal(targets.charges[:n], frames[frame].arrays["charges"])
            np.testing.assert_array_equal(sigma.charges, [0.002] * n + [np.inf] * (4 - n))
        else:
            assert np.all(np.isnan(targets.charges)) and np.all(np.isinf(sigma.charges))
        np.testing.assert_allclose(sigma.dipole, np.inf if frame == 2 else 0.005 * np.sqrt(n), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "value", "level", "message"),
    [
        ("charges", np.ones(3), 0.1, r"frame 0: charges must have shape \[2\], got \[3\]"),
        ("charges", np.array([1.0, np.nan]), 0.1, r"frame 0: charges\[1\] is nan"),
        ("charges", np.array(["a", "b"]), 0.1, "expected plain numbers in e$"),
        ("charges", None, 0.1, "no frame has charges .*keys={'charges': 'bader_charges'}"),
        ("energies", np.ones(2), np.ones(3), r"sigma.energies must be a number or \[N\], got shape \[3\]"),
        ("energies", np.ones(2), 0.0, "sigma.energies must be positive"),
    ],
)
def test_bad_labels_are_refused(name, value, level, message):
    atoms = Atoms("Ar2", [[0, 0, 0], [3, 0, 0]])
    atoms.info["calc"] = None
    atoms.arrays["bader_charges"] = np.zeros(2)
    if value is not None:
        atoms.arrays.update({name: value})
    with pytest.raises(ValueError, match=message):
        jp.Dataset.from_atoms([atoms], 4.0, sigma=jp.Properties(**{name: level}))


def test_noise_levels_know_all_fields():
    atoms = Atoms("Ar4")
    levels = jp.noise_levels(**dict.fromkeys(OBSERVABLES, 0.1))(atoms)
    assert {name: getattr(levels, name) for name in OBSERVABLES} == {name: 0.2 if o.extensive else 0.1 for name, o in OBSERVABLES.items()}
    with pytest.raises(TypeError, match="no property is called 'charge'; those that are: energy, energies"):
        jp.noise_levels(charge=0.1)
    with pytest.raises(ValueError, match="the noise level of charges must be a positive number or None, got 0"):
        jp.noise_levels(charges=0)


def test_atomic_energies_of_padding_atoms_are_zero():
    found = evaluate(TRUTH, jp.from_atoms(Atoms("Ar2", [[0, 0, 0], [2, 0, 0]]), 4.0, max_atoms=4, max_neighbors=3))
    np.testing.assert_allclose(found.energies, [2 * np.exp(-0.4)] * 2 + [0, 0], rtol=1e-14)
    np.testing.assert_allclose(found.energy, np.sum(found.energies), rtol=1e-14)


# --- fits, reports, plots --------------------------------------------------------------------------------------------------


def test_training_finds_what_makes_charges_and_dipoles(data):
    model, history = jp.fit.train(START, data, optax.adam(optax.cosine_decay_schedule(0.1, 300)), steps=300)
    np.testing.assert_allclose([model.strength, model.pull], [2.0, 0.7], rtol=1e-3)
    report = jp.fit.report(START, data)["all"]
    still = jp.fit.train(START, data, optax.sgd(0.0), steps=1)[1]
    assert list(still) == ["step", "epoch", "loss", *(f"{name}_{kind}" for name in LEVELS for kind in ("mae", "rmse"))]
    for name in LEVELS:
        np.testing.assert_allclose([still[f"{name}_mae"][0], still[f"{name}_rmse"][0]], [report[name]["mae"], report[name]["rmse"]], rtol=1e-12)
    assert report["charges"] | {"mae": 0, "rmse": 0} == {"mae": 0, "rmse": 0, "n": 3 + 4 + 3, "unit": "e"} and report["dipole"]["n"] == 9
    labels = [axis.get_ylabel() for axis in jp.fit.plot_history(history).axes]
    assert labels[1:] == ["RMSE, energy (meV/atom)", "RMSE, charge (e)", "RMSE, dipole component (unit of the labels)"]


def test_the_loss_by_hand(data, frames):
    total, n = 0.0, 0
    for atoms in frames:
        found = evaluate(START, jp.from_atoms(atoms, 4.0, max_atoms=4, max_neighbors=3))
        for name, level in LEVELS.items():
            label = atoms.info.get(name, atoms.arrays.get(name))
            if label is not None:
                value = np.asarray(getattr(found, name))
                value = value[: len(atoms)] if name == "charges" else value
                total += np.sum(((value - label) / (level * np.sqrt(len(atoms)) ** OBSERVABLES[name].extensive)) ** 2)
                n += np.size(label)
    loss = jp.fit.train(START, data, optax.sgd(0.0), steps=1)[1]["loss"][0]
    np.testing.assert_allclose(loss, total / n, rtol=1e-12)


def test_what_is_not_predicted_is_left_out_and_named(data, frames):
    """A potential without charges is fitted to the energies; with nothing left it is refused."""
    other = jp.empirical.LennardJones(("Ar",), epsilon=0.01, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(4.0, width=2.0))
    predictions = jp.fit.predict(other, data)
    assert jp.fit.report(other, data, predictions=predictions)["all"].keys() == {"energy"}
    assert jp.fit.not_predicted(data, predictions) == ("charges", "dipole") and jp.fit.not_predicted(data, jp.fit.predict(TRUTH, data)) == ()
    energies = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.noise_levels(0.01))
    histories = [jp.fit.train(other, part, optax.sgd(0.0), steps=1, where="epsilon")[1] for part in (data, energies)]
    assert histories[0] == histories[1]
    charges = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.noise_levels(charges=0.01))
    with pytest.raises(ValueError, match="data has no labels of energy, energies, forces, virial, which LennardJones predicts"):
        jp.fit.train(other, charges, optax.sgd(0.0), steps=1)
    linear = jp.AtomicPotential(jp.descriptors.Constant(("Ar",)), jp.Linear())
    with pytest.raises(ValueError, match="labels of charges only, no labels of energy"):
        jp.fit.linear(linear, charges, progress=False)
    np.testing.assert_array_equal(*(jp.fit.linear(linear, part, progress=False).head.coefficients for part in (data, energies)))


def test_energies_of_atoms_are_fitted(frames):
    """With the energies of the atoms alone a constant per element is their mean, but for the prior."""
    linear = jp.AtomicPotential(jp.descriptors.Constant(("Ar",)), jp.Linear(scale=100.0))
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.Properties(energies=0.01))
    labels = np.concatenate([np.asarray(structure.targets.energies)[np.isfinite(structure.sigma.energies)] for _, structure in data.structures()])
    fitted = jp.fit.linear(linear, data, progress=False)
    np.testing.assert_allclose(fitted.head.coefficients, [np.mean(labels)], rtol=1e-6)


def test_reports_and_plots_for_people(data):
    predictions = jp.fit.predict(START, data)
    assert predictions[0].charges.shape == (3,) and predictions[1].energies.shape == (4,)
    head, *lines = jp.fit.table(jp.fit.report(START, data, predictions=predictions)).splitlines()
    assert head.split() == "energy meV/atom MAE / RMSE charge e MAE / RMSE dipole MAE / RMSE".split() and len(lines) == 3
    figure = jp.fit.plot_parity(data, predictions)
    assert [axis.get_xlabel() for axis in figure.axes] == ["label, energy (eV/atom)", "label, charge (e)", "label, dipole component (unit of the labels)"]
    assert sum(len(line.get_xdata()) for line in figure.axes[1].get_lines()[:-1]) == 10


# --- calculators and the command line --------------------------------------------------------------------------------------


def test_calculator_gives_charges_and_dipoles(frames):
    atoms = frames[0].copy()
    atoms.calc = jp.Calculator(TRUTH)
    np.testing.assert_allclose(atoms.get_charges(), frames[0].arrays["charges"], rtol=1e-12)
    np.testing.assert_allclose(atoms.get_dipole_moment(), frames[0].info["dipole"], rtol=1e-12)
    np.testing.assert_allclose(atoms.get_potential_energies(), frames[0].arrays["energies"], rtol=1e-12)
    atoms.calc = jp.Calculator(jp.IsolatedAtoms({"Ar": -1.0}))
    assert atoms.calc.implemented_properties == ["energy", "free_energy", "energies", "forces", "stress"]
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_charges()


def test_command_line(frames, tmp_path, capsys):
    jp.save(tmp_path / "charged.npz", TRUTH)
    ase.io.write(tmp_path / "argon.xyz", frames, format="extxyz")
    files = ["evaluate", str(tmp_path / "charged.npz"), str(tmp_path / "argon.xyz")]
    paths = {name: str(tmp_path / name) for name in ("e.json", "p.xyz", "p.png")}
    assert main([*files, "--output", paths["e.json"], "--predictions", paths["p.xyz"], "--plot", paths["p.png"]]) == 0
    assert "charge e" in capsys.readouterr().out and Path(paths["p.png"]).stat().st_size > 0
    errors = json.loads(Path(paths["e.json"]).read_text())["all"]
    assert list(errors) == ["energy", "energies", "charges", "dipole"] and errors["charges"]["mae"] < 1e-7
    for before, after in zip(frames, ase.io.read(paths["p.xyz"], ":"), strict=True):
        np.testing.assert_allclose(after.arrays["jaxpot_energies"], before.arrays["energies"], atol=1e-7)
        assert after.arrays["jaxpot_charges"].shape == (len(after),) and after.info["jaxpot_dipole"].shape == (3,)
    jp.save(tmp_path / "atoms.npz", jp.IsolatedAtoms({"Ar": -1.0}))
    files[1] = str(tmp_path / "atoms.npz")
    assert main([*files, "--keys", "energy=energy,charges=charges"]) == 0
    assert "labels of charges are not compared, since IsolatedAtoms predicts energy, energies, forces, virial" in capsys.readouterr().out
    assert main([*files, "--keys", "enrgy=energy"]) == 2
    assert "names are energy, energies, forces, virial, stress, charges, dipole" in capsys.readouterr().err


# --- one field, and nothing else -------------------------------------------------------------------------------------------

ITERATE = [
    ROOT / name
    for name in (
        "data.py", "labels.py", "calculator.py", "cli.py", "fit/rows.py", "fit/solver.py", "fit/evidence.py", "fit/validation.py", "fit/optimise.py",
        "fit/history.py", "fit/training.py", "fit/descent.py", "fit/minibatches.py", "fit/resampling.py", "fit/errors.py",
    )
]  # fmt: skip


@pytest.mark.parametrize("path", ITERATE, ids=lambda path: path.stem)
def test_no_field_is_named(path):
    """Neither as an attribute nor as an argument nor as a word."""
    for node in ast.walk(ast.parse(path.read_text())):
        named = node.attr if isinstance(node, ast.Attribute) else node.arg if isinstance(node, ast.keyword | ast.arg) else getattr(node, "value", None)
        assert named.__class__ is not str or named not in {*OBSERVABLES, "stress"}, f"line {node.lineno} names {named!r}"


FIELD = '    moments: OptionalLeaf = observable("μB", "moment", 0, per_atom=True, ase=("magmoms",), shown=("μB", 1.0), hints=("mom",))\n'
SCRIPT = """
import ase.io, jax, numpy as np, optax, sys
jax.config.update("jax_enable_x64", True)
import jaxpot as jp
from jaxpot import sharding
from jaxpot.cli import main
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones

@jp.pytree
class Magnets(jp.Potential):
    size: jax.Array
    species, reach = ("Fe",), np.asarray(3.0)
    def energies(self, graph):
        return 0 * graph.positions[:, 0]
    def more(self, graph):
        return jp.Properties(moments=jax.numpy.where(graph.numbers > 0, self.size, 0))

atoms = ase.Atoms("Fe2", [[0, 0, 0], [2, 0, 0]])
atoms.arrays["dft_moments"] = np.full(2, 2.2)
ase.io.write("fe.xyz", atoms, format="extxyz")
data = jp.Dataset.from_atoms([atoms], 3.0, sigma=jp.noise_levels(moments=0.1), keys={"moments": "dft_moments"})
model, history = jp.fit.train(Magnets(1.0), data, optax.sgd(0.001), steps=2)
assert 1 < model.size < 2.2 and np.isclose(history["moments_mae"][0], 1.2), history
assert np.isclose(history["loss"][0], 144), history
jp.save("fe.npz", model)
assert main(["evaluate", "fe.npz", "fe.xyz", "--keys", "moments=dft_moments", "--predictions", "p.xyz"]) == 0
assert np.allclose(ase.io.read("p.xyz").arrays["jaxpot_moments"], model.size, atol=1e-7)
atoms.calc = jp.Calculator(model)
assert np.allclose(atoms.get_magnetic_moments(), model.size)
"""


def test_a_new_observable_is_one_field(tmp_path):
    """Read, given noise, trained, reported, written and calculated."""
    shutil.copytree(ROOT, tmp_path / "jaxpot", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "jaxpot" / "properties.py"
    before, after = path.read_text().split("    charges: OptionalLeaf = observable(")
    path.write_text(f"{before}{FIELD}    charges: OptionalLeaf = observable({after}")
    (tmp_path / "script.py").write_text(SCRIPT)
    flags = {"XLA_FLAGS": " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items()), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "moment μB" in done.stdout


# --- sums and parts --------------------------------------------------------------------------------------------------------


def test_sums_and_committees_keep_what_their_parts_predict():
    graph = jp.from_atoms(Atoms("Ar2", [[0, 0, 0], [2, 0, 0]]), 4.0)
    alone, isolated = evaluate(TRUTH, graph), jp.IsolatedAtoms({"Ar": -1.0})
    for model, share in ((TRUTH + isolated, 1.0), (TRUTH + TRUTH, 2.0), (jp.potentials.Committee((TRUTH, isolated)), 0.5)):
        found = evaluate(model, graph)
        np.testing.assert_allclose(found.charges, share * alone.charges, rtol=1e-14)
        np.testing.assert_allclose(found.dipole, share * alone.dipole, rtol=1e-14)
    assert evaluate(isolated + isolated, graph).given.keys() == {"energy", "energies", "forces", "virial"}
    lost = evaluate(TRUTH + isolated, jp.from_atoms(Atoms("ArKr", [[0, 0, 0], [2, 0, 0]]), 4.0))
    assert np.isnan(lost.energy) and np.all(np.isnan(lost.charges))


def test_parts_of_a_structure_keep_charges():
    atoms = Atoms("Ar4", [[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 3.5]])
    mesh, graph, model = sharding.make_mesh(2), jp.from_atoms(atoms, 4.0), TRUTH + LennardJones(("Ar",), 0.01, 2.0, PolynomialCutoff(4.0))
    found, whole = sharding.evaluate(model, sharding.partition(graph, mesh, whole=True), mesh), evaluate(model, graph)
    for name, value in whole.given.items():
        np.testing.assert_allclose(found.given[name], value, rtol=1e-12, atol=1e-12)
