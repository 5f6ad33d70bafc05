"""Minima of the energy, searched on the host: neighbour lists follow the atoms."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpot.calculator import Calculator, as_calculator
from jaxpot.checks import optional
from jaxpot.graph import Graph, from_atoms
from jaxpot.potentials.base import Potential
from jaxpot.units import GPA

Array = jax.Array

SKIN = 0.5  # Å; of the lists that a minimum is given, so that it may move


class Relaxation(NamedTuple):
    """A minimum, to within the tolerance that was asked for.

    Args:
      atoms: `ase.Atoms`, without a calculator.
      graph: the same with neighbour lists that reach 0.5 Å farther than the potential, as `minimum` wants it.
      energy: in eV.
      force: the largest on an atom that may move, in eV/Å.
      stress: the largest entry of the stress less what the pressure makes, in GPa; None where the cell was kept.
      steps: how many.
    """

    atoms: Any
    graph: Graph
    energy: float
    force: float
    stress: float | None
    steps: int


def relax(
    potential: Potential | Calculator,
    atoms: Any,
    *,
    cell: bool = False,
    pressure: float = 0.0,
    symmetric: bool = False,
    tolerance: float = 1e-4,
    most: int = 1000,
    charge: float = 0.0,
) -> Relaxation:
    """Atoms, and on request the cell, moved to a minimum of energy or enthalpy, by ASE's LBFGS.

    From a start of high symmetry the search keeps it and may end at a saddle point: phonons tell, and `atoms.rattle(1e-3)` breaks it.

    Args:
      potential: any potential, or a Calculator of one, such as one whose `max_atoms` lets structures of many sizes share what is compiled.
      atoms: `ase.Atoms`, which stay as they are; their constraints hold.
      cell: whether the cell moves too; the structure must be periodic in all directions.
      pressure: from outside, in GPa.
      symmetric: whether the space group of the start is kept (by ASE's FixSymmetry, which needs spglib).
      tolerance: the largest force at the end, in eV/Å; of the cell the stress times the volume per atom, per Å.
      most: steps.
      charge: total charge, in e; a Calculator has its own.

    Returns:
      The minimum.

    Raises:
      RuntimeError: where it was not reached; no number is returned then.
      ValueError: for a cell that cannot move, a pressure on a cell that does not, a tolerance that is not positive, or a charge
        beside a Calculator.
      ImportError: without spglib, if symmetry is to be kept.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> found = relax(argon, bulk("Ar", a=5.4, cubic=True), cell=True)
      >>> bool(found.force < 1e-4), bool(5.2 < found.atoms.cell[0, 0] < 5.4)
      (True, True)
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    if not tolerance > 0:
        raise ValueError(f"relax: tolerance must be a positive number of eV/Å, got {tolerance}")
    if cell and not np.all(atoms.pbc):
        raise ValueError(f"relax: the cell moves only if all its directions are periodic, got pbc = {np.asarray(atoms.pbc).tolist()}; write cell=False")
    if pressure and not cell:
        raise ValueError(f"relax: a pressure of {pressure} GPa acts on the cell; write cell=True")
    atoms = atoms.copy()
    if symmetric:
        optional("spglib", "relax(symmetric=True)", "properties")
        from ase.constraints import FixSymmetry

        atoms.set_constraint([*atoms.constraints, FixSymmetry(atoms)])
    calculator = as_calculator(potential, charge)
    atoms.calc = calculator
    moving = FrechetCellFilter(atoms, scalar_pressure=pressure * GPA) if cell else atoms
    search = LBFGS(moving, logfile=None)
    done = search.run(fmax=tolerance, steps=most)
    force = float(np.max(np.linalg.norm(atoms.get_forces(), axis=1)))
    stress = None
    if cell:
        stress = float(np.max(np.abs(atoms.get_stress(voigt=False) + pressure * GPA * np.eye(3)))) / GPA
    if not done:
        of_cell = "" if stress is None else f" and the stress {stress:.3g} GPa from the pressure"
        raise RuntimeError(
            f"relax: no minimum after {search.nsteps} steps: the largest force is {force:.3g} eV/Å{of_cell}, expected at most {tolerance:g} eV/Å; "
            f"write most={10 * most}, a larger tolerance, or begin with another structure"
        )
    energy = float(atoms.get_potential_energy())
    atoms.calc = None
    graph = from_atoms(atoms, float(calculator.potential.reach) + SKIN, charge=calculator.outer["charge"])
    return Relaxation(atoms, graph, energy, force, stress, search.nsteps)
