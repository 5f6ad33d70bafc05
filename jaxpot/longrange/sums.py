"""How interactions are summed over all pairs of a structure and of its periodic images: the potential at every atom."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.longrange.interactions import Interaction
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import pytree

Array = jax.Array


class PairSum(Interface):
    r"""Interface: the potential at every atom of sources at all others, and in a periodic structure of all their images.

    .. math:: \Phi_i = \sum_{j, n}{}' \phi(|R_j + n - R_i|)\, q_j

    It is linear in the sources q, the same forwards and backwards, so it serves as an operator as well.

    Attributes:
      reach: what the neighbour lists must cover, shape [], in Å.
    """

    reach: Array

    @abc.abstractmethod
    def potential(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        """Φ [N] of sources q [N]; those of padding atoms do not count, and have none."""

    @abc.abstractmethod
    def between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        r"""The potential at displaced points of displaced sources, whose derivatives are fields, and potentials and fields of dipoles.

        .. math:: \Phi_i = \sum_{j, n}{}' \phi(|R_j + d_j + n - R_i - u_i|)\, q_j

        Nothing is left out but an atom's own source in the same cell. A net source is not looked at: derivatives do not feel it. Neighbour
        lists must cover the near cutoff and both displacements.

        Args:
          interaction: between two sources, one of 1/r far away.
          graph: one structure.
          q: sources, shape [N].
          at: u, where the potential is taken, from the atoms on, shape [N, 3], in Å.
          of: d, where the sources are, likewise.

        Returns:
          Shape [N]; sources of padding atoms do not count, and have none.
        """

    @abc.abstractmethod
    def error(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        """The rms error of the forces that it expects of these charges, [] in eV/Å, with charges at random places in mind."""

    def causes(self, graph: Graph, interaction: Interaction | None = None, q: Array | None = None) -> tuple[str, ...]:
        """Why this sum gives NaN for a structure with sound neighbour lists, in words; of sources [N] as well where they are known."""
        return ()


@pytree
class Direct(PairSum):
    """All pairs of a free molecule, one after the other. Of a periodic structure the potential is NaN.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Coulomb
      >>> pair = from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2, 0, 0]]), cutoff=1.0)
      >>> Direct().potential(Coulomb(), pair, jnp.array([1.0, -1.0])).tolist()
      [-7.1998225, 7.1998225]
    """

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def potential(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        real = graph.numbers > 0
        own = interaction.sources(graph.numbers).astype(q.dtype)
        itself = jnp.where(real, interaction.itself(own) * jnp.where(real, q, 0), 0)
        return self._between(interaction, graph, q, graph.positions, graph.positions) + itself

    def between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        return self._between(interaction, graph, q, graph.positions + at, graph.positions + of)

    def _between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        """The potential at places [N, 3] of sources at places [N, 3]."""
        real = graph.numbers > 0
        q = jnp.where(real, q, 0)
        own = interaction.sources(graph.numbers).astype(q.dtype)

        def of_atoms(atoms):
            place, at, source, here = atoms
            apart = (jnp.arange(len(real))[None, :] != place[:, None]) & real[None, :] & here[:, None]
            r = safe_norm(jnp.where(apart[:, :, None], of[None, :, :] - at[:, None, :], 1.0))
            values = interaction.bare(r, source[:, None, :], own[None, :, :])
            return einsum("nm,m->n", jnp.where(apart, values, 0), q)

        found = map_blocks(jax.checkpoint(of_atoms), (jnp.arange(len(real)), at, own, real), atoms_at_once())
        return poison(found, jnp.any(graph.pbc))

    def error(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        return jnp.zeros((), q.dtype)

    def causes(self, graph: Graph, interaction: Interaction | None = None, q: Array | None = None) -> tuple[str, ...]:
        periodic = np.any(np.asarray(graph.pbc))
        return ("Direct sums the pairs of free molecules, and the structure is periodic; write jaxpot.longrange.sum_for(frames)",) if periodic else ()
