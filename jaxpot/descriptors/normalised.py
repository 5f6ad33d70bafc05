"""Features of whole structures divided by their norm, or by the number of atoms."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.graph import Graph
from jaxpot.math.linalg import unit
from jaxpot.trees import pytree

Array = jax.Array


class _Normalised(StructureDescriptor):
    """All but the features is the descriptor's own."""

    descriptor: StructureDescriptor

    def _check(self) -> None:
        if not isinstance(self.descriptor, StructureDescriptor):
            name, given = type(self).__name__, type(self.descriptor).__name__
            raise TypeError(f"{name}: expected a descriptor of whole structures such as MBTR(...), got {given}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_features(self) -> int:
        return self.descriptor.n_features

    def labels(self) -> tuple[Any, ...]:
        return self.descriptor.labels()

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.descriptor.causes(graph)


@pytree
class UnitLength(_Normalised):
    """The features of a structure divided by their norm, all blocks together: DScribe's `l2`.

    Features that are all 0 stay so.

    Args:
      descriptor: a descriptor of whole structures.

    Raises:
      TypeError: for another descriptor.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.descriptors import BagOfBonds
      >>> from ase.build import molecule
      >>> x = UnitLength(BagOfBonds(("H", "O"), counts=(2, 1))).features(from_atoms(molecule("H2O"), cutoff=1.0))
      >>> round(float(jnp.linalg.norm(x)), 6)
      1.0
    """

    descriptor: StructureDescriptor

    def __post_init__(self):
        self._check()

    def features(self, graph: Graph) -> Array:
        return unit(self.descriptor.features(graph))


@pytree
class PerAtom(_Normalised):
    """The features of a structure divided by its number of atoms: DScribe's `n_atoms`.

    Args:
      descriptor: a descriptor of whole structures.

    Raises:
      TypeError: for another descriptor.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.descriptors import BagOfBonds
      >>> from ase.build import molecule
      >>> PerAtom(BagOfBonds(("H", "O"), counts=(2, 1))).features(from_atoms(molecule("H2O"), cutoff=1.0)).round(3).tolist()
      [0.167, 0.167, 24.506, 0.218, 2.753, 2.753]
    """

    descriptor: StructureDescriptor

    def __post_init__(self):
        self._check()

    def features(self, graph: Graph) -> Array:
        x = self.descriptor.features(graph)
        return x / jnp.maximum(jnp.sum(graph.numbers > 0), 1).astype(x.dtype)
