"""Noise levels: one for every number of a label, and those that a frame states for itself, as gap_fit reads them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpot.labels import Label, read_label
from jaxpot.properties import OBSERVABLES, Properties

BY_TYPE = ("energy", "forces", "virial")  # gap_fit's order of the levels of a configuration type
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


def every_label(atoms: Any, keys: Mapping[str, str] | None = None) -> Properties:
    """One for every label that a frame has, where all count alike."""
    return Properties(**{name: 1.0 for name in OBSERVABLES if read_label(atoms, name, keys) is not None})


def noise_levels(
    energy: float | None = None,
    forces: float | None = None,
    virial: float | None = None,
    *,
    config_types: Mapping[str, Sequence[float | None]] | None = None,
    **others: float | None,
) -> Callable[[Any], Properties]:
    """Noise levels by gap_fit's rule: energies and virials of a structure of N atoms get √N times the given level.

    So do dipoles and polarizabilities, which are sums over atoms too. What is one per atom, and a tensor, which may be, does not. What a
    frame states for itself counts instead, without √N: `energy_sigma`, `force_sigma`, `virial_sigma`, `virial_component_sigma` in
    `atoms.info`; `force_atom_sigma`, `force_component_sigma` and `force_mask` (true: left out) in `atoms.arrays`.

    Args:
      energy: in eV per √atom (gap_fit's `default_sigma[0]`); None leaves energies out, of frames that state a level too.
      forces: in eV/Å.
      virial: in eV per √atom.
      config_types: `config_type` -> (energy, forces, virial) instead of the default (gap_fit's `config_type_sigma`); "default"
        are frames of no or another type.
      others: of any other field of Properties: `energies` in eV, `charges` in e, `dipole` in e·Å per √atom, `polarizability` in Å³ per √atom,
        `tensor` in the unit of the label.

    Returns:
      A function of `ase.Atoms` for `Dataset.from_atoms(..., sigma=...)`.

    Raises:
      TypeError: for what is no field of Properties.
      ValueError: for levels that are not positive and finite; from the function, for such in a frame, and for `hessian_sigma` and
        `local_property_sigma` of a frame, the noise of labels that no fit takes.

    Example:
      >>> from ase.build import bulk
      >>> atoms = bulk("Si", cubic=True) * (2, 1, 1)
      >>> float(noise_levels(0.001, 0.1)(atoms).energy)
      0.004
      >>> atoms.info["energy_sigma"] = 0.02
      >>> float(noise_levels(0.001, 0.1)(atoms).energy)
      0.02
    """
    unknown = sorted(set(others) - set(OBSERVABLES))
    if unknown:
        raise TypeError(f"noise_levels: no property is called {unknown[0]!r}; those that are: {', '.join(OBSERVABLES)}")
    of_type = {"default": (energy, forces, virial), **{k: tuple(v) for k, v in (config_types or {}).items()}}
    for name, triple in of_type.items():
        if len(triple) != 3 or any(level is not None and not 0 < level < math.inf for level in triple):
            raise ValueError(f"noise levels of {name} must be three positive numbers or None, got {triple}")
    for name, level in others.items():
        if level is not None and not 0 < level < math.inf:
            raise ValueError(f"the noise level of {name} must be a positive number or None, got {level}")

    def sigma(atoms: Any) -> Properties:
        triple = of_type.get(str(atoms.info.get("config_type", "default")), of_type["default"])
        levels = dict(zip(BY_TYPE, triple, strict=True)) | others
        root = math.sqrt(len(atoms))
        given = {name: level * root if OBSERVABLES[name].extensive else level for name, level in levels.items() if level is not None}
        return stated_levels(atoms, Properties(**given))

    return sigma


def broadcast_level(name: str, level: Any, label: Label) -> np.ndarray:
    """A noise level for every number of a label, or one for each tensor where noise is isotropic.

    Raises:
      ValueError: for a level that is not positive or of a wrong shape.
    """
    level, observable = np.asarray(level, float), OBSERVABLES[name]
    shape = label.value.shape[: label.per_atom] if observable.isotropic else label.value.shape
    if observable.isotropic and level.shape not in ((), shape):
        raise ValueError(f"sigma.{name} must be one number per tensor (noise is isotropic), got shape {list(level.shape)}")
    if not np.all(level > 0):
        raise ValueError(f"sigma.{name} must be positive, got {level.min()}")
    if label.per_atom and level.shape == shape[:1]:
        level = level.reshape(-1, *(1,) * (len(shape) - 1))
    try:
        return np.broadcast_to(level, shape).copy()
    except ValueError:
        shown = ", ".join(["N"] * label.per_atom + [str(size) for size in shape[label.per_atom :]])
        raise ValueError(f"sigma.{name} must be a number or [{shown}], got shape {list(level.shape)}") from None


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
            value = np.where(value[:, None], np.inf, _broadcast(name, changed.get(name, getattr(levels, name)), n))
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
    for name in OBSERVABLES:
        given, own = getattr(levels, name), getattr(stated, name)
        if own is given:
            continue
        given, own = (_broadcast(name, level, len(atoms)) for level in (given, own))
        different = ~np.isclose(given, own, rtol=1e-6, atol=0)
        if np.any(different):
            at = tuple(np.argwhere(different)[0])
            keys = [key for key, (of, where, _) in _STATED.items() if of == name and key in getattr(atoms, where)]
            raise ValueError(
                f"the frame states its own noise ({', '.join(keys)}: {own[at]:.6g}), but sigma.{name} is {given[at]:.6g}; write sigma=noise_levels(...), "
                f"which takes the frames' own levels, or delete {' and '.join(keys)} from the frames"
            )


def _broadcast(name: str, level: Any, n: int) -> np.ndarray:
    """For every number of a label that frames can state the noise of."""
    observable = OBSERVABLES[name]
    return broadcast_level(name, level, Label(np.zeros(observable.shape(n)), bool(observable.per_atom)))
