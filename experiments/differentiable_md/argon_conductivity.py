"""The thermal conductivity of liquid argon near its triple point, from how the heat flux fluctuates.

    python experiments/differentiable_md/argon_conductivity.py                        # 1 ns of 108 atoms; minutes
    python experiments/differentiable_md/argon_conductivity.py --picoseconds 4000

Lennard-Jones argon (ε/k = 119.8 K, σ = 3.405 Å) at 86 K and 1.418 g/cm³; published simulations and measurements there are about 0.13 W/(m K).
A crystal is melted at 400 K, cooled by a thermostat, and then left to itself; the heat flux is taken every 20 fs. The integral is read at
a time that is fixed beforehand, with an error from blocks of the trajectory. Figure and numbers of what there is so far are in `results/`.
"""

import argparse
import json
import time
from collections.abc import Iterator
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
    "longest": 4.0,  # ps
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


def fluxes(
    settings: dict, potential: LennardJones, graph: jp.Graph, momenta: np.ndarray, masses: np.ndarray, picoseconds: float
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Of ever more of a trajectory without thermostat: heat fluxes [T, 3] in eV Å/fs, temperatures [T] in K, and by how much its energy drifts, in
    eV per atom."""
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

    found, start = [], float(system.observe(state, potential).conserved)
    for _ in tqdm(range(int(np.ceil(1e3 * picoseconds / (settings["timestep"] * every * chunk)))), desc="fluxes"):
        after, shown = advanced(state)
        while bool(after.overflow):
            state = system.reallocated(state, extra=8)
            after, shown = advanced(state)
        state = after
        found.append(jax.tree_util.tree_map(np.asarray, shown))
        J, kelvin = (np.concatenate(part) for part in zip(*found, strict=True))
        yield J, kelvin, (float(system.observe(state, potential).conserved) - start) / len(masses)


def report(settings: dict, graph: jp.Graph, J: np.ndarray, kelvin: np.ndarray, output: Path) -> dict:
    """The conductivity of what there is, with its figure."""
    interval = settings["timestep"] * settings["every"]
    conditions = {"temperature": float(kelvin.mean()), "volume": float(abs(jnp.linalg.det(graph.cell)))}
    length = int(1e3 * settings["longest"] / interval) + 1
    found = observables.thermal_conductivity(J, interval, length=length, blocks=settings["blocks"], **conditions)
    observables.plot_green_kubo(found, "thermal conductivity (W/(m K))").savefig(output / "argon_conductivity.png", dpi=150)
    at = int(1e3 * settings["read"] / interval)
    return {
        "conductivity_W_per_m_K": float(found.value[at]),
        "error": float(found.error[at]),
        "temperature_K": conditions["temperature"],
        "density_g_per_cm3": settings["density"],
        "atoms": len(graph.numbers),
        "picoseconds": len(J) * interval * 1e-3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=1000.0, help="of the trajectory whose fluxes are taken")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    settings, began = SETTINGS, time.monotonic()
    least = 2 * settings["blocks"] * settings["longest"]  # blocks are to be longer than correlations
    if options.picoseconds < least:
        parser.error(f"--picoseconds {options.picoseconds:g} is too short; expected at least {least:g}")
    options.output.mkdir(parents=True, exist_ok=True)
    potential = LennardJones(("Ar",), epsilon=119.8 * BOLTZMANN, sigma=3.405, cutoff=PolynomialCutoff(settings["cutoff"], width=1.0))
    masses = np.full(4 * settings["cells"] ** 3, bulk("Ar").get_masses()[0])
    graph, momenta = liquid(settings, potential, masses)
    g = observables.pair_distribution(graph, ("Ar",), jnp.linspace(2.0, 7.0, 251), width=0.1)
    for J, kelvin, drift in fluxes(settings, potential, graph, momenta, masses, options.picoseconds):
        if 1e-3 * len(J) * settings["timestep"] * settings["every"] < least:
            continue
        result = report(settings, graph, J, kelvin, options.output) | {"drift_eV_per_atom": drift, "largest_g": float(g.max())}
        result["seconds"] = time.monotonic() - began
        (options.output / "argon_conductivity.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
