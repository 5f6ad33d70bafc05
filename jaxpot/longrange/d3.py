"""Grimme's D3 dispersion: C6 that follow coordination numbers, pairs and triples, in molecules and under any boundary conditions."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.descriptors.blocks import atoms_at_once, map_blocks
from jaxpot.graph import Environment, Graph, environments
from jaxpot.leaves import Leaf
from jaxpot.longrange.d3_damping import D3Damping
from jaxpot.longrange.d3_tables import D3Tables
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.potentials.base import Potential
from jaxpot.trees import positive, pytree
from jaxpot.units import HARTREE

Array = jax.Array

_BLOCK = 16  # atoms, or partners of a triple; lists of D3 are long
_STEEPNESS, _WIDTH = 16.0, 4.0  # of the counting function and of the weights, as published


def coordination_numbers(tables: D3Tables, cutoff: Cutoff, graph: Graph) -> Array:
    r"""How many atoms are bonded to every atom, [N].

    .. math:: \text{CN}_i = \sum_j f_c(r_{ij}) \left[1 + e^{-16 ((R_i + R_j)/r_{ij} - 1)}\right]^{-1}

    Args:
      tables: with the radii R.
      cutoff: f_c, of which `Step` is the plain truncation of other codes.
      graph: one structure.
    """
    return _coordination(tables, cutoff, environments(graph, cutoff.radius, tables.species))


def _coordination(tables: D3Tables, cutoff: Cutoff, envs: Environment) -> Array:
    def of_atoms(envs):
        r, radii = _distances(envs), jnp.asarray(tables.covalent)
        bonded = jax.nn.sigmoid(_STEEPNESS * ((radii[envs.center][:, None] + radii[envs.species]) / r - 1))
        return jnp.sum(jnp.where(envs.mask, bonded * cutoff(r), 0), axis=1)

    return map_blocks(jax.checkpoint(of_atoms), envs, atoms_at_once(_BLOCK))


def _distances(envs: Environment) -> Array:
    return safe_norm(envs.vectors)


def _weights(tables: D3Tables, numbers: Array, species: Array) -> Array:
    """How much every atom is like each reference of its element, [N, R], of coordination numbers [N]."""
    exponents = -_WIDTH * (numbers[:, None] - jnp.asarray(tables.cn)[species]) ** 2
    there = jnp.asarray(tables.there)[species]
    # relative to the nearest reference, so that far from all of them the weights do not vanish together
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(there, exponents, -jnp.inf), axis=1))
    values = jnp.where(there, jnp.exp(jnp.where(there, exponents - largest[:, None], 0)), 0)
    return values / jnp.sum(values, axis=1)[:, None]


def _toward(tables: D3Tables, weights: Array, species: Array) -> Array:
    """C6 of atoms [n] with the references of all elements, [n, S, R]."""
    return einsum("na,nsab->nsb", weights, jnp.asarray(tables.c6)[species])


class OfCoordination(Potential):
    """Interface: atomic energies of an atom's surroundings and of how much its neighbours are like each reference, which they have of theirs.
    A new one writes `at`.

    Attributes:
      tables: the references of the elements.
      cutoff: how distances end.
      counting: how coordination numbers end.
    """

    tables: D3Tables
    cutoff: Cutoff
    counting: Cutoff

    @property
    def species(self) -> tuple[str, ...]:
        return self.tables.species

    @property
    def reach(self) -> Array:
        return jnp.maximum(jnp.asarray(self.cutoff.radius), jnp.asarray(self.counting.radius))

    def weights(self, envs: Environment) -> Array:
        """How much every atom is like each reference of its element, [N, R]."""
        return _weights(self.tables, _coordination(self.tables, self.counting, envs), envs.center)

    @abc.abstractmethod
    def at(self, envs: Environment, own: Array, theirs: Array, kinds: Array) -> Array:
        """Atomic energies [N] of atoms of weights `own` [N, R], whose neighbours' weights are those rows of `theirs` [M, R], of elements `kinds`
        [M], that `envs.index` names."""

    def energies(self, graph: Graph) -> Array:
        envs = environments(graph, self.reach, self.species)
        weights = self.weights(envs)
        return self.at(envs, weights, weights, envs.center)


@pytree
class D3(OfCoordination):
    r"""The pairs of Grimme's D3; `AxilrodTeller` has the triples.

    .. math:: \epsilon_i = -\tfrac12 \sum_j f_c(r_{ij}) \sum_{n = 6, 8} s_n \frac{C_n^{ij}}{r_{ij}^n} f_n(r_{ij}), \qquad
        C_6^{ij} = \sum_{ab} w_a^i w_b^j\, C_{6,ab}^{\text{ref}}, \qquad w_a^i \propto e^{-4 (\text{CN}_i - \text{CN}_a)^2}

    Coordination numbers follow the positions, and forces and virial hold this. Structures may be periodic along any directions; pairs are
    not summed over a lattice but up to a cutoff, of which the usual one of 50 Å has 10⁴ to 10⁵ neighbours for every atom of a solid.

    Args:
      tables: the references of the elements; `D3Tables.read(path, species)`.
      damping: how pairs are damped; `BeckeJohnson` or `ZeroDamping`.
      cutoff: how pairs end; `Step` is the plain truncation of other codes.
      counting: how coordination numbers end, likewise.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.longrange import BeckeJohnson, D3Tables
      >>> tables = D3Tables(("Ar",), c6=[[[[38.0]]]], cn=[[0.0]], covalent=[1.3], root_q=[1.6], radii=[[3.0]], references=(1,))
      >>> ends = PolynomialCutoff(30.0, width=5.0)
      >>> model = D3(tables, BeckeJohnson(s8=0.0, a1=0.0, a2=2.0), cutoff=ends, counting=ends)
      >>> round(float(model(from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [4, 0, 0]]), cutoff=30.0))), 6)
      -0.009135

    References:
      Grimme, Antony, Ehrlich, Krieg, "A consistent and accurate ab initio parametrization of density functional dispersion correction
      (DFT-D) for the 94 elements H-Pu", J. Chem. Phys. 132, 154104 (2010).
    """

    tables: D3Tables
    damping: D3Damping
    cutoff: Cutoff
    counting: Cutoff

    def at(self, envs: Environment, own: Array, theirs: Array, kinds: Array) -> Array:
        tables, toward = self.tables, _toward(self.tables, own, envs.center)
        root_q, radii = jnp.asarray(tables.root_q), jnp.asarray(tables.radii)

        def of_atoms(stack):
            envs, toward = stack
            r, own = _distances(envs), envs.center[:, None]
            c6 = _between(toward, theirs, envs)
            energies = self.damping.energy(r, c6, 3 * root_q[own] * root_q[envs.species], radii[own, envs.species])
            return -0.5 * jnp.sum(jnp.where(envs.mask, energies * self.cutoff(r), 0), axis=1)

        return map_blocks(jax.checkpoint(of_atoms), (envs, toward), atoms_at_once(_BLOCK))


def _between(toward: Array, weights: Array, envs: Environment) -> Array:
    """C6 of atoms with their neighbours, [n, K]; weights are gathered block by block, as those of all slots would fill the memory."""
    theirs = jnp.take_along_axis(toward, envs.species[:, :, None], axis=1)
    return jnp.sum(theirs * weights[envs.index], axis=2)


@pytree
class AxilrodTeller(OfCoordination):
    r"""The triples of Grimme's D3, a term of its own: `D3(...) + AxilrodTeller(...)`.

    .. math:: \epsilon_i = \frac{s_9}{6} \sum_{j \neq k} \sqrt{C_6^{ij} C_6^{jk} C_6^{ik} / E_h}\,
        \frac{1 + 3 \cos\theta_i \cos\theta_j \cos\theta_k}{(r_{ij} r_{jk} r_{ik})^3}\, \frac{f_c f_c f_c}{1 + 6 (\bar R/\bar r)^{16}}

    Every distance ends by its f_c. :math:`\bar r` is the geometric mean of the distances, :math:`\bar R` 4/3 of that of the pair radii, :math:`E_h`
    the hartree. Time grows as the sixth power of the cutoff; memory does not.

    Args:
      tables: the references of the elements; `D3Tables.read(path, species)`.
      cutoff: how each of the three distances ends; `Step` is the plain truncation of other codes.
      counting: how coordination numbers end, likewise.
      s9: its scale.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.longrange import D3Tables
      >>> tables = D3Tables(("Ar",), c6=[[[[38.0]]]], cn=[[0.0]], covalent=[1.3], root_q=[1.6], radii=[[3.0]], references=(1,))
      >>> ends = PolynomialCutoff(30.0, width=5.0)
      >>> triangle = Atoms("Ar3", positions=[[0, 0, 0], [5, 0, 0], [2.5, 5 * 0.75**0.5, 0]])
      >>> round(float(AxilrodTeller(tables, cutoff=ends, counting=ends)(from_atoms(triangle, cutoff=30.0))), 8)
      2.705e-05

    References:
      Axilrod, Teller, "Interaction of the van der Waals type between three atoms", J. Chem. Phys. 11, 299 (1943).
    """

    tables: D3Tables
    cutoff: Cutoff
    counting: Cutoff
    s9: Leaf = positive(default=1.0)

    def at(self, envs: Environment, own: Array, theirs: Array, kinds: Array) -> Array:
        toward, radii = _toward(self.tables, theirs, kinds), jnp.asarray(self.tables.radii)

        def of_atom(stack):
            env, own = stack
            r, slots = safe_norm(env.vectors), jnp.arange(len(env.mask))
            others, all_toward = theirs[env.index], toward[env.index]
            c6 = jnp.sum(own[env.species] * others, axis=1)
            here, ending = radii[env.center, env.species], self.cutoff(r)

            def of_partners(partners):
                slot, vector, length, coefficient, radius, end, there, species, references = partners
                apart = there[:, None] & env.mask[None, :] & (slots[None, :] != slot[:, None])
                third = safe_norm(jnp.where(apart[:, :, None], env.vectors[None, :, :] - vector[:, None, :], 1.0))
                between = jnp.sum(references[:, env.species] * others[None, :, :], axis=2)
                c9 = jnp.sqrt(jnp.where(apart, coefficient[:, None] * c6[None, :] * between, 1.0) / HARTREE)
                a, b, c = length[:, None] ** 2, r[None, :] ** 2, third**2
                # the three cosines by the lengths of the sides
                cosines = (a + b - c) * (a + c - b) * (b + c - a) / (8 * a * b * c)
                product = length[:, None] * r[None, :] * third
                spheres = (4 / 3) ** 3 * radius[:, None] * here[None, :] * radii[species[:, None], env.species[None, :]]
                damping = 1 / (1 + 6 * (spheres / product) ** (16 / 3))
                values = c9 * (1 + 3 * cosines) / product**3 * damping * end[:, None] * ending[None, :] * self.cutoff(third)
                return jnp.sum(jnp.where(apart, values, 0), axis=1)

            stack = slots, env.vectors, r, c6, here, ending, env.mask, env.species, all_toward
            return jnp.sum(map_blocks(jax.checkpoint(of_partners), stack, atoms_at_once(_BLOCK)))

        return jnp.asarray(self.s9) / 6 * jax.lax.map(jax.checkpoint(of_atom), (envs, _toward(self.tables, own, envs.center)))
