"""What is predicted, measured and fitted: one class for predictions, labels, noise levels and design rows.

Labels, noise, rows, errors, plots, files and calculators iterate over the fields of `Properties` and what each says of itself: a new
observable is one field here.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax

from jaxpot.leaves import OptionalLeaf, Tree
from jaxpot.trees import pytree

Array = jax.Array

_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # xx yy zz yz xz xy


@dataclasses.dataclass(frozen=True)
class Observable:
    """What a field of Properties is.

    Args:
      name: of the field, and the key under which files have it.
      unit: of its numbers.
      word: what one number is called in tables and plots.
      rank: number of Cartesian indices; None where models and labels say it.
      symmetric: whether the indices may be exchanged; None where a model says which, in its attribute `groups`.
      per_atom: whether each atom has one; None where models and labels say it.
      of_energy: whether every potential predicts it: the energy, its parts and its derivatives.
      extensive: whether it is a sum over atoms: by `noise_levels` its noise grows as √N.
      by_atom: whether errors are divided by N.
      isotropic: whether its noise is one number whatever the axes; else each of its numbers has its own.
      total: the field of a Graph that those of a structure's atoms sum to.
      any_unit: whether labels and predictions may be in another unit, the same in both.
      per_volume: the name under which files have minus this per volume.
      ase: names of it in results of ASE's calculators; `per_volume` there stands in six numbers, xx yy zz yz xz xy.
      shown: unit and factor of its errors in tables and plots.
      hints: how names of such labels begin or what they contain.
      round_off: by how much two statements of one label may differ, absolute and relative to the largest entry.
      volume_round_off: and in addition per Å³.

    Example:
      >>> OBSERVABLES["forces"].unit, OBSERVABLES["forces"].per_atom
      ('eV/Å', True)
    """

    unit: str
    word: str
    rank: int | None
    name: str = ""
    symmetric: bool | None = True
    per_atom: bool | None = False
    of_energy: bool = False
    extensive: bool = False
    by_atom: bool = False
    isotropic: bool = False
    total: str | None = None
    any_unit: bool = False
    per_volume: str | None = None
    ase: tuple[str, ...] = ()
    shown: tuple[str, float] | None = None
    hints: tuple[str, ...] = ("",)
    round_off: tuple[float, float] = (1e-6, 1e-5)
    volume_round_off: float = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names under which files have it: its own, and that of minus this per volume."""
        return (self.name,) if self.per_volume is None else (self.name, self.per_volume)

    @property
    def groups(self) -> tuple[int, ...] | None:
        """One label per index, where indices with equal labels may be exchanged; None where the model says it."""
        return None if self.rank is None or self.symmetric is None else (0,) * self.rank

    @property
    def error_unit(self) -> str:
        """Of errors in a report."""
        return "unit of the labels" if self.any_unit else self.unit + "/atom" * self.by_atom

    @property
    def component(self) -> str:
        """What the numbers that are compared are called."""
        return self.word + " component" * (self.rank != 0)

    def shape(self, n: int) -> tuple[int, ...]:
        """Of the value of a structure of n atoms, where models have no say."""
        return (n,) * bool(self.per_atom) + (3,) * self.rank

    def results(self, value: Any, volume: float | None) -> dict[str, Any]:
        """What ASE's calculators have of it: per volume where it is so, and then only where there is one."""
        if self.per_volume is None:
            return dict.fromkeys(self.ase, value)
        return {} if volume is None else dict.fromkeys(self.ase, (-value / volume)[_VOIGT])

    def written(self, value: Any, volume: float | None) -> dict[str, Any]:
        """What files have of it, under its name or that of minus this per volume."""
        if self.per_volume is None:
            return {self.name: value}
        return {} if volume is None else {self.per_volume: -value / volume}

    def allowed_gap(self, largest: float, volume: float) -> float:
        """Round-off of two statements of one label, of which this is the largest entry."""
        return self.round_off[0] + self.volume_round_off * volume + self.round_off[1] * largest


def observable(unit: str, word: str, rank: int | None, **more: Any) -> Any:
    """A field of Properties with what it says of itself; arguments as of Observable."""
    return dataclasses.field(default=None, metadata={"observable": Observable(unit, word, rank, **more)})


@pytree
class Properties(Tree):
    """Predictions, labels, noise levels and design rows; absent fields are None.

    Args:
      energy: shape [], in eV.
      energies: atomic energies, shape [N], in eV; of padding atoms 0.
      forces: −∂E/∂R, shape [N, 3], in eV/Å.
      virial: −∂E/∂ε for a symmetric strain ε, shape [3, 3], in eV; ASE's stress is −virial/V.
      charges: shape [N], in e.
      dipole: shape [3], in e·Å.
      polarizability: shape [3, 3], in Å³.
      tensor: shape [3, …, 3], or [N, 3, …, 3] per atom; meaning and unit are the model's.

    The noise of a dipole, polarizability or tensor is isotropic: its level is one number, shape [], or [N] per atom.

    Example:
      >>> properties = Properties(energy=jnp.asarray(-1.0), forces=jnp.zeros((2, 3)))
      >>> float(properties.energy), properties.virial
      (-1.0, None)
    """

    energy: OptionalLeaf = observable(
        "eV", "energy", 0, of_energy=True, extensive=True, by_atom=True, ase=("energy", "free_energy"), shown=("meV/atom", 1e3), hints=("ener",),
        round_off=(1e-6, 1e-7),
    )  # fmt: skip
    energies: OptionalLeaf = observable(
        "eV", "atomic energy", 0, per_atom=True, of_energy=True, ase=("energies",), shown=("meV", 1e3), hints=("ener",), round_off=(1e-6, 1e-7)
    )
    forces: OptionalLeaf = observable(
        "eV/Å", "force", 1, per_atom=True, of_energy=True, ase=("forces",), shown=("eV/Å", 1.0), hints=("forc",), round_off=(1e-5, 1e-5)
    )
    virial: OptionalLeaf = observable(
        "eV", "virial", 2, of_energy=True, extensive=True, by_atom=True, per_volume="stress", ase=("stress",), shown=("meV/atom", 1e3),
        hints=("viri", "stress"), round_off=(1e-6, 1e-4), volume_round_off=5e-7,  # eV/Å³; of a stress with six decimals
    )  # fmt: skip
    charges: OptionalLeaf = observable("e", "charge", 0, per_atom=True, total="charge", ase=("charges",), shown=("e", 1.0), hints=("charge",))
    dipole: OptionalLeaf = observable("e·Å", "dipole", 1, extensive=True, isotropic=True, any_unit=True, ase=("dipole",), hints=("dip", "mu"))
    polarizability: OptionalLeaf = observable(
        "Å³", "polarizability", 2, symmetric=None, extensive=True, isotropic=True, any_unit=True, hints=("pol", "alpha")
    )
    tensor: OptionalLeaf = observable("", "tensor", None, per_atom=None, isotropic=True, any_unit=True)


    @property
    def given(self) -> dict[str, Any]:
        """The fields that are not absent, by name."""
        return {field.name: value for field in dataclasses.fields(self) if (value := getattr(self, field.name)) is not None}


def added(parts: Iterable[Properties]) -> Properties:
    """The sum of predictions, of every field over those which have it."""
    total: dict[str, Any] = {}
    for part in parts:
        total |= {name: total[name] + value if name in total else value for name, value in part.given.items()}
    return Properties(**total)


OBSERVABLES = {
    field.name: dataclasses.replace(field.metadata["observable"], name=field.name) for field in dataclasses.fields(Properties)
}  # by name, in order
SOURCES = {source: name for name, observable in OBSERVABLES.items() for source in observable.sources}  # what files may have -> the field
