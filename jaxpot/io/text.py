"""The text files of other codes: their encoding, their numbers, and one line for every refusal."""

import functools
import inspect
import math
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")  # on lines of their own, for type checkers
T = TypeVar("T")

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?\d+(\.0*)?", re.ASCII)
_LIKE_MINUS = "‐‑‒–—−"  # what a word processor or a web page makes of a minus
# characters at which str.splitlines ends a line though no editor does; \x85 is "…" in Windows' encoding
_NO_LINE_ENDS = dict.fromkeys(map(ord, "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), " ")
_LEAKS = (KeyError, IndexError, TypeError, AttributeError, ArithmeticError, StopIteration, RecursionError, MemoryError, EOFError, zipfile.BadZipFile)


def read_text(path: str | os.PathLike, what: str) -> str:
    """The text of a file: UTF-8, with or without a byte-order mark, or else Latin-1, as in comments; any line ends become `\\n`.

    Args:
      path: the file.
      what: what it should be, for messages: "a GAP file".

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a folder, or a file that is not text.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {what}")
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}; expected {what}")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is in UTF-16; expected {what}; save it as UTF-8")
    if b"\0" in content:
        raise ValueError(f"{path} is not a text file (byte {content.index(0)} is zero); expected {what}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_LINE_ENDS)


def require_path(path: object, line: str) -> None:
    """Refuses what is no path where a writer's first argument stands.

    Args:
      path: the first argument.
      line: the call to write.

    Raises:
      TypeError: if it is neither a str nor an os.PathLike.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{line.partition('(')[0]}: the path comes first, got {type(path).__name__}; write {line}")


def number(text: str, where: str | os.PathLike) -> float:
    """A finite number as C or Fortran (exponents with D) writes it.

    Args:
      text: one word.
      where: the file or its part, for the message.

    Raises:
      ValueError: if it is none.

    Example:
      >>> number("1.5D-3", "si.xml")
      0.0015
    """
    word = text.strip()
    if not _NUMBER.fullmatch(word):
        minus = "; write a plain - for the minus" if any(sign in word for sign in _LIKE_MINUS) else ""
        raise ValueError(f"{where}: expected a number, got {word[:60]!r}{minus}")
    value = float(word.replace("D", "E").replace("d", "e"))
    if not math.isfinite(value):
        raise ValueError(f"{where}: {word[:60]} is too large for a number")
    return value


def integer(text: str, where: str | os.PathLike) -> int:
    """An integer, which may be written as `4.0`.

    Raises:
      ValueError: if it is none.

    Example:
      >>> integer("4.0", "al.yace")
      4
    """
    word = text.strip()
    if not _INTEGER.fullmatch(word) or len(word) > 18:
        raise ValueError(f"{where}: expected an integer, got {word[:60]!r}")
    return int(word.partition(".")[0])


def one_line_refusals(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a reader, whose first arguments are paths, so that whatever a malformed file sets off becomes one line that names the file.

    Args:
      what: what the file should be, for messages: "a GAP file".
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(read)

        @functools.wraps(read)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = signature.bind(*args, **kwargs)  # a wrong call stays a TypeError
            first = next(iter(bound.arguments.values()), "")
            path = str(first[0] if isinstance(first, tuple) and first else first)
            try:
                return read(*args, **kwargs)
            except ValueError as error:
                text = " ".join(str(error).split())
                by_name = Path(path).suffix and Path(path).name in text  # the name of a folder, such as "a", is in any text
                named = by_name or any(str(a) in text for a in bound.arguments.values() if isinstance(a, str | Path))
                raise ValueError(text if named else f"{path}: {text}") from error
            except _LEAKS as error:
                raise ValueError(f"{path} is not readable as {what} ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from error

        return guarded

    return decorate
