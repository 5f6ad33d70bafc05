r"""Invariant polynomials of expansion coefficients, written in products of complex ones, as pacemaker's files have them.

The complex harmonics have the Condon–Shortley phase, so that :math:`A_{l,-m} = (-1)^m \bar A_{lm}`; a polynomial is the real part of a sum
of products. `jaxpot.math.coupling` fixes the real ones.
"""

import functools
from collections import Counter, deque
from math import factorial, prod, sqrt

import numpy as np

from jaxpot.math.coupling import couplings, real_from_complex, wigner_3j

_ROUND_OFF = 1e-6  # of single precision: FitSNAP has written couplings with eight digits


def _canonical(components: np.ndarray, groups: tuple[int, ...]) -> np.ndarray:
    """Of products that differ by an exchange of equal factors the first, for components [n, ν]."""
    out = np.array(components)
    for g in set(groups):
        columns = [i for i, h in enumerate(groups) if h == g]
        out[:, columns] = np.sort(out[:, columns], axis=1)
    return out


def _expanded(degrees, groups, components: np.ndarray, values: np.ndarray, matrices) -> tuple[np.ndarray, np.ndarray]:
    """The polynomial in other coefficients, a_k = Σ_m matrix[k, m] b_m, of which only m = ±k are not zero.

    Returns different canonical components [n', ν] and their values [n', P].
    """
    order = components.shape[1]
    signs = np.array(np.meshgrid(*[(1, -1)] * order, indexing="ij")).reshape(order, -1).T  # [2^ν, ν]
    new = signs[:, None, :] * np.abs(components)[None]
    weight = np.ones(new.shape[:2], complex)
    for t, (l, matrix) in enumerate(zip(degrees, matrices, strict=True)):
        once = (components[None, :, t] != 0) | (signs[:, None, t] > 0)  # 0 has one sign only
        weight = weight * np.where(once, matrix[components[None, :, t] + l, new[:, :, t] + l], 0)
    new, at = np.unique(_canonical(new.reshape(-1, order), groups), axis=0, return_inverse=True)
    total = np.zeros((len(new), values.shape[1]), complex)
    np.add.at(total, at.reshape(-1), (weight[:, :, None] * values[None]).reshape(-1, values.shape[1]))
    return new, total


@functools.cache
def _table(degrees: tuple[int, ...], groups: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components [n, ν] of `couplings`, coefficients [rank, n], and of how many products each component stands for, [n]."""
    coupling = couplings(degrees, 0, groups)
    components = coupling.monomials - np.array(degrees)
    counts = []
    for row in components.tolist():
        of_group = [Counter(m for m, h in zip(row, groups, strict=True) if h == g) for g in set(groups)]
        counts.append(prod(factorial(sum(c.values())) // prod(map(factorial, c.values())) for c in of_group))
    return components, coupling.coefficients[:, 0], np.array(counts)


def from_complex(degrees: tuple[int, ...], groups: tuple[int, ...], components: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""The coefficients of an invariant in the basis of `couplings(degrees, 0, groups)`.

    .. math:: \sum_n v_n\, \mathrm{Re} \prod_t A_{l_t m_{nt}} = \sum_r x_r \sum_{m} C^{(r)}_m \prod_t a_{l_t m_t}

    Args:
      degrees: l of every factor.
      groups: one label per factor, the index of the first equal one.
      components: m of every factor of every product, shape [n, ν].
      values: v for P polynomials, shape [n, P].

    Returns:
      x, shape [rank, P].

    Raises:
      ValueError: if a polynomial is not invariant under rotations and inversion.

    Example:
      >>> from_complex((1, 1), (0, 0), np.array([[0, 0], [1, -1]]), np.array([[1.0], [-2.0]])).round(12)
      array([[-1.73205081]])
    """
    conjugates = [real_from_complex(l).conj().T for l in degrees]
    found, total = _expanded(degrees, groups, components, np.asarray(values, complex), conjugates)
    monomials, table, counts = _table(degrees, groups)
    place = {tuple(row): i for i, row in enumerate(monomials.tolist())}
    polynomial, scale = np.zeros((len(monomials), total.shape[1])), np.max(np.abs(values), axis=0, initial=0)
    for row, value in zip(found.tolist(), total.real, strict=True):
        if tuple(row) in place:
            polynomial[place[tuple(row)]] = value
        elif np.any(np.abs(value) > _ROUND_OFF * scale):
            raise ValueError(f"the function of l = {degrees} is not invariant under rotations and inversion")
    x = (table / counts) @ polynomial
    if np.any(np.abs(table.T @ x - polynomial) > _ROUND_OFF * scale):
        raise ValueError(f"the function of l = {degrees} is not invariant under rotations and inversion")
    return x


@functools.cache
def _complex_clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """<l1 m1 l2 m2 | l3 m3>, shape [2l1 + 1, 2l2 + 1, 2l3 + 1]."""
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[l1 + m1, l2 + m2, l3 + m1 + m2] = (-1) ** (l1 - l2 + m1 + m2) * sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3, m1, m2, -m1 - m2)
    return table


@functools.lru_cache(maxsize=10_000)
def tree_couplings(degrees: tuple[int, ...], between: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    r"""Generalised Clebsch–Gordan coefficients of complex factors that are coupled to an invariant along the tree of pacemaker.

    Factors are coupled by pairs, the first with the second, the third with the fourth, …; then the results in the order in which they came, two
    to one, until one is left; a last factor without a partner is coupled to that.

    Args:
      degrees: l of every factor.
      between: degrees of all results but the last one, which is 0, in the order in which they come; shape [ν − 2], or [0].

    Returns:
      Components m [n, ν] and the coefficients [n] that are not zero; none if the degrees cannot be coupled so.

    Example:
      >>> components, values = tree_couplings((1, 1), ())
      >>> components.tolist(), values.round(6).tolist()
      ([[-1, 1], [0, 0], [1, -1]], [0.57735, -0.57735, 0.57735])

    References:
      Bochkarev et al., "Efficient parametrization of the atomic cluster expansion", Phys. Rev. Mater. 6, 013804 (2022).
    """
    results = iter((*between, 0))

    def coupled(first, second):
        (one, l1, a), (two, l2, b) = first, second
        l3 = next(results)
        table = np.einsum("ai,bj,ijk->abk", a, b, _complex_clebsch_gordan(l1, l2, l3), optimize=True)
        return one + two, l3, table.reshape(-1, 2 * l3 + 1)

    leaves = [([t], l, np.eye(2 * l + 1)) for t, l in enumerate(degrees)]
    queue = deque(coupled(*leaves[i : i + 2]) for i in range(0, len(leaves) - 1, 2))
    while len(queue) > 1:
        queue.append(coupled(queue.popleft(), queue.popleft()))
    if len(leaves) % 2:
        queue.append(coupled(queue.popleft(), leaves[-1]) if queue else leaves[-1])
    order, l, table = queue.popleft()
    if l:  # one factor alone, which is no invariant
        return np.zeros((0, len(degrees)), int), np.zeros(0)
    grid = np.indices([2 * degrees[t] + 1 for t in order]).reshape(len(order), -1).T - [degrees[t] for t in order]
    kept = table[:, 0] != 0
    return grid[kept][:, np.argsort(order)], table[kept, 0]


def to_complex(degrees: tuple[int, ...], groups: tuple[int, ...], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `from_complex`: components [n, ν] and values [n, P], of products that are conjugate to one another one each."""
    monomials, table, _ = _table(degrees, groups)
    found, total = _expanded(degrees, groups, monomials, (table.T @ x).astype(complex), [real_from_complex(l) for l in degrees])
    opposite = _canonical(-found, groups)
    # rows are sorted, so the later one of a pair is kept
    order = [tuple(a) > tuple(b) for a, b in zip(found.tolist(), opposite.tolist(), strict=True)]
    alone = np.all(found == opposite, axis=1)
    values = np.where(alone[:, None], 1, 2) * total.real
    kept = (np.array(order) | alone) & np.any(np.abs(values) > 1e-14 * np.max(np.abs(values), axis=0, initial=0), axis=1)
    return found[kept], values[kept]
