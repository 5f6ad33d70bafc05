"""Densities of any radial functions as those of .yace files, for `jaxpot.io.yace_writer`."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.density import Density
from jaxpot.radial.base import chebyshev_nodes
from jaxpot.radial.pace import ChebExpCos

Array = jax.Array

_SIZES = (16, 24, 32, 48, 64, 96)  # numbers of functions that are tried
_DECAYS = (1.0, 2.0)  # and λ, of which one or the other needs fewer functions
_GOOD = 1e-10  # of the largest slope; the tables of LAMMPS and python-ace are not better
_MOST = 1e-6
_DISTANCES = 4000  # at which functions are compared


def as_bonds(density: Density) -> tuple[BondDensity, str]:
    """A density as one of bonds with trainable radial functions, and what the file says of its error.

    Every radial function with its cutoff is a sum of ChebExpCos, which interpolates it over the cosine at Chebyshev nodes from 0 to the
    reach, so that the file holds at all distances.

    Args:
      density: of one channel for every element, without a centre of its own.

    Raises:
      ValueError: for elements that share channels, a centre, and functions that are not smooth enough.
    """
    s, name = len(density.species), f"{type(density.radial).__name__} with {type(density.cutoff).__name__}"
    if s > 1 and (density.channels is not None or density.mixing is not None):
        raise ValueError("write_yace: .yace files have one channel for every element; leave out channels and mixing, or use BondDensity(mixing=...)")
    if density.holds_center and np.any(np.asarray(density.center_weight) != 0):
        raise ValueError("write_yace: .yace files have no density at the centre of an atom; write center_weight=0.0 and fit again")
    require_x64("write_yace of other radial functions than those of pacemaker")
    radius, n = float(density.reach), density.n_channels // s

    @jax.jit
    def functions(r: Array) -> tuple[Array, Array]:
        """Values with the cutoff and slopes, of a neighbour of the first element, [K] Å -> [K, L, n] each."""

        def values(r: Array) -> Array:
            found = density.channel_functions(jnp.zeros(len(r), int), density.radial_functions(r)) * density.weight()(r)[:, None, None]
            return jnp.broadcast_to(found[:, :, :n], (len(r), density.l_max + 1, n))

        return jax.jvp(values, (r,), (jnp.ones_like(r),))

    tried = [(size, decay) for size in _SIZES for decay in _DECAYS]
    r = np.linspace(0, radius, _DISTANCES + 1)[1:-1]
    values, slopes = (np.asarray(x) for x in functions(jnp.concatenate([r, *(_nodes(*each, radius) for each in tried)])))  # compiled once
    at_nodes = np.split(values[len(r) :], np.cumsum([size for size, _ in tried])[:-1])
    found = []
    for (size, decay), own in zip(tried, at_nodes, strict=True):
        series = _series(own, _nodes(size, decay, radius), radius)
        value, slope = (_error(*pair) for pair in zip(_sums(series, r, decay, radius), (values[: len(r)], slopes[: len(r)]), strict=True))
        found.append((max(slope, _GOOD), size, decay, value, slope, series))
    _, size, decay, value, slope, series = min(found, key=lambda each: each[:3])  # the fewest that are good, or the best
    text = f"{name} from 0 to {radius:.6g} Å as {size} ChebExpCos: off by {value:.1e} of the largest value, {slope:.1e} of the largest slope"
    if not max(value, slope) <= _MOST:
        raise ValueError(
            f"write_yace: {text}; expected at most {_MOST:.0e}: functions with a plateau or an inner end are not smooth enough, write a cutoff such as "
            f"PowerCutoff({radius:.6g}) or CosineCutoff({radius:.6g}) and fit again"
        )
    if slope > 10 * _GOOD:
        warnings.warn(f"write_yace: {text}", stacklevel=4)
    table = -2 * series  # g_t is (1 − T_t)/2 under the cosine, and g_0 the cosine
    table[0] = np.sum(series, axis=0)
    mixing = np.broadcast_to(table.transpose(1, 0, 2), (s, s, density.l_max + 1, size, n))
    return BondDensity(density.species, radius, ChebExpCos(size, lam=decay), density.l_max, mixing=mixing), text


def _nodes(size: int, decay: float, radius: float) -> np.ndarray:
    """Distances whose x are Chebyshev nodes."""
    return -radius / decay * np.log1p(chebyshev_nodes(size)[0] * np.expm1(-decay))


def _series(values: np.ndarray, nodes: np.ndarray, radius: float) -> np.ndarray:
    """Chebyshev coefficients [size, L, n] of the functions over the cosine."""
    return np.einsum("tr,rln->tln", chebyshev_nodes(len(nodes))[1], values / np.cos(0.5 * np.pi * nodes / radius)[:, None, None] ** 2)


def _sums(series: np.ndarray, r: np.ndarray, decay: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the series under the cosine at r [R], [R, L, n] each."""
    y, end = np.exp(-decay * r / radius), np.exp(-decay)
    x, x_slope = 1 - 2 * (y - end) / (1 - end), 2 * decay / radius * y / (1 - end)
    cosine, cosine_slope = np.cos(0.5 * np.pi * r / radius) ** 2, -0.5 * np.pi / radius * np.sin(np.pi * r / radius)
    polynomials = np.polynomial.chebyshev
    # chebval puts the distances last
    value, slope = (np.moveaxis(polynomials.chebval(x, c), -1, 0) for c in (series, polynomials.chebder(series)))
    cosine, cosine_slope, x_slope = (each[:, None, None] for each in (cosine, cosine_slope, x_slope))
    return value * cosine, value * cosine_slope + slope * x_slope * cosine


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of any function, as a part of its largest value."""
    return float(np.max(np.max(np.abs(found - expected), axis=0) / np.maximum(np.max(np.abs(expected), axis=0), 1e-300)))
