"""Potentials: from a structure to atomic energies; forces and virials follow by automatic differentiation."""

from jaxpot.potentials.atomic import AtomicPotential, GraphPotential
from jaxpot.potentials.base import IsolatedAtoms, LocalPotential, Potential, Sum
from jaxpot.potentials.committee import Committee
from jaxpot.potentials.linear import LinearModel
from jaxpot.potentials.structure_gp import StructureGP

__all__ = [
    "AtomicPotential", "Committee", "GraphPotential", "IsolatedAtoms", "LinearModel", "LocalPotential", "Potential", "StructureGP", "Sum",
]  # fmt: skip
