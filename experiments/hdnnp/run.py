"""A high-dimensional neural network potential of silicon, trained here on energies and forces.

    python experiments/hdnnp/run.py               # trains (goes on where it was killed) and reports errors on the published test set
    python experiments/hdnnp/run.py --validate    # errors on every tenth training frame, left out of all trainings: for choosing settings

Symmetry functions and a network, as published by Behler and Parrinello; the data of Zuo et al. (2020), whose published network is the mark
to reach. A committee: every member has its own initial weights, order of structures and held-out tenth, and the mean is the potential.
Settings are in config.toml; `--set training.epochs=100` changes one for a run.
"""

import argparse
import json
import resource
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import optax  # noqa: E402
from tqdm import tqdm  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

# Test MAE (meV/atom, eV/Å): the published network, re-evaluated; GAP and MTP as published with it (J. Phys. Chem. A 124, 731).
PUBLISHED = {"NNP": (5.63, 0.109), "GAP": (2.91, 0.07), "MTP": (2.21, 0.06)}
WEIGHTS = ("*.weights.*", "*.biases.*")


def processor_seconds() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def symmetry_functions(settings: dict) -> jp.descriptors.ACSF:
    """Gaussians on a grid of distances that begins where the data do; wide and narrow angles of a few widths, λ = ±1, a few ζ."""
    cutoff, angular = jp.CosineCutoff(settings["cutoff"]), settings["angular"]
    places = np.linspace(settings["nearest"], settings["cutoff"], settings["shifted"], endpoint=False)
    sets = (
        jp.descriptors.G2.centered(cutoff, settings["centered"]),
        jp.descriptors.G2(cutoff, eta=(places[1] - places[0]) ** -2.0, r_s=places),
        jp.descriptors.G5.centered(cutoff, angular, zeta=settings["wide"]),
        jp.descriptors.G4.centered(cutoff, angular, zeta=settings["narrow"]),
    )
    return jp.descriptors.ACSF(("Si",), sets)


def noise(settings: dict):
    return jp.noise_levels(settings["energy"], settings["forces"], settings["virial"] or None)


def optimizer(rate: float, steps: int, layers: int):
    """Muon for the matrices of the hidden layers, Adam for the rest: symmetry functions overlap, and Adam is slow along what tells them apart."""
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)  # weights are [element, inputs, outputs]
    hidden = tuple(f".weights.{i}" for i in range(layers))
    return optax.contrib.muon(
        optax.cosine_decay_schedule(rate, steps), consistent_rms=0.2,
        muon_weight_dimension_numbers=lambda params: {path: matrix if path.endswith(hidden) else None for path in params},
    )  # fmt: skip


def train(config: dict, frames, seed: int, checkpoint: Path):
    """The trained model and its history."""
    settings, key = config["training"], jax.random.key(seed)
    data = jp.Dataset.from_atoms(frames, config["functions"]["cutoff"], sigma=noise(config["data"]))
    data, held_out = jp.fit.split(data, config["data"]["held_out"], key=key)
    level = float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in frames]))
    network = jp.MLP(tuple(config["network"]["hidden"]), seed=seed)
    model = jp.AtomicPotential(symmetry_functions(config["functions"]), network) + jp.IsolatedAtoms({"Si": level})
    model = jp.fit.standardise(model, data)
    epoch = jp.fit.steps_per_epoch(data, settings["batch"])
    steps = settings["epochs"] * epoch
    single, small, small_held_out = jp.cast((model, data, held_out), "float32")
    trained, history = jp.fit.train(
        single, small, optimizer(settings["learning_rate"], steps, len(network.hidden)), steps=steps, where=WEIGHTS,
        batch=settings["batch"], key=key, validation=small_held_out, average=settings["average"], every=settings["every"] * epoch,
        checkpoint=checkpoint,
    )  # fmt: skip
    return jp.cast(trained, "float64"), history


def draw(folder: Path, histories: list[dict], test, predictions) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for number, history in enumerate(histories):
        jp.fit.plot_history(history, quantity="mae").savefig(folder / f"history-{number}.png", dpi=120)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for kind in sorted(set(test.config_types)):
        pairs = [(s.targets, predictions[i], test.n_atoms[i]) for i, s in test.structures() if test.config_types[i] == kind]
        axes[0].plot([t.energy / n for t, _, n in pairs], [p.energy / n for _, p, n in pairs], ".", label=kind)
        axes[1].plot(*(np.concatenate([np.ravel(x[k].forces[: x[2]]) for x in pairs]) for k in (0, 1)), ".", ms=3, label=kind)
    for axis, quantity, unit in ((axes[0], "energy", "eV/atom"), (axes[1], "force component", "eV/Å")):
        axis.axline((axis.get_xlim()[0],) * 2, slope=1, color="grey", lw=0.8)
        axis.set(xlabel=f"DFT {quantity} ({unit})", ylabel=f"network {quantity} ({unit})")
    axes[0].legend(fontsize=7)
    figure.savefig(folder / "parity.png", dpi=120)


def with_changes(config: dict, changes: list[str]) -> dict:
    for change in changes:
        path, value = change.split("=")
        section, name = path.split(".")
        if name not in config.get(section, {}):
            raise SystemExit(f"no setting {path}; there are {sorted(f'{s}.{n}' for s in config for n in config[s])}")
        config[section][name] = json.loads(value)
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validate", action="store_true", help="report errors on every tenth training frame, and leave the test set alone")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=JSON", help="another value of a setting")
    parser.add_argument("--seed", type=int, default=0, help="of the first member's split, initial weights and order of structures")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    config = with_changes(tomllib.loads((HERE / "config.toml").read_text()), arguments.set)
    arguments.output.mkdir(parents=True, exist_ok=True)

    started, used = time.perf_counter(), processor_seconds()
    frames, members, histories = datasets.load("mlearn/Si_train"), [], []
    if arguments.validate:
        what, test_frames, frames = "every tenth training frame", frames[::10], [a for i, a in enumerate(frames) if i % 10]
    else:
        what, test_frames = "published test set", datasets.load("mlearn/Si_test")
    for number in tqdm(range(config["training"]["members"]), desc="members"):
        model, history = train(config, frames, arguments.seed + number, arguments.output / f"state-{number}.npz")
        members.append(model)
        histories.append(history)
    seconds = {"wall": time.perf_counter() - started, "processor": processor_seconds() - used}
    model = jp.potentials.Committee(tuple(members)) if len(members) > 1 else members[0]
    jp.save(arguments.output / "model.npz", model)
    n = members[0].terms[0].descriptor.n_features
    spent = f"{seconds['wall']:.0f} s ({seconds['processor']:.0f} s of processor time)"
    print(f"{len(members)} networks on {n} functions, {config['training']['epochs']} epochs, in {spent}")

    test = jp.Dataset.from_atoms(test_frames, config["functions"]["cutoff"], sigma=noise(config["data"]))
    predictions = jp.fit.predict(model, test)
    report = jp.fit.report(model, test, predictions=predictions)
    reports = [jp.fit.report(member, test, progress=False) for member in members]
    print(f"{what}\n{jp.fit.table(report)}\n\nMAE           energy meV/atom   force eV/Å")
    rows = {"jaxpot": report, **{f"member {number}": own for number, own in enumerate(reports)}}
    rows = {who: (1e3 * own["all"]["energy"]["mae"], own["all"]["forces"]["mae"]) for who, own in rows.items()}
    for who, (energy, force) in (rows | ({} if arguments.validate else PUBLISHED)).items():
        print(f"{who:<13} {energy:15.2f}   {force:11.3f}")
    draw(arguments.output, histories, test, predictions)
    seconds["all"] = processor_seconds()
    print(f"\n{seconds['all']:.0f} s of processor time in all")
    results = {"config": config, "seed": arguments.seed, "functions": n, "seconds": seconds, "on": what, "report": report, "members": reports}
    (arguments.output / "results.json").write_text(json.dumps(results | {"histories": histories}, indent=1))


if __name__ == "__main__":
    main()
