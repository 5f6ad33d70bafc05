"""Stillinger–Weber in which angles far from the ideal one do not count, for layers with several of them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.angles import AngularPotential, of_angles, over_angles
from jaxpot.potentials.stillinger_weber import StillingerWeber, bonds
from jaxpot.trees import leaf, pytree

Array = jax.Array


@pytree
class ModifiedStillingerWeber(AngularPotential):
    r"""Stillinger–Weber with angles switched off far from the ideal one, LAMMPS's `sw/mod`.

    As `StillingerWeber`, with x = cos θ_jik − c replaced by

    .. math:: x f(|x|), \qquad f(y) = \tfrac12 + \tfrac12 \cos\left(\pi \frac{y - \delta_1}{\delta_2 - \delta_1}\right)
       \quad (\delta_1 < y < \delta_2), \text{ 1 before, 0 behind}

    LAMMPS leaves the derivative of f out of its forces; here they are the derivatives of the energy.

    Args:
      plain: the potential without the switch.
      first, last: δ_1 and δ_2, shape [].

    Raises:
      ValueError: unless 0 ≤ δ_1 < δ_2.

    Example:
      >>> pairs = {"A": 7.049556277, "B": 0.6022245584, "p": 4.0, "q": 0.0}
      >>> plain = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, **pairs)
      >>> float(ModifiedStillingerWeber(plain, first=0.25, last=0.35).reach) == float(plain.reach)
      True

    References:
      Jiang, "Misfit strain-induced buckling for transition-metal dichalcogenide lateral heterostructures: A molecular dynamics study",
      Acta Mech. Solida Sin. 32, 17 (2019); LAMMPS documentation of pair_style sw/mod.
    """

    plain: StillingerWeber
    first: Leaf = leaf(default=0.25)
    last: Leaf = leaf(default=0.35)

    def __post_init__(self):
        if is_concrete(self.first) and is_concrete(self.last) and not 0 <= np.asarray(self.first) < np.asarray(self.last):
            raise ValueError(f"ModifiedStillingerWeber: expected 0 ≤ first < last, got {self.first} and {self.last}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.plain.species

    @property
    def reach(self) -> Array:
        return self.plain.reach

    def tables(self) -> dict[str, Array]:
        return self.plain.tables()

    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        pair, weight, unit = bonds(table, env)
        x = einsum("jx,kx->jk", unit, unit) - of_angles(table["cosine"], env)
        switch = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip((jnp.abs(x) - self.first) / (self.last - self.first), 0, 1))
        return pair + over_angles(weight, of_angles(table["lam"], env) * of_angles(table["epsilon"], env) * (x * switch) ** 2)
