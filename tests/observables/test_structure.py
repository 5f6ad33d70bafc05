"""Pairs, angles and scattering of gases without structure, of crystals and of molecules, whose distributions are known."""

import itertools

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit
from jax.scipy.stats import norm

import jaxpot as jp
from jaxpot import observables, trajectories
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.graph import pad

CELL = np.array([[6.0, 0.3, -0.2], [1.1, 5.5, 0.4], [-0.6, 0.8, 5.8]])
VOLUME = abs(np.linalg.det(CELL))
WIDTH = 0.1


def gas(rng, n, symbols="Ar", cutoff=7.0, slots=80):
    """Atoms at random places of a cell that is smaller than the lists."""
    atoms = Atoms([symbols] * n if isinstance(symbols, str) else symbols, positions=rng.uniform(size=(n, 3)) @ CELL, cell=CELL, pbc=True)
    return pad(jp.from_atoms(atoms, cutoff), max_neighbors=slots)


def own_images(radii):
    """What the images of one atom have, of an atom per cell."""
    n = np.array([m for m in itertools.product(range(-3, 4), repeat=3) if any(m)]) @ CELL
    bins = norm.pdf(radii[:, None], np.linalg.norm(n, axis=1)[None], WIDTH).sum(axis=1)
    shells = 4 * np.pi * ((radii**2 + WIDTH**2) * norm.cdf(radii / WIDTH) + radii * WIDTH * norm.pdf(radii / WIDTH))
    return VOLUME * bins / shells


def test_no_structure():
    """g is 1 − 1/N of N atoms at random places, 1 of two elements, and S is 1; atoms' own images add to g what a lattice has."""
    rng, n, radii, q = np.random.default_rng(0), 12, np.linspace(0.5, 6.0, 20), np.array([1.5, 3.0, 4.5])
    species = ("Ar", "Ne")
    graphs = jp.stack([gas(rng, n, ["Ar"] * 8 + ["Ne"] * 4, slots=120) for _ in range(150)])
    waves = observables.wave_vectors(CELL, 5.5)

    @quick_jit
    @jax.vmap
    def both(graph):
        return (
            observables.pair_distribution(graph, species, radii, width=WIDTH),
            observables.structure_factor(graph, species, q, waves=waves, width=0.2),
        )

    for found, expected in zip(both(graphs), (_of_gas(radii, n), jnp.ones((2, 2, len(q)))), strict=True):
        error = np.std(found, axis=0) / np.sqrt(len(found))
        assert np.all(np.abs(np.mean(found, axis=0) - expected) < 4.5 * error + 1e-9)
        assert np.median(error) < 0.1


def _of_gas(radii, n):
    counts = np.array([8, 4])
    g = np.ones((2, 2, len(radii)))
    for i, count in enumerate(counts):
        g[i, i] = 1 - 1 / count + own_images(radii) / count
    return g


def test_crystal():
    """Peaks at the distances of rocksalt hold its numbers of neighbours, also of two atoms in a cell that is smaller than the lists."""
    species, radii, width = ("Na", "Cl"), np.linspace(0.02, 5.5, 275), 0.08
    small = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    of = quick_jit(lambda graph: observables.pair_distribution(graph, species, radii, width=width))
    g = np.asarray(of(jp.from_atoms(small, 6.0)))
    np.testing.assert_allclose(g, of(jp.from_atoms(small.repeat((3, 2, 1)), 6.0)), atol=1e-9)
    np.testing.assert_allclose(g, np.swapaxes(g, 0, 1), atol=1e-12)
    counts = 4 / 5.6**3 * 4 * np.pi * (radii**2 + width**2) * g * (radii[1] - radii[0])
    for pair, distance, number in (((0, 1), 2.8, 6), ((0, 0), 2.8 * 2**0.5, 12), ((1, 0), 2.8 * 3**0.5, 8)):
        near = np.abs(radii - distance) < 5 * width
        assert abs(np.sum(counts[pair][near]) - number) < 1e-4
        assert abs(radii[near][np.argmax(counts[pair][near])] - distance) < 0.02
    inside = radii < 4.4  # a kernel broadens a step as it does the bins
    n = quick_jit(lambda graph: observables.coordination(graph, species, radius=4.39, width=width))(jp.from_atoms(small, 6.0))
    np.testing.assert_allclose(n, np.sum(counts[:, :, inside], axis=2), rtol=1e-3)
    np.testing.assert_allclose(n, [[12, 6], [6, 12]], rtol=1e-4)


def test_bragg_peaks():
    """Of rocksalt partials are 1 ± what interferes; with equal lengths of both elements it is a simple cubic lattice."""
    salt = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    q = 2 * np.pi / 5.6 * np.array([1.0, 3**0.5, 2.0])
    waves = observables.wave_vectors(salt.cell.array, 2.5)
    of = quick_jit(lambda graph, species: observables.structure_factor(graph, species, q, waves=waves, width=0.005), static_argnums=1)
    S = of(jp.from_atoms(salt, 1.0), ("Na", "Cl"))
    np.testing.assert_allclose(S[0, 0], [-1, 7, 7], atol=1e-9)  # of 4 atoms N ρρ*/(N_a N_b) is 8 or 0, and N/N_a is 2
    np.testing.assert_allclose(S[0, 1], [1, -7, 9], atol=1e-9)
    total = observables.scattering_total(S, [0.5, 0.5], [1.0, 1.0])
    np.testing.assert_allclose(total, [0, 0, 8], atol=1e-9)
    salt.numbers[:] = 18
    np.testing.assert_allclose(total, of(jp.from_atoms(salt, 1.0), ("Ar",))[0, 0], atol=1e-9)


def test_molecules_both_ways():
    """Of pairs at one distance d in a dilute gas S = 1 + sin(qd)/qd: on reciprocal vectors, and as the transform of g."""
    rng, n, d, box = np.random.default_rng(1), 60, 1.6, 24.0
    q, radii, width = np.array([0.8, 1.5, 2.2, 3.0, 4.0]), np.linspace(0.0, 6.0, 241), 0.05
    waves = observables.wave_vectors(np.eye(3) * box, 4.2)
    waves = waves[rng.permutation(len(waves))[:3000]]
    of = quick_jit(
        jax.vmap(
            lambda graph: (
                observables.structure_factor(graph, ("N",), q, waves=waves, width=0.04)[0, 0],
                observables.pair_distribution(graph, ("N",), radii, width=width)[0, 0],
            )
        )
    )
    frames = []
    for _ in range(20):
        one, way = rng.uniform(0, box, (n, 3)), rng.normal(size=(n, 3))
        other = one + d * way / np.linalg.norm(way, axis=1)[:, None]
        frames.append(jp.from_atoms(Atoms(f"N{2 * n}", positions=np.concatenate([one, other]), cell=[box] * 3, pbc=True), 6.3))
    direct, g = of(jp.stack(frames))
    expected = 1 + np.sin(q * d) / (q * d)
    error = np.std(direct, axis=0) / np.sqrt(len(frames))
    assert np.all(np.abs(np.mean(direct, axis=0) - expected) < 4 * error) and np.all(error < 0.1)
    density = 2 * n / box**3
    # of other molecules there are 1 − 1/n of those of an endless gas
    found = observables.structure_factor_of_pairs(radii, g + 1 / n, q, density=density)
    error = np.std(found, axis=0) / np.sqrt(len(frames))
    assert np.all(np.abs(np.mean(found, axis=0) - expected) < 4 * error + 0.01) and np.all(error < 0.05)


def test_angles():
    """Normalised for every triple; tetrahedra, straight and right angles; of random directions sin θ / 2."""
    angles = np.linspace(0, np.pi, 181)
    step = angles[1]
    of = quick_jit(
        lambda graph, species, radius: observables.angle_distribution(graph, species, angles, radius=radius, width=0.05, broadening=0.05), static_argnums=1
    )
    P = of(jp.from_atoms(ase.build.bulk("NaCl", "rocksalt", a=5.6), 3.6), ("Na", "Cl"), 3.2)
    assert np.all(np.isnan(P[0, 0, 1])) and np.all(np.isnan(P[0, 0, 0]))  # no sodium near sodium
    P = P[0, 1, 1]
    assert abs(np.sum(P) * step - 0.5 * step * (P[0] + P[-1]) - 1) < 1e-6
    right, straight = np.sum(P[60:120]) * step, (np.sum(P[150:]) - 0.5 * P[180]) * step
    assert abs(right - 0.8) < 1e-4 and abs(straight - 0.2) < 1e-4  # 12 of 15 pairs, 3 of 15
    rng = np.random.default_rng(2)
    way = rng.normal(size=(40, 3))
    star = Atoms("O" + "H" * 40, positions=np.concatenate([np.zeros((1, 3)), way / np.linalg.norm(way, axis=1)[:, None]]))
    P = of(jp.from_atoms(star, 1.4), ("O", "H"), 1.1)[0, 1, 1]
    assert np.max(np.abs(np.cumsum(P) * step - (1 - np.cos(angles)) / 2)) < 0.05


def test_derivatives():
    """By positions, cell and radii as finite differences say, of a small cell; straight angles included."""
    atoms = Atoms("SiC2", positions=[[0.1, 0, 0], [1.7, 0.1, 0.3], [0.3, 1.5, 1.6]], cell=[[3.4, 0.1, 0], [0.2, 3.3, 0.1], [0, 0.3, 3.5]], pbc=True)
    graph, species, radii = jp.from_atoms(atoms, 4.6), ("Si", "C"), np.array([1.8, 2.6, 3.4])
    waves, rng = observables.wave_vectors(atoms.cell.array, 6.0), np.random.default_rng(0)

    @quick_jit
    def along(graph, step):
        def shown(d):
            moved = jp.strain(graph.replace(positions=graph.positions + d * step), d * 0.1 * step)
            parts = (
                observables.pair_distribution(moved, species, radii, width=0.15),
                observables.coordination(moved, species, radius=2.3 + 0.1 * d, width=0.2),
                observables.angle_distribution(moved, species, jnp.array([0.9, 2.0, 3.1]), radius=2.3, width=0.2, broadening=0.2),
                observables.structure_factor(moved, species, jnp.array([2.5, 4.0]), waves=waves, width=0.5),
            )
            return jnp.concatenate([part.reshape(-1) for part in parts])

        h = 1e-3
        numeric = (8 * (shown(h) - shown(-h)) - shown(2 * h) + shown(-2 * h)) / (12 * h)
        return jax.jvp(shown, (0.0,), (1.0,))[1], numeric

    exact, numeric = along(graph, rng.normal(size=(3, 3)))
    assert np.all(np.isfinite(exact)) and np.max(np.abs(exact)) > 1
    np.testing.assert_allclose(exact, numeric, atol=1e-6 * np.max(np.abs(exact)))

    line = jp.from_atoms(Atoms("CSiC", positions=[[-1.5, 0, 0], [0, 0, 0], [1.5, 0, 0]]), 3.5)
    straight = quick_jit(jax.grad(lambda r: jnp.sum(observables.angle_distribution(
        line.replace(positions=r), species, jnp.array([3.0]), radius=2.0, width=0.1, broadening=0.1)[0, 1, 1])))(line.positions)  # fmt: skip
    np.testing.assert_allclose(straight, np.zeros((3, 3)), atol=1e-10)


def test_means_of_another_potential():
    """Reweighted, the first peak of a dimer's g follows the size of its atoms."""
    argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
    pairs = [jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [r, 0, 0]], cell=[20.0] * 3, pbc=True), 6.0) for r in np.linspace(3.5, 4.4, 10)]
    states, radii = trajectories.sample(pairs, argon, temperature=85.0), jnp.linspace(3.0, 5.0, 21)

    def mean_distance(potential):
        g = trajectories.reweighted(states, lambda graph: observables.pair_distribution(graph, ("Ar",), radii, width=0.1)[0, 0], potential).mean
        return jnp.sum(g * radii**3) / jnp.sum(g * radii**2)

    slope = quick_jit(jax.grad(mean_distance))(argon).sigma
    assert 0.2 < slope < 1.2


def test_what_is_not_known_is_nan_or_refused():
    graph = jp.from_atoms(ase.build.bulk("Ar", a=5.3), 5.0)
    of = quick_jit(lambda graph: observables.pair_distribution(graph, ("Ar", "Ne"), jnp.array([3.0, 4.4, 4.6]), width=0.1))
    g = of(graph)
    assert np.isfinite(g[0, 0, 0]) and np.isfinite(g[0, 0, 1]) and np.isnan(g[0, 0, 2]) and np.all(np.isnan(g[1]))
    assert np.all(np.isnan(of(graph.replace(overflow=jnp.asarray(True)))))
    assert np.all(np.isnan(quick_jit(lambda graph: observables.coordination(graph, ("Ar",), radius=4.9, width=0.1))(graph)))
    waves = observables.wave_vectors(graph.cell, 3.0)
    scatter = quick_jit(lambda graph: observables.structure_factor(graph, ("Ar",), jnp.array([0.5]), waves=waves, width=0.01))
    assert np.all(np.isnan(scatter(graph)))  # no wave is that long
    molecule = graph.replace(pbc=jnp.array([True, True, False]))
    for name, options in (("pair_distribution", {}), ("structure_factor", {"waves": np.eye(3)})):
        with pytest.raises(ValueError, match=rf"{name}: .*periodic in directions \[True, True, False\].*set atoms\.cell"):
            getattr(observables, name)(molecule, ("Ar",), [3.0], width=0.1, **options)
    assert np.all(np.isnan(of(molecule))) and np.all(np.isnan(scatter(molecule)))
    with pytest.raises(ValueError, match="independent lattice vectors"):
        observables.wave_vectors(np.zeros((3, 3)), 2.0)
    with pytest.raises(ValueError, match="at most 1000000"):
        observables.wave_vectors(np.eye(3) * 100, 50.0)
    with pytest.raises(ValueError, match=r"expected radii \[R\]"):
        observables.structure_factor_of_pairs(np.arange(3.0), np.ones((1, 1, 4)), [1.0], density=0.1)
    with pytest.raises(ValueError, match=r"\[S, S, Q\]"):
        observables.scattering_total(np.ones((2, 2, 3)), [0.5, 0.5], [1.0])
