"""Which products of density coefficients enter an expansion, and how they are made from one another.

All of it is structure: NumPy tables, built once per selection and kept.
"""

import abc
import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxpot.interface import Interface
from jaxpot.math.coupling import couplings
from jaxpot.trees import pytree, rebuild, static

Factors = tuple[tuple[int, int], ...]  # (l, q) of the factors of a product, sorted


class Selection(Interface):
    """Interface: which products of ν density coefficients enter, for ν = 1 … order.

    Attributes:
      order: the highest ν.
    """

    order: int

    @abc.abstractmethod
    def factors(self, order: int, n_max: int, l_max: int, n_channels: int) -> Iterator[Factors]:
        """Every product of this many factors, q = channel · n_max + n, of those of n_channels · n_max radial functions up to degree l_max."""


class SelectionByLevel(Selection):
    """Interface: the products whose levels add up to at most a limit."""

    @abc.abstractmethod
    def level(self, n: int, l: int, order: int) -> float:
        """What a factor (n, l) counts in a product of this many factors, ≥ 0; infinite leaves it out."""

    @abc.abstractmethod
    def limit(self, order: int) -> float:
        """The largest sum of levels."""

    def factors(self, order: int, n_max: int, l_max: int, n_channels: int) -> Iterator[Factors]:
        limit = self.limit(order) + 1e-9
        known = [(l, c * n_max + n, self.level(n, l, order)) for l in range(l_max + 1) for c in range(n_channels) for n in range(n_max)]
        known = [(l, q, level) for l, q, level in known if level <= limit]
        least = min((level for *_, level in known), default=0.0)

        def extend(start: int, chosen: tuple, left: float) -> Iterator[Factors]:
            if len(chosen) == order:
                yield chosen
                return
            spare = (order - len(chosen) - 1) * least
            for i in range(start, len(known)):
                l, q, level = known[i]
                if level + spare <= left:
                    yield from extend(i, (*chosen, (l, q)), left - level)

        yield from extend(0, (), limit)


@pytree
class TotalDegree(SelectionByLevel):
    r"""All products with :math:`\sum_i (n_i + w\, l_i) \le D_\nu`, of the radial functions and degrees that the density has.

    Args:
      degrees: D₁ … D_ν, the largest total degree for each number of factors; n counts from 0.
      weight: w of the angular degree.

    Example:
      >>> from jaxpot import ACE, Density
      >>> from jaxpot.cutoffs import PowerCutoff
      >>> from jaxpot.radial import Agnesi
      >>> sharp = Density(("Si",), PowerCutoff(5.0), Agnesi(7, nearest=2.35), l_max=3, sigma=None, center_weight=0.0)
      >>> ACE(sharp, TotalDegree((6, 5, 4))).n_features
      47
    """

    degrees: tuple[float, ...] = static(most=100)
    weight: float = static(default=1.0)

    def __post_init__(self):
        if not self.degrees or not all(0 <= d < np.inf for d in self.degrees) or not self.weight > 0:
            raise ValueError(f"TotalDegree: expected degrees ≥ 0, one per order, and a weight > 0, got {self.degrees} and {self.weight}")

    @property
    def order(self) -> int:
        return len(self.degrees)

    def level(self, n: int, l: int, order: int) -> float:
        return n + self.weight * l

    def limit(self, order: int) -> float:
        return self.degrees[order - 1]


@pytree
class PerOrder(SelectionByLevel):
    """All products with n < n_max and l ≤ l_max, both given for each number of factors.

    Args:
      n_max: number of radial functions in products of 1 … ν factors.
      l_max: highest degree in products of 1 … ν factors, included.

    Example:
      >>> from jaxpot import ACE, Density
      >>> from jaxpot.cutoffs import PowerCutoff
      >>> from jaxpot.radial import Agnesi
      >>> sharp = Density(("Si",), PowerCutoff(5.0), Agnesi(7, nearest=2.35), l_max=3, sigma=None, center_weight=0.0)
      >>> ACE(sharp, PerOrder((7, 4, 2), (0, 3, 2))).n_features
      73
    """

    n_max: tuple[int, ...] = static(most=100)
    l_max: tuple[int, ...] = static(most=50)

    def __post_init__(self):
        whole = all(isinstance(x, int) and x >= 0 for x in (*self.n_max, *self.l_max))
        if not self.n_max or len(self.n_max) != len(self.l_max) or not whole:
            raise ValueError(f"PerOrder: expected one whole n_max and l_max ≥ 0 per order, got {self.n_max} and {self.l_max}")

    @property
    def order(self) -> int:
        return len(self.n_max)

    def level(self, n: int, l: int, order: int) -> float:
        return 0.0 if n < self.n_max[order - 1] and l <= self.l_max[order - 1] else np.inf

    def limit(self, order: int) -> float:
        return 0.0


@pytree
class Listed(Selection):
    """The products of a list.

    Args:
      products: every product as a tuple of its factors (q, l), in any order, with q = channel · n_max + n, as in `ACE.labels`.

    Example:
      >>> Listed((((0, 0),), ((1, 2), (0, 2)))).order
      2
    """

    products: tuple[tuple[tuple[int, int], ...], ...] = static()

    def __post_init__(self):
        numbers = [x for product in self.products for factor in product for x in factor]
        pairs = all(len(factor) == 2 for product in self.products for factor in product)
        if not self.products or not all(self.products) or not pairs or not all(isinstance(x, int) and x >= 0 for x in numbers):
            raise ValueError("Listed: expected products such as (((0, 0),), ((0, 1), (2, 1))), tuples of factors (q, l) with whole numbers ≥ 0")
        if len({tuple(sorted(product)) for product in self.products}) < len(self.products):
            raise ValueError("Listed: a product is listed twice")

    @property
    def order(self) -> int:
        return max(map(len, self.products))

    def factors(self, order: int, n_max: int, l_max: int, n_channels: int) -> Iterator[Factors]:
        for product in self.products:
            if len(product) == order:
                yield tuple(sorted((l, q) for q, l in product))


class Block(NamedTuple):
    """Functions whose factors have the same degrees and coincide in the same way, and so share one table of coefficients."""

    first: int  # where the products of this block start among all values
    factors: np.ndarray  # [n_tuples, ν, 2]: (q, l) of every factor
    table: np.ndarray  # [rank, 2L + 1, n_products]


class Slopes(NamedTuple):
    """The derivatives ∂B/∂A that are not zero: entry e is Σ_t weights[e, t] · values[sources[e, t]], for entries of equally many terms.

    A function depends on its own few factors only, so derivatives come in blocks: all functions with a factor (q, l), by its components.
    """

    sources: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    blocks: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]  # (functions [r], components [c], places among the entries [r, c])


class Program(NamedTuple):
    """How products are made from pairs of earlier ones: values = [A, level 2, level 3, …]."""

    density: np.ndarray  # which coefficients q · L + lm enter at all
    levels: tuple[tuple[np.ndarray, np.ndarray], ...]  # left and right factors of every product, by order
    blocks: tuple[Block, ...]
    monomials: tuple[np.ndarray, ...]  # [n, ν]: the factors of every product as positions in `density`, by order
    slopes: Slopes | None  # made on request, since it needs more products


@functools.lru_cache(maxsize=32)
def build_program(kind: type, values: tuple, n_max: int, l_max: int, n_channels: int, lam: int, pseudo: bool, with_slopes: bool = False) -> Program:
    selection = rebuild(kind, dict(values))
    n_lm = (l_max + 1) ** 2
    blocks: list[tuple[int, list, np.ndarray, list]] = []
    wanted: list[dict[tuple[int, ...], None]] = [{} for _ in range(selection.order + 1)]  # dicts keep the order
    for order in range(1, selection.order + 1):
        by_pattern: dict[tuple, list] = {}
        for factors in selection.factors(order, n_max, l_max, n_channels):
            degrees = tuple(l for l, _ in factors)
            if (sum(degrees) + lam + pseudo) % 2 == 0:
                groups = tuple(factors.index(f) for f in factors)
                by_pattern.setdefault((degrees, groups), []).append(factors)
        for (degrees, groups), members in by_pattern.items():
            coupling = couplings(degrees, lam, groups)
            if not len(coupling.coefficients):
                continue
            products = []
            for factors in members:
                offsets = np.array([q * n_lm + l * l for l, q in factors])
                products += [tuple(sorted(row)) for row in (offsets + coupling.monomials).tolist()]
            blocks.append((order, members, coupling.coefficients, products))
            wanted[order].update(dict.fromkeys(products))

    if with_slopes:
        for order in range(selection.order, 1, -1):
            for _, _, _, products in (b for b in blocks if b[0] == order):
                for product in products:
                    for i in range(order):
                        wanted[order - 1].setdefault(product[:i] + product[i + 1 :])
    parents: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for order in range(selection.order, 1, -1):
        for product in wanted[order]:
            parents[product] = _split(product, wanted)
            for part in parents[product]:
                wanted[len(part)].setdefault(part)
    density = np.array(sorted(v for (v,) in wanted[1]), int)
    position = {(int(v),): i for i, v in enumerate(density)}
    levels, monomials = [], []
    for order in range(2, selection.order + 1):
        pairs = [parents[product] for product in wanted[order]]
        levels.append((np.array([position[a] for a, _ in pairs], np.int32), np.array([position[b] for _, b in pairs], np.int32)))
        for product in wanted[order]:
            position[product] = len(position)
        monomials.append(np.array([[position[(v,)] for v in product] for product in wanted[order]], np.int32).reshape(-1, order))
    made = []
    for order, members, table, products in blocks:
        where = np.array([position[product] for product in products], np.int32)
        contiguous = order > 1 and np.array_equal(where, np.arange(where[0], where[0] + len(where)))
        factors = np.array([[(q, l) for l, q in f] for f in members], np.int32)
        made.append(Block(where[0] if contiguous else where, factors, table))
    slopes = _slopes(blocks, position, density, n_lm) if with_slopes else None
    return Program(density, tuple(levels), tuple(made), (np.arange(len(density), dtype=np.int32)[:, None], *monomials), slopes)


def _slopes(blocks: list, position: dict[tuple[int, ...], int], density: np.ndarray, n_lm: int) -> Slopes:
    column = {int(v): i for i, v in enumerate(density)}
    terms: dict[int, list[tuple[int, float]]] = {}
    first = 0
    for order, members, table, products in blocks:
        rank, components, n = table.shape
        for t in range(len(members)):
            for i, product in enumerate(products[t * n : (t + 1) * n]):
                for v in set(product):
                    at = product.index(v)
                    # the product of nothing is 1, which stands behind all values
                    source = position[product[:at] + product[at + 1 :]] if order > 1 else len(position)
                    for r, m in zip(*np.nonzero(table[:, :, i]), strict=True):
                        function = (first + t * rank + int(r)) * components + int(m)
                        weight = product.count(v) * float(table[r, m, i])
                        terms.setdefault(function * len(density) + column[v], []).append((source, weight))
        first += len(members) * rank
    by_count: dict[int, list[int]] = {}
    for entry, found in terms.items():
        by_count.setdefault(len(found), []).append(entry)
    place: dict[int, int] = {}
    sources, weights = [], []
    for _, entries in sorted(by_count.items()):
        place.update({e: len(place) + i for i, e in enumerate(entries)})
        sources.append(np.array([[source for source, _ in terms[e]] for e in entries], np.int32))
        weights.append(np.array([[weight for _, weight in terms[e]] for e in entries]))
    q, lm = np.divmod(density, n_lm)
    factor = q * n_lm + np.floor(np.sqrt(lm)).astype(int)
    functions, columns = np.divmod(np.array(sorted(terms)), len(density))
    blocks_of = []
    for own in np.unique(factor):
        cols = np.flatnonzero(factor == own)
        rows = np.unique(functions[np.isin(columns, cols)])
        # the place behind all entries holds zero
        places = [[place.get(int(f) * len(density) + int(c), len(place)) for c in cols] for f in rows]
        blocks_of.append((rows, cols, np.array(places, np.int32)))
    return Slopes(tuple(sources), tuple(weights), tuple(blocks_of))


def _split(product: tuple[int, ...], wanted: list[dict]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two smaller products that make this one, of those at hand if possible."""
    order = len(product)
    if order == 2:
        return product[:1], product[1:]
    for size in range(1, order // 2 + 1):
        for chosen in itertools.combinations(range(order), size):
            small = tuple(product[i] for i in chosen)
            large = tuple(v for i, v in enumerate(product) if i not in chosen)
            if (size == 1 or small in wanted[size]) and large in wanted[order - size]:
                return small, large
    return product[: order // 2], product[order // 2 :]
