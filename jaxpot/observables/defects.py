"""Energies of point defects."""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxpot.calculator import Calculator, as_calculator
from jaxpot.observables.relaxation import relax
from jaxpot.potentials.base import Potential


class Defect(NamedTuple):
    """A point defect.

    Args:
      energy: of its formation, in eV.
      atoms: `ase.Atoms` with the defect.
    """

    energy: float
    atoms: Any


def vacancy_energy(
    potential: Potential | Calculator, atoms: Any, *, index: int = 0, relaxed: bool = True, reservoir: float | None = None, tolerance: float = 1e-3
) -> Defect:
    r"""The energy to take an atom out of a crystal, in a cell that keeps its shape.

    .. math:: E_f = E_\text{defect} - E_\text{crystal} + \mu

    Args:
      potential: any potential, or a Calculator of one.
      atoms: `ase.Atoms`, a large periodic cell of the perfect crystal at its minimum.
      index: of the atom that leaves.
      relaxed: whether the others move to a minimum, from places rattled by 10⁻³ Å, since the ideal ones may be a saddle point.
      reservoir: energy of an atom of this element where it goes, in eV; None takes that of an atom in the crystal, of one element.
      tolerance: the largest force, in eV/Å.

    Raises:
      ValueError: for a crystal of several elements without `reservoir`.
      RuntimeError: where atoms do not relax.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> found = vacancy_energy(argon, bulk("Ar", a=5.3, cubic=True) * 2, relaxed=False)
      >>> 0.04 < found.energy < 0.1, len(found.atoms)
      (True, 31)
    """
    defective = atoms.copy()
    symbol = atoms.symbols[index]
    del defective[index]
    return _formed(potential, atoms, defective, +1, symbol, relaxed, reservoir, tolerance, "vacancy_energy")


def interstitial_energy(
    potential: Potential | Calculator,
    atoms: Any,
    position: Any,
    *,
    symbol: str | None = None,
    relaxed: bool = True,
    reservoir: float | None = None,
    tolerance: float = 1e-3,
) -> Defect:
    """The energy to put an atom into a crystal, in a cell that keeps its shape.

    Args:
      potential, atoms, relaxed, reservoir, tolerance: as of `vacancy_energy`.
      position: of the new atom, shape [3], in Å.
      symbol: of the new atom; None takes that of a crystal of one element.

    Raises:
      ValueError: for a crystal of several elements without `symbol` or `reservoir`.
      RuntimeError: where atoms do not relax.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> found = interstitial_energy(argon, bulk("Ar", a=5.3, cubic=True) * 2, [2.65, 0.0, 0.0], relaxed=False)
      >>> found.energy > 0.5
      True
    """
    if symbol is None:
        if len(set(atoms.symbols)) > 1:
            raise ValueError(f'interstitial_energy: a crystal of {sorted(set(atoms.symbols))}; write symbol="{atoms.symbols[0]}"')
        symbol = atoms.symbols[0]
    defective = atoms + Atoms(symbol, positions=[np.asarray(position, float)])
    return _formed(potential, atoms, defective, -1, symbol, relaxed, reservoir, tolerance, "interstitial_energy")


def energy_of(potential: Potential | Calculator, atoms: Any) -> float:
    """Of atoms as they are, in eV; what is not finite raises."""
    atoms = atoms.copy()
    atoms.calc = as_calculator(potential)
    return float(atoms.get_potential_energy())


def _formed(
    potential: Potential | Calculator,
    atoms: Any,
    defective: Any,
    gone: int,
    symbol: str,
    relaxed: bool,
    reservoir: float | None,
    tolerance: float,
    name: str,
) -> Defect:
    """The defect, with `gone` atoms given to the reservoir."""
    whole = energy_of(potential, atoms)
    if reservoir is None:
        if set(atoms.symbols) != {symbol}:
            raise ValueError(f"{name}: the energy of an atom of {symbol} is not that of an atom of {atoms.symbols}; write reservoir=<energy of one, in eV>")
        reservoir = whole / len(atoms)
    if not relaxed:
        return Defect(energy_of(potential, defective) - whole + gone * reservoir, defective)
    defective.rattle(1e-3, seed=1)
    found = relax(potential, defective, tolerance=tolerance)
    return Defect(found.energy - whole + gone * reservoir, found.atoms)
