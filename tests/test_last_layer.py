"""The posterior of a network's last layer: dense Bayesian regression by hand, and coverage of data drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

import jaxpot as jp
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.passes import condense

SPECIES = ("H", "O")
SOAP = jp.SOAP(jp.Density(SPECIES, jp.CosineCutoff(3.0, width=0.8), jp.GTO(2), 1, sigma=0.5))
NETWORK = jp.AtomicPotential(SOAP, jp.MLP((6, 4), seed=3))
NETWORK = NETWORK.replace(head=NETWORK.head.replace(biases=tuple(0.3 * np.random.default_rng(i).normal(size=b.shape) for i, b in enumerate(NETWORK.head.biases))))
ISOLATED = jp.IsolatedAtoms({"H": 0.5, "O": -1.0})
SCALE, NOISE = 0.7, jp.Properties(energy=0.05, forces=0.2)


def frames(n, seed=1):
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = Atoms("OHH", positions=[[0, 0, 0], [1.2, 0, 0], [-0.3, 1.1, 0.2]] + 0.3 * rng.normal(size=(3, 3)))
        atoms.info["energy"], atoms.arrays["forces"] = float(rng.normal()), rng.normal(size=(3, 3))
        out.append(atoms)
    return out


GRAPH = jp.from_atoms(frames(9)[-1], 3.0)


@pytest.fixture(scope="module")
def posterior():
    data = jp.Dataset.from_atoms(frames(4), 3.0, sigma=NOISE)
    return jp.fit.last_layer(NETWORK + ISOLATED, data, scale=SCALE)


@quick_jit
def rows(graph):
    """Derivatives of energy and forces of the network by its last weights and biases, [10, 2 · 5]; written without any linear model."""

    def predicted(last):
        head = NETWORK.head
        head = head.replace(weights=(*head.weights[:-1], last[:, :-1, None]), biases=(*head.biases[:-1], last[:, -1:]))
        found = jp.evaluate(NETWORK.replace(head=head), graph)
        return jnp.concatenate([found.energy[None], found.forces.reshape(-1)])

    return jax.jacfwd(predicted)(jnp.zeros((2, 5))).reshape(10, -1)


def dense():
    """Posterior mean and covariance of the last layer."""
    a, y, sigma = [], [], np.concatenate([[NOISE.energy], np.full(9, NOISE.forces)])
    for atoms in frames(4):
        a.append(np.asarray(rows(jp.from_atoms(atoms, 3.0, max_neighbors=2))) / sigma[:, None])
        y.append(np.concatenate([[atoms.info["energy"] - 2 * 0.5 + 1.0], atoms.arrays["forces"].ravel()]) / sigma)
    a, y = np.concatenate(a), np.concatenate(y)
    covariance = np.linalg.inv(a.T @ a + np.eye(10) / SCALE**2)
    return covariance @ a.T @ y, covariance


def test_predictions_are_those_of_the_network(posterior):
    model = posterior.model
    one, other = (quick_jit(jp.evaluate)(m, GRAPH) for m in (model, NETWORK + ISOLATED))
    for name in ("energy", "forces", "virial"):
        assert relative(getattr(one, name), getattr(other, name)) < 1e-12
    assert isinstance(model.terms[0].descriptor, jp.heads.HiddenLayer) and model.terms[0].descriptor.labels() == (0, 1, 2, 3, "1")


def test_dense_bayesian_regression(posterior):
    mean, expected = dense()
    c = np.asarray(posterior.factor)
    np.testing.assert_allclose(c @ c.T, expected, rtol=0, atol=1e-9 * np.max(expected))
    a = np.asarray(rows(GRAPH))
    np.testing.assert_allclose(quick_jit(jp.fit.Posterior.covariance)(posterior, GRAPH), a @ expected @ a.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(quick_jit(jp.fit.Posterior.variance)(posterior, GRAPH), (a @ expected @ a.T)[0, 0], rtol=1e-9)
    again = jp.fit.linear(posterior.model, jp.Dataset.from_atoms(frames(4), 3.0, sigma=NOISE))
    np.testing.assert_allclose(again.terms[0].head.coefficients, mean, rtol=0, atol=1e-9 * np.max(np.abs(mean)))
    assert posterior.samples(jax.random.key(0), 3).shape == (3, 10)
    pool = jp.Dataset.from_atoms(frames(12)[4:], 3.0, sigma=jp.Properties(energy=0.05))
    assert len(set(jp.fit.most_uncertain(posterior, pool, 3))) == 3


def test_coverage_of_data_drawn_from_the_prior(posterior):
    """Weights from the prior, labels with noise, and the posterior mean of each draw: predicted deviations need no factor."""
    training, rng = [jp.from_atoms(a, 3.0, max_neighbors=2) for a in frames(4)], np.random.default_rng(5)
    sigma = np.concatenate([[NOISE.energy], np.full(9, NOISE.forces)])
    a = np.concatenate([np.asarray(rows(g)) / sigma[:, None] for g in training])
    test = [jp.from_atoms(x, 3.0, max_neighbors=2) for x in frames(12, seed=2)]
    energies = np.stack([np.asarray(rows(g))[0] for g in test])
    deviations = np.sqrt([float(quick_jit(jp.fit.Posterior.variance)(posterior, g)) for g in test])
    _, expected = dense()
    errors = []
    for _ in range(400):
        w = SCALE * rng.normal(size=10)
        mean = expected @ a.T @ (a @ w + rng.normal(size=len(a)))
        errors.append(energies @ (mean - w))
    errors, deviations = np.array(errors), np.broadcast_to(deviations, (400, len(test)))
    assert abs(jp.fit.calibration(errors, deviations) - 1) < 0.05
    for level, share in jp.fit.coverage(errors, deviations).items():
        assert abs(share - level) < 0.025, (level, share)


def test_jacobian():
    descriptor = condense(jp.heads.HiddenLayer(SOAP, NETWORK.head))
    env = jax.tree_util.tree_map(lambda x: x[1], jp.environments(GRAPH, descriptor.reach, SPECIES))
    value, jacobian = quick_jit(lambda m, e: with_slopes(m, e))(descriptor, env)
    expected, pushed = quick_jit(lambda m, e: with_slopes.dispatch(object)(m, e))(descriptor, env)
    assert relative(value, expected) < 1e-14 and relative(jacobian, pushed) < 1e-12


def test_without_hidden_layers():
    """A network of one layer is linear in its scaled features."""
    plain = jp.AtomicPotential(SOAP, jp.MLP((), shift=np.full((2, SOAP.n_features), 0.1), scale=np.full((2, SOAP.n_features), 2.0)))
    features = jp.heads.HiddenLayer(SOAP, plain.head)
    assert features.n_features == SOAP.n_features + 1
    both = quick_jit(lambda one, other, g: (one(g), other(g)))(features, SOAP, GRAPH)
    np.testing.assert_allclose(both[0][:, :-1], (both[1] - 0.1) / 2, rtol=1e-12)


def test_refusals():
    data = jp.Dataset.from_atoms(frames(2), 3.0, sigma=NOISE)
    with pytest.raises(TypeError, match="IsolatedAtoms has no MLP"):
        jp.fit.last_layer(ISOLATED, data)
    with pytest.raises(TypeError, match="expected a descriptor of one atom's surroundings and an MLP, got SOAP and Linear"):
        jp.heads.HiddenLayer(SOAP, jp.Linear())
    with pytest.raises(TypeError, match="got TwoBody and MLP"):
        jp.heads.HiddenLayer(jp.descriptors.TwoBody(SPECIES, jp.CosineCutoff(3.0)), jp.MLP((2,)))
