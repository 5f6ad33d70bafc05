"""Ewald's sum: near pairs in real space, the far part in reciprocal space, for crystals, slabs, wires and molecules."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.descriptors.blocks import atoms_at_once, even_blocks, map_blocks
from jaxpot.graph import Graph
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.longrange.errors import box_error
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.split import SplitSum, has_net, undefined, why_undefined
from jaxpot.longrange.truncation import WaveBox, completed_cell, far_kernel, integers, unlike
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_IN_CACHE = 2**16  # complex numbers per block of atoms


@pytree
class Ewald(SplitSum, WaveBox):
    r"""Ewald's sum: near pairs in real space, the far part in reciprocal space.

    .. math:: \Phi_i = \sum_j f_c(r_{ij})\, \phi_{\text{near}}(r_{ij}; s)\, q_j
        + \frac1V \sum_k \hat\phi_{\text{far}}(k)\, e^{i k R_i} \sum_j q_j e^{-i k R_j} - \phi_{\text{far}}(0)\, q_i

    The wave vectors are :math:`k = 2\pi\, m A^{-1}` of a fixed box of integers m, so the potential is smooth in positions and cell.

    Crystals: their surroundings conduct ("tin foil") unless `depolarisation` says otherwise, and a net charge is neutralised by a
    uniform background. Slabs, wires and molecules: the cell vectors of the other directions do not matter; orthogonal ones of `length` stand
    for them, and the interaction of 1/r ends at half of it, where there is nothing. A net charge of a slab has the potential -2π σ|z| of a
    plane far away, that of a wire -2 λ ln(ρ/Å).

    Args:
      cutoff: f_c, how the near part ends; C² keeps forces smooth.
      width: s of the splitting, in Å.
      grid: largest \|m\| along each of the three reciprocal directions.
      k_cutoff: what the box of wave vectors must contain, in 1/Å: of a cell that has outgrown it the potential is NaN.
      pbc: the periodic directions of the structures; of a structure with others the potential is NaN.
      length: of the cell along the other directions, in Å; None for crystals. Atoms may be length/2 - (k_cutoff s + 2) s apart along
        them, else the potential is NaN.
      depolarisation: of a crystal, the factor of :math:`2\pi |M|^2 / 3V`, M its dipole with the atoms where they are: 0 in a conductor, 1 in
        vacuum, :math:`3 / (2 \varepsilon + 1)` in a dielectric.

    Raises:
      ValueError: for a grid that is not three positive integers, or a length given of a crystal or not of another structure.

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

    References:
      Ewald, "Die Berechnung optischer und elektrostatischer Gitterpotentiale", Ann. Phys. 369, 253 (1921).
      Rozzi, Varsano, Marini, Gross, Rubio, "Exact Coulomb cutoff technique for supercell calculations", Phys. Rev. B 73, 205119 (2006).
    """

    cutoff: Cutoff
    width: Leaf = positive()
    grid: tuple[int, int, int] = static(most=10_000)
    k_cutoff: Leaf = positive()
    pbc: tuple[bool, bool, bool] = static(default=(True, True, True))
    length: OptionalLeaf = positive(default=None)
    depolarisation: Leaf = leaf(default=0.0)

    def __post_init__(self):
        self.check_box("sum_for(frames)")
        if not all(self.pbc) and is_concrete(self.depolarisation) and np.any(self.depolarisation):
            raise ValueError(f"Ewald: depolarisation is of crystals, and pbc is {self.pbc}; leave it out")

    def far(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        return self.far_between(interaction, graph, q, graph.positions, graph.positions)

    def far_between(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        cell = completed_cell(graph.cell, self.pbc, self.length)
        inverse, m = jnp.linalg.inv(cell), integers(self.grid)
        kernel = far_kernel(interaction, jnp.asarray(self.width), m, inverse, self.pbc, self.length) / jnp.abs(jnp.linalg.det(cell))
        # half of all wave vectors stand for both ±k
        kernel = kernel * np.where(m[0] > 0, 2, 1)[:, None, None]
        found = reciprocal_potential(kernel, m, einsum("nx,xs->ns", of, inverse), q, None if at is of else einsum("nx,xs->ns", at, inverse))
        return found + self._of_surface(interaction, graph, q, at, of) if all(self.pbc) else found

    def _of_surface(self, interaction: Interaction, graph: Graph, q: Array, at: Array, of: Array) -> Array:
        field = (4 * np.pi / 3) * einsum("n,nx->x", q, of) / jnp.abs(jnp.linalg.det(graph.cell))
        # others than 1/r fall off too fast for surroundings to matter
        return jnp.asarray(self.depolarisation) * (interaction.strength() or 0.0) * einsum("nx,x->n", at, field)

    def _undefined(self, interaction: Interaction, q: Array) -> Array:
        of_surface = (jnp.asarray(self.depolarisation) != 0) & has_net(q) & (interaction.strength() is not None)
        return of_surface | (undefined(interaction, self.width, q) if all(self.pbc) else False)

    def _room(self) -> Array:
        return jnp.zeros(()) if self.length is None else 0.5 * self.length - (self.k_cutoff * self.width + 2) * self.width

    def far_error(self, interaction: Interaction, graph: Graph) -> Array:
        return box_error(interaction, self.width, self.grid, graph.cell, self.pbc, self.length)

    def lost(self, interaction: Interaction, graph: Graph, q: Array) -> Array:
        return self.outgrown(graph) | self.too_long(graph, self._room()) | unlike(graph, self.pbc) | self._undefined(interaction, q)

    def causes(self, graph: Graph, interaction: Interaction | None = None, q: Array | None = None) -> tuple[str, ...]:
        found = self.why_lost(graph, self._room(), "write jaxpot.longrange.sum_for(frames)")
        if found or q is None or interaction is None or not bool(self._undefined(interaction, q)):
            return found
        return why_undefined(interaction, self.width, q) or (
            f"a crystal with a net charge of {float(jnp.sum(q)):.6g} e has no dipole, and so no energy of its surface; leave out depolarisation",
        )


def reciprocal_potential(kernel: Array, m: list[np.ndarray], fractions: Array, q: Array, at: Array | None = None) -> Array:
    """Re Σ_k kernel(k) exp(i k r_i) Σ_j q_j exp(−i k R_j), [N], of sources at fractions R [N, 3] of the cell, over a box of wave vectors; r is R
    unless said.

    The waves of the first two axes are multiplied out, [block, a b], so both sums are matrix products.
    """
    n, (n_a, n_b, n_c) = len(q), (len(of_axis) for of_axis in m)
    block = atoms_at_once(max(16, _IN_CACHE // (n_a * n_b)))

    def waves(fractions):
        a, b, c = (jnp.exp(2j * np.pi * fractions[:, axis, None] * of_axis[None, :]) for axis, of_axis in enumerate(m))
        return (a[:, :, None] * b[:, None, :]).reshape(-1, n_a * n_b), c

    def structure(fractions, q):
        of_plane, of_line = waves(fractions)
        return einsum("np,nc->pc", of_plane, of_line * q[:, None])

    total = sum_blocks(structure, (fractions, q), block)
    weighted = kernel.reshape(n_a * n_b, n_c) * jnp.conj(total)

    def back(fractions):
        of_plane, of_line = waves(fractions)
        return jnp.sum(jnp.real(einsum("np,pc->nc", of_plane, weighted) * of_line), axis=1)

    # the blocks' own sums are written down again in a reverse pass: they are cheap beside what they would take to keep
    return map_blocks(jax.checkpoint(back) if n > block else back, fractions if at is None else at, block)


def sum_blocks(function, stack, block: int) -> Array:
    """The sum of a function of blocks of atoms, linear in arrays that are zero for atoms added to fill up."""
    n = len(stack[0])
    if n <= block:
        return function(*stack)
    n_blocks, block = even_blocks(n, block)
    split = [jnp.pad(x, [(0, n_blocks * block - n)] + [(0, 0)] * (x.ndim - 1)).reshape(n_blocks, block, *x.shape[1:]) for x in stack]
    of_block = jax.checkpoint(function)
    start = jax.eval_shape(function, *(x[0] for x in split))
    return jax.lax.scan(lambda total, part: (total + of_block(*part), None), jnp.zeros(start.shape, start.dtype), split)[0]
