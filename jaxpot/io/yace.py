"""PACE potentials: reading and writing of .yace files of pacemaker and LAMMPS, reading of pacemaker's .yaml and older .ace files."""

from math import prod
from pathlib import Path

import numpy as np

from jaxpot.checks import require_finite, species_tuple
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.products import Listed
from jaxpot.heads.linear import Embedding, Linear
from jaxpot.io.ace import read_ace
from jaxpot.io.acecoeff import multiplied
from jaxpot.io.fields import checked, count, counts, numbers, of_all
from jaxpot.io.pacemaker import HIGHEST_RANK, MOST_COMPONENTS, expanded, refuse_input
from jaxpot.io.text import one_line_refusals
from jaxpot.io.yace_bonds import bonds_of, density_of, of_pairs
from jaxpot.io.yace_writer import COULOMB_OF_PACE, POWERS, write_yace
from jaxpot.io.yaml import read_yaml
from jaxpot.math.complex_products import from_complex
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum
from jaxpot.potentials.core import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.units import COULOMB

__all__ = ["read_yace", "write_yace"]

_WHAT = "a PACE potential"
_FILE = ("elements", "E0", "embeddings", "bonds", "functions")
# without effect on energies: the step of tables that are not made here, and notes
_IDLE_OF_FILE = {"deltaSplineBins": None, "metadata": None, "auxdata": None}
_EMBEDDING = ("ndensity", "FS_parameters", "npoti", "rho_core_cutoff", "drho_core_cutoff")
_FUNCTION = ("mu0", "rank", "ndensity", "num_ms_combs", "mus", "ns", "ls", "ms_combs", "ctildes")
_MOST_TERMS = 1_000_000  # of a function, times its factors and all their signs


@one_line_refusals("a PACE potential")
def read_yace(path: str | Path, coefficients: str | Path | None = None) -> Potential:
    r"""A potential of pacemaker, as LAMMPS' pair_style pace and python-ace evaluate it, but with exact radial functions instead of tables.

    The functions of the file become those of an `ACE` of the products that it lists, and their coefficients follow exactly; those that are
    written with eight digits, as the invariant closest to them. Tables of radial functions in the file (ace-jax) are cubic between their rows.

    Args:
      path: a .yace file, pacemaker's own .yaml file with B-functions, or an .ace file. Energies of isolated atoms are in the first and the
        last only.
      coefficients: the .acecoeff file of FitSNAP for a .yace file of its couplings alone, as it wrote them until 2022; each function is
        multiplied by its coefficient.

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
    if path.suffix == ".acecoeff":
        raise ValueError(f"{path} holds coefficients alone; write read_yace(the .yace file beside it, coefficients={path.name!r})")
    found = read_ace(path) if path.suffix == ".ace" else read_yaml(path, _WHAT)
    return potential_of(found if coefficients is None else multiplied(found, path, Path(coefficients)), path)


def potential_of(found: dict, path: Path) -> Potential:
    """The potential of a file's contents, of the structure of a .yace file, or of pacemaker's .yaml."""
    if isinstance(found, dict) and "species" in found:
        found = expanded(found, path)
    refuse_input(found, path)
    found = checked(found, _FILE, _IDLE_OF_FILE, str(path))
    if not isinstance(found["elements"], list):
        raise ValueError(f"{path}: elements: expected a list such as [Si, O], got {str(found['elements'])[:40]!r}")
    species = species_tuple(tuple(found["elements"]), f"{path}: elements")
    s = len(species)
    energies = numbers(found["E0"], (s,), f"{path}: E0")
    bonds = bonds_of(found["bonds"], s, path)
    centers = [(mu,) for mu in range(s)]
    embeddings = []
    for (mu,), e in of_all(found["embeddings"], centers, f"{path}: embeddings"):
        where = f"{path}: embedding of {species[mu]}"
        e = checked(e, _EMBEDDING, {}, where)
        embeddings.append(e | {"ndensity": count(e["ndensity"], f"{where}: ndensity", 1000, 1)})
    density, n_first = density_of(species, bonds, path)
    functions = {mu: list_of for (mu,), list_of in of_all(found["functions"], centers, f"{path}: functions")}
    coefficients = _coefficients(functions, [e["ndensity"] for e in embeddings], bonds, density, n_first, path)
    products = sorted(coefficients, key=lambda factors: (len(factors), factors))
    descriptor = ACE(density, Listed(tuple(tuple((q, l) for l, q in factors) for factors in products)))
    rows = [coefficients[tuple((l, q) for q, l in factors)][:, :, r] for factors, r in descriptor.labels()]
    table = np.moveaxis(np.array(rows), 0, -1)  # [S, P, F]
    model = AtomicPotential(descriptor, _head(embeddings, table, path))
    return Sum((_with_core(model, species, bonds, embeddings, path), IsolatedAtoms(dict(zip(species, energies.tolist(), strict=True)))))


def _coefficients(functions: dict, n_densities: list[int], bonds: dict, density: BondDensity, n_first: int, path: Path) -> dict:
    """Of every product, sorted factors (l, q), the coefficients in the basis of `couplings`, shape [S, densities, rank]."""
    s, n_mixed, sum_of = len(density.species), density.n_mixed, {}
    n_radial = max(bond["nradmax"] for bond in bonds.values())
    for mu, list_of in functions.items():
        if not isinstance(list_of, list | None):
            raise ValueError(f"{path}: functions of {density.species[mu]}: expected a list, got {str(list_of)[:40]!r}")
        for number, function in enumerate(list_of or ()):
            where = f"{path}: function {number} of {density.species[mu]}"
            f = checked(function, _FUNCTION, {}, where)
            rank = count(f["rank"], f"{where}: rank", HIGHEST_RANK, 1)
            n_terms, p = (count(f[key], f"{where}: {key}", 10**7) for key in ("num_ms_combs", "ndensity"))
            own = {key: counts(f[key], f"{where}: {key}") for key in ("mus", "ns", "ls", "ms_combs")}
            for key, length in {"mus": rank, "ns": rank, "ls": rank, "ms_combs": rank * n_terms}.items():
                if len(own[key]) != length:
                    raise ValueError(f"{where}: {key} has {len(own[key])} numbers; rank and num_ms_combs say {length}")
            if count(f["mu0"], f"{where}: mu0", 10**7) != mu or p != n_densities[mu]:
                raise ValueError(f"{where}: mu0 = {f['mu0']} and ndensity = {p}; the list is of {mu}, whose embedding has {n_densities[mu]}")
            values = numbers(f["ctildes"], (n_terms * p,), f"{where}: ctildes, num_ms_combs × ndensity").reshape(n_terms, p)
            mus, ns, ls = (np.array(own[key], int) for key in ("mus", "ns", "ls"))
            components = np.array(own["ms_combs"], int).reshape(n_terms, rank)
            most = n_first if rank == 1 else n_radial
            bad = np.any((mus < 0) | (mus >= s) | (ns < 1) | (ns > most) | (ls < 0) | (ls > density.l_max)) or np.any(np.abs(components) > ls)
            if bad or (rank == 1 and ls[0]):
                raise ValueError(f"{where}: mus, ns, ls or ms_combs are out of range: {f['mus']}, {f['ns']}, {f['ls']}")
            n_components = prod(int(2 * l + 1) for l in ls)
            if n_components > MOST_COMPONENTS or n_terms * rank * 2**rank > _MOST_TERMS:
                raise ValueError(f"{where}: l = {own['ls']} has {n_components} components and {n_terms} terms, more than are implemented")
            # a function of one factor is one of the basis itself, before mixing
            q = mus * density.n_max + ns - 1 + (n_mixed if rank == 1 else 0)
            order = sorted(range(rank), key=lambda t: (ls[t], q[t]))
            factors = tuple((int(ls[t]), int(q[t])) for t in order)
            try:
                x = from_complex(tuple(l for l, _ in factors), tuple(factors.index(v) for v in factors), components[:, order], values)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if not len(x) or not n_terms:  # nothing of this product is invariant, and so nothing was given
                continue
            table = sum_of.setdefault(factors, np.zeros((s, max(n_densities), len(x))))
            with np.errstate(over="ignore"):  # what is then infinite is refused below
                table[mu, :p] += (4 * np.pi) ** (rank / 2) * x.T
            require_finite(table[mu, :p], f"{where}: ctildes")
    if not sum_of:
        raise ValueError(f"{path}: no functions")
    return sum_of


def _head(embeddings: list[dict], table: np.ndarray, path: Path) -> Linear | Embedding:
    s, p, _ = table.shape
    weights, exponents = np.zeros((s, p)), np.ones((s, p))
    for mu, e in enumerate(embeddings):
        values = numbers(e["FS_parameters"], (2 * e["ndensity"],), f"{path}: FS_parameters, two for each of {e['ndensity']} densities")
        weights[mu, : e["ndensity"]], exponents[mu, : e["ndensity"]] = values[::2], values[1::2]
    names = [str(e["npoti"]) for e in embeddings]
    unknown = sorted(set(names) - set(POWERS))
    if unknown:
        raise ValueError(f"{path}: npoti {unknown[0]} is not implemented; expected {' or '.join(POWERS)}")
    if np.all(exponents == 1):
        with np.errstate(over="ignore", invalid="ignore"):
            return Linear(coefficients=require_finite(np.einsum("sp,spf->sf", weights, table), f"{path}: coefficients").reshape(-1))
    # both are the identity where the exponent is 1
    is_curved = np.any(exponents != 1, axis=1)
    kinds = [name if curved else None for name, curved in zip(names, is_curved, strict=True)]
    first = next(kind for kind in kinds if kind)
    powers = tuple(POWERS[kind or first] for kind in kinds)
    if np.all(weights == weights[0]) and np.all(exponents == exponents[0]):
        weights, exponents = weights[0], exponents[0]
    return Embedding(np.moveaxis(table, 1, 0).reshape(p, -1), exponents, weights, powers[0] if len(set(kinds) - {None}) == 1 else powers)


def _with_core(model: Potential, species: tuple[str, ...], bonds: dict, embeddings: list[dict], path: Path) -> Potential:
    kinds = {bond["inner_cutoff_type"] for bond in bonds.values()}
    if len(kinds) > 1:
        raise ValueError(f"{path}: bonds have the inner_cutoff_type {', '.join(sorted(kinds))}; expected one for all")
    values = of_pairs(bonds, len(species), ("prehc", "lambdahc", "rcut", "dcut", "rcut_in", "dcut_in"), path)
    inner, inner_width = values["rcut_in"], values["dcut_in"]
    if kinds == {"zbl"}:
        core = ScreenedCore(species, values["rcut"], values["dcut"], values["prehc"] * (COULOMB_OF_PACE / COULOMB))
        return Switched(model, core, ByDistance(inner, inner_width))
    high, width = (numbers([e[key] for e in embeddings], (len(species),), f"{path}: {key}") for key in ("rho_core_cutoff", "drho_core_cutoff"))
    if np.any(width <= 0) or np.any(high < width):
        raise ValueError(f"{path}: expected 0 < drho_core_cutoff <= rho_core_cutoff, got {width} and {high}")
    prefactor = np.abs(values["prehc"]) * (inner > 0 if kinds == {"distance"} else 1)  # without an inner cutoff of the bond there is none inside
    if not np.any(prefactor):
        return model
    ends = {} if kinds == {"density"} else {"inner": np.where(inner > 0, inner, 1), "inner_width": np.where(inner > 0, inner_width, 1)}
    core = CoreRepulsion(species, prefactor, np.abs(values["lambdahc"]), values["rcut"], **ends)
    return Switched(model, core, ByCoreEnergy(high, width))
