"""Flax modules as heads: equal to the modules themselves, trained, saved; and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from catalog import Network, quick_jit
from flax import linen, nnx
from shells import Shells

import jaxpot as jp
from jaxpot.trees import walk

SHELLS = Shells(("C", "Si"), width=0.5, centers=np.array([1.2, 1.8, 2.4]), cutoff=jp.CosineCutoff(3.0, width=0.8))
ATOMS = Atoms("CSiC", positions=[[0, 0, 0], [1.8, 0.2, 0.1], [0.3, 1.6, -0.4]])
GRAPH = jp.from_atoms(ATOMS, 3.5, max_atoms=4)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jax, "jit", quick_jit)


class Ready(linen.Module):
    """Energies [N] from features and the element of the centre."""

    @linen.compact
    def __call__(self, features, species):
        shift = linen.Embed(2, 1)(species)
        return linen.Dense(1)(linen.silu(linen.Dense(4)(features)))[:, 0] + shift[:, 0]


def sequential(seed=0, width=4):
    rngs = nnx.Rngs(seed)
    return nnx.Sequential(nnx.Linear(SHELLS.n_features, width, rngs=rngs), nnx.tanh, nnx.Linear(width, 1, rngs=rngs))


HEADS = {
    "nnx": (lambda: jp.heads.NNXHead(sequential()), lambda head, x, z: sequential()(x)[:, 0]),
    "nnx-species": (lambda: jp.heads.NNXHead(Network(SHELLS.n_features, nnx.Rngs(1))), lambda head, x, z: Network(SHELLS.n_features, nnx.Rngs(1))(x, z)[:, 0]),
    "linen": (
        lambda: jp.heads.LinenHead(linen.Sequential((linen.Dense(4), linen.tanh, linen.Dense(1)))),
        lambda head, x, z: head.module.apply({"params": head.parameters}, x)[:, 0],
    ),
    "linen-species": (lambda: jp.heads.LinenHead(Ready(), seed=2), lambda head, x, z: Ready().apply(Ready().init(jax.random.key(2), x, z), x, z)),
}


@pytest.mark.parametrize("name", HEADS)
def test_equals_the_module(name):
    make, direct = HEADS[name]
    model = jp.AtomicPotential(SHELLS, make())
    features, species = SHELLS(GRAPH), jp.environments(GRAPH, 3.0, SHELLS.species).center
    expected = direct(model.head, features, species)
    np.testing.assert_allclose(quick_jit(lambda m, g: m.energies(g))(model, GRAPH), expected, rtol=1e-12)
    assert np.ptp(expected) > 1e-3 and expected.dtype == jnp.float64


@pytest.mark.parametrize("name", ["nnx-species", "linen-species"])
def test_trained_saved_and_loaded(name, tmp_path):
    frames = []
    for seed in range(4):
        atoms = ATOMS.copy()
        atoms.rattle(0.2, seed=seed)
        atoms.info["energy"] = float(np.sum(atoms.get_all_distances()) - 14)
        frames.append(atoms)
    data = jp.Dataset.from_atoms(frames, 3.5, sigma=jp.Properties(energy=0.1))
    start = jp.AtomicPotential(SHELLS, HEADS[name][0]())
    model, history = jp.fit.train(start, data, optax.lbfgs(), steps=40, where="*.parameters.*")
    assert history["loss"][-1] < 0.01 * history["loss"][0]
    moved = {path for (path, a, _), (_, b, _) in zip(walk(start), walk(model), strict=True) if not np.array_equal(a, b)}
    assert moved == {path for path, _, _ in walk(start) if path.startswith("head.parameters.")}

    file = jp.save(tmp_path / "model", model)
    loaded = jp.load(file, like=start)
    assert loaded == model and loaded != start
    np.testing.assert_array_equal(loaded(GRAPH), model(GRAPH))
    with pytest.raises(ValueError, match=r"head\.(graphdef|module) is code, .*load\(path, like=model\)"):
        jp.load(file)
    with pytest.raises(ValueError, match="is code"):
        jp.load(file, like=jp.AtomicPotential(SHELLS, jp.MLP((3,))))


def test_like_must_have_arrays_of_the_same_shapes(tmp_path):
    file = jp.save(tmp_path / "model", jp.AtomicPotential(SHELLS, jp.heads.NNXHead(sequential())))
    with pytest.raises(ValueError, match=r"parameters\.layers\.0\.kernel': \(6, 4\).*like.*\(6, 5\)"):
        jp.load(file, like=jp.AtomicPotential(SHELLS, jp.heads.NNXHead(sequential(width=5))))


def test_printed_short():
    text = repr(jp.heads.NNXHead(sequential()))
    assert "kernel: float32[6, 4]" in text and "NodeDef" not in text


def test_refused():
    rngs = nnx.Rngs(0)
    with pytest.raises(TypeError, match=r"nnx\.Module, got Sequential"):
        jp.heads.NNXHead(linen.Sequential((linen.Dense(1),)))
    with pytest.raises(TypeError, match=r"linen\.Module, got Linear"):
        jp.heads.LinenHead(nnx.Linear(2, 1, rngs=rngs))
    with pytest.raises(TypeError, match="hashable"):
        jp.heads.LinenHead(linen.Sequential([linen.Dense(1)]))
    with pytest.raises(ValueError, match="BatchStat"):
        jp.heads.NNXHead(nnx.Sequential(nnx.Linear(6, 1, rngs=rngs), nnx.BatchNorm(1, rngs=rngs)))
    with pytest.raises(ValueError, match="RngCount, RngKey"):
        jp.heads.NNXHead(nnx.Sequential(nnx.Dropout(0.5, rngs=rngs), nnx.Linear(6, 1, rngs=rngs)))
    with pytest.raises(ValueError, match="batch_stats"):
        jp.AtomicPotential(SHELLS, jp.heads.LinenHead(linen.BatchNorm(use_running_average=True)))
    with pytest.raises(ValueError, match=r"features \[N, 6\]"):
        jp.AtomicPotential(SHELLS, jp.heads.NNXHead(nnx.Linear(5, 1, rngs=rngs)))
    with pytest.raises(ValueError, match=r"energies \[N\] or \[N, 1\] of the module, got \[2, 3\]"):
        jp.AtomicPotential(SHELLS, jp.heads.LinenHead(linen.Dense(3)))
    with pytest.raises(AttributeError, match="no attribute 'Flax'"):
        jp.Flax
