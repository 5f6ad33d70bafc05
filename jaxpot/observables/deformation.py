"""Structures under displacements and strain, and the motions of the whole that cost no energy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, strain
from jaxpot.longrange.solvers import ConjugateGradients
from jaxpot.math.linalg import einsum

Array = jax.Array

# Voigt's order xx, yy, zz, yz, xz, xy with engineering shears, as matrices
_VOIGT = np.array([0.5 * (np.outer(a, b) + np.outer(b, a)) for a, b in zip(np.eye(3)[[0, 1, 2, 1, 0, 0]], np.eye(3)[[0, 1, 2, 2, 2, 1]], strict=True)])


def deformed(graph: Graph, displacements: Array, voigt: Array) -> Graph:
    """The structure with displacements [N, 3] in Å, and then under a strain [6] in Voigt's notation."""
    return strain(graph.replace(positions=graph.positions + displacements), strain_matrix(voigt))


def strain_matrix(voigt: Array) -> Array:
    """[6] -> [3, 3], where shears count half."""
    return einsum("v,vab->ab", voigt, jnp.asarray(_VOIGT, voigt.dtype))


def volume(cell: Array) -> Array:
    """Of a cell, shape [], in Å³."""
    return jnp.abs(jnp.linalg.det(cell))


def without_rigid_motion(graph: Graph) -> Callable[[Array], Array]:
    """The projection of displacements [N, 3] to those that are no motion of the whole.

    Translations are taken out, and of molecules without an outer field rotations, of wires the one about their axis.
    """
    real = (graph.numbers > 0)[:, None].astype(graph.positions.dtype)
    n_periodic = jnp.sum(graph.pbc)
    along = jnp.sum(jnp.where(graph.pbc[:, None], graph.cell, 0), axis=0)
    along = along / jnp.maximum(jnp.linalg.norm(along), 1e-12)
    axes = jnp.where(n_periodic == 0, jnp.eye(3, dtype=real.dtype), jnp.where(n_periodic == 1, along[:, None] * along[None, :], 0))
    axes = jnp.where(jnp.any(graph.field != 0), 0, axes)
    center = jnp.sum(real * graph.positions, axis=0, keepdims=True) / jnp.sum(real)
    arms = graph.positions - center
    size = jnp.sqrt(jnp.mean(jnp.sum(real * arms * arms, axis=1))) + 1e-12
    turned = jnp.stack([jnp.cross(jnp.broadcast_to(axis[None], arms.shape), arms) / size for axis in axes])
    moved = jnp.broadcast_to(jnp.eye(3, dtype=real.dtype)[:, None, :], turned.shape)
    whole = jnp.concatenate([moved, turned]) * real[None]
    inverse = jnp.linalg.pinv(einsum("inx,jnx->ij", whole, whole), rtol=1e-8, hermitian=True)

    def project(displacements: Array) -> Array:
        shares = einsum("ij,j->i", inverse, einsum("jnx,nx->j", whole, displacements))
        return real * displacements - einsum("inx,i->nx", whole, shares)

    return project


def response(slope: Callable[[Array], Array], x: Array, project: Callable[[Array], Array], b: Array) -> Array:
    """H⁺b, where H is the derivative of a slope at x and H⁺ its inverse on what is no rigid motion; NaN where x is no minimum."""

    def inside(step: Array) -> Array:
        # what is all rigid motion leaves rounding errors, which are half rigid motion and have no solution; a second projection takes that out
        return project(project(step))

    def curvature(_: None, step: Array) -> Array:
        return inside(jax.jvp(slope, (x,), (inside(step),))[1])

    return inside(ConjugateGradients().solve(curvature, None, inside(b)))
