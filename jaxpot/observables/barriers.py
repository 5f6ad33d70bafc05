"""Barriers between minima, by nudged elastic bands."""

from typing import Any, NamedTuple

import numpy as np

from jaxpot.calculator import Calculator
from jaxpot.potentials.base import Potential


class MigrationPath(NamedTuple):
    """A path of least energy between two minima.

    Args:
      barrier: of the highest image above the first, in eV.
      energies: of all images above the first, in eV.
      images: `ase.Atoms` of each, without calculators.
    """

    barrier: float
    energies: np.ndarray
    images: list[Any]

    def plot(self, axes: Any = None) -> Any:
        """Draws the energies, into matplotlib axes if given; returns the axes."""
        import matplotlib.pyplot as plt

        axes = plt.figure().add_subplot() if axes is None else axes
        axes.plot(np.linspace(0, 1, len(self.energies)), self.energies, "o-")
        axes.set(xlabel="image, from start to end", ylabel="energy (eV)")
        return axes


def migration_path(potential: Potential, start: Any, end: Any, *, images: int = 5, tolerance: float = 0.01, most: int = 1000) -> MigrationPath:
    """The path between two minima of the same atoms, with an image that climbs to the saddle point, by ASE's NEB.

    Args:
      potential: any potential.
      start, end: `ase.Atoms` at minima, in the same order and cell.
      images: between them; with an odd number the saddle point of a symmetric path is one of them.
      tolerance: the largest force across the path, and of both ends, in eV/Å.
      most: steps.

    Returns:
      Barrier, energies and images.

    Raises:
      RuntimeError: where the path did not come to rest.
      ValueError: for ends that are no minima.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot.cutoffs import Step
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=Step(9.0))
      >>> r = 2 ** (1 / 6) * 3.405  # an atom passes between two others
      >>> start, end = (Atoms("Ar3", positions=[[0, h, 0], [-r / 2, 0, 0], [r / 2, 0, 0]]) for h in (0.75**0.5 * r, -(0.75**0.5) * r))
      >>> path = migration_path(argon, start, end, images=1, tolerance=1e-4)
      >>> bool(abs(path.barrier / 0.0104 - 0.96888) < 1e-4)
      True
    """
    from ase.mep import NEB
    from ase.optimize import FIRE

    chain = [start.copy() for _ in range(images + 1)] + [end.copy()]
    for image in chain:
        image.calc = Calculator(potential)
    for name, image in (("start", chain[0]), ("end", chain[-1])):
        force = float(np.max(np.linalg.norm(image.get_forces(), axis=1)))
        if not force <= tolerance:
            raise ValueError(
                f"migration_path: the largest force of the {name} is {force:.3g} eV/Å, expected at most {tolerance:g}; write relax(potential, {name}).atoms"
            )
    band = NEB(chain, climb=True, method="improvedtangent", allow_shared_calculator=False)
    band.interpolate("idpp", mic=bool(np.any(start.pbc)))  # atoms on straight lines may meet
    search = FIRE(band, logfile=None)
    if not search.run(fmax=tolerance, steps=most):
        force = float(np.max(np.linalg.norm(band.get_forces(), axis=1)))
        raise RuntimeError(
            f"migration_path: the path has not come to rest after {search.nsteps} steps, the largest force across it is "
            f"{force:.3g} eV/Å, expected at most {tolerance:g}; write most={10 * most}, or fewer images"
        )
    energies = np.array([image.get_potential_energy() for image in chain])
    for image in chain:
        image.calc = None
    return MigrationPath(float(np.max(energies) - energies[0]), energies - energies[0], chain)
