"""Every test runs in float64, with rank promotion refused and four pretend CPU devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Compiled programs of one test module are of no use to the next."""
    yield
    jax.clear_caches()
