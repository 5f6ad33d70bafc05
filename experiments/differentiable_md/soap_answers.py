"""How crystal properties of a fitted SOAP-GAP answer to the width of its density and to its cutoff, with the fit and the minimum differentiated too.

    python experiments/differentiable_md/soap_answers.py        # silicon, labelled by Stillinger and Weber's potential

From σ and the cutoff radius follow descriptors, sparse points, the most probable coefficients, the minimum of the crystal (implicitly) and there lattice
constant, bulk modulus and C44 with relaxed ions. The derivative through all of it stands beside central differences, for which everything is done anew.
"""

import json
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase.build import bulk  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import observables  # noqa: E402
from jaxpot.empirical import StillingerWeber  # noqa: E402
from jaxpot.fit.evidence import normal_equations  # noqa: E402
from jaxpot.fit.validation import most_probable  # noqa: E402

HERE = Path(__file__).resolve().parent
SHOWN = ("lattice constant, Å", "bulk modulus, GPa", "C44, GPa")
SETTINGS = {
    "seed": 0,
    "structures": 12,  # cubic cells of 8 atoms
    "rattled": 0.08,  # Å
    "strained": 0.04,
    "noise": {"energy": 0.008, "forces": 0.05},  # eV per structure, eV/Å
    "points": 40,
    "sigma": 0.5,  # Å
    "cutoff": 4.5,  # Å
    "reach": 5.0,  # Å, of the neighbour lists
    "step": 1e-3,  # Å, of the differences
}


def labelled(settings: dict) -> jp.Dataset:
    silicon = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
    rng, evaluate, frames = np.random.default_rng(settings["seed"]), jax.jit(jp.evaluate), []
    for i in range(settings["structures"]):
        atoms = bulk("Si", "diamond", a=5.431, cubic=True)
        strain = rng.normal(scale=settings["strained"], size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.rattle(settings["rattled"], seed=i)
        found = evaluate(silicon, jp.from_atoms(atoms, 3.8, max_neighbors=24))
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy), np.asarray(found.forces)
        frames.append(atoms)
    return jp.Dataset.from_atoms(frames, settings["reach"], sigma=jp.Properties(**settings["noise"]))


def problem(settings: dict):
    """(σ, cutoff) [2] -> lattice constant, bulk modulus and C44 [3]."""
    data = labelled(settings)
    cutoff = jp.cutoffs.PolynomialCutoff(settings["cutoff"], width=2.0)
    density = jp.Density(("Si",), cutoff, jp.radial.EquispacedGaussians(6), 4, sigma=settings["sigma"])
    model = jp.AtomicPotential(jp.SOAP(density), jp.SparseGP(jp.PolynomialKernel(2.0), delta=1.0, jitter=1e-8))
    points = jp.fit.select_environments(model.descriptor, data, settings["points"], key=jax.random.key(settings["seed"]))
    model = model.with_points(points) + jp.IsolatedAtoms({"Si": -4.3})
    free, build = jp.free(model, "*.expansion.sigma", "*.cutoff.radius")
    print(list(free), flush=True)
    crystal = jp.from_atoms(bulk("Si", "diamond", a=5.431), settings["reach"])

    def properties(x: jax.Array) -> jax.Array:
        own = build(dict(zip(sorted(free, key=lambda name: "radius" in name), jnp.log(x), strict=True)))
        fitted = most_probable(own, *normal_equations(own, data))
        found = observables.minimum(fitted, crystal, cell=True)
        constants = observables.elastic_constants(fitted, found)
        lattice = (4 * jnp.abs(jnp.linalg.det(found.cell))) ** (1 / 3)
        return jnp.stack([lattice, observables.moduli(constants).bulk_voigt, observables.cubic_constants(constants)[2]])

    return properties


def run(settings: dict) -> dict:
    began, properties, x = time.monotonic(), jax.jit(problem(settings)), jnp.array([settings["sigma"], settings["cutoff"]])
    value = properties(x)
    print(dict(zip(SHOWN, value.tolist(), strict=True)), flush=True)
    steps = settings["step"] * jnp.eye(2)
    differences = jnp.stack([(properties(x + step) - properties(x - step)) / (2 * settings["step"]) for step in steps], axis=1)
    slopes = jax.jit(jax.jacfwd(properties))(x)
    shown = {
        name: {"value": float(value[i]), "derivative by sigma and cutoff": slopes[i].tolist(), "differences": differences[i].tolist()}
        for i, name in enumerate(SHOWN)
    }
    return shown | {"seconds": time.monotonic() - began}


if __name__ == "__main__":
    results = run(SETTINGS)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "soap_answers.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))
