"""
Files of other codes
====================

A GAP is written for QUIP and for `pair_style quip` of LAMMPS, an ACE as `.yace` for `pair_style pace`; files are read by what they hold. Published
potentials are read in the same way.

*Elsewhere*: every code reads its own files: `quippy.potential.Potential(param_filename=...)` those of QUIP, `pyace.PyACECalculator(...)` those of
pacemaker (python-ace, Quick start), two lines each. None of them makes one of the other. The GAP alone takes 16 lines and 2.3 s of processor time by
gap_fit (quippy-ase 0.10.3), all of this page 11 s (`experiments/benchmarks/gallery.py`).
"""

import tempfile

import jax
from ase.build import bulk
from ase.calculators.emt import EMT

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
frames = [bulk("Al", a=3.9 + 0.01 * k, cubic=True) for k in range(20)]
for seed, atoms in enumerate(frames):
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
alone, noise, folder = jp.IsolatedAtoms.from_data(frames), jp.noise_levels(energy=0.001, forces=0.02), tempfile.mkdtemp()
pairs = jp.descriptors.TwoBody(("Al",), jp.CosineCutoff(5.0, width=1.0))
points = jp.fit.select_environments(pairs, frames, 20, key=jax.random.key(0))
gap = jp.AtomicPotential(pairs, jp.SparseGP(jp.kernels.SquaredExponential(1.0), delta=0.5)).with_points(points) + alone
gap = jp.fit.linear(gap, frames, sigma=noise)
print(jp.io.read(jp.io.write(folder + "/al.xml", gap)))  # pair_coeff * * al.xml "Potential xml_label=GAP_al" 13
density = jp.Density(("Al",), jp.cutoffs.Step(5.0), jp.radial.ChebExpCos(6, lam=3.0), l_max=2, sigma=None, center_weight=0.0)
ace = jp.fit.linear(jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((6, 5))), jp.Linear(scale=1.0)) + alone, frames, sigma=noise)
print(jp.io.read(jp.io.write(folder + "/al.yace", ace)))  # pair_coeff * * al.yace Al
