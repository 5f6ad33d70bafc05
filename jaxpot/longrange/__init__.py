"""Interactions of long range: what is summed, how it is summed, where charges come from, and the potentials made of them."""

from jaxpot.longrange.charges import ChargeModel, FixedCharges
from jaxpot.longrange.choice import sum_for
from jaxpot.longrange.energies import Electrostatics
from jaxpot.longrange.ewald import Ewald
from jaxpot.longrange.interactions import Coulomb, GaussianCoulomb, Interaction, InversePower
from jaxpot.longrange.mesh import ParticleMesh
from jaxpot.longrange.mesh_choice import mesh_for
from jaxpot.longrange.sums import Direct, PairSum

__all__ = [
    "ChargeModel", "Coulomb", "Direct", "Electrostatics", "Ewald", "FixedCharges", "GaussianCoulomb", "Interaction", "InversePower", "PairSum",
    "ParticleMesh", "mesh_for", "sum_for",
]  # fmt: skip
