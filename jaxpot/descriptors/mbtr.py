"""The many-body tensor representation: smeared histograms of distances and angles, by elements."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.descriptors.triangles import Triples, symmetric_pairs, triples
from jaxpot.graph import Environment, Graph, environments
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.transforms import DistanceTransform, InverseTransform
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class Histogram(Tree):
    r"""A histogram of Gaussian lines: the mean of each line over each bin.

    .. math:: h_n(x) = \frac{1}{\Delta} \left[\Phi\left(\frac{b_n + \Delta/2 - x}{\sigma}\right) - \Phi\left(\frac{b_n - \Delta/2 - x}{\sigma}\right)\right]

    with n bins centred at b, from low to high, Δ apart, and the normal distribution function Φ.

    Args:
      low: centre of the first bin.
      high: centre of the last bin.
      sigma: width of a line, in the unit of x.
      n: number of bins.

    Raises:
      ValueError: for less than two bins, or an empty range.

    Example:
      >>> Histogram(0.0, 2.0, sigma=0.1, n=3)(jnp.array([1.0])).round(3).tolist()
      [[0.0, 1.0, 0.0]]
    """

    low: Leaf = leaf()
    high: Leaf = leaf()
    sigma: Leaf = positive()
    n: int = static(most=10_000)

    def __post_init__(self):
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 2:
            raise ValueError(f"Histogram: n must be a whole number from 2 on, got {self.n!r}")
        if is_concrete(self.low) and is_concrete(self.high) and not np.asarray(self.low) < np.asarray(self.high):
            raise ValueError(f"Histogram: low must be below high, got {np.asarray(self.low)} and {np.asarray(self.high)}")

    def __call__(self, x: Array) -> Array:
        """x [...] -> [..., n]."""
        low, high, sigma = (jnp.asarray(v, x.dtype) for v in (self.low, self.high, self.sigma))
        step = (high - low) / (self.n - 1)
        edges = low + step * (jnp.arange(self.n + 1, dtype=x.dtype) - 0.5)
        y = jax.scipy.special.erf((edges.reshape((1,) * x.ndim + (-1,)) - x[..., None]) / (np.sqrt(2.0).astype(x.dtype) * sigma))
        return 0.5 * (y[..., 1:] - y[..., :-1]) / step


class AngleFunction(Interface):
    """Interface: cosines [...] and sines [...] of angles to variables [...]."""

    @abc.abstractmethod
    def __call__(self, cosine: Array, sine: Array) -> Array:
        """The function, from cosine and sine of the angle."""


@pytree
class CosineOfAngle(AngleFunction):
    """x = cos θ.

    Example:
      >>> CosineOfAngle()(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])).tolist()
      [0.0, 1.0]
    """

    def __call__(self, cosine: Array, sine: Array) -> Array:
        return cosine


@pytree
class AngleInDegrees(AngleFunction):
    """x = θ, from 0 to 180. Where three atoms lie on a line it has a kink, and the derivative 0.

    Example:
      >>> AngleInDegrees()(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])).tolist()
      [90.0, 0.0]
    """

    def __call__(self, cosine: Array, sine: Array) -> Array:
        return jnp.rad2deg(jnp.arctan2(sine, cosine))


class Histograms(Tree):
    """What MBTR and LocalMBTR share: histograms of the pairs and triangles of one atom, with their weights."""

    def _check(self) -> None:
        owner = type(self).__name__
        species_tuple(self.species, owner)
        for name in ("pairs", "angles"):
            if not isinstance(getattr(self, name), Histogram | None):
                raise TypeError(f"{owner}: {name} must be a Histogram(low, high, sigma, n), got {type(getattr(self, name)).__name__}")
        for name, expected, example in (
            ("cutoff", Cutoff, "CosineCutoff(5.0)"),
            ("angle_cutoff", Cutoff | None, "CosineCutoff(4.0)"),
            ("perimeter", Cutoff | None, "CosineCutoff(10.0)"),
            ("distance", DistanceTransform, "InverseTransform()"),
            ("angle", AngleFunction, "CosineOfAngle()"),
        ):
            if not isinstance(getattr(self, name), expected):
                raise TypeError(f"{owner}: {name} must be one such as {example}, got {type(getattr(self, name)).__name__}")

    @property
    def reach(self) -> Array:
        radius = jnp.asarray(self.cutoff.radius)
        return radius if self.angle_cutoff is None else jnp.maximum(radius, self.angle_cutoff.radius)

    @property
    def _bins(self) -> tuple[int, int]:
        """Bins of the two histograms; 0 of one that there is not."""
        return tuple(0 if histogram is None else histogram.n for histogram in (self.pairs, self.angles))

    def _of_pairs(self, env: Environment) -> Array:
        """Lines of the neighbours of one atom by their element, [S, n]."""
        dtype, s = env.vectors.dtype, len(self.species)
        if self.pairs is None:
            return jnp.zeros((s, 0), dtype)
        r = safe_norm(env.vectors)
        r = jnp.where(env.mask & (r > 0), r, 1)
        weight = self.cutoff(r) if self.pair_decay is None else jnp.exp(-jnp.asarray(self.pair_decay, dtype) * r) * self.cutoff(r)
        element = jax.nn.one_hot(env.species, s, dtype=dtype) * jnp.where(env.mask, weight, 0)[:, None]
        return einsum("ks,kn->sn", element, self.pairs(self.distance(r)))

    def _triangles(self, env: Environment) -> tuple[Triples, Array]:
        """The triangles of one atom, and their weights [T]."""
        t = triples(env, len(self.species))
        perimeter, cutoff = jnp.sum(t.sides, axis=0), self.cutoff if self.angle_cutoff is None else self.angle_cutoff
        weight = jnp.prod(cutoff(t.sides[:2]), axis=0)
        weight = weight if self.perimeter is None else weight * self.perimeter(perimeter)
        return t, weight if self.angle_decay is None else weight * jnp.exp(-jnp.asarray(self.angle_decay, weight.dtype) * perimeter)

    def _at_apex(self, t: Triples, weight: Array) -> Array:
        """Lines of the angles at the atom itself by the elements of both neighbours, [S (S + 1)/2, n]."""
        return einsum("tp,tn->pn", t.elements * weight[:, None], self.angles(self.angle(t.cosines[0], t.sine)))


@pytree
class MBTR(Histograms, StructureDescriptor):
    r"""Many-body tensor representation with k = 1, 2, 3: elements, functions of distances, functions of angles.

    .. math:: N_a, \qquad \sum_{i<j} e^{-\beta r_{ij}} f_c(r_{ij})\, h(1/r_{ij}), \qquad
       \sum_i \sum_{j<k} e^{-\gamma P_{ijk}} F(P_{ijk}) f_c(r_{ij}) f_c(r_{ik})\, h(\cos\theta_i), \qquad P_{ijk} = r_{ij} + r_{ik} + r_{jk}

    The counts N of every element, a histogram of distances for each unordered pair of elements, and one of angles for each element of the
    apex i and unordered pair of the others. In a crystal sums are per cell: a pair in the cell and a pair across its boundary count alike.

    Blocks differ in scale; a kernel with one length per feature weighs them against each other. `UnitLength` and `PerAtom` normalise them.

    Args:
      species: chemical symbols.
      cutoff: f_c. For a molecule `Step(radius)` with a radius that no distance exceeds is none at all; `InversePowerDecay(cutoff)` weighs a pair
        by 1/r², DScribe's `inverse_square`.
      pairs: histogram of 1/r, in 1/Å, or of another `distance`; None leaves it out.
      angles: histogram of cosines, or of another `angle`; None leaves it out.
      pair_decay: β, in 1/Å; None is no decay (DScribe's `unity`).
      angle_decay: γ, in 1/Å; None is no decay.
      distance: the variable of pairs: InverseTransform(), or IdentityTransform() for r in Å.
      angle: the variable of angles: CosineOfAngle() or AngleInDegrees().
      angle_cutoff: f_c of the two sides at the apex; None takes `cutoff`. `GammaCutoff(radius, gamma)` is DScribe's `smooth_cutoff`.
      perimeter: F, a cutoff of the sum of all sides; None is none. `Step(-log(threshold)/γ)` is where DScribe drops triangles.

    Raises:
      ValueError: for unknown species.
      TypeError: if a field is of another kind.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import Step
      >>> from ase.build import molecule
      >>> mbtr = MBTR(("H", "O"), Step(8.0), Histogram(0.0, 1.2, sigma=0.05, n=10), Histogram(-1.0, 1.0, sigma=0.1, n=5))
      >>> mbtr.features(from_atoms(molecule("H2O"), cutoff=8.0)).shape
      (62,)

    References:
      Huo, Rupp, "Unified representation of molecules and crystals for machine learning", Mach. Learn.: Sci. Technol. 3, 045017 (2022).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    pairs: Histogram | None
    angles: Histogram | None
    pair_decay: OptionalLeaf = positive(default=0.5)
    angle_decay: OptionalLeaf = positive(default=0.5)
    distance: DistanceTransform = dataclasses.field(default_factory=InverseTransform)
    angle: AngleFunction = dataclasses.field(default_factory=CosineOfAngle)
    angle_cutoff: Cutoff | None = None
    perimeter: Cutoff | None = None

    def __post_init__(self):
        self._check()

    @property
    def n_features(self) -> int:
        s, (two, three) = len(self.species), self._bins
        return s + s * (s + 1) // 2 * (two + s * three)

    def labels(self) -> tuple[tuple[Any, ...], ...]:
        """(element,), (element, element, bin) or (apex, element, element, bin) of every feature."""
        pairs = [(self.species[a], self.species[b]) for a, b in zip(*np.triu_indices(len(self.species)), strict=True)]
        two = tuple((*pair, n) for pair in pairs for n in range(self._bins[0]))
        return tuple((s,) for s in self.species) + two + tuple((s, *pair, n) for s in self.species for pair in pairs for n in range(self._bins[1]))

    def _of_atom(self, env: Environment) -> tuple[Array, Array]:
        """Half the pairs of one atom by the element of its neighbour, [S, n], and the angles at it by the elements of both, [S (S + 1)/2, n]."""
        s = len(self.species)
        three = jnp.zeros((s * (s + 1) // 2, 0), env.vectors.dtype) if self.angles is None else self._at_apex(*self._triangles(env))
        return 0.5 * self._of_pairs(env), three

    def blocks(self, graph: Graph) -> tuple[Array, Array, Array]:
        """Counts [S], pairs [S (S + 1)/2, n] and angles [S, S (S + 1)/2, n]."""
        envs, s = environments(graph, self.reach, self.species), len(self.species)
        center = jnp.where((graph.numbers > 0)[:, None], jax.nn.one_hot(envs.center, s, dtype=envs.vectors.dtype), 0)
        two, three = jax.vmap(self._of_atom)(envs)
        two, three = einsum("nz,nsb->zsb", center, two), einsum("nz,npb->zpb", center, three)
        return jnp.sum(center, axis=0), symmetric_pairs(two), three

    def features(self, graph: Graph) -> Array:
        return jnp.concatenate([block.reshape(-1) for block in self.blocks(graph)])
