"""How large MTP and SNAP should be, and which prior they should have: by cross-validation among training frames.

    python experiments/silicon_properties/choose.py

Only the training frames that run.py fits to are read, with the labels of the teacher, and no property. Every fourth frame is left out in turn, so
each fold has frames of every trajectory and strain. Rows of a form are made once; a fit is then one Cholesky decomposition.
"""

import json
import os
import sys
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import datasets  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import silicon_models as models  # noqa: E402
from ase import Atoms  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402

FOLDS = 4
SIX = np.triu_indices(3)  # entries of a virial, which is symmetric
SCALES = (0.1, 1.0, 10.0)  # eV/Å, force a priori of every function
OF_SQUARES = (1e-5, 1e-4, 1e-3, 1e-2)  # eV, prior of the quadratic coefficients, where the linear ones have 1 eV
FORMS = {f"quadratic SNAP, 2J = {j}": ("SNAP", j) for j in (8, 6, 4)}
FORMS |= {f"MTP, level {level}": ("MTP", level) for level in (22, 20, 18, 16)}
FORMS |= {f"SNAP, 2J = {j}": ("SNAP", j) for j in (10, 8)}


class CrossValidation:
    """Rows and labels of all frames, fold by fold, and their normal equations.

    Args:
      term: a linear potential; its prior does not count.
      frames: with energies, forces and stresses.
      alone: the energy of an atom alone, in eV.
      noise: noise levels, as `[fit]` of config.toml.
    """

    def __init__(self, term: jp.AtomicPotential, frames: list[Atoms], alone: float, noise: dict):
        rows, found = jax.jit(jp.fit.design), {}
        data = jp.Dataset.from_atoms(frames, float(term.reach), sigma=jp.noise_levels(noise["energy"], noise["forces"], noise["virial"]))
        for frame, structure in tqdm(data.structures(), total=len(frames), disable=None):
            n, made, wanted = len(frames[frame]), rows(term, structure.graphs), structure.targets
            energy = np.asarray(made.energy)[None], np.array([wanted.energy - n * alone])
            forces = np.asarray(made.forces)[:n].reshape(3 * n, -1), wanted.forces[:n].reshape(-1)
            found[frame] = energy, forces, (np.asarray(made.virial)[SIX], wanted.virial[SIX])
        own = [range(k, len(frames), FOLDS) for k in range(FOLDS)]
        sizes = [np.array([len(frames[i]) for i in of_fold]) for of_fold in own]
        # energies, forces and virials of every fold: rows and labels, and what divides the errors of energies and virials, atoms
        self.parts = [[tuple(np.concatenate([found[i][kind][j] for i in of_fold]) for j in (0, 1)) for kind in range(3)] for of_fold in own]
        self.atoms = [(n, np.ones(3 * n.sum()), np.repeat(n, 6)) for n in sizes]
        forces = np.concatenate([parts[1][0] for parts in self.parts])
        self.force_scales = np.sqrt(np.mean(forces**2, axis=0))
        self.sums = [self._sums(*of_fold, noise) for of_fold in zip(self.parts, self.atoms, strict=True)]

    def _sums(self, parts: list, atoms: tuple, noise: dict) -> tuple[np.ndarray, np.ndarray]:
        """AᵀΣ⁻¹A and AᵀΣ⁻¹y of a fold, of functions in units of their force; noise of energies and virials grows as the root of the number of atoms."""
        roots = [noise[name] * n**0.5 for name, n in zip(("energy", "forces", "virial"), atoms, strict=True)]
        A = np.concatenate([A / self.force_scales / root[:, None] for (A, _), root in zip(parts, roots, strict=True)])
        return A.T @ A, A.T @ np.concatenate([y / root for (_, y), root in zip(parts, roots, strict=True)])

    def errors(self, prior: np.ndarray) -> tuple[float, ...]:
        """RMSE of energies (eV/atom), forces (eV/Å) and virials (eV/atom) of the frames that are left out; of a prior's standard deviations [P]."""
        prior, off = prior * self.force_scales, []
        for k in range(FOLDS):
            gram, projected = (sum(x) for x in zip(*(sums for fold, sums in enumerate(self.sums) if fold != k), strict=True))
            white = scipy.linalg.solve(np.eye(len(prior)) + prior[:, None] * gram * prior, prior * projected, assume_a="pos")
            w = prior * white / self.force_scales
            off.append([(A @ w - y) / n for (A, y), n in zip(self.parts[k], self.atoms[k], strict=True)])
        return tuple(float(np.sqrt(np.mean(np.concatenate(x) ** 2))) for x in zip(*off, strict=True))


def term_of(name: str, config: dict) -> jp.AtomicPotential:
    """A form of some size; the prior is not that of the fit."""
    family, size = FORMS[name]
    head = jp.heads.Quadratic() if name.startswith("quadratic") else jp.Linear()
    settings = config[family.lower()]
    if family == "MTP":
        return jp.AtomicPotential(jp.descriptors.MTP(models.SPECIES, size, settings["min_dist"], settings["max_dist"]), head)
    return jp.AtomicPotential(jp.descriptors.Bispectrum(models.SPECIES, settings["cutoff"], size), head)


def priors(term: jp.AtomicPotential, force_scales: np.ndarray) -> dict[str, np.ndarray]:
    """Standard deviations of the coefficients, by what a prior is called: of linear ones as in `silicon_models.even`."""
    if isinstance(term.head, jp.Linear):
        return {f"{scale:g} eV/Å": scale / force_scales for scale in SCALES}
    linear = np.arange(len(force_scales)) < term.descriptor.n_features
    return {f"{scale:g} eV": np.where(linear, 1.0, scale) for scale in OF_SQUARES}


def main() -> None:
    if "JAXPOT_DATA" not in os.environ:
        sys.exit("needs the published files: export JAXPOT_DATA=/path/to/folder")
    config = tomllib.loads((HERE / "config.toml").read_text())
    teacher = models.FILES[models.TEACHER](Path(os.environ["JAXPOT_DATA"]))
    frames = models.labelled(datasets.load("mlearn/Si_train")[:: config["fit"]["stride"]], teacher)
    alone = float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in frames])) + config["fit"]["cohesive"]
    path = HERE / "results" / "choices.jsonl"  # what is known already, so that a run that was killed goes on
    path.parent.mkdir(exist_ok=True)
    known = {json.loads(line)["form"] for line in path.read_text().splitlines()} if path.exists() else set()
    for name in (name for name in FORMS if name not in known):
        term = term_of(name, config)
        validation = CrossValidation(term, frames, alone, config["fit"])
        for prior, deviations in priors(term, validation.force_scales).items():
            energy, forces, virial = validation.errors(deviations)
            found = {"form": name, "coefficients": term.n_coefficients, "prior": prior, "energy": energy, "forces": forces, "virial": virial}
            with path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(f"{name:24} {term.n_coefficients:5} {prior:10} {1e3 * energy:6.2f} meV/atom {forces:7.4f} eV/Å {1e3 * virial:6.2f} meV/atom", flush=True)


if __name__ == "__main__":
    main()
