"""Means over states of another potential: closed forms of a harmonic well, and the identity of covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from wells import Well

import jaxpot as jp
from jaxpot import trajectories
from jaxpot.units import BOLTZMANN

KELVIN = 300.0
KT = KELVIN * BOLTZMANN
STATES = 4000


def states(stiffness, n=STATES, seed=0):
    x = np.random.default_rng(seed).normal(scale=np.sqrt(KT / stiffness), size=n)
    one = jp.from_atoms(Atoms("Ar", positions=[[0, 0, 0]]), 1.0)
    graphs = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (n, *np.shape(leaf))), one)
    return graphs.replace(positions=jnp.zeros((n, 1, 3)).at[:, 0, 0].set(x)), x


@pytest.fixture(scope="module")
def sampled():
    graphs, x = states(1.0)
    return trajectories.sample(graphs, Well(1.0), KELVIN), x


def square(graph):
    return graph.positions[0, 0] ** 2


def test_derivative_is_a_covariance(sampled):
    sample, x = sampled
    value, slope = jax.jit(jax.value_and_grad(lambda k: trajectories.reweighted(sample, square, Well(k)).mean))(1.0)
    np.testing.assert_allclose(value, np.mean(x**2), rtol=1e-12)
    np.testing.assert_allclose(slope, -0.5 / KT * (np.mean(x**4) - np.mean(x**2) ** 2), rtol=1e-10)
    # <x²> = kT/k, and its derivative -kT/k²; x² and x⁴ of M draws
    assert abs(value - KT) < 4 * KT * np.sqrt(2 / STATES)
    assert abs(slope + KT) < 4 * KT * np.sqrt(24 / STATES)


def test_means_of_another_potential_and_temperature(sampled):
    sample, _ = sampled
    found = trajectories.reweighted(sample, square, Well(1.3))
    assert abs(found.mean - KT / 1.3) < 4 * KT * np.sqrt(3 / STATES)
    np.testing.assert_allclose(jnp.sum(found.weights), 1, rtol=1e-12)
    # exp of the entropy of normalised Gaussian weights: the ratio of the ensembles' densities
    assert 0.95 < found.effective < 1
    warmer = trajectories.reweighted(sample, square, Well(1.0), temperature=1.2 * KELVIN).mean
    assert abs(warmer - 1.2 * KT) < 4 * KT * np.sqrt(4 / STATES)


def test_too_few_states_are_no_mean(sampled):
    sample, _ = sampled
    found = trajectories.reweighted(sample, square, Well(40.0))
    assert found.effective < 0.5 and np.isnan(found.mean)
    assert np.isnan(jax.grad(lambda k: trajectories.reweighted(sample, square, Well(k)).mean)(40.0))
    assert np.isfinite(trajectories.reweighted(sample, square, Well(40.0), least=0.0).mean)


def test_free_energies(sampled):
    sample, x = sampled
    value, slope = jax.value_and_grad(lambda k: trajectories.free_energy_difference(sample, Well(k)))(1.2)
    assert abs(value - 0.5 * KT * np.log(1.2)) < 4 * KT * 0.15 / np.sqrt(STATES)
    weights = np.exp(-0.1 * x**2 / KT)
    np.testing.assert_allclose(slope, 0.5 * np.sum(weights * x**2) / np.sum(weights), rtol=1e-10)


def test_relative_entropy_finds_the_spring(sampled):
    sample, _ = sampled
    target, x = states(1.25, n=2000, seed=1)
    slope = jax.jit(jax.grad(lambda k: trajectories.relative_entropy(sample, target, Well(k))))
    assert slope(1.0) < 0 < slope(1.6)
    best = KT / np.mean(x**2)  # where the mean squares are equal
    assert abs(slope(best)) < 0.5 * 4 * np.sqrt(2 / STATES) * 1.5


def test_bad_states():
    graphs, _ = states(1.0, n=3)
    one = jax.tree.map(lambda leaf: leaf[0], graphs)
    with pytest.raises(ValueError, match="energies of 1 of 2 states are not finite, first state 1"):
        trajectories.sample([one, one.replace(positions=one.positions * jnp.nan)], Well(1.0), KELVIN)
    two = jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [0.5, 0, 0]]), 1.0)
    with pytest.raises(ValueError, match="expected states of one shape, got 2 shapes"):
        trajectories.sample([one, two], Well(1.0), KELVIN)
