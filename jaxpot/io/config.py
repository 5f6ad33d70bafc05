"""Models as nested tables, the form in which a configuration file writes them: class names with their fields.

TOML has no null; where a field may be None, the word "none" stands for it.
"""

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxpot.heads.references import References
from jaxpot.potentials.base import IsolatedAtoms, Potential
from jaxpot.trees import class_name, class_table, fields, find_class, is_pytree, rebuild

_NONE = "none"
_LARGEST = 1e30
_SCALARS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def model_from_table(table: Any, path: str = "model") -> Potential:
    """Builds a model from nested tables.

    Args:
      table: `{"class": name, field: value, ...}`, or `{"terms": [...]}` for a Sum. Fields left out take the class's defaults;
        numbers and lists of numbers are leaves, tables are objects.
      path: where the table stands in the configuration, for messages.

    Returns:
      The potential, without coefficients and sparse points.

    Raises:
      ValueError: for an unknown class or field, a missing field, a value of the wrong kind or one the class refuses; with its
        dotted path.

    Example:
      >>> model_from_table({"class": "IsolatedAtoms", "energies_of": {"Si": -1.0}}).species
      ('Si',)
    """
    if isinstance(table, Mapping) and "class" not in table and "terms" in table:
        table = {"class": "Sum", **table}
    return _object(table, path, Potential)


def table_from_model(model: Any) -> Any:
    """The inverse of `model_from_table`, every field written out; fields that are None by default, and references where there are none, are left out.

    Raises:
      TypeError: for fields that have no such form.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> table_from_model(CosineCutoff(5.0))
      {'class': 'CosineCutoff', 'radius': 5.0}
    """
    if isinstance(model, IsolatedAtoms):
        return {"class": "IsolatedAtoms", "energies_of": dict(zip(model.species, np.asarray(model.values).tolist(), strict=True))}
    if is_pytree(model):
        out = {"class": class_name(type(model))}
        for name, value, field in fields(model):
            if field.init and (value is not None or field.default is not None) and not (isinstance(value, References) and not value.count):
                out[name] = table_from_model(value)
        return out
    if model is None:
        return _NONE
    if isinstance(model, (tuple, list)):
        return [table_from_model(item) for item in model]
    if isinstance(model, (bool, str, int, float)):
        return model
    if isinstance(model, (jax.Array, np.ndarray, np.generic)):
        return np.asarray(model).tolist()
    raise TypeError(f"a configuration cannot hold a {type(model).__name__}; expected @pytree classes, numbers and strings")


def _object(value: Any, path: str, kind: type) -> Any:
    """An instance of a class that is a `kind`."""
    names = sorted(name for name, cls in class_table().items() if issubclass(cls, kind))
    if not isinstance(value, Mapping):
        raise ValueError(f'{path} is {value!r}; expected a table such as {{class = "{names[0]}", ...}}, one of {", ".join(names)}')
    if "class" not in value:
        raise ValueError(f'{path} has no class; write class = "...", one of {", ".join(names)}')
    name = value["class"]
    try:
        cls = find_class(name)
    except ValueError as error:
        raise ValueError(f"{path} has the {error}; expected one of {', '.join(names)}") from None
    if not issubclass(cls, kind):
        raise ValueError(f"{path} has the class {name}, which is no {kind.__name__}; expected one of {', '.join(names)}")
    given = {key: item for key, item in value.items() if key != "class"}
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    arguments = inspect.signature(cls).parameters
    as_saved = set(known) != set(arguments) and bool(given) and set(given) <= set(known)  # a class with its own __init__, in its saved form
    accepted = tuple(known) if as_saved else tuple(arguments)
    for key in given:
        if key not in accepted:
            raise ValueError(f"{path}.{key}: {name} has no such field; its fields are {', '.join(accepted)}")
    of_constructor = [key for key, p in arguments.items() if p.default is inspect.Parameter.empty]
    required = [key for key in known if not _has_default(known[key])] if as_saved else of_constructor
    for key in required:
        if key not in given:
            raise ValueError(f"{path}.{key} is missing; {name} needs {', '.join(required)}")
    values = {
        key: _field(item, f"{path}.{key}", known[key].type, known[key].metadata.get("static", False))
        if key in known
        else _numbers(item, f"{path}.{key}")
        for key, item in given.items()
    }
    try:
        if not as_saved:
            return cls(**values)
        out = rebuild(cls, values)
        out.__post_init__()
        return out
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, MemoryError) as error:
        text = str(error)
        raise ValueError(f"{path}: {text if text.startswith(name) else f'{name}: {text}'}") from None


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _field(value: Any, path: str, annotation: Any, is_static: bool) -> Any:
    """The value of one field, by its annotation."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if value == _NONE and (type(None) in options or str not in options):
        if type(None) not in options:
            raise ValueError(f"{path} must have a value, got {value!r}")
        return None
    options = [o for o in options if o is not type(None)]
    if is_static:
        return _structure(value, path, options)
    if len(options) > 1:  # one table, or a list of them
        options = [o for o in options if (typing.get_origin(o) is tuple) == isinstance(value, list)] or options
    for option in options:
        if len(options) > 1 and (typing.get_origin(option) is tuple) != isinstance(value, list):
            continue  # one object or a list of them
        if typing.get_origin(option) is tuple:
            if not isinstance(value, list):
                raise ValueError(f"{path} is {value!r}; expected a list of tables")
            return tuple(_object(item, f"{path}.{i}", typing.get_args(option)[0]) for i, item in enumerate(value))
        if isinstance(option, type) and option is not jax.Array:
            return _object(value, path, option)
    return _leaf(value, path)


def _numbers(value: Any, path: str) -> Any:
    """An argument that is no field, such as energies_of: a table of numbers; whatever else its class refuses."""
    if not isinstance(value, Mapping):
        return value
    if not value:
        raise ValueError(f"{path} is empty; expected a table of numbers")
    for key, item in value.items():
        if np.ndim(_leaf(item, f"{path}.{key}")):
            raise ValueError(f"{path}.{key} is {item!r}; expected a number")
    return value


def _structure(value: Any, path: str, options: list[Any]) -> Any:
    """A static field: numbers, strings and tuples of them."""
    scalars = [o for o in options if o in _SCALARS]
    if isinstance(value, list):
        if any(isinstance(item, Mapping) for item in jax.tree_util.tree_leaves(value, is_leaf=lambda item: isinstance(item, Mapping))):
            raise ValueError(f"{path} is {value!r}; expected a list without tables")
        if scalars and len(scalars) == len(options):
            raise ValueError(f"{path} is {value!r}; expected {' or '.join(_SCALARS[o] for o in scalars)}")
        return _tuples(value)
    if isinstance(value, Mapping):
        raise ValueError(f"{path} is a table; expected {' or '.join(_SCALARS[o] for o in scalars) or 'a list'}")
    if not scalars:
        raise ValueError(f"{path} is {value!r}; expected a list, for example [{json.dumps(value, ensure_ascii=False)}]")
    if float in scalars and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in scalars:
        raise ValueError(f"{path} is {value!r}; expected {' or '.join(_SCALARS[o] for o in scalars)}")
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _leaf(value: Any, path: str) -> np.ndarray:
    """A number or a nested list of numbers."""

    def numeric(item):
        return all(numeric(i) for i in item) if isinstance(item, list) else isinstance(item, (int, float)) and not isinstance(item, bool)

    if not numeric(value):
        raise ValueError(f"{path} is {value!r}; expected a number or a list of numbers")
    try:
        found = np.asarray(value, dtype=np.float64)
    except (ValueError, OverflowError):
        raise ValueError(f"{path} is a ragged list, or has too large a number; expected rows of one length") from None
    if not found.size or not np.all(np.abs(found) <= _LARGEST):
        raise ValueError(f"{path} is {value!r}; expected finite numbers up to {_LARGEST:g}, at least one")
    return found


def check_keys(table: Any, known: tuple[str, ...], path: str) -> None:
    """Refuses what is not a table, and keys that mean nothing.

    Raises:
      ValueError: naming the key and those that exist.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{path} is {table!r}; expected a table with {', '.join(known)}")
    for key in table:
        if key not in known:
            where = f"{path}.{key}: no such key" if path else f"[{key}]: no such section"
            raise ValueError(f"{where}; expected {', '.join(known)}")


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML text of nested tables of strings, numbers, booleans and lists.

    Example:
      >>> print(to_toml({"fit": {"method": "qr"}}), end="")
      [fit]
      method = "qr"
    """
    import tomli_w

    return tomli_w.dumps(table)
