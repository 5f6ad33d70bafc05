"""The error on held-out data of a fit, differentiable in everything the fit depends on."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxpot.checks import require_x64
from jaxpot.data import Batch, Dataset
from jaxpot.fit.evidence import normal_equations
from jaxpot.fit.rows import check_labels, comparable, residuals
from jaxpot.fit.solver import with_coefficients
from jaxpot.passes import prepare
from jaxpot.potentials.base import Model, evaluate

Array = jax.Array


def validation_loss(model: Model, data: Dataset, held_out: Dataset) -> Array:
    r"""Mean squared error on held-out data, in units of their noise levels, of the model fitted to other data.

    .. math:: L = \frac1n \left|\Sigma_*^{-1/2} (y_* - A_* \hat w)\right|^2, \qquad \hat w = (A^T \Sigma^{-1} A + \Lambda)^{-1} A^T \Sigma^{-1} y

    An alternative to `log_evidence` where the prior is not to be trusted. The gradient passes through the fit by implicit
    differentiation of its normal equations: one further solve, whatever the number of leaves. Where features are nearly dependent, the
    normal equations lose digits that `fit.linear` by QR keeps.

    Args:
      model: a linear model, a Sum with linear terms (fixed terms are subtracted) or a model of tensors, as for `log_evidence`.
      data: what the model is fitted to, labels with noise levels.
      held_out: what it is judged by; not a part of `data`, and not the test set.

    Returns:
      Shape [], without unit, 1 where errors are as large as the noise levels say; differentiable in every leaf of the model and of the noise
      levels of `data`. NaN where the model gives NaN for some structure or the prior is not positive definite.

    Raises:
      RuntimeError: without float64.
      TypeError: if no term is linear.
      ValueError: for data without the model's labels, or labels of another rank or symmetry.
    """
    require_x64("fit.validation_loss")
    check_labels(model, data)
    check_labels(model, held_out)
    squares, n = squared_errors(most_probable(model, *normal_equations(model, data)), held_out)
    return squares / n


def most_probable(model: Model, root: Array, sums: tuple[Array, ...]) -> Model:
    """A linear model with the coefficients of largest posterior probability, given its `normal_equations`."""
    gram, projected, *_ = sums
    white = cho_solve((jnp.linalg.cholesky(jnp.eye(len(gram)) + gram), True), projected)
    return with_coefficients(model, solve_triangular(root, white, lower=True, trans="T"))


def squared_errors(model: Model, data: Dataset) -> tuple[Array, Array]:
    """The sum of squared errors in units of the noise levels, and of how many labels."""
    total = (jnp.zeros(()), jnp.zeros(()))
    for batch in data.batches:
        total = _add_errors(model, batch, total)
    return total


@jax.jit
def _add_errors(model: Model, batch: Batch, total: tuple[Array, Array]) -> tuple[Array, Array]:
    ready = prepare(model)

    @jax.checkpoint
    def one(total, data):
        error, weight = residuals(ready, comparable(data, jax.eval_shape(evaluate, ready, data.graphs), model), model)
        return (total[0] + jnp.sum((error * weight) ** 2), total[1] + jnp.sum(weight > 0)), None

    return jax.lax.scan(one, total, batch)[0]
