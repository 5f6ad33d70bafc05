"""Cluster descriptors: QUIP's instances, design rows, the choice of sparse points, hyper-parameters."""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import GTO, SOAP, AtomicPotential, CosineCutoff, Dataset, Density, Properties, SparseGP, environments, from_atoms
from jaxpot.descriptors import CompactTriangles, Instances, ThreeBody, Triangles, TwoBody
from jaxpot.kernels import SquaredExponential, Symmetrised
from jaxpot.passes import condense
from jaxpot.potentials.rows import energy_row, generic_rows
from jaxpot.trees import set_fields

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
SIDES = Triangles(SPECIES, CosineCutoff(3.0, width=0.6), (("H", "O", "H"), ("C", "H", "H")))
SYMMETRIC = Symmetrised(SquaredExponential([0.9, 0.9, 1.1]), SIDES.permutations)


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

    return term(TWO, SquaredExponential(0.7), 20) + term(THREE, SquaredExponential([1.0, 0.7, 1.2]), 40) + term(SIDES, SYMMETRIC, 15)


def test_design_rows_equal_forward_differentiation(model, data):
    graph = jax.tree_util.tree_map(lambda x: x[0], data.batches[0]).graphs
    rows, start = quick_jit(jaxpot.fit.design)(model, graph), 0
    for term in model.terms:
        stop = start + term.n_coefficients
        expected = quick_jit(lambda term, graph: generic_rows(lambda graph: energy_row(condense(term), graph), graph))(term, graph)
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
    posterior = jaxpot.fit.posterior(gp, Dataset.from_atoms(frames(), cutoff=4.0, sigma=Properties(energy=1e-3, forces=1e-3)))
    pair = lambda r: from_atoms(Atoms("OH", positions=[[0, 0, 0], [r, 0, 0]]), 4.0)  # noqa: E731
    near, far = 2.1, 0.4
    # both atoms have the bond, so its prior deviation is 2 δ
    variance = quick_jit(jaxpot.fit.Posterior.variance)
    np.testing.assert_allclose(variance(posterior, pair(far)), (2 * 0.5) ** 2, rtol=1e-3)
    assert variance(posterior, pair(near)) < 0.01


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
        (lambda: Triangles(SPECIES, CosineCutoff(3.0, width=1.0)), r"write one term for each, for example kinds=\(\('H', 'H', 'H'\), "),
        (lambda: Triangles(SPECIES, CosineCutoff(3.0, width=1.0), (("H", "O", "H"), ("H", "H", "O"))), "one cluster twice"),
        (lambda: CompactTriangles(SPECIES, CosineCutoff(3.0, width=1.0), (("H", "H", "O"),)), "write Triangles or ThreeBody"),
        (lambda: AtomicPotential(SIDES, SparseGP(SquaredExponential(1.0))), r"Symmetrised\(kernel, descriptor.permutations"),
        (lambda: Symmetrised(SquaredExponential(1.0), ((0, 1, 2), (1, 2, 0))), "not a group"),
        (lambda: jaxpot.heads.References(features=np.ones((3, 3)), kinds=np.zeros(3), weights=np.ones(2)), "weights has shape"),
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
        TwoBody(("H",), CosineCutoff(3.0, width=1.0)), SparseGP(SquaredExponential(1.0), references=jaxpot.heads.References(features=np.ones((1, 1)), kinds=np.zeros(1, int), weights=np.ones(1)))
    ).with_coefficients(np.ones(1))
    assert np.isfinite(gp(from_atoms(Atoms("H2", positions=[[0, 0, 0], [0.8, 0, 0]]), 3.0)))
    assert np.isnan(gp(from_atoms(Atoms("HO", positions=[[0, 0, 0], [0.8, 0, 0]]), 3.0)))
    assert gp(from_atoms(Atoms("H"), 3.0)) == 0


@pytest.mark.parametrize("clusters", [ThreeBody, Triangles])
def test_hessian_of_symmetric_triplets(clusters):
    """Weights and coordinates are smooth where two neighbours are equally far, as they are in every crystal."""
    points = Instances(np.array([[4.0, 0.1, 2.5], [4.5, 0.5, 3.0]]), np.zeros(2, int))
    descriptor, kernel = clusters(("Si",), CosineCutoff(2.6, width=1.5)), SquaredExponential([1.0, 0.8, 1.2])
    if clusters is Triangles:
        points, kernel = points.replace(coordinates=points.coordinates - [2.0, -1.5, 0]), Symmetrised(SquaredExponential(1.1), descriptor.permutations)
    gp = AtomicPotential(descriptor, SparseGP(kernel)).with_points(points)
    gp = gp.with_coefficients(np.array([0.7, -0.4]))
    graph = from_atoms(Atoms("Si3", positions=[[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0]]), 2.6)
    slope = jax.grad(lambda r: gp(graph.replace(positions=r)))
    forces, hessian = quick_jit(slope), quick_jit(jax.jacfwd(slope))(graph.positions).reshape(9, 9)
    h, finite = 1e-5, []
    for d in np.eye(9).reshape(9, 3, 3):
        finite.append(((forces(graph.positions + h * d) - forces(graph.positions - h * d)) / (2 * h)).reshape(9))
    np.testing.assert_allclose(hessian, np.array(finite), atol=1e-8)
    assert np.max(np.abs(hessian)) > 0.01


def connected(a, b, c):
    """One minus the chance that no two of three bonds are there."""
    return 1 - (1 - a) * (1 - b) * (1 - c) - a * (1 - b) * (1 - c) - b * (1 - a) * (1 - c) - c * (1 - a) * (1 - b)


@pytest.mark.parametrize("kinds", [(("H", "H", "H"),), (("C", "H", "H"), ("H", "C", "C")), (("O", "C", "H"),)])
def test_every_triangle_counts_once(kinds):
    """Weighted sums of functions of the sides equal those over all triples of atoms."""
    atoms = Atoms("HCHOHCO", positions=np.random.default_rng(17).uniform(0, 3.0, (7, 3)))
    sides = Triangles(SPECIES, CosineCutoff(2.6, width=1.2), kinds)
    found, weight = quick_jit(jax.vmap(sides.instances))(environments(from_atoms(atoms, 2.6), 2.6, SPECIES))
    probe = lambda x: np.stack([x[..., 0] + 2 * x[..., 1] ** 2 + 3 * x[..., 2] ** 3, np.ones(x.shape[:-1])])  # noqa: E731
    total, expected, n_open = np.sum(np.asarray(weight) * probe(np.asarray(found.coordinates)), axis=(1, 2)), 0, 0
    for triple in itertools.combinations(range(7), 3):
        for kind in sides.kinds:
            for order in itertools.permutations(triple):
                if tuple(atoms.symbols[i] for i in order) == kind:
                    x = np.array([atoms.get_distance(order[a], order[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
                    same = [list(p) for p in sides.permutations]
                    x = min((x[p] for p in same), key=lambda row: tuple(row.round(12)))
                    w = connected(*np.asarray(sides.cutoff(x)))
                    expected, n_open = expected + w * probe(x), n_open + (w > 0 and max(x) > 2.6)
                    np.testing.assert_allclose(sides.weights_of(Instances(x[None], np.zeros(1, int)))[0], w, atol=1e-14)
                    break
    assert n_open and expected[1] > 0.3
    np.testing.assert_allclose(total, expected, rtol=1e-13)


def test_symmetrised_kernel():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 3))
    kernel = Symmetrised(SquaredExponential([0.9, 0.9, 0.6]), ((0, 1, 2), (1, 0, 2)))
    call = quick_jit(kernel.__call__)
    k = call(x, y)
    np.testing.assert_allclose(k, call(x[:, [1, 0, 2]], y), atol=1e-15)
    np.testing.assert_allclose(k, call(x, y[:, [1, 0, 2]]), atol=1e-15)
    np.testing.assert_allclose(k[0], quick_jit(kernel.__call__)(x[0], y), atol=1e-15)
    one = lambda a, b: np.exp(-0.5 * np.sum((a - b) ** 2 / np.array([0.9, 0.9, 0.6]) ** 2))  # noqa: E731
    both = lambda a, b: one(a, b) + one(a, b[[1, 0, 2]])  # noqa: E731
    np.testing.assert_allclose(k[1, 2], both(x[1], y[2]) / np.sqrt(both(x[1], x[1]) * both(y[2], y[2])), rtol=1e-14)
    np.testing.assert_allclose(np.diag(call(x, x)), kernel.diagonal(x), rtol=1e-14)
    assert np.all(np.linalg.eigvalsh(call(x, x)) > 0)
