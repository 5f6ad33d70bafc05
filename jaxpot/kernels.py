"""Kernels between features, and between sets of them."""

from jaxpot.heads.tensor import LambdaKernel
from jaxpot.math.kernels import Kernel, Laplacian, Matern, PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.math.matching import Average, BestMatch, Matching, REMatch

__all__ = [
    "Average", "BestMatch", "Kernel", "LambdaKernel", "Laplacian", "Matching", "Matern", "PolynomialKernel", "REMatch", "SquaredExponential",
    "Symmetrised",
]  # fmt: skip
