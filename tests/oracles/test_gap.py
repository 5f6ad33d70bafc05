"""Published GAPs read by io/gap.py against quippy: energies, forces, virials, local energies, QUIP's local variance."""

import hashlib
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

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


@jax.jit
def everything(potential, graph):
    spread = lambda positions: jnp.sum(local_variance(potential, graph.replace(positions=positions)))  # noqa: E731
    return jaxpot.evaluate(potential, graph), potential.energies(graph), local_variance(potential, graph), jax.grad(spread)(graph.positions)


@pytest.mark.parametrize("name", NAMES)
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
    points = jaxpot.Instances(term.head.features, term.head.species)
    np.testing.assert_allclose(term.descriptor.weights_of(points), term.head.weights, rtol=0, atol=1e-12)


def test_saved_and_loaded(tmp_path):
    potential = read_gap(file_of("gap_hco"))
    again = jaxpot.load(jaxpot.save(tmp_path / "gap", potential))
    graph = jaxpot.from_atoms(Atoms("OH", positions=[[0, 0, 0], [1.0, 0, 0]]), float(potential.reach))
    assert float(again(graph)) == float(potential(graph))


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
        ("central_weight=1.0", "central_weight=1.0 nu_R=1", "nu_R=1 of soap is not implemented"),
        ("central_weight=1.0", "radial_scaling=2", "radial_scaling=2 of soap is not implemented"),
        ("<descriptor> soap ", "<descriptor> soap_turbo ", "descriptor soap_turbo is not read"),
        ('covariance_type="2"', 'covariance_type="4"', "covariance_type 4 of soap"),
        ('covariance_type="1"', 'covariance_type="3"', "covariance_type 3 of distance_2b"),
        ('signal_mean=".00000000000000000E+000"', 'signal_mean="1.0"', "mean f0 = 1.0"),
        ('n_permutations="1"', 'n_permutations="2"', "permutations"),
        ('do_core="F"', 'do_core="T"', "core potentials"),
        ('gap_version="1769700636"', 'gap_version="1400000000"', "1400000000"),
        ("gpSparse", "gpFull", "no fitted Gaussian process"),
        ("</GAP_params>", "", "not readable XML"),
        ("n_max=6", "n_max=5", "sparse points have 148 numbers; expected"),
        ("cutoff=4.6", "cutoff=4.6 cutoff_dexp=2 cutoff_rate=0", "cutoff_rate = 0"),
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
