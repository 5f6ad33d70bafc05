"""Models of LAMMPS' pair_style mliap on the descriptors of SNAP: linear and quadratic ones, and neural networks."""

import itertools
from pathlib import Path

import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.heads.mlp import MLP
from jaxpot.io.snap import Settings, bispectrum_of, linear_potential, lines_of, settings_of, two_integers
from jaxpot.io.text import integer, number, one_line_refusals
from jaxpot.math import activations
from jaxpot.math.activations import Activation
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Potential

_ACTIVATIONS: dict[str, type[Activation]] = {
    "linear": activations.Identity, "sigmoid": activations.Logistic, "tanh": activations.Tanh, "relu": activations.ReLU,
}  # fmt: skip


@one_line_refusals("a model of pair_style mliap")
def read_mliap(model: str | Path, descriptor: str | Path) -> Potential:
    """A potential of pair_style mliap, `model linear`, `model quadratic` or `model nn` with `descriptor sna`.

    Whether it is linear or quadratic is seen from the number of its coefficients.

    Args:
      model: the .mliap.model file; one with a line NET is a neural network.
      descriptor: the .mliap.descriptor file.

    Returns:
      Of a linear or quadratic model the Sum that `jaxpot.io.snap.read_snap` returns, of a network an AtomicPotential(Bispectrum, MLP). All real numbers are
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
    species = tuple(settings.words["elems"])
    radii, weights = settings.numbers("radelems"), settings.numbers("welems")
    if not len(species) == len(radii) == len(weights) == n_elements == settings.integer("nelems"):
        raise ValueError(f"{path} and {descriptor}: elems, radelems and welems must name {n_elements} elements, as nelems and the model do")
    species_tuple(species, str(settings.path))
    if len(lines) > 1 and lines[1][0][0] == "NET":
        nodes, chosen = _layers(lines[1], n_elements, n_each, settings, path)
        bispectrum = bispectrum_of(settings, species, radii, weights, settings.path)
        return AtomicPotential(bispectrum, _network(lines[2:], n_elements, n_each, (bispectrum.n_features, *nodes), chosen, path))
    if any(len(line) != 1 for line, _ in lines[1:]) or len(lines) != 1 + n_elements * n_each:
        raise ValueError(f"{path}: expected {n_elements} × {n_each} lines of one number, or a line NET, after the first")
    is_quadratic = settings.require_components(n_elements, n_each, path)
    rows = np.array([number(line[0], where) for line, where in lines[1:]]).reshape(n_elements, n_each)
    return linear_potential(settings, bispectrum_of(settings, species, radii, weights, settings.path), rows, path, is_quadratic=is_quadratic)


def _layers(
    line: tuple[list[str], str], n_elements: int, n_each: int, settings: Settings, path: Path
) -> tuple[list[int], tuple[Activation, ...]]:
    """The nodes of every layer and the activations of all but the last, which is one linear node."""
    (_, *words), where = line
    form = "NET, the numbers of descriptors and layers, then an activation and a number of nodes for every layer"
    if len(words) < 4 or not all(x.isdigit() for x in (*words[:2], *words[3::2])) or len(words) != 2 + 2 * int(words[1]):
        raise ValueError(f"{where}: expected {form}, got NET {' '.join(words)[:60]}")
    n_features, names, nodes = integer(words[0], where), words[2::2], [integer(x, where) for x in words[3::2]]
    unknown = sorted(set(names) - set(_ACTIVATIONS))
    if unknown:
        raise ValueError(f"{where}: the activation {', '.join(unknown)} is not implemented; those that are: {', '.join(_ACTIVATIONS)}")
    if (names[-1], nodes[-1]) != ("linear", 1) or 0 in nodes:
        raise ValueError(f"{where}: expected a last layer 'linear 1' and nodes in every layer, got NET {' '.join(words)[:60]}")
    settings.require_components(n_elements, n_features, path, network=True)
    needed = sum((a + 1) * b for a, b in itertools.pairwise((n_features, *nodes)))
    if n_each != needed:
        raise ValueError(f"{path}: {n_each} parameters; expected {needed} for this network")
    return nodes, tuple(_ACTIVATIONS[name]() for name in names[:-1])


def _network(
    lines: list[tuple[list[str], str]], n_elements: int, n_each: int, nodes: tuple[int, ...], chosen: tuple[Activation, ...], path: Path
) -> MLP:
    """Of every element shifts, scales, and layer by layer for every node its bias and its weights."""
    n_features = nodes[0]
    values = np.array([number(x, where) for line, where in lines for x in line])
    if len(values) != n_elements * (2 * n_features + n_each):
        raise ValueError(f"{path}: {len(values)} values; expected {n_elements} × (2 × {n_features} + {n_each}) for this network")
    values = values.reshape(n_elements, -1)
    shift, scale, rest = np.split(values, [n_features, 2 * n_features], axis=1)
    weights, biases = [], []
    for a, b in itertools.pairwise(nodes):
        of_layer, rest = rest[:, : (a + 1) * b].reshape(n_elements, b, a + 1), rest[:, (a + 1) * b :]
        weights.append(np.swapaxes(of_layer[:, :, 1:], 1, 2))
        biases.append(of_layer[:, :, 0])
    return MLP(tuple(nodes[1:-1]), chosen, shift=shift, scale=scale, weights=tuple(weights), biases=tuple(biases))
