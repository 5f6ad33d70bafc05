"""What float32 costs: every published potential in float64 and, cast, in float32, on a small structure of its elements.

    JAXPOT_DATA=… python experiments/precision/published.py          # of potentials and data/potentials there; ten minutes
    JAXPOT_DATA=… python experiments/precision/published.py gap snap # those with such a name
"""

import argparse
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.data
import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

import jaxpot as jp

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from experiments.published_files.run import readers

ENERGY, FORCE = 1e-3, 1e-3  # that may be lost, in eV per atom and eV/Å
MOLECULES = {("H", "O"): "H2O", ("C", "H", "N"): "CH3CN", ("C", "H", "O"): "CH3CH2OH"}


def potentials(root: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The name of every potential file of `potentials` and `data/potentials`, each content once, and how it is read."""
    index = json.loads((root / "data" / "potentials" / "index.json").read_text(encoding="utf-8"))
    elements = {Path(entry["file"]).name: tuple(entry["elements"].split()) for entry in index}
    seen = set()
    for folder in ("potentials", "data/potentials"):
        for path, read in readers(root / folder):
            if (content := hashlib.sha256(path.read_bytes()).digest()) not in seen:
                seen.add(content)
                named = path.suffix == ".mtp" and path.name in elements  # whose files name no elements
                yield str(path.relative_to(root)), (lambda path=path: jp.io.read_mtp(path, elements[path.name])) if named else read


def structure(species: tuple[str, ...]) -> Atoms:
    """A rattled crystal, or molecule, of a model's elements."""
    if len(species) == 1:
        atoms = bulk(species[0], cubic=True)
    elif tuple(sorted(species)) in MOLECULES:
        atoms = molecule(MOLECULES[tuple(sorted(species))])
    else:  # those of a lattice in turn
        distance = 2 * max(ase.data.covalent_radii[ase.data.atomic_numbers[s]] for s in species)
        atoms = bulk("Cu", "fcc", a=np.sqrt(2) * distance, cubic=True)
        atoms.symbols = [species[i % len(species)] for i in range(len(atoms))]
    atoms.rattle(0.05, seed=1)
    return atoms


def lost(model: jp.Potential, single: jp.Potential, evaluate: Callable = jp.evaluate) -> tuple[float, float]:
    """The errors of a model that was cast to float32: of its energy, in eV per atom, and the largest of a component of a force, in eV/Å."""
    graph = jp.from_atoms(structure(model.species), float(model.reach))
    right, found = evaluate(model, graph), evaluate(single, jp.cast(graph, "float32"))
    assert found.energy.dtype == found.forces.dtype == np.float32
    return abs(float(found.energy) - float(right.energy)) / len(graph.numbers), float(np.max(np.abs(np.asarray(found.forces, float) - right.forces)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[""], help="of names")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")  # keywords without effect
    root = os.environ.get("JAXPOT_DATA")
    if not root:
        parser.error("write export JAXPOT_DATA=/path/to/folder")
    print("| potential | meV/atom | eV/Å |\n|---|---|---|")
    for name, read in potentials(Path(root)):
        if not any(part in name for part in args.parts):
            continue
        try:
            model = read()
        except (ValueError, FileNotFoundError):
            continue
        try:
            energy, force = lost(model, jp.cast(model, "float32"), jax.jit(jp.evaluate))
            print(f"| {name} | {1e3 * energy:.1g} | {force:.1g} |", flush=True)
        except TypeError as error:
            print(f"| {name} | {' '.join(str(error).split())[:60]} | |", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
