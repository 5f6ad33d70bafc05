"""Symmetry functions of compact support: windows of distance and angle, without exponentials and powers."""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs, contracted, one_of, other_of, pair_channels
from jaxpot.descriptors.symmetry_functions import AngularFunctions, RadialFunctions
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.compact import Core
from jaxpot.math.linalg import einsum
from jaxpot.trees import leaf, pytree

Array = jax.Array

_NEAR_LINE = 0.01  # of sin²(θ/2), below which θ² is a series
_SERIES = tuple(2 * 4**n / (n * n * math.comb(2 * n, n)) for n in range(1, 12))  # of θ² = 4 arcsin²√s in powers of s


def _window(core: Core, low: Array, high: Array, r: Array) -> Array:
    """C(r) of every window, from r [K] to [n, K]."""
    low, high = (x[:, None] for x in jnp.broadcast_arrays(*(jnp.atleast_1d(jnp.asarray(x, r.dtype)) for x in (low, high))))
    return core(((2 * r[None] - low - high) / (high - low)) ** 2)


def _angle(opposed: Array, aligned: Array) -> tuple[Array, Array]:
    """θ and θ² from (1 ∓ cos θ)/2. θ² has all derivatives where θ is zero, θ has none there, and those of zero are taken for it."""
    is_line = (opposed <= 0) | (aligned <= 0)
    theta = 2 * jnp.arctan2(jnp.sqrt(jnp.where(is_line, 0.5, opposed)), jnp.sqrt(jnp.where(is_line, 0.5, aligned)))
    theta = jnp.where(is_line, jnp.where(opposed <= 0, 0.0, jnp.pi), theta)
    small = jnp.where(opposed < _NEAR_LINE, opposed, 0)
    series = jnp.zeros_like(small)
    for coefficient in reversed(_SERIES):
        series = (series + coefficient) * small
    return theta, jnp.where(opposed < _NEAR_LINE, series, theta**2)


def _check_windows(self: "CompactRadial | CompactAngles") -> None:
    owner = type(self).__name__
    if not isinstance(self.core, Core):
        raise TypeError(f"{owner}: expected a core such as PolynomialCore(2), got {type(self.core).__name__}")
    pairs = [("low", "high")] + ([("left", "right")] if isinstance(self, CompactAngles) else [])
    for start, end in pairs:
        a, b = getattr(self, start), getattr(self, end)
        if max(np.ndim(a), np.ndim(b)) > 1 or len({np.size(a), np.size(b)} - {1}) > 1 or 0 in (np.size(a), np.size(b)):
            raise ValueError(f"{owner}: {start} and {end} go together, as numbers or lists of one length, got shapes {np.shape(a)} and {np.shape(b)}")
        if is_concrete(a) and is_concrete(b) and not np.all(np.asarray(a) < np.asarray(b)):
            raise ValueError(f"{owner}: expected {start} < {end}, got {np.asarray(a)} and {np.asarray(b)}")
    if is_concrete(self.high) and not np.all(np.asarray(self.high) > 0):
        raise ValueError(f"{owner}: expected high > 0, got {np.asarray(self.high)}")
    if self.mixing is not None and np.ndim(self.mixing) != 2:
        raise ValueError(f"{owner}: mixing must have shape [elements, channels], got {list(np.shape(self.mixing))}")


@pytree
class CompactRadial(RadialFunctions):
    r"""Windows of the distance: n2p2's types 20 and, mixed by atomic number, 23.

    .. math:: G = \sum_j C(r_{ij}), \qquad C(r) = f\!\left(\left|\frac{2r - r_l - r_c}{r_c - r_l}\right|\right)

    Args:
      core: f, which is one at 0 and zero from 1 on.
      low: r_l, shape [] or [n], in Å; −r_c makes a window around the centre.
      high: r_c > 0, likewise; they go together.
      mixing: as in G2.

    Raises:
      ValueError: for windows that are empty, or shapes that do not fit.
      TypeError: for what is no core.

    Example:
      >>> from jaxpot.descriptors import ACSF, PolynomialCore
      >>> ACSF(("H", "O"), (CompactRadial(PolynomialCore(2), low=[-6.0, 0.0, 3.0], high=[6.0, 6.0, 6.0]),)).n_features
      6

    References:
      Bircher, Singraber, Dellago, "Improved description of atomic environments using low-cost polynomial functions with compact support",
      Mach. Learn.: Sci. Technol. 2, 035026 (2021).
    """

    core: Core
    low: Leaf = leaf(shape="[] or [n]")
    high: Leaf = leaf(shape="[] or [n]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check_windows(self)

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.high))

    @property
    def sizes(self) -> tuple[int, ...]:
        return (max(np.size(self.low), np.size(self.high)),)

    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        return einsum("nk,qk->qn", _window(self.core, self.low, self.high, neighbors.r), self._channels(neighbors)).reshape(-1)


class CompactAngles(AngularFunctions):
    """Interface: Σ_{j<k} of windows of distances times windows of the angle. A new one writes `radial`.

    Attributes:
      core, angular_core, low, high, left, right: as in CompactWide.
    """

    core: Core
    angular_core: Core
    low: Array = leaf(shape="[] or [n]")
    high: Array = leaf(shape="[] or [n]")
    left: Array = leaf(shape="[] or [m]")
    right: Array = leaf(shape="[] or [m]")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.high))

    @property
    def sizes(self) -> tuple[int, ...]:
        return max(np.size(self.low), np.size(self.high)), max(np.size(self.left), np.size(self.right))

    @abc.abstractmethod
    def radial(self, pairs: Pairs, weight: Array) -> Array:
        """[n, T] of pairs of neighbours, whose windows and count are the weight [n, T]."""

    def angular(self, pairs: Pairs) -> Array:
        left, right = jnp.broadcast_arrays(*(jnp.atleast_1d(jnp.asarray(x, pairs.first.dtype)) for x in (self.left, self.right)))
        center, rest, width = (jnp.deg2rad(x)[:, None] for x in ((left + right) / 2, (360 - left - right) / 2, (right - left) / 2))
        theta, square = (x[None] for x in _angle(pairs.opposed, pairs.aligned))
        straight, opposite = (x[None] for x in _angle(pairs.aligned, pairs.opposed))
        # (θ − c)², which around 0° and 180° is smooth where atoms are in line
        around_zero, around_straight = square + center * (center - 2 * theta), opposite + rest * (rest - 2 * straight)
        squares = jnp.where(center == 0, around_zero, jnp.where(rest == 0, around_straight, (theta - center) ** 2))
        return self.angular_core(squares / width**2)

    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        own = _window(self.core, self.low, self.high, neighbors.r)
        radial = self.radial(pairs, one_of(own) * other_of(own) * pairs.weight[None])
        return contracted(pair_channels(self._channels(neighbors)), radial, self.angular(pairs)).reshape(-1)


def _check_angles(self: CompactAngles) -> None:
    _check_windows(self)
    if not isinstance(self.angular_core, Core):
        raise TypeError(f"{type(self).__name__}: expected a core such as PolynomialCore(2), got {type(self.angular_core).__name__}")
    if is_concrete(self.left) and is_concrete(self.right):
        left, right = np.broadcast_arrays(np.atleast_1d(self.left), np.atleast_1d(self.right))
        if np.any((left < 0) & (left + right != 0) | (right > 180) & (left + right != 360) | (right - left > 360)):
            raise ValueError(
                f"{type(self).__name__}: windows of the angle must lie within 0 and 180 degrees, or around one of these, got left {left} and right {right}"
            )


@pytree
class CompactWide(CompactAngles):
    r"""Windows of the angle and of the distances to both neighbours: n2p2's types 22 and, mixed by atomic number, 25.

    .. math:: G = \sum_{j<k} C(r_{ij})\, C(r_{ik})\, C(\theta_{ijk})

    for every window of distances and every window of angles. Where a window is around 0° or 180°, atoms in line count with one, as the
    formula says; n2p2 leaves out those that are exactly so.

    Args:
      core: f of the distances, as in CompactRadial.
      angular_core: f of the angle.
      low, high: r_l and r_c, shape [] or [R], in Å, as in CompactRadial.
      left, right: θ_l and θ_r, shape [] or [A], in degrees: within 0 and 180, or around one of these.
      mixing: as in G2.

    Raises:
      ValueError: for windows that are empty, or end in a kink; for shapes that do not fit.
      TypeError: for what is no core.

    Example:
      >>> from jaxpot.descriptors import ACSF, PolynomialCore
      >>> ACSF(("H", "O"), (CompactWide(PolynomialCore(2), PolynomialCore(2), low=-6.0, high=6.0, left=[0.0, 1.0], right=[2.0, 3.0]),)).n_features
      6

    References:
      As in CompactRadial.
    """

    core: Core
    angular_core: Core
    low: Leaf = leaf(shape="[] or [n]")
    high: Leaf = leaf(shape="[] or [n]")
    left: Leaf = leaf(shape="[] or [m]")
    right: Leaf = leaf(shape="[] or [m]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check_angles(self)

    def radial(self, pairs: Pairs, weight: Array) -> Array:
        return weight


@pytree
class CompactNarrow(CompactAngles):
    r"""As CompactWide, times the window of the distance between the neighbours: n2p2's types 21 and, mixed by atomic number, 24.

    .. math:: G = \sum_{j<k} C(r_{ij})\, C(r_{ik})\, C(r_{jk})\, C(\theta_{ijk})

    Args:
      core, angular_core, low, high, left, right, mixing: as in CompactWide.

    Raises:
      ValueError, TypeError: as CompactWide.

    Example:
      >>> from jaxpot.descriptors import ACSF, PolynomialCore
      >>> ACSF(("H", "O"), (CompactNarrow(PolynomialCore(2), PolynomialCore(2), low=-6.0, high=6.0, left=[0.0, 1.0], right=[2.0, 3.0]),)).n_features
      6
    """

    core: Core
    angular_core: Core
    low: Leaf = leaf(shape="[] or [n]")
    high: Leaf = leaf(shape="[] or [n]")
    left: Leaf = leaf(shape="[] or [m]")
    right: Leaf = leaf(shape="[] or [m]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check_angles(self)

    def radial(self, pairs: Pairs, weight: Array) -> Array:
        return weight * _window(self.core, self.low, self.high, pairs.opposite)
