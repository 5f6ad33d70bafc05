"""Model files of earlier formats: what became of their classes and fields, one line each.

A file holds a description (nested objects of a class name and its fields, see `save`) and arrays, which the description names. For each format
there is a table of what has changed since, from the class's name in the file to the steps that make today's object of it, children before
parents. What a step adds is written out, not taken from today's defaults: a file means what it meant.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpot.descriptors.contractions import Contractions, of_level, program

Node = dict[str, Any]  # {"class": name, field: description, ...}
Arrays = dict[str, np.ndarray]
Step = Callable[[Node, Arrays], Node]


def called(name: str) -> Step:
    """The class has another name."""
    return lambda node, arrays: {**node, "class": name}


def renamed(**names: str) -> Step:
    """Fields have other names: renamed(old="new")."""
    return lambda node, arrays: {names.get(key, key): child for key, child in node.items()}


def dropped(*names: str) -> Step:
    """Fields are no more, and nothing that the model computes depends on them."""

    def step(node: Node, arrays: Arrays) -> Node:
        for name in names:
            for array in arrays_of(node.get(name)):
                arrays.pop(array, None)
        return {key: child for key, child in node.items() if key not in names}

    return step


def added(**values: Any) -> Step:
    """Fields are new; those that the file lacks get these values: what JSON holds, a description, or a NumPy array for a leaf."""

    def step(node: Node, arrays: Arrays) -> Node:
        out = dict(node)
        for name in values.keys() - node.keys():
            out[name] = values[name]
            if isinstance(values[name], np.ndarray):
                array = f"added.{len(arrays)}"
                arrays[array], out[name] = values[name], {"array": array}
        return out

    return step


def nested(part: str, kind: str, *names: str) -> Step:
    """Fields have moved into one part, an object of another class."""
    return lambda node, arrays: {
        **{key: child for key, child in node.items() if key not in names},
        part: {"class": kind, **{name: node[name] for name in names if name in node}},
    }


def refused(advice: str) -> Step:
    """There is no such class any more; the advice says what to do."""

    def step(node: Node, arrays: Arrays) -> Node:
        raise ValueError(advice)

    return step


def as_tuples(value: Any) -> Any:
    """Lists of JSON as structure has them."""
    return tuple(as_tuples(v) for v in value) if isinstance(value, list) else value


def _unmixed_ace(node: Node, arrays: Arrays) -> Node:
    """What was purified is a class of its own."""
    if node.get("purified"):
        node = dropped("tensor_reduced")(called("PurifiedACE")(node, arrays), arrays)
    return dropped("purified")(node, arrays)


def _moments(node: Node, arrays: Arrays) -> Node:
    """Its moments have a highest degree, which was that of its contractions."""
    lists = of_level(node["level"]) if node["contractions"] is None else Contractions(*as_tuples(node["contractions"]))
    return {**node, "l_max": program(lists).degrees[-1][1]}


def _referring(**fields: str) -> Step:
    """What a kernel model refers to has become one part: of which field each of its own was, _referring(kinds="species")."""

    def step(node: Node, arrays: Arrays) -> Node:
        part = {"class": "References", **dict.fromkeys(("points", "features", "kinds", "weights", "invariants", "directions"))}
        kept = {key: child for key, child in node.items() if key not in fields.values()}
        return {**kept, "references": part | {own: node[old] for own, old in fields.items()}}

    return step


_APART = dropped("covariance", "root")  # which load_posterior reads

# from format 1, of jaxpot 0.1.0
_SINCE_1: dict[str, tuple[Step, ...]] = {
    "ACE": (renamed(density="expansion"), _unmixed_ace),
    "CompressedSOAP": (renamed(density="expansion"),),
    "Density": (dropped("table"),),
    "Environment": (added(carried=None, center_carried=None),),
    "GlobalSOAP": (renamed(density="expansion"),),
    "GradientDomain": (_referring(features="features", directions="directions"),),
    "Graph": (added(charge=None, field=None),),
    "LambdaSOAP": (renamed(density="expansion"),),
    "LambdaGP": (_referring(points="points", features="features", invariants="invariants", kinds="species"),),
    "Linear": (_APART,),
    "MBTR": (added(distance={"class": "InverseTransform"}, angle={"class": "CosineOfAngle"}, angle_cutoff=None, perimeter=None),),
    "MTP": (_moments, dropped("radial_basis_size"), nested("expansion", "Moments", "species", "l_max", "min_dist", "max_dist", "radial", "scaling")),
    "PIP": (_APART,),
    "Quadratic": (_APART,),
    "SOAP": (renamed(density="expansion"),),
    "SharedLinear": (_APART,),
    "SparseGP": (_APART, _referring(points="points", features="features", weights="weights", kinds="species")),
    "StructureGP": (_APART, _referring(points="points", features="features", kinds="centers")),
    "TurboDensity": (dropped("table"),),
}
TABLES = (_SINCE_1,)  # of format 1, 2, ...; the format written is the next one


def converted(text: Any, arrays: Arrays, version: int) -> Any:
    """The description of a model in today's classes; arrays that these no longer have are taken out.

    Args:
      text: the description in a file.
      arrays: all arrays of the file; changed.
      version: the file's format.

    Raises:
      ValueError: for a class that has no successor, with its path in the model.
    """
    for table in TABLES[version - 1 :]:
        text = _stepped(text, arrays, table, "")
    return text


def factors_of(text: Any) -> list[str | None]:
    """In a file of format 1, for each term of its model: the array of the factor C of its posterior covariance, None if there is none."""
    terms = text.get("terms") if isinstance(text, dict) and text.get("class") == "Sum" else [text]
    holders = [term.get("head") if isinstance(term, dict) and "head" in term else term for term in terms or ()]
    found = [holder.get("covariance") if isinstance(holder, dict) else None for holder in holders]
    return [factor["array"] if isinstance(factor, dict) and "array" in factor else None for factor in found]


def arrays_of(text: Any) -> set[str]:
    """The arrays that a description names."""
    if isinstance(text, dict) and "array" in text:
        return {text["array"]}
    children = text.values() if isinstance(text, dict) else text if isinstance(text, list) else ()
    return set().union(*map(arrays_of, children))


def _stepped(text: Any, arrays: Arrays, table: Mapping[str, tuple[Step, ...]], path: str) -> Any:
    below = lambda key: f"{path}.{key}" if path else str(key)  # noqa: E731
    if isinstance(text, list):
        return [_stepped(child, arrays, table, below(i)) for i, child in enumerate(text)]
    if not isinstance(text, dict):
        return text
    node = {key: _stepped(child, arrays, table, below(key)) for key, child in text.items()}
    name = node.get("class")
    for step in table.get(name, ()):
        try:
            node = step(node, arrays)
        except ValueError as error:
            raise ValueError(f"{path or 'the model'} ({name}): {error}") from None
    return node
