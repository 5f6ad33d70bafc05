"""Posteriors in model files of jaxpot 0.1.0, where they were a part of the model."""

import os
import warnings

import jax.numpy as jnp
import numpy as np

from jaxpot.fit.posteriors import Posterior, is_kernel, require_known
from jaxpot.io.convert import factors_of
from jaxpot.io.save import load, read_archive
from jaxpot.io.text import one_line_refusals


@one_line_refusals("a jaxpot model")
def load_posterior(path: str | os.PathLike) -> Posterior:
    """Reads the posterior in a model file of jaxpot 0.1.0 whose fit was asked for its covariance; those of today are read by `load`.

    Args:
      path: file name.

    Returns:
      The Posterior; `posterior.model` is what `load` gives.

    Raises:
      FileNotFoundError, ValueError: as `load`; and for a file that holds none.
    """
    text, content, header = read_archive(path)
    factors = [content[name] for name in factors_of(text) if name is not None] if header["format"] == 1 else []
    if not factors:
        raise ValueError(f"{path} holds no posterior of its model as a whole; write jaxpot.load, or posterior = jaxpot.fit.posterior(model, data)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load(path)
    roots = tuple(jnp.linalg.cholesky(term.precision()) if is_kernel(term) else None for term in require_known(model))
    return Posterior(model, np.concatenate(factors), roots)
