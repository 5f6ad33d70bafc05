"""
An alloy by the command line
============================

Copper and gold with labels of effective-medium theory: `jaxpot init` looks at the frames and writes a configuration, `jaxpot fit` fits it,
`jaxpot evaluate` draws.
"""

import os
import tempfile

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator as Labels

from jaxpot.cli import main  # the command `jaxpot`

os.chdir(tempfile.mkdtemp())
frames, random = [], np.random.default_rng(0)
for seed in range(80):
    gold = random.random(8) < random.random()
    atoms = bulk("Cu", a=3.61 + 0.47 * gold.mean() + 0.05 * random.normal(), cubic=True).repeat((1, 1, 2))
    atoms.symbols[gold] = "Au"
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.calc = Labels(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress())
    frames.append(atoms)
ase.io.write("train.xyz", frames[:64])
ase.io.write("test.xyz", frames[64:])
main("init train.xyz --test test.xyz --model ace --cutoff 4.5 --overwrite".split())
main("fit config.toml --output alloy --overwrite".split())
main("evaluate alloy/model.npz test.xyz --plot parity.png".split())
plt.figure(figsize=(12, 4))
plt.imshow(plt.imread("parity.png"))
_ = plt.axis("off")
