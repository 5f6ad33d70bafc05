"""The property table of silicon: starts of relaxations, what is fitted to a teacher, and the table of what was found."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, surface

import jaxpot as jp
from jaxpot.empirical import StillingerWeber

HERE = Path(__file__).resolve().parents[2] / "experiments" / "silicon_properties"
A0 = 5.4309497784  # Å, the minimum of Stillinger and Weber
BOND = A0 * np.sqrt(3) / 4
SILICON = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
CONFIG = {
    "fit": {"cohesive": 4.63, "energy": 0.003, "forces": 0.05, "virial": 0.05},
    "ace": {"cutoff": 4.5, "power": 3, "nearest": 2.35, "degrees": [5, 5], "l_max": 2, "order": 4.0, "scale": 2.0},
    "snap": {"cutoff": 4.5, "two_j_max": 3, "scale": 1.0, "quadratic_scale": 1e-3},
    "mtp": {"level": 8, "min_dist": 1.9, "max_dist": 4.5, "scale": 10.0},
    "by_gradients": {"steps": 4, "sigma": {"a0": 0.001, "c11": 1.0, "c12": 1.0, "c44": 1.0, "highest phonon": 0.05}},
    "gap": {"cutoff": 4.5, "width": 0.5, "n_max": 4, "l_max": 3, "sigma": 0.5, "zeta": 4.0, "delta": 1.0, "jitter": 1e-8, "n_sparse": 20, "seed": 0},
}


@pytest.fixture
def load(monkeypatch):
    """A module of the experiment."""
    monkeypatch.syspath_prepend(HERE)
    names = ("choose", "crystal_properties", "figures", "run", "silicon_models")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def coordination(atoms, reach=1.15 * BOND):
    """How many neighbours within 1.15 bonds every atom has."""
    return np.bincount(jp.graph.neighbor_pairs(atoms, reach)[0], minlength=len(atoms))


def test_starts(load):
    properties = load("crystal_properties")
    crystal = properties.diamond(A0).repeat(2)
    vacancy = properties.drawn_in(crystal)
    assert len(vacancy) == 63
    nearest = np.sort((vacancy + crystal[[0]]).get_distances(63, range(63), mic=True))
    assert np.all(nearest[:4] < 0.97 * BOND) and nearest[4] > 1.4 * BOND
    ring = properties.hexagonal(crystal, A0)
    assert coordination(ring)[-1] == 6
    pair = properties.dumbbell(crystal)
    assert len(pair) == 65 and abs(pair.get_distance(0, 64, mic=True) - 2.404) < 0.02
    assert np.sort(pair.get_distances(64, range(64), mic=True))[0] > 2.1


def test_cuts(load):
    """(111) goes through one bond of every atom of its surface; the fault through three of them, and leaves all atoms four neighbours."""
    properties = load("crystal_properties")
    for miller in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
        slab = surface(properties.cut(A0, miller), miller, 3, vacuum=5.0, periodic=True)
        lacking = 4 - coordination(slab)
        area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
        broken = {(1, 0, 0): 4, (1, 1, 0): 2 * np.sqrt(2), (1, 1, 1): 4 / np.sqrt(3)}[miller]  # bonds per a²
        assert np.sum(lacking) == round(2 * broken * area / A0**2) and set(lacking) == ({0, 2} if miller == (1, 0, 0) else {0, 1})
    crystal = properties.glide_cell(A0, 1)
    assert len(crystal) == 12 and set(coordination(crystal)) == {4}
    for sign, neighbours in ((1, {4}), (-1, {2, 4})):
        faulted = crystal.copy()
        faulted.cell[2] += sign * properties.partial_glide(crystal)
        assert set(coordination(faulted)) == neighbours


def test_constants_of_stillinger_and_weber(load):
    """Against those of LAMMPS and ASE by differences."""
    properties = load("crystal_properties")
    a = properties.lattice_constant(jp.Calculator(SILICON))
    assert abs(a - A0) < 1e-5
    found = properties.elasticity(SILICON, A0)
    np.testing.assert_allclose([found[name] for name in ("B", "c11", "c12", "c44")], [101.4229, 151.4245, 76.4221, 56.4493], atol=2e-3)


@pytest.mark.slow
def test_table_of_stillinger_and_weber(load):
    """Surfaces lack bonds, a fault no neighbours, and what the paper has at the same places; the cells are small."""
    properties = load("crystal_properties")
    found = properties.table(SILICON, {"defects": 2, "phonons": 2, "layers": [2, 3, 3], "fault": 1}, lambda *_: None)
    values = found["values"]
    assert found["failed"] == {} and np.shape(found["bands"]) == (150, 6)
    assert abs(values["stacking fault"]) < 1e-6 and abs(values["(100) surface"] - 0.147) < 1e-3 and abs(values["(111) surface"] - 0.0844) < 1e-3
    assert values["vacancy"] <= values["vacancy, nearest minimum"] + 1e-3
    np.testing.assert_allclose(np.max(found["bands"][0]), 17.8327, atol=2e-3)


def rattled(n: int) -> list:
    return [atoms for seed in range(n) for atoms in [bulk("Si", a=A0 * (0.97 + 0.01 * seed), cubic=True)] if atoms.rattle(0.1, seed=seed) is None]


def test_labels_of_a_teacher(load):
    """Its forces, and its stress by ASE's sign and order."""
    frames = rattled(2)
    frames[1].set_cell(frames[1].cell.array @ (np.eye(3) + np.triu(np.full((3, 3), 0.01), 1)), scale_atoms=True)
    for atoms in load("silicon_models").labelled(frames, SILICON):
        own = atoms.copy()
        own.calc = jp.Calculator(SILICON)
        np.testing.assert_allclose(atoms.get_forces(), own.get_forces(), atol=1e-10)
        np.testing.assert_allclose(atoms.get_stress(), own.get_stress(), atol=1e-12)
        assert abs(atoms.get_potential_energy() - own.get_potential_energy()) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("family", ("ACE", "SNAP", "MTP", "GAP"))
def test_fits(load, family):
    models = load("silicon_models")
    frames = models.labelled(rattled(7), SILICON)
    model, fit = models.fitted(family, frames[:6], frames[6:], CONFIG)
    size = float(np.sqrt(np.mean(np.square(frames[6].get_forces()))))
    assert fit["coefficients"] > 5 and fit["errors"]["forces"] < (0.4 if family == "GAP" else 0.2) * size  # which has 20 points
    assert np.isfinite(float(jp.evaluate(model, jp.from_atoms(frames[0], 4.5)).energy))


@pytest.mark.slow
def test_errors_of_frames_left_out(load):
    """Those of fits to the other folds, by `fit.linear`."""
    choose = load("choose")
    frames, noise = load("silicon_models").labelled(rattled(6), SILICON), CONFIG["fit"]
    term = jp.AtomicPotential(jp.descriptors.MTP(("Si",), 6, 1.9, 4.5), jp.Linear())
    validation = choose.CrossValidation(term, frames, -4.0, noise)
    model = term.replace(head=jp.Linear(scale=3.0, roughness=validation.force_scales)) + jp.IsolatedAtoms({"Si": -4.0})
    off = []
    for k in range(choose.FOLDS):
        rest = [atoms for i, atoms in enumerate(frames) if i % choose.FOLDS != k]
        sigma = jp.noise_levels(noise["energy"], noise["forces"], noise["virial"])
        fitted = jp.fit.linear(model, jp.Dataset.from_atoms(rest, 4.5, sigma=sigma))
        found = jp.fit.predict(fitted, jp.Dataset.from_atoms(frames[k :: choose.FOLDS], 4.5, sigma=sigma))
        off += [(f.energy - atoms.get_potential_energy()) / len(atoms) for f, atoms in zip(found, frames[k :: choose.FOLDS], strict=True)]
    np.testing.assert_allclose(validation.errors(3.0 / validation.force_scales)[0], np.sqrt(np.mean(np.square(off))), rtol=1e-6)


@pytest.mark.slow
def test_labels_and_constants_together(load):
    """Constants are met within their uncertainty, and of three frames' labels enough is kept that errors grow by less than two."""
    models = load("silicon_models")
    frames = models.labelled(rattled(4), SILICON)
    constants = {"a0": A0, "c11": 151.4245, "c12": 76.4221, "c44": 56.4493, "highest phonon": 17.8327}
    model, fit = models.by_gradients(frames[:3], frames[3:], constants, CONFIG)
    sigma = np.array(list(CONFIG["by_gradients"]["sigma"].values()))
    before, after = ((np.array(list(fit["constants"][k].values())) - list(constants.values())) / sigma for k in (0, -1))
    assert np.max(np.abs(after)) < 2 < np.max(np.abs(before))
    assert fit["errors"]["forces"] < 2 * fit["errors of labels alone"]["forces"] and model.n_coefficients == len(model.terms[0].head.coefficients)


def test_what_is_left(load, tmp_path):
    """A potential whose file a killed run has left is measured again; models of one family go together."""
    run = load("run")
    (tmp_path / "SW.json").write_text('{"values": {}, "done": true}')
    (tmp_path / "EDIP.json").write_text('{"values": {}}')
    assert [name for name in ("SW", "EDIP", "Tersoff") if run.done(name, tmp_path)] == ["SW"]
    groups = run.groups(list(run.NAMES))
    assert sorted(name for group in groups for name in group) == sorted(run.NAMES) and ["ACE of the teacher", "ACE of DFT"] in groups
    assert run.groups(["SW", "ACE of DFT"]) == [["ACE of DFT"], ["SW"]]


def test_figures(load, tmp_path, monkeypatch):
    """Deviations from the teacher are told, and what was missed; what failed stands below the table."""
    figures = load("figures")
    dft = np.ones((150, 6))
    monkeypatch.setattr(figures, "stored_bands", lambda who: dft)
    of_teacher = {"a0": 5.46, "c11": 150.0, "c12": 60.0, "c44": 70.0, "vacancy": 3.2}
    for name, values in ((figures.TEACHER, of_teacher), ("ACE of the teacher", of_teacher | {"c44": 80.0, "vacancy": 3.0})):
        result = {"name": name, "values": values, "bands": (dft + 0.5).tolist(), "failed": {"stacking fault": "no minimum"}}
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    figures.main(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "ACE of the teacher: c44: +14.3 % (at most 10 %), MISSED" in text and "ACE of the teacher: vacancy: -0.2 eV (at most 0.3 eV)\n" in text
    assert text.count("MISSED") == 1 and "ACE of the teacher: stacking fault: no minimum" in text
    rows = {line.split(" | ")[0].strip("| "): [cell.strip("| ") for cell in line.split(" | ")[1:]] for line in text.splitlines() if line.startswith("| ")}
    assert rows["phonons from DFT"][:2] == ["THz", "0.00"] and rows["phonons from DFT"][-1] == "0.50" and rows["stacking fault"][-1] == "–"
    assert (tmp_path / "silicon.png").exists()
