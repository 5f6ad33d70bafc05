"""Descriptors of crystals: sine and Ewald sum matrices, and fingerprints of Valle and Oganov."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import CELL, evaluate, is_finite, quick_jit, rattled, relative

import jaxpot as jp
from jaxpot.descriptors.crystal_matrices import sine_matrix

ORACLES = Path(__file__).parent / "oracles"
MATRICES, FINGERPRINTS = (np.load(ORACLES / f"dscribe_{name}.npz") for name in ("matrices", "mbtr_lmbtr_vo"))
SPECIES = ("C", "Na", "Si", "Cl")
values = quick_jit(lambda descriptor, graph: descriptor.features(graph))
matrix = quick_jit(lambda descriptor, graph: descriptor.matrix(graph))
SALT = bulk("NaCl", "rocksalt", a=5.64)


def atoms_of(file, name):
    return Atoms(file[f"{name}/numbers"], file[f"{name}/positions"], cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])


@pytest.mark.parametrize("name", ["nacl8", "tric_sic"])
def test_matrices_of_dscribe(name):
    """Its sums stop at an accuracy of 1e-10."""
    atoms, expected = atoms_of(MATRICES, name), {key: MATRICES[f"{name}/{key}/features"] for key in ("sine_none", "ewald_none")}
    graph, n, upper = jp.from_atoms(atoms, 1.0, max_atoms=9), 12, np.triu_indices(12)
    assert np.max(np.abs(quick_jit(sine_matrix)(graph) - expected["sine_none"][:9, :9])) < 1e-12
    assert np.max(np.abs(values(jp.descriptors.SineMatrix(SPECIES, n), graph) - MATRICES[f"{name}/sine_sorted_l2/features"][upper])) < 1e-12
    assert np.max(np.abs(values(jp.descriptors.SineSpectrum(SPECIES, n), graph) - MATRICES[f"{name}/sine_eigenspectrum/features"])) < 1e-10
    for ewald in (jp.descriptors.EwaldSumMatrix(SPECIES, n), jp.descriptors.EwaldSumMatrix.of([atoms])):
        assert np.max(np.abs(matrix(ewald, graph) - expected["ewald_none"][:9, :9])) < 1e-8
    order = np.argsort(-np.linalg.norm(expected["ewald_none"], axis=1), kind="stable")
    assert np.max(np.abs(values(jp.descriptors.EwaldSumMatrix(SPECIES, n), graph) - expected["ewald_none"][order][:, order][upper])) < 1e-8
    eigenvalues = np.linalg.eigvalsh(expected["ewald_none"])
    assert np.max(np.abs(values(jp.descriptors.EwaldSumSpectrum(SPECIES, n), graph) - eigenvalues[np.argsort(-np.abs(eigenvalues))])) < 1e-8


def energy(ewald, atoms):
    """Of the nuclei in a uniform background."""
    return float(np.sum(np.triu(matrix(ewald, jp.from_atoms(atoms, 1.0)))))


def test_ewald_sums_are_the_energy_of_the_lattice():
    """That of a body-centred lattice is known; supercells have multiples of it; other vectors of one lattice, and atoms moved by them, change nothing."""
    wigner = bulk("Na", "bcc", a=4.0)
    expected = -0.5 * 121 * 1.79185851 / (4.0 * (3 / (8 * np.pi)) ** (1 / 3))  # in units of the radius of the sphere of an atom
    assert abs(energy(jp.descriptors.EwaldSumMatrix(("Na",), 1), wigner) - expected) < 1e-6
    skewed = SALT.copy()
    skewed.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ SALT.cell.array)
    skewed.positions[1] += 2 * SALT.cell.array[0] - SALT.cell.array[2]
    long = SALT.repeat((1, 1, 6))
    one = energy(jp.descriptors.EwaldSumMatrix(SPECIES, 2), SALT)
    assert abs(energy(jp.descriptors.EwaldSumMatrix.of([SALT, skewed]), skewed) - one) < 1e-11
    assert abs(energy(jp.descriptors.EwaldSumMatrix.of([long]), long) - 6 * one) < 1e-10


@pytest.mark.parametrize("kind", [jp.descriptors.SineSpectrum, jp.descriptors.EwaldSumMatrix])
def test_what_is_no_such_crystal_is_nan(kind):
    descriptor, crystal, padded = kind(("C", "Si"), 5), rattled(1, CELL), lambda atoms: jp.from_atoms(atoms, 1.0, max_atoms=10)
    model = jp.potentials.StructureGP(descriptor, jp.kernels.SquaredExponential(30.0), jp.kernels.Average(), normalize=False, extensive=False)
    model = model.with_points([padded(crystal)]).with_coefficients(np.array([1.0]))
    assert is_finite(evaluate(model, padded(crystal)))
    slab = Atoms(crystal, pbc=(True, True, False))
    cases = [(slab, "set atoms.pbc = True"), (rattled(1), "is of crystals"), (crystal.repeat((2, 1, 1)), "10 atoms, and .* has n_atoms=5"), (SALT, "contains Cl, Na")]
    if kind is jp.descriptors.EwaldSumMatrix:
        flat = Atoms("Si", cell=[2.5, 2.5, 30.0], pbc=True)
        cases.append((flat, rf"images=\(2, 2, 2\) and waves=\(4, 4, 4\) are too few for this cell; write {kind.__name__}.of\(frames\)"))
        assert np.all(np.isfinite(values(kind.of([flat]), padded(flat))))
        with pytest.raises(ValueError, match=r"frame 1 has pbc \[True, True, False\]"):
            kind.of([crystal, slab])
    for atoms, words in cases:
        graph = padded(atoms)
        assert np.all(np.isnan(values(descriptor, graph))) and np.isnan(evaluate(model, graph).energy)
        with pytest.raises(ValueError, match=words):
            model.with_points([graph])


def fingerprint(species):
    case = json.loads(str(FINGERPRINTS["info"]))["cases"]["valle_oganov"]
    d, a = case["d"], case["a"]
    distances = jp.descriptors.Histogram(0.0, d["r_cut"], sigma=d["sigma"], n=d["n"])
    return jp.descriptors.ValleOganov(species, jp.cutoffs.Step(d["r_cut"]), distances, jp.cutoffs.GammaCutoff(a["r_cut"]), jp.descriptors.Histogram(0.0, 180.0, sigma=a["sigma"], n=a["n"]))


@pytest.mark.parametrize("name", ["tric_sic", "gaas8", pytest.param("si8", marks=pytest.mark.slow)])
def test_fingerprints_of_dscribe(name):
    """Its arc cosine is off by 1e-8 rad where atoms are on a line, as they are in a small cell."""
    atoms = atoms_of(FINGERPRINTS, name)
    descriptor = fingerprint(tuple(jp.units.SYMBOLS[z] for z in sorted(set(atoms.numbers))))
    expected = [FINGERPRINTS[f"{name}/vo_{kind}/features"] for kind in "da"]
    found = np.split(np.asarray(values(descriptor, jp.from_atoms(atoms, float(descriptor.reach)))), [len(expected[0])])
    assert relative(found[0], expected[0]) < 1e-12 and relative(found[1], expected[1]) < (1e-8 if name == "tric_sic" else 1e-12)


def test_supercells_and_missing_elements():
    """Distances stay, angles are divided by the number of cells; an element that is not there has zeros."""
    descriptor = jp.descriptors.ValleOganov(
        ("C", "Si", "Na"), jp.CosineCutoff(3.5), jp.descriptors.Histogram(0.5, 3.5, sigma=0.3, n=4), jp.CosineCutoff(3.0), jp.descriptors.Histogram(0.0, 180.0, sigma=30.0, n=3)
    )
    crystal = rattled(1, CELL)
    one, two = (np.asarray(values(descriptor, jp.from_atoms(a, 3.5, max_atoms=10, max_neighbors=20))) for a in (crystal, crystal.repeat((1, 2, 1))))
    n = 6 * 4
    assert descriptor.n_features == len(descriptor.labels()) == n + 3 * 6 * 3 == len(one)
    assert relative(two[:n], one[:n]) < 1e-12 and relative(2 * two[n:], one[n:]) < 1e-12
    missing = np.array(["Na" in label for label in descriptor.labels()])
    assert not np.any(one[missing]) and np.any(one[~missing])
    assert np.all(np.isnan(values(descriptor, jp.from_atoms(rattled(1), 3.5))))


REFUSED = [
    (lambda: jp.descriptors.SineMatrix(SPECIES, 0), ValueError, "SineMatrix: n_atoms must be"),
    (lambda: jp.descriptors.SineSpectrum(("Qq",), 3), ValueError, "not chemical symbols"),
    (lambda: jp.descriptors.EwaldSumMatrix(SPECIES, 3, images=(2, 2)), ValueError, "images must be a tuple of three whole numbers from 0"),
    (lambda: jp.descriptors.EwaldSumSpectrum(SPECIES, 3, waves=(2, 2, 0)), ValueError, "waves must be a tuple of three whole numbers from 1"),
    (lambda: jp.descriptors.EwaldSumMatrix.of([]), ValueError, "at least one crystal"),
    (lambda: jp.descriptors.ValleOganov(SPECIES, jp.cutoffs.Step(4.0), 5, jp.cutoffs.Step(4.0), 5), TypeError, "distances must be a Histogram"),
    (lambda: jp.descriptors.ValleOganov(SPECIES, 4.0, jp.descriptors.Histogram(0.0, 1.0, sigma=1.0, n=2), 4.0, jp.descriptors.Histogram(0.0, 1.0, sigma=1.0, n=2)), TypeError, "cutoff must be a cutoff"),
    (lambda: jp.descriptors.UnitLength(jp.cutoffs.Step(1.0)), TypeError, "UnitLength: expected a descriptor of whole structures"),
    (lambda: jp.descriptors.PerAtom(jp.descriptors.SineMatrix), TypeError, "PerAtom: expected a descriptor of whole structures"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
