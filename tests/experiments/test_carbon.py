"""Amorphous carbon: rings of crystals, protocols that go on after a kill, cross-validation that is that of fits, and the core of the potential."""

import importlib
import sys
import tomllib
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp

HERE = Path(__file__).resolve().parents[2] / "experiments" / "carbon"
NAMES = ("carbon_models", "choose", "datasets", "figures", "glass", "melt_quench", "rings")
DIAMOND = ase.build.bulk("C", "diamond", a=3.567)


@pytest.fixture
def load(monkeypatch):
    """A module of the experiment."""
    monkeypatch.syspath_prepend(HERE.parent)
    monkeypatch.syspath_prepend(HERE)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def graphene() -> Atoms:
    sheet = ase.build.graphene(a=2.46, vacuum=5.0)
    sheet.pbc = True
    return sheet


def lonsdaleite() -> Atoms:
    a = 3.567 / np.sqrt(2)
    places = [(1 / 3, 2 / 3, 0.0625), (2 / 3, 1 / 3, 0.5625), (1 / 3, 2 / 3, 0.4375), (2 / 3, 1 / 3, 0.9375)]
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, a * np.sqrt(8 / 3)]]
    return Atoms("C4", cell=cell, pbc=True, scaled_positions=places)


def regular(size: int) -> Atoms:
    """A polygon with sides of 1.4 Å."""
    angles = 2 * np.pi * np.arange(size) / size
    radius = 0.7 / np.sin(np.pi / size)
    return Atoms(f"C{size}", positions=np.stack([radius * np.cos(angles), radius * np.sin(angles), 0 * angles], axis=1))


@pytest.mark.parametrize(
    ("atoms", "length", "expected"),
    [
        pytest.param(DIAMOND, 1.85, {6: 2}, id="diamond"),
        pytest.param(DIAMOND.repeat((2, 1, 3)), 1.85, {6: 2}, id="diamond-repeated"),
        pytest.param(lonsdaleite(), 1.85, {6: 2}, id="lonsdaleite"),
        pytest.param(graphene(), 1.85, {6: 1 / 2}, id="graphene"),
        # squares, and the hexagons around a diagonal of each cube, of which there are four
        pytest.param(Atoms("C", cell=[1.5] * 3, pbc=True), 1.6, {4: 3, 6: 4}, id="simple-cubic"),
        pytest.param(Atoms("C", cell=[1.4, 9, 9], pbc=True), 1.6, {}, id="chain-across-the-cell"),
        pytest.param(regular(5), 1.6, {5: 1 / 5}, id="pentagon"),
        pytest.param(regular(7), 1.6, {7: 1 / 7}, id="heptagon"),
        pytest.param(regular(9), 1.6, {}, id="larger-than-looked-for"),
    ],
)
def test_rings(load, atoms, length, expected):
    counts = load("rings").ring_counts(atoms, length, 8)
    np.testing.assert_allclose(counts, [expected.get(size, 0) for size in range(9)], atol=1e-12)


def test_rings_of_a_ladder(load):
    """Two squares with a common side: the six atoms around both are no ring, since the side is a shorter way."""
    ladder = Atoms("C6", positions=[(x, y, 0) for x in (0, 1.4, 2.8) for y in (0, 1.4)])
    np.testing.assert_allclose(load("rings").ring_counts(ladder, 1.6, 8) * 6, [0, 0, 0, 0, 2, 0, 0, 0, 0], atol=1e-12)


def test_protocol(load):
    melt_quench = load("melt_quench")
    config = tomllib.loads((HERE / "config.toml").read_text())
    plan = melt_quench.schedule(config["protocol"], config["dynamics"]["interval"] * config["dynamics"]["timestep"])
    temperatures = [T for stage, T in plan if stage == "quench"]
    assert temperatures[0] == 5000 and temperatures[-1] == 300 and np.allclose(np.diff(temperatures, 2), 0)
    with pytest.raises(ValueError, match="expected a multiple of a block"):
        melt_quench.schedule([{"name": "melt", "temperatures": [300.0, 300.0], "picoseconds": 0.11}], 25.0)
    start = melt_quench.lattice(3.515, 4, 0.0, 0)
    per_volume = len(start) / start.get_volume()
    assert abs(per_volume - 8 / 3.567**3) < 2e-4  # diamond's
    assert len(set(np.round(np.sort(start.get_all_distances(mic=True))[:, 1], 9))) == 1


@pytest.mark.slow
def test_goes_on(load, tmp_path):
    """What was kept stays, the rest is made; what has ended is only read."""
    melt_quench = load("melt_quench")
    soft = jp.empirical.LennardJones(("C",), epsilon=0.01, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(3.0, width=1.0))
    settings = {"timestep": 1.0, "friction": 0.1, "interval": 5, "skin": 0.3, "seed": 0}
    stages = [
        {"name": "melt", "temperatures": [900.0, 900.0], "picoseconds": 0.01},
        {"name": "quench", "temperatures": [900.0, 100.0], "picoseconds": 0.02},
    ]
    start, path = melt_quench.lattice(2.0, 3, 0.05, 0), tmp_path / "soft.npz"
    first = melt_quench.run(soft, start, settings, stages[:1], path)
    whole = melt_quench.run(soft, start, settings, stages, path, save_every=3)
    assert len(first.energies) == 2 and whole.positions.shape == (6, 27, 3) and np.all(np.isfinite(whole.momenta))
    np.testing.assert_array_equal(whole.positions[:2], first.positions)
    moved = np.linalg.norm((whole.positions[2] - whole.positions[1] + start.cell[0, 0] / 2) % start.cell[0, 0] - start.cell[0, 0] / 2, axis=1)
    assert 0 < np.max(moved) < 0.3  # it went on from the last frame
    again = melt_quench.run(soft, start, settings, stages, path)
    np.testing.assert_array_equal(again.positions, whole.positions)


CONFIG = {
    "energies": {"cohesive": 7.37},
    "noise": {"energy": 0.01, "forces": 0.3, "virial": 0.1},
    "core": {"radius": 1.0, "width": 0.3, "inner": 1.2, "outer": 1.6},
    "dispersion": {"c6": 13.6, "radius": 3.5, "accuracy": 1e-8},
    "ACE": {"cutoff": 3.5, "power": 3, "nearest": 1.45, "degrees": [4, 4], "l_max": 2, "order": 3.0, "scale": 2.0},
}


def made_up() -> list[Atoms]:
    frames = []
    for seed in range(8):
        atoms = DIAMOND.copy()
        atoms.rattle(0.1, seed=seed)
        atoms.info["group"] = seed // 2
        labels = np.random.default_rng(seed)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-9 * len(atoms) + labels.normal(), forces=labels.normal(size=(len(atoms), 3)), stress=0.1 * labels.normal(size=6)
        )
        frames.append(atoms)
    return frames


@pytest.mark.slow
def test_cross_validation_is_that_of_fits(load):
    models, choose, frames = load("carbon_models"), load("choose"), made_up()
    validation = choose.CrossValidation(frames, CONFIG)
    assert all(len(set(validation.fold[i : i + 2])) == 1 for i in range(0, 8, 2)) and len(set(validation.fold)) == 4
    expected = []
    data = models.dataset(frames, CONFIG["ACE"], CONFIG["noise"])
    prior = models.even(CONFIG["ACE"], data)
    for fold in range(4):
        rest, out = (np.flatnonzero(same).tolist() for same in (validation.fold != fold, validation.fold == fold))
        fit = jp.fit.linear(prior + models.isolated("ACE", frames, CONFIG), data.subset(rest))
        errors = jp.fit.report(fit, data.subset(out))["all"]
        expected.append([errors[name]["rmse"] ** 2 for name in ("energy", "forces")])
    found = validation.errors(CONFIG["ACE"]["order"], CONFIG["ACE"]["scale"], CONFIG["noise"])
    np.testing.assert_allclose(found, np.sqrt(np.mean(expected, axis=0)), rtol=1e-6)


@pytest.mark.slow
def test_core_and_dispersion(load):
    """Where atoms are as far apart as in the data the potential is the fit to the last digit; nearer it is ZBL; far away dispersion is −C6/r⁶."""
    models, frames = load("carbon_models"), made_up()
    data = models.dataset(frames, CONFIG["ACE"], CONFIG["noise"])
    fit = jp.fit.linear(models.ace(CONFIG["ACE"]) + models.isolated("ACE", frames, CONFIG), data)
    joined = models.with_core(fit, CONFIG["core"])
    energy = lambda model, atoms: float(jp.evaluate(model, jp.from_atoms(atoms, 6.0)).energy)  # noqa: E731
    assert energy(joined, frames[0]) == pytest.approx(energy(fit, frames[0]), abs=1e-12)
    pair = Atoms("C2", positions=[[0, 0, 0], [0.6, 0, 0]])
    core = jp.empirical.ZBL(("C",), inner=1.2, outer=1.6)
    assert energy(joined, pair) == pytest.approx(energy(core, pair) + 2 * float(fit.terms[1].values[0]), abs=1e-9)
    cell = Atoms("C2", positions=[[0, 0, 0], [9, 0, 0]], cell=[40, 40, 40], pbc=True)
    term = models.dispersion(CONFIG["dispersion"], cell)
    found = float(jp.evaluate(term, jp.from_atoms(cell, float(term.reach))).energy)
    apart = Atoms("C2", positions=[[0, 0, 0], [20, 0, 0]], cell=[40, 40, 40], pbc=True)
    far = float(jp.evaluate(term, jp.from_atoms(apart, float(term.reach))).energy)
    images = lambda x: sum(1 / abs(x + 40 * n) ** 6 for n in (-1, 0, 1))  # noqa: E731
    expected = -13.6 * (1 / (9**6 + 3.5**6) - 1 / 9**6 + images(9) - images(20))
    assert found - far == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
def test_glass_of_a_crystal(load):
    """Diamond is all fourfold, its g has the first shell at the bond, and S its first peak at (111) and nothing between it and (220)."""
    glass, melt_quench = load("glass"), load("melt_quench")
    crystal = ase.build.bulk("C", "diamond", a=3.567, cubic=True) * 2
    trajectory = melt_quench.Trajectory(crystal.positions[None], np.zeros((1, 64, 3)), np.array([-576.0]), np.array([0.0]), crystal.cell.array, 1.0)
    found = glass.described(trajectory, ["anneal"], {"bond": 1.85, "largest_ring": 8, "last": 0.5})
    end = found["anneal"]
    assert end["coordination"][4] == 1 and end["sp3 of frames"] == [1.0] and end["energy"] == -9 and "liquid" not in found
    assert end["rings"][6] == 2 and found["density"] == pytest.approx(3.515, abs=2e-3)
    assert found["shortest distance"] == pytest.approx(3.567 * np.sqrt(3) / 4)
    near = glass.RADII < 2
    assert abs(glass.RADII[near][np.argmax(np.array(end["g"])[near])] - 3.567 * np.sqrt(3) / 4) < 0.02
    S, q = np.array(end["S"]), 2 * np.pi / 3.567
    assert abs(glass.WAVES[glass.WAVES < 4][np.argmax(S[glass.WAVES < 4])] - np.sqrt(3) * q) < 0.1
    assert S[np.argmin(np.abs(glass.WAVES - 2 * q))] < 0.1  # (200) is forbidden


def test_tables(load):
    figures = load("figures")
    error = {"energy": {"mae": 0.01, "rmse": 0.02}, "forces": {"mae": 0.1, "rmse": 0.2}}
    text = figures.errors_table({"ACE": {"errors": {"all": error, "liquid": error}}})
    assert text.splitlines()[2] == "| all | 10.0 / 20.0 | 0.100 / 0.200 |" and len(text.splitlines()) == 4
    end = {"coordination": [0, 0, 0.125, 0.5, 0.375, 0, 0], "rings": [0] * 9, "energy": -8.1, "temperature": 300.0}
    whole = {"density": 2.0, "atoms": 64, "blocks": 160, "shortest distance": 1.2, "seconds": 10.0}
    lines = figures.melts_table({"ACE-2": whole | {"anneal": end}, "ACE-3": whole}).splitlines()
    assert (
        "| 12.5 | 50.0 | 37.5 |" in lines[2] and "not ended, 160 blocks" in lines[3] and lines[2].count("|") == lines[3].count("|") == lines[0].count("|")
    )
