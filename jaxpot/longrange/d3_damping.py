"""How the pairs of D3 are damped, and the published parameters of functionals."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import leaf, positive, pytree
from jaxpot.units import BOHR

Array = jax.Array

# s8, a1, a2 in bohr: Grimme, Ehrlich, Goerigk (2011)
_RATIONAL = {"PBE": (0.7875, 0.4289, 4.4407), "PBE0": (1.2177, 0.4145, 4.8593), "B3LYP": (1.9889, 0.3981, 4.4211), "TPSS0": (1.2576, 0.3768, 4.5865)}
# s8, r6: Grimme, Antony, Ehrlich, Krieg (2010)
_ZERO = {"PBE": (0.722, 1.217), "PBE0": (0.928, 1.287), "B3LYP": (1.703, 1.261)}


def _published(owner: str, table: dict, functional: str) -> tuple:
    if functional not in table:
        raise ValueError(f"{owner}.of: knows {', '.join(table)}, got {functional!r}; write {owner}(s8=..., ...) with its published parameters")
    return table[functional]


class D3Damping(Interface):
    """Interface: the energy of a pair, with its sign reversed. A new damping writes `energy`."""

    @abc.abstractmethod
    def energy(self, r: Array, c6: Array, ratio: Array, radius: Array) -> Array:
        """Σ over 6 and 8, [...] in eV, at distances [...] Å, of C6 in eV Å⁶, C8/C6 in Å² and pair radii in Å."""


@pytree
class BeckeJohnson(D3Damping):
    r"""Rational damping.

    .. math:: s_6 \frac{C_6}{r^6 + f^6} + s_8 \frac{C_8}{r^8 + f^8}, \qquad f = a_1 \sqrt{C_8/C_6} + a_2

    Args:
      s8: scale of the term of r⁻⁸.
      a1: of the radius.
      a2: what is added to it, in Å.
      s6: scale of the term of r⁻⁶.

    Example:
      >>> round(float(BeckeJohnson.of("PBE").a1), 4)
      0.4289

    References:
      Grimme, Ehrlich, Goerigk, "Effect of the damping function in dispersion corrected density functional theory", J. Comput. Chem. 32,
      1456 (2011).
    """

    s8: Leaf = leaf()
    a1: Leaf = leaf()
    a2: Leaf = leaf()
    s6: Leaf = leaf(default=1.0)

    @classmethod
    def of(cls, functional: str) -> "BeckeJohnson":
        """The published parameters of a functional: PBE, PBE0, B3LYP or TPSS0.

        Raises:
          ValueError: for another functional.
        """
        s8, a1, a2 = _published("BeckeJohnson", _RATIONAL, functional)
        return cls(s8=s8, a1=a1, a2=a2 * BOHR)

    def energy(self, r: Array, c6: Array, ratio: Array, radius: Array) -> Array:
        f = self.a1 * ratio**0.5 + self.a2
        return c6 * (self.s6 / (r**6 + f**6) + self.s8 * ratio / (r**8 + f**8))


@pytree
class ZeroDamping(D3Damping):
    r"""Damping to zero at short distances.

    .. math:: \sum_{n = 6, 8} s_n \frac{C_n}{r^n} \left[1 + 6 \left(\frac{r}{r_n R_0}\right)^{-\alpha_n}\right]^{-1}, \qquad \alpha_6 = 14, \alpha_8 = 16

    Args:
      s8: scale of the term of r⁻⁸.
      r6: scale of the pair radii for r⁻⁶.
      r8: that for r⁻⁸.
      s6: scale of the term of r⁻⁶.

    Example:
      >>> float(ZeroDamping.of("PBE").r6)
      1.217

    References:
      Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010).
    """

    s8: Leaf = leaf()
    r6: Leaf = positive()
    r8: Leaf = positive(default=1.0)
    s6: Leaf = leaf(default=1.0)

    @classmethod
    def of(cls, functional: str) -> "ZeroDamping":
        """The published parameters of a functional: PBE, PBE0 or B3LYP.

        Raises:
          ValueError: for another functional.
        """
        s8, r6 = _published("ZeroDamping", _ZERO, functional)
        return cls(s8=s8, r6=r6)

    def energy(self, r: Array, c6: Array, ratio: Array, radius: Array) -> Array:
        sixth, eighth = _damped(6, r, self.r6 * radius), _damped(8, r, self.r8 * radius)
        return c6 * (self.s6 * sixth + self.s8 * ratio * eighth)


def _damped(n: int, r: Array, radius: Array) -> Array:
    """r⁻ⁿ [1 + 6 (radius/r)ⁿ⁺⁸]⁻¹, which vanishes at r = 0; powers of ratios below 1 only, so that float32 holds them."""
    inside = r < radius
    x, u = jnp.where(inside, r, radius) / radius, radius / jnp.where(inside, radius, r)
    return jnp.where(inside, x**8 / (x ** (n + 8) + 6), u**n / (1 + 6 * u ** (n + 8))) / radius**n
