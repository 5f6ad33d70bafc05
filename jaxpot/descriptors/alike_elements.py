"""Channels of neighbour densities in which elements are alike, but for small differences that their places in the periodic table say."""

import numpy as np

from jaxpot.checks import species_tuple


def element_channels(species: tuple[str, ...], n: int = 3, difference: float = 0.3) -> np.ndarray:
    r"""What neighbours of every element add to few channels, shape [S, min(n, S)], for `Density.channels`.

    In the first channel all elements count alike. The others are the principal axes of period, group and covalent radius of these elements, with mean
    square `difference`² each; where the properties say less than so many axes, the rest are any that tell the elements apart. With a prior of equal
    coefficients, functions that tell elements apart are smaller a priori by `difference` for every factor, so combinations of elements that the data
    never had are predicted from those that they had. As many channels as elements span what one channel for every element does.

    Args:
      species: chemical symbols.
      n: number of channels, at least 1.
      difference: root mean square of the channels that tell elements apart, over that of the first.

    Raises:
      ValueError: for unknown species, no channel, or a difference that is not positive.

    Example:
      >>> element_channels(("Na", "K"), difference=0.3).round(3).tolist()
      [[1.0, -0.3], [1.0, 0.3]]
      >>> element_channels(("Mo", "Nb", "Ta", "W")).shape
      (4, 3)
    """
    species = species_tuple(species, "element_channels")
    if not (isinstance(n, int) and n >= 1 and difference > 0):
        raise ValueError(f"element_channels: expected n ≥ 1 and a difference > 0, got {n!r} and {difference!r}")
    n_axes = min(n, len(species)) - 1
    ones = np.ones((len(species), 1))
    if not n_axes:
        return ones
    properties = _properties(species)
    centred = properties - properties.mean(axis=0)
    spread = np.sqrt(np.mean(centred**2, axis=0))
    centred = centred / np.where(spread > 1e-9, spread, 1.0)
    # what the properties do not tell apart, the order of the elements does, far weaker
    order = np.linalg.qr(np.column_stack([ones, np.vander(np.arange(len(species)), increasing=True)[:, 1:]]))[0][:, 1:]
    axes = np.linalg.svd(np.column_stack([centred, 1e-6 * order]), full_matrices=False)[0][:, :n_axes]
    largest = np.argmax(np.abs(axes) > 0.99 * np.abs(axes).max(axis=0), axis=0)
    axes = axes * np.sign(axes[largest, np.arange(n_axes)]) * np.where(largest == 0, -1.0, 1.0)  # so that signs do not depend on the machine
    return np.column_stack([ones, difference * np.sqrt(len(species)) * axes])


def _properties(species: tuple[str, ...]) -> np.ndarray:
    """Period, group and covalent radius in Å, shape [S, 3]."""
    from ase.data import atomic_numbers, covalent_radii

    noble = np.array([0, 2, 10, 18, 36, 54, 86, 118])
    rows = []
    for z in (atomic_numbers[symbol] for symbol in species):
        period = int(np.searchsorted(noble, z))
        first, last = z - noble[period - 1], noble[period] - z
        group = 18 if last == 0 else first if first <= 2 else max(18 - last, 3)  # all f elements are in the third
        rows.append((period, group, covalent_radii[z]))
    return np.array(rows, float)
