"""The evidence maximised: against a grid, with minibatches, restarts, bounds, after a kill; and what is refused."""

import jax
import numpy as np
import optax
import pytest
from ase import Atoms

import jaxpot as jp
from jaxpot.fit import search
from jaxpot.trees import set_fields

KEY = jax.random.key(0)
TWO = jp.descriptors.TwoBody(("Ar",), jp.CosineCutoff(4.0, width=1.0))


def gp(length=0.3, delta=1.0):
    points = jp.descriptors.Instances(np.linspace(1.2, 3.9, 12)[:, None], np.zeros(12, int))
    return jp.AtomicPotential(TWO, jp.SparseGP(jp.kernels.SquaredExponential(length), delta=delta, jitter=1e-6)).with_points(points)


@pytest.fixture(scope="module")
def data():
    """Drawn from the model itself, with length 0.8 Å, delta 0.5 eV and noise 0.03 eV and eV/Å; the noise levels say 0.1."""
    rng = np.random.default_rng(3)
    truth = gp(0.8, 0.5)
    root = np.linalg.cholesky(np.asarray(truth.precision()))
    truth = truth.with_coefficients(np.linalg.solve(root.T, rng.normal(size=12)))
    evaluate, frames = jax.jit(jp.evaluate), []
    for _ in range(30):
        atoms = Atoms("Ar4", positions=rng.uniform(0, 4.2, size=(4, 3)))
        if atoms.get_all_distances()[np.triu_indices(4, 1)].min() < 1.2:
            continue
        made = evaluate(truth, jp.from_atoms(atoms, 4.2, max_neighbors=3))
        atoms.info["energy"] = float(made.energy) + 0.03 * rng.normal()
        atoms.arrays["forces"] = np.asarray(made.forces) + 0.03 * rng.normal(size=(4, 3))
        frames.append(atoms)
    assert len(frames) > 12
    return jp.Dataset.from_atoms(frames, 4.2, sigma=jp.Properties(energy=0.1, forces=0.1))


@pytest.fixture(scope="module")
def maximum(data):
    return jp.fit.maximise_evidence(gp(), data, "*.length", "*.delta", noise=("energy", "forces"), steps=60)


def test_converges_to_a_maximum_near_the_truth(maximum, data):
    assert maximum.converged, maximum.message
    head = maximum.model.head
    assert 0.6 < float(head.kernel.length) < 1.0 and 0.2 < float(head.delta) < 1.2
    n = sum(int(np.sum(np.isfinite(leaf))) for b in data.batches for leaf in jax.tree_util.tree_leaves(b.sigma))
    own = gp(1.0)

    @jax.jit
    def value(length, delta):
        head = set_fields(own.head, kernel=set_fields(own.head.kernel, length=length), delta=delta)
        return jp.fit.log_evidence(set_fields(own, head=head), maximum.data) / n

    top = float(value(head.kernel.length, head.delta))
    np.testing.assert_allclose(top, maximum.evidence, rtol=1e-9)
    for length, delta in ((1.03, 1.0), (0.97, 1.0), (1.0, 1.05), (1.0, 0.95)):
        assert float(value(length * head.kernel.length, delta * head.delta)) < top
    ratio = float(maximum.data.batches[0].sigma.forces.reshape(-1)[0]) / 0.03
    assert 0.7 < ratio < 1.4


def test_missing_labels_leave_the_gradient_in_the_noise_finite(data):
    frames = [Atoms("Ar3", positions=[[0, 0, 0], [2, 0, 0], [0, 2.5, 0]], info={"energy": -0.1}), Atoms("Ar2", positions=[[0, 0, 0], [2, 0, 0]], info={"energy": 0.1})]
    frames[1].arrays["forces"] = np.zeros((2, 3))
    missing = jp.Dataset.from_atoms(frames, 4.2, sigma=jp.Properties(energy=0.1, forces=0.1))  # padding atoms have none either
    slope = jax.grad(lambda factor: jp.fit.log_evidence(gp(), missing.scale_noise(forces=factor)))
    evidence = lambda factor: float(jp.fit.log_evidence(gp(), missing.scale_noise(forces=factor)))  # noqa: E731
    np.testing.assert_allclose(slope(1.5), (evidence(1.5 + 1e-4) - evidence(1.5 - 1e-4)) / 2e-4, rtol=1e-6)
    with pytest.raises(ValueError, match="no noise levels of 'dipole'"):
        missing.scale_noise(dipole=2.0)


def test_history_holds_every_evaluation_in_its_units(maximum):
    first, evidences = maximum.history[0], [h["evidence"] for h in maximum.history]
    np.testing.assert_allclose(first["head.kernel.length"], 0.3)
    np.testing.assert_allclose(first["noise.forces"], 1.0)
    assert max(evidences) == pytest.approx(maximum.evidence) and maximum.evidence > evidences[0] + 0.5


def test_minibatches_come_near(maximum, data):
    found = jp.fit.maximise_evidence(
        gp(), data, "*.length", "*.delta", noise=("energy", "forces"), optimizer=optax.adam(0.1), steps=60, batch=8, key=KEY
    )
    assert not found.converged and "minibatches" in found.message
    np.testing.assert_allclose(found.model.head.kernel.length, maximum.model.head.kernel.length, rtol=0.3)
    assert len(found.history) == 60


def test_bounds_and_restarts(maximum, data):
    found = jp.fit.maximise_evidence(gp(), data, "*.length", bounds={"*.length": (0.2, 0.5)}, steps=40, restarts=1, key=KEY)
    assert 0.45 < float(found.model.head.kernel.length) < 0.5
    assert {h["restart"] for h in found.history} == {0, 1}


@pytest.mark.parametrize("optimizer", [None, optax.adam(0.05)], ids=["lbfgs", "adam"])
def test_goes_on_after_a_kill(data, tmp_path, monkeypatch, optimizer):
    arguments = dict(optimizer=optimizer, steps=8, checkpoint=tmp_path / "state.npz")
    whole = jp.fit.maximise_evidence(gp(), data, "*.length", **arguments)
    assert not (tmp_path / "state.npz").exists()
    store, calls = search.Search.store, []

    def killed(self):
        store(self)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(search.Search, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        jp.fit.maximise_evidence(gp(), data, "*.length", **arguments)
    with pytest.raises(ValueError, match="another search"):
        jp.fit.maximise_evidence(gp(0.4), data, "*.length", **arguments)
    with pytest.raises(ValueError, match="another search"):  # the same parameters on other data
        jp.fit.maximise_evidence(gp(), data.subset(range(6)), "*.length", **arguments)
    monkeypatch.setattr(search.Search, "store", store)
    again = jp.fit.maximise_evidence(gp(), data, "*.length", **arguments)
    assert again.evidence == whole.evidence and again.message == whole.message
    assert [h["evidence"] for h in again.history] == [h["evidence"] for h in whole.history]
    np.testing.assert_array_equal(again.model.head.kernel.length, whole.model.head.kernel.length)


def test_validation_loss_is_that_of_the_fit_and_its_gradient(data):
    """Against `fit.linear` and its report, and finite differences through the whole fit."""
    first, second = data.subset(range(8)), data.subset(range(8, len(data)))
    model = gp(0.6) + jp.IsolatedAtoms({"Ar": 0.1})
    params, build = jp.free(model, "*.length", "*.delta")

    @jax.jit
    def loss(params, factor):
        return jp.fit.validation_loss(build(params), first.scale_noise(forces=factor), second)

    fitted = jp.fit.linear(model, first)
    errors = [(p, s) for p, (_, s) in zip(jp.fit.predict(fitted, second), second.structures(), strict=True)]
    squares = [((float(p.energy) - float(s.targets.energy)) / 0.1) ** 2 for p, s in errors]
    squares += [x for p, s in errors for x in ((np.asarray(p.forces) - np.asarray(s.targets.forces)[:4]).reshape(-1) / 0.1) ** 2]
    np.testing.assert_allclose(loss(params, 1.0), np.mean(squares), rtol=1e-8)
    gradient, by_noise = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, 1.0)
    step = 1e-4
    for name, slope in gradient.items():
        up, down = (loss(params | {name: params[name] + sign * step}, 1.0) for sign in (1, -1))
        np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(by_noise, (loss(params, 1 + step) - loss(params, 1 - step)) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((), {}, "nothing to move"),
        (("*.nothing",), {}, "no leaf matches"),
        (("*.length",), {"batch": 4}, "optax.adam"),
        (("*.length",), {"batch": 400, "optimizer": optax.adam(0.1)}, "expected 1 to"),
        (("*.length",), {"restarts": 2}, "jax.random.key"),
        (("*.length",), {"noise": ("virial",)}, "no labels of virial"),
    ],
)
def test_refused(data, arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        jp.fit.maximise_evidence(gp(), data, *arguments, **keywords)


def test_a_cutoff_beyond_the_lists_is_refused_at_the_start(data):
    model = gp().replace(descriptor=jp.descriptors.TwoBody(("Ar",), jp.CosineCutoff(5.0, width=1.0)))
    with pytest.raises(ValueError, match="NaN at"):
        jp.fit.maximise_evidence(model, data, "*.length", steps=1)
