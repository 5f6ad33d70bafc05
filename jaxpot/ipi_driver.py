"""i-PI: a potential as a driver.

    i-pi-py_driver -m custom -P $(python -c "import jaxpot.ipi_driver as d; print(d.__file__)") -a ADDRESS -u -o template=start.xyz,model=model.npz

The template has the elements, the periodicity and the order of the atoms; the model is a file of any format that jaxpot reads. i-PI's `ffdirect` takes the
same file as `pes_path`.
"""

from typing import Any

import ase.io
import numpy as np

from jaxpot.calculator import Calculator
from jaxpot.io.formats import read

__DRIVER_NAME__ = "jaxpot"
__DRIVER_CLASS__ = "Driver"


class Driver:
    """Energies, forces and virials for i-PI, in its units; what its `Dummy_driver` is.

    Args:
      template: a file with the atoms, in any format that ASE reads.
      model: a model file.
      charge: total charge, in e.
    """

    def __init__(self, template: str, model: str, charge: float = 0.0, **others: Any):
        self.atoms = ase.io.read(template)
        self.atoms.calc = Calculator(read(model), charge=float(charge))

    def compute(self, cell: Any, pos: Any) -> Any:
        """Of one structure, or of lists of them."""
        return list(map(self.compute_structure, cell, pos)) if isinstance(cell, list) else self.compute_structure(cell, pos)

    __call__ = compute

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, str]:
        """Of a cell whose columns are lattice vectors, and positions [N, 3]."""
        from ipi.utils.units import unit_to_internal, unit_to_user

        atoms = self.atoms
        if atoms.pbc.any():
            atoms.cell[:] = unit_to_user("length", "angstrom", cell.T)
        atoms.positions[:] = unit_to_user("length", "angstrom", np.reshape(pos, (-1, 3)))
        energy = unit_to_internal("energy", "electronvolt", atoms.get_potential_energy())
        forces = unit_to_internal("force", "ev/ang", atoms.get_forces())
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False) if atoms.pbc.any() else np.zeros((3, 3))
        return energy, forces, unit_to_internal("energy", "electronvolt", virial), ""
