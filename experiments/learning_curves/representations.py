"""Features of the molecules of a data set, computed once and kept in the cache."""

import hashlib
import json
from pathlib import Path

import jax
import kernels
import numpy as np
from tqdm import tqdm

import jaxpot as jp

BATCH = 32


def make(name: str, settings: dict, frames: list):
    """The descriptor that a table of config.toml describes."""
    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
    species = tuple(jp.units.SYMBOLS[z] for z in numbers)
    most = max(map(len, frames))
    if name == "CM":
        return jp.descriptors.CoulombMatrix(species, most)
    if name == "BoB":
        return jp.descriptors.BagOfBonds.of(frames)
    if name == "MBTR":
        pairs, angles = (jp.descriptors.Histogram(*settings[key][:2], sigma=settings[key][2], n=int(settings[key][3])) for key in ("pairs", "angles"))
        return jp.descriptors.MBTR(species, jp.cutoffs.Step(settings["cutoff"]), pairs, angles, settings["pair_decay"], settings["angle_decay"])
    if name in ("SLATM", "aSLATM"):
        grids = (settings[key] for key in ("sigma_r", "sigma_theta", "n_r", "n_theta"))
        local = jp.descriptors.LocalSLATM(species, jp.cutoffs.Step(settings["cutoff"]), *grids)
        return jp.descriptors.SLATM(local) if name == "SLATM" else local
    if name == "FCHL19":
        return jp.descriptors.FCHL19(species, jp.CosineCutoff(settings["cutoff"]), jp.CosineCutoff(settings["cutoff"]))
    if name == "SOAP":
        cutoff = jp.CosineCutoff(settings["cutoff"], width=settings["width"])
        return jp.SOAP(jp.Density(species, cutoff, jp.GTO(settings["n_max"]), settings["l_max"], sigma=settings["sigma"]))
    raise ValueError(f"no representation is called {name!r}")


def graphs(frames: list, cutoff: float):
    """Batches of one padded shape."""
    most = max(map(len, frames))
    for start in range(0, len(frames), BATCH):
        part = [jp.from_atoms(a, cutoff, max_atoms=most, max_neighbors=most - 1) for a in frames[start : start + BATCH]]
        yield jp.stack(part + [part[0]] * (BATCH - len(part))), frames[start : start + BATCH]


def key_of(name: str, settings: dict, data: str) -> str:
    return f"{name}-{hashlib.sha256(json.dumps([name, settings, data], sort_keys=True).encode()).hexdigest()[:12]}"


def load(name: str, settings: dict, frames: list, folder: Path) -> kernels.Set:
    """Features of all molecules as a Set, from the cache or computed and stored there, in single precision.

    Args:
      name: of the representation.
      settings: its table of config.toml.
      frames: all molecules, `ase.Atoms`.
      folder: of the cache, of this representation with these settings alone.
    """
    descriptor = make(name, settings, frames)
    is_local = isinstance(descriptor, jp.descriptors.Descriptor)  # others describe whole molecules
    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers}) if is_local else [0]
    counts = [np.array([int(np.sum(a.numbers == z)) if is_local else 1 for a in frames]) for z in numbers]
    starts = tuple(np.concatenate([[0], np.cumsum(c)]) for c in counts)
    paths = [folder / f"features-{z}.npy" for z in numbers]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        partial = [path.with_suffix(".partial") for path in paths]
        files = [
            np.lib.format.open_memmap(path, "w+", np.float32, (int(s[-1]), descriptor.n_features)) for path, s in zip(partial, starts, strict=True)
        ]
        compute = jax.jit(jax.vmap(type(descriptor).__call__ if is_local else type(descriptor).features, (None, 0)))
        done = 0
        cutoff = max(float(descriptor.reach), 1.0)
        for batch, part in tqdm(graphs(frames, cutoff), total=-(-len(frames) // BATCH), desc=f"{name}: features"):
            values = np.asarray(compute(descriptor, batch))
            for i, atoms in enumerate(part):
                for z, file, start in zip(numbers, files, starts, strict=True):
                    rows = slice(start[done + i], start[done + i + 1])
                    file[rows] = values[i, : len(atoms)][atoms.numbers == z] if is_local else values[i]
            done += len(part)
        for file, path, final in zip(files, partial, paths, strict=True):
            file.flush()
            path.rename(final)
    return kernels.Set(tuple(np.load(path, mmap_mode="r") for path in paths), starts)
