"""The energy of two atoms by their distance, the first thing to look at in a new potential."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from jaxpot.graph import Graph, from_atoms, pad
from jaxpot.potentials.base import Potential, evaluate

Array = jax.Array


def pair_curves(potential: Potential, radii: jax.typing.ArrayLike) -> dict[str, np.ndarray]:
    """Energies of two atoms alone less those of each alone, in eV, by name of the pair; NaN where the potential gives NaN.

    Args:
      potential: any potential.
      radii: distances in Å, shape [R].

    Returns:
      Name such as "Mg–O" -> energies [R].

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> float(pair_curves(LennardJones(("Ar",), 1.0, 2.0, cutoff=CosineCutoff(9.0, width=1.0)), [2 ** (7 / 6)])["Ar–Ar"][0].round(9))
      -1.0
    """
    radii, reach = np.asarray(radii, float), max(float(potential.reach), 1e-3)
    alone = {symbol: _energy(potential, pad(from_atoms(Atoms(symbol), reach), max_atoms=2, max_neighbors=1)) for symbol in potential.species}
    out = {}
    for a, b in itertools.combinations_with_replacement(potential.species, 2):
        graph = from_atoms(Atoms([a, b], positions=[[0, 0, 0], [0.5 * reach, 0, 0]]), reach, max_neighbors=1)
        far = pad(from_atoms(Atoms([a, b], positions=[[0, 0, 0], [2 * reach, 0, 0]]), reach), max_neighbors=1)
        energies = [_energy(potential, _at(graph if r < reach else far, r)) for r in radii]
        out[f"{a}–{b}"] = np.array(energies) - alone[a] - alone[b]
    return out


def _at(graph: Graph, r: float) -> Graph:
    """Two atoms at this distance."""
    return graph.replace(positions=jnp.asarray(graph.positions).at[1, 0].set(r))


def _energy(potential: Potential, graph: Graph) -> float:
    return float(_evaluate(potential, graph))


_evaluate = jax.jit(lambda potential, graph: evaluate(potential, graph).energy)
