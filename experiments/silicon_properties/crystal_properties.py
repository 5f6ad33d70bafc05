"""Properties of silicon by one potential, each begun and relaxed as in the silicon testing framework of Bartók et al., Phys. Rev. X 8, 041048 (2018)."""

import itertools
import time
from collections.abc import Callable

import jax
import numpy as np
from ase import Atom, Atoms
from ase.build import bulk, surface
from ase.lattice.cubic import Diamond

import jaxpot as jp
from jaxpot.observables import (
    cubic_constants,
    elastic_constants,
    interface_energy,
    interstitial_energy,
    phonons,
    relax,
    stacking_fault_energy,
    surface_energy,
    vacancy_energy,
)

PATH = ((0, 0, 0), (0, 0.5, 0.5), (1, 1, 1), (0.5, 0.5, 0.5))  # Γ, X, Γ, L
PER_PIECE = 50  # wave vectors of each piece of the path, as in the stored bands
GUESS = 5.44  # Å
SKIN = 0.2  # Å; thin, since atoms move little and every neighbour costs time

# used once, so that the time is that of compilation, of which this takes half
_constants = jax.jit(elastic_constants, compiler_options={"xla_backend_optimization_level": 0})


def diamond(a: float) -> Atoms:
    """The cubic cell of eight atoms."""
    return bulk("Si", "diamond", a=a, cubic=True)


def lattice_constant(calculator: jp.Calculator) -> float:
    """In Å."""
    found = relax(calculator, bulk("Si", "diamond", a=GUESS), cell=True, tolerance=1e-5)
    return float((4 * found.atoms.get_volume()) ** (1 / 3))


def elasticity(potential: jp.Potential, a: float) -> dict[str, float]:
    """Bulk modulus and cubic constants with relaxed ions, in GPa."""
    c11, c12, c44 = map(float, cubic_constants(_constants(potential, jp.from_atoms(diamond(a), float(potential.reach)))))
    return {"B": (c11 + 2 * c12) / 3, "c11": c11, "c12": c12, "c44": c44}


def drawn_in(crystal: Atoms) -> Atoms:
    """A vacancy whose neighbours are drawn towards it by 13 to 16 % of the bond, and all atoms rattled by 0.1 Å.

    From the ideal places the search may end where the four neighbours form no pairs.
    """
    bonds = crystal.get_distances(0, range(len(crystal)), mic=True, vector=True)
    nearest = np.argsort(np.linalg.norm(bonds, axis=1))[1:5]
    defective = crystal.copy()
    defective.positions[nearest] -= (0.13 + 0.01 * np.arange(4))[:, None] * bonds[nearest]
    del defective[0]
    defective.rattle(0.1, seed=0)
    return defective


def hexagonal(crystal: Atoms, a: float) -> Atoms:
    """An atom in the middle of a ring of six, at ideal places: for many potentials a saddle point, where only symmetry keeps it."""
    return crystal + Atoms("Si", positions=[[0.625 * a] * 3])


def dumbbell(crystal: Atoms) -> Atoms:
    """Two atoms along [110] that share the place of one."""
    defective, place = crystal.copy(), crystal.positions[0].copy()
    defective.positions[0] += (0.85, 0.85, -0.8)
    defective.append(Atom("Si", place + np.array([-0.85, -0.85, -0.8])))
    defective.rattle(1e-3, seed=1)
    return defective


def cut(a: float, miller: tuple[int, int, int]) -> Atoms:
    """The cubic cell, shifted so that a cut along (111) goes through single bonds and not through three for each atom."""
    crystal = diamond(a)
    if miller == (1, 1, 1):
        crystal.translate([0.1 * a] * 3)
    return crystal


def rattled_surface(calculator: jp.Calculator, a: float, miller: tuple[int, int, int], layers: int) -> float:
    """Relaxed from places rattled by 0.05 Å, in eV/Å²: the ideal ones of (110) are a saddle point."""
    slab = surface(diamond(a), miller, layers, vacuum=5.0, periodic=True)
    slab.rattle(0.05, seed=1)
    return interface_energy(calculator, slab, diamond(a), relaxed=True, tolerance=3e-3).energy


def glide_cell(a: float, repeats: int) -> Atoms:
    """The crystal along [1-10], [11-2] and [111], whose ends lie between the two planes of a narrow pair: the glide set."""
    crystal = Diamond(symbol="Si", latticeconstant=a, directions=[[1, -1, 0], [1, 1, -2], [1, 1, 1]], size=(1, 1, repeats), pbc=True)
    heights = np.unique(np.round(crystal.positions[:, 2], 3))
    narrow = np.argmin(np.diff(heights))
    crystal.positions[:, 2] -= 0.5 * (heights[narrow] + heights[narrow + 1])
    crystal.wrap()
    return crystal


def partial_glide(crystal: Atoms) -> np.ndarray:
    """The partial glide after which every atom of a `glide_cell` has four neighbours a bond away, in Å; the opposite one brings atoms to 0.8 Å."""
    return crystal.cell.array[1] / 3


def stacking_fault(calculator: jp.Calculator, a: float, repeats: int) -> float:
    """Of the intrinsic fault, in eV/Å²."""
    crystal = glide_cell(a, repeats)
    return stacking_fault_energy(calculator, crystal, partial_glide(crystal), relaxed=True).energy


def bands(potential: jp.Potential, a: float, repeats: int) -> np.ndarray:
    """Frequencies along the path, ascending at every wave vector, shape [150, 6], in THz."""
    points = np.concatenate([np.linspace(start, end, PER_PIECE) for start, end in itertools.pairwise(PATH)])
    return np.sort(phonons(potential, bulk("Si", "diamond", a=a), (repeats,) * 3).frequencies(points), axis=1)


def table(potential: jp.Potential, settings: dict, show: Callable[[str, dict], None]) -> dict:
    """All properties; one that could not be had stands under `failed` with the reason.

    Structures are padded to two sizes, of slabs and of crystals with a defect: what is compiled for one of them serves all of its size.

    Args:
      potential: any potential of silicon.
      settings: `defects`, `phonons`: repeats of the cubic and of the primitive cell; `layers`: of each surface, (100), (110), (111);
        `fault`: repeats of 12 atoms along [111].
      show: is told of every property as it is found, and given what there is so far.

    Returns:
      `values`, in Å, GPa, eV, eV/Å² and THz; `bands`, frequencies along the path; `failed`; `seconds`, of each property.
    """
    result: dict = {"values": {}, "failed": {}, "seconds": {}}
    layers_100, layers_110, layers_111 = settings["layers"]
    sizes = max(8 * max(settings["layers"]), 12 * settings["fault"]), 8 * settings["defects"] ** 3 + 1
    slabs, defects = (jp.Calculator(potential, skin=SKIN, max_atoms=n) for n in sizes)

    def measure(name: str, function: Callable[[], float | dict[str, float]]) -> None:
        began = time.perf_counter()
        try:
            found = function()
            found = found if isinstance(found, dict) else {name: found}
            if not all(np.isfinite(value) for value in found.values()):
                raise ValueError(f"{name}: not finite")
            result["values"] |= found
        except (RuntimeError, ValueError) as error:
            result["failed"][name] = str(error)
            found = {name: f"failed: {error}"}
        result["seconds"][name] = round(time.perf_counter() - began, 1)
        show(f"{', '.join(f'{key} {value}' for key, value in found.items())} in {result['seconds'][name]} s", result)

    measure("a0", lambda: lattice_constant(slabs))
    if "a0" in result["failed"]:
        return result
    a = result["values"]["a0"]
    measure("elasticity", lambda: elasticity(potential, a))
    per_atom = slabs.get_potential_energy(diamond(a)) / 8
    crystal = diamond(a).repeat(settings["defects"])

    def formed(defective: Atoms, tolerance: float, symmetric: bool = False) -> float:
        return relax(defects, defective, tolerance=tolerance, symmetric=symmetric).energy - len(defective) * per_atom

    measure("vacancy", lambda: formed(drawn_in(crystal), 1e-3))
    measure("vacancy, nearest minimum", lambda: vacancy_energy(defects, crystal).energy)
    measure("hexagonal interstitial", lambda: formed(hexagonal(crystal, a), 3e-3, symmetric=True))
    measure("tetrahedral interstitial", lambda: interstitial_energy(defects, crystal, [0.5 * a] * 3, tolerance=3e-3).energy)
    measure("dumbbell interstitial", lambda: formed(dumbbell(crystal), 3e-3))
    measure("(100) surface", lambda: surface_energy(slabs, cut(a, (1, 0, 0)), (1, 0, 0), layers=layers_100, vacuum=5.0, relaxed=True).energy)
    measure("(110) surface", lambda: rattled_surface(slabs, a, (1, 1, 0), layers_110))
    measure("(111) surface", lambda: surface_energy(slabs, cut(a, (1, 1, 1)), (1, 1, 1), layers=layers_111, vacuum=5.0, relaxed=True).energy)
    measure("stacking fault", lambda: stacking_fault(slabs, a, settings["fault"]))

    def highest() -> float:
        found = bands(potential, a, settings["phonons"])
        result["bands"] = found.tolist()
        return float(np.max(found))

    measure("highest phonon", highest)
    return result
