"""Scalar contractions of moment tensors: which there are, and how they are made from one another by products of pairs.

All of it is structure: NumPy tables, built once per level and kept.
"""

import functools
import itertools
from math import comb, factorial
from typing import NamedTuple

import numpy as np

from jaxpot.math.pair_sums import PairTable

MAX_FACTORS = 4
LEVELS = tuple(range(2, 30, 2))

_Node = tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int, int], ...]]  # radial indices, edges, open indices of every factor


class Contractions(NamedTuple):
    """Moments as an MTP file lists them: basic ones, then those made by products, in an order in which they can be made.

    Attributes:
      basic: (μ, a, b, c) of the moment Σ_j f_μ u_x^a u_y^b u_z^c.
      times: (i, j, k, t): k · m_i · m_j is added to m_t.
      mapping: which moments are the basis functions.
    """

    basic: tuple[tuple[int, int, int, int], ...]
    times: tuple[tuple[int, int, int, int], ...]
    mapping: tuple[int, ...]


def _pairs(n: int) -> tuple[tuple[int, int], ...]:
    return tuple(itertools.combinations(range(n), 2))


@functools.cache
def _reorderings(n: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Every order of n factors, and where the edge of every pair then stands."""
    place = {pair: i for i, pair in enumerate(_pairs(n))}
    return tuple((p, tuple(place[tuple(sorted((p[i], p[j])))] for i, j in _pairs(n))) for p in itertools.permutations(range(n)))


@functools.cache
def _counts(n: int, most: int) -> np.ndarray:
    """All n whole numbers ≥ 0 with a sum of at most `most`, shape [., n]."""
    if n == 0:
        return np.zeros((1, 0), int)
    return np.concatenate([np.insert(_counts(n - 1, most - first), 0, first, axis=1) for first in range(most + 1)])


@functools.cache
def graphs(level: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    r"""All full contractions of products of up to four moment tensors, up to equivalence, by level and number of factors.

    A factor is a vertex with its radial index μ, and an edge between two factors is a contracted index, so that a factor with ν edges
    is M_{μν}. Levels add up: lev M_{μν} = 2 + 4μ + ν.

    Args:
      level: the largest level, included.

    Returns:
      (μ of every factor, edges of the pairs 12, 13, 14, 23, …) of every function.
    """
    found = []
    for n in range(1, MAX_FACTORS + 1):
        for radial in itertools.combinations_with_replacement(range(level // 4 + 1), n):
            left = level - 2 * n - 4 * sum(radial)
            if left < 0:
                continue
            edges = _counts(len(_pairs(n)), left // 2)
            base = (left + 1) ** np.arange(edges.shape[1])
            codes = [edges[:, order] @ base for p, order in _reorderings(n) if tuple(radial[i] for i in p) == radial]
            for row in edges[codes[0] == np.max(codes, axis=0)].tolist():
                found.append((2 * n + 4 * sum(radial) + 2 * sum(row), n, radial, tuple(row)))
    return tuple((radial, row) for _, _, radial, row in sorted(found))


@functools.cache
def monomials(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents (a, b, c) of all monomials of a degree: first x^ν, last z^ν."""
    return tuple((a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1))


def _multinomial(exponents: tuple[int, int, int]) -> int:
    a, b, c = exponents
    return factorial(a + b + c) // (factorial(a) * factorial(b) * factorial(c))


def _canonical(radial: tuple, edges: tuple, marks: tuple) -> tuple[tuple, tuple, tuple]:
    """The first of all orders of the factors."""
    return min((tuple(radial[i] for i in p), tuple(edges[e] for e in order), tuple(marks[i] for i in p)) for p, order in _reorderings(len(radial)))


class _Builder:
    """Collects moments; a tensor is contracted from two smaller ones, by the split that adds the fewest products."""

    def __init__(self):
        self.basic: dict[tuple[int, int, int, int], None] = {}
        self.terms: dict[_Node, dict[tuple[_Node, _Node], int]] = {}  # in an order in which they can be made
        self.splits: dict[tuple, tuple[int, ...]] = {}

    def node(self, radial, edges, indices) -> _Node:
        """The moment with these open indices, made if it is not there yet; equal factors may be exchanged."""
        if len(radial) == 1:
            self.basic.setdefault((radial[0], *indices[0]))
            return radial, edges, indices
        key = _canonical(radial, edges, indices)
        if key not in self.terms:
            terms = self.contracted(*key)  # which makes others, so that this one stands behind them
            self.terms[key] = terms
        return key

    def contracted(self, radial, edges, indices) -> dict[tuple[_Node, _Node], int]:
        n = len(radial)
        part = self.split(radial, edges, tuple(map(sum, indices)))
        edge = dict(zip(_pairs(n), edges, strict=True))
        crossing = [(u, v, e) for (u, v), e in edge.items() if e and (u in part) != (v in part)]
        halves = [part, tuple(i for i in range(n) if i not in part)]
        terms: dict[tuple[_Node, _Node], int] = {}
        for chosen in itertools.product(*(monomials(e) for *_, e in crossing)):
            own, weight = [np.array(x) for x in indices], 1
            for (u, v, _), exponents in zip(crossing, chosen, strict=True):
                own[u], own[v] = own[u] + exponents, own[v] + exponents
                weight *= _multinomial(exponents)
            pair = []
            for half in halves:
                inner = tuple(edge[i, j] for i, j in itertools.combinations(half, 2))
                pair.append(self.node(tuple(radial[i] for i in half), inner, tuple(tuple(own[i].tolist()) for i in half)))
            pair = tuple(sorted(pair))
            terms[pair] = terms.get(pair, 0) + weight
        return terms

    def split(self, radial, edges, opened) -> tuple[int, ...]:
        """Which factors make one half of a tensor of this kind."""
        kind = _canonical(radial, edges, tuple((o, i) for i, o in enumerate(opened)))
        order = [i for _, i in kind[2]]
        kind = (*kind[:2], tuple(o for o, _ in kind[2]))
        if kind not in self.splits:
            self.splits[kind] = min(self.halvings(len(radial)), key=lambda part: self.cost(kind, part))
        return tuple(order[i] for i in self.splits[kind])

    @staticmethod
    def halvings(n: int) -> list[tuple[int, ...]]:
        return [(0, *rest) for size in range(n - 1) for rest in itertools.combinations(range(1, n), size)]

    def cost(self, kind, part) -> int:
        """How many products the moments of this kind need, those of its new halves included."""
        radial, edges, opened = kind
        n = len(radial)
        total, own = 1, list(opened)
        for o in opened:
            total *= comb(o + 2, 2)
        for (u, v), e in zip(_pairs(n), edges, strict=True):
            if (u in part) != (v in part):
                total *= comb(e + 2, 2)
                own[u], own[v] = own[u] + e, own[v] + e
        edge = dict(zip(_pairs(n), edges, strict=True))
        for half in (part, tuple(i for i in range(n) if i not in part)):
            if len(half) > 1:
                inner = tuple(edge[i, j] for i, j in itertools.combinations(half, 2))
                total += self.new(tuple(radial[i] for i in half), inner, tuple(own[i] for i in half))
        return total

    def new(self, radial, edges, opened) -> int:
        kind = _canonical(radial, edges, opened)
        return 0 if kind in self.splits else min(self.cost(kind, part) for part in self.halvings(len(radial)))


@functools.lru_cache(maxsize=32)
def of_level(level: int) -> Contractions:
    """The basis functions of a level, in the order of `graphs`, made by few products."""
    builder = _Builder()
    wanted = [builder.node(radial, edges, ((0, 0, 0),) * len(radial)) for radial, edges in graphs(level)]
    basic = sorted(builder.basic, key=lambda m: (m[0], m[1] + m[2] + m[3], -m[1], -m[2]))
    number: dict[_Node, int] = {((mu,), (), (exponents,)): i for i, (mu, *rest) in enumerate(basic) for exponents in [tuple(rest)]}
    times = []
    for node, terms in builder.terms.items():
        number[node] = len(number)
        times += [(number[a], number[b], weight, number[node]) for (a, b), weight in terms.items()]
    return Contractions(tuple(basic), tuple(times), tuple(number[node] for node in wanted))


class Slopes(NamedTuple):
    """The derivatives ∂B/∂M that are not zero, made in a reverse sweep of all functions at once: entries = [1, stage 1, stage 2, …, 0]."""

    stages: tuple[PairTable, ...]
    blocks: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]  # (functions [r], basic moments [c], places among the entries [r, c])


class Program(NamedTuple):
    """How moments are evaluated: values = [basic, stage 1, stage 2, …], of which every stage is sums of products of earlier values."""

    degrees: tuple[tuple[int, int, int], ...]  # (first degree, last degree, number of radial functions) of every block of basic moments
    n_radial: int
    n_basic: int
    steps: PairTable  # derivatives of basic moments from sums of (f', f u_x', f u_y', f u_z') times monomials
    stages: tuple[PairTable, ...]
    functions: np.ndarray  # where the basis functions are among the values
    slopes: Slopes | None  # made on request


def _checked(contractions: Contractions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    basic, times = np.array(contractions.basic, int).reshape(-1, 4), np.array(contractions.times, int).reshape(-1, 4)
    mapping = np.array(contractions.mapping, int)
    if not len(basic) or np.any(basic < 0):
        raise ValueError("moments: expected at least one basic moment (μ, a, b, c), all ≥ 0")
    targets = np.unique(times[:, 3])
    n = len(basic) + len(targets)
    if not np.array_equal(targets, np.arange(len(basic), n)):
        raise ValueError(f"moments: products must make the moments {len(basic)} to {n - 1}, all and no others")
    if np.any(times[:, :2] < 0) or np.any(times[:, :2] >= n) or not len(mapping) or np.any(mapping < 0) or np.any(mapping >= n):
        raise ValueError(f"moments: a product or a basis function refers to a moment that is not among the {n}")
    last = np.full(n, -1)
    last[times[:, 3]] = np.arange(len(times))  # of repeated targets the last product stays
    early = np.flatnonzero(np.any(last[times[:, :2]] >= np.arange(len(times))[:, None], axis=1))
    if len(early):
        raise ValueError(f"moments: the product {tuple(times[early[0]].tolist())} uses a moment before all its products have been added")
    return basic, times, mapping


@functools.lru_cache(maxsize=32)
def program(contractions: Contractions, with_slopes: bool = False) -> Program:
    """The tables of a list of moments.

    Raises:
      ValueError: for moments that are used before they are made, made by no product, or not there.
    """
    basic, times, mapping = _checked(contractions)
    degree, top = np.sum(basic[:, 1:], axis=1), int(np.max(np.sum(basic[:, 1:], axis=1)))
    n_radial = [int(np.max(basic[degree == nu, 0], initial=-1)) + 1 for nu in range(top + 1)]
    degrees, place, offset = [], {}, 0
    for count, run in itertools.groupby(range(top + 1), key=n_radial.__getitem__):
        run = list(run)
        exponents = [e for nu in run for e in monomials(nu)]
        degrees.append((run[0], run[-1], count))
        for mu in range(count):
            place.update({(mu, *e): offset + mu * len(exponents) + i for i, e in enumerate(exponents)})
        offset += count * len(exponents)

    depth = np.zeros(len(basic) + len(np.unique(times[:, 3])), int)
    for i, j, _, t in times.tolist():
        depth[t] = max(depth[t], depth[i] + 1, depth[j] + 1)
    n_terms = np.bincount(times[:, 3], minlength=len(depth))
    position = np.zeros(len(depth), int)
    position[: len(basic)] = [place[tuple(row)] for row in basic.tolist()]
    stages, n_values = [], offset
    for stage in range(1, int(np.max(depth)) + 1):
        made = np.flatnonzero(depth == stage)
        made = made[np.argsort(n_terms[made], kind="stable")]
        position[made] = n_values + np.arange(len(made))
        i, j, weight, t = times[depth[times[:, 3]] == stage].T
        stages.append(PairTable((len(made), n_values, n_values), position[t] - n_values, position[i], position[j], weight))
        n_values += len(made)
    slopes = _slopes(times, mapping, depth, position, n_values, place) if with_slopes else None
    steps = _steps(place, max(n_radial), [e for nu in range(top + 1) for e in monomials(nu)])
    return Program(tuple(degrees), max(n_radial), offset, steps, tuple(stages), position[mapping], slopes)


def _steps(place: dict, n_radial: int, exponents: list[tuple[int, int, int]]) -> PairTable:
    column = {e: i for i, e in enumerate(exponents)}
    rows = []
    for (mu, *own), out in place.items():
        rows.append((out, mu * len(exponents) + column[tuple(own)], 1))
        for x in range(3):
            if own[x]:
                less = tuple(a - (i == x) for i, a in enumerate(own))
                rows.append((out, ((x + 1) * n_radial + mu) * len(exponents) + column[less], own[x]))
    out, left, weight = np.array(rows).T
    return PairTable((len(place), 4 * n_radial * len(exponents), 1), out, left, np.zeros_like(out), weight)


def _slopes(times: np.ndarray, mapping: np.ndarray, depth: np.ndarray, position: np.ndarray, n_values: int, place: dict) -> Slopes:
    # all uses of a moment: of the products that make t, (moment, the other factor, weight)
    i, j, weight, t = times.T
    use = np.concatenate([np.stack([t, i, j, weight]), np.stack([t, j, i, weight])], axis=1)
    use = use[:, np.argsort(use[0], kind="stable")]
    first = np.searchsorted(use[0], np.arange(len(depth) + 1))
    stages, n_entries = [], 1
    waiting = np.zeros((0, 5), int)  # (function, moment, entry of the product, other factor, weight)
    roots = np.stack([np.arange(len(mapping)), mapping, np.zeros_like(mapping)], axis=1)  # the entry of a function itself is 1
    leaves = [roots[depth[mapping] == 0]]
    for stage in range(int(np.max(depth)), -1, -1):
        own = depth[waiting[:, 1]] == stage
        code, inverse = np.unique(waiting[own, 0] * len(depth) + waiting[own, 1], return_inverse=True)
        functions, moments = np.divmod(code, len(depth))
        if len(code):
            _, _, entry, other, weight = waiting[own].T
            stages.append(PairTable((len(code), n_entries, n_values), inverse.reshape(-1), entry, position[other], weight))
        made = np.stack([functions, moments, n_entries + np.arange(len(code))], axis=1)
        n_entries += len(code)
        if stage == 0:
            leaves.append(made)
            break
        made = np.concatenate([made, roots[depth[mapping] == stage]])
        sizes = first[made[:, 1] + 1] - first[made[:, 1]]
        row = np.repeat(np.arange(len(made)), sizes)
        found = use[:, first[made[row, 1]] + np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)]
        waiting = np.concatenate([waiting[~own], np.stack([made[row, 0], found[1], made[row, 2], found[2], found[3]], axis=1)])
    functions, moments, entries = np.concatenate(leaves).T
    columns = position[moments]
    tensor: dict[tuple[int, int], list[int]] = {}
    for (mu, *exponents), column in place.items():
        tensor.setdefault((mu, sum(exponents)), []).append(column)
    blocks = []
    for cols in tensor.values():
        cols = np.array(sorted(cols))
        own = np.isin(columns, cols)
        if np.any(own):
            rows = np.unique(functions[own])
            places = np.full((len(rows), len(cols)), n_entries, np.int32)  # behind all entries stands zero
            places[np.searchsorted(rows, functions[own]), np.searchsorted(cols, columns[own])] = entries[own]
            blocks.append((rows, cols, places))
    return Slopes(tuple(stages), tuple(blocks))
