"""Terms that look less far than the neighbour lists, on lists of their own length.

A Sum has one list, as long as its farthest term needs, and molecular dynamics keeps it longer by a skin. An ACE of 4 Å beside pairs of 7 Å
would look at five times the slots that hold its neighbours. Lists are cut anew at every evaluation, so that nothing has to be kept.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, only
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.passes import Fast
from jaxpot.potentials.base import LocalPotential, Potential, terms_of, with_terms
from jaxpot.trees import pytree, static

Array = jax.Array

_ROOM = 1.25  # of the slots over the neighbours that there are
_STEP = 8  # slots
_WORTH = 0.7  # of the slots that there are; cutting a list costs about a tenth of a sum over it


@pytree
class Nearby(Potential, Fast):
    """A local potential on lists cut to its own reach.

    It predicts the same, to round-off, and NaN where an atom has more neighbours within the reach than there are slots.

    Args:
      plain: whose energies these are.
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

    @property
    def species(self) -> tuple[str, ...]:
        return self.plain.species

    @property
    def reach(self) -> Array:
        return self.plain.reach

    def energies(self, graph: Graph) -> Array:
        return self.plain.energies(cut(graph, self.plain.reach, self.slots))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        most = int(jnp.max(jnp.sum(_within(graph, self.reach), axis=1)))
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
    local = [term if isinstance(term, LocalPotential) else None for term in terms]
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
    return jnp.stack([none if term is None else jnp.max(jnp.sum(_within(only(graph, term.species), term.reach), axis=1)) for term in terms])


def _within(graph: Graph, reach: Leaf) -> Array:
    """Which slots hold a neighbour within a radius, shape [N, K]."""
    graph = jax.lax.stop_gradient(graph)
    n, rows = graph.numbers.shape[0], graph.neighbors.shape[0]
    numbers = jnp.concatenate([graph.numbers, jnp.zeros(1, graph.numbers.dtype)])
    vectors = graph.positions[jnp.minimum(graph.neighbors, n - 1)] - graph.positions[:rows, None]
    vectors = vectors + sum(graph.shifts[:, :, s, None].astype(graph.cell.dtype) * graph.cell[s][None, None] for s in range(3))
    held = (numbers[graph.neighbors] > 0) & (graph.centers > 0)[:, None]
    return held & (jnp.sum(vectors**2, axis=-1) < jax.lax.stop_gradient(jnp.asarray(reach)) ** 2)


def cut(graph: Graph, reach: Leaf, slots: int) -> Graph:
    """The same structure with lists that are complete up to a radius only, in so many slots; with more neighbours it has `overflow`."""
    if slots >= graph.neighbors.shape[1]:
        return graph
    inside = _within(graph, reach)
    # how many there are up to each slot; a product of matrices, since sums along an axis are slow on CPU
    k = inside.shape[1]
    upto = einsum("nk,kl->nl", inside.astype(jnp.float32), jnp.triu(jnp.ones((k, k), jnp.float32))).astype(jnp.int32)
    place = jnp.where(inside, upto, 0)[:, None, :] == jnp.arange(1, slots + 1)[None, :, None]
    source = jnp.sum(jnp.where(place, jnp.arange(1, k + 1)[None, None], 0), axis=2)  # one more than the old slot; 0 is none
    old = jnp.maximum(source - 1, 0)
    return graph.replace(
        neighbors=jnp.where(source > 0, jnp.take_along_axis(graph.neighbors, old, axis=1), graph.numbers.shape[0]),
        shifts=jnp.where((source > 0)[:, :, None], jnp.take_along_axis(graph.shifts, old[:, :, None], axis=1), 0),
        cutoff=jnp.minimum(graph.cutoff, jax.lax.stop_gradient(jnp.asarray(reach)).astype(graph.cutoff.dtype)),
        overflow=graph.overflow | jnp.any(upto[:, -1] > slots),
    )
