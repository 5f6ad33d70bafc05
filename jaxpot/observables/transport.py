"""Viscosity and thermal conductivity from fluctuations in equilibrium, by Green and Kubo."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxpot.observables.correlations import correlation, in_blocks, of_blocks, running_integral
from jaxpot.units import BOLTZMANN

Array = jax.Array

_MILLIPASCAL_SECOND = 1.602176634e-1  # of 1 eV fs/Å³
_WATT_PER_METRE_KELVIN = 1.602176634e6  # of 1 eV/(fs Å K)


class GreenKubo(NamedTuple):
    """A transport coefficient as it grows with the time up to which correlations are integrated; it is read off where it no longer does.

    Args:
      times: shape [L], in fs.
      correlation: of the fluxes, shape [L].
      value: shape [L].
      error: standard error of the value, from how the blocks differ, shape [L]; it grows as the root of the time.
    """

    times: Array
    correlation: Array
    value: Array
    error: Array


def viscosity(
    stresses: jax.typing.ArrayLike, interval: float, *, temperature: float | Array, volume: float | Array, length: int, blocks: int = 5
) -> GreenKubo:
    r"""The shear viscosity, from how the stress fluctuates in a cell of constant shape.

    .. math:: \eta = \frac{V}{10\, k T} \int_0^\infty \langle \sigma'(0) : \sigma'(t) \rangle\, dt

    σ' is the symmetric part without trace, all of whose five numbers serve in an isotropic liquid.

    Args:
      stresses: of `stress`, kinetic part included, shape [T, 3, 3], in eV/Å³.
      interval: between two steps, in fs, short against the correlations.
      temperature: in K.
      volume: in Å³.
      length: L, how many lags.
      blocks: of the trajectory, each of which has its integral.

    Returns:
      η in mPa s up to every lag; its correlation is of σ' : σ', in eV²/Å⁶.

    Raises:
      ValueError: where a block has fewer steps than lags.

    Example:
      >>> stresses = 1e-4 * jax.random.normal(jax.random.key(0), (100, 3, 3))
      >>> viscosity(stresses, 2.0, temperature=85.0, volume=4e4, length=10).value.shape
      (10,)
    """
    stresses = jnp.asarray(stresses)
    _check("viscosity", stresses, (3, 3))
    symmetric = 0.5 * (stresses + jnp.swapaxes(stresses, 1, 2))
    shear = symmetric - jnp.trace(symmetric, axis1=1, axis2=2)[:, None, None] / 3 * jnp.eye(3, dtype=stresses.dtype)[None]
    factor = _MILLIPASCAL_SECOND * volume / (10 * BOLTZMANN * temperature)
    return _green_kubo("viscosity", shear.reshape(-1, 9), interval, factor, length, blocks)


def thermal_conductivity(
    fluxes: jax.typing.ArrayLike, interval: float, *, temperature: float | Array, volume: float | Array, length: int, blocks: int = 5
) -> GreenKubo:
    r"""The thermal conductivity of a substance of one element, from how the heat flux fluctuates.

    .. math:: \kappa = \frac{1}{3\, V k T^2} \int_0^\infty \langle J(0) \cdot J(t) \rangle\, dt

    The whole must not drift. In mixtures that diffuse heat and matter flow together, and this is not what is measured.

    Args:
      fluxes: of `heat_flux`, shape [T, 3], in eV Å/fs.
      interval: between two steps, in fs, short against the correlations.
      temperature: in K.
      volume: in Å³.
      length: L, how many lags.
      blocks: of the trajectory, each of which has its integral.

    Returns:
      κ in W/(m K) up to every lag; its correlation is of J · J, in eV² Å²/fs².

    Raises:
      ValueError: where a block has fewer steps than lags.

    Example:
      >>> fluxes = 1e-3 * jax.random.normal(jax.random.key(0), (100, 3))
      >>> thermal_conductivity(fluxes, 2.0, temperature=85.0, volume=4e4, length=10).value.shape
      (10,)
    """
    fluxes = jnp.asarray(fluxes)
    _check("thermal_conductivity", fluxes, (3,))
    factor = _WATT_PER_METRE_KELVIN / (3 * volume * BOLTZMANN * temperature**2)
    return _green_kubo("thermal_conductivity", fluxes, interval, factor, length, blocks)


def _check(name: str, values: Array, shape: tuple[int, ...]) -> None:
    if values.shape[1:] != shape:
        raise ValueError(f"{name}: expected shape [T, {', '.join(map(str, shape))}], got {values.shape}")


def _green_kubo(name: str, values: Array, interval: float, factor: Array, length: int, blocks: int) -> GreenKubo:
    """The running integral of the autocorrelation of values [T, C], summed over C, times a factor."""
    parts = in_blocks(values, blocks, name, least=length)
    found = jax.lax.map(lambda part: jnp.sum(correlation(part, length=length), axis=1), parts)
    value, error = of_blocks(factor * running_integral(found.T, interval).T)
    return GreenKubo(interval * jnp.arange(length), jnp.mean(found, axis=0), value, error)
