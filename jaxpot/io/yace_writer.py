"""Writing of PACE potentials, for `jaxpot.io.yace`."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.ace import ACE
from jaxpot.descriptors.bond_density import BondDensity
from jaxpot.descriptors.density import Density
from jaxpot.heads.linear import Embedding, Linear, Power, ShiftedPower, SmoothedPower
from jaxpot.io.terms import cannot_hold, require_known, terms_and_constants
from jaxpot.io.text import require_path
from jaxpot.io.yace_radials import as_bonds
from jaxpot.math.complex_products import to_complex
from jaxpot.math.cutoffs import Step
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Potential
from jaxpot.potentials.core import ByCoreEnergy, ByDistance, CoreRepulsion, ScreenedCore, Switched
from jaxpot.radial.pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, PaceBasis, RadialTable, SBessel
from jaxpot.trees import fits
from jaxpot.units import COULOMB

COULOMB_OF_PACE = 14.399645351950543  # eV·Å
_Written = ChebExpCos | ChebPow | ChebLinear | SBessel | InnerCutoff
POWERS = {"FinnisSinclairShiftedScaled": ShiftedPower(), "FinnisSinclair": SmoothedPower()}
_FAMILIES = "ChebExpCos, ChebPow, ChebLinear and SBessel"
_NEVER = 1e30  # eV: no core repulsion is that high, so nothing is switched off


def write_yace(path: str | Path, potential: Potential) -> Path:
    """Writes an ACE as a .yace file, for LAMMPS: `pair_style pace` with `pair_coeff * * si.yace Si` (in metal units).

    Radial functions of pacemaker, of a `BondDensity` or of a sharp `Density` with the cutoff `Step`, are written as they are. All others with
    their cutoff become sums of `ChebExpCos`; the first line of the file says by how much they and their slopes are off, about 1e-13 and
    1e-11 of the largest where they are smooth from 0 to the radius.

    Args:
      path: the file to write.
      potential: an AtomicPotential of an ACE with a Linear head or an Embedding, alone, in a `Switched`, or in a sum with IsolatedAtoms (or
        Constant with a Linear head) and CoreRepulsion.

    Returns:
      The path written.

    Raises:
      TypeError: for terms, heads and expansions that these files cannot hold, named.
      ValueError: for a potential that is not fitted, for what the formulas of these files exclude, named, and for radial functions that are
        off by more than 1e-6. Above 1e-9 there is a warning.
      RuntimeError: for other radial functions than those of pacemaker in float32.

    Example:
      >>> import tempfile
      >>> from jaxpot import IsolatedAtoms, TotalDegree
      >>> from jaxpot.io.yace import read_yace
      >>> ace = ACE(BondDensity(("Si",), 5.0, ChebExpCos(4, lam=3.0), l_max=2), TotalDegree((3, 3)))
      >>> model = AtomicPotential(ace, Linear(coefficients=np.ones(ace.n_features))) + IsolatedAtoms({"Si": -158.5})
      >>> read_yace(write_yace(Path(tempfile.mkdtemp()) / "si.yace", model)).terms[1].values.tolist()
      [-158.5]
    """
    require_path(path, 'write_yace("si.yace", potential)')
    path = Path(path)
    model, core, switch, energies = _parts(potential)
    ace, (density, comments) = model.descriptor, _bonds_of(model.descriptor)
    species, s = density.species, len(density.species)
    require_known(energies, species, "write_yace", "the ACE")
    if core is not None and core.species != species:
        raise ValueError(f"write_yace: the core repulsion names the elements {core.species}, the ACE {species}; expected the same order")
    table, embeddings = _embeddings(model.head, s, ace.n_features, switch)
    functions, n_radial = _functions(ace, density, table)
    lines = [
        *comments, f"elements: [{', '.join(species)}]", f"E0: {_text([energies.get(symbol, 0.0) for symbol in species])}", "deltaSplineBins: 0.001",
        "embeddings:", *(f"  {mu}: {_text(e)}" for mu, e in enumerate(embeddings)), "bonds:",
    ]  # fmt: skip
    for pair in np.ndindex(s, s):
        lines.append(f"  [{pair[0]}, {pair[1]}]: {_text(_bond(density, pair, n_radial, core, switch))}")
    lines.append("functions:")
    for mu, list_of in enumerate(functions):
        lines += [f"  {mu}:", *(f"    - {_text(function)}" for function in list_of)]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(x)}" for key, x in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    return value if isinstance(value, str) else repr(int(value)) if isinstance(value, (int, np.integer)) else repr(float(value))


def _parts(potential: Potential) -> tuple[AtomicPotential, Potential | None, ByCoreEnergy | ByDistance | None, dict[str, float]]:
    """The ACE, the core repulsion, what it switches off, and the energies of isolated atoms."""
    models, cores, (terms, energies) = [], [], terms_and_constants(potential, "write_yace")
    for term in terms:
        if isinstance(term, CoreRepulsion):
            cores.append((term, ByCoreEnergy(_NEVER, 1.0)))
            continue
        is_switched = isinstance(term, Switched)
        models.append(term.potential if is_switched else term)
        cores += [(term.core, term.switch)] if is_switched else []
        if not fits(models[-1], AtomicPotential, descriptor=ACE, head=Linear | Embedding):
            raise TypeError(cannot_hold(term, "write_yace", ".yace files"))
    if len(models) != 1 or len(cores) > 1:
        raise ValueError(f"write_yace: expected one ACE and at most one core repulsion, got {len(models)} and {len(cores)}")
    core, switch = cores[0] if cores else (None, None)
    pairs = ((CoreRepulsion, ByCoreEnergy), (ScreenedCore, ByDistance))
    if core is not None and (type(core), type(switch)) not in pairs:
        raise TypeError(f"write_yace: .yace files cannot hold {type(core).__name__} switched {type(switch).__name__}")
    return models[0], core, switch, energies


def _bonds_of(ace: ACE) -> tuple[BondDensity, list[str]]:
    """The density of an ACE as one of bonds, and comments."""
    if ace.lam or ace.pseudo or ace.tensor_reduced:
        raise ValueError("write_yace: .yace files hold invariants of one-hot channels; expected lam=0 and neither pseudo nor tensor_reduced")
    density = ace.expansion
    if isinstance(density, BondDensity):
        bases = density.radial if isinstance(density.radial, tuple) else (density.radial,)
        if any(isinstance(_without_inner(basis)[0], RadialTable) for basis in bases):
            raise TypeError(f"write_yace: the files of LAMMPS and python-ace hold the radial functions {_FAMILIES}, not RadialTable")
        return density, []
    if not isinstance(density, Density):
        raise TypeError(f"write_yace: .yace files hold an ACE of a BondDensity or a Density, not of {type(density).__name__}")
    if fits(density, Density, radial=_Written, cutoff=Step) and density.channels is None and density.mixing is None:
        return BondDensity(density.species, density.cutoff.radius, density.radial, density.l_max), []
    bonds, text = as_bonds(density)
    return bonds, [f"# {text}"]


def _embeddings(head: Linear | Embedding, s: int, n_features: int, switch) -> tuple[np.ndarray, list[dict]]:
    """Coefficients [S, P, F], and what the file says of every element's densities."""
    if head.coefficients is None:
        raise ValueError("write_yace: the potential has no coefficients yet; write potential = jaxpot.fit.linear(potential, data)")
    table = require_finite(np.asarray(head.coefficients, float), "coefficients").reshape(-1, s, n_features).transpose(1, 0, 2)
    names, p = [next(iter(POWERS))] * s, table.shape[1]
    weights = exponents = np.ones((s, 1))
    if isinstance(head, Embedding):
        weights, exponents = (np.broadcast_to(np.asarray(x, float), (s, p)) for x in (head.weights, head.exponents))
        names = [_name(power) for power in (head.power if isinstance(head.power, tuple) else (head.power,) * s)]
    high, width = (switch.cutoff, switch.width) if isinstance(switch, ByCoreEnergy) else (1e5, 250.0)
    high, width = (np.broadcast_to(np.asarray(x, float), s) for x in (high, width))
    of_center = lambda mu: {  # noqa: E731
        "ndensity": p, "FS_parameters": np.stack([weights[mu], exponents[mu]], axis=1).reshape(-1).tolist(), "npoti": names[mu],
        "rho_core_cutoff": high[mu], "drho_core_cutoff": width[mu],
    }  # fmt: skip
    return table, [of_center(mu) for mu in range(s)]


def _name(power: Power) -> str:
    if power not in POWERS.values():
        raise ValueError(f"write_yace: .yace files have ShiftedPower() and SmoothedPower(1e6), got {power}")
    return next(name for name, own in POWERS.items() if own == power)


def _of_pair(value: Any, pair: tuple[int, int]) -> float:
    value = np.asarray(value, float)
    return float(value[pair] if value.ndim == 2 else value)


def _without_inner(basis: PaceBasis) -> tuple[PaceBasis, Any, Any]:
    """The functions themselves, and radius and width of their inner cutoff, in Å; 0 where there is none."""
    return (basis.basis, basis.radius, basis.width) if isinstance(basis, InnerCutoff) else (basis, 0.0, 0.0)


def _bond(density: BondDensity, pair: tuple[int, int], n_radial: int, core: Potential | None, switch) -> dict:
    """What the file says of the bonds of a centre with a neighbour."""
    where = f"{density.species[pair[0]]}-{density.species[pair[1]]}"
    basis = density.radial[density.kinds[pair[0]][pair[1]]] if isinstance(density.radial, tuple) else density.radial
    own, *inner = _without_inner(basis)
    inner = tuple(_of_pair(x, pair) for x in inner)
    radius, has_width = _of_pair(density.radius, pair), isinstance(own, ChebExpCos)
    width = _of_pair(own.width, pair) if has_width and own.width is not None else 0.0
    kind, prefactor, exponent = "distance", 0.0, 0.0
    if isinstance(core, CoreRepulsion):
        prefactor, exponent = _of_pair(core.prefactor, pair), _of_pair(core.exponent, pair)
        kind = "density" if core.inner is None else "distance"
        ends = (0.0, 0.0) if core.inner is None else (_of_pair(core.inner, pair), _of_pair(core.inner_width, pair))
        if (ends != inner and (kind == "density" or prefactor)) or (prefactor and _of_pair(core.radius, pair) != radius) or prefactor < 0 or exponent < 0:
            raise ValueError(f"write_yace: the core repulsion of {where} must be ≥ 0 and have the radius and the inner cutoff of the radial functions")
    elif isinstance(core, ScreenedCore):
        kind, prefactor = "zbl", _of_pair(core.scale, pair) * COULOMB / COULOMB_OF_PACE
        ends = (_of_pair(core.radius, pair), _of_pair(core.width, pair))
        if ends[0] != radius or (has_width and ends[1] != width) or inner[0]:
            raise ValueError(f"write_yace: the core repulsion of {where} must have the radius and width of the radial functions, and these no InnerCutoff")
        width, inner = ends[1], (_of_pair(switch.radius, pair), _of_pair(switch.width, pair))
    n_base, l_max = own.n_max, density.l_max
    mixed = np.eye(n_base)[None].repeat(l_max + 1, axis=0)
    if density.mixing is not None:
        mixed = np.concatenate([np.asarray(density.mixing, float)[pair], mixed], axis=2)
    return {
        "nradmax": n_radial, "lmax": l_max, "nradbasemax": n_base, "radbasename": type(own).__name__,
        "radparameters": [_of_pair(own.lam, pair) if hasattr(own, "lam") else 1.0],
        "radcoefficients": mixed[:, :, :n_radial].transpose(2, 0, 1).tolist(), "prehc": prefactor, "lambdahc": exponent,
        "rcut": radius, "dcut": width, "rcut_in": inner[0], "dcut_in": inner[1], "inner_cutoff_type": kind,
    }  # fmt: skip


def _functions(ace: ACE, density: BondDensity, table: np.ndarray) -> tuple[list[list[dict]], int]:
    """The functions of every centre, and the number of radial functions in products."""
    s, p, _ = table.shape
    rows: dict[tuple, list[int]] = {}
    for f, (factors, _) in enumerate(ace.labels()):
        rows.setdefault(factors, []).append(f)
    first, higher, n_radial = np.zeros((s, p, s, density.n_max - density.n_mixed)), [[] for _ in range(s)], max(1, density.n_mixed)
    for factors, own in rows.items():
        mus, ns = np.divmod([q for q, _ in factors], ace.expansion.n_channels // s)
        ls = [l for _, l in factors]
        x = table[:, :, own] / (4 * np.pi) ** (len(factors) / 2)
        if len(factors) == 1:  # of the functions g themselves
            z, n = int(mus[0]), int(ns[0])
            if n < density.n_mixed:
                first[:, :, z] += x * np.asarray(density.mixing, float)[:, None, z, 0, :, n]
            else:
                first[:, :, z, n - density.n_mixed] += x[:, :, 0]
            continue
        n_radial = max(n_radial, int(np.max(ns)) + 1)
        groups = tuple(factors.index(v) for v in factors)
        components, values = to_complex(tuple(ls), groups, x.reshape(s * p, -1).T)
        for mu, of_center in enumerate(np.moveaxis(values.reshape(-1, s, p), 1, 0)):
            kept = np.any(of_center, axis=1)
            if np.any(kept):
                higher[mu].append(_function(mu, mus, ns, ls, components[kept], of_center[kept]))
    out = []
    for mu in range(s):
        ones = [_function(mu, [z], [n], [0], np.zeros((1, 1), int), first[mu, None, :, z, n]) for z, n in np.ndindex(first.shape[2:])]
        out.append([f for f in ones if any(f["ctildes"])] + higher[mu] or ones[:1])
    return out, n_radial


def _function(mu: int, mus, ns, ls, components: np.ndarray, values: np.ndarray) -> dict:
    return {
        "mu0": mu, "rank": len(mus), "ndensity": values.shape[1], "num_ms_combs": len(components), "mus": [int(z) for z in mus],
        "ns": [int(n) + 1 for n in ns], "ls": list(ls), "ms_combs": components.reshape(-1).tolist(), "ctildes": values.reshape(-1).tolist(),
    }  # fmt: skip
