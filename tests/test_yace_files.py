"""Files of PACE potentials: what is read, what is written, and what both refuse."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from catalog import SPECIES, _pace, evaluate, graph, quick_jit

import jaxpot
from jaxpot import ACE, GTO, MLP, AtomicPotential, Density, IsolatedAtoms, Linear, TotalDegree, load, save
from jaxpot.cutoffs import CosineCutoff, PolynomialCutoff, PowerCutoff, Step
from jaxpot.descriptors import BondDensity, Constant, Listed, TurboDensity
from jaxpot.empirical import ByCoreEnergy, ByDistance, CoreRepulsion, LennardJones, ScreenedCore, Switched
from jaxpot.heads import Embedding, ShiftedPower, SmoothedPower
from jaxpot.io.yace import read_yace, write_yace
from jaxpot.io.yaml import read_yaml
from jaxpot.radial import Agnesi, ChebExpCos, ChebPow, Chebyshev, InnerCutoff, Poly3, SBessel
from jaxpot.radial.base import smeared

SMALL = Path(__file__).parent / "oracles" / "pace_small"

# ---- YAML


def test_yaml(tmp_path):
    """Blocks, brackets over several lines, lists under keys, keys that are lists, in both forms; words, numbers and truth values of YAML 1.2."""
    (tmp_path / "a").write_text(
        "---\na: [1, -2.5, .5, +1e-3, 1e5] # comment\nb:\n  c: {d: x y, 'e f': \"g#1\", h: [[1], []]}\n  [0, 1]:\n    i: true\nlist:\n- j: 1\n  k: 2\n"
        "-\n  - 3\n  - [4,\n     5]\nother:\n  - null\n  - word\n? [1, 0]\n: l: 1\n  m: 2\n? [1, 1]\n: n\nempty:\n"
    )
    found = read_yaml(tmp_path / "a")
    assert found == {
        "a": [1, -2.5, 0.5, 1e-3, 1e5], "b": {"c": {"d": "x y", "e f": "g#1", "h": [[1], []]}, (0, 1): {"i": True}},
        "list": [{"j": 1, "k": 2}, [3, [4, 5]]], "other": [None, "word"], (1, 0): {"l": 1, "m": 2}, (1, 1): "n", "empty": None,
    }  # fmt: skip
    assert isinstance(found["a"][0], int) and isinstance(found["a"][4], float)
    (tmp_path / "a").write_bytes("# größe\r\n[Y, No, N, on, off, '4', 010, 1:30, 1_000, 0x10, ~, False, 0.1, &here 7]\r\n".encode("latin-1"))
    assert read_yaml(tmp_path / "a") == ["Y", "No", "N", "on", "off", "4", 10, "1:30", "1_000", "0x10", None, False, 0.1, 7]


LAUGHS = "a: &a [1]\n" + "".join(f"{new}: &{new} [{', '.join(f'*{old}' for _ in range(10))}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a is empty; expected a YAML file"),
        ("# nothing\n", "is empty"),
        ("a: 1\na: 2\n", "line 2: the key a is given twice"),
        ("a: {b: 1, b: 2}\n", "line 1: the key b is given twice"),
        ("[0, 1]: a\n? [0, 1]\n: b\n", r"the key \(0, 1\) is given twice"),
        ("a: [1, 2\n", "did not find expected"),
        ("a: 1\n  b: 2\n", "line 2: mapping values are not allowed in this context at 'b: 2'"),
        ("a: 1\njust words\n", "line 3: could not find expected ':'"),
        ("a: &x [*x]\n", r"line 1: the alias \*x stands for nothing before it"),
        (LAUGHS, r"line 8: aliases such as \*g stand for more than 10000000 values"),
        ("a: !!python/object:os.system ls\n", "the tag tag:yaml.org,2002:python/object:os.system is not read"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        ("? {a: 1}\n: 2\n", "expected a word, a number or a list of them as a key"),
        ("a:\n\t- 1\n", "cannot start any token"),
        ("a: " + "[" * 100_000, "line 1: "),
        ("a: " + "9" * 5000, "too large for an integer"),
    ],
)
def test_what_is_no_such_yaml(tmp_path, text, message):
    (tmp_path / "a").write_text(text)
    with pytest.raises(ValueError, match=message) as found:
        read_yaml(tmp_path / "a")
    assert "\n" not in str(found.value) and str(tmp_path / "a") in str(found.value)


def test_what_is_no_text(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-16; expected a YAML file"):
        read_yaml(tmp_path / "a")
    for suffix in ("yace", "ace", "yaml"):
        with pytest.raises(FileNotFoundError, match="no file at"):
            read_yace(tmp_path / f"b.{suffix}")


# ---- reading


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("deltaSplineBins: 0.0001", "summed_neighbour_A: true", "the key summed_neighbour_A is not implemented"),
        ("elements: [C, Si]", "elements: [C, Xx]", "not chemical symbols"),
        ("elements: [C, Si]", "species: [C, Si]", "the key E0 is not implemented"),
        ("E0: [-1.5, 0.25]", "E0: [-1.5]", r"E0: expected numbers of shape \(2,\), got shape \(1,\)"),
        ("E0: [-1.5, 0.25]", "E0: [-1.5, nan]", "E0: expected a number, got 'nan'"),
        ("E0: [-1.5, 0.25]", "E0: [-1.5, 1e999]", "E0: expected a number, got 'inf'"),
        ("E0: [-1.5, 0.25]", "E0: [-1.5, true]", "E0: expected a number, got 'True'"),
        ("E0: [-1.5, 0.25]", "E0: [−1.5, 0.25]", "write a plain - for the minus"),
        ("E0: [-1.5, 0.25]\n", "", "lacks E0"),
        ("npoti: FinnisSinclairShiftedScaled", "npoti: Tanh", "npoti Tanh is not implemented; expected FinnisSinclairShiftedScaled or FinnisSinclair"),
        ("FS_parameters: [1, 1, 1, 0.5]", "FS_parameters: [1, 1]", r"FS_parameters, two for each of 2 densities: expected numbers of shape \(4,\)"),
        ("rho_core_cutoff: 6.0", "rho_core_cutoff: 5.0", "drho_core_cutoff <= rho_core_cutoff"),
        ("rho_core_cutoff: 6.0, ", "", "embedding of C lacks rho_core_cutoff"),
        ("  1: {ndensity", "  2: {ndensity", r"embeddings are given for \[\(0,\), \(2,\)\]"),
        ("  [1, 0]: {", "  [1, 2]: {", "bonds are given for"),
        ("radbasename: ChebExpCos", "radbasename: ACE.jl.base", "the radial functions ACE.jl.base are not implemented"),
        ("radbasename: ChebExpCos", "radbasename: Tabulated", r"bond \(0, 0\) lacks radtable"),
        ("radparameters: [2.0]", "radparameter: [2.0]", "the key radparameter is not implemented"),
        ("nradbasemax: 5", "nradbasemax: 6", r"shape \(2, 3, 6\), got shape \(2, 3, 5\)"),
        ("radparameters: [2.0]", "radparameters: 2.0", r"radparameters: expected numbers of shape \(1,\)"),
        ("rcut: 4.0", "rcut: far", r"bond \(0, 0\): rcut: expected a number, got 'far'"),
        ("inner_cutoff_type: distance", "inner_cutoff_type: energy", "inner_cutoff_type energy is not implemented"),
        ("inner_cutoff_type: distance", "inner_cutoff_type: density", "expected one for all"),
        ("rcut_in: 1.5, dcut_in: 0.4", "rcut_in: 1.5, dcut_in: 0", "is a jump; expected dcut_in > 0"),
        ("rcut_in: 1.5, dcut_in: 0.4, inner_cutoff_type: distance", "rcut_in: 1.5, dcut_in: 0.4, inner_cutoff_type: density", "jump at rcut_in"),
        ("rcut_in: 0, dcut_in: 0, inner_cutoff_type: distance", "rcut_in: 0, dcut_in: 0, inner_cutoff_type: zbl", "zbl needs rcut_in > 0"),
        ("mus: [0], ns: [1]", "mus: [2], ns: [1]", "function 0 of C: mus, ns, ls or ms_combs are out of range"),
        ("mus: [0], ns: [1]", "mus: [0], ns: [6]", "out of range"),
        ("ls: [0], ms_combs: [0]", "ls: [1], ms_combs: [0]", "out of range"),
        ("mu0: 0, rank: 1", "mu0: 1, rank: 1", "mu0 = 1 and ndensity = 2; the list is of 0"),
        ("rank: 1, ndensity: 2", "rank: 1, ndensity: 1", "ndensity = 1; the list is of 0, whose embedding has 2"),
        ("ctildes: [", "ctildes: [1, ", r"function 0 of C: ctildes, num_ms_combs × ndensity: expected numbers of shape \(2,\), got shape \(3,\)"),
        ("num_ms_combs: 2,", "num_ms_combs: 3,", "ms_combs has 4 numbers"),
        ("ms_combs: [0, 0, 1, -1]", "ms_combs: [0, 0, 1, 1]", r"l = \(1, 1\) is not invariant"),
        ("ctildes: [", "c_tildes: [", "the key c_tildes is not implemented"),
    ],
)
def test_refused(tmp_path, old, new, message):
    text = (SMALL / "distance.yace").read_text()
    assert old in text
    (tmp_path / "a.yace").write_text(text.replace(old, new, 1))
    with pytest.raises((ValueError, TypeError), match=message):
        read_yace(tmp_path / "a.yace")


PAIRS = """elements: [Al]
E0: [-1.5]
deltaSplineBins: 0.001
embeddings:
  0: {ndensity: 1, FS_parameters: [1, 1], npoti: FinnisSinclairShiftedScaled, rho_core_cutoff: 100000, drho_core_cutoff: 250}
bonds:
  [0, 0]: {nradmax: 1, lmax: 0, nradbasemax: 3, radbasename: ChebExpCos, radparameters: [5.25], radcoefficients: [[[1, 0, 0]]], rcut: 6, dcut: 0.01}
functions:
  0:
    - {mu0: 0, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [1], ls: [0], ms_combs: [0], ctildes: [1.3]}
    - {mu0: 0, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [3], ls: [0], ms_combs: [0], ctildes: [-0.4]}
"""


def written(path, text, *changes):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@quick_jit
def energy(potential, graph):
    return potential(graph)


def test_pairs_alone(tmp_path):
    """Radial functions of products are not needed, however that is written; neither are integers without a point, nor any one encoding."""
    expected = read_yace(written(tmp_path / "a.yace", PAIRS))
    atoms = bulk("Al", a=4.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    assert abs(float(energy(expected, jaxpot.from_atoms(atoms, 6.0))) - 42.89046487) < 1e-8
    none = ("nradmax: 1", "nradmax: 0"), ("[[[1, 0, 0]]]", "[]")
    for changes in (
        none, (*none, ("lmax: 0", "lmax: 0.0")), ((": 3,", ": 3.0,"), ("rank: 1,", "rank: 1.0,")), ((": 3,", ': "3",'),), (("[1]", "['1']"),),
        (("[3]", "[3.0]"), ("[1.3]", "['1.3']")), (("[0, 0]:", "? [0, 0]\n  :"),), (("functions:\n  0:", "functions:\n  '0':"),), (("deltaSplineBins: 0.001\n", ""),),
        (("E0: ", "metadata: {by: a person, at: 12:30}\nE0: "),), (("rank: 1, ", "rank: &one 1, "), ("mu0: 0", "mu0: 0")),
    ):  # fmt: skip
        assert read_yace(written(tmp_path / "b.yace", PAIRS, *changes)) == expected, changes
    for raw in (PAIRS.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + PAIRS.encode(), ("# gr\xf6\xdfe \x85\n" + PAIRS).encode("latin-1")):
        assert read_yace(written(tmp_path / "b.yace", raw)) == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nradmax: 1,", "nradmax: 1000000000,", "nradmax: expected an integer from 0 to 1000, got 1000000000"),
        ("lmax: 0,", "lmax: 1000000,", "lmax: expected an integer from 0 to 40"),
        ("lmax: 0,", "lmax: 0.5,", "lmax: expected an integer, got '0.5'"),
        ("lmax: 0,", "lmax: true,", "lmax: expected an integer, got 'True'"),
        ("lmax: 0,", "lmax: ,", "lmax: expected an integer, got 'None'"),
        ("lmax: 0,", "lmax: -1,", "lmax: expected an integer from 0 to 40, got -1"),
        ("nradbasemax: 3,", "nradbasemax: 0,", "nradbasemax: expected an integer from 1 to 1000, got 0"),
        ("ndensity: 1, FS", "ndensity: 1000000000, FS", "ndensity: expected an integer from 1 to 1000"),
        ("rank: 1,", "rank: 50,", "rank: expected an integer from 1 to 10, got 50"),
        ("num_ms_combs: 1,", "num_ms_combs: 1000000000,", "num_ms_combs: expected an integer from 0"),
        ("nradmax: 1,", "nradmax: 0,", r"radcoefficients are given for nradmax 0; expected radcoefficients: \[\]"),
        ("ns: [1]", "ns: 1", "ns: expected a list of integers, got '1'"),
        ("ctildes: [1.3]", "ctildes: [true]", "ctildes.* expected a number, got 'True'"),
        ("ctildes: [1.3]", "ctildes: [null]", "ctildes.* expected a number, got 'None'"),
        ("ctildes: [1.3]", "ctildes: [1.0D-3x]", "expected a number"),
        ("ctildes: [1.3]", "ctildes: [1e308]", "function 0 of Al: ctildes.* not finite"),
        ("FS_parameters: [1, 1]", "FS_parameters: [1, 0]", "exponents must be > 0"),
        ("rcut: 6", "rcut: -6", "expected rcut > 0, got -6.0"),
        ("elements: [Al]", "elements: Al", r"elements: expected a list such as \[Si, O\]"),
        ("elements: [Al]", "elements: [Al, Al]", "has repetitions"),
        ("  0: {ndensity", "  ALL: {ndensity", "is an input file of pacemaker"),
        ("[0, 0]: {", "ALL: {", "is an input file of pacemaker"),
        ("elements:", "potential: {}\nelements:", "is an input file of pacemaker"),
        ("functions:\n  0:", "functions: 3\nx:", "the key x is not implemented"),
    ],
)
def test_refused_before_any_work(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message) as found:
        read_yace(written(tmp_path / "a.yace", PAIRS, (old, new)))
    assert "a.yace" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("rank", range(2, 7))
def test_only_invariants(tmp_path, rank):
    """One coefficient of a thousand parts in ten thousand too large, in a function of every number of factors, of one density of two."""
    text = (SMALL / "blocks.yace").read_text()
    head, own = text.split(f"rank: {rank}, ", 1)
    values = re.search(r"ctildes: \[(.*?)\]", own)
    numbers = values[1].split(", ")
    assert len(numbers) > 2
    numbers[-1] = repr(float(numbers[-1]) * 1.0001)
    (tmp_path / "a.yace").write_text(head + f"rank: {rank}, " + own[: values.start(1)] + ", ".join(numbers) + own[values.end(1) :])
    with pytest.raises(ValueError, match="is not invariant under rotations and inversion"):
        read_yace(tmp_path / "a.yace")


# ---- tables


def tabulated(functions, bins=600, **entries):
    """The bond of PAIRS with the functions in a table."""
    r = np.linspace(0, 6, bins + 1)
    value, slope = jax.jit(lambda r: jax.jvp(lambda x: functions(x, jnp.float64(6.0)), (r,), (jnp.ones_like(r),)))(r)  # one compilation
    gk = [{"k": k + 1, "f": np.asarray(value[:, k]).tolist(), "df": np.asarray(slope[:, k]).tolist()} for k in range(functions.n_max)]
    return str({"nbins": bins, "gk": gk} | entries)


def test_tables_of_radial_functions(tmp_path):
    """Cubic between the rows that the file gives, so with a fine table the functions themselves; functions left out are zero."""
    functions = ChebExpCos(3, lam=5.25, width=0.01)
    change = "radbasename: ChebExpCos, radparameters: [5.25], radcoefficients: [[[1, 0, 0]]]"
    table = read_yace(written(tmp_path / "b.yace", PAIRS, (change, f"radbasename: Tabulated, radtable: {tabulated(functions)}")))
    basis, r = table.terms[0].descriptor.expansion.radial, np.array([0.0, 0.7, 2.111, 4.99, 5.9, 6.0, 7.0])
    found, expected = jax.jit(lambda r: (basis(r, jnp.float64(6.0)), functions(r, jnp.float64(6.0))))(r)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    with pytest.raises(TypeError, match="not RadialTable"):
        write_yace(tmp_path / "c.yace", table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{nbins: 1000000000, gk: [], rnl: []}", "nbins: expected an integer from 1 to 10000000"),
        ("{nbins: 2, gk: [], rnl: []}", "neither gk nor rnl"),
        ("{nbins: 2, gk: [{k: 4, f: [1, 2, 0], df: [1, 1, 0]}]}", "gk: k: expected an integer from 1 to 3, got 4"),
        ("{nbins: 2, gk: [{k: 1, f: [1, 2], df: [1, 1, 0]}]}", r"gk \(1,\), nbins \+ 1 numbers each: f: expected numbers of shape \(3,\), got shape \(2,\)"),
        ("{nbins: 2, gk: [{k: 1, f: [1, 2, 0], df: [1, 1, 0]}, {k: 1, f: [1, 2, 0], df: [1, 1, 0]}]}", "gk gives the function k = 1 twice"),
        ("{nbins: 2, rnl: [{n: 1, l: 1, f: [1, 2, 0], df: [1, 1, 0]}]}", "rnl: l: expected an integer from 0 to 0, got 1"),
        ("{nbins: 2, gk: [{k: 1, f: [1, 2, 0]}]}", "gk lacks df"),
        ("{nbins: 2, step: 3}", "the key step is not implemented"),
    ],
)
def test_refused_tables(tmp_path, table, message):
    change = ("radbasename: ChebExpCos, radparameters: [5.25], radcoefficients: [[[1, 0, 0]]]", f"radbasename: Tabulated, radtable: {table}")
    with pytest.raises(ValueError, match=message):
        read_yace(written(tmp_path / "a.yace", PAIRS, change))


# ---- B-functions of pacemaker


def test_both_forms_of_pacemaker(tmp_path):
    """The same potential from B-functions, from what python-ace makes of them, and as written here; every centre has its own embedding."""
    same(read_yace(SMALL / "blocks.yaml"), read_yace(SMALL / "blocks.yace"))
    read = read_yace(SMALL / "blocks.yaml")
    head = read.terms[0].potential.head
    assert [type(power) for power in head.power] == [SmoothedPower, ShiftedPower]
    assert "skip: true" in (SMALL / "blocks.yaml").read_text() and read.terms[1].values.tolist() == [0.0, 0.0]
    same(read_yace(write_yace(tmp_path / "a.yace", read)), read)


def test_pairs_without_a_block(tmp_path):
    """A centre does not see neighbours that no block of it names, and what blocks of both orders say holds for both."""
    text = (SMALL / "blocks.yaml").read_text()
    one_way = read_yace(written(tmp_path / "a.yaml", text[: text.index("  - speciesblock: Si C")]))
    core = one_way.terms[0].core
    assert np.array_equal(core.prefactor > 0, [[True, True], [False, True]])
    none = read_yace(written(tmp_path / "a.yaml", text[: text.index("  - speciesblock: C Si")]))
    assert np.array_equal(none.terms[0].core.prefactor > 0, np.eye(2))
    channels = none.terms[0].potential.descriptor.expansion.n_max
    table = none.terms[0].potential.head.coefficients.reshape(2, 2, -1)  # [density, centre, function]
    for (factors, _), row in zip(none.terms[0].potential.descriptor.labels(), np.moveaxis(table, -1, 0), strict=True):
        for mu in range(2):
            assert not np.any(row[:, mu]) or all(q // channels == mu for q, _ in factors)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("speciesblock: C\n", "speciesblock: C Si Ge\n", "has no block of C alone, with its embedding; expected speciesblock: C"),
        ("speciesblock: C Si\n", "speciesblock: Si\n", "expected elements that no other block has, got speciesblock: Si"),
        ("speciesblock: C Si\n", "speciesblock: C Xx\n", "not chemical symbols"),
        ("    ndensityi: 2\n", "    ndensityi: 3\n", "c, one for each of ndensityi: expected numbers of shape"),
        ("    ndensityi: 2\n", "", "block Si lacks ndensityi"),
        ("    radbase: ChebExpCos\n", "", "block C Si lacks radbase"),
        ("    radbase: ChebExpCos\n", "    radbase: GTO\n", "the radial functions GTO are not implemented"),
        ("    radbase: ChebExpCos\n", "    radbase: ChebExpCos\n    new: 1\n", "the key new is not implemented"),
        ("  - speciesblock: Si C\n", "  - speciesblock: Si C\n    rcutij: 9.0\n", "rcutij is 4.4, but 9.0 in the block of the other order"),
        ("  - speciesblock: Si C\n", "  - speciesblock: Si C\n    npoti: x\n", "the key npoti is one of blocks of one element"),
        ("type: C Si C,", "type: C Si Ge,", "type: expected elements of its block, C first, got 'C Si Ge'"),
        ("type: C Si C,", "type: Si Si C,", "type: expected elements of its block, C first"),
        ("nl: [1, 1, 2], lint: [2]", "nl: [1, 1, 2], lint: [1]", "couple to no invariant"),
        ("nl: [1, 1, 2], lint: [2]", "nl: [1, 1, 2], lint: [2, 2]", "3 numbers nr and nl and 1 numbers lint"),
        ("nl: [1, 1, 2], lint: [2]", "nl: [1, 1, 2]", "3 numbers nr and nl and 1 numbers lint"),
        ("nl: [1, 1, 2], lint: [2]", "nl: [1, 1, 9], lint: [9]", "nl = 9 are out of range"),
        ("nl: [1, 1, 2], lint: [2]", "nl: [0, 1, 2], lint: [1]", "couple to no invariant"),
        (", skip: true", ", skip: 3", "skip: expected true or false, got '3'"),
        ("lmaxi: 2", "lmaxi: 1000000", "lmax: expected an integer from 0 to 1000"),
        ("nradmaxi: 2", "nradmaxi: 3", "radcoefficients"),
        ("global:\n", "cutoff: 7\nglobal:\n", "the key cutoff is not implemented"),
    ],
)
def test_refused_blocks(tmp_path, old, new, message):
    text = (SMALL / "blocks.yaml").read_text()
    assert old in text
    (tmp_path / "a.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as found:
        read_yace(tmp_path / "a.yaml")
    assert "a.yaml" in str(found.value) and "\n" not in str(found.value)


ACECOEFF = "# FitSNAP\n\n1 3\nAl\n -2.5   #  B[0] \n 1.3   #  B[1, 0, 0, 1, 0] \n -0.4   #  B[2, 0, 0, 3, 0] \n\n# End of potential"


def test_coefficients_apart(tmp_path):
    couplings = written(tmp_path / "a.yace", PAIRS, ("[1.3]", "[1.0]"), ("[-0.4]", "[1.0]"))
    whole = read_yace(written(tmp_path / "b.yace", PAIRS, ("E0: [-1.5]", "E0: [-2.5]")))
    assert read_yace(couplings, written(tmp_path / "a.acecoeff", ACECOEFF)) == whole
    alone = written(tmp_path / "c.acecoeff", ACECOEFF, (" -2.5   #  B[0] \n", ""))
    assert read_yace(couplings, alone).terms[1].values.tolist() == [-1.5]
    for path, coefficients, message in (
        (tmp_path / "a.acecoeff", None, "holds coefficients alone; write read_yace"),
        (tmp_path / "b.yace", tmp_path / "a.acecoeff", "have their coefficients already; leave out coefficients='a.acecoeff'"),
        (couplings, written(tmp_path / "d.acecoeff", ACECOEFF, (" 1.3 ", " 1.3\n 1.4\n")), "4 coefficients of Al; .* has 2 functions"),
        (couplings, written(tmp_path / "e.acecoeff", ACECOEFF, ("Al\n", "Si\n")), r"is of the elements \['Si'\]"),
        (couplings, written(tmp_path / "f.acecoeff", ACECOEFF, (" 1.3 ", " 1.3 1.4")), "expected an element or one coefficient"),
        (couplings, couplings, "expected the numbers of elements and functions"),
    ):
        with pytest.raises(ValueError, match=message):
            read_yace(path, coefficients)


ACE_FILE = """# DATE
nelements=1
elements: Cu

lmax=1
embedding-function: FinnisSinclair
2 FS parameters:  1.0 0.5
core energy-cutoff parameters: 100000.0 250.0
E0: -0.25

radbasename=SBessel
nradbase=2
nradmax=1
cutoffmax=4.0
deltaSplineBins=0.001
core repulsion parameters: 0.0 1.0
radparameter= 1.0
cutoff= 4.0
dcut= 0.01
crad= 1.0 0.5
 0.0 -0.5

rankmax=2
ndensitymax=1

num_c_tilde_max=2
num_ms_combinations_max=2
total_basis_size_rank1: 1
ctilde_basis_func: rank=1 ndens=1 mu0=0 mu=( 0 )
n=( 2 )
l=( 0 )
num_ms=1
< 0 >:  0.7
total_basis_size: 1
ctilde_basis_func: rank=2 ndens=1 mu0=0 mu=( 0  0 )
n=( 1  1 )
l=( 1  1 )
num_ms=2
<  0  0 >:  0.5
<  1  -1 >:  -1.0
"""


def test_ace_files(tmp_path):
    (tmp_path / "a.ace").write_text(ACE_FILE)
    model, energies = read_yace(tmp_path / "a.ace").terms
    assert energies == IsolatedAtoms({"Cu": -0.25})
    assert model.descriptor.expansion == BondDensity(("Cu",), [[4.0]], SBessel(2), 1, mixing=np.array([[[[[1.0], [0.0]], [[0.5], [-0.5]]]]]))
    assert model.descriptor.labels() == ((((2, 0),), 0), (((0, 1), (0, 1)), 0))
    np.testing.assert_allclose(model.head.coefficients, [[0.7 * np.sqrt(4 * np.pi), -0.5 * np.sqrt(3) * 4 * np.pi]])
    assert model.head.power == SmoothedPower() and model.head.exponents.tolist() == [0.5]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nelements=1", "nelements=2", "only .ace files of one element"),
        ("nelements=1", "elements: Cu", "expected nelements="),
        ("lmax=1", "lmax=1.5", "expected 1 whole numbers after lmax="),
        ("lmax=1", "lmax=-1", "expected a count after lmax=, got -1"),
        ("nradbase=2", "nradbase=2000000", "expected a count after nradbase="),
        ("num_ms=2", "num_ms=999999999", "expected a count after num_ms="),
        ("crad= 1.0", "crad= x", "expected a number, got 'x'"),
        ("crad= 1.0", "crad=", "expected a number, got 'rankmax'"),
        ("num_ms=2", "num_ms=3", "expected <"),
        ("<  1  -1 >:  -1.0\n", "<  1  -1 >:  -1.0\nmore", "cannot read more after the last function"),
        ("-1.0\n", "", "ends before the 1 numbers"),
        ("radbasename=SBessel", "radbasename=GTO", "the radial functions GTO are not implemented"),
    ],
)
def test_refused_ace_files(tmp_path, old, new, message):
    assert old in ACE_FILE
    (tmp_path / "a.ace").write_text((ACE_FILE[::-1].replace(old[::-1], new[::-1], 1))[::-1])
    with pytest.raises(ValueError, match=message):
        read_yace(tmp_path / "a.ace")


# ---- writing


def density(**changes):
    return Density(SPECIES, Step(3.6), ChebExpCos(3, lam=2.0, width=0.3), 2, sigma=None, center_weight=0.0).replace(**changes)


def ace(density, **changes):
    return ACE(density, TotalDegree((3, 2, 2)), **changes)


def linear(descriptor):
    n = len(descriptor.species) * descriptor.n_features
    return AtomicPotential(descriptor, Linear(coefficients=np.random.default_rng(0).normal(size=n)))


def same(one, other):
    (a, structure), (b, other_structure) = (jax.tree_util.tree_flatten(x) for x in (one, other))
    assert structure == other_structure
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


def test_everything_that_is_read_is_written(tmp_path):
    """Trainable radial functions in all orders, embeddings and cores of every element; `save` as well."""
    model = _pace()
    chebyshev, inner = model.potential.descriptor.expansion.radial
    bonds = model.potential.descriptor.expansion.replace(radial=(chebyshev, inner.basis))  # a core without an inner cutoff excludes that of others
    model = model.replace(potential=model.potential.replace(descriptor=model.potential.descriptor.replace(expansion=bonds)))
    first = read_yace(write_yace(tmp_path / "a.yace", model))
    same(first, read_yace(write_yace(tmp_path / "b.yace", first)))
    assert load(save(tmp_path / "c", first)) == first
    read = first.terms[0]
    for one, other in ((read.core, model.core), (read.switch, model.switch)):
        for x, y in zip(*map(jax.tree_util.tree_leaves, (one, other)), strict=True):
            assert np.array_equal(x, np.broadcast_to(y, np.shape(x)))
    # what one mixed radial function or a function of one factor is may change places, so the leaves differ
    found, expected = (evaluate(m, graph("molecule")) for m in (first, model))
    for one, other in ((found.energy, expected.energy), (found.forces, expected.forces), (found.virial, expected.virial)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_terms_of_a_sum(tmp_path):
    """Constants of both kinds, and a core that switches nothing off."""
    core = CoreRepulsion(SPECIES, 30.0, 0.5, 3.6)
    constants = AtomicPotential(Constant(SPECIES), Linear(coefficients=np.array([1.0, 2.0])))
    model = linear(ace(density())) + core + constants + IsolatedAtoms({"Si": 0.5})
    read = read_yace(write_yace(tmp_path / "a.yace", model))
    assert read.terms[1] == IsolatedAtoms({"C": 1.0, "Si": 2.5})
    same(read.terms[0].core, CoreRepulsion(SPECIES, np.full((2, 2), 30.0), np.full((2, 2), 0.5), np.full((2, 2), 3.6)))
    assert float(read.terms[0].switch.cutoff[0]) >= 1e30


def test_other_radial_functions(tmp_path):
    """One element whose channels mix its radial functions, one set for every degree; python-ace reads others in oracles/test_pace_written.py."""
    mixing = np.random.default_rng(1).normal(size=(1, 3, 5, 2))
    density = Density(("Si",), PolynomialCutoff(3.6), Chebyshev(5), 2, sigma=None, center_weight=0.0, mixing=mixing)
    model = linear(ace(density))
    read = read_yace(write_yace(tmp_path / "a.yace", model))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    found, expected = (evaluate(m, jaxpot.from_atoms(atoms, 3.6)) for m in (read, model))
    for one, other in ((found.energy, expected.energy), (found.forces, expected.forces), (found.virial, expected.virial)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_radial_functions_that_are_hardly_smooth_enough(tmp_path):
    with pytest.warns(UserWarning, match=r"Agnesi with PowerCutoff from 0 to 8 Å as 96 ChebExpCos: off by .* largest slope"):
        write_yace(tmp_path / "a.yace", linear(ace(density(cutoff=PowerCutoff(8.0), radial=Agnesi(8, nearest=0.5)))))


def test_a_centre_without_functions_is_kept(tmp_path):
    model = linear(ace(density()))
    model = model.replace(head=model.head.replace(coefficients=model.head.coefficients * (np.arange(model.n_coefficients) < model.n_coefficients // 2)))
    text = write_yace(tmp_path / "a.yace", model).read_text()
    assert "mu0: 1, rank: 1" in text and "mu0: 1, rank: 2" not in text
    assert not np.any(read_yace(tmp_path / "a.yace").terms[0].head.coefficients.reshape(2, -1)[1])


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (TypeError, lambda: linear(ace(density())) + LennardJones(SPECIES, 0.3, 1.2, Step(3.0)), "cannot hold LennardJones; .* hybrid/overlay"),
        (TypeError, lambda: AtomicPotential(ace(density()), MLP((4,))), r"cannot hold AtomicPotential\(ACE, MLP\)"),
        (ValueError, lambda: linear(ace(density())) + linear(ace(density())), "got 2 and 0"),
        (ValueError, lambda: AtomicPotential(ace(density()), Linear()), "no coefficients yet"),
        (ValueError, lambda: linear(ace(density())) + AtomicPotential(Constant(SPECIES), Linear()), "no coefficients yet"),
        (ValueError, lambda: linear(ace(density())) + IsolatedAtoms({"Ge": 1.0}), "constants of Ge"),
        (ValueError, lambda: linear(ace(density(radial=Agnesi(3, nearest=1.5)))), "Agnesi with Step from 0 to 3.6 Å .* and fit again"),
        (ValueError, lambda: linear(ace(density(radial=Chebyshev(3), cutoff=CosineCutoff(3.6, width=1.0)))), "a plateau .* write a cutoff such as PowerCutoff"),
        (ValueError, lambda: linear(ace(Density(SPECIES, PowerCutoff(3.0), GTO(2), 2, sigma=0.5))), "write center_weight=0.0 and fit again"),
        (TypeError, lambda: linear(ace(TurboDensity(SPECIES, 3.0, Poly3(2), l_max=2, sigma=0.5, sigma_angular=0.5))), "not of TurboDensity"),
        (ValueError, lambda: linear(ace(density(channels=np.ones((2, 1))))), "leave out channels"),
        (ValueError, lambda: linear(ace(density(), lam=1)), "expected lam=0"),
        (
            ValueError,
            lambda: AtomicPotential(ace(density()), Embedding(np.ones((1, 2 * ace(density()).n_features)), np.array([0.5]), np.ones(1), SmoothedPower(10.0))),
            "steepness=10",
        ),
        (TypeError, lambda: Switched(linear(ace(density())), ScreenedCore(SPECIES, 3.6, 0.3), ByCoreEnergy(9.0, 1.0)), "ScreenedCore switched ByCoreEnergy"),
        (ValueError, lambda: linear(ace(density())) + CoreRepulsion(SPECIES, 30.0, 0.5, 3.0), "core repulsion of C-C must be ≥ 0 and have the radius"),
        (ValueError, lambda: linear(ace(density())) + CoreRepulsion(SPECIES, 30.0, 0.5, 3.6, 1.5, 0.2), "and the inner cutoff"),
        (ValueError, lambda: linear(ace(density(radial=InnerCutoff(ChebPow(3, lam=2.0), 1.5, 0.2)))) + CoreRepulsion(SPECIES, 30.0, 0.5, 3.6), "inner cutoff"),
        (ValueError, lambda: Switched(linear(ace(density())), ScreenedCore(SPECIES, 3.6, 0.5), ByDistance(1.0, 0.2)), "radius and width"),
        (ValueError, lambda: linear(ace(density())) + CoreRepulsion(SPECIES[::-1], 30.0, 0.5, 3.6), "expected the same order"),
    ],
)
def test_what_files_cannot_hold(tmp_path, error, make, message):
    with pytest.raises(error, match=message):
        write_yace(tmp_path / "a.yace", make())
    assert not list(tmp_path.iterdir())


# ---- classes


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: BondDensity(SPECIES, 3.0, ChebExpCos(2, lam=1.0), -1), "l_max"),
        (TypeError, lambda: BondDensity(SPECIES, 3.0, Chebyshev(2), 1), "expected radial functions such as ChebExpCos.*Chebyshev"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, (SBessel(2), SBessel(3)), 1, kinds=((0, 1), (1, 0))), r"one n_max, got \[2, 3\]"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, (SBessel(2), SBessel(2)), 1), "give both or neither"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, SBessel(2), 1, kinds=((0, 0), (0, 0))), "give both or neither"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, (SBessel(2), SBessel(2)), 1, kinds=((0, 2), (1, 0))), "kinds must be 2 tuples of 2 numbers below 2"),
        (ValueError, lambda: BondDensity(SPECIES, [3.0, 4.0], SBessel(2), 1), r"shape \[\] or \[2, 2\], got \(2,\)"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, ChebPow(2, lam=[1.0, 2.0]), 1), r"shape \[\] or \[S, S\], got \(2,\)"),
        (ValueError, lambda: BondDensity(SPECIES, 3.0, SBessel(2), 1, mixing=np.ones((2, 2, 2, 3, 1))), r"mixing must have shape \[2, 2, 2, 2, 'n'\]"),
        (TypeError, lambda: InnerCutoff(Chebyshev(2), 1.0, 0.2), "expected ChebExpCos.*Chebyshev"),
        (ValueError, lambda: ChebPow(2, lam=-1.0), "lam must be > 0"),
        (ValueError, lambda: SBessel(0), "n_max must be a positive integer"),
        (ValueError, lambda: smeared(SBessel(2), np.ones(1), 1, 4.0, 0.5), "write Density.*sigma=None"),
        (TypeError, lambda: ACE(SBessel(2), TotalDegree((2,))), "expected a Density, a BondDensity or another expansion, got SBessel"),
        (ValueError, lambda: Listed(()), "expected products such as"),
        (ValueError, lambda: Listed((((0, 0),), ())), "expected products such as"),
        (ValueError, lambda: Listed((((0, 0, 1),),)), "expected products such as"),
        (ValueError, lambda: Listed((((0, -1),),)), "expected products such as"),
        (ValueError, lambda: Listed((((0, 1), (2, 1)), ((2, 1), (0, 1)))), "listed twice"),
        (ValueError, lambda: ACE(density(), Listed((((6, 0),),))), r"up to \(q, l\) = \(6, 0\), the density has 6 channels"),
        (ValueError, lambda: ACE(density(), Listed((((5, 3), (5, 3)),))), "l_max = 2"),
        (ValueError, lambda: ACE(density(mixing=np.ones((2, 3, 2))), Listed((((1, 0),),)), tensor_reduced=True), "multiplies equal ones: q = 0"),
        (ValueError, lambda: ACE(density(), Listed((((0, 0),), ((0, 1), (3, 2))))), r"nothing of the product \(\(0, 1\), \(3, 2\)\) has lam = 0"),
        (ValueError, lambda: CoreRepulsion(SPECIES, 1.0, 1.0, 3.0, inner=1.0), "both inner and inner_width"),
        (ValueError, lambda: CoreRepulsion(SPECIES, [1.0, 2.0], 1.0, 3.0), r"prefactor must have shape \[\] or \[2, 2\]"),
        (ValueError, lambda: ScreenedCore(SPECIES, 3.0, [1.0, 2.0]), "width must have shape"),
        (TypeError, lambda: Switched(ace(density()), CoreRepulsion(SPECIES, 1.0, 1.0, 3.0), ByCoreEnergy(1.0, 0.5)), "two potentials, got ACE"),
        (TypeError, lambda: Switched(linear(ace(density())), CoreRepulsion(SPECIES, 1.0, 1.0, 3.0), 3.0), "expected a switch such as"),
        (ValueError, lambda: Switched(linear(ace(density())), CoreRepulsion(("C",), 1.0, 1.0, 3.0), ByCoreEnergy(1.0, 0.5)), "the core \\('C',\\)"),
        (ValueError, lambda: Switched(linear(ace(density())), CoreRepulsion(SPECIES, 1.0, 1.0, 3.0), ByCoreEnergy([1.0, 2.0, 3.0], 0.5)), r"\[\] or \[2\]"),
        (ValueError, lambda: Switched(linear(ace(density())), CoreRepulsion(SPECIES, 1.0, 1.0, 3.0), ByDistance([1.0, 2.0], 0.5)), r"\[\] or \[S, S\]"),
        (ValueError, lambda: AtomicPotential(ace(density()), Embedding(np.ones((1, 2 * ace(density()).n_features)), np.ones((3, 1)), np.ones(1))), r"\[2, densities\]"),
    ],
)
def test_refusals(error, call, message):
    with pytest.raises(error, match=message):
        call()
