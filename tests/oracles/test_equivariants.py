"""λ-SOAP and Clebsch–Gordan products of the density against featomic, and the closed form of a single neighbour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import quick_jit
from test_soap import SPECIES, assert_close, coefficients, graph_of, oracle, relative

from jaxpot import GTO, SOAP, CosineCutoff, Density, Environment, stack
from jaxpot.descriptors.soap import LambdaSOAP
from jaxpot.math.coupling import clebsch_gordan
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.passes import condense
from jaxpot.radial import Bessel
from jaxpot.tensors import wigner_d

spectrum = quick_jit(jax.vmap(lambda model, graph: model(graph), (None, 0)))
expansion = quick_jit(coefficients)


def density_of(case):
    cutoff, radial = CosineCutoff(case["cutoff"], width=case["smoothing_width"]), GTO(case["max_radial"] + 1)
    return Density(SPECIES, cutoff, radial, case["max_angular"], sigma=case["gaussian_width"])


def norm(density):
    """featomic's Gaussian is (π σ²)^(−3/4) exp(−r²/2σ²)."""
    return (np.pi * float(density.sigma) ** 2) ** -0.75


def ranks(file, structure, numbers):
    """Atomic numbers of a structure -> species index, in ascending order."""
    return np.searchsorted(np.unique(file[f"{structure}/numbers"]), numbers)


def keys_of(file, prefix):
    """(key, its entries as integers) of every block under a prefix."""
    for name in sorted(k for k in file.files if k.startswith(prefix) and k.endswith("/values")):
        key = name.removesuffix("/values")
        fields = key.removeprefix(prefix).replace("o3_lambda", "lambda").replace("o3_sigma", "sigma").replace("center_type", "center")
        parts = fields.replace("l_", "l").replace("k_", "k").split("_")
        yield key, {k: int(v) for k, v in (part.split("=") for part in parts)}


def by_structure(got, expected):
    """key -> largest deviation, relative to the largest reference of its structure."""
    assert all(got[key].shape == expected[key].shape for key in got)
    largest = {}
    for key, value in expected.items():
        largest[key.split("/")[0]] = max(largest.get(key.split("/")[0], 0), np.max(np.abs(value)))
    return {key: float(np.max(np.abs(got[key] - expected[key]))) / largest[key.split("/")[0]] for key in got}


def featomic_blocks(p, model, properties, n_max):
    """p [N, F, 2λ+1] -> featomic's Σ_mm' C c c' for its properties (l, l', z, n, z', n').

    Undoes √(8π²/(2λ+1)), the sign of true tensors and the √2 of unequal pairs. Of equal degrees featomic keeps both orders of the
    channels. Real coefficients with odd l + l' + λ are made from imaginary ones by a factor i or −i; featomic takes the other.
    """
    column = {label: i for i, label in enumerate(model.labels())}
    out = np.zeros((len(p), 2 * model.lam + 1, len(properties)))
    scale = np.sqrt(8 * np.pi**2 / (2 * model.lam + 1)) / norm(model.expansion) ** 2
    for i, (l, k, z, n, y, m) in enumerate(properties):
        a, b = z * n_max + n, y * n_max + m
        sign = -1 if model.pseudo else (-1) ** ((l + k - model.lam) // 2)
        if l == k and a > b:
            a, b, sign = b, a, -sign if model.pseudo else sign
        if l == k and a == b and model.pseudo:
            continue  # vanishes by antisymmetry
        out[:, :, i] = sign * p[:, column[a, b, l, k]] / (scale * (1 if (a, l) == (b, k) else np.sqrt(2)))
    return out


def test_featomic_equivariant_power_spectrum():
    """Errors are relative to the largest entry of a structure: some blocks vanish by symmetry."""
    file, info = oracle("featomic_equivariant_power_spectrum")
    density, structures = density_of(info["case"]), ("water", "tric_sic", "si8")
    graphs = stack([graph_of(file, structure, density.reach) for structure in structures])
    got, expected = {}, {}
    cases = {(entry["lambda"], entry["sigma"]) for _, entry in keys_of(file, "water/eps/")}
    for lam, sigma in cases:
        model = LambdaSOAP(density, lam, pseudo=sigma == -1, normalize=False)
        spectra = dict(zip(structures, np.asarray(spectrum(model, graphs)), strict=True))
        for structure in structures:
            for key, entry in keys_of(file, f"{structure}/eps/"):
                if (entry["lambda"], entry["sigma"]) == (lam, sigma):
                    properties = np.array(file[f"{key}/properties"])
                    for column in (2, 4):
                        properties[:, column] = ranks(file, structure, properties[:, column])
                    got[key] = featomic_blocks(spectra[structure][file[f"{key}/atoms"]], model, properties, density.radial.n_max)
                    expected[key] = file[f"{key}/values"]
    assert len(got) == len([k for k in file.files if k.endswith("/values")]) == 8 * (2 + 2 + 1)
    assert_close(by_structure(got, expected), 1e-10)


def test_featomic_density_correlations():
    """((l1 l2) k2 l3) k3 l4 with the coefficients of the density and `clebsch_gordan` alone.

    featomic keeps coupling paths with l1 ≤ l2 ≤ l3 (≤ l4) and multiplies nothing: no factor makes up for the orders it drops. Its
    sign of odd couplings cancels here, as true tensors have an even number of them.
    """
    file, info = oracle("featomic_density_correlations")
    density, got, expected = density_of(info["case"]), {}, {}
    for structure, numbers in {"water": [8, 1, 1], "tric_sic": [14, 6]}.items():
        arrays = {f"{structure}/{name}": file[f"{structure}/{name}"] for name in ("positions", "cell", "pbc")}
        graph = graph_of(arrays | {f"{structure}/numbers": np.array(numbers)}, structure, density.reach)
        c, elements = norm(density) * np.asarray(expansion(density, graph)), np.unique(numbers)
        for order in (3, 4):
            for key, entry in keys_of(file, f"{structure}/nu{order}/"):
                properties, atoms = file[f"{key}/properties"], file[f"{key}/atoms"]
                assert all(numbers[i] == entry["center"] for i in atoms)
                coupled = None
                for i in range(order):
                    l = entry[f"l{i + 1}"]
                    q = np.searchsorted(elements, properties[:, 2 * i]) * density.radial.n_max + properties[:, 2 * i + 1]
                    factor = c[atoms][:, q, l * l : (l + 1) ** 2]
                    if coupled is None:
                        coupled, reached = factor, l
                        continue
                    target = entry["lambda"] if i + 1 == order else entry[f"k{i + 1}"]
                    coupled = np.einsum("apm,apn,mnu->apu", coupled, factor, clebsch_gordan(reached, l, target))
                    reached = target
                got[key], expected[key] = np.swapaxes(coupled, 1, 2), file[f"{key}/values"]
    assert len(got) == len([k for k in file.files if k.endswith("/values")])
    assert_close(by_structure(got, expected), 1e-10)


# The definition: ∫ dR D(R) |∫ ρ(r) ρ'(R⁻¹ r) dr|², in a basis so large that only round-off is left


_equivariants = quick_jit(lambda model, c: model.of(c))
_density = quick_jit(lambda density, env: density.of(env))


def blocks(density, first, second, lam, pseudo=False):
    """p pᵀ of two sets of up to three neighbour vectors, around centres without a density of their own."""
    model, p = LambdaSOAP(density, lam, pseudo, normalize=False), []
    for vectors in (first, second):
        n = len(vectors)
        vectors = np.concatenate([vectors, np.full((3 - n, 3), 10.0)])
        env = Environment(vectors=vectors, species=np.zeros(3, int), center=np.array(0), index=np.arange(3), mask=np.arange(3) < n)
        p.append(np.asarray(_equivariants(model, _density(density, env))))
    return p[0].T @ p[1]


@pytest.fixture(scope="module")
def complete():
    density = Density(("Si",), CosineCutoff(6.0, width=0.5), Bessel(26), 16, sigma=0.5, center_weight=0.0)
    return quick_jit(condense)(density)


@pytest.mark.parametrize(("lam", "factor"), [(0, 1.2446166820846687), (1, 1.0782248700662667), (2, 0.812173552378925)])
def test_one_neighbour_each(lam, factor, complete):
    """k = 8π² (πσ²)³ exp(−(r₁² + r₂²)/2σ²) i_λ(r₁r₂/σ²) 4π/(2λ+1) Y_λμ Y_λμ'; the radial factor stands in the list of cases.

    A single neighbour has an axis and no pseudotensor.
    """
    directions = np.array([[0.6, -0.3, 0.74], [-0.2, 0.9, 0.4]])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    first, second = 1.1 * directions[:1], 1.7 * directions[1:]
    y = [np.asarray(spherical_harmonics(jnp.asarray(d), lam))[lam**2 :] for d in directions]
    expected = factor * 4 * np.pi / (2 * lam + 1) * np.outer(*y)
    assert relative(blocks(complete, first, second, lam), expected) < 1e-12
    if lam:
        assert np.max(np.abs(blocks(complete, first, second, lam, pseudo=True))) < 1e-14


def quadrature(first, second, lam, sigma, m=34):
    """The integral over rotations, with ∫ρ(r) ρ'(R⁻¹ r) dr = Σ_jk (πσ²)^(3/2) exp(−|r_j − R r'_k|²/4σ²)."""
    angle, (x, weight) = 2 * np.pi * np.arange(m) / m, np.polynomial.legendre.leggauss(m)

    def turn(c, s, axis):
        zero, one = np.zeros_like(c), np.ones_like(c)
        rows = [[c, -s, zero], [s, c, zero], [zero, zero, one]] if axis == "z" else [[c, zero, s], [zero, one, zero], [-s, zero, c]]
        return np.moveaxis(np.array(rows), -1, 0)

    about_z, about_y = turn(np.cos(angle), np.sin(angle), "z"), turn(x, np.sqrt(1 - x**2), "y")
    rotations = np.einsum("aij,bjk,ckl->abcil", about_z, about_y, about_z).reshape(-1, 3, 3)
    distance = np.sum((first[None, :, None] - np.einsum("rab,kb->rka", rotations, second)[:, None]) ** 2, axis=-1)
    overlap = (np.pi * sigma**2) ** 1.5 * np.sum(np.exp(-distance / (4 * sigma**2)), axis=(1, 2))
    d = np.asarray(jax.vmap(lambda r: wigner_d(r, lam)[lam])(jnp.asarray(rotations)))
    return np.einsum("r,r,rmn->mn", np.tile(np.repeat(weight / 2, m), m) / m**2, overlap**2, d) * 8 * np.pi**2


@pytest.mark.parametrize("lam", [0, 1, 2])
def test_kernel_is_the_integral_over_rotations(lam, complete):
    """Chiral environments: tensors and pseudotensors together."""
    first = np.array([[1.1, 0.1, 0.0], [-0.2, 1.4, 0.3], [0.2, 0.3, -0.9]])
    second = np.array([[0.9, -0.2, 0.4], [0.1, 0.8, 1.1]])
    parts = [blocks(complete, first, second, lam, pseudo) for pseudo in ((False, True) if lam else (False,))]
    assert relative(sum(parts), quadrature(first, second, lam, float(complete.plain.sigma))) < 1e-11
    assert lam == 0 or np.max(np.abs(parts[1])) > 1e-3 * np.max(np.abs(parts[0]))


def test_degree_zero_is_soap():
    """Up to the order of the columns; normalised and not."""
    density = density_of(oracle("featomic_equivariant_power_spectrum")[1]["case"])
    file, _ = oracle("featomic_equivariant_power_spectrum")
    graphs = stack([graph_of(file, "water", density.reach)])
    for normalize in (True, False):
        soap, zero = SOAP(density, normalize), LambdaSOAP(density, 0, normalize=normalize)
        column = {(a, b, l): i for i, (a, b, l, _) in enumerate(zero.labels())}
        reordered = np.asarray(spectrum(zero, graphs))[:, :, [column[label] for label in soap.labels()], 0]
        assert zero.n_features == soap.n_features
        assert relative(reordered, np.asarray(spectrum(soap, graphs))) < 1e-14
