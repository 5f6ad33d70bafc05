"""Stillinger–Weber: pairs, and angles about every atom, of any number of elements."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.angles import AngularPotential, distances_and_units, ending
from jaxpot.potentials.pair import require_table
from jaxpot.trees import leaf, pytree, static

Array = jax.Array

_PAIRS = ("sigma", "a", "gamma", "A", "B", "p", "q")


@pytree
class StillingerWeber(AngularPotential):
    r"""Stillinger–Weber with tables of the elements, as in LAMMPS.

    .. math:: \epsilon_i &= \tfrac12 \sum_j A\epsilon \left[B (\sigma/r_{ij})^p - (\sigma/r_{ij})^q\right] h_{ij}(1)
       + \sum_{j<k} \lambda\epsilon (\cos\theta_{jik} - c)^2 h_{ij}(\gamma) h_{ik}(\gamma) \\
       h_{ij}(\gamma) &= \exp\frac{\gamma\sigma}{r_{ij} - a\sigma} \quad (r_{ij} < a\sigma)

    An angle belongs to the atom at its apex, and has the mean of the energies by the entries [i, j, k] and [i, k, j]. The product of the h
    factorises the sum over pairs of neighbours: with moments Σ_j h_ij u_j ⊗ u_j of every element it costs as much as a sum over neighbours.

    Args:
      species: chemical symbols, S of them.
      epsilon: shape [] or [S, S, S], the apex first, in eV; that of a pair i, j stands at [i, j, j].
      sigma: shape [] or [S, S], in Å; 0 for pairs that do not meet.
      a: cutoff in units of σ, shape [] or [S, S].
      lam: λ, shape [] or [S, S, S], the apex first.
      gamma: γ, shape [] or [S, S], the apex first.
      cosine: c, of the ideal angle, shape [] or [S, S, S], the apex first.
      A, B, p, q: shape [] or [S, S].

    Raises:
      ValueError: for tables of other shapes, of pairs and not symmetric (only γ may depend on which atom is the apex), not finite, or negative
        σ, a or γ.

    Example:
      >>> silicon = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3,
      ...                           A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
      >>> round(float(silicon.reach), 4)
      3.7712

    References:
      Stillinger, Weber, "Computer simulation of local order in condensed phases of silicon", Phys. Rev. B 31, 5262 (1985).
    """

    species: tuple[str, ...] = static()
    epsilon: Leaf = leaf(shape="[] or [S, S, S]")
    sigma: Leaf = leaf(shape="[] or [S, S]")
    a: Leaf = leaf(shape="[] or [S, S]")
    lam: Leaf = leaf(shape="[] or [S, S, S]")
    gamma: Leaf = leaf(shape="[] or [S, S]")
    cosine: Leaf = leaf(shape="[] or [S, S, S]")
    A: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S]")
    p: Leaf = leaf(shape="[] or [S, S]")
    q: Leaf = leaf(shape="[] or [S, S]")

    pair_tables = _PAIRS
    triplet_tables = ("epsilon", "lam", "cosine")

    def __post_init__(self):
        species_tuple(self.species, "StillingerWeber")
        for name in ("sigma", "a", "gamma"):
            value = getattr(self, name)
            if is_concrete(value) and np.any(np.asarray(value) < 0):
                raise ValueError(f"StillingerWeber: {name} must not be negative, got {np.asarray(value)}")
        s = len(self.species)
        for name in (name for name in _PAIRS if name != "gamma"):
            require_table("StillingerWeber", name, getattr(self, name), s)
        if np.ndim(self.epsilon) and is_concrete(self.epsilon):
            require_table("StillingerWeber", "epsilon of pairs, [i, j, j],", np.einsum("ijj->ij", np.asarray(self.epsilon)), s)

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.sigma) * self.a)

    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        i, j = env.center, env.species
        pair, weight, unit = bonds(table, env)
        own = weight[:, None] * (j[:, None] == jnp.arange(len(table["sigma"]))[None, :]).astype(weight.dtype)
        second = einsum("ks,kx,ky->sxy", own, unit, unit)
        first, zeroth = einsum("ks,kx->sx", own, unit), jnp.sum(own, axis=0)
        strength, c = table["lam"][i] * table["epsilon"][i], table["cosine"][i]
        square, linear = einsum("sxy,txy->st", second, second), einsum("sx,tx->st", first, first)
        everything = strength * (square - 2 * c * linear + c**2 * zeroth[:, None] * zeroth[None, :])
        itself = jnp.diagonal(strength * (1 - c) ** 2) * jnp.sum(own**2, axis=0)  # every neighbour with itself, at angle 0
        return pair + 0.5 * (jnp.sum(everything) - jnp.sum(itself))


def bonds(table: dict[str, Array], env: Environment) -> tuple[Array, Array, Array]:
    """The energy of the pairs of an atom, shape []; the weights h(γ) [K] of its neighbours in angles, and unit vectors [K, 3]."""
    of = {name: table[name][env.center][env.species] for name in _PAIRS}
    r, unit = distances_and_units(env)
    depth = of["a"] * of["sigma"] - r
    ratio = jnp.where(depth <= 0, 1, of["sigma"] / r)
    strength = of["A"] * jnp.diagonal(table["epsilon"][env.center])[env.species]
    pair = strength * (of["B"] * ratio ** of["p"] - ratio ** of["q"]) * ending(of["sigma"], depth)
    return 0.5 * jnp.sum(pair), ending(of["gamma"] * of["sigma"], depth), unit
