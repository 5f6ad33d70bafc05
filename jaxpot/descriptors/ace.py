"""The atomic cluster expansion: products of any number of densities, coupled to invariants or equivariants."""

import itertools
from collections.abc import Iterator
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import LocalDescriptor, own_species
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.descriptors.products import Listed, PerOrder, Program, Selection, build_program
from jaxpot.graph import Environment
from jaxpot.math.linalg import einsum
from jaxpot.pytree import fields, pytree, set_fields, static

Array = jax.Array

_PRODUCTS_AT_ONCE = 450_000  # that fit the cache; below 16 atoms vector instructions run empty


def _set_partitions(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for chosen in itertools.combinations(rest, size):
            for others in _set_partitions(tuple(i for i in rest if i not in chosen)):
                yield ((first, *chosen), *others)


@pytree
class ACE(LocalDescriptor):
    r"""Coupled products of density coefficients: a linear basis of functions of ν + 1 bodies.

    .. math:: A_v = c_{q l m}, \qquad B^{(r)}_{\mathbf v, M} = \sum_{m_1 \dots m_\nu} C^{(r)}_{M, m_1 \dots m_\nu} \prod_{t=1}^{\nu} A_{v_t}

    for every tuple of (q, l) that the selection lets in, with the independent, permutation-symmetric couplings of
    `jaxpot.math.coupling.couplings`. Products are evaluated recursively, one multiplication each.

    Many species: channels of the density multiply in all combinations (one-hot, or fewer alchemical ones through
    `Density.channels`); with `Density.mixing` and `tensor_reduced` only equal channels multiply, so that the number of functions
    grows in proportion to the number of channels and not at all with that of elements.

    Args:
      density: usually sharp, `Density(..., sigma=None, center_weight=0.0)` or `BondDensity`; Gaussian-smeared ones work as well.
      selection: `TotalDegree`, `PerOrder` or `Listed`.
      lam: degree L of the result; 0 gives invariants.
      pseudo: whether the result changes sign under inversion other than (−1)^L; lam=0 then gives pseudoscalars, which see
        chirality.
      tensor_reduced: multiply equal channels only. The radial index is then part of the channel and counts as 0 in the selection.
      purified: sum over distinct neighbours only, so that products of ν factors vanish for fewer than ν neighbours. The span is the
        same up to truncation; many times slower, for analysis.

    Raises:
      ValueError: if the selection lets in nothing, or asks for radial functions or degrees that the density does not have.

    Example:
      >>> from jaxpot import Agnesi, Density, PowerCutoff, TotalDegree
      >>> density = Density(("Si",), PowerCutoff(5.0), Agnesi(6, nearest=2.35), l_max=4, sigma=None, center_weight=0.0)
      >>> ACE(density, TotalDegree((5, 5, 5))).n_features
      61

    References:
      Drautz, "Atomic cluster expansion for accurate and transferable interatomic potentials", Phys. Rev. B 99, 014104 (2019);
      Dusson et al., "Atomic cluster expansion: completeness, efficiency and stability", J. Comput. Phys. 454, 110946 (2022);
      Darby et al., "Tensor-reduced atomic density representations", Phys. Rev. Lett. 131, 028001 (2023);
      Ho, Gutleb, Ortner, "Atomic cluster expansion without self-interaction", J. Comput. Phys. 515, 113271 (2024).
    """

    density: NeighborDensity
    selection: Selection
    lam: int = static(0, most=50)
    pseudo: bool = static(False)
    tensor_reduced: bool = static(False)
    purified: bool = static(False)

    def __post_init__(self):
        if not isinstance(self.density, NeighborDensity):
            raise TypeError(f"ACE: expected a Density or BondDensity, got {type(self.density).__name__}")
        if not isinstance(self.selection, Selection):
            raise TypeError(f"ACE: expected a selection such as TotalDegree((12, 10, 8)), got {type(self.selection).__name__}")
        if not (isinstance(self.lam, int) and self.lam >= 0):
            raise ValueError(f"ACE: lam must be an integer ≥ 0, got {self.lam!r}")
        if self.purified and self.tensor_reduced:
            raise ValueError("ACE: a purified basis multiplies all channels; leave out tensor_reduced=True")
        if isinstance(self.selection, PerOrder):
            n_max = 1 if self.tensor_reduced else self.density.n_max
            if max(self.selection.n_max) > n_max:
                raise ValueError(f"ACE: the selection asks for n_max = {max(self.selection.n_max)}, there are {n_max} to multiply")
            if max(self.selection.l_max) > self.density.l_max:
                raise ValueError(f"ACE: the selection asks for l_max = {max(self.selection.l_max)}, the density has {self.density.l_max}")
        if isinstance(self.selection, Listed):
            channels, l_max = (max(factor[i] for product in self.selection.products for factor in product) for i in (0, 1))
            if channels >= (1 if self.tensor_reduced else self.density.n_channels) or l_max > self.density.l_max:
                raise ValueError(
                    f"ACE: the list has factors up to (q, l) = ({channels}, {l_max}), the density has {self.density.n_channels} channels and "
                    f"l_max = {self.density.l_max}" + (", of which tensor_reduced=True multiplies equal ones: q = 0" if self.tensor_reduced else "")
                )
        if self.purified and not self.density.is_sharp:
            raise ValueError("ACE: a purified basis is defined for a sharp density; write Density(..., sigma=None, center_weight=0.0)")
        if isinstance(self.selection, Listed):
            made = {tuple(sorted(map(tuple, factors.tolist()))) for block in self._program.blocks for factors in block.factors}
            lost = [product for product in self.selection.products if tuple(sorted(product)) not in made]
            if lost:
                raise ValueError(f"ACE: nothing of the product {lost[0]} has lam = {self.lam}, pseudo = {self.pseudo}; leave it out of the list")
        if not self._program.blocks:
            raise ValueError(f"ACE: the selection {self.selection} lets in no function with lam = {self.lam}, pseudo = {self.pseudo}")

    @property
    def _program(self) -> Program:
        return self._make_program(False)

    def _make_program(self, with_slopes: bool) -> Program:
        n_max = 1 if self.tensor_reduced else self.density.n_max
        channels = 1 if self.tensor_reduced else self.density.n_channels // n_max
        values = tuple((name, value) for name, value, _ in fields(self.selection))
        return build_program(type(self.selection), values, n_max, self.density.l_max, channels, self.lam, self.pseudo, with_slopes)

    @property
    def _copies(self) -> int:
        return self.density.n_channels if self.tensor_reduced else 1

    @property
    def species(self) -> tuple[str, ...]:
        return self.density.species

    @property
    def reach(self) -> Array:
        return self.density.reach

    @property
    def n_features(self) -> int:
        return self._copies * sum(len(b.factors) * b.table.shape[0] for b in self._program.blocks)

    def at(self) -> "ACE":
        return set_fields(self, density=self.density.at())

    def block(self, n_neighbors: int) -> int:
        n_products = self._copies * (len(self._program.density) + sum(len(left) for left, _ in self._program.levels))
        block = super().block(n_neighbors)
        while block > 16 and block * n_products > _PRODUCTS_AT_ONCE:
            block //= 2
        return block

    def labels(self) -> tuple[tuple, ...]:
        """(((q, l), …), r) of every function: its factors, q = channel · n_max + n, and the number of its coupling.

        With `tensor_reduced`, (channel, (l, …), r).
        """
        own = [(tuple((int(q), int(l)) for q, l in t), r) for b in self._program.blocks for t in b.factors for r in range(b.table.shape[0])]
        if not self.tensor_reduced:
            return tuple(own)
        return tuple((k, tuple(l for _, l in t), r) for k in range(self._copies) for t, r in own)

    def smoothness(self, power: float = 2.0, order: float = 1.0) -> np.ndarray:
        r"""How much rougher than the first every function is, shape [F], for the prior of `Linear(roughness=...)`.

        .. math:: \gamma = c^{\,\nu - 1} \Bigl(1 + \sum_t (n_t + w\, l_t)\Bigr)^{p}

        with ν factors and with w of the selection (1 for `PerOrder`).

        Args:
          power: p; 0 makes all degrees equal.
          order: c, by how much every further factor makes a function rougher; 1 makes all orders equal. A larger one expects that the
            body-order expansion converges, without which data of one coordination say nothing about another.
        """
        weight = getattr(self.selection, "weight", 1.0)
        n_max = self.density.n_max
        products = [t for b in self._program.blocks for t in b.factors for _ in range(b.table.shape[0])]
        totals = np.array([sum(q % n_max + weight * l for q, l in t) for t in products])
        orders = np.array([len(t) for t in products])
        return np.tile(order ** (orders - 1.0) * (1 + totals) ** power, self._copies)

    def environment(self, env: Environment) -> Array:
        return self.stack(jax.tree_util.tree_map(lambda x: x[None], env))[0]

    def stack(self, envs: Environment) -> Array:
        if self.purified:
            density = self.density.at()
            return jax.vmap(lambda env: self._finished(self._pure_products(density, env)))(envs)
        functions = jnp.moveaxis(self._finished(self._products_of(envs)), -1, 0)
        return functions.reshape(envs.center.shape[0], self.n_features, *self._tail)

    def _products_of(self, envs: Environment) -> Array:
        """All products, [products, n] with the copies of a tensor-reduced basis beside the atoms: every product reads and writes whole rows."""
        coefficients = jax.vmap(self.density.at())(envs)
        rows = jnp.moveaxis(coefficients.reshape(len(coefficients) * self._copies, -1), 0, -1)
        return self._products(rows[self._program.density], self._program)

    def dot(self, envs: Environment, coefficients: Array) -> Array:
        """As in the interface; the couplings are applied to the coefficients instead of every atom's products."""
        if self.purified or self.tensor_reduced:
            return super().dot(envs, coefficients)
        products = self._products_of(envs)
        decoupled = jax.linear_transpose(self._finished, jax.ShapeDtypeStruct(products.shape[:1], coefficients.dtype))
        by_species = einsum("sp,pn->sn", jnp.stack([decoupled(row)[0] for row in coefficients]), products)
        return einsum("ns,sn->n", own_species(envs, coefficients), by_species)

    @property
    def _tail(self) -> tuple[int, ...]:
        return (2 * self.lam + 1,) if self.lam or self.pseudo else ()

    def _products(self, densities: Array, program: Program) -> Array:
        # without the barriers XLA computes a product anew wherever it is used
        values = jax.lax.optimization_barrier(densities)
        for left, right in program.levels:
            values = jax.lax.optimization_barrier(jnp.concatenate([values, values[left] * values[right]]))
        return values

    def _finished(self, values: Array, program: Program | None = None) -> Array:
        """Functions from products: [n] -> [F] or [F, 2L + 1]; trailing axes ride along."""
        program, out = program or self._program, []
        sizes = [len(b.factors) * b.table.shape[2] for b in program.blocks]
        spans = {b.first: b.first + size for b, size in zip(program.blocks, sizes, strict=True) if np.ndim(b.first) == 0}
        # cut once: the transpose of a cut is one concatenation, that of many slices is a sum of as many arrays of full size
        cuts = sorted({0, len(values), *spans, *spans.values()})
        parts = dict(zip(cuts[:-1], jax.lax.split(values, np.diff(cuts).tolist()), strict=True))
        for block in program.blocks:
            t, n = len(block.factors), block.table.shape[2]
            products = parts[block.first] if np.ndim(block.first) == 0 else values[block.first]
            table = jnp.asarray(block.table, values.dtype)
            coupled = einsum("tn...,rmn->trm...", products.reshape(t, n, *values.shape[1:]), table)
            out.append(coupled.reshape(-1, *coupled.shape[2:]))
        functions = jnp.concatenate(out)
        return functions if self._tail else functions[:, 0]

    def _pure_products(self, density: NeighborDensity, env: Environment) -> Array:
        """Products over distinct neighbours, by inversion over the set partitions of the factors."""
        one = lambda v, s: density.summed(env.replace(vectors=v[None], species=s[None]))  # noqa: E731
        contributions = jax.vmap(one)(env.vectors, env.species)  # [K, Q, L]
        phi = contributions.reshape(len(env.mask), -1)[:, self._program.density]
        out = []
        for monomials in self._program.monomials:
            total = 0.0
            for partition in _set_partitions(tuple(range(monomials.shape[1]))):
                product = 1.0
                for block in partition:
                    sign = (-1) ** (len(block) - 1) * factorial(len(block) - 1)
                    product = product * sign * jnp.sum(jnp.prod(phi[:, monomials[:, list(block)]], axis=-1), axis=0)
                total = total + product
            out.append(total)
        return jnp.concatenate(out)

    @property
    def has_waist(self) -> bool:
        return not (self.purified or self.tensor_reduced)

    def waist(self, envs: Environment) -> tuple[Array, Array]:
        """Density coefficients A, shape [V, n], and their derivatives by the neighbour vectors, [V, n, 3, K]."""
        density, program = self.density.at(), self._program
        q, lm = np.divmod(program.density, (self.density.l_max + 1) ** 2)

        def one(env):
            (channels, harmonics), (channel_slopes, harmonic_slopes) = density.factors_with_slopes(env)
            l = np.floor(np.sqrt(lm)).astype(int) if channels.shape[1] > 1 else np.zeros_like(lm)
            f, y = channels[:, l, q].T, harmonics[:, lm].T
            df, dy = jnp.moveaxis(channel_slopes[:, :, l, q], -1, 0), jnp.moveaxis(harmonic_slopes[:, :, lm], -1, 0)
            values = jnp.sum(f * y, axis=1) + density.itself(env.center, f.dtype).reshape(-1)[program.density]
            return values, df * y[:, None] + f[:, None] * dy

        values, slopes = jax.lax.optimization_barrier(jax.vmap(one)(envs))
        return values.T, jnp.moveaxis(slopes, 0, 1)

    @property
    def waist_blocks(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        return tuple((rows, columns) for rows, columns, _ in self._make_program(True).slopes.blocks)

    def beyond_waist(self, coefficients: Array) -> tuple[Array, tuple[Array, ...]]:
        program = self._make_program(True)
        values = self._products(coefficients, program)
        features = self._finished(values, program).reshape(-1, values.shape[1])
        values = jnp.concatenate([values, jnp.ones_like(values[:1])])
        entries = [einsum("etn,et->en", values[i], jnp.asarray(w, values.dtype)) for i, w in zip(*program.slopes[:2], strict=True)]
        entries = jax.lax.optimization_barrier(jnp.concatenate([*entries, jnp.zeros_like(values[:1])]))
        return features, tuple(entries[places] for _, _, places in program.slopes.blocks)

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        if not self.has_waist:
            return super().with_jacobian(env)
        features, jacobian = self.by_waist(env)
        return features.reshape(self.n_features, *self._tail), jacobian.reshape(self.n_features, *self._tail, *env.vectors.shape)
