"""Design rows of two species, padded atoms and blocks, by every route, against forward differentiation of the whole structure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import jaxpot as jp
from jaxpot.descriptors.slopes import waist_of
from jaxpot.passes import condense
from jaxpot.potentials import rows as routes

FIELDS = ("energy", "forces", "virial")


def graph():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.symbols[2] = "C"
    return jp.from_atoms(atoms, cutoff=4.0, max_atoms=10)


def ace(species=("Si", "C")):
    density = jp.Density(species, jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(3, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 2, 2))), jp.Linear())


@pytest.fixture(scope="module")
def reference():
    term = ace()
    return jax.jit(lambda graph: routes.generic_rows(lambda graph: routes.energy_row(condense(term), graph), graph))(graph())


def waist_rows(term, graph):
    term = condense(term)
    return routes.waist_rows(term, waist_of(term.descriptor), graph)


def atomic_rows(term, graph):
    return routes.atomic_rows(condense(term), graph)


@pytest.mark.parametrize("route", [waist_rows, atomic_rows])
def test_routes_agree(route, reference, monkeypatch):
    monkeypatch.setattr(routes, "_BLOCK_BYTES", 1e5)  # several blocks, the last one filled up
    rows = jax.jit(route)(ace(), graph())
    for got, want in ((getattr(rows, name), getattr(reference, name)) for name in FIELDS):
        assert got.shape == want.shape
        assert np.max(np.abs(np.asarray(got) - np.asarray(want))) < 1e-13 * float(jnp.max(jnp.abs(want)))


def test_small_structures_go_through_the_coefficients(monkeypatch):
    called, own = [], routes.waist_rows
    monkeypatch.setattr(routes, "waist_rows", lambda *of: called.append(1) or own(*of))
    jax.eval_shape(jp.fit.design, ace(), graph())
    assert called


def test_poisoned_rows():
    bad = graph().replace(overflow=jnp.asarray(True))
    rows = jax.jit(waist_rows)(ace(), bad)
    assert all(bool(jnp.all(jnp.isnan(x))) for x in jax.tree_util.tree_leaves(rows))


def test_no_sparse_point_of_an_element_hides_no_overflow():
    """The kernel with points of other elements is zero; the gate's NaN must not be."""
    soap = jp.SOAP(jp.Density(("C", "O"), jp.CosineCutoff(3.0), jp.GTO(2), 1, sigma=0.5))
    points = jax.tree_util.tree_map(lambda x: x[:1], jp.environments(jp.from_atoms(Atoms("C2", [[0, 0, 0], [1.3, 0, 0]]), 3.0), 3.0, ("C", "O")))
    model = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(2.0))).with_points(points).with_coefficients(jnp.ones(1))
    sound = jp.from_atoms(Atoms("O2", [[0, 0, 0], [1.2, 0, 0]]), 3.0)
    assert float(jax.jit(jp.evaluate)(model, sound).energy) == 0.0
    lost = jax.jit(jp.evaluate)(model, sound.replace(overflow=jnp.asarray(True)))
    assert np.isnan(lost.energy) and np.all(np.isnan(lost.forces[:2]))


def test_force_scales():
    """A step along one feature, for the centres of both elements, moves the forces by as much; padded atoms and other elements do not count."""
    frames = []
    for seed in (0, 1):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.symbols[2] = "C"
        frames.append(atoms)
    frames[1] = frames[1][:5]  # of another size
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.Properties(), keys={})
    model = ace()
    scales, n = jp.fit.force_scales(model, data), model.descriptor.n_features
    forces = jax.jit(lambda w, graph: jp.evaluate(model.with_coefficients(w), graph).forces)
    graphs = [jp.from_atoms(a, 4.0) for a in frames]
    for f in (0, n // 2, n - 1):
        w = np.zeros((2, n))
        w[:, f] = 1.0
        found = np.concatenate([forces(w.reshape(-1), g) for g in graphs])
        np.testing.assert_allclose(scales[f], np.sqrt(np.mean(found**2)), rtol=1e-12)
    silicon, frames = jp.AtomicPotential(ace(("Si",)).descriptor, jp.Linear()), [a[a.symbols == "Si"] for a in frames]
    with_argon = [a + Atoms("Ar", positions=[a.cell.sum(0) / 2 + 0.3]) for a in frames]
    without, with_it = (jp.fit.force_scales(silicon, jp.Dataset.from_atoms(x, 4.0, sigma=jp.Properties(), keys={})) for x in (frames, with_argon))
    np.testing.assert_allclose(with_it, without, rtol=1e-12)


def test_force_scales_refuses():
    crystal, dimer = bulk("Si", cubic=True), Atoms("Si2", positions=[[0, 0, 0], [0, 0, 4.5]])
    data = jp.Dataset.from_atoms([dimer], 4.0, sigma=jp.Properties(), keys={})
    with pytest.raises(ValueError, match="give no force in these data"):
        jp.fit.force_scales(ace(("Si",)), data)
    with pytest.raises(TypeError, match="of a Sum pass one of its terms"):
        jp.fit.force_scales(ace() + jp.IsolatedAtoms({"Si": 0.0}), data)
    with pytest.raises(ValueError, match="frame 0"):
        jp.fit.force_scales(ace(("Si",)), jp.Dataset.from_atoms([crystal], 3.0, sigma=jp.Properties(), keys={}))
