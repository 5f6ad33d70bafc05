"""Classes as a stranger would write them: what the interface asks for and nothing else. They pass the same laws as the library's own."""

import dataclasses

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import SPECIES, STRUCTURES, assert_below, deviations, quick_jit, relative

import jaxpot as jp
from jaxpot.math.linalg import safe_norm
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.trees import positive, pytree, static


@pytree
class SoftStep(jp.cutoffs.Cutoff):
    radius: jax.Array = positive()

    def __call__(self, r):
        x = jnp.clip(r / self.radius, 0, 1)
        return (1 - x**2) ** 3


@pytree
class Sines(jp.radial.Radial):
    n_max: int = static()

    def __call__(self, r, radius):
        return jnp.stack([jnp.sinc((n + 1) * r / radius) for n in range(self.n_max)], axis=-1)


@pytree
class Rational(jp.kernels.Kernel):
    length: jax.Array = positive()

    def __call__(self, x, y):
        return 1 / (1 + jnp.sum((x[:, None] - y[None]) ** 2, axis=-1) / self.length**2)


@pytree
class Shells(jp.LocalDescriptor):
    """How much of each element there is around an atom, near and far."""

    species: tuple[str, ...] = static()
    cutoff: jp.cutoffs.Cutoff

    @property
    def n_features(self):
        return 2 * len(self.species)

    @property
    def reach(self):
        return self.cutoff.radius

    def environment(self, env):
        r = safe_norm(env.vectors)
        near = jnp.stack([jnp.exp(-r), jnp.exp(-((r - 2) ** 2))], axis=1) * self.cutoff(r)[:, None]
        return jnp.einsum("ks,kf->sf", jax.nn.one_hot(env.species, len(self.species), dtype=r.dtype), near).reshape(-1)


@pytree
class PointDensity(jp.LocalExpansion):
    """Neighbours as points with one radial function; not written as a product of factors."""

    species: tuple[str, ...] = static()
    cutoff: jp.cutoffs.Cutoff
    l_max: int = static(2)

    @property
    def n_channels(self):
        return len(self.species)

    @property
    def reach(self):
        return self.cutoff.radius

    def of(self, env):
        own = jax.nn.one_hot(env.species, len(self.species), dtype=env.vectors.dtype)
        return jnp.einsum("ks,k,km->sm", own, self.cutoff(safe_norm(env.vectors)), spherical_harmonics(env.vectors, self.l_max))


@pytree
class FarField(jp.descriptors.GraphExpansion):
    """The field of all atoms of a molecule around each of them, whatever the neighbour lists."""

    species: tuple[str, ...] = static()
    width: jax.Array = positive(2.0)
    l_max: int = static(1)

    @property
    def n_channels(self):
        return 1

    @property
    def reach(self):
        return jnp.zeros(())

    def coefficients(self, graph):
        vectors = graph.positions[None] - graph.positions[:, None]
        r = safe_norm(vectors)
        weight = jnp.where((graph.numbers > 0)[None] & ~jnp.eye(len(graph.numbers), dtype=bool), graph.numbers[None] * jnp.exp(-r / self.width), 0)
        return jnp.einsum("ij,ijm->im", weight, spherical_harmonics(vectors, self.l_max))[:, None]


@pytree
class Norms(jp.Invariants):
    """|c_ql|² of one expansion."""

    expansion: jp.Expansion

    @property
    def n_features(self):
        return self.expansion.n_channels * (self.expansion.l_max + 1)

    def of(self, c):
        return jnp.concatenate([jnp.sum(c[:, l * l : (l + 1) ** 2] ** 2, axis=1) for l in range(self.expansion.l_max + 1)])


@pytree
class Across(jp.Invariants):
    """Scalar products of a density and a far field: multi-scale features."""

    near: jp.Expansion
    far: jp.Expansion

    @property
    def expansions(self):
        return self.near, self.far

    @property
    def n_features(self):
        return self.near.n_channels * self.far.n_channels * (min(self.near.l_max, self.far.l_max) + 1)

    def of(self, near, far):
        blocks = [slice(l * l, (l + 1) ** 2) for l in range(min(self.near.l_max, self.far.l_max) + 1)]
        return jnp.concatenate([(near[:, b] @ far[:, b].T).reshape(-1) for b in blocks])


@pytree
class Saturated(jp.Head):
    """One sigmoid per feature."""

    weights: jax.Array = static(None)

    def __call__(self, features, species):
        return jnp.sum(jnp.tanh(0.3 * features), axis=1) * (1 + 0.1 * species)


@pytree
class Cubes(jp.LinearHead):
    """Linear in the features and in their cubes."""

    n_features: int | None = static(None)
    coefficients: jax.Array | None = None

    def sized(self, descriptor):
        return self.replace(n_features=descriptor.n_features)

    def basis(self, features, species):
        return jnp.concatenate([features, features**3], axis=1)

    def precision(self):
        return jnp.eye(2 * self.n_features)


@pytree
class Nearness(jp.LinearHead):
    """A kernel head of its own: it says what it refers to, and is given the features."""

    references: jp.heads.References = dataclasses.field(default_factory=jp.heads.References)
    coefficients: jax.Array | None = None

    @property
    def n_coefficients(self):
        return self.references.count

    def basis(self, features, species):
        known = self.references
        near = jnp.exp(-0.5 * jnp.sum((features[:, None] - known.features[None]) ** 2, axis=-1))
        return jnp.where(species[:, None] == known.kinds[None], near, 0)

    def precision(self):
        return self.basis(self.references.features, self.references.kinds) + 1e-4 * jnp.eye(self.n_coefficients)


@pytree
class Springs(jp.LocalPotential):
    species: tuple[str, ...] = static()
    cutoff: jp.cutoffs.Cutoff
    stiffness: jax.Array = positive(1.0)

    @property
    def reach(self):
        return self.cutoff.radius

    def of(self, envs):
        r = safe_norm(envs.vectors)
        return 0.5 * self.stiffness * jnp.sum((r - 1.5) ** 2 * self.cutoff(r) * envs.mask, axis=1)


@pytree
class Gyration(jp.Potential):
    """Something of the whole structure."""

    species: tuple[str, ...] = static()
    strength: jax.Array = positive(0.1)

    @property
    def reach(self):
        return jnp.zeros(())

    def energies(self, graph):
        real = (graph.numbers > 0)[:, None]
        center = jnp.sum(jnp.where(real, graph.positions, 0), axis=0, keepdims=True) / jnp.maximum(jnp.sum(real), 1)
        return self.strength * jnp.sum(jnp.where(real, graph.positions - center, 0) ** 2, axis=1)


CUTOFF = SoftStep(3.1)
DENSITY = PointDensity(SPECIES, CUTOFF)
FAR = FarField(SPECIES)


def fitted(potential):
    return potential.with_coefficients(np.random.default_rng(1).normal(size=potential.n_coefficients))


def with_points(head):
    shells = Shells(SPECIES, CUTOFF)
    envs = jp.environments(catalog.to_graph(catalog.SPARSE), shells.reach, SPECIES)
    points = jax.tree_util.tree_map(lambda x: np.asarray(x)[: len(catalog.SPARSE)], envs)
    return fitted(jp.AtomicPotential(shells, head).with_points(points))


STRANGERS = {
    "descriptor": lambda: fitted(jp.AtomicPotential(Shells(SPECIES, CUTOFF), jp.Linear())),
    "expansion": lambda: fitted(jp.AtomicPotential(jp.SOAP(DENSITY), jp.Linear())),
    "expansion in ACE": lambda: fitted(jp.AtomicPotential(jp.ACE(DENSITY, jp.TotalDegree((3, 4, 4))), jp.Linear())),
    "invariants": lambda: fitted(jp.AtomicPotential(Norms(DENSITY), jp.heads.Quadratic())),
    "radial": lambda: fitted(jp.AtomicPotential(jp.SOAP(jp.Density(SPECIES, CUTOFF, Sines(2), 2, sigma=0.5)), jp.Linear())),
    "kernel": lambda: with_points(jp.SparseGP(Rational(1.3), delta=0.7, jitter=1e-4)),
    "kernel head": lambda: with_points(Nearness()),
    "head": lambda: jp.AtomicPotential(Shells(SPECIES, CUTOFF), Saturated()),
    "linear head": lambda: fitted(jp.AtomicPotential(Shells(SPECIES, CUTOFF), Cubes())),
    "local potential": lambda: Springs(SPECIES, cutoff=CUTOFF),
    "potential": lambda: Gyration(SPECIES),
    "graph expansion": lambda: fitted(jp.AtomicPotential(Norms(FAR), jp.Linear())),
    "two expansions": lambda: fitted(jp.AtomicPotential(Across(DENSITY, FAR), jp.Linear())),
}
MOLECULES = {"potential", "graph expansion", "two expansions"}  # of toys that see whole molecules
LINEAR = ("descriptor", "expansion", "expansion in ACE", "invariants", "linear head", "kernel head", "graph expansion", "two expansions")


@pytest.fixture(scope="module")
def programs():
    return {}


def evaluated(programs, name, graph):
    if name not in programs:
        programs[name] = STRANGERS[name](), quick_jit(jp.evaluate)
    model, evaluate = programs[name]
    return evaluate(model, graph)


@pytest.mark.parametrize("name", STRANGERS)
def test_symmetry(name, programs):
    """Translated, turned, mirrored and renumbered; and padded, since atoms are fewer than slots."""
    atoms, rng = STRUCTURES["molecule"], np.random.default_rng(0)
    n, reference = len(atoms), evaluated(programs, name, catalog.graph("molecule"))
    assert abs(float(reference.energy)) > 1e-3 and np.max(np.abs(reference.forces)) > 1e-3
    q = np.asarray(jp.random_rotation(jax.random.key(2))) * -1.0
    moved, order = atoms.copy(), rng.permutation(n)
    moved.positions = atoms.positions @ q.T + rng.normal(size=3)
    found = evaluated(programs, name, catalog.to_graph(moved[order]))
    back = found.replace(
        forces=np.zeros_like(found.forces), energies=np.zeros_like(found.energies), virial=q.T @ np.asarray(found.virial) @ q
    )
    back.forces[order], back.energies[order] = np.asarray(found.forces)[:n] @ q, np.asarray(found.energies)[:n]
    assert_below(deviations(back, reference, n), 1e-11)


@pytest.mark.parametrize("name", ["descriptor", "radial", "invariants", "expansion in ACE"])
def test_laws(name):
    """What strangers are given to hold their own classes to."""
    jp.testing.check(STRANGERS[name](), STRUCTURES["triclinic"])


@pytest.mark.parametrize("name", STRANGERS)
def test_forces_and_virial_are_derivatives(name, programs):
    structure = "molecule" if name in MOLECULES else "triclinic"
    atoms, rng, step = STRUCTURES[structure], np.random.default_rng(1), 1e-5
    found = evaluated(programs, name, catalog.graph(structure))
    move, strain = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    strain = strain + strain.T

    def energy(size, of):
        graph = catalog.graph(structure)
        if of == "positions":
            graph = graph.replace(positions=graph.positions.at[: len(atoms)].add(size * move))
        return float(evaluated(programs, name, graph if of == "positions" else jp.strain(graph, size * strain)).energy)

    for of, expected in (("positions", -np.sum(np.asarray(found.forces)[: len(atoms)] * move)), ("strain", -np.sum(np.asarray(found.virial) * strain))):
        slope = (energy(step, of) - energy(-step, of)) / (2 * step)
        assert abs(slope - expected) < 1e-6 * max(1.0, abs(expected)), of


@pytest.mark.parametrize("name", LINEAR)
def test_rows_times_coefficients(name):
    """The rows that a fit multiplies, which a class gets for nothing."""
    structure = "molecule" if name in MOLECULES else "slab"
    model, graph = STRANGERS[name](), catalog.graph(structure)
    rows, found = quick_jit(lambda m, g: (jp.fit.design(m, g), jp.evaluate(m, g)))(model, graph)
    w, n = np.asarray(model.head.coefficients), len(STRUCTURES[structure])
    assert relative(rows.energy @ w, found.energy) < 1e-11
    assert relative((np.asarray(rows.forces) @ w)[:n], np.asarray(found.forces)[:n]) < 1e-10
    assert relative(np.asarray(rows.virial) @ w, found.virial) < 1e-10


@pytest.mark.parametrize("name", ["descriptor", "kernel", "radial", "expansion"])
def test_save_and_load(name, tmp_path):
    model = STRANGERS[name]()
    loaded = jp.load(jp.save(tmp_path / "model.npz", model))
    assert loaded == model and type(loaded) is type(model)


def test_a_kernel_head_is_frozen_and_has_no_variance_unless_it_says_so():
    model = STRANGERS["kernel head"]()
    frozen, graph = jp.freeze(model), catalog.graph("molecule")
    assert frozen.head.references.points is None and frozen.head.references.features.shape == (model.n_coefficients, 4)
    assert relative(*(catalog.evaluate(m, graph).energy for m in (frozen, model))) < 1e-13
    one = np.eye(model.n_coefficients)
    with pytest.raises(TypeError, match=r"the variance of Nearness is not known; write its prior_covariance\(one, other\)"):
        jp.fit.Posterior(frozen, one, (one,)).variance(graph)
    with pytest.raises(TypeError, match="Linear has no sparse points; use SparseGP"):
        STRANGERS["descriptor"]().with_points(model.head.references.points)


def test_locality_is_a_class():
    local = {name for name in STRANGERS if isinstance(STRANGERS[name](), jp.LocalPotential)}
    assert set(STRANGERS) - local == MOLECULES
    assert isinstance(STRANGERS["two expansions"](), jp.potentials.GraphPotential)


# every interface, and what a class that has nothing of it is told to write
INTERFACES = [
    (jp.LocalDescriptor, ["species", "n_features", "reach", "def environment(self, env)"]),
    (jp.Invariants, ["n_features", "def of(self, *c)"]),
    (jp.LocalExpansion, ["species", "l_max", "n_channels", "reach", "def of(self, env)"]),
    (jp.descriptors.GraphExpansion, ["species", "l_max", "n_channels", "reach", "def coefficients(self, graph)"]),
    (jp.Head, ["def __call__(self, features, species)"]),
    (jp.LinearHead, ["coefficients", "def basis(self, features, species)", "def precision(self)"]),
    (jp.Potential, ["species", "reach", "def energies(self, graph)"]),
    (jp.LocalPotential, ["species", "reach", "def of(self, envs)"]),
    (jp.cutoffs.Cutoff, ["radius", "def __call__(self, r)"]),
    (jp.radial.Radial, ["n_max", "def __call__(self, r, radius)"]),
    (jp.kernels.Kernel, ["def __call__(self, x, y)"]),
]


@pytest.mark.parametrize(("interface", "lines"), INTERFACES, ids=lambda x: getattr(x, "__name__", None))
def test_a_missing_member_is_named_at_construction(interface, lines):
    stranger = pytree(type(f"Bare{interface.__name__}", (interface,), {"__module__": __name__}))
    with pytest.raises(TypeError) as error:
        stranger()
    for line in lines:
        assert line in str(error.value), str(error.value)
    assert len(str(error.value).split("write\n")[1].splitlines()) == len(lines) <= 5
