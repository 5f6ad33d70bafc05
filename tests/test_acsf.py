"""Symmetry functions, environment vectors and the embedding of the deep potential by direct loops, and what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

import jaxpot
from jaxpot import MLP, AtomicPotential, CosineCutoff
from jaxpot.cutoffs import BumpCutoff, PolynomialCutoff
from jaxpot.descriptors import ACSF, AEV, G2, G3, G4, G5, DeepPotSE
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs, block, one_of, other_of
from jaxpot.descriptors.blocks import block_size
from jaxpot.heads import SiLU, Tanh

SPECIES = ("C", "Si")
rng = np.random.default_rng(5)
ATOMS = Atoms("CSiCSiCSi", positions=rng.normal(size=(6, 3)) * 1.3)


def distance(a, b):
    return float(np.linalg.norm(ATOMS.positions[a] - ATOMS.positions[b]))


def angle(i, j, k):
    a, b = ATOMS.positions[j] - ATOMS.positions[i], ATOMS.positions[k] - ATOMS.positions[i]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def fc(r, cutoff=4.0):
    return 0.5 * (1 + np.cos(np.pi * r / cutoff)) if r < cutoff else 0.0


def features(descriptor, atoms=ATOMS):
    return np.asarray(quick_jit(lambda d, g: d(g))(descriptor, jaxpot.from_atoms(atoms, float(descriptor.reach), max_neighbors=5)))


def test_by_loops():
    """All kinds, with mixtures, by their definitions; `kept` leaves the others out."""
    eta, r_s, lam, zeta, mixing = [0.3, 0.8], [0.0, 1.1], [-1.0, 0.7], [1.0, 2.5], np.array([[6.0, 0.5], [14.0, -1.0]])
    cutoff = CosineCutoff(4.0)
    sets = (G2(cutoff, eta, r_s), G3(cutoff, [0.9]), G4(cutoff, eta, r_s, lam, zeta), G5(cutoff, eta, r_s, lam, zeta), G2(cutoff, mixing=mixing))
    acsf = ACSF(SPECIES, (*sets, G4(cutoff, 0.2, lam=[1.0], mixing=mixing[:, :1])))
    labels, values = acsf.labels(), features(acsf)
    assert values.shape == (6, acsf.n_features) and len(set(labels)) == len(labels)
    symbols = ATOMS.get_chemical_symbols()
    for i, expected in enumerate(np.zeros(values.shape)):
        others = [j for j in range(6) if j != i]
        for column, (n, kind, *rest) in enumerate(labels):
            if n in (0, 1, 4):
                for j in others:
                    r = distance(i, j)
                    weight = mixing[SPECIES.index(symbols[j]), rest[0]] if n == 4 else symbols[j] == rest[0]
                    form = np.exp(-eta[rest[1]] * (r - r_s[rest[1]]) ** 2) if n == 0 else np.cos(0.9 * r) if n == 1 else 1.0
                    expected[column] += weight * form * fc(r)
                continue
            a, b, m, l, z = rest
            h, s, q, p = (eta[m], r_s[m], lam[l], zeta[z]) if n < 5 else (0.2, 0.0, 1.0, 1.0)
            for j, k in itertools.combinations(others, 2):
                weight = sorted((symbols[j], symbols[k])) == [a, b] if n < 5 else np.prod([mixing[SPECIES.index(symbols[x]), 0] for x in (j, k)])
                lengths = [distance(i, j), distance(i, k), *([distance(j, k)] if kind == "G4" else [])]
                radial = np.prod([np.exp(-h * (r - s) ** 2) * fc(r) for r in lengths])
                expected[column] += weight * 2 ** (1 - p) * (1 + q * angle(i, j, k)) ** p * radial
        np.testing.assert_allclose(values[i], expected, rtol=1e-12, atol=1e-14)
    kept = acsf.replace(kept=((0, 5, 20), (7, 5)))
    assert kept.labels() == tuple(labels[i] for i in (0, 5, 7, 20))
    expected = values[:, [0, 5, 7, 20]] * np.where((np.array(symbols) == "C")[:, None], [1, 1, 0, 1], [0, 1, 1, 0])
    np.testing.assert_allclose(features(kept), expected, rtol=1e-14)


def test_pairs_of_neighbours_once():
    for n in (0, 1, 4, 5):
        one, other = (np.asarray(f(jnp.arange(n))) for f in (one_of, other_of))
        weight = Pairs.of(Neighbors(*(jnp.zeros(s) for s in ((n,), (3, n), (3, n), (n, 1))))).weight
        count = np.zeros((n, n))
        np.add.at(count, (one, other), np.asarray(weight))
        np.testing.assert_array_equal(count + count.T, 1 - np.eye(n))
    assert block(5) > block(100) >= 1


def test_one_pair_of_elements_after_the_other():
    """A dimer has no angles, an atom alone has nothing; both have derivatives."""
    acsf = ACSF(SPECIES, (G2(CosineCutoff(4.0)), G4(CosineCutoff(4.0)), G5(BumpCutoff(4.0))))
    dimer = features(acsf, Atoms("CSi", positions=[[0, 0, 0], [0, 0, 1.5]]))
    np.testing.assert_allclose(dimer[:, :2], fc(1.5) * np.array([[0, 1], [1, 0]]), rtol=1e-13)
    assert np.all(dimer[:, 2:] == 0) and np.all(features(acsf, Atoms("C")) == 0)


@pytest.mark.parametrize("zeta", [1.0, 2.0, 4.0])
def test_hessian_of_a_straight_angle(zeta):
    """(1 + cos θ)^ζ at 180°, where it has a zero and clamped powers lose the curvature of ζ = 1."""
    acsf = ACSF(("C",), (G5(CosineCutoff(6.0), 0.1, lam=1.0, zeta=zeta),))

    def energy(move):
        vectors = jnp.stack([jnp.array([1.0, 0, 0]), jnp.array([-1.3, 0, 0]) + move])
        env = jaxpot.Environment(vectors=vectors, species=jnp.zeros(2, int), center=jnp.array(0), index=jnp.zeros(2, int), mask=jnp.ones(2, bool))
        return acsf.environment(env)[0]

    hessian = np.asarray(quick_jit(jax.hessian(energy))(jnp.zeros(3)))
    radial = 2 ** (1 - zeta) * np.exp(-0.1 * (1 + 1.3**2)) * fc(1.0, 6.0) * fc(1.3, 6.0)
    across = radial / 1.3**2 if zeta == 1 else 0.0  # 1 + cos θ is half the square of the angle's rest, δ²/(2 r²)
    np.testing.assert_allclose(hessian, np.diag([0, across, across]), rtol=1e-9, atol=1e-12)


def test_standard_sets():
    cutoff = CosineCutoff(6.0)
    centered, shifted = G2.centered(cutoff, 3), G2.shifted(cutoff, 3)
    np.testing.assert_allclose(centered.eta, [1 / 36, 3 ** (2 / 3) / 36, 3 ** (4 / 3) / 36, 9 / 36], rtol=1e-13)
    places = 6 / 3 ** (np.arange(4) / 3)
    np.testing.assert_allclose(shifted.r_s, places[:0:-1], rtol=1e-13)
    np.testing.assert_allclose(shifted.eta, 1 / np.diff(places)[::-1] ** 2, rtol=1e-13)
    acsf = ACSF(("Si", "O"), (centered, shifted, G4.centered(cutoff, 2, zeta=(1, 4)), G5.centered(cutoff, 1)))
    assert acsf.n_features == 2 * (4 + 3) + 3 * (3 * 2 * 2 + 2 * 2 * 3)
    model = AtomicPotential(acsf, MLP((4, 3), activation=(Tanh(), SiLU())))
    found, _ = jaxpot.free(model, "*.eta", "*.zeta", "*.radius")
    assert len(found) == 4 + 2 + 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: ACSF(("Si",), ()), "expected a tuple of sets such as"),
        (lambda c: ACSF(("Si", "O"), (G2(c, mixing=[[1.0]]),)), "has 1 rows for 2 elements"),
        (lambda c: ACSF(("Si",), (G2(c),), kept=((1,),)), "indices below 1"),
        (lambda c: ACSF(("Si",), (G2(c),), kept=()), "must have 1 tuples"),
        (lambda c: G2(c, eta=-1.0), "eta must be ≥ 0"),
        (lambda c: G2(c, eta=[1.0, 2.0], r_s=[1.0, 2.0, 3.0]), r"r_s must have shape \[\] or \[2\], got \(3,\)"),
        (lambda c: G2(c, eta=np.ones((2, 2))), r"eta must have shape \[\] or \[N\], got \(2, 2\)"),
        (lambda c: G2(c, eta=[]), r"eta must be numbers of shape \[\] or \[N\], got \[\]"),
        (lambda c: G2(c, mixing=[1.0]), r"mixing must have shape \[elements, channels\]"),
        (lambda c: G2(CosineCutoff([4.0, 5.0])), "radius must be a number"),
        (lambda c: G4(c, lam=[1.0, 1.5]), "expected −1 ≤ λ ≤ 1"),
        (lambda c: G5(c, zeta=0.0), "zeta must be > 0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make(CosineCutoff(4.0))


def test_refused_types():
    with pytest.raises(TypeError, match=r"expected sets of symmetry functions \(G2, G3, G4, G5 or those of compact support\), got CosineCutoff"):
        ACSF(("Si",), (CosineCutoff(4.0),))
    with pytest.raises(TypeError, match="expected a cutoff function"):
        G2(4.0)


def test_environment_vectors_by_loops():
    aev = AEV(SPECIES, CosineCutoff(4.0), [3.0, 4.0], [0.9, 1.5], CosineCutoff(3.5), 8.0, [1.0, 1.4, 2.0], 14.1, [0.4, 1.2])
    values, symbols = features(aev), ATOMS.get_chemical_symbols()
    assert aev.n_features == values.shape[1] == len(aev.labels()) == 2 * 2 + 3 * 3 * 2
    for i, expected in enumerate(np.zeros(values.shape)):
        others = [j for j in range(6) if j != i]
        for column, label in enumerate(aev.labels()):
            if len(label) == 2:
                of_element = [distance(i, j) for j in others if symbols[j] == label[0]]
                expected[column] = sum(0.25 * np.exp(-(3.0 + label[1]) * (r - [0.9, 1.5][label[1]]) ** 2) * fc(r) for r in of_element)
            else:
                for j, k in itertools.combinations(others, 2):
                    if sorted((symbols[j], symbols[k])) == list(label[:2]):
                        mean, theta = (distance(i, j) + distance(i, k)) / 2, np.arccos(0.95 * angle(i, j, k))
                        peak = 2 * ((1 + np.cos(theta - [0.4, 1.2][label[3]])) / 2) ** 14.1 * np.exp(-8 * (mean - [1.0, 1.4, 2.0][label[2]]) ** 2)
                        expected[column] += peak * fc(distance(i, j), 3.5) * fc(distance(i, k), 3.5)
        np.testing.assert_allclose(values[i], expected, rtol=1e-11, atol=1e-14)


def test_published_grids():
    one, two = AEV.ani_1x(), AEV.ani_2x()
    assert (one.n_features, two.n_features) == (384, 1008) and (float(one.reach), float(two.reach)) == (5.2, 5.1)
    np.testing.assert_allclose([one.radial_shifts[-1], one.angular_shifts[-1], one.angle_shifts[0], one.angle_shifts[-1]], [4.93125, 2.85, 0.19634954, 2.9452431], rtol=1e-7)
    np.testing.assert_allclose([two.radial_shifts[-1], two.angular_shifts[-1], two.angle_shifts[-1]], [4.83125, 3.1625, 7 * np.pi / 8], rtol=1e-7)
    for changes, message in (({"zeta": [1.0, 2.0]}, r"angle_shifts must have shape \[2\]"), ({"radial_shifts": 1.0}, r"radial_shifts must have shape \[R\]"), ({"angular_eta": -1.0}, "≥ 0")):
        with pytest.raises(ValueError, match=message):
            one.replace(**changes)


@pytest.mark.parametrize("per_center", [False, True])
def test_deep_pot_by_loops(per_center):
    """Layers of width 3, 3 and 6 add their input, once and to both halves; the first does not."""
    deep = DeepPotSE(SPECIES, PolynomialCutoff(4.0, width=3.0), (3, 3, 6, 4), 2, n_neighbors=3.0, per_center=per_center, seed=2)
    values, kinds = features(deep), [SPECIES.index(s) for s in ATOMS.get_chemical_symbols()]
    assert values.shape == (6, 8) and len(deep.labels()) == 8
    for i in range(6):
        g, rows = [], []
        for j in set(range(6)) - {i}:
            r, u = distance(i, j), ATOMS.positions[j] - ATOMS.positions[i]
            x = np.clip((r - 1.0) / 3.0, 0, 1)
            s = (1 - 10 * x**3 + 15 * x**4 - 6 * x**5) / r if r < 4 else 0.0
            rows.append(s * np.array([1, *(u / r)]))
            net = (kinds[i], kinds[j]) if per_center else (kinds[j],)
            w, b = ([leaf[net] for leaf in leaves] for leaves in (deep.weights, deep.biases))
            y = np.tanh(s * w[0][0] + b[0])
            y = y + np.tanh(y @ w[1] + b[1])
            y = np.concatenate([y, y]) + np.tanh(y @ w[2] + b[2])
            g.append(np.tanh(y @ w[3] + b[3]))
        mixed = np.array(g).T @ np.array(rows) / 3
        np.testing.assert_allclose(values[i], (mixed @ mixed[:2].T).reshape(-1), rtol=1e-11, atol=1e-14)


def test_deep_pot_arguments():
    cutoff = PolynomialCutoff(4.0)
    assert DeepPotSE(SPECIES, cutoff, (4,), 2) == DeepPotSE(SPECIES, cutoff, (4,), 2) != DeepPotSE(SPECIES, cutoff, (4,), 2, seed=1)
    for changes, message in (
        ({"hidden": ()}, "tuple of numbers of nodes"),
        ({"n_axis": 5}, "expected 0 < n_axis ≤ 4"),
        ({"weights": None}, "together, or neither"),
        ({"species": ("C",)}, r"expected weights of shapes \[\(1, 1, 4\)\], got \[\(2, 1, 4\)\]"),
        ({"n_neighbors": 0.0}, "n_neighbors must be > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DeepPotSE(SPECIES, cutoff, (4,), 2).replace(**changes)


def test_bounded_blocks():
    """The same energy and forces in blocks of the descriptor's own size."""
    model = AtomicPotential(ACSF(SPECIES, (G4(CosineCutoff(3.0), eta=0.1),)), MLP((3,)))
    graph = jaxpot.from_atoms(ATOMS, 3.0)
    assert block_size(model, 300) < 6 <= block_size(model, 5)
    one, other = (quick_jit(jaxpot.evaluate)(m, graph) for m in (model, model.replace(chunk=4)))
    assert relative(one.forces, other.forces) < 1e-13
