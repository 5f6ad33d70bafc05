"""The cheapest sum for a kind of structures and an accuracy: splitting, near cutoff and box of wave vectors together."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.longrange.errors import near_error
from jaxpot.longrange.ewald import Ewald
from jaxpot.longrange.interactions import Coulomb, Interaction
from jaxpot.longrange.sums import Direct, PairSum
from jaxpot.longrange.truncation import completed_cell, far_kernel, integers, strength, wave_vectors
from jaxpot.math.cutoffs import PolynomialCutoff

Array = jax.Array

# nanoseconds of energy and forces on one core: per pair of atoms, per neighbour, per atom and wave vector
_PAIR, _NEIGHBOR, _WAVE = 20.0, 60.0, 12.0
_SWITCH = 0.5  # how long the near part takes to end, in splitting widths
_RATIOS = np.linspace(1.5, 9.0, 76)  # cutoff over splitting width that are tried, and cutoff in reciprocal space times it
_LONGEST_LIST = 20.0  # Å


@dataclasses.dataclass(frozen=True)
class Task:
    """What a sum is to be chosen for; figures are the hardest of all frames.

    Attributes:
      interaction: between two sources.
      kinds: what sources carry, one row per element, [S, C].
      pbc: periodic directions of all frames.
      cells: of all frames, grown, [F, 3, 3].
      n: number of atoms.
      density: atoms per Å³.
      extent: how far atoms may be apart across the periodic directions, grown, in Å.
      allowed: what one of the two parts may do to a pair, ∫ |Δf|² d³r.
    """

    interaction: Interaction
    kinds: Array
    pbc: tuple[bool, bool, bool]
    cells: np.ndarray
    n: float
    density: float
    extent: float
    allowed: float


def sum_for(
    frames: Any,
    *,
    accuracy: float = 1e-6,
    interaction: Interaction | None = None,
    charges: float | Mapping[str, float] = 1.0,
    growth: float = 0.1,
) -> PairSum:
    """The cheapest sum for structures like these: what it chooses goes together, splitting, near cutoff and box of wave vectors.

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
    task = _task(frames, accuracy, Coulomb() if interaction is None else interaction, charges, growth)
    makers: list[Callable[[Task], tuple[float, Callable[[], PairSum]]]] = []
    if not any(task.pbc):
        makers.append(direct)
    if all(task.pbc) or task.interaction.strength() is not None:
        makers.append(ewald)
    if not makers:
        strength(task.interaction, task.pbc)
    return min((maker(task) for maker in makers), key=lambda found: found[0])[1]()


def _task(frames: Any, accuracy: float, interaction: Interaction, charges: float | Mapping[str, float], growth: float) -> Task:
    frames = [frames] if hasattr(frames, "positions") else list(frames)
    if not frames:
        raise ValueError("sum_for: no frames; expected ase.Atoms, or a list of them")
    for name, value in (("accuracy", accuracy), ("growth", growth)):
        if not (np.ndim(value) == 0 and np.isfinite(value) and value > 0):
            raise ValueError(f"sum_for: {name} must be a positive number, got {value!r}")
    kinds = sorted({tuple(atoms.pbc.tolist()) for atoms in frames})
    if len(kinds) > 1:
        raise ValueError(f"sum_for: frames have pbc {' and '.join(map(str, kinds))}; choose a sum for each")
    pbc = kinds[0]
    strengths = [_charges(atoms, charges) for atoms in frames]
    cells = [_grown(atoms, pbc, growth) for atoms in frames]
    extents = [_extent(atoms, pbc) for atoms in frames]
    volumes = np.array([_occupied(atoms, pbc) for atoms in frames])
    n = np.array([len(atoms) for atoms in frames])
    # an atom's own images do nothing to its force, but count for the energy of small cells
    squares = np.array([np.sum(q**2) ** 2 for q in strengths])
    hardest = max(np.max(squares / n / volumes), 1e-12)
    elements = np.unique(np.concatenate([atoms.numbers for atoms in frames]))
    return Task(
        interaction=interaction,
        kinds=interaction.sources(jnp.asarray(elements)),
        pbc=pbc,
        cells=np.stack(cells),
        n=float(n.max()),
        density=float(np.max(n / volumes)),
        extent=max(extents) * (1 + growth),
        allowed=0.5 * accuracy**2 / float(hardest),
    )


def _charges(atoms: Any, charges: float | Mapping[str, float]) -> np.ndarray:
    if not isinstance(charges, Mapping):
        charges = dict.fromkeys(atoms.symbols, charges)
    missing = sorted(set(atoms.symbols) - set(charges))
    if missing:
        raise ValueError(f"sum_for: charges of {', '.join(missing)} are missing; got those of {', '.join(charges)}")
    q = np.array([charges[symbol] for symbol in atoms.symbols], float)
    if not np.all(np.isfinite(q)):
        raise ValueError(f"sum_for: charges must be finite numbers of e, got {charges}")
    return q


def _grown(atoms: Any, pbc: tuple[bool, ...], growth: float) -> np.ndarray:
    return np.asarray(completed_cell(jnp.asarray(atoms.cell.array), pbc, jnp.ones(()))) * np.where(pbc, 1 + growth, 1)[:, None]


def _across(atoms: Any, pbc: tuple[bool, ...]) -> np.ndarray:
    inverse = np.linalg.inv(np.asarray(completed_cell(jnp.asarray(atoms.cell.array), pbc, jnp.ones(()))))
    return (atoms.positions @ inverse)[:, ~np.array(pbc)]


def _extent(atoms: Any, pbc: tuple[bool, ...]) -> float:
    across = _across(atoms, pbc)
    middle = 0.5 * (across.max(axis=0) + across.min(axis=0))
    return 2 * float(np.sqrt(np.max(np.sum((across - middle) ** 2, axis=1))))


def _occupied(atoms: Any, pbc: tuple[bool, ...]) -> float:
    cell = np.asarray(completed_cell(jnp.asarray(atoms.cell.array), pbc, jnp.ones(())))
    return float(abs(np.linalg.det(cell)) * np.prod(np.sqrt(12 * np.var(_across(atoms, pbc), axis=0) + 1)))


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
        costs.append(task.n * (_NEIGHBOR * neighbors + _WAVE * waves) if np.isfinite(cutoff + k_cutoff) else np.inf)
    best = int(np.argmin(costs))

    def make():
        width, cutoff = float(widths[best]), float(cutoffs[best])
        k_cutoff = _smallest_box(task, width, float(k_cutoffs[best]))
        grid, length = box(task, width, k_cutoff)
        return Ewald(PolynomialCutoff(cutoff, width=_SWITCH * width), width=width, grid=grid, k_cutoff=k_cutoff, pbc=task.pbc, length=length)

    return costs[best], make


def near_choices(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Widths of splittings, in Å, and the cutoff that the near part of each needs; infinite where there is none."""
    widths = np.geomspace(0.15, _LONGEST_LIST / 3, 40)
    radii = widths[:, None] * _RATIOS

    @jax.jit
    def errors(interaction, widths, radii, kinds):
        def one(width, radius, kind):
            return near_error(interaction, PolynomialCutoff(radius, width=_SWITCH * width), width, kind, kind)

        of_radii = jax.vmap(jax.vmap(one, (None, 0, None)), (0, 0, None))
        return jnp.max(jax.vmap(of_radii, (None, None, 0))(widths, radii, kinds), axis=0)

    found = np.asarray(errors(task.interaction, jnp.asarray(widths), jnp.asarray(radii), task.kinds))
    enough = (found <= task.allowed) & (radii <= _LONGEST_LIST)
    return widths, np.where(enough.any(axis=1), np.take_along_axis(radii, np.argmax(enough, axis=1)[:, None], axis=1)[:, 0], np.inf)


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


