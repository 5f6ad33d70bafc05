"""Trajectories of every kind: what they hold, going on after a kill, and their plot."""

import os
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from catalog import QUICK_FLAGS

from jaxpot import md
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.units import FEMTOSECOND

h5py = pytest.importorskip("h5py")
LJ = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
ENDINGS = ["xyz", "traj", "h5"]


def run(path, **options):
    return md.run(LJ, bulk("Ar", a=5.3, cubic=True), path, ensemble=md.NVE(80.0, 2.0), interval=2, progress=False, **options)


def shown(path):
    """Positions, velocities (Å/fs), forces, cells, energies and steps of all frames."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            of = file["particles/all"]
            assert np.array_equal(of["species"], [18] * 4) and of["position/value"].attrs["unit"] == "Angstrom"
            assert of["position/step"].shape == file["observables/temperature/step"].shape == of["step"].shape
            parts = [of[f"{name}/value"][:] for name in ("position", "velocity", "force", "box/edges")]
            return [*parts, file["observables/energy/value"][:], of["step"][:]]
    frames = ase.io.read(path, ":")
    get = lambda f: np.array([f(atoms) for atoms in frames])  # noqa: E731
    return [
        get(lambda a: a.positions), FEMTOSECOND * get(lambda a: a.get_velocities()), get(lambda a: a.get_forces()), get(lambda a: a.cell.array),
        get(lambda a: a.get_potential_energy()), get(lambda a: a.info["step"]),
    ]  # fmt: skip


def test_all_kinds_hold_the_same_and_go_on(tmp_path):
    found = {}
    for ending in ENDINGS:
        whole, parts = tmp_path / f"whole.{ending}", tmp_path / f"parts.{ending}"
        run(whole, steps=8)
        run(parts, steps=4)
        run(parts, steps=8, restart=True)
        found[ending] = shown(whole)
        for one, other in zip(found[ending], shown(parts), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)
        thermo = md.read_thermo(whole)
        assert thermo["step"].tolist() == [0, 2, 4, 6, 8] and np.allclose(thermo["time"], 2.0 * thermo["step"])
        assert np.allclose(thermo["energy"], found[ending][4]) and np.ptp(thermo["conserved"]) < 1e-4
        axes = md.plot_thermo(whole).axes
        assert [axis.get_ylabel() for axis in axes] == ["temperature (K)", "potential energy (eV)", "conserved − start (meV)"]
        with pytest.raises(FileExistsError):
            run(whole, steps=8)
        whole.unlink()
        with pytest.raises(ValueError, match="is shorter than when its restart state was written"):
            run(whole, steps=10, restart=True)
        run(whole, steps=2, overwrite=True)
        assert shown(whole)[5].tolist() == [0, 2]
    for ending in ENDINGS[1:]:
        for one, other in zip(found["xyz"], found[ending], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_kill_loses_nothing(tmp_path, ending):
    """A process that ends at once, between frames that its restart state does not know of."""
    path = tmp_path / f"t.{ending}"
    code = f"""
import os, sys; sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
import jax; jax.config.update("jax_enable_x64", True)
import test_trajectory_files as t
from jaxpot.md import driver
from pathlib import Path
whole, seen = driver._write, []
def write(*arguments):
    whole(*arguments); seen.append(1)
    if len(seen) == 4: os._exit(9)
driver._write = write
t.run(Path({str(path)!r}), steps=10)
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"XLA_FLAGS": QUICK_FLAGS}, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    run(path, steps=10, restart=True)
    run(tmp_path / f"whole.{ending}", steps=10)
    for one, other in zip(shown(path), shown(tmp_path / f"whole.{ending}"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert md.read_thermo(path)["step"].tolist() == [0, 2, 4, 6, 8, 10]
