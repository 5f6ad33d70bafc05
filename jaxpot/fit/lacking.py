"""What a model lacks to hold what the data say."""

import warnings

import numpy as np

from jaxpot.data import Dataset
from jaxpot.descriptors.constant import Constant
from jaxpot.potentials.base import IsolatedAtoms, Model, Potential
from jaxpot.trees import parts

_FAR = 1.0  # eV per atom; smaller energies are no matter of what atoms have alone


def warn_of_constants(model: Model, data: Dataset) -> None:
    """Warns where energies per atom are far from zero and no part of a potential is there to hold what atoms have alone."""
    with_energy = [batch for batch in data.batches if batch.sigma.energy is not None]
    energies = [np.asarray(batch.targets.energy) / np.maximum(np.sum(batch.graphs.numbers > 0, axis=1), 1) for batch in with_energy]
    energies = np.concatenate([x[np.isfinite(x)] for x in energies]) if energies else np.zeros(0)
    if not len(energies) or not isinstance(model, Potential) or any(parts(model, (IsolatedAtoms, Constant))):
        return
    mean, spread = float(np.mean(energies)), float(np.std(energies))
    if abs(mean) > max(_FAR, 10 * spread):
        warnings.warn(
            f"energies are {mean:.6g} ± {spread:.3g} eV per atom and no term holds energies of atoms alone, so the other terms must; "
            "write model + jaxpot.IsolatedAtoms.from_data(frames)",
            stacklevel=3,
        )
