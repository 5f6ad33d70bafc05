"""Labels and measured properties in one fit: argon from its crystal, against differences, where a term is NaN, after a kill; what is refused."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.build import bulk
from wells import Well

import jaxpot as jp
from jaxpot import observables, trajectories
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.fit import search
from jaxpot.fit.objectives import Measured, terms_of
from jaxpot.units import BOLTZMANN

ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.5))
START = ARGON.replace(epsilon=0.012, sigma=3.35)
CRYSTAL = jp.from_atoms(bulk("Ar", a=5.25), 6.0)
KT = 300.0 * BOLTZMANN


def lattice_and_bulk(potential):
    """The lattice constant in Å and the bulk modulus in GPa, of fcc argon."""
    found = observables.minimum(potential, CRYSTAL, cell=True)
    moduli = observables.moduli(observables.elastic_constants(potential, found, relaxed=False))
    return jnp.stack([(4 * jnp.abs(jnp.linalg.det(found.cell))) ** (1 / 3), moduli.bulk_voigt])


def labelled(potential, sigma, n=3):
    """Rattled crystals with the energies and forces of a potential."""
    evaluate, frames = jax.jit(jp.evaluate), []
    for seed in range(n):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        atoms.rattle(0.2, seed=seed)
        found = evaluate(potential, jp.from_atoms(atoms, 5.0, max_neighbors=20))
        atoms.info["energy"], atoms.arrays["forces"] = float(found.energy), np.asarray(found.forces)
        frames.append(atoms)
    return jp.Dataset.from_atoms(frames, 5.0, sigma=sigma)


@pytest.fixture(scope="module")
def measured():
    return np.asarray(jax.jit(lattice_and_bulk)(ARGON))


def test_a_crystal_alone_gives_both_parameters(measured):
    found = jp.fit.objective(START, "epsilon", "sigma", observables={"crystal": (lattice_and_bulk, measured, [0.005, 0.05])}, tolerance=1e-8)
    assert found.converged, found.message
    np.testing.assert_allclose([found.model.epsilon, found.model.sigma], [0.0104, 3.405], rtol=1e-4)
    term = found.terms["crystal"]
    assert term.n == 2 and term.chi_square < 1e-3 and found.value == pytest.approx(term.chi_square / 4)
    np.testing.assert_allclose(term.value, measured, atol=1e-3)
    first = found.history[0]
    np.testing.assert_allclose([first["epsilon"], first["sigma"], first["crystal"]], [0.012, 3.35, 4 * first["value"]])


def test_labels_and_a_crystal_that_disagree_meet_where_they_are_most_probable(measured):
    """Labels of a softer potential: chi² of both, by hand, is least there."""
    soft = labelled(ARGON.replace(epsilon=0.0095, sigma=3.42), jp.Properties(energy=0.02, forces=0.02))
    term = (lattice_and_bulk, measured, np.array([0.01, 0.1]))
    found = jp.fit.objective(START, "epsilon", "sigma", labels=soft, observables={"crystal": term}, tolerance=1e-8)
    assert found.converged, found.message
    assert found.terms["labels"].n == 3 * (1 + 12) and found.terms["labels"].chi_square > 1 and found.terms["crystal"].chi_square > 0.1

    @jax.jit
    def by_hand(epsilon, sigma):
        model, total = ARGON.replace(epsilon=epsilon, sigma=sigma), 0.0
        for _, data in soft.structures():
            made = jp.evaluate(model, data.graphs)
            total += ((made.energy - data.targets.energy) / 0.02) ** 2 + jnp.sum((made.forces - data.targets.forces) ** 2) / 0.02**2
        return (total + jnp.sum(((lattice_and_bulk(model) - term[1]) / term[2]) ** 2)) / (2 * 41)

    epsilon, sigma = float(found.model.epsilon), float(found.model.sigma)
    np.testing.assert_allclose(by_hand(epsilon, sigma), found.value, rtol=1e-8)
    for up, across in ((1.002, 1.0), (0.998, 1.0), (1.0, 1.0003), (1.0, 0.9997)):
        assert by_hand(up * epsilon, across * sigma) > found.value
    assert "crystal" in found.table() and "39" in found.table()


TWO = jp.descriptors.TwoBody(("Ar",), jp.CosineCutoff(4.9, width=1.0))


def gp(length=0.5):
    points = jp.descriptors.Instances(np.linspace(3.0, 4.8, 7)[:, None], np.zeros(7, int))
    return jp.AtomicPotential(TWO, jp.SparseGP(jp.kernels.SquaredExponential(length), delta=0.1, jitter=1e-6)).with_points(points)


def pair_energy(potential):
    return potential(PAIR)


PAIR = jp.from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.8, 0, 0]]), 5.0)


@pytest.fixture(scope="module")
def frames():
    return labelled(ARGON, jp.Properties(energy=0.002, forces=0.005), n=2)


def test_derivative_of_evidence_labels_and_observable(frames):
    """The observable sees the most probable coefficients, through which its derivative passes."""
    params, build = jp.free(gp(), "*.length", "*.delta")
    terms = {"pair": Measured(pair_energy, np.asarray(-0.0104), np.asarray(0.001))}

    @jax.jit
    def value(params):
        told, _ = terms_of(build(params), frames.subset([1]), frames.subset([0]), terms)
        return jnp.stack([told["labels"], told["evidence"], told["pair"]])

    fitted = jp.fit.linear(gp(), frames.subset([0]))
    np.testing.assert_allclose(value(params)[2], ((float(jax.jit(pair_energy)(fitted)) + 0.0104) / 0.001) ** 2, rtol=1e-6)
    slopes = jax.jit(jax.jacrev(value))(params)
    for name in params:
        up, down = (value(params | {name: params[name] + sign * 1e-4}) for sign in (1, -1))
        np.testing.assert_allclose(slopes[name], (up - down) / 2e-4, rtol=1e-5, atol=1e-4)


def test_evidence_alone_is_that_of_maximise_evidence(frames):
    found = jp.fit.objective(gp(), "*.length", evidence=frames, steps=5)
    other = jp.fit.maximise_evidence(gp(), frames, "*.length", steps=5)
    np.testing.assert_allclose([found.value, float(found.model.head.kernel.length)], [-other.evidence, float(other.model.head.kernel.length)], rtol=1e-9)
    assert found.terms["evidence"].chi_square is None and found.terms["evidence"].n == 26 and "–" in found.table()
    assert found.model.head.coefficients is not None


# --- an observable that is NaN where too few states count -------------------------------------------------------------------


def mean_square(stiffness, n=400):
    """<x²> of a spring by reweighting of states at quantiles of another."""
    x = np.sqrt(KT / stiffness) * np.asarray(jax.scipy.stats.norm.ppf((np.arange(n) + 0.5) / n))
    one = jp.from_atoms(Atoms("Ar", positions=[[0, 0, 0]]), 1.0)
    graphs = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (n, *np.shape(leaf))), one)
    states = trajectories.sample(graphs.replace(positions=jnp.zeros((n, 1, 3)).at[:, 0, 0].set(x)), Well(stiffness), 300.0)
    return lambda potential: trajectories.reweighted(states, lambda graph: graph.positions[0, 0] ** 2, potential, least=0.7).mean


def springs(function, optimizer=None, stiffness=1.0, **others):
    terms = {"mean square": (function, KT / 40, 0.01 * KT / 40)}  # of a spring of 40 eV/Å²
    return jp.fit.objective(Well(stiffness), "stiffness", observables=terms, optimizer=optimizer, **others)


@pytest.mark.parametrize("optimizer", [None, optax.adam(1.0)], ids=["lbfgs", "adam"])
def test_nan_is_no_step(optimizer):
    found = springs(mean_square(1.0), optimizer, steps=30)
    assert "the mean square is NaN at {'stiffness'" in found.message
    assert ("turned back" if optimizer is None else "stopped before step") in found.message and (optimizer is None or not found.converged)
    assert 1 < float(found.model.stiffness) < 40 and np.isfinite(found.value) and np.isfinite(found.terms["mean square"].value)
    finite = [h["value"] for h in found.history if np.isfinite(h["value"])]
    assert found.value == min(finite) and len(finite) < len(found.history)


def test_sampled_anew_it_arrives():
    stiffness, rounds = 1.0, 0
    while rounds < 20:
        found = springs(mean_square(stiffness), stiffness=stiffness)
        stiffness, rounds = float(found.model.stiffness), rounds + 1
        if found.converged and "NaN" not in found.message:
            break
    assert abs(stiffness - 40) < 0.05 * 40 and 2 < rounds < 20


@pytest.mark.parametrize("optimizer", [None, optax.adam(0.02)], ids=["lbfgs", "adam"])
def test_goes_on_after_a_kill(tmp_path, monkeypatch, optimizer):
    function = mean_square(30.0)
    arguments = dict(stiffness=30.0, steps=6, checkpoint=tmp_path / "state.npz", tolerance=1e-12)
    whole = springs(function, optimizer, **arguments)
    assert not (tmp_path / "state.npz").exists()
    store, calls = search.Search.store, []

    def killed(self):
        store(self)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(search.Search, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        springs(function, optimizer, **arguments)
    with pytest.raises(ValueError, match="another search"):  # other states
        springs(mean_square(31.0), optimizer, **arguments)
    with pytest.raises(ValueError, match="another search"):
        springs(function, optax.adam(0.03), **arguments)
    monkeypatch.setattr(search.Search, "store", store)
    again = springs(function, optimizer, **arguments)
    assert again.value == whole.value and again.message == whole.message and again.converged == whole.converged
    assert [h["value"] for h in again.history] == [h["value"] for h in whole.history] and len(again.history) > 3


KILLED = """
import os, sys, jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, jaxpot as jp
from jaxpot.fit import search
store, calls = search.Search.store, []
def killed(self):
    store(self)
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
search.Search.store = killed
argon = jp.empirical.LennardJones(("Ar",), epsilon=0.02, sigma=3.6, cutoff=jp.cutoffs.PolynomialCutoff(8.0, width=2.0))
well = lambda potential: potential.pair(jnp.array([3.357, 3.768]), 0, 0)
found = jp.fit.objective(argon, "epsilon", "sigma", observables={"pair": (well, [0.0, -0.0123], 1e-4)}, checkpoint=sys.argv[1])
print(repr(found.value), len(found.history), float(found.model.sigma).hex())
"""


@pytest.mark.slow
def test_kill_9_loses_nothing(tmp_path):
    def run(name, at):
        return subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name), str(at)], capture_output=True, text=True)

    whole = run("whole.npz", 10**6)
    assert whole.returncode == 0, whole.stderr
    assert run("killed.npz", 4).returncode == -9 and (tmp_path / "killed.npz").exists()
    assert run("killed.npz", 10**6).stdout == whole.stdout


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({}, ValueError, "nothing to fit to"),
        ({"observables": {"a": lambda model: model.stiffness}}, TypeError, r"must be \(function, target, sigma\)"),
        ({"observables": {"labels": (lambda model: model.stiffness, 1.0, 0.1)}}, ValueError, "choose another name"),
        ({"observables": {"a": (lambda model: model.stiffness, 1.0, 0.0)}}, ValueError, "positive standard deviation"),
        ({"observables": {"a": (lambda model: model.stiffness, np.nan, 0.1)}}, ValueError, "finite target"),
        ({"observables": {"a": (lambda model: model.stiffness, [1.0, 2.0], 0.1)}}, ValueError, r"shape \(\) and its target \(2,\)"),
        ({"observables": {"a": (lambda model: jnp.log(-model.stiffness), 1.0, 0.1)}}, ValueError, "the a is NaN at {'stiffness'"),
    ],
)
def test_refused(keywords, error, message):
    with pytest.raises(error, match=message):
        jp.fit.objective(Well(1.0), "stiffness", **keywords)


def test_labels_of_nothing_that_is_predicted(frames):
    with pytest.raises(ValueError, match="the data set has no labels"):
        jp.fit.objective(ARGON, "sigma", labels=frames.replace(batches=tuple(b.replace(sigma=jax.tree.map(lambda x: np.full_like(x, np.inf), b.sigma)) for b in frames.batches)))
