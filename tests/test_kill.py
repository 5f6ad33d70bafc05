"""The command line, killed five times at random moments: the command that its message names goes on, and the end is that of a run that lived."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot

LJ = jaxpot.empirical.LennardJones(("Si",), epsilon=0.3, sigma=2.1, cutoff=jaxpot.cutoffs.PolynomialCutoff(3.4, width=1.0))
CONFIG = """
[data]
train = "train.xyz"
batch_size = 8
[noise]
energy = 0.01
forces = 0.1
[[model.terms]]
class = "AtomicPotential"
head = {HEAD}
[model.terms.descriptor]
class = "SOAP"
expansion = {class = "Density", species = ["Si"], cutoff = {class = "CosineCutoff", radius = 3.2}, radial = {class = "GTO", n_max = 4}, l_max = 3, sigma = 0.6}
[[model.terms]]
class = "IsolatedAtoms"
energies_of = "mean"
"""
LINEAR = CONFIG.replace("{HEAD}", '{class = "Linear", scale = 0.5}')
CONFIGS = {
    "fit": LINEAR,
    "levels": LINEAR + '[fit]\nmethod = "levels"\ncovariance = true\n',
    "evidence": LINEAR + '[evidence]\nleaves = ["*.expansion.sigma"]\nnoise = ["energy"]\nsteps = 12\n',
    "train": CONFIG.replace("{HEAD}", '{class = "MLP", hidden = [8]}') + "[train]\nepochs = 400\n",
}
# states are kept at every opportunity, so that short runs have some
PROGRAM = """
import importlib
import sys
importlib.import_module("jaxpot.fit.solver")._SAVE_EVERY = importlib.import_module("jaxpot.md.driver")._SAVE_EVERY = 0.0
from jaxpot.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, frames, evaluate = tmp_path_factory.mktemp("kill"), [], jax.jit(jaxpot.evaluate)
    for seed in range(40):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        found = evaluate(LJ, jaxpot.from_atoms(atoms, 3.4, max_neighbors=20))
        atoms.calc = SinglePointCalculator(atoms, energy=float(found.energy), forces=np.asarray(found.forces))
        frames.append(atoms)
    ase.io.write(path / "train.xyz", frames, format="extxyz")
    ase.io.write(path / "start.xyz", frames[0] * (2, 2, 2), format="extxyz")
    jaxpot.save(path / "lj.npz", LJ)
    for name, text in CONFIGS.items():
        (path / f"{name}.toml").write_text(text)
    return path


def started(folder, command, cache):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command], cwd=folder, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )  # fmt: skip


def finished(folder, command, cache, kills, moments):
    """Runs a command until it ends, killing it at these moments; takes up `--restart` where the message says so."""
    killed = 0
    for _ in range(kills + 10):
        process = started(folder, command, cache)
        try:
            _, error = process.communicate(timeout=moments() if killed < kills else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
            continue
        if process.returncode == 0:
            return killed
        assert process.returncode == 2 and re.search("write --restart to go on", error), error
        command = [*command, "--restart"]
    raise AssertionError("it never ended")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONFIGS, "md"])
def test_five_kills(folder, tmp_path, name):
    rng = np.random.default_rng(len(name))

    def command(output):
        if name == "md":
            return ["md", "lj.npz", "start.xyz", "--ensemble", "langevin", "--steps", "3000", "--interval", "50", "--output", str(tmp_path / f"{output}.xyz")]
        return ["fit", f"{name}.toml", "--output", str(tmp_path / output)]

    assert finished(folder, command("warm"), tmp_path / "cache", 0, None) == 0  # compiles
    began = time.monotonic()
    assert finished(folder, command("whole"), tmp_path / "cache", 0, None) == 0
    seconds = time.monotonic() - began
    killed = finished(folder, command("parts"), tmp_path / "cache", 5, lambda: rng.uniform(0.3, 0.7) * seconds)
    print(f"{name}: killed {killed} times")
    assert killed >= 3  # a run that has been killed late may end before the next moment
    if name == "md":
        whole, parts = (ase.io.read(tmp_path / f"{output}.xyz", ":") for output in ("whole", "parts"))
        assert [a.info["step"] for a in whole] == [a.info["step"] for a in parts]
        np.testing.assert_allclose(parts[-1].positions, whole[-1].positions, atol=1e-5)
        return
    models = [jaxpot.load(tmp_path / output / "model.npz") for output in ("whole", "parts")]
    for a, b in zip(*map(jax.tree_util.tree_leaves, models), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)
    errors = [json.loads((tmp_path / output / "errors.json").read_text())["train"]["all"]["forces"]["rmse"] for output in ("whole", "parts")]
    assert errors[1] == pytest.approx(errors[0], rel=1e-8)
