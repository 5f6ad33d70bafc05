"""The sparse Gaussian process of GAP."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.base import Descriptor, features
from jaxpot.descriptors.clusters import ClusterDescriptor, Instances
from jaxpot.graph import Environment
from jaxpot.heads.base import LinearHead
from jaxpot.math.kernels import Kernel
from jaxpot.math.linalg import einsum
from jaxpot.precision import note_precision, require_precision
from jaxpot.pytree import derived, positive, pytree, set_fields

Array = jax.Array

_BLOCK = 256  # rows of a structure's own kernel matrix held at once


Weighted = tuple[Array, Array, Array]  # features [N, F], species [N], and how often each counts [N]


def _kinds(points: Environment | Instances) -> Array:
    return points.kind if isinstance(points, Instances) else points.center


@pytree
class SparseGP(LinearHead):
    r"""Atomic energies from kernels with M sparse points of the same centre species.

    .. math:: \epsilon_i = \sum_m w_m\, \delta^2 k(x_i, x_m)\, \delta_{z_i z_m}, \qquad w \sim N(0, (K_{MM} + \text{jitter})^{-1})

    While hyper-parameters move, the sparse points are `points`, environments whose features are recomputed, or instances of a cluster
    descriptor whose weights are; in a finished or imported model they are `features`. Clusters have a kind in the place of a centre
    species.

    Args:
      kernel: k, dimensionless.
      delta: prior standard deviation of an atomic energy, in eV.
      jitter: added to the diagonal of K_MM, in eV² (QUIP's `sparse_jitter`).
      points: stack of M environments, or M instances.
      features: features of the sparse points, shape [M, F]; taken instead of `points` where given.
      species: centre species (or kind) of the sparse points, shape [M].
      weights: what multiplies the kernel of each sparse point, shape [M]; of clusters the cutoff functions, None is 1.
      coefficients: w, shape [M], in 1/eV; None until fitted.
      covariance: C with posterior covariance of w equal to C Cᵀ, shape [M, P], in 1/eV; None unless the fit was asked for it.
      root: lower Cholesky factor of K_MM + jitter, shape [M, M], in eV; kept with `covariance`, so that a variance costs no
        factorisation.

    References:
      Bartók, Payne, Kondor, Csányi, "Gaussian approximation potentials: the accuracy of quantum mechanics, without the
      electrons", Phys. Rev. Lett. 104, 136403 (2010).
    """

    kernel: Kernel
    delta: Array = positive(1.0)
    jitter: Array = positive(1e-8)
    points: Environment | Instances | None = None
    features: Array | None = None
    species: Array | None = None
    weights: Array | None = None
    coefficients: Array | None = None
    covariance: Array | None = None
    root: Array | None = None
    made_in: str | None = derived()

    def __post_init__(self):
        note_precision(self)
        for name in ("coefficients", "species", "weights", "covariance"):
            value = getattr(self, name)
            if value is not None and self.n_coefficients and np.shape(value)[0] != self.n_coefficients:
                raise ValueError(f"SparseGP: {self.n_coefficients} sparse points, but {name} has shape {np.shape(value)}")

    @property
    def n_coefficients(self) -> int:
        if self.features is not None:
            return self.features.shape[0]
        return 0 if self.points is None else _kinds(self.points).shape[0]

    def with_points(self, points: Environment | Instances) -> "SparseGP":
        """The unfitted head with these M environments or instances as its sparse points."""
        return self.replace(points=points, species=_kinds(points), features=None, weights=None, coefficients=None, covariance=None, root=None)

    def sized(self, descriptor: Descriptor) -> "SparseGP":
        if self.features is not None and self.features.shape[1] != descriptor.n_features:
            raise ValueError(f"SparseGP: sparse points have {self.features.shape[1]} features, the descriptor {descriptor.n_features}")
        return self

    def of_features(self, descriptor: Descriptor) -> "SparseGP":
        """The same head with the features (and weights) of its sparse points, which follow the descriptor's leaves."""
        if self.features is not None:
            return self
        if self.points is None:
            raise ValueError(
                "SparseGP has no sparse points; write potential.with_points(jaxpot.fit.select_environments(descriptor, data, 1000, key=key))"
            )
        if isinstance(descriptor, ClusterDescriptor) != isinstance(self.points, Instances):
            raise TypeError(f"SparseGP: its sparse points are {type(self.points).__name__}, which {type(descriptor).__name__} does not describe")
        if isinstance(descriptor, ClusterDescriptor):
            return set_fields(self, features=self.points.coordinates, weights=descriptor.weights_of(self.points))
        return set_fields(self, features=features(descriptor, self.points))

    def basis(self, features: Array, species: Array) -> Array:
        require_precision(self, features.dtype)
        same = species[:, None] == self.species[None, :]
        rows = jnp.where(same, jnp.asarray(self.delta, features.dtype) ** 2 * self.kernel(features, self.features.astype(features.dtype)), 0)
        if self.weights is not None:
            rows = rows * self.weights.astype(features.dtype)[None, :]
        # an atom without a sparse point of its element has zero energy, but the gate's NaN must not become a zero
        return jax.vmap(poison)(rows, jnp.any(jnp.isnan(features), axis=-1))

    def covariance_of_points(self) -> Array:
        """K_MM without jitter, shape [M, M], in eV²."""
        rows = self.basis(self.features, self.species)
        return rows if self.weights is None else self.weights[:, None] * rows

    def precision(self) -> Array:
        k = self.covariance_of_points()
        return k + self.jitter * jnp.eye(self.n_coefficients, dtype=k.dtype)

    def prior_covariance(self, one: Weighted, other: Weighted) -> Array:
        r"""Prior covariance of two weighted sums of atomic energies, Σ_ij w_i w_j δ² k(x_i, x_j), shape [], in eV².

        Args:
          one: features [N, F], species [N] and weights [N].
          other: likewise.
        """
        features, species, weights = other

        def with_all(mine):
            x, z = mine
            return einsum("j,j->", weights, jnp.where(species == z, self.delta**2 * self.kernel(x, features), 0))

        return einsum("i,i->", one[2], jax.lax.map(with_all, one[:2], batch_size=_BLOCK))

    def explained(self, k: Array) -> Array:
        """k* K_MM⁻¹ k*ᵀ [n, n] for rows k* [n, M]: how much of the prior covariance the sparse points span."""
        if self.root is None:
            raise ValueError("this SparseGP was fitted without its covariance; write jaxpot.fit.linear(model, data, covariance=True)")
        white = jax.scipy.linalg.solve_triangular(self.root, k.T, lower=True)
        return einsum("mi,mj->ij", white, white)

    def variance(self, features: Array, species: Array, weights: Array) -> Array:
        r"""Predictive variance of a weighted sum of atomic energies, the noise of the data taken into account.

        .. math:: k_{**} - k_*^T K_{MM}^{-1} k_* + |C^T k_*|^2

        Args:
          features: shape [N, F].
          species: shape [N].
          weights: how often each atom (or instance) counts, shape [N]; 1 for the energy of a structure, one-hot for one atom.

        Returns:
          Shape [], in eV².
        """
        k = einsum("i,im->m", weights, self.basis(features, species))
        return self.unspanned((features, species, weights), k) + jnp.sum(einsum("mp,m->p", self.covariance, k) ** 2)

    def unspanned(self, own: Weighted, k: Array) -> Array:
        """k** − k*ᵀ K_MM⁻¹ k*, the variance of a weighted sum with the row k* [M] that no coefficients can explain, shape [], in eV²."""
        explained = self.explained(k[None])[0, 0]  # refuses a head without covariance before any work
        return self.prior_covariance(own, own) - explained
