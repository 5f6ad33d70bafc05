"""Atom-centred symmetry functions of Behler and Parrinello."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors import angular_pairs
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.symmetry_functions import SymmetryFunctions
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class ACSF(LocalDescriptor):
    """Symmetry functions: G2, G3 and CompactRadial of one neighbour, G4, G5, CompactNarrow and CompactWide of two, with an MLP the
    high-dimensional neural network potential.

    A set of functions is there for every element of the neighbours, or pair of elements, and every element of the centre. With `kept` a
    centre has only some: the others are zero, so that one feature axis serves all elements. All real numbers are leaves.

    Args:
      species: chemical symbols of neighbours and centres.
      functions: sets of symmetry functions.
      kept: for every centre element, which of all the functions it has, as indices in the order of `labels()` of the ACSF without `kept`;
        features are those that some element has. None is all of them.

    Raises:
      ValueError: for unknown species, no functions, mixtures of another number of elements, or indices that do not exist.
      TypeError: for what is no set of symmetry functions.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import G2, G4
      >>> near, far = CosineCutoff(4.0), CosineCutoff(6.0)
      >>> acsf = ACSF(("H", "O"), (G2.centered(far, 4), G2.shifted(far, 5), G4(near, eta=[0.01, 0.1], zeta=[1, 4])))
      >>> acsf.n_features  # (5 + 5) · 2 elements + 2 · 2 · 2 · 3 pairs of elements
      44

    References:
      Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007); Behler, "Atom-centered symmetry functions for constructing high-dimensional
      neural network potentials", J. Chem. Phys. 134, 074106 (2011).
    """

    species: tuple[str, ...] = static()
    functions: tuple[SymmetryFunctions, ...]
    kept: tuple[tuple[int, ...], ...] | None = static(default=None)

    def __post_init__(self):
        species_tuple(self.species, "ACSF")
        if not isinstance(self.functions, tuple | list) or not self.functions:
            raise ValueError(f"ACSF: expected a tuple of sets such as (G2(CosineCutoff(6.0), eta=[0.1, 1.0]),), got {self.functions!r}")
        for one in self.functions:
            if not isinstance(one, SymmetryFunctions):
                raise TypeError(f"ACSF: expected sets of symmetry functions (G2, G3, G4, G5 or those of compact support), got {type(one).__name__}")
            if one.mixing is not None and np.shape(one.mixing)[0] != len(self.species):
                raise ValueError(f"ACSF: mixing of {type(one).__name__} has {np.shape(one.mixing)[0]} rows for {len(self.species)} elements")
        object.__setattr__(self, "functions", tuple(self.functions))
        if self.kept is not None:
            n = len(self._grid())
            if len(self.kept) != len(self.species) or not all(0 <= i < n for of_center in self.kept for i in of_center):
                raise ValueError(f"ACSF: kept must have {len(self.species)} tuples, one for every element, of indices below {n}, got {self.kept}")

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [one.reach for one in self.functions])

    def _grid(self) -> tuple[tuple, ...]:
        return tuple((number, *label) for number, one in enumerate(self.functions) for label in one.labels(self.species))

    @property
    def n_features(self) -> int:
        return len(self._grid()) if self.kept is None else len(_columns(self.kept))

    def labels(self) -> tuple[tuple, ...]:
        """(number of the set, its class, elements, indices of its parameters) of every feature."""
        grid = self._grid()
        return grid if self.kept is None else tuple(grid[i] for i in _columns(self.kept))


    @property
    def has_angles(self) -> bool:
        return any(one.has_angles for one in self.functions)

    def environment(self, env: Environment) -> Array:
        neighbors = Neighbors.of(env, len(self.species))
        pairs = Pairs.of(neighbors) if self.has_angles else None
        values = jnp.concatenate([one.values(neighbors, pairs) for one in self.functions])
        if self.kept is None:
            return values
        own = jax.nn.one_hot(env.center, len(self.species), dtype=values.dtype)
        return values[_columns(self.kept)] * einsum("s,sf->f", own, jnp.asarray(_exists(self.kept), values.dtype))


@functools.cache
def _columns(kept: tuple[tuple[int, ...], ...]) -> np.ndarray:
    return np.unique([i for of_center in kept for i in of_center]).astype(int)


@functools.cache
def _exists(kept: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """1 where a centre has a feature, shape [S, F]."""
    return np.array([np.isin(_columns(kept), of_center) for of_center in kept], float)


@block_size.register
def _of_pairs(acsf: ACSF, n_neighbors: int) -> int:
    return min(128, angular_pairs.block(n_neighbors)) if acsf.has_angles else 128
