"""Fit and evaluation of one SOAP-GAP by gap_fit and quippy, and here: time, peak memory, and how far the numbers agree.

    pip install -e '.[quippy]'
    python experiments/gap_speed/run.py
    python experiments/gap_speed/run.py --every 4 --points 300 --repeat 2

Both are fitted to energies and forces of the silicon set of Zuo et al. (2020) with equal settings, each in a process of its own. Then
the file that gap_fit wrote is evaluated by quippy and, read by `jaxpot.io.gap.read_gap`, here, turn by turn in one process. Needs the
published data sets (JAXPOT_DATA) and quippy-ase.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of quippy that spin would take the cores from whoever comes next

import ase.build
import ase.io
import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.io.gap import read_gap  # noqa: E402

CUTOFF, WIDTH, N_MAX, L_MAX, SIGMA, ZETA, DELTA = 5.0, 1.0, 8, 6, 0.5, 4, 1.0
ENERGY, FORCES = 0.003, 0.05  # noise levels, eV per √atom and eV/Å
JITTER = 1e-8


def command(data: Path, potential: Path, points: int, mean: float) -> list[str]:
    soap = (
        f"soap l_max={L_MAX} n_max={N_MAX} atom_sigma={SIGMA} zeta={ZETA} cutoff={CUTOFF} cutoff_transition_width={WIDTH} central_weight=1.0 "
        f"n_sparse={points} delta={DELTA} f0=0.0 covariance_type=dot_product sparse_method=cur_points"
    )
    return [
        shutil.which("gap_fit") or str(Path(sys.executable).parent / "gap_fit"),
        f"at_file={data}", f"gap={{{soap}}}", f"default_sigma={{{ENERGY} {FORCES} 0.0 0.0}}", f"e0={{Si:{mean!r}}}", f"sparse_jitter={JITTER}",
        "energy_parameter_name=dft_energy", "force_parameter_name=dft_forces", "virial_parameter_name=none", f"gp_file={potential}",
        "sparse_separate_file=T", "do_copy_at_file=F", "rnd_seed=1",
    ]  # fmt: skip


def measured(arguments: list[str], log: Path) -> dict:
    """Wall time in s and peak memory in GiB of a process, which must succeed."""
    start = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{arguments[0]} failed; its output is in {log}")
    return {"seconds": time.perf_counter() - start, "peak GiB": usage.ru_maxrss / 2**20}


def training_frames(every: int):
    frames = datasets.load("mlearn/Si_train")[::every]
    return frames, float(np.mean([a.get_potential_energy() / len(a) for a in frames]))


def fit_here(every: int, points: int, output: Path) -> None:
    """The whole fit, from frames to a file, with its phases."""
    start = time.perf_counter()
    frames, mean = training_frames(every)
    data = jp.Dataset.from_atoms(frames, CUTOFF, sigma=jp.noise_levels(ENERGY, FORCES))
    density = jp.Density(("Si",), jp.CosineCutoff(CUTOFF, width=WIDTH), jp.radial.EquispacedGaussians(N_MAX), L_MAX, sigma=SIGMA)
    soap = jp.SOAP(density)
    chosen = jp.fit.select_environments(soap, data, points, key=jax.random.key(1))
    model = jp.AtomicPotential(soap, jp.SparseGP(jp.PolynomialKernel(float(ZETA)), delta=DELTA, jitter=JITTER)).with_points(chosen)
    selected = time.perf_counter()
    fitted = jp.fit.linear(model + jp.IsolatedAtoms({"Si": mean}), data)
    jp.save(output / "jaxpot.npz", fitted)
    phases = {"read and select": selected - start, "fit": time.perf_counter() - selected}
    (output / "phases.json").write_text(json.dumps(phases))


def fit_both(arguments, output: Path) -> dict:
    frames, mean = training_frames(arguments.every)
    written = []
    for a in frames:
        b = a.copy()
        b.info, b.arrays["dft_forces"] = {"dft_energy": a.get_potential_energy()}, a.get_forces()
        written.append(b)
    ase.io.write(output / "train.xyz", written, format="extxyz")
    result = {"structures": len(frames), "environments": sum(map(len, frames)), "points": arguments.points}
    print("{} structures, {} environments, {} sparse points".format(*result.values()), flush=True)
    result["gap_fit"] = measured(command(output / "train.xyz", output / "gap.xml", arguments.points, mean), output / "gap_fit.log")
    again = [sys.executable, __file__, "--fit-here", "--every", str(arguments.every), "--points", str(arguments.points), "--output", str(output)]
    result["jaxpot"] = measured(again, output / "jaxpot.log") | {"phases": json.loads((output / "phases.json").read_text())}
    return result


def evaluate_both(output: Path, repeat: int, turns: int) -> dict:
    from quippy.potential import Potential

    atoms = ase.build.bulk("Si", "diamond", a=5.43, cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(0.05, seed=0)
    theirs, potential, evaluate = Potential(param_filename=str(output / "gap.xml")), read_gap(output / "gap.xml"), jax.jit(jp.evaluate)

    def quippy():
        atoms.calc = theirs
        theirs.reset()  # or the calculator would hand out what it has
        theirs.calculate(atoms, ["energy", "forces", "stress"])
        return theirs.results["energy"], theirs.results["forces"]

    def here(graph=None):
        made = jax.block_until_ready(evaluate(potential, jp.from_atoms(atoms, CUTOFF) if graph is None else graph))
        return float(made.energy), np.asarray(made.forces)

    listed = jp.from_atoms(atoms, CUTOFF)
    here()  # compilation
    contenders = {"quippy": quippy, "jaxpot": here, "jaxpot, list at hand": lambda: here(listed)}
    times, results = {name: [] for name in contenders}, {}
    for _ in range(turns):
        for name, function in contenders.items():
            function()  # after the other has had cache and threads, once untimed
            start = time.perf_counter()
            results[name] = function()
            times[name].append(time.perf_counter() - start)
    per_atom = {name: {"median": statistics.median(t), "lowest": min(t), "highest": max(t)} for name, t in times.items()}
    difference = [np.max(np.abs(np.asarray(a) - np.asarray(b))) for a, b in zip(results["quippy"], results["jaxpot"], strict=True)]
    return {
        "atoms": len(atoms),
        "microseconds per atom": {name: {k: 1e6 * v / len(atoms) for k, v in t.items()} for name, t in per_atom.items()},
        "difference of energies, eV/atom": float(difference[0] / len(atoms)),
        "largest difference of forces, eV/Å": float(difference[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth training frame")
    parser.add_argument("--points", type=int, default=1000, help="sparse points")
    parser.add_argument("--repeat", type=int, default=4, help="cubic cells of eight atoms along each axis in the timed crystal")
    parser.add_argument("--turns", type=int, default=7, help="timed evaluations of each")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--evaluate-only", action="store_true", help="time the potential that an earlier run has fitted")
    parser.add_argument("--fit-here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if arguments.fit_here:
        return fit_here(arguments.every, arguments.points, output)
    result = json.loads((output / "results.json").read_text()) if arguments.evaluate_only else fit_both(arguments, output)
    for name in ("gap_fit", "jaxpot"):
        print(f"fit, {name:<8} {result[name]['seconds']:8.1f} s {result[name]['peak GiB']:8.2f} GiB")
    result["evaluation"] = evaluation = evaluate_both(output, arguments.repeat, arguments.turns)
    times = evaluation["microseconds per atom"]
    for name, t in times.items():
        ratio = times["quippy"]["median"] / t["median"]
        print(f"energy, forces, stress, {name:<22} {t['median']:8.1f} µs per atom ({t['lowest']:.1f} to {t['highest']:.1f}), ratio {ratio:.1f}")
    for name in ("difference of energies, eV/atom", "largest difference of forces, eV/Å"):
        print(f"{name}: {evaluation[name]:.1e}")
    (output / "results.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
