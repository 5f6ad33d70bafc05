"""LAMMPS's files of potentials of pairs and angles: Stillinger–Weber, Vashishta and EDIP."""

from pathlib import Path

import numpy as np

from jaxpot.io.lammps_entries import Species, entries
from jaxpot.io.text import one_line_refusals, read_text
from jaxpot.potentials.edip import EDIP
from jaxpot.potentials.stillinger_weber import StillingerWeber
from jaxpot.potentials.stillinger_weber_mod import ModifiedStillingerWeber
from jaxpot.potentials.vashishta import Vashishta

_STILLINGER_WEBER = ("epsilon", "sigma", "a", "lam", "gamma", "cosine", "A", "B", "p", "q", "tol")
_VASHISHTA = ("H", "eta", "Zi", "Zj", "lambda1", "D", "lambda4", "W", "cutoff", "B", "gamma", "r0", "C", "cosine")
_EDIP = ("A", "B", "a", "c", "alpha", "beta", "eta", "gamma", "lam", "mu", "rho", "sigma", "Q0", "u1", "u2", "u3", "u4")


@one_line_refusals("a file of pair_style sw")
def read_stillinger_weber(path: str | Path, *, species: Species = None) -> StillingerWeber:
    """A file of `pair_style sw`.

    LAMMPS takes of the entries i j k and i k j that which its neighbour list meets first. Where their λ ε differ within the last places
    of their numbers, the potential has the mean of both.

    Args:
      path: the file, usually `.sw`; each entry names the apex and two neighbours.
      species: the elements to take, or label -> element where the file calls them otherwise, {"Si1": "Si"}; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, a tolerance `tol` that is not 0 (it would shorten the cutoff), or parameters by which the
        energy depended on the order of the neighbours.
    """
    return _stillinger_weber(path, species)


@one_line_refusals("a file of pair_style sw/mod")
def read_modified_stillinger_weber(
    path: str | Path, *, species: Species = None, maxdelcs: tuple[float, float] = (0.25, 0.35)
) -> ModifiedStillingerWeber:
    """A file of `pair_style sw/mod`, which is one of `pair_style sw` with angles switched off; arguments and errors as of `read_stillinger_weber`.

    Args:
      path: the file, usually `.sw.mod`.
      species: the elements to take, or label -> element where the file calls them otherwise; None takes all of the file.
      maxdelcs: between which differences of cosines angles are switched off: what stands behind this word in LAMMPS's pair_style.
    """
    return ModifiedStillingerWeber(_stillinger_weber(path, species), *maxdelcs)


def _stillinger_weber(path: str | Path, species: Species) -> StillingerWeber:
    read = entries(path, read_text(path, "a file of pair_style sw"), (_STILLINGER_WEBER,), species)
    if np.any(read.values["tol"]):
        raise ValueError(f"{path}: the last number of an entry, tol, must be 0.0; others shorten the cutoff and are not read")
    read.require_not_negative("epsilon", "sigma", "a", "lam", "gamma", "A", "B", "p", "q")
    read.require_equal_angles(("lam", "epsilon"), ("cosine",))
    triplets = {name: read.values[name] for name in ("lam", "cosine")} | {"epsilon": read.energy * read.values["epsilon"]}
    return StillingerWeber(read.species, **triplets, **{name: read.of_bonds(name) for name in ("sigma", "a", "gamma", "A", "B", "p", "q")})


@one_line_refusals("a file of pair_style vashishta")
def read_vashishta(path: str | Path, *, species: Species = None) -> Vashishta:
    """A file of `pair_style vashishta`.

    Args:
      path: the file, usually `.vashishta`; each entry names the apex and two neighbours.
      species: the elements to take, or label -> element where the file calls them otherwise, {"Si1": "Si"}; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, or parameters by which the energy depended on the order of the neighbours.
    """
    read = entries(path, read_text(path, "a file of pair_style vashishta"), (_VASHISHTA,), species)
    read.require_not_negative("B", "gamma", "r0", "C", "cutoff", "lambda1", "lambda4")
    read.require_equal_angles(("B",), ("C",), ("cosine",))
    pairs = {name: read.of_bonds(name) for name in ("H", "eta", "lambda1", "D", "lambda4", "W", "cutoff", "gamma", "r0")}
    triplets = {name: read.values[name] for name in ("B", "C", "cosine")}
    for table in (pairs["H"], pairs["D"], pairs["W"], triplets["B"]):
        table *= read.energy
    return Vashishta(read.species, charges=read.of_bonds("Zi") * read.of_bonds("Zj"), **pairs, **triplets)


@one_line_refusals("a file of pair_style edip")
def read_edip(path: str | Path, *, species: Species = None) -> EDIP:
    """A file of `pair_style edip` or `edip/multi`.

    Functions are evaluated as in `edip/multi`; those of `edip` are tables that LAMMPS interpolates linearly, so that its forces differ.

    Args:
      path: the file, usually `.edip`; each entry names the apex and two neighbours.
      species: the elements to take, or label -> element where the file calls them otherwise, {"Si1": "Si"}; None takes all of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a missing or repeated entry, or parameters by which the energy depended on the order of the neighbours.
    """
    read = entries(path, read_text(path, "a file of pair_style edip"), (_EDIP,), species)
    triplets = ("lam", "eta", "mu", "Q0", "u1", "u2", "u3", "u4")
    read.require_equal_angles(*((name,) for name in triplets))
    tables = {name: read.values[name] if name in triplets else read.of_bonds(name) for name in _EDIP}
    for name in ("A", "lam"):
        tables[name] *= read.energy
    return EDIP(read.species, **tables)
