"""Ensembles: how a system moves in time, each a class over one integrator of jax-md.

The numbers of an ensemble are leaves, so what a trajectory shows may be differentiated by temperature, pressure and time step.
jax-md rounds time steps to float32, so what is integrated differs from the step asked for by up to 6·10⁻⁸ of it.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import simulate

from jaxpot.checks import is_concrete
from jaxpot.interface import Interface
from jaxpot.jaxmd_lists import moved
from jaxpot.leaves import Leaf
from jaxpot.trees import pytree
from jaxpot.units import BOLTZMANN, FEMTOSECOND, GPA

Array = jax.Array

_LARGEST = 1e300
_HOTTEST = 1e6  # K; no interatomic potential means anything there
_DRIFT = 1e-4  # of the kinetic energy; momenta with the digits of a text file drift by 1e-9


class Mechanics(NamedTuple):
    """What an integrator needs of a system, with the potential and the neighbour list of the moment bound.

    Args:
      energy: `(R, *, box, perturbation)` -> [] eV, as jax-md wants it; box and perturbation may be left out.
      energy_or_force: energy, or, where something is held in its place, R -> [N, 3] eV/Å, which is zero there.
      shift: (R, dR) -> R, where R is fractional in a periodic system and dR in Å.
      mass: [N] amu.
      box: [3, 3] Å at the start, lattice vectors as columns; None in free space.
      degrees_of_freedom: those that move, less the conserved momentum of the whole.
      free: momenta [N, 3] -> those without what is held and without the motion of the whole where it is conserved.
    """

    energy: Callable[..., Array]
    energy_or_force: Callable[..., Array]
    shift: Callable[..., Array]
    mass: Array
    box: Array | None
    degrees_of_freedom: int
    free: Callable[[Array], Array]


class Ensemble(Interface):
    """Interface: how a system moves in time. A motion is a state of jax-md, with `position`, `momentum`, `force` and `mass`.

    Attributes:
      temperature: of the momenta drawn at the start, and of the thermostat if there is one, shape [], in K.
      timestep: shape [], in fs.
    """

    temperature: Array
    timestep: Array

    @abc.abstractmethod
    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Any:
        """The motion that starts from positions R [N, 3] and momenta [N, 3]."""

    @abc.abstractmethod
    def step(self, motion: Any, mechanics: Mechanics) -> Any:
        """The motion a time step later."""

    @abc.abstractmethod
    def reservoir(self, motion: Any) -> Array:
        """What the conserved quantity has besides potential and kinetic energy, shape [], in eV."""

    def check(self, momenta: np.ndarray, drift: float, kinetic: float) -> None:
        """Raises for momenta with which a system must not start, given their kinetic energy and that of the motion of the whole, in eV."""


class CellEnsemble(Ensemble):
    """Interface: an ensemble in which the cell moves too."""

    @abc.abstractmethod
    def box(self, motion: Any) -> Array:
        """The cell of the moment, lattice vectors as columns, shape [3, 3], in Å."""


@pytree
class NVE(Ensemble):
    """Constant energy: velocity Verlet.

    Args:
      temperature: of the momenta drawn at the start, in K.
      timestep: in fs.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms, md
      >>> md.System(from_atoms(bulk("Ar", a=5.3, cubic=True).repeat(2), 5.0), NVE(80.0, timestep=2.0)).ensemble.timestep.item()
      2.0
    """

    temperature: Leaf = 300.0
    timestep: Leaf = 1.0

    def __post_init__(self):
        check_numbers(self)

    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Any:
        return self._integrator(mechanics, R)[0](key, R, kT=0.0, mass=mechanics.mass, momenta=momenta)

    def step(self, motion: Any, mechanics: Mechanics) -> Any:
        return self._integrator(mechanics, motion.position)[1](motion)

    def reservoir(self, motion: Any) -> Array:
        return jnp.zeros((), motion.position.dtype)

    def _integrator(self, mechanics: Mechanics, R: Array) -> Any:
        return simulate.nve(mechanics.energy_or_force, mechanics.shift, time_step(self, R))


@pytree
class NVT(Ensemble):
    """Constant volume and temperature: a chain of Nosé–Hoover thermostats.

    Args:
      temperature: in K.
      timestep: in fs.

    Example:
      >>> float(NVT(300.0, timestep=0.5).temperature)
      300.0

    References:
      Martyna, Klein, Tuckerman, "Nosé–Hoover chains: the canonical ensemble via continuous dynamics", J. Chem. Phys. 97, 2635 (1992).
    """

    temperature: Leaf = 300.0
    timestep: Leaf = 1.0

    def __post_init__(self):
        check_numbers(self)

    def check(self, momenta: np.ndarray, drift: float, kinetic: float) -> None:
        check_heat(self, momenta, drift, kinetic)

    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Any:
        motion = self._integrator(mechanics, R)[0](key, R, mass=mechanics.mass, momenta=momenta)
        return motion.set(chain=_of_these(motion.chain, mechanics))

    def step(self, motion: Any, mechanics: Mechanics) -> Any:
        return self._integrator(mechanics, motion.position)[1](motion)

    def reservoir(self, motion: Any) -> Array:
        return _chain_energy(motion.chain, thermal(self, motion.position), motion.chain.degrees_of_freedom)

    def _integrator(self, mechanics: Mechanics, R: Array) -> Any:
        return simulate.nvt_nose_hoover(mechanics.energy_or_force, mechanics.shift, time_step(self, R), thermal(self, R))


@pytree
class NPT(CellEnsemble):
    """Constant pressure and temperature: chains of Nosé–Hoover thermostats for the atoms and for the cell, which keeps its shape.

    Args:
      temperature: in K.
      pressure: in GPa.
      timestep: in fs.

    Example:
      >>> float(NPT(300.0, pressure=0.1).pressure)  # GPa
      0.1

    References:
      Martyna, Tuckerman, Tobias, Klein, "Explicit reversible integrators for extended systems dynamics", Mol. Phys. 87, 1117 (1996).
    """

    temperature: Leaf = 300.0
    pressure: Leaf = 0.0
    timestep: Leaf = 1.0

    def __post_init__(self):
        check_numbers(self)
        if is_concrete(self.pressure) and not _is_number(self.pressure):
            raise ValueError(f"pressure must be a number of GPa, got {self.pressure}")

    def check(self, momenta: np.ndarray, drift: float, kinetic: float) -> None:
        check_heat(self, momenta, drift, kinetic)

    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Any:
        motion = self._integrator(mechanics, R, mechanics.shift)[0](key, R, mechanics.box, mass=mechanics.mass, momenta=momenta)
        return motion.set(thermostat=_of_these(motion.thermostat, mechanics))

    def step(self, motion: Any, mechanics: Mechanics) -> Any:
        return self._integrator(mechanics, motion.position, _fractional_shift(self.box(motion)))[1](motion)

    def reservoir(self, motion: Any) -> Array:
        kT, box = thermal(self, motion.position), self.box(motion)
        chains = _chain_energy(motion.thermostat, kT, motion.thermostat.degrees_of_freedom) + _chain_energy(motion.barostat, kT, 1)
        return chains + motion.box_momentum**2 / (2 * motion.box_mass) + self._pressure(motion.position) * jnp.linalg.det(box)

    def box(self, motion: Any) -> Array:
        return simulate.npt_box(motion)

    def _pressure(self, R: Array) -> Array:
        return GPA * jnp.asarray(self.pressure, R.dtype)

    def _integrator(self, mechanics: Mechanics, R: Array, shift: Callable[..., Array]) -> Any:
        return simulate.npt_nose_hoover(mechanics.energy, shift, time_step(self, R), self._pressure(R), thermal(self, R))


def time_step(ensemble: Ensemble, R: Array) -> Array:
    """The time step in ASE's unit, in the floating type of R."""
    return FEMTOSECOND * jnp.asarray(ensemble.timestep, R.dtype)


def thermal(ensemble: Ensemble, R: Array) -> Array:
    """kT in eV, in the floating type of R."""
    return BOLTZMANN * jnp.asarray(ensemble.temperature, R.dtype)


def _of_these(chain: Any, mechanics: Mechanics) -> Any:
    """A chain that counts what moves: with jax-md's own 3N a small system is heated to N / (N - 1) times the target, since momenta sum to zero."""
    return chain.set(degrees_of_freedom=mechanics.degrees_of_freedom)


def _chain_energy(chain: Any, kT: Array, degrees_of_freedom: int) -> Array:
    """What a Nosé–Hoover chain adds to the conserved quantity, in eV."""
    weights = jnp.ones_like(chain.position).at[0].set(degrees_of_freedom)
    return jnp.sum(chain.momentum**2 / (2 * chain.mass)) + kT * jnp.sum(weights * chain.position)


def _fractional_shift(before: Array) -> Callable[..., Array]:
    """jax-md's shift for npt_nose_hoover, whose box was `before` at the start of the step.

    The integrator asks for R (eˣ − 1) + displacement, where eˣ is the growth of the box. The first part is meant for real
    positions; fractional ones have moved with the box already, so it is taken off again (jax-md 0.2.29 leaves it in, and its
    conserved quantity then follows the volume).
    """

    def shift(R, dR, *, box, **kwargs):
        growth = jnp.cbrt(jnp.linalg.det(box) / jnp.linalg.det(before))
        return moved(box, R, dR - R * (growth - 1))

    return shift


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf" and bool(abs(value) < _LARGEST)


def check_numbers(ensemble: Ensemble, *more: tuple[str, str]) -> None:
    """Raises unless temperature, time step and these further numbers, each with its unit, are positive."""
    for name, unit in (("temperature", "K"), ("timestep", "fs"), *more):
        value = getattr(ensemble, name)
        if is_concrete(value) and not (_is_number(value) and value > 0):
            raise ValueError(f"{name} must be a positive number of {unit}, got {value}")
    if is_concrete(ensemble.temperature) and ensemble.temperature > _HOTTEST:
        raise ValueError(f"temperature must be at most {_HOTTEST:g} K, got {ensemble.temperature}")


def check_heat(ensemble: Ensemble, momenta: np.ndarray, drift: float, kinetic: float) -> None:
    """Raises for momenta that a thermostat of this kind cannot warm, or takes for heat."""
    name = type(ensemble).__name__.lower()
    if not np.any(momenta):
        raise ValueError(f"the momenta of the start are all zero, which no thermostat of {name} warms; drop them: del atoms.arrays['momenta']")
    if drift > _DRIFT * kinetic:
        raise ValueError(
            f"the start drifts as a whole, with {drift:.3g} eV, which {name} would take for heat; write "
            "ase.md.velocitydistribution.Stationary(atoms), which takes the drift away"
        )
