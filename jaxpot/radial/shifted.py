"""Monomials as radial functions: of the distance to the cutoff, in which SOAP was first written down, and of the distance itself."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.leaves import OptionalLeaf
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import Radial, RadialByDegree, check_n_max, inverse_root
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@functools.cache
def _orthonormal(n_max: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangle of (1 − x)^(k+2) in orthonormal polynomials with the weight x² on [0, 1], and its inverse; in fractions, so that both are exact."""
    rows, inverse, squares = [], [], []  # Gram-Schmidt: monomials in orthogonal polynomials, these in monomials, and their squares
    overlap = [[Fraction(2, (5 + t) * (6 + t) * (7 + t)) for t in range(k + 1, k + 1 + n_max)] for k in range(1, n_max + 1)]
    for k in range(n_max):
        row = [sum(c * overlap[i][k] for i, c in enumerate(q)) / square for q, square in zip(inverse, squares, strict=True)]
        new = [-sum(a * q[i] for a, q in zip(row, inverse, strict=True) if i < len(q)) for i in range(k)] + [Fraction(1)]
        rows.append([*row, Fraction(1)])
        inverse.append(new)
        squares.append(sum(c * overlap[i][k] for i, c in enumerate(new)))
    norm = np.sqrt(np.array(squares, float))
    triangle, inverse = (np.array([[float(c) for c in row] + [0.0] * (n_max - len(row)) for row in matrix]) for matrix in (rows, inverse))
    return triangle * norm, inverse / norm[:, None]


@pytree
class ShiftedMonomials(Radial):
    r"""Powers of the distance to the end of the basis, Löwdin-orthonormalised: the same for every l, and DScribe's `rbf="polynomial"`.

    .. math:: \phi_k = (r_c - r)^{k+2}, \quad k = 1 \dots n_{max}, \qquad g = S^{-1/2} \phi, \qquad
       S_{km} = \frac{2\, r_c^{7+k+m}}{(5+k+m)(6+k+m)(7+k+m)}

    They end at r_c with two continuous derivatives. They are nearly dependent: in float32 more than four of them are NaN, unless `tabulate`
    has put them in a table.

    Args:
      n_max: number of functions, at most 12.
      radius: r_c, in Å; None takes the cutoff's radius.

    Raises:
      ValueError: for no functions, or more than are independent to round-off.

    Example:
      >>> ShiftedMonomials(2)(jnp.array([0.0, 2.0, 4.0]), 4.0).shape
      (3, 2)

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    n_max: int = static()
    radius: OptionalLeaf = positive(default=None)

    def __post_init__(self):
        check_n_max(self)
        if self.n_max > 12:
            raise ValueError(f"ShiftedMonomials: more than 12 functions are linearly dependent to round-off, got n_max={self.n_max}; use a smaller n_max")

    def end(self, radius: Array) -> Array:
        return jnp.asarray(radius if self.radius is None else self.radius)

    def __call__(self, r, radius):
        end = self.end(radius).astype(r.dtype)
        k, (triangle, inverse) = np.arange(1, self.n_max + 1), _orthonormal(self.n_max)
        x = jnp.maximum(1 - r / end, 0)
        orthonormal = einsum("...k,jk->...j", jnp.stack([x ** int(n) for n in k + 2], axis=-1), jnp.asarray(inverse, r.dtype)) / end**1.5
        # with S = A Aᵀ the mixing S^(−1/2) A is the orthogonal factor of A, whose condition is the root of that of S
        factor = end ** jnp.asarray(k - 1, r.dtype)[:, None] * jnp.asarray(triangle, r.dtype)
        left, values, right = jnp.linalg.svd(factor)
        singular = values[-1] < 100 * jnp.finfo(r.dtype).eps * values[0]
        return poison(einsum("...j,na,aj->...n", orthonormal, left, right), singular)


@functools.cache
def _monomial_mixing(n_max: int, l_max: int) -> np.ndarray:
    """Norms times S^(−1/2) of the monomials on [0, 1], shape [l_max + 1, n_max, n_max]."""
    power = np.arange(l_max + 1)[:, None] + 2 * np.arange(n_max)
    norm = np.sqrt(2 * power + 3)
    overlap = norm[:, :, None] * norm[:, None, :] / (power[:, :, None] + power[:, None, :] + 3)
    return np.stack([n[:, None] * inverse_root(s) for n, s in zip(norm, overlap, strict=True)])


@pytree
class Monomials(RadialByDegree):
    r"""Powers of the distance that are smooth at the origin, Löwdin-orthonormalised on [0, r_c]: featomic's `Monomials`.

    .. math:: R_{nl} = r^{l + 2n} \Big/ \sqrt{\textstyle\int_0^{r_c} r^{2l + 4n + 2} dr}, \quad n = 0 \dots n_{max} - 1, \qquad g = S^{-1/2} R

    Args:
      n_max: number of functions for each l, at most 6.
      radius: r_c, in Å; None takes the cutoff's radius.

    Raises:
      ValueError: for no functions, or more than are independent to round-off.

    Example:
      >>> Monomials(2)(jnp.array([0.0, 2.0, 4.0]), 4.0, 3).shape
      (3, 4, 2)

    References:
      Musil et al., "Efficient implementation of atom-density representations", J. Chem. Phys. 154, 114109 (2021), for radial bases of densities.
    """

    n_max: int = static()
    radius: OptionalLeaf = positive(default=None)

    def __post_init__(self):
        check_n_max(self)
        if self.n_max > 6:
            raise ValueError(f"Monomials: more than 6 functions are linearly dependent to round-off, got n_max={self.n_max}; use a smaller n_max")

    def end(self, radius: Array) -> Array:
        return jnp.asarray(radius if self.radius is None else self.radius)

    def __call__(self, r, radius, l_max):
        end = self.end(radius).astype(r.dtype)
        x = jnp.clip(r / end, 0, 1)
        powers = jnp.stack([jnp.stack([x ** int(l + 2 * n) for n in range(self.n_max)], axis=-1) for l in range(l_max + 1)], axis=-2)
        return einsum("...lk,lkn->...ln", powers, jnp.asarray(_monomial_mixing(self.n_max, l_max), r.dtype)) / end**1.5
