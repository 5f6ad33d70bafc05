"""Models of LAMMPS' pair_style mliap on SNAP: linear and neural networks."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
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
        ("rcutfac", "nmax", "the key nmax is not implemented"),
        ("nelems 2", "nelems 1", "must name 2 elements"),
        ("sigmoid", "silu", "the activation silu is not implemented"),
        ("linear 1", "tanh 1", "a last layer 'linear 1'"),
        ("linear 1", "linear 2", "a last layer 'linear 1'"),
        ("NET 5", "NET 6", "expected 5 descriptors"),
        ("NET 5 3", "NET 5 2", "then an activation and a number of nodes"),
        ("tanh 2", "tanh 4", "expected 43 and 2 × "),
        ("2 25", "2 24", "24 parameters and 70 values; expected 25"),
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
    with pytest.raises(ValueError, match="not finite"):
        read_mliap(*written(tmp_path, parameters=parameters))


@needs_data
def test_other_descriptors():
    with pytest.raises(ValueError, match="nmax is not implemented"):
        read_mliap(FOLDER / "Si.nn.mliap.model", FOLDER / "Si.nn.mliap.descriptor")
