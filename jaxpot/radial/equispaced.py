"""The radial basis of quippy: Gaussians of the density's own width."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.bessel import scaled_spherical_bessel
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import RadialBasis, check_n_max, nodes_needed, smeared
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class EquispacedGaussians(RadialBasis):
    r"""The radial basis of quippy's `soap`: Gaussians of the density's own width on a uniform grid, orthonormalised by Cholesky.

    .. math:: \phi_k = e^{-a (r - r_k)^2}, \quad a = 1/2\sigma^2, \quad
       r_k = k\,\bigl(r_c + \sigma\sqrt{20 \ln 10}\bigr)/n_{max}, \quad
       c_{nlm} = \sum_k e^{-a(r_k^2 + r^2)} i_l(2 a r_k r)\, (C^{-1} L)_{kn}\, Y_{lm}, \quad C_{jk} = \phi_j(r_k), \quad S = L L^T

    There is no factor 4π, as in quippy. The basis exists only for a smeared density.

    Args:
      n_max: number of functions.

    Example:
      >>> from jaxpot import CosineCutoff, Density
      >>> Density(("Si",), CosineCutoff(5.0, width=1.0), EquispacedGaussians(n_max=8), l_max=6, sigma=0.5).n_channels
      8

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)


@smeared.register
def _(basis: EquispacedGaussians, r, l_max, radius, sigma):
    radius = jnp.asarray(radius)
    grid = (radius + sigma * np.sqrt(20 * np.log(10.0))) * jnp.asarray(np.arange(basis.n_max) / basis.n_max, radius.dtype)
    a = 1 / (2 * sigma**2)
    gaussians = jnp.exp(-a * (grid[None, :] - r[:, None]) ** 2)
    bessel = scaled_spherical_bessel(2 * a * grid[None, :] * r[:, None], l_max)
    return einsum("qk,qkl,kn->qln", gaussians, bessel, _mixing(grid, a))


@nodes_needed.register
def _(basis: EquispacedGaussians, ratio):
    # its functions are as narrow as the Gaussians at every distance, so that far more of them count than near r = 0
    return jnp.maximum(14.5 * jnp.sqrt(ratio) - 4.0, 3.9 * ratio - 3.0)


def _mixing(r: Array, a: Array) -> Array:
    """C⁻¹ L, shape [n_max, n_max]."""
    total, difference = r[:, None] + r[None, :], r[:, None] - r[None, :]
    squares = (r**2)[:, None] + (r**2)[None, :]
    overlap = (
        jnp.exp(-a * squares) * jnp.sqrt(2.0) * a**1.5 * total
        + a * jnp.sqrt(jnp.pi) * jnp.exp(-a * difference**2 / 2) * (1 + a * total**2) * (1 + jax.scipy.special.erf(jnp.sqrt(a / 2) * total))
    ) / jnp.sqrt(128 * a**5)
    return jnp.linalg.solve(jnp.exp(-a * difference**2), jnp.linalg.cholesky(overlap))
