"""Thermostats that draw: canonical means and fluctuations, what they conserve, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

import jaxpot as jp
from jaxpot import md
from jaxpot.units import BOLTZMANN

ENSEMBLES = {"langevin": md.Langevin(300.0, friction=0.05, timestep=2.0), "csvr": md.CSVR(300.0, relaxation=20.0, timestep=2.0)}


@jp.pytree
class Springs(jp.Potential):
    """Neighbours in a row, each on a spring to the next."""

    stiffness: jax.Array
    species = ("Ar",)
    reach = jnp.asarray(1.0)

    def energies(self, graph):
        x = graph.positions
        bonds = 0.5 * self.stiffness * jnp.sum((x[1:] - x[:-1]) ** 2, axis=1)
        return jnp.concatenate([bonds, jnp.zeros(1)])


def chain(ensemble, n=4, mobile=None):
    atoms = Atoms(f"Ar{n}", positions=np.random.default_rng(0).normal(size=(n, 3), scale=0.1))
    return md.System(jp.from_atoms(atoms, 1.0), ensemble, masses=np.linspace(20, 60, n), mobile=mobile)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_canonical(name):
    """Mean and variance of kinetic and potential energy, over many replicas."""
    system, model, n, replicas = chain(ENSEMBLES[name]), Springs(2.0), 9, 1500

    def trajectory(key):
        state = jax.lax.fori_loop(0, 250, lambda _, state: system.step(state, model), system.init(key, model))
        found = system.observe(state, model)
        return found.energy, 0.5 * n * BOLTZMANN * found.temperature, jnp.sum(found.momenta, axis=0)

    potential, kinetic, momentum = jax.jit(jax.vmap(trajectory))(jax.random.split(jax.random.key(1), replicas))
    kT = 300.0 * BOLTZMANN
    for energies in (potential, kinetic):
        # of n quadratic degrees of freedom: n/2 kT with a variance of n/2 (kT)²
        assert abs(np.mean(energies) / (0.5 * n * kT) - 1) < 4 * np.sqrt(2 / n / replicas) + 0.005
        assert abs(np.var(energies) / (0.5 * n * kT**2) - 1) < 4 * np.sqrt((2 + 12 / n) / replicas) + 0.01
    assert np.max(np.abs(momentum)) < 1e-10


@pytest.mark.parametrize("name", ENSEMBLES)
def test_what_is_conserved_counts_the_heat(name):
    system, model = chain(ENSEMBLES[name].replace(timestep=0.25)), Springs(2.0)
    state = system.init(jax.random.key(0), model)
    conserved, energies = [], []
    step = jax.jit(lambda state: jax.lax.fori_loop(0, 20, lambda _, state: system.step(state, model), state))
    for _ in range(20):
        found = system.observe(state, model)
        conserved.append(float(found.conserved))
        energies.append(float(found.energy))
        state = step(state)
    assert np.ptp(conserved) < 2e-4 and np.ptp(energies) > 0.02


@pytest.mark.parametrize("name", ENSEMBLES)
def test_what_is_held_stays(name):
    mobile = np.ones((4, 3), bool)
    mobile[0] = mobile[2, 1] = False
    system, model = chain(ENSEMBLES[name], mobile=mobile), Springs(2.0)
    start = system.init(jax.random.key(0), model)
    end = jax.lax.fori_loop(0, 50, lambda _, state: system.step(state, model), start)
    held = np.asarray(end.motion.position == start.motion.position)
    np.testing.assert_array_equal(held, ~mobile)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_derivatives_by_what_the_thermostat_is_told(name):
    """With the same random numbers."""
    of, model = chain(ENSEMBLES[name]), Springs(2.0)

    def end(temperature):
        system = of.replace(ensemble=of.ensemble.replace(temperature=temperature))
        state = system.init(jax.random.key(0), model)
        state = jax.lax.scan(lambda state, _: (system.step(state, model), None), state, length=20)[0]
        return jnp.sum(state.motion.position[0])

    end = jax.jit(end)
    h = 1e-2
    np.testing.assert_allclose(jax.grad(end)(300.0), (end(300.0 + h) - end(300.0 - h)) / (2 * h), rtol=1e-6)


def test_bad_numbers():
    with pytest.raises(ValueError, match="friction must be a positive number of 1/fs, got -1"):
        md.Langevin(friction=-1.0)
    with pytest.raises(ValueError, match="relaxation must be a positive number of fs, got 0"):
        md.CSVR(relaxation=0.0)
