"""The tables of D3: reference coefficients and radii of the elements of a model."""

import os
from typing import Any

import jax
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.leaves import Leaf
from jaxpot.trees import leaf, positive, pytree, static
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array

# eV and Å by CODATA 2018, with which the lengths of the tables were converted
_HARTREE, _BOHR = 27.211386245988, 0.529177210903


@pytree
class D3Tables:
    """What D3 knows of the elements of a model. All numbers are leaves; rows beyond an element's references do not count.

    The published tables are not part of the library; `read` takes them from a file, as potentials are read.

    Args:
      species: chemical symbols.
      c6: C6 of two references, shape [S, S, R, R], in eV Å⁶, symmetric under exchange of the atoms.
      cn: coordination number of every reference, shape [S, R].
      covalent: radii of the counting function, 4/3 of the covalent ones, shape [S], in Å.
      root_q: the factors of :math:`C_8 = 3 C_6 \\sqrt{Q_i} \\sqrt{Q_j}`, shape [S], in Å.
      radii: of zero damping and of triples, shape [S, S], in Å.
      references: how many of the R every element has, static.

    Raises:
      ValueError: for numbers of references that do not fit.

    Example:
      >>> D3Tables(("Ar",), c6=[[[[38.0]]]], cn=[[0.0]], covalent=[1.3], root_q=[1.6], radii=[[3.0]], references=(1,)).references
      (1,)
    """

    species: tuple[str, ...] = static()
    c6: Leaf = leaf(shape="[S, S, R, R]")
    cn: Leaf = leaf(shape="[S, R]")
    covalent: Leaf = positive(shape="[S]")
    root_q: Leaf = positive(shape="[S]")
    radii: Leaf = positive(shape="[S, S]")
    references: tuple[int, ...] = static()

    def __post_init__(self):
        species_tuple(self.species, "D3Tables")
        most = np.shape(self.cn)[-1]
        if len(self.references) != len(self.species) or not all(1 <= n <= most for n in self.references):
            raise ValueError(f"D3Tables: references must be {len(self.species)} numbers of 1 to {most}, one for every element, got {self.references}")

    @property
    def there(self) -> np.ndarray:
        """Which references there are, [S, R]."""
        return np.arange(np.shape(self.cn)[-1])[None, :] < np.asarray(self.references)[:, None]

    @classmethod
    def read(cls, path: str | os.PathLike, species: tuple[str, ...]) -> "D3Tables":
        """The rows of some elements of an `.npz` file of the published tables, first axis the atomic number.

        It has `c6_ref` [Z, Z, R, R] in hartree bohr⁶, `cn_ref` [Z, R] with -1 where there is no reference, `rcov_d3_A` [Z] in Å, `sqrt_q` [Z]
        in bohr and `r0_pair_A` [Z, Z] in Å. Programs such as tad-dftd3 and dispax (Apache-2.0) hold them.

        Args:
          path: of the file.
          species: chemical symbols.

        Raises:
          ValueError: for a file that lacks an array, and for elements that are not in the tables.
        """
        names = "c6_ref", "cn_ref", "rcov_d3_A", "sqrt_q", "r0_pair_A"
        with np.load(path) as file:
            if missing := [name for name in names if name not in file]:
                raise ValueError(f"D3Tables.read: {os.fspath(path)} has no {missing}; expected the arrays {list(names)}")
            c6, cn, covalent, root_q, radii = (file[name] for name in names)
        rows = np.array([ATOMIC_NUMBERS[symbol] for symbol in species_tuple(species, "D3Tables.read")])
        if absent := [symbol for symbol, row in zip(species, rows, strict=True) if row >= len(cn) or np.all(cn[row] < 0)]:
            raise ValueError(
                f"D3Tables.read: {os.fspath(path)} has no reference for {absent}, its last element is number {len(cn) - 1}; "
                "leave these out, or write jaxpot.longrange.D3Tables(...) with numbers for them"
            )
        return cls._restricted(tuple(species), cn[rows], c6[np.ix_(rows, rows)], covalent[rows], root_q[rows], radii[np.ix_(rows, rows)])

    @classmethod
    def _restricted(cls, species: tuple[str, ...], cn: Any, c6: Any, covalent: Any, root_q: Any, radii: Any) -> "D3Tables":
        present = cn >= 0
        order = np.argsort(~present, axis=1, kind="stable")  # those that are there come first
        most = int(present.sum(axis=1).max())
        cn = np.where(np.take_along_axis(present, order, axis=1), np.take_along_axis(cn, order, axis=1), 0)[:, :most]
        c6 = np.take_along_axis(c6, order[:, None, :, None], axis=2)
        c6 = np.take_along_axis(c6, order[None, :, None, :], axis=3)[:, :, :most, :most]
        return cls(
            species,
            c6=c6 * _HARTREE * _BOHR**6,
            cn=cn,
            covalent=covalent,
            root_q=root_q * _BOHR,
            radii=radii,
            references=tuple(int(n) for n in present.sum(axis=1)),
        )
