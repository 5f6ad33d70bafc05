"""Networks of the fourth generation against n2p2: charges, electronegativities, energies and forces."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import units
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.io.n2p2 import read_n2p2
from jaxpot.longrange import Direct, Ewald

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
FILE = np.load(Path(__file__).parent.parent / "oracles" / "n2p2_4g.npz")
ATOMIC_UNITS = {"length_unit": units.BOHR, "energy_unit": units.HARTREE}


def graph_of(name, cutoff, **more):
    atoms = Atoms(
        FILE[f"{name}/numbers"], FILE[f"{name}/positions_bohr"] * units.BOHR, cell=FILE[f"{name}/cell_bohr"] * units.BOHR, pbc=FILE[f"{name}/pbc"]
    )
    return jaxpot.from_atoms(atoms, cutoff, charge=float(FILE[f"{name}/total_charge"]), **more)


@quick_jit
def everything(potential, graph):
    charged = potential.terms[0]
    terms = [term.energies(graph, charged.charges.charges(graph)[:, None]) for term in charged.terms]
    return jaxpot.evaluate(potential, graph), charged.charges.electronegativity.energies(graph), terms


def assert_same(potential, name, graph):
    found, electronegativity, terms = everything(potential, graph)
    n = len(FILE[f"{name}/numbers"])
    unit = units.COULOMB / units.BOHR  # a hartree, were it Coulomb's constant over a bohr
    np.testing.assert_allclose(electronegativity[:n] / unit, FILE[f"{name}/electronegativities"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.charges[:n], FILE[f"{name}/charges"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.sum(terms[0] + terms[1]) / units.HARTREE, FILE[f"{name}/energy_electrostatic"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.energy / units.HARTREE, FILE[f"{name}/energy"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.forces[:n] * units.BOHR / units.HARTREE, FILE[f"{name}/forces"], rtol=0, atol=1e-7)
    return found


@needs_data
def test_molecules():
    """A neutral one and its cation."""
    potential = read_n2p2(SHARED / "potentials" / "n2p2_Carbon_chain_4G", **ATOMIC_UNITS, sum=Direct())
    for name in ("c10h2", "c10h2_cation"):
        name = f"n2p2_Carbon_chain_4G:{name}"
        assert_same(potential, name, graph_of(name, float(potential.reach)))


@needs_data
def test_periodic_box():
    """Ewald's sum is as exact as the reference's; the virial against differences of n2p2's energy, whose own error is 3e-6."""
    name = "n2p2_H2O_4G:water8_box"
    length = float(np.min(np.linalg.norm(FILE[f"{name}/cell_bohr"], axis=1))) * units.BOHR
    ewald = Ewald(PolynomialCutoff(6.35, width=0.8), width=0.9, grid=3 * (int(np.ceil(8.5 * length / 2 / np.pi)) + 2,), k_cutoff=8.5)
    potential = read_n2p2(SHARED / "potentials" / "n2p2_H2O_RPBE-D3_4G", **ATOMIC_UNITS, sum=ewald)
    found = assert_same(potential, name, graph_of(name, float(potential.reach)))
    np.testing.assert_allclose(found.virial / units.HARTREE, FILE[f"{name}/virial_fd"], rtol=0, atol=5e-6)


@needs_data
def test_four_elements():
    potential = read_n2p2(SHARED / "potentials" / "n2p2_AlAuMgO_4G", **ATOMIC_UNITS, sum=Direct())
    assert potential.species == ("O", "Mg", "Al", "Au")
    atoms = Atoms("AuOMgAl", positions=[[0, 0, 0], [0, 0, 2.1], [1.9, 0, 2.3], [0, 2.4, 2.0]])
    graph = jaxpot.from_atoms(atoms, float(potential.reach))
    charges = jax.jit(lambda potential, graph: potential.more(graph).charges)(potential, graph)
    assert abs(float(np.sum(charges))) < 1e-12 and np.ptp(charges) > 0.01


@needs_data
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "write read_n2p2.*sum=jaxpot.longrange.sum_for"),
        ({"sum": Direct(), "length_unit": 1.0}, "Coulomb's constant is 27.2.* eV Å, expected 14.399645"),
    ],
)
def test_what_the_caller_must_say(more, message):
    with pytest.raises(ValueError, match=message):
        read_n2p2(SHARED / "potentials" / "n2p2_Carbon_chain_4G", **(ATOMIC_UNITS | more))
