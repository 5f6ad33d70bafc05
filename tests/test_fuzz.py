"""Damaged potential files: the numbers of the file, numbers that differ as its text does, or one line that names the file; and soon.

Every reader gets 500 mutations of a small file with fixed seeds. Nothing may take more than 5 s or 200 MB.
"""

import re
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxpot as jp
from jaxpot.io import lammps, yace
from jaxpot.io.gap import read_gap
from jaxpot.io.mliap import read_mliap
from jaxpot.io.mtp import read_mtp, write_mtp
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.io.sgdml import read_sgdml, write_sgdml
from jaxpot.io.snap import read_snap, write_snap

HERE = Path(__file__).parent / "oracles"
MUTATIONS, SECONDS, MEGABYTES = 500, 5, 200
TOKENS = ("0", "-1", "1e999", "nan", "1e9", "999999999999", "", "x", "0.5", "{", "]", ":", "−1", "1_0", "\t", "#", "Si", "true", "4.0", "1.5D0", '"', "&a", "*a", "../x")


def silicon() -> jp.descriptors.Bispectrum:
    return jp.descriptors.Bispectrum(("Si",), 4.9, two_j_max=2)


def of_gap(folder: Path, name: str) -> Callable:
    for path in (HERE / "gap_small").glob(f"{name}.*"):
        if path.suffix != ".npz":
            (folder / path.name).write_bytes(path.read_bytes())
    return lambda: read_gap(folder / f"{name}.xml")


def of_yace(folder: Path, name: str) -> Callable:
    file = HERE / "pace_small" / name
    (folder / name).write_bytes(file.read_bytes())
    return lambda: yace.read_yace(folder / name)


def of_text(folder: Path, name: str, text: str, read: Callable) -> Callable:
    (folder / name).write_text(text)
    return lambda: read(folder / name)


def of_setfl(folder: Path, sites: int) -> Callable:
    """Two elements on grids of seven points."""
    x = np.arange(7.0)

    def rows(values):
        return " ".join(f"{v:.6e}" for v in values) + "\n"

    text = "a comment\nanother\nand a third\n2 Cu Ni\n7 0.1 7 0.5 3.0\n"
    for z, mass in ((29, 63.5), (28, 58.7)):
        text += f"{z} {mass} 3.6 fcc\n" + rows(-np.sqrt(x)) + sites * rows((3 - x / 2) ** 2)
    text += 3 * rows((3 - x / 2) ** 3)
    return of_text(folder, "CuNi.eam", text, lambda path: lammps.read_eam(path))


def of_funcfl(folder: Path) -> Callable:
    rows = "\n".join(" ".join(f"{v:.6e}" for v in np.linspace(a, 0, 7)) for a in (-1.0, 2.0, 3.0))
    return of_text(folder, "cu.eam", f"a comment\n29 63.5 3.6 fcc\n7 0.1 7 0.5 3.0\n{rows}\n", lambda path: lammps.read_eam(path))


def of_snap(folder: Path) -> Callable:
    snap = jp.AtomicPotential(silicon(), jp.Linear(coefficients=np.arange(5.0))) + jp.IsolatedAtoms({"Si": -158.5})
    write_snap(folder / "si.snapcoeff", folder / "si.snapparam", snap)
    return lambda: read_snap(folder / "si.snapcoeff", folder / "si.snapparam")


def of_mliap(folder: Path) -> Callable:
    (folder / "si.descriptor").write_text("# a comment\nrcutfac 1.0\ntwojmax 2\nnelems 1\nelems Si\nradelems 2.45\nwelems 1.0\nrfac0 0.99363\nrmin0 0\nbzeroflag 0\n")
    (folder / "si.model").write_text("# a comment\n1 6\n" + "\n".join(map(str, np.arange(6) / 7)) + "\n")
    return lambda: read_mliap(folder / "si.model", folder / "si.descriptor")


def of_mtp(folder: Path) -> Callable:
    mtp = jp.descriptors.MTP(("Si", "C"), 4, 1.5, 4.0, radial_basis_size=3)
    model = jp.AtomicPotential(mtp, jp.Linear())
    n = model.n_coefficients // 2
    write_mtp(folder / "sic.mtp", model.with_coefficients(np.tile(np.linspace(0, 1, n), 2)) + jp.IsolatedAtoms({"Si": -1.0, "C": -2.0}))
    return lambda: read_mtp(folder / "sic.mtp", ("Si", "C"))


def of_n2p2(folder: Path) -> Callable:
    functions = (jp.descriptors.G2(jp.CosineCutoff(4.0), [0.1, 0.5], 0.0), jp.descriptors.G4(jp.CosineCutoff(4.0), 0.1, 1.0, [-1.0, 1.0]))
    descriptor = jp.descriptors.ACSF(("Si",), functions)
    model = jp.AtomicPotential(descriptor, jp.MLP((3,), jp.heads.Tanh()))
    write_n2p2(folder, model, length_unit=1.0, energy_unit=1.0)
    return lambda: read_n2p2(folder, length_unit=1.0, energy_unit=1.0)


def of_sgdml(folder: Path) -> Callable:
    descriptor = jp.descriptors.InverseDistances(("O", "H", "H"))
    model = jp.molecules.GradientDomain(descriptor, jp.kernels.Matern(8.0), references=jp.heads.References(features=np.ones((2, 3)), directions=np.ones((2, 1, 3))))
    write_sgdml(folder / "h2o.npz", model.with_coefficients(np.array([2.0, 1.0, -31.0])))
    return lambda: read_sgdml(folder / "h2o.npz")


def of_own(folder: Path) -> Callable:
    jp.save(folder / "own.npz", jp.AtomicPotential(silicon(), jp.Linear(coefficients=np.arange(5.0))) + jp.IsolatedAtoms({"Si": -158.5}))
    return lambda: jp.load(folder / "own.npz")


SW = "# a comment\nSi Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
TERSOFF = "# a comment\nSi Si Si 3.0 1.0 1.3258 4.8381 2.0417 0.0000 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"
VASHISHTA = "C C C 23.0 7 1.1 1.3 5.0 15.5\n 3.0 61.0 7.35 9.0 1.0 2.9 5.0 -0.333\n"
EDIP = "C C C 8.0 1.5 3.1 2.5 3.2 0.007 0.25 1.12 1.45 0.7 1.2 0.57 312.0 -0.16 32.5 0.28 0.66\n"
ZBL = TERSOFF.replace("3264.7", "3264.7 14 14 0.95 14")

READERS: dict[str, Callable[[Path], Callable]] = {
    **{f"gap {name}": lambda folder, name=name: of_gap(folder, name) for name in ("nb_si", "nb_sic", "core", "turbo_file", "compressed")},
    **{f"pace {name}": lambda folder, name=name: of_yace(folder, name) for name in ("linear.yace", "zbl.yace", "blocks.yaml")},
    "stillinger-weber": lambda folder: of_text(folder, "si.sw", SW, lammps.read_stillinger_weber),
    "tersoff": lambda folder: of_text(folder, "si.tersoff", TERSOFF, lammps.read_tersoff),
    "tersoff/zbl": lambda folder: of_text(folder, "si.tersoff.zbl", ZBL, lammps.read_tersoff_zbl),
    "vashishta": lambda folder: of_text(folder, "c.vashishta", VASHISHTA, lammps.read_vashishta),
    "edip": lambda folder: of_text(folder, "c.edip", EDIP, lammps.read_edip),
    "eam/alloy": lambda folder: of_setfl(folder, 1),
    "eam/fs": lambda folder: of_setfl(folder, 2),
    "eam": of_funcfl,
    "snap": of_snap,
    "mliap": of_mliap,
    "mtp": of_mtp,
    "n2p2": of_n2p2,
    "sgdml": of_sgdml,
    "own": of_own,
}


def mutated(content: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One of: bits flipped, a piece cut out, the file joined with another, a word exchanged, zeros, another encoding."""
    kind = rng.integers(8)
    place = int(rng.integers(len(content) + 1))
    if kind == 0:
        out = bytearray(content)
        for i in rng.integers(len(content), size=int(rng.integers(1, 4))):
            out[i] ^= 1 << int(rng.integers(8))
        return bytes(out)
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + content[place + int(rng.integers(1, 200)) :]
    if kind == 3:
        return content[:place] + other[int(rng.integers(len(other) + 1)) :]
    if kind == 4:
        return content[:place] + b"\0" * int(rng.integers(1, 5)) + content[place:]
    if kind == 5:
        encode = (lambda c: b"\xef\xbb\xbf" + c, lambda c: c.replace(b"\n", b"\r\n"), lambda c: c.decode("latin-1").encode("utf-16"), lambda c: c.replace(b"-", "−".encode()))
        return encode[int(rng.integers(4))](content)
    words = list(re.finditer(rb"[^\s,:=\"'<>{}\[\]]+", content))
    word = words[int(rng.integers(len(words)))]
    if kind == 6:
        new = TOKENS[int(rng.integers(len(TOKENS)))].encode()
    else:
        new = words[int(rng.integers(len(words)))][0]
    return content[: word.start()] + new + content[word.end() :]


def leaves_of(model) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(model)]


def meaning(files: dict[str, bytes]) -> list[list[str]]:
    """The words of the files without comments, byte-order marks and kinds of line end: files that agree in them say the same."""
    texts = (content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n") for content in files.values())
    return [[word for line in text.splitlines() for word in line.split()] for text in texts]


class Slow(Exception):
    pass


def too_slow(*_):
    raise Slow


def memory(kind: str) -> float:
    """VmHWM or VmRSS of this process, in MB."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, tmp_path):
    read = READERS[name](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = read()
    numbers, structure = leaves_of(original), jax.tree_util.tree_structure(original)
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    contents = {str(path): path.read_bytes() for path in paths}
    rng, faults, outcomes = np.random.default_rng(sum(name.encode())), [], {"same": 0, "different": 0, "refused": 0}
    signal.signal(signal.SIGPROF, too_slow)
    for number in range(MUTATIONS):
        path = paths[int(rng.integers(len(paths)))]
        other = contents[str(paths[int(rng.integers(len(paths)))])]
        damaged = mutated(contents[str(path)], rng, other)
        path.write_bytes(damaged)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = read()
        except (ValueError, FileNotFoundError) as error:
            outcomes["refused"] += 1
            text = str(error)
            if "\n" in text or not any(p.name in text for p in (*paths, tmp_path)):
                faults.append((number, f"message: {text[:300]}"))
        except BaseException as error:
            faults.append((number, f"{type(error).__name__}: {str(error)[:300]}"))
        else:
            found = leaves_of(model)
            same = structure == jax.tree_util.tree_structure(model) and all(map(np.array_equal, numbers, found))
            outcomes["same" if same else "different"] += 1
            if not all(np.all(np.isfinite(leaf)) for leaf in found):
                faults.append((number, "numbers that are not finite"))
            files = contents | {str(path): damaged}
            if not same and meaning(files) == meaning(contents):
                faults.append((number, "other numbers though the text says the same"))
            shapes = [leaf.shape for leaf in found]
            cut = contents[str(path)].startswith(damaged) and not name.startswith("pace")  # a list in YAML may end behind any entry
            if cut and shapes != [leaf.shape for leaf in numbers]:
                faults.append((number, f"read although its end is cut off: {damaged[-40:]!r}"))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            path.write_bytes(contents[str(path)])
        grown = memory("VmHWM") - before
        if grown > MEGABYTES:
            faults.append((number, f"{grown:.0f} MB"))
    print(name, outcomes)
    assert not faults, f"{name}: {len(faults)} faults of {MUTATIONS}, first {faults[:5]}"
    assert outcomes["refused"] > MUTATIONS // 10
