"""Interactions of long range: what is summed, how it is summed, where charges come from, and the potentials made of them."""

from jaxpot.longrange.born import born_charges
from jaxpot.longrange.carried import Carried, ChargedAtoms, ChargedPotential, ChargeEnergy, PairsOfCharges, Screening
from jaxpot.longrange.charges import ChargeModel, FixedCharges
from jaxpot.longrange.choice import sum_for
from jaxpot.longrange.energies import Electrostatics
from jaxpot.longrange.equilibration import ChargeEquilibration
from jaxpot.longrange.ewald import Ewald
from jaxpot.longrange.fragments import Fragments, Totals, WholeStructure
from jaxpot.longrange.interactions import Coulomb, GaussianCoulomb, Interaction, InversePower
from jaxpot.longrange.local_charges import Correction, LocalCharges, Uniform, Weighted
from jaxpot.longrange.mesh import ParticleMesh
from jaxpot.longrange.mesh_choice import mesh_for
from jaxpot.longrange.overlap import OverlapWeighted
from jaxpot.longrange.qeq import QEq
from jaxpot.longrange.self_consistent import SelfConsistent
from jaxpot.longrange.solvers import ConjugateGradients, Dense, Solver
from jaxpot.longrange.sums import Direct, PairSum

__all__ = [
    "Carried", "ChargeEnergy", "ChargeEquilibration", "ChargeModel", "ChargedAtoms", "ChargedPotential", "ConjugateGradients", "Correction",
    "Coulomb", "Dense", "Direct", "Electrostatics", "Ewald", "FixedCharges", "Fragments", "GaussianCoulomb", "Interaction", "InversePower",
    "LocalCharges", "OverlapWeighted", "PairSum", "PairsOfCharges", "ParticleMesh", "QEq", "Screening", "SelfConsistent", "Solver", "Totals",
    "Uniform", "Weighted", "WholeStructure", "born_charges", "mesh_for", "sum_for",
]  # fmt: skip
