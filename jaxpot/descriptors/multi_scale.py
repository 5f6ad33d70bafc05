"""Products of two expansions, such as a density and a far field: what is near an atom in the potential of what is far."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.expansion import Expansion, Invariants
from jaxpot.math.linalg import einsum
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class MultiScale(Invariants):
    r"""Rotation invariants of one factor from each of two expansions.

    .. math:: p_{qq'l} = \sqrt{\frac{8\pi^2}{2l+1}} \sum_m c_{qlm}\, C_{q'lm}

    Of a density c and the potential C of all atoms around the same centre, `jaxpot.longrange.LODE` with p = 1, a linear model is the
    electrostatic energy of multipoles up to l_max that the near atoms make, in the field of all. Degrees go up to the lower of both l_max.

    Args:
      near: an expansion, such as `Density`.
      far: another one, such as `jaxpot.longrange.LODE`.

    Raises:
      TypeError: for what is no expansion.
      ValueError: for expansions of different species.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot import CosineCutoff, Density, GTO, from_atoms
      >>> from jaxpot.longrange import LODE, AllPairs
      >>> density = Density(("H", "O"), CosineCutoff(3.0), GTO(n_max=2), l_max=2, sigma=0.3)
      >>> far = LODE(("H", "O"), 3.0, GTO(n_max=2), l_max=2, sigma=0.5, sum=AllPairs())
      >>> jax.eval_shape(MultiScale(density, far), from_atoms(molecule("H2O"), cutoff=3.0)).shape
      (3, 48)

    References:
      Grisafi, Nigam, Ceriotti, "Multi-scale approach for the prediction of atomic scale properties", Chem. Sci. 12, 2078 (2021).
    """

    near: Expansion
    far: Expansion

    def __post_init__(self):
        for expansion in self.expansions:
            if not isinstance(expansion, Expansion):
                raise TypeError(f"MultiScale: expected two expansions such as a Density and a LODE, got {type(expansion).__name__}")
        if tuple(self.near.species) != tuple(self.far.species):
            raise ValueError(f"MultiScale: the expansions have species {self.near.species} and {self.far.species}; write both with the same")

    @property
    def expansions(self) -> tuple[Expansion, ...]:
        return self.near, self.far

    @property
    def l_max(self) -> int:
        """The highest degree that both have."""
        return min(expansion.l_max for expansion in self.expansions)

    @property
    def n_features(self) -> int:
        return self.near.n_channels * self.far.n_channels * (self.l_max + 1)

    def labels(self) -> tuple[tuple[int, int, int], ...]:
        """(q, q', l) of every feature, where q = channel · n_max + n."""
        return tuple(map(tuple, np.indices((self.near.n_channels, self.far.n_channels, self.l_max + 1)).reshape(3, -1).T.tolist()))

    def of(self, near: Array, far: Array) -> Array:
        blocks = []
        for l in range(self.l_max + 1):
            span = slice(l * l, (l + 1) ** 2)
            blocks.append(einsum("qm,pm->qp", near[:, span], far[:, span]) * np.sqrt(8 * np.pi**2 / (2 * l + 1)).astype(near.dtype))
        return jnp.stack(blocks, axis=-1).reshape(-1)
