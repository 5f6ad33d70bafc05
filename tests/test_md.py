"""jax-md: every kind of list, space and ensemble against the ASE calculator and conservation laws."""

import functools
import pathlib
import time

import ase.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from catalog import OPTIMISED
from jax_md import custom_partition, partition, quantity, simulate, space

import jaxpot as jp
from jaxpot import md
from jaxpot.calculator import Calculator

FORMATS = {"dense": partition.Dense, "sparse": partition.Sparse, "ordered": partition.OrderedSparse}
SHEAR = np.array([[1.0, 0.0, 0.0], [0.12, 1.05, 0.0], [-0.08, 0.15, 0.95]])


def soap_model(cutoff=3.5, n_max=3, l_max=3):
    density = jp.Density(("Si",), jp.CosineCutoff(cutoff, width=1.0), jp.GTO(n_max=n_max), l_max=l_max, sigma=0.6)
    model = jp.AtomicPotential(jp.SOAP(density), jp.Linear())
    return model.with_coefficients(np.random.default_rng(1).normal(size=model.n_coefficients))


_energies = jax.jit(lambda model, graph: model.energies(graph))


@jp.pytree
class Compiled(jp.Potential):
    """Any potential, compiled once for all lists of one number of atoms."""

    model: jp.Potential

    @property
    def species(self):
        return self.model.species

    @property
    def reach(self):
        return self.model.reach

    def energies(self, graph):
        n, k = graph.neighbors.shape
        slots = (0, max(48 - k, 0))
        neighbors = jnp.pad(graph.neighbors, ((0, 0), slots), constant_values=n)
        return _energies(self.model, graph.replace(neighbors=neighbors, shifts=jnp.pad(graph.shifts, ((0, 0), slots, (0, 0)))))


def silicon(*, repeat=1, triclinic=False, seed=0, rattle=0.1):
    atoms = bulk("Si", cubic=True) * (repeat if isinstance(repeat, tuple) else (repeat,) * 3)
    if triclinic:
        atoms.set_cell(atoms.cell.array @ SHEAR.T, scale_atoms=True)
    atoms.rattle(rattle, seed=seed)
    atoms.positions -= 0.3  # some atoms lie outside the cell
    return atoms


def reference(model, atoms):
    atoms = atoms.copy()
    atoms.calc = Calculator(getattr(model, "model", model))
    return atoms.get_potential_energy(), atoms.get_forces()


def lj_model(cutoff=3.5):
    return jp.empirical.LennardJones(("Si",), epsilon=0.3, sigma=2.1, cutoff=jp.cutoffs.PolynomialCutoff(cutoff, width=1.0))


@pytest.fixture(scope="module")
def model():
    return Compiled(soap_model())


def check(model, atoms, neighbor, energy_fn, R, **kwargs):
    """Energy and forces equal the calculator's."""
    energy, forces = reference(model, atoms)
    with jax.numpy_rank_promotion("allow"):
        assert not bool(neighbor.did_buffer_overflow)
        compiled = isinstance(model, Compiled)  # jitted anew it would be compiled for every energy_fn
        function = jax.value_and_grad(energy_fn) if compiled else jax.jit(jax.value_and_grad(energy_fn))
        value, slope = function(R, neighbor=neighbor, **kwargs)
    np.testing.assert_allclose(value, energy, rtol=1e-11)
    np.testing.assert_allclose(-slope, forces, atol=1e-10)


def space_of(box, fractional):
    return space.periodic_general(jnp.asarray(box), fractional_coordinates=fractional)


@pytest.mark.parametrize(
    ("triclinic", "fractional"), [pytest.param(False, False, marks=pytest.mark.slow), (False, True), (True, False), (True, True)]
)
def test_own_lists(model, triclinic, fractional):
    atoms = silicon(repeat=2, triclinic=triclinic)
    box = jnp.asarray(atoms.cell.array.T)
    displacement, _ = space_of(box, fractional)
    R = jnp.asarray(atoms.cell.scaled_positions(atoms.positions) if fractional else atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, displacement, box, atoms.numbers, fractional_coordinates=fractional)
    neighbors = neighbor_fn.allocate(R)
    check(model, atoms, neighbors, energy_fn, R)
    moved = R + 0.05 * jnp.asarray(np.random.default_rng(5).normal(size=R.shape)) / (10 if fractional else 1)
    atoms.positions = np.asarray(moved @ box.T if fractional else moved)
    check(model, atoms, jax.jit(neighbor_fn.update)(moved, neighbors), energy_fn, moved)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("fractional", [False, True])
def test_jax_md_lists(model, name, multi, fractional):
    atoms = silicon(repeat=2, triclinic=True, seed=2)
    if not multi and not fractional:
        atoms = silicon(repeat=2, seed=2)
    box = jnp.asarray(atoms.cell.array.T)
    atoms.wrap()  # jax-md's multi-image and cell lists ask for it
    displacement, _ = space_of(box, fractional)
    R = jnp.asarray(atoms.get_scaled_positions() if fractional else atoms.positions)
    make = custom_partition.neighbor_list_multi_image if multi else partition.neighbor_list
    with jax.numpy_rank_promotion("allow"):
        lists = make(displacement, box, 3.5, dr_threshold=0.5, fractional_coordinates=fractional, format=FORMATS[name])
        neighbors = lists.allocate(R)
    _, energy_fn = md.neighbor_list_energy(model, displacement, box, atoms.numbers, fractional_coordinates=fractional)
    check(model, atoms, neighbors, energy_fn, R)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(shape, kind) for shape in ("scalar", "vector") for kind in ("periodic", "real", "fractional")],
)
def test_boxes(shape, kind):
    model = lj_model()
    atoms = silicon(repeat=2, seed=3)
    lengths = atoms.cell.lengths()
    box = float(lengths[0]) if shape == "scalar" else jnp.asarray(lengths)
    fractional = kind == "fractional"
    displacement = space.periodic(box)[0] if kind == "periodic" else space.periodic_general(box, fractional_coordinates=fractional)[0]
    R = jnp.asarray(atoms.positions / lengths if fractional else atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, displacement, box, atoms.numbers, fractional_coordinates=fractional)
    check(model, atoms, neighbor_fn.allocate(R), energy_fn, R)


def test_free_space():
    model = lj_model()
    atoms = silicon(repeat=2, seed=4)[:20]
    atoms.pbc, atoms.cell = False, None
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, space.free()[0], None, atoms.numbers)
    R = jnp.asarray(atoms.positions)
    check(model, atoms, neighbor_fn.allocate(R), energy_fn, R)
    lists = partition.neighbor_list(space.free()[0], 1.0, 3.5, dr_threshold=0.5, disable_cell_list=True, format=partition.OrderedSparse)
    with jax.numpy_rank_promotion("allow"):
        neighbors = lists.allocate(R)
    _, energy_fn = md.neighbor_list_energy(model, None, None, atoms.numbers, max_neighbors=19)
    check(model, atoms, neighbors, energy_fn, R)


@jp.pytree
class Outer(jp.Potential):
    """What a potential of charges will look at: the total charge and the outer field of a Graph."""

    species: tuple[str, ...] = jp.static()

    @property
    def reach(self):
        return jnp.zeros(())

    def energies(self, graph):
        return (graph.positions @ graph.field) * graph.charge


def test_charge_and_field_reach_the_potential():
    atoms = silicon()
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        Outer(("Si",)), None, None, atoms.numbers, cutoff=3.0, charge=-2.0, field=(0.0, 0.1, 0.3)
    )
    R = jnp.asarray(atoms.positions)
    force = jax.jit(quantity.force(energy_fn))(R, neighbor=neighbor_fn.allocate(R))
    np.testing.assert_allclose(force, np.tile([0.0, 0.2, 0.6], (len(atoms), 1)), atol=1e-14)


def test_one_atom():
    model = lj_model()
    atoms = silicon()[:1]
    atoms.pbc, atoms.cell = False, None
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, space.free()[0], None, atoms.numbers)
    R = jnp.asarray(atoms.positions)
    check(model, atoms, neighbor_fn.allocate(R), energy_fn, R)


@pytest.mark.parametrize("fractional", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_small_cells(model, name, fractional):
    """A primitive cell, smaller than the cutoff: pairs with the atom's own images are in the lists."""
    atoms = bulk("Si")
    atoms.rattle(0.1, seed=6)
    atoms.wrap()
    box = jnp.asarray(atoms.cell.array.T)
    R = jnp.asarray(atoms.get_scaled_positions() if fractional else atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        model, None, box, atoms.numbers, fractional_coordinates=fractional, multi_image=True
    )
    lists = custom_partition.neighbor_list_multi_image(
        None, box, 3.5, dr_threshold=0.5, fractional_coordinates=fractional, format=FORMATS[name]
    )
    with jax.numpy_rank_promotion("allow"):
        theirs = lists.allocate(R)
    check(model, atoms, theirs, energy_fn, R)
    outside = R + jnp.array([[1.0], [-1.0]]) * (jnp.full((1, 3), 3.0) if fractional else 3 * jnp.sum(box, axis=1)[None, :])
    check(model, atoms, theirs, energy_fn, outside)  # atoms have crossed the box since the list was made
    if name == "dense":
        own = neighbor_fn.allocate(R)
        check(model, atoms, own, energy_fn, R)
        check(model, atoms, jax.jit(neighbor_fn.update)(outside, own), energy_fn, outside)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("fractional", [False, True])
def test_box_of_the_moment(multi, fractional):
    """A deformed box at call time, searched anew by `update`."""
    model = lj_model()
    atoms = silicon(repeat=2, triclinic=True, seed=7)
    box = jnp.asarray(atoms.cell.array.T)
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        model, space_of(box, fractional)[0], box, atoms.numbers, fractional_coordinates=fractional, multi_image=multi
    )

    def positions():
        return jnp.asarray(atoms.cell.scaled_positions(atoms.positions) if fractional else atoms.positions)

    neighbors = neighbor_fn.allocate(positions(), 12)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) * 0.97 + 0.02 * np.random.default_rng(8).normal(size=(3, 3))), scale_atoms=True)
    new = jnp.asarray(atoms.cell.array.T)
    check(model, atoms, jax.jit(neighbor_fn.update)(positions(), neighbors, box=new), energy_fn, positions(), box=new)
    fresh = neighbor_fn.allocate(positions(), box=new)
    check(model, atoms, fresh, energy_fn, positions(), box=new)
    check(model, atoms, fresh.update(positions()), energy_fn, positions(), box=new)


@pytest.mark.parametrize("fractional", [False, True])
def test_stress_and_pressure(fractional):
    model = lj_model()
    atoms = silicon(repeat=2, triclinic=True, seed=9)
    box = jnp.asarray(atoms.cell.array.T)
    R = jnp.asarray(atoms.cell.scaled_positions(atoms.positions) if fractional else atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        model, space_of(box, fractional)[0], box, atoms.numbers, fractional_coordinates=fractional
    )
    neighbors = neighbor_fn.allocate(R)
    atoms.calc = Calculator(model)
    stress = atoms.get_stress(voigt=False)
    with jax.numpy_rank_promotion("allow"):
        energy_fn = jax.jit(energy_fn)
        np.testing.assert_allclose(-quantity.stress(energy_fn, R, box, neighbor=neighbors), stress, atol=1e-12)
        np.testing.assert_allclose(quantity.pressure(energy_fn, R, box, neighbor=neighbors), -np.trace(stress) / 3, rtol=1e-9)
    if fractional:  # the cell at fixed fractional coordinates is a strain too
        slope = jax.grad(lambda b: energy_fn(R, neighbor=neighbors, box=b))(box)
        np.testing.assert_allclose(slope @ box.T / atoms.get_volume(), stress, atol=1e-12)


def test_large_list():
    """More than 40 000 pairs (jax-ml/jax#39103): the distances and energies of one jitted call against numpy."""
    atoms = bulk("Ar", cubic=True) * 6
    atoms.rattle(0.1, seed=0)
    box = jnp.asarray(atoms.cell.array.T)
    displacement, _ = space.periodic_general(box)
    lj = jp.empirical.LennardJones(("Ar",), epsilon=0.01, sigma=3.4, cutoff=jp.cutoffs.PolynomialCutoff(8.0, width=1.0))
    R = jnp.asarray(atoms.cell.scaled_positions(atoms.positions))
    neighbor_fn, energy_fn = md.neighbor_list_energy(lj, displacement, box, atoms.numbers, fractional_coordinates=True)
    neighbors = neighbor_fn.allocate(R)
    i, k = np.nonzero(np.asarray(neighbors.idx) < len(atoms))
    j = np.asarray(neighbors.idx)[i, k]
    assert len(i) > 40_000
    with jax.numpy_rank_promotion("allow"):
        distances = jax.jit(lambda R: space.distance(space.map_bond(displacement)(R[i], R[j])))(R)
    d = np.asarray(R)[i] - np.asarray(R)[j]
    expected = np.linalg.norm((d - np.round(d)) @ atoms.cell.array, axis=1)
    np.testing.assert_allclose(distances, expected, atol=1e-10)
    energy, forces = reference(lj, atoms)
    np.testing.assert_allclose(jax.jit(energy_fn)(R, neighbors), energy, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(quantity.force(energy_fn))(R, neighbor=neighbors), forces, atol=1e-10)


def test_refusals():
    model = lj_model()
    atoms = silicon()
    box = jnp.asarray(atoms.cell.array.T)
    big = silicon(repeat=2)
    big_box = jnp.asarray(big.cell.array.T)
    with pytest.raises(ValueError, match=r"5\.43 Å wide .* 2 \(cutoff \+ skin\) = 8 Å.*multi_image=True"):
        md.neighbor_list_energy(model, space_of(box, False)[0], box, atoms.numbers)
    with pytest.raises(ValueError, match=r"cutoff is 3 Å; write cutoff=3.5"):
        md.neighbor_list_energy(model, None, big_box, big.numbers, cutoff=3.0)
    with pytest.raises(ValueError, match="fractional_coordinates=True unless told otherwise"):
        md.neighbor_list_energy(model, space.periodic_general(big_box)[0], big_box, big.numbers)
    with pytest.raises(ValueError, match="not that of this box"):
        md.neighbor_list_energy(model, space.free()[0], big_box, big.numbers)
    with pytest.raises(ValueError, match=r"not that of free space"):
        md.neighbor_list_energy(model, space_of(big_box, False)[0], None, big.numbers)
    with pytest.raises(ValueError, match="knows Si, but numbers contain O"):
        md.neighbor_list_energy(model, None, big_box, np.array([14, 8]))
    with pytest.raises(ValueError, match=r"integers of shape \[N\], got float64"):
        md.neighbor_list_energy(model, None, big_box, np.ones(3))
    with pytest.raises(ValueError, match="box must have shape"):
        md.neighbor_list_energy(model, None, jnp.ones((2, 2)), big.numbers)
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, None, big_box, big.numbers)
    neighbors = neighbor_fn.allocate(big.positions)
    with pytest.raises(TypeError, match="new_box"):
        energy_fn(jnp.asarray(big.positions), neighbors, new_box=big_box)
    with pytest.raises(ValueError, match="expected R of shape"):
        energy_fn(jnp.asarray(big.positions)[:3], neighbors)
    assert jnp.isfinite(energy_fn(jnp.asarray(big.positions), neighbors, kT=1.0, t=0.0))


def test_poison():
    model = lj_model()
    atoms = silicon(repeat=2, seed=2)
    box = jnp.asarray(atoms.cell.array.T)
    atoms.wrap()
    R = jnp.asarray(atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(model, None, box, atoms.numbers)
    energy_fn = jax.jit(energy_fn)
    neighbors = neighbor_fn.allocate(R)
    assert jnp.isfinite(energy_fn(R, neighbors))
    # a potential that reaches farther, and room given for it
    assert jnp.isnan(energy_fn(R, neighbors, potential=lj_model(3.6)))
    assert jnp.all(jnp.isnan(jax.jit(quantity.force(energy_fn))(R, neighbor=neighbors, potential=lj_model(3.6))))
    roomy_fn, roomy = md.neighbor_list_energy(model, None, box, atoms.numbers, cutoff=3.6)
    assert jnp.isfinite(jax.jit(roomy)(R, roomy_fn.allocate(R), potential=lj_model(3.6)))
    # a box that has become too small for the minimum image
    assert jnp.isnan(energy_fn(R, neighbors, box=0.7 * box))
    # more neighbours than slots, jax-md's and ours
    dense = np.array(R)
    dense[:20] = dense[0] + 0.5 * np.random.default_rng(0).normal(size=(20, 3))
    full = neighbor_fn.update(jnp.asarray(dense), neighbors)
    assert full.did_buffer_overflow and jnp.isnan(energy_fn(jnp.asarray(dense), full))
    with jax.numpy_rank_promotion("allow"):
        sparse = partition.neighbor_list(
            space_of(box, False)[0], box, 3.5, dr_threshold=0.5, fractional_coordinates=False, format=partition.Sparse
        ).allocate(R)
    _, narrow = md.neighbor_list_energy(model, None, box, atoms.numbers, max_neighbors=4)
    assert all(np.all(np.isnan(x)) for x in jax.jit(jax.value_and_grad(narrow))(R, sparse))
    assert jnp.isfinite(energy_fn(R, sparse))
    # jax-md's cell lists lose neighbours of atoms outside the box
    lj = jp.empirical.LennardJones(("Si",), epsilon=0.1, sigma=2.0, cutoff=jp.cutoffs.PolynomialCutoff(2.5, width=1.0))
    side = jnp.asarray(atoms.cell.lengths())
    with jax.numpy_rank_promotion("allow"):
        cells = partition.neighbor_list(space.periodic(side)[0], side, 2.5, dr_threshold=0.2)
        inside, outside = cells.allocate(R), cells.allocate(R - 1.0)
    assert inside.cell_list_fn is not None
    lj_fn = jax.jit(md.neighbor_list_energy(lj, None, side, atoms.numbers)[1])
    assert jnp.isfinite(lj_fn(R, inside)) and jnp.isnan(lj_fn(R - 1.0, outside))
    # and its multi-image lists those of atoms far apart
    far = R.at[0].add(2 * box[:, 0])
    lists = custom_partition.neighbor_list_multi_image(None, box, 3.5, fractional_coordinates=False)
    with jax.numpy_rank_promotion("allow"):
        assert jnp.isnan(energy_fn(far, lists.allocate(far)))


def test_shrinking_cells_are_reported():
    """A box that shrinks until jax-md's cells are too small sets the flag that jax-md's loops look at."""
    lj = jp.empirical.LennardJones(("Ar",), epsilon=0.01, sigma=2.0, cutoff=jp.cutoffs.PolynomialCutoff(4.0, width=1.0))
    atoms = bulk("Ar", cubic=True) * 4
    box = jnp.asarray(atoms.cell.array.T)
    R = jnp.asarray(atoms.get_scaled_positions())
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        lj, space.periodic_general(box)[0], box, atoms.numbers, skin=0.1, fractional_coordinates=True
    )
    neighbors = neighbor_fn.allocate(R)
    assert neighbors.cell_list_fn is not None
    assert not neighbors.update(R, box=0.99 * box).did_buffer_overflow
    smaller = neighbors.update(R, box=0.75 * box)
    assert smaller.did_buffer_overflow and jnp.isnan(energy_fn(R, smaller, box=0.75 * box))
    atoms.set_cell(0.75 * atoms.cell.array, scale_atoms=True)
    check(lj, atoms, neighbor_fn.allocate(R, box=0.75 * box), energy_fn, R, box=0.75 * box)


def argon(repeat=3):
    """108 atoms, and a smooth Lennard-Jones."""
    atoms = bulk("Ar", cubic=True) * repeat
    return atoms, jp.empirical.LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=jp.cutoffs.PolynomialCutoff(6.0, width=2.0))


def start(atoms, model, fractional, **kwargs):
    box = jnp.asarray(atoms.cell.array.T)
    displacement, shift = space_of(box, fractional)
    R = jnp.asarray(atoms.get_scaled_positions() if fractional else atoms.positions)
    neighbor_fn, energy_fn = md.neighbor_list_energy(
        model, displacement, box, atoms.numbers, fractional_coordinates=fractional, **kwargs
    )
    return box, shift, R, neighbor_fn.allocate(R), energy_fn, jnp.asarray(atoms.get_masses())


@pytest.mark.parametrize("fractional", [False, True])
def test_nve(fractional):
    atoms, lj = argon()
    _, shift, R, neighbors, energy_fn, mass = start(atoms, lj, fractional)
    with jax.numpy_rank_promotion("allow"):
        init, step = simulate.nve(energy_fn, shift, dt=2.0 * u.fs)
        state = init(jax.random.key(0), R, kT=60 * u.kB, mass=mass, neighbor=neighbors)

        def advance(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position)
            state = step(state, neighbor=neighbors)
            return (state, neighbors), energy_fn(state.position, neighbors) + simulate.kinetic_energy(state)

        (state, neighbors), energies = jax.jit(lambda c: jax.lax.scan(advance, c, None, length=600))((state, neighbors))
    assert not neighbors.did_buffer_overflow and state.position.dtype == jnp.float64
    energies = np.asarray(energies) / len(atoms)
    time_ps = np.arange(600) * 2e-3
    assert np.std(energies) < 2e-6
    assert abs(np.polyfit(time_ps[100:], energies[100:], 1)[0]) < 1e-6


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_nose_hoover(ensemble):
    """The extended energy is conserved; NPT in real space, because jax-md's integrator is wrong in fractional coordinates."""
    atoms, lj = argon()
    box, shift, R, neighbors, energy_fn, mass = start(atoms, lj, ensemble == "nvt")
    kT, pressure, n_steps = 60 * u.kB, 0.05 * u.GPa, 500
    with jax.numpy_rank_promotion("allow"):
        if ensemble == "nvt":
            init, step = simulate.nvt_nose_hoover(energy_fn, shift, dt=2.0 * u.fs, kT=kT)
            state = init(jax.random.key(0), R, mass=mass, neighbor=neighbors)
        else:
            init, step = simulate.npt_nose_hoover(energy_fn, shift, dt=2.0 * u.fs, pressure=pressure, kT=kT)
            state = init(jax.random.key(0), R, box, mass=mass, neighbor=neighbors)

        def advance(carry, _):
            state, neighbors = carry
            if ensemble == "nvt":
                neighbors = neighbors.update(state.position)
                state = step(state, neighbor=neighbors)
                invariant = simulate.nvt_nose_hoover_invariant(energy_fn, state, kT, neighbor=neighbors)
                now = box
            else:
                neighbors = neighbors.update(state.position, box=simulate.npt_box(state))
                state = step(state, neighbor=neighbors)
                invariant = simulate.npt_nose_hoover_invariant(energy_fn, state, pressure, kT, neighbor=neighbors)
                now = simulate.npt_box(state)
            return (state, neighbors), (invariant, now, quantity.temperature(momentum=state.momentum, mass=state.mass))

        run = jax.jit(lambda c: jax.lax.scan(advance, c, None, length=n_steps))
        (state, neighbors), (invariants, boxes, temperatures) = run((state, neighbors))
    assert not neighbors.did_buffer_overflow
    assert state.position.dtype == boxes.dtype == jnp.float64
    assert np.all(np.isfinite(boxes)) and np.all(np.isfinite(temperatures))
    print(ensemble, np.ptp(invariants) / len(atoms), np.linalg.det(boxes[-1]) / np.linalg.det(box), temperatures[-1] / u.kB)
    assert np.ptp(invariants) / len(atoms) < 3e-6
    if ensemble == "npt":
        assert 1.05 < np.linalg.det(boxes[-1]) / np.linalg.det(box) < 1.3  # this argon is hot and small


@pytest.mark.parametrize("kind", ["lj", pytest.param("soap", marks=pytest.mark.slow)])
def test_gradient_through_a_trajectory(kind):
    """The final temperature's derivative in sigma, a length of the potential, against finite differences."""
    model = lj_model() if kind == "lj" else soap_model()
    atoms = silicon(repeat=2, seed=1, rattle=0.02)
    atoms.wrap()
    _, shift, R, neighbors, energy_fn, mass = start(atoms, model, True)
    params, build = jp.free(model, "*.sigma")

    def final_temperature(params, steps=20):
        potential = jp.prepare(build(params))

        @jax.checkpoint
        def advance(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(jax.lax.stop_gradient(state.position))
            return (step(state, neighbor=neighbors, potential=potential), neighbors), None

        state = init(jax.random.key(0), R, kT=300 * u.kB, mass=mass, neighbor=neighbors, potential=potential)
        (state, _), _ = jax.lax.scan(advance, (state, neighbors), None, length=steps)
        return quantity.temperature(momentum=state.momentum, mass=state.mass)

    with jax.numpy_rank_promotion("allow"):
        init, step = simulate.nve(energy_fn, shift, dt=1.0 * u.fs)
        both, h = jax.jit(jax.value_and_grad(final_temperature)), 1e-4
        (name,) = params
        gradient = both(params)[1][name]
        differences = (both({name: params[name] + h})[0] - both({name: params[name] - h})[0]) / (2 * h)
    print("gradient", gradient, differences)
    assert abs(float(gradient)) > 1e-6
    np.testing.assert_allclose(gradient, differences, rtol=1e-4)


@pytest.fixture(scope="module")
def fitted():
    """A small sparse GP for silicon, fitted on the spot."""
    import ase.io

    path = pathlib.Path(__file__).parent.parent / "experiments" / "silicon_pbe" / "silicon_pbe.extxyz"
    frames = [a for a in ase.io.read(path, ":") if a.info["split"] == "train"]
    data = jp.Dataset.from_atoms(frames, 4.5, sigma=jp.noise_levels(0.001, 0.05, 0.05))
    soap = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(4.5, width=1.0), jp.radial.EquispacedGaussians(6), 4, sigma=0.5))
    points = jp.fit.select_environments(soap, data, 150, key=jax.random.key(0))
    e0 = np.mean([a.get_potential_energy() / len(a) for a in frames if len(a) > 2])
    gap = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(4.0), delta=1.0)).with_points(points)
    return jp.freeze(jp.fit.linear(gap + jp.IsolatedAtoms({"Si": e0}), data))


@pytest.mark.slow
def test_drift(fitted):
    """20 ps of 216 silicon atoms at 300 K in steps of 1 fs: the energy drifts by less than 1e-6 eV/atom/ps."""
    atoms = bulk("Si", cubic=True) * 3
    _, shift, R, neighbors, energy_fn, mass = start(atoms, fitted, True)
    began = time.time()
    with jax.numpy_rank_promotion("allow"):
        init, step = simulate.nve(energy_fn, shift, dt=1.0 * u.fs)
        state = init(jax.random.key(0), R, kT=600 * u.kB, mass=mass, neighbor=neighbors)  # half of it becomes potential energy

        def advance(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position)
            return (step(state, neighbor=neighbors), neighbors), None

        @functools.partial(jax.jit, compiler_options=OPTIMISED)  # of long tests the running counts
        def block(carry):
            carry, _ = jax.lax.scan(advance, carry, None, length=20)
            state, neighbors = carry
            return carry, (
                energy_fn(state.position, neighbors) + simulate.kinetic_energy(state),
                quantity.temperature(momentum=state.momentum, mass=state.mass),
            )

        carry, rows = (state, neighbors), []
        for _ in range(1000):
            carry, row = block(carry)
            rows.append(row)
            assert not carry[1].did_buffer_overflow
    energies, temperatures = np.asarray(rows, float).T
    energies, time_ps = energies / len(atoms), (np.arange(1000) + 1) * 0.02
    slope = np.polyfit(time_ps, energies, 1)[0]
    print(
        f"drift {slope:.2e} eV/atom/ps, fluctuation {np.std(energies):.2e} eV/atom, "
        f"{np.mean(temperatures[500:]) / u.kB:.0f} K, {time.time() - began:.0f} s"
    )
    assert abs(slope) < 1e-6


# --- systems ---------------------------------------------------------------------------------------------------------------


def system_of(ensemble, **changes):
    """Eight atoms of silicon: a cluster, which is quick to compile, or in a box smaller than the lists where the box moves."""
    atoms = silicon(rattle=0.02)
    atoms.pbc = isinstance(ensemble, md.CellEnsemble)
    return md.System(jp.from_atoms(atoms, 3.5), ensemble, **changes)


@jax.jit
def heated(system, state, potential):
    """Five steps, and what is seen then."""
    state, _ = jax.lax.scan(lambda state, _: (system.step(state, potential), None), state, None, length=5)
    return system.observe(state, potential)


@pytest.mark.parametrize("ensemble", [md.NVT(500.0), pytest.param(md.NPT(500.0, pressure=1.0), marks=pytest.mark.slow)], ids=["NVT", "NPT"])
def test_a_system_is_pure(ensemble):
    """Replicas under vmap are those run alone; what is conserved is; the energy and forces are those of `evaluate`."""
    model, system = lj_model(), system_of(ensemble)
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.vmap(system.init, (0, None))(keys, model)
    together = jax.vmap(heated, (None, 0, None))(system, states, model)
    alone = heated(system, system.init(keys[1], model), model)
    for name, value in alone._asdict().items():
        np.testing.assert_allclose(getattr(together, name)[1], value, rtol=1e-10, atol=1e-10, err_msg=name)
    assert not np.any(together.overflow) and not np.allclose(together.momenta[0], together.momenta[1])
    first = system.observe(system.init(keys[1], model), model)
    np.testing.assert_allclose(alone.conserved, first.conserved, atol=1e-3)
    graph = system.graph(system.init(keys[1], model))
    found = jax.jit(jp.evaluate)(model, graph)
    np.testing.assert_allclose(first.energy, found.energy, rtol=1e-12)
    np.testing.assert_allclose(first.forces, found.forces, atol=1e-12)


def test_what_a_trajectory_shows_has_derivatives():
    """By a length of the potential, and by the temperature and the time step of the ensemble, against finite differences."""
    model, system = lj_model(), system_of(md.NVT(500.0))
    params, build = jp.free(model, "sigma")

    @jax.jit
    def temperature(params, kelvin, femtoseconds):
        changed = system.replace(ensemble=md.NVT(kelvin, timestep=femtoseconds))
        return heated(changed, changed.init(jax.random.key(0), model), build(params)).temperature

    at, h = (params, 500.0, 1.0), 1e-3
    slopes = jax.jit(jax.grad(temperature, (0, 1, 2)))(*at)
    up, down = ({name: u + sign * 1e-5 for name, u in params.items()} for sign in (1, -1))
    np.testing.assert_allclose(slopes[0]["sigma"], (temperature(up, *at[1:]) - temperature(down, *at[1:])) / 2e-5, rtol=1e-5)
    np.testing.assert_allclose(slopes[1], (temperature(params, 500 + h, 1.0) - temperature(params, 500 - h, 1.0)) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(slopes[2], (temperature(params, 500.0, 1.05) - temperature(params, 500.0, 0.95)) / 0.1, rtol=1e-2)  # 32 bits in jax-md


def test_outgrown_lists_are_not_a_number_and_say_so():
    """Too many neighbours, until the list has room; a box too narrow for its list; a potential that reaches farther."""
    model, atoms = lj_model(), silicon(repeat=2)[:3]
    atoms.pbc, atoms.positions = False, [[0, 0, 0], [6.0, 0, 0], [0, 6.0, 0]]
    system = md.System(jp.from_atoms(atoms, 3.5), md.NVE(), momenta=np.zeros((3, 3)))
    state = system.init(jax.random.key(0), model)
    near = state._replace(motion=state.motion.set(position=state.motion.position * 0.4))
    after = system.step(near, model)
    assert bool(after.overflow) and np.all(np.isnan(after.motion.momentum)) and np.isnan(system.observe(near, model).conserved)
    roomy = system.step(system.reallocated(near), model)
    assert not bool(roomy.overflow) and np.all(np.isfinite(roomy.motion.momentum))
    far = system.step(state, lj_model(3.6))
    assert np.all(np.isnan(far.motion.momentum)) and not bool(far.overflow)

    lj = jp.empirical.LennardJones(("Ar",), epsilon=0.01, sigma=2.0, cutoff=jp.cutoffs.PolynomialCutoff(4.0, width=1.0))
    box = bulk("Ar", cubic=True) * 2
    system = md.System(jp.from_atoms(box, 4.0), md.NPT(50.0), skin=0.3)
    state = system.init(jax.random.key(0), lj)
    narrow = state._replace(motion=state.motion.set(reference_box=0.8 * state.motion.reference_box))
    assert not bool(system.step(state, lj).overflow)
    after = system.step(narrow, lj)
    assert bool(after.overflow) and np.all(np.isnan(after.motion.momentum))
    with pytest.raises(ValueError, match="the minimum image needs more than"):
        system.reallocated(narrow)


def test_blocks_go_on_where_a_trajectory_was_left():
    """One way of twelve steps, and the same in two parts, the second from numbers alone."""
    model, system = lj_model(), system_of(md.NVT(300.0))
    state = system.init(jax.random.key(0), model)
    whole = [found for _, found in md.blocks(system, state, model, steps=12, interval=4)]
    *_, (middle, _) = md.blocks(system, state, model, steps=6, interval=4)
    motion = jax.tree_util.tree_map(np.array, middle.motion)
    parts = [found for _, found in md.blocks(system, system.reallocated(md.State(motion, None)), model, steps=12, interval=4, begin=6)]
    assert len(whole) == 3 and len(parts) == 2
    for name, value in whole[-1]._asdict().items():
        np.testing.assert_allclose(getattr(parts[-1], name), value, rtol=1e-10, atol=1e-10, err_msg=name)


def test_ensembles_of_ones_own_and_bad_ones():
    @jp.pytree
    class Unfinished(md.Ensemble):
        temperature: jax.Array = 300.0
        timestep: jax.Array = 1.0

    with pytest.raises(TypeError, match="Unfinished"):
        Unfinished()
    for wrong, message in (
        (lambda: md.NVT(-1.0), "temperature must be a positive number of K, got -1"),
        (lambda: md.NVE(timestep=float("nan")), "timestep must be a positive number of fs, got nan"),
        (lambda: md.NVT(1e7), r"temperature must be at most 1e\+06 K"),
        (lambda: md.NPT(pressure="1"), "pressure must be a number of GPa, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="expected an ensemble such as NVT"):
        system_of("nvt")
    with pytest.raises(ValueError, match="without padding atoms"):
        md.System(jp.from_atoms(silicon(), 3.5, max_atoms=9), md.NVE())
    with pytest.raises(ValueError, match=r"mobile must have shape \(8, 3\)"):
        system_of(md.NVE(), mobile=np.ones(8, bool))
