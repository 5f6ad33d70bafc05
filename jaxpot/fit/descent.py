"""The loop of `fit.train`: one compiled step per padded shape, and a state that can be kept in a file."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxpot.data import Dataset
from jaxpot.fit.history import SUMS, History, columns, sums
from jaxpot.fit.minibatches import Bucket, Minibatch, buckets_of, everything, everywhere, one_pass, steps_per_epoch
from jaxpot.fit.rows import count, explain, labelled
from jaxpot.fit.solver import fingerprint
from jaxpot.fit.stored import kinds_of_storage, prepared, with_stored
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.properties import OBSERVABLES
from jaxpot.trees import walk, with_leaves

Array = jax.Array
Params = dict[str, Array]

_evaluate = jax.jit(evaluate)
_PROBES = 3  # updates by which optimizers are told apart


class State(NamedTuple):
    """What a step changes; it lives on the device and is given away to the next step."""

    params: Params
    moments: Any
    averaged: Params | None
    sums: Array
    step: Array


class Descent:
    """Training under way.

    Attributes:
      state: where it is.
      history: what was seen.
      constants: the model, on the devices that share the work.
      best: a copy of the parameters with the lowest validation loss.
    """

    def __init__(
        self, model: Potential, params: Params, build: Callable, data: Dataset, validation: Dataset | None, mesh: Mesh | None, optimizer: Any,
        batch: int | None, seed: tuple[int, ...], average: float | None, memory: float,
    ):  # fmt: skip
        import optax

        self.model, self.build, self.data, self.validation = model, build, data, validation
        self.mesh, self.share = mesh, 1 if mesh is None else mesh.size
        self.optimizer, self.batch, self.seed, self.average = optax.with_extra_args_support(optimizer), batch, seed, average
        start = State(params, self.optimizer.init(params), None if average is None else params, jnp.zeros(SUMS), jnp.zeros((), int))
        self.state = everywhere(jax.tree_util.tree_map(jnp.copy, start), mesh)  # no array twice, since the state is given away
        self.constants = everywhere(model, mesh)
        self.history: History = {}
        self.best: Params | None = None
        self.lowest, self.since = np.inf, 0  # validation loss, and entries of the history since then
        parts = [part for part in (data, validation) if part is not None]
        shapes = [np.shape(b.graphs.neighbors) for part in parts for b in part.batches]
        self.kinds = kinds_of_storage(model, set(params), shapes, data.batches[0].graphs.positions.dtype.itemsize, memory)
        self.path: Path | None = None
        self.mark = ""
        self.per_epoch = steps_per_epoch(data, batch)
        self.scale = self.per_epoch / float(sum(count(b.sigma, model) for b in data.batches))
        self._step = jax.jit(self._advance, donate_argnums=0)
        self._sums = jax.jit(lambda params, model, minibatch: self._objective(params, model, minibatch)[1])

    @property
    def current(self) -> Params:
        return self.state.params if self.average is None else self.state.averaged

    @property
    def found(self) -> Params:
        """The parameters to return."""
        return jax.tree_util.tree_map(jnp.asarray, self.current if self.best is None else self.best)

    # --- on the device -----------------------------------------------------------------------------------------------------

    def _objective(self, params: Params, model: Potential, minibatch: Minibatch) -> tuple[Array, Array]:
        """Loss [] and sums [SUMS] of a minibatch."""
        # the model is an argument, not a constant of the program: `build` serves for the values of the trained leaves only
        values = {path: value for path, value, _ in walk(self.build(params)) if path in params}
        ready = prepared(with_leaves(model, values), self.kinds)

        def of_bucket(ready, content, positions):
            def chosen(ids):
                return jax.tree_util.tree_map(lambda x: x[ids], content)

            def of_block(total, ids):
                each = jax.vmap(lambda structure, stored: sums(with_stored(ready, self.kinds, stored), structure))(*chosen(ids))
                return total + jnp.sum(each, axis=0), None

            start = jnp.zeros(SUMS)
            total = of_block(start, positions[0])[0] if len(positions) == 1 else jax.lax.scan(jax.checkpoint(of_block), start, positions)[0]
            return total if self.mesh is None else jax.lax.psum(total, self.mesh.axis_names)

        if self.mesh is not None:  # every device takes its share of each block
            specs = P(), P(), P(None, self.mesh.axis_names)
            of_bucket = jax.shard_map(of_bucket, mesh=self.mesh, in_specs=specs, out_specs=P(), check_vma=False)
        total = sum(of_bucket(ready, content, positions) for content, positions in minibatch)
        return self.scale * total[0, 0], total

    def _advance(self, state: State, model: Potential, minibatch: Minibatch) -> tuple[State, Array]:
        """The next state, and whether loss and gradient were finite; if not, the state is unchanged."""
        import optax

        def value_of(params):
            return self._objective(params, model, minibatch)[0]

        (loss, total), gradient = jax.value_and_grad(self._objective, has_aux=True)(state.params, model, minibatch)
        change, moments = self.optimizer.update(gradient, state.moments, state.params, value=loss, grad=gradient, value_fn=value_of)
        params, averaged = optax.apply_updates(state.params, change), state.averaged
        if averaged is not None:
            decay = jnp.minimum(self.average, state.step / (state.step + 1))  # a plain mean at first
            averaged = jax.tree_util.tree_map(lambda old, new: (decay * old + (1 - decay) * new).astype(new.dtype), averaged, params)
        new = State(params, moments, averaged, state.sums + total, state.step + 1)
        finite = jnp.isfinite(loss) & jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree_util.tree_leaves(gradient)]))
        return jax.tree_util.tree_map(lambda new, old: jnp.where(finite, new, old), new, state), finite

    # --- on the host -------------------------------------------------------------------------------------------------------

    def go(self, steps: int, every: int, patience: int | None, progress: bool | None) -> None:
        """All steps that are left."""
        from tqdm import tqdm

        disable = None if progress is None else not progress
        n = len(self.data) + (0 if self.validation is None else len(self.validation))
        with tqdm(total=n, desc="prepare", unit="structure", disable=disable) as bar:
            buckets = buckets_of(self.model, self.kinds, self.data, self.mesh, bar.update)
            held_out = [] if self.validation is None else buckets_of(self.model, self.kinds, self.validation, self.mesh, bar.update)
        step = int(self.state.step)
        with tqdm(total=steps, initial=step, desc="train", unit="step", disable=disable) as bar:
            minibatches = None
            while step < steps and (patience is None or self.since < patience):
                epoch, position = divmod(step, self.per_epoch)
                if minibatches is None or position == 0:
                    minibatches = one_pass(buckets, self.batch, self.seed, epoch, self.share)
                self.state, finite = self._step(self.state, self.constants, minibatches[position])
                if not finite:
                    raise ValueError(f"step {step}: {self._explained(minibatches[position], buckets)}")
                step += 1
                bar.update()
                if step % every == 0 or step == steps:
                    self._note(step, step / self.per_epoch, held_out, bar)
                    self.store()

    def _note(self, step: int, epoch: float, held_out: list[Bucket], bar) -> None:
        """One more entry of the history."""
        entry = {"step": step, "epoch": epoch} | columns(np.asarray(self.state.sums), labelled(self.data))
        if held_out:
            minibatch = everything(held_out, self.share)
            entry |= columns(np.asarray(self._sums(self.current, self.constants, minibatch)), labelled(self.validation), "validation_")
            loss = entry["validation_loss"]
            if not np.isfinite(loss):
                raise ValueError(f"step {step}, validation: {self._explained(minibatch, held_out)}")
            self.since += 1
            if loss < self.lowest:
                self.lowest, self.since = loss, 0
                self.best = jax.tree_util.tree_map(np.array, self.current)
        for name, value in entry.items():
            self.history.setdefault(name, []).append(value)
        self.state = self.state._replace(sums=jnp.zeros(SUMS))
        shown = {"loss": "loss"} | {f"validation_{name}_rmse": observable.error_unit for name, observable in OBSERVABLES.items()}
        bar.set_postfix_str(", ".join(f"{entry[name]:.4g} {unit}" for name, unit in shown.items() if name in entry))

    def _explained(self, minibatch: Minibatch, buckets: list[Bucket]) -> str:
        """Why the loss of a minibatch, or its gradient, is not finite."""
        model = self.build(self.current)
        for (batch, _), positions in minibatch:
            frames = next(bucket.frames for bucket in buckets if bucket.batch is batch)
            for i in (i for i in np.ravel(positions) if i < len(frames)):
                structure = jax.tree_util.tree_map(lambda x, i=i: x[i], batch)
                if not all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(_evaluate(model, structure.graphs))):
                    return explain(model, structure, int(frames[i]))
        gradient = jax.jit(jax.grad(self._objective, has_aux=True))(self.state.params, self.constants, minibatch)[0]
        bad = [path for path, g in gradient.items() if not np.all(np.isfinite(g))]
        return f"the gradient by {', '.join(bad)} is not finite" if bad else "the loss is not finite; take smaller steps, or clip the gradient"

    # --- in a file ---------------------------------------------------------------------------------------------------------

    def keep(self, path: Path, settings: tuple) -> None:
        """Keeps the state in this file from now on, and goes on from it if it is there."""
        stored = [kind and kind.__name__ for kind in self.kinds]  # other memory, other round-off
        text = repr((sorted(self.state.params), settings, stored, signature(self.optimizer, self.state.params)))
        self.path, self.mark = path, fingerprint(self.model, (self.data, self.validation), text)
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{path} is not a readable checkpoint ({error}); remove it to start anew") from None
        if str(content.get("fingerprint", "")) != self.mark:
            raise ValueError(f"{path} is the checkpoint of another training (model, data, optimizer or settings differ); remove it to start anew")
        leaves, structure = jax.tree_util.tree_flatten(self.state)
        state = jax.tree_util.tree_unflatten(structure, [like(leaf, content[f"state{i}"]) for i, leaf in enumerate(leaves)])
        self.state = everywhere(state, self.mesh)
        self.lowest, self.since = float(content["lowest"]), int(content["since"])
        if f"best.{next(iter(self.state.params))}" in content:
            self.best = {name: content[f"best.{name}"] for name in self.state.params}
        self.history = {str(name): content[f"history.{name}"].tolist() for name in content["columns"]}

    def store(self) -> None:
        if self.path is None:
            return
        state = {f"state{i}": plain(leaf) for i, leaf in enumerate(jax.tree_util.tree_leaves(self.state))}
        best = {f"best.{name}": value for name, value in (self.best or {}).items()}
        history = {f"history.{name}": np.array(column) for name, column in self.history.items()} | {"columns": np.array(list(self.history))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        with open(partial, "wb") as file:
            np.savez(file, fingerprint=np.array(self.mark), lowest=np.array(self.lowest), since=np.array(self.since), **state, **best, **history)
        os.replace(partial, self.path)


def plain(leaf: Array) -> np.ndarray:
    """An array that a file can hold; optimizers that add noise have random keys."""
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def like(leaf: Array, value: np.ndarray) -> Array:
    """What `plain` has made an array of, as another leaf is."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf))
    return jnp.asarray(value, leaf.dtype)


def signature(optimizer: Any, params: Params) -> list[str]:
    """A few updates of a model problem, by which optimizers of other kind or settings are told apart: optax has no names for them."""
    import optax

    def value_of(params):
        return 0.5 * sum(jnp.sum((x + 1) ** 2) for x in params.values())

    @jax.jit
    def probe(params):
        moments, seen = optimizer.init(params), []
        for _ in range(_PROBES):
            value, gradient = jax.value_and_grad(value_of)(params)
            change, moments = optimizer.update(gradient, moments, params, value=value, grad=gradient, value_fn=value_of)
            params = optax.apply_updates(params, change)
            seen += [jnp.sum(x) for x in change.values()]
        return seen

    return [f"{float(x):.5g}" for x in probe(params)]
