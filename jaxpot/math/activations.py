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
    """x.

    Example:
      >>> Identity()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [-1.0, 0.0, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        return x


@pytree
class Tanh(Activation):
    """tanh x.

    Example:
      >>> Tanh()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [-0.7616, 0.0, 0.7616]
    """

    def __call__(self, x: Array) -> Array:
        return jnp.tanh(x)


@pytree
class Softplus(Activation):
    """log(1 + eˣ).

    Example:
      >>> np.asarray(Softplus()(jnp.array([-1.0, 0.0, 1.0]))).round(4).tolist()
      [0.3133, 0.6931, 1.3133]
    """

    def __call__(self, x: Array) -> Array:
        return jax.nn.softplus(x)


@pytree
class SiLU(Activation):
    """x / (1 + e⁻ˣ).

    Example:
      >>> np.asarray(SiLU()(jnp.array([-1.0, 0.0, 1.0]))).round(4).tolist()
      [-0.2689, 0.0, 0.7311]
    """

    def __call__(self, x: Array) -> Array:
        return jax.nn.silu(x)


@pytree
class Logistic(Activation):
    """1 / (1 + e⁻ˣ).

    Example:
      >>> np.asarray(Logistic()(jnp.array([-1.0, 0.0, 1.0]))).round(4).tolist()
      [0.2689, 0.5, 0.7311]
    """

    def __call__(self, x: Array) -> Array:
        return jax.nn.sigmoid(x)


@pytree
class Gaussian(Activation):
    """exp(−x²/2).

    Example:
      >>> Gaussian()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [0.6065, 1.0, 0.6065]
    """

    def __call__(self, x: Array) -> Array:
        return jnp.exp(-0.5 * x * x)


@pytree
class Cosine(Activation):
    """cos x.

    Example:
      >>> Cosine()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [0.5403, 1.0, 0.5403]
    """

    def __call__(self, x: Array) -> Array:
        return jnp.cos(x)


@pytree
class Exponential(Activation):
    """e⁻ˣ, the sign of n2p2.

    Example:
      >>> Exponential()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [2.7183, 1.0, 0.3679]
    """

    def __call__(self, x: Array) -> Array:
        return jnp.exp(-x)


@pytree
class Harmonic(Activation):
    """x².

    Example:
      >>> Harmonic()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [1.0, 0.0, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        return x * x


@pytree
class ReLU(Activation):
    """max(x, 0).

    Example:
      >>> ReLU()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [0.0, 0.0, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x)


@pytree
class CELU(Activation):
    """max(x, 0) + min(α (e^(x/α) − 1), 0).

    Args:
      alpha: α; 0.1 in ANI's networks.

    Example:
      >>> CELU()(jnp.array([-1.0, 0.0, 1.0])).round(4).tolist()
      [-0.6321, 0.0, 1.0]
    """

    alpha: Leaf = positive(default=1.0)

    def __call__(self, x: Array) -> Array:
        return jax.nn.celu(x, jnp.asarray(self.alpha, x.dtype))
