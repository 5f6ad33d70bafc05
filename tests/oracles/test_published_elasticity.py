"""Lattice and elastic constants of published potentials of six elements, beside values computed by other codes from the same files."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from catalog import quick_jit

import jaxpot as jp
from jaxpot import observables

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"),
]
FILES = SHARED / "data" / "potentials"
STRUCTURES = {"Ni": ("fcc", 3.52), "Cu": ("fcc", 3.63), "Li": ("bcc", 3.46), "Mo": ("bcc", 3.17), "Si": ("diamond", 5.47), "Ge": ("diamond", 5.77)}
# a (Å), B, C11, C12, C44 (GPa) and energy (eV/atom), by energy differences at strains of 0.004, reproducible to 0.5 GPa
EXPECTED = {
    ("mtp", "Ni"): (3.5219, 209.9, 284.5, 172.6, 127.2, -5.7808),
    ("mtp", "Cu"): (3.6348, 139.3, 177.1, 120.3, 80.9, -4.1011),
    ("mtp", "Li"): (3.4464, 13.3, 14.4, 12.7, 11.0, -1.8991),
    ("mtp", "Mo"): (3.1689, 260.4, 471.9, 154.6, 103.1, -10.8519),
    ("mtp", "Si"): (5.4637, 95.5, 142.5, 72.0, 77.8, -5.4246),
    ("mtp", "Ge"): (5.7706, 71.7, 106.5, 54.3, 55.5, -4.4931),
    ("snap", "Ni"): (3.5215, 206.5, 282.9, 168.3, 129.3, -5.7807),
    ("snap", "Cu"): (3.6338, 143.2, 178.3, 125.7, 86.1, -4.1013),
    ("snap", "Li"): (3.5062, 9.9, 18.4, 5.7, 10.2, -1.9000),
    ("snap", "Mo"): (3.1693, 257.9, 456.7, 158.5, 109.2, -10.8509),
    ("snap", "Si"): (5.4741, 92.9, 128.1, 75.3, 70.8, -5.4184),
    ("snap", "Ge"): (5.7733, 60.9, 101.3, 40.7, 54.1, -4.4927),
    ("qsnap", "Ni"): (3.5208, 192.8, 267.6, 155.4, 125.7, -5.7802),
    ("qsnap", "Cu"): (3.6355, 142.2, 178.1, 124.2, 82.0, -4.1012),
    ("qsnap", "Li"): (3.4690, 8.2, 12.2, 6.2, 11.2, -1.8991),
    ("qsnap", "Mo"): (3.1701, 256.2, 435.9, 166.4, 103.8, -10.8517),
    ("qsnap", "Si"): (5.4644, 90.0, 155.1, 57.5, 69.2, -5.4250),
    ("qsnap", "Ge"): (5.7750, 68.8, 120.9, 42.7, 50.4, -4.4931),
}


def potential_of(kind, element):
    if kind == "mtp":
        return jp.io.read_mtp(FILES / "mtp" / f"{element}_2020.mtp", species=(element,))
    stem = FILES / "snap" / f"{element}_Zuo_JPCA2020{'.quadratic' if kind == 'qsnap' else ''}"
    return jp.io.read_snap(f"{stem}.snapcoeff", f"{stem}.snapparam")


constants = quick_jit(observables.elastic_constants)


@pytest.mark.parametrize(("kind", "element"), EXPECTED, ids=str)
def test_elastic_constants(kind, element):
    structure, a = STRUCTURES[element]
    found = observables.relax(potential_of(kind, element), bulk(element, structure, a=a), cell=True, tolerance=1e-6)
    C = constants(potential_of(kind, element), found.graph)
    lattice = ((2 if structure == "bcc" else 4) * found.atoms.get_volume()) ** (1 / 3)
    got = (lattice, float(observables.moduli(C).bulk_voigt), *map(float, observables.cubic_constants(C)), found.energy / len(found.atoms))
    print(f"{kind} {element}: " + ", ".join(f"{x:.4f}" for x in got))
    tolerances = (5e-4, 0.5, 0.5, 0.5, 0.5, 2e-4)
    for name, value, expected, tolerance in zip(("a", "B", "C11", "C12", "C44", "E"), got, EXPECTED[kind, element], tolerances, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=name)
