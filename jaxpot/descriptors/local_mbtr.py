"""The many-body tensor representation of one atom: histograms of the pairs and triangles it belongs to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.mbtr import AngleFunction, CosineOfAngle, Histogram, Histograms
from jaxpot.graph import Environment
from jaxpot.leaves import OptionalLeaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.math.transforms import DistanceTransform, InverseTransform
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class LocalMBTR(Histograms, LocalDescriptor):
    r"""The many-body tensor representation of one atom (LMBTR): its distances, the angles at it, and the angles at its neighbours to it.

    .. math:: \sum_j w_{ij}\, h(1/r_{ij}), \qquad \sum_{j<k} w_{ijk}\, h(\cos\theta_i), \qquad \sum_{j \ne k} w_{ijk}\, h(\cos\theta_j),
       \qquad w_{ij} = e^{-\beta r_{ij}} f_c(r_{ij}), \quad w_{ijk} = e^{-\gamma P_{ijk}} F(P_{ijk}) f_c(r_{ij}) f_c(r_{ik})

    with the perimeter P of a triangle: one histogram of distances for each element, one of angles at the atom for each unordered pair of
    elements, and one of angles at neighbours for each element of the apex and element of the other neighbour. The element of the atom is not
    among the features, since kernels compare atoms of one element.

    Args:
      species: chemical symbols.
      cutoff: f_c. DScribe cuts the weight of pairs off with a jump, at `Step(-log(threshold)/β)`.
      pairs: histogram of 1/r, in 1/Å, or of another `distance`; None leaves it out.
      angles: histogram of cosines, or of another `angle`; None leaves it out.
      pair_decay: β, in 1/Å; None is no decay.
      angle_decay: γ, in 1/Å; None is no decay.
      distance: the variable of pairs: InverseTransform(), or IdentityTransform() for r in Å.
      angle: the variable of angles: CosineOfAngle() or AngleInDegrees().
      angle_cutoff: f_c of the two sides at the atom; None takes `cutoff`.
      perimeter: F, a cutoff of the sum of all sides; None is none. DScribe has `Step(-log(threshold)/γ)`.

    Raises:
      ValueError: for unknown species.
      TypeError: if a field is of another kind.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> LocalMBTR(("H", "O"), CosineCutoff(5.0), Histogram(0.0, 1.2, sigma=0.05, n=10), Histogram(-1.0, 1.0, sigma=0.1, n=5)).n_features
      55

    References:
      Huo, Rupp, "Unified representation of molecules and crystals for machine learning", Mach. Learn.: Sci. Technol. 3, 045017 (2022);
      Himanen et al., "DScribe: Library of descriptors for machine learning in materials science", Comput. Phys. Commun. 247, 106949 (2020).
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
        if self.pairs is None and self.angles is None:
            raise ValueError("LocalMBTR: without pairs and angles there are no features; write pairs=Histogram(low, high, sigma, n)")

    @property
    def n_features(self) -> int:
        s, (two, three) = len(self.species), self._bins
        return s * two + (s * (s + 1) // 2 + s * s) * three

    def labels(self) -> tuple[tuple, ...]:
        """(element, bin), (element, "atom", element, bin) for angles at the atom, ("atom", element, element, bin) for those at the first element."""
        names, (two, three) = self.species, self._bins
        rows = zip(*np.triu_indices(len(names)), strict=True)
        own = tuple((names[a], "atom", names[b], n) for a, b in rows for n in range(three))
        return tuple((s, n) for s in names for n in range(two)) + own + tuple(("atom", a, b, n) for a in names for b in names for n in range(three))

    def environment(self, env: Environment) -> Array:
        parts = [self._of_pairs(env)]
        if self.angles is not None:
            t, weight = self._triangles(env)
            parts += [self._at_apex(t, weight), self._at_neighbours(env, t, weight)]
        return jnp.concatenate([part.reshape(-1) for part in parts])

    def _at_neighbours(self, env: Environment, t, weight: Array) -> Array:
        """Lines of the angles at either neighbour, by its element and that of the other, [S², n]."""
        s, there = len(self.species), jnp.sum(t.elements, axis=1) * weight
        j, k = (env.species[x] for x in np.triu_indices(env.mask.shape[0], 1))
        total = jnp.zeros((s * s, self.angles.n), weight.dtype)
        for at, other, side, cosine in ((j, k, t.sides[1], t.cosines[1]), (k, j, t.sides[0], t.cosines[2])):
            sine = t.sine * side / t.sides[2]  # the law of sines
            element = jax.nn.one_hot(at * s + other, s * s, dtype=weight.dtype) * there[:, None]
            total = total + einsum("tp,tn->pn", element, self.angles(self.angle(cosine, sine)))
        return total
