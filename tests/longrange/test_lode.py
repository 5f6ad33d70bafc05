"""LODE against another code, quadrature, sums of another kind, and what it is for."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit
from scipy.special import gammainc

import jaxpot
from jaxpot import ACE, GTO, SOAP, AtomicPotential, CosineCutoff, Dataset, Density, Linear, TotalDegree, fit, from_atoms
from jaxpot.cutoffs import PolynomialCutoff, Step
from jaxpot.descriptors import JoinedExpansions, LambdaSOAP, MultiScale
from jaxpot.longrange import LODE, AllPairs, Coulomb, Waves, field_sum_for, sum_for
from jaxpot.math.bessel import spherical_bessel
from jaxpot.radial import Bessel, SolidGTO
from jaxpot.tensors import wigner_d
from jaxpot.units import SYMBOLS

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "featomic_lode.npz")
CASES = json.loads(str(ORACLE["info"]))["cases"]


@quick_jit
def coefficients(lode, graph):
    return lode.coefficients(graph)


@quick_jit
def with_jacobian(lode, graph):
    def of(positions):
        found = lode.coefficients(graph.replace(positions=positions))
        return found, found

    jacobian, found = jax.jacfwd(of, has_aux=True)(graph.positions)
    return found, jacobian


def as_of_featomic(case, found, n_species):
    """[N, Q, L, ...] -> [N, S, l, m, n, ...], with orders m from −l_max to l_max."""
    l_max, tail = case["max_angular"], found.shape[3:]
    found = np.asarray(found).reshape(len(found), n_species, -1, (l_max + 1) ** 2, *tail)
    out = np.zeros((len(found), n_species, l_max + 1, 2 * l_max + 1, found.shape[2], *tail))
    for l in range(l_max + 1):
        out[:, :, l, l_max - l : l_max + l + 1] = np.moveaxis(found[:, :, :, l * l : (l + 1) ** 2], 3, 2)
    # the Gaussians of densities have an L2 norm of 1 there
    return out * (np.pi * case["smearing"] ** 2) ** -0.75 if case["exponent"] == 0 else out


@pytest.mark.parametrize(
    ("key", "name"),
    [*((key, "tric_sic") for key in CASES), ("p1", "gaas8"), ("p6", "nacl8")]
    + [
        pytest.param(key, name, marks=pytest.mark.slow)
        for key in CASES
        for name in ("gaas8", "nacl8")
        if (key, name) not in (("p1", "gaas8"), ("p6", "nacl8"))
    ],
)
def test_another_code(name, key):
    """Values, and of the triclinic cell derivatives by positions, of powers 0, 1, 3 and 6."""
    case = CASES[key]
    atoms = Atoms(ORACLE[f"{name}/numbers"], positions=ORACLE[f"{name}/positions"], cell=ORACLE[f"{name}/cell"], pbc=True)
    species = tuple(SYMBOLS[n] for n in np.unique(atoms.numbers))
    lode = LODE(
        species, case["gto_radius"], GTO(case["max_radial"] + 1), case["max_angular"], case["smearing"],
        field_sum_for(atoms, sigma=case["smearing"], accuracy=1e-14), power=case["exponent"], center_weight=case["center_atom_weight"],
    )  # fmt: skip
    graph = from_atoms(atoms, 1.0)
    if f"{name}/{key}/dc_dpos" in ORACLE:
        found, jacobian = with_jacobian(lode, graph)
        np.testing.assert_allclose(as_of_featomic(case, jacobian, len(species)), ORACLE[f"{name}/{key}/dc_dpos"], rtol=0, atol=1e-10)
    else:
        found = coefficients(lode, graph)
    np.testing.assert_allclose(as_of_featomic(case, found, len(species)), ORACLE[f"{name}/{key}/c"], rtol=0, atol=1e-10)


def test_spherical_bessel():
    from scipy.special import spherical_jn

    x = np.concatenate([np.linspace(0, 30, 1001), np.linspace(31, 600, 300)])
    found = quick_jit(lambda x: spherical_bessel(x, 12))(jnp.asarray(x))
    slope = quick_jit(jax.vmap(jax.jacfwd(lambda x: spherical_bessel(x, 12))))(jnp.asarray(x))
    for l in range(13):
        np.testing.assert_allclose(found[:, l], spherical_jn(l, x), rtol=0, atol=1e-14)
        np.testing.assert_allclose(slope[:, l], spherical_jn(l, x, derivative=True), rtol=0, atol=1e-14)


def sphere(end, n_theta, n_r=40):
    """Points [R, A, 3] in a sphere, distances [R], and weights [R] and [A] of a quadrature."""
    x, w = np.polynomial.legendre.leggauss(n_r)
    r, w_r = 0.5 * end * (x + 1), 0.5 * end * w
    z, w_z = np.polynomial.legendre.leggauss(n_theta)
    phi = 2 * np.pi * np.arange(2 * n_theta) / (2 * n_theta)
    rho = np.sqrt(1 - z**2)[:, None]
    unit = np.stack([rho * np.cos(phi), rho * np.sin(phi), np.broadcast_to(z[:, None], (n_theta, 2 * n_theta))], axis=-1).reshape(-1, 3)
    w_a = np.repeat(w_z, 2 * n_theta) * np.pi / n_theta
    return r[:, None, None] * unit, unit, r, w_r * r**2, w_a


def by_quadrature(potential, radial, radius, end, l_max, n_theta=32):
    """∫ g_n(r) Y_lm V(r) d³r of a potential at points [..., 3], [n, L]."""
    points, unit, r, w_r, w_a = sphere(end, n_theta)
    values = potential(points.reshape(-1, 3)).reshape(len(r), -1)
    g = np.asarray(jaxpot.radial.base.sharp(radial, jnp.asarray(r), l_max, jnp.asarray(radius)))
    g = np.broadcast_to(g, (len(r), l_max + 1, g.shape[-1]))
    degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    harmonics = np.asarray(jaxpot.math.spherical.spherical_harmonics(jnp.asarray(unit), l_max))
    return np.einsum("r,rmn,ra,a,am->nm", w_r, g[:, degree], values, w_a, harmonics)


def smeared_power(r, power, sigma):
    return np.exp(-(r**2) / (2 * sigma**2)) if power == 0 else gammainc(power / 2, r**2 / (2 * sigma**2)) / r**power


MOLECULE = Atoms("NaClNa", positions=[[0, 0, 0], [1.4, 0.5, -0.6], [-2.0, 3.1, 1.7]])


@pytest.mark.parametrize("power", [2, 4, 5, *(pytest.param(power, marks=pytest.mark.slow) for power in (0, 1, 3, 6))])
def test_molecules_by_quadrature(power):
    """The potential of three atoms, near and far, over a sphere around each."""
    radial, radius, sigma = Bessel(3), 2.5, 0.7
    lode = LODE(("Na", "Cl"), radius, radial, 3, sigma, AllPairs(), power=power, channels=[[1.0, 0.5], [-1.0, 2.0]], center_weight=0.8)
    found = np.asarray(coefficients(lode, from_atoms(MOLECULE, 1.0))).reshape(3, 2, 3, 16)
    weights = np.array([[1.0, 0.5], [-1.0, 2.0], [1.0, 0.5]])
    for i in (0, 1):
        for d in range(2):
            own = weights[:, d] * np.where(np.arange(3) == i, 0.8, 1)

            def potential(x, i=i, own=own):
                r = np.linalg.norm(x[:, None] + MOLECULE.positions[i] - MOLECULE.positions, axis=2)
                return smeared_power(r, power, sigma) @ own

            np.testing.assert_allclose(found[i, d], by_quadrature(potential, radial, radius, radius, 3), rtol=0, atol=1e-10)


CRYSTAL = Atoms(
    "NaClCl", positions=[[0.1, 0.2, 0.3], [1.5, 1.4, 1.1], [0.3, 2.2, 2.0]], cell=[[3.0, 0.2, -0.1], [0.7, 2.8, 0.3], [-0.4, 0.5, 3.2]], pbc=True
)


@pytest.mark.parametrize("power", [2, 4, 5])
def test_crystals_by_quadrature(power):
    """The potential of all images, from pairs in real space and the mean field of those farther away, over a sphere around an atom."""
    sigma, radius, radial = 0.8, 2.0, SolidGTO(2)
    lode = LODE(("Na", "Cl"), radius, radial, 2, sigma, field_sum_for(CRYSTAL, sigma=sigma, accuracy=1e-14), power=power)
    found = np.asarray(coefficients(lode, from_atoms(CRYSTAL, 1.0)))[0].reshape(2, 2, 9)
    m = np.stack(np.meshgrid(*(np.arange(-5, 6),) * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    k = 2 * np.pi * m @ np.linalg.inv(CRYSTAL.cell.array).T
    length = np.linalg.norm(k, axis=1)
    k, length = k[length < 8], length[length < 8]
    transform = np.where(length > 0, transform_of_power(length, power, sigma), 0)
    if power > 3:  # ∫ 4π r² P(p/2, r²/2σ²) r^-p dr
        transform[length == 0] = np.pi**1.5 / math.gamma(power / 2) * (2 * sigma**2) ** ((3 - power) / 2) * 2 / (power - 3)
    for z in range(2):
        places = CRYSTAL.positions[[0] if z == 0 else [1, 2]]

        def potential(x, places=places):
            phase = np.exp(1j * (x + CRYSTAL.positions[0]) @ k.T)
            return np.real(phase @ (transform * np.exp(-1j * places @ k.T).sum(axis=0))) / CRYSTAL.get_volume()

        np.testing.assert_allclose(found[z], by_quadrature(potential, radial, radius, 2.6 * radius, 2, 24), rtol=0, atol=1e-8)


def transform_of_power(k, power, sigma):
    """An integral over those of Gaussians of widths σ/u."""
    x, w = np.polynomial.legendre.leggauss(200)
    u, w = 0.5 * (x + 1), 0.5 * w
    gaussians = (2 * np.pi * sigma**2 / u**2) ** 1.5 * np.exp(-0.5 * np.multiply.outer(k, sigma / u) ** 2)
    return 2 / (math.gamma(power / 2) * (2 * sigma**2) ** (power / 2)) * gaussians @ (w * u ** (power - 1))


SALT = ("Na", "Cl")
SLAB = Atoms(
    "NaClClNa",
    positions=[[0, 0, 0], [2.0, 0.1, 0.3], [0.2, 1.9, -0.2], [2.1, 2.0, 0.1]],
    cell=[[4.0, 0, 0], [0.3, 3.9, 0], [0, 0, 1]],
    pbc=(True, True, False),
)
ION = np.array([[1.0], [-1.0]])  # channels: the potential of charges


def test_molecules_by_waves():
    """The potential of 1/r that ends far away is the same in reciprocal space."""
    direct = LODE(SALT, 2.0, GTO(3), 2, 0.8, AllPairs())
    waves = field_sum_for(MOLECULE, sigma=0.8)
    assert waves == AllPairs()
    end, reach = float(direct.end), 9.0 / 0.8
    length = 2 * (5.0 + end + (9.0 + 2) * 0.8)
    grid = (int(reach * length / 2 / np.pi / 1.6),) * 3
    found = coefficients(direct.replace(sum=Waves(grid, 2 * np.pi * grid[0] / length, (False, False, False), length)), from_atoms(MOLECULE, 1.0))
    np.testing.assert_allclose(found, coefficients(direct, from_atoms(MOLECULE, 1.0)), rtol=0, atol=1e-8)


def test_slabs():
    """The limit of much vacuum, for charges without a dipole across; the vector across does not matter."""
    atoms = SLAB.copy()
    atoms.positions[:, 2] = 0
    crystal = atoms.copy()
    crystal.set_cell([*SLAB.cell.array[:2], [0.4, 0.2, 40.0]])
    crystal.set_pbc(True)
    make = lambda sum: LODE(SALT, 1.2, GTO(3), 2, 0.8, sum, channels=ION)  # noqa: E731
    end = float(make(AllPairs()).end)
    found = coefficients(make(field_sum_for(atoms, sigma=0.8, end=end, accuracy=1e-12)), from_atoms(atoms, 1.0))
    expected = coefficients(make(field_sum_for(crystal, sigma=0.8, accuracy=1e-12)), from_atoms(crystal, 1.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_density_of_gaussians():
    """Power 0 is the density of all atoms, which no cutoff ends."""
    lode = LODE(SALT, 2.0, GTO(3), 3, 0.5, field_sum_for(CRYSTAL, sigma=0.5, accuracy=1e-15), power=0)
    density = Density(SALT, Step(12.0), GTO(3, radius=2.0), 3, sigma=0.5)
    stack = jaxpot.environments(from_atoms(CRYSTAL, 12.0), 12.0, SALT)
    expected = quick_jit(jax.vmap(density.of))(stack)
    np.testing.assert_allclose(coefficients(lode, from_atoms(CRYSTAL, 1.0)), expected, rtol=0, atol=1e-9)


def test_value_at_the_centre():
    """In a small sphere there is one number, the electrostatic potential there, and that of the centre's own smeared charge."""
    sigma, radius = 0.25, 1e-3
    lode = LODE(SALT, radius, Bessel(1), 0, sigma, field_sum_for(CRYSTAL[:2], sigma=sigma, accuracy=1e-8), channels=ION, center_weight=0.0)
    graph, q = from_atoms(CRYSTAL[:2], 1.0), jnp.array([1.0, -1.0])
    sum = sum_for(CRYSTAL[:2], accuracy=1e-7)
    expected = sum.potential(Coulomb(), from_atoms(CRYSTAL[:2], float(sum.reach)), q) / jaxpot.units.COULOMB
    r, w_r = sphere(radius, 2)[2:4]
    norm = np.sum(w_r * np.asarray(Bessel(1)(jnp.asarray(r), radius, 0))[:, 0, 0]) * np.sqrt(4 * np.pi)
    np.testing.assert_allclose(coefficients(lode, graph)[:, 0, 0] / norm, expected, rtol=0, atol=1e-6)


def test_supercells_and_images():
    """What is repeated has the same coefficients, and so has what is moved by a lattice vector."""
    lode = LODE(SALT, 2.0, GTO(2), 2, 0.7, field_sum_for([CRYSTAL, CRYSTAL.repeat((2, 1, 1))], sigma=0.7, accuracy=1e-13))
    once, twice = coefficients(lode, from_atoms(CRYSTAL, 1.0)), coefficients(lode, from_atoms(CRYSTAL.repeat((2, 1, 1)), 1.0))
    np.testing.assert_allclose(twice, np.tile(once, (2, 1, 1)), rtol=0, atol=1e-10)


def test_without_what_is_near():
    """Each source counts as far as the cutoff does not let it; its image counts by its own distance."""
    cutoff = PolynomialCutoff(4.0, width=3.0)
    everything = LODE(SALT, 2.0, GTO(2), 2, 0.7, AllPairs(), power=3, channels=ION)
    pair = lambda r: from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [0, 0.6 * r, 0.8 * r]]), 4.0)  # noqa: E731
    for r in (0.8, 2.2, 5.0):
        whole = coefficients(everything.replace(center_weight=0.0), pair(r))
        np.testing.assert_allclose(
            coefficients(everything.replace(interior=cutoff), pair(r)), (1 - float(cutoff(jnp.asarray(r)))) * whole, rtol=0, atol=1e-11
        )
    crystal = everything.replace(sum=field_sum_for(CRYSTAL, sigma=0.7, accuracy=1e-13))
    step = crystal.replace(interior=Step(3.5))
    graph = from_atoms(CRYSTAL, 3.5)
    large = Density(SALT, Step(3.5), GTO(2, radius=2.0), 2, sigma=0.7, channels=ION)
    stack = jaxpot.environments(graph, 3.5, SALT)
    removed = coefficients(crystal.replace(power=0), graph) - coefficients(step.replace(power=0), graph)
    np.testing.assert_allclose(removed, quick_jit(jax.vmap(large.of))(stack), rtol=0, atol=1e-9)


def test_smooth_in_the_cell():
    """No wave comes or goes while a cell changes, until it has outgrown its grid; then it is said."""
    lode = LODE(SALT, 2.0, GTO(2), 1, 0.9, field_sum_for(CRYSTAL, sigma=0.9, accuracy=1e-6, growth=0.02))
    graph = from_atoms(CRYSTAL, 1.0)
    scale = np.linspace(0.99, 1.01, 41)
    scan = quick_jit(jax.vmap(lambda s: lode.coefficients(graph.replace(positions=s * graph.positions, cell=s * graph.cell)).reshape(-1)))(
        jnp.asarray(scale)
    )
    third = np.diff(scan, 3, axis=0)
    assert np.max(np.abs(third)) < 1e-4 * np.max(np.abs(np.diff(scan, axis=0)))
    large = graph.replace(cell=1.5 * graph.cell)
    assert np.all(np.isnan(coefficients(lode, large)))
    assert "has outgrown the grid" in jaxpot.diagnose(AtomicPotential(SOAP(lode), Linear()), large)[0]
    assert not jaxpot.diagnose(SOAP(lode), graph)
    molecule = from_atoms(MOLECULE, 1.0)
    assert np.all(np.isnan(coefficients(lode, molecule))) and "pbc" in jaxpot.diagnose(SOAP(lode), molecule)[0]
    assert "field_sum_for" in jaxpot.diagnose(SOAP(lode.replace(sum=AllPairs())), graph)[0]
    narrow = jaxpot.free(lode, "sigma")[1]({"sigma": jnp.log(0.2)})
    assert np.all(np.isnan(coefficients(narrow, graph))) and "tables are too coarse" in jaxpot.diagnose(SOAP(narrow), graph)[0]


NEAR = Density(SALT, PolynomialCutoff(4.0, width=3.0), GTO(2), 3, sigma=0.5)
FAR = LODE(SALT, 2.0, GTO(3), 2, 0.8, AllPairs(), channels=ION)


def test_near_times_far_is_that_of_joined_expansions():
    """Degrees end at the lower of both l_max; the power spectrum has √2 where two channels differ."""
    joined, graph = SOAP(JoinedExpansions((NEAR, FAR)), normalize=False), from_atoms(MOLECULE, 4.0)
    found = quick_jit(lambda model: model(graph))(joined)
    wanted = {label: i for i, label in enumerate(joined.labels())}
    near_far = MultiScale(NEAR, FAR)
    columns = [wanted[q, NEAR.n_channels + p, l] for q, p, l in near_far.labels()]
    expected = np.sqrt(2) * quick_jit(lambda model: model(graph))(near_far)
    np.testing.assert_allclose(found[:, np.array(columns)], expected, rtol=0, atol=1e-13 * np.max(np.abs(expected)))


@pytest.mark.parametrize("descriptor", [LambdaSOAP(JoinedExpansions((NEAR, FAR)), lam=2), ACE(JoinedExpansions((NEAR, FAR)), TotalDegree((2, 2)), lam=1)])
def test_joined_expansions_turn(descriptor):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = MOLECULE.copy()
    turned.positions = MOLECULE.positions @ rotation.T
    features = quick_jit(lambda model, graph: model(graph))
    before, after = (np.asarray(features(descriptor, from_atoms(atoms, 4.0))) for atoms in (MOLECULE, turned))
    expected = before @ np.asarray(wigner_d(rotation, descriptor.lam)[descriptor.lam]).T
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12 * np.max(np.abs(before)))


def test_refusals_of_joined_expansions():
    with pytest.raises(ValueError, match="expected a tuple of expansions"):
        JoinedExpansions(())
    with pytest.raises(TypeError, match="such as a Density and a LODE, got SOAP"):
        JoinedExpansions((SOAP(NEAR), FAR))
    with pytest.raises(ValueError, match="give all of them the same"):
        JoinedExpansions((NEAR, FAR.replace(species=("Cl", "Na"))))
    assert "field_sum_for" in jaxpot.diagnose(SOAP(JoinedExpansions((NEAR, FAR))), from_atoms(CRYSTAL, 4.0))[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power": 2.5}, "power must be 0, 1, 2, 3 or a number above 3, got 2.5"),
        ({"l_max": -1}, "l_max must be a non-negative integer"),
        ({"channels": np.ones((3, 1))}, r"channels must have shape \[2, D\]"),
        ({"species": ("Na", "Xx")}, "Xx"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        LODE(**({"species": SALT, "radius": 2.0, "radial": GTO(2), "l_max": 1, "sigma": 0.5, "sum": AllPairs()} | changes))


@pytest.mark.parametrize(
    ("frames", "changes", "message"),
    [([], {}, "no frames"), ([CRYSTAL, MOLECULE], {}, "choose a sum for each"), (CRYSTAL, {"sigma": 0.0}, "sigma must be a positive number")],
)
def test_refusals_of_the_choice(frames, changes, message):
    with pytest.raises(ValueError, match=message):
        field_sum_for(frames, **({"sigma": 0.5} | changes))


def test_products_of_two_scales():
    with pytest.raises(ValueError, match="species"):
        MultiScale(Density(("Na",), CosineCutoff(3.0), GTO(2), 1, sigma=0.5), LODE(SALT, 2.0, GTO(2), 1, 0.5, AllPairs()))
    with pytest.raises(TypeError, match="two expansions"):
        MultiScale(SOAP(Density(SALT, CosineCutoff(3.0), GTO(2), 1, sigma=0.5)), LODE(SALT, 2.0, GTO(2), 1, 0.5, AllPairs()))


def test_equivariants():
    """λ-SOAP of a potential turns with it."""
    descriptor = LambdaSOAP(LODE(SALT, 2.0, GTO(2), 2, 0.7, AllPairs()), lam=1)
    rotation = np.asarray(jaxpot.random_rotation(jax.random.key(1)))
    graph = from_atoms(MOLECULE, 1.0)
    before, after = (quick_jit(lambda d, g: d(g))(descriptor, g) for g in (graph, jaxpot.rotate(graph, rotation)))
    turn = rotation[np.ix_([1, 2, 0], [1, 2, 0])]  # harmonics of degree 1 are y, z, x
    np.testing.assert_allclose(after, before @ turn.T, rtol=0, atol=1e-11)


def test_rows():
    """What a fit sees of energy, forces and virial is what the model predicts."""
    far = LODE(SALT, 2.0, GTO(2), 1, 0.9, field_sum_for(CRYSTAL, sigma=0.9), channels=ION)
    descriptor = MultiScale(Density(SALT, CosineCutoff(3.0), GTO(2), 1, sigma=0.5), far)
    model = AtomicPotential(descriptor, Linear(coefficients=np.random.default_rng(0).normal(size=2 * descriptor.n_features)))
    graph = from_atoms(CRYSTAL, 3.0)
    rows, found = quick_jit(lambda model, graph: (fit.design(model, graph), jaxpot.evaluate(model, graph)))(model, graph)
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose(getattr(rows, name) @ model.head.coefficients.reshape(-1), getattr(found, name), rtol=1e-10, atol=1e-10)


def random_salt(rng, n_pairs=2, length=6.0, least=2.2):
    """Charges at random places of a cubic cell, no two nearer than this."""
    while True:
        atoms = Atoms("Na" * n_pairs + "Cl" * n_pairs, scaled_positions=rng.random((2 * n_pairs, 3)), cell=[length] * 3, pbc=True)
        distances = atoms.get_all_distances(mic=True)[np.triu_indices(2 * n_pairs, 1)]
        if distances.min() > least:
            return atoms


@pytest.mark.slow
def test_charges_at_random_places():
    """What LODE is for: energies and forces of charges without neighbours within the cutoff, by a linear model that is fitted to both."""
    rng = np.random.default_rng(0)
    frames = [random_salt(rng) for _ in range(14)]
    sum = sum_for(frames, accuracy=1e-7)
    electrostatics = jaxpot.longrange.Electrostatics(jaxpot.longrange.FixedCharges(SALT, [1.0, -1.0]), sum)
    truth = quick_jit(jaxpot.evaluate)
    for atoms in frames:
        found = truth(electrostatics, from_atoms(atoms, float(sum.reach), max_neighbors=400))
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy), np.asarray(found.forces)
    far = LODE(SALT, 1.0, Bessel(2), 0, 0.4, field_sum_for(frames, sigma=0.4, accuracy=1e-4), channels=ION, center_weight=0.0)
    near = Density(SALT, CosineCutoff(2.0, width=0.5), GTO(1), 0, sigma=0.4)
    errors = {}
    for name, descriptor in {"far": MultiScale(near, far), "near": SOAP(near)}.items():
        data = Dataset.from_atoms(frames[:6], cutoff=2.2, sigma=jaxpot.Properties(energy=1e-3, forces=1e-2))
        model = fit.linear(AtomicPotential(descriptor, Linear(scale=100.0)), data)
        energies = [float(truth(model, from_atoms(atoms, 2.2, max_neighbors=8)).energy) for atoms in frames[6:]]
        true = np.array([atoms.info["energy"] for atoms in frames[6:]])
        errors[name] = np.sqrt(np.mean((energies - true) ** 2)) / np.std(true)
    assert errors["far"] < 0.01 and errors["near"] > 0.5, errors
