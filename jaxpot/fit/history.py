"""Errors seen while training: summed on the device, kept as columns, drawn."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Batch, Dataset
from jaxpot.fit.rows import flat, residuals
from jaxpot.potentials.base import Potential, evaluate

Array = jax.Array

History = dict[str, list[float]]
PROPERTIES = ("energy", "forces", "virial")
_AXES = {"energy": ("energy (meV/atom)", 1e3), "forces": ("force component (eV/Å)", 1.0), "virial": ("virial component (meV/atom)", 1e3)}


def sums(potential: Potential, structure: Batch) -> Array:
    """Of one structure, shape [4, 3]: squared errors in units of the noise levels, their number and 0; then, for energy per atom, force
    components and virial per atom (nine components), |error|, error² and how many there are."""
    graph = structure.graphs
    predicted = evaluate(potential, graph)
    target, weight = residuals(None, structure, potential)
    error = (flat(predicted, graph.numbers.shape[0], potential) - target) * weight
    rows = [[jnp.sum(error**2), jnp.sum(weight > 0), 0]]
    n = jnp.maximum(jnp.sum(graph.numbers > 0), 1)
    for name, per_atom in zip(PROPERTIES, (n, 1, n), strict=True):
        present = jnp.isfinite(getattr(structure.sigma, name))
        error = (getattr(predicted, name) - jnp.where(present, getattr(structure.targets, name), 0)) / per_atom
        error = jnp.where(present, error, 0)
        rows.append([jnp.sum(jnp.abs(error)), jnp.sum(error**2), jnp.sum(present)])
    return jnp.stack([jnp.stack([jnp.asarray(x, jnp.result_type(float)) for x in row]) for row in rows])


def labels_of(data: Dataset) -> tuple[str, ...]:
    """The properties of which some structure has a label."""
    return tuple(name for name in PROPERTIES if any(np.any(np.isfinite(getattr(batch.sigma, name))) for batch in data.batches))


def columns(total: np.ndarray, labels: tuple[str, ...], prefix: str = "") -> dict[str, float]:
    """What a history says of such sums over structures."""
    with np.errstate(invalid="ignore"):  # no label of this property since the entry before
        mean = total[:, :2] / np.where(total[:, 2:] > 0, total[:, 2:], np.nan)
    out = {f"{prefix}loss": float(total[0, 0] / total[0, 1])}
    for name, (absolute, square) in zip(PROPERTIES, mean[1:].tolist(), strict=True):
        if name in labels:
            out |= {f"{prefix}{name}_mae": absolute, f"{prefix}{name}_rmse": square**0.5}
    return out


def plot_history(history: Mapping[str, list[float]], *, quantity: str = "rmse") -> Any:
    """Loss and errors over steps, of training and validation, on logarithmic axes.

    Args:
      history: from `fit.train`, or read back from JSON.
      quantity: "rmse" or "mae".

    Returns:
      A matplotlib Figure; write `figure.savefig("history.png")`.

    Raises:
      ValueError: for another quantity, or a history without entries.
    """
    from matplotlib.figure import Figure

    if quantity not in ("rmse", "mae"):
        raise ValueError(f'plot_history: quantity must be "rmse" or "mae", got {quantity!r}')
    if not history.get("step"):
        raise ValueError("plot_history: the history has no entries")
    panels = {"loss": ("squared error / noise², per label", 1.0)}
    panels |= {f"{name}_{quantity}": (f"{quantity.upper()}, {label}", factor) for name, (label, factor) in _AXES.items() if f"{name}_{quantity}" in history}
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for axis, (name, (label, factor)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for column, who in ((name, "training"), (f"validation_{name}", "validation")):
            if column in history:
                axis.plot(history["step"], factor * np.asarray(history[column], float), label=who)
        axis.set(xlabel="step", ylabel=label, yscale="log")
        axis.legend()
    return figure
