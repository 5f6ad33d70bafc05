"""How the metals' ACE is chosen and fitted, on a few made-up frames."""

import importlib.util
import sys
from pathlib import Path

import ase.build
import jax
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp

HERE = Path(__file__).resolve().parents[2] / "experiments" / "metals"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def experiment(monkeypatch):
    """run.py and choose.py, which imports it by that name."""
    for name in ("run", "datasets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(HERE)
    run = load("run")
    monkeypatch.setitem(sys.modules, "run", run)
    return run, load("choose")


def made_up() -> list:
    frames = []
    for seed in range(9):
        atoms = ase.build.bulk("Si", cubic=True)
        if seed % 3 == 0:
            del atoms[5]  # of another size
        atoms.rattle(0.2, seed=seed)
        atoms.info["config_type"] = "Surface" if seed % 3 == 0 else "AIMD"
        labels = np.random.default_rng(seed)
        atoms.calc = SinglePointCalculator(atoms, energy=-5 * len(atoms) + labels.normal(), forces=labels.normal(size=(len(atoms), 3)))
        frames.append(atoms)
    return frames


def test_cross_validation_is_that_of_fits(experiment, monkeypatch):
    run, choose = experiment
    frames, terms, order, scale, energy, forces = made_up(), ((5.0, 4, (3, 3)), (4.0, 3, (3, 3, 2))), 3.0, 0.5, 0.01, 0.3
    config = {"cohesive": {"Si": 4.63}, "nearest": {"Si": 2.35}, "ace": {"l_max": 2, "scale": scale}}
    monkeypatch.setattr(run, "frames_of", lambda *_: (frames, None, None))
    element = choose.Element("Si", terms, config)
    assert sorted(np.concatenate(element.folds)) == list(range(9)) and len(element.folds) == 9

    parts = [{"cutoff": cutoff, "power": power, "degrees": degrees} for cutoff, power, degrees in terms]
    unit = np.sqrt(np.mean(np.concatenate([a.get_forces() for a in frames]) ** 2))
    data = jp.Dataset.from_atoms(frames, 5.0, sigma=jp.noise_levels(energy, forces * unit))
    model = run.rough(run.ace("Si", config["ace"] | {"terms": parts}, 2.35, unit), data, order)
    model = model + jp.IsolatedAtoms({"Si": run.isolated_energy("Si", "ace", frames, config)})
    energies, of_forces, sizes = np.zeros(9), np.zeros(9), np.array([len(a) for a in frames])
    evaluate, neighbors = jax.jit(jp.evaluate), max(jp.from_atoms(a, 5.0).neighbors.shape[1] for a in frames)
    for fold in element.folds:
        fitted = jp.fit.linear(model, data.subset([i for i in range(9) if i not in fold]), progress=False)
        for i in fold:
            found = evaluate(fitted, jp.from_atoms(frames[i], 5.0, max_atoms=8, max_neighbors=neighbors))
            energies[i] = 1e3 * abs(found.energy - frames[i].get_potential_energy()) / sizes[i]
            of_forces[i] = np.abs(found.forces[: sizes[i]] - frames[i].get_forces()).mean()
    np.testing.assert_allclose(element.errors(order, scale, energy, forces), [energies.mean(), np.average(of_forces, weights=sizes)], rtol=1e-8)
