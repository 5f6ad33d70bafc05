"""Eager argument checks, the poison for what only the device can see, and the check of JAX itself."""

import dataclasses
import functools
import importlib
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_KINDS = {int: "an integer", float: "a number", bool: "True or False", str: "a string"}


def is_concrete(value: Any) -> bool:
    """False for tracers and JAX's placeholders, whose numbers cannot be looked at."""
    return not isinstance(value, jax.core.Tracer) and type(value) is not object


def poison(x: jax.Array, bad: jax.Array) -> jax.Array:
    """x where `bad` (a scalar) is false, else NaN, in value and in every derivative: a force must not be zero where an energy is NaN."""
    return x * jnp.where(bad, jnp.nan, 1).astype(x.dtype)


def optional(module: str, owner: str, extra: str) -> Any:
    """A package that the core does without, imported where it is used; `extra` of jaxpot installs it.

    Raises:
      ImportError: with the line to write.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{owner} needs {module.partition('.')[0]}, which is not installed; write pip install 'jaxpot[{extra}]'") from error


def species_tuple(species: Any, owner: str) -> tuple[str, ...]:
    """Checks a tuple of chemical symbols.

    Raises:
      ValueError: if it is a bare string, empty, has repetitions or unknown symbols.
    """
    from jaxpot.units import ATOMIC_NUMBERS

    if isinstance(species, str) or not isinstance(species, tuple) or not all(isinstance(s, str) for s in species):
        hint = f'("{species}",)' if isinstance(species, str) else 'a tuple of symbols such as ("Si", "O")'
        raise ValueError(f"{owner}: species must be {hint}, got {species!r}")
    if not species:
        raise ValueError(f"{owner}: species is empty; name at least one element")
    unknown = [s for s in species if s not in ATOMIC_NUMBERS]
    if unknown:
        raise ValueError(f"{owner}: in species, {unknown} are not chemical symbols")
    if len(set(species)) != len(species):
        raise ValueError(f"{owner}: species {species} has repetitions")
    return species


def require_x64(what: str) -> None:
    """Raises unless JAX computes in float64."""
    if not jax.config.jax_enable_x64:
        raise RuntimeError(f'{what} needs float64; write jax.config.update("jax_enable_x64", True) before making any array')


def require_finite(array: Any, name: str, hint: str = "") -> np.ndarray:
    """The array as NumPy.

    Raises:
      ValueError: naming the first entry that is NaN or infinite.
    """
    array = np.asarray(array)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}; {len(bad)} of {array.size} entries are not finite" + (f"; {hint}" if hint else ""))
    return array


REMEDY = (
    "install another release (python -m pip install 'jax!=0.10.2' 'jaxlib!=0.10.2'), or set the environment variable "
    "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= (empty value) before starting Python"
)


def _matvec_then_reduce(n: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The pattern that jax 0.10.2 miscomputes on CPU (jax-ml/jax#39103), and the same in NumPy."""
    rng = np.random.default_rng(0)
    matrix, vectors = rng.normal(size=(3, 3)).astype(dtype), rng.normal(size=(n, 3)).astype(dtype)
    got = jax.jit(jax.vmap(lambda v: jnp.sum((matrix @ v) ** 2)))(vectors)
    return np.asarray(got), np.sum((vectors @ matrix.T) ** 2, axis=-1)


@functools.cache
def check_jax() -> None:
    """Refuses a JAX that miscomputes; runs once per process, on the first use of the library.

    Raises:
      RuntimeError: with the reason and the remedy.
    """
    dtype, tolerance = (np.float64, 1e-10) if jax.config.jax_enable_x64 else (np.float32, 1e-2)
    with jax.ensure_compile_time_eval(), jax.default_matmul_precision("highest"):  # the first use may be within a jit
        got, expected = _matvec_then_reduce(40_000, dtype)
    error = float(np.max(np.abs(got - expected)))
    if not error < tolerance:
        import jaxlib

        raise RuntimeError(
            f"this JAX (jax {jax.__version__}, jaxlib {jaxlib.__version__}, {jax.default_backend()}) computes wrong numbers: a jitted, vmapped "
            f"matrix-vector product followed by a sum is off by {error:.3g} (jax-ml/jax#39103); {REMEDY}"
        )


def allows_none(field: dataclasses.Field) -> bool:
    """Whether a field may be left out."""
    return "None" in str(field.type)


def check_leaf(where: str, value: Any, metadata: Mapping, sizes: dict[str, int]) -> None:
    """Raises unless the value is of finite numbers in a declared shape and range; notes the sizes of letters."""
    shape, dtype = metadata["shape"], getattr(value, "dtype", np.dtype(object))
    shown = re.sub(r"\b(?!or\b)[A-Za-z]+", lambda letter: str(sizes.get(letter[0], letter[0])), shape)
    expected = "must be a number" if shape == "[]" else f"must have shape {shown}"
    if not jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.complexfloating):
        raise ValueError(f"{where} {expected.replace('have', 'be numbers of')}, got {repr(value)[:60]}")
    if not any(_fits(value.shape, option, sizes) for option in shape.split(" or ")):
        raise ValueError(f"{where} {expected}, got {'shape ' if shape == '[]' else ''}{value.shape}")
    value, (low, high) = np.asarray(value), metadata["range"]
    rules = [(np.isfinite(value), "finite"), ((value >= low) & (value <= high), f"from {low:g} to {high:g}")]
    if metadata.get("positive"):
        rules.insert(0, (value > 0, "> 0"))
    for right, rule in rules:
        if not np.all(right):
            at = tuple(np.argwhere(~right)[0].tolist())
            raise ValueError(f"{where} must be {rule}, got {value if value.size <= 4 else value[at]}{f' at {list(at)}' if value.size > 4 else ''}")


def _fits(shape: tuple[int, ...], declared: str, sizes: dict[str, int]) -> bool:
    letters = declared.strip("[]").split(", ") if declared != "[]" else []
    if len(letters) != len(shape):
        return False
    found = dict(sizes)
    if any(n == 0 or found.setdefault(letter, n) != n for letter, n in zip(letters, shape, strict=True)):
        return False
    sizes.update(found)
    return True


def as_structure(where: str, value: Any, field: dataclasses.Field) -> Any:
    """Numbers, words and truth values of the annotated type, alone or in tuples; whatever else as it is."""
    annotation, most = str(field.type), field.metadata.get("most")
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    in_tuples = any(typing.get_origin(option) is tuple for option in options)
    kinds = [kind for kind in _KINDS if kind in options or (in_tuples and re.search(rf"\b{kind.__name__}\b", annotation))]
    if isinstance(value, tuple) and in_tuples:
        return tuple(as_structure(f"{where}[{i}]", entry, field) for i, entry in enumerate(value)) if kinds else value
    if not kinds or (value is None and allows_none(field)) or (in_tuples and "[" not in where):
        return value
    value = value.item() if isinstance(value, np.generic) else value
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        raise ValueError(f"{where} must be {' or '.join(_KINDS[kind] for kind in kinds)}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, got {value}")
    if most is not None and not isinstance(value, str) and value > most:
        raise ValueError(f"{where} must be at most {most}, got {value}")
    return value
