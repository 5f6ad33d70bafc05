"""Terms that look less far than the neighbour lists, on lists of their own length.

A Sum has one list, as long as its farthest term needs, and molecular dynamics keeps it longer by a skin. An ACE of 4 Å beside pairs of 7 Å
would look at five times the slots that hold its neighbours. Lists are cut anew at every evaluation, so that nothing has to be kept.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Environment, Graph, environments, only
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import FastPotential, LocalPotential, Potential, terms_of, with_terms
from jaxpot.trees import pytree, static

Array = jax.Array

_ROOM = 1.25  # of the slots over the neighbours that there are
_STEP = 8  # slots
_WORTH = 0.7  # of the slots that there are: with more, cutting a list costs what it saves


@pytree
class Nearby(FastPotential):
    """A local potential on lists cut to its own reach.

    It predicts the same, to round-off, and NaN where an atom has more neighbours within the reach than there are slots.

    Args:
      plain: the LocalPotential whose atomic energies [N], in eV, these are.
      slots: neighbours of an atom at most, static.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(4.5, width=1.0))
      >>> graph = from_atoms(bulk("Ar", cubic=True), 9.0)
      >>> bool(abs(Nearby(argon, 12)(graph) - argon(graph)) < 1e-12), bool(jnp.isnan(Nearby(argon, 11)(graph)))
      (True, True)
    """

    plain: LocalPotential
    slots: int = static()

    def of(self, envs: Environment) -> Array:
        return self.plain.of(envs)

    def energies(self, graph: Graph) -> Array:
        return self.plain.energies(_cut(graph, self.plain, self.slots))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        most = int(jnp.max(jnp.sum(_within(graph, self.plain), axis=1)))
        if most <= self.slots:
            return self.plain.causes(graph)
        return (f"an atom has {most} neighbours within {float(self.reach):g} Å, but Nearby has {self.slots} slots; write slots={most}",)


def on_short_lists(potential: Potential, graph: Graph, slots: Sequence[int] = ()) -> tuple[Potential, tuple[int, ...]]:
    """The potential with those terms that look much less far than the lists of a structure on lists of their own; not under jit.

    Args:
      potential: any, for example a Sum, as `prepare` makes it.
      graph: one structure, of whose neighbours there will be no more than a quarter more.
      slots: of every term what an earlier call gave, which is kept where it still holds, so that little is compiled again.

    Returns:
      The potential, and the slots of every term, 0 for those that use the lists as they are.
    """
    terms = terms_of(potential)
    local = [term if isinstance(term, LocalPotential) and not isinstance(term, Nearby) else None for term in terms]
    counts = np.asarray(_counts(tuple(local), graph))
    found, before = [], tuple(slots) if len(slots) == len(terms) else (0,) * len(terms)
    for term, count, own in zip(local, counts, before, strict=True):
        needed = max(-(-int(np.ceil(_ROOM * count)) // _STEP) * _STEP, _STEP)
        needed = own if own >= _ROOM**0.5 * count and own > 0 else max(needed, own)
        found.append(needed if term is not None and needed <= _WORTH * graph.neighbors.shape[-1] else 0)
    if not any(found):
        return potential, tuple(found)
    short = [Nearby(term, own) if own else term for term, own in zip(terms, found, strict=True)]
    return with_terms(potential, short), tuple(found)


@jax.jit
def _counts(terms: tuple[LocalPotential | None, ...], graph: Graph) -> Array:
    """The most neighbours that an atom has for every term, shape [T]."""
    none = jnp.zeros((), jnp.int32)
    return jnp.stack([none if term is None else jnp.max(jnp.sum(_within(only(graph, term.species), term), axis=1)) for term in terms])


def _within(graph: Graph, term: LocalPotential) -> Array:
    """Which slots hold a neighbour within the term's reach, shape [N, K]; none where the gate is closed, which the term's own energies say."""
    envs = environments(*jax.lax.stop_gradient((graph, term.reach)), term.species)
    return envs.mask & (jnp.sum(envs.vectors**2, axis=-1) < jax.lax.stop_gradient(term.reach) ** 2)


def _cut(graph: Graph, term: LocalPotential, slots: int) -> Graph:
    """The same structure with lists that are complete up to the term's reach only, in so many slots; with more neighbours it has `overflow`."""
    if slots >= graph.neighbors.shape[1]:
        return graph
    inside = _within(graph, term)
    # how many there are up to each slot; a product of matrices, since sums along an axis are slow on CPU
    k = inside.shape[1]
    upto = einsum("nk,kl->nl", inside.astype(jnp.float32), jnp.triu(jnp.ones((k, k), jnp.float32))).astype(jnp.int32)
    place = jnp.where(inside, upto, 0)[:, None, :] == jnp.arange(1, slots + 1)[None, :, None]
    source = jnp.sum(jnp.where(place, jnp.arange(1, k + 1)[None, None], 0), axis=2)  # one more than the old slot; 0 is none
    old = jnp.maximum(source - 1, 0)
    return graph.replace(
        neighbors=jnp.where(source > 0, jnp.take_along_axis(graph.neighbors, old, axis=1), graph.numbers.shape[0]),
        shifts=jnp.where((source > 0)[:, :, None], jnp.take_along_axis(graph.shifts, old[:, :, None], axis=1), 0),
        cutoff=jnp.minimum(graph.cutoff, jax.lax.stop_gradient(jnp.asarray(term.reach)).astype(graph.cutoff.dtype)),
        overflow=graph.overflow | jnp.any(upto[:, -1] > slots),
    )
