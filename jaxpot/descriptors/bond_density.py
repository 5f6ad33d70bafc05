"""The neighbour density with radial functions of its own for every pair of elements: the atomic base of PACE."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.math.spherical import spherical_harmonics
from jaxpot.radial.pace import PaceBasis, of_pairs
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class BondDensity(NeighborDensity):
    r"""Coefficients of a sharp neighbour density whose radial functions depend on the elements of both atoms.

    .. math:: c_{z n l m} = \sum_{j \in z} g^{z_i z}_n(r_j)\, Y_{lm}(\hat{\mathbf r}_j), \qquad\text{and, before them, }
       \sum_{j \in z} \sum_k W^{z_i z}_{l k n}\, g^{z_i z}_k(r_j)\, Y_{lm}(\hat{\mathbf r}_j)

    Every number is a leaf. Those of the radial functions are the same for all pairs, shape [], or one for each, shape [S, S], the
    centre's element first.

    Args:
      species: chemical symbols of neighbours and centres.
      radius: where the radial functions end, in Å, shape [] or [S, S].
      radial: `ChebExpCos`, `ChebPow`, `ChebLinear`, `SBessel`, `RadialTable`, or one of them in an `InnerCutoff`; or a tuple of several with one n_max.
      l_max: highest degree, included.
      kinds: of several, which one every pair has, S tuples of S numbers.
      mixing: W, trainable radial functions, shape [S, S, l_max + 1, n_max of the basis, n]; in products their numbers are 0 … n − 1, and those
        of the functions g follow.

    Raises:
      ValueError: for unknown species, a negative l_max, tables of a wrong shape, or kinds that do not fit the radial functions.
      TypeError: for radial functions that do not end by themselves.

    Example:
      >>> from jaxpot.radial.pace import ChebExpCos
      >>> radius = np.array([[4.0, 4.5], [4.5, 5.0]])
      >>> BondDensity(("C", "Si"), radius, ChebExpCos(6, lam=3.0), l_max=3).n_channels
      12

    References:
      Drautz, "Atomic cluster expansion for accurate and transferable interatomic potentials", Phys. Rev. B 99, 014104 (2019);
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    species: tuple[str, ...] = static()
    radius: Leaf = positive(shape="[] or [S, S]", high=1e4)
    radial: PaceBasis | tuple[PaceBasis, ...]
    l_max: int = static(most=50)
    kinds: tuple[tuple[int, ...], ...] | None = static(default=None)
    mixing: OptionalLeaf = None

    def __post_init__(self):
        species_tuple(self.species, "BondDensity")
        s, bases = len(self.species), self._bases
        if not (isinstance(self.l_max, int) and self.l_max >= 0):
            raise ValueError(f"BondDensity: l_max must be a non-negative integer, got {self.l_max!r}")
        for basis in bases:
            if not isinstance(basis, PaceBasis):
                raise TypeError(f"BondDensity: expected radial functions such as ChebExpCos(8, lam=3.0), got {type(basis).__name__}")
        if len({basis.n_max for basis in bases}) > 1:
            raise ValueError(f"BondDensity: all radial functions must have one n_max, got {[basis.n_max for basis in bases]}")
        kinds = np.array(self.kinds) if self.kinds is not None else None
        if (len(bases) > 1) != (kinds is not None):
            raise ValueError("BondDensity: kinds says which of several radial bases every pair has; give both or neither")
        if kinds is not None and (kinds.shape != (s, s) or not np.all(np.isin(kinds, np.arange(len(bases))))):
            raise ValueError(f"BondDensity: kinds must be {s} tuples of {s} numbers below {len(bases)}, got {self.kinds}")
        def check(leaf):
            if np.shape(leaf) not in ((), (s, s)):
                raise ValueError(f"BondDensity: the radius and all numbers of radial functions must have shape [] or [{s}, {s}], got {np.shape(leaf)}")
            return leaf

        check(self.radius)
        for basis in bases:
            of_pairs(basis, check)
        shape = (s, s, self.l_max + 1, bases[0].n_max)
        if self.mixing is not None and np.shape(self.mixing)[:-1] != shape:
            raise ValueError(f"BondDensity: mixing must have shape {[*shape, 'n']}, got {np.shape(self.mixing)}")

    @property
    def _bases(self) -> tuple[PaceBasis, ...]:
        return self.radial if isinstance(self.radial, tuple) else (self.radial,)

    @property
    def n_mixed(self) -> int:
        return 0 if self.mixing is None else self.mixing.shape[-1]

    @property
    def n_max(self) -> int:
        return self.n_mixed + self._bases[0].n_max

    @property
    def n_channels(self) -> int:
        return len(self.species) * self.n_max

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.radius))

    def _of_pair(self, value: Array, env: Environment, dtype: Any) -> Array:
        """A number of every neighbour's pair, [K], or of all."""
        value = jnp.asarray(value, dtype)
        if value.ndim == 0 or value.shape == (1, 1):
            return value.reshape(())
        return value[env.center][env.species]

    def _radial(self, env: Environment) -> Array:
        """g of every neighbour, shape [K, n]."""
        r = safe_norm(env.vectors)
        radius, values = self._of_pair(self.radius, env, r.dtype), None
        for i, basis in enumerate(self._bases):
            own = of_pairs(basis, lambda leaf: self._of_pair(leaf, env, r.dtype))
            functions = own(r, radius)
            is_kind = i if values is None else jnp.asarray(np.array(self.kinds) == i)[env.center][env.species]
            values = functions if values is None else jnp.where(is_kind[:, None], functions, values)
        return values

    def _by_element(self, env: Environment, values: Array) -> Array:
        """Values [K, ..., n] of the neighbours, in the columns of their elements, [K, ..., S, n]."""
        if len(self.species) == 1:
            return values[..., None, :]
        own = jax.nn.one_hot(env.species, len(self.species), dtype=values.dtype)
        return own.reshape(len(own), *(1,) * (values.ndim - 2), -1, 1) * values[..., None, :]

    def _mixing_of(self, center: Array, dtype: Any) -> Array:
        """W of this centre, [S, L, k, n]."""
        table = jnp.asarray(self.mixing, dtype)
        return table[0] if len(self.species) == 1 else table[center]

    def factors(self, env: Environment) -> tuple[Array, Array]:
        radial = self._radial(env)
        columns = radial[:, None, :]
        if self.mixing is not None:
            table = self._mixing_of(env.center, radial.dtype)
            mixed = einsum("kb,lbn->kln", radial, table[0]) if len(table) == 1 else einsum("kb,klbn->kln", radial, table[env.species])
            columns = jnp.concatenate([mixed, jnp.broadcast_to(columns, (*mixed.shape[:2], radial.shape[1]))], axis=-1)
        return self._by_element(env, columns).reshape(*columns.shape[:2], -1), spherical_harmonics(env.vectors, self.l_max)

    def of(self, env: Environment) -> Array:
        # neighbours carry the functions g alone; they are mixed in the sum
        radial = self._radial(env)
        s, n = len(self.species), radial.shape[1]
        plain = einsum("kq,km->qm", self._by_element(env, radial).reshape(-1, s * n), spherical_harmonics(env.vectors, self.l_max)).reshape(s, n, -1)
        if self.mixing is None:
            return plain.reshape(s * n, -1)
        table = self._mixing_of(env.center, radial.dtype)
        blocks = [einsum("sbm,sbn->snm", plain[:, :, l * l : (l + 1) ** 2], table[:, l]) for l in range(self.l_max + 1)]
        return jnp.concatenate([jnp.concatenate(blocks, axis=2), plain], axis=1).reshape(s * self.n_max, -1)
