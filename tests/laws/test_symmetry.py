"""Translation, rotation, reflection, permutation, supercells; what they imply for forces and virials."""

import catalog
import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import DESCRIPTORS, POTENTIALS, STRUCTURES, assert_below, deviations, evaluate, features, quick_jit, relative, to_graph, variants_slow

from jaxpot import environments, random_rotation
from jaxpot.math.wigner import rotate_coefficients
from jaxpot.passes import condense

ROTATION = np.asarray(random_rotation(jax.random.key(3)))
NAMES = list(STRUCTURES)


def transformed(atoms, matrix=None, shift=(0, 0, 0), order=None):
    """The atoms after r → Q r + t, reordered; neighbour lists are searched anew afterwards."""
    matrix = np.eye(3) if matrix is None else matrix
    order = np.arange(len(atoms)) if order is None else order
    return Atoms(
        numbers=atoms.numbers[order],
        positions=(atoms.positions @ matrix.T + np.asarray(shift))[order],
        cell=atoms.cell.array @ matrix.T,
        pbc=atoms.pbc,
    )


def moves(atoms):
    """name -> (transformed atoms, matrix, order)."""
    identity, order = np.arange(len(atoms)), np.random.default_rng(5).permutation(len(atoms))
    return {
        "translation": (transformed(atoms, shift=(0.37, -4.2, 11.3)), np.eye(3), identity),
        "rotation": (transformed(atoms, ROTATION), ROTATION, identity),
        "reflection": (transformed(atoms, -ROTATION), -ROTATION, identity),
        "permutation": (transformed(atoms, order=order), np.eye(3), order),
    }


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_energy_forces_and_virial(name):
    model, energy, errors = catalog.potential(name), {}, {}
    for structure in NAMES:
        atoms, n = STRUCTURES[structure], len(STRUCTURES[structure])
        before = evaluate(model, catalog.graph(structure))
        assert catalog.is_finite(before)
        for move, (moved, q, order) in moves(atoms).items():
            after = evaluate(model, to_graph(moved))
            forces, virial = np.asarray(before.forces) @ q.T, q @ np.asarray(before.virial) @ q.T
            expected = before.replace(forces=np.concatenate([forces[order], forces[n:]]), virial=virial)
            energy[structure, move] = relative(after.energy, before.energy)
            errors |= {(structure, move, field): value for field, value in deviations(after, expected, n).items()}
    assert_below(energy, 1e-12)
    assert_below(errors, 1e-12)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_features(name):
    model, errors = catalog.descriptor(name), {}
    for structure in NAMES:
        atoms, n = STRUCTURES[structure], len(STRUCTURES[structure])
        before = np.asarray(features(model, catalog.graph(structure)))[:n]
        assert before.shape == (n, model.n_features) == (n, len(model.labels()))
        for move, (moved, _, order) in moves(atoms).items():
            errors[structure, move] = relative(features(model, to_graph(moved))[:n], before[order])
    assert_below(errors, 1e-12)


@quick_jit
def coefficients(density, graph):
    return jax.vmap(condense(density).of)(environments(graph, density.reach, density.species))


@pytest.mark.parametrize("name", [n for n in DESCRIPTORS if n.startswith(("soap", "ace"))])
def test_density_is_equivariant(name):
    density, errors = catalog.descriptor(name).expansion, {}
    for structure in NAMES:
        atoms, n = STRUCTURES[structure], len(STRUCTURES[structure])
        before = coefficients(density, catalog.graph(structure))[:n]
        for q in (ROTATION, -ROTATION):
            after = coefficients(density, to_graph(transformed(atoms, q)))[:n]
            errors[structure, np.linalg.det(q)] = relative(after, rotate_coefficients(before, q, density.l_max))
    assert_below(errors, 1e-10)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
@pytest.mark.parametrize(
    ("structure", "repeat"), [("triclinic", (1, 3, 1)), ("small-cell", (2, 1, 3)), ("slab", (2, 1, 1)), ("left-handed", (3, 1, 1))]
)
def test_supercell(name, structure, repeat):
    model, cell, copies = catalog.potential(name), STRUCTURES[structure], int(np.prod(repeat))
    one, many = evaluate(model, to_graph(cell)), evaluate(model, to_graph(cell.repeat(repeat)))
    forces = np.tile(np.asarray(one.forces)[: len(cell)], (copies, 1))
    assert_below(deviations(many, one.replace(energy=copies * one.energy, forces=forces, virial=copies * one.virial), len(forces)), 1e-12)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_force_and_torque_balance(name):
    for structure, atoms in STRUCTURES.items():
        result = evaluate(catalog.potential(name), catalog.graph(structure))
        forces, virial = np.asarray(result.forces), np.asarray(result.virial)
        scale = max(np.max(np.abs(forces)), np.max(np.abs(virial)), 1e-6)
        assert np.max(np.abs(forces.sum(axis=0))) < 1e-12 * scale
        assert np.max(np.abs(virial - virial.T)) < 1e-12 * scale
        assert np.all(forces[len(atoms) :] == 0)
        if not atoms.pbc.any():
            positions = np.asarray(catalog.graph(structure).positions)
            assert np.max(np.abs(np.cross(positions, forces).sum(axis=0))) < 1e-12 * scale
            assert np.max(np.abs(positions.T @ forces - virial)) < 1e-12 * scale


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_forces_exist(name):
    """No law above is satisfied by zeros alone."""
    forces = np.asarray(evaluate(catalog.potential(name), catalog.graph("molecule")).forces)
    assert (np.max(np.abs(forces)) > 1e-3) == (name != "isolated-atoms")
