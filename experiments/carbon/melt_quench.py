"""Melting and quenching: Langevin dynamics at temperatures that a protocol gives, kept frame by frame."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from tqdm import tqdm

import jaxpot as jp
from jaxpot import md

GRAM_PER_CUBIC_CENTIMETRE = 0.602214076  # amu/Å³


class Trajectory(NamedTuple):
    """Frames at the ends of all blocks so far.

    Args:
      positions: shape [T, N, 3], in Å.
      momenta: shape [T, N, 3], in ASE's unit.
      energies: potential energy, shape [T], in eV.
      temperatures: of the moment, shape [T], in K.
      cell: shape [3, 3], in Å.
      seconds: wall time of all blocks.
    """

    positions: np.ndarray
    momenta: np.ndarray
    energies: np.ndarray
    temperatures: np.ndarray
    cell: np.ndarray
    seconds: float

    def atoms(self, frame: int) -> Atoms:
        return Atoms(f"C{self.positions.shape[1]}", positions=self.positions[frame], cell=self.cell, pbc=True)


def lattice(density: float, repeat: int, displacement: float, seed: int) -> Atoms:
    """A simple cubic lattice of carbon of a density in g/cm³, its atoms displaced at random; it has no bonds that a melt would remember."""
    a = (12.011 / (density * GRAM_PER_CUBIC_CENTIMETRE)) ** (1 / 3)
    atoms = Atoms("C", cell=[a, a, a], pbc=True).repeat(repeat)
    atoms.rattle(displacement, seed=seed)
    return atoms


def schedule(protocol: list[dict], block: float) -> list[tuple[str, float]]:
    """Stage and temperature in K of every block of so many fs; in a stage temperatures lead in equal steps from its first to its last.

    Raises:
      ValueError: for a stage that is no whole number of blocks.

    Example:
      >>> schedule([{"name": "quench", "temperatures": [900.0, 300.0], "picoseconds": 0.15}], 50.0)
      [('quench', 900.0), ('quench', 600.0), ('quench', 300.0)]
    """
    found = []
    for stage in protocol:
        count = stage["picoseconds"] * 1e3 / block
        if round(count) < 1 or abs(count - round(count)) > 1e-6:
            raise ValueError(f"stage {stage['name']!r} lasts {stage['picoseconds']} ps, expected a multiple of a block, {1e-3 * block:g} ps")
        found += [(stage["name"], float(T)) for T in np.linspace(*stage["temperatures"], round(count))]
    return found


def read(path: Path) -> Trajectory:
    with np.load(path) as file:
        return Trajectory(**{name: file[name] for name in Trajectory._fields})


def _store(path: Path, trajectory: Trajectory) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.savez(file, **trajectory._asdict())
    os.replace(partial, path)


def run(model: jp.Potential, start: Atoms, settings: dict, protocol: list[dict], path: Path, *, save_every: int = 10) -> Trajectory:
    """The trajectory of a protocol, which goes on from the last frame that was kept when it was killed.

    Args:
      model: any potential.
      start: a periodic structure.
      settings: `timestep` in fs, `friction` in 1/fs, `interval` in steps, `skin` in Å, `seed`.
      protocol: stages, as of `schedule`.
      path: of the .npz file that holds the trajectory.
      save_every: blocks.
    """
    plan = schedule(protocol, settings["interval"] * settings["timestep"])
    n = len(start)
    nothing = Trajectory(np.zeros((0, n, 3)), np.zeros((0, n, 3)), np.zeros(0), np.zeros(0), start.cell.array, 0.0)
    kept = read(path) if path.exists() else nothing
    done = len(kept.energies)
    if done >= len(plan):
        return kept
    atoms = kept.atoms(-1) if done else start
    ensemble = md.Langevin(plan[done][1], friction=settings["friction"], timestep=settings["timestep"])
    momenta = kept.momenta[-1] if done else None
    system = md.System(jp.from_atoms(atoms, float(model.reach)), ensemble, momenta=momenta, skin=settings["skin"])
    state = system.init(jax.random.fold_in(jax.random.key(settings["seed"]), done), model)
    fresh: list[md.Observation] = []
    began = time.perf_counter()

    def all_frames() -> Trajectory:
        columns = zip(*[(found.positions, found.momenta, found.energy, found.temperature) for found in fresh], strict=True)
        arrays = [np.concatenate([old, np.array(new)]) for old, new in zip(kept[:4], columns, strict=True)]
        return Trajectory(*arrays, start.cell.array, float(kept.seconds) + time.perf_counter() - began)

    for stage, temperature in tqdm(plan[done:], initial=done, total=len(plan), desc=path.stem, unit="block", disable=None):
        now = system.replace(ensemble=ensemble.replace(temperature=temperature))
        state, found = next(md.blocks(now, state, model, steps=settings["interval"], interval=settings["interval"]))
        fresh.append(found)
        if len(fresh) % save_every == 0:
            _store(path, all_frames())
            print(f"{path.stem}: {stage}, block {done + len(fresh)} of {len(plan)}, {found.temperature:.0f} K", flush=True)
    _store(path, all_frames())
    return all_frames()
