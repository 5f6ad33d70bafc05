"""YAML of potential files, by PyYAML: numbers, `true`, `false` and `null` as YAML 1.2 has them, all else is text.

By the rules of YAML 1.1 the element Y would be a yes, 1e-3 a word and 010 eight.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

import yaml

from jaxpot.io.text import read_text

_NUMBER = re.compile(r"[-+]?(?:\d+(\.\d*)?|(\.\d+))([eE][-+]?\d+)?", re.ASCII).fullmatch
_MEANINGS = {None: ("", "~", "null", "Null", "NULL"), True: ("true", "True", "TRUE"), False: ("false", "False", "FALSE")}
_WORDS = {word: value for value, words in _MEANINGS.items() for word in words}
_LONGEST_INTEGER = 300  # digits; Python refuses to convert more than some thousands


_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | os.PathLike, what: str = "a YAML file") -> Any:
    """The contents of a file as dicts, lists, numbers, truth values, None and strings; keys that are lists become tuples.

    Args:
      path: the file.
      what: what it should be, for messages.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for what is not YAML, with the line; for keys given twice, tags, aliases and several documents.
    """
    text = read_text(path, what)
    try:
        return _contents(_PARSER(text), path, what)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        lines = text.splitlines()
        where = f"{path}, line {mark.line + 1}" if mark else path
        shown = f" at {lines[mark.line].strip()[:60]!r}" if mark and mark.line < len(lines) else ""
        raise ValueError(f"{where}: {' '.join(problem.split())}{shown}; expected {what}") from None


def _contents(parser: Any, path: str | os.PathLike, what: str) -> Any:
    events = iter(parser.get_event, None)
    next(events)  # the start of the stream
    if type(next(events)) is yaml.StreamEndEvent:
        raise ValueError(f"{path} is empty; expected {what}")
    value = _value(next(events), events, path)
    next(events)  # the end of the document
    if type(event := next(events)) is not yaml.StreamEndEvent:
        raise ValueError(f"{_place(event, path)}: a second document begins; expected {what}")
    return value


def _value(event: yaml.Event, events: Iterator[yaml.Event], path: str | os.PathLike) -> Any:
    """What begins with this event."""
    kind = type(event)
    if kind is yaml.AliasEvent:
        raise ValueError(f"{_place(event, path)}: the alias *{event.anchor} is not read; write out what it stands for")
    if event.tag is not None:
        raise ValueError(f"{_place(event, path)}: the tag {event.tag} is not read; leave it out")
    if kind is yaml.ScalarEvent:
        return _scalar(event, path) if event.implicit[0] else event.value  # what is in quotes is text
    if kind is yaml.SequenceStartEvent:
        items = []
        while type(event := next(events)) is not yaml.SequenceEndEvent:
            items.append(_value(event, events, path))
        return items
    found: dict = {}
    while type(event := next(events)) is not yaml.MappingEndEvent:
        key = _value(event, events, path)
        key = tuple(key) if isinstance(key, list) else key
        if isinstance(key, dict) or (isinstance(key, tuple) and any(isinstance(k, dict | list) for k in key)):
            raise ValueError(f"{_place(event, path)}: expected a word, a number or a list of them as a key, got {str(key)[:60]}")
        if key in found:
            raise ValueError(f"{_place(event, path)}: the key {key} is given twice")
        found[key] = _value(next(events), events, path)
    return found


def _place(event: yaml.Event, path: str | os.PathLike) -> str:
    return f"{path}, line {event.start_mark.line + 1}"


def _scalar(event: yaml.Event, path: str | os.PathLike) -> Any:
    word = event.value
    number = _NUMBER(word)
    if not number:
        return _WORDS.get(word, word)
    if number.lastindex:
        return float(word)
    if len(word) > _LONGEST_INTEGER:
        raise ValueError(f"{_place(event, path)}: {word[:20]}… is too large for an integer")
    return int(word)
