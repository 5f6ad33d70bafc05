"""What sum_for chooses, the error that sums expect, and energies along scans of the cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

from jaxpot import diagnose, from_atoms, stack
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.graph import pad
from jaxpot.longrange import Coulomb, Direct, Electrostatics, Ewald, FixedCharges, GaussianCoulomb, InversePower, sum_for


def cell_of(n, rng, density=0.1):
    """A random triclinic cell of n atoms."""
    while True:
        cell = np.eye(3) + 0.5 * rng.uniform(-1, 1, (3, 3))
        if abs(np.linalg.det(cell)) > 0.3:
            return cell * (n / density / abs(np.linalg.det(cell))) ** (1 / 3)


def random_charges(n, i, rng):
    """Normal or of two values, some with a net charge."""
    q = rng.normal(size=n) if i % 2 else rng.choice([-1.0, 1.0], n)
    return q if i % 3 == 0 else q - np.mean(q)


def forces(sum, graph, q):
    return -jax.grad(lambda r: 0.5 * jnp.sum(q * sum.potential(Coulomb(), graph.replace(positions=r), q)))(graph.positions)


@quick_jit
def true_and_expected(sum, reference, graph, wide, q):
    error = forces(sum, graph, q) - forces(reference, wide, q)
    return jnp.sqrt(jnp.mean(jnp.sum(error**2, axis=1))), sum.error(Coulomb(), graph, q)


def grid_of(k_cutoff, cells):
    return tuple(int(np.ceil(k_cutoff * x / (2 * np.pi))) for x in np.max(np.linalg.norm(cells, axis=2), axis=0))


def ratios(n, count, seed=0):
    """Expected over true errors of random cells of n charges. One grid for all, so that one program serves them."""
    rng = np.random.default_rng(seed)
    cells = [cell_of(n, rng) for _ in range(count)]
    frames = [Atoms(f"H{n}", positions=rng.uniform(size=(n, 3)) @ cell, cell=cell, pbc=True) for cell in cells]
    reference = Ewald(PolynomialCutoff(9.0, width=0.5), width=1.35, grid=grid_of(4.8, cells), k_cutoff=4.8)
    wide = [from_atoms(atoms, 9.0) for atoms in frames]
    slots = max(graph.neighbors.shape[1] for graph in wide)
    grid, found = grid_of(2.4, cells), []
    for i, atoms in enumerate(frames):
        radius = rng.uniform(5, 7)
        sum = Ewald(PolynomialCutoff(radius, width=rng.uniform(0.3, 1.5)), width=radius / rng.uniform(3, 4.2), grid=grid, k_cutoff=2.4)
        q = jnp.asarray(random_charges(n, i, rng))
        graph = pad(from_atoms(atoms, 7.0), max_neighbors=slots)
        true, expected = true_and_expected(sum, reference, graph, pad(wide[i], max_neighbors=slots), q)
        found.append(float(expected / true))
    return np.array(found)


def test_the_expected_error_is_the_true_one():
    found = ratios(100, 12)
    assert np.all((found > 0.5) & (found < 2)), found
    found = ratios(12, 12)
    assert np.all((found > 0.25) & (found < 4)), found


@pytest.mark.slow
@pytest.mark.parametrize(("n", "count", "factor"), [(10, 50, 4), (60, 50, 4), (100, 60, 2), (500, 30, 2), (2000, 10, 2)])
def test_the_expected_error_in_many_cells(n, count, factor):
    found = ratios(n, count, seed=n)
    assert np.mean((found > 1 / factor) & (found < factor)) >= 0.95, np.sort(found)


N = 40
RNG = np.random.default_rng(4)
CELL = np.array([[7.2, 0.8, 0], [0, 7.9, 0.9], [-0.8, 0, 7.5]])
PLACES = RNG.uniform(size=(N, 3))
CHARGES = RNG.permutation(np.repeat([1.0, -1.0], N // 2))
PERIODIC = {"crystal": (True, True, True), "slab": (True, True, False), "wire": (False, True, False)}


def frame(pbc, stretch=1.0):
    return Atoms(np.where(CHARGES > 0, 11, 17), positions=PLACES @ CELL * stretch, cell=CELL * stretch, pbc=pbc)


@pytest.mark.parametrize("kind", PERIODIC)
def test_the_accuracy_asked_is_met(kind):
    """And it is not far exceeded, which would cost."""
    atoms = frame(PERIODIC[kind])
    tight = sum_for(atoms, accuracy=1e-9)
    of = quick_jit(forces)
    exact = of(tight, from_atoms(atoms, float(tight.reach)), jnp.asarray(CHARGES))
    for accuracy in (1e-3, 1e-6):
        sum = sum_for(atoms, accuracy=accuracy)
        graph = from_atoms(atoms, float(sum.reach))
        error = np.sqrt(np.mean(np.sum((of(sum, graph, jnp.asarray(CHARGES)) - exact) ** 2, axis=1)))
        expected = float(sum.error(Coulomb(), graph, jnp.asarray(CHARGES)))
        assert expected < accuracy and error < 1.5 * accuracy and error > 0.02 * accuracy


@pytest.mark.parametrize("kind", ["crystal", "slab"])
def test_scans_of_the_cell_do_not_jump(kind):
    """Around every neighbour that comes or goes and along ±5 %: third differences of the energy are those of a smooth function."""
    sum = sum_for(frame(PERIODIC[kind]), accuracy=1e-4)
    model = Electrostatics(FixedCharges(("Na", "Cl"), values=[1.0, -1.0]), sum)
    of, changes = quick_jit(jax.vmap(lambda graph: model(graph))), 0
    for centre, step in ((0.95, 1e-5), (1.0, 1e-5), (1.05, 1e-5), (1.0, 0.005)):
        stretches = centre + step * np.arange(-10, 11)
        graphs = [from_atoms(frame(PERIODIC[kind], x), float(sum.reach)) for x in stretches]
        energies = np.asarray(of(stack(graphs)))
        assert np.all(np.isfinite(energies))
        if step < 1e-4:
            changes += len({int(np.sum(graph.neighbors < N)) for graph in graphs}) - 1
            assert np.max(np.abs(np.diff(energies, 3))) < 1e-9  # of a smooth function it is 1e-11
    assert changes > 0
    assert "write jaxpot.longrange.sum_for(frames)" in " ".join(diagnose(model, from_atoms(frame(PERIODIC[kind], 1.5), float(sum.reach))))


def test_molecules_are_summed_directly_until_they_are_large():
    assert isinstance(sum_for(frame(False)), Direct) and isinstance(sum_for(frame(False), interaction=InversePower(6)), Direct)


def test_wide_charges_need_longer_lists():
    """A Gaussian of 1 Å does not end where a point charge's near part does."""
    interaction = GaussianCoulomb(("Na", "Cl"), sigma=[0.5, 1.6])
    sum = sum_for(frame(True), accuracy=1e-6, interaction=interaction)
    graph, q = from_atoms(frame(True), float(sum.reach)), jnp.asarray(CHARGES)
    assert float(sum.reach) > 10 and float(sum.error(interaction, graph, q)) < 1e-6
    short = Ewald(PolynomialCutoff(6.0, width=0.5), width=1.1, grid=(6, 6, 6), k_cutoff=4.5)
    graph = from_atoms(frame(True), 6.0)
    assert float(short.error(interaction, graph, q)) > 20 * float(short.error(Coulomb(), graph, q))


def test_what_is_refused():
    for frames, changes, message in (
        ([], {}, "no frames"),
        ([frame(True), frame(False)], {}, "choose a sum for each"),
        (frame(True), {"accuracy": 0.0}, "accuracy must be a positive number"),
        (frame(True), {"growth": -1.0}, "growth must be a positive number"),
        (frame(True), {"charges": {"Na": 1.0}}, "charges of Cl are missing"),
        (frame(True), {"charges": np.nan}, "finite numbers of e"),
        (frame((True, True, False)), {"interaction": InversePower(6)}, "InversePower other than 1/r"),
    ):
        with pytest.raises(ValueError, match=message):
            sum_for(frames, **changes)
