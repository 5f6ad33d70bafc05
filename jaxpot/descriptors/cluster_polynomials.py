"""Sums of invariant polynomials over clusters of atoms: finding the clusters, and evaluating block by block."""

import abc
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxpot.checks import poison
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.blocks import map_blocks
from jaxpot.descriptors.clusters import checked_kinds, combinations_of
from jaxpot.graph import Environment
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.polynomials import Invariants, invariants, pairs
from jaxpot.math.simplices import quasi_random_simplices
from jaxpot.math.transforms import DistanceTransform
from jaxpot.trees import change_by_leaves

Array = jax.Array

Kinds = tuple[tuple[str, ...], ...]

_CANDIDATES = 2**21  # choices of neighbour slots looked at together, which bounds memory
_BLOCK_BYTES = 2e6  # of the functions of a block of clusters, and of their derivatives: near the size of a cache


class Shape(NamedTuple):
    """Kinds whose atoms are exchanged in the same ways.

    Args:
      kinds: the centre first.
      symmetry: permutations that leave them as they are.
      share: how much each view of a cluster counts.
      table: by the species of the centre and the neighbours, written as one number, the index of the kind; −1 for none.
      order: likewise, the order of the neighbours in which they are as in the kind.
    """

    kinds: Kinds
    symmetry: tuple[tuple[int, ...], ...]
    share: float
    table: np.ndarray
    order: np.ndarray


@functools.cache
def _shapes(owner: "type[ClusterPolynomials]", species: tuple[str, ...], kinds: Kinds) -> tuple[Shape, ...]:
    groups: dict[tuple, list[tuple[str, ...]]] = {}
    for kind in kinds:
        groups.setdefault((owner.symmetry(kind), owner.share(kind)), []).append(kind)
    shapes = []
    for (symmetry, share), members in groups.items():
        size = len(members[0])
        table = np.full((len(species),) * size, -1, np.int32)
        order = np.zeros((*table.shape, size - 1), np.int32)
        place = {(kind[0], *sorted(kind[1:])): k for k, kind in enumerate(members)}
        for index in np.ndindex(table.shape):
            center, *neighbors = (species[i] for i in index)
            table[index] = k = place.get((center, *sorted(neighbors)), -1)
            if k >= 0:
                order[index] = np.argsort([members[k].index(s, 1) for s in neighbors], kind="stable")
        shapes.append(Shape(tuple(members), symmetry, share, table.reshape(-1), order.reshape(-1, size - 1)))
    return tuple(shapes)


class ClusterPolynomials(LocalDescriptor):
    r"""Interface: sums of invariant polynomials over the clusters of a centre and its neighbours.

    .. math:: B_{kf} = \sum_{c \ni i} s_k\, P_{kf}(x(r_{12}), x(r_{13}), \dots) \prod f_c(r)

    Clusters within the cutoff are found among all choices of neighbours first; polynomials are evaluated on these, block by block,
    and blocks that hold none are skipped. So the work is that of the clusters there are, while shapes stay fixed. Under `vmap` (a batch)
    blocks cannot be skipped: structures one after the other are quicker.

    Every kind has its own functions, which are the same whatever atom a cluster is seen from; so their coefficients belong to the kind and
    not to the centre, as those of `SharedLinear` do.

    Attributes:
      species, cutoff, transform, order, degree, kinds: as of `ClusterPIP`.
    """

    species: tuple[str, ...]
    cutoff: Cutoff
    transform: DistanceTransform
    order: int
    degree: int
    kinds: Kinds | None

    @staticmethod
    @abc.abstractmethod
    def name(kind: tuple[str, ...]) -> tuple[str, ...]:
        """The kind as it is written: the centre first, like atoms together."""

    @staticmethod
    @abc.abstractmethod
    def symmetry(kind: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """Permutations of the atoms that generate the group of the polynomials."""

    @staticmethod
    @abc.abstractmethod
    def share(kind: tuple[str, ...]) -> float:
        """How much a cluster counts for each of its atoms that may be its centre."""

    @property
    @abc.abstractmethod
    def n_cut(self) -> int:
        """How many of the distances, in the order of `pairs`, the cutoff function is applied to."""

    def check(self, least: int) -> None:
        """Refuses what it cannot be made of, orders below `least` among it, and puts the kinds in order."""
        owner = type(self).__name__
        for name, kind in (("cutoff", Cutoff), ("transform", DistanceTransform)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{owner}: expected a {name} such as {_EXAMPLES[name]}, got {type(getattr(self, name)).__name__}")
        if isinstance(self.order, bool) or not isinstance(self.order, int) or not least <= self.order <= 5:
            raise ValueError(f"{owner}: order must be a number of atoms from {least} to 5, got {self.order!r}")
        object.__setattr__(self, "kinds", tuple(map(self.name, checked_kinds(self, self.order))))
        object.__setattr__(self, "kinds", tuple(kind for shape in self._shapes for kind in shape.kinds))
        for shape in self._shapes:
            self._invariants(shape)

    @property
    def _shapes(self) -> tuple[Shape, ...]:
        return _shapes(type(self), self.species, self.kinds)

    def _invariants(self, shape: Shape) -> Invariants:
        return invariants(self.order, shape.symmetry, self.degree)

    @property
    def reach(self) -> Array:
        return self.cutoff.radius

    @property
    def n_features(self) -> int:
        return sum(len(shape.kinds) * len(self._invariants(shape).exponents) for shape in self._shapes)

    def labels(self) -> tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]:
        """The kind and the exponents of the leading monomial of every function, in the order of `pairs`."""
        return tuple((kind, tuple(e)) for shape in self._shapes for kind in shape.kinds for e in self._invariants(shape).exponents.tolist())

    def functions(self, shape: Shape, r: Array, factor: Array) -> Array:
        """The polynomials of clusters of one shape times the cutoff functions and a factor [B], from their distances [E, B]; shape [F, B]."""
        return self._invariants(shape)(self.transform(r), self._cut(r, factor))

    def _cut(self, r: Array, factor: Array) -> Array:
        return factor * jnp.prod(self.cutoff(r[: self.n_cut]), axis=0)

    # --- finding clusters ------------------------------------------------------------------------------------------------------

    def _found(self, envs: Environment, shapes: tuple[Shape, ...]) -> tuple[Array, Array]:
        """Which choices of slots are clusters of each shape, as numbers n T, those first, shape [S, n T]; and how many there are, [S]."""
        slots = combinations_of(envs.mask.shape[1], self.order - 1)
        near = safe_norm(envs.vectors) < self.reach
        active = jnp.all(near[:, slots], axis=-1)
        if self.n_cut > self.order - 1:
            between = safe_norm(envs.vectors[:, :, None] - envs.vectors[:, None]) < self.reach
            for a, b in combinations_of(self.order - 1, 2):
                active = active & between[:, slots[:, a], slots[:, b]]
        code = self._code(envs.center[:, None], envs.species[:, slots])

        def of_shape(table):
            own = (active & (table[code] >= 0)).reshape(-1)
            return jnp.nonzero(own, size=own.size, fill_value=0)[0], jnp.sum(own)

        return jax.vmap(of_shape)(np.stack([shape.table for shape in shapes]))

    def _code(self, center: Array, neighbors: Array) -> Array:
        """Species of centres [...] and neighbours [..., A] as one number."""
        code = center
        for a in range(self.order - 1):
            code = code * len(self.species) + neighbors[..., a]
        return code

    def _summed(self, envs: Environment, shapes: tuple[Shape, ...], function: Callable, start, width: int):
        """`function(total, atoms [B], slots [B, A], kinds [B], factor [B], shape [])` over all clusters, in blocks of clusters of one shape.

        Args:
          envs: a stack of atoms.
          shapes: those of the clusters.
          function: the total with those of a block added; shape is the number of theirs.
          start: the total to begin with.
          width: how many numbers the function holds for every cluster.
        """
        slots = combinations_of(envs.mask.shape[1], self.order - 1)
        if not len(slots):
            return start
        found, count = self._found(envs, shapes)
        block = max(1, min(found.shape[1], int(_BLOCK_BYTES / (width * envs.vectors.dtype.itemsize))))
        n_blocks = -(-found.shape[1] // block)
        index = jnp.pad(found, ((0, 0), (0, n_blocks * block - found.shape[1]))).reshape(-1, block)
        is_cluster = (jnp.arange(n_blocks * block)[None] < count[:, None]).reshape(-1, block)
        table, order = (jnp.asarray(np.stack(tables)) for tables in ([s.table for s in shapes], [s.order for s in shapes]))
        share = jnp.asarray([shape.share for shape in shapes], envs.vectors.dtype)

        def one_block(total, chosen):
            index, is_cluster, which = chosen

            def added(total):
                atoms, own = jax.lax.div(index, len(slots)), jnp.asarray(slots)[jax.lax.rem(index, len(slots))]
                code = self._code(envs.center[atoms], envs.species[atoms[:, None], own])
                own = jnp.take_along_axis(own, order[which, code], axis=1)
                return function(total, atoms, own, jnp.maximum(table[which, code], 0), jnp.where(is_cluster, share[which], 0), which)

            return jax.lax.cond(is_cluster[0], added, lambda total: total, total), None

        return jax.lax.scan(jax.checkpoint(one_block), start, (index, is_cluster, np.repeat(np.arange(len(shapes)), n_blocks)))[0]

    def _distances(self, vectors: Array, factor: Array) -> tuple[Array, Array]:
        """Steps [E, B, 3] along the pairs of every cluster and their lengths [E, B], from its vectors [B, A, 3]; where there is none, the cutoff."""
        points = jnp.concatenate([jnp.zeros_like(vectors[:, :1]), vectors], axis=1)
        first, second = pairs(self.order).T
        steps = jnp.moveaxis(points[:, second] - points[:, first], 1, 0)
        return steps, jnp.where(factor[None] > 0, safe_norm(steps), jnp.asarray(self.reach, steps.dtype))

    # --- features --------------------------------------------------------------------------------------------------------------

    def environment(self, env: Environment) -> Array:
        slots, parts = combinations_of(env.mask.shape[0], self.order - 1), []
        code = self._code(env.center, env.species[slots])
        near = jnp.all((safe_norm(env.vectors) < self.reach)[slots], axis=1)
        for shape in self._shapes:
            kinds, own = jnp.asarray(shape.table)[code], jnp.take_along_axis(jnp.asarray(slots), jnp.asarray(shape.order)[code], axis=1)
            factor = jnp.where(near & (kinds >= 0), shape.share, 0).astype(env.vectors.dtype)
            values = self.functions(shape, self._distances(env.vectors[own], factor)[1], factor)
            parts.append(einsum("bk,fb->kf", jax.nn.one_hot(kinds, len(shape.kinds), dtype=values.dtype), values).reshape(-1))
        return poison(jnp.concatenate(parts), jnp.any(jnp.isnan(env.vectors)))

    # --- of whole blocks, where only the clusters that there are are looked at ---------------------------------------------------

    def of_block(self, envs: Environment) -> Array:
        """Features of a stack of n atoms, shape [n, F]."""
        return self._in_blocks(self._values, envs)

    def _in_blocks(self, function: Callable, envs: Environment):
        """function(envs), of so many atoms at a time that their choices of neighbours fit into memory."""
        block = max(1, _CANDIDATES // max(1, len(combinations_of(envs.mask.shape[1], self.order - 1))))
        return map_blocks(jax.checkpoint(function) if len(envs.center) > block else function, envs, block)

    def _values(self, envs: Environment) -> Array:
        n, dtype, parts = len(envs.center), envs.vectors.dtype, []
        for shape in self._shapes:

            def add(total, atoms, slots, kinds, factor, _, shape=shape):
                _, r = self._distances(envs.vectors[atoms[:, None], slots], factor)
                return total.at[atoms, kinds].add(self.functions(shape, r, factor).T)

            size = len(self._invariants(shape).exponents)
            total = jnp.zeros((n, len(shape.kinds), size), dtype)
            parts.append(self._summed(envs, (shape,), add, total, size * len(pairs(self.order))).reshape(n, -1))
        return poison(jnp.concatenate(parts, axis=1), _lost(envs)[:, None])

    # --- sums with coefficients ------------------------------------------------------------------------------------------------

    def dot(self, envs: Environment, coefficients: Array) -> Array:
        """Features of a stack of n atoms times the coefficients [S, F] of their own species, shape [n]: these are applied to every cluster, and
        features of atoms are never formed."""
        return _dot(self, coefficients, envs)

    def _sums(self, envs: Environment, coefficients: Array, with_slopes: bool) -> tuple[Array, ...]:
        """Sums [n] of a stack of atoms; with slopes also their derivatives by the neighbour vectors, [n, K, 3]."""
        of_shapes, width, start = [], 1, 0
        for shape in self._shapes:
            basis = self._invariants(shape)
            own = coefficients[[self.species.index(kind[0]) for kind in shape.kinds], start : start + len(shape.kinds) * len(basis.exponents)]
            own = jnp.diagonal(own.reshape(len(own), len(own), -1)).T  # of every kind those of its own centre and functions
            width = max(width, 4 * (len(basis.pairs[0]) + len(own) * len(basis.first)))
            start += len(shape.kinds) * len(basis.exponents)
            of_shapes.append(lambda x, is_kind, basis=basis, own=own: jnp.sum(jnp.where(is_kind[: len(own)], basis.dot(x, own), 0), axis=0))
        most = max(len(shape.kinds) for shape in self._shapes)

        def add(total, atoms, slots, kinds, factor, which):
            def of_clusters(vectors):
                _, r = self._distances(vectors, factor)
                return jax.lax.switch(which, of_shapes, self.transform(r), jnp.arange(most)[:, None] == kinds[None]) * self._cut(r, factor)

            vectors = envs.vectors[atoms[:, None], slots]
            if not with_slopes:
                return (total[0].at[atoms].add(of_clusters(vectors)),)
            sums, pull = jax.vjp(of_clusters, vectors)
            return total[0].at[atoms].add(sums), total[1].at[atoms[:, None], slots].add(pull(jnp.ones_like(sums))[0])

        start = (jnp.zeros(len(envs.center), envs.vectors.dtype), *([jnp.zeros_like(envs.vectors)] if with_slopes else []))
        total = self._summed(envs, self._shapes, add, start, width)
        return (poison(total[0], _lost(envs)), *total[1:])

    # --- features and their derivatives ----------------------------------------------------------------------------------------

    def of_block_with_slopes(self, envs: Environment) -> tuple[Array, Array]:
        """Features [n, F] and their derivatives [n, F, K, 3]: a cluster's functions are differentiated by its few distances, these by its vectors."""
        return self._in_blocks(self._values_with_jacobian, envs)

    def _values_with_jacobian(self, envs: Environment) -> tuple[Array, Array]:
        (n, k), dtype, n_pairs = envs.mask.shape, envs.vectors.dtype, len(pairs(self.order))
        values, jacobians, lost = [], [], _lost(envs)
        for shape in self._shapes:

            def add(total, atoms, slots, kinds, factor, _, shape=shape):
                steps, r = self._distances(envs.vectors[atoms[:, None], slots], factor)
                value, push = jax.linearize(lambda r: self.functions(shape, r, factor), r)
                slopes = jax.vmap(push)(jnp.broadcast_to(jnp.eye(n_pairs, dtype=dtype)[:, :, None], (n_pairs, *r.shape)))  # [E, F, B]
                units = jnp.moveaxis(steps / jnp.where(r == 0, 1, r)[:, :, None], 2, 1)
                along = [slopes[e][None] * units[e][:, None] for e in range(n_pairs)]
                by_slot = [
                    sum(along[e] if b == a else -along[e] for e, (c, b) in enumerate(pairs(self.order).tolist()) if a in (b, c))
                    for a in range(1, self.order)
                ]
                by_slot = jnp.moveaxis(jnp.stack(by_slot), -1, 0)  # [B, A, 3, F]
                return total[0].at[atoms, kinds].add(value.T), total[1].at[atoms[:, None], slots, kinds[:, None]].add(by_slot)

            sizes = len(shape.kinds), len(self._invariants(shape).exponents)
            start = jnp.zeros((n, *sizes), dtype), jnp.zeros((n, k, sizes[0], 3, sizes[1]), dtype)
            value, jacobian = self._summed(envs, (shape,), add, start, sizes[1] * n_pairs)
            values.append(value.reshape(n, -1))
            jacobians.append(jnp.transpose(jacobian, (0, 2, 4, 1, 3)).reshape(n, -1, k, 3))
        return poison(jnp.concatenate(values, axis=1), lost[:, None]), poison(jnp.concatenate(jacobians, axis=1), lost[:, None, None, None])

    # --- prior -----------------------------------------------------------------------------------------------------------------

    def roughness(self, shortest: float, n: int = 1024, seed: int = 0) -> np.ndarray:
        r"""How rough every combination of the functions is, for the prior of `SharedLinear(penalty=...)`.

        .. math:: w^T R\, w = \sum_{\text{kinds}} \Bigl\langle \Bigl(\sum_{a<b} \frac{\partial^2 V}{\partial r_{ab}^2}\Bigr)^2 \Bigr\rangle

        the mean of the squared Laplacian (V'' of pairs) over quasi-random clusters that exist, evenly spread over the distances; V is the
        polynomial with its cutoff functions. If Laplacians of about c, in eV/Å², are to be expected, R / c² is the penalty.

        Args:
          shortest: smallest distance of the clusters, in Å; usually somewhat smaller than the smallest in the data.
          n: number of clusters.
          seed: of the quasi-random sequence.

        Returns:
          R, shape [F, F], in Å⁻⁴ per square of the features' unit.

        Raises:
          ValueError: if there are no such clusters.

        References:
          van der Oord, Dusson, Csányi, Ortner, "Regularised atomic body-ordered permutation-invariant polynomials for the construction
          of interatomic potentials", Mach. Learn.: Sci. Technol. 1, 015004 (2020).
        """
        n_pairs, radius = len(pairs(self.order)), float(self.reach)
        longest = np.where(np.arange(n_pairs) < self.n_cut, radius, 2 * radius)
        r = jnp.asarray(quasi_random_simplices(np.full(n_pairs, float(shortest)), longest, n, seed).T)
        blocks = []
        for shape in self._shapes:
            rows = np.asarray(_laplacian(self, shape.kinds[0], r))
            blocks += len(shape.kinds) * [rows @ rows.T / n]
        out = np.zeros((self.n_features, self.n_features))
        start = 0
        for block in blocks:
            out[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        return out


def _plain_dot(descriptor: ClusterPolynomials, coefficients: Array, envs: Environment) -> Array:
    return descriptor._in_blocks(lambda envs: descriptor._sums(envs, coefficients, with_slopes=False)[0], envs)


_dot = jax.custom_jvp(_plain_dot)


@functools.partial(_dot.defjvp, symbolic_zeros=True)
def _dot_jvp(primals, tangents):
    """Clusters are differentiated by their own vectors as they are summed, so that each is found and evaluated once."""
    (descriptor, coefficients, envs), (*steps, along) = primals, tangents
    if isinstance(along.vectors, SymbolicZero):
        sums = _dot(*primals)
        change = jnp.zeros_like(sums)
    else:
        sums, slopes = descriptor._in_blocks(lambda envs: descriptor._sums(envs, coefficients, with_slopes=True), envs)
        change = einsum("nkx,nkx->n", slopes, along.vectors)
    return sums, change + change_by_leaves(lambda own: _plain_dot(*own, envs), (descriptor, coefficients), tuple(steps))


_EXAMPLES = {"cutoff": "CosineCutoff(5.0, width=1.0)", "transform": "MorseTransform(1.5, decay=2.0)"}


def _lost(envs: Environment) -> Array:
    return jnp.any(jnp.isnan(envs.vectors), axis=(1, 2))


@functools.partial(jax.jit, static_argnums=1)
def _laplacian(descriptor: ClusterPolynomials, kind: tuple[str, ...], r: Array) -> Array:
    """Σ ∂²/∂r² of the functions of a kind at clusters with distances r [E, n], shape [F, n]."""
    shape = next(shape for shape in descriptor._shapes if kind in shape.kinds)

    def functions(r):
        return descriptor.functions(shape, r, jnp.ones_like(r[0]))

    def second(direction):
        tangent = jnp.broadcast_to(direction[:, None], r.shape)
        return jax.jvp(lambda r: jax.jvp(functions, (r,), (tangent,))[1], (r,), (tangent,))[1]

    return jnp.sum(jax.lax.map(second, jnp.eye(len(r), dtype=r.dtype)), axis=0)
