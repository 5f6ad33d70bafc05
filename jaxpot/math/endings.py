"""How an energy of pairs ends at a radius: by subtraction here, by a factor in `cutoffs`."""

import abc
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import positive, pytree

Array = jax.Array

SHORTEST, LONGEST = 1e-3, 1e4  # Å, of what may be a radius


class Ending(Interface):
    """Interface: how a function of the distance comes to be zero from a radius on. Descriptors need a `Cutoff`, which is a factor.

    Attributes:
      radius: from where on it is zero, [] Å.
    """

    radius: Array

    @abc.abstractmethod
    def ended(self, function: Callable[[Array], Array], r: Array) -> Array:
        """V and [...] Å -> V(r) [...], such that it is zero from the radius on."""


@pytree
class Shifted(Ending):
    r"""Ends an energy of pairs by subtraction, V(r) − V(r_c): continuous, with a force that jumps. LAMMPS's `pair_modify shift yes`.

    It is no factor, so descriptors cannot use it.

    Args:
      radius: r_c, in Å.

    Example:
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=Shifted(8.5))
      >>> float(argon.reach)
      8.5
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)

    def ended(self, function: Callable[[Array], Array], r: Array) -> Array:
        radius = jnp.broadcast_to(jnp.asarray(self.radius, r.dtype), r.shape)
        return jnp.where(r >= radius, 0, function(r) - function(radius))


@pytree
class ForceShifted(Ending):
    r"""Ends an energy of pairs with its force, V(r) − V(r_c) − (r − r_c) V'(r_c): C¹.

    It is no factor, so descriptors cannot use it.

    Args:
      radius: r_c, in Å.

    Example:
      >>> ForceShifted(2.0).ended(lambda r: r**2, jnp.array([1.0, 2.0, 3.0])).tolist()
      [1.0, 0.0, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)

    def ended(self, function: Callable[[Array], Array], r: Array) -> Array:
        radius = jnp.broadcast_to(jnp.asarray(self.radius, r.dtype), r.shape)
        value, slope = jax.jvp(function, (radius,), (jnp.ones_like(radius),))
        return jnp.where(r >= radius, 0, function(r) - value - (r - radius) * slope)
