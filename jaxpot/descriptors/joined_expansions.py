"""Expansions side by side: of what is near and of what is far, whose products are then all that two of them make."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import atoms_at_once, block_size, map_blocks
from jaxpot.descriptors.expansion import Expansion, GraphExpansion, LocalExpansion
from jaxpot.graph import Graph, environments
from jaxpot.trees import pytree

Array = jax.Array


@pytree
class JoinedExpansions(GraphExpansion):
    r"""The channels of several expansions around the same centres, one after the other, up to the lowest of their l_max.

    What multiplies coefficients then multiplies all with all: of a density and the potential of all atoms, `SOAP`, `LambdaSOAP` and `ACE` make
    near times near, near times far and far times far, of any order and degree. (`MultiScale` has near times far alone, for scalars.)

    Args:
      parts: expansions of the same species, such as a `Density` and a `jaxpot.longrange.LODE`.

    Raises:
      ValueError: for none, or for parts of different species.
      TypeError: for what is no expansion.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot import CosineCutoff, Density, GTO, from_atoms
      >>> from jaxpot.descriptors import LambdaSOAP
      >>> from jaxpot.longrange import LODE, AllPairs
      >>> density = Density(("H", "O"), CosineCutoff(3.0), GTO(n_max=2), l_max=2, sigma=0.3)
      >>> far = LODE(("H", "O"), 3.0, GTO(n_max=2), l_max=2, sigma=0.5, sum=AllPairs())
      >>> dipole = LambdaSOAP(JoinedExpansions((density, far)), lam=1)
      >>> jax.eval_shape(dipole, from_atoms(molecule("H2O"), cutoff=3.0)).shape
      (3, 128, 3)

    References:
      Grisafi, Nigam, Ceriotti, "Multi-scale approach for the prediction of atomic scale properties", Chem. Sci. 12, 2078 (2021).
    """

    parts: tuple[Expansion, ...]

    def __post_init__(self):
        if not isinstance(self.parts, tuple | list) or not self.parts:
            raise ValueError(f"JoinedExpansions: expected a tuple of expansions, got {self.parts!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        for part in self.parts:
            if not isinstance(part, Expansion):
                raise TypeError(f"JoinedExpansions: expected expansions such as a Density and a LODE, got {type(part).__name__}")
        if len(found := dict.fromkeys(tuple(part.species) for part in self.parts)) > 1:
            raise ValueError(f"JoinedExpansions: parts have species {' and '.join(map(str, found))}; give all of them the same, in one order")

    @property
    def species(self) -> tuple[str, ...]:
        return self.parts[0].species

    @property
    def l_max(self) -> int:
        return min(part.l_max for part in self.parts)

    @property
    def n_channels(self) -> int:
        return sum(part.n_channels for part in self.parts)

    @property
    def n_max(self) -> int:
        """That of the parts if all have the same, so that a channel remains one; else all channels are one."""
        found = {part.n_max for part in self.parts}
        return found.pop() if len(found) == 1 else self.n_channels

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [jnp.asarray(part.reach) for part in self.parts])

    def coefficients(self, graph: Graph) -> Array:
        stack = environments(graph, self.reach, self.species)

        def of(part: Expansion) -> Array:
            if isinstance(part, LocalExpansion):
                found = map_blocks(jax.vmap(part.of), stack, atoms_at_once(block_size(part, stack.mask.shape[1])))
            else:
                found = part.coefficients(graph)
            return found[:, :, : (self.l_max + 1) ** 2]

        return jnp.concatenate([of(part) for part in self.parts], axis=1)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return tuple(cause for part in self.parts if isinstance(part, GraphExpansion) for cause in part.causes(graph))
