"""Data on disk give what data in memory give; what was killed goes on; what is wrong is said and nothing is lost."""

import json
import subprocess
import sys

import ase.build
import ase.io
import jax
import numpy as np
import pytest

import jaxpot as jp
from jaxpot import streamed


def linear():
    density = jp.Density(("Si",), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(4, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 3))), jp.Linear())


@pytest.fixture(autouse=True)
def _short_pieces(monkeypatch):
    monkeypatch.setattr(streamed, "_PIECE", 4)


def frames(n=11):
    out = []
    for i in range(n):
        atoms = ase.build.bulk("Si", a=5.3 + 0.02 * i, cubic=i % 3 > 0)
        atoms = atoms.repeat((2, 1, 1)) if i % 4 == 0 else atoms
        atoms.rattle(0.05, seed=i)
        rng = np.random.default_rng(i)
        atoms.info |= {"energy": rng.normal(), "config_type": "ab"[i % 2]}
        if i % 5:
            atoms.arrays["forces"] = rng.normal(size=(len(atoms), 3))
        if i == 7:  # the only one with a virial
            atoms.info["virial"] = np.diag([1.0, 2.0, 3.0])
        out.append(atoms)
    return out


NOISE = jp.noise_levels(energy=0.01, forces=0.1, virial=0.1)
KEYS = {"energy": "energy_of", "forces": "force_of", "virial": "virial_of"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.xyz"
    for atoms in frames():
        for name, key in KEYS.items():  # names that ASE's reader leaves where they are
            if name in atoms.info:
                atoms.info[key] = atoms.info.pop(name)
            if name in atoms.arrays:
                atoms.arrays[key] = atoms.arrays.pop(name)
        ase.io.write(path, atoms, append=True)
    return path


def prepared(file, folder, **more):
    return jp.Dataset.from_files(file, 4.0, folder=folder, **({"sigma": NOISE, "keys": KEYS, "batch_size": 3, "progress": False} | more))


def same(one, other):
    assert (one.index, one.config_types, one.n_atoms) == (other.index, other.config_types, other.n_atoms)
    for x, y in zip(one.batches, other.batches, strict=True):
        for a, b in zip(jax.tree_util.tree_leaves(x), jax.tree_util.tree_leaves(y), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
            assert np.asarray(a).dtype == np.asarray(b).dtype


def in_memory(file):
    return jp.Dataset.from_atoms(ase.io.read(file, ":"), 4.0, sigma=NOISE, keys=KEYS, batch_size=3)


def test_batches_are_those_of_frames_in_memory(file, tmp_path):
    data = prepared(file, tmp_path / "data")
    same(data, in_memory(file))
    assert isinstance(data.batches[0].graphs.positions, np.memmap)
    assert str(data) == str(in_memory(file))


def test_fits_are_those_of_frames_in_memory(file, tmp_path):
    fitted, expected = (jp.fit.linear(linear(), data, progress=False).head.coefficients for data in (prepared(file, tmp_path / "data"), in_memory(file)))
    np.testing.assert_array_equal(np.asarray(fitted), np.asarray(expected))


def test_several_files_and_ase_databases(file, tmp_path):
    from ase.db import connect

    with connect(tmp_path / "all.db") as db:
        for atoms in frames():
            atoms.calc = None
            db.write(ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
    pool = jp.Dataset.from_files([file, tmp_path / "all.db"], 4.0, folder=tmp_path / "both", progress=False)
    assert len(pool) == 22 and pool.n_atoms[:11] == pool.n_atoms[11:]


def test_what_was_killed_goes_on(file, tmp_path, monkeypatch):
    done = []

    def killed(task, real=streamed._prepared):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return real(task)

    monkeypatch.setattr(streamed, "_prepared", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared(file, tmp_path / "data")
    monkeypatch.setattr(streamed, "_prepared", lambda task, real=streamed._prepared.__defaults__[0]: done.append(task) or real(task))
    same(prepared(file, tmp_path / "data"), in_memory(file))
    assert len(done) == 3  # three pieces, of which none was read twice
    same(prepared(file, tmp_path / "data"), in_memory(file))
    assert len(done) == 3  # and what is finished is not read again
    prepared(file, tmp_path / "data", sigma=jp.noise_levels(energy=0.02))
    assert len(done) == 6  # other noise levels are other data


PROGRAM = """
import sys
import jaxpot as jp
from jaxpot.streamed import _mark
from pathlib import Path
print(_mark([Path(sys.argv[1])], 4.0, jp.noise_levels(energy=0.01, config_types={"a": (0.1, 0.2, None)}), {"energy": "e"}, 64))
"""


def test_another_process_knows_the_same_data(file):
    one, other = (subprocess.run([sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert one == other and len(one) > 60


def test_workers_read_the_same(file, tmp_path):
    same(prepared(file, tmp_path / "data", workers=1), in_memory(file))


def test_bad_input(file, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nothing.xyz: no such file of structures"):
        prepared(tmp_path / "nothing.xyz", tmp_path / "data")
    with pytest.raises(ValueError, match="no files; expected at least one path"):
        prepared([], tmp_path / "data")
    with pytest.raises(ValueError, match="workers must be a whole number of processes"):
        prepared(file, tmp_path / "data", workers=-1)
    with pytest.raises(ValueError, match="holds .*, which is not of prepared data; give the name of a new folder"):
        prepared(file, tmp_path)
    prepared(file, tmp_path / "mixed")
    (tmp_path / "mixed" / "thesis.tex").write_text("my own")
    with pytest.raises(ValueError, match="holds 'thesis.tex', which is not of prepared data"):
        prepared(file, tmp_path / "mixed", batch_size=2)  # other settings must not empty a folder that holds other files
    assert file.exists() and (tmp_path / "mixed" / "thesis.tex").exists()
    (tmp_path / "text.xyz").write_text("not a number\n")
    with pytest.raises(ValueError, match="expected a number of atoms at byte 0"):
        prepared(tmp_path / "text.xyz", tmp_path / "text")
    (tmp_path / "short.xyz").write_text("3\n\nSi 0 0 0\n")
    with pytest.raises(ValueError, match="ends within a structure of 3 atoms"):
        prepared(tmp_path / "short.xyz", tmp_path / "short")
    with pytest.raises(ValueError, match="train.xyz: frame 0: .*charge"):
        prepared(file, tmp_path / "charged", keys={**KEYS, "charge": "q"})
    with pytest.raises(ValueError, match="no structure has a label of dipole"):
        prepared(file, tmp_path / "dipole", sigma=jp.noise_levels(energy=0.01, dipole=0.1))
    monkeypatch.setattr(streamed, "memory", lambda: 1e4)
    with pytest.raises(ValueError, match="write a smaller batch_size than 3"):
        prepared(file, tmp_path / "large")


def test_a_file_that_changes_while_it_is_read(file, tmp_path, monkeypatch):
    def changing(task, real=streamed._prepared):
        with open(file, "a") as text:
            text.write("\n")
        return real(task)

    monkeypatch.setattr(streamed, "_prepared", changing)
    with pytest.raises(ValueError, match="changed while being read; call from_files again"):
        prepared(file, tmp_path / "data")
    monkeypatch.undo()
    monkeypatch.setattr(streamed, "_PIECE", 4)
    same(prepared(file, tmp_path / "data"), in_memory(file))
    assert "mark" in json.loads((tmp_path / "data" / "data.json").read_text())
