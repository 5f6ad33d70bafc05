"""The posterior of the last layer of a trained network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Dataset
from jaxpot.fit.posteriors import posterior
from jaxpot.heads.base import LinearHead
from jaxpot.heads.hidden import HiddenLayer
from jaxpot.heads.linear import Linear
from jaxpot.heads.mlp import MLP
from jaxpot.potentials.atomic import AtomicPotential, DescribedPotential
from jaxpot.potentials.base import Potential, terms_of, with_terms
from jaxpot.trees import fits, set_fields

Array = jax.Array


def last_layer(model: Potential, data: Dataset, *, scale: float = 1.0, progress: bool | None = None) -> Any:
    r"""A trained network with the posterior covariance of its last layer, its hidden layers taken as known.

    .. math:: \mathrm{Cov}\, w = \left(A^T \Sigma^{-1} A + \lambda^{-2}\right)^{-1}, \qquad A_{sp} = \partial y_s / \partial w_p

    Its model is linear in w, the weights and biases of the last layer, and has the predictions of the network; `fit.linear` would fit its
    last layer anew. What is uncertain in the hidden layers is left out, so deviations need a `fit.calibration`.

    Args:
      model: an AtomicPotential with an MLP, or a Sum that holds such terms.
      data: what it was trained on, with noise levels.
      scale: λ, the prior standard deviation of every weight, in eV.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Posterior of a model in which every MLP is a Linear head on a HiddenLayer.

    Raises:
      TypeError: for a model without an MLP.

    References:
      Bigi, Chong, Ceriotti, Grasselli, "A prediction rigidity formalism for low-cost uncertainties in trained neural networks",
      Mach. Learn.: Sci. Technol. 5, 045018 (2024).
    """
    terms = tuple(_opened(term, scale) for term in terms_of(model))
    if not any(fits(term, AtomicPotential, descriptor=HiddenLayer) for term in terms):
        names = " + ".join(type(term).__name__ for term in terms)
        raise TypeError(f"last_layer: {names} has no MLP; the posterior of a linear model is jaxpot.fit.posterior(model, data)")
    opened = with_terms(model, terms)
    found = posterior(opened, data, progress=progress)
    kept = tuple(
        set_fields(new, head=set_fields(new.head, coefficients=old.head.coefficients)) if fits(old, DescribedPotential, head=LinearHead) else new
        for new, old in zip(terms_of(found.model), terms, strict=True)
    )
    return found.replace(model=with_terms(model, kept))


def _opened(term: Potential, scale: float) -> Potential:
    """A network as a linear model in its last layer; any other term as it is."""
    if not fits(term, AtomicPotential, head=MLP):
        return term
    weights, biases = jnp.asarray(term.head.weights[-1])[..., 0], jnp.asarray(term.head.biases[-1])
    head = Linear(scale=np.asarray(scale), coefficients=jnp.concatenate([weights, biases], axis=1).reshape(-1))
    return AtomicPotential(HiddenLayer(term.descriptor, term.head), head, chunk=term.chunk)
