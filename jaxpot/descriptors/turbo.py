"""The density of soap_turbo: Gaussians that are separable in distance and direction, with widths that grow outwards."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.bessel import scaled_spherical_bessel
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.radial.turbo import PowerBasis, filtered_overlaps, overlaps
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_ROOM = 1.25  # tables are made fine enough for widths this much smaller than given


@pytree
class TurboDensity(NeighborDensity):
    r"""Coefficients of a density of Gaussians with one width along the distance and another across, both growing with the distance.

    .. math:: \rho_s(r, \hat{\mathbf r}) = \sum_{j \in s} a(r_j)\, e^{-(r - r_j)^2 / 2\sigma_r^2}\,
       \sigma_t^{-2} e^{(r_j/\sigma_t)^2 (\hat{\mathbf r} \cdot \hat{\mathbf r}_j - 1)}\, h(r), \qquad
       \sigma_{r,t}(r_j) = \sigma_{r,t}(0) + \alpha_{r,t}\, r_j

    .. math:: c_{snlm} = \sqrt[4]{\tfrac{2l + 1}{8\pi^2}} \int g_n(x)\, Y_{lm}\, \rho_s\, dx\, d\hat{\mathbf r}, \qquad x = r / r_c, \qquad
       a = \frac{\left(1 - 3 x_j^2 + 2 x_j^3\right)^p}{\sigma_r(r_j)} \langle x^k \rangle_j

    The filter h is 1 up to r_c − width and then a Gaussian that falls to e^(−ν²/2) at r_c. The root makes `power_spectrum` of these
    coefficients that of soap_turbo, which weighs all degrees alike. Every number may be given per species, shape [S], and is a leaf.

    Args:
      species: chemical symbols of neighbours and centres.
      radius: r_c, in Å.
      radial: a basis for all species, or a tuple of one for each.
      l_max: highest degree, included.
      sigma: σ_r(0), in Å.
      sigma_angular: σ_t(0), in Å.
      width: of the filter, in Å.
      growth: α_r, dimensionless.
      growth_angular: α_t, dimensionless.
      exponent: p ≥ 0. With 0 the density jumps where a neighbour crosses the radius.
      enhancement: k = 0, 1 or 2; :math:`\langle x^k \rangle` is 1, x + √(2/π) w, or x² + w² + √(8/π) w x, with w = σ_r / r_c.
      center_weight: of the centre's own Gaussian, dimensionless.
      steepness: ν.
      window: soap_turbo leaves out the filtered part of neighbours more than 4 σ_r inside it, and overlaps with the Gaussian of
        `Poly3Gauss` beyond 4 (σ_r + σ_r(0)); the density jumps there, by less than 1e-3 of what is small. None leaves out nothing.
      nodes: Chebyshev nodes of the radial tables; None counts those that the widths need, with some room.

    Raises:
      ValueError: for unknown species, a negative l_max, another enhancement, a width that is not below the radius, or numbers and bases that
        are not one for each species.

    Example:
      >>> from jaxpot import SOAP, from_atoms
      >>> from jaxpot.radial import Poly3Gauss
      >>> from ase.build import bulk
      >>> density = TurboDensity(("Si",), 4.0, Poly3Gauss(n_max=4), l_max=3, sigma=0.5, sigma_angular=0.5, growth_angular=0.05)
      >>> SOAP(density)(from_atoms(bulk("Si"), cutoff=4.0)).shape
      (2, 40)

    References:
      Caro, "Optimizing many-body atomic descriptors for enhanced computational performance of machine learning based interatomic
      potentials", Phys. Rev. B 100, 024112 (2019).
    """

    species: tuple[str, ...] = static()
    radius: Leaf = positive(low=1e-3, high=1e4)
    radial: PowerBasis | tuple[PowerBasis, ...]
    l_max: int = static(most=50)
    sigma: Leaf = positive(shape="[] or [S]", low=1e-4)
    sigma_angular: Leaf = positive(shape="[] or [S]", low=1e-4)
    width: Leaf = positive(default=0.5)
    growth: Leaf = leaf(default=0.0, shape="[] or [S]")
    growth_angular: Leaf = leaf(default=0.0, shape="[] or [S]")
    exponent: Leaf = leaf(default=1.0, shape="[] or [S]")
    enhancement: int = static(default=0)
    center_weight: Leaf = leaf(default=1.0, shape="[] or [S]")
    steepness: Leaf = positive(default=4.0)
    window: OptionalLeaf = positive(default=None)
    nodes: int | None = static(default=None, most=100_000)

    def __post_init__(self):
        species_tuple(self.species, "TurboDensity")
        if not (isinstance(self.l_max, int) and self.l_max >= 0):
            raise ValueError(f"TurboDensity: l_max must be a non-negative integer, got {self.l_max!r}")
        if self.enhancement not in (0, 1, 2):
            raise ValueError(f"TurboDensity: enhancement must be 0, 1 or 2, got {self.enhancement!r}")
        if isinstance(self.radial, tuple) and len(self.radial) != len(self.species):
            raise ValueError(f"TurboDensity: expected one radial basis or {len(self.species)}, got {len(self.radial)}")
        if is_concrete(self.radius) and is_concrete(self.width) and not np.asarray(self.width) < np.asarray(self.radius):
            raise ValueError(f"TurboDensity: width {np.asarray(self.width)} Å must be below the radius {np.asarray(self.radius)} Å")
        if all(is_concrete(leaf) for leaf in (self.radius, self.sigma, self.sigma_angular, self.growth, self.growth_angular)):
            with jax.ensure_compile_time_eval():
                object.__setattr__(self, "nodes", max(self.nodes or 0, math.ceil(self._nodes_needed(room=_ROOM))))
        elif self.nodes is None:
            raise ValueError("TurboDensity: cannot be made from traced leaves; make it outside and vary its leaves with `free` or `replace`")

    @property
    def _radials(self) -> tuple[PowerBasis, ...]:
        return self.radial if isinstance(self.radial, tuple) else (self.radial,) * len(self.species)

    @property
    def n_channels(self) -> int:
        """Q, radial functions of all species."""
        return sum(basis.n_max for basis in self._radials)

    @property
    def n_max(self) -> int:
        sizes = {basis.n_max for basis in self._radials}
        if len(sizes) > 1:
            raise ValueError(f"TurboDensity: bases of one n_max are needed here, these have {sorted(sizes)}")
        return sizes.pop()

    @property
    def reach(self) -> Array:
        """The radius, shape [], in Å."""
        return jnp.asarray(self.radius)

    def _nodes_needed(self, room: float = 1.0) -> Array:
        """Chebyshev nodes that resolve the functions to 2e-13 of the largest value; measured for reach / width from 3 to 60 and l_max up to 12."""
        radial, angular = (jnp.sqrt(room * self.reach / jnp.min(jnp.asarray(sigma))) for sigma in (self.sigma, self.sigma_angular))
        return jnp.maximum(14.5 * radial, 19.2 * angular)

    def unresolved(self) -> Array:
        """Whether the leaves have moved to where the tables are no longer exact, shape []."""
        return jnp.asarray(self._nodes_needed() > self.nodes)

    def _of(self, name: str, s: int, dtype) -> Array:
        """A number of one species, shape []."""
        value = jnp.asarray(getattr(self, name), dtype)
        return value[s] if value.ndim else value

    def columns(self, r: Array) -> Array:
        """All functions of the distance r [T] that neighbours need, of one species after the other, shape [T, columns]."""
        found = [x for s in range(len(self.species)) for x in (*self._radial(s, r / self.reach), self._angular(s, r))]
        return jnp.concatenate(found, axis=1)

    def _widths(self, s: int, x: Array) -> tuple[Array, Array]:
        """σ_r of a species at x [...] and at 0, in units of the radius."""
        own = self._of("sigma", s, x.dtype) / self.reach.astype(x.dtype)
        return own + self._of("growth", s, x.dtype) * x, own

    def _radial(self, s: int, x: Array) -> tuple[Array, ...]:
        """Overlaps with the radial functions of a species [T, n_max], in as many parts as have windows of their own."""
        basis, (width, own) = self._radials[s], self._widths(s, x)
        ramp = (self.width / self.radius).astype(x.dtype)
        mixing, n = basis.mixing(own), basis.n_polynomials
        inner = overlaps(n, x, width, 0.0, 1 - ramp)
        outer = filtered_overlaps(n, x, width, 1 - ramp, self.steepness / ramp, at_the_end=self.window is None)
        parts = [einsum("qk,kn->qn", part, mixing[:n]) for part in (inner, outer)]
        if len(mixing) > n:
            parts.append(einsum("qk,kn->qn", basis.more(x, width, own), mixing[n:]))
        return tuple(parts) if self.window is not None else (sum(parts),)

    def _inside(self, s: int, x: Array, n_parts: int) -> tuple[Array, ...]:
        """Where the parts of `_radial` count, [K, 1] each."""
        if self.window is None:
            return (jnp.ones_like(x)[:, None],)
        (width, own), window = self._widths(s, x), jnp.asarray(self.window, x.dtype)
        soft = 1 - (self.width / self.radius).astype(x.dtype)
        inside = (jnp.ones_like(x), soft - x < window * width, x < window * (own + width))
        return tuple(i.astype(x.dtype)[:, None] for i in inside[:n_parts])

    def _angular(self, s: int, r: Array) -> Array:
        """4π σ_t⁻² e^(−u²) i_l(u²) of a species at distances r [T] with u = r / σ_t, times the root of the docstring, [T, l_max + 1]."""
        sigma = self._of("sigma_angular", s, r.dtype) + self._of("growth_angular", s, r.dtype) * r
        weight = 4 * np.pi * ((2 * np.arange(self.l_max + 1) + 1) / (8 * np.pi**2)) ** 0.25
        values = scaled_spherical_bessel((r / sigma) ** 2, self.l_max) * jnp.asarray(weight, r.dtype)[None, :]
        return values * ((self.radius / sigma) ** 2)[:, None]

    def _amplitude(self, s: int, x: Array) -> Array:
        """a of a species, shape [...]; zero from the radius on."""
        width, _ = self._widths(s, x)
        is_out = x >= 1
        inside = jnp.where(is_out, 0, x)
        fall = ((1 - inside) ** 2 * (1 + 2 * inside)) ** self._of("exponent", s, x.dtype)
        power = (1.0, inside + math.sqrt(2 / math.pi) * width, inside**2 + width**2 + math.sqrt(8 / math.pi) * width * inside)[self.enhancement]
        return jnp.where(is_out, 0, fall * power / width)

    def _of_species(self, columns: Array, x: Array) -> list[tuple[Array, Array]]:
        """Radial functions [K, n_max] and angular ones [K, l_max + 1] of every species at x [K], from the columns of the table there."""
        found, start = [], 0
        for s, basis in enumerate(self._radials):
            n, n_parts = basis.n_max, 1 if self.window is None else 2 + (basis.n_polynomials < basis.n_max)
            parts = [columns[:, start + i * n : start + (i + 1) * n] for i in range(n_parts)]
            start += n_parts * n
            radial = sum(part * inside for part, inside in zip(parts, self._inside(s, x, n_parts), strict=True))
            found.append((radial, columns[:, start : start + self.l_max + 1]))
            start += self.l_max + 1
        return found

    def central(self, columns: Array) -> Array:
        """What centres add to the channels of their own species with l = 0, shape [Q], from the columns of the table at 0."""
        x, added = jnp.zeros((1,), columns.dtype), []
        for s, (radial, angular) in enumerate(self._of_species(columns, x)):
            scale = self._of("center_weight", s, x.dtype) * self._amplitude(s, x)[0] * angular[0, 0] / math.sqrt(4 * math.pi)
            added.append(scale * self._radials[s].central(radial[0], self._widths(s, x)[1]))
        return jnp.concatenate(added)

    def of_neighbors(self, env: Environment, r: Array, columns: Array) -> tuple[Array, Array]:
        """The factors of neighbours at distances r [K], whose columns are these."""
        reach, channels = self.reach.astype(r.dtype), []
        for s, (radial, angular) in enumerate(self._of_species(columns, r / reach)):
            radial = radial * jnp.where(env.species == s, self._amplitude(s, r / reach), 0)[:, None]
            channels.append(radial[:, None, :] * angular[:, :, None])
        return jnp.concatenate(channels, axis=2), spherical_harmonics(env.vectors, self.l_max)

    def of_center(self, center: Array, central: Array) -> Array:
        """What the centre adds, of which `central` [Q] is what centres of every species do. Shape [Q, L]."""
        own = np.repeat(np.arange(len(self.species)), [basis.n_max for basis in self._radials])
        values = jnp.where(center == own, central, 0)
        return jnp.concatenate([values[:, None], jnp.zeros((self.n_channels, (self.l_max + 1) ** 2 - 1), central.dtype)], axis=1)

    def factors(self, env: Environment) -> tuple[Array, Array]:
        r = safe_norm(env.vectors)
        return self.of_neighbors(env, r, self.columns(r))

    def itself(self, center: Array, dtype: Any) -> Array:
        return self.of_center(center, self.central(self.columns(jnp.zeros((1,), dtype))))
