"""How atoms move away from where they were: unwrapped positions, mean square displacement, diffusion, autocorrelation of velocities."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.linalg import einsum
from jaxpot.observables.correlations import Estimate, correlation, in_blocks, of_blocks
from jaxpot.units import FEMTOSECOND

Array = jax.Array

SQUARE_CENTIMETRES_PER_SECOND = 0.1  # of 1 Å²/fs


def unwrapped(positions: jax.typing.ArrayLike, cells: jax.typing.ArrayLike) -> Array:
    """Positions that do not jump where atoms pass from one side of the cell to the other.

    From step to step every atom goes to the nearest image, by fractions of the cell. So in one step it must move less than half a cell along
    each lattice vector: keep states often enough. A cell that changes carries atoms with it, and that is no displacement: fractional
    displacements are those of the mean of both cells.

    Args:
      positions: in the cell or not, shape [T, N, 3], in Å.
      cells: rows are lattice vectors, shape [3, 3] or [T, 3, 3], in Å.

    Returns:
      Shape [T, N, 3], in Å; the first step is as given.

    Raises:
      ValueError: for other shapes.

    Example:
      >>> there = jnp.array([[[0.5, 0, 0]], [[3.8, 0, 0]], [[3.0, 0, 0]]])
      >>> np.round(np.asarray(unwrapped(there, 4.0 * jnp.eye(3)))[:, 0, 0], 6).tolist()
      [0.5, -0.2, -1.0]
    """
    positions, cells = jnp.asarray(positions), jnp.asarray(cells)
    steps = len(positions)
    if positions.ndim != 3 or positions.shape[2] != 3 or cells.shape not in ((3, 3), (steps, 3, 3)):
        raise ValueError(f"unwrapped: expected positions [T, N, 3] and cells [3, 3] or [T, 3, 3], got {positions.shape} and {cells.shape}")
    cells = jnp.broadcast_to(cells, (steps, 3, 3))
    fractions = einsum("tnx,txs->tns", positions, jnp.linalg.inv(cells))
    moves = jnp.diff(fractions, axis=0)
    moves = moves - jax.lax.stop_gradient(jnp.round(moves))
    moves = einsum("tns,tsx->tnx", moves, 0.5 * (cells[1:] + cells[:-1]))
    return jnp.concatenate([positions[:1], positions[:1] + jnp.cumsum(moves, axis=0)])


def mean_square_displacement(positions: jax.typing.ArrayLike, *, length: int | None = None) -> Array:
    r"""How far atoms are on average after every number of steps, over all atoms and all beginnings.

    .. math:: \left\langle |R_i(s + t) - R_i(s)|^2 \right\rangle_{i, s}

    Args:
      positions: of the atoms that count, unwrapped, shape [T, N, 3], in Å; those of one element are `positions[:, numbers == 18]`. A motion of the
        whole counts too.
      length: L, how many lags; None is all T.

    Returns:
      Shape [L], in Å².

    Example:
      >>> straight = jnp.arange(4.0)[:, None, None] * jnp.array([1.0, 0, 0])
      >>> bool(jnp.allclose(mean_square_displacement(straight), jnp.array([0.0, 1.0, 4.0, 9.0]), atol=1e-9))
      True
    """
    positions = jnp.asarray(positions)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise ValueError(f"mean_square_displacement: expected positions [T, N, 3], got {positions.shape}")
    steps = len(positions)
    length = steps if length is None else length
    # distances from a mean position are small numbers, of which the sums below lose less
    apart = positions - jnp.mean(positions, axis=0, keepdims=True)
    products = jnp.mean(jnp.sum(correlation(apart, length=length), axis=2), axis=1)
    squares = jnp.mean(jnp.sum(apart**2, axis=2), axis=1)
    sums = jnp.concatenate([jnp.zeros(1, squares.dtype), jnp.cumsum(squares)])
    lags = jnp.arange(length)
    both = sums[steps - lags] + sums[steps] - sums[lags]
    return both / (steps - lags) - 2 * products


def diffusion(positions: jax.typing.ArrayLike, interval: float, *, lags: tuple[int, int], blocks: int = 5) -> Estimate:
    r"""The coefficient of self-diffusion, from the slope of the mean square displacement.

    .. math:: D = \frac16 \frac{d}{dt} \left\langle |R(t) - R(0)|^2 \right\rangle

    Args:
      positions: of the atoms that count, unwrapped, shape [T, N, 3], in Å.
      interval: between two steps, in fs.
      lags: first and last lag of the straight line that is fitted, in steps: after collisions, and well before the end of a block.
      blocks: of the trajectory, each of which has its slope.

    Returns:
      Mean and error, shape [], in Å²/fs; times `SQUARE_CENTIMETRES_PER_SECOND`, 0.1, in cm²/s. In a periodic cell it is too small by a
      term of one over its length.

    Raises:
      ValueError: for lags that are not in a block.

    Example:
      >>> steps = jax.random.normal(jax.random.key(0), (4000, 8, 3))
      >>> D = diffusion(jnp.cumsum(steps, axis=0), 1.0, lags=(1, 10))
      >>> bool(abs(D.mean - 0.5) < 4 * D.error), bool(D.error < 0.02)
      (True, True)

    References:
      Einstein, "Über die von der molekularkinetischen Theorie der Wärme geforderte Bewegung von in ruhenden Flüssigkeiten suspendierten
      Teilchen", Ann. Phys. 322, 549 (1905).
    """
    first, last = lags
    if not 0 <= first < last:
        raise ValueError(f"diffusion: lags must be two numbers of steps, the second larger, such as (10, 100); got {lags}")
    parts = in_blocks(jnp.asarray(positions), blocks, "diffusion", least=last + 1)
    found = jax.lax.map(lambda part: mean_square_displacement(part, length=last + 1), parts)[:, first:]
    times = interval * np.arange(first, last + 1)
    times = times - times.mean()
    return of_blocks(einsum("bt,t->b", found, jnp.asarray(times / (6 * np.sum(times**2)), found.dtype)))


def velocities_of(momenta: jax.typing.ArrayLike, masses: jax.typing.ArrayLike) -> Array:
    """Velocities [..., N, 3] in Å/fs, of momenta [..., N, 3] in ASE's unit and masses [N] in amu.

    Example:
      >>> round(velocities_of(jnp.array([[40.0, 0, 0]]), [40.0])[0, 0].item(), 8)
      0.09822695
    """
    return FEMTOSECOND * jnp.asarray(momenta) / jnp.asarray(masses)[:, None].reshape(*(1,) * (jnp.ndim(momenta) - 2), -1, 1)


def velocity_autocorrelation(velocities: jax.typing.ArrayLike, *, length: int | None = None) -> Array:
    r"""The autocorrelation of velocities, over all atoms and all beginnings.

    .. math:: C(t) = \left\langle v_i(s) \cdot v_i(s + t) \right\rangle_{i, s}, \qquad D = \tfrac13 \int_0^\infty C\, dt

    Args:
      velocities: of the atoms that count, shape [T, N, 3], in Å/fs; of `velocities_of`.
      length: L, how many lags; None is all T.

    Returns:
      Shape [L], in Å²/fs².

    Example:
      >>> np.round(np.asarray(velocity_autocorrelation(jnp.ones((4, 2, 3)), length=2)), 6).tolist()
      [3.0, 3.0]
    """
    return jnp.mean(jnp.sum(correlation(velocities, length=length), axis=2), axis=1)
