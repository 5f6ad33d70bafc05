"""The optimal influence function of particle-mesh sums, and what error remains with it."""

import dataclasses
import functools
import itertools

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
    """The wave vectors of a mesh in a cell, [a, b, c] each.

    Attributes:
      is_zero: whether k = 0.
      square: k².
      size: U² of all axes.
      excess: Σ of U² over the other aliases of k, relative to that of k.
      square_excess: likewise of k² U², in 1/Å².
      strengths: transform of the far part at k (0 at k = 0).
      alias_squares: k² of the nearest aliases, [7, a, b, c].
      alias_shares: their U², relative to that of k.
      alias_strengths: the transform there; 0 where an axis has no such alias.
      copies: how many wave vectors one stands for.
    """

    is_zero: Array
    square: Array
    size: Array
    excess: Array
    square_excess: Array
    strengths: Array
    alias_squares: Array
    alias_shares: Array
    alias_strengths: Array
    copies: Array

    @property
    def weighted(self) -> Array:
        """Σ k² U² φ̂ over the aliases besides k, relative to U² of k."""
        return jnp.sum(self.alias_squares * self.alias_shares * self.alias_strengths, axis=0)

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
    def total(self) -> Array:
        """Σ φ̂ over all wave vectors but k = 0, []."""
        return jnp.sum(self.copies * (self.strengths + jnp.sum(self.alias_strengths, axis=0)))

    @property
    def error(self) -> Array:
        r"""Σ over all wave vectors of the squared error of the force between two unit sources, averaged over their places, [].

        .. math:: \sum_k \Big[ \sum_m k_m^2 \hat\phi_m^2 - \frac{(\sum_m k_m^2 U_m^2 \hat\phi_m)^2}{\sum_m U_m^2\, \sum_m k_m^2 U_m^2} \Big]

        Written such that nothing cancels where the error is small.
        """
        of_k = self.square * self.strengths
        lost = of_k * self.strengths * (self.square * self.excess + (1 + self.excess) * self.square_excess) / self.norm
        aliases = jnp.sum(self.alias_squares * self.alias_strengths**2, axis=0)
        return jnp.sum(self.copies * (lost + aliases - (2 * of_k + self.weighted) * self.weighted / self.norm))


def waves(interaction: Interaction, width: Array, of_axes: list[Axis], inverse: Array) -> Waves:
    """The wave vectors of a mesh in the cell of this inverse, smooth in it."""
    metric = 4 * np.pi**2 * jnp.sum(inverse[:, :, None] * inverse[:, None, :], axis=0)

    def along(values: np.ndarray, axis: int) -> Array:
        return jnp.asarray(values.reshape([-1 if i == axis else 1 for i in range(3)]), inverse.dtype)

    def product(name) -> Array:
        return functools.reduce(jnp.multiply, [along(getattr(of_axis, name), axis) for axis, of_axis in enumerate(of_axes)])

    n = [along(of_axis.n, axis) for axis, of_axis in enumerate(of_axes)]
    zeroth, first, second = ([along(of_axis.moments[i], axis) for axis, of_axis in enumerate(of_axes)] for i in range(3))
    pairs = ((0, 1, 2), (0, 2, 1), (1, 2, 0))

    def quadratic(x: list[Array]) -> Array:
        a, b, c = x
        plane = metric[0, 0] * a**2 + metric[1, 1] * b**2 + 2 * metric[0, 1] * a * b
        return plane + (2 * metric[0, 2] * a + 2 * metric[1, 2] * b) * c + metric[2, 2] * c**2

    def beyond_one(*x: Array) -> Array:
        """Π(1 + x) − 1."""
        return functools.reduce(lambda total, one: total + one + total * one, x)

    square_excess = sum(
        metric[a, a] * (second[a] * (1 + zeroth[b]) * (1 + zeroth[c]) + n[a] ** 2 * beyond_one(zeroth[b], zeroth[c]))
        for a, b, c in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    ) + sum(
        2 * metric[a, b] * ((n[a] * first[b] + first[a] * n[b] + first[a] * first[b]) * (1 + zeroth[c]) + n[a] * n[b] * zeroth[c])
        for a, b, c in pairs
    )
    is_zero = functools.reduce(jnp.logical_and, [x == 0 for x in n])
    square = quadratic(n)
    others, shares, present = [], [], []
    for aliased in list(itertools.product((False, True), repeat=3))[1:]:
        others.append(quadratic([along(of_axes[i].alias, i) if aliased[i] else n[i] for i in range(3)]))
        ones = [(along(of_axes[i].share, i), n[i] != 0) if aliased[i] else (jnp.ones_like(n[i]), jnp.ones_like(n[i], bool)) for i in range(3)]
        shares.append(functools.reduce(jnp.multiply, [share for share, _ in ones]))
        present.append(functools.reduce(jnp.logical_and, [there for _, there in ones]))
    every = interaction.far(jnp.stack([jnp.where(is_zero, 1, square), *others]), width)
    return Waves(
        is_zero=is_zero,
        square=square,
        size=product("size"),
        excess=beyond_one(*zeroth),
        square_excess=square_excess,
        strengths=jnp.where(is_zero, 0, every[0]),
        alias_squares=jnp.stack(others),
        alias_shares=jnp.stack(shares),
        alias_strengths=jnp.where(jnp.stack(present), every[1:], 0),
        copies=product("copies"),
    )
