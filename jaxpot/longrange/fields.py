"""Fields of charges and dipoles: derivatives of the potential that a sum makes at displaced points of displaced sources."""

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.sums import PairSum

Array = jax.Array


def field_of_charges(sum: PairSum, interaction: Interaction, graph: Graph, q: Array, of: Array) -> Array:
    """The electric field [N, 3] in V/Å at every atom of charges [N] in e, which stand displaced by [N, 3] Å from their atoms."""
    return -jax.grad(lambda at: jnp.sum(sum.between(interaction, graph, q, at, of)))(jnp.zeros_like(of))


def field_of_dipoles(sum: PairSum, interaction: Interaction, graph: Graph, dipoles: Array) -> Array:
    r"""The electric field [N, 3] in V/Å at every atom of dipoles [N, 3] in e·Å at all others and at the images of all.

    A dipole is the derivative of a unit charge by its place.
    """
    ones, still = jnp.ones(len(dipoles), dipoles.dtype), jnp.zeros_like(dipoles)

    def potential(at):
        return jnp.sum(jax.jvp(lambda of: sum.between(interaction, graph, ones, at, of), (still,), (dipoles,))[1])

    return -jax.grad(potential)(still)
