"""From atoms to the points of a periodic mesh and back, by cardinal B-splines."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import map_blocks

Array = jax.Array

# XLA's CPU adds a window in place, and fast, where a loop over atoms does it; accelerators take all windows at once
_ONE, _MANY = (
    jax.lax.ScatterDimensionNumbers(update_window_dims=axes, inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1, 2))
    for axes in ((0, 1, 2), (1, 2, 3))
)
_INSIDE = jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS
_BLOCK = 2**18  # atoms whose points are held at once on an accelerator


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
    empty = jnp.zeros([n + order - 1 for n in grid], of_axes.dtype)

    def add(mesh, atom):
        (x, y, z), first = atom
        return jax.lax.scatter_add(mesh, first, x[:, None, None] * (y[:, None] * z[None, :])[None, :, :], _ONE, mode=_INSIDE)

    of_axes = of_axes.at[:, 0].multiply(q[:, None])
    if jax.default_backend() == "cpu":
        mesh, _ = jax.lax.scan(lambda mesh, atom: (jax.checkpoint(add)(mesh, atom), None), empty, (of_axes, first))
    else:
        points = of_axes[:, 0, :, None, None] * (of_axes[:, 1, :, None] * of_axes[:, 2, None, :])[:, None, :, :]
        mesh = jax.lax.scatter_add(empty, first, points, _MANY, mode=_INSIDE)
    return functools.reduce(lambda mesh, axis: _folded(mesh, axis, grid[axis]), range(3), mesh)


def read(of_axes: Array, first: Array, mesh: Array) -> Array:
    """What lies on the points of a mesh, at the atoms, [N]."""
    order, grid = of_axes.shape[-1], mesh.shape
    mesh = functools.reduce(lambda mesh, axis: _extended(mesh, axis, grid[axis] + order - 1), range(3), mesh)

    def of_atom(atom, mesh):
        (x, y, z), first = atom
        points = jax.lax.dynamic_slice(mesh, first, (order,) * 3)
        return jnp.sum(jnp.sum(points * z[None, None, :], axis=-1) * (x[:, None] * y[None, :]))

    if jax.default_backend() == "cpu":
        return jax.lax.scan(lambda _, atom: (None, jax.checkpoint(of_atom)(atom, mesh)), None, (of_axes, first))[1]
    return map_blocks(jax.checkpoint(lambda atoms: jax.vmap(of_atom, (0, None))(atoms, mesh)), (of_axes, first), _BLOCK)


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
