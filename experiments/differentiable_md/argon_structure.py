"""The pair potential of argon from the measured structure factor of the liquid at 85 K.

    JAXPOT_DATA=... python experiments/differentiable_md/argon_structure.py        # 108 atoms; goes on where it was killed
    JAXPOT_DATA=... python experiments/differentiable_md/argon_structure.py --begin 3.5

S(q) was measured by Yarnell et al., Phys. Rev. A 7, 2130 (1973). A liquid of a first Lennard-Jones potential is simulated, its ε and σ are moved
with derivatives of reweighted means as far as enough states count (`search.py`), and it is simulated anew, until the minimum has come to rest. Then a cubic
spline takes the place of the Lennard-Jones form, held to it only by a weak prior, and the same is done with its values. The
measured S(q) is averaged over the same reciprocal vectors of the cell as the simulated one. No potential of argon is looked at.
"""

import argparse
import csv
import os
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
from search import Search  # noqa: E402

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
    "least": 0.03,  # share of the states that must count after a step
    "turns": 12,  # most samples of a form
    "rest": 3,  # turns; the form has been found when its minimum was the same in the last ones
    "still": 0.02,  # Å, within which it is the same
    "widths": {"epsilon": 1.0, "sigma": 0.3},  # of the Lennard-Jones form, of logarithms
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
        self.of = jax.jit(lambda graphs: jax.lax.map(self._of_one, graphs))

    def _of_one(self, graph: jp.Graph) -> jax.Array:
        return observables.structure_factor(graph, ("Ar",), self.q, waves=self.waves, width=self.width)[0, 0]


class Liquid:
    """A liquid that goes on with ever new potentials; where it is, is kept in a file."""

    def __init__(self, settings: dict, potential: jp.Potential, path: Path):
        self.settings, self.path = settings, path
        self.atoms = bulk("Ar", "fcc", a=(4 / settings["density"]) ** (1 / 3), cubic=True).repeat(settings["cells"])
        graph = jp.from_atoms(self.atoms, settings["cutoff"])
        self.system = System(graph, CSVR(temperature=settings["temperature"], timestep=settings["timestep"]))
        if path.exists():
            kept = np.load(path)
            self.count, self.system = int(kept["count"]), self._from(kept["positions"], kept["momenta"])
        else:
            self.count = 0
            self._places(potential, 250.0, settings["melt"], 1.0)

    def _from(self, positions: np.ndarray, momenta: np.ndarray) -> System:
        fractional = np.linalg.solve(self.atoms.cell.array.T, positions.T).T % 1.0 % 1.0
        return self.system.replace(positions=jnp.asarray(fractional), momenta=jnp.asarray(momenta - momenta.mean(axis=0)))

    def _places(self, potential: jp.Potential, temperature: float, picoseconds: float, between: float) -> list[np.ndarray]:
        """Positions along the next part of the trajectory."""
        settings, places = self.settings, []
        system = self.system.replace(ensemble=self.system.ensemble.replace(temperature=jnp.asarray(temperature)))
        state = system.init(jax.random.fold_in(jax.random.key(settings["seed"]), self.count), potential)
        steps, interval = (round(1e3 * time / settings["timestep"]) for time in (picoseconds, between))
        for _, found in blocks(system, state, potential, steps=steps, interval=interval):
            places.append(found.positions)
        self.count, self.system = self.count + 1, self._from(found.positions, found.momenta)
        np.savez(self.path, count=self.count, positions=found.positions, momenta=found.momenta)
        return places

    def sampled(self, potential: jp.Potential) -> trajectories.Sample:
        """States of a potential; those before the liquid has come to rest do not count."""
        settings, graphs = self.settings, []
        places = self._places(potential, settings["temperature"], settings["cool"] + settings["states"] * settings["between"], settings["between"])
        for place in places[-settings["states"] :]:
            atoms = self.atoms.copy()
            atoms.positions = place
            graphs.append(jp.from_atoms(atoms, settings["cutoff"]))
        slots = 8 * -(-max(graph.neighbors.shape[1] for graph in graphs) // 8)
        return trajectories.sample([jp.graph.pad(graph, max_neighbors=slots) for graph in graphs], potential, settings["temperature"])


def pair_energy(potential: jp.Potential, r: np.ndarray) -> np.ndarray:
    """V at distances [R] in Å, in eV, with the end that the potential gives it."""
    pair = jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.0, 0, 0]]), float(potential.reach))
    places = np.zeros((len(r), 2, 3))
    places[:, 1, 0] = r
    return np.asarray(_energies(potential, pair, places))


@jax.jit
def _energies(potential: jp.Potential, graph: jp.Graph, places: jax.Array) -> jax.Array:
    return jax.vmap(lambda place: potential(graph.replace(positions=place)))(places)


def minimum(potential: jp.Potential) -> tuple[float, float]:
    """Where V is lowest, in Å, and how deep it is, in K."""
    r = np.arange(3.0, 5.0, 0.001)
    energies = pair_energy(potential, r)
    return float(r[np.argmin(energies)]), float(-np.min(energies) / BOLTZMANN)


def found_from(settings: dict, potential: jp.Potential, widths: dict, liquid: Liquid, scattering: Scattering, path: Path) -> tuple:
    """The potential of a form that gives the measured S(q), what its own states give, and the way there."""

    def sampled(potential: jp.Potential, _: int) -> tuple:
        states = liquid.sampled(potential)
        return states, scattering.of(states.graphs)

    def means(potential: jp.Potential, found: tuple) -> jax.Array:
        return trajectories.reweighted(found[0], lambda graph: jnp.zeros(()), potential, least=0.0).weights @ found[1]

    def told(potential: jp.Potential) -> dict:
        return dict(zip(("minimum, Å", "depth, K"), minimum(potential), strict=True))

    search = Search(potential, widths, means, scattering.measured, settings["sigma"], least=settings["least"], path=path)
    while not _still(settings, search.turns) and len(search.turns) < settings["turns"]:
        turn = search.turn(sampled, told)
        rms = float(np.sqrt(np.mean((np.array(turn["means"]) - scattering.measured) ** 2)))
        well = f"minimum {turn['minimum, Å']:.3f} Å, {turn['depth, K']:.1f} K deep"
        print(f"{well}; rms of S {rms:.4f}; part {turn['part']:.2f}, {turn['seconds']:.0f} s", flush=True)
    last = search.turns[-1]
    return search.build(jnp.asarray(last["x"])), np.array(last["means"]), search.turns


def _still(settings: dict, turns: list[dict]) -> bool:
    """Whether the minimum has come to rest, in whole steps."""
    if len(turns) < settings["rest"] or any(turn["part"] < 1 for turn in turns[-settings["rest"] :]):
        return False
    return bool(np.ptp([turn["minimum, Å"] for turn in turns[-settings["rest"] :]]) < settings["still"])


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


def run(settings: dict, results: Path, chart: Path | None) -> dict:
    """Both forms, one after the other."""
    results.mkdir(parents=True, exist_ok=True)
    epsilon, sigma = settings["begin"]
    cutoff = PolynomialCutoff(settings["cutoff"], width=1.0)
    start = LennardJones(("Ar",), epsilon=epsilon * BOLTZMANN, sigma=sigma, cutoff=cutoff)
    liquid = Liquid(settings, start, results / "liquid.npz")
    scattering = Scattering(settings, liquid.atoms.cell.array)
    form, of_form, way = found_from(settings, start, settings["widths"], liquid, scattering, results / "lennard_jones.json")
    knots = np.array(settings["knots"])
    values = pair_energy(form, knots)
    slope = jax.grad(lambda r: form.pair(r, 0, 0))(knots[0])
    spline = PairSpline(("Ar",), (("Ar", "Ar"),), (CubicSpline(knots, values, first=slope, last=0.0),))
    share, least = settings["prior"]
    width = np.append(np.hypot(share * values, least)[:-1], 1e-9)  # it ends at nothing
    free, of_free, longer = found_from(settings, spline, {"splines.0.y": width}, liquid, scattering, results / "spline.json")
    if chart is not None:
        figure(settings, scattering, {"Lennard-Jones": of_form, "spline": of_free}, {"Lennard-Jones": form, "spline": free}, chart)
    return {name: found[-1]["minimum, Å"] for name, found in (("Lennard-Jones", way), ("spline", longer))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--begin", type=float, default=SETTINGS["begin"][1], help="σ of the first potential, in Å")
    sigma = parser.parse_args().begin
    chart = HERE / "argon_structure.png" if sigma == SETTINGS["begin"][1] else None
    print(run(SETTINGS | {"begin": (SETTINGS["begin"][0], sigma)}, HERE / "results" / f"argon_structure_{sigma:g}", chart))
