"""Design rows of two species, padded atoms and blocks, by every route, against forward differentiation of the whole structure."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import jaxpot as jp

design = importlib.import_module("jaxpot.fit.design")  # `jaxpot.fit.design` is the function


def graph():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.symbols[2] = "C"
    return jp.from_atoms(atoms, cutoff=4.0, max_atoms=10)


def ace(species=("Si", "C")):
    density = jp.Density(species, jp.PowerCutoff(4.0), jp.Agnesi(3, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 2, 2))), jp.Linear())


@pytest.fixture(scope="module")
def reference():
    return jax.jit(design._generic_rows)(ace(), graph())


@pytest.mark.parametrize("route", ["_waist_rows", "_atomic_rows"])
def test_routes_agree(route, reference, monkeypatch):
    monkeypatch.setattr(design, "_BLOCK_BYTES", 1e5)  # several blocks, the last one filled up
    rows = jax.jit(getattr(design, route))(ace(), graph())
    for got, want in zip(jax.tree_util.tree_leaves(rows), jax.tree_util.tree_leaves(reference), strict=True):
        assert got.shape == want.shape
        assert np.max(np.abs(np.asarray(got) - np.asarray(want))) < 1e-13 * float(jnp.max(jnp.abs(want)))


def test_small_structures_go_through_the_coefficients(monkeypatch):
    called = []
    monkeypatch.setattr(design, "_waist_rows", lambda term, graph: called.append(1) or design._generic_rows(term, graph))
    jax.eval_shape(design.design, ace(), graph())
    assert called


def test_poisoned_rows():
    bad = graph().replace(overflow=jnp.asarray(True))
    rows = jax.jit(design._waist_rows)(ace(), bad)
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
