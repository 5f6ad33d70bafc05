"""Structure factors: of positions on reciprocal vectors, of pair distributions, and their sums that X-rays and neutrons see."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxpot.checks import require_finite
from jaxpot.graph import Graph, only
from jaxpot.math.linalg import einsum
from jaxpot.observables.pairs import TAIL, require_crystal
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array

_MOST = 10**6  # reciprocal vectors
_AT_ONCE = 128


def wave_vectors(cell: jax.typing.ArrayLike, q_max: float) -> np.ndarray:
    """The reciprocal vectors of a cell up to a length, as integers on the host; of k and −k one.

    Args:
      cell: rows are lattice vectors, shape [3, 3], in Å.
      q_max: in 1/Å.

    Returns:
      m, shape [M, 3]: k = 2π m·cell⁻ᵀ. They are for all states of a trajectory; where the cell moves, take one a little larger.

    Raises:
      ValueError: for a cell without volume, or more than a million vectors.

    Example:
      >>> wave_vectors(np.diag([4.0, 4.0, 4.0]), 1.6).tolist()
      [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    """
    cell = require_finite(cell, "wave_vectors: cell")
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
        raise ValueError(f"wave_vectors: expected three independent lattice vectors, got {cell.tolist()}; write wave_vectors(atoms.cell.array, q_max)")
    most = np.floor(np.linalg.norm(cell, axis=1) * q_max / (2 * np.pi) + 1e-9)
    if not np.all(most >= 0) or np.prod(2 * most + 1) > 8 * _MOST:
        raise ValueError(f"wave_vectors: q_max = {q_max} 1/Å needs {np.prod(2 * most + 1):.3g} vectors; expected a positive number and at most {_MOST}")
    m = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most.astype(int)), indexing="ij"), axis=-1).reshape(-1, 3)
    m = m[len(m) // 2 + 1 :]  # what comes before the origin is the other half
    return m[np.linalg.norm(2 * np.pi * m @ np.linalg.inv(cell).T, axis=1) <= q_max]


def structure_factor(graph: Graph, species: tuple[str, ...], q: jax.typing.ArrayLike, *, waves: np.ndarray, width: float | Array) -> Array:
    r"""Partial structure factors of Faber and Ziman on the reciprocal vectors of the cell, averaged over broadened shells.

    .. math:: S_{ab}(k) = 1 + \frac{N}{N_a N_b} \left(\operatorname{Re} \rho_a(k)\, \rho_b^*(k) - \delta_{ab} N_a\right),
       \qquad \rho_a(k) = \sum_{j \in a} e^{i k \cdot R_j}, \qquad S_{ab}(q) = \frac{\sum_k G(q - |k|)\, S_{ab}(k)}{\sum_k G(q - |k|)}

    Nothing is cut off, so it is exact for this structure; of atoms at random places all partials are 1 on average.

    Args:
      graph: one periodic structure; its neighbour lists do not matter.
      species: chemical symbols; atoms of other elements do not count.
      q: shape [Q], in 1/Å.
      waves: of `wave_vectors`, integers of shape [M, 3], 5 widths farther than the largest q.
      width: standard deviation of the Gaussian G, in 1/Å.

    Returns:
      S, shape [S, S, Q], without unit. NaN where there is no vector within 5 widths, and for elements that are not there.

    Raises:
      ValueError: for a structure that is not periodic in all directions.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> atoms = bulk("Ar", a=5.3, cubic=True)
      >>> waves = wave_vectors(atoms.cell.array, 2.5)
      >>> S = structure_factor(from_atoms(atoms, 1.0), ("Ar",), [2 * np.pi / 5.3, 3**0.5 * 2 * np.pi / 5.3], waves=waves, width=0.01)
      >>> bool(abs(S[0, 0, 0]) < 1e-12), round(float(S[0, 0, 1]), 6)  # (100) is forbidden, (111) not
      (True, 4.0)

    References:
      Faber, Ziman, "A theory of the electrical properties of liquid metals", Phil. Mag. 11, 153 (1965).
    """
    require_crystal(graph, "structure_factor")
    q = jnp.asarray(q, graph.positions.dtype)
    numbers = only(graph, species).numbers
    own = jnp.stack([numbers == ATOMIC_NUMBERS[symbol] for symbol in species], axis=1).astype(q.dtype)
    counts, total = jnp.sum(own, axis=0), jnp.sum(own)
    k = 2 * jnp.pi * einsum("ms,xs->mx", jnp.asarray(waves, q.dtype), jnp.linalg.inv(graph.cell))
    positions = jnp.where(numbers[:, None] > 0, graph.positions, 0)

    @jax.checkpoint
    def of_wave(k):
        phase = einsum("nx,x->n", positions, k)
        cosines, sines = (einsum("n,na->a", f(phase), own) for f in (jnp.cos, jnp.sin))
        return cosines[:, None] * cosines[None, :] + sines[:, None] * sines[None, :]

    products = jax.lax.map(of_wave, k, batch_size=_AT_ONCE) - jnp.diag(counts)[None]
    partials = 1 + total * products / (counts[:, None] * counts[None, :])[None]
    shells = norm.pdf(q[:, None], jnp.linalg.norm(k, axis=1)[None, :], width)
    weights = jnp.sum(shells, axis=1)
    found = jnp.any(shells > norm.pdf(TAIL * width, 0, width), axis=1) & jnp.all(jnp.asarray(graph.pbc))
    averages = einsum("qm,mab->abq", shells, partials) / jnp.where(found, weights, 1)[None, None, :]
    return jnp.where(found[None, None, :], averages, jnp.nan)


def structure_factor_of_pairs(radii: jax.typing.ArrayLike, g: jax.typing.ArrayLike, q: jax.typing.ArrayLike, *, density: float | Array) -> Array:
    r"""Partial structure factors of Faber and Ziman from pair distribution functions.

    .. math:: S_{ab}(q) = 1 + 4\pi\rho \int \left(g_{ab}(r) - 1\right) \frac{\sin qr}{qr}\, r^2\, dr

    The integral ends with the radii; what still oscillates there makes ripples of period :math:`2\pi / r_{\max}`. Lorch's window, or another,
    is a factor on g − 1 before.

    Args:
      radii: r, shape [R], equidistant or not, in Å.
      g: shape [..., R]; of `pair_distribution` [S, S, R].
      q: shape [Q], in 1/Å.
      density: ρ, of all atoms of these elements, in 1/Å³.

    Returns:
      S, shape [..., Q], without unit.

    Example:
      >>> r, q = jnp.linspace(0, 9, 901), jnp.array([0.0, 1.0])
      >>> S = structure_factor_of_pairs(r, 1 - jnp.exp(-(r**2) / 2), q, density=0.02)
      >>> bool(jnp.allclose(S, 1 - 0.02 * (2 * jnp.pi) ** 1.5 * jnp.exp(-(q**2) / 2)))
      True
    """
    radii, g, q = jnp.asarray(radii), jnp.asarray(g), jnp.asarray(q)
    if g.shape[-1:] != radii.shape or radii.ndim != 1:
        raise ValueError(f"structure_factor_of_pairs: expected radii [R] and g [..., R], got {radii.shape} and {g.shape}")
    waves = jnp.sinc(q[:, None] * radii[None, :] / jnp.pi) * radii[None, :] ** 2
    steps = jnp.diff(radii)
    ends = jnp.zeros(1, steps.dtype)
    weights = 0.5 * (jnp.concatenate([steps, ends]) + jnp.concatenate([ends, steps]))
    return 1 + 4 * jnp.pi * density * einsum("...r,qr->...q", (g - 1) * weights.reshape(*(1,) * (g.ndim - 1), -1), waves)


def scattering_total(partials: jax.typing.ArrayLike, concentrations: jax.typing.ArrayLike, lengths: jax.typing.ArrayLike) -> Array:
    r"""What radiation sees of partial structure factors, or of partial pair distributions.

    .. math:: S(q) = \frac{\sum_{ab} c_a c_b\, f_a f_b\, S_{ab}(q)}{\left(\sum_a c_a f_a\right)^2}

    Of neutrons f are coherent scattering lengths. Of X-rays they are the form factors of the atoms, which `xraydb.f0(symbol, q / (4 * pi))`
    and `periodictable` have; :math:`F(q) = (S - 1) (\sum_a c_a f_a)^2`.

    Args:
      partials: shape [S, S, Q].
      concentrations: c, shape [S]; of `concentrations`.
      lengths: f, shape [S], or [S, Q] where they depend on q, in any unit.

    Returns:
      Shape [Q], without unit.

    Example:
      >>> partials = jnp.ones((2, 2, 5)).at[0, 0].set(2.0)
      >>> round(float(scattering_total(partials, [1 / 3, 2 / 3], [4.1491, 5.803])[0]), 4)  # silica, fm
      1.0694
    """
    partials, c, f = jnp.asarray(partials), jnp.asarray(concentrations), jnp.asarray(lengths)
    n = partials.shape[0]
    if partials.ndim != 3 or c.shape != (n,) or f.shape not in ((n,), (n, partials.shape[2])):
        raise ValueError(f"scattering_total: expected [S, S, Q], [S] and [S] or [S, Q], got {partials.shape}, {c.shape} and {f.shape}")
    weights = c[:, None] * jnp.broadcast_to(f.reshape(n, -1), (n, partials.shape[2]))
    return einsum("aq,bq,abq->q", weights, weights, partials) / jnp.sum(weights, axis=0) ** 2
