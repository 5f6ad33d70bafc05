"""How far the variances of a GAP can be trusted, and what they cost: silicon of Zuo et al. (2020).

    python experiments/uncertainty/run.py
    python experiments/uncertainty/run.py --points 300 --samples 16

A SOAP-GAP is fitted to the training frames. On the published test set the predicted deviations of energies and forces (exact, and from
posterior samples) are compared with the errors: one factor is calibrated on a third of the structures, coverage is measured on the
others, for many random thirds. Needs the published data sets (JAXPOT_DATA).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

CUTOFF = 5.4  # Å, with width 0.5, n 8, l 8, zeta 4: the published GAP of this set
SYMMETRIC = 1e-5  # eV/Å; components of smaller deviation are zero by symmetry, predicted and true, and left out
LEVELS = (0.5, 0.68, 0.9, 0.95)


def fitted(points: int, seed: int):
    train = datasets.load("mlearn/Si_train")
    data = jp.Dataset.from_atoms(train, CUTOFF, sigma=jp.noise_levels(0.003, 0.05))
    soap = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(CUTOFF, width=0.5), jp.EquispacedGaussians(8), 8, sigma=0.5))
    chosen = jp.fit.select_environments(soap, data, points, key=jax.random.key(seed))
    gap = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(4.0), delta=1.0)).with_points(chosen)
    mean = float(np.mean([a.get_potential_energy() / len(a) for a in train]))
    return jp.fit.linear(gap + jp.IsolatedAtoms({"Si": mean}), data, covariance=True)


def seconds(function, *arguments, repeats: int = 5) -> float:
    """Median of warm calls."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reliability(errors: list[np.ndarray], deviations: list[np.ndarray], rng: np.random.Generator, splits: int = 200) -> dict:
    """Mean and spread, over random thirds of the structures, of the coverage of the other two thirds after calibration on the third."""
    factors, shares = [], []
    for _ in range(splits):
        order = rng.permutation(len(errors))
        third, rest = order[: len(order) // 3], order[len(order) // 3 :]
        joined = lambda of, ids: np.concatenate([np.ravel(of[i]) for i in ids])  # noqa: E731
        factors.append(jp.fit.calibration(joined(errors, third), joined(deviations, third)))
        shares.append(list(jp.fit.coverage(joined(errors, rest), factors[-1] * joined(deviations, rest), LEVELS).values()))
    everything = jp.fit.coverage(*(np.concatenate([np.ravel(x) for x in of]) for of in (errors, deviations)), LEVELS)
    return {
        "factor": float(np.mean(factors)),
        "coverage": dict(zip(map(str, LEVELS), np.mean(shares, axis=0).tolist(), strict=True)),
        "spread": dict(zip(map(str, LEVELS), np.std(shares, axis=0).tolist(), strict=True)),
        "uncalibrated": {str(level): share for level, share in everything.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500, help="sparse points")
    parser.add_argument("--samples", type=int, default=16, help="posterior samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    model, test = fitted(arguments.points, arguments.seed), datasets.load("mlearn/Si_test")
    weights = jp.fit.posterior_samples(model, arguments.samples, key=jax.random.key(arguments.seed))
    evaluate, variance, covariance, samples = (jax.jit(f) for f in (jp.evaluate, jp.fit.variance, jp.fit.covariance, jp.fit.evaluate_samples))

    n, k = max(map(len, test)), max(jp.from_atoms(a, CUTOFF).neighbors.shape[1] for a in test)
    found = {name: [] for name in ("energy", "energy_sd", "forces", "forces_sd", "forces_sampled")}
    for atoms in test:
        graph, real = jp.from_atoms(atoms, CUTOFF, max_atoms=n, max_neighbors=k), len(atoms)
        # what symmetry makes zero has the variance zero up to round-off, of either sign
        made, spread = evaluate(model, graph), np.sqrt(np.maximum(np.diag(np.asarray(covariance(model, graph))), 0))
        found["energy"].append((float(made.energy) - atoms.get_potential_energy()) / real)
        found["energy_sd"].append(spread[0] / real)
        spread = spread[1:].reshape(-1, 3)[:real]
        free = spread > SYMMETRIC
        found["forces"].append((np.asarray(made.forces)[:real] - atoms.get_forces())[free])
        found["forces_sd"].append(spread[free])
        found["forces_sampled"].append(np.std(np.asarray(samples(model, weights, graph).forces)[:, :real], axis=0, ddof=1)[free])
    cost = {"atoms": n, "energy, forces, virial": seconds(evaluate, model, graph), "energy variance": seconds(variance, model, graph)}
    cost |= {"energy and force covariance": seconds(covariance, model, graph, repeats=3)}
    cost |= {f"energy and forces of {arguments.samples} samples": seconds(samples, model, weights, graph)}

    rng = np.random.default_rng(arguments.seed)
    exact, sampled = (np.concatenate([x.ravel() for x in found[name]]) for name in ("forces_sd", "forces_sampled"))
    result = {
        "points": arguments.points,
        "energy": reliability([np.array([x]) for x in found["energy"]], [np.array([x]) for x in found["energy_sd"]], rng),
        "forces": reliability(found["forces"], found["forces_sd"], rng),
        "forces, samples": reliability(found["forces"], found["forces_sampled"], rng),
        "samples against exact": {
            "median of the ratio": float(np.median(sampled / exact)),
            "rank correlation": float(np.corrcoef(np.argsort(np.argsort(sampled)), np.argsort(np.argsort(exact)))[0, 1]),
        },
        "seconds": cost,
    }
    (arguments.output / "results.json").write_text(json.dumps(result, indent=1))
    for name in ("energy", "forces", "forces, samples"):
        r = result[name]
        shares = ", ".join(f"{100 * float(level):.0f} %: {100 * r['coverage'][level]:.1f} ± {100 * r['spread'][level]:.1f} %" for level in r["coverage"])
        print(f"{name:<16} factor {r['factor']:.2f}; coverage after calibration {shares} (before, at 90 %: {100 * r['uncalibrated']['0.9']:.1f} %)")
    print(f"samples against exact: {result['samples against exact']}")
    base = cost["energy, forces, virial"]
    for name, value in cost.items():
        if name != "atoms":
            print(f"{name:<36} {1e3 * value:9.1f} ms for {n} atoms ({value / base:.2f} × energy, forces, virial)")
    draw(found, result, arguments.output / "reliability.png")
    print(f"results and figure in {arguments.output}")


def draw(found: dict, result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    error, spread = (np.concatenate([np.abs(x).ravel() for x in found[name]]) for name in ("forces", "forces_sd"))
    axes[0].loglog(result["forces"]["factor"] * spread, error, ",", color="k")
    axes[0].plot([spread.min(), error.max()], [spread.min(), error.max()], "tab:red", lw=0.8)
    axes[0].set(xlabel="calibrated deviation of a force component (eV/Å)", ylabel="error (eV/Å)")
    for name, style in (("energy", "o-"), ("forces", "s-"), ("forces, samples", "^--")):
        axes[1].plot(LEVELS, list(result[name]["coverage"].values()), style, label=name)
    axes[1].plot([0.4, 1], [0.4, 1], "k", lw=0.6)
    axes[1].set(xlabel="nominal level", ylabel="coverage after calibration")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
