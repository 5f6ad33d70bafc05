"""The density of soap_turbo and its radial functions, by their definitions and against quippy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

from jaxpot import SOAP, cast, diagnose, environments, from_atoms
from jaxpot.descriptors import CompressedSOAP, GlobalSOAP, TurboDensity, power_spectrum
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.passes import condense
from jaxpot.radial import Poly3, Poly3Gauss
from jaxpot.radial.turbo import filtered_overlaps, overlaps, polynomials

NODES, WEIGHTS = (a / 2 for a in np.polynomial.legendre.leggauss(120))
NODES = NODES + 0.5
ORACLE = Path(__file__).parent / "oracles" / "quippy_descriptors.npz"
features = quick_jit(lambda model, graph: model(graph))


def powers(n, x):
    """φ_a(x), shape [..., n]."""
    a = np.arange(1, n + 1)
    return np.sqrt(2 * a + 5) * (1 - x[..., None]) ** (a + 2)


def functions(basis, own, x):
    """g_n(x), shape [Q, n_max], from what they are mixed from."""
    made = [np.asarray(polynomials(basis.n_polynomials, jnp.asarray(x)))]
    if basis.n_polynomials < basis.n_max:
        made.append((np.sqrt(2 / (own * np.sqrt(np.pi))) * np.exp(-(x**2) / (2 * own**2)))[:, None])
    return np.concatenate(made, axis=1) @ np.asarray(basis.mixing(jnp.asarray(own)))


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_poly3_is_orthonormal_and_nearest_to_the_powers(n):
    """S^(−1/2) is symmetric: g = W φ with W the polar factor's symmetric part. Two functions by hand: [[6, −2√7], [−2√7, 6]]."""
    g = functions(Poly3(n), 0.1, NODES)
    np.testing.assert_allclose((g * WEIGHTS[:, None]).T @ g, np.eye(n), atol=1e-12)
    if n <= 5:
        between = (powers(n, NODES) * WEIGHTS[:, None]).T @ g  # S^(1/2)
        np.testing.assert_allclose(between, between.T, atol=1e-12)
        assert np.all(np.linalg.eigvalsh(between) > 0)
    if n == 2:
        np.testing.assert_allclose(g, powers(2, NODES) @ [[6, -2 * np.sqrt(7)], [-2 * np.sqrt(7), 6]], atol=1e-13)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_poly3gauss_is_orthonormal_and_nearest_to_the_powers_and_the_gaussian(n):
    """Overlaps with the Gaussian, 0.11 wide, are over [0, ∞), of which [0, 1] is all."""
    own = 0.11
    g = functions(Poly3Gauss(n), own, NODES)
    np.testing.assert_allclose((g * WEIGHTS[:, None]).T @ g, np.eye(n), atol=1e-10)
    gauss = np.sqrt(2 / (own * np.sqrt(np.pi))) * np.exp(-(NODES**2) / (2 * own**2))
    between = (np.concatenate([powers(n - 1, NODES), gauss[:, None]], axis=1) * WEIGHTS[:, None]).T @ g
    np.testing.assert_allclose(between, between.T, atol=1e-9)
    height = np.sqrt(2 / (own * np.sqrt(np.pi)))
    np.testing.assert_allclose(Poly3Gauss(n).central(jnp.zeros(n), jnp.asarray(own)), between[-1] / height, atol=1e-9)
    x, width = np.array([0.0, 0.2, 0.5]), np.array([0.1, 0.15, 0.2])
    whole = np.linspace(0, 2, 20001)
    product = np.exp(-((whole[None] - x[:, None]) ** 2) / (2 * width[:, None] ** 2) - whole[None] ** 2 / (2 * own**2))
    expected = height * np.trapezoid(product, whole, axis=1)
    np.testing.assert_allclose(Poly3Gauss(n).more(jnp.asarray(x), jnp.asarray(width), jnp.asarray(own))[:, 0], expected, atol=1e-8)


def test_overlaps():
    x, width, soft, rate = np.array([0.0, 0.3, 0.85, 0.99]), np.array([0.1, 0.11, 0.05, 0.2]), 0.9, 40.0
    n = 4
    for end in (soft, 1.0):
        t, w = NODES * end, WEIGHTS * end
        expected = np.einsum("t,qt,tk->qk", w, np.exp(-((t - x[:, None]) ** 2) / (2 * width[:, None] ** 2)), np.asarray(polynomials(n, jnp.asarray(t))))
        np.testing.assert_allclose(overlaps(n, jnp.asarray(x), jnp.asarray(width), 0.0, end), expected, atol=1e-14)
    t, w = soft + NODES * (1 - soft), WEIGHTS * (1 - soft)
    damped = np.exp(-((t - x[:, None]) ** 2) / (2 * width[:, None] ** 2) - 0.5 * rate**2 * (t - soft) ** 2)
    expected = np.einsum("t,qt,tk->qk", w, damped, np.asarray(polynomials(n, jnp.asarray(t))))
    got = filtered_overlaps(n, jnp.asarray(x), jnp.asarray(width), soft, rate, at_the_end=True)
    np.testing.assert_allclose(got, expected, atol=1e-15)


def test_overlaps_of_soap_turbo_lack_a_boundary_term():
    """Its recursion in powers of 1 − t, with and without the term at t = 1 of the first step."""
    x, width, soft, rate, n = 0.95, 0.1, 0.9, 40.0, 4
    narrow = width / np.sqrt(1 + (rate * width) ** 2)
    place = (x / width**2 + soft * rate**2) * narrow**2
    t, w = soft + NODES * (1 - soft), WEIGHTS * (1 - soft)
    gauss = lambda t: np.exp(-((t - place) ** 2) / (2 * narrow**2))  # noqa: E731
    for kept in (True, False):
        moments = [np.sum(w * gauss(t)), 0.0]
        moments[1] = (1 - place) * moments[0] - narrow**2 * (gauss(soft) - kept * gauss(1.0))
        for m in range(1, n + 2):
            moments.append((1 - place) * moments[-1] + m * narrow**2 * moments[-2] - narrow**2 * (1 - soft) ** m * gauss(soft))
        scale = np.exp(-((x - soft) ** 2) / (2 * (width**2 + rate**-2)))
        expected = scale * np.sqrt(2 * np.arange(1, n + 1) + 5) * np.array(moments[3:])
        from_powers = np.linalg.solve(powers(n, NODES[::30]), np.asarray(polynomials(n, jnp.asarray(NODES[::30]))))
        got = filtered_overlaps(n, jnp.array([x]), jnp.array([width]), soft, rate, at_the_end=kept)[0]
        np.testing.assert_allclose(got, expected @ from_powers, atol=1e-13)


SPECIES = ("C", "Si")
BASES = (Poly3(2), Poly3Gauss(3))
DENSITY = TurboDensity(
    SPECIES, 3.4, BASES, 3, sigma=[0.5, 0.4], sigma_angular=[0.45, 0.6], width=0.6, growth=[0.05, 0.1], growth_angular=0.04, exponent=[1.0, 2.0],
    center_weight=[0.8, 1.2], enhancement=2,
)  # fmt: skip
ATOMS = Atoms("SiCSiC", positions=[[0, 0, 0], [1.5, 0.4, -0.3], [-0.9, 1.3, 1.1], [0.2, -2.2, 1.9]])


def by_definition(density, env):
    """The integral of g_n(x) Y_lm times the density, over distances by quadrature and over directions by a product rule."""
    radius, soft = float(density.radius), 1 - float(density.width) / float(density.radius)
    cosines, weights = np.polynomial.legendre.leggauss(60)
    angles = 2 * np.pi * np.arange(121) / 121
    directions = np.stack([np.outer(np.sqrt(1 - cosines**2), f(angles)) for f in (np.cos, np.sin)] + [np.outer(cosines, np.ones(121))], axis=-1).reshape(-1, 3)
    harmonics = np.asarray(spherical_harmonics(jnp.asarray(directions), density.l_max)) * np.repeat(weights * 2 * np.pi / 121, 121)[:, None]
    root = ((2 * np.repeat(np.arange(density.l_max + 1), 2 * np.arange(density.l_max + 1) + 1) + 1) / (8 * np.pi**2)) ** 0.25
    x, w = (np.concatenate(a) for a in ([NODES * soft, soft + NODES * (1 - soft)], [WEIGHTS * soft, WEIGHTS * (1 - soft)]))
    filtered = np.exp(-0.5 * (float(density.steepness) * np.maximum(x - soft, 0) / (1 - soft)) ** 2)
    blocks = []
    for s, basis in enumerate(BASES):
        own = density.sigma[s] / radius
        g, c = functions(basis, own, x), 0
        for vector, species in [*zip(env.vectors, env.species, strict=True), (np.zeros(3), env.center)]:
            r = np.linalg.norm(vector)
            if species != s or r >= radius:
                continue
            across = (density.sigma_angular[s] + density.growth_angular * r) / radius
            along, y = own + density.growth[s] * r / radius, r / radius
            enhanced = y**2 + along**2 + np.sqrt(8 / np.pi) * along * y
            amplitude = (1 - 3 * y**2 + 2 * y**3) ** density.exponent[s] * enhanced / along * (density.center_weight[s] if r == 0 else 1)
            in_direction = np.exp((y / across) ** 2 * (directions @ (vector / max(r, 1e-9)) - 1)) / across**2
            # the centre's overlaps with the functions that hold a Gaussian are not filtered
            fall = 1.0 if r == 0 and isinstance(basis, Poly3Gauss) else filtered
            radial = np.einsum("x,xn->n", w * fall * np.exp(-((x - y) ** 2) / (2 * along**2)), g)
            c = c + amplitude * radial[:, None] * (in_direction @ harmonics * root)[None]
        blocks.append(c)
    return np.concatenate(blocks)


def environment(model, index=0):
    graph = from_atoms(ATOMS, 3.6)
    return jax.tree_util.tree_map(lambda x: x[index], environments(graph, model.reach, SPECIES))


def test_coefficients_are_integrals_over_the_density():
    """A Gaussian that overlaps with the filter, or with the Gaussian of the basis beyond the radius, does so by 1e-9 at most here."""
    env = environment(DENSITY)
    assert relative(quick_jit(lambda d, e: d.of(e))(DENSITY, env), by_definition(DENSITY, env)) < 1e-8


def test_windows_are_those_of_soap_turbo():
    """Both leave out what is small."""
    env = environment(DENSITY)
    exact, cut = (np.asarray(quick_jit(lambda d, e: d.of(e))(DENSITY.replace(window=w), env)) for w in (None, 4.0))
    assert 0 < np.max(np.abs(exact - cut)) < 1e-3 * np.max(np.abs(exact))
    wide = quick_jit(lambda d, e: d.replace(window=jnp.asarray(40.0)).of(e))(DENSITY.replace(window=4.0), env)
    assert np.max(np.abs(wide - exact)) < 1e-6 * np.max(np.abs(exact))  # the boundary term


@pytest.mark.parametrize("make", [SOAP, lambda d: CompressedSOAP(d, pairs=((0, 0), (1, 3)))], ids=["SOAP", "CompressedSOAP"])
def test_jacobian(make):
    model, env = condense(make(DENSITY)), environment(DENSITY)
    value, jacobian = quick_jit(lambda m, e: with_slopes(m, e))(model, env)
    expected, pushed = quick_jit(lambda m, e: with_slopes.dispatch(object)(m, e))(model, env)
    assert relative(value, expected) < 1e-13 and relative(jacobian, pushed) < 1e-11


def test_global_spectrum():
    """The sum of the coefficients of all atoms, its spectrum."""
    graph = from_atoms(ATOMS, 3.6)
    c = quick_jit(lambda d, g: jnp.sum(jax.vmap(condense(d).of)(environments(g, d.reach, SPECIES)), axis=0))(DENSITY, graph)
    got = quick_jit(lambda d, g: GlobalSOAP(d, normalize=False).features(g))(DENSITY, graph)
    assert relative(got, power_spectrum(c, 3)) < 1e-12


def test_quippy():
    """soap_turbo of one and two elements with its trivial compression: pairs with the first function of an element."""
    file, names = np.load(ORACLE), {"si8": ("Si",), "water3": ("H", "O")}
    for name, species in names.items():
        density = TurboDensity(species, 4.5, Poly3Gauss(5), 4, sigma=0.5, sigma_angular=0.5, window=4.0)
        q = density.n_channels
        model = CompressedSOAP(density, pairs=tuple((a, b) for a in range(q) for b in range(a, q) if a % 5 == 0 or b % 5 == 0))
        atoms = Atoms(file[f"{name}/numbers"], file[f"{name}/positions"], cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])
        np.testing.assert_allclose(features(model, from_atoms(atoms, 4.5)), file[f"{name}/st_a/descriptor"], rtol=0, atol=1e-12)


def test_single_precision():
    """Orthogonal matrices and polynomials lose no digits; Gaussians with many polynomials would, and refuse."""
    graph = from_atoms(ATOMS, 3.6)
    density = TurboDensity(SPECIES, 3.4, (Poly3(8), Poly3Gauss(4)), 3, sigma=0.5, sigma_angular=0.5)
    single = features(cast(SOAP(density), jnp.float32), cast(graph, jnp.float32))
    assert single.dtype == jnp.float32 and relative(single, features(SOAP(density), graph)) < 5e-5
    with pytest.raises(ValueError, match="n_max = 8 needs float64"):
        features(cast(SOAP(density.replace(radial=Poly3Gauss(8))), jnp.float32), cast(graph, jnp.float32))


def test_tables_follow_the_widths():
    """A sigma half as large is not resolved: NaN, and diagnose says why. Constructed there it is."""
    graph, model = from_atoms(ATOMS, 3.6), SOAP(DENSITY)
    moved = jax.tree_util.tree_map(lambda x: x, model)
    object.__setattr__(moved.expansion, "sigma_angular", DENSITY.sigma_angular / 2)
    assert np.all(np.isnan(features(moved, graph)))
    assert "TurboDensity: its tables are too coarse" in " ".join(diagnose(moved, graph))
    fine = SOAP(DENSITY.replace(sigma_angular=DENSITY.sigma_angular / 2))
    finer = SOAP(fine.expansion.replace(nodes=2 * fine.expansion.nodes))
    assert relative(features(fine, graph), features(finer, graph)) < 1e-11


def test_refusals():
    def density(**changes):
        return TurboDensity(**{"species": SPECIES, "radius": 3.0, "radial": Poly3(2), "l_max": 2, "sigma": 0.5, "sigma_angular": 0.5, **changes})

    with pytest.raises(ValueError, match="one radial basis or 2, got 1"):
        density(radial=(Poly3(2),))
    with pytest.raises(ValueError, match=r"sigma must have shape \[\] or \[2\], got \(3,\)"):
        density(sigma=[0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="width 3.0 Å must be below the radius"):
        density(width=3.0)
    with pytest.raises(ValueError, match="enhancement must be 0, 1 or 2"):
        density(enhancement=3)
    with pytest.raises(ValueError, match="l_max"):
        density(l_max=-1)
    with pytest.raises(ValueError, match="sigma must be > 0"):
        density(sigma=0.0)
    with pytest.raises(ValueError, match="n_max must be a whole number from 2 to 10"):
        Poly3Gauss(1)
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda s: density(sigma=s)(environment(DENSITY)))(0.5)
