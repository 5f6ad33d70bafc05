"""SNAP over whole blocks of atoms: a linear sum at the points of the 3-sphere, and derivatives by the product rule."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import BlockDescriptor
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.graph import Environment
from jaxpot.heads.linear import Linear, SharedLinear
from jaxpot.leaves import Leaf
from jaxpot.math.hyperspherical import bispectrum_slopes, slope_entries, weighted_bispectrum
from jaxpot.math.linalg import einsum
from jaxpot.passes import fusing
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Chunked, FastPotential, LocalPotential
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class BlockBispectrum(BlockDescriptor):
    """Bispectrum components of a block of atoms.

    Args:
      plain: the descriptor.
    """

    plain: Bispectrum

    def of(self, envs: Environment) -> Array:
        return self.plain.of_block(envs)


@pytree
class LinearBispectrum(FastPotential, Chunked):
    """SNAP with a linear head: the sum is taken at every point of the 3-sphere, where functions are multiplied, and integrated once.

    Args:
      plain: the descriptor.
      weights: of the components for every centre species, shape [S, D, D, D, components].
      chunk: atoms per block.
    """

    plain: Bispectrum
    weights: Leaf
    chunk: int | None = static(default=None)

    def of(self, envs: Environment) -> Array:
        plain, weights = self.plain, self.weights.astype(envs.vectors.dtype)
        if len(weights) > 1:
            weights = einsum("ns,sklmc->nklmc", jax.nn.one_hot(envs.center, len(weights), dtype=weights.dtype), weights)
        total = weighted_bispectrum(plain.coefficients(envs), weights)
        if plain.subtract_self:
            itself = jax.vmap(lambda z: plain.of_self(z, total.dtype))(envs.center)
            alone = einsum("nk,nl,nm->nklm", itself, itself, itself)
            sizes = jnp.asarray(plain.sizes(), total.dtype)
            total = total - jnp.sum(weights * alone[..., None] * sizes[None, None, None, None], axis=(1, 2, 3, 4))
        return total


@fusing.rule(Bispectrum)
def _block(bispectrum: Bispectrum) -> BlockBispectrum:
    return BlockBispectrum(bispectrum)


@fusing.rule(AtomicPotential, descriptor=BlockBispectrum, head=Linear | SharedLinear)
def _linear(potential: AtomicPotential) -> LocalPotential:
    plain, head = potential.descriptor.plain, potential.head
    if head.coefficients is None:
        return potential
    sizes, d = plain.sizes(), plain.n_channels
    weights = jnp.asarray(head.by_species()).reshape(-1, d, d, d, len(sizes))
    weights = weights / jnp.asarray(sizes, weights.dtype)[None, None, None, None] if plain.normalize else weights
    return LinearBispectrum(plain, weights, potential.chunk)


@with_slopes.register
def _by_product_rule(snap: Bispectrum, env: Environment) -> tuple[Array, Array]:
    """At the sum over neighbours, once for each of the three factors of a component."""
    one = jax.tree_util.tree_map(lambda x: x[None], env)
    coefficients, channels = snap.coefficients(one), snap.channels(env, env.vectors.dtype)
    directions = jnp.broadcast_to(jnp.eye(3, dtype=env.vectors.dtype)[:, None, :], (3, *env.vectors.shape))
    (radial, harmonics), push = jax.linearize(lambda vectors: snap.factors(vectors, env), env.vectors)
    radial_slopes, harmonic_slopes = jax.vmap(push)(directions)  # a neighbour's factors depend on its own vector only
    slopes = [
        dg[..., :, None] * y[None, :, None, :] + g[None, :, :, None] * dy[..., None, :]  # [x, k, J − l, m]
        for g, y, dg, dy in zip(radial, harmonics, radial_slopes, harmonic_slopes, strict=True)
    ]
    entries = slope_entries(snap.two_j_max)
    parts = [
        einsum("eklm,xnm->eklnx", by_factor[0], of_degree)
        for by_factor, of_degree in zip(bispectrum_slopes(coefficients), snap.by_degree(slopes), strict=True)
    ]
    parts, flat = jnp.concatenate(parts), [entry for of_degree in entries for entry in of_degree]
    place = {entry: i for i, entry in enumerate(flat)}
    jacobian = 0.0
    for position, labels in enumerate(("na,ebcnx->abcenx", "nb,eacnx->abcenx", "nc,eabnx->abcenx")):
        order = np.array([place[row, position] for row in range(len(snap.sizes()))])
        jacobian = jacobian + einsum(labels, channels, parts[order])
    if snap.normalize:
        jacobian = jacobian / jnp.asarray(snap.sizes(), jacobian.dtype)[None, None, None, :, None, None]
    return snap.of_block(one)[0], jacobian.reshape(snap.n_features, *env.vectors.shape)
