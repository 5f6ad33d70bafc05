"""Induced dipoles: those that are consistent with the fields of each other."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxpot.longrange.solvers import Solver
from jaxpot.units import COULOMB

Array = jax.Array
Response = Callable[[Any, Array], Array]


def roots_of(polarizability: Array) -> Array:
    """√(α/k) of polarizabilities in Å³, in e·Å/√eV, with derivative 0 where there is none."""
    some = polarizability > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, polarizability, 1) / COULOMB), 0 * polarizability)


def induced(solver: Solver, response: Response, parameters: Any, roots: Array, field: Array) -> Array:
    r"""The dipoles [N, 3] in e·Å that a field [N, 3] in V/Å induces, of atoms with √(α/k) [N].

    .. math:: \mu = \sqrt{\alpha/k}\, \big(1 - \sqrt{\alpha/k}\, T \sqrt{\alpha/k}\big)^{-1} \sqrt{\alpha/k}\, E

    Args:
      solver: of the linear equations, which are symmetric.
      response: the field response(parameters, dipoles) of dipoles [N, 3] at all atoms, with all that may be differentiated in the parameters.
      parameters: of the response.
      roots: √(α/k), shape [N].
      field: of all else than these dipoles.
    """
    scaled = solver.solve(functools.partial(_operator, response), (roots, parameters), (roots[:, None] * field).reshape(-1))
    return roots[:, None] * scaled.reshape(-1, 3)


def why_not_induced(solver: Solver, response: Response, parameters: Any, roots: Array, field: Array) -> tuple[str, ...]:
    """Why there are no such dipoles, in words; nothing where there are."""
    if not bool(jnp.all(jnp.isfinite(field))) or bool(jnp.all(jnp.isfinite(induced(solver, response, parameters, roots, field)))):
        return ()
    causes = solver.causes(functools.partial(_operator, response), (roots, parameters), (roots[:, None] * field).reshape(-1))
    return tuple(f"the induced dipoles amplify each other without end, of 1 - √α T √α: {cause}; write a damping, such as Thole(...)" for cause in causes)


def _operator(response: Response, parameters: tuple[Array, Any], scaled: Array) -> Array:
    roots, given = parameters
    return scaled - (roots[:, None] * response(given, roots[:, None] * scaled.reshape(-1, 3))).reshape(-1)
