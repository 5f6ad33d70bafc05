"""Models of LAMMPS' pair_style mliap on the descriptors of SNAP: linear ones and neural networks."""

import itertools
from pathlib import Path

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.heads.mlp import MLP
from jaxpot.io.snap import bispectrum_of, linear_potential, lines_of, settings_of, two_integers
from jaxpot.io.text import number
from jaxpot.math import activations
from jaxpot.math.activations import Activation
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Potential

_ACTIVATIONS: dict[str, type[Activation]] = {
    "linear": activations.Identity, "sigmoid": activations.Logistic, "tanh": activations.Tanh, "relu": activations.ReLU,
}  # fmt: skip


def read_mliap(model: str | Path, descriptor: str | Path) -> Potential:
    """A potential of pair_style mliap, `model linear` or `model nn` with `descriptor sna`.

    Args:
      model: the .mliap.model file; one with a line NET is a neural network.
      descriptor: the .mliap.descriptor file.

    Returns:
      Of a linear model the Sum that `jaxpot.io.snap.read_snap` returns, of a network an AtomicPotential(Bispectrum, MLP). All real numbers are
      leaves.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: for keys of other descriptors and unknown activations, named; for numbers that are missing, too many, or not finite.

    References:
      Thompson et al., "LAMMPS - a flexible simulation tool for particle-based materials modeling at the atomic, meso, and continuum
      scales", Comput. Phys. Commun. 271, 108171 (2022), and its documentation of pair_style mliap.
    """
    path, settings = Path(model), settings_of(Path(descriptor), mliap=True)
    lines = lines_of(path)
    n_elements, n_each = two_integers(lines, path)
    species = tuple(settings["elems"])
    radii, weights = ([number(x, Path(descriptor)) for x in settings[key]] for key in ("radelems", "welems"))
    if not len(species) == len(radii) == len(weights) == n_elements == int(settings["nelems"][0]):
        raise ValueError(f"{path} and {descriptor}: elems, radelems and welems must name {n_elements} elements, as nelems and the model do")
    bispectrum = bispectrum_of(settings, species, radii, weights, path)
    if len(lines) > 1 and lines[1][0] == "NET":
        return AtomicPotential(bispectrum, _network(lines[1:], n_elements, n_each, bispectrum.n_features, path))
    if any(len(line) != 1 for line in lines[1:]) or len(lines) != 1 + n_elements * n_each:
        raise ValueError(f"{path}: expected {n_elements} × {n_each} lines of one number, or a line NET, after the first")
    rows = np.array([number(line[0], path) for line in lines[1:]]).reshape(n_elements, n_each)
    return linear_potential(settings, bispectrum, rows, path)


def _network(lines: list[list[str]], n_elements: int, n_each: int, n_features: int, path: Path) -> MLP:
    """Of every element shifts, scales, and layer by layer for every node its bias and its weights."""
    _, *words = lines[0]
    form = "NET, the numbers of descriptors and layers, then an activation and a number of nodes for every layer"
    if len(words) < 4 or not all(x.isdigit() for x in (*words[:2], *words[3::2])) or len(words) != 2 + 2 * int(words[1]):
        raise ValueError(f"{path}: expected {form}, got {' '.join(lines[0])}")
    names, nodes = words[2::2], [int(x) for x in words[3::2]]
    unknown = sorted(set(names) - set(_ACTIVATIONS))
    if unknown:
        raise ValueError(f"{path}: the activation {', '.join(unknown)} is not implemented; those that are: {', '.join(_ACTIVATIONS)}")
    if int(words[0]) != n_features or (names[-1], nodes[-1]) != ("linear", 1) or 0 in nodes:
        raise ValueError(f"{path}: expected {n_features} descriptors and a last layer 'linear 1', got {' '.join(lines[0])}")
    values = require_finite(np.array([number(x, path) for line in lines[1:] for x in line]), f"{path}: values")
    shapes = list(itertools.pairwise((n_features, *nodes)))
    if n_each != sum((a + 1) * b for a, b in shapes) or len(values) != n_elements * (2 * n_features + n_each):
        needed = sum((a + 1) * b for a, b in shapes)
        raise ValueError(
            f"{path}: {n_each} parameters and {len(values)} values; expected {needed} and {n_elements} × (2 × {n_features} + {needed}) for this network"
        )
    values = values.reshape(n_elements, -1)
    shift, scale, rest = np.split(values, [n_features, 2 * n_features], axis=1)
    weights, biases = [], []
    for a, b in shapes:
        of_layer, rest = rest[:, : (a + 1) * b].reshape(n_elements, b, a + 1), rest[:, (a + 1) * b :]
        weights.append(np.swapaxes(of_layer[:, :, 1:], 1, 2))
        biases.append(of_layer[:, :, 0])
    chosen = tuple(_ACTIVATIONS[name]() for name in names[:-1])
    return MLP(tuple(nodes[:-1]), chosen, shift=shift, scale=scale, weights=tuple(weights), biases=tuple(biases))
