"""Sets of atom-centred symmetry functions: the parts of an ACSF."""


import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs, contracted, one_of, other_of, pair_channels
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.math.powers import power
from jaxpot.trees import leaf, positive, pytree

Array = jax.Array


class SymmetryFunctions(Interface):
    """Interface: functions of one kind with one cutoff function, on the grid of their parameters, for all elements of neighbours.

    A channel is an element, or with `mixing` [S, Q] one of Q mixtures of them: n2p2's weighted functions have one channel, which counts a
    neighbour by its atomic number. Functions of one neighbour are there for every channel, those of two for every pair of channels.

    Attributes:
      mixing: how much an element counts in a channel, shape [S, Q]; None is one channel per element.
      sizes: numbers of the parameters, whose grid is in their order, the last varying fastest.
      reach: the distance from which on neighbours do not count, shape [], in Å.
      has_angles: whether they are of pairs of neighbours.
    """

    mixing: Array | None
    sizes: tuple[int, ...]
    reach: Array
    has_angles = False

    @abc.abstractmethod
    def channel_names(self, species: tuple[str, ...]) -> tuple[tuple, ...]:
        """What the values are for: of every channel, or pair of channels, the elements, or numbers of mixtures."""

    def labels(self, species: tuple[str, ...]) -> tuple[tuple, ...]:
        """(class, elements, indices of parameters) of every value."""
        return tuple((type(self).__name__, *names, *index) for names in self.channel_names(species) for index in np.ndindex(self.sizes))

    @abc.abstractmethod
    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        """All values of one atom, in the order of the labels."""

    def _names(self, species: tuple[str, ...]) -> tuple:
        return species if self.mixing is None else tuple(range(np.shape(self.mixing)[1]))

    def _channels(self, neighbors: Neighbors) -> Array:
        """[Q, K]."""
        own = neighbors.elements if self.mixing is None else einsum("ks,sq->kq", neighbors.elements, jnp.asarray(self.mixing, neighbors.r.dtype))
        return own.T


class RadialFunctions(SymmetryFunctions):
    """Interface: sums over neighbours."""

    def channel_names(self, species: tuple[str, ...]) -> tuple[tuple, ...]:
        return tuple((name,) for name in self._names(species))


class CutRadialFunctions(RadialFunctions):
    """Interface: Σ_j of a function of r_j times a cutoff function. A new one writes `sizes` and `radial`.

    Attributes:
      cutoff: f_c, with the radius of these functions.
    """

    cutoff: Cutoff

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    @abc.abstractmethod
    def radial(self, r: Array) -> Array:
        """The functions, without their cutoff, at distances [K]: [n, K]."""

    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        return einsum("nk,qk->qn", self.radial(neighbors.r) * self.cutoff(neighbors.r)[None], self._channels(neighbors)).reshape(-1)


class AngularFunctions(SymmetryFunctions):
    """Interface: sums over pairs of neighbours."""

    has_angles = True

    def channel_names(self, species: tuple[str, ...]) -> tuple[tuple, ...]:
        names = self._names(species)
        return tuple((a, b) for i, a in enumerate(names) for b in names[i:])


class CutAngularFunctions(AngularFunctions):
    """Interface: Σ_{j<k} of a function of three lengths times one of the angle, with cutoff functions. A new one writes `radial`.

    Attributes:
      cutoff: f_c, with the radius of these functions.
      eta, r_s, lam, zeta: as in G4 and G5.
    """

    cutoff: Cutoff
    eta: Array
    r_s: Array
    lam: Array
    zeta: Array

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    @property
    def sizes(self) -> tuple[int, ...]:
        return _paired_size(self.eta, self.r_s), np.size(self.lam), np.size(self.zeta)

    @abc.abstractmethod
    def radial(self, pairs: Pairs, weight: Array) -> Array:
        """[n, T] of pairs of neighbours, whose cutoff functions and count are the weight [T]."""

    def angular(self, pairs: Pairs) -> Array:
        """2 ((1 + λ cos θ)/2)^ζ, shape [λ ζ, T]."""
        dtype = pairs.first.dtype
        lam, zeta = (jnp.atleast_1d(jnp.asarray(x, dtype)) for x in (self.lam, self.zeta))
        # as a sum of two squares the base is never negative, and smooth where the angle ends
        base = 0.5 * ((1 + lam)[:, None] * pairs.aligned[None] + (1 - lam)[:, None] * pairs.opposed[None])
        return 2 * power(base[:, None], zeta[None, :, None]).reshape(len(lam) * len(zeta), -1)

    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        cutoff = self.cutoff(neighbors.r)
        radial = self.radial(pairs, one_of(cutoff) * other_of(cutoff) * pairs.weight)
        return contracted(pair_channels(self._channels(neighbors)), radial, self.angular(pairs)).reshape(-1)


def _paired(dtype, *leaves: Array) -> list[Array]:
    """Parameters that go together, each of shape [] or [n], as [n, 1]."""
    return [x[:, None] for x in jnp.broadcast_arrays(*(jnp.atleast_1d(jnp.asarray(leaf, dtype)) for leaf in leaves))]


def _paired_size(*leaves: Array) -> int:
    return max(np.size(leaf) for leaf in leaves)


def _check(self: SymmetryFunctions) -> None:
    owner = type(self).__name__
    if not isinstance(self.cutoff, Cutoff):
        raise TypeError(f"{owner}: expected a cutoff function such as CosineCutoff(6.0), got {type(self.cutoff).__name__}")
    eta = getattr(self, "eta", 0.0)
    if is_concrete(eta) and np.any(np.asarray(eta) < 0):
        raise ValueError(f"{owner}: eta must be ≥ 0, got {np.asarray(eta)}")
    if self.mixing is not None and np.ndim(self.mixing) != 2:
        raise ValueError(f"{owner}: mixing must have shape [elements, channels], got {list(np.shape(self.mixing))}")


def _centered(radius: Array, n: int) -> np.ndarray:
    return (n ** (np.arange(n + 1) / n) / np.asarray(radius)) ** 2


@pytree
class G2(CutRadialFunctions):
    r"""Radial Gaussians; with η = 0, the default, the coordination number G1.

    .. math:: G = \sum_j e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij})

    Args:
      cutoff: f_c.
      eta: η, shape [] or [n], in Å⁻².
      r_s: r_s, likewise, in Å; η and r_s go together.
      mixing: how much every element counts in every channel, shape [S, Q]; None is a channel per element. `mixing=[[1.0], [8.0]]` makes one of
        H and O by their atomic numbers (n2p2's type 12).

    Raises:
      ValueError: for η < 0, or lengths that do not fit.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF
      >>> ACSF(("H", "O"), (G2.shifted(CosineCutoff(4.0), 5),)).n_features  # of two elements
      10

    References:
      Behler, "Atom-centered symmetry functions for constructing high-dimensional neural network potentials", J. Chem. Phys. 134, 074106
      (2011); Gastegger, Schwiedrzik, Bittermann, Berzsenyi, Marquetand, "wACSF: weighted atom-centered symmetry functions as descriptors
      in machine learning potentials", J. Chem. Phys. 148, 241709 (2018).
    """

    cutoff: Cutoff
    eta: Leaf = leaf(default=0.0, shape="[] or [N]")
    r_s: Leaf = leaf(default=0.0, shape="[] or [N]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check(self)

    @classmethod
    def centered(cls, cutoff: Cutoff, n: int) -> "G2":
        """n + 1 Gaussians at the centre, η_m = (n^(m/n) / r_c)².

        Example:
          >>> from jaxpot import CosineCutoff
          >>> G2.centered(CosineCutoff(6.0), 4).eta.round(3).tolist()
          [0.028, 0.056, 0.111, 0.222, 0.444]

        References:
          Imbalzano, Anelli, Giofré, Klees, Behler, Ceriotti, "Automatic selection of atomic fingerprints and reference configurations
          for machine-learning potentials", J. Chem. Phys. 148, 241730 (2018).
        """
        return cls(cutoff, eta=_centered(cutoff.radius, n))

    @classmethod
    def shifted(cls, cutoff: Cutoff, n: int) -> "G2":
        """n Gaussians at r_m = r_c / n^(m/n), m = n … 1, with η_m = (r_m−1 − r_m)⁻² (Imbalzano et al.)."""
        places = np.asarray(cutoff.radius) / n ** (np.arange(n + 1) / n)
        return cls(cutoff, eta=np.flip((places[:-1] - places[1:]) ** -2.0), r_s=np.flip(places[1:]))

    @property
    def sizes(self) -> tuple[int, ...]:
        return (_paired_size(self.eta, self.r_s),)

    def radial(self, r: Array) -> Array:
        eta, r_s = _paired(r.dtype, self.eta, self.r_s)
        return jnp.exp(-eta * (r[None] - r_s) ** 2)


@pytree
class G3(CutRadialFunctions):
    r"""Cosines of the distance.

    .. math:: G = \sum_j \cos(\kappa r_{ij})\, f_c(r_{ij})

    Args:
      cutoff: f_c.
      kappa: κ, shape [] or [n], in Å⁻¹.
      mixing: as in G2.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF
      >>> ACSF(("H", "O"), (G3(CosineCutoff(4.0), kappa=[1.0, 2.0]),)).n_features
      4
    """

    cutoff: Cutoff
    kappa: Leaf = leaf(shape="[] or [N]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (np.size(self.kappa),)

    def radial(self, r: Array) -> Array:
        return jnp.cos(_paired(r.dtype, self.kappa)[0] * r[None])


def _check_angular(self: AngularFunctions) -> None:
    _check(self)
    if is_concrete(self.lam) and np.any(np.abs(np.asarray(self.lam)) > 1):
        raise ValueError(f"{type(self).__name__}: expected −1 ≤ λ ≤ 1, got {np.asarray(self.lam)}; else 1 + λ cos θ would be negative")


@pytree
class G4(CutAngularFunctions):
    r"""Narrow angles: all three atoms are near each other.

    .. math:: G = 2^{1-\zeta} \sum_{j<k} (1 + \lambda \cos\theta_{ijk})^\zeta\,
       e^{-\eta [(r_{ij}-r_s)^2 + (r_{ik}-r_s)^2 + (r_{jk}-r_s)^2]} f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk})

    for every (η, r_s), every λ and every ζ.

    Args:
      cutoff: f_c.
      eta: η, shape [] or [R], in Å⁻².
      r_s: r_s, likewise, in Å; η and r_s go together.
      lam: λ, shape [] or [Λ]; ±1 peak at 0° and at 180°.
      zeta: ζ, shape [] or [Z], > 0; the larger the sharper.
      mixing: as in G2; one channel by atomic number is n2p2's type 13.

    Raises:
      ValueError: for η < 0, |λ| > 1, ζ ≤ 0, or lengths that do not fit.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF
      >>> ACSF(("H", "O"), (G4(CosineCutoff(4.0), eta=[0.05], lam=[-1, 1], zeta=[1, 4]),)).n_features  # of three pairs of elements
      12

    References:
      As in G2.
    """

    cutoff: Cutoff
    eta: Leaf = leaf(default=0.0, shape="[] or [R]")
    r_s: Leaf = leaf(default=0.0, shape="[] or [R]")
    lam: Leaf = leaf(default=(-1.0, 1.0), shape="[] or [L]")
    zeta: Leaf = positive(default=1.0, shape="[] or [Z]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check_angular(self)

    @classmethod
    def centered(cls, cutoff: Cutoff, n: int, zeta=(1.0, 4.0, 16.0)) -> "G4":
        """For n + 1 values of η as `G2.centered`, λ = ±1 and these ζ."""
        return cls(cutoff, eta=_centered(cutoff.radius, n), zeta=zeta)

    def radial(self, pairs: Pairs, weight: Array) -> Array:
        eta, r_s = _paired(weight.dtype, self.eta, self.r_s)
        exponent = (pairs.first[None] - r_s) ** 2 + (pairs.second[None] - r_s) ** 2 + (pairs.opposite[None] - r_s) ** 2
        return jnp.exp(-eta * exponent) * (weight * self.cutoff(pairs.opposite))[None]


@pytree
class G5(CutAngularFunctions):
    r"""Wide angles: as G4 without the factors of r_jk, so both neighbours may be far apart (n2p2's type 9).

    .. math:: G = 2^{1-\zeta} \sum_{j<k} (1 + \lambda \cos\theta_{ijk})^\zeta\,
       e^{-\eta [(r_{ij}-r_s)^2 + (r_{ik}-r_s)^2]} f_c(r_{ij}) f_c(r_{ik})

    Args:
      cutoff, eta, r_s, lam, zeta, mixing: as in G4.

    Raises:
      ValueError: as G4.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF
      >>> ACSF(("H", "O"), (G5(CosineCutoff(4.0), eta=[0.05], lam=[-1, 1], zeta=[1, 4]),)).n_features
      12
    """

    cutoff: Cutoff
    eta: Leaf = leaf(default=0.0, shape="[] or [R]")
    r_s: Leaf = leaf(default=0.0, shape="[] or [R]")
    lam: Leaf = leaf(default=(-1.0, 1.0), shape="[] or [L]")
    zeta: Leaf = positive(default=1.0, shape="[] or [Z]")
    mixing: OptionalLeaf = None

    def __post_init__(self):
        _check_angular(self)

    @classmethod
    def centered(cls, cutoff: Cutoff, n: int, zeta=(1.0, 4.0, 16.0)) -> "G5":
        """As `G4.centered`."""
        return cls(cutoff, eta=_centered(cutoff.radius, n), zeta=zeta)

    def radial(self, pairs: Pairs, weight: Array) -> Array:
        eta, r_s = _paired(weight.dtype, self.eta, self.r_s)
        return jnp.exp(-eta * ((pairs.first[None] - r_s) ** 2 + (pairs.second[None] - r_s) ** 2)) * weight[None]
