"""Force constants of second and third order, waves, phonons, and how they answer to strain and temperature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import quick_jit
from springs_of import CUBIC, MORSE, PRIMITIVE, STIFFNESS
from test_elasticity import SILICON, fourth_order

import jaxpot as jp
from jaxpot import observables
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.observables import dynamical_matrices, frequencies, harmonic_free_energy
from jaxpot.units import TERAHERTZ

ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
REPEATS = (1, 1, 3)
MASS = 63.546


@functools.cache
def argon():
    """A supercell of argon at its minimum, with one atom in its primitive cell."""
    atoms = observables.relax(ARGON, bulk("Ar", a=5.3), cell=True, tolerance=1e-8).atoms
    return atoms, jp.from_atoms(atoms.repeat(REPEATS), float(ARGON.reach) + 0.1)


def test_force_constants_of_both_orders():
    """Of a silicon cluster without symmetry, of some of its atoms, against differences."""
    positions = np.random.default_rng(0).normal(0, 0.1, (4, 3)) + 1.36 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1]])
    graph = jp.from_atoms(Atoms("Si4", positions=positions), 4.5, max_neighbors=3)
    second = quick_jit(functools.partial(observables.force_constants, of=(0, 2)))
    third = quick_jit(functools.partial(observables.third_order_force_constants, of=(0, 2), at_once=3))(SILICON, graph)
    forces = quick_jit(lambda graph: jp.evaluate(SILICON, graph).forces)
    constants = second(SILICON, graph)
    assert constants.shape == (2, 4, 3, 3) and third.shape == (2, 4, 4, 3, 3, 3)
    for atom, axis in ((1, 0), (2, 2)):
        moved = lambda h, atom=atom, axis=axis: graph.replace(positions=graph.positions.at[atom, axis].add(h))  # noqa: E731
        numeric = -fourth_order(lambda h, moved=moved: forces(moved(h)), 1e-3)[jnp.array([0, 2])]
        np.testing.assert_allclose(constants[:, atom, :, axis], numeric, rtol=0, atol=1e-7)
        numeric = fourth_order(lambda h, moved=moved: second(SILICON, moved(h)), 1e-3)
        np.testing.assert_allclose(third[:, :, atom, :, :, axis], numeric, rtol=0, atol=1e-6)
    np.testing.assert_allclose(jnp.sum(third, axis=1), 0, rtol=0, atol=1e-9)


def test_springs():
    """At X of the fcc crystal of springs mω² is 8 k along the wave and 4 k across; phonopy has the same."""
    graph = jp.from_atoms(PRIMITIVE.repeat((2, 2, 1)), 3.0)
    nu = frequencies(quick_jit(dynamical_matrices, static_argnums=2)(MORSE, graph, (2, 2, 1), masses=jnp.array([MASS])))
    expected = np.sqrt(np.array([4, 4, 8]) * STIFFNESS / MASS) * TERAHERTZ
    np.testing.assert_allclose(nu[3], expected, rtol=1e-9)
    np.testing.assert_allclose(nu[0], 0, rtol=0, atol=1e-5)
    pytest.importorskip("phonopy")
    atoms = PRIMITIVE.copy()
    atoms.set_masses([MASS])
    phonons = observables.phonons(MORSE, atoms, (2, 2, 1))
    points = np.array([[i, j, 0] for i in range(2) for j in range(2)]) / 2
    np.testing.assert_allclose(phonons.frequencies(points), nu, rtol=1e-5, atol=1e-4)
    nu, dos = phonons.density_of_states((5, 5, 5))
    assert abs(np.trapezoid(dos, nu) - 3) < 0.1


def test_free_energy_equals_that_of_phonopy():
    pytest.importorskip("phonopy")
    atoms, graph = argon()
    matrices = quick_jit(dynamical_matrices, static_argnums=2)(ARGON, graph, REPEATS)
    found = observables.phonons(ARGON, atoms, REPEATS).thermal_properties([20.0, 80.0], mesh=REPEATS)
    ours = [float(harmonic_free_energy(matrices, t)) for t in found.temperatures]
    np.testing.assert_allclose(ours, found.free_energy, rtol=1e-4)
    entropy = -jax.grad(lambda t: harmonic_free_energy(matrices, t))(80.0)
    assert abs(entropy - found.entropy[1]) < 1e-4 * entropy


@pytest.mark.slow
def test_strain_and_temperature():
    """Grüneisen parameters against frequencies, and thermal expansion against free energies, of strained crystals."""
    _, graph = argon()
    temperature = 40.0

    @quick_jit
    def strained(e, t):
        matrices = dynamical_matrices(ARGON, jp.strain(graph, e * jnp.eye(3)), REPEATS)
        return jnp.log(jnp.abs(frequencies(matrices))), jax.grad(lambda t: harmonic_free_energy(matrices, t))(t)

    nu, gamma = quick_jit(observables.grueneisen_parameters, static_argnums=2)(ARGON, graph, REPEATS)
    numeric = -fourth_order(lambda h: strained(h, temperature)[0], 1e-3) / 3
    np.testing.assert_allclose(gamma[1:], numeric[1:], rtol=1e-6)
    assert np.all(np.isnan(gamma[0])) and np.all(nu[1:] > 0)
    alpha = quick_jit(observables.thermal_expansion, static_argnums=2)(ARGON, graph, REPEATS, jnp.array([temperature]))[0]
    C = quick_jit(observables.elastic_constants)(ARGON, graph)
    # the trace of C α V is −∂²F/∂ε∂T of the isotropic strain, per cell; three cells are in the graph
    volume = float(jnp.linalg.det(graph.cell)) / 3 * 0.006241509125883258
    mixed = fourth_order(lambda h: strained(h, temperature)[1], 1e-3)
    np.testing.assert_allclose(jnp.sum((C @ alpha)[:3]) * volume, -mixed, rtol=1e-6)


@pytest.mark.slow
def test_thermal_expansion_follows_the_leaves():
    """Although frequencies of a cubic crystal coincide, where eigenvectors have no derivative."""
    atoms = bulk("Cu", a=CUBIC.cell[0, 0])
    graph = jp.from_atoms(atoms.repeat((2, 2, 2)), 3.0)

    def alpha(stiffness):
        return observables.thermal_expansion(MORSE.replace(alpha=stiffness), graph, (2, 2, 2), jnp.array([300.0]))[0, 0]

    value_and_grad = quick_jit(jax.value_and_grad(alpha))
    _, slope = value_and_grad(1.5)
    assert abs(slope - fourth_order(lambda h: value_and_grad(1.5 + h)[0], 1e-3)) < 1e-6 * abs(slope)


def test_refusals():
    """Imaginary phonons have no free energy, and where forces do not vanish there are no phonons."""
    unstable = bulk("Cu", "sc", a=2.5)
    graph = jp.from_atoms(unstable.repeat((1, 1, 2)), 3.0)
    matrices = dynamical_matrices(MORSE.replace(minimum=2.7), graph, (1, 1, 2))
    assert frequencies(matrices).min() < -0.5 and np.isnan(harmonic_free_energy(matrices, 300.0))
    with pytest.raises(ValueError, match="2 atoms are not 4 cells"):
        dynamical_matrices(MORSE, graph, (2, 1, 2))
    pytest.importorskip("phonopy")
    phonons = observables.phonons(MORSE.replace(minimum=2.7), unstable, (1, 1, 2))
    with pytest.raises(ValueError, match=r"imaginary frequencies, written as negative: -\d+\.\d+ THz at q = "):
        phonons.thermal_properties([300.0], mesh=(2, 2, 2))
    rattled = CUBIC.copy()
    rattled.rattle(0.01, seed=0)
    with pytest.raises(ValueError, match="phonons: the largest force is"):
        observables.phonons(MORSE, rattled, (1, 1, 1))


def test_bands():
    pytest.importorskip("phonopy")
    pytest.importorskip("seekpath")
    phonons = observables.phonons(MORSE, PRIMITIVE, (2, 2, 2))
    bands = phonons.bands(points=5)
    assert {"Γ", "X", "L"} <= {label for ends in bands["ends"] for label in ends}
    assert len(bands["frequencies"]) == len(bands["ends"]) and bands["frequencies"][0].shape == (5, 3)
    axes = phonons.plot(points=5)
    assert axes.get_ylabel() == "frequency (THz)" and "Γ" in [text.get_text() for text in axes.get_xticklabels()]


def test_lattice_conductivity():
    """Of solid argon: that of phono3py's own differences of forces, to their error; a cube's; what cannot be is refused."""
    phono3py = pytest.importorskip("phono3py")
    atoms, _ = argon()
    ours = observables.lattice_conductivity(ARGON, atoms, (3, 3, 3), [50.0, 100.0], mesh=(7, 7, 7))
    theirs = phono3py.Phono3py(ours.phono3py.unitcell, supercell_matrix=np.diag((3, 3, 3)), primitive_matrix=np.eye(3))
    theirs.generate_displacements(distance=0.005)
    evaluate, forces = jax.jit(jp.evaluate), []
    for cell in theirs.supercells_with_displacements:
        moved = jp.from_atoms(Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True), float(ARGON.reach))
        forces.append(np.asarray(evaluate(ARGON, moved).forces))
    theirs.forces = np.array(forces)
    theirs.produce_fc3()
    theirs.mesh_numbers = [7, 7, 7]
    theirs.init_phph_interaction()
    theirs.run_thermal_conductivity(temperatures=[50.0, 100.0])
    np.testing.assert_allclose(ours.conductivity[:, 0, 0], theirs.thermal_conductivity.kappa[0, :, 0], rtol=0.01)
    np.testing.assert_allclose(ours.conductivity, ours.conductivity[:, :1, :1] * np.eye(3), rtol=0, atol=1e-9)
    assert 0.1 < ours.conductivity[0, 0, 0] < 1  # W/(m K)
    for wrong, message in (({"supercell": (2, 2, 2)}, "twice the nearest distance"), ({"temperatures": [0.0]}, "above zero")):
        with pytest.raises(ValueError, match=message):
            observables.lattice_conductivity(ARGON, atoms, **({"supercell": (3, 3, 3), "temperatures": [50.0]} | wrong))
