"""The structure from which molecular dynamics starts: what of it is kept, and the rest refused by name."""

import re
from typing import Any

import numpy as np

_VELOCITIES = re.compile(r"v|v[_-]?[xyz]|vel(o|ocit(y|ies))?([_-]?[xyz])?|moment(um|a)[_-]?[xyz]?|p_?[xyz]", re.IGNORECASE)


def mobile(atoms: Any) -> np.ndarray:
    """Which coordinates may move, booleans of shape [N, 3]: those that no FixAtoms (a column `move_mask`) and no FixCartesian holds.

    Raises:
      ValueError: for any other constraint, and where nothing may move.
    """
    from ase.constraints import FixAtoms, FixCartesian

    free = np.ones((len(atoms), 3), bool)
    for constraint in atoms.constraints:
        if type(constraint) not in (FixAtoms, FixCartesian):
            raise ValueError(
                f"the start has the constraint {type(constraint).__name__}, which molecular dynamics does not keep (it keeps FixAtoms and "
                "FixCartesian); remove it: del atoms.constraints"
            )
        held = True if type(constraint) is FixAtoms else np.asarray(constraint.mask, bool)
        free[constraint.index] &= np.logical_not(held)
    if len(atoms) and not free.any():
        raise ValueError("every atom of the start is fixed; free some (its column move_mask, or atoms.constraints)")
    return free


def given_momenta(atoms: Any, free: np.ndarray) -> np.ndarray | None:
    """The momenta [N, 3] that a start has, in ASE's unit; None if they are to be drawn.

    Args:
      atoms: `ase.Atoms`.
      free: as `mobile` finds it.

    Raises:
      ValueError: for velocities under a name that ASE does not read, momenta or masses that are no finite numbers, and momenta of
        what is fixed.
    """
    n = len(atoms)
    for name in atoms.arrays:
        if name != "momenta" and _VELOCITIES.fullmatch(name) and "momenta" not in atoms.arrays:
            raise ValueError(
                f"the start has a column {name!r}, which ASE does not read as velocities and whose unit is not known; write "
                f"atoms.set_velocities(factor * atoms.arrays[{name!r}]) in ASE's unit (1 Å/fs is 1 / ase.units.fs), which makes the column momenta, "
                f"or drop it, for velocities drawn at the temperature: del atoms.arrays[{name!r}]"
            )
    if "mass" in atoms.arrays:
        raise ValueError("the start has a column 'mass', which ASE does not read; rename it to 'masses' (amu), or drop it for the masses of the elements")
    masses = np.asarray(atoms.get_masses())
    if masses.shape != (n,) or not np.all(np.isfinite(masses) & (masses > 0)):
        bad = np.flatnonzero(~(np.isfinite(masses) & (masses > 0))) if masses.shape == (n,) else []
        where = f"atom {bad[0]} has {masses[bad[0]]}" if len(bad) else f"got shape {masses.shape}"
        raise ValueError(f"the masses of the start must be positive numbers (amu), {where}; drop the column masses for those of the elements")
    if "momenta" not in atoms.arrays:
        return None
    found = np.asarray(atoms.arrays["momenta"])
    if found.shape != (n, 3) or found.dtype.kind not in "iuf":
        raise ValueError(f"the momenta of the start must be numbers of shape ({n}, 3), got {found.dtype} of shape {found.shape}")
    found = found.astype(float)
    bad = np.flatnonzero(~np.all(np.isfinite(found), axis=1))
    if len(bad):
        raise ValueError(f"the momentum of atom {bad[0]} of the start is {found[bad[0]].tolist()}; drop them: del atoms.arrays['momenta']")
    moved = np.flatnonzero(np.any((found != 0) & ~free, axis=1))
    if len(moved):
        raise ValueError(f"the start fixes atom {moved[0]} and gives it a momentum; write atoms.set_momenta(atoms.get_momenta()), which takes it away")
    return found
