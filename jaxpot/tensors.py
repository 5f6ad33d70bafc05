"""Tensors: dipoles, polarizabilities and others, their heads and kernels, and rotations."""

from jaxpot.heads.tensor import LambdaGP, LambdaKernel
from jaxpot.math.wigner import random_rotation, wigner_d
from jaxpot.potentials.tensors import Dipole, Polarizability, Tensor, TensorModel

__all__ = [
    "Dipole", "LambdaGP", "LambdaKernel", "Polarizability", "Tensor", "TensorModel", "random_rotation", "wigner_d",
]  # fmt: skip
