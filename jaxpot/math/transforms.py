"""Transforms of distances: the variables of polynomials, in which a potential is nearly linear."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import positive, pytree

Array = jax.Array


class DistanceTransform(Interface):
    """Interface: a variable made of a distance."""

    @abc.abstractmethod
    def __call__(self, r: Array) -> Array:
        """[...] Å -> x [...]."""


@pytree
class MorseTransform(DistanceTransform):
    r"""The variable of Morse potentials.

    .. math:: x = e^{-A (r/r_0 - 1)}

    Args:
      length: r_0, where x is 1, in Å.
      decay: A, dimensionless.

    Example:
      >>> MorseTransform(1.5, decay=2.0)(jnp.array([1.5, 3.0])).round(4).tolist()
      [1.0, 0.1353]
    """

    length: Leaf = positive()
    decay: Leaf = positive()

    def __call__(self, r: Array) -> Array:
        return jnp.exp(-self.decay * (r / self.length - 1))


@pytree
class PowerTransform(DistanceTransform):
    r"""An inverse power.

    .. math:: x = (r_0/r)^p

    Args:
      length: r_0, where x is 1, in Å.
      power: p.

    Example:
      >>> PowerTransform(1.5, power=2.0)(jnp.array([1.5, 3.0])).tolist()
      [1.0, 0.25]
    """

    length: Leaf = positive()
    power: Leaf = positive()

    def __call__(self, r: Array) -> Array:
        return (self.length / r) ** jnp.asarray(self.power, r.dtype)


@pytree
class InverseTransform(DistanceTransform):
    """x = 1/r, in 1/Å.

    Example:
      >>> InverseTransform()(jnp.array([1.0, 2.0])).tolist()
      [1.0, 0.5]
    """

    def __call__(self, r: Array) -> Array:
        return 1 / r


@pytree
class IdentityTransform(DistanceTransform):
    """x = r, in Å.

    Example:
      >>> IdentityTransform()(jnp.array([1.0, 2.0])).tolist()
      [1.0, 2.0]
    """

    def __call__(self, r: Array) -> Array:
        return r
