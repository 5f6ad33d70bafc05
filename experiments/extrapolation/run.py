"""Extrapolation: force fields of acetylacetone and 3BPA trained at 300 K, tested at 600 K, along a torsion and a proton transfer.

    python experiments/extrapolation/run.py                                  # all models of both molecules (goes on where it was killed)
    python experiments/extrapolation/run.py --data acac --only ACE sGDML     # some of them
    python experiments/extrapolation/run.py --data acac --only ACE --choose  # errors of the candidates on held-out training frames alone
    python experiments/extrapolation/run.py --report                         # tables and figures of what is in results/

Settings are in config.toml; `--set models.ACE.scale=100` changes one for a run. What is finished of every model is kept in the output folder.
"""

import argparse
import json
import resource
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import datasets  # noqa: E402
import models  # noqa: E402
import profiles  # noqa: E402
import report  # noqa: E402

import jaxpot as jp  # noqa: E402


def processor_seconds() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def load(data: dict) -> tuple[list, dict, dict]:
    """Training frames, energies of isolated atoms, and sets of test frames."""
    train = datasets.load(data["train"])
    isolated = {a.get_chemical_symbols()[0]: a.get_potential_energy() for a in datasets.load(data["isolated"])}
    tests = {name: datasets.load(of) for name, of in data["tests"].items()}
    if "n_test" in data:
        order = np.random.default_rng(data["seed"]).permutation(len(train))
        tests["300 K"] = [train[i] for i in sorted(order[: data["n_test"]])]
        train = [train[i] for i in sorted(order[data["n_test"] :])]
    return train, {symbol: isolated[symbol] for symbol in sorted(isolated)}, tests


def choose(data: dict, kind: str, settings: dict, store: report.Store, train: list, isolated: dict) -> dict:
    """The settings with the best of the candidates, all of which are tried once."""
    for one in models.choices(kind, train, isolated, settings, data["held_out"], store.get("candidates", [])):
        store.put(candidates=[*store.get("candidates", []), one])
        print(f"{kind}: {one['change']}, {1e3 * one['energy']:.2f} meV, {1e3 * one['forces']:.2f} meV/Å on the hottest training frames", flush=True)
    tried = [one for one in store.get("candidates", []) if one["change"] in settings.get("candidates", [])]
    return {**settings, **(min(tried, key=lambda one: one["forces"])["change"] if tried else {})}


def study(data: dict, kind: str, settings: dict, store: report.Store, folder: Path) -> None:
    """Fits one model to all training frames and finds its errors, profiles and pair curves."""
    train, isolated, tests = load(data)
    settings = choose(data, kind, settings, store, train, isolated)
    if store.get("settings") != settings:
        started, used = time.perf_counter(), processor_seconds()
        fitted = models.FITS[kind](train[: settings.get("n_train")], isolated, settings)
        seconds = {"wall": time.perf_counter() - started, "processor": processor_seconds() - used}
        jp.save(folder / f"{store.path.stem}.npz", fitted)
        used_frames = min(len(train), settings.get("n_train", len(train)))
        store.put(settings=settings, seconds=seconds, frames=used_frames, coefficients=size(models.model_of(fitted)), errors={}, profiles={}, dimers=None)
    fitted = jp.load(folder / f"{store.path.stem}.npz")
    model = models.model_of(fitted)
    cutoff = models.cutoff_of(model)
    for name, frames in tests.items():
        if name not in store.get("errors"):
            one = models.errors(model, frames, cutoff)
            store.put(errors={**store.get("errors"), name: one})
            print(f"{kind}: {name}, {1e3 * one['energy']:.2f} meV, {1e3 * one['forces']:.2f} meV/Å", flush=True)
    for name, of in data["profiles"].items():
        if name not in store.get("profiles"):
            frames = datasets.load(of)
            one = profiles.along(model, frames, cutoff)
            if "members" in settings or settings.get("covariance"):
                one["deviation"] = profiles.deviations(fitted, frames, cutoff)
            store.put(profiles={**store.get("profiles"), name: one})
            print(f"{kind}: {name}, {1e3 * one['rmse']:.1f} meV, unphysical minima {one['minima']}", flush=True)
    if store.get("dimers") is None and kind != "sGDML":  # which knows one molecule
        store.put(dimers=profiles.dimers(model, isolated, cutoff))
    store.put(peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def size(model) -> int:
    """Number of coefficients, or of weights of a network."""
    terms = getattr(model, "terms", (model,))
    committees = [member for term in terms for member in getattr(term, "members", ())]
    heads = [one.head for one in (*terms, *committees) if isinstance(one, jp.AtomicPotential)]
    networks = sum(int(np.size(x)) for head in heads if isinstance(head, jp.MLP) for x in (*head.weights, *head.biases))
    return networks or sum(term.n_coefficients for term in terms if hasattr(term, "n_coefficients"))


def novelty(data: dict, store: report.Store) -> None:
    """How far the frames of the paths, and of the tests, are from the training set."""
    if data["profiles"] and store.get("novelty") is None:
        train, _, tests = load(data)
        measure = profiles.Novelty(train, tests["300 K"])
        found = {name: measure(datasets.load(of)).tolist() for name, of in data["profiles"].items()}
        store.put(novelty=found, novelty_of_tests={name: np.percentile(measure(frames), [50, 95]).tolist() for name, frames in tests.items()})


def with_changes(config: dict, changes: list[str]) -> dict:
    for change in changes:
        path, value = change.split("=", 1)
        *sections, name = path.split(".")
        section = config
        for key in sections:
            section = section.get(key, {})
        if name not in section:
            raise SystemExit(f"no setting {path}; expected for example models.ACE.scale=100")
        section[name] = json.loads(value)
    return config


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=("acac", "3BPA"), default=["acac", "3BPA"])
    parser.add_argument("--only", nargs="+", choices=tuple(models.FITS), default=list(models.FITS))
    parser.add_argument("--choose", action="store_true", help="try the candidates, and leave the test sets alone")
    parser.add_argument("--report", action="store_true", help="tables and figures of what is there")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=JSON", help="another value of a setting")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    chosen = parser.parse_args(arguments)
    config = with_changes(tomllib.loads((HERE / "config.toml").read_text()), chosen.set)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name in chosen.data:
        for kind in () if chosen.report else chosen.only:
            data, store = config["data"][name], report.Store.of(chosen.output, name, kind)
            settings = {**config["models"][kind], **data.get("changes", {}).get(kind, {})}
            if chosen.choose:
                choose(data, kind, settings, store, *load(data)[:2])
            else:
                study(data, kind, settings, store, chosen.output)
            jax.clear_caches()
        if not chosen.choose:
            novelty(config["data"][name], report.Store.of(chosen.output, name, "novelty"))
    report.show(chosen.output)


if __name__ == "__main__":
    main()
