"""What kernel models refer to, and how it follows the descriptor they are joined with."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxpot.descriptors.base import Descriptor, features
from jaxpot.descriptors.clusters import ClusterDescriptor, Instances
from jaxpot.graph import Environment, Graph
from jaxpot.leaves import OptionalLeaf, Tree
from jaxpot.passes import condense
from jaxpot.trees import pytree, set_fields

Array = jax.Array

REFERENCES = "reference structures; write model.with_points([jaxpot.from_atoms(a, cutoff) for a in frames])"  # needed by models of whole structures


@pytree
class References(Tree):
    """The M sparse points or reference structures of a kernel model.

    While hyper-parameters move they are `points`, of which everything else is computed anew; in a finished or imported model they are what a
    descriptor made of them. A head with a field `references` of this class is given their features by the potential that joins it with a
    descriptor, and frozen by `freeze`.

    Args:
      points: stack of M environments, of M instances of clusters, or of M structures.
      features: of the points, shape [M, F]; [M, F, 2λ + 1] of tensors, [M, N, F] of structures. Taken instead of `points` where given.
      kinds: centre species (or kind of cluster) of the points, shape [M]; of structures those of their atoms, −1 for padding, [M, N].
      weights: what multiplies the kernel of each point, shape [M]: of clusters their cutoff functions; None is 1.
      invariants: normalised, of the same atoms as features that are tensors, shape [M, F₀].
      directions: how the features change along the displacements of a reference, shape [M, A, F].

    Raises:
      ValueError: for arrays of different M.

    Example:
      >>> References(features=np.ones((3, 6)), kinds=np.array([0, 0, 1])).count
      3
    """

    points: Environment | Instances | Graph | None = None
    features: OptionalLeaf = None
    kinds: OptionalLeaf = None
    weights: OptionalLeaf = None
    invariants: OptionalLeaf = None
    directions: OptionalLeaf = None

    def __post_init__(self):
        for name in ("kinds", "weights", "invariants", "directions"):
            value = getattr(self, name)
            if value is not None and np.shape(value)[:1] != (self.count,):
                raise ValueError(f"References: {self.count} points, but {name} has shape {np.shape(value)}")

    @property
    def count(self) -> int:
        """M; 0 if there are none."""
        given = jax.tree_util.tree_leaves(self.points if self.features is None else self.features)
        return given[0].shape[0] if given else 0


def references_of(part: Any) -> References | None:
    """What a head, or another part of a model, refers to; None if it is no kernel model."""
    found = getattr(part, "references", None)
    return found if isinstance(found, References) else None


def with_points(head: Any, points: Environment | Instances) -> Any:
    """An unfitted head with these points as its references.

    Raises:
      TypeError: if the head is no kernel model.
    """
    if references_of(head) is None:
        raise TypeError(f"{type(head).__name__} has no sparse points; use SparseGP")
    return head.replace(references=References(points), coefficients=None)


def described(references: References, descriptor: Descriptor, name: str) -> References:
    """With the features, kinds (and weights) of the points, which follow the descriptor's leaves; `name` is the head's."""
    if references.features is not None:
        return references
    points = require_points(references, name)
    kind, describe = kind_of_points(descriptor)
    if not isinstance(points, kind):
        raise TypeError(f"{name}: its sparse points are {type(points).__name__}, which {type(descriptor).__name__} does not describe")
    x, kinds, weights = describe(points)
    return set_fields(references, features=x, kinds=kinds, weights=weights)


@functools.singledispatch
def kind_of_points(descriptor: Descriptor) -> tuple[type, Callable[[Any], tuple[Array, Array, Array | None]]]:
    """What sparse points of a descriptor are made of, and their features [M, F], kinds [M] and weights, [M] or None."""
    return Environment, lambda points: (features(descriptor, points), points.center, None)


@kind_of_points.register
def _of_clusters(clusters: ClusterDescriptor) -> tuple[type, Callable[[Any], tuple[Array, Array, Array | None]]]:
    return Instances, lambda points: (points.coordinates, points.kind, clusters.weights_of(points))


def require_points(references: References, name: str) -> Environment | Instances | Graph:
    """The points.

    Raises:
      ValueError: if there are none.
    """
    if references.points is None:
        raise ValueError(f"{name} has no sparse points; write model.with_points(jaxpot.fit.select_environments(descriptor, data, 1000, key=key))")
    return references.points


def with_features(part: Any, of: Callable[[References, Descriptor, str], References] = described) -> Any:
    """Rule of `condense`: a part with a descriptor and a head, with the features of what the head refers to."""
    references = references_of(part.head)
    if references is None:
        return part
    return set_fields(part, head=set_fields(part.head, references=of(references, part.descriptor, type(part.head).__name__)))


def without_points(part: Any) -> Any:
    """Rule of `freeze`: a part with a descriptor and a head, of whose references the features are all that is left."""
    if references_of(part.head) is None:
        return part
    references = jax.jit(condense)(part).head.references
    return part.replace(head=part.head.replace(references=references.replace(points=None)))
