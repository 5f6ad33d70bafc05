"""The solver of every linear model: rows are streamed, never held together."""

import hashlib
import itertools
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Batch, Dataset
from jaxpot.fit.design_matrix import design, linear_terms, require_linear
from jaxpot.fit.evidence import prior_root
from jaxpot.fit.kernel import solve_references
from jaxpot.fit.lacking import warn_of_constants
from jaxpot.fit.rows import check_labels, comparable, explain, first, fixed_part, flat, kinds, predicted, residuals
from jaxpot.math.linalg import StreamingQR
from jaxpot.passes import condense, freeze
from jaxpot.potentials.base import Model, evaluate, with_terms
from jaxpot.potentials.combinations import with_seen

M = TypeVar("M")
Array = jax.Array

_SAVE_EVERY = 30.0  # seconds between checkpoints
_GATHERED = 256  # rows per update of a Gram matrix: the few of one tensor would move [P, P] through memory for next to no work


def linear(
    model: M,
    data: Dataset | Iterable[Any],
    *,
    sigma: Any = None,
    keys: Mapping[str, str] | None = None,
    method: str = "qr",
    checkpoint: str | os.PathLike | None = None,
    progress: bool | None = None,
    **others: Any,
) -> M:
    r"""Fits the coefficients of all linear terms to energies, forces and virials together, or those of a model of tensors.

    .. math:: w = \arg\min_w |\Sigma^{-1/2}(A w - y)|^2 + w^T \Lambda w

    Args:
      model: a linear model, or a Sum; fixed terms are subtracted from the data first. Or a Dipole, Polarizability or Tensor, which
        is fitted to the labels of its property.
      data: labels and their noise levels; or frames, with `sigma`.
      sigma, keys: with frames, as of `Dataset.from_atoms`.
      method: "qr" streams rows into one [P, P] triangle (condition κ); "cholesky" accumulates AᵀΣ⁻¹A in the prior's
        coordinates (κ², two to three times faster); "lsqr" forms no rows and needs memory for a few vectors only. "kernel" is for a
        GradientDomain whose references are the data: forces make its coefficients by one factorisation of K + Σ, energies its constant alone.
      checkpoint: a file in which the state is kept while the fit runs ("qr" and "cholesky"); a fit that was killed goes on
        from it when called again with the same model and data. Removed at the end.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Returns:
      The fitted model; sparse points are frozen to their features. `fit.posterior` fits it in the same way, and keeps what is uncertain.

    Raises:
      RuntimeError: without float64.
      TypeError: if no term is linear.
      ValueError: for an unknown method, a structure for which the model gives NaN (with `diagnose`'s reason), a prior that is
        not positive definite, a checkpoint of another fit, or data without the model's labels or with labels of another rank or
        symmetry.
    """
    if "covariance" in others:
        raise TypeError("fit.linear keeps no covariance; write posterior = jaxpot.fit.posterior(model, data), whose posterior.model is the fitted model")
    if others:
        raise TypeError(f"fit.linear has no argument {', '.join(others)}; it has sigma, keys, method, checkpoint and progress")
    require_x64("fit.linear")
    if method not in ("qr", "cholesky", "lsqr", "kernel"):
        raise ValueError(f'method must be "qr", "cholesky" or "lsqr", or "kernel" for a GradientDomain, got {method!r}')
    require_linear(model)
    data = Dataset.of(model, data, sigma=sigma, keys=keys, name="fit.linear", labelled=True)
    check_labels(model, data)
    warn_of_constants(model, data)
    if method in ("lsqr", "kernel") and checkpoint is not None:
        raise ValueError(f'method="{method}" has no checkpoint; use method="qr"')
    if method == "kernel":
        return freeze(with_coefficients(model, jnp.asarray(solve_references(model, data, _bar(data, progress, "fit")))))
    if method == "lsqr":
        model_at = ready(model)
        fitted = freeze(with_coefficients(model, jnp.asarray(_lsqr(model_at, data, require_root(model_at), progress))))
        return with_seen(fitted, (batch.graphs for batch in data.batches))
    solver = accumulate(model, data, method, checkpoint, progress)
    fitted = freeze(with_coefficients(model, jnp.asarray(solver.solve())))
    forget(checkpoint)
    return with_seen(fitted, (batch.graphs for batch in data.batches))


def accumulate(model: Model, data: Dataset, method: str, checkpoint: str | os.PathLike | None, progress: bool | None):
    """The solver, "qr", "cholesky" or "levels", that has seen the rows of all structures."""
    model_at = ready(model)
    solver = _SOLVERS[method](require_root(model_at))
    path, done = None if checkpoint is None else Path(checkpoint), 0
    mark = "" if path is None else fingerprint(model, data, method)
    if path is not None and path.exists():
        done = _restore(solver, path, mark)
    saved = time.monotonic()
    for rows in weighted_rows(model_at, data, progress, skip=done):
        solver.add(rows)
        done += 1
        if path is not None and time.monotonic() - saved > _SAVE_EVERY:
            _store(solver, path, mark, done)
            saved = time.monotonic()
    return solver


def require_root(model: Model) -> np.ndarray:
    """The lower Cholesky factor of the prior precision of a condensed model, shape [P, P].

    Raises:
      ValueError: if it is not positive definite.
    """
    root = np.asarray(_root(model))
    if not np.all(np.isfinite(root)):
        raise ValueError(
            "the prior is not positive definite: sparse points are too alike for the jitter (or the matching of a StructureGP gives no "
            "positive kernel, or the zeta of a PolynomialKernel is not a whole number); raise it, for example SparseGP(kernel, jitter=1e-6), or take "
            "fewer sparse points"
        )
    return root


class Rows(NamedTuple):
    """Rows of one structure, divided by noise levels.

    Args:
      a: of the design matrix, shape [n, P].
      y: right-hand sides, shape [n].
      weight: inverse noise levels, shape [n].
      kinds: of what they are, [n] names.
    """

    a: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    kinds: np.ndarray


class _Triangle:
    """QR of the weighted rows, with the prior's rows appended at the end."""

    def __init__(self, root: np.ndarray):
        self.root, self._qr = root, StreamingQR(len(root))

    def add(self, rows: Rows):
        self._qr.add(rows.a, rows.y)

    def solve(self) -> np.ndarray:
        self._qr.add(self.root.T, np.zeros(len(self.root)))
        return self._qr.solve()

    def factor(self) -> np.ndarray:
        """C of the posterior covariance C Cᵀ, after `solve`."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self._qr.triangle()[0], np.eye(len(self.root)))

    def state(self) -> dict[str, np.ndarray]:
        return self._qr.state()

    def restore(self, state):
        self._qr.restore(state)


class _Gram:
    """AᵀΣ⁻¹A with rows divided by the prior's root, so that what is factorised has no eigenvalue below one."""

    def __init__(self, root: np.ndarray, axis: np.ndarray | None = None):
        p = len(root)
        self.root, self._axis, self._gram, self._projected = root, axis, np.zeros((p, p)), np.zeros(p)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._is_diagonal = np.count_nonzero(root) == np.count_nonzero(np.diagonal(root))

    def add(self, rows: Rows):
        self._waiting.append((rows.a, rows.y))
        if sum(len(y) for _, y in self._waiting) >= _GATHERED:
            self._accumulate()

    def _accumulate(self):
        from scipy.linalg import solve_triangular

        if self._waiting:
            rows, y = (np.concatenate(x) for x in zip(*self._waiting, strict=True))
            self._waiting = []
            # most priors are diagonal, and then division does what would cost as much as the product
            white = rows.T / np.diagonal(self.root)[:, None] if self._is_diagonal else solve_triangular(self.root, rows.T, lower=True)
            white = white if self._axis is None else reflected(white, self._axis)
            self._gram += white @ white.T
            self._projected += white @ y

    def solve(self) -> np.ndarray:
        from scipy.linalg import cho_factor, cho_solve, solve_triangular

        self._accumulate()
        self._triangle = cho_factor(np.eye(len(self._gram)) + self._gram)
        return solve_triangular(self.root.T, cho_solve(self._triangle, self._projected))

    def factor(self) -> np.ndarray:
        """C of the posterior covariance C Cᵀ, after `solve`."""
        from scipy.linalg import solve_triangular

        inverse = solve_triangular(np.triu(self._triangle[0]), np.eye(len(self.root)))  # U⁻¹, where UᵀU = I + gram
        return solve_triangular(self.root.T, inverse)

    def state(self):
        self._accumulate()
        return {"gram": self._gram, "projected": self._projected}

    def restore(self, state):
        self._gram, self._projected = state["gram"], state["projected"]


def reflected(x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Vectors in columns, [P] or [P, n], by Householder's reflection H = 1 − 2vvᵀ about the plane normal to a unit vector v [P]."""
    return x - 2 * np.multiply.outer(axis, axis @ x)


class Grams:
    """AᵀΣ⁻¹A as _Gram has it, one for every kind of label, with what the evidence needs beside.

    Energies of structures of one composition are nearly the same combination of coefficients, far larger than how they differ, and a sum of squares in
    which both stand in every entry rounds the latter away. A reflection turns the first label's row onto the first coordinate, and leaves the others
    what is small. `axis` is its v.
    """

    def __init__(self, root: np.ndarray):
        self.root, self._parts, self._log_weights, self._squares, self._counts = root, {}, {}, {}, {}
        self.axis = np.zeros(len(root))

    def add(self, rows: Rows):
        from scipy.linalg import solve_triangular

        if not self._parts and len(rows.y):
            axis = solve_triangular(self.root, rows.a[0], lower=True)
            axis[0] += np.copysign(np.linalg.norm(axis), axis[0])
            self.axis = axis / (np.linalg.norm(axis) or 1.0)
        for kind in dict.fromkeys(rows.kinds.tolist()):
            own = rows.kinds == kind
            self._parts.setdefault(kind, _Gram(self.root, self.axis)).add(rows._replace(a=rows.a[own], y=rows.y[own]))
            for sums, value in ((self._log_weights, np.log(rows.weight[own])), (self._squares, rows.y[own] ** 2), (self._counts, np.ones(np.sum(own)))):
                sums[kind] = sums.get(kind, 0.0) + float(np.sum(value))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def sums(self) -> tuple[np.ndarray, ...]:
        """For every kind HL⁻¹AᵀΣ⁻¹AL⁻ᵀH [K, P, P], HL⁻¹AᵀΣ⁻¹y [K, P], yᵀΣ⁻¹y, the number of labels and log|Σ|, [K] each."""
        found = [part.state() for part in self._parts.values()]
        numbers = (np.array([sums[kind] for kind in self.kinds]) for sums in (self._squares, self._counts, self._log_weights))
        squares, counts, logs = numbers
        return np.array([one["gram"] for one in found]), np.array([one["projected"] for one in found]), squares, counts, -2 * logs

    def state(self):
        grams, projected, squares, counts, logs = self.sums()
        numbers = {"squares": squares, "counts": counts, "log_weights": -0.5 * logs}
        return {"kinds": np.array(self.kinds, str), "axis": self.axis, "gram": grams, "projected": projected} | numbers

    def restore(self, state):
        self.axis = state["axis"]
        for i, kind in enumerate(map(str, state["kinds"])):
            self._parts[kind] = _Gram(self.root, self.axis)
            self._parts[kind].restore({name: state[name][i] for name in ("gram", "projected")})
            for sums, name in ((self._squares, "squares"), (self._counts, "counts"), (self._log_weights, "log_weights")):
                sums[kind] = float(state[name][i])


_SOLVERS = {"qr": _Triangle, "cholesky": _Gram, "levels": Grams}
ready = jax.jit(condense)  # once per fit, not once per structure
_root = jax.jit(prior_root)


@jax.jit
def _weighted_rows(model: Model, data: Batch) -> tuple[Array, Array, Array]:
    rows = design(model, data.graphs)
    data = comparable(data, rows, model)
    y, weight = residuals(fixed_part(model, linear_terms(model)), data, model)
    rows = flat(rows, data.sigma, model)
    return jnp.where((weight > 0)[:, None], rows, 0) * weight[:, None], y * weight, weight


def weighted_rows(model: Model, data: Dataset, progress: bool | None, skip: int = 0) -> Iterator[Rows]:
    """Rows of one structure after another; the next one is computed while one is used."""
    waiting, given = None, predicted(model, first(data), design)
    for item in itertools.chain(itertools.islice(_bar(data, progress, "fit"), skip, None), [None]):
        ready = None if item is None else (*item, _weighted_rows(model, item[1]))  # asynchronous
        if waiting is not None:
            frame, structure, found = waiting
            present = np.asarray(found[2]) > 0
            rows = Rows(*(np.asarray(x)[present] for x in (*found, kinds(structure.sigma, given, model))))
            if not (np.all(np.isfinite(rows.a)) and np.all(np.isfinite(rows.y))):
                raise ValueError(explain(model, structure, frame))
            yield rows
        waiting = ready


def _bar(data: Dataset, progress: bool | None, what: str):
    from tqdm import tqdm

    return tqdm(data.structures(), total=len(data), desc=what, unit="structure", disable=None if progress is None else not progress)


def with_coefficients(model: Model, w: Array) -> Model:
    """The model with coefficients w [P] of all its linear terms in order."""
    require_linear(model)
    return model.with_coefficients(w)


# --- matrix-free -----------------------------------------------------------------------------------------------------------


def _lsqr(model: Model, data: Dataset, root: np.ndarray, progress: bool | None) -> np.ndarray:
    """LSQR in the prior's coordinates: evaluating the model is A w, its transpose is Aᵀ y."""
    from scipy.linalg import solve_triangular
    from scipy.sparse.linalg import LinearOperator, lsqr
    from tqdm import tqdm

    structures = [(frame, _with_rows(model, structure)) for frame, structure in data.structures()]
    weights, targets = [], []
    for frame, structure in structures:
        y, weight = (np.asarray(x) for x in _targets(model, structure))
        if not np.all(np.isfinite(y)):
            raise ValueError(explain(model, structure, frame))
        targets.append(y * weight)
        weights.append(weight)
    edges = np.cumsum([0, *(len(y) for y in targets)])
    bar = tqdm(desc="lsqr", unit="product", disable=None if progress is None else not progress)

    def forward(u):
        bar.update()
        w = jnp.asarray(solve_triangular(root.T, u.reshape(-1)))
        return np.concatenate([np.asarray(_times(model, w, s)) * weight for (_, s), weight in zip(structures, weights, strict=True)])

    def backward(v):
        bar.update()
        total = np.zeros(len(root))
        for (_, structure), weight, a, b in zip(structures, weights, edges, edges[1:], strict=False):
            total += np.asarray(_transposed(model, jnp.asarray(v[a:b] * weight), structure))
        return solve_triangular(root, total, lower=True)

    operator = LinearOperator((edges[-1], len(root)), matvec=forward, rmatvec=backward, dtype=float)
    u, reason, iterations, *_ = lsqr(operator, np.concatenate(targets), damp=1.0, atol=1e-14, btol=1e-14, conlim=0, iter_lim=20 * len(root))
    bar.close()
    if not np.all(np.isfinite(u)):
        raise ValueError("; ".join(explain(model, s, f) for f, s in structures[:1]))
    if reason == 7:
        raise RuntimeError(f'lsqr did not converge in {iterations} iterations; use method="qr"')
    return solve_triangular(root.T, u)


def _with_rows(model: Model, data: Batch) -> Batch:
    return comparable(data, jax.eval_shape(design, model, data.graphs), model)


@jax.jit
def _targets(model: Model, data: Batch) -> tuple[Array, Array]:
    return residuals(fixed_part(model, linear_terms(model)), data, model)


def _prediction(model: Model, w: Array, data: Batch) -> Array:
    terms, start = [], 0
    for term in require_linear(model):
        terms.append(term.with_coefficients(w[start : start + term.n_coefficients]))
        start += term.n_coefficients
    fitted = with_terms(model, terms)
    return flat(evaluate(fitted, data.graphs), data.sigma, fitted)


_times = jax.jit(_prediction)


@jax.jit
def _transposed(model: Model, v: Array, data: Batch) -> Array:
    p = sum(term.n_coefficients for term in require_linear(model))
    _, back = jax.vjp(lambda w: _prediction(model, w, data), jnp.zeros(p, v.dtype))
    return back(v)[0]


# --- resuming --------------------------------------------------------------------------------------------------------------


def fingerprint(model: Model, data: Dataset, method: str) -> str:
    """Of everything that the state depends on."""
    digest = hashlib.sha256(method.encode())
    for tree in (model, data):
        leaves, structure = jax.tree_util.tree_flatten(tree)
        digest.update(str(structure).encode())
        for leaf in leaves:
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _store(solver, path: Path, mark: str, done: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.savez(file, fingerprint=np.array(mark), done=np.array(done), **solver.state())
    os.replace(partial, path)


def forget(checkpoint: str | os.PathLike | None) -> None:
    """Removes the checkpoint of a fit that has ended."""
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)


def _restore(solver, path: Path, mark: str) -> int:
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}); remove it to start anew") from None
    if str(state.pop("fingerprint", "")) != mark:
        raise ValueError(f"{path} is the checkpoint of another fit (model, data or method differ); remove it to start anew")
    done = int(state.pop("done"))
    solver.restore(state)
    return done

