"""Every test runs in float64, with rank promotion refused, on eight pretend CPU devices, as unoptimised code."""

import atexit
import gc
import importlib.metadata
import itertools
import os
import shutil
import tempfile
from pathlib import Path

# unoptimised code, in one piece, compiles three times faster and runs once; laws/test_evaluation.py compares it with optimised code; flags given outside win
os.environ["XLA_FLAGS"] = " ".join(
    ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
    + ["--xla_cpu_use_fusion_emitters=false"] * (tuple(map(int, importlib.metadata.version("jax").split(".")[:2])) < (0, 11))  # then removed
    + [os.environ.get("XLA_FLAGS", "")]
)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # where in the source every operation comes from takes a tenth of the time
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # the processes of a run share what they compile; half of the time of all tests is compilation, a tenth of it of the same programs
    _folder = tempfile.mkdtemp(prefix="jaxpot-tests-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
gc.freeze()  # traces are many small objects that live: looking for cycles among them and JAX's own takes a tenth of the time
gc.set_threshold(50_000, 20, 50)


SLOW = set((Path(__file__).parent / "slow.txt").read_text().splitlines())  # single tests and parameters of about 3 s and more


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.removeprefix("tests/") in SLOW:
            item.add_marker(pytest.mark.slow)


_done = itertools.count(1)


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Compiled programs of one test module are of no use to the next."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _bounded_programs():
    """Linux lets a process map 65 530 pieces of memory, and a compiled program takes up to hundreds."""
    yield
    if next(_done) % 200 == 0:
        jax.clear_caches()
