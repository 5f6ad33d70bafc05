"""Electronegativities that feel only what overlaps: charge does not flow between atoms that are far apart."""

import jax
import jax.numpy as jnp

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph, environments
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import safe_norm
from jaxpot.potentials.base import Potential
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class OverlapWeighted(Potential):
    r"""Differences of electronegativity to neighbours, weighted by overlap, as in QTPIE; instead of electronegativities in `QEq`.

    .. math:: \bar\chi_i = \frac{\sum_j S_{ij}\, (\chi_i - \chi_j)}{1 + \sum_{j \neq i} S_{ij}}, \qquad
       S_{ij} = f_c(r) \left(\frac{2 \sigma_i \sigma_j}{\sigma_i^2 + \sigma_j^2}\right)^{3/2} e^{-r^2 / 4(\sigma_i^2 + \sigma_j^2)}

    S is the overlap of orbitals whose charge densities are Gaussians of widths σ. Atoms far from all others have none, and are neutral; a
    molecule far from others may still draw charge from them, less than in plain equilibration.

    Args:
      species: chemical symbols.
      electronegativity: χ, in eV/e: the atomic energies of a potential.
      sigma: σ of every element, shape [S], in Å.
      cutoff: f_c; overlaps of widths of 1 Å fall below 1e-6 beyond 10.5 Å.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> from jaxpot.cutoffs import CosineCutoff
      >>> qtpie = OverlapWeighted(("Na", "Cl"), IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), sigma=[1.4, 1.0], cutoff=CosineCutoff(12.0))
      >>> qtpie.energies(from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [11.9, 0, 0]]), cutoff=12.0)).round(6).tolist()
      [-0.0, 0.0]

    References:
      Chen, Martínez, "QTPIE: Charge transfer with polarization current equalization. A fluctuating charge model with correct asymptotics",
      Chem. Phys. Lett. 438, 315 (2007).
    """

    species: tuple[str, ...] = static()
    electronegativity: Potential
    sigma: Leaf = positive(shape="[S]")
    cutoff: Cutoff

    def __post_init__(self):
        species_tuple(self.species, "OverlapWeighted")

    @property
    def reach(self) -> Array:
        return jnp.maximum(self.electronegativity.reach, jnp.asarray(self.cutoff.radius))

    def energies(self, graph: Graph) -> Array:
        own = self.electronegativity.energies(graph)
        envs = environments(graph, self.cutoff.radius, self.species, carried=own[:, None])
        r, sigma = safe_norm(envs.vectors), jnp.asarray(self.sigma)
        first, second = sigma[envs.center][:, None], sigma[envs.species]
        squares = first**2 + second**2
        overlap = (2 * first * second / squares) ** 1.5 * jnp.exp(-(r**2) / (4 * squares)) * self.cutoff(r)
        overlap = jnp.where(envs.mask, overlap, 0)
        difference = envs.center_carried[:, 0][:, None] - envs.carried[:, :, 0]
        return jnp.sum(overlap * difference, axis=1) / (1 + jnp.sum(overlap, axis=1))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.electronegativity.causes(graph)
