"""The cheapest particle-mesh sum for a kind of structures and an accuracy: splitting, near cutoff, mesh and order together."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.longrange.interactions import Interaction
from jaxpot.longrange.mesh import CRYSTAL, ORDERS, ParticleMesh, mesh_error
from jaxpot.longrange.task import NEIGHBOR, SWITCH, Task, near_choices, task_of
from jaxpot.math.cutoffs import PolynomialCutoff

# nanoseconds of energy, forces and virial on one core: per point that an atom falls to, per point of the mesh
_SHARE, _POINT = 10.0, 200.0
_SAMPLE = (12, 12, 12)  # points of a cubic mesh that stands for all of one spacing
_SPACINGS = np.geomspace(0.15, 2.5, 36)  # over the splitting width


def mesh_for(
    frames: Any,
    *,
    accuracy: float = 1e-6,
    interaction: Interaction | None = None,
    charges: float | Mapping[str, float] = 1.0,
    growth: float = 0.1,
) -> ParticleMesh:
    """The cheapest particle-mesh sum for crystals like these; `sum_for` says where it is cheaper than Ewald's.

    Args:
      frames: `ase.Atoms` or several, periodic in all directions.
      accuracy: rms error of the forces that is allowed, in eV/Å; what it will be says `error` of the sum.
      interaction: between two charges; None is `Coulomb()`.
      charges: typical charge of an atom, in e, or that of every element by its symbol.
      growth: how much longer cells may become; beyond, results are NaN.

    Raises:
      ValueError: as `sum_for`, and for structures that are not crystals.

    Example:
      >>> import ase.build
      >>> mesh = mesh_for(ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(4), accuracy=1e-4)
      >>> mesh.grid[0] > 10, mesh.order in (4, 5, 6)
      (True, True)
    """
    task = task_of(frames, accuracy, interaction, charges, growth)
    if task.pbc != CRYSTAL:
        raise ValueError(f"mesh_for: ParticleMesh sums crystals, and the frames have pbc {task.pbc}; write jaxpot.longrange.sum_for(frames)")
    return particle_mesh(task)[1]()


def particle_mesh(task: Task) -> tuple[float, Callable[[], ParticleMesh]]:
    """The cost of the cheapest of the particle-mesh sums of crystals, in ns, and what makes it."""
    widths, cutoffs = near_choices(task)
    lengths = np.linalg.norm(task.cells, axis=2).max(axis=0)
    best = (np.inf, ORDERS[0], 0, 1.0)
    for order in ORDERS:
        spacings = _widest(task, order, widths)
        points = np.array([np.prod([smooth_number(length / spacing) for length in lengths]) for spacing in spacings], float)
        neighbors = 4 / 3 * np.pi * cutoffs**3 * task.density
        costs = task.n * (NEIGHBOR * neighbors + _SHARE * order**3) + _POINT * points
        i = int(np.argmin(costs))
        best = min(best, (float(costs[i]), order, i, float(spacings[i])))

    def make():
        _, order, i, spacing = best
        width, cutoff = float(widths[i]), float(cutoffs[i])
        while True:
            grid = tuple(smooth_number(length / spacing) for length in lengths)
            if all(mesh_error(task.interaction, jnp.asarray(width), grid, order, jnp.asarray(cell)) <= task.allowed for cell in task.cells):
                break
            spacing *= 0.96  # of a skewed cell
        cutoff = PolynomialCutoff(cutoff, width=SWITCH * width)
        return ParticleMesh(cutoff, width=width, grid=grid, spacing=float(np.max(lengths / np.array(grid))), order=order)

    return best[0], make


def _widest(task: Task, order: int, widths: np.ndarray) -> np.ndarray:
    """The widest spacing of the mesh for every width of the splitting, in Å."""

    @jax.jit
    def errors(interaction, widths):
        def one(width, ratio):
            return mesh_error(interaction, width, _SAMPLE, order, jnp.diag(jnp.full(3, ratio * width) * jnp.asarray(_SAMPLE, width.dtype)))

        return jax.lax.map(lambda width: jax.vmap(one, (None, 0))(width, jnp.asarray(_SPACINGS, width.dtype)), widths)

    enough = np.asarray(errors(task.interaction, jnp.asarray(widths))) <= task.allowed
    last = enough.shape[1] - 1 - np.argmax(enough[:, ::-1], axis=1)
    return np.where(enough.any(axis=1), _SPACINGS[last], _SPACINGS[0]) * widths


def smooth_number(least: float) -> int:
    """The smallest number of points from this on that fast Fourier transforms like."""
    from scipy.fft import next_fast_len

    return next_fast_len(max(int(np.ceil(least - 1e-9)), 2))
