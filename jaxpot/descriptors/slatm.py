"""Spectra of London and Axilrod-Teller-Muto potentials: SLATM of an atom and of a structure."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.descriptors.triangles import symmetric_pairs, triples
from jaxpot.graph import Environment, Graph, environments
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import positive, pytree, static
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array

_FIRST = 0.1  # Å, the first point of the radial grid
_ANGLES = (-20.0, 200.0)  # degrees, so that broadened lines at 0 and 180 are whole


@pytree
class LocalSLATM(LocalDescriptor):
    r"""SLATM of one atom (aSLATM): London's and Axilrod and Teller's potentials as spectra of distances and angles.

    .. math:: \tfrac12 \sum_j \frac{Z_i Z_j}{R^6}\, g_{\sigma_r}(R - r_{ij})\, f_c(r_{ij})\, \Delta R, \qquad
       \tfrac13 \sum_{j<k} Z_i Z_j Z_k \frac{1 + \cos\Theta \cos\theta_j \cos\theta_k}{(r_{ij} r_{ik} r_{jk})^3}\,
       g_{\sigma_\theta}(\Theta - \theta_i)\, f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk})\, \Delta\Theta

    on grids of R (from 0.1 Å to the cutoff) and Θ (from −20° to 200°), for every element of the neighbour and unordered pair of elements of two;
    g is a normalised Gaussian. The element of the centre is not among the features, since kernels compare centres of one element.

    Args:
      species: chemical symbols.
      cutoff: cutoff function; `Step(4.8)` is the published one, with features that jump as neighbours leave.
      sigma_r: width of the lines of distances, in Å.
      sigma_theta: width of the lines of angles, in rad.
      n_r: points of the radial grid.
      n_theta: points of the angular grid.

    Raises:
      ValueError: for unknown species or grids of less than two points.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import Step
      >>> from ase.build import molecule
      >>> LocalSLATM(("H", "O"), Step(4.8))(from_atoms(molecule("H2O"), cutoff=4.8)).shape
      (3, 755)

    References:
      Huang, von Lilienfeld, "Quantum machine learning using atom-in-molecule-based fragments selected on the fly",
      Nat. Chem. 12, 945 (2020).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    sigma_r: Leaf = positive(default=0.05)
    sigma_theta: Leaf = positive(default=0.05)
    n_r: int = static(default=157, most=10_000)
    n_theta: int = static(default=147, most=10_000)

    def __post_init__(self):
        species_tuple(self.species, "LocalSLATM")
        for name in ("n_r", "n_theta"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 2:
                raise ValueError(f"LocalSLATM: {name} must be a whole number from 2 on, got {getattr(self, name)!r}")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    @property
    def _sizes(self) -> tuple[int, int]:
        s = len(self.species)
        return s * self.n_r, s * (s + 1) // 2 * self.n_theta

    @property
    def n_features(self) -> int:
        return sum(self._sizes)

    def labels(self) -> tuple[tuple, ...]:
        """(element, point of the radial grid) or (element, element, point of the angular grid) of every feature."""
        rows = zip(*np.triu_indices(len(self.species)), strict=True)
        two = tuple((s, n) for s in self.species for n in range(self.n_r))
        return two + tuple((self.species[a], self.species[b], n) for a, b in rows for n in range(self.n_theta))

    def environment(self, env: Environment) -> Array:
        dtype, species = env.vectors.dtype, len(self.species)
        z = jnp.asarray([ATOMIC_NUMBERS[s] for s in self.species], dtype)
        r, own = safe_norm(env.vectors), z[env.center]
        grid = jnp.linspace(_FIRST, jnp.asarray(self.cutoff.radius, dtype), self.n_r)
        lines = _lines(grid, r, jnp.asarray(self.sigma_r, dtype)) / grid[None, :] ** 6
        element = jax.nn.one_hot(env.species, species, dtype=dtype) * (0.5 * own * jnp.where(env.mask, z[env.species] * self.cutoff(r), 0))[:, None]
        two = einsum("ks,kn->sn", element, lines)

        t = triples(env, species)
        angles = jnp.deg2rad(jnp.linspace(*_ANGLES, self.n_theta).astype(dtype))
        theta = jnp.arctan2(t.sine, t.cosines[0])
        lines = _lines(angles, theta, jnp.asarray(self.sigma_theta, dtype))
        j, k = np.triu_indices(env.mask.shape[0], 1)
        strength = own * z[env.species[j]] * z[env.species[k]] / 3 * jnp.prod(self.cutoff(t.sides), axis=0) / jnp.prod(t.sides, axis=0) ** 3
        weighted = jnp.stack([strength, strength * t.cosines[1] * t.cosines[2]])
        three = einsum("wt,tp,tn->wpn", weighted, t.elements, lines)
        three = three[0] + three[1] * jnp.cos(angles)[None, :]
        return jnp.concatenate([two.reshape(-1), three.reshape(-1)])


def _lines(grid: Array, at: Array, sigma: Array) -> Array:
    """Normalised Gaussians times the step of the grid, [..., n]."""
    x = (grid[None, :] - at[:, None]) / sigma
    return jnp.exp(-0.5 * x * x) / (sigma * math.sqrt(2 * math.pi)) * (grid[1] - grid[0])


@pytree
class SLATM(StructureDescriptor):
    r"""SLATM of a structure: the sums of those of its atoms, by elements.

    The features are Z times the number of atoms of each element, spectra of distances for every unordered pair of elements, and spectra of
    angles for every element of the apex and unordered pair of the others.

    Args:
      local: SLATM of an atom.

    Raises:
      TypeError: for another descriptor.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import Step
      >>> from ase.build import molecule
      >>> SLATM(LocalSLATM(("H", "O"), Step(4.8))).features(from_atoms(molecule("H2O"), cutoff=4.8)).shape
      (1355,)

    References:
      Huang, von Lilienfeld, Nat. Chem. 12, 945 (2020).
    """

    local: LocalSLATM

    def __post_init__(self):
        if not isinstance(self.local, LocalSLATM):
            raise TypeError(f"SLATM: expected a LocalSLATM, got {type(self.local).__name__}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.local.species

    @property
    def reach(self) -> Array:
        return self.local.reach

    @property
    def n_features(self) -> int:
        s, (two, three) = len(self.species), self.local._sizes
        return s + two * (s + 1) // 2 + three * s

    def labels(self) -> tuple[tuple[Any, ...], ...]:
        """(element,), (element, element, point) or (apex, element, element, point) of every feature."""
        species, local = self.species, self.local
        pairs = [(species[a], species[b]) for a, b in zip(*np.triu_indices(len(species)), strict=True)]
        two = tuple((*pair, n) for pair in pairs for n in range(local.n_r))
        return tuple((s,) for s in species) + two + tuple((s, *pair, n) for s in species for pair in pairs for n in range(local.n_theta))

    def features(self, graph: Graph) -> Array:
        envs = environments(graph, self.reach, self.species)
        dtype, s = envs.vectors.dtype, len(self.species)
        center = jnp.where((graph.numbers > 0)[:, None], jax.nn.one_hot(envs.center, s, dtype=dtype), 0)
        total = einsum("nz,nf->zf", center, jax.vmap(self.local.environment)(envs))
        two, three = total[:, : self.local._sizes[0]], total[:, self.local._sizes[0] :]
        one = jnp.asarray([ATOMIC_NUMBERS[symbol] for symbol in self.species], dtype) * jnp.sum(center, axis=0)
        return jnp.concatenate([one, symmetric_pairs(two.reshape(s, s, -1)).reshape(-1), three.reshape(-1)])
