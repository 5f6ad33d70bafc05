"""MTP files read by io/mtp.py against motep, round trips, and published potentials on published test sets."""

import os
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import AtomicPotential, IsolatedAtoms, Linear
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.descriptors import MTP
from jaxpot.empirical import LennardJones
from jaxpot.io.mtp import read_mtp, write_mtp

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
pytestmark = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)
MADE = SHARED / "potentials" / "mtp08_sic" / "mtp08_sic.mtp"
PUBLISHED = SHARED / "data" / "potentials" / "mtp"
evaluate = quick_jit(jaxpot.evaluate)


def structures(name, model=""):
    file = np.load(SHARED / "oracles" / f"{name}.npz")
    of = {}
    for key in file.files:
        structure, _, quantity = key.partition("/")
        if quantity and structure.startswith(model):
            of.setdefault(structure, {})[quantity] = file[key]
    return of


def compare(potential, of, energy, forces):
    atoms = [Atoms(s["numbers"], s["positions"], cell=s["cell"], pbc=s["pbc"]) for s in of.values()]
    graphs = jaxpot.stack([jaxpot.from_atoms(a, float(potential.reach)) for a in atoms])  # one shape, one compilation
    local = quick_jit(lambda p, g: p.energies(g)) if any("local_energies" in s for s in of.values()) else None
    for i, (structure, expected) in enumerate(of.items()):
        graph, n = jax.tree_util.tree_map(lambda x, i=i: x[i], graphs), len(atoms[i])
        found = evaluate(potential, graph)
        assert abs(found.energy - expected["energy"]) < energy, structure
        np.testing.assert_allclose(found.forces[:n], expected["forces"], rtol=0, atol=forces, err_msg=structure)
        if "virial" in expected:
            np.testing.assert_allclose(found.virial, expected["virial"], rtol=0, atol=10 * forces, err_msg=structure)
        if local:
            np.testing.assert_allclose(local(potential, graph)[:n], expected["local_energies"], rtol=0, atol=energy, err_msg=structure)


def test_two_species():
    compare(read_mtp(MADE, ("Si", "C")), structures("mtp08_sic"), 1e-9, 1e-9)


def test_distances_below_the_shortest_extrapolate():
    compare(read_mtp(SHARED / "potentials" / "mtp_mlearn_fitted" / "fitted.mtp", ("Ni",)), structures("mtp_mlearn_fitted"), 1e-9, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "species"), [("Si_2020", ("Si",)), ("Mo_2020", ("Mo",)), ("Li_2020", ("Li",)), ("NbMoTaW_2021", ("Nb", "Mo", "Ta", "W"))]
)
def test_published(name, species):
    compare(read_mtp(PUBLISHED / f"{name}.mtp", species), structures("mtp_published", name), 1e-9, 1e-8)


# energy MAE and RMSE in meV per atom, force MAE and RMSE in eV/Å
TABLE = {"Li": ("0.49", "0.66", "0.010", "0.013"), "Mo": ("2.94", "3.98", "0.090", "0.151"), "Si": ("2.31", "3.03", "0.056", "0.088")}


@pytest.mark.slow
@pytest.mark.parametrize("element", TABLE)
def test_errors_of_published_potentials(element):
    """To the last printed digit, on the test sets they were published with."""
    potential = read_mtp(PUBLISHED / f"{element}_2020.mtp", (element,))
    frames = ase.io.read(SHARED / "data" / "mlearn" / f"{element}_test.extxyz", ":")
    graphs = jaxpot.stack([jaxpot.from_atoms(a, float(potential.reach)) for a in frames])
    run, energies, forces = jax.jit(jaxpot.evaluate), [], []
    for i, frame in enumerate(frames):
        found = run(potential, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        energies.append((float(found.energy) - frame.get_potential_energy()) / len(frame) * 1e3)
        forces.append((np.asarray(found.forces)[: len(frame)] - frame.get_forces()).reshape(-1))
    errors = [(np.mean(np.abs(x)), np.sqrt(np.mean(x**2))) for x in (np.array(energies), np.concatenate(forces))]
    for got, printed in zip(np.ravel(errors), TABLE[element], strict=True):
        assert abs(got - float(printed)) < 1.5 * 10.0 ** -len(printed.partition(".")[2]), (errors, TABLE[element])


def test_written_and_read(tmp_path):
    theirs = read_mtp(MADE, ("Si", "C"))
    ours = read_mtp(write_mtp(tmp_path / "copy.mtp", theirs), ("Si", "C"))
    (a, one), (b, other) = (jax.tree_util.tree_flatten(model) for model in (theirs, ours))
    assert one == other and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    compare(ours, structures("mtp08_sic"), 1e-9, 1e-9)
    again = jaxpot.load(jaxpot.save(tmp_path / "mtp", theirs))
    assert jax.tree_util.tree_structure(again) == one


def test_a_level_is_written(tmp_path):
    """A file lists the moments of our level; what is read evaluates them from the list."""
    rng = np.random.default_rng(0)
    descriptor = MTP(("Si", "C"), 10, 1.1, 3.4, radial=rng.normal(size=(2, 2, 3, 8)))
    model = AtomicPotential(descriptor, Linear(coefficients=np.tile(rng.normal(size=16), 2)))
    read = read_mtp(write_mtp(tmp_path / "level.mtp", model), ("Si", "C"))
    assert read.terms[1] == IsolatedAtoms({"Si": 0.0, "C": 0.0})
    of = structures("mtp08_sic")["tric_sic"]
    graph = jaxpot.from_atoms(Atoms(of["numbers"], of["positions"], cell=of["cell"], pbc=True), 3.4)
    one, other = evaluate(model, graph), evaluate(read, graph)
    assert abs(one.energy - other.energy) < 1e-10 * max(1.0, abs(one.energy))
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-10 * max(1.0, float(np.max(np.abs(one.forces)))))


def test_what_no_file_holds(tmp_path):
    descriptor = MTP(("Si", "C"), 4, 1.1, 3.4)
    with pytest.raises(ValueError, match="no coefficients yet"):
        write_mtp(tmp_path / "a.mtp", AtomicPotential(descriptor, Linear()))
    with pytest.raises(ValueError, match="those of Si, C differ"):
        write_mtp(tmp_path / "a.mtp", AtomicPotential(descriptor, Linear(coefficients=np.arange(4.0))))
    model = AtomicPotential(descriptor, Linear(coefficients=np.ones(4)))
    with pytest.raises(ValueError, match="IsolatedAtoms has"):
        write_mtp(tmp_path / "a.mtp", model + IsolatedAtoms({"Si": 0.0}))
    with pytest.raises(TypeError, match="got AtomicPotential \\+ LennardJones"):
        write_mtp(tmp_path / "a.mtp", model + LennardJones(("Si",), epsilon=1.0, sigma=2.0, cutoff=PolynomialCutoff(3.0)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MTP\n", "", "does not begin with a line MTP"),
        ("version = 1.1.0", "version = 2.0", "version = 2.0 is not read"),
        ("RBChebyshev", "RBJacobi", "radial_basis_type = RBJacobi is not read"),
        ("potential_tag =", "magnetic_basis = 1\npotential_tag =", "cannot read 'magnetic_basis = 1'"),
        ("potential_tag =", "#MVS_v1.1\npotential_tag =", "lacks species_coeffs, moment_coeffs, radial_coeffs: it was not fitted"),
        ("species_count = 2", "species_count = 3", "has 3 types, species names 2"),
        ("species_count = 2", "species_count = two", "species_count: expected an integer, got 'two'"),
        ("species_count = 2", "species_count = 2\nspecies_count = 2", "has species_count twice"),
        ("max_dist = 5.0", "max_dist = %f5.0", "max_dist: expected a number, got '%f5.0"),
        ("scaling = 1.000000000000000e+00\n", "", "lacks scaling: it was not fitted"),
        ("radial_basis_size = 8", "radial_basis_size = 7", "2 rows of 7 numbers"),
        ("radial_funcs_count = 2", "radial_funcs_count = 1", "1 rows of 8 numbers"),
        ("\t\t1-0\n", "\t\t1-2\n", "expected all of 2 types"),
        ("\t\t1-0\n", "\t\t0-1\n", "the pair 0-1 twice"),
        ("alpha_index_times_count = 14", "alpha_index_times_count = 15", "alpha_index_times has 14 entries"),
        ("alpha_moments_count = 18", "alpha_moments_count = 19", "make 18 moments"),
        ("{0, 15, 1, 17}", "{0, 15, 1}", "4 integers"),
        ("{0, 11, 1, 15}, {0, 12, 1, 16}, {0, 15, 1, 17}", "{0, 12, 1, 16}, {0, 15, 1, 17}, {0, 11, 1, 15}", "before all its products"),
        ("alpha_moment_mapping = {0, ", "alpha_moment_mapping = {18, ", "not among the 18"),
        ("-2.040323048728715e+00", "nan", "species_coeffs"),
    ],
)
def test_refused(tmp_path, old, new, message):
    text = MADE.read_text()
    assert old in text
    (tmp_path / "file.mtp").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_mtp(tmp_path / "file.mtp", ("Si", "C"))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.mtp"):
        read_mtp(tmp_path / "nowhere.mtp", ("Si",))
    with pytest.raises(ValueError, match="species must be"):
        read_mtp(MADE, "SiC")
    with pytest.raises(ValueError, match="max_dist: expected a number, got '%f'"):
        read_mtp(PUBLISHED / "untrained_08g.mtp", ("Si",))
