"""The interfaces of descriptors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Environment, Graph, environments
from jaxpot.math.linalg import einsum

Array = jax.Array


class Descriptor:
    """Interface: a Graph in, features out.

    Attributes:
      species: the elements it knows, static.
      n_features: F, static.
      reach: the largest distance it looks at, shape [], in Å.
    """

    species: tuple[str, ...]
    n_features: int
    reach: Array

    def __call__(self, graph: Graph) -> Array:
        """Features of every atom, shape [N, F] ([N, F, 2λ+1] if equivariant); rows of padding atoms mean nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(graph)")

    def at(self) -> "Descriptor":
        """The same descriptor with what depends on its leaves alone computed; done once per call, outside loops over atoms."""
        return self

    def labels(self) -> tuple[Any, ...]:
        """The name of every feature, in order."""
        raise NotImplementedError(f"{type(self).__name__} must define labels()")

    def block(self, n_neighbors: int) -> int:
        """How many atoms are evaluated at once on CPU: blocks that fit the cache are up to three times faster."""
        return 128


def own_species(envs: Environment, coefficients: Array) -> Array:
    """Which of the coefficients [S, ...] belong to the centres of a stack, one-hot, [n, S]."""
    return jax.nn.one_hot(envs.center, len(coefficients), dtype=coefficients.dtype)


class LocalDescriptor(Descriptor):
    """Interface: features of one atom from its surroundings. A new descriptor writes `environment` and nothing else."""

    def environment(self, env: Environment) -> Array:
        """Features of one atom, shape [F]."""
        raise NotImplementedError(f"{type(self).__name__} must define environment(env)")

    def stack(self, envs: Environment) -> Array:
        """Features of a stack of n atoms, shape [n, F]; for descriptors that know a better way than one atom after the other."""
        return jax.vmap(self.environment)(envs)

    def __call__(self, graph: Graph) -> Array:
        stack = environments(graph, self.reach, self.species)
        return map_blocks(self.at().stack, stack, atoms_at_once(self.block(stack.mask.shape[1])))

    def dot(self, envs: Environment, coefficients: Array) -> Array:
        """Features of a stack of n atoms times the coefficients [S, F] of their own species, shape [n]; for sums that are cheaper than features."""
        return einsum("ns,sf,nf->n", own_species(envs, coefficients), coefficients, self.stack(envs))

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        """Features [F] of one atom and their derivatives with respect to its neighbour vectors, shape [F, K, 3].

        The default pulls F unit vectors back through `environment`, or pushes 3K forwards if those are fewer. A descriptor whose features are
        functions of a sum over neighbours is K times cheaper with the product rule at that sum (see SOAP).
        """

        def features(vectors):
            return self.environment(env.replace(vectors=vectors))

        size = env.vectors.size
        if self.n_features < size:
            value, pull = jax.vjp(features, env.vectors)
            directions = jnp.eye(value.size, dtype=value.dtype).reshape(-1, *value.shape)
            return value, jax.vmap(pull)(directions)[0].reshape(*value.shape, *env.vectors.shape)
        value, push = jax.linearize(features, env.vectors)
        directions = jnp.eye(size, dtype=env.vectors.dtype).reshape(-1, *env.vectors.shape)
        return value, jnp.moveaxis(jax.vmap(push)(directions), 0, -1).reshape(*value.shape, *env.vectors.shape)

    def stack_with_jacobian(self, envs: Environment) -> tuple[Array, Array]:
        """Features of a stack of n atoms, [n, F], and their derivatives, [n, F, K, 3]; for descriptors that know a better way, as `stack`."""
        return jax.vmap(self.with_jacobian)(envs)

    @property
    def has_waist(self) -> bool:
        """Whether features are functions of few coefficients, given by `waist` and `beyond_waist`: then the derivatives of a structure's
        features by its positions are one matrix product, and no atom's derivatives by its neighbours are ever formed.
        """
        return False

    def by_waist(self, env: Environment) -> tuple[Array, Array]:
        """Features [F] of one atom and their derivatives by its neighbour vectors, [F, K, 3], through the waist."""
        coefficients, slopes = self.waist(jax.tree_util.tree_map(lambda x: x[None], env))
        features, blocks = self.beyond_waist(coefficients)
        jacobian = jnp.zeros((features.shape[0], *env.vectors.shape), features.dtype)
        for (rows, columns), values in zip(self.waist_blocks, blocks, strict=True):
            jacobian = jacobian.at[rows].add(einsum("rc,cak->rka", values[..., 0], slopes[columns, 0]))
        return features[:, 0], jacobian

    def waist(self, envs: Environment) -> tuple[Array, Array]:
        """Coefficients [V, n] of a stack of atoms and their derivatives by the neighbour vectors, [V, n, 3, K]."""
        raise NotImplementedError(f"{type(self).__name__} must define waist(envs)")

    @property
    def waist_blocks(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Which features [r] depend on which coefficients [c], in blocks; a feature may stand in several, its entries in one each."""
        raise NotImplementedError(f"{type(self).__name__} must define waist_blocks")

    def beyond_waist(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        """Features [F, n] from coefficients [V, n], and their derivatives [r, c, n] in every block."""
        raise NotImplementedError(f"{type(self).__name__} must define beyond_waist(coefficients)")


def atoms_at_once(on_cpu: int = 128) -> int:
    """The default block: on CPU atoms that fit the cache; on an accelerator as many such blocks as fill it, which bounds memory as well."""
    return on_cpu if jax.default_backend() == "cpu" else 512 * on_cpu


def map_blocks(function: Callable, stack, block: int):
    """A function of a stack of atoms over even blocks of at most this many; the last one repeats the last entry to fill up."""
    n = jax.tree_util.tree_leaves(stack)[0].shape[0]
    if n <= block:
        return function(stack)
    n_blocks = -(-n // block)
    block = -(-n // n_blocks)  # even blocks: the last one is padded by less than n_blocks atoms
    fill = n_blocks * block - n

    def split(x):
        x = jnp.concatenate([x, jnp.repeat(x[-1:], fill, axis=0)]) if fill else x
        return x.reshape(n_blocks, block, *x.shape[1:])

    out = jax.lax.map(function, jax.tree_util.tree_map(split, stack))
    return jax.tree_util.tree_map(lambda x: x.reshape(n_blocks * block, *x.shape[2:])[:n], out)
