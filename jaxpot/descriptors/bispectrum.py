"""The bispectrum of the neighbour density on the 3-sphere: SNAP."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.cutoffs import half_cosine
from jaxpot.math.hyperspherical import bispectrum, gegenbauer_table, triples
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.spherical import by_degree, harmonic_polynomials
from jaxpot.radial.base import chebyshev
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class Bispectrum(LocalDescriptor):
    r"""Bispectrum components of SNAP.

    A neighbour at r is a point of the 3-sphere, with the angle θ₀ from the pole where the centre itself lies:

    .. math:: q = (\cos\theta_0,\ \hat{\mathbf r} \sin\theta_0), \qquad \theta_0 = \pi\, \mathrm{rfac0}\, (r - \mathrm{rmin0}) / (R_{ij} - \mathrm{rmin0}),
       \qquad R_{ij} = \mathrm{cutoff}\; (R_i + R_j)

    .. math:: u^J = w_\mathrm{self} I + \sum_j w_j f_c(r_j)\, U^J(q_j), \qquad B_{J_1 J_2 J} = \sum \bar u^J\, (C\, C\, u^{J_1} u^{J_2})

    with J = 2j, J₂ ≤ J₁ ≤ J, a cosine cutoff from rmin0 to R_ij, and w_self = 1. There are 5 components for `two_j_max` 2, 14 for 4, 30 for 6
    and 55 for 8. A mirror image has the same ones. All real numbers are leaves. `jaxpot.math.hyperspherical` says how they are evaluated.

    Args:
      species: chemical symbols of neighbours and centres.
      cutoff: factor of the sum of both radii; with the default radii the cutoff radius, in Å. LAMMPS: rcutfac.
      two_j_max: highest J, included. LAMMPS: twojmax.
      radii: R of every element, shape [S] or [], in units that make `cutoff` · (R_i + R_j) a length in Å.
      weights: w of every element as a neighbour, shape [S] or [], dimensionless.
      rfac0: fraction of π that θ₀ reaches at the cutoff, < 1.
      rmin0: distance of θ₀ = 0, in Å. Nearer than that LAMMPS jumps, here all is smooth.
      inner: centre S of an inner switch for every element, shape [S] or [], in Å; a pair has the mean of both. None is none. LAMMPS:
        switchinnerflag, sinner.
      inner_width: half its width D, likewise; neighbours nearer than S − D do not count. LAMMPS: dinner.
      switch: whether the cutoff function is applied; without it components jump at the cutoff. LAMMPS: switchflag.
      subtract_self: subtract the components of an atom without neighbours. LAMMPS: bzeroflag.
      normalize: divide by J + 1, which makes components equal under permutations of indices. LAMMPS: bnormflag.
      by_element: one density per element of the neighbours, and components of all triples of them (κ, λ, μ). LAMMPS: chemflag.
      self_everywhere: with `by_element`, whether the centre counts in the densities of all elements, instead of its own. LAMMPS: wselfallflag.

    Raises:
      ValueError: for unknown species, a two_j_max that is not an integer ≥ 0, tables of a wrong shape, half an inner switch, or rfac0 ≥ 1.

    Example:
      >>> from jaxpot import from_atoms
      >>> from ase.build import bulk
      >>> Bispectrum(("Si",), 4.9, two_j_max=4)(from_atoms(bulk("Si"), cutoff=4.9)).shape
      (2, 14)

    References:
      Bartók, Payne, Kondor, Csányi, Phys. Rev. Lett. 104, 136403 (2010); Thompson, Swiler, Trott, Foiles, Tucker, "Spectral neighbor
      analysis method for automated generation of quantum-accurate interatomic potentials", J. Comput. Phys. 285, 316 (2015); Cusentino,
      Wood, Thompson, "Explicit multielement extension of the spectral neighbor analysis potential for chemically complex systems",
      J. Phys. Chem. A 124, 5456 (2020).
    """

    species: tuple[str, ...] = static()
    cutoff: Leaf = positive(high=1e4)
    two_j_max: int = static(most=40)
    radii: Leaf = positive(default=0.5, shape="[] or [S]")
    weights: Leaf = leaf(default=1.0, shape="[] or [S]")
    rfac0: Leaf = positive(default=0.99363)
    rmin0: Leaf = leaf(default=0.0)
    inner: OptionalLeaf = positive(default=None, shape="[] or [S]")
    inner_width: OptionalLeaf = positive(default=None, shape="[] or [S]")
    switch: bool = static(default=True)
    subtract_self: bool = static(default=True)
    normalize: bool = static(default=False)
    by_element: bool = static(default=False)
    self_everywhere: bool = static(default=False)

    def __post_init__(self):
        species_tuple(self.species, "Bispectrum")
        if self.two_j_max < 0:
            raise ValueError(f"Bispectrum: two_j_max must be an integer ≥ 0, got {self.two_j_max!r}")
        if (self.inner is None) != (self.inner_width is None):
            raise ValueError("Bispectrum: an inner switch needs both inner and inner_width, in Å")
        if is_concrete(self.rfac0) and not np.asarray(self.rfac0) < 1:
            raise ValueError(f"Bispectrum: rfac0 must be < 1, got {np.asarray(self.rfac0)}; at 1 all neighbours at the cutoff meet in one point")
        if is_concrete(self.rmin0) and is_concrete(self.cutoff) and is_concrete(self.radii):
            shortest = 2 * np.min(np.asarray(self.cutoff) * np.asarray(self.radii))
            if not np.asarray(self.rmin0) < shortest:
                raise ValueError(f"Bispectrum: rmin0 must be less than every cutoff radius, got {np.asarray(self.rmin0)} Å and {shortest} Å")

    @property
    def reach(self) -> Array:
        return 2 * jnp.asarray(self.cutoff) * jnp.max(jnp.asarray(self.radii))

    @property
    def n_channels(self) -> int:
        """How many densities there are, D."""
        return len(self.species) if self.by_element else 1

    @property
    def n_features(self) -> int:
        return len(triples(self.two_j_max)) * self.n_channels**3

    def labels(self) -> tuple[tuple, ...]:
        """(J₁, J₂, J) of every feature; (κ, λ, μ, J₁, J₂, J) with `by_element`, the elements of F_J₁, F_J₂ and F_J."""
        blocks = itertools.product(self.species, repeat=3) if self.by_element else ((),)
        return tuple((*block, *t) for block in blocks for t in triples(self.two_j_max))

    def _of(self, value: Array, species: Array, dtype) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, dtype), len(self.species))[species]

    def _weight(self, r: Array, radius: Array, env: Environment) -> Array:
        """How much every neighbour counts, [K]."""
        rmin0 = jnp.asarray(self.rmin0, r.dtype)
        if self.switch:
            x = jnp.clip((r - rmin0) / (radius - rmin0), 0, 1)
            weight = jnp.where(x >= 1, 0, half_cosine(x))  # in this order NaN stays NaN
        else:
            weight = jnp.where(r < radius, 1, jnp.where(r >= radius, 0, r)).astype(r.dtype)
        if self.inner is not None:
            center, width = (
                0.5 * (self._of(x, env.species, r.dtype) + self._of(x, env.center, r.dtype)) for x in (self.inner, self.inner_width)
            )
            weight = weight * half_cosine(jnp.clip(0.5 * (1 - (r - center) / width), 0, 1))
        return weight * self._of(self.weights, env.species, r.dtype)

    def factors(self, vectors: Array, env: Environment) -> tuple[list[Array], list[Array]]:
        """What each neighbour adds to c_Jlm is the product of two factors, for every l: radial ones with the weight [K, J − l], and
        harmonics [K, m]."""
        r, t = safe_norm(vectors), self.two_j_max
        radius = jnp.asarray(self.cutoff, r.dtype) * (self._of(self.radii, env.species, r.dtype) + self._of(self.radii, env.center, r.dtype))
        rmin0 = jnp.asarray(self.rmin0, r.dtype)
        theta = jnp.asarray(self.rfac0, r.dtype) * jnp.pi * (r - rmin0) / (radius - rmin0)
        is_zero = r == 0
        scale = jnp.where(is_zero, 0, jnp.sin(theta) / jnp.where(is_zero, 1, r))
        # without the barriers XLA computes what stands before them anew for everything behind
        x, y, z, scalar, weight = jax.lax.optimization_barrier((*(vectors.T * scale[None]), jnp.cos(theta), self._weight(r, radius, env)))
        harmonics = jnp.stack(harmonic_polynomials(jnp, x, y, z, x * x + y * y + z * z, t), axis=-1)
        radial = einsum("kt,tq->kq", chebyshev(scalar, t + 1), jnp.asarray(gegenbauer_table(t), r.dtype)) * weight[:, None]
        radial = jax.lax.split(radial, tuple(t + 1 - l for l in range(t + 1)), axis=1)
        return jax.lax.optimization_barrier((radial, by_degree(harmonics, t)))

    def channels(self, env: Environment, dtype) -> Array:
        """Which channels a neighbour is in, [K, D]."""
        return jax.nn.one_hot(env.species, len(self.species), dtype=dtype) if self.by_element else jnp.ones((len(env.species), 1), dtype)

    def of_self(self, center: Array, dtype) -> Array:
        """w_self in every channel, [D]."""
        if self.by_element and not self.self_everywhere:
            return jax.nn.one_hot(center, len(self.species), dtype=dtype)
        return jnp.ones(self.n_channels, dtype)

    def by_degree(self, blocks: list[Array]) -> list[Array]:
        """From [..., J − l, m] for every l to [..., (J + 1)²] for every J."""
        return [jnp.concatenate([blocks[l][..., j - l, :] for l in range(j + 1)], axis=-1) for j in range(self.two_j_max + 1)]

    def _product(self, channels: Array, radial: Array, harmonics: Array) -> Array:
        """Σ_k of the three factors, shape [D, J − l, m]."""
        own = (channels[:, :, None] * radial[:, None, :]).reshape(len(radial), -1)
        return einsum("kq,km->qm", own, harmonics).reshape(channels.shape[1], radial.shape[1], -1)

    def coefficients(self, envs: Environment) -> list[Array]:
        """c_Jlm of a stack, [n, D, (J + 1)²] for every J."""

        def one(env):
            channels = self.channels(env, envs.vectors.dtype)
            return [self._product(channels, *factors) for factors in zip(*self.factors(env.vectors, env), strict=True)]

        itself = jax.vmap(lambda center: self.of_self(center, envs.vectors.dtype))(envs.center)[:, :, None]
        first = [np.eye(1, (j + 1) ** 2) * math.sqrt(j + 1) for j in range(self.two_j_max + 1)]
        return [c + itself * jnp.asarray(x, c.dtype)[None] for c, x in zip(self.by_degree(jax.vmap(one)(envs)), first, strict=True)]

    def environment(self, env: Environment) -> Array:
        return self.of_block(jax.tree_util.tree_map(lambda x: x[None], env))[0]

    def of_block(self, envs: Environment) -> Array:
        """Features of a stack of n atoms, shape [n, F]."""
        return self._finished(bispectrum(self.coefficients(envs)), envs.center)

    def _finished(self, values: Array, center: Array) -> Array:
        """Features [n, F] from components [n, D, D, D, components]."""
        sizes = jnp.asarray(self.sizes(), values.dtype)[None, None, None, None]
        if self.subtract_self:
            itself = jax.vmap(lambda z: self.of_self(z, values.dtype))(center)
            values = values - einsum("nk,nl,nm->nklm", itself, itself, itself)[..., None] * sizes
        if self.normalize:
            values = values / sizes
        return values.reshape(-1, self.n_features)

    def sizes(self) -> np.ndarray:
        """J + 1 of every component."""
        return np.array([t[2] + 1 for t in triples(self.two_j_max)])
