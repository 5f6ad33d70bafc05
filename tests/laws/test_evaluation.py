"""Padding, batches, jit, dtype, files, and what makes a result NaN."""

import importlib
import pkgutil

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_objects
import test_equivariance
import test_strangers
from ase import Atoms
from catalog import DESCRIPTORS, LIST, POTENTIALS, STRUCTURES, assert_below, deviations, evaluate, quick_jit, relative, to_graph, variants_slow

import jaxpot
from jaxpot import cast, diagnose, from_atoms, load, save, sharding, stack
from jaxpot.graph import from_edges, neighbor_pairs, pad
from jaxpot.passes import Fast
from jaxpot.trees import class_table, fields, is_pytree

FIELDS = ("energy", "forces", "virial")
evaluate_batch = quick_jit(jax.vmap(jaxpot.evaluate, (None, 0)))


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_batch_equals_single_and_padding_changes_nothing(name):
    """The batch has other numbers of atom and neighbour slots than the single structures."""
    model = catalog.potential(name)
    batch = stack([from_atoms(atoms, LIST) for atoms in STRUCTURES.values()])
    assert batch.neighbors.shape[1:] != catalog.graph("molecule").neighbors.shape
    results = evaluate_batch(model, batch)
    for i, (structure, atoms) in enumerate(STRUCTURES.items()):
        single = evaluate(model, catalog.graph(structure))
        assert_below(deviations(jax.tree_util.tree_map(lambda x, i=i: x[i], results), single, len(atoms)), 1e-13)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_what_padding_holds_does_not_matter(name):
    model, graph, n = catalog.potential(name), catalog.graph("slab"), len(STRUCTURES["slab"])
    rng = np.random.default_rng(2)
    real = np.arange(len(graph.numbers)) < n
    empty = np.asarray(graph.neighbors) == len(graph.numbers)
    other = graph.replace(
        positions=jnp.where(real[:, None], graph.positions, rng.normal(size=graph.positions.shape)),
        shifts=jnp.where(empty[:, :, None], jnp.asarray(rng.integers(-2, 3, graph.shifts.shape), graph.shifts.dtype), graph.shifts),
        neighbors=jnp.where(empty & real[:, None], n, graph.neighbors),
    )
    assert_below(deviations(evaluate(model, other), evaluate(model, graph), n), 1e-13)
    assert np.all(np.asarray(evaluate(model, other).forces)[n:] == 0)


def test_pad_refuses_to_shrink():
    with pytest.raises(ValueError, match="cannot pad"):
        pad(catalog.graph("slab"), max_atoms=2)


@pytest.mark.parametrize("name", variants_slow(DESCRIPTORS))
def test_linear_energies_are_features_times_coefficients(name):
    """Descriptors may know a shorter way to the sum than through the features."""
    model, graph, n = catalog.potential(name), catalog.graph("slab"), len(STRUCTURES["slab"])
    index = np.array([catalog.SPECIES.index(symbol) for symbol in STRUCTURES["slab"].symbols])
    table = np.asarray(model.head.coefficients).reshape(len(catalog.SPECIES), -1)
    sums = np.sum(np.asarray(catalog.features(model.descriptor, graph))[:n] * table[index], axis=1)
    assert relative(evaluate(model, graph).energy, np.sum(sums)) < 1e-12


@pytest.mark.parametrize("name", ["lennard-jones", "isolated-atoms", "soap-gto", "ace"])
def test_jit_equals_eager(name):
    """Energy without jit, and everything with optimised code, which users run, and with unoptimised code, which these tests run."""
    model, graph, n = catalog.potential(name), catalog.graph("triclinic"), len(STRUCTURES["triclinic"])
    quick = evaluate(model, graph)
    assert abs(float(model(graph) - quick.energy)) <= 1e-12 * abs(float(quick.energy))
    assert_below(deviations(jax.jit(jaxpot.evaluate, compiler_options=catalog.OPTIMISED)(model, graph), quick, n), 1e-12)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_dtype_is_kept(name):
    for dtype in (jnp.float32, jnp.float64):
        result = jax.eval_shape(jaxpot.evaluate, cast(catalog.potential(name), dtype, insist=True), cast(catalog.graph("slab"), dtype))
        assert {field: getattr(result, field).dtype for field in FIELDS} == dict.fromkeys(FIELDS, dtype)


@pytest.mark.parametrize("name", ["soap-gto", "soap-solid-gto", "soap-sharp", "gp-polynomial-offset", "zbl", "stillinger-weber", "tersoff", "eam"])
def test_single_precision(name):
    model, single = catalog.potential(name), cast(catalog.potential(name), jnp.float32, insist=True)
    for structure, atoms in STRUCTURES.items():
        graph = catalog.graph(structure)
        assert_below(deviations(evaluate(single, cast(graph, jnp.float32)), evaluate(model, graph), len(atoms)), 3e-5)


@pytest.mark.parametrize("name", [*POTENTIALS, *(f"descriptor:{d}" for d in DESCRIPTORS)])
def test_save_and_load(name, tmp_path):
    kind, _, rest = name.rpartition(":")
    model = catalog.descriptor(rest) if kind else catalog.potential(name)
    loaded = load(save(tmp_path / "model", model), like=model if name in ("nnx", "linen") else None)
    assert loaded == model and type(loaded) is type(model)
    assert jax.tree_util.tree_structure(loaded) == jax.tree_util.tree_structure(model)
    if not kind:
        before, after = evaluate(model, catalog.graph("molecule")), evaluate(loaded, catalog.graph("molecule"))
        assert all(np.array_equal(getattr(before, field), getattr(after, field)) for field in FIELDS)


EXCEPTIONS = {
    "Exported": "a compiled program of any potential, without leaves, in test_exported.py",
    "StoredFeatures": "lives during one call of fit.train, in test_train.py",
    "StoredPrediction": "likewise",
    "TTM4F": "is of water alone, in longrange/test_ttm.py",
    "Triples": "lives during one call of a descriptor of triangles",
}


def classes(value):
    """The classes of a model and of all its parts."""
    if is_pytree(value):
        yield type(value)
        value = [child for _, child, _ in fields(value)]
    if isinstance(value, (tuple, list, dict)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from classes(child)


def test_every_class_is_in_the_catalogue():
    for module in pkgutil.walk_packages(jaxpot.__path__, "jaxpot."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    made = [*map(catalog.potential, POTENTIALS), *map(catalog.molecular, catalog.MOLECULAR | catalog.CRYSTALLINE)]
    made += [*map(test_equivariance.model_of, test_equivariance.MODELS), test_equivariance.DESCRIPTORS, small_objects.ALL]
    made += [jaxpot.Dataset.from_atoms([STRUCTURES["slab"]], LIST, sigma=jaxpot.Properties())]
    made += [sharding.partition(from_atoms(STRUCTURES["slab"], LIST), sharding.make_mesh(2))]
    linear = catalog.potential("soap-gto")
    made += [test_strangers.STRANGERS["graph expansion"](), jaxpot.fit.Posterior(linear, np.ones((linear.n_coefficients, 1)), (None,))]
    made += [jaxpot.md.System(from_atoms(STRUCTURES["molecule"], LIST), jaxpot.md.NVE()), jaxpot.md.NVT(), jaxpot.md.NPT()]
    made += [jaxpot.md.Langevin(), jaxpot.md.CSVR(), jaxpot.trajectories.Sample(from_atoms(STRUCTURES["slab"], LIST), np.zeros(1), 300.0)]
    made += [jaxpot.longrange.Complexes(("OH",), (jaxpot.longrange.WholeStructure(),))]
    # a mesh is invariant to translations within its error only; tests/longrange/test_mesh.py has its laws
    made += [jaxpot.longrange.ParticleMesh(jaxpot.cutoffs.PolynomialCutoff(3.0), width=0.7, grid=(9, 9, 9), spacing=1.0)]
    own = {cls for cls in class_table().values() if cls.__module__.startswith("jaxpot.")}
    # fast forms have a law of their own (test_fused), which sees that none is left out
    missing = {cls.__name__ for cls in own if not issubclass(cls, Fast)} - {cls.__name__ for cls in classes(made)}
    assert missing == set(EXCEPTIONS) and len(EXCEPTIONS) <= 5


def assert_all_nan(name, model, graph):
    """The energy at least, whose NaN every host boundary looks for; and no force that looks right."""
    result = evaluate(model, graph)
    assert np.isnan(result.energy), name
    n = int(np.sum(np.asarray(graph.numbers) > 0))
    assert np.all(np.isnan(np.asarray(result.forces)[:n])), f"{name}: forces {np.asarray(result.forces)[:n]}"
    assert np.all(np.isnan(result.virial)), f"{name}: virial {result.virial}"


LOCAL = [name for name in POTENTIALS if name != "isolated-atoms"]


@pytest.mark.parametrize("name", variants_slow(LOCAL))
def test_overflow(name):
    model, graph = catalog.potential(name), catalog.graph("molecule").replace(overflow=jnp.asarray(True))
    assert "overflow" in " ".join(diagnose(model, graph))
    assert_all_nan(name, model, graph)


@pytest.mark.parametrize("name", variants_slow(LOCAL))
def test_cutoff_beyond_the_list(name):
    model = catalog.potential(name)
    reach = float(model.reach)
    graph = to_graph(STRUCTURES["molecule"], cutoff=0.99 * reach)
    (reason,) = diagnose(model, graph)
    assert f"{reach:.6g}" in reason and f"{0.99 * reach:.6g}" in reason
    assert_all_nan(name, model, graph)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_unknown_element(name):
    model = catalog.potential(name)
    atoms = STRUCTURES["molecule"].copy()
    atoms.numbers[3] = 8
    graph = to_graph(atoms)
    (reason,) = diagnose(model, graph)
    assert "O" in reason and "C" in reason
    if name == "isolated-atoms":
        assert np.isnan(evaluate(model, graph).energy)
    else:
        assert_all_nan(name, model, graph)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_a_pair_alone(name):
    """One neighbour has no partner: sums over pairs and triplets of neighbours are empty."""
    model, graph = catalog.potential(name), from_atoms(Atoms("SiC", positions=[[0, 0, 0], [0, 0, 1.7]]), LIST)
    assert jax.eval_shape(lambda model, graph: model.energies(graph), model, graph).shape == (2,)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_nothing_to_diagnose(name):
    for structure in STRUCTURES:
        assert diagnose(catalog.potential(name), catalog.graph(structure)) == ()


def test_overflow_of_a_list_made_under_jit():
    """One row too short, in a batch: that structure is NaN, its neighbour in the batch is not."""
    atoms = STRUCTURES["molecule"]
    edges = neighbor_pairs(atoms, LIST)[:3]
    n = int(np.bincount(edges[0]).max())
    make = jax.jit(
        lambda k: from_edges(
            jnp.asarray(atoms.numbers),
            jnp.asarray(atoms.positions),
            jnp.zeros((3, 3)),
            jnp.zeros(3, bool),
            *map(jnp.asarray, edges),
            LIST,
            max_neighbors=k,
        ),
        static_argnums=0,
    )
    model = catalog.potential("lennard-jones")
    good, bad = make(n), make(n - 1)
    assert not bool(good.overflow) and bool(bad.overflow)
    results = evaluate_batch(model, stack([good, bad]))
    assert relative(results.energy[0], evaluate(model, catalog.graph("molecule")).energy) < 1e-13
    assert np.isnan(results.energy[1]) and not np.any(np.isnan(results.forces[0]))
    assert f"max_neighbors={n}" in diagnose(model, bad)[0]


# what depends on more than each atom's own neighbours
WHOLE = [name for name in POTENTIALS if name.startswith("structure-")]


@pytest.mark.parametrize("name", variants_slow(name for name in POTENTIALS if name not in WHOLE))
def test_parts_equal_the_whole(name):
    """Cut for two devices, or for four, of which each then holds one or two atoms and knows the others from their neighbours."""
    mesh, model, graph = sharding.make_mesh(2 + 2 * (list(POTENTIALS).index(name) % 2)), catalog.potential(name), to_graph(STRUCTURES["slab"].repeat((2, 1, 1)))
    found = sharding.evaluate(model, sharding.partition(graph, mesh), mesh)
    assert_below(deviations(found, evaluate(model, graph), len(graph.numbers)), 1e-12)


@pytest.mark.parametrize("name", variants_slow(WHOLE))
def test_what_cannot_be_cut_is_refused(name):
    mesh = sharding.make_mesh(2)
    with pytest.raises(ValueError, match=f"{type(catalog.potential(name)).__name__} depend"):
        sharding.evaluate(catalog.potential(name), sharding.partition(catalog.graph("triclinic"), mesh), mesh)


def cluster_of(atoms, radius):
    """The atoms, then all their periodic images within a radius of any of them, without periodicity; by brute force."""
    shifts = np.stack(np.meshgrid(*(np.arange(-4, 5) if p else np.zeros(1) for p in atoms.pbc), indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = shifts[np.any(shifts != 0, axis=1)]
    images = (atoms.positions[None] + (shifts @ atoms.cell.array)[:, None]).reshape(-1, 3)
    numbers = np.tile(atoms.numbers, len(shifts))
    near = np.min(np.linalg.norm(images[:, None] - atoms.positions[None], axis=-1), axis=1) < radius
    return Atoms(numbers=np.concatenate([atoms.numbers, numbers[near]]), positions=np.concatenate([atoms.positions, images[near]]))


@pytest.mark.parametrize("name", ["soap-gto", "sum"])
def test_periodic_images_are_atoms(name):
    """Atomic energies in a cell equal those in an explicit cluster."""
    model = catalog.potential(name)
    energies = quick_jit(type(model).energies)
    for structure, atoms in STRUCTURES.items():
        if atoms.pbc.any():
            got = energies(model, catalog.graph(structure))[: len(atoms)]
            cluster = from_atoms(cluster_of(atoms, LIST), LIST, max_atoms=70, max_neighbors=30)
            assert relative(got, energies(model, cluster)[: len(atoms)]) < 1e-12, structure
