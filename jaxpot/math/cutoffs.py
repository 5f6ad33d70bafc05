"""Cutoff functions: classes with leaves `radius` and `width`, called on distances, exactly zero from the radius on.

All are evaluated on a clamped argument, so first and higher derivatives are exact on both sides and finite everywhere.
"""

import abc
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.endings import LONGEST, SHORTEST, Ending
from jaxpot.trees import positive, pytree, static

Array = jax.Array


class Cutoff(Ending):
    """Interface: a smooth factor f(r) with f(0) = 1 and f(r ≥ radius) = 0.

    Attributes:
      radius: from where on it is zero, [] Å.

    Example:
      >>> @pytree
      ... class Parabola(Cutoff):
      ...     radius: Array = positive()
      ...     def __call__(self, r):
      ...         return (1 - jnp.clip(r / self.radius, 0, 1) ** 2) ** 2
      >>> Parabola(4.0)(jnp.array([0.0, 2.0, 4.0])).tolist()
      [1.0, 0.5625, 0.0]
    """

    @abc.abstractmethod
    def __call__(self, r: Array) -> Array:
        """[...] Å -> [...]; zero from the radius on."""

    def smeared(self, sigma: Array) -> "Cutoff":
        """The weight of Gaussians of width sigma (Å); smooth cutoffs already say where a neighbour ends."""
        return self

    def ended(self, function: Callable[[Array], Array], r: Array) -> Array:
        return function(r) * self(r)


def _check_width(owner: str, radius: Array, width: Array | None) -> None:
    if width is not None and is_concrete(radius) and is_concrete(width) and np.any(np.asarray(width) > np.asarray(radius) * (1 + 1e-12)):
        raise ValueError(f"{owner}: width {np.asarray(width)} Å exceeds the radius {np.asarray(radius)} Å; expected 0 < width <= radius")


def _ramp(r: Array, radius: Array, width: Array | None) -> Array:
    """(r − (radius − width))/width, clamped to [0, 1]."""
    width = radius if width is None else width
    return jnp.clip((r - (radius - width)) / width, 0, 1)


# sin(π z/2) by its series: on CPU XLA calls a scalar cosine in double precision, which takes as long as ten of these polynomials
_SINE = tuple((-1) ** k * (math.pi / 2) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(12))


def half_cosine(x: Array) -> Array:
    """(1 + cos πx)/2 = sin²(π (1 − x)/2) for x in [0, 1]."""
    z = 1 - x
    square, sine = z * z, _SINE[-1]
    for coefficient in _SINE[-2::-1]:
        sine = sine * square + coefficient
    return (sine * z) ** 2


def cosine_ramp(r: Array, radius: Array, width: Array | None = None) -> Array:
    """`CosineCutoff` with a radius and a width for every distance."""
    x = _ramp(r, radius, width)
    return jnp.where(x >= 1, 0, half_cosine(x))  # in this order NaN stays NaN


@pytree
class CosineCutoff(Cutoff):
    r"""Shifted cosine, C¹: 1 up to radius − width, then a half cosine.

    .. math:: f = \tfrac12 \left(1 + \cos\pi x\right), \quad x = (r - r_c + w)/w

    Args:
      radius: r_c, in Å.
      width: w, in Å; None takes the radius (Behler's form).

    Example:
      >>> CosineCutoff(5.0, width=1.0)(jnp.array([4.0, 4.5, 5.0])).round(6).tolist()
      [1.0, 0.5, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)
    width: OptionalLeaf = positive(default=None)

    def __post_init__(self):
        _check_width("CosineCutoff", self.radius, self.width)

    def __call__(self, r: Array) -> Array:
        return cosine_ramp(r, self.radius, self.width)


def smoothstep(x: Array) -> Array:
    """From 0 at x ≤ 0 to 1 at x ≥ 1, C²: 10x³ − 15x⁴ + 6x⁵."""
    x = jnp.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


SMOOTHSTEPS = {
    1: ((2, -3.0), (3, 2.0)),
    2: ((3, -10.0), (4, 15.0), (5, -6.0)),
    3: ((4, -35.0), (5, 84.0), (6, -70.0), (7, 20.0)),
    4: ((5, -126.0), (6, 420.0), (7, -540.0), (8, 315.0), (9, -70.0)),
}


@pytree
class PolynomialCutoff(Cutoff):
    r"""Polynomial ramp with `smoothness` continuous derivatives; the default C² suits objectives that contain forces.

    .. math:: f = \left(1 - 10 x^3 + 15 x^4 - 6 x^5\right)^m, \quad x = (r - r_c + w)/w \quad\text{(smoothness 2)}

    Args:
      radius: r_c, in Å.
      width: w, in Å; None takes the radius.
      smoothness: 1 to 4, the number of continuous derivatives (n2p2's poly1 to poly4).
      power: m; smoothness 1 with power 2 is DScribe's `poly` weighting with m = 2.

    Example:
      >>> PolynomialCutoff(5.0, width=1.0)(jnp.array([4.0, 4.5, 5.0])).tolist()
      [1.0, 0.5, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)
    width: OptionalLeaf = positive(default=None)
    smoothness: int = static(default=2)
    power: int = static(default=1)

    def __post_init__(self):
        _check_width("PolynomialCutoff", self.radius, self.width)
        if self.smoothness not in SMOOTHSTEPS:
            raise ValueError(f"PolynomialCutoff: smoothness must be 1, 2, 3 or 4, got {self.smoothness}")
        if not (isinstance(self.power, int) and self.power >= 1):
            raise ValueError(f"PolynomialCutoff: power must be a positive integer, got {self.power}")

    def __call__(self, r: Array) -> Array:
        x = _ramp(r, self.radius, self.width)
        value = 1 + sum(coefficient * x**power for power, coefficient in SMOOTHSTEPS[self.smoothness])
        return jnp.where(x >= 1, 0, value**self.power)


@pytree
class PowerCutoff(Cutoff):
    r"""The envelope of linear many-body models: it decays over the whole range and leaves the shape to the radial functions.

    .. math:: f = \left(1 - (r/r_c)^2\right)^p

    Args:
      radius: r_c, in Å.
      power: p, the number of continuous derivatives plus one.

    Example:
      >>> PowerCutoff(4.0)(jnp.array([0.0, 2.0, 4.0])).tolist()
      [1.0, 0.421875, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)
    power: int = static(default=3)

    def __post_init__(self):
        if not (isinstance(self.power, int) and self.power >= 2):
            raise ValueError(f"PowerCutoff: power must be a whole number of at least 2, got {self.power}")

    def __call__(self, r: Array) -> Array:
        return (1 - jnp.clip(r / self.radius, 0, 1) ** 2) ** self.power


@pytree
class TanhCutoff(Cutoff):
    r"""Behler's tanh³(1 − r/r_c), C²; `normalize` divides by tanh³ 1.

    Args:
      radius: r_c, in Å.
      normalize: whether f(0) = 1 (else tanh³ 1 = 0.4417).

    Example:
      >>> np.asarray(TanhCutoff(4.0)(jnp.array([0.0, 2.0, 4.0]))).round(4).tolist()
      [1.0, 0.2234, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)
    normalize: bool = static(default=True)

    def __call__(self, r: Array) -> Array:
        value = jnp.tanh(1 - jnp.clip(r / self.radius, 0, 1)) ** 3
        return value / math.tanh(1.0) ** 3 if self.normalize else value


@pytree
class BumpCutoff(Cutoff):
    r"""All derivatives vanish towards the radius, C^∞ there; at an inner radius, radius − width, it is C¹.

    .. math:: f = \exp\left(1 - 1/(1 - x^2)\right), \quad x = (r - r_c + w)/w

    Args:
      radius: r_c, in Å.
      width: w, in Å; None takes the radius.

    Example:
      >>> BumpCutoff(5.0)(jnp.array([0.0, 2.5, 5.0])).round(4).tolist()
      [1.0, 0.7165, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)
    width: OptionalLeaf = positive(default=None)

    def __post_init__(self):
        _check_width("BumpCutoff", self.radius, self.width)

    def __call__(self, r: Array) -> Array:
        x = _ramp(r, self.radius, self.width)
        ended = x >= 1
        rest = jnp.where(ended, 1, 1 - x * x)
        return jnp.where(ended, 0, jnp.exp(1 - 1 / rest))


@pytree
class GammaCutoff(Cutoff):
    r"""A polynomial over the whole range with a free exponent, C¹: the cutoff of Amp, and DScribe's `smooth_cutoff` with γ its sharpness.

    .. math:: f = 1 + \gamma x^{\gamma + 1} - (\gamma + 1) x^\gamma, \quad x = r/r_c

    The larger γ, the longer it stays near 1.

    Args:
      radius: r_c, in Å.
      gamma: γ. Amp's default is 4, DScribe's 2.

    Example:
      >>> GammaCutoff(4.0)(jnp.array([0.0, 2.0, 4.0])).tolist()
      [1.0, 0.5, 0.0]

    References:
      Khorshidi, Peterson, "Amp: a modular approach to machine learning in atomistic simulations", Comput. Phys. Commun. 207, 310 (2016).
    """

    radius: Leaf = positive()
    gamma: Leaf = positive(default=2.0)

    def __call__(self, r: Array) -> Array:
        x = jnp.clip(r / self.radius, 0, 1)
        is_zero = x <= 0
        power = jnp.where(is_zero, 0, jnp.where(is_zero, 1, x) ** self.gamma)
        return jnp.where(x >= 1, 0, 1 + self.gamma * power * x - (self.gamma + 1) * power)


@pytree
class Step(Cutoff):
    """1 inside, 0 from the radius on. Not differentiable there: it only serves to reproduce other codes.

    Under a Gaussian-smeared density a neighbour counts until its Gaussian has fallen to 1e-3 at the radius, as in DScribe:
    r_c + σ √(−2 ln 1e-3).

    Example:
      >>> Step(4.0)(jnp.array([3.9, 4.0])).tolist()
      [1.0, 0.0]
    """

    radius: Leaf = positive(low=SHORTEST, high=LONGEST)

    def __call__(self, r: Array) -> Array:
        return jnp.where(r < self.radius, 1, jnp.where(r >= self.radius, 0, r)).astype(r.dtype)

    def smeared(self, sigma: Array) -> "Step":
        return self.replace(radius=self.radius + sigma * np.sqrt(-2 * np.log(1e-3)))


@pytree
class TwoSided(Cutoff):
    r"""A cutoff that is also zero at short distances, where there are no data.

    .. math:: f(r) = f_\mathrm{outer}(r) \left(1 - f_\mathrm{inner}(r)\right)

    Args:
      outer: the cutoff at long distances.
      inner: a cutoff whose ramp is the one at short distances: f is zero where it is 1, and `outer` from its radius on.

    Example:
      >>> TwoSided(CosineCutoff(5.0, width=1.0), CosineCutoff(2.0, width=0.5))(jnp.array([1.5, 2.0, 5.0])).tolist()
      [0.0, 1.0, 0.0]
    """

    outer: Cutoff
    inner: Cutoff

    @property
    def radius(self) -> Array:
        return self.outer.radius

    def __call__(self, r: Array) -> Array:
        return self.outer(r) * (1 - self.inner(r))
