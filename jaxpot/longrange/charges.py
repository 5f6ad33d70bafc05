"""Where charges come from: models of the charge of every atom, exact in the total."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Model
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import species_table

Array = jax.Array


class ChargeModel(Model):
    r"""Interface: the charge of every atom of a structure. A new one writes `charges`.

    As a model it predicts charges and their dipole :math:`\sum_i q_i R_i`, which of an ion depends on the origin, and in a periodic structure
    on the choice of the cell.

    Attributes:
      species: the elements it knows, static.
      reach: what the neighbour lists must cover, shape [], in Å.
    """

    species: tuple[str, ...]
    reach: Array

    @abc.abstractmethod
    def charges(self, graph: Graph) -> Array:
        """Charges [N] in e, whose sum is the structure's total charge; 0 for padding atoms."""

    def more(self, graph: Graph) -> Properties:
        """Charges and dipole, which potentials of these charges predict beside energies."""
        q = self.charges(graph)
        return Properties(charges=q, dipole=einsum("n,nx->x", q, jnp.where((graph.numbers > 0)[:, None], graph.positions, 0)))

    def properties(self, graph: Graph) -> Properties:
        return self.more(graph)


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
