"""Gradients of trajectories and of ensemble means beside closed forms: a harmonic chain and a double well.

    python experiments/differentiable_md/closed_forms.py        # a minute

A chain of N atoms on springs k along a line, with free ends, begins at rest in one of its modes. Velocity Verlet moves mode x as
x cos(nθ) after n steps, with cos θ = 1 − (ω Δt)²/2 and ω = 2 √(k/m) sin(q/2), so the derivative of a place by k is known to round-off. In the canonical
ensemble a spring's mean square extension is kT/k, and its derivative −kT/k². In the double well U = h ((x/a)² − 1)² + t x/a means are integrals
over one coordinate. States of both are those of Langevin trajectories; of the double well, h and t are then found from a mean and a mean square by
`fit.objective` with reweighted means, sampled anew wherever too few states count.
"""

import argparse
import json
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.data import atomic_masses  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import trajectories  # noqa: E402
from jaxpot.md import NVE, Langevin, System  # noqa: E402
from jaxpot.units import BOLTZMANN, FEMTOSECOND  # noqa: E402

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "seed": 0,
    "temperature": 300.0,  # K
    "atoms": 8,  # of the chain
    "distance": 3.0,  # Å
    "stiffness": 1.0,  # eV/Å²
    "mode": 3,
    "amplitude": 0.1,  # Å
    "timestep": 4.0,  # fs
    "steps": 2000,
    "every": 50,
    "width": 1.0,  # Å, a of the double well
    "height": 0.06,  # eV
    "tilt": 0.01,  # eV
    "start": (0.04, -0.005),  # height and tilt where the search begins
    "states": 4000,
    "replicas": 64,
    "between": 60,  # steps between two states
    "least": 0.7,  # share of the states that must count
}
KT = BOLTZMANN * SETTINGS["temperature"]


@jp.pytree
class Chain(jp.Potential):
    """Springs between neighbours of a line along x; y and z are held to it by springs of their own."""

    stiffness: jax.Array
    distance: jax.Array
    species = ("Ar",)
    reach = jnp.asarray(1.0)

    def energies(self, graph):
        springs = 0.5 * self.stiffness * (jnp.diff(graph.positions[:, 0]) - self.distance) ** 2
        return jnp.pad(springs, (0, 1)) + 0.5 * jnp.sum(graph.positions[:, 1:] ** 2, axis=1)


@jp.pytree
class DoubleWell(jp.Potential):
    """One coordinate, x, of every atom; y and z are on springs."""

    height: jax.Array
    tilt: jax.Array
    width: jax.Array
    species = ("Ar",)
    reach = jnp.asarray(1.0)

    def energies(self, graph):
        return self.along(graph.positions[:, 0]) + 0.5 * jnp.sum(graph.positions[:, 1:] ** 2, axis=1)

    def along(self, x):
        """U(x) in eV."""
        y = x / self.width
        return self.height * (y**2 - 1) ** 2 + self.tilt * y


def line(n: int, distance: float) -> Atoms:
    return Atoms(f"Ar{n}", positions=np.arange(n)[:, None] * [distance, 0.0, 0.0])


# --- the chain -------------------------------------------------------------------------------------------------------------


def of_a_mode(settings: dict) -> dict:
    """The place of the first atom over time and its derivative by the stiffness, of both rollouts and of the closed form."""
    n, distance, amplitude = settings["atoms"], settings["distance"], settings["amplitude"]
    dt = float(np.float32(settings["timestep"] * FEMTOSECOND))  # which jax-md rounds
    wave, mass = np.pi * settings["mode"] / n, atomic_masses[18]
    shape = amplitude * np.cos(wave * (np.arange(n) + 0.5))
    atoms = line(n, distance)
    atoms.positions[:, 0] += shape
    ensemble = NVE(settings["temperature"], timestep=settings["timestep"])
    system = System(jp.from_atoms(atoms, 1.0), ensemble, masses=np.full(n, mass), momenta=np.zeros((n, 3)))
    count = np.arange(settings["every"], settings["steps"] + 1, settings["every"])

    def closed(stiffness):
        omega = 2 * jnp.sqrt(stiffness / mass) * jnp.sin(wave / 2)
        return shape[0] * jnp.cos(count * jnp.arccos(1 - 0.5 * (omega * dt) ** 2))

    def rolled(roll, stiffness):
        potential = Chain(stiffness, distance)
        state = system.init(jax.random.key(0), potential)
        _, places = roll(system, state, potential, steps=settings["steps"], observe=lambda s: s.motion.position[0, 0], interval=settings["every"])
        return places

    k = jnp.asarray(settings["stiffness"])
    found = {"time, ps": 1e-3 * settings["timestep"] * count, "closed": jax.jacfwd(closed)(k), "place": closed(k)}
    for name, roll in (("rollout", trajectories.rollout), ("reversible", trajectories.rollout_reversible)):
        place, pull = jax.vjp(lambda k, roll=roll: rolled(roll, k), k)
        assert np.allclose(place, found["place"], atol=1e-6), "the trajectory is not that of the mode"
        found[name] = jnp.stack([pull(row)[0] for row in jnp.eye(len(count))[:: max(1, len(count) // 8)]])
    return found | {"some": np.arange(0, len(count), max(1, len(count) // 8))}


def states_of(settings: dict, potential: jp.Potential, n: int, seed: int) -> trajectories.Sample:
    """States of a Langevin trajectory of each of some replicas."""
    system = System(jp.from_atoms(line(n, settings["distance"] if n > 1 else 0.0), 1.0), Langevin(settings["temperature"], 0.02, settings["timestep"]))
    each = settings["states"] // settings["replicas"]

    @jax.jit
    def replica(key):
        state = system.init(key, potential)
        state, _ = trajectories.rollout(system, state, potential, steps=20 * settings["between"])
        _, found = trajectories.rollout(
            system, state, potential, steps=each * settings["between"], observe=system.graph, interval=settings["between"]
        )  # fmt: skip
        return found

    keys = jax.random.split(jax.random.key(seed), settings["replicas"])
    graphs = jax.lax.map(replica, keys)
    graphs = jax.tree_util.tree_map(lambda x: x.reshape(-1, *x.shape[2:]), graphs)
    return trajectories.sample(graphs, potential, settings["temperature"])


def of_a_spring(settings: dict) -> dict:
    """The mean square extension of the chain's springs and its derivative by reweighting, and what their statistical errors are expected to be."""
    k, n = settings["stiffness"], settings["atoms"]
    states = states_of(settings, Chain(k, settings["distance"]), n, settings["seed"])

    def mean(stiffness):
        extension = lambda graph: jnp.mean((jnp.diff(graph.positions[:, 0]) - settings["distance"]) ** 2)  # noqa: E731
        return trajectories.reweighted(states, extension, Chain(stiffness, settings["distance"])).mean

    value, slope = jax.jit(jax.value_and_grad(mean))(k)
    m = len(states.energies) * (n - 1)
    return {
        "mean, Å²": float(value), "closed": KT / k, "error": KT / k * np.sqrt(2 / m),
        "slope": float(slope), "closed slope": -KT / k**2, "slope's error": KT / k**2 * np.sqrt(24 / m * (n - 1)),
    }  # fmt: skip


# --- the double well -------------------------------------------------------------------------------------------------------


def integrals(height: float, tilt: float, width: float) -> jnp.ndarray:
    """The means of x and x², by integration."""
    x = jnp.linspace(-4 * width, 4 * width, 4001)
    weight = jax.nn.softmax(-DoubleWell(height, tilt, width).along(x) / KT)
    return jnp.stack([weight @ x, weight @ x**2])


def moments(graph: jp.Graph) -> jnp.ndarray:
    x = graph.positions[0, 0]
    return jnp.stack([x, x**2])


def of_a_well(settings: dict) -> dict:
    """Derivatives of both means by height and tilt, over heights: by reweighting of states at every height, and by integration."""
    heights = np.linspace(0.02, 0.1, 5)
    found = {"height, eV": heights, "reweighted": [], "closed": []}
    for seed, height in enumerate(heights):
        states = states_of(settings, DoubleWell(height, settings["tilt"], settings["width"]), 1, seed)
        mean = lambda h, t, states=states: trajectories.reweighted(states, moments, DoubleWell(h, t, settings["width"])).mean  # noqa: E731
        found["reweighted"].append(jnp.stack(jax.jit(jax.jacrev(mean, (0, 1)))(height, settings["tilt"])))
        found["closed"].append(jnp.stack(jax.jacrev(integrals, (0, 1))(height, settings["tilt"], settings["width"])))
    return {name: np.asarray(value) for name, value in found.items()}


def search(settings: dict) -> dict:
    """Height and tilt from the means of x and x², with states sampled anew from where the last search ended."""
    target = np.asarray(integrals(settings["height"], settings["tilt"], settings["width"]))
    potential, way = DoubleWell(*settings["start"], settings["width"]), [settings["start"]]
    for turn in range(12):
        states = states_of(settings, potential, 1, 100 + turn)
        mean = lambda potential, states=states: trajectories.reweighted(states, moments, potential, least=settings["least"]).mean  # noqa: E731
        found = jp.fit.objective(potential, "height", "tilt", observables={"means": (mean, target, 0.01)}, progress=False)
        potential = found.model
        way.append((float(potential.height), float(potential.tilt)))
        if found.converged and "NaN" not in found.message and np.allclose(way[-1], way[-2], rtol=0, atol=0.003):
            break
    return {"height, eV": way[-1][0], "tilt, eV": way[-1][1], "samples": turn + 1, "way": way, "message": found.message}


def figure(mode: dict, well: dict, way: list, settings: dict, path: Path) -> None:
    """Derivatives beside closed forms, and the way of the search."""
    chart, axes = plt.subplots(1, 3, figsize=(11, 3.3), constrained_layout=True)
    axes[0].plot(mode["time, ps"], mode["closed"], "k", linewidth=0.8, label="closed form")
    for name, mark in (("rollout", "o"), ("reversible", "x")):
        axes[0].plot(mode["time, ps"][mode["some"]], mode[name], mark, label=name)
    axes[0].set(xlabel="time, ps", ylabel="∂x/∂k, Å³/eV", title="an atom of a chain")
    for i, moment in enumerate(("⟨x⟩", "⟨x²⟩")):
        for j, leaf in enumerate(("h", "t")):
            axes[1].plot(well["height, eV"], well["closed"][:, j, i], f"C{2 * i + j}", label=f"∂{moment}/∂{leaf}")
            axes[1].plot(well["height, eV"], well["reweighted"][:, j, i], f"C{2 * i + j}o")
    axes[1].set(xlabel="height h, eV", ylabel="derivative, Å/eV and Å²/eV", title="double well, points: reweighted")
    axes[2].plot(*np.transpose(way), "o-")
    axes[2].plot(settings["height"], settings["tilt"], "k+", markersize=14, label="truth")
    axes[2].set(xlabel="height, eV", ylabel="tilt, eV", title="search from two means")
    for axis in axes:
        axis.legend(frameon=False, fontsize=7)
    chart.savefig(path, dpi=110)
    plt.close(chart)


def run(settings: dict, path: Path) -> dict:
    """All of it, with the figure."""
    began = time.monotonic()
    mode, spring, well, found = of_a_mode(settings), of_a_spring(settings), of_a_well(settings), search(settings)
    figure(mode, well, found["way"], settings, path)
    closed = np.asarray(mode["closed"])[mode["some"]]
    scale = np.max(np.abs(well["closed"]), axis=0)
    return {
        "chain, largest error of a derivative over the largest derivative": {
            name: float(np.max(np.abs(mode[name] - closed)) / np.max(np.abs(closed))) for name in ("rollout", "reversible")
        },
        "spring": spring,
        "well, rms error of derivatives over the largest, by (h, t) and (x, x²)": np.sqrt(
            np.mean(((well["reweighted"] - well["closed"]) / scale[None]) ** 2, axis=0)
        ).tolist(),
        "search": {name: found[name] for name in ("height, eV", "tilt, eV", "samples", "message")},
        "seconds": time.monotonic() - began,
    }


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    results = run(SETTINGS, HERE / "closed_forms.png")
    print(json.dumps(results, indent=1))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "closed_forms.json").write_text(json.dumps(results, indent=1) + "\n")
