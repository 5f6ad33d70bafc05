"""What simulations show: functions of states, pure and differentiable, each with its unit."""

from jaxpot.observables.angles import angle_distribution
from jaxpot.observables.correlations import Estimate, block_average, correlation
from jaxpot.observables.displacements import (
    SQUARE_CENTIMETRES_PER_SECOND,
    diffusion,
    mean_square_displacement,
    unwrapped,
    velocities_of,
    velocity_autocorrelation,
)
from jaxpot.observables.heat import heat_flux
from jaxpot.observables.pairs import concentrations, coordination, pair_distribution
from jaxpot.observables.plots import (
    plot_angle_distribution,
    plot_green_kubo,
    plot_mean_square_displacement,
    plot_pair_distribution,
    plot_spectrum,
    plot_structure_factor,
)
from jaxpot.observables.scattering import scattering_total, structure_factor, structure_factor_of_pairs, wave_vectors
from jaxpot.observables.spectra import WAVENUMBER, Raman, Spectrum, infrared, power_spectrum, raman, vibrational_density
from jaxpot.observables.stresses import pressure, stress, thermal_pressure
from jaxpot.observables.transport import GreenKubo, thermal_conductivity, viscosity

__all__ = [
    "SQUARE_CENTIMETRES_PER_SECOND", "WAVENUMBER", "Estimate", "GreenKubo", "Raman", "Spectrum", "angle_distribution", "block_average",
    "concentrations", "coordination", "correlation", "diffusion", "heat_flux", "infrared", "mean_square_displacement", "pair_distribution",
    "plot_angle_distribution", "plot_green_kubo", "plot_mean_square_displacement", "plot_pair_distribution", "plot_spectrum",
    "plot_structure_factor", "power_spectrum", "pressure", "raman", "scattering_total", "stress", "structure_factor",
    "structure_factor_of_pairs", "thermal_conductivity", "thermal_pressure", "unwrapped", "velocities_of", "velocity_autocorrelation",
    "vibrational_density", "viscosity", "wave_vectors",
]  # fmt: skip
