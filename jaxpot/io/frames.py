"""Structures from files and globs, through ASE, with the place each came from for messages."""

import bz2
import contextlib
import glob
import gzip
import io
import lzma
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_COMPRESSED = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}


def read_frames(patterns: Sequence[str], *, base: Path = Path(), index: str = ":", select: Mapping | None = None) -> tuple[list, list[str]]:
    """The frames of files or globs with their origins ("file, frame i"), filtered by `atoms.info`."""
    from ase.io.formats import string2index

    frames, origins = [], []
    for path in file_paths(patterns, base):
        if Path(path).stat().st_size == 0:
            raise ValueError(f"{path} is empty; expected structures in a format that ASE reads, for example extended XYZ")
        try:
            found = _read(path)
        except Exception as error:  # ASE's readers raise anything at all
            raise ValueError(f"{path} cannot be read by ASE ({type(error).__name__}: {error})") from None
        if not found:
            raise ValueError(f"{path} has no structures; expected at least one")
        try:
            chosen = range(len(found))[string2index(index)]
        except (ValueError, IndexError, TypeError):
            raise ValueError(f'index {index!r} does not select from the {len(found)} frames of {path}; write for example "::10"') from None
        for i in [chosen] if isinstance(chosen, int) else chosen:
            frames.append(found[i])
            origins.append(f"{path}, frame {i}")
    for key, wanted in (select or {}).items():
        values = {str(w) for w in (wanted if isinstance(wanted, list) else [wanted])}
        kept = [i for i, atoms in enumerate(frames) if str(atoms.info.get(key)) in values]
        if not kept:
            there = sorted({str(atoms.info.get(key)) for atoms in frames})
            raise ValueError(f"select: no frame has {key} = {' or '.join(sorted(values))}; the frames have {', '.join(there[:8])}")
        frames, origins = [frames[i] for i in kept], [origins[i] for i in kept]
    if not frames:
        raise ValueError(f"index {index!r} selects no frame of {', '.join(map(str, patterns))}")
    return frames, origins


def _read(path: str) -> list[Any]:
    """All frames of a file. A compressed text is decompressed as a whole, since ASE goes back in the file for every frame."""
    import ase.io
    from ase.io.formats import filetype, ioformats

    decompress = _COMPRESSED.get(Path(path).suffix)
    if decompress is None or ioformats[kind := filetype(path)].isbinary:
        return list(ase.io.iread(path, ":"))
    with decompress(path, "rt") as file:
        return list(ase.io.iread(io.StringIO(file.read()), ":", format=kind))


def file_paths(patterns: Sequence[str], base: Path = Path()) -> list[str]:
    """Files by name or glob."""
    out = []
    for pattern in patterns:
        full = str(base / pattern)
        found = [full] if Path(full).exists() else sorted(glob.glob(full, recursive=True))
        if not found:
            raise FileNotFoundError(f"no file at {full}")
        for path in found:
            if Path(path).is_dir():
                raise ValueError(f"{path} is a folder; expected a file, or a glob such as {path}/*.xyz")
        out += found
    return out


@contextlib.contextmanager
def located(origins: Sequence[str]) -> Iterator[None]:
    """Turns "frame 3: ..." of the library into "file.xyz, frame 40: ...", in the user's own counting."""
    try:
        yield
    except ValueError as error:
        match = re.match(r"frame (\d+): ", str(error))
        if match is None or int(match[1]) >= len(origins):
            raise
        raise ValueError(f"{origins[int(match[1])]}: {str(error)[match.end() :]}") from error
