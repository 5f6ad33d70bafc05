"""Training data: labelled structures in size buckets, each label with its own noise level.

A missing label has infinite sigma, never a zero target. Arrays stay on the host; a fit moves one block at a time.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpot.checks import is_concrete
from jaxpot.graph import Graph, from_atoms, pad
from jaxpot.labels import Label, missing, read_label
from jaxpot.leaves import Tree
from jaxpot.noise import broadcast_level, require_stated
from jaxpot.properties import OBSERVABLES, SOURCES, Properties
from jaxpot.structures import is_atoms
from jaxpot.trees import pytree, static

OUTER = ("charge", "field")  # of a Graph, beside labels
_BUCKET = 1.3  # sizes within this ratio share one padded shape
_COMPILATION = 100_000  # atoms × slots of padding that cost about as much as one more compilation


@pytree
class Batch(Tree):
    """Structures of similar size, stacked on a leading axis B; targets and sigma as in Properties."""

    graphs: Graph
    targets: Properties
    sigma: Properties


@pytree
class Dataset(Tree):
    """Labelled structures.

    Args:
      batches: one padded shape and so one compilation per bucket of sizes.
      index: for every batch, which frame each entry is (−1: padding).
      config_types: the `config_type` of every frame, in the frames' order ("default" where there is none).
      n_atoms: number of atoms of every frame.
      mesh: the devices that share every batch; set by `sharding.shard`.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import noise_levels
      >>> frame = bulk("Si", cubic=True)
      >>> frame.info["energy"] = -43.0
      >>> data = Dataset.from_atoms([frame], cutoff=4.0, sigma=noise_levels(energy=0.001))
      >>> data.n_atoms, float(data.batches[0].targets.energy[0])
      ((8,), -43.0)
    """

    batches: tuple[Batch, ...]
    index: tuple[tuple[int, ...], ...] = static()
    config_types: tuple[str, ...] = static()
    n_atoms: tuple[int, ...] = static()
    mesh: Any = static(default=None)

    def __len__(self) -> int:
        return len(self.config_types)

    def __str__(self) -> str:
        """How many structures, atoms and labels of each kind there are, by configuration type."""
        names = [name for name in OBSERVABLES if any(getattr(batch.sigma, name) is not None for batch in self.batches)]
        counts = {kind: np.zeros(2 + len(names), int) for kind in ("all", *sorted(set(self.config_types)))}
        for batch, ids in zip(self.batches, self.index, strict=True):
            for entry, frame in enumerate(ids):
                if frame >= 0:
                    levels = (getattr(batch.sigma, name) for name in names)
                    found = [1, self.n_atoms[frame], *(level is not None and bool(np.any(np.isfinite(level[entry]))) for level in levels)]
                    counts["all"] += np.array(found, int)
                    counts[self.config_types[frame]] += np.array(found, int)
        rows = [("", "structures", "atoms", *names), *((kind, *map(str, row)) for kind, row in counts.items())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(cell.rjust(w) if c else cell.ljust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows)

    @staticmethod
    def from_atoms(
        frames: Iterable[Any],
        cutoff: float,
        *,
        sigma: Properties | Callable[[Any], Properties] | None = None,
        keys: Mapping[str, str] | None = None,
        batch_size: int = 64,
    ) -> "Dataset":
        """Builds neighbour lists, reads labels and sorts structures into buckets.

        Args:
          frames: sequence of `ase.Atoms`, or one.
          cutoff: radius of the neighbour lists, in Å; the upper bound of any cutoff that will be searched.
          sigma: noise levels, energy in eV per structure, forces in eV/Å (a number, [N] or [N, 3]), virial in eV (a number or
            [3, 3]), energies of atoms in eV and charges in e (a number or [N]); or a function of a frame that returns them. None leaves a
            property out, and its labels are not looked at. See `noise_levels`, which also takes the levels that frames state for
            themselves; others must agree with those. A dipole (e·Å), polarizability (Å³) or tensor has one number, the standard
            deviation of every component along any axis; a tensor per atom a number or [N]. Without it no label is read: a pool of structures, from
            which environments, or structures to be labelled, are chosen.
          keys: where labels are, for example {"energy": "dft_energy", "forces": "dft_force", "virial": "dft_virial"}: names in the
            results of the frames' calculators (where ASE's reader of extended XYZ puts some), in `atoms.info`, and of forces, energies and
            charges in `atoms.arrays`. None stands for the names of the properties, `energy` (not `free_energy`), and `stress` beside
            `virial`. A `dipole` has 3 numbers, a `polarizability` 9, row by row, and a `tensor` 3^rank in `info`; [N, 3^rank] in `arrays`
            are one per atom.
            Labels are taken as they stand, and models predict in their unit; what `stress` names becomes −volume · stress, of six
            numbers in ASE's order xx yy zz yz xz xy. A label in several places must be the same in all, up to round-off (energy
            1e-6 eV and 1e-7 of it, forces 1e-5 eV/Å and 1e-5 of the largest, virial 1e-4 of the largest entry and 5e-7 eV/Å³ of
            stress). Nothing is computed: a calculator counts only for what it holds of these very atoms. A `charge` and a `field` are
            the Graph's total charge and outer field, which every frame then has in `atoms.info`; without a key they are zero.
          batch_size: largest number of structures in a batch.

        Returns:
          The Dataset. Labels that a frame lacks get infinite sigma; what no frame has is None.

        Raises:
          ValueError: for no frames; labels of a wrong shape, not finite, contradictory, or in a calculator that holds another
            structure; noise levels that are not positive or not those that the frame states; a property with a noise level that
            no frame has; or anything `jaxpot.from_atoms` refuses; with the frame's number.
          TypeError: for what is no `ase.Atoms`, or noise levels of another kind.
        """
        frames = [frames] if is_atoms(frames) else list(frames)
        if wrong := [frame for frame in frames if not is_atoms(frame)]:
            raise TypeError(f"frames hold a {type(wrong[0]).__name__}; expected ase.Atoms, as ase.io.read(path, ':') returns them")
        if not frames:
            raise ValueError("no frames; expected at least one ase.Atoms")
        graphs = searched(frames, cutoff, keys)
        labels, wanted = labels_of(frames, sigma, keys)
        for name in OBSERVABLES:
            if name in wanted and not any(name in found for found in labels):
                raise ValueError(missing(name, frames, keys))
        return Dataset._bucketed(frames, graphs, *_filled(labels, [len(atoms) for atoms in frames]), batch_size)

    @staticmethod
    def from_files(
        files: Any,
        cutoff: float,
        *,
        folder: Any,
        sigma: Properties | Callable[[Any], Properties] | None = None,
        keys: Mapping[str, str] | None = None,
        batch_size: int = 64,
        workers: int = 0,
        progress: bool | None = None,
    ) -> "Dataset":
        """Structures of files that need not fit into memory, prepared once in a folder; fits, `evaluate` and reports take it as any other.

        What was killed goes on when called again, and what is finished is not done again, unless files (by size and time), cutoff, noise levels, keys
        or batch size have changed. Batches are the same as those of `from_atoms`.

        Args:
          files: a path or several, of extended XYZ or anything that ASE reads, such as its data bases.
          cutoff, sigma, keys, batch_size: as of `from_atoms`.
          folder: where neighbour lists and labels are kept, 16 bytes for every neighbour of every atom; not to be moved while it is in use.
            A function of noise levels is compared by its code, its defaults and what it encloses, not by global names that it reads.
          workers: processes that read and search neighbours; 0 is this one. A script that says more begins with `if __name__ == "__main__":`.
          progress: True or False shows or hides the progress bar; None shows it on a terminal.

        Raises:
          FileNotFoundError: for a file that is not there.
          ValueError: as `from_atoms`, with the number of the structure; for a file that changes while it is read, of which nothing is kept, a folder of
            other files, or a batch that does not fit into memory.
          OSError: where the disk has no room.

        Example:
          >>> import tempfile
          >>> import ase.io
          >>> from ase.build import bulk
          >>> from jaxpot import noise_levels
          >>> folder = tempfile.mkdtemp()
          >>> ase.io.write(f"{folder}/train.xyz", [bulk("Cu", a=3.6)] * 3)
          >>> len(Dataset.from_files(f"{folder}/train.xyz", cutoff=4.0, folder=f"{folder}/data"))
          3
        """
        from jaxpot.streamed import from_files

        return from_files(
            files, cutoff, folder=folder, sigma=sigma, keys=keys, batch_size=batch_size, workers=workers, progress=progress
        )  # fmt: skip

    @staticmethod
    def of(
        model: Any, data: "Dataset | Iterable[Any]", *, sigma: Any = None, keys: Mapping[str, str] | None = None, name: str = "", labelled: bool = False
    ) -> "Dataset":
        """A Dataset as it is, or one of frames for a model, which knows its reach; in the name of a function.

        Args:
          model: what has a `reach`.
          data: a Dataset, or `ase.Atoms` and lists of them, as `from_atoms` takes them.
          sigma, keys: as of `from_atoms`, with frames only.
          name: of the function, for messages.
          labelled: whether frames need noise levels.

        Raises:
          TypeError: for noise levels or keys beside a Dataset, or for frames without them.
        """
        if isinstance(data, Dataset):
            if sigma is not None or keys is not None:
                raise TypeError(f"{name}: a Dataset has its noise levels and labels; leave out sigma and keys, or give frames in its place")
            return data
        if labelled and sigma is None:
            raise TypeError(f"{name}: frames come with the noise levels of their labels; write sigma=jaxpot.noise_levels(energy=0.001, forces=0.1)")
        return Dataset.from_atoms(data, float(model.reach) or 1.0, sigma=sigma, keys=keys)

    @staticmethod
    def _bucketed(frames, graphs, targets, sigmas, batch_size) -> "Dataset":
        shapes = [graph.neighbors.shape for graph in graphs]
        batches, index = [], []
        for ids in buckets(shapes):
            n, k = max(shapes[i][0] for i in ids), max(shapes[i][1] for i in ids)
            for start in range(0, len(ids), batch_size):
                part = ids[start : start + batch_size]
                # a bucket's last batch is filled up with empty structures, so that all its batches have one shape
                fill = batch_size - len(part) if start else 0
                batch = [Batch(pad(graphs[i], max_atoms=n, max_neighbors=k), *_pad_labels(targets[i], sigmas[i], n - shapes[i][0])) for i in part]
                batches.append(_stacked(batch + [empty_like(batch[0])] * fill))
                index.append(tuple(part) + (-1,) * fill)
        return Dataset(
            batches=tuple(batches),
            index=tuple(index),
            config_types=tuple(str(a.info.get("config_type", "default")) for a in frames),
            n_atoms=tuple(len(a) for a in frames),
        )

    def subset(self, frames: Sequence[int]) -> "Dataset":
        """The same padded structures, only these frames, renumbered in the order given; shares compilations with the whole.

        Raises:
          ValueError: for a frame that the data set does not hold.
        """
        import jax

        unknown = sorted(set(frames) - set(range(len(self))))
        if unknown or not len(frames):
            raise ValueError(f"frames {unknown} of {len(self)} asked for; expected at least one number from 0 to {len(self) - 1}")
        new = {frame: position for position, frame in enumerate(frames)}
        batches, index = [], []
        for batch, ids in zip(self.batches, self.index, strict=True):
            keep = [i for i, frame in enumerate(ids) if frame in new]
            if keep:
                batches.append(jax.tree_util.tree_map(lambda x, keep=keep: x[np.array(keep)], batch))
                index.append(tuple(new[ids[i]] for i in keep))
        return Dataset(
            batches=tuple(batches),
            index=tuple(index),
            config_types=tuple(self.config_types[f] for f in frames),
            n_atoms=tuple(self.n_atoms[f] for f in frames),
        )

    def scale_noise(self, **factors: Any) -> "Dataset":
        """The same labels with the noise levels of some properties multiplied by factors, differentiable.

        Raises:
          ValueError: for a property without noise levels in the data.

        Example:
          >>> from ase.build import bulk
          >>> from ase.calculators.emt import EMT
          >>> from jaxpot import noise_levels
          >>> atoms = bulk("Cu")
          >>> atoms.calc = EMT()
          >>> _ = atoms.get_potential_energy()
          >>> data = Dataset.from_atoms([atoms], cutoff=3.0, sigma=noise_levels(0.01))
          >>> float(data.scale_noise(energy=2.0).batches[0].sigma.energy[0])
          0.02
        """
        import jax.numpy as jnp

        for name in factors:
            if all(getattr(b.sigma, name, None) is None for b in self.batches):
                raise ValueError(f"scale_noise: the data have no noise levels of {name!r}")

        def scaled(level: Any, factor: Any):
            xp = np if is_concrete(level) and is_concrete(factor) else jnp
            present = xp.isfinite(level)  # the infinite levels of missing labels must not meet the zero gradients that they get
            return xp.where(present, xp.where(present, level, 1) * factor, np.inf)

        def of_batch(sigma: Properties) -> Properties:
            held = {name: getattr(sigma, name) for name in factors}
            return sigma.replace(**{name: scaled(level, factors[name]) for name, level in held.items() if level is not None})

        return self.replace(batches=tuple(b.replace(sigma=of_batch(b.sigma)) for b in self.batches))

    def structures(self):
        """Yields (frame number, Batch of one structure without the leading axis), bucket by bucket."""
        import jax

        for batch, ids in zip(self.batches, self.index, strict=True):
            for position, frame in enumerate(ids):
                if frame >= 0:
                    yield frame, jax.tree_util.tree_map(lambda x, position=position: x[position], batch)


def searched(frames: Sequence[Any], cutoff: float, keys: Mapping[str, str] | None, first: int = 0) -> list[Graph]:
    """The graphs of frames, on the host; messages count them from the first."""
    unknown = sorted(set(keys or {}) - {*SOURCES, *OUTER})
    if unknown:
        raise ValueError(f"keys: unknown properties {unknown}; expected some of {sorted({*SOURCES, *OUTER})}")
    if not all(isinstance(key, str) for key in (keys or {}).values()):
        raise ValueError(f"keys are {dict(keys or {})}; expected names, for example {{'energy': 'dft_energy'}}")
    graphs = []
    for number, atoms in enumerate(frames, first):
        try:
            graphs.append(_on_host(from_atoms(atoms, cutoff, **_outer(atoms, keys))))
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
    return graphs


def labels_of(frames: Sequence[Any], sigma: Any, keys: Mapping[str, str] | None, first: int = 0) -> tuple[list[dict], set[str]]:
    """Labels of frames, name -> (target, sigma), and the names for which any frame has noise levels; messages count frames from the first."""
    sigma = Properties() if sigma is None else sigma
    if not (callable(sigma) or isinstance(sigma, Properties)):
        raise TypeError(f"sigma is {sigma!r}; expected noise levels by property, such as jaxpot.noise_levels(energy=0.001, forces=0.1)")
    labels, wanted = [], set()
    for number, atoms in enumerate(frames, first):
        try:
            levels = sigma(atoms) if callable(sigma) else sigma
            require_stated(atoms, levels)
            asked = [name for name in OBSERVABLES if getattr(levels, name) is not None]
            found = {name: label for name in asked if (label := read_label(atoms, name, keys)) is not None}
            labels.append({name: _with_level(name, label, getattr(levels, name)) for name, label in found.items()})
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
        wanted.update(asked)
    return labels, wanted


def buckets(shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Structures that share one padded shape: buckets are merged while padding costs less than another compilation."""
    members: dict[tuple[int, int], list[int]] = {}
    for i, (n, k) in enumerate(shapes):
        members.setdefault((int(math.log(n) / math.log(_BUCKET)), int(math.log(k) / math.log(_BUCKET))), []).append(i)
    found = [members[key] for key in sorted(members)]
    sizes = [(len(ids), max(shapes[i][0] for i in ids), max(shapes[i][1] for i in ids)) for ids in found]

    def both(a: tuple, b: tuple) -> tuple[int, int, int]:
        return a[0] + b[0], max(a[1], b[1]), max(a[2], b[2])

    while len(found) > 1:
        pairs = [(math.prod(both(a, b)) - math.prod(a) - math.prod(b), i, j) for i, a in enumerate(sizes) for j, b in enumerate(sizes[:i])]
        added, i, j = min(pairs)
        if added > _COMPILATION:
            break
        found[j], sizes[j] = sorted(found[j] + found[i]), both(sizes[j], sizes[i])
        del found[i], sizes[i]
    return found


def _outer(atoms: Any, keys: Mapping[str, str] | None) -> dict[str, Any]:
    """The total charge and the outer field of a frame, where keys say how `info` calls them."""
    named = {name: key for name, key in (keys or {}).items() if name in OUTER}
    for name, key in named.items():
        if key not in atoms.info:
            nothing = "0.0" if name == "charge" else "(0, 0, 0)"
            raise ValueError(f"it has no atoms.info[{key!r}], where keys say its {name} is; write atoms.info[{key!r}] = {nothing}")
    return {name: atoms.info[key] for name, key in named.items()}


def _on_host(graph: Graph) -> Graph:
    import jax

    return jax.tree_util.tree_map(np.asarray, graph)


def _with_level(name: str, label: Label, level: Any) -> tuple[np.ndarray, np.ndarray]:
    """Target and sigma of one label; NaN where it is left out."""
    sigma = broadcast_level(name, level, label)
    present = np.isfinite(sigma).reshape((*sigma.shape, *(1,) * (label.value.ndim - sigma.ndim)))
    return np.where(present, label.value, np.nan), sigma


def _filled(labels: Sequence[Mapping[str, tuple]], sizes: Sequence[int]) -> tuple[list[Properties], list[Properties]]:
    """Targets and sigma of all frames for what some frame has; NaN and infinity where another lacks it."""
    targets, sigmas = ([{} for _ in labels] for _ in range(2))
    for name, observable in OBSERVABLES.items():
        kinds = {}
        for frame, found in enumerate(labels):
            if name in found:
                target, sigma = found[name]
                per_atom = sigma.ndim > 0 if observable.per_atom is None else observable.per_atom
                kinds.setdefault((per_atom, target.shape[per_atom:], sigma.shape[per_atom:]), frame)
        if len(kinds) > 1:
            (a, i), (b, j) = list(kinds.items())[:2]
            words = [f"rank {len(shape)}" + " per atom" * per_atom for per_atom, shape, _ in (a, b)]
            raise ValueError(f"{name} is of {words[0]} in frame {i} and of {words[1]} in frame {j}; a data set holds one kind")
        for per_atom, shape, of_level in kinds:
            for i, n in enumerate(sizes):
                lead = (n,) * per_atom
                targets[i][name], sigmas[i][name] = labels[i].get(name) or (np.full((*lead, *shape), np.nan), np.full((*lead, *of_level), np.inf))
    return [Properties(**target) for target in targets], [Properties(**sigma) for sigma in sigmas]


def _pad_labels(target: Properties, sigma: Properties, more: int) -> tuple[Properties, Properties]:
    """With so many atoms more, which have no labels."""

    def padded(x, value):
        return np.pad(x, ((0, more), *((0, 0),) * (x.ndim - 1)), constant_values=value)

    names = [name for name, observable in OBSERVABLES.items() if getattr(sigma, name) is not None]
    names = [name for name in names if OBSERVABLES[name].per_atom or (OBSERVABLES[name].per_atom is None and getattr(sigma, name).ndim)]
    return tuple(x.replace(**{name: padded(getattr(x, name), value) for name in names}) for x, value in ((target, np.nan), (sigma, np.inf)))


def _stacked(batch: Sequence[Batch]) -> Batch:
    import jax

    return jax.tree_util.tree_map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *batch)


def empty_like(like: Batch) -> Batch:
    """A batch of the same shape without atoms or labels, to fill up with."""
    import jax

    nothing = {name: np.zeros_like(getattr(like.graphs, name)) for name in ("numbers", "charge")}
    graph = like.graphs.replace(**nothing)
    missing = jax.tree_util.tree_map(lambda x: np.full_like(x, np.inf), like.sigma)
    return Batch(graph, jax.tree_util.tree_map(lambda x: np.full_like(x, np.nan), like.targets), missing)
