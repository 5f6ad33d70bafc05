"""Diamond's constants from states are those of the crystal at rest, with and without sublattices that follow; a search finds a spring."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from wells import Well

import jaxpot as jp
from jaxpot import observables, trajectories
from jaxpot.units import BOLTZMANN, GPA

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "differentiable_md"))

import diamond
from search import Search

ASKED = {"a_A": 3.6, "temperature_K": 1e-4, "prior": {"epsilon_kJ_mol": 200, "sigma_A": 1.4, "cutoff_A": 2.52}}


@pytest.fixture(scope="module")
def crystal():
    return diamond.Crystal(diamond.SETTINGS, ASKED, 1, 1)


def of_modes(crystal, potential):
    """States whose covariance is that of the harmonic crystal: both displacements of every mode, by √(M kT/κ) for M modes of stiffness κ."""
    graph = crystal.lattice
    H = jax.jit(jax.hessian(lambda u: potential(graph.replace(positions=graph.positions + u))))(jnp.zeros_like(graph.positions))
    stiffness, modes = np.linalg.eigh(np.asarray(H).reshape(24, 24))
    places = modes[:, 3:].T * np.sqrt(21 * BOLTZMANN * crystal.temperature / stiffness[3:])[:, None]
    places = np.concatenate([places, -places]).reshape(-1, 8, 3) + np.asarray(graph.positions)[None]
    return jax.tree_util.tree_map(lambda x: jnp.broadcast_to(jnp.asarray(x), (42, *jnp.shape(x))), graph).replace(positions=jnp.asarray(places))


def test_constants_of_cold_states_are_those_at_rest(crystal):
    with jax.numpy_rank_promotion("allow"):
        potential = diamond.start(ASKED)
        sample = trajectories.sample(of_modes(crystal, potential), potential, crystal.temperature)
        X = crystal.following(potential)
        whole = observables.elastic_constants(potential, crystal.lattice)
        clamped = observables.elastic_constants(potential, crystal.lattice, relaxed=False)
        own, without = (np.asarray(crystal.constants(potential, sample, Y)) for Y in (X, 0 * X))
    expected, stiff = np.asarray(observables.cubic_constants(whole)), np.asarray(observables.cubic_constants(clamped))
    assert stiff[2] > 1.3 * expected[2]
    np.testing.assert_allclose(own[:3], expected, rtol=1e-4)
    np.testing.assert_allclose(without[:3], expected, rtol=1e-4)
    pressure = float(jnp.trace(jp.evaluate(potential, crystal.lattice).virial)) / (3 * crystal.volume * GPA)
    assert own[3] == pytest.approx(-pressure, abs=1e-3)


def test_search_finds_a_spring(tmp_path):
    kT, graph = 300 * BOLTZMANN, jp.from_atoms(Atoms("Ar"), 1.0)

    def sampled(potential, turn):
        """The quantiles of the closed form stand for its states."""
        x = np.sqrt(kT / float(potential.stiffness)) * np.asarray(jax.scipy.stats.norm.ppf((jnp.arange(400) + 0.5) / 400))
        states = jax.tree_util.tree_map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (400, *jnp.shape(leaf))), graph)
        return trajectories.sample(states.replace(positions=jnp.asarray(x)[:, None, None] * jnp.array([[[1.0, 0, 0]]])), potential, 300.0)

    def means(potential, sample):
        return trajectories.reweighted(sample, lambda graph: graph.positions[:, 0] ** 2, potential, least=0.0).mean

    goal = np.array([kT / 2.0])

    def search():
        return Search(Well(jnp.asarray(0.5)), {"stiffness": 10.0}, means, goal, 1e-6, least=0.97, path=tmp_path / "turns.json")

    first = search()
    turn = first.turn(sampled)
    assert turn["part"] < 1 and turn["means"][0] == pytest.approx(kT / 0.5, rel=0.02)
    later = search()  # goes on where the first one was
    assert len(later.turns) == 1
    for _ in range(12):
        turn = later.turn(sampled)
    assert turn["part"] == 1 and float(later.build(later.x).stiffness) == pytest.approx(2.0, rel=0.03)
