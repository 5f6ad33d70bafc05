"""Charged fragments pulled apart: rung 1 sees nothing beyond its cutoff, rung 6 sees the potential of the other fragment.

    JAXPOT_DATA=/path/to/shared python experiments/longrange/dimers.py

Binding energies of 10 pairs of fragments at 13 distances, HSE06 + MBD (data/charged_dimers). Each model is linear in its features of the pair less
those of the fragments alone; its only hyper-parameter, the ridge, is chosen by leaving out one pair after the other of the training set. Two tests:
the four largest distances of all pairs, from the nine smaller ones; and all distances of pairs that were left out.
"""

import os
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np

import jaxpot as jp
from jaxpot.descriptors import MultiScale
from jaxpot.longrange import LODE, AllPairs

jax.config.update("jax_enable_x64", True)
SPECIES, CUTOFF, N_DISTANCES = ("C", "H", "N", "O"), 3.0, 13
FILE = "data/charged_dimers/charge_charge_130.extxyz"


def descriptors():
    near = jp.Density(SPECIES, jp.CosineCutoff(CUTOFF, width=0.5), jp.GTO(n_max=3), l_max=2, sigma=0.5)
    far = LODE(SPECIES, CUTOFF, jp.GTO(n_max=2), l_max=2, sigma=1.0, sum=AllPairs(), power=1)
    return {"rung 1, SOAP": jp.SOAP(near, normalize=False), "rung 6, density × potential": MultiScale(near, far)}


def sums(descriptor, frames):
    """Features of structures, added up for every element, [F, S · P]."""
    graphs = jp.stack([jp.from_atoms(atoms, CUTOFF) for atoms in frames])

    @jax.jit
    def of(descriptor, graph):
        kinds = jnp.stack([graph.numbers == n for n in (6, 1, 7, 8)], axis=1).astype(float)
        features = jnp.where((graph.numbers > 0)[:, None], descriptor(graph), 0)
        return (kinds.T @ features).reshape(-1)

    return np.stack([of(descriptor, jax.tree.map(lambda x, i=i: x[i], graphs)) for i in range(len(frames))])


def first_fragment(atoms):
    """Which atoms hang together with the first one, [N]."""
    bonded = atoms.get_all_distances() < 1.9
    found = np.arange(len(atoms)) == 0
    for _ in range(len(atoms)):
        found = bonded @ found
    return found


def ridge(x, y, power):
    """Weights in the space of the data, of a kernel of scaled features."""
    kernel = x @ x.T + 1e-300 * np.eye(len(y))
    return x.T @ np.linalg.solve(kernel + 10.0**power * np.trace(kernel) / len(y) * np.eye(len(y)), y)


def error(x, y, groups, train, test):
    """Rms error of the test, with the ridge that predicts groups of the training set best when they are left out."""
    scale, middle = np.sqrt(np.mean(x[train] ** 2, axis=0)), np.mean(y[train])
    x, y = x / np.where(scale > 1e-9, scale, np.inf), y - middle
    powers, losses = np.arange(-12.0, 1.0), []
    for power in powers:
        wrong = [y[out] - x[out] @ ridge(x[rest], y[rest], power) for g in np.unique(groups[train]) for out, rest in [_split(train, groups, g)]]
        losses.append(np.mean(np.concatenate(wrong) ** 2))
    return np.sqrt(np.mean((y[test] - x[test] @ ridge(x[train], y[train], powers[np.argmin(losses)])) ** 2))


def _split(train, groups, g):
    return train[groups[train] == g], train[groups[train] != g]


def main():
    frames = ase.io.read(Path(os.environ["JAXPOT_DATA"]) / FILE, ":")
    for atoms in frames:
        atoms.set_pbc(False)
    y = np.array([atoms.info["interaction_energy"] for atoms in frames])
    which, rank = np.divmod(np.arange(len(frames)), N_DISTANCES)  # pair after pair, by increasing distance
    parts = [first_fragment(frames[N_DISTANCES * pair + N_DISTANCES - 1]) for pair in which]
    for name, descriptor in descriptors().items():
        x = sums(descriptor, frames)
        for is_first in (True, False):
            x = x - sums(descriptor, [atoms[part == is_first] for atoms, part in zip(frames, parts, strict=True)])
        far = error(x, y, which, np.flatnonzero(rank < 9), np.flatnonzero(rank >= 9)) / np.std(y[rank >= 9])
        squares = [error(x, y, which, np.flatnonzero(which != p), np.flatnonzero(which == p)) ** 2 for p in np.unique(which)]
        print(f"{name}: {100 * far:.1f} % at larger distances, {100 * np.sqrt(np.mean(squares)) / np.std(y):.1f} % of other pairs", flush=True)


if __name__ == "__main__":
    main()
