"""Interfaces: what a class lacks is said when it is made, with the lines to write."""

import abc

import jax
import jax.numpy as jnp
import pytest

from jaxpot.interface import Interface, required
from jaxpot.trees import positive, pytree, static

Array = jax.Array


class Wave(Interface):
    """A function of the distance.

    Attributes:
      species: the chemical symbols
        it knows.
      reach: where it ends, [] Å.
    """

    species: tuple[str, ...]
    reach: Array
    steps: int = 3

    @abc.abstractmethod
    def __call__(self, r: Array, *, sharp: bool = False) -> Array:
        """[...] Å -> [...].

        More words.
        """

    def twice(self, r: Array) -> Array:
        return 2 * self(r)


class Stepped(Wave):
    """A wave of squares."""

    @abc.abstractmethod
    def of_square(self, square: Array) -> Array:
        """[...] Å² -> [...]."""

    def __call__(self, r, *, sharp=False):
        return self.of_square(r * r)


def made(**members):
    return lambda *values: type("Mine", (Wave,), members)(*values)


LACKING = {
    "everything": (
        lambda: pytree(type("NoWave", (Wave,), {}))(),
        "class NoWave(Wave) lacks species and reach and __call__; write\n    species: tuple[str, ...] = static()  # the chemical symbols it knows.\n"
        "    reach: Array  # where it ends, [] Å.\n    def __call__(self, r, *, sharp=False): ...  # [...] Å -> [...].",
    ),
    "a method": (made(species=(), reach=1.0), "class Mine(Wave) lacks __call__; write\n    def __call__(self, r, *, sharp=False): ...  # [...] Å -> [...]."),
    "of an interface below another": (
        lambda: type("Other", (Stepped,), {"reach": property(lambda self: 1.0), "species": ()})(),
        "class Other(Stepped) lacks of_square; write\n    def of_square(self, square): ...  # [...] Å² -> [...].",
    ),
    "an interface": (lambda: Stepped(), "Stepped is an interface; a class of its kind has\n    species"),
    "no @pytree": (lambda: made(species=static(), reach=positive())("Si", 2.0), "class Mine declares fields, which are made by a line above it; write\n    @pytree"),
}


@pytest.mark.parametrize("name", LACKING)
def test_lacking(name):
    make, message = LACKING[name]
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value).startswith(message)


@pytree
class Ripple(Stepped):
    """Fields, a property and an inherited method are all that is required; it can also be rebuilt by JAX."""

    species: tuple[str, ...] = static()
    height: Array = positive()

    @property
    def reach(self):
        return 2 * self.height

    def of_square(self, square):
        return self.height * square


def test_complete():
    ripple = Ripple(("Si",), 3.0)
    assert set(required(Ripple)) == {"species", "reach", "__call__", "of_square"}
    assert float(jax.jit(lambda ripple, r: ripple.twice(r) + ripple.reach)(ripple, jnp.array(2.0))) == 30.0
    assert ripple.replace(height=1.0)(jnp.array(2.0)) == 4.0 and ripple.steps == 3
