"""Posterior variances, covariances and samples; calibration; which structure to label next."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot as jp

KEY = jax.random.key(0)
SPECIES = ("H", "O")
CUTOFF = jp.CosineCutoff(3.0, width=0.8)
TWO, SOAP = jp.descriptors.TwoBody(SPECIES, CUTOFF), jp.SOAP(jp.Density(SPECIES, CUTOFF, jp.GTO(2), 1, sigma=0.5))


def frames(n):
    rng = np.random.default_rng(1)
    out = []
    for _ in range(n):
        atoms = Atoms("OHH", positions=[[0, 0, 0], [1.2, 0, 0], [-0.3, 1.1, 0.2]] + 0.25 * rng.normal(size=(3, 3)))
        atoms.info["energy"] = float(rng.normal())
        atoms.arrays["forces"] = rng.normal(size=(3, 3))
        out.append(atoms)
    return out


NOISE = jp.Properties(energy=0.05, forces=0.3)


@pytest.fixture(scope="module")
def data():
    return jp.Dataset.from_atoms(frames(6), 3.0, sigma=NOISE)


@pytest.fixture(scope="module")
def posterior(data):
    def gp(descriptor, kernel, m):
        points = jp.fit.select_environments(descriptor, data, m, key=KEY)
        return jp.AtomicPotential(descriptor, jp.SparseGP(kernel, delta=0.6, jitter=1e-6)).with_points(points)

    terms = gp(TWO, jp.kernels.SquaredExponential(0.5), 9) + gp(SOAP, jp.PolynomialKernel(2.0), 7) + jp.AtomicPotential(SOAP, jp.Linear(scale=0.2))
    return jp.fit.posterior(terms + jp.IsolatedAtoms({"H": 0.0, "O": -1.0}), data)


GRAPH = jp.from_atoms(frames(9)[-1], 3.0)
variance, covariance = quick_jit(jp.fit.Posterior.variance), quick_jit(jp.fit.Posterior.covariance)


def test_covariance_is_that_of_energy_differences(posterior):
    """Var[E(R + h e) − E(R − h e)] / 4h² is the variance of a force; both copies in one graph, with weights +1 and −1."""
    alone = jp.fit.posterior(posterior.model.terms[1], jp.Dataset.from_atoms(frames(6), 3.0, sigma=NOISE))
    full = covariance(alone, GRAPH)
    n, h = 3, 1e-3
    sign = jnp.concatenate([jnp.ones(n), -jnp.ones(n)])
    for index in range(0, 9, 2):
        step = jnp.zeros(9).at[index].set(h).reshape(3, 3)
        both = jp.from_atoms(Atoms("OHHOHH", positions=np.concatenate([GRAPH.positions + step, GRAPH.positions - step + 50.0])), 3.0, max_neighbors=2)
        np.testing.assert_allclose(full[1 + index, 1 + index], variance(alone, both, sign) / (4 * h * h), rtol=1e-4)
    np.testing.assert_allclose(full[0, 0], variance(alone, GRAPH), rtol=1e-9)


def test_covariance_of_a_sum(posterior):
    full = np.asarray(covariance(posterior, GRAPH))
    assert full.shape == (10, 10)
    np.testing.assert_allclose(full, full.T, atol=1e-12)
    assert np.linalg.eigvalsh(full)[0] > -1e-12
    np.testing.assert_allclose(full[0, 0], variance(posterior, GRAPH), rtol=1e-9)
    # the forces of one structure sum to zero, with certainty
    together = np.tile(np.eye(3), 3)
    np.testing.assert_allclose(together @ full[1:, 1:] @ together.T, 0, atol=1e-10)


def test_terms_of_a_sum_are_correlated(posterior):
    """Two terms that the data cannot tell apart are known in their sum only."""
    ends, terms = np.cumsum([0, *(term.n_coefficients for term in posterior.model.terms[:3])]), posterior.model.terms[:3]
    alone = [jp.fit.Posterior(t, posterior.factor[a:b], (r,)) for t, r, a, b in zip(terms, posterior.roots, ends, ends[1:], strict=False)]
    assert float(variance(posterior, GRAPH)) < 0.9 * sum(float(variance(one, GRAPH)) for one in alone)


def test_samples_have_the_posterior_spread(posterior):
    """Of a Linear head the posterior is all there is: samples and covariance agree within their sampling error."""
    data = jp.Dataset.from_atoms(frames(6), 3.0, sigma=NOISE)
    linear = jp.fit.posterior(posterior.model.terms[2], data)
    w = linear.samples(KEY, 2000)
    drawn = quick_jit(jp.fit.evaluate_samples)(linear, w, GRAPH)
    full = covariance(linear, GRAPH)
    np.testing.assert_allclose(np.std(drawn.forces, axis=0).reshape(-1), np.sqrt(np.diag(full)[1:]), rtol=0.08)
    np.testing.assert_allclose(np.std(drawn.energy), np.sqrt(full[0, 0]), rtol=0.08)
    mean = quick_jit(jp.evaluate)(linear.model, GRAPH)
    np.testing.assert_allclose(np.mean(drawn.energy), mean.energy, atol=4 * np.sqrt(full[0, 0] / 2000))
    assert posterior.samples(KEY, 3).shape == (3, sum(t.n_coefficients for t in posterior.model.terms[:3]))


def test_most_uncertain_looks_ahead(posterior):
    """The second choice is the largest deviation of the model that was also fitted to the first."""
    pool = frames(14)[6:]
    data = jp.Dataset.from_atoms(pool, 3.0, sigma=jp.Properties(energy=0.05))
    linear = jp.fit.posterior(posterior.model.terms[2], jp.Dataset.from_atoms(frames(6), 3.0, sigma=NOISE))
    first, second = jp.fit.most_uncertain(linear, data, 2)
    spread = [float(linear.variance(jp.from_atoms(a, 3.0))) for a in pool]
    assert first == int(np.argmax(spread))
    label = lambda a: NOISE if a.positions.tobytes() != pool[first].positions.tobytes() else jp.Properties(energy=0.05)  # noqa: E731
    more = jp.Dataset.from_atoms([*frames(6), pool[first]], 3.0, sigma=label)
    again = jp.fit.posterior(posterior.model.terms[2], more)
    assert second == int(np.argmax([float(again.variance(jp.from_atoms(a, 3.0))) for a in pool]))
    with pytest.raises(ValueError, match="the pool has 8 structures"):
        jp.fit.most_uncertain(linear, data, 9)


def test_calibration_and_coverage():
    rng = np.random.default_rng(0)
    deviations = rng.uniform(0.5, 2.0, 20000)
    errors = 3.0 * deviations * rng.normal(size=20000)
    factor = jp.fit.calibration(errors[::2], deviations[::2])
    np.testing.assert_allclose(factor, 3.0, rtol=0.03)
    for level, share in jp.fit.coverage(errors[1::2], factor * deviations[1::2]).items():
        assert abs(share - level) < 0.02
    with pytest.raises(ValueError, match="between 0 and 1"):
        jp.fit.calibration(errors, deviations, level=90)
    for bad in (np.zeros(20000), -deviations, np.full(20000, np.nan)):  # what symmetry fixes has no deviation
        for compare in (jp.fit.calibration, jp.fit.coverage):
            with pytest.raises(ValueError, match="symmetry"):
                compare(errors, bad)


def test_saved_and_loaded(posterior, tmp_path):
    again = jp.load(jp.save(tmp_path / "posterior", posterior))
    assert again == posterior and variance(again, GRAPH) == variance(posterior, GRAPH)
    assert jp.load(jp.save(tmp_path / "model", posterior.model)) == posterior.model


def test_the_model_is_that_of_the_fit(posterior, data):
    fitted = jp.fit.linear(posterior.model.terms[2], data)
    assert jp.fit.posterior(posterior.model.terms[2], data).model == fitted


def test_refusals(posterior, data, tmp_path):
    model = posterior.model.terms[2]
    with pytest.raises(TypeError, match=r"posterior = jaxpot.fit.posterior\(model, data\)"):
        jp.fit.linear(model, data, covariance=True)
    with pytest.raises(TypeError, match="no argument what"):
        jp.fit.linear(model, data, what=1)
    with pytest.raises(ValueError, match='"lsqr" and "kernel" know no posterior'):
        jp.fit.posterior(model, data, method="lsqr")
    with pytest.raises(ValueError, match=r"expected a factor \[40, P'\]"):
        jp.fit.Posterior(model, posterior.factor, (None,))
    with pytest.raises(ValueError, match="expected roots of shapes"):
        posterior.replace(roots=(None, None, None))
    whole = jp.molecules.PIP(SPECIES, [[0, 1, 2]], jp.radial.MorseTransform(1.0, decay=1.0), degree=1, symmetry=jp.molecules.exchanges("OHH"), coefficients=np.ones(3))
    with pytest.raises(TypeError, match="PIP has no energies of single atoms"):
        jp.fit.Posterior(whole, np.eye(3), (None,)).variance(GRAPH, jnp.ones(3))


def test_a_bootstrap_spreads_like_the_error_of_a_mean():
    """One coefficient, fitted to S numbers: members are weighted means, whose deviation is that of the numbers over √S."""
    y = np.random.default_rng(5).normal(size=40)
    atoms = [Atoms("H", positions=[[0, 0, 0]], info={"energy": float(value)}) for value in y]
    data = jp.Dataset.from_atoms(atoms, 1.0, sigma=jp.Properties(energy=1.0))
    constant = jp.AtomicPotential(jp.descriptors.Constant(("H",)), jp.Linear(scale=1e4))
    committee = jp.fit.bootstrap(constant, data, 60, key=KEY)
    graph = jp.from_atoms(atoms[0], 1.0)
    members = [float(member.head.coefficients[0]) for member in committee.members]
    assert 0.75 < np.std(members) / (np.std(y) / np.sqrt(len(y))) < 1.25
    np.testing.assert_allclose(committee.spread(graph).energy, np.std(members, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(committee(graph), np.mean(members), rtol=1e-12)
    again = jp.fit.bootstrap(constant, data, 2, key=KEY, fit=lambda model, data: jp.fit.linear(model, data, method="cholesky"))
    np.testing.assert_allclose([float(m.head.coefficients[0]) for m in again.members], members[:2], rtol=1e-9)
    with pytest.raises(ValueError, match="at least two"):
        jp.fit.bootstrap(constant, data, 1, key=KEY)


def test_a_committee_is_the_mean_of_its_members():
    graph = jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.6]]), 5.0)
    members = tuple(jp.empirical.LennardJones(("Ar",), epsilon=e, sigma=3.4, cutoff=jp.cutoffs.PolynomialCutoff(5.0)) for e in (0.01, 0.02, 0.06))
    whole, parts = jp.evaluate(jp.potentials.Committee(members), graph), [jp.evaluate(member, graph) for member in members]
    for name in ("energy", "forces", "virial"):
        values = np.stack([getattr(p, name) for p in parts])
        np.testing.assert_allclose(getattr(whole, name), values.mean(axis=0), atol=1e-15)
        np.testing.assert_allclose(getattr(jp.potentials.Committee(members).spread(graph), name), values.std(axis=0, ddof=1), atol=1e-15)
    with pytest.raises(ValueError, match="different elements"):
        jp.potentials.Committee((members[0], jp.IsolatedAtoms({"H": 0.0})))


def test_deviations_are_those_of_the_covariance(posterior, data):
    """Of the energy and every component of forces of a linear model; with the noise of labels where the data have any."""
    linear = jp.fit.posterior(posterior.model.terms[2] + posterior.model.terms[3], data)
    pool, labelled = jp.fit.deviations(linear, [frames(9)[-1]], progress=False)[0], jp.fit.deviations(linear, data, progress=False)
    full = np.sqrt(np.diagonal(covariance(linear, GRAPH)))
    np.testing.assert_allclose(np.append(pool.energy, pool.forces.ravel()), full, rtol=1e-7)
    again = jp.fit.deviations(linear, frames(6), progress=False)
    for one, other in zip(labelled, again, strict=True):
        np.testing.assert_allclose(one.energy**2 - other.energy**2, 0.05**2, rtol=1e-7)
        np.testing.assert_allclose(one.forces**2 - other.forces**2, 0.3**2, rtol=1e-7)
    with pytest.raises(TypeError, match="Posterior"):
        jp.fit.deviations(linear.model, data)


def test_labels_that_the_model_explains_are_covered():
    """Labels drawn from the prior with noise: nine tenths of unseen ones lie within 1.645 deviations."""
    rng, shapes = np.random.default_rng(3), frames(60)
    truth = jp.AtomicPotential(SOAP, jp.Linear(scale=0.2))
    truth = truth.with_coefficients(0.2 * rng.normal(size=truth.n_coefficients))
    for atoms in shapes:
        found = jp.evaluate(truth, atoms)
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy) + 0.05 * rng.normal(), np.asarray(found.forces) + 0.3 * rng.normal(size=(3, 3))
    sets = [jp.Dataset.from_atoms(part, 3.0, sigma=jp.Properties(energy=0.01, forces=0.02)) for part in (shapes[:30], shapes[30:])]
    found = jp.fit.levels(jp.AtomicPotential(SOAP, jp.Linear(scale=1.0)), sets[0])
    told = jp.fit.report(found.posterior, sets[1].scale_noise(**found.noise))["all"]
    assert abs(told["forces"]["coverage"] - 0.9) < 0.05 and told["energy"]["coverage"] > 0.75  # of 270 and 30 labels
    assert "nine tenths" in jp.fit.table({"all": told})
