"""How far the variances of a GAP can be trusted, and what they cost: silicon of Zuo et al. (2020).

    python experiments/uncertainty/run.py
    python experiments/uncertainty/run.py --settings published
    python experiments/uncertainty/run.py --points 300 --samples 16

A SOAP-GAP is fitted to the training frames. On the published test set the predicted deviations of forces (exact, and from posterior
samples) are compared with the errors: one factor is calibrated on a third of the structures, coverage is measured on the others, for many
random thirds. Energies, one for each structure, come from a cross-validation: fits without a fifth of the training frames, sparse points
chosen anew, predict that fifth. The factor is calibrated on a third of these energies; coverage is measured on the other two thirds, and on
the test set, which calibrates nothing. Finished parts are kept in the output folder, so a run that was stopped goes on. Needs the published
data sets (JAXPOT_DATA).
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
from tqdm import tqdm  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

SETTINGS = {  # all with n 8, l 8; lengths in Å, delta in eV, noise in eV per √atom and eV/Å
    # what the gradient of the evidence of training frames found (experiments/hyperparameters, earlier run), with zeta rounded as there
    "evidence": {"cutoff": 5.42, "width": 2.47, "scale": 3.2, "sigma": 0.59, "zeta": 2.0, "delta": 15.0, "energy": 0.056, "forces": 0.1},
    # the published GAP of this set, whose densities are not scaled, with a lower noise level of energies
    "published": {"cutoff": 5.4, "width": 0.5, "scale": None, "sigma": 0.5, "zeta": 4.0, "delta": 1.0, "energy": 0.003, "forces": 0.05},
}
SYMMETRIC = 1e-5  # eV/Å; components of smaller deviation are zero by symmetry, predicted and true, and left out
LEVELS = (0.5, 0.68, 0.9, 0.95)


def fitted(train: list, arguments: argparse.Namespace):
    own = SETTINGS[arguments.settings]
    data = jp.Dataset.from_atoms(train, own["cutoff"], sigma=jp.noise_levels(own["energy"], own["forces"]))
    cutoff = jp.CosineCutoff(own["cutoff"], width=own["width"])
    if own["scale"]:
        cutoff = jp.cutoffs.Willatt(cutoff, rate=1.0, scale=own["scale"], exponent=4.0)
    soap = jp.SOAP(jp.Density(("Si",), cutoff, jp.radial.EquispacedGaussians(8), 8, sigma=own["sigma"]))
    chosen = jp.fit.select_environments(soap, data, arguments.points, key=jax.random.key(arguments.seed))
    gap = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(own["zeta"]), delta=own["delta"])).with_points(chosen)
    mean = float(np.mean([a.get_potential_energy() / len(a) for a in train]))
    return jp.fit.posterior(gap + jp.IsolatedAtoms({"Si": mean}), data)


def graphs(model, frames: list) -> list:
    """All of one shape, so that nothing is compiled twice."""
    cutoff = float(model.reach)
    n_neighbors = max(jp.from_atoms(a, cutoff).neighbors.shape[1] for a in frames)
    return [jp.from_atoms(a, cutoff, max_atoms=max(map(len, frames)), max_neighbors=n_neighbors) for a in frames]


def energies(posterior, frames: list) -> tuple[np.ndarray, np.ndarray]:
    """Errors of energies and their predicted deviations, in eV/atom."""
    both = jax.jit(lambda posterior, graph: (posterior.model(graph), posterior.variance(graph)))
    errors, deviations = [], []
    for atoms, graph in zip(frames, graphs(posterior.model, frames), strict=True):
        energy, variance = both(posterior, graph)
        errors.append((float(energy) - atoms.get_potential_energy()) / len(atoms))
        deviations.append(float(variance) ** 0.5 / len(atoms))
    return np.array(errors), np.array(deviations)


def held_out(train: list, arguments: argparse.Namespace, output: Path) -> tuple[np.ndarray, np.ndarray]:
    """Errors and deviations of the energies of all training frames, each by a fit that knows nothing of its fold."""
    folds = arguments.folds
    fold = np.random.default_rng(arguments.seed).permutation(len(train)) % folds
    errors, deviations = np.zeros(len(train)), np.zeros(len(train))
    for k in tqdm(range(folds), desc="cross-validation"):
        file = output / f"fold-{k}-of-{folds}-{arguments.points}-{arguments.seed}.npz"
        if not file.exists():
            posterior = fitted([a for a, own in zip(train, fold, strict=True) if own != k], arguments)
            np.savez(file, *energies(posterior, [a for a, own in zip(train, fold, strict=True) if own == k]))
            jax.clear_caches()
        with np.load(file) as kept:
            errors[fold == k], deviations[fold == k] = kept["arr_0"], kept["arr_1"]
    return errors, deviations


def seconds(function, *arguments, repeats: int = 5) -> float:
    """Median of warm calls."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reliability(errors: list[np.ndarray], deviations: list[np.ndarray], rng: np.random.Generator, test=None, splits: int = 1000) -> dict:
    """After calibration on a random third of the structures, coverage of the other two thirds, or of a test set: mean and spread over thirds."""
    factors, shares = [], []
    for _ in range(splits):
        order = rng.permutation(len(errors))
        third, rest = order[: len(order) // 3], order[len(order) // 3 :]
        joined = lambda of, ids: np.concatenate([np.ravel(of[i]) for i in ids])  # noqa: E731
        factors.append(jp.fit.calibration(joined(errors, third), joined(deviations, third)))
        left = (joined(errors, rest), joined(deviations, rest)) if test is None else test
        shares.append(list(jp.fit.coverage(left[0], factors[-1] * left[1], LEVELS).values()))
    everything = (np.concatenate([np.ravel(x) for x in of]) for of in (errors, deviations)) if test is None else test
    return {
        "factor": float(np.mean(factors)),
        "spread of the factor": float(np.std(factors)),
        "coverage": dict(zip(map(str, LEVELS), np.mean(shares, axis=0).tolist(), strict=True)),
        "spread": dict(zip(map(str, LEVELS), np.std(shares, axis=0).tolist(), strict=True)),
        "uncalibrated": {str(level): share for level, share in jp.fit.coverage(*everything, LEVELS).items()},
    }


def by_group(errors: np.ndarray, deviations: np.ndarray, groups: np.ndarray) -> dict:
    """What one factor for all does to every kind of structure, and the factor that each would have."""
    factor, found = jp.fit.calibration(errors, deviations), {}
    for group in sorted(set(groups)):
        e, d = errors[groups == group], deviations[groups == group]
        found[group] = {
            "structures": len(e),
            "error, meV/atom": float(1e3 * np.sqrt(np.mean(e**2))),
            "mean error, meV/atom": float(1e3 * np.mean(e)),
            "deviation, meV/atom": float(1e3 * np.sqrt(np.mean(d**2))),
            "factor": jp.fit.calibration(e, d),
            "coverage at 90 % with one factor": float(np.mean(np.abs(e) <= 1.6449 * factor * d)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", choices=tuple(SETTINGS), default="evidence", help="of the GAP")
    parser.add_argument("--points", type=int, default=500, help="sparse points")
    parser.add_argument("--samples", type=int, default=16, help="posterior samples")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    output = arguments.output / arguments.settings
    output.mkdir(parents=True, exist_ok=True)
    train, test = datasets.load("mlearn/Si_train"), datasets.load("mlearn/Si_test")
    pool = held_out(train, arguments, output)
    file = output / f"test-{arguments.points}-{arguments.samples}-{arguments.seed}.json"
    if not file.exists():
        file.write_text(json.dumps(on_test_set(train, test, arguments)))
    found, cost = json.loads(file.read_text())
    found = {name: [np.array(values) for values in of] for name, of in found.items()}

    rng = np.random.default_rng(arguments.seed)
    exact, sampled = (np.concatenate([x.ravel() for x in found[name]]) for name in ("forces_sd", "forces_sampled"))
    result = {
        "settings": SETTINGS[arguments.settings] | {"points": arguments.points},
        "energy": reliability(list(pool[0]), list(pool[1]), rng),
        "energy, test set": reliability(list(pool[0]), list(pool[1]), rng, test=(np.array(found["energy"]), np.array(found["energy_sd"]))),
        "energy by group": by_group(*pool, np.array([a.info["config_type"] for a in train])),
        "forces": reliability(found["forces"], found["forces_sd"], rng),
        "forces, samples": reliability(found["forces"], found["forces_sampled"], rng),
        "samples against exact": {
            "median of the ratio": float(np.median(sampled / exact)),
            "rank correlation": float(np.corrcoef(np.argsort(np.argsort(sampled)), np.argsort(np.argsort(exact)))[0, 1]),
        },
        "seconds": cost,
    }
    (output / "results.json").write_text(json.dumps(result, indent=1))
    for name in ("energy", "energy, test set", "forces", "forces, samples"):
        r = result[name]
        shares = ", ".join(f"{100 * float(level):.0f} %: {100 * r['coverage'][level]:.1f} ± {100 * r['spread'][level]:.1f} %" for level in r["coverage"])
        print(f"{name:<16} factor {r['factor']:.2f}; coverage after calibration {shares} (before, at 90 %: {100 * r['uncalibrated']['0.9']:.1f} %)")
    for group, values in result["energy by group"].items():
        print(f"{group:<16} {', '.join(f'{key} {value:.3g}' for key, value in values.items())}")
    print(f"samples against exact: {result['samples against exact']}")
    base = cost["energy, forces, virial"]
    for name, value in cost.items():
        if name != "atoms":
            print(f"{name:<36} {1e3 * value:9.1f} ms for {cost['atoms']} atoms ({value / base:.2f} × energy, forces, virial)")
    draw(found, result, output / "reliability.png")
    print(f"results and figure in {output}")


def on_test_set(train: list, test: list, arguments: argparse.Namespace) -> tuple[dict, dict]:
    """Errors and deviations of the model of all training frames, and what they cost."""
    posterior = fitted(train, arguments)
    model, weights = posterior.model, posterior.samples(jax.random.key(arguments.seed), arguments.samples)
    functions = jp.evaluate, jp.fit.Posterior.variance, jp.fit.Posterior.covariance, jp.fit.evaluate_samples
    evaluate, variance, covariance, samples = map(jax.jit, functions)
    found = {name: [] for name in ("energy", "energy_sd", "forces", "forces_sd", "forces_sampled")}
    for atoms, graph in zip(test, graphs(model, test), strict=True):
        real = len(atoms)
        # what symmetry makes zero has the variance zero up to round-off, of either sign
        made, spread = evaluate(model, graph), np.sqrt(np.maximum(np.diag(np.asarray(covariance(posterior, graph))), 0))
        found["energy"].append((float(made.energy) - atoms.get_potential_energy()) / real)
        found["energy_sd"].append(float(spread[0]) / real)
        spread = spread[1:].reshape(-1, 3)[:real]
        free = spread > SYMMETRIC
        found["forces"].append((np.asarray(made.forces)[:real] - atoms.get_forces())[free])
        found["forces_sd"].append(spread[free])
        found["forces_sampled"].append(np.std(np.asarray(samples(posterior, weights, graph).forces)[:, :real], axis=0, ddof=1)[free])
    cost = {"atoms": max(map(len, test)), "energy, forces, virial": seconds(evaluate, model, graph), "energy variance": seconds(variance, posterior, graph)}
    cost |= {"energy and force covariance": seconds(covariance, posterior, graph, repeats=3)}
    cost |= {f"energy and forces of {arguments.samples} samples": seconds(samples, posterior, weights, graph)}
    return {name: [np.asarray(values).tolist() for values in of] for name, of in found.items()}, cost


def draw(found: dict, result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    error, spread = (np.concatenate([np.abs(x).ravel() for x in found[name]]) for name in ("forces", "forces_sd"))
    axes[0].loglog(result["forces"]["factor"] * spread, error, ",", color="k")
    axes[0].plot([spread.min(), error.max()], [spread.min(), error.max()], "tab:red", lw=0.8)
    axes[0].set(xlabel="calibrated deviation of a force component (eV/Å)", ylabel="error (eV/Å)")
    for name, style in (("energy", "o-"), ("energy, test set", "o--"), ("forces", "s-"), ("forces, samples", "^--")):
        axes[1].plot(LEVELS, list(result[name]["coverage"].values()), style, label=name)
    axes[1].plot([0.4, 1], [0.4, 1], "k", lw=0.6)
    axes[1].set(xlabel="nominal level", ylabel="coverage after calibration")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
