"""Weighted rows and right-hand sides of one structure, shared by the solver and the evidence.

Each independent component of a tensor is one datum: labels are projected on the tensors that have the model's symmetry, in an
orthonormal basis, so isotropic noise stays isotropic and neither fit nor evidence depends on how the axes lie.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.data import TENSORS, Batch, Dataset
from jaxpot.math.cartesian import spherical_basis
from jaxpot.potentials.base import Model, Potential, Sum, evaluate, terms_of
from jaxpot.potentials.tensors import TensorModel
from jaxpot.properties import Properties

Array = jax.Array

_ASYMMETRY = 1e-3  # relative; smaller deviations from the symmetry of a label are round-off of who wrote it
_UPPER = np.triu_indices(3)  # a virial is six data, each counted once


def fixed_part(model: Potential, linear: tuple[int, ...]) -> Potential | None:
    """The terms whose predictions are subtracted from the data before the fit."""
    terms = tuple(t for i, t in enumerate(terms_of(model)) if i not in linear)
    return Sum(terms) if terms else None


def flat(properties: Properties, n_atoms: int, model: Model) -> Array:
    """What a model predicts of a structure along one leading axis, [n, ...].

    For a potential energy, forces and the upper triangle of the virial, n = 1 + 3N + 6; for a tensor its independent components.
    """
    if isinstance(model, TensorModel):
        return model.components(getattr(properties, model.field))
    energy, forces, virial = properties.energy, properties.forces, properties.virial
    tail = energy.shape
    upper = virial[_UPPER[0], _UPPER[1]]
    return jnp.concatenate([energy.reshape(1, *tail), forces.reshape(3 * n_atoms, *tail), upper.reshape(6, *tail)])


def residuals(fixed: Potential | None, data: Batch, model: Model) -> tuple[Array, Array]:
    """What the linear terms must explain, and 1/sigma; both [n] as in `flat`, zero where a label is missing."""
    n = data.graphs.numbers.shape[0]
    target = flat(data.targets, n, model)
    if isinstance(model, TensorModel):
        level = jnp.atleast_1d(getattr(data.sigma, model.field))
        sigma = jnp.repeat(level, target.shape[0] // level.shape[0])
    else:
        sigma = flat(data.sigma, n, model)
    if fixed is not None:
        target = target - flat(evaluate(fixed, data.graphs), n, model).astype(target.dtype)
    present = jnp.isfinite(sigma)
    weight = jnp.where(present, 1 / jnp.where(present, sigma, 1), 0)
    return jnp.where(present, target, 0), weight


def check_labels(model: Model, data: Dataset) -> None:
    """Refuses data that cannot be those of the model: a fit would not notice.

    Raises:
      ValueError: if the data have no labels of what the model predicts, labels of another rank, per atom instead of per structure
        or the reverse, or not symmetric where the model is.
    """
    if not isinstance(model, TensorModel):
        tensors = [name for name in TENSORS if any(getattr(batch.sigma, name) is not None for batch in data.batches)]
        levels = [getattr(batch.sigma, name) for batch in data.batches for name in ("energy", "forces", "virial")]
        if tensors and all(is_concrete(x) for x in levels) and not any(np.any(np.isfinite(x)) for x in levels):
            raise ValueError(f"the data have labels of {', '.join(tensors)} only, and {type(model).__name__} predicts energy, forces and virial")
        return
    name, owner, rank = model.field, type(model).__name__, model.rank
    for batch, ids in zip(data.batches, data.index, strict=True):
        target, sigma = getattr(batch.targets, name), getattr(batch.sigma, name)
        if target is None:
            raise ValueError(
                f"the data have no labels of {name}, which {owner} predicts; write "
                f'Dataset.from_atoms(frames, cutoff, sigma=Properties({name}=0.1), keys={{"{name}": ...}})'
            )
        per_atom, found = np.ndim(sigma) == 2, np.ndim(target) - np.ndim(sigma)
        if (per_atom, found) != (model.per_atom, rank):
            words = ["of rank {}, one per {}".format(r, "atom" if p else "structure") for p, r in ((per_atom, found), (model.per_atom, rank))]
            raise ValueError(f"{name} labels are {words[0]}; {owner} with groups {model.groups} is {words[1]}")
        if is_concrete(target) and is_concrete(sigma):
            axes = tuple(range(-rank, 0))
            basis = spherical_basis(model.groups)
            rows = np.where(np.isfinite(sigma)[(..., *(None,) * rank)], target, 0).reshape(*np.shape(sigma), -1)
            rest = np.abs(rows - rows @ basis.T @ basis).reshape(np.shape(target))
            bad = np.argwhere(np.max(rest, axis=axes) > _ASYMMETRY * np.max(np.abs(rows), axis=-1))
            if len(bad):
                raise ValueError(
                    f"frame {ids[bad[0][0]]}: the {name} label differs by up to {np.max(rest[tuple(bad[0])]):.3g} from one with the symmetry "
                    f"{model.groups} of {owner}; symmetrise the labels, or choose a model that holds them (for a polarizability "
                    "antisymmetric=LambdaSOAP(density, lam=1, pseudo=True))"
                )


def explain(model: Potential, data: Batch, frame: int) -> str:
    """Why rows of this structure are not finite."""
    from jaxpot.potentials.base import diagnose

    causes = diagnose(model, data.graphs) or ("the model itself gives NaN",)
    return f"frame {frame}: " + "; ".join(causes)
