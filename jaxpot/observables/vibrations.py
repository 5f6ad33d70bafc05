"""Phonons by phonopy, from exact force constants."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpot.checks import optional
from jaxpot.graph import Graph, from_atoms
from jaxpot.observables.springs import force_constants
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.units import KJ_PER_MOL

_constants = jax.jit(force_constants, static_argnames=("of", "at_once"))
_evaluate = jax.jit(evaluate)

IMAGINARY = -0.05  # THz; what is above is round-off of motions of the whole


class ThermalProperties(NamedTuple):
    """Of the vibrations of one cell.

    Args:
      temperatures: in K, shape [T].
      free_energy: with that of the zero point, in eV, shape [T].
      entropy: in eV/K, shape [T].
      heat_capacity: at constant volume, in eV/K, shape [T].
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray


class Phonons:
    """Vibrations of a crystal; made by `phonons`.

    Attributes:
      phonopy: the `phonopy.Phonopy` with the force constants, for all that is not here.
    """

    def __init__(self, phonopy: Any):
        self.phonopy = phonopy

    def frequencies(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """Of wave vectors [Q, 3] in units of the reciprocal vectors: shape [Q, 3n], in THz; imaginary ones are negative."""
        self.phonopy.run_qpoints(np.asarray(points, float))
        return np.array(self.phonopy.qpoints.frequencies)

    def density_of_states(self, mesh: Sequence[int] = (20, 20, 20)) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies in THz and modes per THz and cell, by tetrahedra on a mesh."""
        self.phonopy.run_mesh(list(mesh))
        self.phonopy.run_total_dos()
        return np.array(self.phonopy.total_dos.frequency_points), np.array(self.phonopy.total_dos.dos)

    def thermal_properties(self, temperatures: Sequence[float], mesh: Sequence[int] = (20, 20, 20)) -> ThermalProperties:
        """Of the vibrations at constant volume, at temperatures in K, by a mesh of wave vectors.

        Raises:
          ValueError: for imaginary frequencies, at which a crystal has no such properties.
        """
        self.phonopy.run_mesh(list(mesh))
        points, lowest = self.phonopy.mesh.qpoints, self.phonopy.mesh.frequencies.min(axis=1)
        if lowest.min() < IMAGINARY:
            worst = [i for i in np.argsort(lowest)[:3] if lowest[i] < IMAGINARY]
            modes = "; ".join(f"{lowest[i]:.3f} THz at q = {np.round(points[i], 4).tolist()}" for i in worst)
            raise ValueError(
                f"thermal_properties: imaginary frequencies, written as negative: {modes}. The crystal is at no minimum of energy: "
                "write relax(potential, atoms, cell=True) for a rattled supercell, and take the phonons of what it finds"
            )
        self.phonopy.run_thermal_properties(temperatures=np.asarray(temperatures, float), cutoff_frequency=-IMAGINARY)
        temperatures, energy, entropy, capacity = map(np.array, self.phonopy.thermal_properties.thermal_properties)
        return ThermalProperties(temperatures, energy * KJ_PER_MOL, 1e-3 * entropy * KJ_PER_MOL, 1e-3 * capacity * KJ_PER_MOL)

    def bands(self, points: int = 51) -> dict[str, Any]:
        """Along the path of seekpath through the zone of the crystal as given: `distances` (1/Å) and `frequencies` (THz) of each piece, its
        `ends`, and whether it goes on in the next piece, `joined`.

        Raises:
          ImportError: without seekpath.
        """
        optional("seekpath", "bands", "properties")
        from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

        pieces, labels, joined = get_band_qpoints_by_seekpath(self.phonopy.primitive, points)
        self.phonopy.run_band_structure(pieces, path_connections=joined, labels=labels)
        found, labels = self.phonopy.band_structure, iter(labels)
        ends, last = [], None
        for goes_on in joined:
            first = next(labels) if last is None else last
            end = next(labels)
            ends.append((_plain(first), _plain(end)))
            last = end if goes_on else None
        return {"distances": found.distances, "frequencies": found.frequencies, "ends": ends, "joined": list(joined)}

    def plot(self, axes: Any = None, points: int = 51) -> Any:
        """Draws the bands, into matplotlib axes if given; returns the axes."""
        import matplotlib.pyplot as plt

        axes = plt.figure().add_subplot() if axes is None else axes
        bands, ticks = self.bands(points), {}
        for x, nu, (first, end) in zip(bands["distances"], bands["frequencies"], bands["ends"], strict=True):
            axes.plot(x, nu, "C0-", linewidth=1)
            for place, label in ((x[0], first), (x[-1], end)):
                place = round(float(place), 9)
                ticks[place] = label if ticks.get(place, label) == label else f"{ticks[place]}|{label}"
        axes.set_xticks(list(ticks), list(ticks.values()))
        for place in ticks:
            axes.axvline(place, color="0.8", linewidth=0.5)
        axes.axhline(0, color="0.8", linewidth=0.5)
        axes.set(xlabel="wave vector", ylabel="frequency (THz)", xlim=(min(ticks), max(ticks)))
        return axes


def phonons(potential: Potential, atoms: Any, supercell: Sequence[int], *, tolerance: float = 1e-3, charge: float = 0.0) -> Phonons:
    """Vibrations of a crystal from the second derivatives of its energy in a supercell.

    Frequencies are exact at wave vectors that fit into the supercell, and interpolated between them.

    Args:
      potential: any potential.
      atoms: `ase.Atoms`, a crystal at a minimum, whose cell becomes phonopy's primitive one; its masses count.
      supercell: repeats along the cell vectors; wider than twice the potential's reach in all directions is converged for many.
      tolerance: the largest force, in eV/Å.
      charge: total charge of the supercell, in e.

    Returns:
      Frequencies, density of states, thermal properties and bands; `.phonopy` for all else.

    Raises:
      ValueError: for atoms that are at no minimum.
      ImportError: without phonopy.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> crystal = phonons(argon, bulk("Ar", a=5.3), (2, 2, 2))
      >>> crystal.frequencies([[0, 0, 0], [0.5, 0.5, 0]]).shape
      (2, 3)

    References:
      Togo, "First-principles phonon calculations with phonopy and phono3py", J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    optional("phonopy", "phonons", "properties")
    from phonopy import Phonopy

    phonopy = Phonopy(phonopy_cell(atoms), supercell_matrix=np.diag(supercell), primitive_matrix=np.eye(3))
    phonopy.force_constants = force_constants_of_cell(potential, atoms, phonopy, "phonons", tolerance, charge)[2]
    return Phonons(phonopy)


def phonopy_cell(atoms: Any) -> Any:
    """`ase.Atoms` as phonopy's atoms, with their masses."""
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions, masses=atoms.get_masses())


def force_constants_of_cell(
    potential: Potential, atoms: Any, of: Any, name: str, tolerance: float, charge: float
) -> tuple[Graph, tuple[int, ...], np.ndarray]:
    """The supercell of a `Phonopy` or `Phono3py`, the numbers of the atoms of one cell in it, and their force constants [n, N, 3, 3].

    Raises:
      ValueError: in the name of a function, for a largest force above the tolerance.
    """
    from ase import Atoms

    repeated = of.supercell
    supercell = Atoms(repeated.symbols, positions=repeated.positions, cell=repeated.cell, pbc=atoms.pbc)
    graph = from_atoms(supercell, max(float(potential.reach), 0.1), charge=charge)
    force = float(np.max(np.linalg.norm(np.asarray(_evaluate(potential, graph).forces), axis=1)))
    if not force <= tolerance:
        raise ValueError(
            f"{name}: the largest force is {force:.3g} eV/Å, expected at most {tolerance:g} eV/Å; "
            "write atoms = relax(potential, atoms, cell=True).atoms before"
        )
    rows = tuple(int(i) for i in of.primitive.p2s_map)
    return graph, rows, np.asarray(_constants(potential, graph, of=rows), float)


def _plain(label: str) -> str:
    """A point of the zone as figures write it."""
    return label.replace("GAMMA", "Γ").replace("$\\Gamma$", "Γ").replace("$\\mathrm{", "").replace("}$", "")
