"""How the files of this folder were made: GAPs fitted here to random energies, written by write_gap and evaluated by quippy (quippy-ase 0.10.3).

Run here, with the tests' folder two above on the path: `PYTHONPATH=../../.. python make.py`. NAME.npz is the fitted model, NAME_quippy.npz what
QUIP makes of the files written. Energies and forces of the fits mean nothing; only their prediction is compared.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from ase import Atoms

import jaxpot
from jaxpot import AtomicPotential, CosineCutoff, Density, IsolatedAtoms, PolynomialKernel, SparseGP
from jaxpot.cutoffs import Willatt
from jaxpot.descriptors import CompactTriangles, CompressedSOAP, ThreeBody, Triangles, TurboDensity, TwoBody, sensitivity
from jaxpot.empirical import CubicSpline, PairSpline
from jaxpot.kernels import SquaredExponential, Symmetrised
from jaxpot.radial import EquispacedGaussians, Poly3Gauss

HERE = Path(__file__).parent


def frames(symbols, n, seed):
    """Six atoms at random in a triclinic cell, no closer than 1.3 Å, with all elements."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        elements = [*symbols, *(symbols[i] for i in rng.integers(len(symbols), size=6 - len(symbols)))]
        cell = np.diag([4.4, 4.7, 14.0]) + rng.normal(size=(3, 3)) * 0.2
        atoms = Atoms(elements, positions=rng.uniform(0, 3.4, (6, 3)), cell=cell, pbc=True)
        if min(atoms.get_all_distances(mic=True)[np.triu_indices(6, 1)]) > 1.3:
            atoms.info["energy"] = float(rng.normal() - 10)
            found.append(atoms)
    return found


def gp(kernel, delta):
    return SparseGP(kernel, delta=delta)


def clusters(descriptor, length, delta):
    kernel = SquaredExponential(length)
    return AtomicPotential(descriptor, gp(Symmetrised(kernel, descriptor.permutations) if descriptor.permutations else kernel, delta))


def gaussians(species, radius, **more):
    return Density(species, more.pop("cutoff", CosineCutoff(radius, width=0.8)), EquispacedGaussians(4), l_max=3, sigma=0.45, **more)


def models():
    """Pairs, angles and SOAP of three elements; triangles of three sorts with compressed spectra and a core; soap_turbo with a compress_file."""
    hco, sic = ("H", "C", "O"), ("Si", "C", "H")
    decay = Willatt(CosineCutoff(3.6, width=1.1), rate=1.5, scale=2.0, exponent=3.0)
    cutoff, core = CosineCutoff(3.1, width=0.7), CubicSpline([0.9, 1.2, 1.6, 2.0, 2.4], [8.1, 3.3, 0.9, 0.2, 0.0], last=0.0)
    turbo = TurboDensity(
        ("Si", "C"), 3.8, (Poly3Gauss(4), Poly3Gauss(3)), l_max=3, sigma=[0.4, 0.5], sigma_angular=0.5, width=0.6, growth=[0.05, 0.1], growth_angular=0.08,
        exponent=[1.0, 2.0], enhancement=1, center_weight=[1.0, 0.8], steepness=5.0, window=4.0,
    )  # fmt: skip
    pairs = tuple((a, b) for a in range(7) for b in range(a, 7) if (a + b) % 3 != 1)
    return {
        "hco": clusters(TwoBody(hco, CosineCutoff(4.0, width=1.0)), 0.8, 1.5)
        + clusters(ThreeBody(hco, CosineCutoff(3.0, width=0.6), kinds=(("O", "H", "C"), ("C", "C", "O"), ("H", "O", "O"))), [0.9, 1.1, 0.7], 0.3)
        + AtomicPotential(jaxpot.SOAP(gaussians(hco, 3.6, center_weight=0.7)), gp(PolynomialKernel(4.0), 0.4))
        + IsolatedAtoms({"H": -10.7, "C": -48.8, "O": -102.5}),
        "sic": clusters(TwoBody(sic, CosineCutoff(3.7), kinds=(("C", "Si"), ("H", "H"))), 0.7, 1.2)
        + clusters(Triangles(sic, cutoff, kinds=(("Si", "C", "C"), ("C", "Si", "Si"), ("H", "Si", "Si"))), [0.9, 0.9, 1.2], 0.4)
        + clusters(Triangles(sic, cutoff, kinds=(("Si", "H", "C"),)), [0.8, 0.9, 1.0], 0.3)
        + clusters(CompactTriangles(sic, cutoff), 0.9, 0.5)
        + AtomicPotential(
            CompressedSOAP(gaussians(sic, 3.6, cutoff=decay, center_channels="all"), *sensitivity(3, 4, radial=1, species=2), normalize=False),
            gp(PolynomialKernel(2.0, offset=0.6), 0.01),
        )
        + IsolatedAtoms({"Si": -1.5, "C": -2.5, "H": -0.5})
        + PairSpline(("Si", "C"), (("Si", "C"),), (core,)),
        "turbo": AtomicPotential(CompressedSOAP(turbo, pairs=pairs), gp(PolynomialKernel(3.0), 0.5)) + IsolatedAtoms({"Si": -1.5, "C": -2.5}),
    }  # fmt: skip


def fitted(model):
    train = frames(model.species, 16, seed=1)
    data = jaxpot.Dataset.from_atoms(train, float(model.reach), sigma=jaxpot.noise_levels(energy=0.05))
    terms = [
        t.with_points(jaxpot.fit.select_environments(t.descriptor, data, 24, key=jax.random.key(0))) if isinstance(t, AtomicPotential) else t
        for t in model.terms
    ]
    return jaxpot.freeze(jaxpot.fit.linear(jaxpot.Sum(tuple(terms)), data, progress=False))


def digest(folder):
    """Of the names and contents of all files in a folder."""
    return hashlib.sha256(b"".join(p.name.encode() + b"\0" + p.read_bytes() for p in sorted(Path(folder).iterdir()))).hexdigest()


def predictions(path, structures):
    """QUIP's energy, forces and virial of every structure, and its atomic energies."""
    from quippy.potential import Potential

    quip, found = Potential("", param_filename=str(path)), []
    for atoms in structures:
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        quip.calculate(atoms, ["energy", "forces", "stress", "energies"])
        stress = quip.results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        found.append({name: quip.results[name] for name in ("energy", "energies", "forces")} | {"virial": -atoms.get_volume() * stress})
    return {name: np.array([f[name] for f in found]) for name in found[0]}


def main(name):
    jax.config.update("jax_enable_x64", True)
    model = fitted(models()[name])
    jaxpot.save(HERE / f"{name}.npz", model)
    folder = Path(tempfile.mkdtemp())
    path = jaxpot.io.write_gap(folder / f"{name}.xml", model)
    structures = frames(model.species, 3, seed=2)
    os.chdir(folder)  # QUIP looks for a compress_file in the current folder
    found = predictions(path, structures)
    np.savez_compressed(HERE / f"{name}_quippy.npz", digest=digest(folder), **found)
    ours = [jax.jit(jaxpot.evaluate)(model, jaxpot.from_atoms(a, float(model.reach))) for a in structures]
    for key in ("energy", "forces", "virial"):
        print(name, key, max(float(np.max(np.abs(getattr(o, key) - f))) for o, f in zip(ours, found[key], strict=True)), np.max(np.abs(found[key])))


if __name__ == "__main__":
    main(sys.argv[1])
