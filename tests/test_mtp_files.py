"""Files of moment tensor potentials as users bring them: comments, training sets of MLIP-3, encodings, and what is refused."""

import re

import numpy as np
import pytest
from ase.build import bulk
from catalog import quick_jit

import jaxpot
from jaxpot import AtomicPotential, IsolatedAtoms, Linear
from jaxpot.descriptors import MTP
from jaxpot.io.mtp import read_mtp, write_mtp


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of level 8 with coefficients from −1 to 1."""
    model = AtomicPotential(MTP(("Si",), 8, 2.0, 4.0), Linear(coefficients=np.linspace(-1, 1, 9))) + IsolatedAtoms({"Si": -5.0})
    return write_mtp(tmp_path_factory.mktemp("mtp") / "a.mtp", model).read_text()


TRAINING_SET = b"\n#MVS_v1.1\nenergy_weight 0.0\nforce_weight 0.0\n#" + bytes(range(256)) + b"\nspecies_coeffs = {1}\n"


def test_energy(tmp_path, text):
    (tmp_path / "a.almtp").write_bytes(text.encode() + TRAINING_SET)
    atoms = bulk("Si", a=5.4, cubic=True)
    atoms.rattle(0.1, seed=1)
    energy = quick_jit(lambda model, graph: model(graph))(read_mtp(tmp_path / "a.almtp", ("Si",)), jaxpot.from_atoms(atoms, 4.0))
    assert abs(float(energy) - 457.2059000205) < 1e-9


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode() + TRAINING_SET,
        lambda text: text.replace("\n", "\r\n").encode() + TRAINING_SET,
        lambda text: b"\xef\xbb\xbf" + text.encode() + TRAINING_SET,
        lambda text: re.sub(r"(species_count = 1|\{-5.*\}|max_dist.*)\n", r"\1  # m\\n", text).replace(r"\n", "\n# all\n").encode(),
        lambda text: text.replace("species_count = 1", "species_count = 1 <<< number of components").encode(),
        lambda text: re.sub(r"(version|potential_name|potential_tag) = .*\n", "", text).encode(),
        lambda text: text.replace("potential_tag = ", "potential_tag = réglé").encode("latin-1"),
        lambda text: text.replace("e+00", "D+00").encode("utf-8-sig"),
        lambda text: text.replace("species_count = 1", "species_count = 1.0").encode(),
    ],
    ids=["almtp", "almtp, dos", "almtp, bom", "comments", "hints", "no tags", "latin-1", "fortran, bom", "1.0"],
)
def test_the_same_potential(tmp_path, text, change):
    (tmp_path / "a.mtp").write_text(text)
    (tmp_path / "b.mtp").write_bytes(change(text))
    assert (tmp_path / "b.mtp").read_bytes() != (tmp_path / "a.mtp").read_bytes()
    assert read_mtp(tmp_path / "b.mtp", ("Si",)) == read_mtp(tmp_path / "a.mtp", ("Si",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RBChebyshev", "RBChebyshev_repuls", "radial_basis_type = RBChebyshev_repuls is not read, only RBChebyshev"),
        ("RBChebyshev", "RBShapeev", "radial_basis_type = RBShapeev is not read"),
        ("radial_basis_type = .*\n", "", "lacks radial_basis_type"),
        (r"\tmin_dist = .*\n", "", "lacks min_dist"),
        ("scaling = .*\n", "", "lacks scaling: it was not fitted"),
        ("moment_coeffs = .*\n", "", "lacks moment_coeffs: it was not fitted"),
        ("version = 1.1.0", "version = 3.0.0", "version = 3.0.0 is not read, only 1.1.0"),
        (r"max_dist = \d", "max_dist = −4", "expected a number, got '−4.*plain -"),
        ("alpha_moments_count = 18", "alpha_moments_count = 1000000000", "its lists make 18 moments, alpha_moments_count says 1000000000"),
        ("radial_basis_size = 8", "radial_basis_size = 1000000000", "2 rows of 1000000000 numbers"),
        (r"\{1, 0, 0, 0\}\}", "{1, 0, 0, 1000000}}", "the last three at most 30 together"),
        (r"\{1, 0, 0, 0\}\}", "{1, 0, 0, -1}}", "expected whole numbers ≥ 0"),
        (r"\t0-0\n", "\t0-99999\n", "cannot read '0-99999'"),
        ("alpha_scalar_moments = 9", "alpha_scalar_moments = 9.5", "expected an integer, got '9.5'"),
        ("moment_coeffs", "moment_coeffs = {1}\nmoment_coeffs", "has moment_coeffs twice"),
    ],
)
def test_refused(tmp_path, text, old, new, message):
    changed = re.sub(old, lambda _: new, text, count=1)
    assert changed != text
    (tmp_path / "a.mtp").write_text(changed)
    with pytest.raises(ValueError, match=message) as caught:
        read_mtp(tmp_path / "a.mtp", ("Si",))
    assert "\n" not in str(caught.value) and "a.mtp" in str(caught.value)


def test_files_that_are_none(tmp_path, text):
    for content, message in ((b"", "does not begin with a line MTP"), (b"MTP\n\0\1", "not a text file"), (b"MTP\n\0\n#MVS_v1.1\n", "before its line #MVS")):
        (tmp_path / "a.mtp").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_mtp(tmp_path / "a.mtp", ("Si",))
    with pytest.raises(ValueError, match="is a folder"):
        read_mtp(tmp_path, ("Si",))
