"""YAML of potential files, by PyYAML: numbers, `true`, `false` and `null` as YAML 1.2 has them, all else is text.

By the rules of YAML 1.1 the element Y would be a yes, 1e-3 a word and 010 eight.
"""

import os
import re
from typing import Any

import yaml

from jaxpot.io.text import read_text

_NUMBER = re.compile(r"[-+]?(?:\d+(\.\d*)?|(\.\d+))([eE][-+]?\d+)?", re.ASCII).fullmatch
_MEANINGS = {None: ("", "~", "null", "Null", "NULL"), True: ("true", "True", "TRUE"), False: ("false", "False", "FALSE")}
_WORDS = {word: value for value, words in _MEANINGS.items() for word in words}
_LONGEST_INTEGER = 300  # digits; Python refuses to convert more than some thousands
_MOST_VALUES = 10_000_000  # with those that aliases repeat, which a few lines can make more than any memory holds


_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | os.PathLike, what: str = "a YAML file") -> Any:
    """The contents of a file as dicts, lists, numbers, truth values, None and strings; keys that are lists become tuples.

    Args:
      path: the file.
      what: what it should be, for messages.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for what is not YAML, with the line; for keys given twice, tags, several documents, and aliases that stand for too much.
    """
    text = read_text(path, what)
    try:
        return _Builder(text, path, what).contents()
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        lines = text.splitlines()
        where = f"{path}, line {mark.line + 1}" if mark else path
        shown = f" at {lines[mark.line].strip()[:60]!r}" if mark and mark.line < len(lines) else ""
        raise ValueError(f"{where}: {' '.join(problem.split())}{shown}; expected {what}") from None


class _Builder:
    """Values from the events of a parser, and how many there are with what aliases stand for."""

    def __init__(self, text: str, path: str | os.PathLike, what: str):
        self.next, self.path, self.what = _PARSER(text).get_event, path, what
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.size = 0

    def contents(self) -> Any:
        self.next()  # the start of the stream
        if type(self.next()) is yaml.StreamEndEvent:
            raise ValueError(f"{self.path} is empty; expected {self.what}")
        value = self.value(self.next())
        self.next()  # the end of the document
        if type(event := self.next()) is not yaml.StreamEndEvent:
            raise ValueError(f"{self.place(event)}: a second document begins; expected {self.what}")
        return value

    def value(self, event: yaml.Event) -> Any:
        """What begins with this event."""
        if type(event) is yaml.AliasEvent:
            return self.again(event)
        if event.tag is not None:
            raise ValueError(f"{self.place(event)}: the tag {event.tag} is not read; leave it out")
        before = self.size
        self.size += 1
        if type(event) is yaml.ScalarEvent:
            value = self.scalar(event) if event.implicit[0] else event.value  # what is in quotes is text
        else:
            value = self.items() if type(event) is yaml.SequenceStartEvent else self.mapping()
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.size - before
        return value

    def again(self, event: yaml.Event) -> Any:
        if event.anchor not in self.anchors:
            raise ValueError(f"{self.place(event)}: the alias *{event.anchor} stands for nothing before it")
        value, size = self.anchors[event.anchor]
        self.size += size
        if self.size > _MOST_VALUES:
            raise ValueError(f"{self.place(event)}: aliases such as *{event.anchor} stand for more than {_MOST_VALUES} values; write them out")
        return value

    def items(self) -> list:
        found = []
        while type(event := self.next()) is not yaml.SequenceEndEvent:
            found.append(self.value(event))
        return found

    def mapping(self) -> dict:
        found: dict = {}
        while type(event := self.next()) is not yaml.MappingEndEvent:
            key = self.value(event)
            key = tuple(key) if isinstance(key, list) else key
            if isinstance(key, dict) or (isinstance(key, tuple) and any(isinstance(k, dict | list) for k in key)):
                raise ValueError(f"{self.place(event)}: expected a word, a number or a list of them as a key, got {str(key)[:60]}")
            if key in found:
                raise ValueError(f"{self.place(event)}: the key {key} is given twice")
            found[key] = self.value(self.next())
        return found

    def scalar(self, event: yaml.Event) -> Any:
        word = event.value
        number = _NUMBER(word)
        if not number:
            return _WORDS.get(word, word)
        if number.lastindex:
            return float(word)
        if len(word) > _LONGEST_INTEGER:
            raise ValueError(f"{self.place(event)}: {word[:20]}… is too large for an integer")
        return int(word)

    def place(self, event: yaml.Event) -> str:
        return f"{self.path}, line {event.start_mark.line + 1}"
