"""The heat flux is d/dt Σ rᵢ eᵢ of whatever is finite; of crystals it does not know origins, images kept in the cell, or how large the cell is."""

import itertools

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import CELL, CRYSTALLINE, LIST, MAX_ATOMS, MOLECULAR, MOLECULE, POTENTIALS, quick_jit, rattled, to_graph
from test_one_molecule import at

import jaxpot
from jaxpot.longrange import Direct, Dispersion, Ewald
from jaxpot.observables import heat_flux
from jaxpot.observables.heat import is_fixed
from jaxpot.units import FEMTOSECOND

is_fixed.register(catalog.Balanced, lambda charges: is_fixed(charges.of))

# one of every way in which atomic energies come about; the others differ by functions that other laws look at
QUICK = {"d3", "sine-matrix", "electrostatics", "electrostatics-direct", "lennard-jones", "sum", "tersoff"}
DEFINED = {"d3", "dispersion", "electrostatics", "inverse-power"}  # of crystals
TOLERANCE = 1e-8


def names(*families):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for family in families for name in family]


def moving(seed, n, size=MAX_ATOMS):
    """Momenta and masses of n atoms, and of padding."""
    rng = np.random.default_rng(seed)
    momenta = np.zeros((size, 3))
    momenta[:n] = 4 * rng.normal(size=(n, 3))
    return momenta, rng.uniform(5, 20, size)


@quick_jit
def flux(model, graph, momenta, masses):
    return heat_flux(model, graph, momenta, masses=masses)


@quick_jit
def by_definition(model, graph, momenta, masses):
    """The same, and d/dt Σ rᵢ eᵢ, by forward differentiation and by differences of fourth order along the motion."""
    found, velocities = jaxpot.evaluate(model, graph), momenta / masses[:, None]

    def moment(t):
        positions, p = graph.positions + t * velocities, momenta + t * found.forces
        energies = jnp.where(graph.numbers > 0, jaxpot.prepare(model).energies(graph.replace(positions=positions)), 0)
        return jnp.sum((energies + jnp.sum(p**2, axis=1) / (2 * masses))[:, None] * positions, axis=0)

    h = 2e-3
    values = jax.lax.map(moment, h * jnp.array([1.0, -1.0, 2.0, -2.0]))
    rates = jax.jvp(moment, (0.0,), (1.0,))[1], (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)
    return heat_flux(model, graph, momenta, masses=masses), *(FEMTOSECOND * rate for rate in rates), found


def uniform(found, velocity, momenta, masses):
    """The flux of atoms that all move alike: (E 1 + W) u."""
    energy = found.energy + np.sum(np.sum(momenta**2, axis=1) / (2 * masses))
    return FEMTOSECOND * (energy * velocity + found.virial @ velocity)


def assert_close(got, expected, tolerance=TOLERANCE):
    assert np.all(np.isfinite(got)) and np.max(np.abs(np.asarray(got) - np.asarray(expected))) <= tolerance * np.max(np.abs(expected))


def refused(model, graph, momenta, masses):
    with pytest.raises(TypeError, match=r"heat_flux: of a periodic structure that of \w+ is not known.*atoms\.pbc = False"):
        heat_flux(model, graph, momenta, masses=masses)
    assert np.all(np.isnan(flux(model, graph, momenta, masses)))


@pytest.mark.parametrize("name", names(POTENTIALS))
def test_of_local_potentials(name):
    """Of a molecule it is the definition, also where the molecule lies across the walls of a wide cell; of crystals it scales with them."""
    model, (momenta, masses) = catalog.potential(name), moving(0, len(MOLECULE))
    graph = catalog.graph("molecule")
    of_molecule, expected, differences, _ = by_definition(model, graph, momenta, masses)
    assert_close(of_molecule, expected)
    assert_close(differences, expected, 1e-6)
    wrapped = MOLECULE.copy()
    wrapped.set_cell(np.array([[9.0, 0, 0], [1.0, 10.0, 0], [0, -2.0, 11.0]]))
    wrapped.pbc = True
    wrapped.positions += [0.3, -0.2, 0.4]
    wrapped.wrap()
    if name.startswith("structure-"):  # kernels of whole structures
        refused(model, to_graph(wrapped), momenta, masses)
        return
    assert np.max(np.abs(wrapped.positions - MOLECULE.positions)) > 5
    assert_close(flux(model, to_graph(wrapped), momenta, masses), expected)

    crystal = catalog.STRUCTURES["triclinic"]
    momenta, masses = moving(1, 2)
    once = flux(model, to_graph(crystal), momenta, masses)
    moved = crystal.copy()
    moved.positions += [[0.3, 4.1, -2.0], np.array([0.3, 4.1, -2.0]) + crystal.cell.array[0] - 2 * crystal.cell.array[2]]
    assert_close(flux(model, to_graph(moved), momenta, masses), once)
    doubled = crystal.repeat((2, 1, 1))
    twice = flux(model, to_graph(doubled), *(np.concatenate([x[:2], x[:2], x[4:]]) for x in (momenta, masses)))
    assert_close(twice, 2 * once)


@pytest.mark.parametrize("name", names(MOLECULAR))
def test_of_one_molecule(name):
    graph, (momenta, masses) = to_graph(at(name)), moving(2, len(MOLECULE))
    got, expected, differences, found = by_definition(catalog.molecular(name), graph, momenta, masses)
    assert_close(got, expected)
    assert_close(differences, expected, 1e-6)
    velocity = np.array([0.3, -0.2, 0.5])
    momenta = np.where(graph.numbers[:, None] > 0, masses[:, None] * velocity, 0)
    assert_close(flux(catalog.molecular(name), graph, momenta, masses), uniform(found, velocity, momenta, masses))


@pytest.mark.parametrize("name", names(CRYSTALLINE))
def test_of_crystals(name):
    """What is defined does not know which images are in the cell, and adds up to that of uniform motion; what is not is refused, or NaN."""
    model, graph, (momenta, masses) = catalog.molecular(name), to_graph(at(name)), moving(3, len(MOLECULE))
    if name not in DEFINED:
        refused(model, graph, momenta, masses)
        return
    once = flux(model, graph, momenta, masses)
    shifts = np.random.default_rng(0).integers(-2, 3, (len(MOLECULE), 3))
    elsewhere = to_graph(at(name, at(name).positions + shifts @ CELL + [0.4, -0.3, 0.2]))
    assert_close(flux(model, elsewhere, momenta, masses), once)
    velocity = np.array([0.3, -0.2, 0.5])
    momenta = np.where(graph.numbers[:, None] > 0, masses[:, None] * velocity, 0)
    assert_close(flux(model, graph, momenta, masses), uniform(catalog.evaluate(model, graph), velocity, momenta, masses))


@pytest.mark.parametrize("name", ["tersoff", pytest.param("ace", marks=pytest.mark.slow)])
def test_images_of_atoms_are_atoms(name):
    """Of a crystal: a cluster cut out of it, with those energies alone that belong to atoms of the cell."""
    model, crystal, (momenta, masses) = catalog.potential(name), catalog.STRUCTURES["triclinic"], moving(4, 2, 2)
    images = sorted(itertools.product(range(-2, 3), repeat=3), key=np.linalg.norm)  # the cell itself is first
    positions = np.concatenate([crystal.positions + n @ crystal.cell.array for n in np.array(images)])
    cluster = jaxpot.from_atoms(Atoms(list(crystal.symbols) * len(images), positions=positions), LIST)
    velocities = jnp.tile(momenta / masses[:, None], (len(images), 1))

    @quick_jit
    def of_cluster(model):
        energies = lambda r: model.energies(cluster.replace(positions=r))[:2]  # noqa: E731
        (own, rates), slopes = jax.jvp(energies, (cluster.positions,), (velocities,)), jax.grad(lambda r: jnp.sum(energies(r)))(cluster.positions)
        own = own + 0.5 * masses * jnp.sum(velocities[:2] ** 2, axis=1)
        carried = rates @ cluster.positions[:2] - jnp.sum(slopes * velocities, axis=1) @ cluster.positions
        return FEMTOSECOND * (own @ velocities[:2] + carried)

    padded = moving(4, 2)[0], np.concatenate([masses, np.ones(MAX_ATOMS - 2)])
    assert_close(flux(model, to_graph(crystal), np.concatenate([momenta, padded[0][2:]]), padded[1]), of_cluster(model))


def test_lattice_sums_by_pairs():
    """Dispersion of a crystal: the sum of ½ (r·dφ) over pairs, far out, and from there on the integral."""
    atoms, c6 = rattled(3, CELL), np.array([25.0, 90.0])
    model = Dispersion(("C", "Si"), c6=c6, sum=Ewald(jaxpot.cutoffs.PolynomialCutoff(6.0, width=1.0), width=1.1, grid=(6, 6, 6), k_cutoff=6.0))
    momenta, masses = moving(5, 5, 5)
    got = flux(model, jaxpot.from_atoms(atoms, 6.0), momenta, masses)
    n = np.arange(-14, 15)
    n = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1).reshape(-1, 3) @ CELL
    root, v = np.sqrt(c6[np.array([0, 1, 0, 1, 0])]), momenta / masses[:, None]
    radius, density = 55.0, 1 / abs(np.linalg.det(CELL))
    expected = np.zeros(3)
    for i, j in itertools.product(range(5), repeat=2):
        r = atoms.positions[j] - atoms.positions[i] + n
        d = np.linalg.norm(r, axis=1)
        near = (d > 1e-9) & (d < radius)
        r, d, strength = r[near], d[near][:, None], root[i] * root[j]
        expected += 0.5 * strength * (v[i] * np.sum(-1 / d**6) - np.sum(r * (6 / d**8) * (r @ v[j])[:, None], axis=0))
        far = 4 * np.pi * density / (3 * radius**3)  # ∫ 4πρ r² r⁻⁶
        expected += 0.5 * strength * (-v[i] - 2 * v[j]) * far
    expected += 0.5 * v.T @ np.sum(momenta**2 / masses[:, None], axis=1)
    assert_close(got, FEMTOSECOND * expected, 1e-5)


def test_outer_fields_and_surfaces():
    """A field acts on each atom alone; a field of the surface, or a background, is of no pair."""
    model, (momenta, masses) = catalog.molecular("electrostatics-direct"), moving(6, len(MOLECULE))
    graph = to_graph(MOLECULE).replace(field=np.array([0.1, -0.2, 0.3]))
    got, expected, *_ = by_definition(model, graph, momenta, masses)
    assert_close(got, expected)
    crystal = catalog.molecular("electrostatics")
    vacuum = crystal.replace(sum=crystal.sum.replace(depolarisation=np.array(1.0)))
    assert np.all(np.isnan(flux(vacuum, to_graph(at("electrostatics")), momenta, masses)))
    mixed = Dispersion(("C", "Si"), c6=[25.0, 90.0], sum=Direct()) + catalog.molecular("charges")
    with pytest.raises(TypeError, match="that of ChargeEquilibration|that of Electrostatics"):
        heat_flux(mixed, to_graph(at("electrostatics")), momenta, masses=masses)
    with pytest.raises(ValueError, match=r"heat_flux: expected momenta \[6, 3\]"):
        heat_flux(model, graph, momenta[:5], masses=masses)
