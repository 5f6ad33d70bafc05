"""Minima, and how they follow the leaves of a potential: closed forms, searches anew, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import quick_jit
from springs_of import A0, CUBIC, MORSE, PRIMITIVE

import jaxpot as jp
from jaxpot import observables
from jaxpot.cutoffs import PolynomialCutoff, Step
from jaxpot.empirical import LennardJones
from jaxpot.observables import minimum, relax
from jaxpot.units import GPA

ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.4, cutoff=Step(9.0))
SMOOTH = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
HCP = Atoms("Ar2", cell=[[3.8, 0, 0], [-1.9, 3.291, 0], [0, 0, 6.3]], scaled_positions=[[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], pbc=True)


def pair(distance, cutoff=9.5):
    return jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], np.full(3, distance / np.sqrt(3))]), cutoff, max_neighbors=1)


@quick_jit
def distance(potential, graph):
    """Of a pair at its minimum, and what it changes with; along the logarithm of sigma twice."""

    def of(potential):
        return jnp.linalg.norm(jnp.diff(minimum(potential, graph).positions, axis=0))

    def along(u):
        return of(potential.replace(sigma=potential.sigma * jnp.exp(u)))

    return *jax.value_and_grad(of)(potential), jax.grad(jax.grad(along))(0.0)


def test_pair():
    """Turned in space, so translations and rotations are projected out; the second derivative along the logarithm is r itself."""
    r, by_leaf, twice = distance(ARGON, pair(3.8))
    expected = 2 ** (1 / 6) * 3.4
    np.testing.assert_allclose([r, by_leaf.sigma, by_leaf.epsilon, twice], [expected, 2 ** (1 / 6), 0, expected], rtol=0, atol=1e-8)


def test_no_minimum_gives_nan():
    """Where the energy curves downwards, and where atoms moved farther than the lists allow."""
    assert np.isnan(distance(ARGON, pair(5.0))[0])
    assert np.isnan(distance(ARGON, pair(3.8, cutoff=9.001))[0]) and np.isfinite(distance(ARGON, pair(3.8))[0])


@pytest.mark.slow
def test_crystal_follows_leaves_and_pressure():
    """Both lattice constants of an hcp crystal, whose cell and atoms move together, against searches anew."""
    found = relax(SMOOTH, HCP, cell=True, pressure=0.05, tolerance=1e-9)
    params, build = jp.free(SMOOTH, "sigma", "cutoff.radius")

    def number(params, pressure):
        crystal = minimum(build(params), found.graph, cell=True, pressure=pressure)
        away = crystal.positions[1] - crystal.positions[0]
        return 3 * crystal.cell[2, 2] + jnp.linalg.norm(crystal.cell[0]) + away[1]

    value_and_grad = quick_jit(jax.value_and_grad(number, argnums=(0, 1)))
    value, (by_leaf, by_pressure) = value_and_grad(params, 0.05)
    cell, x = found.atoms.cell.array, found.atoms.positions
    assert abs(value - (3 * cell[2, 2] + np.linalg.norm(cell[0]) + x[1, 1] - x[0, 1])) < 1e-6
    h = 1e-3

    def central(of):
        return (8 * (of(h) - of(-h)) - (of(2 * h) - of(-2 * h))) / (12 * h)

    for name, slope in by_leaf.items():
        numeric = central(lambda step, name=name: value_and_grad({**params, name: params[name] + step}, 0.05)[0])
        assert abs(slope - numeric) < 1e-6 * max(1, abs(numeric)), name
    assert abs(by_pressure - central(lambda step: value_and_grad(params, 0.05 + step)[0])) < 1e-6


def test_relaxation_under_pressure():
    crystal = bulk("Ar", a=5.2, cubic=True)
    free, pressed = (relax(SMOOTH, crystal, cell=True, pressure=p, tolerance=1e-6) for p in (0.0, 1.0))
    graph = jp.from_atoms(pressed.atoms, 6.0)
    stress = -quick_jit(jp.evaluate)(SMOOTH, graph).virial / pressed.atoms.get_volume() / GPA
    np.testing.assert_allclose(stress, -np.eye(3), rtol=0, atol=1e-4)
    assert pressed.atoms.get_volume() < free.atoms.get_volume() and pressed.stress < 1e-4
    assert crystal.cell[0, 0] == 5.2 and crystal.calc is None


@pytest.mark.slow
def test_symmetry_is_kept_on_request():
    pytest.importorskip("spglib")
    found = relax(SMOOTH, HCP, cell=True, symmetric=True, tolerance=1e-5)
    assert found.force < 1e-5
    lengths, angles = found.atoms.cell.lengths(), found.atoms.cell.angles()
    assert abs(lengths[0] - lengths[1]) < 1e-10 and np.abs(angles - [90, 90, 120]).max() < 1e-8


def test_what_does_not_arrive_raises():
    start = CUBIC.copy()
    start.rattle(0.1, seed=0)
    with pytest.raises(RuntimeError, match=r"relax: no minimum after 1 steps: the largest force is \S+ eV/Å, expected at most 0.0001"):
        relax(MORSE, start, most=1)
    slab = CUBIC.copy()
    slab.pbc = (True, True, False)
    for call, words in (
        (lambda: relax(MORSE, slab, cell=True), "write cell=False"),
        (lambda: relax(MORSE, CUBIC, pressure=1.0), "write cell=True"),
        (lambda: relax(MORSE, CUBIC, tolerance=0.0), "tolerance"),
        (lambda: minimum(MORSE, jp.from_atoms(slab, 3.0), cell=True), "write cell=False"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_equation_of_state():
    """Of the crystal with a closed form: its volume, energy and bulk modulus 4/3 of C12."""
    fit = observables.equation_of_state(MORSE, PRIMITIVE, strain=0.01)
    bulk_modulus = 4 / 3 * MORSE.depth * MORSE.alpha**2 * 2 / (np.sqrt(2) * MORSE.minimum) / GPA
    assert abs(fit.volume - A0**3 / 4) < 1e-4 and abs(fit.energy + 6 * MORSE.depth) < 1e-6
    assert abs(fit.bulk_modulus - bulk_modulus) < 1e-3 * bulk_modulus
    axes = fit.plot()
    assert axes.get_xlabel() == "volume (Å³/atom)" and axes.get_ylabel() == "energy (eV/atom)"
    swollen = PRIMITIVE.copy()
    swollen.set_cell(swollen.cell * 1.05, scale_atoms=True)
    with pytest.raises(ValueError, match="the lowest energy is at the end of the volumes"):
        observables.equation_of_state(MORSE, swollen, strain=0.01, points=5)
