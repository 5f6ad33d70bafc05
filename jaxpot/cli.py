"""The command line: jaxpot init | fit | schema | plot | evaluate | md | info | convert | export.

What a user got wrong ends with exit code 2 and one line on stderr; a run that became unphysical with 1. Everything heavy is
imported inside the commands.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


class _Usage(ValueError):
    """A command line that argparse refuses."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise _Usage(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: the arguments, without the program's name; None takes those of the process.

    Returns:
      The exit code: 0, 1 (a simulation that became unphysical, or a JAX that miscomputes), 2 (bad input) or 130 (interrupted).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser().parse_args(argv)
        import jax

        jax.config.update("jax_enable_x64", True)
        _keep_compiled(jax.config)
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("jaxpot: interrupted; fit goes on with the same command, md with --restart", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, LookupError, RuntimeError, ArithmeticError, AttributeError, MemoryError) as error:
        if "--debug" in argv:
            raise
        text = f"no such key: {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        print("jaxpot: error: " + " ".join(text.split()), file=sys.stderr)
        return 1 if isinstance(error, (RuntimeError, ArithmeticError, MemoryError)) else 2


def _keep_compiled(config: Any) -> None:
    """Lets JAX keep what it compiles in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another."""
    if config.jax_compilation_cache_dir is None:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        config.update("jax_compilation_cache_dir", str(Path(root) / "jaxpot"))


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("jaxpot")
    except PackageNotFoundError:
        number = "(not installed)"
    parser = _Parser(prog="jaxpot", description="Differentiable interatomic potentials in JAX.")
    parser.add_argument("--version", action="version", version=f"jaxpot {number}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name, run, help):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    init = command("init", _init, "Write a configuration for `jaxpot fit`, filled in from the data.")
    init.add_argument("train", metavar="TRAIN", nargs="+", help="labelled structures in any format that ASE reads")
    init.add_argument("--model", choices=("ace", "gap", "snap", "mtp", "nn"), default="ace", help="(default: %(default)s)")
    init.add_argument("--test", metavar="TEST", nargs="+", help="structures whose errors are reported after the fit")
    init.add_argument("--cutoff", type=float, help="Å; by default from the distances of neighbours")
    init.add_argument("--output", metavar="TOML", default="config.toml", help="(default: %(default)s)")
    init.add_argument("--overwrite", action="store_true", help="replace an existing configuration")

    fit = command("fit", _fit, "Fit or train a model as a TOML file says; a fit that was killed goes on with the same command.")
    fit.add_argument("config", metavar="CONFIG.toml", help="sections data, noise, model, sparse, evidence, fit, train; paths are relative to the file")
    fit.add_argument("--output", metavar="DIR", help="where results go (default: the configuration's name with -fit)")
    fit.add_argument("--overwrite", action="store_true", help="replace the finished fit of another configuration in DIR")

    schema = command("schema", _schema, "Write the JSON schema of configurations, by which editors complete and check them, or their reference.")
    schema.add_argument("output", metavar="FILE", nargs="?", default="jaxpot.schema.json", help="JSON, or a page of Markdown, .md (default: %(default)s)")

    plot = command("plot", _plot, "Draw pair energies of a model, the history of a training, the learning curve of fits, or the spectrum of a trajectory.")
    plot.add_argument("file", metavar="FILE", nargs="+", help="a model in any format that jaxpot reads; history.json of a fit; folders or errors.json of "
                      "fits of several sizes; or a trajectory of `jaxpot md`")  # fmt: skip
    plot.add_argument("output", metavar="PNG", help="or another ending that matplotlib knows")
    plot.add_argument("--dipoles", metavar="MODEL", help="of a trajectory: its infrared absorption, by the dipoles of this model")
    plot.add_argument("--segment", type=int, metavar="FRAMES", help="of a spectrum; fewer are less noisy and resolve less (default: a quarter)")
    plot.add_argument("--interval", type=float, metavar="FS", help="of a trajectory: the time between frames (default: as its frames say)")

    evaluate = command("evaluate", _evaluate, "Predict energies, forces, stresses and what else a model has, and compare with labels where there are any.")
    evaluate.add_argument("model", metavar="MODEL", help="a file of jaxpot, or of any code that jaxpot reads; of a posterior.npz deviations as well")
    evaluate.add_argument("data", metavar="DATA", nargs="+", help="structures in any format that ASE reads")
    evaluate.add_argument("--output", metavar="JSON", help="write the errors here")
    evaluate.add_argument("--plot", metavar="PNG", help="draw predictions over labels here")
    evaluate.add_argument("--predictions", metavar="XYZ", help="write structures with predictions here, as extended XYZ")
    evaluate.add_argument("--keys", metavar="energy=NAME,...", help="where labels are, for example energy=dft_energy,forces=dft_forces")
    evaluate.add_argument("--prefix", default="jaxpot_", help="of the keys of predictions (default: %(default)s)")

    md = command("md", _md, "Molecular dynamics with jax-md.")
    md.add_argument("model", metavar="MODEL", help="a file of jaxpot, or of any code that jaxpot reads")
    md.add_argument("start", metavar="START", help="a structure; of several the last; its momenta are used if it has any, and fixed atoms (move_mask) stay")
    md.add_argument("--ensemble", choices=("nve", "nvt", "langevin", "csvr", "npt"), default="nvt", help="(default: %(default)s)")
    md.add_argument("--temperature", type=float, default=300.0, help="K (default: %(default)s)")
    md.add_argument("--pressure", type=float, default=0.0, help="GPa, for npt (default: %(default)s)")
    md.add_argument("--friction", type=float, default=0.01, help="1/fs, for langevin (default: %(default)s)")
    md.add_argument("--relaxation", type=float, default=100.0, help="fs, for csvr (default: %(default)s)")
    md.add_argument("--timestep", type=float, default=1.0, help="fs (default: %(default)s)")
    md.add_argument("--steps", type=int, required=True, help="of the whole trajectory, a restarted one's earlier part included")
    md.add_argument("--output", metavar="TRAJ", required=True, help="extended XYZ, or .traj of ASE, or .h5 (H5MD); the restart state is kept beside it")
    md.add_argument("--interval", type=int, default=10, help="steps between frames (default: %(default)s)")
    md.add_argument("--seed", type=int, default=0, help="of the initial velocities (default: %(default)s)")
    md.add_argument("--skin", type=float, default=0.5, help="Å, of the neighbour list (default: %(default)s)")
    md.add_argument("--charge", type=float, default=0.0, help="e, of the whole structure (default: %(default)s)")
    md.add_argument("--restart", action="store_true", help="go on from the restart state of TRAJ")
    md.add_argument("--overwrite", action="store_true", help="replace an existing TRAJ")

    info = command("info", _info, "Describe a model file.")
    info.add_argument("model", metavar="MODEL", help="a file of jaxpot, or of any code that jaxpot reads")
    info.add_argument("--json", action="store_true", help="print JSON")

    convert = command("convert", _convert, "Read a potential in any format that jaxpot reads, and write it in the format of OUT's ending.")
    convert.add_argument("files", metavar="IN", nargs="+", help="the files of one potential, in any order; of n2p2 the folder")
    convert.add_argument("output", metavar="OUT", help="NAME.npz (jaxpot), .xml (GAP), .yace, .mtp, .snapcoeff, .sgdml.npz, or FOLDER/input.nn (n2p2)")
    convert.add_argument("--species", metavar="SYMBOL", nargs="+", help="the elements, where the files do not name them: --species Si C")
    convert.add_argument("--length-unit", metavar="UNIT", help="of the files: in Å (n2p2), or its name (sGDML)")
    convert.add_argument("--energy-unit", metavar="UNIT", help="likewise, in eV")

    export = command("export", _export, "Write the compiled form of a potential, for structures of up to so many atoms and neighbours.")
    export.add_argument("model", metavar="MODEL", help="a file of jaxpot, or of any code that jaxpot reads")
    export.add_argument("output", metavar="OUT", help="NAME.hlo (read again by all commands), or NAME.lammps-jax.json (LAMMPS with lammps-jax)")
    export.add_argument("--max-atoms", type=int, required=True, metavar="N", help="of a structure; in LAMMPS of a process, with ghosts")
    export.add_argument("--max-neighbors", type=int, required=True, metavar="K", help="of an atom within the cutoff (md: and the skin)")
    export.add_argument("--platform", choices=("cpu", "cuda", "rocm", "tpu"), default="cpu", help="(default: %(default)s)")
    export.add_argument("--float32", action="store_true", help="compute in single precision")
    return parser


# --- reading ---------------------------------------------------------------------------------------------------------------


def _model(path: str) -> Any:
    """The model in a file of any format: a potential, or one of tensors."""
    import jaxpot
    from jaxpot.io.formats import read
    from jaxpot.potentials.base import Model

    model = jaxpot.load(path) if path.endswith(".npz") and not path.endswith(".sgdml.npz") else read(path)
    if not isinstance(model, Model):
        raise ValueError(f"{path} holds a {type(model).__name__}; expected a potential or a model of tensors written by jaxpot.save")
    return model


def _posterior(path: str) -> Any:
    """The posterior in a file of a fit that has kept it, or None for other files."""
    import jaxpot
    from jaxpot.fit.posteriors import Posterior

    found = jaxpot.load(path) if path.endswith(".npz") and not path.endswith(".sgdml.npz") else None
    return found if isinstance(found, Posterior) else None


def _potential(path: str) -> Any:
    """The potential in a model file."""
    import jaxpot

    model = _model(path)
    if not isinstance(model, jaxpot.Potential):
        raise ValueError(f"{path} holds a {type(model).__name__}; expected a potential written by jaxpot.save")
    return model


def comparable(
    frames: list, cutoff: float, names: Sequence[str], *, keys: Mapping[str, str] | None, batch_size: int = 64, asked: Callable[[Any], Any] | None = None
) -> tuple[Any, bool]:
    """A Dataset of whatever labels of these fields there are, and whether there are any.

    Labels that `asked` (noise levels of a frame) does not ask for are left out with a line where they are bad. None asks for all that
    there are, and for all that `keys` names.
    """
    import jaxpot
    from jaxpot.fit.rows import held
    from jaxpot.labels import missing, read_label
    from jaxpot.properties import SOURCES

    present, bad = {}, {}
    for number, atoms in enumerate(frames):
        found = []
        for name in names:
            try:
                found += [name] * (read_label(atoms, name, keys) is not None)
            except ValueError as error:
                if asked is None or getattr(asked(atoms), name) is not None:
                    raise ValueError(f"frame {number}: {error}") from None
                bad.setdefault(name, f"frame {number}: {error}")
        present[id(atoms)] = dict.fromkeys(found, 1.0)
    for name, reason in bad.items():
        print(f"not every {name} label of the test structures is compared, since none was asked for: {reason}")
    there = {name for found in present.values() for name in found}
    for name in (SOURCES[key] for key in (keys or ()) if asked is None and key in SOURCES):
        if name in names and name not in there:
            raise ValueError(missing(name, frames, keys))

    def sigma(atoms):
        levels = jaxpot.noise_levels(**present[id(atoms)])(atoms)
        own = {} if asked is None else {name: getattr(asked(atoms), name) for name in held(levels)}
        return levels.replace(**{name: level for name, level in own.items() if level is not None})

    return jaxpot.Dataset.from_atoms(frames, cutoff, sigma=sigma, keys=keys, batch_size=batch_size), bool(there)


def _init(args: argparse.Namespace) -> int:
    from jaxpot.cli_init import init

    return init(args)


def _fit(args: argparse.Namespace) -> int:
    from jaxpot.cli_fit import fit

    return fit(args)


def _schema(args: argparse.Namespace) -> int:
    from jaxpot.io.schema import schema
    from jaxpot.io.schema_page import page

    if args.output.endswith(".md"):
        Path(args.output).write_text(page(schema()))
        print(f"wrote {args.output}")
        return 0
    Path(args.output).write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {args.output}; as the first line of a configuration write\n  #:schema {args.output}")
    return 0


def _plot(args: argparse.Namespace) -> int:
    from jaxpot.cli_plot import plot

    return plot(args, _model)


def _cutoff(model: Any) -> float:
    return float(model.reach) or 1.0


# --- evaluate --------------------------------------------------------------------------------------------------------------


def _evaluate(args: argparse.Namespace) -> int:
    import jaxpot
    from jaxpot.fit.rows import first, predicted
    from jaxpot.io.frames import located, read_frames

    posterior = _posterior(args.model)
    model = _model(args.model) if posterior is None else posterior.model
    if not args.prefix:
        raise ValueError("--prefix is empty, so predictions would overwrite labels; write for example --prefix jaxpot_")
    keys = _keys(args.keys)
    frames, origins = read_frames(args.data)
    with located(origins):
        names = predicted(model, first(jaxpot.Dataset.from_atoms(frames[:1], _cutoff(model), sigma=jaxpot.Properties(), keys={})))
        _refuse_overwriting(args.prefix, names, keys)
        data, labelled = comparable(frames, _cutoff(model), names, keys=keys)
        predictions = jaxpot.fit.predict(model, data)
        pool = None if posterior is None else jaxpot.Dataset.from_atoms(frames, _cutoff(model), sigma=jaxpot.Properties(), keys={})
        deviations = [None] * len(frames) if pool is None else jaxpot.fit.deviations(posterior, pool)
    errors = jaxpot.fit.report(model, data, predictions=predictions) if labelled else {}
    if errors:
        print(jaxpot.fit.table(errors))
    else:
        print(f"{len(frames)} structures without labels: predictions only")
    others = _others(frames, names, keys)
    if others:
        print(f"labels of {', '.join(others)} are not compared, since {type(model).__name__} predicts {', '.join(names)}")
    if args.output:
        Path(args.output).write_text(json.dumps(errors, indent=1) + "\n")
    if args.plot:
        jaxpot.fit.plot_parity(data, predictions).savefig(args.plot)
    if args.predictions:
        import ase.io

        for atoms, found, spread in zip(frames, predictions, deviations, strict=True):
            _note(atoms, found, model, args.prefix)
            if spread is not None:
                _note(atoms, spread, model, args.prefix, "_deviation")
        ase.io.write(args.predictions, frames, format="extxyz")
    return 0


def _refuse_overwriting(prefix: str, names: Sequence[str], keys: Mapping[str, str] | None) -> None:
    """Raises where predictions would be written over labels."""
    from jaxpot.properties import OBSERVABLES

    for source in (OBSERVABLES[name].sources[-1] for name in names):
        if f"{prefix}{source}" in (keys or {}).values():
            raise ValueError(f"--prefix {prefix} would write predictions over the labels {prefix}{source}; write for example --prefix jaxpot_")


def _others(frames: list, names: Sequence[str], keys: Mapping[str, str] | None) -> list[str]:
    """Of what else some frame has labels."""
    from jaxpot.labels import read_label
    from jaxpot.properties import OBSERVABLES

    def has(atoms: Any, name: str) -> bool:
        try:
            return read_label(atoms, name, keys) is not None
        except ValueError:  # nobody asked for it
            return True

    return [name for name in OBSERVABLES if name not in names and any(has(atoms, name) for atoms in frames)]


def _note(atoms: Any, found: Any, model: Any, prefix: str, ending: str = "") -> None:
    """Writes predictions, or their deviations, into a frame: numbers of atoms in columns, those of structures into its second line."""
    import numpy as np

    from jaxpot.fit.rows import held, is_per_atom
    from jaxpot.properties import OBSERVABLES

    volume = atoms.get_volume() if atoms.pbc.any() and atoms.cell.rank == 3 else None
    for name in held(found):
        for written, value in OBSERVABLES[name].written(getattr(found, name), volume).items():
            value = np.abs(value) if ending else value  # of a stress minus the virial's
            if is_per_atom(name, value, model):
                atoms.arrays[f"{prefix}{written}{ending}"] = value.reshape(len(atoms), -1) if value.ndim > 1 else value
            else:
                atoms.info[f"{prefix}{written}{ending}"] = value.reshape(-1) if value.ndim else float(value)


def _keys(text: str | None) -> dict[str, str] | None:
    from jaxpot.data import OUTER
    from jaxpot.properties import SOURCES

    if text is None:
        return None
    names = (*SOURCES, *OUTER)
    pairs = [[word.strip() for word in part.partition("=")] for part in text.split(",")]
    for name, equals, value in pairs:
        if name not in names or not equals or not value:
            raise ValueError(f"--keys {text!r}: expected NAME=KEY,NAME=KEY of what the data have; names are {', '.join(names)}")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"--keys {text!r} names a property twice; expected one name for each")
    return {name: value for name, _, value in pairs}


# --- md and info -----------------------------------------------------------------------------------------------------------


def _md(args: argparse.Namespace) -> int:
    from jaxpot import md
    from jaxpot.io.frames import read_frames

    kinds = {
        "nve": md.NVE,
        "nvt": md.NVT,
        "langevin": functools.partial(md.Langevin, friction=args.friction),
        "csvr": functools.partial(md.CSVR, relaxation=args.relaxation),
        "npt": functools.partial(md.NPT, pressure=args.pressure),
    }
    ensemble = kinds[args.ensemble](temperature=args.temperature, timestep=args.timestep)
    model = _potential(args.model)
    frames, origins = read_frames([args.start])
    if len(frames) > 1:
        print(f"starting from the last of {len(frames)} structures: {origins[-1]}")
    summary = md.run(
        model, frames[-1], args.output, ensemble=ensemble, steps=args.steps, interval=args.interval, seed=args.seed, skin=args.skin,
        charge=args.charge, restart=args.restart, overwrite=args.overwrite,
    )  # fmt: skip
    print(json.dumps(summary))
    return 0


def _info(args: argparse.Namespace) -> int:
    from jaxpot.cli_info import info

    return info(args, _potential(args.model))


# --- convert and export ------------------------------------------------------------------------------------------------------


def _convert(args: argparse.Namespace) -> int:
    from jaxpot.io.formats import read, write

    species = tuple(args.species) if args.species else None
    model = read(*args.files, species=species, length_unit=_unit(args.length_unit), energy_unit=_unit(args.energy_unit))
    print(f"wrote {write(args.output, model)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    import jaxpot
    from jaxpot.io.exported import export

    model = _potential(args.model)
    model = jaxpot.cast(model, "float32") if args.float32 else model
    print(f"wrote {export(args.output, model, max_atoms=args.max_atoms, max_neighbors=args.max_neighbors, platform=args.platform)}")
    return 0


def _unit(text: str | None) -> float | str | None:
    """A unit by its size, or by its name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
