"""Networks per element: a layer by hand, activations by their formulas, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpot import GTO, MLP, SOAP, AtomicPotential, CosineCutoff, Density
from jaxpot.math.activations import CELU, Activation, Cosine, Exponential, Gaussian, Harmonic, Identity, Logistic, ReLU, SiLU, Softplus, Tanh

SOAP_ = SOAP(Density(("C", "Si"), CosineCutoff(3.0, width=0.8), GTO(1), 1, sigma=0.5))


def test_by_hand():
    head = AtomicPotential(SOAP_, MLP((3, 2), shift=np.full((2, 6), 0.1), scale=np.linspace(0.5, 2, 12).reshape(2, 6), seed=4)).head
    rng = np.random.default_rng(0)
    head = head.replace(biases=tuple(rng.normal(size=b.shape) for b in head.biases))
    x, species = rng.normal(size=(4, 6)), np.array([0, 1, 1, 0])
    for i, s in enumerate(species):
        h = (x[i] - head.shift[s]) / head.scale[s]
        h = np.tanh(h @ head.weights[0][s] + head.biases[0][s])
        h = np.tanh(h @ head.weights[1][s] + head.biases[1][s])
        assert np.isclose(head(jnp.asarray(x), jnp.asarray(species))[i], (h @ head.weights[2][s] + head.biases[2][s])[0], rtol=1e-13)


def test_an_activation_for_each_layer():
    one, other = (AtomicPotential(SOAP_, MLP((3, 2), activation=a)).head for a in (Tanh(), (Tanh(), SiLU())))
    x, species = jnp.ones((1, 6)), jnp.zeros(1, int)
    h = np.tanh(np.ones(6) @ other.weights[0][0])
    h = ACTIVATIONS["silu"][1](h @ other.weights[1][0])
    assert np.isclose(other(x, species)[0], (h @ other.weights[2][0])[0], rtol=1e-13) and other(x, species) != one(x, species)
    with pytest.raises(ValueError, match="one for each of 2 hidden layers, got 1"):
        MLP((3, 2), activation=(Tanh(),))


def test_initial_weights_keep_the_scale_of_their_inputs():
    head = AtomicPotential(SOAP_, MLP((400, 400))).head
    assert [round(float(np.std(w) * w.shape[1] ** 0.5), 1) for w in head.weights] == [1.0, 1.0, 1.0]
    assert AtomicPotential(SOAP_, MLP((400, 400))) == AtomicPotential(SOAP_, MLP((400, 400)))
    assert AtomicPotential(SOAP_, MLP((4,), seed=1)) != AtomicPotential(SOAP_, MLP((4,)))


ACTIVATIONS = {
    "identity": (Identity(), lambda x: x),
    "tanh": (Tanh(), np.tanh),
    "softplus": (Softplus(), lambda x: np.log(1 + np.exp(x))),
    "silu": (SiLU(), lambda x: x / (1 + np.exp(-x))),
    "logistic": (Logistic(), lambda x: 1 / (1 + np.exp(-x))),
    "gaussian": (Gaussian(), lambda x: np.exp(-(x**2) / 2)),
    "cosine": (Cosine(), np.cos),
    "exponential": (Exponential(), lambda x: np.exp(-x)),
    "harmonic": (Harmonic(), np.square),
    "relu": (ReLU(), lambda x: np.maximum(x, 0)),
    "celu": (CELU(0.1), lambda x: np.where(x > 0, x, 0.1 * (np.exp(x / 0.1) - 1))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    activation, formula = ACTIVATIONS[name]
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(activation(jnp.asarray(x)), formula(x), rtol=1e-14, atol=1e-15)
    assert activation(jnp.float32(0.3)).dtype == jnp.float32


def test_refusals():
    with pytest.raises(ValueError, match=r"such as \(16, 16\), got \(16, 0\)"):
        MLP((16, 0))
    with pytest.raises(ValueError, match="together, or neither"):
        MLP((2,), weights=(np.ones((1, 2, 2)),))
    with pytest.raises(ValueError, match=r"shift must have shape \[S, F\], got \(6,\)"):
        AtomicPotential(SOAP_, MLP((2,), shift=np.ones(6)))
    with pytest.raises(ValueError, match=r"expected weights of shapes \[\(2, 6, 3\), \(2, 3, 1\)\]"):
        AtomicPotential(SOAP_, MLP((3,), weights=(np.ones((2, 5, 3)), np.ones((2, 3, 1))), biases=(np.ones((2, 3)), np.ones((2, 1)))))
    with pytest.raises(TypeError, match="Activation is an interface"):
        Activation()
