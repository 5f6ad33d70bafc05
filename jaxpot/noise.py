"""Noise levels: one for every number of a label, and those that a frame states for itself, as gap_fit reads them."""

from typing import Any

import numpy as np

from jaxpot.labels import PROPERTIES
from jaxpot.properties import Properties

_SHAPES = {"energy": "", "forces": "[N, 3]", "virial": "[3, 3]"}
_STATED = {  # gap_fit's names of the noise of one frame: property, where, shape; what comes later is more detailed and counts
    "energy_sigma": ("energy", "info", ()),
    "force_sigma": ("forces", "info", ()),
    "force_atom_sigma": ("forces", "arrays", ("N",)),
    "force_component_sigma": ("forces", "arrays", ("N", 3)),
    "force_mask": ("forces", "arrays", ("N",)),
    "virial_sigma": ("virial", "info", ()),
    "virial_component_sigma": ("virial", "info", (3, 3)),
}
_NO_SUCH_LABELS = ("hessian_sigma", "local_property_sigma")


def broadcast_level(name: str, level: Any, n: int) -> np.ndarray:
    """A noise level for every number of a label: [], [N, 3] or [3, 3].

    Raises:
      ValueError: for a level that is not positive or of a wrong shape.
    """
    level = np.asarray(level, float)
    if name == "forces" and level.shape == (n,):
        level = level[:, None]
    if not np.all(level > 0):
        raise ValueError(f"sigma.{name} must be positive, got {level.min()}")
    try:
        return np.broadcast_to(level, {"energy": (), "forces": (n, 3), "virial": (3, 3)}[name]).copy()
    except ValueError:
        raise ValueError(f"sigma.{name} must be a number or {_SHAPES[name]}, got shape {list(level.shape)}") from None


def stated_levels(atoms: Any, levels: Properties) -> Properties:
    """Noise levels with those that the frame states for itself instead, by the names that gap_fit reads, and its meaning.

    In `atoms.info` energy_sigma (eV, of the total energy), force_sigma (eV/Å), virial_sigma (eV, of the total virial) and
    virial_component_sigma (9 numbers); in `atoms.arrays` force_atom_sigma [N] and force_component_sigma [N, 3], which count more than
    force_sigma, and force_mask [N], true where forces are left out.

    Args:
      atoms: `ase.Atoms`.
      levels: for what the frame does not state; what is None stays out.

    Raises:
      ValueError: for levels that are not positive finite numbers of the shape above, and for those of Hessians or local properties.

    Example:
      >>> import ase
      >>> float(stated_levels(ase.Atoms("H2", info={"energy_sigma": 0.05}), Properties(energy=0.001, forces=0.1)).energy)
      0.05
    """
    for key in _NO_SUCH_LABELS:
        if key in atoms.info:
            raise ValueError(f"atoms.info has {key!r}, the noise of labels that no fit of jaxpot takes; write del atoms.info[{key!r}] to fit without them")
    n, changed = len(atoms), {}
    for key, (name, where, shape) in _STATED.items():
        if getattr(levels, name) is None or not (key in atoms.info or key in atoms.arrays):
            continue
        shape = tuple(n if size == "N" else size for size in shape)
        value = _numbers_or_mask(key, getattr(atoms, where).get(key), shape, where)
        if key == "force_mask":
            value = np.where(value[:, None], np.inf, broadcast_level("forces", changed.get("forces", levels.forces), n))
        changed[name] = (value + value.T) / 2 if shape == (3, 3) else value if shape else float(value)
    return levels.replace(**changed) if changed else levels


def _numbers_or_mask(key: str, value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """One statement of a frame about its noise, checked."""
    array, mask = np.asarray(value), key == "force_mask"
    right_size = array.shape == shape or (shape == (3, 3) and array.size == 9)
    right = right_size and array.dtype.kind in ("biu" if mask else "iuf")
    if not right or not (np.all((array == 0) | (array == 1)) if mask else np.all((array > 0) & np.isfinite(array))):
        given = "is not there" if value is None else f"is {' '.join(str(value).split())[:60]}"
        wanted = "true (left out) or false" if mask else "positive finite numbers" if shape else "a positive finite number"
        raise ValueError(f"atoms.{where}[{key!r}] {given}; expected {wanted}{f' of shape {list(shape)}' if shape else ''}, or no {key!r} at all")
    return array.astype(bool) if mask else array.astype(float).reshape(shape)


def require_stated(atoms: Any, levels: Properties) -> None:
    """Refuses noise levels that differ from those that the frame states for itself.

    Raises:
      ValueError: naming both.
    """
    stated = stated_levels(atoms, levels)
    for name in PROPERTIES:
        given, own = getattr(levels, name), getattr(stated, name)
        if own is given:
            continue
        given, own = (broadcast_level(name, level, len(atoms)) for level in (given, own))
        different = ~np.isclose(given, own, rtol=1e-6, atol=0)
        if np.any(different):
            at = tuple(np.argwhere(different)[0])
            keys = [key for key, (of, where, _) in _STATED.items() if of == name and key in getattr(atoms, where)]
            raise ValueError(
                f"the frame states its own noise ({', '.join(keys)}: {own[at]:.6g}), but sigma.{name} is {given[at]:.6g}; write sigma=noise_levels(...), "
                f"which takes the frames' own levels, or delete {' and '.join(keys)} from the frames"
            )
