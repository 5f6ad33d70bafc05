"""The atomic cluster expansion without self-interaction."""

import itertools
from collections.abc import Iterator
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.ace import ACE, coupled
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.density import NeighborDensity, product
from jaxpot.descriptors.products import Selection
from jaxpot.graph import Environment
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class PurifiedACE(LocalDescriptor):
    r"""ACE with sums over distinct neighbours only, so that products of ν factors vanish for fewer than ν neighbours.

    .. math:: A^{pure}_{v_1 \dots v_\nu} = \sum_{j_1 \ne \dots \ne j_\nu} \prod_t \phi_{v_t}(\mathbf r_{j_t})

    The span is that of `ACE` up to truncation; many times slower, for analysis.

    Args:
      expansion: a sharp density, `Density(..., sigma=None, center_weight=0.0)` or `BondDensity`.
      selection: as for `ACE`, and so are lam and pseudo.

    Raises:
      ValueError: for a smeared density, and as `ACE`.

    Example:
      >>> from jaxpot import Density, TotalDegree
      >>> from jaxpot.cutoffs import PowerCutoff
      >>> from jaxpot.radial import Agnesi
      >>> density = Density(("Si",), PowerCutoff(5.0), Agnesi(3, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
      >>> PurifiedACE(density, TotalDegree((2, 2))).n_features
      8

    References:
      Ho, Gutleb, Ortner, "Atomic cluster expansion without self-interaction", J. Comput. Phys. 515, 113271 (2024).
    """

    expansion: NeighborDensity
    selection: Selection
    lam: int = static(default=0, most=50)
    pseudo: bool = static(default=False)

    def __post_init__(self):
        self._ace()  # which refuses what ACE does
        if getattr(self.expansion, "sigma", None) is not None or hasattr(self.expansion, "sigma_angular"):
            raise ValueError("PurifiedACE: it is defined for a sharp density; write Density(..., sigma=None, center_weight=0.0)")

    def _ace(self) -> ACE:
        return ACE(self.expansion, self.selection, self.lam, self.pseudo)

    @property
    def species(self) -> tuple[str, ...]:
        return self.expansion.species

    @property
    def reach(self) -> Array:
        return self.expansion.reach

    @property
    def n_features(self) -> int:
        return self._ace().n_features

    def labels(self) -> tuple[tuple, ...]:
        return self._ace().labels()

    def smoothness(self, power: float = 2.0, order: float = 1.0) -> np.ndarray:
        """As of `ACE`, shape [F]."""
        return self._ace().smoothness(power, order)

    def environment(self, env: Environment) -> Array:
        """By inversion over the set partitions of the factors."""
        ace = self._ace()
        program = ace.program()
        channels, harmonics = self.expansion.factors(env)
        contributions = jax.vmap(lambda a, y: product(a[None], y[None]))(channels, harmonics)  # [K, Q, L]
        phi = contributions.reshape(len(env.mask), -1)[:, program.density]
        out = []
        for monomials in program.monomials:
            total = 0.0
            for partition in _set_partitions(tuple(range(monomials.shape[1]))):
                term = 1.0
                for block in partition:
                    sign = (-1) ** (len(block) - 1) * factorial(len(block) - 1)
                    term = term * sign * jnp.sum(jnp.prod(phi[:, monomials[:, list(block)]], axis=-1), axis=0)
                total = total + term
            out.append(total)
        return coupled(program, jnp.concatenate(out), ace.tail)


def _set_partitions(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for chosen in itertools.combinations(rest, size):
            for others in _set_partitions(tuple(i for i in rest if i not in chosen)):
                yield ((first, *chosen), *others)
