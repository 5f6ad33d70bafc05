"""Charges that are linear in the coefficients of the electronegativity, and energies that are linear in those of terms that see charges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import MLP, AtomicPotential, CosineCutoff, Dataset, IsolatedAtoms, Linear, Properties, from_atoms
from jaxpot.descriptors import ACSF, G2, ChargePowers, Constant
from jaxpot.heads import SparseGP
from jaxpot.kernels import PolynomialKernel
from jaxpot.longrange import Carried, ChargedPotential, ConjugateGradients, Direct, Fragments, PairsOfCharges, QEq
from jaxpot.potentials.base import energies_carrying
from jaxpot.potentials.linear import constant_of, is_linear

SPECIES, CUTOFF = ("O", "H"), 3.0
acsf = ACSF(SPECIES, (G2.centered(CosineCutoff(CUTOFF), 4),))
ATOMS = IsolatedAtoms({"O": 8.7, "H": 4.5})
MODEL = QEq(SPECIES, AtomicPotential(acsf, Linear(scale=10.0)) + ATOMS, [16.6, 13.9], [0.6, 0.45], Direct())
TRUE = MODEL.with_coefficients(2.0 * np.random.default_rng(0).normal(size=20))
VARIANTS = {
    "plain": TRUE,
    "without constants": TRUE.replace(electronegativity=TRUE.electronegativity.terms[0]),
    "fragments": TRUE.replace(totals=Fragments(((0, 1, 2), (3, 4, 5)), charges=[-1.0])),
    "conjugate gradients": TRUE.replace(solver=ConjugateGradients(1e-14)),
}


def water(seed):
    rng = np.random.default_rng(seed)
    one = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    positions = np.concatenate([one, one + np.array([0, 0.2, 2.7])])
    return Atoms("OHHOHH", positions=positions + 0.15 * rng.normal(size=positions.shape))


def graph_of(atoms, **more):
    return from_atoms(atoms, CUTOFF, **more)


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_are_derivatives(name):
    model, w = VARIANTS[name], TRUE.electronegativity.terms[0].head.coefficients
    graph = jaxpot.graph.pad(graph_of(water(0), charge=-1.0), max_atoms=8)
    rows, constant, found = quick_jit(lambda graph: (model.basis(graph), constant_of(model).properties(graph), model.properties(graph)))(graph)
    assert np.all(rows.charges[6:] == 0) and model.n_coefficients == 20
    np.testing.assert_allclose(jnp.sum(rows.charges, axis=0), np.zeros(20), atol=1e-14)
    assert abs(float(jnp.sum(found.charges)) + 1) < 1e-13
    for name in ("charges", "dipole"):
        np.testing.assert_allclose(getattr(rows, name) @ w + getattr(constant, name), getattr(found, name), atol=1e-12)
    step = np.random.default_rng(1).normal(size=20)
    more, less = (model.with_coefficients(w + h * step).properties(graph) for h in (0.5, -0.5))
    np.testing.assert_allclose(rows.charges @ step, more.charges - less.charges, atol=1e-12)


@pytest.mark.slow
def test_rows_of_fewer_coefficients_than_atoms():
    w = jnp.asarray([8.7, 4.5])
    model = MODEL.replace(electronegativity=AtomicPotential(Constant(SPECIES), Linear(coefficients=w)))
    rows, constant, found = quick_jit(lambda graph: (model.basis(graph), constant_of(model).properties(graph), model.properties(graph)))(graph_of(water(0)))
    for name in ("charges", "dipole"):
        np.testing.assert_allclose(getattr(rows, name) @ w + getattr(constant, name), getattr(found, name), atol=1e-12)


def test_what_is_linear():
    assert is_linear(MODEL) and not is_linear(MODEL.replace(electronegativity=ATOMS))
    network = MODEL.replace(electronegativity=AtomicPotential(acsf, MLP((4,))))
    assert not is_linear(network)
    with pytest.raises(TypeError, match="QEq is not linear in its coefficients; use jaxpot.fit.train"):
        jaxpot.fit.linear(network, labelled(2, Properties(charges=0.1)))


def labelled(n_frames, sigma):
    """Neutral and charged frames with the charges and dipoles of TRUE."""
    frames, charges = [water(seed) for seed in range(n_frames)], quick_jit(lambda graph: TRUE.properties(graph))
    for seed, atoms in enumerate(frames):
        atoms.info["total"] = float(seed % 2)
        found = charges(graph_of(atoms, charge=atoms.info["total"]))
        atoms.info["dipole"], atoms.arrays["charges"] = np.asarray(found.dipole), np.asarray(found.charges)
    return Dataset.from_atoms(frames, CUTOFF, sigma=sigma, keys={"charge": "total", "dipole": "dipole", "charges": "charges"})


@pytest.mark.parametrize("sigma", [Properties(charges=1e-7), pytest.param(Properties(charges=1e-6, dipole=1e-6), marks=pytest.mark.slow)], ids=["charges", "both"])
def test_fit_finds_the_electronegativity(sigma):
    fitted = jaxpot.fit.linear(MODEL, labelled(18, sigma), progress=False)
    graph = graph_of(water(102), charge=-1.0)
    np.testing.assert_allclose(fitted.charges(graph), TRUE.charges(graph), atol=1e-4)


def test_evidence_is_that_of_normal_labels():
    data = labelled(3, Properties(charges=0.02, dipole=0.05))
    predicted = quick_jit(lambda graph: (MODEL.basis(graph), constant_of(MODEL).properties(graph)))
    rows, y, level = [], [], []
    for _, one in data.structures():
        parts, constant = predicted(one.graphs)
        rows += [parts.charges, parts.dipole]
        y += [one.targets.charges - constant.charges, one.targets.dipole - constant.dipole]
        level += [np.full(6, 0.02), np.full(3, 0.05)]
    rows, y, level = map(np.concatenate, (rows, y, level))
    covariance = rows @ np.linalg.inv(MODEL.precision()) @ rows.T + np.diag(level**2)
    expected = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    np.testing.assert_allclose(jaxpot.fit.log_evidence(MODEL, data), expected, rtol=1e-9)


def test_evidence_finds_the_hardness():
    """It is larger for the hardness that labels come from than for others, and its gradient is that of differences."""
    data = labelled(6, Properties(charges=0.0003))
    evidence = quick_jit(jax.value_and_grad(lambda s: jaxpot.fit.log_evidence(MODEL.replace(hardness=s * jnp.asarray(MODEL.hardness)), data)))
    h = 5e-4
    values = {step: evidence(1.0 + step * h)[0] for step in (-2, -1, 1, 2)}
    expected = (8 * (values[1] - values[-1]) - values[2] + values[-2]) / (12 * h)
    value, slope = evidence(1.0)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    assert value > max(evidence(0.7)[0], evidence(1.5)[0])


def of_charge(degree=2):
    """Linear energies at the charges of TRUE, and those of the pairs, which are given."""
    powers = Carried(AtomicPotential(ChargePowers(acsf, degree, origin=[-0.6, 0.3]), Linear()))
    return ChargedPotential(TRUE, (powers, PairsOfCharges(SPECIES, TRUE.sum, TRUE.interaction)))


def test_powers_of_charges():
    graph = graph_of(water(0))
    q = TRUE.charges(graph)
    model = AtomicPotential(ChargePowers(acsf, 2, origin=[-0.6, 0.3]), Linear(coefficients=np.eye(60)[[0, 10, 20, 39, 49, 59]].sum(axis=0)))
    found, x = energies_carrying(model, graph, q[:, None]), acsf(graph)
    shifted = q - jnp.where(graph.numbers == 8, -0.6, 0.3)
    feature = jnp.where(graph.numbers == 8, x[:, 0], x[:, 9])
    np.testing.assert_allclose(found, feature * (1 + shifted + shifted**2), atol=1e-12)
    with pytest.raises(ValueError, match="expected a charge for each of O, H, got shape"):
        ChargePowers(acsf, 2, origin=[0.0])
    with pytest.raises(ValueError, match="CoulombMatrix does not follow from an atom's own neighbours"):
        ChargePowers(jaxpot.descriptors.CoulombMatrix(SPECIES, 3), 2, origin=[0.0, 0.0])


def test_rows_of_energies_at_charges():
    """With all that charges do to forces and virial."""
    model = of_charge()
    w = np.random.default_rng(2).normal(size=model.n_coefficients)
    graph = jaxpot.graph.pad(graph_of(water(0), charge=-1.0), max_atoms=8)
    rows, given, found = quick_jit(
        lambda graph: (model.basis(graph), jaxpot.evaluate(constant_of(model), graph), jaxpot.evaluate(model.with_coefficients(w), graph))
    )(graph)
    for name in ("energy", "energies", "forces", "virial"):
        np.testing.assert_allclose(getattr(rows, name) @ w + getattr(given, name), getattr(found, name), atol=1e-9)
    with pytest.raises(ValueError, match="SparseGP has no sparse points"):
        jaxpot.fit.design(model.replace(terms=(Carried(AtomicPotential(acsf, SparseGP(PolynomialKernel(2)))),)), graph)


@pytest.mark.slow
def test_sparse_points_carry_charges():
    """Those of the model at the atoms that were chosen; without, what looks at charges refuses."""
    powers, data = ChargePowers(acsf, 1, origin=[-0.6, 0.3]), labelled(3, Properties(charges=0.1))
    points = jaxpot.fit.select_environments(powers, data, 6, key=jax.random.key(0), charges=TRUE)
    charges, carried = np.concatenate([one.targets.charges for _, one in data.structures()]), np.asarray(points.center_carried)
    assert np.max(np.min(np.abs(carried - charges), axis=1)) < 1e-12
    assert len(np.unique(np.round(carried, 9))) == 6
    with pytest.raises(ValueError, match="atoms carry 0 numbers, expected at least 1; give the potential charges"):
        jaxpot.fit.select_environments(powers, data, 6, key=jax.random.key(0))


@pytest.mark.slow
def test_fit_finds_energies_at_charges():
    """Beside a short-range term; what is given is taken away from the labels first, that of linear terms as well."""
    short = AtomicPotential(acsf, Linear(scale=10.0))
    model = short + of_charge(1)
    rng = np.random.default_rng(3)
    true = model.with_coefficients(rng.normal(size=model.n_coefficients))
    frames, evaluate = [water(seed) for seed in range(16)], quick_jit(jaxpot.evaluate)
    for seed, atoms in enumerate(frames):
        atoms.info["total"] = float(seed % 2)
        found = evaluate(true, graph_of(atoms, charge=atoms.info["total"]))
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy), np.asarray(found.forces)
    data = Dataset.from_atoms(frames, CUTOFF, sigma=Properties(energy=1e-6, forces=1e-6), keys={name: name for name in ("energy", "forces")} | {"charge": "total"})
    fitted = jaxpot.fit.linear(model, data, progress=False)
    graph = graph_of(water(102), charge=-1.0)
    np.testing.assert_allclose(evaluate(fitted, graph).forces, evaluate(true, graph).forces, atol=1e-3)
