"""A linear ACE fitted to more structures than are meant to be in memory at once.

    python experiments/many_structures/run.py                  # 200 000 structures, made here; goes on where it was killed
    python experiments/many_structures/run.py --structures 5000

Structures are rattled cells of eight atoms of a Lennard-Jones mixture of two elements, whose energies and forces are the labels; how good the fit is, says
little, and how much memory and time it takes is the question. Everything is kept in `results/`.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.empirical import LennardJones  # noqa: E402

HERE = Path(__file__).resolve().parent
SPECIES = ("Ar", "Kr")
CUTOFF = 6.0  # Å
AT_ONCE = 1000
TEST = 1000


def teacher() -> jp.Potential:
    sigma = np.array([[3.4, 3.52], [3.52, 3.65]])
    epsilon = np.array([[0.0104, 0.0120], [0.0120, 0.0140]])
    return LennardJones(SPECIES, epsilon=epsilon, sigma=sigma, cutoff=jp.cutoffs.PolynomialCutoff(CUTOFF, width=2.0))


def structures(seed: int, n: int) -> list[Atoms]:
    rng, cell = np.random.default_rng(seed), bulk("Ar", a=5.4, cubic=True).repeat((1, 1, 2))
    found = []
    for _ in range(n):
        atoms = cell.copy()
        atoms.set_cell(cell.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
        atoms.symbols = rng.choice(SPECIES, len(atoms))
        found.append(atoms)
    return found


def labelled(seed: int, n: int) -> list[Atoms]:
    frames = structures(seed, n)
    graphs = jp.stack([jp.graph.pad(jp.from_atoms(atoms, CUTOFF), max_neighbors=104) for atoms in frames])
    found = _evaluated(teacher(), graphs)
    for atoms, energy, forces in zip(frames, np.asarray(found.energy), np.asarray(found.forces), strict=True):
        atoms.info["energy_of_teacher"] = float(energy)
        atoms.arrays["forces_of_teacher"] = forces
    return frames


_evaluated = jax.jit(jax.vmap(jp.evaluate, (None, 0)))


def made(path: Path, n: int) -> None:
    """The file of structures, by its own name only when it is complete."""
    if path.exists():
        return
    partial = path.with_suffix(".partial")
    with open(partial, "w") as file:
        for seed in range(n // AT_ONCE):
            ase.io.write(file, labelled(seed, AT_ONCE), format="extxyz")
    partial.rename(path)


def model() -> jp.Potential:
    density = jp.Density(SPECIES, jp.cutoffs.PowerCutoff(CUTOFF), jp.radial.Agnesi(6, nearest=3.8), l_max=2, sigma=None, center_weight=0.0)
    return jp.IsolatedAtoms({"Ar": 0.0, "Kr": 0.0}) + jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((5, 4))), jp.Linear(scale=1.0))


def peak() -> float:
    """GiB of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=0, help="processes that read")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    path, told, began = args.folder / f"{args.structures}.xyz", {}, time.monotonic()

    def tell(what: str) -> None:
        told[what] = {"seconds": round(time.monotonic() - began, 1), "peak, GiB": round(peak(), 2)}
        print(f"{what}: {told[what]}", flush=True)

    made(path, args.structures)
    tell("structures made")
    noise, keys = jp.noise_levels(energy=0.001, forces=0.01), {"energy": "energy_of_teacher", "forces": "forces_of_teacher"}
    data = jp.Dataset.from_files(path, CUTOFF, folder=args.folder / f"{args.structures}", sigma=noise, keys=keys, workers=args.workers)
    tell("data prepared")
    fitted = jp.fit.linear(model(), data, method="cholesky", checkpoint=args.folder / f"{args.structures}.npz")
    tell(f"fitted, {fitted.n_coefficients} coefficients")
    test = jp.Dataset.from_atoms(labelled(10**6, TEST), CUTOFF, sigma=noise, keys=keys)
    errors = jp.fit.report(fitted, test)
    print(errors)
    tell("tested")
    (args.folder / f"{args.structures}.json").write_text(json.dumps(told | {"errors": str(errors)}, indent=1) + "\n")
