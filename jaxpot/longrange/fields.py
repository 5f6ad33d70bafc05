"""Fields of charges and dipoles: derivatives of the potential at displaced points of displaced sources."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array
Potential = Callable[[Array, Array, Array], Array]  # of sources [N], seen from [N, 3] and standing at [N, 3] from the atoms on: `PairSum.between`


def field_of_charges(potential: Potential, q: Array, of: Array) -> Array:
    """The electric field [N, 3] in V/Å at every atom of charges [N] in e, which stand displaced by [N, 3] Å from their atoms."""
    return -jax.grad(lambda at: jnp.sum(potential(q, at, of)))(jnp.zeros_like(of))


def field_of_dipoles(potential: Potential, dipoles: Array) -> Array:
    r"""The electric field [N, 3] in V/Å at every atom of dipoles [N, 3] in e·Å at all others and at the images of all.

    A dipole is the derivative of a unit charge by its place.
    """
    ones, still = jnp.ones(len(dipoles), dipoles.dtype), jnp.zeros_like(dipoles)

    def total(at):
        return jnp.sum(jax.jvp(lambda of: potential(ones, at, of), (still,), (dipoles,))[1])

    return -jax.grad(total)(still)
