"""Sums of two parts: near pairs in real space, and a far part that is smooth and summed as a whole."""

import abc
import math

import jax
import jax.numpy as jnp

from jaxpot.checks import poison
from jaxpot.graph import Graph
from jaxpot.longrange.errors import expected, near_errors
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.near import near_potential
from jaxpot.longrange.sums import PairSum
from jaxpot.math.cutoffs import Cutoff

Array = jax.Array


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
    def far_between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        """The far part [N] at places [N, 3] of sources [N] at places [N, 3], with that of each atom's own source."""

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

    def between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        if (strength := interaction.strength()) is None:
            raise TypeError(f"{type(self).__name__}: {type(interaction).__name__} is not of 1/r far away; fields are known of such as Coulomb()")
        real = graph.numbers > 0
        q = jnp.where(real, q, 0)
        own, width = interaction.sources(graph.numbers).astype(q.dtype), jnp.asarray(self.width)
        found = near_potential(interaction, self.cutoff, width, graph, q, own, at, of)
        found = found + self.far_between(interaction, graph, q, graph.positions + at, graph.positions + of)
        found = found - strength * smeared(jnp.sum((of - at) ** 2, axis=1), width) * q
        return poison(jnp.where(real, found, 0), self.lost(interaction, graph, jnp.zeros_like(q)))

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


def why_undefined(interaction: Interaction | None, width: Array, q: Array | None) -> tuple[str, ...]:
    """That a periodic sum has no value for sources, in words; None is not known."""
    if interaction is None or q is None or not bool(undefined(interaction, width, q)):
        return ()
    total = float(jnp.sum(q))
    return (f"sources that sum to {total:.6g} have no periodic sum of {interaction!r}, which needs a sum of zero; write q - q.mean()",)


_TERMS = 12  # of the series below, to round-off where x < 1/4


def smeared(square: Array, width: Array) -> Array:
    r"""erf(d/√2s)/d of squares of distances [...], smooth at 0."""
    x = square / (2 * width**2)
    near = x < 0.25
    small, large = jnp.where(near, x, 0), jnp.where(near, 1, x)
    series = sum((-small) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(_TERMS))
    closed = 0.5 * jnp.sqrt(math.pi / large) * jax.lax.erf(jnp.sqrt(large))
    return math.sqrt(2 / math.pi) / width * jnp.where(near, series, closed)
