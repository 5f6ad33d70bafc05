"""MTP over whole blocks of atoms, laid out with atoms last, and its derivatives at the basic moments."""

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import BlockDescriptor
from jaxpot.descriptors.contractions import program
from jaxpot.descriptors.mtp import MTP
from jaxpot.descriptors.slopes import Waist, waist_of, with_slopes
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum, transposed_product
from jaxpot.math.pair_sums import pair_sum, square_sum
from jaxpot.passes import fusing
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class BlockMTP(BlockDescriptor):
    """MTP of a block of atoms: they come last, so that every product reads and writes whole rows.

    Args:
      plain: the descriptor.
    """

    plain: MTP

    def of(self, envs: Environment) -> Array:
        return _values(self.plain, _basic(self.plain, envs))[self.plain.program.functions].T


@fusing.rule(MTP)
def _block_mtp(mtp: MTP) -> BlockMTP:
    return BlockMTP(mtp)


def _basic(mtp: MTP, envs: Environment) -> Array:
    r"""Basic moments of a stack of atoms, shape [V, n]. Their derivatives are products with the same monomials p,

    .. math:: \dot M_{qm} = \sum_k \dot f_{kq}\, p_{km} + \sum_x a^x_m \sum_k f_{kq}\, \dot u_{kx}\, p_{k, m - x}

    where m − x has one power of u_x less than m, of which it has a, so those of monomials are never formed.
    """
    radial, directions = jax.vmap(mtp.expansion.parts)(envs)
    steps, blocks = mtp.program.steps, mtp.blocks

    @jax.custom_jvp
    def moments(radial, directions):
        products = mtp.expansion.monomials(directions)
        found = [einsum("nkq,nkm->nqm", radial[:, :, :n], products[:, :, m]) for n, m in blocks]
        return jnp.concatenate([block.reshape(block.shape[0], -1) for block in found], axis=1).T

    @moments.defjvp
    def slopes(primals, tangents):
        (radial, directions), (radial_step, step) = primals, tangents
        products = mtp.expansion.monomials(directions)
        left = jnp.concatenate([radial_step, *(radial * step[:, :, x : x + 1] for x in range(3))], axis=2)
        sums = einsum("nkg,nkm->ngm", left, products).reshape(left.shape[0], -1).T
        return moments(radial, directions), pair_sum(steps, sums, jnp.ones_like(sums[:1]))

    return jax.lax.optimization_barrier(moments(*jax.lax.optimization_barrier((radial, directions))))


def _values(mtp: MTP, basic: Array) -> Array:
    """All moments [., n] from the basic ones [V, n]."""
    values = basic
    for table in mtp.program.stages:
        values = jax.lax.optimization_barrier(jnp.concatenate([values, square_sum(table, values)]))
    return values


class MTPWaist(Waist):
    """The basic moments of an MTP."""

    def __init__(self, mtp: MTP):
        self._mtp, self._slopes = mtp, program(mtp.moments, True).slopes
        self.blocks = tuple((rows, columns) for rows, columns, _ in self._slopes.blocks)

    def coefficients(self, envs: Environment) -> tuple[Array, Array]:
        moments, blocks = self._mtp.expansion, self._mtp.blocks

        def one(env):
            def factors(vectors):
                radial, directions = moments.parts(env.replace(vectors=vectors))
                return radial, moments.monomials(directions)

            (radial, products), push = jax.linearize(factors, env.vectors)
            directions = jnp.broadcast_to(jnp.eye(3, dtype=env.vectors.dtype)[:, None, :], (3, *env.vectors.shape))
            radial_slopes, product_slopes = jax.vmap(push)(directions)  # a neighbour's factors depend on its own vector only
            values, slopes = [], []
            for n, m in blocks:
                f, df, p, dp = radial[:, :n], radial_slopes[:, :, :n], products[:, m], product_slopes[:, :, m]
                values.append(transposed_product(f, p).reshape(-1))
                slope = df.transpose(2, 0, 1)[:, None] * p.T[None, :, None] + f.T[:, None, None] * dp.transpose(2, 0, 1)[None]
                slopes.append(slope.reshape(-1, *slope.shape[2:]))
            return jnp.concatenate(values), jnp.concatenate(slopes)

        values, slopes = jax.lax.optimization_barrier(jax.vmap(one)(envs))
        return values.T, jnp.moveaxis(slopes, 0, 1)

    def beyond(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        values = _values(self._mtp, coefficients)
        entries = jnp.ones_like(values[:1])
        for table in self._slopes.stages:
            entries = jax.lax.optimization_barrier(jnp.concatenate([entries, pair_sum(table, entries, values)]))
        entries = jnp.concatenate([entries, jnp.zeros_like(entries[:1])])
        return values[self._mtp.program.functions], tuple(entries[places] for _, _, places in self._slopes.blocks)


@waist_of.register
def _waist(mtp: MTP) -> Waist:
    return MTPWaist(mtp)


@with_slopes.register
def _slopes(mtp: MTP, env: Environment) -> tuple[Array, Array]:
    return MTPWaist(mtp).with_slopes(env)
