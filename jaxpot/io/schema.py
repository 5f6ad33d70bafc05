"""The JSON schema of configurations, made from the classes of which models are: editors complete and check what is written."""

import dataclasses
import inspect
import re
import types
import typing
from typing import Any

import jax

from jaxpot.io.fit_config import SECTIONS
from jaxpot.potentials.base import Potential
from jaxpot.properties import OBSERVABLES
from jaxpot.trees import class_table

_NONE = {"const": "none"}
_NUMBERS = {"$ref": "#/$defs/numbers"}
_SCALARS: dict[Any, dict] = {int: {"type": "integer"}, float: {"type": "number"}, str: {"type": "string"}, bool: {"type": "boolean"}}
_FILES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_WORDS = {"type": "array", "items": {"type": "string"}}
_LEVEL = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _NONE]}
_COUNT = {"type": "integer", "minimum": 1}
_RULE = {
    "type": "object", "properties": {"rule": {"const": "forces"}, "power": {"type": "number"}, "order": {"type": "number"}}, "required": ["rule"],
    "description": "a prior by which all functions make equally large forces on the training frames",
}  # fmt: skip
_KEYS: dict[str, dict[str, tuple[dict, str]]] = {
    "data": {
        "train": (_FILES, "files or globs of labelled structures, in any format that ASE reads, compressed or not"),
        "test": (_FILES, "likewise, of which errors are reported after the fit"),
        "index": ({"type": "string", "default": ":"}, 'which frames of every file: a slice such as "::10"'),
        "test_index": ({"type": "string", "default": ":"}, "likewise of test"),
        "select": ({"type": "object"}, 'only frames whose atoms.info has these values, such as {config_type = "liquid"}'),
        "test_select": ({"type": "object"}, "likewise of test"),
        "keys": ({"type": "object"}, 'where labels are, such as {energy = "dft_energy", forces = "dft_forces"}'),
        "cutoff": ({"type": "number"}, "radius of the neighbour lists in Å, at least the reach of the model, which is the default"),
        "batch_size": (_COUNT | {"default": 64}, "structures that are compiled together"),
    },
    "noise": {
        name: (
            _LEVEL | {"default": "none"},
            f"standard deviation of labels of the {one.word}, in {one.unit or 'their unit'}{' per √atom' * one.by_atom}",
        )
        for name, one in OBSERVABLES.items()
    }
    | {"config_types": ({"type": "object"}, "levels of one configuration type: {dimer = [energy, forces, virial]}")},
    "sparse": {
        "n": ({"anyOf": [_COUNT, {"type": "object"}]}, "number of sparse points, or of each element: {Si = 500, O = 300}"),
        "method": ({"enum": ["cur", "fps", "kmeans", "grid"], "default": "cur"}, "how they are chosen"),
        "seed": ({"type": "integer", "default": 0}, "of the choice"),
    },
    "evidence": {
        "leaves": (_WORDS, 'patterns of the leaves that the evidence moves, such as ["*.sigma"]'),
        "noise": (_WORDS, 'kinds of labels whose noise levels it moves, such as ["energy", "forces"]'),
        "bounds": ({"type": "object"}, 'lowest and highest values: {"*.radius" = [3.0, 6.0]}'),
        "steps": (_COUNT | {"default": 50}, "of L-BFGS"),
        "restarts": ({"type": "integer", "minimum": 0, "default": 0}, "from elsewhere"), "seed": ({"type": "integer", "default": 0}, "of restarts"),
    },
    "fit": {
        "method": ({"enum": ["qr", "cholesky", "lsqr", "levels", "none"]}, "levels finds noise levels and scales of priors, the others keep "
                   "them; qr unless said, and none before a training"),
        "covariance": ({"type": "boolean", "default": False}, "whether the posterior is kept, posterior.npz"),
        "common": ({"type": "boolean", "default": False}, "of levels: one factor for all noise levels"),
    },
    "train": {
        "leaves": (_WORDS, "patterns of the leaves that are trained; of heads all unless said"),
        "epochs": (_COUNT | {"default": 200}, "passes over the data"), "batch": (_COUNT | {"default": 8}, "structures of a step"),
        "rate": ({"type": "number", "default": 0.005}, "of Adam; falls to zero as a cosine"),
        "clip": ({"type": "number", "default": 10.0}, "largest norm of a gradient"),
        "validation": ({"type": "number", "default": 0.1}, "share of the frames, held out, that says when the model is best"),
        "patience": ({"type": "integer", "default": 0}, "epochs without improvement after which training ends; 0 is none"),
        "average": ({"type": "number", "default": 0.99}, "of parameters over 1 / (1 − average) steps; 0 is none"),
        "seed": ({"type": "integer", "default": 0}, "of batches"),
    },
}  # fmt: skip
_ABOUT = {
    "data": "Structures with labels.",
    "noise": "How far labels are from the truth, of structures of one atom.",
    "model": "What is fitted.",
    "sparse": "The points of a sparse Gaussian process, where a head of the model is one.",
    "evidence": "The first stage, if it is there: hyper-parameters and noise levels of the largest evidence.",
    "fit": "The linear fit of coefficients.",
    "train": "The last stage, if it is there: training by gradients, of networks and all that is not linear.",
}


def schema() -> dict[str, Any]:
    """The schema, of draft 2020-12, ready for JSON.

    Every class of the library with its fields is there, with what its docstring says of them; classes of one's own are there if they are imported.

    Example:
      >>> schema()["$defs"]["CosineCutoff"]["properties"]["radius"]["description"]
      'r_c, in Å.'
    """
    sections = {name: _section(name, keys) for name, keys in _KEYS.items()}
    sections["model"] = {"description": _ABOUT["model"], "anyOf": [_any_of(Potential), {"$ref": "#/$defs/terms"}]}
    classes = class_table()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "jaxpot fit",
        "type": "object",
        "properties": {name: sections[name] for name in SECTIONS},
        "required": ["data", "noise", "model"],
        "additionalProperties": False,
        "$defs": {name: _class(name, cls) for name, cls in sorted(classes.items())}
        | {
            "numbers": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#/$defs/numbers"}}, _NONE]},
            "terms": {"type": "object", "properties": {"terms": {"type": "array", "items": _any_of(Potential)}}, "required": ["terms"]},
        },
    }


def _section(name: str, keys: dict[str, tuple[dict, str]]) -> dict:
    properties = {name: kind | {"description": words} for name, (kind, words) in keys.items()}
    return {"type": "object", "description": _ABOUT[name], "properties": properties, "additionalProperties": False}


def _any_of(kind: type) -> dict:
    """One of the classes that are of this kind."""
    found = [{"$ref": f"#/$defs/{name}"} for name, cls in sorted(class_table().items()) if issubclass(cls, kind)]
    return {"title": kind.__name__, "anyOf": found} if found else {}


def _class(name: str, cls: type) -> dict:
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    words, properties = _arguments(cls), {"class": {"const": name}}
    parameters = inspect.signature(cls).parameters
    accepted = [key for key in parameters if key not in ("args", "kwargs", "others", "more")]
    for key in dict.fromkeys([*accepted, *fields]):
        own = _field(fields[key]) if key in fields else {}
        own = {"anyOf": [own, _RULE]} if key == "roughness" else own
        properties[key] = own | ({"description": words[key]} if key in words else {}) | (_default(parameters[key]) if key in parameters else {})
    needed = [key for key in accepted if parameters[key].default is inspect.Parameter.empty and key in properties]
    required = needed if set(accepted) == set(fields) else []  # a class with its own __init__ has two forms
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
    return {"type": "object", "description": summary, "properties": properties, "required": ["class", *required], "additionalProperties": False}


def _default(parameter: inspect.Parameter) -> dict:
    """What holds where a field is left out, if a configuration can say it."""
    value = "none" if parameter.default is None else parameter.default
    return {"default": value} if isinstance(value, bool | int | float | str) and parameter.default is not inspect.Parameter.empty else {}


def _field(field: dataclasses.Field) -> dict:
    """What one field may hold, by its annotation."""
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    found = []
    for option in options:
        inner = typing.get_args(option)
        if option is type(None):
            found.append(_NONE)
        elif option in _SCALARS and field.metadata.get("static"):
            found.append(_SCALARS[option])
        elif typing.get_origin(option) is tuple and not field.metadata.get("static") and isinstance(inner[0], type) and inner[0] is not jax.Array:
            found.append({"type": "array", "items": _any_of(inner[0])})
        elif option is tuple or typing.get_origin(option) is tuple:
            found.append({"type": "array"})
        elif isinstance(option, type) and option is not jax.Array and not field.metadata.get("static"):
            found.append(_any_of(option))
        else:
            found.append({} if field.metadata.get("static") else _NUMBERS)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _arguments(cls: type) -> dict[str, str]:
    """What the docstring says of every argument."""
    text = inspect.getdoc(cls) or ""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE)
    found = re.findall(r"^  (\w+(?:, \w+)*): (.*(?:\n    .*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(words.split()) for names, words in found for name in names.split(", ")}
