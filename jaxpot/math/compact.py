"""Functions of compact support that are one at their centre: what polynomial symmetry functions are made of."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.math.cutoffs import SMOOTHSTEPS
from jaxpot.trees import pytree, static

Array = jax.Array


class Core(Interface):
    """Interface: f(x) with f(0) = 1, and zero with its slope from x = 1 on.

    The argument is a square, so that second derivatives are exact at the centre too.
    """

    @abc.abstractmethod
    def __call__(self, square: Array) -> Array:
        """x² [...] -> f(x) [...]; zero with its slope from 1 on."""


def _root(square: Array) -> Array:
    """x, whose derivatives are zero where x is: odd powers from x³ on have no others there."""
    is_zero = square <= 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))


@pytree
class PolynomialCore(Core):
    r"""The polynomial of lowest degree with `smoothness` continuous derivatives, n2p2's p1 to p4.

    .. math:: f = 1 - 10 x^3 + 15 x^4 - 6 x^5 \quad\text{(smoothness 2)}

    Args:
      smoothness: 1 to 4.

    Raises:
      ValueError: for another smoothness.

    Example:
      >>> PolynomialCore(2)(jnp.array([0.0, 0.25, 1.0])).tolist()
      [1.0, 0.5, 0.0]
    """

    smoothness: int = static(default=2)

    def __post_init__(self):
        if self.smoothness not in SMOOTHSTEPS:
            raise ValueError(f"PolynomialCore: smoothness must be 1, 2, 3 or 4, got {self.smoothness!r}")

    def __call__(self, square: Array) -> Array:
        ended = square >= 1
        square = jnp.where(ended, 0, square)
        x = _root(square)
        powers = {power: square ** (power // 2) * (x if power % 2 else 1) for power, _ in SMOOTHSTEPS[self.smoothness]}
        return jnp.where(ended, 0, 1 + sum(coefficient * powers[power] for power, coefficient in SMOOTHSTEPS[self.smoothness]))


@pytree
class BumpCore(Core):
    """exp(1 − 1/(1 − x²)), n2p2's e.

    Example:
      >>> BumpCore()(jnp.array([0.0, 0.5, 1.0])).round(4).tolist()
      [1.0, 0.3679, 0.0]
    """

    def __call__(self, square: Array) -> Array:
        ended = square >= 1
        rest = jnp.where(ended, 1, 1 - square)
        return jnp.where(ended, 0, jnp.exp(1 - 1 / rest))


@pytree
class AsymmetricCore(Core):
    """A core of x (2 − x): it falls faster, n2p2's a.

    Args:
      core: the core that is called.

    Example:
      >>> np.asarray(AsymmetricCore(BumpCore())(jnp.array([0.0, 0.5, 1.0]))).round(4).tolist()
      [1.0, 0.0062, 0.0]
    """

    core: Core

    def __call__(self, square: Array) -> Array:
        square = jnp.where(square >= 1, 1, square)
        return self.core(square * (2 - _root(square)) ** 2)
