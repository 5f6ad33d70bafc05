"""High-dimensional neural network potentials of n2p2 (and RuNNer): reading and writing of input.nn, scaling.data and weights.NNN.data.

The trap of these files: n2p2 sorts the symmetry functions of every element, and scaling.data and the first layer of weights are in that
order, not in the order of input.nn.
"""

import itertools
from pathlib import Path

import jax
import numpy as np

from jaxpot.checks import require_finite
from jaxpot.data import Dataset
from jaxpot.descriptors.acsf import ACSF
from jaxpot.heads.mlp import MLP
from jaxpot.io.n2p2_charges import charged_potential
from jaxpot.io.n2p2_functions import Functions, cutoff_line, descriptor_of, functions_of, read_function
from jaxpot.io.n2p2_keywords import FOURTH, NORMALISATION, SCALINGS, Settings, by_element, read_settings, whole_number, word_of, words_of
from jaxpot.io.terms import main_and_constants
from jaxpot.io.text import number, one_line_refusals, read_text, require_path
from jaxpot.longrange.sums import PairSum
from jaxpot.math import activations
from jaxpot.math.activations import Activation
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum
from jaxpot.units import ATOMIC_NUMBERS

_ACTIVATIONS: dict[str, type[Activation]] = {
    "l": activations.Identity, "t": activations.Tanh, "s": activations.Logistic, "p": activations.Softplus, "r": activations.ReLU,
    "g": activations.Gaussian, "c": activations.Cosine, "e": activations.Exponential, "h": activations.Harmonic,
}  # fmt: skip
_REVERSED = "S"  # 1 − 1/(1 + e⁻ˣ), which is the logistic function of −x
_FAR = 1e100  # where nothing extrapolates


@one_line_refusals("a potential of n2p2")
def read_n2p2(folder: str | Path, *, length_unit: float, energy_unit: float, sum: PairSum | None = None) -> Potential:
    """A published neural network potential of the second generation (short-ranged), or of the fourth, with equilibrated charges.

    The files do not say their units, so the caller does: most hold Bohr and Hartree, some Å and eV. Keywords of RuNNer that have no effect on
    energies are named in one warning; `atom_energy` counts as in n2p2, with or without `remove_atom_energies`.

    Args:
      folder: where input.nn, scaling.data and a weights.NNN.data for every element are; of the fourth generation also weightse.NNN.data and
        hardness.NNN.data.
      length_unit: that of the files in Å, `jaxpot.units.BOHR` or 1.0.
      energy_unit: likewise in eV, `jaxpot.units.HARTREE` or 1.0.
      sum: how the pairs of charges are summed, `jaxpot.longrange.sum_for(frames)`; for networks of the fourth generation.

    Returns:
      Sum of an AtomicPotential(ACSF, MLP) and IsolatedAtoms, of the fourth generation of a ChargedPotential and IsolatedAtoms. All real
      numbers are leaves.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: for a key or type of function that is not implemented, by name (and networks of the third
        generation); for a network of the fourth without a sum, or in units without Coulomb's constant; for numbers that are missing, too many, or not finite.

    References:
      Singraber, Behler, Dellago, "Library-based LAMMPS implementation of high-dimensional neural network potentials", J. Chem. Theory
      Comput. 15, 1827 (2019).
      Ko, Finkler, Goedecker, Behler, "A fourth-generation high-dimensional neural network potential with accurate electrostatics including
      non-local charge transfer", Nat. Commun. 12, 398 (2021).
    """
    path = Path(folder) / "input.nn"
    settings = read_settings(path)
    species = _species(settings, path)
    functions = _functions(settings, species, path)
    descriptor, columns = descriptor_of(functions, species, words_of(settings, "cutoff_type", path), length_unit=length_unit, where=path)
    shift, scale = _scaling(settings, columns, descriptor.n_features, Path(folder) / "scaling.data", path)
    mean, conversion = _normalisation(settings, path)
    unit = energy_unit / conversion
    if FOURTH in settings:
        with_charge = [np.append(of_center, descriptor.n_features) for of_center in columns]
        shifts, scales = np.pad(shift, ((0, 0), (0, 1))), np.pad(scale, ((0, 0), (0, 1)), constant_values=1)
        head = _network(settings, species, with_charge, shifts, scales, path, unit)
        other = _network(settings, species, columns, shift, scale, path, unit, "electrostatic", "weightse")
        main = charged_potential(settings, descriptor, other, head, sum, path, length_unit=length_unit, energy_unit=energy_unit)
    else:
        main = AtomicPotential(descriptor, _network(settings, species, columns, shift, scale, path, unit))
    alone = by_element(settings.get("atom_energy", []), species, path, "atom_energy")
    if any(len(lines) > 1 or len(lines[0]) > 1 for lines in alone.values()):
        raise ValueError(f"{path}: expected one atom_energy of an element")
    lacking = [symbol for symbol in species if alone and symbol not in alone]
    if lacking:
        raise ValueError(f"{path}: no atom_energy of {', '.join(lacking)}, but of {', '.join(alone)}; write atom_energy {lacking[0]} 0.0 if it is that")
    constants = {symbol: energy_unit * (mean + (number(alone[symbol][0][0], path) if symbol in alone else 0.0)) for symbol in species}
    return Sum((main, IsolatedAtoms(constants)))


def _species(settings: Settings, path: Path) -> tuple[str, ...]:
    """In the order of atomic numbers, as n2p2 counts elements."""
    names = words_of(settings, "elements", path)
    n = whole_number(word_of(settings, "number_of_elements", path), "number_of_elements", path)
    unknown = [name for name in names if name not in ATOMIC_NUMBERS]
    if unknown or len(set(names)) != n or len(names) != n:
        raise ValueError(f"{path}: expected {n} different elements, as number_of_elements says, got {' '.join(names)}")
    return tuple(sorted(names, key=ATOMIC_NUMBERS.__getitem__))


def _functions(settings: Settings, species: tuple[str, ...], path: Path) -> list[Functions]:
    """Those of every element, sorted."""
    by_center, out = by_element(settings["symfunction_short"], species, path, "symfunction_short"), []
    for center in species:
        lines = by_center.get(center, [])
        found = sorted(read_function(words, species, f"{path}: symfunction_short {center} {' '.join(words)}") for words in lines)
        if not found:
            raise ValueError(f"{path}: no symfunction_short of {center}")
        for one, other in itertools.pairwise(found):
            if one == other:
                raise ValueError(f"{path}: {one.line(center, species)} is there twice")
        out.append(found)
    return out


def _rows(path: Path) -> list[list[str]]:
    """The words of every line that is not empty, without comments."""
    return [words for line in read_text(path, "a file of n2p2").split("\n") if (words := line.split("#")[0].split())]


def _scaling(settings: Settings, columns: list[np.ndarray], n_features: int, path: Path, origin: Path) -> tuple[np.ndarray, np.ndarray]:
    """μ and s of every element and feature."""
    scaled, centered, by_sigma = (key in settings for key in SCALINGS)
    shift, scale = np.zeros((len(columns), n_features)), np.ones((len(columns), n_features))
    if by_sigma and (scaled or centered):
        raise ValueError(f"{origin}: scale_symmetry_functions_sigma excludes scale_symmetry_functions and center_symmetry_functions")
    if not (scaled or centered or by_sigma):
        return shift, scale
    defaults = {"scale_min_short": 0.0, "scale_max_short": 1.0}
    low, high = (number(word_of(settings, key, origin), origin) if key in settings else default for key, default in defaults.items())
    if not high > low:
        raise ValueError(f"{origin}: expected scale_min_short < scale_max_short, got {low} and {high}")
    found = _rows(path)
    found = found[:-1] if found and len(found[-1]) == 2 else found  # RuNNer ends it with the range of energies
    for words in found:
        if len(words) not in (5, 6) or len(words) != len(found[0]):  # without or with sigma
            raise ValueError(f"{path}: expected lines of {len(found[0]) if len(found[0]) in (5, 6) else '5 or 6'} numbers, got {' '.join(words)}")
    rows = iter(found)
    for element, of_element in enumerate(columns):
        for index, column in enumerate(of_element):
            words = next(rows, [])
            if words[:2] != [str(element + 1), str(index + 1)] or len(words) < 5 + by_sigma:
                expected = f"{element + 1} {index + 1}, then minimum, maximum, mean{' and sigma' if by_sigma else ''}"
                raise ValueError(f"{path}: expected a line {expected}, got {' '.join(words) or 'the end'}")
            smallest, largest, mean, *sigma = (number(word, path) for word in words[2:])
            shift[element, column] = mean if centered or by_sigma else smallest
            if scaled or by_sigma:
                unit = (sigma[0] if by_sigma else largest - smallest) / (high - low)
                if not unit > 0:
                    raise ValueError(f"{path}: line {' '.join(words)}: a function that does not vary cannot be scaled")
                scale[element, column] = unit
                shift[element, column] -= low * unit
    if (words := next(rows, None)) is not None:
        raise ValueError(f"{path}: expected the end, got {' '.join(words)}")
    return require_finite(shift, f"{path}: shifts"), require_finite(scale, f"{path}: scales")


def _network(
    settings: Settings, species: tuple[str, ...], columns: list[np.ndarray], shift: np.ndarray, scale: np.ndarray, origin: Path, unit: float,
    kind: str = "short", files: str = "weights",
) -> MLP:  # fmt: skip
    """Of features in these columns, whose result is in this unit."""
    hidden, activation, weights, biases = _networks(settings, species, columns, shift.shape[1], origin, kind, files)
    weights[-1] *= unit
    biases[-1] *= unit
    return MLP(hidden, activation, shift=shift, scale=scale, weights=tuple(weights), biases=tuple(biases))


def _networks(
    settings: Settings, species: tuple[str, ...], columns: list[np.ndarray], n_features: int, origin: Path, kind: str, files: str
) -> tuple[tuple[int, ...], Activation | tuple[Activation, ...], list[np.ndarray], list[np.ndarray]]:
    """Hidden nodes, activations, weights and biases; smaller networks are filled up with nodes of weight zero."""
    n_hidden = whole_number(word_of(settings, f"global_hidden_layers_{kind}", origin), f"global_hidden_layers_{kind}", origin)
    nodes = [whole_number(x, f"global_nodes_{kind}", origin) for x in words_of(settings, f"global_nodes_{kind}", origin)]
    letters = words_of(settings, f"global_activation_{kind}", origin)
    if len(nodes) != n_hidden or len(letters) != n_hidden + 1 or letters[-1] != "l":
        raise ValueError(
            f"{origin}: expected {n_hidden} numbers after global_nodes_{kind} and {n_hidden + 1} letters after global_activation_{kind}, the last one "
            f"l, got {' '.join(map(str, nodes))} and {' '.join(letters)}"
        )
    unknown = sorted(set(letters) - {*_ACTIVATIONS, _REVERSED})
    if unknown:
        raise ValueError(f"{origin}: activation {' '.join(unknown)} is not implemented; those that are: {' '.join([*_ACTIVATIONS, _REVERSED])}")
    own = {symbol: list(nodes) for symbol in species}
    for symbol, lines in by_element(settings.get(f"element_nodes_{kind}", []), species, origin, f"element_nodes_{kind}").items():
        for words in lines:
            layer, count = (whole_number(word, f"element_nodes_{kind}", origin) for word in (*words, "")[:2])
            if layer > n_hidden or len(words) != 2:
                raise ValueError(f"{origin}: element_nodes_{kind} {symbol} {' '.join(words)}: expected one of {n_hidden} hidden layers and its nodes")
            own[symbol][layer - 1] = count
    hidden = tuple(max(own[symbol][layer] for symbol in species) for layer in range(n_hidden))
    sizes = (n_features, *hidden, 1)
    of_elements = [(len(columns[s]), *own[symbol], 1) for s, symbol in enumerate(species)]
    numbers = [_connection_values(origin.parent / f"{files}.{ATOMIC_NUMBERS[s]:03d}.data", nodes) for s, nodes in zip(species, of_elements, strict=True)]
    weights, biases = ([np.zeros((len(species), *shape)) for shape in shapes] for shapes in (itertools.pairwise(sizes), [(b,) for b in sizes[1:]]))
    for s, (of_element, left) in enumerate(zip(of_elements, numbers, strict=True)):
        for layer, (a, b) in enumerate(itertools.pairwise(of_element)):
            w, bias, left = left[: a * b].reshape(a, b), left[a * b : (a + 1) * b], left[(a + 1) * b :]
            factor = (-1 if letters[layer] == _REVERSED else 1) / (a if "normalize_nodes" in settings else 1)
            rows = columns[s] if layer == 0 else np.arange(a)
            weights[layer][s, rows[:, None], np.arange(b)] = factor * w
            biases[layer][s, :b] = factor * bias
    chosen = tuple(_ACTIVATIONS["s" if letter == _REVERSED else letter]() for letter in letters[:-1])
    return hidden, chosen[0] if len(set(letters[:-1])) == 1 else chosen, weights, biases


def _connection_values(path: Path, nodes: tuple[int, ...]) -> np.ndarray:
    """Of every layer the weights, by node of its start, then the biases. Where a line says its place, it must be that one."""
    rows = _rows(path)
    expected = sum((a + 1) * b for a, b in itertools.pairwise(nodes))
    if len(rows) != expected:
        raise ValueError(f"{path}: {len(rows)} values; expected {expected} for {' - '.join(map(str, nodes))} nodes")
    row = iter(rows)
    for layer, (a, b) in enumerate(itertools.pairwise(nodes)):
        places = [["a", layer, i, layer + 1, j] for i in range(1, a + 1) for j in range(1, b + 1)] + [["b", layer + 1, j] for j in range(1, b + 1)]
        for (kind, *place), words in zip(places, row, strict=False):
            stated = words[1:2] + words[3:]
            if len(stated) == len(place) + 1 and stated != [kind, *map(str, place)]:
                raise ValueError(f"{path}: expected the {'weight' if kind == 'a' else 'bias'} {' '.join(map(str, place))}, got {' '.join(words)}")
    return np.array([number(words[0], path) for words in rows])


def _normalisation(settings: Settings, path: Path) -> tuple[float, float]:
    """Mean energy per atom, and what energies were multiplied by. A unit of length changes no value of these functions."""
    given = [key for key in NORMALISATION if key in settings]
    if not given:
        return 0.0, 1.0
    if len(given) < 3:
        raise ValueError(f"{path}: {', '.join(NORMALISATION)} go together, got {', '.join(given)}")
    mean, energy, length = (number(word_of(settings, key, path), path) for key in NORMALISATION)
    if not (energy > 0 and length > 0):
        raise ValueError(f"{path}: conv_energy and conv_length must be > 0, got {energy} and {length}")
    return mean, energy


def write_n2p2(folder: str | Path, potential: Potential, *, length_unit: float, energy_unit: float, data: Dataset | None = None) -> None:
    """Writes a neural network potential that n2p2 and LAMMPS' pair_style hdnnp read.

    In LAMMPS (metal units) write `pair_style hdnnp cutoff dir folder cflength L cfenergy E` with L = 1/length_unit, E = 1/energy_unit and the
    cutoff in Å.

    Args:
      folder: to write input.nn, scaling.data and a weights.NNN.data for every element into.
      potential: an AtomicPotential of an ACSF and an MLP, or its sum with constants per element (IsolatedAtoms, or Constant with a Linear head).
      length_unit: that of the files in Å.
      energy_unit: likewise in eV.
      data: structures whose smallest and largest values the files shall hold: beyond them n2p2 warns of extrapolation, and LAMMPS stops
        unless told otherwise. None puts the limits so far that none is met.

    Raises:
      TypeError: for a term, function, cutoff or activation that these files cannot hold.
      ValueError: for cutoffs of several kinds, other mixtures than by atomic number, no hidden layer, or constants of unknown elements.

    Example:
      >>> import tempfile
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import G2, G5
      >>> acsf = ACSF(("Si",), (G2.shifted(CosineCutoff(5.0), 4), G5(CosineCutoff(5.0), eta=0.01, zeta=[1, 4])))
      >>> folder = tempfile.mkdtemp()
      >>> write_n2p2(folder, AtomicPotential(acsf, MLP((8, 8))) + IsolatedAtoms({"Si": -158.5}), length_unit=1.0, energy_unit=1.0)
      >>> read_n2p2(folder, length_unit=1.0, energy_unit=1.0).terms[0].descriptor.n_features
      8
    """
    require_path(folder, 'write_n2p2("folder", potential, length_unit=1.0, energy_unit=1.0)')
    network, constants = main_and_constants(
        potential, owner="write_n2p2", files="files of n2p2", main="an ACSF with an MLP", descriptor=ACSF, head=MLP
    )
    descriptor, head = network.descriptor, network.head
    if not head.hidden:
        raise ValueError("write_n2p2: networks of n2p2 have at least one hidden layer, got MLP(())")
    order = sorted(range(len(descriptor.species)), key=lambda s: ATOMIC_NUMBERS[descriptor.species[s]])
    species = tuple(descriptor.species[s] for s in order)
    shape = (len(species), descriptor.n_features)
    shift, scale = (np.broadcast_to(np.asarray(default if x is None else x, float), shape) for x, default in ((head.shift, 0.0), (head.scale, 1.0)))
    low, high = (np.full(shape, -_FAR), np.full(shape, _FAR)) if data is None else _ranges(descriptor, data)

    lines = ["# written by jaxpot", f"number_of_elements {len(species)}", f"elements {' '.join(species)}"]
    lines += [f"atom_energy {symbol} {constants.get(symbol, 0.0) / energy_unit!r}" for symbol in species]
    lines += [cutoff_line(descriptor), "scale_symmetry_functions_sigma", "scale_min_short 0.0", "scale_max_short 1.0"]
    lines += [f"global_hidden_layers_short {len(head.hidden)}", f"global_nodes_short {' '.join(map(str, head.hidden))}"]
    lines += [f"global_activation_short {' '.join(_letters(head))} l"]
    scaling, files = [], {}
    for element, (s, symbol, found) in enumerate(zip(order, species, functions_of(descriptor, species, length_unit), strict=True), 1):
        lines += [f.line(symbol, species) for f, _ in found]
        columns = [column for _, column in found]
        for index, column in enumerate(columns, 1):
            values = (low[s, column], high[s, column], shift[s, column], scale[s, column])
            scaling.append(f"{element} {index} " + " ".join(repr(float(x)) for x in values))
        layers = [[np.asarray(x, float)[s] for x in of_layer] for of_layer in zip(head.weights, head.biases, strict=True)]
        first, bias = layers[0]
        absent = np.setdiff1d(np.arange(descriptor.n_features), columns)  # zero, and constant behind the scaling
        layers[0] = [first[columns], bias - (shift[s, absent] / scale[s, absent]) @ first[absent]]
        layers[-1] = [x / energy_unit for x in layers[-1]]
        files[f"weights.{ATOMIC_NUMBERS[symbol]:03d}.data"] = _connections(layers)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in {"input.nn": lines, "scaling.data": scaling, **files}.items():
        (Path(folder) / name).write_text("\n".join(content) + "\n", encoding="utf-8")


def _letters(head: MLP) -> list[str]:
    letters = {kind: letter for letter, kind in _ACTIVATIONS.items()}
    chosen = head.activation if isinstance(head.activation, tuple | list) else (head.activation,) * len(head.hidden)
    for one in chosen:
        if type(one) not in letters:
            raise TypeError(f"write_n2p2: n2p2 has no activation {type(one).__name__}; those it has: {', '.join(kind.__name__ for kind in letters)}")
    return [letters[type(one)] for one in chosen]


def _connections(layers: list[list[np.ndarray]]) -> list[str]:
    """Lines of weights (a) and biases (b) with their places: layer and node at either end."""
    out: list[str] = []
    for layer, (weights, biases) in enumerate(layers):
        for (i, j), value in np.ndenumerate(weights):
            out.append(f"{float(value)!r} a {len(out) + 1} {layer} {i + 1} {layer + 1} {j + 1}")
        out += [f"{float(value)!r} b {len(out) + 1 + j} {layer + 1} {j + 1}" for j, value in enumerate(biases)]
    return out


def _ranges(descriptor: ACSF, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of every element and feature."""
    features, shape = jax.jit(lambda d, g: d(g)), (len(descriptor.species), descriptor.n_features)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for _, structure in data.structures():
        values, numbers = np.asarray(features(descriptor, structure.graphs)), np.asarray(structure.graphs.numbers)
        for s, symbol in enumerate(descriptor.species):
            of_element = values[numbers == ATOMIC_NUMBERS[symbol]]
            low[s], high[s] = np.min([low[s], *of_element], axis=0), np.max([high[s], *of_element], axis=0)
    lacking = [symbol for symbol, row in zip(descriptor.species, low, strict=True) if not np.all(np.isfinite(row))]
    if lacking:
        raise ValueError(f"write_n2p2: the data hold no {', '.join(lacking)}, or values that are not finite")
    return low, high
