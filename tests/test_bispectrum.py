"""The bispectrum by closed forms, its head and its files, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import SPECIES, STRUCTURES, features, quick_jit, relative, to_graph

import jaxpot
from jaxpot import AtomicPotential, IsolatedAtoms, Linear
from jaxpot.descriptors import Bispectrum, Constant
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.empirical import ZBL
from jaxpot.heads import Embedding, Quadratic
from jaxpot.io.snap import read_snap, write_snap

SMALL = Bispectrum(SPECIES, 3.1, 2, radii=(0.5, 0.45), weights=(1.0, 0.7))


def test_dimer():
    snap = Bispectrum(("H",), 3.0, 2, weights=0.7, subtract_self=False)
    found = features(snap, jaxpot.from_atoms(Atoms("H2", positions=[[0, 0, 0], [0.5, 1.2, 0.0]]), 3.0))
    np.testing.assert_allclose(found[0], [2.88007148, 3.87475917, 3.5187841, 4.05350513, found[0][4]], rtol=1e-8)
    assert snap.labels() == ((0, 0, 0), (1, 0, 1), (1, 1, 2), (2, 0, 2), (2, 2, 2))


def test_atom_alone():
    atom = jaxpot.from_atoms(Atoms("H"), 3.0)
    snap = Bispectrum(("H",), 3.0, 2, subtract_self=False)
    np.testing.assert_allclose(features(snap, atom)[0], [t[2] + 1 for t in snap.labels()], rtol=1e-13)
    np.testing.assert_allclose(features(Bispectrum(("H", "He"), 3.0, 1, by_element=True), atom), 0, atol=1e-13)


@pytest.mark.parametrize("changes", [{}, {"by_element": True, "normalize": True}], ids=["", "by element"])
def test_jacobian_is_that_of_the_interface(changes):
    snap = SMALL.replace(**changes)
    env = jax.tree_util.tree_map(lambda x: x[0], jaxpot.environments(to_graph(STRUCTURES["triclinic"]), snap.reach, SPECIES))
    fast, slow = quick_jit(lambda e: (with_slopes(snap, e), with_slopes.dispatch(object)(snap, e)))(env)
    assert relative(fast[0], slow[0]) < 1e-13 and relative(fast[1], slow[1]) < 1e-12


def test_derivatives_exist_everywhere():
    """At the poles of the harmonics, at the centre itself, and at the cutoff."""
    places = [[0, 0, 1.0], [0, 0, -1.0], [0, 0, 0], [0, 0, 3.1], [1.0, 0, 0]]
    env = jaxpot.Environment(vectors=np.array(places), species=np.zeros(5, int), center=np.array(0), index=np.zeros(5, int), mask=np.ones(5, bool))
    value, slope = quick_jit(jax.value_and_grad(lambda v: jnp.sum(SMALL.environment(env.replace(vectors=v)))))(env.vectors)
    assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_quadratic_head():
    head = Quadratic(coefficients=np.arange(1.0, 19.0), n_species=2, n_features=3)
    x, z = np.array([[0.3, -1.0, 2.0], [1.5, 0.2, -0.7]]), np.array([1, 0])
    expected = []
    for row, own in zip(x, z, strict=True):
        w = np.arange(1.0, 19.0).reshape(2, 9)[own]
        alpha = np.array([[w[3], w[4], w[5]], [w[4], w[6], w[7]], [w[5], w[7], w[8]]])
        expected.append(w[:3] @ row + 0.5 * row @ alpha @ row)
    np.testing.assert_allclose(head(x, z), expected, rtol=1e-14)
    np.testing.assert_allclose(head.basis(x, z) @ head.coefficients, expected, rtol=1e-14)
    assert head.precision().shape == (18, 18)
    with pytest.raises(ValueError, match="expected coefficients"):
        Quadratic(coefficients=np.ones(4), n_species=1, n_features=3)
    with pytest.raises(ValueError, match="descriptor has"):
        AtomicPotential(SMALL, Quadratic(n_species=1, n_features=3))


@pytest.fixture(scope="module")
def fitted():
    """A qSNAP with constants, recovered from its own energies and forces."""
    snap = AtomicPotential(Bispectrum(("Si",), 3.1, 2), Quadratic(scale=10.0, quadratic_scale=10.0))
    model = snap + AtomicPotential(Constant(("Si",)), Linear(scale=10.0))
    w = np.random.default_rng(0).normal(size=21)
    truth = jaxpot.Sum((snap.with_coefficients(w[:20]), model.terms[1].with_coefficients(w[20:])))
    frames, predict = [], quick_jit(jaxpot.evaluate)
    for seed in range(8):
        atoms = Atoms("Si4", positions=np.random.default_rng(seed).uniform(0, 2.2, (4, 3)), cell=[3.5] * 3, pbc=True)
        found = predict(truth, jaxpot.from_atoms(atoms, 3.1, max_neighbors=24))
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy), np.asarray(found.forces)
        frames.append(atoms)
    data = jaxpot.Dataset.from_atoms(frames, 3.1, sigma=jaxpot.noise_levels(1e-6, 1e-6))
    return w, jaxpot.fit.linear(model, data, progress=False), frames


def test_fit_recovers_its_own_data(fitted):
    w, model, _ = fitted
    found = np.concatenate([t.head.coefficients for t in model.terms])
    np.testing.assert_allclose(found, w, rtol=0, atol=1e-5)


def test_written_and_read(fitted, tmp_path):
    _, model, frames = fitted
    write_snap(tmp_path / "a", tmp_path / "b", model)
    for name in "ab":  # LAMMPS reads the units as the word up to the next blank, and refuses a file with others
        assert (tmp_path / name).read_text().splitlines()[0].split()[:3] == ["#", "UNITS:", "metal"]
    again, graph, predict = read_snap(tmp_path / "a", tmp_path / "b"), jaxpot.from_atoms(frames[0], 3.1, max_neighbors=24), quick_jit(jaxpot.evaluate)
    one, other = predict(model, graph), predict(again, graph)
    assert abs(one.energy - other.energy) < 1e-10
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-10)


def test_every_option_is_written(tmp_path):
    snap = SMALL.replace(rfac0=0.9, rmin0=0.1, inner=(1.0, 1.2), inner_width=0.3, switch=False, subtract_self=False, normalize=True, by_element=True)
    model = AtomicPotential(snap.replace(self_everywhere=True), Linear())
    model = model.with_coefficients(np.random.default_rng(0).normal(size=model.n_coefficients))
    write_snap(tmp_path / "a", tmp_path / "b", model)
    again = read_snap(tmp_path / "a", tmp_path / "b").terms[0]
    assert again.descriptor == model.descriptor.replace(inner_width=(0.3, 0.3))
    np.testing.assert_array_equal(again.head.coefficients, model.head.coefficients)


def test_what_files_cannot_hold(tmp_path):
    snap, files = AtomicPotential(SMALL, Linear(coefficients=np.ones(10))), (tmp_path / "a", tmp_path / "b")
    with pytest.raises(TypeError, match="cannot hold ZBL; .* hybrid/overlay"):
        write_snap(*files, snap + ZBL(SPECIES, inner=1.0, outer=2.0))
    with pytest.raises(TypeError, match=r"AtomicPotential\(Bispectrum, Embedding\)"):
        write_snap(*files, AtomicPotential(SMALL, Embedding(np.ones((1, 10)), exponents=[1.0], weights=[1.0])))
    with pytest.raises(ValueError, match="got 2"):
        write_snap(*files, snap + snap)
    with pytest.raises(ValueError, match="constants of Ge"):
        write_snap(*files, snap + IsolatedAtoms({"Ge": 1.0}))
    with pytest.raises(ValueError, match="no coefficients yet"):
        write_snap(*files, AtomicPotential(SMALL, Linear()))
    assert not files[0].exists()


COEFFICIENTS, PARAMETERS = "# comment\n\n1 6\nSi 0.5 1\n1\n2\n3 # B\n4\n5\n6e-1\n", "rcutfac 4.0\ntwojmax 2 # 2j\n\nrfac0 0.99\n"


def test_defaults_of_lammps(tmp_path):
    (tmp_path / "a").write_text(COEFFICIENTS)
    (tmp_path / "b").write_text(PARAMETERS)
    snap, constants = read_snap(tmp_path / "a", tmp_path / "b").terms
    assert snap.descriptor == Bispectrum(("Si",), 4.0, 2, rfac0=0.99, radii=(0.5,), weights=(1.0,))
    assert constants == IsolatedAtoms({"Si": 1.0}) and snap.head.coefficients.tolist() == [2, 3, 4, 5, 0.6]
    with pytest.raises(FileNotFoundError, match="no file at"):
        read_snap(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rfac0", "rfac1", "the key rfac1 is not implemented"),
        ("rfac0 0.99", "rcutfac 3", "rcutfac is given twice"),
        ("rfac0 0.99", "rfac0 0.99 1", "expected one value of rfac0"),
        ("rfac0 0.99", "rfac0 x", "expected a number, got 'x'"),
        ("rfac0 0.99", "rfac0 1.0", "rfac0 must be < 1"),
        ("rfac0 0.99", "bzeroflag 2", "bzeroflag must be 0 or 1"),
        ("rfac0 0.99", "diagonalstyle 2", "diagonalstyle 2"),
        ("rfac0 0.99", "quadraticflag 1", "expected 21 for twojmax 2, quadratic"),
        ("rfac0 0.99", "switchinnerflag 1", "sinner and dinner"),
        ("rfac0 0.99", "sinner 1", "switchinnerflag 1 goes together"),
        ("twojmax 2", "twojmax 2.5", "twojmax: expected an integer"),
        ("twojmax 2", "", "no twojmax"),
        ("twojmax 2", "twojmax 4", "6 coefficients per element; expected 15"),
        ("twojmax 2", "twojmax -2", "twojmax must be an integer ≥ 0"),
        ("twojmax 2", "twojmax 100000000000000", "for twojmax 100000000000000 in"),
        ("rcutfac 4.0", "rcutfac -4.0", "rcutfac must be > 0"),
        ("rcutfac 4.0", "rcutfac 1e400", "rcutfac: 1e400 is too large"),
        ("rfac0 0.99", "rmin0 9", "rmin0 must be less than every cutoff radius"),
        ("1 6", "2 6", "lines after the first"),
        ("# comment", "# UNITS: real", "is in units real, by its first line; expected metal"),
        ("1 6", "6", "first line must be"),
        ("Si 0.5 1", "Si 0.5", "symbol radius weight"),
        ("5\n", "nan\n", "line 9: expected a number, got 'nan'"),
        ("Si 0.5", "Xx 0.5", "not chemical symbols"),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert old in COEFFICIENTS + PARAMETERS
    (tmp_path / "a").write_text(COEFFICIENTS.replace(old, new))
    (tmp_path / "b").write_text(PARAMETERS.replace(old, new))
    with pytest.raises(ValueError, match=message) as refused:
        read_snap(tmp_path / "a", tmp_path / "b")
    assert str(tmp_path / ("b" if old in PARAMETERS else "a")) in str(refused.value) and "\n" not in str(refused.value)
    for path, content in (("a", COEFFICIENTS), ("b", PARAMETERS)):
        (tmp_path / path).write_bytes(b"\xef\xbb\xbf# \xc3\xa9\r\n" + content.replace("\n", "\r\n").encode())
    assert read_snap(tmp_path / "a", tmp_path / "b").terms[0].n_coefficients == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"two_j_max": -1}, "two_j_max"),
        ({"two_j_max": True}, "two_j_max"),
        ({"radii": (0.5,)}, r"radii must have shape \[\] or \[2\]"),
        ({"inner": 1.0}, "inner_width"),
        ({"rfac0": 1.2}, "rfac0"),
        ({"rmin0": 3.0}, "rmin0"),
        ({"cutoff": -1.0}, "cutoff"),
    ],
)
def test_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        SMALL.replace(**changes)
