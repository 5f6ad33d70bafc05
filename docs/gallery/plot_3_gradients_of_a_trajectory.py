"""
Gradients of a trajectory
=========================

How the potential energy at the end of 50 steps answers to the parameters of the potential, by reverse-mode differentiation with checkpoints, and by a
difference.

*Elsewhere*: jax-md differentiates through `lax.scan` of its steps as well (its notebook "Differentiating through dynamics"); checkpoints, neighbour
lists and masses of a structure are written by hand there, here in 24 lines and 13 s of processor time to 27 s of this page;
its own Lennard-Jones energy answers to σ by NaN, and of minimum images the crystal needs 108 atoms, not 32 (`experiments/benchmarks/gallery.py`).
chemtrain differentiates reweighted means, not the trajectory (its page "DiffTRe").
"""

import jax
from ase.build import bulk

import jaxpot as jp
from jaxpot import md, trajectories

jax.config.update("jax_enable_x64", True)
argon = jp.empirical.LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=jp.cutoffs.PolynomialCutoff(7.5, width=1.5))
atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
atoms.rattle(0.05, seed=0)
system = md.System(jp.from_atoms(atoms, 8.0), md.NVE(temperature=60.0, timestep=4.0))
params, build = jp.free(argon, "sigma", "epsilon")  # of positive leaves the logarithms


@jax.jit
def energy(params):
    potential = build(params)
    state = system.init(jax.random.key(0), potential)
    state, _ = trajectories.rollout(system, state, potential, steps=50)
    return potential(system.graph(state))


value, slopes = jax.value_and_grad(energy)(params)
difference = (energy(params | {"sigma": params["sigma"] + 1e-5}) - energy(params | {"sigma": params["sigma"] - 1e-5})) / 2e-5
print(f"{float(value):.6f} eV; by ln σ {float(slopes['sigma']):.6f} and {float(difference):.6f} eV; by ln ε {float(slopes['epsilon']):.6f} eV")
