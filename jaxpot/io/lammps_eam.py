"""LAMMPS's files of embedded atoms: funcfl, setfl, Finnis–Sinclair, and eam/he."""

from pathlib import Path

import numpy as np

from jaxpot.io.lammps_entries import Species, chosen, energy_unit
from jaxpot.io.text import integer, number, one_line_refusals, read_text
from jaxpot.math.cutoffs import Step
from jaxpot.potentials.eam import EAM
from jaxpot.units import SYMBOLS

_FUNCFL_COULOMB = 27.2 * 0.529  # eV Å, as LAMMPS rounds it
_WHAT = "a file of pair_style eam, eam/alloy, eam/fs or eam/he"


@one_line_refusals(_WHAT)
def read_eam(*paths: str | Path, species: Species = None) -> EAM:
    """Files of `pair_style eam` (funcfl, one per element), `eam/alloy` (setfl), `eam/fs` or `eam/he`; which they are is seen from what they hold.

    As in LAMMPS, setfl goes by the names in its fourth line, not by the atomic numbers; funcfl tables are brought to one grid, and the pair
    energy of two elements is 27.2 · 0.529 Z_i(r) Z_j(r)/r.

    Args:
      paths: one setfl or Finnis–Sinclair file, or one funcfl file for each element.
      species: the elements to take, or label -> element where the file calls them otherwise, {"Fe2": "Fe"}; None takes all. A funcfl file is
        called as the element of its atomic number, or by its own name where that is none, {"Cu.eam": "Cu"}.

    Returns:
      The potential; every entry of its tables is a leaf.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for elements that are not in the files, or another number of entries than a file announces.
    """
    if not paths:
        raise ValueError('no files; write read_eam("CuNi.eam.alloy"), or one funcfl file per element')
    texts = [read_text(path, _WHAT) for path in paths]
    single = [_is_funcfl(text) for text in texts]
    if len(paths) == 1 and not single[0]:
        return _setfl(paths[0], texts[0], species)
    wrong = [str(path) for path, is_funcfl in zip(paths, single, strict=True) if not is_funcfl]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: files of several elements cannot be joined with other files; read each alone")
    return _funcfl(paths, texts, species)


def is_eam(text: str) -> bool:
    """Whether a text begins as funcfl or setfl does."""
    lines = [line.split() for line in text.split("\n", 5)]
    return _is_funcfl(text) or (len(lines) > 4 and _begins_setfl(lines[3], lines[4]))


def _is_funcfl(text: str) -> bool:
    """Whether the third line is that of the grid, which setfl has in its fifth."""
    lines = [line.split() for line in text.split("\n", 5)]
    return len(lines) > 2 and len(lines[2]) == 5 and all(map(_is_number, lines[2])) and not (len(lines) > 4 and _begins_setfl(lines[3], lines[4]))


def _begins_setfl(names: list[str], grid: list[str]) -> bool:
    return len(grid) in (5, 6) and all(map(_is_number, grid)) and len(names) > 1 and not any(map(_is_number, names[1:]))


def _is_number(word: str) -> bool:
    try:
        number(word, "")
    except ValueError:
        return False
    return True


class _Lines:
    """The lines of a file that hold something, without comments, one after the other, with their numbers."""

    def __init__(self, path: str | Path, text: str, skipped: int):
        self.path = path
        numbered = [(k, line.partition("#")[0].split()) for k, line in enumerate(text.split("\n"), 1)][skipped:]
        self._left = [(k, words) for k, words in reversed(numbered) if words]

    def next(self, expected: str) -> tuple[list[str], str]:
        """The words of the next line, and where it is."""
        if not self._left:
            raise ValueError(f"{self.path} ends where {expected} should be")
        k, words = self._left.pop()
        return words, f"{self.path}, line {k}"

    def n_words(self) -> int:
        return sum(len(words) for _, words in self._left)

    def table(self, n: int) -> np.ndarray:
        """The next n numbers, which end with a line."""
        found: list[float] = []
        where = str(self.path)
        while len(found) < n:
            if not self._left:
                raise ValueError(f"{self.path} ends within a table of {n} numbers, after {len(found)} of them")
            words, where = self.next("a table")
            found += [number(word, where) for word in words]
        if len(found) != n:
            raise ValueError(f"{where}: a table of {n} numbers goes on after them, in a line with {len(found) - n} more")
        return np.array(found)

    def grid(self, *names: str) -> tuple:
        """n_rho, Δrho, n_r, Δr, the cutoff, and what else is named; counts and steps are possible."""
        words, where = self.next("a line of n_rho, Δrho, n_r, Δr and the cutoff")
        if len(words) not in (5, 5 + len(names)):
            raise ValueError(f"{where}: expected a line of n_rho, Δrho, n_r, Δr and the cutoff, got {' '.join(words)[:60]!r}")
        n_rho, n_r = integer(words[0], where), integer(words[2], where)
        step_rho, step, *rest = (number(words[k], where) for k in (1, 3, *range(4, len(words))))
        if min(n_rho, n_r) < 5 or n_rho + n_r > self.n_words():
            left = f"the file has {self.n_words()} words more"
            raise ValueError(f"{where}: tables of n_rho = {n_rho} and n_r = {n_r} numbers; expected 5 or more each, and {left}")
        if min(step_rho, step, rest[0]) <= 0:
            raise ValueError(f"{where}: Δrho, Δr and the cutoff must be positive, got {step_rho}, {step} and {rest[0]}")
        return n_rho, step_rho, n_r, step, *rest

    def end(self, tables: str) -> None:
        if self._left:
            k, words = self._left.pop()
            raise ValueError(f"{self.path}, line {k}: the tables of {tables} are complete, but it goes on with {' '.join(words)[:60]!r}")


def _setfl(path: str | Path, text: str, wanted: Species) -> EAM:
    lines = _Lines(path, text, 3)
    (count, *elements), where = lines.next("a line of the number of elements and their names")
    if not count.isdigit() or int(count) != len(elements) or not elements:
        got = " ".join((count, *elements))[:60]
        raise ValueError(f"{where}: expected the number of elements and their names (setfl), or tables of one element from line 4 on (funcfl), got {got!r}")
    if len(set(elements)) < len(elements):
        raise ValueError(f"{where}: expected different elements, got {' '.join(elements)}")
    labels, species = chosen(wanted, tuple(elements), path)
    n_rho, density_step, n_r, step, cutoff, *largest = lines.grid("the largest rho")
    s, n_words = len(elements), lines.n_words()
    alloy, finnis_sinclair = s * (n_rho + n_r) + s * (s + 1) // 2 * n_r, s * (n_rho + s * n_r) + s * (s + 1) // 2 * n_r
    sites = s if largest or n_words >= finnis_sinclair else 1
    if n_words < (finnis_sinclair if largest else alloy):
        raise ValueError(f"{path}: {n_words} words in the tables of {s} elements; expected at least {finnis_sinclair if largest else alloy} numbers")
    embedding, density, pair = np.zeros((s, n_rho)), np.zeros((s, sites, n_r)), np.zeros((s, s, n_r))
    for i, symbol in enumerate(elements):
        _require_element(*lines.next(f"the tables of {symbol}"))
        embedding[i] = lines.table(n_rho)
        for site in range(sites):
            density[i, site] = lines.table(n_r)
    for i in range(s):
        for j in range(i + 1):
            pair[i, j] = pair[j, i] = lines.table(n_r)
    lines.end(f"{s} elements")
    taken, unit = [elements.index(label) for label in labels], energy_unit(text, path)
    density = density[np.ix_(taken, taken)] if sites > 1 else density[taken]
    first = largest[0] - (n_rho - 1) * density_step if largest else 0.0
    return EAM(species, unit * embedding[taken], density, unit * pair[np.ix_(taken, taken)], density_step, step, Step(cutoff), first)


def _funcfl(paths: tuple[str | Path, ...], texts: list[str], wanted: Species) -> EAM:
    read, elements = [], []
    for path, text in zip(paths, texts, strict=True):
        lines, unit = _Lines(path, text, 1), energy_unit(text, path)
        atomic_number = _require_element(*lines.next("a line of atomic number and mass"))
        elements.append(SYMBOLS[int(atomic_number)] if atomic_number in range(1, len(SYMBOLS)) else Path(path).name)
        n_rho, density_step, n_r, step, cutoff = lines.grid()
        embedding, charge, density = (lines.table(n) for n in (n_rho, n_r, n_r))
        lines.end("an element")
        read.append((embedding * unit, charge * unit**0.5, density, density_step, step, cutoff))
    if len(set(elements)) < len(elements):
        raise ValueError(f"{', '.join(map(str, paths))}: the files are of {', '.join(elements)}; expected one for each element")
    labels, species = chosen(wanted, tuple(elements), ", ".join(map(str, paths)))
    read = [read[elements.index(label)] for label in labels]
    # the grid of the coarsest file, and the last knot of the longest is left out: so LAMMPS counts
    density_step, step = max(x[3] for x in read), max(x[4] for x in read)
    rho = density_step * np.arange(int(max((len(x[0]) - 1) * x[3] for x in read) / density_step + 0.5))
    r = step * np.arange(int(max((len(x[1]) - 1) * x[4] for x in read) / step + 0.5))
    embedding = np.stack([_resampled(x[0], x[3], rho) for x in read])
    charge = np.stack([_resampled(x[1], x[4], r) for x in read])
    density = np.stack([_resampled(x[2], x[4], r) for x in read])
    with np.errstate(over="ignore"):  # what is too large is refused as not finite
        pair = _FUNCFL_COULOMB * charge[:, None] * charge[None, :]
    return EAM(species, embedding, density[:, None], pair, density_step, step, Step(max(x[5] for x in read)))


def _resampled(table: np.ndarray, step: float, at: np.ndarray) -> np.ndarray:
    """A table on the grid 0, step, … at other points, by the cubic through four knots; held two intervals behind the last of these."""
    x = at / step
    first = np.clip(x.astype(int), 1, len(table) - 3)
    p = np.minimum(x - first, 2.0)
    return (
        -p * (p - 1) * (p - 2) / 6 * table[first - 1]
        + (p * p - 1) * (p - 2) / 2 * table[first]
        - p * (p + 1) * (p - 2) / 2 * table[first + 1]
        + p * (p * p - 1) / 6 * table[first + 2]
    )


def _require_element(words: list[str], where: str) -> float:
    """The atomic number that the line of an element begins with, and its mass; what follows, lattice constant and lattice, has no meaning."""
    if len(words) < 2 or not all(map(_is_number, words[:2])):
        raise ValueError(f"{where}: expected a line of atomic number, mass, lattice constant and lattice, got {' '.join(words)[:60]!r}")
    return number(words[0], where)
