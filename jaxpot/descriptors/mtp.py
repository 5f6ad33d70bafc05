"""Moment tensor potentials: contractions of Cartesian tensors of the neighbourhood."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.contractions import LEVELS, Contractions, Program, graphs, monomials, of_level, program
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum, safe_norm, transposed_product
from jaxpot.math.pair_sums import pair_sum, square_sum
from jaxpot.pytree import leaf, positive, pytree, static
from jaxpot.radial.base import chebyshev

Array = jax.Array


def _distinct(n_species: int, n_radial: int, size: int) -> np.ndarray:
    """The radial coefficients that MTP starts from, shape [S, S, n_radial, size]."""
    out = np.zeros((n_species, n_species, n_radial, size))
    for neighbor in range(n_species):
        for mu in range(n_radial):
            out[:, neighbor, mu, (mu + neighbor) % size] = 1.0
    return out


@pytree
class MTP(LocalDescriptor):
    r"""Full contractions of up to four moment tensors: a linear basis of functions of up to five bodies.

    .. math:: M_{\mu\nu} = \sum_j f_\mu(r_j)\, \hat{\mathbf r}_j^{\otimes \nu}, \qquad
       f_\mu(r) = s\,(r_{\max} - r)^2 \sum_b c_{z z_j \mu b}\, T_b\!\left(\frac{2r - r_{\min} - r_{\max}}{r_{\max} - r_{\min}}\right)

    Features are all scalars like :math:`M_{00}`, :math:`M_{11} \cdot M_{01}` or :math:`M_{02} : (M_{01} \otimes M_{01})` whose levels
    :math:`\mathrm{lev}\, M_{\mu\nu} = 2 + 4\mu + \nu` add up to at most `level`, each once. They span what ACE spans with the same
    radial functions and levels, and are independent up to level 14 (of the 92 of level 16, 91 are). Species enter through the radial
    coefficients c alone, so the number of features does not grow with that of elements.

    Args:
      species: chemical symbols of neighbours and centres.
      level: an even number from 2 to 28, for 1, 2, 5, 9, 16, 29, 52, 92, 163, 288, 500, 864, 1466 or 2455 features; None for given
        `contractions`.
      min_dist: r_min, in Å, about the shortest distance that occurs; below it the polynomials extrapolate.
      max_dist: r_max, in Å.
      radial_basis_size: number of functions T_b.
      radial: c, shape [S, S, n_radial, radial_basis_size], centre species first. None starts with f_μ = T_{μ+z} times the envelope, z
        counting the neighbour's species, so that elements differ; fit it with `fit.train`.
      scaling: s, in Å⁻²; None takes (r_max − r_min)⁻².
      contractions: (basic, times, mapping), as `io.mtp.read_mtp` finds them in a file.

    Raises:
      ValueError: for another level, distances that do not increase, radial coefficients of a wrong shape or too few radial functions to
        start from, or contractions that cannot be evaluated.

    Example:
      >>> MTP(("Si",), 16, min_dist=1.9, max_dist=5.0).n_features
      92

    References:
      Shapeev, "Moment tensor potentials: a class of systematically improvable interatomic potentials", Multiscale Model. Simul. 14, 1153 (2016);
      Gubaev et al., "Accelerating high-throughput searches for new alloys with active learning of interatomic potentials",
      Comput. Mater. Sci. 156, 148 (2019).
    """

    species: tuple[str, ...] = static()
    level: int | None = static()
    min_dist: Array = leaf()
    max_dist: Array = positive(high=1e4)
    radial_basis_size: int = static(8, most=100)
    radial: Array | None = None
    scaling: Array | None = positive(None)
    contractions: Contractions | None = static(None)

    def __post_init__(self):
        species_tuple(self.species, "MTP")
        if (self.level is None) == (self.contractions is None):
            raise ValueError("MTP: expected a level or contractions, and not both")
        if self.contractions is None and self.level not in LEVELS:
            raise ValueError(f"MTP: level must be an even number from {LEVELS[0]} to {LEVELS[-1]}, got {self.level!r}")
        if not (isinstance(self.radial_basis_size, int) and self.radial_basis_size > 0):
            raise ValueError(f"MTP: radial_basis_size must be a positive integer, got {self.radial_basis_size!r}")
        if is_concrete(self.min_dist) and is_concrete(self.max_dist) and not self.min_dist < self.max_dist:
            raise ValueError(f"MTP: expected min_dist < max_dist, got {self.min_dist} and {self.max_dist}")
        shape = (len(self.species), len(self.species), self._program.n_radial, self.radial_basis_size)
        if self.radial is None:
            if len(self.species) + shape[2] - 1 > shape[3]:
                raise ValueError(
                    f"MTP: {len(self.species)} species and {shape[2]} functions f_μ need radial_basis_size ≥ {len(self.species) + shape[2] - 1} to "
                    f"start from, got {shape[3]}; or give radial, of shape {list(shape)}"
                )
            object.__setattr__(self, "radial", _distinct(len(self.species), *shape[2:]))
        if np.shape(self.radial) != shape:
            raise ValueError(f"MTP: radial must have shape {list(shape)}, got {np.shape(self.radial)}")
        if self.scaling is None:
            object.__setattr__(self, "scaling", (self.max_dist - self.min_dist) ** -2.0)

    @property
    def moments(self) -> Contractions:
        """The lists of moments that are evaluated, as an MTP file has them."""
        return of_level(self.level) if self.contractions is None else Contractions(*self.contractions)

    @property
    def _program(self) -> Program:
        return program(self.moments)

    @property
    def n_features(self) -> int:
        return len(self._program.functions)

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.max_dist)

    def labels(self) -> tuple:
        """Of a level, (μ of every factor, contracted indices between factors 12, 13, 14, 23, …); of given contractions, numbers of moments."""
        return graphs(self.level) if self.contractions is None else self.moments.mapping

    def _radial(self, r: Array, env: Environment) -> Array:
        """f_μ of every neighbour, for distances r [K], shape [K, n_radial]."""
        low, high, scaling = (jnp.asarray(x, r.dtype) for x in (self.min_dist, self.max_dist, self.scaling))
        functions = chebyshev((2 * r - (low + high)) / (high - low), self.radial_basis_size)
        functions = functions * (scaling * jnp.maximum(high - r, 0) ** 2)[:, None]
        table = jnp.asarray(self.radial, r.dtype)
        if len(self.species) == 1:
            return einsum("kb,qb->kq", functions, table[0, 0])
        return einsum("kb,kqb->kq", functions, table[env.center][env.species])

    def _monomials(self, directions: Array) -> Array:
        """All monomials of directions [..., 3] up to the highest degree, shape [..., m], in the order of `contractions.monomials`."""
        x, y, z = (directions[..., i : i + 1] for i in range(3))
        rows = [jnp.ones_like(x)]
        for degree in range(1, self._program.degrees[-1][1] + 1):
            last = rows[-1]
            # x times all, y times those without x, z times that of z alone; without the barrier XLA computes each degree anew in the next
            rows.append(jax.lax.optimization_barrier(jnp.concatenate([x * last, y * last[..., -degree:], z * last[..., -1:]], axis=-1)))
        return jax.lax.optimization_barrier(jnp.concatenate(rows, axis=-1))

    def _factors(self, env: Environment) -> tuple[Array, Array]:
        """f_μ and direction of every neighbour, [K, n_radial] and [K, 3]."""
        r = safe_norm(env.vectors)
        return self._radial(r, env), env.vectors / jnp.where(r == 0, 1, r)[:, None]

    @property
    def _blocks(self) -> tuple[tuple[int, slice], ...]:
        """(number of radial functions, columns of the monomials) of the blocks of basic moments."""
        first = [sum(len(monomials(nu)) for nu in range(d)) for d in range(self._program.degrees[-1][1] + 2)]
        return tuple((n, slice(first[a], first[b + 1])) for a, b, n in self._program.degrees if n)

    def _basic(self, envs: Environment) -> Array:
        r"""Basic moments of a stack of atoms, shape [V, n]. Their derivatives are products with the same monomials p,

        .. math:: \dot M_{qm} = \sum_k \dot f_{kq}\, p_{km} + \sum_x a^x_m \sum_k f_{kq}\, \dot u_{kx}\, p_{k, m - x}

        where m − x has one power of u_x less than m, of which it has a, so those of monomials are never formed.
        """
        radial, directions = jax.vmap(self._factors)(envs)
        steps = self._program.steps

        @jax.custom_jvp
        def moments(radial, directions):
            products = self._monomials(directions)
            blocks = [einsum("nkq,nkm->nqm", radial[:, :, :n], products[:, :, m]) for n, m in self._blocks]
            return jnp.concatenate([block.reshape(block.shape[0], -1) for block in blocks], axis=1).T

        @moments.defjvp
        def slopes(primals, tangents):
            (radial, directions), (radial_step, step) = primals, tangents
            products = self._monomials(directions)
            left = jnp.concatenate([radial_step, *(radial * step[:, :, x : x + 1] for x in range(3))], axis=2)
            sums = einsum("nkg,nkm->ngm", left, products).reshape(left.shape[0], -1).T
            return moments(radial, directions), pair_sum(steps, sums, jnp.ones_like(sums[:1]))

        return jax.lax.optimization_barrier(moments(*jax.lax.optimization_barrier((radial, directions))))

    def _values(self, basic: Array) -> Array:
        """All moments [., n] from the basic ones [V, n]."""
        values = basic
        for table in self._program.stages:
            values = jax.lax.optimization_barrier(jnp.concatenate([values, square_sum(table, values)]))
        return values

    def environment(self, env: Environment) -> Array:
        return self.stack(jax.tree_util.tree_map(lambda x: x[None], env))[0]

    def stack(self, envs: Environment) -> Array:
        # atoms come last, so that every product reads and writes whole rows
        return self._values(self._basic(envs))[self._program.functions].T

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        return self.by_waist(env)

    @property
    def has_waist(self) -> bool:
        return True

    def waist(self, envs: Environment) -> tuple[Array, Array]:
        """Basic moments [V, n] and their derivatives by the neighbour vectors, [V, n, 3, K]."""

        def one(env):
            def factors(vectors):
                radial, directions = self._factors(env.replace(vectors=vectors))
                return radial, self._monomials(directions)

            (radial, products), push = jax.linearize(factors, env.vectors)
            directions = jnp.broadcast_to(jnp.eye(3, dtype=env.vectors.dtype)[:, None, :], (3, *env.vectors.shape))
            radial_slopes, product_slopes = jax.vmap(push)(directions)  # a neighbour's factors depend on its own vector only
            values, slopes = [], []
            for n, m in self._blocks:
                f, df, p, dp = radial[:, :n], radial_slopes[:, :, :n], products[:, m], product_slopes[:, :, m]
                values.append(transposed_product(f, p).reshape(-1))
                slope = df.transpose(2, 0, 1)[:, None] * p.T[None, :, None] + f.T[:, None, None] * dp.transpose(2, 0, 1)[None]
                slopes.append(slope.reshape(-1, *slope.shape[2:]))
            return jnp.concatenate(values), jnp.concatenate(slopes)

        values, slopes = jax.lax.optimization_barrier(jax.vmap(one)(envs))
        return values.T, jnp.moveaxis(slopes, 0, 1)

    @property
    def waist_blocks(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        return tuple((rows, columns) for rows, columns, _ in program(self.moments, True).slopes.blocks)

    def beyond_waist(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        slopes = program(self.moments, True).slopes
        values = self._values(coefficients)
        entries = jnp.ones_like(values[:1])
        for table in slopes.stages:
            entries = jax.lax.optimization_barrier(jnp.concatenate([entries, pair_sum(table, entries, values)]))
        entries = jnp.concatenate([entries, jnp.zeros_like(entries[:1])])
        return values[self._program.functions], tuple(entries[places] for _, _, places in slopes.blocks)
