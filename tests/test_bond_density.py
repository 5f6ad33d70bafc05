"""Radial functions, products and cores of PACE by closed forms, files, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import SPECIES, STRUCTURES, features, is_finite, quick_jit, relative, to_graph

import jaxpot
from jaxpot import ACE, AtomicPotential, Density, Environment, IsolatedAtoms, Linear, TotalDegree
from jaxpot.cutoffs import Step
from jaxpot.descriptors import BondDensity, Listed
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.empirical import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.heads import Embedding, ShiftedPower, SmoothedPower
from jaxpot.math.complex_products import from_complex, to_complex
from jaxpot.math.coupling import count_couplings, couplings, real_from_complex
from jaxpot.radial import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, SBessel

RADIUS = 4.2

functions = quick_jit(lambda basis, r: basis(r, jnp.asarray(RADIUS)))
coefficients = quick_jit(lambda density, env: density.of(env))
energies = quick_jit(lambda potential, graph: potential.energies(graph))

# ---- radial functions


def chebyshev(n, x):
    return np.cos(n * np.arccos(np.clip(x, -1, 1)))


def cosine(x):
    return 0.5 * (1 + np.cos(np.pi * np.clip(x, 0, 1)))


def cheb_exp_cos(r, lam=2.5, width=0.7):
    x = 1 - 2 * (np.exp(-lam * r / RADIUS) - np.exp(-lam)) / (1 - np.exp(-lam))
    envelope = cosine(r / RADIUS) * cosine((r - RADIUS + width) / width)
    return np.stack([envelope, *(0.5 * (1 - chebyshev(n, x)) * envelope for n in range(1, 5))], axis=1)


def cheb_pow(r, lam=2.3):
    return np.stack([0.5 * (1 - chebyshev(n, 1 - 2 * (1 - r / RADIUS) ** lam)) for n in range(1, 6)], axis=1)


def cheb_linear(r):
    return np.stack([0.5 * (1 - chebyshev(n, 1 - r / RADIUS)) for n in range(1, 6)], axis=1)


def s_bessel(r):
    out, d = [], 1.0
    for n in range(5):
        a, b = n + 1, n + 2
        f = (-1) ** n * np.sqrt(2) * np.pi / RADIUS**1.5 * a * b / np.hypot(a, b) * (np.sinc(a * r / RADIUS) + np.sinc(b * r / RADIUS))
        e = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
        f, d = (f, d) if n == 0 else ((f + np.sqrt(e / d) * out[-1]) / np.sqrt(1 - e / d), 1 - e / d)
        out.append(f)
    return np.stack(out, axis=1)


BASES = {  # and the number of derivatives that vanish at the radius
    "ChebExpCos": (ChebExpCos(5, lam=2.5, width=0.7), cheb_exp_cos, 2),
    "ChebExpCos of one cosine": (ChebExpCos(5, lam=2.5), lambda r: cheb_exp_cos(r, width=RADIUS) / cosine(r / RADIUS)[:, None], 1),
    "ChebPow": (ChebPow(5, lam=2.3), cheb_pow, 1),
    "ChebLinear": (ChebLinear(5), cheb_linear, -1),
    "SBessel": (SBessel(5), s_bessel, 2),
}


@pytest.mark.parametrize("name", BASES)
def test_closed_forms(name):
    """Values; zero from the radius on; as many continuous derivatives there as they should have; finite ones at 0."""
    basis, formula, smooth = BASES[name]
    r = np.linspace(0.2, RADIUS - 1e-4, 40)
    ends = np.array([0.0, RADIUS - 1e-6, RADIUS, 1.001 * RADIUS, 3 * RADIUS])
    of = lambda x: basis(x[None], jnp.asarray(RADIUS))[0]  # noqa: E731
    values, slopes, curvatures = quick_jit(jax.vmap(lambda x: (of(x), jax.jacfwd(of)(x), jax.jacfwd(jax.jacfwd(of))(x))))(np.concatenate([r, ends]))
    np.testing.assert_allclose(values[:40], formula(r), rtol=0, atol=1e-12)
    assert is_finite((values, slopes, curvatures)) and not np.any(values[42:])
    step = np.max(np.abs(np.stack([values, slopes, curvatures])[:, 41]), axis=1)
    assert np.all(step[: smooth + 1] < 1e-3) and np.all(step[smooth + 1 :] > 1e-2)


def test_simplified_bessel_functions_are_orthonormal():
    x, w = np.polynomial.legendre.leggauss(60)
    r = RADIUS * (x + 1) / 2
    g = np.asarray(functions(SBessel(7), r))
    np.testing.assert_allclose(np.einsum("r,rn,rm->nm", w * RADIUS / 2 * r**2, g, g), np.eye(7), atol=1e-12)


def test_inner_cutoff():
    """pacemaker's polynomial; nothing below, all above, in a density as well."""
    basis, r = InnerCutoff(ChebPow(3, lam=3.0), radius=1.6, width=0.5), np.array([0.9, 1.1, 1.2, 1.35, 1.5, 1.6, 2.5])
    y = np.clip(1 - 2 * (1 + (r - 1.6) / 0.5), -1, 1)
    expected = 1 - (0.5 + 3.75 * (y / 4 - y**3 / 6 + y**5 / 20))
    found = functions(basis, r) / functions(basis.basis, r)
    np.testing.assert_allclose(found, expected[:, None].repeat(3, axis=1), atol=1e-14)
    assert basis.n_max == 3 and not np.any(found[:2])


# ---- complex products


def complex_of(a, degrees):
    """A_lm of real coefficients, one array for every degree."""
    return [real_from_complex(l).conj().T @ x for l, x in zip(degrees, a, strict=True)]


@pytest.mark.parametrize(
    ("degrees", "groups"), [((0,), (0,)), ((2, 2), (0, 0)), ((1, 2, 3), (0, 1, 2)), ((1, 1, 2, 2), (0, 0, 2, 3)), ((1, 1, 1, 1, 2, 2), (0, 0, 0, 3, 4, 4))]
)
def test_invariants_in_products_of_complex_coefficients(degrees, groups):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count_couplings(degrees, 0, groups), 2))
    components, values = to_complex(degrees, groups, x)
    assert not np.any(np.sum(components, axis=1)) and len({tuple(row) for row in (-components).tolist()} & {tuple(row) for row in components.tolist()}) <= 1 + np.sum(
        [tuple(np.sort(row)) == tuple(np.sort(-row)) for row in components]
    )
    np.testing.assert_allclose(from_complex(degrees, groups, components, values), x, atol=1e-12)
    a = [rng.normal(size=2 * l + 1) for l in degrees]
    a = [a[g] for g in groups]
    b = complex_of(a, degrees)
    ours = sum(v * np.prod([y[l + m] for y, l, m in zip(b, degrees, row, strict=True)]).real for row, v in zip(components.tolist(), values, strict=True))
    table = couplings(degrees, 0, groups)
    products = [np.prod([y[m] for y, m in zip(a, row, strict=True)]) for row in table.monomials.tolist()]
    np.testing.assert_allclose(ours, x.T @ (table.coefficients[:, 0] @ products), rtol=1e-12, atol=1e-13)


def test_what_is_not_invariant():
    with pytest.raises(ValueError, match=r"l = \(1, 1\) is not invariant"):
        from_complex((1, 1), (0, 0), np.array([[0, 0], [1, -1]]), np.array([[1.0], [2.0]]))
    with pytest.raises(ValueError, match=r"l = \(1, 2\) is not invariant"):
        from_complex((1, 2), (0, 1), np.array([[0, 0]]), np.array([[1.0]]))


# ---- densities of bonds and lists of products


def bonds(**changes):
    radial = (ChebExpCos(3, lam=np.array([[2.0, 2.2], [2.2, 2.5]]), width=0.6), InnerCutoff(ChebPow(3, lam=3.0), radius=1.4, width=0.5))
    return BondDensity(SPECIES, np.array([[3.8, 3.9], [4.0, 4.2]]), radial, 2, kinds=((0, 1), (1, 0))).replace(**changes)


MIXING = np.random.default_rng(1).normal(size=(2, 2, 3, 3, 2))


def environment(k=9, seed=0, center=1):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(k, 3))
    vectors *= (np.linspace(1.0, 4.4, k) / np.linalg.norm(vectors, axis=1))[:, None]
    return Environment(vectors=vectors, species=np.arange(k) % 2, center=np.array(center), index=np.zeros(k, int), mask=np.ones(k, bool))


def test_bonds_have_radial_functions_of_their_own():
    """Against a plain density for every pair of elements."""
    env = environment()
    found = np.asarray(coefficients(bonds(mixing=MIXING), env)).reshape(2, 5, 9)
    for z in range(2):
        basis = (ChebExpCos(3, lam=[2.2, 2.5][z], width=0.6) if z == 1 else InnerCutoff(ChebPow(3, lam=3.0), 1.4, 0.5))
        one = Density(("H",), Step([4.0, 4.2][z]), basis, 2, sigma=None, center_weight=0.0)
        own = env.replace(vectors=env.vectors[z::2], species=np.zeros_like(env.species[z::2]), center=np.array(0))
        plain = np.asarray(coefficients(one, own))
        np.testing.assert_allclose(found[z, 2:], plain, atol=1e-13)
        degree = np.repeat(np.arange(3), 2 * np.arange(3) + 1)
        np.testing.assert_allclose(found[z, :2], np.einsum("bm,mbn->nm", plain, MIXING[1, z][degree]), atol=1e-13)
    assert np.max(np.abs(found)) > 0.1


@pytest.mark.parametrize("mixing", [None, MIXING], ids=["plain", "mixed"])
def test_sums_are_products_of_factors(mixing):
    """And the Jacobian of an ACE through its waist is that of the interface, also with one element."""
    density, env = bonds(mixing=mixing), environment()
    ace = ACE(density, TotalDegree((4, 3, 2)))

    def both(env):
        channels, harmonics = density.factors(env)
        degree = np.repeat(np.arange(3), 2 * np.arange(3) + 1) if channels.shape[1] > 1 else np.zeros(9, int)
        return density.of(env), jnp.einsum("kmq,km->qm", channels[:, degree], harmonics), with_slopes(ace, env), with_slopes.dispatch(object)(ace, env)

    found, expected, (x, jacobian), (same, default) = quick_jit(both)(env)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    assert relative(x, same) < 1e-12 and relative(jacobian, default) < 1e-12


def test_rows_of_a_fit():
    """The design matrix times coefficients is what the model predicts."""
    ace = ACE(bonds(mixing=MIXING), TotalDegree((4, 3)))
    w = np.random.default_rng(2).normal(size=2 * ace.n_features)
    model, graph = AtomicPotential(ace, Linear(coefficients=w)), jaxpot.from_atoms(STRUCTURES["triclinic"], 4.4)
    rows, found = quick_jit(lambda graph: (jaxpot.fit.design(model, graph), jaxpot.evaluate(model, graph)))(graph)
    for name in ("energy", "forces", "virial"):
        assert relative(np.asarray(getattr(rows, name)) @ w, getattr(found, name)) < 1e-12


def test_one_set_of_radial_functions_is_a_density():
    plain = Density(SPECIES, Step(3.6), ChebExpCos(3, lam=2.0), 2, sigma=None, center_weight=0.0)
    selection = TotalDegree((3, 3, 2))
    one, other = (features(ACE(d, selection), to_graph(STRUCTURES["triclinic"])) for d in (plain, BondDensity(SPECIES, 3.6, ChebExpCos(3, lam=2.0), 2)))
    assert relative(one, other) < 1e-14


def test_listed_products():
    """Those of another selection, in any order."""
    ace = ACE(bonds(), TotalDegree((4, 3, 2)))
    products = list(dict.fromkeys(tuple(reversed(factors)) for factors, _ in ace.labels()))
    again = ACE(bonds(), Listed(tuple(products[::-1])))
    order = [again.labels().index(label) for label in ace.labels()]
    env = environment()
    one, other = quick_jit(lambda env: (ace.environment(env), again.environment(env)))(env)
    np.testing.assert_allclose(one, np.asarray(other)[np.array(order)], rtol=1e-13)
    assert block_size(again, 30) == block_size(ace, 30)


# ---- embeddings


power_and_slope = quick_jit(jax.vmap(jax.value_and_grad(lambda x, m: SmoothedPower(3.0)(x, m)), (0, None)))


@pytest.mark.parametrize("m", [0.5, 1.0, 1.7])
def test_smoothed_power(m):
    """A small steepness makes the crossover visible; the slope at 0 is w^(1 − m)."""
    rho = np.array([-2.0, -0.4, -0.1, 0.0, 1e-9, 0.2, 0.5, 4.0])
    g = np.exp(-((3 * np.abs(rho)) ** 3))
    expected = np.sign(rho) * ((1 - g) * np.abs(rho) ** m + 3.0 ** (1 - m) * g * np.abs(rho))
    value, slope = power_and_slope(rho, m)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(slope[3:5], 3.0 ** (1 - m), rtol=1e-6)


@pytest.mark.parametrize("power", [ShiftedPower(), SmoothedPower()])
def test_embeddings_of_centres(power):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(2, 6))
    m, a = np.array([[1.0, 0.5], [0.8, 2.0]]), np.array([[1.0, 0.7], [-0.4, 0.9]])
    species = jnp.array([0, 1, 1, 0])
    of = quick_jit(lambda head, species: head(jnp.asarray(x), species))
    found = of(Embedding(w, m, a, power, n_species=2), species)
    for z in range(2):
        one = of(Embedding(w[:, 3 * z : 3 * z + 3], m[z], a[z], power, n_species=1), jnp.zeros(4, int))
        np.testing.assert_allclose(found[species == z], one[species == z], rtol=1e-13)


# ---- cores


CORE = CoreRepulsion(SPECIES, np.array([[30.0, 40.0], [35.0, 50.0]]), 0.5, 3.0)


def test_core_repulsion():
    """A pair of unequal elements, whose atoms have energies of their own; and with an inner cutoff."""
    r = 1.4
    graph = jaxpot.from_atoms(Atoms("CSi", positions=[[0, 0, 0], [0, 0, r]]), 3.0)
    expected = np.array([40.0, 35.0]) * np.exp(-0.5 * r**2) / r * cosine(r / 3.0)
    np.testing.assert_allclose(energies(CORE, graph), expected, rtol=1e-13)
    y = 1 - 2 * (1 + (r - 1.5) / 0.4)
    np.testing.assert_allclose(energies(CORE.replace(inner=1.5, inner_width=0.4), graph), expected * (0.5 + 3.75 * (y / 4 - y**3 / 6 + y**5 / 20)), rtol=1e-12)


def test_screened_core():
    """ZBL with a polynomial more."""
    graph = jaxpot.from_atoms(Atoms("CSi", positions=[[0, 0, 0], [0, 0, 1.4]]), 3.0)
    x = (1.4 - 0.5) / 1.5
    expected = energies(jaxpot.empirical.ZBL(SPECIES, inner=0.5, outer=2.0), graph) * (1 - 10 * x**3 + 15 * x**4 - 6 * x**5) * 0.8
    np.testing.assert_allclose(energies(ScreenedCore(SPECIES, 2.0, 1.5, 0.8), graph), expected, rtol=1e-12)


def small():
    ace = ACE(bonds(), TotalDegree((3, 2)))
    return AtomicPotential(ace, Linear(coefficients=0.1 * np.random.default_rng(2).normal(size=2 * ace.n_features)))


def test_the_nearest_neighbour_switches():
    model = Switched(small(), ScreenedCore(SPECIES, 3.0, 2.0), ByDistance(1.6, 0.4))
    parts = quick_jit(lambda graph: [p.energies(graph) for p in (model.potential, model.core, model)])
    for r, share in ((1.1, 0.0), (1.4, 0.5), (1.7, 1.0)):
        graph = jaxpot.from_atoms(Atoms("CSiC", positions=[[0, 0, 0], [0, 0, r], [0, 2.5, 0]]), 4.4)
        found, core, whole = parts(graph)
        np.testing.assert_allclose(whole[:2], share * found[:2] + (1 - share) * core[:2], rtol=1e-12)
        np.testing.assert_allclose(whole[2], found[2], rtol=1e-13)


def test_an_atom_alone_has_the_energy_of_an_isolated_one():
    """To the last bit, whatever the embedding and the core."""
    ace = ACE(bonds(), TotalDegree((3, 2)))
    w = np.random.default_rng(0).normal(size=(2, 2 * ace.n_features))
    alone = jaxpot.from_atoms(Atoms("Si"), 4.4)
    for power, switch, core in ((ShiftedPower(), ByCoreEnergy(10.0, 5.0), CORE), (SmoothedPower(), ByDistance(1.5, 0.5), ScreenedCore(SPECIES, 3.0, 1.0))):
        head = Embedding(w, np.array([0.5, 0.9]), np.array([1.0, 0.3]), power)
        model = Switched(AtomicPotential(ace, head), core, switch) + IsolatedAtoms({"C": -1.5, "Si": -158.123456789})
        assert float(quick_jit(lambda m, g: m(g))(model, alone)) == -158.123456789
