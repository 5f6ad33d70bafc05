"""Atomic environment vectors: the symmetry functions of ANI."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors import angular_pairs
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs, contracted, one_of, other_of, pair_channels
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.blocks import block_size
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import CosineCutoff, Cutoff
from jaxpot.math.linalg import einsum
from jaxpot.math.powers import power
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array

_SHRINK = 0.95  # of the cosine: keeps the angle away from 0 and π, where it has no derivative; published weights have it built in
_RADIAL_FACTOR = 0.25  # likewise; it is not in the paper


@pytree
class AEV(LocalDescriptor):
    r"""Atomic environment vectors: Gaussians of the distance, and of the mean of two distances times a peak at an angle.

    .. math:: G_\mathrm{radial} = \tfrac14 \sum_j e^{-\eta_R (r_{ij} - r_s)^2} f_R(r_{ij})

    .. math:: G_\mathrm{angular} = 2 \sum_{j<k} \left(\frac{1 + \cos(\theta - \theta_s)}{2}\right)^\zeta
       e^{-\eta_A ((r_{ij} + r_{ik})/2 - r_s)^2} f_A(r_{ij}) f_A(r_{ik}), \qquad \theta = \arccos(0.95 \cos\theta_{ijk})

    The first are there for every element, the second for every pair of elements, every r_s and every θ_s. Features are ordered as in TorchANI:
    radial ones by element and r_s, then angular ones by pair of elements, r_s and θ_s. All real numbers are leaves.

    Args:
      species: chemical symbols, in the order of the features.
      radial_cutoff: f_R.
      radial_eta: η_R, shape [] or [R], in Å⁻².
      radial_shifts: r_s of the radial functions, shape [R], in Å.
      angular_cutoff: f_A.
      angular_eta: η_A, shape [] or [A], in Å⁻².
      angular_shifts: r_s of the angular functions, shape [A], in Å.
      zeta: ζ, shape [] or [Z].
      angle_shifts: θ_s, shape [Z], in radians.

    Raises:
      ValueError: for unknown species, η < 0, or lists of a wrong shape.

    Example:
      >>> AEV.ani_2x().n_features
      1008

    References:
      Smith, Isayev, Roitberg, "ANI-1: an extensible neural network potential with DFT accuracy at force field computational cost", Chem.
      Sci. 8, 3192 (2017); Gao, Ramezanghorbani, Isayev, Smith, Roitberg, "TorchANI", J. Chem. Inf. Model. 60, 3408 (2020).
    """

    species: tuple[str, ...] = static()
    radial_cutoff: Cutoff
    radial_eta: Leaf = leaf(shape="[] or [R]")
    radial_shifts: Leaf = leaf(shape="[R]")
    angular_cutoff: Cutoff
    angular_eta: Leaf = leaf(shape="[] or [A]")
    angular_shifts: Leaf = leaf(shape="[A]")
    zeta: Leaf = positive(shape="[] or [Z]")
    angle_shifts: Leaf = leaf(shape="[Z]")

    def __post_init__(self):
        species_tuple(self.species, "AEV")
        for shifts, others in (("radial_shifts", ("radial_eta",)), ("angular_shifts", ("angular_eta",)), ("angle_shifts", ("zeta",))):
            shape = np.shape(getattr(self, shifts))
            if len(shape) != 1 or 0 in shape or any(np.shape(getattr(self, name)) not in ((), shape) for name in others):
                given = ", ".join(f"{name} {list(np.shape(getattr(self, name)))}" for name in (shifts, *others))
                raise ValueError(f"AEV: expected {shifts} [n] and {others[0]} [] or [n], got {given}")
        for name in ("radial_eta", "angular_eta"):
            eta = getattr(self, name)
            if is_concrete(eta) and np.any(np.asarray(eta) < 0):
                raise ValueError(f"AEV: {name} must be ≥ 0, got {np.asarray(eta)}")

    @classmethod
    def ani_1x(cls, species: tuple[str, ...] = ("H", "C", "N", "O")) -> "AEV":
        """The grids of ANI-1x and ANI-1ccx, as TorchANI's parameter file has them."""
        return cls(
            species, CosineCutoff(5.2), 16.0, 0.9 + 0.26875 * np.arange(16), CosineCutoff(3.5), 8.0, 0.9 + 0.65 * np.arange(4), 32.0,
            np.pi / 16 + np.pi / 8 * np.arange(8),
        )  # fmt: skip

    @classmethod
    def ani_2x(cls, species: tuple[str, ...] = ("H", "C", "N", "O", "S", "F", "Cl")) -> "AEV":
        """The grids of ANI-2x."""
        return cls(
            species, CosineCutoff(5.1), 19.7, 0.8 + 0.26875 * np.arange(16), CosineCutoff(3.5), 12.5, 0.8 + 0.3375 * np.arange(8), 14.1,
            np.pi / 8 + np.pi / 4 * np.arange(4),
        )  # fmt: skip

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.radial_cutoff.radius, self.angular_cutoff.radius)

    @property
    def n_features(self) -> int:
        s = len(self.species)
        return s * np.size(self.radial_shifts) + s * (s + 1) // 2 * np.size(self.angular_shifts) * np.size(self.angle_shifts)

    def labels(self) -> tuple[tuple, ...]:
        """(element, index of r_s) of the radial features, (element, element, index of r_s, index of θ_s) of the angular ones."""
        radial = [(s, i) for s in self.species for i in range(np.size(self.radial_shifts))]
        pairs = [(a, b) for i, a in enumerate(self.species) for b in self.species[i:]]
        return (*radial, *((*p, *i) for p in pairs for i in np.ndindex(np.size(self.angular_shifts), np.size(self.angle_shifts))))

    def environment(self, env: Environment) -> Array:
        neighbors = Neighbors.of(env, len(self.species))
        pairs, r = Pairs.of(neighbors), neighbors.r

        def column(leaf):
            return jnp.atleast_1d(jnp.asarray(leaf, r.dtype))[:, None]

        radial = _RADIAL_FACTOR * jnp.exp(-column(self.radial_eta) * (r[None] - column(self.radial_shifts)) ** 2) * self.radial_cutoff(r)[None]
        radial = einsum("nk,ks->sn", radial, neighbors.elements)

        cutoff = self.angular_cutoff(r)
        weight = one_of(cutoff) * other_of(cutoff) * pairs.weight
        mean = 0.5 * (pairs.first + pairs.second)
        lengths = jnp.exp(-column(self.angular_eta) * (mean[None] - column(self.angular_shifts)) ** 2) * weight[None]
        cosine = _SHRINK * (pairs.aligned - pairs.opposed)
        sine = jnp.sqrt(1 - cosine * cosine)
        angle = column(self.angle_shifts)
        base = 0.5 * (1 + cosine[None] * jnp.cos(angle) + sine[None] * jnp.sin(angle))
        angles = 2 * power(base, jnp.broadcast_to(column(self.zeta), (base.shape[0], 1)))
        angular = contracted(pair_channels(neighbors.elements.T), lengths, angles)
        return jnp.concatenate([radial.reshape(-1), angular.reshape(-1)])


@block_size.register
def _of_pairs(aev: AEV, n_neighbors: int) -> int:
    return min(128, angular_pairs.block(n_neighbors))
