"""Trajectories that are differentiated: equal to each other, to differences, and to an oscillator's closed form; and what they remember."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import OPTIMISED
from wells import Well

import jaxpot as jp
from jaxpot import md, trajectories
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.units import FEMTOSECOND

SILICON = jp.empirical.StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
SOAP = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(4.0, width=1.0), jp.GTO(4), 3, sigma=0.5))
ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(4.5, width=1.0))


def crystal(ensemble, repeat=2, rattle=0.1):
    atoms = bulk("Ar", cubic=True) * repeat
    atoms.rattle(rattle, seed=0)
    return md.System(jp.from_atoms(atoms, float(ARGON.reach)), ensemble)


def of_the_end(roll, steps, length=lambda model: model.sigma):
    """Numbers of a trajectory's middle and end, of everything that it began with."""

    def value(potential, system, start, momenta):
        neighbors = system.neighbors
        motion = system.ensemble.init(jax.random.key(0), system._mechanics(neighbors, potential), start, momenta)
        weights = jnp.arange(6.0).reshape(2, 3)

        def observe(state):
            # what closes over a leaf, and what has no derivative
            return {"x": length(potential) * jnp.sum(weights * system.structure(state)[0][:2]), "list": state.neighbors.idx[0, 0]}

        state, found = roll(system, md.State(motion, neighbors), potential, steps=steps, observe=observe, interval=steps // 2)
        shown = system.observe(state, potential)
        return jnp.sum(found["x"]) + 0.1 * shown.temperature + 10 * shown.energy

    return value


ENSEMBLES = [
    pytest.param(md.NVE(60.0, timestep=2.0), id="nve"),
    pytest.param(md.NVT(60.0, timestep=2.0), id="nvt", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_both_ways_give_the_derivative_of_differences(ensemble):
    system, steps = crystal(ensemble), 20
    state = system.init(jax.random.key(0), ARGON)
    at = (ARGON, system, state.motion.position, state.motion.momentum)
    kept, back = (
        jax.jit(jax.grad(of_the_end(roll, steps), argnums=(0, 1, 2, 3), allow_int=True))(*at)
        for roll in (trajectories.rollout, trajectories.rollout_reversible)
    )
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(back), strict=True):
        if one.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-8 * max(1.0, np.max(np.abs(one), initial=0)))
    value = jax.jit(of_the_end(trajectories.rollout, steps))
    potential, _, position, momenta = at
    inside = np.linalg.inv(np.asarray(system.box))
    random = np.random.default_rng(0)
    dR, dp, dbox, dmass = (random.normal(size=shape) for shape in ((32, 3), (32, 3), (3, 3), (32,)))
    ways = {
        "sigma": (lambda h: (potential.replace(sigma=potential.sigma + h), *at[1:]), kept[0].sigma),
        "masses": (lambda h: (potential, system.replace(masses=system.masses + h * dmass), *at[2:]), np.sum(kept[1].masses * dmass)),
        "box": (lambda h: (potential, system.replace(box=system.box + h * dbox), *at[2:]), np.sum(kept[1].box * dbox)),
        "positions": (lambda h: (*at[:2], position + h * dR @ inside.T, momenta), np.sum(kept[2] * dR)),  # derivatives are in Å
        "momenta": (lambda h: (*at[:3], momenta + h * dp), np.sum(kept[3] * dp)),
    }
    for name, (moved, slope) in ways.items():
        h = 1e-4
        differences = (8 * (value(*moved(h)) - value(*moved(-h))) - value(*moved(2 * h)) + value(*moved(-2 * h))) / (12 * h)
        np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_gaussian_process_of_64_atoms():
    """200 steps of silicon by a SOAP-GAP that has learnt it from Stillinger–Weber: both ways, and differences in sigma, zeta and positions."""
    teacher, frames = jp.Calculator(SILICON), []
    for seed in range(6):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.15, seed=seed)
        atoms.calc = teacher
        atoms.info["energy"], atoms.arrays["forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.noise_levels(0.003, 0.05))
    head = jp.SparseGP(jp.PolynomialKernel(4.0), delta=1.0, jitter=1e-8)
    gap = jp.AtomicPotential(SOAP, head).with_points(jp.fit.select_environments(SOAP, data, 40, key=jax.random.key(0)))
    model = jp.fit.linear(gap + jp.IsolatedAtoms({"Si": -4.6}), data)
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    system, steps = md.System(jp.from_atoms(atoms, 4.0), md.NVE(300.0, timestep=1.0)), 200
    state = system.init(jax.random.key(0), model)
    at = (model, system, state.motion.position, state.motion.momentum)
    width = lambda model: model.terms[0].descriptor.expansion.sigma  # noqa: E731
    jit = functools.partial(jax.jit, compiler_options=OPTIMISED)
    kept, back = (
        jit(jax.grad(of_the_end(roll, steps, width), argnums=(0, 1, 2, 3), allow_int=True))(*at)
        for roll in (trajectories.rollout, trajectories.rollout_reversible)
    )
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(back), strict=True):
        if one.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-8 * max(1.0, np.max(np.abs(one), initial=0)))
    value = jit(of_the_end(trajectories.rollout, steps, width))
    inside, dR = np.linalg.inv(np.asarray(system.box)), np.random.default_rng(0).normal(size=(64, 3))

    def with_first(**parts):
        return model.replace(terms=(model.terms[0].replace(**parts), model.terms[1]))

    def with_sigma(h):
        return with_first(descriptor=SOAP.replace(expansion=SOAP.expansion.replace(sigma=SOAP.expansion.sigma + h)))

    def with_zeta(h):
        head = model.terms[0].head
        return with_first(head=head.replace(kernel=head.kernel.replace(zeta=head.kernel.zeta + h)))

    first = kept[0].terms[0]
    ways = {
        "sigma": (lambda h: (with_sigma(h), *at[1:]), first.descriptor.expansion.sigma),
        "zeta": (lambda h: (with_zeta(h), *at[1:]), first.head.kernel.zeta),
        "positions": (lambda h: (*at[:2], state.motion.position + h * dR @ inside.T, at[3]), np.sum(kept[2] * dR)),
    }
    for name, (moved, slope) in ways.items():
        h = 1e-5
        differences = (8 * (value(*moved(h)) - value(*moved(-h))) - value(*moved(2 * h)) + value(*moved(-2 * h))) / (12 * h)
        np.testing.assert_allclose(slope, differences, rtol=1e-5, err_msg=name)


def test_an_oscillator_has_a_closed_form():
    r"""Velocity Verlet of a spring is an exact rotation, x_n = x_0 cos(nθ) with cos θ = 1 - ω² Δt²/2."""
    timestep, steps, mass = 4.0, 150, 39.948
    system = md.System(
        jp.from_atoms(Atoms("Ar", positions=[[0.3, 0.1, -0.2]]), 1.0), md.NVE(timestep=timestep), masses=[mass], momenta=np.zeros((1, 3))
    )

    def end(stiffness):
        well = Well(stiffness)
        return trajectories.rollout(system, system.init(jax.random.key(0), well), well, steps=steps)[0].motion.position[0, 0]

    def exact(stiffness):
        dt = float(np.float32(timestep * FEMTOSECOND))  # as jax-md holds it
        return 0.3 * jnp.cos(steps * jnp.arccos(1 - 0.5 * stiffness / mass * dt**2))

    np.testing.assert_allclose(end(2.0), exact(2.0), atol=1e-10)
    np.testing.assert_allclose(jax.grad(end)(2.0), jax.grad(exact)(2.0), rtol=1e-9)


def test_back_to_the_start():
    """The reverse of a thousand steps."""
    system = crystal(md.NVE(30.0, timestep=2.0))
    start = system.init(jax.random.key(0), ARGON)
    roll = jax.jit(lambda system, state: trajectories.rollout_reversible(system, state, ARGON, steps=1000)[0])
    again = roll(trajectories.backwards(system), roll(system, start))
    assert np.max(np.abs(system.structure(again)[0] - system.structure(start)[0])) < 1e-9
    np.testing.assert_allclose(again.motion.momentum, start.motion.momentum, atol=1e-8)


def remembered(roll, steps):
    """Bytes that a gradient needs beside what it is given and gives, and those of a state."""
    system = md.System(jp.from_atoms(Atoms("Ar64", positions=np.random.default_rng(0).normal(size=(64, 3))), 1.0), md.NVE(timestep=1.0))
    state = system.init(jax.random.key(0), Well(1.0))

    def loss(stiffness):
        return jnp.sum(roll(system, state, Well(stiffness), steps=steps)[0].motion.position)

    found = jax.jit(jax.grad(loss)).lower(1.0).compile().memory_analysis().temp_size_in_bytes
    return found, sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def test_memory():
    """Of 10 000 steps: at most 4 √T states by checkpoints; not more than of 100 where time is reversed."""
    (few, state), (many, _) = (remembered(trajectories.rollout, steps) for steps in (100, 10_000))
    assert many < 4 * math.sqrt(10_000) * state and many > 5 * few
    (few, _), (many, _) = (remembered(trajectories.rollout_reversible, steps) for steps in (100, 10_000))
    assert many == few


def test_bad_input():
    system = crystal(md.Langevin(60.0), repeat=1)
    state = system.init(jax.random.key(0), ARGON)
    with pytest.raises(TypeError, match="Langevin cannot be run backwards; write rollout"):
        trajectories.rollout_reversible(system, state, ARGON, steps=10)
    with pytest.raises(ValueError, match="10 steps are not a multiple of the interval 3; write steps=9"):
        trajectories.rollout(system, state, ARGON, steps=10, interval=3)
    with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
        trajectories.rollout(system, state, ARGON, steps=0)
