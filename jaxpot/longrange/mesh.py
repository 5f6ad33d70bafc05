"""The particle-mesh sum of a crystal: near pairs in real space, the far part on a mesh by fast Fourier transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.leaves import Leaf
from jaxpot.longrange.influence import Axis, Waves, axes, waves
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.mesh_points import read, shares, spread
from jaxpot.longrange.split import SplitSum, undefined, why_undefined
from jaxpot.longrange.truncation import unlike
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.trees import positive, pytree, static

Array = jax.Array

ORDERS = (4, 5, 6)
CRYSTAL = (True, True, True)
_SLACK = 1e-6  # relative; a cell that equals the one a grid was made for, up to round-off, is covered


@pytree
class ParticleMesh(SplitSum):
    r"""The particle-particle particle-mesh sum (P3M) of a crystal: Ewald's, whose far part is on a mesh. Its cost grows as N log N.

    .. math:: \Phi_i = \sum_j f_c(r_{ij})\, \phi_{\text{near}}(r_{ij}; s)\, q_j
        + \sum_p W_p(R_i)\, \Big[ g * \sum_{j \neq i} W(R_j)\, q_j \Big]_p + \frac{q_i}{V} \sum_k \hat\phi_{\text{far}}(k) - \phi_{\text{far}}(0)\, q_i

    W spreads an atom over order³ points of the mesh by B-splines. The transform of g is the influence function of Hockney and Eastwood
    for forces that are derivatives of the mesh energy: of all functions the one with the smallest error of the forces, exact for the cell at
    hand, in which it is smooth. What an atom does to itself through the mesh, which depends on where between the points it lies, is
    taken out exactly, and what its periodic images do is put in instead.

    Splines of order n have n - 2 continuous derivatives by the position, and so has the energy: order 4 has smooth forces and
    continuous second derivatives, order 5 smooth and order 6 twice differentiable ones. Surroundings and net charge are as in `Ewald`.

    Args:
      cutoff: f_c, how the near part ends; C² keeps forces smooth.
      width: s of the splitting, in Å.
      grid: number of points along each of the three cell vectors.
      spacing: the largest distance of two points along a cell vector, in Å: of a cell that has outgrown it the potential is NaN.
      order: of the splines, 4, 5 or 6.

    Raises:
      ValueError: for a grid that is not three integers from 2, or another order.

    Example:
      >>> import ase.build
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.longrange import Coulomb
      >>> salt = ase.build.bulk("NaCl", "rocksalt", a=2.0)
      >>> mesh = ParticleMesh(PolynomialCutoff(5.0, width=0.5), width=0.8, grid=(12, 12, 12), spacing=0.12)
      >>> constant = mesh.potential(Coulomb(), from_atoms(salt, 5.0), jnp.array([1.0, -1.0]))[1] / 14.399645
      >>> round(float(constant), 6)
      1.747565

    References:
      Hockney, Eastwood, "Computer Simulation Using Particles", McGraw-Hill (1981).
      Ballenegger, Cerdà, Holm, "How to Convert SPME into P3M: Influence Functions and Error Estimates", J. Chem. Theory Comput. 8, 936
      (2012).
    """

    cutoff: Cutoff
    width: Leaf = positive()
    grid: tuple[int, int, int] = static(most=10_000)
    spacing: Leaf = positive()
    order: int = static(default=6)

    def __post_init__(self):
        if not (isinstance(self.grid, tuple) and len(self.grid) == 3 and all(isinstance(n, int) and n >= 2 for n in self.grid)):
            raise ValueError(f"ParticleMesh: grid must be a tuple of three integers from 2, got {self.grid!r}")
        if self.order not in ORDERS:
            raise ValueError(f"ParticleMesh: order must be 4, 5 or 6, got {self.order!r}")

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        return CRYSTAL

    def far(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        k, influence, background = self._influence(interaction, graph)
        of_axes, first = self._shares(graph, graph.positions)
        found = read(of_axes, first, self._mesh(influence, of_axes, first, q))
        alone = own_potential(of_axes, influence * k.copies, axes(self.grid, self.order), self.grid)
        return found + ((jnp.sum(k.copies * k.total) + background) / jnp.abs(jnp.linalg.det(graph.cell)) - alone) * q

    def far_between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        _, influence, _ = self._influence(interaction, graph)
        return read(*self._shares(graph, at), self._mesh(influence, *self._shares(graph, of), q))

    def _shares(self, graph: Graph, places: Array) -> tuple[Array, Array]:
        return shares(einsum("nx,xs->ns", places, jnp.linalg.inv(graph.cell)), self.grid, self.order)

    def _influence(self, interaction: Interaction, graph: Graph) -> tuple[Waves, Array, Array]:
        """What waves of the mesh make of their sources, that per volume, and of a net source."""
        k = waves(interaction, jnp.asarray(self.width), axes(self.grid, self.order), jnp.linalg.inv(graph.cell))
        background = interaction.background(jnp.asarray(self.width))
        background = jnp.where(jnp.isfinite(background), background, 0)
        return k, jnp.where(k.is_zero, background, k.influence) / jnp.abs(jnp.linalg.det(graph.cell)), background

    def _mesh(self, influence: Array, of_axes: Array, first: Array, q: Array) -> Array:
        mesh = jnp.fft.rfftn(spread(of_axes, first, q, self.grid))
        return jnp.fft.irfftn(influence * mesh, s=self.grid) * float(np.prod(self.grid))

    def _outgrown(self, graph: Graph) -> Array:
        lengths = jnp.sqrt(jnp.sum(graph.cell**2, axis=1))
        return ~jnp.all(lengths / jnp.asarray(self.grid, lengths.dtype) <= self.spacing * (1 + _SLACK))

    def far_error(self, interaction: Interaction, graph: Graph) -> Array:
        return mesh_error(interaction, jnp.asarray(self.width), self.grid, self.order, graph.cell)

    def lost(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        return self._outgrown(graph) | unlike(graph, CRYSTAL) | undefined(interaction, self.width, q)

    def causes(self, graph: Graph, interaction: Interaction | None = None, q: Array | None = None) -> tuple[str, ...]:
        remedy = "write jaxpot.longrange.sum_for(frames)"
        if bool(unlike(graph, CRYSTAL)):
            return (f"ParticleMesh sums crystals, and the structure has pbc {np.asarray(graph.pbc).tolist()}; {remedy}",)
        if bool(self._outgrown(graph)):
            lengths = np.linalg.norm(np.asarray(graph.cell), axis=1).round(3).tolist()
            return (f"the cell, of lengths {lengths} Å, has outgrown the grid {self.grid} of ParticleMesh; {remedy}",)
        return why_undefined(interaction, self.width, q)


def own_potential(of_axes: Array, influence: Array, along: list[Axis], grid: tuple[int, int, int]) -> Array:
    r"""What a unit source has of itself through the mesh, [N].

    .. math:: \sum_k G(k) \prod_a \Big| \sum_p W_p\, e^{2 \pi i n_a p / N_a} \Big|^2, \qquad
        |\cdot|^2 = \sum_d (2 - \delta_{d0}) \cos(2\pi n_a d / N_a) \sum_p W_p W_{p+d}
    """
    order = of_axes.shape[-1]
    distances = np.arange(order)
    waves = [np.cos(2 * np.pi * axis.n[:, None] * distances / n) * np.where(distances == 0, 1, 2) for axis, n in zip(along, grid, strict=True)]
    of_distances = einsum("abc,ax,by,cz->xyz", influence, *(jnp.asarray(of_axis, influence.dtype) for of_axis in waves))
    # atoms last, which is how processors like small sums
    x, y, z = jnp.moveaxis(of_axes, 0, 2)
    x, y, z = (jnp.stack([jnp.sum(one[: order - d] * one[d:], axis=0) for d in distances]) for one in (x, y, z))
    return jnp.sum(jnp.sum(einsum("xyz,zn->xyn", of_distances, z) * y[None, :, :], axis=1) * x, axis=0)


def mesh_error(interaction: Interaction, width: Array, grid: tuple[int, int, int], order: int, cell: Array) -> Array:
    """∫ |Δf|² d³r of the far force between two unit sources on a mesh, [], averaged over where they lie between its points."""
    k = waves(interaction, width, axes(grid, order), jnp.linalg.inv(cell))
    return jnp.sum(k.copies * k.error) / jnp.abs(jnp.linalg.det(cell))
