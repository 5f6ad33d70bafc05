"""Spherical Bessel functions that vanish at the radius."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.radial.base import RadialByDegree, chebyshev_nodes, check_n_max, from_table
from jaxpot.trees import pytree, static

Array = jax.Array


@functools.cache
def _bessel_zeros(n_max: int, l_max: int) -> np.ndarray:
    """The first n_max positive zeros z_nl of j_l, shape [n_max, l_max + 1]; zeros of j_l and j_(l+1) interlace."""
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    zeros = np.pi * np.arange(1, n_max + l_max + 1)
    out = [zeros[:n_max]]
    for l in range(1, l_max + 1):
        zeros = np.array([brentq(lambda x, l=l: spherical_jn(l, x), a, b, xtol=1e-14, rtol=8.9e-16) for a, b in zip(zeros, zeros[1:])])  # noqa: B905, RUF007
        out.append(zeros[:n_max])
    return np.stack(out, axis=1)


@functools.cache
def _bessel_table(n_max: int, l_max: int) -> np.ndarray:
    """Chebyshev coefficients [T, l_max + 1, n_max] of √2 j_l(z_nl x)/|j_(l+1)(z_nl)| on x in [0, 1], to round-off."""
    from scipy.special import spherical_jn

    z = _bessel_zeros(n_max, l_max)
    x, to_coefficients = chebyshev_nodes(int(z.max() / 2) + 28)
    l = np.arange(l_max + 1)[None, None, :]
    values = np.sqrt(2) * spherical_jn(l, z[None] * x[:, None, None]) / np.abs(spherical_jn(l[0] + 1, z))[None]
    return np.einsum("tq,qnl->tln", to_coefficients, values)


@pytree
class Bessel(RadialByDegree):
    r"""Laplacian eigenstates in the ball: spherical Bessel functions that vanish at the radius, orthonormal on [0, r_c].

    .. math:: R_{nl}(r) = \sqrt{2/r_c^3}\; j_l(z_{nl}\, r/r_c) / |j_{l+1}(z_{nl})|, \qquad -\nabla^2 R Y = (z_{nl}/r_c)^2 R Y

    The l = 0 functions are DimeNet's √(2/r_c) sin(nπr/r_c)/r.

    Args:
      n_max: number of functions for each l.

    Example:
      >>> from jaxpot import CosineCutoff, Density
      >>> Density(("Si",), CosineCutoff(5.0, width=1.0), Bessel(n_max=6), l_max=4, sigma=0.5).n_channels
      6

    References:
      Bigi, Huguenin-Dumittan, Ceriotti, Manolopoulos, "A smooth basis for atomistic machine learning", J. Chem. Phys. 157, 234101
      (2022).
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius, l_max):
        table = jnp.asarray(_bessel_table(self.n_max, l_max), r.dtype)
        return from_table(table, r, radius) / radius**1.5
