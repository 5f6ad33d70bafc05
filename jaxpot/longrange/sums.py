"""How interactions are summed over all pairs of a structure and of its periodic images: the potential at every atom."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Graph, environments
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.longrange.interactions import Interaction
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import positive, pytree, static
from jaxpot.units import SYMBOLS

Array = jax.Array

_ALL = tuple(SYMBOLS[1:])
_SLACK = 1e-6  # relative; a cell that equals the one a grid was made for, up to round-off, is covered


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

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why this sum gives NaN for a structure with sound neighbour lists, in words."""
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
        q = jnp.where(real, q, 0)
        own = interaction.sources(graph.numbers)

        def of_atoms(atoms):
            place, at, source, here = atoms
            apart = (jnp.arange(len(real))[None, :] != place[:, None]) & real[None, :] & here[:, None]
            r = safe_norm(jnp.where(apart[:, :, None], graph.positions[None, :, :] - at[:, None, :], 1.0))
            values = interaction.bare(r, source[:, None, :], own[None, :, :])
            return einsum("nm,m->n", jnp.where(apart, values, 0), q)

        block = atoms_at_once()
        stack = jnp.arange(len(real)), graph.positions, own, real
        found = map_blocks(jax.checkpoint(of_atoms), stack, block) + jnp.where(real, interaction.itself(own) * q, 0)
        return poison(found, jnp.any(graph.pbc))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        periodic = np.any(np.asarray(graph.pbc))
        return ("Direct sums the pairs of free molecules, and the structure is periodic; write jaxpot.longrange.sum_for(frames)",) if periodic else ()


@pytree
class Ewald(PairSum):
    r"""Ewald's sum of a crystal: near pairs in real space, the far part in reciprocal space.

    .. math:: \Phi_i = \sum_j f_c(r_{ij})\, \phi_{\text{near}}(r_{ij}; s)\, q_j
        + \frac1V \sum_{k \neq 0} \hat\phi_{\text{far}}(k)\, e^{i k R_i} \sum_j q_j e^{-i k R_j} - \phi_{\text{far}}(0)\, q_i
        + \frac{b}{V} \sum_j q_j

    The wave vectors are :math:`k = 2\pi\, m A^{-1}` of a fixed box of integers m, so the potential is smooth in positions and cell. The
    surroundings of the crystal conduct ("tin foil"), and a net charge is neutralised by a uniform background.

    Args:
      cutoff: f_c, how the near part ends; C² keeps forces smooth.
      width: s of the splitting, in Å.
      grid: largest |m| along each of the three reciprocal directions.
      k_cutoff: what the box of wave vectors must contain, in 1/Å: of a cell that has outgrown it the potential is NaN.

    Raises:
      ValueError: for a grid that is not three positive integers.

    Example:
      >>> import ase.build
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.longrange import Coulomb
      >>> salt = ase.build.bulk("NaCl", "rocksalt", a=2.0)
      >>> ewald = Ewald(PolynomialCutoff(5.0, width=0.5), width=0.7, grid=(9, 9, 9), k_cutoff=9.0)
      >>> constant = ewald.potential(Coulomb(), from_atoms(salt, 5.0), jnp.array([1.0, -1.0]))[1] / 14.399645
      >>> round(float(constant), 8)
      1.74756459
    """

    cutoff: Cutoff
    width: Leaf = positive()
    grid: tuple[int, int, int] = static(most=10_000)
    k_cutoff: Leaf = positive()

    def __post_init__(self):
        if not (isinstance(self.grid, tuple) and len(self.grid) == 3 and all(isinstance(m, int) and m >= 1 for m in self.grid)):
            raise ValueError(f"Ewald: grid must be a tuple of three positive integers, got {self.grid!r}")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def potential(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        q = jnp.where(graph.numbers > 0, q, 0)
        own = interaction.sources(graph.numbers)
        found = near_potential(interaction, self.cutoff, self.width, graph, q, own) + self._far(interaction, graph, q)
        found = found + (interaction.itself(own) - interaction.origin(jnp.asarray(self.width))) * q
        lost = self._outgrown(graph) | ~jnp.all(graph.pbc) | undefined(interaction, self.width, q)
        return poison(jnp.where(graph.numbers > 0, found, 0), lost)

    def _far(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        m = [np.arange(lowest, highest + 1) for lowest, highest in zip((0, -self.grid[1], -self.grid[2]), self.grid, strict=True)]
        inverse, volume = jnp.linalg.inv(graph.cell), jnp.abs(jnp.linalg.det(graph.cell))
        integers = np.stack(np.meshgrid(*m, indexing="ij"), axis=-1)
        is_zero = ~np.any(integers, axis=-1)
        k = 2 * np.pi * einsum("abcs,xs->abcx", jnp.asarray(integers, inverse.dtype), inverse)
        k2 = jnp.sum(k**2, axis=-1)
        # half of all wave vectors stand for both ±k
        weights = jnp.where(is_zero, 0, interaction.far(jnp.where(is_zero, 1, k2), jnp.asarray(self.width)) / volume)
        weights = weights * np.where(integers[..., 0] > 0, 2, 1)
        fractions = einsum("nx,xs->sn", graph.positions, inverse)
        waves = [jnp.exp(2j * np.pi * fraction[:, None] * of_axis[None, :]) for fraction, of_axis in zip(fractions, m, strict=True)]
        structure = einsum("na,nb,nc->abc", waves[0] * q[:, None], waves[1], waves[2])
        back = einsum("abc,na,nb,nc->n", weights * jnp.conj(structure), *waves)
        background = interaction.background(jnp.asarray(self.width))
        return jnp.real(back) + jnp.sum(q) * jnp.where(jnp.isfinite(background), background, 0) / volume

    def _outgrown(self, graph: Graph) -> Array:
        lengths = jnp.sqrt(jnp.sum(graph.cell**2, axis=1))
        return jnp.any(2 * np.pi * (np.asarray(self.grid) + 1) < self.k_cutoff * lengths * (1 - _SLACK))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if not np.all(np.asarray(graph.pbc)):
            return (f"Ewald sums crystals, and the structure has pbc {np.asarray(graph.pbc).tolist()}; write jaxpot.longrange.sum_for(frames)",)
        if bool(self._outgrown(graph)):
            lengths = np.linalg.norm(np.asarray(graph.cell), axis=1).round(3).tolist()
            return (f"the cell, of lengths {lengths} Å, has outgrown the grid {self.grid} of Ewald; write jaxpot.longrange.sum_for(frames)",)
        return ()


def undefined(interaction: Interaction, width: Array, q: Array) -> Array:
    """Whether sources have a net strength for which a periodic sum has no value, []."""
    excess = jnp.abs(jnp.sum(q)) > 1e-9 * jnp.sum(jnp.abs(q))
    return ~jnp.isfinite(interaction.background(jnp.asarray(width))) & excess


def near_potential(interaction: Interaction, cutoff: Cutoff, width: Array, graph: Graph, q: Array, own: Array) -> Array:
    """Σ_j of the near part [N] over the neighbours within a cutoff."""
    envs = environments(graph, cutoff.radius, _ALL, carried=jnp.concatenate([q[:, None], own.astype(q.dtype)], axis=1))
    r = safe_norm(envs.vectors)
    values = interaction.near(r, jnp.asarray(width), envs.center_carried[:, None, 1:], envs.carried[:, :, 1:]) * cutoff(r)
    return jnp.sum(jnp.where(envs.mask, values, 0) * envs.carried[:, :, 0], axis=1)
