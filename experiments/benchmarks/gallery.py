"""The jobs of the gallery beside the same jobs in other codes: time of whole processes, imports and compilation among them, and lines of code.

    python -m experiments.benchmarks.gallery             # all; peers that are not installed are named
    python -m experiments.benchmarks.gallery --jobs 1 7 --runs 3

Ours and the other take turns, A B A B; the median is printed, with the lowest and the highest. `gallery_peers.py` has the other codes' jobs.
"""

import argparse
import ast
import inspect
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks import gallery_peers

ROOT = Path(__file__).resolve().parents[2]


def lines(source: str) -> int:
    """Of code; blank lines, comments and the text at the top do not count."""
    tree = ast.parse(source)
    text = tree.body[0].end_lineno if ast.get_docstring(tree) else 0
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines()[text:])


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of the processor, with those of its children, and of the clock, of a process in an empty folder.

    Raises:
      RuntimeError: with its last words, where it fails.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "XDG_CACHE_HOME": folder, "PATH": programs}
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)}: {found.stderr[-1500:]}")
    print(*(f"    {line[:150]}" for line in found.stdout.strip().splitlines()[-6:]), sep="\n")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="+", type=int, choices=sorted(gallery_peers.JOBS), default=sorted(gallery_peers.JOBS))
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    for number in options.jobs:
        ours, peer = next((ROOT / "docs/gallery").glob(f"plot_{number}_*.py")), gallery_peers.JOBS[number]
        commands = {ours.stem: [sys.executable, str(ours)], peer.code: [sys.executable, "-m", "experiments.benchmarks.gallery_peers", str(number)]}
        length = {ours.stem: lines(ours.read_text()), peer.code: lines(inspect.cleandoc(inspect.getsource(peer.run).split("\n", 1)[1]))}
        found: dict[str, list] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                try:
                    found[name].append(timed(command))
                except RuntimeError as error:
                    print(error)
        for name, turns in found.items():
            for unit, seconds in zip(("processor", "clock"), zip(*turns, strict=True), strict=False):
                spread = f"{statistics.median(seconds):6.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
                print(f"{name:<32} {length[name]:>3} lines  {spread}, {unit}", flush=True)


if __name__ == "__main__":
    main()
