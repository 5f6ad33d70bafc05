"""New data for a fitted model: its posterior is the prior of the next fit, so that rows of old data are never made again."""

import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.rows import check_labels
from jaxpot.fit.solver import ready, weighted_rows, with_coefficients
from jaxpot.math.linalg import StreamingQR
from jaxpot.potentials.combinations import with_seen


def update(posterior: Posterior, data: Dataset, *, progress: bool | None = None) -> Posterior:
    r"""The posterior that a fit to the old data and the new together has, from the new alone.

    .. math:: w = \hat w + C v, \qquad \begin{pmatrix} 1 \\ \Sigma^{-1/2} A C \end{pmatrix} v \approx
       \begin{pmatrix} 0 \\ \Sigma^{-1/2} (y - A \hat w) \end{pmatrix}, \qquad C \to C R^{-1}

    with R of the QR factorisation of the left-hand side, whose singular values are at least one. Old data count through ŵ and C, which hold all
    that they say. Sparse points and hyper-parameters stay what they are.

    Args:
      posterior: of all data so far.
      data: new data, with noise levels; what is in the old data as well counts twice.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Posterior of all data; `.model` is the fitted model.

    Raises:
      RuntimeError: without float64.
      TypeError: for what is no Posterior.
      ValueError: for a structure for which the model gives NaN (with `diagnose`'s reason), or labels that are not the model's.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import AtomicPotential, Linear, Properties
      >>> from jaxpot.descriptors import Constant
      >>> from jaxpot.fit import posterior
      >>> first, second = (Dataset.from_atoms([Atoms("H", info={"energy": e})], 1.0, sigma=Properties(energy=0.1)) for e in (-1.0, -2.0))
      >>> known = posterior(AtomicPotential(Constant(("H",)), Linear(scale=1e3)), first)
      >>> float(update(known, second).coefficients[0]).__round__(6)
      -1.5
    """
    from scipy.linalg import solve_triangular

    require_x64("fit.update")
    if not isinstance(posterior, Posterior):
        raise TypeError(f"fit.update: expected a Posterior, got {type(posterior).__name__}; write posterior = jaxpot.fit.posterior(model, data)")
    check_labels(posterior.model, data)
    factor, coefficients = np.asarray(posterior.factor), np.asarray(posterior.coefficients)
    size = factor.shape[1]
    qr = StreamingQR(size)
    qr.add(np.eye(size), np.zeros(size))
    for rows in weighted_rows(ready(posterior.model), data, progress):
        qr.add(rows.a @ factor, rows.y - rows.a @ coefficients)
    moved = coefficients + factor @ qr.solve()
    left = solve_triangular(qr.triangle()[0], factor.T, trans="T").T
    fitted = with_seen(with_coefficients(posterior.model, jnp.asarray(moved)), (batch.graphs for batch in data.batches), more=True)
    return posterior.replace(model=fitted, factor=jnp.asarray(left))
