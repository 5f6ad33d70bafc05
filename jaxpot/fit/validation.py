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
    root, (gram, projected, *_) = normal_equations(model, data)
    white = cho_solve((jnp.linalg.cholesky(jnp.eye(len(gram)) + gram), True), projected)
    fitted = with_coefficients(model, solve_triangular(root, white, lower=True, trans="T"))
    total = (jnp.zeros(()), jnp.zeros(()))
    for batch in held_out.batches:
        total = _add_errors(model, fitted, batch, total)
    return total[0] / total[1]


@jax.jit
def _add_errors(model: Model, fitted: Model, batch: Batch, total: tuple[Array, Array]) -> tuple[Array, Array]:
    fitted = prepare(fitted)

    @jax.checkpoint
    def one(total, data):
        error, weight = residuals(fitted, comparable(data, jax.eval_shape(evaluate, fitted, data.graphs), model), model)
        return (total[0] + jnp.sum((error * weight) ** 2), total[1] + jnp.sum(weight > 0)), None

    return jax.lax.scan(one, total, batch)[0]
