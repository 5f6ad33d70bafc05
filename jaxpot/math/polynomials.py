r"""Polynomials of the distances between points that do not change when like points are exchanged.

A permutation of points permutes the distances between them. Of the monomials that it turns into one another one is leading: the one whose
exponents are largest in lexicographic order. A product of leading monomials is leading again, so every leading monomial is a product of few
that cannot be divided further, the generators. The basis has one function for each leading monomial: of a generator the mean of all monomials
it is turned into, of any other a product of two functions of lower degree, one multiplication each. Their leading monomials are different:
therefore they are linearly independent, and as many as there are invariant polynomials (Molien's series), so they span all.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.linalg import einsum

Array = jax.Array

_MOST_MONOMIALS = 4_000_000  # of one degree, which are enumerated on the host


def exchanges(labels: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """Permutations of points that generate all exchanges of points with equal labels.

    Args:
      labels: one for every point, in their order; of a string each letter is one.

    Example:
      >>> exchanges("OHH"), exchanges(("H", "Cl"))
      (((0, 2, 1),), ())
    """
    out = []
    for label in dict.fromkeys(labels):
        places = [i for i, other in enumerate(labels) if other == label]
        for a, b in pairwise(places):
            swapped = list(range(len(labels)))
            swapped[a], swapped[b] = b, a
            out.append(tuple(swapped))
    return tuple(out)


def pairs(n_points: int) -> np.ndarray:
    """The pairs of points whose distances the polynomials are of, in their order, shape [E, 2]."""
    return np.array(list(combinations(range(n_points), 2)), np.int32).reshape(-1, 2)


@functools.cache
def edge_permutations(n_points: int, symmetry: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """The group that permutations of points generate, as permutations of the pairs, shape [G, E].

    Raises:
      ValueError: for what is no permutation of the points.

    Example:
      >>> edge_permutations(3, ((1, 0, 2), (0, 2, 1))).shape
      (6, 3)
    """
    for permutation in symmetry:
        if not isinstance(permutation, tuple) or sorted(permutation) != list(range(n_points)):
            raise ValueError(f"expected permutations of {n_points} points such as {tuple(range(n_points))}, got {permutation!r}")
    index = {pair: i for i, pair in enumerate(map(tuple, pairs(n_points).tolist()))}
    generators = [tuple(index[min(p[a], p[b]), max(p[a], p[b])] for a, b in index) for p in symmetry]
    found = {tuple(range(len(index)))}
    new = list(found)
    while new:
        new = list({tuple(known[i] for i in g) for known in new for g in generators} - found)
        found.update(new)
    return np.array(sorted(found), np.int32)


def _monomials(n: int, degree: int) -> np.ndarray:
    """Exponents of all monomials of n variables, in descending lexicographic order, shape [M, n]."""
    if n == 1:
        return np.array([[degree]], np.int8)
    parts = [_monomials(n - 1, degree - k) for k in range(degree, -1, -1)]
    first = np.repeat(np.arange(degree, -1, -1, dtype=np.int8), [len(p) for p in parts])
    return np.concatenate([first[:, None], np.concatenate(parts)], axis=1)


def _leading(monomials: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Those that no permutation of the group makes larger."""
    for permutation in group:
        change = monomials - monomials[:, permutation]
        first = np.argmax(change != 0, axis=1)
        monomials = monomials[change[np.arange(len(change)), first] >= 0]
    return monomials


_Levels = tuple[tuple[np.ndarray, np.ndarray], ...]


class Invariants(NamedTuple):
    """A basis of invariant polynomials, made by `invariants`; call it to evaluate.

    Args:
      exponents: the leading monomial of every function, shape [F, E]; the first is the constant.
      highest: of the powers of a variable.
      monomials: what is multiplied to make the monomials of the generators from the powers, level by level.
      orbits: which monomials are averaged to generators, shapes [generators, monomials].
      products: what is multiplied to make all other functions from the constant and the generators, level by level.
      halves: likewise, those functions of about half the degree of which every function is a product of two.
      first: rows of the first factors, shape [L].
      pairs: the number of the function that is the product of a first factor and a row, shape [L, rows]; of none, the number of functions.
    """

    exponents: np.ndarray
    highest: int
    monomials: _Levels
    orbits: tuple[np.ndarray, ...]
    products: _Levels
    halves: _Levels
    first: np.ndarray
    pairs: np.ndarray

    def __call__(self, x: Array, factor: Array) -> Array:
        """The functions times a common factor.

        Args:
          x: variables, shape [E, ...].
          factor: the common factor, shape [...].

        Returns:
          Shape [F, ...].
        """
        return factor[None] * _multiplied(self._generators(x), self.products)

    def dot(self, x: Array, coefficients: Array) -> Array:
        """Sums of the functions with coefficients, which are many times cheaper than the functions: quadratic forms of those of half the degree.

        Args:
          x: variables, shape [E, ...].
          coefficients: shape [K, F].

        Returns:
          Shape [K, ...].
        """
        rows = _multiplied(self._generators(x), self.halves)
        forms = jnp.concatenate([coefficients, jnp.zeros_like(coefficients[:, :1])], axis=1)[:, self.pairs]
        return jnp.sum(einsum("klr,r...->kl...", forms, rows) * rows[self.first][None], axis=1)

    def _generators(self, x: Array) -> Array:
        """The constant and the generators."""
        powers = [x]
        for _ in range(self.highest - 1):
            powers.append(powers[-1] * x)
        monomials = _multiplied(jnp.concatenate(powers), self.monomials)
        return jnp.concatenate([jnp.ones_like(x[:1]), *(jnp.mean(monomials[rows], axis=1) for rows in self.orbits)])


def _multiplied(values: Array, levels: _Levels) -> Array:
    """The rows and their products. Without the barriers XLA computes a product anew wherever it is used."""
    values = jax.lax.optimization_barrier(values)
    for left, right in levels:
        values = jax.lax.optimization_barrier(jnp.concatenate([values, values[left] * values[right]]))
    return values


def _levels(wanted: Iterable[Hashable], halves: Callable, place: dict[Hashable, int]) -> _Levels:
    """Multiplications that make rows of rows that are there, as few levels of them as halving gives.

    Args:
      wanted: the rows to make.
      halves: the two rows whose product a row is.
      place: numbers of the rows that are there; those that are made are added.
    """
    depth, factors = dict.fromkeys(place, 0), {}

    def visit(row):
        if row not in depth:
            factors[row] = halves(row)
            depth[row] = 1 + max(visit(half) for half in factors[row])
        return depth[row]

    for row in wanted:
        visit(row)
    levels = []
    for level in range(1, max(depth.values()) + 1):
        made = [row for row in factors if depth[row] == level]
        levels.append(tuple(np.array([place[factors[row][side]] for row in made], np.int32) for side in (0, 1)))
        place |= {row: len(place) + i for i, row in enumerate(made)}
    return tuple(levels)


@functools.lru_cache(maxsize=None, typed=True)  # a degree of 2.0 is refused, not taken for 2
def invariants(n_points: int, symmetry: tuple[tuple[int, ...], ...], degree: int) -> Invariants:
    """All invariant polynomials of the distances between points up to a total degree.

    Args:
      n_points: N; there are E = N (N − 1) / 2 distances, in the order of `pairs`.
      symmetry: permutations of the points that generate the group; () is none. `exchanges(labels)` makes those of like points.
      degree: the highest total degree.

    Raises:
      ValueError: for fewer than two points, a degree that is not an integer ≥ 0, what is no permutation, or too many monomials.

    Example:
      >>> basis = invariants(4, exchanges("AAAA"), 6)
      >>> np.bincount(basis.exponents.sum(axis=1)).tolist()
      [1, 1, 3, 6, 11, 18, 32]
      >>> basis(jnp.ones((6, 10)), jnp.ones(10)).shape
      (72, 10)

    References:
      Braams, Bowman, "Permutationally invariant potential energy surfaces in high dimensionality", Int. Rev. Phys. Chem. 28, 577 (2009);
      Robbiano, Sweedler, "Subalgebra bases", Lecture Notes in Mathematics 1430, 61 (1990), on leading monomials.
    """
    if n_points < 2:
        raise ValueError(f"polynomials of distances need at least two points, got {n_points}")
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"the degree of a polynomial must be an integer ≥ 0, got {degree!r}")
    n = len(pairs(n_points))
    if comb(n + degree - 1, degree) > _MOST_MONOMIALS:
        raise ValueError(f"{n} distances have {comb(n + degree - 1, degree)} monomials of degree {degree}; lower the degree")
    group = edge_permutations(n_points, symmetry)
    nothing = (0,) * n
    generators: list[tuple[int, ...]] = []
    made_of: dict[tuple[int, ...], tuple[int, ...]] = {nothing: ()}  # generators
    for d in range(1, degree + 1):
        for monomial in map(tuple, _leading(_monomials(n, d), group).tolist()):
            for index, generator in enumerate(generators):
                rest = tuple(a - b for a, b in zip(monomial, generator, strict=True))
                if rest in made_of:
                    made_of[monomial] = (index, *made_of[rest])
                    break
            else:
                made_of[monomial] = (len(generators),)
                generators.append(monomial)

    orbits = [np.unique(np.array(generator)[group], axis=0).tolist() for generator in generators]
    monomials = [[tuple((power - 1) * n + e for e, power in enumerate(m) if power) for m in orbit] for orbit in orbits]  # rows of powers
    highest = max((max(generator) for generator in generators), default=1)
    row = {(i,): i for i in range(highest * n)}
    monomial_levels = _levels((m for orbit in monomials for m in orbit), lambda m: (m[: len(m) // 2], m[len(m) // 2 :]), row)
    sizes = sorted(set(map(len, monomials)))
    tables = tuple(np.array([[row[m] for m in orbit] for orbit in monomials if len(orbit) == size], np.int32) for size in sizes)
    place = {nothing: 0}
    for size in sizes:
        place |= {g: len(place) + i for i, g in enumerate(g for g, orbit in zip(generators, monomials, strict=True) if len(orbit) == size)}

    def halves(monomial):
        parts = np.array([generators[i] for i in made_of[monomial]])
        return tuple(tuple(np.sum(half, axis=0).tolist()) for half in np.array_split(parts, 2))

    rows = dict(place)
    products = _levels(made_of, halves, place)
    factors = {monomial: _halved([generators[i] for i in made_of[monomial]], nothing, degree) for monomial in place}
    half_levels = _levels(dict.fromkeys(itertools.chain.from_iterable(factors.values())), halves, rows)
    firsts = list(dict.fromkeys(first for first, _ in factors.values()))
    table = np.full((len(firsts), len(rows)), len(place), np.int32)
    for monomial, (first, second) in factors.items():
        table[firsts.index(first), rows[second]] = place[monomial]
    first_rows = np.array([rows[first] for first in firsts], np.int32)
    return Invariants(np.array(list(place), np.int32), highest, monomial_levels, tables, products, half_levels, first_rows, table)


def _halved(parts: list[tuple[int, ...]], nothing: tuple[int, ...], degree: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The product of these monomials as one of two, the second of at most about half of the degree."""
    first = second = np.array(nothing)
    for part in sorted(parts, key=sum, reverse=True):
        if not np.any(second) or np.sum(second) + sum(part) <= (degree + 1) // 2:
            second = second + part
        else:
            first = first + part
    return tuple(first.tolist()), tuple(second.tolist())
