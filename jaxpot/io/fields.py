"""What potential files of mappings hold under their keys: the keys themselves, counts and tables of numbers."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import numpy as np

from jaxpot.io.text import integer, number


def checked(found: Any, needed: tuple[str, ...], optional: Mapping[str, Any], where: str) -> dict:
    """A mapping with all keys, none of them unknown, and what is taken for those left out.

    Raises:
      ValueError: naming the key that is unknown or missing.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected keys such as {needed[0]}, got {str(found)[:40]!r}")
    unknown = [str(key) for key in found if key not in needed and key not in optional]
    if unknown:
        raise ValueError(f"{where}: the key {unknown[0]} is not implemented; those that are: {', '.join((*needed, *optional))}")
    missing = [key for key in needed if key not in found]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return dict(optional) | found


def count(value: Any, where: str, most: int, least: int = 0) -> int:
    """An integer, perhaps written as `4.0` or in quotes, within bounds.

    Raises:
      ValueError: if it is none.

    Example:
      >>> count("4.0", "al.yace: lmax", 40)
      4
    """
    found = integer(str(value), where)
    if not least <= found <= most:
        raise ValueError(f"{where}: expected an integer from {least} to {most}, got {found}")
    return found


def counts(value: Any, where: str) -> list[int]:
    """A list of integers.

    Raises:
      ValueError: if it is none.
    """
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list of integers, got {str(value)[:40]!r}")
    return [x if type(x) is int and abs(x) < 10**9 else count(x, where, 10**9, -(10**9)) for x in value]


def numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of this shape.

    Raises:
      ValueError: for other shapes, and for what is no number.
    """
    array = np.array(value, object)
    if array.shape != shape:
        raise ValueError(f"{where}: expected numbers of shape {shape}, got shape {array.shape}")
    flat = [x if type(x) is float and isfinite(x) else number(str(x), where) for x in array.reshape(-1).tolist()]
    return np.array(flat, float).reshape(shape)


def of_all(found: Any, places: Iterable[tuple[int, ...]], where: str) -> list[tuple[tuple[int, ...], Any]]:
    """The entries of all elements or pairs of them, and no others.

    Raises:
      ValueError: naming the places that are given and those expected.
    """
    places = list(places)
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected entries for {places}, got {str(found)[:40]!r}")
    own = {tuple(counts(list(key) if isinstance(key, tuple) else [key], where)): value for key, value in found.items()}
    if set(own) != set(places) or len(own) < len(found):
        raise ValueError(f"{where} are given for {sorted(own)}; expected {places}")
    return [(place, own[place]) for place in places]
