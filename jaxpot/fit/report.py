"""Errors of a model on a data set, by property and configuration type."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxpot.data import TENSORS, Dataset
from jaxpot.fit.rows import explain
from jaxpot.potentials.base import Model, evaluate
from jaxpot.potentials.tensors import TensorModel
from jaxpot.properties import Properties

_evaluate = jax.jit(evaluate)
UNITS = {"energy": "eV/atom", "forces": "eV/Å", "virial": "eV/atom"} | dict.fromkeys(TENSORS, "unit of the labels")


def predict(model: Model, data: Dataset, *, progress: bool | None = None) -> list[Properties]:
    """What a model predicts of every frame, in the frames' order, as NumPy arrays.

    Energy (eV), forces [N, 3] (eV/Å) and virial [3, 3] (eV); of a model of tensors its property, in the unit of its labels.

    Raises:
      ValueError: for a frame whose prediction is not finite, with `diagnose`'s reason.
    """
    from jaxpot.fit.linear import _bar, ready

    out: list[Properties | None] = [None] * len(data)
    at = ready(model)
    for frame, structure in _bar(data, progress, "evaluate"):
        found = jax.tree_util.tree_map(np.asarray, _evaluate(at, structure.graphs))
        if found.forces is not None:
            found = found.replace(forces=found.forces[: data.n_atoms[frame]])
        if isinstance(model, TensorModel) and model.per_atom:
            found = found.replace(**{model.field: getattr(found, model.field)[: data.n_atoms[frame]]})
        if not all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(found)):
            raise ValueError(explain(model, structure, frame))
        out[frame] = found
    return out


def report(model: Model, data: Dataset, *, predictions: list[Properties] | None = None, progress: bool | None = None) -> dict:
    """MAE and RMSE by property and configuration type.

    Of the energy per atom, force components, virial per atom (its nine components) and components of tensors (all 3^rank of them).
    Only labels that the data hold and the model predicts count.

    Args:
      model: any potential, or a model of tensors.
      data: labelled structures.
      predictions: from `predict`, if at hand.

    Returns:
      configuration type (and "all") -> property -> {"mae", "rmse", "n", "unit"}; n counts numbers compared. Ready for JSON.
    """
    predictions = predict(model, data, progress=progress) if predictions is None else predictions
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    for frame, structure in data.structures():
        n = data.n_atoms[frame]
        for name, per_atom in (("energy", n), ("forces", 1), ("virial", n), *((name, 1) for name in TENSORS)):
            target, predicted = getattr(structure.targets, name), getattr(predictions[frame], name)
            if target is None or predicted is None:
                continue
            target, sigma = np.asarray(target), np.asarray(getattr(structure.sigma, name))
            if name == "forces" or (name == "tensor" and sigma.ndim):
                target, sigma = target[:n], sigma[:n]
            difference = ((predicted - target) / per_atom)[np.isfinite(sigma)]
            for group in ("all", data.config_types[frame]):
                errors.setdefault(group, {}).setdefault(name, []).append(difference.reshape(-1))
    return {group: {name: _summary(name, np.concatenate(e)) for name, e in by.items() if sum(map(len, e))} for group, by in errors.items()}


def _summary(name: str, error: np.ndarray) -> dict:
    return {
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "n": int(error.size),
        "unit": UNITS[name],
    }


def table(errors: Mapping) -> str:
    """A report for people: one line per configuration type."""
    width = max(len(group) for group in errors)
    heads = {"energy": ("energy meV/atom", 1e3), "forces": ("force eV/Å", 1), "virial": ("virial meV/atom", 1e3)}
    heads |= {name: (name, 1) for name in TENSORS}
    columns = [name for name in heads if any(name in by for by in errors.values())]
    lines = [" " * width + "".join(f"  {heads[c][0] + ' MAE / RMSE':>28}" for c in columns)]
    for group in ["all", *sorted(set(errors) - {"all"})]:
        cells = []
        for c in columns:
            e = errors[group].get(c)
            cells.append(f"  {'–':>28}" if e is None else f"  {e['mae'] * heads[c][1]:>15.4f} / {e['rmse'] * heads[c][1]:>10.4f}")
        lines.append(f"{group:<{width}}" + "".join(cells))
    return "\n".join(lines)
