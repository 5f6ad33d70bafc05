"""Learning on the fly: a trajectory that has itself labelled where its potential is not sure of the forces, and goes on with what was learnt."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.active.states import COLUMNS, Folder, Stored
from jaxpot.data import Dataset
from jaxpot.fit.posteriors import Posterior
from jaxpot.fit.solver import fingerprint
from jaxpot.fit.uncertainty import force_deviations
from jaxpot.fit.updating import update
from jaxpot.graph import from_atoms
from jaxpot.io.start import given_momenta, mobile
from jaxpot.md.driver import blocks
from jaxpot.md.ensembles import NVT, Ensemble
from jaxpot.md.system import Observation, State, System
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.properties import Properties
from jaxpot.structures import diagnose

Array = jax.Array

_SAVE_EVERY = 30.0  # seconds between states
_LABELS = ("energy", "forces", "virial")  # that calculators of ASE have


class Exploration(NamedTuple):
    """What an exploration has found.

    Args:
      status: "finished" after all steps; "labels" where one more label is needed than there may be; "exploded" where the trajectory came to no
        number, or 10⁶ K, before its deviation passed the threshold.
      message: the status in words, with the reason.
      posterior: of the data of the start and all labels; `.model` is the potential.
      frames: the labelled structures, `ase.Atoms` with `step` and `deviation` (eV/Å) in `info`.
      history: of every look at the deviation, arrays [n]: `step`, `temperature` (K), `deviation` (eV/Å, largest of all atoms) and `labels` (learnt
        before it).
    """

    status: str
    message: str
    posterior: Posterior
    frames: list
    history: dict[str, np.ndarray]


def explore(
    posterior: Posterior,
    atoms: Any,
    calculator: Any,
    folder: str | os.PathLike,
    *,
    steps: int,
    threshold: float,
    sigma: Properties | Callable[[Any], Properties],
    ensemble: Ensemble = NVT(),
    labels: int = 100,
    interval: int = 10,
    seed: int = 0,
    skin: float = 0.5,
    progress: bool | None = None,
) -> Exploration:
    """Molecular dynamics that labels a structure wherever the deviation of a force passes a threshold, learns it, and goes on from there.

    The deviation is `fit.force_deviations`, which of Gaussian processes leaves out what the sparse points do not span. It is looked at after
    every `interval` steps; a stretch at whose end it is too large, or in which the trajectory explodes, is gone through once more step by step,
    so that what is labelled is the first structure beyond the threshold. Its label is learnt by `fit.update`: rows of older structures are not
    made again, sparse points and hyper-parameters stay. Positions and momenta stay too; forces are those of the new potential, so the conserved
    quantity of the ensemble jumps there.

    All is kept in the folder: `labelled.xyz`, `posterior.npz` and `state.npz`. Called again with the same arguments, the exploration goes on where
    it was killed, at most 30 s earlier, and asks for no label twice; with more steps or labels it goes on beyond its end.

    Args:
      posterior: of the start, `fit.posterior(model, data)`; saved and loaded, so that a later call has the very same numbers.
      atoms: `ase.Atoms` of the start, with momenta if they are not to be drawn at the ensemble's temperature; periodic in all directions or in none.
      calculator: any calculator of ASE, which labels.
      folder: where all is kept.
      steps: of the whole trajectory.
      threshold: in eV/Å, of √tr Cov F of an atom. A label brings it to at most √3 times the noise level of forces.
      sigma: noise levels of the labels, as for `Dataset.from_atoms`: of energy, forces and virial, those that are not None.
      ensemble: how the atoms move.
      labels: how many there may be.
      interval: steps between two looks at the deviation.
      seed: of the velocities.
      skin: of the neighbour list, in Å.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The Exploration. Look at its status before its numbers.

    Raises:
      TypeError: for what is no Posterior.
      ValueError: for bad arguments, a structure for which the potential gives NaN, labels that are not finite, or a folder of another exploration.
      FileExistsError: for a folder with labels of which no state knows.

    Example:
      >>> import tempfile
      >>> from ase.build import bulk
      >>> from jaxpot import ACE, AtomicPotential, Calculator, Density, Linear, TotalDegree
      >>> from jaxpot.cutoffs import PolynomialCutoff, PowerCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> from jaxpot.fit import posterior
      >>> from jaxpot.md import NVE
      >>> from jaxpot.radial import Agnesi
      >>> teacher = Calculator(LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(4.5, width=1.0)))
      >>> atoms = bulk("Ar", cubic=True)
      >>> atoms.pbc, atoms.calc = False, teacher
      >>> density = Density(("Ar",), PowerCutoff(4.5), Agnesi(4, nearest=3.7), l_max=0, sigma=None, center_weight=0.0)
      >>> noise = Properties(energy=1e-3, forces=1e-3)
      >>> _ = atoms.get_forces()
      >>> known = posterior(AtomicPotential(ACE(density, TotalDegree((3,))), Linear(scale=1.0)), Dataset.from_atoms([atoms], 4.5, sigma=noise))
      >>> found = explore(known, atoms, teacher, tempfile.mkdtemp() + "/argon", steps=20, threshold=0.01, sigma=noise, ensemble=NVE(60.0))
      >>> found.status, len(found.frames) <= 20
      ('finished', True)
    """
    _check(posterior, steps, threshold, labels, interval, seed)
    steps, threshold, interval, seed = int(steps), float(threshold), int(interval), int(seed)
    asked = _asked(sigma(atoms) if callable(sigma) else sigma, threshold)
    free, momenta = mobile(atoms), given_momenta(atoms, mobile(atoms))
    cutoff = float(posterior.model.reach)
    graph = from_atoms(atoms, cutoff)
    if causes := diagnose(posterior.model, graph):
        raise ValueError("; ".join(causes))
    system = System(graph, ensemble, masses=atoms.get_masses(), momenta=momenta, mobile=free, skin=skin)
    start = (ensemble, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses(), atoms.get_momenta(), free)
    kept, key = Folder(Path(folder), fingerprint(posterior, start, f"explore {seed}")), jax.random.key(seed)
    before = kept.restored(jax.eval_shape(system.init, key, posterior.model).motion)
    if before is None:
        kept.begin(posterior)
        before = Stored(system.init(key, posterior.model).motion, 0, 0, False, [])
        kept.store(before)
    state, step, learnt, waiting, history = system.reallocated(State(before.motion, system.neighbors)), *before[1:]
    posterior, known = kept.posterior(posterior)
    frames, saved = kept.frames(), time.monotonic()

    def ended(status: str, message: str) -> Exploration:
        kept.store(Stored(state.motion, step, learnt, waiting, history))
        columns = np.reshape(history, (-1, len(COLUMNS))).T
        return Exploration(status, message, posterior, frames, dict(zip(COLUMNS, columns, strict=True)))

    with _bar(steps, step, progress) as bar:
        while True:
            if waiting:
                if known == learnt:
                    if len(frames) == learnt:
                        if learnt >= labels:
                            worst = history[-1][COLUMNS.index("deviation")]
                            words = f"at step {step} the deviation is {worst:.3g} eV/Å, above {threshold:g}, and {learnt} labels are made"
                            return ended("labels", f"{words}; write labels={2 * labels or 100}")
                        one = _labelled(system, state, atoms, calculator, asked)
                        one.info |= {"step": step, "deviation": history[-1][COLUMNS.index("deviation")]}
                        frames = kept.label([*frames, one])
                    posterior = update(posterior, Dataset.from_atoms(frames, cutoff, sigma=sigma).subset([learnt]), progress=False)
                    known = learnt + 1
                    kept.learnt(posterior, known)
                learnt, waiting = known, False
                state = _with_forces(system, state, posterior.model)
                bar.set_postfix(labels=learnt)
            if step >= steps:
                return ended("finished", f"{step} steps, {learnt} labels")
            try:
                state, found, after, worst = _advanced(system, state, posterior, step, min(step + interval - step % interval, steps), threshold)
            except RuntimeError as error:
                return ended("exploded", f"between steps {step} and {step + interval}: {error}; write a lower threshold or a shorter time step")
            bar.update(after - step)
            step, waiting = after, worst > threshold
            history.append([step, float(found.temperature), worst, learnt])
            if waiting or time.monotonic() - saved > _SAVE_EVERY:
                kept.store(Stored(state.motion, step, learnt, waiting, history))
                saved = time.monotonic()


def _advanced(
    system: System, state: State, posterior: Posterior, begin: int, end: int, threshold: float
) -> tuple[State, Observation, int, float]:
    """The state at the end of a stretch, or where on its way the deviation first passed the threshold; what it shows, its step and its deviation."""
    whole = blocks(system, state, posterior.model, steps=end, interval=end, begin=begin)
    try:
        after, found = next(whole)
        worst = _largest(system, after, posterior)
        if worst <= threshold:
            return after, found, end, worst
    except RuntimeError:  # it may have passed the threshold before
        pass
    for step, (after, found) in enumerate(blocks(system, state, posterior.model, steps=end, interval=1, begin=begin), begin + 1):  # noqa: B007
        worst = _largest(system, after, posterior)
        if worst > threshold:
            break
    return after, found, step, worst


def _largest(system: System, state: State, posterior: Posterior) -> float:
    """The largest deviation of a force, in eV/Å."""
    worst = float(_deviation(system, state, posterior))
    if not np.isfinite(worst):
        raise RuntimeError("the deviation of the forces is not finite")
    return worst


@jax.jit
def _deviation(system: System, state: State, posterior: Posterior) -> Array:
    return jnp.max(force_deviations(posterior, system.graph(state)))


@jax.jit
def _with_forces(system: System, state: State, potential: Potential) -> State:
    """The same positions and momenta with the forces of another potential."""
    force = evaluate(potential, system.graph(state)).forces
    force = force if system.mobile is None else force * system.mobile
    return state._replace(motion=state.motion.set(force=force.astype(state.motion.force.dtype)))


def _labelled(system: System, state: State, start: Any, calculator: Any, asked: tuple[str, ...]) -> Any:
    """The structure of a state with what a calculator says of it."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    positions, cell = map(np.asarray, system.structure(state))
    atoms = Atoms(start.numbers, positions, cell=cell if start.pbc.all() else start.cell.array, pbc=start.pbc, calculator=calculator)
    ways = {"energy": ("energy", atoms.get_potential_energy), "forces": ("forces", atoms.get_forces), "virial": ("stress", atoms.get_stress)}
    found = {name: np.array(way()) for name, way in (ways[label] for label in asked)}
    for name, value in found.items():
        if not np.all(np.isfinite(value)):
            raise ValueError(f"the calculator's {name} is not finite; it was asked for a structure of temperature and energy that it does not converge for")
    atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


def _bar(steps: int, begin: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, initial=begin, desc="explore", unit="step", disable=None if progress is None else not progress)


def _asked(levels: Properties, threshold: float) -> tuple[str, ...]:
    """Which labels have noise levels."""
    asked = tuple(levels.given)
    if not asked or set(asked) - set(_LABELS):
        raise ValueError(f"explore: sigma has levels of {', '.join(asked) or 'nothing'}; expected some of energy, forces and virial")
    if levels.forces is not None and threshold <= np.sqrt(3) * np.max(levels.forces):
        raise ValueError(
            f"explore: threshold {threshold:g} eV/Å is not above √3 times the noise level of forces, {float(np.max(levels.forces)):g}, to which a label "
            "brings the deviation; write a larger threshold, or a smaller sigma.forces"
        )
    return asked


def _check(posterior: Posterior, steps: int, threshold: float, labels: int, interval: int, seed: int) -> None:
    if not isinstance(posterior, Posterior):
        raise TypeError(f"explore: expected a Posterior, got {type(posterior).__name__}; write posterior = jaxpot.fit.posterior(model, data)")
    for name, value, low in (("steps", steps, 1), ("labels", labels, 0), ("interval", interval, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            raise ValueError(f"explore: {name} must be an integer from {low}, got {value!r}")
    if not 0 < threshold < np.inf:
        raise ValueError(f"explore: threshold must be a positive number of eV/Å, got {threshold}")
