"""Examples in docstrings run."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpot

MODULES = sorted(m.name for m in pkgutil.walk_packages(jaxpot.__path__, "jaxpot.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    with jax.numpy_rank_promotion("allow"):
        results = doctest.testmod(importlib.import_module(name), extraglobs={"jnp": jnp, "np": np, "jax": jax})
    assert results.failed == 0


@pytest.mark.parametrize("name", jaxpot.__all__)
def test_every_public_name_has_a_docstring(name):
    assert (getattr(jaxpot, name).__doc__ or "").strip()
