"""Bonded potentials: closed forms, the laws with a cell and with phases, periodic chains, and what makes them NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import assert_below, deviations, evaluate, is_finite, quick_jit, relative

import jaxpot as jp

SPECIES = ("C", "Si")
BONDS, ANGLES, DIHEDRALS = [[0, 1], [1, 2], [2, 3], [3, 4]], [[0, 1, 2], [1, 2, 3], [4, 3, 2]], [[0, 1, 2, 3], [4, 3, 2, 1]]
POSITIONS = np.array([[0.3, 0.1, 0.2], [1.6, 0.7, 0.0], [2.9, -0.2, 0.4], [4.0, 0.9, -0.5], [5.3, 0.2, 0.6]])
CHAIN = Atoms("CSiCCSi", positions=POSITIONS)
CELL = [[6.4, 0.3, -0.2], [0.5, 7.1, 0.4], [-0.3, 0.8, 6.7]]


def force_field(order=range(5)):
    """Of the chain whose atom k stands at the place order[k]."""
    place = np.asarray(order)
    bonds = jp.molecules.Bonds(SPECIES, place[np.array(BONDS)], stiffness=np.array([20.0, 24.0, 18.0, 22.0]), length=1.5)
    angles = jp.molecules.Angles(SPECIES, place[np.array(ANGLES)], stiffness=3.0, angle=np.array([1.9, 2.0, 1.8]))
    plain = jp.molecules.Dihedrals(SPECIES, place[np.array(DIHEDRALS[:1])], amplitudes=[0.3, 0.2], phases=[0.4, -1.0], multiplicities=(3, 1))
    opls = jp.molecules.Dihedrals.opls(SPECIES, place[np.array(DIHEDRALS)], [[0.3, -0.2, 0.4, 0.1], [0.2, 0.1, -0.3, 0.2]])
    return bonds + angles + plain + opls


def to_graph(atoms, n=9):
    return jp.from_atoms(atoms, 3.0, max_atoms=n, max_neighbors=12)


MODEL = force_field()


def test_against_ase():
    """Lengths, angles and dihedrals, its sign included, of ASE; a quarter, a third and a half of each to every atom."""
    at, rad = CHAIN, np.deg2rad
    bonds = [0.5 * k * (at.get_distance(*row) - 1.5) ** 2 for k, row in zip((20, 24, 18, 22), BONDS, strict=True)]
    angles = [1.5 * (rad(at.get_angle(*row)) - t) ** 2 for t, row in zip((1.9, 2.0, 1.8), ANGLES, strict=True)]
    first, second = (rad(at.get_dihedral(*row)) for row in DIHEDRALS)
    plain = [0.3 * (1 + np.cos(3 * first - 0.4)) + 0.2 * (1 + np.cos(first + 1.0))]
    opls = []
    for phi, v in ((first, (0.3, -0.2, 0.4, 0.1)), (second, (0.2, 0.1, -0.3, 0.2))):
        opls.append(0.5 * sum(v[m] * (1 + (-1) ** m * np.cos((m + 1) * phi)) for m in range(4)))
    for term, rows, energies in zip(MODEL.terms, (BONDS, ANGLES, DIHEDRALS[:1], DIHEDRALS), (bonds, angles, plain, opls), strict=True):
        local = np.zeros(5)
        for row, energy in zip(rows, energies, strict=True):
            local[row] += energy / len(row)
        assert relative(quick_jit(type(term).energies)(term, to_graph(CHAIN))[:5], local) < 1e-13


ROTATION = np.asarray(jp.random_rotation(jax.random.key(1)))


def test_laws_of_a_molecule():
    before = evaluate(MODEL, to_graph(CHAIN))
    assert is_finite(before) and np.max(np.abs(before.forces)) > 0.1
    order = np.array([3, 0, 4, 1, 2])  # the atom k stands at order[k]
    place = np.argsort(order)
    for q, model, permuted in ((ROTATION, MODEL, np.arange(5)), (np.eye(3), force_field(order), place)):
        moved = Atoms(CHAIN.numbers[permuted], positions=(POSITIONS @ q.T + [0.3, -2.0, 8.0])[permuted])
        forces, virial = np.asarray(before.forces)[:5] @ q.T, q @ np.asarray(before.virial) @ q.T
        after = evaluate(model, to_graph(moved))
        expected = before.replace(forces=np.concatenate([forces[permuted], np.zeros((4, 3))]), virial=virial)
        assert_below(deviations(after, expected, 9), 1e-12)
    mirrored = to_graph(Atoms(CHAIN.numbers, positions=-POSITIONS))
    even = MODEL.replace(terms=(*MODEL.terms[:2], MODEL.terms[2].replace(phases=np.zeros(2)), MODEL.terms[3]))
    assert relative(evaluate(even, mirrored).energy, evaluate(even, to_graph(CHAIN)).energy) < 1e-13
    assert relative(evaluate(MODEL, mirrored).energy, before.energy) > 1e-3  # only phases tell left from right


@quick_jit
def gradients(model, params, graph, epsilon):
    energy = lambda p, e: jp.free(model, *params)[1](p)(jp.strain(graph, 0.5 * (e + e.T)))  # noqa: E731
    return energy(params, epsilon), jax.grad(energy, argnums=(0, 1))(params, epsilon)


def central(function, h=5e-4):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_finite_differences():
    graph, params = to_graph(Atoms(CHAIN, cell=CELL, pbc=True)), jp.free(MODEL, "*")[0]
    assert set(params) == {"terms.0.stiffness", "terms.0.length", "terms.1.stiffness", "terms.1.angle"} | {
        f"terms.{k}.{name}" for k in (2, 3) for name in ("amplitudes", "phases")
    }
    zero, result = np.zeros((3, 3)), evaluate(MODEL, graph)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(9, 3)) * (np.arange(9) < 5)[:, None]
    numeric = -central(lambda h: float(gradients(MODEL, params, graph.replace(positions=graph.positions + h * direction), zero)[0]))
    assert numeric == pytest.approx(np.sum(np.asarray(result.forces) * direction), rel=1e-9)
    tilt = rng.normal(size=(3, 3))
    numeric = -central(lambda h: float(gradients(MODEL, params, graph, h * tilt)[0]))
    assert numeric == pytest.approx(np.sum(np.asarray(result.virial) * tilt), rel=1e-9)
    _, (by_params, _) = gradients(MODEL, params, graph, zero)
    for path, value in params.items():
        step = rng.normal(size=value.shape)
        numeric = central(lambda h: float(gradients(MODEL, params | {path: value + h * step}, graph, zero)[0]))  # noqa: B023
        assert numeric == pytest.approx(np.sum(np.asarray(by_params[path]) * step), rel=1e-8, abs=1e-9), path


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)])
def test_a_cell_changes_nothing(pbc):
    """Neither of a molecule inside it, nor when each atom is put into another image."""
    free, rng = evaluate(MODEL, to_graph(CHAIN)), np.random.default_rng(1)
    for shifts in (np.zeros((5, 3)), rng.integers(-2, 3, (5, 3)) * np.array(pbc)):
        atoms = Atoms(CHAIN.numbers, positions=POSITIONS + shifts @ np.array(CELL), cell=np.array(CELL) * np.array(pbc)[:, None], pbc=pbc)
        assert_below(deviations(evaluate(MODEL, to_graph(atoms)), free, 5), 1e-12)


def test_endless_chain():
    """Bonds through the boundary; twice the cell with twice the list is twice the energy and virial."""
    one = Atoms("SiC", positions=[[0.1, 0, 0], [1.7, 0.8, 0.3]], cell=[3.3, 20, 20], pbc=(True, False, False))

    def model(n):
        ring = np.arange(2 * n)
        rows = lambda width: np.stack([(ring + k) % (2 * n) for k in range(width)], axis=1)  # noqa: E731
        return jp.molecules.Bonds(SPECIES, rows(2), 10.0, 1.4) + jp.molecules.Angles(SPECIES, rows(3), 2.0, 1.9)

    two, four = (evaluate(model(n), to_graph(one.repeat((n, 1, 1)))) for n in (2, 4))
    expected = two.replace(energy=2 * two.energy, forces=jnp.concatenate([two.forces[:4]] * 2 + [jnp.zeros((1, 3))]), virial=2 * two.virial)
    assert_below(deviations(four, expected, 8), 1e-12)
    bonds = jp.molecules.Bonds(SPECIES, [[0, 1], [1, 0]], 10.0, 1.4)
    short = evaluate(bonds, to_graph(one))
    assert np.isnan(short.energy) and np.all(np.isnan(short.forces[:2])) and np.all(np.isnan(short.virial))
    assert "half of the cell" in jp.diagnose(bonds, to_graph(one))[0]


hessian = quick_jit(jax.hessian(lambda r, model, graph: model(graph.replace(positions=r))))


def test_straight_at_rest_and_bent():
    """CO₂: the Hessian of a straight molecule is that of bending, (1/a + 1/b)² k at the apex; the energy is exact on either side of straight."""
    a, b, k = 1.2, 1.5, 3.0
    atoms = Atoms("CSiC", positions=[[0, 0, -a], [0, 0, 0], [0, 0, b]])
    model = jp.molecules.Angles(SPECIES, [[0, 1, 2]], stiffness=k, angle=np.pi)
    matrix = np.asarray(hessian(to_graph(atoms).positions, model, to_graph(atoms)))[:3, :, :3, :]
    arms = np.array([1 / a, -1 / a - 1 / b, 1 / b])
    expected = k * np.einsum("i,j,xy->ixjy", arms, arms, np.diag([1, 1, 0]))
    assert np.max(np.abs(matrix - expected)) < 1e-12
    for bent in (0.0, 1e-9, 1e-4, 0.05, 0.0996, 0.0998, 0.11, 1.0, np.pi):
        for rest in (np.pi, 1.9, 0.0):
            atoms.positions[2] = b * np.array([0, np.sin(bent), np.cos(bent)])
            model = jp.molecules.Angles(SPECIES, [[0, 1, 2]], stiffness=k, angle=rest)
            result = evaluate(model, to_graph(atoms))
            assert float(result.energy) == pytest.approx(0.5 * k * (np.pi - bent - rest) ** 2, rel=1e-13, abs=1e-15)
            assert is_finite(result)
            torque = k * (np.pi - bent - rest) / b
            if 0 < bent < np.pi:
                assert float(np.linalg.norm(result.forces[2])) == pytest.approx(abs(torque), rel=1e-8, abs=1e-13)


def test_planar_dihedrals():
    """At 0 and π first and second derivatives are finite, and the force is that of the amplitudes' sines."""
    for turn, cis in ((0.0, 1.0), (np.pi, -1.0)):
        atoms = Atoms("C4", positions=[[1.2, 0, -0.3], [0, 0, 0], [0, 0, 1.5], [1.1 * np.cos(turn), 1.1 * np.sin(turn), 1.7]])
        model = jp.molecules.Dihedrals(("C",), [[0, 1, 2, 3]], amplitudes=[0.2, 0.3], phases=[0.5, 0.0], multiplicities=(1, 2))
        result = evaluate(model, to_graph(atoms))
        assert float(result.energy) == pytest.approx(0.2 * (1 + cis * np.cos(0.5)) + 0.6, rel=1e-14)
        assert abs(float(result.forces[3, 1])) == pytest.approx(0.2 * np.sin(0.5) / 1.1, rel=1e-12)
        assert is_finite(hessian(to_graph(atoms).positions, model, to_graph(atoms)))
    atoms.positions[3] = [0, 0, 3.0]
    result = evaluate(model, to_graph(atoms))
    assert np.isnan(result.energy) and np.all(np.isnan(result.forces[:4]))
    assert "lie on a line" in jp.diagnose(model, to_graph(atoms))[0]


def test_batch_padding_type_and_file(tmp_path):
    atoms = [CHAIN, Atoms(CHAIN, cell=CELL, pbc=True), CHAIN + Atoms("C", positions=[[9, 9, 9]])]
    results = quick_jit(jax.vmap(jp.evaluate, (None, 0)))(MODEL, jp.stack([jp.from_atoms(a, 2.0) for a in atoms]))
    for i, a in enumerate(atoms):
        assert_below(deviations(jax.tree_util.tree_map(lambda x, i=i: x[i], results), evaluate(MODEL, to_graph(a)), len(a)), 1e-13)
    single = jax.eval_shape(jp.evaluate, jp.cast(MODEL, jnp.float32), jp.cast(to_graph(CHAIN), jnp.float32))
    assert {x.dtype for x in jax.tree_util.tree_leaves(single)} == {jnp.dtype("float32")}
    loaded = jp.load(jp.save(tmp_path / "model", MODEL))
    assert loaded == MODEL and loaded.terms[0].atoms.dtype == MODEL.terms[0].atoms.dtype == np.int32


def test_atoms_that_are_not_there():
    for atoms, reason in (
        (CHAIN[:4], "atom 4, which is not among the 4 atoms"),
        (Atoms("CSiCCN", positions=POSITIONS), "contains N"),
    ):
        result = evaluate(MODEL, to_graph(atoms))
        assert np.isnan(result.energy) and np.all(np.isnan(result.forces[: len(atoms)])) and np.all(np.isnan(result.virial))
        assert any(reason in cause for cause in jp.diagnose(MODEL, to_graph(atoms)))
    assert jp.diagnose(MODEL.terms[1], to_graph(CHAIN)) == ()


def test_beside_other_terms():
    """A term of a Sum that knows some elements sees these, at their places."""
    both = jp.molecules.Bonds(("Si",), [[1, 4]], 2.0, 3.0) + jp.IsolatedAtoms({"C": -1.0, "Si": -2.0})
    expected = (CHAIN.get_distance(1, 4) - 3) ** 2 - 7
    assert float(evaluate(both, to_graph(CHAIN)).energy) == pytest.approx(expected, rel=1e-13)


BAD = [
    (lambda: jp.molecules.Bonds(SPECIES, [0, 1], 1.0, 1.0), r"atoms must have shape \[n, 2\]"),
    (lambda: jp.molecules.Angles(SPECIES, [[0, 1]], 1.0, 1.0), r"atoms must have shape \[n, 3\]"),
    (lambda: jp.molecules.Bonds(SPECIES, [[0, 1.5]], 1.0, 1.0), "indices from 0 on"),
    (lambda: jp.molecules.Bonds(SPECIES, [[0, -1]], 1.0, 1.0), "indices from 0 on"),
    (lambda: jp.molecules.Bonds(SPECIES, [[0, 1], [2, 2]], 1.0, 1.0), r"\[2, 2\] names an atom twice"),
    (lambda: jp.molecules.Bonds(SPECIES, [[0, 1]], [1.0, 2.0], 1.0), r"stiffness must have shape \[\] or \[1\]"),
    (lambda: jp.molecules.Dihedrals(SPECIES, [[0, 1, 2, 3]], [1.0], [0.0], (0,)), "multiplicities must be"),
    (lambda: jp.molecules.Dihedrals(SPECIES, [[0, 1, 2, 3]], [1.0], [0.0], (1, 1)), "multiplicities must be"),
    (lambda: jp.molecules.Dihedrals(SPECIES, [[0, 1, 2, 3]], [1.0, 2.0], [0.0], (1,)), r"amplitudes must have shape \[1\] or \[1, 1\]"),
    (lambda: jp.molecules.Dihedrals.opls(SPECIES, [[0, 1, 2, 3]], [1.0]), r"\[4\] or \[n, 4\]"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
