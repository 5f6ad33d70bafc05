"""The experiments of long range, on a few small frames."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot import longrange

HERE = Path(__file__).resolve().parents[2] / "experiments" / "longrange"


def load(name, monkeypatch):
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_charges_of_an_ion_gas(monkeypatch):
    """They are found from energies and forces alone, and with them the forces."""
    gas = load("ion_gas", monkeypatch)
    small = {"ions": 16, "length": 9.0, "n_train": 12, "n_test": 2, "n_evidence": 3, "cutoff": 4.4, "n_radial": 5, "degrees": (5,)}
    results = gas.run(gas.SETTINGS | small)
    assert abs(results["charge, e"] - 1) < 0.05
    assert results["rung 3"]["forces mae"] < 0.5 * results["rung 1"]["forces mae"]


def labelled(n_frames: int) -> list[Atoms]:
    """Trimers of both charges, whose charges and energies are those of a charge equilibration."""
    qeq = longrange.QEq(("Ag", "Na"), jp.IsolatedAtoms({"Ag": 4.0, "Na": 3.0}), hardness=[6.0, 5.0], sigma=[1.4, 1.6], sum=longrange.Direct())
    potential, evaluate, rng, frames = longrange.ChargeEquilibration(qeq), jax.jit(jp.evaluate), np.random.default_rng(0), []
    for k in range(n_frames):
        atoms = Atoms("Ag2Na", positions=[[0, 0, 0], [2.7, 0, 0], [0, 2.9, 0]] + 0.2 * rng.normal(size=(3, 3)))
        atoms.info |= {"total_charge": 2 * (k % 2) - 1, "system": "+-"[k % 2], "trajectory": 6 if k % 5 == 4 else 0}
        found = evaluate(potential, jp.from_atoms(atoms, 6.0, charge=atoms.info["total_charge"]))
        atoms.arrays["mulliken_charge"] = np.asarray(found.charges)
        atoms.calc = SinglePointCalculator(atoms, energy=float(found.energy), forces=np.asarray(found.forces))
        frames.append(atoms)
    return frames


LADDER = {
    "stride": 1, "hardness": {"Ag": 6.0, "Na": 5.0}, "sigma": {"Ag": 1.4, "Na": 1.6}, "nearest": 2.7, "cutoff": 6.0, "n_radial": 4, "degrees": [4], "l_max": 1,
    "factors": [1.0, 1.6], "powers": 2, "charged": [], "neighbors": [4], "sigma_charges": 1e-4, "sigma_energy": 1e-3, "sigma_forces": 0.01, "scale_charges": 3.0, "scale_energy": 3.0,
    "sharing": [], "sharing_steps": 10, "soap": {"n_max": 3, "l_max": 2, "sigma": 0.5}, "gap": {"points": 20, "zeta": 2},
    "network": {"hidden": [8], "rate": 0.01, "steps": 300, "batch": 10, "clip": 10.0},
    "near_cutoff": 3.5, "far": {"n_max": 2, "sigma": 0.5, "radius": 2.0, "smearing": 1.5, "scales": [1.0, 10.0]},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("form, near", [("ace", 1.0)])
def test_ladder(form, near, monkeypatch):
    """What is left out chooses hardness and widths; equilibrated charges are near those of the labels, and energies with them better than without."""
    ladder = load("charge_transfer", monkeypatch)
    frames = labelled(24)
    results = ladder.run(frames[:20], frames[20:], LADDER, form, rungs=(1, 3, 4, 5))
    if form != "network":  # which trains them
        assert min(results["tried"], key=results["tried"].get) == "hardness × 1.0, widths × 1.0"
    assert results["equilibrated charges"]["all"]["charges"] < near
    assert results["rung 4"]["all"]["forces"] < 0.5 * results["rung 1"]["all"]["forces"]
    assert results["rung 5"]["all"]["forces"] < (0.5 if form == "ace" else 1.0) * results["rung 1"]["all"]["forces"]
    assert set(results["rung 3"]) >= {"all", "+", "-", "coefficients"}


def test_products_of_the_ladder(monkeypatch):
    """They see the field of a pair of ions beyond the cutoff."""
    ladder, rng = load("charge_transfer", monkeypatch), np.random.default_rng(0)
    pair, charges, frames, far = np.array([0, 0, 1, 1]), np.array([1.0, -1.0, 1.0, -1.0]), [], []
    for k in range(24):
        atoms = Atoms("AgNaAgNa", positions=[[0, 0, 0], [2.7, 0, 0], [0, 9, 0], [1.9, 9, 1.9]] + 0.3 * rng.normal(size=(4, 3)))
        atoms.info |= {"total_charge": 0, "system": "pairs", "trajectory": 6 if k % 5 == 4 else 0}
        atoms.arrays["mulliken_charge"] = charges
        arms, distances = atoms.get_all_distances(vector=True), atoms.get_all_distances() + np.diag([np.inf] * 4)
        energies = jp.units.COULOMB * charges[:, None] * charges / distances
        pulls = -(energies / distances**2)[:, :, None] * arms
        atoms.calc = SinglePointCalculator(atoms, energy=0.5 * np.sum(energies), forces=np.sum(pulls, axis=1))
        far.append(np.sum(pulls * (pair[:, None] != pair)[:, :, None], axis=1))
        frames.append(atoms)
    results = ladder.run(frames[:20], frames[20:], LADDER | {"sigma_forces": 1e-3}, rungs=(6,))
    assert set(results["tried products"]) == {1.0, 10.0}
    assert results["rung 6"]["all"]["forces"] < 0.5 * np.sqrt(np.mean(np.square(far)))


@pytest.mark.parametrize("charged, seen", [([], ("own", "own", "neighbors")), ([2], ("own", "none", "own", "neighbors"))])
def test_charges_that_energies_see(charged, seen, monkeypatch):
    """Which charges the terms of rung 4 follow: the atom's own, or those of its neighbours."""
    ladder, rng = load("charge_transfer", monkeypatch), np.random.default_rng(0)
    atoms = Atoms("Ag2Na", positions=[[0, 0, 0], [2.7, 0, 0], [0, 2.9, 0]], info={"total_charge": 1})
    atoms.arrays["mulliken_charge"] = charges = rng.normal(size=3)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    terms = ladder.Ladder([atoms], LADDER | {"charged": charged}).form.terms(1.0, longrange.FixedCharges(("Ag", "Na"), values=[0.5, 0.0]))
    graph = jp.from_atoms(atoms, 6.0)
    followed = {"own": np.eye(3) == 1, "none": np.zeros((3, 3), bool), "neighbors": np.eye(3) == 0}
    for term, which in zip(terms, seen, strict=True):
        carried = longrange.Carried(term.with_coefficients(rng.normal(size=term.n_coefficients)))
        slopes = np.asarray(jax.jacfwd(lambda q, carried=carried: carried.energies(graph, q[:, None])[:3])(charges))
        assert np.all((slopes != 0) == followed[which])


def test_slope_of_sharing(monkeypatch):
    """That of differences."""
    ladder, rng = load("charge_transfer", monkeypatch), np.random.default_rng(0)
    sharing = object.__new__(ladder.Sharing)
    sharing.x, sharing.y, sharing.labels = ([rng.normal(size=(5, n)) for _ in range(4)] for n in (4, 3, 1))
    sharing.labels, sharing.totals, sharing.sigma = [label[:, 0] for label in sharing.labels], [1.0, -1.0, 0.0, 2.0], [0.1] * 4
    point, step = 0.3 * rng.normal(size=(2, 7))
    ahead, behind = (sharing._normal(range(4), point + h * step, 2.0)[0] for h in (1e-4, -1e-4))
    np.testing.assert_allclose(sharing._normal(range(4), point, 2.0)[2] @ step, (ahead - behind) / 4e-4, rtol=1e-6)


def test_sharing_at_two_totals(monkeypatch):
    """Both charges of an atom at one geometry are held exactly, whatever they are, as long as all follow the total."""
    ladder, rng = load("charge_transfer", monkeypatch), np.random.default_rng(0)
    share, middle = rng.dirichlet(np.ones(3)), rng.normal(size=3)
    middle -= np.mean(middle)
    sharing = object.__new__(ladder.Sharing)
    sharing.x = sharing.y = [np.eye(3)] * 2
    sharing.totals, sharing.sigma = [-1.0, 1.0], [0.1] * 2
    sharing.labels = [(middle + total * share) / 0.1 for total in sharing.totals]
    point = np.concatenate([middle, np.log(share)])
    np.testing.assert_allclose(sharing._normal(range(2), point, 1.0)[0], point @ point, rtol=1e-12)


@pytest.mark.slow
def test_shared_charges(monkeypatch):
    """Charges whose excess sits where surroundings say are found again; with equal shares they are not."""
    ladder, rng = load("charge_transfer", monkeypatch), np.random.default_rng(1)
    frames = labelled(24)
    models = ladder.Ladder(frames, LADDER)
    local, logarithm = models.local(), sum(models.form.terms(1.0)[1:], start=models.form.terms(1.0)[0])
    shares = longrange.Weighted(logarithm.with_coefficients(0.5 * rng.normal(size=logarithm.n_coefficients)))
    true = local.with_coefficients(0.05 * rng.normal(size=local.n_coefficients)).replace(correction=shares)
    charges = jax.jit(true.charges)
    for atoms in frames:
        atoms.arrays["mulliken_charge"] = np.asarray(charges(jp.from_atoms(atoms, 6.0, charge=atoms.info["total_charge"])))
    data = ladder.dataset(frames, LADDER, "charges")
    found = ladder.Sharing(local, logarithm, data)(np.arange(20), 3.0, 20)
    assert ladder.errors(found, frames[20:], LADDER)["all"]["charges"] < 5
    assert ladder.errors(models.form.fit(local, data), frames[20:], LADDER)["all"]["charges"] > 20


def test_settings_of_the_ladder(monkeypatch):
    """Every set has all of them."""
    ladder = load("charge_transfer", monkeypatch)
    for name in ("ag3", "nacl", "carbon_chains", "au2_mgo"):
        assert set(ladder.settings_of(name)) == set(LADDER)


def test_electrostatics_of_pairs(monkeypatch):
    """Energies of charges of surroundings are found again; molecules keep their charge, and slopes are those of differences."""
    sapt, rng, frames = load("sapt", monkeypatch), np.random.default_rng(0), []
    charges = {"OHH": [-0.8, 0.4, 0.4], "NHHH": [-0.9, 0.3, 0.3, 0.3], "NHHHH": [-0.2, 0.3, 0.3, 0.3, 0.3]}
    places = {name: molecule(own).positions for name, own in (("OHH", "H2O"), ("NHHH", "NH3"))}
    places["NHHHH"] = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * [[0.6]]
    for k in range(40):
        one, other = (list(charges)[i] for i in rng.integers(3, size=2))
        turned = [places[name] @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for name in (one, other)]
        direction = rng.normal(size=3)
        atoms = Atoms(one + other, positions=np.concatenate([turned[0], turned[1] + (4 + 3 * rng.random()) * direction / np.linalg.norm(direction)]))
        q = [np.array(charges[name]) for name in (one, other)]
        kernel = jp.units.COULOMB / atoms.get_all_distances()[: len(q[0]), len(q[0]) :]
        atoms.info |= {"n_a": len(q[0]), "charge_a": round(q[0].sum()), "charge_b": round(q[1].sum()), "elst": q[0] @ kernel @ q[1], "dataset": "Wat-Wat", "name": k}
        frames.append(atoms)
    settings = sapt.SETTINGS | {"charge_degrees": (3,), "degrees": (3,), "n_radial": 3, "l_max": 1, "scales": (1.0,), "charge_scales": (1.0,), "sigma": 1e-3, "batch": 16}
    results = sapt.run(frames, settings)
    assert results["charges"]["all"] < 0.05 * results["labels"]["all"][1] < results["short range"]["all"]
    found, point = sapt.Charges(frames, settings), rng.normal(size=len(sapt.Charges(frames[:1], settings).deviations))
    assert all(abs(q.sum() - round(q.sum())) < 1e-12 for q in found.of(point))
    step = rng.normal(size=len(point))
    ahead, behind = (found(point + h * step)[0] for h in (1e-4, -1e-4))
    np.testing.assert_allclose(found(point)[1] @ step, (ahead - behind) / 2e-4, rtol=1e-6, atol=1e-6)


DIMER = {
    "sigma_energy": 1e-3, "sigma_forces": 1e-2, "cutoff": 3.0, "n_radial": 2, "degrees": (2,), "l_max": 1, "scales": (1.0,), "references": (0.0, 1.0), "charge_cutoff": 1.5,
    "charge_degrees": (2,), "charge_scales": (0.3,), "accuracy": 1e-3, "steps": 20, "near_cutoff": 2.0, "smearing": 2.0, "waves": 1e-2, "far_scales": (1.0,),
}  # fmt: skip


def charged_pair(dimers, n_frames: int):
    """OH− and NH4+ without labels, in a box."""
    cation = [[0, 0, 0], [0.6, 0.6, 0.6], [-0.6, -0.6, 0.6], [0.6, -0.6, -0.6], [-0.6, 0.6, -0.6]]
    anion = np.array([[0, 0, 0], [0.3, 0.9, 0]])
    frames = []
    for k in range(n_frames):
        distance = 3.5 + 0.5 * k
        atoms = Atoms("OHNH4", positions=np.concatenate([anion + np.array([distance, 0.3, 0.1]), cation]), cell=[14] * 3, pbc=True)
        atoms.info |= {"distance": distance, "chargeA": -1, "chargeB": 1, "interaction_energy": 0.0}
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((7, 3)))
        frames.append(atoms)
    return dimers.pair_of(frames)


def test_charges_of_dimers(monkeypatch):
    """Energies, forces and torques are those of the potential, and slopes those of differences."""
    dimers = load("dimers", monkeypatch)
    pair = charged_pair(dimers, 1)
    assert pair.groups == ((5, 1), (2, -1))
    charges = dimers.Charges([pair], DIMER)
    rng = np.random.default_rng(0)
    coefficients, direction = 0.1 * charges.scales * rng.normal(size=(2, len(charges.scales)))
    values, slopes = charges(coefficients)
    potential, atoms = charges.potential(pair, coefficients), pair.frames[0]
    found = jax.jit(jp.evaluate)(potential, jp.from_atoms(atoms, charges.reach))
    np.testing.assert_allclose(values[1:], np.einsum("tnx,nx->t", dimers.motions(pair, atoms), found.forces), atol=1e-10)
    np.testing.assert_allclose(np.sum(found.charges[:5]), 1, atol=1e-12)
    ahead, behind = (charges(coefficients + step * direction)[0] for step in (1e-4, -1e-4))
    np.testing.assert_allclose(slopes @ direction, (ahead - behind) / 2e-4, atol=1e-8)


@pytest.mark.slow
def test_rungs_of_dimers(monkeypatch):
    """Labels of charges are found again beyond the distances of training, by charges and not by a short range."""
    dimers = load("dimers", monkeypatch)
    pair = charged_pair(dimers, 8)
    charges = dimers.Charges([pair], DIMER)
    values = charges(0.1 * charges.scales * np.random.default_rng(0).normal(size=len(charges.scales)))[0].reshape(8, 10)
    for atoms, (energy, *pulls) in zip(pair.frames, values, strict=True):
        atoms.info["interaction_energy"] = energy
        # forces with these resultants: least squares
        moves = dimers.motions(pair, atoms).reshape(9, -1)
        atoms.arrays["forces"] = np.linalg.lstsq(moves, np.array(pulls), rcond=None)[0].reshape(-1, 3)
    results = dimers.run([pair], 6, DIMER, rungs=(1, 3, 6))
    assert results["rung 3"]["of the test's deviation, %"] < 2
    assert results["rung 6"]["of the test's deviation, %"] < 0.5 * results["rung 1"]["of the test's deviation, %"]
    assert results["rung 1"]["of the test's deviation, %"] > 100


def test_rows_of_born_charges(monkeypatch):
    """Rows times coefficients are the Born charges of the model of these coefficients, of a molecule and of a crystal, and its dipole."""
    born = load("born", monkeypatch)
    atoms = Atoms("OHHOH", positions=[[0, 0, 0], [0.9, 0.2, 0], [-0.3, 0.9, 0.1], [0.2, 0.3, 2.6], [0.9, 0.7, 2.9]])
    small = {"cutoff": 3.0, "n_max": 1, "l_max": 1, "smearing": 0.5}
    model, picked, rng = born.Model.of([atoms], small, True), np.array([0, 3, 4]), np.random.default_rng(0)
    p, q = (part.n_coefficients for part in model)
    w = rng.normal(size=p + q)
    charges, dipoles = model.charges.with_coefficients(w[:p]), model.dipoles.with_coefficients(w[p:])
    exact = jax.jit(lambda graph: (longrange.born_charges(charges, graph) + longrange.born_charges(dipoles, graph), charges.properties(graph)))
    rows, graphs = jax.jit(model.rows), [jp.from_atoms(atoms, 3.0, charge=-1.0, max_atoms=6, max_neighbors=8)]
    atoms.set_cell([9.0, 10.0, 11.0])
    atoms.pbc = True
    graphs.append(jp.from_atoms(atoms, 3.0, charge=-1.0, max_atoms=6, max_neighbors=8))
    for graph in graphs:
        found = {key: np.asarray(x)[..., :-1] @ w + np.asarray(x)[..., -1] for key, x in rows(graph, picked).items()}
        tensors, more = exact(graph)
        np.testing.assert_allclose(found["born"], tensors[picked], atol=1e-11)
        np.testing.assert_allclose(found["charges"], more.charges, atol=1e-12)
    np.testing.assert_allclose(found["dipole"], more.dipole + dipoles(graph), atol=1e-11)


def test_fits_of_born_charges(monkeypatch):
    """Labels of a model are found again, Born charges from dipoles too; the mean of every element is not."""
    born = load("born", monkeypatch)
    settings = {
        "cutoff": 3.0, "n_max": 1, "l_max": 1, "smearing": 0.5, "sigma": {"charges": 1e-4, "dipole": 1e-4, "born": 1e-4}, "scales": (1.0, 3.0), "molecules": 2,
    }  # fmt: skip
    rng, frames = np.random.default_rng(1), []
    for _ in range(16):
        positions = np.array([[0, 0, 0], [0.9, 0.2, 0], [-0.3, 0.9, 0.1], [0.2, 0.3, 2.6]]) + 0.15 * rng.normal(size=(4, 3))
        frames.append(Atoms("OHHO", positions=positions - positions.mean(axis=0), info={"total_charge": -1.0}))
    true = born.Model.of(frames, settings, False).charges
    true = true.with_coefficients(0.3 * rng.normal(size=true.n_coefficients))
    exact = jax.jit(lambda graph: (longrange.born_charges(true, graph), true.properties(graph)))
    for atoms in frames:
        tensors, more = exact(jp.from_atoms(atoms, 3.0, charge=-1.0, max_neighbors=3))
        atoms.arrays |= {"bec": np.asarray(tensors).reshape(-1, 9), "mulliken_charge": np.asarray(more.charges)}
        atoms.calc = SinglePointCalculator(atoms, dipole=np.asarray(more.dipole))
    place = np.arange(16)
    split = born.Split(frames, place < 14, place == 13, np.tile(np.arange(5), (16, 1)))
    results = born.run(split, ((False, ("dipole",)), (False, ("dipole", "born"))), settings)
    worst = results["mean of each element"]["born"]
    assert results["charges, fitted to dipole and born"]["born"] < 0.02 * worst
    assert results["charges, fitted to dipole"]["born"] < 0.3 * worst
