"""How selection, cutoffs, prior and noise level of linear ACE were chosen: by cross-validation of molybdenum, silicon and lithium.

    python experiments/metals/choose.py

Only training frames are read. For every setting of a grid it prints, element by element, the cross-validation errors of energies and forces
(six folds of all frames but surfaces, three of the surfaces, which are few), and their geometric mean, by which settings are ranked: first
those that meet what is asked of the test set with a hundredth to spare, every error below the published GAP's. The first is the one of
config.toml. The rows of a selection are made once; a fit is one Cholesky decomposition.
"""

import argparse
import itertools
import json
import tomllib

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import run  # noqa: E402
import scipy.linalg  # noqa: E402
from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.fit.design_matrix import design  # noqa: E402

ELEMENTS = ("Mo", "Si", "Li")
# cutoff in Å, its power, and degrees of every term
TERMS = {
    "6.8": ((6.8, 3, (14, 12, 9)), (4.6, 3, (12, 11, 10, 6))),
    "6.8, smooth": ((6.8, 4, (14, 12, 9)), (4.6, 3, (12, 11, 10, 6))),
    "7.4, smoother": ((7.4, 5, (14, 12, 9)), (4.6, 3, (12, 11, 10, 6))),
}
PRIORS = ((4, 0.5), (4, 1), (4, 2), (8, 4))  # order, scale in typical forces
FORCES = (0.06, 0.08, 0.1, 0.13, 0.17)  # noise level, likewise


class Element:
    """Rows of all training frames of an element for one selection, and the folds in which they are left out."""

    def __init__(self, name: str, terms: tuple, config: dict):
        frames, _, _ = run.frames_of(name, config, False)
        settings = config["ace"] | {"terms": [{"cutoff": cutoff, "power": power, "degrees": degrees} for cutoff, power, degrees in terms]}
        cutoff = max(cutoff for cutoff, _, _ in terms)
        self.unit = run.typical_force(frames)
        model = run.ace(name, settings, config["nearest"][name], self.unit)
        self.sizes = np.array([len(a) for a in frames])
        self.target = np.array([a.get_potential_energy() for a in frames]) - run.isolated_energy(name, "ace", frames, config) * self.sizes
        self.forces = [a.get_forces().reshape(-1) for a in frames]
        rows, neighbors = jax.jit(design), max(jp.from_atoms(a, cutoff).neighbors.shape[1] for a in frames)
        self.energy_rows, self.force_rows = [], []
        for a in tqdm(frames, desc=name):
            made = rows(model, jp.from_atoms(a, cutoff, max_atoms=-(-len(a) // 18) * 18, max_neighbors=neighbors))
            self.energy_rows.append(np.asarray(made.energy))
            self.force_rows.append(np.asarray(made.forces)[: len(a)].reshape(3 * len(a), -1))
        self.energy_rows = np.array(self.energy_rows)
        self.force_scales = np.sqrt(sum(np.sum(f**2, axis=0) for f in self.force_rows) / (3 * sum(self.sizes)))
        self.orders = np.concatenate([np.log2(term.descriptor.smoothness(0.0, 2.0)) for term in model.terms])
        surface, of = np.array([a.info["config_type"] == "Surface" for a in frames]), np.random.default_rng(0).permutation
        others, surfaces = of(np.flatnonzero(~surface)), np.flatnonzero(surface)
        self.folds = [np.sort(others[i::6]) for i in range(6)] + [surfaces[i::3] for i in range(3)]
        self.squares = [sum(self.force_rows[i].T @ self.force_rows[i] for i in fold) for fold in self.folds]
        self.products = [sum(self.force_rows[i].T @ self.forces[i] for i in fold) for fold in self.folds]

    def errors(self, order: float, scale: float, energy: float, forces: float) -> np.ndarray:
        """MAE in meV/atom and eV/Å in cross-validation; `scale` and `forces` in typical forces, `energy` in eV per √atom."""
        scale, forces = scale * self.unit, forces * self.unit
        prior = scale / (order**self.orders * self.force_scales)  # standard deviations, the unit of every coefficient in what is solved
        weight = 1 / (energy * np.sqrt(self.sizes))
        rows, target = self.energy_rows * weight[:, None] * prior, self.target * weight
        square = rows.T @ rows + prior[:, None] * sum(self.squares) * prior / forces**2 + np.eye(len(prior))
        product = rows.T @ target + prior * sum(self.products) / forces**2
        off, of_forces = np.zeros(len(self.sizes)), np.zeros(len(self.sizes))
        for fold, own_square, own_product in zip(self.folds, self.squares, self.products, strict=True):
            left = square - rows[fold].T @ rows[fold] - prior[:, None] * own_square * prior / forces**2
            right = product - rows[fold].T @ target[fold] - prior * own_product / forces**2
            coefficients = prior * scipy.linalg.solve(left, right, assume_a="pos")
            off[fold] = 1e3 * np.abs(self.energy_rows[fold] @ coefficients - self.target[fold]) / self.sizes[fold]
            for i in fold:
                of_forces[i] = np.abs(self.force_rows[i] @ coefficients - self.forces[i]).mean()
        return np.array([off.mean(), np.average(of_forces, weights=self.sizes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", nargs="+", choices=tuple(TERMS), metavar="NAME", default=list(TERMS), help="selections to try")
    arguments = parser.parse_args()
    config = tomllib.loads((run.HERE / "config.toml").read_text())
    path = run.HERE / "results" / "choices.json"  # what is known already, so that a run that was killed goes on
    found = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    for name, terms in itertools.product(ELEMENTS, arguments.terms):
        settings = list(itertools.product(PRIORS, FORCES))
        what = " + ".join(f"{cutoff} Å, power {power}, {degrees}" for cutoff, power, degrees in TERMS[terms])
        keys = [f"{what}; order {order:g}, scale {scale:g}, forces {forces:g}" for (order, scale), forces in settings]
        if all(name in found.get(key, {}) for key in keys):
            continue
        element = Element(name, TERMS[terms], config)
        for key, ((order, scale), forces) in zip(tqdm(keys, desc=f"{name}, {terms}: fits"), settings, strict=True):
            found.setdefault(key, {})[name] = element.errors(order, scale, config["ace"]["energy"], forces).tolist()
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False))
        jax.clear_caches()
    print("below what is asked | geometric mean | energies (meV/atom), forces (eV/Å) of Mo, Si, Li | setting")
    ranked = {key: np.array([of[name] for name in ELEMENTS]) for key, of in found.items() if len(of) == len(ELEMENTS)}
    asked = 0.99 * np.array([run.PUBLISHED[name]["GAP"] for name in ELEMENTS])
    for key, errors in sorted(ranked.items(), key=lambda item: (np.any(item[1] > asked), np.log(item[1]).mean())):
        means = " | ".join(f"{a:5.3f} {b:.4f}" for a, b in errors)
        print(f"{'yes' if np.all(errors <= asked) else 'no ':3} | {np.exp(np.log(errors).mean()):.4f} | {means} | {key}")


if __name__ == "__main__":
    main()
