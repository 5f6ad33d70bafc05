r"""The heat flux, :math:`J = \frac{d}{dt} \sum_i R_i e_i`, by differentiation of atomic energies.

The energy of an atom, with half of what it shares by whatever rule the potential has, is :math:`e_i = p_i^2/2m_i + \epsilon_i`. Of a finite
structure the definition can be differentiated as it stands. Of a periodic one positions have no meaning and only distances have:

.. math:: J = \sum_i v_i e_i + \sum_i \sum_{j, n} (R_i - R_j - n) \left(\frac{\partial \epsilon_i}{\partial R_{j n}} \cdot v_j\right)

where every image of an atom counts for itself. How an atomic energy follows a single image is known of three kinds of terms, which a Sum may
mix: of local potentials, whatever their body order, where every neighbour is made an atom of its own; of D3, whose neighbours see neighbours;
and of pairs with fixed strengths, which share alike, such as Ewald sums of fixed charges, where it is the derivative by strain.
"""

import functools

import jax
import jax.numpy as jnp

from jaxpot.checks import is_concrete
from jaxpot.graph import Graph, environments, only, strain
from jaxpot.longrange.charges import FixedCharges
from jaxpot.longrange.d3 import OfCoordination
from jaxpot.longrange.dispersion import Dispersion
from jaxpot.longrange.energies import Electrostatics
from jaxpot.math.linalg import einsum
from jaxpot.observables.stresses import moving
from jaxpot.passes import prepare
from jaxpot.potentials.base import LocalPotential, Potential, Sum
from jaxpot.potentials.committee import Committee
from jaxpot.precision import promoted_pair
from jaxpot.units import FEMTOSECOND

Array = jax.Array


def heat_flux(potential: Potential, graph: Graph, momenta: jax.typing.ArrayLike, *, masses: jax.typing.ArrayLike) -> Array:
    r"""The heat flux of a state, of finite structures :math:`\frac{d}{dt} \sum_i R_i e_i` exactly.

    Of potentials of any body order it is made by one reverse pass. It does not depend on the origin, nor on which images of the atoms are in the
    cell, as long as the momenta add up to nothing; energies of isolated atoms count in the first sum.

    Args:
      potential: any potential, of a finite structure. Of a periodic one local potentials, `Electrostatics` of `FixedCharges` with neutral cells in
        conducting surroundings, `Dispersion`, `D3` and its triples, and sums and committees of these.
      graph: one structure.
      momenta: shape [N, 3], in ASE's unit.
      masses: shape [N], in amu.

    Returns:
      J, shape [3], in eV Å/fs; divide by the volume for a current density. NaN of a periodic structure where it is not defined and only
      the device sees it.

    Raises:
      TypeError: for a periodic structure and a term of another kind. Charges that follow the positions take energy from place to place without
        moving themselves, and what that means in a lattice depends on the surroundings of the crystal; features of a whole lattice do not
        say how they follow a single image.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> atoms = bulk("Ar", cubic=True)
      >>> momenta = np.array([[1.0, 0, 0], [0, 0, 0], [-1, 0, 0], [0, 0, 0]])
      >>> flux = jax.jit(heat_flux)(argon, from_atoms(atoms, 6.0), momenta, masses=atoms.get_masses())
      >>> bool(jnp.abs(flux).max() < 1e-12)  # both move among the same surroundings, one there and one back
      True

    References:
      Fan, Pereira, Wang, Zheng, Donadio, Harju, "Force and heat current formulas for many-body potentials in molecular dynamics simulations with
      applications to thermal conductivity calculations", Phys. Rev. B 92, 094301 (2015).
      Langer, Frank, Knoop, "Stress and heat flux via automatic differentiation", J. Chem. Phys. 159, 174105 (2023).
    """
    momenta, masses = moving("heat_flux", graph, momenta, masses)
    own, graph = promoted_pair(potential, graph)
    real = graph.numbers > 0
    velocities = jnp.where(real[:, None], momenta / jnp.where(real, masses, 1)[:, None], 0)
    energies, flux = energies_and_flux(prepare(own), graph, velocities)
    energies = jnp.where(real, energies + 0.5 * masses * jnp.sum(velocities**2, axis=1), 0)
    return FEMTOSECOND * (einsum("n,nx->x", energies, velocities) + flux)


@functools.singledispatch
def energies_and_flux(potential: Potential, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    """Atomic energies [N] in eV, and what the forces between atoms carry, [3] in eV Å per ASE's unit of time, given velocities in the same, [N, 3].

    As it stands it is of finite structures: Σ R_i (dε_i/dt + F_i·v_i).
    """
    periodic = jnp.any(jnp.asarray(graph.pbc))
    if is_concrete(graph.pbc) and bool(periodic):
        raise TypeError(
            f"heat_flux: of a periodic structure that of {type(potential).__name__} is not known, since it does not say how an atomic energy follows a "
            "single image of an atom; write it for a finite structure (atoms.pbc = False), or use local potentials, "
            "Electrostatics(FixedCharges(...), ...), Dispersion and D3"
        )
    real = graph.numbers > 0

    def energies_at(positions):
        return jnp.where(real, potential.energies(graph.replace(positions=positions)), 0)

    (energies, pull), (_, rates) = jax.vjp(energies_at, graph.positions), jax.jvp(energies_at, (graph.positions,), (velocities,))
    (slopes,) = pull(jnp.ones_like(energies))
    rates = rates - jnp.sum(slopes * velocities, axis=1)
    flux = einsum("n,nx->x", rates, jnp.where(real[:, None], graph.positions, 0))
    return energies, jnp.where(periodic, jnp.nan, flux)


@energies_and_flux.register
def _of_neighbors(potential: LocalPotential, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    """Every slot is given an atom of its own, a ghost, by whose position the one energy that sees it is differentiated."""
    n, k = graph.neighbors.shape
    seen, there = jnp.minimum(graph.neighbors, n - 1), graph.neighbors < n
    images = graph.positions[seen] + einsum("nks,sx->nkx", graph.shifts.astype(graph.cell.dtype), graph.cell)
    slots = n + jnp.arange(n * k, dtype=graph.neighbors.dtype).reshape(n, k)
    ghosts = graph.replace(
        numbers=jnp.concatenate([graph.numbers, jnp.where(there, graph.numbers[seen], 0).reshape(-1)]),
        neighbors=jnp.where(there, slots, n * (k + 1)),
        shifts=jnp.zeros_like(graph.shifts),
    )

    def energies_at(images):
        return potential.energies(ghosts.replace(positions=jnp.concatenate([graph.positions, images.reshape(-1, 3)])))

    energies, pull = jax.vjp(energies_at, images)
    (slopes,) = pull(jnp.where(graph.numbers > 0, 1, 0).astype(energies.dtype))
    power = jnp.where(there, jnp.sum(slopes * velocities[seen], axis=2), 0)
    return energies, -einsum("nk,nkx->x", power, images - graph.positions[:, None, :])


@energies_and_flux.register
def _of_two_shells(potential: OfCoordination, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    """A neighbour counts by its place and by what it has of its own neighbours: from there energy comes in two steps."""
    envs = environments(graph, potential.reach, potential.species)
    (n, k), vectors, real = envs.mask.shape, envs.vectors, (graph.numbers > 0).astype(envs.vectors.dtype)
    relative = jnp.where(envs.mask[:, :, None], velocities[envs.index] - velocities[:, None, :], 0)
    slots = envs.replace(index=jnp.arange(n * k, dtype=envs.index.dtype).reshape(n, k))

    def energies_at(vectors, own, theirs):
        return potential.at(slots.replace(vectors=vectors), own, theirs.reshape(n * k, -1), envs.species.reshape(-1))

    def weights_at(vectors):
        return potential.weights(envs.replace(vectors=vectors))

    weights, rates = jax.jvp(weights_at, (vectors,), (relative,))
    energies, pull = jax.vjp(energies_at, vectors, weights, weights[envs.index])
    by_place, by_own, by_theirs = pull(real)
    by_theirs = jnp.where(envs.mask[:, :, None], by_theirs, 0)
    (by_neighbor,) = jax.vjp(weights_at, vectors)[1](by_own.at[envs.index].add(by_theirs))
    power = jnp.sum((by_place + by_neighbor) * jnp.where(envs.mask[:, :, None], velocities[envs.index], 0), axis=2)
    return energies, -einsum("nk,nkx->x", power + jnp.sum(by_theirs * rates[envs.index], axis=2), vectors)


@energies_and_flux.register
def _of_pairs(potential: Dispersion, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    """Of pairs that share alike, the sum over images of R ⊗ dε/dR is the derivative of an atom's energy by strain."""

    def energies_at(epsilon):
        return jnp.where(graph.numbers > 0, potential.energies(strain(graph, epsilon)), 0)

    energies, pull = jax.vjp(energies_at, jnp.zeros((3, 3), graph.positions.dtype))
    along = jax.lax.map(lambda weights: pull(weights)[0], velocities.T)  # of every direction of motion, both indices of strain
    return energies, -einsum("bab->a", along)


@energies_and_flux.register
def _of_charges(potential: Electrostatics, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    """Of fixed charges as of pairs; an outer field acts on each atom alone and carries nothing."""
    if not is_fixed(potential.charges):
        return energies_and_flux.dispatch(Potential)(potential, graph, velocities)
    _, flux = _of_pairs(potential, graph.replace(field=jnp.zeros_like(graph.field)), velocities)
    # a background does not move, and a field of the surface is of no pair
    undefined = jnp.any(jnp.asarray(graph.pbc)) & ((graph.charge != 0) | (jnp.asarray(getattr(potential.sum, "depolarisation", 0.0)) != 0))
    return potential.energies(graph), jnp.where(undefined, jnp.nan, flux)


@energies_and_flux.register
def _of_terms(potential: Sum, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    energies, flux = jnp.zeros(graph.numbers.shape, graph.positions.dtype), jnp.zeros(3, graph.positions.dtype)
    for term in potential.terms:
        known = only(graph, term.species)
        more, carried = energies_and_flux(term, known, jnp.where(known.numbers[:, None] > 0, velocities, 0))
        energies, flux = energies + jnp.where(known.numbers > 0, more, 0), flux + carried
    lost = potential.lost(graph)
    return jnp.where(lost, jnp.nan, energies), jnp.where(lost, jnp.nan, flux)


@energies_and_flux.register
def _of_members(potential: Committee, graph: Graph, velocities: Array) -> tuple[Array, Array]:
    parts = [energies_and_flux(member, graph, velocities) for member in potential.members]
    return tuple(sum(part) / len(parts) for part in zip(*parts, strict=True))


@functools.singledispatch
def is_fixed(charges: object) -> bool:
    """Whether the charges of a model do not follow the positions; models of such charges register it."""
    return False


@is_fixed.register
def _of_elements(charges: FixedCharges) -> bool:
    return True
