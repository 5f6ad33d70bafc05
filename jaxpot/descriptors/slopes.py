"""Derivatives of features by the neighbour vectors of an atom, made once for all descriptors, at the waist: ∂p/∂c times ∂c/∂r.

A class for which there is a shorter way registers it, in its own file or in that of its fast form; the ways here hold for every descriptor.
"""

import abc
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.descriptors.expansion import Invariants, LocalExpansion
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum

Array = jax.Array




@functools.singledispatch
def features_with_slopes(descriptor: LocalDescriptor, envs: Environment) -> tuple[Array, Array]:
    """Features of a stack of n atoms, [n, F], and their derivatives by the neighbour vectors, [n, F, K, 3]."""
    return jax.vmap(lambda env: with_slopes(descriptor, env))(envs)


@functools.singledispatch
def with_slopes(descriptor: LocalDescriptor, env: Environment) -> tuple[Array, Array]:
    """Features [F] of one atom and their derivatives by its neighbour vectors, [F, K, 3].

    Of any descriptor: F unit vectors are pulled back, or 3K pushed forwards if those are fewer.
    """

    def features(vectors):
        return descriptor.environment(env.replace(vectors=vectors))

    size = env.vectors.size
    if descriptor.n_features < size:
        value, pull = jax.vjp(features, env.vectors)
        directions = jnp.eye(value.size, dtype=value.dtype).reshape(-1, *value.shape)
        return value, jax.vmap(pull)(directions)[0].reshape(*value.shape, *env.vectors.shape)
    value, push = jax.linearize(features, env.vectors)
    directions = jnp.eye(size, dtype=env.vectors.dtype).reshape(-1, *env.vectors.shape)
    return value, jnp.moveaxis(jax.vmap(push)(directions), 0, -1).reshape(*value.shape, *env.vectors.shape)


@with_slopes.register
def at_the_waist(descriptor: Invariants, env: Environment) -> tuple[Array, Array]:
    """The product rule at the coefficients."""
    coefficients, slopes = zip(*(coefficients_with_slopes(expansion, env) for expansion in descriptor.expansions), strict=True)
    value, push = jax.linearize(lambda *c: descriptor.of(*c), *coefficients)
    return value, jnp.moveaxis(jax.vmap(jax.vmap(push))(*slopes), (0, 1), (-2, -1))


@functools.singledispatch
def coefficients_with_slopes(expansion: LocalExpansion, env: Environment) -> tuple[Array, Array]:
    """Coefficients [Q, L] of one atom and their derivatives by its neighbour vectors, [K, 3, Q, L]; of any expansion."""
    value, push = jax.linearize(lambda vectors: expansion.of(env.replace(vectors=vectors)), env.vectors)
    directions = jnp.eye(env.vectors.size, dtype=env.vectors.dtype).reshape(-1, *env.vectors.shape)
    return value, jax.vmap(push)(directions).reshape(*env.vectors.shape, *value.shape)


@coefficients_with_slopes.register
def _of_sums_over_neighbors(density: NeighborDensity, env: Environment) -> tuple[Array, Array]:
    (channels, harmonics), (channel_slopes, harmonic_slopes) = factors_with_slopes(density, env)
    degree = np.repeat(np.arange(density.l_max + 1), 2 * np.arange(density.l_max + 1) + 1)
    degree = degree if channels.shape[1] > 1 else np.zeros(harmonics.shape[1], int)
    slopes = channel_slopes[:, :, degree] * harmonics[None, :, :, None] + channels[None][:, :, degree] * harmonic_slopes[..., None]
    value = jnp.sum(channels[:, degree] * harmonics[:, :, None], axis=0).T
    return value + density.itself(env.center, env.vectors.dtype), jnp.transpose(slopes, (1, 0, 3, 2))


def factors_with_slopes(density: NeighborDensity, env: Environment) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The factors of a density and their derivatives, each with a leading axis [3]: a neighbour's factors depend on its own vector only, so
    three directional derivatives give all of them."""
    directions = jnp.broadcast_to(jnp.eye(3, dtype=env.vectors.dtype)[:, None, :], (3, *env.vectors.shape))
    value, push = jax.linearize(lambda vectors: density.factors(env.replace(vectors=vectors)), env.vectors)
    return value, jax.vmap(push)(directions)


class Waist(abc.ABC):
    """Interface: features as functions of few coefficients each: then the derivatives of a structure's features by its positions are one
    matrix product, and no atom's derivatives by its neighbours are ever formed.

    Attributes:
      blocks: which features [r] depend on which coefficients [c], in blocks; a feature may stand in several, its entries in one each.
    """

    blocks: tuple[tuple[np.ndarray, np.ndarray], ...]

    @abc.abstractmethod
    def coefficients(self, envs: Environment) -> tuple[Array, Array]:
        """Coefficients [V, n] of a stack of atoms and their derivatives by the neighbour vectors, [V, n, 3, K]."""

    @abc.abstractmethod
    def beyond(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        """Features [F, n] from coefficients [V, n], and their derivatives [r, c, n] in every block."""

    def with_slopes(self, env: Environment) -> tuple[Array, Array]:
        """Features [F] of one atom and their derivatives by its neighbour vectors, [F, K, 3]."""
        coefficients, slopes = self.coefficients(jax.tree_util.tree_map(lambda x: x[None], env))
        features, blocks = self.beyond(coefficients)
        jacobian = jnp.zeros((features.shape[0], *env.vectors.shape), features.dtype)
        for (rows, columns), values in zip(self.blocks, blocks, strict=True):
            jacobian = jacobian.at[rows].add(einsum("rc,cak->rka", values[..., 0], slopes[columns, 0]))
        return features[:, 0], jacobian


@functools.singledispatch
def waist_of(descriptor: LocalDescriptor) -> Waist | None:
    """The waist of a descriptor that has one, else None; classes that do register it."""
    return None
