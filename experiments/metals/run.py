"""Accuracy against cost: linear ACE and SOAP-GAP on the elemental benchmark of Zuo et al. (2020).

    python experiments/metals/run.py                    # Li, Mo, Si on their published test sets; Cu, Ni on a tenth set aside
    python experiments/metals/run.py --elements Si --models ace

One configuration (config.toml) for all elements, fitted to energies and forces. Prints and stores test errors beside those of the
published potentials, the time of the fit after compilation and the time per atom of energy, forces and virial, and draws both
against each other. `--validate` uses every tenth training frame instead of the test set. How the settings were chosen: README.md, choose.py.
"""

import argparse
import json
import resource
import statistics
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

# Test MAE (meV/atom, eV/Å) on the published test sets. GAP and MTP: Zuo et al., J. Phys. Chem. A 124, 731 (2020); SNAP, qSNAP and NNP:
# the published parameter files re-evaluated.
PUBLISHED = {
    "Li": {"GAP": (0.49, 0.01), "MTP": (0.49, 0.01), "NNP": (0.75, 0.017), "qSNAP": (0.73, 0.033), "SNAP": (1.03, 0.028)},
    "Mo": {"GAP": (2.24, 0.09), "MTP": (2.83, 0.09), "NNP": (3.65, 0.125), "qSNAP": (2.77, 0.184), "SNAP": (5.48, 0.207)},
    "Si": {"GAP": (2.91, 0.07), "MTP": (2.21, 0.06), "NNP": (5.63, 0.109), "qSNAP": (3.81, 0.116), "SNAP": (6.44, 0.133)},
    "Cu": {"GAP": (0.46, 0.01), "MTP": (0.41, 0.01), "NNP": (1.15, 0.026), "qSNAP": (0.56, 0.024), "SNAP": (0.53, 0.037)},
    "Ni": {"GAP": (0.42, 0.02), "MTP": (0.48, 0.01), "NNP": (1.52, 0.030), "qSNAP": (0.79, 0.031), "SNAP": (0.78, 0.038)},
}


def frames_of(element: str, config: dict, validate: bool):
    """Training and test frames, and what the test frames are."""
    train, step = datasets.load(f"mlearn/{element}_train"), config["data"]["set_aside"]
    if validate or element in ("Cu", "Ni"):
        return [a for i, a in enumerate(train) if i % step], train[::step], f"every {step}th training frame"
    return train, datasets.load(f"mlearn/{element}_test"), "published test set"


def isolated_energy(element: str, kind: str, train, config: dict) -> float:
    """Energy in eV of an atom without neighbours. ACE vanishes there; a normalised SOAP does not, and the mean is all there is to say."""
    mean = float(np.mean([a.get_potential_energy() / len(a) for a in train]))
    return mean + config["cohesive"][element] if kind == "ace" else mean


def typical_force(train) -> float:
    """Root mean square of all force components, eV/Å: what the noise level of forces and the prior of ACE are given in."""
    return float(np.sqrt(np.mean(np.concatenate([a.get_forces().reshape(-1) for a in train]) ** 2)))


def ace(element: str, settings: dict, nearest: float, unit: float):
    """A sum of linear ACE, each with a range and a selection of its own. Their prior is completed by `rough`."""
    terms = []
    for part in settings["terms"]:
        density = jp.Density(
            species=(element,),
            cutoff=jp.cutoffs.PowerCutoff(part["cutoff"], part["power"]),
            radial=jp.radial.Agnesi(int(max(part["degrees"])) + 1, nearest=nearest),
            l_max=settings["l_max"],
            sigma=None,
            center_weight=0.0,
        )
        terms.append(jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(tuple(part["degrees"]))), jp.Linear(scale=settings["scale"] * unit)))
    return jp.Sum(tuple(terms))


def rough(model, data, order: float):
    """Forces of every function equally large a priori, but smaller by `order` with every further factor of its product."""
    terms = []
    for term in model.terms:
        roughness = term.descriptor.smoothness(0.0, order) * jp.fit.force_scales(term, data)
        terms.append(term.replace(head=term.head.replace(roughness=roughness)))
    return jp.Sum(tuple(terms))


def gap(element: str, settings: dict, data, seed: int):
    density = jp.Density(
        species=(element,),
        cutoff=jp.CosineCutoff(settings["cutoff"], width=settings["width"]),
        radial=jp.radial.EquispacedGaussians(settings["n_max"]),
        l_max=settings["l_max"],
        sigma=settings["sigma"],
    )
    soap = jp.SOAP(density)
    points = jp.fit.select_environments(soap, data, settings["n_sparse"], key=jax.random.key(seed))
    head = jp.SparseGP(jp.PolynomialKernel(settings["zeta"]), delta=settings["delta"], jitter=settings["jitter"])
    return jp.Sum((jp.AtomicPotential(soap, head).with_points(points),))


def one_of_each_shape(data):
    """A few structures that bring about every compilation of a fit to `data`."""
    return data.subset([ids[0] for ids in data.index])


def microseconds_per_atom(model, atoms, cutoff: float) -> float:
    """Median of seven warm evaluations of energy, forces and virial; the neighbour list is at hand."""
    graph, evaluate = jp.from_atoms(atoms, cutoff), jax.jit(jp.evaluate)
    jax.block_until_ready(evaluate(model, graph))
    times = []
    for _ in range(7):
        start = time.perf_counter()
        jax.block_until_ready(evaluate(model, graph))
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / len(atoms)


def study(element: str, kind: str, config: dict, arguments) -> dict:
    train, test_frames, what = frames_of(element, config, arguments.validate)
    settings, nearest = config[kind], config["nearest"][element]
    cutoff = max(part["cutoff"] for part in settings.get("terms", [settings]))
    unit = typical_force(train) if kind == "ace" else 1.0
    noise = jp.noise_levels(settings["energy"], settings["forces"] * unit)
    data, test = (jp.Dataset.from_atoms(frames, cutoff, sigma=noise) for frames in (train, test_frames))
    terms = ace(element, settings, nearest, unit) if kind == "ace" else gap(element, settings, data, arguments.seed)
    isolated = jp.IsolatedAtoms({element: isolated_energy(element, kind, train, config)})

    def fit(data):
        prior = rough(terms, data, settings["order"]) if kind == "ace" else terms
        return jp.fit.linear(prior + isolated, data)

    start = time.perf_counter()
    fit(one_of_each_shape(data))
    compilation = time.perf_counter() - start
    start = time.perf_counter()
    fitted = fit(data)
    seconds = time.perf_counter() - start
    errors = jp.fit.report(fitted, test)
    sample = max(train, key=len)
    sample = sample * (2, 2, 2) if len(sample) < 200 else sample
    return {
        "test": what,
        "functions": sum(term.n_coefficients for term in terms.terms),
        "atoms": sum(map(len, train)),
        "errors": errors,
        "fit_seconds": seconds,
        "compile_seconds": compilation,
        "microseconds_per_atom": microseconds_per_atom(fitted, sample, cutoff),
        "timed_atoms": len(sample),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def draw(results: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(results), figsize=(3.4 * len(results), 6.4), squeeze=False)
    for column, (element, of) in enumerate(results.items()):
        for row, (name, unit, factor) in enumerate((("energy", "meV/atom", 1e3), ("forces", "eV/Å", 1.0))):
            axis = axes[row, column]
            for i, (who, published) in enumerate(PUBLISHED[element].items()):
                axis.axhline(published[row], color=f"C{i + 2}", ls="--", lw=1, label=f"{who}, published")
            for kind, marker in (("ace", "o"), ("gap", "s")):
                if kind in of:
                    one = of[kind]
                    axis.plot(one["microseconds_per_atom"], factor * one["errors"]["all"][name]["mae"], marker, label=f"{kind.upper()}, {one['functions']}")
            axis.set(xscale="log", yscale="log", ylabel=f"{name} MAE ({unit})", xlabel="µs per atom, energy and forces" if row else "")
        axes[0, column].set_title(f"{element}: {next(iter(of.values()))['test']}", fontsize=8)
    axes[0, 0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", nargs="+", choices=tuple(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--models", nargs="+", choices=("ace", "gap"), default=["ace", "gap"])
    parser.add_argument("--validate", action="store_true", help="errors on every tenth training frame, left out of the fit")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of sparse points")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text())
    arguments.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for element in arguments.elements:
        for kind in arguments.models:
            one = results.setdefault(element, {})[kind] = study(element, kind, config, arguments)
            e = one["errors"]["all"]
            print(
                f"{element} {kind:<5} {1e3 * e['energy']['mae']:6.2f} meV/atom {e['forces']['mae']:7.4f} eV/Å  ({one['functions']} functions, "
                f"fit {one['fit_seconds']:.0f} s after {one['compile_seconds']:.0f} s of compilation, {one['microseconds_per_atom']:.0f} µs per atom, "
                f"peak {one['peak_gib']:.1f} GiB; {one['test']})",
                flush=True,
            )
            (arguments.output / "results.json").write_text(json.dumps({"config": config, "results": results}, indent=1))
        for who, (energy, force) in PUBLISHED[element].items():
            print(f"{element} {who:<5} {energy:6.2f} meV/atom {force:7.3f}  eV/Å  (published)")
        jax.clear_caches()
    draw(results, arguments.output / "accuracy_and_cost.png")


if __name__ == "__main__":
    main()
