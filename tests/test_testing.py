"""The laws that users hold their own classes to: what keeps them passes, and each that is broken is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

import jaxpot
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.math.cutoffs import CosineCutoff, Cutoff, Step
from jaxpot.potentials.base import Potential
from jaxpot.testing import check, check_derivatives, check_invariance
from jaxpot.trees import positive, pytree, static

ATOMS = Atoms("Si4", [[0.1, 0.0, 0.2], [2.3, 0.1, 0.0], [0.3, 2.1, 0.4], [1.4, 1.2, 1.9]], cell=[[5.0, 0.3, 0.0], [0.0, 5.2, 0.1], [0.2, 0.0, 5.1]], pbc=True)


@pytree
class Moments(LocalDescriptor):
    """Sums of powers of distances, and what is asked for beside them."""

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    power: jnp.ndarray = positive(1.5)
    fault: str = static("")

    @property
    def reach(self):
        return self.cutoff.radius

    @property
    def n_features(self):
        return 2

    def environment(self, env):
        if self.fault == "rotation":
            return jnp.sum(env.vectors[:, :2] * self.cutoff(jnp.linalg.norm(env.vectors, axis=1))[:, None], axis=0)
        r = jnp.linalg.norm(env.vectors, axis=1)
        weight = jnp.where(env.mask, 1.0, 2.0) if self.fault == "padding" else self.cutoff(r)
        return jnp.stack([jnp.sum(weight * r**self.power), jnp.sum(weight * r**-self.power)])


@pytree
class Cubed(Potential):
    """Σ |r|³ over all atoms, which no translation leaves alone; its leaf is read as a constant."""

    species: tuple[str, ...] = static()
    scale: jnp.ndarray = positive(1.0)

    @property
    def reach(self):
        return jnp.zeros(())

    def energies(self, graph):
        from jax.lax import stop_gradient

        return jnp.where(graph.numbers > 0, stop_gradient(self.scale) * jnp.sum(graph.positions**2, axis=1) ** 1.5, 0.0)


def test_what_keeps_the_laws_passes():
    model = Moments(("Si",), CosineCutoff(4.0))
    check_invariance(model, ATOMS)
    check_derivatives(model, ATOMS)
    harmonic = jaxpot.AtomicPotential(model, jaxpot.Linear(coefficients=np.array([0.2, -0.7])))
    check_derivatives(harmonic, ATOMS)


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (Moments(("Si",), CosineCutoff(4.0), fault="rotation"), "Moments: rotation changes the features"),
        (Moments(("Si",), CosineCutoff(4.0), fault="padding"), "Moments: padding changes the features"),
        (Moments(("Si",), Step(4.0)), "Moments: an atom that crosses the cutoff changes the features"),
        (Cubed(("Si",)), "Cubed: translation changes the energy"),
    ],
    ids=["rotation", "padding", "cutoff", "translation"],
)
def test_a_broken_law_is_named(model, law):
    with pytest.raises(AssertionError, match=law):
        check_invariance(model, ATOMS)


def test_a_wrong_derivative_is_named():
    with pytest.raises(AssertionError, match=r"Cubed: along a random direction the derivative by leaf scale is 0, by finite differences -?\d"):
        check_derivatives(Cubed(("Si",)), ATOMS)


def test_what_is_neither_is_refused():
    with pytest.raises(TypeError, match=r"expected a Descriptor or a Potential, got CosineCutoff"):
        check_invariance(CosineCutoff(4.0), ATOMS)


# ---- every interface


@pytree
class Ramp(Cutoff):
    """A straight line."""

    radius: jnp.ndarray = positive()

    def __call__(self, r):
        return jnp.clip(1 - r / self.radius, 0, 1)


@pytree
class Wall(Cutoff):
    """Ends where it should not."""

    radius: jnp.ndarray = positive()

    def __call__(self, r):
        return jaxpot.CosineCutoff(1.2 * self.radius)(r)


@pytree
class Relative(Cutoff):
    """Looks at all distances at once."""

    radius: jnp.ndarray = positive()

    def __call__(self, r):
        return jaxpot.CosineCutoff(self.radius)(r) * (1 + 0.01 * jnp.sum(r))


@pytree
class Doubled(Cutoff):
    """A constant of NumPy makes float64 of everything."""

    radius: jnp.ndarray = positive()

    def __call__(self, r):
        return jaxpot.CosineCutoff(self.radius)(r) * np.ones(1)[0]


@pytree
class Waves(jaxpot.radial.Radial):
    """Sines over the distance, which at 0 are what 0/0 is, or the same function twice."""

    n_max: int = static()
    fault: str = static("")

    def __call__(self, r, radius):
        if self.fault == "at 0":
            return jnp.stack([jnp.sin((n + 1) * jnp.pi * r / radius) / r for n in range(self.n_max)], axis=-1)
        return jnp.stack([jnp.sinc((1 if self.fault else n + 1) * r / radius) for n in range(self.n_max)], axis=-1)


@pytree
class Likeness(jaxpot.kernels.Kernel):
    """exp(−|x − y|²/2θ²), and what is asked for instead."""

    theta: jnp.ndarray = positive(0.7)
    fault: str = static("")

    def __call__(self, x, y):
        d = jnp.sum((x[..., None, :] - y.reshape((1,) * (x.ndim - 1) + y.shape)) ** 2, axis=-1)
        if self.fault == "symmetry":
            return jnp.exp(-d / 2 / self.theta**2) * jnp.sum(x, axis=-1, keepdims=True)
        if self.fault == "sign":
            return 1 + d / self.theta
        return jnp.exp(-jnp.sqrt(d) / self.theta) if self.fault == "root" else jnp.exp(-d / 2 / self.theta**2)


@pytree
class Quotient(jaxpot.Head):
    """tanh of the sum of features, in parts of what all atoms have if there is a fault."""

    scale: jnp.ndarray = positive(1.0)
    fault: bool = static(False)

    def __call__(self, features, species):
        own = jnp.tanh(self.scale * jnp.sum(features, axis=1))
        return own / jnp.mean(own) if self.fault else own


@pytree
class Cubes(jaxpot.LinearHead):
    """Linear in cubes; its energies are not what its basis says if there is a fault."""

    coefficients: jnp.ndarray
    fault: bool = static(False)

    def basis(self, features, species):
        return features**3

    def precision(self):
        return jnp.eye(len(self.coefficients))

    def __call__(self, features, species):
        return super().__call__(features, species) + (1.0 if self.fault else 0.0)


@jax.custom_vjp
def attracted(r):
    return jnp.exp(-r)


attracted.defvjp(lambda r: (attracted(r), r), lambda r, pull: (-0.99 * jnp.exp(-r) * pull,))  # of which one part in a hundred is lost


@pytree
class Pairs(jaxpot.LocalPotential):
    """exp(−r) of all pairs."""

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    fault: bool = static(False)

    @property
    def reach(self):
        return self.cutoff.radius

    def of(self, envs):
        r = jaxpot.math.linalg.safe_norm(envs.vectors)
        return jnp.sum((attracted(r) if self.fault else jnp.exp(-r)) * self.cutoff(r), axis=1)


@pytree
class Forgetful(Cutoff):
    """Whose field is made anew from another, so that a changed leaf is lost."""

    radius: jnp.ndarray = positive()

    def __call__(self, r):
        return jaxpot.CosineCutoff(jax.lax.stop_gradient(self.radius))(r)


KEPT = [
    CosineCutoff(4.0, width=1.0), jaxpot.cutoffs.PowerCutoff(5.0), jaxpot.radial.Agnesi(4, nearest=2.0), jaxpot.GTO(3), Waves(3),
    jaxpot.kernels.PolynomialKernel(2.0), Likeness(), Quotient(), Cubes(np.arange(1.0, 6.0)), Pairs(("Si", "C"), CosineCutoff(4.0)),
    Moments(("Si",), CosineCutoff(4.0)),
]  # fmt: skip


@pytest.mark.parametrize("thing", KEPT, ids=lambda thing: type(thing).__name__)
def test_check_passes(thing):
    check(thing)


def test_check_of_what_is_given():
    moments = Moments(("Si",), CosineCutoff(4.0))
    network = jaxpot.AtomicPotential(moments, jaxpot.MLP((3,)))
    check(network.head, (moments(ATOMS), np.zeros(len(ATOMS), int)))
    check(network, ATOMS)


@pytest.mark.parametrize(
    ("thing", "law"),
    [
        (Step(4.0), "Step: its value jumps at the radius 4 Å: it is 1 at 4e-05 Å before it"),
        (Ramp(4.0), "Ramp: its slope jumps at the radius 4 Å: it is 0.25 at 4e-05 Å before it"),
        (Wall(4.0), r"Wall: its value is 0.067 from the radius 4 Å on, expected 0"),
        (Relative(4.0), r"Relative: leaving out other distances changes the result by 0\.\d+ of the largest, expected at most 1e-10"),
        (Doubled(4.0), "Doubled: of float32 it makes float64; write constants as numbers of Python"),
        (Forgetful(4.0), r"Forgetful: along a random direction the derivative by leaf radius is 0, by finite differences -?\d"),
        (Waves(3, "at 0"), "Waves: its values at 0 and at the radius are not finite"),
        (Waves(3, "twice"), "Waves: its functions of degree 0 are linearly dependent"),
        (Likeness(fault="symmetry"), "Likeness: exchanging its arguments changes the result by"),
        (Likeness(fault="sign"), r"Likeness: it is not positive semidefinite: eigenvalues from -\d"),
        (Likeness(fault="root"), "Likeness: its derivative where two vectors are the same is not finite"),
        (Quotient(fault=True), "Quotient: leaving out the other atoms changes the energy of an atom by"),
        (Cubes(np.arange(1.0, 6.0), fault=True), "Cubes: basis times coefficients changes the result by"),
        (Moments(("Si",), CosineCutoff(4.0), fault="rotation"), "Moments: rotation changes the features by"),
        (Pairs(("Si",), CosineCutoff(4.0), fault=True), "Pairs: along a random direction the derivative by positions is"),
    ],
    ids=lambda thing: type(thing).__name__ if not isinstance(thing, str) else "",
)
def test_check_names_the_law(thing, law):
    with pytest.raises(AssertionError, match=law):
        check(thing)


def test_check_refuses_what_has_no_laws():
    with pytest.raises(TypeError, match=r"check: expected a descriptor, a head, .*, got Density; write check\(jaxpot.SOAP\(Density\(...\)\)\)"):
        check(jaxpot.Density(("Si",), CosineCutoff(4.0), jaxpot.GTO(2), 1, sigma=0.5))
    with pytest.raises(TypeError, match="got int"):
        check(3)
