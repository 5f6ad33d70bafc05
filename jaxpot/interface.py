"""Interfaces: abstract classes that say, when an object is made, which members its class lacks, with the lines to write.

What a class must have is what its interfaces annotate without a value and what they declare with `abc.abstractmethod`; the words come from
their docstrings. JAX rebuilds objects without `__new__`, so nothing is checked again under `jit`.
"""

import abc
import dataclasses
import functools
import inspect
import re
import typing

from jaxpot.leaves import Tree

_STRUCTURE = {"int", "float", "str", "bool", "tuple", "None"}  # what `static()` holds


class Interface(Tree, abc.ABC):
    """Base of all interfaces. A class that lacks a required member fails when it is made.

    Raises:
      TypeError: with the lines to write, when an object is made of a class that lacks a member, or of an interface itself.

    Example:
      >>> class Shape(Interface):
      ...     '''What has an area.
      ...
      ...     Attributes:
      ...       n_corners: how many corners it has.
      ...     '''
      ...     n_corners: int
      ...     @abc.abstractmethod
      ...     def area(self, scale):
      ...         '''[] -> [] Å².'''
      >>> class Disc(Shape):
      ...     n_corners = 0
      >>> Disc()
      Traceback (most recent call last):
      TypeError: class Disc(Shape) lacks area; write
          def area(self, scale): ...  # [] -> [] Å².
    """

    def __new__(cls, *args, **kwargs):
        _check(cls)
        return super().__new__(cls)

    def __str__(self) -> str:
        from jaxpot.shown import as_text

        return as_text(self) if dataclasses.is_dataclass(self) else repr(self)

    def _repr_html_(self) -> str:
        """For notebooks."""
        from jaxpot.shown import as_html

        return as_html(self) if dataclasses.is_dataclass(self) else repr(self)


def required(cls: type) -> dict[str, str]:
    """The members that a class of this kind must have, its own among them, and the line to write for each."""
    lines: dict[str, str] = {}
    for base in _interfaces(cls):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            if name not in vars(base) and typing.get_origin(annotation) is not typing.ClassVar:
                lines[name] = _attribute(base, name, annotation)
        for name, value in vars(base).items():
            if getattr(value, "__isabstractmethod__", False):
                lines[name] = _method(name, value)
    return lines


def missing(cls: type) -> dict[str, str]:
    """The members that a class must have and has not: of an interface, what an author writes.

    Args:
      cls: a class or an interface.

    Returns:
      The line to write by the member's name.

    Example:
      >>> from jaxpot.math.kernels import Kernel
      >>> missing(Kernel)
      {'__call__': 'def __call__(self, x, y): ...  # [..., F], [M, F] -> [..., M].'}
    """
    names = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return {name: line for name, line in required(cls).items() if name not in names and not _has(cls, name)}


def _interfaces(cls: type) -> list[type]:
    """The interfaces among the bases of a class, from the most general one; what has fields is a class that can be made."""
    return [base for base in reversed(cls.__mro__) if issubclass(base, Interface) and "__dataclass_fields__" not in vars(base)]


@functools.cache
def _check(cls: type) -> None:
    """Raises TypeError unless a class has all that its interfaces require."""
    owner = cls.__name__
    if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()):
        raise TypeError(f"class {owner} declares fields, which are made by a line above it; write\n    @pytree")
    if lacks := missing(cls):
        own = any(name in {*vars(cls), *vars(cls).get("__annotations__", {})} for name in lacks)
        bases = ", ".join(base.__name__ for base in cls.__bases__)
        start = f"{owner} is an interface; a class of its kind has" if own else f"class {owner}({bases}) lacks {' and '.join(lacks)}; write"
        raise TypeError("\n    ".join([start, *lacks.values()]))


def _has(cls: type, name: str) -> bool:
    return hasattr(cls, name) and not getattr(inspect.getattr_static(cls, name), "__isabstractmethod__", False)


def _attribute(owner: type, name: str, annotation: typing.Any) -> str:
    """`n_max: int = static()  # ` and what the docstring's Attributes say."""
    kind = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(annotation)).strip("'\"")
    words = re.search(rf"^Attributes:\n(?:  .*\n)*?  {name}: (.+(?:\n    .+)*)", inspect.getdoc(owner) or "", re.MULTILINE)
    value = " = static()" if set(re.findall(r"\w+", kind)) <= _STRUCTURE else ""
    return _with_words(f"{name}: {kind}{value}", words and " ".join(words[1].split()))


def _method(name: str, member: typing.Any) -> str:
    """`def __call__(self, r): ...  # ` and the docstring's first line."""
    if isinstance(member, property):
        return f"@property\n    {_method(name, member.fget)}"
    words = (inspect.getdoc(member) or "").split("\n")[0]
    signature = inspect.signature(member)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return _with_words(f"def {name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}: ...", words)


def _with_words(line: str, words: str | None) -> str:
    return f"{line}  # {words}" if words else line
