"""A potential as files of other codes hold it: one term of atoms in their surroundings, and a constant per element."""

from collections.abc import Callable

import numpy as np

from jaxpot.descriptors.constant import Constant
from jaxpot.heads.linear import Linear
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, terms_of


def main_and_constants(
    potential: Potential, fits: Callable[[AtomicPotential], bool], *, owner: str, files: str, main: str, remedy: str
) -> tuple[AtomicPotential, dict[str, float]]:
    """The one term for which `fits` holds, and the energies of isolated atoms by symbol, in eV.

    Args:
      potential: an AtomicPotential, or its sum with constants per element (IsolatedAtoms, or Constant with a Linear head).
      fits: whether an AtomicPotential is what the files are of.
      owner: the writer, for messages.
      files: what the files are called.
      main: what they are of.
      remedy: what to do with other terms.

    Raises:
      TypeError: for a term that such files cannot hold.
      ValueError: if there is not one main term, or constants are not fitted or of elements that it does not know.
    """
    mains, constants = [], {}
    for term in terms_of(potential):
        kind = type(term.descriptor) if isinstance(term, AtomicPotential) else type(term)
        if isinstance(term, AtomicPotential) and fits(term):
            mains.append(term)
        elif kind is IsolatedAtoms or (kind is Constant and isinstance(term.head, Linear)):
            values = term.values if kind is IsolatedAtoms else term.head.coefficients
            if values is None:
                raise ValueError(f"{owner}: the constants have no coefficients yet; write potential = jaxpot.fit.linear(potential, data)")
            for symbol, value in zip(term.species, np.asarray(values, float), strict=True):
                constants[symbol] = constants.get(symbol, 0.0) + float(value)
        else:
            name = f"AtomicPotential({kind.__name__}, {type(term.head).__name__})" if isinstance(term, AtomicPotential) else kind.__name__
            raise TypeError(f"{owner}: {files} cannot hold {name}; {remedy}")
    if len(mains) != 1:
        raise ValueError(f"{owner}: expected one AtomicPotential of {main}, got {len(mains)}")
    species = mains[0].species
    unknown = sorted(set(constants) - set(species))
    if unknown:
        raise ValueError(f"{owner}: constants of {', '.join(unknown)}, which {main} of {', '.join(species)} does not know")
    return mains[0], constants
