"""Small GAPs made for these tests (gap_small/make.py) against quippy: descriptors that the published ones do not have."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot.io.gap import local_variance, read_gap
from jaxpot.io.gap_soap import soap_turbo

HERE = Path(__file__).parent / "gap_small"
evaluate = quick_jit(jaxpot.evaluate)


def structures(name):
    file = np.load(HERE / f"{name}.npz")
    of = {}
    for key in file.files:
        structure, _, quantity = key.partition("/")
        of.setdefault(structure, {})[quantity] = file[key]
    return list(of.values())


def compare(name):
    potential, expected = read_gap(HERE / f"{name}.xml"), structures(name)
    atoms = [Atoms(s["numbers"], s["positions"], cell=s["cell"], pbc=True) for s in expected]
    graphs = jaxpot.stack([jaxpot.from_atoms(a, float(potential.reach)) for a in atoms])
    for i, s in enumerate(expected):
        properties = evaluate(potential, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        n = len(atoms[i])
        assert np.max(np.abs(s["forces"])) > 0.1
        np.testing.assert_allclose(properties.energy, s["energy"], rtol=0, atol=1e-10, err_msg=i)
        exact = "forces_fd" not in s
        np.testing.assert_allclose(properties.forces[:n], s["forces"], rtol=0, atol=1e-10 if exact else 5e-7, err_msg=i)
        np.testing.assert_allclose(properties.virial, s["virial"], rtol=0, atol=1e-9 if exact else 3e-6, err_msg=i)
        if not exact:
            np.testing.assert_allclose(properties.forces[:n], s["forces_fd"], rtol=0, atol=1e-8, err_msg=i)
    return potential


def test_compact_clusters():
    potential = compare("nb_si")
    assert [type(getattr(t, "descriptor", t)).__name__ for t in potential.terms] == ["TwoBody", "CompactTriangles", "IsolatedAtoms"]


def test_clusters_of_two_elements():
    potential = compare("nb_sic")
    assert potential.terms[1].descriptor.kinds == (("Si", "C", "C"),)
    first, second, third = potential.terms[1].head.kernel.kernel.length
    assert first == second != third


def test_clusters_of_three_elements_share_terms_by_their_symmetry():
    potential = compare("nb_hco")
    assert [len(t.descriptor.kinds) for t in potential.terms[:-1]] == [3, 6, 1]
    with pytest.raises(ValueError, match="not implemented for Triangles"):
        local_variance(potential, jaxpot.from_atoms(Atoms("HCO", positions=np.eye(3)), 2.9))


def test_core_potential():
    """Knots, ends and distances below the first knot are QUIP's."""
    core = compare("core").terms[1]
    assert core.pairs == (("Si", "Si"), ("C", "Si"), ("C", "C"))
    assert [(s.first is None, s.last is None) for s in core.splines] == [(True, False), (False, True), (False, False)]
    distances = [Atoms(s["numbers"], s["positions"], cell=s["cell"], pbc=True).get_all_distances(mic=True) for s in structures("core")]
    carbon = [s["numbers"] == 6 for s in structures("core")]
    assert min(np.min(d[c][:, c][np.triu_indices(sum(c), 1)], initial=9) for d, c in zip(distances, carbon, strict=True)) < 1.9


@pytest.mark.parametrize("name", ["turbo_si", "turbo_sic", "turbo_mode", "turbo_file"])
def test_soap_turbo(name):
    """Energies are QUIP's; forces are the derivatives of its energies, from which its own deviate by up to 3e-7 eV/Å."""
    descriptor = compare(name).terms[0].descriptor
    assert type(descriptor).__name__ == ("SOAP" if name == "turbo_si" else "CompressedSOAP")
    assert {type(basis).__name__ for basis in descriptor.density.radial} == {"Poly3" if name in ("turbo_si", "turbo_file") else "Poly3Gauss"}


def test_compressed_soap():
    potential = compare("compressed")
    assert [t.descriptor.n_features for t in potential.terms[:-1]] == [18, 18, 54] and len(potential.terms) == 4


TURBO = {"rcut_hard": "3.8", "rcut_soft": "3.2", "l_max": "2", "alpha_max": "3", "atom_sigma": "0.5", "compress_file": "list"}


def test_compression_as_a_list_of_features(tmp_path):
    (tmp_path / "list").write_text("3 3 2 3\n5\n1\n63\n")
    model = soap_turbo(TURBO, ("C", "Si"), "here", tmp_path)
    full, c = jaxpot.SOAP(model.density, normalize=False), np.random.default_rng(0).normal(size=(6, 9))
    chosen = np.asarray(full._invariants(c))[[4, 0, 62]]
    np.testing.assert_allclose(model._invariants(c), chosen / np.linalg.norm(chosen), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4 3 2 1\n5\n", "the descriptor has .3, 3, 2"),
        ("3 3 2 2\n5\n", "lists 1 features, its head says 2"),
        ("3 3 2 1\n64\n", "from 1 to 63"),
        ("3 3 2 1\nP_transformation\n1 1 1.0\n", "no end_transformation"),
    ],
)
def test_refused_compression_files(tmp_path, text, message):
    with pytest.raises(FileNotFoundError, match="compression should be in"):
        soap_turbo(TURBO, ("C", "Si"), "here", tmp_path)
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match=message):
        soap_turbo(TURBO, ("C", "Si"), "here", tmp_path)


@pytest.fixture
def copy(tmp_path):
    return lambda name: Path(shutil.copytree(HERE, tmp_path / "gap", copy_function=shutil.copy)) / f"{name}.xml"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("nb_sic", "order=3 compact_clusters=F", "order=3", "depends on the order of the atoms in the file"),
        ("nb_sic", "order=3", "order=4", "order=4 of distance_Nb"),
        ("nb_si", ">2 1 3 ", ">3 1 2 ", "permutations"),
        ("nb_si", "0.90000000000000002E+000 </theta>", "0.8 </theta>", "theta .* differs for sides"),
        ("core", "IP Glue", "IP SW", "IP SW.* is not implemented, only IP Glue"),
        ("core", '<point rho="1.0" E="0.0"/>', '<point rho="1.0" E="0.1"/>', "embedding energy of C"),
        ("core", 'num_points="6"', 'num_points="7"', "6 points, but num_points=7"),
        ("core", "Glue_params", "EAM_params", "expected one element Glue_params, found 0"),
        ("core", 'type1="1" type2="1"', 'type1="2" type2="1"', "two tables"),
        ("nb_si", "order=3", "order=3 only_intra=T", "only_intra=T of distance_Nb is not implemented"),
        ("turbo_si", "radial_enhancement=1", "radial_enhancement=1 poly=2", "poly=2 of soap_turbo is not implemented"),
        ("turbo_si", "basis=poly3", "basis=poly3operator", "basis=poly3operator of soap_turbo is not implemented"),
        ("turbo_si", "scaling_mode=polynomial", "scaling_mode=none", "scaling_mode=none of soap_turbo"),
        ("turbo_si", "rcut_soft=3.2", "rcut_soft=3.8", "rcut_soft must be below rcut_hard = 3.8"),
        ("turbo_si", "radial_enhancement=1", "radial_enhancement=1 central_weight={0.5}", "QUIP takes 1 instead of it"),
        ("turbo_si", "alpha_max={5}", "alpha_max={4}", "sparse points have 60 numbers; expected 40"),
        ("turbo_si", "atom_sigma_t={0.45}", "", "soap_turbo without atom_sigma_t or atom_sigma"),
        ("turbo_sic", "alpha_max={4 5}", "alpha_max={4 5 6}", "alpha_max has 3 numbers for 2 elements"),
        ("turbo_sic", "compress_mode=trivial", "compress_mode=1_2", "compress_mode=1_2 of soap_turbo is not implemented"),
        ("turbo_mode", "compress_mode=1_2", "compress_mode=1_3", "compress_mode=1_3 of soap_turbo is not implemented"),
        ("compressed", "nu_R=1", "nu_R=1 radial_basis=GTO", "radial_basis=GTO of soap is not implemented"),
    ],
)
def test_refused(copy, name, old, new, message):
    file = copy(name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_gap(file)
