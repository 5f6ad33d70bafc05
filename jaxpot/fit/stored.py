"""What training by gradient need not compute again: predictions of fixed terms, and features that no trained leaf changes."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.blocks import block_size, map_blocks
from jaxpot.descriptors.expansion import is_local
from jaxpot.descriptors.slopes import features_with_slopes
from jaxpot.graph import Graph, environments, only
from jaxpot.heads.base import Head
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense, prepare
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Potential, energies_with_gradient, predicts_more, strained, terms_by_path, terms_of, with_terms
from jaxpot.properties import Properties
from jaxpot.trees import pytree, static

Array = jax.Array

_SHARE = 16  # a Jacobian needs the memory of so many evaluations, and fits the cache accordingly


@pytree
class StoredPrediction(Potential):
    """A term of which one structure's energies [N] and their derivatives by positions [N, 3] and strain [3, 3] are at hand."""

    species: tuple[str, ...] = static()
    reach: Leaf
    prediction: tuple[Array, Array, Array]

    def energies(self, graph: Graph) -> Array:
        return self.prediction[0]


@pytree
class StoredFeatures(Potential):
    """A term of which one structure's features [N, F] and their derivatives by the neighbour vectors [N, F, K, 3] are at hand."""

    species: tuple[str, ...] = static()
    reach: Leaf
    head: Head
    features: Leaf
    jacobian: Leaf

    def energies(self, graph: Graph) -> Array:
        return energies_with_gradient(self, graph)[0]


@energies_with_gradient.register
def _stored(term: StoredPrediction, graph: Graph) -> tuple[Array, Array, Array, Properties]:
    return *term.prediction, Properties()


@energies_with_gradient.register
def _from_features(stored: StoredFeatures, graph: Graph) -> tuple[Array, Array, Array, Properties]:
    def vectors(positions, epsilon):
        stack = environments(strained(graph, positions, epsilon), stored.reach, stored.species)
        return stack.vectors, stack.center

    unstrained = jnp.zeros((3, 3), graph.positions.dtype)
    at, pull, center = jax.vjp(vectors, graph.positions, unstrained, has_aux=True)
    energies, pull_features = jax.vjp(lambda x: stored.head(x, center), stored.features)
    real = graph.numbers > 0
    slopes = pull_features(real.astype(energies.dtype))[0]
    return jnp.where(real, energies, 0), *pull(einsum("nf,nfkx->nkx", slopes, stored.jacobian).astype(at.dtype)), Properties()


@jax.jit
def _prediction(term: Potential, graph: Graph) -> tuple[Array, Array, Array]:
    return energies_with_gradient(prepare(term), graph)[:3]


@jax.jit
def _features(descriptor: LocalDescriptor, graph: Graph) -> tuple[Array, Array]:
    ready = condense(descriptor)
    envs = environments(graph, ready.reach, ready.species)
    block = max(1, block_size(ready, graph.neighbors.shape[1]) // _SHARE)
    return map_blocks(lambda envs: features_with_slopes(ready, envs), envs, block)


def kinds_of_storage(model: Potential, trained: set[str], shapes: list[tuple[int, int, int]], itemsize: int, memory: float) -> tuple[type | None, ...]:
    """What to store of every term: StoredPrediction if nothing of it is trained, StoredFeatures if its descriptor is not, or None.

    Args:
      model: the potential, or a Sum.
      trained: paths of the leaves that training moves.
      shapes: structures, atoms and slots (B, N, K) of all data.
      itemsize: bytes of a number.
      memory: bytes that features and Jacobians of all terms may take.
    """
    kinds = []
    for prefix, term in terms_by_path(model).items():
        own = {path.removeprefix(prefix) for path in trained if path.startswith(prefix)}
        if not own and not predicts_more(term):
            kinds.append(StoredPrediction)
            continue
        kinds.append(None)
        if isinstance(term, AtomicPotential) and is_local(term.descriptor) and not any(p.startswith("descriptor.") for p in own):
            needed = sum(b * n * term.descriptor.n_features * (1 + 3 * k) * itemsize for b, n, k in shapes)
            if needed <= memory:
                memory -= needed
                kinds[-1] = StoredFeatures
    return tuple(kinds)


def store(model: Potential, kinds: tuple[type | None, ...], graph: Graph) -> tuple[tuple | None, ...]:
    """What is stored of every term for one structure."""
    found: list[tuple | None] = []
    for (prefix, term), kind in zip(terms_by_path(model).items(), kinds, strict=True):
        own = only(graph, term.species) if prefix else graph  # of an element unknown to all a model must be NaN
        found.append(_prediction(term, own) if kind is StoredPrediction else _features(term.descriptor, own) if kind else None)
    return tuple(found)


def prepared(model: Potential, kinds: tuple[type | None, ...]) -> Potential:
    """The model prepared, but for the terms whose features are stored: of these the head is needed."""
    terms = tuple(condense(term) if kind is StoredFeatures else prepare(term) for term, kind in zip(terms_of(model), kinds, strict=True))
    return with_terms(model, terms)


def with_stored(model: Potential, kinds: tuple[type | None, ...], stored: tuple[tuple | None, ...]) -> Potential:
    """The model in which terms take what is stored of one structure; gives that structure's energy, forces and virial."""
    terms = []
    for term, kind, values in zip(terms_of(model), kinds, stored, strict=True):
        if kind is StoredPrediction:
            term = StoredPrediction(term.species, np.zeros(()), values)
        elif kind is StoredFeatures:
            term = StoredFeatures(term.species, term.reach, term.head, *values)
        terms.append(term)
    return with_terms(model, terms)
