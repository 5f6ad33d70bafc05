"""Cubic splines through tabulated values, whose knots and values are leaves."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.trees import leaf, pytree

Array = jax.Array


@pytree
class CubicSpline(Tree):
    r"""The cubic spline through points (x, y), and its tangent below the first of them.

    Args:
      x: knots, shape [n], ascending.
      y: values, shape [n].
      first: slope at the first knot; None is natural, without curvature there.
      last: slope at the last knot; likewise.

    Raises:
      ValueError: for other shapes, fewer than two knots, or knots that do not ascend.

    Example:
      >>> spline = CubicSpline(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 0.0]))
      >>> float(spline(1.5)), float(spline(0.0))
      (1.5, 3.0)
    """

    x: Leaf = leaf(shape="[n]")
    y: Leaf = leaf(shape="[n]")
    first: OptionalLeaf = leaf(default=None)
    last: OptionalLeaf = leaf(default=None)

    def __post_init__(self):
        if len(self.x) < 2:
            raise ValueError(f"CubicSpline: expected at least two knots, got {len(self.x)}")
        if not isinstance(self.x, jax.core.Tracer) and not np.all(np.diff(self.x) > 0):
            raise ValueError("CubicSpline: the knots x must ascend")

    def polynomials(self) -> Array:
        """Coefficients of 1, t, t² and t³ between knots, where t is the distance from the knot below, shape [n − 1, 4]."""
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)
        step, slope = jnp.diff(x), jnp.diff(y) / jnp.diff(x)
        zero, one = jnp.zeros(1, slope.dtype), jnp.ones(1, slope.dtype)
        # the curvatures m solve  h₋ m₋ + 2 (h₋ + h) m + h m₊ = 6 (s − s₋)  at inner knots
        natural_first, natural_last = self.first is None, self.last is None
        below = jnp.concatenate([zero, step[:-1], zero if natural_last else step[-1:]])
        above = jnp.concatenate([zero if natural_first else step[:1], step[1:], zero])
        middle = jnp.concatenate([one if natural_first else 2 * step[:1], 2 * (step[:-1] + step[1:]), one if natural_last else 2 * step[-1:]])
        start = zero if natural_first else 6 * (slope[:1] - self.first)
        end = zero if natural_last else 6 * (self.last - slope[-1:])
        right = jnp.concatenate([start, 6 * jnp.diff(slope), end])
        m = jax.lax.linalg.tridiagonal_solve(below, middle, above, right[:, None])[:, 0]
        return jnp.stack([y[:-1], slope - step * (2 * m[:-1] + m[1:]) / 6, m[:-1] / 2, jnp.diff(m) / (6 * step)], axis=1)

    def __call__(self, r: Array) -> Array:
        """Values at r [...]; above the last knot the last polynomial goes on."""
        r = jnp.asarray(r)
        x = jnp.asarray(self.x, r.dtype)
        below = jnp.clip(jnp.searchsorted(x, r, side="right") - 1, 0, len(x) - 2)
        t = r - x[below]
        a, b, c, d = jnp.moveaxis(self.polynomials().astype(r.dtype)[below], -1, 0)
        return a + t * (b + jnp.where(r < x[0], 0, t * (c + t * d)))
