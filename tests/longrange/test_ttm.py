"""The electrostatics of TTM4-F: numbers of the monomer, a dimer summed pair by pair, crystals, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit
from scipy.special import gamma, gammaincc

import jaxpot
from jaxpot import from_atoms
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.longrange import TTM4F, Direct, Ewald, FixedCharges, ParticleMesh, polarizability
from jaxpot.units import COULOMB, DEBYE

evaluate = quick_jit(jaxpot.evaluate)
energy = quick_jit(lambda model, graph: model(graph))
BOND, HALF = 0.9716257, np.deg2rad(0.5 * 104.69)  # of the CC-pol monomer, Å
MONOMER = np.array([[0, 0, 0], [np.sin(HALF), 0, np.cos(HALF)], [-np.sin(HALF), 0, np.cos(HALF)]]) * BOND
CHARGE = 0.32758091338846435  # e, of a hydrogen there
WATER = TTM4F(FixedCharges(("O", "H"), values=[-2 * CHARGE, CHARGE]), Direct())


def water(n, seed=0, **more):
    """Molecules in a row with random turns, 2.9 Å apart, a little out of shape."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(n)]
    places = [MONOMER @ turn + [2.9 * i, 0.2 * i**2, 0] + rng.normal(size=(3, 3)) * 0.02 for i, turn in enumerate(turns)]
    return Atoms("OH2" * n, positions=np.concatenate(places), **more)


def padded(atoms, **more):
    """Of one shape for all, which are compiled once."""
    return from_atoms(atoms, 0.5, max_atoms=8, max_neighbors=1, **more)


def test_monomer():
    """Its published polarizability; its dipole is that of its charges, since these do not polarise their own molecule."""
    graph = padded(Atoms("OH2", positions=MONOMER))
    tensor = np.asarray(quick_jit(polarizability)(WATER, graph))
    assert abs(np.trace(tensor) / 3 - 1.43016) < 1e-6
    found = evaluate(WATER, graph)
    np.testing.assert_allclose(np.asarray(found.dipole) / DEBYE, [0, 0, 1.867895838174], atol=1e-12)
    assert float(found.energy) == 0 and np.max(np.abs(found.forces)) < 1e-14


def by_pairs(positions, q):
    """The energy of two molecules from the formulas, site by site: sites O, H, H, M; matrices of all dipoles."""
    g, alpha = 0.426706882, np.tile([1.310, 0.294, 0.294, 0.0], 2)
    sites, charges = [], []
    for o, h1, h2 in positions.reshape(2, 3, 3):
        sites += [o, h1, h2, (1 - g) * o + 0.5 * g * (h1 + h2)]
        t = 0.5 * g / (1 - g)
        charges += [0, q * (1 + 2 * t), q * (1 + 2 * t), -2 * q / (1 - g)]
    sites, charges, size = np.array(sites), np.array(charges), np.tile([1.310, 0.294, 0.294, 1.310], 2) ** (1 / 6)
    field, t_matrix, permanent = np.zeros((8, 3)), np.zeros((8, 3, 8, 3)), 0.0
    for i in range(8):
        for j in set(range(8)) - {i}:
            d = sites[i] - sites[j]
            r = np.linalg.norm(d)
            x4 = (r / (size[i] * size[j])) ** 4
            if i // 4 != j // 4:
                z = 0.4 * x4
                permanent += 0.5 * charges[i] * charges[j] * (-np.expm1(-z) + z**0.25 * gamma(0.75) * gammaincc(0.75, z)) / r
                field[i] += charges[j] * -np.expm1(-z) * d / r**3
            a = 0.626 if i // 4 == j // 4 and 0 in (i % 4, j % 4) else 0.055
            first = -np.expm1(-a * x4) / r**3
            second = (first - 4 * a / 3 * x4 * np.exp(-a * x4) / r**3) / r**2
            t_matrix[i, :, j] = 3 * second * np.outer(d, d) - first * np.eye(3)
    root = np.repeat(np.sqrt(alpha), 3)
    dipoles = root * np.linalg.solve(np.eye(24) - root[:, None] * t_matrix.reshape(24, 24) * root, root * field.ravel())
    return COULOMB * (permanent - 0.5 * dipoles @ field.ravel()), dipoles.reshape(8, 3)


def test_dimer_by_pairs():
    atoms = water(2)
    expected, dipoles = by_pairs(atoms.positions, CHARGE)
    found = evaluate(WATER, padded(atoms))
    assert abs(expected) > 0.01 and abs(float(found.energy) - expected) < 1e-12
    of_charges = np.tile([-2 * CHARGE, CHARGE, CHARGE], 2) @ atoms.positions
    np.testing.assert_allclose(found.dipole, of_charges + dipoles.sum(axis=0), atol=1e-13)


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_derivatives():
    """Forces, virial and every leaf of a dimer in a field, padded."""
    graph = padded(water(2), field=(0.1, -0.2, 0.05))
    rng, found = np.random.default_rng(1), evaluate(WATER, graph)
    step, tilt = rng.normal(size=(8, 3)) * (np.arange(8) < 6)[:, None], rng.normal(size=(3, 3))
    moved = central(lambda d: float(energy(WATER, graph.replace(positions=graph.positions + d * step))), 5e-4)
    assert abs(moved + np.sum(found.forces * step)) < 1e-8 * abs(moved)
    strained = central(lambda d: float(energy(WATER, jaxpot.strain(graph, 0.5 * d * (tilt + tilt.T)))), 5e-4)
    assert abs(strained + np.sum(found.virial * tilt)) < 1e-8 * max(abs(strained), 1)
    params, build = jaxpot.free(WATER, "gamma", "polarizability", "damping*")
    slopes = quick_jit(jax.grad(lambda p: build(p)(graph)))(params)
    of = quick_jit(lambda p: build(p)(graph))
    for path, value in params.items():
        turn = rng.normal(size=np.shape(value))
        numeric = central(lambda d: float(of(params | {path: value + d * turn})), 1e-3)  # noqa: B023
        assert abs(numeric - float(np.sum(slopes[path] * turn))) < 1e-8, path


CELL = np.array([[8.7, 0.2, 0], [0, 6.4, 0.3], [0.1, 0, 6.2]])


def crystal(width=0.8):
    return Ewald(PolynomialCutoff(6.5, width=1.0), width=width, grid=(11, 9, 9), k_cutoff=6.5)


@pytest.mark.parametrize("other", [crystal(0.75), ParticleMesh(PolynomialCutoff(6.5, width=1.0), width=0.8, grid=(36, 27, 27), spacing=0.25)])
@pytest.mark.slow
def test_crystal(other):
    """Whatever the sum, and with molecules cut by the faces of the cell."""
    atoms = water(3, cell=CELL, pbc=True)
    model = WATER.replace(sum=crystal())
    graph = from_atoms(atoms, float(model.reach))
    one = energy(model, graph)
    assert abs(float(one - energy(WATER.replace(sum=other), graph))) < 2e-5
    atoms.wrap()
    assert np.any(np.abs(atoms.positions - water(3).positions) > 3)
    assert abs(float(energy(model, from_atoms(atoms, float(model.reach))) - one)) < 1e-12


def test_what_is_refused():
    with pytest.raises(ValueError, match="charges are of Na, expected those of O and H"):
        TTM4F(FixedCharges(("Na",), values=[1.0]), Direct())
    with pytest.raises(ValueError, match="polarizability must be two numbers, of O and H"):
        TTM4F(WATER.charges, Direct(), polarizability=[1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda atoms: atoms[[1, 0, 2, 3, 4, 5]], "in the order O, H, H"),
        (lambda atoms: atoms[[0, 4, 2, 3, 1, 5]], "expected at most 1.5 Å"),
        (lambda atoms: atoms[:5], "in the order O, H, H"),
    ],
    ids=["order", "exchanged", "missing"],
)
def test_other_atoms(change, cause):
    graph = padded(change(water(2)))
    assert np.isnan(energy(WATER, graph))
    assert any(cause in found for found in jaxpot.diagnose(WATER, graph)), jaxpot.diagnose(WATER, graph)


def test_molecules_with_a_charge():
    model, graph = WATER.replace(charges=FixedCharges(("O", "H"), values=[-0.5, 0.3])), padded(water(2), charge=0.2)
    assert np.isnan(energy(model, graph))
    assert "the charges of water molecule 0 sum to 0.1 e, expected 0" in jaxpot.diagnose(model, graph)[0]


def test_single_precision():
    model, graph = jaxpot.cast(WATER, jnp.float32), jaxpot.cast(padded(water(2)), jnp.float32)
    found = energy(model, graph)
    assert found.dtype == jnp.float32 and abs(float(found) - float(energy(WATER, padded(water(2))))) < 1e-5


def test_batch():
    frames = [water(2, seed) for seed in (0, 1)]
    together = quick_jit(jax.vmap(lambda model, graph: model(graph), (None, 0)))(WATER, jaxpot.stack([padded(a) for a in frames]))
    np.testing.assert_allclose(together, [energy(WATER, padded(a)) for a in frames], atol=1e-13)


def test_files(tmp_path):
    jaxpot.save(tmp_path / "water.json", WATER)
    assert float(energy(jaxpot.load(tmp_path / "water.json"), padded(water(2)))) == float(energy(WATER, padded(water(2))))
