"""Training by gradient descent: any potential, any of its leaves, any optimizer of optax."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.descent import Descent
from jaxpot.fit.history import History
from jaxpot.fit.minibatches import on_host, steps_per_epoch
from jaxpot.fit.rows import predictable
from jaxpot.heads.base import Head
from jaxpot.math.cutoffs import Cutoff
from jaxpot.potentials.base import Potential
from jaxpot.potentials.combinations import with_seen
from jaxpot.trees import free, parts, walk

Array = jax.Array


def train(
    model: Potential,
    data: Dataset | Iterable[Any],
    optimizer: Any,
    *,
    steps: int,
    sigma: Any = None,
    keys: Mapping[str, str] | None = None,
    where: str | tuple[str, ...] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    batch: int | None = None,
    key: Array | None = None,
    validation: Dataset | None = None,
    patience: int | None = None,
    average: float | None = None,
    every: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    memory: float = 2e9,
    progress: bool | None = None,
) -> tuple[Potential, History]:
    r"""Moves leaves of a potential downhill in the squared error of all that it predicts and the data hold, in units of the noise levels.

    .. math:: L = \frac1n \sum_{s} \sum_{l} \left(\frac{y_{sl} - \hat y_{sl}}{\sigma_{sl}}\right)^2

    summed over structures s and their labels l, n in all: −2/n times the log likelihood up to a constant, and 1 where errors are as large as
    the noise levels say. A minibatch's sum is divided by the mean number of labels per minibatch, so every label counts alike. What weighs
    energies against forces is their noise levels. Labels of what the model does not predict are left out.

    Terms of a Sum of which nothing is trained are evaluated once; of a local descriptor whose leaves are not trained features and their
    derivatives are computed once and kept, which makes a step of a network some ten times faster. Computes in the floating type of model
    and data; float32 (`cast` both) is enough for networks, and resolves total energies to 1e-7 of their size.

    Args:
      model: any potential; `fit.standardise` first, if it has an MLP.
      data: labels with noise levels; or frames, with `sigma`. Of data from `sharding.shard` every device takes a share of each minibatch.
      optimizer: from optax; schedules, clipping and weight decay are its part: `optax.adam(optax.cosine_decay_schedule(1e-2, steps))`,
        `optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))`. It sees unconstrained parameters, as `free` makes them.
        `optax.lbfgs()` works with all data in one step (`batch=None`), for small problems in float64.
      steps: updates in all; `epochs * fit.steps_per_epoch(data, batch)`.
      sigma, keys: with frames, as of `Dataset.from_atoms`.
      where: paths of the leaves to train, as in `free`, "*" for all of them, cutoffs included. None trains what heads have of their own: weights and
        biases of networks, coefficients, all leaves of a Flax module; of a potential without heads all leaves but those of cutoffs.
      bounds: pattern -> (lowest, highest), in the leaf's unit.
      batch: most structures per step, drawn without replacement in an order that depends on the key and the epoch; None takes all.
      key: JAX random key; needed with `batch`.
      validation: held-out data, for example from `fit.split`; the model returned is then the one with the lowest loss on it.
      patience: stop after this many entries of the history without a lower validation loss.
      average: use the mean of the parameters over about the last 1 / (1 − average) steps, for validation and result; for example 0.999.
      every: steps from one entry of the history to the next; None is an epoch.
      checkpoint: a file that keeps the state at every entry of the history; called again after a kill, training goes on from it and gives the
        same numbers as if it had not been killed. Removed at the end.
      memory: bytes that kept features may take; those of terms that need more are computed anew in every step.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The model with the best parameters on the validation data, else the last, and the history: columns of numbers, ready for JSON and
      `fit.plot_history`: "step", "epoch", "loss"; "energy_mae", "energy_rmse" (eV/atom), "forces_…" (eV/Å), "virial_…" (eV/atom), "charges_…" (e)
      and so on of what the data hold, over the minibatches since the entry before, with the parameters that each of them met (NaN where they had no
      such labels); and the same with "validation_" in front.

    Raises:
      TypeError: for what is no potential or no optimizer.
      ValueError: for a pattern that matches nothing, numbers that make no sense, a missing key, data without labels, a checkpoint of other
        model, data, optimizer or settings, or a loss that is not finite, with `diagnose`'s reason for the structure.
    """
    data = Dataset.of(model, data, sigma=sigma, keys=keys, name="fit.train", labelled=True)
    mesh, data, validation = data.mesh, on_host(data), None if validation is None else on_host(validation)
    _check(model, optimizer, steps, batch, key, validation, patience, average, every)
    data = predictable(model, data, "fit.train: data")
    validation = None if validation is None else predictable(model, validation, "fit.train: validation")
    patterns = trained_by_default(model) if where is None else (where,) if isinstance(where, str) else where
    params, build = free(model, *patterns, bounds=bounds)
    seed = () if key is None else tuple(np.asarray(jax.random.key_data(key)).tolist())
    every = every or steps_per_epoch(data, batch)
    descent = Descent(model, params, build, data, validation, mesh, optimizer, batch, seed, average, memory)
    if checkpoint is not None:
        descent.keep(Path(checkpoint), (sorted((bounds or {}).items()), batch, seed, patience, average, every))
    descent.go(steps, every, patience, progress)
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return with_seen(build(descent.found), (batch.graphs for batch in data.batches)), descent.history


def trained_by_default(model: Potential) -> tuple[str, ...]:
    """Patterns of the leaves of heads, as these say; of a potential without heads all but those of cutoffs."""
    heads = tuple(f"{path}{own}" for path, head in parts(model, Head) for own in head.trained)
    cutoffs = tuple(path for path, _ in parts(model, Cutoff))
    return heads or tuple(path for path, *_ in walk(model) if not path.startswith(cutoffs))


def _check(model, optimizer, steps, batch, key, validation, patience, average, every) -> None:
    if not isinstance(model, Potential):
        raise TypeError(f"fit.train: expected a potential, got {type(model).__name__}; models of tensors are linear: use fit.linear")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"fit.train: expected an optimizer such as optax.adam(1e-3), got {type(optimizer).__name__}")
    for name, value in (("steps", steps), ("batch", batch), ("patience", patience), ("every", every)):
        if not (isinstance(value, int) and value > 0) and not (value is None and name != "steps"):
            raise ValueError(f"fit.train: {name} must be a positive whole number, got {value!r}")
    if average is not None and not 0 < average < 1:
        raise ValueError(f"fit.train: average must lie between 0 and 1, for example 0.999, got {average!r}")
    if batch is not None and key is None:
        raise ValueError("fit.train: minibatches are random; write key=jax.random.key(0)")
    if patience is not None and validation is None:
        raise ValueError("fit.train: patience needs validation data; write train, held_out = fit.split(data, 0.1, key=key)")


def split(data: Dataset, fraction: float, *, key: Array) -> tuple[Dataset, Dataset]:
    """Two parts of a data set, for training and validation; of every configuration type the same fraction is held out, at random.

    Args:
      data: labelled structures.
      fraction: of the structures that are held out, between 0 and 1.
      key: JAX random key.

    Returns:
      What is left, and what is held out; `data.subset` would give the same, with frames in their order.

    Raises:
      ValueError: if one of the parts would be empty.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    kinds = np.array(data.config_types)
    held: list[int] = []
    for kind in sorted(set(data.config_types)):
        members = np.flatnonzero(kinds == kind)
        held += rng.permutation(members)[: int(len(members) * fraction + 0.5)].tolist()
    left = sorted(set(range(len(data))) - set(held))
    if not held or not left:
        raise ValueError(f"fit.split: a fraction of {fraction} holds out {len(held)} of {len(data)} structures; expected some, and not all")
    return data.subset(left), data.subset(sorted(held))
