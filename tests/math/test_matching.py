"""Matchings against brute force, plain Sinkhorn iterations, their limits, and finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import assert_below, is_finite, quick_jit, relative

from jaxpot.math import matching
from jaxpot.math.matching import Average, BestMatch, REMatch

GAMMAS = ((1e-3, 1.0), (1e-3, 0.03), (0.03, 1.0), (1.0, 1.0), (1e3, 1.0))  # and the spread of C; with the first pair P is decided
ALL = {"average": Average(), "best": BestMatch(), "rematch": REMatch(0.1)}
value = quick_jit(lambda match, C, rows, columns: match(C, rows, columns))
plan = quick_jit(lambda match, C, rows, columns: match.plan(C, rows, columns))
gradient = quick_jit(jax.value_and_grad(lambda C, match, rows, columns: match(C, rows, columns), argnums=(0, 1)))


def similarities(n, m, seed=0, spread=1.0):
    """Of unit vectors, between 1 − spread and 1."""
    x, y = np.split(np.random.default_rng(seed).normal(size=(n + m, 4)) + 0.5, [n])
    return 1 - spread * (1 - (x @ y.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))) ** 2)


def call(match, C, function=value):
    n, m = C.shape
    return float(function(match, jnp.asarray(C), jnp.ones(n, bool), jnp.ones(m, bool)))


def padded(C, n, m, fill=np.nan):
    """C in the upper left corner of [n, m], with its masks."""
    full = np.full((n, m), fill)
    full[: C.shape[0], : C.shape[1]] = C
    return jnp.asarray(full), jnp.arange(n) < C.shape[0], jnp.arange(m) < C.shape[1]


def brute_force(C):
    """The best of all permutations of both structures, repeated up to the least common multiple of their sizes."""
    total = np.lcm(*C.shape)
    big = np.repeat(np.repeat(C, total // C.shape[0], axis=0), total // C.shape[1], axis=1)
    return max(sum(big[i, p[i]] for i in range(total)) for p in itertools.permutations(range(total))) / total


def sinkhorn(C, gamma, n_iterations=20_000):
    """The plan by plain iterations."""
    K, (n, m) = np.exp(-(1 - C) / gamma), C.shape
    v = np.ones(m) / m
    for _ in range(n_iterations):
        u = 1 / n / (K @ v)
        v = 1 / m / (K.T @ u)
    return u[:, None] * K * v


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_average():
    C = similarities(3, 5)
    assert abs(call(Average(), C) - C.mean()) < 1e-15


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 4), (1, 4), (2, 4), (2, 3), (3, 2)])
def test_best_match_is_the_best_permutation(shape):
    errors = {seed: abs(call(BestMatch(), C := similarities(*shape, seed)) - brute_force(C)) for seed in range(4)}
    assert_below(errors, 1e-15)


def test_linear_program_equals_the_assignment_of_replicas(monkeypatch):
    args = [padded(similarities(n, m), n, m) for n, m in [(4, 3), (5, 7), (12, 9)]]
    before = [np.asarray(plan(BestMatch(), *a)) for a in args]
    monkeypatch.setattr(matching, "_REPLICAS", 0)
    for a, reference in zip(args, before, strict=True):
        np.testing.assert_allclose(plan(BestMatch(), *a), reference, atol=1e-15)


def test_best_match_gives_equal_atoms_equal_shares():
    C = np.repeat(similarities(2, 4), 2, axis=0)
    P = np.asarray(plan(BestMatch(), *padded(C, 4, 4)))
    assert np.all(P[0] == P[1]) and np.all(P[2] == P[3])
    np.testing.assert_allclose(np.stack([P.sum(axis=0), P.sum(axis=1)]), 0.25, atol=1e-15)
    assert abs(np.sum(P * C) - brute_force(C)) < 1e-15


def tied(name, rng):
    """Similarities with many best assignments."""
    C = similarities(*rng.integers(1, 6, 2), seed=int(rng.integers(1000)))
    if name == "supercells":
        return np.repeat(np.tile(C, (1, rng.integers(1, 4))), rng.integers(1, 4), axis=0)
    if name == "symmetric":  # of a structure with itself: assignments and their inverses
        C = similarities(*[len(C) + 1] * 2)
        return C + C.T
    if name == "integers":
        return rng.integers(0, 4, C.shape) * 0.25
    return C[:, :1] + C[:1]  # every assignment


@pytest.mark.parametrize("name", ["supercells", "symmetric", "integers", "all"])
def test_ties_fall_alike_whatever_order_and_round_off(name, monkeypatch):
    """The plan is that of infinitesimal entropy: it is optimal, and the limit of REMatch."""
    rng = np.random.default_rng(0)
    for case in range(60):
        C = tied(name, rng)
        n, m = C.shape
        P = matching._best(C, 1e-8)
        np.testing.assert_allclose(P.sum(axis=1), 1 / n, rtol=1e-12)
        np.testing.assert_allclose(P.sum(axis=0), 1 / m, rtol=1e-12)
        p, q = rng.permutation(n), rng.permutation(m)
        for noise in (0.0, 1e-15, 1e-10):
            moved = (C + noise * rng.uniform(-1, 1, C.shape))[np.ix_(p, q)]
            with monkeypatch.context() as patch:
                if case % 2 and n != m:
                    patch.setattr(matching, "_REPLICAS", 0)
                again = matching._best(moved, 1e-8)
            np.testing.assert_allclose(again, P[np.ix_(p, q)], atol=1e-13)
        np.testing.assert_allclose(matching._best(np.repeat(C, 2, axis=0), 1e-8), np.repeat(P, 2, axis=0) / 2, atol=1e-13)
        best = matching._assignment(C, np.lcm(n, m) // n, np.lcm(n, m) // m) / np.lcm(n, m)
        assert abs(np.sum((P - best) * C)) < 1e-13


def test_shared_plan_is_the_limit_of_rematch():
    for name in ("supercells", "symmetric", "integers"):
        C = tied(name, np.random.default_rng(3))
        np.testing.assert_allclose(plan(BestMatch(), *padded(C, *C.shape)), plan(REMatch(1e-3), *padded(C, *C.shape)), atol=1e-9)


@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_rematch_is_the_fixed_point_of_sinkhorn(gamma):
    C = similarities(4, 5)
    np.testing.assert_allclose(plan(REMatch(gamma), *padded(C, 4, 5)), sinkhorn(C, gamma), atol=1e-13)


@pytest.mark.parametrize("gamma", [1e-6, 1e-3, 0.03, 1.0, 1e3])
def test_plan_is_optimal(gamma):
    """Marginals, and ln P = (C + F_i + G_j)/γ: what is left after subtracting row and column means is C/γ."""
    for n, m in [(4, 4), (7, 5)]:
        C = similarities(n, m)
        P = np.asarray(plan(REMatch(gamma), *padded(C, n, m)))
        np.testing.assert_allclose(P.sum(axis=1), 1 / n, atol=1e-15 + 1e-15 / gamma)
        np.testing.assert_allclose(P.sum(axis=0), 1 / m, atol=1e-15 + 1e-15 / gamma)
        if gamma > 1e-2:  # below, entries underflow
            left = gamma * np.log(P) - C
            left = left - left.mean(axis=0) - left.mean(axis=1)[:, None] + left.mean()
            assert np.max(np.abs(left)) < 1e-13 * max(1, gamma)


def test_limits():
    errors = {}
    for n, m in [(4, 4), (3, 5)]:
        C = similarities(n, m)
        errors["small", n] = abs(call(REMatch(1e-3), C) - call(BestMatch(), C))
        errors["smaller", n] = abs(call(REMatch(1e-6), C) - call(BestMatch(), C))
        # the first correction is of the order of 1/γ
        errors["large", n] = abs(2 * call(REMatch(2e4), C) - call(REMatch(1e4), C) - C.mean())
    assert_below(errors, 1e-10)


def test_degenerate_similarities():
    """All equal, decided, and blocks that hardly touch, with one atom too many in one of them."""
    blocks = np.zeros((6, 4))
    blocks[:3, :3], blocks[3:, 3:] = 1.0, 0.9
    # columns 1 to 3 take all of rows 1 to 3 and a quarter of the others, for nothing; column 4 is filled by what is left
    exact = {"equal": (np.ones((4, 4)), 1.0), "decided": (np.eye(4), 1.0), "blocks": (blocks, 3 / 6 * 1.0 + 1 / 4 * 0.9)}
    for name, (C, best) in exact.items():
        (k, (by_C, by_match)) = gradient(jnp.asarray(C), REMatch(1e-3), jnp.ones(C.shape[0], bool), jnp.ones(C.shape[1], bool))
        assert abs(k - best) < 1e-12, name
        assert is_finite((by_C, by_match)), name


@pytest.mark.parametrize(("gamma", "spread"), GAMMAS)
@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_rematch_gradients(shape, gamma, spread):
    """By C and by gamma, with garbage in the padding."""
    C = similarities(*shape, spread=spread)
    full, rows, columns = padded(C, 5, 5)
    (_, (by_C, by_match)) = gradient(full, REMatch(gamma), rows, columns)
    assert np.all(np.asarray(by_C)[shape[0] :] == 0) and np.all(np.asarray(by_C)[:, shape[1] :] == 0)
    rng, errors = np.random.default_rng(1), {}
    for k in range(3):
        direction = rng.normal(size=shape)
        step = 1e-3 * min(gamma, 1)
        numeric = central(lambda d: call(REMatch(gamma), C + d * direction), step)  # noqa: B023
        exact = np.sum(np.asarray(by_C)[: shape[0], : shape[1]] * direction)
        errors[k] = abs(exact - numeric) / np.linalg.norm(by_C)
    numeric = central(lambda d: call(REMatch(gamma * (1 + d)), C), 1e-2) / gamma
    errors["gamma"] = abs(by_match.gamma - numeric) / max(abs(numeric), 1e-6 / gamma)
    assert_below(errors, 1e-6)


@quick_jit
def second_derivatives(C, gamma, rows, columns):
    gradients = jax.grad(lambda C, gamma: REMatch(gamma)(C, rows, columns), argnums=(0, 1))
    return jax.jacfwd(gradients, argnums=(0, 1))(C, gamma)


@pytest.mark.parametrize(("gamma", "spread"), GAMMAS)
def test_rematch_second_derivatives(gamma, spread):
    """Symmetric, and the derivatives of the first ones; relative to what they are where P is not decided."""
    C, args = similarities(3, 4, spread=spread), (jnp.ones(3, bool), jnp.ones(4, bool))
    (by_CC, by_Cg), (by_gC, by_gg) = second_derivatives(jnp.asarray(C), jnp.asarray(gamma), *args)
    hessian = np.asarray(by_CC).reshape(12, 12)
    direction, step = np.random.default_rng(2).normal(size=C.shape), 1e-3 * min(gamma, 1)

    def first(d=0.0, dg=0.0):
        _, (by_C, by_match) = gradient(jnp.asarray(C + d * direction), REMatch(gamma * (1 + dg)), *args)
        return np.asarray(by_C), float(by_match.gamma)

    errors = {
        "symmetric": np.max(np.abs(hessian - hessian.T)),
        "mixed": np.max(np.abs(by_Cg - by_gC)),
        "by C": np.max(np.abs(np.einsum("ijkl,kl->ij", by_CC, direction) - central(lambda d: first(d)[0], step))),
        "by C and gamma": np.max(np.abs(by_Cg - central(lambda d: first(dg=d)[0], 1e-3) / gamma)),
        "by gamma": abs(by_gg - central(lambda d: first(dg=d)[1], 1e-3) / gamma),
    }
    scale = {"symmetric": gamma, "by C": gamma, "by gamma": gamma**2 * max(gamma, 1) / spread}
    assert_below({key: error * scale.get(key, gamma**2 / spread) for key, error in errors.items()}, 1e-7)


@pytest.mark.parametrize("name", ALL)
def test_padding_order_and_direction(name):
    """What padding holds does not matter; atoms may be permuted; k(A, B) = k(B, A)."""
    match, C, rng = ALL[name], similarities(4, 3), np.random.default_rng(3)
    k, (by_C, _) = gradient(*[padded(C, 4, 3)[0], match, *padded(C, 4, 3)[1:]])
    p, q = rng.permutation(6), rng.permutation(5)
    errors = {}
    for fill in (np.nan, np.inf, 0.0, 1e3):
        full, rows, columns = padded(C, 6, 5, fill)
        other, (by_other, _) = gradient(full[p][:, q], match, rows[p], columns[q])
        back = np.asarray(by_other)[np.argsort(p)][:, np.argsort(q)]
        errors[fill] = max(abs(k - other), np.max(np.abs(back[:4, :3] - by_C)))
        assert np.all(back[4:] == 0) and np.all(back[:, 3:] == 0)
    errors["transposed"] = abs(k - call(match, C.T))
    assert_below(errors, 1e-14)


@pytest.mark.parametrize("name", ALL)
def test_batches(name):
    """vmap, jit, scan, forward and reverse mode and their mixture, against one structure at a time."""
    match, stack = ALL[name], jnp.stack([padded(similarities(n, 4, n), 4, 4, 0.0)[0] for n in (1, 3, 4)])
    rows, columns = jnp.array([[True] + [False] * 3, [True] * 3 + [False], [True] * 4]), jnp.ones(4, bool)
    one = lambda C, r: match(C, r, columns)  # noqa: E731
    batch = quick_jit(jax.vmap(jax.value_and_grad(one)))(stack, rows)
    forward = quick_jit(jax.vmap(jax.jacfwd(one)))(stack, rows)
    mapped = quick_jit(lambda: jax.lax.map(lambda a: one(*a), (stack, rows)))()
    for i in range(3):
        k, (by_C, _) = gradient(stack[i], match, rows[i], columns)
        assert relative(batch[0][i], k) < 1e-14 and relative(mapped[i], k) < 1e-14
        assert relative(batch[1][i], by_C) < 1e-13 and relative(forward[i], by_C) < 1e-13
    assert is_finite(quick_jit(jax.vmap(jax.hessian(one)))(stack, rows))


@pytest.mark.parametrize("name", ALL)
def test_no_atoms(name):
    k, (by_C, by_match) = gradient(jnp.ones((2, 3)), ALL[name], jnp.zeros(2, bool), jnp.ones(3, bool))
    assert k == 0 and np.all(np.asarray(by_C) == 0) and is_finite(by_match)


@pytest.mark.parametrize("name", ALL)
def test_nan_stays(name):
    C = similarities(3, 3)
    C[1, 2] = np.nan
    assert np.isnan(call(ALL[name], C))


def test_unconverged_is_nan(monkeypatch):
    monkeypatch.setattr(matching, "_STEPS", 4)
    C = similarities(4, 4)
    args = jnp.ones(4, bool), jnp.ones(4, bool)
    anew = quick_jit(jax.value_and_grad(lambda C, match: match(C, *args), argnums=(0, 1)))
    k, (by_C, by_match) = anew(jnp.asarray(C), REMatch(0.02))
    assert np.isnan(k) and np.all(np.isnan(by_C)) and np.isnan(by_match.gamma)
    assert is_finite(anew(jnp.asarray(C), REMatch(100.0)))


@pytest.mark.parametrize("name", ALL)
def test_single_precision(name):
    C = similarities(4, 3)
    full, rows, columns = padded(C, 5, 5)
    k, (by_C, _) = gradient(full, ALL[name], rows, columns)
    single, (by_single, _) = gradient(full.astype(jnp.float32), ALL[name], rows, columns)
    assert single.dtype == by_single.dtype == jnp.float32
    assert relative(single, k) < 1e-6 and relative(by_single, by_C) < 1e-5


def test_refuses():
    with pytest.raises(ValueError, match="gamma must be > 0"):
        REMatch(0.0)
    with pytest.raises(ValueError, match="vmap"):
        Average()(jnp.ones((2, 3, 3)), jnp.ones(3, bool), jnp.ones(3, bool))
