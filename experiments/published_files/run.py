"""Every potential file below a folder: read, or refused and why.

    python experiments/published_files/run.py [FOLDER ...]       # without, potentials, data and cases of JAXPOT_DATA
"""

import argparse
import lzma
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

import jaxpot as jp
from jaxpot.io import lammps
from jaxpot.io.gap import read_gap
from jaxpot.io.mliap import read_mliap
from jaxpot.io.mtp import read_mtp
from jaxpot.io.n2p2 import read_n2p2
from jaxpot.io.sgdml import read_sgdml
from jaxpot.io.snap import read_snap
from jaxpot.io.yace import read_yace
from jaxpot.longrange import Direct
from jaxpot.units import BOHR, HARTREE

SPECIES_OF_GAP = {"mlearn_mo_gap_example": ("Mo",)}  # files that name no element
SUFFIXES = {
    ".xml": lambda path: read_gap(path, species=SPECIES_OF_GAP.get(path.parent.name)),
    ".yace": read_yace,
    ".yaml": read_yace,
    ".ace": read_yace,
    ".sw": lammps.read_stillinger_weber,
    ".tersoff": lammps.read_tersoff,
    ".vashishta": lammps.read_vashishta,
    ".edip": lammps.read_edip,
    ".eam": lammps.read_eam,
    ".alloy": lammps.read_eam,
    ".fs": lammps.read_eam,
    ".he": lammps.read_eam,
    ".mod": lammps.read_modified_tersoff,
    ".modc": lammps.read_modified_tersoff,
    ".zbl": lammps.read_tersoff_zbl,
}


def moment_tensors(path: Path) -> jp.Potential:
    """With as many elements as the file has types; which they are stands in no file."""
    count = re.search(r"species_count\s*=\s*(\d+)", path.read_text(encoding="latin-1"))
    return read_mtp(path, ("Si", "C", "O", "H", "N", "Mo", "Ta", "W")[: int(count[1]) if count else 1])


def coupled_by(path: Path) -> jp.Potential:
    """FitSNAP's coefficients, with the couplings beside them."""
    return read_yace(path.with_suffix(".yace"), coefficients=path)


def networks(path: Path, prefix: str = "") -> jp.Potential:
    """A folder of n2p2, also one of several whose files have the same prefix."""
    with tempfile.TemporaryDirectory() as folder:
        for file in path.parent.glob(f"{prefix}*"):
            shutil.copy(file, Path(folder) / file.name.removeprefix(prefix).replace("weights.data", "weights.042.data"))
        return read_n2p2(folder, length_unit=BOHR, energy_unit=HARTREE, sum=Direct())  # of charges, where there are any


def beside(path: Path, suffix: str) -> Path:
    """The file of the other kind that belongs to it: of the same name, or the first that begins like it."""
    same = path.with_suffix(suffix)
    return same if same.exists() else next(iter(sorted(path.parent.glob(f"{path.name.split('.')[0].split('_Ta-W')[0]}*{suffix}"))), same)


def readers(root: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Every potential file and how it is read; files that belong to another one are not named again."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, suffix = path.name, path.suffix
        if suffix == ".xz" and ".eam" in name:
            yield path, lambda path=path: unpacked(path)
        elif suffix in SUFFIXES and not name.startswith(("README", "MANIFEST")):
            yield path, lambda path=path, suffix=suffix: SUFFIXES[suffix](path)
        elif suffix in (".mtp", ".almtp"):
            yield path, lambda path=path: moment_tensors(path)
        elif suffix == ".acecoeff":
            yield path, lambda path=path: coupled_by(path)
        elif suffix == ".snapcoeff":
            yield path, lambda path=path: read_snap(path, beside(path, ".snapparam"))
        elif name.endswith("mliap.model"):
            yield path, lambda path=path: read_mliap(path, beside(path, ".descriptor"))
        elif name.endswith("input.nn"):
            yield path, lambda path=path, prefix=name.removesuffix("input.nn"): networks(path, prefix)
        elif suffix == ".npz" and "sgdml" in str(path):
            yield path, lambda path=path: read_sgdml(path, energy_unit=None)


def unpacked(path: Path) -> jp.Potential:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.stem
        file.write_bytes(lzma.decompress(path.read_bytes()))
        return lammps.read_eam(file)


def outcome(read: Callable[[], object]) -> tuple[bool, str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = read()
        except (ValueError, FileNotFoundError) as error:
            return False, " ".join(str(error).split())[-160:]
    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(model)]
    finite = all(np.all(np.isfinite(leaf)) for leaf in leaves)
    notes = "".join(f"; {w.message}"[-120:] for w in said if "RuNNer" in str(w.message))
    return finite, f"{' '.join(model.species)}: {sum(leaf.size for leaf in leaves)} numbers{'' if finite else ', NOT FINITE'}{notes}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    root = os.environ.get("JAXPOT_DATA")
    if not args.folders and not root:
        parser.error("name a folder, or set JAXPOT_DATA")
    folders = args.folders or [Path(root) / name for name in ("potentials", "data", "cases")]
    counts = {True: 0, False: 0}
    print("| file | read | what |\n|---|---|---|")
    for folder in folders:
        for path, read in readers(folder):
            ok, text = outcome(read)
            counts[ok] += 1
            print(f"| {path.relative_to(folder.parent)} | {'yes' if ok else 'no'} | {text} |", flush=True)
    print(f"\n{counts[True]} read, {counts[False]} refused")


if __name__ == "__main__":
    main()
