"""One model, one `.npz`: a JSON text member (format version, class names, static fields, nested) plus arrays named by path.

Nothing is pickled, so loading a file from somebody else runs none of their code. The library's classes stand there by their names, those of
others as "module:name"; files of earlier formats are converted (`convert`).
"""

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.io.convert import TABLES, arrays_of, as_tuples, converted
from jaxpot.io.text import one_line_refusals
from jaxpot.trees import class_name, fields, find_class, is_pytree, rebuild, walk

FORMAT = len(TABLES) + 1
MEMBER = "jaxpot"


class _UnlikeToday(ValueError):
    """A class or field of another release."""


def describe(value: Any, arrays: dict[str, np.ndarray], path: str = "") -> Any:
    """The JSON form of a model; its arrays are put into `arrays` under their paths."""
    if is_pytree(value):
        out: dict[str, Any] = {"class": class_name(type(value))}
        for name, child, field in fields(value):
            if not field.init:
                continue
            where = f"{path}.{name}" if path else name
            if field.metadata.get("code"):
                out[name] = {"code": type(child).__name__}
            else:
                out[name] = _static(child, where) if field.metadata.get("static") else describe(child, arrays, where)
        return out
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        return [describe(child, arrays, f"{path}.{i}" if path else str(i)) for i, child in enumerate(value)]
    if isinstance(value, dict):
        return {"mapping": [[key, describe(child, arrays, f"{path}.{key}" if path else str(key))] for key, child in value.items()]}
    if isinstance(value, (jax.Array, np.ndarray, np.generic, int, float)):
        arrays[path] = np.asarray(value)
        return {"array": path}
    raise TypeError(f"cannot save {path or 'this object'} of type {type(value).__name__}; expected a jaxpot model")


def _static(value: Any, path: str) -> Any:
    if isinstance(value, (tuple, list)):
        return [_static(v, path) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot save the static field {path} of type {type(value).__name__}; expected numbers, strings and tuples")


def save(path: str | os.PathLike, model: Any) -> Path:
    """Writes a model to one `.npz` file, atomically.

    Args:
      path: file name; `.npz` is appended if it has no suffix.
      model: any `@pytree` instance, or a tuple of them.

    Returns:
      The path written.

    Example:
      >>> import tempfile, jaxpot
      >>> file = save(tempfile.mkdtemp() + "/cutoff", jaxpot.CosineCutoff(5.0, width=1.0))
      >>> load(file)
      CosineCutoff(radius=5.0, width=1.0)
    """
    import jaxpot

    path = Path(path)
    path = path if path.suffix else path.with_suffix(".npz")
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps({"format": FORMAT, "jaxpot": jaxpot.__version__, "model": describe(model, arrays)})
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.savez(file, **{MEMBER: np.array(text)}, **arrays)
    os.replace(partial, path)
    return path


@one_line_refusals("a jaxpot model")
def load(path: str | os.PathLike, *, like: Any = None) -> Any:
    """Reads a model written by `save`, now or by an earlier release.

    A file of jaxpot 0.1.0 that also holds the posterior of its model is read without it, with a warning that says how to have both.

    Args:
      path: file name.
      like: a model of the same structure, from which modules of Flax are taken: a file holds their arrays, not their code. All other
        models need none.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not a jaxpot model, is damaged, is of a newer format, names an unknown class or field, or lacks one, has a class of
        a module that is not imported (the message has the line), or needs code that `like` has not or has for arrays of other shapes; with
        the path inside the model.
    """
    text, content, header = read_archive(path)
    version = header["format"]
    if version == 1 and any(name.split(".")[-1] == "covariance" for name in content):
        line = f'posterior = jaxpot.io.load_posterior("{path}")'
        warnings.warn(f"{path} also holds the posterior of its model, which is an object of its own since; to have both write {line}", stacklevel=3)
    try:
        text = converted(text, content, version)
        model = _build(text, content, str(path), "", like)
    except _UnlikeToday as error:
        release = f"; it was written by jaxpot {header.get('jaxpot')}, load it with that release" if version < FORMAT else ""
        raise ValueError(f"{error}{release}") from None
    unknown = sorted(set(content) - arrays_of(text))
    if unknown:
        raise ValueError(f"{path} holds arrays that its model does not name: {', '.join(unknown)[:100]}")
    return model


def read_archive(path: str | os.PathLike) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """The description of a model in a file, the arrays that it names, and the file's header; raises as `load`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a model written by jaxpot.save")
    if not path.exists():
        raise FileNotFoundError(f"no model file at {path}")
    try:
        with open(path, "rb") as opened:
            if opened.read(2) != b"PK":
                raise ValueError("it is no .npz archive")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        if MEMBER not in content:
            raise ValueError(f"an archive of other arrays: {', '.join(content)[:100]}")
        header = json.loads(str(content.pop(MEMBER)))
        version, text = header["format"], header["model"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError, zipfile.LargeZipFile) as error:
        raise ValueError(f"{path} is not a readable jaxpot model ({type(error).__name__}: {error}); expected a file written by jaxpot.save") from None
    except Exception as error:  # zlib.error and struct.error, which NumPy passes on from damaged archives
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise ValueError(f"{path} has format {version}, this jaxpot reads up to {FORMAT}; upgrade it with pip install -U jaxpot")
    return text, content, header


def _build(text: Any, arrays: dict[str, np.ndarray], file: str, path: str, like: Any) -> Any:
    if text is None:
        return None
    if isinstance(text, list):
        likes = like if isinstance(like, (tuple, list)) and len(like) == len(text) else [None] * len(text)
        return tuple(_build(t, arrays, file, f"{path}.{i}" if path else str(i), likes[i]) for i, t in enumerate(text))
    if not isinstance(text, dict):
        raise ValueError(f"{file}: {path or 'the model'} is {text!r}; expected an object")
    if "array" in text:
        if text["array"] not in arrays:
            raise ValueError(f"{file}: the array {text['array']} is missing")
        value = arrays[text["array"]]
        if value.dtype.kind not in "iufb":
            raise ValueError(f"{file}: the array {text['array']} is of {value.dtype}; expected numbers")
        # float64 stays float64 whatever the x64 switch says, as at construction
        return value if value.dtype == np.float64 and (value.ndim == 0 or not jax.config.jax_enable_x64) else jnp.asarray(value)
    if "mapping" in text:
        likes = like if isinstance(like, dict) else {}
        return {key: _build(child, arrays, file, f"{path}.{key}" if path else str(key), likes.get(key)) for key, child in text["mapping"]}
    name = text.get("class")
    try:
        cls = find_class(name)
    except ValueError as error:
        raise _UnlikeToday(f"{file}: {path or 'the model'} has the {error}") from None
    import dataclasses

    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    # what a release has added since may be absent, which is what the file has of it
    text = {field_name: None for field_name, field in known.items() if field.default is None} | text
    given = set(text) - {"class"}
    if given != set(known):
        missing, extra = sorted(set(known) - given), sorted(given - set(known))
        raise _UnlikeToday(f"{file}: {path or 'the model'} ({name}) lacks fields {missing} and has unknown fields {extra}")
    values = {}
    for field_name, field in known.items():
        where = f"{path}.{field_name}" if path else field_name
        value, own = text[field_name], getattr(like, field_name, None)
        if field.metadata.get("code"):
            if type(like) is not cls:
                raise ValueError(f"{file}: {where} is code, which a file does not hold; write load(path, like=model) with a model of the same modules")
            values[field_name] = own
        else:
            values[field_name] = as_tuples(value) if field.metadata.get("static") else _build(value, arrays, file, where, own)
    out = rebuild(cls, values)
    if any(field.metadata.get("code") for field in known.values()):
        stored, expected = ({where: np.shape(leaf) for where, leaf, _ in walk(model)} for model in (out, like))
        if stored != expected:
            raise ValueError(f"{file}: {path or 'the model'} ({name}) holds arrays {stored}, but `like` {expected}")
    try:
        out.__post_init__()
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"{file}: {path or 'the model'} ({name}): {error}") from None
    return out
