"""
Radial functions and a cutoff of one's own
==========================================

Every real number of a class is a leaf: it can be differentiated, moved by evidence and trained. The density smears the functions by quadrature.

*Elsewhere*: featomic takes radial functions from a class of `RadialBasis` with `compute_primitive`, which `SoapSpliner` puts into splines (its
reference, 0.6); their parameters have no derivatives, and cutoffs are two, `Step` and `ShiftedCosine`. Its splines and one derivative, by the length,
as a difference take 20 lines and 2.5 s of processor time (0.6.7); both derivatives and the check of symmetries here 22 s, of which compilation is
most (`experiments/benchmarks/gallery.py`).
"""

import jax
import jax.numpy as jnp
from ase.build import bulk

import jaxpot as jp

jax.config.update("jax_enable_x64", True)


@jp.pytree
class Ending(jp.cutoffs.Cutoff):
    radius: jp.leaves.Leaf = jp.positive()

    def __call__(self, r):
        return jnp.maximum(1 - (r / self.radius) ** 2, 0) ** 3


@jp.pytree
class Decays(jp.radial.Radial):
    n_max: int = jp.static()
    length: jp.leaves.Leaf = jp.positive()

    def __call__(self, r, radius):
        return jnp.exp(-r[..., None] * jnp.arange(self.n_max) / self.length)


soap = jp.SOAP(jp.Density(("Si",), Ending(4.5), Decays(4, length=3.0), l_max=3, sigma=0.5))
jp.testing.check_invariance(soap, bulk("Si"))
params, build = jp.free(soap, "*.cutoff.radius", "*.length")
print(jax.jit(jax.grad(lambda params: build(params)(jp.from_atoms(bulk("Si"), 4.5)).sum()))(params))
