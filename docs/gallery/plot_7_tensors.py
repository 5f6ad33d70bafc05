"""
Tensors
=======

A dipole from λ-SOAP, fitted to dipoles of a formula: charges of surroundings times places. The prediction turns with the molecule.

*Elsewhere*: "Equivariant linear model for polarizability" of the Atomistic Cookbook (featomic and metatensor, commit 06c2cb7) takes about 280 lines
to the errors on a test set: the model, its coefficients for each degree, and the way from Cartesian tensors to harmonics and back are written there.
This page's job takes 25 lines and 1.2 s of processor time with featomic 0.6.7, which is compiled already, and 25 s here
(`experiments/benchmarks/gallery.py`).
"""

import jax
import numpy as np
from ase.build import molecule

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
frames = [molecule("H2O") for _ in range(60)]
for seed, atoms in enumerate(frames):
    atoms.rattle(0.08, seed=seed)
    atoms.rotate(37 * seed, (1, 2, 3))
    bonds = atoms.positions[1:] - atoms.positions[0]
    atoms.info["dipole"] = np.sum(bonds * np.exp(-0.7 * np.linalg.norm(bonds, axis=1, keepdims=True)), axis=0)
density = jp.Density(("O", "H"), jp.CosineCutoff(3.5, width=1.0), jp.GTO(n_max=4), l_max=3, sigma=0.4)
dipole = jp.tensors.Dipole(tensor=jp.LambdaSOAP(density, lam=1))
dipole = jp.fit.linear(dipole, frames[:40], sigma=jp.Properties(dipole=1e-4))
print(jp.fit.table(jp.fit.report(dipole, frames[40:])))
graph, turn = jp.from_atoms(frames[50], 3.5), jp.random_rotation(jax.random.key(0))
print("turned:", np.abs(dipole(jp.rotate(graph, turn)) - turn @ dipole(graph)).max())
