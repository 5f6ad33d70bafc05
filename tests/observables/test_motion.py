"""Pressure, correlations in time, spectra and transport: gases, oscillators and Ornstein–Uhlenbeck processes, of which all is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot as jp
from jaxpot import observables
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.units import BOLTZMANN, FEMTOSECOND, GPA

BOX = 12.0


@jp.pytree
class Spring(jp.LocalPotential):
    """Neighbours on springs of a length."""

    stiffness: jax.Array
    length: jax.Array
    species = ("Ar",)
    reach = jnp.asarray(3.0)

    def of(self, envs):
        r = jnp.linalg.norm(envs.vectors, axis=-1)
        return jnp.sum(jnp.where(envs.mask, 0.25 * self.stiffness * (r - self.length) ** 2, 0), axis=1)


def dimer(r=1.5):
    return jp.from_atoms(Atoms("Ar2", positions=[[5.0, 5, 5], [5.0 + r, 5, 5]], cell=[BOX] * 3, pbc=True), 3.0)


stress = quick_jit(observables.stress)


def test_pressure_of_a_gas():
    """N kT / V of momenta of exactly that temperature; the trace of the stress; a virial theorem."""
    rng, n, kelvin = np.random.default_rng(0), 30, 250.0
    momenta = rng.normal(size=(n, 3))
    momenta *= np.sqrt(3 * n * BOLTZMANN * kelvin * 40.0 / np.sum(momenta**2))
    graph = jp.from_atoms(Atoms(f"Ar{n}", positions=rng.uniform(0, 100, (n, 3)), cell=[100.0] * 3, pbc=True), 3.0, max_neighbors=1)
    still = Spring(0.0, 1.0)
    expected = n * BOLTZMANN * kelvin / 1e6
    masses = np.full(n, 40.0)
    np.testing.assert_allclose(observables.pressure(still, graph, momenta, masses=masses), expected / GPA, rtol=1e-12)
    np.testing.assert_allclose(observables.thermal_pressure(still, graph, kelvin), expected / GPA, rtol=1e-12)
    np.testing.assert_allclose(jnp.trace(stress(still, graph, momenta, masses=masses)), -3 * expected, rtol=1e-12)


def test_virial_theorem():
    """What vibrates in a box and touches nothing has no pressure in the mean over a period."""
    spring, amplitude, mass = Spring(4.0, 1.5), 0.2, 40.0
    omega = np.sqrt(4.0 / (mass / 2))
    phases = 2 * np.pi * np.arange(8) / 8
    moved = [dimer(1.5 + amplitude * np.cos(phase)) for phase in phases]
    speed = -0.5 * amplitude * omega * np.sin(phases)  # of each of the two
    momenta = mass * speed[:, None, None] * np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    found = np.stack([stress(spring, graph, p, masses=np.full(2, mass)) for graph, p in zip(moved, momenta, strict=True)])
    assert np.max(np.abs(found[:, 0, 0])) > 1e-5 and np.max(np.abs(np.mean(found, axis=0))) < 1e-16
    assert np.all(found[:, 1:, 1:] == 0)


def test_stress_is_that_of_ase():
    """Without motion it is ASE's, with its sign, and momenta of another shape are refused."""
    argon = LennardJones(("Ar",), epsilon=0.0104, sigma=1.4, cutoff=PolynomialCutoff(3.0, width=1.0))
    graph = dimer()
    np.testing.assert_allclose(stress(argon, graph, np.zeros((2, 3)), masses=np.ones(2)), -jp.evaluate(argon, graph).virial / BOX**3, rtol=1e-12)
    with pytest.raises(ValueError, match=r"expected momenta \[2, 3\] and masses \[2\]"):
        observables.stress(argon, graph, np.zeros(3), masses=np.ones(2))
    with pytest.raises(ValueError, match="stress: the structure is periodic in directions"):
        observables.stress(argon, graph.replace(pbc=jnp.zeros(3, bool)), np.zeros((2, 3)), masses=np.ones(2))


def test_correlations_by_their_definition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 37, 2))
    found = quick_jit(lambda a, b: observables.correlation(a, b, length=20))(a, b)
    expected = [np.mean(a[: 37 - t] * b[t:], axis=0) for t in range(20)]
    np.testing.assert_allclose(found, expected, atol=1e-13)
    walk = np.cumsum(rng.normal(size=(50, 3, 3)), axis=0) + 100.0
    found = quick_jit(observables.mean_square_displacement)(walk)
    expected = [np.mean(np.sum((walk[t:] - walk[: 50 - t]) ** 2, axis=2)) for t in range(50)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    with pytest.raises(ValueError, match="length of 1 to T"):
        observables.correlation(a, length=38)


def test_unwrapping():
    """Straight paths through walls of a triclinic cell, whatever image is kept, also while the cell breathes."""
    rng, steps = np.random.default_rng(0), 40
    cell = np.array([[6.0, 0, 0], [1.1, 5.5, 0], [-0.6, 0.8, 5.8]])
    path = rng.uniform(0, 6, (1, 5, 3)) + np.arange(steps)[:, None, None] * rng.uniform(-1, 1, (1, 5, 3))
    fractions = path @ np.linalg.inv(cell)
    images = fractions + rng.integers(-2, 3, fractions.shape)
    found = observables.unwrapped(images @ cell, cell)
    np.testing.assert_allclose(found - found[:1], path - path[:1], atol=1e-12)
    breathing = cell * (1 + 0.05 * np.sin(np.arange(steps)))[:, None, None]
    still = np.broadcast_to(fractions[:1], fractions.shape) + rng.integers(-2, 3, fractions.shape)
    found = observables.unwrapped(np.einsum("tns,tsx->tnx", still, breathing), breathing)
    np.testing.assert_allclose(found - found[:1], np.zeros(path.shape), atol=1e-12)


# Ornstein–Uhlenbeck: velocities of a free particle in Langevin dynamics, with friction γ and <v²> = kT/m
FRICTION, KELVIN, MASS, STEP, COUNT, WALKERS = 0.02, 300.0, 40.0, 5.0, 6000, 24  # 1/fs, K, amu, fs
SPEED2 = BOLTZMANN * KELVIN / MASS * FEMTOSECOND**2  # Å²/fs², of each direction


@pytest.fixture(scope="module")
def process():
    """Exact steps of v and of its integral together, [T, N, 3]."""
    decay = np.exp(-FRICTION * STEP)
    rng = np.random.default_rng(0)
    # the covariance of what noise does to v and to x in a step
    vv = 1 - decay**2
    xv = (1 - decay) ** 2 / FRICTION
    xx = (2 * FRICTION * STEP - 3 + 4 * decay - decay**2) / FRICTION**2
    root = np.linalg.cholesky(SPEED2 * np.array([[vv, xv], [xv, xx]]))
    noise = rng.normal(size=(COUNT, WALKERS, 3, 2)) @ root.T
    v, x = np.empty((2, COUNT, WALKERS, 3))
    v[0], x[0] = rng.normal(size=(WALKERS, 3)) * np.sqrt(SPEED2), 0
    for t in range(1, COUNT):
        v[t] = decay * v[t - 1] + noise[t, ..., 0]
        x[t] = x[t - 1] + (1 - decay) / FRICTION * v[t - 1] + noise[t, ..., 1]
    return v, x


def test_diffusion_of_langevin_dynamics(process):
    """⟨v v⟩ = 3 kT/m e^(−γt), ⟨Δx²⟩ = 6 kT/(mγ) (t − (1 − e^(−γt))/γ), D = kT/(mγ)."""
    v, x = process
    t = STEP * np.arange(61)
    C = quick_jit(lambda v: observables.velocity_autocorrelation(v, length=61))(v)
    error = 3 * SPEED2 * np.sqrt(2 / (FRICTION * STEP * COUNT * WALKERS * 3))
    np.testing.assert_allclose(C, 3 * SPEED2 * np.exp(-FRICTION * t), atol=4 * error)
    expected = 6 * SPEED2 / FRICTION * (t - (1 - np.exp(-FRICTION * t)) / FRICTION)
    msd = quick_jit(lambda x: observables.mean_square_displacement(x, length=61))(x)
    np.testing.assert_allclose(msd, expected, rtol=0.06, atol=1e-10)
    D = quick_jit(lambda x: observables.diffusion(x, STEP, lags=(60, 120), blocks=6))(x)
    true = SPEED2 / FRICTION
    assert abs(D.mean - true) < 4 * D.error and D.error < 0.05 * true
    # of argon at 300 K with a friction of 20/ps: 3.1e-5 cm²/s … kT/(mγ) in SI
    assert abs(observables.SQUARE_CENTIMETRES_PER_SECOND * true - 1e4 * 1.380649e-23 * 300 / (40 * 1.66053907e-27 * 2e13)) < 1e-8
    with pytest.raises(ValueError, match="write fewer blocks"):
        observables.diffusion(x, STEP, lags=(60, 2000), blocks=6)
    with pytest.raises(ValueError, match="the second larger"):
        observables.diffusion(x, STEP, lags=(20, 10))


def test_errors_of_blocks(process):
    """Blocks know of correlations: the error of a mean is √(2 <v²> τ / T), five times what steps that do not know each other would have."""
    v, _ = process
    found = quick_jit(lambda v: observables.block_average(v, blocks=30))(v)
    true = np.sqrt(SPEED2 * 2 / (FRICTION * STEP * COUNT))
    assert abs(np.sqrt(np.mean(found.error**2)) / true - 1) < 0.08
    assert abs(np.sqrt(np.mean(found.mean**2)) / true - 1) < 0.25
    for blocks in (1, 2.0, True):
        with pytest.raises(ValueError, match="integer of at least 2"):
            observables.block_average(v, blocks=blocks)


def test_green_kubo(process):
    """Fluxes that forget as e^(−γt): η = V <σxy²> / (kT γ), κ = <J²> / (V k T² γ), in their units."""
    v, _ = process
    # the process is cut into pieces; five numbers of the traceless part have the variance of one direction each
    series = v[:, :5, 0] / np.sqrt(SPEED2)
    basis = np.zeros((5, 3, 3))
    for i, (a, b) in enumerate(((0, 1), (1, 2), (0, 2))):
        basis[i, a, b] = basis[i, b, a] = 1
    basis[3], basis[4] = np.diag([1.0, -1.0, 0.0]), np.diag([1.0, 1.0, -2.0]) / np.sqrt(3)
    size, volume = 2e-4, 5e3
    stresses = size * np.einsum("ti,iab->tab", series, basis) + 0.01 * np.eye(3)
    found = quick_jit(lambda s: observables.viscosity(s, STEP, temperature=KELVIN, volume=volume, length=81, blocks=5))(stresses)
    true = 1e3 * (volume * 1e-30) * (size * 1.602176634e11) ** 2 / (1.380649e-23 * KELVIN) * 1e-15 / FRICTION  # mPa s
    grown = true * (1 - np.exp(-FRICTION * found.times))
    assert np.all(np.abs(found.value - grown)[1:] < 5 * found.error[1:] + 0.01 * true) and found.error[-1] < 0.2 * true
    np.testing.assert_allclose(found.correlation[0], 10 * size**2, rtol=0.1)  # σ:σ

    fluxes = 0.3 * v[:, 0] / np.sqrt(SPEED2)
    found = quick_jit(lambda J: observables.thermal_conductivity(J, STEP, temperature=KELVIN, volume=volume, length=81, blocks=5))(fluxes)
    one = 1.602176634e-19 * 1e-10 / 1e-15  # J m/s
    true = (0.3 * one) ** 2 / (volume * 1e-30 * 1.380649e-23 * KELVIN**2) * 1e-15 / FRICTION
    grown = true * (1 - np.exp(-FRICTION * found.times))
    assert np.all(np.abs(found.value - grown)[1:] < 5 * found.error[1:] + 0.01 * true) and found.error[-1] < 0.3 * true
    with pytest.raises(ValueError, match=r"expected shape \[T, 3\]"):
        observables.thermal_conductivity(stresses, STEP, temperature=KELVIN, volume=volume, length=81)


def vibrating(rng, frequencies, masses, interval=2.0, steps=8000):
    """Independent oscillators in equilibrium, mean energies exact: displacements and velocities, [T, N, 3], in Å and Å/fs."""
    t = interval * np.arange(steps)[:, None, None]
    omega = 2e-3 * np.pi * np.asarray(frequencies)[None, :, None]
    amplitude = np.sqrt(2 * BOLTZMANN * KELVIN / np.asarray(masses))[None, :, None] * FEMTOSECOND / omega
    phase = rng.uniform(0, 2 * np.pi, (1, omega.shape[1], 3))
    return amplitude * np.cos(omega * t + phase), -amplitude * omega * np.sin(omega * t + phase)


def test_vibrational_density():
    """Every oscillator counts once, whatever its mass and frequency; the whole is one."""
    _, v = vibrating(np.random.default_rng(0), [5.0, 12.0, 12.0, 30.0], [2.0, 40.0, 7.0, 100.0])
    nu, D = quick_jit(lambda v, m: observables.vibrational_density(v, m, 2.0, segment=2000))(v, jnp.array([2.0, 40.0, 7.0, 100.0]))
    step = nu[1]
    assert abs(np.sum(D) * step - 1) < 1e-12
    for place, share in ((5.0, 0.25), (12.0, 0.5), (30.0, 0.25)):
        near = np.abs(nu - place) < 1.5
        assert abs(np.sum(D[near]) * step - share) < 1e-3 and abs(nu[near][np.argmax(D[near])] - place) <= step
    with pytest.raises(ValueError, match="segment must be from 4 to the 8000 steps"):
        observables.power_spectrum(v, 2.0, segment=9000)


def test_harmonic_chain():
    """A ring of masses on springs has as many states below a frequency as ω = 2 √(k/m) |sin(κ/2)| says, whatever the phases of its modes."""
    n, k, m = 16, 3.0, 28.0
    ring = 2 * np.eye(n) - np.roll(np.eye(n), 1, axis=0) - np.roll(np.eye(n), -1, axis=0)
    squares, modes = np.linalg.eigh(k / m * ring)
    omega, modes = FEMTOSECOND * np.sqrt(squares[1:]), modes[:, 1:]  # 1/fs, without the motion of the whole
    rng, t = np.random.default_rng(0), 4.0 * np.arange(8000)
    v = np.sin(omega * t[:, None] + 2 * np.pi * rng.random(n - 1)) @ modes.T
    nu, D = quick_jit(lambda v: observables.vibrational_density(v, jnp.full(n, m), 4.0, segment=4000))(v[:, :, None] * np.array([1.0, 0, 0]))
    below = np.cumsum(D) * nu[1]
    kappa = 2 * np.pi * np.arange(1, n) / n
    exact = 1e3 * FEMTOSECOND * 2 * np.sqrt(k / m) * np.abs(np.sin(kappa / 2)) / (2 * np.pi)  # THz
    levels = np.unique(exact.round(9))
    for edge in 0.5 * (levels[1:] + levels[:-1]):
        assert abs(np.interp(edge, nu, below) - np.mean(exact < edge)) < 8e-3  # lines are 0.1 THz wide, the last two 0.2 THz apart


def test_infrared_and_raman():
    """A charge on a spring absorbs q²/(4 c ε₀ m V) in all, at its frequency; of a line that turns, depolarised light is 3/4, of a sphere 0."""
    rng, q, m, volume = np.random.default_rng(0), 0.7, 10.0, 500.0
    x, _ = vibrating(rng, [25.0], [m])
    nu, absorbed = quick_jit(lambda d: observables.infrared(d, 2.0, temperature=KELVIN, volume=volume, segment=2000))(q * x[:, 0])
    e, light, epsilon, amu = 1.602176634e-19, 2.99792458e8, 8.8541878128e-12, 1.66053907e-27
    true = 1e-2 * 1e-12 * (q * e) ** 2 / (4 * light * epsilon * m * amu * volume * 1e-30)  # THz/cm
    assert abs(np.sum(absorbed) * nu[1] / true - 1) < 5e-3 and abs(nu[np.argmax(absorbed)] - 25.0) <= nu[1]
    assert abs(observables.WAVENUMBER * 25.0 - 833.91) < 0.01

    stretch = x[:, 0, :1, None]
    of = quick_jit(lambda a: observables.raman(a, 2.0, segment=2000))
    traceless, sphere = of(stretch * np.diag([1.0, 1.0, -2.0])), of(stretch * np.eye(3))
    assert abs(np.sum(traceless.perpendicular) / np.sum(traceless.parallel) - 0.75) < 1e-10
    assert np.sum(sphere.perpendicular) < 1e-20 * np.sum(sphere.parallel)
    rate = 2e-3 * np.pi * 25.0
    assert abs(np.sum(sphere.parallel) * nu[1] / np.mean((rate * x[:, 0, 0]) ** 2) - 1) < 5e-3
