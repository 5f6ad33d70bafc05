"""Radial functions that .yace files do not have, written as sums of those that they have: python-ace predicts what the model does."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from catalog import quick_jit

import jaxpot
from jaxpot.io.yace import read_yace, write_yace

HERE = Path(__file__).parent / "pace_written"
sys.path.append(str(HERE))
from make_pace import NAMES, STRUCTURES, model, predictions  # noqa: E402

evaluate = quick_jit(jaxpot.evaluate)


def compare(potential, expected, energy, forces):
    for i, atoms in enumerate(STRUCTURES):
        found = evaluate(potential, jaxpot.from_atoms(atoms, float(potential.reach), max_atoms=4, max_neighbors=40))
        assert np.max(np.abs(found.forces)) > 0.1
        np.testing.assert_allclose(found.energy, expected[f"{i}/energy"], rtol=0, atol=energy, err_msg=i)
        np.testing.assert_allclose(np.asarray(found.forces)[: len(atoms)], expected[f"{i}/forces"], rtol=0, atol=forces, err_msg=i)


@pytest.mark.parametrize("name", NAMES)
def test_what_python_ace_made_of_the_files(name, tmp_path):
    """And what is read of the file written now; the tables of python-ace have a step of 0.001 Å."""
    own = model(name)
    expected = np.load(HERE / f"{name}.npz")
    compare(own, expected, 1e-11, 1e-8)
    path = write_yace(tmp_path / "a.yace", own)
    assert path.read_text().startswith("# ") and "off by" in path.read_text().split("\n")[0]
    compare(read_yace(path), expected, 1e-11, 1e-8)


@pytest.mark.skipif(importlib.util.find_spec("pyace") is None, reason="needs python-ace: pip install --pre python-ace")
@pytest.mark.parametrize("name", NAMES)
def test_python_ace(name, tmp_path):
    own = model(name)
    compare(own, predictions(write_yace(tmp_path / "a.yace", own)), 1e-11, 1e-8)
