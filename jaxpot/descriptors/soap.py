"""SOAP: smooth overlap of atomic positions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.density import Density, power_spectrum
from jaxpot.graph import Environment
from jaxpot.math.linalg import unit
from jaxpot.pytree import pytree, set_fields, static

Array = jax.Array


@pytree
class SOAP(LocalDescriptor):
    r"""The power spectrum of the neighbour density.

    .. math:: \mathbf p \cdot \mathbf p' = \int dR \left| \int \rho(\mathbf r)\, \rho'(R \mathbf r)\, d\mathbf r \right|^2

    Args:
      density: the neighbour density.
      normalize: divide by |p|, so that p·p = 1. With `center_weight` 0 an atom without neighbours has p = 0, and the normalised
        spectrum then jumps when the last neighbour leaves; give the centre a weight, as all codes do by default.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, from_atoms
      >>> from ase.build import bulk
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> soap(from_atoms(bulk("Si"), cutoff=4.0)).shape
      (2, 40)

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    density: Density
    normalize: bool = static(True)

    @property
    def species(self) -> tuple[str, ...]:
        return self.density.species

    @property
    def reach(self) -> Array:
        return self.density.reach

    @property
    def n_features(self) -> int:
        q = self.density.n_channels
        return (self.density.l_max + 1) * q * (q + 1) // 2

    def at(self) -> "SOAP":
        return set_fields(self, density=self.density.at())

    def labels(self) -> tuple[tuple[int, int, int], ...]:
        """(q, q', l) of every feature, where q = channel · n_max + n."""
        pairs = zip(*np.triu_indices(self.density.n_channels), strict=True)
        return tuple((int(a), int(b), l) for a, b in pairs for l in range(self.density.l_max + 1))

    def environment(self, env: Environment) -> Array:
        return self._invariants(self.density(env))

    def _invariants(self, coefficients: Array) -> Array:
        p = power_spectrum(coefficients, self.density.l_max)
        return unit(p) if self.normalize else p

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        coefficients, jacobian = self.density.with_jacobian(env)
        value, push = jax.linearize(self._invariants, coefficients)
        return value, jnp.moveaxis(jax.vmap(jax.vmap(push))(jacobian), -1, 0)
