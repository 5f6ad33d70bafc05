"""Committees of fits to randomly weighted data: for models that have no posterior, or whose posterior is not to be trusted."""

from collections.abc import Callable

import jax
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.solver import linear
from jaxpot.potentials.base import Potential
from jaxpot.potentials.committee import Committee

Array = jax.Array


def bootstrap(model: Potential, data: Dataset, n: int, *, key: Array, fit: Callable[[Potential, Dataset], Potential] = linear) -> Committee:
    r"""Fits a model n times, each time with other random weights of the structures (the Bayesian bootstrap).

    .. math:: \sigma_s^2 \to \sigma_s^2 / w_s, \qquad w \sim S \cdot \mathrm{Dirichlet}(1, \dots, 1)

    Args:
      model: what is fitted.
      data: labels with noise levels, S structures.
      n: members, at least two.
      key: JAX random key.
      fit: (model, data) -> fitted model; `fit.linear` unless another is given.

    Returns:
      The Committee; `committee.spread(graph)` are the standard deviations.

    Raises:
      ValueError: for fewer than two members.

    References:
      Rubin, "The Bayesian bootstrap", Ann. Statist. 9, 130 (1981).
    """
    if n < 2:
        raise ValueError(f"fit.bootstrap: a committee has at least two members, got n = {n}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    return Committee(tuple(fit(model, _weighted(data, len(data) * rng.dirichlet(np.ones(len(data))))) for _ in range(n)))


def _weighted(data: Dataset, weights: np.ndarray) -> Dataset:
    """The same data, with every structure counted so many times."""
    batches = []
    for batch, ids in zip(data.batches, data.index, strict=True):
        own = 1 / np.sqrt(np.where(np.asarray(ids) < 0, 1.0, weights[np.asarray(ids)]))
        batches.append(batch.replace(sigma=jax.tree_util.tree_map(lambda s, own=own: s * own.reshape(-1, *(1,) * (np.ndim(s) - 1)), batch.sigma)))
    return data.replace(batches=tuple(batches))
