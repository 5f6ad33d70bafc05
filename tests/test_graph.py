"""Neighbour lists and the gate, against ASE on random cells."""

import sys

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.neighborlist import primitive_neighbor_list

import jaxpot as jp
from jaxpot.neighbors import neighbor_pairs
from jaxpot.pytree import with_leaves


def random_structure(rng):
    """Triclinic, left-handed, flat or small cells, any periodicity, atoms outside the cell."""
    n = int(rng.integers(1, 7))
    while True:
        cell = np.diag(rng.uniform(1.8, 7.0, 3)) + rng.normal(size=(3, 3)) * rng.choice([0.0, 0.5, 1.5])
        cell *= rng.choice([1, -1])
        if abs(np.linalg.det(cell)) > 4:
            break
    positions = rng.uniform(-1.5, 2.5, (n, 3)) @ cell
    return ase.Atoms(numbers=rng.choice([6, 14], n), positions=positions, cell=cell, pbc=rng.integers(0, 2, 3).astype(bool))


def pair_set(i, j, S):
    return set(zip(i.tolist(), j.tolist(), *np.asarray(S).T.tolist(), strict=True))


def test_thousand_random_cells_against_ase():
    rng = np.random.default_rng(1)
    compared = 0
    for _ in range(1000):
        atoms, cutoff = random_structure(rng), rng.uniform(1.5, 5.0)
        i, j, S = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.array, atoms.positions, cutoff)
        expected = pair_set(i, j, S)
        distances = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + S @ atoms.cell.array, axis=1)
        if len(i) and distances.min() < 1e-3:
            continue
        graph = jp.from_atoms(atoms, cutoff)
        n, k = graph.neighbors.shape
        used = np.asarray(graph.neighbors) < n
        centers = np.broadcast_to(np.arange(n)[:, None], (n, k))[used]
        assert pair_set(centers, np.asarray(graph.neighbors)[used], np.asarray(graph.shifts)[used]) == expected
        assert not graph.overflow
        compared += 1
    assert compared > 990


def test_environment_vectors_are_those_of_the_pairs():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=0)
    atoms.positions[3] += 3 * atoms.cell.array[0]
    atoms.pbc = (True, True, False)
    i, j, S, _ = neighbor_pairs(atoms, 4.0)
    env = jp.environments(jp.from_atoms(atoms, 4.0), 4.0, ("C", "Si"))
    vectors = atoms.positions[j] - atoms.positions[i] + S @ atoms.cell.array
    got = np.asarray(env.vectors)[np.asarray(env.mask)]
    assert len(got) == len(vectors)
    order = lambda x: x[np.lexsort(np.round(x, 9).T)]  # noqa: E731
    np.testing.assert_allclose(order(got), order(vectors), atol=1e-12)
    assert np.all(np.asarray(env.species)[np.asarray(env.mask)] == 1)
    assert np.all(np.linalg.norm(np.asarray(env.vectors)[~np.asarray(env.mask)], axis=1) > 4.0)


def test_from_edges_under_jit_equals_the_host():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=0)
    i, j, S, _ = neighbor_pairs(atoms, 4.0)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(i))
    padded = [np.concatenate([x[order], np.full((7, *x.shape[1:]), fill)]) for x, fill in ((i, 8), (j, 8), (S, 0))]
    build = jax.jit(jp.from_edges, static_argnames="max_neighbors")
    graph = build(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *padded, 4.0, max_neighbors=30)
    reference = jp.from_atoms(atoms, 4.0)
    invariant = lambda g: np.sort(np.linalg.norm(np.asarray(jp.environments(g, 4.0, ("Si",)).vectors), axis=-1)[:, :])  # noqa: E731
    k = reference.neighbors.shape[1]
    np.testing.assert_allclose(invariant(graph)[:, :k], invariant(reference), atol=1e-12)
    assert not graph.overflow
    assert build(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *padded, 4.0, max_neighbors=10).overflow


def test_forty_thousand_edges():
    """More rows than the size from which one JAX release miscomputes."""
    atoms = bulk("Si", cubic=True).repeat((6, 6, 6))
    atoms.rattle(0.1, seed=0)
    i, j, S, _ = neighbor_pairs(atoms, 4.7)
    assert len(i) > 40_000
    env = jax.jit(jp.environments, static_argnums=2)(jp.from_atoms(atoms, 4.7), 4.7, ("Si",))
    squares = np.asarray(jnp.sum(env.vectors**2, axis=-1))[np.asarray(env.mask)]
    expected = np.sum((atoms.positions[j] - atoms.positions[i] + S @ atoms.cell.array) ** 2, axis=1)
    np.testing.assert_allclose(np.sort(squares), np.sort(expected), rtol=1e-12)


@pytest.mark.parametrize("n", [2**16 - 1, 2**16, 2**16 + 2])
def test_more_atoms_than_sixteen_bits_count(n, monkeypatch):
    """A ring, whose pairs come in any order."""
    ring = np.arange(n)
    neighbors = np.stack([(ring + 1) % n, (ring - 1) % n], axis=1)
    order = np.random.default_rng(0).permutation(2 * n)
    pairs = (np.repeat(ring, 2)[order], neighbors.reshape(-1)[order], np.zeros((2 * n, 3), int), np.ones(2 * n))
    monkeypatch.setattr(sys.modules["jaxpot.graph"], "neighbor_pairs", lambda atoms, cutoff: pairs)
    graph = jp.from_atoms(ase.Atoms(numbers=np.full(n, 14), positions=np.zeros((n, 3))), 2.0)
    np.testing.assert_array_equal(np.sort(graph.neighbors, axis=1), np.sort(neighbors, axis=1))


def test_gate_poisons_and_diagnose_says_why():
    atoms = bulk("Si", cubic=True)
    soap = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(4.0), jp.GTO(2), 1, sigma=0.5))
    model = jp.AtomicPotential(soap, jp.Linear(coefficients=np.ones(6)))
    graph = jp.from_atoms(atoms, 4.0)
    assert np.isfinite(model(graph)) and jp.diagnose(model, graph) == ()
    i, j, S, _ = neighbor_pairs(atoms, 4.0)
    small = jp.from_edges(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, i, j, S, 4.0, max_neighbors=10)
    assert np.isnan(model(small))
    assert "overflow (16 neighbours, 10 slots); rebuild with max_neighbors=16" in jp.diagnose(model, small)[0]
    near = jp.from_atoms(atoms, 3.5)
    assert np.isnan(model(near)) and "rebuild with cutoff=4" in jp.diagnose(model, near)[0]
    carbon = graph.replace(numbers=graph.numbers.at[0].set(6))
    assert np.isnan(model(carbon)) and "contains C" in jp.diagnose(model, carbon)[0]
    lost = graph.replace(positions=graph.positions.at[2, 0].set(np.nan))
    assert np.isnan(model(lost)) and "first atom 2" in jp.diagnose(model, lost)[0]
    sharp = with_leaves(model, {"descriptor.expansion.sigma": np.asarray(0.05)})
    assert np.isnan(sharp(graph)) and "too coarse" in jp.diagnose(sharp, graph)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:0], "at least one atom"),
        (lambda a: _with(a, positions=np.full((8, 3), np.nan)), r"positions\[0, 0\] is nan"),
        (lambda a: a + a[:1], "same place"),
        (lambda a: _with(a, numbers=np.zeros(8, int)), "atomic number 0"),
        (lambda a: _with(a, cell=np.zeros((3, 3))), "is periodic but its lattice vector"),
        (lambda a: _with(a, cell=np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]])), "linearly dependent"),
    ],
)
def test_from_atoms_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        jp.from_atoms(change(bulk("Si", cubic=True)), 3.0)


def _with(atoms, **changes):
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


def test_too_few_slots_and_bad_cutoffs_are_refused():
    atoms = bulk("Si", cubic=True)
    with pytest.raises(ValueError, match="max_neighbors=16"):
        jp.from_atoms(atoms, 4.0, max_neighbors=15)
    with pytest.raises(ValueError, match="max_atoms=8"):
        jp.from_atoms(atoms, 4.0, max_atoms=7)
    for cutoff in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="positive number"):
            jp.from_atoms(atoms, cutoff)


def test_stack_pads_to_the_largest():
    graphs = [jp.from_atoms(bulk("Si"), 4.0), jp.from_atoms(molecule("SiH4"), 4.0)]
    batch = jp.stack(graphs)
    assert batch.numbers.shape == (2, 5) and batch.neighbors.shape == (2, 5, 16)
    assert np.all(np.asarray(batch.numbers[0, 2:]) == 0)
    assert np.asarray(batch.neighbors[1]).max() == 5


def test_a_graph_does_not_follow_the_atoms():
    """Arrays on the device may share memory with numpy's."""
    atoms = bulk("Si", cubic=True).repeat(6)
    graph = jp.from_atoms(atoms, 3.0)
    before = [np.array(x) for x in (graph.positions, graph.cell)]
    atoms.positions += 1.0
    atoms.cell[:] *= 2.0
    for x, old in zip((graph.positions, graph.cell), before, strict=True):
        np.testing.assert_array_equal(x, old)
