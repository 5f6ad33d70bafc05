"""A system: a structure that moves as an ensemble says, in pure functions of which the potential is an argument.

They may be jitted, mapped over replicas and differentiated. What no pure function can do, giving a neighbour list more room, is
`reallocated`, for drivers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import quantity, space

from jaxpot.cores import cores, held_by_all
from jaxpot.descriptors.blocks import atoms_at_once
from jaxpot.graph import Graph
from jaxpot.jaxmd import energy
from jaxpot.jaxmd_lists import moved, neighbor_list_graph, to_real
from jaxpot.leaves import Leaf, OptionalLeaf, Tree
from jaxpot.md.ensembles import CellEnsemble, Ensemble, Mechanics
from jaxpot.potentials.base import Potential
from jaxpot.trees import code, pytree, static
from jaxpot.units import BOLTZMANN

Array = jax.Array

_ROOM = 1.1  # by how much a cell may shrink before its neighbour lists need more than the nearest images


class State(NamedTuple):
    """Where a trajectory is: jax-md's state and its neighbour list.

    Args:
      motion: with `position` (fractional in a periodic system, else in Å), `momentum` (ASE's unit), `force` and `mass`.
      neighbors: as last updated.
    """

    motion: Any
    neighbors: Any

    @property
    def overflow(self) -> Array:
        """Whether the neighbour list has been outgrown, by its neighbours or by its box, shape []: why a state has become NaN."""
        return jnp.asarray(self.neighbors.did_buffer_overflow) != 0


class Observation(NamedTuple):
    """What a state shows.

    Args:
      energy: potential energy, shape [], in eV.
      conserved: what the ensemble conserves, shape [], in eV.
      temperature: of what moves, without the motion of the whole, shape [], in K.
      positions: shape [N, 3], in Å.
      momenta: shape [N, 3], in ASE's unit.
      forces: shape [N, 3], in eV/Å, also of what is held.
      cell: rows are lattice vectors, shape [3, 3], in Å.
      overflow: as in `State`.
    """

    energy: Array
    conserved: Array
    temperature: Array
    positions: Array
    momenta: Array
    forces: Array
    cell: Array
    overflow: Array


class _Functions(NamedTuple):
    """What jax-md moves and finds neighbours with."""

    allocate: Callable[..., Any]
    graph: Callable[..., Graph]


@pytree
class System(Tree):
    """A structure and the ensemble in which it moves.

    `init`, `step` and `observe` are pure, and differentiable by all leaves and states. Where a neighbour list no longer holds, forces and all
    that follows are NaN, and `overflow` says so. The numbers of the ensemble, the masses, the box, and total charge and outer field of the
    graph are leaves: `system.replace(ensemble=NVT(600.0))` moves on at another temperature. Positions of a motion are fractional in a
    periodic system, and derivatives by them nevertheless in Å, as everywhere in jax-md; `structure` has them in Å.

    Args:
      graph: a structure, periodic in all directions or in none, with its total charge and outer field; its cutoff is what a potential may
        look at most.
      ensemble: how it moves.
      masses: shape [N], in amu; None takes those of the elements.
      momenta: of the start, shape [N, 3], in ASE's unit; None draws them at the ensemble's temperature.
      mobile: which coordinates may move, booleans of shape [N, 3]; None lets all move.
      skin: of the neighbour list, in Å.

    Raises:
      ValueError: for a structure that the ensemble cannot move.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> from jaxpot.md import NVE
      >>> model = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> system = System(from_atoms(bulk("Ar", cubic=True), model.reach), NVE(temperature=60.0, timestep=2.0))
      >>> state = system.init(jax.random.key(0), model)
      >>> observed = system.observe(system.step(state, model), model)
      >>> bool(observed.temperature > 0)
      True
    """

    ensemble: Ensemble
    numbers: Leaf
    masses: Leaf
    positions: Leaf
    momenta: OptionalLeaf
    mobile: OptionalLeaf
    box: OptionalLeaf
    charge: Leaf
    field: Leaf
    neighbors: object
    degrees_of_freedom: int = static()
    functions: object = code()

    def __init__(
        self,
        graph: Graph,
        ensemble: Ensemble,
        *,
        masses: jax.typing.ArrayLike | None = None,
        momenta: jax.typing.ArrayLike | None = None,
        mobile: jax.typing.ArrayLike | None = None,
        skin: float = 0.5,
    ):
        numbers, pbc, cell = np.asarray(graph.numbers), np.asarray(graph.pbc), np.asarray(graph.cell, float)
        cutoff, dtype = float(graph.cutoff), graph.positions.dtype
        _check(graph, ensemble, mobile)
        periodic = bool(pbc.all())
        if masses is None:
            from ase.data import atomic_masses

            masses = atomic_masses[numbers]
        mobile = None if mobile is None or np.all(mobile) else np.asarray(mobile, bool)
        free = np.ones(graph.positions.shape, bool) if mobile is None else mobile
        conserved = int(np.sum(free.all(axis=0))) if len(numbers) > 1 else 0  # components of the total momentum
        R, box = np.asarray(graph.positions, float), None
        if periodic:
            R, box = np.linalg.solve(cell.T, R.T).T % 1.0 % 1.0, jnp.asarray(cell.T, dtype)  # twice: -1e-17 % 1 is 1
        room = _ROOM if isinstance(ensemble, CellEnsemble) else 1.0
        small = periodic and 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max() <= room * 2 * (cutoff + skin)
        neighbor_fn, graph_fn = neighbor_list_graph(
            box, numbers, cutoff=cutoff, skin=skin, fractional_coordinates=periodic, multi_image=small
        )  # fmt: skip
        values = {
            "ensemble": ensemble, "numbers": numbers, "masses": jnp.asarray(masses, dtype), "positions": jnp.asarray(R, dtype),
            "momenta": None if momenta is None else jnp.asarray(momenta, dtype), "mobile": mobile, "box": box,
            "charge": graph.charge, "field": graph.field,
            "neighbors": neighbor_fn.allocate(jnp.asarray(R, dtype)), "functions": _Functions(neighbor_fn.allocate, graph_fn),
            "degrees_of_freedom": int(np.sum(free)) - conserved,
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()
        if momenta is not None:
            kinetic, drift = self._kinetic(self.momenta, self.masses)
            ensemble.check(np.asarray(momenta), float(drift), float(kinetic))

    @jax.jit
    def init(self, key: Array, potential: Potential) -> State:
        """The state of the start; momenta that were not given are drawn with the key."""
        momenta = self._drawn(key) if self.momenta is None else self.momenta
        motion = self.ensemble.init(key, self._mechanics(self.neighbors, potential), self.positions, momenta)
        return self._held(State(_as(motion, motion), self.neighbors))

    @jax.jit
    def step(self, state: State, potential: Potential) -> State:
        """The state a time step later."""
        neighbors = self.updated(state)
        motion = self.ensemble.step(state.motion, self._mechanics(neighbors, potential))
        return self._held(State(_as(motion, state.motion), neighbors))

    @jax.jit
    def observe(self, state: State, potential: Potential) -> Observation:
        """Energy, temperature and the like of a state."""
        motion, neighbors = state.motion, self.updated(state)
        mechanics, (positions, cell) = self._mechanics(neighbors, potential), self.structure(state)
        potential_energy = mechanics.energy(motion.position, **self._box(motion))
        kinetic, drift = self._kinetic(motion.momentum, motion.mass)
        return Observation(
            energy=potential_energy,
            conserved=potential_energy + kinetic + self.ensemble.reservoir(motion),
            temperature=2 * (kinetic - drift) / (self.degrees_of_freedom * BOLTZMANN),
            positions=positions,
            momenta=motion.momentum,
            forces=motion.force if self.mobile is None else quantity.force(mechanics.energy)(motion.position),
            cell=cell,
            overflow=State(motion, neighbors).overflow,
        )

    def graph(self, state: State) -> Graph:
        """The structure of a state, for `evaluate` and observables; its list is that of the state, complete up to the cutoff."""
        return self._graph(state.motion.position, state.neighbors, **self._box(state.motion))

    def structure(self, state: State) -> tuple[Array, Array]:
        """Positions [N, 3] and cell [3, 3] (rows are lattice vectors; zero in free space), in Å."""
        R = state.motion.position
        if self.box is None:
            return R, jnp.zeros((3, 3), R.dtype)
        box = self._box(state.motion)["box"]
        return to_real(box, R), box.T

    def reallocated(self, state: State, extra: int = 0) -> State:
        """The same state with a new neighbour list that has room for it, and for `extra` neighbours more; not under jit.

        Raises:
          ValueError: for a box that has become too narrow.
        """
        motion = state.motion
        return State(motion, self.functions.allocate(motion.position, extra, **self._moving_box(motion)))

    def _held(self, state: State) -> State:
        return held_by_all(state, cores() if len(self.positions) > atoms_at_once() else 1)

    def _moving_box(self, motion: Any) -> dict[str, Array]:
        return {"box": self.ensemble.box(motion)} if isinstance(self.ensemble, CellEnsemble) else {}

    def _box(self, motion: Any) -> dict[str, Array]:
        return self._moving_box(motion) or ({} if self.box is None else {"box": self.box})

    def _graph(self, R: Array, neighbors: Any, **box: Any) -> Graph:
        outer = {name: jnp.asarray(getattr(self, name), R.dtype) for name in ("charge", "field")}
        return self.functions.graph(R, neighbors, **box).replace(**outer)

    def updated(self, state: State) -> Any:
        """The neighbour list of a state, searched anew where it no longer holds."""
        return state.neighbors.update(state.motion.position, **self._moving_box(state.motion))

    def _mechanics(self, neighbors: Any, potential: Potential) -> Mechanics:
        def energy_of(R: Array, *, box: Array | None = None, perturbation: Array | None = None) -> Array:
            return energy(potential, self._graph(R, neighbors, box=self.box if box is None else box, perturbation=perturbation))

        def force(R: Array) -> Array:
            return quantity.force(energy_of)(R) * self.mobile

        moving = energy_of if self.mobile is None else force
        shift = space.free()[1] if self.box is None else lambda R, dR, **_: moved(self.box, R, dR)
        return Mechanics(energy_of, moving, shift, self.masses, self.box, self.degrees_of_freedom, self._free)

    @property
    def _drifting(self) -> Array:
        """Directions in which the total momentum is conserved, booleans of shape [3]."""
        if len(self.positions) == 1:
            return jnp.zeros(3, bool)
        return jnp.ones(3, bool) if self.mobile is None else jnp.all(self.mobile, axis=0)

    def _free(self, momenta: Array) -> Array:
        masses = jnp.reshape(self.masses, (-1, 1))
        momenta = momenta if self.mobile is None else momenta * self.mobile
        return momenta - masses / jnp.sum(masses) * jnp.sum(momenta, axis=0, keepdims=True) * self._drifting[None]

    def _kinetic(self, momenta: Array, masses: Array) -> tuple[Array, Array]:
        """The kinetic energy, and that of the motion of the whole, in eV."""
        masses = jnp.reshape(masses, (-1, 1))
        kinetic = 0.5 * jnp.sum(momenta**2 / masses)
        return kinetic, 0.5 * jnp.sum((jnp.sum(momenta, axis=0) * self._drifting) ** 2) / jnp.sum(masses)

    def _drawn(self, key: Array) -> Array:
        """Momenta of the ensemble's temperature."""
        key = jax.random.split(key, 1)[0] if self.mobile is None else key  # a seed gives what it has always given
        R = self.positions
        momenta = jnp.sqrt(self.masses * BOLTZMANN * self.ensemble.temperature)[:, None] * jax.random.normal(key, R.shape, R.dtype)
        momenta = momenta if self.mobile is None else momenta * self.mobile
        return momenta - jnp.mean(momenta, axis=0, keepdims=True) * self._drifting[None]


def _as(motion: Any, like: Any) -> Any:
    """jax-md's integrators mix floating types; a loop wants those it began with."""
    return jax.tree_util.tree_map(lambda x, other: jnp.asarray(x, jnp.result_type(other)), motion, like)


def _check(graph: Graph, ensemble: Ensemble, mobile: Any) -> None:
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"System: expected an ensemble such as NVT(temperature=300.0), got {ensemble!r}")
    if np.ndim(graph.numbers) != 1 or not np.all(np.asarray(graph.numbers) > 0):
        shape = np.shape(graph.numbers)
        raise ValueError(f"System: expected one structure without padding atoms, got numbers of shape {shape}; write from_atoms(atoms, cutoff)")
    pbc, name = np.asarray(graph.pbc), type(ensemble).__name__.lower()
    if pbc.any() and not pbc.all():
        raise ValueError(
            f"the structure is periodic in some directions only (pbc = {pbc.tolist()}); give the others vacuum wider than "
            f"the cutoff ({float(graph.cutoff):g} Å) and set pbc to all, or to none"
        )
    if mobile is not None and np.shape(mobile) != np.shape(graph.positions):
        raise ValueError(f"System: mobile must have shape {np.shape(graph.positions)}, got {np.shape(mobile)}")
    if not isinstance(ensemble, CellEnsemble):
        return
    if not pbc.all():
        raise ValueError(f"{name} needs a periodic structure; choose nve or nvt")
    if np.linalg.det(np.asarray(graph.cell, float)) < 0:
        raise ValueError(f"{name} needs a right-handed cell; exchange two lattice vectors")
    if mobile is not None and not np.all(mobile):
        raise ValueError(f"{name} cannot keep atoms fixed while their cell moves; choose nve or nvt, or free them: del atoms.constraints")
