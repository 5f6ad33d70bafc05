"""The neighbour density, expanded in radial functions and spherical harmonics, and its power spectrum.

Everything that depends on one neighbour is in `Density.contribution`, so derivatives of densities with respect to all
neighbour vectors cost one small Jacobian per neighbour and never a pass over all of them.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, poison, species_tuple
from jaxpot.graph import Environment
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm, transposed_product
from jaxpot.math.spherical import by_degree, spherical_harmonics
from jaxpot.pytree import leaf, positive, pytree, set_fields, static
from jaxpot.radial.base import RadialBasis, check_form, from_table, is_rough, nodes_needed, sharp, tabulate, tail
from jaxpot.radial.tabulated import Tabulated, tabulated

Array = jax.Array

_ROOM = 1.25  # a table is made fine enough for a sigma this much smaller (or a cutoff this much larger) than given


class NeighborDensity:
    """Interface: coefficients c_qlm of what surrounds an atom, sums over neighbours of the product of two factors.

    Attributes:
      species: chemical symbols of neighbours and centres, static.
      l_max: highest degree, included, static.
      n_channels: Q, static.
      n_max: of how many radial functions a channel consists, q = channel · n_max + n, static.
      is_sharp: whether neighbours are points, static.
      reach: the largest distance at which a neighbour counts, shape [], in Å.
    """

    species: tuple[str, ...]
    l_max: int
    n_channels: int
    n_max: int
    is_sharp: bool
    reach: Array

    def at(self) -> "NeighborDensity":
        """The same with everything computed that follows the leaves alone."""
        return self

    def factors(self, env: Environment) -> tuple[Array, Array]:
        """What each neighbour adds to c_qlm is the product of two factors: channel functions with the cutoff, [K, l_max + 1, Q] or
        [K, 1, Q], and harmonics [K, L]."""
        raise NotImplementedError(f"{type(self).__name__} must define factors(env)")

    def summed(self, env: Environment) -> Array:
        """Σ_k of the products, shape [Q, L]."""
        return self._product(*self.factors(env))

    def _product(self, channels: Array, harmonics: Array) -> Array:
        """Σ_k of the two factors, shape [Q, L]."""
        if channels.shape[1] == 1:
            return transposed_product(channels[:, 0], harmonics)
        blocks = []
        for l in range(self.l_max + 1):  # one small matrix product per degree: faster than one large one over primitives
            blocks.append(transposed_product(channels[:, l], harmonics[:, l * l : (l + 1) ** 2]))
        return jnp.concatenate(blocks, axis=-1)

    def itself(self, center: Array, dtype: Any) -> Array:
        """What the centre of this species adds, shape [Q, L]."""
        return jnp.zeros((self.n_channels, (self.l_max + 1) ** 2), dtype)

    def __call__(self, env: Environment) -> Array:
        """Coefficients c of one atom, shape [Q, (l_max + 1)²]."""
        ready = self.at()
        return ready.summed(env) + ready.itself(env.center, env.vectors.dtype)

    def quadratic(self, envs: Environment, forms: Array) -> Array:
        """Σ_lm c_lm · F_l c_lm of a stack of n atoms, shape [n], with the symmetric forms F of each centre's own species, [S, l_max + 1, Q, Q]."""
        return quadratic_forms(forms, envs.center, jax.vmap(self.at())(envs))

    def factors_with_slopes(self, env: Environment) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """`factors` and their derivatives, each with a leading axis [3]: a neighbour's factors depend on its own vector only, so
        three directional derivatives give all of them."""
        directions = jnp.broadcast_to(jnp.eye(3, dtype=env.vectors.dtype)[:, None, :], (3, *env.vectors.shape))
        value, push = jax.linearize(lambda vectors: self.factors(env.replace(vectors=vectors)), env.vectors)
        return value, jax.vmap(push)(directions)

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        """Coefficients [Q, L] of one atom and their derivatives with respect to its neighbour vectors, shape [K, 3, Q, L]."""
        density = self.at()
        (channels, harmonics), (channel_slopes, harmonic_slopes) = density.factors_with_slopes(env)
        degree = np.repeat(np.arange(self.l_max + 1), 2 * np.arange(self.l_max + 1) + 1)
        degree = degree if channels.shape[1] > 1 else np.zeros_like(degree)
        slopes = channel_slopes[:, :, degree] * harmonics[None, :, :, None] + channels[None][:, :, degree] * harmonic_slopes[..., None]
        value = jnp.sum(channels[:, degree] * harmonics[:, :, None], axis=0).T
        return value + density.itself(env.center, env.vectors.dtype), jnp.transpose(slopes, (1, 0, 3, 2))


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
      table: made by `at` from the leaves above, shape [nodes, l_max + 1, n_max]; leave it out.

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
    sigma: Array | None = positive(low=1e-4, high=100)
    channels: Array | None = None
    center_weight: Array = leaf(1.0)
    center_channels: str = static("own")
    nodes: int | None = static(None, most=100_000)
    mixing: Array | None = None
    table: Array | None = None

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
        if not self._holds_center and is_concrete(self.center_weight) and np.any(np.asarray(self.center_weight) != 0):
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
        return jnp.asarray(self._weight().radius)

    @property
    def _holds_center(self) -> bool:
        """Whether the density has a value at its own centre: it is smeared, or was before it went into a table."""
        return not self.is_sharp or isinstance(self.radial, Tabulated)

    def _weight(self) -> Cutoff:
        return self.cutoff if self.sigma is None else self.cutoff.smeared(self.sigma)

    def _nodes_needed(self, room: float) -> Array:
        return nodes_needed(self.radial, room * self.reach / self.sigma)

    def _table(self) -> tuple[Array, Array]:
        """The table of the smeared functions, and whether it does not render them: the leaves have moved too far, or they are not smooth."""
        table = tabulate(self.radial, self.l_max, radius=self.cutoff.radius, sigma=self.sigma, reach=self.reach, nodes=self.nodes)
        # 1.8 √(reach/sigma) nodes fewer are exact to 1e-11 instead of 1e-13
        needed = self._nodes_needed(1.0) - 1.8 * jnp.sqrt(self.reach / self.sigma)
        return table, (needed > self.nodes) | is_rough(table)

    def unresolved(self) -> Array:
        """Whether the tabulated radial functions are not exact, shape []: sigma has become too small for the table, or they are not smooth."""
        return jnp.asarray(False) if self.is_sharp else jax.jit(lambda density: density._table()[1])(self)

    def at(self) -> "Density":
        """The same density with its radial table made from its leaves; once per call, outside loops over atoms."""
        if self.is_sharp or self.table is not None:
            return self
        return set_fields(self, table=poison(*self._table()))

    def tabulated(self, accuracy: float) -> "Density":
        """The same density with its radial functions in a table; see `jaxpot.tabulate`."""
        if isinstance(self.radial, Tabulated):
            return self
        coefficients = self._series(accuracy) if self.is_sharp else np.asarray(self.at().table, float)
        radial = tabulated(coefficients, float(self.reach), accuracy)
        return self.replace(radial=radial, cutoff=self._weight(), sigma=None, nodes=None, table=None)

    def _series(self, accuracy: float) -> np.ndarray:
        """Sharp radial functions as Chebyshev series on [0, reach], shape [nodes, l_max + 1, n_max], or [nodes, 1, n_max]."""
        for nodes in (64, 128, 256, 512, 1024):
            series = tabulate(self.radial, self.l_max, radius=self.cutoff.radius, sigma=None, reach=self.reach, nodes=nodes)
            if tail(series) < 1e-3 * accuracy:
                return np.asarray(series, float)
        raise ValueError(f"tabulate: {type(self.radial).__name__} is not smooth enough for a table of accuracy {accuracy:.1e}")

    def _radial(self, r: Array) -> Array:
        """g_nl at distances r [K], shape [K, l_max + 1, n_max], or [K, 1, n_max] if all degrees share them."""
        if self.is_sharp:
            return sharp(self.radial, r, self.l_max, jnp.asarray(self.cutoff.radius, r.dtype))
        return from_table(self.table.astype(r.dtype), r, self.reach.astype(r.dtype))

    def _channel_functions(self, species: Array, radial: Array, *, everywhere: bool = False) -> Array:
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

    def factors(self, env: Environment) -> tuple[Array, Array]:
        r = safe_norm(env.vectors)
        channels = self._channel_functions(env.species, self._radial(r)) * self._weight()(r).astype(r.dtype)[:, None, None]
        return channels, spherical_harmonics(env.vectors, self.l_max)

    def summed(self, env: Environment) -> Array:
        if not isinstance(self.radial, Tabulated):
            return self._product(*self.factors(env))
        # few primitives: the sum over neighbours is one matrix product, and radial functions are mixed after it
        r = safe_norm(env.vectors)
        primitives = self.radial.primitives(r) * self.cutoff(r).astype(r.dtype)[:, None]
        weights, mixing = self._mixing_of_primitives(env.species, r.dtype)
        primitives = (weights[:, :, None] * primitives[:, None, :]).reshape(len(r), -1)
        sums = transposed_product(spherical_harmonics(env.vectors, self.l_max), primitives)
        sums = sums.reshape(len(sums), weights.shape[1], -1)
        subscripts = "mdt,tq->mdq" if mixing.ndim == 3 else "mdt,dtq->mq"
        mixing = jnp.broadcast_to(mixing, (*mixing.shape[:-3], self.l_max + 1, *mixing.shape[-2:]))
        degrees = jax.lax.split(sums, tuple(2 * l + 1 for l in range(self.l_max + 1)))
        blocks = [einsum(subscripts, block, mixing[..., l, :, :]) for l, block in enumerate(degrees)]
        return jax.lax.optimization_barrier(jnp.concatenate(blocks).reshape(len(sums), self.n_channels)).T

    def quadratic(self, envs: Environment, forms: Array) -> Array:
        one_channel = self.mixing is None and self.n_channels == self.radial.n_max
        if not (isinstance(self.radial, Tabulated) and one_channel):
            return super().quadratic(envs, forms)
        # of one channel there are so few primitives that forms of their sums are cheaper than mixing first
        dtype = forms.dtype
        mixing = jnp.broadcast_to(jnp.asarray(self.radial.mixing, dtype), (self.l_max + 1, *self.radial.mixing.shape[1:]))
        sums = jax.vmap(self._sums_of_primitives)(envs)
        itself = jax.vmap(lambda center: self.itself(center, dtype)[:, 0])(jnp.arange(len(forms)))
        linear = einsum("tq,sqr,sr->st", mixing[0], 2 * forms[:, 0], itself)
        constant = einsum("sq,sqr,sr->s", itself, forms[:, 0], itself)
        own = jax.nn.one_hot(envs.center, len(forms), dtype=dtype)
        total = einsum("nt,st,ns->n", sums[:, 0], linear, own) + einsum("ns,s->n", own, constant)
        forms = einsum("ltq,slqr,lur->lstu", mixing, forms, mixing)
        for form, part in zip(forms, jax.lax.split(sums, tuple(2 * l + 1 for l in range(self.l_max + 1)), axis=1), strict=True):
            total = total + _quadratic_form(form, envs.center, part)
        return total

    def _sums_of_primitives(self, env: Environment) -> Array:
        """Σ_k Y_lm(k) P_t(k) of one channel, shape [L, T]."""
        r = safe_norm(env.vectors)
        weight = self.cutoff(r).astype(r.dtype)
        weight = weight if self.channels is None else weight * jnp.asarray(self.channels, r.dtype)[env.species, 0]
        return transposed_product(spherical_harmonics(env.vectors, self.l_max), self.radial.primitives(r) * weight[:, None])

    def _mixing_of_primitives(self, species: Array, dtype) -> tuple[Array, Array]:
        """Weights of neighbours in the sums over primitives, [K, D], and what mixes these into channels: [l, T, n] for every D, or [D, l, T, Q]."""
        own = jax.nn.one_hot(species, len(self.species), dtype=dtype)
        radial = jnp.asarray(self.radial.mixing, dtype)
        if self.mixing is None:
            return own if self.channels is None else einsum("ks,sd->kd", own, jnp.asarray(self.channels, dtype)), radial
        mixing = jnp.asarray(self.mixing, dtype)
        mixing = mixing[:, None] if mixing.ndim == 3 else mixing
        return own, einsum("ltn,slnq->sltq", *_broadcast(radial, mixing))

    def itself(self, center: Array, dtype: Any) -> Array:
        """The centre's own Gaussian: only l = 0 survives at r = 0. Shape [Q, L]."""
        n_lm = (self.l_max + 1) ** 2
        if not self._holds_center:
            return super().itself(center, dtype)
        radial = self._radial(jnp.zeros(1, dtype)) / math.sqrt(4 * math.pi)
        values = self._channel_functions(center[None], radial, everywhere=self.center_channels == "all")[0, 0]
        values = jnp.asarray(self.center_weight, dtype) * values
        return jnp.concatenate([values[:, None], jnp.zeros((self.n_channels, n_lm - 1), dtype)], axis=1)


def quadratic_forms(forms: Array, which: Array, coefficients: Array) -> Array:
    """`NeighborDensity.quadratic` of coefficients [n, Q, L] that are at hand, with which [n] of the forms."""
    total = jnp.zeros((len(which), len(forms)), coefficients.dtype)
    for l, c in enumerate(by_degree(coefficients, forms.shape[1] - 1)):
        total = total + einsum("nsam,nam->ns", einsum("sab,nbm->nsam", forms[:, l], c), c)
    return einsum("ns,ns->n", total, jax.nn.one_hot(which, len(forms), dtype=total.dtype))


@jax.custom_jvp
def _quadratic_form(forms: Array, which: Array, x: Array) -> Array:
    """Σ_m x_m · F x_m, shape [n], of x [n, m, a], with which [n] of the symmetric forms F [S, a, a]. Its derivative by x is at hand with it."""
    return jnp.sum(_images(forms, which, x) * x, axis=(1, 2))


@_quadratic_form.defjvp
def _quadratic_form_jvp(primals, tangents):
    (forms, which, x), (dforms, _, dx) = primals, tangents
    images = _images(forms, which, x)
    return jnp.sum(images * x, axis=(1, 2)), jnp.sum(2 * images * dx, axis=(1, 2)) + _quadratic_form(dforms, which, x)


def _images(forms: Array, which: Array, x: Array) -> Array:
    """F x_m, shape [n, m, a]."""
    if len(forms) == 1:
        return einsum("nmb,ba->nma", x, forms[0])
    return einsum("ns,nsma->nma", jax.nn.one_hot(which, len(forms), dtype=x.dtype), einsum("nmb,sba->nsma", x, forms))


def _broadcast(radial: Array, mixing: Array) -> tuple[Array, Array]:
    """[l, T, n] and [S, l, n, Q] with as many degrees as the one that has more."""
    degrees = max(radial.shape[0], mixing.shape[1])
    return jnp.broadcast_to(radial, (degrees, *radial.shape[1:])), jnp.broadcast_to(mixing, (mixing.shape[0], degrees, *mixing.shape[2:]))


def power_spectrum(coefficients: Array, l_max: int) -> Array:
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
