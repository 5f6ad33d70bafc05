"""Polynomials of clusters over whole blocks of atoms: only the clusters that there are are evaluated, and a linear head is applied to each."""

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import BlockDescriptor
from jaxpot.descriptors.cluster_polynomials import ClusterPolynomials
from jaxpot.descriptors.slopes import features_with_slopes
from jaxpot.graph import Environment
from jaxpot.heads.linear import Linear, SharedLinear
from jaxpot.leaves import Leaf
from jaxpot.passes import fusing
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Chunked, FastPotential, LocalPotential
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class BlockClusters(BlockDescriptor):
    """Polynomials of the clusters of a block of atoms.

    Args:
      plain: the descriptor.
    """

    plain: ClusterPolynomials

    def of(self, envs: Environment) -> Array:
        return self.plain.of_block(envs)


@pytree
class LinearClusters(FastPotential, Chunked):
    """Polynomials of clusters with a linear head, applied to every cluster.

    Args:
      plain: the descriptor.
      coefficients: for every centre species, shape [S, F].
      chunk: atoms per block.
    """

    plain: ClusterPolynomials
    coefficients: Leaf
    chunk: int | None = static(default=None)

    def of(self, envs: Environment) -> Array:
        return self.plain.dot(envs, self.coefficients.astype(envs.vectors.dtype))


@fusing.rule(ClusterPolynomials)
def _block(clusters: ClusterPolynomials) -> BlockClusters:
    return BlockClusters(clusters)


@fusing.rule(AtomicPotential, descriptor=BlockClusters, head=Linear | SharedLinear)
def _linear(potential: AtomicPotential) -> LocalPotential:
    head = potential.head
    if head.coefficients is None:
        return potential
    return LinearClusters(potential.descriptor.plain, jnp.asarray(head.by_species()), potential.chunk)


@features_with_slopes.register
def _with_slopes(clusters: ClusterPolynomials, envs: Environment) -> tuple[Array, Array]:
    return clusters.of_block_with_slopes(envs)
