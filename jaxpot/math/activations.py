"""Activation functions of networks: classes, so that a model prints, saves and compares.

Forces need one derivative, fits to forces and Hessians more: ReLU and CELU, whose second derivatives jump, serve readers.
"""

import abc

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import positive, pytree

Array = jax.Array


class Activation(Interface):
    """Interface: an elementwise function."""

    @abc.abstractmethod
    def __call__(self, x: Array) -> Array:
        """x [...] -> f(x) [...]."""


@pytree
class Identity(Activation):
    """x."""

    def __call__(self, x: Array) -> Array:
        return x


@pytree
class Tanh(Activation):
    """tanh x."""

    def __call__(self, x: Array) -> Array:
        return jnp.tanh(x)


@pytree
class Softplus(Activation):
    """log(1 + eˣ)."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.softplus(x)


@pytree
class SiLU(Activation):
    """x / (1 + e⁻ˣ)."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.silu(x)


@pytree
class Logistic(Activation):
    """1 / (1 + e⁻ˣ)."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.sigmoid(x)


@pytree
class Gaussian(Activation):
    """exp(−x²/2)."""

    def __call__(self, x: Array) -> Array:
        return jnp.exp(-0.5 * x * x)


@pytree
class Cosine(Activation):
    """cos x."""

    def __call__(self, x: Array) -> Array:
        return jnp.cos(x)


@pytree
class Exponential(Activation):
    """e⁻ˣ, the sign of n2p2."""

    def __call__(self, x: Array) -> Array:
        return jnp.exp(-x)


@pytree
class Harmonic(Activation):
    """x²."""

    def __call__(self, x: Array) -> Array:
        return x * x


@pytree
class ReLU(Activation):
    """max(x, 0)."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x)


@pytree
class CELU(Activation):
    """max(x, 0) + min(α (e^(x/α) − 1), 0).

    Args:
      alpha: α; 0.1 in ANI's networks.
    """

    alpha: Leaf = positive(default=1.0)

    def __call__(self, x: Array) -> Array:
        return jax.nn.celu(x, jnp.asarray(self.alpha, x.dtype))
