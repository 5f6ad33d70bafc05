"""The embedded-atom method: tables of an embedding energy, of densities, and of pair energies."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.potentials.base import LocalPotential
from jaxpot.potentials.pair import is_symmetric, over_pairs, pairs
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class EAM(LocalPotential):
    r"""Embedded atoms, and with densities that depend on both elements Finnis–Sinclair potentials.

    .. math:: \epsilon_i = F_{z_i}\Big(\sum_j \rho_{z_j z_i}(r_{ij}) f_c(r_{ij})\Big) + \tfrac12 \sum_j \phi_{z_i z_j}(r_{ij}) f_c(r_{ij})

    Functions are tables on even grids from 0 (F from ρ₀), interpolated as in LAMMPS: cubic in every interval, with slopes at the knots from
    five points. Beyond its last knot a function of r keeps its last value, and F goes on with its last slope; before the first knot F goes on
    with its first cubic.

    Args:
      species: chemical symbols, S of them.
      embedding: F at ρ₀, ρ₀ + Δρ, ρ₀ + 2Δρ, …, shape [S, n_ρ], in eV.
      density: ρ at 0, Δr, 2Δr, …, of the neighbour's element and the centre's, shape [S, S, n_r]; [S, 1, n_r] where any centre feels the same.
      pair: r φ(r) on that grid, shape [S, S, n_r], in eV Å.
      density_step: Δρ.
      step: Δr, in Å.
      cutoff: how ρ and φ end; `Step` in published files, whose tables end by themselves.
      first_density: ρ₀, less than 0 where there are densities that are: LAMMPS's `eam/he`.

    Raises:
      ValueError: for tables of other shapes, with less than five points or not finite, or pairs that are not symmetric.

    Example:
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> x = np.linspace(0, 5, 101)
      >>> cu = EAM(("Cu",), embedding=-np.sqrt(x[None] + 0.01), density=np.exp(-x)[None, None], pair=(x * np.exp(-2 * x))[None, None],
      ...          density_step=0.05, step=0.05, cutoff=PolynomialCutoff(4.9, width=1.0))
      >>> float(cu.reach)
      4.9

    References:
      Daw, Baskes, "Embedded-atom method: Derivation and application to impurities, surfaces, and other defects in metals",
      Phys. Rev. B 29, 6443 (1984); Finnis, Sinclair, Philos. Mag. A 50, 45 (1984).
    """

    species: tuple[str, ...] = static()
    embedding: Leaf = leaf(shape="[S, n]")
    density: Leaf = leaf(shape="[S, S, K] or [S, C, K]")
    pair: Leaf = leaf(shape="[S, S, R]")
    density_step: Leaf = positive()
    step: Leaf = positive()
    cutoff: Cutoff
    first_density: Leaf = leaf(default=0.0)

    def __post_init__(self):
        s = len(species_tuple(self.species, "EAM"))
        embedding, density, pair = (np.shape(x) for x in (self.embedding, self.density, self.pair))
        if len(embedding) != 2 or embedding[0] != s or embedding[1] < 5:
            raise ValueError(f"EAM: embedding must have shape [{s}, n] with at least five points, got {list(embedding)}")
        if len(pair) != 3 or pair[:2] != (s, s) or pair[2] < 5:
            raise ValueError(f"EAM: pair must have shape [{s}, {s}, n] with at least five points, got {list(pair)}")
        if density not in ((s, s, pair[2]), (s, 1, pair[2])):
            raise ValueError(f"EAM: density must have shape [{s}, {s}, {pair[2]}] or [{s}, 1, {pair[2]}], on the grid of pair, got {list(density)}")
        for name in ("embedding", "density", "pair"):
            if is_concrete(getattr(self, name)) and not np.all(np.isfinite(np.asarray(getattr(self, name)))):
                raise ValueError(f"EAM: {name} must be finite")
        if is_concrete(self.pair) and not is_symmetric(self.pair):
            raise ValueError("EAM: pair must be symmetric in the two species")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def of(self, envs: Environment) -> Array:
        return self.interpolated(envs, *(cubics(jnp.asarray(table)) for table in (self.embedding, self.density, self.pair)))

    def interpolated(self, envs: Environment, embedding: Array, density: Array, pair: Array) -> Array:
        """Energies [n] of n atoms, from the cubics of the tables."""
        r, center, neighbor = pairs(envs)
        s, sites = self.density.shape[:2]
        weight = self.cutoff(r)
        rho = _interpolate(density, neighbor * sites + (center if sites == s else 0), r / self.step)
        phi = _interpolate(pair, center * s + neighbor, r / self.step) / r
        rho = (over_pairs(rho * weight, envs) - self.first_density) / self.density_step
        table, last = jnp.asarray(self.embedding), self.embedding.shape[1] - 1
        beyond = jnp.where(rho > last, rho - last, 0) * (table[:, -1] - table[:, -2])[envs.center]
        return _interpolate(embedding, envs.center, rho) + beyond + 0.5 * over_pairs(phi * weight, envs)


def _interpolate(cubics: Array, row: Array, x: Array) -> Array:
    """Row [...] of cubics [..., n − 1, 4] at x [...] in units of the grid; behind the last knot the last value, before the first the first cubic."""
    n = cubics.shape[-2]
    interval = jnp.clip(jnp.floor(jax.lax.stop_gradient(x)), 0, n - 1).astype(int)
    t = x - interval
    t = jnp.where(t > 1, 1, t)
    c = cubics.reshape(-1, 4)[row * n + interval]
    return c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))


def cubics(f: Array) -> Array:
    """Coefficients of t⁰ … t³ in each of the n − 1 intervals of tables [..., n], shape [..., n − 1, 4]."""
    ends = f[..., 1:2] - f[..., :1], 0.5 * (f[..., 2:3] - f[..., :1]), 0.5 * (f[..., -1:] - f[..., -3:-2]), f[..., -1:] - f[..., -2:-1]
    inside = (f[..., :-4] - f[..., 4:] + 8 * (f[..., 3:-1] - f[..., 1:-3])) / 12
    slope = jnp.concatenate([*ends[:2], inside, *ends[2:]], axis=-1)
    rise, left, right = f[..., 1:] - f[..., :-1], slope[..., :-1], slope[..., 1:]
    return jnp.stack([f[..., :-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], axis=-1)
