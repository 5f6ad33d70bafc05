"""Cartesian maps, the λ kernel, labels of tensors, fits and evidence against dense NumPy, and published tensors."""

import importlib.util
import itertools
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot as jp
from jaxpot.descriptors.constant import Constant
from jaxpot.descriptors.soap import LambdaSOAP
from jaxpot.heads.tensor import LambdaGP, LambdaKernel, structure_kernel
from jaxpot.math.cartesian import cartesian_map, spherical_basis
from jaxpot.math.coupling import count_couplings
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor
from jaxpot.trees import with_leaves

CUTOFF, SPECIES = 3.0, ("H", "O")
DENSITY = jp.Density(SPECIES, jp.CosineCutoff(CUTOFF, width=0.8), jp.GTO(2), 2, sigma=0.5)
SOAP, VECTOR, MATRIX = jp.SOAP(DENSITY), LambdaSOAP(DENSITY, 1), LambdaSOAP(DENSITY, 2)
AXIAL = LambdaSOAP(DENSITY, 1, pseudo=True)
needs_data = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)

predict = quick_jit(lambda model, graph: model(graph))
rows_of = quick_jit(lambda model, graph: (getattr(model.basis(graph), model.field), model.precision()))
evidence = quick_jit(jp.fit.log_evidence)


def relative(got, reference):
    return np.max(np.abs(np.asarray(got) - reference)) / np.max(np.abs(reference))


# --- Cartesian and spherical ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [(0,), (0, 0), (0, 1), (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 0, 0), (0, 0, 1, 1)])
def test_cartesian_map_is_orthogonal(groups):
    """Onto the tensors with the symmetry: their Frobenius norm is the norm of the components."""
    basis, rank = spherical_basis(groups), len(groups)
    assert np.max(np.abs(basis @ basis.T - np.eye(len(basis)))) < 1e-14
    assert len(basis) == sum(count_couplings((1,) * rank, k, groups) * (2 * k + 1) for k in range(rank + 1))
    allowed = [p for p in itertools.permutations(range(rank)) if [groups[i] for i in p] == list(groups)]
    tensor = np.random.default_rng(0).normal(size=(3,) * rank)
    symmetric = sum(np.transpose(tensor, p) for p in allowed).reshape(-1) / len(allowed)
    assert np.max(np.abs(basis.T @ (basis @ tensor.reshape(-1)) - symmetric)) < 1e-14
    assert abs(np.linalg.norm(basis @ symmetric) - np.linalg.norm(symmetric)) < 1e-14


def test_cartesian_map_of_matrices():
    xx, yy, zz, xy, xz, yz = np.random.default_rng(1).normal(size=6)
    matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    t2 = [np.sqrt(2) * xy, np.sqrt(2) * yz, (2 * zz - xx - yy) / np.sqrt(6), np.sqrt(2) * xz, (xx - yy) / np.sqrt(2)]
    np.testing.assert_allclose(np.einsum("rmab,ab->rm", cartesian_map((0, 0), 0), matrix), [[-(xx + yy + zz) / np.sqrt(3)]], atol=1e-14)
    np.testing.assert_allclose(np.einsum("rmab,ab->rm", cartesian_map((0, 0), 2), matrix), [t2], atol=1e-14)
    np.testing.assert_allclose(cartesian_map((0,), 1)[0], np.eye(3)[[1, 2, 0]])
    skew = np.random.default_rng(2).normal(size=(3, 3))
    skew = skew - skew.T
    axial = np.array([skew[1, 2], skew[2, 0], skew[0, 1]])[[1, 2, 0]] * np.sqrt(2)
    got = np.einsum("mab,ab->m", cartesian_map((0, 1), 1)[0], skew)
    assert np.allclose(got, axial) or np.allclose(got, -axial)


# --- structures and labels --------------------------------------------------------------------------------------------------


def molecules(n, seed=0):
    """Bent molecules of two or three atoms, anyhow in space, with tensors that a classical formula gives."""
    rng, out = np.random.default_rng(seed), []
    for i in range(n):
        half, r = rng.uniform(0.75, 1.05), rng.uniform(0.9, 1.2, 2)
        positions = np.array([[0, 0, 0], [r[0] * np.sin(half), r[0] * np.cos(half), 0], [-r[1] * np.sin(half), r[1] * np.cos(half), 0]])
        q = np.asarray(jp.random_rotation(jax.random.key(int(rng.integers(2**31)))))
        atoms = Atoms("OHH", positions=positions @ q.T)
        if i % 4 == 3:
            atoms = atoms[:2]
        bonds = atoms.positions[1:] - atoms.positions[0]
        length = np.linalg.norm(bonds, axis=1)
        atoms.info["mu"] = np.sum(bonds * (0.3 + 0.2 * (length - 1))[:, None], axis=0)
        alpha = 0.8 * np.eye(3) + np.einsum("b,ba,bc->ac", 0.5 + (length - 1), bonds, bonds)
        atoms.info["alpha"] = alpha.reshape(9)
        atoms.info["beta"] = np.einsum("ba,bc,bd->acd", bonds, bonds, bonds).reshape(27)
        atoms.arrays["shielding"] = np.stack([np.diag([1.0, 2, 3])] * len(atoms)).reshape(len(atoms), 9)
        out.append(atoms)
    return out


SIGMA = jp.Properties(dipole=0.01, polarizability=0.02)
KEYS = {"dipole": "mu", "polarizability": "alpha"}


def dataset(frames, sigma=SIGMA, keys=KEYS):
    return jp.Dataset.from_atoms(frames, CUTOFF, sigma=sigma, keys=keys)


@pytest.fixture(scope="module")
def frames():
    out = molecules(8)
    del out[2].info["alpha"]
    return out


@pytest.fixture(scope="module")
def data(frames):
    return dataset(frames)


@pytest.fixture(scope="module")
def points(data):
    return jp.fit.select_environments(SOAP, data, 8, key=jax.random.key(0), method="fps")


def test_labels(frames, data):
    found = dict(data.structures())
    np.testing.assert_array_equal(found[0].targets.polarizability, frames[0].info["alpha"].reshape(3, 3))
    np.testing.assert_array_equal(found[5].targets.dipole, frames[5].info["mu"])
    assert found[0].sigma.polarizability == 0.02 and found[0].sigma.dipole.shape == ()
    assert np.isinf(found[2].sigma.polarizability) and np.all(np.isnan(found[2].targets.polarizability))
    assert np.isfinite(found[2].sigma.dipole) and found[0].targets.tensor is None


def test_labels_per_atom(frames):
    data = dataset(frames, jp.Properties(tensor=0.1), {"tensor": "shielding"})
    for frame, structure in data.structures():
        n = len(frames[frame])
        assert structure.targets.tensor.shape == (3, 3, 3) and structure.sigma.tensor.shape == (3,)
        assert np.all(structure.sigma.tensor[:n] == 0.1) and np.all(np.isinf(structure.sigma.tensor[n:]))


def test_energies_alone_gain_no_fields(frames):
    energies = [a.copy() for a in frames]
    for a in energies:
        a.info["energy"] = 1.0
    (batch,) = jp.Dataset.from_atoms(energies, CUTOFF, sigma=jp.Properties(energy=0.1)).batches
    assert batch.targets.dipole is batch.sigma.polarizability is batch.targets.tensor is None


def test_noise_levels_of_tensors():
    levels = jp.noise_levels(dipole=0.1, polarizability=0.2, tensor=0.3)(Atoms("OHHO"))
    assert (float(levels.dipole), float(levels.polarizability), levels.tensor, levels.energy) == (0.2, 0.4, 0.3, None)
    with pytest.raises(ValueError, match="positive"):
        jp.noise_levels(dipole=-1.0)


@pytest.mark.parametrize(
    ("change", "sigma", "keys", "message"),
    [
        ({"alpha": np.ones(6)}, SIGMA, KEYS, r"frame 1: polarizability must have 9 entries, got shape \[6\]"),
        ({"mu": np.array([0, np.nan, 0])}, SIGMA, KEYS, "frame 1: dipole"),
        ({}, jp.Properties(polarizability=np.ones((3, 3))), KEYS, "one number per tensor"),
        ({}, jp.Properties(dipole=0.0), KEYS, "must be positive"),
        ({}, jp.Properties(tensor=0.1), {"tensor": "gamma"}, "no frame has tensor under the key 'gamma'"),
        ({"beta": np.ones(9)}, jp.Properties(tensor=0.1), {"tensor": "beta"}, "rank 3 in frame .* rank 2 in frame 1"),
        ({"beta": np.ones(5)}, jp.Properties(tensor=0.1), {"tensor": "beta"}, "3, 9, 27, 81"),
        ({}, jp.Properties(dipole=0.1), {"dipole": "shielding"}, "keys={'tensor': 'shielding'}"),
        ({}, jp.Properties(dipole=0.1), {"dipol": "mu"}, "unknown properties"),
    ],
)
def test_bad_labels_are_refused(change, sigma, keys, message):
    frames = molecules(3)
    frames[1].info |= change
    with pytest.raises(ValueError, match=message):
        dataset(frames, sigma, keys)


# --- kernels ----------------------------------------------------------------------------------------------------------------


def test_kernel_turns_with_both_atoms(points):
    x, y = (np.random.default_rng(s).normal(size=(4, 6, 5)) for s in (0, 1))
    x0, y0 = (np.abs(np.random.default_rng(s).normal(size=(4, 3))) for s in (2, 3))
    d = np.asarray(jp.tensors.wigner_d(jp.random_rotation(jax.random.key(0)), 2)[2])
    kernel = LambdaKernel(2.5)
    k = np.asarray(kernel(x, y, x0, y0))
    assert relative(kernel(x @ d.T, y, x0, y0), np.einsum("ab,ibjc->iajc", d, k)) < 1e-13
    assert relative(kernel(x @ d.T, y @ d.T, x0, y0), np.einsum("ab,ibjc,dc->iajd", d, k, d)) < 1e-13
    assert relative(k, np.einsum("ifa,jfb->iajb", x, y) * ((x0 @ y0.T) ** 1.5)[:, None, :, None]) < 1e-13


def test_degree_zero_is_the_sparse_gp_of_energies(data, points, frames):
    """Basis and prior of a scalar part: SparseGP with PolynomialKernel and LambdaGP with LambdaKernel."""
    graph = jp.from_atoms(frames[0], CUTOFF)
    heads = jp.SparseGP(jp.PolynomialKernel(2.0), delta=0.7), LambdaGP(LambdaKernel(2.0), delta=0.7)
    (a, k), (b, q) = (rows_of(Polarizability(scalar=SOAP, head=head).with_points(points), graph) for head in heads)
    assert relative(a, b) < 1e-13 and relative(k, q) < 1e-13


def test_all_atoms_as_sparse_points_are_the_full_kernel():
    """Predictions of dipoles of molecules in general positions; the full kernel is a sum over the atoms of two structures."""
    train, test, sigma = molecules(5, seed=3), molecules(2, seed=4), 0.05
    data = dataset(train, jp.Properties(dipole=sigma), {"dipole": "mu"})
    stacks = [jp.environments(jp.from_atoms(a, CUTOFF, max_neighbors=2), SOAP.reach, SPECIES) for a in train]
    every = jax.tree_util.tree_map(lambda *x: jnp.concatenate(x), *stacks)
    kernel = LambdaKernel(2.0)
    sparse = jp.fit.linear(Dipole(tensor=VECTOR, head=LambdaGP(kernel, delta=0.8, jitter=1e-11)).with_points(every), data)
    graphs = jp.stack([jp.from_atoms(a, CUTOFF) for a in train + test])
    pairs = jax.jit(jax.vmap(jax.vmap(structure_kernel, (None, None, None, 0)), (None, None, 0, None)))(VECTOR, kernel, graphs, graphs)
    full = 0.8**2 * np.asarray(pairs)
    n, xyz = len(train), [2, 0, 1]  # x, y, z among y, z, x
    k = full[:n, :n].transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    y = np.concatenate([a.info["mu"][[1, 2, 0]] for a in train])
    alpha = np.linalg.solve(k + sigma**2 * np.eye(3 * n), y).reshape(n, 3)
    for i, atoms in enumerate(test):
        expected = np.einsum("jab,jb->a", full[n + i, :n], alpha)[xyz]
        assert np.max(np.abs(np.asarray(predict(sparse, jp.from_atoms(atoms, CUTOFF, max_atoms=3, max_neighbors=2))) - expected)) < 1e-7


# --- fits -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(points):
    """Scalar part linear, tensor part sparse, and a constant per element."""
    head = {0: jp.Linear(scale=0.5), 2: LambdaGP(LambdaKernel(2.0), delta=0.7, jitter=1e-6)}
    return Polarizability(scalar=SOAP, tensor=MATRIX, head=head).with_points(points) + Polarizability(scalar=Constant(SPECIES))


@pytest.fixture(scope="module")
def dense(model, data):
    """Rows and targets with all nine components, each worth a datum; a pair of equal ones is one datum of weight √2."""
    rows, y = [], []
    pick = np.array([0, 4, 8, 1, 2, 5])
    weight = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)]) / 0.02
    for _, d in sorted(data.structures(), key=lambda item: item[0]):
        if np.isfinite(d.sigma.polarizability):
            basis, precision = rows_of(model, d.graphs)
            rows.append(np.asarray(basis).reshape(9, -1)[pick] * weight[:, None])
            y.append(d.targets.polarizability.reshape(9)[pick] * weight)
    assert len(rows) == 7
    return np.concatenate(rows), np.concatenate(y), np.asarray(precision)


@pytest.mark.parametrize("method", ["qr", "cholesky", "lsqr"])
def test_fit_equals_a_dense_solution(method, model, data, dense):
    a, y, precision = dense
    w = np.linalg.lstsq(np.concatenate([a, np.linalg.cholesky(precision).T]), np.concatenate([y, np.zeros(len(precision))]), rcond=None)[0]
    fitted = jp.fit.linear(model, data, method=method)
    exact = jp.freeze(model.with_coefficients(jnp.asarray(w)))
    for got, want in zip(jp.fit.predict(fitted, data), jp.fit.predict(exact, data), strict=True):
        np.testing.assert_allclose(got.polarizability, want.polarizability, atol=1e-8)


def test_evidence_equals_the_dense_gaussian(model, data, dense):
    """Six data per polarizability; Σ = σ² for the components of an orthonormal basis."""
    a, y, precision = dense
    covariance = a @ np.linalg.solve(precision, a.T) + np.eye(len(y))
    _, logdet = np.linalg.slogdet(covariance)
    expected = -0.5 * (y @ np.linalg.solve(covariance, y) + logdet + len(y) * np.log(2 * np.pi * 0.02**2))
    np.testing.assert_allclose(evidence(model, data), expected, rtol=1e-10)


def test_evidence_does_not_know_the_axes(model, data, frames):
    q = np.asarray(jp.random_rotation(jax.random.key(5)))
    turned = []
    for atoms in frames:
        other = Atoms(atoms.numbers, positions=atoms.positions @ q.T)
        if "alpha" in atoms.info:
            other.info["alpha"] = (q @ atoms.info["alpha"].reshape(3, 3) @ q.T).reshape(9)
        other.info["mu"] = q @ atoms.info["mu"]
        turned.append(other)
    np.testing.assert_allclose(evidence(model, dataset(turned)), evidence(model, data), rtol=1e-11)


def test_evidence_gradient(model, data):
    params, build = jp.free(model, "parts.1.head.delta", "parts.0.head.scale", "parts.1.head.kernel.zeta", "parts.1.descriptor.expansion.sigma")
    value = lambda p: evidence(build(p), data)  # noqa: E731
    gradient = quick_jit(jax.grad(lambda p: jp.fit.log_evidence(build(p), data)))(params)
    for name in params:
        h = 1e-4
        up, down = (value({**params, name: params[name] + sign * h}) for sign in (1, -1))
        np.testing.assert_allclose(gradient[name], (up - down) / (2 * h), rtol=1e-5, err_msg=name)


def test_a_fit_learns_and_turns():
    """Bond polarizabilities are learned to 2 %, whatever the frame in which they are tested."""
    train, test = molecules(60, seed=1), molecules(12, seed=2)
    data, unseen = dataset(train), dataset(test)
    fitted = jp.fit.linear(Polarizability(scalar=SOAP, tensor=MATRIX, head=jp.Linear(scale=5.0)), data)
    errors = jp.fit.report(fitted, unseen)["all"]
    assert set(errors) == {"polarizability"} and errors["polarizability"]["n"] == 9 * 12
    spread = np.std([a.info["alpha"] for a in test])
    assert errors["polarizability"]["rmse"] < 0.02 * spread
    assert "polarizability" in jp.fit.table(jp.fit.report(fitted, unseen))
    graph, q = jp.from_atoms(test[0], CUTOFF), jp.random_rotation(jax.random.key(7))
    assert jnp.allclose(predict(fitted, jp.rotate(graph, q)), q @ predict(fitted, graph) @ q.T, atol=1e-12)


def test_per_atom_fit():
    """Tensors of each atom: rows of padding atoms do not count."""
    frames = molecules(6, seed=6)
    for atoms in frames:
        bonds = atoms.positions[:, None] - atoms.positions[None]
        atoms.arrays["t"] = np.einsum("ija,ijb->iab", bonds, bonds).reshape(len(atoms), 9)
    data = dataset(frames, jp.Properties(tensor=1e-3), {"tensor": "t"})
    fitted = jp.fit.linear(Tensor((SOAP, MATRIX), (0, 0), head=jp.Linear(scale=100.0), per_atom=True), data)
    for atoms, found in zip(frames, jp.fit.predict(fitted, data), strict=True):
        assert found.tensor.shape == (len(atoms), 3, 3)
        assert np.max(np.abs(found.tensor - atoms.arrays["t"].reshape(-1, 3, 3))) < 1e-2
    assert jp.fit.report(fitted, data)["all"]["tensor"]["n"] == 9 * sum(map(len, frames))


@pytest.mark.parametrize(
    ("make", "sigma", "message"),
    [
        (lambda: Dipole(tensor=VECTOR), jp.Properties(polarizability=0.1), "no labels of dipole"),
        (lambda: Tensor((VECTOR,), (0,)), jp.Properties(tensor=0.1), "rank 3, one per structure; Tensor .* rank 1"),
        (lambda: Tensor((VECTOR,), (0, 0, 0), per_atom=True), jp.Properties(tensor=0.1), "one per structure; .* one per atom"),
        (lambda: Polarizability(scalar=SOAP), jp.Properties(polarizability=0.1), "frame 1: .* symmetrise the labels"),
        (lambda: jp.AtomicPotential(SOAP, jp.Linear()), jp.Properties(dipole=0.1), "labels of dipole only"),
        (lambda: Dipole(tensor=VECTOR, head=LambdaGP(LambdaKernel())), jp.Properties(dipole=0.1), "LambdaGP has no sparse points"),
    ],
)
def test_unfit_data_are_refused(make, sigma, message):
    frames = molecules(3)
    frames[1].info["alpha"] = np.arange(9.0)
    data = dataset(frames, sigma, KEYS | {"tensor": "beta"})
    with pytest.raises(ValueError, match=message):
        jp.fit.linear(make(), data)


def test_a_posterior_is_refused(data):
    with pytest.raises(TypeError, match="posterior of Dipole is not known"):
        jp.fit.posterior(Dipole(tensor=VECTOR), data)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LambdaSOAP(DENSITY, 0, pseudo=True), ValueError, "no pseudotensor of degree 0"),
        (lambda: LambdaSOAP(DENSITY, 5), ValueError, "raise l_max"),
        (lambda: LambdaSOAP(DENSITY, 1.0), ValueError, "integer"),
        (lambda: Polarizability(scalar=SOAP, tensor=VECTOR), ValueError, "lam=0; lam=2"),
        (lambda: Polarizability(antisymmetric=VECTOR), ValueError, "lam=1, pseudo=True"),
        (lambda: Polarizability(), ValueError, "no descriptors"),
        (lambda: Tensor((MATRIX,), (0, 0), head=jp.SparseGP(jp.PolynomialKernel(2.0))), TypeError, "use Linear or LambdaGP"),
        (lambda: Tensor((MATRIX,), (0, 0), head={0: jp.Linear()}), ValueError, "no head for degree 2"),
        (lambda: Tensor((DENSITY,), (0, 0)), TypeError, "local descriptor"),
        (lambda: Tensor((SOAP, LambdaSOAP(DENSITY.replace(species=("O", "H")), 2)), (0, 0)), ValueError, "same species"),
        (lambda: Dipole(charges=VECTOR), ValueError, "charges are invariants"),
        (lambda: Dipole(tensor=VECTOR).with_points(None), TypeError, "no sparse points"),
        (lambda: Dipole(tensor=VECTOR) + Polarizability(scalar=SOAP), TypeError, "unsupported operand"),
        (lambda: Tensor((SOAP,), (0, 0)) + Tensor((SOAP,), (0, 1)), ValueError, "cannot add"),
        (lambda: Dipole(tensor=VECTOR)(jp.from_atoms(Atoms("OH", positions=[[0, 0, 0], [1, 0, 0]]), CUTOFF)), ValueError, "no coefficients yet"),
        (lambda: LambdaGP(jp.PolynomialKernel(2.0)), TypeError, "LambdaKernel"),
        (lambda: Dipole(tensor=VECTOR).with_coefficients(np.ones(3)), ValueError, "expected coefficients"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_hyper_parameters_are_leaves(points):
    gp = Polarizability(tensor=MATRIX, head=LambdaGP(LambdaKernel(2.0))).with_points(points)
    params, build = jp.free(gp, "*.zeta", "*.sigma", "*.delta", "*.radius")
    assert len(params) == 4 and build(params).parts[0].head.references.points is not None
    changed = with_leaves(gp, {"parts.0.head.kernel.zeta": 3.0})
    assert changed.parts[0].head.kernel.zeta == 3.0


# --- published tensors ------------------------------------------------------------------------------------------------------


def published(name):
    path = Path(__file__).resolve().parents[1] / "experiments" / "datasets.py"
    spec = importlib.util.spec_from_file_location("jaxpot_experiments_datasets", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.load(name)


@needs_data
@pytest.mark.parametrize(("kind", "tolerance"), [("symmetric", 3e-7), ("asymmetric", 3e-7)])
def test_a_rigidly_rotated_molecule_is_learned_exactly(kind, tolerance):
    """One chiral molecule in 100 orientations: a few are enough for every degree. The file holds eight digits."""
    frames = published(f"tensors/chfclbr_rotated_{kind}_alpha")
    for atoms in frames:
        atoms.pbc = False
    density = jp.Density(("C", "H", "F", "Cl", "Br"), jp.CosineCutoff(4.0, width=1.0), jp.GTO(1), 2, sigma=0.5)
    parts = {"scalar": jp.SOAP(density), "tensor": LambdaSOAP(density, 2)}
    if kind == "asymmetric":
        parts["antisymmetric"] = LambdaSOAP(density, 1, pseudo=True)
    keys = {"polarizability": "alpha_row_major"}
    train, test = (jp.Dataset.from_atoms(f, 4.0, sigma=jp.Properties(polarizability=1e-6), keys=keys) for f in (frames[:10], frames[10:]))
    centers = jp.fit.select_environments(parts["scalar"], train, {"C": 1}, key=jax.random.key(0))
    fitted = jp.fit.linear(Polarizability(**parts, head=LambdaGP(LambdaKernel(2.0), delta=100.0)).with_points(centers), train)
    assert fitted.n_coefficients == 6 + 3 * (kind == "asymmetric")
    difference = np.array([p.polarizability for p in jp.fit.predict(fitted, test)]) - [a.info["alpha_row_major"].reshape(3, 3) for a in frames[10:]]
    assert np.sqrt(np.mean(difference**2)) < tolerance
