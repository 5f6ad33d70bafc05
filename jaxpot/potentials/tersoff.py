"""Tersoff: pairs whose attraction depends on the other neighbours, and its modification for silicon."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.angles import AngularPotential, distances_and_units
from jaxpot.potentials.base import Chunked
from jaxpot.trees import leaf, pytree, static

Array = jax.Array

_SHARED_PAIRS = ("beta", "lambda1", "lambda2", "A", "B")


class BondOrderPotential(AngularPotential):
    r"""Interface: repulsion and attraction of pairs, the latter weakened by the other neighbours k of the atom.

    .. math:: \epsilon_i &= \tfrac12 \sum_j \left[V_R(r_{ij}) - b_{ij} V_A(r_{ij})\right], \qquad
       V_R = f_c(r) A e^{-\lambda_1 r}, \quad V_A = f_c(r) B e^{-\lambda_2 r} \\
       \zeta_{ij} &= \sum_{k \ne j} f_c(r_{ik})\, g(\theta_{jik}) \exp\left[\lambda_3 (r_{ij} - r_{ik})\right]^m

    A new one writes `end`, `angular` and `order`, and names its tables. They are indexed by the atom i, its neighbour j and the other neighbour k;
    each atom of a bond has half of what its own entries say. Where D = 0, f_c is 1 up to R and 0 from there on.
    """

    m: int

    @abc.abstractmethod
    def end(self, x: Array) -> Array:
        """f_c of x = (r − R)/D, clamped to [−1, 1]."""

    @abc.abstractmethod
    def angular(self, cosine: Array, of: dict[str, Array]) -> Array:
        """g of cos θ, given the entries of the triplet tables."""

    @abc.abstractmethod
    def order(self, zeta: Array, of: dict[str, Array]) -> Array:
        """b of ζ [K], given the entries of the pair tables."""

    def repulsion(self, r: Array, fade: Array, of: dict[str, Array]) -> Array:
        """V_R at distances r [K] with f_c of them, given the entries of the pair tables."""
        return fade * of["A"] * jnp.exp(-of["lambda1"] * r)

    def attraction(self, r: Array, fade: Array, of: dict[str, Array]) -> Array:
        """V_A, likewise."""
        return fade * of["B"] * jnp.exp(-of["lambda2"] * r)

    def _check(self) -> None:
        owner = type(self).__name__
        species_tuple(self.species, owner)
        for name in ("R", "D"):
            if is_concrete(getattr(self, name)) and not np.all(np.asarray(getattr(self, name)) >= 0):
                raise ValueError(f"{owner}: {name} must be ≥ 0, got {np.asarray(getattr(self, name))}")
        if self.m not in (1, 3):
            raise ValueError(f"{owner}: m must be 1 or 3, got {self.m}")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.R) + self.D)

    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        i, j, n = env.center, env.species, env.species.shape[0]
        if len(self.species) == 1:  # numbers instead of [K, K] gathers of one and the same
            of = {name: value.reshape(()) for name, value in table.items()}
            same = of
        else:
            of = {name: table[name][i][j] for name in self.pair_tables} | {
                name: table[name][i][j[:, None], j[None, :]] for name in self.triplet_tables
            }
            same = {name: jnp.diagonal(of[name]) for name in ("R", "D")}

        r, unit = distances_and_units(env)
        near = r <= self.reach
        stretch = jnp.where(near[:, None] & near[None, :], r[:, None] - r[None, :], 0)  # beyond, the exponential might overflow
        others = self._fade(r[None, :], of["R"], of["D"]) * self.angular(einsum("jx,kx->jk", unit, unit), of)
        zeta = jnp.sum(jnp.where(jnp.eye(n, dtype=bool), 0, others * jnp.exp((of["lambda3"] * stretch) ** self.m)), axis=1)
        fade = self._fade(r, same["R"], same["D"])
        return 0.5 * jnp.sum(self.repulsion(r, fade, of) - self.order(zeta, of) * self.attraction(r, fade, of))

    def _fade(self, r: Array, R: Array, D: Array) -> Array:
        return self.end(jnp.where(D > 0, jnp.clip((r - R) / jnp.where(D > 0, D, 1), -1, 1), jnp.where(r < R, -1, 1)))


def _weakened(x: Array, power: Array, root: Array) -> Array:
    """(1 + x^power)^(−1/(2 root)) for x ≥ 0; 1 with derivative 0 where x^power is below round-off, for its slope at 0 may be infinite."""
    # the bound on x itself keeps its logarithm and the derivatives of that finite
    nothing = (x <= 1e-30) | (power * jnp.log(jnp.where(x <= 1e-30, 1, x)) < -40)
    grown = power * jnp.log(jnp.where(nothing, 1, x))
    return jnp.where(nothing, 1, jnp.exp(-jax.nn.softplus(grown) / (2 * root)))


@pytree
class Tersoff(BondOrderPotential, Chunked):
    r"""Tersoff with tables of the elements, as in LAMMPS.

    .. math:: \epsilon_i &= \tfrac12 \sum_j f_c(r_{ij}) \left[A e^{-\lambda_1 r_{ij}} - b_{ij} B e^{-\lambda_2 r_{ij}}\right], \qquad
       b_{ij} = \left(1 + (\beta\zeta_{ij})^n\right)^{-1/2n} \\
       \zeta_{ij} &= \sum_{k \ne j} f_c(r_{ik})\, \gamma \left(1 + \frac{c^2}{d^2} - \frac{c^2}{d^2 + (\cos\theta_{jik} - h)^2}\right)
       e^{\left[\lambda_3 (r_{ij} - r_{ik})\right]^m} \\
       f_c(r) &= \tfrac12 \left(1 - \sin\tfrac{\pi}{2}\tfrac{r - R}{D}\right) \quad (|r - R| < D), \text{ 1 before, 0 behind}

    Where n < 1 the Hessian has a pole as a third atom enters; forces are continuous.

    Args:
      species: chemical symbols, S of them.
      n, beta: shape [] or [S, S], of the atom and its neighbour.
      lambda1, lambda2: in 1/Å, and A, B in eV, likewise.
      R, D: in Å, shape [] or [S, S, S]: of the atom, the neighbour j and the k whose distance is meant; those of a bond at [i, j, j].
      lambda3: in 1/Å, and gamma, c, d and cosine (h), likewise.
      m: 1 or 3.
      chunk: atoms per checkpointed block, which bounds memory; None takes 128 on CPU and 65 536 elsewhere.

    Raises:
      ValueError: for tables of other shapes or not finite, d or n that are not positive, negative R or D, or another m.

    Example:
      >>> silicon = Tersoff(("Si",), A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.73222, beta=1.1e-6, n=0.78734, c=100390.0, d=16.217,
      ...                   cosine=-0.59825, lambda3=0.0, gamma=1.0, R=2.85, D=0.15)
      >>> float(silicon.reach)
      3.0

    References:
      Tersoff, "Modeling solid-state chemistry: Interatomic potentials for multicomponent systems", Phys. Rev. B 39, 5566 (1989).
    """

    species: tuple[str, ...] = static()
    A: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S]")
    lambda1: Leaf = leaf(shape="[] or [S, S]")
    lambda2: Leaf = leaf(shape="[] or [S, S]")
    beta: Leaf = leaf(shape="[] or [S, S]")
    n: Leaf = leaf(shape="[] or [S, S]")
    c: Leaf = leaf(shape="[] or [S, S, S]")
    d: Leaf = leaf(shape="[] or [S, S, S]")
    cosine: Leaf = leaf(shape="[] or [S, S, S]")
    lambda3: Leaf = leaf(shape="[] or [S, S, S]")
    gamma: Leaf = leaf(shape="[] or [S, S, S]")
    R: Leaf = leaf(shape="[] or [S, S, S]")
    D: Leaf = leaf(shape="[] or [S, S, S]")
    m: int = static(default=3)
    chunk: int | None = static(default=None)

    pair_tables = (*_SHARED_PAIRS, "n")
    triplet_tables = ("R", "D", "lambda3", "gamma", "c", "d", "cosine")

    def __post_init__(self):
        self._check()
        self._check_chunk()
        for name in ("n", "d"):
            if is_concrete(getattr(self, name)) and not np.all(np.asarray(getattr(self, name)) > 0):
                raise ValueError(f"Tersoff: {name} must be > 0, got {np.asarray(getattr(self, name))}")

    def end(self, x):
        return jnp.where(x >= 1, 0, 0.5 - 0.5 * jnp.sin(0.5 * jnp.pi * x))

    def angular(self, cosine, of):
        c, d = of["c"] ** 2, of["d"] ** 2
        return of["gamma"] * (1 + c / d - c / (d + (cosine - of["cosine"]) ** 2))

    def order(self, zeta, of):
        return _weakened(of["beta"] * zeta, of["n"], of["n"])


@pytree
class ModifiedTersoff(BondOrderPotential, Chunked):
    r"""The modification of Kumagai et al. with tables of the elements, LAMMPS's `tersoff/mod`, and with a constant c_0 its `tersoff/mod/c`.

    As `Tersoff`, with f_c (r) c_0 added to the repulsion, and

    .. math:: b_{ij} &= \left(1 + (\beta\zeta_{ij})^\eta\right)^{-1/2n}, \qquad
       g = c_1 + \frac{c_2 x}{c_3 + x} \left(1 + c_4 e^{-c_5 x}\right), \quad x = (h - \cos\theta)^2 \\
       f_c(r) &= \tfrac12 - \tfrac{9}{16} \sin\tfrac{\pi}{2}\tfrac{r - R}{D} - \tfrac{1}{16} \sin\tfrac{3\pi}{2}\tfrac{r - R}{D}

    Args:
      species: chemical symbols, S of them.
      n, eta, beta: shape [] or [S, S], of the atom and its neighbour.
      lambda1, lambda2: in 1/Å, and A, B in eV, likewise.
      R, D: in Å, shape [] or [S, S, S], as of `Tersoff`.
      lambda3: LAMMPS's α, in 1/Å, and cosine (h), c1, c2, c3, c4 and c5, likewise.
      c0: shape [] or [S, S], in eV.
      m: LAMMPS's β, 1 or 3.
      chunk: atoms per checkpointed block; None takes 128 on CPU and 65 536 elsewhere.

    Raises:
      ValueError: for tables of other shapes or not finite, n, eta or c3 that are not positive, negative R or D, or another m.

    References:
      Kumagai, Izumi, Hara, Sakai, "Development of bond-order potentials that can reproduce the elastic constants and melting point
      of silicon for classical molecular dynamics simulation", Comput. Mater. Sci. 39, 457 (2007).
    """

    species: tuple[str, ...] = static()
    A: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S]")
    lambda1: Leaf = leaf(shape="[] or [S, S]")
    lambda2: Leaf = leaf(shape="[] or [S, S]")
    beta: Leaf = leaf(shape="[] or [S, S]")
    n: Leaf = leaf(shape="[] or [S, S]")
    eta: Leaf = leaf(shape="[] or [S, S]")
    c1: Leaf = leaf(shape="[] or [S, S, S]")
    c2: Leaf = leaf(shape="[] or [S, S, S]")
    c3: Leaf = leaf(shape="[] or [S, S, S]")
    c4: Leaf = leaf(shape="[] or [S, S, S]")
    c5: Leaf = leaf(shape="[] or [S, S, S]")
    cosine: Leaf = leaf(shape="[] or [S, S, S]")
    lambda3: Leaf = leaf(shape="[] or [S, S, S]")
    R: Leaf = leaf(shape="[] or [S, S, S]")
    D: Leaf = leaf(shape="[] or [S, S, S]")
    c0: Leaf = leaf(default=0.0, shape="[] or [S, S]")
    m: int = static(default=1)
    chunk: int | None = static(default=None)

    pair_tables = (*_SHARED_PAIRS, "n", "eta", "c0")
    triplet_tables = ("R", "D", "lambda3", "cosine", "c1", "c2", "c3", "c4", "c5")

    def __post_init__(self):
        self._check()
        self._check_chunk()
        for name in ("n", "eta", "c3"):
            if is_concrete(getattr(self, name)) and not np.all(np.asarray(getattr(self, name)) > 0):
                raise ValueError(f"ModifiedTersoff: {name} must be > 0, got {np.asarray(getattr(self, name))}")

    def end(self, x):
        return jnp.where(x >= 1, 0, 0.5 - 9 / 16 * jnp.sin(0.5 * jnp.pi * x) - 1 / 16 * jnp.sin(1.5 * jnp.pi * x))

    def angular(self, cosine, of):
        x = (of["cosine"] - cosine) ** 2
        return of["c1"] + of["c2"] * x / (of["c3"] + x) * (1 + of["c4"] * jnp.exp(-of["c5"] * x))

    def order(self, zeta, of):
        return _weakened(of["beta"] * zeta, of["eta"], of["n"])

    def repulsion(self, r, fade, of):
        return fade * (of["A"] * jnp.exp(-of["lambda1"] * r) + of["c0"])
