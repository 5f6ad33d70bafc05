"""Moment tensor potentials of MLIP-2 and MLIP-3: reading `.mtp` and `.almtp` files, and writing them for MLIP-2."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxpot.checks import require_finite, species_tuple
from jaxpot.descriptors.mtp import MTP
from jaxpot.heads.linear import Linear
from jaxpot.io.text import integer, number, one_line_refusals, read_text, require_path
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum, terms_of
from jaxpot.trees import fits

_NAMES = ("version", "potential_name", "potential_tag")  # which a file may lack
_TEXT = (*_NAMES, "radial_basis_type")
_COUNTS = (
    "species_count", "radial_basis_size", "radial_funcs_count", "alpha_moments_count", "alpha_index_basic_count", "alpha_index_times_count",
    "alpha_scalar_moments",
)  # fmt: skip
_NUMBERS = ("scaling", "min_dist", "max_dist")
_LISTS = ("alpha_moment_mapping", "species_coeffs", "moment_coeffs")
_ROWS = ("alpha_index_basic", "alpha_index_times")
_TRAINING_SET = re.compile(rb"^[ \t]*#MVS", re.MULTILINE)  # of MLIP-3, in binary, to the end of the file
_HIGHEST = 30  # rank of a tensor; level 28 has 12
_OF_THE_FIT = ("scaling", "radial_coeffs", "species_coeffs", "moment_coeffs")


@one_line_refusals("an MTP file")
def read_mtp(path: str | Path, species: tuple[str, ...]) -> Potential:
    """A fitted moment tensor potential.

    Args:
      path: the `.mtp` file of MLIP-2, or the `.almtp` file of MLIP-3, of which the training set at the end is left out.
      species: the elements of the file's types 0, 1, …, which it does not name.

    Returns:
      A Sum of one AtomicPotential, which evaluates the file's own lists of moments, and IsolatedAtoms of its `species_coeffs`. The file has
      one coefficient per function; `Linear` holds it once for every centre species.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for another version, radial basis or key, named; a file that was not fitted, contradicts its own counts, or lists moments
        in an order in which they cannot be made; another number of species.

    References:
      Novikov, Gubaev, Podryabinkin, Shapeev, "The MLIP package: moment tensor potentials with MPI and active learning",
      Mach. Learn.: Sci. Technol. 2, 025002 (2021).
    """
    path = Path(path)
    species_tuple(species, "read_mtp")
    found, radial = _entries(path)
    lacking = [key for key in ("radial_basis_type", *_COUNTS, *_NUMBERS, *_LISTS, *_ROWS) if key not in found] + ["radial_coeffs"] * (not radial)
    unfitted = [key for key in lacking if key in _OF_THE_FIT]
    if unfitted:
        raise ValueError(f"{path.name} lacks {', '.join(unfitted)}: it was not fitted; write MTP(species, level, ...) and fit it")
    if lacking:
        raise ValueError(f"{path.name} lacks {', '.join(lacking)}")
    for key, expected in (("version", "1.1.0"), ("radial_basis_type", "RBChebyshev")):
        if found.get(key, expected) != expected:
            raise ValueError(f"{path.name}: {key} = {found[key]} is not read, only {expected}")
    n, functions, size = (found[key] for key in ("species_count", "radial_funcs_count", "radial_basis_size"))
    if n != len(species):
        raise ValueError(f"{path.name} has {n} types, species names {len(species)}: {species}")
    lengths = {
        "alpha_index_basic": "alpha_index_basic_count", "alpha_index_times": "alpha_index_times_count", "alpha_moment_mapping": "alpha_scalar_moments",
        "moment_coeffs": "alpha_scalar_moments", "species_coeffs": "species_count",
    }  # fmt: skip
    for key, count in lengths.items():
        if len(found[key]) != found[count]:
            raise ValueError(f"{path.name}: {key} has {len(found[key])} entries, {count} says {found[count]}")
    if set(radial) != {(i, j) for i in range(n) for j in range(n)}:
        raise ValueError(f"{path.name}: radial_coeffs has the pairs {sorted(radial)}; expected all of {n} types")
    if any(np.shape(rows) != (functions, size) for rows in radial.values()):
        raise ValueError(f"{path.name}: radial_coeffs must have {functions} rows of {size} numbers for every pair")
    basic, times = found["alpha_index_basic"], found["alpha_index_times"]
    for row in basic:
        if min(row) < 0 or sum(row[1:]) > _HIGHEST:
            raise ValueError(f"{path.name}: alpha_index_basic has {row}; expected whole numbers ≥ 0, the last three at most {_HIGHEST} together")
    used = 1 + max((row[0] for row in basic), default=-1)
    if functions < used:
        raise ValueError(f"{path.name}: alpha_index_basic uses {used} radial functions, radial_funcs_count says {functions}")
    made = len(basic) + len({row[3] for row in times})
    if made != found["alpha_moments_count"]:
        raise ValueError(f"{path.name}: its lists make {made} moments, alpha_moments_count says {found['alpha_moments_count']}")
    table = np.array([[radial[i, j][:used] for j in range(n)] for i in range(n)])
    descriptor = MTP(
        species, None, found["min_dist"], found["max_dist"], radial_basis_size=size, radial=require_finite(table, f"{path.name}: radial_coeffs"),
        scaling=found["scaling"], contractions=(basic, times, found["alpha_moment_mapping"]),
    )  # fmt: skip
    coefficients = require_finite(found["moment_coeffs"], f"{path.name}: moment_coeffs")
    energies = require_finite(found["species_coeffs"], f"{path.name}: species_coeffs")
    model = AtomicPotential(descriptor, Linear(coefficients=np.tile(coefficients, n)))
    return Sum((model, IsolatedAtoms(dict(zip(species, energies, strict=True)))))


def _entries(path: Path) -> tuple[dict, dict[tuple[int, int], list]]:
    """Values by key, and the rows of radial coefficients by pair of types."""
    lines = [line.split("#")[0].split("<<<")[0].strip() for line in _head(path).split("\n")]  # either starts a comment
    lines = [line for line in lines if line]
    if not lines or lines[0] != "MTP":
        raise ValueError(f"{path.name} does not begin with a line MTP; expected the .mtp format of MLIP-2")
    found, radial, pair = {}, {}, None
    in_radial = False
    for line in lines[1:]:
        key, equals, value = (part.strip() for part in line.partition("="))
        if line == "radial_coeffs" and not radial:
            in_radial = True
        elif in_radial and re.fullmatch(r"\d{1,4}-\d{1,4}", line, re.ASCII):
            pair = tuple(int(i) for i in line.split("-"))
            if pair in radial:
                raise ValueError(f"{path.name}: radial_coeffs has the pair {line} twice")
            radial[pair] = []
        elif in_radial and pair is not None and line.startswith("{"):
            radial[pair].append(_list(line, number, path, "radial_coeffs"))
        elif not equals or key not in (*_TEXT, *_COUNTS, *_NUMBERS, *_LISTS, *_ROWS):
            raise ValueError(f"{path.name}: cannot read {line[:60]!r}")
        elif key in found:
            raise ValueError(f"{path.name} has {key} twice")
        else:
            in_radial = False
            found[key] = _value(key, value, path)
    return found, radial


def _head(path: Path) -> str:
    """Without the training set."""
    content = path.read_bytes() if path.is_file() else b""
    if not (end := _TRAINING_SET.search(content)):
        return read_text(path, "the .mtp format of MLIP-2")
    head = content[: end.start()].decode("latin-1")
    if "\0" in head:
        raise ValueError(f"{path.name} is not a text file before its line #MVS; expected the .almtp format of MLIP-3")
    return head.replace("\r\n", "\n").removeprefix("\xef\xbb\xbf")


def _value(key: str, value: str, path: Path):
    if key in _TEXT:
        return value
    if key in _LISTS:
        return tuple(_list(value, integer if key == "alpha_moment_mapping" else number, path, key))
    if key in _ROWS:
        if not re.fullmatch(r"\{(\s*\{[^{}]*\}\s*,?)*\s*\}", value):
            raise ValueError(f"{path.name}: {key} must be a list of lists {{{{0, 0, 0, 0}}, …}}, got {value[:60]!r}")
        rows = tuple(tuple(_list(row, integer, path, key)) for row in re.findall(r"\{[^{}]*\}", value))
        if any(len(row) != 4 for row in rows):
            raise ValueError(f"{path.name}: every row of {key} must have 4 integers")
        return rows
    return (integer if key in _COUNTS else number)(value, f"{path.name}: {key}")


def _list(text: str, kind: Callable[[str, str], float], path: Path, key: str) -> list:
    if not re.fullmatch(r"\{[^{}]*\}", text):
        raise ValueError(f"{path.name}: {key} must be a list {{…}}, got {text[:60]!r}")
    return [kind(part, f"{path.name}: {key}") for part in text[1:-1].split(",")] if text[1:-1].strip() else []


def write_mtp(path: str | os.PathLike, model: Potential) -> Path:
    """Writes a moment tensor potential as a `.mtp` file of MLIP-2, with all digits.

    Args:
      path: file name.
      model: AtomicPotential(MTP(...), Linear(...)), with or without IsolatedAtoms added. The file's types are the MTP's species, in order.

    Returns:
      The path written.

    Raises:
      TypeError: for any other model.
      ValueError: for a model that is not fitted, whose coefficients differ between centre species, or whose isolated atoms are others.
    """
    require_path(path, 'write_mtp("model.mtp", model)')
    path, terms = Path(path), terms_of(model)
    own = [t for t in terms if fits(t, AtomicPotential, descriptor=MTP, head=Linear)]
    isolated = [t for t in terms if isinstance(t, IsolatedAtoms)]
    if len(own) != 1 or len(isolated) > 1 or len(own) + len(isolated) != len(terms):
        names = " + ".join(type(t).__name__ for t in terms)
        raise TypeError(f"write_mtp: expected AtomicPotential(MTP(...), Linear()) + IsolatedAtoms({{...}}), got {names}")
    mtp, head = own[0].descriptor, own[0].head
    if head.coefficients is None:
        raise ValueError("write_mtp: the model has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
    n = len(mtp.species)
    coefficients = np.asarray(head.coefficients, float).reshape(n, -1)
    if np.any(coefficients != coefficients[:1]):
        raise ValueError(f"write_mtp: an .mtp file has one coefficient per function for all centres; those of {', '.join(mtp.species)} differ")
    energies = dict.fromkeys(mtp.species, 0.0)
    if isolated:
        if set(isolated[0].species) != set(mtp.species):
            raise ValueError(f"write_mtp: IsolatedAtoms has {isolated[0].species}, the MTP has {mtp.species}")
        energies.update(zip(isolated[0].species, np.asarray(isolated[0].values, float).tolist(), strict=True))
    tensors, moments = mtp.expansion, mtp.moments
    radial = np.asarray(tensors.radial, float)
    lines = [
        "MTP", "version = 1.1.0", "potential_name = MTP1m", f"scaling = {float(tensors.scaling):.16e}", f"species_count = {n}", "potential_tag = ",
        "radial_basis_type = RBChebyshev", f"\tmin_dist = {float(tensors.min_dist):.16e}", f"\tmax_dist = {float(tensors.max_dist):.16e}",
        f"\tradial_basis_size = {radial.shape[3]}", f"\tradial_funcs_count = {radial.shape[2]}", "\tradial_coeffs",
    ]  # fmt: skip
    for i, j in np.ndindex(n, n):
        lines += [f"\t\t{i}-{j}", *(f"\t\t\t{_text(row)}" for row in radial[i, j])]
    lines += [
        f"alpha_moments_count = {len(moments.basic) + len({t for *_, t in moments.times})}",
        f"alpha_index_basic_count = {len(moments.basic)}", f"alpha_index_basic = {_rows(moments.basic)}",
        f"alpha_index_times_count = {len(moments.times)}", f"alpha_index_times = {_rows(moments.times)}",
        f"alpha_scalar_moments = {len(moments.mapping)}", f"alpha_moment_mapping = {{{', '.join(map(str, moments.mapping))}}}",
        f"species_coeffs = {_text([energies[s] for s in mtp.species])}", f"moment_coeffs = {_text(coefficients[0])}",
    ]  # fmt: skip
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(lines) + "\n")
    os.replace(partial, path)
    return path


def _text(numbers) -> str:
    return "{" + ", ".join(f"{x:.16e}" for x in numbers) + "}"


def _rows(rows) -> str:
    return "{" + ", ".join("{" + ", ".join(map(str, row)) + "}" for row in rows) + "}"
