"""Decays with the distance, each times a cutoff: nearer neighbours count more."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.trees import leaf, positive, pytree, set_fields

Array = jax.Array


class Decay(Cutoff):
    """Interface: a factor of the distance, times a cutoff.

    Attributes:
      cutoff: the cutoff it multiplies.
    """

    cutoff: Cutoff

    @abc.abstractmethod
    def factor(self, r: Array) -> Array:
        """[...] Å -> [...]."""

    @property
    def radius(self) -> Array:
        return self.cutoff.radius

    def __call__(self, r: Array) -> Array:
        return self.cutoff(r) * self.factor(r)

    def smeared(self, sigma: Array) -> "Decay":
        return set_fields(self, cutoff=self.cutoff.smeared(sigma))


@pytree
class Willatt(Decay):
    r"""Radial decay of Willatt et al., times a cutoff.

    .. math:: f(r)\, b / \left(b + (r/s)^m\right)

    Args:
      cutoff: the cutoff f it multiplies.
      rate: b, dimensionless. QUIP's `cutoff_rate`; featomic's `rate`.
      scale: s, in Å. QUIP's `cutoff_scale`; featomic's `scale`.
      exponent: m. QUIP's `cutoff_dexp`; featomic's `exponent`.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> Willatt(CosineCutoff(5.0, width=1.0), rate=1.0, scale=2.0, exponent=4.0)(jnp.array([0.0, 2.0, 5.0])).tolist()
      [1.0, 0.5, 0.0]

    References:
      Willatt, Musil, Ceriotti, "Feature optimization for atomistic machine learning yields a data-driven construction of the
      periodic table of the elements", Phys. Chem. Chem. Phys. 20, 29661 (2018).
    """

    cutoff: Cutoff
    rate: Leaf = positive()
    scale: Leaf = positive()
    exponent: Leaf = positive()

    def factor(self, r: Array) -> Array:
        x = r / self.scale
        is_zero = x <= 0
        power = jnp.where(is_zero, 0, jnp.where(is_zero, 1, x) ** self.exponent)
        return self.rate / (self.rate + power)


@pytree
class LogisticDecay(Decay):
    r"""A decay that is flat at first and then exponential, times a cutoff.

    .. math:: f(r)\, (1 + d) / \left(d + e^{r/s}\right)

    DScribe's weighting `exp` is c/(d + exp(−r/r0)), which grows with the distance: it is c/(1 + d) times this with scale = −r0. With
    d = 0 the decay is exponential throughout.

    Args:
      cutoff: the cutoff f it multiplies.
      rate: d, dimensionless, not negative. DScribe's `d`.
      scale: s, in Å.

    Raises:
      ValueError: for a negative rate, or a scale of 0.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> LogisticDecay(CosineCutoff(5.0, width=1.0), rate=1.0, scale=2.0)(jnp.array([0.0, 2.0, 5.0])).round(4).tolist()
      [1.0, 0.5379, 0.0]
    """

    cutoff: Cutoff
    rate: Leaf = leaf()
    scale: Leaf = leaf()

    def __post_init__(self):
        if is_concrete(self.rate) and np.any(np.asarray(self.rate) < 0):
            raise ValueError(f"LogisticDecay: rate must not be negative, got {np.asarray(self.rate)}")
        if is_concrete(self.scale) and np.any(np.asarray(self.scale) == 0):
            raise ValueError("LogisticDecay: scale must not be 0, it is a length in Å")

    def factor(self, r: Array) -> Array:
        return (1 + self.rate) / (self.rate + jnp.exp(r / self.scale))


@pytree
class InversePowerDecay(Decay):
    r"""An inverse power of the distance, times a cutoff. It is infinite at r = 0.

    .. math:: f(r)\, (s/r)^p

    Args:
      cutoff: the cutoff f it multiplies.
      power: p.
      scale: s, where the factor is 1, in Å.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> InversePowerDecay(CosineCutoff(5.0, width=1.0))(jnp.array([1.0, 2.0, 5.0])).tolist()
      [1.0, 0.25, 0.0]
    """

    cutoff: Cutoff
    power: Leaf = positive(default=2.0)
    scale: Leaf = positive(default=1.0)

    def factor(self, r: Array) -> Array:
        scale, power = (jnp.asarray(v, r.dtype) for v in (self.scale, self.power))
        return (scale / r) ** power
