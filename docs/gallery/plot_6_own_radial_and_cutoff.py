"""
Radial functions and a cutoff of one's own
==========================================

Every real number of a class is a leaf: it can be differentiated, moved by evidence and trained.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from ase.build import bulk

import jaxpot as jp

jax.config.update("jax_enable_x64", True)


@jp.pytree
class Exponential(jp.cutoffs.Cutoff):
    radius: jp.leaves.Leaf = jp.positive()
    rate: jp.leaves.Leaf = jp.positive(default=2.0)

    def __call__(self, r):
        x = r / self.radius
        return jnp.where(x < 1, jnp.exp(1 - 1 / (1 - jnp.where(x < 1, x, 0) ** self.rate)), 0)


cutoff = Exponential(4.5)
density = jp.Density(("Si",), cutoff, jp.radial.Chebyshev(5), l_max=3, sigma=None, center_weight=0.0)
soap = jp.SOAP(density)
jp.testing.check_invariance(soap, bulk("Si"))
params, build = jp.free(soap, "*.rate")
by_rate = jax.jacfwd(lambda params: build(params)(jp.from_atoms(bulk("Si"), 4.5)))(params)
print("features answer to the rate:", by_rate["expansion.cutoff.rate"][0, :3].round(4))
r = jnp.linspace(0.01, 5, 200)
plt.plot(r, jax.vmap(cutoff)(r), label="this one")
plt.plot(r, jp.CosineCutoff(4.5)(r), label="cosine")
plt.xlabel("r (Å)")
_ = plt.legend()
