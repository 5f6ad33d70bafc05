"""Cutoff functions and decays."""

from jaxpot.math.cutoffs import BumpCutoff, CosineCutoff, Cutoff, GammaCutoff, PolynomialCutoff, PowerCutoff, Step, TanhCutoff, TwoSided
from jaxpot.math.decays import InversePowerDecay, LogisticDecay, Willatt
from jaxpot.math.endings import Ending, ForceShifted, Shifted

__all__ = [
    "BumpCutoff", "CosineCutoff", "Cutoff", "Ending", "ForceShifted", "GammaCutoff", "InversePowerDecay", "LogisticDecay", "PolynomialCutoff",
    "PowerCutoff", "Shifted", "Step", "TanhCutoff", "TwoSided", "Willatt",
]  # fmt: skip
