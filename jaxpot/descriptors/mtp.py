"""Moment tensor potentials: contractions of Cartesian tensors of the neighbourhood."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.contractions import LEVELS, Contractions, Program, graphs, monomials, of_level, program
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.descriptors.expansion import Invariants
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.pair_sums import square_sum
from jaxpot.radial.base import chebyshev
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class Moments(NeighborDensity):
    r"""Moment tensors of the neighbourhood, whose components take the place of those of spherical harmonics.

    .. math:: M_{\mu\nu} = \sum_j f_\mu(r_j)\, \hat{\mathbf r}_j^{\otimes \nu}, \qquad
       f_\mu(r) = s\,(r_{\max} - r)^2 \sum_b c_{z z_j \mu b}\, T_b\!\left(\frac{2r - r_{\min} - r_{\max}}{r_{\max} - r_{\min}}\right)

    Args:
      species: chemical symbols of neighbours and centres.
      l_max: the highest ν.
      min_dist: r_min, in Å.
      max_dist: r_max, in Å.
      radial: c, shape [S, S, functions f_μ, functions T_b], centre species first.
      scaling: s, in Å⁻².
    """

    species: tuple[str, ...] = static()
    l_max: int = static()
    min_dist: Leaf = leaf()
    max_dist: Leaf = positive(high=1e4)
    radial: Leaf
    scaling: Leaf = positive()

    @property
    def n_channels(self) -> int:
        return self.radial.shape[2]

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.max_dist)

    def functions(self, r: Array, env: Environment) -> Array:
        """f_μ of every neighbour, for distances r [K], shape [K, functions]."""
        low, high, scaling = (jnp.asarray(x, r.dtype) for x in (self.min_dist, self.max_dist, self.scaling))
        polynomials = chebyshev((2 * r - (low + high)) / (high - low), self.radial.shape[3])
        polynomials = polynomials * (scaling * jnp.maximum(high - r, 0) ** 2)[:, None]
        table = jnp.asarray(self.radial, r.dtype)
        if len(self.species) == 1:
            return einsum("kb,qb->kq", polynomials, table[0, 0])
        return einsum("kb,kqb->kq", polynomials, table[env.center][env.species])

    def monomials(self, directions: Array) -> Array:
        """All monomials of directions [..., 3] up to the highest degree, shape [..., m], in the order of `contractions.monomials`."""
        x, y, z = (directions[..., i : i + 1] for i in range(3))
        rows = [jnp.ones_like(x)]
        for degree in range(1, self.l_max + 1):
            last = rows[-1]
            # x times all, y times those without x, z times that of z alone; without the barrier XLA computes each degree anew in the next
            rows.append(jax.lax.optimization_barrier(jnp.concatenate([x * last, y * last[..., -degree:], z * last[..., -1:]], axis=-1)))
        return jax.lax.optimization_barrier(jnp.concatenate(rows, axis=-1))

    def parts(self, env: Environment) -> tuple[Array, Array]:
        """f_μ and direction of every neighbour, [K, functions] and [K, 3]."""
        r = safe_norm(env.vectors)
        return self.functions(r, env), env.vectors / jnp.where(r == 0, 1, r)[:, None]

    def factors(self, env: Environment) -> tuple[Array, Array]:
        functions, directions = self.parts(env)
        return functions[:, None], self.monomials(directions)


def _distinct(n_species: int, n_radial: int, size: int) -> np.ndarray:
    """The radial coefficients that MTP starts from, shape [S, S, n_radial, size]."""
    out = np.zeros((n_species, n_species, n_radial, size))
    for neighbor in range(n_species):
        for mu in range(n_radial):
            out[:, neighbor, mu, (mu + neighbor) % size] = 1.0
    return out


@pytree
class MTP(Invariants):
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

    expansion: Moments
    level: int | None = static()
    contractions: Contractions | None = static(default=None)

    def __init__(
        self,
        species: tuple[str, ...],
        level: int | None,
        min_dist: jax.typing.ArrayLike,
        max_dist: jax.typing.ArrayLike,
        radial_basis_size: int = 8,
        radial: jax.typing.ArrayLike | None = None,
        scaling: jax.typing.ArrayLike | None = None,
        contractions: Contractions | None = None,
    ):
        species_tuple(species, "MTP")
        if (level is None) == (contractions is None):
            raise ValueError("MTP: expected a level or contractions, and not both")
        if contractions is None and level not in LEVELS:
            raise ValueError(f"MTP: level must be an even number from {LEVELS[0]} to {LEVELS[-1]}, got {level!r}")
        if not (isinstance(radial_basis_size, int) and 0 < radial_basis_size <= 100):
            raise ValueError(f"MTP: radial_basis_size must be a positive integer, at most 100, got {radial_basis_size!r}")
        if is_concrete(min_dist) and is_concrete(max_dist) and not min_dist < max_dist:
            raise ValueError(f"MTP: expected min_dist < max_dist, got {min_dist} and {max_dist}")
        object.__setattr__(self, "level", level)
        object.__setattr__(self, "contractions", contractions)
        shape = (len(species), len(species), self.program.n_radial, radial_basis_size)
        if radial is None:
            if len(species) + shape[2] - 1 > shape[3]:
                raise ValueError(
                    f"MTP: {len(species)} species and {shape[2]} functions f_μ need radial_basis_size ≥ {len(species) + shape[2] - 1} to "
                    f"start from, got {shape[3]}; or give radial, of shape {list(shape)}"
                )
            radial = _distinct(len(species), *shape[2:])
        if np.shape(radial) != shape:
            raise ValueError(f"MTP: radial must have shape {list(shape)}, got {np.shape(radial)}")
        scaling = (max_dist - min_dist) ** -2.0 if scaling is None else scaling
        moments = Moments(species, self.program.degrees[-1][1], min_dist=min_dist, max_dist=max_dist, radial=radial, scaling=scaling)
        object.__setattr__(self, "expansion", moments)
        self.__post_init__()

    @property
    def moments(self) -> Contractions:
        """The lists of moments that are evaluated, as an MTP file has them."""
        return of_level(self.level) if self.contractions is None else Contractions(*self.contractions)

    @property
    def program(self) -> Program:
        """How they are made of the basic ones."""
        return program(self.moments)

    @property
    def n_features(self) -> int:
        return len(self.program.functions)

    def labels(self) -> tuple:
        """Of a level, (μ of every factor, contracted indices between factors 12, 13, 14, 23, …); of given contractions, numbers of moments."""
        return graphs(self.level) if self.contractions is None else self.moments.mapping

    @property
    def blocks(self) -> tuple[tuple[int, slice], ...]:
        """(number of radial functions, columns of the monomials) of the blocks of basic moments."""
        first = [sum(len(monomials(nu)) for nu in range(d)) for d in range(self.program.degrees[-1][1] + 2)]
        return tuple((n, slice(first[a], first[b + 1])) for a, b, n in self.program.degrees if n)

    def of(self, c: Array) -> Array:
        values = jnp.concatenate([c[:n, m].reshape(-1) for n, m in self.blocks])[:, None]
        for table in self.program.stages:
            values = jnp.concatenate([values, square_sum(table, values)])
        return values[self.program.functions, 0]
