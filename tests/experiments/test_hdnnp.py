"""experiments/hdnnp in little: a few epochs on a few structures, killed in the middle."""

import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest

from jaxpot.fit import descent

HERE = Path(__file__).resolve().parents[2] / "experiments" / "hdnnp"


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("hdnnp_run", HERE / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_ends_alike_after_a_kill(run, tmp_path, monkeypatch):
    frames = [a for a in run.datasets.load("silicon_pbe") if a.info["config_type"] == "rattled_crystal"][:8]
    config = tomllib.loads((HERE / "config.toml").read_text())
    config["functions"] |= {"cutoff": 4.0, "shifted": 2, "centered": 1, "angular": 1, "wide": [1.0], "narrow": [1.0]}
    config["network"]["hidden"], config["data"]["held_out"] = [4], 0.25
    config["training"] |= {"batch": 2, "epochs": 6, "every": 1}
    model, history = run.train(config, frames, 0, tmp_path / "whole.npz")
    assert len(history["loss"]) == 6 and history["loss"][-1] < history["loss"][0]

    store, calls = descent.Descent.store, []

    def killed(self):
        store(self)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(descent.Descent, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        run.train(config, frames, 0, tmp_path / "state.npz")
    monkeypatch.setattr(descent.Descent, "store", store)
    again, resumed = run.train(config, frames, 0, tmp_path / "state.npz")
    assert resumed == history and again == model
    assert np.isfinite(history["validation_forces_rmse"]).all()


def test_changes_of_settings(run):
    config = {"training": {"epochs": 3, "batch": 8}, "network": {"hidden": [8]}}
    assert run.with_changes(config, ["training.epochs=5", "network.hidden=[4, 4]"]) == {"training": {"epochs": 5, "batch": 8}, "network": {"hidden": [4, 4]}}
    with pytest.raises(SystemExit, match=r"no setting training\.epoch; there are .*'training\.epochs'"):
        run.with_changes(config, ["training.epoch=5"])
