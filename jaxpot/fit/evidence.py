"""The log marginal likelihood of a linear model, differentiable in everything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag, solve_triangular
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxpot.checks import require_x64
from jaxpot.data import Batch, Dataset
from jaxpot.fit.design_matrix import design, linear_terms, require_linear
from jaxpot.fit.rows import check_labels, comparable, fixed_part, flat, residuals
from jaxpot.math.linalg import einsum, log_determinant
from jaxpot.passes import condense
from jaxpot.potentials.base import Model

Array = jax.Array


def prior_root(model: Model) -> Array:
    """The lower Cholesky factor of the prior precision of all linear terms, shape [P, P]; NaN if it is not positive definite."""
    return jnp.linalg.cholesky(block_diag(*(term.precision() for term in require_linear(model))))


def log_evidence(model: Model, data: Dataset) -> Array:
    r"""Log marginal likelihood of the data under a linear model, with the coefficients integrated out.

    .. math:: -2 \log p = y^T \Sigma^{-1} y - b^T (G + \Lambda)^{-1} b + \log|G + \Lambda| - \log|\Lambda| + \log|\Sigma| + n \log 2\pi

    with G = AᵀΣ⁻¹A and b = AᵀΣ⁻¹y. Rows are divided by the prior's Cholesky factor first, so that only I + L⁻¹GL⁻ᵀ is
    factorised, whose eigenvalues are at least one. Structures are streamed and recomputed in the reverse pass: memory is that of a
    few [P, P] matrices and one structure.

    Args:
      model: a linear model, a Sum with linear terms (fixed terms are subtracted) or a model of tensors. Sparse points kept as environments follow the
        hyper-parameters.
      data: labels with noise levels; missing labels count nowhere.

    Returns:
      Shape [], in nats; differentiable in every leaf of the model and of `data.batches[...].sigma`. NaN where the model gives NaN
      for some structure or the prior is not positive definite.

    Raises:
      RuntimeError: without float64.
      TypeError: if no term is linear.
      ValueError: for data without the model's labels, or labels of another rank or symmetry.
    """
    require_x64("fit.log_evidence")
    check_labels(model, data)
    return evidence_of(normal_equations(model, data)[1])


def evidence_of(sums: tuple[Array, ...]) -> Array:
    """The log evidence of what `normal_equations` returns after L."""
    gram, projected, square, log_sigma, n = sums
    triangle = jnp.linalg.cholesky(jnp.eye(len(gram)) + gram)
    explained = solve_triangular(triangle, projected, lower=True)
    return -0.5 * (square - jnp.sum(explained**2) + log_determinant(triangle) + log_sigma + n * np.log(2 * np.pi))


def normal_equations(model: Model, data: Dataset) -> tuple[Array, tuple[Array, ...]]:
    """L, and L⁻¹GL⁻ᵀ [P, P], L⁻¹b [P], yᵀΣ⁻¹y, log|Σ| and n of `log_evidence`."""
    root = prior_root(condense(model))
    parts = [_of_batch(model, root, batch, data.mesh) for batch in data.batches]
    return root, tuple(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))


@functools.partial(jax.jit, static_argnames="mesh")
def _of_batch(model: Model, root: Array, batch: Batch, mesh: Mesh | None) -> tuple[Array, ...]:
    if mesh is None:
        return _sums(model, root, batch)
    own = jax.shard_map(
        lambda *args: jax.lax.psum(_sums(*args), mesh.axis_names), mesh=mesh, in_specs=(P(), P(), P(mesh.axis_names)), out_specs=P(), check_vma=False
    )
    return own(model, root, batch)


def _sums(model: Model, root: Array, batch: Batch) -> tuple[Array, ...]:
    """What `normal_equations` returns after L, summed over a batch."""
    model, p = condense(model), root.shape[0]
    fixed = fixed_part(model, linear_terms(model))

    @jax.checkpoint
    def one(total, data):
        gram, projected, square, log_sigma, n = total
        rows = design(model, data.graphs)
        data = comparable(data, rows, model)
        y, weight = residuals(fixed, data, model)
        rows = flat(rows, data.sigma, model)
        present = weight > 0
        rows = jnp.where(present[:, None], rows, 0) * weight[:, None]
        y = y * weight
        white = solve_triangular(root, rows.T, lower=True)
        return (
            gram + einsum("pn,qn->pq", white, white),
            projected + einsum("pn,n->p", white, y),
            square + jnp.sum(y * y),
            log_sigma - 2 * jnp.sum(jnp.where(present, jnp.log(jnp.where(present, weight, 1)), 0)),
            n + jnp.sum(present),
        ), None

    total = (jnp.zeros((p, p)), jnp.zeros(p), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
    return jax.lax.scan(one, total, batch)[0]
