"""Trajectory files of three kinds, told by their ending: extended XYZ, ASE's .traj, and H5MD.

Frames are appended one by one, and after each the file is whole. A run that goes on cuts off what was written after its restart state.
"""

import abc
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.checks import optional
from jaxpot.units import FEMTOSECOND

HDF5 = (".h5", ".hdf5", ".h5md")
_SHOWN = {"temperature": "K", "conserved": "eV", "energy": "eV"}  # numbers per frame, and their units


class TrajectoryFile(abc.ABC):
    """A file to which frames are appended.

    Args:
      path: where it is.
    """

    def __init__(self, path: Path):
        self.path = path
        self.file: Any = None  # where it is kept open

    def begin(self) -> None:
        """Nothing in place of what is there."""
        self.path.unlink(missing_ok=True)

    @abc.abstractmethod
    def cut(self, log: Mapping[str, Any]) -> None:
        """Only those frames that a restart state knows of: the first `log["n"]`, or `log["bytes"]` of a text.

        Raises:
          ValueError: if there are fewer.
        """

    @abc.abstractmethod
    def append(self, atoms: Any) -> None:
        """One frame more: `ase.Atoms` with energy and forces, and step, time, temperature and conserved in `info`."""

    def close(self) -> None:
        """Nothing more is written."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def too_short(self) -> ValueError:
        return ValueError(f"{self.path} is shorter than when its restart state was written, so it cannot go on; write --overwrite in place of --restart")


class ExtendedXYZ(TrajectoryFile):
    """Text, cut by its length."""

    def cut(self, log: Mapping[str, Any]) -> None:
        if not self.path.exists() or self.path.stat().st_size < log["bytes"]:
            raise self.too_short()
        os.truncate(self.path, log["bytes"])

    def append(self, atoms: Any) -> None:
        import ase.io

        ase.io.write(self.path, atoms, format="extxyz", append=True)


class AseTrajectory(TrajectoryFile):
    """ASE's own format; a frame that was not written to its end is not in its index."""

    def cut(self, log: Mapping[str, Any]) -> None:
        from ase.io.trajectory import Trajectory

        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with Trajectory(self.path) as old, Trajectory(partial, "w") as new:
                if len(old) < log["n"]:
                    raise IndexError
                for i in range(log["n"]):
                    new.write(old[i])
        except (OSError, IndexError):
            raise self.too_short() from None
        os.replace(partial, self.path)

    def append(self, atoms: Any) -> None:
        from ase.io.trajectory import Trajectory

        with Trajectory(self.path, "a") as trajectory:
            trajectory.write(atoms)


class H5MD(TrajectoryFile):
    """HDF5 in the layout of H5MD 1.1, written so that a kill leaves a file that can be read ("single writer, multiple readers").

    Positions (Å), velocities (Å/fs), forces (eV/Å) and the cell are in /particles/all, energies (eV) and temperatures (K) in /observables;
    times are in fs. Elements are atomic numbers.
    """

    def cut(self, log: Mapping[str, Any]) -> None:
        h5py = _h5py()
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with h5py.File(self.path, "r", libver="latest", swmr=True) as old, h5py.File(partial, "w", libver="latest") as new:
                if len(old["particles/all/step"]) < log["n"]:
                    raise OSError
                particles = old["particles/all"]
                _laid_out(new, particles["species"][:], particles["mass"][:], particles["box"].attrs["boundary"])
                for before, growing in zip(_growing(old), _growing(new), strict=True):
                    growing.resize(log["n"], axis=0)
                    for frame in range(log["n"]):
                        growing[frame] = before[frame]
        except (OSError, KeyError):
            raise self.too_short() from None
        os.replace(partial, self.path)

    def append(self, atoms: Any) -> None:
        h5py, new = _h5py(), not self.path.exists()
        if self.file is None:
            self.file = h5py.File(self.path, "w" if new else "r+", libver="latest")
            if new:
                _laid_out(self.file, atoms.numbers, atoms.get_masses(), ["periodic" if periodic else "none" for periodic in atoms.pbc])
            self.file.swmr_mode = True
        found, time = atoms.calc.results, float(atoms.info["time"])
        values = {
            "position": atoms.positions, "velocity": FEMTOSECOND * atoms.get_velocities(), "force": found["forces"], "edges": atoms.cell.array,
            "step": int(atoms.info["step"]), "time": time, "energy": found["energy"], **{n: atoms.info[n] for n in ("temperature", "conserved")},
        }  # fmt: skip
        # of a frame the step comes last: a frame without one is not counted, and is cut off
        for growing in _growing(self.file):
            growing.resize(len(growing) + 1, axis=0)
            growing[-1] = values[_name(growing)]
            growing.flush()


def trajectory_file(path: Path) -> TrajectoryFile:
    """What writes a trajectory of this name.

    Raises:
      ImportError: for HDF5 without h5py.
    """
    ending = path.suffix.lower()
    if ending in HDF5:
        _h5py()
        return H5MD(path)
    return AseTrajectory(path) if ending == ".traj" else ExtendedXYZ(path)


def is_trajectory(path: Path) -> bool:
    """Whether a file of this name holds frames, by its ending."""
    return path.suffix.lower() in (".xyz", ".extxyz", ".traj", *HDF5)


def frames_of(path: Path) -> list[Any]:
    """All frames of a trajectory as `ase.Atoms`, with momenta, and step, time and temperature in `info`, where it has them.

    Raises:
      ValueError: for a file without frames.
    """
    if path.suffix.lower() in HDF5:
        found = _h5md_frames(path)
    else:
        import ase.io

        found = list(ase.io.iread(path, ":"))
    if not found:
        raise ValueError(f"{path} has no frames")
    return found


def _h5md_frames(path: Path) -> list[Any]:
    from ase import Atoms

    with _h5py().File(path, "r", libver="latest", swmr=True) as file:
        particles = file["particles/all"]
        data = {_name(growing): growing[:] for growing in _growing(file)}
        numbers, masses = particles["species"][:], particles["mass"][:]
        pbc = [str(boundary) == "periodic" for boundary in particles["box"].attrs["boundary"]]
    found = []
    for i in range(len(data["step"])):
        atoms = Atoms(numbers, data["position"][i], cell=data["edges"][i], pbc=pbc, masses=masses)
        atoms.set_momenta(masses[:, None] * data["velocity"][i] / FEMTOSECOND)
        atoms.info.update({name: data[name][i] for name in ("step", "time", "temperature", "conserved")})
        found.append(atoms)
    return found


def numbers_of_frames(path: Path) -> dict[str, np.ndarray]:
    """Step, time, temperature, energy and conserved of every frame [F] of a trajectory.

    Raises:
      KeyError: with the name of what a frame lacks.
    """
    if path.suffix.lower() in HDF5:
        with _h5py().File(path, "r", libver="latest", swmr=True) as file:
            data = {_name(growing): growing[:] for growing in _growing(file) if growing.ndim == 1}
        return {name: values[: len(data["step"])] for name, values in data.items()}
    import ase.io

    frames = list(ase.io.iread(path, ":"))
    return {name: np.array([_number(atoms, name) for atoms in frames]) for name in ("step", "time", *_SHOWN)}


def _number(atoms: Any, name: str) -> float:
    return atoms.get_potential_energy() if name == "energy" and atoms.calc is not None else atoms.info[name]


def _h5py() -> Any:
    return optional("h5py", "a trajectory in HDF5", "hdf5")


def _laid_out(file: Any, numbers: np.ndarray, masses: np.ndarray, boundary: Any) -> None:
    """Groups and empty datasets of H5MD; all share one list of steps and one of times."""
    n = len(numbers)
    about = file.create_group("h5md")
    about.attrs["version"] = np.array([1, 1])
    about.create_group("author").attrs["name"] = "unknown"
    creator = about.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "jaxpot", importlib.metadata.version("jaxpot")
    about.create_group("modules/units").attrs["version"] = np.array([1, 0])
    particles, observables = file.create_group("particles/all"), file.create_group("observables")

    def growing(group, name, shape, dtype, unit=None):
        data = group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1 if shape else 256, *shape))
        if unit is not None:
            data.attrs["unit"] = unit
        return data

    time, step = growing(particles, "time", (), "f8", "fs"), growing(particles, "step", (), "i8")
    box = particles.create_group("box")
    box.attrs["dimension"], box.attrs["boundary"] = 3, list(boundary)
    elements = {(particles, name): ((n, 3), unit) for name, unit in (("position", "Angstrom"), ("velocity", "Angstrom fs-1"), ("force", "eV Angstrom-1"))}
    elements |= {(box, "edges"): ((3, 3), "Angstrom")} | {(observables, name): ((), unit) for name, unit in _SHOWN.items()}
    for (group, name), (shape, unit) in elements.items():
        own = group.create_group(name)
        growing(own, "value", shape, "f8", unit)
        own["step"], own["time"] = step, time
    particles["species"], particles["mass"] = np.asarray(numbers), np.asarray(masses, float)
    particles["mass"].attrs["unit"] = "u"


def _growing(file: Any) -> list[Any]:
    """The datasets of which every frame has an entry, those of steps last."""
    particles, observables = file["particles/all"], file["observables"]
    values = [particles[f"{name}/value"] for name in ("position", "velocity", "force", "box/edges")]
    return [*values, *(observables[f"{name}/value"] for name in _SHOWN), particles["time"], particles["step"]]


def _name(data: Any) -> str:
    """Of what a dataset holds."""
    parts = data.name.split("/")
    return parts[-2] if parts[-1] == "value" else parts[-1]
