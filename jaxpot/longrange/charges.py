"""Where charges come from: models of the charge of every atom, exact in the total."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph, by_element
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Model
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static

Array = jax.Array


class ChargeModel(Model):
    r"""Interface: the charge of every atom of a structure. A new one writes `charges`.

    As a model it predicts charges and their dipole :math:`\sum_i q_i R_i`, which of an ion depends on the origin, and in a periodic structure
    on the choice of the cell.
    """

    @abc.abstractmethod
    def charges(self, graph: Graph) -> Array:
        """Charges [N] in e, whose sum is the structure's total charge; 0 for padding atoms."""

    def properties(self, graph: Graph) -> Properties:
        return observed(graph, self.charges(graph))


def observed(graph: Graph, q: Array) -> Properties:
    """Charges [N] and their dipole, which potentials of these charges predict beside energies."""
    return Properties(charges=q, dipole=einsum("n,nx->x", q, jnp.where((graph.numbers > 0)[:, None], graph.positions, 0)))


_EXCESS = 1e-6  # e; the charges of a structure may miss its total by round-off


def misses_total(graph: Graph, q: Array) -> Array:
    """Whether charges [N] do not sum to the structure's, []."""
    return jnp.abs(jnp.sum(q) - graph.charge) > _EXCESS * jnp.maximum(1, jnp.sum(jnp.abs(q)))


def why_total(charges: ChargeModel, graph: Graph) -> tuple[str, ...]:
    """That the charges of a model miss the structure's total, in words."""
    q = charges.charges(graph)
    if not bool(misses_total(graph, q)):
        return ()
    found, total = float(jnp.sum(q)), float(graph.charge)
    return (
        f"the charges of {type(charges).__name__} sum to {found:.6g} e, the structure has a total charge of {total:.6g} e; "
        f"write jaxpot.from_atoms(atoms, cutoff, charge={found:.6g})",
    )


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
        return by_element(self.values, self.species, graph.numbers)
