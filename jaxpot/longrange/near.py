"""The near part of a sum: over neighbours, of which every pair is in the list twice, so that derivatives are fetched and not sent."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxpot.checks import poison
from jaxpot.descriptors.blocks import atoms_at_once
from jaxpot.graph import Graph, unusable
from jaxpot.longrange.interactions import Interaction
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.units import SYMBOLS

Array = jax.Array
Kind = tuple[Interaction, Cutoff, Array, Array]  # with the width of the splitting, and what atoms carry beside their source, [N, C]

_ALL = tuple(SYMBOLS[1:])
_BLOCK = 8192  # neighbours at once on CPU, whose distances stay in the cache


def near_potential(
    interaction: Interaction,
    cutoff: Cutoff,
    width: Array,
    graph: Graph,
    q: Array,
    own: Array,
    at: Array | None = None,
    of: Array | None = None,
) -> Array:
    """Σ_j of the near part [N] over the neighbours within a cutoff, of points and sources that are displaced [N, 3]; None is not."""
    q = jnp.asarray(q, jnp.result_type(q, graph.positions))  # of whole numbers too: what derivatives are stored as follows from it
    kind, lists = (interaction, cutoff, jnp.asarray(width), own.astype(q.dtype)), (graph.numbers, graph.neighbors, graph.shifts)
    if at is None:
        found = _potential(kind, lists, graph.positions, graph.cell, q)
    else:
        found = _sent(kind, lists, graph.positions, graph.cell, q, (*of.T, *at.T))
    return poison(found, unusable(graph, cutoff.radius, _ALL))


def _sent(kind: Kind, lists: tuple, positions: Array, cell: Array, q: Array, moved: Sequence[Array] = ()) -> Array:
    """The potential in operations whose transpose sends to every neighbour what it does to an atom."""

    def of_atoms(vectors, shifts, mask, mine, others):
        if moved:
            vectors = vectors + others[1:4] - mine[4:7]
        r, near = _near(kind, vectors, mine[1 + len(moved) :], others[1 + len(moved) :])
        return jnp.sum(jnp.where(mask, near(r), 0) * others[0], axis=0), ()

    return _over_neighbors(of_atoms, lists, positions, cell, kind[1].radius, [q, *moved, *kind[3].T])[0]


@jax.custom_jvp
def _potential(kind: Kind, lists: tuple, positions: Array, cell: Array, q: Array) -> Array:
    return _sent(kind, lists, positions, cell, q)


def _potential_jvp(primals, tangents):
    kind, lists, *at = primals
    found = _potential(*primals)
    step = jnp.zeros_like(found)
    if any(_moves(x) for x in jax.tree_util.tree_leaves(tangents[0], is_leaf=_is_zero)):
        step = jax.jvp(lambda kind: _sent(kind, lists, *at), (kind,), (jax.tree_util.tree_map(_filled, tangents[0], is_leaf=_is_zero),))[1]
    places = [i for i, x in enumerate(tangents[2:]) if _moves(x)]
    if places:
        step = step + _linear(kind, lists, at, places, [tangents[2 + i] for i in places])
    return found, step


def _linear(kind: Kind, lists: tuple, at: list[Array], places: list[int], steps: list[Array]) -> Array:
    """What steps of some of positions, cell and sources do to the potential. Its transpose fetches.

    A function with a transpose of its own that can be differentiated any number of times is, in JAX, the solution of a linear system; here
    of (1 − L) x = b, where L takes steps to the potential and L² = 0.
    """
    # one vector, since JAX transposes a system only if all of its right side is to be differentiated
    right, apart = ravel_pytree((steps, jnp.zeros_like(at[2])))
    n_steps = right.size - at[2].size

    def change(x):
        def potential(*some):
            every = list(at)
            for i, one in zip(places, some, strict=True):
                every[i] = one
            return _sent(kind, lists, *every)

        step = jax.jvp(potential, tuple(at[i] for i in places), tuple(apart(x)[0]))[1]
        return jnp.concatenate([jnp.zeros(n_steps, x.dtype), step])

    def transposed(_, x):
        g = apart(x)[1]
        return x + ravel_pytree((_fetched(kind, lists, *at, g, places), jnp.zeros_like(g)))[0]

    return jax.lax.custom_linear_solve(lambda x: x - change(x), right, lambda _, x: x + change(x), transposed)[n_steps:]


def _fetched(kind: Kind, lists: tuple, positions: Array, cell: Array, q: Array, g: Array, places: list[int]) -> list[Array]:
    r"""Some of the derivatives of :math:`\sum_i g_i \Phi_i` by positions [N, 3], cell [3, 3] and sources [N].

    .. math:: -\sum_j (g_i q_j + q_i g_j)\, \phi'_{ij} \hat r_{ij}, \qquad \tfrac12 \sum_{ij} (g_i q_j + q_i g_j)\, \phi'_{ij}\, n_{ij} \otimes \hat r_{ij},
        \qquad \sum_j \phi_{ij}\, g_j
    """

    def of_atoms(vectors, shifts, mask, mine, others):
        r, near = _near(kind, vectors, mine[2:], others[2:])
        values, slopes = jax.jvp(near, (r,), (jnp.ones_like(r),))
        force = jnp.where(mask, slopes, 0) * (mine[1] * others[0] + mine[0] * others[1]) / jnp.where(r == 0, 1, r)
        pulls = force[None] * vectors
        found = {}
        if 0 in places:
            found[0] = -jnp.sum(pulls, axis=1)
        if 2 in places:
            found[2] = jnp.sum(jnp.where(mask, values, 0) * others[1], axis=0)
        of_cell = einsum("ska,xka->sx", shifts, pulls) if 1 in places else jnp.zeros(())
        return found, of_cell

    found, of_cell = _over_neighbors(of_atoms, lists, positions, cell, kind[1].radius, [q, g, *kind[3].T])
    every = {1: 0.5 * of_cell} | {place: x.T for place, x in found.items()}
    return [every[place] for place in places]


_potential.defjvp(_potential_jvp, symbolic_zeros=True)


def _is_zero(x: Any) -> bool:
    return isinstance(x, jax.custom_derivatives.SymbolicZero)


def _moves(x: Any) -> bool:
    return not _is_zero(x) and x.dtype != jax.dtypes.float0


def _filled(x: Any) -> Any:
    return jnp.zeros(x.shape, x.dtype) if _is_zero(x) and x.dtype != jax.dtypes.float0 else x


def _near(kind: Kind, vectors: Array, mine: Array, others: Array) -> tuple[Array, Callable]:
    """Distances [K, A], and the near part with its end as a function of them."""
    interaction, cutoff, width, _ = kind
    square = vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2
    is_zero = square == 0
    r = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))
    mine, others = jnp.moveaxis(mine, 0, -1), jnp.moveaxis(others, 0, -1)
    return r, lambda r: interaction.near(r, width, mine, others) * cutoff(r)


def _over_neighbors(function: Callable, lists: tuple, positions: Array, cell: Array, parking: Array, carried: Sequence[Array]) -> Any:
    """What a function makes of neighbours, in blocks of A atoms, which are last: so processors take many at once, and sums are added up.

    Args:
      function: of vectors [3, K, A] in Å, shifts [3, K, A], a mask [K, A], and of what atoms [C, 1, A] and their neighbours [C, K, A] carry; it
        returns arrays [..., A], and others, of which the sum over all atoms is wanted.
      lists: numbers, neighbors and shifts of a graph.
      positions, cell: of the graph.
      parking: how far empty slots are away, in Å.
      carried: what every atom carries, C arrays [N].

    Returns:
      The function's results: arrays [..., N], and sums.
    """
    numbers, neighbors, shifts = lists
    n, real = len(neighbors), numbers > 0
    own = jnp.stack([*positions.T, *carried])
    # entry N is that of empty slots; what is not there is infinitely far away
    table = jnp.pad(own, ((0, 0), (0, 1))).at[0].set(jnp.pad(jnp.where(real, own[0], jnp.inf), (0, 1), constant_values=jnp.inf))
    lattice = jnp.pad(cell.T, ((0, len(carried)), (0, 0)))
    block = min(n, atoms_at_once(8 * max(1, _BLOCK // (8 * neighbors.shape[1]))))
    n_blocks = -(-n // block)

    @jax.checkpoint
    def of_block(i):
        # the last block begins early enough to be full, and its atoms that have been there are not there
        start = jnp.minimum(i * block, n - block)
        here = jax.lax.dynamic_slice_in_dim(real, start, block) & (start + jnp.arange(block) >= i * block)
        mine = jax.lax.dynamic_slice_in_dim(own, start, block, axis=1)
        seen = jax.lax.dynamic_slice_in_dim(neighbors, start, block).T
        shift = jax.lax.dynamic_slice_in_dim(shifts, start, block).transpose(2, 1, 0).astype(cell.dtype)

        def row(of_row):
            values, origin, steps = of_row
            return values.at[seen].get(mode="promise_in_bounds") - origin[None, :] + sum(shift[s] * steps[s] for s in range(3))

        # row by row in a loop, since arithmetic that XLA's CPU fuses with gathers is done for one number at a time
        origins = jnp.pad(mine[:3], ((0, len(carried)), (0, 0)))
        rows = jax.lax.map(row, (table, origins, lattice))
        mask = (rows[0] != jnp.inf) & here[None, :]
        away = jnp.zeros(3, cell.dtype).at[0].set(jax.lax.stop_gradient(parking))
        return function(jnp.where(mask[None], rows[:3], away[:, None, None]), shift, mask, mine[3:, None, :], rows[3:])

    if n_blocks == 1:
        return of_block(0)
    of_atoms, sums = jax.lax.map(of_block, jnp.arange(n_blocks))
    return jax.tree_util.tree_map(functools.partial(_joined, n), of_atoms), jax.tree_util.tree_map(lambda x: jnp.sum(x, axis=0), sums)


def _joined(n: int, x: Array) -> Array:
    """Blocks [B, ..., A], of which the last one overlaps the one before, as [..., N]."""
    full = jnp.moveaxis(x[:-1], 0, -2)
    full = full.reshape(*full.shape[:-2], -1)
    return jnp.concatenate([full, x[-1, ..., full.shape[-1] - n :]], axis=-1)
