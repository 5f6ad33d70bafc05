"""The optimal influence function of particle-mesh sums, and what error remains with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.longrange.interactions import Interaction

Array = jax.Array

_FAR_ALIASES = 200  # of an axis; the shares of those beyond are below round-off


@dataclasses.dataclass(frozen=True)
class Axis:
    r"""What an axis of a mesh does to the wave numbers n along it, [n] each; it knows nothing of the cell.

    With :math:`U^2 = \operatorname{sinc}^{2P}(n/N)` of splines of order P and aliases :math:`x = n + mN`:

    Attributes:
      n: wave numbers, in the order of the Fourier transform.
      size: U² of n itself.
      moments: Σ over m ≠ 0 of U², x U² and x² U², relative to U² of n.
      alias: the x that is nearest to n, beside it.
      share: U² of that x, likewise relative; 0 where n is 0.
      copies: of a real transform, how many wave numbers one stands for.
    """

    n: np.ndarray
    size: np.ndarray
    moments: tuple[np.ndarray, np.ndarray, np.ndarray]
    alias: np.ndarray
    share: np.ndarray
    copies: np.ndarray


def axes(grid: tuple[int, int, int], order: int) -> list[Axis]:
    """The axes of a mesh, the last one halved as for a real Fourier transform."""
    return [_axis(n_points, order, half=axis == 2) for axis, n_points in enumerate(grid)]


def _axis(n_points: int, order: int, half: bool) -> Axis:
    n = np.round((np.fft.rfftfreq if half else np.fft.fftfreq)(n_points) * n_points)
    last = 2 * np.abs(n) == n_points
    x = n[:, None] + n_points * np.concatenate([np.arange(-_FAR_ALIASES, 0), np.arange(1, _FAR_ALIASES + 1)])
    shares = (n[:, None] / x) ** (2 * order)
    # the aliases of the last wave number of an even mesh are symmetric
    first = np.where(last, -n, np.sum(x * shares, axis=1))
    alias = n - np.where(n < 0, -1, 1) * n_points
    return Axis(
        n=n,
        size=np.sinc(n / n_points) ** (2 * order),
        moments=(np.sum(shares, axis=1), first, np.sum(x**2 * shares, axis=1)),
        alias=alias,
        share=(n / alias) ** (2 * order),
        copies=np.where((n == 0) | last | (not half), 1, 2),
    )


@dataclasses.dataclass(frozen=True)
class Waves:
    """Sums over the aliases of the wave vectors k of a mesh in a cell, [a, b, c] each; what is relative is so to U² of k.

    Attributes:
      is_zero: whether k = 0.
      square: k².
      size: U² of k.
      strengths: transform of the far part at k, 0 at k = 0.
      excess: Σ U² over the aliases but k, relative.
      square_excess: likewise Σ k² U².
      weighted: likewise Σ k² U² φ̂.
      total: Σ φ̂ over all aliases.
      power: Σ k² φ̂² over the aliases but k.
      copies: how many wave vectors one stands for.
    """

    is_zero: Array
    square: Array
    size: Array
    strengths: Array
    excess: Array
    square_excess: Array
    weighted: Array
    total: Array
    power: Array
    copies: Array

    @property
    def norm(self) -> Array:
        """Σ U² · Σ k² U², relative to U⁴ of k; 1 at k = 0."""
        return jnp.where(self.is_zero, 1, (1 + self.excess) * (self.square + self.square_excess))

    @property
    def influence(self) -> Array:
        r"""G, 0 at k = 0.

        .. math:: G(k) = \frac{\sum_m k_m^2 U_m^2\, \hat\phi(k_m)}{\sum_m U_m^2\, \sum_m k_m^2 U_m^2}
        """
        return (self.square * self.strengths + self.weighted) / (self.size * self.norm)

    @property
    def error(self) -> Array:
        r"""The squared error of the force between two unit sources, averaged over their places.

        .. math:: \sum_m k_m^2 \hat\phi_m^2 - \frac{(\sum_m k_m^2 U_m^2 \hat\phi_m)^2}{\sum_m U_m^2\, \sum_m k_m^2 U_m^2}

        Written such that nothing cancels where the error is small.
        """
        of_k = self.square * self.strengths
        lost = of_k * self.strengths * (self.square * self.excess + (1 + self.excess) * self.square_excess) / self.norm
        return lost + self.power - (2 * of_k + self.weighted) * self.weighted / self.norm


def waves(interaction: Interaction, width: Array, of_axes: list[Axis], inverse: Array) -> Waves:
    """The wave vectors of a mesh in the cell of this inverse, smooth in it."""
    metric = 4 * np.pi**2 * jnp.sum(inverse[:, :, None] * inverse[:, None, :], axis=0)
    names = ("n", "size", "alias", "share", "copies")
    n, size, alias, share, copies = ([_along(getattr(axis, name), i, metric) for i, axis in enumerate(of_axes)] for name in names)
    zeroth, first, second = ([_along(axis.moments[order], i, metric) for i, axis in enumerate(of_axes)] for order in range(3))
    is_zero = functools.reduce(jnp.logical_and, [x == 0 for x in n])
    square = _quadratic(metric, *n)
    # each axis twice as long: its wave numbers, and their nearest aliases, which those of 0 do not need
    twice = [jnp.concatenate(pair, axis=i) for i, pair in enumerate(zip(n, alias, strict=True))]
    there = [jnp.concatenate([jnp.ones_like(x), jnp.where(x == 0, 0, 1)], axis=i) for i, x in enumerate(n)]
    shares = _product([jnp.concatenate([jnp.ones_like(one), one], axis=i) for i, one in enumerate(share)])
    squares = _quadratic(metric, *twice)
    origin = functools.reduce(jnp.logical_and, [x == 0 for x in twice])
    strengths = jnp.where(origin, 0, interaction.far(jnp.where(origin, 1, squares), width)) * _product(there)
    own = strengths[: n[0].size, : n[1].size, : n[2].size]
    others = strengths * (1 - _product([jnp.concatenate([jnp.ones_like(x), jnp.zeros_like(x)], axis=i) for i, x in enumerate(n)]))
    triples = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    square_excess = sum(
        metric[a, a] * (second[a] * (1 + zeroth[b]) * (1 + zeroth[c]) + n[a] ** 2 * _beyond_one(zeroth[b], zeroth[c])) for a, b, c in triples
    )
    square_excess = square_excess + sum(
        2 * metric[b, c] * ((n[b] * first[c] + first[b] * n[c] + first[b] * first[c]) * (1 + zeroth[a]) + n[b] * n[c] * zeroth[a])
        for a, b, c in triples
    )
    return Waves(
        is_zero=is_zero,
        square=square,
        size=_product(size),
        strengths=own,
        excess=_beyond_one(*zeroth),
        square_excess=square_excess,
        weighted=_of_aliases(squares * shares * others),
        total=own + _of_aliases(others),
        power=_of_aliases(squares * others**2),
        copies=_product(copies),
    )


def _along(values: np.ndarray, axis: int, like: Array) -> Array:
    """[n] as [n, 1, 1], [1, n, 1] or [1, 1, n]; behind a barrier, since XLA takes minutes to multiply constants out while it compiles."""
    return jax.lax.optimization_barrier(jnp.asarray(values.reshape([-1 if i == axis else 1 for i in range(3)]), like.dtype))


def _product(factors: list[Array]) -> Array:
    return functools.reduce(jnp.multiply, factors)


def _beyond_one(*x: Array) -> Array:
    """Π (1 + x) − 1."""
    return functools.reduce(lambda total, one: total + one + total * one, x)


def _quadratic(metric: Array, a: Array, b: Array, c: Array) -> Array:
    """k² of wave numbers along the axes, [a, b, c]."""
    plane = metric[0, 0] * a**2 + metric[1, 1] * b**2 + 2 * metric[0, 1] * a * b
    return plane + (2 * metric[0, 2] * a + 2 * metric[1, 2] * b) * c + metric[2, 2] * c**2


def _of_aliases(values: Array) -> Array:
    """The sum over both halves of every axis."""
    a, b, c = values.shape
    return jnp.sum(values.reshape(2, a // 2, 2, b // 2, 2, c // 2), axis=(0, 2, 4))
