"""Neural network potentials against n2p2, in the units of its files; symmetry functions against n2p2 and DScribe."""

import os
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import CosineCutoff, units
from jaxpot.descriptors import ACSF, G2, G3, G4, G5
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.io.n2p2_functions import functions_of

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
HERE = Path(__file__).parent


def atoms_of(file, name, numbers=None, unit="_bohr"):
    numbers = file[f"{name}/numbers"] if numbers is None else numbers
    return Atoms(numbers, file[f"{name}/positions{unit}"], cell=file[f"{name}/cell{unit}"], pbc=file[f"{name}/pbc"])


@quick_jit
def everything(potential, graph):
    return jaxpot.evaluate(potential, graph), potential.terms[0].descriptor(graph)


MODELS = {  # the tolerances of energies and forces
    "mlearn_nnp_Si": (1e-10, 1e-9),
    "mlearn_nnp_Mo": (1e-10, 1e-9),
    "mlearn_nnp_Li": (1e-10, 1e-9),
    "n2p2_H2O_RPBE-D3": (1e-8, 1e-8),
    "n2p2_Cu2S_PBE": (1e-8, 1e-8),
}


@needs_data
@pytest.mark.parametrize("model", MODELS)
def test_energies_forces_and_symmetry_functions(model):
    """n2p2's order of functions is that of kept and mean: columns of a centre in the order of labels sorted as n2p2 sorts them."""
    file = np.load(HERE / ("n2p2_mlearn_nnp.npz" if "mlearn" in model else "n2p2_examples.npz"))
    names = sorted({key.split("/")[0] for key in file.files if key.startswith(model + ":")})
    potential = read_n2p2(SHARED / "potentials" / model, length_unit=1.0, energy_unit=1.0)
    descriptor, head = potential.terms[0].descriptor, potential.terms[0].head
    graphs = jaxpot.stack([jaxpot.from_atoms(atoms_of(file, name), float(potential.reach)) for name in names])
    for i, name in enumerate(names):
        numbers = file[f"{name}/numbers"]
        n = len(numbers)
        found, features = everything(potential, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        energy, force = MODELS[model]
        np.testing.assert_allclose(found.energy, file[f"{name}/energy"], rtol=0, atol=energy)
        if f"{name}/forces" in file.files:
            np.testing.assert_allclose(found.forces[:n], file[f"{name}/forces"], rtol=0, atol=force)
        else:  # central differences of n2p2's energy
            np.testing.assert_allclose(found.forces[:n], file[f"{name}/forces_fd"], rtol=0, atol=1e-6)
        if f"{name}/virial_fd" in file.files:  # likewise, of step 1e-4: their own error is 3e-6
            expected = file[f"{name}/virial_fd"]
            np.testing.assert_allclose(found.virial, expected, rtol=0, atol=5e-6 * max(1, np.max(np.abs(expected))))
        for s, symbol in enumerate(descriptor.species):
            of_element, own = numbers == units.ATOMIC_NUMBERS[symbol], columns_of(descriptor, symbol)
            values = np.asarray(features)[:n][of_element]
            assert set(file[f"{name}/n_symmetry_functions"][of_element]) <= {len(own)}
            np.testing.assert_allclose(values[:, own], file[f"{name}/symmetry_functions"][of_element][:, : len(own)], rtol=1e-11, atol=1e-12)
            scaled = (values - head.shift[s]) / head.scale[s]
            np.testing.assert_allclose(scaled[:, own], file[f"{name}/scaled_symmetry_functions"][of_element][:, : len(own)], rtol=0, atol=1e-9)
            assert np.all(np.delete(values, own, axis=1) == 0)


def columns_of(descriptor, symbol):
    """The features of a centre in n2p2's order, from the parameters of the ACSF: type, eta, r_s, zeta, lambda, elements; one radius."""
    species, keys = descriptor.species, {}
    everything = descriptor.replace(kept=None).labels()
    for column, label in enumerate(descriptor.labels()):
        if everything.index(label) not in descriptor.kept[species.index(symbol)]:
            continue
        one = descriptor.functions[label[0]]
        index, elements = label[-len(one.sizes) :], tuple(species.index(e) for e in label[2 : -len(one.sizes)])
        angle = (one.zeta[index[2]], one.lam[index[1]]) if len(index) == 3 else ()
        keys[column] = (label[1], one.eta[index[0]], one.r_s[index[0]], *angle, *elements)
    return sorted(keys, key=keys.get)


@needs_data
@pytest.mark.parametrize("model", ["mlearn_nnp_Mo", "n2p2_Cu2S_PBE"])
def test_written_and_read(model, tmp_path):
    """Other units, and networks, limits and functions all the same."""
    potential = read_n2p2(SHARED / "potentials" / model, length_unit=units.BOHR, energy_unit=units.HARTREE)
    write_n2p2(tmp_path, potential, length_unit=0.7, energy_unit=1.3)
    again = read_n2p2(tmp_path, length_unit=0.7, energy_unit=1.3)
    for one, other in zip(*map(jax.tree_util.tree_leaves, (potential, again)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-300)
    assert again.terms[0].descriptor.kept == potential.terms[0].descriptor.kept


@needs_data
@pytest.mark.slow
def test_functions_of_compact_support():
    """A published network of types 20 and 22: within the errors of its fit, and its functions within the limits that n2p2 has written."""
    folder = SHARED / "potentials" / "n2p2_DMABN_SCAN"
    potential = read_n2p2(folder, length_unit=units.BOHR, energy_unit=units.HARTREE)
    frames = ase.io.read(SHARED / "data" / "n2p2_examples" / "DMABN_SCAN.extxyz", ":6")
    graphs = jaxpot.stack([jaxpot.from_atoms(atoms, float(potential.reach)) for atoms in frames])
    rows = np.loadtxt(folder / "scaling.data")
    for i, atoms in enumerate(frames):
        found, features = everything(potential, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        n = len(atoms)
        assert abs(found.energy - atoms.get_potential_energy()) / n < 3e-4
        assert np.sqrt(np.mean((found.forces[:n] - atoms.get_forces()) ** 2)) < 0.07
        for s, found in enumerate(functions_of(potential.terms[0].descriptor, potential.species, units.BOHR)):
            smallest, largest = rows[rows[:, 0] == s + 1][:, 2:4].T
            own = np.asarray(features)[:n][atoms.numbers == units.ATOMIC_NUMBERS[potential.species[s]]][:, [column for _, column in found]]
            assert np.all(own > smallest - 1e-3) and np.all(own < largest + 1e-3)


# test-set errors of the published potentials: energies in meV/atom, forces in eV/Å (mean absolute, root mean square)
PUBLISHED = {"Li": (0.75, 0.017, 0.023), "Mo": (3.65, 0.125, 0.204), "Si": (5.63, 0.109, 0.170)}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("element", PUBLISHED)
def test_published_errors(element):
    potential = read_n2p2(SHARED / "potentials" / f"mlearn_nnp_{element}", length_unit=units.BOHR, energy_unit=units.HARTREE)
    frames = ase.io.read(SHARED / "data" / "mlearn" / f"{element}_test.extxyz", ":")
    data = jaxpot.Dataset.from_atoms(frames, float(potential.reach), sigma=jaxpot.noise_levels(1.0, 1.0))
    predicted = jaxpot.fit.predict(potential, data, progress=False)
    energy = np.mean([abs(p.energy - a.get_potential_energy()) / len(a) for p, a in zip(predicted, frames, strict=True)])
    forces = np.concatenate([(p.forces - a.get_forces()).reshape(-1) for p, a in zip(predicted, frames, strict=True)])
    found = np.array([1e3 * energy, np.mean(np.abs(forces)), np.sqrt(np.mean(forces**2))])
    assert np.all(np.abs(found - PUBLISHED[element]) < (0.0151, 0.00151, 0.00151)), found


SYMBOLS = ("H", "He")


@pytest.mark.parametrize("names", [["si8"], ["gaas8", "water3", "ch4", "tric_sic", "nacl8"]], ids=["one element", "two elements"])
def test_dscribe(names):
    """G1 to G5. Elements are exchanged for H and He, so that structures share one padded shape and one compilation."""
    file, cutoff = np.load(HERE / "dscribe_acsf.npz"), CosineCutoff(5.0)
    species = SYMBOLS[: 1 if names == ["si8"] else 2]
    g4, g5 = G4(cutoff, [0.01, 0.05], lam=[1, -1], zeta=[1, 4]), G5(cutoff, [0.02, 0.1], lam=[1, -1], zeta=[2, 1])
    acsf = ACSF(species, (G2(cutoff), G2(cutoff, [0.05, 0.5, 4.0], [0.0, 1.5, 2.4]), G3(cutoff, [0.7, 1.5]), g4, g5))
    labels, order = acsf.labels(), []
    for s in species:
        order += [(0, "G2", s, 0), *((1, "G2", s, i) for i in range(3)), *((2, "G3", s, i) for i in range(2))]
    for i, b in enumerate(species):
        for a in species[: i + 1]:
            order += [(n, kind, a, b, *index) for n, kind in ((3, "G4"), (4, "G5")) for index in ((0, 0, 0), (1, 1, 1))]
    columns = [labels.index(label) for label in order]
    structures = []
    for name in names:
        numbers = file[f"{name}/numbers"]
        structures.append(atoms_of(file, name, 1 + np.searchsorted(np.unique(numbers), numbers), unit=""))
    graphs = jaxpot.stack([jaxpot.from_atoms(atoms, 5.0) for atoms in structures])
    values = np.asarray(quick_jit(jax.vmap(lambda g: acsf(g)))(graphs))
    for i, name in enumerate(names):
        np.testing.assert_allclose(values[i][: len(structures[i])][:, columns], file[f"{name}/A/features"], rtol=0, atol=1e-12)
