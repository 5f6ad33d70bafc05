"""The command `jaxpot fit`: stages of one configuration, each of which goes on where it was killed."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxpot
from jaxpot.cli import comparable
from jaxpot.heads.mlp import MLP
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.config import to_toml
from jaxpot.io.fit_config import energies_found, noise, read_config, resolve, roughness_rule
from jaxpot.io.frames import located
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.base import terms_of, with_terms
from jaxpot.properties import OBSERVABLES
from jaxpot.trees import fits, parts

_RESULTS = ("model.npz", "errors.json", "config.resolved.toml", "posterior.npz", "evidence.npz", "evidence.json", "linear.npz", "levels.npz", "levels.json",
            "history.json")  # fmt: skip
_STATES = ("evidence-state.npz", "fit-state.npz", "train-state.npz")


def fit(args: argparse.Namespace) -> int:
    """Fits as the configuration says."""
    config_path = Path(args.config)
    output = Path(args.output) if args.output else Path(f"{config_path.stem}-fit")
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; expected a folder")
    config = read_config(config_path)
    resolved, model, (frames, origins), (test_frames, test_origins) = resolve(config, config_path.parent)
    if _finished(output, to_toml(resolved), args.overwrite):
        print(f"{output} holds the finished fit of this configuration; to fit it again write --overwrite")
        return 0
    settings, names = resolved["data"], [name for name, observable in OBSERVABLES.items() if observable.of_energy or name in resolved["noise"]]
    keys, shape = settings.get("keys"), {"cutoff": settings["cutoff"], "batch_size": settings["batch_size"]}
    for energies in energies_found(config["model"], frames, keys):
        print(energies)
    with located(origins):
        try:
            data = jaxpot.Dataset.from_atoms(frames, sigma=noise(resolved["noise"]), keys=keys, **shape)
        except ValueError as error:
            raise ValueError(f"data.keys: {error}" if str(error).startswith("no frame has") else str(error)) from None
        model = _with_points(model, data, resolved.get("sparse"))
        model = _with_roughness(model, data, resolved["model"])
    test = None
    if test_frames:
        with located(test_origins):
            test, _ = comparable(test_frames, names=names, keys=keys, asked=noise(resolved["noise"]), **shape)
    shapes = {batch.graphs.neighbors.shape[1:] for batch in data.batches}
    print(f"{len(data)} structures, {sum(data.n_atoms)} atoms, in {len(shapes)} shapes, for each of which every stage compiles once", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.resolved.toml").write_text(to_toml(resolved))
    with located(origins):
        fitted = _stages(model, data, resolved, output)
        jaxpot.save(output / "model.npz", fitted)
        errors = {"train": jaxpot.fit.report(fitted, data)}
    if test is not None:
        with located(test_origins):
            errors["test"] = jaxpot.fit.report(*_with_deviations(fitted, test, output))
    (output / "errors.json").write_text(json.dumps(errors, indent=1) + "\n")
    for name, report in errors.items():
        if report:
            print(f"{name}\n{jaxpot.fit.table(report)}\n")
    written = [name for name in ("model.npz", "posterior.npz", "levels.json", "history.json", "evidence.json") if (output / name).exists()]
    print(f"wrote {', '.join(written)}, errors.json and config.resolved.toml to {output}")
    return 0


def _with_deviations(fitted: Any, test: Any, output: Path) -> tuple[Any, Any]:
    """The posterior in place of the model, where it is kept, and test structures with the noise levels that were found."""
    posterior, found = output / "posterior.npz", output / "levels.json"
    if not posterior.exists():
        return fitted, test
    known = json.loads(found.read_text())["noise"] if found.exists() else {}
    there = {name: factor for name, factor in known.items() if any(getattr(batch.sigma, name) is not None for batch in test.batches)}
    return jaxpot.load(posterior), test.scale_noise(**there) if there else test


def _stages(model: Any, data: Any, resolved: Mapping, output: Path) -> Any:
    """Hyper-parameters by evidence, coefficients by a linear fit, leaves by training: those that the configuration has."""
    if "evidence" in resolved:
        print("stage: hyper-parameters by evidence", flush=True)
        model, factors = _kept(output / "evidence.npz", lambda: _evidence(model, data, resolved["evidence"], output))
        data = data.scale_noise(**factors)
    method = resolved["fit"]["method"]
    if method != "none":
        print(f"stage: linear fit, {method}", flush=True)
    if method == "levels":
        model, factors = _kept(output / "levels.npz", lambda: _levels(model, data, resolved, output), "train" in resolved)
        data = data.scale_noise(**factors)
    elif method != "none":
        how = {"method": method, "checkpoint": None if method == "lsqr" else output / "fit-state.npz"}
        if resolved["fit"]["covariance"]:
            posterior = jaxpot.fit.posterior(model, data, **how)
            jaxpot.save(output / "posterior.npz", posterior)
            model = posterior.model
        else:
            model, _ = _kept(output / "linear.npz", lambda: (jaxpot.fit.linear(model, data, **how), {}), "train" in resolved)
    if "train" not in resolved:
        return model
    print("stage: training", flush=True)
    return _trained(model, data, resolved["train"], output)


def _kept(path: Path, make: Callable[[], tuple[Any, dict]], keep: bool = True) -> tuple[Any, dict]:
    """What a stage has made, from the file where it is there already: a model, and numbers beside it."""
    beside = path.with_suffix(".json")
    if path.exists():
        return jaxpot.load(path), json.loads(beside.read_text())["noise"] if beside.exists() else {}
    found, numbers = make()
    if keep:
        jaxpot.save(path, found)
    return found, numbers


def _levels(model: Any, data: Any, resolved: Mapping, output: Path) -> tuple[Any, dict]:
    """The fitted model with the noise levels and the scales of priors of the largest evidence, and the factors of noise levels."""
    found = jaxpot.fit.levels(model, data, common=resolved["fit"]["common"], checkpoint=output / "fit-state.npz")
    if not found.converged:
        print("the search for noise levels and scales of priors was still moving when it ended")
    if resolved["fit"]["covariance"]:
        jaxpot.save(output / "posterior.npz", found.posterior)
    levels = {name: factor * resolved["noise"][name] for name, factor in found.noise.items()}
    print("noise levels: " + ", ".join(f"{name} {level:.3g}" for name, level in levels.items()))
    told = {"evidence": found.evidence, "converged": found.converged, "noise levels": levels, "noise": found.noise, "scales": found.scales}
    (output / "levels.json").write_text(json.dumps(told, indent=1) + "\n")
    return found.posterior.model, found.noise


def _evidence(model: Any, data: Any, settings: Mapping, output: Path) -> tuple[Any, dict]:
    """The model with the hyper-parameters of the largest evidence, and the factors of noise levels."""
    found = jaxpot.fit.maximise_evidence(
        model, data, *settings["leaves"], bounds={name: tuple(pair) for name, pair in settings["bounds"].items()}, noise=tuple(settings["noise"]),
        steps=settings["steps"], restarts=settings["restarts"], key=jax.random.key(settings["seed"]), checkpoint=output / "evidence-state.npz",
    )  # fmt: skip
    best = max(found.history, key=lambda seen: seen["evidence"])
    values = {name: np.asarray(value).tolist() for name, value in best.items() if name not in ("evidence", "restart", "step")}
    factors = {name: float(values[f"noise.{name}"]) for name in settings["noise"]}
    print(f"evidence: {found.message}; {', '.join(f'{name} = {value}' for name, value in values.items())}")
    told = {"evidence per label": float(found.evidence), "converged": bool(found.converged), "message": found.message, "values": values, "noise": factors}
    (output / "evidence.json").write_text(json.dumps(told, indent=1) + "\n")
    return found.model, factors


def _trained(model: Any, data: Any, settings: Mapping, output: Path) -> Any:
    """The model after training, of which a part of the data is held out to say when it is best."""
    import optax

    key = jax.random.key(settings["seed"])
    train, held = jaxpot.fit.split(data, settings["validation"], key=key) if settings["validation"] else (data, None)
    if any(parts(model, MLP)):
        model = jaxpot.fit.standardise(model, train)
    steps = settings["epochs"] * jaxpot.fit.steps_per_epoch(train, settings["batch"])
    rate = optax.cosine_decay_schedule(settings["rate"], steps)
    trained, history = jaxpot.fit.train(
        model, train, optax.chain(optax.clip_by_global_norm(settings["clip"]), optax.adam(rate)), steps=steps, where=tuple(settings["leaves"]) or None,
        batch=settings["batch"], key=key, validation=held, average=settings["average"] or None, patience=settings["patience"] or None,
        checkpoint=output / "train-state.npz",
    )  # fmt: skip
    (output / "history.json").write_text(json.dumps(history) + "\n")
    return trained


def _with_points(model: Any, data: Any, sparse: Mapping | None) -> Any:
    """The model with sparse points chosen for every SparseGP head."""
    if sparse is None:
        return model
    terms = list(terms_of(model))
    for i, term in enumerate(terms):
        if fits(term, DescribedPotential, head=SparseGP) and not term.n_coefficients:
            key = jax.random.fold_in(jax.random.key(sparse["seed"]), i)
            try:
                points = jaxpot.fit.select_environments(term.descriptor, data, sparse["n"], key=key, method=sparse["method"])
            except ValueError as error:
                raise ValueError(str(error) if str(error).startswith("frame ") else f"[sparse] for model.terms.{i}: {error}") from None
            terms[i] = term.with_points(points)
    return with_terms(model, terms)


def _with_roughness(model: Any, data: Any, table: Mapping) -> Any:
    """The model with the priors that follow from the data, where a head's `roughness` is "forces"."""
    tables, terms = table.get("terms", [table]), list(terms_of(model))
    for i, (own, term) in enumerate(zip(tables, terms, strict=True)):
        if rule := roughness_rule(own):
            smooth = term.descriptor.smoothness(rule["power"], rule["order"]) if hasattr(term.descriptor, "smoothness") else 1.0
            terms[i] = term.replace(head=term.head.replace(roughness=smooth * jaxpot.fit.force_scales(term, data)))
    return with_terms(model, terms)


def _finished(output: Path, text: str, overwrite: bool) -> bool:
    """Whether the folder holds the finished fit of this configuration; raises if it is another's, unless it is to be replaced, and is emptied then.

    Raises:
      ValueError: for the fit of another configuration.
    """
    config, made = output / "config.resolved.toml", [output / name for name in (*_RESULTS, *_STATES)]
    same = config.exists() and config.read_text() == text
    if same and not overwrite:
        return (output / "errors.json").exists()
    if not overwrite and ((output / "model.npz").exists() or any((output / name).exists() for name in _STATES)):
        what = "a finished" if (output / "model.npz").exists() else "an unfinished"
        raise ValueError(f"{output} holds {what} fit of another configuration; choose another --output, or write --overwrite")
    for path in made:
        path.unlink(missing_ok=True)
    return False
