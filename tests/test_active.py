"""Learning on the fly: an update is a fit to everything; what is labelled, what is not, and what a kill leaves."""

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import quick_jit

import jaxpot as jp
from jaxpot import active, md
from jaxpot.active.states import Folder

SILICON = jp.empirical.StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
NOISE = jp.Properties(energy=0.005, forces=0.01)
THRESHOLD = 0.02  # eV/Å
DENSITY = jp.Density(("Si",), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(8, nearest=2.35), l_max=0, sigma=None, center_weight=0.0)
MODEL = jp.AtomicPotential(jp.ACE(DENSITY, jp.TotalDegree((8, 6))), jp.Linear(scale=1.0)) + jp.IsolatedAtoms({"Si": -1.0})
EVALUATE = quick_jit(jp.evaluate)


class Teacher(jp.Calculator):
    """Counts its calls, and dies at one of them."""

    def __init__(self, dies_at=None):
        super().__init__(SILICON)
        self.calls, self.dies_at = 0, dies_at

    def calculate(self, *args, **kwargs):
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        super().calculate(*args, **kwargs)


def cluster(rattle=0.0, seed=0):
    atoms = bulk("Si", cubic=True)
    atoms.pbc = False
    atoms.rattle(rattle, seed=seed)
    return atoms


def labelled(n=3, rattle=0.03):
    teacher, frames = jp.Calculator(SILICON), []
    for seed in range(n):
        atoms = cluster(rattle, seed)
        atoms.calc = teacher
        atoms.info["energy"], atoms.arrays["forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    return frames


def dataset(frames):
    return jp.Dataset.from_atoms(frames, 4.0, sigma=NOISE)


@pytest.fixture(scope="module")
def start():
    return jp.fit.posterior(MODEL, dataset(labelled()))


def explored(start, folder, teacher, **changes):
    settings = {"steps": 40, "threshold": THRESHOLD, "sigma": NOISE, "ensemble": md.NVE(2000.0, timestep=2.0), "interval": 10, "progress": False}
    return active.explore(start, cluster(0.02), teacher, folder, **settings | changes)


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """A run that nothing disturbed."""
    folder, teacher = tmp_path_factory.mktemp("whole"), Teacher()
    return explored(start, folder, teacher), teacher, folder


def test_an_update_is_a_fit_to_everything():
    """Of a Gaussian process and a linear term, with labels missing, at once and one structure after the other."""
    rng, frames = np.random.default_rng(1), []
    for i in range(6):
        atoms = Atoms("Si3", positions=[[0, 0, 0], [2.4, 0, 0], [-0.6, 2.2, 0.4]] + 0.4 * rng.normal(size=(3, 3)), info={"energy": rng.normal()})
        if i != 4:
            atoms.arrays["forces"] = rng.normal(size=(3, 3))
        frames.append(atoms)
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.Properties(energy=0.05, forces=0.3))
    two = jp.descriptors.TwoBody(("Si",), jp.CosineCutoff(4.0, width=0.8))
    points = jp.fit.select_environments(two, data, 7, key=jax.random.key(0))
    gp = jp.AtomicPotential(two, jp.SparseGP(jp.kernels.SquaredExponential(0.5), delta=0.6, jitter=1e-6)).with_points(points)
    model = gp + MODEL
    everything, first = jp.fit.posterior(model, data), jp.fit.posterior(model, data.subset([0, 1]))
    one_by_one, graph, deviations = first, jp.from_atoms(frames[5], 4.0, max_neighbors=2), quick_jit(jp.fit.force_deviations)
    for i in (2, 3, 4, 5):
        one_by_one = jp.fit.update(one_by_one, data.subset([i]))
    expected = EVALUATE(everything.model, graph)
    for found in (one_by_one, jp.fit.update(first, data.subset([5, 3, 2, 4]))):
        made = EVALUATE(found.model, graph)
        for name in ("energy", "forces", "virial"):
            np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-9, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(deviations(found, graph), deviations(everything, graph), rtol=1e-9, atol=1e-9)
    assert np.max(deviations(first, graph) / deviations(everything, graph)) > 1.1
    with pytest.raises(TypeError, match=r"posterior = jaxpot.fit.posterior\(model, data\)"):
        jp.fit.update(model, data)


def test_force_deviations_are_those_of_the_covariance(start):
    graph = jp.from_atoms(cluster(0.1, seed=9), 4.0)
    covariance = quick_jit(jp.fit.Posterior.covariance)(start, graph)
    expected = np.sqrt(np.diag(covariance)[1:].reshape(-1, 3).sum(axis=1))
    deviations = quick_jit(jp.fit.force_deviations)
    np.testing.assert_allclose(deviations(start, graph), expected, rtol=1e-9)
    np.testing.assert_allclose(deviations(start, jp.rotate(graph, jp.random_rotation(jax.random.key(0)))), expected, rtol=1e-8)


def test_it_labels_where_it_is_not_sure(start, whole):
    """Labels are the teacher's, each of the first structure beyond the threshold; what is learnt is what a fit from nothing learns."""
    found, teacher, folder = whole
    frames = ase.io.read(folder / "labelled.xyz", ":")
    assert found.status == "finished" and found.message == f"40 steps, {len(frames)} labels"
    assert 2 <= len(frames) == len(found.frames) == teacher.calls
    history = found.history
    beyond = history["deviation"] > THRESHOLD
    np.testing.assert_array_equal(history["step"][beyond], [a.info["step"] for a in frames])
    np.testing.assert_allclose(history["deviation"][beyond], [a.info["deviation"] for a in frames], rtol=1e-6)
    assert np.all(np.diff(history["step"]) > 0) and np.all(np.isin([10, 20, 30, 40], history["step"]))
    np.testing.assert_array_equal(history["labels"], np.cumsum(beyond) - beyond)
    deviations, last, data = quick_jit(jp.fit.force_deviations), start, dataset([*labelled(), *frames])
    for i, atoms in enumerate(frames):
        graph = jp.from_atoms(atoms, 4.0, max_neighbors=7)
        truth = EVALUATE(SILICON, graph)
        np.testing.assert_allclose(atoms.get_potential_energy(), truth.energy, atol=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), truth.forces, atol=1e-6)
        assert np.max(deviations(last, graph)) > THRESHOLD * (1 - 1e-6)
        last = jp.fit.posterior(MODEL, data.subset(range(4 + i)))
        assert np.max(deviations(last, graph)) < np.sqrt(3) * 0.01
    np.testing.assert_allclose(found.posterior.coefficients, last.coefficients, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(deviations(found.posterior, graph), deviations(last, graph), rtol=1e-9)
    assert jp.load(folder / "posterior.npz")[0].model == found.posterior.model


def dies(monkeypatch, name, at):
    """Folder.name does its work, and the process ends with it at one of its calls."""
    original, calls = getattr(Folder, name), []

    def dying(self, *args):
        out = original(self, *args)
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return out

    monkeypatch.setattr(Folder, name, dying)


SLOWER = [pytest.param(where, marks=pytest.mark.slow) for where in ("calculator", "label", "store")]


@pytest.mark.parametrize("where", [*SLOWER, "learnt"])
def test_a_killed_run_goes_on_to_the_same_end(start, whole, where, tmp_path, monkeypatch):
    """Before the second label, after it was written, after it was learnt, and after a state that waits for it was stored."""
    teacher = Teacher(dies_at=1 if where == "calculator" else None)
    with monkeypatch.context() as patched:
        if where != "calculator":
            dies(patched, where, {"label": 2, "learnt": 3, "store": 3}[where])
        with pytest.raises(KeyboardInterrupt):
            explored(start, tmp_path, teacher)
    again = Teacher()
    found, expected = explored(start, tmp_path, again), whole[0]
    assert found.status == "finished" and teacher.calls + again.calls == len(expected.frames)
    for name, column in expected.history.items():
        np.testing.assert_allclose(found.history[name], column, rtol=1e-7, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.posterior.coefficients, expected.posterior.coefficients, rtol=1e-7, atol=1e-9)
    for one, other in zip(found.frames, expected.frames, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=2e-8)


def test_a_threshold_that_is_never_passed_labels_nothing(start, tmp_path):
    found = explored(start, tmp_path, Teacher(dies_at=0), steps=20, threshold=1e6)
    assert found.status == "finished" and not found.frames and not (tmp_path / "labelled.xyz").exists()
    assert found.posterior.model == start.model and found.history["step"].tolist() == [10, 20]


@pytest.mark.slow
def test_what_is_not_labelled_is_molecular_dynamics(start, tmp_path):
    """More steps go on beyond the end; nothing happens where all is done; another exploration is refused."""
    teacher, atoms = Teacher(dies_at=0), cluster(0.02)
    for steps in (20, 30, 30):
        found = explored(start, tmp_path, teacher, steps=steps, threshold=1e6)
    assert found.history["step"].tolist() == [10, 20, 30]
    system = md.System(jp.from_atoms(atoms, 4.0), md.NVE(2000.0, timestep=2.0), masses=atoms.get_masses())
    way = md.blocks(system, system.init(jax.random.key(0), start.model), start.model, steps=30, interval=10)
    np.testing.assert_allclose(found.history["temperature"], [float(shown.temperature) for _, shown in way], rtol=1e-8)
    with pytest.raises(ValueError, match="belongs to another exploration"):
        explored(start, tmp_path, teacher, seed=1)


@pytest.mark.slow
def test_no_more_labels_than_allowed(start, whole, tmp_path):
    """The status says so, and a second call with more goes on to where one call would have come."""
    found = explored(start, tmp_path, Teacher(), labels=1)
    assert found.status == "labels" and len(found.frames) == 1 and "write labels=2" in found.message
    assert found.history["step"][-1] == whole[0].frames[1].info["step"]
    found = explored(start, tmp_path, Teacher())
    assert found.status == "finished" and len(found.frames) == len(whole[0].frames)


def test_an_explosion_is_a_status(start, tmp_path):
    """Of a hundred million kelvin no number comes, and nothing is labelled."""
    atoms = cluster(0.02)
    atoms.set_momenta(500 * np.random.default_rng(0).normal(size=(8, 3)))
    found = active.explore(start, atoms, Teacher(dies_at=0), tmp_path, steps=20, threshold=1e30, sigma=NOISE, ensemble=md.NVE(), progress=False)
    assert found.status == "exploded" and found.message.startswith("between steps 0 and 10: ") and not found.frames
    assert found.history["step"].size == 0


class Broken(jp.Calculator):
    """Gives no number."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def test_refusals(start, tmp_path):
    for changes, message in (
        ({"threshold": 0.017}, r"threshold 0.017 eV/Å is not above √3 times the noise level of forces, 0.01"),
        ({"threshold": -1.0}, "threshold must be a positive number"),
        ({"steps": 0}, "steps must be an integer from 1, got 0"),
        ({"labels": 1.5}, "labels must be an integer from 0, got 1.5"),
        ({"sigma": jp.Properties(charges=0.1)}, "sigma has levels of charges; expected some of energy, forces and virial"),
    ):
        with pytest.raises(ValueError, match=message):
            explored(start, tmp_path, Teacher(), **changes)
    with pytest.raises(TypeError, match="expected a Posterior, got Sum"):
        explored(start.model, tmp_path, Teacher())
    (tmp_path / "labelled.xyz").write_text("")
    with pytest.raises(FileExistsError, match=r"exists without a state.npz"):
        explored(start, tmp_path, Teacher())


@pytest.mark.slow
def test_a_calculator_without_numbers(start, tmp_path):
    with pytest.raises(ValueError, match="the calculator's forces is not finite"):
        explored(start, tmp_path, Broken(SILICON))


@pytest.mark.slow
def test_a_crystal_with_stresses(tmp_path):
    """Periodic, with labels of virials, and a cell that moves."""
    frames, teacher = [], jp.Calculator(SILICON)
    for seed in range(2):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.02, seed=seed)
        atoms.calc = teacher
        atoms.info |= {"energy": atoms.get_potential_energy(), "stress": atoms.get_stress()}
        atoms.arrays["forces"], atoms.calc = atoms.get_forces(), None
        frames.append(atoms)
    noise = jp.noise_levels(0.002, 0.02, 0.02)
    known = jp.fit.posterior(MODEL, jp.Dataset.from_atoms(frames, 4.0, sigma=noise))
    found = active.explore(
        known, frames[0], teacher, tmp_path, steps=30, threshold=0.05, sigma=noise, ensemble=md.NPT(900.0), interval=5, progress=False
    )
    assert found.status == "finished" and found.frames
    everything = jp.fit.posterior(MODEL, jp.Dataset.from_atoms([*frames, *found.frames], 4.0, sigma=noise))
    np.testing.assert_allclose(found.posterior.coefficients, everything.coefficients, rtol=1e-8, atol=1e-8)
    assert jnp.ptp(jnp.stack([a.cell.array for a in found.frames]), axis=0).max() > 0 or len(found.frames) == 1
