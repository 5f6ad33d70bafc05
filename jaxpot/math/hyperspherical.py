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


@functools.cache
def gegenbauer_table(two_j_max: int) -> np.ndarray:
    """Coefficients of all of `gegenbauer` in Chebyshev polynomials, shape [2j_max + 1, Σ_l (2j_max + 1 − l)], l slowest."""
    nodes = np.polynomial.chebyshev.chebpts1(two_j_max + 1)
    values = np.stack([g for of_l in gegenbauer(np, nodes, two_j_max) for g in of_l], axis=1)
    return np.linalg.solve(np.polynomial.chebyshev.chebvander(nodes, two_j_max), values)


def quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points q [n, 4] and weights [n] whose sum is exact for the mean of even polynomials up to this degree over the 3-sphere.

    The first component of q is its scalar part.
    """
    product, orbits = _product_rule(degree), _of_icosahedral_orbits(degree)
    return product if orbits is None or len(product[1]) <= len(orbits[1]) else orbits


def _product_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Euler angles: equidistant in two, Gauss–Legendre in the third."""
    n = degree // 2 + 1
    x, w = np.polynomial.legendre.leggauss((n + 1) // 2)
    angles = 2 * np.pi * np.arange(n) / n
    x, first, second = (a.reshape(-1) for a in np.meshgrid(x, angles, angles, indexing="ij"))
    c, s, plus, minus = np.sqrt((1 + x) / 2), np.sqrt((1 - x) / 2), (first + second) / 2, (first - second) / 2
    points = np.stack([c * np.cos(plus), s * np.cos(minus), s * np.sin(minus), c * np.sin(plus)], axis=-1)
    return points, np.repeat(w / (2 * n * n), n * n)


@functools.cache
def _icosahedral_orbits() -> tuple[np.ndarray, ...]:
    """Half of the vertices, cell centres and edge centres of the 600-cell, one of every antipodal pair: 60, 300 and 360 points."""
    golden = (1 + math.sqrt(5)) / 2
    even = [p for p in itertools.permutations(range(4)) if sum(p[i] > p[j] for i in range(4) for j in range(i, 4)) % 2 == 0]
    signs = np.array(list(itertools.product((1, -1), repeat=4)))
    odd_ones = np.unique(np.concatenate([(signs * (golden, 1, 1 / golden, 0))[:, p] for p in even]), axis=0) / 2
    vertices = np.concatenate([np.eye(4), -np.eye(4), signs / 2, odd_ones])
    near = np.abs(vertices @ vertices.T - golden / 2) < 1e-9
    edges = np.argwhere(np.triu(near))
    cells = [(a, b, c, d) for a, b in edges for c, d in itertools.combinations(np.flatnonzero(near[a] & near[b]), 2) if near[c, d]]
    orbits = []
    for corners in (np.arange(120)[:, None], np.array(cells), edges):
        points = vertices[corners].sum(axis=1)
        points = points[np.unique(np.round(points, 6), axis=0, return_index=True)[1]]
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        first = points[np.arange(len(points)), np.argmax(np.abs(points) > 1e-9, axis=1)]
        orbits.append(points[first > 0])
    return tuple(orbits)


def _of_icosahedral_orbits(degree: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Orbits of the rotations of the 600-cell. They integrate all even polynomials but its invariants, of which there is one of each of the
    degrees 12, 20 and 24, so each orbit more makes one more exact."""
    invariants = [j for j in (12, 20, 24) if j <= degree]
    orbits = _icosahedral_orbits()[: len(invariants) + 1]
    if degree >= 30 or len(orbits) <= len(invariants):
        return None
    anywhere = np.array([0.5, 0.1, -0.7, 0.3]) / np.linalg.norm([0.5, 0.1, -0.7, 0.3])
    angles = [np.arccos(np.clip(orbit @ anywhere, -1, 1)) for orbit in orbits]
    means = np.array([[np.mean(np.sin((j + 1) * a) / np.sin(a)) for a in angles] for j in (0, *invariants)])
    weights = np.linalg.solve(means, np.eye(len(orbits))[0])
    return np.concatenate(orbits), np.concatenate([np.full(len(orbit), w / len(orbit)) for orbit, w in zip(orbits, weights, strict=True)])


@functools.cache
def grids(two_j_max: int) -> tuple[Grid, ...]:
    """All components, each with one of up to four quadratures: those of low degree, which are most, need few points."""
    every, highest = triples(two_j_max), 3 * two_j_max // 2 * 2  # degrees of a triple have an even sum
    rules = {degree: quadrature(degree) for degree in range(0, highest + 1, 2)}

    def parts(degrees):
        """(degree, rows, degrees J) of the quadratures with these highest degrees."""
        for low, high in zip((-1, *degrees), degrees, strict=False):
            rows = tuple(i for i, t in enumerate(every) if low < sum(t) <= high)
            yield high, rows, sorted({j for i in rows for j in every[i]})

    def cost(degrees):  # matrix products, products at the points, which are slower, and what any quadrature costs
        return sum(len(rules[high][1]) * (sum((j + 1) ** 2 for j in js) + 4 * len(rows)) + 10_000 for high, rows, js in parts(degrees))

    lower = [degree for degree in rules if degree < highest]
    choices = [(*chosen, highest) for n in range(4) for chosen in itertools.combinations(lower, n)]
    out = []
    for high, rows, js in parts(min(choices, key=cost)):
        if rows:
            points, weights = rules[high]
            radial = gegenbauer(np, points[:, 0], two_j_max)
            solid = harmonic_polynomials(np, *points.T[1:], np.sum(points[:, 1:] ** 2, axis=-1), two_j_max)
            functions = {j: np.stack([radial[l][j - l] * solid[i] for l in range(j + 1) for i in range(l * l, (l + 1) ** 2)]) for j in js}
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
