"""Descriptors side by side."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import LocalDescriptor, features
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.expansion import is_local
from jaxpot.graph import Environment
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class Joined(LocalDescriptor):
    """The features of several local descriptors, one after the other.

    Args:
      parts: descriptors of the same species.

    Raises:
      ValueError: for none, for parts of different species, or one that needs the whole structure.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF, G2, G4
      >>> near, far = CosineCutoff(3.0), CosineCutoff(6.0)
      >>> Joined((ACSF(("Si",), (G2.centered(far, 4),)), ACSF(("Si",), (G4(near),)))).n_features
      7
    """

    parts: tuple[LocalDescriptor, ...]

    def __post_init__(self):
        if not isinstance(self.parts, tuple | list) or not self.parts:
            raise ValueError(f"Joined: expected a tuple of descriptors, got {self.parts!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        for part in self.parts:
            if not is_local(part):
                raise ValueError(f"Joined: {type(part).__name__} does not follow from an atom's own neighbours; join only those that do")
        if len(found := dict.fromkeys(part.species for part in self.parts)) > 1:
            raise ValueError(f"Joined: parts know different species, {' and '.join(map(str, found))}; give all of them the same, in one order")

    @property
    def species(self) -> tuple[str, ...]:
        return self.parts[0].species

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [part.reach for part in self.parts])

    @property
    def n_features(self) -> int:
        return sum(part.n_features for part in self.parts)

    def labels(self) -> tuple:
        """(number of the part, its own label) of every feature."""
        return tuple((number, label) for number, part in enumerate(self.parts) for label in part.labels())

    def environment(self, env: Environment) -> Array:
        stack = jax.tree_util.tree_map(lambda x: x[None], env)
        return jnp.concatenate([features(part, stack)[0] for part in self.parts])


@block_size.register
def _of_parts(joined: Joined, n_neighbors: int) -> int:
    return min(block_size(part, n_neighbors) for part in joined.parts)
