"""Thole's damping: two charges, or dipoles, that feel each other as if one of them were smeared."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import by_element
from jaxpot.leaves import Leaf
from jaxpot.longrange.interactions import Coulomb, OfCharges
from jaxpot.trees import positive, pytree, static
from jaxpot.units import COULOMB

Array = jax.Array


@pytree
class Thole(OfCharges):
    r"""Point charges and dipoles with Thole's damping, whose range grows with the polarizabilities of both atoms.

    .. math:: \phi(r) = \frac{e^2}{4\pi\varepsilon_0\, r} \left[1 - e^{-a x^m} + a^{1/m} x\, \Gamma\!\left(1 - \tfrac1m, a x^m\right)\right],
       \qquad x = \frac{r}{(\alpha_i \alpha_j)^{1/6}}

    The field of a charge is that of a point times :math:`1 - e^{-a x^m}`; the fields of dipoles follow by derivatives. m = 3 is Thole's
    exponential density, of AMOEBA (a = 0.39) and others, m = 4 that of the TTM models of water.

    Args:
      species: chemical symbols.
      polarizability: α of every element, shape [S], in Å³.
      a: the smaller, the farther the damping reaches; 0.39 unless said.
      power: m, static, from 2.

    Raises:
      ValueError: for another power.

    Example:
      >>> damped = Thole(("O",), polarizability=[0.837])
      >>> own = damped.sources(jnp.array([8]))
      >>> pair = lambda r: damped.bare(r, own, own)[0]
      >>> [round(float(-jax.grad(pair)(r) * r**2 / 14.399645), 6) for r in (0.5, 1.0, 3.0)]
      [0.05658, 0.372461, 0.999997]

    References:
      Thole, "Molecular polarizabilities calculated with a modified dipole interaction", Chem. Phys. 59, 341 (1981).
      Ren, Ponder, "Polarizable atomic multipole water model for molecular mechanics simulation", J. Phys. Chem. B 107, 5933 (2003).
    """

    species: tuple[str, ...] = static()
    polarizability: Leaf = positive(shape="[S]")
    a: Leaf = positive(default=0.39)
    power: int = static(default=3, most=20)

    def __post_init__(self):
        species_tuple(self.species, "Thole")
        if self.power < 2:
            raise ValueError(f"Thole: power must be an integer from 2, got {self.power}")

    def _steepness(self, own: Array, other: Array) -> Array:
        size = own[..., 0] * other[..., 0]
        # empty slots of neighbour lists carry 0
        return jnp.asarray(self.a) ** (1 / self.power) / jnp.where(size > 0, size, 1)

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        return COULOMB * screened(self.power, r, self._steepness(own, other))

    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        return Coulomb().near(r, width, own, other) + (self.bare(r, own, other) - COULOMB / r)

    def sources(self, numbers: Array) -> Array:
        return by_element(jnp.asarray(self.polarizability) ** (1 / 6), self.species, numbers, padding=1.0)[:, None]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def screened(m: int, r: Array, k: Array) -> Array:
    """[1 − exp(−z) + k r Γ(1 − 1/m, z)]/r with z = (k r)ᵐ. Its derivative by r is elementary, and has no cancellation in it."""
    z = (k * r) ** m
    return -jnp.expm1(-z) / r + k * _gamma(m, z)


def _gamma(m: int, z: Array) -> Array:
    """Γ(1 − 1/m, z)."""
    s = 1 - 1 / m
    return math.gamma(s) * jax.scipy.special.gammaincc(s, z)


@screened.defjvp
def _screened_jvp(m, primals, tangents):
    (r, k), (dr, dk) = primals, tangents
    z = (k * r) ** m
    return screened(m, r, k), jnp.expm1(-z) / r**2 * dr + _gamma(m, z) * dk
