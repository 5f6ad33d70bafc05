"""Water with one bead per molecule: pairs and angles from the measured g(r), the measured density of angles and the pressure, by reweighted means.

    JAXPOT_DATA=... python experiments/differentiable_md/water.py             # 300 beads; goes on where it was killed
    JAXPOT_DATA=... python experiments/differentiable_md/water.py --check     # then a longer trajectory of what was found; again with its pressure mended

A cubic spline of the distance and the three-body term of Stillinger and Weber begin as the monatomic water of Molinero and Moore, and a linear ACE of three
bodies as nothing; the values of the spline, the strength of the angles, their ideal and their range, and the coefficients move as far as enough states
count (`search.py`), and the liquid is simulated anew. Both distributions are histograms about the points of the measured ones and are fixed for a
state; the pressure has a derivative of its own as well.
"""

import argparse
import csv
import functools
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from search import Search  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import observables, trajectories  # noqa: E402
from jaxpot.empirical import CubicSpline, PairSpline, StillingerWeber  # noqa: E402
from jaxpot.md import CSVR, System, blocks  # noqa: E402

HERE = Path(__file__).resolve().parent
BAR = 1e-4  # GPa
MOLECULE = 18.015  # amu
BLOCKS = 16  # of the trajectory that is examined
AVOGADRO = 0.602214076  # molecules of 1 amu in 1 g/cm³, per Å³
SPECIES = ("O",)
WATER = {"epsilon": 0.268381, "sigma": 2.3925, "a": 1.8, "lam": 23.15, "gamma": 1.2, "cosine": -1 / 3}  # J. Phys. Chem. B 113, 4008 (2009)
SETTINGS = {
    "seed": 0,
    "beads": 300,
    "timestep": 10.0,  # fs, as in the simulations of monatomic water
    "liquids": 2,  # side by side, one on each core
    "melt": 20.0,  # ps at 400 K, once
    "settle": 5.0,  # ps before states count, for every potential
    # how many turns there are at the end of every stage, from how many states; `forces` is how far coefficients may be from nothing, by the force
    # that they make, in eV/Å, `least` the share of the states that must count after a step, `sigma` how closely g, the density of angles and the
    # pressure in GPa are asked for, and `together` how many turns count for a step
    "stages": (
        {"turns": 12, "states": 200, "forces": 1e-9, "least": 0.15, "sigma": (0.02, 0.02, 0.01), "together": 1},
        {"turns": 28, "states": 400, "forces": 0.03, "least": 0.4, "sigma": (0.02, 0.02, 0.01), "together": 1},
        {"turns": 45, "states": 1000, "forces": 0.03, "least": 0.4, "sigma": (0.01, 0.006, 0.005), "together": 6},  # 252 points of g, 85 of the angles
    ),
    "between": 0.25,  # ps between two states
    "knots": (2.3, 2.5, 2.65, 2.8, 2.95, 3.1, 3.3, 3.5, 3.8, 4.1, 4.5, 5.0, 5.5, 6.0, 6.6),  # Å, of the spline
    "widths": {"y": 0.02, "lam": 10.0, "gamma": 0.2, "cosine": 0.15},  # how far each may be from where it began; y in eV
    "ace": {"cutoff": 4.2, "n_radial": 2, "l_max": 5, "degrees": (0, 6)},
    "check": {"states": 8000, "between": 0.1},
}


def measured() -> tuple[np.ndarray, ...]:
    """r in Å, g, θ in radian, density of angles, of O–O distances below 3.18 Å; temperature in K, density in beads/Å³ and radius of neighbours in Å."""
    if "JAXPOT_DATA" not in os.environ:
        raise SystemExit("the measured distributions are read through JAXPOT_DATA; write JAXPOT_DATA=/path/to/shared before the command")
    folder = Path(os.environ["JAXPOT_DATA"]) / "data" / "diffmd_targets"
    columns = []
    for name in ("water_OO_rdf.csv", "water_OOO_adf.csv"):
        with open(folder / name) as file:
            columns += list(np.array([list(map(float, row)) for row in list(csv.reader(file))[1:]]).T)
    asked = json.loads((folder / "targets.json").read_text())["water"]
    return (*columns, asked["temperature_K"], 1e-3 * asked["density_kg_m3"] * AVOGADRO / MOLECULE)


def edges(points: np.ndarray) -> np.ndarray:
    """Of bins about points: half-way between them, and at the ends the points themselves."""
    return np.concatenate([points[:1], 0.5 * (points[1:] + points[:-1]), points[-1:]])


class Distributions:
    """g(r) and the density of angles of states, in bins about the measured points."""

    radius = 3.18  # Å, of neighbours in angles

    def __init__(self, length: float, n: int):
        self.r, self.g, self.theta, self.p, self.temperature, self.density = measured()
        self.length, self.n = length, n
        self.shells, self.arcs = edges(self.r), edges(self.theta)

    def of(self, positions: np.ndarray) -> np.ndarray:
        """Shape [R + A], of positions [N, 3] in the cube."""
        vectors = positions[None] - positions[:, None]
        vectors -= self.length * np.round(vectors / self.length)
        r = np.linalg.norm(vectors, axis=-1)
        r[np.diag_indices(self.n)] = np.inf
        ideal = self.n * (self.n - 1) / self.length**3 * 4 / 3 * np.pi * np.diff(self.shells**3)
        g = np.histogram(r[r < self.shells[-1]], self.shells)[0] / ideal
        near = r < self.radius
        most = near.sum(axis=1).max()
        order = np.argsort(~near, axis=1, kind="stable")[:, :most]
        units = np.take_along_axis(vectors, order[:, :, None], axis=1) / np.take_along_axis(r, order, axis=1)[:, :, None]
        held = np.take_along_axis(near, order, axis=1)
        both = held[:, :, None] & held[:, None, :] & np.triu(np.ones((most, most), bool), 1)
        angles = np.arccos(np.clip((units @ units.transpose(0, 2, 1))[both], -1, 1))
        return np.append(g, np.histogram(angles, self.arcs)[0] / (len(angles) * np.diff(self.arcs)))

    @property
    def goal(self) -> np.ndarray:
        return np.append(self.g, self.p)

    def deviation(self, found: np.ndarray) -> tuple[float, float]:
        """Mean squares of g and of the density of angles less the measured ones."""
        squares = (found[: len(self.goal)] - self.goal) ** 2
        return float(np.mean(squares[: len(self.r)])), float(np.mean(squares[len(self.r) :]))


class Liquid:
    """Beads in a cube that go on with ever new potentials; where they are, is kept in a file."""

    def __init__(self, settings: dict, potential: jp.Potential, path: Path, seed: int):
        self.settings, self.path, self.seed, n = settings, path, seed, settings["beads"]
        self.temperature, density = measured()[4:]
        self.length = (n / density) ** (1 / 3)
        side = int(np.ceil(n ** (1 / 3)))
        sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        sites = sites[np.sort(np.random.default_rng(seed).permutation(len(sites))[:n])] / side
        self.atoms = Atoms(f"O{n}", positions=sites * self.length, cell=[self.length] * 3, pbc=True)
        self.reach = float(potential.reach)
        ensemble = CSVR(temperature=self.temperature, timestep=settings["timestep"])
        self.system = System(jp.from_atoms(self.atoms, self.reach), ensemble, masses=np.full(n, MOLECULE))
        self.count = 0
        if path.exists():
            kept = np.load(path)
            self.count, self.system = int(kept["count"]), self._from(kept["positions"], kept["momenta"])
            self.melted = kept["melted"]
        else:
            self.melted = None
            self.melted = self._places(potential, 400.0, settings["melt"], 1.0)[-1]

    def _from(self, positions: np.ndarray, momenta: np.ndarray) -> System:
        fractional = (positions / self.length) % 1.0 % 1.0
        return self.system.replace(positions=jnp.asarray(fractional), momenta=jnp.asarray(momenta - momenta.mean(axis=0)))

    def _places(self, potential: jp.Potential, temperature: float, picoseconds: float, between: float) -> list[np.ndarray]:
        """Positions along the next part of the trajectory."""
        system = self.system.replace(ensemble=self.system.ensemble.replace(temperature=jnp.asarray(temperature)))
        state = system.init(jax.random.fold_in(jax.random.key(self.seed), self.count), potential)
        steps, interval = (round(1e3 * time / self.settings["timestep"]) for time in (picoseconds, between))
        places = []
        for _, found in blocks(system, state, potential, steps=steps, interval=interval):
            places.append(found.positions)
        self.count, self.system = self.count + 1, self._from(found.positions, found.momenta)
        melted = found.positions if self.melted is None else self.melted
        np.savez(self.path, count=self.count, positions=found.positions, momenta=found.momenta, melted=melted)
        return places

    def places(self, potential: jp.Potential, states: int, between: float) -> list[np.ndarray]:
        """Positions of states of a potential; those before the liquid has come to rest do not count."""
        return self._places(potential, self.temperature, self.settings["settle"] + states * between, between)[-states:]


class Liquids:
    """Several that do not depend on one another, each on a core."""

    def __init__(self, settings: dict, potential: jp.Potential, folder: Path):
        n = settings["liquids"]
        self._pool = ThreadPoolExecutor(n)
        self.each = list(self._pool.map(lambda k: Liquid(settings, potential, folder / f"liquid-{k}.npz", settings["seed"] + k), range(n)))
        self.atoms, self.length, self.temperature = self.each[0].atoms, self.each[0].length, self.each[0].temperature
        self.slots = 8

    def sampled(self, potential: jp.Potential, states: int, between: float) -> tuple[trajectories.Sample, list[np.ndarray]]:
        """States of a potential, and their positions, one liquid after the other."""
        own = -(-states // len(self.each))
        places = [place for found in self._pool.map(lambda liquid: liquid.places(potential, own, between), self.each) for place in found]
        graphs = []
        for place in places:
            atoms = self.atoms.copy()
            atoms.positions = place
            graphs.append(jp.from_atoms(atoms, self.each[0].reach))
        needed = 8 * -(-max(graph.neighbors.shape[1] for graph in graphs) // 8)
        self.slots = self.slots if needed <= self.slots else needed + 8  # grows by more than is needed, so that little is compiled again
        return trajectories.sample([jp.graph.pad(graph, max_neighbors=self.slots) for graph in graphs], potential, self.temperature), places


def start(settings: dict) -> jp.Potential:
    """Monatomic water: its pairs as a spline that ends at 0, and its angles; and an ACE that is nothing yet."""
    pairs = StillingerWeber(SPECIES, A=7.049556277, B=0.6022245584, p=4.0, q=0.0, **(WATER | {"lam": 0.0}))
    knots = np.array(settings["knots"])
    pair = jp.from_atoms(Atoms("O2", positions=[[0, 0, 0], [2.5, 0, 0]]), float(pairs.reach))

    def energy(r):
        return pairs(pair.replace(positions=jnp.zeros((2, 3)).at[1, 0].set(r)))

    values = np.array([float(energy(r)) if r < pairs.reach else 0.0 for r in knots])
    spline = CubicSpline(knots, values, first=float(jax.grad(energy)(knots[0])), last=0.0)
    angles = StillingerWeber(SPECIES, A=0.0, B=0.0, p=4.0, q=0.0, **WATER)
    own = settings["ace"]
    density = jp.Density(
        SPECIES, jp.cutoffs.PowerCutoff(own["cutoff"]), jp.radial.Agnesi(own["n_radial"], nearest=2.8), own["l_max"], sigma=None, center_weight=0.0
    )  # fmt: skip
    ace = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(own["degrees"])), jp.Linear())
    return PairSpline(SPECIES, (SPECIES * 2,), (spline,)) + angles + ace.with_coefficients(jnp.zeros(ace.n_coefficients))


def widths_of(settings: dict, potential: jp.Potential, atoms: Atoms, forces: float) -> dict:
    """Path of every leaf that moves -> how far it may; of coefficients by the forces that they make in a liquid, in eV/Å."""
    own = settings["widths"]
    y = np.full(len(settings["knots"]), own["y"])
    y[-1] = 1e-9  # it ends at nothing
    coefficients = forces / jp.fit.force_scales(potential.terms[2], [atoms])
    angles = {f"terms.1.{name}": own[name] for name in ("lam", "gamma", "cosine")}
    return {"terms.0.splines.0.y": y, "terms.2.head.coefficients": coefficients} | angles


def slopes(temperature: float, build: Callable, x: jax.Array, found: tuple) -> jax.Array:
    """Derivatives of the means by what moves, where the states were sampled, [O, L]: of every state's energy by one reverse pass.

    With O of the states that does not depend on x, ∂⟨O⟩ = −β(⟨O ∂U⟩ − ⟨O⟩⟨∂U⟩); the pressure has ⟨∂p⟩ beside it.
    """
    states, seen = found

    def of(graph):
        pressure, by_pressure = jax.value_and_grad(lambda x: observables.thermal_pressure(build(x), graph, temperature))(x)
        return pressure, by_pressure, jax.grad(lambda x: build(x)(graph))(x)

    pressure, by_pressure, force = jax.lax.map(of, states.graphs)
    values = jnp.concatenate([seen, pressure[:, None]], axis=1)
    covariance = (values - values.mean(axis=0)).T @ (force - force.mean(axis=0)) / len(values)
    return (-covariance / states.kT).at[-1].add(by_pressure.mean(axis=0))


def run(settings: dict, folder: Path) -> tuple[Liquids, Distributions, Search]:
    """The search; every turn is stored in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    first = start(settings)
    liquid = Liquids(settings, first, folder)
    shown = Distributions(liquid.length, settings["beads"])

    def sampled(potential: jp.Potential, turn: int) -> tuple:
        count = next(stage["states"] for stage in settings["stages"] if turn < stage["turns"])
        states, places = liquid.sampled(potential, count, settings["between"])
        return states, jnp.stack([shown.of(place) for place in places])

    def means(potential: jp.Potential, found: tuple) -> jax.Array:
        states, seen = found
        own = trajectories.reweighted(states, lambda graph: observables.thermal_pressure(potential, graph, liquid.temperature), potential, least=0.0)
        return jnp.append(own.weights @ seen, own.mean)

    melted = liquid.atoms.copy()
    melted.positions = np.asarray(liquid.each[0].melted)
    for stage in settings["stages"]:
        widths = widths_of(settings, first, melted, stage["forces"])
        sigma = np.repeat(stage["sigma"], [len(shown.r), len(shown.theta), 1])
        search = Search(
            first, widths, means, np.append(shown.goal, BAR), sigma, least=stage["least"], path=folder / "turns.json",
            slopes=functools.partial(slopes, liquid.temperature), together=stage["together"],
        )  # fmt: skip
        while len(search.turns) < stage["turns"]:
            turn = search.turn(sampled)
            both = shown.deviation(np.array(turn["means"]))
            own = f"g {both[0]:.2e}, angles {both[1]:.2e}, pressure {turn['means'][-1] / BAR:7.0f} bar"
            print(f"turn {len(search.turns):>2}, {turn['seconds']:4.0f} s: {own}, part {turn['part']:.2f}", flush=True)
    return liquid, shown, search


def checked(settings: dict, liquid: Liquids, shown: Distributions, potential: jp.Potential, chart: Path) -> dict:
    """What a longer trajectory says of a potential, with a figure."""
    began = time.monotonic()
    states, places = liquid.sampled(potential, **settings["check"])
    parts = np.array([shown.of(place) for place in places])
    found = parts.mean(axis=0)
    # what the mean squares have from the noise of a trajectory of this length, by the scatter of its sixteenths
    blocks_of = parts.reshape(BLOCKS, -1, parts.shape[1]).mean(axis=1)
    scatter = blocks_of.var(axis=0, ddof=1) / BLOCKS
    pressure = jax.jit(lambda potential, graphs: jax.lax.map(lambda graph: observables.thermal_pressure(potential, graph, liquid.temperature), graphs))
    own = observables.block_average(np.asarray(pressure(potential, states.graphs)) / BAR, blocks=BLOCKS)
    both = shown.deviation(found)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), constrained_layout=True)
    cut = len(shown.r)
    for axis, x, goal, own_values in zip(axes, (shown.r, np.degrees(shown.theta)), (shown.g, shown.p), (found[:cut], found[cut:]), strict=True):
        axis.plot(x, goal, "k", linewidth=1, label="measured")
        axis.plot(x, own_values, "C0.", markersize=3, label="one bead per molecule")
        axis.legend(frameon=False)
    axes[0].set(xlabel="r, Å", ylabel="g(r)")
    axes[1].set(xlabel="θ, degrees", ylabel="P(θ), 1/radian")
    figure.savefig(chart, dpi=110)
    plt.close(figure)
    noise = float(np.mean(scatter[:cut])), float(np.mean(scatter[cut:]))
    return {
        "g": both[0], "angles": both[1], "sum": sum(both), "of which noise": noise, "pressure, bar": [float(own.mean), float(own.error)],
        "seconds": time.monotonic() - began,
    }  # fmt: skip


def mended(search: Search, x: jax.Array, pressure: float) -> jax.Array:
    """Where the pressure, in bar, that a long trajectory has at x is 1 bar, and g and angles change least, by the slopes of the last turns.

    A turn knows its pressure to 100 bar only.
    """
    J = np.mean([turn["slopes"] for turn in search.turns if "slopes" in turn], axis=0)
    sigma = np.append(search.sigma[:-1], BAR)
    rows = np.concatenate([J / sigma[:, None], np.diag(1 / search.width)])
    return x + np.linalg.lstsq(rows, np.concatenate([np.zeros(len(J) - 1), [1 - pressure], np.zeros(len(x))]), rcond=None)[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="examine the potential that was found; after that, the one whose pressure follows from it")
    check, folder = parser.parse_args().check, HERE / "results" / "water"
    liquid, shown, search = run(SETTINGS, folder)
    if check:
        path = folder / "checks.json"
        earlier = json.loads(path.read_text()) if path.exists() else []
        x = mended(search, jnp.asarray(earlier[-1]["x"]), earlier[-1]["pressure, bar"][0]) if earlier else search.found
        told = checked(SETTINGS, liquid, shown, search.build(x), HERE / "water.png")
        path.write_text(json.dumps([*earlier, told | {"x": x.tolist()}]) + "\n")
        print(json.dumps(told, indent=1))
