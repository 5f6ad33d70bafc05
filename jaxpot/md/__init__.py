"""Molecular dynamics: ensembles, pure systems, and the driver that writes trajectories; `neighbor_list_energy` is the way to jax-md itself."""

from jaxpot.jaxmd import neighbor_list_energy
from jaxpot.md.driver import blocks, run
from jaxpot.md.ensembles import NPT, NVE, NVT, CellEnsemble, Ensemble, Mechanics
from jaxpot.md.stochastic import CSVR, Langevin
from jaxpot.md.system import Observation, State, System
from jaxpot.md.thermo import plot_thermo, read_thermo

__all__ = [
    "CSVR", "NPT", "NVE", "NVT", "CellEnsemble", "Ensemble", "Langevin", "Mechanics", "Observation", "State", "System", "blocks",
    "neighbor_list_energy", "plot_thermo", "read_thermo", "run",
]  # fmt: skip
