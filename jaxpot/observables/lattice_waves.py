"""Vibrations of a crystal at all wave vectors that fit into a supercell, as pure functions with gradients.

Sums over modes are traces of functions of dynamical matrices, whose derivatives exist where frequencies cross and eigenvectors have none.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.observables.springs import force_constants
from jaxpot.potentials.base import Potential
from jaxpot.units import BOLTZMANN, PLANCK, TERAHERTZ

Array = jax.Array

STILL = 0.01  # THz; slower modes are motions of the whole
_SLOWEST = (STILL / TERAHERTZ) ** 2


def dynamical_matrices(potential: Potential, graph: Graph, repeats: tuple[int, int, int], *, masses: Array | None = None) -> Array:
    r"""Force constants over masses, as waves.

    .. math:: D_{ij}(q) = \frac{1}{\sqrt{m_i m_j}} \sum_R \Phi_{0i, Rj}\, e^{-2\pi \mathrm{i}\, q \cdot R}

    Args:
      potential: any potential.
      graph: of `atoms.repeat(repeats)`.
      repeats: of the cell along its vectors, static.
      masses: of the n atoms of one cell, in amu; None takes those of the elements.

    Returns:
      Complex, shape [Q, 3n, 3n], in eV/Å²/amu, at the Q wave vectors q = (k₁/repeats₁, k₂/repeats₂, k₃/repeats₃) in units of the reciprocal
      vectors, k₃ fastest.

    Raises:
      ValueError: for a graph whose atoms the repeats do not divide.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))
      >>> D = dynamical_matrices(argon, from_atoms(bulk("Ar", a=5.3).repeat((2, 1, 1)), argon.reach), (2, 1, 1))
      >>> bool(abs(D[0]).max() < 1e-12), frequencies(D).shape
      (True, (2, 3))
    """
    n_cells = repeats[0] * repeats[1] * repeats[2]
    n, rest = divmod(len(graph.numbers), n_cells)
    if rest:
        raise ValueError(f"dynamical_matrices: {len(graph.numbers)} atoms are not {n_cells} cells; write from_atoms(atoms.repeat({repeats}), cutoff)")
    if masses is None:
        from ase.data import atomic_masses

        masses = jnp.asarray(atomic_masses)[graph.numbers[:n]]
    constants = force_constants(potential, graph, of=range(n)).reshape(n, *repeats, n, 3, 3)
    waves = jnp.fft.fftn(constants, axes=(1, 2, 3)).transpose(1, 2, 3, 0, 5, 4, 6).reshape(n_cells, 3 * n, 3 * n)
    root = jnp.sqrt(jnp.repeat(jnp.asarray(masses, constants.dtype), 3))
    waves = waves / (root[:, None] * root[None, :])[None]
    return 0.5 * (waves + waves.conj().transpose(0, 2, 1))


def frequencies(matrices: Array) -> Array:
    """Of dynamical matrices [Q, m, m], ascending, shape [Q, m], in THz; imaginary ones are negative, as in phonopy."""
    squares = jnp.linalg.eigvalsh(matrices)
    return jnp.sign(squares) * jnp.sqrt(jnp.abs(squares)) * TERAHERTZ


def harmonic_free_energy(matrices: Array, temperature: float | Array) -> Array:
    r"""The free energy of the vibrations with that of the zero point, per cell.

    .. math:: F = \frac{1}{Q} \sum_{q,\nu} \left[ \frac{h\nu}{2} + kT \ln \left( 1 - e^{-h\nu / kT} \right) \right]

    Args:
      matrices: dynamical matrices, shape [Q, m, m].
      temperature: in K, above zero.

    Returns:
      Shape [], in eV, without the three modes in which the whole moves. NaN where a frequency is imaginary.

    Example:
      >>> round(float(harmonic_free_energy(jnp.eye(1)[None], 1e-3)), 6)  # half of h times 15.6333 THz
      0.032327
    """
    return mean_trace(mode_free_energy, matrices, jnp.asarray(temperature, float))


def mode_free_energy(square: Array, temperature: Array) -> Array:
    """Of modes with these squares of frequencies, in eV; zero for motions of the whole, NaN for imaginary ones."""
    counts = square > _SLOWEST
    quantum = PLANCK * TERAHERTZ * jnp.sqrt(jnp.where(counts, square, 1))
    kT = BOLTZMANN * temperature
    energy = 0.5 * quantum + kT * jnp.log1p(-jnp.exp(-quantum / kT))
    return jnp.where(counts, energy, 0) * jnp.where(square < -_SLOWEST, jnp.nan, 1)  # a factor, so that derivatives are NaN too


def mean_trace(function: Callable[[Array, Array], Array], matrices: Array, parameter: Array) -> Array:
    """The mean over Hermitian matrices [Q, m, m] of the sum of a function of their eigenvalues and of a number."""
    return jnp.mean(jax.vmap(lambda matrix: jnp.trace(of_matrix(function, matrix, parameter)).real)(matrices))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def of_matrix(function: Callable[[Array, Array], Array], matrix: Array, parameter: Array) -> Array:
    """A function (eigenvalues, parameter) -> numbers of a Hermitian matrix [m, m].

    Its derivative by the matrix has divided differences of the function between eigenvalues, which exist where these are equal.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return _assembled(jnp.diag(function(values, parameter)), vectors)


@of_matrix.defjvp
def _of_matrix_jvp(function, primals, tangents):
    (matrix, parameter), (step, change) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    found = function(values, parameter)
    gaps = values[:, None] - values[None, :]
    near = jnp.abs(gaps) <= 1e-5 * jnp.max(jnp.abs(values))
    middle = 0.5 * (values[:, None] + values[None, :])
    slope = jax.jvp(lambda x: function(x, parameter), (middle,), (jnp.ones_like(middle),))[1]
    divided = jnp.where(near, slope, (found[:, None] - found[None, :]) / jnp.where(near, 1, gaps))
    inside = einsum("ia,ij,jb->ab", vectors.conj(), step, vectors)
    by_parameter = jax.jvp(lambda p: function(values, p), (parameter,), (change,))[1]
    return _assembled(jnp.diag(found), vectors), _assembled(divided * inside + jnp.diag(by_parameter), vectors)


def _assembled(inside: Array, vectors: Array) -> Array:
    return einsum("ia,ab,jb->ij", vectors, inside.astype(vectors.dtype), vectors.conj())
