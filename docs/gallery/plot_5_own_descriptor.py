"""
A descriptor of one's own
=========================

Coordination numbers of every element. What is written is the mathematics of one atom; the laws are checked in one line.

*Elsewhere*: featomic's tutorial "Adding a new calculator" (`moments.rs`, commit 0f3cc3d) takes 201 lines of Rust for moments of distances, without
the tests; gradients by positions are written by hand, and there are none by the cutoff.
"""

import jax
from ase.build import molecule

import jaxpot as jp
from jaxpot.math.linalg import safe_norm

jax.config.update("jax_enable_x64", True)


@jp.pytree
class Coordination(jp.LocalDescriptor):
    species: tuple[str, ...] = jp.static()
    cutoff: jp.cutoffs.Cutoff

    n_features = property(lambda self: len(self.species))
    reach = property(lambda self: self.cutoff.radius)

    def environment(self, env):
        r = safe_norm(env.vectors)  # [K]
        return self.cutoff(r) @ jax.nn.one_hot(env.species, len(self.species), dtype=r.dtype)


own, ethanol = Coordination(("C", "H", "O"), jp.CosineCutoff(1.8, width=0.5)), molecule("CH3CH2OH")
jp.testing.check(own, ethanol)
print(own(ethanol).round(2))
potential = jp.AtomicPotential(own, jp.MLP((8,)))  # forces, fits and molecular dynamics follow
print(jp.evaluate(potential, ethanol).forces.round(3))
