"""Expansions, the waist of every density method, and descriptors that are functions of them."""

import abc
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import BlockDescriptor, Descriptor, LocalDescriptor, features_of_stack
from jaxpot.descriptors.blocks import atoms_at_once, block_size, map_blocks
from jaxpot.graph import Environment, Graph, environments
from jaxpot.interface import Interface
from jaxpot.passes import Fast, prepare
from jaxpot.precision import promoted_pair
from jaxpot.structures import takes_atoms

Array = jax.Array


class Expansion(Interface):
    """Interface: what surrounds an atom as coefficients c_qlm of radial functions and spherical harmonics.

    Attributes:
      species: the elements it knows, static.
      l_max: highest degree, included, static.
      n_channels: Q, static.
      reach: the largest distance it looks at, shape [], in Å.
      n_max: of how many radial functions a channel consists, q = channel · n_max + n, static; all of them, unless a class knows better.
    """

    species: tuple[str, ...]
    l_max: int
    n_channels: int
    reach: Array

    @property
    def n_max(self) -> int:
        return self.n_channels


class FastExpansion(Expansion, Fast):
    """Interface: the fast form of an expansion.

    Attributes:
      plain: whose place it takes: it has the same coefficients.
    """

    plain: Expansion

    @property
    def species(self) -> tuple[str, ...]:
        return self.plain.species

    @property
    def l_max(self) -> int:
        return self.plain.l_max

    @property
    def n_channels(self) -> int:
        return self.plain.n_channels

    @property
    def n_max(self) -> int:
        return self.plain.n_max

    @property
    def reach(self) -> Array:
        return self.plain.reach


class LocalExpansion(Expansion):
    """Interface: the coefficients of one atom from its surroundings. A new density writes `of` and nothing else."""

    @abc.abstractmethod
    def of(self, env: Environment) -> Array:
        """Coefficients of one atom, shape [Q, L] with L = (l_max + 1)²."""


class GraphExpansion(Expansion):
    """Interface: the coefficients of all atoms from the whole structure, such as a far field expanded around each of them."""

    @abc.abstractmethod
    def coefficients(self, graph: Graph) -> Array:
        """Coefficients of every atom, shape [N, Q, L]; rows of padding atoms mean nothing."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why the coefficients of a structure with sound neighbour lists and elements are NaN, in words."""
        return ()


class Invariants(Descriptor):
    """Interface: features of an atom as a function of the coefficients of its `expansion`. A new one writes `of`, and `n_features`."""

    @abc.abstractmethod
    def of(self, *c: Array) -> Array:
        """Features of one atom, shape [F] ([F, 2λ+1] if equivariant), from the coefficients [Q, L] of every expansion."""

    @property
    def expansions(self) -> tuple[Expansion, ...]:
        """All that `of` takes: the field `expansion`; a class with several, such as a density and a far field, says so here."""
        return (self.expansion,)

    @property
    def graph_expansions(self) -> dict[int, GraphExpansion]:
        """Those that need the whole structure, by their places."""
        return {i: expansion for i, expansion in enumerate(self.expansions) if not isinstance(expansion, LocalExpansion)}

    @property
    def species(self) -> tuple[str, ...]:
        return self.expansions[0].species

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [jnp.asarray(expansion.reach) for expansion in self.expansions])

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cause for expansion in self.graph_expansions.values() for cause in expansion.causes(graph)))

    def environment(self, env: Environment) -> Array:
        """Features of one atom from its surroundings, where all expansions are local."""
        return self.of(*(expansion.of(env) for expansion in self.expansions))

    @takes_atoms
    def __call__(self, graph: Graph) -> Array:
        own, graph = promoted_pair(self, graph)
        ready, stack = prepare(own), environments(graph, own.reach, own.species)
        if is_local(self):
            return features_of_stack(ready, stack)
        whole = {i: e.coefficients(graph) for i, e in ready.graph_expansions.items()}

        def of_atom(atom):
            env, given = atom
            return ready.of(*(given[i] if i in given else e.of(env) for i, e in enumerate(ready.expansions)))

        return map_blocks(jax.vmap(of_atom), (stack, whole), atoms_at_once(block_size(ready, stack.mask.shape[1])))


@functools.singledispatch
def is_local(descriptor: Any) -> bool:
    """Whether the features of an atom follow from its own neighbours."""
    return isinstance(descriptor, LocalDescriptor | BlockDescriptor)


@is_local.register
def _if_expansions_are(descriptor: Invariants) -> bool:
    return not descriptor.graph_expansions
