"""What more elements cost: counted operations of the program, not seconds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpot import ACE, SOAP, Density, Environment, TotalDegree
from jaxpot.cutoffs import PowerCutoff
from jaxpot.descriptors.base import features
from jaxpot.passes import prepare
from jaxpot.radial import Agnesi
from jaxpot.units import SYMBOLS

CHANNELS = 3


def descriptor(kind, n_species):
    species, rng = tuple(SYMBOLS[1 : n_species + 1]), np.random.default_rng(0)
    make = functools.partial(Density, species, PowerCutoff(4.0), Agnesi(4, nearest=2.0), 3, sigma=None, center_weight=0.0)
    if kind == "tensor-reduced":
        return ACE(make(mixing=rng.normal(size=(n_species, 4, CHANNELS))), TotalDegree((3, 3, 4, 4)), tensor_reduced=True)
    if kind == "one-hot":
        return SOAP(make())
    alchemical = make(channels=rng.normal(size=(n_species, CHANNELS)))
    return SOAP(alchemical, normalize=False) if kind == "alchemical SOAP" else ACE(alchemical, TotalDegree((3, 3, 2)))


def operations(kind, n_species, n_neighbors):
    made, n = descriptor(kind, n_species), 8
    shape = (n, n_neighbors)
    envs = Environment(
        vectors=jnp.ones((*shape, 3)), species=jnp.zeros(shape, int), center=jnp.zeros(n, int), index=jnp.zeros(shape, int), mask=jnp.ones(shape, bool)
    )

    return jax.jit(lambda made, envs: features(prepare(made), envs)).lower(made, envs).cost_analysis()["flops"]


@pytest.mark.parametrize("kind", ["alchemical SOAP", "alchemical ACE", "tensor-reduced"])
def test_elements_are_free_and_neighbors_linear(kind):
    costs = {s: operations(kind, s, 20) for s in (1, 4, 16, 64)}
    assert max(costs.values()) <= 1.05 * min(costs.values()), costs
    assert operations(kind, 16, 40) <= 2.05 * costs[16]
    assert len({descriptor(kind, s).n_features for s in costs}) == 1


def test_one_hot_channels_cost_the_square():
    """What the mixed channels avoid; without it the test above would also pass for a program that does nothing."""
    assert operations("one-hot", 16, 20) > 8 * operations("one-hot", 4, 20)
