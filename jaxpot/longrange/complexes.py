"""Complexes of different atoms, every one with charges of its own fragments, in one model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.longrange.fragments import Groups, Totals
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class Complexes(Totals):
    """The total charges of several kinds of structures, each known by its elements in order; so pairs of different molecules share one model and one fit.

    A structure of other elements has no charges: they are NaN, and `diagnose` says which elements it has.

    Args:
      formulas: chemical symbols of every kind in the order of its atoms, as `str(atoms.symbols)` writes them; static.
      totals: of every kind, such as `Fragments(...)` for two molecules and `WholeStructure()` for one alone.

    Raises:
      ValueError: for formulas that are not chemical symbols or say the same atoms twice, or another number of totals.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import Fragments, WholeStructure
      >>> known = Complexes(("NaOH", "OH"), (Fragments(((0,), (1, 2)), charges=[1.0]), WholeStructure()))
      >>> groups = known.groups(from_atoms(Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]]), 2.0, charge=-1.0, max_atoms=3))
      >>> groups.index.tolist(), groups.totals.tolist()
      ([0, 0, 2], [-1.0, 0.0])
    """

    formulas: tuple[str, ...] = static()
    totals: tuple[Totals, ...]

    def __post_init__(self):
        if len(self.formulas) != len(self.totals) or not self.formulas:
            raise ValueError(f"Complexes: expected totals for each of the formulas {self.formulas}, got {len(self.totals)}")
        kinds = [tuple(_numbers(formula)) for formula in self.formulas]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"Complexes: formulas must be of different atoms, got {self.formulas}")

    def groups(self, graph: Graph) -> Groups:
        found = [totals.groups(graph) for totals in self.totals]
        most = max(len(groups.totals) for groups in found)
        index, given = jnp.where(graph.numbers > 0, 0, most), jnp.full(most, jnp.nan, graph.positions.dtype)
        for is_this, groups in zip(self._matches(graph), found, strict=True):
            own = len(groups.totals)
            index = jnp.where(is_this, jnp.where(groups.index == own, most, groups.index), index)
            given = jnp.where(is_this, jnp.pad(groups.totals.astype(given.dtype), (0, most - own)), given)
        return Groups(index, given)

    def _matches(self, graph: Graph) -> list[Array]:
        """Whether the structure is of each kind."""
        matches, n = [], len(graph.numbers)
        for formula in self.formulas:
            numbers = _numbers(formula)
            padded = np.zeros(max(n, len(numbers)), int)
            padded[: len(numbers)] = numbers
            matches.append(jnp.all(graph.numbers == padded[:n]) & (len(numbers) <= n))
        return matches

    def causes(self, graph: Graph) -> tuple[str, ...]:
        for is_this, totals in zip(self._matches(graph), self.totals, strict=True):
            if bool(is_this):
                return totals.causes(graph)
        from ase.symbols import Symbols

        there = np.asarray(graph.numbers)
        formula = str(Symbols(there[there > 0]))
        return (f"Complexes knows structures of {', '.join(self.formulas)}, this one is {formula}; give its totals too, with the formula {formula!r}",)


@functools.cache
def _numbers(formula: str) -> np.ndarray:
    from ase.symbols import symbols2numbers

    try:
        return np.asarray(symbols2numbers(formula))
    except (KeyError, ValueError) as error:
        raise ValueError(f"Complexes: {formula!r} is not a row of chemical symbols such as 'OH2Na', as str(atoms.symbols) writes them") from error
