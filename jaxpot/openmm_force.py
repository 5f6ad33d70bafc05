"""OpenMM: a potential as a `PythonForce`."""

from typing import Any

import numpy as np

from jaxpot.calculator import Calculator
from jaxpot.checks import optional
from jaxpot.potentials.base import Potential
from jaxpot.units import KJ_PER_MOL

_NANOMETRE = 10.0  # Å


def openmm_force(potential: Potential, atoms: Any, *, skin: float = 0.5, charge: float = 0.0) -> Any:
    """What an `openmm.System` takes by `addForce`: energy and forces of a potential for its particles.

    Args:
      potential: any potential.
      atoms: `ase.Atoms` with the elements of the particles, in their order, and the periodicity; where they are and the cell come from OpenMM.
      skin: of the neighbour list, in Å.
      charge: total charge, in e.

    Returns:
      An `openmm.PythonForce`. To act on some of the particles of a system write `force.setParticles(numbers)`.

    Raises:
      ImportError: without OpenMM (8.4 or newer).
      ValueError: for atoms that are periodic in some directions only.
    """
    openmm = optional("openmm", "openmm_force", "drivers")
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(f"openmm_force: atoms.pbc is {atoms.pbc.tolist()}; OpenMM is periodic in all directions or in none")
    moving = atoms.copy()
    moving.calc = Calculator(potential, skin=skin, charge=charge)

    def computed(state: Any) -> tuple[float, np.ndarray]:
        """In kJ/mol and kJ/mol/nm."""
        if moving.pbc.any():
            moving.cell[:] = _NANOMETRE * np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value)
        moving.positions[:] = _NANOMETRE * np.asarray(state.getPositions(asNumpy=True)._value)
        return moving.get_potential_energy() / KJ_PER_MOL, moving.get_forces() * _NANOMETRE / KJ_PER_MOL

    force = openmm.PythonForce(computed)
    force.setUsesPeriodicBoundaryConditions(bool(moving.pbc.any()))
    return force
