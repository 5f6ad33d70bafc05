"""Which precision a model needs: Gaussian processes made in float64 are wrong in float32, and what is condensed once is made in float64.

A sparse Gaussian process has large coefficients of both signs and kernels that are nearly equal, whose sum cancels: in float32 energies
are off by 1 to 230 meV per atom, without any other sign. So its `made_in` is structure, which survives jit, saving and `tree_map`; and `cast`
makes another form of it, whose error is measured at its own points, or refuses.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.trees import map_floating, rewrite, set_fields, walk

_HARMLESS = 1e-3  # eV per atom
_ENABLE = 'jax.config.update("jax_enable_x64", True) before making any array'
_CAST = 'jaxpot.cast(model, "float32") puts a form in its place that bears it, where there is one'
_COLLAPSE = 'kernels of ζ = 1 and 2 lose nothing if they are collapsed first, jaxpot.cast(jaxpot.tabulate(model), "float32")'
_OWN = "leave it in float64, in which Calculator, md.run and evaluate(model, atoms) compute in 32-bit mode too"
_INSIST = 'to insist write jaxpot.cast(model, "float32", insist=True)'


def note_precision(model: Any) -> None:
    """Sets `made_in` of a model that is being made, from its coefficients: once in float64, it stays so where 32-bit mode has truncated them."""
    found = None if model.coefficients is None else np.dtype(model.coefficients.dtype).name
    object.__setattr__(model, "made_in", found if found in (None, "float64") else model.made_in or found)


def require_precision(model: Any, dtype: Any) -> None:
    """Refuses to evaluate a model in less than the precision that it was made in; at trace time.

    Args:
      model: with fields `made_in`, `references` and `coefficients`.
      dtype: of the features, and so of the result.

    Raises:
      TypeError: with the line that enables float64, and the one that insists.
    """
    found = [np.dtype(dtype), *(np.dtype(leaf.dtype) for leaf in (model.references.features, model.coefficients) if leaf is not None)]
    lowest = min(found, key=lambda kind: kind.itemsize)
    if model.made_in == "float64" and lowest.itemsize < 8:
        enable = f"write {_ENABLE}" if not jax.config.jax_enable_x64 else "neither the structure nor the model's leaves may be in less"
        raise TypeError(
            f"{type(model).__name__} was made in float64, and in {lowest.name} its energies would be wrong by up to tenths of an eV per atom; {enable}; "
            f"{_CAST}; {_COLLAPSE}; {_INSIST}"
        )


@functools.singledispatch
def in_float32(part: Any) -> Any:
    """The same function in a form that bears float32, with its `error` there, in eV per atom; None where none is known. Rules stand with the forms.

    Of a form it is the form itself.
    """
    return None


def errors_at_points(tree: Any) -> list[float]:
    """What float32 costs the forms of Gaussian processes that are in a tree, or that `cast` puts there, at their own points, in eV per atom."""
    found = []

    def look(part: Any) -> Any:
        if getattr(part, "made_in", "float64") == "float64" and (form := in_float32(part)) is not None:
            found.append(float(form.error))
        return part

    in_float64(lambda tree: rewrite(tree, look), tree)
    return found


def too_small(tree: Any, dtype: Any) -> list[str]:
    """Which positive leaves have numbers that a type does not hold, in words: below they are zero, or lose digits, and something is divided by them."""
    smallest = float(jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps)
    found = [(path, np.asarray(value)) for path, value, metadata in walk(tree) if metadata.get("positive") and is_concrete(value)]
    return [
        f"{path} has the number {np.min(value):.1e}, below the {smallest:.0e} that {np.dtype(dtype).name} needs"
        for path, value in found
        if np.any(value < smallest)
    ]


def cast(tree: Any, dtype: Any, *, insist: bool = False) -> Any:
    """The same tree with its floating leaves in this dtype; integers and booleans stay.

    Sparse Gaussian processes of whole powers of the dot product, and of pairs, become `heads.ExpandedGP` and `heads.TabulatedGP` in float32, which are
    made in float64, predict the same and have no variance. Their `error` is what float32 costs at their own sparse points; `float32_error` measures it
    on structures, of any potential.

    Args:
      tree: a model, a graph, data, or any pytree of them.
      dtype: the floating type.
      insist: cast Gaussian processes that were made in float64 as they are, and evaluate them so, although their energies become wrong by up to
        tenths of an eV per atom.

    Raises:
      TypeError: for a Gaussian process that has no such form, or one that loses more than 1 meV per atom, unless insisted; and for scales that are
        too small for the type.

    Warns:
      UserWarning: once, with what float32 costs the Gaussian processes for which there is another form.

    Example:
      >>> cast({"x": np.ones(2), "i": np.arange(2)}, "float32")["x"].dtype.name
      'float32'
    """
    name, errors = np.dtype(dtype).name, []

    def remade(part: Any) -> Any:
        if getattr(part, "made_in", None) != "float64":
            return part
        if insist:
            return set_fields(part, made_in=name)
        concrete = all(is_concrete(leaf) for leaf in jax.tree_util.tree_leaves(part))
        form = in_float64(in_float32, part) if name == "float32" and concrete else None
        if form is None or not form.error <= _HARMLESS:
            by = "" if form is None else f" by {form.error:.1e} eV per atom"
            what = f"cast: {type(part).__name__} was made in float64, and in {name} its energies would be wrong{by}"
            raise TypeError(f"{what}; {_OWN}; {_COLLAPSE}; {_INSIST}")
        errors.append(form.error)
        return form

    if np.dtype(dtype).itemsize < 8:
        tree = rewrite(tree, remade)
        if name == "float32" and (wrong := too_small(tree, dtype)):
            raise TypeError(f"cast: {wrong[0]}; {_OWN}")
    if errors:
        what = f"cast: float32 costs {max(errors):.1e} eV per atom at the sparse points of the Gaussian processes, which are in another form now"
        warnings.warn(f"{what}; on structures jaxpot.float32_error(model, atoms) measures it", stacklevel=2)
    return map_floating(lambda x: jnp.asarray(x, dtype), tree)


def promoted_pair(model: Any, graph: Any) -> tuple[Any, Any]:
    """Model and graph in the promoted floating type of both: what is computed with them has this one type, and no rule of a derivative meets two.

    Leaves that are of this type already are handed on as they are, so in most cases nothing is computed.

    Args:
      model: any pytree.
      graph: a Graph, whose type is that of its positions.

    Raises:
      TypeError: for a Gaussian process that was made in float64 and has lost digits since.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import CosineCutoff, from_atoms
      >>> graph = cast(from_atoms(bulk("Si"), cutoff=3.0), "float32")
      >>> cutoff, graph = promoted_pair(CosineCutoff(3.0), graph)
      >>> graph.positions.dtype == cutoff.radius.dtype
      True
    """
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(model) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    dtype = jnp.result_type(graph.positions, *leaves)
    if any(jnp.result_type(leaf) != dtype for leaf in leaves):
        rewrite(model, _sound)
    return map_floating(lambda x: x if jnp.result_type(x) == dtype else jnp.asarray(x, dtype), (model, graph))


def _sound(part: Any) -> Any:
    """The part, unless it was made in float64 and its numbers are in less by now: to promote them again would hide it."""
    if getattr(part, "made_in", None) == "float64":
        require_precision(part, part.coefficients.dtype)
    return part


@contextlib.contextmanager
def in_own_precision(model: Any) -> Iterator[Any]:
    """A context in which a model, which it hands on, computes in the precision of its numbers whatever the global setting: float64, unless cast to less.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> with in_own_precision(CosineCutoff(3.0)) as cutoff:
      ...     jnp.asarray(cutoff.radius).dtype.name
      'float64'
    """
    needed = any(getattr(leaf, "dtype", None) == np.float64 for leaf in jax.tree_util.tree_leaves(model))
    if needed and not jax.config.jax_enable_x64:
        with _switch()(True):
            yield map_floating(np.array, model)  # copies, as in `in_float64`
    else:
        yield model


def with_own_precision(function: Callable) -> Callable:
    """A function whose first argument is a model, in the precision of its numbers."""

    @functools.wraps(function)
    def called(model: Any, *arguments: Any, **options: Any) -> Any:
        with in_own_precision(model) as own:
            return function(own, *arguments, **options)

    return called


def _switch() -> Any:
    return jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


def in_float64(function: Callable[[Any], Any], tree: Any) -> Any:
    """function(tree), in float64 whatever the global setting, for what is condensed once on the host; its leaves are NumPy arrays in 32-bit mode."""
    if jax.config.jax_enable_x64:
        return function(tree)
    # copies, since JAX 0.10 hands over the float32 buffer of a NumPy scalar that was used in 32-bit mode before
    copies = map_floating(np.array, tree)
    with _switch()(True):
        return map_floating(np.asarray, function(copies))
