"""Errors seen while training: summed on the device, kept as columns, drawn."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Batch
from jaxpot.fit.rows import comparable, flat, held, residuals
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.properties import OBSERVABLES

Array = jax.Array

History = dict[str, list[float]]
SUMS = (1 + len(OBSERVABLES), 3)


def sums(potential: Potential, structure: Batch) -> Array:
    """Of one structure, shape SUMS: squared errors in units of the noise levels, their number and 0; then, for all components of every
    observable (per atom where its errors are), |error|, error² and how many there are."""
    graph = structure.graphs
    predicted = evaluate(potential, graph)
    structure = comparable(structure, predicted, potential)
    target, weight = residuals(None, structure, potential)
    error = (flat(predicted, structure.sigma, potential) - target) * weight
    rows = [[jnp.sum(error**2), jnp.sum(weight > 0), 0]]
    n, there = jnp.maximum(jnp.sum(graph.numbers > 0), 1), held(structure.sigma)
    for name, observable in OBSERVABLES.items():
        if name not in there:
            rows.append([0, 0, 0])
            continue
        target, sigma = getattr(structure.targets, name), getattr(structure.sigma, name)
        present = jnp.broadcast_to(jnp.isfinite(sigma).reshape((*sigma.shape, *(1,) * (target.ndim - sigma.ndim))), target.shape)
        error = (getattr(predicted, name) - jnp.where(present, target, 0)) / (n if observable.by_atom else 1)
        error = jnp.where(present, error, 0)
        rows.append([jnp.sum(jnp.abs(error)), jnp.sum(error**2), jnp.sum(present)])
    return jnp.stack([jnp.stack([jnp.asarray(x, jnp.result_type(float)) for x in row]) for row in rows])


def columns(total: np.ndarray, labels: tuple[str, ...], prefix: str = "") -> dict[str, float]:
    """What a history says of such sums over structures."""
    with np.errstate(invalid="ignore"):  # no label of this property since the entry before
        mean = total[:, :2] / np.where(total[:, 2:] > 0, total[:, 2:], np.nan)
    out = {f"{prefix}loss": float(total[0, 0] / total[0, 1])}
    for name, (absolute, square) in zip(OBSERVABLES, mean[1:].tolist(), strict=True):
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
    for name, observable in OBSERVABLES.items():
        if f"{name}_{quantity}" in history:
            unit, factor = observable.shown or (observable.error_unit, 1.0)
            panels[f"{name}_{quantity}"] = (f"{quantity.upper()}, {observable.component} ({unit})", factor)
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for axis, (name, (label, factor)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for column, who in ((name, "training"), (f"validation_{name}", "validation")):
            if column in history:
                axis.plot(history["step"], factor * np.asarray(history[column], float), label=who)
        axis.set(xlabel="step", ylabel=label, yscale="log")
        axis.legend()
    return figure
