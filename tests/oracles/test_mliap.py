"""Models of LAMMPS' pair_style mliap on SNAP: linear and neural networks."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import Linear
from jaxpot.heads import Quadratic
from jaxpot.io.mliap import read_mliap
from jaxpot.io.snap import read_snap

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
ORACLE = np.load(Path(__file__).parent / "lammps_mliap.npz")
FOLDER = SHARED / "potentials" / "lammps_mliap"


@needs_data
@pytest.mark.parametrize("kind", ["linear", "nn"])
def test_tantalum(kind):
    model = FOLDER / ("Ta06A.mliap.model" if kind == "linear" else "Ta06A.nn.mliap.model")
    potential, name = read_mliap(model, FOLDER / "Ta06A.mliap.descriptor"), f"Ta06A_{kind}:ta2"
    atoms = Atoms(ORACLE[f"{name}/numbers"], ORACLE[f"{name}/positions"], cell=ORACLE[f"{name}/cell"], pbc=ORACLE[f"{name}/pbc"])
    graph = jaxpot.from_atoms(atoms, float(potential.reach))
    found, energies = quick_jit(lambda p, g: (jaxpot.evaluate(p, g), p.energies(g)))(potential, graph)
    got = {"energy": found.energy, "forces": found.forces, "virial": found.virial, "local_energies": energies}
    for key, value in got.items():
        np.testing.assert_allclose(value, ORACLE[f"{name}/{key}"], rtol=0, atol=1e-8, err_msg=key)


@needs_data
def test_linear_model_is_that_of_pair_style_snap():
    files = (SHARED / "potentials" / "lammps_snap" / f"Ta06A.{kind}" for kind in ("snapcoeff", "snapparam"))
    assert read_mliap(FOLDER / "Ta06A.mliap.model", FOLDER / "Ta06A.mliap.descriptor") == read_snap(*files)


DESCRIPTOR = "rcutfac 4.0\ntwojmax 2\nnelems 2\nelems Ta W\nradelems 0.5 0.4\nwelems 1 0.9\n"
MODEL = "# a network\n2 25\nNET 5 3 tanh 2 sigmoid 3 linear 1\n"
RNG = np.random.default_rng(0)
SHIFT, SCALE, PARAMETERS = RNG.normal(size=(2, 5)), RNG.uniform(1, 2, (2, 5)), RNG.normal(size=(2, 25))


def written(folder, model=MODEL, descriptor=DESCRIPTOR, parameters=PARAMETERS):
    rows = [row for s in range(2) for row in (SHIFT[s], SCALE[s], parameters[s][:7], parameters[s][7:])]
    (folder / "model").write_text(model + "".join(" ".join(map(repr, row.tolist())) + "\n" for row in rows))
    (folder / "descriptor").write_text(descriptor)
    return folder / "model", folder / "descriptor"


def test_network_by_hand(tmp_path):
    """Node by node: its bias, then its weights."""
    head = read_mliap(*written(tmp_path)).head
    x = RNG.normal(size=(4, 5))
    for i, s in enumerate((0, 1, 1, 0)):
        nodes, rest = (x[i] - SHIFT[s]) / SCALE[s], list(PARAMETERS[s])
        for n, f in ((2, np.tanh), (3, lambda v: 1 / (1 + np.exp(-v))), (1, lambda v: v)):
            out = []
            for _ in range(n):
                bias, weights, rest = rest[0], rest[1 : 1 + len(nodes)], rest[1 + len(nodes) :]
                out.append(f(bias + np.dot(weights, nodes)))
            nodes = np.array(out)
        assert not rest and np.isclose(head(jnp.asarray(x), jnp.array([0, 1, 1, 0]))[i], nodes[0], rtol=1e-13)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rcutfac", "nmax", "of the descriptor so3, which is not implemented"),
        ("rcutfac", "chem", "the key chem is not implemented"),
        ("welems", "quadraticflag 1\nwelems", "the key quadraticflag is not implemented"),
        ("nelems 2", "nelems 1", "must name 2 elements"),
        ("sigmoid", "silu", "the activation silu is not implemented"),
        ("linear 1", "tanh 1", "a last layer 'linear 1'"),
        ("linear 1", "linear 2", "a last layer 'linear 1'"),
        ("NET 5", "NET 6", "6 descriptors; expected 5 for twojmax 2"),
        ("NET 5 3", "NET 5 2", "then an activation and a number of nodes"),
        ("tanh 2", "tanh 4", "25 parameters; expected 43"),
        ("NET", "NET 5 3 tanh 2 sigmoid 3 linear 1\n1.0\nNET", "expected a number, got 'NET'"),
        ("twojmax 2", "twojmax 100000000000000", "for twojmax 100000000000000"),
        ("2 25", "2 24", "24 parameters; expected 25"),
        ("2 25", "25", "first line must be"),
        ("NET 5 3 tanh 2 sigmoid 3 linear 1", "", "lines of one number, or a line NET"),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert old in MODEL + DESCRIPTOR
    with pytest.raises(ValueError, match=message):
        read_mliap(*written(tmp_path, MODEL.replace(old, new), DESCRIPTOR.replace(old, new)))


def test_not_finite(tmp_path):
    parameters = PARAMETERS.copy()
    parameters[1, 3] = np.nan
    with pytest.raises(ValueError, match="expected a number, got 'nan'"):
        read_mliap(*written(tmp_path, parameters=parameters))


def test_quadratic_model_is_that_of_pair_style_snap(tmp_path):
    """Which it is, is seen from the number of coefficients: 1 + 5, or 15 more."""
    for n, kind in ((6, Linear), (21, Quadratic)):
        rows = [repr(x) for x in RNG.normal(size=2 * n).tolist()]
        (tmp_path / "model").write_text("\n".join([f"2 {n}", *rows]))
        (tmp_path / "descriptor").write_text(DESCRIPTOR)
        (tmp_path / "coefficients").write_text("\n".join([f"2 {n}", "Ta 0.5 1", *rows[:n], "W 0.4 0.9", *rows[n:]]))
        (tmp_path / "parameters").write_text(f"rcutfac 4.0\ntwojmax 2\nquadraticflag {int(kind is Quadratic)}\n")
        potential = read_mliap(tmp_path / "model", tmp_path / "descriptor")
        assert type(potential.terms[0].head) is kind and potential == read_snap(tmp_path / "coefficients", tmp_path / "parameters")
    (tmp_path / "model").write_text("\n".join(["2 7", *rows[:14]]))
    with pytest.raises(ValueError, match=r"7 coefficients per element; expected 6 \(linear\) or 21 \(quadratic\)"):
        read_mliap(tmp_path / "model", tmp_path / "descriptor")


@needs_data
def test_other_descriptors():
    with pytest.raises(ValueError, match="nmax is of the descriptor so3"):
        read_mliap(FOLDER / "Si.nn.mliap.model", FOLDER / "Si.nn.mliap.descriptor")
