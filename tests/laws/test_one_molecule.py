"""The laws for potentials of one molecule or of crystals, which the structures of the other laws are not."""

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import CELL, CRYSTALLINE, LIST, MOLECULAR, MOLECULE, assert_below, deviations, evaluate, quick_jit, rattled, relative, to_graph, variants_slow

import jaxpot
from jaxpot import free, strain
from jaxpot.trees import walk

ROTATION = np.asarray(jaxpot.random_rotation(jax.random.key(3)))
N = len(MOLECULE)
NAMES = [*MOLECULAR, *CRYSTALLINE]
REAL = (np.arange(catalog.MAX_ATOMS) < N)[:, None]
evaluate_batch = quick_jit(jax.vmap(jaxpot.evaluate, (None, 0)))


def at(name, positions=None):
    """A structure of the kind that this potential knows."""
    atoms = rattled(7, CELL if name in CRYSTALLINE else None)
    if positions is not None:
        atoms.positions = positions
    return atoms


def central(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


@pytest.mark.parametrize("name", variants_slow(NAMES))
def test_symmetry(name):
    """Moved, turned, mirrored and with equal atoms exchanged; forces and torques add up to nothing."""
    model, atoms, before = catalog.molecular(name), at(name), evaluate(catalog.molecular(name), to_graph(at(name)))
    forces, virial, identity = np.asarray(before.forces), np.asarray(before.virial), np.arange(N)
    order = np.array(catalog.EXCHANGED.get(name, [3, 0, 4, 1, 2]))
    for q, o in ((np.eye(3), identity), (ROTATION, identity), (-ROTATION, identity), (np.eye(3), order)):
        moved = Atoms(atoms.numbers[o], positions=(atoms.positions @ q.T + [0.37, -4.2, 11.3])[o], cell=atoms.cell.array @ q.T, pbc=atoms.pbc)
        expected = before.replace(forces=np.concatenate([(forces[:N] @ q.T)[o], forces[N:]]), virial=q @ virial @ q.T)
        assert_below(deviations(evaluate(model, to_graph(moved)), expected, N), 1e-11)
    scale = max(np.max(np.abs(forces)), np.max(np.abs(virial)))
    assert np.max(np.abs(forces)) > 1e-3 and np.all(forces[N:] == 0)
    zeros = [forces.sum(axis=0), virial - virial.T]
    if name in MOLECULAR:
        zeros += [np.cross(atoms.positions, forces[:N]).sum(axis=0), atoms.positions.T @ forces[:N] - virial]
    for zero in zeros:
        assert np.max(np.abs(zero)) < 1e-12 * scale


@quick_jit
def derivatives(model, params, graph):
    """Gradients by parameters, the Hessian by positions, and the mixed second derivatives."""
    build = free(model, *params)[1]

    def gradients(positions):
        by_position, by_params = jax.grad(lambda r, p: build(p)(graph.replace(positions=r)), argnums=(0, 1))(positions, params)
        return (by_position, by_params), by_params

    (hessian, mixed), by_params = jax.jacfwd(gradients, has_aux=True)(graph.positions)
    return by_params, hessian, mixed


@pytest.mark.parametrize("name", variants_slow(NAMES))
def test_derivatives(name):
    """Forces, virial, Hessian, every leaf and one mixed derivative against finite differences."""
    model, graph, rng = catalog.molecular(name), to_graph(at(name)), np.random.default_rng(0)
    result, step, tilt = evaluate(model, graph), rng.normal(size=graph.positions.shape) * REAL, rng.normal(size=(3, 3))
    by_step = lambda d: evaluate(model, graph.replace(positions=graph.positions + d * step))  # noqa: E731
    by_tilt = lambda d: float(evaluate(model, strain(graph, 0.5 * d * (tilt + tilt.T))).energy)  # noqa: E731
    assert relative(-central(lambda d: float(by_step(d).energy), 5e-4), np.sum(result.forces * step)) < 1e-8
    assert relative(-central(by_tilt, 5e-4), np.sum(result.virial * tilt)) < 1e-8
    params, build = free(model, "*")
    assert {path for path, _, metadata in walk(model) if metadata.get("positive")} <= set(params)
    by_params, hessian, mixed = derivatives(model, params, graph)
    matrix = np.asarray(hessian).reshape(step.size, -1)
    assert relative(matrix, matrix.T) < 1e-11
    assert relative(np.einsum("iajb,jb->ia", hessian, step), -central(lambda d: np.asarray(by_step(d).forces), 1e-4)) < 1e-7
    errors = {}
    for path, value in params.items():
        direction = rng.normal(size=value.shape)
        of = lambda d: evaluate(build(params | {path: value + d * direction}), graph)  # noqa: B023, E731
        numeric = central(lambda d: float(of(d).energy), 5e-4)  # noqa: B023
        errors[path] = abs(float(np.sum(np.asarray(by_params[path]) * direction)) - numeric) / max(abs(numeric), 1e-2)
        if value.ndim == 0:
            numeric = -central(lambda d: np.asarray(of(d).forces), 1e-4)  # noqa: B023
            errors[f"forces by {path}"] = np.max(np.abs(mixed[path] * direction - numeric)) / max(np.max(np.abs(numeric)), 1)
    assert_below(errors, 1e-7)


HARD = {
    "at a reference": rattled(1).positions,
    "planar": MOLECULE.positions * [1, 1, 0],
    "equal distances": np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.1,
}


@pytest.mark.parametrize("name", variants_slow(NAMES))
def test_second_derivatives_are_finite(name):
    model = catalog.molecular(name)
    for case, positions in HARD.items():
        assert catalog.is_finite(derivatives(model, free(model, "*")[0], to_graph(at(name, positions)))), case


@pytest.mark.parametrize("name", variants_slow(NAMES))
def test_evaluation(name, tmp_path):
    """Batches, padding, precision, files."""
    model, frames = catalog.molecular(name), [at(name), at(name, MOLECULE.positions)]
    results = evaluate_batch(model, jaxpot.stack([jaxpot.from_atoms(a, LIST) for a in frames]))
    for i, atoms in enumerate(frames):
        single = evaluate(model, to_graph(atoms))
        assert_below(deviations(jax.tree_util.tree_map(lambda x, i=i: x[i], results), single, N), 1e-12)
    graph = to_graph(at(name))
    other = graph.replace(positions=jnp.where(REAL, graph.positions, 1.7))
    assert_below(deviations(evaluate(model, other), evaluate(model, graph), catalog.MAX_ATOMS), 1e-13)
    for dtype in (jnp.float32, jnp.float64):
        result = jax.eval_shape(jaxpot.evaluate, jaxpot.cast(model, dtype, insist=True), jaxpot.cast(graph, dtype))
        assert result.energy.dtype == result.forces.dtype == result.virial.dtype == dtype
    assert jaxpot.diagnose(model, graph) == ()
    loaded = jaxpot.load(jaxpot.save(tmp_path / "model", model))
    assert loaded == model and np.array_equal(evaluate(loaded, graph).forces, evaluate(model, graph).forces)


@pytest.mark.parametrize("name", variants_slow(NAMES))
def test_another_element_is_nan(name):
    atoms = at(name)
    atoms.numbers[3] = 8
    result = evaluate(catalog.molecular(name), to_graph(atoms))
    assert np.isnan(result.energy) and np.all(np.isnan(np.asarray(result.forces)[:N])) and np.all(np.isnan(result.virial))
    assert "O" in " ".join(jaxpot.diagnose(catalog.molecular(name), to_graph(atoms)))
