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
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.longrange import ChargedPotential, ChargeModel, Coulomb, Direct, Electrostatics, Ewald, FixedCharges, GaussianCoulomb, PairsOfCharges

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
FILE = np.load(Path(__file__).parent.parent / "oracles" / "n2p2_4g.npz")
ATOMIC_UNITS = {"length_unit": units.BOHR, "energy_unit": units.HARTREE}


def graph_of(name, cutoff):
    atoms = Atoms(
        FILE[f"{name}/numbers"], FILE[f"{name}/positions_bohr"] * units.BOHR, cell=FILE[f"{name}/cell_bohr"] * units.BOHR, pbc=FILE[f"{name}/pbc"]
    )
    return jaxpot.from_atoms(atoms, cutoff, charge=float(FILE[f"{name}/total_charge"]))


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


@pytest.fixture
def carbon_chain(tmp_path):
    """Its short-ranged networks have 10 nodes in each layer, where input.nn says 15."""
    for file in (SHARED / "potentials" / "n2p2_Carbon_chain_4G").iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("global_nodes_short 15 15", "global_nodes_short 10 10"))
    return tmp_path


@needs_data
def test_molecules(carbon_chain):
    """A neutral one and its cation. The reference has no energies of these short-ranged networks: its total is that of the other terms."""
    potential = read_n2p2(carbon_chain, **ATOMIC_UNITS, sum=Direct())
    charged, atoms = potential.terms
    assert np.all(np.isfinite(charged.terms[2].potential.head.weights[0]))
    potential = charged.replace(terms=charged.terms[:2]) + atoms
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
def test_written_and_read(carbon_chain):
    """In other units; numbers are the same to round-off."""
    potential = read_n2p2(carbon_chain, **ATOMIC_UNITS, sum=Direct())
    write_n2p2(carbon_chain / "new", potential, length_unit=0.7, energy_unit=1.3)
    again = read_n2p2(carbon_chain / "new", length_unit=0.7, energy_unit=1.3, sum=Direct())
    assert jax.tree_util.tree_structure(again) == jax.tree_util.tree_structure(potential)
    for one, other in zip(*map(jax.tree_util.tree_leaves, (potential, again)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-300)


@needs_data
@pytest.mark.parametrize(
    ("model", "message"),
    [("n2p2_AlAuMgO_4G", r"G4.zeta must be > 0, got -2.0"), ("n2p2_Carbon_chain_4G", "weights.001.data: 381 values; expected 646 for 25 - 15 - 15 - 1 nodes")],
)
def test_files_with_faults(model, message):
    """A function that is infinite for three atoms in a line; and networks with other nodes than the settings say."""
    with pytest.raises(ValueError, match=message):
        read_n2p2(SHARED / "potentials" / model, **ATOMIC_UNITS, sum=Direct())


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
        read_n2p2(SHARED / "potentials" / "n2p2_H2O_RPBE-D3_4G", **(ATOMIC_UNITS | more))


def test_elements_and_totals_that_do_not_fit_together():
    """Widths of other elements are refused, and charges that miss the total are NaN with a cause, whatever potential sees them."""
    pair = jaxpot.from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), 1.0)
    species, other = ("Na", "Cl"), GaussianCoulomb(("H", "O"), sigma=[0.3, 0.6])
    assert np.all(np.isnan(Direct().potential(other, pair, np.ones(2))))
    for make in (lambda: Electrostatics(FixedCharges(species, values=[1.0, -1.0]), Direct(), other), lambda: PairsOfCharges(species, Direct(), other)):
        with pytest.raises(ValueError, match="GaussianCoulomb knows H, O and not Cl, Na"):
            make()
    charges = FixedCharges(species, values=[1.0, -0.5])
    for model in (Electrostatics(charges, Direct()), ChargedPotential(charges, (PairsOfCharges(species, Direct(), Coulomb()),))):
        assert np.isnan(quick_jit(jaxpot.evaluate)(model, pair).energy)
        assert "sum to 0.5 e, the structure has a total charge of 0 e" in " ".join(jaxpot.diagnose(model, pair))


def test_charges_are_made_once():
    """For energies, forces and what is predicted beside them."""
    calls = []

    @jaxpot.pytree
    class Counted(ChargeModel):
        species, reach = ("Na", "Cl"), np.zeros(())

        def charges(self, graph):
            calls.append(graph)
            return graph.positions[:, 0] - np.mean(graph.positions[:, 0])

    pair = jaxpot.from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), 1.0)
    found = jaxpot.evaluate(Electrostatics(Counted(), Direct()), pair)
    assert len(calls) == 1 and found.charges.shape == (2,)
