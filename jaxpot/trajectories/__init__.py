"""Trajectories that are differentiated, and means over states that were sampled with one potential, for another."""

from jaxpot.trajectories.checkpoints import rollout
from jaxpot.trajectories.reversible import backwards, rollout_reversible
from jaxpot.trajectories.reweighting import Reweighted, Sample, free_energy_difference, relative_entropy, reweighted, sample

__all__ = [
    "Reweighted", "Sample", "backwards", "free_energy_difference", "relative_entropy", "reweighted", "rollout", "rollout_reversible", "sample",
]  # fmt: skip
