"""The property table of silicon: published potentials, and models fitted here to a teacher and to DFT.

    python experiments/silicon_properties/run.py                          # everything that is not done yet, then the table
    python experiments/silicon_properties/run.py --again                  # everything
    python experiments/silicon_properties/run.py SW "ACE of the teacher"  # some of it, done or not

Every potential leaves one file in `results/`; figures.py makes the table and the figure of what is there. Two processes work at a time, and
models of one family are one after the other in the same process, which compiles once for both.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import crystal_properties  # noqa: E402
import datasets  # noqa: E402
import figures  # noqa: E402
import silicon_models as models  # noqa: E402

import jaxpot as jp  # noqa: E402

FITTED = {f"{family} of {whose}": (family, labels) for labels, whose in (("teacher", "the teacher"), ("DFT", "DFT")) for family in models.FAMILIES}
NAMES = (*models.FILES, *FITTED, models.BY_GRADIENTS)
LONGEST_FIRST = ("GAP", "ACE", "MTP", "SNAP")
PROCESSES = 2


def potential(name: str, root: Path, config: dict) -> tuple[jp.Potential, dict]:
    """A published or a fitted potential, and what is to be said of its fit."""
    if name in models.FILES:
        return models.FILES[name](root), {}
    train, test = datasets.load("mlearn/Si_train")[:: config["fit"]["stride"]], datasets.load("mlearn/Si_test")
    if name == models.BY_GRADIENTS:
        return models.by_gradients(train, test, figures.PUBLISHED["DFT"], config)
    family, labels = FITTED[name]
    if labels == "teacher":
        teacher = models.FILES[models.TEACHER](root)
        train, test = (models.labelled(frames, teacher) for frames in (train, test))
    return models.fitted(family, train, test, config)


def measured(names: list[str], folder: Path, root: Path, config: dict) -> None:
    """Leaves a file of every potential; one that is killed leaves what it had found, and is not done."""
    for name in names:
        began, of_processor = time.perf_counter(), time.process_time()
        model, fit = potential(name, root, config)
        told = {"name": name, "fit": fit, "fit seconds": round(time.perf_counter() - began, 1)}
        print(f"{name}: {json.dumps(told)}", flush=True)

        def keep(result: dict, told=told, began=began, of_processor=of_processor) -> None:
            spent = {"seconds": time.perf_counter() - began, "processor seconds": time.process_time() - of_processor}
            text = json.dumps(told | {f"total {unit}": round(value, 1) for unit, value in spent.items()} | result, indent=1)
            (folder / f"{told['name']}.json").write_text(text + "\n")

        def show(text: str, result: dict, name=name, keep=keep) -> None:
            print(f"{name}: {text}", flush=True)
            keep(result)

        keep(crystal_properties.table(model, config["cells"], show) | {"done": True})


def done(name: str, folder: Path) -> bool:
    """Whether all of a potential has been measured."""
    file = folder / f"{name}.json"
    return file.exists() and json.loads(file.read_text()).get("done", False)


def groups(names: list[str]) -> list[list[str]]:
    """The potentials for each process, the longest first: models of one family go together."""
    families = [[name for name in names if name in FITTED and FITTED[name][0] == family] for family in LONGEST_FIRST]
    return [group for group in (*families, *([name] for name in (models.BY_GRADIENTS, *reversed(models.FILES)) if name in names)) if group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; none takes all that are not done")
    parser.add_argument("--again", action="store_true", help="takes all, done or not")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"no potential {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if "JAXPOT_DATA" not in os.environ:
        parser.error("needs the published files: export JAXPOT_DATA=/path/to/folder")
    began = time.perf_counter()
    root, config = Path(os.environ["JAXPOT_DATA"]), tomllib.loads((HERE / "config.toml").read_text())
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    names = arguments.names or [name for name in NAMES if arguments.again or not done(name, folder)]
    context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
    with ProcessPoolExecutor(PROCESSES, context, max_tasks_per_child=1) as pool:
        running = [pool.submit(measured, group, folder, root, config) for group in groups(names)]
    figures.main()
    print(f"{len(names)} potentials in {(time.perf_counter() - began) / 60:.1f} min")
    for process in running:
        process.result()  # raises what it has raised


if __name__ == "__main__":
    main()
