"""Compiled potentials in files: the program is the model, for whoever reads it."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import zipfile

import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import quick_jit

import jaxpot
from jaxpot import ACE, AtomicPotential, CosineCutoff, Density, IsolatedAtoms, Linear, TotalDegree
from jaxpot.cli import main
from jaxpot.cutoffs import PowerCutoff
from jaxpot.empirical import LennardJones
from jaxpot.io import export, read, read_exported
from jaxpot.longrange import Direct, Electrostatics, FixedCharges
from jaxpot.radial import Agnesi

evaluate = quick_jit(jaxpot.evaluate)
FIELDS = ("energy", "energies", "forces", "virial")


def model():
    ace = ACE(Density(("Si", "C"), PowerCutoff(3.2), Agnesi(2, nearest=2.0), 1, sigma=None, center_weight=0.0), TotalDegree((2, 2)))
    return AtomicPotential(ace, Linear(coefficients=np.random.default_rng(0).normal(size=2 * ace.n_features))) + IsolatedAtoms({"Si": -1.0, "C": 2.0})


def structures():
    cell = ase.build.bulk("SiC", "zincblende", a=4.3, cubic=True)
    cell.rattle(0.1, seed=1)
    return cell, ase.Atoms("SiCSi", [[0, 0, 0], [1.8, 0.1, 0], [0.2, 2.0, 0.4]])


def agree(found, expected, tolerance=1e-11, names=FIELDS):
    for name in names:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)


def test_read_again_it_is_the_model(tmp_path):
    own = model()
    path = export(tmp_path / "a.hlo", own, max_atoms=9, max_neighbors=30)
    compiled = read(path)
    assert compiled.species == own.species and float(compiled.reach) == float(own.reach)
    for atoms in structures():
        graph = jaxpot.from_atoms(atoms, 3.2)
        agree(evaluate(compiled, graph), evaluate(own, graph))
    # in a sum, and for ASE
    atoms = structures()[0]
    graph = jaxpot.from_atoms(atoms, 3.2)
    agree(evaluate(compiled + IsolatedAtoms({"Si": 1.0}), graph), evaluate(own + IsolatedAtoms({"Si": 1.0}), graph))
    atoms.calc = jaxpot.Calculator(compiled, skin=0.0)
    np.testing.assert_allclose(atoms.get_forces(), evaluate(own, graph).forces, rtol=0, atol=1e-11)


def test_nothing_looks_right(tmp_path):
    """Elements and lists that the model refuses are NaN; of larger structures there is the line to write."""
    compiled = read_exported(export(tmp_path / "a.hlo", model(), max_atoms=4, max_neighbors=10))
    molecule = structures()[1]
    graph = jaxpot.from_atoms(molecule, 3.2)
    for wrong in (graph.replace(numbers=graph.numbers.at[0].set(8)), graph.replace(cutoff=jnp.array(3.0)), graph.replace(overflow=jnp.array(True))):
        assert np.isnan(evaluate(compiled, wrong).energy) and np.all(np.isnan(evaluate(compiled, wrong).virial))
    with pytest.raises(ValueError, match=r"8 atoms with up to \d+ neighbours, the program is for 4 with 10; write jaxpot.io.export\(path, model, max_atoms=8"):
        jaxpot.evaluate(compiled, structures()[0])
    # room that nobody needs
    agree(evaluate(compiled, jaxpot.from_atoms(molecule, 3.2, max_atoms=7, max_neighbors=20)), evaluate(compiled, graph), 0.0, ("energy", "virial"))


ALONE = """
import dataclasses, json, sys, zipfile
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
with zipfile.ZipFile(sys.argv[1]) as archive:
    header, program = json.loads(archive.read("header.json")), archive.read("program.mlir")
shapes = [jax.ShapeDtypeStruct(tuple(shape), kind) for kind, *shape in header["arguments"].values()]
n = header["max_atoms"]
frame = jax.export.export(jax.jit(lambda *a: (jnp.zeros(n), jnp.zeros((n, 3)), jnp.zeros((3, 3))), keep_unused=True), platforms=("cpu",))(*shapes)
found = dataclasses.replace(frame, mlir_module_serialized=program).call(*np.load(sys.argv[2]).values())
assert not any(name.startswith("jaxpot") for name in sys.modules)
np.savez(sys.argv[3], **dict(zip(header["results"], found)))
"""


def test_without_jaxpot(tmp_path):
    """The file is enough: the header says the arguments, JAX alone runs the program."""
    atoms, own = structures()[0], model()
    graph = jaxpot.from_atoms(atoms, 3.2, max_atoms=9)
    path = export(tmp_path / "a.hlo", own, max_atoms=9, max_neighbors=graph.neighbors.shape[1])
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
    assert header["species"] == ["Si", "C"] and header["reach"] == 3.2 and header["length_unit"] == "Å" and header["dtype"] == "float64"
    np.savez(tmp_path / "in.npz", **{name: getattr(graph, name) for name in header["arguments"]})
    subprocess.run([sys.executable, "-c", ALONE, path, tmp_path / "in.npz", tmp_path / "out.npz"], check=True, cwd=tmp_path)
    found, expected = np.load(tmp_path / "out.npz"), evaluate(own, graph)
    for name in ("forces", "virial"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=0, atol=1e-11)
    np.testing.assert_allclose(np.sum(found["energies"]), expected.energy, rtol=0, atol=1e-11)


def test_precision(tmp_path):
    """A program in single precision is one in either mode; one in double precision is refused in the mode of 32 bits."""
    own, atoms = LennardJones(("Ar",), 0.01, 3.4, cutoff=CosineCutoff(5.0)), ase.Atoms("Ar2", [[0, 0, 0], [3.5, 1.0, 0]])
    path = export(tmp_path / "a.hlo", jaxpot.cast(own, "float32"), max_atoms=3, max_neighbors=4)
    expected = float(jaxpot.evaluate(own, atoms).energy)
    for mode in (True, False):
        with jax.enable_x64(mode):
            found = float(jaxpot.evaluate(read(path), atoms).energy)
            assert 0 < abs(found / expected - 1) < 1e-5
    double = export(tmp_path / "b.hlo", own, max_atoms=3, max_neighbors=4)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="which computes in float64, needs float64; write jax.config"):
        read(double)


def test_charges_of_a_whole_structure(tmp_path):
    """What is not local, and the total charge and the outer field reach the program."""
    own = Electrostatics(FixedCharges(("Na", "Cl"), values=[1.0, -1.0]), Direct())
    compiled = read(export(tmp_path / "a.hlo", own, max_atoms=5, max_neighbors=4))
    for symbols, charge in (("NaCl", 0.0), ("NaClNa", 1.0)):
        atoms = ase.Atoms(symbols, [[0, 0, 0], [2.4, 0.1, 0], [0.2, 2.6, 0.4]][: len(symbols) // 2])
        graph = jaxpot.from_atoms(atoms, 1.0, charge=charge, field=(0.1, 0.0, 0.2))
        agree(evaluate(compiled, graph), evaluate(own, graph))
        assert np.isnan(evaluate(compiled, graph.replace(charge=jnp.array(3.0))).energy)
    with pytest.raises((TypeError, ImportError), match="Electrostatics is not local; write a file NAME.hlo|needs lammps_jax"):
        export(tmp_path / "a.lammps-jax.json", own, max_atoms=5, max_neighbors=4)


@pytest.mark.parametrize(
    ("error", "change", "message"),
    [
        (TypeError, {"potential": CosineCutoff(3.0)}, "expected a potential, got CosineCutoff"),
        (ValueError, {"max_atoms": 0}, "max_atoms must be a positive integer, got 0"),
        (ValueError, {"max_neighbors": 2.5}, "max_neighbors must be a positive integer, got 2.5"),
        (ValueError, {"path": "a.npz"}, "a.npz has no ending of compiled potentials; write a.hlo or a.lammps-jax.json"),
    ],
)
def test_refused(error, change, message, tmp_path):
    given = {"path": "a.hlo", "potential": IsolatedAtoms({"Si": 1.0}), "max_atoms": 2, "max_neighbors": 2} | change
    with pytest.raises(error, match=message):
        export(tmp_path / given.pop("path"), given.pop("potential"), **given)
    assert not list(tmp_path.iterdir())


def test_what_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a compiled potential"):
        read_exported(tmp_path / "a.hlo")
    jaxpot.save(tmp_path / "a.npz", IsolatedAtoms({"Si": 1.0}))
    with pytest.raises(ValueError, match=r"is no compiled potential .*; expected a file NAME.hlo"):
        read_exported(tmp_path / "a.npz")


def test_command_line(tmp_path, capsys):
    jaxpot.save(tmp_path / "a.npz", model())
    ase.io.write(tmp_path / "a.xyz", structures()[0])
    assert main(["export", str(tmp_path / "a.npz"), str(tmp_path / "a.hlo"), "--max-atoms", "8", "--max-neighbors", "30"]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.hlo'}\n"
    for name in ("a.npz", "a.hlo"):
        assert main(["evaluate", str(tmp_path / name), str(tmp_path / "a.xyz"), "--predictions", str(tmp_path / f"{name}.xyz")]) == 0
    found, expected = (ase.io.read(tmp_path / f"{name}.xyz") for name in ("a.hlo", "a.npz"))
    np.testing.assert_allclose(found.arrays["jaxpot_forces"], expected.arrays["jaxpot_forces"], rtol=0, atol=1e-7)
    assert main(["export", str(tmp_path / "a.npz"), str(tmp_path / "a.hlo"), "--max-atoms", "8"]) == 2
    assert "--max-neighbors" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("lammps_jax") is None, reason="needs lammps-jax: pip install 'jaxpot[lammps]'")
def test_bundle_of_lammps_jax(tmp_path):
    """Its program of energy and forces, given atoms with ghosts: forces of ghosts are added to those of the atoms, as LAMMPS does."""
    import base64

    own, atoms = model(), structures()[0]
    bundle = json.loads(export(tmp_path / "a.lammps-jax.json", own, max_atoms=700, max_neighbors=30).read_text())
    assert bundle["contract"]["cutoff"] == 3.2 and bundle["contract"]["unit_style"] == "metal" and bundle["contract"]["newton"] == "on"
    translations = np.array([[0, 0, 0], *(t for t in np.ndindex(3, 3, 3) if t != (0, 0, 0))])
    translations[1:][translations[1:] == 2] = -1
    n, total = len(atoms), len(atoms) * len(translations)
    places = np.concatenate([atoms.positions + t @ atoms.cell.array for t in translations])
    distances = np.linalg.norm(places[:n, None] - places[None], axis=2)
    senders, receivers = np.nonzero((distances < 3.2) & (distances > 0))
    edges = bundle["contract"]["max_edges"]
    types = np.array([own.species.index(s) for s in atoms.symbols], np.int32)
    given = [
        np.pad(places, ((0, 700 - total), (0, 0))), np.pad(np.tile(types, len(translations)), (0, 700 - total)), np.int32(n), np.int32(total - n),
        *(np.pad(x.astype(np.int32), (0, edges - len(x)), constant_values=700) for x in (senders, receivers)), np.arange(edges) < len(senders),
    ]  # fmt: skip
    frame = jax.export.export(jax.jit(lambda *a: (jnp.zeros(()), jnp.zeros((700, 3))), keep_unused=True), platforms=("cpu",))(*given)
    program = base64.b64decode(bundle["programs"]["energy_and_forces_mlir_b64"])
    energy, forces = dataclasses.replace(frame, mlir_module_serialized=program).call(*given)
    expected = evaluate(own, jaxpot.from_atoms(atoms, 3.2))
    np.testing.assert_allclose(energy, expected.energy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.asarray(forces)[:total].reshape(-1, n, 3).sum(axis=0), expected.forces, rtol=0, atol=1e-10)
