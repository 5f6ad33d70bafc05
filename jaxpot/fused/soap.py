"""SOAP with a linear head as a quadratic form of the coefficients, and its derivatives by neighbours without those of the coefficients."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.density import NeighborDensity, pair_factors, power_spectrum, product
from jaxpot.descriptors.expansion import LocalExpansion, is_local
from jaxpot.descriptors.slopes import at_the_waist, factors_with_slopes, with_slopes
from jaxpot.descriptors.soap import SOAP, scalar_square
from jaxpot.fused.density import PrimitiveDensity
from jaxpot.graph import Environment
from jaxpot.heads.linear import Linear, SharedLinear
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum, unit
from jaxpot.math.spherical import by_degree
from jaxpot.passes import fusing
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Chunked, FastPotential, LocalPotential
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class LinearSOAP(FastPotential, Chunked):
    r"""A linear function of the power spectrum as a quadratic form of the coefficients: the spectrum itself is never formed.

    .. math:: \epsilon_i = \sum_{lm} \mathbf c_{lm} \cdot F^{z_i}_l \mathbf c_{lm} \;\big/\; |\mathbf p|

    Args:
      plain: the expansion.
      forms: F, symmetric, shape [S, l_max + 1, Q, Q].
      normalize: divide by |p|.
      chunk: atoms per block.
    """

    plain: LocalExpansion
    forms: Leaf
    normalize: bool = static()
    chunk: int | None = static(default=None)

    def of(self, envs: Environment) -> Array:
        c = jax.vmap(self.plain.of)(envs)
        total = quadratic_forms(self.forms.astype(c.dtype), envs.center, c)
        if not self.normalize:
            return total
        square = jax.vmap(lambda c: scalar_square(c, self.plain.l_max))(c)
        is_zero = square == 0
        return jnp.where(is_zero, 0, total / jnp.sqrt(jnp.where(is_zero, 1, square)))


@pytree
class LinearPrimitives(FastPotential, Chunked):
    """As LinearSOAP, of a density with one channel for each of few tabulated radial functions: forms of the sums over primitives are cheaper
    than mixing first.

    Args:
      plain: the density.
      forms: of the sums of every degree, [S, T, T] each.
      linear: what multiplies the sums of degree 0 beside the centre's own, shape [S, T].
      constant: of the centre alone, shape [S].
      chunk: atoms per block.
    """

    plain: PrimitiveDensity
    forms: tuple[Array, ...]
    linear: Leaf
    constant: Leaf
    chunk: int | None = static(default=None)

    def of(self, envs: Environment) -> Array:
        sums = jax.vmap(self.plain.sums_of_primitives)(envs)
        dtype, l_max = sums.dtype, self.plain.l_max
        own = jax.nn.one_hot(envs.center, len(self.constant), dtype=dtype)
        total = einsum("nt,st,ns->n", sums[:, 0], self.linear.astype(dtype), own) + einsum("ns,s->n", own, self.constant.astype(dtype))
        for form, part in zip(self.forms, jax.lax.split(sums, tuple(2 * l + 1 for l in range(l_max + 1)), axis=1), strict=True):
            total = total + _quadratic_form(form.astype(dtype), envs.center, part)
        return total


@fusing.rule(AtomicPotential, descriptor=SOAP, head=Linear | SharedLinear)
def _linear_soap(potential: AtomicPotential) -> LocalPotential:
    soap, expansion = potential.descriptor, potential.descriptor.expansion
    if potential.head.coefficients is None or not is_local(soap):
        return potential
    forms = _forms(jnp.asarray(potential.head.by_species()), expansion.n_channels, expansion.l_max)
    of_one = isinstance(expansion, PrimitiveDensity) and expansion.plain.mixing is None and expansion.n_channels == expansion.plain.radial.n_max
    if of_one and not soap.normalize:
        return _of_primitives(expansion, forms, potential.chunk)
    return LinearSOAP(expansion, forms, soap.normalize, potential.chunk)


def _forms(coefficients: Array, q: int, l_max: int) -> Array:
    """Symmetric forms [S, l_max + 1, Q, Q] from the coefficients of features [S, F]."""
    coefficients = coefficients.reshape(len(coefficients), -1, l_max + 1) * jnp.asarray(pair_factors(q, l_max), coefficients.dtype)[None]
    pair = np.zeros((q, q), int)
    first, second = np.triu_indices(q)
    pair[first, second] = pair[second, first] = np.arange(len(first))
    forms = coefficients[:, pair] * jnp.asarray(0.5 + 0.5 * np.eye(q), coefficients.dtype)[None, :, :, None]  # [S, Q, Q, l]
    return jnp.moveaxis(forms, -1, 1)


def _of_primitives(expansion: PrimitiveDensity, forms: Array, chunk: int | None) -> LinearPrimitives:
    radial = jnp.asarray(expansion.plain.radial.mixing, forms.dtype)
    mixing = jnp.broadcast_to(radial, (expansion.l_max + 1, *radial.shape[1:]))
    itself = jax.vmap(lambda center: expansion.itself(center, forms.dtype)[:, 0])(jnp.arange(len(forms)))
    linear = einsum("tq,sqr,sr->st", mixing[0], 2 * forms[:, 0], itself)
    constant = einsum("sq,sqr,sr->s", itself, forms[:, 0], itself)
    return LinearPrimitives(expansion, tuple(einsum("ltq,slqr,lur->lstu", mixing, forms, mixing)), linear, constant, chunk)


def quadratic_forms(forms: Array, which: Array, coefficients: Array) -> Array:
    """Σ_lm c_lm · F_l c_lm of coefficients [n, Q, L], shape [n], with which [n] of the forms [S, l_max + 1, Q, Q]."""
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


@with_slopes.register
def _by_product_rule(soap: SOAP, env: Environment) -> tuple[Array, Array]:
    r"""Of sums over neighbours whose terms are products a_ql(r) Y_lm.

    .. math:: \sum_m c_{qlm}\, \partial_k c_{q'lm} = \partial_k a_{q'l} \sum_m c_{qlm} Y_{lm}(k) + a_{q'l} \sum_m c_{qlm}\, \partial_k Y_{lm}(k)

    so the derivatives of the coefficients are never formed.
    """
    density, l_max = soap.expansion, soap.expansion.l_max
    if not isinstance(density, NeighborDensity):
        return at_the_waist(soap, env)
    (channels, harmonics), (channel_slopes, harmonic_slopes) = factors_with_slopes(density, env)
    blocks = [slice(l * l, (l + 1) ** 2) for l in range(l_max + 1)]
    c = product(channels, harmonics) + density.itself(env.center, env.vectors.dtype)
    # of every q and l: Σ_m c Y [1, K, Q, l] and Σ_m c ∂Y [3, K, Q, l]
    along = jnp.stack([einsum("qm,km->kq", c[:, m], harmonics[:, m]) for m in blocks], axis=-1)[None]
    along_slopes = jnp.stack([einsum("qm,xkm->xkq", c[:, m], harmonic_slopes[:, :, m]) for m in blocks], axis=-1)
    radial, radial_slopes = jnp.swapaxes(channels, -1, -2)[None], jnp.swapaxes(channel_slopes, -1, -2)  # [1 or 3, K, Q, l]
    rows = []
    for q in range(c.shape[0]):  # slices, since the transpose of a gather is a scatter
        one, rest = (..., slice(q, q + 1), slice(None)), (..., slice(q, None), slice(None))
        of_one = radial_slopes[one] * along[rest] + radial[one] * along_slopes[rest]
        rows.append(of_one + radial_slopes[rest] * along[one] + radial[rest] * along_slopes[one])
    factor = jnp.asarray(pair_factors(c.shape[0], l_max), c.dtype)
    slopes = jnp.concatenate(rows, axis=-2) * factor[None, None]
    p, slopes = power_spectrum(c, l_max), slopes.reshape(*slopes.shape[:2], -1)  # [F] and [3, K, F]
    if soap.normalize:
        p, push = jax.linearize(unit, p)
        slopes = jax.vmap(jax.vmap(push))(slopes)
    return p, jnp.transpose(slopes, (2, 1, 0))
