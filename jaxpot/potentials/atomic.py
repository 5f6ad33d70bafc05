"""The workhorse: a descriptor, a head, and nothing else."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.clusters import ClusterDescriptor, Instances, instances_of
from jaxpot.descriptors.expansion import is_local
from jaxpot.graph import Environment, Graph, environments
from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.linear import Linear, Quadratic
from jaxpot.heads.references import with_features, with_points, without_points
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.leaves import OptionalLeaf
from jaxpot.math.kernels import PolynomialKernel
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense, condensing, freezing, tabulating
from jaxpot.potentials.base import Chunked, Potential, named
from jaxpot.potentials.linear import SPARSE_POINTS, LinearModel, is_linear, lacking, without_coefficients
from jaxpot.potentials.rows import energies_rows, rows_of
from jaxpot.properties import Properties
from jaxpot.trees import leaf, pytree, static

Array = jax.Array


class DescribedPotential(LinearModel):
    """What potentials of a descriptor and a head share: they are linear models where the head is linear.

    Attributes:
      descriptor: features of every atom.
      head: features to atomic energies.
    """

    descriptor: Descriptor
    head: Head

    def _check(self) -> None:
        if not isinstance(self.descriptor, Descriptor):
            raise TypeError(f"AtomicPotential: expected a descriptor, got {type(self.descriptor).__name__}")
        if not isinstance(self.head, Head):
            raise TypeError(f"AtomicPotential: expected a head, got {type(self.head).__name__}")
        object.__setattr__(self, "head", self.head.sized(self.descriptor))

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_coefficients(self) -> int:
        return self.head.n_coefficients

    def basis(self, graph: Graph) -> Properties:
        self._require_linear()
        return rows_of(condense(self), graph)

    def precision(self) -> Array:
        self._require_linear()
        return condense(self).head.precision()

    def with_coefficients(self, w: Array):
        self._require_linear()
        return self.replace(head=self.head.replace(coefficients=w))

    def energy_row(self, graph: Graph, weights: Array | None = None) -> Array:
        """Derivatives of the energy, or of a weighted sum of atomic energies, by the coefficients, shape [P].

        Args:
          graph: one structure.
          weights: how often each atom counts, shape [N]; None is once.
        """
        self._require_linear()
        return einsum("n,np->p", counts(graph, weights), energies_rows(condense(self), graph))

    @abc.abstractmethod
    def weighted(self, graph: Graph, weights: Array | None = None) -> tuple[Array, Array, Array]:
        """What the head is applied to: features [n, F], species or kinds [n], and weights [n] in the sum over the structure."""

    def prior_covariance(self, one: Graph, other: Graph, weights: Array | None = None) -> Array:
        """Prior covariance of the energies of two structures, or of weighted sums of their atomic energies, shape [], in eV²; of kernel models."""
        if not hasattr(self.head, "prior_covariance"):
            raise TypeError(f"the variance of {type(self.head).__name__} is not known; write its prior_covariance(one, other), as of SparseGP")
        ready = condense(self)
        return ready.head.prior_covariance(*(ready.weighted(graph, weights) for graph in (one, other)))

    def _require_linear(self) -> None:
        if not is_linear(self):
            raise TypeError(f"{type(self.head).__name__} is not linear in its coefficients; use jaxpot.fit.train")


@pytree
class AtomicPotential(DescribedPotential, Chunked):
    r"""Atomic energies from a descriptor and a head, :math:`\epsilon_i = h(x_i, z_i)`.

    Of a cluster descriptor an atom has many instances, and its energy is their weighted sum. It is a linear model where its head is
    linear. Of a descriptor that needs the whole structure what is made is a `GraphPotential`.

    Args:
      descriptor: features of every atom.
      head: features to atomic energies.
      chunk: atoms per checkpointed block, which bounds memory by that of one block; None takes the descriptor's own, at most 128, on
        CPU and 512 times as many on accelerators.
      seen: of how many atoms of every element the fit has seen both of two elements within reach, shape [S, S, S]; fits set it, and predictions
        name what was not there. None where nothing is known.

    Raises:
      TypeError: for what is no descriptor or head.
      ValueError: for a head that would depend on the order of equal atoms of a cluster.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, Linear, SOAP
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> AtomicPotential(soap, Linear()).n_coefficients
      40
    """

    descriptor: Descriptor
    head: Head
    chunk: int | None = static(default=None)
    seen: OptionalLeaf = leaf(default=None, shape="[S, S, S]")

    def __new__(cls, descriptor: Descriptor | None = None, head: Head | None = None, *others: Any, **more: Any):  # `copy` gives nothing
        local = is_local(descriptor) or isinstance(descriptor, ClusterDescriptor)
        return super().__new__(cls) if local or not isinstance(descriptor, Descriptor) else GraphPotential(descriptor, head)

    def __post_init__(self):
        self._check()
        self._check_chunk()
        needed = getattr(self.descriptor, "permutations", ())
        if len(needed) > 1 and set(getattr(getattr(self.head, "kernel", None), "permutations", ())) != set(needed):
            name = type(self.descriptor).__name__
            raise ValueError(
                f"AtomicPotential: the head must not depend on the order of equal sides of {name}; write SparseGP(Symmetrised(kernel, "
                f"descriptor.permutations)), with permutations {needed}"
            )

    def energies(self, graph: Graph) -> Array:
        return super(AtomicPotential, with_features(self)).energies(graph)

    def of(self, envs: Environment) -> Array:
        x, kind, weight = instances_of(self.descriptor, envs)
        return jnp.sum(self.head(x, kind).reshape(weight.shape) * weight, axis=1)

    def with_points(self, points: Environment | Instances) -> "AtomicPotential":
        """The same potential, unfitted, with these M environments (or instances of clusters) as sparse points; for heads that have them.

        Raises:
          TypeError: if the head has no sparse points.
        """
        return self.replace(head=with_points(self.head, points))

    def weighted(self, graph: Graph, weights: Array | None = None) -> tuple[Array, Array, Array]:
        ready, stack, weights = condense(self), environments(graph, self.reach, self.species), counts(graph, weights)
        x, kind, weight = instances_of(ready.descriptor, stack)
        return x, kind, (weights[:, None] * weight).reshape(-1)


@pytree
class GraphPotential(DescribedPotential, Potential):
    r"""Atomic energies from a descriptor that needs the whole structure, and a head; made by `AtomicPotential`.

    Args:
      descriptor: features of every atom.
      head: features to atomic energies.
    """

    descriptor: Descriptor
    head: Head

    def __post_init__(self):
        self._check()

    def energies(self, graph: Graph) -> Array:
        ready = with_features(self)
        return ready.head(*ready.weighted(graph)[:2])

    def weighted(self, graph: Graph, weights: Array | None = None) -> tuple[Array, Array, Array]:
        return self.descriptor(graph), environments(graph, 0.0, self.species).center, counts(graph, weights)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.descriptor.causes(graph)


def counts(graph: Graph, weights: Array | None) -> Array:
    """How often each atom counts, shape [N]: 0 for padding, and else 1 or what the weights say."""
    weights = jnp.ones(graph.centers.shape) if weights is None else weights
    return jnp.where(graph.centers > 0, weights, 0).astype(graph.positions.dtype)


@is_linear.register
def _linear_head(potential: DescribedPotential) -> bool:
    return isinstance(potential.head, LinearHead)


@lacking.register
def _of_the_head(potential: DescribedPotential) -> str:
    return without_coefficients((potential.head,), SPARSE_POINTS)


@named.register
def _with_parts(potential: DescribedPotential, *parts: str) -> str:
    return f"{type(potential).__name__}({', '.join(type(getattr(potential, part)).__name__ for part in parts)})"


@block_size.register
def _of_descriptor(potential: AtomicPotential, n_neighbors: int) -> int:
    return block_size(potential.descriptor, n_neighbors)


condensing.rule(AtomicPotential)(with_features)
freezing.rule(AtomicPotential)(without_points)


@tabulating.rule(AtomicPotential, head=SparseGP)
def _collapsed(potential: AtomicPotential, accuracy: float) -> AtomicPotential:
    """A polynomial kernel of ζ = 1 or 2 is a linear or quadratic function of the features, whatever the number of sparse points."""
    gp, descriptor = potential.head, potential.descriptor
    is_polynomial = isinstance(gp.kernel, PolynomialKernel) and float(gp.kernel.offset) == 0 and float(gp.kernel.zeta) in (1, 2)
    if not is_polynomial or gp.references.weights is not None or gp.coefficients is None:
        return potential
    if gp.made_in != "float64":
        raise TypeError(f'SparseGP: collapsed in {gp.made_in} its energies would be wrong; write jaxpot.cast(jaxpot.tabulate(model), "float32")')
    n_species, x = len(descriptor.species), np.asarray(gp.references.features)
    own = np.eye(n_species)[np.asarray(gp.references.kinds)] * (float(gp.delta) ** 2 * np.asarray(gp.coefficients))[:, None]  # [M, S]
    if gp.kernel.zeta == 1:
        return potential.replace(head=Linear(coefficients=(own.T @ x).reshape(-1)))
    first, second = np.triu_indices(x.shape[1])
    pairs = 2 * np.stack([((x * w[:, None]).T @ x)[first, second] for w in own.T])
    coefficients = np.concatenate([np.zeros((n_species, x.shape[1])), pairs], axis=1).reshape(-1)
    return potential.replace(head=Quadratic(coefficients=coefficients))
