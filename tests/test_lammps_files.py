"""Reading LAMMPS's potential files written here: which entry becomes what, several files together, units, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from catalog import evaluate, to_graph

import jaxpot as jp
from jaxpot.io.lammps import (
    read_eam,
    read_edip,
    read_modified_stillinger_weber,
    read_modified_tersoff,
    read_stillinger_weber,
    read_tersoff,
    read_tersoff_zbl,
    read_vashishta,
)

SW = "# UNITS: metal\nC C C 1.1 1.4 1.8 20 1.2 -0.333 # the first line of an entry\n 7.0 0.6 4.0 0.0 0.0\n"
TERSOFF = "C C C 3.0 1.0 1.3 4.8 2.0 0.0 22.9 0.33 1.3 95.0 3.0 0.2 3.2 3264.0\n"
ZBL = TERSOFF.replace("3264.0", "3264.0 6 6 0.95 14")
MODIFIED = "C C C 1.0 2.4 -0.4 1.0 1.0 1.3 121.0 3.0 0.3 3.2 3281.0 0.9 0.2 7.0 1.0 1.0 26.0\n"
MODIFIED_C = MODIFIED.replace("26.0", "26.0 -0.006")
VASHISHTA = "C C C 23.0 7 1.1 1.3 5.0 15.5\n 3.0 61.0 7.35 9.0 1.0 2.9 5.0 -0.333\n"
EDIP = "C C C 8.0 1.5 3.1 2.5 3.2 0.007 0.25 1.12 1.45 0.7 1.2 0.57 312.0 -0.16 32.5 0.28 0.66\n"
ENTRIES = [
    (read_stillinger_weber, SW), (read_tersoff, TERSOFF), (read_tersoff_zbl, ZBL), (read_modified_tersoff, MODIFIED), (read_modified_tersoff, MODIFIED_C),
    (read_vashishta, VASHISHTA), (read_edip, EDIP), (read_modified_stillinger_weber, SW),
]  # fmt: skip
IDS = ["sw", "tersoff", "tersoff/zbl", "tersoff/mod", "tersoff/mod/c", "vashishta", "edip", "sw/mod"]


def written(folder, text, name="potential"):
    (folder / name).write_text(text)
    return folder / name


def two_elements(**lam):
    entries = []
    for key in ("C C C", "C C Si", "C Si C", "C Si Si", "Si C C", "Si C Si", "Si Si C", "Si Si Si"):
        entries.append(f"{key} 1.0 1.4 1.8 {lam.get(key.replace(' ', ''), 20)} 1.2 -0.333 7.0 0.6 4.0 0.0 0.0")
    return "\n".join(entries)


def test_which_number_is_which(tmp_path):
    model = read_stillinger_weber(written(tmp_path, SW))
    values = {name: float(np.squeeze(getattr(model, name))) for name in ("epsilon", "sigma", "a", "lam", "gamma", "cosine", "A", "B", "p", "q")}
    assert tuple(values.values()) == (1.1, 1.4, 1.8, 20, 1.2, -0.333, 7.0, 0.6, 4.0, 0.0)
    model = read_tersoff(written(tmp_path, TERSOFF))
    names = ("gamma", "lambda3", "c", "d", "cosine", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
    assert tuple(float(np.squeeze(getattr(model, n))) for n in names) == (1.0, 1.3, 4.8, 2.0, 0.0, 22.9, 0.33, 1.3, 95.0, 3.0, 0.2, 3.2, 3264.0)
    assert model.m == 3
    model = read_modified_tersoff(written(tmp_path, MODIFIED))
    names = ("lambda3", "cosine", "eta", "beta", "lambda2", "B", "R", "D", "lambda1", "A", "n", "c1", "c2", "c3", "c4", "c5")
    assert [float(np.squeeze(getattr(model, n))) for n in names] == [float(word) for word in MODIFIED.split()[4:]]
    assert model.m == 1 and model.c0 == 0 and float(np.squeeze(read_modified_tersoff(written(tmp_path, MODIFIED_C)).c0)) == -0.006
    model = read_tersoff_zbl(written(tmp_path, ZBL))
    assert [float(np.squeeze(getattr(model, n))) for n in ("A", "Zi", "Zj", "middle", "steepness")] == [3264, 6, 6, 0.95, 14]
    model = read_vashishta(written(tmp_path, VASHISHTA))
    names = ("H", "eta", "charges", "lambda1", "D", "lambda4", "W", "cutoff", "B", "gamma", "r0", "C", "cosine")
    assert [float(np.squeeze(getattr(model, n))) for n in names] == [23, 7, 1.1 * 1.3, 5, 15.5, 3, 61, 7.35, 9, 1, 2.9, 5, -0.333]
    model = read_edip(written(tmp_path, EDIP))
    names = ("A", "B", "a", "c", "alpha", "beta", "eta", "gamma", "lam", "mu", "rho", "sigma", "Q0", "u1", "u2", "u3", "u4")
    assert [float(np.squeeze(getattr(model, n))) for n in names] == [float(word) for word in EDIP.split()[3:]]
    switched = read_modified_stillinger_weber(written(tmp_path, SW), maxdelcs=(0.1, 0.2))
    assert switched.plain == read_stillinger_weber(tmp_path / "potential") and (float(switched.first), float(switched.last)) == (0.1, 0.2)
    with pytest.raises(ValueError, match="0 ≤ first < last"):
        read_modified_stillinger_weber(tmp_path / "potential", maxdelcs=(0.3, 0.2))
    model = read_stillinger_weber(written(tmp_path, two_elements(CCSi=7, CSiC=7)))
    assert model.species == ("C", "Si") and model.lam[0].tolist() == [[20, 7], [7, 20]] and np.all(model.lam[1] == 20)
    assert read_stillinger_weber(tmp_path / "potential", species=("Si",)).lam.shape == (1, 1, 1)


def test_kilocalories(tmp_path):
    metal, real = (read_stillinger_weber(written(tmp_path, SW.replace("metal", unit))) for unit in ("metal", "real"))
    assert real.epsilon == pytest.approx(metal.epsilon * 0.0433641039)


def of_two(text, changes=()):
    """The same numbers for all eight entries of C and Si, but for (entry, old, new) of the changes."""
    numbers = " ".join(" ".join(line.split("#")[0] for line in text.splitlines()).split()[3:])
    entries = {(a, b, c): f"{a} {b} {c} {numbers}" for a in ("C", "Si") for b in ("C", "Si") for c in ("C", "Si")}
    for key, old, new in changes:
        assert old in entries[tuple(key.split())]
        entries[tuple(key.split())] = entries[tuple(key.split())].replace(old, new)
    return "\n".join(entries.values())


TEXTS = [
    (read_stillinger_weber, SW.replace("0.0 0.0\n", "0.0 0.01\n"), "tol, must be 0.0"),
    (read_stillinger_weber, SW.replace("metal", "electron"), "units electron"),
    (read_stillinger_weber, SW + SW, "there twice"),
    (read_stillinger_weber, SW.replace("7.0", ""), "11 numbers, epsilon.*got one of 10 numbers in line 2"),
    (read_stillinger_weber, SW + SW.replace("7.0", ""), "line 6|ends within"),
    (read_stillinger_weber, SW.replace("7.0", "-"), "line 2: expected a number, got '-'"),
    (read_stillinger_weber, SW.replace("C C C", "C C Q"), "Q are no elements; say which elements labels stand for, species={'Q': ...}"),
    (read_stillinger_weber, SW.replace("C C C", "C C 3"), "expected entries of three elements"),
    (read_stillinger_weber, SW.replace("20", "-20"), "lam must not be negative"),
    (read_stillinger_weber, "", "got none"),
    (read_stillinger_weber, "\n".join(two_elements().splitlines()[1:]), "no entry C C C"),
    (read_stillinger_weber, two_elements(CCSi=7), "lam · epsilon of the entry C C Si must be that of C Si C"),
    (read_tersoff, TERSOFF.replace("3.0 1.0", "2.0 1.0"), "must be 1 or 3"),
    (read_tersoff, TERSOFF.replace("0.2 3.2", "-0.2 3.2"), "D must not be negative"),
    (read_tersoff, TERSOFF.replace("0.2 3.2", "3.2 3.2"), "D must not be larger than R"),
    (read_tersoff, TERSOFF.replace("2.0 0.0", "0.0 0.0"), "d must be > 0"),
    (read_tersoff, ZBL, "14 numbers.*got one of 18"),
    (read_tersoff, of_two(TERSOFF, [("C Si Si", "3264.0", "3000.0")]), "A of the entry C Si Si must be that of Si C C, got 3000 and 3264"),
    (read_tersoff, of_two(TERSOFF, [("C Si Si", "3.0 0.2", "3.0 0.22")]), "D of the entry C Si Si must be that"),
    (read_tersoff_zbl, of_two(ZBL, [("C Si Si", "6 6 0.95", "6 14 0.95")]), "Z_i of the entries i j j must be Z_j of j i i"),
    (read_modified_tersoff, MODIFIED.replace("C 1.0", "C 2.0"), "beta. must be 1 or 3"),
    (read_modified_tersoff, MODIFIED.replace("7.0 1.0", "7.0 0.0"), "c3 must be > 0"),
    (read_vashishta, of_two(VASHISHTA, [("C Si Si", "23.0", "24.0")]), "H must be symmetric"),
    (read_vashishta, of_two(VASHISHTA, [("C Si C", "9.0", "9.2")]), "B of the entry C C Si must be that of C Si C"),
    (read_edip, of_two(EDIP, [("C Si C", "1.45", "1.47")]), "lam of the entry C C Si must be that of C Si C"),
    (read_edip, EDIP.replace("3.1 2.5", "2.5 2.5"), "c must be less than a"),
]


@pytest.mark.parametrize(("read", "text", "message"), TEXTS, ids=[m for *_, m in TEXTS])
def test_refused(read, text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        read(written(tmp_path, text))
    assert "potential" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("read", "text"), ENTRIES, ids=IDS)
def test_labels(read, text, tmp_path):
    """A label stands for an element; entries of others are not looked at, whatever they hold."""
    plain = read(written(tmp_path, text))
    for label in ("Si(D)", "C2", "Si"):
        other = text.replace("C C C", " ".join(3 * [label]))
        broken = text.split("\n", 1)[1] if text.startswith("#") else text
        path = written(tmp_path, other + broken.replace("C C C", "Ge Ge Ge").replace("3.0", "three", 1))
        assert read(path, species={label: "C"}) == plain
    assert read(path, species=("Si",)).species == ("Si",)
    for species, message in (
        ("Si", r"write species=\('Si',\)"),
        ((), "at least one"),
        (("Si", "Si"), "different elements"),
        (("Sn",), "but not Sn"),
        ({"Si": "Xx"}, "are no elements"),
        ({"Si": "C", "Ge": "C"}, "two labels stand for one element"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, species=species)


@pytest.mark.parametrize(("read", "text"), ENTRIES, ids=IDS)
def test_as_other_editors_write_it(read, text, tmp_path):
    plain = read(written(tmp_path, text))
    for content in (text.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + text.encode(), ("# T\xe9rsoff\n" + text).encode("latin-1"), text.rstrip().encode()):
        (tmp_path / "other").write_bytes(content)
        assert read(tmp_path / "other") == plain
    for old, new in (("C C C", "C C \0"), ("1.", "\u22121.")):
        with pytest.raises(ValueError, match="other"):
            read(written(tmp_path, text.replace(old, new, 1), "other"))


def dimer(distance):
    return to_graph(Atoms("CSi", positions=[[0, 0, 0], [0, 0, distance]]))


def test_each_atom_has_half_of_its_own_entry(tmp_path):
    """Entries that differ in the last place of either are kept, and what is made of them is the mean over both ways to number the atoms."""
    changes = [("C Si Si", "3264.0", "1597.311"), ("Si C C", "3264.0", "1597.31114"), ("C Si Si", "3.0 0.2", "3.0 0.20271"), ("Si C C", "3.0 0.2", "3.0 0.202719")]
    model = read_tersoff(written(tmp_path, of_two(TERSOFF, changes)))
    assert model.A[0, 1] == 1597.311 and model.A[1, 0] == 1597.31114 and model.D[0, 1, 1] == 0.20271 and model.D[1, 0, 0] == 0.202719
    expected = 0.5 * (1597.311 + 1597.31114) * np.exp(-3.2 * 2.1) - 95.0 * np.exp(-1.3 * 2.1)
    assert float(evaluate(model, dimer(2.1)).energy) == pytest.approx(expected, rel=1e-14)


def test_a_width_of_nothing_is_a_step(tmp_path):
    model = read_tersoff(written(tmp_path, of_two(TERSOFF).replace("0.2 3.2", "0 3.2")))
    for distance in (2.999999, 3.0):
        found = evaluate(model, dimer(distance))
        expected = 3264.0 * np.exp(-3.2 * distance) - 95.0 * np.exp(-1.3 * distance) if distance < 3 else 0.0
        assert float(found.energy) == pytest.approx(expected, rel=1e-13) and np.all(np.isfinite(found.forces))


def test_strengths_of_angles_are_products(tmp_path):
    """ε and λ of i j k and i k j may differ if their products agree, within the last places: the energy is then that of either."""
    same = of_two(SW, [("C C Si", "1.1 1.4 1.8 20", "1.385284 1.4 1.8 30.02537"), ("C Si C", "1.1 1.4 1.8 20", "1.182358 1.4 1.8 35.17858")])
    model = read_stillinger_weber(written(tmp_path, same))
    assert model.lam[0, 0, 1] == 30.02537 and model.epsilon[0, 1, 0] == 1.182358
    with pytest.raises(ValueError, match="must be that of C Si C, got 41.5936.* and 41.7"):
        read_stillinger_weber(written(tmp_path, same.replace("35.17858", "35.27858")))
    with pytest.raises(ValueError, match="sigma must be symmetric"):
        read_stillinger_weber(written(tmp_path, of_two(SW, [("C Si Si", " 1.4 ", " 1.40001 ")])))


N_RHO, N_R = 60, 40
RHO, R = 0.1 * np.arange(N_RHO), 0.08 * np.arange(N_R)


def table(values):
    return "\n".join(" ".join(f"{x:.16e}" for x in values[i : i + 5]) for i in range(0, len(values), 5)) + "\n"


def setfl(sites, units="metal"):
    """Embedding (k + 1) ρ, densities (k + site + 1) e^−r, pairs (k + l + 1) r e^−r of the elements k, l of C and Si."""
    text = f"UNITS: {units}\n\n\n2 C Si\n{N_RHO} 0.1 {N_R} 0.08 3.1\n"
    for k, z in enumerate((6, 14)):
        text += f"{z} 12.0 3.5 fcc\n" + table((k + 1) * RHO) + "".join(table((k + site + 1) * np.exp(-R)) for site in range(sites))
    return text + "".join(table((k + m + 1) * R * np.exp(-R)) for k in range(2) for m in range(k + 1))


def funcfl(z, step=0.08):
    r = step * np.arange(N_R)
    return f"funcfl\n{z} 12.0 3.5 fcc\n{N_RHO} 0.1 {N_R} {step} 2.5\n" + table(RHO) + table(z * np.exp(-r)) + table((1 + r) ** 3)


def test_setfl_and_finnis_sinclair(tmp_path):
    alloy, finnis = (read_eam(written(tmp_path, setfl(sites))) for sites in (1, 2))
    assert alloy.species == ("C", "Si") and alloy.density.shape == (2, 1, N_R) and finnis.density.shape == (2, 2, N_R)
    assert float(alloy.reach) == 3.1 and alloy.embedding[1, 10] == pytest.approx(2.0)
    graph = jp.from_atoms(Atoms("CSiSi", positions=[[0, 0, 0], [1.6, 0, 0], [0, 2.0, 0]]), 3.2)
    f = lambda r: np.exp(-r)  # noqa: E731
    r, d = (1.6, 2.0, np.hypot(1.6, 2.0)), 1
    for model, d in ((alloy, 0), (finnis, 1)):  # what a neighbour k gives to a site: k + 1, and site more with Finnis–Sinclair
        carbon = 2 * f(r[0]) + 2 * f(r[1])
        silicons = (1 + d) * f(r[0]) + (2 + d) * f(r[2]) + (1 + d) * f(r[1]) + (2 + d) * f(r[2])
        pairs = 2 * f(r[0]) + 2 * f(r[1]) + 3 * f(r[2])
        assert float(evaluate(model, graph).energy) == pytest.approx(carbon + 2 * silicons + pairs, abs=1e-5)
    one = read_eam(tmp_path / "potential", species=("Si",))
    assert one.species == ("Si",) and np.array_equal(one.density, finnis.density[1:, 1:]) and np.array_equal(one.pair, finnis.pair[1:, 1:])
    assert np.allclose(read_eam(written(tmp_path, setfl(1, units="real"))).pair, 0.0433641039 * alloy.pair, rtol=1e-9)


def test_funcfl_files_share_a_grid(tmp_path):
    """Cubics come through the change of grid unchanged; the pair energy is of the product of the charges."""
    carbon, silicon = written(tmp_path, funcfl(6), "C.eam"), written(tmp_path, funcfl(14, step=0.05), "Si.eam")
    model = read_eam(carbon, silicon)
    assert model.species == ("C", "Si") and float(model.step) == 0.08 and model.density.shape == (2, 1, N_R - 1)
    inside = 0.08 * np.arange(N_R - 1) < 0.05 * (N_R - 1)
    assert np.allclose(model.density[1, 0][inside], ((1 + 0.08 * np.arange(N_R - 1)) ** 3)[inside], rtol=1e-12)
    assert model.pair[0, 1, 5] == pytest.approx(27.2 * 0.529 * 84 * np.exp(-0.8), rel=1e-6)
    assert read_eam(carbon, silicon, species=("Si",)).species == ("Si",)


@pytest.mark.parametrize("line", ["1 12.0 3.5 fcc", "0 12.0 3.5 fcc", "6.5 12.0", "29 12.0 3.5 fcc  # a note", "6 12.0 3.5 face centred", "118 12.0 3.5 2 words"])
def test_setfl_goes_by_its_names(line, tmp_path):
    """Atomic number and lattice have no meaning, as in LAMMPS; a comment ends a line."""
    plain = setfl(1)
    expected = read_eam(written(tmp_path, plain))
    assert read_eam(written(tmp_path, plain.replace("6 12.0 3.5 fcc", line))) == expected
    assert read_eam(written(tmp_path, plain.replace("6 12.0 3.5 fcc", line).replace("14 12.0 3.5 fcc", line))) == expected
    assert read_eam(written(tmp_path, plain.replace("2 C Si", "2 Fe1 Fe2")), species={"Fe2": "Fe"}).species == ("Fe",)


def test_funcfl_of_no_atomic_number(tmp_path):
    plain, other = written(tmp_path, funcfl(6), "C.eam"), written(tmp_path, funcfl(6).replace("6 12.0", "0.5 12.0"), "c.funcfl")
    assert read_eam(other, species={"c.funcfl": "C"}) == read_eam(plain)
    with pytest.raises(ValueError, match="species={'c.funcfl': ...}"):
        read_eam(other)


def test_helium(tmp_path):
    """eam/he: a sixth number is the largest density, the last of the table, which may begin below 0."""
    plain = setfl(2)
    model = read_eam(written(tmp_path, plain.replace("0.08 3.1", "0.08 3.1 2.9")))
    assert float(model.first_density) == pytest.approx(-3.0) and read_eam(written(tmp_path, plain)).first_density == 0
    graph = to_graph(Atoms("C", positions=[[0, 0, 0]]))
    assert float(evaluate(model, graph).energy) == pytest.approx(3.0)  # ρ = 0 is the thirtieth knot of F = ρ + 3


def test_refused_tables(tmp_path):
    for text, message in (
        (setfl(1).rsplit("\n", 3)[0], "expected at least 320 numbers"),
        (setfl(1).replace("fcc", "fcc 1 2 3 4 5 6").rsplit("\n", 3)[0], "ends within a table"),
        (setfl(1) + "1.0\n", "line 72: the tables of 2 elements are complete, but it goes on with '1.0'"),
        (setfl(1).replace("6 12.0 3.5 fcc", "6"), "line 6: expected a line of atomic number"),
        (setfl(1).replace(" 0.08 3.1", " 0.08"), "expected a line of n_rho"),
        (setfl(1).replace("2 C Si", "2 C C"), "expected different elements"),
        (setfl(1).replace("2 C Si", "3 C Si"), "expected the number of elements and their names"),
        (setfl(1).replace("2 C Si", "2"), "expected the number of elements and their names"),
        (setfl(1).replace("2 C Si", "2 C Xx"), "Xx are no elements"),
        (setfl(1).replace(f"{N_RHO} 0.1", "1000000000000 0.1"), "n_rho = 1000000000000 .* expected 5 or more each"),
        (setfl(1).replace(f"{N_RHO} 0.1", "0 0.1"), "n_rho = 0 and"),
        (setfl(1).replace(f"{N_RHO} 0.1", "-60 0.1"), "n_rho = -60 and"),
        (setfl(1).replace(f"{N_RHO} 0.1", "60.5 0.1"), "expected an integer, got '60.5'"),
        (setfl(1).replace(f"{N_R} 0.08", f"{N_R} -0.08"), "must be positive"),
        (funcfl(6) + "1.0\n", "goes on with '1.0'"),
        (funcfl(6).replace(f"{N_R} 0.08", "1 0.08"), "n_r = 1 numbers"),
        (funcfl(6).replace("6 12.0", "200 12.0"), "species={'potential': ...}"),
        (funcfl(6).replace("6 12.0", "C 12.0"), "expected a line of atomic number"),
        ("", "ends where a line of the number of elements"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            read_eam(written(tmp_path, text))
        assert "potential" in str(refused.value) and "\n" not in str(refused.value)
    file = written(tmp_path, setfl(1))
    for species, message in ((("Ge",), "but not Ge"), ("Si", "write species=")):
        with pytest.raises(ValueError, match=message):
            read_eam(file, species=species)
    with pytest.raises(ValueError, match="read each alone"):
        read_eam(file, written(tmp_path, funcfl(6), "C.eam"))
    with pytest.raises(ValueError, match="one for each element"):
        read_eam(tmp_path / "C.eam", tmp_path / "C.eam")
    with pytest.raises(ValueError, match="no files"):
        read_eam()
    with pytest.raises(FileNotFoundError, match="no file at"):
        read_eam(tmp_path / "nothing")
