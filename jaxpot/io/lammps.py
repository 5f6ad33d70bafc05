"""Empirical potentials in LAMMPS's files: Stillinger–Weber, Tersoff, and the tables of embedded atoms.

Lengths are in Å and energies in eV ("UNITS: metal", or nothing said), or in kcal/mol ("UNITS: real").
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxpot.io.text import number
from jaxpot.math.cutoffs import Step
from jaxpot.potentials.eam import EAM
from jaxpot.potentials.stillinger_weber import StillingerWeber
from jaxpot.potentials.tersoff import ModifiedTersoff, Tersoff
from jaxpot.units import ATOMIC_NUMBERS, KCAL_PER_MOL, SYMBOLS

_FUNCFL_COULOMB = 27.2 * 0.529  # eV Å, as LAMMPS rounds it


def read_stillinger_weber(path: str | Path, *, species: tuple[str, ...] | None = None) -> StillingerWeber:
    """A file of `pair_style sw`.

    Args:
      path: the file, usually `.sw`; each entry names the apex and two neighbours.
      species: the elements to take; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, a tolerance `tol` that is not 0 (it would shorten the cutoff), or parameters by which the
        energy depended on the order of the neighbours.
    """
    names = ("epsilon", "sigma", "a", "lam", "gamma", "cosine", "A", "B", "p", "q", "tol")
    species, table, unit = _triplets(path, names, species)
    if np.any(table.pop("tol")):
        raise ValueError(f"{path}: the last number of an entry, tol, must be 0.0; others shorten the cutoff and are not read")
    pairs = {name: _of_bonds(table[name]) for name in ("sigma", "a", "gamma", "A", "B", "p", "q")}
    try:
        return StillingerWeber(species, epsilon=unit * table["epsilon"], lam=table["lam"], cosine=table["cosine"], **pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_tersoff(path: str | Path, *, species: tuple[str, ...] | None = None) -> Tersoff:
    """A file of `pair_style tersoff`.

    Args:
      path: the file, usually `.tersoff`.
      species: the elements to take; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, m other than 1 or 3 or both where λ3 is not 0, or a repulsion or cutoff of pairs
        that depends on which atom comes first.
    """
    names = ("m", "gamma", "lambda3", "c", "d", "cosine", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
    return _bond_order(Tersoff, path, names, species, (1, 3))


def read_modified_tersoff(path: str | Path, *, species: tuple[str, ...] | None = None) -> ModifiedTersoff:
    """A file of `pair_style tersoff/mod` with the exponent β = 1; arguments and errors as of `read_tersoff`."""
    names = ("m", "lambda3", "cosine", "eta", "beta", "lambda2", "B", "R", "D", "lambda1", "A", "n", "c1", "c2", "c3", "c4", "c5")
    return _bond_order(ModifiedTersoff, path, names, species, (1,))  # whether LAMMPS cubes α with the distance is not checked


def _bond_order(
    cls: type, path: str | Path, names: tuple[str, ...], species: tuple[str, ...] | None, exponents: tuple[int, ...]
) -> Tersoff | ModifiedTersoff:
    species, table, unit = _triplets(path, names, species)
    m = np.unique(table["m"][table["lambda3"] != 0]) if np.any(table["lambda3"]) else table["m"].reshape(-1)[:1]
    if len(m) > 1 or m[0] not in exponents:
        allowed = " or ".join(map(str, exponents))
        raise ValueError(f"{path}: the exponent m (of tersoff/mod: beta) must be {allowed}, one for all entries, got {sorted({float(x) for x in m})}")
    for name in ("A", "lambda1", "R", "D"):
        bonds = _of_bonds(table[name])
        if not np.allclose(bonds, bonds.T):
            raise ValueError(f"{path}: {name} of the entries i j j must be that of j i i, got {bonds.tolist()} for {species}")
    triplets = {name: table[name] for name in cls.triplet_tables}
    pairs = {name: (unit if name in ("A", "B") else 1) * _of_bonds(table[name]) for name in cls.pair_tables}
    try:
        return cls(species, **triplets, **pairs, m=int(m[0]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _of_bonds(table: np.ndarray) -> np.ndarray:
    return np.einsum("ijj->ij", table).copy()


def _triplets(path: str | Path, names: tuple[str, ...], species: tuple[str, ...] | None) -> tuple[tuple[str, ...], dict[str, np.ndarray], float]:
    """The elements, the table [S, S, S] of every parameter, and the unit of energy in eV."""
    text = _text(path)
    words = " ".join(line.split("#")[0] for line in text.splitlines()).split()
    width = 3 + len(names)
    if not words or len(words) % width:
        raise ValueError(f"{path}: expected entries of {width} words, three elements and {', '.join(names)}; got {len(words)} words in all")
    entries: dict[tuple[str, ...], list[float]] = {}
    for start in range(0, len(words), width):
        key = tuple(words[start : start + 3])
        if any(symbol not in ATOMIC_NUMBERS for symbol in key):
            raise ValueError(f"{path}: {' '.join(key)} are not three elements; expected entries of three elements and {', '.join(names)}")
        if key in entries:
            raise ValueError(f"{path}: the entry {' '.join(key)} is there twice")
        entries[key] = [number(word, path) for word in words[start + 3 : start + width]]
    species = tuple(dict.fromkeys(s for key in entries for s in key)) if species is None else tuple(species)
    lacking = [" ".join(key) for key in itertools.product(species, repeat=3) if key not in entries]
    if lacking:
        raise ValueError(f"{path} has no entry {', '.join(lacking)}; name the elements it describes, species=({species[0]!r},)")
    values = np.array([entries[key] for key in itertools.product(species, repeat=3)])
    values = values.reshape(len(species), len(species), len(species), len(names))
    return species, {name: values[..., k].copy() for k, name in enumerate(names)}, _energy_unit(text, path)


def read_eam(*paths: str | Path, species: tuple[str, ...] | None = None) -> EAM:
    """Files of `pair_style eam` (funcfl, one per element), `eam/alloy` (setfl) or `eam/fs`; which they are is seen from what they hold.

    As in LAMMPS, funcfl tables are brought to one grid, and the pair energy of two elements is 27.2 · 0.529 Z_i(r) Z_j(r)/r.

    Args:
      paths: one setfl or Finnis–Sinclair file, or one funcfl file for each element.
      species: the elements to take; None takes all.

    Returns:
      The potential; every entry of its tables is a leaf.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for elements that are not in the files, or another number of entries than a file announces.
    """
    if not paths:
        raise ValueError('no files; write read_eam("CuNi.eam.alloy"), or one funcfl file per element')
    kinds = {str(path): _elements(_text(path)) for path in paths}
    if len(paths) == 1 and kinds[str(paths[0])] is not None:
        return _setfl(paths[0], kinds[str(paths[0])], species)
    wrong = [path for path, elements in kinds.items() if elements is not None]
    if wrong:
        raise ValueError(f"{wrong} hold several elements and cannot be joined with other files; read each alone")
    return _funcfl(paths, species)


def _elements(text: str) -> tuple[str, ...] | None:
    """The elements that the fourth line of a setfl file names; None for funcfl."""
    lines = text.splitlines()
    words = lines[3].split() if len(lines) > 3 else []
    named = len(words) > 1 and words[0].isdigit() and int(words[0]) == len(words) - 1 and all(w in ATOMIC_NUMBERS for w in words[1:])
    return tuple(words[1:]) if named else None


def _grid(line: str, path: str | Path) -> tuple[int, float, int, float, float]:
    words = line.split()
    if len(words) != 5:
        raise ValueError(f"{path}: expected a line of n_rho, Δrho, n_r, Δr and the cutoff, got {line!r}")
    return int(words[0]), number(words[1], path), int(words[2]), number(words[3], path), number(words[4], path)


def _values(lines: Iterator[str], n: int, path: str | Path) -> np.ndarray:
    """The next n numbers, which end with a line."""
    found: list[float] = []
    while len(found) < n:
        line = next(lines, None)
        if line is None:
            raise ValueError(f"{path} ends within a table of {n} numbers, after {len(found)} of them")
        found += [number(word, path) for word in line.split()]
    if len(found) != n:
        raise ValueError(f"{path}: a table of {n} numbers goes on after them, in a line with {len(found) - n} more")
    return np.array(found)


def _setfl(path: str | Path, elements: tuple[str, ...], wanted: tuple[str, ...] | None) -> EAM:
    text = _text(path)
    lines = iter([line for line in text.splitlines()[4:] if line.strip()])
    n_rho, density_step, n_r, step, cutoff = _grid(next(lines), path)
    s, words = len(elements), len(text.split()) - len(" ".join(text.splitlines()[:5]).split())
    alloy = s * (n_rho + n_r) + s * (s + 1) // 2 * n_r
    sites = s if words - alloy >= s * (s - 1) * n_r else 1  # a Finnis–Sinclair file has this many tables more
    embedding, density, pair = np.zeros((s, n_rho)), np.zeros((s, sites, n_r)), np.zeros((s, s, n_r))
    for i, symbol in enumerate(elements):
        _require_element(next(lines, ""), symbol, path)
        embedding[i] = _values(lines, n_rho, path)
        for site in range(sites):
            density[i, site] = _values(lines, n_r, path)
    for i in range(s):
        for j in range(i + 1):
            pair[i, j] = pair[j, i] = _values(lines, n_r, path)
    left = next(lines, None)
    if left is not None:
        raise ValueError(f"{path}: the tables of {s} elements are complete, but it goes on with {left[:60]!r}")
    species, taken = _taken(elements, wanted, path)
    if sites > 1:
        density = density[:, taken]
    unit = _energy_unit(text, path)
    return EAM(species, unit * embedding[taken], density[taken], unit * pair[np.ix_(taken, taken)], density_step, step, Step(cutoff))


def _funcfl(paths: tuple[str | Path, ...], wanted: tuple[str, ...] | None) -> EAM:
    read, elements = [], []
    for path in paths:
        text = _text(path)
        lines = iter([line for line in text.splitlines()[1:] if line.strip()])
        elements.append(SYMBOLS[_require_element(next(lines, ""), None, path)])
        n_rho, density_step, n_r, step, cutoff = _grid(next(lines, ""), path)
        embedding, charge, density = (_values(lines, n, path) for n in (n_rho, n_r, n_r))
        left = next(lines, None)
        if left is not None:
            raise ValueError(f"{path}: its tables are complete, but it goes on with {left[:60]!r}")
        read.append((embedding * _energy_unit(text, path), charge * _energy_unit(text, path) ** 0.5, density, density_step, step, cutoff))
    if len(set(elements)) < len(elements):
        raise ValueError(f"the files are of {', '.join(elements)}; expected one for each element")
    species, taken = _taken(tuple(elements), wanted, paths)
    read = [read[k] for k in taken]
    # the grid of the coarsest file, and the last knot of the longest is left out: so LAMMPS counts
    density_step, step = max(x[3] for x in read), max(x[4] for x in read)
    rho = density_step * np.arange(int(max((len(x[0]) - 1) * x[3] for x in read) / density_step + 0.5))
    r = step * np.arange(int(max((len(x[1]) - 1) * x[4] for x in read) / step + 0.5))
    embedding = np.stack([_resampled(x[0], x[3], rho) for x in read])
    charge = np.stack([_resampled(x[1], x[4], r) for x in read])
    density = np.stack([_resampled(x[2], x[4], r) for x in read])
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


def _require_element(line: str, symbol: str | None, path: str | Path) -> int:
    """The atomic number that the line of an element (Z, mass, lattice constant, lattice) begins with."""
    words = line.split()
    if not 3 <= len(words) <= 4 or not words[0].isdigit() or not 0 < int(words[0]) < len(SYMBOLS):
        raise ValueError(f"{path}: expected a line of atomic number, mass, lattice constant and lattice, got {line[:60]!r}")
    if symbol is not None and SYMBOLS[int(words[0])] != symbol:
        raise ValueError(f"{path}: the tables of {symbol} are said to be of {SYMBOLS[int(words[0])]}")
    return int(words[0])


def _taken(elements: tuple[str, ...], wanted: tuple[str, ...] | None, path: object) -> tuple[tuple[str, ...], list[int]]:
    wanted = elements if wanted is None else tuple(wanted)
    lacking = [symbol for symbol in wanted if symbol not in elements]
    if lacking:
        raise ValueError(f"{path} has {', '.join(elements)}, but not {', '.join(lacking)}")
    return wanted, [elements.index(symbol) for symbol in wanted]


def _text(path: str | Path) -> str:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no potential file at {path}")
    return path.read_text()


def _energy_unit(text: str, path: str | Path) -> float:
    """The unit of energy in eV, by the word behind UNITS in the first line."""
    found = re.search(r"UNITS:\s*(\w+)", text.splitlines()[0])
    units = {"metal": 1.0, "real": KCAL_PER_MOL}
    if found and found[1] not in units:
        raise ValueError(f"{path} is in units {found[1]}; those that are read: {', '.join(units)}")
    return units[found[1]] if found else 1.0
