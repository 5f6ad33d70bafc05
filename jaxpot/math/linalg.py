"""Linear algebra: a pinned einsum, norms with finite gradients, log-determinants, a large Cholesky, and the streaming QR of a fit."""

import jax
import jax.numpy as jnp
import numpy as np


def einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """`jnp.einsum` in full precision; accelerators otherwise round products to TF32 or bfloat16.

    Example:
      >>> float(einsum("i,i->", jnp.ones(3), jnp.ones(3)))
      3.0
    """
    return jnp.einsum(subscripts, *operands, precision="highest")


@jax.custom_jvp
def transposed_product(x: jax.Array, y: jax.Array) -> jax.Array:
    """xᵀy of x [K, A] and y [K, B], shape [A, B]. XLA's CPU has slow code, of one thread, for a first factor that is transposed within the
    product; there it is transposed before. Those of the gradient are of the fast kinds, AB and ABᵀ.
    """
    if jax.default_backend() != "cpu":
        return einsum("ka,kb->ab", x, y)
    return einsum("ak,kb->ab", jax.lax.optimization_barrier(x.T), y)


@transposed_product.defjvp
def _transposed_product_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return transposed_product(x, y), einsum("ka,kb->ab", dx, y) + einsum("ka,kb->ab", x, dy)


def safe_norm(x: jax.Array, axis: int = -1) -> jax.Array:
    """Euclidean norm along an axis, with gradient 0 (not NaN) at x = 0."""
    square = jnp.sum(x * x, axis=axis)
    is_zero = square == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))


def unit(x: jax.Array) -> jax.Array:
    """x / |x| for a vector x, and 0 with gradient 0 at x = 0."""
    square = jnp.sum(x * x)
    is_zero = square == 0
    return jnp.where(is_zero, 0, x / jnp.sqrt(jnp.where(is_zero, 1, square)))


def log_determinant(triangle: jax.Array) -> jax.Array:
    """log|A| of A = L Lᵀ (or RᵀR) from its triangular factor, shape [P, P]."""
    return 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(triangle))))


def cholesky_in_place(a: np.ndarray, block: int = 1024) -> None:
    """Puts the lower Cholesky factor of a symmetric matrix [n, n] in its place, block by block; what is above the diagonal is left undefined.

    LAPACK's own routine in OpenBLAS 0.3.30, SciPy's, is killed by a segmentation fault with two threads from about 16 000 rows on.

    Args:
      a: the matrix, shape [n, n], float64; only its lower triangle matters.
      block: columns factorised at once; a copy of n times as many numbers is held beside the matrix.

    Raises:
      numpy.linalg.LinAlgError: if the matrix is not positive definite.

    Example:
      >>> a = np.array([[4.0, 2.0], [2.0, 5.0]])
      >>> cholesky_in_place(a)
      >>> np.tril(a).tolist()
      [[2.0, 0.0], [1.0, 2.0]]
    """
    from scipy.linalg import solve_triangular

    n = len(a)
    for start in range(0, n, block):
        stop = min(start + block, n)
        a[start:stop, start:stop] = np.linalg.cholesky(a[start:stop, start:stop])
        a[stop:, start:stop] = solve_triangular(a[start:stop, start:stop], a[stop:, start:stop].T, lower=True, check_finite=False).T
        for left in range(stop, n, block):
            right = min(left + block, n)
            a[left:, left:right] -= a[left:, start:stop] @ a[left:right, start:stop].T


class StreamingQR:
    """The triangle of A = QR for a matrix whose rows come in blocks and are never held together.

    The right-hand side rides along as a last column, so `solve` gives the least-squares solution and nothing larger than
    a block plus one [P + 1, P + 1] triangle is in memory. The condition number is that of A, not its square.

    Args:
      n_columns: P, the number of columns of A.
      block: rows gathered before a factorisation; None chooses P, which keeps the cost within twice that of one large QR, or more where that is
        less than 16 MiB.

    Example:
      >>> qr = StreamingQR(2)
      >>> qr.add(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), np.array([3.0, 4.0, 1.0]))
      >>> qr.solve().round(12).tolist(), float(qr.residual_square())
      ([3.0, 2.0], 1.0)
    """

    def __init__(self, n_columns: int, block: int | None = None):
        self.n_columns = n_columns
        self._block = block or max(n_columns, 2**21 // (n_columns + 1))
        self._triangle = np.zeros((0, n_columns + 1))
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._residual_square = 0.0

    def add(self, rows: np.ndarray, right_hand_side: np.ndarray) -> None:
        """Appends rows [n, P] and their right-hand side [n]."""
        self._waiting.append(np.concatenate([rows, right_hand_side[:, None]], axis=1))
        self._n_waiting += len(rows)
        if self._n_waiting >= self._block:
            self._factorise()

    def _factorise(self) -> None:
        stacked = np.concatenate([self._triangle, *self._waiting])
        self._waiting, self._n_waiting = [], 0
        triangle = np.linalg.qr(stacked, mode="r")
        if len(triangle) > self.n_columns:  # the last row holds only |component of y outside the column space|
            self._residual_square += float(triangle[self.n_columns, self.n_columns] ** 2)
            triangle = triangle[: self.n_columns]
        self._triangle = triangle

    def triangle(self) -> tuple[np.ndarray, np.ndarray]:
        """R [P, P] and Qᵀy [P] of all rows so far.

        Raises:
          ValueError: if there were fewer rows than columns.
        """
        if self._n_waiting:
            self._factorise()
        if len(self._triangle) < self.n_columns:
            raise ValueError(f"{len(self._triangle)} independent rows for {self.n_columns} columns; add the prior's rows")
        return self._triangle[:, :-1], self._triangle[:, -1]

    def residual_square(self) -> float:
        """|y − A w|² of the least-squares solution."""
        self.triangle()
        return self._residual_square

    def solve(self) -> np.ndarray:
        """The w [P] that minimises |A w − y|²."""
        from scipy.linalg import solve_triangular

        triangle, projected = self.triangle()
        return solve_triangular(triangle, projected)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on later."""
        if self._n_waiting:
            self._factorise()
        return {"triangle": self._triangle, "residual_square": np.array(self._residual_square)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from `state()`."""
        self._triangle, self._residual_square = state["triangle"], float(state["residual_square"])
