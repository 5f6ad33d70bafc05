"""Far kernels that end along directions without periodicity, so that a reciprocal sum gives slabs, wires and molecules exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.longrange.interactions import Interaction
from jaxpot.math.linalg import einsum

Array = jax.Array

# of the trapezoid rule for K₀ and K₁, whose error is exp(−π²/step)
_STEP, _N_STEPS = 0.2, 64
_SLACK = 1e-6  # relative; a cell that equals the one a grid was made for, up to round-off, is covered


class WaveBox(Interface):
    r"""Interface: a fixed box of wave vectors :math:`2\pi\, m A^{-1}`, for structures of one periodicity.

    Attributes:
      grid: largest \|m\| along each of the three reciprocal directions, static.
      k_cutoff: what the box must contain, in 1/Å.
      pbc: the periodic directions of the structures, static.
      length: of the cell along the other directions, in Å; None for crystals.
    """

    grid: tuple[int, int, int]
    k_cutoff: Array
    pbc: tuple[bool, bool, bool]
    length: Array | None

    def check_box(self, remedy: str) -> None:
        """Raises ValueError unless grid, periodicity and length go together."""
        name, grid, pbc = type(self).__name__, self.grid, self.pbc
        if not (isinstance(grid, tuple) and len(grid) == 3 and all(isinstance(m, int) and m >= 1 for m in grid)):
            raise ValueError(f"{name}: grid must be a tuple of three positive integers, got {grid!r}")
        if not (isinstance(pbc, tuple) and len(pbc) == 3 and all(isinstance(periodic, bool) for periodic in pbc)):
            raise ValueError(f"{name}: pbc must be a tuple of three of True and False, got {pbc!r}")
        if all(pbc) != (self.length is None):
            hint = "leave length out, since it is for directions that are not" if all(pbc) else "give length=..., of the cell along the others, in Å"
            raise ValueError(f"{name}: periodic along {pbc} and length {self.length}; {hint}; jaxpot.longrange.{remedy} chooses it")

    def outgrown(self, graph: Graph) -> Array:
        """Whether the sphere of wave vectors does not fit into the box, []."""
        lengths = jnp.sqrt(jnp.sum(completed_cell(graph.cell, self.pbc, self.length) ** 2, axis=1))
        return ~jnp.all(2 * np.pi * (np.asarray(self.grid) + 1) >= self.k_cutoff * lengths * (1 - _SLACK))

    def too_long(self, graph: Graph, room: Array) -> Array:
        """Whether a structure is longer across its periodic directions than there is room, []."""
        return jnp.zeros((), bool) if all(self.pbc) else ~(extent(graph, self.pbc) <= room * (1 + _SLACK))

    def why_lost(self, graph: Graph, room: Array, remedy: str) -> tuple[str, ...]:
        """Why a structure does not suit the box, in words."""
        name, found = type(self).__name__, []
        if bool(unlike(graph, self.pbc)):
            return (f"this {name} is for pbc = {self.pbc}, and the structure has pbc = {tuple(np.asarray(graph.pbc).tolist())}; {remedy}",)
        if bool(self.outgrown(graph)):
            lengths = np.linalg.norm(np.asarray(completed_cell(graph.cell, self.pbc, self.length)), axis=1).round(3).tolist()
            found.append(f"the cell, of lengths {lengths} Å, has outgrown the grid {self.grid} of {name}; {remedy}")
        if bool(self.too_long(graph, room)):
            length, room = float(extent(graph, self.pbc)), max(float(room), 0.0)
            found.append(f"across its periodic directions the structure is up to {length:.4g} Å long, and {name} has room for {room:.4g}; {remedy}")
        return tuple(found)


def completed_cell(cell: Array, pbc: tuple[bool, ...], length: Array) -> Array:
    """The periodic vectors of a cell, and orthogonal ones of a length in the places of the others, [3, 3]."""
    periodic = [axis for axis in range(3) if pbc[axis]]
    if len(periodic) == 3:
        return cell
    if len(periodic) == 2:
        normals = [_direction(jnp.cross(cell[periodic[0]], cell[periodic[1]]))]
    elif len(periodic) == 1:
        along = _direction(cell[periodic[0]])
        first = _direction(jnp.cross(along, jnp.where(jnp.arange(3) == jnp.argmin(jnp.abs(along)), 1.0, 0.0)))
        normals = [first, jnp.cross(along, first)]
    else:
        normals = list(jnp.eye(3, dtype=cell.dtype))
    rows, normals = list(cell), iter(normals)
    return jnp.stack([rows[axis] if pbc[axis] else length * next(normals) for axis in range(3)])


def _direction(vector: Array) -> Array:
    """A unit vector; NaN for zero."""
    return vector / jnp.sqrt(jnp.sum(vector**2))


def extent(graph: Graph, pbc: tuple[bool, ...]) -> Array:
    """How far two atoms of a structure may be apart across its periodic directions, [], in Å; 0 for a crystal.

    It is twice the largest distance from the middle.
    """
    if all(pbc):
        return jnp.zeros((), graph.positions.dtype)
    inverse = jnp.linalg.inv(completed_cell(graph.cell, pbc, jnp.ones((), graph.cell.dtype)))
    across = einsum("nx,xs->ns", graph.positions, inverse)[:, np.flatnonzero(~np.array(pbc))]
    real = (graph.numbers > 0)[:, None]
    highest, lowest = (limit(jnp.where(real, across, -sign * jnp.inf), axis=0) for limit, sign in ((jnp.max, 1), (jnp.min, -1)))
    from_middle = jnp.where(real, across - 0.5 * (highest + lowest)[None, :], 0)
    return 2 * jnp.sqrt(jnp.max(jnp.sum(from_middle**2, axis=1)))


def integers(grid: tuple[int, ...]) -> list[np.ndarray]:
    """Multiples of the reciprocal vectors along the three axes; of the first the half that stands for both signs."""
    return [np.arange(-m if axis else 0, m + 1) for axis, m in enumerate(grid)]


def wave_vectors(m: list[np.ndarray], inverse: Array, axes: tuple[bool, ...] = (True, True, True)) -> Array:
    """2π m A⁻¹ of all integers, or of those of some axes alone (the others with size 1), [a, b, c, 3]."""
    parts = [
        2 * np.pi * _along(jnp.asarray(m[axis], inverse.dtype), axis)[..., None] * inverse[None, None, None, :, axis] for axis in range(3) if axes[axis]
    ]
    return functools.reduce(jnp.add, parts)


def is_zero(m: list[np.ndarray]) -> np.ndarray:
    """Which of a box of integers are zero along all axes, [a, b, c]."""
    return np.all(np.stack(np.meshgrid(*(of_axis == 0 for of_axis in m), indexing="ij")), axis=0)


def _along(values, axis: int):
    """[n] as [n, 1, 1], [1, n, 1] or [1, 1, n]."""
    return values.reshape([-1 if i == axis else 1 for i in range(3)])


def far_kernel(interaction: Interaction, width: Array, m: list[np.ndarray], inverse: Array, pbc: tuple[bool, ...], length: Array | None) -> Array:
    r"""The transform of the far part, [a, b, c], and at k = 0 what a net source adds.

    Along directions without periodicity the bare interaction ends at R = length/2, before it is smeared by the Gaussian. There k R = π m,

    .. math:: \hat\phi = \frac{4\pi}{k^2} e^{-k^2 s^2/2} \times
        1 - (-1)^m e^{-\kappa R}, \qquad
        1 + \pi m J_1(\pi m) K_0(\kappa R) - \kappa R\, J_0(\pi m) K_1(\kappa R), \qquad
        1 - \cos \pi m

    for slabs, wires and molecules, with κ the part of k along the periodic directions. At k = 0 the potential of a line is that of
    −2 ln(ρ/Å), and of a plane that of −2π|z|.

    References:
      Rozzi, Varsano, Marini, Gross, Rubio, "Exact Coulomb cutoff technique for supercell calculations", Phys. Rev. B 73, 205119 (2006).
    """
    zero = is_zero(m)
    k2 = jnp.sum(wave_vectors(m, inverse) ** 2, axis=-1)
    far = interaction.far(jnp.where(zero, 1, k2), width)
    if all(pbc):
        at_zero = interaction.background(width)
        at_zero = jnp.where(jnp.isfinite(at_zero), at_zero, 0)
    else:
        at_zero, factor = _truncation(m, inverse, pbc, 0.5 * jnp.asarray(length))
        at_zero, far = strength(interaction, pbc) * at_zero, far * factor
    return jnp.where(zero, at_zero, far)


def strength(interaction: Interaction, pbc: tuple[bool, ...]) -> float:
    """c of an interaction c/r.

    Raises:
      ValueError: for others, whose far part has no closed form where it ends.
    """
    found = interaction.strength()
    if found is None:
        raise ValueError(
            f"{type(interaction).__name__} other than 1/r is summed over crystals (pbc = True, True, True) and by Direct over molecules, "
            f"not with pbc = {pbc}; write Atoms.set_pbc(True) with enough vacuum"
        )
    return found


def _truncation(m: list[np.ndarray], inverse: Array, pbc: tuple[bool, ...], radius: Array) -> tuple[Array, Array]:
    """The transform of 1/r, ending at a radius, at k = 0; and its ratio to 4π/k² elsewhere, [a, b, c] or smaller."""
    free = [axis for axis in range(3) if not pbc[axis]]
    squares = functools.reduce(np.add, [_along(m[axis].astype(float) ** 2, axis) for axis in free])
    phase = np.pi * np.sqrt(squares)
    if len(free) == 3:
        return 2 * np.pi * radius**2, jnp.asarray(1 - np.cos(phase), inverse.dtype)
    still = functools.reduce(np.logical_and, [_along(m[axis] == 0, axis) for axis in range(3) if pbc[axis]])
    kappa2 = jnp.sum(wave_vectors(m, inverse, pbc) ** 2, axis=-1)
    x = jnp.sqrt(jnp.where(still, 1, kappa2)) * radius
    if len(free) == 1:
        sign = np.where(squares % 2 == 0, 1, -1)  # m² is even where m is
        return -2 * np.pi * radius**2, 1 - sign * jnp.where(still, 1, jnp.exp(-x))
    from scipy.special import j0, j1  # of numbers that do not change with the cell

    of_zero, of_one, phase = (jnp.asarray(x, inverse.dtype) for x in (j0(phase), j1(phase), phase))
    k0, k1 = bessel_k(x)
    moving = 1 + phase * of_one * k0 - of_zero * x * k1
    # where κ = 0 it is −2 ln(ρ/R), which does not jump at R, and what is missing is the same everywhere
    return radius**2 * (np.pi - 8 * jnp.log(radius)), jnp.where(still, 1 - of_zero, moving)


def bessel_k(x: Array) -> tuple[Array, Array]:
    r"""K₀ and K₁ for x > 0.

    .. math:: K_n(x) = \int_0^\infty e^{-x \cosh t} \cosh n t\, dt

    by the trapezoid rule, whose error for such functions falls exponentially with its step.
    """
    t = _STEP * np.arange(_N_STEPS)
    weights = np.where(t == 0, 0.5, 1.0) * _STEP
    decay = jnp.exp(-x[..., None] * jnp.asarray(np.cosh(t), x.dtype)[(None,) * x.ndim])
    return tuple(einsum("...t,t->...", decay, jnp.asarray(weights * kernel, x.dtype)) for kernel in (np.ones_like(t), np.cosh(t)))


def unlike(graph: Graph, pbc: tuple[bool, ...]) -> Array:
    """Whether a structure has another periodicity, []."""
    return jnp.any(jnp.asarray(graph.pbc) != np.array(pbc))
