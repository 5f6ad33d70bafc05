"""Potentials: from a structure to atomic energies; forces and virials follow by automatic differentiation."""

from jaxpot.potentials.atomic import AtomicPotential, GraphPotential
from jaxpot.potentials.atoms_alone import IsolatedEnergies, isolated_energies
from jaxpot.potentials.base import IsolatedAtoms, LocalPotential, Potential, Sum
from jaxpot.potentials.committee import Committee
from jaxpot.potentials.linear import LinearModel
from jaxpot.potentials.structure_gp import StructureGP

__all__ = [
    "AtomicPotential", "Committee", "GraphPotential", "IsolatedAtoms", "IsolatedEnergies", "LinearModel", "LocalPotential", "Potential", "StructureGP",
    "Sum", "isolated_energies",
]  # fmt: skip
