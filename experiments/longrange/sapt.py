"""The electrostatics of pairs of molecules, from symmetry-adapted perturbation theory: a short-range model alone, and with charges beside it.

    JAXPOT_DATA=/path/to/shared python experiments/longrange/sapt.py

The electrostatic part of the interaction of two rigid molecules or ions of C, H, N and O (data/sapt10k) is that of charges of surroundings, which see
their own molecule only and keep its charge, and of a short-range model, which takes what the overlap of two clouds of charge adds. No label is of
charges. A fifth of the pairs of molecules, with all their arrangements, is of the test; whatever is chosen is chosen by a fifth of the others, left
out. Results go to `results/sapt.json`.
"""

import json
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from tqdm import tqdm  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import datasets  # noqa: E402
from dimers import SPECIES, Projected, rms  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.cutoffs import PowerCutoff  # noqa: E402
from jaxpot.descriptors import Constant, Joined  # noqa: E402
from jaxpot.units import COULOMB  # noqa: E402

SETTINGS = {
    "sigma": 0.005,  # eV
    "cutoff": 5.0,  # Å, of the short-range model, an ACE
    "n_radial": 6,
    "degrees": (8, 5),
    "l_max": 3,
    "scales": (0.3, 3.0, 30.0),  # eV, of its prior, among which is chosen
    "charge_cutoff": 4.0,  # Å
    "charge_degrees": (7, 5),
    "charge_scales": (0.3, 3.0, 30.0),  # e, of the prior of charges, among which is chosen
    "steps": 25,  # of the search for charges
    "batch": 64,
}


def molecules(atoms: Atoms) -> tuple[Atoms, Atoms]:
    """Both, each with its charge."""
    found = atoms[: atoms.info["n_a"]], atoms[atoms.info["n_a"] :]
    for one, name in zip(found, ("charge_a", "charge_b"), strict=True):
        one.info = {"charge": int(atoms.info[name])}
    return found


def group(atoms: Atoms) -> tuple:
    """What two arrangements of the same rigid molecules have in common; pairs of water, of which there are more than a thousand, are apart."""
    if atoms.info["dataset"] == "Wat-Wat":
        return ((atoms.info["name"], 0.0),)
    return tuple(sorted((str(one.symbols.get_chemical_formula()), round(float(np.sum(one.get_all_distances())), 1)) for one in molecules(atoms)))


def parted(frames: list[Atoms]) -> np.ndarray:
    """Which fifth of the groups a frame is of, [n]; groups in an order that is drawn once."""
    groups = [group(atoms) for atoms in frames]
    order = sorted(set(groups))
    np.random.default_rng(0).shuffle(order)
    fifth = {own: k % 5 for k, own in enumerate(order)}
    return np.array([fifth[own] for own in groups])


def density(cutoff: float, n_radial: int, l_max: int) -> jp.Density:
    return jp.Density(SPECIES, PowerCutoff(cutoff), jp.radial.Agnesi(n_radial, nearest=1.1), l_max=l_max, sigma=None, center_weight=0.0)


def in_batches(function, frames: list[Atoms], cutoff: float, batch: int, label: str) -> list[np.ndarray]:
    """What a function says of the graph of every frame, small ones first: batches are of one shape."""
    graphs = [jp.from_atoms(atoms, cutoff) for atoms in frames]
    order, found = np.argsort([len(atoms) for atoms in frames], kind="stable"), [np.zeros(0)] * len(frames)
    slots = 8 * -(-max(graph.neighbors.shape[1] for graph in graphs) // 8)
    many = jax.jit(jax.vmap(function))
    for start in tqdm(range(0, len(order), batch), desc=label, leave=False):
        own = order[start : start + batch]
        most = 8 * -(-len(frames[own[-1]]) // 8)
        padded = [jp.graph.pad(graphs[k], max_atoms=most, max_neighbors=slots) for k in [*own, *[own[-1]] * (batch - len(own))]]
        for k, one in zip(own, np.asarray(many(jp.stack(padded))), strict=False):
            found[k] = one
    return found


def short_rows(frames: list[Atoms], settings: dict) -> np.ndarray:
    """Design of the short-range model, [n, P], divided by the deviations of its prior: a pair less both molecules alone."""
    ace = jp.ACE(density(settings["cutoff"], settings["n_radial"], settings["l_max"]), jp.TotalDegree(settings["degrees"]))
    model = jp.AtomicPotential(ace, jp.Linear(roughness=ace.smoothness()))
    parts = [one for atoms in frames for one in (atoms, *molecules(atoms))]
    rows = np.stack(in_batches(lambda graph: jp.fit.design(model, graph).energy, parts, settings["cutoff"], settings["batch"], "short range"))
    return (rows[::3] - rows[1::3] - rows[2::3]) / np.sqrt(np.diag(model.precision()))


class Charges:
    r"""Electrostatic energies of pairs of molecules, whose charges are :math:`q = q_0 + X c`, and their slopes.

    Args:
      frames: of every pair.
    """

    def __init__(self, frames: list[Atoms], settings: dict):
        ace = jp.ACE(density(settings["charge_cutoff"], 4, 2), jp.TotalDegree(settings["charge_degrees"]))
        self.descriptor = Joined((Constant(SPECIES), ace))
        self.deviations = 1 / np.tile(np.concatenate([[0.1], ace.smoothness()]), len(SPECIES))
        alone = [one for atoms in frames for one in molecules(atoms)]
        found = in_batches(self.descriptor, alone, settings["charge_cutoff"], settings["batch"], "charges")
        self.parts = [self._rows(one, x) for one, x in zip(alone, found, strict=True)]
        self.kernels = [COULOMB / atoms.get_all_distances()[: atoms.info["n_a"], atoms.info["n_a"] :] for atoms in frames]

    def _rows(self, molecule: Atoms, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q₀ [N] and X [N, P]: charges sum to that of the molecule."""
        own = np.stack([molecule.symbols == symbol for symbol in SPECIES], axis=1).astype(float)
        x = np.einsum("ns,nf->nsf", own, features[: len(molecule)]).reshape(len(molecule), -1)
        return np.full(len(molecule), molecule.info["charge"] / len(molecule)), x - x.mean(axis=0)

    def of(self, coefficients: np.ndarray) -> list[np.ndarray]:
        """Charges of every molecule, two of every pair."""
        return [even + x @ coefficients for even, x in self.parts]

    def __call__(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] in eV, and their slopes by the coefficients, [n, P]."""
        q, values, slopes = self.of(coefficients), [], []
        for k, kernel in enumerate(self.kernels):
            (a, b), (_, x), (_, y) = q[2 * k : 2 * k + 2], *self.parts[2 * k : 2 * k + 2]
            values.append(a @ kernel @ b)
            slopes.append((kernel @ b) @ x + (a @ kernel) @ y)
        return np.array(values), np.array(slopes)


def most_probable(charges: Charges, short: Projected | None, y: np.ndarray, of: np.ndarray, scale: float, settings: dict) -> np.ndarray:
    """Coefficients of charges for energies y [n] of some pairs, with all short-range models integrated out, [P], by damped steps of Gauss and Newton."""
    deviations, sigma = scale * charges.deviations, settings["sigma"]
    # not from zero, which is stationary where molecules are neutral
    new, damping, lowest, z = 0.01 * np.random.default_rng(0).normal(size=len(deviations)), 1.0, np.inf, np.zeros(0)
    for _ in range(settings["steps"]):
        values, slopes = (part[of] for part in charges(deviations * new))
        residual, slopes = (y[of] - values) / sigma, slopes * deviations / sigma
        left = residual if short is None else short.left(residual)
        loss = 0.5 * (residual @ left + new @ new)
        if loss < lowest:
            before, z, lowest, damping = lowest, new, loss, damping / 4
            gradient = z - slopes.T @ left
            curvature = slopes.T @ (slopes if short is None else short.left(slopes))
            if before - loss < 1e-4 * loss:
                break
        else:
            damping *= 8
        new = z - np.linalg.solve(curvature + (1 + damping) * np.eye(len(z)), gradient)
    return deviations * z


class Models:
    """The models of a set of pairs of molecules.

    Args:
      frames: of the pairs, with `elst` in eV.
    """

    def __init__(self, frames: list[Atoms], settings: dict):
        self.settings, self.fifth = settings, parted(frames)
        self.y = np.array([atoms.info["elst"] for atoms in frames])
        self.short, self.charges = short_rows(frames, settings), Charges(frames, settings)

    def short_range(self, of: np.ndarray, scale: float) -> np.ndarray:
        """Energies of all pairs, fitted to some, [n]."""
        return self._beside(np.zeros(len(self.y)), of, self._projected(of, scale), scale)

    def of_charges(self, of: np.ndarray, charge_scale: float) -> np.ndarray:
        return self.charges(most_probable(self.charges, None, self.y, of, charge_scale, self.settings))[0]

    def both(self, of: np.ndarray, scale: float, charge_scale: float) -> np.ndarray:
        short = self._projected(of, scale)
        return self._beside(self.charges(most_probable(self.charges, short, self.y, of, charge_scale, self.settings))[0], of, short, scale)

    def _projected(self, of: np.ndarray, scale: float) -> Projected:
        return Projected(scale * self.short[of] / self.settings["sigma"])

    def _beside(self, fixed: np.ndarray, of: np.ndarray, short: Projected, scale: float) -> np.ndarray:
        return fixed + scale * self.short @ short.coefficients((self.y - fixed)[of] / self.settings["sigma"])

    def best(self, model, *names: str) -> tuple[np.ndarray, dict]:
        """Energies of all pairs with the scales that are best on what is left out of the training, and every error there, in meV."""
        grid = np.stack(np.meshgrid(*(self.settings[name] for name in names), indexing="ij"), axis=-1).reshape(-1, len(names))
        inside, outside = self.fifth >= 2, self.fifth == 1
        errors = [1e3 * rms((model(inside, *own) - self.y)[outside]) for own in grid]
        return model(self.fifth >= 1, *grid[np.argmin(errors)]), dict(zip(map(str, grid.tolist()), errors, strict=True))


def kinds(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Which pairs are of which kind, [n] each."""
    ions = np.array([int(atoms.info["charge_a"] != 0) + int(atoms.info["charge_b"] != 0) for atoms in frames])
    nearest = np.array([np.min(atoms.get_all_distances()[: atoms.info["n_a"], atoms.info["n_a"] :]) for atoms in frames])
    of_charge = {name: ions == k for k, name in enumerate(("neutral", "one ion", "two ions"))}
    return {"all": ions >= 0} | of_charge | {"nearest atoms beyond 4 Å": nearest > 4}


def run(frames: list[Atoms], settings: dict, show=lambda results: None) -> dict:
    """Errors on the pairs of the test, in meV, beside the deviation of the labels from zero."""
    models = Models(frames, settings)
    test = models.fifth == 0
    groups = {name: own & test for name, own in kinds(frames).items() if np.any(own & test)}
    results = {"training pairs": int(np.sum(~test)), "test pairs": int(np.sum(test)), "functions": [models.short.shape[1], len(models.charges.deviations)]}
    results["labels"] = {name: [int(np.sum(own)), 1e3 * rms(models.y[own])] for name, own in groups.items()}
    for name, model, scales in (
        ("short range", models.short_range, ("scales",)), ("charges", models.of_charges, ("charge_scales",)),
        ("short range and charges", models.both, ("scales", "charge_scales")),
    ):  # fmt: skip
        began = time.perf_counter()
        found, tried = models.best(model, *scales)
        errors = {group: 1e3 * rms((found - models.y)[own]) for group, own in groups.items()}
        results[name] = errors | {"training": 1e3 * rms((found - models.y)[~test]), "tried": tried, "seconds": round(time.perf_counter() - began)}
        show(results)
    return results


def load() -> list[Atoms]:
    """All pairs of the elements of the models."""
    return [atoms for atoms in datasets.load("sapt10k") if set(atoms.symbols) <= set(SPECIES)]


if __name__ == "__main__":
    (HERE / "results").mkdir(exist_ok=True)

    def show(results: dict) -> None:
        (HERE / "results" / "sapt.json").write_text(json.dumps(results, indent=1) + "\n")
        print(list(results)[-1], json.dumps(list(results.values())[-1]), flush=True)

    print(json.dumps(run(load(), SETTINGS, show)["labels"]))
