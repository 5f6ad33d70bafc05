"""Terms on lists of their own length predict what they predict on long ones, or NaN; drivers give them longer ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import jaxpot as jp
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones, StillingerWeber
from jaxpot.md import NVE, System, blocks
from jaxpot.potentials.nearby import Nearby, on_short_lists


def pairs(reach, epsilon=0.0104):
    return LennardJones(("Ar", "Ne"), epsilon=epsilon, sigma=3.4, cutoff=PolynomialCutoff(reach, width=1.5))


def shaken(seed=0):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    atoms.numbers[::3] = 10
    atoms.rattle(0.15, seed=seed)
    atoms.set_cell(atoms.cell + 0.2 * np.random.default_rng(seed).normal(size=(3, 3)), scale_atoms=True)
    return atoms


@pytest.fixture(scope="module")
def mixed():
    """A short many-body term of one of two elements beside long pairs of both."""
    many = StillingerWeber(("Ar",), epsilon=0.05, sigma=2.5, a=1.84, lam=10.0, gamma=1.2, cosine=-1 / 3, A=7.0, B=0.6, p=4.0, q=0.0)
    return many + pairs(9.5)


def test_values_and_derivatives_are_those_of_the_long_lists(mixed):
    graph = jp.from_atoms(shaken(), 10.0)
    short, slots = on_short_lists(mixed, graph)
    assert 0 < slots[0] < 0.3 * graph.neighbors.shape[1] and slots[1] == 0
    found, expected = jp.evaluate(short, graph), jp.evaluate(mixed, graph)
    for name in ("energy", "energies", "forces", "virial"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12, err_msg=name)

    def push(model, positions):
        return jnp.vdot(jp.evaluate(model, graph.replace(positions=positions)).forces, jnp.sin(positions))

    own, theirs = (jax.grad(push, argnums=(0, 1), allow_int=True)(model, graph.positions) for model in (short, mixed))
    np.testing.assert_allclose(own[1], theirs[1], atol=1e-11)
    floats = [[x for x in jax.tree_util.tree_leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)] for tree in (own[0], theirs[0])]
    for a, b in zip(*floats, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_more_neighbours_than_slots_is_nan_and_said():
    graph = jp.from_atoms(bulk("Ar", cubic=True), 9.0)
    assert np.isnan(Nearby(pairs(4.5), 11)(graph))
    assert "12 neighbours within 4.5 Å, but Nearby has 11 slots" in jp.diagnose(Nearby(pairs(4.5), 11), graph)[0]
    assert jp.diagnose(Nearby(pairs(4.5), 12), graph) == ()


def test_slots_that_still_hold_are_kept_and_grow_otherwise(mixed):
    first, loose = jp.from_atoms(shaken(), 10.0), shaken()
    slots = on_short_lists(mixed, first)[1]
    loose.set_cell(loose.cell * 1.1, scale_atoms=True)
    assert on_short_lists(mixed, jp.from_atoms(loose, 10.0), slots)[1][0] in (0, slots[0])
    dense = shaken()
    dense.set_cell(dense.cell * 0.7, scale_atoms=True)
    assert on_short_lists(mixed, jp.from_atoms(dense, 10.0), slots)[1][0] > slots[0]
    assert on_short_lists(pairs(9.5), first)[0].reach == 9.5 and on_short_lists(pairs(9.5), first)[1] == (0,)


def test_dynamics_goes_on_where_a_short_list_is_outgrown():
    """Atoms drawn together from far apart, so that the first lists are too short for the last states."""
    rng = np.random.default_rng(3)
    atoms = Atoms("Ar27", positions=6.0 * np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) + rng.normal(scale=0.1, size=(27, 3)))
    middle = atoms.positions - atoms.positions.mean(axis=0)
    model = pairs(5.0) + pairs(14.0)
    system = System(jp.from_atoms(atoms, model.reach), NVE(temperature=1.0, timestep=2.0), momenta=-0.035 * middle * 39.9)
    state = system.init(jax.random.key(0), model)
    assert on_short_lists(model, system.graph(state))[1][0] == 8
    far = [found for _, found in blocks(system, state, model, steps=60, interval=10)]
    whole = system.init(jax.random.key(0), model)
    for _ in range(60):
        whole = system.step(whole, model)
    inside = np.linalg.norm(far[-1].positions[:, None] - far[-1].positions[None], axis=-1) < 5.0
    assert inside.sum(axis=1).max() - 1 > 8, "the test holds nothing where no atom has more than eight neighbours"
    np.testing.assert_allclose(far[-1].positions, system.structure(whole)[0], atol=1e-9)


def test_calculator_goes_on_where_a_short_list_is_outgrown(mixed):
    atoms = bulk("Ar", "fcc", a=6.6, cubic=True).repeat(2)
    atoms.calc = jp.Calculator(mixed)
    for a in (6.6, 6.0, 5.2, 4.6):
        atoms.set_cell([2 * a] * 3, scale_atoms=True)
        for shift in (0.0, 0.2):
            atoms.positions[0] += shift
            assert abs(atoms.get_potential_energy() - float(mixed(atoms))) < 1e-9
    assert isinstance(atoms.calc._short.terms[0], Nearby)
