"""The workhorse: a local descriptor, a head, and nothing else."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxpot.descriptors.base import Descriptor, LocalDescriptor, atoms_at_once, map_blocks
from jaxpot.descriptors.clusters import ClusterDescriptor, Instances
from jaxpot.graph import Environment, Graph, environments
from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import LinearModel
from jaxpot.pytree import change_by_leaves, pytree, set_fields, static

Array = jax.Array


@pytree
class AtomicPotential(LinearModel):
    r"""Atomic energies from a descriptor and a head, :math:`\epsilon_i = h(x_i, z_i)`.

    Of a cluster descriptor an atom has many instances, and its energy is their weighted sum. It is a linear model where its head is
    linear.

    Args:
      descriptor: features of every atom.
      head: features to atomic energies.
      chunk: atoms per checkpointed block, which bounds memory by that of one block; None takes the descriptor's own, at most 128, on
        CPU and 512 times as many on accelerators.

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
    chunk: int | None = static(None)

    def __post_init__(self):
        if not isinstance(self.descriptor, Descriptor):
            raise TypeError(f"AtomicPotential: expected a descriptor, got {type(self.descriptor).__name__}")
        if not isinstance(self.head, Head):
            raise TypeError(f"AtomicPotential: expected a head, got {type(self.head).__name__}")
        if self.chunk is not None and not self.chunk > 0:
            raise ValueError(f"AtomicPotential: chunk must be a positive number of atoms, got {self.chunk}")
        needed = getattr(self.descriptor, "permutations", ())
        if len(needed) > 1 and set(getattr(getattr(self.head, "kernel", None), "permutations", ())) != set(needed):
            name = type(self.descriptor).__name__
            raise ValueError(
                f"AtomicPotential: the head must not depend on the order of equal sides of {name}; write SparseGP(Symmetrised(kernel, "
                f"descriptor.permutations)), with permutations {needed}"
            )
        object.__setattr__(self, "head", self.head.sized(self.descriptor))

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def is_local(self) -> bool:
        return isinstance(self.descriptor, LocalDescriptor | ClusterDescriptor)

    @property
    def n_coefficients(self) -> int:
        return self.head.n_coefficients

    def at(self) -> "AtomicPotential":
        descriptor = self.descriptor.at()
        return set_fields(self, descriptor=descriptor, head=self.head.at(descriptor))

    def frozen(self) -> "AtomicPotential":
        return self.replace(head=self.head.frozen(self.descriptor))

    def collapsed(self) -> "AtomicPotential":
        return self.replace(head=self.head.collapsed(self.descriptor))

    def with_points(self, points: Environment | Instances) -> "AtomicPotential":
        """The same potential, unfitted, with these M environments (or instances of clusters) as sparse points; for heads that have them.

        Raises:
          TypeError: if the head has no sparse points.
        """
        if not hasattr(self.head, "with_points"):
            raise TypeError(f"{type(self.head).__name__} has no sparse points; use SparseGP")
        return self.replace(head=self.head.with_points(points))

    def energies(self, graph: Graph) -> Array:
        ready = self.at()
        if not isinstance(ready.descriptor, LocalDescriptor | ClusterDescriptor):
            return ready.head(ready.descriptor(graph), environments(graph, 0.0, self.species).center)
        return _energies(ready, environments(graph, self.reach, self.species))

    def _per_atom(self, graph: Graph, function) -> Array:
        """function(head, features [n, F], species [n]) for all atoms, block by block."""
        ready = self.at()
        if not isinstance(ready.descriptor, LocalDescriptor | ClusterDescriptor):
            return function(ready.head, ready.descriptor(graph), environments(graph, 0.0, self.species).center)
        return self._blocked(lambda envs: ready._of_block(envs, function), environments(graph, self.reach, self.species))

    def _energies_of_block(self, envs: Environment) -> Array:
        """Energies [n] of a stack of atoms."""
        if isinstance(self.descriptor, ClusterDescriptor):
            return self._of_block(envs, lambda head, x, z: head(x, z))
        return self.head.energies(self.descriptor, envs)

    def _of_block(self, envs: Environment, function) -> Array:
        """function(head, features [n, F], species [n]) for a stack of atoms."""
        if not isinstance(self.descriptor, ClusterDescriptor):
            return function(self.head, self.descriptor.stack(envs), envs.center)
        coordinates, kind, weight = self.descriptor.stack(envs)
        values = function(self.head, coordinates, kind)
        values = values.reshape(*weight.shape, *values.shape[1:])
        return jnp.sum(values * weight.reshape(*weight.shape, *(1,) * (values.ndim - 2)), axis=1)

    def _blocked(self, function, stack: Environment):
        """function over a stack of a structure's atoms, in checkpointed blocks."""
        n_neighbors = stack.mask.shape[1]
        block = self.chunk or atoms_at_once(self.descriptor.block(n_neighbors))
        return map_blocks(jax.checkpoint(function), stack, block)

    def basis(self, graph: Graph) -> Array:
        self._require_linear()
        rows = self._per_atom(graph, lambda head, x, z: head.basis(x, z))
        return jnp.sum(jnp.where((graph.centers > 0)[:, None], rows, 0), axis=0)

    def precision(self) -> Array:
        self._require_linear()
        return self.at().head.precision()

    def with_coefficients(self, w: Array, covariance: Array | None = None) -> "AtomicPotential":
        self._require_linear()
        changes = {"coefficients": w}
        if covariance is not None or getattr(self.head, "covariance", None) is not None:  # that of an earlier fit is not this one's
            changes["covariance"] = covariance
        if isinstance(self.head, SparseGP):
            changes["root"] = None if covariance is None else jnp.linalg.cholesky(self.precision())
        return self.replace(head=self.head.replace(**changes))

    def _require_linear(self) -> None:
        if not isinstance(self.head, LinearHead):
            raise TypeError(f"{type(self.head).__name__} is not linear in its coefficients; use jaxpot.fit.train")

    def variance(self, graph: Graph, weights: Array | None = None) -> Array:
        """Predictive variance of a weighted sum of atomic energies, for a SparseGP fitted with `covariance=True`.

        Args:
          graph: one structure.
          weights: how often each atom counts, shape [N]; None is the energy of the structure, one-hot that of one atom.

        Returns:
          Shape [], in eV².
        """
        if not isinstance(self.head, SparseGP):
            raise TypeError(f"{type(self.head).__name__} has no predictive variance of atoms; use SparseGP, or jaxpot.fit.variance for that of structures")
        ready = self.at()
        return ready.head.variance(*ready.weighted(graph, weights))

    def weighted(self, graph: Graph, weights: Array | None = None) -> tuple[Array, Array, Array]:
        """What the head is applied to: features [n, F], species or kinds [n], and weights [n] in the sum over the structure."""
        ready, stack = self.at(), environments(graph, self.reach, self.species)
        weights = jnp.ones(graph.centers.shape) if weights is None else weights
        weights = jnp.where(graph.centers > 0, weights, 0).astype(graph.positions.dtype)
        if isinstance(ready.descriptor, ClusterDescriptor):
            coordinates, kind, weight = ready.descriptor.stack(stack)
            return coordinates, kind, (weights[:, None] * weight).reshape(-1)
        return ready.descriptor.stack(stack), stack.center, weights


@jax.custom_jvp
def _energies(potential: AtomicPotential, stack: Environment) -> Array:
    """Atomic energies [N] of a stack of environments."""
    return potential._blocked(potential._energies_of_block, stack)


@functools.partial(_energies.defjvp, symbolic_zeros=True)
def _energies_jvp(primals, tangents):
    """An atom's energy depends on its own vectors only, so each block is differentiated while it is at hand and nothing is computed twice."""
    (potential, stack), (potential_step, stack_step) = primals, tangents
    step = stack_step.vectors
    if isinstance(step, SymbolicZero):
        energies = _energies(potential, stack)
        change = jnp.zeros_like(energies)
    else:

        def one_block(envs):
            energies, pull = jax.vjp(lambda v: potential._energies_of_block(envs.replace(vectors=v)), envs.vectors)
            return energies, pull(jnp.ones_like(energies))[0]

        energies, slopes = potential._blocked(one_block, stack)
        change = einsum("nkx,nkx->n", slopes, step)
    return energies, change + change_by_leaves(lambda model: model._blocked(model._energies_of_block, stack), potential, potential_step)
