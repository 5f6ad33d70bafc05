"""The cheapest sum for a kind of structures and an accuracy: splitting, near cutoff and box of wave vectors together."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.longrange.ewald import Ewald
from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.mesh import CRYSTAL
from jaxpot.longrange.mesh_choice import particle_mesh
from jaxpot.longrange.sums import Direct, PairSum
from jaxpot.longrange.task import NEIGHBOR, SWITCH, Task, near_choices, task_of
from jaxpot.longrange.truncation import far_kernel, integers, strength, wave_vectors
from jaxpot.math.cutoffs import PolynomialCutoff

Array = jax.Array

# nanoseconds of energy, forces and virial on one core: per pair of atoms, per atom and wave vector
_PAIR, _WAVE = 15.0, 4.0
_FEW = 300  # atoms, of which a mesh is never the cheapest sum


def sum_for(
    frames: Any,
    *,
    accuracy: float = 1e-6,
    interaction: Interaction | None = None,
    charges: float | Mapping[str, float] = 1.0,
    growth: float = 0.1,
) -> PairSum:
    """The cheapest sum for structures like these: what it chooses goes together, splitting, near cutoff and wave vectors or mesh.

    Args:
      frames: `ase.Atoms` or several, of one periodicity.
      accuracy: rms error of the forces that is allowed, in eV/Å; what it will be says `error` of the sum.
      interaction: between two charges; None is `Coulomb()`.
      charges: typical charge of an atom, in e, or that of every element by its symbol.
      growth: how much longer cells and structures may become; beyond, results are NaN.

    Returns:
      A sum for this periodicity. Its `reach` is what neighbour lists must cover.

    Raises:
      ValueError: for no frames, frames of different periodicity, an accuracy, growth or charge that is not positive, an element without a
        charge, or an interaction that is not summed over slabs or wires.

    Example:
      >>> import ase.build
      >>> salt = ase.build.bulk("NaCl", "rocksalt", a=5.64)
      >>> sum = sum_for(salt, accuracy=1e-4)
      >>> type(sum).__name__, sum.pbc
      ('Ewald', (True, True, True))
      >>> type(sum_for(ase.build.molecule("H2O"))).__name__
      'Direct'
    """
    task = task_of(frames, accuracy, interaction, charges, growth)
    makers: list[Callable[[Task], tuple[float, Callable[[], PairSum]]]] = []
    if not any(task.pbc):
        makers.append(direct)
    if all(task.pbc) or task.interaction.strength() is not None:
        makers.append(ewald)
    if task.pbc == CRYSTAL and task.n > _FEW:
        makers.append(particle_mesh)
    if not makers:
        strength(task.interaction, task.pbc)
    return min((maker(task) for maker in makers), key=lambda found: found[0])[1]()


def direct(task: Task) -> tuple[float, Callable[[], PairSum]]:
    """The cost of all pairs, in ns, and their sum."""
    return _PAIR * task.n**2, Direct


def ewald(task: Task) -> tuple[float, Callable[[], PairSum]]:
    """The cost of the cheapest of Ewald's sums, in ns, and what makes it."""
    widths, cutoffs = near_choices(task)
    k_cutoffs = _reciprocal_choices(task, widths)
    costs = []
    for width, cutoff, k_cutoff in zip(widths, cutoffs, k_cutoffs, strict=True):
        waves = 0.5 * np.prod(2 * np.array(box(task, width, k_cutoff)[0], float) + 1)
        neighbors = 4 / 3 * np.pi * cutoff**3 * task.density
        neighbors = neighbors if any(task.pbc) else min(neighbors, task.n)
        costs.append(task.n * (NEIGHBOR * neighbors + _WAVE * waves) if np.isfinite(cutoff + k_cutoff) else np.inf)
    best = int(np.argmin(costs))

    def make():
        width, cutoff = float(widths[best]), float(cutoffs[best])
        k_cutoff = _smallest_box(task, width, float(k_cutoffs[best]))
        grid, length = box(task, width, k_cutoff)
        return Ewald(PolynomialCutoff(cutoff, width=SWITCH * width), width=width, grid=grid, k_cutoff=k_cutoff, pbc=task.pbc, length=length)

    return costs[best], make


def _reciprocal_choices(task: Task, widths: np.ndarray) -> np.ndarray:
    """The radius of the sphere of wave vectors that the far part of each splitting needs, in 1/Å."""
    x = np.linspace(0, 20, 2001)[1:]
    k = x / widths[:, None]
    kernel = np.asarray(task.interaction.far(jnp.asarray(k**2), jnp.asarray(widths[:, None])))
    density = 4 * np.pi * k**4 * kernel**2 / (2 * np.pi) ** 3 * (x[1] - x[0]) / widths[:, None]
    beyond = np.cumsum(density[:, ::-1], axis=1)[:, ::-1]
    return k[np.arange(len(widths)), np.argmax(beyond <= task.allowed, axis=1)]


def box(task: Task, width: float, k_cutoff: float) -> tuple[tuple[int, int, int], float | None]:
    """The grid that holds a sphere of wave vectors in all cells, and the length of the cell along directions without periodicity."""
    length = None if all(task.pbc) else 2 * (task.extent + (k_cutoff * width + 2) * width)
    lengths = np.linalg.norm(task.cells, axis=2) * np.where(task.pbc, 1, length or 1)
    return tuple(int(m) for m in np.maximum(np.ceil(k_cutoff * lengths.max(axis=0) / (2 * np.pi)) - 1, 1)), length


def _smallest_box(task: Task, width: float, k_cutoff: float) -> float:
    """A box does more than the sphere in it, so a smaller one may do."""
    grid, length = box(task, width, k_cutoff)
    largest = tuple(int(1.4 * m) + 2 for m in grid)
    parts = []
    for cell in task.cells[np.unique([np.argmax(np.abs(np.linalg.det(task.cells))), *np.argmax(np.linalg.norm(task.cells, axis=2), axis=0)])]:
        cell = jnp.asarray(cell * np.where(task.pbc, 1, length or 1)[:, None])
        m, inverse = integers(largest), jnp.linalg.inv(cell)
        kernel = far_kernel(task.interaction, jnp.asarray(width), m, inverse, task.pbc, length)
        values = np.asarray(jnp.sum(wave_vectors(m, inverse) ** 2, axis=-1) * kernel**2) / abs(np.linalg.det(cell))
        parts.append(values * np.where(m[0] > 0, 2, 1)[:, None, None])
    for smaller in k_cutoff * np.arange(0.6, 1, 0.02):
        a, b, c = (n + 1 for n in box(task, width, smaller)[0])
        inside = np.s_[:a, largest[1] - b + 1 : largest[1] + b, largest[2] - c + 1 : largest[2] + c]
        outside = np.ones(parts[0].shape, bool)
        outside[inside] = False
        if all(np.sum(values[outside]) <= task.allowed for values in parts):
            return float(smaller)
    return k_cutoff


