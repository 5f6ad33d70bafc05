r"""Functions on the 3-sphere, and the bispectrum as an integral of three of them.

A unit quaternion q stands for an element of SU(2) with Wigner matrices U^J(q), J = 2j. A density Σ_k w_k δ(q, q_k) has the
coefficients u^J = Σ_k w_k U^J(q_k), and the function that they stand for is real and needs no matrix:

.. math:: F_J(q) = \mathrm{tr}\, u^J\, U^J(q)^\dagger = \sum_k w_k\, C^{(1)}_J(q_k \cdot q)

with the Chebyshev polynomials of the second kind, the characters of SU(2). The integral of three Wigner matrices is a product of two
Clebsch–Gordan coefficients, so the bispectrum is

.. math:: B_{J_1 J_2 J} = \sum C^{J m}_{J_1 m_1 J_2 m_2} C^{J m'}_{J_1 m_1' J_2 m_2'}\, \bar u^J_{m m'} u^{J_1}_{m_1 m_1'} u^{J_2}_{m_2 m_2'}
   = (J + 1) \int F_{J_1} F_{J_2} F_J\, \frac{d\Omega}{2\pi^2}

and an exact quadrature gives it from real matrix products alone. Neighbours enter through the addition theorem: C_J(q·q') is
Σ_lm Z_Jlm(q) Z_Jlm(q'), where Z_Jlm is a Gegenbauer polynomial in the scalar part of q times a solid harmonic of its vector part.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.linalg import einsum
from jaxpot.math.spherical import harmonic_polynomials

Array = jax.Array


class Grid(NamedTuple):
    """A quadrature, and the products of three functions that it is exact for."""

    weights: np.ndarray  # [n_points]
    tables: dict[int, np.ndarray]  # J -> Z_Jlm at the points, [(J + 1)², n_points]
    rows: tuple[int, ...]  # which of `triples` these are
    triples: tuple[tuple[int, int, int], ...]


@functools.cache
def triples(two_j_max: int) -> tuple[tuple[int, int, int], ...]:
    """(J₁, J₂, J) of every bispectrum component, J₂ ≤ J₁ ≤ J ≤ 2j_max within the triangle rule, in the order of LAMMPS."""
    pairs = ((a, b) for a in range(two_j_max + 1) for b in range(a + 1))
    return tuple((a, b, c) for a, b in pairs for c in range(a - b, min(two_j_max, a + b) + 1, 2) if c >= a)


def gegenbauer(xp: Any, x: Array, two_j_max: int) -> list[list[Array]]:
    """The polynomials G_Jl(x) with Z_Jlm = G_Jl(scalar part) · solid harmonic lm (vector part), for every l those of J = l … 2j_max.

    Proportional to the Gegenbauer polynomials of degree J − l and order l + 1.

    Args:
      xp: jax.numpy, or numpy for tables.
      x: scalar part of unit quaternions, any shape.
      two_j_max: highest J, included.
    """
    out, start = [], math.sqrt(4 * math.pi)
    for l in range(two_j_max + 1):
        start = start * (1 if l == 0 else math.sqrt(2 * l / (2 * l + 1)))
        previous, g = xp.zeros_like(x), start * xp.ones_like(x)
        out.append([g])
        for j in range(l, two_j_max):
            up = math.sqrt((j - l + 1) / (j + l + 2))  # ratio of the normalisations of J + 1 and J, and below of J and J − 1
            down = math.sqrt((j - l) / (j + l + 1))
            previous, g = g, (2 * (j + 1) / (j - l + 1) * up) * x * g - ((j + l + 1) / (j - l + 1) * up * down) * previous
            out[l].append(g)
    return out


def quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points q [n, 4] and weights [n] whose sum is exact for the mean of even polynomials up to this degree over the 3-sphere.

    Euler angles: equidistant in two, Gauss–Legendre in the third. The first component of q is its scalar part.
    """
    n = degree // 2 + 1
    x, w = np.polynomial.legendre.leggauss((n + 1) // 2)
    angles = 2 * np.pi * np.arange(n) / n
    x, first, second = (a.reshape(-1) for a in np.meshgrid(x, angles, angles, indexing="ij"))
    c, s, plus, minus = np.sqrt((1 + x) / 2), np.sqrt((1 - x) / 2), (first + second) / 2, (first - second) / 2
    points = np.stack([c * np.cos(plus), s * np.cos(minus), s * np.sin(minus), c * np.sin(plus)], axis=-1)
    return points, np.repeat(w / (2 * n * n), n * n)


@functools.cache
def grids(two_j_max: int) -> tuple[Grid, ...]:
    """All components, each with one of three quadratures: those of low degree, which are most, need few points."""
    every = triples(two_j_max)
    degrees = sorted({2 * int(np.ceil(f * two_j_max / 2)) for f in (1.5, 2.25, 3.0)})
    out = []
    for low, high in zip([-1, *degrees], degrees, strict=False):
        rows = tuple(i for i, t in enumerate(every) if low < sum(t) <= high)
        if rows:
            points, weights = quadrature(high)
            radial = gegenbauer(np, points[:, 0], two_j_max)
            solid = harmonic_polynomials(np, *points.T[1:], np.sum(points[:, 1:] ** 2, axis=-1), two_j_max)
            functions = {
                j: np.stack([radial[l][j - l] * solid[i] for l in range(j + 1) for i in range(l * l, (l + 1) ** 2)])
                for j in sorted({j for i in rows for j in every[i]})
            }
            out.append(Grid(weights, functions, rows, tuple(every[i] for i in rows)))
    return tuple(out)


def _functions(grid: Grid, coefficients: list[Array]) -> dict[int, Array]:
    """F_J at the points, [n, D, n_points]; points come last, so that they and their derivatives are products with a table on the right."""
    values = {j: einsum("ndm,mp->ndp", coefficients[j], jnp.asarray(table, coefficients[j].dtype)) for j, table in grid.tables.items()}
    # without the barrier XLA computes them anew wherever they are used
    return jax.lax.optimization_barrier(values)


def bispectrum(coefficients: list[Array]) -> Array:
    r"""All components of the bispectrum of a stack of densities, of all triples of D channels.

    .. math:: B^{\kappa\lambda\mu}_{J_1 J_2 J} = (J + 1) \int F^\kappa_{J_1} F^\lambda_{J_2} F^\mu_J\, d\Omega / 2\pi^2

    Args:
      coefficients: c_Jlm for every J up to 2j_max, shapes [n, D, (J + 1)²], flat index l² + l + m.

    Returns:
      Shape [n, D, D, D, components].

    Example:
      >>> self_only = [jnp.zeros((1, 1, (j + 1) ** 2)).at[..., 0].set(np.sqrt(j + 1)) for j in range(3)]
      >>> bispectrum(self_only).reshape(-1).round(6).tolist()  # J + 1
      [1.0, 2.0, 3.0, 3.0, 3.0]
    """
    out: dict[int, Array] = {}
    d = coefficients[0].shape[1]
    for grid in grids(len(coefficients) - 1):
        f = _functions(grid, coefficients)
        weights = jnp.asarray(grid.weights, coefficients[0].dtype)[None]
        for row, (a, b, c) in zip(grid.rows, grid.triples, strict=True):
            labels = itertools.product(range(d), repeat=3)
            out[row] = jnp.stack([jnp.sum(f[a][:, k] * f[b][:, l] * weights * f[c][:, m], axis=1) * (c + 1) for k, l, m in labels], axis=-1)
    values = jnp.stack([out[row] for row in range(len(out))], axis=-1)
    return values.reshape(-1, d, d, d, values.shape[-1])


def weighted_bispectrum(coefficients: list[Array], weights: Array) -> Array:
    """A weighted sum of all components of each density, which needs the integral of one function instead of many.

    Args:
      coefficients: as for `bispectrum`.
      weights: shape [n, D, D, D, components], or [1, D, D, D, components] for all densities.

    Returns:
      Shape [n].
    """
    total = 0.0
    channels = range(coefficients[0].shape[1])
    for grid in grids(len(coefficients) - 1):
        f = _functions(grid, coefficients)
        factors: dict[tuple[int, ...], Array] = {}  # of every pair F_J₁ F_J₂, the sum over F_J
        for (a, b, c), row in zip(grid.triples, grid.rows, strict=True):
            for k, l, m in itertools.product(channels, repeat=3):
                term = f[c][:, m] * (weights[:, k, l, m, row] * (c + 1))[:, None]
                factors[a, b, k, l] = factors[a, b, k, l] + term if (a, b, k, l) in factors else term
        integrand = sum(f[a][:, k] * f[b][:, l] * factor for (a, b, k, l), factor in factors.items())
        total = total + einsum("np,p->n", integrand, jnp.asarray(grid.weights, integrand.dtype))
    return total


@functools.cache
def slope_entries(two_j_max: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """(component, position of J in its triple) of every derivative by c_Jlm, for every J."""
    found = [(row, i, j) for grid in grids(two_j_max) for row, t in zip(grid.rows, grid.triples, strict=True) for i, j in enumerate(t)]
    return tuple(tuple((row, i) for row, i, own in found if own == j) for j in range(two_j_max + 1))


def bispectrum_slopes(coefficients: list[Array]) -> list[Array]:
    r"""Derivatives of the components by the coefficients of each of their three factors, the others held.

    .. math:: \frac{\partial B_{J_1 J_2 J}}{\partial c_{Jlm}} = (J + 1) \int F^\kappa_{J_1} F^\lambda_{J_2} Z_{Jlm}\, d\Omega / 2\pi^2

    Args:
      coefficients: as for `bispectrum`.

    Returns:
      For every J, shape [n, entries, D, D, (J + 1)²] in the order of `slope_entries`; the axes D are the channels of the other two
      factors.
    """
    two_j_max = len(coefficients) - 1
    out: list[list[Array]] = [[] for _ in coefficients]
    for grid in grids(two_j_max):
        f = _functions(grid, coefficients)
        weights = jnp.asarray(grid.weights, coefficients[0].dtype)[None, None, None]
        for j, table in grid.tables.items():
            pairs = [(t[2] + 1, *(t[k] for k in range(3) if k != i)) for t in grid.triples for i in range(3) if t[i] == j]
            products = jnp.stack([f[a][:, :, None] * f[b][:, None, :] * (weights * factor) for factor, a, b in pairs], axis=1)
            out[j].append(einsum("neklp,mp->neklm", products, jnp.asarray(table, products.dtype)))
    return [jnp.concatenate(parts, axis=1) for parts in out]
