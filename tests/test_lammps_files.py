"""Reading LAMMPS's potential files written here: which entry becomes what, several files together, units, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from catalog import evaluate

import jaxpot as jp
from jaxpot.io.lammps import read_eam, read_modified_tersoff, read_stillinger_weber, read_tersoff

SW = "# UNITS: metal\nC C C 1.1 1.4 1.8 20 1.2 -0.333 # the first line of an entry\n 7.0 0.6 4.0 0.0 0.0\n"
TERSOFF = "C C C 3.0 1.0 1.3 4.8 2.0 0.0 22.9 0.33 1.3 95.0 3.0 0.2 3.2 3264.0\n"
MODIFIED = "C C C 1.0 2.4 -0.4 1.0 1.0 1.3 121.0 3.0 0.3 3.2 3281.0 0.9 0.2 7.0 1.0 1.0 26.0\n"


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
    assert model.m == 1
    model = read_stillinger_weber(written(tmp_path, two_elements(CCSi=7, CSiC=7)))
    assert model.species == ("C", "Si") and model.lam[0].tolist() == [[20, 7], [7, 20]] and np.all(model.lam[1] == 20)
    assert read_stillinger_weber(tmp_path / "potential", species=("Si",)).lam.shape == (1, 1, 1)


def test_kilocalories(tmp_path):
    metal, real = (read_stillinger_weber(written(tmp_path, SW.replace("metal", unit))) for unit in ("metal", "real"))
    assert real.epsilon == pytest.approx(metal.epsilon * 0.0433641039)


TEXTS = [
    (read_stillinger_weber, SW.replace("0.0 0.0\n", "0.0 0.01\n"), "tol, must be 0.0"),
    (read_stillinger_weber, SW.replace("metal", "electron"), "units electron"),
    (read_stillinger_weber, SW + SW, "there twice"),
    (read_stillinger_weber, SW.replace("7.0", ""), "entries of 14 words"),
    (read_stillinger_weber, SW.replace("7.0", "seven"), "expected a number, got 'seven'"),
    (read_stillinger_weber, SW.replace("C C C", "C C Q"), "not three elements"),
    (read_stillinger_weber, "\n".join(two_elements().splitlines()[1:]), "no entry C C C"),
    (read_stillinger_weber, two_elements(CCSi=7), "lam must be symmetric"),
    (read_tersoff, TERSOFF.replace("3.0 1.0", "2.0 1.0"), "must be 1 or 3"),
    (read_tersoff, TERSOFF.replace("0.2 3.2", "0.0 3.2"), "D must be > 0"),
    (read_modified_tersoff, MODIFIED.replace("C 1.0", "C 3.0"), "beta. must be 1, one"),
    (read_modified_tersoff, MODIFIED.replace("7.0 1.0", "7.0 0.0"), "c3 must be > 0"),
]


@pytest.mark.parametrize(("read", "text", "message"), TEXTS, ids=[m for *_, m in TEXTS])
def test_refused(read, text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, text))


def test_repulsion_that_depends_on_the_order_is_refused(tmp_path):
    entries = [f"{a} {b} {c} " + " ".join(TERSOFF.split()[3:]) for a in ("C", "Si") for b in ("C", "Si") for c in ("C", "Si")]
    entries[3] = entries[3].replace("3264.0", "3000.0")  # C Si Si
    with pytest.raises(ValueError, match="A of the entries i j j must be that of j i i"):
        read_tersoff(written(tmp_path, "\n".join(entries)))


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


def test_refused_tables(tmp_path):
    for text, message in (
        (setfl(1).rsplit("\n", 3)[0], "ends within a table"),
        (setfl(1) + "1.0\n", "goes on with '1.0'"),
        (setfl(1).replace("6 12.0", "7 12.0"), "C are said to be of N"),
        (setfl(1).replace(" 0.08 3.1", " 0.08"), "expected a line of n_rho"),
        (funcfl(6) + "1.0\n", "goes on with '1.0'"),
        (funcfl(6).replace("6 12.0", "200 12.0"), "expected a line of atomic number"),
    ):
        with pytest.raises(ValueError, match=message):
            read_eam(written(tmp_path, text))
    file = written(tmp_path, setfl(1))
    with pytest.raises(ValueError, match="but not Ge"):
        read_eam(file, species=("Ge",))
    with pytest.raises(ValueError, match="read each alone"):
        read_eam(file, written(tmp_path, funcfl(6), "C.eam"))
    with pytest.raises(ValueError, match="one for each element"):
        read_eam(tmp_path / "C.eam", tmp_path / "C.eam")
    with pytest.raises(ValueError, match="no files"):
        read_eam()
    with pytest.raises(FileNotFoundError, match="no potential file"):
        read_eam(tmp_path / "nothing")
