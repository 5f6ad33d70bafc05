"""The atomic cluster expansion: counts and ranks, identities with other descriptors, symmetry, brute force, derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import assert_below, evaluate, is_finite, quick_jit, relative

import jaxpot
from jaxpot import ACE, GTO, SOAP, AtomicPotential, CosineCutoff, Density, Environment, Linear, TotalDegree, random_rotation
from jaxpot.cutoffs import PowerCutoff, Step
from jaxpot.descriptors import PerOrder, PurifiedACE
from jaxpot.descriptors.base import features as stack_features
from jaxpot.descriptors.products import Selection
from jaxpot.descriptors.slopes import waist_of, with_slopes
from jaxpot.heads import Embedding
from jaxpot.math.coupling import clebsch_gordan, couplings
from jaxpot.passes import condense, prepare
from jaxpot.radial import Agnesi, Bessel, Chebyshev, base
from jaxpot.tensors import wigner_d

RADIUS = 4.0
SPECIES = ("C", "Si")
ROTATION = np.asarray(random_rotation(jax.random.key(1)))
D = [np.asarray(d) for d in wigner_d(ROTATION, 3)]

# n_max, l_max: number of invariants of ν = 1 … densities; rows as long as they stay below 1000 functions
COUNTS = {
    (1, 2): (1, 3, 5, 9, 13),
    (1, 4): (1, 5, 14, 51, 154),
    (2, 2): (2, 9, 26, 75, 192),
    (2, 3): (2, 12, 46, 220),
    (2, 4): (2, 15, 82, 549),
    (4, 3): (4, 40, 304),
    (4, 4): (4, 50, 548),
}

evaluated = quick_jit(lambda model, envs: stack_features(prepare(model), envs))
coefficients = quick_jit(lambda model, envs: jax.vmap(condense(model.expansion).of)(envs))
factors_of = quick_jit(lambda density, env: condense(density).factors(env))


def environments(n, k, seed, species=2):
    """Random environments of k neighbours each; 2r/r_c − 1 is spread like the nodes of Chebyshev polynomials."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(n, k, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    r = RADIUS * (1 + np.cos(np.pi * rng.random((n, k, 1)))) / 2
    return Environment(
        vectors=direction * r,
        species=rng.integers(0, species, (n, k)),
        center=rng.integers(0, species, n),
        index=np.zeros((n, k), int),
        mask=np.ones((n, k), bool),
    )


def moved(envs, matrix=None, order=None):
    order = np.arange(envs.mask.shape[1]) if order is None else order
    matrix = np.eye(3) if matrix is None else matrix
    return envs.replace(vectors=(envs.vectors @ matrix.T)[:, order], species=envs.species[:, order])


def together(*stacks):
    return jax.tree_util.tree_map(lambda *x: np.concatenate(x), *stacks)


def emptied(envs, n):
    """Only the first n neighbours are left; the other slots are parked outside the cutoff."""
    out = np.arange(envs.mask.shape[1]) >= n
    parked = np.array([1.001 * RADIUS, 0.0, 0.0])
    return envs.replace(vectors=np.where(out[None, :, None], parked, envs.vectors), mask=envs.mask & ~out[None])


def sharp(n_max, l_max, **changes):
    return Density(SPECIES, PowerCutoff(RADIUS), Agnesi(n_max, nearest=1.8), l_max, sigma=None, center_weight=0.0, **changes)


def signed(n_max, l_max):
    """One channel to which the two elements contribute with opposite sign: coefficients of many neighbours are nearly independent and of mean zero."""
    channels = np.array([[1.0], [-1.0]])
    return Density(SPECIES, Step(RADIUS), Chebyshev(n_max), l_max, sigma=None, center_weight=0.0, channels=channels)


def per_order(n_max, l_max, order):
    return PerOrder((n_max,) * order, (l_max,) * order)


MIXING = np.random.default_rng(0).normal(size=(2, 2, 3))  # 2 elements, 2 radial functions, 3 channels
MIXING_BY_DEGREE = np.random.default_rng(1).normal(size=(2, 3, 2, 3))
SMEARED = Density(SPECIES, CosineCutoff(RADIUS, width=1.0), GTO(2), 2, sigma=0.5)
SELECTION = TotalDegree((3, 3, 3), weight=1.0)
VARIANTS = {
    "one-hot": lambda: ACE(sharp(2, 2), TotalDegree((3, 3, 2, 2))),
    "per order": lambda: ACE(sharp(2, 2), PerOrder((2, 2, 1, 1), (0, 2, 2, 1))),
    "alchemical": lambda: ACE(sharp(2, 2, channels=np.array([[0.8], [-0.5]])), SELECTION),
    "smeared": lambda: ACE(SMEARED, SELECTION),
    "vector": lambda: ACE(sharp(2, 2, channels=np.array([[0.8], [-0.5]])), SELECTION, lam=1),
    "pseudoscalar": lambda: ACE(sharp(2, 2, channels=np.array([[0.8], [-0.5]])), TotalDegree((4, 4, 6)), pseudo=True),
    "smeared pseudotensor": lambda: ACE(SMEARED, TotalDegree((3, 3)), lam=2, pseudo=True),
    "table": lambda: ACE(Density(("C",), CosineCutoff(RADIUS), Bessel(2), 2, sigma=None, center_weight=0.0), SELECTION),
    "mixed": lambda: ACE(sharp(2, 2, mixing=MIXING), TotalDegree((4, 4))),
    "tensor-reduced": lambda: ACE(sharp(2, 2, mixing=MIXING_BY_DEGREE), TotalDegree((2, 4, 4, 4)), tensor_reduced=True),
    "tensor-reduced vector": lambda: ACE(sharp(2, 2, mixing=MIXING), TotalDegree((2, 4, 4)), lam=1, tensor_reduced=True),
    "tensor-reduced, smeared, one-hot": lambda: ACE(SMEARED, TotalDegree((2, 4, 3)), tensor_reduced=True),
    "purified": lambda: PurifiedACE(sharp(2, 2, channels=np.array([[0.8], [-0.5]])), SELECTION),
    "purified vector": lambda: PurifiedACE(sharp(2, 1), TotalDegree((1, 2, 2)), lam=1),
}


# ---- counts and ranks


@pytest.mark.parametrize(("n_max", "l_max"), COUNTS)
def test_numbers_and_ranks(n_max, l_max):
    """Over 1100 environments of 40 neighbours the columns of every order are linearly independent.

    With columns of unit length the smallest eigenvalue of the Gram matrix is more than 1e-4 of the largest, where that of a dependent
    set would be 1e-16; the numbers are those of the group's characters, so nothing is missing.
    """
    counts = COUNTS[n_max, l_max]
    model = ACE(signed(n_max, l_max), per_order(n_max, l_max, len(counts)))
    orders = np.array([len(factors) for factors, _ in model.labels()])
    assert tuple(np.bincount(orders)[1:]) == counts and model.n_features == sum(counts)
    features = np.asarray(evaluated(model, environments(1100, 40, 0)))
    for order in range(1, len(counts) + 1):
        columns = features[:, orders == order]
        columns = columns / np.linalg.norm(columns, axis=0)
        spectrum = np.linalg.eigvalsh(columns.T @ columns)
        assert len(spectrum) == counts[order - 1] and spectrum[0] > 1e-4 * spectrum[-1]


def test_numbers_of_functions():
    """n_max = 2, l_max = 3; pseudoscalars are what SO(3) has more than O(3)."""
    for lam, pseudo, expected in (
        (0, False, (2, 12, 46, 220, 894)),
        (0, True, (0, 0, 6, 76, 474)),
        (1, False, (2, 12, 82, 420)),
        (2, False, (2, 17, 100, 588)),
    ):
        model = ACE(signed(2, 3), per_order(2, 3, len(expected)), lam=lam, pseudo=pseudo)
        orders = np.array([len(factors) for factors, _ in model.labels()])
        assert tuple(np.bincount(orders, minlength=len(expected) + 1)[1:]) == expected


# ---- identities


def test_second_order_is_the_sharp_power_spectrum():
    r"""p_qq'l = (−1)^l √(8π²) B_(ql)(q'l), with √2 more where q ≠ q': the coupling to L = 0 is (−1)^l δ/√(2l + 1)."""
    density = sharp(3, 3)
    model = ACE(density, PerOrder((1, 3), (0, 3)))
    soap = SOAP(density, normalize=False)
    envs = environments(20, 12, 1)
    functions, spectrum = np.asarray(evaluated(model, envs)), np.asarray(evaluated(soap, envs))
    column = {factors: i for i, (factors, _) in enumerate(model.labels()) if len(factors) == 2}
    assert len(column) == soap.n_features
    index = [column[(a, l), (b, l)] for a, b, l in soap.labels()]
    factor = [(-1) ** l * np.sqrt(8 * np.pi**2) * (1 if a == b else np.sqrt(2)) for a, b, l in soap.labels()]
    assert relative(functions[:, index] * np.array(factor), spectrum) < 1e-12


def bispectrum(c, l_max):
    """Σ C c_q1l1 c_q2l2 c_q3l3 for every q1 … q3 and l1 ≤ l2 ≤ l3 of even sum, from coefficients [n, Q, L]."""
    block = [c[:, :, l * l : (l + 1) ** 2] for l in range(l_max + 1)]
    out = []
    for l1, l2, l3 in itertools.combinations_with_replacement(range(l_max + 1), 3):
        if l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0:
            table = clebsch_gordan(l1, l2, l3)
            out.append(np.einsum("nai,nbj,nck,ijk->nabc", block[l1], block[l2], block[l3], table, optimize=True).reshape(len(c), -1))
    return np.concatenate(out, axis=1)


def test_third_order_spans_the_bispectrum():
    """Both ways: least squares leaves nothing, and the redundant bispectrum has the rank that ACE has functions.

    The singular values fall from 1e-2 to below 1e-12 of the largest there.
    """
    model, envs = ACE(signed(2, 3), PerOrder((1, 1, 2), (0, 0, 3))), environments(300, 30, 2)
    orders = np.array([len(factors) for factors, _ in model.labels()])
    functions = np.asarray(evaluated(model, envs))[:, orders == 3]
    reference = bispectrum(np.asarray(coefficients(model, envs)), 3)
    assert functions.shape[1] == 46 < reference.shape[1]
    for target, given in ((reference, functions), (functions, reference)):
        given = given / np.linalg.norm(given, axis=0)
        solution, _, rank, singular = np.linalg.lstsq(given, target, rcond=1e-8)
        assert rank == 46 and singular[45] > 1e-3 * singular[0]
        assert np.all(singular[46:] < 1e-12 * singular[0])
        assert np.linalg.norm(given @ solution - target) < 1e-10 * np.linalg.norm(target)


# ---- symmetry


@pytest.mark.parametrize(
    ("lam", "pseudo", "n_max", "l_max"),
    [
        (0, False, (2, 2, 2, 1, 1), (0, 3, 3, 3, 2)),
        (0, True, (1, 1, 2, 1, 2), (0, 0, 3, 3, 2)),
        (1, False, (2, 2, 1, 1, 1), (1, 3, 3, 2, 2)),
        (1, True, (1, 2, 1, 1, 1), (0, 3, 3, 2, 2)),
        (2, False, (2, 2, 1, 1, 1), (2, 3, 3, 2, 2)),
        (2, True, (1, 2, 1, 1, 1), (0, 3, 3, 2, 2)),
    ],
)
def test_equivariance(lam, pseudo, n_max, l_max):
    """Rotation, rotation with inversion, and the exchange of neighbours, of all orders up to five; relative to the largest of each order."""
    density = Density(SPECIES, PowerCutoff(RADIUS), Agnesi(2, nearest=1.8), 3, sigma=None, center_weight=0.0, channels=np.array([[1.0], [-0.6]]))
    model, envs = ACE(density, PerOrder(n_max, l_max), lam=lam, pseudo=pseudo), environments(4, 9, 3)
    orders = np.array([len(factors) for factors, _ in model.labels()])
    assert orders.max() == 5
    stacks = (envs, moved(envs, ROTATION), moved(envs, -ROTATION), moved(envs, order=np.random.default_rng(0).permutation(9)))
    before, rotated, inverted, exchanged = np.split(np.asarray(evaluated(model, together(*stacks))).reshape(16, model.n_features, -1), 4)
    assert before.shape[2] == 2 * lam + 1
    turned, sign, errors = before @ D[lam].T, (-1) ** lam * (-1 if pseudo else 1), {}
    for order in set(orders.tolist()):
        own = orders == order
        assert np.max(np.abs(before[:, own])) > 0
        errors[order, "rotated"] = relative(rotated[:, own], turned[:, own])
        errors[order, "inverted"] = relative(inverted[:, own], sign * turned[:, own])
        errors[order, "exchanged"] = relative(exchanged[:, own], before[:, own])
    assert_below(errors, 1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_labels_and_smoothness(name):
    model = VARIANTS[name]()
    labels, tail = model.labels(), (2 * model.lam + 1,) if model.lam or model.pseudo else ()
    assert len(labels) == len(set(labels)) == model.n_features
    envs = environments(3, 4, 4, species=len(model.species))
    assert jax.eval_shape(lambda envs: stack_features(prepare(model), envs), envs).shape == (3, model.n_features, *tail)
    assert jax.eval_shape(model.environment, jax.tree_util.tree_map(lambda x: x[0], envs)).shape == (model.n_features, *tail)
    for power in (0.0, 2.0, 3.0):
        smoothness = model.smoothness(power)
        assert smoothness.shape == (model.n_features,) and np.min(smoothness) >= 1
        np.testing.assert_allclose(smoothness, model.smoothness(1.0) ** power, rtol=1e-14)


def test_smoothness_counts_degrees():
    model = ACE(sharp(3, 2), TotalDegree((2, 4), weight=1.5))
    for (factors, _), value in zip(model.labels(), model.smoothness(1.0), strict=True):
        total = sum(q % 3 + 1.5 * l for q, l in factors)
        assert value == 1 + total and total <= (2, 4)[len(factors) - 1]
    orders = np.array([len(factors) for factors, _ in model.labels()])
    np.testing.assert_allclose(model.smoothness(2.0, order=3.0), 3.0 ** (orders - 1) * model.smoothness(2.0), rtol=1e-14)
    reduced = ACE(sharp(2, 2, mixing=MIXING), TotalDegree((0, 4)), tensor_reduced=True)
    np.testing.assert_array_equal(reduced.smoothness(1.0), [1 + sum(ls) for _, ls, _ in reduced.labels()])
    np.testing.assert_array_equal(reduced.smoothness(0.0, order=5.0), [5.0 ** (len(ls) - 1) for _, ls, _ in reduced.labels()])


def test_selections_are_what_they_say():
    """Every tuple whose degrees sum up to no more than D, and no other; only even sums of l have invariants."""
    model = ACE(sharp(3, 2), TotalDegree((2, 3, 2), weight=0.5))
    got = {factors for factors, _ in model.labels()}
    expected = set()
    for order, limit in ((1, 2), (2, 3), (3, 2)):
        for factors in itertools.combinations_with_replacement(itertools.product(range(3), range(6)), order):  # (l, q), q = 3 · element + n
            ls = tuple(l for l, _ in factors)
            groups = tuple(factors.index(f) for f in factors)
            if sum(q % 3 + 0.5 * l for l, q in factors) <= limit and sum(ls) % 2 == 0 and len(couplings(ls, 0, groups).coefficients):
                expected.add(tuple((q, l) for l, q in factors))
    assert got == expected


# ---- values against brute force


def contributions(model, env):
    """What each neighbour adds to c, shape [K, Q, L]."""
    density = model.expansion
    channels, harmonics = (np.asarray(x) for x in factors_of(density, env))
    degree = np.repeat(np.arange(density.l_max + 1), 2 * np.arange(density.l_max + 1) + 1) if channels.shape[1] > 1 else np.zeros(harmonics.shape[1], int)
    return np.transpose(channels[:, degree], (0, 2, 1)) * harmonics[:, None, :]


def coupled(model, product):
    """All functions [F, 2L + 1] from product(factors (q, l), components [n, ν]) [n]: Σ over the monomials of the coupling tables."""
    out = []
    for factors, r in model.labels():
        ls = tuple(l for _, l in factors)
        table = couplings(ls, model.lam, tuple(factors.index(f) for f in factors))
        out.append(table.coefficients[r] @ product(factors, table.monomials))
    return np.array(out)


def by_hand(model, c):
    """Functions from coefficients c [Q, L]."""
    return coupled(model, lambda factors, m: np.prod([c[q, l * l + m[:, t]] for t, (q, l) in enumerate(factors)], axis=0))


@pytest.mark.parametrize("name", ["one-hot", "per order", "alchemical", "smeared", "vector", "pseudoscalar", "table", "mixed"])
def test_values_are_products_of_the_density(name):
    model = VARIANTS[name]()
    envs = environments(2, 6, 5, species=len(model.species))
    c, got = np.asarray(coefficients(model, envs)), np.asarray(evaluated(model, envs)).reshape(2, model.n_features, -1)
    assert relative(got, np.stack([by_hand(model, x) for x in c])) < 1e-12


def pure_product(phi, factors, m):
    """Σ over tuples of distinct neighbours of Π φ, by brute force."""
    rows = [phi[:, q, l * l + m[:, t]] for t, (q, l) in enumerate(factors)]
    return sum(np.prod([row[j] for row, j in zip(rows, js, strict=True)], axis=0) for js in itertools.permutations(range(len(phi)), len(rows)))


PURE = PurifiedACE(sharp(2, 2, channels=np.array([[1.0], [-0.6]])), TotalDegree((3, 3, 3, 2)))
NAIVE = ACE(PURE.expansion, PURE.selection)


def test_purified_products_vanish_for_too_few_neighbours():
    """Relative to the naive products, which do not."""
    envs, orders = environments(5, 5, 6), np.array([len(factors) for factors, _ in PURE.labels()])
    stacks = together(*(emptied(envs, n) for n in range(5)))
    for n, pure, plain in zip(range(5), *(np.split(np.asarray(evaluated(model, stacks)), 5) for model in (PURE, NAIVE)), strict=True):
        for order in range(1, 5):
            own = orders == order
            if n == 0:
                assert np.all(pure[:, own] == 0)
            elif order > n:
                assert np.max(np.abs(pure[:, own])) < 1e-12 * np.max(np.abs(plain[:, own]))
            else:
                assert np.max(np.abs(pure[:, own])) > 1e-6 * np.max(np.abs(plain[:, own]))


@pytest.mark.parametrize("lam", [0, 1])
def test_purified_values_are_sums_over_distinct_neighbours(lam):
    model = PurifiedACE(PURE.expansion, TotalDegree((3, 3, 3)), lam=lam)
    envs = environments(2, 4, 7)
    got = np.asarray(evaluated(model, envs)).reshape(2, model.n_features, -1)
    for i in range(2):
        phi = contributions(model, jax.tree_util.tree_map(lambda x, i=i: x[i], envs))
        assert relative(got[i], coupled(model, lambda factors, m, phi=phi: pure_product(phi, factors, m))) < 1e-12


def test_one_neighbour_makes_first_order_alone():
    """With one neighbour the purified basis is its pair part, and the naive one the square of the same."""
    env, orders = emptied(environments(25, 5, 8), 1), np.array([len(factors) for factors, _ in PURE.labels()])
    pure, naive = np.asarray(evaluated(PURE, env)), np.asarray(evaluated(NAIVE, env))
    np.testing.assert_allclose(pure[:, orders == 1], naive[:, orders == 1], rtol=1e-13)
    assert np.max(np.abs(naive[:, orders == 2])) > 1e-3


# ---- many elements


@pytest.mark.parametrize("name", ["tensor-reduced", "tensor-reduced vector", "tensor-reduced, smeared, one-hot"])
def test_tensor_reduced_functions_are_products_within_a_channel(name):
    model, envs = VARIANTS[name](), environments(2, 6, 9)
    c, got = np.asarray(coefficients(model, envs)), np.asarray(evaluated(model, envs)).reshape(2, model.n_features, -1)
    for i in range(2):
        expected = []
        for channel, ls, r in model.labels():
            table, own = couplings(ls, model.lam, tuple(ls.index(l) for l in ls)), c[i, channel]
            products = [np.prod([own[l * l + m] for l, m in zip(ls, row, strict=True)]) for row in table.monomials]
            expected.append(table.coefficients[r] @ np.array(products))
        assert relative(got[i], np.array(expected)) < 1e-12


def test_mixing_is_the_sum_over_elements_and_radial_functions():
    envs = environments(3, 6, 10)
    plain = np.asarray(coefficients(ACE(sharp(2, 2), SELECTION), envs)).reshape(3, 2, 2, 9)  # element, n
    for mixing in (MIXING, MIXING_BY_DEGREE):
        got = np.asarray(coefficients(ACE(sharp(2, 2, mixing=mixing), SELECTION, tensor_reduced=True), envs))
        by_degree = mixing if mixing.ndim == 4 else np.repeat(mixing[:, None], 3, axis=1)
        degree = np.repeat(np.arange(3), (1, 3, 5))
        assert relative(got, np.einsum("isnm,smnq->iqm", plain, by_degree[:, degree])) < 1e-13


def test_tensor_reduced_number_is_linear_in_channels():
    selection, counts = TotalDegree((2, 4, 4)), {}
    for n_species, channels in itertools.product((1, 2, 3), (1, 2, 5, 8)):
        density = Density(
            ("C", "Si", "O")[:n_species],
            PowerCutoff(RADIUS),
            Agnesi(4, nearest=1.8),
            3,
            sigma=None,
            center_weight=0.0,
            mixing=np.ones((n_species, 4, channels)),
        )
        counts[n_species, channels] = ACE(density, selection, tensor_reduced=True).n_features
    assert all(counts[s, k] == k * counts[1, 1] for s, k in counts) and counts[1, 1] > 3


def test_one_hot_channels_are_elements():
    """What holds a channel of silicon is zero without silicon, and exchanging the elements exchanges the channels."""
    model, envs = VARIANTS["one-hot"](), environments(3, 6, 11)
    carbon, swapped = envs.replace(species=np.zeros_like(envs.species)), envs.replace(species=1 - envs.species)
    got, alone, other = np.split(np.asarray(evaluated(model, together(envs, carbon, swapped))), 3)
    column = {label: i for i, label in enumerate(model.labels())}
    has_silicon = np.array([any(q >= 2 for q, _ in factors) for factors, _ in model.labels()])
    assert np.all(alone[:, has_silicon] == 0) and np.all(np.max(np.abs(alone[:, ~has_silicon]), axis=0) > 0)
    pairs = [(f, r) for f, r in model.labels() if len(f) < 3]  # for up to two factors the other order is the same function
    exchanged = [(tuple(sorted((((q + 2) % 4, l) for q, l in f), key=lambda x: x[::-1])), r) for f, r in pairs]
    assert relative(other[:, [column[p] for p in exchanged]], got[:, [column[p] for p in pairs]]) < 1e-13


def test_alchemical_channels():
    """Identity channels are one per element; one channel of equal weights sees no elements."""
    envs = environments(3, 6, 12)
    one_hot, identity = ACE(sharp(2, 2), SELECTION), ACE(sharp(2, 2, channels=np.eye(2)), SELECTION)
    assert one_hot.labels() == identity.labels()
    assert relative(evaluated(identity, envs), evaluated(one_hot, envs)) < 1e-14
    blind = ACE(sharp(2, 2, channels=np.ones((2, 1))), SELECTION)
    assert blind.n_features < one_hot.n_features
    np.testing.assert_array_equal(evaluated(blind, envs.replace(species=1 - envs.species)), evaluated(blind, envs))


# ---- derivatives

both_jacobians = quick_jit(lambda model, env: (with_slopes(model, env), with_slopes.dispatch(object)(model, env)))


@pytest.mark.parametrize("name", VARIANTS)
def test_jacobian_equals_the_default(name):
    model = VARIANTS[name]()
    env = jax.tree_util.tree_map(lambda x: x[0], emptied(environments(1, 5, 13, species=len(model.species)), 4))
    (value, jacobian), (expected, default) = both_jacobians(model, env)
    assert jacobian.shape == (*value.shape, 5, 3)
    assert relative(value, expected) < 1e-12 and relative(jacobian, default) < 1e-12
    assert np.all(np.asarray(jacobian)[..., 4, :] == 0) and np.max(np.abs(jacobian)) > 1e-3


@pytest.mark.parametrize("name", ["one-hot", "smeared pseudotensor"])
def test_waist_of_a_stack(name):
    """What a fit multiplies: the derivatives by the coefficients, in blocks, times those of the coefficients, for several atoms at once."""
    model, envs = VARIANTS[name](), environments(3, 4, 14)

    def by_waist(model, envs):
        waist = waist_of(condense(model))
        coefficients, slopes = waist.coefficients(envs)
        features, blocks = waist.beyond(coefficients)
        return features, slopes, blocks, jax.vmap(lambda env: with_slopes.dispatch(object)(model, env))(envs)

    features, slopes, blocks, (expected, jacobians) = quick_jit(by_waist)(model, envs)
    got = np.zeros((len(features), 3, 3, 4))
    for (rows, columns), values in zip(waist_of(model).blocks, blocks, strict=True):
        np.add.at(got, rows, np.einsum("rcn,cnak->rnak", values, np.asarray(slopes)[columns]))
    assert relative(np.moveaxis(features, 1, 0).reshape(expected.shape), expected) < 1e-12
    assert relative(np.transpose(got, (1, 0, 3, 2)).reshape(jacobians.shape), jacobians) < 1e-12


SPECIAL = {
    "isolated": np.tile([1.001 * RADIUS, 0, 0], (3, 1)),
    "one neighbour on the polar axis": np.array([[0, 0, 1.7], [1.001 * RADIUS, 0, 0], [1.001 * RADIUS, 0, 0]]),
    "collinear triple": np.array([[0, 0, 1.7], [0, 0, -2.1], [0, 0, 3.1]]),
    "collinear, off the axes": np.outer([1.2, -1.9, 2.6], [0.48, 0.6, 0.64]),
    "at the cutoff": np.array([[0, RADIUS, 0], [1.7, 0, 0], [0, -1.8, 0]]),
    "generic": np.array([[0.3, -1.1, 1.2], [-1.4, 0.9, 0.2], [0.5, 1.6, -1.3]]),
}


@pytest.mark.parametrize("make", [lambda: ACE(sharp(2, 2), TotalDegree((3, 3, 2))), lambda: ACE(SMEARED, TotalDegree((2, 2, 2)))], ids=["sharp", "smeared"])
def test_second_derivatives(make):
    """Finite where spherical coordinates are singular or slots are empty; empty slots have none; equal to differences of first ones."""
    model = make()
    weights = np.random.default_rng(0).normal(size=model.n_features)

    def energy(vectors):
        env = Environment(vectors=vectors, species=jnp.array([0, 1, 0]), center=jnp.array(1), index=jnp.zeros(3, int), mask=jnp.ones(3, bool))
        features = model.environment(env)
        return jnp.sum(weights * features) + jnp.sum(features**2)

    vectors = jnp.asarray(np.stack(list(SPECIAL.values())))
    steps = 1e-5 * np.eye(9).reshape(9, 3, 3)
    points = jnp.concatenate([vectors, vectors[-1:] + steps, vectors[-1:] - steps])
    first, second = quick_jit(jax.vmap(lambda v: (jax.grad(energy)(v), jax.hessian(energy)(v))))(points)
    assert is_finite((first, second))
    hessian = dict(zip(SPECIAL, np.asarray(second).reshape(-1, 9, 9), strict=False))
    assert np.all(hessian["isolated"] == 0) and np.all(hessian["one neighbour on the polar axis"][3:] == 0)
    assert np.max(np.abs(hessian["one neighbour on the polar axis"][:3, :3])) > 1e-3
    n = len(SPECIAL)
    difference = np.asarray(first[n : n + 9] - first[n + 9 :]).reshape(9, 9) / 2e-5
    assert relative(hessian["generic"], difference) < 1e-7
    assert relative(hessian["generic"], hessian["generic"].T) < 1e-12


def test_leaves_are_differentiable():
    """Of the cutoff, the radial transform and the mixing, against central differences."""
    model, envs = ACE(sharp(2, 2, mixing=MIXING), TotalDegree((2, 4)), tensor_reduced=True), environments(2, 5, 15)
    params, build = jaxpot.free(model, "*.cutoff.radius", "*.nearest", "*.mixing")
    value = quick_jit(lambda p: jnp.sum(stack_features(prepare(build(p)), envs) ** 2))
    gradient = quick_jit(jax.grad(lambda p: jnp.sum(stack_features(prepare(build(p)), envs) ** 2)))(params)
    assert len(params) == 3
    rng = np.random.default_rng(0)
    for name, x in params.items():
        h, direction = 1e-5, rng.normal(size=np.shape(x))
        slope = (value(params | {name: x + h * direction}) - value(params | {name: x - h * direction})) / (2 * h)
        np.testing.assert_allclose(np.sum(np.asarray(gradient[name]) * direction), slope, rtol=1e-6, err_msg=name)
        assert abs(slope) > 1e-4


def test_single_precision():
    model, envs = VARIANTS["one-hot"](), environments(4, 8, 16)
    low = evaluated(jaxpot.cast(model, jnp.float32), jaxpot.cast(jax.tree_util.tree_map(jnp.asarray, envs), jnp.float32))
    exact = evaluated(model, envs)
    assert low.dtype == jnp.float32 and exact.dtype == jnp.float64
    assert relative(low, exact) < 1e-5


# ---- refusals and files


class Unfinished(Selection):
    pass


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: TotalDegree(()), "degrees ≥ 0"),
        (ValueError, lambda: TotalDegree((2, -1)), "degrees ≥ 0"),
        (ValueError, lambda: TotalDegree((2,), weight=0.0), "weight > 0"),
        (ValueError, lambda: PerOrder((), ()), "whole n_max and l_max ≥ 0 per order"),
        (ValueError, lambda: PerOrder((2, -1), (1, 1)), "whole n_max and l_max ≥ 0 per order"),
        (ValueError, lambda: PerOrder((1.5,), (1,)), "must be an integer, got 1.5"),
        (ValueError, lambda: PerOrder((2, 2), (1,)), "whole n_max and l_max ≥ 0 per order"),
        (TypeError, lambda: ACE(sharp(2, 2), (3, 3)), "TotalDegree"),
        (ValueError, lambda: ACE(sharp(2, 2), PerOrder((3,), (2,))), "n_max = 3, there are 2 to multiply"),
        (ValueError, lambda: ACE(sharp(2, 2, mixing=MIXING), PerOrder((4,), (2,))), "n_max = 4, there are 3 to multiply"),
        (ValueError, lambda: ACE(sharp(2, 2, mixing=MIXING), PerOrder((2,), (2,)), tensor_reduced=True), "n_max = 2, there are 1 to multiply"),
        (ValueError, lambda: ACE(sharp(2, 2, mixing=MIXING), PerOrder((1,), (3,)), tensor_reduced=True), "l_max = 3, the density has 2"),
        (ValueError, lambda: ACE(sharp(2, 2), SELECTION, lam=-1), "lam must be an integer ≥ 0"),
        (ValueError, lambda: ACE(sharp(2, 2), SELECTION, lam=0.5), "lam must be an integer"),
        (ValueError, lambda: ACE(sharp(2, 2), PerOrder((2,), (3,))), "l_max = 3, the density has 2"),
        (ValueError, lambda: ACE(sharp(2, 2, mixing=MIXING), PerOrder((2,), (3,))), "l_max = 3, the density has 2"),
        (ValueError, lambda: PurifiedACE(SMEARED, SELECTION), "sigma=None"),
        (ValueError, lambda: ACE(sharp(2, 2), TotalDegree((1,)), pseudo=True), "no function with lam = 0, pseudo = True"),
        (ValueError, lambda: ACE(sharp(2, 2), TotalDegree((1, 1)), lam=3), "no function with lam = 3"),
        (TypeError, lambda: Unfinished(), r"class Unfinished\(Selection\) lacks order and factors; write"),
        (ValueError, lambda: Density(SPECIES, PowerCutoff(RADIUS), Agnesi(2, nearest=1.8), 2, sigma=None), "center_weight=0.0"),
        (ValueError, lambda: sharp(2, 2, mixing=np.ones((2, 3, 4))), r"\[2, 2, D\] or \[2, 3, 2, D\]"),
        (ValueError, lambda: sharp(2, 2, mixing=MIXING, channels=np.eye(2)), "leave out channels"),
        (ValueError, lambda: sharp(2, 2, channels=np.eye(3)), r"\[2, D\]"),
        (ValueError, lambda: Agnesi(0, nearest=2.0), "n_max must be a positive integer"),
        (ValueError, lambda: Agnesi(3, nearest=-2.0), "nearest"),
        (ValueError, lambda: Agnesi(3, nearest=2.0, p=4, q=2), "1 <= p <= q"),
        (ValueError, lambda: Agnesi(3, nearest=2.0, p=1.5, q=2), "p must be an integer"),
        (ValueError, lambda: base.smeared(Agnesi(2, nearest=1.8), jnp.ones(1), 1, 4.0, 0.5), "write Density.*sigma=None"),
        (ValueError, lambda: PowerCutoff(4.0, power=1), "at least 2"),
        (ValueError, lambda: PowerCutoff(4.0, power=2.5), "power must be an integer"),
        (ValueError, lambda: AtomicPotential(ACE(sharp(2, 2), SELECTION), Linear(roughness=np.ones(3))), "one roughness per feature"),
    ],
)
def test_refusals(error, call, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["one-hot", "per order", "alchemical", "vector", "tensor-reduced", "purified"])
def test_round_trip(name, tmp_path):
    descriptor = VARIANTS[name]()
    head = Linear(scale=2.0, roughness=descriptor.smoothness(), coefficients=np.arange(2.0 * descriptor.n_features))
    model = AtomicPotential(descriptor, head)
    loaded = jaxpot.load(jaxpot.save(tmp_path / "model", model))
    assert loaded == model and type(loaded.descriptor.selection) is type(descriptor.selection)
    assert loaded.descriptor.labels() == descriptor.labels()


# ---- heads


def test_embedding_with_exponent_one_is_linear():
    rng, species = np.random.default_rng(0), jnp.array([0, 1, 1, 0])
    head = Embedding(rng.normal(size=(2, 6)), exponents=np.array([1.0, 1.0]), weights=np.array([0.7, -1.3]), n_species=2)
    x = jnp.asarray(rng.normal(size=(4, 3)))
    linear = Linear(coefficients=np.array([0.7, -1.3]) @ head.coefficients, n_species=2, n_features=3)
    np.testing.assert_allclose(head(x, species), linear(x, species), rtol=1e-13)


@quick_jit
def power_and_slope(m, rho):
    """f(ρ, m) and ∂f/∂ρ for rho [n], of a head with one feature."""

    def f(x):
        head = Embedding(jnp.ones((1, 1)), exponents=m[None], weights=jnp.ones(1), n_species=1)
        return head(x.reshape(1, 1), jnp.zeros(1, int))[0]

    return jax.vmap(jax.value_and_grad(f))(rho)


@pytest.mark.parametrize("m", [0.5, 1 / 3, 0.9, 2.0, 1.0])
def test_embedding_near_zero_and_far_away(m):
    """The slope at 0 and elsewhere against central differences, oddness, the power law, and pacemaker's way to write it."""
    h, near, far = 1e-5, np.array([0.0, 0.3, 0.4, 1.7, 2.5]), np.array([40.0, 1e3, 1e8])
    points = np.concatenate([near, near + h, near - h, -near, far])
    value, slope = (np.asarray(x) for x in power_and_slope(jnp.asarray(m), jnp.asarray(points)))
    b = (1 / m) ** (1 / (m - 1)) if m != 1 else 0.0
    at_zero = 1.0 if m == 1 else 1 - b + b / m
    assert value[0] == 0 and at_zero > 0
    np.testing.assert_allclose(slope[0], at_zero, rtol=1e-13)
    np.testing.assert_allclose(slope[1:5], (value[6:10] - value[11:15]) / (2 * h), rtol=1e-8)
    np.testing.assert_allclose(value[5:15:5] / (h, -h), at_zero, rtol=1e-4)  # one-sided: f'' jumps at 0
    np.testing.assert_array_equal(value[15:20], -value[:5])
    np.testing.assert_allclose(value[20:], far**m, rtol=1e-13)
    if m != 1:
        n, e = 1 / m, np.exp(-near)
        published = (n ** (n / (1 - n)) * e + near) ** m - n ** (1 / (1 - n)) * e
        np.testing.assert_allclose(value[:5], published, rtol=1e-12, atol=1e-14)


def test_embedding_in_a_potential():
    """The isolated atom has no energy, and its neighbourless limit no singular force."""
    descriptor = ACE(sharp(2, 2), TotalDegree((1, 1)))
    rng = np.random.default_rng(0)
    head = Embedding(rng.normal(size=(2, 2 * descriptor.n_features)), exponents=np.array([1.0, 0.5]), weights=np.array([1.0, -0.4]))
    model = AtomicPotential(descriptor, head)
    pair = Atoms("CSi", positions=[[0, 0, 0], [0, 0, RADIUS - 1e-3]])
    alone = Atoms("CSi", positions=[[0, 0, 0], [0, 0, RADIUS + 0.1]])
    for atoms, energy in ((pair, 1e-6), (alone, 0.0)):
        result = evaluate(model, jaxpot.from_atoms(atoms, RADIUS + 0.2, max_neighbors=1))
        assert is_finite(result) and abs(float(result.energy)) <= energy
    with pytest.raises(ValueError, match=rf"coefficients \[densities, {2 * descriptor.n_features}\]"):
        AtomicPotential(descriptor, head.replace(coefficients=np.ones((2, 3))))
    with pytest.raises(ValueError, match="weights must have shape"):
        AtomicPotential(descriptor, head.replace(weights=np.ones(3)))


def test_linear_prior():
    """Λ = diag (roughness / scale)², the same for every centre's element."""
    descriptor = ACE(sharp(2, 2), SELECTION)
    rough = descriptor.smoothness(2.0)
    model = AtomicPotential(descriptor, Linear(scale=0.5, roughness=rough))
    np.testing.assert_allclose(model.precision(), np.diag(np.tile((rough / 0.5) ** 2, 2)), rtol=1e-15)
    plain = AtomicPotential(descriptor, Linear(scale=0.5)).precision()
    np.testing.assert_allclose(plain, 4 * np.eye(2 * descriptor.n_features), rtol=1e-15)


# ---- radial functions


@pytest.mark.parametrize(("p", "q"), [(2, 4), (2, 2), (1, 3), (3, 6)])
def test_agnesi(p, q):
    """Orthonormal in x on [−1, 1]; the transform goes from 1 at the centre to −1 at the cutoff and is steepest at `nearest`."""
    nearest, radius, n_max = 1.7, 5.0, 7
    basis = Agnesi(n_max, nearest=nearest, p=p, q=q)

    def x_of(r):  # from g_1 = √(3/2) x
        return basis(r, radius)[1] / np.sqrt(1.5)

    @quick_jit
    def everything(r):
        second = jax.vmap(jax.grad(jax.grad(x_of)))(r[-2:])
        return base.sharp(basis, r, 3, radius), *jax.vmap(jax.value_and_grad(x_of))(r), second

    nodes, weights = np.polynomial.legendre.leggauss(200)
    inside = radius * (nodes + 1) / 2
    fine = np.linspace(0.05, radius, 2000)
    g, x, slope, second = (np.asarray(a) for a in everything(jnp.asarray(np.concatenate([inside, fine, [1e-9, radius, 1.1 * nearest, nearest]]))))
    assert g.shape == (2204, 1, n_max)
    gram = np.einsum("r,rn,rm->nm", weights * radius / 2 * np.abs(slope[:200]), g[:200, 0], g[:200, 0])
    assert np.max(np.abs(gram - np.eye(n_max))) < 1e-10
    polynomials = np.polynomial.legendre.legvander(x, n_max - 1) * np.sqrt(np.arange(n_max) + 0.5)
    np.testing.assert_allclose(g[:, 0], polynomials, rtol=0, atol=1e-12)
    np.testing.assert_allclose(x[2200:2202], [1, -1], rtol=0, atol=1e-8)
    assert np.all(slope[:2200] < 0)
    assert abs(second[1]) < 1e-12 < abs(second[0])
    assert abs(fine[np.argmin(slope[200:2200])] - nearest) < 0.01


@pytest.mark.parametrize("power", [2, 3, 4])
def test_power_cutoff(power):
    """(1 − (r/r_c)²)^p, whose first p − 1 derivatives vanish at the radius, while the p-th does not."""
    f = PowerCutoff(RADIUS, power=power)
    derivatives = [f]
    for _ in range(power):
        derivatives.append(jax.grad(derivatives[-1]))
    r = np.array([0.0, 1.0, 3.0, RADIUS - 1e-6, RADIUS, RADIUS + 1e-6, 2 * RADIUS, 1e3])
    values = [np.asarray(quick_jit(jax.vmap(d))(jnp.asarray(r))) for d in derivatives]
    np.testing.assert_allclose(values[0][:3], (1 - r[:3] ** 2 / 16) ** power, rtol=1e-14)
    assert np.all(values[0][4:] == 0) and is_finite(values)
    for order, value in enumerate(values):
        assert np.all(value[5:] == 0)
        assert (abs(value[3]) < 1e-4) == (order < power)
