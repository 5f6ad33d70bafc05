"""The interfaces of heads."""

import jax

from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum

Array = jax.Array


class Head:
    """Interface: features [N, F] and centre species [N] in, atomic energies [N] in eV out."""

    def __call__(self, features: Array, species: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(features, species)")

    def energies(self, descriptor: LocalDescriptor, envs: Environment) -> Array:
        """Atomic energies [n] of a stack of environments; for heads that know a better way than through the features."""
        return self(descriptor.stack(envs), envs.center)

    def sized(self, descriptor: Descriptor) -> "Head":
        """The same head for this descriptor's features; raises if it was made for others."""
        return self

    def at(self, descriptor: Descriptor) -> "Head":
        """The same head with everything that follows the descriptor's leaves computed; inside jit."""
        return self

    def frozen(self, descriptor: Descriptor) -> "Head":
        """The same head, no longer following the descriptor's leaves."""
        return self

    def collapsed(self, descriptor: Descriptor) -> "Head":
        """A head that gives the same energies in fewer operations, where there is one; of a frozen head, outside jit."""
        return self


class LinearHead(Head):
    """Interface: a head linear in its coefficients, with a Gaussian prior on them.

    Attributes:
      coefficients: w, shape [P]; None until fitted.
      n_coefficients: P.
    """

    coefficients: Array | None
    n_coefficients: int

    def basis(self, features: Array, species: Array) -> Array:
        """[N, F], [N] -> [N, P]; energies are basis @ coefficients."""
        raise NotImplementedError(f"{type(self).__name__} must define basis(features, species)")

    def precision(self) -> Array:
        """The prior w ~ Normal(0, precision⁻¹), shape [P, P], in the inverse square of the coefficients' unit."""
        raise NotImplementedError(f"{type(self).__name__} must define precision()")

    def __call__(self, features: Array, species: Array) -> Array:
        if self.coefficients is None:
            raise ValueError(f"{type(self).__name__} has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
        return einsum("np,p->n", self.basis(features, species), self.coefficients)
