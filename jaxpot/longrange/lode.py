r"""LODE: the potential that all atoms make, expanded around each of them.

The potential of a source, smeared by σ, is a superposition of Gaussians of widths σ/u ≥ σ,

.. math:: \frac{\gamma(p/2,\, r^2/2\sigma^2)}{\Gamma(p/2)\, r^p}
   = \frac{2}{\Gamma(p/2)\,(2\sigma^2)^{p/2}} \int_0^1 u^{p-1} e^{-u^2 r^2/2\sigma^2}\, du

so in real space its expansion is an integral over that of a density (`jaxpot.radial.base.smeared`), in which nothing cancels.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, poison, species_tuple
from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.descriptors.density import product
from jaxpot.descriptors.expansion import FastExpansion, GraphExpansion
from jaxpot.graph import Graph, by_element, environments
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.longrange.field_sums import Field, FieldSum
from jaxpot.longrange.interactions import InversePower
from jaxpot.longrange.truncation import far_kernel, is_zero, wave_vectors
from jaxpot.math.bessel import spherical_bessel
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.passes import condensing
from jaxpot.radial.base import RadialBasis, check_form, from_table, gauss_legendre, interpolated, sharp, smeared
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_ROOM = 1.25  # tables are made fine enough for a sigma this much smaller (or a radius this much larger) than given
_WINDOW = 8.5  # in widths of a Gaussian; exp(−8.5²/2) = 2e-16
_SUPERPOSED = 64  # Gaussians
_NEAR_BLOCK = 64  # atoms


@pytree
class LODE(GraphExpansion):
    r"""Coefficients of the potential of all atoms around each of them, in an orthonormal basis ("long-distance equivariants").

    .. math:: V_d(\mathbf r) = \sum_j W_{z_j d}\, \frac{P(p/2,\, |\mathbf r - \mathbf r_j|^2/2\sigma^2)}{|\mathbf r - \mathbf r_j|^p}
       = \sum_{nlm} c_{dnlm}\, g_{nl}(r)\, Y_{lm}(\hat{\mathbf r})

    j runs over all atoms and, in a periodic structure, their images; P is the regularised incomplete gamma function, for p = 1 an error
    function. With p = 0 it is the density of Gaussians :math:`e^{-r^2/2\sigma^2}` instead, that of `Density` without a cutoff. Coefficients, with
    q = channel · n_max + n, are in Å^(3/2 − p). In a crystal, p < 3 leaves out the mean potential, as if a uniform background neutralised
    every channel, and so does p = 3; p > 3 and p = 0 keep it.

    Args:
      species: chemical symbols of sources and centres.
      radius: of the sphere in which the potential is looked at, in Å: that of the radial functions.
      radial: a radial basis.
      l_max: highest degree, included.
      sigma: how far sources are smeared, in Å.
      sum: `AllPairs` for molecules, `Waves` for periodic structures; `field_sum_for` chooses.
      power: p; 0, 1, 2, 3, or any number above 3.
      channels: W, shape [S, D], mixes S species into D channels, such as their charges into a single one; None is one channel per species.
      center_weight: weight of the centre's own potential, dimensionless; its periodic images count fully.
      interior: sources count 1 − f_c(r) with this cutoff function, for the potential of what is farther away; None counts all.
      nodes: of the tables of radial integrals; None counts those that sigma needs, with some room. Where optimisation later asks for more,
        results are NaN and `diagnose` says so.

    Raises:
      ValueError: for unknown species, a negative l_max, another power, or channels of a wrong shape.

    Example:
      >>> import ase.build
      >>> from jaxpot import GTO, SOAP, from_atoms
      >>> from jaxpot.longrange import field_sum_for
      >>> salt = ase.build.bulk("NaCl", "rocksalt", a=5.64)
      >>> lode = LODE(("Na", "Cl"), 3.0, GTO(n_max=3), l_max=2, sigma=1.0, sum=field_sum_for(salt, sigma=1.0))
      >>> jax.eval_shape(SOAP(lode), from_atoms(salt, cutoff=1.0)).shape
      (2, 63)

    References:
      Grisafi, Ceriotti, "Incorporating long-range physics in atomic-scale machine learning", J. Chem. Phys. 151, 204105 (2019);
      Huguenin-Dumittan, Loche, Haoran, Ceriotti, "Physics-inspired equivariant descriptors of nonbonded interactions",
      J. Phys. Chem. Lett. 14, 9612 (2023).
    """

    species: tuple[str, ...] = static()
    radius: Leaf = positive(low=1e-3, high=1e3)
    radial: RadialBasis
    l_max: int = static(most=50)
    sigma: Leaf = positive(low=1e-3, high=100)
    sum: FieldSum
    power: float = static(default=1)
    channels: OptionalLeaf = None
    center_weight: Leaf = leaf(default=1.0)
    interior: Cutoff | None = None
    nodes: int | None = static(default=None, most=100_000)

    def __post_init__(self):
        species_tuple(self.species, "LODE")
        if not (isinstance(self.l_max, int) and self.l_max >= 0):
            raise ValueError(f"LODE: l_max must be a non-negative integer, got {self.l_max!r}")
        if not (self.power in (0, 1, 2, 3) or 3 < self.power < 100):
            raise ValueError(f"LODE: power must be 0, 1, 2, 3 or a number above 3, got {self.power!r}")
        if self.channels is not None and (np.ndim(self.channels) != 2 or np.shape(self.channels)[0] != len(self.species)):
            raise ValueError(f"LODE: channels must have shape [{len(self.species)}, D], got {np.shape(self.channels)}")
        check_form(self.radial, is_sharp=True)
        check_form(self.radial, is_sharp=False)
        if all(is_concrete(leaf) for leaf in jax.tree_util.tree_leaves((self.radius, self.radial, self.sigma))):
            with jax.ensure_compile_time_eval():
                object.__setattr__(self, "nodes", max(self.nodes or 0, math.ceil(self._nodes_needed(_ROOM))))
        elif self.nodes is None:
            raise ValueError("LODE: cannot be made from traced leaves; make it outside and vary its leaves with `free` or `replace`")

    @property
    def n_channels(self) -> int:
        """Q, species channels times radial functions."""
        return (len(self.species) if self.channels is None else self.channels.shape[1]) * self.radial.n_max

    @property
    def n_max(self) -> int:
        return self.radial.n_max

    @property
    def reach(self) -> Array:
        """How far neighbour lists must go, shape [], in Å: as far as sources do not count fully."""
        return jnp.zeros(()) if self.interior is None else jnp.asarray(self.interior.radius)

    @property
    def end(self) -> Array:
        """The distance at which the radial functions end, shape [], in Å."""
        return jnp.asarray(self.radial.end(jnp.asarray(self.radius)))

    @property
    def last(self) -> Array:
        """The wave number beyond which sources have no waves, shape [], in 1/Å."""
        return _WINDOW / jnp.asarray(self.sigma)

    @property
    def scale(self) -> Array:
        """The distance in the middle of the table of the potential, shape [], in Å."""
        return jnp.asarray(self.radius) + jnp.asarray(self.sigma)

    def _nodes_needed(self, room: float) -> Array:
        # of exp(ikr), which oscillates as often as its phase says and then converges at once; and, measured, of potentials over all distances
        phase = 0.5 * room * self.last * self.end
        return jnp.maximum(phase + 6 * jnp.cbrt(phase) + 24, 9 * room * self.radius / self.sigma + 60)

    def unresolved(self) -> Array:
        """Whether the tables of radial integrals are not exact, shape []: sigma has become too small for them, or the radius too large."""
        return jnp.ceil(self._nodes_needed(1.0)) > self.nodes

    def transform(self, m: list[np.ndarray], inverse: Array, pbc: tuple[bool, ...], length: Array | None) -> Array:
        """The Fourier transform of the potential of a source over a box of integers, [a, b, c]."""
        sigma = jnp.asarray(self.sigma)
        if self.power > 0 and not all(pbc):
            return far_kernel(InversePower(self.power), sigma, m, inverse, pbc, length)
        k2 = jnp.sum(wave_vectors(m, inverse) ** 2, axis=-1)
        if self.power == 0:
            return (2 * np.pi * sigma**2) ** 1.5 * jnp.exp(-0.5 * k2 * sigma**2)
        zero = is_zero(m)
        mean = InversePower(self.power).background(sigma) if self.power > 3 else 0.0
        return jnp.where(zero, mean, InversePower(self.power).far(jnp.where(zero, 1, k2), sigma))

    @property
    def mixing(self) -> Array:
        """How much a source of every species adds to every channel, [S, D]."""
        return jnp.eye(len(self.species), dtype=self.scale.dtype) if self.channels is None else jnp.asarray(self.channels)

    def weights(self, numbers: Array) -> Array:
        """The same of atoms, [N, D]: nothing of padding, NaN of elements that are not among the species."""
        return jnp.stack([by_element(column, self.species, numbers) for column in self.mixing.T], axis=1)

    def integrals(self, k: Array) -> Array:
        r"""∫ r² g_nl(r) j_l(kr) dr at wave numbers k [K], shape [K, l_max + 1, n_max]."""
        x, w = (jnp.asarray(x, k.dtype) * self.end for x in gauss_legendre(self.nodes))
        g = jnp.broadcast_to(sharp(self.radial, x, self.l_max, jnp.asarray(self.radius)), (self.nodes, self.l_max + 1, self.n_max))
        return einsum("krl,rln->kln", spherical_bessel(k[:, None] * x[None, :], self.l_max), (w * x**2)[:, None, None] * g)

    def potential(self, r: Array) -> Array:
        """The radial functions of the potential of a source at distances r [K], shape [K, l_max + 1, n_max]."""
        sigma = jnp.asarray(self.sigma)
        if self.power == 0:
            return self._gaussians(r, jnp.broadcast_to(sigma, r.shape))
        # narrower Gaussians do not come as far as the radial functions do
        last = jnp.minimum(1, _WINDOW * sigma / jnp.maximum(r - self.end, sigma))

        def add(total, node):
            u, weight = node
            return total + weight * u ** (self.power - 1) * self._gaussians(r, sigma / (last * u)), None

        nodes = tuple(jnp.asarray(x, r.dtype) for x in gauss_legendre(_SUPERPOSED))
        total = jax.lax.scan(jax.checkpoint(add), jnp.zeros((len(r), self.l_max + 1, self.n_max), r.dtype), nodes)[0]
        return total * (last**self.power)[:, None, None] * 2 / (math.gamma(self.power / 2) * (2 * sigma**2) ** (self.power / 2))

    def _gaussians(self, r: Array, widths: Array) -> Array:
        """The radial functions of Gaussians of widths [K] at distances r [K], shape [K, l_max + 1, n_max]."""

        def one(r, width):
            return smeared(self.radial, r[None], self.l_max, jnp.asarray(self.radius), width)[0]

        return jax.vmap(one)(r, widths)

    def coefficients(self, graph: Graph) -> Array:
        return _condensed(self).coefficients(graph)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.sum.causes(graph, jnp.asarray(self.sigma), self.end)


@pytree
class TableLODE(FastExpansion, GraphExpansion, Field):
    """A LODE with its radial functions as Chebyshev series, exact to round-off; what `condense` puts in its place.

    Args:
      plain: the expansion.
      of_waves: of plane waves, on [0, `plain.last`], shape [nodes, l_max + 1, n_max].
      at_center: of the potential of a source at the centre itself, for l = 0, shape [n_max].
      of_source: of the potential of a source, over x = r / (r + `plain.scale`), shape [nodes, l_max + 1, n_max]; None where nothing asks for it.
    """

    plain: LODE
    of_waves: Leaf
    at_center: Leaf
    of_source: OptionalLeaf

    def transform(self, m: list[np.ndarray], inverse: Array, pbc: tuple[bool, ...], length: Array | None) -> Array:
        return self.plain.transform(m, inverse, pbc, length)

    def waves(self, k: Array) -> Array:
        return from_table(self.of_waves, k, self.plain.last)

    def of_sources(self, vectors: Array, weights: Array) -> Array:
        r = safe_norm(vectors)
        radial = from_table(self.of_source, r / (r + self.plain.scale), jnp.ones((), r.dtype))
        channels = (weights[:, None, :, None] * radial[:, :, None, :]).reshape(*radial.shape[:2], -1)
        return product(channels, spherical_harmonics(vectors, self.l_max))

    def coefficients(self, graph: Graph) -> Array:
        plain, weights = self.plain, self.plain.weights(graph.numbers)
        found = plain.sum.total(self, graph, weights)
        own = jnp.asarray(plain.center_weight)
        if plain.interior is not None:
            own = own * (1 - plain.interior(jnp.zeros((), found.dtype)))
            found = found - self._of_neighbors(graph, plain.interior)
        center = ((own - 1) / math.sqrt(4 * math.pi)) * weights[:, :, None] * self.at_center[None, None, :]
        found = found.at[:, :, 0].add(center.reshape(found.shape[:2]))
        return poison(found, plain.sum.lost(graph, jnp.asarray(plain.sigma), plain.end) | plain.unresolved())

    def _of_neighbors(self, graph: Graph, cutoff: Cutoff) -> Array:
        """What neighbours add, as far as a cutoff lets them, [N, Q, L]."""

        def of_atom(env):
            fraction = jnp.where(env.mask, cutoff(safe_norm(env.vectors)), 0)
            return self.of_sources(env.vectors, fraction[:, None] * self.plain.mixing[env.species])

        envs = environments(graph, cutoff.radius, self.species)
        return map_blocks(jax.checkpoint(jax.vmap(of_atom)), envs, atoms_at_once(_NEAR_BLOCK))


@condensing.rule(LODE)
def _condensed(lode: LODE) -> TableLODE:
    one = jnp.ones((), lode.scale.dtype)
    of_source = None
    if lode.sum.is_real or lode.interior is not None:
        of_source = interpolated(lambda x: lode.potential(lode.scale * x / (1 - x)), one, lode.nodes)
    of_waves = interpolated(lode.integrals, lode.last, lode.nodes)
    return TableLODE(lode, of_waves, lode.potential(0 * one[None])[0, 0], of_source)
