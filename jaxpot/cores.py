"""The cores of a CPU as JAX devices, over which large structures are shared out.

XLA's own threads divide every operation of a block of atoms; a device for each core evaluates blocks of its own instead. Which is faster depends on the
model and the machine, so it is asked for and not done by itself.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

_AXIS = "cores"
_used = 1


def available() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(n: int | None = None) -> int:
    """Shares the blocks of atoms of every large structure out over cores of the CPU, in whatever is compiled from here on.

    Write it once, before the first array: `evaluate`, `Calculator`, `md` and everything else that evaluates more atoms than one block follow. Each
    core becomes a JAX device; results are the same but for the order of sums. On an accelerator it changes nothing. Time it: on two cores it was
    from 0.6 to 1.3 times as fast as XLA's threads.

    Args:
      n: how many cores; None takes all that the process may use.

    Returns:
      How many are used.

    Raises:
      ValueError: for fewer than one core.
      RuntimeError: if JAX has made its devices already, and has fewer.

    Example:
      >>> use_cores(1)
      1
    """
    global _used
    n = available() if n is None else n
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"use_cores: expected a positive number of cores, got {n!r}")
    if n > 1 and not _has_devices(n):
        found = len(jax.devices("cpu"))
        late = f"use_cores: JAX has made {found} CPU device{'s' * (found > 1)} already, too few for {n} cores"
        raise RuntimeError(f"{late}; write jaxpot.use_cores({n}) before the first array, directly after the imports")
    _used = n
    return n


def _has_devices(n: int) -> bool:
    """Whether JAX has so many CPU devices, which are asked for where it has made none and nobody else has said how many."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        try:
            jax.config.update("jax_num_cpu_devices", n)
            return True
        except RuntimeError:  # it has made them
            pass
    return len(jax.devices("cpu")) >= n


def cores() -> int:
    """Over how many devices blocks of atoms are shared out where this is traced: 1 on accelerators, and within what is shared out already."""
    if _used == 1 or jax.default_backend() != "cpu" or jax.sharding.get_abstract_mesh().manual_axes:
        return 1
    return _used


@functools.cache
def _mesh(n: int) -> Mesh:
    return jax.make_mesh((n,), (_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices("cpu")[:n])


def shared_out(function: Callable[[Any], Any], stack: Any, n: int) -> Any:
    """A function of a stack whose leaves begin with an axis that n divides, its parts on n devices; what comes out begins with that axis as well."""
    part = jax.shard_map(function, mesh=_mesh(n), in_specs=P(_AXIS), out_specs=P(_AXIS), check_vma=False)
    return jax.jit(part)(stack)


def held_by_all(tree: Any, n: int) -> Any:
    """The same arrays, which, like their derivatives, every one of n devices holds as a whole: a state that is stepped looks the same after every step,
    and nothing is compiled twice."""
    if n == 1:
        return tree
    return jax.tree_util.tree_map(lambda x: jax.lax.with_sharding_constraint(x, NamedSharding(_mesh(n), P())), tree)
