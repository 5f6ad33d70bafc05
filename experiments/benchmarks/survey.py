"""What jaxpot itself takes, family by family, each beside the floor that its operations set.

One thing is varied at a time around the base: 512 atoms, float64, one element, energy with forces and virial, neighbour list at hand.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

import jaxpot as jp
from experiments.benchmarks import models, timing
from experiments.datasets import load

STEPS = 10  # of molecular dynamics in one call
ALL_THREE = "energy, forces, virial"


@dataclasses.dataclass(frozen=True)
class Case:
    """One figure of the survey."""

    family: str
    quantity: str
    n_atoms: int
    dtype: str = "float64"
    n_species: int = 1


def cases(family: str, sizes: list[int], dtypes: list[str], n_species: list[int], base: int) -> list[Case]:
    """The base with every quantity, then every size, precision and number of elements."""
    found = [Case(family, quantity, base) for quantity in models.QUANTITIES]
    found += [Case(family, ALL_THREE, n) for n in sizes if n != base]
    found += [Case(family, ALL_THREE, base, dtype=dtype) for dtype in dtypes if dtype != "float64"]
    found += [Case(family, ALL_THREE, base, n_species=n) for n in n_species if n != 1]
    return [*found, Case(family, "NVT step", base)]


def of_family(family: str, wanted: list[Case], peaks: dict[str, dict[str, float]], runs: int) -> list[dict]:
    """All cases of one family, timed turn by turn."""
    contenders, rows = {}, []
    for case in wanted:
        species = models.elements(case.n_species)
        model = models.for_dynamics(models.FAMILIES[family](species))
        atoms = models.crystal(case.n_atoms, species)
        model, graph = (jp.cast(x, case.dtype, insist=True) for x in (model, jp.from_atoms(atoms, models.CUTOFF)))
        row = dataclasses.asdict(case)
        if case.quantity == "NVT step":
            program, per = nvt(model, atoms, case.dtype), case.n_atoms * STEPS
        else:
            function = models.QUANTITIES[case.quantity]
            program, per = timing.program(function, model, graph), case.n_atoms
            small = jp.cast(jp.from_atoms(models.crystal(64, species), models.CUTOFF), case.dtype)
            counted = timing.program(function, models.one_block(model, 64), small).counted
            whole = {name: value * case.n_atoms / 64 for name, value in counted.items()}
            row |= {f"{name} per atom": value / 64 for name, value in counted.items()}
            row["touched"] = 1e-3 * row["bytes per atom"] / peaks[case.dtype]["cache GB/s"]
            row["floor"] = 1e6 * timing.floor(whole, program.bytes_in_and_out, peaks[case.dtype]) / case.n_atoms
        row["compile_seconds"] = program.compile_seconds
        contenders[len(rows)] = timing.Timed(program)
        rows.append((row, per))
    times = timing.interleaved(contenders, runs)
    for number, (row, per) in enumerate(rows):
        row["microseconds per atom"] = times[number].per(per)
        if "floor" in row:
            row["times the floor"] = row["microseconds per atom"]["median"] / row["floor"]
    return [row for row, _ in rows]


def throughput(family: str, n_atoms: int, dtype: str, peak: dict[str, float], runs: int) -> dict:
    """Steps per second of one large structure times its atoms, and the parts of the machine's bandwidth and arithmetic that energy, forces
    and virial use; counted in one block of 4096 atoms."""
    model = jp.cast(models.for_dynamics(models.FAMILIES[family](("Si",))), dtype, insist=True)
    atoms = models.crystal(n_atoms)
    programs = {
        ALL_THREE: timing.program(jp.evaluate, model, jp.cast(jp.from_atoms(atoms, models.CUTOFF), dtype)),
        "NVT step": nvt(model, atoms, dtype),
    }
    times = timing.interleaved({name: timing.Timed(program) for name, program in programs.items()}, runs)
    per = {ALL_THREE: n_atoms, "NVT step": n_atoms * STEPS}
    block = jp.cast(jp.from_atoms(models.crystal(4096), models.CUTOFF), dtype)
    counted = timing.program(jp.evaluate, models.one_block(model, 4096), block).counted
    rate = n_atoms / 4096 / times[ALL_THREE].median
    return {
        "family": family, "atoms": n_atoms, "dtype": dtype,
        "microseconds per atom": {name: t.per(per[name]) for name, t in times.items()},
        "million atom-steps per second": {name: 1e-6 * per[name] / t.median for name, t in times.items()},
        "of the bandwidth": 1e-9 * counted["bytes"] * rate / peak["memory GB/s"],
        "of the arithmetic": 1e-9 * counted["flops"] * rate / peak["Gflop/s"],
        "temporary GiB": programs[ALL_THREE].temporary_bytes / 2**30,
        "compile_seconds": {name: program.compile_seconds for name, program in programs.items()},
    }  # fmt: skip


def nvt(model: jp.Potential, atoms: Atoms, dtype: str) -> timing.Program:
    """STEPS steps of a Nosé–Hoover thermostat, each with an update of the neighbour list, whose search the skin mostly spares.

    Raises:
      RuntimeError: if the list overflows or a result is not finite.
    """
    graph = jp.cast(jp.from_atoms(atoms, float(model.reach)), dtype)
    # random potentials are not of this world: a time step that moves nothing far
    system = jp.md.System(graph, jp.md.NVT(300.0, timestep=1e-4), skin=0.4)
    state = system.init(jax.random.key(0), model)

    def run(state: jp.md.State, model: jp.Potential) -> jp.md.State:
        return jax.lax.fori_loop(0, STEPS, lambda _, state: system.step(state, model), state)

    program = timing.program(run, state, model)
    after = program()
    if bool(after.overflow) or not bool(jnp.all(jnp.isfinite(after.motion.position))):
        raise RuntimeError("a step of molecular dynamics went wrong: overflow, or positions that are not finite")
    return program


def fit_and_evidence(family: str, runs: int) -> dict:
    """Seconds of a fit of the project's silicon data (energies, forces, virials), compiled, and of the evidence with its gradient by all leaves
    of the descriptor. Of a network, which has neither: of a squared error with its gradient by all weights.
    """
    frames = [a for a in load("silicon_pbe") if a.info["split"] == "train"]
    data = jp.Dataset.from_atoms(frames, models.CUTOFF, sigma=jp.noise_levels(0.003, 0.1, 0.05))
    model = models.FAMILIES[family](("Si",))
    result = {"family": family, "structures": len(data), "atoms": sum(map(len, frames))}
    if not isinstance(model.head, jp.LinearHead):
        return result | {"loss gradient": _loss_gradient(model, data, runs)}
    params, build = jp.free(model, "descriptor.*")

    def fit() -> float:
        return jp.fit.linear(model, data, progress=False)

    evidence = timing.program(jax.value_and_grad(lambda params, data: jp.fit.log_evidence(build(params), data)), params, data)
    times = timing.interleaved({"fit": timing.Timed(fit), "evidence gradient": timing.Timed(evidence)}, runs)
    value, gradient = evidence()
    if not all(bool(jnp.all(jnp.isfinite(x))) for x in (value, *gradient.values())):
        raise RuntimeError(f"the evidence of {family} or its gradient is not finite")
    return result | {name: t.per(1e6) for name, t in times.items()} | {"coefficients": model.n_coefficients, "compile_seconds": evidence.compile_seconds}


def _loss_gradient(model: jp.Potential, data: jp.Dataset, runs: int) -> dict[str, float]:
    params, build = jp.free(model, "head.*")

    def loss(params: dict, data: jp.Dataset) -> jax.Array:
        def of(structure):
            found = jp.evaluate(build(params), structure.graphs)
            pairs = [(getattr(found, name), getattr(structure.targets, name), getattr(structure.sigma, name)) for name in ("energy", "forces")]
            return sum(jnp.sum(((a - jnp.where(jnp.isfinite(s), b, a)) / s) ** 2) for a, b, s in pairs)

        return sum(jnp.sum(jax.lax.map(of, batch)) for batch in data.batches)

    gradient = timing.program(jax.value_and_grad(loss), params, data)
    return timing.interleaved({"": timing.Timed(gradient)}, runs)[""].per(1e6)


def sizes_of(rows: list[dict], family: str) -> list[dict]:
    """The rows of a family in which nothing but the number of atoms is varied, by it."""
    found = [r for r in rows if (r["family"], r["quantity"], r["dtype"], r["n_species"]) == (family, ALL_THREE, "float64", 1)]
    return sorted(found, key=lambda row: row["n_atoms"])


def flatness(rows: list[dict], lowest: int = 512, highest: int = 65536) -> dict[str, float]:
    """Of every family the largest deviation of the cost per atom from its mean over the sizes between, where there are several."""
    found = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        costs = np.array([row["microseconds per atom"]["median"] for row in sizes_of(rows, family) if lowest <= row["n_atoms"] <= highest])
        if len(costs) > 1:
            found[family] = float(np.max(np.abs(costs / costs.mean() - 1)))
    return found

