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
        np.testing.assert_allclose(properties.forces[:n], s["forces"], rtol=0, atol=1e-10, err_msg=i)
        np.testing.assert_allclose(properties.virial, s["virial"], rtol=0, atol=1e-9, err_msg=i)
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
    ],
)
def test_refused(copy, name, old, new, message):
    file = copy(name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_gap(file)
