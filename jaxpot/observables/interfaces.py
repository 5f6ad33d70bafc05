"""Energies of surfaces, stacking faults and boundaries, per area."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpot.calculator import Calculator
from jaxpot.observables.defects import energy_of
from jaxpot.observables.relaxation import relax
from jaxpot.potentials.base import Potential
from jaxpot.units import GPA


class PlanarDefect(NamedTuple):
    """A surface, fault or boundary.

    Args:
      energy: per area, in eV/Å².
      atoms: `ase.Atoms` with it.

    Example:
      >>> PlanarDefect(energy=0.1, atoms=None).joules > 1.6  # J/m²
      True
    """

    energy: float
    atoms: Any

    @property
    def joules(self) -> float:
        """The energy in J/m²."""
        return 0.1 * self.energy / GPA  # 1 GPa Å is 0.1 J/m²


def interface_energy(
    potential: Potential | Calculator, atoms: Any, crystal: Any, *, count: int = 2, relaxed: bool = False, tolerance: float = 1e-3
) -> PlanarDefect:
    r"""How much the energy of a structure exceeds that of a crystal of as many atoms, per area of its interfaces.

    .. math:: \gamma = \frac{E - \sum_i E_\text{crystal}/N_\text{crystal}}{n A}

    Args:
      potential: any potential, or a Calculator of one.
      atoms: `ase.Atoms`, a slab or a cell with boundaries, which lie in the plane of the first two cell vectors.
      crystal: `ase.Atoms` of the perfect crystal, of the same composition.
      count: how many interfaces the cell has: the two sides of a slab, or two boundaries.
      relaxed: whether atoms move to a minimum in the cell as given.
      tolerance: the largest force, in eV/Å.

    Returns:
      The energy and the structure.

    Raises:
      ValueError: for a crystal of another composition.
      RuntimeError: where atoms do not relax.
    """
    shares = [{symbol: np.mean(np.array(one.symbols) == symbol) for symbol in set(one.symbols)} for one in (atoms, crystal)]
    if set(shares[0]) != set(shares[1]) or any(abs(shares[0][symbol] - shares[1][symbol]) > 1e-9 for symbol in shares[0]):
        raise ValueError(f"interface_energy: {atoms.symbols} is not of the composition of the crystal, {crystal.symbols}; take whole layers")
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    if relaxed:
        found = relax(potential, atoms, tolerance=tolerance)
        atoms, energy = found.atoms, found.energy
    else:
        energy = energy_of(potential, atoms)
    return PlanarDefect((energy - len(atoms) * energy_of(potential, crystal) / len(crystal)) / (count * area), atoms)


def surface_energy(
    potential: Potential | Calculator,
    crystal: Any,
    miller: Sequence[int],
    *,
    layers: int = 6,
    vacuum: float = 10.0,
    relaxed: bool = False,
    tolerance: float = 1e-3,
) -> PlanarDefect:
    """The energy of a surface of a crystal: of a slab cut by `ase.build.surface`, both sides alike.

    Args:
      potential: any potential, or a Calculator of one.
      crystal: `ase.Atoms` of a conventional cell at its minimum.
      miller: indices of the plane, with respect to that cell.
      layers: of that cell, as ASE counts them.
      vacuum: on either side, in Å.
      relaxed, tolerance: as of `interface_energy`.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> found = surface_energy(argon, bulk("Ar", a=5.3, cubic=True), (1, 0, 0), layers=3)
      >>> bool(0.02 < found.joules < 0.06)
      True
    """
    from ase.build import surface

    slab = surface(crystal, tuple(miller), layers, vacuum=vacuum, periodic=True)
    return interface_energy(potential, slab, crystal, relaxed=relaxed, tolerance=tolerance)


def stacking_fault_energy(
    potential: Potential | Calculator, atoms: Any, shift: Sequence[float], *, relaxed: bool = False, tolerance: float = 1e-3
) -> PlanarDefect:
    """The energy of a fault at which a crystal is shifted along a plane: one fault per cell.

    The shift is added to the third cell vector, so that one side of the cell faces the next cell shifted. A grid of shifts without
    relaxation gives the energy surface of gliding.

    Args:
      potential: any potential, or a Calculator of one.
      atoms: `ase.Atoms`, the perfect crystal in a cell whose first two vectors span the plane and that is high enough for faults not to meet.
      shift: shape [3], in Å, in that plane.
      relaxed, tolerance: as of `interface_energy`.

    Raises:
      ValueError: for a shift out of the plane.

    Example:
      >>> from ase.build import fcc111
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> crystal = fcc111("Ar", (1, 1, 6), a=5.3, periodic=True)
      >>> crystal.center(vacuum=5.3 / 3**0.5 / 2, axis=2)
      >>> found = stacking_fault_energy(argon, crystal, crystal.cell[0])  # a lattice vector
      >>> bool(abs(found.energy) < 1e-12)
      True
    """
    shift = np.asarray(shift, float)
    normal = np.cross(atoms.cell[0], atoms.cell[1])
    normal /= np.linalg.norm(normal)
    if abs(shift @ normal) > 1e-6:
        raise ValueError(f"stacking_fault_energy: the shift {shift.tolist()} leaves the plane of the first two cell vectors by {shift @ normal:.3g} Å")
    faulted = atoms.copy()
    faulted.set_cell(np.vstack([atoms.cell.array[:2], atoms.cell.array[2] + shift]), scale_atoms=False)
    return interface_energy(potential, faulted, atoms, count=1, relaxed=relaxed, tolerance=tolerance)


def grain_boundary_energy(
    potential: Potential | Calculator,
    crystal: Any,
    miller: Sequence[int],
    *,
    layers: int = 6,
    gap: float = 0.0,
    relaxed: bool = False,
    tolerance: float = 1e-3,
) -> PlanarDefect:
    """The energy of a symmetric tilt boundary, where a crystal meets its mirror image: of a cell with two of them, alike.

    Of (111) planes of a cubic close packing it is the coherent twin, Σ3, and of (210) Σ5.

    Args:
      potential: any potential, or a Calculator of one.
      crystal: `ase.Atoms` of a conventional cell at its minimum.
      miller: indices of the plane of the boundary, with respect to that cell.
      layers: of that cell in either grain, as ASE counts them.
      gap: between the last planes of the two grains, in Å; 0 makes them one plane, which belongs to both.
      relaxed, tolerance: as of `interface_energy`; one grain does not glide along the other, since between mirror images forces along the plane vanish.

    Raises:
      ValueError: for a negative gap, or grains of one plane.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> found = grain_boundary_energy(argon, bulk("Ar", a=5.3, cubic=True), (2, 1, 0), layers=4)
      >>> bool(0.001 < found.joules)
      True
    """
    from ase.build import surface

    if not gap >= 0:
        raise ValueError(f"grain_boundary_energy: gap must be 0 or a positive number of Å, got {gap}")
    grain = surface(crystal, tuple(miller), layers, periodic=True)
    height = grain.positions[:, 2]
    thickness = np.ptp(height)
    if thickness < 1e-3:
        raise ValueError(f"grain_boundary_energy: a grain of {layers} layers of {tuple(miller)} is a single plane; write more layers")
    mirrored = grain.copy()
    mirrored.positions[:, 2] = 2 * np.max(height) + gap - height
    if gap == 0:
        inside = (height > np.min(height) + 1e-3) & (height < np.max(height) - 1e-3)
        mirrored = mirrored[inside]
    both = grain + mirrored
    both.set_cell([*grain.cell.array[:2], [0, 0, 2 * (thickness + gap)]], scale_atoms=False)
    both.set_pbc(True)
    return interface_energy(potential, both, crystal, relaxed=relaxed, tolerance=tolerance)
