"""Born effective charges from charges of surroundings and atomic dipoles, of clusters and of liquid water.

    JAXPOT_DATA=/path/to/shared python experiments/longrange/born.py           # both; minutes
    JAXPOT_DATA=/path/to/shared python experiments/longrange/born.py clusters

Charges are `LocalCharges` of a SOAP, atomic dipoles a `Dipole` of a λ-SOAP of the same density. Both are linear, and so are dipoles and Born charges:
fitted to one kind of labels, the others are predictions. Clusters (data/xtb_water_born): trained on the first start of every system, tested on the
second one. Liquid water (data/water_bec): trained on twelve frames, tested on six. The scale of the prior is chosen inside the training frames, by the
labels that are fitted, of the last frame of every system or the last three of the liquid, left out. Results go to `results/`.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import longrange  # noqa: E402
from jaxpot.descriptors.soap import LambdaSOAP  # noqa: E402
from jaxpot.longrange.born import nearest  # noqa: E402
from jaxpot.potentials.linear import constant_of  # noqa: E402
from jaxpot.tensors import Dipole  # noqa: E402

SETTINGS = {
    "cutoff": 4.0,  # Å
    "n_max": 3,
    "l_max": 2,
    "smearing": 0.4,  # Å
    "sigma": {"charges": 0.005, "dipole": 0.01, "born": 0.02},  # e, e·Å, e
    "scales": (0.03, 0.3, 3.0, 30.0),  # of the prior, among which is chosen
    "molecules": 8,  # of a frame of the liquid, of which Born charges are fitted and tested
}


class Split(NamedTuple):
    """Frames of training, of which the chosen ones choose, and of the test.

    Args:
      frames: all.
      train: which are of training, [F].
      choose: which of these are left out in choosing, [F].
      atoms: of which Born charges count, of every frame, [F, M]; atoms that are not there do not count.
    """

    frames: list[Atoms]
    train: np.ndarray
    choose: np.ndarray
    atoms: np.ndarray


def clusters() -> Split:
    frames = [atoms for part in ("train", "val") for atoms in datasets.load(f"xtb_water_born/{part}")]
    train, last = (np.array([atoms.info[key] == value for atoms in frames]) for key, value in (("trajectory", 0), ("step", 2)))
    return Split(frames, train, train & last, np.tile(np.arange(max(map(len, frames))), (len(frames), 1)))


def liquid(molecules: int) -> Split:
    """Molecules are drawn by their oxygen, with the two nearest hydrogens."""
    frames, rng, atoms = datasets.load("water_bec"), np.random.default_rng(0), []
    for frame in frames:
        oxygens = rng.choice(np.flatnonzero(frame.numbers == 8), molecules, replace=False)
        distances = np.where(frame.numbers == 1, frame.get_all_distances(mic=True), np.inf)[oxygens]
        atoms.append(np.concatenate([oxygens, np.argsort(distances, axis=1)[:, :2].ravel()]))
    place = np.arange(len(frames))
    return Split(frames, place < 12, (place >= 9) & (place < 12), np.array(atoms))


class Model(NamedTuple):
    """Charges and atomic dipoles, whose coefficients stand one after the other.

    Args:
      charges: of surroundings.
      dipoles: of atoms; None are none.
    """

    charges: longrange.LocalCharges
    dipoles: Dipole | None

    @classmethod
    def of(cls, frames: list[Atoms], settings: dict, dipoles: bool) -> "Model":
        species = tuple(sorted({symbol for atoms in frames for symbol in atoms.symbols}))
        radial = jp.GTO(n_max=settings["n_max"])
        cutoff = jp.CosineCutoff(settings["cutoff"], width=1.0)
        density = jp.Density(species, cutoff, radial, l_max=settings["l_max"], sigma=settings["smearing"])
        return cls(longrange.LocalCharges(jp.SOAP(density), jp.Linear()), Dipole(tensor=LambdaSOAP(density, lam=1)) if dipoles else None)

    @property
    def precision(self) -> np.ndarray:
        """Of the prior of scale 1, [P]."""
        return np.concatenate([np.diag(part.precision()) for part in self if part is not None])

    def rows(self, graph: jp.Graph, atoms: jax.Array) -> dict[str, jax.Array]:
        """By the coefficients, and in the last column without them: charges [N, P + 1], the dipole [3, P + 1], Born charges of some atoms [M, 3, 3, P + 1].

        The dipole is about the origin, and in a crystal means nothing. Born charges are those of `longrange.born_charges`: here the direction of the atom
        comes first, and what charges carry goes from an atom to the nearest images of others.
        """

        def parts(positions):
            here = graph.replace(positions=positions)
            q, fixed = self.charges.basis(here).charges, constant_of(self.charges).charges(here)
            return jnp.concatenate([q, jnp.zeros((len(q), self.n_dipoles)), fixed[:, None]], axis=1), self._of_atoms(here)

        def born(i):
            arms = jnp.where((graph.numbers > 0)[:, None], nearest(graph, graph.positions - graph.positions[i][None]), 0)

            def moment(displacement):
                q, of_atoms = parts(graph.positions.at[i].add(displacement))
                return jnp.einsum("np,nx->xp", q, arms.at[i].add(displacement)) + of_atoms

            return jnp.moveaxis(jax.jacfwd(moment)(jnp.zeros(3)), -1, 0)

        q, of_atoms = parts(graph.positions)
        real = jnp.where((graph.numbers > 0)[:, None], graph.positions, 0)
        return {"charges": q, "dipole": jnp.einsum("np,nx->xp", q, real) + of_atoms, "born": jax.lax.map(born, atoms)}

    @property
    def n_dipoles(self) -> int:
        return 0 if self.dipoles is None else self.dipoles.n_coefficients

    def _of_atoms(self, graph: jp.Graph) -> jax.Array:
        found = jnp.zeros((3, 0)) if self.dipoles is None else self.dipoles.basis(graph).dipole
        return jnp.concatenate([jnp.zeros((3, self.charges.n_coefficients)), found, jnp.zeros((3, 1))], axis=1)


class Labels(NamedTuple):
    """What frames say, and the rows of a model.

    Args:
      values: of every kind that is there, a list of [n] of frames.
      rows: likewise, [n, P + 1].
    """

    values: dict[str, list[np.ndarray]]
    rows: dict[str, list[np.ndarray]]

    @classmethod
    def of(cls, split: Split, model: Model) -> "Labels":
        values, rows = {}, {}
        totals = [float(atoms.info["total_charge"]) for atoms in split.frames]
        stacked = jp.stack([jp.from_atoms(a, float(model.charges.reach), charge=q) for a, q in zip(split.frames, totals, strict=True)])
        found = jax.jit(model.rows)
        for k, (atoms, picked) in enumerate(zip(split.frames, split.atoms, strict=True)):
            there = picked < len(atoms)
            own = {key: np.asarray(x) for key, x in found(jax.tree.map(lambda x, k=k: x[k], stacked), picked).items()}
            own |= {"charges": own["charges"][: len(atoms)], "born": own["born"][there]}
            labels = {"born": atoms.arrays["bec"][picked[there]]}
            if "mulliken_charge" in atoms.arrays:
                labels |= {"charges": atoms.arrays["mulliken_charge"], "dipole": atoms.get_dipole_moment()}
            for key, value in labels.items():
                values.setdefault(key, []).append(np.ravel(value))
                rows.setdefault(key, []).append(own[key].reshape(-1, own[key].shape[-1]))
        return cls(values, rows)

    def wrong(self, coefficients: np.ndarray, key: str, of: np.ndarray) -> np.ndarray:
        """What is predicted less the labels of some frames, [n]."""
        return np.concatenate([x[:, :-1] @ coefficients + x[:, -1] - y for x, y, use in zip(self.rows[key], self.values[key], of, strict=True) if use])

    def fitted(self, keys: tuple[str, ...], of: np.ndarray, precision: np.ndarray, sigma: dict[str, float]) -> np.ndarray:
        """The most probable coefficients of labels of some kinds and frames, [P]."""
        curvature, pull = np.diag(precision), np.zeros(len(precision))
        for key in keys:
            x, y = (np.concatenate([part for part, use in zip(parts[key], of, strict=True) if use]) for parts in (self.rows, self.values))
            curvature = curvature + x[:, :-1].T @ x[:, :-1] / sigma[key] ** 2
            pull += x[:, :-1].T @ (y - x[:, -1]) / sigma[key] ** 2
        return np.linalg.solve(curvature, pull)


def mean_of_elements(split: Split) -> dict[str, float]:
    """Errors of the mean Born tensor of every element of the training frames, and of the dipole of its thirds of the trace, spread to the total charge."""
    sums = {}
    for atoms, picked, use in zip(split.frames, split.atoms, split.train, strict=True):
        for i in picked[picked < len(atoms)] if use else ():
            sums.setdefault(atoms.numbers[i], []).append(atoms.arrays["bec"][i].reshape(3, 3))
    charge, born, dipole = {z: np.mean([np.trace(t) / 3 for t in tensors]) for z, tensors in sums.items()}, [], []
    for atoms, picked in itertools.compress(zip(split.frames, split.atoms, strict=True), ~split.train):
        q = np.array([charge[z] for z in atoms.numbers])
        born.append((atoms.arrays["bec"].reshape(-1, 3, 3) - q[:, None, None] * np.eye(3))[picked[picked < len(atoms)]])
        if "mulliken_charge" in atoms.arrays:
            q += (atoms.info["total_charge"] - q.sum()) / len(q)
            dipole.append(q @ atoms.positions - atoms.get_dipole_moment())
    return {"born": mae(np.concatenate(born))} | ({"dipole": mae(np.array(dipole))} if dipole else {})


def run(split: Split, fits: tuple[tuple[bool, tuple[str, ...]], ...], settings: dict) -> dict:
    """Mean absolute errors at the test frames, in e and e·Å, of models with atomic dipoles or without that are fitted to labels of some kinds."""
    results = {"frames": {"training": int(np.sum(split.train)), "test": int(np.sum(~split.train))}, "mean of each element": mean_of_elements(split)}
    for dipoles in sorted({dipoles for dipoles, _ in fits}):
        began, model = time.perf_counter(), Model.of(split.frames, settings, dipoles)
        labels, precision, sigma = Labels.of(split, model), model.precision, settings["sigma"]
        seconds = time.perf_counter() - began
        for keys in [keys for with_dipoles, keys in fits if with_dipoles == dipoles]:
            tried = {}
            for scale in settings["scales"]:
                found = labels.fitted(keys, split.train & ~split.choose, precision / scale**2, sigma)
                tried[scale] = sum(np.mean(labels.wrong(found, key, split.choose) ** 2) / sigma[key] ** 2 for key in keys)
            scale = min(tried, key=tried.get)
            found = labels.fitted(keys, split.train, precision / scale**2, sigma)
            errors = {key: mae(labels.wrong(found, key, ~split.train)) for key in labels.values}
            inside = {key: mae(labels.wrong(found, key, split.train)) for key in labels.values}
            name = f"{'charges and dipoles' if dipoles else 'charges'}, fitted to {' and '.join(keys)}"
            results[name] = errors | {"training": inside, "coefficients": len(precision), "tried": tried, "scale": scale, "seconds of rows": round(seconds)}
            print(name, results[name], flush=True)
    return results


def mae(x: np.ndarray) -> float:
    return float(np.mean(np.abs(x)))


FITS = {
    "clusters": ((False, ("charges",)), (False, ("dipole",)), (False, ("dipole", "born")), (True, ("dipole",)), (True, ("dipole", "born"))),
    "liquid": ((False, ("born",)), (True, ("born",))),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(FITS), help=f"of {', '.join(FITS)}")
    (HERE / "results").mkdir(exist_ok=True)
    for name in parser.parse_args().sets:
        results = run(clusters() if name == "clusters" else liquid(SETTINGS["molecules"]), FITS[name], SETTINGS)
        (HERE / "results" / f"born_{name}.json").write_text(json.dumps(results, indent=1) + "\n")
