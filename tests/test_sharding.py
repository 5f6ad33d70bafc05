"""Several devices give the numbers of one: batches, structures in parts, and two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import ase.build
import catalog
import jax
import numpy as np
import optax
import pytest
from catalog import SPECIES, quick_jit

import jaxpot as jp
from jaxpot import sharding

HERE = Path(__file__).resolve().parent
LOCAL = ["ace", "three-body", "tersoff", "eam", "sum"]
PAIRS = jp.empirical.LennardJones(SPECIES, epsilon=0.3, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(3.2))
ATOMS = jp.IsolatedAtoms({"C": -1.5, "Si": -0.7})
# the core knows the elements in another order
SWITCHED = jp.empirical.Switched(PAIRS, jp.empirical.CoreRepulsion(SPECIES[::-1], [[30.0, 40.0], [35.0, 50.0]], 0.7, 3.1), jp.empirical.ByCoreEnergy([12.0, 25.0], [9.0, 24.0]))
COMMITTEE = jp.potentials.Committee((PAIRS + ATOMS, SWITCHED))


def crystal():
    atoms = ase.build.bulk("SiC", "zincblende", a=3.9, cubic=True).repeat((3, 2, 1))
    atoms.rattle(0.1, seed=0)
    return atoms


def cluster():
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("SiC" * 9, positions=rng.permutation(np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3))[:18] * 1.9)
    atoms.rattle(0.1, seed=2)
    return atoms


def test_parts_are_compact_and_of_equal_size():
    graph = jp.from_atoms(crystal(), 3.6)
    parts = sharding.partition(graph, sharding.make_mesh(4))
    assert parts.positions.shape == (4, 12, 3)
    own = np.asarray(parts.place) // 12
    assert np.bincount(own).tolist() == [12] * 4
    assert np.array_equal(np.asarray(parts.positions).reshape(-1, 3)[parts.place], graph.positions)
    along = np.asarray(graph.positions)[:, 0] % crystal().cell[0, 0]
    assert np.max(along[own < 2]) <= np.min(along[own >= 2]) + 0.5  # halved along the longest direction first
    assert parts.communication == 2 * sum(s.shape[-1] for s in parts.sent) * 24


def assert_equal(found, exact, n_atoms):
    """Everything that is predicted, and nothing for padding."""
    catalog.assert_below(catalog.deviations(found, exact, n_atoms), 1e-12)
    assert catalog.relative(found.energies, exact.energies) < 1e-12 and not np.any(found.forces[n_atoms:])


@pytest.mark.parametrize("model", [*LOCAL, COMMITTEE], ids=lambda model: model if isinstance(model, str) else type(model).__name__)
def test_structure_in_parts(model):
    """Periodic with a cell smaller than the range, and free with a number of atoms that does not divide, and padded."""
    model = catalog.potential(model) if isinstance(model, str) else model
    for atoms, n, max_atoms in ((crystal(), 8, None), (cluster()[:17], 3, 20)):
        graph = jp.from_atoms(atoms, 3.6, max_atoms=max_atoms)
        mesh = sharding.make_mesh(n)
        found = sharding.evaluate(model, sharding.partition(graph, mesh), mesh)
        assert_equal(found, quick_jit(jp.evaluate)(model, graph), len(atoms))


@pytest.mark.parametrize("alone", [True, False])
def test_terms_that_need_the_whole_structure(alone):
    """Beside a term in parts, that does not know all elements; and alone."""
    model = jp.molecules.Bonds(SPECIES, [[0, 1], [6, 7], [46, 47]], stiffness=2.0, length=1.5)
    model = model if alone else model + jp.empirical.LennardJones(("C",), epsilon=0.3, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(3.2))
    graph, mesh = jp.from_atoms(crystal(), 3.6, max_atoms=50), sharding.make_mesh(4)
    with pytest.raises(ValueError, match=r"energies of Bonds depend on more than .*partition\(graph, mesh, whole=True\)"):
        sharding.evaluate(model, sharding.partition(graph, mesh), mesh)
    parts = sharding.partition(graph, mesh, whole=True)
    for scale in (1.0, 1.001):
        exact = quick_jit(jp.evaluate)(model, graph.replace(positions=scale * graph.positions))
        assert_equal(sharding.evaluate(model, parts.replace(positions=scale * parts.positions), mesh), exact, len(crystal()))


def test_positions_may_move():
    model, graph, mesh = catalog.potential("lennard-jones"), jp.from_atoms(crystal(), 3.6), sharding.make_mesh(4)
    parts = sharding.partition(graph, mesh)
    step = 0.01 * np.random.default_rng(0).normal(size=graph.positions.shape)
    by_part = np.zeros(parts.positions.shape).reshape(-1, 3)
    by_part[parts.place] = step
    moved = sharding.evaluate(model, parts.replace(positions=parts.positions + by_part.reshape(parts.positions.shape)), mesh)
    exact = quick_jit(jp.evaluate)(model, graph.replace(positions=graph.positions + step))
    catalog.assert_below(catalog.deviations(moved, exact, len(graph.numbers)), 1e-12)


def test_what_is_lost_in_one_part_is_lost():
    mesh, atoms = sharding.make_mesh(4), crystal()
    atoms.numbers[7] = 8
    found = sharding.evaluate(PAIRS, sharding.partition(jp.from_atoms(atoms, 3.6), mesh), mesh)
    assert np.isnan(found.energy) and np.all(np.isnan(found.forces)) and np.all(np.isnan(found.virial))


def data():
    rng, frames = np.random.default_rng(3), []
    for seed in range(7):
        atoms = ase.build.bulk("SiC", "zincblende", a=3.9, cubic=seed % 2 == 0)
        atoms.rattle(0.1, seed=seed)
        atoms.info["energy"], atoms.arrays["forces"] = rng.normal(), rng.normal(size=(len(atoms), 3))
        frames.append(atoms)
    return jp.Dataset.from_atoms(frames, cutoff=3.6, sigma=jp.noise_levels(0.1, 0.2))


def test_evidence_and_its_gradient_of_shared_batches():
    whole = data()
    shared = sharding.shard(whole, sharding.make_mesh(8))
    assert all(len(ids) % 8 == 0 for ids in shared.index) and all(len(x.sharding.device_set) == 8 for x in jax.tree_util.tree_leaves(shared.batches))
    density = jp.Density(SPECIES, jp.CosineCutoff(3.0, width=0.8), jp.GTO(2), 1, sigma=0.5)
    params, build = jp.free(jp.AtomicPotential(jp.SOAP(density), jp.Linear()), "*.sigma", "*.radius", "*.scale")
    one, many = (quick_jit(jax.value_and_grad(lambda p, d=d: jp.fit.log_evidence(build(p), d)))(params) for d in (whole, shared))
    np.testing.assert_allclose(many[0], one[0], rtol=1e-12)
    for name in params:
        np.testing.assert_allclose(many[1][name], one[1][name], rtol=1e-12)


def trained(data, mesh=None, **settings):
    """A network on features that are stored, and a pair potential that is computed anew."""
    density = jp.Density(SPECIES, jp.CosineCutoff(3.0, width=0.8), jp.GTO(2), 1, sigma=0.5)
    pair = jp.empirical.LennardJones(SPECIES, epsilon=0.3, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(3.2))
    model = jp.AtomicPotential(jp.SOAP(density), jp.MLP((3,))) + pair
    where = ("*.weights.*", "terms.1.epsilon")
    held_out = data.subset([1, 4])
    data = data if mesh is None else sharding.shard(data, mesh)
    return jp.fit.train(model, data, optax.adam(1e-2), steps=6, where=where, validation=held_out, average=0.9, **settings)


@pytest.mark.parametrize("settings", [pytest.param({}, marks=pytest.mark.slow, id="all"), pytest.param({"batch": 3, "key": jax.random.key(0)}, id="minibatches")])
def test_training_by_several_devices(settings, tmp_path):
    whole = data()
    (one, expected), (many, found) = (trained(whole, mesh, checkpoint=tmp_path / "state.npz", **settings) for mesh in (None, sharding.make_mesh(3)))
    assert list(found) == list(expected)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
    for a, b in zip(jax.tree_util.tree_leaves(many), jax.tree_util.tree_leaves(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_refusals():
    with pytest.raises(ValueError, match=r"99 devices asked for, JAX has 8; on CPU write jax.config.update\('jax_num_cpu_devices', 99\)"):
        sharding.make_mesh(99)
    with pytest.raises(ValueError, match="2 atoms for 4 devices"):
        sharding.partition(jp.from_atoms(ase.build.bulk("Si"), 3.0), sharding.make_mesh(4))


PROCESS = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import numpy as np
import optax
import test_sharding as t
from jaxpot import sharding
import jaxpot as jp
mesh = sharding.make_mesh()
assert mesh.size == 4 and jax.process_count() == 2
model = jp.empirical.LennardJones(t.SPECIES, epsilon=0.3, sigma=1.5, cutoff=jp.cutoffs.PolynomialCutoff(3.2)) + jp.AtomicPotential(
    jp.SOAP(jp.Density(t.SPECIES, jp.CosineCutoff(3.0, width=0.8), jp.GTO(2), 1, sigma=0.5)), jp.Linear(coefficients=np.linspace(-1, 1, 40)))
graph = jp.from_atoms(t.crystal(), 3.6)
exact, found = jax.jit(jp.evaluate)(model, graph), sharding.evaluate(model, sharding.partition(graph, mesh), mesh)
t.catalog.assert_below(t.catalog.deviations(found, exact, len(graph.numbers)), 1e-12)
whole, linear = t.data(), model.terms[1]
one = jp.fit.log_evidence(linear, whole)
many = jp.fit.log_evidence(linear, sharding.shard(whole, mesh))
np.testing.assert_allclose(float(many), float(one), rtol=1e-12)
settings = dict(steps=4, where="epsilon", batch=3, key=jax.random.key(0), progress=False)
one, many = (jp.fit.train(model.terms[0], d, optax.adam(1e-2), **settings)[1]["loss"] for d in (whole, sharding.shard(whole, mesh)))
np.testing.assert_allclose(many, one, rtol=1e-12)
print("equal")
"""


def test_two_processes(tmp_path):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    (tmp_path / "run.py").write_text(PROCESS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "XLA_FLAGS": catalog.QUICK_FLAGS, "JAX_PLATFORMS": "cpu"}
    runs = [
        subprocess.Popen([sys.executable, "run.py", address, str(i)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for i in range(2)
    ]
    for run in runs:
        out, _ = run.communicate(timeout=600)
        assert run.returncode == 0 and "equal" in out, out
