"""Charges of surroundings: exact sums, rows, linear fits to charges and dipoles, training with energies, and Born effective charges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import GTO, MLP, SOAP, AtomicPotential, CosineCutoff, Dataset, Density, IsolatedAtoms, Linear, Properties, from_atoms
from jaxpot.descriptors.soap import LambdaSOAP
from jaxpot.longrange import (
    ChargeEquilibration,
    Complexes,
    Direct,
    Electrostatics,
    FixedCharges,
    Fragments,
    LocalCharges,
    QEq,
    Uniform,
    Weighted,
    WholeStructure,
    born_charges,
)
from jaxpot.potentials.linear import constant_of
from jaxpot.tensors import Dipole

SPECIES, CUTOFF = ("O", "H"), 3.0
soap = SOAP(Density(SPECIES, CosineCutoff(CUTOFF, width=1.0), GTO(2), 1, sigma=0.5))
TRUE = LocalCharges(soap, Linear()).with_coefficients(0.5 * np.random.default_rng(0).normal(size=40))


def water(n, seed, spread=0.15):
    """Molecules on a line, rattled."""
    rng = np.random.default_rng(seed)
    one = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    positions = np.concatenate([one + np.array([0, 0.2 * k, 2.7 * k]) for k in range(n)])
    return Atoms("OHH" * n, positions=positions + spread * rng.normal(size=positions.shape))


def graph_of(atoms, **more):
    return from_atoms(atoms, CUTOFF, **more)


CORRECTIONS = {
    "uniform": Uniform(),
    "by element": Weighted(IsolatedAtoms({"O": 0.7, "H": 0.0})),
    "by head": Weighted(AtomicPotential(soap, Linear()).with_coefficients(np.random.default_rng(1).normal(size=40))),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_total(name):
    model = TRUE.replace(correction=CORRECTIONS[name])
    graph = jaxpot.graph.pad(graph_of(water(2, 0), charge=-1.0), max_atoms=8)
    q = model.charges(graph)
    assert abs(float(jnp.sum(q)) + 1) < 1e-14 and np.all(q[6:] == 0)
    shared = q[:6] - TRUE.local.energies(graph)[:6]
    np.testing.assert_allclose(shared / shared[1], {"uniform": 1, "by element": np.tile([np.exp(0.7), 1, 1], 2)}.get(name, shared / shared[1]), rtol=1e-12)
    assert name != "by head" or np.ptp(shared) > 1e-3
    fragments = model.replace(totals=Fragments(((0, 1, 2), (3, 4, 5)), charges=[-1.0]))
    q = fragments.charges(graph)
    np.testing.assert_allclose([np.sum(q[:3]), np.sum(q[3:])], [-1, 0], atol=1e-14)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_rows_are_derivatives(name):
    model = TRUE.replace(correction=CORRECTIONS[name])
    graph = jaxpot.graph.pad(graph_of(water(2, 0), charge=-1.0), max_atoms=8)
    rows = model.basis(graph)
    by_w = jax.jacfwd(lambda w: model.with_coefficients(w).properties(graph))(jnp.asarray(model.local.head.coefficients))
    np.testing.assert_allclose(rows.charges, by_w.charges, atol=1e-14)
    np.testing.assert_allclose(rows.dipole, by_w.dipole, atol=1e-13)
    constant, found = constant_of(model).properties(graph), jaxpot.evaluate(model, graph)
    np.testing.assert_allclose(rows.charges @ model.local.head.coefficients + constant.charges, found.charges, atol=1e-13)
    np.testing.assert_allclose(rows.dipole @ model.local.head.coefficients + constant.dipole, found.dipole, atol=1e-12)


def labelled(n_frames, sigma):
    """Frames of neutral and charged molecules with the charges and dipoles of TRUE."""
    frames = []
    for seed in range(n_frames):
        atoms = water(2, seed)
        atoms.info["total"] = float(seed % 2)
        found = TRUE.properties(graph_of(atoms, charge=atoms.info["total"]))
        atoms.info["dipole"] = np.asarray(found.dipole)
        atoms.arrays["charges"] = np.asarray(found.charges)
        frames.append(atoms)
    return frames, Dataset.from_atoms(frames, CUTOFF, sigma=sigma, keys={"charge": "total", "dipole": "dipole", "charges": "charges"})


@pytest.mark.parametrize("sigma", [pytest.param(Properties(dipole=1e-7), marks=pytest.mark.slow), Properties(charges=1e-7), Properties(charges=1e-6, dipole=1e-6)], ids=["dipole", "charges", "both"])
def test_linear_fit_finds_the_charges(sigma):
    _, data = labelled(18, sigma)
    fitted = jaxpot.fit.linear(LocalCharges(soap, Linear(scale=10.0)), data)
    for n, charge in ((2, 0.0), (1, 1.0)):
        graph = graph_of(water(n, 100 + n), charge=charge)
        np.testing.assert_allclose(fitted.charges(graph), TRUE.charges(graph), atol=1e-4)
    # what is fitted goes into a potential as it is
    potential, true = (Electrostatics(model, Direct()) for model in (fitted, TRUE))
    assert abs(float(potential(graph) - true(graph))) < 1e-3


@pytest.mark.slow
def test_evidence_and_posterior():
    frames, data = labelled(4, Properties(dipole=0.01, charges=0.02))
    model = LocalCharges(soap, Linear(scale=0.5))
    posterior = jaxpot.fit.posterior(model, data)
    np.testing.assert_allclose(posterior.model.local.head.coefficients, jaxpot.fit.linear(model, data).local.head.coefficients, atol=1e-8)
    # labels are normal, with the covariance of the rows
    rows, y, level = [], [], []
    for frame in frames:
        graph = graph_of(frame, charge=frame.info["total"])
        parts, constant = model.basis(graph), constant_of(model).properties(graph)
        rows += [parts.charges, parts.dipole]
        y += [frame.arrays["charges"] - constant.charges, frame.info["dipole"] - constant.dipole]
        level += [np.full(6, 0.02), np.full(3, 0.01)]
    rows, y, level = map(np.concatenate, (rows, y, level))
    covariance = rows @ np.linalg.inv(model.precision()) @ rows.T + np.diag(level**2)
    expected = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    np.testing.assert_allclose(jaxpot.fit.log_evidence(model, data), expected, rtol=1e-9)


def test_complexes_of_different_sizes_in_one_fit():
    """Two molecules, two ions of other sizes and one molecule alone: every fragment has its charge, and one linear fit finds the charges of all."""
    formulas = ("OH2OH2", "OHOH3", "OH2")
    known = Complexes(formulas, (Fragments(((0, 1, 2), (3, 4, 5)), charges=[0.0]), Fragments(((0, 1), (2, 3, 4, 5)), charges=[-1.0]), WholeStructure()))
    true, frames, charges = TRUE.replace(totals=known), [], quick_jit(lambda model, graph: model.charges(graph))
    padded = dict(max_atoms=7, max_neighbors=5)
    for seed in range(18):
        atoms = water(2 if seed % 3 < 2 else 1, seed)
        if seed % 3 == 1:
            atoms = atoms[[0, 1, 3, 4, 5, 2]]
        q = charges(true, graph_of(atoms, **padded))
        parts, expected = (([3, 6], [0, 0, 0]), ([2, 6], [-1, 1, 0]), ([3], [0, 0]))[seed % 3]
        np.testing.assert_allclose([np.sum(part) for part in np.split(np.asarray(q), parts)], expected, atol=1e-13)
        atoms.arrays["charges"] = np.asarray(q)[: len(atoms)]
        frames.append(atoms)
    data = Dataset.from_atoms(frames, CUTOFF, sigma=Properties(charges=1e-7), keys={"charges": "charges"})
    fitted = jaxpot.fit.linear(LocalCharges(soap, Linear(scale=10.0), totals=known), data)
    for seed in (100, 101):
        graph = graph_of(water(1 + seed % 2, seed), **padded)
        np.testing.assert_allclose(charges(fitted, graph), charges(true, graph), atol=1e-4)
    other = graph_of(Atoms("HOH", positions=np.eye(3)), **padded)
    assert np.all(np.isnan(charges(true, other)[:3]))
    assert "Complexes knows structures of OH2OH2, OHOH3, OH2, this one is HOH" in jaxpot.diagnose(true, other)[0]
    for formulas, match in ((("OH2", "OHH"), "different atoms"), (("OH2",), "expected totals for each"), (("OH2", "xx"), "not a row of chemical symbols")):
        with pytest.raises(ValueError, match=match):
            Complexes(formulas, (WholeStructure(), WholeStructure()))


def test_charges_that_do_not_sum_to_the_total():
    frames, _ = labelled(4, Properties(charges=0.1))
    keys = {"charges": "charges"}  # and not the total
    for sigma, fit in ((Properties(charges=0.1), jaxpot.fit.linear), (Properties(charges=0.1), jaxpot.fit.log_evidence)):
        data = Dataset.from_atoms(frames, CUTOFF, sigma=sigma, keys=keys)
        with pytest.raises(ValueError, match="frame 1: the labels of charges sum to 1 e, its total charge is 0 e"):
            fit(LocalCharges(soap, Linear()), data)
    with pytest.raises(ValueError, match="frame 1"):
        jaxpot.fit.train(Electrostatics(TRUE, Direct()), data, optax.adam(1e-3), steps=1)


def test_network_trained_with_energies():
    """Charges of a network follow from energies and forces of known ones, and dipoles count as well."""
    known = Electrostatics(FixedCharges(SPECIES, values=[-0.8, 0.4]), Direct())
    frames = [water(1 + seed % 2, seed) for seed in range(8)]
    for atoms in frames:
        found = quick_jit(jaxpot.evaluate)(known, graph_of(atoms))
        atoms.info |= {"energy": float(found.energy), "dipole": np.asarray(found.dipole)}
        atoms.arrays["forces"] = np.asarray(found.forces)
    data = Dataset.from_atoms(frames, CUTOFF, sigma=Properties(energy=0.01, forces=0.1, dipole=0.01))
    start = Electrostatics(LocalCharges(soap, MLP((4,))), Direct())
    trained, history = jaxpot.fit.train(start, data, optax.adam(0.03), steps=150, where=("*.weights.*", "*.biases.*"), every=50, progress=False)
    assert history["loss"][-1] < 0.02 * history["loss"][0]
    graph = graph_of(water(2, 50))
    np.testing.assert_allclose(trained.charges.charges(graph), known.charges.charges(graph), atol=0.1)


def test_born_charges_of_a_molecule():
    """The derivative of the dipole, whatever the origin; summed over atoms the total charge."""
    graph = graph_of(water(2, 3), charge=1.0)
    by_position = np.moveaxis(np.asarray(jax.jacrev(lambda r: TRUE.properties(graph.replace(positions=r)).dipole)(graph.positions)), 0, -1)
    born = quick_jit(born_charges)
    found = born(TRUE, graph)
    np.testing.assert_allclose(found, by_position, atol=1e-12)
    np.testing.assert_allclose(np.sum(found, axis=0), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(born(Electrostatics(TRUE, Direct()), graph), by_position, atol=1e-12)
    moved = born(TRUE, graph.replace(positions=graph.positions + 50.0))
    np.testing.assert_allclose(moved, found, atol=1e-11)


def test_born_charges_are_the_forces_of_a_field():
    """∂F_a/∂E_b of equilibrated charges, whose energy knows the field; and of a model of atomic dipoles the derivative of its dipole."""
    qeq = QEq(SPECIES, IsolatedAtoms({"O": 8.7, "H": 4.5}), [16.6, 13.9], [0.6, 0.45], Direct())
    graph = graph_of(water(2, 3))
    potential = ChargeEquilibration(qeq)
    by_field = quick_jit(jax.jacfwd(lambda field: -jax.grad(lambda r: potential(graph.replace(positions=r, field=field)))(graph.positions)))
    np.testing.assert_allclose(quick_jit(born_charges)(potential, graph), by_field(jnp.zeros(3)), atol=1e-12)
    dipole = Dipole(tensor=LambdaSOAP(soap.expansion, 1), charges=soap)
    dipole = dipole.with_coefficients(np.random.default_rng(0).normal(size=dipole.n_coefficients))
    by_position = np.moveaxis(np.asarray(jax.jacrev(lambda r: dipole(graph.replace(positions=r)))(graph.positions)), 0, -1)
    np.testing.assert_allclose(quick_jit(born_charges)(dipole, graph), by_position, atol=1e-11)


def test_born_charges_of_a_crystal():
    """Those of a molecule where the cell is large, wherever its walls cut through; padding has none."""
    atoms = water(2, 3)
    born = quick_jit(born_charges)
    expected = born(TRUE, graph_of(atoms))
    cell = np.array([[15.0, 0.5, 0], [0, 15.0, -1.0], [2.0, 0, 16.0]])
    for shift in ([0, 0, 0], [7.1, 0.3, 15.2]):
        box = Atoms(atoms.numbers, positions=atoms.positions + shift, cell=cell, pbc=True)
        box.wrap()
        np.testing.assert_allclose(born(TRUE, jaxpot.graph.pad(graph_of(box), max_atoms=7))[:6], expected, atol=1e-12)
    slab = Atoms(atoms.numbers, positions=atoms.positions + 5.0, cell=[[15.0, 0, 0], [0, 15.0, 0], [0, 0, 0]], pbc=(True, True, False))
    np.testing.assert_allclose(born(TRUE, graph_of(slab)), expected, atol=1e-12)


def test_born_charges_need_charges():
    with pytest.raises(TypeError, match="IsolatedAtoms predicts neither charges nor a dipole"):
        born_charges(IsolatedAtoms({"O": 1.0, "H": 0.0}), graph_of(water(1, 0)))


def test_save_and_load(tmp_path):
    model = TRUE.replace(correction=CORRECTIONS["by element"], totals=Fragments(((0, 1, 2), (3,)), charges=[0.0]))
    assert jaxpot.load(jaxpot.save(tmp_path / "charges", model)) == model
