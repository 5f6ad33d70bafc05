"""A potential as files of other codes hold it: one term of atoms in their surroundings, and a constant per element."""

from collections.abc import Mapping
from types import UnionType

import numpy as np

from jaxpot.descriptors.constant import Constant
from jaxpot.heads.linear import Linear
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, named, terms_of
from jaxpot.trees import fits


def main_and_constants(
    potential: Potential, *, owner: str, files: str, main: str, descriptor: type, head: type | UnionType
) -> tuple[AtomicPotential, dict[str, float]]:
    """The one AtomicPotential with such a descriptor and head, and the energies of isolated atoms by symbol, in eV.

    Args:
      potential: an AtomicPotential, or its sum with constants per element (IsolatedAtoms, or Constant with a Linear head).
      owner: the writer, for messages.
      files: what the files are called.
      main: what they are of.
      descriptor: class of the descriptor that they hold.
      head: class of the head.

    Raises:
      TypeError: for a term that such files cannot hold.
      ValueError: if there is not one main term, or constants are not fitted or of elements that it does not know.
    """
    mains, constants = terms_and_constants(potential, owner)
    for term in mains:
        if not fits(term, AtomicPotential, descriptor=descriptor, head=head):
            raise TypeError(cannot_hold(term, owner, files))
    if len(mains) != 1:
        raise ValueError(f"{owner}: expected one AtomicPotential of {main}, got {len(mains)}")
    require_known(constants, mains[0].species, owner, main)
    return mains[0], constants


def terms_and_constants(potential: Potential, owner: str) -> tuple[list[Potential], dict[str, float]]:
    """The terms that are no constants per element, and the sum of those that are by symbol, in eV.

    Raises:
      ValueError: for constants that are not fitted.
    """
    terms, constants = [], {}
    for term in terms_of(potential):
        is_fitted = fits(term, AtomicPotential, descriptor=Constant, head=Linear)
        if not is_fitted and not isinstance(term, IsolatedAtoms):
            terms.append(term)
            continue
        values = term.head.coefficients if is_fitted else term.values
        if values is None:
            raise ValueError(f"{owner}: the constants have no coefficients yet; write potential = jaxpot.fit.linear(potential, data)")
        for symbol, value in zip(term.species, np.asarray(values, float), strict=True):
            constants[symbol] = constants.get(symbol, 0.0) + float(value)
    return terms, constants


def require_known(constants: Mapping[str, float], species: tuple[str, ...], owner: str, main: str) -> None:
    """Raises ValueError for constants of elements that the main term does not know."""
    unknown = sorted(set(constants) - set(species))
    if unknown:
        raise ValueError(f"{owner}: constants of {', '.join(unknown)}, which {main} of {', '.join(species)} does not know")


def cannot_hold(term: Potential, owner: str, files: str) -> str:
    """Why a term cannot be written, and what to do."""
    name = named(term, "descriptor", "head")
    return f"{owner}: {files} cannot hold {name}; write the other terms, and add this one in LAMMPS by pair_style hybrid/overlay"
