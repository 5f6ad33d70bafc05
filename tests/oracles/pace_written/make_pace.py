"""How the results of this folder were made: potentials of radial functions that .yace files do not have, written here and evaluated by python-ace 0.4.0rc1.

Run here, the first with the repository on the path, the second where python-ace is installed (pip install --pre python-ace):
`python make_pace.py write /tmp` and `python make_pace.py evaluate /tmp`. The numbers mean nothing; only their prediction is compared.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms

HERE = Path(__file__).parent
NAMES = ("agnesi", "smeared")
STRUCTURES = (
    Atoms("CSiCSi", positions=[[0, 0, 0], [1.25, 0.3, 0.1], [0.4, 1.5, -0.6], [-0.6, -0.9, 1.3]]),
    Atoms("SiC", positions=[[0.1, 0.2, 0.3], [1.5, 0.9, 0.8]], cell=[[3.1, 0.2, -0.1], [0.7, 2.9, 0.3], [-0.4, 0.5, 3.3]], pbc=True),
)


def model(name):
    """A linear ACE of sharp densities in Agnesi's functions, and one of Gaussians in functions that depend on the degree."""
    from jaxpot import ACE, GTO, AtomicPotential, CosineCutoff, Density, IsolatedAtoms, Linear, TotalDegree
    from jaxpot.cutoffs import PowerCutoff
    from jaxpot.radial import Agnesi

    parts = {"agnesi": (PowerCutoff(4.6), Agnesi(4, nearest=2.0), 2, None), "smeared": (CosineCutoff(4.2), GTO(3), 2, 0.5)}
    cutoff, radial, l_max, sigma = parts[name]
    ace = ACE(Density(("C", "Si"), cutoff, radial, l_max, sigma=sigma, center_weight=0.0), TotalDegree((4, 3, 3)))
    coefficients = np.random.default_rng(0).normal(size=2 * ace.n_features)
    return AtomicPotential(ace, Linear(coefficients=coefficients)) + IsolatedAtoms({"C": -1.5, "Si": 0.25})


def predictions(path):
    """python-ace's energy and forces of every structure."""
    from pyace import PyACECalculator

    found, calculator = {}, PyACECalculator(str(path))
    for i, atoms in enumerate(STRUCTURES):
        atoms = atoms.copy()
        atoms.calc = calculator
        found[f"{i}/energy"], found[f"{i}/forces"] = atoms.get_potential_energy(), atoms.get_forces()
    return found


def main(what, folder):
    for name in NAMES:
        path = Path(folder) / f"{name}.yace"
        if what == "write":
            import jax

            import jaxpot

            jax.config.update("jax_enable_x64", True)
            jaxpot.io.write_yace(path, model(name))
        else:
            np.savez_compressed(HERE / f"{name}.npz", **predictions(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
