"""What only a fresh process shows: start-up, peak memory, compilations, many devices, a whole fit.

`ask(name, **arguments)` starts `python -m experiments.benchmarks.children` and reads the JSON of its last line.
"""

import json
import os
import subprocess
import sys
import time

START = time.perf_counter()  # before the imports, which are part of a first evaluation


def ask(name: str, **arguments) -> dict:
    """What the function of this name finds, in a process of its own."""
    command = [sys.executable, "-m", "experiments.benchmarks.children", json.dumps({"name": name, "arguments": arguments})]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{name} with {arguments} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def start_up() -> dict:
    """Seconds of `import jaxpot`, with and without what jax itself takes, and to the first energy and forces of a SOAP model."""
    start = time.perf_counter()
    import jax

    with_jax = time.perf_counter()
    import jaxpot as jp

    done = time.perf_counter()
    jax.config.update("jax_enable_x64", True)
    from experiments.benchmarks import models

    jax.block_until_ready(jax.jit(jp.evaluate)(models.linear(models.soap()), jp.from_atoms(models.crystal(64), models.CUTOFF)))
    return {"import": done - start, "import of jaxpot alone": done - with_jax, "first evaluation": time.perf_counter() - START}


def memory(family: str, n_atoms: int, dtype: str) -> dict:
    """Bytes that one evaluation needs beyond what the process had before it, the neighbour list among it; and what XLA planned."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jaxpot as jp
    from experiments.benchmarks import models, timing

    model = models.for_dynamics(models.FAMILIES[family](("Si",)))
    graph = jp.from_atoms(models.crystal(n_atoms), models.CUTOFF)
    lists = sum(x.nbytes for x in (graph.neighbors, graph.shifts)) / n_atoms
    program = timing.program(jp.evaluate, jp.cast(model, dtype, insist=True), jp.cast(graph, dtype))
    del graph
    grown = timing.memory_of(program)
    return {
        "atoms": n_atoms,
        "bytes per atom": grown / n_atoms,
        "planned bytes per atom": program.temporary_bytes / n_atoms,
        "neighbour list, bytes per atom": lists,
        "peak GiB of the process": timing.peak_bytes() / 2**30,
    }


def compilations(n_steps: int = 20) -> dict:
    """How often `evaluate` is traced for structures of many sizes in batches of few shapes, and how often a moving crystal compiles."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np

    import jaxpot as jp
    from experiments.benchmarks import models
    from jaxpot.calculator import _compute

    traced = []

    def counted(model, graph):
        traced.append(graph.neighbors.shape)
        return jp.evaluate(model, graph)

    model, frames = models.linear(jp.SOAP(jp.Density(("Si",), jp.CosineCutoff(4.0, width=1.0), jp.GTO(3), 2, sigma=0.5))), []
    for n in range(8, 520, 8):  # clusters of many sizes
        cluster = models.crystal(512)[:n]
        cluster.pbc, cluster.info["energy"] = False, 0.0
        frames.append(cluster)
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=jp.noise_levels(0.01), batch_size=8)
    evaluate = jax.jit(jax.vmap(counted, (None, 0)))
    for _ in range(2):
        for batch in data.batches:
            evaluate(model, batch.graphs)
    shapes = {batch.graphs.neighbors.shape for batch in data.batches}

    atoms, rng = models.crystal(64), np.random.default_rng(0)
    atoms.calc = jp.Calculator(model)
    atoms.get_forces()
    before = _compute._cache_size()
    for _ in range(n_steps):  # far enough that the list is searched anew, with other numbers of neighbours
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.get_forces()
    return {
        "structures": len(frames),
        "sizes": len({len(a) for a in frames}),
        "shapes of batches": len(shapes),
        "traces": len(traced),
        "compilations of a moving crystal": _compute._cache_size() - before,
    }


def scaling(family: str, n_atoms: int, devices: list[int], runs: int) -> dict:
    """The same structure in parts, and parts of the same size, on pretend devices that share the cores of this machine, turn by turn."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(devices))
    import jaxpot as jp
    from experiments.benchmarks import models, timing
    from jaxpot import sharding

    model, contenders, communication = models.for_dynamics(models.FAMILIES[family](("Si",))), {}, {}
    plain = timing.program(jp.evaluate, model, jp.from_atoms(models.crystal(n_atoms), models.CUTOFF))
    contenders["one device, no parts"] = timing.Timed(plain)
    for kind in ("strong", "weak"):
        for n in devices:
            mesh, size = sharding.make_mesh(n), n_atoms if kind == "strong" else n_atoms // max(devices) * n
            parts = sharding.partition(jp.from_atoms(models.crystal(size), models.CUTOFF), mesh)
            name = f"{kind}, {n}"
            communication[name] = {"atoms": size, "bytes sent by a device": parts.communication, "ghosts per atom": _ghosts(parts)}
            contenders[name] = timing.Timed(lambda parts=parts, mesh=mesh: sharding.evaluate(model, parts, mesh))
    times = timing.interleaved(contenders, runs)
    return {"seconds": {name: t.runs for name, t in times.items()}, "communication": communication}


def _ghosts(parts) -> float:
    own = parts.positions.shape[1]
    return (parts.numbers.shape[1] - own) / own


def ace_fit(train: str, test: str, degree: int) -> dict:
    """A linear ACE fitted to energies and forces at given noise levels, twice: seconds with and without compilation, and test errors."""
    import ase.io
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np

    import jaxpot as jp
    from experiments.benchmarks import models

    frames, noise = ase.io.read(train, ":"), jp.noise_levels(0.003, 0.05)
    keys = {"energy": "dft_energy", "forces": "dft_forces"}
    data, held_out = (jp.Dataset.from_atoms(f, models.CUTOFF, sigma=noise, keys=keys) for f in (frames, ase.io.read(test, ":")))
    basis = models.ace(degree)
    term = jp.AtomicPotential(basis, jp.Linear(scale=1000.0, roughness=basis.smoothness(2.0)))
    model = term + jp.IsolatedAtoms({"Si": float(np.mean([a.info["dft_energy"] / len(a) for a in frames]))})
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        fitted = jp.fit.linear(model, data, progress=False)
        seconds.append(time.perf_counter() - start)
    errors = jp.fit.report(fitted, held_out, progress=False)["all"]
    return {"functions": term.n_coefficients, "seconds": seconds, "errors": {name: e["rmse"] for name, e in errors.items()}}


def ace_jax_fit(train: str, test: str, degree: int, output: str) -> dict:
    """The same by ace-jax, which also searches noise levels and prior (its default); its own seconds of problem, objective and search."""
    import contextlib
    import csv
    import io
    from pathlib import Path

    from ace_jax.cli import main

    seconds = []
    for turn in range(2):
        folder = Path(output) / str(turn)
        command = [
            "fit", "--order", "3", "--max-degree", str(degree), "--elements", "Si", "--rcut", "5.0", "--train", train, "--test", test,
            "--energy-key", "dft_energy", "--force-key", "dft_forces", "--e0", "lsq", "--out", str(folder),
        ]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            main(command)
        events = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
        stages = {e["name"]: e["seconds"] for e in events if e["event"] == "stage" and e["status"] == "done"}
        seconds.append(sum(stages[name] for name in ("problem", "objective", "map")))
    rmse = {row["quantity"]: float(row["rmse"]) for row in csv.DictReader((folder / "metrics.csv").open())}
    return {"seconds": seconds, "errors": {"energy": 1e-3 * rmse["E"], "forces": rmse["F"]}}


def sgdml(path: str, n_geometries: int, runs: int) -> dict:
    """Energies and forces of many geometries of water by a model of the sGDML code, there and here, turn by turn.

    In a process of its own, because that code forks, which must come before JAX has threads, and makes every library write its log.
    """
    import ase.build
    import numpy as np
    from sgdml.predict import GDMLPredict

    water = ase.build.molecule("H2O")
    positions = water.positions + np.random.default_rng(0).normal(0, 0.05, (n_geometries, 3, 3))
    theirs, flat = GDMLPredict(dict(np.load(path, allow_pickle=True))), positions.reshape(n_geometries, -1)
    theirs.prepare_parallel(n_bulk=n_geometries)
    energies, forces = theirs.predict(flat)

    import jax

    jax.config.update("jax_enable_x64", True)
    import jaxpot as jp
    from experiments.benchmarks import timing
    from jaxpot.io.sgdml import read_sgdml
    from jaxpot.units import KCAL_PER_MOL

    structures = []
    for r in positions:
        water.positions = r
        structures.append(jp.from_atoms(water, 1.0))
    ours = timing.program(jax.vmap(jp.evaluate, (None, 0)), read_sgdml(path), jp.stack(structures))
    found = ours()
    deviations = {"energies, eV": np.asarray(found.energy) - KCAL_PER_MOL * energies}
    deviations["forces, eV/Å"] = np.asarray(found.forces).reshape(n_geometries, -1) - KCAL_PER_MOL * forces
    times = timing.interleaved({"sGDML": timing.Timed(lambda: theirs.predict(flat)), "here": timing.Timed(ours)}, runs)
    return {
        "checks": {name: float(np.max(np.abs(d))) for name, d in deviations.items()},
        "seconds": {name: t.runs for name, t in times.items()},
    }


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(globals()[request["name"]](**request["arguments"])))
    sys.stdout.flush()
    os._exit(0)  # without waiting for idle threads
