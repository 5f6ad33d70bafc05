"""Tersoff that passes into the screened repulsion of nuclei where atoms come close, for collisions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.leaves import Leaf
from jaxpot.potentials.base import Chunked
from jaxpot.potentials.tersoff import BondOrderPotential, Tersoff
from jaxpot.trees import leaf, pytree, static

Array = jax.Array

_COULOMB = 1 / (4 * np.pi * 0.00552635)  # eV Å, and the Bohr radius in Å, as LAMMPS rounds them
_BOHR = 0.529
_COEFFICIENTS = (0.1818, 0.5099, 0.2802, 0.02817)
_EXPONENTS = (3.2, 0.9423, 0.4029, 0.2016)


@pytree
class TersoffZBL(BondOrderPotential, Chunked):
    r"""Tersoff joined to the repulsion of Ziegler, Biersack and Littmark, LAMMPS's `tersoff/zbl`.

    As `Tersoff`, with

    .. math:: V_R &= F(r) f_c(r) A e^{-\lambda_1 r} + (1 - F(r)) \frac{e^2}{4\pi\epsilon_0} \frac{Z_i Z_j}{r} \phi(r/a), \qquad
       V_A = F(r) f_c(r) B e^{-\lambda_2 r} \\
       F(r) &= \left(1 + e^{-s (r - r_F)}\right)^{-1}, \qquad a = \frac{0.8854 \cdot 0.529}{Z_i^{0.23} + Z_j^{0.23}}\ \text{Å}

    The repulsion of nuclei counts within R + D, and breaks off there; what is left of it, 1 − F, is very little in published files.

    Args:
      species: chemical symbols, S of them.
      A, B, lambda1, lambda2, beta, n, c, d, cosine, lambda3, gamma, R, D, m, chunk: as of `Tersoff`.
      Zi, Zj: charges of the nuclei of the atom and its neighbour, shape [] or [S, S], in e.
      middle: r_F, shape [] or [S, S], in Å.
      steepness: s, shape [] or [S, S], in 1/Å.

    Raises:
      ValueError: for tables of other shapes or not finite, d or n that are not positive, negative R, D, Zi or Zj, or another m.

    References:
      Tersoff, Phys. Rev. B 39, 5566 (1989); Devanathan, Diaz de la Rubia, Weber, "Displacement threshold energies in β-SiC",
      J. Nucl. Mater. 253, 47 (1998); LAMMPS documentation of pair_style tersoff/zbl.
    """

    species: tuple[str, ...] = static()
    A: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S]")
    lambda1: Leaf = leaf(shape="[] or [S, S]")
    lambda2: Leaf = leaf(shape="[] or [S, S]")
    beta: Leaf = leaf(shape="[] or [S, S]")
    n: Leaf = leaf(shape="[] or [S, S]")
    c: Leaf = leaf(shape="[] or [S, S, S]")
    d: Leaf = leaf(shape="[] or [S, S, S]")
    cosine: Leaf = leaf(shape="[] or [S, S, S]")
    lambda3: Leaf = leaf(shape="[] or [S, S, S]")
    gamma: Leaf = leaf(shape="[] or [S, S, S]")
    R: Leaf = leaf(shape="[] or [S, S, S]")
    D: Leaf = leaf(shape="[] or [S, S, S]")
    Zi: Leaf = leaf(shape="[] or [S, S]")
    Zj: Leaf = leaf(shape="[] or [S, S]")
    middle: Leaf = leaf(shape="[] or [S, S]")
    steepness: Leaf = leaf(shape="[] or [S, S]")
    m: int = static(default=3)
    chunk: int | None = static(default=None)

    pair_tables = (*Tersoff.pair_tables, "Zi", "Zj", "middle", "steepness")
    triplet_tables = Tersoff.triplet_tables

    def __post_init__(self):
        self._check()
        self._check_chunk()
        for name in ("n", "d"):
            if is_concrete(getattr(self, name)) and not np.all(np.asarray(getattr(self, name)) > 0):
                raise ValueError(f"TersoffZBL: {name} must be > 0, got {np.asarray(getattr(self, name))}")
        for name in ("Zi", "Zj"):
            if is_concrete(getattr(self, name)) and np.any(np.asarray(getattr(self, name)) < 0):
                raise ValueError(f"TersoffZBL: {name} must not be negative, got {np.asarray(getattr(self, name))}")

    end, angular, order = Tersoff.end, Tersoff.angular, Tersoff.order

    def repulsion(self, r, fade, of):
        x = r * (of["Zi"] ** 0.23 + of["Zj"] ** 0.23) / (0.8854 * _BOHR)
        screening = sum(c * jnp.exp(-e * x) for c, e in zip(_COEFFICIENTS, _EXPONENTS, strict=True))
        # in empty slots and beyond R + D there is nothing, in either
        nuclei = jnp.where(fade > 0, _COULOMB * of["Zi"] * of["Zj"] / jnp.where(r == 0, 1, r) * screening, 0)
        joined = _fermi(r, of)
        return joined * fade * of["A"] * jnp.exp(-of["lambda1"] * r) + (1 - joined) * nuclei

    def attraction(self, r, fade, of):
        return _fermi(r, of) * fade * of["B"] * jnp.exp(-of["lambda2"] * r)


def _fermi(r: Array, of: dict[str, Array]) -> Array:
    return jax.nn.sigmoid(of["steepness"] * (r - of["middle"]))
