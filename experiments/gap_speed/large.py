"""Peak memory and time of a large fit: 100 000 environments, 5000 sparse points, energies and forces.

    python experiments/gap_speed/large.py

The silicon training set of Zuo et al. (2020) is repeated until there are enough environments, with forces shaken so that no two
structures are the same data. Needs the published data sets (JAXPOT_DATA).
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

CUTOFF = 5.0  # Å


def repeated(frames, environments: int, rng: np.random.Generator):
    """Copies until there are so many atoms; labels differ by a hundredth of the noise."""
    found, atoms = [], 0
    while atoms < environments:
        for a in frames:
            b = a.copy()
            forces = a.get_forces() + 5e-4 * rng.normal(size=(len(a), 3))
            b.calc = SinglePointCalculator(b, energy=a.get_potential_energy(), forces=forces)
            found.append(b)
            atoms += len(b)
            if atoms >= environments:
                break
    return found


def gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=5000, help="sparse points")
    parser.add_argument("--n-max", type=int, default=6)
    parser.add_argument("--l-max", type=int, default=4)
    parser.add_argument("--method", choices=("qr", "cholesky"), default="qr")
    arguments = parser.parse_args()
    frames = datasets.load("mlearn/Si_train")
    mean = float(np.mean([a.get_potential_energy() / len(a) for a in frames]))
    noise = jp.noise_levels(0.003, 0.05)
    density = jp.Density(("Si",), jp.CosineCutoff(CUTOFF, width=1.0), jp.radial.EquispacedGaussians(arguments.n_max), arguments.l_max, sigma=0.5)
    soap = jp.SOAP(density)
    points = jp.fit.select_environments(soap, jp.Dataset.from_atoms(frames, CUTOFF, sigma=noise), arguments.points, key=jax.random.key(0))
    many = repeated(frames, arguments.environments, np.random.default_rng(0))
    data = jp.Dataset.from_atoms(many, CUTOFF, sigma=noise)
    print(f"{len(many)} structures, {sum(map(len, many))} environments, {arguments.points} sparse points; {gib():.2f} GiB so far", flush=True)
    model = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(4.0), jitter=1e-8)).with_points(points) + jp.IsolatedAtoms({"Si": mean})
    start = time.perf_counter()
    fitted = jp.fit.linear(model, data, method=arguments.method, progress=True)
    seconds = time.perf_counter() - start
    print(f"fit by {arguments.method}: {seconds:.0f} s, peak memory {gib():.2f} GiB", flush=True)
    some = jp.fit.report(fitted, jp.Dataset.from_atoms(datasets.load("mlearn/Si_test"), CUTOFF, sigma=noise))["all"]
    print(f"test MAE {1e3 * some['energy']['mae']:.2f} meV/atom, {some['forces']['mae']:.4f} eV/Å")


if __name__ == "__main__":
    main()
