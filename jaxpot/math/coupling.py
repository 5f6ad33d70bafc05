r"""Clebsch–Gordan coefficients of the real harmonics, and the generalised couplings of any number of them.

All phases of the library are fixed here. Products of ν expansion coefficients are coupled one factor after the other; of all
coupling paths a linearly independent set is kept, in the order of the paths, so no choice depends on round-off.
"""

import functools
import hashlib
import itertools
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import factorial, prod, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FORMAT = 1  # of the files in the cache; to be raised with every change of a phase or of an order
_ON_DISK = 4  # orders from which reading a table is faster than building it
_DEPENDENT = 1e-8  # squared norm of what is left of a path: zero to round-off or of order one


def _complex(a: int, b: int, c: int, d: int, e: int, f: int) -> float:
    """<j1 m1 j2 m2 | J M> for 2j1, 2m1, 2j2, 2m2, 2J, 2M: Racah's sum in exact fractions, one root at the end."""
    if b + d != f or not (abs(a - c) <= e <= a + c) or abs(b) > a or abs(d) > c or abs(f) > e or (a + c + e) % 2 or (a + b) % 2 or (c + d) % 2:
        return 0.0
    x, y, z, w, v = (a + c - e) // 2, (a - b) // 2, (c + d) // 2, (e - c + b) // 2, (e - a - d) // 2
    total = Fraction(0)
    for k in range(max(0, -w, -v), min(x, y, z) + 1):
        terms = (k, x - k, y - k, z - k, w + k, v + k)
        total += Fraction((-1) ** k, prod(factorial(t) for t in terms))
    square = Fraction((e + 1) * factorial((e + a - c) // 2) * factorial((e - a + c) // 2) * factorial(x), factorial((a + c + e) // 2 + 1))
    for j, m in ((e, f), (a, b), (c, d)):
        square *= factorial((j + m) // 2) * factorial((j - m) // 2)
    return sqrt(square * total * total) * (1 if total >= 0 else -1)


def wigner_3j(j1: float, j2: float, j3: float, m1: float, m2: float, m3: float) -> float:
    r"""The Wigner 3j symbol of the complex (Condon–Shortley) convention, for integers and half-integers.

    .. math:: \begin{pmatrix} j_1 & j_2 & j_3 \\ m_1 & m_2 & m_3 \end{pmatrix} =
       \frac{(-1)^{j_1 - j_2 - m_3}}{\sqrt{2 j_3 + 1}} \langle j_1 m_1 j_2 m_2 | j_3\, {-m_3} \rangle

    Args:
      j1, j2, j3: degrees, multiples of ½, ≥ 0.
      m1, m2, m3: components.

    Returns:
      The symbol, dimensionless; 0 where a selection rule forbids it.

    Raises:
      ValueError: for an argument that is not a multiple of ½, or a negative degree.

    Example:
      >>> round(wigner_3j(1, 1, 0, 1, -1, 0), 12), wigner_3j(1, 1, 3, 0, 0, 0)
      (0.57735026919, 0.0)

    References:
      Varshalovich, Moskalev, Khersonskii, "Quantum theory of angular momentum" (1988), 8.2.1 (3).
    """
    doubled = [round(2 * x) for x in (j1, m1, j2, m2, j3, -m3)]
    if any(abs(2 * x - d) > 1e-9 for x, d in zip((j1, m1, j2, m2, j3, -m3), doubled, strict=True)) or min(doubled[::2]) < 0:
        raise ValueError(f"wigner_3j: expected multiples of ½ with degrees ≥ 0, got {(j1, j2, j3, m1, m2, m3)}")
    value = _complex(*doubled)
    return 0.0 if value == 0 else value / sqrt(doubled[4] + 1) * (-1) ** ((doubled[0] - doubled[2] + doubled[5]) // 2)


@functools.cache
def real_from_complex(l: int) -> np.ndarray:
    """U with Y_real = U Y_complex, shape [2l + 1, 2l + 1]."""
    u = np.zeros((2 * l + 1, 2 * l + 1), complex)
    u[l, l] = 1
    for m in range(1, l + 1):
        u[l + m, l + m], u[l + m, l - m] = (-1) ** m / sqrt(2), 1 / sqrt(2)
        u[l - m, l - m], u[l - m, l + m] = 1j / sqrt(2), -1j * (-1) ** m / sqrt(2)
    return u


@functools.cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    r"""Clebsch–Gordan coefficients of the real spherical harmonics.

    .. math:: t_{LM} = \sum_{m_1 m_2} C_{m_1 m_2 M}\, a_{l_1 m_1} b_{l_2 m_2}

    turns like Y_LM when a and b turn like Y_l1 and Y_l2. Where l1 + l2 + L is odd the transformed complex coefficients are purely
    imaginary; their imaginary part is taken, and t is a pseudotensor.

    Args:
      l1, l2, l3: degrees l₁, l₂ and L, ≥ 0.

    Returns:
      C, shape [2l₁ + 1, 2l₂ + 1, 2L + 1], dimensionless, read-only; Σ_{m₁m₂} C C = δ_{MM'}. Zero outside the triangle rule.

    Raises:
      ValueError: for a degree that is not an integer ≥ 0.

    Example:
      >>> clebsch_gordan(1, 1, 0)[:, :, 0].round(6)[0].tolist()
      [-0.57735, 0.0, 0.0]

    References:
      Varshalovich, Moskalev, Khersonskii, "Quantum theory of angular momentum" (1988), 8.2.1 (3).
    """
    for l in (l1, l2, l3):
        if not (isinstance(l, (int, np.integer)) and l >= 0):
            raise ValueError(f"clebsch_gordan: degrees must be integers ≥ 0, got {(l1, l2, l3)}")
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1), complex)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[m1 + l1, m2 + l2, m1 + m2 + l3] = _complex(2 * l1, 2 * m1, 2 * l2, 2 * m2, 2 * l3, 2 * (m1 + m2))
    real = np.einsum("ai,bj,ck,ijk->abc", real_from_complex(l1).conj(), real_from_complex(l2).conj(), real_from_complex(l3), table, optimize=True)
    out = np.ascontiguousarray(real.imag if (l1 + l2 + l3) % 2 else real.real)
    out[np.abs(out) < 1e-15] = 0.0
    out.setflags(write=False)
    return out


class Coupling(NamedTuple):
    """Linearly independent couplings of a product of ν factors to degree L.

    Attributes:
      monomials: which products enter, shape [n, ν] int: the component m + l of every factor. Of products that differ by an
        exchange of equal factors only one is listed.
      coefficients: shape [rank, 2L + 1, n]; coupled tensors are Σ_n coefficients · product.
    """

    monomials: np.ndarray
    coefficients: np.ndarray


def _checked(degrees: Sequence[int], groups: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    degrees = tuple(int(l) for l in degrees)
    groups = tuple(range(len(degrees))) if groups is None else tuple(int(g) for g in groups)
    if not degrees or min(degrees) < 0 or len(groups) != len(degrees):
        raise ValueError(f"expected at least one degree ≥ 0 and one group per degree, got degrees {degrees} and groups {groups}")
    if any(len({l for l, h in zip(degrees, groups, strict=True) if h == g}) > 1 for g in groups):
        raise ValueError(f"factors of one group are the same tensor and must have one degree, got degrees {degrees} and groups {groups}")
    first = {g: i for i, g in reversed(list(enumerate(groups)))}
    return degrees, tuple(first[g] for g in groups)


@functools.cache
def _weights(l: int, k: int) -> tuple[int, ...]:
    """How many multisets of k components of degree l have Σm = −kl … kl."""
    counts = Counter(sum(m) for m in itertools.combinations_with_replacement(range(-l, l + 1), k))
    return tuple(counts[m] for m in range(-k * l, k * l + 1))


def count_couplings(degrees: Sequence[int], L: int = 0, groups: Sequence[int] | None = None) -> int:
    """How many linearly independent couplings of degree L a product of tensors has, by counting weights.

    A representation holds degree L as often as its weight L occurs more than its weight L + 1; this is the integral of characters
    in whole numbers.

    Args:
      degrees: l of every factor.
      L: degree of the result.
      groups: one label per factor; factors with equal labels are the same tensor. None: all differ.

    Example:
      >>> count_couplings((2, 2, 2, 2)), count_couplings((2, 2, 2, 2), groups=(0, 0, 0, 0))
      (5, 1)
    """
    degrees, groups = _checked(degrees, groups)
    total = np.array([1], dtype=object)
    for g in sorted(set(groups)):
        total = np.convolve(total, np.array(_weights(degrees[g], groups.count(g)), dtype=object))
    middle = len(total) // 2
    at = lambda m: int(total[middle + m]) if middle + m < len(total) else 0  # noqa: E731
    return at(L) - at(L + 1)


def _paths(degrees: tuple[int, ...], L: int) -> Iterator[np.ndarray]:
    """Every sequential coupling, shape [Π(2l + 1), 2L + 1], by ascending intermediate degrees."""

    def extend(tensor: np.ndarray, reached: int, rest: tuple[int, ...]) -> Iterator[np.ndarray]:
        if not rest:
            yield tensor
            return
        l, later = rest[0], rest[1:]
        for middle in range(abs(reached - l), reached + l + 1):
            remaining = (middle, *later)
            if not 2 * max(remaining) - sum(remaining) <= L <= sum(remaining):
                continue  # L can no longer be reached
            next_tensor = np.einsum("ai,ijk->ajk", tensor, clebsch_gordan(reached, l, middle)).reshape(-1, 2 * middle + 1)
            yield from extend(next_tensor, middle, later)

    yield from extend(np.eye(2 * degrees[0] + 1), degrees[0], degrees[1:])


def _canonical(degrees: tuple[int, ...], groups: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct monomials [n, ν], the monomial of every product [Π(2l + 1)], and how many products each stands for [n]."""
    grid = np.indices(tuple(2 * l + 1 for l in degrees)).reshape(len(degrees), -1).T
    for g in set(groups):
        columns = [i for i, h in enumerate(groups) if h == g]
        grid[:, columns] = np.sort(grid[:, columns], axis=1)
    code = np.ravel_multi_index(tuple(grid.T), tuple(2 * l + 1 for l in degrees))
    _, first, inverse, counts = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return grid[first], inverse.reshape(-1), counts


def _build(degrees: tuple[int, ...], L: int, groups: tuple[int, ...]) -> Coupling:
    rank = count_couplings(degrees, L, groups)
    monomials, monomial_of, counts = _canonical(degrees, groups)
    kept = np.zeros((0, (2 * L + 1) * len(monomials)))
    if rank:
        scale = np.tile(1 / np.sqrt(counts), 2 * L + 1)  # in these coordinates the dot product is that of symmetric tensors
        for path in _paths(degrees, L):
            row = np.concatenate([np.bincount(monomial_of, weights=column, minlength=len(monomials)) for column in path.T]) * scale
            for _ in range(2):
                row = row - kept.T @ (kept @ row) / (2 * L + 1)
            square = row @ row
            if square > _DEPENDENT:
                kept = np.concatenate([kept, row[None] * sqrt((2 * L + 1) / square)])
                if len(kept) == rank:
                    break
        kept = kept / scale
    if len(kept) != rank:
        raise RuntimeError(f"{len(kept)} couplings of {degrees} in groups {groups} to degree {L} were found, characters say {rank}")
    table = kept.reshape(rank, 2 * L + 1, len(monomials))
    table[np.abs(table) < 1e-13] = 0.0
    used = np.any(table != 0, axis=(0, 1))
    return Coupling(monomials[used], table[:, :, used])


def _cached(degrees: tuple[int, ...], L: int, groups: tuple[int, ...]) -> Coupling:
    """Built once per machine; a folder that cannot be written or a file that cannot be read costs time, never a result."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpot" / "couplings"
    path = folder / (hashlib.sha256(repr((_FORMAT, degrees, L, groups)).encode()).hexdigest()[:32] + ".npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            return Coupling(file["monomials"], file["coefficients"])
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        pass
    made = _build(degrees, L, groups)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial:  # removed whatever happens
            np.savez(Path(partial) / path.name, **made._asdict())
            os.replace(Path(partial) / path.name, path)
    except OSError:
        pass
    return made


@functools.cache
def couplings(degrees: tuple[int, ...], L: int = 0, groups: tuple[int, ...] | None = None) -> Coupling:
    r"""Generalised Clebsch–Gordan coefficients: all independent ways to couple a product of tensors to degree L.

    .. math:: t^{(r)}_{LM} = \sum_{m_1 \dots m_\nu} C^{(r)}_{M, m_1 \dots m_\nu}\; a^{(1)}_{l_1 m_1} \cdots a^{(\nu)}_{l_\nu m_\nu}

    Rows are orthonormal as tensors symmetric under the exchange of equal factors, Σ_M |C_M|² = 2L + 1. The result is a true tensor
    where Σl + L is even, a pseudotensor where it is odd.

    Args:
      degrees: l of every factor, in any order.
      L: degree of the result; 0 gives invariants.
      groups: one label per factor; factors with equal labels are the same tensor. None: all differ.

    Returns:
      The Coupling; tables of four and more factors are kept in `$XDG_CACHE_HOME/jaxpot` (`~/.cache/jaxpot`).

    Raises:
      ValueError: for no degrees, negative ones, or factors of one group with different degrees.

    Example:
      >>> table = couplings((1, 1), 0, (0, 0))
      >>> table.monomials.tolist(), table.coefficients.round(6).tolist()
      ([[0, 0], [1, 1], [2, 2]], [[[-0.57735, -0.57735, -0.57735]]])

    References:
      Drautz, "Atomic cluster expansion for accurate and transferable interatomic potentials", Phys. Rev. B 99, 014104 (2019);
      Dusson et al., "Atomic cluster expansion: completeness, efficiency and stability", J. Comput. Phys. 454, 110946 (2022).
    """
    degrees, groups = _checked(degrees, groups)
    made = (_cached if len(degrees) >= _ON_DISK else _build)(degrees, L, groups)
    for array in made:
        array.setflags(write=False)
    return made
