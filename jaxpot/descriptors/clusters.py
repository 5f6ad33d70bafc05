"""Cluster descriptors: many instances per atom, one for each pair or triplet of atoms around it."""

import functools
from itertools import combinations, combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.base import Descriptor
from jaxpot.graph import Environment
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import safe_norm
from jaxpot.pytree import pytree, static

Array = jax.Array

_Kinds = tuple[tuple[str, ...], ...]


@pytree
class Instances:
    """Clusters of atoms by their coordinates and elements.

    Args:
      coordinates: shape [..., F].
      kind: index into the descriptor's kinds, shape [...]; −1 for elements it does not describe.
    """

    coordinates: Array
    kind: Array


class ClusterDescriptor(Descriptor):
    r"""Interface: clusters of a central atom and A of its neighbours; a head is applied to every one.

    .. math:: \epsilon_i = \sum_{c \ni i} w_c\, h(x_c, \text{kind}_c), \qquad w_c = n \prod_d f_c(r_d)

    The lengths of a cluster are r₁ … r_A from the centre, then those between neighbours. Coordinates are a function of them, and
    they of the coordinates: so sparse points are coordinates, whose weights follow the cutoff. Heads see a kind where those of
    local descriptors see a central element.

    Attributes:
      kinds: the element tuples it describes, the centre first, static.
      multiplicity: n, how often an instance counts, since neighbours are enumerated in one order only.
    """

    species: tuple[str, ...]
    cutoff: Cutoff
    kinds: _Kinds
    multiplicity: float = 1.0

    @property
    def reach(self) -> Array:
        return self.cutoff.radius

    def coordinates(self, lengths: Array) -> Array:
        """From lengths [D] to coordinates [F]."""
        raise NotImplementedError(f"{type(self).__name__} must define coordinates(lengths)")

    def lengths(self, coordinates: Array) -> Array:
        """From coordinates [..., F] to the lengths from the centre, [..., A]."""
        raise NotImplementedError(f"{type(self).__name__} must define lengths(coordinates)")

    def slots(self, n_neighbors: int) -> np.ndarray:
        """Which neighbour slots make the instances, shape [I, A]."""
        return _combinations(n_neighbors, len(self.kinds[0]) - 1)

    def kind(self, env: Environment) -> Array:
        """The kind of every instance, shape [I]; −1 where it is not described."""
        table = jnp.asarray(_kind_table(self.species, self.kinds))
        return table[(env.center, *env.species[self.slots(env.mask.shape[0])].T)]

    def instance(self, vectors: Array) -> tuple[Array, Array]:
        """Coordinates [F] and product of cutoff functions [] of one instance from its neighbour vectors [A, 3]."""
        from_center = safe_norm(vectors)
        between = [safe_norm(vectors[a] - vectors[b]) for a, b in combinations(range(len(vectors)), 2)]
        return self.coordinates(jnp.stack([*from_center, *between])), jnp.prod(self.cutoff(from_center))

    def instances(self, env: Environment) -> tuple[Instances, Array]:
        """All instances of one atom with their weights [I]; empty slots and elements not described weigh nothing."""
        kind = self.kind(env)
        x, weight = jax.vmap(self.instance)(env.vectors[self.slots(env.mask.shape[0])])
        weight = jnp.where(kind >= 0, self.multiplicity * weight, 0)
        return Instances(x, kind), poison(weight, jnp.any(jnp.isnan(env.vectors)))

    def weights_of(self, points: Instances) -> Array:
        """Products of cutoff functions of sparse points, shape [M]."""
        return jnp.prod(self.cutoff(self.lengths(points.coordinates)), axis=-1)

    def __call__(self, graph):
        name = type(self).__name__
        raise TypeError(f"{name} has instances, many per atom, and no features of an atom; write AtomicPotential({name}(...), head)")


@functools.cache
def _combinations(n: int, size: int) -> np.ndarray:
    return np.array(list(combinations(range(n), size)), np.int32).reshape(-1, size)


@functools.cache
def _kind_table(species: tuple[str, ...], kinds: _Kinds) -> np.ndarray:
    """Index of a kind by species indices, the centre first; −1 where there is none."""
    table = np.full((len(species),) * len(kinds[0]), -1, np.int32)
    names = [_name(kind) for kind in kinds]
    for index in np.ndindex(table.shape):
        name = _name(tuple(species[i] for i in index))
        if name in names:
            table[index] = names.index(name)
    return table


def _name(kind: tuple[str, ...]) -> tuple[str, ...]:
    """Equal for equal clusters: a pair has no centre, a larger cluster has, and the order of neighbours does not matter."""
    return tuple(sorted(kind)) if len(kind) == 2 else (kind[0], *sorted(kind[1:]))


def _check(self: ClusterDescriptor, order: int) -> None:
    owner, species = type(self).__name__, species_tuple(self.species, type(self).__name__)
    everything = list(combinations_with_replacement(species, 2))
    if order == 3:
        everything = [(center, *pair) for center in species for pair in everything]
    kinds = tuple(everything if self.kinds is None else map(tuple, self.kinds))
    names = [_name(kind) for kind in kinds]
    strange = [kind for kind, name in zip(kinds, names, strict=True) if name not in map(_name, everything)]
    if strange or not kinds:
        raise ValueError(f"{owner}: got kinds {strange or kinds}; expected some of {everything}")
    if len(set(names)) < len(names):
        raise ValueError(f"{owner}: kinds {kinds} name one cluster twice; the order of neighbours does not matter")
    object.__setattr__(self, "kinds", kinds)


@pytree
class TwoBody(ClusterDescriptor):
    r"""Distances: x = r_ij for every neighbour j within the cutoff (QUIP's `distance_2b`).

    Both atoms of a bond have it among their instances, so a bond counts twice. The weight is f_c(r).

    Args:
      species: chemical symbols.
      cutoff: cutoff function.
      kinds: element pairs; None takes all.

    Raises:
      ValueError: for pairs of other elements, or one pair twice.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> TwoBody(("H", "O"), CosineCutoff(4.0, width=1.0)).kinds
      (('H', 'H'), ('H', 'O'), ('O', 'O'))
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    kinds: _Kinds | None = static(None)

    def __post_init__(self):
        _check(self, 2)

    @property
    def n_features(self) -> int:
        return 1

    def labels(self) -> tuple[str, ...]:
        return ("r",)

    def coordinates(self, lengths: Array) -> Array:
        return lengths

    def lengths(self, coordinates: Array) -> Array:
        return coordinates


@pytree
class ThreeBody(ClusterDescriptor):
    r"""Angles: x = (r₁ + r₂, (r₁ − r₂)², r₁₂) for every pair of neighbours of a centre (QUIP's `angle_3b`).

    The coordinates do not change when the neighbours are exchanged. Both orders count, as in QUIP. The weight is f_c(r₁) f_c(r₂).

    Args:
      species: chemical symbols.
      cutoff: cutoff function of the distances from the centre.
      kinds: element triples, the centre first; None takes all.

    Raises:
      ValueError: for triples of other elements, or one triple twice.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> ThreeBody(("H", "O"), CosineCutoff(3.0, width=0.5), kinds=(("O", "H", "H"),)).labels()
      ('r1 + r2', '(r1 - r2)**2', 'r12')
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    kinds: _Kinds | None = static(None)

    multiplicity = 2.0

    def __post_init__(self):
        _check(self, 3)

    @property
    def n_features(self) -> int:
        return 3

    def labels(self) -> tuple[str, ...]:
        return ("r1 + r2", "(r1 - r2)**2", "r12")

    def coordinates(self, lengths: Array) -> Array:
        r1, r2, r12 = lengths
        return jnp.stack([r1 + r2, (r1 - r2) ** 2, r12])

    def lengths(self, coordinates: Array) -> Array:
        total, difference = coordinates[..., 0], jnp.sqrt(coordinates[..., 1])
        return 0.5 * jnp.stack([total + difference, total - difference], axis=-1)
