"""Heads linear in the features."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.heads.base import LinearHead
from jaxpot.pytree import positive, pytree, static

Array = jax.Array


@pytree
class Linear(LinearHead):
    r"""One coefficient per feature and centre species, :math:`\epsilon_i = \sum_f w_{z_i f}\, x_{if}`.

    Args:
      scale: prior standard deviation of every coefficient, in eV per unit of the feature.
      coefficients: w, shape [S · F], species slowest; None until fitted.
      n_species: S; None until joined with a descriptor in an AtomicPotential.
      n_features: F; likewise.
    """

    scale: Array = positive(1.0)
    coefficients: Array | None = None
    n_species: int | None = static(None)
    n_features: int | None = static(None)

    def __post_init__(self):
        if self.coefficients is not None and self.n_species is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"Linear: expected coefficients [{self.n_coefficients}], got {np.shape(self.coefficients)}")

    @property
    def n_coefficients(self) -> int:
        return self.n_species * self.n_features

    def sized(self, descriptor: Descriptor) -> "Linear":
        given, needed = (self.n_species, self.n_features), (len(descriptor.species), descriptor.n_features)
        if given not in ((None, None), needed):
            raise ValueError(f"Linear was made for (species, features) = {given}, the descriptor has {needed}")
        return self.replace(n_species=needed[0], n_features=needed[1])

    def basis(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        return (own[:, :, None] * features[:, None, :]).reshape(features.shape[0], -1)

    def precision(self) -> Array:
        return jnp.eye(self.n_coefficients) / jnp.asarray(self.scale) ** 2
