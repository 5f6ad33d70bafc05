"""Plots of what simulations show, with their units."""

import itertools
from typing import Any

import jax
import numpy as np

from jaxpot.observables.dimers import pair_curves
from jaxpot.observables.spectra import Spectrum
from jaxpot.observables.transport import GreenKubo
from jaxpot.potentials.base import Potential

Array = jax.Array


def plot_pair_distribution(radii: jax.typing.ArrayLike, g: jax.typing.ArrayLike, species: tuple[str, ...]) -> Any:
    """Pair distributions [S, S, R] of `pair_distribution` at radii [R] in Å.

    Returns:
      A matplotlib Figure; write `figure.savefig("pairs.png")`.

    Example:
      >>> plot_pair_distribution([1.0, 2.0], np.ones((1, 1, 2)), ("Ar",)).axes[0].get_xlabel()
      'r (Å)'
    """
    return _curves(radii, _of_pairs(g, species), "r (Å)", "g(r)")


def plot_pairs(potential: Potential, radii: jax.typing.ArrayLike | None = None, *, highest: float = 10.0) -> Any:
    """Energies of two atoms by their distance, of every pair of elements, likewise.

    Args:
      potential: any potential.
      radii: distances in Å, shape [R]; None takes 200 from 0.5 Å to the reach, or to 8 Å where that is longer.
      highest: upper end of the axis, in eV; the lower one follows the curves.
    """
    radii = np.linspace(0.5, min(float(potential.reach) or 8.0, 8.0), 200) if radii is None else np.asarray(radii)
    curves = pair_curves(potential, radii)
    figure = _curves(radii, curves, "distance (Å)", "energy of two atoms (eV)")
    lowest = min((np.min(curve[np.isfinite(curve)], initial=0.0) for curve in curves.values()), default=0.0)
    figure.axes[0].set_ylim(max(1.1 * lowest, -10 * highest) - 0.02 * highest, highest)
    return figure


def plot_structure_factor(q: jax.typing.ArrayLike, partials: jax.typing.ArrayLike, species: tuple[str, ...]) -> Any:
    """Partial structure factors [S, S, Q] of `structure_factor` at q [Q] in 1/Å, likewise."""
    return _curves(q, _of_pairs(partials, species), "q (1/Å)", "S(q)")


def plot_angle_distribution(angles: jax.typing.ArrayLike, distribution: jax.typing.ArrayLike, species: tuple[str, ...]) -> Any:
    """Angle distributions [S, S, S, A] of `angle_distribution` at angles [A] in radian, likewise; the element of the centre stands in the middle."""
    distribution = np.asarray(distribution)
    triples = [(a, b, c) for a in range(len(species)) for b, c in itertools.combinations_with_replacement(range(len(species)), 2)]
    curves = {f"{species[b]}–{species[a]}–{species[c]}": distribution[a, b, c] for a, b, c in triples if np.all(np.isfinite(distribution[a, b, c]))}
    return _curves(np.degrees(angles), curves, "angle (degrees)", "density (1/rad)")


def plot_mean_square_displacement(times: jax.typing.ArrayLike, displacements: dict[str, jax.typing.ArrayLike]) -> Any:
    """Mean square displacements [L] in Å² by name, such as the element, at times [L] in fs, likewise."""
    return _curves(1e-3 * np.asarray(times), displacements, "time (ps)", "mean square displacement (Å²)")


def plot_spectrum(spectrum: Spectrum, quantity: str) -> Any:
    """A spectrum over its frequencies, likewise.

    Args:
      spectrum: of `vibrational_density` or `infrared`.
      quantity: what it is, with its unit, such as "absorption (1/cm)".
    """
    return _curves(spectrum.frequencies, {"": spectrum.values}, "frequency (THz)", quantity)


def plot_green_kubo(found: GreenKubo, quantity: str) -> Any:
    """A transport coefficient as it grows with the time of integration, with its error, likewise.

    Args:
      found: of `viscosity` or `thermal_conductivity`.
      quantity: what it is, with its unit, such as "viscosity (mPa s)".
    """
    times, value, error = 1e-3 * np.asarray(found.times), np.asarray(found.value), np.asarray(found.error)
    figure = _curves(times, {"": value}, "time of integration (ps)", quantity)
    figure.axes[0].fill_between(times, value - error, value + error, alpha=0.3)
    return figure


def _of_pairs(values: jax.typing.ArrayLike, species: tuple[str, ...]) -> dict[str, np.ndarray]:
    values = np.asarray(values)
    return {f"{species[a]}–{species[b]}": values[a, b] for a, b in itertools.combinations_with_replacement(range(len(species)), 2)}


def _curves(x: jax.typing.ArrayLike, curves: dict[str, jax.typing.ArrayLike], across: str, up: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axis = figure.subplots()
    for name, y in curves.items():
        axis.plot(np.asarray(x), np.asarray(y), label=name or None)
    axis.set(xlabel=across, ylabel=up)
    if any(curves):
        axis.legend(frameon=False)
    return figure
