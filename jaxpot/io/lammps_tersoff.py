"""LAMMPS's files of the potentials of Tersoff: pair_style tersoff, tersoff/mod, tersoff/mod/c and tersoff/zbl."""

from pathlib import Path

import numpy as np

from jaxpot.io.lammps_entries import Entries, Species, entries
from jaxpot.io.text import one_line_refusals, read_text
from jaxpot.potentials.tersoff import ModifiedTersoff, Tersoff
from jaxpot.potentials.tersoff_zbl import TersoffZBL

_TERSOFF = ("m", "gamma", "lambda3", "c", "d", "cosine", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
_MODIFIED = ("m", "lambda3", "cosine", "eta", "beta", "lambda2", "B", "R", "D", "lambda1", "A", "n", "c1", "c2", "c3", "c4", "c5")
_ZBL = (*_TERSOFF, "Zi", "Zj", "middle", "steepness")


@one_line_refusals("a file of pair_style tersoff")
def read_tersoff(path: str | Path, *, species: Species = None) -> Tersoff:
    """A file of `pair_style tersoff`.

    LAMMPS takes the repulsion of two atoms from the entry i j j or j i i, as they are numbered. Where these differ within the last places
    of their numbers, each atom has half of its own, which is the mean over both ways to number them.

    Args:
      path: the file, usually `.tersoff`.
      species: the elements to take, or label -> element where the file calls them otherwise, {"Si(D)": "Si"}; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, m other than 1 or 3 or both where λ3 is not 0, negative numbers that LAMMPS refuses, or a
        repulsion or cutoff of pairs that depends on which atom comes first.
    """
    return _bond_order(Tersoff, entries(path, read_text(path, "a file of pair_style tersoff"), (_TERSOFF,), species))


@one_line_refusals("a file of pair_style tersoff/mod")
def read_modified_tersoff(path: str | Path, *, species: Species = None) -> ModifiedTersoff:
    """A file of `pair_style tersoff/mod`, or with one number more in each entry of `tersoff/mod/c`; arguments and errors as of `read_tersoff`."""
    text = read_text(path, "a file of pair_style tersoff/mod")
    return _bond_order(ModifiedTersoff, entries(path, text, (_MODIFIED, (*_MODIFIED, "c0")), species))


@one_line_refusals("a file of pair_style tersoff/zbl")
def read_tersoff_zbl(path: str | Path, *, species: Species = None) -> TersoffZBL:
    """A file of `pair_style tersoff/zbl`; arguments and errors as of `read_tersoff`."""
    return _bond_order(TersoffZBL, entries(path, read_text(path, "a file of pair_style tersoff/zbl"), (_ZBL,), species))


def _bond_order(cls: type, read: Entries) -> Tersoff | ModifiedTersoff | TersoffZBL:
    table, path = read.values, read.path
    m = np.unique(table["m"][table["lambda3"] != 0]) if np.any(table["lambda3"]) else table["m"].reshape(-1)[:1]
    if len(m) > 1 or m[0] not in (1, 3):
        raise ValueError(f"{path}: the exponent m (of tersoff/mod: beta) must be 1 or 3, one for all entries, got {sorted({float(x) for x in m})}")
    read.require_not_negative(*(name for name in ("gamma", "c", "d", "n", "beta", "lambda2", "B", "R", "D", "A") if name in table))
    if np.any(table["D"] > table["R"]):
        raise ValueError(f"{path}: D must not be larger than R, got {table['D'][table['D'] > table['R']][0]}")
    ambiguous = {"A", "lambda1", "R", "D", "c0", "Zi", "middle", "steepness"} & set(table)
    read.require_equal_bonds(*sorted(ambiguous - {"Zi"}))
    if "Zi" in ambiguous and np.any(read.of_bonds("Zi") != read.of_bonds("Zj").T):
        raise ValueError(f"{path}: Z_i of the entries i j j must be Z_j of j i i, got {read.of_bonds('Zi').tolist()} for {', '.join(read.labels)}")
    triplets = {name: table[name] for name in cls.triplet_tables}
    pairs = {name: read.of_bonds(name) for name in cls.pair_tables if name in table}
    for name in {"A", "B", "c0"} & set(pairs):
        pairs[name] *= read.energy
    return cls(read.species, **triplets, **pairs, m=int(m[0]))
