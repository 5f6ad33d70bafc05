"""What simulations and models show, each with its unit: functions of states, pure and differentiable; and of crystals minima, constants, waves, defects."""

from jaxpot.observables.angles import angle_distribution
from jaxpot.observables.anharmonic import grueneisen_parameters, thermal_expansion
from jaxpot.observables.barriers import MigrationPath, migration_path
from jaxpot.observables.correlations import Estimate, block_average, correlation
from jaxpot.observables.defects import Defect, interstitial_energy, vacancy_energy
from jaxpot.observables.dimers import pair_curves
from jaxpot.observables.displacements import (
    SQUARE_CENTIMETRES_PER_SECOND,
    diffusion,
    mean_square_displacement,
    unwrapped,
    velocities_of,
    velocity_autocorrelation,
)
from jaxpot.observables.elasticity import Moduli, cubic_constants, elastic_constants, moduli
from jaxpot.observables.heat import heat_flux
from jaxpot.observables.implicit import minimum
from jaxpot.observables.interfaces import PlanarDefect, grain_boundary_energy, interface_energy, stacking_fault_energy, surface_energy
from jaxpot.observables.lattice_waves import dynamical_matrices, frequencies, harmonic_free_energy
from jaxpot.observables.pairs import concentrations, coordination, pair_distribution
from jaxpot.observables.plots import (
    plot_angle_distribution,
    plot_green_kubo,
    plot_mean_square_displacement,
    plot_pair_distribution,
    plot_pairs,
    plot_spectrum,
    plot_structure_factor,
)
from jaxpot.observables.relaxation import Relaxation, relax
from jaxpot.observables.scattered_phonons import LatticeConductivity, lattice_conductivity
from jaxpot.observables.scattering import scattering_total, structure_factor, structure_factor_of_pairs, wave_vectors
from jaxpot.observables.spectra import WAVENUMBER, Raman, Spectrum, infrared, power_spectrum, raman, vibrational_density
from jaxpot.observables.springs import force_constants, third_order_force_constants
from jaxpot.observables.stresses import pressure, stress, thermal_pressure
from jaxpot.observables.transport import GreenKubo, thermal_conductivity, viscosity
from jaxpot.observables.vibrations import Phonons, ThermalProperties, phonons
from jaxpot.observables.volumes import EquationOfState, equation_of_state

__all__ = [
    "SQUARE_CENTIMETRES_PER_SECOND", "WAVENUMBER", "Defect", "EquationOfState", "Estimate", "GreenKubo", "LatticeConductivity", "MigrationPath",
    "Moduli", "Phonons", "PlanarDefect", "Raman", "Relaxation", "Spectrum", "ThermalProperties", "angle_distribution", "block_average",
    "concentrations", "coordination", "correlation", "cubic_constants", "diffusion", "dynamical_matrices", "elastic_constants", "equation_of_state",
    "force_constants", "frequencies", "grain_boundary_energy", "grueneisen_parameters", "harmonic_free_energy", "heat_flux", "infrared",
    "interface_energy", "interstitial_energy", "lattice_conductivity", "mean_square_displacement", "migration_path", "minimum", "moduli",
    "pair_curves", "pair_distribution", "phonons", "plot_angle_distribution", "plot_green_kubo", "plot_mean_square_displacement",
    "plot_pair_distribution", "plot_pairs", "plot_spectrum", "plot_structure_factor", "power_spectrum", "pressure", "raman", "relax",
    "scattering_total", "stacking_fault_energy", "stress", "structure_factor", "structure_factor_of_pairs", "surface_energy", "thermal_conductivity",
    "thermal_expansion", "thermal_pressure", "third_order_force_constants", "unwrapped", "vacancy_energy", "velocities_of",
    "velocity_autocorrelation", "vibrational_density", "viscosity", "wave_vectors",
]  # fmt: skip
