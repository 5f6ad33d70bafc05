"""`jaxpot plot`: a figure of what files hold, a model, the history of a training, fits of several sizes, or a trajectory."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot import fit, observables
from jaxpot.md.files import frames_of, is_trajectory
from jaxpot.potentials.base import Model, Potential

_SEGMENTS = 8  # of a spectrum: half-overlapping ones of a quarter of the trajectory are seven


def plot(args: argparse.Namespace, model_of: Callable[[str], Model]) -> int:
    """Runs `jaxpot plot`; `model_of` reads a model file."""
    files = [Path(name) for name in args.file]
    results = all(path.is_dir() or path.suffix == ".json" for path in files)
    if len(files) > 1 and not results:
        raise ValueError(f"plot takes one model or trajectory, or the results of several fits (folders, or errors.json), got {' '.join(args.file)}")
    moving = not results and is_trajectory(files[0])
    for name in ("dipoles", "segment", "interval"):
        if getattr(args, name) is not None and not moving:
            raise ValueError(f"--{name} belongs to the spectrum of a trajectory, and {files[0]} is none (.xyz, .extxyz, .traj, .h5)")
    if moving:
        figure = _spectrum(files[0], None if args.dipoles is None else model_of(args.dipoles), args.segment, args.interval)
    elif results:
        figure = _of_results(files)
    else:
        model = model_of(args.file[0])
        if not isinstance(model, Potential):
            raise ValueError(f"{files[0]} holds a {type(model).__name__}; expected a potential, of which energies of pairs are drawn")
        figure = observables.plot_pairs(model)
    figure.savefig(args.output, dpi=150)
    print(f"wrote {args.output}")
    return 0


def _of_results(files: Sequence[Path]) -> Any:
    """The history of one training, or errors over the sizes of fits."""
    found = {path: json.loads(path.read_text()) for file in files for path in _reports(file)}
    if len(found) == 1 and "step" in (only := next(iter(found.values()))):
        return fit.plot_history(only)
    sizes = []
    for path, errors in found.items():
        if not {"train", "test"} <= set(errors):
            there = f"has {', '.join(errors) or 'nothing'}"
            raise ValueError(f"{path} {there}; a learning curve needs errors.json of fits with test structures, `test` in section [data]")
        if "energy" not in errors["train"].get("all", {}):
            raise ValueError(f"{path} has no energies of training, by which structures are counted; write jaxpot.fit.plot_learning_curve(sizes, reports)")
        sizes.append(errors["train"]["all"]["energy"]["n"])
    return fit.plot_learning_curve(sizes, [errors["test"] for errors in found.values()])


def _reports(file: Path) -> list[Path]:
    """A JSON file itself; of a folder its errors.json, or those of the folders in it."""
    if not file.is_dir():
        return [file]
    found = [file / "errors.json"] if (file / "errors.json").exists() else sorted(file.glob("*/errors.json"))
    if not found:
        raise FileNotFoundError(f"no errors.json in {file} or the folders in it; `jaxpot fit` writes one where a fit is finished")
    return found


def _spectrum(path: Path, dipoles: Model | None, segment: int | None, interval: float | None) -> Any:
    """The vibrational density of states of a trajectory, or with a model of dipoles its infrared absorption."""
    frames = frames_of(path)
    if any(len(atoms) != len(frames[0]) or np.any(atoms.numbers != frames[0].numbers) for atoms in frames):
        raise ValueError(f"{path} has structures of different atoms; expected the frames of one trajectory")
    interval = _interval(path, frames) if interval is None else interval
    if not interval > 0:
        raise ValueError(f"--interval must be a number of fs > 0, got {interval}")
    segment = max(4, 2 * len(frames) // _SEGMENTS) if segment is None else segment
    if dipoles is None:
        if not all(atoms.has("momenta") for atoms in frames):
            raise ValueError(f"{path} has no momenta, of which the vibrational density of states is made; trajectories of `jaxpot md` have them")
        masses = frames[0].get_masses()
        velocities = observables.velocities_of(np.stack([atoms.get_momenta() for atoms in frames]), masses)
        found = observables.vibrational_density(velocities, masses, interval, segment=segment)
        return observables.plot_spectrum(found, "vibrational density of states (1/THz)")
    cell, volume = frames[0].cell.array, frames[0].get_volume() if frames[0].cell.rank == 3 else 0.0
    if not volume or any(np.any(atoms.cell.array != cell) for atoms in frames):
        raise ValueError(f"{path}: infrared absorption is that of a fixed volume; expected frames that have the same cell")
    if not all("temperature" in atoms.info for atoms in frames):
        raise ValueError(f"{path} has frames without `temperature`, by which infrared absorption is divided; trajectories of `jaxpot md` have it")
    if frames[0].pbc.all():
        for atoms, positions in zip(frames, observables.unwrapped(np.stack([atoms.positions for atoms in frames]), cell), strict=True):
            atoms.positions = np.asarray(positions)
    predicted = [found.dipole for found in fit.predict(dipoles, frames)]
    if any(dipole is None for dipole in predicted):
        raise ValueError(f"--dipoles: {type(dipoles).__name__} predicts no dipole; expected a model of dipoles, or a potential with charges")
    kelvin = float(np.mean([atoms.info["temperature"] for atoms in frames]))
    found = observables.infrared(np.stack(predicted), interval, temperature=kelvin, volume=volume, segment=segment)
    return observables.plot_spectrum(found, "refractive index × infrared absorption (1/cm)")


def _interval(path: Path, frames: list) -> float:
    """The time between two frames, in fs."""
    if not all("time" in atoms.info for atoms in frames):
        raise ValueError(f"{path} does not say the time of its frames; write --interval FS, the time between two of them")
    steps = np.diff([float(atoms.info["time"]) for atoms in frames])
    if not len(steps) or np.ptp(steps) > 1e-6 * np.max(np.abs(steps)):
        span = "one frame" if not len(steps) else f"frames {np.min(steps):g} to {np.max(steps):g} fs apart"
        raise ValueError(f"{path} has {span}; a spectrum needs many at equal times, steps that --interval of `jaxpot md` divides")
    return float(steps[0])
