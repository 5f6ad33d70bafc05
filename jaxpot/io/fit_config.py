"""The configuration of a fit: TOML sections in, every default written out, a model and its structures out."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpot.data import KEYS, noise_levels
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.config import check_keys, isolated_energies, model_from_table, table_from_model
from jaxpot.io.frames import file_paths, located, read_frames
from jaxpot.potentials.base import terms_of

_SECTIONS = {
    "data": ("train", "test", "index", "test_index", "select", "test_select", "keys", "cutoff", "batch_size"),
    "noise": ("energy", "forces", "virial", "config_types"),
    "model": (),
    "sparse": ("n", "method", "seed"),
    "fit": ("method", "covariance"),
}


def read_config(path: Path) -> dict:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no configuration at {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    check_keys(config, tuple(_SECTIONS), "")
    for section, known in _SECTIONS.items():
        if section in config and known:
            check_keys(config[section], known, section)
    for section, example in {"data": 'train = "silicon.xyz"', "noise": "energy = 0.001, forces = 0.1", "model": "[[model.terms]]"}.items():
        if section not in config:
            raise ValueError(f"{path} has no section [{section}]; write for example {example}")
    return config


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


def resolve(config: dict, base: Path) -> tuple[dict, Any, tuple, tuple]:
    """The configuration with every default written out, the unfitted model, and the frames of both sets with their origins."""
    given = config["data"]

    def files(key):
        value = _get(given, "data", key, (str, list), "a file, a glob or a list of them")
        patterns = [value] if isinstance(value, str) else value
        if not patterns or not all(isinstance(p, str) for p in patterns):
            raise ValueError(f"data.{key} is {value!r}; expected a file, a glob or a list of them")
        return [str(Path(p).resolve()) for p in file_paths(patterns, base)]

    data: dict[str, Any] = {"train": files("train"), "index": _get(given, "data", "index", (str,), 'a slice such as "::10"', ":")}
    if any(key in given for key in ("test", "test_index", "test_select")):
        data["test"] = files("test" if "test" in given else "train")
        data["test_index"] = _get(given, "data", "test_index", (str,), 'a slice such as "::10"', ":")
    for key, example in {"keys": '{energy = "dft_energy"}', "select": '{split = "train"}', "test_select": '{split = "test"}'}.items():
        if key in given:
            data[key] = dict(_get(given, "data", key, (dict,), f"a table such as {example}"))
    check_keys(data.get("keys", {}), tuple(KEYS), "data.keys")
    if not all(isinstance(name, str) for name in data.get("keys", {}).values()):
        raise ValueError(f'data.keys is {data["keys"]!r}; expected names, for example {{energy = "dft_energy", forces = "dft_forces"}}')

    fit = config.get("fit", {})
    method = _get(fit, "fit", "method", (str,), '"qr", "cholesky" or "lsqr"', "qr")
    if method not in ("qr", "cholesky", "lsqr"):
        raise ValueError(f'fit.method is {method!r}; expected "qr", "cholesky" or "lsqr"')
    covariance = _get(fit, "fit", "covariance", (bool,), "true or false", False)

    train, origins = read_frames(data["train"], index=data["index"], select=data.get("select", {}))
    test, test_origins = [], []
    if "test" in data:
        test, test_origins = read_frames(data["test"], index=data["test_index"], select=data.get("test_select", {}))
    levels: dict[str, Any] = {name: _level(config["noise"].get(name, "none"), f"noise.{name}") for name in ("energy", "forces", "virial")}
    if set(levels.values()) == {"none"}:
        raise ValueError("noise: no level given; write energy (eV per √atom), forces (eV/Å) or virial (eV per √atom)")
    levels["config_types"] = _config_type_levels(config["noise"].get("config_types", {}), train + test)

    with located(origins):
        model = model_from_table(_with_isolated(config["model"], train, data.get("keys"), "model"))
    reach = float(model.reach)
    data["cutoff"] = float(_get(given, "data", "cutoff", (int, float), "a number of Å", reach))
    if data["cutoff"] < reach:
        raise ValueError(f"data.cutoff is {data['cutoff']} Å, but the model looks {reach} Å far; write at least that, or leave cutoff out")
    data["batch_size"] = _get(given, "data", "batch_size", (int,), "a positive integer", 64)
    if data["batch_size"] < 1:
        raise ValueError(f"data.batch_size is {data['batch_size']}; expected a positive integer")

    resolved = {"data": data, "noise": levels, "model": table_from_model(model)}
    if any(isinstance(getattr(term, "head", None), SparseGP) for term in terms_of(model)):
        sparse = config.get("sparse", {})
        resolved["sparse"] = {
            "n": _get(sparse, "sparse", "n", (int, dict), "the number of sparse points, or a table such as {Si = 500, O = 300}"),
            "method": _get(sparse, "sparse", "method", (str,), '"cur" or "fps"', "cur"),
            "seed": _get(sparse, "sparse", "seed", (int,), "an integer", 0),
        }
    elif "sparse" in config:
        raise ValueError("[sparse]: no term of the model has a SparseGP head; leave the section out")
    resolved["fit"] = {"method": method, "covariance": covariance}
    return resolved, model, (train, origins), (test, test_origins)


def _level(value: Any, path: str) -> float | str:
    if value == "none":
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise ValueError(f'{path} is {value!r}; expected a positive number, or "none"')
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
        out[name] = [_level(level, f"noise.config_types.{name}") for level in levels]
    return out


def noise(table: Mapping) -> Any:
    def number(level):
        return None if level == "none" else level

    types = {name: [number(level) for level in levels] for name, levels in table["config_types"].items()}
    return noise_levels(*(number(table[name]) for name in ("energy", "forces", "virial")), config_types=types)


def _with_isolated(table: Any, frames: list, keys: Mapping | None, path: str) -> Any:
    """The model's table with the words "mean" and "isolated" replaced by energies found in the training frames."""
    if isinstance(table, list):
        return [_with_isolated(item, frames, keys, f"{path}.{i}") for i, item in enumerate(table)]
    if not isinstance(table, Mapping):
        return table
    if table.get("class") == "IsolatedAtoms" and isinstance(table.get("energies_of"), str):
        return {**table, "energies_of": isolated_energies(table["energies_of"], frames, keys, f"{path}.energies_of")}
    return {key: _with_isolated(item, frames, keys, f"{path}.{key}") for key, item in table.items()}
