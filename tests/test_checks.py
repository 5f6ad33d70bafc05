"""The check of JAX itself."""

import jax
import numpy as np
import pytest

from jaxpot import checks


def test_this_jax_computes_right():
    checks.check_jax.__wrapped__()
    jax.jit(lambda: checks.check_jax.__wrapped__())()


def test_a_wrong_jax_is_refused_with_the_remedy(monkeypatch):
    got, expected = checks._matvec_then_reduce(10, np.float64)
    monkeypatch.setattr(checks, "_matvec_then_reduce", lambda n, dtype: (got + 1.0, expected))
    with pytest.raises(RuntimeError, match=r"off by 1 .*39103.*jax!=0\.10\.2.*xla_cpu_experimental_ynn_fusion_type="):
        checks.check_jax.__wrapped__()


def test_not_a_number_is_wrong_too(monkeypatch):
    monkeypatch.setattr(checks, "_matvec_then_reduce", lambda n, dtype: (np.array([np.nan]), np.array([1.0])))
    with pytest.raises(RuntimeError, match="wrong numbers"):
        checks.check_jax.__wrapped__()
