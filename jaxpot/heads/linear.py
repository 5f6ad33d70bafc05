"""Heads linear in the features."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.heads.base import Head, LinearHead
from jaxpot.math.linalg import einsum
from jaxpot.pytree import positive, pytree, static

Array = jax.Array


@pytree
class Linear(LinearHead):
    r"""One coefficient per feature and centre species, :math:`\epsilon_i = \sum_f w_{z_i f}\, x_{if}`.

    Args:
      scale: prior standard deviation of every coefficient, in eV per unit of the feature.
      roughness: divides `scale` feature by feature, shape [F], for priors that prefer smooth functions (`ACE.smoothness`); None
        treats all alike.
      coefficients: w, shape [S · F], species slowest; None until fitted.
      covariance: C with posterior covariance of w equal to C Cᵀ, shape [S · F, P]; None unless the fit was asked for it.
      n_species: S; None until joined with a descriptor in an AtomicPotential.
      n_features: F; likewise.
    """

    scale: Array = positive(1.0)
    roughness: Array | None = positive(None)
    coefficients: Array | None = None
    covariance: Array | None = None
    n_species: int | None = static(None)
    n_features: int | None = static(None)

    def __post_init__(self):
        if self.coefficients is not None and self.n_species is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"Linear: expected coefficients [{self.n_coefficients}], got {np.shape(self.coefficients)}")

    @property
    def n_coefficients(self) -> int:
        return self.n_species * self.n_features

    def sized(self, descriptor: Descriptor) -> "Linear":
        given, needed = (self.n_species, self.n_features), (len(descriptor.species), descriptor.n_features)
        if given not in ((None, None), needed):
            raise ValueError(f"Linear was made for (species, features) = {given}, the descriptor has {needed}")
        if self.roughness is not None and np.shape(self.roughness) != (needed[1],):
            raise ValueError(f"Linear: expected one roughness per feature, shape [{needed[1]}], got {np.shape(self.roughness)}")
        return self.replace(n_species=needed[0], n_features=needed[1])

    def basis(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        return (own[:, :, None] * features[:, None, :]).reshape(features.shape[0], -1)

    def precision(self) -> Array:
        rough = jnp.ones(self.n_features) if self.roughness is None else jnp.asarray(self.roughness)
        return jnp.diag(jnp.tile((rough / self.scale) ** 2, self.n_species))


@pytree
class Embedding(Head):
    r"""Finnis–Sinclair functions of a few linear densities, as in PACE.

    .. math:: \epsilon_i = \sum_p a_p\, f(\rho_p, m_p), \qquad \rho_p = \sum_f w_{p z_i f}\, x_{if}, \qquad f(\rho, 1) = \rho

    .. math:: f(\rho, m) = \mathrm{sgn}(\rho) \left[\left(|\rho| + b\, e^{-|\rho|}\right)^m - b^m e^{-|\rho|}\right],
       \qquad b = (1/m)^{1/(m - 1)}

    which is |ρ|^m for large |ρ| and has the finite slope 1 − b + b/m at 0 (pacemaker's `FinnisSinclairShiftedScaled`). Not linear in its
    coefficients.

    Args:
      coefficients: w, shape [densities, S · F], species slowest.
      exponents: m, shape [densities], > 0.
      weights: a, shape [densities], in eV.
      n_species: S; None until joined with a descriptor in an AtomicPotential.

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    coefficients: Array
    exponents: Array = positive()
    weights: Array
    n_species: int | None = static(None)

    def sized(self, descriptor: Descriptor) -> "Embedding":
        size = len(descriptor.species) * descriptor.n_features
        shapes = tuple(np.shape(x) for x in (self.coefficients, self.exponents, self.weights))
        if len(shapes[0]) != 2 or shapes != ((shapes[0][0], size), shapes[0][:1], shapes[0][:1]):
            raise ValueError(
                f"Embedding: expected coefficients [densities, {size}], exponents and weights [densities], "
                f"got shapes {', '.join(map(str, shapes))}"
            )
        return self.replace(n_species=len(descriptor.species))

    def __call__(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        w = jnp.asarray(self.coefficients, features.dtype).reshape(-1, self.n_species, features.shape[1])
        rho = einsum("ns,psf,nf->np", own, w, features)
        return einsum("np,p->n", _shifted_power(rho, jnp.asarray(self.exponents, rho.dtype)), jnp.asarray(self.weights, rho.dtype))


def _shifted_power(rho: Array, m: Array) -> Array:
    """f of Embedding for rho [n, p] and exponents m [p]."""
    u = m - 1
    is_small = jnp.abs(u) < 1e-5
    # −log b = log m / (m − 1), with its series at m = 1, so that nothing jumps there
    ratio = jnp.where(is_small, 1 - u / 2 + u**2 / 3, jnp.log(m) / jnp.where(is_small, 1, u))
    m, b = m[None], jnp.exp(-ratio)[None]
    sign = jnp.where(rho < 0, -1, 1).astype(rho.dtype)  # not jnp.sign, whose 0 at ρ = 0 would make the slope there 0
    size, decay = sign * rho, jnp.exp(-sign * rho)
    return sign * ((size + b * decay) ** m - b**m * decay)
