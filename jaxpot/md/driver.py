"""The driver of molecular dynamics: blocks of steps, neighbour lists that are given room, trajectory files, and what is needed to go on after a kill."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph, from_atoms
from jaxpot.io.start import given_momenta, mobile
from jaxpot.md.ensembles import NVT, Ensemble
from jaxpot.md.files import TrajectoryFile, trajectory_file
from jaxpot.md.system import Observation, State, System
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.potentials.combinations import never_seen, unseen, warn_of_unseen
from jaxpot.potentials.nearby import on_short_lists
from jaxpot.precision import with_own_precision
from jaxpot.structures import diagnose
from jaxpot.trees import walk

_SAVE_EVERY = 30.0  # seconds between restart states
_EXPLODED = 1e6  # K; no interatomic potential means anything there
_MOST = 10**12  # steps
_THICKEST = 100.0  # Å, of a skin
_LOG = ("start", "t", "tt", "e", "te", "kelvin")  # sums of the summary
_LINES = 20  # of the table printed during a run
_ATTEMPTS = 8  # to give a neighbour list room
_ready = jax.jit(prepare)  # tables of the potential, made once
_graph = jax.jit(lambda system, state: system.graph(state))


@with_own_precision
def run(
    potential: Potential,
    atoms: Any,
    output: str | os.PathLike,
    *,
    ensemble: Ensemble = NVT(),
    steps: int,
    interval: int = 10,
    seed: int = 0,
    skin: float = 0.5,
    charge: float = 0.0,
    field: Sequence[float] = (0.0, 0.0, 0.0),
    restart: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> dict:
    """Runs molecular dynamics and writes its trajectory: extended XYZ, ASE's .traj or H5MD.

    Structures are periodic in all directions or in none. A frame holds energy, forces, momenta (ASE's units), `step`, `time`
    (fs), `temperature` (K, of 3N − 3 degrees of freedom) and `conserved` (eV). What ASE's FixAtoms and FixCartesian hold stays where it
    is and counts as no degree of freedom. The restart state is kept in `output` + ".restart.npz"; what a killed run wrote after its last
    state is written again. All is computed in the precision of the potential's numbers, float64 unless they were cast to less.

    Args:
      potential: any potential.
      atoms: `ase.Atoms`; their momenta are used if they have any, else drawn at the ensemble's temperature, and so are their masses.
      output: the trajectory; its ending says its kind: .traj is ASE's, .h5, .hdf5 and .h5md are H5MD (which needs h5py), and all others
        extended XYZ.
      ensemble: how the atoms move.
      steps: of the whole trajectory, an earlier part included.
      interval: steps between frames.
      seed: of the velocities.
      skin: of the neighbour list, in Å.
      charge: of the whole structure, in e; what `atoms` say of charges does not count.
      field: outer electric field, shape [3], in V/Å.
      restart: go on from the state beside `output`.
      overwrite: replace an existing trajectory.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      A summary for JSON: steps, time (ps), mean_temperature (K), drift of the conserved quantity (eV/atom/ps), and more.

    Raises:
      ValueError: for bad arguments, or a structure for which the potential gives NaN, with `diagnose`'s reason.
      FileExistsError: if the trajectory exists.
      RuntimeError: if the trajectory became NaN, with the reason.

    Warns:
      UserWarning: for combinations of elements around an atom that no structure of the fit had, each once, at the start and where a frame has a new one.
    """
    from tqdm import tqdm

    _check(steps, interval, seed, skin)
    steps, interval, seed = int(steps), int(interval), int(seed)
    name, timestep = type(ensemble).__name__.lower(), float(ensemble.timestep)
    numbers = {path: np.asarray(leaf).tolist() for path, leaf, _ in walk(ensemble)}
    settings = {"ensemble": name, "model": _digest(potential, atoms)} | _outer(charge, field) | numbers
    output = Path(output)
    kept = output.with_name(output.name + ".restart.npz")
    if not restart and (output.exists() or kept.exists()) and not overwrite:
        if output.exists() and kept.exists():
            raise FileExistsError(f"{output} exists; write --restart to go on, or --overwrite to replace it")
        there, lacks = (output, "has no restart state") if output.exists() else (kept, "has no trajectory")
        raise FileExistsError(f"{there} exists but {lacks} beside it, so it cannot go on; write --overwrite to replace it, or another --output")
    file, system = trajectory_file(output), _system(potential, atoms, ensemble, skin, charge, field)
    ready, key = _ready(potential), jax.random.key(seed)
    if restart:
        motion, log = _restored(kept, jax.eval_shape(system.init, key, ready).motion, settings)
        file.cut(log)
        state = system.reallocated(State(motion, system.neighbors))
    else:
        kept.unlink(missing_ok=True)
        state = system.init(key, ready)
        first = on_short_lists(ready, _listed(system, state))[0]  # what `blocks` begins with, so that a step is compiled once
        found = _observed(_advanced(system, state, first, 0)[1])
        if not np.isfinite(found.conserved):
            raise ValueError("the energy of the first structure is not finite: " + _why(system, state, potential))
        output.parent.mkdir(parents=True, exist_ok=True)
        file.begin()
        log = dict.fromkeys(_LOG, 0.0) | {"step": 0, "bytes": 0, "n": 0, "start": float(found.conserved)}
        _write(file, atoms, found, log, timestep)
        _store(kept, state.motion, log, settings)  # a run that is killed from here on can go on

    strange = _named(potential, system, state, set(never_seen(potential)))
    begin, saved, next_line = log["step"], time.monotonic(), log["step"]
    bar = tqdm(total=steps, initial=begin, desc=name, unit="step", disable=None if progress is None else not progress)
    tqdm.write(f"{'step':>10} {'time ps':>10} {'T K':>10} {'E eV/atom':>14} {'drift meV/atom':>16}")
    try:
        for after, found in blocks(system, state, potential, steps=steps, interval=interval, begin=begin):
            state, n = after, min(interval - log["step"] % interval, steps - log["step"])
            log["step"] += n
            bar.update(n)
            _write(file, atoms, found, log, timestep)
            strange = _named(potential, system, state, strange)
            if log["step"] >= next_line or log["step"] == steps:
                next_line += max(1, (steps - begin) // _LINES)
                off = 1e3 * (found.conserved - log["start"]) / len(atoms)
                picoseconds = log["step"] * timestep * 1e-3
                kelvin, each = found.temperature, found.energy / len(atoms)
                tqdm.write(f"{log['step']:>10} {picoseconds:>10.4f} {kelvin:>10.2f} {each:>14.6f} {off:>16.6f}")
            if time.monotonic() - saved > _SAVE_EVERY:
                _store(kept, state.motion, log, settings)
                saved = time.monotonic()
    finally:
        bar.close()
        file.close()
        _store(kept, state.motion, log, settings)
    return {
        "ensemble": name,
        "steps": log["step"],
        "time_ps": log["step"] * timestep * 1e-3,
        "frames": log["n"],
        "mean_temperature_K": log["kelvin"] / log["n"],
        "drift_eV_per_atom_per_ps": _slope(log) / len(atoms),
        "trajectory": str(output),
    }


def blocks(
    system: System, state: State, potential: Potential, *, steps: int, interval: int = 10, begin: int = 0
) -> Iterator[tuple[State, Observation]]:
    """Goes on from a state, in blocks of steps; where the neighbour list overflows it is given room and the block repeated.

    Args:
      system: what moves.
      state: where it is.
      potential: any potential; its tables are made once.
      steps: of the whole trajectory, those before `state` included.
      interval: steps of a block; blocks end at its multiples.
      begin: steps before `state`.

    Yields:
      The state at the end of each block, and what it shows, on the host.

    Raises:
      RuntimeError: if the trajectory became NaN, with the reason.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> from jaxpot.md import NVE, System
      >>> model = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> system = System(from_atoms(bulk("Ar", cubic=True), model.reach), NVE(temperature=60.0, timestep=2.0))
      >>> state = system.init(jax.random.key(0), model)
      >>> energies = [observed.conserved for _, observed in blocks(system, state, model, steps=20)]
      >>> bool(abs(energies[1] - energies[0]) < 1e-5)
      True
    """
    ready = _ready(potential)
    short, slots = on_short_lists(ready, _listed(system, state))
    while begin < steps:
        n = min(interval - begin % interval, steps - begin)
        after, found = _advanced(system, state, short, n)
        if bool(found.overflow) or not bool(jnp.isfinite(found.conserved)):  # a list was too short, or the potential says so itself
            state, after, found = _with_room(system, state, potential, ready, n)
            short, slots = on_short_lists(ready, _listed(system, after), slots)
        found = _observed(found)
        if not (np.isfinite(found.conserved) and np.all(np.isfinite(found.positions))):
            raise RuntimeError("the trajectory is no longer finite: " + _why(system, state, potential))
        if found.temperature > _EXPLODED:
            raise RuntimeError(f"{found.temperature:.3g} K between steps {begin} and {begin + n}: " + _why(system, state, potential))
        state, begin = after, begin + n
        yield state, found


def _with_room(system: System, state: State, potential: Potential, ready: Potential, n: int) -> tuple[State, State, Observation]:
    """The state, with a list that is long enough, that n steps later, and what the latter shows."""
    for attempt in range(_ATTEMPTS):
        after, found = _advanced(system, state, ready, n)
        if not bool(found.overflow):
            return state, after, found
        state = system.reallocated(state, extra=8 * attempt)
    raise RuntimeError(f"the neighbour list overflowed in {n} steps however large; atoms come too close: {_why(system, state, potential)}")


@jax.jit
def _listed(system: System, state: State) -> Graph:
    """The structure of a state with the list of the moment."""
    return system.graph(State(state.motion, system.updated(state)))


@jax.jit
def _advanced(system: System, state: State, potential: Potential, n: int) -> tuple[State, Observation]:
    """The state n steps later, and what it shows."""
    state = jax.lax.fori_loop(0, n, lambda _, state: system.step(state, potential), state)
    return state, system.observe(state, potential)


def _observed(found: Observation) -> Observation:
    """The same on the host."""
    return jax.tree_util.tree_map(np.asarray, found)


def _named(potential: Potential, system: System, state: State, strange: set[str]) -> set[str]:
    """Of combinations of elements that the fit never had those that are not in this state either; warns of the others."""
    new = tuple(name for name in unseen(potential, _graph(system, state)) if name in strange) if strange else ()
    warn_of_unseen(new, "md.run")
    return strange.difference(new)


def _check(steps: int, interval: int, seed: int, skin: float) -> None:
    for name, value, low in (("steps", steps, 1), ("interval", interval, 1), ("seed", seed, 0)):
        if not (_is_number(value) and value == int(value) and low <= value <= _MOST):
            raise ValueError(f"{name} must be an integer from {low} to {_MOST:.0e}, got {value}")
    if not (_is_number(skin) and 0 <= skin <= _THICKEST):
        raise ValueError(f"skin must be a number of Å from 0 to {_THICKEST:g}, got {skin}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and abs(value) < 1e300


def _outer(charge: float, field: Sequence[float]) -> dict[str, Any]:
    """Total charge and outer field as settings; runs before there were any have none."""
    settings = {"charge": float(charge), "field": [float(x) for x in field]}
    return {name: value for name, value in settings.items() if np.any(value)}


def _system(potential: Potential, atoms: Any, ensemble: Ensemble, skin: float, charge: float, field: Sequence[float]) -> System:
    """The system that a start is, refused where the potential does not know it."""
    graph = from_atoms(atoms, float(potential.reach) or 1.0, charge=charge, field=field)
    causes = diagnose(potential, graph)
    if causes:
        raise ValueError("; ".join(causes))
    free = mobile(atoms)
    return System(graph, ensemble, masses=atoms.get_masses(), momenta=given_momenta(atoms, free), mobile=free, skin=skin)


def _why(system: System, state: State, potential: Potential) -> str:
    """In words, for the last finite state."""
    from ase import Atoms

    step = float(system.ensemble.timestep)
    fallback = f"atoms moved too far within a step of {step} fs, or the model is used outside what it was fitted to"
    positions, cell = map(np.asarray, system.structure(state))
    found = Atoms(system.numbers, positions, cell=cell, pbc=system.box is not None)
    try:
        graph = from_atoms(found, float(potential.reach) or 1.0, charge=float(system.charge), field=np.asarray(system.field))
    except ValueError as error:
        return str(error)
    return "; ".join(diagnose(potential, graph)) or fallback


def _write(file: TrajectoryFile, start: Any, found: Observation, log: dict, timestep: float) -> None:
    """Appends a frame and adds it to the sums of the summary."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    t, e = log["step"] * timestep * 1e-3, float(found.conserved) - log["start"]
    for key, value in (("n", 1), ("t", t), ("tt", t * t), ("e", e), ("te", t * e), ("kelvin", float(found.temperature))):
        log[key] += value
    cell = found.cell if start.pbc.all() else start.cell.array
    atoms = Atoms(numbers=start.numbers, positions=found.positions, cell=cell, pbc=start.pbc)
    atoms.set_masses(start.get_masses())
    atoms.set_momenta(found.momenta)
    atoms.set_constraint(start.constraints)
    atoms.calc = SinglePointCalculator(atoms, energy=float(found.energy), forces=found.forces)
    atoms.info.update(step=log["step"], time=log["step"] * timestep, temperature=float(found.temperature), conserved=float(found.conserved))
    file.append(atoms)
    log["bytes"] = file.path.stat().st_size


def _slope(log: Mapping[str, float]) -> float:
    """Least squares of the conserved quantity against time, in eV/ps."""
    spread = log["tt"] - log["t"] ** 2 / log["n"]
    return (log["te"] - log["t"] * log["e"] / log["n"]) / spread if spread > 0 else 0.0


# --- restarting ------------------------------------------------------------------------------------------------------------


def _digest(potential: Potential, atoms: Any) -> str:
    """Of the model, the elements, the cell, the masses and what is fixed, so that a trajectory is not continued with others."""
    leaves, structure = jax.tree_util.tree_flatten(potential)
    digest = hashlib.sha256(str(structure).encode())
    free = mobile(atoms)
    fixed = () if free.all() else (free,)
    for leaf in (*leaves, atoms.numbers, atoms.cell.array, atoms.pbc, atoms.get_masses(), *fixed):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _store(path: Path, motion: Any, log: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(motion)]
    partial = path.with_name(path.name + ".partial")
    text = json.dumps({"settings": settings, "log": log})
    with open(partial, "wb") as file:
        np.savez(file, jaxpot=np.array(text), **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
    os.replace(partial, path)


def _restored(path: Path, like: Any, settings: Mapping[str, Any]) -> tuple[Any, dict]:
    if not path.exists():
        trajectory = path.with_name(path.name.removesuffix(".restart.npz"))
        way = "write --overwrite in place of --restart, to start anew" if trajectory.exists() else "start without --restart"
        raise FileNotFoundError(f"no restart state at {path}; {way}")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        header = json.loads(str(content.pop("jaxpot")))
        before, log = header["settings"], header["log"]
        leaves = [content[f"leaf{i}"] for i in range(len(content))]
        log = {name: float(log[name]) for name in _LOG} | {name: int(log[name]) for name in ("step", "bytes", "n")}
    except Exception as error:  # NumPy passes on what damaged archives set off
        raise ValueError(f"{path} is not a readable restart state ({type(error).__name__}: {error}); write --overwrite to start anew") from None
    for name in dict.fromkeys((*settings, *before)):
        if before.get(name) != settings.get(name):
            what = f"{name} was {before.get(name)} and is now {settings.get(name)}"
            what = "the model, the elements, the cell, the masses or what is fixed differ" if name == "model" else what
            raise ValueError(f"{path} belongs to another run: {what}; use the same, or start anew without --restart")
    old, structure = jax.tree_util.tree_flatten(like)
    if [a.shape for a in old] != [a.shape for a in leaves]:
        raise ValueError(f"{path} does not fit this structure; start anew without --restart")
    return jax.tree_util.tree_unflatten(structure, [jnp.asarray(b, a.dtype) for a, b in zip(old, leaves, strict=True)]), log


