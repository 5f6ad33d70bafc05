"""Kernels between whole structures: three ways to match the atoms of one with those of another.

Every way is a transport plan P, how much of atom i of A goes to atom j of B, and the kernel is Σ P C over the similarities C.
Derivatives of a plan come from its optimality conditions, never from unrolled iterations: the plan of `REMatch` does not make
Σ P C stationary (its objective also holds an entropy), so the derivative of P itself counts.
"""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.trees import positive, pytree

Array = jax.Array

_REPLICAS = 256  # atoms per replicated structure up to which an assignment is faster than the linear program it equals
_ALIKE, _ROUND_OFF = 1e-8, 32  # of the largest similarity, and in units of eps: a pair that is worse by less is as good
_EXACT = 1e-13  # relative error of the marginals of a plan that is shared
_STEPS = 400  # Newton steps; from 3 at large gamma to about 60 at 1e-6 times the range of C
_FLOOR = 16  # round-off of the marginals, in units of eps (1 + range of C / gamma)
_LEVEL = 0.05  # error of the marginals at which gamma is halved on its way down


class Matching(Interface):
    """Interface: (C [N, M], rows [N], columns [M]) -> [].

    `rows` and `columns` say which atoms are real; what padding holds does not matter. The value is 0 if a structure has no atoms.
    """

    @abc.abstractmethod
    def plan(self, similarity: Array, rows: Array, columns: Array) -> Array:
        """Weights P ≥ 0, [N, M], that sum to 1/N over each real row and to 1/M over each real column; 0 on padding."""

    def __call__(self, similarity: Array, rows: Array, columns: Array) -> Array:
        """The kernel Σ_ij P_ij C_ij, shape [].

        Args:
          similarity: C between atoms, dimensionless, shape [N, M].
          rows: whether an atom of the first structure is real, shape [N].
          columns: likewise of the second, shape [M].
        """
        similarity = jnp.asarray(similarity)
        if similarity.ndim != 2 or (np.shape(rows), np.shape(columns)) != ((similarity.shape[0],), (similarity.shape[1],)):
            raise ValueError(
                f"expected similarities [N, M] and masks [N] and [M], got {similarity.shape}, {np.shape(rows)} and {np.shape(columns)}; "
                "write jax.vmap for a batch"
            )
        rows, columns = jnp.asarray(rows, bool), jnp.asarray(columns, bool)
        similarity = jnp.where(rows[:, None] & columns[None, :], similarity, 0)
        return jnp.sum(self.plan(similarity, rows, columns) * similarity)


def _shares(mask: Array, dtype) -> Array:
    """1/N for each of N real atoms, 0 for padding."""
    return mask.astype(dtype) / jnp.maximum(jnp.sum(mask), 1).astype(dtype)


@pytree
class Average(Matching):
    r"""Every atom with every atom alike, :math:`\bar K = \frac{1}{NM} \sum_{ij} C_{ij}`.

    For a linear kernel it is the dot product of mean features.

    Example:
      >>> float(Average()(jnp.array([[1.0, 0.5], [0.0, 0.5]]), jnp.ones(2, bool), jnp.ones(2, bool)))
      0.5

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016).
    """

    def plan(self, similarity: Array, rows: Array, columns: Array) -> Array:
        return _shares(rows, similarity.dtype)[:, None] * _shares(columns, similarity.dtype)[None, :]


@pytree
class BestMatch(Matching):
    r"""The permutation that makes the atoms most alike.

    .. math:: \hat K = \frac1N \max_\pi \sum_i C_{i \pi(i)}

    Structures of different size are repeated up to the least common multiple of N and M. The assignment is solved on the host;
    derivatives flow through the chosen pairs. They jump where two assignments are equally good, so energies have kinks there and
    second derivatives miss them; `REMatch` has none. Of assignments that are equally good, within 10⁻⁸ of the largest similarity
    (32 eps in single precision), the plan is the mixture of largest entropy: symmetric structures get symmetric derivatives, and
    neither order, translation nor repetition of a structure changes them. Not positive definite in general; a larger jitter makes
    K_MM so.

    Example:
      >>> float(BestMatch()(jnp.array([[0.2, 1.0], [0.5, 0.1]]), jnp.ones(2, bool), jnp.ones(2, bool)))
      0.75

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016).
    """

    def plan(self, similarity: Array, rows: Array, columns: Array) -> Array:
        return _best_plan(similarity, rows, columns)


@jax.custom_jvp
def _best_plan(similarity: Array, rows: Array, columns: Array) -> Array:
    shape = jax.ShapeDtypeStruct(similarity.shape, similarity.dtype)
    return jax.pure_callback(_assign, shape, similarity, rows, columns, vmap_method="broadcast_all")


@_best_plan.defjvp
def _best_plan_jvp(primals, tangents):
    plan = _best_plan(*primals)  # constant between ties
    return plan, jnp.zeros_like(plan)


def _assign(similarity, rows, columns) -> np.ndarray:
    """Optimal plans [..., N, M] on the host; NaN where similarities are not finite."""
    similarity, rows, columns = np.asarray(similarity), np.asarray(rows), np.asarray(columns)
    plans = np.zeros(similarity.shape, similarity.dtype)
    tolerance = max(_ALIKE, _ROUND_OFF * float(np.finfo(similarity.dtype).eps))
    for at in np.ndindex(similarity.shape[:-2]):
        real = np.ix_(rows[at], columns[at])
        if rows[at].any() and columns[at].any():
            plans[at][real] = _best(np.asarray(similarity[at][real], np.float64), tolerance)
    return plans


def _best(similarity: np.ndarray, tolerance: float) -> np.ndarray:
    if not np.all(np.isfinite(similarity)):
        return np.full(similarity.shape, np.nan)
    n, m = similarity.shape
    total = math.lcm(n, m)
    if total > _REPLICAS and n != m:
        plan = _transport(similarity, total // n, total // m) / total
    else:
        plan = _assignment(similarity, total // n, total // m) / total
    return _shared(plan, similarity, tolerance * np.max(np.abs(similarity)))


def _shared(plan: np.ndarray, similarity: np.ndarray, tolerance: float) -> np.ndarray:
    """Of all optimal plans the one of largest entropy, which depends neither on the order of atoms nor on round-off.

    A pair belongs to some optimal plan if it does in this one, or if its reduced cost is zero and a cycle of such pairs and of
    pairs in this plan leads through it. These pairs and the marginals determine the plan of largest entropy.
    """
    (n, m), used, row = plan.shape, plan > 0, np.zeros(len(plan))
    for _ in range(n + m):  # potentials are lengths of shortest paths
        column = np.min(row[:, None] - similarity, axis=0)
        nearer = np.minimum(row, np.min(np.where(used, column + similarity, np.inf), axis=1))
        if np.max(row - nearer) <= 1e-3 * tolerance:
            break
        row = nearer
    equal = row[:, None] - similarity - column <= tolerance
    if n == m and not np.any(equal & ~used):
        return plan
    to = _connected(_product(equal, used.T))
    pairs = used | (equal & _product(to & to.T, used))
    together = _connected(_product(pairs, pairs.T))
    n_parts = np.sum(1 / np.sum(together, axis=1))
    if np.sum(pairs) < n + m - n_parts + 0.5:  # no cycle: the only plan
        return plan
    return _scaled(pairs, together)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.float32) @ b.astype(np.float32) > 0


def _connected(links: np.ndarray) -> np.ndarray:
    """Whether a path leads from one to the other."""
    links = links | np.eye(len(links), dtype=bool)
    while not np.array_equal(longer := _product(links, links), links):
        links = longer
    return links


def _scaled(pairs: np.ndarray, together: np.ndarray) -> np.ndarray:
    """The plan on these pairs that factorises into a number for each row and one for each column; NaN if it is not found."""
    (n, m), potential = pairs.shape, np.zeros(len(pairs))
    for _ in range(_STEPS):
        logarithm = np.where(pairs, potential[:, None], -np.inf)
        plan = np.exp(logarithm - np.max(logarithm, axis=0))
        plan /= m * np.sum(plan, axis=0)
        missing = 1 / n - np.sum(plan, axis=1)
        if n * np.max(np.abs(missing)) < _EXACT:
            return plan
        # a constant in each connected part changes nothing
        laplacian = np.diag(np.sum(plan, axis=1)) - m * plan @ plan.T + together / n**2
        newton = np.linalg.solve(laplacian, missing)
        potential = potential + newton * np.log1p(reach) / reach if (reach := np.ptp(newton)) > 0 else potential + newton
    return np.full(pairs.shape, np.nan)


def _assignment(similarity: np.ndarray, copies: int, others: int) -> np.ndarray:
    """How many copies of i go to copies of j."""
    from scipy.optimize import linear_sum_assignment

    i, j = linear_sum_assignment(np.repeat(np.repeat(similarity, copies, axis=0), others, axis=1), maximize=True)
    counts = np.zeros(similarity.shape)
    np.add.at(counts, (i // copies, j // others), 1)
    return counts


def _transport(similarity: np.ndarray, copies: int, others: int) -> np.ndarray:
    """The same by a linear program between the atoms themselves: it has the same optimum, for its corners are integers."""
    from scipy.optimize import linprog
    from scipy.sparse import eye, kron, vstack

    n, m = similarity.shape
    sums = vstack([kron(eye(n), np.ones((1, m))), kron(np.ones((1, n)), eye(m))]).tocsr()
    found = linprog(-similarity.ravel(), A_eq=sums, b_eq=np.repeat([copies, others], [n, m]), method="highs-ds")
    return np.round(found.x).reshape(n, m) if found.status == 0 else np.full((n, m), np.nan)


@pytree
class REMatch(Matching):
    r"""The best match, regularised by the entropy of the plan: smooth everywhere.

    .. math:: \hat K^\gamma = \sum_{ij} P_{ij} C_{ij}, \qquad
       P = \arg\min_P \sum_{ij} P_{ij} (1 - C_{ij}) + \gamma \sum_{ij} P_{ij} \ln P_{ij}

    with rows that sum to 1/N and columns that sum to 1/M. γ → 0 is `BestMatch`, γ → ∞ is `Average`. The plan is
    exp((C_ij + F_i + G_j)/γ); F is found by Newton's method on the concave dual, with G eliminated, on the scale of logarithms,
    while γ comes down to its value from the range of C. NaN if that does not converge. Derivatives of every order, by C and by γ,
    are those of the optimality conditions.

    Args:
      gamma: γ, dimensionless like C.

    Example:
      >>> C, real = jnp.array([[0.2, 1.0], [0.5, 0.1]]), jnp.ones(2, bool)
      >>> [round(float(REMatch(gamma)(C, real, real)), 6) for gamma in (0.01, 0.5, 100.0)]
      [0.75, 0.611115, 0.4509]

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016). Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport",
      Adv. Neural Inf. Process. Syst. 26 (2013). Sun, Tran-Dinh, "Generalized self-concordant functions: a recipe for Newton-type
      methods", Math. Program. 178, 145 (2019), for the length of the Newton steps.
    """

    gamma: Leaf = positive()

    def plan(self, similarity: Array, rows: Array, columns: Array) -> Array:
        gamma = jnp.asarray(self.gamma, similarity.dtype)
        if similarity.shape[0] > similarity.shape[1]:  # the linear systems are those of the rows
            return _entropic_plan(similarity.T, gamma, columns, rows).T
        return _entropic_plan(similarity, gamma, rows, columns)


@jax.custom_jvp
def _entropic_plan(similarity: Array, gamma: Array, rows: Array, columns: Array) -> Array:
    dtype, real = similarity.dtype, rows[:, None] & columns[None, :]
    share = _shares(rows, dtype)
    top = jnp.where(jnp.any(real), jnp.max(similarity, where=real, initial=-jnp.inf), 0)
    similarity = jnp.where(real, similarity - top, 0)  # a constant changes no plan; without it only the spread of C meets 1/gamma
    spread = -jnp.min(similarity)
    eps = float(jnp.finfo(dtype).eps)
    tolerance = jnp.minimum(_FLOOR * eps * (1 + spread / gamma), math.sqrt(eps))

    def step(state):
        potential, level, _, count = state
        plan = _column_plan((similarity + potential[:, None]) / level, rows, columns)
        missing = share - jnp.sum(plan, axis=1)
        newton = jnp.linalg.solve(_laplacian(plan, rows, columns), missing)
        reach = jnp.max(newton, where=rows, initial=-jnp.inf) - jnp.min(newton, where=rows, initial=jnp.inf)
        reach = jnp.where(reach > 0, reach, 0)
        damped = jnp.where(reach > 0, jnp.log1p(reach) / jnp.where(reach > 0, reach, 1), 1)
        error = jnp.sum(jnp.abs(missing))
        descend = ~(error > _LEVEL) & (level > gamma)
        # an error that belongs to a higher level must not end the loop
        return (
            potential + level * damped * newton,
            jnp.where(descend, jnp.maximum(level / 2, gamma), level),
            jnp.where(level > gamma, jnp.inf, error),
            count + 1,
        )

    def unfinished(state):
        _, _, error, count = state
        return (error > tolerance) & (count < _STEPS)

    start = (jnp.zeros_like(share), jnp.maximum(spread, gamma), jnp.asarray(jnp.inf, dtype), 0)
    potential, _, error, _ = jax.lax.while_loop(unfinished, step, start)
    plan = _column_plan((similarity + potential[:, None]) / gamma, rows, columns)
    return poison(plan, ~(error <= tolerance))


def _column_plan(logarithm: Array, rows: Array, columns: Array) -> Array:
    """exp(logarithm + G_j) with G such that columns sum to 1/M."""
    top = jnp.max(logarithm, axis=0, where=rows[:, None], initial=-jnp.inf)
    weights = jnp.where(rows[:, None], jnp.exp(logarithm - jnp.where(jnp.any(rows), top, 0)[None, :]), 0)
    return _shares(columns, logarithm.dtype)[None, :] * weights / jnp.where(jnp.any(rows), jnp.sum(weights, axis=0), 1)[None, :]


def _laplacian(plan: Array, rows: Array, columns: Array) -> Array:
    """What a change of the rows' potentials does to the rows' sums, shape [N, N], with the constant mode fixed.

    The diagonal is the sum of the others, not a difference of sums, so that links between blocks of a nearly decided plan keep
    their digits; below round-off they are cut, where they no longer change the plan.
    """
    n, m = plan.shape[0], jnp.sum(columns).astype(plan.dtype)
    n_real = jnp.maximum(jnp.sum(rows), 1).astype(plan.dtype)
    links = jnp.where(jnp.eye(n, dtype=bool), 0, m * einsum("ij,kj->ik", plan, plan))
    constant = _shares(rows, plan.dtype)
    floor = 16 * float(jnp.finfo(plan.dtype).eps) / n_real
    diagonal = jnp.sum(links, axis=1) + jnp.where(rows, floor, 1)
    return jnp.diag(diagonal) - links + constant[:, None] * constant[None, :]


@_entropic_plan.defjvp
def _entropic_plan_jvp(primals, tangents):
    similarity, gamma, rows, columns = primals
    plan = _entropic_plan(similarity, gamma, rows, columns)
    change = tangents[0] / gamma - similarity * (tangents[1] / gamma**2)  # of the logarithm of P, before the potentials follow
    m = jnp.sum(columns).astype(plan.dtype)
    change = change - m * jnp.sum(plan * change, axis=0)[None, :]
    potential = jnp.linalg.solve(_laplacian(plan, rows, columns), -jnp.sum(plan * change, axis=1))
    follow = potential[:, None] - m * einsum("ij,i->j", plan, potential)[None, :]
    return plan, plan * (change + follow)
