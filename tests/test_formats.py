"""Reading and writing in any format: every published file is recognised and gives what its own reader gives."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxpot
from jaxpot import AtomicPotential, CosineCutoff, IsolatedAtoms, Linear
from jaxpot.cli import main
from jaxpot.descriptors import MTP, Bispectrum, TwoBody
from jaxpot.heads import References
from jaxpot.io import formats
from jaxpot.kernels import SquaredExponential
from jaxpot.longrange import Direct
from jaxpot.units import BOHR, HARTREE

PUBLISHED = Path(os.environ.get("JAXPOT_DATA", ".")) / "potentials"
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
UNITS = {"length_unit": BOHR, "energy_unit": HARTREE}
FOURTH = UNITS | {"sum": Direct()}
SNAP = ("InP_JCPA2020", "Li_Zuo_JPCA2020.quadratic", "Li_Zuo_JPCA2020", "Mo_Zuo_JPCA2020.quadratic", "Mo_Zuo_JPCA2020", "Si_Zuo_JPCA2020.quadratic",
        "Si_Zuo_JPCA2020", "Ta06A", "W_2940_2017_2")  # fmt: skip
NAMES = {  # of a potential: its reader, and what its files do not say
    **{f"gap_{name}/gap.xml": ("read_gap", {}) for name in ("si_2b", "si_2b_soap", "mo_2b_3b_soap", "hco")},
    "mlearn_mo_gap_example/gap.xml": ("read_gap", {"species": ("Mo",)}),
    **{f"lammps_snap/{name}.snapparam {name}.snapcoeff": ("read_snap", {}) for name in SNAP},
    **{f"mlearn_snap_{s}/SNAPotential.snapcoeff SNAPotential.snapparam": ("read_snap", {}) for s in ("Li", "Mo", "Si")},
    "lammps_mliap/Ta06A.mliap.descriptor Ta06A.mliap.model": ("read_mliap", {}),
    "lammps_mliap/Ta06A.nn.mliap.model Ta06A.mliap.descriptor": ("read_mliap", {}),
    "acejax_si_o3/acejax_si_o3.yace": ("read_yace", {}),
    "pace_cu_lammps/Cu-PBE-core-rep.ace": ("read_yace", {}),
    "pace_cu_lammps/Cu-PBE-core-rep.yace": ("read_yace", {}),
    **{f"pace_{name}/pace_{name}.{ending}": ("read_yace", {}) for name in ("mo_fs", "si_linear", "sic_ms") for ending in ("yace", "yaml")},
    **{f"pace_speed/order{n}.yace": ("read_yace", {}) for n in (3, 4, 5)},
    "mtp08_sic/mtp08_sic.mtp": ("read_mtp", {"species": ("Si", "C")}),
    "mtp_mlearn_fitted/fitted.mtp": ("read_mtp", {"species": ("Ni",)}),
    **{f"mlearn_nnp_{s}": ("read_n2p2", UNITS) for s in ("Cu", "Ge", "Li", "Mo", "Ni", "Si")},
    **{f"n2p2_{name}": ("read_n2p2", UNITS) for name in ("Cu2S_PBE", "DMABN_SCAN", "H2O_RPBE-D3")},
    "n2p2_H2O_RPBE-D3_4G": ("read_n2p2", FOURTH),
    "lammps_empirical/CuNi.eam.alloy": ("read_eam", {}),
    "lammps_empirical/Cu_u3.eam": ("read_eam", {}),
    "lammps_empirical/NiAlH_jea.eam.fs": ("read_eam", {}),
    "lammps_empirical/GaN.sw": ("read_stillinger_weber", {}),
    "lammps_empirical/Si.sw": ("read_stillinger_weber", {}),
    "lammps_empirical/Si.edip": ("read_edip", {}),
    "lammps_empirical/SiO.1990.vashishta": ("read_vashishta", {}),
    "lammps_empirical/Si.tersoff": ("read_tersoff", {}),
    "lammps_empirical/SiC.tersoff": ("read_tersoff", {}),
    "lammps_empirical/Si.tersoff.mod": ("read_modified_tersoff", {}),
}
REFUSED = ("n2p2_AlAuMgO_4G", "n2p2_Carbon_chain_4G")  # by the reader of their format
ORDERED = {"read_snap": (".snapcoeff", ".snapparam"), "read_mliap": (".model", ".descriptor")}


@needs_data
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # keywords without effect
def test_published(name, tmp_path):
    """By content: a copy with another name is read as well. A .ace file goes by its name."""
    reader, options = NAMES[name]
    folder, _, files = name.partition("/")
    paths = [PUBLISHED / folder / file for file in files.split() or [""]]
    ordered = [next(path for path in paths if path.name.endswith(ending)) for ending in ORDERED[reader]] if reader in ORDERED else paths
    own = getattr(jaxpot.io, reader)(*ordered, **options)
    assert jaxpot.io.read(*paths, **options) == own
    if len(paths) == 1 and not paths[0].is_dir() and paths[0].suffix not in (".xml", ".ace"):
        assert jaxpot.io.read(shutil.copy(paths[0], tmp_path / "potential"), **options) == own


@needs_data
@pytest.mark.parametrize("name", REFUSED)
def test_the_reader_refuses(name):
    errors = []
    for read in (jaxpot.io.read, jaxpot.io.read_n2p2):
        with pytest.raises(ValueError) as error:
            read(PUBLISHED / name, **FOURTH)
        errors.append(str(error.value).removeprefix(f"{PUBLISHED / name}: "))
    assert errors[0].removeprefix(f"{PUBLISHED / name / 'input.nn'}: ") == errors[1]


@needs_data
def test_every_published_file_is_named_here():
    files = {path for path in PUBLISHED.rglob("*") if path.is_file() and path.suffix != ".md"}
    known = {PUBLISHED / name.partition("/")[0] / file for name in NAMES for file in name.partition("/")[2].split()}
    beside = {path for path in files if "sparseX" in path.name or (path.suffix == ".data" and "n" in path.parent.name)}
    inputs = {PUBLISHED / name / "input.nn" for name in (*NAMES, *REFUSED) if "/" not in name}
    others = {
        "model.npz",
        "Nb.uf3",
        "Si.nn.mliap.descriptor",
        "Si.nn.mliap.model",
        "Ta_coeff.pod",
        "Ta_param.pod",
        "GAPotential.soapparam",
        "si1000.extxyz.xz",
    }
    assert {path.name for path in files - known - beside - inputs} == others


@needs_data
@pytest.mark.parametrize(
    "name", ["acejax_si_o3/model.npz", "lammps_mliap/Nb.uf3", "lammps_mliap/Ta_param.pod", "mlearn_mo_gap_example/GAPotential.soapparam"]
)
def test_in_no_format(name):
    with pytest.raises(ValueError, match="not in a format that is read: jaxpot, compiled, GAP of QUIP, PACE"):
        jaxpot.io.read(PUBLISHED / name)


@needs_data
def test_more_files_and_options():
    snap = PUBLISHED / "lammps_snap" / "Ta06A.snapcoeff"
    with pytest.raises(ValueError, match=r"a potential of the format SNAP has two files; write read\(one, other\)"):
        jaxpot.io.read(snap)
    with pytest.raises(TypeError, match="of the format SNAP, whose files say their species; leave that out"):
        jaxpot.io.read(snap, snap.with_suffix(".snapparam"), species=("Ta",))
    with pytest.raises(TypeError, match=r'does not say its length_unit, energy_unit; write read\(".*", length_unit=jaxpot.units.BOHR, energy_unit'):
        jaxpot.io.read(PUBLISHED / "mlearn_nnp_Cu")
    with pytest.raises(ValueError, match="descriptor so3, which is not implemented"):
        jaxpot.io.read(PUBLISHED / "lammps_mliap" / "Si.nn.mliap.model", PUBLISHED / "lammps_mliap" / "Si.nn.mliap.descriptor")
    alloy = jaxpot.io.read(PUBLISHED / "lammps_empirical" / "CuNi.eam.alloy", species=("Ni",))
    assert alloy.species == ("Ni",)


ZBL = "3 1 1.3258 4.8381 2.0417 0 22.956 0.33675 1.3258 95.373 3.2 0.2 3.2394 3264.7 14 14 0.95 14"
MODIFIED = "3 0 -0.365 1 1 2.3890 121.00 2.85 0.15 3.2300 3281.5 1 0.0 730418 1000000 1 26 0.5"


@pytest.mark.parametrize(("numbers", "reader"), [(ZBL, "read_tersoff_zbl"), (MODIFIED, "read_modified_tersoff")])
def test_entries_of_eighteen_numbers(tmp_path, numbers, reader):
    (tmp_path / "a").write_text(f"# UNITS: metal\nSi Si Si {numbers}\n")
    assert jaxpot.io.read(tmp_path / "a") == getattr(jaxpot.io, reader)(tmp_path / "a")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at nowhere"):
        jaxpot.io.read("nowhere.xml")
    with pytest.raises(FileNotFoundError, match="a folder without an input.nn"):
        jaxpot.io.read(tmp_path)
    (tmp_path / "empty").write_text("")
    for name in ("empty", "archive"):
        (tmp_path / "archive").write_bytes(b"PK nothing")
        with pytest.raises(ValueError, match="not in a format that is read"):
            jaxpot.io.read(tmp_path / name)
    with pytest.raises(TypeError, match="the path comes first"):
        jaxpot.io.read(3)


ENERGIES = IsolatedAtoms({"Si": -158.5})
POINTS = References(features=[[2.3], [3.1]], kinds=np.array([0, 0]), weights=[1.0, 0.8])
HEAD = jaxpot.SparseGP(SquaredExponential(0.5), references=POINTS, coefficients=[0.1, -0.2])
MODELS = {  # by what can hold them
    (".npz",): ENERGIES,
    (".npz", ".xml"): AtomicPotential(TwoBody(("Si",), CosineCutoff(4.0, width=1.0)), HEAD) + ENERGIES,
    (".npz", ".mtp"): AtomicPotential(MTP(("Si",), 8, 2.0, 4.0), Linear(coefficients=np.linspace(-1, 1, 9))) + ENERGIES,
    (".npz", ".snapcoeff"): AtomicPotential(Bispectrum(("Si",), 4.9, two_j_max=2), Linear(coefficients=np.arange(5.0))) + ENERGIES,
}


@pytest.mark.parametrize("endings", MODELS)
def test_write_and_convert(endings, tmp_path, capsys):
    """Through each format and back: the same model, or, of a list of moments, what its own reader makes of it."""
    model = MODELS[endings]
    assert formats._holding(model) == list(endings)
    for ending in endings:
        path = jaxpot.io.write(tmp_path / f"a{ending}", model)
        paths = [path, path.with_suffix(".snapparam")] if ending == ".snapcoeff" else [path]
        read = jaxpot.io.read(*paths, **({"species": ("Si",)} if ending == ".mtp" else {}))
        assert read == model or ending in (".mtp", ".snapcoeff")
        assert main(["convert", *map(str, paths), str(tmp_path / "b.npz"), *(["--species", "Si"] if ending == ".mtp" else [])]) == 0
        assert capsys.readouterr().out == f"wrote {tmp_path / 'b.npz'}\n" and jaxpot.load(tmp_path / "b.npz") == read
    with pytest.raises(ValueError, match=rf"a.foo has no ending of a format that is written; this model can be written as {', '.join(endings)}"):
        jaxpot.io.write(tmp_path / "a.foo", model)
    with pytest.raises((TypeError, ValueError), match=rf"write_yace: .*; this model can be written as {', '.join(endings)}"):
        jaxpot.io.write(tmp_path / "a.yace", model)


def test_networks_go_into_a_folder(tmp_path):
    acsf = jaxpot.descriptors.ACSF(("Si",), (jaxpot.descriptors.G2.shifted(CosineCutoff(5.0), 4),))
    model = AtomicPotential(acsf, jaxpot.MLP((3,))) + ENERGIES
    path = jaxpot.io.write(tmp_path / "network" / "input.nn", model)
    assert jaxpot.io.read(path, length_unit=1.0, energy_unit=1.0) == jaxpot.io.read(path.parent, length_unit=1.0, energy_unit=1.0)


def test_command_line_errors(tmp_path, capsys):
    jaxpot.save(tmp_path / "a.npz", ENERGIES)
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "a.xml")]) == 2
    assert "expected a Gaussian process" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), "--length-unit", "1.0"]) == 2
    assert "whose files say their length_unit" in capsys.readouterr().err
