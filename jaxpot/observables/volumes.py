"""Energy as a function of the volume."""

from typing import Any, NamedTuple

import numpy as np

from jaxpot.observables.relaxation import relax
from jaxpot.potentials.base import Potential
from jaxpot.units import GPA


class EquationOfState(NamedTuple):
    """Birch–Murnaghan's equation of state and the energies it was fitted to; energies and volumes per atom.

    Args:
      volumes: in Å³, shape [n].
      energies: in eV, shape [n].
      volume: at the minimum, in Å³.
      energy: there, in eV.
      bulk_modulus: there, in GPa.
      derivative: of the bulk modulus by pressure, without unit.
    """

    volumes: np.ndarray
    energies: np.ndarray
    volume: float
    energy: float
    bulk_modulus: float
    derivative: float

    def plot(self, axes: Any = None) -> Any:
        """Draws points and curve, into matplotlib axes if given; returns the axes."""
        import matplotlib.pyplot as plt
        from ase.eos import birchmurnaghan

        axes = plt.figure().add_subplot() if axes is None else axes
        grid = np.linspace(self.volumes.min(), self.volumes.max(), 200)
        axes.plot(self.volumes, self.energies, "o")
        axes.plot(grid, birchmurnaghan(grid, self.energy, self.bulk_modulus * GPA, self.derivative, self.volume))
        axes.set(xlabel="volume (Å³/atom)", ylabel="energy (eV/atom)")
        return axes


def equation_of_state(potential: Potential, atoms: Any, *, strain: float = 0.02, points: int = 9, tolerance: float = 1e-4) -> EquationOfState:
    """Energies at scaled cells with relaxed atoms, and the equation of Birch and Murnaghan through them.

    Args:
      potential: any potential.
      atoms: `ase.Atoms`, a crystal near its minimum; its shape is kept.
      strain: the largest, of lengths.
      points: how many volumes.
      tolerance: of forces, in eV/Å.

    Returns:
      The points and the fit. For the bulk modulus as a derivative see `moduli(elastic_constants(...))`.

    Raises:
      ValueError: where the minimum is not between the volumes.
      RuntimeError: where atoms do not relax.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> found = equation_of_state(argon, bulk("Ar", a=5.3), points=5)
      >>> bool(30 < found.volume < 40)
      True
    """
    from ase.eos import EquationOfState as Fit

    scales = np.linspace(1 - strain, 1 + strain, points)
    volumes, energies = [], []
    for scale in scales:
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * scale, scale_atoms=True)
        volumes.append(scaled.get_volume() / len(atoms))
        energies.append(relax(potential, scaled, tolerance=tolerance).energy / len(atoms))
    if not 0 < np.argmin(energies) < points - 1:
        raise ValueError(
            f"equation_of_state: the lowest energy is at the end of the volumes, {volumes[np.argmin(energies)]:.4g} Å³/atom; "
            "write atoms = relax(potential, atoms, cell=True).atoms, or a larger strain"
        )
    fit = Fit(volumes, energies, eos="birchmurnaghan")
    volume, energy, bulk_modulus = fit.fit()
    return EquationOfState(np.array(volumes), np.array(energies), volume, energy, bulk_modulus / GPA, fit.eos_parameters[2])
