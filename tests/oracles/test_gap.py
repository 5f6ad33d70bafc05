"""Published GAPs read by io/gap.py against quippy: energies, forces, virials, local energies, QUIP's local variance."""

import hashlib
import os
import shutil
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot.io.gap import local_variance, read_gap

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
pytestmark = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)
NAMES = {"gap_si_2b": None, "gap_si_2b_soap": None, "gap_mo_2b_3b_soap": None, "gap_hco": None, "mlearn_mo_gap_example": ("Mo",)}


def file_of(name):
    return SHARED / "potentials" / name / "gap.xml"


def structures(name):
    file = np.load(SHARED / "oracles" / f"quippy_{name}.npz")
    of = {}
    for key in file.files:
        structure, _, quantity = key.partition("/")
        if quantity:
            of.setdefault(structure, {})[quantity] = file[key]
    return of


@quick_jit
def everything(potential, graph):
    spread = lambda positions: jnp.sum(local_variance(potential, graph.replace(positions=positions)))  # noqa: E731
    return jaxpot.evaluate(potential, graph), potential.energies(graph), local_variance(potential, graph), jax.grad(spread)(graph.positions)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name == "gap_si_2b_soap" else name for name in NAMES])
def test_quippy(name):
    potential, of = read_gap(file_of(name), species=NAMES[name]), structures(name)
    atoms = [Atoms(s["numbers"], s["positions"], cell=s["cell"], pbc=s["pbc"]) for s in of.values()]
    graphs = jaxpot.stack([jaxpot.from_atoms(a, float(potential.reach)) for a in atoms])  # one shape, one compilation
    for i, (structure, expected) in enumerate(of.items()):
        properties, energies, variance, slope = everything(potential, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        n = len(atoms[i])
        np.testing.assert_allclose(properties.energy, expected["energy"], rtol=0, atol=1e-8, err_msg=structure)
        np.testing.assert_allclose(properties.forces[:n], expected["forces"], rtol=0, atol=1e-8, err_msg=structure)
        np.testing.assert_allclose(properties.virial, expected["virial"], rtol=0, atol=1e-7, err_msg=structure)
        np.testing.assert_allclose(energies[:n], expected["local_energies"], rtol=0, atol=1e-8, err_msg=structure)
        np.testing.assert_allclose(variance[:n], expected["local_variance"], rtol=1e-6, err_msg=structure)
        largest = np.max(np.abs(expected["variance_gradient"]))
        np.testing.assert_allclose(slope[:n], expected["variance_gradient"], rtol=0, atol=1e-6 * largest + 1e-10, err_msg=structure)


REFITS = {  # of gap_fit: training file, noise of energies and forces, that of isolated atoms
    "gap_si_2b": ("mlearn_Si", (0.01, 0.2), None),
    "gap_hco": ("gfn2_HCO", (0.002, 0.05), (0.0001, 0.05)),
    "gap_mo_2b_3b_soap": ("mlearn_Mo", (0.002, 0.1), None),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "gap_si_2b" else pytest.mark.slow) for n in REFITS])
def test_our_fit_gives_the_predictions_of_gap_fit(name):
    """The same sparse points and settings: gap_fit's coefficients are taken off and fitted again."""
    files, noise, isolated = REFITS[name]
    theirs = read_gap(file_of(name))
    bare = [t.replace(head=t.head.replace(jitter=1e-8, coefficients=None)) if hasattr(t, "head") else t for t in theirs.terms]

    def sigma(atoms):
        energy, forces = isolated if isolated and atoms.info.get("config_type") == "isolated_atom" else noise
        return jaxpot.Properties(energy=energy * np.sqrt(len(atoms)), forces=forces)

    train, test = (ase.io.read(SHARED / "data" / "oracle_fits" / f"{files}_{part}.xyz", ":") for part in ("train", "test"))
    ours = jaxpot.fit.linear(jaxpot.Sum(tuple(bare)), jaxpot.Dataset.from_atoms(train, float(theirs.reach), sigma=sigma), progress=False)
    data = jaxpot.Dataset.from_atoms(test, float(theirs.reach), sigma=jaxpot.noise_levels(1.0, 1.0))
    for atoms, one, other in zip(test, *(jaxpot.fit.predict(m, data, progress=False) for m in (ours, theirs)), strict=True):
        assert abs(one.energy - other.energy) / len(atoms) < 1e-6
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-5)


def test_published_energy():
    """LAMMPS with the QUIP of 2019 printed it."""
    expected = structures("mlearn_mo_gap_example")["mo54_notebook"]
    assert abs(float(expected["energy"]) + 470.226483634706) < 1e-5


def test_terms_hold_all_blocks_of_a_kind():
    potential = read_gap(file_of("gap_hco"))
    assert [type(getattr(t, "descriptor", t)).__name__ for t in potential.terms] == ["TwoBody", "SOAP", "IsolatedAtoms"]
    assert len(potential.terms[0].descriptor.kinds) == 6 and set(potential.species) == {"H", "C", "O"}
    assert [t.n_coefficients for t in potential.terms[:2]] == [72, 120]


def test_cutoff_of_sparse_points_is_that_of_the_descriptor():
    term = read_gap(file_of("gap_mo_2b_3b_soap")).terms[1]
    points = jaxpot.descriptors.Instances(term.head.references.features, term.head.references.kinds)
    np.testing.assert_allclose(term.descriptor.weights_of(points), term.head.references.weights, rtol=0, atol=1e-12)


def test_saved_and_loaded(tmp_path):
    potential = read_gap(file_of("gap_hco"))
    again = jaxpot.load(jaxpot.save(tmp_path / "gap", potential))
    ours, theirs = jax.tree_util.tree_flatten(again), jax.tree_util.tree_flatten(potential)
    assert ours[1] == theirs[1]
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(file_of("gap_mo_2b_3b_soap").parent, tmp_path / "gap", copy_function=shutil.copy)
    for file in (tmp_path / "gap").iterdir():
        file.chmod(0o644)
    (tmp_path / "gap").chmod(0o755)
    return tmp_path / "gap" / "gap.xml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("central_weight=1.0", "central_weight=1.0 average=T", "average=T of soap is not implemented"),
        ("central_weight=1.0", "central_weight=1.0 nu_R=1", "sparse points have .* numbers; expected"),
        ("central_weight=1.0", "radial_scaling=2", "radial_scaling=2 of soap is not implemented"),
        ("<descriptor> soap ", "<descriptor> soap_express ", "descriptor soap_express is not read"),
        ('covariance_type="2"', 'covariance_type="4"', "covariance_type 4 of soap"),
        ('covariance_type="1"', 'covariance_type="3"', "covariance_type 3 of distance_2b"),
        ('signal_mean=".00000000000000000E+000"', 'signal_mean="1.0"', "mean f0 = 1.0"),
        ('n_permutations="1"', 'n_permutations="2"', "permutations"),
        ('do_core="F"', 'do_core="T"', "core potential: .* is not implemented, only IP Glue"),
        ('gap_version="1769700636"', 'gap_version="1400000000"', "1400000000"),
        ("gpSparse", "gpFull", "no fitted Gaussian process"),
        ("</GAP_params>", "", "not readable XML"),
        ("n_max=6", "n_max=5", "sparse points have 148 numbers; expected"),
        ("cutoff=4.6", "cutoff=4.6 cutoff_dexp=2 cutoff_rate=0", "cutoff_rate = 0"),
        ("cutoff=4.6", "cutoff=4.6 xml_version=1400000000", "xml_version=1400000000 of soap"),
        ("cutoff=4.6", "cutoff=4.6 n_Z=2", "n_Z=2 of soap"),
        ('<e0 Z="42"', '<e0 Z="119"', "atomic number: expected a whole number from 0 to 118, got 119"),
        ('<e0 Z="42"', '<e0 Z="41"', "e0 of Z = 41 is there twice"),
        ("theta>", "length>", "an element length in gpCoordinates is not implemented"),
    ],
)
def test_refused(copy, old, new, message):
    text = copy.read_text()
    assert old in text
    copy.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_gap(copy)


def test_sparse_points_of_another_file(copy):
    points = copy.parent / "gap.xml.sparseX.GAP_gap_mo_2b_3b_soap1"
    content = points.read_bytes()
    points.write_bytes(content.replace(b"1", b"2", 1))
    with pytest.raises(ValueError, match="MD5"):
        read_gap(copy)
    points.unlink()
    with pytest.raises(FileNotFoundError, match="sparseX.GAP_gap_mo_2b_3b_soap1"):
        read_gap(copy)
    short = b"\n".join(content.split()[:-1])
    points.write_bytes(short)
    copy.write_text(copy.read_text().replace(hashlib.md5(content).hexdigest(), hashlib.md5(short).hexdigest()))
    with pytest.raises(ValueError, match="14 numbers; expected 15 points"):
        read_gap(copy)


def test_elements_that_the_file_does_not_name():
    with pytest.raises(ValueError, match=r'species=\("Mo",\)'):
        read_gap(file_of("mlearn_mo_gap_example"))
    with pytest.raises(FileNotFoundError, match="no GAP file"):
        read_gap("nowhere.xml")
