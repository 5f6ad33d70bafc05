"""Born effective charges: how the dipole, or the polarisation of a crystal, follows every atom."""

import functools

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.passes import prepare
from jaxpot.potentials.base import Model, Potential
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties

Array = jax.Array


def born_charges(model: Model, graph: Graph) -> Array:
    r"""Born effective charges of every atom, of charges that follow the positions and of atomic dipoles.

    .. math:: Z_{i,ab} = \frac{\partial \mu_b}{\partial R_{ia}} = q_i \delta_{ab} + \sum_j \frac{\partial q_j}{\partial R_{ia}} (R_j - R_i)_b
       + \frac{\partial \mu'_b}{\partial R_{ia}}

    with μ' what the dipole is beside that of the charges. So written it does not depend on the origin, nor in a periodic structure on the
    choice of the cell: there R_j − R_i goes to the nearest image, which is right for charge that flows less far than half a cell. The sum over
    all atoms is the total charge times the unit matrix, of a molecule exactly. It takes N + 3 reverse passes, one after the other.

    Args:
      model: a charge model, a potential that predicts charges such as `Electrostatics`, or a model of dipoles.
      graph: one structure.

    Returns:
      Z, shape [N, 3, 3], in e; the direction of the atom comes first, that of the dipole second. 0 for padding atoms.

    Raises:
      TypeError: for a model that predicts neither charges nor a dipole.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.longrange import FixedCharges
      >>> salt = FixedCharges(("Na", "Cl"), values=[1.0, -1.0])
      >>> born_charges(salt, from_atoms(Atoms("NaCl", positions=[[0, 0, 0], [2.4, 0, 0]]), cutoff=1.0))[1].tolist()
      [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
    """
    own, graph = promoted_pair(model, graph)
    own, real, positions = prepare(own), (graph.numbers > 0)[:, None], jnp.asarray(graph.positions)

    def charges_and_dipoles(positions):
        found = observed(own, graph.replace(positions=positions))
        if found.charges is None and found.dipole is None:
            raise TypeError(f"born_charges: {type(model).__name__} predicts neither charges nor a dipole")
        q = jnp.zeros(len(positions), positions.dtype) if found.charges is None else found.charges
        of_charges = einsum("n,nx->x", q, jnp.where(real, positions, 0))
        return q, jnp.zeros_like(of_charges) if found.dipole is None else found.dipole - of_charges

    (q, dipoles), pull = jax.vjp(charges_and_dipoles, positions)

    def add_flow(flow, j):
        (slopes,) = pull((jax.nn.one_hot(j, len(q), dtype=q.dtype), jnp.zeros_like(dipoles)))
        return flow + slopes[:, :, None] * nearest(graph, positions[j][None] - positions)[:, None, :], None

    eye = jnp.eye(3, dtype=q.dtype)
    flow, _ = jax.lax.scan(add_flow, jnp.zeros((len(q), 3, 3), q.dtype), jnp.arange(len(q)))
    turn = jax.lax.map(lambda direction: pull((jnp.zeros_like(q), direction))[0], eye)
    born = q[:, None, None] * eye[None] + flow + jnp.moveaxis(turn, 0, -1)
    return jnp.where(real[:, :, None], born, 0)


def nearest(graph: Graph, vectors: Array) -> Array:
    """The same vectors [N, 3] to the nearest images, by fractions of the cell in its periodic directions."""
    cell = jnp.where(jnp.asarray(graph.pbc)[:, None], graph.cell, 0)
    fractions = einsum("nx,xs->ns", vectors, jnp.linalg.pinv(jax.lax.stop_gradient(cell)))
    return vectors - einsum("ns,sx->nx", jax.lax.stop_gradient(jnp.round(fractions)), cell)


@functools.singledispatch
def observed(model: Model, graph: Graph) -> Properties:
    """What a model predicts, without energies and their derivatives."""
    return model.properties(graph)


@observed.register
def _beside_energies(model: Potential, graph: Graph) -> Properties:
    return model.more(graph)
