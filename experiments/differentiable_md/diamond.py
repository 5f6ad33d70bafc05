"""A potential of diamond from its three elastic constants at 298 K and from its rest at the measured lattice constant, by reweighted means.

    JAXPOT_DATA=... python experiments/differentiable_md/diamond.py             # 64 atoms; goes on where it was killed
    JAXPOT_DATA=... python experiments/differentiable_md/diamond.py --check     # then the potential found, in 216 atoms, and under finite strains

The constants are second derivatives of the free energy by strain. A strain ε carries a state x to φ(x) = (1 + ε)(x + Xε), with any X that does not
depend on x, and with t and k the first and second derivatives of U(φ(x)) at ε = 0

    V σ = ⟨t⟩ − NkT tr(E),        V C = ⟨k⟩ − (⟨t t⟩ − ⟨t⟩⟨t⟩)/kT + NkT tr(E E)

whatever X is. With X = 0 this is the formula of stress fluctuations; we take the X with which the sublattices of the crystal at rest follow the
strain, so that t fluctuates by anharmonic terms only. Every mean is one of states of the potential of the moment, its derivative is
that of `trajectories.reweighted`; `search.py` says how far a step goes until the crystal is simulated anew.
"""

import argparse
import json
import os
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase.build import bulk  # noqa: E402
from search import Search  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import observables, trajectories  # noqa: E402
from jaxpot.empirical import StillingerWeber  # noqa: E402
from jaxpot.md import Langevin, System  # noqa: E402
from jaxpot.observables.deformation import deformed, response, strain_matrix, without_rigid_motion  # noqa: E402
from jaxpot.units import BOLTZMANN, GPA  # noqa: E402

HERE = Path(__file__).resolve().parent
KJ_PER_MOL = 0.01036427  # eV
NAMES = ("C11", "C12", "C44", "stress")  # GPa
SETTINGS = {
    "seed": 0,
    "cells": 2,  # of 8 atoms, along each axis
    "timestep": 1.0,  # fs
    "friction": 0.004,  # 1/fs
    "settle": 1000,  # steps before states count, for every potential
    "between": 50,  # steps between two states
    "states": 128,
    "sigma": (2.0, 2.0, 2.0, 0.2),  # GPa, of what is measured
    "widths": {"A": 7.0, "B": 0.6, "lam": 21.0, "gamma": 1.2, "cosine": 0.3},  # leaves that move, and how far each may be from where it began
    "least": 0.05,  # share of the states that must count after a step
    "turns": 25,  # at most
    "enough": (3.0, 0.8, 2.0, 0.1),  # GPa; the potential has been found when two turns in a row are that near
    "check": {"cells": 3, "states": 128, "replicas": 4, "strain": 0.004},
}
SHAPE = {"A": 7.049556277, "B": 0.6022245584, "p": 4.0, "q": 0.0, "a": 1.8, "lam": 21.0, "gamma": 1.2, "cosine": -1 / 3}  # of silicon


def target() -> dict:
    if "JAXPOT_DATA" not in os.environ:
        raise SystemExit("the measured elastic constants are read through JAXPOT_DATA; write JAXPOT_DATA=/path/to/shared before the command")
    return json.loads((Path(os.environ["JAXPOT_DATA"]) / "data" / "diffmd_targets" / "targets.json").read_text())["diamond"]


class Crystal:
    """Diamond at a temperature: its states, and what they say of stress and elastic constants."""

    def __init__(self, settings: dict, asked: dict, cells: int, states: int, voigt: np.ndarray | None = None):
        atoms = bulk("C", "diamond", a=asked["a_A"], cubic=True).repeat(cells)
        if voigt is not None:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.asarray(strain_matrix(jnp.asarray(voigt)))), scale_atoms=True)
        cutoff = asked["prior"]["cutoff_A"]
        self.lattice, self.temperature, self.n = jp.from_atoms(atoms, cutoff), asked["temperature_K"], len(atoms)
        self.volume, self.between = atoms.get_volume(), settings["between"]
        ensemble = Langevin(2 * self.temperature, settings["friction"], settings["timestep"])  # of the momenta: half of it goes to the springs
        system = System(self.lattice, ensemble, skin=0.7)  # half-way between shells, so that lists do not grow

        def trajectory(key, potential):
            state = system.init(key, potential)
            colder = system.replace(ensemble=ensemble.replace(temperature=self.temperature))
            state, _ = trajectories.rollout(colder, state, potential, steps=settings["settle"])
            return trajectories.rollout(colder, state, potential, steps=states * self.between, observe=colder.graph, interval=self.between)[1]

        self.trajectory, self.following, self.constants, self.stress = map(jax.jit, (trajectory, self._following, self._constants, self._stress))

    def states(self, key: jax.Array, potential: jp.Potential) -> trajectories.Sample:
        return trajectories.sample(self.trajectory(key, potential), potential, self.temperature)

    def _following(self, potential: jp.Potential) -> jax.Array:
        """X: how atoms follow a strain in the crystal at rest, shape [N, 3, 6], in Å."""
        still, graph = jnp.zeros_like(self.lattice.positions), self.lattice

        def slope(u, v):
            return jax.grad(lambda u: potential(deformed(graph, u, v)))(u)

        mixed = jax.jacfwd(lambda v: slope(still, v))(jnp.zeros(6))
        project = without_rigid_motion(graph)
        answers = [response(lambda u: slope(u, jnp.zeros(6)), still, project, mixed[..., i]) for i in range(3, 6)]  # dilations shift none
        return -jnp.stack([still] * 3 + answers, axis=-1)

    def _moments(self, potential: jp.Potential, sample: trajectories.Sample, X: jax.Array) -> tuple:
        """Means of t [6], t t [6, 6] and k [6, 6], in eV."""

        def of(graph: jp.Graph) -> tuple:
            def slopes(voigt):
                t = jax.grad(lambda voigt: potential(deformed(graph, X @ voigt, voigt)))(voigt)
                return t, t

            k, t = jax.jacfwd(slopes, has_aux=True)(jnp.zeros(6))
            return t, t[:, None] * t[None, :], k

        return trajectories.reweighted(sample, of, potential, least=0.0).mean

    def _constants(self, potential: jp.Potential, sample: trajectories.Sample, X: jax.Array) -> jax.Array:
        """C11, C12, C44 and the mean normal stress, shape [4], in GPa."""
        t, tt, k = self._moments(potential, sample, X)
        kT, E = BOLTZMANN * self.temperature, jax.vmap(strain_matrix)(jnp.eye(6))
        curvature = k - (tt - t[:, None] * t[None, :]) / kT + self.n * kT * jnp.einsum("iab,jab->ij", E, E)
        normal = jnp.mean(t[:3]) - self.n * kT
        return jnp.append(observables.cubic_constants(curvature / (self.volume * GPA)), normal / (self.volume * GPA))

    def _stress(self, potential: jp.Potential, sample: trajectories.Sample) -> jax.Array:
        """Mean stress in Voigt's notation, shape [6], in GPa."""
        t = jnp.mean(jax.lax.map(lambda graph: -jp.evaluate(potential, graph).virial, sample.graphs), axis=0)
        t = t - self.n * BOLTZMANN * self.temperature * jnp.eye(3)
        return jnp.stack([t[0, 0], t[1, 1], t[2, 2], t[1, 2], t[0, 2], t[0, 1]]) / (self.volume * GPA)


def start(asked: dict) -> StillingerWeber:
    """Silicon's shape in the units that are given for carbon."""
    prior = asked["prior"]
    return StillingerWeber(("C",), epsilon=prior["epsilon_kJ_mol"] * KJ_PER_MOL, sigma=prior["sigma_A"], **SHAPE)


def run(settings: dict, path: Path | None) -> list[dict]:
    """The search; all turns."""
    asked, key = target(), jax.random.key(settings["seed"])
    goal = np.array([asked["c11_GPa"], asked["c12_GPa"], asked["c44_GPa"], 0.0])
    crystal = Crystal(settings, asked, settings["cells"], settings["states"])

    def sampled(potential: jp.Potential, turn: int) -> tuple:
        return crystal.states(jax.random.fold_in(key, turn), potential), crystal.following(potential)

    def means(potential: jp.Potential, found: tuple) -> jax.Array:
        return crystal.constants(potential, *found)

    search = Search(start(asked), settings["widths"], means, goal, settings["sigma"], least=settings["least"], path=path)
    while not _near(settings, goal, search.turns) and len(search.turns) < settings["turns"]:
        turn = search.turn(sampled, _numbers)
        own = "  ".join(f"{name} {value:7.2f}" for name, value in zip(NAMES, turn["means"], strict=True))
        print(f"turn {len(search.turns):>2}, {turn['seconds']:4.0f} s: {own} GPa, part {turn['part']:.2f}", flush=True)
    return search.turns


def _numbers(potential: StillingerWeber) -> dict:
    return {"leaves": {name: float(getattr(potential, name)) for name in SETTINGS["widths"]}}


def _near(settings: dict, goal: np.ndarray, turns: list[dict]) -> bool:
    """Whether the last turns are all near."""
    return len(turns) > 1 and all(np.all(np.abs(np.array(turn["means"]) - goal) < settings["enough"]) for turn in turns[-2:])


def checked(settings: dict, leaves: dict) -> dict:
    """Constants of a potential in a larger cell, from other states: of several replicas, and from stresses of strained crystals."""
    asked, own, began = target(), settings["check"], time.monotonic()
    potential = start(asked).replace(**leaves)
    keys = jax.random.split(jax.random.key(settings["seed"] + 1), own["replicas"])
    crystals = [Crystal(settings, asked, own["cells"], own["states"], sign * own["strain"] * np.eye(6)[[0, 3]].sum(axis=0)) for sign in (0, 1, -1)]
    X = crystals[0].following(potential)
    samples = [crystals[0].states(key, potential) for key in keys]
    found = {"X of the crystal at rest": [crystals[0].constants(potential, sample, X) for sample in samples]}
    found["X = 0"] = [crystals[0].constants(potential, sample, 0 * X) for sample in samples]
    up, down = ([crystal.stress(potential, crystal.states(key, potential)) for key in keys] for crystal in crystals[1:])
    slopes = (np.array(up) - np.array(down)) / (2 * own["strain"])
    found["finite strains"] = np.stack([slopes[:, 0], 0.5 * (slopes[:, 1] + slopes[:, 2]), slopes[:, 3], np.zeros(len(keys))], axis=1)
    means = {name: (np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(keys))) for name, values in found.items()}
    told = {name: {of: [round(float(x), 3) for x in both] for of, *both in zip(NAMES, *of_name, strict=True)} for name, of_name in means.items()}
    return {"atoms": crystals[0].n, "seconds": round(time.monotonic() - began)} | told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="examine the potential that was found")
    check, path = parser.parse_args().check, HERE / "results" / "diamond.json"
    turns = run(SETTINGS, path)
    if check:
        told = checked(SETTINGS, turns[-1]["leaves"])
        (HERE / "results" / "diamond_check.json").write_text(json.dumps(told, indent=1) + "\n")
        print(json.dumps(told, indent=1))
