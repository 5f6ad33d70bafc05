"""The thermal conductivity of liquid argon near its triple point, from how the heat flux fluctuates.

    python experiments/differentiable_md/argon_conductivity.py                        # 1 ns of 108 atoms; minutes
    python experiments/differentiable_md/argon_conductivity.py --picoseconds 4000

Lennard-Jones argon (ε/k = 119.8 K, σ = 3.405 Å) at 86 K and 1.418 g/cm³; published simulations and measurements there are about 0.13 W/(m K).
A crystal is melted at 400 K, cooled by a thermostat, and then left to itself; the heat flux is taken every 20 fs. The integral is read at
a time that is fixed beforehand, with an error from blocks of the trajectory. Figure and numbers go to `results/`.
"""

import argparse
import json
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase.build import bulk  # noqa: E402
from ase.units import _amu  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import observables  # noqa: E402
from jaxpot.cutoffs import PolynomialCutoff  # noqa: E402
from jaxpot.empirical import LennardJones  # noqa: E402
from jaxpot.md import CSVR, NVE, State, System, blocks  # noqa: E402
from jaxpot.trajectories import rollout  # noqa: E402
from jaxpot.units import BOLTZMANN  # noqa: E402

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "seed": 0,
    "temperature": 86.0,  # K
    "density": 1.418,  # g/cm³
    "cells": 3,  # of 4 atoms, along each axis
    "cutoff": 8.0,  # Å, and it begins to end 1 Å before
    "timestep": 4.0,  # fs
    "every": 5,  # steps between two fluxes
    "melt": 20.0,  # ps at 400 K
    "cool": 100.0,  # ps at the temperature
    "chunk": 2000,  # fluxes between two looks at the neighbour list
    "read": 2.5,  # ps, the time of integration at which the conductivity is read
    "longest": 5.0,  # ps
    "blocks": 10,
}


def liquid(settings: dict, potential: LennardJones, masses: np.ndarray) -> tuple[jp.Graph, np.ndarray]:
    """A liquid at the temperature: its structure and momenta without drift."""
    a = (4 * masses[0] * _amu * 1e3 / settings["density"]) ** (1 / 3) * 1e8
    atoms = bulk("Ar", "fcc", a=a, cubic=True).repeat(settings["cells"])
    graph, key = jp.from_atoms(atoms, settings["cutoff"]), jax.random.key(settings["seed"])
    momenta = None
    for temperature, picoseconds in ((400.0, settings["melt"]), (settings["temperature"], settings["cool"])):
        system = System(graph, CSVR(temperature=temperature, timestep=settings["timestep"]), momenta=momenta)
        state, steps = system.init(key, potential), int(1e3 * picoseconds / settings["timestep"])
        for _, found in tqdm(blocks(system, state, potential, steps=steps, interval=500), total=steps // 500, desc=f"{temperature:g} K"):
            atoms.positions, momenta = found.positions, found.momenta
        momenta = momenta - momenta.mean(axis=0)
        graph = jp.from_atoms(atoms, settings["cutoff"])
    return graph, momenta


def fluxes(settings: dict, potential: LennardJones, graph: jp.Graph, momenta: np.ndarray, masses: np.ndarray, picoseconds: float):
    """Heat fluxes [T, 3] in eV Å/fs and temperatures [T] in K of a trajectory without thermostat."""
    system = System(graph, NVE(temperature=settings["temperature"], timestep=settings["timestep"]), momenta=momenta)
    state = system.init(jax.random.key(settings["seed"]), potential)
    every, chunk = settings["every"], settings["chunk"]

    @jax.jit
    def advanced(state: State):
        def observe(state):
            p = state.motion.momentum
            kelvin = jnp.sum(p**2 / masses[:, None]) / (system.degrees_of_freedom * BOLTZMANN)
            return observables.heat_flux(potential, system.graph(state), p, masses=masses), kelvin

        return rollout(system, state, potential, steps=every * chunk, observe=observe, interval=every)

    found = []
    n_chunks = int(np.ceil(1e3 * picoseconds / (settings["timestep"] * every * chunk)))
    energies = [float(system.observe(state, potential).conserved)]
    for _ in tqdm(range(n_chunks), desc="fluxes"):
        after, shown = advanced(state)
        while bool(after.overflow):
            state = system.reallocated(state, extra=8)
            after, shown = advanced(state)
        state = after
        found.append(jax.tree_util.tree_map(np.asarray, shown))
    energies.append(float(system.observe(state, potential).conserved))
    J, kelvin = (np.concatenate(part) for part in zip(*found, strict=True))
    return J, kelvin, (energies[1] - energies[0]) / len(masses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=1000.0, help="of the trajectory whose fluxes are taken")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    settings, began = SETTINGS, time.monotonic()
    potential = LennardJones(("Ar",), epsilon=119.8 * BOLTZMANN, sigma=3.405, cutoff=PolynomialCutoff(settings["cutoff"], width=1.0))
    masses = np.full(4 * settings["cells"] ** 3, bulk("Ar").get_masses()[0])
    graph, momenta = liquid(settings, potential, masses)
    J, kelvin, drift = fluxes(settings, potential, graph, momenta, masses, options.picoseconds)
    interval = settings["timestep"] * settings["every"]
    conditions = {"temperature": float(kelvin.mean()), "volume": float(abs(jnp.linalg.det(graph.cell)))}
    length = int(1e3 * settings["longest"] / interval) + 1
    found = observables.thermal_conductivity(J, interval, length=length, blocks=settings["blocks"], **conditions)
    at = int(1e3 * settings["read"] / interval)
    g = observables.pair_distribution(graph, ("Ar",), jnp.linspace(2.0, 7.0, 251), width=0.1)
    result = {
        "conductivity_W_per_m_K": float(found.value[at]),
        "error": float(found.error[at]),
        "temperature_K": conditions["temperature"],
        "density_g_per_cm3": settings["density"],
        "atoms": len(masses),
        "picoseconds": len(J) * interval * 1e-3,
        "drift_eV_per_atom": drift,
        "largest_g": float(g.max()),
        "seconds": time.monotonic() - began,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "argon_conductivity.json").write_text(json.dumps(result, indent=1) + "\n")
    observables.plot_green_kubo(found, "thermal conductivity (W/(m K))").savefig(options.output / "argon_conductivity.png", dpi=150)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
