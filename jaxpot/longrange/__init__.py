"""Interactions of long range: what is summed, how it is summed, where charges come from, and the potentials made of them."""

from jaxpot.longrange.born import born_charges
from jaxpot.longrange.carried import Carried, ChargedAtoms, ChargedPotential, Screening
from jaxpot.longrange.charges import ChargeModel, FixedCharges
from jaxpot.longrange.choice import sum_for
from jaxpot.longrange.complexes import Complexes
from jaxpot.longrange.d3 import D3, AxilrodTeller, coordination_numbers
from jaxpot.longrange.d3_damping import BeckeJohnson, D3Damping, ZeroDamping
from jaxpot.longrange.d3_tables import D3Tables
from jaxpot.longrange.dispersion import DampedSixthPower, Dispersion, RationalDamping, TangToennies
from jaxpot.longrange.energies import ChargeEnergy, ChargePotential, Electrostatics, PairsOfCharges
from jaxpot.longrange.equilibration import ChargeEquilibration
from jaxpot.longrange.ewald import Ewald
from jaxpot.longrange.field_sums import AllPairs, Field, FieldSum, Waves, field_sum_for
from jaxpot.longrange.fragments import Fragments, Totals, WholeStructure
from jaxpot.longrange.interactions import Coulomb, GaussianCoulomb, Interaction, InversePower
from jaxpot.longrange.local_charges import Correction, LocalCharges, Uniform, Weighted
from jaxpot.longrange.lode import LODE
from jaxpot.longrange.mesh import ParticleMesh
from jaxpot.longrange.mesh_choice import mesh_for
from jaxpot.longrange.overlap import OverlapWeighted
from jaxpot.longrange.polarizable import Polarizable, polarizability
from jaxpot.longrange.qeq import QEq
from jaxpot.longrange.self_consistent import SelfConsistent
from jaxpot.longrange.solvers import ConjugateGradients, Dense, Solver
from jaxpot.longrange.split import SplitSum
from jaxpot.longrange.sums import Direct, PairSum
from jaxpot.longrange.thole import Thole
from jaxpot.longrange.ttm import TTM4F

__all__ = [
    "D3", "LODE", "TTM4F", "AllPairs", "AxilrodTeller", "BeckeJohnson", "Carried", "ChargeEnergy", "ChargeEquilibration", "ChargeModel",
    "ChargePotential", "ChargedAtoms", "ChargedPotential", "Complexes", "ConjugateGradients", "Correction", "Coulomb", "D3Damping", "D3Tables",
    "DampedSixthPower", "Dense", "Direct", "Dispersion", "Electrostatics", "Ewald", "Field", "FieldSum", "FixedCharges", "Fragments", "GaussianCoulomb",
    "Interaction", "InversePower", "LocalCharges", "OverlapWeighted", "PairSum", "PairsOfCharges", "ParticleMesh", "Polarizable", "QEq",
    "RationalDamping", "Screening", "SelfConsistent", "Solver", "SplitSum", "TangToennies", "Thole", "Totals", "Uniform", "Waves", "Weighted",
    "WholeStructure", "ZeroDamping", "born_charges", "coordination_numbers", "field_sum_for", "mesh_for", "polarizability", "sum_for",
]  # fmt: skip
