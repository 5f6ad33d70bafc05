"""λ-SOAP and models of tensors: how they turn, what padding, batches, types and files do to them, and what makes them NaN."""

import functools
import string

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import COSINE, LIST, SPECIES, STRUCTURES, assert_below, features, quick_jit, relative, to_graph
from test_symmetry import moves, transformed

import jaxpot as jp
from jaxpot import ACE, GTO, SOAP, Density, TotalDegree, cast, diagnose, from_atoms, load, save, stack
from jaxpot.cutoffs import PowerCutoff
from jaxpot.descriptors import PerOrder
from jaxpot.descriptors.constant import Constant
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.descriptors.soap import LambdaSOAP
from jaxpot.heads.tensor import LambdaGP, LambdaKernel
from jaxpot.passes import condense
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor
from jaxpot.radial import Agnesi
from jaxpot.tensors import wigner_d

DENSITY = Density(SPECIES, COSINE, GTO(2), 2, sigma=0.5)
SHARP = Density(SPECIES, PowerCutoff(3.2), Agnesi(2, nearest=1.6), 2, sigma=None, center_weight=0.0)
DESCRIPTORS = {
    "scalar": LambdaSOAP(DENSITY, 0),
    "vector": LambdaSOAP(DENSITY, 1),
    "pseudovector": LambdaSOAP(DENSITY, 1, pseudo=True),
    "degree 2": LambdaSOAP(DENSITY, 2, normalize=False),
    "degree 2, pseudo": LambdaSOAP(DENSITY, 2, pseudo=True),
    "degree 3": LambdaSOAP(DENSITY, 3),
    "no center": LambdaSOAP(DENSITY.replace(center_weight=0.0), 2),
    "ace vector": ACE(SHARP, TotalDegree((2, 2, 2)), lam=1),
    "ace pseudoscalar": ACE(SHARP.replace(l_max=3), PerOrder((0, 0, 2, 1), (0, 0, 3, 2)), pseudo=True),
}


def fitted(model, seed=1):
    return model.with_coefficients(0.3 * np.random.default_rng(seed).normal(size=model.n_coefficients))


MODELS = {
    "dipole": lambda: fitted(Dipole(tensor=LambdaSOAP(DENSITY, 1))),
    "dipole with charges": lambda: fitted(Dipole(tensor=LambdaSOAP(DENSITY, 1), charges=SOAP(DENSITY))),
    "polarizability": lambda: fitted(Polarizability(scalar=SOAP(DENSITY), tensor=LambdaSOAP(DENSITY, 2)) + Polarizability(scalar=Constant(SPECIES))),
    "sparse": lambda: fitted(
        Polarizability(
            scalar=SOAP(DENSITY),
            tensor=LambdaSOAP(DENSITY, 2),
            antisymmetric=LambdaSOAP(DENSITY, 1, pseudo=True),
            head=LambdaGP(LambdaKernel(2.5), delta=0.7),
        ).with_points(catalog._points())
    ),
    "rank 3": lambda: fitted(
        Tensor((LambdaSOAP(DENSITY, 1), LambdaSOAP(DENSITY, 2, pseudo=True), LambdaSOAP(DENSITY, 3)), (0, 0, 1)), seed=2
    ),
    "per atom": lambda: fitted(Tensor((SOAP(DENSITY), LambdaSOAP(DENSITY, 2)), (0, 0), per_atom=True, chunk=4)),
}
model_of = functools.cache(lambda name: MODELS[name]())
predict = quick_jit(lambda model, graph: model(graph))
predict_batch = quick_jit(jax.vmap(lambda model, graph: model(graph), (None, 0)))


def structures_for(name):
    return [s for s in STRUCTURES if "charges" not in name or not STRUCTURES[s].pbc.any()]


def turned(tensor, q, rank):
    """Q on each of the last `rank` axes."""
    for axis in range(-rank, 0):
        tensor = np.moveaxis(np.tensordot(q, tensor, (1, axis)), 0, axis)
    return tensor


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_features_turn(name):
    """By Wigner-D; inversion multiplies true tensors by (−1)^λ and pseudotensors by −(−1)^λ."""
    model, errors = DESCRIPTORS[name], {}
    for structure, atoms in STRUCTURES.items():
        n = len(atoms)
        before = np.asarray(features(model, catalog.graph(structure)))[:n]
        assert before.shape == (n, model.n_features, 2 * model.lam + 1) and len(model.labels()) == model.n_features
        # a lattice of one atom has no vectors: compare with those of the molecule
        scale = np.max(np.abs(features(model, catalog.graph("molecule"))))
        for move, (moved, q, order) in moves(atoms).items():
            sign = np.linalg.det(q) if model.pseudo else 1
            expected = sign * before[order] @ np.asarray(wigner_d(q, model.lam)[model.lam]).T
            errors[structure, move] = np.max(np.abs(np.asarray(features(model, to_graph(moved)))[:n] - expected)) / scale
    assert_below(errors, 1e-12)


def test_features_exist():
    """No law above is satisfied by zeros alone."""
    for name, model in DESCRIPTORS.items():
        assert np.max(np.abs(features(model, catalog.graph("molecule")))) > 1e-4, name


@pytest.mark.parametrize("name", ["degree 2", "pseudovector"])
def test_jacobian(name):
    """By the product rule at the density, and by pushing 3K unit vectors."""
    model, graph = condense(DESCRIPTORS[name]), catalog.graph("slab")
    env = jax.tree_util.tree_map(lambda x: x[1], jp.environments(graph, model.reach, SPECIES))
    env = jax.tree_util.tree_map(lambda x: x[:8], env.replace(center=None)).replace(center=env.center)
    value, jacobian = quick_jit(lambda m, e: with_slopes(m, e))(model, env)
    expected, pushed = quick_jit(lambda m, e: with_slopes.dispatch(object)(m, e))(model, env)
    assert jacobian.shape == (model.n_features, 2 * model.lam + 1, *env.vectors.shape)
    assert relative(value, expected) < 1e-14 and relative(jacobian, pushed) < 1e-12


def test_where_symmetry_forbids_a_tensor():
    """Isolated and centrosymmetric atoms: zero, with finite first and second derivatives."""

    @quick_jit
    def derivatives(model, graph):
        direction = jnp.sin(jnp.arange(graph.positions.size)).reshape(graph.positions.shape)
        gradient = jax.grad(lambda r: jnp.sum(model(graph.replace(positions=r)) ** 2))
        return jax.jvp(gradient, (graph.positions,), (direction,))

    for atoms in (Atoms("Si", positions=[[0, 0, 0]]), Atoms("SiCC", positions=[[0, 0, 0], [0, 1.1, 1.3], [0, -1.1, -1.3]])):
        for name in ("vector", "no center"):
            model, graph = DESCRIPTORS[name], to_graph(atoms)
            if name == "vector" or len(atoms) == 1:
                assert np.max(np.abs(features(model, graph)[0])) < 1e-15
            assert all(np.all(np.isfinite(d)) for d in derivatives(model, graph)), (name, atoms)


@pytest.mark.parametrize("name", MODELS)
def test_tensors_turn(name):
    model, errors = model_of(name), {}
    for structure in structures_for(name):
        atoms = STRUCTURES[structure]
        before = np.asarray(predict(model, catalog.graph(structure)))
        for move, (moved, q, order) in moves(atoms).items():
            expected = turned(before, q, model.rank)
            if model.per_atom:
                expected = np.concatenate([expected[order], expected[len(atoms) :]])
            # what has one unit cell of high symmetry has tensors that vanish: compare with those of the molecule
            scale = np.max(np.abs(predict(model, catalog.graph("molecule"))))
            errors[structure, move] = np.max(np.abs(np.asarray(predict(model, to_graph(moved))) - expected)) / scale
        axes = string.ascii_letters[: model.rank]
        for a in range(model.rank):
            for b in range(a):
                if model.groups[a] == model.groups[b]:
                    swapped = list(axes)
                    swapped[a], swapped[b] = swapped[b], swapped[a]
                    assert np.allclose(before, np.einsum(f"...{axes}->...{''.join(swapped)}", before), atol=1e-14)
    assert_below(errors, 1e-12)


@pytest.mark.parametrize("name", [n for n in MODELS if "charges" not in n and n != "per atom"])
def test_supercell(name):
    model, atoms = model_of(name), STRUCTURES["triclinic"]
    one = np.asarray(predict(model, to_graph(atoms)))
    assert relative(predict(model, to_graph(atoms.repeat((1, 3, 1)))), 3 * one) < 1e-12


@pytest.mark.parametrize("name", ["dipole", "dipole with charges"])
def test_inversion_symmetric_molecules_have_no_dipole(name):
    half = np.array([[1.3, 0.2, 0.4], [0.3, 1.2, -0.8], [0.9, -0.8, 0.7]])
    atoms = Atoms("CSiSiCSiSi", positions=[*half, *-half])
    scale = np.max(np.abs(predict(model_of(name), catalog.graph("molecule"))))
    assert np.max(np.abs(predict(model_of(name), to_graph(atoms)))) < 1e-14 * scale


def test_neutral_charges_do_not_know_the_origin():
    """Σ_i ∂μ/∂R_i = 0, and the same dipole far away."""
    model, graph = model_of("dipole with charges"), catalog.graph("molecule")
    by_position = np.asarray(quick_jit(jax.jacrev(lambda r: model(graph.replace(positions=r))))(graph.positions))
    assert np.max(np.abs(by_position.sum(axis=1))) < 1e-12 * np.max(np.abs(by_position))
    far = predict(model, to_graph(transformed(STRUCTURES["molecule"], shift=(100.0, -70.0, 30.0))))
    assert relative(far, predict(model, graph)) < 1e-10


@pytest.mark.parametrize("name", ["dipole with charges", "sparse", "rank 3"])
def test_derivatives_by_position(name):
    """∂T/∂R, for a dipole the atomic polar tensor, against fourth-order differences."""
    model, graph, n, h = model_of(name), catalog.graph("molecule"), len(STRUCTURES["molecule"]), 5e-4
    exact = np.asarray(quick_jit(jax.jacrev(lambda m, r: m(graph.replace(positions=r)), argnums=1))(model, graph.positions))
    direction = np.random.default_rng(3).normal(size=graph.positions.shape) * (np.arange(len(graph.numbers)) < n)[:, None]
    at = lambda d: np.asarray(predict(model, graph.replace(positions=graph.positions + d * direction)))  # noqa: E731
    numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert relative(np.sum(exact * direction, axis=(-2, -1)), numeric) < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_batch_equals_single_and_padding_changes_nothing(name):
    model, names = model_of(name), structures_for(name)
    batch = stack([from_atoms(STRUCTURES[s], LIST, max_atoms=7) for s in names])
    results, scale = predict_batch(model, batch), np.max(np.abs(predict(model, catalog.graph("molecule"))))
    for i, s in enumerate(names):
        single = np.asarray(predict(model, catalog.graph(s)))
        n = len(STRUCTURES[s]) if model.per_atom else 3
        assert np.max(np.abs(results[i][:n] - single[:n])) < 1e-13 * scale
        assert np.all(np.asarray(results[i])[n:] == 0)


@pytest.mark.parametrize("name", MODELS)
def test_basis_and_evaluate(name):
    model, graph = model_of(name), catalog.graph("molecule")
    w = jnp.concatenate([part.head.coefficients for part in model.parts])
    basis = getattr(quick_jit(lambda m, g: m.basis(g))(model, graph), model.field)
    assert relative(basis @ w, predict(model, graph)) < 1e-12
    assert np.linalg.eigvalsh(quick_jit(lambda m: m.precision())(model)).min() > 0
    found = quick_jit(jp.evaluate)(model, graph)
    assert np.array_equal(getattr(found, model.field), predict(model, graph)) and found.energy is None


@pytest.mark.parametrize("name", MODELS)
def test_save_load_and_freeze(name, tmp_path):
    model, graph = model_of(name), catalog.graph("molecule")
    loaded = load(save(tmp_path / "model", model))
    assert loaded == model and type(loaded) is type(model)
    assert jax.tree_util.tree_structure(loaded) == jax.tree_util.tree_structure(model)
    frozen = jp.freeze(model)
    assert relative(predict(frozen, graph), predict(model, graph)) < 1e-13
    if name == "sparse":
        assert frozen.parts[0].head.references.points is None and load(save(tmp_path / "frozen", frozen)) == frozen


@pytest.mark.parametrize("name", MODELS)
def test_dtype(name):
    model, graph = model_of(name), catalog.graph("molecule")
    single = jax.jit(lambda m, g: m(g))(cast(model, jnp.float32, insist=True), cast(graph, jnp.float32))
    assert single.dtype == jnp.float32 and relative(single, predict(model, graph)) < 3e-5


@pytest.mark.parametrize("name", MODELS)
def test_what_makes_it_nan(name):
    model, atoms = model_of(name), STRUCTURES["molecule"]
    other = atoms.copy()
    other.numbers[3] = 8
    for word, graph in {
        "overflow": catalog.graph("molecule").replace(overflow=jnp.asarray(True)),
        "looks": to_graph(atoms, cutoff=2.9),
        "O": to_graph(other),
    }.items():
        assert word in " ".join(diagnose(model, graph))
        assert np.all(np.isnan(np.asarray(predict(model, graph))[: len(atoms)]))
    assert diagnose(model, catalog.graph("molecule")) == ()


def test_charges_in_a_periodic_cell():
    model, graph = model_of("dipole with charges"), catalog.graph("slab")
    assert np.all(np.isnan(predict(model, graph)))
    assert "charges" in " ".join(diagnose(model, graph))
    assert diagnose(model_of("dipole"), graph) == ()
