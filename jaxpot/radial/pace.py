"""The radial bases of pacemaker: they end at the radius by themselves, so that their density needs no other cutoff than `Step`.

ChebExpCos, ChebPow and SBessel are C¹ there or better. What is fitted with them can be written for LAMMPS (`io.yace`).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.cutoffs import cosine_ramp, smoothstep
from jaxpot.math.linalg import einsum
from jaxpot.radial.base import Radial, chebyshev, check_n_max, only_sharp, smeared
from jaxpot.trees import positive, pytree, static, walk, with_leaves

Array = jax.Array


class PaceBasis(Radial):
    """Interface: sharp functions that are zero from the radius on. In a call the radius, and every number that is declared with a shape
    "[] or [S, S]", may differ from distance to distance, [...]."""


smeared.register(PaceBasis, only_sharp)


def of_pairs(basis: PaceBasis, pick: Callable[[Array], Array]) -> PaceBasis:
    """The same with every number that may differ between pairs of elements picked from its table."""
    tables = {path: leaf for path, leaf, metadata in walk(basis) if "[S, S]" in metadata.get("shape", "")}
    return with_leaves(basis, {path: pick(leaf) for path, leaf in tables.items()})


def _ended(functions: Array, r: Array, radius: Array) -> Array:
    """The functions [..., n], zero from the radius on."""
    return jnp.where((r >= radius)[..., None], 0, functions)  # in this order NaN stays NaN


@pytree
class ChebExpCos(PaceBasis):
    r"""Chebyshev polynomials of an exponential of the distance, under a cosine.

    .. math:: g_0 = f_c, \qquad g_n = \tfrac12 \left(1 - T_n(x)\right) f_c, \qquad
       x = 1 - 2\, \frac{e^{-\lambda r/r_c} - e^{-\lambda}}{1 - e^{-\lambda}}, \qquad f_c = \tfrac12 \left(1 + \cos \pi r/r_c\right)

    with a second cosine from r_c − width to r_c.

    Args:
      n_max: number of functions.
      lam: λ, dimensionless.
      width: of the second cosine, in Å; None is none. pacemaker: dcut.

    Example:
      >>> from jaxpot import Density
      >>> from jaxpot.cutoffs import Step
      >>> Density(("Si",), Step(5.0), ChebExpCos(8, lam=3.0), l_max=3, sigma=None, center_weight=0.0).n_channels
      8

    References:
      Bochkarev et al., "Efficient parametrization of the atomic cluster expansion", Phys. Rev. Mater. 6, 013804 (2022).
    """

    n_max: int = static()
    lam: Leaf = positive(shape="[] or [S, S]")
    width: OptionalLeaf = positive(default=None, shape="[] or [S, S]")

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius):
        lam = jnp.asarray(self.lam, r.dtype)
        y = jnp.expm1(-lam)
        polynomials = chebyshev(1 + 2 * (jnp.expm1(-lam * r / radius) - y) / y, self.n_max)
        envelope = cosine_ramp(r, radius)
        if self.width is not None:
            envelope = envelope * cosine_ramp(r, radius, jnp.asarray(self.width, r.dtype))
        return jnp.concatenate([polynomials[..., :1], 0.5 * (1 - polynomials[..., 1:])], axis=-1) * envelope[..., None]


@pytree
class ChebPow(PaceBasis):
    r"""Chebyshev polynomials of a power of the distance from the radius, which vanish there with ⌈λ⌉ − 1 derivatives.

    .. math:: g_n = \tfrac12 \left(1 - T_{n+1}(x)\right), \qquad x = 1 - 2\, (1 - r/r_c)^\lambda

    Args:
      n_max: number of functions.
      lam: λ, > 1 for forces without jumps.

    Example:
      >>> np.asarray(ChebPow(2, lam=2.0)(jnp.array([1.0, 3.0]), 4.0)).round(4).tolist()
      [[0.5625, 0.9844], [0.0625, 0.2344]]

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021).
    """

    n_max: int = static()
    lam: Leaf = positive(shape="[] or [S, S]")

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius):
        left = 1 - r / radius
        ended = left <= 0
        x = 1 - 2 * jnp.where(ended, 0, jnp.where(ended, 1, left) ** jnp.asarray(self.lam, r.dtype))
        return 0.5 * (1 - chebyshev(x, self.n_max + 1)[..., 1:])


@pytree
class ChebLinear(PaceBasis):
    r"""Chebyshev polynomials of the distance from the radius, where all but every fourth jump: only for files that have them.

    .. math:: g_n = \tfrac12 \left(1 - T_{n+1}(1 - r/r_c)\right)

    Args:
      n_max: number of functions.

    Example:
      >>> ChebLinear(2)(jnp.array([1.0, 3.0]), 4.0).round(4).tolist()
      [[0.125, 0.4375], [0.375, 0.9375]]
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius):
        return _ended(0.5 * (1 - chebyshev(1 - r / radius, self.n_max + 1)[..., 1:]), r, radius)


@functools.cache
def _simplified_bessel(n_max: int) -> np.ndarray:
    """M with g_n = r_c^(−3/2) sinc(θ) Σ_t T_t(cos θ) M_tn, θ = π r/r_c, shape [n_max + 1, n_max].

    sinc(kθ) = sinc(θ) U_(k−1)(cos θ)/k, with Chebyshev polynomials U of the second kind, which are sums of those of the first.
    """
    second = np.zeros((n_max + 1, n_max + 1))  # U_k = 2 (T_k + T_(k−2) + …), T_0 counted once
    for k in range(n_max + 1):
        second[k % 2 : k + 1 : 2, k] = 2
    second[0] /= 2
    columns, last = [], 1.0
    for n in range(n_max):
        a, b = n + 1, n + 2
        own = (-1) ** n * np.sqrt(2) * np.pi * a * b / np.hypot(a, b) * (second[:, n] / a + second[:, n + 1] / b)
        if n:
            e = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
            d = 1 - e / last
            own, last = (own + np.sqrt(e / last) * columns[-1]) / np.sqrt(d), d
        columns.append(own)
    return np.stack(columns, axis=1)


@pytree
class SBessel(PaceBasis):
    r"""Sums of two spherical Bessel functions j₀ that vanish with two derivatives at the radius, orthonormalised on [0, r_c].

    .. math:: f_n = \frac{(-1)^n \sqrt2\, \pi}{r_c^{3/2}} \frac{(n+1)(n+2)}{\sqrt{(n+1)^2 + (n+2)^2}}
       \left[\mathrm{sinc}\, \frac{(n+1)\pi r}{r_c} + \mathrm{sinc}\, \frac{(n+2)\pi r}{r_c}\right], \quad
       g_n = \frac{f_n + \sqrt{e_n/d_{n-1}}\, g_{n-1}}{\sqrt{d_n}}, \quad d_n = 1 - \frac{e_n}{d_{n-1}}, \quad
       e_n = \frac{n^2 (n+2)^2}{4 (n+1)^4 + 1}

    Args:
      n_max: number of functions.

    Example:
      >>> np.asarray(SBessel(2)(jnp.array([1.0, 3.0]), 4.0)).round(4).tolist()
      [[0.7634, -0.6266], [0.0437, 0.1292]]

    References:
      Kocer, Mason, Erturk, "Continuous and optimally complete description of chemical environments using Spherical Bessel descriptors",
      AIP Adv. 10, 015021 (2020).
    """

    n_max: int = static()

    def __post_init__(self):
        check_n_max(self)

    def __call__(self, r, radius):
        x = r / radius
        polynomials = chebyshev(jnp.cos(jnp.pi * x), self.n_max + 1)
        shape = einsum("...t,tn->...n", polynomials, jnp.asarray(_simplified_bessel(self.n_max), r.dtype))
        return _ended(shape * (jnp.sinc(x) / radius**1.5)[..., None], r, radius)


@pytree
class RadialTable(PaceBasis):
    r"""Radial functions between whose values and slopes, at equal distances from 0 to the radius, cubic polynomials run.

    .. math:: g_n = h_{00}(t)\, f_{in} + h_{10}(t)\, w f'_{in} + h_{01}(t)\, f_{i+1,n} + h_{11}(t)\, w f'_{i+1,n}, \qquad i + t = r/w, \quad w = r_c/I

    with the four cubic polynomials h of Hermite: C¹, and at the radius as continuous as the last row is zero.

    Args:
      values: f, shape [I + 1, n_max].
      slopes: f', shape [I + 1, n_max], per Å.

    Raises:
      ValueError: for other shapes.

    Example:
      >>> r = np.linspace(0, 4, 41)[:, None]
      >>> table = RadialTable((4 - r) ** 2, -2 * (4 - r))
      >>> table(jnp.array([1.0, 4.5]), jnp.array(4.0)).round(6).tolist()
      [[9.0], [0.0]]
    """

    values: Leaf
    slopes: Leaf

    def __post_init__(self):
        shape = np.shape(self.values)
        if len(shape) != 2 or shape[0] < 2 or not shape[1] or np.shape(self.slopes) != shape:
            raise ValueError(f"RadialTable: expected values and slopes of one shape [I + 1, n_max], got {shape} and {np.shape(self.slopes)}")

    @property
    def n_max(self) -> int:
        return np.shape(self.values)[1]

    def __call__(self, r, radius):
        width = jnp.broadcast_to(radius / (len(self.values) - 1), r.shape)
        i = jnp.clip(jax.lax.stop_gradient(r / width).astype(jnp.int32), 0, len(self.values) - 2)
        t, width = (r / width - i)[..., None], width[..., None]
        f, df = (jnp.asarray(x, r.dtype) for x in (self.values, self.slopes))
        left, right = f[i], f[i + 1]
        start, end = width * df[i], width * df[i + 1]
        # c₀ + t (c₁ + t (c₂ + t c₃))
        cubic = left + t * (start + t * (3 * (right - left) - 2 * start - end + t * (2 * (left - right) + start + end)))
        return _ended(cubic, r, radius)


@pytree
class InnerCutoff(PaceBasis):
    r"""Another basis, switched off towards short distances.

    .. math:: g_n(r)\, s\!\left(\frac{r - r_{in} + w}{w}\right), \qquad s(x) = 10 x^3 - 15 x^4 + 6 x^5

    which is all of g_n from r_in on and nothing up to r_in − w.

    Args:
      basis: the other basis.
      radius: r_in, in Å. pacemaker: rcut_in, with inner_cutoff_type distance.
      width: w, in Å. pacemaker: dcut_in.

    Example:
      >>> InnerCutoff(SBessel(2), radius=1.5, width=0.5)(jnp.array([0.9, 3.0]), 4.0).round(4).tolist()
      [[0.0, -0.0], [0.0437, 0.1292]]
    """

    basis: PaceBasis
    radius: Leaf = positive(shape="[] or [S, S]")
    width: Leaf = positive(shape="[] or [S, S]")

    def __post_init__(self):
        if not isinstance(self.basis, PaceBasis):
            raise TypeError(f"InnerCutoff: expected ChebExpCos, ChebPow, ChebLinear, SBessel or RadialTable, got {type(self.basis).__name__}")

    @property
    def n_max(self) -> int:
        return self.basis.n_max

    def __call__(self, r, radius):
        inner, width = jnp.asarray(self.radius, r.dtype), jnp.asarray(self.width, r.dtype)
        return self.basis(r, radius) * smoothstep((r - inner + width) / width)[..., None]
