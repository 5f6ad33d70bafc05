"""Cutoff functions and decays."""

from jaxpot.math.cutoffs import (
    BumpCutoff,
    CosineCutoff,
    Cutoff,
    ForceShifted,
    GammaCutoff,
    InversePowerDecay,
    LogisticDecay,
    PolynomialCutoff,
    PowerCutoff,
    Shifted,
    Step,
    TanhCutoff,
    TwoSided,
    Willatt,
)

__all__ = [
    "BumpCutoff", "CosineCutoff", "Cutoff", "ForceShifted", "GammaCutoff", "InversePowerDecay", "LogisticDecay", "PolynomialCutoff", "PowerCutoff",
    "Shifted", "Step", "TanhCutoff", "TwoSided", "Willatt",
]  # fmt: skip
