"""Vashishta: pairs of ions with steric repulsion, screened charges and dipoles, and angles, for oxides, carbides and semiconductors."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.angles import AngularPotential, distances_and_units, ending, of_angles, over_angles
from jaxpot.potentials.base import Chunked
from jaxpot.potentials.pair import require_table
from jaxpot.trees import leaf, pytree, static
from jaxpot.units import COULOMB

Array = jax.Array

_SYMMETRIC = ("H", "eta", "charges", "lambda1", "D", "lambda4", "W", "cutoff")


@pytree
class Vashishta(AngularPotential, Chunked):
    r"""Vashishta with tables of the elements, as in LAMMPS.

    .. math:: \epsilon_i &= \tfrac12 \sum_j \left[V(r_{ij}) - V(r_c) - (r_{ij} - r_c) V'(r_c)\right]
       + \sum_{j<k} B \frac{(\cos\theta_{jik} - c)^2}{1 + C (\cos\theta_{jik} - c)^2} h_{ij} h_{ik} \\
       V(r) &= \frac{H}{r^\eta} + \frac{e^2}{4\pi\epsilon_0} \frac{Z_i Z_j}{r} e^{-r/\lambda_1} - \frac{D}{r^4} e^{-r/\lambda_4} - \frac{W}{r^6},
       \qquad h_{ij} = \exp\frac{\gamma}{r_{ij} - r_0} \quad (r_{ij} < r_0)

    An angle belongs to the atom at its apex, and has the mean of the entries [i, j, k] and [i, k, j].

    Args:
      species: chemical symbols, S of them.
      H: shape [] or [S, S], in eV Å^η, and eta likewise.
      charges: the products Z_i Z_j, shape [] or [S, S], in e².
      lambda1, lambda4: shape [] or [S, S], in Å; 0 where the term is not screened but absent.
      D, W: shape [] or [S, S], in eV Å⁴ and eV Å⁶.
      cutoff: r_c, shape [] or [S, S], in Å; 0 for pairs that do not meet.
      gamma, r0: shape [] or [S, S], the apex first, in Å; r0 = 0 for pairs that make no angles.
      B: shape [] or [S, S, S], the apex first, in eV; C and cosine (c, of the ideal angle) likewise.
      chunk: atoms per checkpointed block, which bounds memory; None goes by the number of neighbours.

    Raises:
      ValueError: for tables of other shapes or not finite, of pairs and not symmetric, or negative lengths.

    Example:
      >>> carbide = Vashishta(("C", "Si"), H=[[471.74538, 447.09026], [447.09026, 23.67291]], eta=[[7, 9], [9, 7]],
      ...                     charges=[[1.442401, -1.442401], [-1.442401, 1.442401]], lambda1=5.0, D=[[0.0, 7.7874], [7.7874, 15.575]], lambda4=3.0,
      ...                     W=[[0.0, 61.4694], [61.4694, 0.0]], cutoff=7.35, gamma=1.0, r0=[[0.0, 2.9], [2.9, 0.0]], B=9.003, C=5.0, cosine=-1 / 3)
      >>> float(carbide.reach)
      7.35

    References:
      Vashishta, Kalia, Nakano, Rino, "Interaction potential for silicon carbide: A molecular dynamics study of elastic constants and
      vibrational density of states for crystalline and amorphous silicon carbide", J. Appl. Phys. 101, 103515 (2007).
    """

    species: tuple[str, ...] = static()
    H: Leaf = leaf(shape="[] or [S, S]")
    eta: Leaf = leaf(shape="[] or [S, S]")
    charges: Leaf = leaf(shape="[] or [S, S]")
    lambda1: Leaf = leaf(shape="[] or [S, S]")
    D: Leaf = leaf(shape="[] or [S, S]")
    lambda4: Leaf = leaf(shape="[] or [S, S]")
    W: Leaf = leaf(shape="[] or [S, S]")
    cutoff: Leaf = leaf(shape="[] or [S, S]")
    gamma: Leaf = leaf(shape="[] or [S, S]")
    r0: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S, S]")
    C: Leaf = leaf(shape="[] or [S, S, S]")
    cosine: Leaf = leaf(shape="[] or [S, S, S]")
    chunk: int | None = static(default=None)

    pair_tables = (*_SYMMETRIC, "gamma", "r0")
    triplet_tables = ("B", "C", "cosine")

    def __post_init__(self):
        s = len(species_tuple(self.species, "Vashishta"))
        for name in _SYMMETRIC:
            require_table("Vashishta", name, getattr(self, name), s)
        for name in ("lambda1", "lambda4", "cutoff", "gamma", "r0"):
            value = getattr(self, name)
            if is_concrete(value) and np.any(np.asarray(value) < 0):
                raise ValueError(f"Vashishta: {name} must not be negative, got {np.asarray(value)}")
        self._check_chunk()

    @property
    def reach(self) -> Array:
        return jnp.maximum(jnp.max(jnp.asarray(self.cutoff)), jnp.max(jnp.asarray(self.r0)))

    def tables(self) -> dict[str, Array]:
        """With V and its slope at the cutoff."""
        table = super().tables()
        meets = table["cutoff"] > 0
        table["cutoff"] = jnp.where(meets, table["cutoff"], 1)
        last, slope = jax.jvp(lambda r: _pair(r, table), (table["cutoff"],), (jnp.ones_like(table["cutoff"]),))
        return table | {"meets": meets, "last": last, "slope": slope}

    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        i, j = env.center, env.species
        of = {name: value[i][j] for name, value in table.items() if name not in self.triplet_tables}
        triplet = {name: of_angles(table[name], env) for name in self.triplet_tables}
        r, unit = distances_and_units(env)
        near = of["meets"] & (r < of["cutoff"])
        inside = jnp.where(near, r, of["cutoff"])
        pair = jnp.where(near, _pair(inside, of) - of["last"] - (inside - of["cutoff"]) * of["slope"], 0)
        square = (einsum("jx,kx->jk", unit, unit) - triplet["cosine"]) ** 2
        angles = over_angles(ending(of["gamma"], of["r0"] - r), triplet["B"] * square / (1 + triplet["C"] * square))
        return 0.5 * jnp.sum(pair) + angles


def _pair(r: Array, of: dict[str, Array]) -> Array:
    """V of distances [...], given the entries of the tables of pairs."""
    screened = COULOMB * of["charges"] / r * _screening(r, of["lambda1"]) - of["D"] / r**4 * _screening(r, of["lambda4"])
    return of["H"] / r ** of["eta"] + screened - of["W"] / r**6


def _screening(r: Array, length: Array) -> Array:
    return jnp.where(length > 0, jnp.exp(-r / jnp.where(length > 0, length, 1)), 0)
