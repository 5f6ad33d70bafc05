"""
Files of other codes
====================

A GAP is written for QUIP and LAMMPS, an ACE as `.yace`; files are read by what they hold. Published potentials are read in the same way.
"""

import os
import tempfile

import jax
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator as Labels

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
os.chdir(tempfile.mkdtemp())
frames = [bulk("Al", a=3.9 + 0.01 * k, cubic=True) for k in range(20)]
for seed, atoms in enumerate(frames):
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.calc = Labels(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
alone, noise = jp.IsolatedAtoms.from_data(frames), jp.noise_levels(energy=0.001, forces=0.02)
pairs = jp.descriptors.TwoBody(("Al",), jp.CosineCutoff(5.0, width=1.0))
points = jp.fit.select_environments(pairs, frames, 20, key=jax.random.key(0))
gap = jp.AtomicPotential(pairs, jp.SparseGP(jp.kernels.SquaredExponential(1.0), delta=0.5)).with_points(points) + alone
gap = jp.fit.linear(gap, frames, sigma=noise)
again = jp.io.read(jp.io.write("al.xml", gap))  # pair_style quip; pair_coeff * * al.xml "Potential xml_label=GAP_al" 13
print(sorted(os.listdir()), float(again(frames[0]) - gap(frames[0])))
print(again)
