"""Empirical potentials: of pairs, of pairs and angles, of bond orders, of embedded atoms; repulsive cores."""

from jaxpot.math.splines import CubicSpline
from jaxpot.potentials.core import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.potentials.eam import EAM
from jaxpot.potentials.edip import EDIP
from jaxpot.potentials.pair import (
    ZBL,
    Buckingham,
    CutCoulomb,
    LennardJones,
    Morse,
    PairPotential,
    PairSpline,
    geometric_mixing,
    lorentz_berthelot,
    of_pair,
    waldman_hagler,
)
from jaxpot.potentials.stillinger_weber import StillingerWeber
from jaxpot.potentials.stillinger_weber_mod import ModifiedStillingerWeber
from jaxpot.potentials.tersoff import ModifiedTersoff, Tersoff
from jaxpot.potentials.tersoff_zbl import TersoffZBL
from jaxpot.potentials.vashishta import Vashishta

__all__ = [
    "EAM", "EDIP", "ZBL", "Buckingham", "ByCoreEnergy", "ByDistance", "CoreRepulsion", "CubicSpline", "CutCoulomb", "LennardJones",
    "ModifiedStillingerWeber", "ModifiedTersoff", "Morse", "PairPotential", "PairSpline", "ScreenedCore", "StillingerWeber", "Switched", "Tersoff",
    "TersoffZBL", "Vashishta", "geometric_mixing", "lorentz_berthelot", "of_pair", "waldman_hagler",
]  # fmt: skip
