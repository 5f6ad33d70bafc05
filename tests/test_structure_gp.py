"""Gaussian processes on whole structures and the global density, against dense NumPy, finite differences and fits of toy data."""

import functools

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from catalog import SPECIES, STRUCTURES, assert_below, deviations, is_finite, quick_jit, relative, to_graph

import jaxpot as jp
from jaxpot.descriptors.global_soap import GlobalSOAP
from jaxpot.math import matching
from jaxpot.math.linalg import einsum, safe_norm, unit
from jaxpot.math.matching import Average, BestMatch, REMatch
from jaxpot.passes import condense
from jaxpot.potentials.structure_gp import StructureGP


@jp.pytree
class SoftCounts(jp.LocalDescriptor):
    """Soft counts of neighbours by element and distance, normalised: a descriptor that compiles quickly."""

    cutoff: jp.CosineCutoff
    width: jax.Array = jp.positive(0.6)
    species: tuple[str, ...] = jp.static(SPECIES)

    @property
    def reach(self):
        return jnp.asarray(self.cutoff.radius)

    @property
    def n_features(self):
        return 1 + 3 * len(self.species)

    def environment(self, env):
        r = safe_norm(env.vectors)
        shell = jnp.exp(-(((r[:, None] - jnp.array([[1.2, 1.8, 2.4]], r.dtype)) / jnp.asarray(self.width, r.dtype)) ** 2))
        element = jax.nn.one_hot(env.species, len(self.species), dtype=r.dtype)
        counts = einsum("k,ks,kz->zs", self.cutoff(r), shell, element)
        return unit(jnp.concatenate([jnp.ones(1, r.dtype), counts.reshape(-1)]))


DENSITY = jp.Density(SPECIES, catalog.COSINE, jp.GTO(2), 1, sigma=0.5)
LOCAL, SOAP, GLOBAL = SoftCounts(catalog.COSINE), jp.SOAP(DENSITY, normalize=False), GlobalSOAP(DENSITY)
KERNEL = jp.PolynomialKernel(2.0)
MATCHINGS = {"average": Average(), "best": BestMatch(), "rematch": REMatch(0.05)}
REFERENCES = [catalog.SPARSE, Atoms("CSi", positions=[[0, 0, 0], [1.1, 1.0, 0.9]]), STRUCTURES["small-cell"]]
MODELS = {name: (LOCAL, matching) for name, matching in MATCHINGS.items()} | {"global": (GLOBAL, Average())}

basis = quick_jit(lambda model, graph: model.basis(graph).energy)
precision = quick_jit(lambda model: model.precision())
features = quick_jit(lambda descriptor, graph: descriptor.features(graph))
densities = quick_jit(lambda density, graph: jax.vmap(condense(density).of)(jp.environments(graph, density.reach, density.species)))
match = quick_jit(lambda matching, C, rows, columns: matching(C, rows, columns))
design = quick_jit(jp.fit.design)
variance = quick_jit(jp.fit.Posterior.variance)
local_features = quick_jit(lambda descriptor, graph: descriptor(graph))


def unfitted(name="rematch", **changes):
    descriptor, matching = MODELS[name]
    model = StructureGP(descriptor, KERNEL, matching, delta=0.7, **changes)
    return model.with_points([to_graph(a) for a in REFERENCES])


@functools.cache
def model(name):
    return unfitted(name).with_coefficients(np.array([0.8, -1.1, 0.5]))


def structure_kernel(name, a, b):
    """k(A, B) of two structures by NumPy loops over atoms of equal element."""
    descriptor, matching = MODELS[name]
    if name == "global":
        return float(np.dot(features(descriptor, to_graph(a)), features(descriptor, to_graph(b)))) ** 2
    x, y = (np.asarray(local_features(descriptor, to_graph(atoms)))[: len(atoms)] for atoms in (a, b))
    C = np.zeros((catalog.MAX_ATOMS, catalog.MAX_ATOMS))
    C[: len(a), : len(b)] = (x @ y.T) ** 2 * (a.numbers[:, None] == b.numbers[None, :])
    real = jnp.arange(catalog.MAX_ATOMS)
    return C.sum() / (len(a) * len(b)) if name == "average" else float(match(matching, jnp.asarray(C), real < len(a), real < len(b)))


@pytest.mark.parametrize(("name", "normalize", "extensive"), [("average", False, True), ("rematch", True, True), ("global", True, False)])
def test_basis_and_precision(name, normalize, extensive):
    """The definition, with and without normalisation and factor N."""
    k = np.array([[structure_kernel(name, a, b) for b in REFERENCES] for a in REFERENCES])
    atoms = STRUCTURES["molecule"]
    row, own = np.array([structure_kernel(name, atoms, b) for b in REFERENCES]), structure_kernel(name, atoms, atoms)
    ready = unfitted(name, normalize=normalize, extensive=extensive)
    scale = np.sqrt(np.diag(k)) if normalize else np.ones(3)
    expected = 0.49 * row / scale / (np.sqrt(own) if normalize else 1) * (len(atoms) if extensive else 1)
    assert relative(basis(ready, to_graph(atoms)), expected) < 1e-11
    assert relative(precision(ready), 0.49 * k / np.outer(scale, scale) + 1e-8 * np.eye(3)) < 1e-11


@pytest.mark.parametrize("name", MODELS)
def test_forces_and_virial(name):
    graph, n, h = catalog.graph("slab"), 3, 2e-4
    found = catalog.evaluate(model(name), graph)
    energy = lambda g: float(catalog.evaluate(model(name), g).energy)  # noqa: E731
    rng, errors = np.random.default_rng(0), {}
    central = lambda f: (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)  # noqa: E731
    for k in range(4):
        direction = np.zeros(graph.positions.shape)
        direction[:n] = rng.normal(size=(n, 3))
        numeric = -central(lambda d: energy(graph.replace(positions=graph.positions + d * direction)))  # noqa: B023
        errors["forces", k] = abs(np.sum(found.forces * direction) - numeric) / np.max(np.abs(found.forces))
        epsilon = rng.normal(size=(3, 3))
        epsilon = 0.1 * (epsilon + epsilon.T)
        numeric = -central(lambda d: energy(jp.strain(graph, d * epsilon)))  # noqa: B023
        errors["virial", k] = abs(np.sum(found.virial * epsilon) - numeric) / np.max(np.abs(found.virial))
    assert_below(errors, 1e-9)
    assert np.all(found.forces[n:] == 0) and np.max(np.abs(found.forces)) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_order_and_size(name):
    """Another order of atoms changes nothing; n copies of a cell have n times the energy."""
    atoms = STRUCTURES["triclinic"]
    before = catalog.evaluate(model(name), catalog.graph("triclinic"))
    order = [1, 0]
    after = catalog.evaluate(model(name), to_graph(atoms[order]))
    assert_below(deviations(after.replace(forces=after.forces[jnp.array([1, 0])]), before.replace(forces=before.forces[:2]), 2), 1e-12)
    twice = catalog.evaluate(model(name), to_graph(atoms.repeat((1, 2, 1))))
    expected = before.replace(energy=2 * before.energy, virial=2 * before.virial, forces=np.tile(before.forces[:2], (2, 1)))
    assert_below(deviations(twice, expected, 4), 1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e6])
def test_ties_of_the_best_match_fall_alike(shift):
    """A crystal that is repeated, in another order and far from the origin: forces are those at home, up to its round-off."""
    atoms = Atoms("Si2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=np.eye(3) * 3.1, pbc=True)
    other = atoms.repeat((1, 1, 2))
    other.rattle(0.2, seed=0)
    gp = unfitted("best").with_points([to_graph(atoms), to_graph(other), to_graph(STRUCTURES["molecule"])])
    gp = gp.with_coefficients(np.array([0.8, -1.1, 0.5]))
    atoms.positions[0] += [0.2, 0.1, -0.1]
    before = catalog.evaluate(gp, to_graph(atoms))
    order = np.array([2, 0, 5, 3, 1, 4])
    moved = atoms.repeat((1, 1, 3))[order]
    moved.positions += shift
    after = catalog.evaluate(gp, to_graph(moved))
    expected = before.replace(energy=3 * before.energy, virial=3 * before.virial, forces=np.tile(before.forces[:2], (3, 1))[order])
    assert_below(deviations(after, expected, 6), 1e-12 + 1e-14 * shift)


@pytest.mark.parametrize("name", ["best", "rematch"])
def test_padding_and_batches(name):
    """Other padding of structures and references, and batches, change nothing."""
    other = model(name).with_points([jp.from_atoms(a, catalog.LIST, max_atoms=7, max_neighbors=40) for a in REFERENCES])
    other = other.with_coefficients(model(name).coefficients)
    batch = jp.stack([jp.from_atoms(STRUCTURES[structure], catalog.LIST) for structure in ("triclinic", "slab")])
    results = quick_jit(jax.vmap(jp.evaluate, (None, 0)))(other, batch)
    for i, structure in enumerate(("triclinic", "slab")):
        single = catalog.evaluate(model(name), catalog.graph(structure))
        assert_below(deviations(jax.tree_util.tree_map(lambda x, i=i: x[i], results), single, len(STRUCTURES[structure])), 1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_save(name, tmp_path):
    assert jp.load(jp.save(tmp_path / "model", model(name))) == model(name)


def test_freeze(tmp_path):
    frozen = jp.freeze(model("rematch"))
    assert frozen.references.points is None and frozen.self_kernels is None and frozen.descriptor == LOCAL
    again = jp.load(jp.save(tmp_path / "frozen", frozen))
    assert again == frozen and jp.freeze(again) == again
    before = catalog.evaluate(model("rematch"), catalog.graph("slab"))
    assert_below(deviations(catalog.evaluate(again, catalog.graph("slab")), before, 3), 1e-13)


def test_single_precision():
    before = catalog.evaluate(model("rematch"), catalog.graph("slab"))
    single = catalog.evaluate(jp.cast(model("rematch"), jnp.float32, insist=True), jp.cast(catalog.graph("slab"), jnp.float32))
    assert single.energy.dtype == single.forces.dtype == jnp.float32
    assert_below(deviations(single, before, 3), 3e-5)


def nan_everywhere(result, n):
    return bool(np.isnan(result.energy) and np.all(np.isnan(result.forces[:n])) and np.all(np.isnan(result.virial)))


@pytest.mark.parametrize("name", MODELS)
def test_what_the_gate_refuses_is_nan(name):
    """Also where no atom has a partner of its element: all similarities are then zero, whatever the features are."""
    graph = catalog.graph("molecule")
    short = to_graph(STRUCTURES["molecule"], cutoff=2.9)
    alien = STRUCTURES["molecule"].copy()
    alien.numbers[3] = 8
    carbon = to_graph(Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.5]]))
    oxygen = to_graph(Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.5]]))
    silicon = model(name).with_points([to_graph(STRUCTURES["small-cell"])] * 3).with_coefficients(np.ones(3))
    assert float(catalog.evaluate(silicon, carbon).energy) == 0
    for case, (ready, bad, n) in {
        "overflow": (model(name), graph.replace(overflow=jnp.asarray(True)), 5),
        "cutoff": (model(name), short, 5),
        "element": (model(name), to_graph(alien), 5),
        "element without partner": (silicon, oxygen, 2),
        "overflow without partner": (silicon, carbon.replace(overflow=jnp.asarray(True)), 2),
    }.items():
        assert nan_everywhere(catalog.evaluate(ready, bad), n), case
        assert jp.diagnose(ready, bad), case
    assert is_finite(catalog.evaluate(model(name), graph))


def test_a_reference_that_the_model_outgrew_is_nan():
    params, build = jp.free(model("average"), "*.cutoff.radius")
    grown = build({key: jnp.log(catalog.LIST + 0.1) for key in params})
    graph = to_graph(STRUCTURES["triclinic"], cutoff=3.8)
    assert np.isnan(catalog.evaluate(grown, graph).energy)
    (reason,) = jp.diagnose(grown, graph)
    assert "reference structure 0: the model looks 3.7 Å far" in reason


def test_a_plan_that_does_not_converge_is_explained(monkeypatch):
    monkeypatch.setattr(matching, "_STEPS", 1)
    graph = jp.from_atoms(STRUCTURES["slab"], catalog.LIST, max_neighbors=19)  # of a shape that is not compiled yet
    (reason,) = jp.diagnose(model("rematch"), graph)
    assert "3 of 3 reference structures" in reason and "larger gamma" in reason


def test_no_atoms_have_no_energy():
    graph = catalog.graph("slab")
    for name in MODELS:
        result = catalog.evaluate(model(name), graph.replace(numbers=jnp.zeros_like(graph.numbers)))
        assert float(result.energy) == 0 and is_finite(result)


# fits


POTENTIAL = jp.empirical.LennardJones(SPECIES, epsilon=0.4, sigma=1.4, cutoff=jp.cutoffs.PolynomialCutoff(3.6, width=1.0))


@functools.cache
def frames():
    out = []
    for seed in range(5):
        atoms = catalog.SPARSE.copy()
        atoms.rattle(0.15, seed=seed)
        p = catalog.evaluate(POTENTIAL, to_graph(atoms))
        atoms.calc = SinglePointCalculator(atoms, energy=float(p.energy), forces=np.asarray(p.forces)[:3])
        out.append(atoms)
    return out


def start(name):
    gp = StructureGP(*MODELS[name][:1], KERNEL, MODELS[name][1], delta=3.0, jitter=1e-6)
    return gp.with_points([jp.from_atoms(a, catalog.LIST) for a in frames()])


def structures(data):
    return [d for _, d in sorted(data.structures(), key=lambda item: item[0])]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MATCHINGS if name != "best"]


@pytest.mark.parametrize("name", ["best", *SLOW])
def test_fit(name):
    """Precise energies are interpolated, and the normal equations hold."""
    data = jp.Dataset.from_atoms(frames(), catalog.LIST, sigma=jp.noise_levels(1e-6, 10.0))
    gp = start(name)
    posterior = jp.fit.posterior(gp, data, progress=False)
    fitted = posterior.model
    assert fitted.references.points is None
    w = np.asarray(fitted.coefficients)
    prior = np.asarray(precision(gp)) @ w
    left, scale = prior, np.max(np.abs(prior))
    for d in structures(data):
        rows = design(gp, d.graphs)
        assert abs(float(rows.energy @ w - d.targets.energy)) < 1e-4
        for field in ("energy", "forces"):
            a, y, sigma = (np.asarray(getattr(x, field)) for x in (rows, d.targets, d.sigma))
            weighted = (a / sigma[..., None] ** 2).reshape(-1, len(w))
            left, scale = left + weighted.T @ np.ravel(a @ w - y), max(scale, np.max(np.abs(weighted)) * np.max(np.abs(y)))
        assert 0 < float(variance(posterior, d.graphs)) < 2 * 3**2 * 1e-6  # what the jitter leaves
    assert np.max(np.abs(left)) < 1e-9 * scale
    far = frames()[0].copy()
    far.positions[2] += 1.0
    assert float(variance(posterior, jp.from_atoms(far, catalog.LIST, max_neighbors=2))) > 1e-3


@pytest.mark.parametrize("name", ["best", "rematch"])
def test_rows_are_what_the_coefficients_multiply(name):
    graph = catalog.graph("slab")
    rows = design(model(name), graph)
    got = jax.tree_util.tree_map(lambda a: a @ model(name).coefficients, rows)
    assert_below(deviations(got, catalog.evaluate(model(name), graph), 3), 1e-12)


def test_evidence():
    """Against the marginal likelihood of the energies by dense NumPy."""
    data, gp = jp.Dataset.from_atoms(frames(), catalog.LIST, sigma=jp.noise_levels(0.03)), start("average")
    rows = np.stack([np.asarray(basis(gp, d.graphs)) for d in structures(data)])
    y, noise = (np.array([float(getattr(d, part).energy) for d in structures(data)]) for part in ("targets", "sigma"))
    covariance = rows @ np.linalg.solve(np.asarray(precision(gp)), rows.T) + np.diag(noise**2)
    expected = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + len(y) * np.log(2 * np.pi))
    assert abs(float(quick_jit(jp.fit.log_evidence)(gp, data)) - expected) < 1e-8 * abs(expected)


@pytest.mark.slow
def test_evidence_gradient():
    """By gamma, by the descriptor's width, zeta and delta; the references follow."""
    data = jp.Dataset.from_atoms(frames(), catalog.LIST, sigma=jp.noise_levels(0.03))
    params, build = jp.free(start("rematch"), "matching.gamma", "kernel.zeta", "*.width", "delta")
    objective = quick_jit(jax.value_and_grad(lambda p: jp.fit.log_evidence(build(p), data)))
    _, gradients = objective(params)
    errors, h = {}, 1e-3
    for key, u in params.items():
        f = lambda d: float(objective(params | {key: u + d})[0])  # noqa: B023, E731
        numeric = (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
        errors[key] = abs(float(gradients[key]) - numeric) / abs(numeric)
    assert_below(errors, 1e-6)


# the global density


def copies(atoms, *moves):
    out = atoms.copy()
    for rotation, shift in moves:
        out += Atoms(atoms.symbols, positions=atoms.positions @ rotation.T + shift)
    return to_graph(out)


def test_global_density_of_one_atom_and_of_copies():
    """Far-apart copies interfere: equally turned ones add up to n² times the spectrum, others to something else."""
    raw, one = GLOBAL.replace(normalize=False), Atoms("Si", positions=[[0.3, 0.1, -0.2]])
    np.testing.assert_allclose(features(raw, to_graph(one)), local_features(SOAP, to_graph(one))[0], rtol=1e-13)
    crystal = STRUCTURES["small-cell"]  # one atom in a cell that is smaller than the cutoff
    local = local_features(SOAP, to_graph(crystal))[0]
    assert relative(features(raw, to_graph(crystal)), local) < 1e-13
    assert relative(features(raw, to_graph(crystal.repeat((2, 1, 2)))), 16 * np.asarray(local)) < 1e-12
    pair = Atoms("SiC", positions=[[0, 0, 0], [1.1, 1.0, 0.9]])
    p, far = features(raw, to_graph(pair)), np.array([0, 0, 50.0])
    turned = np.asarray(jp.random_rotation(jax.random.key(1)))
    assert relative(features(raw, copies(pair, (np.eye(3), far))), 4 * p) < 1e-12
    assert relative(features(raw, copies(pair, (np.eye(3), far), (np.eye(3), -far))), 9 * p) < 1e-12
    assert relative(features(raw, copies(pair, (turned, far))), 4 * p) > 1e-2
    # l = 0 does not know how they are turned
    assert relative(features(raw, copies(pair, (turned, far)))[::2], 4 * p[::2]) < 1e-12


def test_global_density_is_no_average_of_spectra():
    """|Σ c|² holds the cross terms that Σ |c|² lacks."""
    raw, atoms = GLOBAL.replace(normalize=False), STRUCTURES["molecule"]
    spectra = local_features(SOAP, to_graph(atoms))[: len(atoms)]
    c, spectrum = densities(DENSITY, to_graph(atoms))[: len(atoms)], quick_jit(lambda c: jp.descriptors.power_spectrum(c, DENSITY.l_max))
    cross = sum(spectrum(c[i] + c[j]) - spectra[i] - spectra[j] for i in range(len(atoms)) for j in range(i))
    p = features(raw, to_graph(atoms))
    assert relative(p, jnp.sum(spectra, axis=0) + cross) < 1e-12
    assert relative(p, jnp.sum(spectra, axis=0)) > 0.1
    assert relative(features(GLOBAL, to_graph(atoms)), p / np.linalg.norm(p)) < 1e-13


def test_no_cutoff():
    """A Step beyond the diameter sees every pair fully: a larger one changes nothing but the list."""
    atoms = STRUCTURES["molecule"]
    spectra = []
    for radius in (5.0, 6.0):
        descriptor = GlobalSOAP(jp.Density(SPECIES, jp.cutoffs.Step(radius), jp.radial.SolidGTO(2, radius=5.0), 1, sigma=0.5))
        spectra.append(features(descriptor, jp.from_atoms(atoms, 8.0)))
    assert relative(spectra[1], spectra[0]) < 1e-11


# what is refused


def test_refuses():
    with pytest.raises(TypeError, match="Average"):
        StructureGP(SOAP, KERNEL, KERNEL)
    with pytest.raises(TypeError, match="descriptor"):
        StructureGP(DENSITY, KERNEL, Average())
    with pytest.raises(TypeError, match="Density"):
        GlobalSOAP(SOAP)
    with pytest.raises(TypeError, match="descriptor"):
        jp.AtomicPotential(GLOBAL, jp.Linear())
    bare = StructureGP(SOAP, KERNEL, Average())
    with pytest.raises(ValueError, match="with_points"):
        bare.basis(catalog.graph("slab"))
    with pytest.raises(ValueError, match=r"with_points\(\[graph\]\)"):
        bare.with_points(catalog.graph("slab"))
    with pytest.raises(ValueError, match="reference structure 1: .*2.9 Å"):
        bare.with_points([catalog.graph("slab"), to_graph(STRUCTURES["slab"], cutoff=2.9)])
    with pytest.raises(ValueError, match="no graphs"):
        bare.with_points([])
    with pytest.raises(ValueError, match="fit.linear"):
        unfitted().energies(catalog.graph("slab"))
    with pytest.raises(ValueError, match="coefficients has shape"):
        unfitted().with_coefficients(np.ones(2))
    with pytest.raises(ValueError, match=r"kinds \[M, N\]"):
        StructureGP(SOAP, KERNEL, Average(), references=jp.heads.References(features=np.ones((2, 3, SOAP.n_features)), kinds=np.zeros(2, int)))
    stacked = jp.stack([catalog.graph("slab"), catalog.graph("molecule")])
    assert bare.with_points(stacked).n_coefficients == 2
