"""Gaussian-type orbitals: of librascal and featomic, and of DScribe."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.leaves import OptionalLeaf
from jaxpot.math.linalg import einsum
from jaxpot.math.powers import powers
from jaxpot.radial.base import Radial, RadialByDegree, check_n_max, inverse_root, smeared
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@functools.cache
def _gto_tables(n_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths, norms and S^(−1/2) of the type-1 GTO of basis radius 1."""
    from scipy.special import gamma

    n = np.arange(n_max)
    width = np.maximum(np.sqrt(n), 1) / n_max
    norm = np.sqrt(2 / (width ** (2 * n + 3) * gamma(n + 1.5)))
    b = 1 / (2 * width[:, None] ** 2) + 1 / (2 * width[None, :] ** 2)
    half = (3 + n[:, None] + n[None, :]) / 2
    return width, norm, inverse_root(0.5 * np.outer(norm, norm) * b**-half * gamma(half))


@functools.cache
def _gto_end(n_max: int) -> float:
    """Beyond which the functions of basis radius 1 are nothing beside round-off."""
    width, norm, mixing = _gto_tables(n_max)
    x = np.linspace(0, 12, 2401)[:, None]
    sizes = (x ** np.arange(n_max) * np.exp(-(x**2) / (2 * width**2)) * norm) @ np.abs(mixing)
    return float(x[np.flatnonzero((x**2 * sizes > 1e-17 * np.max(x**2 * sizes)).any(axis=1))[-1], 0])


@pytree
class GTO(Radial):
    r"""Gaussian-type orbitals of librascal and featomic ("type 1"), the same for every l, Löwdin-orthonormalised on [0, ∞).

    .. math:: R_n = N_n\, r^n e^{-r^2/2 s_n^2}, \qquad s_n = r_b \max(\sqrt n, 1)/n_{max}, \qquad g = S^{-1/2} R

    Args:
      n_max: number of functions (featomic's `max_radial` + 1).
      radius: r_b, in Å; None takes the cutoff's radius.

    Example:
      >>> from jaxpot import CosineCutoff, Density
      >>> Density(("Si",), CosineCutoff(5.0, width=1.0), GTO(n_max=8), l_max=6, sigma=0.5).n_channels
      8

    References:
      Musil et al., "Efficient implementation of atom-density representations", J. Chem. Phys. 154, 114109 (2021).
    """

    n_max: int = static()
    radius: OptionalLeaf = positive(default=None, low=1e-3, high=1e4)

    def __post_init__(self):
        check_n_max(self)
        _gto_tables(self.n_max)

    def _scale(self, radius: Array) -> Array:
        return radius if self.radius is None else self.radius

    def __call__(self, r, radius):
        width, norm, mixing = (jnp.asarray(t, r.dtype) for t in _gto_tables(self.n_max))
        scale = self._scale(radius)
        x = (r / scale)[..., None]
        gaussians = jnp.exp(-(x**2) / (2 * width.reshape((1,) * r.ndim + (-1,)) ** 2))
        return einsum("...k,kn->...n", powers(r / scale, self.n_max) * gaussians, norm[:, None] * mixing) / scale**1.5

    def end(self, radius):
        return _gto_end(self.n_max) * self._scale(radius)


@pytree
class SolidGTO(RadialByDegree):
    r"""Gaussian-type orbitals of DScribe ("type 2"), with the solid factor r^l; their smeared integral is elementary.

    .. math:: g_{nl} = \sum_k \beta_{lkn} r^l e^{-\alpha_{kl} r^2}, \qquad
       \alpha_{kl} = -\ln(10^{-3} / a_k^l) / a_k^2, \qquad a = \mathrm{linspace}(1\,\text{Å}, r_c, n_{max}), \qquad \beta = S^{-1/2}

    Args:
      n_max: number of functions.
      radius: r_c of the formula, in Å, > 1; None takes the cutoff's radius.

    Example:
      >>> from jaxpot import Density
      >>> from jaxpot.cutoffs import Step
      >>> Density(("Si",), Step(5.0), SolidGTO(n_max=8), l_max=6, sigma=0.5).n_channels
      8

    References:
      Himanen et al., "DScribe: Library of descriptors for machine learning in materials science", Comput. Phys. Commun. 247,
      106949 (2020).
    """

    n_max: int = static()
    radius: OptionalLeaf = positive(default=None, low=1e-3, high=1e4)

    def __post_init__(self):
        check_n_max(self)

    def _exponents(self, l_max: int, radius: Array) -> Array:
        """α_kl, shape [l_max + 1, n_max], in Å⁻²."""
        scale = jnp.asarray(radius if self.radius is None else self.radius)
        a = 1 + (scale - 1) * jnp.asarray(np.linspace(0, 1, self.n_max) if self.n_max > 1 else np.zeros(1), scale.dtype)
        l = jnp.arange(l_max + 1, dtype=scale.dtype)[:, None]
        return (np.log(1e3) + l * jnp.log(a)[None, :]) / (a**2)[None, :]

    def __call__(self, r, radius, l_max):
        alpha = self._exponents(l_max, radius)
        return _combined(r, alpha, alpha, jnp.ones_like(alpha))

    def end(self, radius):
        # where (r/r_c)^l exp(−6.9 r²/r_c²) of the widest is nothing beside round-off
        return 3.0 * jnp.maximum(jnp.asarray(radius if self.radius is None else self.radius), 1.0)


@smeared.register
def _(basis: SolidGTO, r, l_max, radius, sigma):
    a, alpha = 1 / (2 * sigma**2), basis._exponents(l_max, radius)
    l = jnp.arange(l_max + 1, dtype=alpha.dtype)[:, None]
    factor = (jnp.pi / (a + alpha)) ** 1.5 * (a / (a + alpha)) ** l
    return _combined(r, alpha, a * alpha / (a + alpha), factor)


def _combined(r: Array, alpha: Array, exponent: Array, factor: Array) -> Array:
    """Σ_k β_lkn factor_lk r^l exp(−exponent_lk r²), β = S^(−1/2), shape [..., l, n]."""
    from jax.scipy.special import gamma

    degrees = jnp.arange(alpha.shape[0], dtype=alpha.dtype)
    overlap = 0.5 * gamma(degrees + 1.5)[:, None, None] * (alpha[:, :, None] + alpha[:, None, :]) ** -(degrees + 1.5)[:, None, None]
    values, vectors = jnp.linalg.eigh(overlap)
    beta = einsum("lab,lb,lcb->lac", vectors, values**-0.5, vectors)
    gaussians = jnp.exp(-exponent.reshape((1,) * r.ndim + exponent.shape) * (r**2)[..., None, None])
    return einsum("...l,...lk,lkn->...ln", powers(r, len(alpha)), gaussians, factor[:, :, None] * beta)
