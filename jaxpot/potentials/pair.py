"""Pair potentials between the elements of a species tuple; how they end is the cutoff's affair."""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.endings import Ending
from jaxpot.math.linalg import safe_norm
from jaxpot.math.splines import CubicSpline
from jaxpot.potentials.base import LocalPotential
from jaxpot.trees import leaf, positive, pytree, static
from jaxpot.units import ATOMIC_NUMBERS, COULOMB

Array = jax.Array


def pairs(envs: Environment) -> tuple[Array, Array, Array]:
    """Distances [n, K] of the neighbours of n atoms, with 1 Å in empty slots, and both species indices, [n, 1] and [n, K]."""
    return jnp.where(envs.mask, safe_norm(envs.vectors), 1), envs.center[:, None], envs.species


def over_pairs(value: Array, envs: Environment) -> Array:
    """Σ_j of what every neighbour slot has, [n, K], shape [n]."""
    return jnp.sum(jnp.where(envs.mask, value, 0), axis=1)


def require_table(owner: str, name: str, value: Array, n_species: int) -> None:
    """Raises unless the shape is [] or [S, S], and the table symmetric."""
    if np.shape(value) not in ((), (n_species, n_species)):
        raise ValueError(f"{owner}: {name} must have shape [] or [{n_species}, {n_species}], got {np.shape(value)}")
    if np.ndim(value) == 2 and is_concrete(value) and not is_symmetric(value):
        raise ValueError(f"{owner}: {name} must be symmetric in the two species, got {np.asarray(value).tolist()}")


def is_symmetric(table: Array) -> bool:
    """Whether a table [S, S, ...] is that of exchanged species, but for the round-off that training leaves."""
    table = np.asarray(table)
    table = table if np.issubdtype(table.dtype, np.floating) else table.astype(float)
    return bool(np.max(np.abs(table - np.swapaxes(table, 0, 1))) <= 64 * np.finfo(table.dtype).eps * np.max(np.abs(table)))


def of_pair(value: Array, first: Array, second: Array) -> Array:
    """The entries of a table [S, S], or the number that stands for all of them."""
    value = jnp.asarray(value)
    return value[first, second] if value.ndim == 2 else value


class PairPotential(LocalPotential):
    r"""Interface: half of every pair's energy to each of its atoms. A new pair potential writes `pair`.

    .. math:: \epsilon_i = \tfrac12 \sum_j V_{z_i z_j}(r_{ij}) f_c(r_{ij})

    Attributes:
      cutoff: how V ends: a factor f_c, of which `Step` is the plain truncation of other codes; `Shifted` and `ForceShifted`
        subtract instead.

    Example:
      >>> from jaxpot.cutoffs import ForceShifted
      >>> @pytree
      ... class BornMayer(PairPotential):
      ...     species: tuple[str, ...] = static()
      ...     amplitude: Leaf = positive(shape="[] or [S, S]")
      ...     cutoff: Ending
      ...     def pair(self, r, first, second):
      ...         return of_pair(self.amplitude, first, second) * jnp.exp(-r)
      >>> float(BornMayer(("Ar",), 2.0, ForceShifted(5.0)).reach)
      5.0
    """

    cutoff: Ending

    @abc.abstractmethod
    def pair(self, r: Array, first: Array, second: Array) -> Array:
        """V at distances r [...] between species of these indices [...], in eV."""

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    def of(self, envs: Environment) -> Array:
        r, first, second = pairs(envs)
        return 0.5 * over_pairs(self.cutoff.ended(lambda distance: self.pair(distance, first, second), r), envs)


def _check(self: PairPotential, *names: str) -> None:
    owner = type(self).__name__
    species_tuple(self.species, owner)
    for name in names:
        require_table(owner, name, getattr(self, name), len(self.species))


@pytree
class LennardJones(PairPotential):
    r"""Lennard-Jones.

    .. math:: V(r) = 4\epsilon \left[(\sigma/r)^{12} - (\sigma/r)^6\right]

    Args:
      species: chemical symbols.
      epsilon: well depth, shape [] or [S, S], in eV.
      sigma: the distance of zero energy, shape [] or [S, S], in Å.
      cutoff: how it ends; LAMMPS's `lj/cut` is `Step`, with `pair_modify shift yes` it is `Shifted`, `lj/smooth/linear` is `ForceShifted`.

    Example:
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(8.5, width=2.0)).species
      ('Ar',)
    """

    species: tuple[str, ...] = static()
    epsilon: Leaf = positive(shape="[] or [S, S]")
    sigma: Leaf = positive(shape="[] or [S, S]")
    cutoff: Ending

    def __post_init__(self):
        _check(self, "epsilon", "sigma")

    def pair(self, r, first, second):
        sixth = (of_pair(self.sigma, first, second) / r) ** 6
        return 4 * of_pair(self.epsilon, first, second) * (sixth * sixth - sixth)


def lorentz_berthelot(epsilon: jax.typing.ArrayLike, sigma: jax.typing.ArrayLike) -> tuple[Array, Array]:
    """Tables [S, S] of ε and σ from those of the elements [S]: the geometric mean of ε, the arithmetic of σ (LAMMPS's `mix arithmetic`).

    Example:
      >>> epsilon, sigma = lorentz_berthelot(np.array([0.01, 0.04]), np.array([3.0, 4.0]))
      >>> epsilon.round(6).tolist(), sigma.tolist()
      ([[0.01, 0.02], [0.02, 0.04]], [[3.0, 3.5], [3.5, 4.0]])
    """
    return _geometric(epsilon), 0.5 * (sigma[:, None] + sigma[None, :])


def geometric_mixing(epsilon: jax.typing.ArrayLike, sigma: jax.typing.ArrayLike) -> tuple[Array, Array]:
    """Tables [S, S] of ε and σ from those of the elements [S], both by the geometric mean (LAMMPS's default)."""
    return _geometric(epsilon), _geometric(sigma)


def waldman_hagler(epsilon: jax.typing.ArrayLike, sigma: jax.typing.ArrayLike) -> tuple[Array, Array]:
    """Tables [S, S] of ε and σ from those of the elements [S]: σ⁶ is the mean of σ⁶, ε σ⁶ the geometric one (LAMMPS's `sixthpower`)."""
    sixth = sigma**6
    mean = 0.5 * (sixth[:, None] + sixth[None, :])
    return _geometric(epsilon * sixth) / mean, mean ** (1 / 6)


def _geometric(values: Array) -> Array:
    return (values[:, None] * values[None, :]) ** 0.5


@pytree
class Morse(PairPotential):
    r"""Morse.

    .. math:: V(r) = D \left[e^{-2\alpha (r - r_0)} - 2 e^{-\alpha (r - r_0)}\right]

    Args:
      species: chemical symbols.
      depth: D, shape [] or [S, S], in eV.
      alpha: shape [] or [S, S], in 1/Å.
      minimum: r_0, the distance of lowest energy, shape [] or [S, S], in Å.
      cutoff: how it ends.

    Example:
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> cu = Morse(("Cu",), depth=0.3429, alpha=1.3588, minimum=2.866, cutoff=PolynomialCutoff(6.5, width=1.0))
      >>> float(cu.pair(jnp.array(2.866), 0, 0))
      -0.3429
    """

    species: tuple[str, ...] = static()
    depth: Leaf = positive(shape="[] or [S, S]")
    alpha: Leaf = positive(shape="[] or [S, S]")
    minimum: Leaf = positive(shape="[] or [S, S]")
    cutoff: Ending

    def __post_init__(self):
        _check(self, "depth", "alpha", "minimum")

    def pair(self, r, first, second):
        decay = jnp.exp(-of_pair(self.alpha, first, second) * (r - of_pair(self.minimum, first, second)))
        return of_pair(self.depth, first, second) * (decay * decay - 2 * decay)


@pytree
class Buckingham(PairPotential):
    r"""Buckingham. It falls to −∞ at short distances where C > 0: add `ZBL` if atoms come close.

    .. math:: V(r) = A e^{-r/\rho} - C/r^6

    Args:
      species: chemical symbols.
      amplitude: A, shape [] or [S, S], in eV; 0 for pairs that do not repel.
      rho: shape [] or [S, S], in Å.
      dispersion: C, shape [] or [S, S], in eV Å⁶; 0 for pairs that do not attract.
      cutoff: how it ends.

    Example:
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> Buckingham(("O",), amplitude=1388.773, rho=0.362319, dispersion=175.0, cutoff=PolynomialCutoff(7.0, width=1.0)).species
      ('O',)
    """

    species: tuple[str, ...] = static()
    amplitude: Leaf = leaf(shape="[] or [S, S]")
    rho: Leaf = positive(shape="[] or [S, S]")
    dispersion: Leaf = leaf(shape="[] or [S, S]")
    cutoff: Ending

    def __post_init__(self):
        _check(self, "amplitude", "rho", "dispersion")

    def pair(self, r, first, second):
        repulsion = of_pair(self.amplitude, first, second) * jnp.exp(-r / of_pair(self.rho, first, second))
        return repulsion - of_pair(self.dispersion, first, second) / r**6


@pytree
class CutCoulomb(PairPotential):
    r"""Fixed charges of the elements, cut off: for molecules and tests, as in a crystal the sum of cut pairs does not converge.

    .. math:: V(r) = \frac{e^2}{4\pi\epsilon_0} \frac{q_{z_i} q_{z_j}}{r}

    Args:
      species: chemical symbols.
      charges: q, shape [S], in e.
      cutoff: how it ends; LAMMPS's `coul/cut` is `Step`.

    Example:
      >>> from jaxpot.cutoffs import ForceShifted
      >>> salt = CutCoulomb(("Na", "Cl"), charges=[1.0, -1.0], cutoff=ForceShifted(10.0))
      >>> float(salt.pair(jnp.array(1.0), 0, 1))
      -14.399645
    """

    species: tuple[str, ...] = static()
    charges: Leaf = leaf(shape="[S]")
    cutoff: Ending

    def __post_init__(self):
        _check(self)

    def pair(self, r, first, second):
        charges = jnp.asarray(self.charges)
        return COULOMB * charges[first] * charges[second] / r


@pytree
class PairSpline(LocalPotential):
    r"""Tabulated pair energies: a cubic spline for each pair of elements, and nothing from its last knot on (QUIP's `IP Glue` without density).

    .. math:: \epsilon_i = \tfrac12 \sum_j V_{z_i z_j}(r_{ij})

    Args:
      species: chemical symbols.
      pairs: element pairs that have a spline; others do not interact.
      splines: V of each pair, of r in Å, in eV. The last values should be 0, and the slopes there.

    Raises:
      ValueError: for pairs of other elements, one pair twice, or another number of splines.

    Example:
      >>> from jaxpot.empirical import CubicSpline
      >>> repulsion = CubicSpline([1.2, 1.6, 2.0, 2.4], [13.5, 1.5, 0.2, 0.0], last=0.0)
      >>> float(PairSpline(("Si",), (("Si", "Si"),), (repulsion,)).reach)
      2.4
    """

    species: tuple[str, ...] = static()
    pairs: tuple[tuple[str, str], ...] = static()
    splines: tuple[CubicSpline, ...] = ()

    def __post_init__(self):
        species_tuple(self.species, "PairSpline")
        object.__setattr__(self, "pairs", tuple(map(tuple, self.pairs)))
        names = [tuple(sorted(pair)) for pair in self.pairs]
        if len(self.pairs) != len(self.splines) or not self.pairs:
            raise ValueError(f"PairSpline: got {len(self.splines)} splines for the pairs {self.pairs}; expected one each")
        if len(set(names)) < len(names) or any(len(p) != 2 or not set(p) <= set(self.species) for p in names):
            raise ValueError(f"PairSpline: pairs {self.pairs} should be different pairs of {self.species}")

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.stack([jnp.asarray(spline.x)[-1] for spline in self.splines]))

    def of(self, envs: Environment) -> Array:
        r, first, second = pairs(envs)
        total = jnp.zeros_like(r)
        for (a, b), spline in zip(self.pairs, self.splines, strict=True):
            a, b = self.species.index(a), self.species.index(b)
            is_pair = ((first == a) & (second == b)) | ((first == b) & (second == a))
            total = total + jnp.where(is_pair & (r < jnp.asarray(spline.x, r.dtype)[-1]), spline(r), 0)
        return 0.5 * over_pairs(total, envs)


_ZBL_COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
_ZBL_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


def screened_repulsion(r: Array, first: Array, second: Array, species: tuple[str, ...], inner: Array, outer: Array) -> Array:
    """The repulsion of `ZBL` at distances r [...] between elements of these indices, in eV; inner and outer have shape [S, S], in Å."""
    charges = jnp.asarray([float(ATOMIC_NUMBERS[s]) for s in species], r.dtype)
    product, inverse_length = charges[:, None] * charges[None, :], (charges[:, None] ** 0.23 + charges[None, :] ** 0.23) / 0.46850

    def repulsion(r, product, inverse_length):
        x = r * inverse_length
        return COULOMB * product / r * sum(c * jnp.exp(-e * x) for c, e in zip(_ZBL_COEFFICIENTS, _ZBL_EXPONENTS, strict=True))

    # what the switch is made of depends on the elements alone: tables [S, S]
    slope = jax.grad(lambda r: jnp.sum(repulsion(r, product, inverse_length)))
    de, d2e = jax.jvp(slope, (outer,), (jnp.ones_like(outer),))
    width, ramp = outer - inner, jnp.clip(r - inner[first, second], 0, None)
    cubic = (-3 * de + width * d2e) / width**2
    quartic = (2 * de - width * d2e) / width**3
    constant = -repulsion(outer, product, inverse_length) + 0.5 * width * de - width**2 * d2e / 12
    value = repulsion(r, product[first, second], inverse_length[first, second]) + constant[first, second]
    value = value + cubic[first, second] / 3 * ramp**3 + quartic[first, second] / 4 * ramp**4
    return jnp.where(r < outer[first, second], value, 0)


@pytree
class ZBL(LocalPotential):
    r"""Universal screened nuclear repulsion of Ziegler, Biersack and Littmark, switched off smoothly as in LAMMPS.

    .. math:: \epsilon_i = \tfrac12 \sum_j \frac{e^2}{4\pi\epsilon_0} \frac{Z_i Z_j}{r} \phi(r/a) + S(r), \qquad
       a = \frac{0.46850}{Z_i^{0.23} + Z_j^{0.23}}\ \text{Å}

    S is constant up to `inner` and a quartic from there to `outer`, where energy, force and curvature become zero.

    Args:
      species: chemical symbols.
      inner: where switching begins, in Å.
      outer: where the potential ends, in Å.

    Example:
      >>> import ase
      >>> zbl = ZBL(("Si",), inner=1.2, outer=1.8)
      >>> [round(float(zbl(ase.Atoms("Si2", [[0, 0, 0], [r, 0, 0]]))), 3) for r in (1.0, 1.5, 2.0)]
      [42.569, 2.144, 0.0]

    References:
      Ziegler, Biersack, Littmark, "The stopping and range of ions in solids" (1985); LAMMPS documentation of pair_style zbl.
    """

    species: tuple[str, ...] = static()
    inner: Leaf = positive()
    outer: Leaf = positive()

    def __post_init__(self):
        species_tuple(self.species, "ZBL")
        if is_concrete(self.inner) and is_concrete(self.outer) and not self.inner < self.outer:
            raise ValueError(f"ZBL: inner ({self.inner} Å) must be less than outer ({self.outer} Å)")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.outer)

    def of(self, envs: Environment) -> Array:
        r, first, second = pairs(envs)
        inner, outer = (jnp.broadcast_to(jnp.asarray(x, r.dtype), (len(self.species),) * 2) for x in (self.inner, self.outer))
        return 0.5 * over_pairs(screened_repulsion(r, first, second, self.species, inner, outer), envs)
