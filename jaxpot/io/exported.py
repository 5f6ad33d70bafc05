"""Compiled potentials in files: one program of energies, forces and virial, which needs none of the classes of which the model is made.

A file NAME.hlo is a zip archive of `program.mlir`, portable StableHLO with the model's numbers in it, as any runtime of XLA reads it, and of
`header.json`, which says elements, reach, units, floating type, sizes, and the arguments and results in their order. NAME.lammps-jax.json is
a bundle of lammps-jax, for its `pair_style jax/kk`.
"""

import dataclasses
import functools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import optional, require_x64
from jaxpot.graph import Graph, from_edges
from jaxpot.io.text import require_path
from jaxpot.leaves import Leaf
from jaxpot.potentials.base import LocalPotential, Potential, energies_with_gradient, evaluate, terms_of
from jaxpot.properties import Properties
from jaxpot.trees import code, leaf, pytree, static, walk
from jaxpot.units import ATOMIC_NUMBERS

Array = jax.Array

PROGRAM, _HEADER = "program.mlir", "header.json"
_FORMAT = 1
_LAMMPS = ".lammps-jax.json"
_RESULTS = {"energies": "[N] eV", "forces": "[N, 3] eV/Å", "virial": "[3, 3] eV"}


def export(path: str | os.PathLike, potential: Potential, *, max_atoms: int, max_neighbors: int, platform: str = "cpu") -> Path:
    """Writes the compiled form of any potential, for structures of up to so many atoms and neighbours.

    What a potential predicts beside energies, forces and virial, such as charges, is not in the file.

    Args:
      path: NAME.hlo, which `read` makes a potential again, or NAME.lammps-jax.json, a bundle for LAMMPS with the plugin of lammps-jax
        (`pair_style jax/kk`, units metal, types in the order of `species`), of local potentials.
      potential: any potential. Of `jaxpot.cast(potential, "float32")` the program is in single precision, else in JAX's default type.
      max_atoms: N, of a structure; for LAMMPS those of a process with its ghosts.
      max_neighbors: K, of an atom within the reach.
      platform: on which the program will run: "cpu", "cuda", "rocm" or "tpu".

    Returns:
      The path written.

    Raises:
      ImportError: for a bundle without the package lammps-jax.
      TypeError: for a model that is no potential, or, in a bundle, for one that is not local.
      ValueError: for another ending, or sizes that are not positive.

    Example:
      >>> import tempfile, ase.build
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> model = LennardJones(("Ar",), 0.01, 3.4, cutoff=CosineCutoff(5.0))
      >>> file = export(tempfile.mkdtemp() + "/ar.hlo", model, max_atoms=8, max_neighbors=20)
      >>> argon = ase.build.bulk("Ar", "fcc", a=5.3)
      >>> abs(float(evaluate(read_exported(file), argon).energy - evaluate(model, argon).energy)) < 1e-12
      True
    """
    require_path(path, 'export("si.hlo", potential, max_atoms=500, max_neighbors=60)')
    path = Path(path)
    if not isinstance(potential, Potential):
        raise TypeError(f"export: expected a potential, got {type(potential).__name__}")
    for name, size in (("max_atoms", max_atoms), ("max_neighbors", max_neighbors)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"export: {name} must be a positive integer, got {size!r}")
    if path.name.endswith(_LAMMPS):
        return _for_lammps(path, potential, max_atoms, max_neighbors, platform)
    if path.suffix != ".hlo":
        raise ValueError(f"export: {path.name} has no ending of compiled potentials; write {path.stem}.hlo or {path.stem}{_LAMMPS}")
    shapes = _arguments(max_atoms, max_neighbors, _floating(potential))

    def program(*arrays: Array) -> tuple[Array, Array, Array]:
        found = evaluate(potential, Graph(*arrays))
        return found.energies, found.forces, found.virial

    compiled = jax.export.export(jax.jit(program, keep_unused=True), platforms=(platform,))(*shapes.values())
    header = {
        "format": _FORMAT, "species": potential.species, "reach": float(potential.reach), "length_unit": "Å", "energy_unit": "eV",
        "max_atoms": max_atoms, "max_neighbors": max_neighbors, "dtype": shapes["positions"].dtype.name, "platform": platform,
        "calling_convention": compiled.calling_convention_version, "jax": jax.__version__,
        "arguments": {name: [each.dtype.name, *each.shape] for name, each in shapes.items()}, "results": _RESULTS,
    }  # fmt: skip
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEADER, json.dumps(header, indent=1, ensure_ascii=False))
        archive.writestr(PROGRAM, compiled.mlir_module_serialized)
    os.replace(partial, path)
    return path


def _floating(potential: Potential) -> str:
    """The type in which a potential's program computes."""
    found = {np.asarray(leaf).dtype.name for _, leaf, _ in walk(potential)} & {"float32", "float64"}
    return "float32" if found == {"float32"} else jnp.result_type(float).name


def _arguments(n: int, k: int, real: str) -> dict[str, jax.ShapeDtypeStruct]:
    """The fields of a Graph in their order: numbers (0 is padding), neighbours (N is an empty slot) and the rest."""
    whole = "int32"
    kinds = {
        "numbers": ((n,), whole), "positions": ((n, 3), real), "cell": ((3, 3), real), "pbc": ((3,), bool), "neighbors": ((n, k), whole),
        "shifts": ((n, k, 3), whole), "cutoff": ((), real), "overflow": ((), bool), "charge": ((), real), "field": ((3,), real),
    }  # fmt: skip
    return {name: jax.ShapeDtypeStruct(shape, kind) for name, (shape, kind) in kinds.items()}


@pytree
class Exported(Potential):
    """A potential whose energies, forces and virial are one compiled program; it has no leaves of its own but the reach.

    Args:
      species: the elements it knows.
      reach: what neighbour lists must cover, in Å.
      max_atoms: N, the largest structure.
      max_neighbors: K, the largest number of neighbours.
      dtype: in which it computes.
      platform: on which it runs.
      convention: how it is called, a number of `jax.export`.
      program: StableHLO.
    """

    species: tuple[str, ...] = static()
    reach: Leaf = leaf()
    max_atoms: int = static()
    max_neighbors: int = static()
    dtype: str = static()
    platform: str = static()
    convention: int = static()
    program: bytes = code()

    def energies(self, graph: Graph) -> Array:
        return self.results(graph)[0]

    def results(self, graph: Graph) -> tuple[Array, Array, Array]:
        """Energies [N], forces [N, 3] and virial [3, 3] of the graph's atoms; NaN where some atom or neighbour has no place in the program."""
        n, k, rows = self.max_atoms, self.max_neighbors, len(graph.neighbors)
        if rows != len(graph.numbers):
            raise ValueError("a compiled potential takes whole structures; write jaxpot.evaluate(model, graph) with a graph of from_atoms")
        sized = graph.replace(
            numbers=_sized(graph.numbers, (n,)),
            positions=_sized(graph.positions, (n, 3)),
            neighbors=_sized(jnp.where(graph.neighbors == rows, n, graph.neighbors), (n, k), n),
            shifts=_sized(graph.shifts, (n, k, 3)),
            overflow=graph.overflow | self._exceeded(graph),
        )
        given = _arguments(self.max_atoms, self.max_neighbors, self.dtype)
        arrays = [jnp.asarray(getattr(sized, name), each.dtype) for name, each in given.items()]
        found = _callable(self.max_atoms, self.max_neighbors, self.dtype, self.platform, self.convention, self.program).call(*arrays)
        energies, forces, virial = (each.astype(graph.positions.dtype) for each in found)
        return _sized(energies, (rows,)), _sized(forces, (rows, 3)), virial

    def _exceeded(self, graph: Graph) -> Array:
        """Whether a structure is larger than the program, []."""
        return jnp.any(graph.numbers[self.max_atoms :] > 0) | jnp.any(graph.neighbors[:, self.max_neighbors :] < len(graph.numbers))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if not bool(self._exceeded(graph)):
            return ()
        atoms, neighbors = int(jnp.sum(graph.numbers > 0)), int(jnp.max(jnp.sum(graph.neighbors < len(graph.numbers), axis=1)))
        return (
            f"{atoms} atoms with up to {neighbors} neighbours, the program is for {self.max_atoms} with {self.max_neighbors}; write "
            f"jaxpot.io.export(path, model, max_atoms={max(atoms, self.max_atoms)}, max_neighbors={max(neighbors, self.max_neighbors)})",
        )


def _sized(x: Array, shape: tuple[int, ...], fill: int = 0) -> Array:
    """The beginning of an array, or the array and a filling."""
    x = x[tuple(map(slice, shape))]
    return jnp.pad(x, [(0, size - own) for size, own in zip(shape, x.shape, strict=True)], constant_values=fill)


@energies_with_gradient.register
def _computed(potential: Exported, graph: Graph) -> tuple[Array, Array, Array, Properties]:
    """The program has the derivatives already."""
    energies, forces, virial = potential.results(graph)
    return jnp.where(graph.numbers > 0, energies, 0), -forces, -virial, Properties()


@functools.lru_cache(maxsize=8)
def _callable(n: int, k: int, dtype: str, platform: str, convention: int, program: bytes) -> jax.export.Exported:
    """A program as JAX calls it: an empty one of the same arguments and results, in which it is put."""
    given = _arguments(n, k, dtype)
    empty = jax.jit(lambda *arrays: tuple(jnp.zeros(shape, dtype) for shape in ((n,), (n, 3), (3, 3))), keep_unused=True)
    frame = jax.export.export(empty, platforms=(platform,))(*given.values())
    return dataclasses.replace(frame, mlir_module_serialized=program, calling_convention_version=convention)


def read_exported(path: str | os.PathLike) -> Exported:
    """A compiled potential: `evaluate`, the calculator, molecular dynamics and the command line take it as any other.

    Its forces and virial are those of the program; derivatives of it by anything else are not there.

    Args:
      path: a file NAME.hlo that `export` wrote.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for another file, or a newer format.
      RuntimeError: for a program in float64 in JAX's mode of 32 bits.
    """
    require_path(path, 'read_exported("si.hlo")')
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}; expected a compiled potential")
    try:
        with zipfile.ZipFile(path) as archive:
            header, program = json.loads(archive.read(_HEADER)), archive.read(PROGRAM)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no compiled potential ({error}); expected a file NAME.hlo that jaxpot.io.export wrote") from None
    if header["format"] > _FORMAT:
        raise ValueError(f"{path} is of format {header['format']}, newer than {_FORMAT}; read it with the release of jaxpot that wrote it")
    if header["dtype"] == "float64":
        require_x64(f"{path}, which computes in float64,")
    own = (header[name] for name in ("max_atoms", "max_neighbors", "dtype", "platform", "calling_convention"))
    return Exported(tuple(header["species"]), np.float64(header["reach"]), *own, program)


def _for_lammps(path: Path, potential: Potential, max_atoms: int, max_neighbors: int, platform: str) -> Path:
    """A bundle of lammps-jax: LAMMPS gives atoms with their ghosts and pairs, and sums forces of ghosts up itself."""
    bundles = optional("lammps_jax.export", "export to lammps-jax", "lammps")
    not_local = [type(term).__name__ for term in terms_of(potential) if not isinstance(term, LocalPotential)]
    if not_local:
        raise TypeError(f"export: LAMMPS gives neighbours and their ghosts alone, and {', '.join(not_local)} is not local; write a file NAME.hlo")
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in potential.species], np.int32)

    def energies(positions: Array, types: Array, pairs: Any) -> Array:
        centers, neighbors = (jnp.where(pairs.edge_mask, each, max_atoms) for each in (pairs.senders, pairs.receivers))
        free, shifts = jnp.zeros((3, 3), positions.dtype), jnp.zeros((len(centers), 3), jnp.int32)
        graph = from_edges(
            jnp.asarray(numbers)[types], positions, free, jnp.zeros(3, bool), centers, neighbors, shifts, potential.reach, max_neighbors=max_neighbors
        )  # fmt: skip
        return potential.energies(graph)

    bundles.export_model(
        energy_fn=energies, path=path, max_atoms=max_atoms, max_edges=max_atoms * max_neighbors, cutoff=float(potential.reach), unit_style="metal",
        precision=_floating(potential), n_species=len(numbers), platform=platform,
    )  # fmt: skip
    return path
