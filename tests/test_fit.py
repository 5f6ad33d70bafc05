"""The solver, the evidence and the selection, against dense NumPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot.passes import condense
from jaxpot.potentials.rows import energy_row, generic_rows
from jaxpot.trees import with_leaves

SOAP = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(3.5, width=0.8), jp.GTO(3), 2, sigma=0.5))
SIGMA = jp.noise_levels(0.01, 0.1, 0.1)
EVALUATE = jax.jit(jp.evaluate)
REFERENCE = jp.empirical.LennardJones(("Si",), epsilon=0.4, sigma=2.1, cutoff=jp.cutoffs.PolynomialCutoff(3.6, width=1.0))


def frames(n=7, cubic=False):
    out = []
    for seed in range(n):
        atoms = bulk("Si", cubic=cubic)
        atoms.rattle(0.15, seed=seed)
        atoms.set_cell(atoms.cell.array * (1 + 0.02 * np.sin(seed)), scale_atoms=True)
        p = EVALUATE(REFERENCE, jp.from_atoms(atoms, 3.6, max_neighbors=20))
        stress = -np.asarray(p.virial) / atoms.get_volume()
        labels = {"energy": float(p.energy), "forces": np.asarray(p.forces), "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}
        if seed == 2:
            labels.pop("stress")
        if seed == 3:
            labels.pop("forces")
        atoms.calc = SinglePointCalculator(atoms, **labels)
        out.append(atoms)
    return out


@pytest.fixture(scope="module")
def data():
    return jp.Dataset.from_atoms(frames(), 3.6, sigma=SIGMA)


@pytest.fixture(scope="module")
def model(data):
    points = jp.fit.select_environments(SOAP, data, 6, key=jax.random.key(0))
    head = jp.SparseGP(jp.PolynomialKernel(2.0), delta=0.7, jitter=1e-6)
    return jp.AtomicPotential(SOAP, head).with_points(points) + jp.IsolatedAtoms({"Si": -0.3})


@pytest.fixture(scope="module")
def dense(model, data):
    """All rows, targets and noise levels at once; rows by differentiating the basis of the whole structure."""
    gp, _fixed = model.terms
    rows, y, s = [], [], []
    basis = jax.jit(lambda graph: gp.basis(graph).energy)
    jacobian = jax.jit(jax.jacfwd(lambda g, r, e: gp.basis(jp.strain(g.replace(positions=r), e)).energy, argnums=(1, 2)))
    upper = np.triu_indices(3)
    for frame, d in sorted(data.structures(), key=lambda item: item[0]):
        n = data.n_atoms[frame]
        by_r, by_e = jacobian(d.graphs, d.graphs.positions, jnp.zeros((3, 3)))
        by_e = 0.5 * (by_e + jnp.swapaxes(by_e, 1, 2))
        for a, target, sigma in (
            (basis(d.graphs)[None], d.targets.energy - n * -0.3, d.sigma.energy),
            (-jnp.moveaxis(by_r, 0, -1)[:n], d.targets.forces[:n], d.sigma.forces[:n]),
            (-jnp.moveaxis(by_e, 0, -1)[upper], d.targets.virial[upper], d.sigma.virial[upper]),
        ):
            keep = np.isfinite(np.ravel(sigma))
            rows.append(np.asarray(a).reshape(-1, gp.n_coefficients)[keep])
            y.append(np.ravel(target)[keep])
            s.append(np.ravel(sigma)[keep])
    return np.concatenate(rows), np.concatenate(y), np.concatenate(s), np.asarray(gp.precision())


def test_design_rows_equal_forward_differentiation(model, data, dense):
    graph = dict(data.structures())[0].graphs
    fast = jp.fit.design(model, graph)
    term = condense(model.terms[0])
    slow = generic_rows(lambda graph: energy_row(term, graph), graph)
    fast, slow = (rows.replace(energies=None) for rows in (fast, slow))
    for a, b in zip(jax.tree_util.tree_leaves(fast), jax.tree_util.tree_leaves(slow), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("method", ["qr", "cholesky", "lsqr"])
def test_predictions_equal_a_dense_solution(method, model, data, dense):
    a, y, s, precision = dense
    rows = np.concatenate([a / s[:, None], np.linalg.cholesky(precision).T])
    w = np.linalg.lstsq(rows, np.concatenate([y / s, np.zeros(len(precision))]), rcond=None)[0]
    fitted = jp.fit.linear(model, data, method=method)
    predictions = jp.fit.predict(fitted, data)
    exact = jp.fit.predict(jp.Sum((model.terms[0].with_coefficients(jnp.asarray(w)), model.terms[1])), data)
    for got, want in zip(predictions, exact, strict=True):
        np.testing.assert_allclose(got.energy, want.energy, atol=1e-8)
        np.testing.assert_allclose(got.forces, want.forces, atol=1e-8)
        np.testing.assert_allclose(got.virial, want.virial, atol=1e-8)


def test_evidence_equals_the_dense_gaussian(model, data, dense):
    a, y, s, precision = dense
    covariance = a @ np.linalg.solve(precision, a.T) + np.diag(s**2)
    _sign, logdet = np.linalg.slogdet(covariance)
    expected = -0.5 * (y @ np.linalg.solve(covariance, y) + logdet + len(y) * np.log(2 * np.pi))
    np.testing.assert_allclose(jp.fit.log_evidence(model, data), expected, rtol=1e-10)


def test_evidence_gradient_equals_finite_differences(model, data):
    patterns = ("*.sigma", "*.cutoff.radius", "*.zeta", "*.delta")
    params, build = jp.free(model, *patterns, bounds={"*.radius": (3.0, 3.7)})
    value = jax.jit(lambda p: jp.fit.log_evidence(build(p), data))
    gradient = jax.jit(jax.grad(lambda p: jp.fit.log_evidence(build(p), data)))(params)
    assert len(params) == 4
    for name in params:
        h = 1e-4
        up, down = (value({**params, name: params[name] + sign * h}) for sign in (1, -1))
        np.testing.assert_allclose(gradient[name], (up - down) / (2 * h), rtol=1e-5, err_msg=name)


def test_evidence_gradient_in_the_noise(model, data):
    def evidence(scale):
        def times(x):
            present = np.isfinite(x)
            return jnp.where(present, np.where(present, x, 1.0) * scale, np.inf)

        scaled = jax.tree_util.tree_map(times, [b.sigma for b in data.batches])
        return jp.fit.log_evidence(model, data.replace(batches=tuple(b.replace(sigma=s) for b, s in zip(data.batches, scaled, strict=True))))

    h = 1e-5
    slope = (evidence(1 + h) - evidence(1 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(evidence)(1.0), slope, rtol=1e-6)


def test_one_datum_by_hand(data):
    """One energy, one sparse point: w = k y / (k² + σ² k_MM)."""
    atoms = frames(1)[0]
    atoms.calc = SinglePointCalculator(atoms, energy=1.3)
    one = jp.Dataset.from_atoms([atoms], 3.6, sigma=jp.Properties(energy=0.2))
    points = jp.fit.select_environments(SOAP, one, 1, key=jax.random.key(0))
    potential = jp.AtomicPotential(SOAP, jp.SparseGP(jp.PolynomialKernel(2.0), delta=0.5, jitter=1e-12)).with_points(points)
    k = float(potential.basis(jp.from_atoms(atoms, 3.6)).energy[0])
    fitted = jp.fit.linear(potential, one)
    np.testing.assert_allclose(fitted.head.coefficients[0], k * 1.3 / (k**2 + 0.2**2 * 0.25), rtol=1e-9)


def test_variance_is_the_dense_posterior(model, data, dense):
    a, _y, s, precision = dense
    found = jp.fit.posterior(model, data)
    by_cholesky = jp.fit.posterior(model, data, method="cholesky")
    graph = dict(data.structures())[1].graphs
    gp = condense(model.terms[0])
    k = np.asarray(gp.energy_row(graph))
    x = jax.vmap(gp.descriptor.environment)(jp.environments(graph, gp.reach, ("Si",)))[:2]
    prior = float(0.7**2 * jnp.sum((x @ x.T) ** 2))
    posterior = np.linalg.inv(a.T @ (a / s[:, None] ** 2) + precision)
    expected = prior - k @ np.linalg.solve(precision, k) + k @ posterior @ k
    np.testing.assert_allclose(found.variance(graph), expected, rtol=1e-6)
    np.testing.assert_allclose(by_cholesky.variance(graph), expected, rtol=1e-6)
    single = jnp.zeros(graph.numbers.shape[0]).at[0].set(1.0)
    assert 0 < found.variance(graph, single) < 0.7**2


def test_a_linear_head_recovers_its_own_data():
    rng = np.random.default_rng(0)
    w = rng.normal(size=SOAP.n_features)
    truth = jp.AtomicPotential(SOAP, jp.Linear(coefficients=w))
    structures, evaluate = [], jax.jit(jp.evaluate)
    for seed in range(12):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.2, seed=seed)
        p = evaluate(truth, jp.from_atoms(atoms, 3.6, max_neighbors=16))
        atoms.calc = SinglePointCalculator(atoms, energy=float(p.energy), forces=np.asarray(p.forces))
        structures.append(atoms)
    data = jp.Dataset.from_atoms(structures, 3.6, sigma=jp.noise_levels(1e-6, 1e-6))
    fitted = jp.fit.linear(jp.AtomicPotential(SOAP, jp.Linear(scale=10.0)), data)
    assert jp.fit.report(fitted, data)["all"]["forces"]["rmse"] < 1e-8


def test_a_killed_fit_goes_on_where_it_was(model, data, tmp_path, monkeypatch):
    import importlib

    module = importlib.import_module("jaxpot.fit.solver")
    monkeypatch.setattr(module, "_SAVE_EVERY", 0.0)
    whole = jp.fit.linear(model, data)
    for method in ("qr", "cholesky"):
        state = tmp_path / f"{method}.npz"
        rows, seen = module._weighted_rows, []

        def killed(*arguments, rows=rows, seen=seen):
            seen.append(1)
            if len(seen) == 5:
                raise KeyboardInterrupt
            return rows(*arguments)

        monkeypatch.setattr(module, "_weighted_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            jp.fit.linear(model, data, method=method, checkpoint=state)
        assert state.exists()
        first = len(seen)
        seen.extend([1] * 10)
        resumed = jp.fit.linear(model, data, method=method, checkpoint=state)
        assert len(seen) - 10 - first == len(data) - 3  # three structures were in the file
        assert not state.exists()
        np.testing.assert_allclose(resumed.terms[0].head.coefficients, whole.terms[0].head.coefficients, rtol=1e-6)
        monkeypatch.setattr(module, "_weighted_rows", rows)


def test_checkpoints_of_other_fits_are_refused(model, data, tmp_path):
    state = tmp_path / "state.npz"
    state.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        jp.fit.linear(model, data, checkpoint=state)
    np.savez(state, fingerprint=np.array("other"), done=np.array(1))
    with pytest.raises(ValueError, match="of another fit"):
        jp.fit.linear(model, data, checkpoint=state)


def test_refusals(model, data):
    gp, _fixed = model.terms
    with pytest.raises(TypeError, match=r"LennardJones is not linear.*fit\.train"):
        jp.fit.linear(REFERENCE, data)
    with pytest.raises(ValueError, match='"qr", "cholesky" or "lsqr"'):
        jp.fit.linear(model, data, method="magic")
    with pytest.raises(ValueError, match="with_points"):
        jp.fit.linear(gp.replace(head=gp.head.replace(references=jp.heads.References())), data)
    with pytest.raises(ValueError, match="no coefficients yet"):
        gp(dict(data.structures())[0].graphs)
    wide = with_leaves(model, {"terms.0.descriptor.expansion.cutoff.radius": np.asarray(3.7)})
    with pytest.raises(ValueError, match=r"frame \d+: the model looks 3.7 Å far"):
        jp.fit.linear(wide, data)
    alike = jax.tree_util.tree_map(lambda x: jnp.concatenate([x, x]), gp.head.references.points)
    twice = jp.AtomicPotential(SOAP, gp.head.replace(jitter=1e-30)).with_points(alike)
    with pytest.raises(ValueError, match="not positive definite.*jitter"):
        jp.fit.linear(twice, data)
    with pytest.raises(ValueError, match="distinct environments"):
        jp.fit.select_environments(SOAP, data, 1000, key=jax.random.key(0))
    with pytest.raises(ValueError, match="cur, fps, kmeans"):
        jp.fit.select_environments(SOAP, data, 3, key=jax.random.key(0), method="random")


@pytest.mark.parametrize("method", ["cur", "fps", "kmeans"])
def test_selection_takes_distinct_environments_of_the_data(method, data):
    points = jp.fit.select_environments(SOAP, data, 5, key=jax.random.key(1), method=method)
    chosen = np.asarray(jax.vmap(SOAP.environment)(points))
    everything = np.concatenate([np.asarray(SOAP(d.graphs))[: data.n_atoms[f]] for f, d in data.structures()])
    distance = np.linalg.norm(chosen[:, None] - everything[None], axis=-1)
    assert np.all(distance.min(axis=1) < 1e-12)
    gaps = np.linalg.norm(chosen[:, None] - chosen[None], axis=-1) + np.eye(5)
    assert gaps.min() > 1e-9
    again = jp.fit.select_environments(SOAP, data, 5, key=jax.random.key(1), method=method)
    assert points == again


def test_farthest_points_spread_more_than_random_ones(data):
    chosen = np.asarray(jax.vmap(SOAP.environment)(jp.fit.select_environments(SOAP, data, 4, key=jax.random.key(0), method="fps")))
    everything = np.concatenate([np.asarray(SOAP(d.graphs))[: data.n_atoms[f]] for f, d in data.structures()])
    spread = lambda x: (np.linalg.norm(x[:, None] - x[None], axis=-1) + 9 * np.eye(len(x))).min()  # noqa: E731
    rng = np.random.default_rng(0)
    assert spread(chosen) > np.mean([spread(everything[rng.choice(len(everything), 4, replace=False)]) for _ in range(50)])


def test_one_compilation_per_bucket(model):
    from jaxpot.fit.solver import _weighted_rows

    mixed = jp.Dataset.from_atoms(frames(5) + frames(2, cubic=True), 3.6, sigma=SIGMA)
    before = _weighted_rows._cache_size()
    jp.fit.linear(model, mixed)
    shapes = {b.graphs.neighbors.shape[1:] for b in mixed.batches}
    assert _weighted_rows._cache_size() - before == len(shapes)


def test_report_counts_only_labels(model, data):
    fitted = jp.fit.linear(model, data)
    errors = jp.fit.report(fitted, data)["all"]
    assert errors["energy"]["n"] == 7 and errors["forces"]["n"] == 6 * 6 and errors["virial"]["n"] == 6 * 9
    predictions = jp.fit.predict(fitted, data)
    truth = [a.get_potential_energy() / 2 for a in frames()]
    mae = np.mean([abs(p.energy / 2 - t) for p, t in zip(predictions, truth, strict=True)])
    np.testing.assert_allclose(errors["energy"]["mae"], mae, rtol=1e-12)
    assert "all" in jp.fit.table(jp.fit.report(fitted, data))


def test_memory_does_not_grow_with_the_number_of_structures():
    """What a fit holds is one triangle and one block of rows, however many structures pass."""
    from jaxpot.math.linalg import StreamingQR

    rng = np.random.default_rng(0)
    p = 40
    qr = StreamingQR(p, block=64)
    largest = 0
    rows_all, y_all = [], []
    for _ in range(200):
        rows, y = rng.normal(size=(25, p)), rng.normal(size=25)
        qr.add(rows, y)
        largest = max(largest, qr._triangle.nbytes + sum(w.nbytes for w in qr._waiting))
        rows_all.append(rows)
        y_all.append(y)
    a, y = np.concatenate(rows_all), np.concatenate(y_all)
    expected, residual, *_ = np.linalg.lstsq(a, y, rcond=None)
    np.testing.assert_allclose(qr.solve(), expected, atol=1e-12)
    np.testing.assert_allclose(qr.residual_square(), residual[0], rtol=1e-12)
    assert largest < 8 * (p + 1) * (p + 64 + 25)


@pytest.mark.parametrize("n", [1, 6, 7, 20])
@pytest.mark.parametrize("order", ["C", "F"])
def test_cholesky_in_blocks(n, order):
    from jaxpot.math.linalg import cholesky_in_place

    x = np.random.default_rng(n).normal(size=(n, n + 3))
    a = np.array(x @ x.T, order=order)
    expected = np.linalg.cholesky(a)
    cholesky_in_place(a, block=6)
    np.testing.assert_allclose(np.tril(a), expected, rtol=1e-10, atol=1e-12)
    bad = np.array(np.eye(n) - 2 * np.eye(n)[:, [-1]] @ np.eye(n)[[-1]], order=order)
    with pytest.raises(np.linalg.LinAlgError):
        cholesky_in_place(bad, block=6)
