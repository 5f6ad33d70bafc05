"""ACE over whole blocks of atoms: recursive products with atoms last, couplings on the coefficients, and derivatives at the densities."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.ace import ACE, coupled
from jaxpot.descriptors.base import BlockDescriptor
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.descriptors.expansion import is_local
from jaxpot.descriptors.products import Program
from jaxpot.descriptors.slopes import Waist, at_the_waist, factors_with_slopes, waist_of, with_slopes
from jaxpot.graph import Environment
from jaxpot.heads.linear import Linear, SharedLinear
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.passes import fusing
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Chunked, FastPotential, LocalPotential
from jaxpot.trees import pytree, static

Array = jax.Array

_PRODUCTS_AT_ONCE = 450_000  # that fit the cache; below 16 atoms vector instructions run empty


@pytree
class BlockACE(BlockDescriptor):
    """ACE of a block of atoms. Products are evaluated recursively, one multiplication each.

    Args:
      plain: the descriptor.
    """

    plain: ACE

    def of(self, envs: Environment) -> Array:
        ace = self.plain
        functions = jnp.moveaxis(coupled(ace.program(), products_of(ace, envs), ace.tail), -1, 0)
        return functions.reshape(envs.center.shape[0], ace.n_features, *ace.tail)


@pytree
class LinearACE(FastPotential, Chunked):
    """ACE with a linear head, the couplings applied to the coefficients instead of every atom's products.

    Args:
      plain: the descriptor.
      weights: of the products for every centre species, shape [S, products].
      chunk: atoms per block.
    """

    plain: ACE
    weights: Leaf
    chunk: int | None = static(default=None)

    def of(self, envs: Environment) -> Array:
        products = products_of(self.plain, envs)
        by_species = einsum("sp,pn->sn", self.weights.astype(products.dtype), products)
        own = jax.nn.one_hot(envs.center, len(self.weights), dtype=products.dtype)
        return einsum("ns,sn->n", own, by_species)


def products_of(ace: ACE, envs: Environment) -> Array:
    """All products, [products, n] with the copies of a tensor-reduced basis beside the atoms: every product reads and writes whole rows."""
    coefficients, program = jax.vmap(ace.expansion.of)(envs), ace.program()
    rows = jnp.moveaxis(coefficients.reshape(len(coefficients) * ace.copies, -1), 0, -1)
    return _products(rows[program.density], program)


def _products(densities: Array, program: Program) -> Array:
    # without the barriers XLA computes a product anew wherever it is used
    values = jax.lax.optimization_barrier(densities)
    for left, right in program.levels:
        values = jax.lax.optimization_barrier(jnp.concatenate([values, values[left] * values[right]]))
    return values


@fusing.rule(ACE)
def _block_ace(ace: ACE) -> ACE | BlockACE:
    return BlockACE(ace) if is_local(ace) else ace


@fusing.rule(AtomicPotential, descriptor=BlockACE, head=Linear | SharedLinear)
def _linear_ace(potential: AtomicPotential) -> LocalPotential:
    ace, head = potential.descriptor.plain, potential.head
    if head.coefficients is None or ace.tensor_reduced or ace.tail:
        return potential
    program, coefficients = ace.program(), jnp.asarray(head.by_species())
    n_products = len(program.density) + sum(len(left) for left, _ in program.levels)
    decoupled = jax.linear_transpose(lambda products: coupled(program, products, ()), jax.ShapeDtypeStruct((n_products,), coefficients.dtype))
    return LinearACE(ace, jnp.stack([decoupled(row)[0] for row in coefficients]), potential.chunk)


@block_size.register
def _of_block(block: BlockACE | LinearACE, n_neighbors: int) -> int:
    return _atoms_of(block.plain)


def _atoms_of(ace: ACE) -> int:
    program, block = ace.program(), 128
    n_products = ace.copies * (len(program.density) + sum(len(left) for left, _ in program.levels))
    while block > 16 and block * n_products > _PRODUCTS_AT_ONCE:
        block //= 2
    return block


@block_size.register
def _of_ace(ace: ACE, n_neighbors: int) -> int:
    return _atoms_of(ace)


class ACEWaist(Waist):
    """The densities of an ACE, of which every product is a function of few."""

    def __init__(self, ace: ACE):
        self._ace, self._program = ace, ace.program(True)
        self.blocks = tuple((rows, columns) for rows, columns, _ in self._program.slopes.blocks)

    def coefficients(self, envs: Environment) -> tuple[Array, Array]:
        """Density coefficients A, shape [V, n], and their derivatives by the neighbour vectors, [V, n, 3, K]."""
        density, program = self._ace.expansion, self._program
        q, lm = np.divmod(program.density, (density.l_max + 1) ** 2)

        def one(env):
            (channels, harmonics), (channel_slopes, harmonic_slopes) = factors_with_slopes(density, env)
            l = np.floor(np.sqrt(lm)).astype(int) if channels.shape[1] > 1 else np.zeros_like(lm)
            f, y = channels[:, l, q].T, harmonics[:, lm].T
            df, dy = jnp.moveaxis(channel_slopes[:, :, l, q], -1, 0), jnp.moveaxis(harmonic_slopes[:, :, lm], -1, 0)
            itself = jnp.broadcast_to(density.itself(env.center, f.dtype), (density.n_channels, (density.l_max + 1) ** 2))
            values = jnp.sum(f * y, axis=1) + itself.reshape(-1)[program.density]
            return values, df * y[:, None] + f[:, None] * dy

        values, slopes = jax.lax.optimization_barrier(jax.vmap(one)(envs))
        return values.T, jnp.moveaxis(slopes, 0, 1)

    def beyond(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        program = self._program
        values = _products(coefficients, program)
        features = coupled(program, values, self._ace.tail).reshape(-1, values.shape[1])
        values = jnp.concatenate([values, jnp.ones_like(values[:1])])
        entries = [einsum("etn,et->en", values[i], jnp.asarray(w, values.dtype)) for i, w in zip(*program.slopes[:2], strict=True)]
        entries = jax.lax.optimization_barrier(jnp.concatenate([*entries, jnp.zeros_like(values[:1])]))
        return features, tuple(entries[places] for _, _, places in program.slopes.blocks)


@waist_of.register
def _waist(ace: ACE) -> Waist | None:
    return ACEWaist(ace) if isinstance(ace.expansion, NeighborDensity) and not ace.tensor_reduced else None


@with_slopes.register
def _slopes(ace: ACE, env: Environment) -> tuple[Array, Array]:
    waist = waist_of(ace)
    if waist is None:
        return at_the_waist(ace, env)
    features, jacobian = waist.with_slopes(env)
    return features.reshape(ace.n_features, *ace.tail), jacobian.reshape(ace.n_features, *ace.tail, *env.vectors.shape)
