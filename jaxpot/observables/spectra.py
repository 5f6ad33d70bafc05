"""Spectra of motion: vibrational density of states, infrared absorption, Raman scattering; from trajectories, so of classical nuclei."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.signal import welch

from jaxpot.units import BOLTZMANN, COULOMB

Array = jax.Array

WAVENUMBER = 33.35640951981521  # 1/cm, of 1 THz
_LIGHT = 2997.92458  # Å/fs


class Spectrum(NamedTuple):
    """What a spectrum is at each frequency.

    Args:
      frequencies: shape [F], in THz; times `WAVENUMBER` in 1/cm.
      values: shape [F].
    """

    frequencies: Array
    values: Array


class Raman(NamedTuple):
    """Raman spectra of light polarised along and across that which comes in.

    Args:
      frequencies: shape [F], in THz.
      parallel: shape [F].
      perpendicular: shape [F].
    """

    frequencies: Array
    parallel: Array
    perpendicular: Array


def power_spectrum(series: jax.typing.ArrayLike, interval: float, *, segment: int) -> Spectrum:
    r"""The power of series at each frequency: the Fourier transform of their autocorrelation.

    .. math:: P(\nu) = 4 \int_0^\infty \langle a(0)\, a(t) \rangle \cos 2\pi\nu t\; dt, \qquad \int_0^\infty P\, d\nu = \langle a^2 \rangle

    By Welch's method: means over half-overlapping segments under Hann's window, whose lines are 1.5 / (segment · interval) wide.

    Args:
      series: a, shape [T, ...]; their means are not subtracted.
      interval: between two steps, in fs. Frequencies above 500/interval THz would appear at wrong places.
      segment: steps of a segment, static; shorter ones are less noisy and resolve less.

    Returns:
      P, shape [F, ...] with F = segment // 2 + 1, in the square of their unit per THz.

    Raises:
      ValueError: for a segment longer than the series.

    Example:
      >>> found = power_spectrum(jnp.sin(2 * jnp.pi * 0.01 * jnp.arange(2000.0)), 1.0, segment=1000)  # 10 THz
      >>> float(found.frequencies[jnp.argmax(found.values)]), round(float(jnp.sum(found.values) * found.frequencies[1]), 6)
      (10.0, 0.5)

    References:
      Welch, "The use of fast Fourier transform for the estimation of power spectra", IEEE Trans. Audio Electroacoust. 15, 70 (1967).
    """
    series = jnp.asarray(series)
    if isinstance(segment, bool) or not isinstance(segment, int) or not 4 <= segment <= len(series):
        raise ValueError(f"power_spectrum: segment must be from 4 to the {len(series)} steps there are, got {segment!r}")
    frequencies, power = welch(jnp.moveaxis(series, 0, -1), 1e3 / interval, nperseg=segment, detrend=False)
    return Spectrum(frequencies, jnp.moveaxis(power, -1, 0))


def vibrational_density(velocities: jax.typing.ArrayLike, masses: jax.typing.ArrayLike, interval: float, *, segment: int) -> Spectrum:
    r"""The vibrational density of states: the power of the velocities, weighted by masses.

    .. math:: D(\nu) \propto \sum_i m_i \int_0^\infty \langle v_i(0) \cdot v_i(t) \rangle \cos 2\pi\nu t\; dt, \qquad \int_0^\infty D\, d\nu = 1

    It holds for any motion; of harmonic vibrations in equilibrium it counts their modes, and 3N D is their number per THz.

    Args:
      velocities: of the atoms that count, shape [T, N, 3], in Å/fs; of `velocities_of`.
      masses: of these, shape [N], in amu.
      interval: between two steps, in fs.
      segment: as of `power_spectrum`.

    Returns:
      D, shape [F], in 1/THz.

    Example:
      >>> v = jnp.cos(2 * jnp.pi * 0.01 * jnp.arange(2000.0))[:, None, None] * jnp.ones((1, 1, 3))  # 10 THz
      >>> found = vibrational_density(v, [12.0], 1.0, segment=1000)
      >>> float(found.frequencies[jnp.argmax(found.values)])
      10.0
    """
    frequencies, power = power_spectrum(velocities, interval, segment=segment)
    power = jnp.sum(power * jnp.asarray(masses)[None, :, None], axis=(1, 2))
    return Spectrum(frequencies, power / (jnp.sum(power) * frequencies[1]))


def infrared(dipoles: jax.typing.ArrayLike, interval: float, *, temperature: float | Array, volume: float | Array, segment: int) -> Spectrum:
    r"""The infrared absorption, from how the dipole fluctuates.

    .. math:: n(\nu)\, \alpha(\nu) = \frac{1}{6 c \epsilon_0 V k T} \int_{-\infty}^{\infty} \langle \dot\mu(0) \cdot \dot\mu(t) \rangle \cos 2\pi\nu t\; dt

    with n the index of refraction. Nuclei are classical, and so is the line.

    Args:
      dipoles: of the cell, shape [T, 3], in e·Å; in a crystal without jumps from one branch to another.
      interval: between two steps, in fs.
      temperature: in K.
      volume: of the cell, or of what one molecule of a gas has, in Å³.
      segment: as of `power_spectrum`.

    Returns:
      n·α, shape [F], in 1/cm; it is summed over frequencies as :math:`\int n \alpha\, d\nu = q^2 / (4 c \epsilon_0 m V)` for each charge q of mass m
      on a spring.

    Example:
      >>> dipoles = jnp.sin(2 * jnp.pi * 0.01 * jnp.arange(2000.0))[:, None] * jnp.ones(3)
      >>> found = infrared(dipoles, 1.0, temperature=300.0, volume=1000.0, segment=1000)
      >>> float(found.frequencies[jnp.argmax(found.values)])
      10.0
    """
    frequencies, power = _of_rates(dipoles, interval, segment)
    both_sides = 0.5e3 * jnp.sum(power, axis=1)  # of the integral over all times, in (e Å/fs)² fs
    return Spectrum(frequencies, 1e8 * 4 * jnp.pi * COULOMB / (6 * _LIGHT * volume * BOLTZMANN * temperature) * both_sides)


def raman(polarizabilities: jax.typing.ArrayLike, interval: float, *, segment: int) -> Raman:
    r"""Raman spectra of a sample without orientation, from how the polarizability fluctuates.

    .. math:: I_\parallel = P[\dot{\bar\alpha}] + \tfrac{2}{15} P[\dot\beta], \qquad I_\perp = \tfrac{1}{10} P[\dot\beta], \qquad
       \bar\alpha = \tfrac13 \operatorname{tr} \alpha, \quad \beta = \alpha - \bar\alpha\, 1

    P are powers, of β of all nine numbers. Factors of the light that comes in, and of quantum occupation, are left out.

    Args:
      polarizabilities: shape [T, 3, 3], in Å³, as of `Polarizability` models.
      interval: between two steps, in fs.
      segment: as of `power_spectrum`.

    Returns:
      Both spectra, in (Å³/fs)² per THz.

    Example:
      >>> wave = jnp.sin(2 * jnp.pi * 0.01 * jnp.arange(2000.0))
      >>> found = raman(wave[:, None, None] * jnp.eye(3), 1.0, segment=1000)
      >>> float(found.frequencies[jnp.argmax(found.parallel)]), bool(jnp.max(found.perpendicular) < 1e-20)
      (10.0, True)

    References:
      Gordon, "Correlation functions for molecular motion", Adv. Magn. Reson. 3, 1 (1968).
    """
    tensors = jnp.asarray(polarizabilities)
    mean = jnp.trace(tensors, axis1=1, axis2=2) / 3
    frequencies, of_mean = _of_rates(mean, interval, segment)
    _, of_rest = _of_rates(tensors - mean[:, None, None] * jnp.eye(3, dtype=tensors.dtype)[None], interval, segment)
    of_rest = jnp.sum(of_rest, axis=(1, 2))
    return Raman(frequencies, of_mean + 2 / 15 * of_rest, of_rest / 10)


def _of_rates(series: jax.typing.ArrayLike, interval: float, segment: int) -> Spectrum:
    """The power of how fast series change, from that of their fluctuations, in the square of their unit per fs² and THz."""
    series = jnp.asarray(series)
    frequencies, power = power_spectrum(series - jnp.mean(series, axis=0, keepdims=True), interval, segment=segment)
    turns = (2 * jnp.pi * 1e-3 * frequencies) ** 2
    return Spectrum(frequencies, power * turns.reshape(-1, *(1,) * (power.ndim - 1)))
