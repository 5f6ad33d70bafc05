"""The configuration of a fit: TOML sections in, every default written out, a model and its structures out."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.config import check_keys, model_from_table, table_from_model
from jaxpot.io.frames import file_paths, located, read_frames
from jaxpot.io.text import read_text
from jaxpot.noise import BY_TYPE, noise_levels
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.atoms_alone import IsolatedEnergies, isolated_energies
from jaxpot.potentials.base import terms_of
from jaxpot.properties import OBSERVABLES, SOURCES
from jaxpot.trees import fits

SECTIONS = {
    "data": ("train", "test", "index", "test_index", "select", "test_select", "keys", "cutoff", "batch_size"),
    "noise": (*OBSERVABLES, "config_types"),
    "model": (),
    "sparse": ("n", "method", "seed"),
    "evidence": ("leaves", "bounds", "noise", "steps", "restarts", "seed"),
    "fit": ("method", "covariance", "common"),
    "train": ("leaves", "epochs", "batch", "rate", "clip", "validation", "patience", "average", "seed"),
}
_EXAMPLES = {
    "data": 'train = "silicon.xyz"',
    "noise": "energy = 0.001 and forces = 0.1",
    "model": 'class = "IsolatedAtoms" and energies_of = "lstsq", or sections [[model.terms]]',
    "sparse": "n = 500",
    "evidence": 'leaves = ["*.sigma"]',
    "fit": 'method = "qr"',
    "train": "epochs = 200",
}
_LEAST, _MOST = 1e-15, 1e15  # of noise levels
_LONGEST = 1e4  # Å


def read_config(path: Path) -> dict:
    try:
        config = tomllib.loads(read_text(path, "a configuration (TOML)"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no configuration at {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    check_keys(config, tuple(SECTIONS), "")
    for section, known in SECTIONS.items():
        if section in config and not isinstance(config[section], dict):
            shown = repr(config[section])[:60]
            raise ValueError(f"{section} is {shown}; expected a section: a line [{section}], and below it for example {_EXAMPLES[section]}")
        if section in config and known:
            check_keys(config[section], known, section)
    for section in ("data", "noise", "model"):
        if section not in config:
            raise ValueError(f"{path} has no section [{section}]; write for example {_EXAMPLES[section]}")
    _check_integers(config, "")
    return config


def _check_integers(value: Any, path: str) -> None:
    """Raises for integers beyond those of TOML, of 64 bits."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_integers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{path} is an integer beyond 64 bits; expected a smaller one")


def _get(table: Mapping, section: str, key: str, kinds: tuple, expected: str, default: Any = ...) -> Any:
    """One value of a section, of these types."""
    if key not in table:
        if default is ...:
            raise ValueError(f"{section}.{key} is missing; expected {expected}")
        return default
    value = table[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{section}.{key} is {value!r}; expected {expected}")
    return value


def _count(table: Mapping, section: str, key: str, low: int, high: int, default: int) -> int:
    """An integer of a section in this range."""
    value = _get(table, section, key, (int,), f"an integer from {low} to {high}", default)
    if not low <= value <= high:
        raise ValueError(f"{section}.{key} is {value}; expected an integer from {low} to {high}")
    return value


def _word(table: Mapping, section: str, key: str, words: tuple[str, ...]) -> str:
    """One of these words, by default the first."""
    expected = " or ".join(f'"{word}"' for word in words)
    value = _get(table, section, key, (str,), expected, words[0])
    if value not in words:
        raise ValueError(f"{section}.{key} is {value!r}; expected {expected}")
    return value


def _frames(data: Mapping, files: str, prefix: str) -> tuple[list, list[str]]:
    """The frames of data.train, or with the prefix "test_" of data.test."""
    try:
        return read_frames(data[files], index=data[f"{prefix}index"], select=data.get(f"{prefix}select", {}))
    except ValueError as error:
        raise ValueError(f"data.{prefix}{error}" if str(error).startswith(("index ", "select: ")) else str(error)) from None


def resolve(config: dict, base: Path) -> tuple[dict, Any, tuple, tuple]:
    """The configuration with every default written out, the unfitted model, and the frames of both sets with their origins."""
    given = config["data"]

    def files(key):
        value = _get(given, "data", key, (str, list), "a file, a glob or a list of them")
        patterns = [value] if isinstance(value, str) else value
        if not patterns or not all(isinstance(p, str) and p for p in patterns):
            raise ValueError(f"data.{key} is {value!r}; expected a file, a glob or a list of them")
        try:
            return [str(Path(p).resolve()) for p in file_paths(patterns, base)]
        except (ValueError, OSError) as error:
            raise type(error)(f"data.{key}: {error}") from None

    data: dict[str, Any] = {"train": files("train"), "index": _get(given, "data", "index", (str,), 'a slice such as "::10"', ":")}
    if any(key in given for key in ("test", "test_index", "test_select")):
        data["test"] = files("test" if "test" in given else "train")
        data["test_index"] = _get(given, "data", "test_index", (str,), 'a slice such as "::10"', ":")
    for key, example in {"keys": '{energy = "dft_energy"}', "select": '{split = "train"}', "test_select": '{split = "test"}'}.items():
        if key in given:
            data[key] = dict(_get(given, "data", key, (dict,), f"a table such as {example}"))
    check_keys(data.get("keys", {}), tuple(SOURCES), "data.keys")
    if not all(isinstance(name, str) and name for name in data.get("keys", {}).values()):
        raise ValueError(f'data.keys is {data["keys"]!r}; expected names, for example {{energy = "dft_energy", forces = "dft_forces"}}')

    for key in ("select", "test_select"):
        for name, wanted in data.get(key, {}).items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if not values or not all(isinstance(value, str | int | float) for value in values):
                raise ValueError(f"data.{key}.{name} is {wanted!r}; expected a word, a number, true or false, or a list of them")

    fit = config.get("fit", {})
    # what is trained is seldom linear, so a linear fit before is asked for
    linear = ("qr", "cholesky", "lsqr", "levels")
    method = _word(fit, "fit", "method", ("none", *linear) if "train" in config else (*linear, "none"))
    covariance = _get(fit, "fit", "covariance", (bool,), "true or false", False)
    common = _get(fit, "fit", "common", (bool,), "true or false", False)
    if common and method != "levels":
        raise ValueError(f'fit.common is of method = "levels", which finds noise levels; the method is "{method}"')
    if method == "none" and "train" not in config:
        raise ValueError('fit.method is "none" and there is no section [train]; write method = "qr", or epochs = 200 below [train]')
    if covariance and "train" in config:
        raise ValueError("fit.covariance is of a linear fit, which training changes; leave out covariance, or the section [train]")
    stages = {name: own(config[name]) for name, own in (("evidence", _evidence), ("train", _train)) if name in config}

    train, origins = _frames(data, "train", "")
    test, test_origins = _frames(data, "test", "test_") if "test" in data else ([], [])
    asked = [name for name in OBSERVABLES if name in BY_TYPE or name in config["noise"]]
    levels: dict[str, Any] = {name: _level(config["noise"].get(name, "none"), f"noise.{name}") for name in asked}
    if set(levels.values()) == {"none"}:
        raise ValueError("noise: no level given; write energy (eV per √atom), forces (eV/Å) or virial (eV per √atom)")
    levels["config_types"] = _config_type_levels(config["noise"].get("config_types", {}), train + test)

    with located(origins):
        table = _with_isolated(config["model"], train, data.get("keys"), "model")
        model = model_from_table(_without_rules(table))
    reach = float(model.reach)
    data["cutoff"] = float(_get(given, "data", "cutoff", (int, float), "a number of Å", reach))
    if data["cutoff"] < reach:
        raise ValueError(f"data.cutoff is {data['cutoff']} Å, but the model looks {reach} Å far; write at least that, or leave cutoff out")
    if not data["cutoff"] <= _LONGEST:
        raise ValueError(f"data.cutoff is {data['cutoff']}; expected a number of Å, at most {_LONGEST:g}")
    data["batch_size"] = _count(given, "data", "batch_size", 1, 10**6, 64)

    resolved = {"data": data, "noise": levels, "model": _with_rules(table_from_model(model), table)}
    if any(fits(term, DescribedPotential, head=SparseGP) for term in terms_of(model)):
        sparse = config.get("sparse", {})
        example = "the number of sparse points, or a table such as {Si = 500, O = 300}"
        n = _get(sparse, "sparse", "n", (int, dict), example)
        for key, value in (n if isinstance(n, dict) else {"": n}).items():
            if not isinstance(value, int) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"sparse.n{f'.{key}' if key else ''} is {value!r}; expected {example}")
            if key and key not in model.species:
                raise ValueError(f"sparse.n.{key}: the model has {', '.join(model.species)}; expected {example}")
        if not n:
            raise ValueError(f"sparse.n is {n!r}; expected {example}")
        resolved["sparse"] = {
            "n": n,
            "method": _word(sparse, "sparse", "method", ("cur", "fps", "kmeans", "grid")),
            "seed": _count(sparse, "sparse", "seed", 0, 2**32 - 1, 0),
        }
    elif "sparse" in config:
        raise ValueError("[sparse]: no term of the model has a SparseGP head; leave the section out")
    resolved |= {"fit": {"method": method, "covariance": covariance} | ({"common": common} if method == "levels" else {})} | stages
    return resolved, model, (train, origins), (test, test_origins)


def _names(table: Mapping, section: str, key: str, example: str) -> list[str]:
    """A list of words."""
    value = _get(table, section, key, (list,), f"a list such as {example}", [])
    if not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"{section}.{key} is {value!r}; expected a list such as {example}")
    return value


def _number(table: Mapping, section: str, key: str, low: float, high: float, default: float) -> float:
    """A number of a section in this range."""
    value = _get(table, section, key, (int, float), f"a number from {low:g} to {high:g}", default)
    if not low <= value <= high:
        raise ValueError(f"{section}.{key} is {value}; expected a number from {low:g} to {high:g}")
    return float(value)


def _evidence(table: Mapping) -> dict:
    """The section [evidence] with its defaults: which leaves and noise levels the evidence moves."""
    name = "evidence"
    bounds = _get(table, name, "bounds", (dict,), 'a table such as {"*.radius" = [3.0, 6.0]}', {})
    for pattern, pair in bounds.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair) and pair[0] < pair[1]):
            raise ValueError(f"{name}.bounds.{pattern} is {pair!r}; expected [lowest, highest], such as [3.0, 6.0]")
    found = {
        "leaves": _names(table, name, "leaves", '["*.sigma"]'), "noise": _names(table, name, "noise", '["energy", "forces"]'), "bounds": dict(bounds),
        "steps": _count(table, name, "steps", 1, 10**6, 50), "restarts": _count(table, name, "restarts", 0, 1000, 0),
        "seed": _count(table, name, "seed", 0, 2**32 - 1, 0),
    }  # fmt: skip
    check_keys(dict.fromkeys(found["noise"]), tuple(OBSERVABLES), f"{name}.noise")
    if not found["leaves"] and not found["noise"]:
        raise ValueError('[evidence] moves nothing; write leaves = ["*.sigma"], or noise = ["energy", "forces"]')
    return found


def _train(table: Mapping) -> dict:
    """The section [train] with its defaults; zero patience and average are none."""
    name = "train"
    return {
        "leaves": _names(table, name, "leaves", '["*.weights.*", "*.biases.*"]'), "epochs": _count(table, name, "epochs", 1, 10**7, 200),
        "batch": _count(table, name, "batch", 1, 10**6, 8), "rate": _number(table, name, "rate", 1e-9, 10, 0.005),
        "clip": _number(table, name, "clip", 1e-9, 1e9, 10.0), "validation": _number(table, name, "validation", 0, 0.9, 0.1),
        "patience": _count(table, name, "patience", 0, 10**6, 0), "average": _number(table, name, "average", 0, 0.999999, 0.99),
        "seed": _count(table, name, "seed", 0, 2**32 - 1, 0),
    }  # fmt: skip


def roughness_rule(table: Any) -> dict | None:
    """What a term's table says of the prior of its head where that follows from the data: `roughness = {rule = "forces", power = 0.0, order = 4.0}`."""
    rule = table.get("head", {}).get("roughness") if isinstance(table, Mapping) and isinstance(table.get("head"), Mapping) else None
    if not isinstance(rule, Mapping):
        return None
    check_keys(rule, ("rule", "power", "order"), "head.roughness")
    if rule.get("rule") != "forces":
        raise ValueError(f'head.roughness.rule is {rule.get("rule")!r}; expected "forces", by which all functions make equally large forces a priori')
    return {"rule": "forces"} | {key: _number(rule, "head.roughness", key, 0, 1e6, default) for key, default in (("power", 0.0), ("order", 1.0))}


def _changed(table: Any, change: Callable[[Mapping, Mapping], Mapping], by: Any) -> Any:
    """A model's table with the tables of its terms changed, each by that of the same term."""
    if not isinstance(table, Mapping) or not isinstance(table.get("terms"), list):
        return change(table, by) if isinstance(table, Mapping) else table
    return {**table, "terms": [change(own, other) if isinstance(own, Mapping) else own for own, other in zip(table["terms"], by["terms"], strict=True)]}


def _without_rules(table: Any) -> Any:
    """A model's table whose heads have no priors that follow from the data."""

    def without(own: Mapping, _: Any) -> Mapping:
        return {**own, "head": {key: value for key, value in own["head"].items() if key != "roughness"}} if roughness_rule(own) else own

    return _changed(table, without, table)


def _with_rules(table: Any, given: Any) -> Any:
    """A model's table with the priors that follow from the data as another has them."""

    def with_rule(own: Mapping, other: Any) -> Mapping:
        rule = roughness_rule(other)
        return {**own, "head": {**own["head"], "roughness": rule}} if rule else own

    return _changed(table, with_rule, given)


def _level(value: Any, path: str) -> float | str:
    if value == "none":
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not _LEAST <= value <= _MOST:
        raise ValueError(f'{path} is {value!r}; expected a positive number from {_LEAST:g} to {_MOST:g}, or "none"')
    return float(value)


def _config_type_levels(table: Any, frames: list) -> dict:
    if not isinstance(table, Mapping):
        raise ValueError(f"noise.config_types is {table!r}; expected a table such as {{dimer = [0.01, 0.1, 0.1]}}")
    there = sorted({str(atoms.info.get("config_type", "")) for atoms in frames})
    out = {}
    for name, levels in table.items():
        if name not in there:
            known = ", ".join(t or "(none)" for t in there)
            raise ValueError(f"noise.config_types.{name}: no frame has this config_type; the frames have {known}")
        if not isinstance(levels, list) or len(levels) != 3:
            raise ValueError(f"noise.config_types.{name} is {levels!r}; expected [energy, forces, virial]")
        out[name] = [_level(level, f"noise.config_types.{name}.{i}") for i, level in enumerate(levels)]
    return out


def noise(table: Mapping) -> Any:
    def number(level):
        return None if level == "none" else level

    types = {name: [number(level) for level in levels] for name, levels in table["config_types"].items()}
    return noise_levels(**{name: number(table[name]) for name in OBSERVABLES if name in table}, config_types=types)


def _with_isolated(table: Any, frames: list, keys: Mapping | None, path: str) -> Any:
    """The model's table with the words "lstsq", "isolated" and "mean" replaced by energies found in the training frames."""
    if isinstance(table, list):
        return [_with_isolated(item, frames, keys, f"{path}.{i}") for i, item in enumerate(table)]
    if not isinstance(table, Mapping):
        return table
    if table.get("class") == "IsolatedAtoms" and isinstance(table.get("energies_of"), str):
        return {**table, "energies_of": isolated_energies(frames, table["energies_of"], keys, f"{path}.energies_of").values}
    return {key: _with_isolated(item, frames, keys, f"{path}.{key}") for key, item in table.items()}


def energies_found(table: Any, frames: list, keys: Mapping | None) -> list[IsolatedEnergies]:
    """What the training frames say where a model's table has one of these words."""
    if isinstance(table, list):
        return [found for item in table for found in energies_found(item, frames, keys)]
    if not isinstance(table, Mapping):
        return []
    if table.get("class") == "IsolatedAtoms" and isinstance(table.get("energies_of"), str):
        return [isolated_energies(frames, table["energies_of"], keys)]
    return energies_found(list(table.values()), frames, keys)
