"""Compressed spectra: sums and choices of the full one, and quippy's."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

from jaxpot import GTO, CosineCutoff, Density, environments, from_atoms
from jaxpot.descriptors import CompressedSOAP, power_spectrum, sensitivity
from jaxpot.io.gap_soap import soap
from jaxpot.passes import condense
from jaxpot.radial import EquispacedGaussians

DENSITY = Density(("C", "Si"), CosineCutoff(3.0, width=0.8), GTO(2), 1, sigma=0.5)
C = np.random.default_rng(0).normal(size=(4, 4))  # coefficients of two elements, two radial functions, l up to 1
COMPRESSIONS = np.load(Path(__file__).parent / "oracles" / "gap_small" / "compressions.npz")


def products(a, b):
    """√(8π²/(2l+1)) Σ_m a b, shape [A, B, 2]."""
    return np.stack([np.sqrt(8 * np.pi**2) * np.outer(a[:, 0], b[:, 0]), np.sqrt(8 * np.pi**2 / 3) * a[:, 1:] @ b[:, 1:].T], axis=-1)


def compressed(*args, **kwargs):
    return np.asarray(CompressedSOAP(DENSITY, *args, normalize=False, **kwargs).of(jnp.asarray(C)))


def test_without_compression_it_is_the_power_spectrum():
    full = power_spectrum(jnp.asarray(C), 1)
    np.testing.assert_allclose(compressed(), full, rtol=1e-14)
    np.testing.assert_allclose(compressed(np.eye(4)), full, rtol=1e-14)
    np.testing.assert_allclose(CompressedSOAP(DENSITY).of(jnp.asarray(C)), full / np.linalg.norm(full), rtol=1e-14)


def test_what_a_factor_does_not_see_it_sums_over():
    by_element, by_radial = C.reshape(2, 2, 4).sum(axis=1), C.reshape(2, 2, 4).sum(axis=0)
    np.testing.assert_allclose(compressed(*sensitivity(2, 2, radial=1, species=1)), products(C, C.sum(axis=0)[None]).reshape(-1), rtol=1e-13)
    np.testing.assert_allclose(compressed(*sensitivity(2, 2, radial=2, species=1)), products(C, by_radial).reshape(-1), rtol=1e-13)
    np.testing.assert_allclose(compressed(*sensitivity(2, 2, radial=1, species=0)), products(by_radial, C.sum(axis=0)[None]).reshape(-1), rtol=1e-13)
    p = products(by_element, by_element)
    np.testing.assert_allclose(compressed(*sensitivity(2, 2, radial=0, species=2)), [*p[0, 0], *(np.sqrt(2) * p[0, 1]), *p[1, 1]], rtol=1e-13)
    assert sensitivity(2, 2, radial=2, species=2) == (None, None)


def test_pairs_weights_and_sums():
    full = products(C, C)
    np.testing.assert_allclose(compressed(pairs=((2, 2), (3, 1))), [*full[2, 2], *(np.sqrt(2) * full[3, 1])], rtol=1e-14)
    np.testing.assert_allclose(compressed(pairs=((2, 2), (3, 1)), weights=[0.3, 2.0]), [*(0.3 * full[2, 2]), *(2 * full[3, 1])], rtol=1e-14)
    sums = np.random.default_rng(1).normal(size=(3, 4))
    np.testing.assert_allclose(compressed(pairs=((2, 2), (3, 1)), transformation=sums), sums @ [*full[2, 2], *(np.sqrt(2) * full[3, 1])], rtol=1e-13)
    model = CompressedSOAP(DENSITY, pairs=((2, 2), (3, 1)))
    assert model.labels() == ((2, 2, 0), (2, 2, 1), (3, 1, 0), (3, 1, 1)) and model.n_features == 4
    summed = model.replace(transformation=sums)
    assert summed.labels() == (0, 1, 2) and summed.n_features == 3


def test_rotating_channels_among_themselves_turns_features():
    """An orthogonal U leaves the kernel of the full spectrum alone."""
    u = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    assert relative(np.linalg.norm(compressed(u)), np.linalg.norm(compressed())) < 1e-13


@quick_jit
def coefficients(density, graph):
    return jax.vmap(condense(density).of)(environments(graph, density.reach, density.species))


@pytest.fixture(scope="module")
def water():
    """Coefficients of the oxygens."""
    atoms = Atoms(COMPRESSIONS["numbers"], COMPRESSIONS["positions"], cell=[15, 15, 15], pbc=True)
    density = Density(("H", "O"), CosineCutoff(4.0, width=1.0), EquispacedGaussians(3), 2, sigma=0.5)
    return coefficients(density, from_atoms(atoms, 4.0))[atoms.numbers == 8]


@pytest.mark.parametrize("text", [key for key in COMPRESSIONS.files if "=" in key])
def test_quippy(text, water):
    """Every compression of `soap`; random matrices are those that QUIP draws."""
    settings = {"cutoff": "4.0", "cutoff_transition_width": "1.0", "l_max": "2", "n_max": "3", "atom_sigma": "0.5"}
    key, _, rest = text.partition("=")
    settings |= {key: rest.strip("{}")} if key == "Z_map" else dict(pair.split("=") for pair in text.split())
    model, order, length = soap(settings, ("H", "O"), (1, 8), "here")
    got, expected = jax.vmap(model.of)(water) / length, COMPRESSIONS[text][:, :-1]
    expected = expected if order is None else expected[:, order]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_refusals():
    for name in ("first", "second"):
        with pytest.raises(ValueError, match=rf"expected {name} with shape \[4, channels\], got \(3, 2\)"):
            CompressedSOAP(DENSITY, **{name: np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"pairs must be of the channels below \(4, 4\)"):
        CompressedSOAP(DENSITY, pairs=((0, 4),))
    with pytest.raises(ValueError, match=r"pairs must be of the channels below \(4, 2\)"):
        CompressedSOAP(DENSITY, second=np.ones((4, 2)), pairs=((0, 2),))
    with pytest.raises(ValueError, match="at least one"):
        CompressedSOAP(DENSITY, pairs=())
    with pytest.raises(ValueError, match=r"one weight for each of 2 pairs, got \(3,\)"):
        CompressedSOAP(DENSITY, pairs=((0, 0), (1, 1)), weights=np.ones(3))
    with pytest.raises(ValueError, match=r"expected transformation \[F, 20\], got \(3, 4\)"):
        CompressedSOAP(DENSITY, transformation=np.ones((3, 4)))
    with pytest.raises(ValueError, match="must be 0, 1 or 2, got 3 and 1"):
        sensitivity(2, 2, radial=3, species=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nu_R": "1", "Z_mix": "T", "K": "2"}, "exclude each other"),
        ({"Z_map": "1, 8", "sym_mix": "T"}, "exclude each other"),
        ({"Z_mix": "T"}, "K of at least 1.*got K=0"),
        ({"sym_mix": "T", "K": "2"}, "R_mix or Z_mix"),
        ({"Z_map": "1, 6"}, "not in species_Z"),
        ({"Z_map": "1:8:1"}, "3 parts"),
        ({"diagonal_radial": "T", "nu_R": "0"}, "diagonal_radial=T together"),
        ({"coupling": "F", "nu_R": "1"}, "as many channels of both factors, got 6 and 2"),
        ({"nu_S": "3"}, "must be 0, 1 or 2"),
    ],
)
def test_refused_settings(settings, message):
    settings = {"cutoff": "4.0", "l_max": "2", "n_max": "3", "atom_sigma": "0.5"} | settings
    with pytest.raises(ValueError, match=message):
        soap(settings, ("H", "O"), (1, 8), "here")
