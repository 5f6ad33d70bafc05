"""The simplest potential that predicts more than the energy and its derivatives, for tests of what is done with observables."""

import jax
import jax.numpy as jnp

import jaxpot


@jaxpot.pytree
class Charged(jaxpot.Potential):
    """Argon atoms that push each other and draw charge from each other, and the dipole of these charges."""

    strength: jax.Array
    pull: jax.Array
    species = ("Ar",)
    reach = jnp.asarray(4.0)

    def near(self, graph):
        """How near any two atoms are, [N, N]."""
        both = (graph.numbers > 0)[:, None] & (graph.numbers > 0)[None, :] & ~jnp.eye(len(graph.numbers), dtype=bool)
        between = graph.positions[:, None] - graph.positions[None]
        return jnp.where(both, jnp.exp(-0.1 * jnp.sum(between**2, axis=-1)), 0)

    def energies(self, graph):
        return self.strength * jnp.sum(self.near(graph), axis=1)

    def charges(self, graph):
        near, real = jnp.sum(self.near(graph), axis=1), graph.numbers > 0
        return self.pull * jnp.where(real, near - jnp.sum(near) / jnp.sum(real), 0)

    def more(self, graph):
        charges = self.charges(graph)
        return jaxpot.Properties(charges=charges, dipole=charges @ graph.positions)
