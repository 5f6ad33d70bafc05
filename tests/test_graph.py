"""Neighbour lists and the gate, against ASE on random cells."""

import re
import sys

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.neighborlist import primitive_neighbor_list
from catalog import quick_jit

import jaxpot as jp
from jaxpot.data import empty_like
from jaxpot.fit.sparse import _compact
from jaxpot.graph import only
from jaxpot.math.cutoffs import CosineCutoff, Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.neighbors import neighbor_pairs
from jaxpot.trees import pytree, static, with_leaves


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
    build = jax.jit(jp.graph.from_edges, static_argnames="max_neighbors")
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
    small = jp.graph.from_edges(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, i, j, S, 4.0, max_neighbors=10)
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


# --- total charge, outer field, and what atoms carry ------------------------------------------------------------------------

FIELD = np.array([0.1, -0.2, 0.3])


def charged(**changes):
    atoms = bulk("SiC", "zincblende", a=4.3)
    atoms.rattle(0.1, seed=0)
    return jp.from_atoms(atoms, 4.0, charge=-1.0, field=FIELD, **changes)


def test_charge_and_field_stay_with_the_structure():
    graph, neutral = charged(), jp.from_atoms(bulk("Si"), 4.0)
    assert neutral.charge == 0 and neutral.field.tolist() == [0, 0, 0] and jp.graph.to_atoms(neutral).info == {}
    for of in (graph, charged(max_atoms=5, max_neighbors=60), jp.graph.pad(graph, max_atoms=4), jp.strain(graph, np.full((3, 3), 0.01)), only(graph, ("C",))):
        assert of.charge == -1 and of.charge.dtype == of.field.dtype == of.positions.dtype
        np.testing.assert_array_equal(of.field, FIELD)
    rotation = np.asarray(jp.random_rotation(jax.random.key(0)))
    turned = jp.rotate(graph, rotation)
    assert turned.charge == -1
    np.testing.assert_allclose(turned.field, rotation @ FIELD, rtol=1e-14)
    batch = jp.stack([neutral, graph])
    assert batch.charge.tolist() == [0, -1] and batch.field.shape == (2, 3)
    assert jp.cast(graph, "float32").charge.dtype == jp.cast(graph, "float32").field.dtype == np.float32
    info = jp.graph.to_atoms(graph).info
    np.testing.assert_array_equal(jp.from_atoms(jp.graph.to_atoms(graph), 4.0, **info).field, FIELD)
    parts = jp.sharding.partition(graph, jp.sharding.make_mesh(2))
    assert parts.structure.charge == -1 and parts.structure.field.tolist() == FIELD.tolist()
    one = (np.array([14]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3), int), 4.0)
    made = jax.jit(lambda q: jp.graph.from_edges(*one, max_neighbors=1, charge=q, field=FIELD))(2.0)
    assert made.charge == 2 and made.field.tolist() == FIELD.tolist() and jp.graph.from_edges(*one, max_neighbors=1).charge == 0


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        ({"charge": np.nan}, r"charge is nan; expected a finite number of e, for example charge=1\.0"),
        ({"charge": "one"}, "charge is 'one'; expected a finite number"),
        ({"charge": [1.0, 2.0]}, r"charge is \[1\.0, 2\.0\]; expected a finite number"),
        ({"field": 0.1}, r"field is 0\.1; expected three finite numbers of V/Å, for example field=\(0, 0, 0\.1\)"),
        ({"field": [0, 0, np.inf]}, "expected three finite numbers"),
    ],
)
def test_charges_and_fields_that_are_none(outer, message):
    with pytest.raises(ValueError, match=message):
        jp.from_atoms(bulk("Si"), 3.0, **outer)


@pytree
class Potential(jp.LocalDescriptor):
    """q_i and Σ_j q_j f_c(r_j): a user's own class, which has the name of an interface of the library."""

    species: tuple[str, ...] = static()
    cutoff: Cutoff

    @property
    def reach(self):
        return self.cutoff.radius

    n_features = 2

    def environment(self, env):
        r = safe_norm(env.vectors)
        return jnp.concatenate([env.center_carried, einsum("kc,k->c", env.carried, self.cutoff(r))])


TOY = Potential(("C", "Si"), CosineCutoff(3.5, width=1.0))


def toy_charges(graph):
    """More at silicon, with the total that the structure has."""
    real = graph.numbers > 0
    bare = jnp.where(real, jnp.where(graph.numbers == 14, 1.0, -0.5), 0)
    return bare + jnp.where(real, (graph.charge - jnp.sum(bare)) / jnp.sum(real), 0)


def of_charges(graph, charges):
    return jax.vmap(TOY.environment)(jp.environments(graph, TOY.reach, TOY.species, charges[:, None]))


def with_toy_charges(graph):
    return of_charges(graph, toy_charges(graph))


toy_features = quick_jit(with_toy_charges)


def test_what_atoms_carry_reaches_their_neighbours():
    graph = charged(max_neighbors=60)
    charges = np.asarray(quick_jit(toy_charges)(graph))
    np.testing.assert_allclose(charges.sum(), -1, rtol=1e-14)
    atoms = jp.graph.to_atoms(graph)
    i, j, _, d = neighbor_pairs(atoms, 3.5)
    seen = np.asarray(TOY.cutoff(d))
    matrix = np.zeros((2, 2))
    np.add.at(matrix, (i, j), seen)
    np.testing.assert_allclose(toy_features(graph), np.stack([charges, matrix @ charges], axis=1), rtol=1e-12)
    slopes = quick_jit(jax.jacobian(lambda q: of_charges(graph, q)[:, 1]))(charges)
    np.testing.assert_allclose(slopes, matrix, rtol=1e-12)
    env = jp.environments(graph, 3.5, TOY.species, jnp.full((2, 3), jnp.nan))
    assert env.carried.shape == (*graph.neighbors.shape, 3) and not np.isnan(np.asarray(env.carried)[~np.asarray(env.mask)]).any()


def test_padding_and_batches_do_not_change_what_atoms_carry():
    one, other = charged(), jp.from_atoms(bulk("Si"), 4.0, charge=2.0)
    larger = toy_features(jp.graph.pad(one, max_atoms=7, max_neighbors=70))
    np.testing.assert_allclose(larger[:2], toy_features(one), rtol=1e-14)
    assert not np.any(larger[2:])
    batch = quick_jit(jax.vmap(with_toy_charges))(jp.stack([one, other]))
    np.testing.assert_allclose(batch[0, :2], toy_features(one), rtol=1e-14)
    np.testing.assert_allclose(batch[1], toy_features(other), rtol=1e-14)


def test_who_carries_nothing_costs_nothing():
    """No operation of a traced model has an array without entries."""
    graph = charged()
    envs = jp.environments(graph, 3.5, TOY.species)
    assert envs.carried.shape == (*graph.neighbors.shape, 0) and envs.center_carried.shape == (2, 0)
    model = jp.AtomicPotential(jp.SOAP(jp.Density(TOY.species, TOY.cutoff, jp.GTO(2), 1, sigma=0.5)), jp.Linear(coefficients=np.ones(40)))
    program = str(jax.make_jaxpr(jp.evaluate)(model, graph))
    assert not [line for line in program.splitlines() if re.search(r"= ", line) and re.search(r"\[[0-9,]*\b0\]", line.split("= ")[0])]


def test_sparse_points_carry_what_they_are_given():
    graph = charged(max_neighbors=60)
    envs = jax.tree_util.tree_map(np.asarray, jp.environments(graph, 3.5, TOY.species, jnp.array([[1.0, 3.0], [2.0, 4.0]])))
    mixed = jax.tree_util.tree_map(lambda x: x[:, ::-1] if x.ndim > 1 and x.shape[1] == 60 else x, envs)  # empty slots first
    points = _compact(mixed, 55)
    assert points.carried.shape == (2, 55, 2)
    np.testing.assert_array_equal(points.carried, np.where(points.mask[..., None], np.stack([1.0 + points.index, 3.0 + points.index], axis=-1), 0))
    nothing = _compact(mixed.replace(carried=np.zeros((2, 60, 0))), 55)
    assert nothing.carried.shape == (2, 55, 0) and nothing.mask.sum() == envs.mask.sum()


def test_frames_state_their_charge_and_field():
    frames = [_with(bulk("Si", a=a), info={"energy": 0.0, "q": q, "E": FIELD}) for a, q in ((5.4, 1.0), (5.5, -1.0))]
    read = lambda keys: jp.Dataset.from_atoms(frames, 3.0, sigma=jp.Properties(energy=1.0), keys=keys, batch_size=1)  # noqa: E731
    assert {float(b.graphs.charge[0]) for b in read({"energy": "energy"}).batches} == {0.0}
    data = read({"energy": "energy", "charge": "q", "field": "E"})
    assert {frame: float(structure.graphs.charge) for frame, structure in data.structures()} == {0: 1.0, 1: -1.0}
    assert all(np.array_equal(structure.graphs.field, FIELD) for _, structure in data.structures())
    assert not np.any(empty_like(data.batches[0]).graphs.charge)
    del frames[1].info["q"]
    with pytest.raises(ValueError, match=r"frame 1: it has no atoms\.info\['q'\], where keys say its charge is; write atoms\.info\['q'\] = 0\.0"):
        read({"energy": "energy", "charge": "q"})
