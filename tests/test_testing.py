"""The laws that users hold their own classes to: what keeps them passes, and each that is broken is named."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

import jaxpot
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.math.cutoffs import CosineCutoff, Cutoff, Step
from jaxpot.potentials.base import Potential
from jaxpot.testing import check_derivatives, check_invariance
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
