"""Features of order one for networks."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.rows import explain
from jaxpot.graph import Graph, only
from jaxpot.heads.mlp import MLP
from jaxpot.passes import Rules
from jaxpot.potentials.atomic import AtomicPotential

M = TypeVar("M")
Array = jax.Array

_CONSTANT = 1e3  # a deviation of this many units of round-off is none
_FAINT = 1e-12  # nor is one of this share of the widest: divided by it, a feature means nothing, and overflows a little outside of the data


def standardise(model: M, data: Dataset) -> M:
    r"""Sets `shift` and `scale` of every MLP to mean and standard deviation of the training features, element of the centre by element.

    .. math:: \mu_{zf} = \langle x_{if} \rangle_{z_i = z}, \qquad s_{zf}^2 = \langle (x_{if} - \mu_{zf})^2 \rangle_{z_i = z}

    A feature that is constant in the data, or varies 1e-12 times as much as another, and those of an element that the data lack, get scale 1: a
    network then sees zero where training did, and the plain deviation elsewhere. Weights are not changed, so do this before training.

    Args:
      model: a potential, a Sum or a Committee; what has no MLP stays as it is.
      data: labelled structures, of which only the geometry counts.

    Raises:
      ValueError: if no part of the model has an MLP, or features of a structure are not finite, with `diagnose`'s reason.
    """
    rules, found = Rules(), []
    rules.rule(AtomicPotential, head=MLP)(lambda term: found.append(term) or _standardised(term, data))
    new = rules(model)
    if not found:
        raise ValueError(f"fit.standardise: {type(model).__name__} has no MLP; other heads take features as they are")
    return new


def _standardised(term: AtomicPotential, data: Dataset) -> AtomicPotential:
    n_species, n_features = len(term.species), term.descriptor.n_features
    count, mean, square = np.zeros((n_species, 1)), np.zeros((n_species, n_features)), np.zeros((n_species, n_features))
    largest = np.zeros((n_species, n_features))
    for frame, structure in data.structures():
        own_count, own_mean, own_square, own_largest = (np.asarray(x, float) for x in _moments(term, structure.graphs))
        if not np.all(np.isfinite(own_square)):
            raise ValueError(explain(term, structure, frame))
        total = np.maximum(count + own_count, 1)
        # merged so that nothing is lost where a deviation is small beside the mean
        square += own_square + (own_mean - mean) ** 2 * count * own_count / total
        mean += (own_mean - mean) * own_count / total
        count, largest = count + own_count, np.maximum(largest, own_largest)
    deviation = np.sqrt(square / np.maximum(count, 1))
    dtype = np.asarray(term.head.weights[0]).dtype
    widest = np.max(deviation, axis=1, keepdims=True, initial=0)
    varies = deviation > np.maximum(_CONSTANT * np.finfo(dtype).eps * largest, _FAINT * widest)
    return term.replace(head=term.head.replace(shift=mean.astype(dtype), scale=np.where(varies, deviation, 1.0).astype(dtype)))


@jax.jit
def _moments(term: AtomicPotential, graph: Graph) -> tuple[Array, Array, Array, Array]:
    """Of each element: centres [S, 1]; mean, sum of squared deviations and largest size of their features, [S, F]."""
    x, species, weight = term.weighted(only(graph, term.species))
    own = jnp.where(weight != 0, jax.nn.one_hot(species, len(term.species), dtype=x.dtype, axis=0), 0)[:, :, None]
    count, x = jnp.sum(own, axis=1), x[None]
    mean = jnp.sum(own * x, axis=1) / jnp.maximum(count, 1)
    return count, mean, jnp.sum(own * (x - mean[:, None]) ** 2, axis=1), jnp.max(own * jnp.abs(x), axis=1)
