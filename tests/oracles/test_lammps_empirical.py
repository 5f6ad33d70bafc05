"""Empirical potentials against LAMMPS: energies, forces, virials and, where both share the energy out alike, local energies."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import evaluate, quick_jit

import jaxpot
from jaxpot.cutoffs import Shifted, Step
from jaxpot.empirical import ZBL, Buckingham, LennardJones, Morse
from jaxpot.io.lammps import read_eam, read_edip, read_modified_tersoff, read_stillinger_weber, read_tersoff, read_vashishta

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
pytestmark = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)
FILES = SHARED / "potentials" / "lammps_empirical"
ARGON = dict(species=("Ar",), epsilon=0.0104, sigma=3.405)
# in LAMMPS an angle gives a third to each of its atoms, and the attraction of Tersoff half to each; here both belong to the atom whose neighbours make them
TOLERANCE = 1e-11  # round-off of both
LOOSE = {"edip_si": 1e-3}  # LAMMPS's `edip` interpolates tables linearly; `edip/multi`, which does not, is in test_lammps_files.py
MODELS = {  # potential, whether local energies are shared out alike
    "sw_si": (lambda: read_stillinger_weber(FILES / "Si.sw"), False),
    "sw_gan": (lambda: read_stillinger_weber(FILES / "GaN.sw"), False),
    "tersoff_si": (lambda: read_tersoff(FILES / "Si.tersoff"), False),
    "tersoff_sic": (lambda: read_tersoff(FILES / "SiC.tersoff"), False),
    "tersoff_mod_si": (lambda: read_modified_tersoff(FILES / "Si.tersoff.mod"), False),
    "eam_funcfl_cu": (lambda: read_eam(FILES / "Cu_u3.eam"), True),
    "eam_alloy_cuni": (lambda: read_eam(FILES / "CuNi.eam.alloy"), True),
    "eam_fs_nialh": (lambda: read_eam(FILES / "NiAlH_jea.eam.fs"), True),
    "vashishta_sio2": (lambda: read_vashishta(FILES / "SiO.1990.vashishta"), False),
    "edip_si": (lambda: read_edip(FILES / "Si.edip"), False),
    "zbl_sic": (lambda: ZBL(("Si", "C"), inner=3.0, outer=4.0), True),
    "lj_cut": (lambda: LennardJones(**ARGON, cutoff=Step(8.5)), True),
    "lj_cut_shift": (lambda: LennardJones(**ARGON, cutoff=Shifted(8.5)), True),
    "morse_cu": (lambda: Morse(("Cu",), depth=0.3429, alpha=1.3588, minimum=2.866, cutoff=Step(6.5)), True),
    "buck": (
        lambda: Buckingham(
            ("Si", "O"),
            amplitude=[[0.0, 18003.7572], [18003.7572, 1388.7730]],
            rho=[[1.0, 0.20520481], [0.20520481, 0.36231884]],
            dispersion=[[0.0, 133.5381], [133.5381, 175.0]],
            cutoff=Step(7.0),
        ),
        True,
    ),
}


def structures(name):
    file = np.load(SHARED / "oracles" / "lammps_empirical.npz")
    of = {}
    for key in file.files:
        structure, _, quantity = key.partition("/")
        if structure.partition(":")[0] == name:
            of.setdefault(structure, {})[quantity] = file[key]
    return of


local_energies = quick_jit(lambda potential, graph: potential.energies(graph))


@pytest.mark.parametrize("name", MODELS)
def test_lammps(name):
    make, same_shares = MODELS[name]
    potential, of = make(), structures(name)
    atoms = [Atoms(s["numbers"], s["positions"], cell=s["cell"], pbc=s["pbc"]) for s in of.values()]
    graphs = jaxpot.stack([jaxpot.from_atoms(a, float(potential.reach)) for a in atoms])  # one shape, one compilation
    for i, (structure, expected) in enumerate(of.items()):
        graph, n = jax.tree_util.tree_map(lambda x, i=i: x[i], graphs), len(atoms[i])
        properties = evaluate(potential, graph)
        for field in ("energy", "forces", "virial"):
            got = getattr(properties, field)
            got = got[:n] if field == "forces" else got
            np.testing.assert_allclose(got, expected[field], rtol=0, atol=LOOSE.get(name, TOLERANCE), err_msg=f"{structure} {field}")
        if same_shares:
            np.testing.assert_allclose(local_energies(potential, graph)[:n], expected["local_energies"], rtol=0, atol=TOLERANCE, err_msg=structure)


def test_all_but_one_case_are_here():
    info = json.loads(str(np.load(SHARED / "oracles" / "lammps_empirical.npz")["info"]))
    assert set(info["models"]) - set(MODELS) == {"lj_cut_tail"}
