"""The lines of n2p2's settings files that say which symmetry functions there are, and the ACSF they make; both ways."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpot.descriptors.acsf import ACSF
from jaxpot.descriptors.compact_functions import CompactNarrow, CompactRadial, CompactWide
from jaxpot.descriptors.symmetry_functions import G2, G4, G5, SymmetryFunctions
from jaxpot.io.text import number
from jaxpot.math.compact import AsymmetricCore, BumpCore, Core, PolynomialCore
from jaxpot.math.cutoffs import BumpCutoff, CosineCutoff, Cutoff, PolynomialCutoff, Step, TanhCutoff
from jaxpot.units import ATOMIC_NUMBERS

_KINDS: dict[int, type[SymmetryFunctions]] = {
    2: G2, 3: G4, 9: G5, 12: G2, 13: G4, 20: CompactRadial, 21: CompactNarrow, 22: CompactWide, 23: CompactRadial, 24: CompactNarrow, 25: CompactWide,
}  # fmt: skip
_N_ELEMENTS = {2: 1, 3: 2, 9: 2, 12: 0, 13: 0, 20: 1, 21: 2, 22: 2, 23: 0, 24: 0, 25: 0}  # those without count neighbours by atomic number
_WINDOW = ("low", "radius", "left", "right")
_NUMBERS = {  # after the elements; those of compact support end with a word for their core
    2: ("eta", "r_s", "radius"), 3: ("eta", "lam", "zeta", "radius", "r_s"), 9: ("eta", "lam", "zeta", "radius", "r_s"),
    12: ("eta", "r_s", "radius"), 13: ("eta", "r_s", "lam", "zeta", "radius"),
    20: _WINDOW[:2], 21: _WINDOW, 22: _WINDOW, 23: _WINDOW[:2], 24: _WINDOW, 25: _WINDOW,
}  # fmt: skip
_COMPACT = 20  # the first of these types
_PLAIN: dict[str, Core] = {f"p{n}": PolynomialCore(n) for n in range(1, 5)}
_CORES = {name: (core, core) for name, core in (_PLAIN | {"e": BumpCore(), "exp": BumpCore()}).items()}  # of distances, and of angles
_CORES |= {f"{name}a": (AsymmetricCore(core), core) for name, core in _PLAIN.items()}
_CUTOFFS: dict[str, Callable[..., Cutoff]] = {
    "0": Step, "1": CosineCutoff, "2": partial(TanhCutoff, normalize=False), "3": TanhCutoff, "4": BumpCutoff,
    **{str(4 + n): partial(PolynomialCutoff, smoothness=n) for n in range(1, 5)},
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

    @property
    def group(self) -> tuple:
        """Equal for those that one set can hold."""
        return self.kind, self.radius

    @property
    def axes(self) -> tuple:
        """The place on the grid of a set."""
        radial = (self.eta, self.r_s)
        return (radial,) if _KINDS[self.kind] is G2 else (radial, self.lam, self.zeta)

    def line(self, center: str, species: tuple[str, ...]) -> str:
        words = [center, str(self.kind), *(species[e] for e in self.elements), *(repr(getattr(self, name)) for name in _NUMBERS[self.kind])]
        return " ".join(["symfunction_short", *words])


class CompactFunction(NamedTuple):
    """Likewise, of types 20 to 25."""

    kind: int
    core: str
    elements: tuple[int, ...]
    radius: float
    low: float
    left: float = 0.0
    right: float = 0.0

    @property
    def group(self) -> tuple:
        return self.kind, self.core

    @property
    def axes(self) -> tuple:
        radial = (self.low, self.radius)
        return (radial,) if _KINDS[self.kind] is CompactRadial else (radial, (self.left, self.right))

    def line(self, center: str, species: tuple[str, ...]) -> str:
        return f"{Function.line(self, center, species)} {self.core}"


Functions = list[Function | CompactFunction]


def read_function(words: list[str], species: tuple[str, ...], where: str) -> Function | CompactFunction:
    """From the words after the centre.

    Raises:
      ValueError: for types that are not implemented, other elements, too few or many numbers, or windows that are empty or end in a kink.
    """
    kind = int(words[0]) if words[0].isascii() and words[0].isdigit() else -1
    if kind not in _KINDS:
        raise ValueError(f"{where}: type {words[0]} is not implemented; those that are: {', '.join(map(str, _KINDS))}")
    n, names = _N_ELEMENTS[kind], _NUMBERS[kind]
    named, values, is_compact = words[1 : 1 + n], words[1 + n :], kind >= _COMPACT
    can_lack_the_last = kind in (3, 9)  # r_s, which is then zero
    if any(e not in species for e in named) or len(values) - is_compact not in (len(names), len(names) - can_lack_the_last):
        core = ", and p1 to p4, p1a to p4a or e" if is_compact else ""
        raise ValueError(f"{where}: expected {n} of the elements {' '.join(species)}, then {', '.join(names)}{core}")
    elements = tuple(sorted(species.index(e) for e in named))
    if is_compact:
        found = CompactFunction(kind, values[-1], elements, **{name: number(value, where) for name, value in zip(names, values, strict=False)})
        try:
            _compact(found, [[axis] for axis in found.axes], 1.0, None)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return found
    numbers = {"r_s": 0.0, "zeta": 0.0, "lam": 0.0} | {name: number(value, where) for name, value in zip(names, values, strict=False)}
    return Function(kind, elements=elements, **numbers)


def descriptor_of(
    functions: Sequence[Functions], species: tuple[str, ...], cutoff_type: list[str], *, length_unit: float, where: str | Path
) -> tuple[ACSF, list[np.ndarray]]:
    """The ACSF of the functions of every element, and which of its features each of them is.

    One set for every type and radius, or core, holds the grid of all its parameters, of which every element keeps its own.
    """
    groups: dict[tuple, Functions] = {}
    for f in sorted(set(itertools.chain(*functions))):
        groups.setdefault(f.group, []).append(f)
    sets, place = [], {}
    _cutoff(cutoff_type, 1.0, where)  # which may be that of no function
    atomic_numbers = np.array([[float(ATOMIC_NUMBERS[s])] for s in species])
    for n, members in enumerate(groups.values()):
        first = members[0]
        axes = [sorted(set(of_members)) for of_members in zip(*(f.axes for f in members), strict=True)]
        mixing = None if _N_ELEMENTS[first.kind] else atomic_numbers
        if first.kind >= _COMPACT:
            sets.append(_compact(first, axes, length_unit, mixing))
        else:
            eta, r_s = np.array(axes[0]).T
            angles = {name: np.array(axis) for name, axis in zip(("lam", "zeta"), axes[1:], strict=False)}
            cutoff = _cutoff(cutoff_type, first.radius * length_unit, where)
            sets.append(_KINDS[first.kind](cutoff, eta=eta / length_unit**2, r_s=r_s * length_unit, mixing=mixing, **angles))
        for f in members:
            channels = tuple(species[e] for e in f.elements) or (0,) * min(2, len(axes))
            place[f] = (n, type(sets[-1]).__name__, *channels, *(axis.index(value) for axis, value in zip(axes, f.axes, strict=True)))
    everything = {label: i for i, label in enumerate(ACSF(species, tuple(sets)).labels())}
    kept = tuple(tuple(sorted(everything[place[f]] for f in of_center)) for of_center in functions)
    descriptor = ACSF(species, tuple(sets), kept)
    column = {label: i for i, label in enumerate(descriptor.labels())}
    return descriptor, [np.array([column[place[f]] for f in of_center]) for of_center in functions]


def _compact(first: CompactFunction, axes: list[list[tuple[float, float]]], length_unit: float, mixing: np.ndarray | None) -> SymmetryFunctions:
    if first.core not in _CORES:
        raise ValueError(f"the core {first.core} is not implemented; those that are: p1 to p4, p1a to p4a, e")
    core, plain = _CORES[first.core]
    window = {name: length_unit * x for name, x in zip(("low", "high"), np.array(axes[0]).T, strict=True)}
    if len(axes) > 1:  # only distances have an asymmetric core
        window |= {"angular_core": plain} | dict(zip(("left", "right"), np.array(axes[1]).T, strict=True))
    return _KINDS[first.kind](core=core, mixing=mixing, **window)


def functions_of(descriptor: ACSF, species: tuple[str, ...], length_unit: float) -> list[list[tuple[Function | CompactFunction, int]]]:
    """The functions of every element (in the order of `species`) with their features, as n2p2 sorts them.

    Raises:
      TypeError: for functions that n2p2 does not have.
      ValueError: for other mixtures than by atomic number, and elements without functions or with one twice.
    """
    grid = {label: i for i, label in enumerate(descriptor.replace(kept=None).labels())}
    out: list[list[tuple[Function | CompactFunction, int]]] = [[] for _ in species]
    for column, label in enumerate(descriptor.labels()):
        one, rest = descriptor.functions[label[0]], label[2:]
        kind = _kind(one, descriptor.species)
        elements = tuple(sorted(species.index(e) for e in rest[: _N_ELEMENTS[kind]]))
        found = _function(one, kind, elements, rest[-len(one.sizes) :], length_unit)
        for s, symbol in enumerate(species):
            if descriptor.kept is None or grid[label] in descriptor.kept[descriptor.species.index(symbol)]:
                out[s].append((found, column))
    for symbol, found in zip(species, out, strict=True):
        if not found or len({f for f, _ in found}) < len(found):
            raise ValueError(f"write_n2p2: {symbol} has {'one function twice' if found else 'no functions'}, which n2p2 cannot have")
    return [sorted(found) for found in out]


def _function(one: SymmetryFunctions, kind: int, elements: tuple[int, ...], index: tuple[int, ...], length_unit: float) -> Function | CompactFunction:
    """The function at this place of a grid."""

    def value(name: str, axis: int) -> float:
        return float(np.broadcast_to(np.asarray(getattr(one, name), float), one.sizes[axis])[index[axis]])

    if kind >= _COMPACT:
        angles = {name: value(name, 1) for name in ("left", "right")} if len(index) > 1 else {}
        return CompactFunction(kind, _core_name(one), elements, value("high", 0) / length_unit, value("low", 0) / length_unit, **angles)
    numbers = {"eta": value("eta", 0) * length_unit**2, "r_s": value("r_s", 0) / length_unit, "radius": float(one.cutoff.radius) / length_unit}
    numbers |= {"zeta": 0.0, "lam": 0.0} if len(index) == 1 else {"lam": value("lam", 1), "zeta": value("zeta", 2)}
    return Function(kind, elements=elements, **numbers)


def _core_name(one: SymmetryFunctions) -> str:
    for name, (core, plain) in _CORES.items():
        if one.core == core and (len(one.sizes) == 1 or one.angular_core == plain):
            return name
    raise TypeError(f"write_n2p2: n2p2 has no {one!r}; write PolynomialCore, AsymmetricCore(PolynomialCore) or BumpCore, and the plain one for angles")


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
    if kind not in _CUTOFFS:
        raise ValueError(f"{where}: cutoff_type {kind} is not implemented; those that are: 0 to 8")
    return _CUTOFFS[kind](radius, **({"width": radius * (1 - alpha)} if alpha else {}))


def cutoff_line(descriptor: ACSF) -> str:
    """The cutoff_type of all functions.

    Raises:
      TypeError: for cutoffs that n2p2 does not have.
      ValueError: for sets with different ones.
    """
    found = {_cutoff_type(one.cutoff) for one in descriptor.functions if _kind(one, descriptor.species) < _COMPACT}
    if not found:
        return "cutoff_type 1"  # which n2p2 asks for, and functions of compact support do not use
    if len({kind for kind, _ in found}) > 1 or np.ptp([alpha for _, alpha in found]) > 1e-15:  # rounded
        raise ValueError(f"write_n2p2: all functions of a file have one type of cutoff and one inner radius, got types and fractions {sorted(found)}")
    kind, alpha = min(found)
    return f"cutoff_type {kind} {alpha!r}" if alpha else f"cutoff_type {kind}"


def _cutoff_type(cutoff: Cutoff) -> tuple[int, float]:
    width = getattr(cutoff, "width", None)
    alpha = 0.0 if width is None else 1 - float(width) / float(cutoff.radius)
    for kind, make in _CUTOFFS.items():
        if cutoff == make(cutoff.radius, **({} if kind in _WITHOUT_INNER_RADIUS else {"width": width})):
            return int(kind), alpha
    raise TypeError(f"write_n2p2: n2p2 has no {cutoff!r}; write CosineCutoff, TanhCutoff, BumpCutoff or PolynomialCutoff")
