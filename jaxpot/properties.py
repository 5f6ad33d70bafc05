"""What is predicted, measured and fitted: one class for predictions, labels, noise levels and design rows."""

import jax

from jaxpot.pytree import pytree

Array = jax.Array


@pytree
class Properties:
    """Predictions, labels, noise levels and design rows; absent fields are None.

    Args:
      energy: shape [], in eV.
      energies: of every atom, shape [N], in eV; zero for padding.
      forces: −∂E/∂R, shape [N, 3], in eV/Å.
      virial: −∂E/∂ε for a symmetric strain ε, shape [3, 3], in eV; ASE's stress is −virial/V.
      charges: shape [N], in e.
      dipole: shape [3], in e·Å.
      polarizability: shape [3, 3], in Å³.
      tensor: shape [3, …, 3], or [N, 3, …, 3] per atom; meaning and unit are the model's.

    The noise of a dipole, polarizability or tensor is isotropic: its level is one number, shape [], or [N] per atom.
    """

    energy: Array | None = None
    energies: Array | None = None
    forces: Array | None = None
    virial: Array | None = None
    charges: Array | None = None
    dipole: Array | None = None
    polarizability: Array | None = None
    tensor: Array | None = None
