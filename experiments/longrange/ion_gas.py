"""A gas of ions of charge ±1 that repel each other at short range: what a model finds from energies and forces alone."""

import jax
import numpy as np
from ase import Atoms
from tqdm import tqdm

import jaxpot as jp
from jaxpot import longrange
from jaxpot.cutoffs import PolynomialCutoff, PowerCutoff
from jaxpot.empirical import LennardJones

SPECIES = ("Na", "Cl")


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
    slots = max(jp.from_atoms(atoms, float(truth.reach)).neighbors.shape[1] for atoms in made)
    for atoms in tqdm(made, desc="labels", unit="structure"):
        found = evaluate(truth, jp.from_atoms(atoms, float(truth.reach), max_neighbors=slots))
        atoms.info["gas_energy"], atoms.arrays["gas_forces"] = float(found.energy), np.array(found.forces)
    return made


def short_range(settings: dict) -> jp.AtomicPotential:
    """A linear ACE of three bodies, the same with and without charges."""
    radial = jp.radial.Agnesi(settings["n_radial"], nearest=settings["nearest"])
    density = jp.Density(SPECIES, PowerCutoff(settings["cutoff"]), radial, l_max=3, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"]))), jp.Linear(scale=settings["scale"]))


def run(settings: dict) -> dict:
    """Errors on gases that no model has seen, and the charges that were found."""
    made = frames(settings)
    short = short_range(settings)
    sum_ = longrange.sum_for(made[:20], accuracy=settings["accuracy"])
    reach = max(float(short.reach), float(sum_.reach))
    sigma = jp.Properties(energy=settings["sigma_energy"] * settings["ions"], forces=settings["sigma_forces"])
    keys = {"energy": "gas_energy", "forces": "gas_forces"}
    train, test = made[: settings["n_train"]], made[settings["n_train"] :]
    few, data, unseen = (jp.Dataset.from_atoms(of, reach, sigma=sigma, keys=keys) for of in (train[: settings["n_evidence"]], train, test))
    results = {"rms force": float(np.std(np.concatenate([atoms.arrays["gas_forces"] for atoms in test])))}

    # by element, so that what neutralises a gas leaves one number to be found: half of the difference
    start = longrange.LocalCharges(jp.descriptors.Constant(SPECIES), jp.Linear(coefficients=np.array([0.3, -0.3])))
    models = {"rung 1": short, "rung 3": short + longrange.Electrostatics(start, sum_)}
    found = jp.fit.maximise_evidence(models["rung 3"], few, "terms.1.charges.head.coefficients")
    models["rung 3"] = found.model
    for name, model in models.items():
        errors = jp.fit.report(jp.fit.linear(model, data), unseen)["all"]
        results[name] = {f"{of} {kind}": errors[of][kind] for of in ("energy", "forces") for kind in ("mae", "rmse")}
    one = jp.from_atoms(test[0], reach)
    charges = np.asarray(found.model.terms[1].charges.charges(one))
    results["charges"] = {symbol: float(np.mean(charges[test[0].symbols == symbol])) for symbol in SPECIES}
    results["evidence evaluations"] = len(found.history)
    return results
