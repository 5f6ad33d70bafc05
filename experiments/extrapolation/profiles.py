"""What a model says along a path and between two atoms, and where that is unphysical."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

import jaxpot as jp

DISTANCES = np.linspace(0.6, 5.0, 89)  # Å
_energy = jax.jit(lambda model, graph: model(graph))
_variance = jax.jit(jp.fit.Posterior.variance)


def energies(model, frames: list, cutoff: float) -> np.ndarray:
    """Energies of frames that have the same atoms, in eV."""
    ready = jax.jit(lambda m: jp.prepare(m))(model)
    return np.array([float(_energy(ready, jp.from_atoms(a, cutoff, max_neighbors=len(a) - 1))) for a in frames])


def along(model, frames: list, cutoff: float) -> dict:
    """Energies less that of the reference's lowest point, and the minima that the reference does not have."""
    reference = np.array([a.get_potential_energy() for a in frames])
    zero = int(np.argmin(reference))
    found, reference = energies(model, frames, cutoff), reference - reference[zero]
    found = found - found[zero]
    return {
        "reference": reference.tolist(),
        "energy": found.tolist(),
        "rmse": float(np.sqrt(np.mean((found - reference) ** 2))),
        "minima": unphysical(found, reference),
    }


def unphysical(found: np.ndarray, reference: np.ndarray, depth: float = 1e-3, reach: int = 2) -> list[dict]:
    """Minima within a profile that are at least `depth` (eV) deep on both sides, with none of the reference within `reach` points.

    Both profiles are zero at the reference's lowest point. `below` says how far a minimum is below that, which then is not the lowest.

    Example:
      >>> unphysical(np.array([0.0, 0.2, 0.1, 0.3, -0.1, 0.5]), np.arange(6) / 10)
      [{'point': 2, 'depth': 0.1, 'below': 0.0}, {'point': 4, 'depth': 0.4, 'below': 0.1}]
    """
    own = {i for i, _ in _minima(reference, depth)}
    out = []
    for i, deep in _minima(found, depth):
        if not any(abs(i - j) <= reach for j in own):
            out.append({"point": i, "depth": round(float(deep), 12), "below": round(float(max(0.0, -found[i])), 12)})
    return out


def _minima(values: np.ndarray, depth: float) -> list[tuple[int, float]]:
    """Places and depths (to the lower of the two barriers) of the minima between the ends; of those without a barrier between them, one."""
    out = []
    for i in range(1, len(values) - 1):
        lower = np.flatnonzero(values < values[i])
        left, right = lower[lower < i], lower[lower > i]
        before = np.max(values[left[-1] if len(left) else 0 : i + 1])
        after = np.max(values[i : (right[0] if len(right) else len(values) - 1) + 1])
        deep = min(before, after) - values[i]
        if deep >= depth and values[i] <= values[i - 1] and values[i] < values[i + 1]:
            out.append((i, deep))
    return out


class Novelty:
    """How far environments are from those of the training set, whatever the model.

    Of every atom the distance between its normalised power spectrum and the nearest one of the training set's atoms of its element; of a frame
    the largest of its atoms', in units of the 95th percentile of the same over frames that are as the training set is.

    Args:
      train: training frames.
      alike: other frames of the same distribution.
      n_max, l_max: of the power spectrum.
    """

    def __init__(self, train: list, alike: list, n_max: int = 5, l_max: int = 4):
        self.species = tuple(dict.fromkeys(train[0].get_chemical_symbols()))
        self.soap = jp.SOAP(jp.Density(self.species, jp.CosineCutoff(4.5, width=1.0), jp.GTO(n_max), l_max=l_max, sigma=0.4))
        self.numbers = train[0].numbers
        self.known = self._features(train)
        self.unit = 1.0
        self.unit = float(np.percentile(self(alike), 95))

    def _features(self, frames: list) -> np.ndarray:
        """[frames, atoms, features]"""
        of = jax.jit(jp.prepare(self.soap).__call__)
        return np.array([of(jp.from_atoms(a, 4.5, max_neighbors=len(a) - 1)) for a in frames], np.float32)

    def __call__(self, frames: list) -> np.ndarray:
        found = self._features(frames)
        out = np.zeros(found.shape[:2])
        for z in set(self.numbers.tolist()):
            atoms = np.flatnonzero(self.numbers == z)
            known = self.known[:, atoms].reshape(-1, found.shape[2])
            for atom in atoms:
                overlap = jnp.max(found[:, atom] @ known.T, axis=1)
                out[:, atom] = np.sqrt(np.maximum(2 - 2 * np.asarray(overlap, float), 0))
        return out.max(axis=1) / self.unit


def dimers(model, isolated: dict, cutoff: float) -> dict[str, list[float]]:
    """Energies of all pairs of elements over DISTANCES, less those of the isolated atoms."""
    out = {}
    for pair in itertools.combinations_with_replacement(isolated, 2):
        frames = [Atoms(pair, positions=[[0, 0, 0], [r, 0, 0]]) for r in DISTANCES]
        out["".join(pair)] = (energies(model, frames, cutoff) - sum(isolated[symbol] for symbol in pair)).tolist()
    return out


def deviations(fitted, frames: list, cutoff: float) -> list[float]:
    """Standard deviations of a posterior, or of a model with a committee, in eV."""
    committee = next((term for term in getattr(fitted, "terms", ()) if isinstance(term, jp.potentials.Committee)), None)
    if committee is not None:
        return np.std([energies(member, frames, cutoff) for member in committee.members], axis=0, ddof=1).tolist()
    variances = [float(_variance(fitted, jp.from_atoms(a, cutoff, max_neighbors=len(a) - 1))) for a in frames]
    return np.sqrt(np.maximum(variances, 0)).tolist()
