"""Amorphous carbon: a linear ACE and a SOAP-GAP fitted to the labels of a network, a melt quenched at three densities, and what it has become.

    python experiments/carbon/run.py                  # both fits; melts of the ACE; table and figures
    python experiments/carbon/run.py --melts ACE GAP  # melts of both
    python experiments/carbon/run.py --densities 2.0  # of some densities

All is kept in `results/`; called again, the script goes on where it was stopped or killed. figures.py makes table and figures of what there is.
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

import carbon_models as models  # noqa: E402
import datasets  # noqa: E402
import figures  # noqa: E402
import melt_quench  # noqa: E402

import jaxpot as jp  # noqa: E402


def fit(kind: str, config: dict, output: Path) -> jp.Sum:
    """A fit to the training frames, and its errors on the others, which nothing was chosen by."""
    path = output / f"{kind}.npz"
    if path.exists():
        return jp.load(path)
    began = time.perf_counter()
    fitted = models.fitted(kind, datasets.load("nequix_carbon/train"), config)
    seconds = time.perf_counter() - began
    errors = jp.fit.report(fitted, models.dataset(datasets.load("nequix_carbon/val"), config[kind], config["noise"]))
    print(f"{kind}: fit of {fitted.n_coefficients} coefficients in {seconds:.0f} s\n{jp.fit.table(errors)}", flush=True)
    told = {"coefficients": fitted.n_coefficients, "seconds": seconds, "cpu seconds": time.process_time(), "errors": errors}
    (output / f"{kind}.json").write_text(json.dumps(told, indent=1) + "\n")
    jp.save(path, fitted)
    return fitted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", nargs="*", choices=tuple(models.KINDS), default=list(models.KINDS))
    parser.add_argument("--melts", nargs="*", choices=tuple(models.KINDS), default=["ACE"])
    parser.add_argument("--densities", nargs="+", type=float, help="in g/cm³, instead of config.toml's")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if "JAXPOT_DATA" not in os.environ:
        parser.error("needs the data sets: export JAXPOT_DATA=/path/to/folder")
    config = tomllib.loads((HERE / "config.toml").read_text())
    settings, output = config["dynamics"], arguments.output
    output.mkdir(parents=True, exist_ok=True)
    for kind in dict.fromkeys([*arguments.fits, *arguments.melts]):
        fitted = fit(kind, config, output)
        for density in (arguments.densities or settings["densities"]) if kind in arguments.melts else ():
            start = melt_quench.lattice(density, settings["repeat"], settings["displacement"], settings["seed"])
            model = models.with_core(fitted, config["core"]) + models.dispersion(config["dispersion"], start)
            print(f"{kind} at {density:g} g/cm³: {len(start)} atoms, neighbour lists of {float(model.reach):.2f} Å", flush=True)
            ready = jp.tabulate(model, accuracy=1e-6) if kind == "GAP" else model  # tables of Agnesi's polynomials are no faster
            melt_quench.run(ready, start, settings, config["protocol"], output / f"{kind}-{density:g}.npz")
    figures.main(output, config)


if __name__ == "__main__":
    main()
