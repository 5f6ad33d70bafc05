"""How times, operations and memory are taken: turn by turn, warm, with what the machine itself can do beside them."""

import dataclasses
import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RUNS = 7
SHORT = 0.3  # s; shorter calls are repeated for so long, as in a loop over steps, since the contender before has had cache and threads


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of the timed runs of one contender, in the order taken."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def per(self, n: float) -> dict[str, float]:
        """Microseconds per unit: median, and the lowest and highest as its spread."""
        return {"median": 1e6 * self.median / n, "lowest": 1e6 * min(self.runs) / n, "highest": 1e6 * max(self.runs) / n}


class Timed:
    """A contender: calling it gives the seconds that a call of the function takes, the mean of a run of calls where they are short."""

    def __init__(self, function: Callable[[], Any]):
        self.function = function

    def __call__(self) -> float:
        seconds, calls = self._seconds(1), 1
        if seconds < SHORT:
            calls = math.ceil(SHORT / seconds)
            seconds = self._seconds(calls)
        return seconds / calls

    def _seconds(self, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(self.function())
        return time.perf_counter() - start


def interleaved(contenders: dict[str, Callable[[], float]], runs: int = RUNS) -> dict[str, Times]:
    """Warm times, A B A B …: what disturbs the machine for a while disturbs all alike. The first call of each is not counted."""
    taken = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name, run in contenders.items():
            seconds = run()
            if turn:
                taken[name].append(seconds)
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function with its arguments on the device, and the seconds of its compilation."""

    compiled: Any
    arguments: tuple
    compile_seconds: float

    def __call__(self) -> Any:
        return self.compiled(*self.arguments)

    @property
    def counted(self) -> dict[str, float]:
        """Operations, exponentials and the like, and bytes that operations read and write, wherever these lie. A loop counts once."""
        cost, names = self.compiled.cost_analysis(), {"flops": "flops", "transcendentals": "transcendentals", "bytes": "bytes accessed"}
        return {name: float(cost.get(theirs, 0.0)) for name, theirs in names.items()}

    @property
    def bytes_in_and_out(self) -> int:
        memory = self.compiled.memory_analysis()
        return memory.argument_size_in_bytes + memory.output_size_in_bytes

    @property
    def temporary_bytes(self) -> int:
        return self.compiled.memory_analysis().temp_size_in_bytes


def program(function: Callable, *arguments: Any) -> Program:
    arguments = jax.device_put(arguments)
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(compiled, arguments, time.perf_counter() - start)


def _lowest(run: Callable[[], float], runs: int = 15) -> float:
    return min(run() for _ in range(runs))


def peaks(dtype: Any, size: int | None = None, megabytes: int | None = None) -> dict[str, float]:
    """What the machine does at best: Gflop/s of a large matrix product, and GB/s of copies, in memory, and within the caches of all cores."""
    on_cpu = jax.default_backend() == "cpu"
    size, megabytes = size or (1024 if on_cpu else 8192), megabytes or (256 if on_cpu else 4096)
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(size, size)), dtype)
    product = program(lambda a, b: jnp.matmul(a, b, precision="highest"), a, a)
    large = program(lambda x: -x, np.ones(megabytes * 2**20 // np.dtype(dtype).itemsize, dtype))
    source = np.ones(2**15)
    target = np.empty_like(source)

    def copies():
        for _ in range(200):
            np.copyto(target, source)

    found = {"Gflop/s": 2e-9 * size**3 / _lowest(Timed(product)), "memory GB/s": 2e-9 * megabytes * 2**20 / _lowest(Timed(large))}
    in_cache = cores() * 2e-9 * source.nbytes * 200 / _lowest(Timed(copies)) if on_cpu else found["memory GB/s"]
    return found | {"cache GB/s": in_cache}


def floor(counted: dict[str, float], bytes_in_and_out: float, peak: dict[str, float]) -> float:
    """Seconds below which a program with these operations cannot be: all at the rate of a matrix product, or all input and output once."""
    return max(1e-9 * counted["flops"] / peak["Gflop/s"], 1e-9 * bytes_in_and_out / peak["memory GB/s"])


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


_STATUS = Path("/proc/self/status")


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def memory_of(run: Callable[[], Any]) -> int:
    """Bytes by which this process grows at most while it runs; meant for a fresh process, whose free memory has not been there before.

    Where /proc is, the high-water mark is set back first, so that it is that of the run; elsewhere it is `ru_maxrss` minus the same
    before the run, which is too little if the process has once been larger.
    """
    if not _STATUS.exists():
        before = peak_bytes()
        jax.block_until_ready(run())
        return peak_bytes() - before
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    jax.block_until_ready(run())
    return _resident("VmHWM") - before


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine() -> dict[str, Any]:
    """Processor, cores, memory and the accelerator."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), cpu)
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": cores(),
        "memory GiB": round(memory, 1),
        "load at the start": round(load, 1),
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
