"""What models say of crystals: minima, elastic constants, vibrations, defects; with gradients where a definition is smooth."""

from jaxpot.observables.anharmonic import grueneisen_parameters, thermal_expansion
from jaxpot.observables.barriers import MigrationPath, migration_path
from jaxpot.observables.defects import Defect, interstitial_energy, vacancy_energy
from jaxpot.observables.elasticity import Moduli, cubic_constants, elastic_constants, moduli
from jaxpot.observables.implicit import minimum
from jaxpot.observables.interfaces import PlanarDefect, interface_energy, stacking_fault_energy, surface_energy
from jaxpot.observables.lattice_waves import dynamical_matrices, frequencies, harmonic_free_energy
from jaxpot.observables.relaxation import Relaxation, relax
from jaxpot.observables.springs import force_constants, third_order_force_constants
from jaxpot.observables.vibrations import Phonons, ThermalProperties, phonons
from jaxpot.observables.volumes import EquationOfState, equation_of_state

__all__ = [
    "Defect", "EquationOfState", "MigrationPath", "Moduli", "Phonons", "PlanarDefect", "Relaxation", "ThermalProperties", "cubic_constants",
    "dynamical_matrices", "elastic_constants", "equation_of_state", "force_constants", "frequencies", "grueneisen_parameters",
    "harmonic_free_energy", "interface_energy", "interstitial_energy", "migration_path", "minimum", "moduli", "phonons", "relax",
    "stacking_fault_energy", "surface_energy", "thermal_expansion", "third_order_force_constants", "vacancy_energy",
]  # fmt: skip
