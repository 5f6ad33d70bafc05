"""One molecule: bonded terms, permutation-invariant polynomials, gradient-domain models, and its permutations."""

from jaxpot.math.permutations import recover_permutations
from jaxpot.math.polynomials import exchanges
from jaxpot.potentials.bonded import Angles, Bonds, Dihedrals
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.potentials.pip import PIP

__all__ = [
    "PIP", "Angles", "Bonds", "Dihedrals", "GradientDomain", "exchanges", "recover_permutations",
]  # fmt: skip
