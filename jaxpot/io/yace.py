"""PACE potentials: reading and writing of the .yace files of pacemaker and LAMMPS, reading of the older .ace files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.products import Listed
from jaxpot.heads.linear import Embedding, Linear, ShiftedPower, SmoothedPower
from jaxpot.io.ace import read_ace
from jaxpot.io.yace_writer import COULOMB_OF_PACE, write_yace
from jaxpot.io.yaml import read_yaml
from jaxpot.math.complex_products import from_complex
from jaxpot.math.radial_pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, SBessel
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum
from jaxpot.potentials.core import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.units import COULOMB

__all__ = ["read_yace", "write_yace"]

_POWERS = {"FinnisSinclairShiftedScaled": ShiftedPower, "FinnisSinclair": SmoothedPower}
_BASES = {"ChebExpCos": ChebExpCos, "ChebPow": ChebPow, "ChebLinear": ChebLinear, "SBessel": SBessel, "TEST_SBessel": SBessel}
_KEYS = {  # which a file must have, and which it may have, with what is taken without them
    "file": (("elements", "E0", "embeddings", "bonds", "functions"), {"deltaSplineBins": 0.001}),
    "embedding": (("ndensity", "FS_parameters", "npoti", "rho_core_cutoff", "drho_core_cutoff"), {}),
    "bond": (
        ("nradmax", "lmax", "nradbasemax", "radbasename", "radparameters", "radcoefficients", "rcut", "dcut"),
        {"prehc": 0.0, "lambdahc": 0.0, "rcut_in": 0.0, "dcut_in": 0.0, "inner_cutoff_type": "density"},
    ),
    "function": (("mu0", "rank", "ndensity", "num_ms_combs", "mus", "ns", "ls", "ms_combs", "ctildes"), {}),
}


def read_yace(path: str | Path) -> Potential:
    r"""A potential of pacemaker, as LAMMPS' pair_style pace and python-ace evaluate it, but with exact radial functions instead of tables.

    The functions of the file become those of an `ACE` of the products that it lists, and their coefficients follow exactly.

    Args:
      path: a .yace file, or an .ace file.

    Returns:
      The sum of an AtomicPotential and IsolatedAtoms (E0). The head is `Linear` where all exponents of the embedding are 1, else `Embedding`;
      where there is a core repulsion, the AtomicPotential stands in a `Switched`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for keys, radial functions and embeddings that are not implemented, named (also those of ACE.jl); for counts that contradict
        one another, numbers that are not finite, and functions that are not invariant.

    References:
      Lysogorskiy et al., "Performant implementation of the atomic cluster expansion (PACE) and application to copper and silicon",
      npj Comput. Mater. 7, 97 (2021); Bochkarev et al., "Efficient parametrization of the atomic cluster expansion", Phys. Rev. Mater. 6,
      013804 (2022).
    """
    path = Path(path)
    return potential_of(read_ace(path) if path.suffix == ".ace" else read_yaml(path), path)


def potential_of(found: dict, path: Path) -> Potential:
    """The potential of a file's contents, of the structure of a .yace file."""
    if isinstance(found, dict) and "species" in found:
        raise ValueError(f"{path}: this is a .yaml file of pacemaker, with B-functions; convert it by pace_yaml2yace")
    found = _checked("file", found, str(path))
    species = tuple(found["elements"]) if isinstance(found["elements"], list) else found["elements"]
    s = len(species)
    energies = _numbers(found["E0"], (s,), f"{path}: E0")
    bonds = {pair: _checked("bond", bond, f"{path}: bond {pair}") for pair, bond in _of_all(found["bonds"], np.ndindex(s, s), "bonds", path)}
    centers = [(mu,) for mu in range(s)]
    embeddings = [_checked("embedding", e, f"{path}: embedding of {species[mu]}") for (mu,), e in _of_all(found["embeddings"], centers, "embeddings", path)]
    density = _density(species, bonds, path)
    functions = {mu: list_of for (mu,), list_of in _of_all(found["functions"], centers, "functions", path)}
    coefficients = _coefficients(functions, [e["ndensity"] for e in embeddings], bonds, density, path)
    products = sorted(coefficients, key=lambda factors: (len(factors), factors))
    descriptor = ACE(density, Listed(tuple(tuple((q, l) for l, q in factors) for factors in products)))
    rows = [coefficients[tuple((l, q) for q, l in factors)][:, :, r] for factors, r in descriptor.labels()]
    table = np.moveaxis(np.array(rows), 0, -1)  # [S, P, F]
    model = AtomicPotential(descriptor, _head(embeddings, table, path))
    return Sum((_with_core(model, species, bonds, embeddings, path), IsolatedAtoms(dict(zip(species, energies.tolist(), strict=True)))))


def _checked(kind: str, found: Any, where: str) -> dict:
    """A mapping with all keys, none of them unknown."""
    needed, optional = _KEYS[kind]
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected keys such as {needed[0]}, got {str(found)[:40]!r}")
    if kind == "bond" and str(found.get("radbasename")) not in _BASES:
        raise ValueError(f"{where}: the radial functions {found.get('radbasename')} are not implemented; those that are: {', '.join(_BASES)}")
    unknown = [str(key) for key in found if key not in needed and key not in optional]
    if unknown:
        raise ValueError(f"{where}: the key {unknown[0]} is not implemented; those that are: {', '.join((*needed, *optional))}")
    missing = [key for key in needed if key not in found]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return optional | found


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of this shape."""
    try:
        array = np.array(value, float)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype != float or array.shape != shape:
        kind = f"shape {array.shape}" if array.dtype == float else repr(value)[:60]
        raise ValueError(f"{where}: expected numbers of shape {shape}, got {kind}")
    return require_finite(array, where)


def _of_all(found: Any, places: Iterable[tuple[int, ...]], name: str, path: Path) -> list[tuple[tuple[int, ...], Any]]:
    """The entries of all elements or pairs of them, and no others."""
    places = list(places)
    own = {key if isinstance(key, tuple) else (int(key),): value for key, value in found.items()} if isinstance(found, dict) else {}
    if set(own) != set(places):
        raise ValueError(f"{path}: {name} are given for {sorted(own)}; expected {places}")
    return [(place, own[place]) for place in places]


def _density(species: tuple[str, ...], bonds: dict, path: Path) -> BondDensity:
    s = len(species)
    l_max, n_mixed, n_base = (max(bond[key] for bond in bonds.values()) for key in ("lmax", "nradmax", "nradbasemax"))
    mixing = np.zeros((s, s, l_max + 1, n_base, n_mixed))
    families, kinds = [], np.zeros((s, s), int)
    for pair, bond in bonds.items():
        where = f"{path}: bond {pair}"
        shape = (bond["nradmax"], bond["lmax"] + 1, bond["nradbasemax"])
        table = _numbers(bond["radcoefficients"], shape, f"{where}: radcoefficients, by nradmax, lmax and nradbasemax")
        mixing[pair][: shape[1], : shape[2], : shape[0]] = table.transpose(1, 2, 0)
        family = _family(bond, where)
        families += [family] * (family not in families)
        kinds[pair] = families.index(family)
    is_plain = n_mixed <= n_base and np.array_equal(mixing, np.broadcast_to(np.eye(n_base, n_mixed), mixing.shape))
    numbers = _tables(bonds, s, ("rcut", "dcut", "rcut_in", "dcut_in"), path)
    radial = []
    for i, (name, has_width, has_inner) in enumerate(families):
        def of(table, i=i):  # numbers of other families are of no meaning, and replaced
            return np.where(kinds == i, table, table[kinds == i][0])

        leaves = {}
        if name in ("ChebExpCos", "ChebPow"):
            own = {pair: bond["radparameters"] if kinds[pair] == i else [1.0] for pair, bond in bonds.items()}
            leaves["lam"] = of(np.reshape([_numbers(own[pair], (1,), f"{path}: bond {pair}: radparameters") for pair in np.ndindex(s, s)], (s, s)))
        if name == "ChebExpCos" and has_width:
            leaves["width"] = of(numbers["dcut"])
        basis = _BASES[name](n_base, **leaves)
        radial.append(InnerCutoff(basis, of(numbers["rcut_in"]), of(numbers["dcut_in"])) if has_inner else basis)
    several = len(radial) > 1
    return BondDensity(
        species, numbers["rcut"], tuple(radial) if several else radial[0], l_max, tuple(map(tuple, kinds.tolist())) if several else None,
        None if is_plain else mixing,
    )  # fmt: skip


def _tables(bonds: dict, s: int, keys: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Numbers of all pairs, [S, S] each."""
    return {key: np.reshape([_numbers(bonds[pair][key], (), f"{path}: bond {pair}: {key}") for pair in np.ndindex(s, s)], (s, s)) for key in keys}


def _family(bond: dict, where: str) -> tuple[str, bool, bool]:
    """What the radial functions of a bond are made of: their name, and whether there is an end of width dcut and an inner cutoff."""
    kind, inner, width = bond["inner_cutoff_type"], bond["rcut_in"], bond["dcut_in"]
    if kind not in ("density", "distance", "zbl"):
        raise ValueError(f"{where}: inner_cutoff_type {kind} is not implemented; those that are: density, distance, zbl")
    if kind != "density" and inner > 0 and not width > 0:
        raise ValueError(f"{where}: an inner cutoff {inner} Å of width {width} Å is a jump; expected dcut_in > 0")
    if kind == "density" and inner > max(width, 0):
        raise ValueError(f"{where}: with inner_cutoff_type density the radial functions jump at rcut_in − dcut_in; expected rcut_in: 0")
    if kind == "zbl" and not inner > 0:
        raise ValueError(f"{where}: inner_cutoff_type zbl needs rcut_in > 0 and dcut_in > 0, where the potential gives way to the repulsion")
    return bond["radbasename"], bond["dcut"] > 0, kind == "distance" and inner > 0


def _coefficients(functions: dict, n_densities: list[int], bonds: dict, density: BondDensity, path: Path) -> dict:
    """Of every product, sorted factors (l, q), the coefficients in the basis of `couplings`, shape [S, densities, rank]."""
    s, n_mixed, sum_of = len(density.species), density.n_mixed, {}
    n_radial = max(bond["nradmax"] for bond in bonds.values())
    for mu, list_of in functions.items():
        for number, function in enumerate(list_of or ()):
            where = f"{path}: function {number} of {density.species[mu]}"
            f = _checked("function", function, where)
            rank, n_terms, p = f["rank"], f["num_ms_combs"], f["ndensity"]
            lengths = {"mus": rank, "ns": rank, "ls": rank, "ms_combs": rank * n_terms, "ctildes": p * n_terms}
            for key, length in lengths.items():
                if len(f[key]) != length or not length:
                    raise ValueError(f"{where}: {key} has {len(f[key])} numbers; rank, num_ms_combs and ndensity say {length}")
            if f["mu0"] != mu or p != n_densities[mu]:
                raise ValueError(f"{where}: mu0 = {f['mu0']} and ndensity = {p}; the list is of {mu}, whose embedding has {n_densities[mu]}")
            mus, ns, ls = (np.array(f[key], int) for key in ("mus", "ns", "ls"))
            components = np.array(f["ms_combs"], int).reshape(n_terms, rank)
            most = density.n_max - n_mixed if rank == 1 else n_radial
            bad = np.any((mus < 0) | (mus >= s) | (ns < 1) | (ns > most) | (ls < 0) | (ls > density.l_max)) or np.any(np.abs(components) > ls)
            if bad or (rank == 1 and ls[0]):
                raise ValueError(f"{where}: mus, ns, ls or ms_combs are out of range: {f['mus']}, {f['ns']}, {f['ls']}")
            values = _numbers(f["ctildes"], (n_terms * p,), f"{where}: ctildes").reshape(n_terms, p)
            # a function of one factor is one of the basis itself, before mixing
            q = mus * density.n_max + ns - 1 + (n_mixed if rank == 1 else 0)
            order = sorted(range(rank), key=lambda t: (ls[t], q[t]))
            factors = tuple((int(ls[t]), int(q[t])) for t in order)
            try:
                x = from_complex(tuple(l for l, _ in factors), tuple(factors.index(v) for v in factors), components[:, order], values)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if not len(x):  # nothing of this product is invariant, and so nothing was given
                continue
            table = sum_of.setdefault(factors, np.zeros((s, max(n_densities), len(x))))
            table[mu, :p] += (4 * np.pi) ** (rank / 2) * x.T
    if not sum_of:
        raise ValueError(f"{path}: no functions")
    return sum_of


def _head(embeddings: list[dict], table: np.ndarray, path: Path) -> Linear | Embedding:
    s, p, _ = table.shape
    weights, exponents = np.zeros((s, p)), np.ones((s, p))
    for mu, e in enumerate(embeddings):
        numbers = _numbers(e["FS_parameters"], (2 * e["ndensity"],), f"{path}: FS_parameters, two for each of {e['ndensity']} densities")
        weights[mu, : e["ndensity"]], exponents[mu, : e["ndensity"]] = numbers[::2], numbers[1::2]
    names = sorted({e["npoti"] for e in embeddings})
    if not set(names) <= set(_POWERS) or (len(names) > 1 and np.any(exponents != 1)):
        raise ValueError(f"{path}: npoti {', '.join(names)} is not implemented; expected one of {', '.join(_POWERS)} for all elements")
    if np.all(exponents == 1):
        return Linear(coefficients=np.einsum("sp,spf->sf", weights, table).reshape(-1))
    if np.all(weights == weights[0]) and np.all(exponents == exponents[0]):
        weights, exponents = weights[0], exponents[0]
    return Embedding(np.moveaxis(table, 1, 0).reshape(p, -1), exponents, weights, _POWERS[names[0]]())


def _with_core(model: Potential, species: tuple[str, ...], bonds: dict, embeddings: list[dict], path: Path) -> Potential:
    kinds = {bond["inner_cutoff_type"] for bond in bonds.values()}
    if len(kinds) > 1:
        raise ValueError(f"{path}: bonds have the inner_cutoff_type {', '.join(sorted(kinds))}; expected one for all")
    numbers = _tables(bonds, len(species), ("prehc", "lambdahc", "rcut", "dcut", "rcut_in", "dcut_in"), path)
    inner, inner_width = numbers["rcut_in"], numbers["dcut_in"]
    if kinds == {"zbl"}:
        core = ScreenedCore(species, numbers["rcut"], numbers["dcut"], numbers["prehc"] * (COULOMB_OF_PACE / COULOMB))
        return Switched(model, core, ByDistance(inner, inner_width))
    high, width = (_numbers([e[key] for e in embeddings], (len(species),), f"{path}: {key}") for key in ("rho_core_cutoff", "drho_core_cutoff"))
    if np.any(width <= 0) or np.any(high < width):
        raise ValueError(f"{path}: expected 0 < drho_core_cutoff <= rho_core_cutoff, got {width} and {high}")
    prefactor = np.abs(numbers["prehc"]) * (inner > 0 if kinds == {"distance"} else 1)  # without an inner cutoff of the bond there is none inside
    if not np.any(prefactor):
        return model
    ends = {} if kinds == {"density"} else {"inner": np.where(inner > 0, inner, 1), "inner_width": np.where(inner > 0, inner_width, 1)}
    core = CoreRepulsion(species, prefactor, np.abs(numbers["lambdahc"]), numbers["rcut"], **ends)
    return Switched(model, core, ByCoreEnergy(high, width))
