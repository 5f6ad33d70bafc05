"""Moment tensors: how many functions a level has, what they span, and the sums of pairs they are made by."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, to_graph

import jaxpot
from jaxpot import ACE, AtomicPotential, Density, IsolatedAtoms, Linear, TotalDegree
from jaxpot.descriptors import MTP
from jaxpot.descriptors.base import features as stack_features
from jaxpot.descriptors.contractions import Contractions, graphs, of_level, program
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.pair_sums import PairTable, pair_sum, square_sum
from jaxpot.passes import prepare
from jaxpot.radial import Chebyshev
from jaxpot.trees import pytree

COUNTS = {2: 1, 4: 2, 6: 5, 8: 9, 10: 16, 12: 29, 14: 52, 16: 92, 18: 163, 20: 288, 22: 500, 24: 864}


def clusters(n, neighbors, *, seed=0, symbols="Si", span=(1.3, 2.6)):
    """Environments of single centres, padded to one shape."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        directions = rng.normal(size=(neighbors, 3))
        positions = directions / np.linalg.norm(directions, axis=1)[:, None] * rng.uniform(*span, (neighbors, 1))
        kinds = rng.choice(list(symbols) if isinstance(symbols, tuple) else [symbols], neighbors + 1)
        out.append(Atoms(list(kinds), positions=np.concatenate([np.zeros((1, 3)), positions])))
    return out


def environments_of(structures, cutoff, species):
    envs = [jaxpot.environments(jaxpot.from_atoms(a, cutoff, max_neighbors=len(structures[0])), cutoff, species) for a in structures]
    return jax.tree_util.tree_map(lambda *x: jnp.stack([leaf[0] for leaf in x]), *envs)


def test_counts():
    assert {level: len(graphs(level)) for level in COUNTS} == COUNTS
    for level in (8, 16, 20):
        assert MTP(("Si",), level, 1.9, 5.0).n_features == COUNTS[level] == len(MTP(("Si",), level, 1.9, 5.0).labels())


def test_basic_moments_of_a_level():
    """Those of the files: all tensors that have a partner within the level, and the isotropic ones that need none."""
    assert {level: len(of_level(level).basic) for level in (8, 14, 16, 20)} == {8: 11, 14: 81, 16: 130, 20: 295}


@pytest.mark.slow
def test_all_levels():
    for level in range(2, 30, 2):
        made = program(of_level(level), level <= 20)
        assert len(made.functions) == len(graphs(level)) == (COUNTS | {26: 1466, 28: 2455})[level]


def test_as_many_as_ace_has():
    """One coupling of four tensors less at level 16: in three dimensions not all contractions are independent."""
    functions = lambda level, order: TotalDegree(tuple((level - 2 * n) / 4 for n in range(1, order + 1)), weight=0.25)  # noqa: E731
    density = Density(("Si",), Envelope(3.0), Chebyshev(4), 8, sigma=None, center_weight=0.0)
    found = {level: ACE(density, functions(level, 4)).n_features for level in (8, 10, 12, 14, 16)}
    assert found == {8: 9, 10: 16, 12: 29, 14: 52, 16: 91}


def contraction(radial, edges, f, u):
    """The definition: tensors of rank ν for every factor, contracted with one einsum."""
    n, letters, of = len(radial), iter("abcdefghijklmnop"), {i: "" for i in range(len(radial))}
    for (i, j), count in zip(itertools.combinations(range(n), 2), edges, strict=True):
        for letter in itertools.islice(letters, count):
            of[i], of[j] = of[i] + letter, of[j] + letter
    tensors = []
    for i, mu in enumerate(radial):
        tensor = f[:, mu]
        for _ in of[i]:
            tensor = tensor[..., None] * u.reshape(len(u), *(1,) * (tensor.ndim - 1), 3)
        tensors.append(tensor.sum(axis=0))
    return np.einsum(",".join(of.values()) + "->", *tensors)


def test_features_are_the_contractions():
    structure = clusters(1, 5, seed=3)
    mtp = MTP(("Si",), 12, 1.2, 3.0, radial_basis_size=3, radial=np.random.default_rng(0).normal(size=(1, 1, 3, 3)))
    env = jax.tree_util.tree_map(lambda x: x[0], environments_of(structure, 3.0, ("Si",)))
    x = quick_jit(lambda e: mtp.environment(e))(env)
    vectors = structure[0].positions[1:]
    r = np.linalg.norm(vectors, axis=1)
    xi = (2 * r - 4.2) / 1.8
    f = np.stack([np.ones(5), xi, 2 * xi**2 - 1], axis=1) @ mtp.expansion.radial[0, 0].T * ((3.0 - r) ** 2 / 1.8**2)[:, None]
    expected = [contraction(radial, edges, f, vectors / r[:, None]) for radial, edges in mtp.labels()]
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-12 * np.max(np.abs(expected)))


@pytree
class Envelope(Cutoff):
    radius: jax.Array

    def __call__(self, r):
        return jnp.maximum(1 - r / self.radius, 0) ** 2


def test_spans_what_ace_spans():
    """With the same radial functions and lev = 2 + 4n + l; each is in the span of the other, and ACE's are independent."""
    level, cutoff = 10, 3.0
    mtp = MTP(("Si",), level, 0.0, cutoff, radial_basis_size=3)
    degrees = tuple((level - 2 * n) / 4 for n in range(1, 5))
    # Step, since the envelope of the MTP enters by hand: with both polynomials the spans would differ
    density = Density(("Si",), Envelope(cutoff), Chebyshev(3), 5, sigma=None, center_weight=0.0)
    ace = ACE(density, TotalDegree(degrees, weight=0.25))
    envs = environments_of(clusters(120, 6, seed=1, span=(0.8, 2.9)), cutoff, ("Si",))

    @quick_jit
    def both(envs):
        return stack_features(prepare(mtp), envs), stack_features(prepare(ace), envs)

    a, b = (np.asarray(x) for x in both(envs))
    a, b = a / np.linalg.norm(a, axis=0), b / np.linalg.norm(b, axis=0)
    rank = lambda x: int(np.sum(np.linalg.svd(x, compute_uv=False) > 1e-9))  # noqa: E731
    assert rank(b) == ace.n_features
    assert rank(a) == ace.n_features <= mtp.n_features
    assert rank(np.concatenate([a, b], axis=1)) == ace.n_features


def test_derivatives_in_every_way():
    """The product rule, forward and reverse mode, of one environment and of a stack."""
    mtp = MTP(("C", "Si"), 8, 1.2, 3.0, radial_basis_size=4, radial=np.random.default_rng(0).normal(size=(2, 2, 2, 4)))
    env = jax.tree_util.tree_map(lambda x: x[0], environments_of(clusters(1, 4, symbols=("C", "Si")), 3.0, ("C", "Si")))

    @quick_jit
    def ways(env):
        of = lambda v: mtp.environment(env.replace(vectors=v))  # noqa: E731
        by_hand = with_slopes(mtp, env)
        second = [mode(jax.grad(lambda v: jnp.sum(jnp.sin(of(v)))))(env.vectors) for mode in (jax.jacfwd, jax.jacrev)]
        return by_hand, (of(env.vectors), jax.jacfwd(of)(env.vectors), jax.jacrev(of)(env.vectors)), second

    (value, jacobian), (expected, forward, backward), (one, other) = ways(env)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for slopes in (jacobian, backward):
        np.testing.assert_allclose(slopes, forward, rtol=0, atol=1e-12 * np.max(np.abs(forward)))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.max(np.abs(one)))


def test_a_member_is_recovered():
    rng = np.random.default_rng(5)
    mtp = MTP(("C", "Si"), 8, 1.0, 3.2)
    truth = AtomicPotential(mtp, Linear(coefficients=rng.normal(size=18))) + IsolatedAtoms({"C": -1.0, "Si": -2.0})
    frames = clusters(24, 5, seed=7, symbols=("C", "Si"))
    run = quick_jit(jaxpot.evaluate)
    for frame in frames:
        found = run(truth, jaxpot.from_atoms(frame, 3.2, max_neighbors=5))
        frame.info["energy"], frame.arrays["forces"] = float(found.energy), np.asarray(found.forces)
    data = jaxpot.Dataset.from_atoms(frames, 3.2, sigma=jaxpot.noise_levels(energy=1e-6, forces=1e-6))
    start = AtomicPotential(mtp, Linear(scale=1e3)) + IsolatedAtoms({"C": -1.0, "Si": -2.0})
    fitted = jaxpot.fit.linear(start, data, progress=False)
    for frame in clusters(4, 5, seed=8, symbols=("C", "Si")):
        graph = jaxpot.from_atoms(frame, 3.2, max_neighbors=5)
        ours, theirs = run(fitted, graph), run(truth, graph)
        assert abs(ours.energy - theirs.energy) < 1e-8
        np.testing.assert_allclose(ours.forces, theirs.forces, rtol=0, atol=1e-8)


def test_start_tells_elements_apart():
    mtp = MTP(("C", "Si"), 6, 1.0, 3.2)
    both = [quick_jit(lambda g: mtp(g))(to_graph(Atoms(s, positions=[[0, 0, 0], [1.5, 0, 0]]), 3.2)) for s in ("CC", "CSi")]
    assert np.min(np.abs(both[0][0] - both[1][0])) > 1e-3


def test_sums_of_many_lengths():
    """Filled up with zeros, empty ones among them, and their transposes."""
    rng = np.random.default_rng(0)
    lengths = rng.permutation([0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 9, 11, 14, 20, 33])
    out = rng.permutation(np.repeat(np.arange(len(lengths)), lengths))
    left, right, weight = rng.integers(0, 9, len(out)), rng.integers(0, 7, len(out)), rng.normal(size=len(out))
    table = PairTable((len(lengths), 9, 7), out, left, right, weight)
    x, y, z = rng.normal(size=(9, 3)), rng.normal(size=(7, 3)), rng.normal(size=(len(lengths), 3))
    dense = np.zeros((len(lengths), 9, 7))
    np.add.at(dense, (out, left, right), weight)
    square = PairTable((len(lengths), 9, 9), out, left, right, weight)

    @quick_jit
    def sums(x, y, z):
        value, pull = jax.vjp(lambda x, y: pair_sum(table, x, y), x, y)
        batched = jax.vmap(lambda x, y: pair_sum(table, x, y), (0, None))(jnp.stack([x, 2 * x]), y)
        squares = [jax.vjp(f, x) for f in (lambda x: square_sum(square, x), lambda x: pair_sum(square, x, x))]
        return value, pull(z), batched, [(s, p(z)[0]) for s, p in squares]

    value, pulled, batched, (one, other) = sums(x, y, z)
    np.testing.assert_allclose(value, np.einsum("olr,ln,rn->on", dense, x, y), rtol=0, atol=1e-13)
    for got, expected in zip(pulled, (np.einsum("olr,on,rn->ln", dense, z, y), np.einsum("olr,on,ln->rn", dense, z, x)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    for got, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(batched, jnp.stack([value, 2 * value]), rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="expected factors"):
        pair_sum(table, y, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 7}, "even number from 2 to 28, got 7"),
        ({"level": None}, "a level or contractions"),
        ({"level": 8, "contractions": ((), (), ())}, "a level or contractions"),
        ({"level": 8, "min_dist": 4.0}, "min_dist < max_dist"),
        ({"level": 8, "radial_basis_size": 0}, "radial_basis_size"),
        ({"level": 20, "radial_basis_size": 4}, "radial_basis_size ≥ 5"),
        ({"level": 8, "radial": np.ones((1, 1, 2, 7))}, r"\[1, 1, 2, 8\], got \(1, 1, 2, 7\)"),
        ({"level": None, "contractions": (((0, 0, 0, 0),), ((0, 1, 1, 2), (0, 0, 1, 1)), (2,))}, "before all its products"),
        ({"level": None, "contractions": (((0, 0, 0, 0),), ((0, 0, 1, 2),), (2,))}, "all and no others"),
        ({"level": None, "contractions": (((0, 0, 0, 0),), (), (1,))}, "not among the 1"),
        ({"level": None, "contractions": ((), (), (0,))}, "at least one basic moment"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MTP(("Si",), **({"min_dist": 1.9, "max_dist": 4.0} | arguments))


def test_given_contractions_are_those_of_the_level():
    made = of_level(8)
    assert Contractions(*made) == made
    one, other = (MTP(("Si",), l, 1.9, 4.0, contractions=c) for l, c in ((8, None), (None, tuple(made))))
    assert one.n_features == other.n_features and len(other.labels()) == 9
