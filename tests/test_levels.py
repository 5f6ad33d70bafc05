"""Noise levels and scales of priors at the maximum of the evidence, against the evidence itself and the fits that have them."""

import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot.fit.noise_and_scales import _climb
from jaxpot.fit.solver import Grams, Rows


def term(n_max, degrees, scale, species=("Si",), **head):
    density = jp.Density(species, jp.cutoffs.PowerCutoff(3.6), jp.radial.Agnesi(n_max, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(degrees)), jp.Linear(scale=scale, **head))


MODEL = term(4, (3,), 5.0) + term(3, (2, 2), 0.3) + jp.IsolatedAtoms({"Si": -0.3})


@pytest.fixture(scope="module")
def data():
    rng, frames = np.random.default_rng(0), []
    truth = MODEL.with_coefficients(0.2 * rng.normal(size=MODEL.n_coefficients))
    evaluate = jax.jit(jp.evaluate)
    for seed in range(60):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.15, seed=seed)
        found = evaluate(truth, jp.from_atoms(atoms, 3.6, max_neighbors=24))
        labels = {"energy": float(found.energy) + 0.02 * rng.normal(), "forces": np.asarray(found.forces) + 0.05 * rng.normal(size=(8, 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return jp.Dataset.from_atoms(frames, 3.6, sigma=jp.noise_levels(0.3, 0.004))


@pytest.fixture(scope="module")
def found(data):
    return jp.fit.levels(MODEL, data, rounds=400)


def test_the_evidence_is_at_its_maximum(found, data):
    def evidence(logs):
        factors = np.array([*found.scales]) * jax.numpy.exp(logs[2:])
        terms = [t.replace(head=t.head.replace(scale=t.head.scale * f)) for t, f in zip(MODEL.terms[:2], factors, strict=True)]
        noise = {name: f * jax.numpy.exp(log) for (name, f), log in zip(found.noise.items(), logs, strict=False)}
        return jp.fit.log_evidence(terms[0] + terms[1] + MODEL.terms[2], data.scale_noise(**noise))

    value, slopes = jax.jit(jax.value_and_grad(evidence))(np.zeros(4))
    assert found.converged
    np.testing.assert_allclose(value, found.evidence, rtol=1e-10)
    np.testing.assert_allclose(slopes, 0, atol=0.05)  # nats, of hundreds of labels
    assert evidence(np.full(4, 0.3)) < value


def test_noise_is_found(found):
    np.testing.assert_allclose(0.004 * found.noise["forces"], 0.05, rtol=0.05)
    np.testing.assert_allclose(0.3 * np.sqrt(8) * found.noise["energy"], 0.02, rtol=0.2)


def test_a_common_factor_keeps_ratios(data):
    found = jp.fit.levels(MODEL, data, common=True, rounds=400)
    factor = found.noise["forces"]
    assert found.noise["energy"] == factor and found.converged

    def evidence(log):
        noise = dict.fromkeys(found.noise, factor * jax.numpy.exp(log))
        return jp.fit.log_evidence(found.posterior.model, data.scale_noise(**noise))

    np.testing.assert_allclose(jax.jit(jax.grad(evidence))(0.0), 0, atol=0.05)


def test_the_fit_is_that_of_these_levels(found, data):
    again = jp.fit.posterior(found.posterior.model, data.scale_noise(**found.noise))
    np.testing.assert_allclose(found.posterior.coefficients, again.coefficients, rtol=1e-7, atol=1e-9)
    covariance = found.posterior.factor @ found.posterior.factor.T
    np.testing.assert_allclose(covariance, again.factor @ again.factor.T, rtol=1e-6, atol=1e-9 * np.max(np.abs(covariance)))


def test_a_term_without_use_ends_near_zero(data):
    found = jp.fit.levels(MODEL, data.subset(range(12)), rounds=400)
    assert found.converged and found.scales[0] < 1e-3 and np.isfinite(found.evidence)


def test_sums_survive_a_kill(found, data, tmp_path, monkeypatch):
    from jaxpot.fit import solver

    monkeypatch.setattr(solver, "_SAVE_EVERY", -1.0)
    rows, seen = solver._weighted_rows, []

    def killed(*args):
        seen.append(0)
        if len(seen) > 7:
            raise KeyboardInterrupt
        return rows(*args)

    monkeypatch.setattr(solver, "_weighted_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        jp.fit.levels(MODEL, data, checkpoint=tmp_path / "sums.npz")
    monkeypatch.setattr(solver, "_weighted_rows", rows)
    again = jp.fit.levels(MODEL, data, rounds=400, checkpoint=tmp_path / "sums.npz")
    np.testing.assert_allclose(again.evidence, found.evidence, rtol=1e-12)
    assert again.noise == pytest.approx(found.noise, rel=1e-8) and not list(tmp_path.iterdir())


def test_what_is_fitted_exactly_has_no_noise(data):
    with pytest.raises(ValueError, match="fitted exactly"):
        jp.fit.levels(term(6, (8, 8, 8), 1e3) + MODEL.terms[2], data.subset([0]))
    with pytest.raises(ValueError, match="rounds"):
        jp.fit.levels(MODEL, data, rounds=0)


def test_types_have_noise_of_their_own():
    """Of two types with noise of 0.05 and 0.005 eV/Å, deviations cover nine tenths in each only with levels of each."""
    rng, frames = np.random.default_rng(1), []
    truth = MODEL.with_coefficients(0.2 * rng.normal(size=MODEL.n_coefficients))
    evaluate = jax.jit(jp.evaluate)
    for seed in range(60):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.15, seed=seed)
        found, noise = evaluate(truth, jp.from_atoms(atoms, 3.6, max_neighbors=24)), (0.05, 0.005)[seed % 2]
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(found.energy) + noise * rng.normal(), forces=np.asarray(found.forces) + noise * rng.normal(size=(8, 3))
        )
        atoms.info["config_type"] = ("hot", "cold")[seed % 2]
        frames.append(atoms)
    first = jp.fit.levels(MODEL, frames, sigma=jp.noise_levels(0.01, 0.03))
    types = jp.fit.noise_by_type(first.posterior.model, frames)
    assert types["hot"][2] is None and 7 < types["hot"][1] / types["cold"][1] < 13
    second = jp.Dataset.from_atoms(frames, 3.6, sigma=jp.noise_levels(0.01, 0.03, config_types=types))
    found = jp.fit.levels(MODEL, second)
    for known, levels, near in ((first, jp.noise_levels(0.01, 0.03), False), (found, jp.noise_levels(0.01, 0.03, config_types=types), True)):
        labels = jp.Dataset.from_atoms(frames, 3.6, sigma=levels).scale_noise(**known.noise)
        shares = [jp.fit.report(known.posterior, labels)[kind]["forces"]["coverage"] for kind in ("hot", "cold")]
        assert all(abs(share - 0.9) < 0.04 for share in shares) == near, shares


def test_energies_that_are_nearly_the_same_do_not_hide_what_is_small():
    """Structures of one composition: rows whose common part is 1e8 times what tells them apart."""
    rng, p = np.random.default_rng(0), 30
    common, true = rng.normal(size=p), rng.normal(size=p)
    rows = {"energy": 1e8 * (1 + 1e-3 * rng.normal(size=(60, 1))) * common + rng.normal(size=(60, p)), "forces": rng.normal(size=(40, p))}
    solver = Grams(np.eye(p))
    for a, kinds in ((np.stack(pair), np.array(["energy", "forces"])) for pair in zip(rows["energy"], np.resize(rows["forces"], (60, p)), strict=True)):
        solver.add(Rows(a, a @ true, np.ones(2), kinds))
    every = np.concatenate([rows["energy"], np.resize(rows["forces"], (60, p)), np.eye(p)])
    expected = np.linalg.lstsq(every, np.append(every[:-p] @ true, np.zeros(p)), rcond=None)[0]
    found = _climb(solver.kinds, solver.sums(), solver.axis, [slice(0, p)], [False], True, 1)
    np.testing.assert_allclose(found.mean, expected, atol=1e-6)
    with pytest.raises(np.linalg.LinAlgError):  # what the test is for: in the coordinates as they are the same sums are lost
        np.linalg.cholesky(np.eye(p) + every[:-p].T @ every[:-p])
