"""How vibrations answer to strain: Grüneisen parameters and thermal expansion, by third derivatives of the energy."""

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.observables.deformation import deformed, volume, without_rigid_motion
from jaxpot.observables.elasticity import elastic_constants, following
from jaxpot.observables.lattice_waves import STILL, dynamical_matrices, frequencies, mode_free_energy, of_matrix
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.precision import promoted_pair
from jaxpot.units import GPA

Array = jax.Array

_EQUAL = 1e-4  # THz; modes nearer than this share what they have


def grueneisen_parameters(potential: Potential, graph: Graph, repeats: tuple[int, int, int], *, masses: Array | None = None) -> tuple[Array, Array]:
    r"""How frequencies answer to the volume, with atoms that follow.

    .. math:: \gamma = -\frac{\partial \ln \nu}{\partial \ln V} = -\frac{V}{2 \lambda}\, e^\dagger \frac{\partial D}{\partial V} e,
       \qquad D e = \lambda e

    Modes of one frequency share their mean, which does not depend on the choice of eigenvectors.

    Args:
      potential: any potential.
      graph: of `atoms.repeat(repeats)`, at a minimum.
      repeats: of the cell along its vectors, static.
      masses: of the n atoms of one cell, in amu; None takes those of the elements.

    Returns:
      Frequencies in THz as of `frequencies`, and γ, both of shape [Q, 3n]. γ is NaN for the motions of the whole.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> graph = from_atoms(bulk("Ar", a=5.3).repeat((2, 1, 1)), argon.reach)
      >>> _, gamma = jax.jit(grueneisen_parameters, static_argnums=2)(argon, graph, (2, 1, 1))
      >>> bool(jnp.all((gamma[1] > 2) & (gamma[1] < 4)))
      True
    """
    isotropic = jnp.array([[1.0, 1, 1, 0, 0, 0]]) / 3  # of ln V
    matrices, slopes = _by_strain(potential, graph, repeats, masses, isotropic)

    def modes(matrix: Array, slope: Array) -> tuple[Array, Array]:
        values, vectors = jnp.linalg.eigh(matrix)
        own = einsum("ia,ij,ja->a", vectors.conj(), slope, vectors).real
        nu = frequencies(matrix[None])[0]
        same = (jnp.abs(nu[:, None] - nu[None, :]) < _EQUAL).astype(own.dtype)
        moves = jnp.abs(nu) < STILL  # as a whole
        return nu, jnp.where(moves, jnp.nan, -0.5 * (same @ own) / jnp.sum(same, axis=1) / jnp.where(moves, 1, values))

    return jax.vmap(modes)(matrices, slopes[0])


def thermal_expansion(potential: Potential, graph: Graph, repeats: tuple[int, int, int], temperatures: Array, *, masses: Array | None = None) -> Array:
    r"""Coefficients of thermal expansion in the quasi-harmonic approximation, at the volume of the minimum.

    .. math:: \frac{\partial \epsilon}{\partial T} = -\frac{1}{V} C^{-1} \frac{\partial^2 F}{\partial \epsilon\, \partial T}

    F is the free energy of the vibrations. Differentiable by every leaf: no eigenvector is differentiated.

    Args:
      potential: any potential.
      graph: of `atoms.repeat(repeats)`, at a minimum of atoms and cell.
      repeats: of the cell along its vectors, static.
      temperatures: in K, above zero, shape [T].
      masses: of the n atoms of one cell, in amu; None takes those of the elements.

    Returns:
      Linear coefficients in Voigt's order xx, yy, zz, yz, xz, xy, shape [T, 6], in 1/K. NaN where a frequency is imaginary.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> graph = from_atoms(bulk("Ar", a=5.3).repeat((2, 1, 1)), argon.reach)
      >>> alpha = jax.jit(thermal_expansion, static_argnums=2)(argon, graph, (2, 1, 1), jnp.array([40.0]))
      >>> bool(alpha[0, 0] > 1e-4)
      True

    References:
      Wallace, Thermodynamics of Crystals, Wiley (1972).
    """
    matrices, slopes = _by_strain(potential, graph, repeats, masses, jnp.eye(6))
    n_cells = repeats[0] * repeats[1] * repeats[2]
    compliance = jnp.linalg.inv(elastic_constants(potential, graph) * GPA)

    def entropy_slope(square: Array, temperature: Array) -> Array:
        by_square = lambda t: jax.jvp(lambda x: mode_free_energy(x, t), (square,), (jnp.ones_like(square),))[1]  # noqa: E731
        return jax.jvp(by_square, (temperature,), (jnp.ones_like(temperature),))[1]

    def at(temperature: Array) -> Array:
        weights = jax.vmap(lambda matrix: of_matrix(entropy_slope, matrix, temperature))(matrices)
        mixed = einsum("qij,vqji->v", weights, slopes).real / len(matrices)
        return -compliance @ mixed / (volume(graph.cell) / n_cells)

    return jax.lax.map(at, jnp.asarray(temperatures, graph.positions.dtype))


def _by_strain(potential: Potential, graph: Graph, repeats: tuple, masses: Array | None, strains: Array) -> tuple[Array, Array]:
    """Dynamical matrices [Q, m, m], and their derivatives along strains [S, 6] with atoms that follow: [S, Q, m, m]."""
    potential, graph = promoted_pair(potential, graph)
    ready = prepare(potential)
    still, unstrained = jnp.zeros_like(graph.positions), jnp.zeros(6, graph.positions.dtype)

    def slope(displacements: Array, strain: Array) -> Array:
        return jax.grad(lambda u: ready(deformed(graph, u, strain)))(displacements)

    mixed = jax.jacfwd(lambda strain: slope(still, strain))(unstrained)
    project = without_rigid_motion(jax.lax.stop_gradient(graph))
    answers = following(lambda u: slope(u, unstrained), still, project, mixed)

    def matrices(strain: Array) -> Array:
        now = deformed(graph, einsum("nxv,v->nx", answers, strain), strain)
        return dynamical_matrices(ready, now, repeats, masses=masses)

    return matrices(unstrained), jax.lax.map(lambda along: jax.jvp(matrices, (unstrained,), (along,))[1], strains.astype(unstrained.dtype))
