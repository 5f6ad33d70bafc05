"""Molecular dynamics from a structure to a trajectory file: the driver behind `jaxpot md`.

jax-md integrates; here are the loop in blocks, what is written, and what is needed to go on after an interruption.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import from_atoms
from jaxpot.io.start import given_momenta, mobile
from jaxpot.math.linalg import einsum
from jaxpot.potentials.base import Potential, diagnose
from jaxpot.units import BOLTZMANN, FEMTOSECOND, GPA

Array = jax.Array

_SAVE_EVERY = 30.0  # seconds between restart states
_EXPLODED = 1e6  # K; no interatomic potential means anything there
_MOST = 10**12  # steps
_THICKEST = 100.0  # Å, of a skin
_LOG = ("start", "t", "tt", "e", "te", "kelvin")  # sums of the summary
_LINES = 20  # of the table printed during a run


def run(
    potential: Potential,
    atoms: Any,
    output: str | os.PathLike,
    *,
    steps: int,
    ensemble: str = "nvt",
    temperature: float = 300.0,
    pressure: float = 0.0,
    timestep: float = 1.0,
    interval: int = 10,
    seed: int = 0,
    skin: float = 0.5,
    restart: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> dict:
    """Runs NVE, NVT or NPT (Nosé–Hoover chains, isotropic) and writes extended XYZ.

    Structures are periodic in all directions or in none. A frame holds energy, forces, momenta (ASE's units), `step`, `time`
    (fs), `temperature` (K, of 3N − 3 degrees of freedom) and `conserved` (eV). What ASE's FixAtoms and FixCartesian hold stays where it
    is and counts as no degree of freedom. The restart state is kept in `output` + ".restart.npz"; what a killed run wrote after its last
    state is written again.

    Args:
      potential: any potential.
      atoms: `ase.Atoms`; their momenta are used if they have any, else drawn at `temperature`, and so are their masses.
      output: the trajectory.
      steps: of the whole trajectory, an earlier part included.
      ensemble: "nve", "nvt" or "npt".
      temperature: in K.
      pressure: in GPa, for "npt".
      timestep: in fs.
      interval: steps between frames.
      seed: of the velocities.
      skin: of the neighbour list, in Å.
      restart: go on from the state beside `output`.
      overwrite: replace an existing trajectory.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      A summary for JSON: steps, time (ps), mean_temperature (K), drift of the conserved quantity (eV/atom/ps), and more.

    Raises:
      ValueError: for bad arguments, or a structure for which the potential gives NaN, with `diagnose`'s reason.
      FileExistsError: if the trajectory exists.
      RuntimeError: if the trajectory became NaN, with the reason.
    """
    from tqdm import tqdm

    _check(ensemble, temperature, pressure, timestep, steps, interval, seed, skin)
    steps, interval, seed = int(steps), int(interval), int(seed)
    settings = {"ensemble": ensemble, "temperature": temperature, "timestep": timestep, "model": _digest(potential, atoms)}
    if ensemble == "npt":
        settings["pressure"] = pressure
    output = Path(output)
    kept = output.with_name(output.name + ".restart.npz")
    if not restart and (output.exists() or kept.exists()) and not overwrite:
        if output.exists() and kept.exists():
            raise FileExistsError(f"{output} exists; write --restart to go on, or --overwrite to replace it")
        there, lacks = (output, "has no restart state") if output.exists() else (kept, "has no trajectory")
        raise FileExistsError(f"{there} exists but {lacks} beside it, so it cannot go on; write --overwrite to replace it, or another --output")
    system = _System(potential, atoms, settings, skin)
    if restart:
        state, log = _restored(kept, lambda: system.initial(seed, jax.eval_shape), settings)
        if not output.exists() or output.stat().st_size < log["bytes"]:
            raise ValueError(f"{output} is shorter than when its restart state was written, so it cannot go on; write --overwrite in place of --restart")
        os.truncate(output, log["bytes"])
    else:
        kept.unlink(missing_ok=True)
        state, log = system.initial(seed), None
    neighbors = system.allocate(state)
    if log is None:
        found = system.observe(state, neighbors)
        if not np.isfinite(found["conserved"]):
            raise ValueError("the energy of the first structure is not finite: " + system.why(state))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("")
        log = dict.fromkeys(_LOG, 0.0) | {"step": 0, "bytes": 0, "n": 0, "start": found["conserved"]}
        system.write(output, state, found, log)
        _store(kept, state, log, settings)  # a run that is killed from here on can go on

    begin, saved, next_line = log["step"], time.monotonic(), log["step"]
    bar = tqdm(total=steps, initial=begin, desc=ensemble, unit="step", disable=None if progress is None else not progress)
    tqdm.write(f"{'step':>10} {'time ps':>10} {'T K':>10} {'E eV/atom':>14} {'drift meV/atom':>16}")
    try:
        while log["step"] < steps:
            n = min(interval - log["step"] % interval, steps - log["step"])
            state, neighbors, found = system.block(state, neighbors, n, log["step"])
            log["step"] += n
            bar.update(n)
            system.write(output, state, found, log)
            if log["step"] >= next_line or log["step"] == steps:
                next_line += max(1, (steps - begin) // _LINES)
                off = 1e3 * (found["conserved"] - log["start"]) / system.n
                picoseconds = log["step"] * timestep * 1e-3
                kelvin, each = found["temperature"], found["energy"] / system.n
                tqdm.write(f"{log['step']:>10} {picoseconds:>10.4f} {kelvin:>10.2f} {each:>14.6f} {off:>16.6f}")
            if time.monotonic() - saved > _SAVE_EVERY:
                _store(kept, state, log, settings)
                saved = time.monotonic()
    finally:
        bar.close()
        _store(kept, state, log, settings)
    return {
        "ensemble": ensemble,
        "steps": log["step"],
        "time_ps": log["step"] * timestep * 1e-3,
        "frames": log["n"],
        "mean_temperature_K": log["kelvin"] / log["n"],
        "drift_eV_per_atom_per_ps": _slope(log) / system.n,
        "trajectory": str(output),
    }


def _check(
    ensemble: str, temperature: float, pressure: float, timestep: float, steps: int, interval: int, seed: int, skin: float
) -> None:
    if ensemble not in ("nve", "nvt", "npt"):
        raise ValueError(f'ensemble must be "nve", "nvt" or "npt", got {ensemble!r}')
    for name, value, unit in (("temperature", temperature, "K"), ("timestep", timestep, "fs")):
        if not (_is_number(value) and value > 0):
            raise ValueError(f"{name} must be a positive number of {unit}, got {value}")
    if temperature > _EXPLODED:
        raise ValueError(f"temperature must be at most {_EXPLODED:g} K, got {temperature}")
    for name, value, low in (("steps", steps, 1), ("interval", interval, 1), ("seed", seed, 0)):
        if not (_is_number(value) and value == int(value) and low <= value <= _MOST):
            raise ValueError(f"{name} must be an integer from {low} to {_MOST:.0e}, got {value}")
    if not _is_number(pressure):
        raise ValueError(f"pressure must be a number of GPa, got {pressure}")
    if not (_is_number(skin) and 0 <= skin <= _THICKEST):
        raise ValueError(f"skin must be a number of Å from 0 to {_THICKEST:g}, got {skin}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and abs(value) < 1e300


class _System:
    """The potential, the structure and the integrator, and the functions jitted from them."""

    def __init__(self, potential: Potential, atoms: Any, settings: Mapping[str, Any], skin: float):
        import jax_md

        import jaxpot.md

        self.potential, self.atoms, self.n = potential, atoms, len(atoms)
        self.ensemble, self.timestep = settings["ensemble"], settings["timestep"]
        self.periodic = bool(atoms.pbc.all())
        reach = float(potential.reach)
        graph = from_atoms(atoms, reach or 1.0)
        causes = diagnose(potential, graph)
        if causes:
            raise ValueError("; ".join(causes))
        if atoms.pbc.any() and not self.periodic:
            raise ValueError(
                f"the structure is periodic in some directions only (pbc = {atoms.pbc.tolist()}); give the others vacuum wider than "
                f"the cutoff ({reach:g} Å) and set pbc to all, or to none"
            )
        if self.ensemble == "npt" and not self.periodic:
            raise ValueError("npt needs a periodic structure; choose nve or nvt")
        if self.ensemble == "npt" and np.linalg.det(atoms.cell.array) < 0:
            raise ValueError("npt needs a right-handed cell; exchange two lattice vectors")
        self.free = mobile(atoms)
        if self.ensemble == "npt" and not self.free.all():
            raise ValueError("npt cannot keep atoms fixed while their cell moves; choose nve or nvt, or free them: del atoms.constraints")
        self.momenta = given_momenta(atoms, self.free, self.ensemble)
        self.drifting = self.free.all(axis=0) if self.n > 1 else np.zeros(3, bool)  # directions in which the total momentum is conserved
        self.degrees_of_freedom = int(np.sum(self.free)) - int(np.sum(self.drifting))
        self.kT, self.pressure = BOLTZMANN * settings["temperature"], GPA * settings.get("pressure", 0.0)
        self.box = jnp.asarray(atoms.cell.array.T) if self.periodic else None
        displacement, shift = jax_md.space.periodic_general(self.box) if self.periodic else jax_md.space.free()
        room = 1.1 if self.ensemble == "npt" else 1.0  # the box may shrink under pressure
        small = self.periodic and 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max() <= room * 2 * (reach + skin)
        self.neighbor_fn, energy_fn = jaxpot.md.neighbor_list_energy(
            potential, displacement, self.box, atoms.numbers, skin=skin, fractional_coordinates=self.periodic, multi_image=small
        )
        self._energy_fn, dt = energy_fn, settings["timestep"] * FEMTOSECOND
        self._force_fn = jax_md.quantity.force(energy_fn)
        simulate, moving = jax_md.simulate, energy_fn if self.free.all() else lambda R, **kwargs: self._force_fn(R, **kwargs) * self.free
        if self.ensemble == "nve":
            self._init, self._step = simulate.nve(moving, shift, dt)
        elif self.ensemble == "nvt":
            self._init, self._step = simulate.nvt_nose_hoover(moving, shift, dt, self.kT)
        else:
            self._init = simulate.npt_nose_hoover(energy_fn, shift, dt, self.pressure, self.kT)[0]

            def step(state, **kwargs):
                own = _fractional_shift(simulate.npt_box(state))
                return simulate.npt_nose_hoover(energy_fn, own, dt, self.pressure, self.kT)[1](state, **kwargs)

            self._step = step
        self._block = jax.jit(self._steps)

    def initial(self, seed: int, evaluate: Callable = lambda make: make()) -> Any:
        """jax-md's state of the first step; with `jax.eval_shape` only its structure."""
        atoms = self.atoms
        R = jnp.asarray(atoms.get_scaled_positions() if self.periodic else atoms.positions)
        momenta = None if self.momenta is None else jnp.asarray(self.momenta)
        box = {"box": self.box} if self.ensemble == "npt" else {}
        kT = {"kT": self.kT} if self.ensemble == "nve" else {}
        neighbors = self.neighbor_fn.allocate(R, **box)
        mass, key = jnp.asarray(atoms.get_masses()), jax.random.key(seed)
        if momenta is None and not self.free.all():  # as jax-md draws them
            momenta = jnp.sqrt(mass * self.kT)[:, None] * jax.random.normal(key, R.shape, R.dtype) * self.free
            momenta = momenta - jnp.mean(momenta, axis=0, keepdims=True) * self.drifting[None]

        def make():
            state = self._init(key, R, **box, **kT, mass=mass, momenta=momenta, neighbor=neighbors)
            # momenta sum to zero and stay so: with jax-md's own count of 3N a small system is heated to N / (N - 1) times the target
            for name in {"nvt": ("chain",), "npt": ("thermostat",)}.get(self.ensemble, ()):
                state = state.set(**{name: getattr(state, name).set(degrees_of_freedom=self.degrees_of_freedom)})
            return state

        return evaluate(make)

    def allocate(self, state: Any, extra: int = 0) -> Any:
        """A neighbour list for this state."""
        return self.neighbor_fn.allocate(state.position, extra, **self._box(state))

    def _box(self, state: Any) -> dict[str, Array]:
        import jax_md

        return {"box": jax_md.simulate.npt_box(state)} if self.ensemble == "npt" else {}

    def _steps(self, state: Any, neighbors: Any, n: Array) -> tuple[Any, Any, dict]:
        types = jax.tree_util.tree_map(jnp.result_type, state)

        def advance(_, carry):
            state, neighbors = carry
            neighbors = neighbors.update(state.position, **self._box(state))
            state = self._step(state, neighbor=neighbors)
            return jax.tree_util.tree_map(lambda x, t: jnp.asarray(x, t), state, types), neighbors

        state, neighbors = jax.lax.fori_loop(0, n, advance, (state, neighbors))
        neighbors = neighbors.update(state.position, **self._box(state))
        return state, neighbors, self._quantities(state, neighbors)

    def _quantities(self, state: Any, neighbors: Any) -> dict[str, Array]:
        box = self._box(state)
        energy = self._energy_fn(state.position, neighbor=neighbors, **box)
        kinetic = 0.5 * jnp.sum(state.momentum**2 / state.mass)
        drift = 0.5 * jnp.sum((jnp.sum(state.momentum, axis=0) * self.drifting) ** 2) / jnp.sum(state.mass)
        conserved = energy + kinetic
        if self.ensemble != "nve":
            chain = state.chain if self.ensemble == "nvt" else state.thermostat
            conserved += _chain_energy(chain, self.kT, chain.degrees_of_freedom)
        if self.ensemble == "npt":
            conserved += _chain_energy(state.barostat, self.kT, 1) + state.box_momentum**2 / (2 * state.box_mass)
            conserved += self.pressure * jnp.linalg.det(box["box"])
        return {
            "energy": energy,
            "conserved": conserved,
            "temperature": 2 * (kinetic - drift) / (self.degrees_of_freedom * BOLTZMANN),
            "forces": state.force if self.free.all() else self._force_fn(state.position, neighbor=neighbors),
            **box,
        }

    def observe(self, state: Any, neighbors: Any) -> dict:
        """Energy, temperature and the like of a state."""
        return jax.tree_util.tree_map(np.asarray, self._block(state, neighbors, 0)[2])

    def block(self, state: Any, neighbors: Any, n: int, step: int) -> tuple[Any, Any, dict]:
        """n steps from step; where the neighbour list overflows it is allocated anew and the block repeated."""
        for attempt in range(8):
            after, new, found = self._block(state, neighbors, n)
            if bool(new.did_buffer_overflow):
                neighbors = self.allocate(state, extra=8 * attempt)
                continue
            found = jax.tree_util.tree_map(np.asarray, found)
            if not (np.isfinite(found["conserved"]) and np.all(np.isfinite(after.position))):
                raise RuntimeError("the trajectory is no longer finite: " + self.why(state))
            if found["temperature"] > _EXPLODED:
                raise RuntimeError(f"{found['temperature']:.3g} K between steps {step} and {step + n}: " + self.why(state))
            return after, new, found
        raise RuntimeError(f"the neighbour list overflowed in {n} steps however large; atoms come too close: {self.why(state)}")

    def why(self, state: Any) -> str:
        """In words, for the last finite state."""
        fallback = f"atoms moved too far within a step of {self.timestep} fs, or the model is used outside what it was fitted to"
        try:
            graph = from_atoms(self.structure(state), float(self.potential.reach) or 1.0)
        except ValueError as error:
            return str(error)
        return "; ".join(diagnose(self.potential, graph)) or fallback

    def structure(self, state: Any) -> Any:
        """The state as `ase.Atoms`."""
        from ase import Atoms

        cell = np.asarray(self._box(state).get("box", self.box)).T if self.periodic else self.atoms.cell.array
        R = np.asarray(state.position)
        atoms = Atoms(numbers=self.atoms.numbers, positions=R @ cell if self.periodic else R, cell=cell, pbc=self.atoms.pbc)
        atoms.set_masses(self.atoms.get_masses())
        atoms.set_momenta(np.asarray(state.momentum))
        atoms.set_constraint(self.atoms.constraints)
        return atoms

    def write(self, output: Path, state: Any, found: Mapping[str, Any], log: dict) -> None:
        """Appends a frame and adds it to the sums of the summary."""
        import ase.io
        from ase.calculators.singlepoint import SinglePointCalculator

        t, e = log["step"] * self.timestep * 1e-3, float(found["conserved"]) - float(log["start"])
        for key, value in (("n", 1), ("t", t), ("tt", t * t), ("e", e), ("te", t * e), ("kelvin", float(found["temperature"]))):
            log[key] += value
        log["start"] = float(log["start"])
        atoms = self.structure(state)
        atoms.calc = SinglePointCalculator(atoms, energy=float(found["energy"]), forces=found["forces"])
        atoms.info.update(step=log["step"], time=log["step"] * self.timestep)
        atoms.info.update({name: float(found[name]) for name in ("temperature", "conserved")})
        ase.io.write(output, atoms, format="extxyz", append=True)
        log["bytes"] = output.stat().st_size


def _fractional_shift(before: Array) -> Any:
    """jax-md's shift for npt_nose_hoover, whose box was `before` at the start of the step.

    The integrator asks for R (eˣ − 1) + displacement, where eˣ is the growth of the box. The first part is meant for real
    positions; fractional ones have moved with the box already, so it is taken off again (jax-md 0.2.29 leaves it in, and its
    conserved quantity then follows the volume).
    """

    def shift(R, dR, *, box, **kwargs):
        growth = jnp.cbrt(jnp.linalg.det(box) / jnp.linalg.det(before))
        moved = R + einsum("sx,nx->ns", jnp.linalg.inv(box), dR - R * (growth - 1))
        return moved - jnp.floor(moved)

    return shift


def _chain_energy(chain: Any, kT: float, degrees_of_freedom: int) -> Array:
    """What a Nosé–Hoover chain adds to the conserved quantity, in eV."""
    weights = jnp.ones_like(chain.position).at[0].set(degrees_of_freedom)
    return jnp.sum(chain.momentum**2 / (2 * chain.mass)) + kT * jnp.sum(weights * chain.position)


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


def _store(path: Path, state: Any, log: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(state)]
    partial = path.with_name(path.name + ".partial")
    text = json.dumps({"settings": settings, "log": log})
    with open(partial, "wb") as file:
        np.savez(file, jaxpot=np.array(text), **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
    os.replace(partial, path)


def _restored(path: Path, initial: Callable[[], Any], settings: Mapping[str, Any]) -> tuple[Any, dict]:
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
    for name, value in settings.items():
        if before.get(name) != value:
            what = f"{name} was {before.get(name)} and is now {value}"
            what = "the model, the elements, the cell, the masses or what is fixed differ" if name == "model" else what
            raise ValueError(f"{path} belongs to another run: {what}; use the same, or start anew without --restart")
    old, structure = jax.tree_util.tree_flatten(initial())
    if [a.shape for a in old] != [a.shape for a in leaves]:
        raise ValueError(f"{path} does not fit this structure; start anew without --restart")
    return jax.tree_util.tree_unflatten(structure, [jnp.asarray(b, a.dtype) for a, b in zip(old, leaves, strict=True)]), log


