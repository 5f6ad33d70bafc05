"""jax-md: neighbour and energy functions of any potential, for `jax_md.simulate`, `minimize` and `quantity`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import partition

from jaxpot.graph import Graph
from jaxpot.jaxmd_lists import EDGE, atomic_numbers, lost_where, matrix_of, neighbor_list_graph
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.units import SYMBOLS

Array = jax.Array

_IGNORED = {"t", "kT", "dt", "gamma", "tau", "pressure"}  # what jax-md's integrators hand on to energies
_ready = jax.jit(prepare)  # tables of the default potential, made once


def neighbor_list_energy(
    potential: Potential,
    displacement: Callable | None,
    box: Array | float | None,
    numbers: jax.typing.ArrayLike,
    *,
    cutoff: float | None = None,
    skin: float = 0.5,
    fractional_coordinates: bool = False,
    max_neighbors: int | None = None,
    multi_image: bool = False,
    charge: float = 0.0,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> tuple[partition.NeighborListFns, Callable[..., Array]]:
    """Neighbour and energy functions for jax-md.

    `energy_fn(R, neighbor, *, potential=potential, box=None, perturbation=None)` returns the energy, shape [], in eV. The
    potential is an argument, so gradients flow through a trajectory; inside a loop pass `prepare(potential)`, made outside, to
    compute its tables once. A `box` of the moment (NPT) replaces the one given here and must also be passed to
    `neighbors.update(R, box=box)`, which then searches anew. For NPT use real-space coordinates: `npt_nose_hoover` of jax-md
    0.2.29 moves fractional ones as if they were Å, and its invariant drifts whatever the time step. `perturbation` deforms
    positions and cell, as in `jax_md.quantity.stress`. Forces are in real space, also in fractional coordinates, as everywhere
    in jax-md.

    `energy_fn` takes every list of jax-md: Dense, Sparse and OrderedSparse, minimum-image or multi-image; those of
    `neighbor_fn` are Dense. Where a list cannot be trusted the energy is NaN: it overflowed (`neighbors.did_buffer_overflow`:
    allocate anew), a row does not fit `max_neighbors`, the box has become too small for the minimum image, the potential
    reaches farther than `cutoff`, a position is not finite, or one with neighbours is so large that its floating type does not
    resolve 10⁻⁴ Å there.

    Args:
      potential: any potential.
      displacement: jax-md's displacement function, which must agree with box and coordinates; None is not checked. The
        multi-image list does not use it.
      box: lattice vectors as columns, shape [3, 3], or side lengths, shape [3] or [], in Å; None is free space.
      numbers: atomic numbers, shape [N].
      cutoff: radius of the interaction, in Å; None takes the potential's reach. Give more to let the reach grow later.
      skin: lists are searched to cutoff + skin and kept until an atom has moved skin/2, in Å.
      fractional_coordinates: whether R is in units of the lattice vectors.
      max_neighbors: slots K per atom for the sparse formats; None takes 5/4 of the mean row of the list's capacity and 4.
      multi_image: list every periodic image, for boxes too small for the minimum image.
      charge: of the whole system, in e.
      field: outer field, in V/Å.

    Returns:
      neighbor_fn with `allocate(R)` and `update(R, neighbors)`, and energy_fn.

    Raises:
      ValueError: if arguments disagree: a box too small for the minimum image, a displacement of another space, a cutoff
        below the potential's reach, an unknown element, wrong shapes, more images than fit into memory.

    Example:
      >>> import jax_md, numpy as np
      >>> from ase.build import bulk
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> atoms = bulk("Ar", cubic=True) * 3
      >>> model = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> displacement, shift = jax_md.space.periodic(atoms.cell.lengths())
      >>> neighbor_fn, energy_fn = neighbor_list_energy(model, displacement, atoms.cell.lengths(), atoms.numbers)
      >>> neighbors = neighbor_fn.allocate(atoms.positions)
      >>> jax_md.quantity.force(energy_fn)(atoms.positions, neighbor=neighbors).shape
      (108, 3)
    """
    reach = float(potential.reach)
    cutoff = reach if cutoff is None else float(cutoff)
    if not cutoff >= reach * (1 - EDGE):
        raise ValueError(f"the potential looks {reach:.6g} Å far, cutoff is {cutoff:.6g} Å; write cutoff={reach:.6g} or leave it out")
    numbers = atomic_numbers(numbers)
    unknown = sorted({SYMBOLS[n] for n in numbers if n > 0} - set(potential.species))
    if unknown:
        raise ValueError(f"the potential knows {', '.join(potential.species)}, but numbers contain {', '.join(unknown)}")
    neighbor_fn, graph_fn = neighbor_list_graph(
        box, numbers, cutoff=cutoff, skin=skin, fractional_coordinates=fractional_coordinates, max_neighbors=max_neighbors,
        multi_image=multi_image,
    )  # fmt: skip
    if displacement is not None and not multi_image:
        _check_displacement(displacement, None if box is None else matrix_of(box), fractional_coordinates)
    default = _ready(potential)

    def energy_fn(
        R: Array,
        neighbor: Any,
        *,
        potential: Potential = default,
        box: Array | None = None,
        perturbation: Array | None = None,
        **kwargs: Any,
    ) -> Array:
        unexpected = sorted(set(kwargs) - _IGNORED)
        if unexpected:
            raise TypeError(f"energy_fn got unexpected keywords {unexpected}; expected potential, box, perturbation or {sorted(_IGNORED)}")
        graph = graph_fn(R, neighbor, box=box, perturbation=perturbation)
        outer = {"charge": jnp.asarray(charge, graph.positions.dtype), "field": jnp.asarray(field, graph.positions.dtype)}
        return energy(potential, graph.replace(**outer))

    return neighbor_fn, energy_fn


def energy(potential: Potential, graph: Graph) -> Array:
    """The energy, shape [], in eV, of a Graph of `neighbor_list_graph`: NaN, and so are its derivatives, where the potential reaches farther."""
    return potential(lost_where(graph, potential.reach > graph.cutoff * (1 + EDGE)))


def _check_displacement(displacement: Callable, matrix: Array | None, fractional_coordinates: bool) -> None:
    """Raises unless jax-md's displacement is the minimum image in this box, for these coordinates."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(-0.45, 0.45, (8, 3))  # fractional differences whose nearest image is unambiguous
    whole = rng.integers(-1, 2, (8, 3))
    start = rng.uniform(0, 1, (8, 3))
    box = np.eye(3) * 10.0 if matrix is None else np.asarray(matrix, float)
    expected = (inside if matrix is not None else inside + whole) @ box.T
    to_user = np.eye(3) if fractional_coordinates else box.T
    dtype = jnp.result_type(float) if matrix is None else matrix.dtype
    try:
        got = np.asarray([
            displacement(jnp.asarray(b @ to_user, dtype), jnp.asarray(a @ to_user, dtype))
            for a, b in zip(start, start + inside + whole, strict=True)
        ])  # fmt: skip
    except Exception as error:
        raise ValueError(f"displacement cannot be called with positions of shape [3] as jax-md does: {error}") from error
    if got.ndim == 1:
        expected = np.linalg.norm(expected, axis=1)
    if got.shape != expected.shape or not np.allclose(got, expected, atol=1e-3 * np.abs(box).max(), rtol=0):
        where = "free space (box=None)" if matrix is None else f"this box with fractional_coordinates={fractional_coordinates}"
        raise ValueError(
            f"displacement is not that of {where}; make both from one box and one kind of coordinates "
            "(jax_md.space.periodic_general has fractional_coordinates=True unless told otherwise)"
        )
