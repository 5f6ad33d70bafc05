"""The neighbour density, expanded in radial functions and spherical harmonics, and its power spectrum.

What one neighbour adds is a product of factors that depend on its own vector alone, so derivatives of densities with respect to all
neighbour vectors cost one small Jacobian per neighbour and never a pass over all of them (`descriptors.slopes`).
"""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.expansion import LocalExpansion
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm, transposed_product
from jaxpot.math.spherical import by_degree, spherical_harmonics
from jaxpot.radial.base import RadialBasis, check_form, is_rough, nodes_needed, sharp, smeared, tabulate
from jaxpot.radial.tabulated import Tabulated
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_ROOM = 1.25  # a table is made fine enough for a sigma this much smaller (or a cutoff this much larger) than given


class NeighborDensity(LocalExpansion):
    """Interface: sums over neighbours of the product of two factors. A new one writes `factors` instead of `of`."""

    @abc.abstractmethod
    def factors(self, env: Environment) -> tuple[Array, Array]:
        """What each neighbour adds to c_qlm is the product of two factors: channel functions with the cutoff, [K, l_max + 1, Q] or
        [K, 1, Q], and harmonics [K, L]."""

    def itself(self, center: Array, dtype: Any) -> Array:
        """What the centre of this species adds, shape [Q, L], or [] where it is nothing, as it is unless a class knows better."""
        return jnp.zeros((), dtype)

    def of(self, env: Environment) -> Array:
        return product(*self.factors(env)) + self.itself(env.center, env.vectors.dtype)


def product(channels: Array, harmonics: Array) -> Array:
    """Σ_k of the two factors of a neighbour density, shape [Q, L]."""
    if channels.shape[1] == 1:
        return transposed_product(channels[:, 0], harmonics)
    blocks = []
    for l in range(channels.shape[1]):  # one small matrix product per degree: faster than one large one over primitives
        blocks.append(transposed_product(channels[:, l], harmonics[:, l * l : (l + 1) ** 2]))
    return jnp.concatenate(blocks, axis=-1)


@pytree
class Density(NeighborDensity):
    r"""Coefficients of the neighbour density in an orthonormal basis.

    .. math:: \rho_d(\mathbf r) = \sum_j W_{z_j d}\, f_c(r_j)\, G(\mathbf r - \mathbf r_j)
       = \sum_{nlm} c_{dnlm}\, g_{nl}(r)\, Y_{lm}(\hat{\mathbf r}), \qquad G = e^{-r^2/2\sigma^2} \text{ or } \delta

    The coefficients, with q = channel · n_max + n, are in Å^(3/2) for the Gaussian density, whose G is not normalised, and in Å^(−3/2) for
    the sharp one. The centre adds `center_weight` Gaussians at r = 0. `sigma`, the cutoff's leaves, the basis radius, `channels` and
    `center_weight` are differentiable.

    Args:
      species: chemical symbols of neighbours and centres.
      cutoff: a cutoff function; multiplies the whole contribution of a neighbour.
      radial: a radial basis.
      l_max: highest degree, included.
      sigma: width of the Gaussians, in Å; None is the sharp density (ACE's A-basis), whose `center_weight` must be 0.
      channels: W, shape [S, D], mixes S species into D channels; None is one channel per species (one-hot).
      center_weight: weight of the centre's own Gaussian, dimensionless.
      center_channels: "own", the channels of the centre's species, or "all", every channel with weight 1 (QUIP's
        `central_reference_all_species`).
      nodes: Chebyshev nodes of the tables of a smeared density; None counts those that sigma needs, with some room. Where optimisation
        later asks for more (a much smaller sigma), results are NaN and `diagnose` says so.
      mixing: trainable radial functions, instead of channels: shape [S, n_max, D] or, one set per degree, [S, l_max + 1, n_max, D].
        Channel k of the density is then Σ_n mixing[z_j, n, k] g_n(r_j), and Q = D, whatever the number of elements.

    Raises:
      ValueError: for unknown species, a negative l_max, channels or mixing of a wrong shape, or a sharp density with a centre.

    Example:
      >>> from jaxpot.math.cutoffs import CosineCutoff
      >>> from jaxpot.radial.gto import GTO
      >>> density = Density(("Si",), CosineCutoff(5.0, width=1.0), GTO(n_max=8), l_max=6, sigma=0.5)
      >>> density.n_channels
      8

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    radial: RadialBasis
    l_max: int = static(most=50)
    sigma: OptionalLeaf = positive(low=1e-4, high=100)
    channels: OptionalLeaf = None
    center_weight: Leaf = leaf(default=1.0)
    center_channels: str = static(default="own")
    nodes: int | None = static(default=None, most=100_000)
    mixing: OptionalLeaf = None

    def __post_init__(self):
        species_tuple(self.species, "Density")
        if not (isinstance(self.l_max, int) and self.l_max >= 0):
            raise ValueError(f"Density: l_max must be a non-negative integer, got {self.l_max!r}")
        if self.center_channels not in ("own", "all"):
            raise ValueError(f'Density: center_channels must be "own" or "all", got {self.center_channels!r}')
        if self.channels is not None and (np.ndim(self.channels) != 2 or np.shape(self.channels)[0] != len(self.species)):
            raise ValueError(f"Density: channels must have shape [{len(self.species)}, D], got {np.shape(self.channels)}")
        if self.mixing is not None:
            if self.channels is not None or self.center_channels == "all":
                raise ValueError('Density: mixing already says what each species contributes; leave out channels and center_channels="all"')
            shape, (s, n) = np.shape(self.mixing), (len(self.species), self.radial.n_max)
            if shape[:-1] not in ((s, n), (s, self.l_max + 1, n)):
                raise ValueError(f"Density: mixing must have shape [{s}, {n}, D] or [{s}, {self.l_max + 1}, {n}, D], got {shape}")
        check_form(self.radial, self.is_sharp)
        if not self.holds_center and is_concrete(self.center_weight) and np.any(np.asarray(self.center_weight) != 0):
            raise ValueError("Density: a sharp density (sigma=None) cannot hold its own centre; write center_weight=0.0")
        if self.is_sharp:
            return
        if all(is_concrete(leaf) for leaf in jax.tree_util.tree_leaves((self.cutoff, self.sigma))):
            with jax.ensure_compile_time_eval():
                object.__setattr__(self, "nodes", max(self.nodes or 0, math.ceil(self._nodes_needed(_ROOM))))
        elif self.nodes is None:
            raise ValueError("Density: cannot be made from traced leaves; make it outside and vary its leaves with `free` or `replace`")

    @property
    def n_channels(self) -> int:
        """Q, species channels times radial functions."""
        if self.mixing is not None:
            return self.mixing.shape[-1]
        return (len(self.species) if self.channels is None else self.channels.shape[1]) * self.radial.n_max

    @property
    def n_max(self) -> int:
        return self.n_channels if self.mixing is not None else self.radial.n_max

    @property
    def is_sharp(self) -> bool:
        return self.sigma is None

    @property
    def reach(self) -> Array:
        """The largest distance at which a neighbour counts, shape [], in Å."""
        return jnp.asarray(self.weight().radius)

    def weight(self) -> Cutoff:
        """What multiplies the whole contribution of a neighbour: the cutoff, of a neighbour as wide as it is."""
        return self.cutoff if self.sigma is None else self.cutoff.smeared(self.sigma)

    def _nodes_needed(self, room: float) -> Array:
        return nodes_needed(self.radial, room * self.reach / self.sigma)

    def table(self) -> tuple[Array, Array]:
        """The table of the smeared functions, and whether it does not render them: the leaves have moved too far, or they are not smooth."""
        table = tabulate(self.radial, self.l_max, radius=self.cutoff.radius, sigma=self.sigma, reach=self.reach, nodes=self.nodes)
        table = table.astype(self.reach.dtype)  # whose digits say what is smooth
        # 1.8 √(reach/sigma) nodes fewer are exact to 1e-11 instead of 1e-13
        needed = self._nodes_needed(1.0) - 1.8 * jnp.sqrt(self.reach / self.sigma)
        return table, (needed > self.nodes) | is_rough(table)

    def unresolved(self) -> Array:
        """Whether the tabulated radial functions are not exact, shape []: sigma has become too small for the table, or they are not smooth."""
        return jnp.asarray(False) if self.is_sharp else jax.jit(lambda density: density.table()[1])(self)

    def radial_functions(self, r: Array) -> Array:
        """g_nl at distances r [K], shape [K, l_max + 1, n_max], or [K, 1, n_max] if all degrees share them."""
        radius = jnp.asarray(self.cutoff.radius, r.dtype)
        if self.is_sharp:
            return sharp(self.radial, r, self.l_max, radius)
        return smeared(self.radial, r, self.l_max, radius, jnp.asarray(self.sigma, r.dtype))

    def channel_functions(self, species: Array, radial: Array, *, everywhere: bool = False) -> Array:
        """What neighbours of these species [K] with these radial functions [K, l, n] add to the channels, shape [K, l, Q]."""
        if self.mixing is not None:
            mixing = jnp.asarray(self.mixing)[species].astype(radial.dtype)
            if mixing.ndim == 3:
                return einsum("kln,knq->klq", radial, mixing)
            return einsum("kln,klnq->klq", jnp.broadcast_to(radial, mixing.shape[:-1]), mixing)
        if self.channels is None:
            weights = jax.nn.one_hot(species, len(self.species), dtype=radial.dtype)
        else:
            weights = jnp.asarray(self.channels)[species].astype(radial.dtype)
        weights = jnp.ones_like(weights) if everywhere else weights
        return (weights[:, None, :, None] * radial[:, :, None, :]).reshape(*radial.shape[:2], -1)

    def of_neighbors(self, env: Environment, r: Array, radial: Array) -> tuple[Array, Array]:
        """The factors of neighbours at distances r [K] with these radial functions [K, l, n]."""
        channels = self.channel_functions(env.species, radial) * self.weight()(r).astype(r.dtype)[:, None, None]
        return channels, spherical_harmonics(env.vectors, self.l_max)

    def of_center(self, center: Array, radial: Array) -> Array:
        """What the centre adds, whose radial functions at r = 0 are [1, l, n]: only l = 0 survives there. Shape [Q, L]."""
        radial = radial / math.sqrt(4 * math.pi)
        values = self.channel_functions(center[None], radial, everywhere=self.center_channels == "all")[0, 0]
        values = jnp.asarray(self.center_weight, radial.dtype) * values
        return jnp.concatenate([values[:, None], jnp.zeros((self.n_channels, (self.l_max + 1) ** 2 - 1), radial.dtype)], axis=1)

    @property
    def holds_center(self) -> bool:
        """Whether the density has a value at its own centre: it is smeared, or was before it went into a table."""
        return not self.is_sharp or isinstance(self.radial, Tabulated)

    def factors(self, env: Environment) -> tuple[Array, Array]:
        r = safe_norm(env.vectors)
        return self.of_neighbors(env, r, self.radial_functions(r))

    def itself(self, center: Array, dtype: Any) -> Array:
        return self.of_center(center, self.radial_functions(jnp.zeros(1, dtype))) if self.holds_center else super().itself(center, dtype)


def power_spectrum(coefficients: jax.typing.ArrayLike, l_max: int) -> Array:
    r"""Rotation invariants of second order: the SOAP power spectrum.

    .. math:: p_{qq'l} = \sqrt{\frac{8\pi^2}{2l+1}} \sum_m c_{qlm}\, c_{q'lm}

    Only q ≤ q' is kept; off-diagonal entries carry √2, so the dot product of two spectra equals the sum over all pairs.

    Args:
      coefficients: density coefficients c_{qlm}, shape [Q, L] with L = (l_max + 1)².
      l_max: highest degree, included.

    Returns:
      The spectrum, shape [(l_max + 1) Q (Q + 1) / 2], in the square of the coefficients' unit; the pair index varies slower
      than l.

    Raises:
      ValueError: if the last axis is not (l_max + 1)².

    Example:
      >>> power_spectrum(jnp.ones((2, 4)), l_max=1).shape
      (6,)

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016).
    """
    q, n_lm = coefficients.shape
    if n_lm != (l_max + 1) ** 2:
        raise ValueError(f"expected coefficients [Q, {(l_max + 1) ** 2}] for l_max = {l_max}, got {coefficients.shape}")
    products = [einsum("am,bm->ab", c, c) for c in by_degree(coefficients, l_max)]
    upper = [jnp.concatenate([product[a, a:] for a in range(q)]) for product in products]  # slices, since the transpose of a gather is a scatter
    return (jnp.stack(upper, axis=-1) * jnp.asarray(pair_factors(q, l_max), coefficients.dtype)).reshape(-1)


def pair_factors(q: int, l_max: int) -> np.ndarray:
    """√(8π²/(2l+1)), times √2 off the diagonal, of every pair q ≤ q' and degree, shape [Q (Q + 1) / 2, l_max + 1]."""
    first, second = np.triu_indices(q)
    return np.where(first == second, 1.0, np.sqrt(2.0))[:, None] * np.sqrt(8 * np.pi**2 / (2 * np.arange(l_max + 1) + 1))
