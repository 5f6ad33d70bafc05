"""Many devices: batches of structures shared out, and one large structure in parts that exchange the atoms at their borders.

All of it runs on any devices of one or several processes (`jax.distributed`). Devices that share a batch communicate sums only. Parts of a
structure send the positions of the atoms that other parts see, and the forces on these atoms come back the same way.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpot.data import Dataset, empty_like
from jaxpot.graph import Graph, only
from jaxpot.leaves import Leaf, Tree
from jaxpot.passes import prepare
from jaxpot.potentials.base import LocalPotential, Potential, Sum, energies_with_gradient, poisoned, predicts_more, terms_of
from jaxpot.potentials.committee import Committee
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties
from jaxpot.trees import pytree, set_fields, static
from jaxpot.units import species_table

Array = jax.Array


def make_mesh(n_devices: int | None = None) -> Mesh:
    """A mesh with one axis over the first devices; None takes all, of all processes.

    Example:
      >>> make_mesh(1).axis_names
      ('devices',)
    """
    devices = jax.devices()
    if n_devices is not None and not 1 <= n_devices <= len(devices):
        more = f"on CPU write jax.config.update('jax_num_cpu_devices', {n_devices}) first"
        raise ValueError(f"make_mesh: {n_devices} devices asked for, JAX has {len(devices)}; {more}")
    devices = devices[: n_devices or len(devices)]
    return jax.make_mesh((len(devices),), ("devices",), axis_types=(AxisType.Auto,), devices=devices)


def shard(data: Dataset, mesh: Mesh) -> Dataset:
    """The same data with every batch shared out over the devices; `fit.log_evidence` and what maximises it then run on all of them.

    Batches are filled up with empty structures to a multiple of the number of devices.

    Args:
      data: on the host, the same in all processes.
      mesh: from `make_mesh`.

    Example:
      >>> import ase.build
      >>> from jaxpot import noise_levels
      >>> atoms = ase.build.bulk("Si")
      >>> atoms.info["energy"] = -1.0
      >>> data = shard(Dataset.from_atoms([atoms], cutoff=3.0, sigma=noise_levels(0.01)), make_mesh(1))
      >>> data.mesh.size
      1
    """
    batches, index = [], []
    for batch, ids in zip(data.batches, data.index, strict=True):
        fill = -len(ids) % mesh.size
        if fill:
            one = empty_like(jax.tree_util.tree_map(lambda x: np.asarray(x[:1]), batch))
            batch = jax.tree_util.tree_map(lambda x, e: np.concatenate([np.asarray(x), *[e] * fill]), batch, one)  # noqa: B023
        batches.append(jax.tree_util.tree_map(lambda x: _placed(x, mesh, P(mesh.axis_names)), batch))
        index.append(ids + (-1,) * fill)
    return data.replace(batches=tuple(batches), index=tuple(index), mesh=mesh)


def _placed(x: np.ndarray, mesh: Mesh, spec: P) -> Array:
    """An array that all processes hold, on the devices; each puts what is its own, without communication."""
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, NamedSharding(mesh, spec), lambda index: x[index])


@pytree
class Partition(Tree):
    """One structure in D parts, one for each device; made by `partition`.

    Args:
      numbers: atomic numbers of every part's own atoms and then of the ghosts it receives, shape [D, C + G]; 0 marks padding.
      positions: of the own atoms, shape [D, C, 3], in Å. May be replaced, as long as the neighbour lists stay complete.
      neighbors: shape [D, C, K], numbers of own atoms and ghosts; C + G marks an empty slot.
      shifts: shape [D, C, K, 3].
      sent: own atoms that every part sends, shape [D, S] for each of `hops`.
      place: where each atom of the structure is, part · C + number there, shape [N]; D · C for padding.
      structure: what all parts share, such as the cell; and its atoms and lists, if the partition keeps it whole.
      hops: how many devices further on each of `sent` goes.
    """

    numbers: Leaf
    positions: Leaf
    neighbors: Leaf
    shifts: Leaf
    sent: tuple[Array, ...]
    place: Leaf
    structure: Graph
    hops: tuple[int, ...] = static()

    @property
    def communication(self) -> int:
        """Bytes that one device sends for one evaluation: positions there, forces back."""
        return 2 * sum(sent.shape[-1] for sent in self.sent) * 3 * self.positions.dtype.itemsize


def partition(graph: Graph, mesh: Mesh, *, whole: bool = False) -> Partition:
    """Cuts a structure into compact parts of equal numbers of atoms, on the host.

    Args:
      graph: one structure, the same in all processes.
      mesh: from `make_mesh`.
      whole: keep all of it on every device as well, for models with terms that cannot be evaluated in parts.

    Raises:
      ValueError: for fewer atoms than devices.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> partition(from_atoms(bulk("Si", cubic=True), cutoff=3.0), make_mesh(1)).positions.shape
      (1, 8, 3)
    """
    n_parts = mesh.size
    graph = jax.tree_util.tree_map(np.asarray, graph)
    real = np.flatnonzero(graph.numbers > 0)
    if len(real) < n_parts:
        raise ValueError(f"partition: {len(real)} atoms for {n_parts} devices; use at most one device for each atom")
    owned = _bisected(_places(graph)[real], real, n_parts)
    size, n_slots = max(map(len, owned)), graph.neighbors.shape[1]
    owner, local = np.zeros(len(graph.numbers) + 1, int), np.zeros(len(graph.numbers) + 1, int)
    for part, atoms in enumerate(owned):
        owner[atoms], local[atoms] = part, np.arange(len(atoms))

    seen = []  # of every part, whom it must receive from each hop back
    for part, atoms in enumerate(owned):
        others = np.unique(graph.neighbors[atoms])
        others = others[(others < len(graph.numbers)) & (owner[others] != part)]
        seen.append({hop: others[(part - owner[others]) % n_parts == hop] for hop in range(1, n_parts)})
    hops = tuple(hop for hop in range(1, n_parts) if any(len(of[hop]) for of in seen))
    lengths = [max(len(of[hop]) for of in seen) for hop in hops]
    n_ghosts = sum(lengths)

    numbers = np.zeros((n_parts, size + n_ghosts), graph.numbers.dtype)
    positions = np.zeros((n_parts, size, 3), graph.positions.dtype)
    neighbors = np.full((n_parts, size, n_slots), size + n_ghosts, graph.neighbors.dtype)
    shifts = np.zeros((n_parts, size, n_slots, 3), graph.shifts.dtype)
    sent = tuple(np.zeros((n_parts, length), np.int32) for length in lengths)
    for part, atoms in enumerate(owned):
        rename = np.full(len(graph.numbers) + 1, size + n_ghosts)
        rename[atoms] = np.arange(len(atoms))
        start = size
        for hop, length, out in zip(hops, lengths, sent, strict=True):
            ghosts = seen[part][hop]
            rename[ghosts] = start + np.arange(len(ghosts))
            numbers[part, start : start + len(ghosts)] = graph.numbers[ghosts]
            out[(part - hop) % n_parts, : len(ghosts)] = local[ghosts]
            start += length
        numbers[part, : len(atoms)], positions[part, : len(atoms)] = graph.numbers[atoms], graph.positions[atoms]
        neighbors[part, : len(atoms)], shifts[part, : len(atoms)] = rename[graph.neighbors[atoms]], graph.shifts[atoms]
    place = np.where(graph.numbers > 0, owner[:-1] * size + local[:-1], n_parts * size).astype(np.int32)
    no_atoms = {name: getattr(graph, name)[:0] for name in ("numbers", "positions", "neighbors", "shifts")}
    parts = Partition(numbers, positions, neighbors, shifts, sent, place, graph if whole else graph.replace(**no_atoms), hops)
    return jax.tree_util.tree_map(lambda x, spec: _placed(x, mesh, spec), parts, _specs(parts, mesh))


@functools.singledispatch
def is_cut(model: Potential) -> bool:
    """Whether a model can be evaluated in parts: where energies follow from the atoms' own neighbours."""
    return isinstance(model, LocalPotential) and not predicts_more(model)


@is_cut.register
def _terms_are_cut(model: Sum) -> bool:
    return all(map(is_cut, model.terms))


@is_cut.register
def _members_are_cut(model: Committee) -> bool:
    return all(map(is_cut, model.members))


def evaluate(model: Potential, parts: Partition, mesh: Mesh) -> Properties:
    """Energies, forces and virial of a structure in parts; equal to `jaxpot.evaluate` but for the order of sums.

    Of a Sum the terms whose atomic energies follow from the atoms' own neighbours are shared out; others are evaluated by every device.

    Args:
      model: a potential.
      parts: from `partition`; with `whole=True`, if the model has terms that cannot be evaluated in parts.
      mesh: the mesh that they were made for.

    Returns:
      Properties in the atoms' original order.

    Raises:
      ValueError: for terms that cannot be evaluated in parts, where the structure is not at hand as a whole.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), 0.0104, 3.4, PolynomialCutoff(6.0))
      >>> mesh = make_mesh(1)
      >>> evaluate(argon, partition(from_atoms(bulk("Ar", cubic=True), cutoff=6.0), mesh), mesh).forces.shape
      (4, 3)
    """
    others = [type(term).__name__ for term in terms_of(model) if not is_cut(term)]
    if others and not len(parts.structure.numbers):
        names = " and ".join(dict.fromkeys(others))
        hint = "write sharding.partition(graph, mesh, whole=True)"
        raise ValueError(f"sharding.evaluate: energies of {names} depend on more than each atom's neighbours; {hint}")
    return _evaluate(model, parts, mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _evaluate(model: Potential, parts: Partition, mesh: Mesh) -> Properties:
    model, parts = promoted_pair(model, parts)
    terms = terms_of(model)
    cut, others = (tuple(prepare(term) for term in terms if is_cut(term) is kind) for kind in (True, False))
    found, more = [_in_parts(cut, parts, mesh)] if cut else [], Properties()
    if others:
        everywhere = jax.lax.with_sharding_constraint(parts.positions.reshape(-1, 3), NamedSharding(mesh, P()))
        structure = parts.structure.replace(positions=_in_order(everywhere, parts))
        *whole, more = _of_terms(others, structure)
        found.append(whole)
    energies, gradient, by_strain = (sum(x) for x in zip(*found, strict=True))
    unknown = (parts.numbers > 0) & (jnp.asarray(species_table(Sum(terms).species))[parts.numbers] < 0)
    real = parts.place < np.prod(parts.positions.shape[:2])
    return poisoned(jnp.where(jnp.any(unknown) & real, jnp.nan, energies), -gradient, -by_strain, more)


def _of_terms(terms: tuple[Potential, ...], graph: Graph) -> tuple[Array, Array, Array, Properties]:
    """Energies and their derivatives by these terms of a Sum, of which others may know more elements."""
    return energies_with_gradient(Sum(terms), only(graph, Sum(terms).species))


def _in_order(x: Array, parts: Partition) -> Array:
    """What the parts have of every own atom, [D C, ...], in the order of the structure; 0 for padding."""
    return jnp.take(x, parts.place, axis=0, mode="fill", fill_value=0)


def _in_parts(terms: tuple[Potential, ...], parts: Partition, mesh: Mesh) -> tuple[Array, Array, Array]:
    """Energies [N] and their derivatives by positions [N, 3] and strain [3, 3], where every device has its part of the atoms."""
    specs, shared = _specs(parts, mesh), P(mesh.axis_names)
    own = jax.shard_map(
        lambda terms, parts: _of_part(terms, parts, mesh), mesh=mesh, in_specs=(P(), specs), out_specs=(shared, shared, P()), check_vma=False
    )
    energies, gradient, by_strain = own(terms, parts)
    return _in_order(energies.reshape(-1), parts), _in_order(gradient.reshape(-1, 3), parts), by_strain


def _of_part(terms: tuple[Potential, ...], parts: Partition, mesh: Mesh) -> tuple[Array, Array, Array]:
    """Energies [1, C] of this device's atoms, the derivatives [1, C, 3] of all by their positions, and of all by strain."""
    (axis,), n_parts = mesh.axis_names, mesh.size
    positions, size = parts.positions[0], parts.positions.shape[1]

    def passed(x, hop):
        return jax.lax.ppermute(x, axis, [(part, (part + hop) % n_parts) for part in range(n_parts)])

    ghosts = [passed(positions[sent[0]], hop) for sent, hop in zip(parts.sent, parts.hops, strict=True)]
    own = {"numbers": parts.numbers[0], "neighbors": parts.neighbors[0], "shifts": parts.shifts[0]}
    energies, gradient, by_strain, _ = _of_terms(terms, parts.structure.replace(positions=jnp.concatenate([positions, *ghosts]), **own))
    total, start = gradient[:size], size
    for sent, hop in zip(parts.sent, parts.hops, strict=True):
        stop = start + sent.shape[-1]
        total = total.at[sent[0]].add(passed(gradient[start:stop], -hop))  # padding of `sent` is no neighbour of anything: its gradient is zero
        start = stop
    return energies[None], total[None], jax.lax.psum(by_strain, axis)


def _specs(parts: Partition, mesh: Mesh) -> Partition:
    """Which leaves are shared out over the devices; the others are the same on all."""
    shared = P(mesh.axis_names)
    specs = jax.tree_util.tree_map(lambda _: P(), parts)
    return set_fields(specs, numbers=shared, positions=shared, neighbors=shared, shifts=shared, sent=tuple(shared for _ in parts.sent))


def _places(graph: Graph) -> np.ndarray:
    """Where atoms are, for cutting: along the lattice vectors, in Å, wrapped into the cell where it is periodic."""
    from ase.cell import Cell

    cell = Cell(np.asarray(graph.cell, float)).complete().array
    fractional = np.linalg.solve(cell.T, np.asarray(graph.positions, float).T).T
    return np.where(graph.pbc, fractional % 1, fractional) * np.linalg.norm(cell, axis=1)


def _bisected(places: np.ndarray, atoms: np.ndarray, n_parts: int) -> list[np.ndarray]:
    """Atoms in compact parts whose numbers differ by one at most, by halving along the longest direction."""
    if n_parts == 1:
        return [np.sort(atoms)]
    low = n_parts // 2
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = np.argsort(places[:, axis], kind="stable")
    cut = round(len(atoms) * low / n_parts)
    first, second = order[:cut], order[cut:]
    return _bisected(places[first], atoms[first], low) + _bisected(places[second], atoms[second], n_parts - low)
