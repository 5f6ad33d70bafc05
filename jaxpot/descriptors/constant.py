"""The descriptor that sees nothing but the element."""

import jax
import jax.numpy as jnp

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.graph import Environment
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class Constant(LocalDescriptor):
    """One feature, which is 1 for every atom; with a `Linear` head, a constant per element that is fitted with all else.

    It is the baseline of extensive properties: the energy or mean polarizability that each atom brings.

    Args:
      species: chemical symbols.

    Raises:
      ValueError: for unknown species.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import molecule
      >>> Constant(("H", "O"))(from_atoms(molecule("H2O"), cutoff=3.0)).tolist()
      [[1.0], [1.0], [1.0]]
    """

    species: tuple[str, ...] = static()

    def __post_init__(self):
        species_tuple(self.species, "Constant")

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    @property
    def n_features(self) -> int:
        return 1

    def labels(self) -> tuple[str, ...]:
        return ("1",)

    def environment(self, env: Environment) -> Array:
        return poison(jnp.ones(1, env.vectors.dtype), jnp.any(jnp.isnan(env.vectors)))

