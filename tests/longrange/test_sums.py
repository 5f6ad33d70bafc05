"""Sums against other codes, literature, closed forms and each other."""

import json
import os
from pathlib import Path

import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

from jaxpot import from_atoms, stack, strain
from jaxpot.cutoffs import Step
from jaxpot.longrange import Coulomb, GaussianCoulomb, InversePower, sum_for
from jaxpot.longrange.ewald import reciprocal_potential
from jaxpot.longrange.interactions import exponential_integral, upper_gamma
from jaxpot.longrange.near import near_potential
from jaxpot.longrange.truncation import bessel_k, far_kernel, integers, wave_vectors
from jaxpot.units import COULOMB, SYMBOLS

ORACLES = Path(__file__).parents[1] / "oracles"
SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
KE = 14.3996454784255  # of the references


def energy(sum, interaction, graph, q):
    return 0.5 * jnp.sum(q * sum.potential(interaction, graph, q))


def whole(sum, interaction, graph, q):
    """Energy, potential, forces and virial."""

    def of(positions, epsilon):
        found = sum.potential(interaction, strain(graph.replace(positions=positions), epsilon), q)
        return 0.5 * jnp.sum(q * found), found

    (value, found), slopes = jax.value_and_grad(of, argnums=(0, 1), has_aux=True)(graph.positions, jnp.zeros((3, 3)))
    return value, found, -slopes[0], -slopes[1]


everything = quick_jit(whole)
batch_of_everything = quick_jit(jax.vmap(whole, (None, None, 0, 0)))


def padded(graphs, charges):
    """A batch of structures of different cells and sizes."""
    batch = stack(graphs)
    return batch, jnp.stack([jnp.pad(jnp.asarray(q), (0, batch.numbers.shape[1] - len(q))) for q in charges])


def oracle(file, name):
    return Atoms(*(file[f"{name}/{key}"] for key in ("numbers", "positions")), cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])


COULOMBIC = np.load(ORACLES / "coulomb.npz")
CRYSTALS = ["nacl8_perfect", "nacl8", "cscl2", "zns8", "random10", "random9_charged"]


@pytest.mark.parametrize("kind", ["", "gaussian_"])
def test_charges_in_crystals(kind):
    """Point and Gaussian charges of six cells at once, one of them with a net charge, padded; independent NumPy figures."""
    frames = [oracle(COULOMBIC, name) for name in CRYSTALS]
    elements = {n: w for name in CRYSTALS for n, w in zip(COULOMBIC[f"{name}/numbers"], COULOMBIC[f"{name}/gaussian_widths"], strict=True)}
    species = tuple(SYMBOLS[n] for n in elements)
    interaction = GaussianCoulomb(species, sigma=np.array(list(elements.values()))) if kind else Coulomb()
    sum = sum_for(frames, accuracy=1e-11, interaction=interaction)
    graphs, charges = [from_atoms(atoms, float(sum.reach)) for atoms in frames], [COULOMBIC[f"{name}/charges"] for name in CRYSTALS]
    found = batch_of_everything(sum, interaction, *padded(graphs, charges))
    for i, name in enumerate(CRYSTALS):
        n = len(frames[i])
        for value, key in zip(found, ("energy", "potentials", "forces", "virial"), strict=True):
            scale = COULOMB if key == "potentials" else COULOMB / KE
            value = value[i][:n] if key in ("potentials", "forces") else value[i]
            np.testing.assert_allclose(value, COULOMBIC[f"{name}/{kind}{key}"] * scale, rtol=0, atol=1e-9, err_msg=f"{name} {key}")
        assert not np.any(found[1][i][n:]) and not np.any(found[2][i][n:])


def test_charges_in_a_slab():
    """The limit of much vacuum with a correction, whose figures are those of the slab alone."""
    atoms = oracle(COULOMBIC, "nacl_slab")
    sum, q = sum_for(atoms, accuracy=1e-10), jnp.asarray(COULOMBIC["nacl_slab/charges"])
    value, _, forces, _ = everything(sum, Coulomb(), from_atoms(atoms, float(sum.reach)), q)
    np.testing.assert_allclose(value, COULOMBIC["nacl_slab/slab2d_energy"] * COULOMB / KE, rtol=0, atol=1e-9)
    np.testing.assert_allclose(forces, COULOMBIC["nacl_slab/slab2d_forces"] * COULOMB / KE, rtol=0, atol=1e-9)


POWERS = np.load(ORACLES / "inverse_power_lattice.npz")


@pytest.mark.parametrize("power", [1, 2, 3, 4, 5, 6])
def test_inverse_powers(power):
    names = ["nacl8", "tric_sic", "gaas8"]
    interaction, frames = InversePower(power), [oracle(POWERS, name) for name in names]
    sum = sum_for(frames, accuracy=1e-11, interaction=interaction)
    cases = [(name, kind) for kind in ("neutral", "positive")[: 1 + (power > 3)] for name in names]
    graphs = {name: from_atoms(atoms, float(sum.reach)) for name, atoms in zip(names, frames, strict=True)}
    batch = padded([graphs[name] for name, _ in cases], [POWERS[f"{name}/{kind}/charges"] for name, kind in cases])
    found = batch_of_everything(sum, interaction, *batch)
    for i, (name, kind) in enumerate(cases):
        n = len(POWERS[f"{name}/numbers"])
        for value, key in ((found[0][i], "energy"), (found[1][i][:n], "potential"), (found[2][i][:n], "forces")):
            np.testing.assert_allclose(value, POWERS[f"{name}/{kind}/{key}_p{power}"], rtol=0, atol=1e-10, err_msg=f"{name} {kind} {key}")


def of_bravais(kind, a=1.0):
    return ase.build.bulk("Ar", kind, a=a)


def fluorite():
    return Atoms("CaF2", scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]], cell=0.5 * (1 - np.eye(3)), pbc=True)


def wurtzite():
    return ase.build.bulk("ZnS", "wurtzite", a=1.0, c=np.sqrt(8 / 3), u=3 / 8)


MADELUNG = json.loads((ORACLES / "madelung.json").read_text())["computed"]
NEAREST = np.sqrt(3 / 8)  # in wurtzite
# crystal, charges, energy of the cell in e²/Å from the constant
CONSTANTS = {
    "NaCl (rocksalt)": (lambda: ase.build.bulk("NaCl", "rocksalt", a=2.0), {"Na": 1, "Cl": -1}, lambda m: -m),
    "CsCl": (lambda: ase.build.bulk("CsCl", "cesiumchloride", a=1.0), {"Cs": 1, "Cl": -1}, lambda m: -m / np.sqrt(0.75)),
    "ZnS (zincblende)": (lambda: ase.build.bulk("ZnS", "zincblende", a=1.0), {"Zn": 1, "S": -1}, lambda m: -m / np.sqrt(3 / 16)),
    "ZnS (ideal wurtzite)": (wurtzite, {"Zn": 1, "S": -1}, lambda m: -2 * m / NEAREST),
    "CaF2 (fluorite), -E/(nn distance units), per formula unit": (fluorite, {"Ca": 2, "F": -1}, lambda m: -m / np.sqrt(3 / 16)),
    "Wigner simple cubic (one charge + background, per cell edge)": (lambda: of_bravais("sc"), {"Ar": 1}, lambda m: -m / 2),
    "Wigner bcc (per cubic edge)": (lambda: of_bravais("bcc"), {"Ar": 1}, lambda m: -m / 2),
    "Wigner fcc (per cubic edge)": (lambda: of_bravais("fcc"), {"Ar": 1}, lambda m: -m / 2),
}


def test_madelung_constants():
    frames = [make() for make, *_ in CONSTANTS.values()]
    charges = [[of_element[symbol] for symbol in atoms.symbols] for atoms, (_, of_element, _) in zip(frames, CONSTANTS.values(), strict=True)]
    sum = sum_for(frames, accuracy=1e-10, charges=2.0)
    found = batch_of_everything(sum, InversePower(1), *padded([from_atoms(atoms, float(sum.reach)) for atoms in frames], charges))
    expected = [energy_of(MADELUNG[name]) for name, (*_, energy_of) in CONSTANTS.items()]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-9)
    # the trace of the virial of a sum of 1/r is its energy
    np.testing.assert_allclose(jnp.trace(found[3], axis1=1, axis2=2), expected, rtol=0, atol=1e-9)
    literature = [1.7475645946331, 1.7626747730709, 1.6380550533888]
    np.testing.assert_allclose([MADELUNG[name] for name in list(CONSTANTS)[:3]], literature, rtol=0, atol=1e-12)
    # E r_s of Wigner's crystals, 4π r_s³/3 being the volume of a charge
    for i, constant, volume in ((6, -1.7918585, 0.5), (7, -1.7917472, 0.25)):
        assert abs(2 * found[0][i] * (3 * volume / (4 * np.pi)) ** (1 / 3) - constant) < 1e-7
    assert abs(found[0][4] * 1 - -11.636575227077) < 1e-9


LATTICE_SUMS = {(6, "sc"): 8.40192397, (6, "bcc"): 12.25366787, (6, "fcc"): 14.45392104, (12, "fcc"): 12.13188020}


@pytest.mark.parametrize("power", [6, 12])
def test_lattice_sums(power):
    kinds = [kind for p, kind in LATTICE_SUMS if p == power]
    frames = [of_bravais(kind, {"sc": 1, "bcc": 2 / np.sqrt(3), "fcc": np.sqrt(2)}[kind]) for kind in kinds]
    sum = sum_for(frames, accuracy=1e-10, interaction=InversePower(power))
    found = batch_of_everything(sum, InversePower(power), *padded([from_atoms(atoms, float(sum.reach)) for atoms in frames], [[1.0]] * len(kinds)))
    np.testing.assert_allclose(2 * found[0], [LATTICE_SUMS[power, kind] for kind in kinds], rtol=0, atol=1e-8)


@needs_data
def test_published_constants():
    crystals = json.loads((SHARED / "data/ewald_reference/madelung.json").read_text())["crystals"]
    frames = [Atoms("H" * len(c["positions"]), positions=c["positions"], cell=c["cell"], pbc=True) for c in crystals.values()]
    sum = sum_for(frames, accuracy=1e-10, charges=2.0)
    batch = padded([from_atoms(atoms, float(sum.reach)) for atoms in frames], [np.asarray(c["charges"], float) for c in crystals.values()])
    found = batch_of_everything(sum, InversePower(1), *batch)[0]
    np.testing.assert_allclose(found, [c["energy_per_cell"] for c in crystals.values()], rtol=0, atol=1e-9)


@needs_data
@pytest.mark.parametrize("kind", ["crystals", "slabs"])
def test_published_frames(kind):
    """Crystals: an own reference, and GROMACS' forces to the digits of its mesh; slabs: jax-pme's two-dimensional reference."""
    frames = ase.io.read(SHARED / "data/ewald_reference/coulomb_frames.extxyz", ":")
    frames = [atoms for atoms in frames if atoms.pbc.all() == (kind == "crystals")]
    sum = sum_for(frames, accuracy=1e-9)
    charges = [atoms.arrays["point_charge"] for atoms in frames]
    value, _, forces, virial = batch_of_everything(sum, Coulomb(), *padded([from_atoms(a, float(sum.reach)) for a in frames], charges))
    for i, atoms in enumerate(frames):
        if kind == "crystals":
            np.testing.assert_allclose(value[i] * KE / COULOMB, atoms.info["energy_ewald_own"], rtol=0, atol=2e-9)
        tolerance = 2e-4 if kind == "crystals" else 2e-6
        np.testing.assert_allclose(value[i], atoms.get_potential_energy(), rtol=tolerance, atol=0)
        np.testing.assert_allclose(forces[i], atoms.get_forces(), rtol=0, atol=tolerance * np.max(np.abs(atoms.get_forces())))
        if "dE_dstrain_eV" in atoms.info:
            expected = atoms.info["dE_dstrain_eV"].reshape(3, 3)
            np.testing.assert_allclose(-virial[i], expected, rtol=0, atol=5e-4 * np.max(np.abs(expected)))


WATER = {"cubic_100": (26.9, None), "triclinic_400": (None, 7), "monoclinic_100": (None, 7)}


@needs_data
@pytest.mark.parametrize("name", WATER)
def test_water_term_by_term(name):
    """FEASST's terms of boxes of SPC/E water with its own wave vectors, and the converged energy and forces."""
    terms = json.loads((SHARED / "data/feasst_spce/reference_terms.json").read_text())["configurations"]
    frames = ase.io.read(SHARED / "data/feasst_spce/feasst_spce.extxyz.xz", ":")
    atoms, own = frames[list(terms).index(name)], terms[name]
    assert len(atoms) == 3 * own["molecules"]
    scale, q = COULOMB / 14.39964547842567, jnp.asarray(atoms.arrays["point_charge"])
    width, graph = jnp.asarray(1 / (np.sqrt(2) * own["alpha_per_A"])), from_atoms(atoms, own["cutoff_A"])

    first = np.repeat(np.arange(0, len(atoms), 3), 3)
    first, second = first + np.tile([0, 0, 1], len(atoms) // 3), first + np.tile([1, 2, 2], len(atoms) // 3)
    apart = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1)
    within = lambda function: jnp.sum(q[first] * q[second] * function(jnp.asarray(apart)))  # noqa: E731
    near = 0.5 * jnp.sum(q * near_potential(Coulomb(), Step(own["cutoff_A"]), width, graph, q, jnp.zeros((len(q), 0))))
    near = near - within(lambda r: Coulomb().near(r, width, None, None))
    m, inverse = integers((7, 7, 7)), jnp.linalg.inv(graph.cell)
    kernel = far_kernel(Coulomb(), width, m, inverse, (True, True, True), None) / atoms.get_volume()
    k2 = jnp.sum(wave_vectors(m, inverse) ** 2, axis=-1)
    limit, highest = WATER[name]
    if limit is not None:
        inside = sum(np.meshgrid(*(of_axis**2 for of_axis in m), indexing="ij")) <= limit
    else:
        lengths = np.diag(np.linalg.cholesky(atoms.cell.array @ atoms.cell.array.T))  # of the lower triangular cell
        inside = k2 < np.max((2 * np.pi * highest / lengths) ** 2) * (1 - 1e-9)
    kernel = jnp.where(inside & (k2 > 0), kernel, 0) * np.where(m[0] > 0, 2, 1)[:, None, None]
    far = 0.5 * jnp.sum(q * reciprocal_potential(kernel, m, graph.positions @ inverse, q))
    itself = -0.5 * Coulomb().origin(width) * jnp.sum(q**2)
    intra = -within(lambda r: Coulomb().bare(r, None, None) - Coulomb().near(r, width, None, None))
    found = {"fourier": far, "self": itself, "intra": intra, "real_space": near}
    for key, value in found.items():
        reference = own["own_terms_eV"][key]
        assert abs(value / scale - reference) < 5e-9 * max(1, abs(reference)), key  # positions in files have eight digits

    tight = sum_for(atoms, accuracy=1e-8, charges=0.6)
    value, _, forces, _ = everything(tight, Coulomb(), from_atoms(atoms, float(tight.reach)), q)
    pair = lambda r: jnp.sum(q[first] * q[second] * COULOMB / jnp.linalg.norm(r[first] - r[second], axis=1))  # noqa: E731
    excluded, slopes = jax.value_and_grad(pair)(graph.positions)
    assert abs((value - excluded) / scale - own["coulomb_converged_eV"]) < 1e-7
    np.testing.assert_allclose((forces + slopes) / scale, atoms.get_forces(), rtol=0, atol=1e-7)


def test_special_functions():
    """Against SciPy, which computes them otherwise."""
    import scipy.special as other

    x = np.geomspace(1e-3, 60, 200)
    for got, reference in zip(bessel_k(jnp.asarray(x)), (other.k0(x), other.k1(x)), strict=True):
        np.testing.assert_allclose(got, reference, rtol=2e-13, atol=1e-17)
    x = np.geomspace(0.05, 30, 60)
    for a in (0.5, 1.0, 1.5, 3.0, 2.3):
        np.testing.assert_allclose(upper_gamma(a, jnp.asarray(x)), other.gammaincc(a, x) * other.gamma(a), rtol=1e-11)
    for n in (0, 1, 2):
        np.testing.assert_allclose(exponential_integral(n, jnp.asarray(x)), other.expn(n, x), rtol=1e-10)
