"""The sparse Gaussian process of GAP."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.clusters import Instances
from jaxpot.graph import Environment
from jaxpot.heads.base import LinearHead
from jaxpot.heads.references import References, with_points
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.kernels import Kernel
from jaxpot.math.linalg import einsum
from jaxpot.precision import note_precision, require_precision
from jaxpot.trees import derived, positive, pytree

Array = jax.Array

_BLOCK = 256  # rows of a structure's own kernel matrix held at once

Weighted = tuple[Array, Array, Array]  # features [N, F], species [N], and how often each counts [N]


@pytree
class SparseGP(LinearHead):
    r"""Atomic energies from kernels with M sparse points of the same centre species.

    .. math:: \epsilon_i = \sum_m w_m\, \delta^2 k(x_i, x_m)\, \delta_{z_i z_m}, \qquad w \sim N(0, (K_{MM} + \text{jitter})^{-1})

    While hyper-parameters move, the features of the sparse points are recomputed from environments, or the weights from instances of a
    cluster descriptor; a finished or imported model has the features. Clusters have a kind in the place of a centre species.

    Args:
      kernel: k, dimensionless.
      delta: prior standard deviation of an atomic energy, in eV.
      jitter: added to the diagonal of K_MM, in eV² (QUIP's `sparse_jitter`).
      references: the M sparse points; made by `with_points`.
      coefficients: w, shape [M], in 1/eV; None until fitted.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import CosineCutoff, PolynomialKernel
      >>> from jaxpot.descriptors import TwoBody
      >>> from jaxpot.fit import select_environments
      >>> from jaxpot.kernels import SquaredExponential
      >>> from jaxpot.potentials import AtomicPotential
      >>> pairs = TwoBody(("Si",), CosineCutoff(4.0, width=1.0))
      >>> points = select_environments(pairs, [bulk("Si", cubic=True)], 2, key=jax.random.key(0))
      >>> AtomicPotential(pairs, SparseGP(SquaredExponential(1.0), delta=0.5)).with_points(points).n_coefficients
      2

    References:
      Bartók, Payne, Kondor, Csányi, "Gaussian approximation potentials: the accuracy of quantum mechanics, without the
      electrons", Phys. Rev. Lett. 104, 136403 (2010).
    """

    kernel: Kernel
    delta: Leaf = positive(default=1.0)
    jitter: Leaf = positive(default=1e-8)
    references: References = dataclasses.field(default_factory=References)
    coefficients: OptionalLeaf = None
    made_in: str | None = derived()

    def __post_init__(self):
        note_precision(self)
        if self.coefficients is not None and self.n_coefficients and np.shape(self.coefficients)[0] != self.n_coefficients:
            raise ValueError(f"SparseGP: {self.n_coefficients} sparse points, but coefficients has shape {np.shape(self.coefficients)}")

    @property
    def n_coefficients(self) -> int:
        return self.references.count

    def with_points(self, points: Environment | Instances) -> "SparseGP":
        """The unfitted head with these M environments or instances as its sparse points."""
        return with_points(self, points)

    def sized(self, descriptor: Descriptor) -> "SparseGP":
        features = self.references.features
        if features is not None and features.shape[1] != descriptor.n_features:
            raise ValueError(f"SparseGP: sparse points have {features.shape[1]} features, the descriptor {descriptor.n_features}")
        return self

    def basis(self, features: Array, species: Array) -> Array:
        require_precision(self, features.dtype)
        known = self.references
        same = species[:, None] == known.kinds[None, :]
        rows = jnp.where(same, jnp.asarray(self.delta, features.dtype) ** 2 * self.kernel(features, known.features.astype(features.dtype)), 0)
        if known.weights is not None:
            rows = rows * known.weights.astype(features.dtype)[None, :]
        # an atom without a sparse point of its element has zero energy, but the gate's NaN must not become a zero
        return jax.vmap(poison)(rows, jnp.any(jnp.isnan(features), axis=-1))

    def covariance_of_points(self) -> Array:
        """K_MM without jitter, shape [M, M], in eV²."""
        known = self.references
        rows = self.basis(known.features, known.kinds)
        return rows if known.weights is None else known.weights[:, None] * rows

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
