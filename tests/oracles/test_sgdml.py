"""sGDML models of water against the numbers stored with them, and the covariance matrix of forces against that code's."""

import functools
import io
import lzma
import os
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from catalog import evaluate, relative

import jaxpot as jp
from jaxpot import units
from jaxpot.io.sgdml import read_sgdml, write_sgdml
from jaxpot.potentials.gdml import geometry
from jaxpot.units import KCAL_PER_MOL

FOLDER = Path(os.environ.get("JAXPOT_DATA", ".")) / "data"
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
WATER = ("O", "H", "H")
SWAP = ((0, 1, 2), (0, 2, 1))
OF_THE_DATA = 1 / 23.060541945329337  # eV per kcal/mol with which these frames were converted


@functools.cache
def frames(name):
    path = FOLDER / f"{name}.extxyz"
    text = path.read_text() if path.exists() else lzma.open(f"{path}.xz").read().decode()
    return ase.io.read(io.StringIO(text), ":", format="extxyz")


def model_file(name):
    return FOLDER / "water_sgdml" / f"model_h2o_{name}.npz"


def errors(model, structures, unit=KCAL_PER_MOL):
    """Mean absolute and root mean square errors of energies and forces, in kcal/mol and kcal/mol/Å; unit: eV per kcal/mol of the model."""
    data = jp.Dataset.from_atoms(structures, 1.0, sigma=jp.Properties(energy=1.0, forces=1.0))
    predicted = jp.fit.predict(model, data, progress=False)
    energy = [float(p.energy) / unit - a.get_potential_energy() / OF_THE_DATA for p, a in zip(predicted, structures, strict=True)]
    forces = [np.asarray(p.forces) / unit - a.get_forces() / OF_THE_DATA for p, a in zip(predicted, structures, strict=True)]
    return np.array([f(np.array(x)) for x in (energy, forces) for f in (lambda e: np.mean(np.abs(e)), lambda e: np.sqrt(np.mean(e**2)))])


def stored(name):
    with np.load(model_file(name)) as file:
        return np.concatenate([file["e_err_mae_rmse"], file["f_err_mae_rmse"]]), set(file["idxs_valid"].tolist())


@needs_data
def test_covariance_of_forces():
    """The negative of the matrix in that code's file, translations and rotations included."""
    with np.load(FOLDER / "water_sgdml" / "sgdml_kernel_reference.npz") as file:
        reference, positions, sigma = file["K"], file["R_train"], float(file["sigma"])
    model = jp.molecules.GradientDomain(jp.descriptors.InverseDistances(WATER), jp.kernels.Matern(sigma), SWAP)
    model = model.with_points([jp.from_atoms(Atoms("OH2", positions=r), 1.0) for r in positions])
    basis = np.zeros((450, 150))
    for m, (r, g) in enumerate(zip(positions, model.references.directions, strict=True)):
        basis[9 * m : 9 * m + 9, 3 * m : 3 * m + 3] = np.linalg.pinv(geometry(r)[1]) @ np.asarray(g).T
    assert relative(basis @ np.asarray(model.force_covariance()) @ basis.T, -reference) < 1e-13


@needs_data
def test_published_errors():
    """On the validation frames of the 50-frame model to all digits; of the largest one on the sixth of them that is here."""
    expected, _ = stored("1body_train50")
    validation = [a for a in frames("water_sgdml/h2o_monomer_mp2") if a.info["model50_valid"]]
    np.testing.assert_allclose(errors(read_sgdml(model_file("1body_train50")), validation), expected, rtol=1e-4)
    expected, numbers = stored("1body_train1000")
    some = [a for a in frames("water_sgdml/h2o_monomer_mp2") if int(a.info["source_index"]) in numbers]
    assert len(some) == 331
    np.testing.assert_allclose(errors(read_sgdml(model_file("1body_train1000")), some), expected, rtol=0.06)


@needs_data
def test_trained_here():
    """Our model of the same 50 frames with the same width and λ has the errors of the published one."""
    expected, _ = stored("1body_train50")
    monomers = frames("water_sgdml/h2o_monomer_mp2")
    train, validation = ([a for a in monomers if a.info[key]] for key in ("model50_train", "model50_valid"))
    with np.load(model_file("1body_train50")) as file:
        length, scale, lam = float(file["sig"]), float(file["std"]) * OF_THE_DATA, float(file["lam"])
    model = jp.molecules.GradientDomain(jp.descriptors.InverseDistances(WATER), jp.kernels.Matern(length), jp.molecules.recover_permutations(train), delta=scale)
    assert model.permutations == SWAP
    model = model.with_points([jp.from_atoms(a, 1.0) for a in train])
    data = jp.Dataset.from_atoms(train, 1.0, sigma=jp.Properties(energy=1.0, forces=scale * lam**0.5))
    fitted = jp.fit.linear(model, data, method="kernel", progress=False)
    np.testing.assert_allclose(errors(fitted, validation, OF_THE_DATA), expected, rtol=1e-4, atol=2e-5)


@needs_data
def test_dimers():
    """The two-body part of water dimers, with its eight permutations; those of the file are recovered from the frames."""
    dimers = frames("water_sgdml/h2o_dimer_2body_mp2")
    model = read_sgdml(model_file("2body_nbody_train1000"))
    assert sorted(model.permutations) == sorted(jp.molecules.recover_permutations(dimers[:60])) and len(model.permutations) == 8
    expected, _ = stored("2body_nbody_train1000")
    assert np.all(errors(model, dimers) < expected * [1.1, 1.1, 1.0, 1.0])  # other frames than those of the file


@needs_data
@pytest.mark.parametrize(("molecule", "size"), [("ethanol", 6), ("malonaldehyde", 4), ("aspirin", 6)])
def test_recovered_permutations(molecule, size):
    """As many as sGDML finds for these molecules: methyl groups, and the mirror of malonaldehyde."""
    assert len(jp.molecules.recover_permutations(frames(f"rMD17/{molecule}_train01")[:60])) == size


def water_model():
    rng = np.random.default_rng(0)
    graphs = [jp.from_atoms(Atoms("OH2", positions=[[0, 0, 0], [0.9, 0.1, 0], [-0.2, 0.95, 0]] + 0.05 * rng.normal(size=(3, 3))), 1.0) for _ in range(3)]
    model = jp.molecules.GradientDomain(jp.descriptors.InverseDistances(WATER), jp.kernels.Matern(3.0), SWAP, delta=0.4).with_points(graphs)
    return model.with_coefficients(rng.normal(size=10)), graphs


def test_written_and_read(tmp_path):
    """The same energies, and a file that another round does not change; sGDML 1.0.3 reads it and gives the same to 1e-10."""
    model, graphs = water_model()
    again = read_sgdml(write_sgdml(tmp_path / "water.npz", model))
    for graph in graphs:
        before, after = evaluate(model, graph), evaluate(again, graph)
        assert relative(after.energy, before.energy) < 1e-12 and relative(after.forces, before.forces) < 1e-12
    write_sgdml(tmp_path / "twice.npz", again)
    with np.load(tmp_path / "water.npz") as one, np.load(tmp_path / "twice.npz") as two:
        assert all(np.array_equal(one[key], two[key]) for key in one.files)


CHANGES = [
    ({"lattice": np.eye(3)}, "the keys lattice are not implemented"),
    ({"alphas_E": np.ones(3)}, "the keys alphas_E are not implemented"),
    ({"sig": None}, "it lacks sig"),
    ({"type": np.array("t")}, "expected 'm'"),
    ({"use_cprsn": np.array(True)}, "use_cprsn is true"),
    ({"e_unit": None}, "does not say in which unit"),
    ({"e_unit": np.array("Rydberg")}, "energies in 'Rydberg'"),
    ({"r_unit": np.array("nm")}, "lengths in 'nm'"),
    ({"z": np.array([8, 1, 1.5])}, "z must be whole numbers"),
    ({"z": np.array([8, 1, -1])}, "z must be atomic numbers"),
    ({"z": np.array(["O", "H", "H"])}, "z must be real numbers, got <U1"),
    ({"perms": np.array([[0, 1, 2], [0, 2, 2]])}, "permutations of 0 to 2"),
    ({"sig": np.array([3.0, 4.0])}, "one number each"),
    ({"c": np.array("x")}, "c must be real numbers"),
    ({"use_E_cstr": np.array([True])}, "use_E_cstr is true"),
    ({"R_desc": np.ones((3, 4))}, "do not belong to 3 atoms"),
    ({"tril_perms_lin": np.array([0, 3, 1, 4, 2, 5])}, "not the same permutations"),
    ({"std": np.array(np.nan)}, "std"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[m for _, m in CHANGES])
def test_files_that_are_refused(change, message, tmp_path):
    with np.load(write_sgdml(tmp_path / "a.npz", water_model()[0])) as file:
        content = {key: file[key] for key in file.files} | change
    np.savez(tmp_path / "b.npz", **{key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match=message) as caught:
        read_sgdml(tmp_path / "b.npz")
    assert "\n" not in str(caught.value) and "b.npz" in str(caught.value)


UNITS = [
    ("eV", 1.0), ("ev", 1.0), (b"kcal/mol", KCAL_PER_MOL), ("kcal mol-1", KCAL_PER_MOL), ("kcal mol^-1", KCAL_PER_MOL), ("KCAL/MOL", KCAL_PER_MOL),
    ("kJ mol-1", units.KJ_PER_MOL), ("hartree", units.HARTREE), ("Ha", units.HARTREE), (b"Eh", units.HARTREE),
]  # fmt: skip


def changed(path, **change):
    with np.load(path) as file:
        content = {key: file[key] for key in file.files} | change
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


@pytest.mark.parametrize(("text", "unit"), UNITS)
def test_units_of_energy(text, unit, tmp_path):
    """However they are written; those that are not known are the caller's to name, in the line of the message."""
    model, _ = water_model()
    plain, file = (write_sgdml(tmp_path / f"{name}.npz", model) for name in "ab")
    assert read_sgdml(changed(file, e_unit=np.array(text))).coefficients == pytest.approx(np.asarray(read_sgdml(plain).coefficients) * unit, rel=1e-14)
    for unknown in (np.array("units of energy"), None):
        with pytest.raises(ValueError, match="write read_sgdml") as caught:
            read_sgdml(changed(file, e_unit=unknown))
        advice = re.search(r"write (read_sgdml\(.*\)) with", str(caught.value))[1]
        expected = np.asarray(read_sgdml(plain).coefficients) * KCAL_PER_MOL
        assert eval(advice).coefficients == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match="are in eV, not in Hartree; write") as caught:
        read_sgdml(plain, energy_unit="Hartree")
    assert eval(str(caught.value).split("write ")[1]) == read_sgdml(plain)
    with pytest.raises(ValueError, match="energy_unit='Ry'; expected one of eV, kcal/mol"):
        read_sgdml(plain, energy_unit="Ry")


@pytest.mark.parametrize("text", ["Angstroms", "ångström", b"Ang", "A", "angstrom"])
def test_units_of_length(text, tmp_path):
    model, graphs = water_model()
    file = write_sgdml(tmp_path / "a.npz", model)
    expected = read_sgdml(file)
    assert read_sgdml(changed(file, r_unit=np.array(text))) == expected
    with np.load(file) as content:
        bohr = {key: content[key] * units.BOHR for key in ("R_desc", "R_d_desc_alpha", "sig")}
    again = read_sgdml(changed(write_sgdml(tmp_path / "b.npz", model), r_unit=np.array("bohr"), **bohr))
    assert relative(evaluate(again, graphs[0]).forces, evaluate(expected, graphs[0]).forces) < 1e-12
    with pytest.raises(ValueError, match="lengths in 'pm'; expected Angstrom or Bohr") as caught:
        read_sgdml(changed(file, r_unit=np.array("pm")))
    remedy = str(caught.value).split("write ")[1].split(" with ")[0]
    assert eval(remedy) == expected
    with pytest.raises(ValueError, match="lengths are in Ang, not in Bohr"):
        read_sgdml(write_sgdml(file, model), length_unit="Bohr")


def test_other_refusals(tmp_path):
    model, _ = water_model()
    with pytest.raises(FileNotFoundError):
        read_sgdml(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="not a readable"):
        read_sgdml(tmp_path / "text.npz")
    with pytest.raises(ValueError, match="no coefficients yet"):
        write_sgdml(tmp_path / "a.npz", model.replace(coefficients=None))
    for kernel in (jp.kernels.SquaredExponential(1.0), jp.kernels.Matern(1.0, nu=1.5), jp.kernels.Matern([1.0, 1.0, 2.0])):
        with pytest.raises(ValueError, match="nu=2.5 and one length"):
            write_sgdml(tmp_path / "a.npz", model.replace(kernel=kernel))
    file = write_sgdml(tmp_path / "a.npz", model)
    with pytest.raises(ValueError, match="are in eV, not in kcal/mol"):
        read_sgdml(file, energy_unit="kcal/mol")
