"""Dipoles, polarizabilities and hyperpolarizabilities of water with sparse λ-SOAP Gaussian processes.

    python experiments/tensors/run.py                                       # the water monomer and the rotated molecule
    python experiments/tensors/run.py water_dimer_mu qm7x_alpha             # other sets of config.toml
    python experiments/tensors/run.py --all

For each set: zeta and noise level are chosen by cross-validation on the training frames, then the learning curve is measured on the
test frames, which nothing else looks at. Needs the published data sets (JAXPOT_DATA).
"""

import argparse
import json
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import ase  # noqa: E402
import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.descriptors.constant import Constant  # noqa: E402
from jaxpot.descriptors.soap import LambdaSOAP  # noqa: E402
from jaxpot.heads.tensor import LambdaGP, LambdaKernel  # noqa: E402
from jaxpot.math.cartesian import cartesian_map  # noqa: E402
from jaxpot.math.coupling import count_couplings  # noqa: E402
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor  # noqa: E402

DEFAULT = ("water_monomer_mu", "water_monomer_alpha", "water_monomer_beta", "water_monomer_gamma", "rotated_molecule")
GROUPS = {"dipole": (0,), "polarizability": (0, 0)}


def groups_of(settings: dict) -> tuple[int, ...]:
    return tuple(settings["groups"]) if "groups" in settings else GROUPS[settings["kind"]]


def label_of(atoms, settings: dict) -> np.ndarray:
    return np.reshape(atoms.info[settings["label"]], (3,) * len(groups_of(settings)))


def load(settings: dict) -> tuple[list, list]:
    """Training and test frames, at random; nearly symmetric matrices are made symmetric."""
    frames = datasets.load(settings["data"])
    for atoms in frames:
        if groups_of(settings) == (0, 0):
            matrix = np.reshape(atoms.info[settings["label"]], (3, 3))
            atoms.info[settings["label"]] = ((matrix + matrix.T) / 2).reshape(9)
    order = np.random.default_rng(settings["seed"]).permutation(len(frames))
    train, test = order[: settings["n_train"]], order[settings["n_train"] :][: settings.get("n_test")]
    return [frames[i] for i in train], [frames[i] for i in test]


def dataset(frames, settings: dict, noise: float):
    kind = settings["kind"]
    return jp.Dataset.from_atoms(frames, settings["cutoff"], sigma=jp.Properties(**{kind: noise}), keys={kind: settings["label"]})


def unfitted(settings: dict, species: tuple[str, ...], zeta: float):
    """The model without sparse points, and the scalar descriptor that chooses them."""
    density = jp.Density(
        species=species,
        cutoff=jp.CosineCutoff(settings["cutoff"], width=settings["width"]),
        radial=jp.GTO(settings["n_max"]),
        l_max=settings["l_max"],
        sigma=settings["sigma"],
    )
    soap = jp.SOAP(density)
    delta = settings["delta"]
    head, groups = LambdaGP(LambdaKernel(zeta), delta=delta, jitter=settings["jitter"] * delta**2), groups_of(settings)
    if settings["kind"] == "dipole":
        return Dipole(tensor=LambdaSOAP(density, 1), head=head), soap
    if settings["kind"] == "polarizability":
        constant = Polarizability(scalar=Constant(species), head=jp.Linear(scale=delta))
        return Polarizability(scalar=soap, tensor=LambdaSOAP(density, 2), head=head) + constant, soap
    degrees = [lam for lam in range(len(groups) + 1) if count_couplings((1,) * len(groups), lam, groups)]
    return Tensor(tuple(LambdaSOAP(density, lam) if lam else soap for lam in degrees), groups, head=head), soap


def rmse(predictions, frames, settings: dict) -> dict:
    """Root mean square and median of the Frobenius norm of the error of a structure; also of each degree, and of a component."""
    groups = groups_of(settings)
    truth = np.array([label_of(a, settings) for a in frames]).reshape(len(frames), -1)
    error = np.array([getattr(p, settings["kind"]) for p in predictions]).reshape(truth.shape) - truth
    norm = lambda x: float(np.sqrt(np.mean(np.sum(x * x, axis=1))))  # noqa: E731
    degrees = {lam: cartesian_map(groups, lam) for lam in range(len(groups) + 1) if count_couplings((1,) * len(groups), lam, groups)}
    return {
        "rmse": norm(error),
        "median": float(np.sqrt(np.median(np.sum(error**2, axis=1)))),
        "relative": norm(error) / norm(truth - truth.mean(axis=0)),
        "by_degree": {str(lam): norm(error @ table.reshape(-1, truth.shape[1]).T) for lam, table in degrees.items()},
        "rmse_component": float(np.sqrt(np.mean(error**2))),
    }


def tested(model, frames, settings: dict) -> dict:
    return rmse(jp.fit.predict(model, dataset(frames, settings, 1.0)), frames, settings)


def experiment(name: str, settings: dict) -> dict:
    start = time.perf_counter()
    train, test = load(settings)
    species = tuple(sorted({symbol for atoms in train + test for symbol in atoms.symbols}))
    whole = dataset(train, settings, 1.0)
    model, soap = unfitted(settings, species, settings["zeta"][0])
    n_sparse = min(settings["n_sparse"], jp.fit.count_distinct(soap, whole))
    print(f"\n{name}: {len(train)} training and {len(test)} test structures, {n_sparse} sparse points")

    points = jp.fit.select_environments(soap, whole, n_sparse, key=jax.random.key(settings["seed"]), method="fps")
    fold = np.random.default_rng(settings["seed"]).permutation(len(train)) % settings["folds"]
    validation = {}
    for zeta in settings["zeta"]:
        candidate = unfitted(settings, species, zeta)[0].with_points(points)
        for noise in settings["noise"]:
            squares = []
            for k in range(settings["folds"]):
                inside, outside = ([a for a, f in zip(train, fold, strict=True) if (f == k) == out] for out in (False, True))
                fitted = jp.fit.linear(candidate, dataset(inside, settings, noise), method="cholesky")
                squares += [tested(fitted, outside, settings)["rmse"] ** 2] * len(outside)
            validation[zeta, noise] = float(np.sqrt(np.mean(squares)))
            print(f"  zeta {zeta:g}, noise {noise:g}: {validation[zeta, noise]:.4g} in {settings['folds']}-fold cross-validation")
    zeta, noise = min(validation, key=validation.get)

    model, curve = unfitted(settings, species, zeta)[0].with_points(points), {}
    for size in settings["curve"]:
        begin = time.perf_counter()
        fitted = jp.fit.linear(model, dataset(train[:size], settings, noise), method="qr")
        curve[size] = {"fit_seconds": time.perf_counter() - begin} | tested(fitted, test, settings)
        e = curve[size]
        print(f"  {size:>4} training structures: RMSE {e['rmse']:.4g}, median {e['median']:.4g} {settings['unit']} ({100 * e['relative']:.3g} %)")
    result = {
        "settings": settings | {"zeta": zeta, "noise": noise, "n_sparse": n_sparse},
        "n_test": len(test),
        "validation": {f"zeta {z:g}, noise {s:g}": e for (z, s), e in validation.items()},
        "curve": {str(size): e for size, e in curve.items()},
    }
    if settings["kind"] == "dipole":
        result["dipole_of_an_inversion_symmetric_structure"] = centrosymmetric(fitted, train[0], settings)
        print(f"  inversion-symmetric pair of molecules: |μ| = {result['dipole_of_an_inversion_symmetric_structure']:.1e} {settings['unit']}")
    return result | {"seconds": time.perf_counter() - start}


def centrosymmetric(model, atoms, settings: dict) -> float:
    """|μ| of a molecule and its mirror image through a point."""
    center = atoms.positions.max(axis=0) + 0.9
    both = ase.Atoms(list(atoms.symbols) * 2, positions=[*atoms.positions, *(2 * center - atoms.positions)])
    return float(np.linalg.norm(model(jp.from_atoms(both, settings["cutoff"]))))


def rotated_molecule(name: str, settings: dict) -> dict:
    """A rigid chiral molecule in many orientations: every degree from one block of coefficients on one atom."""
    start, result = time.perf_counter(), {"settings": settings}
    species = ("C", "H", "F", "Cl", "Br")
    density = jp.Density(
        species, jp.CosineCutoff(settings["cutoff"], width=settings["width"]), jp.GTO(settings["n_max"]), settings["l_max"], sigma=settings["sigma"]
    )
    head = LambdaGP(LambdaKernel(2.0), delta=settings["delta"], jitter=settings["jitter"] * settings["delta"] ** 2)
    print(f"\n{name}: RMSE of a component for the test orientations, {settings['unit']}")
    for path in settings["data"]:
        frames = datasets.load(path)
        for atoms in frames:
            atoms.pbc = False
        parts = {"scalar": jp.SOAP(density), "tensor": LambdaSOAP(density, 2)}
        own = settings | {"kind": "polarizability", "groups": (0, 0)}
        if "asymmetric" in path:
            parts["antisymmetric"], own["groups"] = LambdaSOAP(density, 1, pseudo=True), (0, 1)
        train, test = frames[: settings["n_train"]], frames[settings["n_train"] :]
        points = jp.fit.select_environments(parts["scalar"], dataset(train, own, 1.0), {"C": settings["n_sparse"]}, key=jax.random.key(0))
        model = Polarizability(**parts, head=head).with_points(points)
        curve = {}
        for size in settings["curve"]:
            curve[str(size)] = tested(jp.fit.linear(model, dataset(train[:size], own, settings["noise"])), test, own)
            by_degree = ", ".join(f"λ = {lam}: {e:.1e}" for lam, e in curve[str(size)]["by_degree"].items())
            print(f"  {Path(path).name}, {size:>2} orientations: {curve[str(size)]['rmse_component']:.1e} ({by_degree})")
        result[path] = curve
    return result | {"seconds": time.perf_counter() - start}


def draw(results: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in results if name != "rotated_molecule"]
    if not names:
        return
    figure, axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        settings, curve = results[name]["settings"], results[name]["curve"]
        sizes = [int(size) for size in curve]
        axis.loglog(sizes, [e["rmse"] for e in curve.values()], "ko-", label="tensor")
        degrees = curve[str(sizes[0])]["by_degree"]
        if len(degrees) > 1:
            for lam in degrees:
                axis.loglog(sizes, [e["by_degree"][lam] for e in curve.values()], ".--", lw=0.9, label=f"λ = {lam}")
        if "published" in settings:
            axis.axhline(settings["published"], color="tab:red", lw=0.9, label=f"TENSOAP, 800: {settings['published']}")
        axis.set(xlabel="training structures", ylabel=f"test RMSE ({settings['unit']})", title=name, xticks=sizes, xticklabels=sizes)
        axis.minorticks_off()
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def table(results: dict) -> str:
    lines = ["| set | training / test structures | RMSE | % of the deviation | median | seconds (all) |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        if name != "rotated_molecule":
            size, e = list(result["curve"].items())[-1]
            unit = result["settings"]["unit"]
            numbers = f"{e['rmse']:.4g} {unit} | {100 * e['relative']:.3g} | {e['median']:.4g}"
            lines.append(f"| {name} | {size} / {result['n_test']} | {numbers} | {result['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    config = tomllib.loads((HERE / "config.toml").read_text())
    defaults = config.pop("defaults")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"some of {', '.join(config)} (default: {', '.join(DEFAULT)})")
    parser.add_argument("--all", action="store_true", help="every set")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for results (default: experiments/tensors/results)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.sets) - set(config))
    if unknown:
        parser.error(f"unknown sets {unknown}; expected some of {sorted(config)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    store = arguments.output / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}  # sets run earlier stay
    for name in config if arguments.all else arguments.sets or DEFAULT:
        settings = defaults | config[name]
        results[name] = (rotated_molecule if name == "rotated_molecule" else experiment)(name, settings)
        store.write_text(json.dumps(results, indent=1))
    (arguments.output / "table.md").write_text(table(results) + "\n")
    draw(results, arguments.output / "curves.png")
    print(f"\n{table(results)}\n\nresults, table and figure in {arguments.output}")


if __name__ == "__main__":
    main()
