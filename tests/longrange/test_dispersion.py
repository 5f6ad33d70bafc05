"""Dispersion of geometric C6: lattice sums, damping, and what is refused."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxpot import evaluate, from_atoms
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.longrange import Direct, Dispersion, Ewald, InversePower, RationalDamping, TangToennies
from jaxpot.longrange.dispersion import exponential_remainder

ORACLES = Path(__file__).parents[1] / "oracles"
EWALD = Ewald(PolynomialCutoff(8.0, width=1.0), width=1.1, grid=(9, 9, 9), k_cutoff=5.0)


@pytest.mark.parametrize("p", [3, 6, 7])
def test_remainder_of_the_exponential_series(p):
    """Against the defining integral x^-(n+1) ∫₀ˣ tⁿ e⁻ᵗ dt / n!, on both sides of the seam and at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = 0.5 * (nodes + 1)
    for x in (0.0, 1e-6, 0.3, 1.999999, 2.000001, 7.0, 30.0):
        exact = np.sum(0.5 * weights * t**p * np.exp(-x * t)) / math.factorial(p)
        assert abs(float(exponential_remainder(p, jnp.asarray(x))) / exact - 1) < 3e-13


def test_damping_at_short_distances():
    tang, own = TangToennies(("Ar",), b=[2.5]), jnp.array([[2.5]])
    assert abs(float(tang.bare(jnp.array([1e-4]), own, own)[0] / (2.5**7 * 1e-4 / math.factorial(7))) - 1) < 3e-4
    rational = RationalDamping(("Ar",), radius=[2.5])
    assert abs(float(rational.bare(jnp.array([1e-6]), own, own)[0]) - 2.5**-6) < 1e-16
    for damped in (tang, rational):
        far = float(damped.bare(jnp.array([40.0]), own, own)[0]) * 40.0**6
        assert abs(far - 1) < 1e-6


@pytest.mark.parametrize("damping", [TangToennies(("Na", "Cl"), b=[4.0, 3.5]), RationalDamping(("Na", "Cl"), radius=[1.0, 1.3])])
def test_lattice_sum_of_damped_terms(damping):
    """A direct sum over images, whose far rest is that of 1/r⁶ by Ewald: only what damping changes is summed here."""
    cell = np.array([[4.2, 0.1, 0], [0.3, 4.6, 0], [0, -0.2, 4.4]])
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [1.9, 1.6, 2.0]], cell=cell, pbc=True)
    c6 = np.array([30.0, 80.0])
    graph = from_atoms(atoms, 8.0)
    plain = float(Dispersion(("Na", "Cl"), c6=c6, sum=EWALD)(graph))
    found = float(Dispersion(("Na", "Cl"), c6=c6, sum=EWALD, interaction=damping)(graph))
    images = np.stack(np.meshgrid(*3 * [np.arange(-6, 7)], indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    own, change = np.asarray(damping.sources(jnp.array([11, 17]))), 0.0
    for i in range(2):
        for j in range(2):
            r = np.linalg.norm(atoms.positions[j] + images - atoms.positions[i], axis=1)
            r = r[r > 1e-9]
            values = np.asarray(damping.bare(jnp.asarray(r), own[i][None, :], own[j][None, :])) - r**-6
            change -= 0.5 * math.sqrt(c6[i] * c6[j]) * np.sum(values)
    assert abs(change) > 1e-4
    assert abs(found - plain - change) < 1.5e-7  # the tail of r⁻¹² beyond a near cutoff of 8 Å has 6e-8


def test_derivatives_against_finite_differences():
    damping = TangToennies(("Na", "Cl"), b=[2.6, 2.1])
    model = Dispersion(("Na", "Cl"), c6=[30.0, 80.0], sum=Direct(), interaction=damping)
    graph = from_atoms(Atoms("NaCl2", positions=[[0, 0, 0], [0.5, 1.1, 0.3], [2.2, -0.7, 0.8]]), 1.0)
    energy = jax.jit(lambda model, x: model(graph.replace(positions=x)))
    step = 1e-4 * jnp.asarray(np.random.default_rng(1).normal(size=graph.positions.shape))
    numeric = energy(model, graph.positions + step) - energy(model, graph.positions - step)
    assert abs(float(numeric + 2 * jnp.sum(step * evaluate(model, graph).forces))) < 1e-8 * abs(float(numeric)) + 1e-10

    by_leaf = jax.grad(energy)(model, graph.positions)
    moved = lambda h: energy(model.replace(interaction=damping.replace(b=np.array([2.6 + h, 2.1]))), graph.positions)  # noqa: E731
    assert abs(float((moved(1e-4) - moved(-1e-4)) / 2e-4 - by_leaf.interaction.b[0])) < 1e-7
    assert np.all(np.isfinite(by_leaf.c6))


def test_what_is_refused():
    with pytest.raises(ValueError, match="TangToennies knows Na and not Cl"):
        Dispersion(("Na", "Cl"), c6=[1.0, 2.0], sum=Direct(), interaction=TangToennies(("Na",), b=[2.0]))


@pytest.mark.parametrize("name", ["ar4", "nacl8"])
def test_sixth_power_of_crystals(name):
    """`dispersion_lattice_sums`: direct sums to 40 Å with a tail, themselves converged to 1.1e-5 eV."""
    data = np.load(ORACLES / "dispersion_lattice_sums.npz")
    atoms = Atoms(*(data[f"{name}/{key}"] for key in ("numbers", "positions")), cell=data[f"{name}/cell"], pbc=True)
    symbols = atoms.get_chemical_symbols()
    species = tuple(dict.fromkeys(symbols))
    c6 = [float(data[f"{name}/c6_sqrt"][symbols.index(symbol)]) ** 2 for symbol in species]
    found = float(Dispersion(species, c6=c6, sum=EWALD)(from_atoms(atoms, 8.0)))
    assert abs(found - float(data[f"{name}/direct_r6_energy"])) < 2e-5


def test_undamped_is_the_inverse_power():
    model = Dispersion(("Ar",), c6=[64.0], sum=Direct())
    assert model.interaction == InversePower(6)
