"""Bispectrum components and SNAP potentials against LAMMPS.

Elements are exchanged for H and He, so that structures and models of one kind share one padded shape and one compilation.
"""

import os
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit, relative

import jaxpot
from jaxpot import AtomicPotential, IsolatedAtoms, Linear
from jaxpot.descriptors import Bispectrum
from jaxpot.heads import Quadratic
from jaxpot.io.snap import read_snap, write_snap

SHARED = Path(os.environ.get("JAXPOT_DATA", "."))
needs_data = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)
SYMBOLS = ("H", "He")
COMPONENTS = np.load(Path(__file__).parent / "lammps_snap_descriptors.npz")
CASES = {
    "b1": (["si8", "si_slab"], lambda: Bispectrum(("H",), 4.5, 6, subtract_self=False)),
    "b2_bzero": (["si8"], lambda: Bispectrum(("H",), 4.0, 4, rfac0=0.99, rmin0=0.2)),
    "b3_noswitch": (["si8"], lambda: Bispectrum(("H",), 4.0, 4, rfac0=0.95, switch=False, subtract_self=False)),
    "b4_quadratic": (["si8"], lambda: Bispectrum(("H",), 4.0, 2, subtract_self=False)),
    "b5_two_species": (["gaas8"], lambda: Bispectrum(SYMBOLS, 4.0, 4, radii=(0.5, 0.4), weights=(1.0, 0.6), subtract_self=False)),
    "b6_chem": (
        ["gaas8"],
        lambda: Bispectrum(SYMBOLS, 1.0, 4, radii=(2.0, 2.3), weights=(1.0, 0.8), subtract_self=False, normalize=True, by_element=True, self_everywhere=True),
    ),
    "b7_switchinner": (["si8"], lambda: Bispectrum(("H",), 4.2, 4, subtract_self=False, inner=2.4, inner_width=0.3)),
}


def atoms_of(file, name, order):
    """The structure with its elements, in the order of the model, exchanged for H and He."""
    numbers = [1 + order.index(z) for z in file[f"{name}/numbers"].tolist()]
    return Atoms(numbers, file[f"{name}/positions"], cell=file[f"{name}/cell"], pbc=file[f"{name}/pbc"])


def quick_and(slow, cases):
    return [pytest.param(c, marks=pytest.mark.slow) if c in slow else c for c in cases]


@pytest.mark.parametrize("case", quick_and(("b1", "b2_bzero", "b3_noswitch", "b7_switchinner"), CASES))
def test_components_and_their_sums(case):
    """Design rows are what LAMMPS calls snad (a force) and, summed over atoms, snav (a virial)."""
    names, make = CASES[case]
    model = AtomicPotential(make(), Quadratic() if case == "b4_quadratic" else Linear())
    first = COMPONENTS[f"{names[0]}/numbers"].tolist()
    order = sorted(set(first), key=first.index)
    batch = jaxpot.stack([jaxpot.from_atoms(atoms_of(COMPONENTS, name, order), float(model.reach)) for name in names])
    values, rows = quick_jit(jax.vmap(lambda g: (model.descriptor(g), jaxpot.fit.design(model, g))))(batch)
    for i, name in enumerate(names):
        expected = {key: COMPONENTS[f"{name}/{case}/{key}"] for key in ("sna", "snad", "snav")}
        found = values[i] if case != "b4_quadratic" else model.head.basis(values[i], np.zeros(8, int))
        assert relative(found, expected["sna"]) < 1e-12
        assert relative(rows.forces[i], np.moveaxis(expected["snad"], 1, 2).reshape(8, 3, -1)) < 1e-12
        virial = np.moveaxis(np.sum(expected["snav"], axis=0), 0, 2).reshape(3, 3, -1)
        assert relative(rows.virial[i], 0.5 * (virial + np.swapaxes(virial, 0, 1))) < 1e-11


MODELS = {  # models of one structure: linear or quadratic, 2j_max
    "linear 6": ["Ta06A", "Mo_Zuo_JPCA2020"],
    "linear 8": ["Si_Zuo_JPCA2020", "Li_Zuo_JPCA2020", "W_2940_2017_2"],
    "quadratic 6": ["Mo_Zuo_JPCA2020.quadratic", "Li_Zuo_JPCA2020.quadratic"],
    "quadratic 8": ["Si_Zuo_JPCA2020.quadratic"],
    "chemical 6": ["InP_JCPA2020"],
}
OVERLAYS = {"Ta06A": 4.8, "W_2940_2017_2": 4.8, "InP_JCPA2020": 4.2}  # ZBL from 4 Å


def files_of(name):
    return tuple(SHARED / "potentials" / "lammps_snap" / f"{name}.{kind}" for kind in ("snapcoeff", "snapparam"))


def anonymous(potential):
    """The same SNAP of H and He."""
    snap, constants = potential.terms
    species = SYMBOLS[: len(snap.species)]
    constants = IsolatedAtoms(dict(zip(species, constants.values.tolist(), strict=True)))
    return jaxpot.Sum((snap.replace(descriptor=snap.descriptor.replace(species=species)), constants))


@quick_jit
def everything(potential, graph):
    return jaxpot.evaluate(potential, graph), potential.energies(graph)


@needs_data
@pytest.mark.parametrize("kind", quick_and(("linear 8", "quadratic 6", "quadratic 8", "chemical 6"), MODELS))
def test_potentials(kind):
    file = np.load(SHARED / "oracles" / "lammps_snap.npz")
    cases = []
    for model in MODELS[kind]:
        potential = read_snap(*files_of(model))
        names = sorted({key.split("/")[0] for key in file.files if key.startswith(model + ":")})
        for name in names:
            order = [jaxpot.units.ATOMIC_NUMBERS[s] for s in potential.species]
            cases.append((model, name, potential, atoms_of(file, name, order), order))
    graphs = jaxpot.stack([jaxpot.from_atoms(atoms, float(potential.reach)) for _, _, potential, atoms, _ in cases])
    for i, (model, name, potential, atoms, order) in enumerate(cases):
        n = len(atoms)
        properties, energies = everything(anonymous(potential), jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        got = {"energy": properties.energy, "forces": properties.forces[:n], "virial": properties.virial, "local_energies": energies[:n]}
        bare = f"{name}/snap_only_"
        if model in OVERLAYS and f"{bare}energy" not in file.files:
            atoms.numbers = np.array(order)[atoms.numbers - 1]
            zbl = jaxpot.empirical.ZBL(potential.species, inner=4.0, outer=OVERLAYS[model])
            properties, energies = everything(zbl, jaxpot.from_atoms(atoms, float(zbl.reach), max_atoms=8, max_neighbors=64))
            added = {"energy": properties.energy, "forces": properties.forces[:n], "virial": properties.virial, "local_energies": energies[:n]}
            got, bare = {key: got[key] + added[key] for key in got}, f"{name}/"
        elif model not in OVERLAYS:
            bare = f"{name}/"
        for key, tolerance in {"energy": 1e-8, "forces": 1e-8, "virial": 1e-7, "local_energies": 1e-8}.items():
            np.testing.assert_allclose(got[key], file[f"{bare}{key}"], rtol=0, atol=tolerance, err_msg=f"{name} {key}")


@needs_data
@pytest.mark.parametrize("name", ["Si_Zuo_JPCA2020", "Li_Zuo_JPCA2020.quadratic", "InP_JCPA2020"])
def test_written_and_read(name, tmp_path):
    potential = read_snap(*files_of(name))
    write_snap(tmp_path / "a", tmp_path / "b", potential)
    assert read_snap(tmp_path / "a", tmp_path / "b") == potential


@needs_data
def test_legacy_keys():
    """mlearn's files: diagonalstyle, no comments, no newline at the end."""
    for element in ("Li", "Mo", "Si"):
        folder = SHARED / "potentials" / f"mlearn_snap_{element}"
        old = read_snap(folder / "SNAPotential.snapcoeff", folder / "SNAPotential.snapparam")
        new = read_snap(*files_of(f"{element}_Zuo_JPCA2020"))
        assert old.terms[0].descriptor == new.terms[0].descriptor
        np.testing.assert_allclose(old.terms[0].head.coefficients, new.terms[0].head.coefficients, rtol=1e-7, atol=1e-10)


# test-set errors of the published potentials: energies in meV/atom, forces in eV/Å (mean absolute, root mean square)
PUBLISHED = {
    "Li": ((1.03, 0.028, 0.038), (0.73, 0.033, 0.044)),
    "Mo": ((5.48, 0.207, 0.376), (2.77, 0.184, 0.333)),
    "Si": ((6.44, 0.133, 0.205), (3.81, 0.116, 0.177)),
}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("element", PUBLISHED)
@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_published_errors(element, kind):
    potential = read_snap(*files_of(f"{element}_Zuo_JPCA2020" + (".quadratic" if kind == "quadratic" else "")))
    frames = ase.io.read(SHARED / "data" / "mlearn" / f"{element}_test.extxyz", ":")
    data = jaxpot.Dataset.from_atoms(frames, float(potential.reach), sigma=jaxpot.noise_levels(1.0, 1.0))
    predicted = jaxpot.fit.predict(potential, data, progress=False)
    energy = np.mean([abs(p.energy - a.get_potential_energy()) / len(a) for p, a in zip(predicted, frames, strict=True)])
    forces = np.concatenate([(p.forces - a.get_forces()).reshape(-1) for p, a in zip(predicted, frames, strict=True)])
    found = np.array([1e3 * energy, np.mean(np.abs(forces)), np.sqrt(np.mean(forces**2))])
    assert np.all(np.abs(found - PUBLISHED[element][kind == "quadratic"]) < (0.0151, 0.00151, 0.00151)), found
