"""Force constants: second and third derivatives of the energy by positions, in blocks of rows."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.precision import promoted_pair

Array = jax.Array


def force_constants(potential: Potential, graph: Graph, *, of: Sequence[int] | None = None, at_once: int = 4) -> Array:
    r"""How forces answer to displacements, exactly.

    .. math:: \Phi_{ij}^{ab} = \frac{\partial^2 E}{\partial r_i^a \, \partial r_j^b}

    Args:
      potential: any potential.
      graph: one structure; a supercell, if they are those of a crystal.
      of: the atoms i whose rows are wanted, static, such as those of a primitive cell; None takes all.
      at_once: rows that are computed together, which bounds memory.

    Returns:
      Shape [n, N, 3, 3], in eV/Å²: phonopy's layout.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> pair = from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.8, 0, 0]]), 6.0)
      >>> constants = jax.jit(force_constants)(argon, pair)
      >>> bool(abs(constants[0, 0] + constants[0, 1]).max() < 1e-12)
      True
    """
    slope, still, n = _slope(potential, graph)
    atoms = jnp.arange(n) if of is None else jnp.asarray(of)
    rows = jax.lax.map(lambda at: _along(slope, at)(still), _coordinates(atoms), batch_size=at_once)
    return rows.reshape(len(atoms), 3, n, 3).transpose(0, 2, 1, 3)


def third_order_force_constants(potential: Potential, graph: Graph, *, of: Sequence[int] | None = None, at_once: int = 4) -> Array:
    r"""How force constants answer to displacements, exactly.

    .. math:: \Psi_{ijk}^{abc} = \frac{\partial^3 E}{\partial r_i^a \, \partial r_j^b \, \partial r_k^c}

    Args:
      potential, graph, at_once: as of `force_constants`.
      of: the atoms i whose rows are wanted, static; None takes all. The time is that of 9 n N forces.

    Returns:
      Shape [n, N, N, 3, 3, 3], in eV/Å³: the layout of phono3py's `fc3`.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> pair = from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [3.8, 0, 0]]), 6.0)
      >>> jax.jit(third_order_force_constants)(argon, pair).shape
      (2, 2, 2, 3, 3, 3)
    """
    slope, still, n = _slope(potential, graph)
    atoms = jnp.arange(n) if of is None else jnp.asarray(of)

    def slab(at: Array) -> Array:
        first = _along(slope, at)
        return jax.lax.map(lambda other: _along(first, other)(still), _coordinates(jnp.arange(n)), batch_size=at_once)

    slabs = jax.lax.map(slab, _coordinates(atoms))
    return slabs.reshape(len(atoms), 3, n, 3, n, 3).transpose(0, 2, 4, 1, 3, 5)


def _slope(potential: Potential, graph: Graph) -> tuple[Callable[[Array], Array], Array, int]:
    """The derivative of the energy by displacements [N, 3], these, and N."""
    potential, graph = promoted_pair(potential, graph)
    ready = prepare(potential)
    slope = jax.grad(lambda u: ready(graph.replace(positions=graph.positions + u)))
    return slope, jnp.zeros_like(graph.positions), len(graph.numbers)


def _coordinates(atoms: Array) -> Array:
    """Numbers of the coordinates of these atoms, shape [3 n]."""
    return (3 * atoms[:, None] + jnp.arange(3)[None, :]).reshape(-1)


def _along(function: Callable[[Array], Array], at: Array) -> Callable[[Array], Array]:
    """The derivative of a function by one coordinate."""

    def derivative(x: Array) -> Array:
        step = (jnp.arange(x.size) == at).astype(x.dtype).reshape(x.shape)
        return jax.jvp(function, (x,), (step,))[1]

    return derivative
