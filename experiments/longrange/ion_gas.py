"""A gas of ions of charge ±1 that repel each other at short range: what a model finds from energies and forces alone.

    python experiments/longrange/ion_gas.py                 # 900 training frames; minutes
    python experiments/longrange/ion_gas.py --frames 100

The frames are made in the run: 64 ions of +1 e and 64 of −1 e at random in a periodic box, none nearer to another than 2.2 Å, with
energies and forces of point charges and of the repulsion of Lennard-Jones. No label says what the charges are.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import longrange  # noqa: E402
from jaxpot.cutoffs import PolynomialCutoff, PowerCutoff  # noqa: E402
from jaxpot.empirical import LennardJones  # noqa: E402

HERE = Path(__file__).resolve().parent
SPECIES = ("Na", "Cl")
KEYS = {"energy": "gas_energy", "forces": "gas_forces"}
SETTINGS = {
    "seed": 0,
    "ions": 128,
    "length": 17.0,  # Å
    "nearest": 2.2,  # Å
    "accuracy": 1e-4,  # of the sums' forces, eV/Å
    "n_train": 900,
    "n_test": 100,
    "n_evidence": 4,  # frames from which the charges are found
    "cutoff": 7.0,  # Å, of the short-range model
    "n_radial": 10,
    "degrees": (12, 6),
    "scale": 10.0,  # eV
    "sigma_energy": 0.001,  # eV per ion
    "sigma_forces": 0.005,  # eV/Å
}


def gas(rng: np.random.Generator, n: int, length: float, nearest: float) -> Atoms:
    """Ions at random places, none nearer to another than so many Å."""
    positions = np.zeros((0, 3))
    while len(positions) < n:
        new = rng.uniform(0, length, 3)
        between = positions - new
        between -= length * np.round(between / length)
        if not len(positions) or np.min(np.sum(between**2, axis=1)) > nearest**2:
            positions = np.concatenate([positions, new[None]])
    return Atoms(numbers=rng.permutation([11, 17] * (n // 2)), positions=positions, cell=[length] * 3, pbc=True)


def frames(settings: dict) -> list[Atoms]:
    """Gases with energies and forces of point charges and a repulsion."""
    rng = np.random.default_rng(settings["seed"])
    made = [gas(rng, settings["ions"], settings["length"], settings["nearest"]) for _ in range(settings["n_train"] + settings["n_test"])]
    sum_ = longrange.sum_for(made[:20], accuracy=settings["accuracy"])
    charges = longrange.FixedCharges(SPECIES, values=[1.0, -1.0])
    repulsion = LennardJones(SPECIES, epsilon=0.01, sigma=2.2, cutoff=PolynomialCutoff(7.0, width=3.0))
    truth, evaluate = longrange.Electrostatics(charges, sum_) + repulsion, jax.jit(jp.evaluate)
    graphs = [jp.from_atoms(atoms, float(truth.reach)) for atoms in made]
    slots = max(graph.neighbors.shape[1] for graph in graphs)
    for atoms, graph in zip(tqdm(made, desc="labels", unit="structure"), graphs, strict=True):
        found = evaluate(truth, jp.graph.pad(graph, max_neighbors=slots))
        atoms.info["gas_energy"], atoms.arrays["gas_forces"] = float(found.energy), np.array(found.forces)
    return made


def short_range(settings: dict) -> jp.AtomicPotential:
    """A linear ACE of three bodies, the same with and without charges."""
    radial = jp.radial.Agnesi(settings["n_radial"], nearest=settings["nearest"])
    density = jp.Density(SPECIES, PowerCutoff(settings["cutoff"]), radial, l_max=3, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"]))), jp.Linear(scale=settings["scale"]))


def most_probable(model_of: Callable, data: jp.Dataset) -> float:
    """The charge of the largest evidence, which is a parabola of its square, as energies and forces of given charges are linear in that."""
    evidence = jax.jit(lambda q: jp.fit.log_evidence(model_of(q), data))
    squares = np.array([0.25, 1.0, 2.0])
    second, first, _ = np.polyfit(squares, [float(evidence(np.sqrt(square))) for square in squares], 2)
    return float(np.sqrt(-first / (2 * second)))


def run(settings: dict) -> dict:
    """Errors on gases that no model has seen, and the charges that were found."""
    made = frames(settings)
    short = short_range(settings)
    sum_ = longrange.sum_for(made[:20], accuracy=settings["accuracy"])
    reach = max(float(short.reach), float(sum_.reach))
    sigma = jp.Properties(energy=settings["sigma_energy"] * settings["ions"], forces=settings["sigma_forces"])
    train, test = made[: settings["n_train"]], made[settings["n_train"] :]
    few, data, unseen = (jp.Dataset.from_atoms(of, reach, sigma=sigma, keys=KEYS) for of in (train[: settings["n_evidence"]], train, test))
    results = {"rms force": float(np.sqrt(np.mean(np.concatenate([atoms.arrays["gas_forces"] for atoms in test]) ** 2)))}

    def with_charges(q):
        """By element, so that what neutralises a gas leaves one number to be found: half of the difference."""
        charges = longrange.LocalCharges(jp.descriptors.Constant(SPECIES), jp.Linear(coefficients=q * jnp.array([1.0, -1.0])))
        return short + longrange.Electrostatics(charges, sum_)

    began = time.perf_counter()
    charge = most_probable(with_charges, few)
    results["charge, e"], results["evidence, s"] = charge, time.perf_counter() - began
    for name, model in {"rung 3": with_charges(charge), "rung 1": short}.items():
        began = time.perf_counter()
        fitted = jp.fit.linear(model, data, method="cholesky")
        seconds = time.perf_counter() - began
        errors = jp.fit.report(fitted, unseen)["all"]
        results[name] = {f"{of} {kind}": errors[of][kind] for of in ("energy", "forces") for kind in ("mae", "rmse")} | {"seconds": seconds}
        print(json.dumps(results), flush=True)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=SETTINGS["n_train"], help="training frames")
    results = run(SETTINGS | {"n_train": parser.parse_args().frames})
    print(json.dumps(results, indent=1))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "ion_gas.json").write_text(json.dumps(results, indent=1) + "\n")
