"""Ensembles whose thermostats draw: they sample the canonical ensemble whatever moves, a single harmonic atom included."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax_md
import numpy as np
from jax_md import simulate

from jaxpot.leaves import Leaf
from jaxpot.md.ensembles import Ensemble, Mechanics, check_heat, check_numbers, thermal, time_step
from jaxpot.trees import pytree
from jaxpot.units import FEMTOSECOND

Array = jax.Array


@jax_md.dataclasses.dataclass
class Drawn:
    """A motion of jax-md's kind that remembers where its random numbers are, and what the thermostat took.

    Args:
      position, momentum, force, mass: as of jax-md's motions.
      key: of the next random numbers, as `jax.random.key_data` has it.
      heat: what the thermostat has taken since the start, shape [], in eV.
    """

    position: Array
    momentum: Array
    force: Array
    mass: Array
    key: Array
    heat: Array

    def set(self, **changes: Any) -> "Drawn":
        return dataclasses.replace(self, **changes)


@pytree
class Langevin(Ensemble):
    r"""Constant volume and temperature: friction and random forces, by the splitting BAOAB.

    .. math:: \dot p = F - \gamma p + \sqrt{2 m \gamma k T}\, \xi(t)

    Friction slows diffusion down; means do not depend on it. Where the motion of the whole is conserved in other ensembles, nothing random
    acts on it, so that friction ends it.

    Args:
      temperature: in K.
      friction: γ, in 1/fs.
      timestep: in fs.

    Example:
      >>> float(Langevin(300.0, friction=0.02).friction)  # 1/fs
      0.02

    References:
      Leimkuhler, Matthews, "Rational construction of stochastic numerical methods for molecular sampling", Appl. Math. Res. eXpress 2013, 34 (2013).
    """

    temperature: Leaf = 300.0
    friction: Leaf = 0.01
    timestep: Leaf = 1.0

    def __post_init__(self):
        check_numbers(self, ("friction", "1/fs"))

    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Drawn:
        return _at_start(self, key, mechanics, R, momenta)

    def step(self, motion: Drawn, mechanics: Mechanics) -> Drawn:
        half, force = 0.5 * time_step(self, motion.position), jax_md.quantity.canonicalize_force(mechanics.energy_or_force)
        motion = simulate.momentum_step(motion, half)
        motion = simulate.position_step(motion, mechanics.shift, half)
        key, now = _split(motion, 2)
        kept = jnp.exp(-jnp.asarray(self.friction, motion.position.dtype) / FEMTOSECOND * 2 * half)
        noise = jax.random.normal(now, motion.momentum.shape, motion.momentum.dtype)
        width = jnp.sqrt((1 - kept**2) * thermal(self, motion.position) * motion.mass)
        motion = _exchanged(motion, kept * motion.momentum + mechanics.free(width * noise), key)
        motion = simulate.position_step(motion, mechanics.shift, half)
        return simulate.momentum_step(motion.set(force=force(motion.position)), half)

    def reservoir(self, motion: Drawn) -> Array:
        return motion.heat


@pytree
class CSVR(Ensemble):
    r"""Constant volume and temperature: velocity Verlet, and momenta that are scaled so that the kinetic energy is canonical.

    Scaling changes no direction, but for a rare reversal of all, so that diffusion and vibrations are nearly those of constant energy.

    Args:
      temperature: in K.
      relaxation: τ, in which the temperature finds its target, in fs.
      timestep: in fs.

    Example:
      >>> float(CSVR(300.0, relaxation=50.0).relaxation)  # fs
      50.0

    References:
      Bussi, Donadio, Parrinello, "Canonical sampling through velocity rescaling", J. Chem. Phys. 126, 014101 (2007), equation A7.
    """

    temperature: Leaf = 300.0
    relaxation: Leaf = 100.0
    timestep: Leaf = 1.0

    def __post_init__(self):
        check_numbers(self, ("relaxation", "fs"))

    def check(self, momenta: np.ndarray, drift: float, kinetic: float) -> None:
        check_heat(self, momenta, drift, kinetic)

    def init(self, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Drawn:
        return _at_start(self, key, mechanics, R, momenta)

    def step(self, motion: Drawn, mechanics: Mechanics) -> Drawn:
        force = jax_md.quantity.canonicalize_force(mechanics.energy_or_force)
        motion = simulate.velocity_verlet(force, mechanics.shift, time_step(self, motion.position), motion)
        key, one, others = _split(motion, 3)
        dtype, n = motion.momentum.dtype, mechanics.degrees_of_freedom
        along = jax.random.normal(one, (), dtype)
        squares = along**2 + (2 * jax.random.gamma(others, 0.5 * (n - 1), (), dtype) if n > 1 else 0)
        kept = jnp.exp(-jnp.asarray(self.timestep, dtype) / jnp.asarray(self.relaxation, dtype))
        share = (1 - kept) * 0.5 * thermal(self, motion.position) / _kinetic(motion)
        scale = jnp.sqrt(kept + share * squares + 2 * along * jnp.sqrt(kept * share))
        turned = jnp.where(along + jnp.sqrt(kept / share) < 0, -1, 1)
        return _exchanged(motion, turned * scale * motion.momentum, key)

    def reservoir(self, motion: Drawn) -> Array:
        return motion.heat


def _at_start(ensemble: Ensemble, key: Array, mechanics: Mechanics, R: Array, momenta: Array) -> Drawn:
    force = jax_md.quantity.canonicalize_force(mechanics.energy_or_force)
    mass = jnp.reshape(mechanics.mass, (-1, 1)).astype(R.dtype)
    own = jax.random.key_data(jax.random.fold_in(key, 1))  # the key itself has drawn the momenta
    return Drawn(R, momenta, force(R), mass, own, jnp.zeros((), R.dtype))


def _split(motion: Drawn, number: int) -> Array:
    return jax.random.split(jax.random.wrap_key_data(motion.key), number)


def _kinetic(motion: Drawn) -> Array:
    return 0.5 * jnp.sum(motion.momentum**2 / motion.mass)


def _exchanged(motion: Drawn, momentum: Array, key: Array) -> Drawn:
    """With other momenta, whose energy comes from the thermostat."""
    after = motion.set(momentum=momentum, key=jax.random.key_data(key))
    return after.set(heat=motion.heat + _kinetic(motion) - _kinetic(after))
