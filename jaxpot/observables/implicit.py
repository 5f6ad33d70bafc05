"""Minima as functions of the model: Newton's method from a minimum nearby, and the implicit derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, poison
from jaxpot.graph import Graph
from jaxpot.observables.deformation import deformed, response, strain_matrix, volume, without_rigid_motion
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.precision import promoted_pair
from jaxpot.units import GPA

Array = jax.Array

_SLACK = 1e-6  # of a cutoff, as `environments` allows


def minimum(potential: Potential, graph: Graph, *, cell: bool = False, pressure: float | Array = 0.0, tolerance: float = 1e-8, most: int = 20) -> Graph:
    r"""The minimum of energy or enthalpy near a structure, differentiable by every leaf of the potential and by the pressure.

    .. math:: dx = -H^{+}\, d\!\left(\frac{\partial E}{\partial x}\right), \qquad H = \frac{\partial^2 E}{\partial x^2}

    Newton's method from what `relax` has found; every system is solved by conjugate gradients on products of H with vectors, with motions of
    the whole projected out. Derivatives of any order are implicit and do not depend on the way there. Pure, so it may be jitted with leaves
    that change, as long as the minimum stays near.

    Args:
      potential: any potential.
      graph: a structure near a minimum, with lists that reach farther than the potential, as in `relax(...).graph`.
      cell: whether the cell moves too, static; the structure must be periodic in all directions.
      pressure: from outside, shape [], in GPa.
      tolerance: the largest entry of the gradient at the minimum, in eV/Å, of strain per √N Å; in float64.
      most: steps.

    Returns:
      The same structure at the minimum. It is NaN where there is none within the steps, where the energy curves downwards, and where atoms
      moved so far that the lists may lack a neighbour.

    Raises:
      ValueError: for a cell that cannot move.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import BumpCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.4, cutoff=BumpCutoff(100.0))
      >>> pair = from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.8, 0, 0]]), 101.0)
      >>> distance = jax.jit(lambda potential: jnp.diff(minimum(potential, pair).positions[:, 0])[0])
      >>> bool(abs(distance(argon) - 2 ** (1 / 6) * 3.4) < 1e-2)
      True

    References:
      Blondel et al., "Efficient and modular implicit differentiation", NeurIPS 35, 5230 (2022).
    """
    if cell and is_concrete(graph.pbc) and not np.asarray(graph.pbc).all():
        raise ValueError(f"minimum: the cell moves only if all its directions are periodic, got pbc = {np.asarray(graph.pbc).tolist()}; write cell=False")
    potential, graph = promoted_pair(potential, graph)
    ready = prepare(potential)
    dtype, n = graph.positions.dtype, len(graph.numbers)
    length = np.sqrt(n)  # Å per unit of strain, so that both curve alike
    rigid = without_rigid_motion(jax.lax.stop_gradient(graph))

    def parts(x: Array) -> tuple[Array, Array]:
        return x[: 3 * n].reshape(n, 3), x[3 * n :] / length if cell else jnp.zeros(6, dtype)

    def project(x: Array) -> Array:
        return jnp.concatenate([rigid(x[: 3 * n].reshape(n, 3)).reshape(-1), x[3 * n :]])

    def enthalpy(x: Array) -> Array:
        now = deformed(graph, *parts(x))
        return ready(now) + (jnp.asarray(pressure, dtype) * GPA * volume(now.cell) if cell else 0)

    slope = jax.grad(enthalpy)

    def search(slope: Callable[[Array], Array], x: Array) -> Array:
        def newton(state):
            x, gradient, done = state
            x = x - response(slope, x, project, gradient)
            return x, project(slope(x)), done + 1

        def unfinished(state):
            _, gradient, done = state
            return (jnp.max(jnp.abs(gradient)) > tolerance) & (done < most)

        x, gradient, _ = jax.lax.while_loop(unfinished, newton, (x, project(slope(x)), 0))
        return poison(x, ~(jnp.max(jnp.abs(gradient)) <= tolerance))

    start = jnp.zeros(3 * n + 6 * cell, dtype)
    x = jax.lax.custom_root(slope, start, search, lambda linear, b: response(linear, start, project, b))
    displacements, strain = parts(x)
    moved = 2 * jnp.max(jnp.linalg.norm(displacements, axis=1)) + jnp.linalg.norm(strain_matrix(strain)) * graph.cutoff
    lost = moved > graph.cutoff * (1 + _SLACK) - jnp.asarray(ready.reach, dtype)
    return deformed(graph, poison(displacements, lost), poison(strain, lost))
