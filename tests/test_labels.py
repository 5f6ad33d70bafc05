"""Labels: whose they are, where they are, where they contradict each other, and the noise that frames state for themselves."""

import types

import ase.io
import numpy as np
import pytest
from ase import Atom, Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot.io.frames import read_frames
from jaxpot.labels import read_label
from jaxpot.potentials import isolated_energies

ENERGY = jp.Properties(energy=1.0)
COPPER = (0.114266, 0.747869, 2.523286, 2.124643)  # eV; EMT of ASE 3.29


def copper(calculators):
    frames = []
    for seed, calc in enumerate(calculators):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05 * (seed + 1), seed=seed)
        atoms.calc = calc
        atoms.get_potential_energy()
        frames.append(atoms)
    return frames


def energies(frames, **options):
    data = jp.Dataset.from_atoms(frames, 3.0, **({"sigma": ENERGY} | options))
    return [float(structure.targets.energy) for _, structure in sorted(data.structures(), key=lambda pair: pair[0])]


def silicon(**results):
    atoms = bulk("Si")
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def one(atoms, **options):
    """Targets and sigma of a single frame."""
    ((_, structure),) = jp.Dataset.from_atoms([atoms], 3.0, **({"sigma": jp.noise_levels(1.0, 1.0, 1.0)} | options)).structures()
    return structure.targets, structure.sigma


# --- whose they are --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [EMT, lambda: SumCalculator([EMT()])], ids=["EMT", "Sum"])
def test_a_calculator_for_each_frame(make):
    np.testing.assert_allclose(energies(copper([make() for _ in range(4)])), COPPER, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        EMT,
        lambda: SumCalculator([EMT(), EMT()]),
        lambda: jp.Calculator(jp.empirical.LennardJones(("Cu",), epsilon=0.4, sigma=2.3, cutoff=jp.cutoffs.PolynomialCutoff(3.0, width=1.0))),
    ],
    ids=["EMT", "Sum", "ours"],
)
@pytest.mark.parametrize("keys", [None, {"energy": "energy"}, {"energy": "free_energy"}], ids=str)
def test_a_shared_calculator_holds_labels_of_its_last_frame_only(make, keys):
    if keys == {"energy": "free_energy"} and make is not EMT:
        return
    frames = copper([make()] * 4)
    with pytest.raises(ValueError, match=r"frame 0: .*energy' in atoms.calc .* positions \(by up to 0\.\d+ Å\) differ.*write atoms.calc = SinglePoint"):
        energies(frames, keys=keys)
    assert energies(frames[3:]) == [frames[3].get_potential_energy()]
    with pytest.raises(ValueError, match="frame 0: 'energy' in atoms.calc"):
        isolated_energies(frames, "mean")


CHANGES = {
    "positions": lambda a: a.rattle(0.1),
    "cell": lambda a: a.set_cell(a.cell * 1.01),
    "cell and positions": lambda a: a.set_cell(a.cell * 1.01, scale_atoms=True),
    "rotation": lambda a: a.rotate(30, "z", rotate_cell=True),
    "numbers": lambda a: a.set_chemical_symbols(["Ge", "Si"]),
    "pbc": lambda a: a.set_pbc(False),
    "initial_charges": lambda a: a.set_initial_charges([0.5, -0.5]),
    "initial_magmoms": lambda a: a.set_initial_magnetic_moments([1.0, 1.0]),
    "numbers (2 there, 3 here)": lambda a: a.append(Atom("Si", (2.7, 2.7, 2.7))),
    "numbers (2 there, 4 here)": lambda a: a.__imul__((2, 1, 1)),
}
CHANGED = {"cell and positions": "positions .* cell", "rotation": "positions .* cell"}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("levels", [ENERGY, jp.Properties(virial=1.0), jp.Properties(dipole=1.0)], ids=["energy", "virial", "dipole"])
def test_frames_that_were_changed_have_lost_their_labels(what, levels):
    atoms = silicon(energy=-1.0, stress=np.ones(6), dipole=np.ones(3))
    CHANGES[what](atoms)
    words = CHANGED.get(what, what.replace("(", r"\(").replace(")", r"\)"))
    with pytest.raises(ValueError, match=f"frame 1: .* is of other atoms: .*{words}.* differ"):
        jp.Dataset.from_atoms([silicon(energy=-1.0, stress=np.ones(6), dipole=np.ones(3)), atoms], 3.0, sigma=levels)
    atoms.calc = None
    atoms.info["energy"] = -2.0
    if "here" not in what:
        assert energies([atoms]) == [-2.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.positions.__iadd__(1e-14),
        lambda a: a.set_scaled_positions(a.get_scaled_positions()),
        lambda a: a.set_initial_charges([0.0, 0.0]),
        lambda a: a.set_initial_magnetic_moments([0.0, 0.0]),
        lambda a: a.set_momenta(np.ones((2, 3))),
        lambda a: a.set_tags([1, 2]),
        lambda a: a.info.update(step=3),
        lambda a: a.set_array("weights", np.ones(2)),
        lambda a: setattr(a.calc, "use_cache", False),
    ],
)
def test_changes_that_do_not_matter(change):
    atoms = silicon(energy=-1.0)
    change(atoms)
    assert energies([atoms]) == [-1.0]


def test_calculators_that_keep_no_atoms():
    atoms = bulk("Si")
    atoms.calc = Calculator()
    with pytest.raises(ValueError, match="no frame has energy in their calculators"):
        energies([atoms])
    atoms.calc.results = {"energy": -1.0}
    with pytest.raises(ValueError, match="frame 0: 'energy' in atoms.calc .*does not keep"):
        energies([atoms])
    atoms.calc = types.SimpleNamespace(results={"energy": -1.0})
    with pytest.raises(ValueError, match="frame 0: 'energy' in atoms.calc .*does not keep"):
        energies([atoms])
    atoms.calc = types.SimpleNamespace(results={"energy": -1.0}, atoms=atoms.copy())
    assert energies([atoms]) == [-1.0]
    atoms.calc = types.SimpleNamespace()
    atoms.info["energy"] = -2.0
    assert energies([atoms]) == [-2.0]


def test_nothing_is_computed_and_other_results_do_not_matter():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.info["dft_energy"] = -3.0
    assert energies([atoms], keys={"energy": "dft_energy"}) == [-3.0] and not atoms.calc.results
    atoms.get_potential_energy()
    atoms.rattle(0.1)
    assert energies([atoms], keys={"energy": "dft_energy"}) == [-3.0]


# --- where they are --------------------------------------------------------------------------------------------------------

XYZ = """2
Lattice="0 2.7 2.7 2.7 0 2.7 2.7 2.7 0" Properties=species:S:1:pos:R:3:forces:R:3:magmoms:R:3:born_effective_charges:R:9 pbc="T T T" {}
Si 0 0 0 1 0 0 0 0 1 1 2 3 4 5 6 7 8 9
Si 1.35 1.35 1.35 -1 0 0 0 0 2 9 8 7 6 5 4 3 2 1
"""
INFO = 'energy=-1.5 free_energy=-1.6 stress="1 0 0 0 2 0 0 0 3" dipole="1 2 3" polarization="4 5 6" dielectric_tensor="1 0 0 0 1 0 0 0 2" magmom=0.25 alpha="1 2 3 4 5 6 7 8 9"'


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A frame whose labels ASE's reader has moved into a calculator."""
    path = tmp_path_factory.mktemp("labels") / "si.xyz"
    path.write_text(XYZ.format(INFO))
    return ase.io.read(path)


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("energy", "energy", -1.5),
        ("energy", "free_energy", -1.6),
        ("energy", "magmom", 0.25),
        ("forces", "magmoms", [[0, 0, 1], [0, 0, 2]]),
        ("virial", "stress", np.diag([1.0, 2, 3])),  # taken as it stands
        ("stress", "stress", -39.366 * np.diag([1.0, 2, 3])),
        ("dipole", "dipole", [1, 2, 3]),
        ("dipole", "polarization", [4, 5, 6]),
        ("polarizability", "dielectric_tensor", np.diag([1.0, 1, 2])),
        ("polarizability", "alpha", np.arange(1.0, 10).reshape(3, 3)),
        ("tensor", "dielectric_tensor", np.diag([1.0, 1, 2])),
        ("tensor", "magmoms", [[0, 0, 1], [0, 0, 2]]),
        ("tensor", "born_effective_charges", [np.arange(1.0, 10).reshape(3, 3), np.arange(9.0, 0, -1).reshape(3, 3)]),
    ],
)
def test_keys_find_what_is_in_the_calculator(extended, name, key, expected):
    field = "virial" if name == "stress" else name
    targets, _ = one(extended, sigma=jp.Properties(**{field: 1.0}), keys={name: key})
    np.testing.assert_allclose(getattr(targets, field), expected, rtol=1e-12, atol=1e-12)


def test_the_energy_is_not_the_free_energy(extended):
    assert float(one(extended, sigma=ENERGY)[0].energy) == -1.5
    atoms = silicon(free_energy=-1.0)
    with pytest.raises(ValueError, match=r"no frame has energy in .*keys={'energy': 'free_energy'}.*; could be meant: 'free_energy'"):
        energies([atoms])


@pytest.mark.parametrize(
    ("name", "info", "arrays", "results", "keys", "message"),
    [
        ("forces", {}, {"force": np.ones((2, 3))}, {}, None, r"keys={'forces': 'force'}.*arrays \['force'\]"),
        ("energy", {"dft_energy": 1.0, "REF_energy": 1.0}, {}, {}, None, "could be meant: 'dft_energy', 'REF_energy'"),
        ("energy", {}, {"energy": np.ones(2)}, {}, None, r"arrays \['energy'\]"),
        ("energy", {"energy": 1.0}, {}, {}, {"energy": "e"}, "under the key 'e'; name them with keys={'energy': 'energy'}"),
        ("virial", {"dft_stress": np.ones(6)}, {}, {}, None, "keys={'stress': 'dft_stress'}"),
        ("virial", {"virials": np.eye(3)}, {}, {"energy": 1.0}, {"stress": "stress"}, "under the key 'stress'; name them with keys={'virial': 'virials'}"),
        ("forces", {}, {}, {"energy": 1.0}, {"energy": "energy"}, "under any key, because keys has no forces"),
        ("dipole", {"mu": np.ones(3)}, {}, {}, None, "keys={'dipole': 'mu'}"),
        ("polarizability", {}, {}, {"dielectric_tensor": np.eye(3)}, None, r"results of calculators \['dielectric_tensor'\]"),
        ("tensor", {}, {}, {"born_effective_charges": np.ones((2, 3, 3))}, None, "keys={'tensor': 'born_effective_charges'}"),
    ],
)
def test_messages_say_what_is_there(name, info, arrays, results, keys, message):
    atoms = silicon(**results)
    atoms.info.update(info)
    atoms.arrays.update(arrays)
    with pytest.raises(ValueError, match=f"no frame has {name} .*{message}"):
        jp.Dataset.from_atoms([bulk("Si"), atoms], 3.0, sigma=jp.Properties(**{name: 1.0}), keys=keys)


def test_tensors_of_other_calculators():
    """Three atoms: nine numbers are a tensor, or a vector per atom."""
    water = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]])
    water.calc = types.SimpleNamespace(results={"alpha": np.eye(3), "shielding": np.ones((3, 9))}, atoms=water.copy())
    assert read_label(water, "polarizability", {"polarizability": "alpha"}).value.shape == (3, 3)
    assert read_label(water, "tensor", {"tensor": "shielding"}).per_atom
    with pytest.raises(ValueError, match=r"\['alpha'\]; put it into atoms.arrays"):
        read_label(water, "tensor", {"tensor": "alpha"})
    water.info["shielding"] = np.eye(3)
    with pytest.raises(ValueError, match=r"tensor is stated twice, with shapes \[3, 3, 3\] per atom in atoms.calc.* and \[3, 3\] in atoms.info"):
        read_label(water, "tensor", {"tensor": "shielding"})


@pytest.mark.parametrize("name", ["frames.traj", "frames.json", "frames.db", "frames.xyz"])
def test_files_of_ase(tmp_path, name):
    frames = copper([EMT() for _ in range(2)])
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    ase.io.write(tmp_path / name, frames)
    np.testing.assert_allclose(energies(read_frames([str(tmp_path / name)])[0]), COPPER[:2], atol=1e-6)


# --- what nobody asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"stress": np.full(6, np.nan)},
        {"stress": np.ones(6)},
        {"stress": np.ones(5)},
        {"forces": np.ones((3, 3))},
        {"forces": np.full((2, 3), np.nan)},
        {"dipole": np.ones(2)},
    ],
    ids=str,
)
def test_labels_that_nobody_asked_for_are_not_judged(bad):
    molecule = Atoms("Si2", [[0, 0, 0], [2.3, 0, 0]])
    molecule.calc = SinglePointCalculator(molecule, energy=-1.0, **bad)
    assert energies([molecule]) == energies([molecule], sigma=jp.noise_levels(0.1)) == [-1.0]
    (name,) = bad
    name = "virial" if name == "stress" else name
    with pytest.raises(ValueError, match="frame 0: "):
        jp.Dataset.from_atoms([molecule], 3.0, sigma=jp.Properties(energy=1.0, **{name: 1.0}))
    molecule.info["config_type"] = "molecule"
    if name != "dipole":
        sigma = jp.noise_levels(None, 1.0, 1.0, config_types={"molecule": (0.1, None, None)})
        jp.Dataset.from_atoms([molecule, silicon(forces=np.ones((2, 3)), stress=np.ones(6))], 3.0, sigma=sigma)


def test_unsymmetric_virial_that_nobody_asked_for():
    atoms = silicon(energy=-1.0)
    atoms.info["virial"] = np.arange(9.0)
    assert energies([atoms]) == [-1.0]
    with pytest.raises(ValueError, match="not symmetric"):
        one(atoms)


@pytest.mark.parametrize("value", ["-3.0 eV", True, [1.0, [2.0]], 1 + 2j, types.SimpleNamespace(unit="eV"), np.nan, np.inf, [1.0, 2.0]], ids=str)
def test_what_is_no_energy(value):
    atoms = bulk("Si")
    atoms.info["energy"] = value
    with pytest.raises(ValueError, match=r"frame 0: energy.*(in eV|not finite|one number)"):
        energies([atoms])


# --- stated twice ----------------------------------------------------------------------------------------------------------


def test_the_same_stated_twice():
    atoms = silicon(energy=-1.0, forces=np.ones((2, 3)), stress=[0.01, 0.02, 0.03, 0.0, 0.004, 0.0], dipole=np.ones(3))
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    atoms.info |= {"energy": np.float32(-1.0), "virial": np.round(virial, 5), "stress": np.round(atoms.get_stress(), 6), "dipole": [1.0, 1.0, 1.0]}
    atoms.arrays["forces"] = np.ones((2, 3)) + 1e-6
    targets, _ = one(atoms, sigma=jp.Properties(energy=1.0, forces=1.0, virial=1.0, dipole=1.0))
    assert float(targets.energy) == -1.0
    np.testing.assert_array_equal(targets.virial, np.round(virial, 5))
    assert energies([silicon(energy=-1.0), silicon(energy=-1.0)]) == [-1.0, -1.0]  # equal by accident


STRESS = np.array([0.01, 0.02, 0.03, 0.001, 0.004, 0.002])


@pytest.mark.parametrize(
    ("name", "info", "keys", "message"),
    [
        ("energy", {"energy": -1.1}, None, r"energy is -1 by atoms.calc.results\['energy'\], but -1.1 by atoms.info\['energy'\]"),
        ("energy", {"energy": -1.1}, {"energy": "energy"}, "energy is -1 by .*, but -1.1 by"),
        ("energy", {"energy": -1.0001}, None, "but -1.0001 by"),
        ("virial", {"virial": np.eye(3)}, None, r"1 by atoms.info\['virial'\], but -1.2007\d+ by atoms.calc.results\['stress'\] \(virial = −vol"),
        ("virial", {"virial": STRESS * 40.03}, None, "virial.* more than round-off"),  # the other sign
        ("virial", {"virial": -STRESS[[0, 1, 2, 5, 3, 4]] * 40.02575}, None, "virial.*delete the wrong one"),  # another order
        ("virial", {"stress": STRESS * 160.2}, None, "stress"),  # GPa
        ("virial", {"v": np.eye(3)}, {"virial": "v", "stress": "stress"}, "virial.* more than round-off"),
        ("dipole", {"dipole": [0, 0, 1.0]}, None, r"dipole\[0\] is 1 by"),
        ("forces", {}, None, r"forces\[1, 2\] is 1 by .*but 0.5 by atoms.arrays\['forces'\]"),
    ],
)
def test_contradictions(name, info, keys, message):
    atoms = silicon(energy=-1.0, forces=np.ones((2, 3)), stress=STRESS, dipole=np.ones(3))
    assert atoms.get_volume() == pytest.approx(40.02575)
    atoms.info |= info
    atoms.arrays["forces"] = np.array([[1, 1, 1], [1, 1, 0.5]])
    with pytest.raises(ValueError, match=f"frame 0: .*{message}"):
        one(atoms, sigma=jp.Properties(**{name: 1.0}), keys=keys)


def test_one_of_virial_and_stress_can_be_named():
    atoms = silicon(stress=STRESS)
    atoms.info["virial"] = np.eye(3)
    assert float(read_label(atoms, "virial", {"virial": "virial"}).value[0, 0]) == 1.0
    assert float(read_label(atoms, "virial", {"stress": "stress"}).value[0, 0]) == pytest.approx(-0.4002575)


# --- noise -----------------------------------------------------------------------------------------------------------------

LEVELS = jp.noise_levels(0.001, 0.1, 0.05, config_types={"liquid": (0.003, 0.2, None)})


def stated(info=(), arrays=()):
    atoms = silicon(energy=-1.0, forces=np.ones((2, 3)), stress=STRESS)
    atoms.info |= dict(info)
    atoms.arrays |= {name: np.array(x) for name, x in dict(arrays).items()}
    return atoms


@pytest.mark.parametrize(
    ("info", "arrays", "name", "expected"),
    [
        ({"energy_sigma": 0.05}, {}, "energy", 0.05),  # of the total energy: no √N
        ({"energy_sigma": 0.05, "config_type": "liquid"}, {}, "energy", 0.05),
        ({}, {}, "energy", 0.001 * np.sqrt(2)),
        ({"force_sigma": 0.3}, {}, "forces", np.full((2, 3), 0.3)),
        ({"force_sigma": 0.3}, {"force_atom_sigma": [0.1, 0.2]}, "forces", [[0.1] * 3, [0.2] * 3]),
        ({}, {"force_atom_sigma": [0.1, 0.2], "force_component_sigma": [[1, 2, 3], [4, 5, 6]]}, "forces", [[1, 2, 3], [4, 5, 6]]),
        ({"force_sigma": 0.3}, {"force_mask": [True, False]}, "forces", [[np.inf] * 3, [0.3] * 3]),
        ({}, {"force_mask": [0, 1]}, "forces", [[0.1] * 3, [np.inf] * 3]),
        ({"virial_sigma": 0.7}, {}, "virial", np.full((3, 3), 0.7)),
        ({"virial_sigma": 0.7, "virial_component_sigma": [1, 2, 3, 2, 4, 5, 3, 5, 6.0]}, {}, "virial", [[1, 2, 3], [2, 4, 5], [3, 5, 6]]),
        ({"virial_sigma": 0.7, "config_type": "liquid"}, {}, "virial", None),  # left out stays out
    ],
)
def test_noise_that_a_frame_states(info, arrays, name, expected):
    targets, sigma = one(stated(info, arrays), sigma=LEVELS)
    if expected is None:
        assert getattr(sigma, name) is None and getattr(targets, name) is None
        return
    np.testing.assert_allclose(getattr(sigma, name), expected, rtol=1e-12)
    assert np.array_equal(np.isfinite(getattr(targets, name)), np.isfinite(expected))


@pytest.mark.slow
def test_stated_noise_decides_the_fit():
    """Two energies of one structure: the weighted mean, by hand."""
    frames = [silicon(energy=2.0), silicon(energy=4.0)]
    frames[0].info["energy_sigma"], frames[1].info["energy_sigma"] = 0.1, 0.2
    model = jp.AtomicPotential(jp.descriptors.Constant(("Si",)), jp.Linear(scale=1e6))
    fitted = jp.fit.linear(model, jp.Dataset.from_atoms(frames, 3.0, sigma=jp.noise_levels(0.001)), progress=False)
    assert float(jp.evaluate(fitted, jp.from_atoms(frames[0], 3.0)).energy) == pytest.approx((4 * 2.0 + 4.0) / 5, abs=1e-6)


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"energy_sigma": 0.0}, {}, r"atoms.info\['energy_sigma'\] is 0.0; expected a positive finite number, or no 'energy_sigma' at all"),
        ({"energy_sigma": -0.1}, {}, "is -0.1"),
        ({"energy_sigma": np.nan}, {}, "is nan"),
        ({"virial_sigma": np.inf}, {}, "is inf"),
        ({"force_sigma": "0.1 eV"}, {}, "is 0.1 eV"),
        ({"force_sigma": True}, {}, "is True"),
        ({"force_sigma": [0.1, 0.1, 0.1]}, {}, r"is \[0.1, 0.1, 0.1\]"),
        ({}, {"force_sigma": [0.1, 0.1]}, r"atoms.info\['force_sigma'\] is not there"),
        ({"force_atom_sigma": [0.1, 0.1]}, {}, r"atoms.arrays\['force_atom_sigma'\] is not there; expected .* of shape \[2\]"),
        ({}, {"force_atom_sigma": [0.1, 0.0]}, "positive finite numbers"),
        ({}, {"force_component_sigma": [0.1, 0.1]}, r"of shape \[2, 3\]"),
        ({}, {"force_mask": [0.5, 1.0]}, r"true \(left out\) or false"),
        ({"virial_component_sigma": [0.1] * 6}, {}, r"of shape \[3, 3\]"),
        ({"hessian_sigma": 0.1}, {}, r"write del atoms.info\['hessian_sigma'\]"),
        ({"local_property_sigma": 0.1}, {}, r"write del atoms.info\['local_property_sigma'\]"),
    ],
)
def test_bad_noise_of_a_frame(info, arrays, message):
    with pytest.raises(ValueError, match=f"frame 0: .*{message}"):
        one(stated(info, arrays), sigma=LEVELS)


@pytest.mark.parametrize("sigma", [jp.Properties(energy=0.1, forces=0.1), lambda _: jp.Properties(energy=0.1, forces=0.1)], ids=["same", "function"])
def test_given_noise_must_agree_with_what_the_frame_states(sigma):
    one(stated({"energy_sigma": 0.1, "virial_sigma": 0.3}, {"force_component_sigma": np.full((2, 3), 0.1)}), sigma=sigma)
    with pytest.raises(ValueError, match=r"frame 0: .* own noise \(energy_sigma: 0.2\), but sigma.energy is 0.1; write sigma=noise_levels"):
        one(stated({"energy_sigma": 0.2}), sigma=sigma)
    with pytest.raises(ValueError, match=r"force_mask: inf\), but sigma.forces is 0.1"):
        one(stated({}, {"force_mask": [True, False]}), sigma=sigma)
    one(stated({"energy_sigma": 0.2}), sigma=lambda atoms: jp.Properties(energy=atoms.info["energy_sigma"]))


def test_noise_of_the_default_type():
    levels = jp.noise_levels(0.1, config_types={"default": (0.2, None, None)})
    assert [levels(Atoms("H", info=info)).energy for info in ({}, {"config_type": "x"}, {"config_type": "default"})] == [0.2] * 3
    for bad in (np.inf, np.nan, 0.0):
        with pytest.raises(ValueError, match="positive"):
            jp.noise_levels(bad)


# --- isolated atoms --------------------------------------------------------------------------------------------------------


def atom(energy, *, box=12.0, pbc=True, symbols="Si", **info):
    atoms = Atoms(symbols, positions=np.arange(3.0 * len(Atoms(symbols))).reshape(-1, 3), cell=[box] * 3, pbc=pbc)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info |= info
    return atoms


@pytest.mark.parametrize(
    "mark",
    [{"config_type": m} for m in ("IsolatedAtom", "isolated_atom", "isolatedatom", "ISOLATED_ATOM", "Isolated Atom", "isolated-atom")]
    + [{"config_type": "Default", "head": "IsolatedAtom"}, {"pbc": False}, {"pbc": False, "config_type": "dft"}],
    ids=str,
)
def test_marks_of_isolated_atoms(mark):
    assert isolated_energies([atom(-3.0, **mark), silicon(energy=-9.0)], "isolated").values == {"Si": -3.0}


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([atom(-3.0)], "no frame holds an isolated atom of Si .*marked config_type=isolated_atom"),
        ([atom(-3.0, box=2.5, config_type="IsolatedAtom")], "frame 0: .* periodic images are 2.5 Å away"),
        ([silicon(energy=-9.0), atom(-3.0, symbols="Si2", config_type="isolated_atom")], "frame 1: .* holds 2 atoms"),
        ([atom(-3.0, pbc=False), atom(-3.5, config_type="IsolatedAtom")], "two isolated atoms of Si have the energies -3.0 and -3.5"),
        ([atom(np.nan, pbc=False)], "frame 0: energy"),
    ],
)
def test_what_is_no_isolated_atom(frames, message):
    with pytest.raises(ValueError, match=message):
        isolated_energies(frames, "isolated")
