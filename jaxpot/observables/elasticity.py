"""Elastic constants with relaxed ions, by automatic differentiation of the energy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxpot.checks import poison
from jaxpot.graph import Graph
from jaxpot.math.linalg import einsum
from jaxpot.observables.deformation import deformed, response, volume, without_rigid_motion
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.precision import promoted_pair
from jaxpot.units import GPA

Array = jax.Array


class Moduli(NamedTuple):
    """Of a polycrystal, in GPa: uniform strain (Voigt) is an upper, uniform stress (Reuss) a lower bound.

    Args:
      bulk_voigt, bulk_reuss, shear_voigt, shear_reuss: shape [].

    Example:
      >>> round(Moduli(bulk_voigt=98.0, bulk_reuss=98.0, shear_voigt=66.0, shear_reuss=64.0).shear, 6)
      65.0
    """

    bulk_voigt: Array
    bulk_reuss: Array
    shear_voigt: Array
    shear_reuss: Array

    @property
    def bulk(self) -> Array:
        """The mean of both bounds (Hill), in GPa."""
        return 0.5 * (self.bulk_voigt + self.bulk_reuss)

    @property
    def shear(self) -> Array:
        """The mean of both bounds (Hill), in GPa."""
        return 0.5 * (self.shear_voigt + self.shear_reuss)

    @property
    def young(self) -> Array:
        """9BG/(3B + G), in GPa."""
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> Array:
        """The ratio of Poisson, without unit."""
        return (3 * self.bulk - 2 * self.shear) / (2 * (3 * self.bulk + self.shear))


def elastic_constants(potential: Potential, graph: Graph, *, relaxed: bool = True, tolerance: float = 1e-3) -> Array:
    r"""Second derivatives of the energy by strain, per volume, with atoms that follow the strain or are carried along.

    .. math:: C = \frac{1}{V} \left[ \frac{\partial^2 E}{\partial \epsilon^2}
       - \frac{\partial^2 E}{\partial \epsilon\, \partial x} H^{+} \frac{\partial^2 E}{\partial x\, \partial \epsilon} \right]

    Pure and differentiable by every leaf. With `minimum` before it, the lattice follows the leaves too:
    `elastic_constants(potential, minimum(potential, graph, cell=True))`.

    Args:
      potential: any potential.
      graph: a crystal at a minimum, periodic in all directions; under stress these are second derivatives by r → (1 + ε) r.
      relaxed: whether atoms follow, static; False gives the clamped-ion constants.
      tolerance: the largest force at which relaxed constants are given, in eV/Å.

    Returns:
      Shape [6, 6], in GPa, in Voigt's order xx, yy, zz, yz, xz, xy. NaN where relaxed ones are asked for and forces exceed the tolerance,
      where atoms are at no minimum, and where the structure is not periodic in all directions.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> C = jax.jit(elastic_constants)(argon, from_atoms(bulk("Ar", a=5.3), argon.reach))
      >>> bool(C[0, 0] > C[0, 1] > 0)
      True
    """
    potential, graph = promoted_pair(potential, graph)
    ready = prepare(potential)
    still, unstrained = jnp.zeros_like(graph.positions), jnp.zeros(6, graph.positions.dtype)

    def slopes(displacements: Array, strain: Array) -> tuple[Array, Array]:
        return jax.grad(lambda u, v: ready(deformed(graph, u, v)), (0, 1))(displacements, strain)

    def twice(strain: Array) -> tuple[Any, Any]:
        found = slopes(still, strain)
        return found, found

    (mixed, curvature), (slope, _) = jax.jacfwd(twice, has_aux=True)(unstrained)  # [N, 3, 6], [6, 6] and [N, 3]
    bad = ~jnp.all(graph.pbc)
    if relaxed:
        project = without_rigid_motion(jax.lax.stop_gradient(graph))
        answers = following(lambda u: slopes(u, unstrained)[0], still, project, mixed)
        curvature = curvature + einsum("nxi,nxj->ij", mixed, answers)
        bad = bad | ~(jnp.max(jnp.abs(slope)) <= tolerance)
    constants = 0.5 * (curvature + curvature.T) / (volume(graph.cell) * GPA)
    return poison(constants, bad)


def following(slope: Callable[[Array], Array], still: Array, project: Callable[[Array], Array], mixed: Array) -> Array:
    """How atoms move with what changes their slopes by `mixed` [N, 3, M], at zero force: [N, 3, M]."""
    answers = jax.lax.map(lambda b: response(slope, still, project, b), jnp.moveaxis(mixed, -1, 0))
    return -jnp.moveaxis(answers, 0, -1)


def moduli(constants: Array) -> Moduli:
    """Moduli of a polycrystal from its elastic constants [6, 6] in GPa.

    That of Voigt for uniform dilation is V ∂²E/∂V² at the minimum, in all crystals whose shape does not change under pressure, such as cubic ones.

    Example:
      >>> C = jnp.diag(jnp.array([2.0, 2, 2, 1, 1, 1])) + jnp.pad(jnp.ones((3, 3)), (0, 3))
      >>> [round(float(x), 6) for x in moduli(C)]
      [1.666667, 1.666667, 1.0, 1.0]
    """
    compliance = jnp.linalg.inv(constants)
    C, S = constants, compliance
    diagonal, beside, shears = jnp.trace(C[:3, :3]), C[0, 1] + C[0, 2] + C[1, 2], jnp.trace(C[3:, 3:])
    diagonal_s, beside_s, shears_s = jnp.trace(S[:3, :3]), S[0, 1] + S[0, 2] + S[1, 2], jnp.trace(S[3:, 3:])
    return Moduli(
        bulk_voigt=(diagonal + 2 * beside) / 9,
        bulk_reuss=1 / (diagonal_s + 2 * beside_s),
        shear_voigt=(diagonal - beside + 3 * shears) / 15,
        shear_reuss=15 / (4 * (diagonal_s - beside_s) + 3 * shears_s),
    )


def cubic_constants(constants: Array) -> Array:
    """C11, C12 and C44 of a cubic crystal along its axes, shape [3], in GPa: means of those of [6, 6] that symmetry makes equal."""
    C = constants
    return jnp.stack([jnp.trace(C[:3, :3]) / 3, (C[0, 1] + C[0, 2] + C[1, 2]) / 3, jnp.trace(C[3:, 3:]) / 3])
