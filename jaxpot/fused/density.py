"""Densities whose radial functions are looked up: in a Chebyshev table, or as few primitives that are mixed after the sum over neighbours."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.density import Density, NeighborDensity
from jaxpot.descriptors.expansion import FastExpansion
from jaxpot.descriptors.turbo import TurboDensity
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum, safe_norm, transposed_product
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.passes import condensing, tabulating
from jaxpot.radial.base import from_table, interpolated, tabulate, tail
from jaxpot.radial.tabulated import Tabulated, tabulated
from jaxpot.trees import pytree

Array = jax.Array


class _OfDensity(FastExpansion, NeighborDensity):
    """A fast form of a density.

    Attributes:
      plain: the density.
    """

    plain: NeighborDensity


@pytree
class TableDensity(_OfDensity):
    """A Density with its radial functions as Chebyshev series on [0, reach], exact to round-off; what `condense` puts in its place.

    Args:
      plain: the density.
      table: coefficients, shape [nodes, l_max + 1, n_max].
    """

    plain: Density
    table: Leaf

    def _radial(self, r: Array) -> Array:
        return from_table(self.table.astype(r.dtype), r, self.reach.astype(r.dtype))

    def factors(self, env: Environment) -> tuple[Array, Array]:
        r = safe_norm(env.vectors)
        return self.plain.of_neighbors(env, r, self._radial(r))

    def itself(self, center: Array, dtype: Any) -> Array:
        plain = self.plain
        return plain.of_center(center, self._radial(jnp.zeros(1, dtype))) if plain.holds_center else plain.itself(center, dtype)


@pytree
class PrimitiveDensity(_OfDensity):
    """A Density with `Tabulated` radial functions: the sum over neighbours is one matrix product of few primitives, mixed into channels after it.

    Args:
      plain: the density.
    """

    plain: Density

    def factors(self, env: Environment) -> tuple[Array, Array]:
        return self.plain.factors(env)

    def itself(self, center: Array, dtype: Any) -> Array:
        return self.plain.itself(center, dtype)

    def of(self, env: Environment) -> Array:
        r, l_max = safe_norm(env.vectors), self.l_max
        primitives = self.plain.radial.primitives(r) * self.plain.cutoff(r).astype(r.dtype)[:, None]
        weights, mixing = self._mixing(env.species, r.dtype)
        primitives = (weights[:, :, None] * primitives[:, None, :]).reshape(len(r), -1)
        sums = transposed_product(spherical_harmonics(env.vectors, l_max), primitives)
        sums = sums.reshape(len(sums), weights.shape[1], -1)
        subscripts = "mdt,tq->mdq" if mixing.ndim == 3 else "mdt,dtq->mq"
        mixing = jnp.broadcast_to(mixing, (*mixing.shape[:-3], l_max + 1, *mixing.shape[-2:]))
        degrees = jax.lax.split(sums, tuple(2 * l + 1 for l in range(l_max + 1)))
        blocks = [einsum(subscripts, block, mixing[..., l, :, :]) for l, block in enumerate(degrees)]
        summed = jax.lax.optimization_barrier(jnp.concatenate(blocks).reshape(len(sums), self.n_channels)).T
        return summed + self.itself(env.center, r.dtype)

    def _mixing(self, species: Array, dtype: Any) -> tuple[Array, Array]:
        """Weights of neighbours in the sums over primitives, [K, D], and what mixes these into channels: [l, T, n] for every D, or [D, l, T, Q]."""
        plain = self.plain
        own = jax.nn.one_hot(species, len(self.species), dtype=dtype)
        radial = jnp.asarray(plain.radial.mixing, dtype)
        if plain.mixing is None:
            return own if plain.channels is None else einsum("ks,sd->kd", own, jnp.asarray(plain.channels, dtype)), radial
        mixing = jnp.asarray(plain.mixing, dtype)
        mixing = mixing[:, None] if mixing.ndim == 3 else mixing
        degrees = max(radial.shape[0], mixing.shape[1])
        radial = jnp.broadcast_to(radial, (degrees, *radial.shape[1:]))
        mixing = jnp.broadcast_to(mixing, (mixing.shape[0], degrees, *mixing.shape[2:]))
        return own, einsum("ltn,slnq->sltq", radial, mixing)

    def sums_of_primitives(self, env: Environment) -> Array:
        """Σ_k Y_lm(k) P_t(k) of a density with one channel per radial function, shape [L, T]."""
        r = safe_norm(env.vectors)
        weight = self.plain.cutoff(r).astype(r.dtype)
        weight = weight if self.plain.channels is None else weight * jnp.asarray(self.plain.channels, r.dtype)[env.species, 0]
        return transposed_product(spherical_harmonics(env.vectors, self.l_max), self.plain.radial.primitives(r) * weight[:, None])


@condensing.rule(Density)
def _condensed(density: Density) -> NeighborDensity:
    return density if density.is_sharp else TableDensity(density, poison(*density.table()))


@condensing.rule(Density, radial=Tabulated)
def _summed(density: Density) -> NeighborDensity:
    return PrimitiveDensity(density)


@tabulating.rule(Density)
def _tabulated(density: Density, accuracy: float) -> Density:
    series = _series(density, accuracy) if density.is_sharp else np.asarray(_condensed(density).table, float)
    radial = tabulated(series, float(density.reach), accuracy)
    return density.replace(radial=radial, cutoff=density.weight(), sigma=None, nodes=None)


@tabulating.rule(Density, radial=Tabulated)
def _tabulated_already(density: Density, accuracy: float) -> Density:
    return density


def _series(density: Density, accuracy: float) -> np.ndarray:
    """Sharp radial functions as Chebyshev series on [0, reach], shape [nodes, l_max + 1, n_max], or [nodes, 1, n_max]."""
    for nodes in (64, 128, 256, 512, 1024):
        series = tabulate(density.radial, density.l_max, radius=density.cutoff.radius, sigma=None, reach=density.reach, nodes=nodes)
        if tail(series) < 1e-3 * accuracy:
            return np.asarray(series, float)
    raise ValueError(f"tabulate: {type(density.radial).__name__} is not smooth enough for a table of accuracy {accuracy:.1e}")


@pytree
class TableTurboDensity(_OfDensity):
    """A TurboDensity with its radial functions as Chebyshev series.

    Args:
      plain: the density.
      table: coefficients of the columns of `TurboDensity.columns`, shape [nodes, columns].
      central: what centres add to the channels of their own species, shape [Q].
    """

    plain: TurboDensity
    table: Leaf
    central: Leaf

    def factors(self, env: Environment) -> tuple[Array, Array]:
        r = safe_norm(env.vectors)
        return self.plain.of_neighbors(env, r, from_table(self.table.astype(r.dtype), r, self.reach.astype(r.dtype)))

    def itself(self, center: Array, dtype: Any) -> Array:
        return self.plain.of_center(center, self.central.astype(dtype))


@condensing.rule(TurboDensity)
def _turbo(density: TurboDensity) -> NeighborDensity:
    table = poison(interpolated(density.columns, density.reach, density.nodes), density.unresolved())
    center = from_table(table, jnp.zeros((1,), table.dtype), density.reach)
    return TableTurboDensity(density, table, density.central(center))
