"""Objects as people see them: a line for each, with its numbers, and what it is made of below."""

import html
from typing import Any

import jax
import numpy as np

from jaxpot.trees import fields, is_pytree


def as_text(value: Any, name: str = "", indent: str = "") -> str:
    """A tree of lines.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> print(as_text(CosineCutoff(5.0, width=1.0)))
      CosineCutoff radius=5.0 width=1.0
    """
    own, below = _parts(value)
    lines = [indent + " ".join([f"{name}:"] * bool(name) + [type(value).__name__, *own])]
    return "\n".join(lines + [as_text(child, key, indent + "  ") for key, child in below])


def as_html(value: Any, name: str = "") -> str:
    """A tree that notebooks fold and unfold."""
    own, below = _parts(value)
    line = f"{html.escape(f'{name}: ' if name else '')}<b>{type(value).__name__}</b> {html.escape(' '.join(own))}"
    if not below:
        return f"<div style='margin-left:1.2em;font-family:monospace'>{line}</div>"
    inside = "".join(as_html(child, key) for key, child in below)
    return f"<details open style='margin-left:1.2em;font-family:monospace'><summary>{line}</summary>{inside}</details>"


def _parts(value: Any) -> tuple[list[str], list[tuple[str, Any]]]:
    """Numbers and words of an object, and the objects in it, with their names."""
    own, below = [], []
    for key, item, _ in fields(value):
        if is_pytree(item):
            below.append((key, item))
        elif isinstance(item, (tuple, list)) and any(is_pytree(i) for i in item):
            below += [(f"{key}.{i}", child) for i, child in enumerate(item)]
        elif isinstance(item, (jax.Array, np.ndarray)) and item.size > 4:
            own.append(f"{key}={item.dtype}{list(item.shape)}")
        elif item is not None:
            own.append(f"{key}={np.asarray(item).tolist() if hasattr(item, 'dtype') else item!r}")
    return own, below
