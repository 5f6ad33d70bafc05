"""Radial functions, one family each, and transforms of a distance."""

from jaxpot.math.transforms import DistanceTransform, IdentityTransform, InverseTransform, MorseTransform, PowerTransform
from jaxpot.radial.base import Radial, RadialBasis, RadialByDegree
from jaxpot.radial.bessel import Bessel
from jaxpot.radial.equispaced import EquispacedGaussians
from jaxpot.radial.gto import GTO, SolidGTO
from jaxpot.radial.pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, RadialTable, SBessel
from jaxpot.radial.polynomial import Agnesi, Chebyshev
from jaxpot.radial.shifted import Monomials, ShiftedMonomials
from jaxpot.radial.turbo import Poly3, Poly3Gauss

__all__ = [
    "GTO", "Agnesi", "Bessel", "ChebExpCos", "ChebLinear", "ChebPow", "Chebyshev", "DistanceTransform", "EquispacedGaussians", "IdentityTransform",
    "InnerCutoff", "InverseTransform", "Monomials", "MorseTransform", "Poly3", "Poly3Gauss", "PowerTransform", "Radial", "RadialBasis", "RadialByDegree",
    "RadialTable",
    "SBessel", "ShiftedMonomials", "SolidGTO",
]  # fmt: skip
