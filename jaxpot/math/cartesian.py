"""Between Cartesian tensors and spherical components: orthogonal maps made of the couplings of vectors."""

import functools
import itertools
from collections import Counter

import numpy as np

from jaxpot.math.coupling import count_couplings, couplings

_AXES = (1, 2, 0)  # the components of l = 1 are y, z, x


@functools.cache
def cartesian_map(groups: tuple[int, ...], lam: int) -> np.ndarray:
    r"""The spherical components of degree λ in Cartesian tensors of a given symmetry.

    .. math:: T_{ab\dots} = \sum_{\lambda r\mu} U^{(r)}_{\mu,ab\dots}\, t^{(r)}_{\lambda\mu}, \qquad
       t^{(r)}_{\lambda\mu} = \sum_{ab\dots} U^{(r)}_{\mu,ab\dots}\, T_{ab\dots}

    For symmetric matrices t₀ = −(xx + yy + zz)/√3 and t₂ = (√2 xy, √2 yz, (2zz − xx − yy)/√6, √2 xz, (xx − yy)/√2).

    Args:
      groups: one label per index; indices with equal labels may be exchanged.
      lam: λ.

    Returns:
      U, shape [copies, 2λ + 1, 3, …, 3], dimensionless, read-only; rows of all λ together are an orthonormal basis of the tensors with
      this symmetry.

    Example:
      >>> cartesian_map((0, 0), 0)[0, 0].round(6).tolist()
      [[-0.57735, 0.0, 0.0], [0.0, -0.57735, 0.0], [0.0, 0.0, -0.57735]]
    """
    rank = len(groups)

    def canonical(index: tuple[int, ...]) -> tuple[int, ...]:
        out = np.array(index)
        for group in set(groups):
            places = [i for i, g in enumerate(groups) if g == group]
            out[places] = np.sort(out[places])
        return tuple(int(i) for i in out)

    made = couplings((1,) * rank, lam, groups)
    products = list(itertools.product(range(3), repeat=rank))
    counts = Counter(map(canonical, products))
    column = {canonical(tuple(monomial)): i for i, monomial in enumerate(made.monomials)}
    table = np.zeros((*made.coefficients.shape[:2], *(3,) * rank))
    for index in products:
        own = canonical(index)
        if own in column:
            table[(..., *(_AXES[m] for m in index))] = made.coefficients[:, :, column[own]] / counts[own]
    table.setflags(write=False)
    return table


@functools.cache
def spherical_basis(groups: tuple[int, ...]) -> np.ndarray:
    """All independent components of tensors with this symmetry, shape [D, 3^rank], orthonormal rows, by ascending λ."""
    rank = len(groups)
    rows = [cartesian_map(groups, lam).reshape(-1, 3**rank) for lam in range(rank + 1) if count_couplings((1,) * rank, lam, groups)]
    return np.concatenate(rows)
