"""pacemaker's own potentials, .yaml files with B-functions, in the structure of a .yace file, for `jaxpot.io.yace`.

A B-function is a product of densities coupled along a tree of Clebsch–Gordan coefficients, c · Σ_m C_m Π_t A_t; `tree_couplings` has the tree.
"""

import itertools
from math import prod
from pathlib import Path
from typing import Any

from jaxpot.checks import species_tuple
from jaxpot.io.fields import checked, count, counts, numbers
from jaxpot.math.complex_products import tree_couplings

_IDLE = {"metadata": None, "auxdata": None, "global": None}  # notes, and the step of tables that are not made here
_KEYWORDS = {"ALL", "UNARY", "BINARY", "TERNARY", "QUATERNARY", "QUINARY"}
_EMBEDDING = {"ndensityi": None, "npoti": None, "parameters": None, "rho_core_cut": 100000.0, "drho_core_cut": 250.0}
_BOND = {  # keys here and in .yace files, and what is taken for those left out
    "nradmaxi": "nradmax", "lmaxi": "lmax", "nradbaseij": "nradbasemax", "radbase": "radbasename", "radparameters": "radparameters",
    "radcoefficients": "radcoefficients", "rcutij": "rcut", "dcutij": "dcut", "core-repulsion": None, "r_in": "rcut_in", "delta_in": "dcut_in",
    "inner_cutoff_type": "inner_cutoff_type",
}  # fmt: skip
_BOND_DEFAULTS = {"core-repulsion": [0.0, 0.0], "r_in": 0.0, "delta_in": 0.0, "inner_cutoff_type": "density"}
_IDLE_OF_BLOCK = {"NameOfCutoffFunctionij": None}
HIGHEST_RANK, MOST_COMPONENTS = 10, 100_000  # of a function; beyond, tables of couplings take minutes and gigabytes


def expanded(found: dict, path: Path) -> dict:
    """The structure of a .yace file, with the same functions; its energies of isolated atoms are zero, as pacemaker keeps them elsewhere.

    Raises:
      ValueError: for unknown keys, named, and for blocks and functions that contradict one another.
    """
    found = checked(found, ("species",), _IDLE, str(path))
    if not isinstance(found["species"], list) or not found["species"]:
        raise ValueError(f"{path}: species: expected a list of blocks, got {str(found['species'])[:40]!r}")
    optional = {key: None for key in (*_EMBEDDING, *_BOND, *_IDLE_OF_BLOCK, "nbody")}
    blocks: dict[tuple[str, ...], dict] = {}
    for number, block in enumerate(found["species"]):
        block = checked(block, ("speciesblock",), optional, f"{path}: block {number} of species")
        words = str(block["speciesblock"]).split()
        name = tuple(dict.fromkeys(words))
        if not name or name in blocks:
            raise ValueError(f"{path}: block {number} of species: expected elements that no other block has, got speciesblock: {block['speciesblock']}")
        blocks[name] = {key: value for key, value in block.items() if value is not None}
    species = species_tuple(tuple(sorted({symbol for name in blocks for symbol in name})), f"{path}: speciesblock")
    lacking = [symbol for symbol in species if (symbol,) not in blocks]
    if lacking:
        raise ValueError(f"{path} has no block of {lacking[0]} alone, with its embedding; expected speciesblock: {lacking[0]}")
    embeddings = {}
    for mu, symbol in enumerate(species):
        own = {key: blocks[symbol,].get(key, default) for key, default in _EMBEDDING.items()}
        missing = [key for key, value in own.items() if value is None]
        if missing:
            raise ValueError(f"{path}: block {symbol} lacks {missing[0]}")
        names = ("ndensity", "npoti", "FS_parameters", "rho_core_cutoff", "drho_core_cutoff")
        embeddings[mu] = dict(zip(names, own.values(), strict=True))
        embeddings[mu]["ndensity"] = count(embeddings[mu]["ndensity"], f"{path}: block {symbol}: ndensityi", 1000, 1)
    for name, block in blocks.items():
        stray = [key for key in (*_EMBEDDING, *_BOND) if key in block and len(name) > (1 if key in _EMBEDDING else 2)]
        if stray:
            kind = "one element" if stray[0] in _EMBEDDING else "one or two elements"
            raise ValueError(f"{path}: block {' '.join(name)}: the key {stray[0]} is one of blocks of {kind}; leave it out")
    bonds = {pair: _bond(blocks, tuple(species[mu] for mu in pair), path) for pair in itertools.product(range(len(species)), repeat=2)}
    functions: dict[int, list[dict]] = {mu: [] for mu in range(len(species))}
    for name, block in blocks.items():
        mu, nbody = species.index(name[0]), block.get("nbody", [])
        if not isinstance(nbody, list):
            raise ValueError(f"{path}: block {' '.join(name)}: nbody: expected a list of functions, got {str(nbody)[:40]!r}")
        for number, function in enumerate(nbody):
            where = f"{path}: function {number} of block {' '.join(name)}"
            functions[mu] += _function(function, name, species, embeddings[mu]["ndensity"], bonds, where)
    return {"elements": list(species), "E0": [0.0] * len(species), "embeddings": embeddings, "bonds": bonds, "functions": functions}


def refuse_input(found: Any, path: Path) -> None:
    """Refuses what a fit begins with."""
    parts = [found.get(key) for key in ("embeddings", "bonds", "functions")] if isinstance(found, dict) else []
    if isinstance(found, dict) and ("potential" in found or any(_KEYWORDS & set(part) for part in parts if isinstance(part, dict))):
        raise ValueError(f"{path} is an input file of pacemaker, with which a fit begins; expected what a fit writes, such as output_potential.yaml")


def _bond(blocks: dict, pair: tuple[str, ...], path: Path) -> dict:
    """The bond of a centre with a neighbour; blocks of a pair in both orders are one, and what one leaves out the other says."""
    name = tuple(dict.fromkeys(pair))
    if name not in blocks:  # such a centre does not see such a neighbour: no function of it stands anywhere, and any radial functions do
        other = name[::-1] if name[::-1] in blocks else name[:1]
        return _bond(blocks, (other * 2)[:2], path) | {"prehc": 0.0, "lambdahc": 0.0}
    ways = [blocks[way] for way in dict.fromkeys((name, name[::-1])) if way in blocks]
    where = f"{path}: block {' '.join(name)}"
    own: dict[str, Any] = {}
    for key in _BOND:
        given = [block[key] for block in ways if key in block]
        if given and given[0] != given[-1]:
            raise ValueError(f"{where}: {key} is {str(given[0])[:40]}, but {str(given[-1])[:40]} in the block of the other order; expected one of both")
        if not given and key not in _BOND_DEFAULTS:
            raise ValueError(f"{where} lacks {key}")
        own[key] = given[0] if given else _BOND_DEFAULTS[key]
    core = numbers(own.pop("core-repulsion"), (2,), f"{where}: core-repulsion").tolist()
    bond = {_BOND[key]: value for key, value in own.items()} | dict(zip(("prehc", "lambdahc"), core, strict=True))
    for key in ("nradmax", "lmax", "nradbasemax"):
        bond[key] = count(bond[key], f"{where}: {key}", 1000)
    table = bond["radcoefficients"]
    if isinstance(table, list) and table and not isinstance(table[0], list):  # an older form, in one list
        shape = (bond["nradbasemax"], bond["nradmax"], bond["lmax"] + 1)
        flat = numbers(table, (prod(shape),), f"{where}: radcoefficients, nradbaseij × nradmaxi × (lmaxi + 1)")
        bond["radcoefficients"] = flat.reshape(shape).transpose(1, 2, 0).tolist()
    return bond


def _function(function: Any, name: tuple[str, ...], species: tuple[str, ...], n_densities: int, bonds: dict, where: str) -> list[dict]:
    """A B-function as a C-tilde function, or nothing if the file skips it."""
    f = checked(function, ("type", "nr", "nl", "c"), {"lint": [], "skip": False}, where)
    if not isinstance(f["skip"], bool):
        raise ValueError(f"{where}: skip: expected true or false, got {str(f['skip'])[:40]!r}")
    symbols = str(f["type"]).split()
    if not symbols or symbols[0] != name[0] or not set(symbols) <= set(name):
        raise ValueError(f"{where}: type: expected elements of its block, {name[0]} first, got {str(f['type'])[:40]!r}")
    rank = count(len(symbols) - 1, f"{where}: type: number of neighbours", HIGHEST_RANK, 1)
    ns, ls, between = (counts(f[key], f"{where}: {key}") for key in ("nr", "nl", "lint"))
    if (len(ns), len(ls), len(between)) != (rank, rank, max(rank - 2, 0)):
        raise ValueError(f"{where}: expected {rank} numbers nr and nl and {max(rank - 2, 0)} numbers lint, got {ns}, {ls} and {between}")
    values = numbers(f["c"] if isinstance(f["c"], list) else [f["c"]], (n_densities,), f"{where}: c, one for each of ndensityi")
    mus = [species.index(symbol) for symbol in symbols[1:]]
    for mu, n, l in zip(mus, ns, ls, strict=True):
        bond = bonds[species.index(name[0]), mu]
        most = bond["nradbasemax" if rank == 1 else "nradmax"]
        if not (1 <= n <= most and 0 <= l <= bond["lmax"]):
            raise ValueError(f"{where}: nr = {n} and nl = {l} are out of range: the pair {name[0]} {species[mu]} has 1 … {most} and 0 … {bond['lmax']}")
    if prod(2 * l + 1 for l in ls) > MOST_COMPONENTS:
        raise ValueError(f"{where}: nl = {ls} has more components than {MOST_COMPONENTS}, which is not implemented")
    components, coupling = tree_couplings(tuple(ls), tuple(between))
    if not len(components) or sum(ls) % 2:
        raise ValueError(f"{where}: nl = {ls} with lint = {between} couple to no invariant")
    if f["skip"]:
        return []
    return [{
        "mu0": species.index(name[0]), "rank": rank, "ndensity": n_densities, "num_ms_combs": len(components), "mus": mus, "ns": ns, "ls": ls,
        "ms_combs": components.reshape(-1).tolist(), "ctildes": (coupling[:, None] * values).reshape(-1).tolist(),
    }]  # fmt: skip
