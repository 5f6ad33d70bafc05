"""The one loader of published data sets.

    python experiments/datasets.py                    # every set, and where it is found
    python experiments/datasets.py mlearn/Si_train    # summary of one

A set `folder/stem` is one extended-XYZ file. It is looked for in this order:

1. the repository (`silicon_pbe` only, the one set made for this project);
2. `$JAXPOT_DATA/data/folder/`;
3. the cache, `$XDG_CACHE_HOME/jaxpot/folder/` (`~/.cache/jaxpot/folder/` where the variable is not set);
4. the public source, where a converter is written (mlearn: Li, Mo, Si): downloaded, converted, verified, stored in the cache.

What is verified when:

- Every load hashes the stored bytes and compares with the SHA-256 in `datasets_registry.json`. Nothing is parsed before that.
- Of a download, the extended-XYZ text made from it is verified, byte for byte, before it is stored: `text_sha256` for files
  stored compressed, `sha256` for the others. The text holds every number that is kept (positions and forces at eight decimals),
  so this covers content and conversion together. The downloaded JSON itself has no registered hash; what does not reach the text
  (fractional coordinates, cell angles) is not verified.
- Compressed files are written with xz preset 9 | EXTREME, which gives the registered file byte for byte with liblzma 5.4. As
  another liblzma may compress the same text differently, a compressed file whose `sha256` differs is accepted when its text has
  the registered `text_sha256`, and only then.
"""

import argparse
import collections
import dataclasses
import difflib
import hashlib
import http.client
import io
import json
import lzma
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
IN_REPOSITORY = ("silicon_pbe",)
KBAR_PER_EV_A3 = 1602.1766208  # CODATA 2014, the value behind the registered files
VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")  # ASE's order
LAMMPS_ORDER = ("xx", "yy", "zz", "xy", "xz", "yz")
VASP_ORDER = ("xx", "yy", "zz", "xy", "yz", "xz")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered file: `path` is `folder/file`; `url` is set where a converter is written for the public source."""

    path: str
    sha256: str
    source: str
    url: str | None = None
    text_sha256: str | None = None

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def compressed(self) -> bool:
        return self.path.endswith(".xz")


def _registry() -> dict[str, Entry]:
    entries = {}
    for folder, group in json.loads((HERE / "datasets_registry.json").read_text(encoding="utf-8")).items():
        for file, sha256 in group["files"].items():
            stem = file.split(".")[0]
            entries[folder if stem == folder else f"{folder}/{stem}"] = Entry(
                path=f"{folder}/{file}",
                sha256=sha256,
                source=group.get("other_sources", {}).get(stem, group["source"]),
                url=group.get("urls", {}).get(stem),
                text_sha256=group.get("text_sha256", {}).get(stem),
            )
    return entries


REGISTRY = _registry()


def virial_order(element: str, group: str) -> tuple[str, ...]:
    """Order of mlearn's six virial numbers, which differs between elements and groups of that source.

    Args:
      element: chemical symbol, one of Li, Mo, Ni, Cu, Si, Ge.
      group: mlearn's group: AIMD-NVT, Vacancy, Surface or Elastic.

    Returns:
      The six component names: VASP's order for Li, and for the Elastic group of Si and Ge; LAMMPS's order elsewhere.

    Raises:
      ValueError: if the element or the group is not one of those named.

    Example:
      >>> virial_order("Si", "Elastic")[3:]
      ('xy', 'yz', 'xz')
    """
    if element not in ("Li", "Mo", "Ni", "Cu", "Si", "Ge"):
        raise ValueError(f"order of mlearn's virial is known for Li, Mo, Ni, Cu, Si and Ge, not for {element!r}")
    if group not in ("AIMD-NVT", "Vacancy", "Surface", "Elastic"):
        raise ValueError(f"group of an mlearn frame must be AIMD-NVT, Vacancy, Surface or Elastic, not {group!r}")
    return VASP_ORDER if element == "Li" or (element in ("Si", "Ge") and group == "Elastic") else LAMMPS_ORDER


def convert_mlearn(documents: list[dict]) -> list[Atoms]:
    r"""Frames of a `training.json` or `test.json` of github materialsvirtuallab/mlearn.

    .. math:: \sigma_{ab} = -w_{ab} / 1602.1766208

    with w the source's `virial_stress` in kbar (positive when compressed) and σ the stress in ASE's sign, eV/Å³. Elastic frames
    of Li get no stress: at ±0.5–1 % strain of two-atom cells their shear components are noise of the k-mesh.

    Args:
      documents: the parsed JSON: `structure` (pymatgen dict: `lattice.matrix` [3, 3] Å, rows are cell vectors; `sites[].xyz` Å,
        `sites[].species`), `outputs` (`energy` eV, `forces` [n, 3] eV/Å, `virial_stress` [6] kbar), `element`, `group`, `tag`,
        `description`, `num_atoms`.

    Returns:
      Periodic frames with energy, forces and stress in the calculator; `info` holds `config_type` (the group), `split` (the tag),
      `description`, `source_index`, `virial_kbar_raw` (the six numbers as found) and `virial_raw_order`.

    Raises:
      ValueError: if a site is shared by species, a count does not match, or element, group or tag is not one of mlearn's.

    References:
      Zuo et al., "Performance and Cost Assessment of Machine Learning Interatomic Potentials", J. Phys. Chem. A 124, 731 (2020).
    """
    return [_mlearn_frame(n, document) for n, document in enumerate(documents)]


def _mlearn_frame(index: int, document: dict) -> Atoms:
    sites, outputs = document["structure"]["sites"], document["outputs"]
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in sites):
        raise ValueError(f"mlearn frame {index}: a site is shared or partly occupied; expected one atom per site")
    if not len(sites) == len(outputs["forces"]) == document["num_atoms"]:
        raise ValueError(
            f"mlearn frame {index}: {len(sites)} sites, {len(outputs['forces'])} forces and num_atoms = {document['num_atoms']};"
            " expected three equal numbers"
        )
    if document["tag"] not in ("train", "test"):
        raise ValueError(f"mlearn frame {index}: tag must be train or test, not {document['tag']!r}")
    raw = np.array(outputs["virial_stress"], dtype=float)
    if raw.shape != (6,):
        raise ValueError(f"mlearn frame {index}: virial_stress must have six numbers, not shape {raw.shape}")
    element, group = document["element"], document["group"]
    order = virial_order(element, group)
    atoms = Atoms(
        [site["species"][0]["element"] for site in sites],
        positions=[site["xyz"] for site in sites],
        cell=document["structure"]["lattice"]["matrix"],
        pbc=True,
    )
    atoms.info = {
        "config_type": group,
        "split": document["tag"],
        "description": document["description"],
        "source_index": index,
        "virial_kbar_raw": raw,
    }
    results = {"energy": float(outputs["energy"]), "forces": np.array(outputs["forces"], dtype=float)}
    if (element, group) != ("Li", "Elastic"):
        atoms.info["virial_raw_order"] = ",".join(order)
        results["stress"] = -raw[[order.index(component) for component in VOIGT]] / KBAR_PER_EV_A3
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


CONVERTERS: dict[str, Callable[[list[dict]], list[Atoms]]] = {"mlearn": convert_mlearn}


def _entry(name: str) -> Entry:
    if name not in REGISTRY:
        close = difflib.get_close_matches(name, REGISTRY, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"no data set is called {name!r}{hint} `python experiments/datasets.py` lists all {len(REGISTRY)}.")
    return REGISTRY[name]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpot"


def _places(name: str) -> list[tuple[str, Path]]:
    path, places = _entry(name).path, []
    if name in IN_REPOSITORY:
        places.append(("repository", HERE / path))
    if os.environ.get("JAXPOT_DATA"):
        places.append(("$JAXPOT_DATA", Path(os.environ["JAXPOT_DATA"]) / "data" / path))
    return [*places, ("cache", _cache() / path)]


def locate(name: str) -> tuple[str, Path] | None:
    """Where a set lies: ("repository" | "$JAXPOT_DATA" | "cache", path), or None where it would have to be downloaded.

    Raises:
      ValueError: if no set has this name.
    """
    return next(((place, path) for place, path in _places(name) if path.is_file()), None)


def available(name: str) -> bool:
    """Whether the set can be had without a download (its file exists; `load` verifies it).

    Raises:
      ValueError: if no set has this name.
    """
    return locate(name) is not None


def _missing(name: str, reason: str) -> FileNotFoundError:
    looked = [f"  {place}: {path}" for place, path in _places(name)]
    if not os.environ.get("JAXPOT_DATA"):
        looked.insert(-1, "  $JAXPOT_DATA: not set")
    return FileNotFoundError(
        "\n".join(
            (
                f"data set {name!r} was not found: no file {_entry(name).path}",
                *looked,
                f"public source: {_entry(name).source}",
                reason,
                "point to a folder that has it as data/" + _entry(name).path + ":",
                "  export JAXPOT_DATA=/path/to/folder",
            )
        )
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def verified_text(name: str, path: Path) -> str:
    """The extended-XYZ text of a file, after its SHA-256 was compared with the registered one (see the module's docstring).

    The text is decompressed as a whole: handing an .xz path to ASE takes time quadratic in the number of frames.

    Args:
      name: the set's name.
      path: the file to read.

    Returns:
      The text.

    Raises:
      ValueError: if the hash differs, with both hashes, the path and what to do.
    """
    entry, content = _entry(name), Path(path).read_bytes()
    if _sha256(content) == entry.sha256:
        return (lzma.decompress(content) if entry.compressed else content).decode("utf-8")
    if entry.compressed and entry.text_sha256:
        try:
            text = lzma.decompress(content)
        except lzma.LZMAError:
            text = b""
        if _sha256(text) == entry.text_sha256:
            return text.decode("utf-8")
    raise ValueError(
        f"data set {name!r}: the file is not the registered one\n"
        f"  file:     {path}\n"
        f"  expected: SHA-256 {entry.sha256}\n"
        f"  found:    SHA-256 {_sha256(content)}\n"
        "it is damaged or another version. In the repository: `git checkout` the file; in $JAXPOT_DATA: copy it anew from where"
        " the folder came from; in the cache: delete it and load again."
    )


def load(name: str) -> list[Atoms]:
    """The frames of a published data set, verified.

    Args:
      name: `folder/stem` of the registered file, as `python experiments/datasets.py` lists them.

    Returns:
      The frames in the file's order: Å, eV, eV/Å, ASE's stress (eV/Å³); labels in each frame's calculator, the rest in `info` and
      `arrays`.

    Raises:
      ValueError: if no set has this name, or a file or a conversion does not have the registered SHA-256.
      FileNotFoundError: if the set is nowhere and cannot be downloaded, with the places looked at, the public source and the line
        that sets JAXPOT_DATA.

    Example:
      >>> frames = load("silicon_pbe")
      >>> len(frames), sum(len(atoms) for atoms in frames)
      (125, 772)
    """
    found = locate(name)
    path = found[1] if found else fetch(name)
    return ase.io.read(io.StringIO(verified_text(name, path)), ":", format="extxyz")


def _download(url: str, label: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as reply:
        size = int(reply.headers.get("Content-Length") or 0)
        content = bytearray()
        with tqdm(total=size or None, unit="B", unit_scale=True, desc=label) as bar:
            while block := reply.read(1 << 16):
                content += block
                bar.update(len(block))
    if size and len(content) != size:
        raise OSError(f"the connection ended after {len(content)} of {size} bytes")
    return bytes(content)


def fetch(name: str) -> Path:
    """Downloads a set from its public source, converts and verifies it, and stores it in the cache.

    The file appears under its name in one step (`os.replace`), so an interrupted run leaves no half file.

    Args:
      name: the set's name.

    Returns:
      The path in the cache.

    Raises:
      FileNotFoundError: if no converter is written for the set, or the download fails.
      ValueError: if the converted text does not have the registered SHA-256; then nothing is stored.
    """
    entry = _entry(name)
    if entry.url is None:
        raise _missing(name, "no converter is written for this source, so it is not downloaded")
    try:
        documents = json.loads(_download(entry.url, name))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _missing(name, f"download of {entry.url} failed: {error}") from error
    text = io.StringIO()
    ase.io.write(text, CONVERTERS[entry.folder](documents), format="extxyz")
    content = text.getvalue().encode("utf-8")
    expected = entry.text_sha256 if entry.compressed else entry.sha256
    if _sha256(content) != expected:
        raise ValueError(
            f"data set {name!r}: the converted download is not the registered set, and was not stored\n"
            f"  source:   {entry.url}\n"
            f"  for:      {_cache() / entry.path}\n"
            f"  expected: SHA-256 {expected} (extended-XYZ text)\n"
            f"  found:    SHA-256 {_sha256(content)}\n"
            "the source changed, or this ASE prints extended XYZ differently (3.23 and 3.29 print the registered text). With a"
            f" folder that has data/{entry.path}: export JAXPOT_DATA=/path/to/folder"
        )
    if entry.compressed:
        content = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    path = _cache() / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _list() -> str:
    width = max(map(len, REGISTRY))
    lines = []
    for name, entry in REGISTRY.items():
        found = locate(name)
        place = found[0] if found else "download" if entry.url else "not here"
        lines.append(f"{name:{width}}  {place:12}  {found[1] if found else entry.source}")
    return "\n".join(lines)


def _summary(name: str) -> str:
    frames = load(name)
    place, path = locate(name)
    species = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    labels = sorted({label for atoms in frames if atoms.calc for label in atoms.calc.results})
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in frames if atoms.calc and "energy" in atoms.calc.results]
    kinds = collections.Counter((str(atoms.info.get("config_type", "-")), str(atoms.info.get("split", "-"))) for atoms in frames)
    lines = [
        f"{name}: {len(frames)} frames, {sum(map(len, frames))} atoms, {' '.join(species)}",
        f"file    {path} ({place}; SHA-256 verified)",
        f"source  {_entry(name).source}",
        f"labels  {' '.join(labels) or '-'}",
    ]
    if energies:
        lines.append(f"energy  {min(energies):.4f} … {max(energies):.4f} eV/atom")
    if set(kinds) != {("-", "-")}:
        lines += ["config_type, split, frames", *(f"  {kind}, {split}, {count}" for (kind, split), count in kinds.items())]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Lists the published data sets and where each is found, or summarises one.")
    parser.add_argument("name", nargs="?", help="a set, e.g. mlearn/Si_train")
    name = parser.parse_args(arguments).name
    try:
        print(_list() if name is None else _summary(name))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
