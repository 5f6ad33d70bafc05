"""Pair potentials between the elements of a species tuple."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.graph import Graph, environments
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import safe_norm
from jaxpot.potentials.base import Potential
from jaxpot.pytree import positive, pytree, static
from jaxpot.units import ATOMIC_NUMBERS, COULOMB

Array = jax.Array


def _pairs(graph: Graph, reach: Array, species: tuple[str, ...]) -> tuple[Array, Array, Array, Array]:
    """Distances [N, K] with 1 Å in empty slots, both species indices, and the mask."""
    env = environments(graph, reach, species)
    r = safe_norm(env.vectors)
    poisoned = jnp.isnan(r)
    r = jnp.where(env.mask | poisoned, r, 1)
    return r, jnp.broadcast_to(env.center[:, None], r.shape), env.species, env.mask | poisoned


def _table(owner: str, name: str, value: Array, n_species: int) -> None:
    if np.shape(value) not in ((), (n_species, n_species)):
        raise ValueError(f"{owner}: {name} must have shape [] or [{n_species}, {n_species}], got {np.shape(value)}")
    if np.ndim(value) == 2 and not isinstance(value, jax.core.Tracer) and not np.allclose(value, np.transpose(value)):
        raise ValueError(f"{owner}: {name} must be symmetric in the two species")


def _of_pair(value: Array, first: Array, second: Array) -> Array:
    value = jnp.asarray(value)
    return value[first, second] if value.ndim == 2 else value


@pytree
class LennardJones(Potential):
    r"""Lennard-Jones, times a cutoff function.

    .. math:: \epsilon_i = \tfrac12 \sum_j 4\epsilon \left[(s/r_{ij})^{12} - (s/r_{ij})^6\right] f_c(r_{ij})

    Args:
      species: chemical symbols.
      epsilon: well depth, shape [] or [S, S], in eV.
      sigma: s, the distance of zero energy, shape [] or [S, S], in Å.
      cutoff: a cutoff function; `Step` is the plain truncation of other codes.

    Example:
      >>> from jaxpot import PolynomialCutoff
      >>> LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(8.5, width=2.0)).species
      ('Ar',)
    """

    species: tuple[str, ...] = static()
    epsilon: Array = positive()
    sigma: Array = positive()
    cutoff: Cutoff

    def __post_init__(self):
        species_tuple(self.species, "LennardJones")
        _table("LennardJones", "epsilon", self.epsilon, len(self.species))
        _table("LennardJones", "sigma", self.sigma, len(self.species))

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def energies(self, graph: Graph) -> Array:
        r, first, second, mask = _pairs(graph, self.reach, self.species)
        sixth = (_of_pair(self.sigma, first, second) / r) ** 6
        pair = 4 * _of_pair(self.epsilon, first, second) * (sixth * sixth - sixth) * self.cutoff(r)
        return 0.5 * jnp.sum(jnp.where(mask, pair, 0), axis=1).astype(r.dtype)


_ZBL_COEFFICIENTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_ZBL_EXPONENTS = np.array([3.19980, 0.94229, 0.40290, 0.20162])


@pytree
class ZBL(Potential):
    r"""Universal screened nuclear repulsion of Ziegler, Biersack and Littmark, switched off smoothly as in LAMMPS.

    .. math:: \epsilon_i = \tfrac12 \sum_j \frac{e^2}{4\pi\epsilon_0} \frac{Z_i Z_j}{r} \phi(r/a) + S(r), \qquad
       a = \frac{0.46850}{Z_i^{0.23} + Z_j^{0.23}}\ \text{Å}

    S is constant up to `inner` and a quartic from there to `outer`, where energy, force and curvature become zero.

    Args:
      species: chemical symbols.
      inner: where switching begins, in Å.
      outer: where the potential ends, in Å.

    References:
      Ziegler, Biersack, Littmark, "The stopping and range of ions in solids" (1985); LAMMPS documentation of pair_style zbl.
    """

    species: tuple[str, ...] = static()
    inner: Array = positive()
    outer: Array = positive()

    def __post_init__(self):
        species_tuple(self.species, "ZBL")
        if not isinstance(self.inner, jax.core.Tracer) and not isinstance(self.outer, jax.core.Tracer) and not self.inner < self.outer:
            raise ValueError(f"ZBL: inner ({self.inner} Å) must be less than outer ({self.outer} Å)")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.outer)

    def energies(self, graph: Graph) -> Array:
        r, first, second, mask = _pairs(graph, self.reach, self.species)
        charges = jnp.asarray([float(ATOMIC_NUMBERS[s]) for s in self.species], r.dtype)
        zi, zj = charges[first], charges[second]

        def repulsion(r, zi, zj):
            a = 0.46850 / (zi**0.23 + zj**0.23)
            screening = jnp.sum(_ZBL_COEFFICIENTS.astype(r.dtype) * jnp.exp(-_ZBL_EXPONENTS.astype(r.dtype) * r / a))
            return COULOMB * zi * zj / r * screening

        outer = jnp.asarray(self.outer, r.dtype)
        slope = jax.grad(repulsion)

        def pair(r, zi, zj):
            width, ramp = outer - self.inner, jnp.clip(r - self.inner, 0, None)
            e, de = repulsion(outer, zi, zj), slope(outer, zi, zj)
            d2e = jax.grad(slope)(outer, zi, zj)
            cubic = (-3 * de + width * d2e) / width**2
            quartic = (2 * de - width * d2e) / width**3
            constant = -e + 0.5 * width * de - width**2 * d2e / 12
            value = repulsion(r, zi, zj) + constant + cubic / 3 * ramp**3 + quartic / 4 * ramp**4
            return jnp.where(r >= outer, 0, value)  # in this order a NaN distance stays NaN

        return 0.5 * jnp.sum(jnp.where(mask, jax.vmap(jax.vmap(pair))(r, zi, zj), 0), axis=1).astype(r.dtype)
