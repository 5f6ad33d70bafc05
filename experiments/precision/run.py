"""What float32 does to Gaussian processes: every GAP found and three fitted here, in JAX's default precision, each in the ways that a script may take.

    python experiments/precision/run.py
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from published import structure

import jaxpot as jp
from jaxpot.io.gap import read_gap

SPECIES = {"mlearn_mo_gap_example": ("Mo",)}  # of files that name no element
WAYS = ("evaluate", "jit", "called", "Calculator", "cast", "tabulate", "tabulate, cast", "insist")


def fitted(zeta: float) -> jp.Potential:
    """A SOAP-GAP of copper with labels of EMT."""
    frames = []
    for seed in range(20):
        frames.append(bulk("Cu", cubic=True) * (2, 1, 1))
        frames[-1].rattle(0.15, seed=seed)
        frames[-1].calc = EMT()
        frames[-1].get_forces()
    data = jp.Dataset.from_atoms(frames, cutoff=4.5, sigma=jp.noise_levels(energy=0.001, forces=0.05))
    soap = jp.SOAP(jp.Density(("Cu",), jp.CosineCutoff(4.5, width=1.0), jp.GTO(n_max=6), l_max=4, sigma=0.5))
    points = jp.fit.select_environments(soap, data, 100, key=jax.random.key(0))
    gap = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(zeta), delta=1.0)).with_points(points)
    return jp.freeze(jp.fit.linear(gap + jp.IsolatedAtoms({"Cu": 0.0}), data))


def prepare(folder: Path) -> None:
    """In float64: all models as files, with the energies and forces that are right."""
    jax.config.update("jax_enable_x64", True)
    root = os.environ.get("JAXPOT_DATA")
    paths = sorted(path for folder in ("potentials", "data/potentials") for path in (Path(root) / folder).glob("**/*.xml")) if root else []
    models: dict[str, Callable[[], jp.Potential]] = {}
    for path in paths:
        models[str(path.relative_to(root))] = lambda path=path: read_gap(path, species=SPECIES.get(path.parent.name))
    for zeta in (1.0, 2.0, 4.0):
        models[f"fitted here, zeta {zeta:g}"] = lambda zeta=zeta: fitted(zeta)
    for i, (name, make) in enumerate(models.items()):
        try:
            model = make()
        except (ValueError, FileNotFoundError) as error:
            print(f"{name}: not read: {str(error)[-100:]}")
            continue
        atoms = structure(model.species)
        right = jp.evaluate(model, jp.from_atoms(atoms, float(model.reach)))
        jp.save(folder / f"{i}.npz", model)
        np.savez(folder / f"{i}-right.npz", name=name, energy=right.energy, forces=right.forces)


def outcome(function: Callable[[], tuple[float, np.ndarray]], right: dict) -> str:
    """The errors per atom and of forces, or "refused"."""
    try:
        energy, forces = function()
    except TypeError as error:
        if "made in float64" not in str(error) and "collapsed in float32" not in str(error):
            raise
        return "refused"
    n = len(right["forces"])
    return f"{1e3 * abs(energy - right['energy']) / n:.3g} meV, {np.max(np.abs(forces - right['forces'])):.1e} eV/Å"


def compare(folder: Path) -> None:
    """In 32-bit mode: one row per model."""
    assert not jax.config.jax_enable_x64
    print("| model | " + " | ".join(WAYS) + " |\n" + "|---" * (len(WAYS) + 1) + "|")
    for path in sorted(folder.glob("*-right.npz"), key=lambda p: int(p.stem.partition("-")[0])):
        with np.load(path) as file:
            right = dict(file)
        model = jp.load(folder / (path.stem.partition("-")[0] + ".npz"))
        atoms = structure(model.species)
        graph = jp.from_atoms(atoms, float(model.reach))

        def both(model, graph=graph, evaluate=jp.evaluate):
            found = evaluate(model, graph)
            return float(found.energy), np.asarray(found.forces, float)

        def called(model=model, graph=graph):
            return float(model(graph)), -np.asarray(jax.grad(lambda x: model(graph.replace(positions=x)))(graph.positions), float)

        def calculated(model=model, atoms=atoms):
            atoms.calc = jp.Calculator(model)
            return atoms.get_potential_energy(), atoms.get_forces()

        functions = {
            "evaluate": lambda model=model, both=both: both(model),
            "jit": lambda model=model, both=both: both(model, evaluate=jax.jit(jp.evaluate)),
            "called": called,
            "Calculator": calculated,
            "cast": lambda model=model, both=both: both(jp.cast(model, "float32")),
            "tabulate": lambda model=model, both=both: both(jp.tabulate(model)),
            "tabulate, cast": lambda model=model, both=both: both(jp.cast(jp.tabulate(model), "float32")),
            "insist": lambda model=model, both=both: both(jp.cast(model, "float32", insist=True)),
        }
        print(f"| {right['name']} | " + " | ".join(outcome(functions[way], right) for way in WAYS) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compare:
        return compare(Path(args.compare))
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        subprocess.run([sys.executable, __file__, "--compare", folder], check=True, env={**os.environ, "JAX_ENABLE_X64": "0"})


if __name__ == "__main__":
    main()
