"""Labels of `ase.Atoms`: where they are and which structure they belong to.

A calculator holds what it computed last, perhaps of another structure: its results are labels only of the structure that it kept
beside them. Only what is asked for is looked at, so that a label that nobody fits cannot spoil those that are.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.properties import OBSERVABLES, Observable

_SAME = 1e-10  # Å (e, μB); the round-off of a structure that has been copied, scaled back or written in full


class Label(NamedTuple):
    """A label of a frame.

    Args:
      value: shape as in Properties.
      per_atom: whether its first axis counts atoms.

    Example:
      >>> Label(np.array(-13.6), per_atom=False).value.item()
      -13.6
    """

    value: np.ndarray
    per_atom: bool


def read_label(atoms: Any, name: str, keys: Mapping[str, str] | None = None) -> Label | None:
    """The label of a frame for one field of Properties, in its unit; None if the frame has none.

    Args:
      atoms: `ase.Atoms`.
      name: of the field; others are not looked at.
      keys: where labels are, as in `Dataset.from_atoms`.

    Raises:
      ValueError: for a label of another structure, of a wrong shape, not finite, or stated twice and differently.

    Example:
      >>> import ase
      >>> read_label(ase.Atoms("H", info={"energy": -13.6, "stress": "none"}), "energy").value
      array(-13.6)
    """
    observable = OBSERVABLES[name]
    found = {}
    for source in observable.sources:
        for where, value in _found(atoms, observable, source, keys).items():
            found[where] = _as_label(atoms, observable, source, None if keys is None else keys.get(source), where, value)
    if not found:
        return None
    if len({(label.value.shape, label.per_atom) for label in found.values()}) > 1:
        words = [f"{list(label.value.shape)}{' per atom' * label.per_atom} in {where}" for where, label in found.items()]
        raise ValueError(f"{name} is stated twice, with shapes {' and '.join(words)}; delete one of them")
    return Label(_agreed(atoms, observable, {where: label.value for where, label in found.items()}), next(iter(found.values())).per_atom)


def missing(name: str, frames: Sequence[Any], keys: Mapping[str, str] | None) -> str:
    """What to say where no frame has a label: what the frames have instead, and what could be meant."""
    observable = OBSERVABLES[name]
    if keys is None:
        where = "in their calculators, info or arrays"
    else:
        named = [keys[source] for source in observable.sources if source in keys]
        where = f"under the key {' or '.join(map(repr, named))}" if named else f"under any key, because keys has no {name}"
    there, likely = what_is_there(frames), []
    for atoms in frames:
        for store in (_results(atoms), atoms.info, atoms.arrays):
            likely += [key for key in store if key not in likely and _could_be(observable, key, store[key], len(atoms))]
    other = observable.per_volume
    source = other if other and likely and other in str(likely[0]).lower() else name
    example = f"keys={{{source!r}: {repr(likely[0]) if likely else '...'}}}"
    meant = f"; could be meant: {', '.join(map(repr, likely))}" if likely else ""
    return f"no frame has {name} {where}; name them with {example}, or set sigma.{name} to None; {there}{meant}"


def likely_keys(frames: Sequence[Any], names: Sequence[str]) -> dict[str, str] | None:
    """Where frames have labels of these fields of Properties: None under their own names, else the first name that looks like one of each.

    Example:
      >>> import ase
      >>> likely_keys([ase.Atoms("H", info={"dft_energy": -13.6})], ("energy", "forces"))
      {'energy': 'dft_energy'}
    """
    if any(read_label(atoms, name) is not None for atoms in frames for name in names):
        return None
    keys: dict[str, str] = {}
    for name in names:
        observable = OBSERVABLES[name]
        for atoms in frames:
            stores = (_results(atoms), atoms.arrays) if observable.per_atom else (_results(atoms), atoms.info)
            found = [key for store in stores for key in store if _could_be(observable, key, store[key], len(atoms))]
            if found:
                per_volume = observable.per_volume is not None and observable.per_volume in str(found[0]).lower()
                keys[observable.per_volume if per_volume else name] = str(found[0])
                break
    return keys or None


def what_is_there(frames: Sequence[Any]) -> str:
    """Every name under which some frame holds something."""
    parts = {
        "info": {key for atoms in frames for key in atoms.info},
        "arrays": {key for atoms in frames for key in atoms.arrays} - {"numbers", "positions"},
        "results of calculators": {key for atoms in frames for key in _results(atoms)},
    }
    return "the frames have " + ", ".join(f"{where} {sorted(map(str, names))}" for where, names in parts.items())


def _could_be(observable: Observable, key: Any, value: Any, n: int) -> bool:
    """Whether the name and the shape of something are those of a label."""
    if not any(hint in str(key).lower() for hint in observable.hints) or str(key).endswith("_sigma") or isinstance(value, (str, bool)):
        return False
    shape, size = np.shape(value), np.size(value)
    if observable.rank is None:
        return key not in ("numbers", "positions") and size in (3 * n, 9 * n, 27 * n, 9, 27)
    if observable.per_atom or not observable.rank:
        return shape == observable.shape(n)
    return size == 3**observable.rank or (observable.per_volume is not None and size == 6)


# --- where labels are ------------------------------------------------------------------------------------------------------


def _results(atoms: Any) -> Mapping[str, Any]:
    results = getattr(atoms.calc, "results", None)
    return results if isinstance(results, Mapping) else {}


def _found(atoms: Any, observable: Observable, source: str, keys: Mapping[str, str] | None) -> dict[str, Any]:
    """The values of one label by where they are; those of the calculator only if they belong to this structure."""
    key = source if keys is None else keys.get(source)
    stores = {"calc.results": _results(atoms), "info": atoms.info, "arrays": atoms.arrays}
    if observable.per_atom:
        del stores["info"]
    elif not observable.isotropic:
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


def _numbers(observable: Observable, source: str, where: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or hasattr(value, "unit") or hasattr(value, "units"):
        unit = "" if observable.any_unit else f" in {observable.unit}" + "/Å³" * (source == observable.per_volume)
        raise ValueError(f"{source} is {str(value)[:60]!r} in {where}; expected plain numbers{unit}")
    return array.astype(float)


def _as_label(atoms: Any, observable: Observable, source: str, key: str | None, where: str, value: Any) -> Label:
    """One statement of a label, checked; from what stands per volume too."""
    if observable.isotropic:
        return _as_tensor(atoms, observable, key or source, where, value)
    value = require_finite(_numbers(observable, source, where, value), source, f"delete {where} if the label is missing")
    if observable.rank == 2:
        value = _symmetric(source, value)
    elif observable.per_atom:
        shape = observable.shape(len(atoms))
        if value.shape != shape:
            raise ValueError(f"{source} must have shape {list(shape)}, got {list(value.shape)} in {where}")
    elif value.size != 1:
        raise ValueError(f"{source} must be one number, got shape {value.shape} in {where}")
    else:
        value = value.reshape(())
    if source == observable.per_volume:
        if abs(atoms.cell.volume) == 0:
            raise ValueError(
                f"a {source} needs a cell with a volume; delete {where}, set sigma.{observable.name} of this frame to None, or name what to read with keys"
            )
        value = -atoms.get_volume() * value
    return Label(value, bool(observable.per_atom))


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


def _as_tensor(atoms: Any, observable: Observable, key: str, where: str, value: Any) -> Label:
    """A tensor, [3, …] or [N, 3, …]; where the observable leaves it open, its place and shape say which."""
    name, value = observable.name, _numbers(observable, observable.name, where, value)
    is_open = observable.per_atom is None
    per_atom = where.startswith("atoms.arrays") or (where.startswith("atoms.calc") and is_open and _is_per_atom(key, value.shape, len(atoms)))
    if per_atom and not is_open:
        raise ValueError(f"{name} must be one per structure, in atoms.info; one per atom is a tensor: keys={{'tensor': {key!r}}}")
    n = len(atoms) if per_atom else 1
    rank = round(math.log(max(value.size / n, 1), 3)) if observable.rank is None else observable.rank
    if rank == 0 or value.size != n * 3**rank:
        wanted = f"{3**rank} entries" if observable.rank else "3, 9, 27, 81, … entries" + " per atom" * per_atom
        raise ValueError(f"{name} must have {wanted}, got shape {list(value.shape)} in {where}")
    value = value.reshape(*((n,) if per_atom else ()), *(3,) * rank)
    return Label(require_finite(value, name, f"delete {where} if the label is missing"), per_atom)


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


def _agreed(atoms: Any, observable: Observable, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """The label, which all places must agree upon."""
    (first, label), *others = found.items()
    name, other = observable.name, observable.per_volume
    for where, value in others:
        gap = np.abs(value - label)
        allowed = observable.allowed_gap(max(np.abs(value).max(), np.abs(label).max()), abs(atoms.cell.volume))
        if gap.max() > allowed:
            at = np.unravel_index(np.argmax(gap), gap.shape)
            entry = f"{name}{[int(i) for i in at]}" if at else name
            by = [text + f" ({name} = −volume · {other})" * (other is not None and other in text) for text in (first, where)]
            raise ValueError(
                f"{entry} is {label[at]:.8g} by {by[0]}, but {value[at]:.8g} by {by[1]}, which is more than round-off ({allowed:.2g}); "
                "delete the wrong one" + f", or name only one of {name} and {other} with keys" * (other is not None)
            )
    return label
