"""Sums of two parts: near pairs in real space, and a far part that is smooth and summed as a whole."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.checks import poison
from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Graph, environments
from jaxpot.longrange.errors import expected, near_errors
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.sums import PairSum
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import safe_norm
from jaxpot.units import SYMBOLS

Array = jax.Array

_ALL = tuple(SYMBOLS[1:])
_NEAR_BLOCK = 64  # atoms


class SplitSum(PairSum):
    r"""Interface: a sum whose interaction is split by a Gaussian of width s. A new one writes how the far part is summed.

    .. math:: \Phi_i = \sum_j f_c(r_{ij})\, \phi_{\text{near}}(r_{ij}; s)\, q_j + \Phi^{\text{far}}_i - \phi_{\text{far}}(0)\, q_i

    Attributes:
      cutoff: f_c, how the near part ends; C² keeps forces smooth.
      width: s of the splitting, in Å.
      pbc: the periodic directions of the structures, static; of a structure with others the potential is NaN.
    """

    cutoff: Cutoff
    width: Array
    pbc: tuple[bool, bool, bool]

    @abc.abstractmethod
    def far(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        """The far part [N] of sources [N], with that of each at its own place; entries of padding atoms mean nothing."""

    @abc.abstractmethod
    def far_error(self, interaction: Interaction, graph: Graph) -> Array:
        """What the far part of a pair of unit sources lacks, ∫ |Δf|² d³r over the cell, []."""

    @abc.abstractmethod
    def lost(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        """Whether the far part has no value for this structure, or is not what was promised, []."""

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def potential(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        real = graph.numbers > 0
        q = jnp.where(real, q, 0)
        own, width = interaction.sources(graph.numbers).astype(q.dtype), jnp.asarray(self.width)
        found = near_potential(interaction, self.cutoff, width, graph, q, own) + self.far(interaction, graph, q)
        found = found + (interaction.itself(own) - interaction.origin(width)) * q
        return poison(jnp.where(real, found, 0), self.lost(interaction, graph, q))

    def error(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        q = jnp.where(graph.numbers > 0, q, 0)
        near = near_errors(interaction, self.cutoff, jnp.asarray(self.width), graph.numbers, q)
        return expected(graph, self.pbc, q, near + self.far_error(interaction, graph))


def has_net(q: Array) -> Array:
    """Whether sources have a net strength beyond round-off, []."""
    return jnp.abs(jnp.sum(q)) > 1e-9 * jnp.sum(jnp.abs(q))



def undefined(interaction: Interaction, width: Array, q: Array) -> Array:
    """Whether sources have a net strength for which a periodic sum has no value, []."""
    return ~jnp.isfinite(interaction.background(jnp.asarray(width))) & has_net(q)


def near_potential(interaction: Interaction, cutoff: Cutoff, width: Array, graph: Graph, q: Array, own: Array) -> Array:
    """Σ_j of the near part [N] over the neighbours within a cutoff."""
    envs = environments(graph, cutoff.radius, _ALL, carried=jnp.concatenate([q[:, None], own.astype(q.dtype)], axis=1))

    def of_atoms(envs):
        r = safe_norm(envs.vectors)
        values = interaction.near(r, jnp.asarray(width), envs.center_carried[:, None, 1:], envs.carried[:, :, 1:]) * cutoff(r)
        return jnp.sum(jnp.where(envs.mask, values, 0) * envs.carried[:, :, 0], axis=1)

    # in blocks whose distances stay in the cache, and are computed again rather than kept
    return map_blocks(jax.checkpoint(of_atoms), envs, atoms_at_once(_NEAR_BLOCK))
