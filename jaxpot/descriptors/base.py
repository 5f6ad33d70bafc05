"""The interfaces of descriptors, and the features of a structure."""

import abc
from typing import Any

import jax

from jaxpot.descriptors.blocks import atoms_at_once, block_size, map_blocks
from jaxpot.graph import Environment, Graph, environments
from jaxpot.interface import Interface
from jaxpot.passes import Fast, prepare
from jaxpot.precision import promoted_pair
from jaxpot.structures import takes_atoms

Array = jax.Array


class Descriptor(Interface):
    """Interface: a Graph in, features out.

    Attributes:
      species: the elements it knows, static.
      n_features: F, static.
      reach: the largest distance it looks at, shape [], in Å.
    """

    species: tuple[str, ...]
    n_features: int
    reach: Array

    @abc.abstractmethod
    def __call__(self, graph: Graph) -> Array:
        """Features of every atom, shape [N, F] ([N, F, 2λ+1] if equivariant); rows of padding atoms mean nothing."""

    def labels(self) -> tuple[Any, ...]:
        """The name of every feature, in order: its number, unless the class knows better."""
        return tuple(range(self.n_features))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why the features of a structure with sound neighbour lists and elements are NaN, in words."""
        return ()


class LocalDescriptor(Descriptor):
    """Interface: features of one atom from its surroundings. A new descriptor writes `environment` and nothing else.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot.cutoffs import CosineCutoff, Cutoff
      >>> from jaxpot.math.linalg import safe_norm
      >>> from jaxpot.trees import pytree, static
      >>> @pytree
      ... class Coordination(LocalDescriptor):
      ...     species: tuple[str, ...] = static()
      ...     cutoff: Cutoff
      ...     n_features = 1
      ...     reach = property(lambda self: self.cutoff.radius)
      ...     def environment(self, env):
      ...         return jnp.sum(self.cutoff(safe_norm(env.vectors)))[None]
      >>> Coordination(("H", "O"), CosineCutoff(1.5, width=0.1))(molecule("H2O")).round(4).tolist()  # O, H, H
      [[2.0], [1.0], [1.0]]
    """

    @abc.abstractmethod
    def environment(self, env: Environment) -> Array:
        """Features of one atom, shape [F] ([F, 2λ+1] if equivariant)."""

    @takes_atoms
    def __call__(self, graph: Graph) -> Array:
        own, graph = promoted_pair(self, graph)
        return features_of_stack(prepare(own), environments(graph, own.reach, own.species))


class BlockDescriptor(Descriptor, Fast):
    """Interface: the fast form of a local descriptor, which takes a whole block of atoms and lays it out as it likes."""

    plain: Descriptor

    @abc.abstractmethod
    def of(self, envs: Environment) -> Array:
        """Features of a stack of n atoms, shape [n, F]."""

    @property
    def species(self) -> tuple[str, ...]:
        return self.plain.species

    @property
    def n_features(self) -> int:
        return self.plain.n_features

    @property
    def reach(self) -> Array:
        return self.plain.reach

    def environment(self, env: Environment) -> Array:
        """Features of one atom, shape [F]."""
        return self.of(jax.tree_util.tree_map(lambda x: x[None], env))[0]

    @takes_atoms
    def __call__(self, graph: Graph) -> Array:
        return features_of_stack(self, environments(graph, self.reach, self.species))


def features(descriptor: LocalDescriptor | BlockDescriptor, envs: Environment) -> Array:
    """Features of a stack of n atoms, shape [n, F]."""
    return descriptor.of(envs) if isinstance(descriptor, BlockDescriptor) else jax.vmap(descriptor.environment)(envs)


def features_of_stack(descriptor: LocalDescriptor | BlockDescriptor, stack: Environment) -> Array:
    """Features of all atoms of a structure, [N, F], block by block."""
    return map_blocks(lambda envs: features(descriptor, envs), stack, atoms_at_once(block_size(descriptor, stack.mask.shape[1])))
