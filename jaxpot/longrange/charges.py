"""Where charges come from: models of the charge of every atom, exact in the total."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import species_table

Array = jax.Array


class ChargeModel(Interface):
    """Interface: the charge of every atom of a structure. A new one writes `charges`.

    Attributes:
      species: the elements it knows, static.
      reach: what the neighbour lists must cover, shape [], in Å.
    """

    species: tuple[str, ...]
    reach: Array

    @abc.abstractmethod
    def charges(self, graph: Graph) -> Array:
        """Charges [N] in e, whose sum is the structure's total charge; 0 for padding atoms."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why this model gives NaN for a structure with sound neighbour lists and elements, in words."""
        return ()


@pytree
class FixedCharges(ChargeModel):
    """One charge for every element. Their sum is the structure's total charge, or the potential of these charges is NaN.

    Args:
      species: chemical symbols.
      values: charge of every element, shape [S], in e.

    Example:
      >>> import ase.build
      >>> from jaxpot import from_atoms
      >>> FixedCharges(("Na", "Cl"), values=[1.0, -1.0]).charges(from_atoms(ase.build.bulk("NaCl", "rocksalt", a=5.6), 3.0)).tolist()
      [1.0, -1.0]
    """

    species: tuple[str, ...] = static()
    values: Leaf = leaf(shape="[S]")

    def __post_init__(self):
        species_tuple(self.species, "FixedCharges")

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def charges(self, graph: Graph) -> Array:
        index = jnp.asarray(species_table(self.species))[graph.numbers]
        values = jnp.asarray(self.values)[jnp.maximum(index, 0)]
        values = jnp.where(index < 0, jnp.nan, values)
        return jnp.where(graph.numbers > 0, values, 0)
