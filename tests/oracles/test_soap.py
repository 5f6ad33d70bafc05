"""SOAP and its density against featomic, quippy and DScribe, each through a diagonal map of order, signs and prefactors.

Every structure has one or two elements. Their symbols are exchanged for H and He in ascending order, so that all structures of
a case share one model, one padded shape and one compilation; a channel that a structure does not have is dropped.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

from jaxpot import GTO, SOAP, CosineCutoff, Density, PolynomialKernel, environments, from_atoms, stack, strain
from jaxpot.cutoffs import LogisticDecay, PolynomialCutoff, Step, Willatt
from jaxpot.descriptors import CompressedSOAP, power_spectrum, sensitivity
from jaxpot.passes import condense
from jaxpot.radial import Bessel, Chebyshev, EquispacedGaussians, Monomials, ShiftedMonomials, SolidGTO
from jaxpot.radial.base import sharp

HERE = Path(__file__).parent
SPECIES = ("H", "He")
STEP_MARGIN = np.sqrt(-2 * np.log(1e-3))  # Step counts smeared neighbours this many sigmas further


def oracle(name):
    file = np.load(HERE / f"{name}.npz")
    return file, json.loads(str(file["info"]))


def structures(file, suffix):
    """The names of the structures that have an array of this name."""
    return [key.split("/")[0] for key in file.files if key.endswith(f"/{suffix}") and key.count("/") == suffix.count("/") + 1]


def graph_of(file, name, cutoff):
    _, rank = np.unique(file[f"{name}/numbers"], return_inverse=True)
    atoms = Atoms(numbers=rank + 1, positions=file[f"{name}/positions"], cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])
    return from_atoms(atoms, float(cutoff))


def n_elements(file, name):
    return len(np.unique(file[f"{name}/numbers"]))


def coefficients(density, graph):
    """c, shape [N, Q, L]."""
    return jax.vmap(condense(density).of)(environments(graph, density.reach, density.species))


def features(model, graph):
    return coefficients(model, graph) if isinstance(model, Density) else model(graph)


values = quick_jit(jax.vmap(features, (None, 0)))
one = quick_jit(features)


@quick_jit
def by_position(model, graph):
    return jax.jacfwd(lambda positions: features(model, graph.replace(positions=positions)))(graph.positions)


@quick_jit
def by_strain(model, graph):
    return jax.jacfwd(lambda epsilon: features(model, strain(graph, epsilon)))(jnp.zeros((3, 3)))


def all_values(model, file, names):
    """name -> features of its atoms, from one call."""
    graphs = [graph_of(file, name, model.reach) for name in names]
    batch = np.asarray(values(model, stack(graphs)))
    return {name: batch[i, : len(g.numbers)] for i, (name, g) in enumerate(zip(names, graphs, strict=True))}


def all_derivatives(function, model, file, names, n_extra):
    """name -> derivatives of the features of its atoms; structures are padded to one shape. n_extra: derivative axes over atoms."""
    batch = stack([graph_of(file, name, model.reach) for name in names])
    out = {}
    for i, name in enumerate(names):
        n = len(file[f"{name}/numbers"])
        full = np.asarray(function(model, jax.tree_util.tree_map(lambda x, i=i: x[i], batch)))[:n]
        out[name] = np.moveaxis(np.moveaxis(full, -2, 0)[:n], 0, -2) if n_extra else full
    return out


def pair_sums(p, soap):
    """Σ_m c_qlm c_q'lm, shape [N, S, n, S, n, L + 1, ...], of spectra p [N, F, ...].

    Undoes the prefactor √(8π²/(2l+1)) of `power_spectrum`, its √2 off the diagonal, and its restriction to q ≤ q'.
    """
    q, l_max = soap.expansion.n_channels, soap.expansion.l_max
    first, second = np.triu_indices(q)
    blocks = p.reshape(len(p), len(first), l_max + 1, *p.shape[2:])
    full = np.zeros((len(p), q, q, *blocks.shape[2:]))
    weight = np.where(first == second, 1.0, np.sqrt(2.0))[:, None] * np.sqrt(8 * np.pi**2 / (2 * np.arange(l_max + 1) + 1))
    blocks = blocks / weight.reshape(1, *weight.shape, *(1,) * (p.ndim - 2))
    full[:, first, second] = blocks
    full[:, second, first] = blocks
    n = soap.expansion.radial.n_max
    return full.reshape(len(p), q // n, n, q // n, n, *blocks.shape[2:])


def relative(got, reference):
    assert got.shape == reference.shape
    return np.max(np.abs(got - reference)) / np.max(np.abs(reference))


def assert_close(errors, tolerance):
    worst = max(errors, key=errors.get)
    assert errors[worst] <= tolerance, f"worst {errors[worst]:.2e} > {tolerance:.0e} at {worst}; all: {errors}"


# featomic: G = (π σ²)^(−3/4) exp(−r²/2σ²), max_radial + 1 functions, Step without DScribe's margin


def featomic_density(case):
    sigma, n_max = case["gaussian_width"], case["max_radial"] + 1
    if case["smoothing"] == "Step":
        cutoff, radial = Step(case["cutoff"] - STEP_MARGIN * sigma), GTO(n_max, radius=case["cutoff"])
    else:
        cutoff, radial = CosineCutoff(case["cutoff"], width=case["smoothing_width"]), GTO(n_max)
    if case["scaling"]:
        cutoff = Willatt(cutoff, *(case["scaling"][key] for key in ("rate", "scale", "exponent")))
    return Density(SPECIES, cutoff, radial, case["max_angular"], sigma=sigma, center_weight=case["center_atom_weight"])


def featomic_coefficients(c, density, n_species):
    """[N, Q, L, ...] -> featomic's [N, species, l, m + l_max, n, ...]."""
    l_max, n_max = density.l_max, density.radial.n_max
    c = (np.pi * float(density.sigma) ** 2) ** -0.75 * c.reshape(len(c), len(SPECIES), n_max, *c.shape[2:])[:, :n_species]
    out = np.zeros((len(c), n_species, l_max + 1, 2 * l_max + 1, n_max, *c.shape[4:]))
    for l in range(l_max + 1):
        out[:, :, l, l_max - l : l_max + l + 1] = np.moveaxis(c[:, :, :, l * l : (l + 1) ** 2], 2, 3)
    return out


def featomic_spectrum(p, soap, n_species):
    """[N, F, ...] -> featomic's (−1)^l/√(2l+1) Σ_m c c', √2 between species, [N, pair z ≤ z', l, n, n', ...]."""
    l = np.arange(soap.expansion.l_max + 1)
    factor = (np.pi * float(soap.expansion.sigma) ** 2) ** -1.5 * (-1.0) ** l / np.sqrt(2 * l + 1)
    sums = np.moveaxis(pair_sums(p, soap), 5, 2)  # [N, s, l, n, s', n', ...]
    sums = sums * factor.reshape(1, 1, -1, *(1,) * (sums.ndim - 3))
    pairs = [(a, b) for a in range(n_species) for b in range(a, n_species)]
    return np.stack([sums[:, a, :, :, b] * (1.0 if a == b else np.sqrt(2.0)) for a, b in pairs], axis=1)


@pytest.mark.parametrize("case", ["gtoA", "gtoB", "gtoC"])
def test_featomic_spherical_expansion(case):
    file, info = oracle("featomic_spherical_expansion")
    density = featomic_density(info["cases"][case])
    names = structures(file, f"{case}/c")
    errors = {
        name: relative(featomic_coefficients(c, density, n_elements(file, name)), file[f"{name}/{case}/c"])
        for name, c in all_values(density, file, names).items()
    }
    assert len(errors) == {"gtoA": 8, "gtoB": 5, "gtoC": 3}[case]
    assert_close(errors, 1e-10)


@pytest.mark.parametrize("case", ["gtoA", "gtoB", "gtoC"])
def test_featomic_spherical_expansion_derivatives(case):
    file, info = oracle("featomic_spherical_expansion")
    density = featomic_density(info["cases"][case])
    errors = {}
    for quantity, function in {"dc_dpos": by_position, "dc_dstrain": by_strain}.items():
        names = structures(file, f"{case}/{quantity}")
        for name, d in all_derivatives(function, density, file, names, quantity == "dc_dpos").items():
            d = np.swapaxes(d, -1, -2) if quantity == "dc_dstrain" else d  # featomic strains row vectors
            errors[quantity, name] = relative(featomic_coefficients(d, density, n_elements(file, name)), file[f"{name}/{case}/{quantity}"])
    assert_close(errors, 1e-8)


OTHER_BASES = {  # the bases by their number of functions, and l_max; features in featomic's units are those times a factor
    "laplacian": (Bessel, 10, 0.5),
    "delta_bessel": (Bessel, 3, None),
    "monomials": (Monomials, 3, 0.5),
}


@pytest.mark.parametrize("case", OTHER_BASES)
def test_featomic_other_bases(case):
    """Its radial integrals are splined. Degrees have different numbers of functions, which for monomials change them all."""
    file, info = oracle("featomic_expansion_other_bases")
    radial, l_max, sigma = OTHER_BASES[case]
    names, cutoff, errors = structures(file, f"{case}/c"), CosineCutoff(4.0, width=info["cases"][case]["smoothing_width"]), {}
    n_per_l = file[f"{names[0]}/{case}/n_per_l"]
    for n in sorted({int(n) for n in n_per_l if n}) if radial is Monomials else [int(max(n_per_l))]:
        density = Density(SPECIES, cutoff, radial(n), l_max, sigma=sigma, center_weight=float(sigma is not None))
        for name, c in all_values(density, file, names).items():
            c = c.reshape(len(c), len(SPECIES), n, -1)[:, : n_elements(file, name)] * (1.0 if sigma is None else (np.pi * sigma**2) ** -0.75)
            for l in np.flatnonzero(n_per_l == n if radial is Monomials else n_per_l):
                expected = file[f"{name}/{case}/c"][:, :, l, l_max - l : l_max + l + 1, : n_per_l[l]]
                got = np.moveaxis(c[:, :, : n_per_l[l], l * l : (l + 1) ** 2], 2, 3)
                errors[name, l] = np.max(np.abs(got - expected)) / np.max(np.abs(file[f"{name}/{case}/c"]))
    assert len(errors) == 3 * np.count_nonzero(n_per_l)
    assert_close(errors, 1e-6)


@pytest.mark.parametrize("case", ["gtoA", "gtoB"])
def test_featomic_power_spectrum(case):
    file, info = oracle("featomic_soap_power_spectrum")
    soap = SOAP(featomic_density(info["cases"][case]), normalize=False)
    names = structures(file, f"{case}/p")
    errors = {
        name: relative(featomic_spectrum(p, soap, n_elements(file, name)), file[f"{name}/{case}/p"])
        for name, p in all_values(soap, file, names).items()
    }
    assert len(errors) == {"gtoA": 8, "gtoB": 5}[case]
    assert_close(errors, 1e-10)


@pytest.mark.parametrize("case", ["gtoA", "gtoB"])
def test_featomic_power_spectrum_gradient(case):
    file, info = oracle("featomic_soap_power_spectrum")
    soap = SOAP(featomic_density(info["cases"][case]), normalize=False)
    derivatives = all_derivatives(by_position, soap, file, structures(file, f"{case}/dp_dpos"), True)
    errors = {
        name: relative(featomic_spectrum(d, soap, n_elements(file, name)), file[f"{name}/{case}/dp_dpos"])
        for name, d in derivatives.items()
    }
    assert_close(errors, 1e-8)


# quippy: no factor 4π (EquispacedGaussians has none), p = Σ_m c c'/√(2l+1), √2 off the diagonal, pairs a then b ≤ a, l fastest


def quippy_soap(text):
    case = dict(pair.split("=") for pair in text.split())
    cutoff = CosineCutoff(float(case["cutoff"]), width=float(case["cutoff_transition_width"]))
    density = Density(
        SPECIES, cutoff, EquispacedGaussians(int(case["n_max"])), int(case["l_max"]),
        sigma=float(case["atom_sigma"]), center_weight=float(case["central_weight"]),
    )  # fmt: skip
    return SOAP(density, normalize=case.get("normalise") != "F")


def quippy_spectrum(p, soap, n_species):
    """[N, F, ...] -> quippy's [N, dim, ...] with covariance_sigma0 = 0 last; √(8π²) survives only without normalisation."""
    sums = pair_sums(p, soap)[:, :n_species, :, :n_species]
    n = n_species * soap.expansion.radial.n_max
    sums = sums.reshape(len(p), n, n, *sums.shape[5:])
    l = np.arange(soap.expansion.l_max + 1)
    factor = (np.sqrt(8 * np.pi**2) if soap.normalize else 1.0) / np.sqrt(2 * l + 1)
    a, b = np.tril_indices(n)
    out = sums[:, a, b] * (np.where(a == b, 1.0, np.sqrt(2.0))[:, None] * factor).reshape(1, len(a), len(l), *(1,) * (p.ndim - 2))
    out = out.reshape(len(p), -1, *p.shape[2:])
    return np.concatenate([out, np.zeros_like(out[:, :1])], axis=1)


@pytest.mark.parametrize("case", ["soapA", "soapB", "soapA_nonorm"])
def test_quippy(case):
    file, info = oracle("quippy_descriptors")
    soap = quippy_soap(info["cases"][case])
    names = structures(file, f"{case}/descriptor")
    errors = {
        name: relative(quippy_spectrum(p, soap, n_elements(file, name)), file[f"{name}/{case}/descriptor"])
        for name, p in all_values(soap, file, names).items()
    }
    assert len(errors) == 6
    assert_close(errors, 1e-10)


@pytest.mark.parametrize("case", ["soapA", "soapB", "soapA_nonorm"])
def test_quippy_gradient(case):
    file, info = oracle("quippy_descriptors")
    soap = quippy_soap(info["cases"][case])
    names = structures(file, f"{case}/gradient")
    errors = {
        name: relative(quippy_spectrum(d, soap, n_elements(file, name)), file[f"{name}/{case}/gradient"])
        for name, d in all_derivatives(by_position, soap, file, names, True).items()
    }
    assert len(errors) == 2
    assert_close(errors, 1e-8)


@pytest.mark.parametrize(("zeta", "sigma0"), [(2.0, 0.0), (4.0, 0.3), (2.5, 0.1)])
def test_quippy_kernel(zeta, sigma0):
    file, _ = oracle("quippy_descriptors")
    d = np.array(file["ch4/soapA/descriptor"])
    d[:, -1] = sigma0
    got = PolynomialKernel(zeta, offset=sigma0)(jnp.asarray(d[:, :-1]), jnp.asarray(d[:, :-1]))
    assert relative(np.asarray(got), (d @ d.T) ** zeta) < 1e-14


# DScribe: G = exp(−r²/2σ²), p = π √(8/(2l+1)) Σ_m c c' (exactly `power_spectrum`'s prefactor), no √2


def dscribe_soap(case):
    weighted = "weighting" in case
    radial = {"gto": SolidGTO, "polynomial": ShiftedMonomials}[case["rbf"]](case["n_max"])
    assert not weighted or case["weighting"] == {"function": "poly", "c": 1, "m": 2, "r0": case["r_cut"], "w0": 1.0}
    cutoff = PolynomialCutoff(case["r_cut"], smoothness=1, power=2) if weighted else Step(case["r_cut"])
    return SOAP(Density(SPECIES, cutoff, radial, case["l_max"], sigma=case["sigma"]), normalize=False)


def dscribe_spectrum(p, soap, n_species):
    """[N, F, ...] -> DScribe's [N, feature, ...]: species pairs z ≤ z', l, n, n' (n' ≥ n within a species)."""
    l, n = np.arange(soap.expansion.l_max + 1), soap.expansion.radial.n_max
    sums = np.moveaxis(pair_sums(p, soap), 5, 1) * np.sqrt(8 * np.pi**2 / (2 * l + 1)).reshape(1, -1, *(1,) * (p.ndim + 2))
    blocks = []
    for a in range(n_species):
        for b in range(a, n_species):
            i, j = np.triu_indices(n) if a == b else (k.reshape(-1) for k in np.indices((n, n)))
            blocks.append(sums[:, :, a, :, b][:, :, i, j].reshape(len(p), -1, *p.shape[2:]))
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("case", ["gtoA", "gtoB_weight_poly", "polyA"])
def test_dscribe(case):
    file, info = oracle("dscribe_soap")
    soap = dscribe_soap(info["cases"][case])
    names = structures(file, f"{case}/features")
    errors = {
        name: relative(dscribe_spectrum(p, soap, n_elements(file, name)), file[f"{name}/{case}/features"])
        for name, p in all_values(soap, file, names).items()
    }
    assert len(errors) == 6
    assert_close(errors, 1e-9)


def test_dscribe_derivatives():
    file, info = oracle("dscribe_soap")
    soap = dscribe_soap(info["cases"]["gtoA"])
    errors = {}
    for name, d in all_derivatives(by_position, soap, file, structures(file, "gtoA/derivatives_attached"), True).items():
        got = np.moveaxis(dscribe_spectrum(d, soap, n_elements(file, name)), 1, -1)
        errors[name] = relative(got, file[f"{name}/gtoA/derivatives_attached"])
    assert len(errors) == 2
    assert_close(errors, 1e-6)


def test_dscribe_averages():
    """outer is the mean of the spectra, inner the spectrum of the mean of the densities around the centres."""
    file, info = oracle("dscribe_soap")
    names = structures(file, "gto_inner/features")
    soap = dscribe_soap(info["cases"]["gto_inner"])
    assert soap == dscribe_soap(info["cases"]["gto_outer"])
    outer = {name: p.mean(axis=0) for name, p in all_values(soap, file, names).items()}
    means = {name: c.mean(axis=0) for name, c in all_values(soap.expansion, file, names).items()}
    inner = {name: np.asarray(power_spectrum(jnp.asarray(c), soap.expansion.l_max)) for name, c in means.items()}
    errors = {}
    for kind, spectra in {"outer": outer, "inner": inner}.items():
        for name, p in spectra.items():
            got = dscribe_spectrum(p[None], soap, n_elements(file, name))[0]
            errors[kind, name] = relative(got, file[f"{name}/gto_{kind}/features"])
    assert len(errors) == 12
    assert_close(errors, 1e-9)


@pytest.mark.parametrize(("basis", "most"), [(ShiftedMonomials, 12), (Monomials, 6)])
def test_bases_are_orthonormal_as_long_as_they_are_independent(basis, most):
    r, weight = np.polynomial.legendre.leggauss(60)
    r = 2.5 * (r + 1)
    g = np.asarray(sharp(basis(most), jnp.asarray(r), 2, 5.0))
    for values in np.moveaxis(g, 1, 0):
        assert np.max(np.abs(np.einsum("q,qn,qm->nm", 2.5 * weight * r**2, values, values) - np.eye(most))) < 1e-5
    with pytest.raises(ValueError, match=f"more than {most} functions are linearly dependent"):
        basis(most + 1)


def compressed(kind, density):
    """The model, and (a, b) of every pair of its channels in DScribe's order: of one element, or of two."""
    if kind == "mu1nu1":  # one factor sees the element and the radial function, the other the radial function
        return CompressedSOAP(density, *sensitivity(2, 2, radial=2, species=1), normalize=False), lambda s: [(2 * z + n, k) for z in range(s) for n in (0, 1) for k in (0, 1)]
    if kind == "mu2":  # neither sees the element
        return CompressedSOAP(density, *sensitivity(2, 2, radial=2, species=0), normalize=False), lambda s: [(0, 0), (0, 1), (1, 1)]
    pairs = tuple((2 * z + n, 2 * z + k) for z in (0, 1) for n, k in ((0, 0), (0, 1), (1, 1)))  # both see the same element
    return CompressedSOAP(density, pairs=pairs, normalize=False), lambda s: pairs[: 3 * s]


@pytest.mark.parametrize("kind", ["mu1nu1", "mu2", "crossover"])
def test_dscribe_compression(kind):
    file, info = oracle("dscribe_soap")
    soap = dscribe_soap(info["cases"][f"gto_{kind}"])
    model, pairs_of = compressed(kind, soap.expansion)
    names = structures(file, f"gto_{kind}/features")
    n, l_max, column = soap.expansion.radial.n_max, soap.expansion.l_max, {label: i for i, label in enumerate(model.labels())}
    assert n == 2
    errors = {}
    for name, x in all_values(model, file, names).items():
        pairs, block = pairs_of(n_elements(file, name)), {"mu1nu1": 4, "mu2": 3, "crossover": 3}[kind]
        # DScribe has no √2; within the block of an element the degree varies slowest
        order = [(a, b, l) for start in range(0, len(pairs), block) for l in range(l_max + 1) for a, b in pairs[start : start + block]]
        weight = [1.0 if a == b or kind == "mu1nu1" else np.sqrt(0.5) for a, b, _ in order]
        errors[name] = relative(x[:, [column[label] for label in order]] * weight, file[f"{name}/gto_{kind}/features"])
    assert len(errors) == 6
    assert_close(errors, 1e-9)


# DScribe 2.1.2, of the first atom of this molecule: weightings c/(d + (r/r0)^m), c/(d + exp(−r/r0)) and c (1 + 2x³ − 3x²)^m, x = r/r0,
# with w0 for the centre, r_cut = 4, n_max = 2, l_max = 1, sigma = 0.5
HELIUM = Atoms("H2He", positions=[[0, 0, 0], [1.1, 0.3, -0.2], [-0.4, 1.3, 0.5]])
WEIGHTINGS = {  # cutoff, its factor, w0, features
    "pow": (Willatt(Step(4.0), rate=2.0, scale=2.0, exponent=3.0), 1.5 / 2.0, 0.7, [
        1.00593205847, 1.83947914903, 3.36372969849, 0.00170026617091, 0.0295265516881, 0.512753396796, -0.103135085077, 0.502245765756,
        -0.188596075587, 0.918422477963, 0.000180585248598, -0.00223001603828, 0.00313601468293, -0.0387261035631, 0.010574119479, -0.0514936961648,
        0.25076326686, 0.00239877328621, -0.0296220369158, 0.365797416574,
    ]),
    "exp": (LogisticDecay(Step(4.0), rate=1.2, scale=-2.5), 0.9 / 2.2, 1.1, [
        2.60323720749, 3.67703836643, 5.19376840088, 0.000880333745663, 0.0152877357021, 0.265484384814, -0.134630875473, 0.655623516438,
        -0.190164343456, 0.926059606457, 0.000105441889824, -0.00130208368202, 0.00183108707521, -0.0226117779658, 0.00696266655172,
        -0.0339066942287, 0.165118335767, 0.00157950348095, -0.0195050156221, 0.240864068365,
    ]),
    "poly": (PolynomialCutoff(3.0, smoothness=1, power=3), 2.0, 0.5, [
        0.503311774236, 1.00903790079, 2.02291608768, 0.00129538389146, 0.0224954304695, 0.390652064876, -0.0335855444819, 0.163554405312,
        -0.067332196534, 0.327893369971, 7.25662702882e-05, -0.00089610833574, 0.00126017429926, -0.0155616747225, 0.00224113334097,
        -0.0109138391669, 0.0531480582538, 0.000508408364389, -0.00627824706271, 0.0775289883907,
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_dscribe_weightings(name):
    cutoff, factor, center, expected = WEIGHTINGS[name]
    soap = SOAP(Density(SPECIES, cutoff, SolidGTO(2, radius=4.0), 1, sigma=0.5, center_weight=center / factor), normalize=False)
    p = np.asarray(one(soap, from_atoms(HELIUM, float(soap.reach)))) * factor**2
    assert relative(dscribe_spectrum(p, soap, 2)[0], np.array(expected)) < 1e-10


# golden vectors of a dimer (theory.md 3.3 and 3.5), printed to 11 digits

QUIPPY_SI2 = [
    0.95354085773, 2.4468030868e-6, 2.6481630566e-6, 0.28200306059, 5.6885212582e-4, 6.1566588368e-4,
    0.041700219522, 0.066125619753, 0.071567436034, -2.4903371347e-6, -5.0015686165e-9, -5.3642434226e-9, -5.2078403472e-7,
    -8.2222674487e-7, -8.8184822545e-7, 3.2519734180e-12, 5.11e-12, 5.43e-12, 0.0,
]  # fmt: skip
DSCRIBE_SI2 = [2.0294478354, 2.6286939586, 3.4048827507, 0.0046636018, -0.025995216, 0.1448990052]
FEATOMIC_SI2 = [0.4641776315, -0.0940865999, -0.0940865999, 0.0190709067, -0.0281573173, -0.0216603388, -0.0216603388, -0.0166624637]


@pytest.mark.parametrize(
    ("soap", "map_", "golden", "digits"),
    [
        (
            SOAP(Density(SPECIES, CosineCutoff(4.0, width=0.5), EquispacedGaussians(3), 2, sigma=0.5)),
            quippy_spectrum, QUIPPY_SI2, 1e-11,
        ),
        (SOAP(Density(SPECIES, Step(4.0), SolidGTO(2), 1, sigma=0.5), normalize=False), dscribe_spectrum, DSCRIBE_SI2, 1e-10),
        (
            SOAP(Density(SPECIES, CosineCutoff(4.0, width=0.5), GTO(2), 1, sigma=0.5), normalize=False),
            featomic_spectrum, FEATOMIC_SI2, 1e-10,
        ),
    ],
    ids=["quippy", "dscribe", "featomic"],
)  # fmt: skip
def test_golden_dimer(soap, map_, golden, digits):
    graph = from_atoms(Atoms("H2", positions=[[0, 0, 0], [0, 0, 2.35]]), float(soap.reach))
    got = map_(np.asarray(one(soap, graph)), soap, 1)
    np.testing.assert_allclose(got.reshape(2, -1), np.array([golden, golden]), rtol=0, atol=digits)


def chain(distance, cutoff):
    """A pair of atoms at this distance; row 0 is an environment with one neighbour."""
    return from_atoms(Atoms("H2", positions=[[0, 0, 0], np.array([2.0, -1.0, 2.0]) / 3 * distance]), cutoff)


def test_kernel_of_one_neighbour_environments():
    """∫dR |∫ρρ'|² = 8π² (πσ²)³ exp(−(r₁² + r₂²)/2σ²) sinh(x)/x, x = r₁r₂/σ² (theory.md 3.1), in the complete basis."""
    r1, r2, sigma = 1.1, 1.7, 0.5
    x = r1 * r2 / sigma**2
    exact = 8 * np.pi**2 * (np.pi * sigma**2) ** 3 * np.exp(-(r1**2 + r2**2) / (2 * sigma**2)) * np.sinh(x) / x
    assert abs(exact - 1.2446166820846687) < 1e-13
    bases = {
        "coarse": (Step(2.5), GTO(14, radius=8.0), 12),
        "GTO": (Step(2.5), GTO(14, radius=4.5), 12),
        "Bessel": (CosineCutoff(4.2, width=0.3), Bessel(12), 12),
    }
    errors = {}
    for name, (cutoff, radial, l_max) in bases.items():
        soap = SOAP(Density(("H",), cutoff, radial, l_max, sigma=sigma, center_weight=0.0), normalize=False)
        p1, p2 = (np.asarray(one(soap, chain(r, float(soap.reach))))[0] for r in (r1, r2))
        errors[name] = abs(p1 @ p2 - exact)
    assert errors["coarse"] > 1e-4 and errors["GTO"] < 1e-6 and errors["Bessel"] < 1e-9, errors


def test_sharp_limit():
    """Coefficients divided by (2πσ²)^(3/2) tend to those of the sharp density like σ²."""
    cutoff, radial = CosineCutoff(3.0, width=1.0), GTO(4)
    graph = chain(1.7, 3.0)
    sharp = Density(("H",), cutoff, radial, 3, sigma=None, center_weight=0.0)
    reference = np.asarray(one(sharp, graph))
    smeared = {}
    for sigma in (0.04, 0.02, 0.01):
        density = sharp.replace(sigma=sigma)
        smeared[sigma] = np.asarray(one(density, graph)) / (2 * np.pi * sigma**2) ** 1.5
    errors = [np.max(np.abs(c - reference)) for c in smeared.values()]
    assert 3.9 < errors[0] / errors[1] < 4.1 and 3.9 < errors[1] / errors[2] < 4.1, errors
    extrapolated = (64 * smeared[0.01] - 20 * smeared[0.02] + smeared[0.04]) / 45
    assert relative(extrapolated, reference) < 1e-6


def test_sharp_power_spectrum_is_the_sum_over_pairs():
    """p = N_l (2l+1)/4π Σ_jk g_n(r_j) g_n'(r_k) P_l(cos θ_jk) w_j w_k, the ν = 2 invariants of ACSF and ACE."""
    cutoff, radial, l_max = CosineCutoff(3.0, width=1.0), Chebyshev(3), 3
    soap = SOAP(Density(("H",), cutoff, radial, l_max, sigma=None, center_weight=0.0), normalize=False)
    positions = np.array([[0, 0, 0], [1.1, 0.3, 0.2], [-0.4, 1.8, 0.9], [0.3, -0.7, 2.1]])
    got = pair_sums(np.asarray(one(soap, from_atoms(Atoms("H4", positions=positions), 3.0)))[:1], soap)[0, 0, :, 0]
    r = np.linalg.norm(positions[1:], axis=1)
    g = np.asarray(sharp(radial, jnp.asarray(r), l_max, 3.0))[:, 0] * np.asarray(cutoff(jnp.asarray(r)))[:, None]
    cosine = (positions[1:] @ positions[1:].T) / np.outer(r, r)
    legendre = [np.polynomial.legendre.Legendre.basis(l)(cosine) * (2 * l + 1) / (4 * np.pi) for l in range(l_max + 1)]
    assert relative(got, np.einsum("jn,km,ljk->nml", g, g, np.stack(legendre))) < 1e-12
