"""The direct solve of a kernel model whose references are the data: w = (K + Σ)⁻¹ y, one factorisation in place."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.data import Batch, Dataset
from jaxpot.fit.design_matrix import linear_terms
from jaxpot.fit.rows import explain, fixed_part, residuals
from jaxpot.math.linalg import cholesky_in_place
from jaxpot.potentials.base import Model, terms_of
from jaxpot.potentials.gdml import GradientDomain, geometry
from jaxpot.properties import Properties

Array = jax.Array

_SAME = 1e-9  # relative deviation of a reference from the structure of the data


def solve_references(model: Model, data: Dataset, structures: Iterable[tuple[int, Batch]]) -> np.ndarray:
    """Coefficients of the GradientDomain in a model from the forces of its references; its constant from their energies.

    Args:
      model: a GradientDomain, or its sum with fixed terms.
      data: the references in their order, with forces and one noise level of them per structure.
      structures: those of the data, with their numbers.

    Returns:
      Shape [M A + 1].

    Raises:
      TypeError: for other linear terms.
      ValueError: if the data are not the references, or lack forces.
    """
    linear = [terms_of(model)[i] for i in linear_terms(model)]
    if len(linear) != 1 or not isinstance(linear[0], GradientDomain):
        names = ", ".join(type(term).__name__ for term in linear)
        raise TypeError(f'method="kernel" is for one GradientDomain, got the linear terms {names}; use method="qr"')
    term, n = linear[0], len(linear[0].descriptor.atoms)
    features, directions = np.asarray(term.references.features, float), np.asarray(term.references.directions, float)
    m, a, _ = directions.shape
    if len(data) != m:
        raise ValueError(
            f'method="kernel": {len(data)} structures in the data, {m} references; write model.with_points of the graphs of all, or use method="qr"'
        )
    rest = fixed_part(model, linear_terms(model))
    size = m * a
    k, y, energies = np.zeros((size, size), order="F"), np.zeros(size), np.zeros((m, 2))
    for frame, structure in structures:
        rows = slice(frame * a, (frame + 1) * a)
        of_energy, of_forces = (tuple(np.asarray(x, float) for x in _targets(rest, structure, model, name)) for name in ("energy", "forces"))
        forces, level = (x[: 3 * n] for x in of_forces)
        if not all(np.all(np.isfinite(target)) for target, _ in (of_energy, of_forces)):
            raise ValueError(explain(model, structure, frame))
        virial = structure.sigma.virial
        if not level.size or not np.all(level > 0) or np.ptp(level) > 1e-12 * level[0] or (virial is not None and np.any(np.isfinite(virial))):
            raise ValueError(f'frame {frame}: method="kernel" fits forces with one noise level per structure, and no virials; use method="qr"')
        x, jacobian = geometry(np.asarray(structure.graphs.positions, float)[:n])
        displacements = np.linalg.pinv(jacobian) @ directions[frame].T
        overlap = displacements.T @ displacements
        overlap -= np.diag(np.any(directions[frame], axis=1))
        if np.max(np.abs(x - features[frame])) > _SAME * np.max(x) or np.max(np.abs(overlap)) > 1e3 * _SAME:
            raise ValueError(f'frame {frame} is not the reference {frame} of the model; write model.with_points of the graphs of the data, in their order')
        k[:, rows] = np.asarray(_block(term, features[frame], directions[frame])).T
        k[rows, rows] += np.eye(a) / level[0] ** 2
        y[rows] = displacements.T @ forces
        energies[frame] = [x[0] if x.size else 0.0 for x in of_energy]
    w = _solved(k, y)
    del k
    if not np.any(energies[:, 1]):
        return np.append(w, 0.0)
    fitted = term.with_coefficients(np.append(w, 0.0))
    without = np.array([float(_energy(fitted, x)) for x in features])
    share = energies[:, 1] ** 2
    constant = share @ (energies[:, 0] - without) / (np.sum(share) + 1 / float(term.offset) ** 2)
    return np.append(w, constant)


def _solved(k: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_solve

    try:
        cholesky_in_place(k)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the covariance of the forces is not positive definite: their noise level is below its round-off; write for example "
            "jaxpot.noise_levels(energy=1.0, forces=1e-3)"
        ) from None
    return cho_solve((k, True), y, check_finite=False)


@partial(jax.jit, static_argnames="name")
def _targets(rest: Model | None, data: Batch, model: Model, name: str) -> tuple[Array, Array]:
    """What the references must explain of one property, and 1/sigma; of nothing where it has no labels."""
    own = [Properties(**{name: getattr(part, name)}) for part in (data.targets, data.sigma)]
    if getattr(own[1], name) is None:
        return jnp.zeros(0), jnp.zeros(0)
    return residuals(rest, data.replace(targets=own[0], sigma=own[1]), model)


@jax.jit
def _block(term: GradientDomain, x: Array, directions: Array) -> Array:
    return term.force_covariances(jnp.asarray(x), jnp.asarray(directions))


@jax.jit
def _energy(term: GradientDomain, x: Array) -> Array:
    return term.energy_of(jnp.asarray(x))
