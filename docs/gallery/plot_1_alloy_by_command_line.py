"""
An alloy by the command line
============================

Copper and gold with labels of effective-medium theory: `jaxpot init` looks at the frames and writes a configuration, `jaxpot fit` fits it, `jaxpot
evaluate` draws. Where frames are there already, the job is the three lines that call `main`, which are commands of a shell.

*Elsewhere*: ace-jax 0.4.1 has two commands, `aj fit --order 3 --max-degree 10 --train train.xyz --out fit` and `aj eval` (its page on PyPI), which
choose noise levels as well; on the silicon of Zuo et al. its fit of 121 functions takes 15.0 s, here at given noise levels 1.2 s, both compiled
(`experiments/benchmarks`). pacemaker has three, of which the second asks questions (python-ace, Quick start); frames that are not VASP's first go
into a table of pandas, 31 lines for the two frames of its example.
"""

import os
import tempfile

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from jaxpot.cli import main  # the command `jaxpot`

os.chdir(tempfile.mkdtemp())
for seed in range(50):
    atoms = bulk("Cu", a=3.55 + 0.06 * (seed % 9) + 0.03 * (seed % 5), cubic=True).repeat((1, 1, 2))
    atoms.symbols[np.random.default_rng(seed).permutation(8)[: seed % 9]] = "Au"
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    ase.io.write("train.xyz" if seed < 40 else "test.xyz", atoms, append=True)
main("init train.xyz --test test.xyz --model ace --cutoff 4.5".split())
main("fit config.toml --output alloy".split())
main("evaluate alloy/model.npz test.xyz --plot parity.png".split())
plt.figure(figsize=(12, 4)).figimage(plt.imread("parity.png"), resize=True)
