"""LODE against another code, quadrature, sums of another kind, and what it is for."""

import json
import math
from pathlib import Path

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit
from scipy.special import gammainc

import jaxpot
from jaxpot import GTO, CosineCutoff, Density, from_atoms, strain
from jaxpot.cutoffs import PolynomialCutoff, Step
from jaxpot.longrange import LODE, AllPairs, Waves, field_sum_for
from jaxpot.math.bessel import spherical_bessel
from jaxpot.radial import Bessel, SolidGTO
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


@pytest.mark.parametrize("name", ["tric_sic", "gaas8", pytest.param("nacl8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("key", CASES)
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


@pytest.mark.parametrize("power", [0, 1, 2, 3, 4, 5, 6])
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


CRYSTAL = Atoms("NaClCl", positions=[[0.1, 0.2, 0.3], [1.5, 1.4, 1.1], [0.3, 2.2, 2.0]], cell=[[3.0, 0.2, -0.1], [0.7, 2.8, 0.3], [-0.4, 0.5, 3.2]], pbc=True)


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
