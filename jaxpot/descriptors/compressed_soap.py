"""SOAP with fewer features: products of mixed channels, chosen pairs of them, sums of features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.expansion import Expansion, Invariants
from jaxpot.leaves import OptionalLeaf
from jaxpot.math.linalg import einsum, unit
from jaxpot.math.spherical import by_degree
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class CompressedSOAP(Invariants):
    r"""Some or mixed features of the power spectrum of a neighbour density.

    .. math:: p_{abl} = \sqrt{\frac{8\pi^2}{2l+1}} \sum_m \Big(\sum_q U_{qa} c_{qlm}\Big) \Big(\sum_q V_{qb} c_{qlm}\Big),
       \qquad x = T\, p

    Where V is U, one order of each pair a ≠ b is kept, with √2, as in `SOAP`. All matrices are leaves.

    Args:
      expansion: of the neighbour density, with Q channels.
      first: U, shape [Q, A]; None is the identity.
      second: V, shape [Q, B]; None is U.
      pairs: the (a, b) that are kept; None keeps all.
      weights: factors of the pairs, shape [pairs]; None is 1, and √2 for a ≠ b where V is U.
      transformation: T, shape [F, pairs · (l_max + 1)], l varying fastest; None is the identity.
      normalize: divide by |x|.

    Raises:
      ValueError: for matrices of another shape than the density needs, or pairs of channels that there are not.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO
      >>> density = Density(("C", "H", "O"), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5)
      >>> first, second = sensitivity(3, 4, radial=1, species=1)     # each product sees a radial function and an element once
      >>> CompressedSOAP(density, first, second).n_features
      48

    References:
      Darby, Kermode, Csányi, "Compressing local atomic neighbourhood descriptors", npj Comput. Mater. 8, 166 (2022);
      Darby et al., "Tensor-reduced atomic density representations", Phys. Rev. Lett. 131, 028001 (2023).
    """

    expansion: Expansion
    first: OptionalLeaf = None
    second: OptionalLeaf = None
    pairs: tuple[tuple[int, int], ...] | None = static(default=None)
    weights: OptionalLeaf = None
    transformation: OptionalLeaf = None
    normalize: bool = static(default=True)

    def __post_init__(self):
        for name in ("first", "second"):
            if (given := getattr(self, name)) is not None and (np.ndim(given) != 2 or np.shape(given)[0] != self.expansion.n_channels):
                raise ValueError(f"CompressedSOAP: expected {name} with shape [{self.expansion.n_channels}, channels], got {np.shape(given)}")
        sizes, pairs = self._sizes, self._pairs
        if not pairs.size or np.any(pairs < 0) or np.any(pairs >= np.array(sizes)):
            raise ValueError(f"CompressedSOAP: pairs must be of the channels below {sizes}, at least one")
        if self.weights is not None and np.shape(self.weights) != (len(pairs),):
            raise ValueError(f"CompressedSOAP: expected one weight for each of {len(pairs)} pairs, got {np.shape(self.weights)}")
        needed = len(pairs) * (self.expansion.l_max + 1)
        if self.transformation is not None and (np.ndim(self.transformation) != 2 or np.shape(self.transformation)[1] != needed):
            raise ValueError(f"CompressedSOAP: expected transformation [F, {needed}], got {np.shape(self.transformation)}")

    @property
    def _sizes(self) -> tuple[int, int]:
        """A and B."""
        a = self.expansion.n_channels if self.first is None else self.first.shape[1]
        return a, a if self.second is None else self.second.shape[1]

    @property
    def _pairs(self) -> np.ndarray:
        """[pairs, 2]."""
        if self.pairs is not None:
            return np.array(self.pairs, int).reshape(-1, 2)
        a, b = self._sizes
        return np.stack(np.triu_indices(a) if self.second is None else np.indices((a, b)).reshape(2, -1), axis=1)

    @property
    def n_features(self) -> int:
        return len(self._pairs) * (self.expansion.l_max + 1) if self.transformation is None else self.transformation.shape[0]

    def labels(self) -> tuple[Any, ...]:
        """(a, b, l) of every feature, or its number if features are summed."""
        if self.transformation is not None:
            return tuple(range(self.n_features))
        return tuple((int(a), int(b), l) for a, b in self._pairs for l in range(self.expansion.l_max + 1))

    def of(self, c: Array) -> Array:
        one = c if self.first is None else einsum("qm,qa->am", c, jnp.asarray(self.first, c.dtype))
        other = one if self.second is None else einsum("qm,qb->bm", c, jnp.asarray(self.second, c.dtype))
        a, b = self._pairs.T
        blocks = []
        for first, second in zip(by_degree(one, self.expansion.l_max), by_degree(other, self.expansion.l_max), strict=True):
            product = einsum("am,bm->ab", first, second)
            if self.pairs is None:  # slices, since the transpose of a gather is a scatter
                starts = range(len(product)) if self.second is None else [0] * len(product)
                blocks.append(jnp.concatenate([row[start:] for row, start in zip(product, starts, strict=True)]))
            else:
                blocks.append(product[a, b])
        weights = np.where((a == b) | (self.second is not None), 1.0, np.sqrt(2.0)) if self.weights is None else self.weights
        factors = jnp.asarray(np.sqrt(8 * np.pi**2 / (2 * np.arange(self.expansion.l_max + 1) + 1)), c.dtype)
        x = (jnp.stack(blocks, axis=-1) * jnp.asarray(weights, c.dtype)[:, None] * factors[None, :]).reshape(-1)
        if self.transformation is not None:
            x = einsum("fg,g->f", jnp.asarray(self.transformation, x.dtype), x)
        return unit(x) if self.normalize else x


def sensitivity(n_species: int, n_max: int, *, radial: int, species: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    r"""The `first` and `second` of spectra whose products see radial functions and elements less often than twice.

    What a factor does not see it sums over: with `radial=1` only the first factor has a radial index, with 0 none.

    Args:
      n_species: number of elements.
      n_max: radial functions of each.
      radial: how many of the two factors see the radial function (QUIP: `nu_R`).
      species: how many see the element (QUIP: `nu_S`).

    Returns:
      U and V, shape [n_species · n_max, channels]; (None, None) for the full spectrum.

    Raises:
      ValueError: for numbers other than 0, 1 and 2.

    Example:
      >>> [x.shape for x in sensitivity(3, 4, radial=2, species=1)]
      [(12, 12), (12, 4)]
    """
    if radial not in (0, 1, 2) or species not in (0, 1, 2):
        raise ValueError(f"sensitivity: radial and species must be 0, 1 or 2, got {radial} and {species}")
    seen = [np.kron(*(np.eye(n) if which > factor else np.ones((n, 1)) for n, which in ((n_species, species), (n_max, radial)))) for factor in (0, 1)]
    if radial == species == 2:
        return None, None
    return seen[0], None if 1 not in (radial, species) else seen[1]
