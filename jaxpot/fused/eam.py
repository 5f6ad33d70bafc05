"""Embedded atoms with the cubics of their tables at hand, which all blocks of atoms share."""

import jax
import jax.numpy as jnp

from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.passes import fusing
from jaxpot.potentials.base import FastPotential
from jaxpot.potentials.eam import EAM, cubics
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class CubicEAM(FastPotential):
    """An EAM and the cubics of its tables.

    Args:
      plain: the EAM.
      embedding, density, pair: coefficients of t⁰ … t³ in every interval of its tables, shape [..., n − 1, 4].
    """

    plain: EAM
    embedding: Leaf
    density: Leaf
    pair: Leaf

    def of(self, envs: Environment) -> Array:
        return self.plain.interpolated(envs, self.embedding, self.density, self.pair)


@fusing.rule(EAM)
def _with_cubics(eam: EAM) -> CubicEAM:
    return CubicEAM(eam, *(cubics(jnp.asarray(table)) for table in (eam.embedding, eam.density, eam.pair)))
