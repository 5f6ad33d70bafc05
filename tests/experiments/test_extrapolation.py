"""The extrapolation study on a made-up molecule: what it finds is what was put in, and it goes on where it was killed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from catalog import quick_jit

import jaxpot as jp

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "extrapolation"))

import models
import profiles
import report
import run

ISOLATED = {"H": -13.0, "O": -2040.0}
DATA = {"train": "train", "isolated": "isolated", "held_out": 4, "tests": {"300 K": "test", "600 K": "hot"}, "profiles": {"bend": "path"}}


def water(shift: np.ndarray):
    """Water with harmonic bonds and angle, whose atoms are moved."""
    atoms = molecule("H2O")
    atoms.positions += shift
    bonds, angle = jp.molecules.Bonds(("H", "O"), [[0, 1], [0, 2]], 30.0, 0.97), jp.molecules.Angles(("H", "O"), [[1, 0, 2]], 3.0, 1.82)
    found = _evaluate(bonds + angle, jp.from_atoms(atoms, 1.0, max_neighbors=2))
    energy = float(found.energy) + ISOLATED["O"] + 2 * ISOLATED["H"]
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.asarray(found.forces))
    return atoms


_evaluate = quick_jit(jp.evaluate)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    found = {name: [water(s * rng.normal(size=(3, 3))) for _ in range(n)] for name, n, s in (("train", 16, 0.03), ("test", 6, 0.03), ("hot", 6, 0.06))}
    found["path"] = [water(np.array([[0, 0, 0], [0, 0, 0], [0, x, 0]])) for x in np.linspace(0, 0.2, 5)]
    found["isolated"] = []
    for symbol, energy in ISOLATED.items():
        atoms = molecule(symbol)
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        found["isolated"].append(atoms)
    return found


@pytest.fixture
def sets(frames, monkeypatch):
    monkeypatch.setattr(run.datasets, "load", frames.get)
    return frames


def test_study(sets, tmp_path, monkeypatch, capsys):
    """The better length is chosen on the hottest training frames; a second call computes nothing that is there."""
    settings = {"delta": 10.0, "length": 1.0, "n_permutations": 16, "energy": 1.0, "forces": 1e-3, "candidates": [{"length": 2.0}, {"length": 0.05}]}
    store = report.Store.of(tmp_path, "acac", "sGDML")
    run.study(DATA, "sGDML", settings, store, tmp_path)
    results = store.all()
    assert results["settings"]["length"] == 2.0 and len(results["candidates"]) == 2 and results["dimers"] is None
    assert results["errors"]["300 K"]["forces"] < results["errors"]["600 K"]["forces"] < 0.5
    assert results["profiles"]["bend"]["rmse"] < 0.05 and results["profiles"]["bend"]["minima"] == []
    monkeypatch.setitem(models.FITS, "sGDML", None)
    store.put(errors={"300 K": results["errors"]["300 K"]})
    run.study(DATA, "sGDML", settings, store, tmp_path)
    assert store.all()["errors"] == results["errors"]
    report.show(tmp_path)
    assert "| sGDML |" in capsys.readouterr().out and (tmp_path / "acac-profiles.png").exists()


def test_hottest(sets):
    cool, hot = models.hottest(sets["train"], 4)
    assert len(cool) == 12 and max(a.get_potential_energy() for a in cool) < min(a.get_potential_energy() for a in hot)


def test_pairs_and_labels(sets):
    """The curve of a pair is that of the potential; labels for networks are small and lose nothing."""
    lj = jp.empirical.LennardJones(("H", "O"), 0.1, 1.0, jp.cutoffs.PolynomialCutoff(3.0)) + jp.IsolatedAtoms(ISOLATED)
    curves = profiles.dimers(lj, ISOLATED, 3.0)
    r = profiles.DISTANCES
    assert set(curves) == {"HH", "HO", "OO"} and np.allclose(np.array(curves["HO"])[r > 3], 0, atol=1e-9)
    assert np.argmin(curves["HH"]) == pytest.approx(np.argmin(abs(r - 2 ** (1 / 6))), abs=2)
    less = models._less(sets["train"][0], ISOLATED)
    assert abs(less.get_potential_energy()) < 1 and np.array_equal(less.get_forces(), sets["train"][0].get_forces())


@pytest.mark.parametrize(
    ("found", "minima"),
    [
        ([0.0, 1, 2, 3, 4, 5], []),
        ([0.0, 2, 1, 3, 4, 5], [{"point": 2, "depth": 1.0, "below": 0.0}]),
        ([0.0, 2, 1, 3, -1, 5], [{"point": 2, "depth": 1.0, "below": 0.0}, {"point": 4, "depth": 4.0, "below": 1.0}]),
    ],
)
def test_unphysical_minima(found, minima):
    assert profiles.unphysical(np.array(found), np.arange(6.0)) == minima
    assert profiles.unphysical(np.array(found), np.array(found)) == []


@pytest.mark.slow
def test_novelty(sets):
    """Frames of the training set are not new, those beside are, hot ones more."""
    measure = profiles.Novelty(sets["train"], sets["test"], n_max=2, l_max=1)
    assert np.max(measure(sets["train"])) < 0.05 and np.percentile(measure(sets["test"]), 95) == pytest.approx(1.0)
    assert np.mean(measure(sets["hot"])) > np.mean(measure(sets["test"]))
