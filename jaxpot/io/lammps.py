"""Empirical potentials in LAMMPS's files: Stillinger–Weber, Tersoff and its kin, Vashishta, EDIP, and the tables of embedded atoms.

Lengths are in Å and energies in eV ("UNITS: metal", or nothing said), or in kcal/mol ("UNITS: real").
"""

from jaxpot.io.lammps_angles import read_edip, read_modified_stillinger_weber, read_stillinger_weber, read_vashishta
from jaxpot.io.lammps_eam import read_eam
from jaxpot.io.lammps_tersoff import read_modified_tersoff, read_tersoff, read_tersoff_zbl

__all__ = [
    "read_eam", "read_edip", "read_modified_stillinger_weber", "read_modified_tersoff", "read_stillinger_weber", "read_tersoff", "read_tersoff_zbl",
    "read_vashishta",
]  # fmt: skip
