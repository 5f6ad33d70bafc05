"""Whatever takes a Graph takes `ase.Atoms` and lists of them, fits take frames, and what is neither is named."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from catalog import quick_jit

import jaxpot as jp
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones

ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
NOISE = jp.noise_levels(energy=0.001, forces=0.01)


def linear():
    soap = jp.SOAP(jp.Density(("Ar",), jp.CosineCutoff(5.0, width=1.0), jp.GTO(n_max=2), l_max=1, sigma=0.5))
    return jp.AtomicPotential(soap, jp.Linear())


def frames(n=4):
    """Rattled crystals with labels of a pair potential."""
    found = []
    for seed in range(n):
        atoms = bulk("Ar", a=5.3) * (2, 1, 1)
        atoms.rattle(0.1, seed=seed)
        one = jp.evaluate(ARGON, atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=float(one.energy), forces=np.array(one.forces))
        found.append(atoms)
    return found


def test_atoms_in_the_place_of_a_graph():
    """One evaluation, one energy, one set of features, and lists of them, equal those of the Graph."""
    atoms, model = frames(2), linear().with_coefficients(np.arange(6.0))
    graph = jp.from_atoms(atoms[0], 6.0)
    np.testing.assert_allclose(jp.evaluate(ARGON, atoms[0]).forces, quick_jit(jp.evaluate)(ARGON, graph).forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ARGON(atoms[0]), ARGON(graph), rtol=1e-12)
    soap = model.descriptor
    one, two = soap(atoms)
    np.testing.assert_allclose(one, quick_jit(lambda graph: soap(graph))(graph), rtol=0, atol=1e-12)
    assert two.shape == (2, 6) and len(ARGON(tuple(atoms))) == 2 and [found.forces.shape for found in jp.evaluate(model, atoms)] == [(2, 3)] * 2


def test_compiled_once_for_equal_sizes():
    """A second structure of as many atoms and about as many neighbours is not compiled again."""
    atoms, traced = frames(3), []

    @jp.pytree
    class Counting(jp.Potential):
        species = ("Ar",)

        @property
        def reach(self):
            return jnp.asarray(4.0)

        def energies(self, graph):
            traced.append(graph.neighbors.shape)
            return jnp.ones(graph.centers.shape)

    [Counting()(one) for one in atoms]
    assert len(traced) == 1


def test_what_is_no_structure():
    with pytest.raises(TypeError, match=r"LennardJones takes a Graph, ase.Atoms or a list of them, got str"):
        ARGON("argon.xyz")
    with pytest.raises(ValueError, match="knows Ar, but the structure contains Ne"):
        jp.evaluate(ARGON, Atoms("ArNe", positions=[[0, 0, 0], [3, 0, 0]]))
    with pytest.raises(TypeError, match="from_atoms takes one ase.Atoms, got list"):
        jp.from_atoms([Atoms("Ar")], 3.0)
    with pytest.raises(TypeError, match="frames hold a str"):
        jp.Dataset.from_atoms(["argon.xyz"], 3.0)
    with pytest.raises(TypeError, match=r"sigma is 0.1; expected noise levels"):
        jp.Dataset.from_atoms(frames(1), 3.0, sigma=0.1)


def test_sum():
    atoms = frames(1)[0]
    assert float(sum([ARGON, ARGON])(atoms)) == pytest.approx(2 * float(ARGON(atoms)), rel=1e-14)
    with pytest.raises(TypeError):
        1 + ARGON


def test_fits_of_frames():
    """Equal to those of the Dataset that they stand for."""
    atoms, model = frames(), linear()
    data = jp.Dataset.from_atoms(atoms, 5.0, sigma=NOISE)
    fitted = jp.fit.linear(model, atoms, sigma=NOISE)
    np.testing.assert_allclose(fitted.head.coefficients, jp.fit.linear(model, data).head.coefficients, rtol=1e-10)
    assert jp.fit.report(fitted, atoms)["all"]["forces"]["rmse"] == pytest.approx(jp.fit.report(fitted, data)["all"]["forces"]["rmse"], rel=1e-10)
    assert len(jp.fit.predict(fitted, atoms)) == 4 and jp.fit.force_scales(model, atoms).shape == (6,)
    points = jp.fit.select_environments(model.descriptor, atoms, 3, key=jax.random.key(0))
    assert points.center.shape == (3,) and len(jp.Dataset.from_atoms(atoms[0], 5.0)) == 1
    with pytest.raises(TypeError, match="fit.linear: frames come with the noise levels of their labels; write sigma="):
        jp.fit.linear(model, atoms)
    with pytest.raises(TypeError, match="leave out sigma"):
        jp.fit.linear(model, data, sigma=NOISE)


def test_fixed_terms_of_fewer_elements():
    """What only linear terms know has nothing fixed."""
    random, atoms = np.random.default_rng(0), []
    for _ in range(6):
        one = Atoms("ArNe2", positions=3.5 * np.eye(3) + random.normal(0, 0.1, (3, 3)))
        one.info["energy"] = float(ARGON(Atoms("Ar"))) - 2.0 - 2 * 3.0
        atoms.append(one)
    fixed = jp.IsolatedAtoms({"Ar": -2.0})
    model = jp.fit.linear(fixed + jp.AtomicPotential(jp.descriptors.Constant(("Ar", "Ne")), jp.Linear(scale=10.0)), atoms, sigma=jp.Properties(energy=1e-6))
    assert float(model(atoms[0])) == pytest.approx(-8.0, abs=1e-6)


def test_what_is_trained_by_default():
    """Weights and biases of networks, coefficients of linear heads, all but cutoffs of potentials without heads."""
    atoms = frames(2)
    network = jp.AtomicPotential(linear().descriptor, jp.MLP((4,)))
    trained, _ = jp.fit.train(network, atoms, optax.sgd(1e-6), steps=1, sigma=NOISE)
    assert not np.array_equal(trained.head.weights[0], network.head.weights[0])
    assert np.array_equal(trained.descriptor.expansion.cutoff.radius, network.descriptor.expansion.cutoff.radius)
    softer = ARGON.replace(epsilon=0.009)
    trained, _ = jp.fit.train(softer, atoms, optax.sgd(1e-6), steps=1, sigma=NOISE)
    assert float(trained.cutoff.radius) == 6.0 and float(trained.epsilon) != 0.009


def test_constants_that_lack_are_named():
    """Where energies per atom are far from zero and no term can hold that."""
    atoms, model = frames(), linear()
    for one in atoms:
        one.calc = SinglePointCalculator(one, energy=one.get_potential_energy() - 100 * len(one), forces=one.get_forces())
    with pytest.warns(UserWarning, match=r"energies are -100.* write model \+ jaxpot.IsolatedAtoms.from_data"):
        jp.fit.linear(model, atoms, sigma=NOISE)
    alone = jp.IsolatedAtoms.from_data(iter(atoms))
    assert jp.IsolatedAtoms.from_data(atoms[0]).values[0] == pytest.approx(atoms[0].get_potential_energy() / len(atoms[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jp.fit.linear(model + alone, atoms, sigma=NOISE)
    assert float(alone.values[0]) == pytest.approx(-100, abs=0.1)


def test_what_is_shown():
    """Models as trees, in text and in notebooks; data by configuration type."""
    model = linear() + jp.IsolatedAtoms({"Ar": -1.0})
    assert str(model).splitlines()[:2] == ["Sum", "  terms.0: AtomicPotential"] and "radius=5.0" in str(model)
    page = model._repr_html_()
    assert page.count("<details") == page.count("</details>") == 4 and "<b>CosineCutoff</b> radius=5.0 width=1.0" in page
    atoms = frames(3)
    atoms[0].info["config_type"] = "<dimer>"
    lines = str(jp.Dataset.from_atoms(atoms, 5.0, sigma=NOISE)).splitlines()
    assert [line.split() for line in lines] == [
        ["structures", "atoms", "energy", "forces"], ["all", "3", "6", "3", "3"], ["<dimer>", "1", "2", "1", "1"], ["default", "2", "4", "2", "2"],
    ]  # fmt: skip
