"""What float32 would make wrong is refused, in 32-bit mode too, and what is condensed once is made in float64."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

import jaxpot as jp
from jaxpot.precision import in_float32, promoted_pair

ATOMS = bulk("Si", cubic=True)
ATOMS.rattle(0.1, seed=1)
DENSITY = jp.Density(("Si",), jp.CosineCutoff(4.0, width=1.0), jp.GTO(n_max=3), l_max=2, sigma=0.5)


@functools.cache
def gaussian_process(zeta=2.0):
    """A sparse Gaussian process with large coefficients of both signs, as fits have them."""
    soap, rng = jp.SOAP(DENSITY), np.random.default_rng(0)
    features = np.asarray(catalog.features(soap, jp.from_atoms(ATOMS, 4.0)))
    coefficients = rng.normal(size=8) * 1e4
    head = jp.SparseGP(jp.PolynomialKernel(zeta), references=jp.heads.References(features=features, kinds=np.zeros(8, int)), coefficients=coefficients - coefficients.mean())
    return jp.AtomicPotential(soap, head)


def of_distances():
    """As `gaussian_process`, of a kernel that has no form for float32."""
    model = gaussian_process()
    return model.replace(head=model.head.replace(kernel=jp.kernels.SquaredExponential(0.5)))


def structure_gp():
    soap = jp.SOAP(DENSITY)
    model = jp.potentials.StructureGP(soap, jp.PolynomialKernel(2.0), jp.kernels.Average()).with_points([jp.from_atoms(ATOMS, 4.0)])
    return model.with_coefficients(np.ones(1))


def one_molecule():
    graph = jp.from_atoms(ATOMS, 4.0).replace(pbc=np.zeros(3, bool))
    model = jp.molecules.GradientDomain(jp.descriptors.InverseDistances(("Si",) * 8), jp.kernels.Matern(10.0)).with_points([graph])
    return model.with_coefficients(np.ones(model.n_coefficients))


def dipole():
    points = jp.environments(jp.from_atoms(ATOMS, 4.0), 4.0, ("Si",))
    model = jp.tensors.Dipole(tensor=jp.LambdaSOAP(DENSITY, lam=1), head=jp.tensors.LambdaGP(jp.kernels.LambdaKernel(2.0))).with_points(points)
    return model.with_coefficients(np.ones(model.n_coefficients))


ALL = {"SparseGP": of_distances, "StructureGP": structure_gp, "GradientDomain": one_molecule, "LambdaGP": dipole}


@pytest.mark.parametrize("name", ALL)
def test_every_gaussian_process_refuses_less_than_it_was_made_in(name):
    model, graph = ALL[name](), jp.from_atoms(ATOMS, 4.0)
    with pytest.raises(TypeError, match=rf"{name} was made in float64.*leave it in float64.*tabulate.*insist=True"):
        jp.cast((model, graph), "float32")
    with pytest.raises(TypeError, match=rf"{name} was made in float64, and in float32"):  # a cast behind the library's back
        truncated = jax.tree_util.tree_map(lambda x: jnp.asarray(x, jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, model)
        jax.eval_shape(jp.evaluate, truncated, graph)
    single = jp.cast(model, "float32", insist=True)
    result = jax.eval_shape(jp.evaluate, single, jp.cast(graph, "float32"))
    assert {leaf.dtype.name for leaf in jax.tree_util.tree_leaves(result)} == {"float32"}
    assert jp.cast(model, "float64") == model


@pytest.mark.parametrize("zeta", [1, 2, 3, 4, 8])
def test_the_expanded_process_is_the_same_function(zeta):
    """Of any features, normalised or not, and of kinds that have no points."""
    rng = np.random.default_rng(0)
    points, features, kinds = rng.normal(size=(9, 5)), rng.normal(size=(12, 5)), np.arange(12) % 4 - 1
    head = jp.SparseGP(jp.PolynomialKernel(zeta), delta=0.7, references=jp.heads.References(features=points, kinds=np.arange(9) % 2), coefficients=rng.normal(size=9))
    form = in_float32(head)
    assert isinstance(form, jp.heads.ExpandedGP)
    np.testing.assert_allclose(form(features, kinds), head(features, kinds), rtol=1e-11, atol=1e-11 * np.max(np.abs(head(features, kinds))))
    assert np.all(np.isnan(form(features * np.nan, kinds)))


def test_the_table_of_pairs_is_the_same_function():
    rng = np.random.default_rng(0)
    references = jp.heads.References(features=rng.uniform(1.5, 5.0, (20, 1)), kinds=np.arange(20) % 3, weights=rng.uniform(size=20))
    head = jp.SparseGP(jp.kernels.SquaredExponential(1.0), delta=0.7, references=references, coefficients=1e6 * rng.normal(size=20))
    form, r, kinds = in_float32(head), rng.uniform(0.0, 6.0, (100, 1)), np.arange(100) % 4 - 1
    assert isinstance(form, jp.heads.TabulatedGP)
    np.testing.assert_allclose(form(r, kinds), head(r, kinds), rtol=0, atol=1e-8 * np.max(np.abs(head(r, kinds))))


def fitted(zeta=4.0):
    """A sparse Gaussian process of 32 environments that are alike, with the coefficients of a fit to energies, Σ|w| = 8·10⁵."""
    soap, rng = jp.SOAP(DENSITY), np.random.default_rng(0)
    frames = [bulk("Si", cubic=True) for _ in range(4)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed + 10)
    x = np.concatenate([np.asarray(catalog.features(soap, jp.from_atoms(atoms, 4.0, max_neighbors=30))) for atoms in frames])
    w = np.linalg.solve((x @ x.T) ** zeta + 1e-6 * np.eye(len(x)), -4.6 + 0.1 * rng.normal(size=len(x)))
    references = jp.heads.References(features=x, kinds=np.zeros(len(x), int))
    return jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(zeta), references=references, coefficients=w))


def test_cast_measures():
    """What the process loses in float32 its form does not; where that would, or the points are no features yet, cast refuses."""
    model, graph = fitted(), jp.from_atoms(ATOMS, 4.0)
    with pytest.warns(UserWarning, match=r"cast: float32 costs \S+ eV per atom at the sparse points of the Gaussian processes") as said:
        single = jp.cast((model, graph), "float32")
    assert len(said) == 1
    exact = catalog.evaluate(model, graph)
    found, plain = catalog.evaluate(*single), catalog.evaluate(*jp.cast((model, graph), "float32", insist=True))
    assert found.forces.dtype == jnp.float32 and single[0].head.error < 1e-4
    for result, low, high in ((found, 0.0, 1e-4), (plain, 1e-2, 1.0)):
        energy, force = abs(float(result.energy) - exact.energy) / 8, np.max(np.abs(result.forces - exact.forces))
        assert low <= energy < high and low <= force < high
    large = model.with_coefficients(1e4 * model.head.coefficients)
    with pytest.raises(TypeError, match=r"in float32 its energies would be wrong by \S+ eV per atom; leave it in float64"):
        jp.cast(large, "float32")
    for dtype in ("bfloat16", "float16"):
        with pytest.raises(TypeError, match=f"in {dtype} its energies would be wrong; leave it"):
            jp.cast(model, dtype)
    moving = model.with_points(jp.environments(graph, 4.0, ("Si",)))
    with pytest.raises(TypeError, match="energies would be wrong; leave it"):
        jp.cast(moving.with_coefficients(np.ones(moving.n_coefficients)), "float32")


def test_float32_error():
    """It is the difference of the two evaluations, the largest of several structures; and at its own points what `cast` measures, of the form likewise."""
    model, other = fitted(), bulk("Si", cubic=True)
    other.rattle(0.02, seed=5)
    with pytest.warns(UserWarning, match="cast: float32 costs") as said:
        single = jp.cast(model + jp.IsolatedAtoms({"Si": -158.5}), "float32")
    assert len(said) == 1
    expected = []
    for atoms in (ATOMS, other):
        graph = jp.from_atoms(atoms, 4.0)
        right, wrong = catalog.evaluate(model, graph), catalog.evaluate(single.terms[0], jp.cast(graph, "float32"))
        expected.append((abs(float(wrong.energy) - right.energy) / 8, np.max(np.abs(wrong.forces - right.forces))))
    found = jp.float32_error(model, [ATOMS, jp.from_atoms(other, 4.0)])
    np.testing.assert_allclose(found, np.max(expected, axis=0), rtol=0.5)  # round-off of two programs
    assert 0 < found.energy < 1e-4 < 1e-2 < jp.float32_error(model, ATOMS, insist=True).energy
    assert jp.float32_error(model) == jp.float32_error(single) == (single.terms[0].head.error, None)


def test_float32_error_says_what_it_lacks():
    with pytest.raises(ValueError, match=r"IsolatedAtoms has no Gaussian process .* write jaxpot.float32_error\(model, atoms\)"):
        jp.float32_error(jp.IsolatedAtoms({"Si": 0.0}))
    with pytest.raises(TypeError, match="SparseGP was made in float64"):
        jp.float32_error(of_distances(), ATOMS)
    with pytest.raises(TypeError, match="expected a potential, got Dipole"):
        jp.float32_error(dipole(), ATOMS)
    with pytest.raises(ValueError, match="no structures"):
        jp.float32_error(fitted(), [])
    with pytest.raises(ValueError, match="the model knows Si, but the structure contains Ge"):
        jp.float32_error(fitted(), bulk("Ge"))


def test_scales_that_float32_does_not_hold():
    """Of functions that are nearly zero everywhere, in networks of the mlearn study: zero in float32, and the energy NaN."""
    soap = jp.SOAP(DENSITY)
    scale = np.ones((1, soap.n_features))
    scale[0, 3] = 1e-90
    model = jp.AtomicPotential(soap, jp.MLP((3,), scale=scale))
    with pytest.raises(TypeError, match=r"cast: head.scale has the number 1.0e-90, below the 1e-31 that float32 needs; leave it in float64"):
        jp.cast(model, "float32")
    assert jp.cast(model, "float64") == model
    graph = jp.cast(jp.from_atoms(ATOMS, 4.0), "float32")
    assert any("head.scale has the number 1.0e-90" in cause for cause in jp.diagnose(model, graph))


def test_a_refit_is_made_in_float64_again():
    single = jp.cast(gaussian_process(), "float32", insist=True)
    assert single.head.made_in == "float32" and single.with_coefficients(gaussian_process().head.coefficients).head.made_in == "float64"
    assert gaussian_process().with_points(jp.environments(jp.from_atoms(ATOMS, 4.0), 4.0, ("Si",))).head.made_in is None


def test_results_have_the_promoted_type():
    graph = jp.from_atoms(ATOMS, 4.0)
    single = jp.cast(graph, "float32")
    mixed, double = catalog.evaluate(gaussian_process(), single), catalog.evaluate(gaussian_process(), jp.cast(single, "float64"))
    assert mixed.forces.dtype == jnp.float64 and jax.eval_shape(gaussian_process(), single).dtype == jnp.float64
    # two programs, which may contract products and sums in different places
    np.testing.assert_allclose(mixed.forces, double.forces, rtol=1e-13, atol=1e-13 * np.max(np.abs(double.forces)))


@pytest.mark.parametrize(("of_model", "of_graph"), [("float32", "float64"), ("float64", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_pairs_are_promoted(of_model, of_graph):
    """Energies, and all that a derivative rule sees, are of one type."""
    dtype, graph = np.result_type(of_model, of_graph), jp.cast(jp.from_atoms(ATOMS, 4.0), of_graph)
    for name in ("soap-gto", "ace", "mlp", "gp-polynomial", "lennard-jones"):
        model = jp.cast(catalog.potential(name), of_model, insist=True)
        pair = promoted_pair(model, graph)
        types = {np.asarray(leaf).dtype for leaf in jax.tree_util.tree_leaves(pair)}
        assert {kind for kind in types if kind.kind == "f"} == {dtype} and pair[1].neighbors is graph.neighbors
        result = jax.eval_shape(jp.evaluate, *pair)
        assert {leaf.dtype for leaf in jax.tree_util.tree_leaves(result)} == {dtype}
    if of_model == of_graph:
        assert all(a is b for a, b in zip(*map(jax.tree_util.tree_leaves, (pair, (model, graph))), strict=True))


def test_collapsed_first_and_cast_then():
    """Of ζ = 1 and 2 the sum over sparse points is made once, in float64."""
    graph = jp.from_atoms(ATOMS, 4.0)
    for zeta in (1.0, 2.0):  # compiled once for both
        model = gaussian_process(zeta)
        exact = float(catalog.evaluate(model, graph).energy)
        single = catalog.evaluate(jp.cast(jp.tabulate(model), "float32"), jp.cast(graph, "float32"))
        assert abs(float(single.energy) - exact) < 1e-5 * abs(exact)
        with pytest.raises(TypeError, match=r"jaxpot\.cast\(jaxpot\.tabulate"):
            jp.tabulate(jp.cast(model, "float32", insist=True))


IN_32_BIT_MODE = """
import json, sys
import ase.io, jax, numpy as np
from ase.build import bulk
import jaxpot as jp

folder = sys.argv[1]
atoms = bulk("Si", cubic=True)
atoms.rattle(0.1, seed=1)
graph = jp.from_atoms(atoms, 4.0)
found = {}

def tried(name, function):
    try:
        found[name] = float(function())
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"

gp = jp.load(folder + "/gp.npz")
tried("eager", lambda: jp.evaluate(gp, graph).energy)
tried("jit", lambda: jax.jit(jp.evaluate)(gp, graph).energy)
tried("called", lambda: gp(graph))
tried("cast", lambda: jp.evaluate(jp.cast(gp, "float32"), graph).energy)
def calculated():
    atoms.calc = jp.Calculator(gp)
    return atoms.get_potential_energy()
tried("calculator", calculated)
tried("atoms", lambda: jp.evaluate(gp, atoms).energy)
def moved():
    found = jp.md.run(gp, atoms, folder + "/run.xyz", ensemble=jp.md.NVE(temperature=300.0, timestep=0.001), steps=2, interval=1, progress=False)
    return ase.io.read(folder + "/run.xyz", 0).get_potential_energy()
tried("md", moved)
tried("measured", lambda: jp.float32_error(gp, atoms).energy)
tried("insisted", lambda: jax.jit(jp.evaluate)(jp.cast(gp, "float32", insist=True), graph).energy)
tried("saved again", lambda: jp.evaluate(jp.load(jp.save(folder + "/again.npz", gp)), graph).energy)
tried("collapsed", lambda: jax.jit(jp.evaluate)(jp.tabulate(gp), graph).energy)
one = jp.Density(("Si",), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(5, 2.35), l_max=2, sigma=None, center_weight=0.0)
ace = jp.tabulate(jp.ACE(one, jp.TotalDegree((5, 4))), accuracy=1e-9)
tried("ace", lambda: ace.expansion.radial.error)
tried("ace features", lambda: np.max(np.abs(ace(graph) - jp.ACE(one, jp.TotalDegree((5, 4)))(graph)) / np.max(np.abs(ace(graph)))))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def in_32_bit_mode(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    jp.save(folder / "gp.npz", gaussian_process())
    run = subprocess.run(
        [sys.executable, "-c", IN_32_BIT_MODE, str(folder)], capture_output=True, text=True, check=False,
        env={**os.environ, "JAX_ENABLE_X64": "0", "XLA_FLAGS": catalog.QUICK_FLAGS, "PYTHONPATH": str(Path(jp.__file__).parent.parent)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", ["eager", "jit", "called", "saved again"])
def test_32_bit_mode_is_refused(way, in_32_bit_mode):
    assert in_32_bit_mode[way].startswith("TypeError: SparseGP was made in float64") and 'update("jax_enable_x64", True)' in in_32_bit_mode[way]


@pytest.mark.parametrize("way", ["calculator", "atoms", "md"])
def test_doors_compute_in_the_models_own_precision(way, in_32_bit_mode):
    exact = float(catalog.evaluate(gaussian_process(), jp.from_atoms(ATOMS, 4.0)).energy)
    assert abs(in_32_bit_mode[way] - exact) < 1e-8 * abs(exact)


def test_32_bit_mode_casts_in_float64(in_32_bit_mode):
    assert 0 < in_32_bit_mode["measured"] < 1e-4
    exact = float(catalog.evaluate(gaussian_process(), jp.from_atoms(ATOMS, 4.0)).energy)
    assert abs(in_32_bit_mode["cast"] - exact) < 1e-3 < abs(in_32_bit_mode["insisted"] - exact)


def test_32_bit_mode_condenses_in_float64(in_32_bit_mode):
    exact = float(catalog.evaluate(gaussian_process(), jp.from_atoms(ATOMS, 4.0)).energy)
    assert abs(in_32_bit_mode["collapsed"] - exact) < 1e-5 * abs(exact)
    assert in_32_bit_mode["ace"] <= 1e-9 and in_32_bit_mode["ace features"] < 1e-5
