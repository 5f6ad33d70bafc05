"""SNAP potentials of LAMMPS: reading and writing of .snapcoeff and .snapparam files."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.heads.linear import Linear, Quadratic
from jaxpot.io.terms import main_and_constants
from jaxpot.io.text import number
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum

_FLAGS = {  # key -> (what LAMMPS takes without it, the field of Bispectrum)
    "switchflag": (True, "switch"),
    "bzeroflag": (True, "subtract_self"),
    "bnormflag": (False, "normalize"),
    "chemflag": (False, "by_element"),
    "wselfallflag": (False, "self_everywhere"),
}
_NUMBERS = {"rcutfac": "cutoff", "rfac0": "rfac0", "rmin0": "rmin0"}
_LISTS = {"sinner": "inner", "dinner": "inner_width"}
_OTHER = ("twojmax", "quadraticflag", "switchinnerflag", "diagonalstyle", "chunksize", "parallelthresh")  # the last two are of LAMMPS' loops
_MLIAP = ("nelems", "elems", "radelems", "welems")


def read_snap(coefficients: str | Path, parameters: str | Path) -> Potential:
    """A published SNAP: linear, quadratic (qSNAP) or with explicit elements (chemflag).

    What `pair_style hybrid/overlay` adds to it in LAMMPS, usually ZBL, stands in no file: write `read_snap(...) + ZBL(...)`.

    Args:
      coefficients: the .snapcoeff file.
      parameters: the .snapparam file.

    Returns:
      Sum of an AtomicPotential and IsolatedAtoms, whose energies are the constant coefficients. All real numbers are leaves.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: for unknown keys, named; for coefficients that are not as many as the parameters ask for, or not finite.

    References:
      Thompson, Swiler, Trott, Foiles, Tucker, J. Comput. Phys. 285, 316 (2015); LAMMPS documentation of pair_style snap.
    """
    path, settings = Path(coefficients), settings_of(Path(parameters), mliap=False)
    lines = lines_of(path)
    n_elements, n_each = two_integers(lines, path)
    if len(lines) != 1 + n_elements * (n_each + 1):
        raise ValueError(f"{path}: {len(lines) - 1} lines after the first; expected {n_elements} elements × (1 + {n_each} coefficients)")
    species, radii, weights, rows = [], [], [], []
    for i in range(n_elements):
        head, *rest = lines[1 + i * (n_each + 1) : 1 + (i + 1) * (n_each + 1)]
        if len(head) != 3 or any(len(line) != 1 for line in rest):
            raise ValueError(f"{path}: element {i + 1} of {n_elements}: expected a line 'symbol radius weight' and {n_each} lines of one number")
        species.append(head[0])
        radii.append(number(head[1], path))
        weights.append(number(head[2], path))
        rows.append([number(line[0], path) for line in rest])
    return linear_potential(settings, bispectrum_of(settings, tuple(species), radii, weights, path), np.array(rows), path)


def lines_of(path: Path) -> list[list[str]]:
    """The words of every line that is not empty, without comments."""
    if not path.exists():
        raise FileNotFoundError(f"no SNAP file at {path}")
    return [words for line in path.read_text(encoding="utf-8").splitlines() if (words := line.split("#")[0].split())]


def two_integers(lines: list[list[str]], path: Path) -> tuple[int, int]:
    """The first line of a file of coefficients: the numbers of elements and of coefficients."""
    if not lines or len(lines[0]) != 2 or not all(word.isdigit() for word in lines[0]):
        raise ValueError(f"{path}: the first line must be the numbers of elements and of coefficients, got {' '.join(lines[0]) if lines else 'nothing'}")
    return int(lines[0][0]), int(lines[0][1])


def settings_of(path: Path, *, mliap: bool) -> dict[str, list[str]]:
    """key -> words of a parameter file, or of the descriptor file of ML-IAP; all keys are known."""
    known = (*_FLAGS, *_NUMBERS, *_LISTS, *_OTHER, *(_MLIAP if mliap else ()))
    settings: dict[str, list[str]] = {}
    for key, *words in lines_of(path):
        if key not in known:
            raise ValueError(f"{path}: the key {key} is not implemented; those that are: {', '.join(sorted(known))}")
        if key in settings:
            raise ValueError(f"{path}: the key {key} is given twice")
        if not words or (len(words) > 1 and key not in _LISTS and key not in _MLIAP):
            raise ValueError(f"{path}: expected one value of {key}, got {' '.join(words) or 'none'}")
        settings[key] = words
    missing = [key for key in ("rcutfac", "twojmax", *(_MLIAP if mliap else ())) if key not in settings]
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}")
    for key in (*_FLAGS, "quadraticflag", "switchinnerflag"):
        if key in settings and settings[key][0] not in ("0", "1"):
            raise ValueError(f"{path}: {key} must be 0 or 1, got {settings[key][0]}")
    if settings.get("diagonalstyle", ["3"]) != ["3"]:
        raise ValueError(f"{path}: diagonalstyle {settings['diagonalstyle'][0]} selects other components; only 3 is implemented")
    if not settings["twojmax"][0].isdigit():
        raise ValueError(f"{path}: twojmax must be an integer ≥ 0, got {settings['twojmax'][0]}")
    has_inner, given = settings.get("switchinnerflag") == ["1"], [key for key in _LISTS if key in settings]
    if has_inner != bool(given) or len(given) not in (0, 2):
        raise ValueError(f"{path}: switchinnerflag 1 goes together with sinner and dinner, got {', '.join(given) or 'neither'}")
    return settings


def bispectrum_of(settings: dict[str, list[str]], species: tuple[str, ...], radii: list[float], weights: list[float], path: Path) -> Bispectrum:
    """The descriptor of a parameter file; numbers that are not finite are refused."""
    fields = {field: settings[key][0] == "1" if key in settings else default for key, (default, field) in _FLAGS.items()}
    fields |= {field: number(settings[key][0], path) for key, field in _NUMBERS.items() if key in settings}
    fields |= {field: np.array([number(x, path) for x in settings[key]]) for key, field in _LISTS.items() if key in settings}
    radii, weights = (require_finite(np.array(x), f"{path}: {name}") for x, name in ((radii, "radii"), (weights, "weights")))
    return Bispectrum(species, two_j_max=int(settings["twojmax"][0]), radii=radii, weights=weights, **fields)


def linear_potential(settings: dict[str, list[str]], descriptor: Bispectrum, rows: np.ndarray, path: Path) -> Potential:
    """Linear or quadratic, from the coefficients of every element, of which the first is a constant."""
    is_quadratic = settings.get("quadraticflag") == ["1"]
    potential = AtomicPotential(descriptor, Quadratic() if is_quadratic else Linear())
    expected = 1 + potential.n_coefficients // len(descriptor.species)
    if rows.shape[1] != expected:
        kind = "quadratic" if is_quadratic else "linear"
        raise ValueError(f"{path}: {rows.shape[1]} coefficients per element; expected {expected} for twojmax {descriptor.two_j_max}, {kind}")
    rows = require_finite(rows, f"{path}: coefficients")
    constants = IsolatedAtoms(dict(zip(descriptor.species, rows[:, 0].tolist(), strict=True)))
    return Sum((potential.with_coefficients(jnp.asarray(rows[:, 1:].reshape(-1))), constants))


def write_snap(potential: Potential, coefficients: str | Path, parameters: str | Path) -> None:
    """Writes a SNAP that LAMMPS reads: `pair_style snap` with `pair_coeff * * coefficients parameters Si` (in metal units).

    Args:
      potential: an AtomicPotential of a Bispectrum with a Linear or Quadratic head, or its sum with constants per element (IsolatedAtoms, or
        Constant with a Linear head).
      coefficients: the .snapcoeff file to write.
      parameters: the .snapparam file to write.

    Raises:
      TypeError: for a term that these files cannot hold.
      ValueError: if the potential is not fitted, has no or two terms with a Bispectrum, or constants of elements that the Bispectrum does not know.

    Example:
      >>> import tempfile
      >>> snap = AtomicPotential(Bispectrum(("Si",), 4.9, two_j_max=2), Linear(coefficients=np.arange(5.0))) + IsolatedAtoms({"Si": -158.5})
      >>> folder = Path(tempfile.mkdtemp())
      >>> write_snap(snap, folder / "si.snapcoeff", folder / "si.snapparam")
      >>> read_snap(folder / "si.snapcoeff", folder / "si.snapparam").terms[0].n_coefficients
      5
    """
    snap, constants = main_and_constants(
        potential,
        lambda term: isinstance(term.descriptor, Bispectrum) and isinstance(term.head, Linear | Quadratic),
        owner="write_snap", files="SNAP files", main="a Bispectrum",
        remedy="write the other terms, and add this one in LAMMPS by pair_style hybrid/overlay",
    )  # fmt: skip
    descriptor, head = snap.descriptor, snap.head
    species, s = descriptor.species, len(descriptor.species)
    if head.coefficients is None:
        raise ValueError("write_snap: the potential has no coefficients yet; write potential = jaxpot.fit.linear(potential, data)")
    rows = require_finite(np.asarray(head.coefficients, float).reshape(s, -1), "coefficients")

    def words(value):
        return [repr(float(x)) for x in np.broadcast_to(np.asarray(value, float), s)]

    lines = ["# UNITS: metal SNAP written by jaxpot", f"{s} {1 + rows.shape[1]}"]
    for symbol, radius, weight, row in zip(species, words(descriptor.radii), words(descriptor.weights), rows, strict=True):
        lines += [f"{symbol} {radius} {weight}", *(repr(float(x)) for x in (constants.get(symbol, 0.0), *row))]
    settings = ["# UNITS: metal SNAP written by jaxpot", f"twojmax {descriptor.two_j_max}"]
    settings += [f"{key} {float(getattr(descriptor, field))!r}" for key, field in _NUMBERS.items()]
    settings += [f"{key} {int(getattr(descriptor, field))}" for key, (_, field) in _FLAGS.items()]
    settings += [f"quadraticflag {int(isinstance(head, Quadratic))}", f"switchinnerflag {int(descriptor.inner is not None)}"]
    if descriptor.inner is not None:
        settings += [f"{key} {' '.join(words(getattr(descriptor, field)))}" for key, field in _LISTS.items()]
    Path(coefficients).write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path(parameters).write_text("\n".join(settings) + "\n", encoding="utf-8")
