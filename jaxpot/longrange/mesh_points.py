"""From atoms to the points of a periodic mesh and back, by cardinal B-splines."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import atoms_at_once, map_blocks

Array = jax.Array

_POINTS = jax.lax.GatherDimensionNumbers(offset_dims=(1, 2, 3), collapsed_slice_dims=(), start_index_map=(0, 1, 2))
_BLOCK = 4096  # atoms whose points are held at once


def shares(fractions: Array, grid: tuple[int, int, int], order: int) -> tuple[Array, Array]:
    r"""What of an atom falls to the points next to it, [N, 3, order], and the first of these points along every axis, [N, 3].

    .. math:: M_n(x) = \frac{x}{n-1} M_{n-1}(x) + \frac{n - x}{n-1} M_{n-1}(x - 1)

    Shares of order n have n - 2 continuous derivatives by the position. All points lie higher by the same half support, which
    does not matter where what was spread is read with the same shares.
    """
    place = fractions * jnp.asarray(grid, fractions.dtype)[None, :]
    below = jnp.floor(place)
    t = place - below
    values = [t, 1 - t]
    for n in range(3, order + 1):
        padded = [0.0, *values, 0.0]
        values = [((t + j) * padded[j + 1] + (n - j - t) * padded[j]) / (n - 1) for j in range(n)]
    return jnp.stack(values[::-1], axis=-1), jnp.mod(below, jnp.asarray(grid, fractions.dtype)[None, :]).astype(jnp.int32)


def spread(of_axes: Array, first: Array, q: Array, grid: tuple[int, int, int]) -> Array:
    """Sources [N] on the points of the mesh: the transpose of `read`."""
    order = of_axes.shape[-1]
    points = (q[:, None] * of_axes[:, 0])[:, :, None, None] * (of_axes[:, 1, :, None] * of_axes[:, 2, None, :])[:, None, :, :]
    to = jax.lax.ScatterDimensionNumbers(update_window_dims=(1, 2, 3), inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1, 2))
    empty = jnp.zeros([n + order - 1 for n in grid], points.dtype)
    mesh = jax.lax.scatter_add(empty, first, points, to, mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS)
    return functools.reduce(lambda mesh, axis: _folded(mesh, axis, grid[axis]), range(3), mesh)


def read(of_axes: Array, first: Array, mesh: Array) -> Array:
    """What lies on the points of a mesh, at the atoms, [N]."""
    order, grid = of_axes.shape[-1], mesh.shape
    mesh = functools.reduce(lambda mesh, axis: _extended(mesh, axis, grid[axis] + order - 1), range(3), mesh)

    def of_atoms(atoms):
        of_axes, first = atoms
        points = jax.lax.gather(mesh, first, _POINTS, (order,) * 3, mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS)
        lines = jnp.sum(points * of_axes[:, 2, None, None, :], axis=-1)
        return jnp.sum(lines * (of_axes[:, 0, :, None] * of_axes[:, 1, None, :]), axis=(1, 2))

    return map_blocks(of_atoms, (of_axes, first), atoms_at_once(_BLOCK))


def _extended(mesh: Array, axis: int, size: int) -> Array:
    """A periodic mesh, repeated along an axis up to a size."""
    copies = -(-size // mesh.shape[axis])
    return jax.lax.slice_in_dim(jnp.concatenate([mesh] * copies, axis=axis), 0, size, axis=axis)


def _folded(mesh: Array, axis: int, period: int) -> Array:
    """The transpose: what lies beyond the period added where it belongs."""
    size = mesh.shape[axis]
    copies = -(-size // period)
    mesh = jnp.pad(mesh, [(0, copies * period - size if a == axis else 0) for a in range(3)])
    return jnp.sum(mesh.reshape(*mesh.shape[:axis], copies, period, *mesh.shape[axis + 1 :]), axis=axis)
