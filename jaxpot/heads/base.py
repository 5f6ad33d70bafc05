"""The interfaces of heads."""

import abc
from typing import ClassVar

import jax

from jaxpot.descriptors.base import Descriptor
from jaxpot.interface import Interface
from jaxpot.math.linalg import einsum

Array = jax.Array


class Head(Interface):
    """Interface: features [N, F] and centre species [N] in, atomic energies [N] in eV out.

    Attributes:
      trained: patterns of its leaves that `fit.train` moves where it is not told which.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxpot.trees import positive, pytree
      >>> @pytree
      ... class Count(Head):
      ...     scale: Array = positive()
      ...     def __call__(self, features, species):
      ...         return self.scale * jnp.sum(features, axis=1)
      >>> Count(0.5)(jnp.ones((2, 3)), jnp.zeros(2, int)).tolist()
      [1.5, 1.5]
    """

    trained: ClassVar[tuple[str, ...]] = ("*",)

    @abc.abstractmethod
    def __call__(self, features: Array, species: Array) -> Array:
        """[N, F], [N] -> [N], in eV."""

    def sized(self, descriptor: Descriptor) -> "Head":
        """The same head for this descriptor's features; raises if it was made for others."""
        return self


class LinearHead(Head):
    """Interface: a head linear in its coefficients, with a Gaussian prior on them.

    Attributes:
      coefficients: w, shape [P]; None until fitted.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxpot.trees import pytree, static
      >>> @pytree
      ... class Alike(LinearHead):
      ...     n_features: int = static()
      ...     coefficients: Array | None = None
      ...     def basis(self, features, species):
      ...         return features
      ...     def precision(self):
      ...         return jnp.eye(self.n_features)
      >>> Alike(3, coefficients=jnp.ones(3))(jnp.ones((2, 3)), jnp.zeros(2, int)).tolist()
      [3.0, 3.0]
    """

    coefficients: Array | None
    trained: ClassVar[tuple[str, ...]] = ("coefficients",)

    @abc.abstractmethod
    def basis(self, features: Array, species: Array) -> Array:
        """[N, F], [N] -> [N, P]; energies are basis @ coefficients."""

    @abc.abstractmethod
    def precision(self) -> Array:
        """The prior w ~ Normal(0, precision⁻¹), shape [P, P], in the inverse square of the coefficients' unit."""

    @property
    def n_coefficients(self) -> int:
        """P."""
        return jax.eval_shape(self.precision).shape[0]

    def __call__(self, features: Array, species: Array) -> Array:
        if self.coefficients is None:
            raise ValueError(f"{type(self).__name__} has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
        return einsum("np,p->n", self.basis(features, species), self.coefficients)
