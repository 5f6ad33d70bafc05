"""Descriptors of molecules: by hand, by loops over atoms, against DScribe, and what makes them NaN."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from catalog import evaluate, is_finite, quick_jit, relative
from scipy.special import erf

import jaxpot as jp
from jaxpot.descriptors.coulomb import coulomb_matrix
from jaxpot.units import SYMBOLS

ORACLES = Path(__file__).parent / "oracles"
MATRICES, HISTOGRAMS = (np.load(ORACLES / f"dscribe_{name}.npz") for name in ("matrices", "mbtr_lmbtr_vo"))
SPECIES = ("H", "C", "N", "O")
ATOMS = Atoms("OCHNH", positions=[[0, 0, 0], [1.2, 0.1, 0], [1.8, 1.0, 0.3], [1.9, -1.1, -0.2], [1.4, -1.9, 0.4]])
values = quick_jit(lambda descriptor, graph: descriptor.features(graph))
local_values = quick_jit(lambda descriptor, graph: descriptor(graph))


def atoms_of(file, name):
    return Atoms(file[f"{name}/numbers"], file[f"{name}/positions"], cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])


def free_graph(atoms, cutoff=6.0, n=9):
    """Of a molecule, padded."""
    return jp.from_atoms(Atoms(atoms.numbers, atoms.positions), cutoff, max_atoms=n, max_neighbors=n - 1)


# Coulomb matrices


@pytest.mark.parametrize("name", ["water", "water3", "ch4"])
def test_coulomb_matrices_of_dscribe(name):
    graph, n = free_graph(atoms_of(MATRICES, name)), 12
    upper, expected = np.triu_indices(n), {key: MATRICES[f"{name}/coulomb_{key}/features"] for key in ("none", "sorted_l2", "eigenspectrum")}
    assert np.max(np.abs(quick_jit(coulomb_matrix)(graph) - expected["none"][:9, :9])) < 1e-12
    assert np.max(np.abs(values(jp.descriptors.CoulombMatrix(SPECIES, n), graph) - expected["sorted_l2"][upper])) < 1e-12
    assert np.max(np.abs(values(jp.descriptors.CoulombSpectrum(SPECIES, n), graph) - expected["eigenspectrum"])) < 1e-10


def test_bags_by_hand():
    bags = jp.descriptors.BagOfBonds.of([ATOMS, molecule("H2O"), molecule("CH4")])
    assert bags.species == SPECIES and bags.counts == (4, 1, 1, 1)
    found = np.asarray(values(bags, free_graph(ATOMS)))
    expected, z = {}, ATOMS.numbers
    for i in range(5):
        expected.setdefault((SYMBOLS[z[i]],), []).append(0.5 * z[i] ** 2.4)
    for i, j in itertools.combinations(range(5), 2):
        pair = tuple(sorted((SYMBOLS[z[i]], SYMBOLS[z[j]]), key=SPECIES.index))
        expected.setdefault(pair, []).append(z[i] * z[j] / ATOMS.get_distance(i, j))
    assert bags.n_features == len(bags.labels()) == 4 + 3 + 6 + 4 * 3 + 3
    for *kind, rank in bags.labels():
        bag = sorted(expected.get(tuple(kind), []), reverse=True) + [0.0] * 9
        at = bags.labels().index((*kind, rank))
        assert abs(found[at] - bag[rank]) < 1e-12, (kind, rank)
    assert found.shape == (bags.n_features,)


WHOLE = {
    "matrix": jp.descriptors.CoulombMatrix(SPECIES, 6),
    "spectrum": jp.descriptors.CoulombSpectrum(SPECIES, 6),
    "bags": jp.descriptors.BagOfBonds(SPECIES, (4, 2, 1, 1)),
    "slatm": jp.descriptors.SLATM(jp.descriptors.LocalSLATM(SPECIES, jp.cutoffs.Step(4.8), n_r=20, n_theta=12)),
    "mbtr": jp.descriptors.MBTR(SPECIES, jp.cutoffs.Step(5.9), jp.descriptors.Histogram(0.1, 1.1, sigma=0.05, n=9), jp.descriptors.Histogram(-1.0, 1.0, sigma=0.1, n=7)),
}
ROTATION = np.asarray(jp.random_rotation(jax.random.key(1)))


@quick_jit
def slopes(descriptor, graph):
    return jax.jacfwd(lambda r: descriptor.features(graph.replace(positions=r)))(graph.positions)


@pytest.mark.parametrize("name", WHOLE)
def test_invariances_and_derivatives(name):
    """Moved, turned, mirrored, reordered, padded and batched molecules are the same; derivatives are those of finite differences."""
    descriptor, graph, rng = WHOLE[name], free_graph(ATOMS), np.random.default_rng(0)
    before = values(descriptor, graph)
    assert before.shape == (descriptor.n_features,) and len(descriptor.labels()) == descriptor.n_features and np.any(before)
    order = [3, 1, 0, 4, 2]
    for q, o in ((ROTATION, range(5)), (-ROTATION, range(5)), (np.eye(3), order)):
        moved = Atoms(ATOMS.numbers[list(o)], (ATOMS.positions @ q.T + [1.0, -2.0, 0.5])[list(o)])
        assert relative(values(descriptor, free_graph(moved)), before) < 1e-11
    batch = quick_jit(jax.vmap(type(descriptor).features, (None, 0)))(descriptor, jp.stack([jp.from_atoms(a, 6.0) for a in (molecule("CH4"), ATOMS)]))
    assert relative(batch[1], before) < 1e-13
    direction = np.concatenate([rng.normal(size=(5, 3)), np.zeros((4, 3))])
    moved = [values(descriptor, graph.replace(positions=graph.positions + h * direction)) for h in (1e-4, -1e-4, 2e-4, -2e-4)]
    numeric = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / 12e-4
    exact = np.asarray(slopes(descriptor, graph))
    assert relative(np.einsum("fix,ix->f", exact, direction), numeric) < 1e-6
    assert not np.any(exact[:, 5:])
    assert is_finite(slopes(descriptor, free_graph(molecule("CH4"))))  # equal norms, degenerate eigenvalues, equal bonds
    assert is_finite(slopes(descriptor, free_graph(molecule("C2H2")))) and is_finite(slopes(descriptor, free_graph(Atoms("O", positions=[[0, 0, 0]]))))
    assert not np.any(values(descriptor, graph.replace(numbers=jnp.zeros(9, int))))
    assert values(jp.cast(descriptor, jnp.float32), jp.cast(graph, jnp.float32)).dtype == jnp.float32


TOO_MUCH = {
    "matrix": (molecule("CH3CH2OH"), "9 atoms, and CoulombMatrix has n_atoms=6"),
    "spectrum": (molecule("CH3CH2OH"), "9 atoms, and CoulombSpectrum has n_atoms=6"),
    "bags": (molecule("CO2"), "2 atoms of O, and the bags hold 1"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_does_not_fit_is_nan(name):
    descriptor, (large, reason) = WHOLE[name], TOO_MUCH[name]
    references = [free_graph(ATOMS), free_graph(molecule("CH4"))]
    model = jp.potentials.StructureGP(descriptor, jp.kernels.Laplacian(100.0), jp.kernels.Average(), normalize=False, extensive=False).with_points(references)
    model = model.with_coefficients(np.array([1.0, -0.5]))
    assert is_finite(evaluate(model, free_graph(ATOMS)))
    boxed = jp.from_atoms(Atoms(ATOMS, cell=[20, 20, 20], pbc=True), 6.0, max_atoms=9, max_neighbors=8)
    for graph, words in ((free_graph(large), reason), (boxed, "the structure is periodic"), (free_graph(molecule("LiF")), "contains F, Li")):
        assert np.all(np.isnan(values(descriptor, graph)))
        assert np.isnan(evaluate(model, graph).energy) and any(words in cause for cause in jp.diagnose(model, graph)), words
    with pytest.raises(ValueError, match=reason):
        model.with_points([free_graph(large)])


# histograms


@pytest.mark.parametrize("name", ["ch4", "water3", "tric_sic", "gaas8", pytest.param("si8", marks=pytest.mark.slow)])
def test_histograms_of_dscribe(name):
    """All pairs; angles of molecules, of which DScribe's threshold drops none."""
    case = json.loads(str(HISTOGRAMS["info"]))["cases"]["mbtr"]
    atoms = atoms_of(HISTOGRAMS, name)
    species = tuple(SYMBOLS[z] for z in sorted(set(atoms.numbers)))
    pairs, angles = (
        jp.descriptors.Histogram(case[k]["grid"]["min"], case[k]["grid"]["max"], sigma=case[k]["grid"]["sigma"], n=case[k]["grid"]["n"]) for k in ("k2_inv_exp", "k3_cos_exp")
    )
    scale, threshold = (case["k2_inv_exp"]["weighting"][key] for key in ("scale", "threshold"))
    cutoff = -np.log(threshold) / scale  # beyond it DScribe leaves pairs out
    mbtr = jp.descriptors.MBTR(species, jp.cutoffs.Step(cutoff), pairs, angles, scale, case["k3_cos_exp"]["weighting"]["scale"])
    found, s = np.asarray(values(mbtr, jp.from_atoms(atoms, cutoff))), len(species)
    sizes = np.cumsum([s, s * (s + 1) // 2 * pairs.n])
    counts, two, three = np.split(found, sizes)
    one = case["k1"]["grid"]
    elements = jp.descriptors.Histogram(one["min"], one["max"], sigma=one["sigma"], n=one["n"])(jnp.asarray([float(jp.units.ATOMIC_NUMBERS[x]) for x in species]))
    assert np.max(np.abs((counts[:, None] * elements).reshape(-1) - HISTOGRAMS[f"{name}/mbtr_k1/features"])) < 1e-12
    assert np.max(np.abs(two - HISTOGRAMS[f"{name}/mbtr_k2_inv_exp/features"])) < 1e-11
    if not atoms.pbc.any():
        assert np.max(np.abs(three / np.linalg.norm(three) - HISTOGRAMS[f"{name}/mbtr_k3_cos_exp/features"])) < 1e-13


def test_histogram_is_the_mean_over_bins():
    histogram = jp.descriptors.Histogram(-1.0, 2.0, sigma=0.3, n=7)
    found = np.asarray(histogram(jnp.array([0.4, 5.0])))
    edges = np.linspace(-1.25, 2.25, 8)
    expected = np.diff(0.5 * erf((edges - 0.4) / (0.3 * np.sqrt(2)))) / 0.5
    assert relative(found[0], expected) < 1e-13 and np.max(found[1]) < 1e-15
    assert abs(np.sum(found[0]) * 0.5 - 1) < 1e-7


# SLATM and FCHL19, by the definitions


def environment_of(i):
    """Distances, unit vectors and elements of the neighbours of atom i."""
    others = [j for j in range(len(ATOMS)) if j != i]
    vectors = ATOMS.positions[others] - ATOMS.positions[i]
    return others, vectors, np.linalg.norm(vectors, axis=1)


def triangle(u, v):
    """Sides r_ij, r_ik, r_jk and the angles at i, j and k."""
    w = v - u
    a, b, c = (np.linalg.norm(x) for x in (u, v, w))
    return (a, b, c), tuple(np.arccos(np.clip(x, -1, 1)) for x in (u @ v / (a * b), -(u @ w) / (a * c), (v @ w) / (b * c)))


def test_slatm_by_loops():
    cutoff = jp.CosineCutoff(4.0, width=1.0)
    local = jp.descriptors.LocalSLATM(SPECIES, cutoff, sigma_r=0.1, sigma_theta=0.2, n_r=30, n_theta=20)
    found = np.asarray(local_values(local, free_graph(ATOMS, 4.0)))[:5]
    grid, angles = np.linspace(0.1, 4.0, 30), np.deg2rad(np.linspace(-20, 200, 20))
    line = lambda x, at, s: np.exp(-((x - at) ** 2) / (2 * s * s)) / (s * np.sqrt(2 * np.pi)) * (x[1] - x[0])  # noqa: E731
    f, z = (lambda r: float(cutoff(jnp.asarray(r)))), ATOMS.numbers
    pairs = list(itertools.combinations_with_replacement(SPECIES, 2))
    whole = {"pairs": np.zeros((10, 30)), "angles": np.zeros((4, 10, 20))}
    for i in range(5):
        two, three = np.zeros((4, 30)), np.zeros((10, 20))
        others, vectors, r = environment_of(i)
        for j, d in zip(others, r, strict=True):
            two[SPECIES.index(ATOMS.symbols[j])] += 0.5 * z[i] * z[j] * line(grid, d, 0.1) / grid**6 * f(d)
        for (j, u), (k, v) in itertools.combinations(zip(others, vectors, strict=True), 2):
            (a, b, c), (ti, tj, tk) = triangle(u, v)
            pair = pairs.index(tuple(sorted((ATOMS.symbols[j], ATOMS.symbols[k]), key=SPECIES.index)))
            strength = z[i] * z[j] * z[k] / 3 / (a * b * c) ** 3 * f(a) * f(b) * f(c)
            three[pair] += strength * (1 + np.cos(angles) * np.cos(tj) * np.cos(tk)) * line(angles, ti, 0.2)
        assert relative(found[i], np.concatenate([two.reshape(-1), three.reshape(-1)])) < 1e-12
        center = SPECIES.index(ATOMS.symbols[i])
        for s in range(4):
            whole["pairs"][pairs.index(tuple(SPECIES[x] for x in sorted((center, s))))] += two[s]
        whole["angles"][center] += three
    counts = [SYMBOLS.index(s) * ATOMS.symbols.indices().get(s, np.zeros(0)).size for s in SPECIES]
    expected = np.concatenate([counts, whole["pairs"].reshape(-1), whole["angles"].reshape(-1)])
    assert relative(values(jp.descriptors.SLATM(local), free_graph(ATOMS, 4.0)), expected) < 1e-12


def test_fchl_by_loops():
    """With the published parameters, and twice as many Fourier terms."""
    fchl = jp.descriptors.FCHL19(SPECIES, jp.CosineCutoff(8.0), jp.CosineCutoff(5.0), n_fourier=2)
    found = np.asarray(local_values(fchl, free_graph(ATOMS, 8.0)))[:5]
    grid2, grid3 = np.linspace(0, 8, 25)[1:], np.linspace(0, 5, 21)[1:]
    f = lambda r, radius: 0.5 * (1 + np.cos(np.pi * r / radius)) if r < radius else 0.0  # noqa: E731
    pairs = list(itertools.combinations_with_replacement(SPECIES, 2))
    for i in range(5):
        two, three = np.zeros((4, 24)), np.zeros((10, 20, 2, 2))
        others, vectors, r = environment_of(i)
        for j, d in zip(others, r, strict=True):
            mean, variance = np.log(d / np.sqrt(1 + 0.32 / d**2)), np.log(1 + 0.32 / d**2)
            line = np.exp(-((np.log(grid2) - mean) ** 2) / (2 * variance)) / (grid2 * np.sqrt(2 * np.pi * variance))
            two[SPECIES.index(ATOMS.symbols[j])] += d**-1.8 * f(d, 8) * line
        for (j, u), (k, v) in itertools.combinations(zip(others, vectors, strict=True), 2):
            (a, b, c), (ti, tj, tk) = triangle(u, v)
            strength = 13.4 * np.sqrt(2.7 / np.pi) * (1 + 3 * np.cos(ti) * np.cos(tj) * np.cos(tk)) / (a * b * c) ** 0.57 * f(a, 5) * f(b, 5)
            radial = np.exp(-2.7 * (0.5 * (a + b) - grid3) ** 2)
            waves = np.array([[2 * np.exp(-((np.pi * o) ** 2) / 2) * g(o * ti) for g in (np.cos, np.sin)] for o in (1, 3)])
            three[pairs.index(tuple(sorted((ATOMS.symbols[j], ATOMS.symbols[k]), key=SPECIES.index)))] += strength * radial[:, None, None] * waves
        assert relative(found[i], np.concatenate([two.reshape(-1), three.reshape(-1)])) < 1e-12
    assert fchl.n_features == len(fchl.labels()) == found.shape[1]


# kernels on them


def test_sums_over_atoms_are_average_without_normalisation():
    """Σ_IJ δ k(I, J) is the covariance of the energies: N times a mean over pairs, for both structures."""
    fchl, kernel = jp.descriptors.FCHL19(SPECIES, jp.CosineCutoff(5.0), jp.CosineCutoff(5.0), n_r2=6, n_r3=4), jp.kernels.SquaredExponential(1.5)
    molecules = [ATOMS, molecule("CH4"), molecule("H2O")]
    model = jp.potentials.StructureGP(fchl, kernel, jp.kernels.Average(), normalize=False).with_points([free_graph(a) for a in molecules])
    features = [np.asarray(local_values(fchl, free_graph(a)))[: len(a)] for a in molecules]
    total = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        square = np.sum((features[a][:, None] - features[b][None]) ** 2, axis=-1)
        total[a, b] = np.sum(np.exp(-square / 4.5) * (molecules[a].numbers[:, None] == molecules[b].numbers[None]))
    n = np.array([len(a) for a in molecules])
    precision = np.asarray(quick_jit(lambda m: m.precision())(model)) - 1e-8 * np.eye(3)
    assert relative(precision * np.outer(n, n), total) < 1e-12
    row = quick_jit(lambda m, g: m.basis(g).energy)(model, free_graph(ATOMS))
    assert relative(row * n, total[0]) < 1e-12


REFUSED = [
    (lambda: jp.descriptors.CoulombMatrix(SPECIES, 0), ValueError, "n_atoms must be"),
    (lambda: jp.descriptors.CoulombSpectrum(("H", "Qq"), 3), ValueError, "not chemical symbols"),
    (lambda: jp.descriptors.BagOfBonds(SPECIES, (1, 2)), ValueError, "tuple of 4 whole numbers"),
    (lambda: jp.descriptors.Histogram(0.0, 1.0, sigma=0.1, n=1), ValueError, "n must be a whole number from 2"),
    (lambda: jp.descriptors.Histogram(1.0, 0.0, sigma=0.1, n=4), ValueError, "low must be below high"),
    (lambda: jp.descriptors.Histogram(0.0, 1.0, sigma=0.0, n=4), ValueError, "must be > 0"),
    (lambda: jp.descriptors.MBTR(SPECIES, jp.cutoffs.Step(4.0), jp.cutoffs.Step(1.0), jp.cutoffs.Step(1.0)), TypeError, "pairs must be a Histogram"),
    (lambda: jp.descriptors.LocalSLATM(SPECIES, jp.cutoffs.Step(4.0), n_r=1), ValueError, "n_r must be a whole number from 2"),
    (lambda: jp.descriptors.SLATM(jp.cutoffs.Step(4.0)), TypeError, "expected a LocalSLATM"),
    (lambda: jp.descriptors.FCHL19(SPECIES, jp.cutoffs.Step(4.0), jp.cutoffs.Step(4.0), n_r3=0), ValueError, "n_r3 must be a whole number from 1"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
