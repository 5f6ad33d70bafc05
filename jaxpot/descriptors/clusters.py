"""Cluster descriptors: many instances per atom, one for each pair or triplet of atoms around it."""

import abc
import functools
from collections.abc import Callable
from itertools import combinations, permutations, product

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.descriptors.base import Descriptor, features
from jaxpot.descriptors.blocks import block_size
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, Tree
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import pytree, static

Array = jax.Array

_Kinds = tuple[tuple[str, ...], ...]
_INSTANCES_AT_ONCE = 4096  # fit the cache


@pytree
class Instances(Tree):
    """Clusters of atoms by their coordinates and elements.

    Args:
      coordinates: shape [..., F].
      kind: index into the descriptor's kinds, shape [...]; −1 for elements it does not describe.

    Example:
      >>> Instances(coordinates=np.array([[2.4], [3.6]]), kind=np.array([0, 0])).coordinates.shape
      (2, 1)
    """

    coordinates: Leaf
    kind: Leaf


class ClusterDescriptor(Descriptor):
    r"""Interface: clusters of a central atom and A of its neighbours; a head is applied to every one.

    .. math:: \epsilon_i = \sum_{c \ni i} w_c\, h(x_c, \text{kind}_c), \qquad w_c = n \prod_d f_c(r_d)

    Sparse points are coordinates, whose weights follow the cutoff. Heads see a kind where those of local descriptors see a central element.

    Attributes:
      kinds: the element tuples it describes, static.
      multiplicity: n, how often an instance counts, since neighbours are enumerated in one order only.
      permutations: of the coordinates, those that equal atoms may exchange: heads must not depend on them.
    """

    species: tuple[str, ...]
    cutoff: Cutoff
    kinds: _Kinds
    multiplicity: float = 1.0
    permutations: tuple[tuple[int, ...], ...] = ()

    @property
    def reach(self) -> Array:
        return self.cutoff.radius

    @abc.abstractmethod
    def instance(self, vectors: Array, members: Array) -> tuple[Array, Array]:
        """Coordinates [F] and product of cutoff functions [] of one instance from its neighbour vectors [A, 3] and species [1 + A]."""

    @abc.abstractmethod
    def weights_of(self, points: Instances) -> Array:
        """Products of cutoff functions of sparse points, shape [M]."""

    def slots(self, n_neighbors: int) -> np.ndarray:
        """Which neighbour slots make the instances, shape [I, A]."""
        return combinations_of(n_neighbors, len(self.kinds[0]) - 1)

    @staticmethod
    def name(kind: tuple[str, ...]) -> tuple[str, ...]:
        """Equal for equal clusters: the order of the neighbours of a centre does not matter."""
        return (kind[0], *sorted(kind[1:]))

    def members(self, env: Environment) -> Array:
        """The species of the centre and the neighbours of every instance, shape [I, 1 + A]."""
        neighbors = env.species[self.slots(env.mask.shape[0])]
        return jnp.concatenate([jnp.broadcast_to(env.center, (len(neighbors), 1)), neighbors], axis=1)

    def kind(self, members: Array) -> Array:
        """The kind of every instance, shape [I]; −1 where it is not described."""
        return jnp.asarray(_kind_table(self.species, self.kinds, self.name))[tuple(members.T)]

    def instances(self, env: Environment) -> tuple[Instances, Array]:
        """All instances of one atom with their weights [I]; empty slots and elements not described weigh nothing."""
        members = self.members(env)
        kind = self.kind(members)
        x, weight = jax.vmap(self.instance)(env.vectors[self.slots(env.mask.shape[0])], members)
        weight = jnp.where(kind >= 0, self.multiplicity * weight, 0)
        return Instances(x, kind), poison(weight, jnp.any(jnp.isnan(env.vectors)))

    def instances_of_stack(self, envs: Environment) -> tuple[Array, Array, Array]:
        """Of a stack of n atoms: coordinates [n I, F] and kinds [n I] of all instances, and their weights [n, I]."""
        found, weight = jax.vmap(self.instances)(envs)
        return found.coordinates.reshape(-1, self.n_features), found.kind.reshape(-1), weight

    def __call__(self, graph):
        name = type(self).__name__
        raise TypeError(f"{name} has instances, many per atom, and no features of an atom; write AtomicPotential({name}(...), head)")


class LengthDescriptor(ClusterDescriptor):
    """Interface: clusters by functions of their lengths, which are r₁ … r_A from the centre, then those between neighbours. A new one writes
    `n_features`, `coordinates` and `lengths`."""

    @abc.abstractmethod
    def coordinates(self, lengths: Array) -> Array:
        """From lengths [D] to coordinates [F]."""

    @abc.abstractmethod
    def lengths(self, coordinates: Array) -> Array:
        """From coordinates [..., F] to the lengths from the centre, [..., A]."""

    def instance(self, vectors: Array, members: Array) -> tuple[Array, Array]:
        lengths = _lengths(vectors)
        return self.coordinates(lengths), jnp.prod(self.cutoff(lengths[: len(vectors)]))

    def weights_of(self, points: Instances) -> Array:
        return jnp.prod(self.cutoff(self.lengths(points.coordinates)), axis=-1)


@functools.singledispatch
def instances_of(descriptor: Descriptor, envs: Environment) -> tuple[Array, Array, Array]:
    """What a head is applied to, for a stack of n atoms: features [n I, F] and kinds [n I] of I instances each, and their weights [n, I].

    Of a local descriptor an atom has one instance, of its own element, with the weight 1.
    """
    x = features(descriptor, envs)
    return x, envs.center, jnp.ones((len(x), 1), x.dtype)


@instances_of.register
def _of_clusters(descriptor: ClusterDescriptor, envs: Environment) -> tuple[Array, Array, Array]:
    return descriptor.instances_of_stack(envs)


@block_size.register
def _of_instances(clusters: ClusterDescriptor, n_neighbors: int) -> int:
    return max(1, min(128, _INSTANCES_AT_ONCE // max(1, len(clusters.slots(n_neighbors)))))


def _lengths(vectors: Array) -> Array:
    """Of neighbour vectors [A, 3], then between them in the order of pairs."""
    between = [safe_norm(vectors[a] - vectors[b]) for a, b in combinations(range(len(vectors)), 2)]
    return jnp.stack([*safe_norm(vectors), *between])


@functools.cache
def combinations_of(n: int, size: int) -> np.ndarray:
    """All choices of `size` out of n slots, shape [I, size]."""
    return np.array(list(combinations(range(n), size)), np.int32).reshape(-1, size)


@functools.cache
def _kind_table(species: tuple[str, ...], kinds: _Kinds, name: Callable) -> np.ndarray:
    """Index of a kind by species indices, the centre first; −1 where there is none."""
    table = np.full((len(species),) * len(kinds[0]), -1, np.int32)
    names = [name(kind) for kind in kinds]
    for index in np.ndindex(table.shape):
        of_index = name(tuple(species[i] for i in index))
        if of_index in names:
            table[index] = names.index(of_index)
    return table


def checked_kinds(self: Descriptor, order: int) -> _Kinds:
    """The kinds of a descriptor of clusters of `order` atoms, which has `species`, `kinds` (None takes all) and `name(kind)`.

    Raises:
      ValueError: for unknown species, kinds of other elements or numbers of atoms, or one kind twice.
    """
    owner, species = type(self).__name__, species_tuple(self.species, type(self).__name__)
    everything: dict[tuple[str, ...], tuple[str, ...]] = {}
    for kind in product(species, repeat=order):
        everything.setdefault(self.name(kind), kind)
    kinds = tuple(map(tuple, everything.values() if self.kinds is None else self.kinds))
    names = [self.name(kind) for kind in kinds]
    strange = [kind for kind, name in zip(kinds, names, strict=True) if name not in everything]
    if strange or not kinds:
        raise ValueError(f"{owner}: got kinds {strange or kinds}; expected some of {list(everything.values())}")
    if len(set(names)) < len(names):
        raise ValueError(f"{owner}: kinds {kinds} name one cluster twice; the order of neighbours does not matter")
    return kinds


@pytree
class TwoBody(LengthDescriptor):
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
    kinds: _Kinds | None = static(default=None)

    def __post_init__(self):
        object.__setattr__(self, "kinds", checked_kinds(self, 2))

    @staticmethod
    def name(kind: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(kind))

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
class ThreeBody(LengthDescriptor):
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
    kinds: _Kinds | None = static(default=None)

    multiplicity = 2.0

    def __post_init__(self):
        object.__setattr__(self, "kinds", checked_kinds(self, 3))

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


@functools.cache
def _arrangements(species: tuple[str, ...], kinds: _Kinds) -> np.ndarray:
    """Which of the sides (centre and first, centre and second, both neighbours) become (r₁₂, r₁₃, r₂₃) of the kind, by species indices
    of the three, shape [S, S, S, 3, 3]."""
    table = np.zeros((len(species),) * 3 + (3, 3))
    for index in np.ndindex(table.shape[:3]):
        elements = [species[i] for i in index]
        for order in permutations(range(3)):
            if tuple(elements[i] for i in order) in kinds:
                # the sides are numbered by the sum of their atoms: 0 + 1, 0 + 2, 1 + 2
                table[index] = np.eye(3)[[order[a] + order[b] - 1 for a, b in combinations(range(3), 2)]]
                break
    return table


class TriangleDescriptor(ClusterDescriptor):
    """Interface: triangles by their three sides, of which equal atoms may exchange some."""

    @abc.abstractmethod
    def weight(self, first: Array, second: Array, opposite: Array) -> Array:
        """Of an instance, from the cutoff functions of its two sides at the centre and of the third."""

    @staticmethod
    def name(kind: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(kind))

    @property
    def permutations(self) -> tuple[tuple[int, ...], ...]:
        return {1: tuple(permutations(range(3))), 2: ((0, 1, 2), (1, 0, 2)), 3: ((0, 1, 2),)}[len(set(self.kinds[0]))]

    @property
    def n_features(self) -> int:
        return 3

    def labels(self) -> tuple[str, ...]:
        return ("r12", "r13", "r23")

    def instance(self, vectors: Array, members: Array) -> tuple[Array, Array]:
        lengths = _lengths(vectors)
        arrangement = jnp.asarray(_arrangements(self.species, self.kinds), lengths.dtype)[tuple(members)]
        sides = list(einsum("ij,j->i", arrangement, lengths))
        for a, b in {6: ((0, 1), (1, 2), (0, 1)), 2: ((0, 1),), 1: ()}[len(self.permutations)]:
            # exchanged as they are: second derivatives of a minimum and a maximum would be wrong where both are equal
            swap = sides[a] > sides[b]
            sides[a], sides[b] = jnp.where(swap, sides[b], sides[a]), jnp.where(swap, sides[a], sides[b])
        return jnp.stack(sides), self.weight(*self.cutoff(lengths))


@pytree
class Triangles(TriangleDescriptor):
    r"""Triangles: x = (r₁₂, r₁₃, r₂₃) for every three atoms held together by two bonds (QUIP's `distance_Nb` of order 3).

    A triangle counts once, however many of its atoms are neighbours of both others: the weights of its three instances add to

    .. math:: f_{12} f_{13} + f_{12} f_{23} + f_{13} f_{23} - 2 f_{12} f_{13} f_{23}, \qquad f = f_c(r)

    which is 1 where all sides, or two, are short. Sides that equal atoms may exchange are in ascending order, so a kernel has to be the
    same for every order, which `Symmetrised(kernel, triangles.permutations)` is; and the kinds of one descriptor are all A A A, all
    A B B or all A B C.

    Args:
      species: chemical symbols.
      cutoff: cutoff function of the sides.
      kinds: element triples, in any order; of A B B the odd element becomes the first. None takes all, if they are of one sort.

    Raises:
      ValueError: for triples of other elements, one triple twice, or triples of several sorts.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> Triangles(("H", "O"), CosineCutoff(3.0, width=0.5), kinds=(("H", "O", "H"),)).kinds
      (('O', 'H', 'H'),)
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    kinds: _Kinds | None = static(default=None)

    def __post_init__(self):
        # of A B B the odd one first, since it is the number of equals that sorts
        kinds = [tuple(sorted(kind, key=kind.count)) for kind in checked_kinds(self, 3)]
        by_sort: dict[int, list[tuple[str, ...]]] = {}
        for kind in kinds:
            by_sort.setdefault(len(set(kind)), []).append(kind)
        if len(by_sort) > 1:
            raise ValueError(
                f"Triangles: equal atoms are exchanged by other kernels in each of {', '.join(map(str, by_sort.values()))}; write one term for "
                f"each, for example kinds={tuple(by_sort[min(by_sort)])}"
            )
        object.__setattr__(self, "kinds", tuple(kinds))

    def weight(self, first: Array, second: Array, opposite: Array) -> Array:
        return first * second * (1 - 2 / 3 * opposite)

    def weights_of(self, points: Instances) -> Array:
        f1, f2, f3 = jnp.moveaxis(self.cutoff(points.coordinates), -1, 0)
        return f1 * f2 + f1 * f3 + f2 * f3 - 2 * f1 * f2 * f3


@pytree
class CompactTriangles(TriangleDescriptor):
    r"""Triangles of equal atoms, once for each atom that has both others as neighbours (QUIP's `distance_Nb`, compact_clusters=T).

    The weight is f_c(r₁) f_c(r₂) of the sides at that atom; of a sparse point those are the shortest. For mixed elements there is
    `ThreeBody`; QUIP's energies of mixed compact triangles depend on the order of the atoms in the file.

    Args:
      species: chemical symbols.
      cutoff: cutoff function of the sides at the centre.
      kinds: element triples A A A; None takes those of all elements.

    Raises:
      ValueError: for triples of other elements or of several, or one triple twice.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> CompactTriangles(("C", "Si"), CosineCutoff(3.0, width=0.5)).kinds
      (('C', 'C', 'C'), ('Si', 'Si', 'Si'))
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    kinds: _Kinds | None = static(default=None)

    def __post_init__(self):
        kinds = tuple((s,) * 3 for s in self.species) if self.kinds is None else self.kinds
        mixed = [kind for kind in kinds if len(set(kind)) > 1]
        if mixed:
            raise ValueError(f"CompactTriangles: got kinds {mixed} of several elements; write Triangles or ThreeBody for them")
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "kinds", checked_kinds(self, 3))

    def weight(self, first: Array, second: Array, opposite: Array) -> Array:
        return first * second

    def weights_of(self, points: Instances) -> Array:
        return jnp.prod(self.cutoff(points.coordinates[..., :2]), axis=-1)
