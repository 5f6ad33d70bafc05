"""Training data: labelled structures in size buckets, each label with its own noise level.

A missing label has infinite sigma, never a zero target. Arrays stay on the host; a fit moves one block at a time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.graph import Graph, from_atoms, pad
from jaxpot.potentials.base import Properties
from jaxpot.pytree import pytree, static

_BUCKET = 1.3  # sizes within this ratio share one padded shape
_COMPILATION = 100_000  # atoms × slots of padding that cost about as much as one more compilation
KEYS = {"energy": "energy", "forces": "forces", "stress": "stress", "virial": "virial"}
_SHAPES = {"energy": "", "forces": "[N, 3]", "virial": "[3, 3]"}


@pytree
class Batch:
    """Structures of similar size, stacked on a leading axis B; targets and sigma as in Properties."""

    graphs: Graph
    targets: Properties
    sigma: Properties


@pytree
class Dataset:
    """Labelled structures.

    Args:
      batches: one padded shape and so one compilation per bucket of sizes.
      index: for every batch, which frame each entry is (−1: padding).
      config_types: the `config_type` of every frame, in the frames' order ("default" where there is none).
      n_atoms: number of atoms of every frame.
    """

    batches: tuple[Batch, ...]
    index: tuple[tuple[int, ...], ...] = static()
    config_types: tuple[str, ...] = static()
    n_atoms: tuple[int, ...] = static()

    def __len__(self) -> int:
        return len(self.config_types)

    @staticmethod
    def from_atoms(
        frames: Sequence[Any],
        cutoff: float,
        *,
        sigma: Properties | Callable[[Any], Properties],
        keys: Mapping[str, str] | None = None,
        batch_size: int = 64,
    ) -> "Dataset":
        """Builds neighbour lists, reads labels and sorts structures into buckets.

        Args:
          frames: sequence of `ase.Atoms`.
          cutoff: radius of the neighbour lists, in Å; the upper bound of any cutoff that will be searched.
          sigma: noise levels, energy in eV per structure, forces in eV/Å (a number, [N] or [N, 3]), virial in eV (a number or
            [3, 3]); or a function of a frame that returns them. None leaves a property out. See `noise_levels`.
          keys: where labels are, for example {"energy": "dft_energy", "forces": "dft_force", "virial": "dft_virial"}; energy,
            stress and virial in `atoms.info`, forces in `atoms.arrays`. None reads the frames' calculators (as ASE fills them
            from extended XYZ) and, failing that, `energy`, `forces`, `virial` and `stress` by those names.
          batch_size: largest number of structures in a batch.

        Returns:
          The Dataset. Labels that a frame lacks get infinite sigma.

        Raises:
          ValueError: for no frames, labels of a wrong shape or not finite, noise levels that are not positive, a property with
            a noise level that no frame has, or anything `jaxpot.from_atoms` refuses; with the frame's number.
        """
        frames = list(frames)
        if not frames:
            raise ValueError("no frames; expected at least one ase.Atoms")
        unknown = sorted(set(keys or {}) - set(KEYS))
        if unknown:
            raise ValueError(f"keys: unknown properties {unknown}; expected some of {sorted(KEYS)}")
        graphs, targets, sigmas = [], [], []
        for number, atoms in enumerate(frames):
            try:
                graphs.append(_on_host(from_atoms(atoms, cutoff)))
                found = read_labels(atoms, keys)
                levels = sigma(atoms) if callable(sigma) else sigma
                target, level = _with_levels(found, levels, len(atoms))
            except ValueError as error:
                raise ValueError(f"frame {number}: {error}") from None
            targets.append(target)
            sigmas.append(level)
        for name in ("energy", "forces", "virial"):
            wanted = any(getattr(sigma(a) if callable(sigma) else sigma, name) is not None for a in frames[:1])
            if wanted and not any(np.any(np.isfinite(getattr(s, name))) for s in sigmas):
                where = f"under the key {keys[name]!r}" if keys and name in keys else "in their calculators, info or arrays"
                raise ValueError(
                    f"no frame has {name} {where}; name them with keys={{{name!r}: ...}}, or set sigma.{name} to None. "
                    f"Frame 0 has info {sorted(frames[0].info)} and arrays {sorted(frames[0].arrays)}"
                )
        return Dataset._bucketed(frames, graphs, targets, sigmas, batch_size)

    @staticmethod
    def _bucketed(frames, graphs, targets, sigmas, batch_size) -> "Dataset":
        shapes = [graph.neighbors.shape for graph in graphs]
        batches, index = [], []
        for ids in _buckets(shapes):
            n, k = max(shapes[i][0] for i in ids), max(shapes[i][1] for i in ids)
            for start in range(0, len(ids), batch_size):
                part = ids[start : start + batch_size]
                # a bucket's last batch is filled up with empty structures, so that all its batches have one shape
                fill = batch_size - len(part) if start else 0
                batch = [Batch(pad(graphs[i], max_atoms=n, max_neighbors=k), *_pad_labels(targets[i], sigmas[i], n)) for i in part]
                batches.append(_stacked(batch + [_empty(batch[0])] * fill))
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

    def structures(self):
        """Yields (frame number, Batch of one structure without the leading axis), bucket by bucket."""
        import jax

        for batch, ids in zip(self.batches, self.index, strict=True):
            for position, frame in enumerate(ids):
                if frame >= 0:
                    yield frame, jax.tree_util.tree_map(lambda x, position=position: x[position], batch)


def _buckets(shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Structures that share one padded shape: buckets are merged while padding costs less than another compilation."""

    def padded(ids: list[int]) -> int:
        return len(ids) * max(shapes[i][0] for i in ids) * max(shapes[i][1] for i in ids)

    members: dict[tuple[int, int], list[int]] = {}
    for i, (n, k) in enumerate(shapes):
        members.setdefault((int(math.log(n) / math.log(_BUCKET)), int(math.log(k) / math.log(_BUCKET))), []).append(i)
    buckets = [members[key] for key in sorted(members)]
    while len(buckets) > 1:
        pairs = [(padded(a + b) - padded(a) - padded(b), i, j) for i, a in enumerate(buckets) for j, b in enumerate(buckets[:i])]
        added, i, j = min(pairs)
        if added > _COMPILATION:
            break
        buckets[j] = sorted(buckets[j] + buckets[i])
        del buckets[i]
    return buckets


def noise_levels(
    energy: float | None = None,
    forces: float | None = None,
    virial: float | None = None,
    *,
    config_types: Mapping[str, Sequence[float | None]] | None = None,
) -> Callable[[Any], Properties]:
    """Noise levels by gap_fit's rule: energies and virials of a structure of N atoms get √N times the given level.

    Args:
      energy: in eV per √atom (gap_fit's `default_sigma[0]`); None leaves energies out.
      forces: in eV/Å.
      virial: in eV per √atom.
      config_types: `config_type` -> (energy, forces, virial) instead of the default (gap_fit's `config_type_sigma`).

    Returns:
      A function of `ase.Atoms` for `Dataset.from_atoms(..., sigma=...)`.

    Example:
      >>> from ase.build import bulk
      >>> float(noise_levels(0.001, 0.1)(bulk("Si", cubic=True) * (2, 1, 1)).energy)
      0.004
    """
    levels = {"": (energy, forces, virial), **{k: tuple(v) for k, v in (config_types or {}).items()}}
    for name, triple in levels.items():
        if len(triple) != 3 or any(level is not None and not level > 0 for level in triple):
            raise ValueError(f"noise levels of {name or 'the default'} must be three positive numbers or None, got {triple}")

    def sigma(atoms: Any) -> Properties:
        e, f, v = levels.get(str(atoms.info.get("config_type", "")), levels[""])
        root = math.sqrt(len(atoms))
        return Properties(energy=None if e is None else e * root, forces=f, virial=None if v is None else v * root)

    return sigma


def _on_host(graph: Graph) -> Graph:
    import jax

    return jax.tree_util.tree_map(np.asarray, graph)


def read_labels(atoms: Any, keys: Mapping[str, str] | None) -> dict[str, np.ndarray]:
    """energy, forces and virial of a frame, those it has."""
    found: dict[str, Any] = {}
    results = {} if keys is not None or atoms.calc is None else dict(getattr(atoms.calc, "results", {}))
    for name, default in KEYS.items():
        if keys is not None and name not in keys:
            continue
        key = default if keys is None else keys[name]
        store = atoms.arrays if name == "forces" else atoms.info
        if name in results and results[name] is not None:
            found[name] = results[name]
        elif key in store:
            found[name] = store[key]
        elif keys is not None and atoms.calc is not None and key == name and getattr(atoms.calc, "results", {}).get(name) is not None:
            found[name] = atoms.calc.results[name]
    labels = {}
    if "energy" in found:
        value = np.asarray(found["energy"], float)
        if value.size != 1:
            raise ValueError(f"energy must be one number, got shape {value.shape}")
        labels["energy"] = value.reshape(())
    if "forces" in found:
        value = np.asarray(found["forces"], float)
        if value.shape != (len(atoms), 3):
            raise ValueError(f"forces must have shape [{len(atoms)}, 3], got {list(value.shape)}")
        labels["forces"] = value
    if "virial" in found:
        labels["virial"] = _symmetric("virial", found["virial"])
    elif "stress" in found:
        if abs(atoms.cell.volume) == 0:
            raise ValueError("a stress needs a cell with a volume")
        labels["virial"] = -atoms.get_volume() * _symmetric("stress", found["stress"])
    return {name: require_finite(value, name, "leave the label out if it is missing") for name, value in labels.items()}


def _symmetric(name: str, value: Any) -> np.ndarray:
    """[3, 3] from ASE's Voigt order (xx yy zz yz xz xy), nine numbers or a matrix."""
    value = np.asarray(value, float)
    if value.size == 6:
        xx, yy, zz, yz, xz, xy = value.reshape(6)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if value.size != 9:
        raise ValueError(f"{name} must have 6 or 9 entries, got shape {list(value.shape)}")
    value = value.reshape(3, 3)
    skew = np.abs(value - value.T).max()
    if skew > 1e-3 * max(np.abs(value).max(), 1.0):
        raise ValueError(f"{name} is not symmetric: entries differ from their transposes by up to {skew:.3g}")
    return (value + value.T) / 2


def _with_levels(found: Mapping[str, np.ndarray], levels: Properties, n: int) -> tuple[Properties, Properties]:
    """Targets and sigma of one frame; NaN and infinity where a label is missing or left out."""
    shapes = {"energy": (), "forces": (n, 3), "virial": (3, 3)}
    targets, sigmas = {}, {}
    for name, shape in shapes.items():
        level = getattr(levels, name)
        if level is None or name not in found:
            targets[name], sigmas[name] = np.full(shape, np.nan), np.full(shape, np.inf)
            continue
        level = np.asarray(level, float)
        if name == "forces" and level.shape == (n,):
            level = level[:, None]
        if not np.all(level > 0):
            raise ValueError(f"sigma.{name} must be positive, got {level.min()}")
        try:
            sigmas[name] = np.broadcast_to(level, shape).copy()
        except ValueError:
            raise ValueError(f"sigma.{name} must be a number or {_SHAPES[name]}, got shape {list(level.shape)}") from None
        targets[name] = found[name]
    return Properties(**targets), Properties(**sigmas)


def _pad_labels(target: Properties, sigma: Properties, n: int) -> tuple[Properties, Properties]:
    extra = ((0, n - target.forces.shape[0]), (0, 0))
    return (
        target.replace(forces=np.pad(target.forces, extra, constant_values=np.nan)),
        sigma.replace(forces=np.pad(sigma.forces, extra, constant_values=np.inf)),
    )


def _stacked(batch: Sequence[Batch]) -> Batch:
    import jax

    return jax.tree_util.tree_map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *batch)


def _empty(like: Batch) -> Batch:
    import jax

    graph = like.graphs.replace(numbers=np.zeros_like(like.graphs.numbers))
    missing = jax.tree_util.tree_map(lambda x: np.full_like(x, np.inf), like.sigma)
    return Batch(graph, jax.tree_util.tree_map(lambda x: np.full_like(x, np.nan), like.targets), missing)
