"""
A head of Flax
==============

Any module of Flax NNX maps the features of an atom to its energy; here SOAP vectors of silicon, centred and scaled, with labels of Stillinger and
Weber's potential.

*Elsewhere*: DScribe's example of a network on SOAP with forces (`examples/forces_and_energies`, `dataset.py` and `training_pytorch.py` at commit
a9fc0b1) takes 159 lines, for two atoms with one centre between them: the loop of the training, the products with the features' derivatives and the
scaling are written there. With DScribe 2.1.2, Flax and Optax this page's job takes 41 lines and 12 s of processor time, to 0.064 eV/Å (RMSE of the
fitted frames), and 37 s here, to 0.063 (`experiments/benchmarks/gallery.py`).
"""

import jax
import optax
from ase.build import bulk
from flax import nnx

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
silicon = {"A": 7.049556277, "B": 0.6022245584, "p": 4.0, "q": 0.0, "a": 1.8, "lam": 21.0, "gamma": 1.2, "cosine": -1 / 3}
truth = jp.empirical.StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, **silicon)
frames = [bulk("Si", a=5.43, cubic=True) for _ in range(20)]
for seed, atoms in enumerate(frames):
    atoms.rattle(0.15, seed=seed)
    atoms.calc = jp.Calculator(truth)
    atoms.get_forces()
soap = jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(4.0, width=1.0), jp.GTO(n_max=4), l_max=3, sigma=0.5))
x, rngs = jax.numpy.concatenate([soap(atoms) for atoms in frames]), nnx.Rngs(0)
module = nnx.Sequential(lambda y: (y - x.mean(0)) / x.std(0), nnx.Linear(soap.n_features, 16, rngs=rngs), nnx.silu, nnx.Linear(16, 1, rngs=rngs))
model = jp.AtomicPotential(soap, jp.heads.NNXHead(module)) + jp.IsolatedAtoms.from_data(frames)
model, history = jp.fit.train(model, frames, optax.adam(0.01), steps=1000, sigma=jp.noise_levels(energy=0.01, forces=0.1))
print(jp.fit.table(jp.fit.report(model, frames)))
figure = jp.fit.plot_history(history)
