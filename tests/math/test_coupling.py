"""Clebsch–Gordan coefficients and generalised couplings: an oracle, unitarity, Wigner matrices, and integrals of characters."""

import collections
import functools
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpot.math import coupling
from jaxpot.math.coupling import clebsch_gordan, count_couplings, couplings, wigner_3j
from jaxpot.math.wigner import random_rotation, wigner_d

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "math_angular.npz")
L_MAX = 20
ROTATION = np.asarray(random_rotation(jax.random.key(0)))
D = [np.asarray(d) for d in jax.jit(wigner_d, static_argnums=1)(ROTATION, L_MAX)]

# n_max, l_max: number of invariants of ν = 1 … 5 densities under O(3), and of ν = 3, 4, 5 under SO(3)
COUNTS = {
    (1, 2): ((1, 3, 5, 9, 13), (5, 9, 13)),
    (1, 4): ((1, 5, 14, 51, 154), (15, 65, 219)),
    (2, 2): ((2, 9, 26, 75, 192), (28, 87, 242)),
    (2, 3): ((2, 12, 46, 220, 894), (52, 296, 1368)),
    (2, 4): ((2, 15, 82, 549, 3512), (100, 825, 6002)),
    (4, 3): ((4, 40, 304, 2732, 22896), (384, 4188, 39828)),
    (4, 4): ((4, 50, 548, 7311, 97160), (740, 12175, 179720)),
}
EQUIVARIANTS = {1: (2, 12, 82, 420), 2: (2, 17, 100, 588)}  # of n_max = 2, l_max = 3, true tensors of ν = 1 … 4

CASES = [  # degrees, L, groups
    ((2,), 2, None),
    ((1, 2), 1, None),
    ((1, 2), 2, None),
    ((2, 2), 2, (0, 0)),
    ((1, 1, 1), 0, None),
    ((1, 2, 3), 0, None),
    ((3, 1, 2), 2, None),
    ((2, 2, 2), 3, (0, 0, 2)),
    ((2, 2, 2), 2, (0, 0, 0)),
    ((1, 1, 2, 2), 0, (0, 0, 2, 3)),
    ((2, 1, 2, 1), 1, (0, 1, 0, 3)),
    ((2, 2, 2, 2), 0, (0, 0, 0, 0)),
    ((3, 3, 3, 3), 0, (0, 0, 2, 2)),
    ((1, 1, 1, 1, 2), 0, None),
    ((1, 2, 1, 2, 2), 1, (0, 1, 0, 1, 1)),
    ((1, 1, 1, 1, 1), 1, (0, 0, 0, 0, 0)),
]
ids = str


def vectors(degrees, groups, seed):
    """A random tensor per factor, the same one for factors of one group."""
    rng, made = np.random.default_rng(seed), {}
    groups = range(len(degrees)) if groups is None else groups
    return [made.setdefault(g, rng.normal(size=2 * l + 1)) for l, g in zip(degrees, groups, strict=True)]


def contracted(table, factors):
    """t [rank, 2L + 1]."""
    products = np.prod([f[table.monomials[:, i]] for i, f in enumerate(factors)], axis=0)
    return table.coefficients @ products


def test_real_coefficients_equal_the_oracle():
    keys = [key for key in ORACLE if key.startswith("cg_real/")]
    assert len(keys) == 42
    for key in keys:
        np.testing.assert_allclose(clebsch_gordan(*map(int, key.split("/")[1].split("_"))), ORACLE[key], rtol=0, atol=1e-12, err_msg=key)


def test_3j_equals_the_oracle():
    table = ORACLE["twoj_table"]
    assert np.sum(np.any(table % 2, axis=1)) == 397  # with a half-integer
    got = [wigner_3j(*row) for row in table / 2]
    np.testing.assert_allclose(got, ORACLE["wigner3j"], rtol=0, atol=1e-12)


def test_3j_symmetries():
    """Cyclic exchange of columns, and the sign of odd exchanges and of reversed components, at high degrees."""
    for j, m in (((20, 18, 15), (3, -7, 4)), ((12.5, 11, 6.5), (-3.5, 1, 2.5)), ((20, 20, 20), (1, 2, -3))):
        value, sign = wigner_3j(*j, *m), (-1) ** round(sum(j))
        assert abs(value) > 1e-3
        for order in itertools.permutations(range(3)):
            odd = np.linalg.det(np.eye(3)[list(order)]) < 0
            got = wigner_3j(*(j[i] for i in order), *(m[i] for i in order))
            np.testing.assert_allclose(got, sign * value if odd else value, rtol=1e-14)
        np.testing.assert_allclose(wigner_3j(*j, *(-x for x in m)), sign * value, rtol=1e-14)
    assert wigner_3j(1, 1, 1, 1, 1, -1) == wigner_3j(1, 1, 3, 0, 0, 0) == wigner_3j(1, 1, 1, 2, -1, -1) == 0


@pytest.mark.parametrize(("l1", "l2"), [(4, 6), (20, 1), (20, 20)])
def test_orthogonality(l1, l2):
    """Σ_m1m2 C_M C'_M' = δ, for L = L' and for different ones; the largest set of (20, 20) is spot-checked."""
    degrees = (0, 1, 13, 20) if l1 == l2 == 20 else range(l2 - l1 if l2 > l1 else l1 - l2, l1 + l2 + 1)
    rows = np.concatenate([clebsch_gordan(l1, l2, L).reshape(-1, 2 * L + 1).T for L in degrees])
    assert np.max(np.abs(rows @ rows.T - np.eye(len(rows)))) < 1e-12
    if l1 != 20 or l2 != 20:
        assert rows.shape[0] == rows.shape[1]


def test_coefficients_are_equivariant():
    """t(D a, D b) = D t(a, b); under a reflection a pseudotensor has one sign more."""
    small = itertools.product(range(4), range(4), range(5))
    for l1, l2, L in (*small, (10, 12, 20), (7, 13, 20), (20, 20, 3)):
        table = clebsch_gordan(l1, l2, L)
        inside = abs(l1 - l2) <= L <= l1 + l2
        assert bool(np.any(table)) == inside
        turned = np.einsum("ia,jb,ijk->abk", D[l1], D[l2], table, optimize=True)
        expected = np.einsum("abk,ck->abc", table, D[L])
        assert np.max(np.abs(turned - expected)) < 1e-12
        improper = [(-1) ** l * D[l] for l in (l1, l2, L)]  # of −R; the last one for true tensors
        turned = np.einsum("ia,jb,ijk->abk", improper[0], improper[1], table, optimize=True)
        expected = (-1) ** (l1 + l2 + L) * np.einsum("abk,ck->abc", table, improper[2])
        assert np.max(np.abs(turned - expected)) < 1e-12


@pytest.mark.parametrize(("degrees", "L", "groups"), CASES, ids=ids)
def test_couplings_are_equivariant(degrees, L, groups):
    table, factors = couplings(degrees, L, groups), vectors(degrees, groups, 1)
    before = contracted(table, factors)
    assert before.shape == (count_couplings(degrees, L, groups), 2 * L + 1) and len(before) > 0
    assert np.min(np.max(np.abs(before), axis=1)) > 1e-3
    pseudo = (-1) ** (sum(degrees) + L)
    for parity in (1, -1):
        turned = [parity**l * D[l] @ f for l, f in zip(degrees, factors, strict=True)]
        expected = before @ (parity**L * D[L]).T * (pseudo if parity < 0 else 1)
        np.testing.assert_allclose(contracted(table, turned), expected, rtol=0, atol=1e-12 * np.max(np.abs(before)))


@pytest.mark.parametrize(("degrees", "L", "groups"), CASES, ids=ids)
def test_rows_are_orthonormal(degrees, L, groups):
    """As symmetric tensors: a monomial stands for as many entries as its equal factors have distinct orders, and shares its coefficient."""
    table = couplings(degrees, L, groups)
    labels = range(len(degrees)) if groups is None else groups
    orders = np.ones(len(table.monomials))
    for g in set(labels):
        members = [i for i, h in enumerate(labels) if h == g]
        for n, row in enumerate(table.monomials[:, members].tolist()):
            repeats = math.prod(math.factorial(k) for k in collections.Counter(row).values())
            orders[n] *= math.factorial(len(members)) / repeats
    gram = np.einsum("rmn,skn,n->rmsk", table.coefficients, table.coefficients, 1 / orders)
    size = len(table.coefficients) * (2 * L + 1)
    assert np.max(np.abs(gram.reshape(size, size) - np.eye(size))) < 1e-12
    assert len({tuple(row) for row in table.monomials.tolist()}) == len(table.monomials)
    assert np.all(table.monomials >= 0) and np.all(table.monomials <= 2 * np.array(degrees))


def span(degrees, L, groups, tensors):
    """Values of all couplings at a few sets of tensors, one per factor, shape [rank, n]."""
    table = couplings(degrees, L, groups)
    return np.stack([contracted(table, factors) for factors in tensors], axis=1).reshape(len(table.coefficients), -1)


def residual(rows, others):
    """Norm of what of `rows` lies outside the span of `others`, relative."""
    solution = np.linalg.lstsq(others.T, rows.T, rcond=None)[0]
    return np.linalg.norm(others.T @ solution - rows.T) / np.linalg.norm(rows)


@pytest.mark.parametrize(("degrees", "L", "groups"), [c for c in CASES if len(c[0]) in (3, 4)], ids=ids)
def test_order_of_the_factors_does_not_matter(degrees, L, groups):
    """Permuted factors span the same functions of the same tensors."""
    labels = tuple(range(len(degrees))) if groups is None else groups
    sets = [vectors(degrees, labels, seed) for seed in range(20)]
    here = span(degrees, L, labels, sets)
    assert np.linalg.matrix_rank(here, tol=1e-8 * np.linalg.norm(here)) == len(here)
    for order in itertools.islice(itertools.permutations(range(len(degrees))), 1, 6):
        permuted = (tuple(degrees[i] for i in order), L, tuple(labels[i] for i in order))
        there = span(*permuted, [[factors[i] for i in order] for factors in sets])
        assert there.shape == here.shape and residual(here, there) < 1e-12


@pytest.mark.parametrize(
    ("degrees", "L", "groups"), [((2, 2, 2, 2), 0, (0, 0, 0, 0)), ((1, 1, 2, 2), 0, (0, 0, 2, 2)), ((2, 2, 2, 2), 1, (0, 0, 0, 3))], ids=ids
)
def test_equal_factors_span_what_distinct_ones_do_at_equal_tensors(degrees, L, groups):
    sets = [vectors(degrees, groups, seed) for seed in range(20)]
    together, apart = span(degrees, L, groups, sets), span(degrees, L, None, sets)
    assert residual(apart, together) < 1e-12 and residual(together, apart) < 1e-12
    assert len(together) == np.linalg.matrix_rank(apart, tol=1e-8 * np.linalg.norm(apart)) < len(apart)


# ---- counting


class Characters:
    """Integrals over SO(3) and O(3) of symmetric powers, by the trapezoidal rule, which is exact for trigonometric polynomials."""

    t = 2 * np.pi * np.arange(256) / 256
    weight = (1 - np.cos(t)) / len(t)

    @classmethod
    def character(cls, l, j=1):
        return np.sum(np.cos(np.arange(-l, l + 1)[:, None] * j * cls.t), axis=0)

    @classmethod
    def symmetric_power(cls, space, k, parity):
        """Character of Sym^k of ⊕_l multiplicity × (l) at rotations by t, times the inversion where parity is −1; `space` is {l: multiplicity}."""
        power_sum = [sum(n * parity ** (l * j) * cls.character(l, j) for l, n in space.items()) for j in range(k + 1)]
        h = [np.ones_like(cls.t)]
        for i in range(1, k + 1):
            h.append(sum(power_sum[j] * h[i - j] for j in range(1, i + 1)) / i)
        return h[k]

    @classmethod
    def count(cls, powers, L, sign):
        """Multiplicity of degree L in a product of symmetric powers (space, k); sign +1 and −1: true and pseudotensors; 0: both."""
        total = 0.0
        for parity in (1, -1) if sign else (1,):
            own = cls.character(L) * (1 if parity == 1 else sign * (-1) ** L)
            total += np.sum(cls.weight * own * math.prod(cls.symmetric_power(space, k, parity) for space, k in powers))
        value = total / (2 if sign else 1)
        assert abs(value - round(value)) < 1e-6 * max(value, 1)
        return round(value)


def partitions(n, largest):
    if n == 0:
        yield ()
    for k in range(min(n, largest), 0, -1):
        yield from ((k, *rest) for rest in partitions(n - k, k))


def patterns(order, l_max):
    """(degrees, groups) of every way in which ν factors have equal degrees and coincide."""
    for degrees in itertools.combinations_with_replacement(range(l_max + 1), order):
        runs = [len(list(run)) for _, run in itertools.groupby(degrees)]
        for sizes in itertools.product(*[list(partitions(n, n)) for n in runs]):
            groups, start = [], 0
            for k in itertools.chain(*sizes):
                groups += [start] * k
                start += k
            yield degrees, tuple(groups)


def tuples_of(degrees, groups, n_max):
    """How many tuples of radial indices coincide in this way."""
    count = 1
    for _, run in itertools.groupby(zip(degrees, groups, strict=True), key=lambda item: item[0]):
        sizes = collections.Counter(len(list(equal)) for _, equal in itertools.groupby(run, key=lambda item: item[1]))
        left = n_max
        for k in sizes.values():
            count, left = count * math.comb(max(left, 0), k), left - k
    return count


@functools.cache
def built_rank(degrees, L, groups):
    return len(coupling._build(degrees, L, groups).coefficients)


def enumerated(rank, order, n_max, l_max, L=0):
    """Sum of the ranks of all tuples: [true tensors, pseudotensors]."""
    total = [0, 0]
    for degrees, groups in patterns(order, l_max):
        members = tuples_of(degrees, groups, n_max)
        if members:
            total[(sum(degrees) + L) % 2] += members * rank(degrees, L, groups)
    return total


@pytest.mark.parametrize(
    ("degrees", "distinct", "equal", "pairs"),
    [
        ((1, 1, 1, 1), 3, 1, ((0, 0, 2, 2), 2)),
        ((2, 2, 2, 2), 5, 1, ((0, 0, 2, 2), 3)),
        ((3, 3, 3, 3), 7, 2, ((0, 0, 2, 2), 4)),
        ((4, 4, 4, 4), 9, 2, ((0, 0, 2, 2), 5)),
        ((1, 1, 2, 2), 3, None, ((0, 0, 2, 2), 2)),
        ((2, 2, 2, 4), 3, None, ((0, 0, 0, 3), 1)),
        ((2, 2, 2, 4), 3, None, ((0, 0, 2, 3), 2)),
        ((1, 1, 1, 1, 2), 6, None, ((0, 0, 0, 0, 4), 1)),
        ((2, 2, 2, 2, 2), 16, 1, None),
        ((1, 1, 1, 1, 1, 1), 15, 1, None),
    ],
)
def test_counts_of_one_tuple(degrees, distinct, equal, pairs):
    expected = {tuple(range(len(degrees))): distinct}
    expected |= {(0,) * len(degrees): equal} if equal else {}
    expected |= dict([pairs]) if pairs else {}
    for groups, count in expected.items():
        powers = [({degrees[g]: 1}, groups.count(g)) for g in sorted(set(groups))]
        assert Characters.count(powers, 0, 0) == count_couplings(degrees, 0, groups) == len(couplings(degrees, 0, groups).coefficients) == count


@pytest.mark.parametrize(("n_max", "l_max"), COUNTS)
def test_counts_of_invariants(n_max, l_max):
    """The whole table, by one integral over all densities at once and tuple by tuple."""
    reflected, proper = COUNTS[n_max, l_max]
    space = dict.fromkeys(range(l_max + 1), n_max)
    for order in range(1, 6):
        true, pseudo = enumerated(count_couplings, order, n_max, l_max)
        assert true == Characters.count([(space, order)], 0, 1) == reflected[order - 1]
        assert pseudo == Characters.count([(space, order)], 0, -1)
        if order > 2:
            assert true + pseudo == Characters.count([(space, order)], 0, 0) == proper[order - 3]


@pytest.mark.parametrize(("n_max", "l_max"), [row if row != (4, 4) else pytest.param(*row, marks=pytest.mark.slow) for row in COUNTS])
def test_as_many_invariants_are_built(n_max, l_max):
    reflected, proper = COUNTS[n_max, l_max]
    for order in range(1, 6):
        true, pseudo = enumerated(built_rank, order, n_max, l_max)
        assert true == reflected[order - 1] and (order < 3 or true + pseudo == proper[order - 3])


@pytest.mark.parametrize("L", EQUIVARIANTS)
def test_counts_of_equivariants(L):
    space = dict.fromkeys(range(4), 2)
    for order, expected in enumerate(EQUIVARIANTS[L], 1):
        built = enumerated(built_rank, order, 2, 3, L)
        assert built == [Characters.count([(space, order)], L, sign) for sign in (1, -1)]
        assert built[0] == expected


# ---- gauge, order and cache


def signature(degrees, L, groups):
    """The tables contracted with one fixed set of tensors: it changes with every phase, order or choice of rows."""
    labels = range(len(degrees)) if groups is None else groups
    factors = [np.cos(1.0 + g + 2.0 * np.arange(2 * l + 1)) for l, g in zip(degrees, labels, strict=True)]
    return contracted(couplings(degrees, L, groups), factors)


GOLDEN = {
    ((1, 1), 0, (0, 0)): [-0.78085235987],
    ((1, 2), 2, None): [0.55091340626, 0.05517623076, -0.07551898601, 0.23954460123, -0.44417106718],
    ((2, 2, 2), 0, (0, 0, 0)): [0.33322545311],
    ((1, 2, 3), 0, None): [-0.79339985061],
    ((1, 2, 2), 1, (0, 1, 1)): [0.55330755233, -0.8217219873, 0.24120314769, 0.26252647385, -0.62623950231, 0.17508546326],
    ((1, 1, 2, 2), 0, (0, 0, 2, 2)): [-0.85873545818, 0.1708075266],
    ((2, 2, 2, 2), 0, None): [0.42588381653, -0.20464993434, -0.32102128508, -0.69038374226, -0.16374603863],
    ((1, 1, 2, 2, 2), 0, (0, 0, 2, 2, 4)): [0.40543475703, -0.08189421012, -0.09695988305, -0.64581724784],
}


def test_gauge():
    """A golden: fitted coefficients in model files belong to these very functions, so a change needs a new version of the format."""
    for (degrees, L, groups), expected in GOLDEN.items():
        np.testing.assert_allclose(np.ravel(signature(degrees, L, groups)), expected, rtol=0, atol=1e-10, err_msg=str(degrees))


def test_tables_are_deterministic():
    """The same bytes in another process, with another hash seed and no cache."""
    code = (
        "import hashlib; from jaxpot.math.coupling import _build\n"
        "for case in (((1, 2, 3), 0, (0, 1, 2)), ((2, 2, 2, 2), 2, (0, 0, 2, 2)), ((1, 1, 2, 2, 2), 1, (0, 0, 2, 2, 4))):\n"
        "    table = _build(*case); print(hashlib.sha256(table.monomials.tobytes() + table.coefficients.tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and len(runs[0].split()) == 3


def test_labels_of_groups_are_only_compared():
    one, two = couplings((1, 1, 2, 2), 0, (0, 0, 2, 2)), couplings((1, 1, 2, 2), 0, (5, 5, -1, -1))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tables_cannot_be_changed():
    for array in (clebsch_gordan(1, 2, 3), *couplings((1, 2, 3)), *couplings((1, 1, 2, 2))):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


CACHED = ((1, 1, 2, 2), 0, (0, 0, 2, 3))


def equal(table, other):
    return all(np.array_equal(a, b) for a, b in zip(table, other, strict=True))


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A table and its file in a fresh cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table = coupling._cached(*CACHED)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    return table, file


def test_cache_is_read(stored, monkeypatch):
    table, _ = stored
    assert equal(table, coupling._build(*CACHED))

    def build(*arguments):
        raise AssertionError("built although it is in the cache")

    monkeypatch.setattr(coupling, "_build", build)
    assert equal(coupling._cached(*CACHED), table)
    with pytest.raises(AssertionError, match="built"):
        coupling._cached((1, 1, 2, 2), 0, (0, 0, 2, 2))


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b"not an archive", lambda b: b[: len(b) // 2], lambda b: b"PK\x05\x06" + bytes(18), lambda b: b[:200] + bytes(50) + b[250:]],
    ids=["empty", "not an archive", "cut", "no members", "zeros inside"],
)
def test_damaged_cache_is_rebuilt(stored, damage):
    table, file = stored
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert equal(coupling._cached(*CACHED), table)
    with np.load(file) as again:
        assert equal((again["monomials"], again["coefficients"]), table)
    assert [path for path in file.parent.iterdir()] == [file]


def test_cache_that_cannot_be_written_costs_nothing(stored, tmp_path, monkeypatch):
    table, file = stored
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # a file, so no folder can be made below it
    assert equal(coupling._cached(*CACHED), table)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))

    def refuse(*arguments, **more):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(coupling.tempfile, "TemporaryDirectory", refuse)
    assert equal(coupling._cached(*CACHED), table)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clebsch_gordan(1, -1, 0), "integers ≥ 0"),
        (lambda: clebsch_gordan(1, 0.5, 0.5), "integers ≥ 0"),
        (lambda: wigner_3j(1, 0.3, 1, 0, 0, 0), "multiples of ½"),
        (lambda: wigner_3j(1, -1, 1, 0, 0, 0), "degrees ≥ 0"),
        (lambda: couplings(()), "at least one degree"),
        (lambda: couplings((1, -1)), "degree ≥ 0"),
        (lambda: couplings((1, 1), 0, (0,)), "one group per degree"),
        (lambda: couplings((1, 2), 1, (0, 0)), "must have one degree"),
        (lambda: count_couplings((1, 2), 1, (0, 0)), "must have one degree"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
