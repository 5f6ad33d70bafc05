"""What somebody does first with an installed jaxpot: a fit by the command line, molecular dynamics, a calculator, a gradient."""

import platform
import subprocess
import sys

import ase.io
import jax
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
frames = []
for seed in range(12):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    frames.append(atoms)
ase.io.write("train.xyz", frames, format="extxyz")
ase.io.write("start.xyz", frames[0] * (2, 2, 2), format="extxyz")
for command in (
    "init train.xyz --test train.xyz --output cu.toml", "fit cu.toml --output cu", "evaluate cu/model.npz train.xyz", "info cu/model.npz",
    "md cu/model.npz start.xyz --steps 20 --output run.xyz", "convert cu/model.npz copy.npz",
):  # fmt: skip
    found = subprocess.run(["jaxpot", *command.split()], capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"jaxpot {command}: {found.stdout[-2000:]}{found.stderr[-2000:]}")
model = jp.load("cu/model.npz")
error = jp.fit.report(model, frames)["all"]["forces"]["rmse"]
atoms = frames[0].copy()
atoms.calc = jp.Calculator(model)
graph = jp.from_atoms(frames[0], float(model.reach))
forces = -jax.grad(lambda r: jp.evaluate(model, graph.replace(positions=r)).energy)(graph.positions)
np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9)
assert error < 0.1, error
print(f"Python {platform.python_version()}, jax {jax.__version__}, jaxpot {jp.__version__}: {error:.4f} eV/Å")
