"""
Files of other codes
====================

A linear ACE is written as `.yace` for LAMMPS and python-ace, and read again; published potentials are read in the same way.
"""

import jax
import numpy as np
from ase.build import bulk

import jaxpot as jp

jax.config.update("jax_enable_x64", True)
density = jp.Density(("Al",), jp.cutoffs.PowerCutoff(5.0), jp.radial.ChebExpCos(6, 5.0), l_max=2, sigma=None, center_weight=0.0)
