"""What a quenched melt is like: pair distribution, structure factor, coordination and rings, means over frames."""

import jax
import numpy as np
from ase import Atoms
from melt_quench import GRAM_PER_CUBIC_CENTIMETRE, Trajectory
from rings import ring_counts

import jaxpot as jp
from jaxpot import observables

SPECIES = ("C",)
RADII = np.arange(0.8, 5.0, 0.02)  # Å
WAVES = np.arange(1.0, 14.0, 0.05)  # 1/Å
WIDTHS = {"radii": 0.04, "waves": 0.15, "bond": 0.01}  # Å, 1/Å and Å
_pairs = jax.jit(observables.pair_distribution, static_argnums=1)
_factor = jax.jit(observables.structure_factor, static_argnums=1)
_neighbors = jax.jit(observables.coordination, static_argnums=1)


def coordination(atoms: Atoms, bond: float) -> np.ndarray:
    """How many neighbours within a bond every atom has, shape [N], whole numbers."""
    graph = jp.from_atoms(atoms, bond + 6 * WIDTHS["bond"], max_neighbors=12)
    return np.rint(np.asarray(_neighbors(graph, SPECIES, radius=bond, width=WIDTHS["bond"]))[:, 0]).astype(int)


def curves(frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """g at RADII and S at WAVES, means over frames of one cell."""
    reach = RADII[-1] + 6 * WIDTHS["radii"]
    slots = 8 * -(-max(np.bincount(jp.graph.neighbor_pairs(atoms, reach)[0]).max() for atoms in frames) // 8)
    waves = observables.wave_vectors(frames[0].cell.array, WAVES[-1] + 5 * WIDTHS["waves"])
    found = []
    for atoms in frames:
        graph = jp.from_atoms(atoms, reach, max_neighbors=int(slots))
        g = _pairs(graph, SPECIES, RADII, width=WIDTHS["radii"])[0, 0]
        found.append((np.asarray(g), np.asarray(_factor(graph, SPECIES, WAVES, waves=waves, width=WIDTHS["waves"])[0, 0])))
    return tuple(np.mean(each, axis=0) for each in zip(*found, strict=True))


def averaged(trajectory: Trajectory, stages: list[str], stage: str, last: float) -> list[int]:
    """The frames of the last part of a stage that there are."""
    frames = [i for i, name in enumerate(stages[: len(trajectory.energies)]) if name == stage]
    return frames[len(frames) - max(1, round(last * stages.count(stage))) :] if len(frames) == stages.count(stage) else []


def of_stage(trajectory: Trajectory, frames: list[int], settings: dict) -> dict:
    """Of some frames, ready for JSON: shares of atoms by coordination, rings for each atom by size, curves, energy (eV/atom), temperature (K)."""
    atoms = [trajectory.atoms(i) for i in frames]
    numbers = np.concatenate([coordination(each, settings["bond"]) for each in atoms])
    by_frame = [float(np.mean(part == 4)) for part in np.split(numbers, len(atoms))]
    g, S = curves(atoms)
    rings = np.mean([ring_counts(each, settings["bond"], settings["largest_ring"]) for each in atoms], axis=0)
    return {
        "frames": len(frames),
        "coordination": [float(np.mean(numbers == k)) for k in range(7)],
        "sp3 of frames": by_frame,
        "rings": rings.tolist(),
        "g": g.tolist(),
        "S": S.tolist(),
        "energy": float(np.mean(trajectory.energies[frames])) / len(atoms[0]),
        "temperature": float(np.mean(trajectory.temperatures[frames])),
    }


def described(trajectory: Trajectory, stages: list[str], settings: dict) -> dict:
    """All stages that have ended and the whole trajectory, ready for JSON."""
    found = {}
    for stage in ("liquid", "anneal"):
        if frames := averaged(trajectory, stages, stage, settings["last"]):
            found[stage] = of_stage(trajectory, frames, settings)
    n = trajectory.positions.shape[1]
    volume = abs(np.linalg.det(trajectory.cell))
    shortest = min(_shortest(trajectory.atoms(i)) for i in range(len(trajectory.energies)))
    return found | {
        "atoms": n,
        "density": float(n * 12.011 / volume / GRAM_PER_CUBIC_CENTIMETRE),
        "blocks": len(trajectory.energies),
        "shortest distance": shortest,
        "seconds": float(trajectory.seconds),
    }


def _shortest(atoms: Atoms) -> float:
    distances = atoms.get_all_distances(mic=True)
    return float(np.min(distances[~np.eye(len(atoms), dtype=bool)]))
