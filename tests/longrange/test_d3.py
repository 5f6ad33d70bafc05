"""D3 against s-dftd3: pairs and triples, molecules and crystals; derivatives; and what is refused."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

from jaxpot import evaluate, from_atoms, strain
from jaxpot.cutoffs import PolynomialCutoff, Step
from jaxpot.longrange import D3, AxilrodTeller, BeckeJohnson, D3Tables, ZeroDamping, coordination_numbers

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "dftd3.npz")
SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
TABLES = SHARED / "data" / "d3_tables" / "d3_tables.npz"
BOHR, HARTREE = 0.529177210903, 27.211386245988  # CODATA 2018, as in the references
DAMPINGS = {"pbe_bj": BeckeJohnson(s8=0.7875, a1=0.4289, a2=4.4407 * BOHR), "pbe_zero": ZeroDamping(s8=0.722, r6=1.217)}
PAIRS, TRIPLES = 60 * BOHR, 40 * BOHR
MOLECULES, CRYSTALS = ("water3", "ch4", "benzene_dimer"), ("si8", "nacl8", "gaas8")

evaluated = quick_jit(evaluate)
energy = quick_jit(lambda model, graph: model(graph))


def structure(name):
    numbers, positions, cell, pbc = (ORACLE[f"{name}/{key}"] for key in ("numbers", "positions", "cell", "pbc"))
    return Atoms(numbers, positions, cell=cell, pbc=pbc)


def tables_of(atoms):
    return D3Tables.read(TABLES, tuple(dict.fromkeys(atoms.get_chemical_symbols())))


def pairs_of(tables, damping):
    return D3(tables, damping, cutoff=Step(PAIRS), counting=Step(TRIPLES))


@needs_data
@pytest.mark.parametrize("case", DAMPINGS)
@pytest.mark.parametrize("name", MOLECULES + CRYSTALS)
def test_pairs(name, case):
    """The oracle's own forces of crystals agree with its energies to 6e-5 eV/Å, its virials to 4e-3 eV: pairs cross its cutoff in shells."""
    atoms = structure(name)
    found = evaluated(pairs_of(tables_of(atoms), DAMPINGS[case]), from_atoms(atoms, PAIRS))
    assert abs(float(found.energy) - float(ORACLE[f"{name}/{case}/energy"])) < 2e-8
    np.testing.assert_allclose(found.forces, ORACLE[f"{name}/{case}/forces"], rtol=0, atol=2e-8)
    if name in CRYSTALS:
        np.testing.assert_allclose(found.virial, ORACLE[f"{name}/{case}/virial"], rtol=0, atol=1e-7)


@needs_data
@pytest.mark.parametrize("name", MOLECULES + CRYSTALS)
def test_triples(name):
    atoms = structure(name)
    found = float(energy(AxilrodTeller(tables_of(atoms), cutoff=Step(TRIPLES), counting=Step(TRIPLES)), from_atoms(atoms, TRIPLES)))
    assert abs(found - float(ORACLE[f"{name}/pbe_bj_atm/energy"] - ORACLE[f"{name}/pbe_bj/energy"])) < 2e-8


@needs_data
def test_forces_of_triples():
    atoms = structure("water3")
    found = evaluated(AxilrodTeller(tables_of(atoms), cutoff=Step(TRIPLES), counting=Step(TRIPLES)), from_atoms(atoms, TRIPLES))
    np.testing.assert_allclose(found.forces, ORACLE["water3/pbe_bj_atm/forces"] - ORACLE["water3/pbe_bj/forces"], rtol=0, atol=1e-9)


@needs_data
def test_coordination_numbers():
    """Silane of tad-dftd3, in which silicon has nearly four and hydrogen nearly one neighbour."""
    silane = json.loads((SHARED / "data/charges_dispersion_reference/d3bj_reference.json").read_text())["molecules"]["SiH4"]
    atoms = Atoms(silane["numbers"], np.array(silane["positions_bohr"]) * BOHR)
    graph = from_atoms(atoms, TRIPLES)
    found = coordination_numbers(tables_of(atoms), Step(TRIPLES), graph)
    np.testing.assert_allclose(found, silane["cn"], rtol=0, atol=1e-8)
    model = D3(tables_of(atoms), BeckeJohnson(s8=1.2576, a1=0.3768, a2=4.5865 * BOHR), cutoff=Step(50 * BOHR), counting=Step(TRIPLES))
    np.testing.assert_allclose(model.energies(from_atoms(atoms, 50 * BOHR)), np.array(silane["disp2"]) * HARTREE, rtol=0, atol=1e-9)


@needs_data
def test_unknown_elements():
    with pytest.raises(ValueError, match="no reference for .'Cf'."):
        D3Tables.read(TABLES, ("H", "Cf"))


def toy(damping):
    c6 = np.array([[[[25.0, 20.0], [20.0, 17.0]], [[45.0, 40.0], [38.0, 33.0]]], [[[45.0, 38.0], [40.0, 33.0]], [[90.0, 80.0], [80.0, 70.0]]]])
    radii = {"covalent": [1.0, 1.5], "root_q": [1.5, 2.0], "radii": [[2.9, 3.1], [3.1, 3.4]]}
    tables = D3Tables(("C", "Si"), c6=c6, cn=[[0.0, 2.0], [0.5, 0.0]], references=(2, 1), **radii)
    ends = PolynomialCutoff(4.0, width=2.0)
    return D3(tables, damping, cutoff=ends, counting=ends) + AxilrodTeller(tables, cutoff=ends, counting=ends)


@pytest.mark.parametrize("damping", [BeckeJohnson(s8=0.8, a1=0.4, a2=1.2), ZeroDamping(s8=0.7, r6=0.6)])
def test_derivatives_against_finite_differences(damping):
    """Forces, strain derivative and those of the tables, which all hold how coordination numbers change."""
    model = toy(damping)
    atoms = Atoms("SiC", positions=[[0.1, 0.2, 0.3], [1.5, 1.4, 1.1]], cell=[[3.0, 0.2, -0.1], [0.7, 2.8, 0.3], [-0.4, 0.5, 3.2]], pbc=True)
    graph, rng = from_atoms(atoms, 4.0), np.random.default_rng(3)
    step, shear, by_cn = rng.normal(size=(2, 3)), rng.normal(size=(3, 3)), rng.normal(size=(2, 2))

    def moved(t):
        tables = model.terms[0].tables
        tables = tables.replace(cn=tables.cn + t * by_cn, covalent=tables.covalent + t * np.array([0.1, -0.05]))
        terms = [jax.tree_util.tree_map(lambda x: x, term).replace(tables=tables) for term in model.terms]
        return sum(term(strain(graph.replace(positions=graph.positions + t * step), t * shear)) for term in terms)

    exact = float(jax.jit(jax.grad(moved))(0.0))
    value, h = jax.jit(moved), 3e-4
    numeric = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    assert abs(exact) > 1e-2 and abs(float(numeric) - exact) < 1e-8 * max(1, abs(exact))


def test_far_from_all_references():
    """Weights vanish together there, but not relative to the nearest: C6 is that of the nearest, and its derivatives are finite."""
    model = toy(BeckeJohnson(s8=0.8, a1=0.4, a2=1.2))
    tables = model.terms[0].tables.replace(cn=np.array([[30.0, 40.0], [50.0, 0.0]]))
    near = D3(tables, BeckeJohnson(s8=0.0, a1=0.0, a2=1.0), cutoff=Step(3.9), counting=Step(3.9))
    found = evaluated(near, from_atoms(Atoms("CSi", positions=[[0, 0, 0], [0, 0, 2.0]]), 4.0))
    assert abs(float(found.energy) + 45.0 / (2.0**6 + 1)) < 1e-12
    assert np.all(np.isfinite(found.forces))


def test_what_is_refused():
    with pytest.raises(ValueError, match="references must be 1 numbers"):
        D3Tables(("Ar",), c6=[[[[38.0]]]], cn=[[0.0]], covalent=[1.3], root_q=[1.6], radii=[[3.0]], references=(2,))
    with pytest.raises(ValueError, match="knows PBE"):
        BeckeJohnson.of("XYZ")
    assert jnp.isnan(energy(toy(ZeroDamping.of("PBE")), from_atoms(Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.2]]), 4.0)))
