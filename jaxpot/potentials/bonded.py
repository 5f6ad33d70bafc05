"""Bonds, angles and dihedrals over explicit lists of atoms: the bonded part of a molecular force field.

Lists name atoms by their place in the structure, so one potential belongs to one topology: every structure it is applied to, padded or not,
has these atoms at these places. Neighbour lists are not used; vectors between the atoms of a row go to the nearest image, which
is unique while they are shorter than half of the cell. Where they are not, or a row names an atom that is not there, the energy is NaN.
"""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, poison, species_tuple
from jaxpot.graph import Graph
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.potentials.base import Potential
from jaxpot.trees import leaf, positive, pytree, static
from jaxpot.units import species_table

Array = jax.Array


class BondedPotential(Potential):
    """Interface: a sum over rows of a list of atoms, shared evenly among the atoms of a row. A new one writes `rows`.

    Attributes:
      atoms: integers, shape [n, a].
    """

    atoms: Array

    @abc.abstractmethod
    def rows(self, steps: Array) -> Array:
        """Energies of the rows, shape [n], in eV, from the vectors to each atom of a row from the one before, shape [n, a − 1, 3]."""

    def _check(self, n_atoms: int, **parameters: tuple[int, ...]) -> None:
        """Integer rows of so many different atoms; parameters of shape [...] or [n, ...]."""
        owner, atoms = type(self).__name__, self.atoms
        species_tuple(self.species, owner)
        if np.ndim(atoms) != 2 or np.shape(atoms)[1] != n_atoms or not len(atoms):
            raise ValueError(f"{owner}: atoms must have shape [n, {n_atoms}] with at least one row, got {list(np.shape(atoms))}")
        if is_concrete(atoms):
            rows = np.asarray(atoms)
            if np.any(rows != np.round(rows)) or np.any(rows < 0):
                raise ValueError(f"{owner}: atoms must be indices from 0 on, got {rows[np.any((rows != np.round(rows)) | (rows < 0), axis=1)][0]}")
            twice = np.any(np.diff(np.sort(rows, axis=1), axis=1) == 0, axis=1)
            if np.any(twice):
                raise ValueError(f"{owner}: the row {rows[twice][0].astype(int).tolist()} names an atom twice")
            object.__setattr__(self, "atoms", rows.astype(np.int32))  # indices written as a list arrive as numbers
        for name, own in parameters.items():
            if np.shape(getattr(self, name)) not in (own, (len(atoms), *own)):
                raise ValueError(f"{owner}: {name} must have shape {list(own)} or {[len(atoms), *own]}, got {list(np.shape(getattr(self, name)))}")

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def located(self, graph: Graph) -> tuple[Array, Array]:
        """The argument of `rows`, and whether the structure is not one of this topology."""
        n, atoms = graph.numbers.shape[0], jnp.asarray(self.atoms)
        steps, too_long = _steps(graph, atoms)
        unknown = jnp.any((graph.numbers > 0) & (jnp.asarray(species_table(self.species))[graph.numbers] < 0))
        absent = (atoms >= n) | (graph.numbers[jnp.minimum(atoms, n - 1)] <= 0)
        return steps, jnp.any(absent) | jnp.any(too_long) | unknown

    def energies(self, graph: Graph) -> Array:
        n, atoms = graph.numbers.shape[0], jnp.asarray(self.atoms)
        steps, lost = self.located(graph)
        share = self.rows(steps).astype(steps.dtype) / atoms.shape[1]
        energies = jnp.zeros(n, steps.dtype).at[atoms].add(jnp.broadcast_to(share[:, None], atoms.shape), mode="drop")
        return poison(energies, lost)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        name, atoms, found = type(self).__name__, np.asarray(self.atoms), []
        there = np.flatnonzero(np.asarray(graph.numbers) > 0)
        absent = np.setdiff1d(atoms, there)
        if len(absent):
            return (f"{name} names atom {absent[0]}, which is not among the {len(there)} atoms of the elements {', '.join(self.species)}",)
        too_long, lost = (np.asarray(x) for x in _faults(self, graph))
        if np.any(too_long):
            row = atoms[int(np.argmax(too_long))].tolist()
            found.append(f"{name}: in the row {row} two atoms are half of the cell or more apart, so their image is not unique; repeat the cell")
        if np.any(lost):
            found.append(f"{name}: the row {atoms[int(np.argmax(lost))].tolist()} has no value, for example because three of its atoms lie on a line")
        return tuple(found)


def _steps(graph: Graph, atoms: Array) -> tuple[Array, Array]:
    """Vectors to the nearest image of each atom from the one before it, [n, a − 1, 3], and which rows are too long for it to be unique."""
    positions = graph.positions[jnp.minimum(atoms, graph.numbers.shape[0] - 1)]
    steps = positions[:, 1:] - positions[:, :-1]
    lattice = jnp.where(graph.pbc[:, None], graph.cell, 0)
    # whole numbers of lattice vectors have no derivative; directions that are not periodic are told apart by the unit matrix
    fixed = jax.lax.stop_gradient(lattice)
    products = einsum("sx,tx->st", fixed, fixed) + jnp.eye(3, dtype=fixed.dtype) * jnp.where(graph.pbc, 0, 1)[:, None].astype(fixed.dtype)
    cofactors = jnp.cross(products[jnp.array([1, 2, 0])], products[jnp.array([2, 0, 1])])
    metric = cofactors / jnp.sum(products[0] * cofactors[0])  # the inverse
    images = jnp.round(einsum("nax,sx,st->nat", jax.lax.stop_gradient(steps), fixed, metric))
    steps = steps - einsum("nas,sx->nax", images, lattice)
    half = 0.5 / jnp.sqrt(jnp.max(jnp.where(graph.pbc, jnp.diagonal(metric), 0)))  # of the smallest distance between lattice planes
    return steps, ~jnp.all(safe_norm(jax.lax.stop_gradient(steps)) < half, axis=1)


@jax.jit
def _faults(potential: BondedPotential, graph: Graph) -> tuple[Array, Array]:
    """Which rows are too long for the cell, and which have no value."""
    steps, too_long = _steps(graph, jnp.asarray(potential.atoms))
    return too_long, ~jnp.isfinite(potential.rows(steps))


@pytree
class Bonds(BondedPotential):
    r"""Harmonic bonds; k is twice the K of LAMMPS, Amber and OPLS.

    .. math:: E = \sum \tfrac12 k (r - r_0)^2

    Args:
      species: the elements of the structure.
      atoms: pairs of indices, shape [n, 2].
      stiffness: k, shape [] or [n], in eV/Å².
      length: r_0, shape [] or [n], in Å.

    Raises:
      ValueError: for lists of another shape, that are no indices, or that name an atom twice in a row.

    Example:
      >>> water = Bonds(("H", "O"), [[0, 1], [0, 2]], stiffness=40.0, length=1.0)
      >>> water.rows(jnp.array([[[0.0, 0.0, 1.0]], [[0.0, 1.5, 0.0]]])).tolist()
      [0.0, 5.0]
    """

    species: tuple[str, ...] = static()
    atoms: Leaf
    stiffness: Leaf = leaf(shape="[] or [N]")
    length: Leaf = positive(shape="[] or [N]")

    def __post_init__(self):
        self._check(2, stiffness=(), length=())

    def rows(self, steps):
        return 0.5 * self.stiffness * (safe_norm(steps[:, 0]) - self.length) ** 2


@pytree
class Angles(BondedPotential):
    r"""Harmonic angles, the atom at the apex in the middle of a row; k is twice the K of LAMMPS, Amber and OPLS.

    .. math:: E = \sum \tfrac12 k (\theta - \theta_0)^2

    Near 0 and π the square of the angle is a power series of sin² θ, so a molecule that is straight at rest has its true Hessian there.
    With another ideal angle the energy has a kink at 0 and π, where the force is set to zero.

    Args:
      species: the elements of the structure.
      atoms: triples of indices, shape [n, 3].
      stiffness: k, shape [] or [n], in eV/rad².
      angle: θ_0, shape [] or [n], in rad.

    Raises:
      ValueError: as of `Bonds`.

    Example:
      >>> water = Angles(("H", "O"), [[1, 0, 2]], stiffness=3.0, angle=np.deg2rad(104.0))
      >>> water.atoms.tolist()
      [[1, 0, 2]]
    """

    species: tuple[str, ...] = static()
    atoms: Leaf
    stiffness: Leaf = leaf(shape="[] or [N]")
    angle: Leaf = leaf(shape="[] or [N]")

    def __post_init__(self):
        self._check(3, stiffness=(), angle=())

    def rows(self, steps):
        return 0.5 * self.stiffness * _squared_deviation(-steps[:, 0], steps[:, 1], self.angle)


_NEARLY_STRAIGHT = 0.01  # of tan² θ
_ARCTAN_SQUARED = tuple((-1) ** n / (n + 1) * math.fsum(1 / (2 * k + 1) for k in range(n + 1)) for n in range(9))


def _squared_deviation(u: Array, v: Array, angle: Array) -> Array:
    """(θ − θ₀)² of the angles between vectors [n, 3], smooth at 0 and π if θ₀ is there."""
    c, cross = jnp.sum(u * v, axis=1), jnp.cross(u, v)
    s_squared = jnp.sum(cross * cross, axis=1)
    straight = s_squared < _NEARLY_STRAIGHT * c * c

    # the angle x to the line, with x² = arctan² √t, and the ideal one seen from the same end
    t = jnp.where(straight, s_squared, 0) / jnp.where(straight, c * c, 1)
    x_squared = t * sum(a * t**n for n, a in enumerate(_ARCTAN_SQUARED))
    nothing = x_squared <= jnp.finfo(t.dtype).tiny ** 0.5  # the root's second derivative must stay a number
    x = jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, x_squared)))
    ideal = jnp.where(c < 0, jnp.pi - angle, angle)
    near = x_squared - 2 * x * ideal + ideal * ideal

    theta = jnp.arctan2(jnp.sqrt(jnp.where(straight, 1, s_squared)), jnp.where(straight, 1, c))
    return jnp.where(straight, near, (theta - angle) ** 2)


@pytree
class Dihedrals(BondedPotential):
    r"""Torsions as Fourier series of the dihedral angle, 0 where the outer atoms are on one side (cis), its sign by the right hand.

    .. math:: E = \sum \sum_m A_m \left[1 + \cos(m\phi - \delta_m)\right]

    Products of sin φ and cos φ stand for cos mφ, so nothing happens at 0 and π. Where three atoms of a row lie on a line there is no
    dihedral angle, and the energy is NaN.

    Args:
      species: the elements of the structure.
      atoms: rows of four indices along the chain, shape [n, 4].
      amplitudes: A, shape [M] or [n, M], in eV.
      phases: δ, shape [M] or [n, M], in rad.
      multiplicities: the M different m.

    Raises:
      ValueError: as of `Bonds`, and for multiplicities that are not different whole numbers from 1 on.

    Example:
      >>> ethane = Dihedrals(("C", "H"), [[2, 0, 1, 5]], amplitudes=[0.006], phases=[0.0], multiplicities=(3,))
      >>> ethane.atoms.tolist()
      [[2, 0, 1, 5]]
    """

    species: tuple[str, ...] = static()
    atoms: Leaf
    amplitudes: Leaf = leaf(shape="[M] or [N, M]")
    phases: Leaf = leaf(shape="[P] or [N, P]")
    multiplicities: tuple[int, ...] = static()

    def __post_init__(self):
        m = self.multiplicities
        if not isinstance(m, tuple) or not m or any(not isinstance(k, int) or k < 1 for k in m) or len(set(m)) < len(m):
            raise ValueError(f"Dihedrals: multiplicities must be different whole numbers such as (1, 2, 3), got {m!r}")
        self._check(4, amplitudes=(len(m),), phases=(len(m),))

    @classmethod
    def opls(cls, species: tuple[str, ...], atoms: Array, coefficients: Array) -> "Dihedrals":
        """OPLS: ½ [V₁ (1 + cos φ) + V₂ (1 − cos 2φ) + V₃ (1 + cos 3φ) + V₄ (1 − cos 4φ)] with V of shape [4] or [n, 4], in eV."""
        if np.shape(coefficients)[-1:] != (4,):
            raise ValueError(f"Dihedrals.opls: coefficients must have shape [4] or [n, 4], got {list(np.shape(coefficients))}")
        coefficients = coefficients if isinstance(coefficients, Array) else np.asarray(coefficients, float)
        return cls(species, atoms, 0.5 * coefficients, np.array([0.0, np.pi, 0.0, np.pi]), (1, 2, 3, 4))

    def rows(self, steps):
        b1, b2, b3 = steps[:, 0], steps[:, 1], steps[:, 2]
        m, n = jnp.cross(b1, b2), jnp.cross(b2, b3)
        scale = jnp.sqrt(jnp.sum(m * m, axis=1) * jnp.sum(n * n, axis=1))
        cosine, sine = jnp.sum(m * n, axis=1) / scale, safe_norm(b2) * jnp.sum(b1 * n, axis=1) / scale
        amplitudes, phases = (jnp.broadcast_to(jnp.asarray(x), (len(self.atoms), len(self.multiplicities))) for x in (self.amplitudes, self.phases))
        c, s, energy = jnp.ones_like(cosine), jnp.zeros_like(sine), jnp.zeros_like(cosine)
        for k in range(1, max(self.multiplicities) + 1):
            c, s = c * cosine - s * sine, s * cosine + c * sine
            if k in self.multiplicities:
                column = self.multiplicities.index(k)
                phase = phases[:, column]
                energy = energy + amplitudes[:, column] * (1 + c * jnp.cos(phase) + s * jnp.sin(phase))
        return energy
