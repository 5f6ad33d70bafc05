"""Entries of three elements and numbers, as LAMMPS's many-body files hold them, and what all its potential files have in common."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from jaxpot.io.text import number
from jaxpot.units import ATOMIC_NUMBERS, KCAL_PER_MOL

Species = Sequence[str] | Mapping[str, str] | None


@dataclass(frozen=True)
class Entries:
    """The numbers of a file, by the name of the parameter.

    Args:
      path: the file.
      species: the elements, S of them.
      labels: what the file calls them.
      values: tables of shape [S, S, S], the atom first.
      places: one unit of the last place in which each number is written, likewise.
      energy: the file's unit of energy, in eV.
    """

    path: PathLike | str
    species: tuple[str, ...]
    labels: tuple[str, ...]
    values: dict[str, np.ndarray]
    places: dict[str, np.ndarray]
    energy: float

    def of_bonds(self, name: str) -> np.ndarray:
        """The entries i j j, shape [S, S]."""
        return _bonds(self.values[name])

    def require_not_negative(self, *names: str) -> None:
        for name in names:
            if np.any(self.values[name] < 0):
                raise ValueError(f"{self.path}: {name} must not be negative, got {np.min(self.values[name])}")

    def require_equal_bonds(self, *names: str) -> None:
        """Raises where i j j and j i i differ by more than the last place of either: what LAMMPS makes of these depends on how atoms are numbered."""
        for name in names:
            value, place = _bonds(self.values[name]), _bonds(self.places[name])
            self._require(_same(value, value.T, np.maximum(place, place.T)), value, name, "{0} {1} {1} must be that of {1} {0} {0}")

    def require_equal_angles(self, *products: tuple[str, ...]) -> None:
        """Raises where i j k and i k j differ, in the product of some parameters, by more than their last places."""
        for names in products:
            value = np.prod([self.values[name] for name in names], axis=0)
            place = sum(self.places[name] * np.prod([np.abs(self.values[other]) for other in names if other != name], axis=0) for name in names)
            same = _same(value, np.swapaxes(value, 1, 2), np.maximum(place, np.swapaxes(place, 1, 2)))
            self._require(same, value, " · ".join(names), "{0} {1} {2} must be that of {0} {2} {1}")

    def _require(self, equal: np.ndarray, value: np.ndarray, name: str, rule: str) -> None:
        if not np.all(equal):
            at = tuple(np.argwhere(~equal)[0].tolist())
            labels, other = [self.labels[k] for k in at], value[at[::-1] if len(at) == 2 else (at[0], at[2], at[1])]
            raise ValueError(f"{self.path}: {name} of the entry {rule.format(*labels)}, got {value[at]:.10g} and {other:.10g}; make them equal in the file")


def _same(value: np.ndarray, other: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Whether numbers differ by no more than a unit of their last place, and by so little that this is rounding: 0.2 is not 0.22."""
    return np.abs(value - other) <= np.minimum(1.0001 * place, 1e-4 * np.abs(value))


def _bonds(table: np.ndarray) -> np.ndarray:
    return np.einsum("ijj->ij", table).copy()


def entries(path: PathLike | str, text: str, formats: Sequence[Sequence[str]], species: Species) -> Entries:
    """Reads a file of entries.

    As in LAMMPS, an entry begins with a line and goes on until it has all of its words, and entries of elements that are not asked for are
    not looked at.

    Args:
      path: the file, for messages.
      text: what it holds.
      formats: the names of the numbers of an entry; the first entry says which of several it is.
      species: which elements to take, in this order, or label -> element where the file calls them otherwise; None takes all.
    """
    found, names = {}, None
    for key, words, where in _grouped(path, text, formats):
        names = next(f for f in formats if len(f) == len(words))
        found.setdefault(key, []).append((words, where))
    labels, elements = chosen(species, tuple(dict.fromkeys(label for key in found for label in key)), path)
    lacking = [" ".join(key) for key in itertools.islice((key for key in itertools.product(labels, repeat=3) if key not in found), 4)]
    if lacking:
        more = " and more" if len(lacking) > 3 else ""
        raise ValueError(f"{path} has no entry {', '.join(lacking[:3])}{more}; name the elements that it describes together, species=({labels[0]!r},)")
    keys = list(itertools.product(labels, repeat=3))
    twice = next((" ".join(key) for key in keys if len(found[key]) > 1), None)
    if twice:
        raise ValueError(f"{path}: the entry {twice} is there twice")
    rows = [[(number(word, where), _last_place(word)) for word in words] for ((words, where),) in (found[key] for key in keys)]
    table = np.array(rows).reshape(*(len(labels),) * 3, len(names), 2)
    values, places = ({name: table[..., k, part].copy() for k, name in enumerate(names)} for part in (0, 1))
    return Entries(path, elements, labels, values, places, energy_unit(text, path))


def _grouped(path: PathLike | str, text: str, formats: Sequence[Sequence[str]]) -> Iterator[tuple[tuple[str, ...], list[str], str]]:
    """Of every entry its three labels, its numbers as words, and where it begins."""
    lines = [(k, words) for k, line in enumerate(text.splitlines(), 1) if (words := line.split("#")[0].split())]
    rest = [word for _, words in lines for word in words][3:]
    first = next((k for k, word in enumerate(rest) if not _is_number(word)), len(rest))
    form = " or ".join(f"{len(names)} numbers, {', '.join(names)}" for names in formats)
    if not lines or any(map(_is_number, lines[0][1][:3])) or first not in map(len, formats):
        begun = f"got one of {first} numbers in line {lines[0][0]}, {' '.join(lines[0][1])[:60]!r}" if lines else "got none"
        raise ValueError(f"{path}: expected entries of three elements and {form}; {begun}")
    held, begin = [], 0
    for k, words in lines:
        begin, held = (begin, held + words) if held else (k, words)
        if len(held) > 3 + first:
            raise ValueError(f"{path}, line {k}: the entry {' '.join(held[:3])} has more than {first} numbers; expected {form}")
        if len(held) == 3 + first:
            if any(map(_is_number, held[:3])):
                raise ValueError(f"{path}, line {begin}: {' '.join(held[:3])} are not three elements; expected entries of three elements and {form}")
            yield tuple(held[:3]), held[3:], f"{path}, line {begin}"
            held = []
    if held:
        raise ValueError(f"{path} ends within the entry {' '.join(held[:3])}, which has {len(held) - 3} words; expected {form}")


def first_entry(text: str) -> list[float]:
    """The numbers of the first entry; none where a text does not begin with three labels and numbers."""
    words = [word for line in text.splitlines() for word in line.split("#")[0].split()]
    if any(map(_is_number, words[:3])):
        return []
    try:
        return [number(word, "") for word in itertools.takewhile(_is_number, words[3:])]
    except ValueError:
        return []


def _is_number(word: str) -> bool:
    """Whether a word should be a number: all but labels, which begin with a letter."""
    return not word[0].isalpha() or word.lower() in ("nan", "inf", "infinity")


def _last_place(word: str) -> float:
    """One unit of the last place in which a number is written: 0.01 of 2.35, 10 of 1.2e2."""
    digits, _, exponent = word.lower().replace("d", "e").partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def chosen(species: Species, found: tuple[str, ...], path: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels of a file to take, and the elements that they stand for."""
    if isinstance(species, str):
        raise ValueError(f"species must be a tuple of elements; write species=({species!r},)")
    pairs = dict(species) if isinstance(species, Mapping) else {label: label for label in (found if species is None else species)}
    if not pairs or (species is not None and len(pairs) < len(species)):
        raise ValueError(f"{path}: species must name different elements, at least one, got {species!r}; the file has {', '.join(found)}")
    lacking = [str(label) for label in pairs if label not in found]
    if lacking:
        raise ValueError(f"{path} has {', '.join(found)}, but not {', '.join(lacking)}")
    unknown = [label for label, element in pairs.items() if element not in ATOMIC_NUMBERS]
    if unknown:
        mapped = ", ".join(f"{label!r}: ..." for label in unknown[:3])
        raise ValueError(f"{path}: {', '.join(map(str, unknown[:9]))} are no elements; say which elements labels stand for, species={{{mapped}}}")
    if len(set(pairs.values())) < len(pairs):
        raise ValueError(f"{path}: two labels stand for one element in {pairs}; take one of them, species={{{next(iter(pairs))!r}: ...}}")
    return tuple(pairs), tuple(pairs.values())


def energy_unit(text: str, path: object) -> float:
    """The unit of energy in eV, by the word behind UNITS in the first line."""
    found = re.search(r"UNITS:\s*(\w+)", text.partition("\n")[0])
    units = {"metal": 1.0, "real": KCAL_PER_MOL}
    if found and found[1] not in units:
        raise ValueError(f"{path} is in units {found[1]}; those that are read: {', '.join(units)}")
    return units[found[1]] if found else 1.0
