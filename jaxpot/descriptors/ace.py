"""The atomic cluster expansion: products of any number of densities, coupled to invariants or equivariants."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.expansion import Expansion, Invariants
from jaxpot.descriptors.products import Listed, PerOrder, Program, Selection, build_program
from jaxpot.math.linalg import einsum
from jaxpot.trees import fields, pytree, static

Array = jax.Array


@pytree
class ACE(Invariants):
    r"""Coupled products of density coefficients: a linear basis of functions of ν + 1 bodies.

    .. math:: A_v = c_{q l m}, \qquad B^{(r)}_{\mathbf v, M} = \sum_{m_1 \dots m_\nu} C^{(r)}_{M, m_1 \dots m_\nu} \prod_{t=1}^{\nu} A_{v_t}

    for every tuple of (q, l) that the selection lets in, with the independent, permutation-symmetric couplings of
    `jaxpot.math.coupling.couplings`. Products are evaluated recursively, one multiplication each.

    Many species: channels of the density multiply in all combinations (one-hot, or fewer alchemical ones through
    `Density.channels`); with `Density.mixing` and `tensor_reduced` only equal channels multiply, so that the number of functions
    grows in proportion to the number of channels and not at all with that of elements.

    Args:
      expansion: of a density, usually sharp, `Density(..., sigma=None, center_weight=0.0)` or `BondDensity`; smeared ones work as well.
      selection: `TotalDegree`, `PerOrder` or `Listed`.
      lam: degree L of the result; 0 gives invariants.
      pseudo: whether the result changes sign under inversion other than (−1)^L; lam=0 then gives pseudoscalars, which see
        chirality.
      tensor_reduced: multiply equal channels only. The radial index is then part of the channel and counts as 0 in the selection.

    Raises:
      ValueError: if the selection lets in nothing, or asks for radial functions or degrees that the density does not have.

    Example:
      >>> from jaxpot import Density, TotalDegree
      >>> from jaxpot.cutoffs import PowerCutoff
      >>> from jaxpot.radial import Agnesi
      >>> density = Density(("Si",), PowerCutoff(5.0), Agnesi(6, nearest=2.35), l_max=4, sigma=None, center_weight=0.0)
      >>> ACE(density, TotalDegree((5, 5, 5))).n_features
      61

    References:
      Drautz, "Atomic cluster expansion for accurate and transferable interatomic potentials", Phys. Rev. B 99, 014104 (2019);
      Dusson et al., "Atomic cluster expansion: completeness, efficiency and stability", J. Comput. Phys. 454, 110946 (2022);
      Darby et al., "Tensor-reduced atomic density representations", Phys. Rev. Lett. 131, 028001 (2023).
    """

    expansion: Expansion
    selection: Selection
    lam: int = static(default=0, most=50)
    pseudo: bool = static(default=False)
    tensor_reduced: bool = static(default=False)

    def __post_init__(self):
        if not isinstance(self.expansion, Expansion):
            raise TypeError(f"ACE: expected a Density, a BondDensity or another expansion, got {type(self.expansion).__name__}")
        if not isinstance(self.selection, Selection):
            raise TypeError(f"ACE: expected a selection such as TotalDegree((12, 10, 8)), got {type(self.selection).__name__}")
        if not (isinstance(self.lam, int) and self.lam >= 0):
            raise ValueError(f"ACE: lam must be an integer ≥ 0, got {self.lam!r}")
        if isinstance(self.selection, PerOrder):
            n_max = 1 if self.tensor_reduced else self.expansion.n_max
            if max(self.selection.n_max) > n_max:
                raise ValueError(f"ACE: the selection asks for n_max = {max(self.selection.n_max)}, there are {n_max} to multiply")
            if max(self.selection.l_max) > self.expansion.l_max:
                raise ValueError(f"ACE: the selection asks for l_max = {max(self.selection.l_max)}, the density has {self.expansion.l_max}")
        if isinstance(self.selection, Listed):
            channels, l_max = (max(factor[i] for product in self.selection.products for factor in product) for i in (0, 1))
            if channels >= (1 if self.tensor_reduced else self.expansion.n_channels) or l_max > self.expansion.l_max:
                raise ValueError(
                    f"ACE: the list has factors up to (q, l) = ({channels}, {l_max}), the density has {self.expansion.n_channels} channels and "
                    f"l_max = {self.expansion.l_max}" + (", of which tensor_reduced=True multiplies equal ones: q = 0" if self.tensor_reduced else "")
                )
        if isinstance(self.selection, Listed):
            made = {tuple(sorted(map(tuple, factors.tolist()))) for block in self.program().blocks for factors in block.factors}
            lost = [product for product in self.selection.products if tuple(sorted(product)) not in made]
            if lost:
                raise ValueError(f"ACE: nothing of the product {lost[0]} has lam = {self.lam}, pseudo = {self.pseudo}; leave it out of the list")
        if not self.program().blocks:
            raise ValueError(f"ACE: the selection {self.selection} lets in no function with lam = {self.lam}, pseudo = {self.pseudo}")

    def program(self, with_slopes: bool = False) -> Program:
        """Which products there are, how they are made and coupled (and their derivatives)."""
        n_max = 1 if self.tensor_reduced else self.expansion.n_max
        channels = 1 if self.tensor_reduced else self.expansion.n_channels // n_max
        values = tuple((name, value) for name, value, _ in fields(self.selection))
        return build_program(type(self.selection), values, n_max, self.expansion.l_max, channels, self.lam, self.pseudo, with_slopes)

    @property
    def copies(self) -> int:
        """How many channels have products of their own."""
        return self.expansion.n_channels if self.tensor_reduced else 1

    @property
    def tail(self) -> tuple[int, ...]:
        """What follows [F] in the shape of the features."""
        return (2 * self.lam + 1,) if self.lam or self.pseudo else ()

    @property
    def n_features(self) -> int:
        return self.copies * sum(len(b.factors) * b.table.shape[0] for b in self.program().blocks)

    def labels(self) -> tuple[tuple, ...]:
        """(((q, l), …), r) of every function: its factors, q = channel · n_max + n, and the number of its coupling.

        With `tensor_reduced`, (channel, (l, …), r).
        """
        own = [(tuple((int(q), int(l)) for q, l in t), r) for b in self.program().blocks for t in b.factors for r in range(b.table.shape[0])]
        if not self.tensor_reduced:
            return tuple(own)
        return tuple((k, tuple(l for _, l in t), r) for k in range(self.copies) for t, r in own)

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
        n_max = self.expansion.n_max
        products = [t for b in self.program().blocks for t in b.factors for _ in range(b.table.shape[0])]
        totals = np.array([sum(q % n_max + weight * l for q, l in t) for t in products])
        orders = np.array([len(t) for t in products])
        return np.tile(order ** (orders - 1.0) * (1 + totals) ** power, self.copies)

    def of(self, c: Array) -> Array:
        program = self.program()
        densities = c.reshape(self.copies, -1)[:, program.density]
        products = jnp.concatenate([jnp.prod(densities[:, factors], axis=-1) for factors in program.monomials], axis=1)
        return jnp.moveaxis(coupled(program, products.T, self.tail), -1, 0).reshape(self.n_features, *self.tail)


def coupled(program: Program, products: Array, tail: tuple[int, ...]) -> Array:
    """Functions from products: [n] -> [F, *tail]; trailing axes of products ride along."""
    out = []
    sizes = [len(b.factors) * b.table.shape[2] for b in program.blocks]
    spans = {b.first: b.first + size for b, size in zip(program.blocks, sizes, strict=True) if np.ndim(b.first) == 0}
    # cut once: the transpose of a cut is one concatenation, that of many slices is a sum of as many arrays of full size
    cuts = sorted({0, len(products), *spans, *spans.values()})
    parts = dict(zip(cuts[:-1], jax.lax.split(products, np.diff(cuts).tolist()), strict=True))
    for block in program.blocks:
        t, n = len(block.factors), block.table.shape[2]
        own = parts[block.first] if np.ndim(block.first) == 0 else products[block.first]
        table = jnp.asarray(block.table, products.dtype)
        functions = einsum("tn...,rmn->trm...", own.reshape(t, n, *products.shape[1:]), table)
        out.append(functions.reshape(-1, *functions.shape[2:]))
    functions = jnp.concatenate(out)
    return functions if tail else functions[:, 0]
