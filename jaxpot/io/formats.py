"""Every format of potential files: how it is recognised, what reads it and what writes it."""

import contextlib
import itertools
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxpot.io.exported import PROGRAM, read_exported
from jaxpot.io.gap import read_gap
from jaxpot.io.gap_writer import write_gap
from jaxpot.io.lammps import (
    read_eam,
    read_edip,
    read_modified_tersoff,
    read_stillinger_weber,
    read_tersoff,
    read_tersoff_zbl,
    read_vashishta,
)  # fmt: skip
from jaxpot.io.lammps_eam import is_eam
from jaxpot.io.lammps_entries import first_entry
from jaxpot.io.mliap import read_mliap
from jaxpot.io.mtp import read_mtp, write_mtp
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.io.save import MEMBER, load, save
from jaxpot.io.sgdml import read_sgdml, write_sgdml
from jaxpot.io.snap import read_snap, write_snap
from jaxpot.io.text import require_path
from jaxpot.io.yace import read_yace, write_yace
from jaxpot.longrange.sums import PairSum
from jaxpot.potentials.base import Potential

_BEGINNING = 100_000  # characters


@dataclass(frozen=True)
class _File:
    """A file and what it holds."""

    path: Path

    @cached_property
    def text(self) -> str:
        """Its bytes as characters; marks of formats are in ASCII, whatever the encoding."""
        text = self.path.read_bytes().replace(b"\0", b"").decode("latin-1")  # of UTF-16 every other byte is 0
        return text.lstrip("ï»¿ÿþ")  # byte-order marks

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """The names of what a .npz archive holds."""
        if not self.text.startswith("PK"):
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return tuple(name.removesuffix(".npy") for name in archive.namelist())
        except zipfile.BadZipFile:
            return ()

    @cached_property
    def rows(self) -> list[list[str]]:
        """The words of the first three lines that are not empty, without comments."""
        words = (line.split("#")[0].split() for line in self.text[:_BEGINNING].splitlines())
        return list(itertools.islice((row for row in words if row), 3))

    @cached_property
    def entry(self) -> list[float]:
        """The numbers of its first entry, if it has entries as the many-body files of LAMMPS."""
        return first_entry(self.text[:_BEGINNING])

    def has(self, *patterns: str) -> bool:
        """Whether there are lines that begin with each of these."""
        return all(re.search(rf"^(?:{pattern})", self.text, re.MULTILINE) for pattern in patterns)

    def begins(self, *sizes: int) -> bool:
        """Whether the first lines have so many words."""
        return [len(row) for row in self.rows[: len(sizes)]] == list(sizes)


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
      name: what messages call it.
      marks: of each of the files of a potential, in the order in which the reader takes them, how it is recognised.
      read: the reader.
      needed: its keywords that say what the files do not.
      options: its other keywords.
      ending: of the paths that are written in this format; empty where none are.
      write: (path, model), which writes it.
      takes_more: whether there may be more files with the last mark.
    """

    name: str
    marks: tuple[Callable[[_File], bool], ...]
    read: Callable[..., Any]
    needed: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    ending: str = ""
    write: Callable[[Path, Any], Any] | None = None
    takes_more: bool = False

    def ordered(self, files: tuple[_File, ...]) -> tuple[_File, ...] | None:
        """The files in the reader's order, if they are of this format."""
        marks = self.marks + self.marks[-1:] * (len(files) - len(self.marks)) * self.takes_more
        if len(marks) != len(files):
            return None
        orders = itertools.permutations(files) if len(self.marks) > 1 else (files,)
        return next((order for order in orders if all(mark(file) for mark, file in zip(marks, order, strict=True))), None)


def _is_gap(file: _File) -> bool:
    return file.text.lstrip().startswith("<") and "<GAP_params" in file.text


def _is_pace(file: _File) -> bool:
    """A .yace file, pacemaker's own, or a .ace file."""
    return file.has("elements:", "functions:") or file.has("species:", " *(- )? *speciesblock:") or file.has("radbasename=", "total_basis_size")


def _is_input_of_n2p2(file: _File) -> bool:
    return file.has(r"\s*number_of_elements\s", r"\s*elements\s")


def _is_bond_order(file: _File) -> bool:
    """Whether the first number of an entry is the exponent m of the Tersoff kind, rather than an energy."""
    return bool(file.entry) and file.entry[0] in (1, 3)


def _is_modified(file: _File) -> bool:
    """Whether R and D stand where tersoff/mod has them; in tersoff/zbl those are β and λ₂, of which β is small."""
    return _is_bond_order(file) and file.entry[7] > file.entry[8]


def _read_n2p2(path: Path, *, length_unit: float, energy_unit: float, sum: PairSum | None = None) -> Potential:
    return read_n2p2(path.parent, length_unit=length_unit, energy_unit=energy_unit, sum=sum)


def _write_n2p2(path: Path, model: Potential) -> None:
    write_n2p2(path.parent, model, length_unit=1.0, energy_unit=1.0)


def _write_snap(path: Path, model: Potential) -> None:
    write_snap(path, path.with_suffix(".snapparam"), model)


_UNITS = ("length_unit", "energy_unit")
FORMATS = (
    Format("jaxpot", (lambda file: MEMBER in file.arrays,), load, ending=".npz", write=save),
    Format("compiled", (lambda file: PROGRAM in file.arrays,), read_exported),
    Format("GAP of QUIP", (_is_gap,), read_gap, options=("species",), ending=".xml", write=write_gap),
    Format("PACE", (_is_pace,), read_yace, ending=".yace", write=write_yace),
    Format("PACE of FitSNAP", (_is_pace, lambda file: file.begins(2, 1)), read_yace),
    Format("MTP of MLIP", (lambda file: file.begins(1) and file.rows[0] == ["MTP"],), read_mtp, needed=("species",), ending=".mtp", write=write_mtp),
    Format(
        "SNAP", (lambda file: file.begins(2, 3, 1), lambda file: file.has("rcutfac") and not file.has("nelems")), read_snap, ending=".snapcoeff",
        write=_write_snap,
    ),
    Format("ML-IAP", (lambda file: file.begins(2, 1) or (file.begins(2) and file.has("NET")), lambda file: file.has("rcutfac", "nelems")), read_mliap),
    Format("n2p2", (_is_input_of_n2p2,), _read_n2p2, needed=_UNITS, options=("sum",), ending="input.nn", write=_write_n2p2),
    Format("sGDML", (lambda file: {"R_desc", "R_d_desc_alpha"} <= set(file.arrays),), read_sgdml, options=_UNITS, ending=".sgdml.npz", write=write_sgdml),
    Format("EAM", (lambda file: is_eam(file.text),), read_eam, options=("species",), takes_more=True),
    Format("Stillinger-Weber", (lambda file: len(file.entry) == 11,), read_stillinger_weber, options=("species",)),
    Format("Vashishta", (lambda file: len(file.entry) == 14 and not _is_bond_order(file),), read_vashishta, options=("species",)),
    Format("EDIP", (lambda file: len(file.entry) == 17 and not _is_bond_order(file),), read_edip, options=("species",)),
    Format("Tersoff", (lambda file: len(file.entry) == 14 and _is_bond_order(file),), read_tersoff, options=("species",)),
    Format("modified Tersoff", (lambda file: len(file.entry) in (17, 18) and _is_modified(file),), read_modified_tersoff, options=("species",)),
    Format(
        "Tersoff with ZBL", (lambda file: len(file.entry) == 18 and _is_bond_order(file) and not _is_modified(file),), read_tersoff_zbl,
        options=("species",),
    ),
)  # fmt: skip


def read(
    *paths: str | os.PathLike,
    species: Sequence[str] | None = None,
    length_unit: float | str | None = None,
    energy_unit: float | str | None = None,
    sum: PairSum | None = None,
) -> Any:
    """A model in a file of any format that jaxpot reads, which is recognised by what the file holds.

    Files of `pair_style sw/mod` are like those of `sw`, and read as such; write `read_modified_stillinger_weber` for them.

    Args:
      paths: the file, or all files of one potential in any order (SNAP and ML-IAP have two, EAM may have one for each element); of n2p2 the folder
        or its input.nn.
      species: the elements, for formats that do not name them, or to take some of them, as the format's own reader does.
      length_unit: that of the files in Å (n2p2), or its name (sGDML).
      energy_unit: likewise, in eV.
      sum: how pairs of charges are summed (n2p2 of the fourth generation).

    Returns:
      What the format's own reader returns.

    Raises:
      FileNotFoundError: if there is no such file.
      TypeError: for an argument that the format does not take, or lacks.
      ValueError: for files of no format that is known, or of several; and whatever the reader raises.

    Example:
      >>> import tempfile
      >>> from jaxpot import IsolatedAtoms
      >>> read(write(tempfile.mkdtemp() + "/si.npz", IsolatedAtoms({"Si": -158.5}))).species
      ('Si',)
    """
    files = tuple(_File(_path(path)) for path in paths)
    found = [(form, order) for form in FORMATS if (order := form.ordered(files)) is not None]
    if len(found) != 1:
        raise ValueError(_unknown(files, [form for form, _ in found]))
    ((form, order),) = found
    given = {"species": species, "length_unit": length_unit, "energy_unit": energy_unit, "sum": sum}
    given = {name: value for name, value in given.items() if value is not None}
    unknown, lacking = sorted(set(given) - {*form.needed, *form.options}), [name for name in form.needed if name not in given]
    if unknown:
        raise TypeError(f"{files[0].path} is of the format {form.name}, whose files say their {', '.join(unknown)}; leave that out")
    if lacking:
        line = ", ".join(f"{name}={_LINES[name]}" for name in lacking)
        raise TypeError(f'{files[0].path} is of the format {form.name}, which does not say its {", ".join(lacking)}; write read("{files[0].path}", {line})')
    return form.read(*(file.path for file in order), **given)


_LINES = {"species": '("Si",)', "length_unit": "jaxpot.units.BOHR", "energy_unit": "jaxpot.units.HARTREE"}


def _path(path: str | os.PathLike) -> Path:
    require_path(path, 'read("si.yace")')
    found = Path(path) / "input.nn" if Path(path).is_dir() else Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"no file at {found}; expected a potential" if found == Path(path) else f"{path} is a folder without an input.nn (n2p2)")
    return found


def _unknown(files: tuple[_File, ...], found: list[Format]) -> str:
    """Why files are of no format."""
    names = ", ".join(str(file.path) for file in files) or "nothing"
    if found:
        return f"{names}: may be of the formats {', '.join(form.name for form in found)}; write the reader of the one that it is"
    parts = [form.name for form in FORMATS if len(form.marks) > 1 and any(mark(file) for mark in form.marks for file in files)]
    if parts:
        return f"{names}: a potential of the format {' or '.join(parts)} has two files; write read(one, other)"
    return f"{names}: not in a format that is read: {', '.join(form.name for form in FORMATS)}"


def write(path: str | os.PathLike, model: Any) -> Path:
    """Writes a model in the format that the path's ending says, if it can hold the model.

    Args:
      path: NAME.npz (jaxpot's own, which holds every model), NAME.xml (GAP), NAME.yace (PACE), NAME.mtp, NAME.snapcoeff (SNAP, with NAME.snapparam
        beside it), NAME.sgdml.npz, or FOLDER/input.nn (n2p2, in Å and eV, with its other files beside it).
      model: the potential.

    Returns:
      The path written.

    Raises:
      TypeError, ValueError: for another ending, or a model that the format cannot hold; with the endings of those that can.
    """
    require_path(path, 'write("si.yace", model)')
    path = Path(path)
    form = max((form for form in FORMATS if form.ending and path.name.endswith(form.ending)), key=lambda form: len(form.ending), default=None)
    try:
        if form is None or form.write is None:
            raise ValueError(f"{path.name} has no ending of a format that is written")
        form.write(path, model)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; this model can be written as {', '.join(_holding(model)) or 'no file'}") from None
    return path


def _holding(model: Any) -> list[str]:
    """The endings of the formats that can hold a model: those whose writers take it."""
    endings = []
    for form in FORMATS:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(TypeError, ValueError):
            if form.write is not None:
                form.write(Path(folder) / (form.ending if form.ending[0] != "." else f"model{form.ending}"), model)
                endings.append(form.ending)
    return endings
