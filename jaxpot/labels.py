"""Labels of `ase.Atoms`: where they are and which structure they belong to.

A calculator holds what it computed last, perhaps of another structure: its results are labels only of the structure that it kept
beside them. Only what is asked for is looked at, so that a label that nobody fits cannot spoil those that are.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpot.checks import require_finite

KEYS = {"energy": "energy", "forces": "forces", "stress": "stress", "virial": "virial"}
TENSORS = ("dipole", "polarizability", "tensor")
PROPERTIES = ("energy", "forces", "virial")
_UNITS = {"energy": " in eV", "forces": " in eV/Å", "virial": " in eV", "stress": " in eV/Å³"}
_SAME = 1e-10  # Å (e, μB); the round-off of a structure that has been copied, scaled back or written in full
# two statements of one label may differ by an absolute and a relative (to the largest entry) round-off of files' digits
_ROUND_OFF = {"energy": (1e-6, 1e-7), "forces": (1e-5, 1e-5), "virial": (1e-6, 1e-4)}
_STRESS_DIGITS = 5e-7  # eV/Å³; of a stress with six decimals, times the volume in a virial
_STEMS = {"energy": ("ener",), "forces": ("forc",), "virial": ("viri", "stress"), "dipole": ("dip", "mu"), "polarizability": ("pol", "alpha")}


def read_labels(atoms: Any, keys: Mapping[str, str] | None, names: Sequence[str] = PROPERTIES) -> dict[str, np.ndarray]:
    """Labels of a frame, those of `names` that it has: energy (eV), forces [N, 3] (eV/Å), virial [3, 3] (eV).

    Args:
      atoms: `ase.Atoms`.
      keys: where they are, as in `Dataset.from_atoms`.
      names: some of energy, forces and virial; the others are not looked at.

    Raises:
      ValueError: for a label of another structure, of a wrong shape, not finite, or stated twice and differently.

    Example:
      >>> import ase
      >>> read_labels(ase.Atoms("H", info={"energy": -13.6, "stress": "none"}), None, ("energy",))
      {'energy': array(-13.6)}
    """
    labels = {}
    for name in names:
        sources = ("virial", "stress") if name == "virial" else (name,)
        found = {where: _as_label(atoms, source, where, value) for source in sources for where, value in _found(atoms, source, keys).items()}
        if found:
            labels[name] = _agreed(atoms, name, found)
    return labels


def read_tensor(atoms: Any, name: str, keys: Mapping[str, str] | None, level: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """A dipole, polarizability or tensor of a frame with its sigma, both for the structure or for each atom; None if it has none.

    Raises:
      ValueError: as `read_labels`, or for a noise level that is not one positive number per tensor.
    """
    key = name if keys is None else keys.get(name)
    found = {where: _as_tensor(atoms, name, key, where, value) for where, value in _found(atoms, name, keys).items()}
    if not found:
        return None
    if len({(value.shape, per_atom) for value, per_atom in found.values()}) > 1:
        words = [f"{list(value.shape)}{' per atom' * per_atom} in {where}" for where, (value, per_atom) in found.items()]
        raise ValueError(f"{name} is stated twice, with shapes {' and '.join(words)}; delete one of them")
    per_atom = next(iter(found.values()))[1]
    value = _agreed(atoms, name, {where: value for where, (value, _) in found.items()})
    level = np.asarray(level, float)
    if not (level.shape == () or (per_atom and level.shape == (len(atoms),))):
        raise ValueError(f"sigma.{name} must be one number per tensor (noise is isotropic), got shape {list(level.shape)}")
    if not np.all(level > 0):
        raise ValueError(f"sigma.{name} must be positive, got {level.min()}")
    return value, np.broadcast_to(level, value.shape[:per_atom]).copy()


def missing(name: str, frames: Sequence[Any], keys: Mapping[str, str] | None) -> str:
    """What to say where no frame has a label: what the frames have instead, and what could be meant."""
    if keys is None:
        where = "in their calculators, info or arrays"
    else:
        named = [keys[source] for source in (name, *("stress",) * (name == "virial")) if source in keys]
        where = f"under the key {' or '.join(map(repr, named))}" if named else f"under any key, because keys has no {name}"
    there, likely = what_is_there(frames), []
    for atoms in frames:
        for store in (_results(atoms), atoms.info, atoms.arrays):
            likely += [key for key in store if key not in likely and _could_be(name, key, store[key], len(atoms))]
    source = "stress" if name == "virial" and likely and "stress" in str(likely[0]).lower() else name
    example = f"keys={{{source!r}: {repr(likely[0]) if likely else '...'}}}"
    meant = f"; could be meant: {', '.join(map(repr, likely))}" if likely else ""
    return f"no frame has {name} {where}; name them with {example}, or set sigma.{name} to None; {there}{meant}"


def what_is_there(frames: Sequence[Any]) -> str:
    """Every name under which some frame holds something."""
    parts = {
        "info": {key for atoms in frames for key in atoms.info},
        "arrays": {key for atoms in frames for key in atoms.arrays} - {"numbers", "positions"},
        "results of calculators": {key for atoms in frames for key in _results(atoms)},
    }
    return "the frames have " + ", ".join(f"{where} {sorted(map(str, names))}" for where, names in parts.items())


def _could_be(name: str, key: Any, value: Any, n: int) -> bool:
    """Whether the name and the shape of something are those of a label."""
    stems = _STEMS.get(name, ("",))
    if not any(stem in str(key).lower() for stem in stems) or str(key).endswith("_sigma"):
        return False
    shape, size = np.shape(value), np.size(value)
    fits = {"energy": shape == (), "forces": shape == (n, 3), "virial": size in (6, 9), "dipole": size == 3, "polarizability": size == 9}
    return not isinstance(value, (str, bool)) and fits.get(name, key not in ("numbers", "positions") and size in (3 * n, 9 * n, 27 * n, 9, 27))


# --- where labels are ------------------------------------------------------------------------------------------------------


def _results(atoms: Any) -> Mapping[str, Any]:
    results = getattr(atoms.calc, "results", None)
    return results if isinstance(results, Mapping) else {}


def _found(atoms: Any, name: str, keys: Mapping[str, str] | None) -> dict[str, Any]:
    """The values of one label by where they are; those of the calculator only if they belong to this structure."""
    key = name if keys is None else keys.get(name)
    stores = {"calc.results": _results(atoms), "info": {} if name == "forces" else atoms.info, "arrays": atoms.arrays}
    if name in ("energy", "virial", "stress"):
        del stores["arrays"]
    found = {f"atoms.{where}[{key!r}]": store[key] for where, store in stores.items() if store.get(key) is not None}
    if any(where.startswith("atoms.calc") for where in found):
        _require_same_structure(atoms, key)
    return found


def _require_same_structure(atoms: Any, key: str) -> None:
    """Refuses results that a calculator has of something else: it was shared, or the atoms were changed since."""
    calc = atoms.calc
    check = getattr(calc, "check_state", None)
    changes = list(_state(atoms)) if check is None else list(check(atoms))
    changed = _differences(getattr(calc, "atoms", None), atoms, changes) if changes else []
    if changed:
        raise ValueError(
            f"{key!r} in atoms.calc ({type(calc).__name__}) is of other atoms: {', '.join(changed)} differ; labels hold for atoms as they were when "
            "computed or read, and a calculator for one frame; write atoms.calc = SinglePointCalculator(atoms, energy=..., forces=...) "
            "with the labels of these atoms, or atoms.calc = None to leave them out"
        )


def _state(atoms: Any) -> dict[str, np.ndarray]:
    """What an energy depends on, by ASE's names."""
    charges, moments = atoms.get_initial_charges(), atoms.get_initial_magnetic_moments()
    own = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return {name: np.asarray(x, float) for name, x in (own | {"initial_charges": charges, "initial_magmoms": moments}).items()}


def _differences(old: Any, new: Any, changes: Sequence[str]) -> list[str]:
    """Those of ASE's changes that are more than round-off, or zeros for charges and moments that were not given."""
    if not hasattr(old, "get_initial_charges"):
        return ["the atoms, which it does not keep, may"]
    if len(old) != len(new):
        return [f"numbers ({len(old)} there, {len(new)} here)"]
    before, now, out = _state(old), _state(new), []
    for what in (*(name for name in now if name in changes), *(name for name in changes if name not in now)):
        if what not in now:
            out.append(what)  # of the calculator's own, such as its parameters
            continue
        gap = np.max(np.abs(now[what] - before[what])) if now[what].shape == before[what].shape else np.inf
        if not gap <= _SAME:
            out.append(f"{what} (by up to {gap:.3g} Å)" if what in ("positions", "cell") else what)
    return out


# --- what they are ---------------------------------------------------------------------------------------------------------


def _numbers(name: str, where: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or hasattr(value, "unit") or hasattr(value, "units"):
        raise ValueError(f"{name} is {str(value)[:60]!r} in {where}; expected plain numbers{_UNITS.get(name, '')}")
    return array.astype(float)


def _as_label(atoms: Any, name: str, where: str, value: Any) -> np.ndarray:
    """An energy, forces or a virial (from a stress too), checked."""
    value = require_finite(_numbers(name, where, value), name, f"delete {where} if the label is missing")
    if name == "energy":
        if value.size != 1:
            raise ValueError(f"energy must be one number, got shape {value.shape} in {where}")
        return value.reshape(())
    if name == "forces":
        if value.shape != (len(atoms), 3):
            raise ValueError(f"forces must have shape [{len(atoms)}, 3], got {list(value.shape)} in {where}")
        return value
    value = _symmetric(name, value)
    if name == "virial":
        return value
    if abs(atoms.cell.volume) == 0:
        raise ValueError(f"a stress needs a cell with a volume; delete {where}, set sigma.virial of this frame to None, or name what to read with keys")
    return -atoms.get_volume() * value


def _symmetric(name: str, value: np.ndarray) -> np.ndarray:
    """[3, 3] from ASE's Voigt order (xx yy zz yz xz xy), nine numbers or a matrix."""
    if value.size == 6:
        xx, yy, zz, yz, xz, xy = value.reshape(6)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if value.size != 9:
        raise ValueError(f"{name} must have 6 or 9 entries, got shape {list(value.shape)}")
    value = value.reshape(3, 3)
    skew = np.abs(value - value.T).max()
    if skew > 1e-3 * max(np.abs(value).max(), 1.0):
        raise ValueError(f"{name} is not symmetric: entries differ from their transposes by up to {skew:.3g}")
    return (value + value.T) / 2


def _as_tensor(atoms: Any, name: str, key: str, where: str, value: Any) -> tuple[np.ndarray, bool]:
    """A tensor, [3, …] or [N, 3, …], and whether it is one per atom."""
    value = _numbers(name, where, value)
    per_atom = where.startswith("atoms.arrays") or (where.startswith("atoms.calc") and name == "tensor" and _is_per_atom(key, value.shape, len(atoms)))
    n = len(atoms) if per_atom else 1
    rank = {"dipole": 1, "polarizability": 2}.get(name, round(math.log(max(value.size / n, 1), 3)))
    if per_atom and name != "tensor":
        raise ValueError(f"{name} must be one per structure, in atoms.info; one per atom is a tensor: keys={{'tensor': {key!r}}}")
    if rank == 0 or value.size != n * 3**rank:
        wanted = f"{3**rank} entries" if name != "tensor" else "3, 9, 27, 81, … entries" + (" per atom" if per_atom else "")
        raise ValueError(f"{name} must have {wanted}, got shape {list(value.shape)} in {where}")
    value = value.reshape(*((n,) if per_atom else ()), *(3,) * rank)
    return require_finite(value, name, f"delete {where} if the label is missing"), per_atom


def _is_per_atom(key: str, shape: tuple[int, ...], n: int) -> bool:
    """Whether a calculator's result is one tensor per atom: as ASE defines it, else by its shape."""
    from ase.outputs import all_outputs

    known = getattr(all_outputs.get(key), "shapespec", None)
    if known is not None:
        return known[0] == "natoms"

    def is_tensor(shape: tuple[int, ...]) -> bool:
        size = math.prod(shape)
        return size >= 3 and shape in ((size,), (3,) * round(math.log(size, 3))) and 3 ** round(math.log(size, 3)) == size

    by_atom = shape[:1] == (n,) and is_tensor(shape[1:])
    if by_atom and is_tensor(shape):
        raise ValueError(f"tensor has shape {list(shape)} in atoms.calc.results[{key!r}]; put it into atoms.arrays if that is one per atom, or atoms.info")
    return by_atom


def _agreed(atoms: Any, name: str, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """The label, which all places must agree upon."""
    (first, label), *others = found.items()
    absolute, relative = _ROUND_OFF.get(name, (1e-6, 1e-5))
    absolute += _STRESS_DIGITS * abs(atoms.cell.volume) if name == "virial" else 0
    for where, value in others:
        gap = np.abs(value - label)
        allowed = absolute + relative * max(np.abs(value).max(), np.abs(label).max())
        if gap.max() > allowed:
            at = np.unravel_index(np.argmax(gap), gap.shape)
            entry = f"{name}{[int(i) for i in at]}" if at else name
            by = [text + " (virial = −volume · stress)" * (name == "virial" and "stress" in text) for text in (first, where)]
            raise ValueError(
                f"{entry} is {label[at]:.8g} by {by[0]}, but {value[at]:.8g} by {by[1]}, which is more than round-off ({allowed:.2g}); "
                "delete the wrong one" + ", or name only one of virial and stress with keys" * (name == "virial")
            )
    return label
