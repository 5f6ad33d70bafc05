"""The property table of silicon: published potentials, and models fitted here to a teacher and to DFT.

    python experiments/silicon_properties/run.py                          # everything, then the table
    python experiments/silicon_properties/run.py SW "ACE of the teacher"  # some of it

Every potential leaves one file in `results/`; figures.py makes the table and the figure of what is there.
"""

import argparse
import json
import os
import sys
import time
import tomllib
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
NAMES = (*models.FILES, *FITTED)


def potential(name: str, root: Path, config: dict) -> tuple[jp.Potential, dict]:
    """A published or a fitted potential, and what is to be said of its fit."""
    if name in models.FILES:
        return models.FILES[name](root), {}
    family, labels = FITTED[name]
    train, test = datasets.load("mlearn/Si_train")[:: config["fit"]["stride"]], datasets.load("mlearn/Si_test")
    if labels == "teacher":
        teacher = models.FILES[models.TEACHER](root)
        train, test = (models.labelled(frames, teacher) for frames in (train, test))
    return models.fitted(family, train, test, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; none takes all")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"no potential {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if "JAXPOT_DATA" not in os.environ:
        parser.error("needs the published files: export JAXPOT_DATA=/path/to/folder")
    root, config = Path(os.environ["JAXPOT_DATA"]), tomllib.loads((HERE / "config.toml").read_text())
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    for name in arguments.names or NAMES:
        began = time.perf_counter()
        model, fit = potential(name, root, config)
        fit_seconds = round(time.perf_counter() - began, 1)
        print(f"{name}: {json.dumps(fit)}", flush=True)

        def keep(text: str, result: dict, name=name, fit=fit, fit_seconds=fit_seconds, began=began) -> None:
            """A run that is killed leaves what it had found."""
            print(f"{name}: {text}", flush=True)
            told = {"name": name, "fit": fit, "fit seconds": fit_seconds, "total seconds": round(time.perf_counter() - began, 1)}
            (folder / f"{name}.json").write_text(json.dumps(told | result, indent=1) + "\n")

        crystal_properties.table(model, config["cells"], keep)
    figures.main()


if __name__ == "__main__":
    main()
