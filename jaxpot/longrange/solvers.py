"""Solvers of symmetric positive definite systems that are given as operators, with implicit derivatives of any order."""

import abc
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.trees import positive, pytree, static

Array = jax.Array
Operator = Callable[[Any, Array], Array]

_AT_ONCE = 16  # columns of a matrix that are computed together
_LARGEST = 3000  # rows of a matrix whose eigenvalues are looked at


class Solver(Interface):
    r"""Interface: the x of A x = b, where A is symmetric and positive definite, and given by what it makes of a vector.

    Derivatives are implicit: :math:`A\, dx = db - dA\, x`, forwards, in reverse and of higher order, by the same solver.
    """

    @abc.abstractmethod
    def solve(self, operator: Operator, parameters: Any, b: Array) -> Array:
        """x [N] of operator(parameters, x) = b [N], where all that may be differentiated is in the parameters; NaN where there is none."""

    @abc.abstractmethod
    def causes(self, operator: Operator, parameters: Any, b: Array) -> tuple[str, ...]:
        """Why there is no solution, in words."""


@pytree
class Dense(Solver):
    """By the Cholesky factor of the whole matrix, which is made of the operator's columns: up to some thousand unknowns.

    Example:
      >>> x = Dense().solve(lambda matrix, x: matrix @ x, jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([1.0, 1.0]))
      >>> x.round(12).tolist()
      [0.5, 0.25]
    """

    def solve(self, operator: Operator, parameters: Any, b: Array) -> Array:
        matrix = matrix_of(functools.partial(operator, jax.lax.stop_gradient(parameters)), b)
        factor = jnp.linalg.cholesky(0.5 * (matrix + matrix.T))
        pivots = jnp.diagonal(factor) ** 2
        factor = poison(factor, ~(jnp.min(pivots) > _round_off(b) * jnp.max(pivots)))

        def solved(_, b):
            return jax.scipy.linalg.cho_solve((factor, True), b)

        return jax.lax.custom_linear_solve(functools.partial(operator, parameters), b, solved, symmetric=True)

    def causes(self, operator: Operator, parameters: Any, b: Array) -> tuple[str, ...]:
        return not_definite(operator, parameters, b)


@pytree
class ConjugateGradients(Solver):
    """By conjugate gradients, which need the operator alone: for many unknowns.

    Args:
      tolerance: length of the residual over that of the right-hand side.
      most: steps after which there is no solution, static.

    Example:
      >>> x = ConjugateGradients().solve(lambda matrix, x: matrix @ x, jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([1.0, 1.0]))
      >>> x.round(12).tolist()
      [0.5, 0.25]
    """

    tolerance: Leaf = positive(default=1e-11)
    most: int = static(default=1000, most=1_000_000)

    def solve(self, operator: Operator, parameters: Any, b: Array) -> Array:
        return jax.lax.custom_linear_solve(functools.partial(operator, parameters), b, self._iterated, symmetric=True)

    def _iterated(self, apply: Callable[[Array], Array], b: Array) -> Array:
        wanted = jnp.asarray(self.tolerance, b.dtype) ** 2 * jnp.sum(b * b)

        def step(state):
            x, residual, direction, size, curvature, n = state
            image = apply(direction)
            curvature = jnp.sum(direction * image)
            length = size / curvature
            x, residual = x + length * direction, residual - length * image
            new = jnp.sum(residual * residual)
            return x, residual, residual + new / size * direction, new, curvature, n + 1

        def unfinished(state):
            *_, size, curvature, n = state
            return (size > wanted) & (curvature > 0) & (n < self.most)

        start = jnp.zeros_like(b), b, b, jnp.sum(b * b), jnp.ones((), b.dtype), jnp.zeros((), int)
        x, *_, size, curvature, _ = jax.lax.while_loop(unfinished, step, start)
        return poison(x, ~((size <= wanted) & (curvature > 0)))

    def causes(self, operator: Operator, parameters: Any, b: Array) -> tuple[str, ...]:
        found = not_definite(operator, parameters, b)
        slow = f"conjugate gradients did not come to a residual of {float(self.tolerance):.3g} in {self.most} steps; write Dense(), or more steps"
        return found or (slow,)


def matrix_of(apply: Callable[[Array], Array], like: Array) -> Array:
    """The matrix [N, N] of a linear operator on vectors [N] such as this."""
    return jax.lax.map(apply, jnp.eye(len(like), dtype=like.dtype), batch_size=_AT_ONCE)


def not_definite(operator: Operator, parameters: Any, b: Array) -> tuple[str, ...]:
    """What is wrong with the eigenvalues of a matrix, if it is small enough to be looked at."""
    if len(b) > _LARGEST:
        return ()
    matrix = np.asarray(matrix_of(functools.partial(operator, parameters), b))
    if not np.all(np.isfinite(matrix)):
        return ()
    values = np.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    if values[0] > 10 * _round_off(b) * values[-1]:
        return ()
    return (f"its smallest eigenvalue is {values[0]:.3g} and the largest {values[-1]:.3g}, it must be positive definite",)


def _round_off(b: Array) -> float:
    return 100 * float(jnp.finfo(b.dtype).eps)
