"""Training data larger than memory: labelled structures from files, prepared once in a folder and mapped from there.

The files are read in pieces of a thousand structures, each of which is kept as it is done, so that what was killed goes on. Then the sizes are known,
buckets are planned from them, and every bucket's arrays are written in full, one file for each. A fit maps these files: what it has used the system
may forget, so memory does not grow with the number of structures.
"""

import concurrent.futures
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpot.data import Batch, Dataset, buckets, labels_of, searched
from jaxpot.graph import Graph
from jaxpot.neighbors import memory
from jaxpot.properties import OBSERVABLES, Properties

_PIECE = 1000  # structures
_GRAPH = ("numbers", "positions", "cell", "pbc", "neighbors", "shifts", "cutoff", "overflow", "charge", "field")
_OWN = r"(piece_\d{6}|data|begun)\.(npz|json|partial)|bucket_\d{3}_[\w.]+\.npy"  # names of files that are made here
_AT_ONCE = 8  # times a batch that its evaluation needs, at least


class _Piece(NamedTuple):
    """Where some structures are: in a file, of which they are those from a number on, and, in plain extended XYZ, from a byte to another."""

    path: Path
    first: int
    span: tuple[int, int] | None


def from_files(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    cutoff: float,
    *,
    folder: str | os.PathLike,
    sigma: Properties | Callable[[Any], Properties] | None = None,
    keys: Mapping[str, str] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool | None = None,
) -> Dataset:
    """What `Dataset.from_files` does, where it is described."""
    paths = [Path(path) for path in ([files] if isinstance(files, (str, os.PathLike)) else files)]
    if not paths:
        raise ValueError("no files; expected at least one path of structures")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise ValueError(f"workers must be a whole number of processes ≥ 0, got {workers!r}")
    folder = Path(folder)
    mark = _mark(paths, cutoff, sigma, keys, batch_size)
    found = folder / "data.json"
    if found.exists() and json.loads(found.read_text())["mark"] == mark:
        return _mapped(folder)
    begun = folder / "begun.json"
    there = list(folder.iterdir()) if folder.exists() else []
    if foreign := [path.name for path in there if not re.fullmatch(_OWN, path.name)]:
        raise ValueError(f"{folder} holds {foreign[0]!r}, which is not of prepared data; give the name of a new folder")
    if not (begun.exists() and json.loads(begun.read_text())["mark"] == mark):
        for path in there:  # of other files or settings
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    _written(begun, {"mark": mark})
    pieces = [piece for path in paths for piece in _pieces(path)]
    _read(folder, pieces, (cutoff, sigma, keys), workers, progress)
    if _mark(paths, cutoff, sigma, keys, batch_size) != mark:
        raise ValueError(f"{', '.join(map(str, paths))} changed while being read; call from_files again, when nobody writes to it")
    _arranged(folder, len(pieces), batch_size, mark)
    return _mapped(folder)


def _mark(paths: Sequence[Path], cutoff: float, sigma: Any, keys: Any, batch_size: int) -> str:
    """Of everything that the prepared data depend on; files by their size and time of change."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file of structures")
    places = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    if callable(sigma):
        code = getattr(sigma, "__code__", None)
        held = [cell.cell_contents for cell in getattr(sigma, "__closure__", None) or ()]
        held += [getattr(sigma, "__defaults__", None), getattr(sigma, "__kwdefaults__", None)]
        held = [value.tolist() if isinstance(value, np.ndarray) else value for value in held]
        sigma = (code and _told(code), held) if code else repr(sigma)
    elif sigma is not None:
        sigma = {name: np.asarray(getattr(sigma, name)).tolist() for name in OBSERVABLES if getattr(sigma, name) is not None}
    return hashlib.sha256(repr((1, jax.config.jax_enable_x64, places, float(cutoff), sigma, sorted((keys or {}).items()), batch_size)).encode()).hexdigest()


def _told(code: Any) -> tuple:
    """What a function does, the same in every process; its constants may hold code again, whose repr tells where it is in memory."""
    return code.co_code, code.co_names, tuple(_told(part) if hasattr(part, "co_code") else part for part in code.co_consts)


def _pieces(path: Path) -> Iterator[_Piece]:
    """A file in pieces of so many structures."""
    if path.suffix not in (".xyz", ".extxyz"):
        import ase.io

        yield from (_Piece(path, number, None) for number, _ in enumerate(ase.io.iread(path, ":")) if number % _PIECE == 0)
        return
    with open(path, "rb") as file:
        start, first, count = 0, 0, 0
        while line := file.readline():
            if not line.strip():
                continue
            try:
                n = int(line)
            except ValueError:
                raise ValueError(f"{path}: expected a number of atoms at byte {file.tell() - len(line)}, got {line[:40]!r}; is it extended XYZ?") from None
            for _ in range(n + 1):
                if not file.readline():
                    raise ValueError(f"{path} ends within a structure of {n} atoms")
            count += 1
            if count % _PIECE == 0:
                yield _Piece(path, first, (start, file.tell()))
                start, first = file.tell(), count
        if count > first:
            yield _Piece(path, first, (start, file.tell()))


def _frames(piece: _Piece) -> list[Any]:
    import ase.io

    if piece.span is None:
        return ase.io.read(piece.path, f"{piece.first}:{piece.first + _PIECE}")
    with open(piece.path, "rb") as file:
        file.seek(piece.span[0])
        text = file.read(piece.span[1] - piece.span[0]).decode()
    return ase.io.read(io.StringIO(text), ":", format="extxyz")


def _prepared(task: tuple[_Piece, float, Any, bool]) -> tuple[list[Any], list[Graph]]:
    """Frames and graphs of a piece; what workers do, in the precision of the process that asks them."""
    piece, cutoff, keys, is_double = task
    if jax.config.jax_enable_x64 != is_double:
        jax.config.update("jax_enable_x64", is_double)
    frames = _frames(piece)
    try:
        return frames, searched(frames, cutoff, keys, piece.first)
    except ValueError as error:
        raise ValueError(f"{piece.path}: {error}") from None


def _read(folder: Path, pieces: Sequence[_Piece], settings: tuple, workers: int, progress: bool | None) -> None:
    """Every piece as a file of its own, those that are there already excepted."""
    from tqdm import tqdm

    cutoff, sigma, keys = settings
    left = [number for number in range(len(pieces)) if not (folder / f"piece_{number:06d}.npz").exists()]
    tasks = [(pieces[number], cutoff, keys, jax.config.jax_enable_x64) for number in left]
    hidden = None if progress is None else not progress
    bar = tqdm(total=len(pieces), initial=len(pieces) - len(left), desc="read", unit=f"×{_PIECE} structures", disable=hidden)
    if workers:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            _kept(folder, left, pieces, _in_order(pool, tasks, 2 * workers), sigma, keys, bar)
    else:
        _kept(folder, left, pieces, map(_prepared, tasks), sigma, keys, bar)


def _in_order(pool: Any, tasks: Sequence[Any], ahead: int) -> Iterator[Any]:
    """Results in the order of the tasks, of which only so many are under way: what is done waits in memory."""
    waiting = [pool.submit(_prepared, task) for task in tasks[:ahead]]
    for task in [*tasks[ahead:], *[None] * min(ahead, len(tasks))]:
        yield waiting.pop(0).result()
        if task is not None:
            waiting.append(pool.submit(_prepared, task))


def _kept(folder: Path, numbers: Sequence[int], pieces: Sequence[_Piece], results: Iterator[Any], sigma: Any, keys: Any, bar: Any) -> None:
    for number, (frames, graphs) in zip(numbers, results, strict=True):
        piece = pieces[number]
        try:
            labels, wanted = labels_of(frames, sigma, keys, piece.first)
        except ValueError as error:
            raise ValueError(f"{piece.path}: {error}") from None
        arrays = {"sizes": np.array([graph.neighbors.shape for graph in graphs]), "wanted": np.array(sorted(wanted), str)}
        arrays["config_types"] = np.array([str(atoms.info.get("config_type", "default")) for atoms in frames])
        n, k = arrays["sizes"].max(axis=0).tolist()
        for name in _GRAPH:
            arrays[name] = np.stack([_wide(name, np.asarray(getattr(graph, name)), graph.neighbors.shape, n, k) for graph in graphs])
        for name in {name for found in labels for name in found}:
            have = [i for i, found in enumerate(labels) if name in found]
            kinds = {(label[0].ndim, label[1].ndim, label[0].shape[1:], label[1].shape[1:]) for label in (labels[i][name] for i in have)}
            if len(kinds) > 1:
                raise ValueError(f"{piece.path}, from frame {piece.first} on: {name} is of several kinds; a data set holds one")
            for which, part, empty in ((0, "target", np.nan), (1, "sigma", np.inf)):
                per_atom = _per_atom(name, labels[have[0]][name][1])
                like = labels[have[0]][name][which]
                full = np.full((len(frames), *((n,) * per_atom), *like.shape[per_atom:]), empty)
                for i in have:
                    value = labels[i][name][which]
                    full[(i, slice(len(value))) if per_atom else i] = value
                arrays[f"{part}.{name}"] = full
        path = folder / f"piece_{number:06d}.npz"
        with open(path.with_suffix(".partial"), "wb") as file:
            np.savez(file, **arrays)
        os.replace(path.with_suffix(".partial"), path)
        bar.update()
    bar.close()


def _per_atom(name: str, sigma: np.ndarray) -> bool:
    observable = OBSERVABLES[name]
    return sigma.ndim > 0 if observable.per_atom is None else observable.per_atom


def _wide(name: str, x: np.ndarray, shape: tuple[int, int], n: int, k: int) -> np.ndarray:
    """An array of a graph of shape [N, K] with room for n atoms and k neighbours; index n marks an empty slot."""
    if name == "neighbors":
        x = np.where(x >= shape[0], n, x)
        return np.pad(x, ((0, n - shape[0]), (0, k - shape[1])), constant_values=n)
    if name == "shifts":
        return np.pad(x, ((0, n - shape[0]), (0, k - shape[1]), (0, 0)))
    return np.pad(x, ((0, n - shape[0]), *((0, 0),) * (x.ndim - 1))) if name in ("numbers", "positions") else x


def _arranged(folder: Path, n_pieces: int, batch_size: int, mark: str) -> None:
    """The pieces' structures by buckets, every array in one file, and then the list of all that is there."""
    pieces = [folder / f"piece_{number:06d}.npz" for number in range(n_pieces)]
    sizes, types, wanted, shapes = [], [], set(), {}
    for path in pieces:
        with np.load(path, allow_pickle=False) as piece:
            sizes.append(piece["sizes"])
            types += piece["config_types"].tolist()
            wanted |= set(piece["wanted"].tolist())
            for name in (name for name in piece.files if name.split(".")[0] in ("target", "sigma")):
                per_atom = _per_atom(name.split(".")[1], piece["sigma." + name.split(".")[1]][0])
                kind = (per_atom, piece[name].shape[1 + per_atom :], piece[name].dtype.str)
                if shapes.setdefault(name, kind) != kind:
                    raise ValueError(f"{name.split('.')[1]} is of several kinds; a data set holds one")
            like = {name: (piece[name].shape[1:], piece[name].dtype.str) for name in _GRAPH}
    for name in OBSERVABLES:
        if name in wanted and f"target.{name}" not in shapes:
            raise ValueError(f"no structure has a label of {name}, for which noise levels are given; leave them out, or say by keys where it is")
    sizes = np.concatenate(sizes)
    plan, place = [], np.zeros((len(sizes), 2), int)  # of every structure its bucket and its row there
    for number, ids in enumerate(buckets([tuple(row) for row in sizes.tolist()])):
        n, k = sizes[ids].max(axis=0).tolist()
        rows = len(ids) if len(ids) <= batch_size else -(-len(ids) // batch_size) * batch_size
        place[ids] = np.stack([np.full(len(ids), number), np.arange(len(ids))], axis=1)
        plan.append({"shape": [n, k], "rows": rows, "ids": [int(i) for i in ids] + [-1] * (rows - len(ids))})
    total = 0
    for bucket in plan:
        (n, k), own = bucket["shape"], min(batch_size, bucket["rows"])
        one = sum(np.dtype(dtype).itemsize * int(np.prod(_shape(name, shape, n, k))) for name, (shape, dtype) in like.items())
        one += sum(8 * int(np.prod((*((n,) * per_atom), *shape))) for per_atom, shape, _ in shapes.values())
        total += one * bucket["rows"]
        if (needed := _AT_ONCE * one * own) > memory():
            raise ValueError(
                f"{own} structures of up to {n} atoms with {k} neighbours need about {needed / 2**30:.1f} GiB where this machine has "
                f"{memory() / 2**30:.1f}; write a smaller batch_size than {batch_size}"
            )
    if total > (free := shutil.disk_usage(folder).free):
        raise OSError(f"the data take {total / 2**30:.1f} GiB, and {free / 2**30:.1f} are free where {folder} is; give a folder on a larger disk")
    for number, bucket in enumerate(plan):
        n, k = bucket["shape"]
        arrays = {}
        for name, (shape, dtype) in like.items():
            arrays[name] = np.lib.format.open_memmap(_file(folder, number, name), "w+", dtype, (bucket["rows"], *_shape(name, shape, n, k)))
        for name, (per_atom, shape, dtype) in shapes.items():
            arrays[name] = np.lib.format.open_memmap(_file(folder, number, name), "w+", dtype, (bucket["rows"], *((n,) * per_atom), *shape))
        start = 0
        for path in pieces:
            with np.load(path, allow_pickle=False) as piece:
                count = len(piece["sizes"])
                own = np.flatnonzero(place[start : start + count, 0] == number)
                if len(own):
                    _placed(arrays, piece, own, place[start + own, 1], n, k, shapes)
                start += count
        for name, array in arrays.items():  # what fills up the last batch looks like its first structure, without atoms and labels
            filled = np.array(bucket["ids"]) < 0
            nothing = {"target": np.nan, "sigma": np.inf, "numbers": 0, "charge": 0}
            if filled.any():
                array[filled] = nothing.get(name.split(".")[0], array[len(array) - batch_size])
            array.flush()
    listed = {"mark": mark, "batch_size": batch_size, "buckets": plan, "labels": sorted(shapes), "config_types": types, "n_atoms": sizes[:, 0].tolist()}
    _written(folder / "data.json", listed)
    for path in pieces:
        path.unlink()


def _placed(arrays: dict, piece: Any, own: np.ndarray, rows: np.ndarray, n: int, k: int, shapes: dict) -> None:
    """Structures of a piece into their rows of a bucket of n atoms and k neighbours."""
    was = piece["numbers"].shape[1]
    m, j = min(was, n), min(piece["neighbors"].shape[2], k)
    for name, array in arrays.items():
        if name in _GRAPH:
            x = piece[name][own]
            if name == "neighbors":
                array[rows] = n
                array[rows, :m, :j] = np.where(x >= was, n, x)[:, :m, :j]
            elif name == "shifts":
                array[rows] = 0
                array[rows, :m, :j] = x[:, :m, :j]
            elif name in ("numbers", "positions"):
                array[rows] = 0
                array[rows, :m] = x[:, :m]
            else:
                array[rows] = x
            continue
        array[rows] = np.nan if name.startswith("target") else np.inf
        if name in piece.files:
            x = piece[name][own]
            if shapes[name][0]:
                array[rows, :m] = x[:, :m]
            else:
                array[rows] = x


def _shape(name: str, shape: tuple[int, ...], n: int, k: int) -> tuple[int, ...]:
    """Of an array of a graph with room for n atoms and k neighbours."""
    room = {"numbers": (n,), "positions": (n, 3), "neighbors": (n, k), "shifts": (n, k, 3)}
    return room.get(name, shape)


def _file(folder: Path, number: int, name: str) -> Path:
    return folder / f"bucket_{number:03d}_{name}.npy"


def _written(path: Path, content: dict) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    os.replace(partial, path)


def _mapped(folder: Path) -> Dataset:
    """The Dataset whose arrays are the files of a folder."""
    listed = json.loads((folder / "data.json").read_text())
    batches, index = [], []
    for number, bucket in enumerate(listed["buckets"]):
        arrays = {name: np.load(_file(folder, number, name), mmap_mode="r") for name in (*_GRAPH, *listed["labels"])}
        size = min(listed["batch_size"], bucket["rows"])
        for start in range(0, bucket["rows"], size):
            part = {name: array[start : start + size] for name, array in arrays.items()}
            labels = [{name.split(".")[1]: x for name, x in part.items() if name.startswith(kind)} for kind in ("target.", "sigma.")]
            batches.append(Batch(Graph(**{name: part[name] for name in _GRAPH}), *(Properties(**found) for found in labels)))
            index.append(tuple(bucket["ids"][start : start + size]))
    return Dataset(tuple(batches), tuple(index), tuple(listed["config_types"]), tuple(listed["n_atoms"]))
