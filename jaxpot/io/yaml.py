"""The part of YAML that potential files use: mappings and lists of numbers and words, as blocks or in brackets."""

import json
import re
from pathlib import Path
from typing import Any

_SCALAR = re.compile(r""""[^"]*"|'[^']*'|[^\[\]{},:\s"'][^\[\]{},:]*""")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$")
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$")
_KEY = re.compile(r"""(\[[^\]]*\]|"[^"]*"|'[^']*'|[^\s\[\]{}"'&*!|>%@`:,-][^:]*?)\s*:(?=\s|$)""")


def read_yaml(path: str | Path) -> Any:
    """The contents of a file as dicts, lists, numbers and strings; keys that are lists become tuples.

    Anchors, tags, block scalars and several documents are not read.

    Args:
      path: the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a line that is none of this, named, and for keys given twice.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file; expected YAML") from None
    return _Reader(text, path).contents()


class _Reader:
    """Logical lines [indentation, text, number], with all brackets closed, and where reading has come to."""

    def __init__(self, text: str, path: Path):
        self.path, self.at, self.lines = path, 0, []
        open_brackets = 0
        for number, line in enumerate(text.splitlines(), 1):
            line = re.sub(r"(^|\s)#.*", "", line).rstrip()
            if not line.strip() or line == "---":
                continue
            if open_brackets:
                self.lines[-1][1] += f" {line.strip()}"
            else:
                self.lines.append([len(line) - len(line.lstrip(" ")), line.strip(), number])
            open_brackets += sum(map(line.count, "[{")) - sum(map(line.count, "]}"))

    def refused(self) -> ValueError:
        _, text, number = self.lines[min(self.at, len(self.lines) - 1)]
        return ValueError(f"{self.path}, line {number}: cannot read {text[:60]!r}")

    def next(self, indent: int, pattern: str) -> re.Match | None:
        """Whether the next line has this indentation and begins so."""
        is_there = self.at < len(self.lines) and self.lines[self.at][0] == indent
        return re.match(pattern, self.lines[self.at][1]) if is_there else None

    def contents(self) -> Any:
        if not self.lines:
            raise ValueError(f"{self.path} is empty")
        value = self.block(self.lines[0][0])
        if self.at < len(self.lines):
            raise self.refused()
        return value

    def block(self, indent: int) -> Any:
        if self.next(indent, r"-\s|-$"):
            items = []
            while self.next(indent, r"-\s|-$"):
                items.append(self.inside(indent))
            return items
        found: dict = {}
        while self.next(indent, r"(?!-\s|-$)"):
            key, value = self.entry(indent)
            if key in found:
                raise ValueError(f"{self.path}: the key {key} is given twice")
            found[key] = value
        return found

    def below(self, at_least: int) -> Any:
        """The block below a key or dash, if there is one."""
        is_there = self.at < len(self.lines) and self.lines[self.at][0] >= at_least
        return self.block(self.lines[self.at][0]) if is_there else None

    def inside(self, indent: int) -> Any:
        """What follows a dash or colon at the start of a line; it may be a block that begins in this line."""
        _, text, number = self.lines[self.at]
        start = re.match(r".\s*", text).end()
        if start == len(text):
            self.at += 1
            return self.below(indent + 1)
        if _KEY.match(text, start) or re.match(r"[-?]\s", text[start:]):
            self.lines[self.at] = [indent + start, text[start:], number]
            return self.block(indent + start)
        value = self.flow(text[start:])
        self.at += 1
        return value

    def entry(self, indent: int) -> tuple[Any, Any]:
        text = self.lines[self.at][1]
        if text.startswith("? "):
            key = self.key(text[2:])
            self.at += 1
            if not self.next(indent, r":\s"):
                raise self.refused()
            return key, self.inside(indent)
        found = _KEY.match(text)
        if not found:
            raise self.refused()
        key, rest = self.key(found[1]), text[found.end() :].strip()
        if rest:
            value = self.flow(rest)
            self.at += 1
            return key, value
        self.at += 1
        return key, self.below(indent if self.next(indent, r"-\s") else indent + 1)  # a list may stand as far left as its key

    def key(self, text: str) -> Any:
        key = self.flow(text)
        return tuple(key) if isinstance(key, list) else key

    def flow(self, text: str) -> Any:
        """A value in one line."""
        try:
            value = json.loads(_SCALAR.sub(_as_json, text), object_pairs_hook=self.mapping)
        except json.JSONDecodeError:
            raise self.refused() from None
        return value

    def mapping(self, pairs: list[tuple[str, Any]]) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"{self.path}, line {self.lines[self.at][2]}: a key is given twice among {', '.join(k for k, _ in pairs)}")
        return found


def _as_json(found: re.Match) -> str:
    word = found[0].strip()
    if word[0] in "\"'":
        return json.dumps(word[1:-1])
    if _JSON_NUMBER.match(word) or word in ("true", "false", "null"):
        return word
    if _NUMBER.match(word):
        return repr(float(word))
    return json.dumps(word)
