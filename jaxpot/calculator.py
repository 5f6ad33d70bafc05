"""ASE: any potential as a calculator."""

from collections.abc import Callable, Sequence
from typing import Any

import ase.calculators.calculator as ase_calculator
import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import check_jax
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.spread import UNCERTAIN, deviations_of
from jaxpot.graph import Graph, from_atoms, pad
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential, predicts_more
from jaxpot.potentials.combinations import unseen, warn_of_unseen
from jaxpot.potentials.nearby import on_short_lists
from jaxpot.precision import in_own_precision
from jaxpot.properties import OBSERVABLES, Properties
from jaxpot.structures import diagnose

_SHORTEST = 0.1  # Å; the search radius of a potential without neighbours
_ready = jax.jit(prepare)
_compute = jax.jit(lambda potential, graph: potential.properties(graph))  # of one that is prepared
_spread = jax.jit(deviations_of)
_DEVIATION = "_deviation"  # of names, as in files that `jaxpot evaluate` writes


class Calculator(ase_calculator.Calculator):
    """ASE calculator of any potential: energy, free_energy, energies, forces and stress; charges and dipole of those that predict them.

    It computes in the precision of the potential's numbers, float64 unless they were cast to less, whatever the global setting.

    The neighbour list holds all neighbours within the potential's reach and a skin, and is searched anew only when an atom has
    moved more than half the skin, or cell, pbc or numbers have changed. Slots are added in steps, so that JAX recompiles
    rarely.

    Of a posterior it computes also what the fit leaves open, as `fit.deviations` does without the noise of labels: `energy_deviation`,
    `forces_deviation` and, in a periodic structure, `stress_deviation`, in the shapes and units of what they are deviations of, and only where one
    is asked for, by `atoms.calc.get_property("forces_deviation", atoms)`.

    Args:
      potential: any potential, or the Posterior of one.
      skin: in Å.
      charge: total charge, in e; what `atoms` say of charges does not count.
      field: outer electric field, shape [3], in V/Å.
      max_atoms: N, to which every structure is padded, so that those of many sizes share what is compiled; None pads none.

    Raises:
      ValueError: for a negative skin; in a calculation, for what `from_atoms` refuses, such as a structure without sensible neighbours or
        larger than `max_atoms`.
      RuntimeError: in a calculation, if a result is not finite; the message says why.

    Warns:
      UserWarning: for combinations of elements around an atom that no structure of the fit had, each once.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> atoms = bulk("Ar", cubic=True)
      >>> atoms.calc = Calculator(LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(8.5, width=2.0)))
      >>> atoms.get_stress().shape
      (6,)
    """

    implemented_properties = [result for observable in OBSERVABLES.values() if observable.of_energy for result in observable.ase]

    def __init__(
        self,
        potential: Potential | Posterior,
        *,
        skin: float = 0.5,
        charge: float = 0.0,
        field: Sequence[float] = (0.0, 0.0, 0.0),
        max_atoms: int | None = None,
    ):
        super().__init__()
        self._posterior = potential if isinstance(potential, Posterior) else None
        potential = potential if self._posterior is None else self._posterior.model
        if not isinstance(potential, Potential):
            raise TypeError(f"Calculator: expected a potential or the posterior of one, got {type(potential).__name__}")
        if not skin >= 0:
            raise ValueError(f"Calculator: skin must be a number of Å >= 0, got {skin}")
        check_jax()
        self.potential = potential
        self.skin = float(skin)
        self.outer = {"charge": charge, "field": field}
        self.max_atoms = max_atoms
        if predicts_more(potential):  # what, its results say
            self.implemented_properties = [result for observable in OBSERVABLES.values() for result in observable.ase]
        if self._posterior is not None:
            spread = [OBSERVABLES[name].ase[0] + _DEVIATION for name in UNCERTAIN]
            self.implemented_properties = [*self.implemented_properties, *spread]
        with in_own_precision(potential) as own:
            self._ready = _ready(own)
        self._reach = float(potential.reach)
        self._graph, self._listed, self._slots = None, None, 0
        self._short: Potential = self._ready
        self._short_slots: tuple[int, ...] = ()
        self._named: set[str] = set()

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = ase_calculator.all_changes) -> None:
        """Fills `results` with everything implemented, with deviations where one is among the properties; ASE calls it when something has changed."""
        super().calculate(atoms, properties, system_changes)
        asked = any(name.endswith(_DEVIATION) for name in properties)
        if system_changes or not (asked and self.results):
            self.results = self._results(self.potential, self._computed)
        if asked:
            found = self._results(self._posterior, _spread)
            self.results |= {name + _DEVIATION: abs(value) for name, value in found.items() if name + _DEVIATION in self.implemented_properties}

    def _computed(self, own: Potential, graph: Graph) -> Properties:
        """What the potential predicts, on short lists where these still hold."""
        found = _compute(self._short, graph)
        if self._short is not self._ready and not all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree_util.tree_leaves(found)):
            found = _compute(self._ready, graph)
            self._short, self._short_slots = on_short_lists(self._ready, graph, self._short_slots)
        return found

    def _results(self, model: Potential | Posterior, function: Callable[[Any, Graph], Properties]) -> dict[str, Any]:
        """What a function of the model and the structure gives, under the names that ASE has for it."""
        with in_own_precision(model) as own:
            graph = self._current_graph()
            found = jax.tree_util.tree_map(lambda x: np.asarray(x, float), function(own, graph))
            if not all(np.all(np.isfinite(x)) for x in jax.tree_util.tree_leaves(found)):
                causes = diagnose(getattr(own, "model", own), graph) or ("no cause found; do two atoms lie at the same place?",)
                raise RuntimeError("the potential gives results that are not finite: " + "; ".join(causes))
        volume = self.atoms.get_volume() if self.atoms.cell.rank == 3 and np.any(self.atoms.pbc) else None
        results: dict[str, Any] = {}
        for name, observable in OBSERVABLES.items():
            if (value := getattr(found, name)) is not None:
                value = value[: len(self.atoms)] if observable.per_atom else value
                results |= observable.results(value if value.ndim else float(value), volume)
        return results

    def _current_graph(self) -> Graph:
        """The Graph of `self.atoms`, with the old lists where they still hold."""
        if not self._holds():
            graph = from_atoms(self.atoms, max(self._reach + self.skin, _SHORTEST), max_atoms=self.max_atoms, **self.outer)
            needed = graph.neighbors.shape[1]
            if needed > self._slots:
                self._slots = -(-(needed + needed // 8) // 8) * 8
            # complete within the reach for as long as no atom has moved more than half the skin
            complete = jnp.asarray(max(self._reach, _SHORTEST), graph.cutoff.dtype)
            graph = jax.tree_util.tree_map(jnp.asarray, pad(graph, max_neighbors=self._slots))
            self._graph, self._listed = graph.replace(cutoff=complete), self.atoms.copy()
            self._short, self._short_slots = on_short_lists(self._ready, self._graph, self._short_slots)
            new = tuple(name for name in unseen(self.potential, graph) if name not in self._named)
            self._named.update(new)
            warn_of_unseen(new, "Calculator")
        positions = np.pad(self.atoms.positions, ((0, len(self._graph.numbers) - len(self.atoms)), (0, 0)))
        return self._graph.replace(positions=jnp.asarray(positions, self._graph.positions.dtype))

    def _holds(self) -> bool:
        old, new = self._listed, self.atoms
        return (
            old is not None
            and np.array_equal(old.numbers, new.numbers)
            and np.array_equal(old.pbc, new.pbc)
            and np.array_equal(old.cell.array, new.cell.array)
            and np.max(np.sum((new.positions - old.positions) ** 2, axis=1)) <= (self.skin / 2) ** 2
        )


def as_calculator(potential: Potential | Posterior | Calculator, charge: float = 0.0) -> Calculator:
    """A calculator of a potential, or the one that is given.

    Raises:
      ValueError: for a total charge beside a calculator, which has its own.
    """
    if not isinstance(potential, Calculator):
        return Calculator(potential, charge=charge)
    if charge:
        raise ValueError(f"charge={charge} beside a Calculator, which has its own; write Calculator(potential, charge={charge})")
    return potential
