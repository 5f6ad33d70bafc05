"""What many cores evaluate equals what one does: values, derivatives of every kind, ASE's and jax-md's steps."""

import os
import subprocess
import sys

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpot as jp
from jaxpot import cores
from tests import catalog


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(cores, "_used", 3)


def crystal(repeat=2):
    atoms = ase.build.bulk("Si", cubic=True).repeat((repeat, repeat, repeat))
    atoms.rattle(0.1, seed=1)
    del atoms[[3]]  # a number of atoms that no number of cores divides
    return atoms


def linear(chunk=8):
    density = jp.Density(("Si",), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(4, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    model = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 3))), jp.Linear(), chunk=chunk)
    return model.with_coefficients(np.random.default_rng(0).normal(size=model.n_coefficients))


def same(found, expected, rtol=1e-12):
    for one, other in zip(jax.tree_util.tree_leaves(found), jax.tree_util.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=rtol, atol=1e-10)



def test_properties_are_those_of_one_core(monkeypatch):
    graph = jp.from_atoms(crystal(), 4.0)
    models = (linear(), linear() + catalog.potential("stillinger-weber"))
    expected = [jax.jit(jp.evaluate)(model, graph) for model in models]
    jax.clear_caches()
    monkeypatch.setattr(cores, "_used", 3)
    for model, one in zip(models, expected, strict=True):
        found = jax.jit(jp.evaluate)(model, graph)
        assert len(found.forces.sharding.device_set) == 3
        same(found, one)
    same(jp.evaluate(models[0], graph), expected[0])  # also without jit


def test_derivatives_are_those_of_one_core(monkeypatch):
    graph, model = jp.from_atoms(crystal(1), 4.0), linear(chunk=2)
    step = np.random.default_rng(2).normal(size=graph.positions.shape)

    def energy(positions, model):
        return model(graph.replace(positions=positions))

    def loss(model):
        return jnp.sum(jax.grad(energy)(graph.positions, model) ** 2)

    def curvature(positions, model):
        return jax.jvp(jax.grad(lambda x: energy(x, model)), (positions,), (jnp.asarray(step),))[1]

    def batch(positions, model):
        return jax.vmap(lambda scale: energy(scale * positions, model))(jnp.array([0.99, 1.0, 1.01]))

    def all_of_them():
        at = graph.positions
        return [jax.jit(f)(at, model) for f in (curvature, batch, jax.jacfwd(energy))] + [jax.jit(jax.grad(loss, allow_int=True))(model)]

    expected = all_of_them()
    jax.clear_caches()
    monkeypatch.setattr(cores, "_used", 3)
    same(all_of_them(), expected, rtol=1e-10)


def test_features_are_those_of_one_core(monkeypatch):
    graph = jp.from_atoms(ase.build.bulk("Si", cubic=True).repeat((3, 3, 3)), 4.0)
    descriptor = linear().descriptor
    expected = descriptor(graph)
    jax.clear_caches()
    monkeypatch.setattr(cores, "_used", 2)
    same(descriptor(graph), expected)


def test_parts_of_parts_are_not_shared_out(three_cores):
    graph, model = jp.from_atoms(crystal(), 4.0), linear()
    mesh = jp.sharding.make_mesh(2)
    found = jp.sharding.evaluate(model, jp.sharding.partition(graph, mesh), mesh)
    same(found.forces, jax.jit(jp.evaluate)(model, graph).forces)


def test_dynamics_are_those_of_one_core(monkeypatch):
    graph, model = jp.from_atoms(crystal(), 4.0), linear()

    def moved():
        system = jp.md.System(graph, jp.md.NVE(temperature=300.0, timestep=1.0))
        state = system.init(jax.random.key(0), model)
        for _ in range(3):
            state = system.step(state, model)
        return state.motion

    expected = moved()
    jax.clear_caches()
    monkeypatch.setattr(cores, "_used", 3)
    monkeypatch.setattr("jaxpot.md.system.atoms_at_once", lambda: 8)
    found = moved()
    assert len(found.position.sharding.device_set) == 3 and found.position.sharding.is_fully_replicated
    same((found.position, found.momentum), (expected.position, expected.momentum))


def test_calculator(monkeypatch):
    atoms = crystal()
    atoms.calc = jp.Calculator(linear())
    expected = atoms.get_forces()
    jax.clear_caches()
    monkeypatch.setattr(cores, "_used", 3)
    atoms.calc = jp.Calculator(linear())
    same(atoms.get_forces(), expected)


def test_bad_numbers_of_cores():
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="use_cores: expected a positive number of cores, got"):
            jp.use_cores(n)
    with pytest.raises(RuntimeError, match=r"JAX has made 8 CPU devices already, too few for 99 cores; write jaxpot.use_cores\(99\) before the first array"):
        jp.use_cores(99)


PROGRAM = """
import jax
import jaxpot as jp
assert jp.use_cores(2) == 2 and len(jax.devices()) == 2
assert jp.use_cores(2) == 2  # twice is no mistake
try:
    jp.use_cores(3)
except RuntimeError as error:
    assert "JAX has made 2 CPU devices already" in str(error)
else:
    raise SystemExit("too late, and nobody said so")
"""


def test_a_process_gets_its_devices():
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
