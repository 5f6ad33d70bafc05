"""Many-body tensor representations of structures and atoms against DScribe, with all its variables, weights and norms."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

import jaxpot as jp
from jaxpot.units import ATOMIC_NUMBERS, SYMBOLS

FILE = np.load(Path(__file__).parent / "oracles" / "dscribe_mbtr_lmbtr_vo.npz")
INFO = json.loads(str(FILE["info"]))
values = quick_jit(lambda descriptor, graph: descriptor.features(graph))
local_values = quick_jit(lambda descriptor, graph: descriptor(graph))
ALL = ["ch4", "tric_sic", "gaas8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("water3", "si8"))]


def atoms_of(name):
    atoms = Atoms(FILE[f"{name}/numbers"], FILE[f"{name}/positions"], cell=FILE[f"{name}/cell"], pbc=FILE[f"{name}/pbc"])
    return atoms, tuple(SYMBOLS[z] for z in sorted(set(atoms.numbers)))


def parts_of(case):
    """The histogram, the decay, and the length at which DScribe ends the decay with a jump."""
    grid, weighting = case["grid"], case["weighting"]
    return jp.descriptors.Histogram(grid["min"], grid["max"], sigma=grid["sigma"], n=grid["n"]), weighting["scale"], -np.log(weighting["threshold"]) / weighting["scale"]


@pytest.mark.parametrize("name", ALL)
def test_angles_of_structures(name):
    """In crystals too: triangles whose sides add up to more than a length do not count."""
    atoms, species = atoms_of(name)
    histogram, decay, length = parts_of(INFO["cases"]["mbtr"]["k3_cos_exp"])
    mbtr = jp.descriptors.MBTR(species, jp.cutoffs.Step(length / 2), None, histogram, angle_decay=decay, perimeter=jp.cutoffs.Step(length))
    found = np.asarray(values(mbtr, jp.from_atoms(atoms, length / 2)))[len(species) :]
    assert mbtr.n_features == len(mbtr.labels()) == len(species) + len(found)
    assert np.max(np.abs(found / np.linalg.norm(found) - FILE[f"{name}/mbtr_k3_cos_exp/features"])) < 1e-13


@pytest.mark.parametrize("name", ALL)
def test_local_histograms(name):
    """DScribe's arc cosine is off by 1e-8 rad where atoms are on a line, as they are in a small cell."""
    atoms, species = atoms_of(name)
    cases = INFO["cases"]["lmbtr"]
    histogram, decay, length = parts_of(cases["k2"])
    pairs = jp.descriptors.LocalMBTR(species, jp.cutoffs.Step(length), histogram, None, decay, distance=jp.radial.IdentityTransform())
    found, expected = np.asarray(local_values(pairs, jp.from_atoms(atoms, length))), FILE[f"{name}/lmbtr_k2/features"]
    assert np.max(np.abs(found - expected[:, histogram.n :])) < 1e-12 and not np.any(expected[:, : histogram.n])  # DScribe's first element is the centre
    histogram, decay, length = parts_of(cases["k3"])
    angles = jp.descriptors.LocalMBTR(species, jp.cutoffs.Step(length / 2), None, histogram, angle_decay=decay, angle=jp.descriptors.AngleInDegrees(), perimeter=jp.cutoffs.Step(length))
    found, expected = np.asarray(local_values(angles, jp.from_atoms(atoms, length / 2))), FILE[f"{name}/lmbtr_k3/features"]
    rearranged = np.zeros_like(expected)
    for column, (*kind, n) in zip(found.T, angles.labels(), strict=True):
        start = INFO["locations"][f"{name}/lmbtr_k3"]["_".join("X" if s == "atom" else str(ATOMIC_NUMBERS[s]) for s in kind)][0]
        rearranged[:, start + n] = column
    assert relative(rearranged, expected) < 1e-8


# DScribe 2.1.2, of this molecule; blocks of H H, H He (apex H: H He; apex He: H H), the only ones that are not 0
HELIUM = Atoms("H2He", positions=[[0, 0, 0], [1.1, 0.3, -0.2], [-0.4, 1.3, 0.5]])
FAR, SPECIES = jp.cutoffs.Step(9.0), ("H", "He")
DISTANCES, INVERSE = jp.descriptors.Histogram(0.0, 4.0, sigma=0.3, n=5), jp.descriptors.Histogram(0.0, 1.2, sigma=0.2, n=5)
COSINES, DEGREES = jp.descriptors.Histogram(-1.0, 1.0, sigma=0.4, n=5), jp.descriptors.Histogram(0.0, 180.0, sigma=30.0, n=5)
R, ANGLE = jp.radial.IdentityTransform(), jp.descriptors.AngleInDegrees()
WEIGHTS = {
    "distance, unity": (jp.descriptors.MBTR(SPECIES, FAR, DISTANCES, None, None, distance=R), [
        0.0141916997687, 0.858953973125, 0.126850485101, 3.82555707112e-06, 0, 0.000779517345637, 0.640573098883, 1.32883530313, 0.0298119912801,
        8.93175500227e-08,
    ]),
    "inverse distance, inverse_square, l2": (jp.descriptors.UnitLength(jp.descriptors.MBTR(SPECIES, jp.cutoffs.InversePowerDecay(jp.cutoffs.Step(5.0)), INVERSE, None, None)), [
        0.000206373640692, 0.0220275952775, 0.306322127869, 0.622819472274, 0.194527128425, 0.0161084492792, 0.220938471629, 0.581091198893,
        0.304019424425, 0.0277221113082,
    ]),
    "distance, exp, n_atoms": (jp.descriptors.PerAtom(jp.descriptors.MBTR(SPECIES, FAR, DISTANCES, None, 0.7, distance=R)), [
        0.0021037814134, 0.127331569374, 0.018804350232, 5.6710161526e-07, 0, 9.41926526775e-05, 0.0748532694098, 0.129442944448, 0.00257455527966,
        7.68959816192e-09,
    ]),
    "cosine, smooth_cutoff": (jp.descriptors.MBTR(SPECIES, FAR, None, COSINES, angle_decay=None, angle_cutoff=jp.cutoffs.GammaCutoff(3.0, 3.0)), [
        0.0567423048027, 0.359490723565, 0.649332194933, 0.53919431463, 0.2782521485, 3.28507776949e-05, 0.00266653944529, 0.0504090044476,
        0.231595409012, 0.267722036906,
    ]),
    "angle, unity, n_atoms": (jp.descriptors.PerAtom(jp.descriptors.MBTR(SPECIES, FAR, None, DEGREES, angle_decay=None, angle=ANGLE)), [
        0.00143462377364, 0.00529516795792, 0.00581360388897, 0.0020629140185, 0.00013905333249, 0.00218366143245, 0.00392076142752,
        0.00107981983816, 4.20244669424e-05, 2.06357040196e-07,
    ]),
    "angle, exp, l2": (jp.descriptors.UnitLength(jp.descriptors.MBTR(SPECIES, FAR, None, DEGREES, angle_decay=0.5, angle=ANGLE, perimeter=jp.cutoffs.Step(np.log(1e3) / 0.5))), [
        0.151662735588, 0.559784155712, 0.614591146211, 0.218083088455, 0.014700166821, 0.23084802617, 0.414487348257, 0.114154270691,
        0.00444265997483, 2.18152478712e-05,
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_and_norms(name):
    descriptor, expected = WEIGHTS[name]
    found = np.asarray(values(descriptor, jp.from_atoms(HELIUM, 9.0)))[2:]  # without the counts of elements
    if "l2" in name:  # DScribe's norm is without them
        found = found / np.linalg.norm(found)
    rows = found.reshape(-1, 5)
    assert np.max(np.abs(rows[np.any(rows, axis=1)].reshape(-1) - expected)) < 1e-11


def test_local_histograms_add_up():
    """Half the pairs of all atoms, and the angles at them, are those of the molecule; each angle is seen from its apex once and from two neighbours."""
    fields = (SPECIES, jp.CosineCutoff(6.0), DISTANCES, COSINES, 0.5, 0.3)
    local, whole = jp.descriptors.LocalMBTR(*fields), jp.descriptors.MBTR(*fields)
    graph = jp.from_atoms(HELIUM, 6.0)
    one, found = np.asarray(values(whole, graph)), np.asarray(local_values(local, graph))
    assert abs(found[:, :10].sum() - 2 * one[2:17].sum()) < 1e-12
    assert local.n_features == len(local.labels()) == found.shape[1]
    fields = (SPECIES, FAR, None, COSINES, 0.5, 0.3)
    one, found = np.asarray(values(jp.descriptors.MBTR(*fields), jp.from_atoms(HELIUM, 9.0))), np.asarray(local_values(jp.descriptors.LocalMBTR(*fields), jp.from_atoms(HELIUM, 9.0)))
    at_apex, at_neighbours = found[:, : 3 * 5].sum(), found[:, 3 * 5 :].sum()
    assert abs(at_apex - one[2:].sum()) < 1e-12 and abs(at_neighbours - 2 * at_apex) < 1e-12


H = jp.descriptors.Histogram(0.0, 1.0, sigma=0.1, n=3)
REFUSED = [
    (lambda: jp.descriptors.LocalMBTR(SPECIES, FAR, None, None), ValueError, "without pairs and angles there are no features"),
    (lambda: jp.descriptors.LocalMBTR(SPECIES, FAR, 3, H), TypeError, "LocalMBTR: pairs must be a Histogram"),
    (lambda: jp.descriptors.LocalMBTR(("Qq",), FAR, H, H), ValueError, "LocalMBTR: .* not chemical symbols"),
    (lambda: jp.descriptors.MBTR(SPECIES, 5.0, H, H), TypeError, "cutoff must be one such as CosineCutoff"),
    (lambda: jp.descriptors.MBTR(SPECIES, FAR, H, H, angle="angle"), TypeError, r"angle must be one such as CosineOfAngle\(\), got str"),
    (lambda: jp.descriptors.MBTR(SPECIES, FAR, H, H, distance="distance"), TypeError, r"distance must be one such as InverseTransform\(\), got str"),
    (lambda: jp.descriptors.MBTR(SPECIES, FAR, H, H, perimeter=5.0), TypeError, "perimeter must be one such as"),
    (lambda: jp.descriptors.MBTR(SPECIES, FAR, H, H, pair_decay=0.0), ValueError, "pair_decay must be > 0"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
