"""The kernel between tensors of atoms, and the sparse Gaussian process that uses it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.base import features as stack_features
from jaxpot.graph import Environment, Graph, environments
from jaxpot.heads.references import References, require_points, with_points
from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.math.kernels import power
from jaxpot.math.linalg import einsum, unit
from jaxpot.passes import condense
from jaxpot.precision import note_precision, require_precision
from jaxpot.trees import derived, positive, pytree, set_fields, static

Array = jax.Array


def tensor_features(descriptor: Descriptor, envs: Environment) -> tuple[Array, Array]:
    """Features [n, F, 2λ + 1] of n atoms and the normalised invariants [n, F₀] of the same atoms; invariants alone are both."""
    if hasattr(descriptor, "invariants"):
        c = jax.vmap(descriptor.expansion.of)(envs)
        return jax.vmap(descriptor.of)(c), jax.vmap(descriptor.invariants)(c)
    x = stack_features(descriptor, envs)
    return x[:, :, None], jax.vmap(unit)(x)


def tensor_references(references: References, descriptor: Descriptor, name: str) -> References:
    """With the features, invariants and kinds of the points, which follow the descriptor's leaves; `name` is the head's."""
    if references.features is not None:
        return references
    points = require_points(references, name)
    features, invariants = tensor_features(descriptor, points)
    return set_fields(references, features=features, invariants=invariants, kinds=points.center)


@pytree
class LambdaKernel(Tree):
    r"""The kernel between tensors of degree λ: blocks that turn with both atoms, made nonlinear by an invariant factor.

    .. math:: k_{\mu\mu'}(i, j) = (\mathbf p_i^{\lambda\mu} \cdot \mathbf p_j^{\lambda\mu'})\, (\hat{\mathbf p}_i \cdot \hat{\mathbf p}_j)^{\zeta - 1}

    with the normalised scalar spectra p̂. Any function of invariants keeps the blocks equivariant; a power of the blocks would not.
    For λ = 0 and normalised spectra it is `PolynomialKernel(zeta)`.

    Args:
      zeta: exponent; 1 is the linear kernel.

    Example:
      >>> x, y = jnp.ones((2, 7, 3)), jnp.ones((4, 7, 3))
      >>> LambdaKernel(2.0)(x, y, jnp.ones((2, 1)), jnp.ones((4, 1))).shape
      (2, 3, 4, 3)

    References:
      Grisafi, Wilkins, Csányi, Ceriotti, "Symmetry-adapted machine learning for tensorial properties of atomistic systems",
      Phys. Rev. Lett. 120, 036002 (2018).
    """

    zeta: Leaf = positive(default=2.0)

    def __call__(self, x: Array, y: Array, x_invariants: Array, y_invariants: Array) -> Array:
        """Blocks between n and M atoms.

        Args:
          x: shape [n, F, 2λ + 1].
          y: shape [M, F, 2λ + 1].
          x_invariants: unit vectors, shape [n, F₀].
          y_invariants: shape [M, F₀].

        Returns:
          Shape [n, 2λ + 1, M, 2λ + 1].
        """
        (n, f, u), m = x.shape, y.shape[0]
        left, right = jnp.swapaxes(x, 1, 2).reshape(n * u, f), jnp.swapaxes(y, 1, 2).reshape(m * u, f)
        blocks = einsum("af,bf->ab", left, right).reshape(n, u, m, u)
        return blocks * self.factor(x_invariants, y_invariants)[:, None, :, None]

    def factor(self, x_invariants: Array, y_invariants: Array) -> Array:
        """The invariant factor, shape [n, M]."""
        dot = einsum("nf,mf->nm", x_invariants, y_invariants)
        return power(dot, jnp.asarray(self.zeta, dot.dtype) - 1)


@pytree
class LambdaGP(Tree):
    r"""Tensors of degree λ from kernels with M sparse points of the same centre species.

    .. math:: t_{i\mu} = \sum_{m\mu'} \delta^2 k_{\mu\mu'}(i, m)\, \delta_{z_i z_m}\, w_{m\mu'}, \qquad w \sim N(0, (K_{MM} + \text{jitter})^{-1})

    As in `SparseGP`, sparse points are environments while hyper-parameters move and features in a finished model.

    Args:
      kernel: k.
      delta: scale of the prior, in the unit of the tensor: its kernel at distance zero is δ²|p^λ|².
      jitter: added to the diagonal of K_MM, in the square of that unit.
      references: the M sparse points, with the invariants of the same atoms; made by `with_points`.
      coefficients: w, shape [M (2λ + 1)], in the inverse of the tensor's unit; None until fitted.
      lam: λ; None until joined with a descriptor.

    Raises:
      ValueError: if coefficients and sparse points do not fit each other.

    References:
      Grisafi, Wilkins, Csányi, Ceriotti, "Symmetry-adapted machine learning for tensorial properties of atomistic systems",
      Phys. Rev. Lett. 120, 036002 (2018).
    """

    kernel: LambdaKernel
    delta: Leaf = positive(default=1.0)
    jitter: Leaf = positive(default=1e-8)
    references: References = dataclasses.field(default_factory=References)
    coefficients: OptionalLeaf = None
    lam: int | None = static(default=None)
    made_in: str | None = derived()

    def __post_init__(self):
        note_precision(self)
        if not isinstance(self.kernel, LambdaKernel):
            raise TypeError(f"LambdaGP: expected a LambdaKernel, got {type(self.kernel).__name__}; write LambdaGP(LambdaKernel(zeta=2.0))")
        if self.lam is not None and self.coefficients is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"LambdaGP: expected coefficients [{self.n_coefficients}], got {np.shape(self.coefficients)}")

    @property
    def n_coefficients(self) -> int:
        return self.references.count * (2 * self.lam + 1)

    def with_points(self, points: Environment) -> "LambdaGP":
        """The unfitted head with these M environments as its sparse points."""
        return with_points(self, points)

    def sized(self, descriptor: Descriptor) -> "LambdaGP":
        lam, pseudo = degree(descriptor)
        if (lam or pseudo) and not hasattr(descriptor, "invariants"):
            raise TypeError(
                f"LambdaGP needs the invariants of the same atom beside its tensors, which {type(descriptor).__name__} does not give; "
                "use LambdaSOAP, or a Linear head"
            )
        if self.lam not in (None, lam):
            raise ValueError(f"LambdaGP was made for degree {self.lam}, the descriptor has degree {lam}")
        shape = None if self.references.features is None else self.references.features.shape[1:]
        if shape not in (None, (descriptor.n_features, 2 * lam + 1)):
            raise ValueError(f"LambdaGP: sparse points have features {list(shape)}, the descriptor [{descriptor.n_features}, {2 * lam + 1}]")
        return self.replace(lam=lam)

    def _weight(self, invariants: Array, species: Array) -> Array:
        """δ² times the invariant factor, zero between different centres, shape [n, M]."""
        factor = jnp.asarray(self.delta, invariants.dtype) ** 2 * self.kernel.factor(invariants, self.references.invariants.astype(invariants.dtype))
        return jnp.where(species[:, None] == self.references.kinds[None, :], factor, 0)

    def basis(self, features: Array, invariants: Array, species: Array) -> Array:
        """[n, F, 2λ + 1], [n, F₀], [n] -> [n, 2λ + 1, P]; tensors are basis @ coefficients."""
        require_precision(self, features.dtype)
        known = self.references
        blocks = self.kernel(features, known.features.astype(features.dtype), invariants, known.invariants.astype(features.dtype))
        same = (species[:, None] == known.kinds[None, :])[:, None, :, None]
        blocks = jnp.where(same, jnp.asarray(self.delta, features.dtype) ** 2 * blocks, 0)
        return blocks.reshape(*blocks.shape[:2], -1)

    def __call__(self, features: Array, invariants: Array, species: Array) -> Array:
        """[n, F, 2λ + 1], [n, F₀], [n] -> tensors [n, 2λ + 1]."""
        if self.coefficients is None:
            raise ValueError("LambdaGP has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
        require_precision(self, features.dtype)
        w = jnp.asarray(self.coefficients, features.dtype).reshape(self.references.count, -1)
        # contracted with the coefficients first, the blocks are never formed: (2λ + 1)² times fewer operations
        projected = einsum("nm,mf->nf", self._weight(invariants, species), einsum("mfu,mu->mf", self.references.features.astype(features.dtype), w))
        return einsum("nfu,nf->nu", features, projected)

    def precision(self) -> Array:
        k = self.basis(self.references.features, self.references.invariants, self.references.kinds).reshape(self.n_coefficients, -1)
        return k + self.jitter * jnp.eye(self.n_coefficients, dtype=k.dtype)


def degree(descriptor: Descriptor) -> tuple[int, bool]:
    """λ of a descriptor, and whether it gives pseudotensors; (0, False) for invariants."""
    return getattr(descriptor, "lam", 0), getattr(descriptor, "pseudo", False)


def structure_kernel(descriptor: Descriptor, kernel: LambdaKernel, first: Graph, second: Graph) -> Array:
    r"""The kernel between two structures, the sum of the blocks of their atoms; between different elements blocks are zero.

    .. math:: K_{\mu\mu'}(A, B) = \sum_{i \in A,\, j \in B} \delta_{z_i z_j}\, k_{\mu\mu'}(i, j)

    A Gaussian process with this kernel is the limit of `LambdaGP` with all atoms as sparse points.

    Args:
      descriptor: of degree λ, as for LambdaGP.
      kernel: between atoms.
      first: structure A.
      second: structure B.

    Returns:
      Shape [2λ + 1, 2λ + 1]; it becomes D(R) K when A is rotated by R.
    """
    sides = []
    for graph in (first, second):
        envs = environments(graph, descriptor.reach, descriptor.species)
        sides.append((*tensor_features(condense(descriptor), envs), jnp.where(graph.numbers > 0, envs.center, -1)))
    (x, x0, s), (y, y0, z) = sides
    same = (s[:, None] == z[None, :]) & (s >= 0)[:, None] & (z >= 0)[None, :]
    return jnp.sum(jnp.where(same[:, None, :, None], kernel(x, y, x0, y0), 0), axis=(0, 2))
