"""What descriptors of whole molecules, which have no cutoff, see of a structure: all atoms, and the vectors between them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.graph import Graph
from jaxpot.units import species_table

Array = jax.Array


class MolecularDescriptor(StructureDescriptor):
    """Interface: features from all atoms of a molecule. Neighbour lists are not used, and a periodic structure is refused: its features are NaN.

    Attributes:
      species: the elements it knows, static.
    """

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def lost(self, graph: Graph) -> Array:
        """Whether the structure is none that this descriptor describes, shape []."""
        known = jnp.asarray(species_table(self.species))[graph.numbers] >= 0
        return jnp.any(graph.pbc) | jnp.any((graph.numbers > 0) & ~known)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if np.any(np.asarray(graph.pbc)):
            return (f"{type(self).__name__} is of molecules, and the structure is periodic; set atoms.pbc = False if it is a molecule in a box",)
        return ()


def inverse_distances(graph: Graph) -> Array:
    """1/r between all atoms, shape [N, N], in 1/Å; 0 on the diagonal and for padding."""
    real = graph.numbers > 0
    pair = real[:, None] & real[None, :] & ~jnp.eye(len(real), dtype=bool)
    vectors = graph.positions[:, None, :] - graph.positions[None, :, :]
    # in this order no gradient passes through the root of a pair that does not count
    square = jnp.where(pair, jnp.sum(vectors * vectors, axis=-1), 1)
    return jnp.where(pair, 1 / jnp.sqrt(square), 0)
