"""Heads linear in the features."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.heads.base import Head, LinearHead
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.linalg import einsum
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


def _check_coefficients(head: LinearHead) -> None:
    if head.coefficients is not None and head.n_species is not None and np.shape(head.coefficients) != (head.n_coefficients,):
        raise ValueError(f"{type(head).__name__}: expected coefficients [{head.n_coefficients}], got {np.shape(head.coefficients)}")


def _sizes(head: LinearHead, descriptor: Descriptor) -> tuple[int, int]:
    """Numbers of species and features, which must be those that the head was made for, if it was."""
    given, needed = (head.n_species, head.n_features), (len(descriptor.species), descriptor.n_features)
    if given not in ((None, None), needed):
        raise ValueError(f"{type(head).__name__} was made for (species, features) = {given}, the descriptor has {needed}")
    return needed


@pytree
class Linear(LinearHead):
    r"""One coefficient per feature and centre species, :math:`\epsilon_i = \sum_f w_{z_i f}\, x_{if}`.

    Args:
      scale: prior standard deviation of every coefficient, in eV per unit of the feature.
      roughness: divides `scale` feature by feature, shape [F], for priors that prefer smooth functions (`ACE.smoothness`); None
        treats all alike.
      difference: δ, how much the coefficients of one element differ a priori from what is common to all,
        :math:`w_{zf} \propto u_f + \delta\, v_{zf}` with u and v of equal size; `scale` is the deviation of the whole, whatever δ. None makes elements
        independent.
      coefficients: w, shape [S · F], species slowest; None until fitted.
      n_species: S; None until joined with a descriptor in an AtomicPotential.
      n_features: F; likewise.

    Example:
      >>> from jaxpot import GTO, SOAP, AtomicPotential, CosineCutoff, Density
      >>> soap = SOAP(Density(("C", "H"), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5))
      >>> soap.n_features, AtomicPotential(soap, Linear(scale=10.0)).n_coefficients  # for each element of the centre
      (20, 40)
    """

    scale: Leaf = positive(default=1.0)
    roughness: OptionalLeaf = positive(default=None, shape="[F]", low=1e-300)
    difference: OptionalLeaf = positive(default=None, low=1e-4)
    coefficients: OptionalLeaf = None
    n_species: int | None = static(default=None)
    n_features: int | None = static(default=None)

    def __post_init__(self):
        _check_coefficients(self)

    @property
    def n_coefficients(self) -> int:
        return self.n_species * self.n_features

    def sized(self, descriptor: Descriptor) -> "Linear":
        n_species, n_features = _sizes(self, descriptor)
        if self.roughness is not None and np.shape(self.roughness) != (n_features,):
            raise ValueError(f"Linear: expected one roughness per feature, shape [{n_features}], got {np.shape(self.roughness)}")
        return self.replace(n_species=n_species, n_features=n_features)

    def basis(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        return (own[:, :, None] * features[:, None, :]).reshape(features.shape[0], -1)

    def by_species(self) -> Array:
        """The coefficients of every centre species, shape [S, F]."""
        return jnp.reshape(self.coefficients, (self.n_species, self.n_features))

    def __call__(self, features: Array, species: Array) -> Array:
        if self.coefficients is None:
            return super().__call__(features, species)  # which refuses
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        return einsum("ns,sf,nf->n", own, jnp.asarray(self.by_species(), features.dtype), features)

    def precision(self) -> Array:
        rough = jnp.ones(self.n_features) if self.roughness is None else jnp.asarray(self.roughness)
        own = (rough / self.scale) ** 2
        if self.difference is None:
            return jnp.diag(jnp.tile(own, self.n_species))
        # the inverse of (1 + δ² δ_zz') / (1 + δ²)
        square = jnp.asarray(self.difference) ** 2
        elements = (1 + square) / square * (jnp.eye(self.n_species) - 1 / (self.n_species + square))
        return jnp.kron(elements, jnp.diag(own))


@pytree
class SharedLinear(LinearHead):
    r"""One coefficient per feature, the same for every centre, :math:`\epsilon_i = \sum_f w_f\, x_{if}`.

    For features that belong to a kind of cluster and not to the atom it is seen from, `ClusterPIP` and `StarPIP`.

    .. math:: w \sim N(0, \Lambda^{-1}), \qquad \Lambda = 1/\mathrm{scale}^2 + \mathrm{penalty}

    Args:
      scale: prior standard deviation of every coefficient without the penalty, in eV per unit of the feature.
      penalty: what is added to the precision, positive semidefinite, shape [F, F]: a multiple of `ClusterPIP.roughness`. None is none.
      coefficients: w, shape [F]; None until fitted.
      n_species: S; None until joined with a descriptor in an AtomicPotential.
      n_features: F; likewise.

    Example:
      >>> from jaxpot import AtomicPotential, CosineCutoff
      >>> from jaxpot.descriptors import ClusterPIP
      >>> from jaxpot.radial import MorseTransform
      >>> pairs = ClusterPIP(("Si",), CosineCutoff(4.0, width=1.0), MorseTransform(2.35, decay=2.0), order=2, degree=4)
      >>> AtomicPotential(pairs, SharedLinear(scale=100.0)).n_coefficients
      5
    """

    scale: Leaf = positive(default=1.0)
    penalty: OptionalLeaf = None
    coefficients: OptionalLeaf = None
    n_species: int | None = static(default=None)
    n_features: int | None = static(default=None)

    def __post_init__(self):
        _check_coefficients(self)

    @property
    def n_coefficients(self) -> int:
        return self.n_features

    def sized(self, descriptor: Descriptor) -> "SharedLinear":
        n_species, n_features = _sizes(self, descriptor)
        if self.penalty is not None and np.shape(self.penalty) != (n_features, n_features):
            raise ValueError(f"SharedLinear: expected a penalty [{n_features}, {n_features}], got {np.shape(self.penalty)}")
        return self.replace(n_species=n_species, n_features=n_features)

    def basis(self, features: Array, species: Array) -> Array:
        return features

    def by_species(self) -> Array:
        """The coefficients of every centre species, all the same, shape [S, F]."""
        return jnp.broadcast_to(jnp.asarray(self.coefficients), (self.n_species, self.n_features))

    def precision(self) -> Array:
        own = jnp.eye(self.n_features) / self.scale**2
        return own if self.penalty is None else own + self.penalty


@pytree
class Quadratic(LinearHead):
    r"""Linear and quadratic in the features, linear in its coefficients: the head of qSNAP.

    .. math:: \epsilon_i = \sum_f \beta_f x_f + \tfrac12 \sum_f \alpha_{ff} x_f^2 + \sum_{f<g} \alpha_{fg} x_f x_g

    with β and α of the species of the centre.

    Args:
      scale: prior standard deviation of β, in eV per unit of the feature.
      quadratic_scale: prior standard deviation of α, in eV per unit of the feature squared.
      coefficients: shape [S · (F + F (F + 1) / 2)], species slowest, β before the upper triangle of α by rows; None until fitted. That is the
        order and the factor ½ of LAMMPS (quadraticflag).
      n_species: S; None until joined with a descriptor in an AtomicPotential.
      n_features: F; likewise.

    Example:
      >>> from jaxpot import AtomicPotential
      >>> from jaxpot.descriptors import Bispectrum
      >>> AtomicPotential(Bispectrum(("Si",), 4.9, two_j_max=4), Quadratic()).n_coefficients
      119

    References:
      Wood, Thompson, "Extending the accuracy of the SNAP interatomic potential form", J. Chem. Phys. 148, 241721 (2018).
    """

    scale: Leaf = positive(default=1.0)
    quadratic_scale: Leaf = positive(default=1.0)
    coefficients: OptionalLeaf = None
    n_species: int | None = static(default=None)
    n_features: int | None = static(default=None)

    def __post_init__(self):
        _check_coefficients(self)

    @property
    def n_coefficients(self) -> int:
        return self.n_species * (self.n_features + self.n_features * (self.n_features + 1) // 2)

    def sized(self, descriptor: Descriptor) -> "Quadratic":
        n_species, n_features = _sizes(self, descriptor)
        return self.replace(n_species=n_species, n_features=n_features)

    def basis(self, features: Array, species: Array) -> Array:
        # slices, since the transpose of a gather is a scatter
        rows = [features[:, f : f + 1] * jnp.concatenate([0.5 * features[:, f : f + 1], features[:, f + 1 :]], axis=1) for f in range(self.n_features)]
        all_features = jnp.concatenate([features, *rows], axis=1)
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        return (own[:, :, None] * all_features[:, None, :]).reshape(features.shape[0], -1)

    def __call__(self, features: Array, species: Array) -> Array:
        if self.coefficients is None:
            return super().__call__(features, species)  # which refuses
        w = jnp.asarray(self.coefficients).reshape(self.n_species, -1)
        first, second = np.triu_indices(self.n_features)
        pair = np.zeros((self.n_features, self.n_features), int)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        # x · (β + ½ α x) with a symmetric α: two matrix products instead of F² products of features
        field = 0.5 * einsum("sfg,ng->nsf", w[:, self.n_features + pair], features) + w[None, :, : self.n_features]
        return einsum("ns,nsf,nf->n", own, field, features)

    def precision(self) -> Array:
        n_pairs = self.n_features * (self.n_features + 1) // 2
        own = jnp.concatenate([jnp.full(self.n_features, 1 / self.scale**2), jnp.full(n_pairs, 1 / self.quadratic_scale**2)])
        return jnp.diag(jnp.tile(own, self.n_species))


class Power(Interface):
    """Interface: what |ρ|^m is made of near zero, where its slope is infinite."""

    @abc.abstractmethod
    def __call__(self, rho: Array, m: Array) -> Array:
        """f(ρ, m) for arrays that broadcast, m > 0."""


@pytree
class ShiftedPower(Power):
    r"""|ρ|^m for large |ρ| and of the finite slope 1 − b + b/m at 0 (pacemaker's `FinnisSinclairShiftedScaled`).

    .. math:: f(\rho, m) = \mathrm{sgn}(\rho) \left[\left(|\rho| + b\, e^{-|\rho|}\right)^m - b^m e^{-|\rho|}\right],
       \qquad b = (1/m)^{1/(m - 1)}, \qquad f(\rho, 1) = \rho

    Example:
      >>> np.asarray(ShiftedPower()(jnp.array([-4.0, 0.0, 4.0]), 0.5)).round(4).tolist()
      [-1.992, 0.0, 1.992]
    """

    def __call__(self, rho, m):
        u = m - 1
        is_small = jnp.abs(u) < 1e-5
        # −log b = log m / (m − 1), with its series at m = 1, so that nothing jumps there
        ratio = jnp.where(is_small, 1 - u / 2 + u**2 / 3, jnp.log(m) / jnp.where(is_small, 1, u))
        b = jnp.exp(-ratio)
        sign = jnp.where(rho < 0, -1, 1).astype(rho.dtype)  # not jnp.sign, whose 0 at ρ = 0 would make the slope there 0
        size, decay = sign * rho, jnp.exp(-sign * rho)
        return sign * b**m * ((decay + size / b) ** m - decay)  # so written it is 0 at ρ = 0 to the last bit


@pytree
class SmoothedPower(Power):
    r"""|ρ|^m but for |ρ| below some 3/w, where it ends with the slope w^(1−m) (pacemaker's `FinnisSinclair`).

    .. math:: f(\rho, m) = \mathrm{sgn}(\rho) \left[(1 - g)\, |\rho|^m + w^{1 - m} g\, |\rho|\right], \qquad g = e^{-(w |\rho|)^3}

    Args:
      steepness: w, in the inverse unit of ρ.

    Example:
      >>> np.asarray(SmoothedPower()(jnp.array([-4.0, 0.0, 4.0]), 0.5)).round(4).tolist()
      [-2.0, 0.0, 2.0]
    """

    steepness: Leaf = positive(default=1e6)

    def __call__(self, rho, m):
        w = jnp.asarray(self.steepness, rho.dtype)
        sign = jnp.where(rho < 0, -1, 1).astype(rho.dtype)
        size = sign * rho
        x = jnp.minimum(w * size, 4)  # beyond, g is zero to round-off
        is_zero = size == 0
        power = jnp.where(is_zero, 0, jnp.where(is_zero, 1, size) ** m)
        return sign * (-jnp.expm1(-(x**3)) * power + w ** (1 - m) * jnp.exp(-(x**3)) * size)


@pytree
class Embedding(Head):
    r"""Functions of a few linear densities, as in PACE; not linear in its coefficients.

    .. math:: \epsilon_i = \sum_p a_p\, f(\rho_p, m_p), \qquad \rho_p = \sum_f w_{p z_i f}\, x_{if}

    Args:
      coefficients: w, shape [densities, S · F], species slowest.
      exponents: m, shape [densities], or [S, densities] for every centre species its own, > 0.
      weights: a, likewise, in eV.
      power: f, `ShiftedPower()` or `SmoothedPower()`, or a tuple with one for every centre species.
      n_species: S; None until joined with a descriptor in an AtomicPotential.

    Example:
      >>> from jaxpot import GTO, SOAP, AtomicPotential, CosineCutoff, Density
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=1), l_max=1, sigma=0.5))
      >>> head = Embedding(coefficients=np.ones((2, soap.n_features)), exponents=[1.0, 0.5], weights=[1.0, -1.0])
      >>> AtomicPotential(soap, head).head.n_species
      1

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    coefficients: Leaf = leaf(shape="[P, F]")
    exponents: Leaf = positive(shape="[P] or [S, P]")
    weights: Leaf = leaf(shape="[P] or [S, P]")
    power: Power | tuple[Power, ...] = dataclasses.field(default_factory=ShiftedPower)
    n_species: int | None = static(default=None)

    def sized(self, descriptor: Descriptor) -> "Embedding":
        s, size = len(descriptor.species), len(descriptor.species) * descriptor.n_features
        shapes = tuple(np.shape(x) for x in (self.coefficients, self.exponents, self.weights))
        if len(shapes[0]) != 2 or shapes[0][1] != size or not all(shape in (shapes[0][:1], (s, shapes[0][0])) for shape in shapes[1:]):
            raise ValueError(
                f"Embedding: expected coefficients [densities, {size}], exponents and weights [densities] or [{s}, densities], "
                f"got shapes {', '.join(map(str, shapes))}"
            )
        if isinstance(self.power, tuple) and len(self.power) != s:
            raise ValueError(f"Embedding: expected one power, or one for each of {s} species, got {len(self.power)}")
        return self.replace(n_species=s)

    def __call__(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.n_species, dtype=features.dtype)
        w = jnp.asarray(self.coefficients, features.dtype).reshape(-1, self.n_species, features.shape[1])
        rho = einsum("ns,psf,nf->np", own, w, features)

        def of_center(value):
            value = jnp.asarray(value, rho.dtype)
            return einsum("ns,sp->np", own, value) if value.ndim == 2 else value[None]

        exponents = of_center(self.exponents)
        if isinstance(self.power, tuple):
            values = einsum("ns,snp->np", own, jnp.stack([power(rho, exponents) for power in self.power]))
        else:
            values = self.power(rho, exponents)
        return jnp.sum(values * of_center(self.weights), axis=1)
