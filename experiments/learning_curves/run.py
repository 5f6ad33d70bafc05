"""Learning curves: molecular representations on QM7, and force fields of single molecules on rMD17.

    python experiments/learning_curves/run.py qm7                        # energies against the number of molecules, all representations
    python experiments/learning_curves/run.py qm7 --only CM BoB          # some of them
    python experiments/learning_curves/run.py rmd17                      # forces against the number of structures: sGDML and linear ACE
    python experiments/learning_curves/run.py figure                     # tables and figures of what is in results/

Settings are in config.toml. Features and kernels are kept in the cache ($XDG_CACHE_HOME/jaxpot or ~/.cache/jaxpot); an interrupted run goes on.
"""

import argparse
import os
import resource
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from scipy.linalg import cho_factor, cho_solve  # noqa: E402
from tqdm import tqdm  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import datasets  # noqa: E402
import forces  # noqa: E402
import kernels  # noqa: E402
import report  # noqa: E402
import representations  # noqa: E402

from jaxpot.units import KCAL_PER_MOL  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpot" / "learning_curves"
RESULTS = HERE / "results"
NAMES = ("CM", "BoB", "MBTR", "SLATM", "aSLATM", "SOAP", "FCHL19")


def composition(frames: list) -> np.ndarray:
    """Number of atoms of each element, [molecules, elements]."""
    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
    return np.array([[np.sum(a.numbers == z) for z in numbers] for a in frames], float)


def predict(k: np.ndarray, rows: np.ndarray, counts: np.ndarray, counts_new: np.ndarray, energies: np.ndarray, regularisation: float) -> np.ndarray:
    """Kernel ridge regression of energies [N] less a least-squares energy per element, with kernels k [N, N] and rows [n, N]."""
    elements = np.linalg.lstsq(counts, energies, rcond=None)[0]
    system = k + regularisation * np.mean(np.diag(k)) * np.eye(len(k))
    weights = cho_solve(cho_factor(system, lower=True, overwrite_a=True), energies - counts @ elements)
    return rows @ weights + counts_new @ elements


def choose(found: np.ndarray, counts: np.ndarray, energies: np.ndarray, settings: dict, folds: int) -> tuple[int, float, float]:
    """The scale (its place) and regularisation with the smallest error in cross-validation, and that error; one diagonalisation for all
    regularisations."""
    fold, regularisations = np.arange(len(energies)) % folds, np.asarray(settings["regularisations"])
    errors = np.zeros((len(found), len(regularisations)))
    for i, f in tqdm(np.ndindex(len(found), folds), total=len(found) * folds, desc="cross-validation"):
        left, out = fold != f, fold == f
        k, rows = found[i][np.ix_(left, left)], found[i][np.ix_(out, left)]
        elements = np.linalg.lstsq(counts[left], energies[left], rcond=None)[0]
        values, vectors = np.linalg.eigh(k)
        system = values[:, None] + regularisations[None, :] * np.mean(np.diag(k))
        weights = vectors @ ((vectors.T @ (energies[left] - counts[left] @ elements))[:, None] / system)
        guess = rows @ weights + (counts[out] @ elements)[:, None]
        bad = np.min(system, axis=0) <= 0  # not positive definite
        errors[i] += np.where(bad, np.inf, np.mean(np.abs(guess - energies[out][:, None]), axis=0) / folds)
    i, j = np.unravel_index(np.argmin(errors), errors.shape)
    return int(i), float(regularisations[j]), float(errors[i, j])


def qm7(name: str, config: dict) -> dict:
    """Test errors of one representation in kcal/mol for every size of the training set."""
    frames, settings = datasets.load(config["data"]), {"regularisations": config["regularisations"]} | config[name]
    energies, counts = np.array([a.get_potential_energy() for a in frames]) / KCAL_PER_MOL, composition(frames)
    order = np.random.default_rng(config["seed"]).permutation(len(frames))
    sizes = settings.get("sizes", config["sizes"])
    test, train = order[-config["n_test"] :], order[: max(sizes)]
    start = time.perf_counter()
    features = {k: v for k, v in config[name].items() if k not in ("kernel", "scales", "regularisations", "sizes")}
    folder = CACHE / representations.key_of(name, features, config["data"])
    molecules = representations.load(name, features, frames, folder)
    few, scales = train[: config["n_choice"]], settings["scales"]
    path = folder / f"choice-{settings['kernel']}-{'-'.join(f'{s:g}' for s in scales)}-{config['seed']}-{len(few)}.npy"
    text = f"{name}: {len(few)} molecules, {len(scales)} scales"
    found = kernels.kernel_matrices(settings["kernel"], molecules.take(few), None, scales, path=path, label=text)
    place, regularisation, validation = choose(found, counts[few], energies[few], settings, config["folds"])
    scale = scales[place]
    print(f"{name}: scale {scale:g}, regularisation {regularisation:g}, {validation:.2f} kcal/mol in cross-validation", flush=True)
    label = f"{settings['kernel']}-{scale:g}-{config['seed']}-{len(train)}-{len(test)}"
    fitted, judged = molecules.take(train), molecules.take(test)
    k = kernels.kernel_matrices(settings["kernel"], fitted, None, [scale], path=folder / f"train-{label}.npy", label=f"{name}: training kernels")[0]
    rows = kernels.kernel_matrices(settings["kernel"], judged, fitted, [scale], path=folder / f"test-{label}.npy", label=f"{name}: test kernels")[0]
    errors = {}
    for n in sizes:
        guess = predict(k[:n, :n], rows[:, :n], counts[train[:n]], counts[test], energies[train[:n]], regularisation)
        errors[str(n)] = float(np.mean(np.abs(guess - energies[test])))
        print(f"{name}: {n} molecules, {errors[str(n)]:.2f} kcal/mol", flush=True)
    return {
        "errors": errors,
        "scale": scale,
        "regularisation": regularisation,
        "validation": validation,
        "features": int(molecules.features[0].shape[1]),
        "seconds": time.perf_counter() - start,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("qm7", "rmd17", "figure"))
    parser.add_argument("--only", nargs="+", help="representations, or molecules")
    arguments = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text())
    if arguments.part != "figure":
        known = NAMES if arguments.part == "qm7" else tuple(config["rmd17"]["molecules"])
        chosen = arguments.only or known
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            raise SystemExit(f"{', '.join(unknown)}: expected some of {', '.join(known)}")
        for name in chosen:
            if arguments.part == "qm7":
                report.store(RESULTS, "qm7", name, qm7(name, config["qm7"]))
            else:
                for result in forces.rmd17(name, config["rmd17"], report.load(RESULTS, "rmd17").get(name, {})):
                    report.store(RESULTS, "rmd17", name, result)
            jax.clear_caches()
    report.show(RESULTS)


if __name__ == "__main__":
    main()
