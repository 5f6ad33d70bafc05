"""Eager argument checks, the poison for what only the device can see, and the check of JAX itself."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_concrete(value: Any) -> bool:
    """False for tracers and JAX's placeholders, whose numbers cannot be looked at."""
    return not isinstance(value, jax.core.Tracer) and type(value) is not object


def poison(x: jax.Array, bad: jax.Array) -> jax.Array:
    """x where `bad` (a scalar) is false, else NaN, in value and in every derivative: a force must not be zero where an energy is NaN."""
    return x * jnp.where(bad, jnp.nan, 1).astype(x.dtype)


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
    with jax.default_matmul_precision("highest"):
        got, expected = _matvec_then_reduce(40_000, dtype)
    error = float(np.max(np.abs(got - expected)))
    if not error < tolerance:
        import jaxlib

        raise RuntimeError(
            f"this JAX (jax {jax.__version__}, jaxlib {jaxlib.__version__}, {jax.default_backend()}) computes wrong numbers: a jitted, vmapped "
            f"matrix-vector product followed by a sum is off by {error:.3g} (jax-ml/jax#39103); {REMEDY}"
        )
