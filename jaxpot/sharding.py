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
from jaxpot.graph import Graph
from jaxpot.passes import prepare
from jaxpot.potentials.base import LocalPotential, Potential, energies_with_gradient, poisoned, terms_of
from jaxpot.properties import Properties
from jaxpot.pytree import pytree, static

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
class Partition:
    """One structure in D parts, one for each device; made by `partition`.

    Args:
      numbers: atomic numbers of every part's own atoms and then of the ghosts it receives, shape [D, C + G]; 0 marks padding.
      positions: of the own atoms, shape [D, C, 3], in Å. May be replaced, as long as the neighbour lists stay complete.
      neighbors: shape [D, C, K], numbers of own atoms and ghosts; C + G marks an empty slot.
      shifts: shape [D, C, K, 3].
      sent: own atoms that every part sends, shape [D, S] for each of `hops`.
      cell, pbc, cutoff, overflow, charge, field: as in Graph.
      place: where each atom of the structure is, part · C + number there, shape [N].
      hops: how many devices further on each of `sent` goes.
    """

    numbers: Array
    positions: Array
    neighbors: Array
    shifts: Array
    sent: tuple[Array, ...]
    cell: Array
    pbc: Array
    cutoff: Array
    overflow: Array
    charge: Array
    field: Array
    place: Array
    hops: tuple[int, ...] = static()

    @property
    def communication(self) -> int:
        """Bytes that one device sends for one evaluation: positions there, forces back."""
        return 2 * sum(sent.shape[-1] for sent in self.sent) * 3 * self.positions.dtype.itemsize


def partition(graph: Graph, mesh: Mesh) -> Partition:
    """Cuts a structure into compact parts of equal numbers of atoms, on the host.

    Args:
      graph: one structure, the same in all processes.
      mesh: from `make_mesh`.

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
    place = np.where(graph.numbers > 0, owner[:-1] * size + local[:-1], n_parts * size)  # of padding atoms: nowhere
    same = {name: getattr(graph, name) for name in ("cell", "pbc", "cutoff", "overflow", "charge", "field")}
    whole = Partition(
        numbers=numbers, positions=positions, neighbors=neighbors, shifts=shifts, sent=sent, place=place.astype(np.int32), hops=hops, **same
    )
    return jax.tree_util.tree_map(lambda x, spec: _placed(x, mesh, spec), whole, _specs(whole, mesh))


def evaluate(model: Potential, parts: Partition, mesh: Mesh) -> Properties:
    """Energy, forces and virial of a structure in parts; equal to `jaxpot.evaluate` but for the order of sums.

    Args:
      model: a potential whose atomic energies follow from the atoms' own neighbours (a LocalPotential, or a Sum of such).
      parts: from `partition`.
      mesh: the mesh that they were made for.

    Returns:
      Properties in the atoms' original order; those of padding atoms are zero.

    Raises:
      ValueError: for a potential that cannot be evaluated in parts.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import LennardJones, PolynomialCutoff, from_atoms
      >>> argon = LennardJones(("Ar",), 0.0104, 3.4, PolynomialCutoff(6.0))
      >>> mesh = make_mesh(1)
      >>> evaluate(argon, partition(from_atoms(bulk("Ar", cubic=True), cutoff=6.0), mesh), mesh).forces.shape
      (4, 3)
    """
    if not all(isinstance(term, LocalPotential) for term in terms_of(model)):
        name = type(model).__name__
        raise ValueError(f"sharding.evaluate: energies of {name} depend on more than each atom's neighbours; use jaxpot.evaluate on one device")
    return _evaluate(model, parts, mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _evaluate(model: Potential, parts: Partition, mesh: Mesh) -> Properties:
    specs, everywhere = _specs(parts, mesh), P(mesh.axis_names)
    own = jax.shard_map(
        lambda model, parts: _of_part(model, parts, mesh), mesh=mesh, in_specs=(P(), specs), out_specs=(everywhere, everywhere, P()), check_vma=False
    )
    energies, forces, virial = own(prepare(model), parts)
    energies, forces = (x.at[parts.place].get(mode="fill", fill_value=0) for x in (energies.reshape(-1), forces.reshape(-1, 3)))
    return poisoned(energies, forces, virial)


def _of_part(model: Potential, parts: Partition, mesh: Mesh) -> tuple[Array, Array, Array]:
    """Energies [1, C] of the atoms of this device's part and forces [1, C, 3] on them, and the virial of the whole."""
    (axis,), n_parts = mesh.axis_names, mesh.size
    positions, size = parts.positions[0], parts.positions.shape[1]

    def passed(x, hop):
        return jax.lax.ppermute(x, axis, [(part, (part + hop) % n_parts) for part in range(n_parts)])

    ghosts = [passed(positions[sent[0]], hop) for sent, hop in zip(parts.sent, parts.hops, strict=True)]
    graph = Graph(
        numbers=parts.numbers[0],
        positions=jnp.concatenate([positions, *ghosts]),
        cell=parts.cell,
        pbc=parts.pbc,
        neighbors=parts.neighbors[0],
        shifts=parts.shifts[0],
        cutoff=parts.cutoff,
        overflow=parts.overflow,
        charge=parts.charge,
        field=parts.field,
    )
    energies, gradient, by_strain = energies_with_gradient(model, graph)
    total, start = gradient[:size], size
    for sent, hop in zip(parts.sent, parts.hops, strict=True):
        stop = start + sent.shape[-1]
        total = total.at[sent[0]].add(passed(gradient[start:stop], -hop))  # padding of `sent` is no neighbour of anything: its gradient is zero
        start = stop
    return energies[None, :size], -total[None], -jax.lax.psum(by_strain, axis)


def _specs(parts: Partition, mesh: Mesh) -> Partition:
    shared = P(mesh.axis_names)
    split = {"numbers", "positions", "neighbors", "shifts"}
    names = ("numbers", "positions", "neighbors", "shifts", "cell", "pbc", "cutoff", "overflow", "charge", "field", "place")
    changes = {name: shared if name in split else P() for name in names}
    return parts.replace(sent=tuple(shared for _ in parts.sent), **changes)


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
