"""Ewald's sum: what its result must not depend on, derivatives, blocks, and what it refuses."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import diagnose, evaluate, from_atoms, sharding, strain
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.longrange import ChargeModel, Direct, Electrostatics, Ewald, FixedCharges, GaussianCoulomb, InversePower
from jaxpot.longrange.ewald import reciprocal_potential
from jaxpot.longrange.truncation import integers

N = 5
RNG = np.random.default_rng(2)
POSITIONS = RNG.uniform(-1.4, 1.4, (N, 3))
CHARGES = RNG.normal(size=N)  # with a net charge
CELL = np.array([[4.1, 0.3, 0], [0.2, 4.4, -0.3], [0.5, -0.1, 5.0]])
GAUSSIAN = GaussianCoulomb(("H", "O"), sigma=[0.25, 0.3])
KINDS = {"crystal": (True, True, True), "slab": (True, False, True), "wire": (False, True, False), "molecule": (False, False, False)}
LIST = 3.8


def structure(kind, cell=CELL, n=N):
    return Atoms("HOHHO"[:n], positions=POSITIONS[:n], cell=cell, pbc=KINDS[kind])


def ewald(kind, width=0.45, length=16.0, order=7.2, cell=CELL):
    pbc = KINDS[kind]
    lengths = [np.linalg.norm(row) * 1.05 if periodic else length for row, periodic in zip(cell, pbc, strict=True)]
    k_cutoff = order / width
    grid = tuple(int(np.ceil(k_cutoff * x / (2 * np.pi))) for x in lengths)
    cutoff = PolynomialCutoff(8.2 * width, width=0.3 * width)
    return Ewald(cutoff, width=width, grid=grid, k_cutoff=k_cutoff, pbc=pbc, length=None if all(pbc) else length)


potential = quick_jit(lambda sum, interaction, graph, q: sum.potential(interaction, graph, q))


def phi(sum, atoms, q=CHARGES, interaction=None):
    return np.asarray(potential(sum, GAUSSIAN if interaction is None else interaction, from_atoms(atoms, float(sum.reach)), jnp.asarray(q)))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_splitting_nor_the_room_matters(kind):
    """Net charges included; and the cell vectors of the other directions are not looked at."""
    found = phi(ewald(kind), structure(kind))
    np.testing.assert_allclose(phi(ewald(kind, width=0.4, length=18.3), structure(kind)), found, rtol=0, atol=1e-11)
    if kind != "crystal":
        tilted = np.where(np.array(KINDS[kind])[:, None], CELL, [[1.0, 2.0, 0.3], [0, 0, 0], [3.0, 0.1, -1.0]])
        np.testing.assert_allclose(phi(ewald(kind), structure(kind, tilted)), found, rtol=0, atol=1e-12)
    if kind == "molecule":
        direct = Direct().potential(GAUSSIAN, from_atoms(structure("molecule"), 1.0), jnp.asarray(CHARGES))
        np.testing.assert_allclose(direct, found, rtol=0, atol=1e-11)


def test_the_potential_does_not_change_with_the_width():
    """Its derivative by the splitting, which is a leaf, vanishes; likewise by the length of the room."""
    for kind in ("crystal", "wire"):
        sum, graph, q = ewald(kind), from_atoms(structure(kind), LIST), jnp.asarray(CHARGES)
        slopes = quick_jit(jax.jacfwd(lambda sum: sum.potential(GAUSSIAN, graph, q)))(sum)  # noqa: B023
        assert np.max(np.abs(slopes.width)) < 1e-9
        assert kind == "crystal" or np.max(np.abs(slopes.length)) < 1e-9


def test_crystals_with_vacuum_become_slabs_and_wires():
    """Many layers far apart: fields of crystals fall off exponentially only along periodic directions, those of neutral slabs without a dipole at once."""
    q = np.array([1.0, -2.0, 1.0])
    layer = Atoms("HOH", positions=[[0, 0, -0.6], [0.5, 0.4, 0], [0, 0, 0.6]], cell=[3, 3.2, 30.0], pbc=True)
    crystal = phi(ewald("crystal", cell=layer.cell.array), layer, q)
    layer.pbc = KINDS["slab"][0], KINDS["slab"][2], False
    sum = ewald("crystal", cell=layer.cell.array)
    sum = Ewald(sum.cutoff, width=sum.width, grid=(*sum.grid[:2], 60), k_cutoff=sum.k_cutoff, pbc=(True, True, False), length=16.0)
    slab = phi(sum, layer, q)
    # conducting surroundings of a crystal shift the mean potential by that of the quadrupole
    np.testing.assert_allclose(crystal - crystal[0], slab - slab[0], rtol=0, atol=1e-11)


def test_chains_of_dipoles():
    """A wire of two alternating charges has the energy −2 ln 2 e²/a per pair of nearest distance a."""
    chain = Atoms("HO", positions=[[0, 0, 0], [1.0, 0, 0]], cell=[2.0, 0, 0], pbc=(True, False, False))
    sum = Ewald(PolynomialCutoff(3.7, width=0.2), width=0.45, grid=(6, 36, 36), k_cutoff=16.0, pbc=(True, False, False), length=14.0)
    found = phi(sum, chain, [1.0, -1.0], InversePower(1))
    np.testing.assert_allclose(found, [-2 * np.log(2), 2 * np.log(2)], rtol=0, atol=1e-11)


def test_charged_lines_and_planes():
    """Far away their potential is −2 λ ln(ρ/Å) and −2π σ z, without a constant."""
    atoms = Atoms("HO", positions=[[0, 0, 0], [0.3, 5.0, 0]], cell=[2.0, 0, 0], pbc=(True, False, False))
    sum = Ewald(PolynomialCutoff(3.7, width=0.2), width=0.45, grid=(6, 52, 52), k_cutoff=16.0, pbc=(True, False, False), length=20.0)
    assert abs(phi(sum, atoms, [1.0, 0.0], InversePower(1))[1] - -np.log(5.0)) < 1e-6
    atoms = Atoms("HO", positions=[[0, 0, 0], [0.3, 0.1, 5.0]], cell=[2.0, 1.5, 0], pbc=(True, True, False))
    sum = Ewald(PolynomialCutoff(3.7, width=0.2), width=0.45, grid=(6, 5, 52), k_cutoff=16.0, pbc=(True, True, False), length=20.0)
    assert abs(phi(sum, atoms, [1.0, 0.0], InversePower(1))[1] - -2 * np.pi / 3 * 5) < 1e-6


def test_surroundings_of_a_crystal():
    """In vacuum the sum over neutral cells in growing spheres, of which the shape is a sphere; converging with its radius."""
    atoms, q = Atoms("HO", positions=[[0, 0, 0], [0.3, 0.2, 0.4]], cell=2.0 * np.eye(3), pbc=True), np.array([1.0, -1.0])
    sum = ewald("crystal", cell=atoms.cell.array)
    found = phi(sum.replace(depolarisation=1.0), atoms, q, InversePower(1))
    m = np.arange(-24, 25)
    cells = 2.0 * np.stack(np.meshgrid(m, m, m), axis=-1).reshape(-1, 3)
    cells = cells[np.linalg.norm(cells, axis=1) < 47]
    direct = []
    for i in range(2):
        r = np.linalg.norm(atoms.positions[None] + cells[:, None] - atoms.positions[i], axis=-1)
        direct.append(np.sum(np.where(r > 0, q / np.where(r > 0, r, 1), 0)))
    inside = np.diff(direct)[0]
    assert abs(np.diff(found)[0] - inside) < 2e-4
    assert abs(np.diff(phi(sum, atoms, q, InversePower(1)))[0] - inside) > 0.1
    assert np.all(np.isnan(phi(sum.replace(depolarisation=1.0), atoms, [1.0, 0.0], InversePower(1))))


@jaxpot.pytree
class Swayed(ChargeModel):
    """Charges that follow the positions, and add up to nothing."""

    strength: jax.Array
    species = ("H", "O")
    reach = jnp.zeros(())

    def charges(self, graph):
        real = graph.numbers > 0
        between = graph.positions[:, None] - graph.positions[None]
        near = jnp.sum(jnp.where(real[None, :], jnp.exp(-0.3 * jnp.sum(between**2, axis=-1)), 0), axis=1) + 0.1 * graph.numbers
        return self.strength * jnp.where(real, near - jnp.sum(jnp.where(real, near, 0)) / jnp.sum(real), 0)


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_through_charges_that_move(kind):
    """Forces, virial, dE/dq and Hessian-vector products against finite differences."""
    model = Electrostatics(Swayed(jnp.asarray(2.0)), ewald(kind), GAUSSIAN)
    graph, rng = from_atoms(structure(kind), LIST, max_atoms=N + 1), np.random.default_rng(0)
    step, tilt = rng.normal(size=(N + 1, 3)) * (np.arange(N + 1) < N)[:, None], rng.normal(size=(3, 3))
    step[N] = 0
    tilt = 0.5 * (tilt + tilt.T)
    of = quick_jit(evaluate)
    result = of(model, graph)
    moved = lambda d: graph.replace(positions=graph.positions + d * step)  # noqa: E731
    scale = float(jnp.max(jnp.abs(result.forces)))
    assert abs(-central(lambda d: float(of(model, moved(d)).energy), 2e-3) - np.sum(result.forces * step)) < 1e-8 * scale
    assert abs(-central(lambda d: float(of(model, strain(graph, d * tilt)).energy), 1e-3) - np.sum(result.virial * tilt)) < 1e-8 * scale
    product = quick_jit(lambda model, graph: jax.jvp(lambda r: jax.grad(lambda r: model(graph.replace(positions=r)))(r), (graph.positions,), (step,))[1])
    expected = -central(lambda d: np.asarray(of(model, moved(d)).forces), 1e-3)
    np.testing.assert_allclose(product(model, graph), expected, rtol=0, atol=1e-8 * np.max(np.abs(expected)))
    q = np.asarray(of(model, graph).charges)
    assert abs(np.sum(q)) < 1e-12 and not np.any(result.forces[N])


def test_it_is_an_operator():
    """Linear in the sources and the same both ways."""
    graph, sum, rng = from_atoms(structure("slab"), LIST), ewald("slab"), np.random.default_rng(1)
    a, b = jnp.asarray(rng.normal(size=(2, N)))
    of = lambda q: potential(sum, GAUSSIAN, graph, q)  # noqa: E731
    np.testing.assert_allclose(of(2 * a - 3 * b), 2 * of(a) - 3 * of(b), rtol=0, atol=1e-11)
    assert abs(a @ of(b) - b @ of(a)) < 1e-11


def test_blocks_of_atoms():
    """Cut into blocks of 16, of which the last is filled up, as whole; gradients and the memory of a reverse pass too."""
    rng, m = np.random.default_rng(3), integers((3, 80, 20))
    kernel, fractions, q = rng.normal(size=(4, 161, 41)), jnp.asarray(rng.normal(size=(37, 3))), jnp.asarray(rng.normal(size=37))
    waves = np.exp(2j * np.pi * np.einsum("abcs,ns->abcn", np.stack(np.meshgrid(*m, indexing="ij"), axis=-1), fractions))
    expected = np.real(np.einsum("abc,abcn,abcm,m->n", kernel, waves, waves.conj(), q, optimize=True))
    found = quick_jit(lambda *x: reciprocal_potential(x[0], m, *x[1:]))(jnp.asarray(kernel), fractions, q)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    slope = quick_jit(jax.grad(lambda f: q @ reciprocal_potential(jnp.asarray(kernel), m, f, q)))(fractions)
    by_hand = 2 * q[:, None] * np.real(
        np.einsum("abc,abcn,abcm,m,abcs->ns", kernel, waves, waves.conj(), q, 2j * np.pi * np.stack(np.meshgrid(*m, indexing="ij"), axis=-1), optimize=True)
    )
    np.testing.assert_allclose(slope, by_hand, rtol=0, atol=1e-7)


SALT = FixedCharges(("H", "O"), values=[2.0, -3.0])


def nan_and_why(model, graph):
    result = quick_jit(evaluate)(model, graph)
    assert np.isnan(result.energy) and np.all(np.isnan(result.forces)) and np.all(np.isnan(result.virial))
    return " ".join(diagnose(model, graph))


def test_what_only_the_device_sees():
    """NaN and a cause."""
    crystal = Electrostatics(SALT, ewald("crystal"))
    graph = from_atoms(structure("crystal"), LIST)
    assert np.isfinite(quick_jit(evaluate)(crystal, graph).energy) and diagnose(crystal, graph) == ()
    assert "has outgrown the grid" in nan_and_why(crystal, strain(graph, 0.2 * jnp.eye(3)))
    assert "pbc = (True, True, False)" in nan_and_why(crystal, graph.replace(pbc=jnp.array([True, True, False])))
    assert "rebuild with cutoff=3.69" in nan_and_why(crystal, from_atoms(structure("crystal"), 3.0))
    slab = Electrostatics(SALT, ewald("slab", length=14.0))
    far = structure("slab")
    far.positions[0] += [0, 20.0, 0]
    assert "Å long, and Ewald has room for" in nan_and_why(slab, from_atoms(far, LIST))
    charged = Electrostatics(FixedCharges(("H", "O"), values=[1.0, -1.0]), ewald("crystal"))
    graph = from_atoms(structure("crystal"), LIST, charge=1.0)
    assert "background=True" in nan_and_why(charged, graph)
    assert np.isfinite(quick_jit(evaluate)(charged.replace(background=True), graph).energy)
    assert "write jaxpot.longrange.sum_for(frames)" in nan_and_why(Electrostatics(SALT, Direct()), from_atoms(structure("wire"), LIST))


def test_what_is_refused_at_once():
    cutoff = PolynomialCutoff(3.0, width=0.3)
    for changes, message in (
        ({"grid": (3, 3)}, "three positive integers"),
        ({"pbc": (True, False)}, "three of True and False"),
        ({"length": 9.0}, "leave length out"),
        ({"pbc": (True, True, False)}, "give length="),
        ({"pbc": (True, True, False), "length": 9.0, "depolarisation": 1.0}, "depolarisation is of crystals"),
    ):
        with pytest.raises(ValueError, match=message):
            Ewald(cutoff, **{"width": 0.5, "grid": (3, 3, 3), "k_cutoff": 6.0} | changes)
    with pytest.raises(ValueError, match="InversePower other than 1/r is summed over crystals"):
        ewald("slab").potential(InversePower(6), from_atoms(structure("slab"), LIST), jnp.ones(N))


def test_parts_are_refused():
    mesh, graph = sharding.make_mesh(2), from_atoms(structure("crystal"), LIST)
    with pytest.raises(ValueError, match="Electrostatics depend on more than each atom's neighbours"):
        sharding.evaluate(Electrostatics(SALT, ewald("crystal")), sharding.partition(graph, mesh), mesh)


def test_rocksalt_is_a_slab_of_many_layers():
    """The energy of layers of salt per pair approaches that of the crystal."""
    layers = 6
    slab = ase.build.surface(ase.build.bulk("NaCl", "rocksalt", a=2.0, cubic=True), (0, 0, 1), layers // 2, vacuum=None)
    slab.pbc = True, True, False
    charges = np.where(slab.numbers == 11, 1.0, -1.0)
    height = np.ptp(slab.positions[:, 2])
    sum = Ewald(PolynomialCutoff(3.7, width=0.2), width=0.45, grid=(5, 5, 80), k_cutoff=16.0, pbc=(True, True, False), length=2 * (height + 9))
    found = phi(sum, slab, charges, InversePower(1)) * charges
    middle = np.argmin(np.abs(slab.positions[:, 2] - np.mean(slab.positions[:, 2])))
    assert abs(found[middle] - -1.7475645946) < 2e-3 and found[0] > found[middle] + 0.05
