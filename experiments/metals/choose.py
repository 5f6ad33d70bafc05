"""How the prior and the noise level of linear ACE were chosen: on training frames of molybdenum, silicon and lithium alone.

    python experiments/metals/choose.py

For every setting of a grid it prints, element by element, the error of the energies of all surface frames when none of them is in the fit,
and the cross-validation errors of energies and forces (six folds of the other frames, three of the surfaces). The setting with the smallest
geometric mean of these nine numbers is the one of config.toml. The rows of the design are made once; a fit is one Cholesky decomposition.
"""

import itertools
import tomllib

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import run  # noqa: E402
import scipy.linalg  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.fit.design import design  # noqa: E402

# smoothness, order, scale in eV
PRIORS = ((2, 1, 1e2), (2, 1, 1e3), (1.5, 4, 3e3), (1.5, 4, 1e4), (1.5, 8, 1e4), (1.5, 8, 3e4), (1.5, 8, 1e5), (1.5, 12, 3e4), (1.5, 12, 1e5))
PRIORS += ((1.5, 16, 1e5), (2, 8, 3e4), (2, 8, 1e5), (1, 8, 1e4), (1, 8, 3e4))
FORCES = (0.05, 0.1, 0.15, 0.2)  # eV/Å


class Element:
    """Rows of all training frames of an element, and the folds in which they are left out."""

    def __init__(self, name: str, config: dict):
        settings, (frames, _, _) = config["ace"], run.frames_of(name, config, False)
        term = run.ace(name, settings, config["nearest"][name], None, 0)
        self.basis, self.sizes = term.descriptor, np.array([len(a) for a in frames])
        self.target = np.array([a.get_potential_energy() for a in frames]) - run.isolated_energy(name, "ace", frames, config) * self.sizes
        self.forces = [a.get_forces().reshape(-1) for a in frames]
        rows, neighbors = jax.jit(design), max(jp.from_atoms(a, settings["cutoff"]).neighbors.shape[1] for a in frames)
        self.energy_rows, self.force_rows = [], []
        for a in tqdm(frames, desc=name):
            made = rows(term, jp.from_atoms(a, settings["cutoff"], max_atoms=-(-len(a) // 18) * 18, max_neighbors=neighbors))
            self.energy_rows.append(np.asarray(made.energy))
            self.force_rows.append(np.asarray(made.forces)[: len(a)].reshape(3 * len(a), -1))
        self.energy_rows = np.array(self.energy_rows)
        surface = np.array([a.info["config_type"] == "Surface" for a in frames])
        self.surfaces, others = np.flatnonzero(surface), np.random.default_rng(0).permutation(np.flatnonzero(~surface))
        self.folds = [self.surfaces] + [np.sort(others[i::6]) for i in range(6)] + [self.surfaces[i::3] for i in range(3)]
        self.squares = [sum(self.force_rows[i].T @ self.force_rows[i] for i in fold) for fold in self.folds]
        self.products = [sum(self.force_rows[i].T @ self.forces[i] for i in fold) for fold in self.folds]

    def errors(self, prior: tuple[float, float, float], energy: float, forces: float) -> np.ndarray:
        """meV/atom of surfaces if none is fitted, meV/atom and eV/Å in cross-validation."""
        smoothness, order, scale = prior
        weight = 1 / (energy * np.sqrt(self.sizes))
        rows, target = self.energy_rows * weight[:, None], self.target * weight
        precision = (self.basis.smoothness(smoothness, order) / scale) ** 2
        square = rows.T @ rows + sum(self.squares[:7]) / forces**2 + np.diag(precision)  # the first seven folds are all frames once
        product = rows.T @ target + sum(self.products[:7]) / forces**2
        off, of_forces, extrapolated = np.zeros(len(self.sizes)), np.zeros(len(self.sizes)), None
        for fold, own_square, own_product in zip(self.folds, self.squares, self.products, strict=True):
            left = square - rows[fold].T @ rows[fold] - own_square / forces**2
            coefficients = scipy.linalg.solve(left, product - rows[fold].T @ target[fold] - own_product / forces**2, assume_a="pos")
            off[fold] = 1e3 * np.abs(self.energy_rows[fold] @ coefficients - self.target[fold]) / self.sizes[fold]
            for i in fold:
                of_forces[i] = np.abs(self.force_rows[i] @ coefficients - self.forces[i]).mean()
            extrapolated = off[self.surfaces].mean() if extrapolated is None else extrapolated
        return np.array([extrapolated, off.mean(), np.average(of_forces, weights=self.sizes)])


def main() -> None:
    config = tomllib.loads((run.HERE / "config.toml").read_text())
    found: dict[tuple, list] = {}
    for name in ("Mo", "Si", "Li"):
        element = Element(name, config)
        for prior, forces in tqdm(list(itertools.product(PRIORS, FORCES)), desc=f"{name}: fits"):
            found.setdefault((prior, forces), []).append(element.errors(prior, config["ace"]["energy"], forces))
        jax.clear_caches()
    print("smoothness, order, scale (eV), forces (eV/Å): geometric mean | surfaces left out (meV/atom), energies (meV/atom), forces (eV/Å) of Mo, Si, Li")
    for (prior, forces), errors in sorted(found.items(), key=lambda item: np.log(item[1]).mean()):
        means = " | ".join(f"{a:6.2f} {b:5.2f} {c:.4f}" for a, b, c in errors)
        print(f"{prior[0]:4g} {prior[1]:3g} {prior[2]:7g} {forces:5g}: {np.exp(np.log(errors).mean()):.4f} | {means}")


if __name__ == "__main__":
    main()
