"""What a sum of charges is to be chosen for, and how its near part may end."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import from_atoms
from jaxpot.longrange.errors import near_error, occupied_volume
from jaxpot.longrange.interactions import Coulomb, Interaction
from jaxpot.longrange.truncation import completed_cell, extent
from jaxpot.math.cutoffs import PolynomialCutoff

Array = jax.Array

NEIGHBOR = 60.0  # ns of energy and forces on one core per neighbour
SWITCH = 0.5  # how long the near part takes to end, in splitting widths
LONGEST_LIST = 20.0  # Å
_NO_LIST = 1e-3  # Å, of structures whose neighbours do not matter
_RATIOS = np.linspace(1.5, 9.0, 76)  # cutoff over splitting width that are tried


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


def task_of(frames: Any, accuracy: float, interaction: Interaction | None, charges: float | Mapping[str, float], growth: float) -> Task:
    """What `sum_for` is asked; raises as it says."""
    interaction = Coulomb() if interaction is None else interaction
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
    graphs = [from_atoms(atoms, _NO_LIST) for atoms in frames]
    extents = [float(extent(graph, pbc)) for graph in graphs]
    volumes = np.array([occupied_volume(graph, pbc) for graph in graphs])
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


def near_choices(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Widths of splittings, in Å, and the cutoff that the near part of each needs; infinite where there is none."""
    widths = np.geomspace(0.15, LONGEST_LIST / 3, 40)
    radii = widths[:, None] * _RATIOS

    @jax.jit
    def errors(interaction, widths, radii, kinds):
        def one(width, radius, kind):
            return near_error(interaction, PolynomialCutoff(radius, width=SWITCH * width), width, kind, kind)

        of_radii = jax.vmap(jax.vmap(one, (None, 0, None)), (0, 0, None))
        return jnp.max(jax.vmap(of_radii, (None, None, 0))(widths, radii, kinds), axis=0)

    found = np.asarray(errors(task.interaction, jnp.asarray(widths), jnp.asarray(radii), task.kinds))
    enough = (found <= task.allowed) & (radii <= LONGEST_LIST)
    return widths, np.where(enough.any(axis=1), np.take_along_axis(radii, np.argmax(enough, axis=1)[:, None], axis=1)[:, 0], np.inf)
