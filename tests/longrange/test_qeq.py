"""Charge equilibration against the closed form of two atoms, direct solves (tests/oracles/qeq.npz) and finite differences."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import IsolatedAtoms, diagnose, from_atoms
from jaxpot.cutoffs import CosineCutoff
from jaxpot.longrange import ChargeEquilibration, ConjugateGradients, Dense, Direct, Electrostatics, Ewald, Fragments, OverlapWeighted, QEq, sum_for
from jaxpot.trees import with_leaves
from jaxpot.units import COULOMB

ORACLE = np.load(Path(__file__).parent.parent / "oracles" / "qeq.npz")
INFO = json.loads(str(ORACLE["info"]))
UNIT = COULOMB / INFO["ke"]  # the oracle's constant has more digits; in its unit of energy the charges are the same
CASES = [("water3", 0), ("water3", 1), ("nacl8", 0), *(pytest.param(name, 0, marks=pytest.mark.slow) for name in ("gaas8", "tric_sic"))]


def oracle_atoms(structure):
    return Atoms(**{name: ORACLE[f"{structure}/{name}"] for name in ("numbers", "positions", "cell", "pbc")})


def model_of(species, sum, **changes):
    of = {symbol: INFO["parameters"][symbol] for symbol in species}
    column = lambda name: np.array([of[symbol][name] for symbol in species])  # noqa: E731
    chi = IsolatedAtoms(dict(zip(species, UNIT * column("chi"), strict=True)))
    return QEq(species, chi, UNIT * column("eta"), column("gaussian_width"), sum, **changes)


@functools.cache
def case(structure, charge):
    atoms = oracle_atoms(structure)
    model = model_of(tuple(dict.fromkeys(atoms.symbols)), Direct())
    model = model.replace(sum=sum_for(atoms, accuracy=1e-11, interaction=model.interaction))
    return model, from_atoms(atoms, float(model.reach) + 0.01, charge=charge)


@pytest.mark.parametrize("structure, charge", CASES)
def test_gaussian_charges(structure, charge):
    model, graph = case(structure, charge)
    expected = {name: ORACLE[f"{structure}/gaussian_Q{charge}_{name}"] for name in ("charges", "energy", "electrostatic_energy", "forces", "lagrange")}
    found = quick_jit(jaxpot.evaluate)(ChargeEquilibration(model), graph)
    np.testing.assert_allclose(found.charges, expected["charges"], atol=1e-10)
    assert abs(float(jnp.sum(found.charges)) - charge) < 1e-13
    np.testing.assert_allclose(found.energy / UNIT, expected["energy"], atol=1e-9)
    np.testing.assert_allclose(found.forces / UNIT, expected["forces"], atol=1e-9)
    potential = model.pull(graph) + model.response(graph, found.charges)
    np.testing.assert_allclose(potential / UNIT, -expected["lagrange"], atol=1e-9)
    electric = 0.5 * jnp.sum(found.charges * model.sum.potential(model.interaction, graph, found.charges))
    np.testing.assert_allclose(electric / UNIT, expected["electrostatic_energy"], atol=1e-9)


def pair(r, **more):
    return from_atoms(Atoms("OH", positions=[[0, 0, 0], [0, 0, r]]), 1.0, **more)


@pytest.mark.parametrize("r", [0.7, 1.5, 4.0])
def test_two_atoms(r):
    chi, hardness, sigma = np.array([8.7, 4.5]), np.array([16.6, 13.9]), np.array([0.6, 0.45])
    model = QEq(("O", "H"), IsolatedAtoms({"O": 8.7, "H": 4.5}), hardness, sigma, Direct())
    own = hardness + COULOMB / (np.sqrt(np.pi) * sigma)
    between = COULOMB * jax.lax.erf(r / np.sqrt(2 * np.sum(sigma**2))) / r
    for charge, field in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.3)):
        # in a field along the pair the second atom's electronegativity is smaller by E r
        pull = chi[1] - field * r - chi[0]
        first = (pull + charge * (own[1] - between)) / (own[0] + own[1] - 2 * between)
        q = model.charges(pair(r, charge=charge, field=(0, 0, field)))
        np.testing.assert_allclose(q, [first, charge - first], atol=1e-13)


SMALL = oracle_atoms("water3")[:6]


def changed(model, graph, moved):
    """Charges, summed with fixed weights, when leaves and structure are others."""
    model = model.replace(electronegativity=model.electronegativity.replace(values=moved["chi"]), hardness=moved["J"], sigma=moved["sigma"])
    graph = jaxpot.graph.strain(graph.replace(positions=moved["positions"], charge=moved["charge"], field=moved["field"]), moved["strain"])
    q = model.charges(graph)
    return jnp.sum(q * jnp.cos(jnp.arange(len(q)))) + jnp.sum(q**2)


def product(one, other):
    return sum(jnp.sum(x * y) for x, y in zip(*map(jax.tree_util.tree_leaves, (one, other)), strict=True))


def central(function, h=1e-3):
    """Of the sixth order."""
    return sum(w * (function(k * h) - function(-k * h)) for k, w in ((1, 45), (2, -9), (3, 1))) / (60 * h)


@pytest.mark.parametrize("structure, solver", [("molecule", "dense"), ("molecule", "cg"), ("crystal", "dense")])
def test_implicit_gradients(structure, solver):
    """Forwards, in reverse, and the derivative of the derivative, by everything that charges depend on."""
    if structure == "molecule":
        model, graph = model_of(("O", "H"), Direct()), from_atoms(SMALL, 1.0, charge=0.5, field=(0.1, -0.2, 0.05))
    else:
        model, graph = case("tric_sic", 0)
    if solver == "cg":
        model = model.replace(solver=ConjugateGradients(1e-14))
    start = {
        "chi": jnp.asarray(model.electronegativity.values), "J": jnp.asarray(model.hardness), "sigma": jnp.asarray(model.sigma), "positions": graph.positions,
        "charge": graph.charge, "field": graph.field, "strain": jnp.zeros((3, 3)),
    }  # fmt: skip
    if structure == "crystal":  # of charges in a field there is nothing to be differentiated
        start["field"], fixed = jnp.zeros(3), {"field", "charge"}
    else:
        fixed = {"strain"}
    function = lambda moved: changed(model, graph, moved)  # noqa: E731
    rng = np.random.default_rng(0)

    @quick_jit
    def along(step, x):
        at = jax.tree_util.tree_map(lambda a, b: a + x * b, start, step)
        value, push = jax.jvp(function, (at,), (step,))
        slope, curvature = jax.jvp(lambda at: product(jax.grad(function)(at), step), (at,), (step,))
        return value, push, slope, curvature

    for name in sorted(set(start) - fixed):  # in one order, since steps are random
        step = {k: jnp.asarray(rng.normal(size=np.shape(x)) * (k == name)) for k, x in start.items()}
        _, forward, reverse, second = along(step, 0.0)
        expected = central(lambda x, step=step: along(step, x)[0])
        slope = central(lambda x, step=step: along(step, x)[1])
        assert abs(expected) > 1e-5, name
        assert abs(forward - expected) < 1e-7 * abs(expected), name
        assert abs(reverse - expected) < 1e-7 * abs(expected), name
        assert abs(second - slope) < 1e-6 * max(abs(slope), abs(expected)), name


def test_minimum():
    """The energy is stationary, so its derivative is that at fixed charges; and no other charges of this sum have a lower one."""
    model, graph = model_of(("O", "H"), Direct()), from_atoms(SMALL, 1.0, charge=1.0)
    q = model.charges(graph)
    energy = lambda q: jnp.sum(q * (model.pull(graph) + 0.5 * model.response(graph, q)))  # noqa: E731
    for seed in range(3):
        step = np.random.default_rng(seed).normal(size=6)
        step = 0.01 * (step - np.mean(step))
        assert abs(jax.jvp(energy, (q,), (step,))[1]) < 1e-12 and energy(q + step) > energy(q)


def box(n, seed):
    """Atoms on a rattled grid in a slightly triclinic box."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*(np.arange(side),) * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:n]
    cell = 2.8 * side * np.array([[1, 0, 0], [0.1, 1, 0], [0, -0.05, 1]])
    symbols = np.where(np.arange(n) % 2, "Cl", "Na")
    return Atoms(list(symbols), positions=(grid + 0.1 * rng.normal(size=grid.shape)) / side @ cell, cell=cell, pbc=True)


def crystal_of(atoms, accuracy):
    model = model_of(("Na", "Cl"), Direct())
    model = model.replace(sum=sum_for(atoms, accuracy=accuracy, interaction=model.interaction))
    return model, from_atoms(atoms, float(model.reach) + 1e-3)


def test_conjugate_gradients_of_a_crystal():
    model, graph = crystal_of(box(216, 0), 1e-6)
    q = jax.jit(QEq.charges)(model.replace(solver=ConjugateGradients()), graph)
    assert float(jnp.max(jnp.abs(q))) > 0.1
    np.testing.assert_allclose(q, jax.jit(QEq.charges)(model, graph), atol=1e-9)


@pytest.mark.parametrize("n", [64, pytest.param(2000, marks=pytest.mark.slow)])
def test_conjugate_gradients_of_five_cells(n):
    """Charges of a crystal's cell by the dense matrix, of five of them as one cell by conjugate gradients."""
    atoms = box(n, 0)
    model, graph = crystal_of(atoms, 1e-2)
    q = jax.jit(QEq.charges)(model, graph)
    grid = model.sum.grid
    # all wave vectors of the smaller cell, and others between, which are of nothing; or a mesh with the same points
    along = 5 * grid[0] + 4 if isinstance(model.sum, Ewald) else 5 * grid[0]
    many = model.replace(sum=model.sum.replace(grid=(along, *grid[1:])), solver=ConjugateGradients())
    found = jax.jit(QEq.charges)(many, from_atoms(atoms.repeat((5, 1, 1)), float(model.reach) + 1e-3))
    np.testing.assert_allclose(found, np.tile(q, 5), atol=1e-8)


def test_conjugate_gradients_of_a_molecule():
    atoms = box(300, 1)
    atoms.pbc = False
    model, graph = model_of(("Na", "Cl"), Direct()), from_atoms(atoms, 1.0, charge=2.0)
    q = jax.jit(QEq.charges)(model.replace(solver=ConjugateGradients()), graph)
    np.testing.assert_allclose(q, jax.jit(QEq.charges)(model, graph), atol=1e-9)
    assert abs(float(jnp.sum(q)) - 2) < 1e-11


@pytest.mark.parametrize("solver", [Dense(), ConjugateGradients()], ids=lambda solver: type(solver).__name__)
def test_no_minimum(solver):
    model, graph = model_of(("O", "H"), Direct(), solver=solver), from_atoms(SMALL, 1.0)
    with pytest.raises(ValueError, match="hardness must be > 0"):
        model.replace(hardness=[-20.0, 14.0])
    params, _ = jaxpot.free(model, "hardness")
    negative = with_leaves(model, {path: jnp.full(2, -40.0) for path in params})
    assert np.all(np.isnan(negative.charges(graph)))
    potential = ChargeEquilibration(negative)
    assert np.all(np.isnan(jaxpot.evaluate(potential, graph).forces))
    (cause,) = diagnose(potential, graph)
    assert "no minimum" in cause and "smallest eigenvalue is -" in cause


def test_singular_hardness():
    """Atoms so near and so wide that nothing but round-off holds charge back."""
    model = QEq(("O", "H"), IsolatedAtoms({"O": 8.7, "H": 4.5}), [1e-25, 1e-25], [1e4, 1e4], Direct())
    graph = from_atoms(Atoms("OHH", positions=[[0, 0, 0], [0, 0, 1e-3], [0, 1, 0]]), 1e-2)
    assert np.all(np.isnan(model.charges(graph)))
    (cause,) = diagnose(model, graph)
    assert "smallest eigenvalue" in cause


def test_not_converged():
    model = model_of(("O", "H"), Direct(), solver=ConjugateGradients(most=2))
    graph = from_atoms(SMALL, 1.0)
    assert np.all(np.isnan(model.charges(graph)))
    assert any("did not come to a residual" in cause for cause in diagnose(Electrostatics(model, Direct(), model.interaction), graph))


def test_separated_fragments():
    """Plain equilibration charges molecules far apart; charges of fragments do not, nor do overlaps of atoms."""
    far = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 60.0]])
    plain = model_of(("Na", "Cl"), Direct())
    assert abs(plain.charges(from_atoms(far, 1.0))[0]) > 0.1
    fragments = plain.replace(totals=Fragments(((0,), (1,)), charges=[0.0]))
    np.testing.assert_allclose(fragments.charges(from_atoms(far, 1.0)), 0, atol=1e-14)
    qtpie = plain.replace(electronegativity=OverlapWeighted(plain.species, plain.electronegativity, plain.sigma, CosineCutoff(12.0)))
    np.testing.assert_allclose(qtpie.charges(from_atoms(far, 12.0)), 0, atol=1e-14)
    near = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.4]])
    assert 0.05 < qtpie.charges(from_atoms(near, 12.0))[0] < plain.charges(from_atoms(near, 1.0))[0]


def test_charges_of_fragments():
    model = model_of(("O", "H"), Direct(), totals=Fragments(((0, 1, 2), (3, 4, 5)), charges=[1.0]))
    graph = jaxpot.graph.pad(from_atoms(SMALL, 1.0), max_atoms=8)
    q = model.charges(graph)
    np.testing.assert_allclose([np.sum(q[:3]), np.sum(q[3:6]), *q[6:]], [1, -1, 0, 0], atol=1e-13)
    potential = model.pull(graph) + model.response(graph, q)
    assert np.ptp(potential[:3]) < 1e-12 and np.ptp(potential[3:6]) < 1e-12 and abs(potential[0] - potential[3]) > 1
    wrong = from_atoms(SMALL[:3], 1.0)
    assert np.all(np.isnan(model.charges(wrong)))
    (cause,) = diagnose(model, wrong)
    assert "Fragments are of 6 atoms, the structure has 3" in cause
    with pytest.raises(ValueError, match="every atom"):
        Fragments(((0, 1), (1, 2)), charges=[0.0])
    with pytest.raises(ValueError, match="what is left"):
        Fragments(((0, 1), (2,)), charges=[0.0, 1.0])


def test_overlap():
    """Of two atoms at a distance, by the formula."""
    sigma, r = np.array([1.4, 1.0]), 2.0
    model = OverlapWeighted(("Na", "Cl"), IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), sigma, CosineCutoff(6.0))
    total = np.sum(sigma**2)
    overlap = (2 * np.prod(sigma) / total) ** 1.5 * np.exp(-(r**2) / (4 * total)) * 0.5 * (1 + np.cos(np.pi * r / 6))
    found = model.energies(from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [0, 0, r]]), 6.0))
    np.testing.assert_allclose(found, overlap * np.array([-5.8, 5.8]) / (1 + overlap), atol=1e-14)


def test_field_in_a_crystal():
    model, graph = case("tric_sic", 0)
    graph = graph.replace(field=jnp.array([0.0, 0.1, 0.0]))
    assert np.all(np.isnan(model.charges(graph)))
    assert any("leave out the field" in cause for cause in diagnose(model, graph))
