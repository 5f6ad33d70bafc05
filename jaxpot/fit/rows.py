"""Weighted rows and right-hand sides of one structure, shared by the solvers, the evidence and training.

Each independent component of a tensor is one datum: labels are projected on the tensors that have the model's symmetry, in an
orthonormal basis, so isotropic noise stays isotropic and neither fit nor evidence depends on how the axes lie. Where every component
has its own noise, components that symmetry makes equal count once.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.data import Batch, Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.graph import Graph
from jaxpot.math.cartesian import spherical_basis
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import IsolatedAtoms, Model, Potential, Sum, evaluate, predicts_more, terms_of, with_terms
from jaxpot.potentials.linear import constant_of
from jaxpot.properties import OBSERVABLES, Properties

Array = jax.Array

_ROUNDED = 5e-4  # e; charges in files have three decimals or more
_ASYMMETRY = 1e-3  # relative; smaller deviations from the symmetry of a label are round-off of who wrote it


def fixed_part(model: Model, linear: tuple[int, ...]) -> Model | None:
    """What is subtracted from the data before the fit: terms that are not linear, and what linear ones predict without coefficients."""
    terms = tuple(constant_of(term) if i in linear else term for i, term in enumerate(terms_of(model)))
    terms = tuple(term for term in terms if term is not None)
    if not terms:
        return None
    # elements that only linear terms know have nothing fixed
    others = {symbol: 0.0 for symbol in model.species if not any(symbol in term.species for term in terms)}
    return with_terms(model, (*terms, IsolatedAtoms(others)) if others and isinstance(model, Sum) else terms)


def held(properties: Properties) -> tuple[str, ...]:
    """The names of the fields that are there."""
    return tuple(name for name in OBSERVABLES if getattr(properties, name) is not None)


def labelled(data: Dataset) -> tuple[str, ...]:
    """The fields of which some structure has a label."""
    return tuple(name for name in OBSERVABLES if any(np.any(np.isfinite(x)) for b in data.batches if (x := getattr(b.sigma, name)) is not None))


def predicted(model: Model, graph: Graph, function: Callable[[Model, Graph], Properties] = evaluate) -> tuple[str, ...]:
    """The fields that a model predicts of a structure, or for which `design` gives rows; nothing is computed."""
    of_energy = _of_energy(model)
    return of_energy if of_energy and not predicts_more(model) else held(jax.eval_shape(function, model, graph))


def _of_energy(model: Model) -> tuple[str, ...]:
    """What every potential predicts, if this is one."""
    plain = type(model).properties is Potential.properties
    return tuple(name for name, observable in OBSERVABLES.items() if plain and observable.of_energy)


def first(data: Dataset) -> Graph:
    """One of the structures."""
    return jax.tree_util.tree_map(lambda x: x[0], data.batches[0].graphs)


def only_labels(data: Dataset, names: Iterable[str]) -> Dataset:
    """The same structures with the labels of these fields."""
    dropped = dict.fromkeys(set(OBSERVABLES) - set(names))
    return data.replace(batches=tuple(b.replace(targets=b.targets.replace(**dropped), sigma=b.sigma.replace(**dropped)) for b in data.batches))


# --- one structure ---------------------------------------------------------------------------------------------------------


def groups_of(name: str, model: Model) -> tuple[int, ...]:
    """One label per Cartesian index of what a model predicts under this name; indices with equal labels may be exchanged.

    Raises:
      TypeError: if neither the field nor the model says it.
    """
    observable = OBSERVABLES[name]
    if observable.groups is not None:
        return observable.groups
    if getattr(model, "groups", None) is not None:
        return model.groups
    if observable.rank is None:
        raise TypeError(f"{type(model).__name__} predicts a {name} and does not say its rank; write groups = (0, 0) in it for a symmetric matrix")
    return (0,) * observable.rank


def is_per_atom(name: str, value: Array, model: Model) -> bool:
    """Whether what a model predicts under this name is one per atom."""
    per_atom = OBSERVABLES[name].per_atom
    return np.ndim(value) > len(groups_of(name, model)) if per_atom is None else per_atom


def comparable(data: Batch, predictions: Properties, model: Model) -> Batch:
    """One structure without the labels of what is not predicted.

    Args:
      data: one structure.
      predictions: predictions or design rows of it, of which only their presence counts.
      model: whose they are.

    Raises:
      ValueError: if no label is left, or a potential that predicts something has no rows of it; while a function is traced, too.
    """
    there, given = held(data.sigma), held(predictions)
    _require_common(there, given, model)
    lost = [name for name in there if name in _of_energy(model) and name not in given]
    if lost:
        raise ValueError(
            f"the data have labels of {lost[0]}, of which {type(model).__name__} has no rows; leave sigma.{lost[0]} out, or use jaxpot.fit.train"
        )
    dropped = {name: None for name in there if name not in given}
    return data.replace(targets=data.targets.replace(**dropped), sigma=data.sigma.replace(**dropped)) if dropped else data


def _require_common(there: Sequence[str], given: Sequence[str], model: Model) -> None:
    if not set(there) & set(given):
        raise ValueError(
            f"the data have labels of {', '.join(there) or 'nothing'} only, no labels of {', '.join(given)}, which {type(model).__name__} predicts; write "
            f'Dataset.from_atoms(frames, cutoff, sigma=Properties({given[0]}=0.1), keys={{"{given[0]}": ...}})'
        )


def flat(properties: Properties, sigma: Properties, model: Model) -> Array:
    """What there are noise levels of along one leading axis, [n, ...]: of energy, forces and virial n = 1 + 3N + 6.

    Args:
      properties: predictions, labels or design rows of one structure.
      sigma: its noise levels, of nothing that `properties` lacks.
      model: what predicts them.
    """
    return jnp.concatenate([_components(name, getattr(properties, name), getattr(sigma, name), model) for name in held(sigma)])


def residuals(fixed: Potential | None, data: Batch, model: Model) -> tuple[Array, Array]:
    """What the linear terms must explain, and 1/sigma; both [n] as in `flat`, zero where a label is missing."""
    targets, names = data.targets, held(data.sigma)
    if fixed is not None:
        known = evaluate(fixed, data.graphs)
        both = {name: (getattr(targets, name), getattr(known, name)) for name in names if getattr(known, name) is not None}
        targets = targets.replace(**{name: target - value.astype(target.dtype) for name, (target, value) in both.items()})
    target = flat(targets, data.sigma, model)
    sigma = jnp.concatenate([_levels(name, getattr(data.sigma, name), model) for name in names])
    present = jnp.isfinite(sigma)
    weight = jnp.where(present, 1 / jnp.where(present, sigma, 1), 0)
    return jnp.where(present, target, 0), weight


def kinds(sigma: Properties, given: Sequence[str], model: Model) -> np.ndarray:
    """Of what the numbers of `flat` are, [n] names, of those fields of noise levels that are among the given ones."""
    own = {name: jax.eval_shape(functools.partial(_levels, name, model=model), getattr(sigma, name)) for name in held(sigma) if name in given}
    return np.repeat(list(own), [level.shape[0] for level in own.values()])


def count(sigma: Properties, model: Model) -> Array:
    """How many numbers with these noise levels a fit compares, of one structure or of a batch."""
    of_batch = {name: jnp.reshape(getattr(sigma, name), (-1, *_of_level(name, model))) for name in held(sigma)}
    return sum(
        jnp.sum(jnp.isfinite(level)) * len(spherical_basis(groups_of(name, model)))
        if OBSERVABLES[name].isotropic
        else jnp.sum(jnp.isfinite(level.reshape(len(level), -1)[:, _independent(groups_of(name, model))]))
        for name, level in of_batch.items()
    )


def _of_level(name: str, model: Model) -> tuple[int, ...]:
    """The axes of a noise level of one tensor."""
    return () if OBSERVABLES[name].isotropic else (3,) * len(groups_of(name, model))


def _independent(groups: tuple[int, ...]) -> np.ndarray:
    """Where in a flattened tensor the entries stand that its symmetry does not repeat."""
    pairs = [(i, j) for i, j in itertools.combinations(range(len(groups)), 2) if groups[i] == groups[j]]
    entries = itertools.product(range(3), repeat=len(groups))
    return np.array([place for place, entry in enumerate(entries) if all(entry[i] <= entry[j] for i, j in pairs)])


def _components(name: str, value: Array, level: Array, model: Model) -> Array:
    """Independent components of a field, [n, ...]; what the symmetry of the indices forbids is projected out where noise is isotropic."""
    groups, isotropic = groups_of(name, model), OBSERVABLES[name].isotropic
    lead = level.ndim - len(_of_level(name, model))
    rows = value.reshape(-1, 3 ** len(groups), *value.shape[lead + len(groups) :])
    if isotropic:
        rows = einsum("dc,nc...->nd...", jnp.asarray(spherical_basis(groups), rows.dtype), rows)
    elif len(chosen := _independent(groups)) < rows.shape[1]:
        rows = rows[:, chosen]
    return rows.reshape(-1, *rows.shape[2:])


def _levels(name: str, level: Array, model: Model) -> Array:
    """Noise levels of all independent components, [n]."""
    if not OBSERVABLES[name].isotropic:
        return _components(name, level, level, model)
    return jnp.repeat(jnp.atleast_1d(level), len(spherical_basis(groups_of(name, model))))


# --- all of them -----------------------------------------------------------------------------------------------------------


def check_labels(model: Model, data: Dataset) -> None:
    """Refuses labels that cannot be those of a linear model, which a fit would not notice.

    Raises:
      ValueError: if there are none of what it predicts; where their symmetry is the model's own, for labels of another rank, per atom
        instead of per structure or the reverse, or not symmetric where the model is.
    """
    there, graph = held(data.batches[0].sigma), first(data)
    given = predicted(model, graph, design)
    _require_common(there, given, model)
    check_totals(only_labels(data, given))
    for name in (name for name in there if name in given and OBSERVABLES[name].groups is None):
        rows = getattr(jax.eval_shape(design, model, graph), name)
        _check_kind(name, rows.ndim > 1 + len(groups_of(name, model)), model, data)
        for batch, ids in zip(data.batches, data.index, strict=True):
            _check_symmetry(name, getattr(batch.targets, name), getattr(batch.sigma, name), model, ids)


def predictable(model: Potential, data: Dataset, name: str) -> Dataset:
    """The data without labels of what a potential does not predict.

    Raises:
      ValueError: if none is left; or as `check_totals`.
    """
    names = predicted(model, first(data))
    if not set(names) & set(labelled(data)):
        raise ValueError(f"{name} has no labels of {', '.join(names)}, which {type(model).__name__} predicts; write sigma=noise_levels(...)")
    found = only_labels(data, names)
    check_totals(found)
    return found


def check_totals(data: Dataset) -> None:
    """Refuses labels of atoms, such as charges, whose sum is not what the structure has of them, which no model exact in the total can have.

    Raises:
      ValueError: naming the first frame.
    """
    with_total = {name: observable for name, observable in OBSERVABLES.items() if observable.total}
    for batch, frames in zip(data.batches, data.index, strict=True):
        for name, observable in with_total.items():
            labels, sigma, graphs = getattr(batch.targets, name), getattr(batch.sigma, name), batch.graphs
            if sigma is None or not (is_concrete(labels) and is_concrete(sigma)):
                continue
            real = np.asarray(graphs.numbers) > 0
            whole = np.all(np.isfinite(sigma) | ~real, axis=1)
            sums, total = np.sum(np.where(real, labels, 0), axis=1), np.asarray(getattr(graphs, observable.total))
            bad = np.flatnonzero(whole & (np.abs(sums - total) > _ROUNDED * np.sum(real, axis=1)))
            if len(bad):
                raise ValueError(
                    f"frame {frames[bad[0]]}: the labels of {name} sum to {sums[bad[0]]:.6g} {observable.unit}, its total {observable.total} is "
                    f'{total[bad[0]]:.6g} {observable.unit}; say where the total is with keys={{"{observable.total}": "total_{observable.total}", '
                    f"...}}, or leave sigma.{name} out"
                )


def _check_kind(name: str, per_atom: bool, model: Model, data: Dataset) -> None:
    target, sigma = getattr(data.batches[0].targets, name), getattr(data.batches[0].sigma, name)
    groups = groups_of(name, model)
    found, own = (np.ndim(sigma) == 2, np.ndim(target) - np.ndim(sigma)), (per_atom, len(groups))
    if found != own:
        words = ["of rank {}, one per {}".format(rank, "atom" if per_atom else "structure") for per_atom, rank in (found, own)]
        raise ValueError(f"{name} labels are {words[0]}; {type(model).__name__} with groups {groups} is {words[1]}")


def _check_symmetry(name: str, target: Array, sigma: Array, model: Model, frames: Sequence[int]) -> None:
    if not (is_concrete(target) and is_concrete(sigma)):
        return
    groups, owner = groups_of(name, model), type(model).__name__
    rank, basis = len(groups), spherical_basis(groups)
    rows = np.where(np.isfinite(sigma)[(..., *(None,) * rank)], target, 0).reshape(*np.shape(sigma), -1)
    rest = np.abs(rows - rows @ basis.T @ basis).reshape(np.shape(target))
    bad = np.argwhere(np.max(rest, axis=tuple(range(-rank, 0))) > _ASYMMETRY * np.max(np.abs(rows), axis=-1))
    if len(bad):
        raise ValueError(
            f"frame {frames[bad[0][0]]}: the {name} label differs by up to {np.max(rest[tuple(bad[0])]):.3g} from one with the symmetry "
            f"{groups} of {owner}; symmetrise the labels, or choose a model that holds them (for a polarizability "
            "antisymmetric=LambdaSOAP(density, lam=1, pseudo=True))"
        )


def explain(model: Potential, data: Batch, frame: int) -> str:
    """Why rows of this structure are not finite."""
    from jaxpot.structures import diagnose

    causes = diagnose(model, data.graphs) or ("the model itself gives NaN",)
    return f"frame {frame}: " + "; ".join(causes)
