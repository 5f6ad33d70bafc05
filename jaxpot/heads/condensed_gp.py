"""What `cast` makes of sparse Gaussian processes, whose sums cancel in float32: the same functions in forms that do not, made in float64 and measured."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.heads.base import Head
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.leaves import Leaf
from jaxpot.math.kernels import PolynomialKernel, SquaredExponential
from jaxpot.math.linalg import einsum
from jaxpot.precision import in_float32
from jaxpot.radial.base import interpolated, tail
from jaxpot.radial.tabulated import Tabulated, tabulated
from jaxpot.trees import leaf, map_floating, pytree, static

Array = jax.Array

_HIGHEST = 8  # ζ
_PAIRS = 100  # of an atom, at most
_TAIL = 8  # lengths; exp(−8²/2) = 1e-14


@pytree
class ExpandedGP(Head):
    r"""A sparse Gaussian process of the kernel (x · x')^ζ, with ζ a whole number, expanded about the mean m of its points.

    .. math:: \epsilon_i = C_{z_i} + L_{z_i} \cdot (x_i - m_{z_i}) + \sum_m w_m\, R(1 - x_i \cdot x_m)\, \delta_{z_i z_m}, \qquad
       R(d) = (1 - d)^\zeta - 1 + \zeta d = d^2 \sum_{j=0}^{\zeta-2} (\zeta - 1 - j)\, (1 - d)^j

    Of normalised features d is small, so large weights of both signs meet small numbers that keep their relative precision.

    Args:
      constant: C, shape [S], in eV.
      slope: L, shape [S, F], in eV.
      mean: m, shape [S, F].
      points: x_m − m, shape [M, F].
      offsets: 1 − m · x_m, shape [M].
      kinds: centre species of the points, shape [M].
      coefficients: w times δ², shape [M], in eV.
      zeta: ζ.
      error: the largest deviation of the energy of a point in float32, in eV.
    """

    constant: Leaf = leaf(shape="[S]")
    slope: Leaf = leaf(shape="[S, F]")
    mean: Leaf = leaf(shape="[S, F]")
    points: Leaf = leaf(shape="[M, F]")
    offsets: Leaf = leaf(shape="[M]")
    kinds: Leaf
    coefficients: Leaf = leaf(shape="[M]")
    zeta: int = static()
    error: float = static(default=0.0)

    def __call__(self, features: Array, species: Array) -> Array:
        constant, slope, mean, points, offsets, coefficients = (
            jnp.asarray(x, features.dtype) for x in (self.constant, self.slope, self.mean, self.points, self.offsets, self.coefficients)
        )
        own = jax.nn.one_hot(species, len(constant), dtype=features.dtype)
        constant, slope, mean = einsum("ns,s->n", own, constant), einsum("ns,sf->nf", own, slope), einsum("ns,sf->nf", own, mean)
        x = features - mean
        d = offsets[None] - einsum("nf,nf->n", x, mean)[:, None] - einsum("nf,mf->nm", x, points)
        series = jnp.zeros_like(d)
        for j in range(self.zeta - 2, -1, -1):
            series = series * (1 - d) + (self.zeta - 1 - j)
        rest = jnp.where(species[:, None] == self.kinds[None, :], coefficients[None] * d * d * series, 0)
        return constant + einsum("nf,nf->n", slope, x) + jnp.sum(rest, axis=1)


@pytree
class TabulatedGP(Head):
    """A sparse Gaussian process of one feature ≥ 0, such as the distances of pairs, as a table.

    Args:
      functions: the energy of a pair as a function of the feature, one for each kind, in eV.
      error: the largest deviation of the energy of a hundred pairs in float32, in eV.
    """

    functions: Tabulated
    error: float = static(default=0.0)

    def __call__(self, features: Array, species: Array) -> Array:
        values = self.functions(features[:, 0], self.functions.reach, 0)[:, 0]
        return einsum("nk,nk->n", values, jax.nn.one_hot(species, values.shape[1], dtype=values.dtype))


@in_float32.register
def _itself(form: ExpandedGP | TabulatedGP) -> Any:
    """It is such a form."""
    return form


@in_float32.register
def _condensed(gp: SparseGP) -> Any:
    """Of kernels and points for which there is such a form, and where it bears float32."""
    known = gp.references
    if known.features is None or gp.coefficients is None or np.min(known.kinds) < 0:
        return None
    w = np.asarray(gp.coefficients) * float(gp.delta) ** 2 * (1 if known.weights is None else np.asarray(known.weights))
    x, kinds = np.asarray(known.features), np.asarray(known.kinds)
    if isinstance(gp.kernel, PolynomialKernel) and float(gp.kernel.offset) == 0 and float(gp.kernel.zeta) in range(1, _HIGHEST + 1):
        form, instances = _expanded(w, x, kinds, int(gp.kernel.zeta)), 1
    elif isinstance(gp.kernel, SquaredExponential) and x.shape[1] == 1 and np.min(x) >= 0:
        form, instances = _table(w, x, kinds, float(np.squeeze(gp.kernel.length))), _PAIRS
    else:
        return None
    right = np.asarray(gp(jnp.asarray(x), jnp.asarray(kinds)))
    found = map_floating(lambda leaf: jnp.asarray(leaf, jnp.float32), form)(jnp.asarray(x, jnp.float32), jnp.asarray(kinds))
    return form.replace(error=float(f"{instances * np.max(np.abs(np.asarray(found, float) - right)):.1e}"))


def _expanded(w: np.ndarray, x: np.ndarray, kinds: np.ndarray, zeta: int) -> ExpandedGP:
    own = np.eye(kinds.max() + 1)[:, kinds]  # [S, M]
    mean = own @ x / np.maximum(own.sum(1), 1)[:, None]
    slope = zeta * (own * w) @ x
    constant = (1 - zeta) * own @ w + np.sum(slope * mean, axis=1)
    return ExpandedGP(constant, slope, mean, x - mean[kinds], 1 - np.sum(mean[kinds] * x, axis=1), kinds, w, zeta)


def _table(w: np.ndarray, x: np.ndarray, kinds: np.ndarray, length: float) -> TabulatedGP:
    reach, own = jnp.asarray(np.max(x) + _TAIL * length), jnp.asarray(np.eye(kinds.max() + 1)[kinds] * w[:, None])

    def functions(r: Array) -> Array:
        return einsum("rm,mk->rk", SquaredExponential(length)(r[:, None], jnp.asarray(x)), own)[:, None]

    nodes = next(n for n in (64, 128, 256, 512) if n == 512 or tail(interpolated(functions, reach, n)) < 1e-12)
    return TabulatedGP(tabulated(np.asarray(interpolated(functions, reach, nodes)), float(reach), 1e-9))
