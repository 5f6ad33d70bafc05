"""Rotations of real spherical harmonics: Wigner D matrices, random rotations, rotated coefficients.

D is built from the entries of the rotation matrix, not from Euler angles: a polynomial has no gimbal lock, so it can be
differentiated at every rotation, the identity included.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.math.linalg import einsum
from jaxpot.math.spherical import check_degree

_YZX = np.array([1, 2, 0])


@functools.cache
def _recursion_table(l: int) -> tuple[np.ndarray, np.ndarray]:
    """T [3, 2l + 1, 2l − 1] and the scale [2l + 1] of D^l_mn = scale_n Σ_iμ T_imμ P_iμn.

    T holds u, v, w of the paper's Table 1 without the denominator, at the places where its Table 2 takes P_i(μ, n).
    """
    table = np.zeros((3, 2 * l + 1, 2 * l - 1))

    def put(i: int, m: int, mu: int, value: float) -> None:
        if value:
            table[i + 1, m + l, mu + l - 1] += value

    for m in range(-l, l + 1):
        a, sign = abs(m), 1 if m >= 0 else -1
        put(0, m, m, np.sqrt((l + m) * (l - m)))
        v = 0.5 * np.sqrt((l + a - 1) * (l + a))
        if m == 0:
            put(1, 0, 1, -np.sqrt(2) * v)
            put(-1, 0, -1, -np.sqrt(2) * v)
        else:
            one = np.sqrt(2) if a == 1 else 1.0
            put(1, m, m - sign, v * (one if m > 0 else a != 1))
            put(-1, m, sign - m, v * (-(a != 1) if m > 0 else one))
            w = -0.5 * np.sqrt((l - a - 1) * (l - a))
            put(1, m, m + sign, w)
            put(-1, m, -m - sign, w * sign)
    n = np.arange(-l, l + 1)
    return table, 1 / np.sqrt(np.where(np.abs(n) < l, (l + n) * (l - n), 2 * l * (2 * l - 1)))


def wigner_d(rotation: jax.typing.ArrayLike, l_max: int) -> tuple[jax.Array, ...]:
    r"""Wigner matrices of the real spherical harmonics: how each degree turns when the vectors turn.

    .. math:: Y_{lm}(R\,\mathbf r) = \sum_{m'} D^l_{mm'}(R)\, Y_{lm'}(\mathbf r), \qquad D(R_1 R_2) = D(R_1)\, D(R_2)

    D^l follows from D^{l−1} and R; each entry is a homogeneous polynomial of degree l in the entries of R. Hence an improper R
    gives (−1)^l times the matrix of −R, and D is smooth at every R. The polynomial is evaluated as it stands: a matrix that is
    not orthogonal is not detected.

    Args:
      rotation: R, proper or improper, acting on column vectors, shape [3, 3], no unit.
      l_max: highest degree, included.

    Returns:
      D^0 … D^l_max, each of shape [2l + 1, 2l + 1] with rows and columns m = −l … l; the dtype of `rotation`.

    Raises:
      ValueError: if `rotation` is not [3, 3], or l_max is not an integer ≥ 0.

    Example:
      >>> quarter_turn = jnp.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x -> y
      >>> wigner_d(quarter_turn, l_max=1)[1].tolist()  # rows and columns y, z, x
      [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]

    References:
      Ivanic, Ruedenberg, "Rotation Matrices for Real Spherical Harmonics. Direct Determination by Recursion",
      J. Phys. Chem. 100, 6342 (1996); corrected in J. Phys. Chem. A 102, 9099 (1998).
    """
    l_max = check_degree(l_max)
    if np.shape(rotation) != (3, 3):
        raise ValueError(f"wigner_d: rotation must have shape [3, 3], got {list(np.shape(rotation))}; use jax.vmap for several")
    rotation = jnp.asarray(rotation, jnp.result_type(rotation, 1.0))
    blocks = [jnp.ones((1, 1), rotation.dtype)]
    if l_max > 0:
        first = rotation[_YZX[:, None], _YZX[None, :]]
        blocks.append(first)
    for l in range(2, l_max + 1):
        table, scale = (jnp.asarray(t, rotation.dtype) for t in _recursion_table(l))
        last = blocks[-1]
        low, middle, high = (first[:, k, None, None] for k in range(3))
        left, right = last[None, :, :1], last[None, :, -1:]
        p = jnp.concatenate([high * left + low * right, middle * last[None], high * right - low * left], axis=-1)
        blocks.append(einsum("imk,ikn->mn", table, p) * scale[None, :])
    return tuple(blocks)


def random_rotation(key: jax.typing.ArrayLike, *, improper: bool = False) -> jax.Array:
    """A rotation matrix drawn uniformly (Haar measure) from SO(3), or from O(3).

    Args:
      key: a JAX random key.
      improper: True multiplies by −1 with probability ½.

    Returns:
      An orthogonal matrix, shape [3, 3], no unit.

    Example:
      >>> rotation = random_rotation(jax.random.key(0))
      >>> bool(jnp.allclose(rotation @ rotation.T, jnp.eye(3), atol=1e-6)), round(float(jnp.linalg.det(rotation)), 4)
      (True, 1.0)

    References:
      Shoemake, "Uniform random rotations", Graphics Gems III, 124 (1992).
    """
    quaternion_key, sign_key = jax.random.split(key)
    quaternion = jax.random.normal(quaternion_key, (4,))
    w, x, y, z = quaternion / jnp.sqrt(jnp.sum(quaternion * quaternion))
    rotation = jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return rotation * jax.random.rademacher(sign_key, (), rotation.dtype) if improper else rotation


def rotate_coefficients(coefficients: jax.Array, rotation: jax.Array, l_max: int) -> jax.Array:
    r"""Coefficients of an expansion in spherical harmonics after the atoms were rotated by R.

    .. math:: c'_{lm} = \sum_{m'} D^l_{mm'}(R)\, c_{lm'}

    Args:
      coefficients: c, shape [..., L] with L = (l_max + 1)², in any unit.
      rotation: R, proper or improper, acting on column vectors, shape [3, 3], no unit.
      l_max: highest degree, included.

    Returns:
      c', shape [..., L], in the unit of c.

    Raises:
      ValueError: if the last axis is not (l_max + 1)², `rotation` is not [3, 3], or l_max is not an integer ≥ 0.

    Example:
      >>> half_turn = jnp.diag(jnp.array([-1.0, -1.0, 1.0]))
      >>> rotate_coefficients(jnp.array([1.0, 2.0, 3.0, 4.0]), half_turn, l_max=1).tolist()
      [1.0, -2.0, 3.0, -4.0]
    """
    l_max = check_degree(l_max)
    if np.ndim(coefficients) == 0 or np.shape(coefficients)[-1] != (l_max + 1) ** 2:
        raise ValueError(
            f"rotate_coefficients: the last axis must have (l_max + 1)² = {(l_max + 1) ** 2} entries for l_max = {l_max}, "
            f"got shape {list(np.shape(coefficients))}"
        )
    coefficients, blocks = jnp.asarray(coefficients), wigner_d(rotation, l_max)
    parts = [einsum("mn,...n->...m", d, coefficients[..., l * l : (l + 1) ** 2]) for l, d in enumerate(blocks)]
    return jnp.concatenate(parts, axis=-1)
