"""
A linear ACE in Python
======================

A prior by which all functions make equally large forces, a fit of energies, forces and stresses, errors and how uncertain forces are.

*Elsewhere*: ACEpotentials.jl, "First example" of its tutorials (commit 6e9a0af), takes 25 lines to the errors on a test set: model and fit are
shorter, six lines, because their defaults choose radial functions and prior; stresses and deviations are not in it. `aj fit` of ace-jax 0.4.1 on
these frames takes 13 lines and 36 s of processor time, noise levels and prior found, to 0.35 meV/atom and 0.0157 eV/Å (RMSE) of the test frames; this
page 42 s, to 0.91 and 0.0158 (`experiments/benchmarks/gallery.py`).
"""

import jax
from ase.build import bulk
from ase.calculators.emt import EMT

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
frames = [bulk("Al", a=3.9 + 0.01 * k, cubic=True).repeat((1, 1, 2)) for k in range(30)]
for seed, atoms in enumerate(frames):
    atoms.rattle(0.15, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
noise = jp.noise_levels(energy=0.001, forces=0.01, virial=0.01)
train, test = (jp.Dataset.from_atoms(part, 5.0, sigma=noise) for part in (frames[::2], frames[1::2]))
density = jp.Density(("Al",), jp.cutoffs.PowerCutoff(5.0), jp.radial.Agnesi(8, nearest=2.85), l_max=3, sigma=None, center_weight=0.0)
ace = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((8, 7, 6))), jp.Linear(scale=2.0))
prior = ace.descriptor.smoothness(power=0.0, order=4.0) * jp.fit.force_scales(ace, train)
model = ace.replace(head=ace.head.replace(roughness=prior)) + jp.IsolatedAtoms.from_data(frames[::2])
posterior = jp.fit.posterior(model, train)
print(jp.fit.table(jp.fit.report(posterior.model, test)))
print("eV/Å:", jp.fit.force_deviations(posterior, jp.from_atoms(frames[1], 5.0))[:2])
figure = jp.fit.plot_parity(test, jp.fit.predict(posterior.model, test))
