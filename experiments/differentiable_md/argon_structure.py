"""The pair potential of argon from the measured structure factor of the liquid at 85 K.

    JAXPOT_DATA=... python experiments/differentiable_md/argon_structure.py        # 108 atoms; minutes
    JAXPOT_DATA=... python experiments/differentiable_md/argon_structure.py --begin 3.5

S(q) was measured by Yarnell et al., Phys. Rev. A 7, 2130 (1973). A liquid of a first Lennard-Jones potential is simulated, its ε and σ are moved
by `fit.objective` with reweighted means as far as enough states count, and it is simulated anew, until S(q) no longer improves by more than its states
say. Then a cubic spline takes the place of the Lennard-Jones form, held to it only by a weak prior, and the same is done with its values. The
measured S(q) is averaged over the same reciprocal vectors of the cell as the simulated one. No potential of argon is looked at.
"""

import argparse
import csv
import json
import os
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
from ase.build import bulk  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import observables, trajectories  # noqa: E402
from jaxpot.cutoffs import PolynomialCutoff  # noqa: E402
from jaxpot.empirical import CubicSpline, LennardJones, PairSpline  # noqa: E402
from jaxpot.md import CSVR, System, blocks  # noqa: E402
from jaxpot.units import BOLTZMANN  # noqa: E402

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "seed": 0,
    "temperature": 85.0,  # K
    "density": 0.02125,  # 1/Å³
    "cells": 3,  # of 4 atoms, along each axis
    "cutoff": 8.0,  # Å, and it begins to end 1 Å before
    "begin": (100.0, 3.2),  # ε/k in K and σ in Å
    "timestep": 5.0,  # fs
    "melt": 15.0,  # ps at 250 K, once
    "cool": 15.0,  # ps at the temperature, before states count, for every potential
    "states": 150,
    "between": 0.4,  # ps between two states
    "q": (0.8, 8.0, 0.1),  # 1/Å: first, last, step
    "width": 0.05,  # 1/Å, of the shells of reciprocal vectors
    "full": 2.0,  # 1/Å; beyond it every shell has as many vectors as this one, taken at random
    "sigma": 0.02,  # of S(q), measured and simulated
    "least": 0.5,  # share of the states that must count
    "turns": 10,  # most samples of a form
    "still": 0.01,  # Å; the form has been found when its minimum moves by less and no state was missing
    "knots": (2.9, 3.15, 3.4, 3.6, 3.8, 4.0, 4.3, 4.7, 5.2, 5.9, 6.8, 8.0),  # Å, of the spline
    "prior": (0.1, 0.3e-3),  # of its values: a share of what Lennard-Jones has there, and eV
}


def measured() -> tuple[np.ndarray, np.ndarray]:
    """q in 1/Å and S(q)."""
    if "JAXPOT_DATA" not in os.environ:
        raise SystemExit("the measured structure factor is read through JAXPOT_DATA; write JAXPOT_DATA=/path/to/shared before the command")
    with open(Path(os.environ["JAXPOT_DATA"]) / "data" / "diffmd_targets" / "argon_85K_sq.csv") as file:
        rows = [(float(row["Q_per_A"]), float(row["S"])) for row in csv.DictReader(file)]
    return tuple(np.transpose(rows))


class Scattering:
    """S(q) on reciprocal vectors of the cell: of a structure, and as it was measured on the same vectors."""

    def __init__(self, settings: dict, cell: np.ndarray):
        first, last, step = settings["q"]
        self.q, self.width = np.arange(first, last + 0.5 * step, step), settings["width"]
        waves = observables.wave_vectors(cell, last + 5 * self.width)
        lengths = np.linalg.norm(2 * np.pi * waves @ np.linalg.inv(cell).T, axis=1)
        chosen = np.random.default_rng(settings["seed"]).uniform(size=len(waves)) < (settings["full"] / lengths) ** 2
        self.waves, lengths = waves[chosen], lengths[chosen]
        shells = np.exp(-0.5 * ((self.q[:, None] - lengths) / self.width) ** 2)
        self.q, shells = (x[np.sum(shells, axis=1) > 0.5] for x in (self.q, shells))  # of small q a cell has few
        self.measured = shells @ np.interp(lengths, *measured()) / np.sum(shells, axis=1)

    def of(self, graph: jp.Graph) -> jax.Array:
        return observables.structure_factor(graph, ("Ar",), self.q, waves=self.waves, width=self.width)[0, 0]


class Liquid:
    """A liquid that goes on with ever new potentials."""

    def __init__(self, settings: dict, potential: jp.Potential):
        self.settings, self.key, self.momenta = settings, jax.random.key(settings["seed"]), None
        self.atoms = bulk("Ar", "fcc", a=(4 / settings["density"]) ** (1 / 3), cubic=True).repeat(settings["cells"])
        self._places(potential, 250.0, settings["melt"], 1.0)

    def _places(self, potential: jp.Potential, temperature: float, picoseconds: float, between: float) -> list[np.ndarray]:
        """Positions along the next part of the trajectory."""
        settings, (self.key, key) = self.settings, jax.random.split(self.key)
        graph, dt = jp.from_atoms(self.atoms, settings["cutoff"]), settings["timestep"]
        system = System(graph, CSVR(temperature=temperature, timestep=dt), momenta=self.momenta)
        steps, interval = (round(1e3 * time / dt) for time in (picoseconds, between))
        places = []
        for _, found in tqdm(blocks(system, system.init(key, potential), potential, steps=steps, interval=interval), total=steps // interval):
            places.append(found.positions)
            self.momenta = found.momenta - found.momenta.mean(axis=0)
        self.atoms.positions = places[-1]
        return places

    def sampled(self, potential: jp.Potential) -> trajectories.Sample:
        """States of a potential; those before the liquid has come to rest do not count."""
        settings, graphs = self.settings, []
        places = self._places(potential, settings["temperature"], settings["cool"] + settings["states"] * settings["between"], settings["between"])
        for place in places[-settings["states"] :]:
            atoms = self.atoms.copy()
            atoms.positions = place
            graphs.append(jp.from_atoms(atoms, settings["cutoff"]))
        slots = max(graph.neighbors.shape[1] for graph in graphs)
        return trajectories.sample([jp.graph.pad(graph, max_neighbors=slots) for graph in graphs], potential, settings["temperature"])


def pair_energy(potential: jp.Potential, r: np.ndarray) -> np.ndarray:
    """V at distances [R] in Å, in eV, with the end that the potential gives it."""
    pair = jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.0, 0, 0]]), float(potential.reach))
    places = jnp.zeros((len(r), 2, 3)).at[:, 1, 0].set(r)
    return np.asarray(jax.vmap(lambda place: potential(pair.replace(positions=place)))(places))


def minimum(potential: jp.Potential) -> tuple[float, float]:
    """Where V is lowest, in Å, and how deep it is, in K."""
    r = np.arange(3.0, 5.0, 0.001)
    energies = pair_energy(potential, r)
    return float(r[np.argmin(energies)]), float(-np.min(energies) / BOLTZMANN)


def found_from(settings: dict, potential: jp.Potential, patterns: tuple[str, ...], terms: dict, liquid: Liquid, scattering: Scattering) -> tuple:
    """The potential of a form that gives the measured S(q), what its own states give, and the way there."""
    way, message = [], ""
    for turn in range(settings["turns"] + 1):
        states = liquid.sampled(potential)
        factors = jax.lax.map(scattering.of, states.graphs)

        def mean(potential: jp.Potential, states=states, factors=factors) -> jax.Array:
            found = trajectories.reweighted(states, lambda graph: jnp.zeros(()), potential, least=0.0)
            return jnp.where(found.effective < settings["least"], jnp.nan, found.weights @ factors)

        own = np.asarray(factors.mean(axis=0))
        at, depth = minimum(potential)
        rms = float(np.sqrt(np.mean((own - scattering.measured) ** 2)))
        way.append({"minimum, Å": at, "depth, K": depth, "rms of S": rms})
        print(json.dumps(way[-1]), flush=True)
        still = len(way) > 1 and abs(at - way[-2]["minimum, Å"]) < settings["still"] and "NaN" not in message
        if still or turn == settings["turns"]:
            return potential, own, way, still
        found = jp.fit.objective(potential, *patterns, observables={"S(q)": (mean, scattering.measured, settings["sigma"])} | terms, progress=False)
        potential, message = found.model, found.message


def figure(settings: dict, scattering: Scattering, curves: dict, potentials: dict, path: Path) -> None:
    """S(q) and the potentials of all stages."""
    chart, axes = plt.subplots(1, 2, figsize=(9, 3.5), constrained_layout=True)
    axes[0].plot(*measured(), "k", linewidth=0.8, label="measured, 85 K")
    r = np.linspace(3.1, settings["cutoff"], 300)
    for i, (name, own) in enumerate(curves.items()):
        axes[0].plot(scattering.q, own, f"C{i}.-", markersize=4, linewidth=0.7, label=name)
        axes[1].plot(r, 1e3 * pair_energy(potentials[name], r), f"C{i}", label=name)
    axes[0].set(xlabel="q, 1/Å", ylabel="S(q)", xlim=(0, settings["q"][1]))
    axes[1].axvspan(3.70, 3.83, color="gray", alpha=0.2)
    axes[1].set(xlabel="r, Å", ylabel="V, meV", ylim=(-16, 16))
    for axis in axes:
        axis.legend(frameon=False)
    chart.savefig(path, dpi=110)
    plt.close(chart)


def run(settings: dict, path: Path | None) -> dict:
    """Both forms, one after the other."""
    began = time.monotonic()
    epsilon, sigma = settings["begin"]
    cutoff = PolynomialCutoff(settings["cutoff"], width=1.0)
    start = LennardJones(("Ar",), epsilon=epsilon * BOLTZMANN, sigma=sigma, cutoff=cutoff)
    liquid = Liquid(settings, start)
    scattering = Scattering(settings, liquid.atoms.cell.array)
    form, of_form, way, still = found_from(settings, start, ("epsilon", "sigma"), {}, liquid, scattering)
    results = {"q": scattering.q.tolist(), "Lennard-Jones": {"way": way, "still": still, "sigma, Å": float(form.sigma)}}
    knots = np.array(settings["knots"])
    values = pair_energy(form, knots)
    slope = jax.grad(lambda r: form.pair(r, 0, 0))(knots[0])
    spline = PairSpline(("Ar",), (("Ar", "Ar"),), (CubicSpline(knots, values, first=slope, last=0.0),))
    share, least = settings["prior"]
    width = np.append(np.hypot(share * values, least)[:-1], 1e-9)  # it ends at nothing
    prior = {"prior": (lambda potential: jnp.asarray(potential.splines[0].y), values, width)}
    free, of_free, way, still = found_from(settings, spline, ("splines.0.y",), prior, liquid, scattering)
    results |= {"spline": {"way": way, "still": still, "values, meV": (1e3 * np.asarray(free.splines[0].y)).tolist()}}
    results["seconds"] = time.monotonic() - began
    if path is not None:
        figure(settings, scattering, {"Lennard-Jones": of_form, "spline": of_free}, {"Lennard-Jones": form, "spline": free}, path)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--begin", type=float, default=SETTINGS["begin"][1], help="σ of the first potential, in Å")
    sigma = parser.parse_args().begin
    results = run(SETTINGS | {"begin": (SETTINGS["begin"][0], sigma)}, HERE / "argon_structure.png" if sigma == SETTINGS["begin"][1] else None)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"argon_structure_{sigma:g}.json").write_text(json.dumps(results, indent=1) + "\n")
