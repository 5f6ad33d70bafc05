"""Small GAPs made for these tests (gap_small/make.py) against quippy: descriptors that the published ones do not have."""

import re
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
    assert {type(basis).__name__ for basis in descriptor.expansion.radial} == {"Poly3" if name in ("turbo_si", "turbo_file") else "Poly3Gauss"}


def test_compressed_soap():
    potential = compare("compressed")
    assert [t.descriptor.n_features for t in potential.terms[:-1]] == [18, 18, 54] and len(potential.terms) == 4


TURBO = {"rcut_hard": "3.8", "rcut_soft": "3.2", "l_max": "2", "alpha_max": "3", "atom_sigma": "0.5", "compress_file": "list"}


def test_compression_as_a_list_of_features(tmp_path):
    (tmp_path / "list").write_text("3 3 2 3\n5\n1\n63\n")
    model = soap_turbo(TURBO, ("C", "Si"), "here", tmp_path)
    full, c = jaxpot.SOAP(model.expansion, normalize=False), np.random.default_rng(0).normal(size=(6, 9))
    chosen = np.asarray(full.of(c))[[4, 0, 62]]
    np.testing.assert_allclose(model.of(c), chosen / np.linalg.norm(chosen), rtol=1e-12)


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


def reversed_points(text):
    """The lines sparseX of every block in the other order, each with its own number."""
    return re.sub(r"(?:[ \t]*<sparseX [^\n]*\n)+", lambda found: "".join(reversed(found[0].splitlines(keepends=True))), text)


SUM = 'init_args="Sum init_args_pot1={IP Glue} init_args_pot2={IP GAP label=core}"'


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("core", lambda text: text.replace('do_core="T"', 'do_core="F"').encode()),  # QUIP goes by init_args
        ("core", lambda text: text.replace(SUM, 'init_args="Sum init_args_pot1={IP GAP label=core} init_args_pot2={ IP Glue }"').encode()),
        ("core", lambda text: reversed_points(text).encode()),
        ("nb_si", lambda text: text.replace("E+000", "D+000").encode()),
        ("nb_si", lambda text: re.sub(r"<Potential [^>]*>", "", text).encode()),
        ("nb_si", lambda text: re.sub(r' fitted="T"', "", text).encode()),
        ("turbo_si", lambda text: text.replace(' zeta="2.0000000000000000"', "").replace("<permutation", "<theta> 2.0 </theta><permutation").encode()),
        ("nb_si", lambda text: text.replace("<nb_si>", "<nb_si><!-- Universit\u00e4t -->").encode("latin-1")),
        ("nb_si", lambda text: ('<?xml version="1.0" encoding="iso-8859-1"?>' + text.replace("<nb_si>", "<nb_si><!-- \u00e4 -->")).encode("latin-1")),
        ("nb_si", lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")),
        ("nb_si", lambda text: text.encode("utf-16")),
    ],
    ids=["do_core", "sum", "order", "exponents", "no Potential", "no fitted", "zeta as theta", "latin-1", "declared", "dos", "utf-16"],
)
def test_the_same_potential(copy, name, change):
    file = copy(name)
    expected = read_gap(file)
    content = change(file.read_text())
    assert content != file.read_bytes()
    file.write_bytes(content)
    for points in file.parent.glob("*.sparse*"):
        points.write_bytes(points.read_bytes().replace(b"\n", b"\r\n"))
    assert read_gap(file) == expected


def test_energies_of_isolated_atoms(copy):
    """An attribute of GAP_data is for all elements without an element e0."""
    file = copy("nb_sic")
    isolated = read_gap(file).terms[-1]
    file.write_text(re.sub(r'<e0 Z="6"[^>]*>', "", file.read_text()).replace("<GAP_data ", '<GAP_data e0="-0.25" '))
    energies = dict(zip(isolated.species, np.asarray(isolated.values), strict=True))
    assert read_gap(file).terms[-1] == jaxpot.IsolatedAtoms(energies | {"C": -0.25})


BOMB = '<!DOCTYPE core [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("nb_si", 'fitted="T"', 'fitted="F"', "has not been fitted .*sparsify_only_no_fit"),
        ("nb_si", r'alpha="[^"]*"', 'alpha="0.0"', "has not been fitted: all its coefficients alpha are zero"),
        ("nb_si", r'alpha="[^"]*"', "", "alpha: expected a number, got ''"),
        ("nb_si", 'n_sparseX="5"', 'n_sparseX="6"', "i = 1 to n_sparseX = 6, each once, got 5"),
        ("nb_si", '<sparseX i="2"', '<sparseX i="1"', "each once"),
        ("nb_si", 'n_coordinate="2"', 'n_coordinate="1"', "n_coordinate=1, but 2 elements gpCoordinates"),
        ("nb_si", 'label="nb_si2"', 'label="nb_si3"', "number 2 has the label nb_si3; expected nb_si2"),
        ("nb_si", "label=nb_si", "label=other", "IP GAP label=other is not implemented, only IP GAP label=nb_si"),
        ("nb_si", "IP GAP label=nb_si", "IP GAP label=nb_si E_scale=2.0", "E_scale=2.0 is not implemented"),
        ("nb_si", '<Potential label="nb_si"', '<Potential calc_args="E_scale=2.0"', "the attribute calc_args of Potential is not implemented"),
        ("nb_si", 'n_permutations="6"', 'n_permutations="10000000"', "permutations 1 to 10000000 of 3 coordinates"),
        ("nb_si", 'dimensions="3"', 'dimensions="10000000"', "of 10000000 coordinates"),
        ("nb_si", "IP GAP label=nb_si", "IP SW", "IP SW is not implemented"),
        ("nb_si", 'do_core="F"', 'do_core="T"', "IP GAP label=nb_si is not implemented, only IP Glue"),
        ("nb_si", 'do_core="F"', 'do_core="yes"', "do_core: expected T or F, got 'yes'"),
        ("nb_si", 'do_core="F"', 'do_core="F" do_pca="T"', "do_pca=T is not implemented"),
        ("nb_si", 'do_core="F"', 'do_core="F" do_ewald="T"', "the attribute do_ewald=T of GAP_data is not implemented"),
        ("nb_si", "<GAP_data", "<water_monomer_params/><GAP_data", "an element water_monomer_params in GAP_params is not implemented"),
        ("nb_si", "<nb_si>", '<nb_si><GAP_params label="a"/>', r"2 elements GAP_params \(a, nb_si\)"),
        ("nb_si", "<nb_si>", '<nb_si><Potential init_args="IP GAP"/>', "2 elements Potential"),
        ("nb_si", r'signal_mean="[^"]*"', "", "gpCoordinates has no signal_mean"),
        ("nb_si", r'signal_mean="[^"]*"', 'signal_mean="0.5"', "a mean f0 = 0.5 is not implemented"),
        ("nb_si", 'sparsified="T"', 'sparsified="F"', "sparsified=F"),
        ("nb_si", 'covariance_type="1"', 'covariance_type="1" zeta="2.0"', "zeta=2.0 belongs to a dot product"),
        ("nb_si", "<theta>  0.1", "<theta> 0.2 0.1", "theta has 2 numbers; expected 1"),
        ("nb_si", 'n_permutations="6"', 'n_permutations="5"', "permutations 1 to 5 of 3 coordinates"),
        ("nb_si", r"0.90000000000000002E\+000 </theta>", "0.90000000000000013E+000 </theta>", "theta .* differs for sides"),
        ("nb_si", "Z={14 14 }", "Z={14 -1 }", "atomic number: expected a whole number from 0 to 118, got -1"),
        ("nb_si", "cutoff=3.5", "cutoff=3.5 cutoff=3.6", "has cutoff twice, 3.5 and 3.6"),
        ("nb_si", "order=2", "order=1000000000", "order=1000000000 of distance_Nb"),
        ("nb_sic", "compact_clusters=F", "compact_clusters=no", "compact_clusters: expected T or F"),
        ("core", "<core>", BOMB + "<core>", "declares a document type"),
        ("core", "IP Glue", "IP Glue E_scale=0.5", "E_scale=0.5.* is not implemented, only IP Glue"),
        ("core", r"init_args_pot1=\{IP Glue\}", "init_args_pot1={IP GAP label=a}", "is not implemented, only IP Glue"),
        ("core", 'num_points="6"', 'num_points="6" shift="1.0"', "potential_pair shift is not implemented"),
        ("core", 'atomic_num="6"', 'atomic_num="14"', "different types and elements"),
        ("core", 'r="1.5"', 'r="1.1"', "must ascend"),
        ("turbo_si", "l_max=3", "l_max=1000000000", "l_max: expected a whole number from 0 to 200, got 1000000000"),
        ("turbo_si", "alpha_max=.5.", "alpha_max={1000000000}", "alpha_max must be whole numbers from 1 to 200"),
        ("turbo_si", "alpha_max=.5.", "alpha_max={5.5}", "alpha_max must be whole numbers from 1 to 200"),
        ("turbo_si", 'zeta="2.0000000000000000"', "", "expected one zeta > 0"),
        ("turbo_sic", "central_index=1", "central_index=0", "central_index counts from 1, got 0"),
        ("turbo_sic", "n_species=2", "n_species=3", r"n_species=3, but species_Z=\{6 14\}"),
        ("compressed", "n_max=3", "n_max=1000000000", "n_max: expected a whole number from 0 to 200"),
        ("compressed", "Z=14", "Z=8", "the centre Z=8 is not among the species"),
        ("compressed", "K=3", "K=three", "K: expected an integer, got 'three'"),
    ],
)
def test_refused_files(copy, name, old, new, message):
    """One line, with the file; none of these is read as something else."""
    file = copy(name)
    text = file.read_text()
    changed = re.sub(old, lambda _: new, text)
    assert changed != text
    file.write_text(changed)
    with pytest.raises(ValueError, match=message) as caught:
        read_gap(file)
    assert "\n" not in str(caught.value) and file.name in str(caught.value)
