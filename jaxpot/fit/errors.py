"""Errors of a model on a data set, by property and configuration type."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.rows import explain, held, is_per_atom
from jaxpot.fit.spread import deviations
from jaxpot.noise import BY_TYPE, every_label
from jaxpot.potentials.base import Model, evaluate
from jaxpot.potentials.combinations import unseen, warn_of_unseen
from jaxpot.properties import OBSERVABLES, Properties

_evaluate = jax.jit(evaluate)
_EXACTLY = 1e-6  # of what is left of all types; forces that symmetry makes zero are met to round-off
_NINE_TENTHS = 1.6449  # deviations, within which nine tenths of a Gaussian lie


def predict(model: Model, data: Dataset | Iterable[Any], *, progress: bool | None = None) -> list[Properties]:
    """What a model predicts of every frame, in the frames' order, as NumPy arrays; of what is one per atom N rows, without padding.

    Args:
      model: any potential, or a model of tensors.
      data: structures; a Dataset, or frames.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Raises:
      ValueError: for a frame whose prediction is not finite, with `diagnose`'s reason.

    Warns:
      UserWarning: for combinations of elements around an atom that no structure of the fit had.
    """
    from jaxpot.fit.solver import _bar, ready

    data = Dataset.of(model, data, name="fit.predict")
    out: list[Properties | None] = [None] * len(data)
    at, new = ready(model), {}
    for frame, structure in _bar(data, progress, "evaluate"):
        found = jax.tree_util.tree_map(np.asarray, _evaluate(at, structure.graphs))
        rows = {name: value for name in held(found) if is_per_atom(name, value := getattr(found, name), model)}
        found = found.replace(**{name: value[: data.n_atoms[frame]] for name, value in rows.items()})
        if not all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(found)):
            raise ValueError(explain(model, structure, frame))
        out[frame] = found
        new |= dict.fromkeys(unseen(model, structure.graphs))
    warn_of_unseen(tuple(new), "fit.predict")
    return out


def report(
    model: Model | Posterior,
    data: Dataset | Iterable[Any],
    *,
    keys: Mapping[str, str] | None = None,
    predictions: list[Properties] | None = None,
    progress: bool | None = None,
) -> dict:
    """MAE and RMSE by property and configuration type.

    Of the energy per atom, atomic energies, force components, virial per atom (its nine components), charges and components of tensors (all
    3^rank of them). Only labels that the data hold and the model predicts count; `not_predicted` names the others.

    Args:
      model: any potential, or a model of tensors; or the posterior of a linear potential, whose deviations are compared with the errors then.
      data: labelled structures; of frames all labels count. Their noise levels enter the deviations.
      keys: with frames, where labels are, as of `Dataset.from_atoms`.
      predictions: from `predict`, if at hand.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      configuration type (and "all") -> property -> {"mae", "rmse", "n", "unit"}; n counts numbers compared. Of a posterior "coverage" as well: the
      share of labels within 1.645 deviations, nine tenths if these are right. Ready for JSON.
    """
    spread = model if isinstance(model, Posterior) else None
    model = model.model if isinstance(model, Posterior) else model
    if not isinstance(data, Dataset):
        data = Dataset.of(model, data, sigma=functools.partial(every_label, keys=keys), keys=keys, name="fit.report")
    predictions = predict(model, data, progress=progress) if predictions is None else predictions
    known = [] if spread is None else deviations(spread, data, progress=progress)
    sizes = {(frame, name): size for frame, name, _, size in _pairs(data, known)} if known else {}
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    inside: dict[str, dict[str, list[np.ndarray]]] = {}
    for frame, name, target, predicted in _pairs(data, predictions):
        for group in ("all", data.config_types[frame]):
            errors.setdefault(group, {}).setdefault(name, []).append(predicted - target)
            if (frame, name) in sizes:
                inside.setdefault(group, {}).setdefault(name, []).append(np.abs(predicted - target) <= _NINE_TENTHS * sizes[frame, name])
    return {
        group: {name: _summary(name, np.concatenate(by[name]), inside.get(group, {}).get(name)) for name in OBSERVABLES if name in by}
        for group, by in errors.items()
    }


def noise_by_type(model: Model, data: Dataset | Iterable[Any], *, keys: Mapping[str, str] | None = None) -> dict[str, tuple[float | None, ...]]:
    """What a model leaves of the labels of every configuration type, as noise levels for a second fit: `noise_levels(config_types=noise_by_type(...))`.

    What a basis cannot represent is larger in a melt than in a cold crystal. With one level for all, deviations are too small in the one and too large
    in the other, even where the share of all labels that they cover is right. `fit.levels` then finds how much larger the levels are on the whole.

    Args:
      model: a fitted potential.
      data: the structures that it was fitted to; of frames all labels count.
      keys: with frames, where labels are, as of `Dataset.from_atoms`.

    Returns:
      configuration type -> (energy in eV per √atom, forces in eV/Å, virial in eV per √atom), root mean squares; None of what the type has no labels, or
      only such as are met exactly, as forces that symmetry makes zero. Of few labels, such as two energies, a level is as uncertain as they are few.

    Raises:
      RuntimeError, TypeError, ValueError: as `fit.report`.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms
      >>> frames = [Atoms("H", info={"energy": e, "config_type": t}) for e, t in ((-1.1, "hot"), (-0.9, "hot"), (-1.01, "cold"), (-0.99, "cold"))]
      >>> {kind: round(energy, 3) for kind, (energy, _, _) in noise_by_type(IsolatedAtoms({"H": -1.0}), frames).items()}
      {'hot': 0.1, 'cold': 0.01}
    """
    if not isinstance(data, Dataset):
        data = Dataset.of(model, data, sigma=functools.partial(every_label, keys=keys), keys=keys, name="fit.noise_by_type")
    left: dict[str, dict[str, list[np.ndarray]]] = {}
    for frame, name, target, predicted in _pairs(data, predict(model, data)):
        root = np.sqrt(data.n_atoms[frame]) if OBSERVABLES[name].by_atom else 1.0
        for group in ("all", data.config_types[frame]):
            left.setdefault(group, {}).setdefault(name, []).append((predicted - target).ravel() * root)
    sizes = {group: {name: float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for name, parts in by.items()} for group, by in left.items()}
    least = {name: _EXACTLY * size for name, size in sizes.pop("all").items()}
    return {group: tuple(own[name] if own.get(name, 0.0) > least.get(name, 0.0) else None for name in BY_TYPE) for group, own in sizes.items()}


def _pairs(data: Dataset, predictions: Sequence[Properties]):
    """Yields (frame, property, labels [n], predictions [n]) of what both have, per atom where errors are."""
    for frame, structure in data.structures():
        n = data.n_atoms[frame]
        for name in held(structure.sigma):
            predicted = getattr(predictions[frame], name)
            if predicted is None:
                continue
            target, sigma = (np.asarray(getattr(part, name)) for part in (structure.targets, structure.sigma))
            present = np.isfinite(sigma).reshape((*sigma.shape, *(1,) * (target.ndim - sigma.ndim))) & np.ones(target.shape, bool)
            target, present = target[: len(predicted)] if target.ndim else target, present[: len(predicted)] if target.ndim else present
            scale = n if OBSERVABLES[name].by_atom else 1
            if np.any(present):
                yield frame, name, target[present] / scale, predicted[present] / scale


def not_predicted(data: Dataset, predictions: Sequence[Properties]) -> tuple[str, ...]:
    """The properties of which the data hold labels, and a model predicts nothing.

    Args:
      data: labelled structures.
      predictions: from `predict`.
    """
    return tuple(name for name in held(data.batches[0].sigma) if getattr(predictions[0], name) is None)


def _summary(name: str, error: np.ndarray, inside: list[np.ndarray] | None) -> dict:
    found = {
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "n": int(error.size),
        "unit": OBSERVABLES[name].error_unit,
    }
    return found if inside is None else found | {"coverage": float(np.mean(np.concatenate(inside)))}


def _shown(name: str) -> tuple[str, float]:
    """Unit, where it is known, and factor of errors for people."""
    return OBSERVABLES[name].shown or ("", 1.0)


def table(errors: Mapping) -> str:
    """A report for people: one line per configuration type."""
    width = max(len(group) for group in errors)
    columns = [name for name in OBSERVABLES if any(name in by for by in errors.values())]
    heads = [f"{OBSERVABLES[name].word} {_shown(name)[0]}".strip() for name in columns]
    lines = [" " * width + "".join(f"  {head + ' MAE / RMSE':>28}" for head in heads)]
    for group in ["all", *sorted(set(errors) - {"all"})]:
        cells = []
        for name in columns:
            e, factor = errors[group].get(name), _shown(name)[1]
            cells.append(f"  {'–':>28}" if e is None else f"  {e['mae'] * factor:>15.4f} / {e['rmse'] * factor:>10.4f}")
        lines.append(f"{group:<{width}}" + "".join(cells))
    covered = {OBSERVABLES[name].word: errors["all"][name]["coverage"] for name in columns if "coverage" in errors["all"].get(name, {})}
    if covered:
        lines.append("labels within 1.645 deviations, of nine tenths: " + ", ".join(f"{word} {share:.3f}" for word, share in covered.items()))
    return "\n".join(lines)


def plot_parity(data: Dataset, predictions: Sequence[Properties]) -> Any:
    """Predictions over labels, a panel for every property that both have, by configuration type.

    Args:
      data: labelled structures.
      predictions: from `predict`.

    Returns:
      A matplotlib Figure; write `figure.savefig("parity.png")`.

    Raises:
      ValueError: if no label is predicted.
    """
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for frame, name, target, predicted in _pairs(data, predictions):
        panels.setdefault(name, {}).setdefault(data.config_types[frame], []).append((target, predicted))
    if not panels:
        raise ValueError("plot_parity: nothing that the data have labels of is predicted")
    names = [name for name in OBSERVABLES if name in panels]
    figure = Figure(figsize=(4.2 * len(names), 4.0), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for group, points in sorted(panels[name].items()):
            axis.plot(*(np.concatenate(x) for x in zip(*points, strict=True)), ".", markersize=3, label=group)
        label = f"{OBSERVABLES[name].component} ({OBSERVABLES[name].error_unit})"
        axis.axline((axis.get_xlim()[0],) * 2, slope=1, color="black", linewidth=0.8)
        axis.set(xlabel=f"label, {label}", ylabel=f"prediction, {label}", aspect="equal")
        axis.legend()
    return figure


def plot_learning_curve(sizes: Sequence[int], reports: Sequence[Mapping], *, quantity: str = "rmse") -> Any:
    """Errors over how many structures were fitted, a panel for every property, on logarithmic axes.

    Args:
      sizes: how many structures each model was fitted to; several models may have the same, of which the mean is drawn through all points.
      reports: from `report`, of these models on the same structures, which none was fitted to.
      quantity: "rmse" or "mae".

    Returns:
      A matplotlib Figure; write `figure.savefig("learning_curve.png")`.

    Raises:
      ValueError: for another quantity, not as many sizes as reports, fewer than two different sizes, or reports without a common property.

    Example:
      >>> reports = [{"all": {"forces": {"rmse": error, "mae": error, "n": 30, "unit": "eV/Å"}}} for error in (0.2, 0.1)]
      >>> plot_learning_curve([10, 40], reports).axes[0].get_ylabel()
      'RMSE, force component (eV/Å)'
    """
    from matplotlib.figure import Figure

    if quantity not in ("rmse", "mae"):
        raise ValueError(f'plot_learning_curve: quantity must be "rmse" or "mae", got {quantity!r}')
    if len(sizes) != len(reports) or len(set(sizes)) < 2:
        raise ValueError(f"plot_learning_curve: expected a size for every report, and two different ones, got {list(sizes)} for {len(reports)} reports")
    names = [name for name in OBSERVABLES if all(name in errors.get("all", {}) for errors in reports)]
    if not names:
        raise ValueError("plot_learning_curve: the reports have errors of no common property")
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        unit, factor = OBSERVABLES[name].shown or (OBSERVABLES[name].error_unit, 1.0)
        values = factor * np.array([errors["all"][name][quantity] for errors in reports])
        different = np.unique(sizes)
        axis.plot(different, [np.mean(values[np.asarray(sizes) == size]) for size in different])
        axis.plot(sizes, values, "o", color=axis.lines[0].get_color())
        axis.set(xlabel="structures fitted", ylabel=f"{quantity.upper()}, {OBSERVABLES[name].component} ({unit})", xscale="log", yscale="log")
    return figure
