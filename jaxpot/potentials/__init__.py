"""Potentials: from a structure to atomic energies; forces and virials follow by automatic differentiation."""

from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, LinearModel, Potential, Sum
from jaxpot.potentials.committee import Committee
from jaxpot.potentials.structure_gp import StructureGP

__all__ = [
    "AtomicPotential", "Committee", "IsolatedAtoms", "LinearModel", "Potential", "StructureGP", "Sum",
]  # fmt: skip
