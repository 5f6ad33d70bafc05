"""Weighted rows and right-hand sides of one structure, shared by the solver and the evidence."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Batch
from jaxpot.potentials.base import Potential, Properties, Sum, evaluate, terms_of

Array = jax.Array

_UPPER = np.triu_indices(3)  # a virial is six data, each counted once


def fixed_part(model: Potential, linear: tuple[int, ...]) -> Potential | None:
    """The terms whose predictions are subtracted from the data before the fit."""
    terms = tuple(t for i, t in enumerate(terms_of(model)) if i not in linear)
    return Sum(terms) if terms else None


def flat(properties: Properties, n_atoms: int) -> Array:
    """Energy, forces and the upper triangle of the virial along one leading axis, [1 + 3N + 6, ...]."""
    energy, forces, virial = properties.energy, properties.forces, properties.virial
    tail = energy.shape
    upper = virial[_UPPER[0], _UPPER[1]]
    return jnp.concatenate([energy.reshape(1, *tail), forces.reshape(3 * n_atoms, *tail), upper.reshape(6, *tail)])


def residuals(fixed: Potential | None, data: Batch) -> tuple[Array, Array]:
    """What the linear terms must explain, and 1/sigma; both [1 + 3N + 6], zero where a label is missing."""
    n = data.graphs.numbers.shape[0]
    target, sigma = flat(data.targets, n), flat(data.sigma, n)
    if fixed is not None:
        target = target - flat(evaluate(fixed, data.graphs), n).astype(target.dtype)
    present = jnp.isfinite(sigma)
    weight = jnp.where(present, 1 / jnp.where(present, sigma, 1), 0)
    return jnp.where(present, target, 0), weight


def explain(model: Potential, data: Batch, frame: int) -> str:
    """Why rows of this structure are not finite."""
    from jaxpot.potentials.base import diagnose

    causes = diagnose(model, data.graphs) or ("the model itself gives NaN",)
    return f"frame {frame}: " + "; ".join(causes)
