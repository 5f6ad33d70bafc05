"""Binaries of Mo, Nb, Ta and W that a fit never had: every pair of elements left out in turn, with elements coupled a priori and not.

    JAXPOT_DATA=... python experiments/alloy/left_out.py                       # all pairs; what is there already is not fitted again
    JAXPOT_DATA=... python experiments/alloy/left_out.py --pairs MoW --channels 0.1 --centres 0.3

Only training files are read. A fit is `jaxpot init` and `jaxpot fit` on every eighth frame that does not hold both elements of the pair; its errors are
those of the frames that hold both. `--channels` and `--centres` are how large, a priori, what tells elements apart is over what they have in common, as
neighbours and as centres; `--one-hot` gives every element a channel, and coefficients, of its own.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import tomli_w
from ase.io import read, write

import jaxpot as jp
from jaxpot.descriptors import element_channels

HERE = Path(__file__).resolve().parent
SPECIES = ("Mo", "Nb", "Ta", "W")
FILES = ("binaries_solid_solution.extxyz.xz", "elements_aimd.extxyz.xz", "elements_elastic_surface.extxyz")
FORMS = {"coupled": (0.3, 0.3), "one-hot": None}
STRIDE = 8


def frames() -> list:
    """Every eighth frame of the training files."""
    if "JAXPOT_DATA" not in os.environ:
        raise SystemExit("the frames are read through JAXPOT_DATA; write JAXPOT_DATA=/path/to/shared before the command")
    folder = Path(os.environ["JAXPOT_DATA"]) / "data" / "MoNbTaW"
    return [atoms for name in FILES for atoms in read(folder / name, ":")][::STRIDE]


def configured(path: Path, form: tuple[float, float] | None) -> None:
    """The configuration with channels and coefficients of this form in the place of `init`'s."""
    config = tomllib.loads(path.read_text())
    for term in config["model"]["terms"]:
        if "descriptor" not in term:
            continue
        density = term["descriptor"]["expansion"]
        n = len(density["channels"][0])
        density["channels"] = np.eye(len(SPECIES)).tolist() if form is None else element_channels(SPECIES, n, form[0]).tolist()
        term["head"].pop("difference", None)
        if form is not None:
            term["head"]["difference"] = form[1]
    path.write_text(tomli_w.dumps(config))


def fitted(folder: Path, pair: tuple[str, str], form: tuple[float, float] | None) -> dict:
    """Errors of the frames with both elements of a fit without them."""
    folder.mkdir(parents=True, exist_ok=True)
    every = frames()
    held = [set(pair) <= set(atoms.get_chemical_symbols()) for atoms in every]
    write(folder / "train.xyz", [atoms for atoms, out in zip(every, held, strict=True) if not out])
    write(folder / "left_out.xyz", [atoms for atoms, out in zip(every, held, strict=True) if out])
    jaxpot = [sys.executable, "-m", "jaxpot"]
    subprocess.run([*jaxpot, "init", folder / "train.xyz", "--output", folder / "config.toml", "--overwrite"], check=True)
    configured(folder / "config.toml", form)
    began = time.monotonic()
    subprocess.run([*jaxpot, "fit", folder / "config.toml", "--output", folder / "model"], check=True)
    out = read(folder / "left_out.xyz", ":")
    model = jp.load(folder / "model" / "model.npz")
    calculator = jp.Calculator(model)
    energy, forces = [], []
    for atoms in out:
        own = atoms.copy()
        own.calc = calculator
        energy.append((own.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        forces.append(np.ravel(own.get_forces() - atoms.get_forces()))
    energy, forces = np.array(energy), np.concatenate(forces)
    return {
        "fitted": len(every) - len(out), "left out": len(out), "coefficients": int(model.n_coefficients), "seconds": time.monotonic() - began,
        "energy, eV/atom": float(np.mean(np.abs(energy))), "mean of energy errors": float(np.mean(energy)), "forces, eV/Å": float(np.mean(np.abs(forces))),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="*", default=["".join(pair) for pair in itertools.combinations(SPECIES, 2)], help="such as MoW")
    parser.add_argument("--channels", type=float, default=FORMS["coupled"][0])
    parser.add_argument("--centres", type=float, default=FORMS["coupled"][1])
    parser.add_argument("--one-hot", action="store_true")
    args = parser.parse_args()
    form = None if args.one_hot else (args.channels, args.centres)
    name = "one-hot" if form is None else f"{args.channels:g}-{args.centres:g}"
    stored = HERE / "results" / "left_out.json"
    for pair in itertools.combinations(SPECIES, 2):
        label = "".join(pair)
        found = json.loads(stored.read_text()) if stored.exists() else {}
        if label not in args.pairs or label in found.get(name, {}):
            continue
        own = fitted(stored.parent / f"{label}-{name}", pair, form)
        found.setdefault(name, {})[label] = own
        stored.write_text(json.dumps(found, indent=1) + "\n")
    found = json.loads(stored.read_text())
    print(f"{'left out':10} {'form':>10} {'meV/atom':>9} {'of it mean':>10} {'eV/Å':>7}")
    for form_name, rows in found.items():
        for label, own in rows.items():
            print(f"{label:10} {form_name:>10} {1e3 * own['energy, eV/atom']:9.1f} {1e3 * own['mean of energy errors']:10.1f} {own['forces, eV/Å']:7.3f}")
        if len(rows) > 1:
            both = [np.mean([own[key] for own in rows.values()]) for key in ("energy, eV/atom", "forces, eV/Å")]
            print(f"{'mean':10} {form_name:>10} {1e3 * both[0]:9.1f} {'':>10} {both[1]:7.3f}")
