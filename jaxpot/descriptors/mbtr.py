"""The many-body tensor representation: smeared histograms of distances and angles, by elements."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.descriptors.triangles import symmetric_pairs, triples
from jaxpot.graph import Environment, Graph, environments
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.pytree import leaf, positive, pytree, static

Array = jax.Array


@pytree
class Histogram:
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

    low: Array = leaf()
    high: Array = leaf()
    sigma: Array = positive()
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


@pytree
class MBTR(StructureDescriptor):
    r"""Many-body tensor representation with k = 1, 2, 3: elements, inverse distances, cosines of angles.

    .. math:: N_a, \qquad \sum_{i<j} e^{-\beta r_{ij}} f_c(r_{ij})\, h(1/r_{ij}), \qquad
       \sum_i \sum_{j<k} e^{-\gamma (r_{ij} + r_{ik} + r_{jk})} f_c(r_{ij}) f_c(r_{ik})\, h(\cos\theta_i)

    The counts N of every element, a histogram of distances for each unordered pair of elements, and one of angles for each element of the
    apex i and unordered pair of the others. In a crystal sums are per cell: a pair in the cell and a pair across its boundary count alike.

    Blocks differ in scale; a kernel with one length per feature weighs them against each other.

    Args:
      species: chemical symbols.
      cutoff: cutoff function. For a molecule `Step(radius)` with a radius that no distance exceeds is none at all.
      pairs: histogram of 1/r, in 1/Å.
      angles: histogram of cosines.
      pair_decay: β, in 1/Å.
      angle_decay: γ, in 1/Å.

    Raises:
      ValueError: for unknown species.
      TypeError: if pairs or angles are no Histogram.

    Example:
      >>> from jaxpot import Step, from_atoms
      >>> from ase.build import molecule
      >>> mbtr = MBTR(("H", "O"), Step(8.0), Histogram(0.0, 1.2, sigma=0.05, n=10), Histogram(-1.0, 1.0, sigma=0.1, n=5))
      >>> mbtr.features(from_atoms(molecule("H2O"), cutoff=8.0)).shape
      (62,)

    References:
      Huo, Rupp, "Unified representation of molecules and crystals for machine learning", Mach. Learn.: Sci. Technol. 3, 045017 (2022).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    pairs: Histogram
    angles: Histogram
    pair_decay: Array = positive(0.5)
    angle_decay: Array = positive(0.5)

    def __post_init__(self):
        species_tuple(self.species, "MBTR")
        for name in ("pairs", "angles"):
            if not isinstance(getattr(self, name), Histogram):
                raise TypeError(f"MBTR: {name} must be a Histogram(low, high, sigma, n), got {type(getattr(self, name)).__name__}")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    @property
    def n_features(self) -> int:
        s = len(self.species)
        return s + s * (s + 1) // 2 * (self.pairs.n + s * self.angles.n)

    def labels(self) -> tuple[tuple[Any, ...], ...]:
        """(element,), (element, element, bin) or (apex, element, element, bin) of every feature."""
        pairs = [(self.species[a], self.species[b]) for a, b in zip(*np.triu_indices(len(self.species)), strict=True)]
        two = tuple((*pair, n) for pair in pairs for n in range(self.pairs.n))
        return tuple((s,) for s in self.species) + two + tuple((s, *pair, n) for s in self.species for pair in pairs for n in range(self.angles.n))

    def _of_atom(self, env: Environment) -> tuple[Array, Array]:
        """Half the pairs of one atom by the element of its neighbour, [S, n], and the angles at it by the elements of both, [S (S + 1)/2, n]."""
        dtype, s = env.vectors.dtype, len(self.species)
        r = safe_norm(env.vectors)
        is_zero = r == 0
        weight = jnp.where(env.mask, 0.5 * jnp.exp(-jnp.asarray(self.pair_decay, dtype) * r) * self.cutoff(r), 0)
        two = einsum("ks,kn->sn", jax.nn.one_hot(env.species, s, dtype=dtype) * weight[:, None], self.pairs(1 / jnp.where(is_zero, 1, r)))
        t = triples(env, s)
        strength = jnp.exp(-jnp.asarray(self.angle_decay, dtype) * jnp.sum(t.sides, axis=0)) * jnp.prod(self.cutoff(t.sides[:2]), axis=0)
        return two, einsum("tp,tn->pn", t.elements * strength[:, None], self.angles(t.cosines[0]))

    def features(self, graph: Graph) -> Array:
        envs, s = environments(graph, self.reach, self.species), len(self.species)
        center = jnp.where((graph.numbers > 0)[:, None], jax.nn.one_hot(envs.center, s, dtype=envs.vectors.dtype), 0)
        two, three = jax.vmap(self._of_atom)(envs)
        two, three = einsum("nz,nsb->zsb", center, two), einsum("nz,npb->zpb", center, three)
        return jnp.concatenate([jnp.sum(center, axis=0), symmetric_pairs(two).reshape(-1), three.reshape(-1)])
