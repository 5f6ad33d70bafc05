"""How far predictions may be off: deviations of all that a fitted linear model predicts, beside the noise of labels."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Batch, Dataset
from jaxpot.fit.design_matrix import design
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.rows import held, is_per_atom
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.passes import condense
from jaxpot.properties import Properties


def deviations(posterior: Posterior, data: Dataset | Iterable[Any], *, progress: bool | None = None) -> list[Properties]:
    r"""Standard deviations of the predictions for every frame, in the frames' order, as `fit.predict` has the predictions.

    .. math:: s^2 = |C^T a|^2 + \sigma^2

    for a number with the row a of the design matrix; σ is the noise level that the data give for its label, so s is what label and
    prediction differ by: nine tenths of labels lie within 1.645 s, if the noise levels are those of `fit.levels`. Without labels σ is zero, and s is
    what the fit leaves open. Of Gaussian processes the energy's deviation has what sparse points do not span, those of forces do not.

    Args:
      posterior: of a linear potential.
      data: structures; a Dataset, or frames, which have no noise levels.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      Properties of every frame with deviations in place of values, in the same units; components of forces and virials have each their own.

    Raises:
      RuntimeError: without float64.
      TypeError: for what is no Posterior.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import AtomicPotential, Linear
      >>> from jaxpot.descriptors import Constant
      >>> from jaxpot.fit import posterior
      >>> atoms = Atoms("H", info={"energy": -1.0})
      >>> known = posterior(AtomicPotential(Constant(("H",)), Linear(scale=1e3)), [atoms] * 4, sigma=Properties(energy=0.2))
      >>> float(deviations(known, [atoms])[0].energy).__round__(6)                            # 0.2 / √4
      0.1
    """
    from jaxpot.fit.solver import _bar

    require_x64("fit.deviations")
    if not isinstance(posterior, Posterior):
        raise TypeError(f"fit.deviations: expected a Posterior, got {type(posterior).__name__}; write posterior = jaxpot.fit.posterior(model, data)")
    data = Dataset.of(posterior.model, data, name="fit.deviations")
    out: list[Properties | None] = [None] * len(data)
    for frame, structure in _bar(data, progress, "deviations"):
        found = jax.tree_util.tree_map(np.asarray, _of_structure(posterior, structure))
        rows = {name: value for name in held(found) if is_per_atom(name, value := getattr(found, name), posterior.model)}
        out[frame] = found.replace(**{name: value[: data.n_atoms[frame]] for name, value in rows.items()})
    return out

UNCERTAIN = ("energy", "forces", "virial")  # what has a deviation


def deviations_of(posterior: Posterior, graph: Graph) -> Properties:
    """What the fit leaves open of a structure's energy [], forces [N, 3] and virial [3, 3], in the units of what they are deviations of."""
    rows = design(condense(posterior.model), graph)
    known = {name: safe_norm(einsum("...p,pq->...q", getattr(rows, name), jnp.asarray(posterior.factor))) for name in held(rows)}
    return Properties(**known | {"energy": jnp.sqrt(posterior.variance(graph))})


@jax.jit
def _of_structure(posterior: Posterior, structure: Batch) -> Properties:
    known = deviations_of(posterior, structure.graphs)
    noisy = {}
    for name in set(held(known)) & set(held(structure.sigma)):
        level, own = getattr(structure.sigma, name), getattr(known, name)
        noise = jnp.where(jnp.isfinite(level), level, 0.0)
        noisy[name] = jnp.sqrt(own**2 + noise.reshape(*noise.shape, *(1,) * (own.ndim - noise.ndim)) ** 2)
    return known.replace(**noisy)
