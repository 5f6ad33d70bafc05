"""Which elements stood around which in the data of a fit: what a model has not seen, it has from its prior alone."""

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, environments
from jaxpot.math.linalg import einsum
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Model, terms_of, with_terms

Array = jax.Array

_NAMED = 8  # combinations in a warning


@functools.partial(jax.jit, static_argnames="species")
def combinations(species: tuple[str, ...], reach: Array, graph: Graph) -> Array:
    """How many atoms of every element have both of two elements within the reach, shape [S, S, S]; the centre comes first.

    Args:
      species: chemical symbols.
      reach: in Å.
      graph: one structure.
    """
    stack = environments(graph, reach, species)
    near = stack.mask & (jnp.sum(stack.vectors**2, axis=-1) < reach**2)
    around = jnp.any(jax.nn.one_hot(stack.species, len(species), dtype=bool) & near[:, :, None], axis=1).astype(stack.vectors.dtype)
    own = jax.nn.one_hot(stack.center, len(species), dtype=around.dtype) * (graph.centers > 0)[:, None]
    return einsum("nz,na,nb->zab", own, around, around)


@functools.partial(jax.jit, static_argnames="species")
def _of_batch(species: tuple[str, ...], reach: Array, graphs: Graph) -> Array:
    return jnp.sum(jax.lax.map(functools.partial(combinations, species, reach), graphs), axis=0)


def with_seen(model: Model, batches: Iterable[Graph], *, more: bool = False) -> Model:
    """The model whose atomic potentials of several elements know what stood around what in these batches.

    Args:
      model: whose terms are looked through.
      batches: stacked graphs.
      more: beside what they knew before, instead of it.
    """
    terms, batches = list(terms_of(model)), list(batches)
    for i, term in enumerate(terms):
        if isinstance(term, AtomicPotential) and len(term.species) > 1:
            found = sum(np.asarray(_of_batch(term.species, term.reach, batch)) for batch in batches)
            terms[i] = term.replace(seen=found + np.asarray(term.seen) if more and term.seen is not None else found)
    return with_terms(model, terms)


def unseen(model: Model, graph: Graph) -> tuple[str, ...]:
    """Combinations of elements in a structure that no structure of the fit had, such as "W with Mo and Nb around it".

    Args:
      model: fitted; where nothing is known of its data, nothing is said.
      graph: one structure.
    """
    return _names(model, lambda term: np.asarray(combinations(term.species, term.reach, graph)) > 0)


def never_seen(model: Model) -> tuple[str, ...]:
    """All combinations of a model's elements that no structure of its fit had; none where nothing is known of its data."""
    return _names(model, lambda term: True)


def _names(model: Model, there: Callable[[AtomicPotential], Any]) -> tuple[str, ...]:
    """Of the combinations that are there and were not seen."""
    out: dict[str, None] = {}
    for term in terms_of(model):
        if isinstance(term, AtomicPotential) and term.seen is not None:
            seen = np.asarray(term.seen)
            for z, a, b in np.argwhere((seen == 0) & there(term) & np.triu(np.ones(seen.shape[1:], bool))):
                around = term.species[a] if a == b else f"{term.species[a]} and {term.species[b]}"
                out[f"{term.species[z]} with {around} around it"] = None
    return tuple(out)


def warn_of_unseen(names: Sequence[str], where: str) -> None:
    """Warns of such combinations, if there are any."""
    if names:
        rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        warnings.warn(
            f"{where}: no structure of the fit had {', '.join(names[:_NAMED])}{rest}; what is predicted there follows from the prior alone. "
            "Add such structures to the fit, or look at the deviations that its posterior gives",
            stacklevel=3,
        )
