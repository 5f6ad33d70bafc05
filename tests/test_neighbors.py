"""The neighbour search against brute force: atoms that flew away, sheets, vacuum, skewed and tiny cells, and what is refused."""

import itertools
import time

import ase
import jax
import numpy as np
import pytest
from ase.build import bulk

import jaxpot as jp
from jaxpot.calculator import Calculator
from jaxpot.md import neighbor_list_energy
from jaxpot.neighbors import neighbor_pairs


def brute_force(positions, vectors, cutoff):
    """All pairs of atoms, and all lattice vectors that could bring them within the cutoff: centers, neighbours, integers [E, p], distances."""
    n, p = len(positions), len(vectors)
    difference = positions[None] - positions[:, None]
    across = np.linalg.pinv(vectors) if p else np.zeros((3, 0))
    base = -np.round(difference @ across)
    reach = np.floor(cutoff * np.linalg.norm(across, axis=0) + 0.5 + 1e-3).astype(int)
    offsets = np.array(list(itertools.product(*(range(-m, m + 1) for m in reach))), float).reshape(int(np.prod(2 * reach + 1)), p)
    S = base[:, :, None] + offsets
    d = np.linalg.norm(difference[:, :, None] + S @ vectors, axis=-1)
    near = (d < cutoff) & ~((np.arange(n)[:, None] == np.arange(n))[:, :, None] & ~np.any(S != 0, axis=-1))
    i, j, k = np.nonzero(near)
    return i, j, S[i, j, k].astype(int), d[i, j, k]


def require_equal(atoms, cutoff, nice=None, unimodular=None):
    """neighbor_pairs against brute force in the lattice `nice`, of which atoms.cell has the vectors unimodular·nice."""
    vectors = atoms.cell.array[atoms.pbc]
    size = np.abs(atoms.positions).max() + np.abs(vectors).max(initial=0)
    tolerance = 1e-9 + 50 * np.finfo(float).eps * size
    i, j, S, d = neighbor_pairs(atoms, cutoff)
    r = atoms.positions[j] - atoms.positions[i] + S @ atoms.cell.array
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), d, atol=tolerance)
    ei, ej, eS, ed = brute_force(atoms.positions, vectors if nice is None else nice, cutoff + tolerance)
    if unimodular is not None:
        eS = eS @ np.round(np.linalg.inv(unimodular)).astype(int)
    got = set(zip(i.tolist(), j.tolist(), map(tuple, S[:, atoms.pbc].tolist()), strict=True))
    assert len(got) == len(i) and not np.any(S[:, ~atoms.pbc])
    expected = list(zip(ei.tolist(), ej.tolist(), map(tuple, eS.tolist()), strict=True))
    assert got <= set(expected)
    assert got >= {pair for pair, distance in zip(expected, ed, strict=True) if distance < cutoff - tolerance}
    return len(i)


def ordinary(rng, n=None):
    n = int(rng.integers(1, 9)) if n is None else n
    cell = np.diag(rng.uniform(2.5, 7.0, 3)) + rng.normal(size=(3, 3)) * rng.choice([0.0, 0.4])
    pbc = rng.integers(0, 2, 3).astype(bool)
    return ase.Atoms(numbers=[14] * n, positions=rng.uniform(0, 1, (n, 3)) @ cell, cell=cell * rng.choice([1, -1]), pbc=pbc)


def large(rng, shape, top=8.0):
    return rng.choice([-1, 1], shape) * 10 ** rng.uniform(1, top, shape)


def runaway(atoms, rng):
    k = int(rng.integers(1, len(atoms) + 1))
    atoms.positions[:k] += large(rng, (k, 3)) * rng.integers(0, 2, (k, 3))


def many_cells_away(atoms, rng):
    steps = np.round(large(rng, (len(atoms), 3), max(1.0, 9 - np.log10(np.abs(atoms.cell.array).max()))))
    atoms.positions += steps @ atoms.cell.array


def far_origin(atoms, rng):
    atoms.positions += large(rng, 3)


def sheet(atoms, rng):
    atoms.positions *= np.where(np.arange(3) == rng.integers(3), 1.0, 10 ** rng.uniform(0, 4))


def clusters(atoms, rng):
    atoms.positions += large(rng, (3, 3))[rng.integers(0, 3, len(atoms))]


def vacuum(atoms, rng):
    atoms.set_cell(atoms.cell.array * np.where(rng.integers(0, 2, 3), 10 ** rng.uniform(0, 8), 1.0)[:, None])


def meaningless_vectors(atoms, rng):
    cell = atoms.cell.array
    for axis in np.flatnonzero(~atoms.pbc):
        cell[axis] = [np.zeros(3), cell[(axis + 1) % 3], 1e8 * rng.normal(size=3), np.ones(3)][rng.integers(4)]
    atoms.set_cell(cell)


def small(atoms, rng):
    atoms.set_cell(atoms.cell.array * rng.uniform(0.15, 0.4), scale_atoms=True)


EXTREMES = [runaway, many_cells_away, far_origin, sheet, clusters, vacuum, meaningless_vectors, small]


@pytest.mark.parametrize("extremes", [*[(e,) for e in EXTREMES], (vacuum, many_cells_away), (runaway, vacuum), (sheet, runaway, meaningless_vectors)])
def test_random_extremes_against_brute_force(extremes):
    rng, found = np.random.default_rng(len(extremes)), 0
    for _ in range(40):
        atoms = ordinary(rng)
        for change in extremes:
            change(atoms, rng)
        found += require_equal(atoms, rng.uniform(2.0, 5.0))
    assert found > 40


@pytest.mark.parametrize("top", [10, 1e3, 1e5])
def test_skewed_cells(top):
    """The same lattice by other vectors, up to 10⁹ times as long."""
    rng = np.random.default_rng(2)
    for _ in range(30):
        atoms = ordinary(rng)
        p = int(atoms.pbc.sum())
        unimodular, nice = np.eye(p, dtype=int), atoms.cell.array[atoms.pbc]
        for a, b in itertools.permutations(range(p), 2):
            if rng.integers(2) and np.abs(unimodular).max() < 10:
                unimodular[a] += int(rng.integers(-top, top + 1)) * unimodular[b]
        cell = atoms.cell.array
        cell[atoms.pbc] = unimodular @ nice
        atoms.set_cell(cell)
        require_equal(atoms, rng.uniform(2.0, 5.0), nice, unimodular)


def crystal(change):
    """1000 atoms of silicon without, and with, what ended the process or took minutes."""
    atoms = bulk("Si", cubic=True).repeat(5)
    atoms.rattle(0.1, seed=0)
    change(atoms)
    return atoms


def moved(number, vector, pbc=False):
    def change(atoms):
        atoms.pbc = pbc
        atoms.positions[number] += vector

    return change


def gas(atoms):
    atoms.pbc = False
    atoms.positions *= 1e5


def wide_sheet(atoms):
    atoms.pbc = (True, True, False)
    atoms.set_cell([2e4, 3e4, 5.0])
    atoms.positions *= [800.0, 1200.0, 0.05]


def tall_vacuum(atoms):
    atoms.cell[2] *= 1e6


LARGE = {
    "evaporated": moved(3, [5e5, 0, 0]),
    "farther": moved(3, [1e10, 0, 0]),
    "in two directions": moved(3, [2000.0, 2000.0, 0]),
    "above a slab": moved(3, [0, 0, 1e5], (True, True, False)),
    "far outside the cell": moved([3, 4], [1e7 * 27.15, -1e7 * 27.15, 3.0], True),
    "gas": gas,
    "sheet": wide_sheet,
    "vacuum": tall_vacuum,
}


@pytest.mark.parametrize("name", LARGE)
def test_thousand_atoms_take_no_time(name):
    atoms = crystal(LARGE[name])
    start = time.process_time()
    pairs = neighbor_pairs(atoms, 5.0)
    assert time.process_time() - start < 2
    cell = atoms.cell.array[atoms.pbc]
    assert len(pairs[0]) == len(brute_force(atoms.positions, cell, 5.0)[0])


def test_a_skewed_flat_box_of_atoms_without_periodicity_is_a_cluster():
    atoms = crystal(moved(0, 0.0))
    before = len(neighbor_pairs(atoms, 5.0)[0])
    atoms.set_cell([[1e-9, 0, 0], [1e12, 0, 0], [0, 0, 0]])
    assert len(neighbor_pairs(atoms, 5.0)[0]) == before


@pytest.mark.parametrize(
    ("atoms", "cutoff", "message"),
    [
        (ase.Atoms("H", cell=np.eye(3) * 0.001, pbc=True), 5.0, r"about 5.2e\+11 pairs of atoms lie within 5 Å.*0.001, 0.001, 0.001 Å wide"),
        (ase.Atoms("H", cell=np.eye(3) * 1e-9, pbc=(True, False, True)), 1e3, "about 3.1e\\+24 pairs"),
        (ase.Atoms("H", cell=[[1, 0, 0], [1e5, 1e-12, 0], [0, 0, 3.0]], pbc=True), 5.0, "linearly dependent"),
        (bulk("Si"), 1e5, r"about 4.2e\+14 pairs of atoms lie within 100000 Å"),
        (ase.Atoms("H2", [[0, 0, 0], [1e15, 0, 0]]), 5.0, r"atom 1 lies 1e\+15 Å from the origin, where float64 resolves 0.22 Å"),
        (ase.Atoms("H2", [[0, 0, 0], [0, 0, -1e300]]), 5.0, r"atom 1 lies 1e\+300 Å from the origin"),
        (ase.Atoms("H", cell=[3, 3, 1e13], pbc=True), 5.0, r"periodic lattice vector 2 .*1e\+13 Å"),
        (ase.Atoms("H2", [[0, 0, 0], [1e11, 0, 0]], cell=[1, 3, 3], pbc=True), 2.0, r"atom \d lies 1e\+11 lattice vectors away.*atoms.wrap\(\)"),
    ],
)
def test_refuses_in_one_line(atoms, cutoff, message):
    start = time.process_time()
    with pytest.raises(ValueError, match=message) as error:
        jp.from_atoms(atoms, cutoff)
    assert time.process_time() - start < 2 and "\n" not in str(error.value)


def test_a_crowd_is_counted_before_it_is_listed(monkeypatch):
    monkeypatch.setattr("jaxpot.neighbors.memory", lambda: 2e8)
    rng = np.random.default_rng(0)
    spread = ase.Atoms(np.full(5000, 14), rng.uniform(0, 400, (5000, 3)))
    assert len(neighbor_pairs(spread, 5.0)[0]) < 50_000
    with pytest.raises(ValueError, match=r"about 2.5e\+07 pairs of atoms lie within 5 Å; to list them takes 7.5 GB .* that close to each other"):
        neighbor_pairs(ase.Atoms(np.full(5000, 14), rng.uniform(0, 2, (5000, 3))), 5.0)


def test_distances_far_from_the_origin():
    """At 10⁸ Å float64 resolves 1.5·10⁻⁸ Å, which is enough; float32 is refused where neighbours lie there, and only there."""
    near = bulk("Si", cubic=True)
    far = near.copy()
    far.positions += 1e8
    vectors = [jp.environments(jp.from_atoms(a, 3.0), 3.0, ("Si",)).vectors for a in (near, far)]
    lengths = [np.sort(np.linalg.norm(v, axis=-1)) for v in vectors]
    np.testing.assert_allclose(*lengths, atol=1e-7)
    pair = ase.Atoms("Si3", [[0, 0, 0], [0, 0, 2.0], [0, 0, 5e5]])
    with jax.enable_x64(False):
        assert np.sum(jp.from_atoms(pair, 3.0).neighbors < 3) == 2
        pair.positions[:2, 2] += 2000
        with pytest.raises(ValueError, match="atom 1 lies 2e.03 Å from the origin, where float32 resolves 0.00024 Å; expected 0.0001 Å"):
            jp.from_atoms(pair, 3.0)
        far.positions -= 1e8
        far.positions[2] += 4000 * far.cell.array[0]
        with pytest.raises(ValueError, match="where float32 resolves"):
            jp.from_atoms(far, 3.0)


LJ = jp.empirical.LennardJones(("Si",), epsilon=0.3, sigma=2.1, cutoff=jp.cutoffs.PolynomialCutoff(3.5, width=1.0))


def test_an_atom_that_flies_away_ends_no_calculation():
    for pbc in (False, (True, True, False)):
        atoms = bulk("Si", cubic=True)
        atoms.pbc = pbc
        atoms.positions[0, 2] = 1e2
        atoms.calc = Calculator(LJ)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert not np.any(forces[0]) and np.any(forces[1:])
        for height in (5e5, 1e11):
            atoms.positions[0, 2] = height
            assert atoms.get_potential_energy() == energy
            np.testing.assert_array_equal(atoms.get_forces(), forces)
        atoms.positions[0, 2] = 1e13
        with pytest.raises(ValueError, match=r"atom 0 lies 1e\+13 Å from the origin"):
            atoms.get_forces()


@pytest.mark.parametrize("multi", [None, pytest.param(False, marks=pytest.mark.slow), True])
def test_jax_md_far_away_and_nowhere(multi):
    """In free space, by the minimum image and by all images: right, or NaN."""
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.pbc = multi is not None
    box = None if multi is None else atoms.cell.array.T
    neighbor_fn, energy_fn = neighbor_list_energy(LJ, None, box, atoms.numbers, multi_image=bool(multi))
    energy_fn = jax.jit(jax.value_and_grad(energy_fn))
    far = atoms.copy()
    far.positions[3] += np.array([0, 0, 5e5]) if multi is None else 10**5 * atoms.cell.array[0]
    energy, forces = energy_fn(far.positions, neighbor=neighbor_fn.allocate(far.positions))
    graph = jp.from_atoms(far, 3.5)
    assert abs(energy - LJ(graph)) < 1e-7 and np.all(np.isfinite(forces))
    for value in (np.nan, np.inf, *(() if multi is None else (1e13, 1e30))):
        far.positions[3] = value
        energy, forces = energy_fn(far.positions, neighbor=neighbor_fn.allocate(far.positions))
        assert np.isnan(energy) and np.all(np.isnan(forces)), value


def test_jax_md_in_boxes_whose_lists_need_too_much_memory():
    """Vacuum has no cells, and images are counted before they are listed."""
    atoms = bulk("Si", cubic=True).repeat((2, 2, 1))
    atoms.cell[2, 2] = 1e8
    neighbors = neighbor_list_energy(LJ, None, atoms.cell.array.T, atoms.numbers)[0].allocate(atoms.positions)
    assert np.sum(neighbors.idx < len(atoms)) == len(neighbor_pairs(atoms, 4.0)[0])
    with pytest.raises(ValueError, match=r"about 2.7e\+11 pairs of atoms lie within 4 Å"):
        neighbor_list_energy(LJ, None, 0.001 * np.eye(3), np.array([14]), multi_image=True)


def test_an_atom_that_is_nowhere_poisons_though_it_has_no_neighbors():
    graph = jp.from_atoms(ase.Atoms("Si3", [[0, 0, 0], [0, 0, 2.3], [0, 0, 20.0]]), 3.5)
    assert np.isfinite(LJ(graph)) and np.isnan(LJ(graph.replace(positions=graph.positions.at[2, 1].set(np.nan))))
