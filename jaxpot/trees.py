"""The only class mechanism: a model is a pytree whose arrays are parameters and whose static fields are structure.

`jax.tree_util.register_dataclass` is not used on purpose: it calls `__init__` on every unflatten, so a validating
`__post_init__` would run on tracers, on gradients and on JAX's own placeholder objects. Here unflattening is
`object.__new__` plus attribute writes; `__post_init__` runs only when a person constructs or replaces.
"""

import dataclasses
import fnmatch
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxpot.checks import allows_none, as_structure, check_leaf, is_concrete

T = TypeVar("T")
_CLASSES: dict[str, type] = {}  # by `class_name`
_LARGEST = 1e30  # beyond, powers of a number leave double precision


def static(default: Any = dataclasses.MISSING, *, most: int | None = None) -> Any:
    """A field that is structure: hashable, part of the jit key, written to disk as JSON; a number has the type of its annotation.

    Args:
      default: the value where none is given.
      most: the largest integer with which the class can be made.

    Example:
      >>> @pytree
      ... class Line:
      ...     slope: jax.Array
      ...     n_points: int = static(3)
    """
    return dataclasses.field(default=default, metadata={"static": True, "most": most})


def code() -> Any:
    """A static field that is code, for adaptors of other libraries: not written to disk; `load(path, like=model)` takes it from `like`."""
    return dataclasses.field(metadata={"static": True, "code": True})


def derived(*, init: Literal[False] = False) -> Any:
    """A static field that `__post_init__` sets from the others: neither given, nor shown, nor written to disk."""
    return dataclasses.field(default=None, init=False, metadata={"static": True})


def leaf(default: Any = dataclasses.MISSING, *, shape: str = "[]") -> Any:
    """A differentiable leaf of finite numbers whose shape is checked at construction.

    Args:
      default: the value where none is given.
      shape: as docstrings write it: "[]" is one number, "[] or [S, S]" a number or a table. S is the number of `species`, any other
        letter one size in all fields of an object.

    Example:
      >>> @pytree
      ... class Charges:
      ...     species: tuple[str, ...] = static()
      ...     values: jax.Array = leaf(shape="[S]")
    """
    return dataclasses.field(default=default, metadata={"shape": shape, "range": (-_LARGEST, _LARGEST)})


def positive(default: Any = dataclasses.MISSING, *, shape: str = "[]", low: float = 1 / _LARGEST, high: float = _LARGEST) -> Any:
    """A differentiable leaf that must be > 0: checked at construction, kept positive by `free`.

    Args:
      default: the value where none is given.
      shape: as in `leaf`.
      low: the smallest number with which the class can compute.
      high: the largest.
    """
    return dataclasses.field(default=default, metadata={"positive": True, "shape": shape, "range": (low, high)})


def _is_static(field: dataclasses.Field) -> bool:
    return field.metadata.get("static", False)


def is_pytree(value: Any) -> bool:
    """True for instances of classes made by `@pytree`."""
    return "_is_pytree" in type(value).__dict__


def class_name(cls: type) -> str:
    """What files call a `@pytree` class: its name if it is the library's, else "module:name", so that no two are confused.

    Example:
      >>> from jaxpot.math.cutoffs import CosineCutoff
      >>> class_name(CosineCutoff)
      'CosineCutoff'
    """
    return cls.__name__ if cls.__module__.split(".")[0] == __name__.split(".")[0] else f"{cls.__module__}:{cls.__qualname__}"


def class_table() -> dict[str, type]:
    """Every `@pytree` class by its `class_name`, as `load` looks them up."""
    return dict(_CLASSES)


def find_class(name: Any) -> type:
    """The `@pytree` class of this `class_name`; of a class that is not the library's the name alone will do where no two share it.

    Raises:
      ValueError: for a name of none or of several, with the line to write.
    """
    if isinstance(name, str) and name in _CLASSES:
        return _CLASSES[name]
    found = [full for full, cls in _CLASSES.items() if cls.__name__ == name]
    if len(found) == 1:
        return _CLASSES[found[0]]
    if found:
        raise ValueError(f"ambiguous class {name!r}; write {' or '.join(map(repr, sorted(found)))}")
    module, _, inside = str(name).partition(":")
    if not inside:
        raise ValueError(f"unknown class {name!r}; import the module that defines it first")
    how = f"define {inside} in this script first" if module == "__main__" else f"write import {module} first"
    raise ValueError(f"unknown class {name!r}; {how}")


def fits(value: Any, cls: type, **kinds: Any) -> bool:
    """Whether a value is of a class and its fields of these: `fits(term, AtomicPotential, descriptor=SOAP, head=Linear)`."""
    return isinstance(value, cls) and all(isinstance(getattr(value, name), kind) for name, kind in kinds.items())


def fields(value: Any) -> tuple[tuple[str, Any, dataclasses.Field], ...]:
    """The (name, value, field) of every field of a `@pytree` instance, in order."""
    return tuple((f.name, getattr(value, f.name), f) for f in dataclasses.fields(value))


def rebuild(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance with these field values and no validation (the inverse of `fields`)."""
    out = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(out, name, value)
    return out


def _as_leaf(value: Any) -> Any:
    """Numbers a person wrote become float64 arrays, whatever the x64 switch says, so no digit of 5.1 is lost at construction."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, np.floating, np.integer)):
        return np.asarray(value, dtype=np.float64)
    if isinstance(value, (list, tuple)):
        numbers = jax.tree_util.tree_leaves(value)
        if numbers and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
            try:
                return np.asarray(value, dtype=np.float64)
            except ValueError:  # rows of several lengths, which the field's own check refuses
                return value
    return value


def _replace(self, **changes):
    """A copy with some fields changed; validates like construction."""
    names = {f.name for f in dataclasses.fields(self)}
    unknown = sorted(set(changes) - names)
    if unknown:
        raise TypeError(f"{type(self).__name__} has no field {unknown}; its fields are {sorted(names)}")
    out = rebuild(type(self), {name: changes.get(name, value) for name, value, _ in fields(self)})
    _finish(out)
    return out


def set_fields(value: Any, **changes: Any) -> Any:
    """`replace` without validation: for values computed from a model's own leaves, under jit."""
    return rebuild(type(value), {name: changes.get(name, child) for name, child, _ in fields(value)})


def _finish(self) -> None:
    """Converts numbers to leaves, checks what fields declare and runs the class's own validation."""
    owner, sizes = type(self).__name__, {}
    for name, value, field in fields(self):
        where = f"{owner}.{name}"
        if not _is_static(field):
            value = _as_leaf(value)
            if "shape" in field.metadata and is_concrete(value) and not (value is None and allows_none(field)):
                check_leaf(where, value, field.metadata, sizes)
        else:
            try:
                hash(value)
            except TypeError:
                raise TypeError(f"{where} is structure and must be hashable, got {type(value).__name__}; write a tuple") from None
            value = as_structure(where, value, field)
            if name == "species" and isinstance(value, tuple) and value:
                sizes["S"] = len(value)
        object.__setattr__(self, name, value)
    try:
        if self._validate is not None:
            self._validate()
    except AttributeError:  # of a part that is no such object
        _check_parts(self)
        raise
    _check_parts(self)


def _check_parts(self) -> None:
    """Raises where a field annotated with classes holds something else."""
    for name, value, field in fields(self):
        options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
        lists = [typing.get_args(option)[0] for option in options if typing.get_origin(option) is tuple]
        kinds = (*(option for option in options if isinstance(option, type)), *lists)
        if _is_static(field) or not kinds or not all(isinstance(kind, type | types.UnionType) and kind is not jax.Array for kind in kinds):
            continue
        values = value if lists and isinstance(value, tuple | list) else (value,)
        for wrong in (part for part in values if is_concrete(part) and not isinstance(part, kinds)):
            names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds if kind is not type(None))
            article = "an" if names[0] in "AEIO" else "a"
            raise TypeError(f"{type(self).__name__}.{name} must be {article} {names}, got {_describe(wrong)[:60]}")


def _describe(value: Any) -> str:
    if isinstance(value, (jax.Array, np.ndarray)):
        return f"{value}" if value.ndim == 0 and is_concrete(value) else f"{value.dtype}{list(value.shape)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_describe(child)}' for key, child in value.items())}}}"
    text = repr(value)
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple) and len(text) > 500 else text  # an MTP holds lists of thousands


def _repr(self) -> str:
    parts = ((name, type(value).__name__ if field.metadata.get("code") else _describe(value)) for name, value, field in fields(self) if field.init)
    return f"{type(self).__name__}({', '.join(f'{name}={part}' for name, part in parts)})"


def _equal(self, other: Any) -> bool:
    if type(self) is not type(other):
        return NotImplemented
    a, structure = jax.tree_util.tree_flatten(self)
    b, other_structure = jax.tree_util.tree_flatten(other)
    return structure == other_structure and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@dataclass_transform(frozen_default=True, field_specifiers=(static, derived, leaf, positive, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Frozen dataclass registered with JAX, with `.replace(**changes)`.

    Fields made with `static()` are structure, all others are leaves or subtrees; those made with `leaf()` and `positive()` have a known
    shape. A class may define `__post_init__(self)` to validate; it runs on construction and `replace`, never on unflatten, and must
    skip tracers. A class with its own `__init__` ends it with `self.__post_init__()`.

    Raises:
      TypeError: if a static field is not hashable.

    Example:
      >>> @pytree
      ... class Smearing:
      ...     sigma: jax.Array = positive()
      ...     n_max: int = static(4)
      >>> Smearing(0.5).replace(n_max=8)
      Smearing(sigma=0.5, n_max=8)
    """
    name = class_name(cls)
    if name in _CLASSES and _CLASSES[name].__module__ != cls.__module__:  # the library's own, whose names are short
        raise TypeError(f"a @pytree class named {name} exists already in {_CLASSES[name].__module__}; choose another name")
    own_init = "__init__" in cls.__dict__
    cls._validate = cls.__dict__.get("__post_init__")
    cls.__post_init__ = _finish
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False, init=not own_init)(cls)
    cls.__repr__ = _repr
    cls.__eq__ = _equal
    cls.__hash__ = None
    cls.replace = _replace
    cls._is_pytree = True

    leaves = tuple(f.name for f in dataclasses.fields(cls) if not _is_static(f))
    statics = tuple(f.name for f in dataclasses.fields(cls) if _is_static(f))

    def flatten(self):
        return tuple(getattr(self, n) for n in leaves), tuple(getattr(self, n) for n in statics)

    def flatten_with_keys(self):
        children, aux = flatten(self)
        return tuple((jax.tree_util.GetAttrKey(n), c) for n, c in zip(leaves, children, strict=True)), aux

    def unflatten(aux, children):
        return rebuild(cls, dict(zip(statics, aux, strict=True)) | dict(zip(leaves, children, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    _CLASSES[name] = cls
    return cls


def walk(value: Any, prefix: str = "", metadata: Mapping = {}) -> Iterator[tuple[str, Any, Mapping]]:
    """Every leaf of a model as (path, value, field metadata); paths read `density.cutoff.radius`, `terms.0.head.delta`."""
    if value is None:
        return
    if is_pytree(value):
        for name, child, field in fields(value):
            if not _is_static(field):
                yield from walk(child, f"{prefix}.{name}" if prefix else name, field.metadata)
    elif isinstance(value, (tuple, list)):
        for i, child in enumerate(value):
            yield from walk(child, f"{prefix}.{i}" if prefix else str(i), metadata)
    elif isinstance(value, dict):
        for key in value:
            yield from walk(value[key], f"{prefix}.{key}" if prefix else str(key), metadata)
    else:
        yield prefix, value, metadata


def with_leaves(value: Any, changes: Mapping[str, Any], prefix: str = "") -> Any:
    """The same model with the leaves at these paths exchanged; no validation, so tracers may be put in."""
    if value is None:
        return None
    if is_pytree(value):
        return rebuild(
            type(value),
            {
                name: child if _is_static(field) else with_leaves(child, changes, f"{prefix}.{name}" if prefix else name)
                for name, child, field in fields(value)
            },
        )
    if isinstance(value, (tuple, list)):
        return type(value)(with_leaves(c, changes, f"{prefix}.{i}" if prefix else str(i)) for i, c in enumerate(value))
    if isinstance(value, dict):
        return {k: with_leaves(c, changes, f"{prefix}.{k}" if prefix else str(k)) for k, c in value.items()}
    return changes.get(prefix, value)


def rewrite(value: Any, rule: Callable[[Any], Any]) -> Any:
    """A model with every `@pytree` instance in it replaced by `rule` of it, from the innermost outwards; no validation."""
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(rewrite(child, rule) for child in value)
    if isinstance(value, dict):
        return {key: rewrite(child, rule) for key, child in value.items()}
    if not is_pytree(value):
        return value
    return rule(rebuild(type(value), {name: child if _is_static(field) else rewrite(child, rule) for name, child, field in fields(value)}))


def _is_floating(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def _matches(path: str, pattern: str) -> bool:
    """`*` matches any part of a path, dots included; `*.sigma` also finds a `sigma` at the top."""
    return fnmatch.fnmatchcase(path, pattern) or (pattern.startswith("*.") and fnmatch.fnmatchcase(path, pattern[2:]))


def parts(value: Any, kind: type | tuple[type, ...], path: str = "") -> Iterator[tuple[str, Any]]:
    """The outermost objects of these classes in a tree, each with what the paths of its leaves begin with.

    Example:
      >>> from jaxpot import CosineCutoff, GTO, Density
      >>> from jaxpot.cutoffs import Cutoff
      >>> [path for path, _ in parts(Density(("Si",), CosineCutoff(5.0), GTO(n_max=2), l_max=1, sigma=0.5), Cutoff)]
      ['cutoff.']
    """
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, tuple | list):
        for i, child in enumerate(value):
            yield from parts(child, kind, f"{path}{i}.")
    elif is_pytree(value):
        for name, child, _ in fields(value):
            yield from parts(child, kind, f"{path}{name}.")


def free(
    model: Any, *patterns: str, bounds: Mapping[str, tuple[float, float]] | None = None
) -> tuple[dict[str, jax.Array], Callable[[Mapping[str, jax.Array]], Any]]:
    r"""Selects leaves by path and frees them from their constraints.

    A leaf declared `positive()` is mapped by log, a leaf in `bounds` by a scaled sigmoid, any other by the identity:

    .. math:: v = e^{u}, \qquad v = a + (b - a)\,/\,(1 + e^{-u}), \qquad v = u .

    Args:
      model: any `@pytree` instance.
      patterns: paths with `*` and `?`, for example `"*.sigma"` or `"head.*"`. Only floating leaves are selected.
      bounds: pattern -> (lowest, highest), in the leaf's unit; the current value must lie strictly between.

    Returns:
      params: path -> unconstrained array, what optax optimises.
      build: the pure function from such a dict to the model.

    Raises:
      ValueError: if a pattern matches no floating leaf (the paths are listed), or a value is outside its bounds.

    Example:
      >>> from jaxpot.math.cutoffs import CosineCutoff
      >>> params, build = free(CosineCutoff(5.0, width=1.0), "radius")
      >>> float(build(params).radius)
      5.0
    """
    bounds = dict(bounds or {})
    leaves = {path: (value, metadata) for path, value, metadata in walk(model) if _is_floating(value)}

    def select(pattern: str) -> list[str]:
        found = [path for path in leaves if _matches(path, pattern)]
        if not found:
            raise ValueError(f"no leaf matches {pattern!r}; the leaves are:\n  " + "\n  ".join(leaves))
        return found

    paths = list(dict.fromkeys(path for pattern in patterns for path in select(pattern)))
    if not paths:
        raise ValueError("nothing to free: give at least one pattern, for example '*.sigma'; the leaves are:\n  " + "\n  ".join(leaves))
    limits = {path: pair for pattern, pair in bounds.items() for path in select(pattern)}

    params, maps = {}, {}
    for path in paths:
        value, metadata = jnp.asarray(leaves[path][0]), leaves[path][1]
        if path in limits:
            low, high = limits[path]
            if is_concrete(value) and not np.all((np.asarray(value) > low) & (np.asarray(value) < high)):
                raise ValueError(f"{path} = {np.asarray(value)} is not strictly inside its bounds ({low}, {high})")
            x = (value - low) / (high - low)
            params[path] = jnp.log(x) - jnp.log1p(-x)
            maps[path] = lambda u, low=low, high=high: low + (high - low) * jax.nn.sigmoid(u)
        elif metadata.get("positive"):
            params[path], maps[path] = jnp.log(value), jnp.exp
        else:
            params[path], maps[path] = value, lambda u: u

    def build(params: Mapping[str, jax.Array]) -> Any:
        if set(params) != set(maps):
            raise ValueError(f"expected parameters {sorted(maps)}, got {sorted(params)}")
        return with_leaves(model, {path: maps[path](u) for path, u in params.items()})

    return params, build


def change_by_leaves(function: Callable[[Any], jax.Array], tree: Any, steps: Any) -> jax.Array | int:
    """How function(tree) changes along the tangents of a `custom_jvp` rule with symbolic zeros, by the leaves that have one; 0 if none has."""
    leaves, structure = jax.tree_util.tree_flatten(tree)
    steps = jax.tree_util.tree_leaves(steps)
    moving = [i for i, step in enumerate(steps) if not isinstance(step, SymbolicZero)]
    if not moving:
        return 0

    def moved(values):
        new = dict(zip(moving, values, strict=True))
        return function(jax.tree_util.tree_unflatten(structure, [new.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return jax.jvp(moved, ([leaves[i] for i in moving],), ([steps[i] for i in moving],))[1]


def map_floating(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with a function of its floating leaves in their places; integers and booleans stay."""
    return jax.tree_util.tree_map(lambda x: function(x) if _is_floating(x) else x, tree)
