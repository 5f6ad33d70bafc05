"""The thermal conductivity of a crystal by its phonons' scattering, from exact force constants of third order, by phono3py."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpot.checks import optional
from jaxpot.graph import Graph
from jaxpot.observables.springs import third_order_force_constants
from jaxpot.observables.vibrations import IMAGINARY, force_constants_of_cell, phonopy_cell
from jaxpot.potentials.base import Potential

_third_order = jax.jit(third_order_force_constants, static_argnames=("of", "at_once"))


class LatticeConductivity(NamedTuple):
    """Of phonons that scatter each other.

    Args:
      temperatures: in K, shape [T].
      conductivity: shape [T, 3, 3], in W/(m K).
      phono3py: the `phono3py.Phono3py`, for all that is not here: line widths, lifetimes, conductivity by modes.
    """

    temperatures: np.ndarray
    conductivity: np.ndarray
    phono3py: Any


def lattice_conductivity(
    potential: Potential,
    atoms: Any,
    supercell: Sequence[int],
    temperatures: Sequence[float],
    *,
    mesh: Sequence[int] = (11, 11, 11),
    isotopes: bool = False,
    tolerance: float = 1e-3,
    charge: float = 0.0,
) -> LatticeConductivity:
    r"""Thermal conductivity by the linearised Boltzmann equation of phonons, with relaxation times of three-phonon scattering.

    .. math:: \kappa = \frac{1}{N_q V} \sum_{q\nu} C_{q\nu}\, v_{q\nu} \otimes v_{q\nu}\, \tau_{q\nu}

    Args:
      potential: any potential.
      atoms: `ase.Atoms`, a crystal at a minimum, whose cell is phonopy's primitive one; its masses count.
      supercell: repeats along the cell vectors; wider than twice the potential's reach in all directions is converged. Force constants of third
        order take the time of 9 n N forces, n atoms of the cell and N of the supercell.
      temperatures: in K, above zero.
      mesh: wave vectors along each axis; the result is converged where a finer one changes nothing.
      isotopes: whether phonons are scattered by the natural mixture of isotopes too.
      tolerance: the largest force, in eV/Å.
      charge: total charge of the supercell, in e.

    Raises:
      ValueError: for atoms that are at no minimum, imaginary frequencies, temperatures that are not above zero, or a supercell not wider than
        twice the nearest distance: there an atom stands on both sides of another, and its pulls of third order cancel.
      ImportError: without phono3py.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> lattice_conductivity(argon, bulk("Ar", a=5.3), (3, 3, 3), [50.0], mesh=(3, 3, 3)).conductivity.shape
      (1, 3, 3)

    References:
      Togo, Chaput, Tanaka, "Distributions of phonon lifetimes in Brillouin zones", Phys. Rev. B 91, 094306 (2015).
    """
    optional("phono3py", "lattice_conductivity", "properties")
    from phono3py import Phono3py

    wanted = np.asarray(temperatures, float)
    if wanted.ndim != 1 or not np.all(wanted > 0):
        raise ValueError(f"lattice_conductivity: temperatures are {np.asarray(temperatures).tolist()}; expected some above zero, such as [100.0, 300.0]")
    scattered = Phono3py(phonopy_cell(atoms), supercell_matrix=np.diag(supercell), primitive_matrix=np.eye(3))
    graph, rows, second = force_constants_of_cell(potential, atoms, scattered, "lattice_conductivity", tolerance, charge)
    nearest, narrowest = _distances(graph)
    if nearest < np.inf and narrowest <= 2 * nearest:
        raise ValueError(
            f"lattice_conductivity: the supercell is {narrowest:.2f} Å wide, expected more than twice the nearest distance, {2 * nearest:.2f} Å; "
            f"write for example supercell={tuple(int(np.ceil(2.01 * nearest / narrowest * n)) for n in supercell)}"
        )
    scattered.fc2, scattered.fc3 = second, np.asarray(_third_order(potential, graph, of=rows), float)
    scattered.mesh_numbers = list(mesh)
    scattered.init_phph_interaction()
    scattered.run_phonon_solver()
    lowest = float(np.min(scattered.get_phonon_data()[0]))
    if lowest < IMAGINARY:
        raise ValueError(
            f"lattice_conductivity: imaginary frequencies, written as negative: {lowest:.3f} THz. The crystal is at no minimum of energy: "
            "write relax(potential, atoms, cell=True) for a rattled supercell, and take what it finds"
        )
    scattered.run_thermal_conductivity(temperatures=wanted, is_isotope=isotopes)
    xx, yy, zz, yz, xz, xy = np.moveaxis(np.asarray(scattered.thermal_conductivity.kappa)[0], -1, 0)
    tensor = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(-1, 3, 3)
    return LatticeConductivity(wanted, tensor, scattered)


def _distances(graph: Graph) -> tuple[float, float]:
    """Between nearest atoms, and between opposite faces of the cell where it is narrowest, in Å."""
    positions, cell = np.asarray(graph.positions), np.asarray(graph.cell)
    centers, slots = np.nonzero(np.asarray(graph.neighbors) < len(positions))
    others, shifts = np.asarray(graph.neighbors)[centers, slots], np.asarray(graph.shifts)[centers, slots]
    distances = np.linalg.norm(positions[others] - positions[centers] + shifts @ cell, axis=1)
    return float(np.min(distances, initial=np.inf)), float(np.min(1 / np.linalg.norm(np.linalg.inv(cell), axis=0)))
