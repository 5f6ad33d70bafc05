"""The particle-mesh sum against Ewald's, its expected error against the true one, derivatives, smoothness, and what it refuses."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import cast, from_atoms, strain
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.graph import pad
from jaxpot.longrange import Coulomb, Dispersion, Electrostatics, FixedCharges, GaussianCoulomb, InversePower, ParticleMesh, mesh_for, sum_for
from jaxpot.longrange.influence import axes
from jaxpot.longrange.mesh import own_potential
from jaxpot.longrange.mesh_points import read, shares, spread


def gas(seed, n=30, net=0.0, density=0.05):
    """Charges at random places of a random triclinic cell."""
    random = np.random.default_rng(seed)
    while True:
        cell = np.eye(3) + 0.3 * random.normal(size=(3, 3))
        cell *= (n / density / abs(np.linalg.det(cell))) ** (1 / 3)
        if np.min(1 / np.linalg.norm(np.linalg.inv(cell), axis=0)) > 0.6 * (n / density) ** (1 / 3):
            break
    q = random.normal(size=n)
    atoms = Atoms(random.choice([11, 17], n), positions=random.random((n, 3)) @ cell, cell=cell, pbc=True)
    return atoms, jnp.asarray(q - q.mean() + net / n)


def mesh(atoms, spacing=1.0, width=1.2, cutoff=6.0, order=6, room=1.06):
    grid = tuple(int(np.ceil(length / spacing)) for length in atoms.cell.lengths())
    return ParticleMesh(PolynomialCutoff(cutoff, width=1.0), width=width, grid=grid, spacing=spacing * room, order=order)


@quick_jit
def everything(sum, interaction, graph, q):
    """Energy, potential, forces, virial and dE/dq."""

    def of(positions, epsilon, q):
        found = sum.potential(interaction, strain(graph.replace(positions=positions), epsilon), q)
        return 0.5 * jnp.sum(q * found), found

    (value, found), slopes = jax.value_and_grad(of, argnums=(0, 1, 2), has_aux=True)(graph.positions, jnp.zeros((3, 3)), q)
    return value, found, -slopes[0], -slopes[1], slopes[2]


def rms(x):
    return float(np.sqrt(np.mean(np.sum(np.asarray(x) ** 2, axis=-1))))


@pytest.mark.parametrize(
    ("interaction", "net"),
    [
        (Coulomb(), 0.0),
        (Coulomb(), 2.0),
        (GaussianCoulomb(("Na", "Cl"), sigma=[0.4, 0.7]), 1.0),
        (InversePower(2), 1.0),
        (InversePower(3), 0.0),
        (InversePower(6), 1.0),
    ],
    ids=lambda x: type(x).__name__ + str(getattr(x, "power", "")) if not isinstance(x, float) else str(x),
)
def test_it_is_as_near_to_ewald_as_it_says(interaction, net):
    """Forces within 2.5 times the expected error, whatever the net charge; energies and virials of the same size, in eV."""
    atoms, q = gas(3, net=net)
    exact = sum_for(atoms, accuracy=1e-9, interaction=interaction)
    value, _, forces, virial, _ = everything(exact, interaction, from_atoms(atoms, float(exact.reach)), q)
    sum, graph = mesh(atoms), from_atoms(atoms, 6.0)
    found = everything(sum, interaction, graph, q)
    expected = float(sum.error(interaction, graph, q))
    assert 0.4 * expected < rms(found[2] - forces) < 2.5 * expected < 0.1
    assert abs(found[0] - value) < 20 * expected and np.max(np.abs(found[3] - virial)) < 50 * expected


@pytest.mark.parametrize("order", [4, 5, 6])
def test_a_finer_mesh_is_exact(order):
    """Constants of Madelung to 1e-9, of atoms at the worst places of the mesh."""
    salt = ase.build.bulk("NaCl", "rocksalt", a=2.0)
    salt.positions += 0.123
    points = {4: 32, 5: 16, 6: 16}[order]
    sum = ParticleMesh(PolynomialCutoff(6.5, width=0.3), width=0.85, grid=(points,) * 3, spacing=0.1, order=order)
    found = sum.potential(InversePower(1), from_atoms(salt, 6.5), jnp.array([1.0, -1.0]))
    np.testing.assert_allclose(found, [-1.7475645946331822, 1.7475645946331822], atol=1e-9)


@pytest.mark.slow
def test_expected_error_of_random_cells():
    """A factor of two; the study of experiments/benchmarks has a hundred cells."""
    for seed, (order, spacing) in enumerate([(4, 1.3), (6, 1.0)]):
        atoms, q = gas(20 + seed, n=60, net=2.0 * seed)
        exact = sum_for(atoms, accuracy=1e-8)
        forces = everything(exact, Coulomb(), from_atoms(atoms, float(exact.reach)), q)[2]
        sum, graph = mesh(atoms, spacing, order=order), from_atoms(atoms, 6.0)
        ratio = rms(everything(sum, Coulomb(), graph, q)[2] - forces) / float(sum.error(Coulomb(), graph, q))
        assert 0.5 < ratio < 2, (seed, ratio)


@pytest.mark.parametrize("interaction", [Coulomb(), InversePower(6)], ids=["coulomb", "r-6"])
def test_derivatives_are_those_of_the_energy(interaction):
    """Forces, virial and dE/dq against central differences, at atoms across the borders of mesh and cell."""
    atoms, q = gas(5, n=12)
    atoms.positions[0] -= 30.0
    sum, graph = mesh(atoms), from_atoms(atoms, 6.0)
    _, found, forces, virial, by_charge = everything(sum, interaction, graph, q)
    random = np.random.default_rng(0)
    moves, stretch, more = (jnp.asarray(random.normal(size=shape)) for shape in (graph.positions.shape, (3, 3), q.shape))

    @quick_jit
    def energy(step, part):
        moved = strain(graph.replace(positions=graph.positions + part[0] * step * moves), part[1] * step * stretch)
        charges = q + part[2] * step * more
        return 0.5 * jnp.sum(charges * sum.potential(interaction, moved, charges))

    def slope(part, h=2e-4):
        a, b = ((energy(i * h, part) - energy(-i * h, part)) / (2 * i * h) for i in (1, 2))
        return (4 * a - b) / 3

    size = float(jnp.max(jnp.abs(forces)))
    assert abs(slope(jnp.array([1.0, 0, 0])) + jnp.sum(forces * moves)) < 1e-8 * max(size, 1)
    assert abs(slope(jnp.array([0, 1.0, 0])) + jnp.sum(virial * stretch)) < 1e-8 * max(size, 1)
    assert abs(slope(jnp.array([0, 0, 1.0])) - jnp.sum(by_charge * more)) < 1e-8 * max(size, 1)
    np.testing.assert_allclose(by_charge, found, atol=1e-10)


@pytest.mark.slow
def test_second_derivatives_in_both_modes():
    """Forward over reverse, reverse over reverse, and differences of forces."""
    atoms, q = gas(6, n=10)
    sum, graph = mesh(atoms), from_atoms(atoms, 6.0)
    move = jnp.asarray(np.random.default_rng(1).normal(size=graph.positions.shape))

    def slope(positions):
        return jax.grad(lambda positions: 0.5 * jnp.sum(q * sum.potential(Coulomb(), graph.replace(positions=positions), q)))(positions)

    @quick_jit
    def found(positions):
        forward = jax.jvp(slope, (positions,), (move,))[1]
        reverse = jax.grad(lambda positions: jnp.sum(slope(positions) * move))(positions)
        h = 1e-4
        a, b = ((slope(positions + i * h * move) - slope(positions - i * h * move)) / (2 * i * h) for i in (1, 2))
        return forward, reverse, (4 * a - b) / 3

    forward, reverse, differences = found(graph.positions)
    np.testing.assert_allclose(forward, reverse, atol=1e-10)
    np.testing.assert_allclose(forward, differences, atol=1e-7)


def test_it_is_a_symmetric_linear_operator():
    atoms, _ = gas(7, n=15)
    graph, sum = jax.device_put(pad(from_atoms(atoms, 6.0), max_atoms=17)), mesh(atoms)
    one, two = jnp.asarray(np.random.default_rng(0).normal(size=(2, 17)))
    potential = quick_jit(lambda q: sum.potential(Coulomb(), graph, q))
    of_one, of_two = potential(one), potential(two)
    assert abs(jnp.sum(jnp.where(graph.numbers > 0, one * of_two - two * of_one, 0))) < 1e-10
    assert not np.any(of_one[15:])
    np.testing.assert_allclose(potential(2 * one - 0.5 * two), 2 * of_one - 0.5 * of_two, atol=1e-11)
    np.testing.assert_allclose(potential(one.at[15:].set(0)), of_one, atol=1e-12)


def test_no_jump_along_a_scan_of_the_cell():
    """±5 %: fourth differences of an energy that is smooth are small, and a jump of 1e-9 eV would be seen in them."""
    atoms, q = gas(8, n=10)
    sum, graph = mesh(atoms, order=6), from_atoms(atoms, 9.0)
    steps = jnp.arange(-200, 201) * 2.5e-4

    @quick_jit
    def energies(steps):
        def one(step):
            moved = strain(graph, step * jnp.eye(3))
            return jnp.sum(q * sum.far(Coulomb(), moved, q)), 0.5 * jnp.sum(q * sum.potential(Coulomb(), moved, q))

        return jax.lax.map(one, steps)

    for values in energies(steps):
        assert np.all(np.isfinite(values))
        smooth = np.abs(np.diff(values, n=4))
        assert smooth.max() < 1e-9


def test_what_an_atom_does_to_itself_is_taken_out():
    """Alone on the mesh a source feels nothing, wherever it lies; before, its own force is as large as what the mesh leaves."""
    random, grid = np.random.default_rng(0), (6, 7, 8)
    of_axes, first = shares(jnp.asarray(random.normal(size=(5, 3))), grid, 5)
    influence = jnp.asarray(random.random((6, 7, 5)))
    along = axes(grid, 5)
    influence = influence + jnp.roll(influence[::-1, ::-1], (1, 1), axis=(0, 1))  # k and −k alike
    found = own_potential(of_axes, influence * along[2].copies[None, None, :], along, grid)
    for i in range(5):
        mesh = jnp.fft.rfftn(spread(of_axes[i : i + 1], first[i : i + 1], jnp.ones(1), grid))
        back = read(of_axes[i : i + 1], first[i : i + 1], jnp.fft.irfftn(influence * mesh, s=grid) * np.prod(grid))
        np.testing.assert_allclose(found[i], back[0], rtol=1e-12)


def test_splines():
    """They sum to one, reproduce places, and hold on a mesh smaller than their support."""
    random = np.random.default_rng(0)
    for order in (4, 5, 6):
        of_axes, first = shares(jnp.asarray(random.normal(size=(20, 3))), (3, 5, 8), order)
        np.testing.assert_allclose(jnp.sum(of_axes, axis=-1), 1, atol=1e-14)
        assert np.all(of_axes >= 0) and np.all(first >= 0) and np.all(first < np.array([[3, 5, 8]]))
        q = jnp.asarray(random.normal(size=20))
        points = spread(of_axes, first, q, (3, 5, 8))
        other = jnp.asarray(random.normal(size=(3, 5, 8)))
        np.testing.assert_allclose(jnp.sum(points), jnp.sum(q), atol=1e-13)
        np.testing.assert_allclose(jnp.sum(points * other), jnp.sum(q * read(of_axes, first, other)), atol=1e-12)


def test_accelerators_take_all_atoms_at_once(monkeypatch):
    random = np.random.default_rng(0)
    of_axes, first = shares(jnp.asarray(random.normal(size=(20, 3))), (6, 5, 8), 6)
    q, other = jnp.asarray(random.normal(size=20)), jnp.asarray(random.normal(size=(6, 5, 8)))
    found = spread(of_axes, first, q, (6, 5, 8)), read(of_axes, first, other)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for one, two in zip(found, (spread(of_axes, first, q, (6, 5, 8)), read(of_axes, first, other)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-13)


@pytest.mark.slow
def test_choice():
    """Its accuracy is kept, for grown cells as well, and results beyond are NaN with a reason."""
    atoms, q = gas(9, n=200)
    sum = mesh_for(atoms, accuracy=1e-4, growth=0.05)
    graph = from_atoms(atoms, float(sum.reach) * 1.2)
    exact = sum_for(atoms, accuracy=1e-8)
    forces = everything(exact, Coulomb(), from_atoms(atoms, float(exact.reach)), q)[2]
    assert rms(everything(sum, Coulomb(), graph, q)[2] - forces) < 2e-4
    grown, outgrown = strain(graph, 0.049 * jnp.eye(3)), strain(graph, 0.08 * jnp.eye(3))
    assert float(sum.error(Coulomb(), grown, q)) < 2e-4
    assert np.all(np.isfinite(sum.potential(Coulomb(), grown, q))) and not sum.causes(grown)
    assert np.all(np.isnan(sum.potential(Coulomb(), outgrown, q)))
    assert "has outgrown the grid" in sum.causes(outgrown)[0]


def test_what_is_refused():
    atoms, q = gas(10, n=5)
    sum = mesh(atoms, spacing=2.0)
    free = from_atoms(atoms, 6.0).replace(pbc=jnp.array([True, True, False]))
    assert np.all(np.isnan(sum.potential(Coulomb(), free, q))) and "sums crystals" in sum.causes(free)[0]
    assert np.all(np.isnan(sum.potential(InversePower(3), from_atoms(atoms, 6.0), q + 1)))
    net = Dispersion(("Na", "Cl"), c6=[1.0, 2.0], sum=sum, interaction=InversePower(3))
    assert any("needs a sum of zero" in cause for cause in jaxpot.diagnose(net, from_atoms(atoms, 6.0)))
    assert not sum.causes(from_atoms(atoms, 6.0), InversePower(3), q - q.mean())
    with pytest.raises(ValueError, match="grid must be a tuple of three integers"):
        sum.replace(grid=(1, 4, 4))
    with pytest.raises(ValueError, match="order must be 4, 5 or 6, got 7"):
        sum.replace(order=7)
    with pytest.raises(ValueError, match="sums crystals"):
        mesh_for(ase.build.molecule("H2O"))


@pytest.mark.slow
def test_single_precision():
    atoms, q = gas(13, n=12)
    sum, graph = mesh(atoms), from_atoms(atoms, 6.0)
    exact = sum.potential(Coulomb(), graph, q)
    found = cast(sum, "float32", insist=True).potential(Coulomb(), cast(graph, "float32"), q.astype("float32"))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=1e-5 * float(jnp.max(jnp.abs(exact))))


@pytest.mark.slow
def test_batches():
    """Structures of different cells at once."""
    frames = [gas(seed, n=n)[0] for seed, n in ((11, 8), (12, 10))]
    salt = Electrostatics(FixedCharges(("Na", "Cl"), values=[1.0, -1.0]), mesh(frames[1], spacing=2.0, room=2.0), background=True)
    graphs = [pad(from_atoms(atoms, 6.0), max_atoms=10, max_neighbors=80) for atoms in frames]
    graphs = [graph.replace(charge=jnp.sum(salt.charges.charges(graph))) for graph in graphs]
    one = [quick_jit(lambda graph: salt(graph))(graph) for graph in graphs]
    both = quick_jit(jax.vmap(lambda graph: salt(graph)))(jax.tree_util.tree_map(lambda *x: jnp.stack(x), *graphs))
    np.testing.assert_allclose(both, jnp.stack(one), atol=1e-11)
