"""Training by gradient descent: what it finds, what it costs, how it goes on after a kill, and what it refuses."""

import json

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from catalog import quick_jit
from shells import Shells

import jaxpot as jp
from jaxpot.fit import descent
from jaxpot.trees import walk, with_leaves

KEY = jax.random.key(0)
WEIGHTS = ("*.weights.*", "*.biases.*")
CUT = jp.cutoffs.PolynomialCutoff(6.0)
evaluate = quick_jit(jp.evaluate)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jax, "jit", quick_jit)


def labelled(truth, structures, cutoff, virial=False):
    """Frames with what a model predicts of them as labels."""
    size, slots = max(map(len, structures)), max(jp.from_atoms(a, cutoff).neighbors.shape[1] for a in structures)
    frames = []
    for atoms in structures:
        found = evaluate(truth, jp.from_atoms(atoms, cutoff, max_atoms=size, max_neighbors=slots))
        frame = atoms.copy()
        frame.info["energy"], frame.arrays["forces"] = float(found.energy), np.asarray(found.forces)[: len(atoms)]
        if virial:
            frame.info["virial"] = np.asarray(found.virial)
        frames.append(frame)
    return frames


def clusters(n, size=4, width=5.5, closest=3.1, symbol="Ar", seed=0):
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        atoms = Atoms(f"{symbol}{size}", positions=rng.uniform(0, width, (size, 3)))
        if atoms.get_all_distances()[np.triu_indices(size, 1)].min() > closest:
            found.append(atoms)
    return found


def argon(epsilon, sigma):
    return jp.empirical.LennardJones(("Ar",), epsilon=epsilon, sigma=sigma, cutoff=CUT)


NOISE = jp.noise_levels(energy=1e-3, forces=1e-3)
TRUTH, START = argon(0.0104, 3.4), argon(0.02, 3.2)
BOTH = ("epsilon", "sigma")


def joined(first, second):
    """Two data sets as one, with the buckets of both."""
    index = first.index + tuple(tuple(i + len(first) if i >= 0 else -1 for i in ids) for ids in second.index)
    return jp.Dataset(first.batches + second.batches, index, first.config_types + second.config_types, first.n_atoms + second.n_atoms)


@pytest.fixture(scope="module")
def data():
    """Two buckets: 12 structures of 4 atoms, 5 of 7."""
    parts = [labelled(TRUTH, clusters(12), 6.0), labelled(TRUTH, clusters(5, size=7, width=8.0), 6.0)]
    return joined(*(jp.Dataset.from_atoms(frames, 6.0, sigma=NOISE) for frames in parts))


@pytest.fixture(scope="module")
def small(data):
    """One bucket: every kind of step is compiled once."""
    return data.subset(range(12))


def silicon(n, seed=0, amplitude=0.12):
    found = []
    for i in range(n):
        atoms = ase.build.bulk("Si") * (2, 1, 1)
        atoms.set_cell(atoms.cell * (1 + 0.03 * np.sin(i)), scale_atoms=True)
        atoms.rattle(amplitude, seed=100 * seed + i)
        found.append(atoms)
    return found


def shifted(model, **factors):
    """The same model with leaves multiplied by factors."""
    paths = {path: value for path, value, _ in walk(model)}
    return with_leaves(model, {path: paths[path] * factor for path, factor in factors.items()})


# --- empirical potentials --------------------------------------------------------------------------------------------------


def test_lennard_jones_is_recovered(small):
    model, history = jp.fit.train(START, small, optax.lbfgs(), steps=60, where=BOTH)
    np.testing.assert_allclose([model.epsilon, model.sigma], [0.0104, 3.4], rtol=1e-6)
    assert history["loss"][-1] < 1e-9 < history["loss"][0]
    model, _ = jp.fit.train(START, small, optax.adam(optax.cosine_decay_schedule(0.03, 600)), steps=600, where=BOTH, batch=6, key=KEY)
    np.testing.assert_allclose([model.epsilon, model.sigma], [0.0104, 3.4], rtol=0.03)


@pytest.mark.slow
def test_stillinger_weber_is_recovered_from_energies_forces_and_virials():
    truth = jp.empirical.StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
    data = jp.Dataset.from_atoms(labelled(truth, silicon(4), 4.2, virial=True), 4.2, sigma=jp.noise_levels(1e-3, 1e-3, 1e-3))
    start = shifted(truth, epsilon=1.1, lam=0.9, sigma=1.02, gamma=0.95)
    model, history = jp.fit.train(start, data, optax.lbfgs(memory_size=20), steps=80, where=("epsilon", "lam", "sigma", "gamma"))
    for name in ("epsilon", "lam", "sigma", "gamma"):
        np.testing.assert_allclose(getattr(model, name), getattr(truth, name), rtol=1e-6)
    assert {"energy_rmse", "forces_mae", "virial_rmse"} < set(history) and history["virial_rmse"][-1] < 1e-6


# --- networks and descriptors ----------------------------------------------------------------------------------------------

SHELLS = Shells(("Ar",), width=0.6, centers=np.linspace(2.6, 4.2, 5), cutoff=jp.CosineCutoff(5.0, width=1.5))


def network(seed):
    return jp.AtomicPotential(SHELLS, jp.MLP((4,), seed=seed))


@pytest.fixture(scope="module")
def teaching():
    """(training data, unseen data, student) of a network that is to learn another one."""
    frames = clusters(60, width=5.0, closest=2.6)
    for atoms in frames:
        atoms.info["energy"] = 0.0  # a data set has labels
    teacher = jp.fit.standardise(network(seed=1), jp.Dataset.from_atoms(frames, 5.0, sigma=jp.Properties(energy=1.0)))
    frames = labelled(teacher, frames, 5.0)
    train, unseen = (jp.Dataset.from_atoms(part, 5.0, sigma=NOISE) for part in (frames[:50], frames[50:]))
    return train, unseen, jp.fit.standardise(network(seed=2), train)


def test_a_network_learns_another_network(teaching):
    train, unseen, student = teaching
    model, _ = jp.fit.train(student, train, optax.lbfgs(memory_size=30), steps=150, where=WEIGHTS)
    before, after = (jp.fit.report(m, unseen)["all"]["forces"]["rmse"] for m in (student, model))
    assert after < 0.02 * before


def test_leaves_of_descriptor_and_head_are_trained_together():
    """From another width of the Gaussians and other coefficients to those that made the data."""
    truth = jp.AtomicPotential(SHELLS, jp.Linear(coefficients=np.array([1.0, -0.7, 0.3, -0.2, 0.4])))
    data = jp.Dataset.from_atoms(labelled(truth, clusters(10, width=5.0, closest=2.6), 5.0), 5.0, sigma=NOISE)
    start = shifted(truth, **{"descriptor.width": 1.3, "head.coefficients": 0.8})
    where, bounds = ("descriptor.width", "*.coefficients"), {"descriptor.width": (0.3, 0.9)}
    model, history = jp.fit.train(start, data, optax.lbfgs(), steps=80, where=where, bounds=bounds)
    assert abs(float(model.descriptor.width) - 0.6) < 1e-3 < abs(float(start.descriptor.width) - 0.6)
    assert history["loss"][-1] < 1e-4 * history["loss"][0]
    assert model.descriptor.cutoff == start.descriptor.cutoff


def test_moment_tensors_with_radial_coefficients_and_an_embedding():
    """Neither is linear in what is trained: radial coefficients inside the moments, and Finnis–Sinclair functions outside."""
    rng = np.random.default_rng(0)
    mtp = jp.descriptors.MTP(("Ar",), 6, 2.0, 5.0, radial_basis_size=3, radial=rng.normal(size=(1, 1, 2, 3)))
    head = jp.heads.Embedding(rng.normal(size=(2, mtp.n_features)), exponents=np.array([1.0, 0.5]), weights=np.array([1.0, 0.7]))
    truth = jp.AtomicPotential(mtp, head)
    data = jp.Dataset.from_atoms(labelled(truth, clusters(8, width=5.0, closest=2.6), 5.0), 5.0, sigma=NOISE)
    start = shifted(truth, **{"descriptor.expansion.radial": 0.95, "head.coefficients": 1.1})
    model, history = jp.fit.train(start, data, optax.lbfgs(), steps=40, where=("*.radial", "head.coefficients"))
    assert history["loss"][-1] < 1e-3 * history["loss"][0]
    assert not np.array_equal(model.descriptor.expansion.radial, start.descriptor.expansion.radial) and model.head.exponents == pytest.approx([1.0, 0.5])


# --- the loss --------------------------------------------------------------------------------------------------------------

def still(model, data, steps=1, **options):
    """History of a training that does not move."""
    return jp.fit.train(model, data, optax.sgd(0.0), steps=steps, **({"where": BOTH} | options))[1]


def test_the_history_is_that_of_the_report():
    frames = labelled(TRUTH, clusters(5), 6.0, virial=True)
    del frames[1].info["virial"], frames[2].arrays["forces"], frames[3].info["energy"]
    data = jp.Dataset.from_atoms(frames, 6.0, sigma=jp.Properties(energy=0.01, forces=0.02, virial=0.03))
    history, report = still(START, data), jp.fit.report(START, data)["all"]
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose([history[f"{name}_mae"][0], history[f"{name}_rmse"][0]], [report[name]["mae"], report[name]["rmse"]], rtol=1e-12)
    total, n = 0.0, 0
    for atoms in frames:
        found = evaluate(START, jp.from_atoms(atoms, 6.0, max_neighbors=3))
        for name, sigma, store, shape in (("energy", 0.01, atoms.info, ()), ("forces", 0.02, atoms.arrays, ()), ("virial", 0.03, atoms.info, np.triu_indices(3))):
            if name in store:
                error = (np.asarray(getattr(found, name)) - store[name])[shape] / sigma
                total, n = total + np.sum(error**2), n + error.size
    np.testing.assert_allclose(history["loss"][0], total / n, rtol=1e-12)


def test_minibatches_of_an_epoch_make_the_whole(data):
    """So gradients of minibatches have the whole gradient as their mean, whatever the sizes of structures."""
    whole = still(START, data)
    assert jp.fit.steps_per_epoch(data, None) == 1 and jp.fit.steps_per_epoch(data, 5) == 4
    parts = still(START, data, steps=4, batch=5, key=KEY)
    assert whole.keys() == parts.keys() and parts["step"] == [4] and parts["epoch"] == [1.0]
    for name in set(whole) - {"step"}:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12)
    each = still(START, data, steps=8, batch=5, key=KEY, every=1)["loss"]
    assert sorted(each[:4]) != sorted(each[4:])  # other minibatches in every epoch


def counting(model, calls):
    """A potential that counts how often its code is run, that is, traced."""

    class Counting(jp.Potential):
        species, reach = model.species, model.reach

        def energies(self, graph):
            calls.append(graph.neighbors.shape)
            return self.epsilon * model.energies(graph)

    Counting.__annotations__ = {"epsilon": jax.Array}
    return jp.pytree(type("Counting", (Counting,), {"__annotations__": {"epsilon": jax.Array}, "__module__": "test_train"}))(1.1)


def test_one_compilation_per_bucket(data):
    calls = []
    jp.fit.train(counting(TRUTH, calls), data, optax.sgd(1e-6), steps=40, where="epsilon", batch=5, key=KEY)
    assert sorted(calls) == [(4, 3), (7, 5)]


def test_what_is_stored_changes_nothing(small):
    """Fixed terms, features of a fixed descriptor and a trained pair potential, in float64: the same curve as without storage."""
    model = network(3) + argon(0.012, 3.3) + jp.IsolatedAtoms({"Ar": -0.1}) + argon(0.001, 3.0)
    where = ("terms.0.head.weights.*", "terms.1.epsilon")
    histories = [
        jp.fit.train(model, small, optax.adam(1e-2), steps=6, where=where, batch=6, key=KEY, validation=small.subset([0, 7]), memory=memory)[1] for memory in (2e9, 0.0)
    ]
    assert list(histories[0]) == list(histories[1])
    for name in histories[0]:
        np.testing.assert_allclose(*(h[name] for h in histories), rtol=1e-9, atol=1e-12)
    trained, _ = jp.fit.train(model, small, optax.adam(1e-2), steps=1, where=where)
    assert trained.terms[2:] == model.terms[2:] and trained.terms[1] != model.terms[1] and trained.terms[0].descriptor == SHELLS


def test_a_term_of_other_elements():
    """An element that only a fixed term knows has its energy; one that no term knows is refused."""
    frames = [Atoms("ArKr", positions=[[0, 0, 0], [3.4, 0, d]], info={"energy": -0.01}) for d in (0.0, 0.5)]
    data = jp.Dataset.from_atoms(frames, 6.0, sigma=jp.Properties(energy=0.1))
    model = START + jp.empirical.LennardJones(("Kr",), epsilon=0.01, sigma=3.6, cutoff=CUT)
    report = jp.fit.report(model, data)["all"]
    assert still(model, data, where="terms.0.epsilon")["energy_rmse"] == pytest.approx([report["energy"]["rmse"]])
    for alone, where in ((START, BOTH), (network(1), WEIGHTS)):
        with pytest.raises(ValueError, match="frame 0: .*the structure contains Kr"):
            still(alone, data, where=where)


def test_every_leaf_is_trained_by_default(small):
    start = jp.IsolatedAtoms({"Ar": 0.1}) + jp.IsolatedAtoms({"Ar": 0.2})
    model, _ = jp.fit.train(start, small, optax.sgd(1e-6), steps=1)
    assert model.terms[0].values[0] < 0.1 and model.terms[1].values[0] < 0.2


def test_single_precision(small):
    model, single = jp.cast((START, small), jnp.float32)
    trained, history = jp.fit.train(model, single, optax.adam(1e-2), steps=20, where=BOTH, batch=6, key=KEY)
    exact = jp.fit.train(START, small, optax.adam(1e-2), steps=20, where=BOTH, batch=6, key=KEY)[1]
    assert trained.epsilon.dtype == jnp.float32
    np.testing.assert_allclose(history["loss"], exact["loss"], rtol=1e-4)
    mixed = (still(network(1), part, where=WEIGHTS)["loss"] for part in (single, small))  # a model in double, data in single precision
    np.testing.assert_allclose(*mixed, rtol=1e-4)


# --- stopping, averaging, going on -----------------------------------------------------------------------------------------


def test_the_best_on_validation_data_is_kept(small):
    """Steps too large: the loss goes down, then up and down again."""
    train, held_out = jp.fit.split(small, 0.25, key=KEY)
    options = {"where": "sigma", "validation": held_out, "every": 1}
    model, history = jp.fit.train(START, train, optax.adam(0.02), steps=12, **options)
    losses = history["validation_loss"]
    best = int(np.argmin(losses))
    np.testing.assert_allclose(still(model, held_out)["loss"], losses[best], rtol=1e-12)
    _, short = jp.fit.train(START, train, optax.adam(0.02), steps=12, patience=2, **options)
    end = next(i for i in range(2, 12) if min(losses[: i - 1]) < min(losses[i - 1 : i + 1]))  # the first two in a row without a better one
    assert 2 <= end < 11 and short["loss"] == history["loss"][: end + 1]


def test_average_of_parameters(small):
    """In the unconstrained parameter: by hand from the steps of plain descent."""
    values = [float(jp.fit.train(START, small, optax.sgd(1e-8), steps=n, where="sigma")[0].sigma) for n in (1, 2)]
    u, averaged = np.log(values), np.log(3.2)
    for step, x in enumerate(u):
        decay = min(0.4, step / (step + 1))
        averaged = decay * averaged + (1 - decay) * x
    model, _ = jp.fit.train(START, small, optax.sgd(1e-8), steps=2, where="sigma", average=0.4)
    np.testing.assert_allclose(model.sigma, np.exp(averaged), rtol=1e-12)
    assert abs(averaged - u[-1]) > 1e-9


def optimizer(rate=0.01):
    return optax.chain(optax.clip_by_global_norm(10.0), optax.add_noise(0.01, 0.5, jax.random.key(3)), optax.adamw(optax.cosine_decay_schedule(rate, 30)))


def test_goes_on_after_a_kill(small, tmp_path, monkeypatch):
    """Schedule, noise, average, validation, minibatches in the middle of an epoch: the same numbers to the last bit."""
    train, held_out = jp.fit.split(small, 0.25, key=KEY)
    path = tmp_path / "folder" / "state.npz"
    options = {"steps": 21, "where": BOTH, "batch": 4, "key": KEY, "validation": held_out, "average": 0.9, "every": 3, "checkpoint": path}
    whole, history = jp.fit.train(START, train, optimizer(), **options)
    assert not path.exists()
    store, calls = descent.Descent.store, []

    def killed(self):
        store(self)
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(descent.Descent, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        jp.fit.train(START, train, optimizer(), **options)
    monkeypatch.setattr(descent.Descent, "store", store)
    assert path.exists() and not list(path.parent.glob("*.partial"))
    others = [
        (argon(0.02, 3.21), train, optimizer(), {}),
        (START, train.subset(range(5)), optimizer(), {}),
        (START, train, optimizer(0.011), {}),
        (START, train, optimizer(), {"average": 0.8}),
        (START, train, optimizer(), {"validation": held_out.subset([0])}),
    ]
    for model, part, other, changes in others:
        with pytest.raises(ValueError, match="checkpoint of another training"):
            jp.fit.train(model, part, other, **(options | changes))
    again, resumed = jp.fit.train(START, train, optimizer(), **options)
    assert resumed == history and again == whole and not path.exists()
    assert json.loads(json.dumps(resumed)) == history
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        jp.fit.train(START, train, optimizer(), **options)


# --- what is not finite ----------------------------------------------------------------------------------------------------


def test_the_structure_that_gives_nan_is_named(data):
    batch = data.batches[1]
    overflow = np.zeros(5, bool)
    overflow[3] = True
    bad = data.replace(batches=(data.batches[0], batch.replace(graphs=batch.graphs.replace(overflow=overflow))))
    with pytest.raises(ValueError, match="step 0: frame 15: neighbour list overflow"):
        still(START, bad)
    with pytest.raises(ValueError, match="step 1, validation: frame 15: neighbour list overflow"):
        still(START, data.subset(range(3)), validation=bad)
    with pytest.raises(ValueError, match="frame 15: neighbour list overflow"):  # while features are made
        still(network(1), bad, where=WEIGHTS)
    with pytest.raises(ValueError, match=r"step \d: frame \d+: the model looks 6\.\d+ Å far, the neighbour list 6 Å"):
        jp.fit.train(START, data, optax.adam(0.1), steps=9, where="*.radius")
    with pytest.raises(ValueError, match=r"step \d+: .*(not finite|take smaller steps)"):
        jp.fit.train(START, data, optax.sgd(1.0), steps=30, where=BOTH)


# --- parts -----------------------------------------------------------------------------------------------------------------


def test_split_keeps_configuration_types(data):
    kinds = data.replace(config_types=("a",) * 10 + ("b",) * 7)
    left, held_out = jp.fit.split(kinds, 0.3, key=KEY)
    assert [part.config_types.count(k) for part in (left, held_out) for k in "ab"] == [7, 5, 3, 2]
    sizes = sorted(left.n_atoms + held_out.n_atoms)
    assert sizes == sorted(data.n_atoms)
    again, other = jp.fit.split(kinds, 0.3, key=KEY)[1], jp.fit.split(kinds, 0.3, key=jax.random.key(5))[1]
    assert np.array_equal(again.batches[0].graphs.positions, held_out.batches[0].graphs.positions)
    assert not np.array_equal(other.batches[0].graphs.positions, held_out.batches[0].graphs.positions)
    with pytest.raises(ValueError, match="holds out 0 of 17"):
        jp.fit.split(data, 0.01, key=KEY)


def test_standardise():
    """Mean 0 and deviation 1 of every element; constant features and absent elements have scale 1."""
    shells = Shells(("C", "Si", "O"), width=0.5, centers=np.array([1.5, 2.0]), cutoff=jp.CosineCutoff(3.0, width=0.8))
    frames = []
    for seed in range(5):
        atoms = Atoms("CSiC", positions=[[0, 0, 0], [1.8, 0.2, 0.1], [0.3, 1.6, -0.4]], info={"energy": 0.0})
        atoms.rattle(0.2, seed=seed)
        frames.append(atoms)
    data = jp.Dataset.from_atoms(frames, 3.5, sigma=jp.Properties(energy=1.0))
    model = jp.AtomicPotential(shells, jp.MLP((3,))) + jp.IsolatedAtoms({"C": -1.0, "Si": -2.0})
    new = jp.fit.standardise(jp.potentials.Committee((model, model)), data).members[1]
    assert new.terms[1] == model.terms[1] and new.terms[0].head.weights[0] is model.terms[0].head.weights[0]
    x = np.concatenate([np.asarray(shells(jp.from_atoms(atoms, 3.5, max_neighbors=2))) for atoms in frames])
    carbon = x[np.array([z == 6 for atoms in frames for z in atoms.numbers])]
    constant = np.ptp(carbon, axis=0) < 1e-13
    assert constant.tolist() == [False] * 4 + [True] * 2
    shift, scale = new.terms[0].head.shift, new.terms[0].head.scale
    np.testing.assert_allclose(shift[0], carbon.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(scale[0], np.where(constant, 1, carbon.std(axis=0)), rtol=1e-9)
    assert np.all(shift[2] == 0) and np.all(scale[2] == 1)
    with pytest.raises(ValueError, match="IsolatedAtoms has no MLP"):
        jp.fit.standardise(jp.IsolatedAtoms({"C": 0.0}), data)
    with pytest.raises(ValueError, match="frame 0: .*Å far"):
        jp.fit.standardise(jp.AtomicPotential(shells.replace(cutoff=jp.CosineCutoff(4.0)), jp.MLP((3,))), data)


def test_standardise_leaves_faint_features_alone():
    """A Gaussian that the atoms barely reach, 1e-60, would be a scale of zero in float32, and infinite a little nearer."""
    frames = [Atoms("Si2", positions=[[0, 0, 0], [2.3 + 0.05 * i, 0, 0]], info={"energy": 0.0}) for i in range(4)]
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.Properties(energy=1.0))
    near = jp.descriptors.G2(jp.CosineCutoff(4.0), eta=[40.0, 40.0], r_s=[0.6, 2.3])
    head = jp.fit.standardise(jp.AtomicPotential(jp.descriptors.ACSF(("Si",), (near,)), jp.MLP((3,))), data).head
    assert head.scale[0, 0] == 1 and 0.01 < head.scale[0, 1] < 1
    assert abs(head.shift[0, 0]) < 1e-45


def test_plot(small):
    history = still(START, small, steps=2, validation=small)
    figure = jp.fit.plot_history(json.loads(json.dumps(history)), quantity="mae")
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels == ["squared error / noise², per label", "MAE, energy (meV/atom)", "MAE, force component (eV/Å)"]
    line, validation = figure.axes[1].get_lines()
    np.testing.assert_allclose(line.get_ydata(), 1e3 * np.array(history["energy_mae"]))
    np.testing.assert_allclose(validation.get_ydata(), 1e3 * np.array(history["validation_energy_mae"]))
    with pytest.raises(ValueError, match='"rmse" or "mae"'):
        jp.fit.plot_history(history, quantity="max")
    with pytest.raises(ValueError, match="no entries"):
        jp.fit.plot_history({})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": SHELLS}, TypeError, "expected a potential, got Shells"),
        ({"optimizer": 0.1}, TypeError, r"optax\.adam\(1e-3\), got float"),
        ({"steps": 0}, ValueError, "steps must be a positive whole number, got 0"),
        ({"batch": 2.0}, ValueError, "batch must be a positive whole number, got 2.0"),
        ({"batch": 4}, ValueError, r"write key=jax\.random\.key\(0\)"),
        ({"patience": 3}, ValueError, "patience needs validation"),
        ({"average": 1.0}, ValueError, "between 0 and 1"),
        ({"where": "*.nothing"}, ValueError, "no leaf matches"),
        ({"bounds": {"sigma": (5.0, 6.0)}}, ValueError, "not strictly inside"),
    ],
)
def test_refused(small, changes, error, message):
    arguments = {"model": START, "optimizer": optax.adam(0.1), "steps": 1, "where": BOTH} | changes
    with pytest.raises(error, match=message):
        jp.fit.train(arguments.pop("model"), small, arguments.pop("optimizer"), **arguments)


def test_data_without_labels_are_refused():
    atoms = Atoms("Ar", info={"dipole": np.zeros(3)})
    data = jp.Dataset.from_atoms([atoms], 6.0, sigma=jp.Properties(dipole=1.0))
    with pytest.raises(ValueError, match="data has no labels of energy, energies, forces, virial, which LennardJones predicts"):
        still(START, data)
