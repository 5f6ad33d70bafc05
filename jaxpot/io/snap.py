"""SNAP potentials of LAMMPS: reading and writing of .snapcoeff and .snapparam files."""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_finite, species_tuple
from jaxpot.descriptors.bispectrum import Bispectrum
from jaxpot.heads.linear import Linear, Quadratic
from jaxpot.io.lammps_entries import energy_unit
from jaxpot.io.terms import main_and_constants
from jaxpot.io.text import integer, number, one_line_refusals, read_text, require_path
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
_OTHER = ("twojmax", "switchinnerflag", "diagonalstyle", "chunksize", "parallelthresh")  # the last two are of LAMMPS' loops
_MLIAP = ("nelems", "elems", "radelems", "welems")


@one_line_refusals("a SNAP file")
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
        (head, where), *rest = lines[1 + i * (n_each + 1) : 1 + (i + 1) * (n_each + 1)]
        if len(head) != 3 or any(len(line) != 1 for line, _ in rest):
            raise ValueError(f"{where}: element {i + 1} of {n_elements}: expected a line 'symbol radius weight' and {n_each} lines of one number")
        species.append(head[0])
        radii.append(number(head[1], where))
        weights.append(number(head[2], where))
        rows.append([number(line[0], at) for line, at in rest])
    species_tuple(tuple(species), str(path))
    settings.require_components(len(species), n_each, path)
    return linear_potential(settings, bispectrum_of(settings, tuple(species), radii, weights, path), np.array(rows), path)


def lines_of(path: Path) -> list[tuple[list[str], str]]:
    """The words of every line that is not empty, without comments, and where it is; of a file in eV."""
    text = read_text(path, "a SNAP file")
    if energy_unit(text, path) != 1:
        raise ValueError(f"{path} is in units real, by its first line; expected metal units (eV), as LAMMPS does")
    return [(words, f"{path}, line {k}") for k, line in enumerate(text.split("\n"), 1) if (words := line.split("#")[0].split())]


def two_integers(lines: list[tuple[list[str], str]], path: Path) -> tuple[int, int]:
    """The first line of a file of coefficients: the numbers of elements and of coefficients."""
    words = lines[0][0] if lines else ()
    try:
        n_elements, n_each = (integer(word, path) for word in words)
    except ValueError:
        n_elements = n_each = 0
    if min(n_elements, n_each) < 1:
        got = " ".join(words)[:60] or "nothing"
        raise ValueError(f"{path}: the first line must be the numbers of elements and of coefficients, got {got}")
    return n_elements, n_each


@dataclass(frozen=True)
class Settings:
    """A parameter file, or the descriptor file of ML-IAP: key -> words, and where each key stands."""

    path: Path
    words: dict[str, list[str]]
    where: dict[str, str]

    def flag(self, key: str, default: bool = False) -> bool:
        return self.words[key] == ["1"] if key in self.words else default

    def integer(self, key: str) -> int:
        return integer(self.words[key][0], f"{self.where[key]}: {key}")

    def numbers(self, key: str) -> list[float]:
        return [number(word, f"{self.where[key]}: {key}") for word in self.words[key]]

    def require_components(self, n_species: int, n_each: int, path: Path, *, network: bool = False) -> bool:
        """Whether a model of so many coefficients per element, of which the first is a constant, is quadratic; raises if it is neither."""
        two_j = self.integer("twojmax")
        half = two_j // 2 + 1
        n = half * (half + 1) * (2 * half + 1) // 6 if two_j % 2 == 0 else half * (half + 1) * (half + 2) // 3
        n *= n_species**3 if self.flag("chemflag") else 1
        linear, quadratic = n + 1, n + 1 + n * (n + 1) // 2
        if network:
            if n_each != n:
                raise ValueError(f"{path}: {n_each} descriptors; expected {n} for twojmax {two_j} in {self.path}")
        elif n_each not in (linear, quadratic):
            expected = f"{linear} (linear) or {quadratic} (quadratic) for twojmax {two_j} in {self.path}"
            raise ValueError(f"{path}: {n_each} coefficients per element; expected {expected}")
        return n_each == quadratic and not network


def settings_of(path: Path, *, mliap: bool) -> Settings:
    """A parameter file, or the descriptor file of ML-IAP; all keys are known, and what they need is there."""
    known = (*_FLAGS, *_NUMBERS, *_LISTS, *_OTHER, *(_MLIAP if mliap else ("quadraticflag",)))  # ML-IAP says "model quadratic" elsewhere
    settings = Settings(path, {}, {})
    for (key, *words), where in lines_of(path):
        if mliap and key in ("nmax", "lmax", "alpha"):
            raise ValueError(f"{where}: {key} is of the descriptor so3, which is not implemented; expected a file of the descriptor sna (SNAP)")
        if key not in known:
            raise ValueError(f"{where}: the key {key} is not implemented; those that are: {', '.join(sorted(known))}")
        if key in settings.words:
            raise ValueError(f"{where}: the key {key} is given twice")
        if not words or (len(words) > 1 and key not in _LISTS and key not in _MLIAP):
            raise ValueError(f"{where}: expected one value of {key}, got {' '.join(words)[:60] or 'none'}")
        settings.words[key], settings.where[key] = words, where
    missing = [key for key in ("rcutfac", "twojmax", *(_MLIAP if mliap else ())) if key not in settings.words]
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}")
    for key in (*_FLAGS, "quadraticflag", "switchinnerflag"):
        if key in settings.words and settings.words[key][0] not in ("0", "1"):
            raise ValueError(f"{settings.where[key]}: {key} must be 0 or 1, got {settings.words[key][0]}")
    if settings.words.get("diagonalstyle", ["3"]) != ["3"]:
        got = settings.words["diagonalstyle"][0]
        raise ValueError(f"{settings.where['diagonalstyle']}: diagonalstyle {got} selects other components; only 3 is implemented")
    if settings.integer("twojmax") < 0:
        raise ValueError(f"{settings.where['twojmax']}: twojmax must be an integer ≥ 0, got {settings.words['twojmax'][0]}")
    if not settings.numbers("rcutfac")[0] > 0:
        raise ValueError(f"{settings.where['rcutfac']}: rcutfac must be > 0, got {settings.words['rcutfac'][0]}")
    given = [key for key in _LISTS if key in settings.words]
    if settings.flag("switchinnerflag") != bool(given) or len(given) not in (0, 2):
        raise ValueError(f"{path}: switchinnerflag 1 goes together with sinner and dinner, got {', '.join(given) or 'neither'}")
    return settings


def bispectrum_of(settings: Settings, species: tuple[str, ...], radii: list[float], weights: list[float], path: Path) -> Bispectrum:
    """The descriptor of a parameter file, with the radii and weights of another one, or of the same."""
    if min(radii) <= 0:
        raise ValueError(f"{path}: radii must be > 0, got {min(radii)}")
    fields = {field: settings.flag(key, default) for key, (default, field) in _FLAGS.items()}
    fields |= {field: settings.numbers(key)[0] for key, field in _NUMBERS.items() if key in settings.words}
    fields |= {field: np.array(settings.numbers(key)) for key, field in _LISTS.items() if key in settings.words}
    try:
        return Bispectrum(species, two_j_max=settings.integer("twojmax"), radii=np.array(radii), weights=np.array(weights), **fields)
    except ValueError as error:
        raise ValueError(f"{settings.path}: {error}") from None


def linear_potential(settings: Settings, descriptor: Bispectrum, rows: np.ndarray, path: Path, *, is_quadratic: bool | None = None) -> Potential:
    """Linear or quadratic, from the coefficients of every element, of which the first is a constant."""
    is_quadratic = settings.flag("quadraticflag") if is_quadratic is None else is_quadratic
    potential = AtomicPotential(descriptor, Quadratic() if is_quadratic else Linear())
    expected = 1 + potential.n_coefficients // len(descriptor.species)
    if rows.shape[1] != expected:
        kind = f"twojmax {descriptor.two_j_max}, {'quadratic' if is_quadratic else 'linear'}, in {settings.path}"
        raise ValueError(f"{path}: {rows.shape[1]} coefficients per element; expected {expected} for {kind}")
    constants = IsolatedAtoms(dict(zip(descriptor.species, rows[:, 0].tolist(), strict=True)))
    return Sum((potential.with_coefficients(jnp.asarray(rows[:, 1:].reshape(-1))), constants))


def write_snap(coefficients: str | Path, parameters: str | Path, potential: Potential) -> None:
    """Writes a SNAP that LAMMPS reads: `pair_style snap` with `pair_coeff * * coefficients parameters Si` (in metal units).

    Args:
      coefficients: the .snapcoeff file to write.
      parameters: the .snapparam file to write.
      potential: an AtomicPotential of a Bispectrum with a Linear or Quadratic head, or its sum with constants per element (IsolatedAtoms, or
        Constant with a Linear head).

    Raises:
      TypeError: for a term that these files cannot hold.
      ValueError: if the potential is not fitted, has no or two terms with a Bispectrum, or constants of elements that the Bispectrum does not know.

    Example:
      >>> import tempfile
      >>> snap = AtomicPotential(Bispectrum(("Si",), 4.9, two_j_max=2), Linear(coefficients=np.arange(5.0))) + IsolatedAtoms({"Si": -158.5})
      >>> folder = Path(tempfile.mkdtemp())
      >>> write_snap(folder / "si.snapcoeff", folder / "si.snapparam", snap)
      >>> read_snap(folder / "si.snapcoeff", folder / "si.snapparam").terms[0].n_coefficients
      5
    """
    require_path(coefficients, 'write_snap("model.snapcoeff", "model.snapparam", potential)')
    snap, constants = main_and_constants(
        potential, owner="write_snap", files="SNAP files", main="a Bispectrum", descriptor=Bispectrum, head=Linear | Quadratic
    )
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
