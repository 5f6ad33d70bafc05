"""Cluster descriptors: QUIP's instances, design rows, the choice of sparse points, hyper-parameters."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import (
    GTO,
    SOAP,
    AtomicPotential,
    CosineCutoff,
    Dataset,
    Density,
    Instances,
    Properties,
    SparseGP,
    SquaredExponential,
    ThreeBody,
    TwoBody,
    environments,
    from_atoms,
)
from jaxpot.fit.design import _generic_rows
from jaxpot.pytree import set_fields

ORACLE = np.load(Path(__file__).parent / "oracles" / "quippy_descriptors.npz")
CASES = json.loads(str(ORACLE["info"]))["cases"]


def cluster_descriptor(text, species):
    name, *pairs = text.split()
    keys = dict(pair.split("=") for pair in pairs)
    kind = tuple(jaxpot.units.SYMBOLS[int(keys[z])] for z in ("Z_center", "Z1", "Z2") if z in keys)
    cutoff = CosineCutoff(float(keys["cutoff"]), width=float(keys["cutoff_transition_width"]))
    return {"distance_2b": TwoBody, "angle_3b": ThreeBody}[name](species, cutoff, (kind,))


@pytest.mark.parametrize("case", [name for name in CASES if name.endswith(("/d2", "/a3"))])
def test_instances_are_those_of_quip(case):
    get = lambda key: ORACLE[f"{case.split('/')[0]}/{key}"]  # noqa: E731
    atoms = Atoms(get("numbers"), get("positions"), cell=get("cell"), pbc=get("pbc"))
    descriptor = cluster_descriptor(CASES[case], tuple(dict.fromkeys(atoms.symbols)))
    found, weight = jax.vmap(descriptor.instances)(environments(from_atoms(atoms, float(descriptor.reach)), descriptor.reach, descriptor.species))
    weight = np.asarray(weight).reshape(-1)
    ours = np.column_stack([np.asarray(found.coordinates).reshape(len(weight), -1), weight / descriptor.multiplicity])
    ours = np.repeat(ours[weight > 0], int(descriptor.multiplicity), axis=0)
    theirs = np.column_stack([ORACLE[f"{case}/descriptor"], ORACLE[f"{case}/covariance_cutoff"]])
    theirs = theirs[theirs[:, -1] > 0]
    assert ours.shape == theirs.shape
    in_order = lambda rows: rows[np.lexsort(np.round(rows, 8).T)]  # noqa: E731
    np.testing.assert_allclose(in_order(ours), in_order(theirs), rtol=0, atol=1e-13)


SPECIES = ("H", "C", "O")
TWO = TwoBody(SPECIES, CosineCutoff(4.0, width=1.0))
THREE = ThreeBody(SPECIES, CosineCutoff(3.0, width=0.6))


def frames(n=5):
    rng = np.random.default_rng(0)
    cell = [[4.2, 0.1, 0], [2.1, 3.7, 0], [0.3, 2.0, 3.5]]
    out = []
    for _ in range(n):
        atoms = Atoms("OHCH", positions=rng.normal(size=(4, 3)) * 0.2 + [[0, 0, 0], [2.1, 0, 0], [2.0, 2.1, 0], [2.2, 2.0, 2.1]], cell=cell, pbc=True)
        atoms.info["energy"] = float(rng.normal())
        atoms.arrays["forces"] = rng.normal(size=(4, 3))
        out.append(atoms)
    return out


@pytest.fixture(scope="module")
def data():
    return Dataset.from_atoms(frames(), cutoff=4.0, sigma=Properties(energy=0.01, forces=0.1))


@pytest.fixture(scope="module")
def model(data):
    def term(descriptor, kernel, m):
        points = jaxpot.fit.select_environments(descriptor, data, m, key=jax.random.key(0))
        return AtomicPotential(descriptor, SparseGP(kernel, delta=0.5)).with_points(points)

    return term(TWO, SquaredExponential(0.7), 20) + term(THREE, SquaredExponential([1.0, 0.7, 1.2]), 40)


def test_design_rows_equal_forward_differentiation(model, data):
    graph = jax.tree_util.tree_map(lambda x: x[0], data.batches[0]).graphs
    rows, start = quick_jit(jaxpot.fit.design)(model, graph), 0
    for term in model.terms:
        stop = start + term.n_coefficients
        expected = quick_jit(_generic_rows)(term, graph)
        for name in ("energy", "forces", "virial"):
            ours = getattr(rows, name)[..., start:stop]
            assert np.max(np.abs(getattr(expected, name))) > 0.01
            np.testing.assert_allclose(ours, getattr(expected, name), rtol=0, atol=1e-12)
        start = stop


def test_sparse_points_follow_the_cutoff(model, data):
    def evidence(radius):
        first = model.terms[0]
        moved = set_fields(first, descriptor=set_fields(TWO, cutoff=set_fields(TWO.cutoff, radius=radius)))
        return jaxpot.fit.log_evidence(moved, data)

    h, value = 1e-4, quick_jit(evidence)
    finite = (value(3.8 + h) - value(3.8 - h)) / (2 * h)
    np.testing.assert_allclose(quick_jit(jax.grad(evidence))(3.8), finite, rtol=1e-5)


def test_variance_is_the_prior_far_from_data_and_small_at_data(data):
    short = TwoBody(SPECIES, CosineCutoff(4.0, width=1.0), (("O", "H"),))
    points = jaxpot.fit.select_environments(short, data, 25, key=jax.random.key(0))
    gp = AtomicPotential(short, SparseGP(SquaredExponential(0.3), delta=0.5)).with_points(points)
    fitted = jaxpot.fit.linear(gp, Dataset.from_atoms(frames(), cutoff=4.0, sigma=Properties(energy=1e-3, forces=1e-3)), covariance=True)
    pair = lambda r: from_atoms(Atoms("OH", positions=[[0, 0, 0], [r, 0, 0]]), 4.0)  # noqa: E731
    near, far = 2.1, 0.4
    # both atoms have the bond, so its prior deviation is 2 δ
    variance = quick_jit(AtomicPotential.variance)
    np.testing.assert_allclose(variance(fitted, pair(far)), (2 * 0.5) ** 2, rtol=1e-3)
    assert variance(fitted, pair(near)) < 0.01


@pytest.mark.parametrize("method", ["grid", "fps", "kmeans"])
def test_selection(data, method):
    choose = lambda seed: jaxpot.fit.select_environments(THREE, data, 60, key=jax.random.key(seed), method=method)  # noqa: E731
    points = choose(0)
    assert isinstance(points, Instances) and points.coordinates.shape == (60, 3)
    rows = np.column_stack([points.kind, points.coordinates])
    assert len(np.unique(np.round(rows, 8), axis=0)) == 60
    assert np.all(np.asarray(THREE.weights_of(points)) > 0)
    np.testing.assert_array_equal(points.coordinates, choose(0).coordinates)
    kinds = np.unique(points.kind)
    assert len(kinds) > 5 and -1 not in kinds


def test_number_of_points_of_each_kind(data):
    points = jaxpot.fit.select_environments(TWO, data, {("H", "O"): 4, ("C", "O"): 2}, key=jax.random.key(0))
    assert [TWO.kinds[k] for k in points.kind] == [("H", "O")] * 4 + [("C", "O")] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoBody(("H",), CosineCutoff(3.0, width=1.0), (("H", "O"),)), r"\('H', 'O'\).*expected some of"),
        (lambda: TwoBody(SPECIES, CosineCutoff(3.0, width=1.0), (("H", "O"), ("O", "H"))), "one cluster twice"),
        (lambda: ThreeBody(SPECIES, CosineCutoff(3.0, width=1.0), (("O", "H"),)), "expected some of"),
        (lambda: ThreeBody(SPECIES, CosineCutoff(3.0, width=1.0), ()), "expected some of"),
        (lambda: TWO(from_atoms(frames()[0], 4.0)), "AtomicPotential"),
        (lambda: SparseGP(SquaredExponential(1.0), features=np.ones((3, 3)), species=np.zeros(3), weights=np.ones(2)), "weights has shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_selection_refuses(data):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="fps, grid, kmeans"):
        jaxpot.fit.select_environments(THREE, data, 10, key=key, method="cur")
    with pytest.raises(ValueError, match="distinct environments"):
        jaxpot.fit.select_environments(TWO, data, 10**6, key=key)
    soap = SOAP(Density(SPECIES, CosineCutoff(3.0, width=0.6), GTO(2), 1, sigma=0.5))
    with pytest.raises(ValueError, match="cur, fps, kmeans"):
        jaxpot.fit.select_environments(soap, data, 10, key=key, method="grid")
    gp = AtomicPotential(soap, SparseGP(SquaredExponential(1.0))).with_points(jaxpot.fit.select_environments(TWO, data, 5, key=key))
    with pytest.raises(TypeError, match="Instances, which SOAP"):
        gp.precision()


def test_unknown_element_is_nan_even_where_no_cluster_is_described():
    gp = AtomicPotential(
        TwoBody(("H",), CosineCutoff(3.0, width=1.0)), SparseGP(SquaredExponential(1.0), features=np.ones((1, 1)), species=np.zeros(1, int), weights=np.ones(1))
    ).with_coefficients(np.ones(1))
    assert np.isfinite(gp(from_atoms(Atoms("H2", positions=[[0, 0, 0], [0.8, 0, 0]]), 3.0)))
    assert np.isnan(gp(from_atoms(Atoms("HO", positions=[[0, 0, 0], [0.8, 0, 0]]), 3.0)))
    assert gp(from_atoms(Atoms("H"), 3.0)) == 0


def test_hessian_of_symmetric_triplets():
    """Weights and coordinates are smooth where two neighbours are equally far, as they are in every crystal."""
    points = Instances(np.array([[4.0, 0.1, 2.5], [4.5, 0.5, 3.0]]), np.zeros(2, int))
    gp = AtomicPotential(ThreeBody(("Si",), CosineCutoff(2.6, width=1.5)), SparseGP(SquaredExponential([1.0, 0.8, 1.2]))).with_points(points)
    gp = gp.with_coefficients(np.array([0.7, -0.4]))
    graph = from_atoms(Atoms("Si3", positions=[[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0]]), 2.6)
    slope = jax.grad(lambda r: gp(graph.replace(positions=r)))
    forces, hessian = quick_jit(slope), quick_jit(jax.jacfwd(slope))(graph.positions).reshape(9, 9)
    h, finite = 1e-5, []
    for d in np.eye(9).reshape(9, 3, 3):
        finite.append(((forces(graph.positions + h * d) - forces(graph.positions - h * d)) / (2 * h)).reshape(9))
    np.testing.assert_allclose(hessian, np.array(finite), atol=1e-8)
    assert np.max(np.abs(hessian)) > 0.01
