"""Finite differences of everything differentiable, continuity at the cutoff, and second derivatives where they might break."""

import catalog
import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import POTENTIALS, STRUCTURES, assert_below, deviations, evaluate, quick_jit, relative, to_graph, variants_slow

from jaxpot import free, strain
from jaxpot.trees import walk

SHORT = [name for name in POTENTIALS if name != "isolated-atoms"]
ALL = [*SHORT, "isolated-atoms"]


def each(names):
    """One entry after the other through all laws, so that its second derivatives are compiled once."""
    return pytest.mark.parametrize("name", names, scope="module")


def central(function, h):
    """df/dx at 0 to fourth order in h."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


@quick_jit
def derivatives(model, params, graph):
    """Gradients by parameters, the Hessian [N, 3, N, 3] by positions, and the mixed second derivatives."""
    names = tuple(params)
    _, build = free(model, *names)

    def gradients(positions):
        by_position, by_params = jax.grad(lambda r, p: build(p)(graph.replace(positions=r)), argnums=(0, 1))(positions, params)
        return (by_position, by_params), by_params

    (hessian, mixed), by_params = jax.jacfwd(gradients, has_aux=True)(graph.positions)
    return by_params, hessian, mixed


def all_derivatives(name, graph):
    model = catalog.potential(name)
    params, build = free(model, "*")
    return params, build, derivatives(model, params, graph)


@each(variants_slow(SHORT))
@pytest.mark.parametrize("structure", ["slab", "small-cell"])
def test_forces_and_virial(name, structure):
    model, graph, n = catalog.potential(name), catalog.graph(structure), len(STRUCTURES[structure])
    result, h = evaluate(model, graph), 5e-4
    forces = np.zeros((n, 3))
    for i, x in np.ndindex(n, 3):
        unit = np.zeros(graph.positions.shape)
        unit[i, x] = 1
        forces[i, x] = -central(lambda d: float(evaluate(model, graph.replace(positions=graph.positions + d * unit)).energy), h)  # noqa: B023
    virial = np.zeros((3, 3))
    for a in range(3):
        for b in range(a + 1):
            unit = np.zeros((3, 3))
            unit[a, b] += 0.5
            unit[b, a] += 0.5
            virial[a, b] = virial[b, a] = -central(lambda d: float(evaluate(model, strain(graph, d * unit)).energy), h)  # noqa: B023
    assert_below(deviations(result.replace(forces=forces, virial=virial), result, n), 1e-9)


@each(variants_slow(ALL))
def test_every_leaf(name):
    """Leaves declared positive, and all others, along one random direction each."""
    graph = catalog.graph("molecule")
    params, build, (by_params, _, _) = all_derivatives(name, graph)
    declared = {path for path, _, metadata in walk(catalog.potential(name)) if metadata.get("positive")}
    assert declared <= set(params)
    rng, errors = np.random.default_rng(7), {}
    for path, value in params.items():
        direction = rng.normal(size=value.shape)
        numeric = central(lambda d: float(evaluate(build(params | {path: value + d * direction}), graph).energy), 5e-4)  # noqa: B023
        exact = float(np.sum(np.asarray(by_params[path]) * direction))
        errors[path] = abs(exact - numeric) / max(abs(numeric), 1e-2)
    assert_below(errors, 1e-8)


@each(variants_slow(SHORT))
def test_hessian(name):
    """Symmetric, and the derivative of the forces; so are the mixed derivatives by positions and parameters."""
    model, graph, n = catalog.potential(name), catalog.graph("molecule"), len(STRUCTURES["molecule"])
    params, build, (_, hessian, mixed) = all_derivatives(name, graph)
    matrix = np.asarray(hessian).reshape(3 * len(graph.numbers), -1)
    assert relative(matrix, matrix.T) < 1e-11
    assert np.all(matrix[3 * n :] == 0)
    rng = np.random.default_rng(8)
    direction = rng.normal(size=graph.positions.shape) * (np.arange(len(graph.numbers)) < n)[:, None]
    numeric = -central(lambda d: np.asarray(evaluate(model, graph.replace(positions=graph.positions + d * direction)).forces), 1e-4)
    assert relative(np.einsum("iajb,jb->ia", hessian, direction), numeric) < 1e-7
    for path, value in params.items():
        if value.ndim == 0:
            numeric = -central(lambda d: np.asarray(evaluate(build(params | {path: value + d}), graph).forces), 1e-4)  # noqa: B023
            assert np.max(np.abs(mixed[path] - numeric)) < 1e-7 * max(np.max(np.abs(numeric)), 1e-1), path


def hard_cases(reach, kinks):
    """Structures at which something vanishes, or sits exactly where a branch changes."""
    yield "on the sparse points", catalog.SPARSE
    yield "isolated atom", Atoms("Si", positions=[[0, 0, 0]])
    yield "isolated pair of different atoms", Atoms("SiC", positions=[[0, 0, 0], [0, 0, 20.0]])
    yield "polar axis", Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.9]])
    yield "x axis", Atoms("SiC", positions=[[0, 0, 0], [1.9, 0, 0]])
    yield "collinear", Atoms("CSiC", positions=[[-1.8, 0, 0], [0, 0, 0], [1.8, 0, 0]])
    yield "planar square", Atoms("Si4", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]])
    yield "very close", Atoms("SiC", positions=[[0, 0, 0], [0, 1e-3, 0]])
    for distance in (reach, *kinks):
        yield f"pair at {distance}", Atoms("SiC", positions=[[0, 0, 0], [0, 0, distance]])
        yield f"third atom at {distance}", Atoms("SiCSi", positions=[[0, 0, 0], [0, 0, distance], [1.8, 0, 0]])


@each(variants_slow(ALL))
def test_second_derivatives_are_finite(name):
    reach = float(catalog.potential(name).reach)
    kinks = {float(p) for p in (2.2, 1.6, 1.5) if p < reach}
    for case, atoms in hard_cases(reach or 3.0, kinks):
        _, _, found = all_derivatives(name, to_graph(atoms))
        assert catalog.is_finite(evaluate(catalog.potential(name), to_graph(atoms))), case
        by_params, hessian, mixed = found
        assert catalog.is_finite(by_params), f"{case}: {[k for k, v in by_params.items() if not catalog.is_finite(v)]}"
        assert catalog.is_finite(hessian), case
        assert catalog.is_finite(mixed), f"{case}: {[k for k, v in mixed.items() if not catalog.is_finite(v)]}"


def with_atoms_at(distance):
    """The fourth atom is this far from the first, the fifth behind it: without its company the fourth would be alone beyond."""
    return Atoms("SiCSiCC", positions=[[0, 0, 0], [1.7, 0.3, 0], [-0.2, 1.6, 0.9], [0, 0, -distance], [0.3, 0, -distance - 1.8]])


@each(variants_slow(SHORT))
def test_continuous_as_an_atom_crosses_the_cutoff(name):
    """Energy and forces; ±1e-6 Å around the cutoff they change in proportion, by a slope of the order of the Hessian."""
    model, delta = catalog.potential(name), 1e-6
    reach = float(model.reach)
    inside, at, outside = (evaluate(model, to_graph(with_atoms_at(r))) for r in (reach - delta, reach, reach + delta))
    hessian = derivatives(model, free(model, "*")[0], to_graph(with_atoms_at(reach - 1e-3)))[1]
    force, slope = float(np.max(np.abs(inside.forces))), float(np.max(np.abs(hessian)))
    for other in (at, outside):
        assert abs(float(inside.energy - other.energy)) < 10 * delta * force
        assert np.max(np.abs(inside.forces - other.forces)) < 10 * delta * slope


@each(variants_slow(SHORT))
def test_neighbours_beyond_the_cutoff_do_not_count(name):
    model, errors = catalog.potential(name), {}
    for structure, atoms in STRUCTURES.items():
        short = evaluate(model, to_graph(atoms, cutoff=float(model.reach)))
        found = deviations(short, evaluate(model, catalog.graph(structure)), len(atoms))
        errors |= {(structure, field): value for field, value in found.items()}
    assert_below(errors, 1e-13)
