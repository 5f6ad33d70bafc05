"""The bonds of PACE potentials as a `BondDensity`, for `jaxpot.io.yace`."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.io.fields import checked, count, numbers, of_all
from jaxpot.radial.pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, PaceBasis, RadialTable, SBessel

BASES = {"ChebExpCos": ChebExpCos, "ChebPow": ChebPow, "ChebLinear": ChebLinear, "SBessel": SBessel, "TEST_SBessel": SBessel, "Tabulated": RadialTable}
_NEEDED = ("nradmax", "lmax", "nradbasemax", "radbasename", "rcut", "dcut")
_OF_NAME = {True: ("radtable",), False: ("radparameters", "radcoefficients")}  # of tables, and of formulas
_OPTIONAL = {"prehc": 0.0, "lambdahc": 0.0, "rcut_in": 0.0, "dcut_in": 0.0, "inner_cutoff_type": "density"}
_MOST = {"nradmax": 1000, "lmax": 40, "nradbasemax": 1000}
_LARGEST = 10_000_000  # numbers in a table


def bonds_of(found: Any, n_species: int, path: Path) -> dict[tuple[int, int], dict]:
    """What the file says of every pair, with counts as integers.

    Raises:
      ValueError: for unknown keys and radial functions, named, and for counts that are none.
    """
    bonds = {}
    for pair, bond in of_all(found, np.ndindex(n_species, n_species), f"{path}: bonds"):
        where = f"{path}: bond {pair}"
        name = str(bond.get("radbasename")) if isinstance(bond, dict) else "Tabulated"
        if name not in BASES:
            raise ValueError(f"{where}: the radial functions {name} are not implemented; those that are: {', '.join(BASES)}")
        is_table = name == "Tabulated"
        optional = _OPTIONAL | ({"radparameters": [1.0], "radcoefficients": []} if is_table else {})  # which tables need not
        bond = checked(bond, (*_NEEDED, *_OF_NAME[is_table]), optional, where)
        bonds[pair] = bond | {key: count(bond[key], f"{where}: {key}", most, 1 if key == "nradbasemax" else 0) for key, most in _MOST.items()}
    if len({bond["radbasename"] == "Tabulated" for bond in bonds.values()}) > 1:
        raise ValueError(f"{path}: some bonds have tables (radbasename: Tabulated) and some do not; expected one or the other for all")
    return bonds


def of_pairs(bonds: dict, n_species: int, keys: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Numbers of all pairs, [S, S] each."""
    pairs = list(np.ndindex(n_species, n_species))
    return {key: np.reshape([numbers(bonds[pair][key], (), f"{path}: bond {pair}: {key}") for pair in pairs], (n_species,) * 2) for key in keys}


def density_of(species: tuple[str, ...], bonds: dict, path: Path) -> tuple[BondDensity, int]:
    """The density, and how many of its functions g are those of products of one factor."""
    s = len(species)
    l_max, n_mixed, n_base = (max(bond[key] for bond in bonds.values()) for key in ("lmax", "nradmax", "nradbasemax"))
    tables = {pair: _tables(bond, f"{path}: bond {pair}") for pair, bond in bonds.items() if bond["radbasename"] == "Tabulated"}
    places = sorted({place for table in tables.values() for place in table if isinstance(place, tuple)})
    n_functions = n_base + len(places)
    if s * s * (l_max + 1) * n_functions * n_mixed > _LARGEST:
        raise ValueError(f"{path}: radial functions of {s} elements with lmax {l_max}, nradbasemax {n_base} and nradmax {n_mixed} are more than {_LARGEST}")
    mixing = np.zeros((s, s, l_max + 1, n_functions, n_mixed))
    radial: list[PaceBasis] = []
    families, kinds = [], np.zeros((s, s), int)
    for pair, bond in bonds.items():
        where = f"{path}: bond {pair}"
        if tables:
            for i, (n, l) in enumerate(places):  # R_nl is one function of the table, unmixed
                mixing[pair][l, n_base + i, n - 1] = 1
        elif bond["nradmax"]:
            shape = (bond["nradmax"], bond["lmax"] + 1, bond["nradbasemax"])
            table = numbers(bond["radcoefficients"], shape, f"{where}: radcoefficients, by nradmax, lmax and nradbasemax")
            mixing[pair][: shape[1], : shape[2], : shape[0]] = table.transpose(1, 2, 0)
        elif bond["radcoefficients"] not in ([], None):
            raise ValueError(f"{where}: radcoefficients are given for nradmax 0; expected radcoefficients: []")
        family = (*_family(bond, where), bond.get("radtable") if tables else None)
        families += [family] * (family not in families)
        kinds[pair] = families.index(family)
    is_plain = n_mixed <= n_base and not places and np.array_equal(mixing, np.broadcast_to(np.eye(n_base, n_mixed), mixing.shape))
    values = of_pairs(bonds, s, ("rcut", "dcut", "rcut_in", "dcut_in"), path)
    if np.any(values["rcut"] <= 0):
        raise ValueError(f"{path}: expected rcut > 0, got {np.min(values['rcut'])}")
    for i, (name, has_width, has_inner, _) in enumerate(families):
        def of(table, i=i):  # numbers of other families are of no meaning, and replaced
            return np.where(kinds == i, table, table[kinds == i][0])

        leaves = {}
        if name in ("ChebExpCos", "ChebPow"):
            own = {pair: bond["radparameters"] if kinds[pair] == i else [1.0] for pair, bond in bonds.items()}
            leaves["lam"] = of(np.reshape([numbers(own[pair], (1,), f"{path}: bond {pair}: radparameters") for pair in np.ndindex(s, s)], (s, s)))
        if name == "ChebExpCos" and has_width:
            leaves["width"] = of(values["dcut"])
        first = tables.get(next(pair for pair in bonds if kinds[pair] == i))
        basis = RadialTable(*_columns(first, n_base, places, path)) if first is not None else BASES[name](n_functions, **leaves)
        radial.append(InnerCutoff(basis, of(values["rcut_in"]), of(values["dcut_in"])) if has_inner else basis)
    several = len(radial) > 1
    density = BondDensity(
        species, values["rcut"], tuple(radial) if several else radial[0], l_max, tuple(map(tuple, kinds.tolist())) if several else None,
        None if is_plain else mixing,
    )  # fmt: skip
    return density, n_base


def _tables(bond: dict, where: str) -> dict[int | tuple[int, int], np.ndarray]:
    """Values and slopes [2, bins + 1] of the functions g_k and R_nl of a bond, by k − 1 or (n, l)."""
    table = checked(bond["radtable"], ("nbins",), {"gk": [], "rnl": []}, f"{where}: radtable")
    n = count(table["nbins"], f"{where}: nbins", _LARGEST, 1)
    found: dict = {}
    for kind, keys, most in (("gk", ("k",), (bond["nradbasemax"],)), ("rnl", ("n", "l"), (bond["nradmax"], bond["lmax"]))):
        for entry in table[kind] or []:
            entry = checked(entry, (*keys, "f", "df"), {}, f"{where}: {kind}")
            at = tuple(count(entry[key], f"{where}: {kind}: {key}", m, 0 if key == "l" else 1) for key, m in zip(keys, most, strict=True))
            place = at if len(at) > 1 else at[0] - 1
            if place in found:
                raise ValueError(f"{where}: {kind} gives the function {', '.join(f'{k} = {x}' for k, x in zip(keys, at, strict=True))} twice")
            own = f"{where}: {kind} {at}, nbins + 1 numbers each"
            found[place] = np.stack([numbers(entry[key], (n + 1,), f"{own}: {key}") for key in ("f", "df")])
    if not found:
        raise ValueError(f"{where}: radtable has neither gk nor rnl")
    return found


def _columns(table: dict, n_base: int, places: list[tuple[int, int]], path: Path) -> np.ndarray:
    """Values and slopes [2, bins + 1, functions]; functions that this bond does not give are zero."""
    n, order = next(iter(table.values())).shape[1], [*range(n_base), *places]
    if n * len(order) > _LARGEST:
        raise ValueError(f"{path}: a radtable of {n} rows and {len(order)} functions is larger than {_LARGEST} numbers")
    return np.stack([table.get(place, np.zeros((2, n))) for place in order], axis=-1)


def _family(bond: dict, where: str) -> tuple[str, bool, bool]:
    """What the radial functions of a bond are made of: their name, and whether there is an end of width dcut and an inner cutoff."""
    kind = bond["inner_cutoff_type"]
    inner, width, end = (float(numbers(bond[key], (), f"{where}: {key}")) for key in ("rcut_in", "dcut_in", "dcut"))
    if kind not in ("density", "distance", "zbl"):
        raise ValueError(f"{where}: inner_cutoff_type {kind} is not implemented; those that are: density, distance, zbl")
    if kind != "density" and inner > 0 and not width > 0:
        raise ValueError(f"{where}: an inner cutoff {inner} Å of width {width} Å is a jump; expected dcut_in > 0")
    if kind == "density" and inner > max(width, 0):
        raise ValueError(f"{where}: with inner_cutoff_type density the radial functions jump at rcut_in − dcut_in; expected rcut_in: 0")
    if kind == "zbl" and not inner > 0:
        raise ValueError(f"{where}: inner_cutoff_type zbl needs rcut_in > 0 and dcut_in > 0, where the potential gives way to the repulsion")
    return bond["radbasename"], end > 0, kind == "distance" and inner > 0
