"""The cheapest descriptor there is, for tests of what is done with descriptors."""

import jax
import jax.numpy as jnp

from jaxpot import CosineCutoff, LocalDescriptor, positive, pytree, static
from jaxpot.math.linalg import einsum, safe_norm


@pytree
class Shells(LocalDescriptor):
    """Gaussians of the distance, one set for every element: the cheapest descriptor there is."""

    species: tuple = static()
    width: jax.Array = positive()
    centers: jax.Array
    cutoff: CosineCutoff

    @property
    def n_features(self):
        return len(self.species) * len(self.centers)

    @property
    def reach(self):
        return jnp.asarray(self.cutoff.radius)

    def environment(self, env):
        r = safe_norm(env.vectors)
        kind = jax.nn.one_hot(env.species, len(self.species), dtype=r.dtype) * self.cutoff(r)[:, None]
        shells = jnp.exp(-(((r[:, None] - jnp.asarray(self.centers)[None]) / self.width) ** 2))
        return einsum("ks,kc->sc", kind, shells.astype(r.dtype)).reshape(-1)
