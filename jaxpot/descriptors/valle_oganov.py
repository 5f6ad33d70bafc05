"""Crystal fingerprints of Valle and Oganov: correlation functions of distances and angles, by elements."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.crystals import CrystalDescriptor
from jaxpot.descriptors.mbtr import MBTR, AngleInDegrees, Histogram
from jaxpot.graph import Graph
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.decays import InversePowerDecay
from jaxpot.math.transforms import IdentityTransform
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class ValleOganov(CrystalDescriptor):
    r"""The fingerprint of Valle and Oganov, with the extension to angles that DScribe has.

    .. math:: F_{AB}(R) = \frac{V}{4\pi N_A N_B} \sum_{i \in A} \sum_{j \in B} \frac{f_c(r_{ij})}{r_{ij}^2}\, h(r_{ij}), \qquad
       F_{ABC}(\theta) = \frac{V}{N_A N_B N_C} \sum_{j \in B} \sum_{i \in A,\, k \in C} f_a(r_{ij}) f_a(r_{jk})\, h(\theta_{ijk})

    with the volume V of the cell and the numbers N of atoms in it; the first atom of a pair and the apex of a triangle are in the cell, and each
    triangle counts once. F of pairs tends to 1 at large distances (the published function is F − 1), and supercells do not change it; F of
    triangles falls as 1/N in them, as in DScribe. Elements that are missing have features 0.

    Args:
      species: chemical symbols.
      cutoff: f_c; DScribe's is Step(radius).
      distances: histogram of distances, in Å.
      angle_cutoff: f_a; DScribe's is GammaCutoff(radius).
      angles: histogram of angles, in degrees.

    Raises:
      ValueError: for unknown species.
      TypeError: if a field is of another kind.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> distances, angles = Histogram(0.0, 6.0, sigma=0.2, n=31), Histogram(0.0, 180.0, sigma=5.0, n=19)
      >>> ValleOganov(("Ga", "As"), CosineCutoff(6.0, width=0.5), distances, CosineCutoff(4.0), angles).n_features
      207

    References:
      Valle, Oganov, "Crystal fingerprint space – a novel paradigm for studying crystal-structure sets", Acta Cryst. A 66, 507 (2010).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    distances: Histogram
    angle_cutoff: Cutoff
    angles: Histogram

    def __post_init__(self):
        species_tuple(self.species, "ValleOganov")
        for name in ("distances", "angles"):
            if not isinstance(getattr(self, name), Histogram):
                raise TypeError(f"ValleOganov: {name} must be a Histogram(low, high, sigma, n), got {type(getattr(self, name)).__name__}")
        for name in ("cutoff", "angle_cutoff"):
            if not isinstance(getattr(self, name), Cutoff):
                raise TypeError(f"ValleOganov: {name} must be a cutoff such as CosineCutoff(5.0), got {type(getattr(self, name)).__name__}")

    @property
    def _sums(self) -> MBTR:
        """The sums without their factors."""
        return MBTR(
            self.species, InversePowerDecay(self.cutoff), self.distances, self.angles, None, None,
            distance=IdentityTransform(), angle=AngleInDegrees(), angle_cutoff=self.angle_cutoff,
        )  # fmt: skip

    @property
    def reach(self) -> Array:
        return self._sums.reach

    @property
    def n_features(self) -> int:
        return self._sums.n_features - len(self.species)

    def labels(self) -> tuple[tuple[Any, ...], ...]:
        """(element, element, bin) or (apex, element, element, bin) of every feature."""
        return self._sums.labels()[len(self.species) :]

    def features(self, graph: Graph) -> Array:
        counts, two, three = self._sums.blocks(graph)
        rows, columns = np.triu_indices(len(self.species))
        inverse = jnp.where(counts > 0, 1 / jnp.where(counts > 0, counts, 1), 0)
        both, volume = inverse[rows] * inverse[columns], jnp.abs(jnp.linalg.det(graph.cell))
        ordered = jnp.asarray(np.where(rows == columns, 2.0, 1.0), two.dtype)  # of equal elements each pair was counted once
        two = two * (volume / (4 * jnp.pi) * both * ordered)[:, None]
        three = three * (volume * inverse[:, None] * both[None, :])[:, :, None]
        return poison(jnp.concatenate([two.reshape(-1), three.reshape(-1)]), self.lost(graph))
