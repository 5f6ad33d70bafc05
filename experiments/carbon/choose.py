"""What prior and noise levels of the ACE are worth: by cross-validation among training frames, trajectory by trajectory.

    python experiments/carbon/choose.py

Only training frames are read. In each of four folds a quarter of the trajectories (`group`) is left out, so that no frame is judged by its neighbours in
time. Rows are made once; a fit is one Cholesky decomposition. Settings are ranked by the geometric mean of the errors (RMSE) of energies and
forces; README.md says why config.toml has not the first. What is not in the grid was set beforehand: cutoff and degrees by what a melt on one core affords.
"""

import itertools
import json
import sys
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import carbon_models as models  # noqa: E402
import datasets  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
from ase import Atoms  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402

FOLDS = 4
SIX = np.triu_indices(3)  # entries of a virial, which is symmetric
ORDERS, SCALES = (2.0, 4.0), (1.0, 4.0, 16.0)
ENERGIES, FORCES = (0.003, 0.01, 0.03), (0.1, 0.2, 0.4)  # noise levels, eV per √atom and eV/Å


def folds_of(groups: list, seed: int = 0) -> np.ndarray:
    """The fold of every frame; frames of one group are in one fold."""
    names = sorted(set(groups))
    fold = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
    return np.array([fold[name] for name in groups])


class CrossValidation:
    """Rows and labels of all training frames, fold by fold, and their normal equations.

    Args:
      frames: with labels, and `info["group"]`.
      config: as of config.toml; order, scale and noise levels do not count.
    """

    def __init__(self, frames: list[Atoms], config: dict):
        term, rows = models.ace(config["ACE"]), jax.jit(jp.fit.design)
        alone = float(models.isolated("ACE", frames, config).values[0])
        self.factors = np.log2(term.descriptor.smoothness(0.0, 2.0))
        self.fold = folds_of([atoms.info["group"] for atoms in frames])
        sizes, found = np.array([len(atoms) for atoms in frames]), {}
        for frame, structure in tqdm(models.dataset(frames, config["ACE"], config["noise"]).structures(), total=len(frames), disable=None):
            n, made, wanted = sizes[frame], rows(term, structure.graphs), structure.targets
            energy = np.asarray(made.energy)[None], np.array([wanted.energy - n * alone])
            forces = np.asarray(made.forces)[:n].reshape(3 * n, -1), wanted.forces[:n].reshape(-1)
            found[frame] = energy, forces, (np.asarray(made.virial)[SIX], wanted.virial[SIX])
        own = [np.flatnonzero(self.fold == k) for k in range(FOLDS)]
        self.sizes = [sizes[frames_of_fold] for frames_of_fold in own]
        # energies, forces and virials of every fold: rows and labels
        self.parts = [[tuple(np.concatenate([found[i][kind][j] for i in of_fold]) for j in (0, 1)) for kind in range(3)] for of_fold in own]
        self.force_scales = np.sqrt(sum(np.sum(parts[1][0] ** 2, axis=0) for parts in self.parts) / (3 * sizes.sum()))
        # noise of energies and virials grows as the root of the number of atoms
        roots = [(n**0.5, np.ones(3 * n.sum()), np.repeat(n**0.5, 6)) for n in self.sizes]
        self.sums = [
            [((A / root[:, None]).T @ (A / root[:, None]), A.T @ (y / root**2)) for (A, y), root in zip(parts, of_fold, strict=True)]
            for parts, of_fold in zip(self.parts, roots, strict=True)
        ]

    def errors(self, order: float, scale: float, noise: dict) -> tuple[float, float]:
        """RMSE of energies (eV/atom) and of force components (eV/Å) of the frames that are left out."""
        prior = scale / (order**self.factors * self.force_scales)  # standard deviations, the unit of coefficients in what is solved
        weights = [noise[name] ** -2 for name in ("energy", "forces", "virial")]
        of_energies, of_forces = [], []
        for k in range(FOLDS):
            rest = [sums for fold, sums in enumerate(self.sums) if fold != k]
            gram = sum(w * sums[i][0] for sums in rest for i, w in enumerate(weights))
            projected = sum(w * sums[i][1] for sums in rest for i, w in enumerate(weights))
            white = scipy.linalg.solve(np.eye(len(prior)) + prior[:, None] * gram * prior, prior * projected, assume_a="pos")
            (A, y), (B, f), _ = self.parts[k]
            of_energies.append((A @ (prior * white) - y) / self.sizes[k])
            of_forces.append(B @ (prior * white) - f)
        return tuple(float(np.sqrt(np.mean(np.concatenate(x) ** 2))) for x in (of_energies, of_forces))


def main() -> None:
    config = tomllib.loads((HERE / "config.toml").read_text())
    validation = CrossValidation(datasets.load("nequix_carbon/train"), config)
    print(f"{len(validation.factors)} functions", flush=True)
    path = HERE / "results" / "choices.json"  # what is known already, so that a run that was killed goes on
    path.parent.mkdir(exist_ok=True)
    found = json.loads(path.read_text()) if path.exists() else []
    known = {tuple(setting[name] for name in ("order", "scale", "energy", "forces")) for setting in found}
    for order, scale, energy, forces in itertools.product(ORDERS, SCALES, ENERGIES, FORCES):
        if (order, scale, energy, forces) not in known:
            errors = validation.errors(order, scale, config["noise"] | {"energy": energy, "forces": forces})
            found.append({"order": order, "scale": scale, "energy": energy, "forces": forces, "errors": errors})
            path.write_text(json.dumps(found, indent=1) + "\n")
    found.sort(key=lambda setting: np.prod(setting["errors"]))
    for setting in found:
        off, of_forces = setting.pop("errors")
        print(f"{1e3 * off:8.2f} meV/atom {of_forces:7.4f} eV/Å   {setting}")


if __name__ == "__main__":
    main()
