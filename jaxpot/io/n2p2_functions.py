"""The lines of n2p2's settings files that say which symmetry functions there are, and the ACSF they make; both ways."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpot.descriptors.acsf import ACSF
from jaxpot.descriptors.symmetry_functions import G2, G4, G5, SymmetryFunctions
from jaxpot.io.text import number
from jaxpot.math.cutoffs import BumpCutoff, CosineCutoff, Cutoff, PolynomialCutoff, Step, TanhCutoff
from jaxpot.units import ATOMIC_NUMBERS

_KINDS: dict[int, type[SymmetryFunctions]] = {2: G2, 3: G4, 9: G5, 12: G2, 13: G4}
_N_ELEMENTS = {2: 1, 3: 2, 9: 2, 12: 0, 13: 0}  # those without count neighbours by atomic number
_NUMBERS = {  # after the elements
    2: ("eta", "r_s", "radius"), 3: ("eta", "lam", "zeta", "radius", "r_s"), 9: ("eta", "lam", "zeta", "radius", "r_s"),
    12: ("eta", "r_s", "radius"), 13: ("eta", "r_s", "lam", "zeta", "radius"),
}  # fmt: skip
_WITHOUT_INNER_RADIUS = ("0", "2", "3")


class Function(NamedTuple):
    """A line of symfunction_short, in the units of the file. Functions of one centre sort as n2p2 sorts them."""

    kind: int
    radius: float
    eta: float
    r_s: float
    zeta: float
    lam: float
    elements: tuple[int, ...]

    def line(self, center: str, species: tuple[str, ...]) -> str:
        words = [center, str(self.kind), *(species[e] for e in self.elements), *(repr(getattr(self, name)) for name in _NUMBERS[self.kind])]
        return " ".join(["symfunction_short", *words])


def read_function(words: list[str], species: tuple[str, ...], where: str) -> Function:
    """From the words after the centre.

    Raises:
      ValueError: for types that are not implemented, other elements, or too few or many numbers.
    """
    kind = int(words[0]) if words[0].isascii() and words[0].isdigit() else -1
    if kind not in _KINDS:
        raise ValueError(f"{where}: type {words[0]} is not implemented; those that are: {', '.join(map(str, _KINDS))}")
    n, names = _N_ELEMENTS[kind], _NUMBERS[kind]
    elements, values = words[1 : 1 + n], words[1 + n :]
    can_lack_the_last = kind in (3, 9)  # r_s, which is then zero
    if any(e not in species for e in elements) or len(values) not in (len(names), len(names) - can_lack_the_last):
        raise ValueError(f"{where}: expected {n} of the elements {' '.join(species)}, then {', '.join(names)}")
    numbers = {"r_s": 0.0, "zeta": 0.0, "lam": 0.0} | {name: number(value, where) for name, value in zip(names, values, strict=False)}
    return Function(kind, elements=tuple(sorted(species.index(e) for e in elements)), **numbers)


def descriptor_of(
    functions: Sequence[list[Function]], species: tuple[str, ...], cutoff_type: list[str], *, length_unit: float, where: str | Path
) -> tuple[ACSF, list[np.ndarray]]:
    """The ACSF of the functions of every element, and which of its features each of them is.

    One set for every type and radius holds the grid of all its parameters, of which every element keeps its own.
    """
    groups: dict[tuple[int, float], list[Function]] = {}
    for f in sorted(set(itertools.chain(*functions))):
        groups.setdefault((f.kind, f.radius), []).append(f)
    sets, place = [], {}
    atomic_numbers = np.array([[float(ATOMIC_NUMBERS[s])] for s in species])
    for n, ((kind, radius), members) in enumerate(groups.items()):
        make = _KINDS[kind]
        radial, lams, zetas = (sorted(set(of_members)) for of_members in zip(*(((f.eta, f.r_s), f.lam, f.zeta) for f in members), strict=True))
        eta, r_s = np.array(radial).T
        leaves = {"eta": eta / length_unit**2, "r_s": r_s * length_unit, "mixing": None if _N_ELEMENTS[kind] else atomic_numbers}
        angles = {} if make is G2 else {"lam": np.array(lams), "zeta": np.array(zetas)}
        sets.append(make(_cutoff(cutoff_type, radius * length_unit, where), **leaves, **angles))
        for f in members:
            channels = tuple(species[e] for e in f.elements) or ((0, 0) if angles else (0,))
            angle = (lams.index(f.lam), zetas.index(f.zeta)) if angles else ()
            place[f] = (n, make.__name__, *channels, radial.index((f.eta, f.r_s)), *angle)
    everything = {label: i for i, label in enumerate(ACSF(species, tuple(sets)).labels())}
    kept = tuple(tuple(sorted(everything[place[f]] for f in of_center)) for of_center in functions)
    descriptor = ACSF(species, tuple(sets), kept)
    column = {label: i for i, label in enumerate(descriptor.labels())}
    return descriptor, [np.array([column[place[f]] for f in of_center]) for of_center in functions]


def functions_of(descriptor: ACSF, species: tuple[str, ...], length_unit: float) -> list[list[tuple[Function, int]]]:
    """The functions of every element (in the order of `species`) with their features, as n2p2 sorts them.

    Raises:
      TypeError: for functions that n2p2 does not have.
      ValueError: for other mixtures than by atomic number, and elements without functions or with one twice.
    """
    grid = {label: i for i, label in enumerate(descriptor.replace(kept=None).labels())}
    out: list[list[tuple[Function, int]]] = [[] for _ in species]
    for column, label in enumerate(descriptor.labels()):
        one, rest = descriptor.functions[label[0]], label[2:]
        kind, index = _kind(one, descriptor.species), rest[-len(one.sizes) :]

        def value(name, axis, one=one, index=index):
            return float(np.broadcast_to(np.asarray(getattr(one, name), float), one.sizes[axis])[index[axis]])

        numbers = {"eta": value("eta", 0) * length_unit**2, "r_s": value("r_s", 0) / length_unit, "radius": float(one.cutoff.radius) / length_unit}
        numbers |= {"zeta": 0.0, "lam": 0.0} if len(index) == 1 else {"lam": value("lam", 1), "zeta": value("zeta", 2)}
        elements = tuple(sorted(species.index(e) for e in rest[: _N_ELEMENTS[kind]]))
        for s, symbol in enumerate(species):
            if descriptor.kept is None or grid[label] in descriptor.kept[descriptor.species.index(symbol)]:
                out[s].append((Function(kind, elements=elements, **numbers), column))
    for symbol, found in zip(species, out, strict=True):
        if not found or len({f for f, _ in found}) < len(found):
            raise ValueError(f"write_n2p2: {symbol} has {'one function twice' if found else 'no functions'}, which n2p2 cannot have")
    return [sorted(found) for found in out]


def _kind(one: SymmetryFunctions, species: tuple[str, ...]) -> int:
    by_atomic_number = np.array([[ATOMIC_NUMBERS[s]] for s in species])
    if one.mixing is not None and not np.array_equal(np.asarray(one.mixing), by_atomic_number):
        raise ValueError(f"write_n2p2: n2p2 mixes elements by atomic number only, {by_atomic_number.tolist()}, got {np.asarray(one.mixing).tolist()}")
    kinds = [kind for kind, make in _KINDS.items() if make is type(one) and (_N_ELEMENTS[kind] == 0) == (one.mixing is not None)]
    if not kinds:
        raise TypeError(f"write_n2p2: n2p2 has no {type(one).__name__}{'' if one.mixing is None else ' of mixed elements'}")
    return kinds[0]


def _cutoff(words: list[str], radius: float, where: str | Path) -> Cutoff:
    """From the words of cutoff_type: the type, and the inner radius as a fraction."""
    kind, alpha = words[0], number(words[1], where) if len(words) > 1 else 0.0
    if not 0 <= alpha < 1 or len(words) > 2 or (alpha and kind in _WITHOUT_INNER_RADIUS):
        lacking = ", ".join(_WITHOUT_INNER_RADIUS)
        raise ValueError(f"{where}: cutoff_type {' '.join(words)}: expected a type, and an inner radius 0 ≤ alpha < 1, which types {lacking} lack")
    width = radius * (1 - alpha) if alpha else None
    if kind in ("5", "6", "7", "8"):
        return PolynomialCutoff(radius, width, smoothness=int(kind) - 4)
    if kind in ("2", "3"):
        return TanhCutoff(radius, normalize=kind == "3")
    if kind in ("1", "4"):
        return (CosineCutoff if kind == "1" else BumpCutoff)(radius, width)
    if kind != "0":
        raise ValueError(f"{where}: cutoff_type {kind} is not implemented; those that are: 0 to 8")
    return Step(radius)


def cutoff_line(descriptor: ACSF) -> str:
    """The cutoff_type of all functions.

    Raises:
      TypeError: for cutoffs that n2p2 does not have.
      ValueError: for sets with different ones.
    """
    found = {_cutoff_type(one.cutoff) for one in descriptor.functions}
    if len({kind for kind, _ in found}) > 1 or np.ptp([alpha for _, alpha in found]) > 1e-15:  # rounded
        raise ValueError(f"write_n2p2: all functions of a file have one type of cutoff and one inner radius, got types and fractions {sorted(found)}")
    kind, alpha = min(found)
    return f"cutoff_type {kind} {alpha!r}" if alpha else f"cutoff_type {kind}"


def _cutoff_type(cutoff: Cutoff) -> tuple[int, float]:
    width = getattr(cutoff, "width", None)
    alpha = 0.0 if width is None else 1 - float(width) / float(cutoff.radius)
    if isinstance(cutoff, PolynomialCutoff) and cutoff.power == 1:
        return 4 + cutoff.smoothness, alpha
    if isinstance(cutoff, TanhCutoff):
        return 3 if cutoff.normalize else 2, 0.0
    kinds = {Step: 0, CosineCutoff: 1, BumpCutoff: 4}
    if type(cutoff) not in kinds:
        raise TypeError(f"write_n2p2: n2p2 has no {cutoff}; write CosineCutoff, TanhCutoff, BumpCutoff or PolynomialCutoff")
    return kinds[type(cutoff)], alpha
