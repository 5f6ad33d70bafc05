"""What is summed over all pairs of atoms: inverse powers of the distance, split into a near and a far part."""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.graph import by_element
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import positive, pytree, static
from jaxpot.units import COULOMB

Array = jax.Array


class Interaction(Interface):
    r"""Interface: an even function of the distance between two sources, split by a Gaussian of width s.

    .. math:: \phi(r) = \phi_{\text{near}}(r; s) + \phi_{\text{far}}(r; s)

    The far part is smooth at r = 0 and is summed by its Fourier transform.
    """

    @abc.abstractmethod
    def bare(self, r: Array, own: Array, other: Array) -> Array:
        """φ at distances [...] Å between sources [..., C] of both atoms -> [...]."""

    @abc.abstractmethod
    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        """φ less its far part, likewise."""

    @abc.abstractmethod
    def far(self, k2: Array, width: Array) -> Array:
        """Fourier transform of the far part by k² [...] > 0 in 1/Å²."""

    @abc.abstractmethod
    def origin(self, width: Array) -> Array:
        """The far part at r = 0, []."""

    @abc.abstractmethod
    def background(self, width: Array) -> Array:
        """What one unit of net source per volume adds to the potential everywhere, []; not finite where that has no value."""

    def strength(self) -> float | None:
        """c of a far part c/r · erf(r/√2s), which is all that can be summed over slabs, wires and molecules in reciprocal space; else None."""
        return None

    def sources(self, numbers: Array) -> Array:
        """What atoms of these elements [N] carry beside their strength, such as a width, [N, C]."""
        return jnp.zeros((*numbers.shape, 0))

    def itself(self, own: Array) -> Array:
        """The potential of a unit source at its own place, [...], of sources [..., C]: 0 for points, whose own energy does not count."""
        return jnp.zeros(own.shape[:-1], own.dtype)


class OfCharges(Interaction):
    """Interface: between charges, which from afar are points. A new one writes `bare` and `near`."""

    def far(self, k2: Array, width: Array) -> Array:
        return COULOMB * 4 * np.pi / k2 * jnp.exp(-0.5 * k2 * width**2)

    def origin(self, width: Array) -> Array:
        return COULOMB * math.sqrt(2 / math.pi) / width

    def background(self, width: Array) -> Array:
        return -COULOMB * 2 * np.pi * width**2

    def strength(self) -> float | None:
        return COULOMB


@pytree
class Coulomb(OfCharges):
    r"""Point charges in vacuum.

    .. math:: \phi(r) = \frac{e^2}{4\pi\varepsilon_0\, r}

    Example:
      >>> float(Coulomb().bare(jnp.asarray(2.0), None, None))
      7.1998225
    """

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        return COULOMB / r

    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        return COULOMB * jax.lax.erfc(r / (math.sqrt(2.0) * width)) / r


@pytree
class GaussianCoulomb(OfCharges):
    r"""Charges smeared by Gaussians, whose width is the element's.

    .. math:: \phi_{ij}(r) = \frac{e^2}{4\pi\varepsilon_0} \frac{\operatorname{erf}\!\left(r/\sqrt{2(\sigma_i^2 + \sigma_j^2)}\right)}{r}

    A charge has an energy of its own, :math:`q_i^2 e^2 / (4\pi\varepsilon_0)\, /\, (2 \sqrt\pi \sigma_i)`.

    Args:
      species: chemical symbols.
      sigma: standard deviation of the charge density of every element, shape [S], in Å.

    Example:
      >>> GaussianCoulomb(("H", "O"), sigma=[0.3, 0.6]).sources(jnp.array([8, 1])).tolist()
      [[0.6], [0.3]]

    References:
      Ghasemi, Hofstetter, Saha, Goedecker, "Interatomic potentials for ionic systems with density functional accuracy based on charge
      densities obtained by a neural network", Phys. Rev. B 92, 045131 (2015).
    """

    species: tuple[str, ...] = static()
    sigma: Leaf = positive(shape="[S]")

    def __post_init__(self):
        species_tuple(self.species, "GaussianCoulomb")

    def _screened(self, r: Array, own: Array, other: Array) -> Array:
        """r over √(2(σᵢ² + σⱼ²))."""
        return r / jnp.sqrt(2 * (own[..., 0] ** 2 + other[..., 0] ** 2))

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        return COULOMB * jax.lax.erf(self._screened(r, own, other)) / r

    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        return COULOMB * (jax.lax.erfc(r / (math.sqrt(2.0) * width)) - jax.lax.erfc(self._screened(r, own, other))) / r

    def sources(self, numbers: Array) -> Array:
        return by_element(self.sigma, self.species, numbers, padding=1.0)[:, None]

    def itself(self, own: Array) -> Array:
        return COULOMB / (math.sqrt(math.pi) * own[..., 0])


@pytree
class InversePower(Interaction):
    r"""An inverse power of the distance between points.

    .. math:: \phi(r) = r^{-p}, \qquad \phi_{\text{near}} = \frac{\Gamma(p/2,\, r^2/2s^2)}{\Gamma(p/2)}\, r^{-p}

    Sums over a lattice are absolutely convergent for p > 3; for p < 3 a net source is neutralised by a uniform background; p = 3 is
    defined only where sources sum to zero, and NaN elsewhere.

    Args:
      power: p; 1, 2, 3, or any number above 3.

    Raises:
      ValueError: for other powers.

    Example:
      >>> float(InversePower(6).bare(jnp.asarray(2.0), None, None))
      0.015625
    """

    power: float = static()

    def __post_init__(self):
        if not (self.power in (1, 2, 3) or 3 < self.power < 100):
            raise ValueError(f"InversePower: power must be 1, 2, 3 or a number above 3, got {self.power!r}")

    def bare(self, r: Array, own: Array, other: Array) -> Array:
        return r**-self.power

    def near(self, r: Array, width: Array, own: Array, other: Array) -> Array:
        half = self.power / 2
        return upper_gamma(half, r**2 / (2 * width**2)) / math.gamma(half) * r**-self.power

    def far(self, k2: Array, width: Array) -> Array:
        return self._factor(width) * exponential_integral((self.power - 1) / 2, 0.5 * k2 * width**2)

    def origin(self, width: Array) -> Array:
        half = self.power / 2
        return (2 * width**2) ** -half / math.gamma(half + 1)

    def background(self, width: Array) -> Array:
        # for p > 3 the transform at k = 0, else minus the integral of the near part over all space
        return jnp.nan * width if self.power == 3 else self._factor(width) * 2 / (self.power - 3)

    def strength(self) -> float | None:
        return 1.0 if self.power == 1 else None

    def _factor(self, width: Array) -> Array:
        return math.pi**1.5 / math.gamma(self.power / 2) * (2 * width**2) ** ((3 - self.power) / 2)


def require_elements(owner: str, species: tuple[str, ...], interaction: Interaction) -> None:
    """Raises ValueError unless an interaction with parameters of elements has those of these."""
    known = getattr(interaction, "species", species)
    if missing := sorted(set(species) - set(known)):
        name = type(interaction).__name__
        raise ValueError(f"{owner}: {name} knows {', '.join(known)} and not {', '.join(missing)}; write {name}(species={species}, ...)")


def upper_gamma(a: float, x: Array) -> Array:
    """The upper incomplete gamma function Γ(a, x), a > 0 and x > 0, from elementary functions where 2a is an integer."""
    start = 1.0 if a == int(a) else 0.5 if 2 * a == int(2 * a) else a
    if start == 1.0:
        value = jnp.exp(-x)
    elif start == 0.5:
        value = math.sqrt(math.pi) * jax.lax.erfc(jnp.sqrt(x))
    else:
        value = jax.scipy.special.gammaincc(a, x) * math.gamma(a)
    while start < a:
        value, start = start * value + x**start * jnp.exp(-x), start + 1
    return value


def exponential_integral(n: float, x: Array) -> Array:
    """The generalised exponential integral E_n(x) = ∫₁^∞ exp(−xt) t⁻ⁿ dt, n ≥ 0 and x > 0."""
    start = n - math.floor(n)
    if start == 0.0:
        value, start = (jnp.exp(-x) / x, 0.0) if n == 0 else (first_exponential_integral(x), 1.0)
    else:
        value = x ** (start - 1) * upper_gamma(1 - start, x)
    while start < n:
        value, start = (jnp.exp(-x) - x * value) / start, start + 1
    return value


_EULER = 0.5772156649015329
_TERMS, _LEVELS = 32, 42  # of E₁'s series below 2 and of its continued fraction above, to round-off


@jax.custom_jvp
def first_exponential_integral(x: Array) -> Array:
    """E₁(x) for x > 0; JAX's own iterates until the slowest entry has converged."""
    small, large = jnp.minimum(x, 2), jnp.maximum(x, 2)
    series, power = -_EULER - jnp.log(small), -jnp.ones_like(x)
    for k in range(1, _TERMS):
        power = power * -small / k
        series = series + power / k
    fraction = large + 2 * _LEVELS + 1
    for k in range(_LEVELS, 0, -1):
        fraction = large + 2 * k - 1 - k**2 / fraction
    return jnp.where(x < 2, series, jnp.exp(-large) / fraction)


@first_exponential_integral.defjvp
def _first_exponential_integral_jvp(primals, tangents):
    (x,), (step,) = primals, tangents
    return first_exponential_integral(x), -jnp.exp(-x) / x * step
