"""The class mechanism: construction validates, unflattening does not, paths select leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpot as jp
from jaxpot.trees import class_name, find_class, is_pytree, pytree, static, walk, with_leaves

MODEL = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(5.0, width=1.0), jp.GTO(4), 3, sigma=0.5))


def test_static_fields_are_structure_and_leaves_are_not():
    leaves, structure = jax.tree_util.tree_flatten(MODEL)
    assert len(leaves) == 4  # radius, width, sigma, center_weight
    assert jax.tree_util.tree_unflatten(structure, leaves) == MODEL
    assert hash(structure) == hash(jax.tree_util.tree_structure(MODEL))
    assert structure != jax.tree_util.tree_structure(MODEL.replace(expansion=MODEL.expansion.replace(l_max=2)))


def test_unflattening_never_validates():
    doubled = jax.tree_util.tree_map(lambda x: -x, MODEL)
    assert float(doubled.expansion.sigma) == -0.5
    with pytest.raises(ValueError, match="must be > 0, got -0.5"):
        MODEL.expansion.replace(sigma=-0.5)


def test_numbers_keep_their_digits_without_x64():
    assert np.asarray(jp.CosineCutoff(5.1).radius).dtype == np.float64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MODEL.replace(sigma=0.5), "has no field"),
        (lambda: jp.GTO(np.zeros(3)), "must be hashable"),
        (lambda: jp.GTO(0), "n_max must be a positive integer"),
        (lambda: jp.CosineCutoff(5.0, width=6.0), "exceeds the radius"),
        (lambda: jp.cutoffs.PolynomialCutoff(5.0, smoothness=7), "smoothness must be"),
        (lambda: jp.Density("Si", jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=0.5), r'\("Si",\)'),
        (lambda: jp.Density(("Sj",), jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=0.5), "not chemical symbols"),
        (lambda: jp.Density(("Si", "Si"), jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=0.5), "repetitions"),
        (lambda: jp.Density(("Si",), jp.cutoffs.Step(5.0), jp.GTO(4), -1, sigma=0.5), "non-negative integer"),
        (lambda: jp.Density(("Si",), jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=None), "center_weight=0.0"),
        (lambda: jp.Density(("Si",), jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=0.5, channels=jnp.ones((2, 1))), "shape"),
        (lambda: jp.Density(("Si",), jp.cutoffs.Step(5.0), jp.GTO(4), 3, sigma=0.5, center_channels="none"), '"own" or "all"'),
        (lambda: jp.kernels.Matern(1.0, nu=0.5), "1.5 or 2.5"),
        (lambda: jp.IsolatedAtoms(-1.0), "expected a mapping"),
        (lambda: jp.empirical.LennardJones(("Ar", "Ne"), np.ones((2, 3)), 3.0, jp.cutoffs.Step(5.0)), "must have shape"),
        (lambda: jp.empirical.LennardJones(("Ar", "Ne"), np.array([[1.0, 2.0], [1.0, 1.0]]), 3.0, jp.cutoffs.Step(5.0)), "symmetric"),
        (lambda: jp.empirical.ZBL(("Si",), inner=2.0, outer=1.0), "less than outer"),
        (lambda: jp.AtomicPotential(MODEL, jp.Linear(), chunk=0), "chunk must be"),
        (lambda: jp.AtomicPotential(jp.Linear(), MODEL), "expected a descriptor"),
        (lambda: jp.AtomicPotential(MODEL, jp.Linear(n_species=1, n_features=3)), "was made for"),
        (lambda: jp.AtomicPotential(MODEL, jp.Linear()).with_points(None), "no sparse points"),
        (lambda: jp.Sum(()), "no terms"),
        (lambda: jp.Sum((MODEL,)), "expected potentials"),
    ],
)
def test_constructors_refuse_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def _leaves():
    """Every class with a leaf that must be one number, as it is and the name of the leaf."""
    cutoff = jp.CosineCutoff(4.0, width=1.0)
    yield from ((cutoff, "radius"), (cutoff, "width"), (jp.cutoffs.PolynomialCutoff(4.0), "radius"), (jp.cutoffs.BumpCutoff(4.0), "width"), (jp.cutoffs.Step(4.0), "radius"))
    yield from ((jp.cutoffs.TanhCutoff(4.0), "radius"), (jp.cutoffs.PowerCutoff(4.0), "radius"), (jp.cutoffs.ForceShifted(4.0), "radius"), (jp.cutoffs.Willatt(cutoff, 1.0, 2.0, 3.0), "rate"))
    yield from ((jp.PolynomialKernel(2.0), "zeta"), (jp.PolynomialKernel(2.0), "offset"), (jp.GTO(2, radius=3.0), "radius"), (jp.kernels.REMatch(0.1), "gamma"))
    yield from ((MODEL.expansion, "sigma"), (MODEL.expansion, "center_weight"), (jp.Linear(), "scale"), (jp.SparseGP(jp.PolynomialKernel(2.0)), "delta"))
    yield from ((jp.radial.MorseTransform(1.0, decay=1.0), "length"), (jp.descriptors.Histogram(0.0, 1.0, sigma=0.1, n=3), "low"), (jp.empirical.ZBL(("Si",), 1.0, 2.0), "outer"))
    yield from ((jp.descriptors.Bispectrum(("Si",), 4.0, 2), "rfac0"), (jp.descriptors.Bispectrum(("Si",), 4.0, 2), "rmin0"), (jp.radial.Agnesi(2, nearest=2.0), "nearest"))


@pytest.mark.parametrize(("of", "name"), list(_leaves()), ids=lambda x: x if isinstance(x, str) else type(x).__name__)
def test_leaves_that_are_numbers_take_nothing_else(of, name):
    for value in ([[1.0]], [1.0], [], np.ones((1, 1)), jnp.ones(2), True, [True], "1", np.nan, np.inf, -np.inf, 1e308, 1j, {}, [[1.0], []]):
        with pytest.raises((TypeError, ValueError), match=rf"{type(of).__name__}\.{name} must be ") as caught:
            of.replace(**{name: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jp.CosineCutoff(5.0, width=[]), r"CosineCutoff\.width must be a number, got \[\]"),
        (lambda: jp.CosineCutoff(5.0, width=np.ones(0)), r"CosineCutoff\.width must be a number, got shape \(0,\)"),
        (lambda: jp.CosineCutoff(None), r"radius must be a number, got None"),
        (lambda: jp.CosineCutoff(1e-300), r"radius must be from 0\.001 to 10000, got 1e-300"),
        (lambda: jp.CosineCutoff(1e308), r"radius must be from 0\.001 to 10000, got 1e\+308"),
        (lambda: jp.IsolatedAtoms({"Si": True}), "energies_of Si must be a number of eV, got True"),
        (lambda: jp.IsolatedAtoms({"Si": [1.0]}), "energies_of Si must be a number"),
        (lambda: jp.IsolatedAtoms({"Si": "1"}), "energies_of Si must be a number"),
        (lambda: jp.IsolatedAtoms({"Si": np.nan}), r"values must be finite"),
        (lambda: jp.IsolatedAtoms({}), "energies_of is {}; expected a mapping"),
        (lambda: jp.empirical.LennardJones(("Si",), epsilon=[0.1], sigma=2.0, cutoff=jp.cutoffs.Step(5.0)), r"epsilon must have shape \[\] or \[1, 1\], got \(1,\)"),
        (lambda: jp.empirical.LennardJones(("Si",), epsilon=0.1, sigma=2.0, cutoff=5.0), r"LennardJones\.cutoff must be an Ending, got 5\.0"),
        (lambda: jp.Density(("Si",), 5.0, jp.GTO(4), 3, sigma=0.5), r"Density\.cutoff must be a Cutoff, got 5\.0"),
        (lambda: jp.kernels.SquaredExponential([[1.0]]), r"length must have shape \[\] or \[F\], got \(1, 1\)"),
        (lambda: jp.molecules.Bonds(("H",), [[0, 1]], stiffness=[[1.0]], length=1.0), r"stiffness must have shape \[\] or \[N\], got \(1, 1\)"),
        (lambda: jp.Linear(roughness=2.0), r"roughness must have shape \[F\], got \(\)"),
        (lambda: jp.GTO(True), "n_max must be an integer, got True"),
        (lambda: jp.GTO(2.0), "n_max must be an integer, got 2.0"),
        (lambda: jp.GTO(10**9), "n_max must be a positive integer, at most 100, got 1000000000"),
        (lambda: MODEL.expansion.replace(l_max=10**9), "l_max must be at most 50, got 1000000000"),
        (lambda: MODEL.expansion.replace(l_max=True), "l_max must be an integer, got True"),
        (lambda: MODEL.replace(normalize=1), "normalize must be True or False, got 1"),
        (lambda: jp.MLP((True, 4)), r"hidden\[0\] must be an integer, got True"),
        (lambda: jp.MLP((10**9,)), r"hidden\[0\] must be at most 10000"),
        (lambda: jp.descriptors.Bispectrum(("Si",), 4.0, 10**9), "two_j_max must be at most 40"),
        (lambda: jp.descriptors.CoulombMatrix(("Si",), 10**9), "n_atoms must be at most 10000"),
        (lambda: jp.TotalDegree((1e9,)), r"degrees\[0\] must be at most 100"),
        (lambda: jp.kernels.Matern(1.0, nu=np.nan), "nu must be a finite number"),
    ],
)
def test_shapes_kinds_and_ranges(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_declared_shapes_leave_transformations_alone():
    """Stacked members and tracers are of other shapes; a NumPy integer is an integer."""
    stacked = jax.tree_util.tree_map(lambda *x: jnp.stack(x), jp.CosineCutoff(4.0, width=1.0), jp.CosineCutoff(5.0, width=1.0))
    assert stacked.radius.shape == (2,)
    values = jax.vmap(lambda cutoff: cutoff.replace(width=cutoff.width * 0.5)(jnp.asarray(3.9)))(stacked)
    np.testing.assert_allclose(values, [jp.CosineCutoff(4.0, width=0.5)(jnp.asarray(3.9)), 1.0])
    assert jax.jit(lambda x: jp.PolynomialKernel(x).replace(offset=x).zeta)(jnp.ones(3)).shape == (3,)
    assert type(jp.GTO(np.int64(3)).n_max) is int


def test_free_maps_positive_leaves_by_log_and_bounded_ones_by_sigmoid():
    params, build = jp.free(MODEL, "*.sigma", "*.cutoff.radius", bounds={"*.radius": (3.0, 6.0)})
    assert set(params) == {"expansion.sigma", "expansion.cutoff.radius"}
    np.testing.assert_allclose(params["expansion.sigma"], np.log(0.5))
    np.testing.assert_allclose(build(params).expansion.cutoff.radius, 5.0, rtol=1e-14)
    far = build(jax.tree_util.tree_map(lambda u: u + 50.0, params))
    assert 3.0 < float(far.expansion.cutoff.radius) <= 6.0
    slope = jax.grad(lambda p: build(p).expansion.sigma)(params)["expansion.sigma"]
    np.testing.assert_allclose(slope, 0.5)


def test_free_refuses_what_it_cannot_mean():
    with pytest.raises(ValueError, match=r"(?s)no leaf matches '\*\.sigmma'.*expansion\.sigma"):
        jp.free(MODEL, "*.sigmma")
    with pytest.raises(ValueError, match="not strictly inside"):
        jp.free(MODEL, "*.radius", bounds={"*.radius": (6.0, 7.0)})
    with pytest.raises(ValueError, match="at least one pattern"):
        jp.free(MODEL)
    params, build = jp.free(MODEL, "*.sigma")
    with pytest.raises(ValueError, match="expected parameters"):
        build({"sigma": params["expansion.sigma"]})


def test_walk_and_with_leaves_agree_on_paths():
    model = jp.AtomicPotential(MODEL, jp.Linear()) + jp.IsolatedAtoms({"Si": -1.0})
    paths = [path for path, _, _ in walk(model)]
    assert "terms.0.descriptor.expansion.cutoff.radius" in paths
    assert "terms.1.values" in paths
    changed = with_leaves(model, {"terms.0.descriptor.expansion.sigma": 0.7})
    assert changed.terms[0].descriptor.expansion.sigma == 0.7
    assert with_leaves(model, {}) == model


def test_cast_changes_floating_leaves_only():
    graph = jp.from_atoms(__import__("ase.build").build.bulk("Si"), 3.0)
    single = jp.cast(graph, "float32")
    assert single.positions.dtype == np.float32
    assert single.neighbors.dtype == graph.neighbors.dtype


def test_names_of_classes():
    @pytree
    class GTO:  # a user's own
        n_max: int = static()

    assert class_name(jp.GTO) == "GTO" and find_class("GTO") is jp.GTO
    assert class_name(GTO) == f"{__name__}:test_names_of_classes.<locals>.GTO" and find_class(class_name(GTO)) is GTO
    assert is_pytree(GTO(3)) and is_pytree(jp.GTO(3)) and not is_pytree(type("Below", (jp.GTO,), {})(3))
    with pytest.raises(TypeError, match=r"named GTO exists already in jaxpot\.radial\."):
        pytree(type("GTO", (), {"__module__": "jaxpot.elsewhere"}))
