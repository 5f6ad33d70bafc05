"""Stress and pressure, with what the motion of the atoms adds to the virial."""

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.observables.deformation import volume
from jaxpot.observables.pairs import require_crystal
from jaxpot.potentials.base import Potential, evaluate
from jaxpot.units import BOLTZMANN, GPA

Array = jax.Array


def stress(potential: Potential, graph: Graph, momenta: jax.typing.ArrayLike, *, masses: jax.typing.ArrayLike) -> Array:
    r"""The stress of atoms that move, positive where the cell wants to shrink, as ASE has it.

    .. math:: \sigma = -\frac1V \left(W + \sum_i \frac{p_i \otimes p_i}{m_i}\right), \qquad W = -\frac{\partial E}{\partial \epsilon}

    Args:
      potential: any potential.
      graph: one periodic structure.
      momenta: shape [N, 3], in ASE's unit, as `Observation` and `atoms.get_momenta()` have them.
      masses: shape [N], in amu.

    Returns:
      σ, shape [3, 3], in eV/Å³; divide by `jaxpot.units.GPA` for GPa.

    Raises:
      ValueError: for a structure that is not periodic in all directions, or momenta or masses of another shape.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> gas = from_atoms(Atoms("Ar", positions=[[0, 0, 0]], cell=[10.0, 10.0, 10.0], pbc=True), cutoff=3.0)
      >>> stress(IsolatedAtoms({"Ar": 0.0}), gas, [[2.0, 0.0, 0.0]], masses=[40.0])[0, 0].item()
      -0.0001
    """
    require_crystal(graph, "stress")
    momenta, masses = moving("stress", graph, momenta, masses)
    real = (graph.numbers > 0)[:, None]
    kinetic = einsum("na,nb->ab", jnp.where(real, momenta / jnp.where(real, masses[:, None], 1), 0), momenta)
    found = -(evaluate(potential, graph).virial + kinetic) / volume(graph.cell)
    return jnp.where(jnp.all(jnp.asarray(graph.pbc)), found, jnp.nan)


def pressure(potential: Potential, graph: Graph, momenta: jax.typing.ArrayLike, *, masses: jax.typing.ArrayLike) -> Array:
    """The pressure of atoms that move, minus a third of the trace of `stress`, of the same arguments, shape [], in GPa."""
    return -jnp.trace(stress(potential, graph, momenta, masses=masses)) / (3 * GPA)


def thermal_pressure(potential: Potential, graph: Graph, temperature: float | Array) -> Array:
    r"""The pressure of a state whose momenta are those of a temperature on average, for means over states without momenta.

    .. math:: p = \frac{N k T}{V} + \frac{\operatorname{tr} W}{3 V}

    Args:
      potential: any potential.
      graph: one periodic structure.
      temperature: in K.

    Returns:
      Shape [], in GPa. N counts all atoms: where the whole does not drift, momenta of 3N − 3 degrees of freedom have kT/V less.

    Raises:
      ValueError: for a structure that is not periodic in all directions.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> gas = from_atoms(Atoms("Ar", positions=[[0, 0, 0]], cell=[34.6, 34.6, 34.6], pbc=True), cutoff=3.0)
      >>> round(float(1e4 * thermal_pressure(IsolatedAtoms({"Ar": 0.0}), gas, 300.0)), 3)  # bar
      1.0
    """
    require_crystal(graph, "thermal_pressure")
    n = jnp.sum(graph.numbers > 0)
    total = n * BOLTZMANN * temperature + jnp.trace(evaluate(potential, graph).virial) / 3
    return jnp.where(jnp.all(jnp.asarray(graph.pbc)), total / (volume(graph.cell) * GPA), jnp.nan)


def moving(name: str, graph: Graph, momenta: jax.typing.ArrayLike, masses: jax.typing.ArrayLike) -> tuple[Array, Array]:
    """Momenta [N, 3] and masses [N] as arrays of the graph's type.

    Raises:
      ValueError: for other shapes.
    """
    momenta, masses = (jnp.asarray(x, graph.positions.dtype) for x in (momenta, masses))
    n = len(graph.numbers)
    if momenta.shape != (n, 3) or masses.shape != (n,):
        raise ValueError(f"{name}: expected momenta [{n}, 3] and masses [{n}], got {momenta.shape} and {masses.shape}")
    return momenta, masses
