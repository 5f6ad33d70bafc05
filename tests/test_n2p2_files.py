"""Files of n2p2 written by hand: order, scaling, normalisation, activations, cutoffs, round trip, and what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import MLP, AtomicPotential, CosineCutoff, IsolatedAtoms
from jaxpot.cutoffs import BumpCutoff, PolynomialCutoff, PowerCutoff, Step, TanhCutoff
from jaxpot.descriptors import ACSF, G2, G3, G4, G5
from jaxpot.descriptors.constant import Constant
from jaxpot.heads.linear import Linear
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.math.activations import CELU, Gaussian, Identity, Logistic, ReLU, SiLU, Softplus, Tanh

SETTINGS = """# a comment
number_of_elements 2
elements O H  ! in any order
atom_energy H -0.5
atom_energy O -75.0
cutoff_type 1
global_hidden_layers_short 2
global_nodes_short 2 3
global_activation_short t s l
element_nodes_short H 2 1
epochs 10
scale_symmetry_functions
scale_min_short -1.0
scale_max_short 2.0

symfunction_short O 2 H 0.2 0.0 6.0
symfunction_short H 12 0.3 0.5 6.0
symfunction_short H 2 O 0.2 0.0 6.0
symfunction_short H 2 H 0.1 1.0 6.0
symfunction_short H 3 O H 0.1 -1 2.0 6.0
"""
N_SCALED = {"H": 4, "O": 1}
N_WEIGHTS = {"H": 5 * 2 + 3 * 1 + 2, "O": 2 * 2 + 3 * 3 + 4}
RNG = np.random.default_rng(3)
SCALING = {s: np.stack([x := RNG.uniform(0, 1, n), x + 1.5, x + 0.4, x * 0 + 0.3], axis=1) for s, n in N_SCALED.items()}
WEIGHTS = {s: RNG.normal(size=n) for s, n in N_WEIGHTS.items()}


def written(folder, settings=SETTINGS, scaling=None, weights=WEIGHTS):
    rows = [(e, i, *row) for e, s in enumerate("HO", 1) for i, row in enumerate(SCALING[s], 1)] if scaling is None else scaling
    (folder / "input.nn").write_text(settings, encoding="utf-8")
    (folder / "scaling.data").write_text("# header\n" + "".join(f"{e} {i} {' '.join(repr(float(x)) for x in row)}\n" for e, i, *row in rows))
    for s, number in (("H", 1), ("O", 8)):
        (folder / f"weights.{number:03d}.data").write_text("#\n" + "".join(f"{float(w)!r} a 1 2\n" for w in weights[s]))
    return folder


def read(folder, settings=SETTINGS, **changes):
    return read_n2p2(written(folder, settings, **changes), length_unit=0.5, energy_unit=27.0)


def by_hand(values, symbol, activations=(np.tanh, lambda x: 1 / (1 + np.exp(-x))), scaled=lambda g, r: -1 + 3 * (g - r[:, 0]) / (r[:, 1] - r[:, 0]), divide=False):
    """n2p2's network of one atom, from its functions in n2p2's order."""
    x, rest = scaled(np.asarray(values), SCALING[symbol]), WEIGHTS[symbol]
    sizes = (len(values), 2, 1 if symbol == "H" else 3, 1)
    for layer, (a, b) in enumerate(itertools.pairwise(sizes)):
        w, bias, rest = rest[: a * b].reshape(a, b), rest[a * b : (a + 1) * b], rest[(a + 1) * b :]
        x = (x @ w + bias) / (a if divide else 1)
        x = activations[layer](x) if layer < 2 else x
    return x[0]


def network(potential, values, symbol):
    """The same by the head, from functions in n2p2's order."""
    term = potential.terms[0]
    labels, n = term.descriptor.labels(), len(values)
    order = [(0, "G2", "H", 0), (0, "G2", "O", 1), (1, "G4", "H", "O", 0, 0, 0), (2, "G2", 0, 0)] if symbol == "H" else [(0, "G2", "H", 1)]
    x = np.zeros((1, len(labels)))
    x[0, [labels.index(label) for label in order]] = values
    assert n == len(order)
    return float(term.head(jnp.asarray(x), jnp.array([term.species.index(symbol)]))[0])


VALUES = {"H": [0.3, 0.9, 0.2, 1.4], "O": [0.7]}


def test_order_scaling_and_networks(tmp_path):
    """Elements by atomic number, functions sorted, networks of different sizes."""
    potential = read(tmp_path)
    descriptor = potential.terms[0].descriptor
    assert potential.species == ("H", "O") and float(potential.reach) == 3.0
    assert descriptor.labels() == ((0, "G2", "H", 0), (0, "G2", "H", 1), (0, "G2", "O", 1), (1, "G4", "H", "O", 0, 0, 0), (2, "G2", 0, 0))
    near, angles, weighted = descriptor.functions
    assert near == G2(CosineCutoff(3.0), eta=[0.4, 0.8], r_s=[0.5, 0.0])
    assert angles == G4(CosineCutoff(3.0), eta=[0.4], r_s=[0.0], lam=[-1.0], zeta=[2.0])
    assert weighted == G2(CosineCutoff(3.0), eta=[1.2], r_s=[0.25], mixing=[[1.0], [8.0]])
    for symbol, values in VALUES.items():
        assert np.isclose(network(potential, values, symbol), 27.0 * by_hand(values, symbol), rtol=1e-12)
    assert potential.terms[1] == IsolatedAtoms({"H": -13.5, "O": -75.0 * 27.0})


@pytest.mark.parametrize(
    ("old", "new", "scaled"),
    [
        ("scale_symmetry_functions\n", "scale_symmetry_functions\ncenter_symmetry_functions\n", lambda g, r: -1 + 3 * (g - r[:, 2]) / (r[:, 1] - r[:, 0])),
        ("scale_symmetry_functions\n", "center_symmetry_functions\n", lambda g, r: g - r[:, 2]),
        ("scale_symmetry_functions\n", "scale_symmetry_functions_sigma\n", lambda g, r: -1 + 3 * (g - r[:, 2]) / r[:, 3]),
        ("scale_symmetry_functions\nscale_min_short -1.0\nscale_max_short 2.0\n", "", lambda g, r: g),
        ("scale_min_short -1.0\nscale_max_short 2.0\n", "", lambda g, r: (g - r[:, 0]) / (r[:, 1] - r[:, 0])),
    ],
    ids=["scale, center", "center", "sigma", "none", "defaults"],
)
def test_scalings(tmp_path, old, new, scaled):
    potential = read(tmp_path, SETTINGS.replace(old, new))
    assert np.isclose(network(potential, VALUES["H"], "H"), 27.0 * by_hand(VALUES["H"], "H", scaled=scaled), rtol=1e-12)


def test_normalised_data_and_nodes(tmp_path):
    settings = SETTINGS + "mean_energy -2.0\nconv_energy 8.0\nconv_length 5.0\nnormalize_nodes\n"
    potential = read(tmp_path, settings)
    for symbol, values in VALUES.items():
        assert np.isclose(network(potential, values, symbol), 27.0 * by_hand(values, symbol, divide=True) / 8.0, rtol=1e-12)
    assert potential.terms[1] == IsolatedAtoms({"H": 27.0 * -2.5, "O": 27.0 * -77.0})
    assert potential.terms[0].descriptor == read(tmp_path).terms[0].descriptor


@pytest.mark.parametrize(
    ("letter", "activation", "f"),
    [
        ("l", Identity, lambda x: x), ("p", Softplus, lambda x: np.log1p(np.exp(x))), ("r", ReLU, lambda x: np.maximum(x, 0)),
        ("g", Gaussian, lambda x: np.exp(-0.5 * x**2)), ("S", Logistic, lambda x: 1 - 1 / (1 + np.exp(-x))),
    ],
)  # fmt: skip
def test_activations(tmp_path, letter, activation, f):
    potential = read(tmp_path, SETTINGS.replace("t s l", f"t {letter} l"))
    assert potential.terms[0].head.activation == (Tanh(), activation())
    assert np.isclose(network(potential, VALUES["O"], "O"), 27.0 * by_hand(VALUES["O"], "O", (np.tanh, f)), rtol=1e-12)


CUTOFFS = {
    "0": Step(3.0), "1": CosineCutoff(3.0), "1 0.2": CosineCutoff(3.0, 2.4), "2": TanhCutoff(3.0, normalize=False), "3": TanhCutoff(3.0), "4": BumpCutoff(3.0),
    "4 0.5": BumpCutoff(3.0, 1.5), "5": PolynomialCutoff(3.0, smoothness=1), "6 0.0": PolynomialCutoff(3.0), "7 0.1": PolynomialCutoff(3.0, 2.7, smoothness=3),
    "8": PolynomialCutoff(3.0, smoothness=4),
}  # fmt: skip


@pytest.mark.parametrize("words", CUTOFFS)
def test_cutoffs(tmp_path, words):
    """Both ways."""
    potential = read(tmp_path, SETTINGS.replace("cutoff_type 1", f"cutoff_type {words}"))
    write_n2p2(tmp_path, potential, length_unit=0.5, energy_unit=27.0)
    for model in (potential, read_n2p2(tmp_path, length_unit=0.5, energy_unit=27.0)):
        for one in model.terms[0].descriptor.functions:
            assert jax.tree_util.tree_structure(one.cutoff) == jax.tree_util.tree_structure(CUTOFFS[words])
            np.testing.assert_allclose(*map(jax.tree_util.tree_leaves, (one.cutoff, CUTOFFS[words])), rtol=1e-14)


def test_written_and_read(tmp_path):
    """A model made here, all its kinds, in other units, with constants behind the scaling of functions that a centre has not."""
    cutoff, z = PolynomialCutoff(4.0, width=3.0), [[14.0], [6.0]]
    sets = (G2.shifted(cutoff, 3), G4(PolynomialCutoff(3.6, width=2.7), [0.05, 0.2], [0.0, 0.5], zeta=[1, 2.5]), G4(cutoff, 0.3, zeta=4.0, mixing=z))
    n = ACSF(("Si", "C"), sets).n_features
    acsf = ACSF(("Si", "C"), sets, kept=(tuple(range(0, n, 2)), tuple(range(n - 1))))
    rng = np.random.default_rng(0)
    shift, scale = rng.normal(size=(2, acsf.n_features)), rng.uniform(0.5, 2, (2, acsf.n_features))
    network = AtomicPotential(acsf, MLP((4, 3), (Softplus(), Tanh()), shift=shift, scale=scale))
    model = network + IsolatedAtoms({"Si": -158.5}) + AtomicPotential(Constant(("Si", "C")), Linear(coefficients=np.array([0.5, -1.0])))
    frames = [Atoms("SiCSiCC", positions=np.random.default_rng(seed).uniform(0, 3.5, (5, 3)), cell=[5.0] * 3, pbc=True) for seed in range(3)]
    for atoms in frames:
        atoms.info["energy"] = 0.0
    data = jaxpot.Dataset.from_atoms(frames, 4.0, sigma=jaxpot.Properties(energy=1.0))
    write_n2p2(tmp_path / "new", model, length_unit=0.7, energy_unit=1.3, data=data)
    again, predict = read_n2p2(tmp_path / "new", length_unit=0.7, energy_unit=1.3), quick_jit(jaxpot.evaluate)
    graph = jaxpot.from_atoms(frames[0], 4.0)
    one, other = predict(model, graph), predict(again, graph)
    assert abs(one.energy - other.energy) < 1e-10
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(one.virial, other.virial, rtol=0, atol=1e-10)

    values = np.concatenate([np.asarray(quick_jit(lambda d, g: d(g))(acsf, jaxpot.from_atoms(a, 4.0, max_neighbors=graph.neighbors.shape[1] + 8))) for a in frames])
    numbers = np.concatenate([a.numbers for a in frames])
    rows = np.loadtxt(tmp_path / "new" / "scaling.data")
    found = rows[rows[:, 0] == 1][:, 2:4]  # of carbon, the first by atomic number
    own = values[numbers == 6][:, [i for i, label in enumerate(acsf.labels()) if acsf.replace(kept=None).labels().index(label) in acsf.kept[1]]]
    np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(own.min(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(np.sort(found[:, 1]), np.sort(own.max(axis=0)), rtol=1e-12)
    assert (tmp_path / "new" / "input.nn").read_text().count("symfunction_short") == sum(map(len, acsf.kept))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda acsf, mlp: AtomicPotential(acsf.replace(functions=(G3(CosineCutoff(3.0), 1.0),)), mlp), "n2p2 has no G3"),
        (lambda acsf, mlp: AtomicPotential(acsf.replace(functions=(G2(PowerCutoff(3.0)),)), mlp), "n2p2 has no PowerCutoff"),
        (lambda acsf, mlp: AtomicPotential(acsf.replace(functions=(G5(CosineCutoff(3.0), mixing=[[14.0]]),)), mlp), "no G5 of mixed elements"),
        (lambda acsf, mlp: AtomicPotential(acsf, MLP((2,), SiLU())), "no activation SiLU"),
        (lambda acsf, mlp: AtomicPotential(acsf, MLP((2,), CELU())), "no activation CELU"),
        (lambda acsf, mlp: AtomicPotential(acsf, mlp) + jaxpot.empirical.ZBL(("Si",), inner=1.0, outer=2.0), "cannot hold ZBL"),
        (lambda acsf, mlp: AtomicPotential(acsf, Linear(coefficients=np.ones(1))), r"AtomicPotential\(ACSF, Linear\)"),
    ],
)
def test_what_files_cannot_hold(tmp_path, change, message):
    potential = change(ACSF(("Si",), (G2(CosineCutoff(3.0)),)), MLP((2,)))
    with pytest.raises(TypeError, match=message):
        write_n2p2(tmp_path / "new", potential, length_unit=1.0, energy_unit=1.0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("functions", "head", "message"),
    [
        ((G2(CosineCutoff(3.0)), G2(TanhCutoff(3.0))), MLP((2,)), "one type of cutoff"),
        ((G2(CosineCutoff(3.0)), G2(CosineCutoff(3.0, width=1.0))), MLP((2,)), "one inner radius"),
        ((G2(CosineCutoff(3.0), mixing=[[1.0]]),), MLP((2,)), r"by atomic number only, \[\[14\]\], got \[\[1.0\]\]"),
        ((G2(CosineCutoff(3.0), [1.0, 1.0]),), MLP((2,)), "one function twice"),
        ((G2(CosineCutoff(3.0)),), MLP(()), "at least one hidden layer"),
    ],
)
def test_what_cannot_be_written(tmp_path, functions, head, message):
    with pytest.raises(ValueError, match=message):
        write_n2p2(tmp_path / "new", AtomicPotential(ACSF(("Si",), functions), head), length_unit=1.0, energy_unit=1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs 10", "nnp_generation 4", "no global_hidden_layers_electrostatic, global_nodes_electrostatic"),
        ("epochs 10", "nnp_type 3G-HDNNP", "the key nnp_type 3G-HDNNP is not implemented"),
        ("epochs 10", "fixed_gausswidth H 1.0", "the key fixed_gausswidth H is not implemented"),
        ("epochs 10", "epoch 10", "the key epoch 10 is not implemented"),
        ("epochs 10", "cutoff_type 2", "cutoff_type is given twice"),
        ("epochs 10", "mean_energy 1.0", "mean_energy, conv_energy, conv_length go together"),
        ("epochs 10", "scale_symmetry_functions_sigma", "excludes"),
        ("epochs 10", "element_nodes_short H 3 2", "expected one of 2 hidden layers and its nodes"),
        ("epochs 10", "element_nodes_short H 3", "must be a positive whole number up to 100000, got ''"),
        ("epochs 10", "element_nodes_short H 1 2 3", "expected one of 2 hidden layers and its nodes"),
        ("epochs 10", "atom_energy H -0.6", "expected one atom_energy of an element"),
        ("number_of_elements 2", "number_of_elements 2 2", "expected one value of number_of_elements, got 2 2"),
        ("epochs 10", "element_nodes_short C 1 2", "expected one of H O and values"),
        ("cutoff_type 1", "", "no cutoff_type"),
        ("cutoff_type 1", "cutoff_type 9", "cutoff_type 9 is not implemented"),
        ("cutoff_type 1", "cutoff_type 2 0.1", "which types 0, 2, 3 lack"),
        ("cutoff_type 1", "cutoff_type 1 1.5", "inner radius 0 ≤ alpha < 1"),
        ("cutoff_type 1", "cutoff_type", "cutoff_type has no value"),
        ("number_of_elements 2", "number_of_elements 3", "expected 3 different elements"),
        ("elements O H", "elements O Xx", "expected 2 different elements"),
        ("t s l", "t x l", "activation x is not implemented"),
        ("t s l", "t s t", "the last one l"),
        ("_nodes_short 2 3", "_nodes_short 2", "expected 2 numbers after global_nodes_short"),
        ("_nodes_short 2 3", "_nodes_short 2 3.5", "must be a positive whole number: expected an integer, got '3.5'"),
        ("_nodes_short 2 3", "_nodes_short 2 4", "weights.008.data: 17 values; expected 21"),
        ("H 12 0.3", "H 26 0.3", "type 26 is not implemented"),
        ("H 2 H 0.1", "H 2 C 0.1", "expected 1 of the elements H O, then eta, r_s, radius"),
        ("H 3 O H 0.1 -1 2.0 6.0", "H 3 O H 0.1 -1 2.0", "then eta, lam, zeta, radius, r_s"),
        ("H 2 H 0.1 1.0 6.0", "H 2 O 0.20 0 6.0", "is there twice"),
        ("symfunction_short O 2 H 0.2 0.0 6.0\n", "", "no symfunction_short of O"),
        ("symfunction_short O 2 H 0.2 0.0 6.0\n", "symfunction_short O 2 H 0.2 0.0 6.0\nsymfunction_short O 2 H 0.3 0.0 6.0\n", "expected a line 2 2"),
        ("symfunction_short H 2 H 0.1 1.0 6.0\n", "", "expected a line 2 1, then minimum, maximum, mean, got 1 4"),
        ("scale_max_short 2.0", "scale_max_short -2.0", "expected scale_min_short < scale_max_short"),
        ("H 3 O H 0.1 -1 2.0", "H 3 O H 0.1 -1 two", "expected a number, got 'two'"),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert old in SETTINGS
    with pytest.raises(ValueError, match=message):
        read(tmp_path, SETTINGS.replace(old, new))


def test_refused_files(tmp_path):
    rows = [(e, i, *row) for e, s in enumerate("HO", 1) for i, row in enumerate(SCALING[s], 1)]
    for scaling, message in ((rows[:-1], "got the end"), ([*rows, rows[0]], "expected the end"), ([(*rows[0][:3], rows[0][2], 0.1, 0.3), *rows[1:]], "does not vary")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, scaling=scaling)
    with pytest.raises(ValueError, match="expected lines of 6 numbers, got 1 2 0.1"):
        read(tmp_path, scaling=[rows[0], (1, 2, 0.1, 0.2, 0.2), *rows[2:]])
    with pytest.raises(ValueError, match=r"weights\.008\.data: expected a number, got 'nan'"):
        read(tmp_path, weights=WEIGHTS | {"O": np.where(np.arange(17) == 3, np.nan, WEIGHTS["O"])})
    written(tmp_path)
    (tmp_path / "weights.001.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.001\.data"):
        read_n2p2(tmp_path, length_unit=1.0, energy_unit=1.0)
    with pytest.raises(ValueError, match=r"weights\.001\.data: expected the weight 0 1 1 2, got 0.2 a 2 0 2 1 1"):
        written(tmp_path)
        rows = [f"0.2 a {i} 0 {(i + 1) // 2} 1 {(i + 1) % 2 + 1}" for i in range(1, 16)]
        rows[1] = "0.2 a 2 0 2 1 1"  # the other order of n2p2's option ALTERNATIVE_WEIGHT_ORDERING
        (tmp_path / "weights.001.data").write_text("\n".join(rows))
        read_n2p2(tmp_path, length_unit=1.0, energy_unit=1.0)
    with pytest.raises(FileNotFoundError, match="no settings file"):
        read_n2p2(tmp_path / "other", length_unit=1.0, energy_unit=1.0)
    with pytest.raises(TypeError, match="length_unit"):
        read_n2p2(tmp_path)


RUNNER = """nn_type_short 1
runner_mode 3
use_short_nn
random_number_type 5
remove_atom_energies
mix_all_points
optmode_short_energy 1
points_in_memory 1000
global_hidden_layers_electrostatic 2
global_nodes_pair 15 15
ewald_alpha 0.2
calculate_forces
"""


def test_folders_of_runner(tmp_path):
    """Keywords without effect are named, once; scaling.data ends with the range of energies, and exponents are Fortran's."""
    expected = read(tmp_path)
    written(tmp_path, SETTINGS + RUNNER + RUNNER)
    (tmp_path / "scaling.data").write_text((tmp_path / "scaling.data").read_text() + "  -0.0018 0.0002\n")
    for name in ("weights.001.data", "weights.008.data", "scaling.data", "input.nn"):
        text = (tmp_path / name).read_text().replace("6.0\n", "6.0D0\n")
        (tmp_path / name).write_bytes(("\n# Größe\n" + text).replace("\n", "\r\n").encode("latin-1"))
    with pytest.warns(UserWarning, match="without effect on energies: runner_mode, use_short_nn, random_number_type, remove_atom_e") as caught:
        found = read_n2p2(tmp_path, length_unit=0.5, energy_unit=27.0)
    assert len(caught) == 1 and "\n" not in str(caught[0].message) and str(caught[0].message).count("calculate_forces") == 1
    assert found == expected


@pytest.mark.parametrize(
    "line",
    [
        "nn_type_short 2", "use_electrostatics", "electrostatic_type 1", "fixed_charge H 0.4", "use_vdw", "vdw_type 1", "element_activation_short H 1 1 t",
        "element_hidden_layers_short H 1", "element_symfunction_short H 2 0.1 0.0 6.0", "global_symfunction_short 2 0.1 0.0 6.0", "cutoff_alpha 0.5",
        "scale_min_short_atomic 0.5", "global_nodes_short_atomic 3 3", "scale_symmetry_function", "atom_enrgy H 1.0",
    ],
)  # fmt: skip
def test_keywords_that_may_change_energies(tmp_path, line):
    with pytest.raises(ValueError, match=f"input.nn: the key {' '.join(line.split()[:2])} is not implemented"):
        read(tmp_path, SETTINGS + line + "\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("_nodes_short 2 3", "_nodes_short 2 1000000000", "global_nodes_short must be a positive whole number up to 100000"),
        ("_nodes_short 2 3", "_nodes_short 2 99999", r"weights\.008\.data: 17 values"),
        ("layers_short 2", "layers_short 1000000000", "global_hidden_layers_short must be a positive whole number up to 100000"),
        ("_nodes_short 2 3", "_nodes_short 2 ²", "expected an integer, got '²'"),
        ("H 2 H 0.1", "H ² H 0.1", "type ² is not implemented"),
        ("H 2 H 0.1 1.0", "H 2 H −0.1 1.0", "plain - for the minus"),
        ("cutoff_type 1", "cutoff_type 1.5", "cutoff_type 1.5 is not implemented"),
        ("H 2 H 0.1 1.0 6.0", "H 2 H 0.1 1.0 -6.0", "must be > 0"),
        ("atom_energy H -0.5", "atom_energy", "values after atom_energy, got ''"),
        ("atom_energy H -0.5\n", "", "no atom_energy of H, but of O; write atom_energy H 0.0"),
    ],
)
def test_refused_counts_and_numbers(tmp_path, old, new, message):
    assert old in SETTINGS
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, SETTINGS.replace(old, new))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
